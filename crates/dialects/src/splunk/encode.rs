//! Metrics as the HTTP Event Collector takes them: objects one behind the other, packed with gzip, each with all metrics that have
//! one time and the same dimensions.
//!
//! A label is a dimension; only `host` stands around the event, where Splunk has a field of that name. What an object does not say
//! of its host the one before it said, so those without one come first.

use std::collections::HashMap;

use model::labels::METRIC_NAME;

use super::code::{self, Code};
use super::fields;
use crate::Encoding;
use crate::json::write::{number, text};
use crate::outgoing::{
    self, Answered, Body, Options, Outcome, Parcel, Parts, Repeated, Signal, Speaker, TokenPlace,
};

/// Its row.
pub static SPEAKER: Speaker = Speaker {
    name: "splunk_hec",
    signal: Signal::Metrics,
    repeated: |_| Repeated::IsKept,
    parts: Parts::Apart,
    path: "/services/collector",
    token: TokenPlace::Scheme("Splunk"),
    body_bytes_max: 1_000_000,
    packed_bytes_max: 1_000_000,
    encode,
    judge,
};

/// What asks to be sent again, whatever its status is.
const PASSING: [Code; 3] = [code::INTERNAL, code::BUSY, code::UNHEALTHY];

/// Names and values.
type Pairs<'p> = Vec<(&'p str, &'p str)>;

/// An event in the making.
struct Event<'p> {
    timestamp_ms: i64,
    host: Option<&'p str>,
    dimensions: Pairs<'p>,
    metrics: Vec<(&'p str, f64)>,
}

