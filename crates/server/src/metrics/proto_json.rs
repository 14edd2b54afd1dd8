//! The registry as Protocol Buffers' JSON of `io.prometheus.client.MetricFamily`, for `status/self_metrics`.
//!
//! That mapping writes 64-bit integers as strings and infinities as words. Names are those of the exposition.

use serde_json::{Map, Value as Json, json};

use super::family::{Sink, Value};
use super::{Kind, Metrics, Row};

/// The families whose names are wanted.
pub fn families(metrics: &Metrics, wanted: impl Fn(&str) -> bool) -> Json {
    let mut families = Families::default();
    metrics.each(&mut families);
    families.0.retain(|family| family["name"].as_str().is_some_and(&wanted));
    Json::Array(families.0)
}

#[derive(Default)]
struct Families(Vec<Json>);

impl Families {
    /// The metric to which the sample belongs; parts of a histogram come one after the other.
    fn metric(&mut self, row: &Row, labels: &[String]) -> Option<&mut Json> {
        let pairs: Vec<Json> = row
            .labels
            .iter()
            .zip(labels)
            .map(|(name, value)| json!({ "name": name, "value": value }))
            .collect();
        let metrics = self.0.last_mut()?.get_mut("metric")?.as_array_mut()?;
        if row.kind != Kind::Histogram || metrics.last().is_none_or(|last| last["label"] != json!(pairs)) {
            metrics.push(json!({ "label": pairs }));
        }
        metrics.last_mut()
    }
}

impl Sink for Families {
    fn row(&mut self, row: &Row) {
        let kind = match row.kind {
            Kind::Counter => "COUNTER",
            Kind::Gauge | Kind::Info => "GAUGE",
            Kind::Histogram => "HISTOGRAM",
        };
        let name = format!("{}{}", row.name, row.kind.suffix());
        let mut family = json!({ "name": name, "help": row.help, "type": kind, "metric": [] });
        if !row.unit.is_empty() {
            family["unit"] = row.unit.into();
        }
        self.0.push(family);
    }

    fn sample(&mut self, row: &Row, suffix: &str, labels: &[String], le: Option<f64>, value: Value) {
        let Some(metric) = self.metric(row, labels) else { return };
        match (row.kind, suffix) {
            (Kind::Counter, _) => metric["counter"] = json!({ "value": float(value) }),
            (Kind::Gauge | Kind::Info, _) => metric["gauge"] = json!({ "value": float(value) }),
            (Kind::Histogram, "_count") => metric["histogram"]["sampleCount"] = integer(value),
            (Kind::Histogram, "_sum") => metric["histogram"]["sampleSum"] = float(value),
            (Kind::Histogram, _) => {
                let histogram = metric
                    .as_object_mut()
                    .map(|metric| metric.entry("histogram").or_insert_with(|| Json::Object(Map::new())));
                let Some(histogram) = histogram else { return };
                let bound = le.map_or(Json::Null, |le| float(Value::Float(le)));
                let bucket = json!({ "cumulativeCount": integer(value), "upperBound": bound });
                match histogram.get_mut("bucket").and_then(Json::as_array_mut) {
                    Some(buckets) => buckets.push(bucket),
                    None => histogram["bucket"] = json!([bucket]),
                }
            }
        }
    }
}

fn float(value: Value) -> Json {
    match value {
        Value::Count(count) => json!(count as f64),
        Value::Float(f64::INFINITY) => json!("Infinity"),
        Value::Float(f64::NEG_INFINITY) => json!("-Infinity"),
        Value::Float(value) if value.is_nan() => json!("NaN"),
        Value::Float(value) => json!(value),
    }
}

fn integer(value: Value) -> Json {
    match value {
        Value::Count(count) => json!(count.to_string()),
        Value::Float(value) => json!((value as u64).to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn families_have_the_names_of_the_exposition() {
        let metrics = Metrics::default();
        metrics.requests.with(&["text", "204"]).add(3);
        metrics.ack_seconds.with(&["a"]).observe(Duration::from_millis(2));
        metrics.ack_seconds.with(&["b"]).observe(Duration::from_secs(99));
        let all = families(&metrics, |_| true);
        assert_eq!(all.as_array().unwrap().len(), super::super::ROWS.len());
        let only = |name: &'static str| families(&metrics, move |found| found == name)[0].clone();
        assert_eq!(
            only("weir_requests_total")["metric"],
            json!([{
                "label": [{ "name": "dialect", "value": "text" }, { "name": "code", "value": "204" }],
                "counter": { "value": 3.0 },
            }])
        );
        let seconds = only("weir_ack_seconds");
        assert_eq!((&seconds["type"], &seconds["unit"]), (&json!("HISTOGRAM"), &json!("seconds")));
        let metrics = seconds["metric"].as_array().unwrap();
        assert_eq!(metrics.len(), 2);
        let late = &metrics[1]["histogram"];
        assert_eq!((&late["sampleCount"], &late["sampleSum"]), (&json!("1"), &json!(99.0)));
        let buckets = late["bucket"].as_array().unwrap();
        assert_eq!(buckets.last(), Some(&json!({ "cumulativeCount": "1", "upperBound": "Infinity" })));
        assert_eq!(buckets[0], json!({ "cumulativeCount": "0", "upperBound": 0.001 }));
    }
}
