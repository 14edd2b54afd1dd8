//! What real clients sent, replayed: `cases/NAME.in` has the bytes of datagrams and streams, `NAME.want` what their lines
//! say. `WEIR_BLESS=1` writes what came out as wanted: read the difference before committing it.

use std::fmt::Write as _;
use std::path::Path;

use super::{Flavor, Line, Tags, Value, first_frame, for_each_line};

/// A case is a datagram a line: its transport, then its bytes with `\n`, `\\` and `\xNN` escaped.
fn replay(text: &str, flavor: Flavor) -> String {
    let mut out = String::new();
    for (number, line) in text.lines().enumerate() {
        let (transport, escaped) = line.split_once(' ').expect("a transport");
        let bytes = unescape(escaped);
        let _ = writeln!(out, "{} {transport}", number + 1);
        if transport != "uds_stream_chunk" {
            show_lines(&bytes, flavor, &mut out);
            continue;
        }
        let mut rest = &bytes[..];
        while let Some((frame, after)) = first_frame(rest).expect("frames") {
            let _ = writeln!(out, " frame of {}", frame.len());
            show_lines(frame, flavor, &mut out);
            rest = after;
        }
        assert_eq!(rest, b"", "the last frame is whole");
    }
    out
}

fn show_lines(bytes: &[u8], flavor: Flavor, out: &mut String) {
    for_each_line(bytes, flavor, |line| match line {
        Ok(line) => show(&line, out),
        Err(bad) => {
            let _ = writeln!(out, "  bad: {}", bad.as_str());
        }
    });
}

fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        match bytes.next().expect("an escape") {
            b'n' => out.push(b'\n'),
            b'x' => {
                let digits = [bytes.next().expect("a digit"), bytes.next().expect("a digit")];
                let digits = std::str::from_utf8(&digits).expect("digits");
                out.push(u8::from_str_radix(digits, 16).expect("a byte"));
            }
            other => out.push(other),
        }
    }
    out
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn show(line: &Line<'_>, out: &mut String) {
    let tags = |tags: Tags<'_>| tags.map(text).collect::<Vec<_>>().join(" ");
    let _ = match line {
        Line::Metric(metric) => {
            let value = match metric.value {
                Value::Numbers(values) => format!("{values:?}"),
                Value::Changes(values) => format!("by {values:?}"),
                Value::Member(member) => format!("{:?}", text(member)),
            };
            let (name, kind) = (text(metric.name), metric.kind.as_str());
            let at = metric.timestamp_ms.map(|ms| format!(" at {ms}")).unwrap_or_default();
            let (weight, origin) = (metric.weight, &metric.origin);
            writeln!(
                out,
                "  {kind} {name} {value} x {weight}{at} [{}] {:?}",
                tags(metric.tags()),
                [origin.local, origin.external, origin.cardinality].map(text)
            )
        }
        Line::Event(event) => writeln!(
            out,
            "  event {:?} {:?} at {:?} {:?} {} [{}]",
            text(event.title),
            text(event.text),
            event.timestamp_s,
            [event.host, event.aggregation_key, event.priority, event.source_type_name].map(text),
            event.alert_type.as_str(),
            tags(event.tags())
        ),
        Line::ServiceCheck(check) => writeln!(
            out,
            "  check {:?} {} at {:?} on {:?}: {:?} [{}]",
            text(check.name),
            check.status,
            check.timestamp_s,
            text(check.host),
            text(check.message),
            tags(check.tags())
        ),
    };
}

#[test]
fn what_real_clients_sent_says_what_they_meant() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/statsd/cases");
    let mut inputs: Vec<_> = std::fs::read_dir(&folder)
        .expect("a readable folder")
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "in"))
        .collect();
    inputs.sort();
    assert!(inputs.len() >= 4, "{inputs:?}");
    for path in inputs {
        let input = std::fs::read_to_string(&path).expect("a readable case");
        let plain = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("plain"));
        let got = replay(&input, if plain { Flavor::StatsD } else { Flavor::DogStatsD });
        let wanted = path.with_extension("want");
        if std::env::var_os("WEIR_BLESS").is_some() {
            std::fs::write(&wanted, &got).expect("a writable case");
        }
        let want = std::fs::read_to_string(&wanted).expect("what is wanted");
        assert_eq!(got, want, "{}", path.display());
    }
}