fn encode(parcel: &Parcel<'_>, options: &Options) -> Body {
    let mut unsaid = parcel.lines.len() as u64;
    let mut events: Vec<Event<'_>> = Vec::new();
    let mut known: HashMap<(i64, Pairs<'_>), usize> = HashMap::new();
    for series in parcel.series() {
        unsaid += series.beside_floats();
        let (labels, name) = (series.labels, series.name());
        let can_be_said = !name.is_empty() && !labels.iter().any(|(label, _)| fields::is_of_metric(label));
        for sample in series.samples {
            if !can_be_said || !sample.value.is_finite() || sample.timestamp_ms <= 0 {
                unsaid += 1;
                continue;
            }
            let others = labels.iter().filter(|(label, _)| *label != METRIC_NAME);
            let key = (sample.timestamp_ms, others.copied().collect());
            let event = *known.entry(key).or_insert_with_key(|(timestamp_ms, others)| {
                let host = others.iter().find(|(label, _)| *label == "host").map(|(_, value)| *value);
                let dimensions = others.iter().filter(|(label, _)| *label != "host").copied().collect();
                events.push(Event { timestamp_ms: *timestamp_ms, host, dimensions, metrics: Vec::new() });
                events.len() - 1
            });
            events[event].put(name, sample.value);
        }
    }
    events.sort_by_key(|event| event.host.is_some());
    let mut bytes = Vec::new();
    events.iter().for_each(|event| event.write(options, &mut bytes));
    Body { bytes, media: "application/json", packing: Encoding::Gzip, headers: Vec::new(), unsaid }
}

impl<'p> Event<'p> {
    /// Takes a metric; of one that comes twice the last value counts.
    fn put(&mut self, name: &'p str, value: f64) {
        match self.metrics.iter_mut().find(|(other, _)| *other == name) {
            Some((_, known)) => *known = value,
            None => self.metrics.push((name, value)),
        }
    }

    fn write(&self, options: &Options, out: &mut Vec<u8>) {
        let (seconds, millis) = (self.timestamp_ms / 1000, self.timestamp_ms % 1000);
        out.extend_from_slice(format!(r#"{{"time":{seconds}.{millis:03},"event":"metric""#).as_bytes());
        let around = [
            ("host", self.host),
            ("source", options.source.as_deref()),
            ("sourcetype", options.sourcetype.as_deref()),
            ("index", options.index.as_deref()),
        ];
        for (key, value) in around {
            if let Some(value) = value {
                out.push(b',');
                text(key, out);
                out.push(b':');
                text(value, out);
            }
        }
        out.extend_from_slice(br#","fields":{"#);
        for (name, value) in &self.dimensions {
            text(name, out);
            out.push(b':');
            text(value, out);
            out.push(b',');
        }
        for (at, (name, value)) in self.metrics.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            text(&format!("metric_name:{name}"), out);
            out.push(b':');
            number(*value, out);
        }
        out.extend_from_slice(b"}}");
    }
}

/// What an answer means: its code tells where its status does not.
fn judge(answered: &Answered<'_>) -> Outcome {
    let code = serde_json::from_slice::<serde_json::Value>(answered.body).ok();
    let code = code.as_ref().and_then(|body| body.get("code")?.as_u64());
    if code.is_some_and(|number| PASSING.iter().any(|code| u64::from(code.number) == number)) {
        return Outcome::Again(answered.text());
    }
    // Another Weir keeps the good events, and answers for the bad ones as Splunk does.
    match (answered.status, answered.header(crate::reply::REJECTED)) {
        (400, Some(_)) => outgoing::usual(&Answered { status: 200, ..*answered }),
        _ => outgoing::usual(answered),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Settings;
    use crate::outgoing::Version;
    use crate::outgoing::exercise::{Rows, at, data, floats, heard, said, sent};

    proptest! {
        #[test]
        fn floats_come_back(
            rows in floats(prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL | prop::num::f64::ZERO),
            hosts in prop::collection::vec(prop::option::of("[a-z]{1,3}"), 8),
        ) {
            let mut rows = rows;
            for (rows, host) in rows.iter_mut().zip(hosts) {
                rows.labels.extend(host.map(|host| ("host".to_owned(), host)));
                rows.labels.sort();
                rows.labels.dedup_by(|one, other| one.0 == other.0);
            }
            rows.sort_by(|one, other| one.labels.cmp(&other.labels));
            rows.dedup_by(|one, other| one.labels == other.labels);
            let body = said(&SPEAKER, &Options::default(), &rows);
            prop_assert_eq!(body.unsaid, 0);
            if !rows.is_empty() {
                prop_assert_eq!(heard(&SPEAKER, &body, Settings::standard(), data), sent(&rows));
            }
        }
    }

    #[test]
    fn the_bytes_are_these() {
        let now = [at(1_795_000_000_005, 1.5)];
        let rows = [
            Rows::of("up host=h a=\"b", &now),
            Rows::of("mem a=\"b host=h", &[at(1_795_000_000_005, 1e30), at(1_795_000_001_000, -2.0)]),
            Rows::of("cpu index=i", &now),
        ];
        let options = Options { index: Some("metrics".to_owned()), ..Options::default() };
        let body = said(&SPEAKER, &options, &rows);
        let wanted = [
            r#"{"time":1795000000.005,"event":"metric","index":"metrics","fields":{"index":"i","metric_name:cpu":1.5}}"#,
            r#"{"time":1795000000.005,"event":"metric","host":"h","index":"metrics","fields":{"a":"\"b","metric_name:up":1.5,"metric_name:mem":1e+30}}"#,
            r#"{"time":1795000001.000,"event":"metric","host":"h","index":"metrics","fields":{"a":"\"b","metric_name:mem":-2}}"#,
        ];
        assert_eq!(String::from_utf8(body.bytes).unwrap(), wanted.concat());
    }

    #[test]
    fn what_has_no_place_is_counted() {
        let now = [at(5_000, 1.0)];
        let rows = [
            Rows::of("a", &[at(5, f64::NAN), at(6, f64::INFINITY), at(0, 1.0)]),
            Rows::of("", &now),
            Rows::of("a metric_name=b", &now),
            Rows::of("a _value=b", &now),
        ];
        let body = said(&SPEAKER, &Options::default(), &rows);
        assert_eq!((body.unsaid, body.bytes.len()), (6, 0));
    }

    #[test]
    fn a_code_tells_what_a_status_does_not() {
        let judged = |status, headers: &[(&str, &str)], body: &str| {
            judge(&Answered { status, headers, body: body.as_bytes(), version: Version::One })
        };
        assert_eq!(judged(200, &[], &code::SUCCESS.body()), Outcome::Taken);
        for code in [code::BUSY, code::UNHEALTHY, code::INTERNAL] {
            assert!(matches!(judged(400, &[], &code.body()), Outcome::Again(_)), "{code:?}");
            assert!(matches!(judged(code.status, &[], ""), Outcome::Again(_)), "{code:?}");
        }
        for code in [code::INVALID_TOKEN, code::INVALID_FORMAT, code::INCORRECT_INDEX, code::TOKEN_DISABLED] {
            assert!(matches!(judged(code.status, &[], &code.body()), Outcome::Drop(_)), "{code:?}");
        }
        assert!(matches!(judged(413, &[], &code::TOO_LARGE.body()), Outcome::Halve(_)));
        let rejected = [("x-weir-rejected", "2; too_old")];
        let partly = judged(400, &rejected, &code::INVALID_FORMAT.body_of_event(1));
        assert!(matches!(partly, Outcome::TakenBut { refused: 2, .. }), "{partly:?}");
    }
}
