//! Metrics as Better Stack takes them: a list in JSON, packed with gzip, as Vector sends it.
//!
//! Classic histograms and summaries whose parts are together are one metric each, with buckets for themselves and without the last
//! one, which is what is missing to the count. Everything else is a counter or a gauge.

use model::labels::METRIC_NAME;
use model::{Sample, Temporality};

use crate::Encoding;
use crate::json::write::{number, text};
use crate::outgoing::{
    self, Body, Form, Options, Parcel, Parts, Repeated, Series, Signal, Speaker, TokenPlace, Whole, Wholes,
};

/// Its row.
pub static SPEAKER: Speaker = Speaker {
    name: "betterstack",
    signal: Signal::Metrics,
    repeated: |_| Repeated::IsKept,
    parts: Parts::Together,
    path: "/metrics",
    token: TokenPlace::Bearer,
    body_bytes_max: 20 << 20,
    packed_bytes_max: 20 << 20,
    encode,
    judge: outgoing::usual,
};

/// A whole number from here on is taken for milliseconds.
const MILLIS_MIN: i64 = 100_000_000_000;

fn encode(parcel: &Parcel<'_>, _: &Options) -> Body {
    let wholes = Wholes::of(parcel, can_be_said);
    let (mut bytes, mut unsaid) = (Vec::new(), parcel.lines.len() as u64);
    for whole in &wholes.list {
        begin(whole.name, &mut bytes);
        write_whole(whole, &mut bytes);
        end(&whole.labels, whole.timestamp_ms, &mut bytes);
    }
    for (series, sent) in parcel.series().zip(&parcel.series) {
        unsaid += series.beside_floats();
        for (_, sample) in sent.samples.clone().zip(series.samples).filter(|(row, _)| !wholes.has(*row)) {
            if !is_sayable(&series, sample) {
                unsaid += 1;
                continue;
            }
            begin(series.name(), &mut bytes);
            let form: &[u8] =
                if series.is_total() { br#","counter":{"value":"# } else { br#","gauge":{"value":"# };
            bytes.extend_from_slice(form);
            number(sample.value, &mut bytes);
            bytes.push(b'}');
            end(series.labels, sample.timestamp_ms, &mut bytes);
        }
    }
    if !bytes.is_empty() {
        bytes.push(b']');
    }
    Body { bytes, media: "application/json", packing: Encoding::Gzip, headers: Vec::new(), unsaid }
}

/// Whether a whole is one there, too: its buckets and quantiles have a tag of their own, and counts of parts of observations would
/// not come to the same again.
fn can_be_said(whole: &Whole<'_>) -> bool {
    let is_free = |(label, _): &(&str, &str)| !matches!(*label, "le" | "upper_limit" | "quantile");
    let mut numbers =
        whole.points.iter().flat_map(|(point, value)| [*point, *value]).chain([whole.count, whole.sum]);
    whole.temporality == Temporality::Cumulative
        && !whole.is_stale
        && whole.is_whole()
        && whole.timestamp_ms >= MILLIS_MIN
        && whole.labels.iter().all(is_free)
        && numbers.all(f64::is_finite)
}

fn is_sayable(series: &Series<'_>, sample: &Sample) -> bool {
    !series.name().is_empty()
        && series.temporality == Temporality::Cumulative
        && sample.value.is_finite()
        && sample.timestamp_ms >= MILLIS_MIN
}

/// Opens a metric, and the list before the first one.
fn begin(name: &str, out: &mut Vec<u8>) {
    out.push(if out.is_empty() { b'[' } else { b',' });
    out.extend_from_slice(br#"{"name":"#);
    text(name, out);
}

/// Closes a metric with its tags and its time.
fn end(labels: &[(&str, &str)], timestamp_ms: i64, out: &mut Vec<u8>) {
    let mut before: &[u8] = br#","tags":{"#;
    for (label, value) in labels.iter().filter(|(label, _)| *label != METRIC_NAME) {
        out.extend_from_slice(before);
        before = b",";
        text(label, out);
        out.push(b':');
        text(value, out);
    }
    if before == b"," {
        out.push(b'}');
    }
    out.extend_from_slice(format!(r#","dt":{timestamp_ms}}}"#).as_bytes());
}

fn write_whole(whole: &Whole<'_>, out: &mut Vec<u8>) {
    let [form, points, first, second] = match whole.form {
        Form::Histogram => ["histogram", "buckets", "upper_limit", "count"],
        Form::Summary => ["summary", "quantiles", "quantile", "value"],
    };
    out.extend_from_slice(format!(r#","{form}":{{"count":"#).as_bytes());
    number(whole.count, out);
    out.extend_from_slice(br#","sum":"#);
    number(whole.sum, out);
    out.extend_from_slice(format!(r#","{points}":["#).as_bytes());
    let mut put = |at: usize, (point, value): (f64, f64)| {
        let comma = if at > 0 { "," } else { "" };
        out.extend_from_slice(format!(r#"{comma}{{"{first}":"#).as_bytes());
        number(point, out);
        out.extend_from_slice(format!(r#","{second}":"#).as_bytes());
        number(value, out);
        out.push(b'}');
    };
    match whole.form {
        Form::Histogram => whole.apart().enumerate().for_each(|(at, bucket)| put(at, bucket)),
        Form::Summary => whole.points.iter().enumerate().for_each(|(at, quantile)| put(at, *quantile)),
    }
    out.extend_from_slice(b"]}");
}

#[cfg(test)]
mod tests {
    use model::MetricType;
    use proptest::prelude::*;

    use super::super::settings::{HistogramSeries, Settings};
    use super::*;
    use crate::outgoing::exercise::{Rows, at, data, floats, heard, said, sent};

    const NOW: i64 = 1_795_000_000_123;

    fn prometheus() -> crate::Settings {
        let betterstack = Settings { histogram_series: HistogramSeries::Prometheus, ..Settings::default() };
        crate::Settings { betterstack, ..crate::Settings::default() }
    }

    proptest! {
        #[test]
        fn floats_come_back(rows in floats(prop::num::f64::NORMAL | prop::num::f64::ZERO)) {
            let body = said(&SPEAKER, &Options::default(), &rows);
            prop_assert_eq!(body.unsaid, 0);
            if !rows.is_empty() {
                prop_assert_eq!(heard(&SPEAKER, &body, &prometheus(), data), sent(&rows));
            }
        }

        #[test]
        fn classic_histograms_come_back_whole_or_in_parts(
            counts in prop::collection::vec(0u64..1 << 40, 1..6),
            leave_out in prop::collection::vec(0usize..9, 0..3),
        ) {
            let (mut rows, mut below) = (Vec::new(), 0);
            let now = |value: f64| [at(NOW, value)];
            for (bound, count) in counts.iter().enumerate() {
                below += count;
                rows.push(Rows::of(&format!("h_bucket a=b le={bound}"), &now(below as f64)));
            }
            rows.push(Rows::of("h_bucket a=b le=+Inf", &now(below as f64)));
            rows.push(Rows::of("h_sum a=b", &now(-2.5)));
            rows.push(Rows::of("h_count a=b", &now(below as f64)));
            for at in leave_out {
                rows.remove(at % rows.len());
            }
            let body = said(&SPEAKER, &Options::default(), &rows);
            prop_assert_eq!(body.unsaid, 0);
            if !rows.is_empty() {
                prop_assert_eq!(heard(&SPEAKER, &body, &prometheus(), data), sent(&rows));
            }
        }
    }

    #[test]
    fn the_bytes_are_these() {
        let now = |value| [at(NOW, value)];
        let rows = [
            Rows::of("up job=a/b", &now(1.0)).typed("up", MetricType::Gauge),
            Rows::of("hits_total", &now(2.5)),
            Rows::of("h_bucket a=\" le=0.5", &now(2.0)),
            Rows::of("h_bucket a=\" le=1.0", &now(5.0)),
            Rows::of("h_bucket a=\" le=+Inf", &now(6.0)),
            Rows::of("h_sum a=\"", &now(4.5)),
            Rows::of("h_count a=\"", &now(6.0)),
            Rows::of("s quantile=0.5", &now(0.25)),
            Rows::of("s_sum", &now(1.0)),
            Rows::of("s_count", &now(4.0)),
        ];
        let body = said(&SPEAKER, &Options::default(), &rows);
        let wanted = [
            r#"[{"name":"h","histogram":{"count":6,"sum":4.5,"buckets":[{"upper_limit":0.5,"count":2},{"upper_limit":1,"count":3}]},"tags":{"a":"\""},"dt":1795000000123}"#,
            r#"{"name":"s","summary":{"count":4,"sum":1,"quantiles":[{"quantile":0.5,"value":0.25}]},"dt":1795000000123}"#,
            r#"{"name":"up","gauge":{"value":1},"tags":{"job":"a/b"},"dt":1795000000123}"#,
            r#"{"name":"hits_total","counter":{"value":2.5},"dt":1795000000123}]"#,
        ];
        assert_eq!(String::from_utf8(body.bytes).unwrap(), wanted.join(","));
    }

    #[test]
    fn what_has_no_place_is_counted() {
        let rows = [
            Rows::of("a", &[at(NOW, f64::NAN), at(NOW, f64::INFINITY), at(1_000, 1.0)]),
            Rows::of(" b=c", &[at(NOW, 1.0)]),
            Rows::of("c_total", &[at(NOW, 1.0)]).delta(),
        ];
        let body = said(&SPEAKER, &Options::default(), &rows);
        assert_eq!((body.unsaid, body.bytes.len()), (5, 0));
    }

    #[test]
    fn what_would_not_come_to_the_same_stays_in_parts() {
        let now = |value| [at(NOW, value)];
        let part = |text: &str, value| Rows::of(text, &now(value));
        let parts = |count: f64| {
            vec![
                part("h_bucket le=1", 0.1),
                part("h_bucket le=+Inf", count),
                part("h_sum", 1.0),
                part("h_count", count),
            ]
        };
        let mut taken = parts(1.0);
        taken.iter_mut().for_each(|rows| rows.labels.push(("upper_limit".to_owned(), "x".to_owned())));
        taken[0].samples[0].value = 0.0;
        taken.iter_mut().for_each(|rows| rows.labels.sort());
        for rows in [parts(0.3), taken] {
            let body = said(&SPEAKER, &Options::default(), &rows);
            assert!(!String::from_utf8_lossy(&body.bytes).contains("histogram"));
            assert_eq!(heard(&SPEAKER, &body, &prometheus(), data), sent(&rows));
        }
    }
}
