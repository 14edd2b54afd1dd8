//! What senders of log lines meet that speak Loki's push.

mod common;

use std::io::Write;

use common::{Response, Weir};

const JSON: &str = "Content-Type: application/json\r\n";

fn push(weir: &Weir, path: &str, body: &str) -> Response {
    weir.request("POST", path, &weir.token, JSON, body.as_bytes())
}

fn now_ns(weir: &Weir) -> i64 {
    weir.app().env.clock.now_ms() * 1_000_000
}

/// A push of one line.
fn one(weir: &Weir, line: &str) -> String {
    format!(r#"{{"streams":[{{"stream":{{"app":"w"}},"values":[["{}","{line}"]]}}]}}"#, now_ns(weir))
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
fn every_path_takes_lines_and_what_was_said_yes_to_is_held() {
    let weir = Weir::start();
    let paths = [
        "/loki/api/v1/push",
        "/api/v1/logs/push",
        "/api/prom/push",
        "/loki/api/prom/push",
        "/v1/loki/api/v1/push",
        "/insert/loki/api/v1/push",
        "/api/default/loki/api/v1/push",
    ];
    for path in paths {
        let answer = push(&weir, path, &one(&weir, path));
        assert_eq!((answer.status, answer.body.as_str()), (204, ""), "{path}");
    }
    assert_eq!(lines(&weir), paths);
    // The same path with anything but JSON is remote write's.
    let proto = "Content-Type: application/x-protobuf\r\nContent-Encoding: snappy\r\n";
    let empty = weir.request("POST", "/api/prom/push", &weir.token, proto, b"\x00");
    assert_eq!(empty.status, 204);
    let handshake = weir.get("/api/prom/push?get_vm_proto_version=1", &weir.token);
    assert_eq!((handshake.status, handshake.body.as_str()), (200, "1"));
}

#[test]
fn a_bad_entry_costs_itself_and_its_complaint_comes_first() {
    let weir = Weir::start();
    let now = now_ns(&weir);
    let body = format!(
        r#"{{"streams":[{{"stream":{{"app":"w"}},"values":[["{now}","kept"],[{now},"a number"],["1","too old"]]}},
            {{"stream":{{"a-b":"c"}},"values":[["{now}","no stream"]]}},
            {{"labels":"{{a=\"1\",a=\"2\"}}","entries":[{{"line":"twice"}}]}}]}}"#
    );
    let answer = push(&weir, "/loki/api/v1/push", &body);
    assert_eq!(answer.status, 400, "{answer:?}");
    let said: Vec<&str> = answer.body.lines().collect();
    assert_eq!(said[0], "entry for stream '{app=\"w\"}': a time is a string of nanoseconds");
    assert_eq!(
        *said.last().unwrap(),
        "stored 1 of 5 log lines; refused: 1 log lines (invalid_line), 2 log lines (invalid_labels), 1 log lines (too_old)",
    );
    assert_eq!(lines(&weir), ["kept"]);
}

#[test]
fn the_answers_are_lokis() {
    let weir = Weir::start();
    let body = one(&weir, "x");
    let nobody = weir.request("POST", "/loki/api/v1/push", "", JSON, body.as_bytes());
    assert_eq!((nobody.status, nobody.body.as_str()), (401, "no org id\n"));
    let unknown = weir.request("POST", "/loki/api/v1/push", "0123", JSON, body.as_bytes());
    assert_eq!(unknown.status, 401);
    let other = format!("{JSON}X-Scope-OrgID: somebody\r\n");
    let other = weir.request("POST", "/loki/api/v1/push", &weir.token, &other, body.as_bytes());
    assert_eq!(other.status, 403);
    for empty in ["{}", r#"{"streams":[]}"#, r#"{"streams":null}"#] {
        let answer = push(&weir, "/loki/api/v1/push", empty);
        let wanted = "error at least one valid stream is required for ingestion\n";
        assert_eq!((answer.status, answer.body.as_str()), (422, wanted), "{empty}");
    }
    assert_eq!(
        push(&weir, "/loki/api/v1/push", r#"{"streams":[{"stream":{"a":"b"},"values":[]}]}"#).status,
        204
    );
    let untyped = weir.request("POST", "/loki/api/v1/push", &weir.token, "", body.as_bytes());
    assert_eq!((untyped.status, untyped.body.as_str()), (400, "mime: no media type\n"));
    let proto = "Content-Type: application/x-protobuf\r\n";
    let corrupt = weir.request("POST", "/loki/api/v1/push", &weir.token, proto, b"abc");
    assert_eq!((corrupt.status, corrupt.body.as_str()), (400, "snappy: corrupt input\n"));
    assert_eq!(weir.get("/loki/api/v1/push", &weir.token).status, 405);
    let long = "x".repeat((8 << 20) + 1);
    assert_eq!(push(&weir, "/loki/api/v1/push", &long).status, 413);
    assert!(lines(&weir).is_empty());
}

#[test]
fn snappy_is_innermost_whatever_lies_around_it() {
    let weir = Weir::start();
    let mut message = Vec::new();
    codec::proto::write_message(1, &mut message, |stream| {
        codec::proto::write_bytes(1, br#"{app="w"}"#, stream);
        codec::proto::write_message(2, stream, |entry| codec::proto::write_bytes(2, b"packed", entry));
    });
    let snappy = codec::pack::snappy(&message).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&snappy).unwrap();
    let gzip = gzip.finish().unwrap();
    let proto = "Content-Type: application/x-protobuf\r\n";
    for (encoding, body) in
        [("", &snappy), ("Content-Encoding: snappy\r\n", &snappy), ("Content-Encoding: gzip\r\n", &gzip)]
    {
        let headers = format!("{proto}{encoding}");
        let answer = weir.request("POST", "/loki/api/v1/push", &weir.token, &headers, body);
        assert_eq!(answer.status, 204, "{encoding} {answer:?}");
    }
    assert_eq!(lines(&weir), ["packed"; 3]);
}
