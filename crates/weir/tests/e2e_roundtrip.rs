//! A Weir that sends on to another one in each protocol that Weir itself reads: what comes out there is what went in here, also where
//! answers get lost on the way and requests come again.
#![allow(clippy::disallowed_methods, reason = "a test of processes reads the clock")]

mod started;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use codec::inflate::{Encoding, inflate};
use started::Weir;
use xtask::load::http::Connection;
use xtask::rig::writer::now_ms;

/// How long a receiver may take until it has what it should have.
const PATIENCE: Duration = Duration::from_secs(90);

/// Answers that get lost on the way.
const LOST: usize = 2;

const LINES: &str = r#"weir_samples_accepted_total{tenant="default",kind="log_line"}"#;

/// What is pushed: of each kind of series one, at a time, `times` as much as at first.
fn page(timestamp_ms: i64, times: u64) -> String {
    let own = r#"job="shop/cart",instance="a:1""#;
    let lines = [
        ("# TYPE requests_total counter".to_owned(), None),
        (format!("requests_total{{{own},code=\"200\"}}"), Some(10 * times)),
        ("# TYPE temperature gauge".to_owned(), None),
        (format!("temperature{{{own},room=\"kitchen 1\"}}"), Some(20 + times)),
        ("# TYPE latency histogram".to_owned(), None),
        (format!("latency_bucket{{{own},le=\"0.5\"}}"), Some(2 * times)),
        (format!("latency_bucket{{{own},le=\"2.5\"}}"), Some(3 * times)),
        (format!("latency_bucket{{{own},le=\"+Inf\"}}"), Some(5 * times)),
        (format!("latency_sum{{{own}}}"), Some(7 * times)),
        (format!("latency_count{{{own}}}"), Some(5 * times)),
        ("# TYPE size summary".to_owned(), None),
        (format!("size{{{own},quantile=\"0.5\"}}"), Some(100)),
        (format!("size_sum{{{own}}}"), Some(1000 * times)),
        (format!("size_count{{{own}}}"), Some(10 * times)),
    ];
    lines
        .into_iter()
        .map(|(line, value)| match value {
            Some(value) => format!("{line} {value} {timestamp_ms}\n"),
            None => line + "\n",
        })
        .collect()
}

/// Pushes to a Weir whose output sends on to `url`; a minute ago, and later three times as much.
fn pushed(kind: &str, url: &str, token: &str, more: &str) -> (Weir, i64) {
    let config =
        format!("outputs:\n  - type: {kind}\n    name: other\n    url: {url}\n    token: {token}\n{more}");
    let weir = Weir::start(&config);
    let at_ms = now_ms() / 10_000 * 10_000 - 90_000;
    for (timestamp_ms, times) in [(at_ms, 1), (at_ms + 15_000, 3)] {
        post(&weir, "/api/v1/import/prometheus", page(timestamp_ms, times).as_bytes());
    }
    (weir, at_ms / 1000 + 20)
}

fn post(weir: &Weir, path: &str, body: &[u8]) {
    let mut connection = Connection::open(weir.process.address, Some(&weir.token)).expect("Weir answers");
    let headers = "Content-Type: application/json\r\n";
    let headers = if path.contains("loki") { headers } else { "" };
    let answer = connection.post(path, headers, body).expect("an answer");
    assert!(answer.is_success(), "{path}: {} {}", answer.status, answer.text());
}

const ALL: &str = r#"{__name__=~".+",job="shop/cart"}"#;

