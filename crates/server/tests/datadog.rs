//! What Datadog's senders meet: their statuses, their places for a key, what becomes of what they send.

mod common;

use std::io::Write;

use common::{Response, Weir, until};
use dialects::datadog::HostTagsUse;
use model::{TenantId, TenantName};
use server::config::{Settings, TenantSettings};

const SERIES: &str = r#"{"series":[{"metric":"system.net.bytes_rcvd","points":[[NOW,7]],"type":"gauge",
    "host":"x1carb6","device":"enp0s31f6","tags":["env:prod"],"source_type_name":"System"}]}"#;

fn series(weir: &Weir) -> String {
    SERIES.replace("NOW", &(weir.app().env.clock.now_ms() / 1000).to_string())
}

fn send(weir: &Weir, path: &str, headers: &str, body: &[u8]) -> Response {
    let headers = format!("DD-API-KEY: {}\r\n{headers}", weir.token);
    weir.request("POST", path, "", &headers, body)
}

fn send_json(weir: &Weir, path: &str, body: &str) -> Response {
    send(weir, path, "Content-Type: application/json\r\n", body.as_bytes())
}

fn first(weir: &Weir, token: &str, query: &str) -> serde_json::Value {
    weir.get(&format!("/api/v1/query?query={query}"), token).json()["data"]["result"][0].clone()
}

fn plain(settings: &mut Settings) {
    let own: TenantSettings = {
        let mut own = TenantSettings::default();
        own.datadog.profile = Some(dialects::datadog::Profile::Plain);
        own
    };
    settings.tenants.insert(TenantName::parse("default").unwrap(), own);
}

