//! The framing table, over real sockets: what hyper would forgive is refused, in its place, and the connection closes.

mod common;

use std::io::{Read, Write};

use common::{Response, Weir};

fn statuses(answer: &str) -> Vec<u16> {
    answer.split("HTTP/1.1 ").skip(1).filter_map(|part| part.get(..3)?.parse().ok()).collect()
}

#[test]
fn the_framing_table() {
    let weir = Weir::start();
    let post = |headers: &str, body: &str| format!("POST /api/v1/write HTTP/1.1\r\n{headers}\r\n{body}");
    let many_headers = "x: y\r\n".repeat(101);
    let large_header = format!("x: {}\r\n", "y".repeat(100_000));
    let long_url = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(70_000));
    let cases: Vec<(&str, String, u16)> = vec![
        (
            "length beside encoding",
            post("Host: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
            400,
        ),
        (
            "encoding beside length",
            post("Host: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n"),
            400,
        ),
        ("two lengths", post("Host: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n", "hello"), 400),
        ("two equal lengths", post("Host: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n", "hello"), 400),
        ("list of lengths", post("Host: a\r\nContent-Length: 5, 5\r\n", "hello"), 400),
        ("signed length", post("Host: a\r\nContent-Length: +5\r\n", "hello"), 400),
        ("negative length", post("Host: a\r\nContent-Length: -1\r\n", ""), 400),
        ("length over 64 bits", post("Host: a\r\nContent-Length: 99999999999999999999\r\n", ""), 400),
        ("unknown encoding", post("Host: a\r\nTransfer-Encoding: xchunked\r\n", ""), 400),
        ("chunked is not last", post("Host: a\r\nTransfer-Encoding: chunked, identity\r\n", ""), 400),
        (
            "encoding in 1.0",
            "POST /api/v1/write HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(),
            400,
        ),
        ("space before colon", "GET / HTTP/1.1\r\nHost : a\r\n\r\n".into(), 400),
        ("folded line", "GET / HTTP/1.1\r\nHost: a\r\nx: y\r\n z\r\n\r\n".into(), 400),
        ("NUL in a value", "GET / HTTP/1.1\r\nHost: a\r\nx: \0\r\n\r\n".into(), 400),
        ("NUL in a name", "GET / HTTP/1.1\r\nHost: a\r\nx\0: y\r\n\r\n".into(), 400),
        ("bare line feed", "GET / HTTP/1.1\nHost: a\n\n".into(), 400),
        ("bare line feed later", "GET / HTTP/1.1\r\nHost: a\r\nx: y\n\r\n".into(), 400),
        ("no host", "GET / HTTP/1.1\r\n\r\n".into(), 400),
        ("two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n".into(), 400),
        ("two hosts, one in the target", "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n".into(), 400),
        ("101 headers", format!("GET / HTTP/1.1\r\nHost: a\r\n{many_headers}\r\n"), 431),
        ("one large header", format!("GET / HTTP/1.1\r\nHost: a\r\n{large_header}\r\n"), 431),
        ("long URL", long_url, 431),
        ("not HTTP", "hello\r\n\r\n".into(), 400),
    ];
    for (name, request, wanted) in cases {
        let answer = weir.exchange(request.as_bytes());
        assert_eq!(statuses(&answer), [wanted], "{name}: {answer}");
        assert!(answer.to_ascii_lowercase().contains("connection: close"), "{name}: {answer}");
    }
}

