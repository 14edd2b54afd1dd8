//! Graphite's listener: lines over TCP and UDP, what is refused and counted, and what a stop does with what has come.

mod common;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream, UdpSocket};
use std::time::Duration;

use common::{Weir, until};
use model::TenantName;
use server::config::{LineListener, Settings};

fn listening(change: impl FnOnce(&mut LineListener)) -> impl FnOnce(&mut Settings) {
    let mut section =
        LineListener { listen: Some("127.0.0.1:0".parse().unwrap()), ..LineListener::default() };
    change(&mut section);
    move |settings| settings.graphite = vec![section]
}

fn connect(weir: &Weir) -> TcpStream {
    let stream = TcpStream::connect(weir.lines("graphite")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
}

fn now_s(weir: &Weir) -> i64 {
    weir.app().env.clock.now_ms() / 1000
}

/// The value of a series, as soon as it is there.
fn value(weir: &Weir, query: &str) -> Option<String> {
    let answer = weir.get(&format!("/api/v1/query?query={query}"), &weir.token).json();
    answer["data"]["result"][0]["value"][1].as_str().map(str::to_owned)
}

fn metric(weir: &Weir, line: &str) -> Option<f64> {
    let text = weir.get("/metrics", &weir.admin).body;
    text.lines().find_map(|found| found.strip_prefix(line)?.trim().parse().ok())
}

/// Waits until the other side has closed.
fn is_closed(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).is_ok() && rest.is_empty()
}

#[test]
fn lines_over_tcp_are_found_as_they_were_sent() {
    let weir = Weir::start_with(listening(|_| {}));
    let now = now_s(&weir);
    let mut stream = connect(&weir);
    write!(stream, "servers.web-1.load 0.5 {now}\r\ndisk.used;rack=a1;dc=x 42 {now}\nhalf 1").unwrap();
    until("the lines are stored", || value(&weir, "{__name__=\"disk.used\",rack=\"a1\",dc=\"x\"}").is_some());
    assert_eq!(value(&weir, "{__name__=\"servers.web-1.load\"}").as_deref(), Some("0.5"));
    assert_eq!(metric(&weir, "weir_line_connections{dialect=\"graphite\"}"), Some(1.0));
    // The rest of the line comes later, without a timestamp.
    writeln!(stream, "2").unwrap();
    until("the line is stored", || value(&weir, "half").as_deref() == Some("12"));
}

#[test]
fn lines_over_udp_are_found_as_well() {
    let weir = Weir::start_with(listening(|_| {}));
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let now = now_s(&weir);
    socket.send_to(format!("u.a 1 {now}\nu.b 2 {now}").as_bytes(), weir.lines("graphite")).unwrap();
    socket.send_to(b"u.c 3", weir.lines("graphite")).unwrap();
    for (name, wanted) in [("u.a", "1"), ("u.b", "2"), ("u.c", "3")] {
        until(name, || value(&weir, &format!("{{__name__=\"{name}\"}}")).as_deref() == Some(wanted));
    }
    assert_eq!(metric(&weir, "weir_line_datagrams_total{dialect=\"graphite\"}"), Some(2.0));
    assert_eq!(metric(&weir, "weir_line_dropped_datagrams_total{dialect=\"graphite\"}"), Some(0.0));
}

#[test]
fn what_cannot_be_read_costs_itself_and_is_counted() {
    let weir = Weir::start_with(listening(|_| {}));
    let now = now_s(&weir);
    let mut stream = connect(&weir);
    let long = "x".repeat(200_000);
    write!(stream, "bad\na.b x {now}\n{long} 1 {now}\nold 1 1000\nn nan {now}\ngood 7 {now}\ncut 1").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert!(is_closed(&mut stream));
    assert_eq!(value(&weir, "good").as_deref(), Some("7"));
    assert_eq!(value(&weir, "cut"), None);
    let rejected = |reason: &str| {
        let row =
            format!("weir_samples_rejected_total{{tenant=\"default\",kind=\"sample\",reason=\"{reason}\"}}");
        metric(&weir, &row)
    };
    assert_eq!(rejected("invalid_line"), Some(2.0));
    assert_eq!(rejected("invalid_value"), Some(1.0));
    assert_eq!(rejected("line_too_long"), Some(1.0));
    assert_eq!(rejected("too_old"), Some(1.0));
    let count = |name: &str| metric(&weir, &format!("{name}{{tenant=\"default\",kind=\"sample\"}}"));
    assert_eq!(count("weir_samples_received_total"), Some(6.0));
    assert_eq!(count("weir_samples_accepted_total"), Some(1.0));
    assert_eq!(metric(&weir, "weir_ingest_notes_total{tenant=\"default\",note=\"graphite_nan\"}"), Some(1.0));
    let closed = "weir_line_connections_closed_total{dialect=\"graphite\",reason=\"cut\"}";
    until("the connection is gone", || metric(&weir, closed) == Some(1.0));
}

#[test]
fn connections_have_their_bounds() {
    let weir = Weir::start_with(listening(|section| {
        section.max_connections = 1;
        section.idle_timeout = Duration::from_millis(300);
    }));
    let mut first = connect(&weir);
    until("it is open", || metric(&weir, "weir_line_connections{dialect=\"graphite\"}") == Some(1.0));
    assert!(is_closed(&mut connect(&weir)), "one too many");
    assert!(is_closed(&mut first), "it brings nothing");
    let closed = |reason: &str| {
        let row = format!("weir_line_connections_closed_total{{dialect=\"graphite\",reason=\"{reason}\"}}");
        metric(&weir, &row)
    };
    until("the idle one is counted", || closed("idle") == Some(1.0));
    assert_eq!(closed("too_many"), Some(1.0));
    until("there is room again", || {
        metric(&weir, "weir_line_connections{dialect=\"graphite\"}") == Some(0.0)
    });
    let mut next = connect(&weir);
    writeln!(next, "again 1").unwrap();
    until("it is stored", || value(&weir, "again").is_some());
}

#[test]
fn what_has_come_before_a_stop_is_stored() {
    let weir = Weir::start_with(listening(|_| {}));
    let now = now_s(&weir);
    let mut stream = connect(&weir);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for number in 0..1000 {
        writeln!(stream, "tcp;n={number} {number} {now}").unwrap();
        if number < 100 {
            socket.send_to(format!("udp;n={number} 1 {now}").as_bytes(), weir.lines("graphite")).unwrap();
        }
    }
    until("the connection is open", || {
        metric(&weir, "weir_line_connections{dialect=\"graphite\"}") == Some(1.0)
    });
    let weir = Weir::start_in(weir.stop(), |_| {});
    assert_eq!(value(&weir, &format!("count(tcp)&time={now}")).as_deref(), Some("1000"));
    assert_eq!(value(&weir, &format!("count(udp)&time={now}")).as_deref(), Some("100"));
}

#[test]
fn lines_of_a_tenant_that_does_not_exist_are_refused() {
    let weir = Weir::start_with(listening(|section| section.tenant = TenantName::parse("nobody").unwrap()));
    let mut stream = connect(&weir);
    writeln!(stream, "a 1").unwrap();
    assert!(is_closed(&mut stream));
    assert_eq!(metric(&weir, "weir_requests_refused_total{reason=\"forbidden\"}"), Some(1.0));
}
