//! Log lines as Loki takes them: `logproto.PushRequest` in protobuf, packed with snappy.
//!
//! Lines of a stream stay together and in order. Names of labels have letters, digits and underscores there: anything else becomes
//! an underscore, and one is put before a digit at the beginning.

use codec::proto::{write_bytes, write_message, write_number};
use model::labels::is_legacy_name;
use std::borrow::Cow;

use crate::Encoding;
use crate::outgoing::{
    self, Answered, Body, Options, Outcome, Parcel, Parts, Repeated, SentLine, Signal, Speaker, TokenPlace,
};

/// Its row. A body is as large as Loki's own clients make theirs.
pub static SPEAKER: Speaker = Speaker {
    name: "loki",
    signal: Signal::Logs,
    repeated: |_| Repeated::IsKept,
    parts: Parts::Apart,
    path: "/loki/api/v1/push",
    token: TokenPlace::Bearer,
    body_bytes_max: 1 << 20,
    packed_bytes_max: 1 << 20,
    encode,
    judge,
};

fn encode(parcel: &Parcel<'_>, _: &Options) -> Body {
    let (streams, unsaid) = parcel.streams();
    let mut bytes = Vec::new();
    for lines in &streams {
        write_message(1, &mut bytes, |out| {
            write_bytes(1, written(parcel.stream_of(lines[0])).as_bytes(), out);
            for line in lines {
                write_message(2, out, |out| entry(line, parcel.fields_of(line), out));
            }
        });
    }
    Body { bytes, media: "application/x-protobuf", packing: Encoding::Snappy, headers: Vec::new(), unsaid }
}

fn entry(line: &SentLine<'_>, fields: &[(&str, &str)], out: &mut Vec<u8>) {
    const NANOS: i64 = 1_000_000_000;
    write_message(1, out, |out| {
        write_number(1, (line.timestamp_ns / NANOS) as u64, out);
        write_number(2, (line.timestamp_ns % NANOS) as u64, out);
    });
    write_bytes(2, line.line.as_bytes(), out);
    for (name, value) in fields {
        write_message(3, out, |out| {
            write_bytes(1, named(name).as_bytes(), out);
            write_bytes(2, value.as_bytes(), out);
        });
    }
}

/// A stream's labels as text: `{app="web", env="prod"}`, values quoted as Go quotes.
fn written(labels: &[(&str, &str)]) -> String {
    let mut text = String::from("{");
    for (at, (name, value)) in labels.iter().enumerate() {
        text.push_str(if at > 0 { ", " } else { "" });
        text.push_str(&named(name));
        text.push_str("=\"");
        for c in value.chars() {
            match c {
                '"' | '\\' => text.extend(['\\', c]),
                '\n' => text.push_str("\\n"),
                c if c.is_control() => text.push_str(&format!("\\u{:04x}", u32::from(c))),
                c => text.push(c),
            }
        }
        text.push('"');
    }
    text.push('}');
    text
}

/// A name in characters that Loki takes.
fn named(name: &str) -> Cow<'_, str> {
    if is_legacy_name(name) {
        return Cow::Borrowed(name);
    }
    let cleaned: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    Cow::Owned(if is_legacy_name(&cleaned) { cleaned } else { format!("_{cleaned}") })
}

/// What an answer means. Of a push with a bad entry the good ones are kept, and the answer is 400 all the same.
fn judge(answered: &Answered<'_>) -> Outcome {
    let text = answered.text();
    let is_of_entries = ["entry", "stream"].iter().any(|word| text.contains(word));
    match answered.status {
        400 if is_of_entries || answered.header(crate::reply::REJECTED).is_some() => {
            Outcome::TakenBut { refused: 1, why: text }
        }
        _ => outgoing::usual(answered),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Settings;
    use crate::outgoing::Version;
    use crate::outgoing::exercise::{Line, Rows, at, heard, lines, parcel};

    fn pushed(lines: &[Line]) -> Body {
        parcel(&[], lines, |parcel| encode(parcel, &Options::default()))
    }

    fn any_lines() -> impl Strategy<Value = Vec<Line>> {
        let pairs = |least| {
            prop::collection::btree_map("[a-z_][a-z0-9_]{0,2}", "\\PC{1,3}|[\"\\\\\n\t\u{1}]", least..4)
        };
        let line = (pairs(1), pairs(0), 1..i64::MAX, "[^\r\n]{0,20}");
        let line = line.prop_map(|(stream, fields, timestamp_ns, line)| Line {
            stream: stream.into_iter().collect(),
            fields: fields.into_iter().collect(),
            timestamp_ns,
            line,
        });
        prop::collection::vec(line, 1..8)
    }

    proptest! {
        #[test]
        fn lines_come_back(mut sent in any_lines()) {
            // Some share a stream.
            for at in 1..sent.len() {
                if sent[at].timestamp_ns % 2 == 0 {
                    sent[at].stream = sent[at - 1].stream.clone();
                }
            }
            let body = pushed(&sent);
            prop_assert_eq!(body.unsaid, 0);
            sent.sort_by(|one, other| one.stream.cmp(&other.stream));
            prop_assert_eq!(heard(&SPEAKER, &body, Settings::standard(), lines), sent);
        }
    }

    #[test]
    fn the_bytes_are_these() {
        let line = Line {
            stream: vec![("a.b".to_owned(), "x\"\n".to_owned()), ("job".to_owned(), "j".to_owned())],
            fields: vec![("1é".to_owned(), "v".to_owned())],
            timestamp_ns: 2_000_000_003,
            line: "hi".to_owned(),
        };
        let wanted: &[&[u8]] = &[
            b"\x0a\x2e\x0a\x16{a_b=\"x\\\"\\n\", job=\"j\"}",
            b"\x12\x14\x0a\x04\x08\x02\x10\x03\x12\x02hi\x1a\x08\x0a\x03_1_\x12\x01v",
        ];
        assert_eq!(pushed(&[line]).bytes, wanted.concat());
    }

    #[test]
    fn what_has_no_place_is_counted() {
        let early = Line { timestamp_ns: 0, ..Line::default() };
        let body =
            parcel(&[Rows::of("up", &[at(5, 1.0)])], &[early], |parcel| encode(parcel, &Options::default()));
        assert_eq!((body.unsaid, body.bytes.len()), (2, 0));
    }

    #[test]
    fn a_bad_entry_costs_itself() {
        let judged = |status, body: &str| {
            judge(&Answered { status, headers: &[], body: body.as_bytes(), version: Version::One })
        };
        let told = "entry for stream '{a=\"b\"}' has timestamp too old: 2020-01-01T00:00:00Z";
        assert!(matches!(judged(400, told), Outcome::TakenBut { .. }));
        assert!(matches!(judged(400, "snappy: corrupt input"), Outcome::Drop(_)));
        assert!(matches!(judged(429, told), Outcome::Again(_)));
        assert_eq!(judged(204, ""), Outcome::Taken);
    }
}
