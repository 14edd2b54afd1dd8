//! What senders of Splunk's HTTP Event Collector meet: places for a token, codes, what becomes of what they send.

mod common;

use common::{Response, Weir, until};
use model::TenantName;
use serde_json::json;
use server::config::Settings;

const EVENT: &str = "/services/collector/event";

/// A metric event, now.
fn metric(weir: &Weir, fields: &str) -> String {
    let now_s = weir.app().env.clock.now_ms() / 1000;
    format!(r#"{{"time":{now_s},"event":"metric","host":"h","fields":{fields}}}"#)
}

fn send(weir: &Weir, path: &str, body: &str) -> Response {
    let headers = format!("Authorization: Splunk {}\r\n", weir.token);
    weir.request("POST", path, "", &headers, body.as_bytes())
}

/// Status and body.
fn shown(response: &Response) -> (u16, &str) {
    (response.status, &response.body)
}

fn values(weir: &Weir, query: &str) -> Vec<String> {
    let found = weir.get(&format!("/api/v1/query?query={query}"), &weir.token).json();
    let rows = found["data"]["result"].as_array().cloned().unwrap_or_default();
    rows.iter().map(|row| row["value"][1].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn a_token_is_taken_in_any_of_its_places_and_refusals_have_their_codes() {
    let weir = Weir::start();
    let token = weir.token.clone();
    let pair = "x:".to_owned() + &token;
    let basic = {
        use base64::Engine;
        base64::engine::general_purpose::STANDARD.encode(pair)
    };
    for line in [
        format!("Splunk {token}"),
        format!("splunk {token}"),
        format!("Basic {basic}"),
        format!("Bearer {token}"),
    ] {
        let answer =
            weir.request("POST", EVENT, "", &format!("Authorization: {line}\r\n"), br#"{"event":"x"}"#);
        assert_eq!(shown(&answer), (200, r#"{"text":"Success","code":0}"#), "{line}");
    }
    let admin = format!("Authorization: Splunk {}\r\n", weir.admin);
    for (headers, status, body) in [
        ("", 401, r#"{"text":"Token is required","code":2}"#),
        ("Authorization: Digest abc\r\n", 401, r#"{"text":"Invalid authorization","code":3}"#),
        ("Authorization: Splunk 0123\r\n", 403, r#"{"text":"Invalid token","code":4}"#),
        (&admin, 403, r#"{"text":"Token disabled","code":1}"#),
    ] {
        let answer = weir.request("POST", EVENT, "", headers, br#"{"event":"x"}"#);
        assert_eq!(shown(&answer), (status, body), "{headers}");
    }
    for path in ["/services/collector/health", "/splunk/services/collector/health/1.0"] {
        assert_eq!(shown(&weir.get(path, "")), (200, r#"{"text":"HEC is healthy","code":17}"#));
    }
}

#[test]
fn a_token_in_a_query_is_for_who_wants_it() {
    let off = (400, r#"{"text":"Query string authorization is not enabled","code":16}"#);
    let on = (200, r#"{"text":"Success","code":0}"#);
    let query = |weir: &Weir| {
        weir.request("POST", &format!("{EVENT}?token={}", weir.token), "", "", br#"{"event":"x"}"#)
    };
    assert_eq!(shown(&query(&Weir::start())), off);
    let for_all = |settings: &mut Settings| settings.splunk.query_token = Some(true);
    assert_eq!(shown(&query(&Weir::start_with(for_all))), on);
    let for_others = |settings: &mut Settings| {
        for_all(settings);
        let own = settings.tenants.entry(TenantName::parse("default").unwrap()).or_default();
        own.splunk.query_token = Some(false);
    };
    assert_eq!(shown(&query(&Weir::start_with(for_others))), off);
}

#[test]
fn a_bad_event_costs_itself() {
    let weir = Weir::start();
    let too_old = r#"{"time":1,"event":"metric","fields":{"metric_name:old":1}}"#;
    let body = [
        metric(&weir, r#"{"metric_name:cpu.usr":1.5,"metric_name:cpu.sys":2}"#),
        too_old.to_owned(),
        r#"{"event":""}"#.to_owned(),
        metric(&weir, r#"{"metric_name":"late","_value":"3"}"#),
        r#"{"event":"line"}"#.to_owned(),
    ]
    .concat();
    let answer = send(&weir, "/services/collector", &body);
    // The store refuses one before the decoder's first.
    assert_eq!(shown(&answer), (400, r#"{"text":"Invalid data format","code":6,"invalid-event-number":1}"#));
    assert!(answer.head.contains("x-weir-rejected: 2; "), "{}", answer.head);
    assert_eq!(values(&weir, r#"{__name__="cpu.usr",host="h"}"#), ["1.5"]);
    assert_eq!(values(&weir, r#"{__name__="cpu.sys"}"#), ["2"]);
    assert_eq!(values(&weir, "late"), ["3"]);
    let answer = send(&weir, EVENT, r#"{"event":"x"}{"event":""}"#);
    let wanted = r#"{"text":"Event field cannot be blank","code":13,"invalid-event-number":1}"#;
    assert_eq!(shown(&answer), (400, wanted));
    assert_eq!(shown(&send(&weir, EVENT, "")), (400, r#"{"text":"No data","code":5}"#));
}

#[test]
fn what_was_acknowledged_is_true() {
    let weir = Weir::start();
    let channel = "X-Splunk-Request-Channel: FE0ECFAD-13D5-401B-847D-77833BD77131\r\n";
    let headers = format!("{channel}Authorization: Splunk {}\r\n", weir.token);
    let post = |path: &str, body: &str| weir.request("POST", path, "", &headers, body.as_bytes());
    let ids: Vec<u64> = ["one", "two"]
        .iter()
        .map(|line| post("/services/collector/raw", line).json()["ackId"].as_u64().unwrap())
        .collect();
    assert_ne!(ids[0], ids[1]);
    assert!(ids.iter().all(|id| *id < 1 << 53), "{ids:?}");
    let asked = json!({ "acks": ids }).to_string();
    let wanted = json!({ "acks": { ids[0].to_string(): true, ids[1].to_string(): true } });
    assert_eq!(post("/services/collector/ack", &asked).json(), wanted);
    let answer = send(&weir, "/services/collector/ack", &asked);
    assert_eq!(shown(&answer), (400, r#"{"text":"Data channel is missing","code":10}"#));
}

#[test]
fn a_tenant_over_its_rate_and_a_body_over_its_limit_are_told() {
    let weir = Weir::start_with(|settings| {
        settings.limits.samples_per_second = 1.0;
        settings.limits.samples_burst = 10.0;
    });
    let many: String = (0..2000).map(|i| metric(&weir, &format!(r#"{{"metric_name:m{i}":1}}"#))).collect();
    assert_eq!(send(&weir, EVENT, &many).status, 200);
    let busy = send(&weir, EVENT, r#"{"event":"x"}"#);
    assert_eq!(shown(&busy), (503, r#"{"text":"Server is busy","code":9}"#));
    assert!(busy.head.contains("retry-after: "), "{}", busy.head);
    let weir = Weir::start();
    let large = "x".repeat((8 << 20) + 1);
    let answer = send(&weir, "/services/collector/raw", &large);
    assert_eq!(shown(&answer), (413, r#"{"text":"Request entity too large","code":27}"#));
}

#[test]
fn lines_without_room_are_asked_for_again_and_samples_beside_them_stay() {
    let weir = Weir::start_with(|settings| settings.storage.log_bytes = server::config::Size(1));
    assert_eq!(send(&weir, EVENT, r#"{"event":"the first fills it"}"#).status, 200);
    let body = format!(r#"{}{{"event":"no room"}}"#, metric(&weir, r#"{"metric_name:beside":7}"#));
    for _ in 0..2 {
        let answer = send(&weir, EVENT, &body);
        assert_eq!(shown(&answer), (503, r#"{"text":"Server is busy","code":9}"#));
        assert!(answer.head.contains("retry-after: 60"), "{}", answer.head);
        assert_eq!(values(&weir, "count_over_time(beside[1h])"), ["1"]);
    }
}

#[test]
fn health_says_what_writes_would_be_told() {
    let health = "/services/collector/health";
    let well = Weir::start();
    assert_eq!(shown(&well.get(health, "")), (200, r#"{"text":"HEC is healthy","code":17}"#));
    assert_eq!(well.get("/health", "").json()["status"], "pass");
    let full =
        Weir::start_with(|settings| settings.storage.disk_reserve_bytes = server::config::Size(1 << 60));
    let wanted = r#"{"text":"HEC is unhealthy, queues are full","code":18}"#;
    until("the disk was looked at", || full.get("/-/ready", "").status == 503);
    assert_eq!(shown(&full.get(health, "")), (503, wanted));
    let answer = full.get("/health", "");
    assert_eq!((answer.status, &answer.json()["status"]), (503, &json!("fail")));
}
