//! What OpenTelemetry's exporters meet over HTTP: paths, answers, what becomes of points and records.

#![allow(clippy::needless_pass_by_value)] // Bodies are written where they are sent.

mod common;

use common::{Response, Weir};
use dialects::otlp::Strategy;
use model::TenantName;
use serde_json::{Value, json};
use server::config::TenantSettings;

const JSON: &str = "Content-Type: application/json\r\n";
const PROTOBUF: &str = "Content-Type: application/x-protobuf\r\n";

fn now_ms(weir: &Weir) -> i64 {
    weir.app().env.clock.now_ms()
}

fn send(weir: &Weir, path: &str, body: &Value) -> Response {
    weir.request("POST", path, &weir.token, JSON, body.to_string().as_bytes())
}

/// A request of a shop's metrics.
fn request(metrics: Value) -> Value {
    let attribute = |key: &str, value: &str| json!({"key": key, "value": {"stringValue": value}});
    let resource = [attribute("service.name", "cart"), attribute("host.name", "h1")];
    json!({"resourceMetrics": [{"resource": {"attributes": resource}, "scopeMetrics": [{"metrics": metrics}]}]})
}

/// A point at a time, with an attribute `n`.
fn point(at_ms: i64, n: &str, value: Value) -> Value {
    let mut point = json!({
        "timeUnixNano": (at_ms * 1_000_000).to_string(),
        "attributes": [{"key": "n", "value": {"stringValue": n}}],
    });
    point.as_object_mut().unwrap().extend(value.as_object().unwrap().clone());
    point
}

/// Labels and value of each series that a query finds.
fn found(weir: &Weir, query: &str) -> Vec<String> {
    let answer = weir.get(&format!("/api/v1/query?query={query}"), &weir.token).json();
    let series = answer["data"]["result"].as_array().unwrap_or_else(|| panic!("{answer}"));
    let mut all: Vec<String> =
        series.iter().map(|series| format!("{} {}", series["metric"], series["value"][1])).collect();
    all.sort();
    all
}