/// Waits until `weir` has these series at a time.
fn wait_for(weir: &Weir, now_s: i64, wanted: &[String]) {
    let begin = Instant::now();
    loop {
        let found = weir.query(ALL, now_s);
        if found == wanted {
            return;
        }
        assert!(begin.elapsed() < PATIENCE, "found {found:#?}, wanted {wanted:#?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A way to a receiver on which the first answers get lost: their requests arrive, and nobody is told.
struct Lossy {
    url: String,
    /// Answers that were on their way, lost ones among them.
    answers: Arc<AtomicUsize>,
}

impl Lossy {
    fn to(receiver: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let answers = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&answers);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let server = TcpStream::connect(receiver).expect("the receiver is there");
                let (mut up, mut requests) =
                    (client.try_clone().expect("a socket"), server.try_clone().expect("a socket"));
                std::thread::spawn(move || std::io::copy(&mut up, &mut requests));
                let count = Arc::clone(&count);
                std::thread::spawn(move || pass_on(server, client, &count));
            }
        });
        Self { url, answers }
    }

    /// Waits until an answer came through: what was not answered has come again until then.
    fn wait_told(&self) {
        let begin = Instant::now();
        while self.answers.load(Ordering::SeqCst) <= LOST {
            assert!(begin.elapsed() < PATIENCE, "no answer came through");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Passes on what a receiver answers, but for the first answers.
fn pass_on(mut server: TcpStream, mut client: TcpStream, answers: &AtomicUsize) {
    let mut buffer = [0; 65536];
    // The receiver is done when it answers.
    while let Ok(length @ 1..) = server.read(&mut buffer) {
        if answers.fetch_add(1, Ordering::SeqCst) < LOST || client.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = client.shutdown(std::net::Shutdown::Both);
    let _ = server.shutdown(std::net::Shutdown::Both);
}

/// What goes in at one end comes out at the other, for outputs that say running totals as they are.
fn comes_back(kind: &str, receiver: &str) {
    let other = Weir::start(receiver);
    let way = Lossy::to(other.process.address);
    let (weir, now_s) = pushed(kind, &way.url, &other.token, "");
    let wanted = weir.query(ALL, now_s);
    assert_eq!(wanted.len(), 10, "{wanted:#?}");
    wait_for(&other, now_s, &wanted);
    way.wait_told();
    assert_eq!(other.query(ALL, now_s), wanted);
}

#[test]
fn e2e_roundtrip_otlp() {
    comes_back("otlp", "");
}

#[test]
fn e2e_roundtrip_splunk() {
    comes_back("splunk_hec", "");
}

#[test]
fn e2e_roundtrip_betterstack() {
    comes_back("betterstack", "betterstack:\n  histogram_series: prometheus\n");
}

/// What totals grew by, added up where they arrive: a request that comes again adds nothing.
fn added_up(suffix: &str, bound: &str) -> Vec<String> {
    let own = "instance=a:1,job=shop/cart";
    let mut wanted = vec![
        format!("latency_bucket{suffix}{{{own},{bound}=+Inf}} 10"),
        format!("latency_bucket{suffix}{{{own},{bound}=0.5}} 4"),
        format!("latency_bucket{suffix}{{{own},{bound}=2.5}} 6"),
        format!("latency_count{suffix}{{{own}}} 10"),
        format!("latency_sum{suffix}{{{own}}} 14"),
        format!("requests_total{suffix}{{code=200,{own}}} 20"),
        format!("size_count{suffix}{{{own}}} 20"),
        format!("size_sum{suffix}{{{own}}} 2000"),
        format!("size{{{own},quantile=0.5}} 100"),
        format!("temperature{{{own},room=kitchen 1}} 23"),
    ];
    wanted.sort();
    wanted
}

#[test]
fn e2e_roundtrip_datadog() {
    let other = Weir::start("datadog:\n  profile: plain\n  counts: cumulative\n");
    let way = Lossy::to(other.process.address);
    let (_weir, now_s) = pushed("datadog", &way.url, &other.token, "");
    let wanted = added_up("_total", "upper_bound");
    wait_for(&other, now_s, &wanted);
    way.wait_told();
    assert_eq!(other.query(ALL, now_s), wanted);
}

#[test]
fn e2e_roundtrip_otlp_deltas() {
    let other = Weir::start("");
    let way = Lossy::to(other.process.address);
    let (_weir, now_s) = pushed("otlp", &way.url, &other.token, "    deltas: true\n");
    let wanted = added_up("", "le");
    wait_for(&other, now_s, &wanted);
    way.wait_told();
    assert_eq!(other.query(ALL, now_s), wanted);
}

/// Lines have no query yet: they are counted. A line that comes again counts twice where it arrives.
fn lines_come_back(kind: &str) {
    let other = Weir::start("");
    let (weir, _) = pushed(kind, &other.url(), &other.token, "");
    let ns = now_ms() * 1_000_000;
    let body = format!(
        r#"{{"streams":[{{"stream":{{"service_name":"cart"}},"values":[["{ns}","one"],["{ns}","two",{{"a":"b"}}]]}}]}}"#
    );
    post(&weir, "/loki/api/v1/push", body.as_bytes());
    let begin = Instant::now();
    while other.own(LINES) != Some(2.0) {
        assert!(begin.elapsed() < PATIENCE, "{:?} lines", other.own(LINES));
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(other.query(ALL, now_ms() / 1000).is_empty());
}

#[test]
fn e2e_roundtrip_loki() {
    lines_come_back("loki");
}

#[test]
fn e2e_roundtrip_otlp_logs() {
    lines_come_back("otlp_logs");
}

/// SignalFx is a receiver that Weir is not: somebody who listens.
#[test]
fn e2e_signalfx_gets_datapoints() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let (_weir, _) = pushed("signalfx", &url, "secret", "");
    let (mut request, mut buffer) = (Vec::new(), [0; 65536]);
    let (mut socket, _) = listener.accept().expect("a request");
    socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
    let (head, body) = loop {
        let read = socket.read(&mut buffer).expect("the request goes on");
        request.extend_from_slice(&buffer[..read]);
        let Some(end) = request.array_windows().position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&request[..end]).to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        let length: usize = length.expect("a length");
        if request.len() >= end + 4 + length {
            break (head, request[end + 4..].to_vec());
        }
    };
    socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n\"OK\"").expect("an answer");
    assert!(head.starts_with("post /v2/datapoint http/1.1\r\n"), "{head}");
    for line in ["x-sf-token: secret", "content-type: application/x-protobuf", "content-encoding: gzip"] {
        assert!(head.lines().any(|other| other == line), "{line}: {head}");
    }
    let mut datapoints = Vec::new();
    inflate(Encoding::Gzip, &body, 1 << 20, &mut datapoints).expect("gzip");
    let has = |text: &str| datapoints.windows(text.len()).any(|bytes| bytes == text.as_bytes());
    assert!(["requests_total", "upper_bound", "temperature", "shop/cart"].into_iter().all(has));
}
