//! What other servers read from Weir: a real Prometheus by remote read and by federation, and promtool.
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test of processes waits, and tells people what was compared"
)]

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use codec::inflate::{Encoding, inflate};
use codec::pack;
use codec::proto::{VARINT, write_bytes, write_key, write_message};
use codec::varint;
use dialects::remote_read::client::Value::Float;
use dialects::remote_read::client::{ReadSeries, difference, read_frames, read_samples};
use dialects::remote_read::{Rows, samples};
use model::histogram::{BucketCounts, ResetHint, Span};
use model::select::HistogramPoint;
use model::{Histogram, Labels, STALE_NAN_BITS, SeriesBlock, SeriesRef};
use serde_json::Value;
use xtask::load::http::{Connection, encoded, free_address};
use xtask::load::process::Process;
use xtask::rig::weir::Home;
use xtask::rig::writer::now_ms;

const STEP_MS: i64 = 15_000;

/// A Weir with a directory.
struct Weir {
    process: Process,
    token: String,
    directory: tempfile::TempDir,
}

/// Whether a test can run; if not it says why.
fn can_run(test: &str, program: &str) -> bool {
    let exists = xtask::run::exists(program);
    if !exists {
        xtask::test::skipped(test, &format!("{program} is not installed"));
    }
    exists
}

impl Weir {
    fn start(config: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let data = directory.path().join("data");
        let home = Home::new(Path::new(env!("CARGO_BIN_EXE_weir")), directory.path(), &data, config);
        let process = home.start().expect("Weir starts");
        let token = home.token();
        Self { process, token, directory }
    }

    fn connection(&self) -> Connection {
        Connection::open(self.process.address, Some(&self.token)).expect("Weir answers")
    }

    /// A configured Prometheus; `config` may say WEIR and TOKEN.
    fn prometheus(&self, name: &str, config: &str, arguments: &[&str]) -> Process {
        let address = self.process.address.to_string();
        let config = config.replace("WEIR", &address).replace("TOKEN", &self.token);
        start_prometheus(self.directory.path(), name, &config, arguments)
    }
}

fn start_prometheus(directory: &Path, name: &str, config: &str, arguments: &[&str]) -> Process {
    let path = directory.join(format!("{name}.yml"));
    std::fs::write(&path, config).expect("room");
    let address = free_address().expect("an address");
    let mut command = Command::new("prometheus");
    command.arg(format!("--config.file={}", path.display()));
    command.arg(format!("--storage.tsdb.path={}", directory.join(name).display()));
    command.arg(format!("--web.listen-address={address}")).args(arguments);
    let log = directory.join(format!("{name}.log"));
    let mut prometheus = Process::start(command, address, &log).expect("it starts");
    prometheus.wait_ready("/-/ready", Duration::from_secs(60)).expect("it is ready");
    prometheus
}

fn connection(prometheus: &Process) -> Connection {
    Connection::open(prometheus.address, None).expect("Prometheus answers")
}

/// A series in the making: rows by time.
struct Series {
    labels: Labels,
    block: SeriesBlock,
}

impl Series {
    fn new(pairs: &[(&str, &str)]) -> Self {
        let mut block = SeriesBlock::default();
        block.clear();
        Self { labels: Labels::from_pairs(pairs.iter().copied()), block }
    }

    fn float(&mut self, ms: i64, value: f64) {
        self.block.columns.push(ms, value);
    }

    fn histogram(&mut self, ms: i64, histogram: Histogram) {
        let row = self.block.columns.timestamps.len() as u32;
        self.block.columns.push(ms, 0.0);
        self.block.columns.histograms.push(HistogramPoint::new(row, Arc::new(histogram)));
    }
}

/// Writes series by remote write, whose series are those of a remote read's answer.
fn write(connection: &mut Connection, series: Vec<Series>) {
    let mut body = Vec::new();
    for Series { labels, mut block } in series {
        block.end_series(SeriesRef(0));
        samples::write_series(&labels, Rows::of(&block, 0), &mut body);
    }
    let headers = "Content-Type: application/x-protobuf\r\nContent-Encoding: snappy\r\n";
    let packed = pack::snappy(&body).expect("it is short");
    let answer = connection.post("/api/v1/write", headers, &packed).expect("an answer");
    assert_eq!(answer.status, 204, "{}", answer.text());
}

fn whole(by: u64) -> Histogram {
    Histogram {
        schema: 1,
        zero_threshold: 0.001,
        sum: 1.5 * by as f64,
        reset_hint: ResetHint::Unknown,
        positive_spans: vec![Span { offset: -1, length: 1 }, Span { offset: 2, length: 2 }],
        negative_spans: vec![Span { offset: 0, length: 1 }],
        counts: BucketCounts::Integer {
            count: 7 * by,
            zero: by,
            positive: vec![by, 2 * by, by],
            negative: vec![2 * by],
        },
        custom_bounds: vec![],
    }
}

