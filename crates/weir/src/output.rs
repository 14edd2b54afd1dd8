//! Answers of Prometheus' HTTP API as a table, JSON, JSON lines or CSV.

use std::collections::BTreeSet;
use std::fmt::Write;

use serde_json::Value;

use crate::arguments::Format;
use crate::terminal::tame;
use crate::time;

/// The `data` of an answer as text.
pub(crate) fn show(data: &Value, format: Format) -> String {
    match format {
        Format::Json => format!("{data:#}\n"),
        Format::Jsonl => items(data).iter().map(|item| format!("{item}\n")).collect(),
        Format::Table => tabular(data),
        Format::Csv => csv(data),
    }
}

/// The parts of an answer: series, names, or the one value.
fn items(data: &Value) -> Vec<&Value> {
    match (data, &data["result"], data["resultType"].as_str()) {
        (Value::Array(items), _, _) => items.iter().collect(),
        (_, Value::Array(items), Some("vector" | "matrix")) => items.iter().collect(),
        (_, Value::Null, _) => vec![data],
        (_, result, _) => vec![result],
    }
}

/// A sample: time, and a float as text or a histogram.
struct Point<'a> {
    seconds: f64,
    value: &'a Value,
}

impl Point<'_> {
    fn time(&self) -> String {
        time::show(self.seconds)
    }

    fn text(&self) -> String {
        match self.value {
            Value::String(text) => text.clone(),
            Value::Object(histogram) => {
                let part = |key: &str| histogram.get(key).and_then(Value::as_str).unwrap_or("?").to_owned();
                format!("histogram count={} sum={}", part("count"), part("sum"))
            }
            other => other.to_string(),
        }
    }
}

/// All points of a series or a scalar, floats and histograms by time.
fn points(item: &Value) -> Vec<Point<'_>> {
    let one = |pair: &'_ Value| pair.get(0).and_then(Value::as_f64);
    let mut points = Vec::new();
    let singles = ["value", "histogram"].iter().filter_map(|key| item.get(key));
    let lists = ["values", "histograms"].iter().filter_map(|key| item.get(key)?.as_array()).flatten();
    for pair in singles.chain(lists) {
        if let (Some(seconds), Some(value)) = (one(pair), pair.get(1)) {
            points.push(Point { seconds, value });
        }
    }
    if let (Some(seconds), Some(value)) = (one(item), item.get(1)) {
        points.push(Point { seconds, value });
    }
    points.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
    points
}

/// A series in the notation of PromQL.
fn series_name(labels: &Value) -> String {
    let quoted = |value: &Value| {
        let text = value.as_str().unwrap_or_default();
        text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
    };
    let entries = labels.as_object().into_iter().flatten();
    let pairs: Vec<_> = entries
        .filter(|(name, _)| *name != "__name__")
        .map(|(name, value)| format!("{name}=\"{}\"", quoted(value)))
        .collect();
    let metric = labels["__name__"].as_str().unwrap_or_default();
    let braces = if pairs.is_empty() && !metric.is_empty() {
        String::new()
    } else {
        format!("{{{}}}", pairs.join(", "))
    };
    tame(&format!("{metric}{braces}"))
}

fn tabular(data: &Value) -> String {
    let items = items(data);
    let sampled = data.get("resultType").is_some();
    if !sampled {
        // Names, or the label sets of series.
        let line = |item: &&Value| match item {
            Value::String(text) => tame(text),
            labels => series_name(labels),
        };
        return items.iter().map(line).fold(String::new(), |text, line| text + &line + "\n");
    }
    let mut rows = vec![["SERIES", "TIME", "VALUE"].map(str::to_owned).to_vec()];
    for item in items {
        let mut name = item.get("metric").map(series_name).unwrap_or_default();
        for point in points(item) {
            // A series' name stands at its first point.
            rows.push(vec![std::mem::take(&mut name), point.time(), tame(&point.text())]);
        }
    }
    table(&rows)
}

/// Rows in columns of equal width.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<_> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{cell:width$}  ");
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

