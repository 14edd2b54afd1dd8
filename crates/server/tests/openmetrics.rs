//! `/api/v1/openmetrics`: what was sent is read back as a page, with its types.

mod common;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::{Response, Weir, scalr};

const OPEN: &str =
    "Accept: application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1\r\n";

fn now_ms() -> i64 {
    #[expect(clippy::disallowed_methods, reason = "what is told is told of the last hour")]
    let now = SystemTime::now();
    now.duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

fn start() -> Weir {
    Weir::start_with(|settings| settings.self_monitoring.interval = Duration::ZERO)
}

fn push(weir: &Weir, text: &str) {
    let stored = weir.post("/api/v1/import/prometheus", text);
    assert_eq!(stored.status, 204, "{stored:?}");
}

fn page(weir: &Weir, query: &str, headers: &str) -> Response {
    let path = format!("/api/v1/openmetrics{}", query.replace('"', "%22").replace('+', "%2B"));
    weir.request("GET", &path, &weir.token, headers, b"")
}

#[test]
fn the_accounts_gauges_come_back_text_for_text() {
    let weir = start();
    let sent = scalr::page();
    push(&weir, &sent);
    push(&weir, "# TYPE other gauge\nother 1\n");
    for accept in ["", "Accept: */*\r\n", "Accept: text/plain\r\n"] {
        let answer = page(&weir, "?match[]={__name__=~\"scalr_.*\"}", accept);
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(
            answer.head.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"),
            "{answer:?}"
        );
        assert_eq!(scalr::pairs(&answer.body), scalr::pairs(&sent));
        assert!(
            answer.body.starts_with("# TYPE scalr_billings_flex_runs_count gauge\n"),
            "sorted: {answer:?}"
        );
    }
    // In the order in which they are asked for, which may be the one in which they were sent.
    let selectors: Vec<String> =
        scalr::GAUGES.iter().map(|(name, _)| format!("match[]=scalr_{name}")).collect();
    assert_eq!(page(&weir, &format!("?{}", selectors.join("&")), "").body, sent);
    let open = page(&weir, "?match[]={__name__=~\"scalr_.*\"}", OPEN);
    assert!(
        open.head.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n")
    );
    assert!(open.body.contains("# TYPE scalr_runs_count gauge\nscalr_runs_count 1225.0\n"), "{open:?}");
    assert!(open.body.ends_with("\n# EOF\n"), "{open:?}");
    assert_eq!(open.body.matches("# TYPE ").count(), 13);
    // All there is, when nothing is selected.
    assert_eq!(page(&weir, "", "").body.matches("# TYPE ").count(), 14);
    let form = weir.request(
        "POST",
        "/api/v1/openmetrics",
        &weir.token,
        "Content-Type: application/x-www-form-urlencoded\r\n",
        b"match%5B%5D=scalr_runs_count",
    );
    assert_eq!(form.body, "# TYPE scalr_runs_count gauge\nscalr_runs_count 1225\n");
}

#[test]
fn types_units_and_helps_are_those_that_were_sent() {
    let weir = start();
    let sent = "# HELP wait_seconds Time.\n# TYPE wait_seconds histogram\n# UNIT wait_seconds seconds\n\
        wait_seconds_bucket{le=\"0.5\"} 1\nwait_seconds_bucket{le=\"+Inf\"} 3\nwait_seconds_count 3\nwait_seconds_sum 2.5\n\
        wait_seconds_created 1700000000.5\n\
        # TYPE requests counter\nrequests_total{code=\"200\"} 7\nrequests_created{code=\"200\"} 1700000000.25\n\
        # TYPE size summary\nsize{quantile=\"0.9\"} 4\nsize_sum 9\nsize_count 3\n# TYPE left unknown\nleft 1\n# EOF\n";
    let headers = "Content-Type: application/openmetrics-text; version=1.0.0\r\n";
    let stored = weir.request("POST", "/api/v1/import/prometheus", &weir.token, headers, sent.as_bytes());
    assert_eq!(stored.status, 204, "{stored:?}");
    let wanted = "# TYPE left gauge\nleft 1.0\n# TYPE requests counter\nrequests_total{code=\"200\"} 7.0\n\
        # TYPE size summary\nsize{quantile=\"0.9\"} 4.0\nsize_sum 9.0\nsize_count 3\n\
        # TYPE wait_seconds histogram\n# UNIT wait_seconds seconds\n# HELP wait_seconds Time.\n\
        wait_seconds_bucket{le=\"0.5\"} 1\nwait_seconds_bucket{le=\"+Inf\"} 3\nwait_seconds_sum 2.5\n\
        wait_seconds_count 3\n# EOF\n";
    assert_eq!(page(&weir, "?type=auto", OPEN).body, wanted);
    let more = page(&weir, "?created=1&untyped_as=unknown", OPEN).body;
    assert!(
        more.contains("requests_total{code=\"200\"} 7.0\nrequests_created{code=\"200\"} 1.70000000025e+09\n"),
        "{more}"
    );
    assert!(more.contains("wait_seconds_count 3\nwait_seconds_created 1.7000000005e+09\n"), "{more}");
    assert!(more.contains("# TYPE left unknown\n"), "{more}");
    let text = page(&weir, "?match[]={__name__=~\"left|requests.*\"}&untyped_as=unknown", "").body;
    assert_eq!(
        text,
        "# TYPE left untyped\nleft 1\n# TYPE requests_total counter\nrequests_total{code=\"200\"} 7\n"
    );
    let protobuf = "Accept: application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited\r\n";
    let answer = page(&weir, "?match[]=left", protobuf);
    assert!(
        answer.head.contains("proto=io.prometheus.client.metricfamily; encoding=delimited\r\n"),
        "{answer:?}"
    );
    assert!(answer.body.contains("\n\u{4}left") && !answer.body.contains('#'), "{answer:?}");
}

#[test]
fn start_times_of_samples_are_told_on_request() {
    let weir = start();
    let now = now_ms() - 10_000;
    let body = format!(
        r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"name":"c","sum":{{"aggregationTemporality":2,
        "isMonotonic":true,"dataPoints":[{{"asDouble":3,"startTimeUnixNano":"1700000000500000000",
        "timeUnixNano":"{now}000000"}}]}}}}]}}]}}]}}"#
    );
    let json = "Content-Type: application/json\r\n";
    let stored = weir.request("POST", "/v1/metrics", &weir.token, json, body.as_bytes());
    assert_eq!(stored.status, 200, "{stored:?}");
    let told = page(&weir, "?match[]=c_total&created=1", OPEN);
    assert!(told.body.contains("c_total 3.0\nc_created 1.7000000005e+09\n"), "{told:?}");
}

