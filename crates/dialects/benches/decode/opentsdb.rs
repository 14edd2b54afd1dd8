//! OpenTSDB's data points: a list in JSON, and lines.

use std::fmt::Write as _;

use super::{Case, labels, timestamp_ms, value};

/// The cases.
pub(crate) const CASES: [Case; 2] = [
    Case { name: "OpenTSDB", path: "/api/put", content_type: "application/json", body: json, rows: 1 },
    Case { name: "OpenTSDB lines", path: "opentsdb", content_type: "", body: lines, rows: 1 },
];

fn json(points: usize) -> Vec<u8> {
    let point = |i: usize| {
        let [(_, name), rest @ ..] = labels(i);
        let tags: Vec<_> = rest.iter().map(|(n, v)| format!("\"{n}\":\"{v}\"")).collect();
        format!(
            r#"{{"metric":"{name}","timestamp":{},"value":{},"tags":{{{}}}}}"#,
            timestamp_ms(i) / 1000,
            value(i),
            tags.join(",")
        )
    };
    format!("[{}]", (0..points).map(point).collect::<Vec<_>>().join(",")).into_bytes()
}

fn lines(points: usize) -> Vec<u8> {
    let mut body = String::new();
    for i in 0..points {
        let [(_, name), rest @ ..] = labels(i);
        let tags: Vec<_> = rest.iter().map(|(n, v)| format!("{n}={v}")).collect();
        // Writing to a String cannot fail.
        let _ = writeln!(body, "put {name} {} {} {}", timestamp_ms(i) / 1000, value(i), tags.join(" "));
    }
    body.into_bytes()
}
