//! Every answer against upstream's description of the API: its content type, and its schema, word by word.
//!
//! The description is not in this repository; where it is not beside it, the test says that it was skipped. A schema's
//! keyword that the checker does not know fails the test, so nothing is taken for checked that was not.

mod common;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use common::{Response, Weir, skipped};
use model::Batch;
use model::batch::{HistogramSample, LabelSource, SeriesRow, Temporality};
use model::histogram::{BucketCounts, Histogram, ResetHint, Span};
use serde_json::Value;
use server::config::Auth;
use tsdb::WriteContext;

/// Paths that Weir does not serve, and why.
const NOT_SERVED: &[(&str, &str)] = &[
    ("/write", "a dialect's door; it answers 204 and is tested there"),
    ("/otlp/v1/metrics", "no OTLP yet"),
    ("/read", "remote read has its own tests with real clients"),
];

/// Where upstream's description says otherwise than upstream does, and Weir does as upstream does.
const MISDESCRIBED: &[(&str, &str)] = &[
    ("query?query=\"text\"&time=4", "a string's time is a number, and is described as a string"),
    ("query_exemplars?query=1", "nothing is selected: 204"),
    ("admin/tsdb/delete_series?match[]=none", "204 without a body"),
    ("admin/tsdb/clean_tombstones", "204 without a body"),
];

/// Requests behind `/api/v1/`, some of each path; those that end in `!` are refused.
const REQUESTS: &[&str] = &[
    "query?query=sent&time=1700000060&stats=all",
    "query?query=native&time=1700000060",
    "query?query=sent[5m]&time=1700000060",
    "query?query=1&time=4",
    "query?query=\"text\"&time=4",
    "query?query=none",
    "query?query=quantile(2,sent)&time=1700000060",
    "query?query=rate(sent[5m])&time=1700000060",
    "query?query=(!",
    "query?query=sent%2Bon(job)sent&time=1700000060!",
    "query_range?query=sent&start=1700000000&end=1700000060&step=30&stats=true",
    "query_range?query=native&start=1700000000&end=1700000060&step=30",
    "query_range?query=sent&start=1&end=0&step=1!",
    "query_exemplars?query=asked_total",
    "query_exemplars?query=1",
    "query_exemplars?query=sent&start=2&end=1!",
    "format_query?query=sum(sent)",
    "format_query?query=sum(!",
    "parse_query?query=sum(rate(sent[5m]))",
    "parse_query?query=sum(!",
    "labels",
    "labels?limit=1",
    "labels?limit=-1!",
    "label/job/values?match[]=sent",
    "label/job/values?start=x!",
    "search/metric_names?search[]=s&include_metadata=true&include_score=true",
    "search/metric_names?fuzz_threshold=200!",
    "search/label_names",
    "search/label_names?limit=0!",
    "search/label_values?label=job",
    "search/label_values!",
    "series?match[]=sent",
    "series!",
    "metadata",
    "metadata?limit=x!",
    "scrape_pools",
    "scrape_pools/config?scrapePool=a!",
    "targets",
    "targets?state=any&scrapePool=a",
    "targets/metadata?match_target={job=\"a\"}",
    "targets/metadata?limit=x!",
    "targets/relabel_steps?scrapePool=a&labels={}!",
    "rules?type=alert&group_limit=5",
    "rules?type=x!",
    "alerts",
    "alertmanagers",
    "status/config",
    "status/runtimeinfo",
    "status/buildinfo",
    "status/flags",
    "status/tsdb?limit=3",
    "status/tsdb?limit=0!",
    "status/tsdb/blocks",
    "status/walreplay",
    "status/self_metrics?metric_name_pattern=weir_.*",
    "status/self_metrics?metric_name_pattern=(!",
    "notifications",
    "features",
    "admin/tsdb/delete_series?match[]=none",
    "admin/tsdb/delete_series!",
    "admin/tsdb/clean_tombstones",
    "admin/tsdb/snapshot",
];

