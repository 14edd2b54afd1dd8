//! Floods over real sockets: connections that ask nothing, and HTTP/2 frames that cost their sender nothing. Each ends
//! with its connection closed or stays within bounds, and somebody else is served all the while.
//!
//! The frames are written by hand: a client library would refuse to send them. `rig_floods` in the crate `weir` has the
//! ten thousand connections, with the memory of a process of its own.

mod common;

use std::collections::HashSet;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use common::Weir;
use env::Env;

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const DATA: u8 = 0;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

const ENHANCE_YOUR_CALM: u32 = 11;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A header block without Huffman coding and without the dynamic table.
fn block(method: &str, path: &str, token: &str) -> Vec<u8> {
    let authorization = format!("Bearer {token}");
    let fields = [
        (":method", method),
        (":scheme", "http"),
        (":path", path),
        (":authority", "weir"),
        ("authorization", &authorization),
    ];
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        for text in [name, value] {
            assert!(text.len() < 127);
            bytes.push(text.len() as u8);
            bytes.extend(text.as_bytes());
        }
    }
    bytes
}

/// A connection that has sent its preface.
fn http2(weir: &Weir) -> TcpStream {
    let mut stream = weir.connect();
    stream.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    stream.write_all(&frame(SETTINGS, 0, 0, b"")).unwrap();
    stream
}

/// Reads to the end of the connection; gives the error code of its last GOAWAY.
fn goaway(stream: &mut TcpStream) -> Option<u32> {
    let mut code = None;
    let mut head = [0; 9];
    while stream.read_exact(&mut head).is_ok() {
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        if stream.read_exact(&mut payload).is_err() {
            break;
        }
        if head[3] == GOAWAY {
            code = Some(u32::from_be_bytes(payload[4..8].try_into().unwrap()));
        }
    }
    code
}

/// Sends what `next` gives until the connection is gone; gives how many times. It must be gone within `most` bytes.
fn flood(stream: &TcpStream, most: usize, mut next: impl FnMut(u32) -> Vec<u8>) -> u32 {
    let (mut sent, mut bytes) = (0, 0);
    loop {
        let part = next(sent);
        bytes += part.len();
        assert!(bytes <= most, "still open after {sent} parts");
        match (&mut &*stream).write_all(&part) {
            Ok(()) => sent += 1,
            Err(error) => {
                assert_ne!(error.kind(), ErrorKind::WouldBlock, "blocked, not closed, after {sent} parts");
                return sent;
            }
        }
    }
}

/// Asks for something else while a flood runs: it must be answered soon.
fn others_are_served(weir: &Weir) {
    let clock = Env::real().clock;
    let began = clock.monotonic();
    assert_eq!(weir.get("/-/healthy", "").status, 200);
    let took = clock.monotonic() - began;
    assert!(took < Duration::from_secs(1), "{took:?}");
}

/// Resident bytes of this process, the clients of the test included.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// Runs `flood` while others are served and memory stays.
fn bounded<T: Send>(weir: &Weir, flood: impl FnOnce() -> T + Send) -> T {
    others_are_served(weir);
    let before = resident();
    thread::scope(|scope| {
        let flood = scope.spawn(flood);
        while !flood.is_finished() {
            others_are_served(weir);
            let grown = resident().saturating_sub(before);
            assert!(grown < 48 << 20, "{grown} bytes more");
        }
        flood.join().unwrap()
    })
}

#[test]
fn streams_that_are_reset_at_once_end_the_connection() {
    // CVE-2023-44487, "rapid reset": each request costs the server work and the sender 30 bytes.
    let weir = Weir::start();
    let mut stream = http2(&weir);
    let request = block("GET", "/-/healthy", &weir.token);
    bounded(&weir, || {
        flood(&stream, 64 << 20, |i| {
            let reset = |i: u32| {
                let id = 2 * i + 1;
                let open = frame(HEADERS, END_HEADERS | END_STREAM, id, &request);
                [open, frame(RST_STREAM, 0, id, &8u32.to_be_bytes())].concat()
            };
            (100 * i..100 * (i + 1)).flat_map(reset).collect()
        })
    });
    assert!(matches!(goaway(&mut stream), Some(ENHANCE_YOUR_CALM) | None));
    let metrics = weir.get("/metrics", &weir.admin).body;
    let served = metrics.lines().find_map(|line| {
        line.strip_prefix("weir_requests_total{dialect=\"system\",code=\"200\"} ")?.parse::<u64>().ok()
    });
    assert!(served.unwrap() < 5000, "{served:?}");
}

#[test]
fn a_head_without_end_ends_the_connection() {
    // The "CONTINUATION flood" (CVE-2024-27316 and its family): a header block that never ends.
    let weir = Weir::start();
    let stream = http2(&weir);
    let field = [&[0, 1, b'x', 100][..], &[b'y'; 100]].concat();
    bounded(&weir, || {
        flood(&stream, 64 << 20, |i| match i {
            0 => frame(HEADERS, END_STREAM, 1, &block("GET", "/", "")),
            _ => frame(CONTINUATION, 0, 1, &field.repeat(150)),
        })
    });
}

