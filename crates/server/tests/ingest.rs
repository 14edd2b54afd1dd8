//! The way in: who is let in, what is refused and how, what is acknowledged and found again.

mod common;

use std::io::{Read, Write};
use std::time::Duration;

use common::{Response, Weir};
use model::TenantId;
use server::config::Share;

const IMPORT: &str = "/api/v1/import/prometheus";

fn one(weir: &Weir, query: &str) -> String {
    let answer = weir.get(&format!("/api/v1/query?query={query}"), &weir.token).json();
    answer["data"]["result"][0]["value"][1].as_str().unwrap_or("nothing").to_owned()
}

#[test]
fn what_is_acknowledged_is_found_at_once_and_after_a_restart() {
    let weir = Weir::start();
    for i in 0..50 {
        assert_eq!(weir.post(IMPORT, &format!("counted {i}\n")).status, 204);
        assert_eq!(one(&weir, "counted"), i.to_string());
    }
    let weir = Weir::start_in(weir.stop(), |_| {});
    assert_eq!(one(&weir, "counted"), "49");
}

#[test]
fn bodies_on_the_pool_and_in_place_are_stored_alike() {
    let weir = Weir::start();
    let large: String = (0..4000).map(|i| format!("many{{n=\"{i}\"}} {i}\n")).collect();
    assert!(large.len() > 64 << 10);
    assert_eq!(weir.post(IMPORT, &large).status, 204);
    assert_eq!(one(&weir, "sum(many)"), (0..4000).sum::<u32>().to_string());
    // The same thread's memory, used again for less.
    assert_eq!(weir.post(IMPORT, "many{n=\"0\"} 7\n").status, 204);
    assert_eq!(one(&weir, "count(many)"), "4000");
}

#[test]
fn every_route_asks_for_its_credential() {
    let weir = Weir::start();
    let refused = |token: &str, headers: &str| weir.request("POST", IMPORT, token, headers, b"up 1\n").status;
    assert_eq!(refused("", ""), 401);
    assert_eq!(refused("nonsense", ""), 401);
    assert_eq!(refused(&weir.admin, ""), 403);
    assert_eq!(refused(&weir.token, "X-Scope-OrgID: system\r\n"), 403);
    assert_eq!(refused(&weir.token, "X-Scope-OrgID: default\r\nX-Scope-OrgID: default\r\n"), 400);
    assert_eq!(refused(&weir.token, &format!("Authorization: Bearer {}\r\n", weir.system)), 400);
    assert_eq!(refused(&weir.token, "X-Scope-OrgID: default\r\n"), 204);
    for row in server::routes::table(&std::collections::HashMap::new()) {
        if row.owner == "system" || row.path.contains('{') {
            continue;
        }
        let status = weir.request(row.method, row.path, "", "", b"").status;
        // A browser asks beforehand without the token.
        use server::routes::Action;
        let open = matches!(row.action, Action::Answer(_) | Action::Health(_) | Action::Preflight);
        let wanted = match row.action {
            // Of several dialects at one path it is the one that would take this request.
            server::routes::Action::Ingest(_) => {
                let request = dialects::Request { path: row.path, ..dialects::Request::default() };
                dialects::owner(row.method, &request).expect("a dialect's").0.statuses.no_credential
            }
            _ => 401,
        };
        // Who has no credential of Datadog's on a path that Prometheus has too is a client of Prometheus.
        let wanted = match (row.owner, row.path) {
            ("datadog", "/api/v1/series") => 401,
            ("datadog", "/api/v1/metadata") => 405,
            // Nothing but gRPC is answered there.
            ("otlp", path) if path.ends_with("Service/Export") => 415,
            _ => wanted,
        };
        assert_eq!(status == wanted, !open, "{} {}: {status}", row.method, row.path);
    }
}