struct Schemas(Value);

impl Schemas {
    /// What of `value` does not fit.
    fn check(&self, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
        let keywords = schema.as_object().ok_or_else(|| format!("{at}: {schema} is no schema"))?;
        let wrong = |what: &str| Err(format!("{at}: {what} does not hold for {value}"));
        for (keyword, rule) in keywords {
            match keyword.as_str() {
                "$ref" => {
                    let pointer = rule.as_str().unwrap_or_default().trim_start_matches('#');
                    let schema = self.0.pointer(pointer).ok_or_else(|| format!("{pointer} is not there"))?;
                    self.check(schema, value, at)?;
                }
                "type" if !is_of(rule.as_str().unwrap_or_default(), value) => {
                    return wrong(&format!("type {rule}"));
                }
                "enum" if !rule.as_array().is_some_and(|all| all.contains(value)) => return wrong("enum"),
                "format" if !has_format(rule.as_str().unwrap_or_default(), value) => {
                    return wrong(&format!("format {rule}"));
                }
                "minimum" if value.as_f64() < rule.as_f64() => return wrong("minimum"),
                "minItems"
                    if value.as_array().is_some_and(|list| (list.len() as u64) < rule.as_u64().unwrap()) =>
                {
                    return wrong("minItems");
                }
                "maxItems"
                    if value.as_array().is_some_and(|list| list.len() as u64 > rule.as_u64().unwrap()) =>
                {
                    return wrong("maxItems");
                }
                "items" => {
                    for (i, item) in value.as_array().into_iter().flatten().enumerate() {
                        self.check(rule, item, &format!("{at}[{i}]"))?;
                    }
                }
                "required" => {
                    let mut names = rule.as_array().into_iter().flatten().filter_map(Value::as_str);
                    if let Some(name) = names.find(|name| value.get(name).is_none()) {
                        return wrong(&format!("required {name}"));
                    }
                }
                "properties" | "additionalProperties" => {
                    let known = keywords.get("properties").and_then(Value::as_object);
                    for (name, member) in value.as_object().into_iter().flatten() {
                        let known = known.and_then(|known| known.get(name));
                        let at = format!("{at}.{name}");
                        match (keyword.as_str(), known, rule) {
                            ("properties", Some(schema), _) => self.check(schema, member, &at)?,
                            ("additionalProperties", None, Value::Bool(false)) => {
                                return Err(format!("{at} is not described"));
                            }
                            ("additionalProperties", None, Value::Object(_)) => {
                                self.check(rule, member, &at)?
                            }
                            _ => {}
                        }
                    }
                }
                "oneOf" | "anyOf" => {
                    let choices = rule.as_array().map(Vec::as_slice).unwrap_or_default();
                    let results: Vec<_> =
                        choices.iter().map(|choice| self.check(choice, value, at)).collect();
                    let fitting = results.iter().filter(|result| result.is_ok()).count();
                    if fitting == 0 || keyword == "oneOf" && fitting > 1 {
                        return Err(format!("{at}: {fitting} of {keyword} fit: {results:?}"));
                    }
                }
                "type" | "enum" | "format" | "minimum" | "minItems" | "maxItems" => {}
                "description" | "example" | "default" => {}
                other => return Err(format!("{at}: the checker does not know {other}")),
            }
        }
        Ok(())
    }

    /// What of an answer is not as described for the path and method.
    fn check_answer(&self, path: &str, method: &str, answer: &Response) -> Result<(), String> {
        let operation = &self.0["paths"][path][method.to_lowercase()];
        let described = match &operation["responses"][answer.status.to_string()] {
            Value::Null if answer.status >= 400 => &operation["responses"]["default"],
            described => described,
        };
        let contents = described["content"].as_object();
        let contents = contents.ok_or_else(|| format!("status {} is not described", answer.status))?;
        let header = answer.head.lines().find_map(|line| line.strip_prefix("content-type: "));
        let content_type = header.and_then(|header| header.split(';').next()).unwrap_or_default();
        let content = contents
            .get(content_type)
            .ok_or_else(|| format!("content type {content_type} is not described"))?;
        if content_type == "application/json" {
            self.check(&content["schema"], &answer.json(), "$")
        } else {
            self.check(&content["schema"], &answer.body.as_str().into(), "$")
        }
    }
}

