//! Graphite plaintext with tags.

use std::fmt::Write as _;

use super::{Case, labels, timestamp_ms, value};

/// The case.
pub(crate) const CASE: Case = Case { name: "Graphite", path: "graphite", content_type: "", body, rows: 1 };

fn body(lines: usize) -> Vec<u8> {
    let mut body = String::new();
    for i in 0..lines {
        let [(_, name), rest @ ..] = labels(i);
        let tags: Vec<_> = rest.iter().map(|(n, v)| format!(";{n}={v}")).collect();
        // Writing to a String cannot fail.
        let _ = writeln!(body, "{name}{} {} {}", tags.concat(), value(i), timestamp_ms(i) / 1000);
    }
    body.into_bytes()
}
