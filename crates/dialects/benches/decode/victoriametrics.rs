//! Lines as VictoriaMetrics exports them.

use super::{Case, labels, timestamp_ms, value};

/// JSON lines.
pub(crate) const LINES: Case = Case {
    name: "VictoriaMetrics JSON lines",
    path: "/api/v1/import",
    content_type: "",
    body: lines,
    rows: 1,
};

fn lines(series: usize) -> Vec<u8> {
    let line = |i: usize| {
        let labels = labels(i).map(|(name, value)| format!("\"{name}\":\"{value}\"")).join(",");
        format!(
            "{{\"metric\":{{{labels}}},\"values\":[{}],\"timestamps\":[{}]}}\n",
            value(i),
            timestamp_ms(i)
        )
    };
    (0..series).map(line).collect::<String>().into_bytes()
}