fn fractional(by: f64) -> Histogram {
    let counts = BucketCounts::Float {
        count: 7.5 * by,
        zero: by,
        positive: vec![by, 2.5 * by, by],
        negative: vec![2.0 * by],
    };
    Histogram { counts, ..whole(1) }
}

/// What is asked of `/api/v1/read`: everything whose name matches.
fn read_request(names: &str, range: (i64, i64), accepted: u64) -> Vec<u8> {
    let number = |field, value: u64, out: &mut Vec<u8>| {
        write_key(field, VARINT, out);
        varint::write(value, out);
    };
    let mut body = Vec::new();
    write_message(1, &mut body, |out| {
        number(1, range.0 as u64, out);
        number(2, range.1 as u64, out);
        write_message(3, out, |out| {
            number(1, 2, out);
            write_bytes(2, b"__name__", out);
            write_bytes(3, names.as_bytes(), out);
        });
    });
    number(2, accepted, &mut body);
    pack::snappy(&body).expect("it is short")
}

fn read_chunks(connection: &mut Connection, names: &str, range: (i64, i64)) -> Vec<ReadSeries> {
    let answer = connection.post("/api/v1/read", "", &read_request(names, range, 1)).expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let content_type = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";
    assert_eq!(answer.header("content-type"), Some(content_type));
    let frames = read_frames(&answer.body).expect("whole frames");
    frames.into_iter().map(|(_, series)| series.without_hints()).collect()
}

fn read_whole(connection: &mut Connection, names: &str, range: (i64, i64)) -> Vec<ReadSeries> {
    let answer = connection.post("/api/v1/read", "", &read_request(names, range, 0)).expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("application/x-protobuf"));
    let mut body = Vec::new();
    inflate(Encoding::Snappy, &answer.body, 1 << 30, &mut body).expect("snappy");
    let mut results = read_samples(&body).expect("a response");
    results.pop().expect("a result")
}

/// A result of a query, in an order of its own.
fn query(connection: &mut Connection, question: &str) -> Vec<String> {
    let answer = connection.get(&format!("/api/v1/{question}")).expect("an answer");
    let json: Value = serde_json::from_slice(&answer.body).expect("JSON");
    assert_eq!((answer.status, &json["status"]), (200, &Value::from("success")), "{question}: {json}");
    let result = &json["data"]["result"];
    let mut rows: Vec<String> = match result.as_array() {
        Some(rows) => rows.iter().map(ToString::to_string).collect(),
        None => json["data"].as_array().expect("a list").iter().map(ToString::to_string).collect(),
    };
    rows.sort();
    rows
}

/// Floats as a scraper would have them, with all that a float can be: 40 minutes up to a moment ago, not at whole seconds.
fn floats(start: i64) -> Vec<Series> {
    let mut all = Vec::new();
    for (job, by) in [("a", 1.0), ("b", 3.0)] {
        let mut counter = Series::new(&[("__name__", "requests_total"), ("job", job), ("instance", "i:1")]);
        let mut gauge = Series::new(&[("__name__", "level"), ("job", job), ("instance", "i:1")]);
        for row in 0..160 {
            let ms = start + row * STEP_MS + 7;
            // A reset at 100.
            counter.float(ms, by * (row % 100) as f64);
            gauge.float(
                ms,
                match row {
                    50 => f64::from_bits(STALE_NAN_BITS),
                    60 => f64::INFINITY,
                    70 => f64::from_bits(0x7ff8_0000_0000_0001),
                    80 => -0.0,
                    row => by * (row * row % 37) as f64 / 4.0,
                },
            );
        }
        all.extend([counter, gauge]);
    }
    all
}

/// A configuration as docs/query.md has it, for [`Weir::prometheus`].
fn documented(key: &str) -> String {
    let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/query.md");
    let docs = std::fs::read_to_string(docs).expect("it is there");
    let mut blocks =
        docs.split("```yaml\n").skip(1).filter_map(|rest| rest.split_once("```")).map(|(block, _)| block);
    let block = blocks.find(|block| block.starts_with(key)).unwrap_or_else(|| panic!("no {key} in the docs"));
    block.replace("127.0.0.1:9347", "WEIR")
}