#[test]
fn good_requests_pass_in_any_fragmentation() {
    let weir = Weir::start();
    let pipeline = "GET /-/healthy HTTP/1.1\r\nHost: a\r\n\r\n\
        POST /nowhere HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n\
        GET /-/healthy HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    assert_eq!(statuses(&weir.exchange(pipeline.as_bytes())), [200, 404, 200]);
    let mut stream = weir.connect();
    stream.set_nodelay(true).unwrap();
    for byte in pipeline.as_bytes() {
        stream.write_all(&[*byte]).unwrap();
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(statuses(&answer), [200, 404, 200]);
}

/// Prometheus takes such requests, and its documentation has some; hyper answered them with 400 and no word.
#[test]
fn quotes_may_stand_raw_in_a_query() {
    let weir = Weir::start();
    assert_eq!(weir.post("/api/v1/import/prometheus", "up{job=\"ü#\"} 5\n").status, 204);
    let request = |method: &str, end: &str| {
        format!(
            "{method} /api/v1/query?query=up{{job=\"ü#\"}}>0 HTTP/1.1\r\nHost: a\r\n\
             Authorization: Bearer {}\r\n{end}",
            weir.token
        )
    };
    let form = "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 6\r\n\r\ntime=x";
    let pipeline = [request("GET", "\r\n"), request("GET", "\r\n"), request("POST", form)];
    let answer = weir.exchange(pipeline.concat().as_bytes());
    assert_eq!(statuses(&answer), [200, 200, 400], "{answer}");
    assert_eq!(answer.matches("\"job\":\"ü#\"}").count(), 2, "{answer}");
    assert!(answer.contains("invalid time value for 'time'"), "{answer}");
}

#[test]
fn a_refusal_comes_in_its_place_behind_earlier_requests() {
    let weir = Weir::start();
    let answer = weir.exchange(
        b"GET /-/healthy HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\nGET /-/healthy HTTP/1.1\r\nHost: a\r\n\r\n",
    );
    assert_eq!(statuses(&answer), [200, 400]);
    assert!(answer.contains("more than one Host"), "{answer}");
}

#[test]
fn chunked_bodies_end_where_they_end() {
    let weir = Weir::start();
    let auth = format!("Authorization: Bearer {}\r\n", weir.token);
    let chunked = format!(
        "POST /api/v1/import/prometheus HTTP/1.1\r\nHost: a\r\n{auth}Transfer-Encoding: chunked\r\n\r\n\
         4\r\nup 1\r\n1;x=y\r\n\n\r\n0\r\ntrailer: x\r\n\r\n\
         GET /-/healthy HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    );
    let answer = weir.exchange(chunked.as_bytes());
    assert_eq!(statuses(&answer), [204, 200], "{answer}");
    let bad = format!(
        "POST /api/v1/import/prometheus HTTP/1.1\r\nHost: a\r\n{auth}Transfer-Encoding: chunked\r\n\r\n\
         4\nup 1\r\n0\r\n\r\n"
    );
    let answer = weir.exchange(bad.as_bytes());
    assert!(matches!(statuses(&answer)[..], [] | [400]), "{answer}");
}

#[test]
fn old_clients_and_odd_ones_are_served() {
    let weir = Weir::start();
    assert_eq!(statuses(&weir.exchange(b"GET /-/healthy HTTP/1.0\r\n\r\n").replace("1.0 ", "1.1 ")), [200]);
    assert_eq!(
        statuses(&weir.exchange(b"\r\nGET /-/healthy HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")),
        [200]
    );
    let head = weir.exchange(b"HEAD /-/healthy HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert_eq!(Response::parse(&head).body, "");
    assert_eq!(statuses(&head), [200]);
}

#[test]
fn a_slow_head_is_cut_and_an_idle_connection_is_not() {
    let weir =
        Weir::start_with(|settings| settings.http.header_timeout = std::time::Duration::from_millis(300));
    let mut slow = weir.connect();
    slow.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n").unwrap();
    let mut silent = weir.connect();
    let mut idle = weir.connect();
    idle.write_all(b"GET /-/healthy HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut buffer = [0; 4096];
    assert!(idle.read(&mut buffer).unwrap() > 0);
    // Both are closed without an answer: whoever cannot send a head in time gets no bytes either.
    assert_eq!(slow.read(&mut buffer).unwrap_or(0), 0);
    assert_eq!(silent.read(&mut buffer).unwrap_or(0), 0);
    idle.write_all(b"GET /-/healthy HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert!(idle.read(&mut buffer).unwrap() > 0);
}

#[test]
fn an_idle_connection_is_closed_in_the_end() {
    let weir =
        Weir::start_with(|settings| settings.http.idle_timeout = std::time::Duration::from_millis(200));
    let mut stream = weir.connect();
    stream.write_all(b"GET /-/healthy HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(statuses(&answer), [200]);
}
