//! What senders meet that speak Better Stack's API: the documented answers to the letter, what is stored under which name,
//! and who else is at home at the same address.

mod common;

use std::io::Write;
use std::time::Duration;

use common::{Response, Weir};
use dialects::betterstack::HistogramSeries;
use model::TenantName;
use server::config::Settings;

const JSON: &str = "Content-Type: application/json\r\n";
const LINES: &str = "Content-Type: application/x-ndjson\r\n";

fn send(weir: &Weir, path: &str, headers: &str, body: &[u8]) -> Response {
    weir.request("POST", path, &weir.token, headers, body)
}

/// What a query gives: labels and value of each series, in order.
fn found(weir: &Weir, query: &str) -> Vec<String> {
    let answer = weir.get(&format!("/api/v1/query?query={query}"), &weir.token).json();
    let rows = answer["data"]["result"].as_array().unwrap_or_else(|| panic!("{query}: {answer}")).clone();
    let value = |row: &serde_json::Value| row["value"][1].as_str().unwrap_or_default().to_owned();
    let mut shown: Vec<_> = rows.iter().map(|row| format!("{} {}", row["metric"], value(row))).collect();
    shown.sort();
    shown
}

fn is_accepted(answer: &Response, accepted: u64) {
    assert_eq!((answer.status, answer.body.as_str()), (202, ""), "{answer:?}");
    assert!(answer.head.contains(&format!("x-weir-accepted: {accepted}\r\n")), "{}", answer.head);
}

/// The lines that are held of the tenant.
fn lines(weir: &Weir) -> Vec<String> {
    let tenant = weir.app().authority().tenant("default").unwrap().id;
    let mut lines = Vec::new();
    let store = weir.app().store().unwrap();
    store.log_lines(tenant, i64::MIN..=i64::MAX, &mut |line| lines.push(line.line.to_string())).unwrap();
    lines
}