#[test]
fn tenants_do_not_see_each_other() {
    let weir = Weir::start();
    let body = br#"{"name":"other"}"#;
    assert_eq!(weir.request("POST", "/api/v1/admin/tenants", &weir.token, "", body).status, 403);
    assert_eq!(weir.request("POST", "/api/v1/admin/tenants", &weir.admin, "", body).status, 201);
    let body = br#"{"tenant":"other","scopes":["write","read"],"name":"test"}"#;
    let made = weir.request("POST", "/api/v1/admin/tokens", &weir.admin, "", body);
    let token = made.json()["token"].as_str().unwrap().to_owned();
    assert_eq!(weir.request("POST", IMPORT, &token, "", b"secret 42\n").status, 204);
    assert_eq!(one(&weir, "secret"), "nothing");
    let theirs = weir.get("/api/v1/query?query=secret", &token).json();
    assert_eq!(theirs["data"]["result"][0]["value"][1], "42");
    assert_eq!(weir.request("DELETE", "/api/v1/admin/tenants/other", &weir.admin, "", b"").status, 200);
    assert_eq!(weir.get("/api/v1/query?query=secret", &token).status, 401);
}

#[test]
fn a_declared_bomb_costs_nothing() {
    let weir = Weir::start();
    // Snappy: 4 GiB declared in six bytes.
    let headers = "Content-Type: application/x-protobuf\r\nContent-Encoding: snappy\r\n";
    let bomb = [0xff, 0xff, 0xff, 0xff, 0x0f, 0x00];
    let answer = weir.request("POST", "/api/v1/write", &weir.token, headers, &bomb);
    assert!(matches!(answer.status, 400 | 413), "{answer:?}");
    let headers = "Content-Type: application/x-protobuf\r\nContent-Encoding: gzip\r\n";
    assert_eq!(weir.request("POST", "/api/v1/write", &weir.token, headers, b"x").status, 415);
}

/// Comments that inflate to `bytes`, packed as `encoding` says.
fn bomb(encoding: &str, bytes: usize) -> Vec<u8> {
    let text = format!("#{}\n", " ".repeat(1022)).repeat(bytes >> 10).into_bytes();
    let write = |mut encoder: Box<dyn Write>| encoder.write_all(&text).unwrap();
    let mut packed = Vec::new();
    match encoding {
        "gzip" => write(Box::new(flate2::write::GzEncoder::new(&mut packed, flate2::Compression::fast()))),
        _ => write(Box::new(flate2::write::ZlibEncoder::new(&mut packed, flate2::Compression::fast()))),
    }
    packed
}

#[test]
fn what_a_body_inflates_to_is_paid_for() {
    // Gzip and deflate bodies were charged as they lay on the wire: a hundred bombs of 60 KiB took 6 GiB out of a pool
    // of 10 % of the memory.
    const POOL: u64 = 16 << 20;
    let weir = Weir::start_with(|settings| settings.ingest.in_flight_bytes = Share::Bytes(POOL));
    let pool = &weir.app().bytes;
    for encoding in ["gzip", "deflate"] {
        let headers = format!("Content-Encoding: {encoding}\r\n");
        let send = |bytes| weir.request("POST", IMPORT, &weir.token, &headers, &bomb(encoding, bytes));
        assert_eq!(send(8 << 20).status, 204, "{encoding}");
        let others = pool.take(TenantId(99), POOL - (4 << 20), Duration::ZERO).unwrap();
        let answer = send(8 << 20);
        assert_eq!(answer.status, 503, "{encoding}: {answer:?}");
        assert!(answer.head.contains("retry-after: "), "{}", answer.head);
        assert_eq!(send(1 << 20).status, 204, "{encoding}: what fits is taken");
        drop(others);
        assert_eq!(send(8 << 20).status, 204, "{encoding}: and so is the rest when there is room again");
        // Nobody needs to come back with what the whole pool could not hold.
        assert_eq!(send(17 << 20).status, 413, "{encoding}");
        // Nor with what it could not hold as it is: that was 503 for ever.
        let answer = weir.post(IMPORT, &"# and so on\n".repeat(17 << 20 >> 3));
        assert_eq!(answer.status, 413, "{answer:?}");
        assert!(answer.body.contains(&(POOL / 3).to_string()), "{answer:?}");
        assert_eq!(pool.held(), 0, "{encoding}: all of it is given back");
    }
}

