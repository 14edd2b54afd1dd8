//! What upstream keeps behind flags is off until the configuration names it, and says so in upstream's words.

mod common;

use common::Weir;
use promql::Feature;

/// How the server answers a query: its status, and its value or its error.
fn ask(weir: &Weir, query: &str) -> (u16, String) {
    let escaped: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let answer = weir.get(&format!("/api/v1/query?query={escaped}&time=60"), &weir.token);
    let json = answer.json();
    let text =
        if answer.status == 200 { json["data"]["result"].to_string() } else { json["error"].to_string() };
    (answer.status, text.trim_matches('"').replace("\\\"", "\""))
}

fn with(features: &[Feature]) -> Weir {
    Weir::start_with(|settings| {
        settings.self_monitoring.interval = std::time::Duration::ZERO;
        settings.storage.retention = std::time::Duration::ZERO;
        settings.query.features = features.to_vec();
    })
}

/// The names of the experimental functions.
fn experimental() -> Vec<&'static str> {
    let functions = promql::functions::all().iter().filter(|function| function.experimental);
    functions.map(|function| function.name).collect()
}

#[test]
fn experimental_functions_are_refused_by_name() {
    let weir = with(&[]);
    let functions = experimental();
    for wanted in [
        "double_exponential_smoothing",
        "end",
        "histogram_quantiles",
        "info",
        "mad_over_time",
        "max_of",
        "min_of",
        "range",
        "sort_by_label",
        "sort_by_label_desc",
        "start",
        "start_timestamp",
        "step",
        "ts_of_first_over_time",
        "ts_of_last_over_time",
        "ts_of_max_over_time",
        "ts_of_min_over_time",
    ] {
        assert!(functions.contains(&wanted), "{wanted}");
    }
    assert_eq!(functions.len(), 17);
    for name in functions {
        let refused =
            format!("invalid parameter \"query\": 1:1: parse error: function \"{name}\" is not enabled");
        assert_eq!(ask(&weir, &format!("{name}()")), (400, refused));
    }
    for name in ["limitk", "limit_ratio"] {
        let refused = format!(
            "invalid parameter \"query\": 1:1: parse error: {name}() is experimental and must be enabled with --enable-feature=promql-experimental-functions"
        );
        assert_eq!(ask(&weir, &format!("{name}(1, up)")), (400, refused));
    }
}

#[test]
fn experimental_syntax_is_refused_by_name() {
    let weir = with(&[]);
    for (query, why) in [
        ("a + fill(0) b", "binop fill modifiers are experimental and not enabled"),
        ("a + fill_left(0) b", "binop fill modifiers are experimental and not enabled"),
        ("rate(a[5m] anchored)", "anchored modifier is experimental and not enabled"),
        ("a smoothed", "smoothed modifier is experimental and not enabled"),
    ] {
        let (status, error) = ask(&weir, query);
        assert!(status == 400 && error.ends_with(why), "{query}: {status} {error}");
    }
    // On since 3.14.
    for query in ["max_over_time(a[5m * 2])", "a offset -(1m)", "first_over_time(a[1m])", "a @ end()"] {
        assert_eq!(ask(&weir, query), (200, "[]".into()), "{query}");
    }
}

#[test]
fn named_features_are_on() {
    let weir = with(&Feature::ALL);
    for (query, value) in [
        ("max_of(1, 2)", "[60,\"2\"]"),
        ("limitk(1, vector(1))", "[{\"metric\":{},\"value\":[60,\"1\"]}]"),
        ("vector(1) + fill(0) vector(2)", "[{\"metric\":{},\"value\":[60,\"3\"]}]"),
        ("rate(a[5m] anchored)", "[]"),
        ("a smoothed", "[]"),
    ] {
        assert_eq!(ask(&weir, query), (200, value.into()), "{query}");
    }
}

#[test]
fn names_go_at_once_unless_their_removal_is_delayed() {
    let [at_once, delayed] = [with(&[]), with(&[Feature::DelayedNameRemoval])];
    for weir in [&at_once, &delayed] {
        assert_eq!(weir.post("/api/v1/import/prometheus", "a 1 60000\nb 2 60000\n").status, 204);
    }
    let query = "label_replace({__name__=~\"a|b\"} * 1, \"name\", \"$1\", \"__name__\", \"(.*)\")";
    let (status, error) = ask(&at_once, query);
    assert_eq!((status, error.as_str()), (422, "vector cannot contain metrics with the same labelset"));
    let (status, value) = ask(&delayed, query);
    assert!(status == 200 && value.contains("{\"name\":\"a\"}"), "{status} {value}");
}
