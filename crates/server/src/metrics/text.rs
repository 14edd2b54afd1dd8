//! The registry as text: OpenMetrics 1.0 for Weir's own store and for whoever accepts it on GET /metrics, Prometheus' text
//! format for everyone else, Markdown for the docs.

use std::fmt::Write;

use super::family::{Sink, Value};
use super::{Kind, Metrics, ROWS, Row};

/// The content type of [`openmetrics`].
pub const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The content type of [`prometheus`].
pub const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All metrics as OpenMetrics.
pub fn openmetrics(metrics: &Metrics) -> String {
    let mut text = written(metrics, Form::OpenMetrics);
    text.push_str("# EOF\n");
    text
}

/// All metrics in Prometheus' text format: counters and infos have their suffixes in the family's name, too.
pub fn prometheus(metrics: &Metrics) -> String {
    written(metrics, Form::Prometheus)
}

fn written(metrics: &Metrics, form: Form) -> String {
    let mut text = Text(String::with_capacity(32 << 10), form);
    metrics.each(&mut text);
    text.0
}

#[derive(Clone, Copy, Debug)]
enum Form {
    OpenMetrics,
    Prometheus,
}

struct Text(String, Form);

// Writing to a string cannot fail.
impl Sink for Text {
    fn row(&mut self, row: &Row) {
        let Row { name, kind, unit, help, .. } = row;
        let (suffix, kind) = match self.1 {
            Form::OpenMetrics => ("", kind.as_str()),
            // That has no infos.
            Form::Prometheus if *kind == Kind::Info => (kind.suffix(), Kind::Gauge.as_str()),
            Form::Prometheus => (kind.suffix(), kind.as_str()),
        };
        let _ = writeln!(self.0, "# TYPE {name}{suffix} {kind}");
        if matches!(self.1, Form::OpenMetrics) && !unit.is_empty() {
            let _ = writeln!(self.0, "# UNIT {name} {unit}");
        }
        let _ = writeln!(self.0, "# HELP {name}{suffix} {help}");
    }

    fn sample(&mut self, row: &Row, suffix: &str, labels: &[String], le: Option<f64>, value: Value) {
        let _ = write!(self.0, "{}{suffix}", row.name);
        let mut mark = '{';
        for (name, label) in row.labels.iter().zip(labels) {
            let escaped = label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.0, "{mark}{name}=\"{escaped}\"");
            mark = ',';
        }
        if let Some(bound) = le {
            let _ = match bound {
                f64::INFINITY => write!(self.0, "{mark}le=\"+Inf\""),
                bound => write!(self.0, "{mark}le=\"{bound:?}\""),
            };
            mark = ',';
        }
        if mark == ',' {
            self.0.push('}');
        }
        let _ = match value {
            Value::Count(count) => writeln!(self.0, " {count}"),
            Value::Float(float) => writeln!(self.0, " {float}"),
        };
    }
}

/// The content of docs/metrics.md.
pub fn markdown() -> String {
    let mut text = String::from(
        "# Metrics of Weir itself\n\n\
         Generated from the registry in `crates/server/src/metrics/mod.rs`; a test keeps it in step.\n\
         Weir writes these every 15 s into the tenant `system` and shows them on `GET /metrics`, which needs a token with\n\
         the scope `admin` or the `read` token of `system`: as Prometheus' text format, or as OpenMetrics where `Accept` asks\n\
         for it. Counters carry the suffix `_total`.\n\n\
         | name | type | labels | meaning |\n| --- | --- | --- | --- |\n",
    );
    for row in ROWS {
        let (name, suffix) = (row.name, row.kind.suffix());
        let (kind, labels) = (row.kind.as_str(), row.labels.join(", "));
        let _ = writeln!(text, "| `{name}{suffix}` | {kind} | {labels} | {} |", row.help);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_exposition_is_openmetrics() {
        let metrics = Metrics::default();
        metrics.requests.with(&["text", "204"]).add(3);
        metrics.ack_seconds.with(&["a\"b\\c\nd"]).observe(Duration::from_millis(2));
        metrics.wal_sync_seconds.copy(1_500_000);
        let text = openmetrics(&metrics);
        for line in [
            "# TYPE weir_requests counter\n",
            "weir_requests_total{dialect=\"text\",code=\"204\"} 3\n",
            "weir_ack_seconds_bucket{dialect=\"a\\\"b\\\\c\\nd\",le=\"0.0025\"} 1\n",
            "weir_ack_seconds_bucket{dialect=\"a\\\"b\\\\c\\nd\",le=\"+Inf\"} 1\n",
            "# UNIT weir_ack_seconds seconds\n",
            "weir_wal_sync_seconds_total 1.5\n",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    /// `promtool check metrics` refused it: what was sent was OpenMetrics, whatever was accepted.
    #[test]
    fn prometheus_text_has_no_infos_and_no_units() {
        let metrics = Metrics::default();
        metrics.build.with(&["1"]).set(1.0);
        metrics.requests.with(&["text", "204"]).add(3);
        let text = prometheus(&metrics);
        for line in [
            "# TYPE weir_build_info gauge\n# HELP weir_build_info Weir's version.\nweir_build_info{version=\"1\"} 1\n",
            "# TYPE weir_requests_total counter\n",
            "\nweir_requests_total{dialect=\"text\",code=\"204\"} 3\n",
            "# TYPE weir_ack_seconds histogram\n",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
        assert!(!text.contains("# UNIT") && !text.contains("# EOF"), "{text}");
    }

    #[test]
    fn the_docs_are_in_step_with_the_registry() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md");
        let written = std::fs::read_to_string(path).unwrap_or_default();
        if std::env::var_os("WEIR_BLESS").is_some() {
            std::fs::write(path, markdown()).unwrap();
        } else {
            assert!(written == markdown(), "docs/metrics.md is out of step: run this test with WEIR_BLESS=1");
        }
    }
}