#[test]
fn a_tenant_over_its_rate_comes_back_later() {
    let weir = Weir::start_with(|settings| {
        settings.limits.samples_per_second = 1.0;
        settings.limits.samples_burst = 2.0;
    });
    assert_eq!(weir.post(IMPORT, "a 1\nb 1\nc 1\nd 1\n").status, 204);
    let answer = weir.post(IMPORT, "a 1\n");
    assert_eq!(answer.status, 503);
    assert!(answer.head.contains("retry-after: "), "{}", answer.head);
}

#[test]
fn a_body_that_stops_coming_is_let_go() {
    let weir =
        Weir::start_with(|settings| settings.http.body_timeout = std::time::Duration::from_millis(200));
    let mut stream = weir.connect();
    let head = format!(
        "POST {IMPORT} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\nContent-Length: 1000\r\n\r\nup",
        weir.token
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = [0; 4096];
    let length = stream.read(&mut answer).unwrap();
    let answer = Response::parse(&String::from_utf8_lossy(&answer[..length]));
    assert_eq!(answer.status, 503, "temporary: the sender must come back");
    assert!(answer.head.contains("retry-after: "), "{}", answer.head);
}

#[test]
fn a_sender_that_leaves_has_stored_what_it_sent() {
    let weir = Weir::start();
    for i in 0..20 {
        let body = format!("left {i}\n");
        let head = format!(
            "POST {IMPORT} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\r\n{body}",
            weir.token,
            body.len()
        );
        let mut stream = weir.connect();
        stream.write_all(head.as_bytes()).unwrap();
        drop(stream);
    }
    // Whether each of them was read before its sender left is a race; that nothing breaks is not.
    assert_eq!(weir.post(IMPORT, "left 99\n").status, 204);
    let metrics = weir.get("/metrics", &weir.admin).body;
    assert!(metrics.contains("weir_request_panics_total 0\n"), "{metrics}");
}

#[test]
fn http_2_with_prior_knowledge_is_served() {
    let weir = Weir::start();
    let url = format!("http://{}{IMPORT}", weir.address);
    let auth = format!("Authorization: Bearer {}", weir.token);
    let arguments =
        ["-s", "--http2-prior-knowledge", "-w", "%{http_version} %{http_code}", "--data-binary", "h2 5"];
    let Ok(output) = std::process::Command::new("curl").args(arguments).args(["-H", &auth, &url]).output()
    else {
        common::skipped("curl");
        return;
    };
    assert_eq!(String::from_utf8_lossy(&output.stdout), "2 204");
    assert_eq!(one(&weir, "h2"), "5");
}

#[test]
fn a_lost_request_is_told_the_way() {
    let weir = Weir::start();
    let answer = weir.post("/api/v1/wirte", "");
    assert_eq!((answer.status, answer.json()["nearest"].as_str()), (404, Some("/api/v1/write")));
    let answer = weir.request("DELETE", "/api/v1/write", &weir.token, "", b"");
    assert_eq!(answer.status, 405);
    assert!(answer.head.contains("allow: "), "{}", answer.head);
}

#[test]
fn health_and_readiness_need_no_token() {
    let weir = Weir::start();
    assert_eq!(weir.get("/-/healthy", "").status, 200);
    let ready = weir.get("/-/ready", "");
    assert_eq!(ready.status, 200);
    let names: Vec<String> = ready.json()["components"]
        .as_array()
        .unwrap()
        .iter()
        .map(|part| part["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["store", "wal", "disk", "drain"]);
    let greeting = weir.get("/", "").body;
    assert!(greeting.contains("/api/v1/import/prometheus") && !greeting.contains(&weir.token), "{greeting}");
    assert_eq!(weir.request("POST", "/-/reload", "", "", b"").status, 401);
}
