//! The dashboards that ship with Weir: what they ask for can be asked, of metrics that there are.

use std::path::Path;

use promql::parse;

/// Every `expr` of a dashboard, as Grafana would send it.
fn expressions(value: &serde_json::Value, found: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(entries) => {
            for (key, value) in entries {
                match value.as_str().filter(|_| key == "expr") {
                    Some(text) => found.push(text.replace("$__rate_interval", "5m")),
                    None => expressions(value, found),
                }
            }
        }
        serde_json::Value::Array(values) => values.iter().for_each(|value| expressions(value, found)),
        _ => {}
    }
}

/// The words of an expression that are Weir's metrics.
fn metrics(expression: &str) -> impl Iterator<Item = &str> {
    let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("weir_") || word.starts_with("dd_api_"))
}

fn exists(metric: &str) -> bool {
    let bare = ["_total", "_bucket", "_count", "_sum"].iter().find_map(|suffix| metric.strip_suffix(suffix));
    let names = [Some(metric), bare];
    server::metrics::ROWS.iter().any(|row| names.contains(&Some(row.name)))
}

#[test]
fn dashboards_ask_for_what_there_is() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dashboards");
    let mut dashboards = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        dashboards += 1;
        let text = std::fs::read_to_string(&path).unwrap();
        let mut found = Vec::new();
        expressions(&serde_json::from_str(&text).unwrap(), &mut found);
        assert!(!found.is_empty(), "{}", path.display());
        for expression in found {
            parse(&expression).unwrap_or_else(|error| panic!("{expression}: {error}"));
            assert!(metrics(&expression).count() > 0, "{expression}");
            for metric in metrics(&expression) {
                assert!(exists(metric), "{}: {metric} is no metric", path.display());
            }
        }
    }
    assert!(dashboards > 0);
    assert!(!exists("weir_nothing_total"));
}
