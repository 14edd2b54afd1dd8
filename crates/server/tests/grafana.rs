//! Grafana's requests, replayed: `cases/grafana.txt` says what it asks, and what an empty and a filled store answer.

mod common;

use common::{Response, Weir};
use serde_json::Value;

const CASES: &str = include_str!("cases/grafana.txt");

const SAMPLES: &str = "\
# TYPE requests counter
# HELP requests Requests served.
requests_total{job=\"api\",code=\"200\"} 10 1700000000 # {trace_id=\"abc\"} 1 1700000000
requests_total{job=\"api\",code=\"200\"} 40 1700000060
requests_total{job=\"api\",code=\"500\"} 1 1700000000
requests_total{job=\"api\",code=\"500\"} 2.5 1700000060
# EOF
";

struct Case {
    line: usize,
    method: &'static str,
    path: &'static str,
    form: &'static str,
    empty: &'static str,
    filled: &'static str,
}

fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for (line, text) in (1..).zip(CASES.lines()) {
        let (first, rest) = text.split_once(' ').unwrap_or((text, ""));
        match (first, cases.last_mut()) {
            ("" | "#" | "==", _) => {}
            ("GET" | "POST", _) => {
                let (method, path) = (first, rest);
                cases.push(Case { line, method, path, form: "", empty: "", filled: "" });
            }
            ("empty", Some(case)) => case.empty = rest,
            ("filled", Some(case)) => case.filled = rest,
            (_, Some(case)) => case.form = text,
            (_, None) => panic!("line {line}: {text}"),
        }
    }
    assert!(cases.iter().all(|case| !case.empty.is_empty() && !case.filled.is_empty()));
    cases
}

fn start() -> Weir {
    Weir::start_with(|settings| {
        settings.self_monitoring.interval = std::time::Duration::ZERO;
        settings.storage.retention = std::time::Duration::ZERO;
    })
}

fn replay(weir: &Weir, wanted: impl Fn(&Case) -> &'static str) {
    let mut faults = Vec::new();
    for case in cases() {
        let form = "Content-Type: application/x-www-form-urlencoded\r\n";
        let headers = if case.method == "POST" { form } else { "" };
        let path = format!("/api/v1/{}", case.path);
        let answer = weir.request(case.method, &path, &weir.token, headers, case.form.as_bytes());
        if let Err(fault) = check(wanted(&case), &answer) {
            faults.push(format!("cases/grafana.txt:{}: {fault}\n{}", case.line, answer.body));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

fn check(wanted: &str, answer: &Response) -> Result<(), String> {
    let (status, shape) = wanted.split_once(' ').unwrap_or((wanted, ""));
    if answer.status.to_string() != status {
        return Err(format!("status {}, wanted {status}", answer.status));
    }
    let json = answer.json();
    if answer.status >= 400 {
        let is_error = json["status"] == "error" && json["error"].is_string() && json["errorType"] == shape;
        return if is_error { Ok(()) } else { Err(format!("wanted the error {shape}")) };
    }
    let shape: Value = serde_json::from_str(shape).map_err(|error| format!("{error} in {shape}"))?;
    if json["status"] != "success" {
        return Err("status is not success".to_owned());
    }
    if fits(&shape, &json["data"]) { Ok(()) } else { Err(format!("data is not like {shape}")) }
}

fn fits(shape: &Value, value: &Value) -> bool {
    match (shape, value) {
        (Value::String(text), _) if text == "*" => true,
        (Value::String(text), Value::String(_)) if text == "…" => true,
        (Value::Array(shapes), Value::Array(values)) => match shapes.as_slice() {
            [first, Value::String(more)] if more == "..." => {
                !values.is_empty() && values.iter().all(|value| fits(first, value))
            }
            shapes => {
                shapes.len() == values.len()
                    && shapes.iter().zip(values).all(|(shape, value)| fits(shape, value))
            }
        },
        (Value::Object(shapes), Value::Object(values)) => {
            let is_open = shapes.contains_key("...");
            let mut wanted = shapes.iter().filter(|(key, _)| *key != "...");
            (is_open || shapes.len() == values.len())
                && wanted.all(|(key, shape)| values.get(key).is_some_and(|value| fits(shape, value)))
        }
        (shape, value) => shape == value,
    }
}

#[test]
fn an_empty_store_answers_grafana() {
    replay(&start(), |case| case.empty);
}

#[test]
fn a_filled_store_answers_grafana() {
    let weir = start();
    let headers = "Content-Type: application/openmetrics-text; version=1.0.0\r\n";
    let path = "/api/v1/import/prometheus";
    let stored = weir.request("POST", path, &weir.token, headers, SAMPLES.as_bytes());
    assert_eq!(stored.status, 204, "{stored:?}");
    replay(&weir, |case| case.filled);
}

/// The comparison finds what it is for.
#[test]
fn other_shapes_do_not_fit() {
    let answer = |body: &str| Response { status: 200, head: String::new(), body: body.to_owned() };
    let of = |shape: &str, data: &str| {
        check(&format!("200 {shape}"), &answer(&format!("{{\"status\":\"success\",\"data\":{data}}}")))
            .is_ok()
    };
    for (shape, data, wanted) in [
        ("[]", "[]", true),
        ("[]", "[1]", false),
        ("{\"a\": 1, \"...\": 0}", "{\"a\": 1, \"b\": 2}", true),
        ("{\"a\": 1, \"...\": 0}", "{\"b\": 2}", false),
        ("{\"a\": 1}", "{\"a\": 1, \"b\": 2}", false),
        ("[[\"*\", \"…\"], \"...\"]", "[[1, \"x\"], [2, \"y\"]]", true),
        ("[[\"*\", \"…\"], \"...\"]", "[[1, \"x\"], [2, 3]]", false),
        ("[[\"*\", \"…\"], \"...\"]", "[]", false),
        ("{\"a_b\": \"…\"}", "{\"a_b\": \"x\"}", true),
    ] {
        assert_eq!(of(shape, data), wanted, "{shape} {data}");
    }
    assert!(check("400 bad_data", &answer("{}")).is_err());
}
