//! Log lines as OTLP over HTTP sends them: `ExportLogsServiceRequest` in protobuf, packed with gzip.
//!
//! A stream is a resource: labels that Weir's own decoder, and Loki's, make of a resource's attributes are said as those, others
//! under their own names. What a record has a place for stands there, all other fields are its attributes.

use codec::proto::{write_bytes, write_message, write_number};

use super::super::logs::{INDEXED, INDEXED_JOB};
use super::judge;
use super::point::{attribute, id, write_fixed};
use crate::Encoding;
use crate::outgoing::{Body, Options, Parcel, Parts, Repeated, SentLine, Signal, Speaker, TokenPlace};

/// Its row.
pub static LOGS_SPEAKER: Speaker = Speaker {
    name: "otlp_logs",
    signal: Signal::Logs,
    repeated: |_| Repeated::IsKept,
    parts: Parts::Apart,
    path: "/v1/logs",
    token: TokenPlace::Bearer,
    body_bytes_max: 64 << 20,
    packed_bytes_max: 64 << 20,
    encode,
    judge,
};

/// The highest severity.
const SEVERITY_MAX: u64 = 24;

fn encode(parcel: &Parcel<'_>, _: &Options) -> Body {
    let (streams, unsaid) = parcel.streams();
    let mut bytes = Vec::new();
    for lines in &streams {
        write_message(1, &mut bytes, |out| {
            write_message(1, out, |out| resource(parcel.stream_of(lines[0]), out));
            write_message(2, out, |out| {
                for line in lines {
                    write_message(2, out, |out| record(line, parcel.fields_of(line), out));
                }
            });
        });
    }
    Body { bytes, media: "application/x-protobuf", packing: Encoding::Gzip, headers: Vec::new(), unsaid }
}

fn resource(labels: &[(&str, &str)], out: &mut Vec<u8>) {
    for (label, value) in labels {
        let is_this = |attribute: &&&str| attribute.replace('.', "_") == **label;
        let attribute_name = INDEXED.iter().chain([&INDEXED_JOB]).find(is_this).unwrap_or(label);
        attribute(1, attribute_name, value, out);
    }
}

fn record(line: &SentLine<'_>, fields: &[(&str, &str)], out: &mut Vec<u8>) {
    write_fixed(1, line.timestamp_ns as u64, out);
    if !line.line.is_empty() {
        write_message(5, out, |out| write_bytes(1, line.line.as_bytes(), out));
    }
    for (name, value) in fields {
        match *name {
            "severity_text" => write_bytes(3, value.as_bytes(), out),
            "event_name" => write_bytes(12, value.as_bytes(), out),
            "severity_number" if let Some(number) = severity(value) => write_number(2, number, out),
            "trace_id" if let Some(id) = id(value, 16) => write_bytes(9, &id, out),
            "span_id" if let Some(id) = id(value, 8) => write_bytes(10, &id, out),
            _ => attribute(6, name, value, out),
        }
    }
}

/// A severity, written as a reader writes it.
fn severity(text: &str) -> Option<u64> {
    let number = text.parse().ok().filter(|number| (1..=SEVERITY_MAX).contains(number))?;
    (number.to_string() == text).then_some(number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Settings;
    use crate::outgoing::exercise::{Line, Rows, at, heard, lines, parcel};

    fn pushed(lines: &[Line]) -> Body {
        parcel(&[], lines, |parcel| encode(parcel, &Options::default()))
    }

    fn any_lines() -> impl Strategy<Value = Vec<Line>> {
        let stream = ("service_name|k8s_pod_name|k8s_job_name", "[a-z]{1,3}");
        let stream = prop::collection::btree_map(stream.0, stream.1, 0..3);
        let field = prop::sample::select(vec![
            "severity_text",
            "severity_number",
            "trace_id",
            "span_id",
            "event_name",
            "level",
            "scope_name",
            "a",
        ]);
        let value = "[1-9]|2[0-9]|025|[a-f0-9]{16}|[a-f0-9]{32}|[ -~é]{1,9}";
        let fields = prop::collection::btree_map(field, value, 0..5);
        let line = (stream, fields, 1..i64::MAX, "[^\r\n]{0,20}");
        let line = line.prop_map(|(stream, fields, timestamp_ns, line)| {
            let mut stream: Vec<_> = stream.into_iter().collect();
            if !stream.iter().any(|(name, _)| name == "service_name") {
                stream.push(("service_name".to_owned(), "shop".to_owned()));
            }
            stream.sort();
            let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            Line { stream, fields, timestamp_ns, line }
        });
        prop::collection::vec(line, 1..8)
    }

    proptest! {
        #[test]
        fn lines_come_back(mut sent in any_lines()) {
            let body = pushed(&sent);
            prop_assert_eq!(body.unsaid, 0);
            sent.sort_by(|one, other| one.stream.cmp(&other.stream));
            let mut got = heard(&LOGS_SPEAKER, &body, Settings::standard(), lines);
            // A record says its own fields first.
            got.iter_mut().for_each(|line| line.fields.sort());
            got.iter_mut().for_each(|line| line.stream.sort());
            got.sort_by(|one, other| one.stream.cmp(&other.stream));
            prop_assert_eq!(got, sent);
        }
    }

    #[test]
    fn the_bytes_are_these() {
        let line = Line {
            stream: vec![("app".to_owned(), "x".to_owned()), ("service_name".to_owned(), "y".to_owned())],
            fields: vec![("severity_number".to_owned(), "9".to_owned()), ("a".to_owned(), "b".to_owned())],
            timestamp_ns: 3,
            line: "hi".to_owned(),
        };
        let wanted: &[&[u8]] = &[
            b"\x0a\x42\x0a\x21\x0a\x0a\x0a\x03app\x12\x03\x0a\x01x\x0a\x13\x0a\x0cservice.name\x12\x03\x0a\x01y",
            b"\x12\x1d\x12\x1b\x09\x03\x00\x00\x00\x00\x00\x00\x00\x2a\x04\x0a\x02hi",
            b"\x10\x09\x32\x08\x0a\x01a\x12\x03\x0a\x01b",
        ];
        assert_eq!(pushed(&[line]).bytes, wanted.concat());
    }

    #[test]
    fn what_has_no_place_is_counted() {
        let early = Line { timestamp_ns: 0, ..Line::default() };
        let rows = [Rows::of("up", &[at(5, 1.0)])];
        let body = parcel(&rows, &[early], |parcel| encode(parcel, &Options::default()));
        assert_eq!((body.unsaid, body.bytes.len()), (2, 0));
    }
}