fn csv(data: &Value) -> String {
    let items = items(data);
    let label_sets: Vec<&Value> = items.iter().map(|item| item.get("metric").unwrap_or(item)).collect();
    let names = label_sets.iter().filter_map(|labels| labels.as_object()).flat_map(|labels| labels.keys());
    let names: BTreeSet<&String> = names.collect();
    let sampled = data.get("resultType").is_some();
    if !sampled && names.is_empty() {
        let line = |item: &&Value| format!("{}\n", csv_cell(item.as_str().unwrap_or_default()));
        return items.iter().map(line).collect();
    }
    let head =
        ["timestamp", "value"].into_iter().filter(|_| sampled).chain(names.iter().map(|name| name.as_str()));
    let mut text = csv_line(head);
    for (item, labels) in items.iter().zip(&label_sets) {
        let cells: Vec<&str> =
            names.iter().map(|name| labels[name.as_str()].as_str().unwrap_or_default()).collect();
        if !sampled {
            text += &csv_line(cells.iter().copied());
        }
        for point in points(item).iter().filter(|_| sampled) {
            let (time, value) = (point.time(), point.text());
            text += &csv_line([time.as_str(), value.as_str()].into_iter().chain(cells.iter().copied()));
        }
    }
    text
}

fn csv_line<'a>(cells: impl Iterator<Item = &'a str>) -> String {
    cells.map(csv_cell).collect::<Vec<_>>().join(",") + "\n"
}

/// RFC 4180: quoted when it has to be.
fn csv_cell(text: &str) -> String {
    if text.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn vector() -> Value {
        json!({"resultType": "vector", "result": [
            {"metric": {"__name__": "up", "job": "a\"b"}, "value": [1_700_000_000.0, "1"]},
            {"metric": {"instance": "x,y"}, "histogram": [1_700_000_000.5, {"count": "3", "sum": "4.5", "buckets": []}]},
        ]})
    }

    #[test]
    fn a_vector_in_all_formats() {
        assert_eq!(
            show(&vector(), Format::Table),
            "SERIES            TIME                    VALUE\n\
             up{job=\"a\\\"b\"}    2023-11-14T22:13:20Z    1\n\
             {instance=\"x,y\"}  2023-11-14T22:13:20.5Z  histogram count=3 sum=4.5\n"
        );
        assert_eq!(
            show(&vector(), Format::Csv),
            "timestamp,value,__name__,instance,job\n\
             2023-11-14T22:13:20Z,1,up,,\"a\"\"b\"\n\
             2023-11-14T22:13:20.5Z,histogram count=3 sum=4.5,,\"x,y\",\n"
        );
        let lines = show(&vector(), Format::Jsonl);
        assert_eq!(lines.lines().count(), 2);
        assert!(
            lines.starts_with(r#"{"metric":{"__name__":"up","job":"a\"b"},"value":[1700000000.0,"1"]}"#),
            "{lines}"
        );
        assert_eq!(serde_json::from_str::<Value>(&show(&vector(), Format::Json)).unwrap(), vector());
    }

    #[test]
    fn a_matrix_names_each_series_once() {
        let matrix = json!({"resultType": "matrix", "result": [
            {"metric": {}, "values": [[1_700_000_000, "1"], [1_700_000_060, "NaN"]]},
        ]});
        assert_eq!(
            show(&matrix, Format::Table),
            "SERIES  TIME                  VALUE\n{}      2023-11-14T22:13:20Z  1\n        2023-11-14T22:14:20Z  NaN\n"
        );
    }

    #[test]
    fn scalars_names_and_label_sets() {
        let scalar = json!({"resultType": "scalar", "result": [1_700_000_000, "7"]});
        assert_eq!(show(&scalar, Format::Csv), "timestamp,value\n2023-11-14T22:13:20Z,7\n");
        assert!(show(&scalar, Format::Table).ends_with("        2023-11-14T22:13:20Z  7\n"));
        assert_eq!(show(&json!(["a", "b\u{1b}"]), Format::Table), "a\nb\\u{1b}\n");
        assert_eq!(show(&json!(["a", "b"]), Format::Csv), "a\nb\n");
        let series = json!([{"__name__": "up", "job": "a"}, {"__name__": "up"}]);
        assert_eq!(show(&series, Format::Table), "up{job=\"a\"}\nup\n");
        assert_eq!(show(&series, Format::Csv), "__name__,job\nup,a\nup,\n");
        assert_eq!(show(&json!([]), Format::Table), "");
    }
}