#[test]
fn what_is_too_old_or_over_is_not_told() {
    let weir = start();
    let now = now_ms();
    push(&weir, &format!("fresh 1 {}\nhalf 2 {}\nold 3 {}\n", now - 1000, now - 1_800_000, now - 3_700_000));
    let names = |query: &str| {
        let text = page(&weir, query, "").body;
        text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(names(""), ["fresh 1", "half 2"]);
    assert_eq!(names("?max_age=5m"), ["fresh 1"]);
    assert_eq!(names("?max_age=2h"), ["fresh 1", "half 2", "old 3"]);
    assert_eq!(names("?match[]=half&timestamps=1"), [format!("half 2 {}", now - 1_800_000)]);
    let mut body = Vec::new();
    let mut block = model::SeriesBlock::default();
    block.clear();
    block.columns.push(now, f64::from_bits(model::STALE_NAN_BITS));
    block.end_series(model::SeriesRef(0));
    let labels = model::Labels::from_pairs([("__name__", "fresh")]);
    dialects::remote_read::samples::write_series(
        &labels,
        dialects::remote_read::Rows::of(&block, 0),
        &mut body,
    );
    let packed = codec::pack::snappy(&body).unwrap();
    assert_eq!(weir.request("POST", "/api/v1/write", &weir.token, "", &packed).status, 204);
    assert_eq!(names(""), ["half 2"]);
}

#[test]
fn nothing_is_told_to_others_and_errors_are_text() {
    let weir = start();
    push(&weir, "mine 1\n");
    assert_eq!(weir.get("/api/v1/openmetrics", "").status, 401);
    assert_eq!(weir.get("/api/v1/openmetrics", &weir.admin).status, 403);
    assert_eq!(weir.get("/api/v1/openmetrics", &weir.system).body, "");
    for query in
        ["match[]=up{", "match[]={x=\"\"}", "type=x", "untyped_as=x", "max_age=0", "max_age=x", "created=x"]
    {
        let bad = page(&weir, &format!("?{query}"), "");
        assert!(
            bad.status == 400 && bad.head.contains("text/plain") && bad.body.ends_with('\n'),
            "{query}: {bad:?}"
        );
    }
    assert_eq!(weir.request("PUT", "/api/v1/openmetrics", &weir.token, "", b"").status, 405);
}

#[test]
fn pages_are_packed_when_they_are_asked_for_so() {
    let weir = start();
    let lines: String = (0..100).map(|n| format!("many{{n=\"{n}\"}} {n}\n")).collect();
    push(&weir, &lines);
    let plain = page(&weir, "", "");
    assert!(!plain.head.contains("content-encoding"), "{plain:?}");
    assert_eq!(weir.get_gzipped("/api/v1/openmetrics"), plain.body);
}

#[test]
fn a_page_over_the_budget_is_refused_whole() {
    let weir = Weir::start_with(|settings| {
        settings.self_monitoring.interval = Duration::ZERO;
        settings.limits.query_bytes = server::config::Size(64 << 10);
    });
    let lines: String = (0..2000).map(|n| format!("many{{n=\"{n}\"}} {n}\n")).collect();
    push(&weir, &lines);
    let answer = page(&weir, "", "");
    assert!(answer.status == 422 && answer.head.contains("text/plain"), "{answer:?}");
    assert_eq!(page(&weir, "?match[]=many{n=\"7\"}", "").body, "# TYPE many gauge\nmany{n=\"7\"} 7\n");
}
