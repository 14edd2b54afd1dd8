//! What was seen on live engines and shows over HTTP only: texts of numbers, statuses, histograms. The rest of that list is
//! `crates/promql/tests/cases/live.test`.

mod common;

use common::Weir;
use serde_json::{Value, json};

fn weir() -> Weir {
    let weir = Weir::start_with(|settings| {
        settings.self_monitoring.interval = std::time::Duration::ZERO;
        settings.storage.retention = std::time::Duration::ZERO;
    });
    assert_eq!(
        weir.post("/api/v1/import/prometheus", "up{job=\"a\"} 1 60000\nup{job=\"b\"} 2 60000\n").status,
        204
    );
    weir
}

/// The status of a query at one minute, and its answer.
fn ask(weir: &Weir, query: &str) -> (u16, Value) {
    let escaped: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let answer = weir.get(&format!("/api/v1/query?query={escaped}&time=60"), &weir.token);
    (answer.status, answer.json())
}

#[test]
fn scalars_have_no_exponent_and_samples_have() {
    let weir = weir();
    for (number, scalar, sample) in [
        ("1e21", "1000000000000000000000", "1e+21"),
        ("1e20", "100000000000000000000", "100000000000000000000"),
        ("1e-7", "0.0000001", "1e-07"),
        ("0.000001", "0.000001", "0.000001"),
        ("-2.5", "-2.5", "-2.5"),
        ("Inf", "+Inf", "+Inf"),
        ("-Inf", "-Inf", "-Inf"),
        ("NaN", "NaN", "NaN"),
        ("5e-324", &format!("0.{}5", "0".repeat(323)), "5e-324"),
    ] {
        assert_eq!(ask(&weir, number).1["data"]["result"], json!([60, scalar]), "{number}");
        let vector = ask(&weir, &format!("vector({number})")).1;
        assert_eq!(vector["data"]["result"][0]["value"], json!([60, sample]), "{number}");
    }
}

#[test]
fn what_only_the_evaluation_finds_is_422() {
    let weir = weir();
    for query in [
        "count_values(\"\", up)",
        "label_replace(up, \"a\", \"b\", \"job\", \"(\")",
        "label_replace(up, \"\", \"b\", \"job\", \"a\")",
        "label_join(up, \"\", \"-\", \"job\")",
        "topk(NaN, up)",
        "topk(Inf, up)",
        "topk(9223372036854775808, up)",
        "bottomk(1e30, up)",
        "1 </ 2",
        "up * on () up",
    ] {
        let (status, json) = ask(&weir, query);
        assert_eq!((status, &json["errorType"]), (422, &json!("execution")), "{query}: {json}");
    }
    for query in [
        "up @ start()[5m]",
        "up{\"up\"}",
        "1e400",
        "0b1",
        "0x1p3",
        "1_",
        "1__0",
        "1.5m",
        "1h1h",
        "up{a=~\"(\"}",
    ] {
        let (status, json) = ask(&weir, query);
        assert_eq!((status, &json["errorType"]), (400, &json!("bad_data")), "{query}: {json}");
    }
    for (query, series) in
        [("topk(-Inf, up)", 0), ("topk(2.9, up)", 2), ("topk(1, up)", 1), ("topk(0.9, up)", 0)]
    {
        let (status, json) = ask(&weir, query);
        assert_eq!((status, json["data"]["result"].as_array().map(Vec::len)), (200, Some(series)), "{query}");
    }
}

/// In an instant query both are 0, and no window has no length.
#[test]
fn an_instant_has_no_step() {
    let weir = weir();
    let (status, json) = ask(&weir, "max_over_time(up[step()])");
    assert!(matches!(status, 400 | 422), "{json}");
    assert!(json["error"].to_string().contains("duration must be greater than 0"), "{json}");
}
