//! `weir check metrics`, the real binary: pages from stdin, files and URLs, what is told of them, exit codes.

mod run;

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::thread::JoinHandle;

use run::Run;
use xtask::load::http::free_address;

/// Runs `weir check metrics` in a directory.
fn check(directory: &Path, arguments: &[&str], input: &[u8]) -> Run {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.args(["check", "metrics"]).args(arguments).current_dir(directory);
    Run::of(command, input)
}

#[test]
fn a_page_is_checked_to_the_letter() {
    let place = tempfile::tempdir().expect("a directory");
    let stdin = |page: &str, more: &[&str]| check(place.path(), more, page.as_bytes());
    let good = "# TYPE a counter\na_total{b=\"c\"} 1 # {id=\"7\"} 1\n# EOF\n";
    assert_eq!(stdin(good, &[]).expect(0).stdout, "stdin: OpenMetrics, in order\n");
    assert_eq!(stdin("a 1 5\n", &["-"]).expect(0).stdout, "stdin: Prometheus' text, in order\n");
    let run =
        stdin("a 1\n", &["--format", "openmetrics"]).expect(3).says("stdin: OpenMetrics with 1 violation");
    assert_eq!(run.stdout, "line 1: page does not end with # EOF\n");
    // Cases of OpenMetrics' own: an empty page, a blank line, a sum without a count, text behind the end.
    for (page, wanted) in [
        ("", "line 1: page does not end with # EOF\n"),
        ("a 1\n\n# EOF\n", "line 2: blank line\n"),
        (
            "# TYPE a histogram\na_bucket{le=\"+Inf\"} 0\na_sum 0\n# EOF\n",
            "line 3: a: histogram without a count\n",
        ),
        ("a 1\n# EOF\nblah", "line 3: text after # EOF\n"),
    ] {
        assert_eq!(stdin(page, &[]).expect(3).stdout, wanted, "{page}");
    }
    let many = "x y\n".repeat(200);
    let run = stdin(&many, &["--format", "prometheus"]).expect(3).says("more than 100 violations");
    assert_eq!(run.stdout.lines().count(), 100);
    std::fs::write(place.path().join("page"), good).expect("room");
    assert_eq!(check(place.path(), &["page"], b"").expect(0).stdout, "page: OpenMetrics, in order\n");
    check(place.path(), &["none"], b"").expect(1).says("none: ");
    stdin("\u{1b}[2J 1\n", &[]).expect(3);
    assert!(stdin("\u{1b}[2J 1\n", &[]).stdout.contains("\\u{1b}[2J 1"), "a terminal is not commanded");
}

/// Answers `times` requests with a status line with headers and a body: the address, and what was asked.
fn answering(times: usize, head: &'static str, body: &'static str) -> (SocketAddr, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("an address");
    let address = listener.local_addr().expect("one");
    let server = std::thread::spawn(move || {
        let mut asked = Vec::new();
        for _ in 0..times {
            let (mut stream, _) = listener.accept().expect("a client");
            let reader = BufReader::new(stream.try_clone().expect("a second end"));
            let lines = reader.lines().map(|line| line.expect("a line"));
            asked.extend(lines.take_while(|line| !line.is_empty()));
            let length = body.len();
            let rest = format!("content-length: {length}\r\nconnection: close\r\n\r\n{body}");
            write!(stream, "HTTP/1.1 {head}\r\n{rest}").expect("sent");
        }
        asked
    });
    (address, server)
}

#[test]
fn the_page_about_pages_works_when_pasted() {
    let place = tempfile::tempdir().expect("a directory");
    let openmetrics = "200 OK\r\ncontent-type: application/openmetrics-text; version=1.0.0; charset=utf-8";
    let (address, server) = answering(2, openmetrics, "# TYPE jobs counter\njobs_total 3\n# EOF\n");
    std::fs::write(place.path().join("page.txt"), "jobs 3\n").expect("room");
    let page = xtask::repo::Repo::here().read("docs/check-metrics.md").expect("the page");
    let blocks = page.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let lines: Vec<&str> = blocks.flat_map(str::lines).collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    let binary = Path::new(env!("CARGO_BIN_EXE_weir")).parent().expect("a directory").display();
    for line in lines {
        let line = line.replace("127.0.0.1:9100", &address.to_string());
        let script = format!("PATH={binary}:$PATH\n{line}");
        let mut command = Command::new("sh");
        let output = command.args(["-c", &script]).current_dir(place.path()).output().expect("sh runs");
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stdout));
    }
    server.join().expect("both were asked");
}

#[test]
fn a_page_is_fetched_as_a_scraper_fetches_it() {
    let place = tempfile::tempdir().expect("a directory");
    let fetch = |head: &'static str, body: &'static str| {
        let (address, server) = answering(1, head, body);
        let url = format!("http://{address}/metrics");
        let run = check(place.path(), &[&url], b"");
        (run, server.join().expect("a request"), url)
    };
    let openmetrics = "200 OK\r\ncontent-type: application/openmetrics-text; version=1.0.0; charset=utf-8";
    let (run, request, url) = fetch(openmetrics, "# TYPE a gauge\na 1\n# EOF\n");
    assert_eq!(run.stdout, format!("{url}: OpenMetrics, in order\n"));
    run.expect(0).says(&format!("{url} answers application/openmetrics-text; version=1.0.0; charset=utf-8"));
    assert_eq!(request[0], "GET /metrics HTTP/1.1");
    let accept = "accept: application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,";
    assert!(request.iter().any(|line| line.starts_with(accept)), "{request:?}");
    assert!(!request.iter().any(|line| line.starts_with("authorization")), "{request:?}");
    let (run, ..) = fetch("200 OK\r\ncontent-type: text/plain; version=0.0.4", "a 1 # {} 1\n");
    assert_eq!(run.expect(3).stdout, "line 1: timestamp is not a whole number of ms: a 1 # {} 1\n");
    let (run, ..) = fetch("200 OK", "a 1\n");
    assert!(run.expect(3).stdout.starts_with("the target says no Content-Type"));
    let (run, _, url) = fetch("404 Not Found", "");
    run.expect(1).says(&format!("{url} answers 404"));
    let (run, ..) = fetch("403 Forbidden", "");
    run.expect(6);
    let address = free_address().expect("an address");
    check(place.path(), &[&format!("http://{address}/metrics")], b"").expect(5).says("no answer from");
    check(place.path(), &["http://user:secret@127.0.0.1/"], b"").expect(2).says("must not hold a credential");
}
