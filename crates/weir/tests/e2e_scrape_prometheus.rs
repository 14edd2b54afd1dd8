//! The same pages, scraped by Debian's Prometheus and by Weir with the same block of configuration: both must have the same
//! series with the same values, and lose them in the same way.
#![allow(
    clippy::disallowed_methods,
    reason = "a test of processes waits"
)]

mod started;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use started::Weir;
use xtask::load::http::{Connection, encoded, free_address};
use xtask::load::process::Process;

/// What a client library of Prometheus writes, and what only others write.
const PAGE: &str = r#"# HELP requests_total Requests so far.
# TYPE requests_total counter
requests_total{method="post",code="200"} 1027
requests_total{method="post",code="400"} 3
requests_total{job="theirs",instance="their:1"} 1
# TYPE queue gauge
queue -1.5e3
# TYPE latency histogram
latency_bucket{le="0.1"} 24054
latency_bucket{le="1.0"} 33444
latency_bucket{le="+Inf"} 144320
latency_sum 53423.5
latency_count 144320
# HELP rpc A summary. \\ and \n are escaped.
# TYPE rpc summary
rpc{quantile="0.5"} 4773
rpc{quantile="0.99"} NaN
rpc_sum 1.7560473e+07
rpc_count 2693
go_goroutines 7
text{value="a\"b\\c\nd",empty=""} +Inf
twice 1
twice 2
something_weird{problem="division by zero"} -Inf
"#;

const JOBS: &str = "scrape_configs:
  - job_name: app
    scrape_interval: 1s
    scrape_timeout: 1s
    metrics_path: /app
    params:
      module: [a, b]
    static_configs:
      - targets: ['ADDRESS']
        labels: {env: prod, code: 'of the target'}
    relabel_configs:
      - source_labels: [__address__]
        regex: '(.*):.*'
        target_label: host
    metric_relabel_configs:
      - source_labels: [__name__]
        regex: go_.*
        action: drop
      - source_labels: [method]
        target_label: verb
        action: uppercase
      - regex: problem
        action: labeldrop
  - job_name: honest
    scrape_interval: 1s
    metrics_path: /app
    honor_labels: true
    static_configs:
      - targets: ['ADDRESS']
  - job_name: limited
    scrape_interval: 1s
    metrics_path: /app
    sample_limit: 5
    static_configs:
      - targets: ['ADDRESS']
  - job_name: missing
    scrape_interval: 1s
    metrics_path: /missing
    static_configs:
      - targets: ['ADDRESS']
";

/// A server of one page.
struct Page {
    address: SocketAddr,
    text: Arc<Mutex<String>>,
}

impl Page {
    fn serve(text: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let page = Self {
            address: listener.local_addr().expect("an address"),
            text: Arc::new(Mutex::new(text.to_owned())),
        };
        let text = Arc::clone(&page.text);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let text = Arc::clone(&text);
                std::thread::spawn(move || answer(&stream, &text));
            }
        });
        page
    }
}

fn answer(stream: &TcpStream, text: &Mutex<String>) -> Option<()> {
    let (mut reader, mut writer) = (BufReader::new(stream), stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).ok()? == 0 {
                return None;
            }
        }
        let (status, body) = match head.starts_with("GET /app?module=a&module=b ") || head.starts_with("GET /app ") {
            true => ("200 OK", text.lock().ok()?.clone()),
            false => ("404 Not Found", String::new()),
        };
        let media = "text/plain; version=0.0.4; charset=utf-8";
        let length = body.len();
        write!(writer, "HTTP/1.1 {status}\r\nContent-Type: {media}\r\nContent-Length: {length}\r\n\r\n{body}").ok()?;
    }
}

/// Everything that a job's series are now: labels to value.
fn all(result: &Value) -> BTreeMap<String, String> {
    let rows = result["result"].as_array().expect("a list");
    let text = |row: &Value| row["value"][1].as_str().expect("a value").to_owned();
    let mut all: BTreeMap<_, _> = rows.iter().map(|row| (row["metric"].to_string(), text(row))).collect();
    // It took each its own time.
    all.retain(|labels, _| !labels.contains("\"scrape_duration_seconds\""));
    all
}

#[test]
fn e2e_weir_scrapes_what_prometheus_scrapes() {
    let test = "e2e_weir_scrapes_what_prometheus_scrapes";
    if !xtask::run::exists("prometheus") {
        return xtask::test::skipped(test, "prometheus is not installed");
    }
    let page = Page::serve(PAGE);
    let jobs = JOBS.replace("ADDRESS", &page.address.to_string());
    let weir = Weir::start(&jobs);
    let file = weir.directory().join("prometheus.yml");
    std::fs::write(&file, &jobs).expect("room");
    let address = free_address().expect("an address");
    let mut command = Command::new("prometheus");
    command.arg(format!("--config.file={}", file.display()));
    command.arg(format!("--storage.tsdb.path={}", weir.directory().join("prometheus").display()));
    command.arg(format!("--web.listen-address={address}"));
    let log = weir.directory().join("prometheus.log");
    let mut prometheus = Process::start(command, address, &log).expect("it starts");
    prometheus.wait_ready("/-/ready", Duration::from_secs(60)).expect("it is ready");

    let query = format!("/api/v1/query?query={}", encoded("{job=~\"app|honest|limited|missing|theirs\"}"));
    let both = || {
        let mut connection = Connection::open(prometheus.address, None).expect("Prometheus answers");
        let theirs = connection.get(&query).expect("an answer");
        let theirs: Value = serde_json::from_slice(&theirs.body).expect("JSON");
        (all(&weir.data(&query)), all(&theirs["data"]))
    };
    let same = |what: &str, is_there: &dyn Fn(&BTreeMap<String, String>) -> bool| {
        let start = Instant::now();
        loop {
            let (ours, theirs) = both();
            if ours == theirs && is_there(&theirs) {
                return;
            }
            if start.elapsed() > Duration::from_secs(60) {
                let differs: Vec<_> = ours
                    .iter()
                    .filter(|(labels, value)| theirs.get(*labels) != Some(*value))
                    .map(|row| format!("Weir only: {row:?}"))
                    .chain(
                        theirs
                            .iter()
                            .filter(|(labels, value)| ours.get(*labels) != Some(*value))
                            .map(|row| format!("Prometheus only: {row:?}")),
                    )
                    .collect();
                panic!("{what}: {}", differs.join("\n"));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    };
    let has = |rows: &BTreeMap<String, String>, name: &str| {
        rows.keys().filter(|labels| labels.contains(&format!("\"__name__\":\"{name}\""))).count()
    };
    // Counters of new series differ until both have scraped twice.
    same("all", &|rows| has(rows, "requests_total") == 6 && has(rows, "up") == 4);
    // A family goes, another comes.
    let other = PAGE.replace("queue -1.5e3", "backlog 5").replace("twice 2\n", "");
    *page.text.lock().expect("the lock") = other;
    same("another page", &|rows| has(rows, "queue") == 0 && has(rows, "backlog") == 2);
    // A page that cannot be read fails as a whole. Of one that breaks off further down, Prometheus leaves the series before
    // that place without markers, and so they would go on for five minutes.
    *page.text.lock().expect("the lock") = format!("not a row\n{PAGE}");
    same("a broken page", &|rows| has(rows, "requests_total") == 0 && has(rows, "up") == 4);
    *page.text.lock().expect("the lock") = PAGE.to_owned();
    same("all again", &|rows| has(rows, "requests_total") == 6);
}