#[test]
fn answers_are_the_documented_ones() {
    let weir = Weir::start();
    let metric = br#"{"name":"m","gauge":{"value":1}}"#;
    for path in ["/metrics", "/", "/betterstack/metrics", "/betterstack", "/metrics/"] {
        let stored = send(&weir, path, JSON, metric);
        is_accepted(&stored, 1);
        assert!(!stored.head.contains("x-weir-rejected"), "{}", stored.head);
        for token in ["", "0123", &weir.admin] {
            let refused = weir.request("POST", path, token, JSON, metric);
            assert_eq!((refused.status, refused.body.as_str()), (403, "Unauthorized"), "{path}");
            assert!(refused.head.contains("content-type: text/plain"), "{}", refused.head);
        }
    }
    for (headers, body) in [
        (JSON, &br#"{"name":"#[..]),
        (LINES, b"x\n"),
        ("Content-Type: application/msgpack\r\n", b"\x81\xa4name"),
        ("", b"hello"),
        (JSON, b""),
        ("Content-Type: application/json\r\nContent-Encoding: gzip\r\n", metric),
        ("Content-Type: application/json\r\nContent-Encoding: br\r\n", metric),
    ] {
        let refused = send(&weir, "/metrics", headers, body);
        assert_eq!(refused.status, 406, "{refused:?}");
        assert_eq!(refused.body.lines().next(), Some("Couldn't parse JSON content."));
        assert_eq!(refused.body.lines().count(), 2, "{}", refused.body);
    }
    // Others than POST are not for this dialect.
    assert_eq!(weir.get("/metrics", &weir.system).status, 200);
    assert_eq!(weir.get("/", "").status, 200);
    let put = weir.request("PUT", "/metrics", &weir.token, JSON, metric);
    assert_eq!(put.status, 405);
}

#[test]
fn a_body_may_have_20_mib_on_the_wire_and_inflated() {
    let weir = Weir::start();
    let mut body = br#"{"name":"m","gauge":{"value":1},"pad":""#.to_vec();
    body.resize((20 << 20) - 2, b'x');
    body.extend(b"\"}");
    assert_eq!(body.len(), 20 << 20);
    is_accepted(&send(&weir, "/metrics", JSON, &body), 1);
    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let packed = "Content-Type: application/json\r\nContent-Encoding: gzip\r\n";
    is_accepted(&send(&weir, "/metrics", packed, &gzip(&body)), 1);
    body.push(b' ');
    for refused in [send(&weir, "/metrics", JSON, &body), send(&weir, "/", packed, &gzip(&body))] {
        assert_eq!((refused.status, refused.body.as_str()), (413, "payload reached size limit"));
    }
}

#[test]
fn every_packing_is_taken() {
    let weir = Weir::start();
    let body = |name: &str| format!(r#"[{{"name":"{name}","counter":{{"value":3}}}}]"#).into_bytes();
    let deflated = |bytes: &[u8], zlib: bool| {
        let level = flate2::Compression::default();
        if zlib {
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), level);
            encoder.write_all(bytes).unwrap();
            return encoder.finish().unwrap();
        }
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), level);
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    for (encoding, packed) in [
        ("deflate", deflated(&body("packed_zlib"), true)),
        ("deflate", deflated(&body("packed_raw"), false)),
        ("identity", body("packed_identity")),
    ] {
        let headers = format!("{JSON}Content-Encoding: {encoding}\r\n");
        is_accepted(&send(&weir, "/metrics", &headers, &packed), 1);
    }
    assert_eq!(found(&weir, r#"{__name__=~"packed_.*"}"#).len(), 3);
}

#[test]
fn what_was_refused_stands_in_headers() {
    let weir = Weir::start();
    let now = weir.app().env.clock.now_ms();
    let old = br#"{"name":"test_metric","gauge":{"value":123},"dt":"2023-08-09 07:03:30+00:00"}"#;
    let answer = send(&weir, "/", JSON, old);
    is_accepted(&answer, 0);
    assert!(answer.head.contains("x-weir-rejected: 1; too_old\r\n"), "{}", answer.head);
    // A histogram is one thing to its sender, of however many series the store refuses a part.
    let body = format!(
        r#"{{"name":"h","histogram":{{"count":1,"sum":1,"buckets":[{{"upper_limit":1,"count":1}}]}},"dt":1000}}
           {{"name":"good","gauge":{{"value":1}},"dt":{now}}}
           {{"name":"bad","gauge":{{}}}}
           {{"name":"labels","gauge":{{"value":1}},"tags":{{"__name__":"x"}}}}"#
    );
    let answer = send(&weir, "/metrics", JSON, body.as_bytes());
    is_accepted(&answer, 1);
    assert!(answer.head.contains("x-weir-rejected: 3; "), "{}", answer.head);
    for reason in ["too_old", "invalid_series", "invalid_labels"] {
        assert!(answer.head.contains(reason), "{}", answer.head);
    }
    assert_eq!(found(&weir, r#"{__name__!=""}"#), [r#"{"__name__":"good"} 1"#]);
}

#[test]
fn both_forms_of_a_histogram_can_be_asked() {
    let body = br#"{"name":"d","tags":{"a":"b"},"histogram":{"count":140,"sum":75.5,"buckets":[
        {"upper_limit":0.1,"count":15},{"upper_limit":0.2,"count":30},{"upper_limit":0.5,"count":45},{"upper_limit":1.0,"count":50}]}}"#;
    let limits = |name: &str, label: &str, values: &[(&str, u32)]| -> Vec<String> {
        let row = |(limit, value): &(&str, u32)| {
            let labels = serde_json::json!({"__name__": name, "a": "b", label: limit});
            format!("{labels} {value}")
        };
        let mut rows: Vec<_> = values.iter().map(row).collect();
        rows.sort();
        rows
    };
    let own = limits("d", "upper_limit", &[("0.1", 15), ("0.2", 30), ("0.5", 45), ("1", 50)]);
    let cumulative =
        limits("d_bucket", "le", &[("0.1", 15), ("0.2", 45), ("0.5", 90), ("1", 140), ("+Inf", 140)]);
    for (choice, wants_own, wants_cumulative) in [
        (HistogramSeries::Both, true, true),
        (HistogramSeries::Prometheus, false, true),
        (HistogramSeries::Betterstack, true, false),
    ] {
        let weir = Weir::start_with(|settings: &mut Settings| {
            let own = settings.tenants.entry(TenantName::parse("default").unwrap()).or_default();
            own.betterstack.histogram_series = Some(choice);
        });
        is_accepted(&send(&weir, "/metrics", JSON, body), 1);
        let wanted = |is_wanted: bool, rows: &[String]| if is_wanted { rows.to_vec() } else { Vec::new() };
        assert_eq!(found(&weir, "d"), wanted(wants_own, &own), "{choice:?}");
        assert_eq!(found(&weir, "d_bucket"), wanted(wants_cumulative, &cumulative), "{choice:?}");
        assert_eq!(found(&weir, "d_sum"), [r#"{"__name__":"d_sum","a":"b"} 75.5"#]);
        assert_eq!(found(&weir, "d_count"), [r#"{"__name__":"d_count","a":"b"} 140"#]);
        if wants_cumulative {
            assert_eq!(found(&weir, "histogram_quantile(0.5,d_bucket)"), [r#"{"a":"b"} 0.3666666666666667"#]);
        }
        let metadata = weir.get("/api/v1/metadata?metric=d", &weir.token).json();
        assert_eq!(metadata["data"]["d"][0]["type"], "histogram", "{metadata}");
    }
}

#[test]
fn what_vector_sends_in_increments_is_added_up() {
    let weir = Weir::start();
    let now = weir.app().env.clock.now_ms();
    for (step, value) in [(2000, 3), (1000, 4), (1000, 5)] {
        let body = format!(
            r#"[{{"name":"requests_total","namespace":"app","kind":"incremental","counter":{{"value":{value}}},"timestamp":{0}}},
                {{"name":"queue","kind":"incremental","gauge":{{"value":-{value}}},"timestamp":{0}}}]"#,
            now - step
        );
        let answer = send(&weir, "/metrics", JSON, body.as_bytes());
        let late = value == 5;
        is_accepted(&answer, if late { 0 } else { 2 });
        assert_eq!(answer.head.contains("x-weir-rejected: 2; late_delta"), late, "{}", answer.head);
    }
    assert_eq!(found(&weir, "app_requests_total"), [r#"{"__name__":"app_requests_total"} 7"#]);
    assert_eq!(found(&weir, "queue"), [r#"{"__name__":"queue"} -7"#]);
}

#[test]
fn what_is_no_metric_is_a_log_line_at_the_root_alone() {
    let weir = Weir::start();
    let body = br#"[{"message":"one","level":"warn"},{"name":"m","gauge":{"value":1}},{"context":{"a":1}}]"#;
    is_accepted(&send(&weir, "/", JSON, body), 3);
    assert_eq!(lines(&weir), ["one", r#"{"context":{"a":1}}"#]);
    assert_eq!(found(&weir, "m"), [r#"{"__name__":"m"} 1"#]);
    let answer = send(&weir, "/metrics", JSON, body);
    is_accepted(&answer, 1);
    assert!(answer.head.contains("x-weir-rejected: 2; "), "{}", answer.head);
    assert_eq!(lines(&weir).len(), 2);
}

#[test]
fn remote_write_is_at_home_at_the_same_address() {
    let weir = Weir::start();
    let now = u64::try_from(weir.app().env.clock.now_ms()).unwrap();
    let mut series = Vec::new();
    codec::proto::write_message(1, &mut series, |out| {
        codec::proto::write_bytes(1, b"__name__", out);
        codec::proto::write_bytes(2, b"remote", out);
    });
    codec::proto::write_message(2, &mut series, |out| {
        codec::proto::write_double(1, 7.0, out);
        codec::proto::write_number(2, now, out);
    });
    let mut body = Vec::new();
    codec::proto::write_bytes(1, &series, &mut body);
    // Snappy: the length, and all of it as one literal.
    let length = u8::try_from(body.len()).unwrap();
    assert!(length <= 60);
    let body = [&[length, (length - 1) << 2], &body[..]].concat();
    let headers = "Content-Type: application/x-protobuf\r\nContent-Encoding: snappy\r\n";
    for path in ["/metrics", "/betterstack/metrics"] {
        assert_eq!(send(&weir, path, headers, &body).status, 204, "{path}");
        // What it answers is remote write's.
        assert_eq!(weir.request("POST", path, "", headers, &body).status, 401, "{path}");
    }
    assert_eq!(found(&weir, "remote"), [r#"{"__name__":"remote"} 7"#]);
}

#[test]
fn a_client_may_make_so_many_requests_a_minute() {
    let weir = Weir::start_with(|settings: &mut Settings| {
        settings.betterstack.requests_per_minute = Some(2);
        settings.general.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
    });
    let body = br#"{"name":"m","gauge":{"value":1}}"#;
    let from =
        |address: &str| send(&weir, "/metrics", &format!("{JSON}X-Forwarded-For: {address}\r\n"), body);
    for _ in 0..2 {
        is_accepted(&from("192.0.2.1"), 1);
    }
    let refused = from("192.0.2.1");
    assert_eq!(refused.status, 429, "{refused:?}");
    let wait = refused.head.lines().find_map(|line| line.strip_prefix("retry-after: ")).unwrap();
    assert!((1..=60).contains(&wait.parse::<u32>().unwrap()), "{wait}");
    assert!(refused.head.contains("content-type: text/plain"), "{}", refused.head);
    is_accepted(&from("192.0.2.2"), 1);
    // Without a token nothing is counted, and other protocols have no such bound.
    assert_eq!(weir.request("POST", "/metrics", "", JSON, body).status, 403);
    for _ in 0..3 {
        let text = send(&weir, "/api/v1/import/prometheus", "X-Forwarded-For: 192.0.2.1\r\n", b"up 1\n");
        assert_eq!(text.status, 204);
    }
    let metrics = weir.get("/metrics", &weir.system).body;
    assert!(metrics.contains("weir_requests_refused_total{reason=\"client_rate\"} 1\n"), "{metrics}");
}

#[test]
fn without_a_choice_the_bound_is_the_documented_one_and_a_tenant_may_lift_it() {
    let body = br#"{"name":"m","gauge":{"value":1}}"#;
    let weir = Weir::start();
    for _ in 0..500 {
        is_accepted(&send(&weir, "/metrics", JSON, body), 1);
    }
    assert_eq!(send(&weir, "/", JSON, body).status, 429);
    let weir = Weir::start_with(|settings: &mut Settings| {
        settings.betterstack.requests_per_minute = Some(1);
        let own = settings.tenants.entry(TenantName::parse("default").unwrap()).or_default();
        own.betterstack.requests_per_minute = Some(0);
    });
    for _ in 0..5 {
        is_accepted(&send(&weir, "/metrics", JSON, body), 1);
    }
}

#[test]
fn times_that_cannot_be_read_are_counted_and_old_ones_refused_where_that_is_wanted() {
    let weir = Weir::start_with(|settings: &mut Settings| {
        settings.betterstack.max_past = Some(Duration::from_secs(900));
    });
    let now = weir.app().env.clock.now_ms();
    let body = format!(
        r#"[{{"name":"a","gauge":{{"value":1}},"dt":"not a date"}},{{"name":"b","gauge":{{"value":1}},"dt":{}}},
            {{"name":"c","gauge":{{"value":1}},"dt":{}}}]"#,
        now - 890_000,
        now - 910_000
    );
    let answer = send(&weir, "/metrics", JSON, body.as_bytes());
    is_accepted(&answer, 2);
    assert!(answer.head.contains("x-weir-rejected: 1; too_old"), "{}", answer.head);
    let metrics = weir.get("/metrics", &weir.system).body;
    let note = metrics.lines().find(|line| line.contains("unparsed_dt"));
    assert!(note.is_some_and(|line| line.ends_with(" 1")), "{note:?}");
}