#[test]
fn a_key_is_taken_in_any_of_its_places() {
    let weir = Weir::start();
    let token = &weir.token;
    for path in ["/api/v1/validate", "/datadog/api/v1/validate", "/api/v1/validate/"] {
        let valid = weir.request("GET", path, "", &format!("Dd-Api-Key: {token}\r\n"), b"");
        assert_eq!((valid.status, valid.body.as_str()), (200, r#"{"valid":true}"#), "{path}");
    }
    for name in ["api_key", "dd-api-key"] {
        assert_eq!(weir.get(&format!("/api/v1/validate?{name}={token}"), "").status, 200);
    }
    for path in ["/api/v1/validate", "/api/v1/validate?api_key=0123"] {
        let refused = weir.get(path, "");
        assert_eq!((refused.status, refused.body.as_str()), (403, r#"{"errors":["Forbidden"]}"#), "{path}");
    }
    let logs = weir.request("POST", &format!("/v1/input/{token}"), "", "", br#"[{"message":"hello"}]"#);
    assert_eq!((logs.status, logs.body.as_str()), (202, "{}"));
    assert_eq!(weir.request("POST", "/v1/input/0123", "", "", b"{}").status, 403);
    let two = format!("DD-API-KEY: {token}\r\n");
    assert_eq!(weir.request("POST", "/api/v2/series?api_key=0123", "", &two, b"").status, 400);
    // Neither the system's nor the administrator's token may write here.
    let admin = format!("DD-API-KEY: {}\r\n", weir.admin);
    assert_eq!(weir.request("POST", "/api/v2/series", "", &admin, b"{}").status, 403);
}

#[test]
fn series_are_found_as_the_tutorial_prints_them() {
    let weir = Weir::start();
    let answer = send_json(&weir, "/api/v1/series", &series(&weir));
    assert_eq!((answer.status, answer.body.as_str()), (202, r#"{"status": "ok"}"#));
    let found = first(&weir, &weir.token, "system_net_bytes_rcvd");
    let wanted = serde_json::json!({
        "__name__": "system_net_bytes_rcvd", "instance": "x1carb6", "job": "ddagent", "type": "gauge",
        "device": "enp0s31f6", "source_type_name": "System", "ddtag_env": "prod",
    });
    assert_eq!(found["metric"], wanted);
    // The same path is Prometheus' for whoever sends a form.
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let found = weir.request("POST", "/api/v1/series", &weir.token, form, b"match[]=system_net_bytes_rcvd");
    assert_eq!(found.json()["data"], serde_json::json!([wanted]));
    let json = "Content-Type: application/json\r\n";
    let refused = weir.request("POST", "/api/v1/series", &weir.token, json, series(&weir).as_bytes());
    assert_eq!((refused.status, refused.body.as_str()), (403, r#"{"errors":["Forbidden"]}"#));
}

#[test]
fn a_tenant_has_the_profile_that_it_chose() {
    let weir = Weir::start_with(plain);
    assert_eq!(send_json(&weir, "/datadog/api/v1/series/", &series(&weir)).status, 202);
    let found = first(&weir, &weir.token, "system_net_bytes_rcvd");
    let wanted = serde_json::json!({
        "__name__": "system_net_bytes_rcvd", "host": "x1carb6", "device": "enp0s31f6", "env": "prod",
    });
    assert_eq!(found["metric"], wanted);
}

#[test]
fn a_bad_sample_costs_itself_and_a_bad_body_everything() {
    let weir = Weir::start();
    let now = weir.app().env.clock.now_ms() / 1000;
    let body = format!(
        r#"{{"series":[{{"metric":"good","points":[[{now},1],[{now},"x"],[{},2]]}},{{"metric":"","points":[[{now},1]]}}]}}"#,
        now + 3600
    );
    let answer = send_json(&weir, "/api/v1/series", &body);
    assert_eq!(answer.status, 202, "{answer:?}");
    assert!(answer.head.contains("x-weir-rejected: 3; "), "{}", answer.head);
    assert_eq!(first(&weir, &weir.token, "good")["value"][1], "1");
    let bad = send_json(&weir, "/api/v1/series", "{");
    assert_eq!(bad.status, 400);
    assert!(bad.json()["errors"][0].is_string());
    let proto = "Content-Type: application/x-protobuf\r\n";
    assert_eq!(send(&weir, "/api/v2/series", proto, b"\xff\xff").status, 400);
    let coded = "Content-Type: application/json\r\nContent-Encoding: br\r\n";
    assert_eq!(send(&weir, "/api/v1/series", coded, b"x").status, 400);
}

#[test]
fn every_packing_is_taken_and_bombs_are_not() {
    let weir = Weir::start();
    let zlib = |bytes: &[u8]| {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let now = weir.app().env.clock.now_ms() / 1000;
    let body = |name: &str| {
        format!(r#"{{"series":[{{"metric":"{name}","points":[{{"timestamp":{now},"value":3}}],"type":3}}]}}"#)
    };
    for (number, (encoding, packed)) in [
        ("deflate", zlib(body("packed_0").as_bytes())),
        ("gzip", gzip(body("packed_1").as_bytes())),
        ("x-gzip", gzip(body("packed_2").as_bytes())),
        ("identity", body("packed_3").into_bytes()),
        ("gzip, deflate", zlib(&gzip(body("packed_4").as_bytes()))),
    ]
    .into_iter()
    .enumerate()
    {
        let headers = format!("Content-Type: text/json\r\nContent-Encoding: {encoding}\r\n");
        let answer = send(&weir, "/api/v2/series", &headers, &packed);
        assert_eq!((answer.status, answer.body.as_str()), (202, r#"{"errors":[]}"#), "{encoding}");
        assert_eq!(first(&weir, &weir.token, &format!("packed_{number}"))["value"][1], "3");
    }
    let bomb = zlib(&vec![b' '; 80 << 20]);
    let headers = "Content-Type: application/json\r\nContent-Encoding: deflate\r\n";
    assert_eq!(send(&weir, "/api/v2/series", headers, &bomb).status, 413);
    assert_eq!(send(&weir, "/api/v2/series", headers, &zlib(&bomb)).status, 400);
    let twice = "Content-Type: application/json\r\nContent-Encoding: deflate, deflate\r\n";
    assert_eq!(send(&weir, "/api/v2/series", twice, &zlib(&bomb)).status, 413);
}

#[test]
fn an_empty_body_keeps_a_connection_alive_however_it_is_packed() {
    let weir = Weir::start();
    for encoding in ["", "Content-Encoding: zstd\r\n", "Content-Encoding: gzip\r\n"] {
        for path in ["/api/v2/series", "/api/beta/sketches", "/api/intake/metrics/v3/series"] {
            let headers = format!("Content-Type: application/x-protobuf\r\n{encoding}");
            assert_eq!(send(&weir, path, &headers, b"").status, 202, "{path} {encoding}");
        }
    }
    let wrong = weir.request("PUT", "/api/v2/series", "", &format!("DD-API-KEY: {}\r\n", weir.token), b"");
    assert_eq!(wrong.status, 405);
    assert!(wrong.json()["errors"][0].as_str().unwrap().contains("takes POST"), "{wrong:?}");
}

#[test]
fn tags_of_hosts_are_on_the_disk_when_they_are_acknowledged() {
    let told = |weir: &Weir| {
        let body = r#"{"internalHostname":"web-1","host-tags":{"system":["env:prod"]}}"#;
        send_json(weir, "/intake/", body).status
    };
    // They are kept for nobody who does not want them.
    let weir = Weir::start();
    assert_eq!(told(&weir), 202);
    let directory = weir.stop();
    let (file, in_the_way) = (directory.path().join("host-tags"), directory.path().join("host-tags.tmp"));
    assert!(!file.exists());

    let attach = |settings: &mut Settings| settings.datadog.host_tags = Some(HostTagsUse::Attach);
    let weir = Weir::start_in(directory, attach);
    std::fs::create_dir(&in_the_way).unwrap();
    assert_eq!([told(&weir), told(&weir)], [503, 503]);
    std::fs::remove_dir(&in_the_way).unwrap();
    assert_eq!(told(&weir), 202);
    assert!(String::from_utf8_lossy(&std::fs::read(&file).unwrap()).contains("env:prod"));
}

#[test]
fn what_is_not_kept_is_counted_and_what_is_unknown_is_told() {
    let weir = Weir::start();
    let metric = |name: &str| {
        let text = weir.get("/metrics", &weir.admin).body;
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned))
    };
    assert_eq!(send_json(&weir, "/api/v2/sbom", "{}").status, 202);
    assert_eq!(weir.request("POST", "/api/v2/sbom", "", "", b"{}").status, 403);
    let name = r#"weir_received_not_kept_total{tenant="default",dialect="datadog"}"#;
    assert_eq!(metric(name).as_deref(), Some("1"));
    let lost = send_json(&weir, "/api/v2/nothing-like-it", "{}");
    assert_eq!(lost.status, 404);
    assert!(
        lost.json()["errors"][0].as_str().unwrap().starts_with("Not found: POST /api/v2/nothing-like-it")
    );
    let name = r#"weir_datadog_unknown_route_total{path="/api/v2/nothing-like-it"}"#;
    assert_eq!(metric(name).as_deref(), Some("1"));
    let route =
        r#"dd_api_request_duration_seconds_count{route="api_v2_sbom",method="POST",status_code="202"}"#;
    assert_eq!(metric(route).as_deref(), Some("1"));
    let system = weir.app().authority().tenant("system").unwrap().id;
    let store = weir.app().store().unwrap();
    until("the line about it is there", || {
        let lines = lines(store, system);
        lines.iter().any(|line| line.contains("asks for POST /api/v2/nothing-like-it"))
    });
}

#[test]
fn no_room_for_lines_is_no_reason_to_lose_samples() {
    let weir = Weir::start_with(|settings| settings.storage.log_bytes = server::config::Size(1));
    let log = send_json(&weir, "/api/v2/logs", r#"[{"message":"the first fills it"}]"#);
    assert_eq!(log.status, 202, "{log:?}");
    let full = send_json(&weir, "/api/v2/logs", r#"[{"message":"hello"}]"#);
    assert_eq!(full.status, 503, "{full:?}");
    assert!(full.head.contains("retry-after: "), "{}", full.head);
    let check = r#"[{"check":"app.ok","host_name":"web-1","status":2,"message":"it is down"}]"#;
    let answer = send_json(&weir, "/api/v1/check_run", check);
    assert_eq!(answer.status, 202);
    assert!(answer.head.contains("x-weir-rejected: 1; logs_full"), "{}", answer.head);
    assert_eq!(first(&weir, &weir.token, "app_ok")["value"][1], "2");
}

fn lines(store: &tsdb::Store, tenant: TenantId) -> Vec<String> {
    let mut lines = Vec::new();
    store.log_lines(tenant, i64::MIN..=i64::MAX, &mut |line| lines.push(line.line.to_string())).unwrap();
    lines
}
