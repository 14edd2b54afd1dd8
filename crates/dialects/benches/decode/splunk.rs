//! Splunk's metric events: four metrics each that share their dimensions.

use super::{Case, timestamp_ms, value};

/// Metric events.
pub(crate) const METRICS: Case = Case {
    name: "Splunk HEC metrics",
    path: "/services/collector",
    content_type: "application/json",
    body: metrics,
    rows: 4,
};

/// `events` objects.
fn metrics(events: usize) -> Vec<u8> {
    let object = |i: usize| {
        let metrics =
            ["usr", "sys", "idle", "wait"].map(|name| format!(r#""metric_name:cpu.{name}":{}"#, value(i)));
        format!(
            r#"{{"time":{}.{:03},"event":"metric","host":"host-{:04}.example.net","source":"perflog","fields":{{"region":"eu-west-1","cpu":"{}","env":"production",{}}}}}"#,
            timestamp_ms(i) / 1000,
            timestamp_ms(i) % 1000,
            i / 50,
            i % 50,
            metrics.join(","),
        )
    };
    (0..events).map(object).collect::<String>().into_bytes()
}