fn is_of(kind: &str, value: &Value) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        _ => false,
    }
}

fn has_format(format: &str, value: &Value) -> bool {
    match format {
        "date-time" => value.as_str().is_some_and(|text| text.parse::<jiff::Timestamp>().is_ok()),
        "int64" => value.is_i64(),
        "double" | "float" => value.is_number(),
        _ => false,
    }
}

fn description() -> Option<Schemas> {
    let path = "../../../shared/conformance/prometheus-openapi/openapi_3.1_golden.yaml";
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).ok()?;
    Some(Schemas(serde_saphyr::from_str(&text).unwrap()))
}

/// A Weir that asks for no token, with floats, native histograms, exemplars, metadata, and something in a block.
fn filled() -> Weir {
    let weir = Weir::start_with(|settings| {
        settings.general.auth = Auth::Off;
        settings.storage.retention = std::time::Duration::ZERO;
    });
    let floats = "\
# TYPE asked counter
# HELP asked Something that was asked.
asked_total{job=\"a\"} 1 1700000000 # {trace=\"x\"} 1 1700000000
asked_total{job=\"a\"} 3 1700000060
# TYPE sent gauge
sent{job=\"a\",code=\"1\"} 2 1700000060
sent{job=\"a\",code=\"2\"} 2 1700000060
# EOF
";
    let headers = "Content-Type: application/openmetrics-text; version=1.0.0\r\n";
    let stored = weir.request("POST", "/api/v1/import/prometheus", "", headers, floats.as_bytes());
    assert_eq!(stored.status, 204, "{stored:?}");
    send_native(&weir);
    weir.app().store().unwrap().flush().unwrap();
    weir
}

/// `native`, a native histogram at 1700000060.
fn send_native(weir: &Weir) {
    let (store, authority) = (weir.app().store().unwrap(), weir.app().authority());
    let tenant = authority.tenant("default").unwrap();
    let mut batch = Batch::new(store.seed());
    batch.pairs.push(("__name__".into(), "native".into()));
    let histogram = Histogram {
        schema: 0,
        zero_threshold: 0.0,
        sum: 3.5,
        reset_hint: ResetHint::Unknown,
        positive_spans: vec![Span { offset: 0, length: 2 }],
        negative_spans: Vec::new(),
        counts: BucketCounts::Integer { count: 3, zero: 0, positive: vec![1, 2], negative: Vec::new() },
        custom_bounds: Vec::new(),
    };
    let histogram = Arc::new(histogram);
    batch.histograms.push(HistogramSample { timestamp_ms: 1_700_000_060_000, start_ms: 0, histogram });
    let labels = LabelSource::Pairs(0..1);
    batch.series.push(SeriesRow {
        labels,
        key: 1,
        samples: 0..0,
        histograms: 0..1,
        exemplars: 0..0,
        temporality: Temporality::Cumulative,
        item: 0,
    });
    let now_ms = 1_700_000_060_000;
    let context =
        WriteContext { tenant: tenant.id, limits: &tenant.limits, epoch: tenant.epoch, now_ms, digest: None };
    let (ticket, appended) = store.append(&context, &batch).unwrap();
    assert_eq!(appended.accepted.histograms, 1, "{appended:?}");
    ticket.wait().unwrap();
}

#[test]
fn every_answer_is_as_described() {
    let Some(schemas) = description() else { return skipped("description of Prometheus' API (../shared)") };
    let weir = filled();
    let kind = |question: &str| weir.get(&format!("/api/v1/{question}"), "").json()["data"].clone();
    assert!(kind("query?query=native&time=1700000060")["result"][0]["histogram"][1]["buckets"].is_array());
    assert_eq!(kind("query_exemplars?query=asked_total").as_array().map(Vec::len), Some(1));
    let mut asked = BTreeSet::new();
    let mut faults = Vec::new();
    for request in REQUESTS {
        let (question, refused) = match request.strip_suffix('!') {
            Some(question) => (question, true),
            None => (*request, false),
        };
        let (path, query) = question.split_once('?').unwrap_or((question, ""));
        let described = match path.starts_with("label/") {
            true => "/label/{name}/values".to_owned(),
            false => format!("/{path}"),
        };
        let operations = schemas.0["paths"][&described].as_object();
        for method in operations.unwrap_or_else(|| panic!("{described} is not described")).keys() {
            asked.insert((described.clone(), method.clone()));
            let query = query.replace('"', "%22");
            let answer = match method.as_str() {
                "post" => {
                    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
                    weir.request("POST", &format!("/api/v1/{path}"), "", form, query.as_bytes())
                }
                method => {
                    weir.request(&method.to_uppercase(), &format!("/api/v1/{path}?{query}"), "", "", b"")
                }
            };
            assert_eq!(answer.status >= 400, refused, "{method} {question}: {answer:?}");
            let checked = schemas.check_answer(&described, method, &answer);
            match (MISDESCRIBED.iter().find(|(known, _)| *known == question), checked) {
                (None, Ok(())) => {}
                (None, Err(fault)) => faults.push(format!("{method} {question}: {fault}")),
                (Some(_), Err(_)) => {}
                (Some((_, reason)), Ok(())) => {
                    faults.push(format!("{question} is described after all: {reason}"))
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    for (path, operations) in schemas.0["paths"].as_object().unwrap() {
        for method in operations.as_object().unwrap().keys() {
            match NOT_SERVED.iter().find(|(known, _)| known == path) {
                Some((_, reason)) => say(&format!("not asked: {method} {path}: {reason}")),
                None => {
                    assert!(asked.contains(&(path.clone(), method.clone())), "{method} {path} is not asked")
                }
            }
        }
    }
    MISDESCRIBED.iter().for_each(|(request, reason)| say(&format!("not as described: {request}: {reason}")));
}

#[expect(clippy::print_stdout, reason = "what is left out is to be seen")]
fn say(text: &str) {
    println!("{text}");
}

/// The checker finds what it is for.
#[test]
fn what_does_not_fit_is_found() {
    let schemas = Schemas(serde_json::json!({ "a": { "type": "integer", "minimum": 1 } }));
    let schema = serde_json::json!({
        "type": "object", "required": ["a"], "additionalProperties": false,
        "properties": {
            "a": { "$ref": "#/a" },
            "b": { "type": "array", "minItems": 1, "maxItems": 2, "items": { "oneOf": [{ "type": "number" }, { "type": "integer" }] } },
            "c": { "type": "string", "format": "date-time" },
            "d": { "enum": ["x"] },
        },
    });
    let check = |text: &str| schemas.check(&schema, &serde_json::from_str(text).unwrap(), "$");
    for good in [r#"{"a":1}"#, r#"{"a":2,"b":[0.5],"c":"2026-01-01T00:00:00Z","d":"x"}"#] {
        assert_eq!(check(good), Ok(()), "{good}");
    }
    for bad in [
        "[]",
        "{}",
        r#"{"a":0}"#,
        r#"{"a":1.5}"#,
        r#"{"a":1,"e":1}"#,
        r#"{"a":1,"b":[]}"#,
        r#"{"a":1,"b":[0.5,0.5,0.5]}"#,
        r#"{"a":1,"b":[1]}"#,
        r#"{"a":1,"c":"today"}"#,
        r#"{"a":1,"d":"y"}"#,
    ] {
        assert!(check(bad).is_err(), "{bad}");
    }
    assert!(schemas.check(&serde_json::json!({ "pattern": "x" }), &Value::Null, "$").is_err());
}
