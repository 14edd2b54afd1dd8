//! Pushes of 100-byte lines, a hundred in each stream.

use codec::proto::{write_bytes, write_number};

const LINES_PER_STREAM: usize = 100;

fn labels(stream: usize) -> [(&'static str, String); 4] {
    [
        ("app", format!("shop-{}", stream % 20)),
        ("env", "production".into()),
        ("instance", format!("host-{stream:04}.example.net")),
        ("level", ["info", "warn"][stream % 2].into()),
    ]
}

fn line(i: usize) -> String {
    format!(
        "ts=2026-11-20T09:45:44.000Z caller=http.go:{} method=GET path=/api/items/{i:06} status=200 dur=12ms",
        i % 500
    )
}

fn time(i: usize) -> (u64, u64) {
    (1_795_167_944, i as u64 * 1000)
}

/// JSON as clients write it.
pub(crate) fn json(lines: usize) -> Vec<u8> {
    let streams = (0..lines).step_by(LINES_PER_STREAM).map(|start| {
        let labels = labels(start / LINES_PER_STREAM);
        let labels: Vec<_> = labels.iter().map(|(name, value)| format!(r#""{name}":"{value}""#)).collect();
        let values = (start..lines.min(start + LINES_PER_STREAM)).map(|i| {
            let (seconds, nanos) = time(i);
            format!(r#"["{seconds}{nanos:09}","{}"]"#, line(i))
        });
        let values: Vec<_> = values.collect();
        format!(r#"{{"stream":{{{}}},"values":[{}]}}"#, labels.join(","), values.join(","))
    });
    format!(r#"{{"streams":[{}]}}"#, streams.collect::<Vec<_>>().join(",")).into_bytes()
}

/// A `PushRequest`, not packed.
pub(crate) fn protobuf(lines: usize) -> Vec<u8> {
    let mut body = Vec::new();
    for start in (0..lines).step_by(LINES_PER_STREAM) {
        let labels = labels(start / LINES_PER_STREAM);
        let labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        let mut stream = Vec::new();
        write_bytes(1, format!("{{{}}}", labels.join(", ")).as_bytes(), &mut stream);
        for i in start..lines.min(start + LINES_PER_STREAM) {
            let (mut timestamp, mut entry) = (Vec::new(), Vec::new());
            let (seconds, nanos) = time(i);
            write_number(1, seconds, &mut timestamp);
            write_number(2, nanos, &mut timestamp);
            write_bytes(1, &timestamp, &mut entry);
            write_bytes(2, line(i).as_bytes(), &mut entry);
            write_bytes(2, &entry, &mut stream);
        }
        write_bytes(1, &stream, &mut body);
    }
    body
}
