//! What InfluxDB's senders meet: their places for a token, their words, what becomes of what they send.

mod common;

use std::io::Write;

use common::{Response, Weir};
use model::TenantName;
use server::config::{Settings, TenantSettings};

fn write(weir: &Weir, target: &str, authorization: &str, body: &str) -> Response {
    let headers = match authorization {
        "" => String::new(),
        authorization => format!("Authorization: {authorization}\r\n"),
    };
    weir.request("POST", target, "", &headers, body.as_bytes())
}

fn now_s(weir: &Weir) -> i64 {
    weir.app().env.clock.now_ms() / 1000
}

fn found(weir: &Weir, query: &str) -> Vec<serde_json::Value> {
    let answer = weir.get(&format!("/api/v1/query?query={query}"), &weir.token).json();
    let rows = answer["data"]["result"].as_array().expect("a list").clone();
    rows.into_iter().map(|row| serde_json::json!([row["metric"], row["value"][1]])).collect()
}

#[test]
fn a_token_is_taken_in_any_of_its_places() {
    let weir = Weir::start();
    let token = weir.token.clone();
    let basic = |pair: String| {
        use base64::Engine as _;
        format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
    };
    for (number, (target, authorization)) in [
        ("/write?db=x", format!("Token {token}")),
        ("/write?db=x", format!("Token any:{token}")),
        ("/influx/write", format!("Bearer {token}")),
        ("/api/v2/write?org=o&bucket=b", format!("Token {token}")),
        ("/influx/api/v2/write/", basic(format!("any:{token}"))),
        (&format!("/write?u=any&p={token}"), String::new()),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = write(&weir, target, &authorization, &format!("place{number} value=1"));
        assert_eq!((answer.status, answer.body.as_str()), (204, ""), "{target} {authorization}");
        assert_eq!(found(&weir, &format!("place{number}")).len(), 1);
    }
    let none = write(&weir, "/write", "", "m v=1");
    assert_eq!(none.status, 401);
    assert_eq!(none.json()["error"], "unable to parse authentication credentials");
    assert!(none.head.contains("x-influxdb-error: "), "{}", none.head);
    let bad = write(&weir, "/api/v2/write", "Token 0123", "m v=1");
    assert_eq!((bad.status, bad.json()["code"].as_str()), (401, Some("unauthorized")));
    // Neither the system's nor the administrator's token may write here.
    assert_eq!(write(&weir, "/write", &format!("Token {}", weir.admin), "m v=1").status, 403);
}

#[test]
fn good_points_are_stored_and_bad_ones_named() {
    let weir = Weir::start();
    let (authorization, now) = (format!("Token {}", weir.token), now_s(&weir));
    let body = format!("cpu,host=a user=1.5,ok=t {now}\ncpu,host=a user= {now}\nold value=1 1000\n");
    let answer = write(&weir, "/write?precision=s", &authorization, &body);
    assert_eq!(answer.status, 400);
    let error = answer.json()["error"].as_str().expect("a text").to_owned();
    assert!(error.starts_with("partial write: points beyond retention policy\n"), "{error}");
    assert!(error.contains("unable to parse 'cpu,host=a user= "), "{error}");
    assert!(error.ends_with(" dropped=2"), "{error}");
    assert!(answer.head.contains("x-weir-rejected: 2; "), "{}", answer.head);
    let labels = |name: &str| serde_json::json!({ "__name__": name, "host": "a" });
    assert_eq!(found(&weir, "cpu_user"), [serde_json::json!([labels("cpu_user"), "1.5"])]);
    assert_eq!(found(&weir, "cpu_ok"), [serde_json::json!([labels("cpu_ok"), "1"])]);
}

#[test]
fn every_packing_is_taken_and_bodies_have_a_limit() {
    let weir = Weir::start_with(|settings| {
        let dialect = settings.dialects.entry("influx").or_default();
        dialect.decoded_bytes = Some(server::config::Size(1 << 20));
        dialect.wire_bytes = Some(server::config::Size(1 << 20));
    });
    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let headers = format!("Authorization: Token {}\r\nContent-Encoding: gzip\r\n", weir.token);
    let send = |body: &[u8]| weir.request("POST", "/api/v2/write", "", &headers, &gzip(body));
    assert_eq!(send(b"packed value=1").status, 204);
    assert_eq!(found(&weir, "packed").len(), 1);
    let big = send(&vec![b' '; 2 << 20]);
    assert_eq!((big.status, big.json()["code"].as_str()), (413, Some("request too large")));
}

#[test]
fn a_tenant_has_the_names_that_it_chose() {
    let weir = Weir::start_with(|settings: &mut Settings| {
        settings.influx.database_label = Some("db".to_owned());
        let mut own = TenantSettings::default();
        own.influx.value_field = Some(dialects::influx::ValueField::Keep);
        settings.tenants.insert(TenantName::parse("default").unwrap(), own);
    });
    let answer = write(&weir, "/write?db=home", &format!("Token {}", weir.token), "temp,room=k value=21.5");
    assert_eq!(answer.status, 204);
    let labels = serde_json::json!({ "__name__": "temp_value", "room": "k", "db": "home" });
    assert_eq!(found(&weir, "temp_value"), [serde_json::json!([labels, "21.5"])]);
}

#[test]
fn clients_are_told_what_they_ask_first() {
    let weir = Weir::start();
    let ping = weir.get("/ping", "");
    assert_eq!(ping.status, 204);
    assert!(ping.head.contains("x-influxdb-version: 1."), "{}", ping.head);
    assert_eq!(weir.request("HEAD", "/ping", "", "", b"").status, 204);
    assert_eq!(weir.get("/health", "").json()["status"], "pass");
    let form =
        format!("Authorization: Token {}\r\nContent-Type: application/x-www-form-urlencoded\r\n", weir.token);
    let created = weir.request("POST", "/query", "", &form, b"q=CREATE+DATABASE+%22telegraf%22");
    assert_eq!(created.status, 200);
    assert_eq!(created.json(), serde_json::json!({ "results": [{ "statement_id": 0 }] }));
    assert_eq!(weir.request("POST", "/query", "", &form, b"q=SELECT+1").status, 400);
    assert_eq!(weir.request("POST", "/query", "", "", b"q=CREATE+DATABASE+x").status, 401);
}