#[test]
fn every_path_takes_metrics_and_they_are_named_as_prometheus_names_them() {
    let weir = Weir::start();
    let paths = [
        "/v1/metrics",
        "/v1/metrics/",
        "/otlp/v1/metrics",
        "/api/v1/otlp/v1/metrics",
        "/v1/otlp/v1/metrics",
        "/opentelemetry/v1/metrics",
        "/opentelemetry/api/v1/push",
        "/api/default/v1/metrics",
    ];
    for path in paths {
        let points = [point(now_ms(&weir), path, json!({"asInt": "3"}))];
        let sum = json!({"aggregationTemporality": 2, "isMonotonic": true, "dataPoints": points});
        let answer = send(&weir, path, &request(json!([{"name": "http.requests", "sum": sum}])));
        assert_eq!((answer.status, answer.body.as_str()), (200, "{}"), "{path}");
    }
    assert_eq!(found(&weir, "http_requests_total").len(), paths.len());
    assert_eq!(
        found(&weir, "target_info"),
        [r#"{"__name__":"target_info","host_name":"h1","job":"cart"} "1""#]
    );
    let empty = weir.request("POST", "/v1/metrics", &weir.token, PROTOBUF, b"");
    assert_eq!((empty.status, empty.body.as_str()), (200, ""));
    assert!(empty.head.contains("content-type: application/x-protobuf"), "{}", empty.head);
}

#[test]
fn a_refused_point_is_told_and_costs_itself() {
    let weir = Weir::start();
    let now = now_ms(&weir);
    let buckets = json!({"count": "3", "sum": 2.5, "bucketCounts": ["1", "2"], "explicitBounds": [1]});
    let histogram = json!({"aggregationTemporality": 2, "dataPoints": [point(1, "old", buckets.clone()), point(now, "new", buckets)]});
    let gauge =
        json!({"dataPoints": [point(now, "none", json!({})), point(now, "one", json!({"asDouble": 1.5}))]});
    let unsaid =
        json!({"dataPoints": [point(now, "a", json!({"asInt": 1})), point(now, "b", json!({"asInt": 2}))]});
    let body = request(json!([
        {"name": "took", "unit": "s", "histogram": histogram},
        {"name": "depth", "gauge": gauge},
        {"name": "unsaid", "sum": unsaid},
    ]));
    let answer = send(&weir, "/v1/metrics", &body);
    assert_eq!(answer.status, 200, "{answer:?}");
    let partial = &answer.json()["partialSuccess"];
    // One of the histogram's points, which would be four series; one without a value; two without a temporality.
    assert_eq!(partial["rejectedDataPoints"], "4", "{answer:?}");
    assert!(partial["errorMessage"].as_str().unwrap().contains("too_old"), "{partial}");
    assert!(answer.head.contains("x-weir-rejected: "), "{}", answer.head);
    assert_eq!(
        found(&weir, "took_seconds_count"),
        [r#"{"__name__":"took_seconds_count","job":"cart","n":"new"} "3""#]
    );
    assert_eq!(found(&weir, "depth"), [r#"{"__name__":"depth","job":"cart","n":"one"} "1.5""#]);
}

#[test]
fn a_request_of_deltas_counts_once() {
    let weir = Weir::start();
    let deltas = |at_ms: i64| {
        let points = [point(at_ms, "a", json!({"asInt": "3"}))];
        let sum = json!({"aggregationTemporality": 1, "isMonotonic": true, "dataPoints": points});
        request(json!([{"name": "jobs", "sum": sum}]))
    };
    let now = now_ms(&weir);
    for at_ms in [now - 2000, now - 2000, now - 1000, now - 2000] {
        assert_eq!(send(&weir, "/v1/metrics", &deltas(at_ms)).body, "{}");
    }
    assert_eq!(found(&weir, "jobs_total"), [r#"{"__name__":"jobs_total","job":"cart","n":"a"} "6""#]);
    let late = send(&weir, "/v1/metrics", &deltas(now - 3000));
    assert_eq!(late.json()["partialSuccess"]["rejectedDataPoints"], "1", "{late:?}");
}

#[test]
fn a_refusal_is_a_status_in_the_encoding_of_its_request() {
    let weir = Weir::start();
    let code = |answer: &Response| (answer.status, answer.json()["code"].as_u64().unwrap());
    let metrics =
        |token: &str, headers: &str, body: &[u8]| weir.request("POST", "/v1/metrics", token, headers, body);
    assert_eq!(code(&metrics("", JSON, b"{}")), (401, 16));
    assert_eq!(code(&metrics("0123", JSON, b"{}")), (401, 16));
    assert_eq!(code(&metrics(&weir.admin, JSON, b"{}")), (403, 7));
    assert_eq!(code(&metrics(&weir.token, JSON, b"{")), (400, 3));
    let broken = metrics(&weir.token, PROTOBUF, b"\x0a\x05");
    assert_eq!((broken.status, &broken.body.as_bytes()[..2]), (400, &[8, 3][..]));
    let media = metrics(&weir.token, "Content-Type: text/csv\r\n", b"a,b");
    assert!(media.status == 415 && media.head.contains("text/plain"), "{media:?}");
    let large = format!("{JSON}X-Scope-OrgID: default\r\n");
    assert_eq!(metrics(&weir.token, &large, b"{}").status, 200);
    assert_eq!(code(&send(&weir, "/v1/traces", &json!({}))), (404, 5));
}

#[test]
fn a_tenant_may_have_names_as_they_were_sent() {
    let weir = Weir::start_with(|settings| {
        let mut own = TenantSettings::default();
        own.otlp.translation_strategy = Some(Strategy::NoTranslation);
        own.otlp.promote_resource_attributes = vec!["host.name".to_owned()];
        own.otlp.target_info = Some(false);
        settings.tenants.insert(TenantName::parse("default").unwrap(), own);
    });
    let gauge = json!({"dataPoints": [point(now_ms(&weir), "a", json!({"asInt": 1}))]});
    send(&weir, "/v1/metrics", &request(json!([{"name": "queue.length", "unit": "1", "gauge": gauge}])));
    assert_eq!(
        found(&weir, r#"%7B__name__!=%22%22%7D"#),
        [r#"{"__name__":"queue.length","host.name":"h1","job":"cart","n":"a"} "1""#]
    );
}

#[test]
fn records_of_logs_are_held_with_their_streams() {
    let weir = Weir::start();
    let at_ns = (now_ms(&weir) * 1_000_000).to_string();
    let records = [
        json!({"timeUnixNano": at_ns, "body": {"stringValue": "kept"}, "severityText": "INFO"}),
        json!({"timeUnixNano": at_ns, "body": {"kvlistValue": {"values": [{"key": "a", "value": {"intValue": 1}}]}}}),
    ];
    let attributes = json!([{"key": "service.name", "value": {"stringValue": "cart"}}]);
    let body = json!({"resourceLogs": [{"resource": {"attributes": attributes}, "scopeLogs": [{"logRecords": records}]}]});
    for path in
        ["/v1/logs", "/otlp/v1/logs", "/api/v1/otlp/v1/logs", "/opentelemetry/v1/logs", "/api/o/v1/logs"]
    {
        let answer = send(&weir, path, &body);
        assert_eq!((answer.status, answer.body.as_str()), (200, "{}"), "{path}");
    }
    let tenant = weir.app().authority().tenant("default").unwrap().id;
    let mut lines = Vec::new();
    let store = weir.app().store().unwrap();
    store.log_lines(tenant, i64::MIN..=i64::MAX, &mut |line| lines.push(line.line.to_string())).unwrap();
    assert_eq!((lines.len(), lines[0].as_str(), lines[1].as_str()), (10, "kept", r#"{"a":1}"#));
}
