//! The endpoints beside queries: what Weir says of itself, of a tenant's series, and what it has none of.

mod common;

use common::{Response, Weir, until};
use serde_json::{Value, json};
use server::config::Auth;

const SAMPLES: &str = "\
# TYPE http_requests_total counter
# HELP http_requests_total Requests served.
http_requests_total{job=\"api\",code=\"200\"} 10
http_requests_total{job=\"api\",code=\"500\"} 1
http_request_size{job=\"api\"} 1
node_cpu{job=\"node\"} 1
go_gc{job=\"node\"} 1
";

fn filled() -> Weir {
    let weir = Weir::start_with(|settings| settings.self_monitoring.interval = std::time::Duration::ZERO);
    assert_eq!(weir.post("/api/v1/import/prometheus", SAMPLES).status, 204);
    weir
}

fn ask(weir: &Weir, question: &str) -> Response {
    weir.get(&format!("/api/v1/{}", question.replace('"', "%22").replace(' ', "%20")), &weir.token)
}

fn data(weir: &Weir, question: &str) -> Value {
    let answer = ask(weir, question);
    assert_eq!(answer.status, 200, "{question}: {answer:?}");
    answer.json()["data"].clone()
}

/// The lines of an answer of `search/*`.
fn lines(weir: &Weir, question: &str) -> Vec<Value> {
    let answer = ask(weir, &format!("search/{question}"));
    assert_eq!(answer.status, 200, "{question}: {answer:?}");
    assert!(answer.head.contains("content-type: application/x-ndjson"), "{answer:?}");
    answer.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn names_and_values_are_searched() {
    let weir = filled();
    let done = |has_more: bool| json!({"status": "success", "has_more": has_more});
    assert_eq!(
        lines(&weir, "metric_names?search[]=http_r&include_metadata=true&include_score=true"),
        [
            json!({"results": [
                {"name": "http_request_size", "score": 1},
                {"name": "http_requests_total", "score": 1, "type": "counter", "help": "Requests served."},
            ]}),
            done(false),
        ]
    );
    assert_eq!(
        lines(&weir, "metric_names?batch_size=1&limit=2&sort_by=alpha&sort_dir=dsc"),
        [
            json!({"results": [{"name": "node_cpu"}]}),
            json!({"results": [{"name": "http_requests_total"}]}),
            done(true),
        ]
    );
    let best = lines(&weir, "metric_names?search[]=ttl&search[]=CPU&case_sensitive=false&sort_by=score");
    let names: Vec<_> = best[0]["results"].as_array().unwrap().iter().map(|r| r["name"].clone()).collect();
    assert_eq!(names, ["node_cpu", "http_requests_total"]);
    assert_eq!(
        lines(&weir, "label_names?match[]={job=\"node\"}"),
        [json!({"results": [{"name": "__name__"}, {"name": "job"}]}), done(false)]
    );
    assert_eq!(
        lines(&weir, "label_values?label=code&search[]=50&fuzz_alg=jarowinkler&fuzz_threshold=90"),
        [json!({"results": [{"value": "500"}]}), done(false)]
    );
    // Nothing found is a line of nothing, and so is the time before.
    for question in ["metric_names?search[]=qqq", "metric_names?start=1&end=2", "label_values?label=none"] {
        assert_eq!(lines(&weir, question), [json!({"results": []}), done(false)], "{question}");
    }
    let refused = ask(&weir, "search/label_values").json();
    assert_eq!(refused["error"], "missing required parameter \"label\"");
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let posted =
        weir.request("POST", "/api/v1/search/label_values", &weir.token, form, b"label=job&search[]=no");
    assert!(posted.body.starts_with("{\"results\":[{\"value\":\"node\"}]}\n"), "{posted:?}");
}

#[test]
fn a_long_expression_is_formatted_over_several_lines() {
    let weir = filled();
    assert_eq!(data(&weir, "format_query?query=sum by(job)(up)"), "sum by (job) (up)");
    let name = "a".repeat(60);
    let long = data(&weir, &format!("format_query?query={name} / {name}"));
    assert_eq!(long, format!("  {name}\n/\n  {name}"));
}

#[test]
fn a_tenants_part_of_the_store_is_counted() {
    let weir = filled();
    let counted = data(&weir, "status/tsdb?limit=1");
    assert_eq!(counted["headStats"]["numSeries"], 5);
    assert_eq!(counted["headStats"]["numLabelPairs"], 8);
    assert_eq!(counted["seriesCountByMetricName"], json!([{"name": "http_requests_total", "value": 2}]));
    assert_eq!(counted["labelValueCountByLabelName"], json!([{"name": "__name__", "value": 4}]));
    assert_eq!(counted["seriesCountByLabelValuePair"], json!([{"name": "job=api", "value": 3}]));
    assert_eq!(ask(&weir, "status/tsdb?limit=10001").json()["error"], "limit must not exceed 10000");
    assert_eq!(data(&weir, "status/tsdb/blocks"), json!({"blocks": []}));
    weir.app().store().unwrap().flush().unwrap();
    let blocks = data(&weir, "status/tsdb/blocks")["blocks"].clone();
    assert_eq!((&blocks[0]["stats"]["numSeries"], &blocks[0]["stats"]["numSamples"]), (&json!(5), &json!(5)));
    assert_eq!(blocks[0]["ulid"].as_str().map(str::len), Some(26));
    // Another tenant has nothing of it.
    let other = weir.get("/api/v1/status/tsdb/blocks", &weir.system).json();
    assert_eq!(other["data"], json!({"blocks": []}));
    let other = weir.get("/api/v1/status/tsdb", &weir.system).json();
    assert_eq!(other["data"]["headStats"]["numSeries"], 0);
    assert_eq!(other["data"]["headStats"]["minTime"], i64::MAX);
}

#[test]
fn deleted_series_leave_the_disk_on_request() {
    let weir = filled();
    let clean = "/prometheus/api/v1/admin/tsdb/clean_tombstones";
    let admin = |method: &str, path: &str| weir.request(method, path, &weir.admin, "", b"").status;
    assert_eq!(admin("POST", "/api/v1/admin/tsdb/delete_series?match[]=go_gc"), 204);
    assert_eq!((weir.post(clean, "").status, admin("GET", clean)), (403, 405));
    assert_eq!((admin("POST", clean), admin("PUT", "/api/v1/admin/tsdb/clean_tombstones")), (204, 204));
    until("the block is rewritten", || weir.app().store().unwrap().status().tombstones == 0);
    assert_eq!(
        data(&weir, "series?match[]={job=\"node\"}"),
        json!([{"__name__": "node_cpu", "job": "node"}])
    );
}

#[test]
fn weir_says_how_it_is_set_up() {
    let weir = Weir::start_with(|settings| {
        settings.query.timeout = std::time::Duration::from_secs(90);
        settings.tenants.insert(model::TenantName::parse("other").unwrap(), Default::default());
    });
    let yaml = data(&weir, "status/config")["yaml"].clone();
    let yaml = yaml.as_str().unwrap();
    assert!(yaml.contains("query:\n  timeout: 90s\n") && !yaml.contains("other"), "{yaml}");
    let flags = data(&weir, "status/flags");
    assert_eq!((&flags["query.timeout"], &flags["query.max-concurrency"]), (&json!("90s"), &json!("20")));
    assert_eq!(flags["storage.tsdb.retention.time"], "400d");
    assert_eq!(flags["web.enable-remote-write-receiver"], "true");
    let features = data(&weir, "features");
    assert_eq!(features["api"]["search_fuzz_alg_jarowinkler"], true);
    assert_eq!(features["api"]["remote_write_receiver"], true);
    assert_eq!(features["promql_functions"]["rate"], true);
    let version = weir.get("/version", &weir.token).json();
    assert_eq!(version, data(&weir, "status/buildinfo"));
    assert_eq!(weir.get("/version", "").status, 401);
    let spec = ask(&weir, "openapi.yaml?openapi_version=3.2");
    assert!(spec.head.contains("content-type: application/yaml"), "{spec:?}");
    assert!(spec.body.starts_with("openapi: 3.2.0\n"), "{spec:?}");
    assert!(ask(&weir, "openapi.yaml").body.starts_with("openapi: 3.1.0\n"));
}

#[test]
fn weir_says_how_it_is() {
    let weir = filled();
    let replay = data(&weir, "status/walreplay");
    assert!(replay["current"].as_u64() <= replay["max"].as_u64() && replay["min"] == 0, "{replay}");
    assert_eq!(data(&weir, "notifications"), json!([]));
    assert_eq!(ask(&weir, "notifications/live").status, 204);
    for path in ["/-/healthy", "/-/ready"] {
        let head = weir.request("HEAD", path, "", "", b"");
        assert_eq!((head.status, head.body.as_str()), (200, ""), "{path}");
    }
    for method in ["POST", "PUT"] {
        assert_eq!(weir.request(method, "/-/quit", "", "", b"").status, 403);
    }
    assert_eq!(weir.get("/-/quit", "").status, 405);
    // They tell of all tenants.
    let path = "/api/v1/status/self_metrics?metric_name_pattern=weir_(head_series|requests_total)";
    for (token, status) in [(&weir.token, 403), (&weir.system, 200), (&weir.admin, 200)] {
        assert_eq!(weir.get(path, token).status, status);
    }
    let families = weir.get(path, &weir.admin).json()["data"].clone();
    let names: Vec<_> = families.as_array().unwrap().iter().map(|family| family["name"].clone()).collect();
    assert_eq!(names, ["weir_requests_total", "weir_head_series"]);
    assert_eq!(families[1]["metric"], json!([{"label": [], "gauge": {"value": 5.0}}]));
    let refused = weir.get("/api/v1/status/self_metrics?metric_name_pattern=(", &weir.admin);
    assert_eq!(refused.status, 400);
    assert!(refused.json()["error"].as_str().unwrap().starts_with("invalid metric_name_pattern: "));
}

#[test]
fn what_needs_no_store_is_answered_before_it_is_open() {
    let directory = tempfile::tempdir().unwrap();
    // Where blocks should lie: the store will never open.
    std::fs::write(directory.path().join("blocks"), "").unwrap();
    let weir = Weir::begin_in(directory, |_| {});
    assert_eq!(weir.get("/-/ready", "").status, 503);
    let early = ask(&weir, "query?query=1");
    assert_eq!((early.status, early.body.as_str()), (503, "Service Unavailable"));
    assert!(early.head.contains("x-prometheus-stopping: false"), "{early:?}");
    assert_eq!(data(&weir, "status/walreplay"), json!({"min": 0, "max": 0, "current": 0}));
    let told = data(&weir, "notifications");
    assert_eq!((&told[0]["active"], told.as_array().map(Vec::len)), (&json!(true), Some(1)));
    assert!(told[0]["text"].as_str().unwrap().starts_with("store is not ready: "), "{told}");
    assert_eq!(weir.get("/api/v1/status/self_metrics", &weir.admin).status, 200);
    assert_eq!(weir.get("/api/v1/notifications", "").status, 401);
}

#[test]
fn whoever_needs_no_token_is_answered() {
    let weir = Weir::start_with(|settings| settings.general.auth = Auth::Off);
    for path in ["status/self_metrics", "status/config", "status/tsdb", "status/walreplay", "features"] {
        assert_eq!(weir.get(&format!("/api/v1/{path}"), "").status, 200, "{path}");
    }
}

#[test]
fn limits_and_times_are_refused_in_prometheus_words() {
    let weir = filled();
    let limit = "strconv.Atoi: parsing \"x\": invalid syntax";
    for (question, status, error) in [
        // The first of several complaints counts.
        ("query?query=(&time=x&limit=x", 400, format!("invalid parameter \"limit\": {limit}")),
        ("query?query=(&time=x&timeout=x", 400, "invalid parameter \"time\": invalid time value for 'time': cannot parse \"x\" to a valid timestamp".into()),
        ("query?query=(&timeout=x&lookback_delta=x", 400, "invalid parameter \"timeout\": cannot parse \"x\" to a valid duration".into()),
        ("query?query=(&lookback_delta=x", 400, "error parsing lookback delta duration: cannot parse \"x\" to a valid duration".into()),
        ("query_range?query=1&start=x&end=1&step=1", 400, "invalid parameter \"start\": cannot parse \"x\" to a valid timestamp".into()),
        ("query?query=1&timeout=-1", 503, "query timed out in query queue".into()),
        ("query_exemplars?query=up&start=2&end=1", 400, "end timestamp must not be before start timestamp".into()),
        ("query_exemplars?query=(", 400, "1:2: parse error: unclosed left parenthesis".into()),
        ("labels?limit=x", 400, format!("invalid parameter \"limit\": {limit}")),
        ("label/job/values?match[]={a=\"\"}", 400, "match[] must contain at least one non-empty matcher".into()),
        ("series?match[]={a=\"\"}", 400, "invalid parameter \"match[]\": match[] must contain at least one non-empty matcher".into()),
        ("metadata?limit=x", 400, "limit must be a number".into()),
        ("parse_query?query=(", 400, "invalid parameter \"query\": 1:2: parse error: unclosed left parenthesis".into()),
    ] {
        let answer = ask(&weir, question);
        let json = answer.json();
        assert_eq!((answer.status, json["error"].as_str()), (status, Some(error.as_str())), "{question}");
    }
    // Ends of time, and what only queries look at.
    let ends = "start=-292273086-05-16T16:47:06Z&end=%2B292277025-08-18T07:12:54.999999999Z";
    assert_eq!(data(&weir, &format!("label/code/values?{ends}&timeout=x")), json!(["200", "500"]));
    for question in
        ["labels?start=2&end=1", "label/job/values?start=2&end=1", "series?match[]=up&start=2&end=1"]
    {
        assert_eq!(data(&weir, question), json!([]), "{question}");
    }
    assert_eq!(data(&weir, "metadata?limit=0"), json!({}));
    assert_eq!(data(&weir, "metadata?limit=-1").as_object().map(|all| all.len()), Some(1));
}

#[test]
fn many_warnings_are_counted() {
    let weir = filled();
    // Each of the quantiles is out of range, and says so with its place.
    let query: Vec<_> = (2..14).map(|i| format!("quantile({i}, go_gc)")).collect();
    let answer = ask(&weir, &format!("query?query={}", query.join("%2B"))).json();
    let warnings = answer["warnings"].as_array().unwrap();
    assert_eq!(
        (warnings.len(), warnings[10].as_str()),
        (11, Some("2 more warning annotations omitted")),
        "{answer}"
    );
}
