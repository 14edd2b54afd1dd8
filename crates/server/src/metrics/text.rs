//! The registry as text: OpenMetrics 1.0 for GET /metrics and for Weir's own store, Markdown for the docs.

use std::fmt::Write;

use super::family::{Sink, Value};
use super::{Kind, Metrics, ROWS, Row};

/// The content type of [`openmetrics`].
pub const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All metrics as OpenMetrics.
pub fn openmetrics(metrics: &Metrics) -> String {
    let mut text = Text(String::with_capacity(32 << 10));
    metrics.each(&mut text);
    text.0.push_str("# EOF\n");
    text.0
}

struct Text(String);

// Writing to a string cannot fail.
impl Sink for Text {
    fn row(&mut self, row: &Row) {
        let _ = writeln!(self.0, "# TYPE {} {}", row.name, row.kind.as_str());
        if !row.unit.is_empty() {
            let _ = writeln!(self.0, "# UNIT {} {}", row.name, row.unit);
        }
        let _ = writeln!(self.0, "# HELP {} {}", row.name, row.help);
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
         the scope `admin` or the `read` token of `system`. Counters carry the suffix `_total`.\n\n\
         | name | type | labels | meaning |\n| --- | --- | --- | --- |\n",
    );
    for row in ROWS {
        let suffix = match row.kind {
            Kind::Counter => "_total",
            Kind::Info => "_info",
            _ => "",
        };
        let (name, kind, labels) = (row.name, row.kind.as_str(), row.labels.join(", "));
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