#[test]
fn e2e_prometheus_answers_from_what_it_reads_from_weir() {
    if !can_run("e2e_prometheus_answers_from_what_it_reads_from_weir", "prometheus") {
        return;
    }
    let weir = Weir::start("");
    let start = now_ms() / STEP_MS * STEP_MS - 200 * STEP_MS;
    write(&mut weir.connection(), floats(start));
    let prometheus = weir.prometheus("reader", &documented("remote_read:"), &[]);
    let (mut ours, mut theirs) = (weir.connection(), connection(&prometheus));
    let mut rows = 0;
    let expressions = [
        "requests_total",
        "level{job=\"a\"}",
        "level{job!~\"a|c\"}",
        "{__name__=~\".+\"}",
        "sum by (job) (requests_total)",
        "count(level)",
        "rate(requests_total[5m])",
        "increase(requests_total{job=\"b\"}[10m])",
        "max_over_time(level[3m])",
        "changes(level[20m])",
        "resets(requests_total[30m])",
        "topk(1, requests_total)",
        "level offset 5m",
        "requests_total[2m]",
        "nothing",
    ];
    let seconds = |row: i64| (start + row * STEP_MS + 3_000) / 1_000;
    for expression in expressions {
        for row in [10, 52, 55, 85, 120, 159] {
            let question = format!("query?query={}&time={}", encoded(expression), seconds(row));
            let answer = query(&mut ours, &question);
            assert_eq!(answer, query(&mut theirs, &question), "{expression} at row {row}");
            rows += answer.len();
        }
        if !expression.ends_with(']') {
            let range = format!("start={}&end={}&step=20", seconds(5), seconds(158));
            let question = format!("query_range?query={}&{range}", encoded(expression));
            let answer = query(&mut ours, &question);
            assert_eq!(answer, query(&mut theirs, &question), "{expression} over a range");
            rows += answer.len();
        }
    }
    // Names and values of labels it knows of itself only.
    let question = format!("series?match[]=level&start={}&end={}", seconds(0), seconds(159));
    let answer = query(&mut ours, &question);
    assert_eq!((answer.len(), &answer), (2, &query(&mut theirs, &question)));
    println!("{rows} rows of {} expressions, the same in both", expressions.len());
    assert!(rows > 100, "{rows}");
}

#[test]
fn e2e_weir_and_prometheus_send_the_same_samples() {
    if !can_run("e2e_weir_and_prometheus_send_the_same_samples", "prometheus") {
        return;
    }
    let weir = Weir::start("");
    let receiver = ["--web.enable-remote-write-receiver", "--enable-feature=native-histograms"];
    let prometheus = weir.prometheus("receiver", "global: {}\n", &receiver);
    let (mut ours, mut theirs) = (weir.connection(), connection(&prometheus));
    let start = now_ms() / STEP_MS * STEP_MS - 200 * STEP_MS;
    let histograms = || {
        let (mut counts, mut fractions) =
            (Series::new(&[("__name__", "whole")]), Series::new(&[("__name__", "fractional")]));
        for row in 0..150u64 {
            let ms = start + row as i64 * STEP_MS + row as i64 % 3;
            // A reset at 70, another resolution from 110 on, and an end.
            let coarse = if row < 110 { 1 } else { 0 };
            counts.histogram(ms, Histogram { schema: coarse, ..whole(1 + row % 70) });
            fractions.histogram(ms, Histogram { schema: coarse, ..fractional(0.5 + (row % 70) as f64) });
        }
        let marker = f64::from_bits(STALE_NAN_BITS);
        counts.histogram(start + 151 * STEP_MS, Histogram { sum: marker, ..whole(0) });
        vec![counts, fractions]
    };
    for connection in [&mut ours, &mut theirs] {
        write(connection, floats(start));
        write(connection, histograms());
    }
    let range = (start, start + 1_000 * STEP_MS);
    let mut samples = 0;
    for names in ["requests_total|level", "whole", "fractional", ".+"] {
        for range in [range, (start + 30 * STEP_MS, start + 120 * STEP_MS)] {
            let ours = read_chunks(&mut ours, names, range);
            // Prometheus sends chunks whole, also where they reach out of the range.
            let mut theirs = read_chunks(&mut theirs, names, range);
            for series in &mut theirs {
                series.samples.retain(|(ms, _)| (range.0..=range.1).contains(ms));
            }
            assert_eq!(difference(&ours, &theirs), None, "{names}");
            samples += ours.iter().map(|series| series.samples.len()).sum::<usize>();
        }
    }
    // 2.42 leaves histograms out of this form, and has no negative zero in it.
    let names = "requests_total|level";
    let mut plain = read_whole(&mut ours, names, range);
    let values = plain.iter_mut().flat_map(|series| &mut series.samples).map(|(_, value)| value);
    let zeros = values.filter(|value| **value == Float(-0.0));
    assert_eq!(zeros.map(|zero| *zero = Float(0.0)).count(), 2);
    assert_eq!(difference(&plain, &read_whole(&mut theirs, names, range)), None);
    let without: Vec<ReadSeries> =
        read_whole(&mut ours, ".+", range).iter().map(ReadSeries::without_hints).collect();
    assert_eq!(difference(&without, &read_chunks(&mut ours, ".+", range)), None);
    println!("{samples} samples in chunks, the same bits from both");
}