#[test]
fn whoever_only_pings_is_not_kept() {
    // No request, no answer to a GOAWAY's ping: only a deadline ends this.
    let weir = Weir::start_with(|settings| {
        settings.http.idle_timeout = Duration::from_secs(1);
        settings.http.header_timeout = Duration::from_secs(1);
    });
    for (name, part) in [("PING", frame(PING, 0, 0, b"12345678")), ("SETTINGS", frame(SETTINGS, 0, 0, b""))] {
        for asks in [false, true] {
            let mut stream = http2(&weir);
            if asks {
                let block = block("GET", "/-/healthy", &weir.token);
                stream.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &block)).unwrap();
            }
            let mut reader = stream.try_clone().unwrap();
            let clock = Env::real().clock;
            let began = clock.monotonic();
            let reads = thread::spawn(move || while reader.read(&mut [0; 64 << 10]).is_ok_and(|n| n > 0) {});
            bounded(&weir, || flood(&stream, usize::MAX, |_| part.repeat(100)));
            reads.join().unwrap();
            let took = clock.monotonic() - began;
            // In a flood of frames the answer itself may not get out: then it keeps its connection until it stalls.
            let most = Duration::from_secs(if asks { 20 } else { 4 });
            assert!(took < most, "{name} {asks}: {took:?}");
        }
    }
}

#[test]
fn whoever_does_not_read_what_it_asks_for_is_not_kept() {
    // Each ping is answered; nobody reads. What waits to be written must not grow.
    let weir = Weir::start_with(|settings| settings.http.header_timeout = Duration::from_secs(1));
    let stream = http2(&weir);
    stream.set_write_timeout(Some(Duration::from_secs(15))).unwrap();
    bounded(&weir, || flood(&stream, usize::MAX, |_| frame(PING, 0, 0, b"12345678").repeat(100)));
}

#[test]
fn bodies_without_end_are_bounded() {
    const STREAMS: u32 = 128;
    let weir = Weir::start_with(|settings| settings.http.body_timeout = Duration::from_secs(2));
    let mut stream = http2(&weir);
    let request = block("POST", "/api/v1/import/prometheus", &weir.token);
    let mut opening = Vec::new();
    // Twice as many as may be open: the rest is refused one by one.
    for i in 0..2 * STREAMS {
        opening.extend(frame(HEADERS, END_HEADERS, 2 * i + 1, &request));
        opening.extend(frame(DATA, 0, 2 * i + 1, b"# and so on"));
    }
    let clock = Env::real().clock;
    let began = clock.monotonic();
    let answers = bounded(&weir, || {
        stream.write_all(&opening).unwrap();
        let (mut ended, mut answered) = (HashSet::new(), 0);
        let mut head = [0; 9];
        while ended.len() < 2 * STREAMS as usize && stream.read_exact(&mut head).is_ok() {
            let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
            stream.read_exact(&mut payload).unwrap();
            // An answer with its body, or a refusal.
            answered += u32::from(head[3] == HEADERS);
            if head[3] == RST_STREAM || head[3] <= HEADERS && head[4] & END_STREAM > 0 {
                ended.insert(head[8] as u32 | (head[7] as u32) << 8);
            }
            assert!(
                weir.app().bytes.held() <= u64::from(STREAMS) * (64 << 10),
                "{}",
                weir.app().bytes.held()
            );
        }
        (ended.len(), answered)
    });
    assert_eq!(answers, (2 * STREAMS as usize, STREAMS), "streams that ended, and those that were answered");
    assert!(clock.monotonic() - began < Duration::from_secs(8));
    assert_eq!(weir.app().bytes.held(), 0);
}

#[test]
fn connections_that_ask_nothing_make_way() {
    const MOST: usize = 16;
    let weir = Weir::start_with(|settings| settings.http.max_connections = MOST as u32);
    let slow: Vec<TcpStream> = (0..20 * MOST)
        .map(|_| {
            let mut stream = weir.connect();
            stream.write_all(b"G").unwrap();
            stream
        })
        .collect();
    for _ in 0..10 {
        others_are_served(&weir);
    }
    let metrics = weir.get("/metrics", &weir.admin).body;
    assert!(metrics.contains("weir_connections_refused_total 0\n"), "{metrics}");
    assert!(!metrics.contains("weir_connections_evicted_total 0\n"), "{metrics}");
    drop(slow);
}

#[test]
fn when_all_are_busy_a_newcomer_is_told() {
    const MOST: usize = 4;
    let weir = Weir::start_with(|settings| settings.http.max_connections = MOST as u32);
    let head = format!(
        "POST /api/v1/import/prometheus HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\nContent-Length: 5\r\n\r\n",
        weir.token
    );
    let mut busy: Vec<TcpStream> = (0..MOST).map(|_| weir.connect()).collect();
    for stream in &mut busy {
        stream.write_all(head.as_bytes()).unwrap();
    }
    // Its body is waited for: the request has begun.
    let begun = || weir.app().bytes.held() == 5 * MOST as u64;
    while !begun() {
        thread::yield_now();
    }
    let mut answer = String::new();
    let _ = weir.connect().read_to_string(&mut answer);
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("retry-after: 1\r\n"), "{answer:?}");
    for mut stream in busy {
        stream.write_all(b"up 1\n").unwrap();
        let mut space = [0; 4096];
        let length = stream.read(&mut space).unwrap();
        assert!(space[..length].starts_with(b"HTTP/1.1 204 "), "the busy ones go on");
    }
    others_are_served(&weir);
    let metrics = weir.get("/metrics", &weir.admin).body;
    assert!(metrics.contains("weir_connections_refused_total 1\n"), "{metrics}");
}