#[test]
fn e2e_prometheus_scrapes_weir() {
    if !can_run("e2e_prometheus_scrapes_weir", "prometheus") {
        return;
    }
    let weir = Weir::start("");
    let selectors = "'{job=~\".+\"}', level, alone, whole, fractional";
    let config = documented("scrape_configs:").replace("'{job=~\".+\"}'", selectors);
    let config = format!("global:\n  scrape_interval: 1s\n{config}");
    let plain = weir.prometheus("plain", &config, &[]);
    let native = weir.prometheus("native", &config, &["--enable-feature=native-histograms"]);
    let at = now_ms() - 1_000;
    let mut data = floats(at - 159 * STEP_MS - 7);
    let mut alone = Series::new(&[("__name__", "alone"), ("job", "ü\"\\\n")]);
    alone.float(at, 1.0 / 3.0);
    let (mut counts, mut fractions) =
        (Series::new(&[("__name__", "whole")]), Series::new(&[("__name__", "fractional")]));
    counts.histogram(at, whole(3));
    fractions.histogram(at, fractional(2.0));
    data.extend([alone, counts, fractions]);
    write(&mut weir.connection(), data);
    let floats = "query?query={__name__=~\"requests_total|level|alone\"}[1h]";
    let newest = |rows: Vec<String>| -> BTreeMap<String, String> {
        let rows = rows.iter().map(|row| serde_json::from_str::<Value>(row).expect("JSON"));
        let last = |row: Value| {
            let sample = row["values"].as_array().and_then(|values| values.last().cloned());
            (row["metric"].to_string(), sample.unwrap_or_default().to_string())
        };
        rows.map(last).collect()
    };
    let floats = floats.replace('{', "%7B").replace('"', "%22").replace('+', "%2B").replace('|', "%7C");
    let wanted = newest(query(&mut weir.connection(), &floats));
    assert_eq!(wanted.len(), 5);
    for (prometheus, name) in [(&plain, "plain"), (&native, "native")] {
        let begun = Instant::now();
        loop {
            let found = newest(query(&mut connection(prometheus), &floats));
            if found == wanted {
                break;
            }
            let log = weir.directory.path().join(format!("{name}.log"));
            let log = std::fs::read_to_string(log).unwrap_or_default();
            assert!(begun.elapsed() < Duration::from_secs(60), "{name}: {found:#?}\n{wanted:#?}\n{log}");
            std::thread::sleep(Duration::from_millis(200));
        }
        let health = connection(prometheus).get("/api/v1/targets").expect("an answer").text();
        assert!(health.contains("\"health\":\"up\""), "{health}");
    }
    // Histograms come in protobuf, bit for bit: both send them as they have them.
    let read = |connection: &mut Connection| {
        let series = read_chunks(connection, "whole|fractional", (at, at));
        series.into_iter().map(|series| series.samples).collect::<Vec<_>>()
    };
    let ours = read(&mut weir.connection());
    assert_eq!((ours.len(), &ours), (2, &read(&mut connection(&native))));
    assert!(read(&mut connection(&plain)).is_empty());
}

fn promtool(arguments: &[&str], input: &str) -> (bool, String) {
    let mut command = Command::new("promtool");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("promtool runs");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

#[test]
fn e2e_promtool_asks_and_checks() {
    if !can_run("e2e_promtool_asks_and_checks", "promtool") {
        return;
    }
    let weir = Weir::start("");
    let start = now_ms() / STEP_MS * STEP_MS - 161 * STEP_MS;
    write(&mut weir.connection(), floats(start));
    let url = format!("http://any:{}@{}", weir.token, weir.process.address);
    let seconds = |row: i64| ((start + row * STEP_MS) / 1_000).to_string();
    let (first, last) = (seconds(1), seconds(159));
    let time = format!("--time={last}");
    let range = [format!("--start={first}"), format!("--end={last}")];
    let ask = |arguments: &[&str]| {
        let (success, printed) = promtool(arguments, "");
        assert!(success, "{arguments:?}: {printed}");
        printed
    };
    let instant = ask(&["query", "instant", &time, &url, "requests_total{job=\"b\"}"]);
    let wanted = "requests_total{instance=\"i:1\", job=\"b\"} => 174 @[";
    assert!(instant.starts_with(wanted), "{instant}");
    let over = ask(&["query", "range", &range[0], &range[1], "--step=15s", &url, "sum(requests_total)"]);
    assert!(over.starts_with("{} =>\n0 @[") && over.lines().count() == 160, "{over}");
    let labels = ask(&["query", "labels", &range[0], &range[1], &url, "job"]);
    assert_eq!(labels, "a\nb\n");
    let series = ask(&["query", "series", &range[0], &range[1], "--match=level{job=\"a\"}", &url]);
    assert_eq!(series.trim(), "{__name__=\"level\", instance=\"i:1\", job=\"a\"}");
    let (success, refused) = promtool(&["query", "instant", &url.replace("any:", "any:x"), "up"], "");
    assert!(!success, "{refused}");

    // What is checked has types and helps.
    let lines = "# HELP served_total Requests served.\n# TYPE served_total counter\nserved_total{code=\"200\"} 5\n\
        # HELP heat_celsius Heat.\n# TYPE heat_celsius gauge\nheat_celsius 20.5\nheat_celsius{at=\"a\\\"\\\\b\"} NaN\n";
    let stored =
        weir.connection().post("/api/v1/import/prometheus", "", lines.as_bytes()).expect("an answer");
    assert_eq!(stored.status, 204, "{}", stored.text());
    let path = "/federate?match[]=served_total&match[]=heat_celsius";
    let text = weir.connection().get(path).expect("an answer").text();
    assert_eq!(text.lines().count(), 7, "{text}");
    assert_eq!(promtool(&["check", "metrics"], &text), (true, String::new()), "{text}");
    // Without them it is an exposition still: 3 means that there are remarks, 1 that it cannot be read.
    let text = weir.connection().get("/federate?match[]=level").expect("an answer").text();
    let (_, remarks) = promtool(&["check", "metrics"], &text);
    assert!(remarks.contains("level no help text") && !remarks.contains("error"), "{remarks}");
    // Weir's own metrics.
    let admin = std::fs::read_to_string(weir.directory.path().join("data/admin-api-token")).expect("a token");
    let mut connection = Connection::open(weir.process.address, Some(admin.trim())).expect("Weir answers");
    let text = connection.get("/metrics").expect("an answer").text();
    assert_eq!(promtool(&["check", "metrics"], &text), (true, String::new()), "{text}");
}

/// Memory for what all queries hold, and what a dev build may take besides.
const QUERY_BYTES: u64 = 160 << 20;
const SLACK_BYTES: u64 = 64 << 20;

#[test]
fn e2e_a_thousand_series_are_read_within_memory() {
    if !can_run("e2e_a_thousand_series_are_read_within_memory", "prometheus") {
        return;
    }
    let weir = Weir::start(&format!("limits:\n  query_bytes: {}MiB\n", QUERY_BYTES >> 20));
    let start = now_ms() - 1_010 * 5_000;
    for part in 0..10 {
        let series = (0..1_000).map(|number| {
            let mut series = Series::new(&[("__name__", "noise"), ("number", &number.to_string())]);
            for row in part * 100..part * 100 + 100 {
                let bits = (row * 1_000 + number) as u64;
                series.float(start + row * 5_000, bits.wrapping_mul(0x9e37_79b9_7f4a_7c15) as f64);
            }
            series
        });
        write(&mut weir.connection(), series.collect());
    }
    let prometheus = weir.prometheus("reader", &documented("remote_read:"), &[]);
    let before = weir.process.memory_bytes("VmRSS").expect("a process");
    let time = (start + 1_005 * 5_000) / 1_000;
    for expression in ["sum(count_over_time(noise[3h]))", "count(max_over_time(noise[3h]))"] {
        let question = format!("query?query={}&time={time}", encoded(expression));
        let ours = query(&mut weir.connection(), &question);
        assert_eq!(ours, query(&mut connection(&prometheus), &question), "{expression}");
        assert!(ours[0].contains("\"1000000\"") || ours[0].contains("\"1000\""), "{ours:?}");
    }
    let frames = read_chunks(&mut weir.connection(), "noise", (start, start + 1_010 * 5_000));
    assert_eq!(frames.iter().map(|series| series.samples.len()).sum::<usize>(), 1_000_000);
    let most = weir.process.memory_bytes("VmHWM").expect("a process");
    println!("1,000,000 samples: {} MiB before, {} MiB at most", before >> 20, most >> 20);
    assert!(most < before + QUERY_BYTES + SLACK_BYTES, "{before} before, {most} at most");
}
