//! Pages of Weir read by those who read them elsewhere: the Datadog Agent's OpenMetrics check without an Agent, with the
//! page's lines pasted; the parsers of `prometheus_client`, of which that of OpenMetrics is strict; a real Prometheus.
//!
//! Splunk's collector cannot be had here. Its monitor is a plain GET of Go, without Accept, and a parser that the answer's
//! Content-Type picks: such a request stands in for it.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a test of processes waits, reads the clock, and tells people what was compared"
)]

mod started;

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::histogram::{BucketCounts, CUSTOM_BOUNDS_SCHEMA, Histogram, ResetHint, Span};
use model::select::HistogramPoint;
use model::{Labels, SeriesBlock, SeriesRef};
use serde_json::Value;
use started::{Weir, python_path, run, script};
use xtask::load::http::{Connection, encoded, free_address};
use xtask::load::process::Process;
use xtask::repo::Repo;
use xtask::rig::writer::now_ms;

const PAGE: &str = "docs/expose.md";

/// Gauges of another product, each with its value.
const GAUGES: [(&str, u32); 13] = [
    ("scalr_billings_flex_runs_count", 0),
    ("scalr_billings_flex_runs_minutes_count", 0),
    ("scalr_billings_run_minutes_count", 2000),
    ("scalr_billings_runs_count", 1000),
    ("scalr_environments_count", 10),
    ("scalr_quota_max_concurrency", 5),
    ("scalr_runs_awaiting_confirmation", 14),
    ("scalr_runs_concurrency", 3),
    ("scalr_runs_count", 1225),
    ("scalr_runs_failed", 299),
    ("scalr_runs_queue_size", 0),
    ("scalr_runs_successful", 733),
    ("scalr_workspaces_count", 137),
];

const EXPOSURE: &str =
    "exposures:\n  - path: /api/iacp/v3/metrics\n    match: ['{__name__=~\"scalr_.*\"}']\n";

/// What the check imports, besides what these bring along.
const CHECK: &[&str] = &[
    "datadog-checks-base==38.7.0",
    "prometheus-client==0.26.0",
    "pyyaml==6.0.4",
    "pydantic==2.14.4",
    "requests==2.34.2",
    "requests-unixsocket2==1.0.1",
    "requests-toolbelt==1.0.0",
    "lazy-loader==0.6",
    "wrapt==2.5.2",
    "simplejson==4.3.0",
    "cachetools==8.0.2",
    "binary==1.0.2",
    "python-dateutil==4.0.0",
];

fn push(weir: &Weir, path: &str, headers: &str, body: &[u8]) {
    let mut connection = Connection::open(weir.process.address, Some(&weir.token)).expect("Weir answers");
    let answer = connection.post(path, headers, body).expect("an answer");
    assert!(answer.is_success(), "{path}: {} {}", answer.status, answer.text());
}

fn push_gauges(weir: &Weir) {
    let text: String =
        GAUGES.iter().map(|(name, value)| format!("# TYPE {name} gauge\n{name} {value}\n")).collect();
    push(weir, "/api/v1/import/prometheus", "", text.as_bytes());
}

/// The page's block with these words, for this Weir.
fn block(words: &str, weir: &Weir) -> String {
    let text = Repo::here().read(PAGE).expect("the page");
    let block = text.split("```yaml\n").find(|block| block.contains(words)).expect("a block");
    let block = block.split("```").next().unwrap_or_default();
    let block = block.replace("http://localhost:9347", &weir.url()).replace("<token>", &weir.token);
    block.replace("localhost:9347", &weir.process.address.to_string())
}

fn written(weir: &Weir, name: &str, text: &str) -> PathBuf {
    let path = weir.directory().join(name);
    std::fs::write(&path, text).expect("room");
    path
}

fn check(packages: &str, weir: &Weir, config: &str) -> Vec<String> {
    let config = written(weir, "conf.yaml", config);
    let mut command = Command::new("python3");
    command.arg(script("openmetrics/check.py")).arg(config);
    run(command.env("PYTHONPATH", packages))
}

#[test]
fn e2e_the_agents_check_reads_exactly_the_gauges() {
    let packages = match python_path(CHECK) {
        Ok(packages) => packages,
        Err(why) => return xtask::test::skipped("e2e_the_agents_check_reads_exactly_the_gauges", &why),
    };
    let weir = Weir::start(EXPOSURE);
    push_gauges(&weir);
    push(&weir, "/api/v1/import/prometheus", "", b"other 1\n");
    let mut wanted: Vec<String> =
        GAUGES.iter().map(|(name, value)| format!("scalr.{name} gauge {value}.0 ")).collect();
    wanted.extend(["check scalr.openmetrics.health 0 ".to_owned(), "error none".to_owned()]);
    let pasted = block("openmetrics_endpoint", &weir);
    assert!(pasted.contains("profile=preview"), "{pasted}");
    assert_eq!(check(&packages, &weir, &pasted), wanted);
    // Headers on top of the check's own; and OpenMetrics, which it asks for only so, or when its Accept is spelt out.
    assert_eq!(check(&packages, &weir, &pasted.replace("headers:", "extra_headers:")), wanted);
    let latest = format!("{pasted}    use_latest_spec: true\n");
    let accept = "headers:\n      Accept: application/openmetrics-text;version=1.0.0";
    assert_eq!(check(&packages, &weir, &latest.replace("headers:", accept)), wanted);
    let latest = latest.replace("headers:", "extra_headers:").replace("preview", "internal");
    assert_eq!(check(&packages, &weir, &latest), wanted);
    let series =
        pasted.replace("/api/iacp/v3/metrics", "/api/v1/openmetrics?match[]={__name__=~%22scalr_.*%22}");
    assert_eq!(check(&packages, &weir, &series), wanted);
    // Nobody's token is an error and not an empty account.
    let refused = check(&packages, &weir, &pasted.replace(&weir.token, "0123456789abcdef0123456789abcdef"));
    assert!(refused[0].starts_with("check scalr.openmetrics.health 2 "), "{refused:?}");
    let account = pasted.replace("/api/iacp/v3/metrics", "/api/v1/account/metrics");
    let account = check(&packages, &weir, &account);
    assert_eq!(account.iter().filter(|line| line.starts_with("scalr.weir_")).count(), 20, "{account:#?}");
    assert!(account.contains(&"scalr.weir_active_series gauge 14.0 ".to_owned()), "{account:#?}");
}

/// Something of every type, by three ways in.
fn push_all_types(weir: &Weir) {
    push_gauges(weir);
    let text = "# HELP wait_seconds Time \"spent\".\n# TYPE wait_seconds histogram\nwait_seconds_bucket{le=\"0.5\"} 1\n\
        wait_seconds_bucket{le=\"+Inf\"} 3\nwait_seconds_sum 2.5\nwait_seconds_count 3\n\
        # TYPE size summary\nsize{quantile=\"0.9\"} 4\nsize_sum 9\nsize_count 3\n\
        # TYPE served_total counter\nserved_total{code=\"200\",path=\"a\\\"b\"} 7\nserved_created{code=\"200\",path=\"a\\\"b\"} 1.7e9\n\
        # TYPE below_total counter\nbelow_total -1\nserved_now 2\n\
        # TYPE torn histogram\ntorn_bucket{le=\"1\"} 1\ntorn_sum 1\ntorn_count 2\nunheard 5\nguessed_total 6\n";
    push(weir, "/api/v1/import/prometheus", "", text.as_bytes());
    let time = now_ms().to_string() + "000000";
    let otlp = serde_json::json!({"resourceMetrics": [{"scopeMetrics": [{"metrics": [
        {"name": "otlp.latency", "unit": "s", "description": "Of OTLP.", "histogram": {"aggregationTemporality": 2, "dataPoints": [
            {"timeUnixNano": time, "count": "4", "sum": 3.5, "explicitBounds": [0.5, 1.0], "bucketCounts": ["1", "1", "2"]}]}},
        {"name": "otlp.served", "sum": {"aggregationTemporality": 2, "isMonotonic": true, "dataPoints": [
            {"timeUnixNano": time, "asInt": "12"}]}},
        {"name": "otlp.heat", "unit": "Cel", "gauge": {"dataPoints": [{"timeUnixNano": time, "asDouble": -2.5}]}},
        {"name": "otlp.native", "exponentialHistogram": {"aggregationTemporality": 2, "dataPoints": [
            {"timeUnixNano": time, "count": "3", "sum": 6.0, "scale": 0, "zeroCount": "0",
             "positive": {"offset": 0, "bucketCounts": ["1", "2"]}}]}},
    ]}]}]});
    push(weir, "/v1/metrics", "Content-Type: application/json\r\n", otlp.to_string().as_bytes());
    let custom = Histogram {
        schema: CUSTOM_BOUNDS_SCHEMA,
        zero_threshold: 0.0,
        sum: 7.25,
        reset_hint: ResetHint::Unknown,
        positive_spans: vec![Span { offset: 0, length: 2 }],
        negative_spans: vec![],
        counts: BucketCounts::Integer { count: 6, zero: 0, positive: vec![2, 4], negative: vec![] },
        custom_bounds: vec![0.5],
    };
    let (mut body, mut block) = (Vec::new(), SeriesBlock::default());
    block.clear();
    block.columns.push(now_ms(), 0.0);
    block.columns.histograms.push(HistogramPoint::new(0, Arc::new(custom)));
    block.end_series(SeriesRef(0));
    let labels = Labels::from_pairs([("__name__", "custom"), ("job", "rw")]);
    let rows = dialects::remote_read::Rows::of(&block, 0);
    dialects::remote_read::samples::write_series(&labels, rows, &mut body);
    push(weir, "/api/v1/write", "", &codec::pack::snappy(&body).expect("it is packed"));
}

fn parsed(packages: &str, weir: &Weir, path: &str, reader: &str) -> Vec<String> {
    let mut command = Command::new("python3");
    command.arg(script("openmetrics/parse.py")).args([&format!("{}{path}", weir.url()), &weir.token, reader]);
    run(command.env("PYTHONPATH", packages))
}

const OPEN: &[&str] = &[
    "application/openmetrics-text; version=1.0.0; charset=utf-8",
    "gauge below_total ",
    "  below_total{} -1.0",
    "histogram custom ",
    "  custom_bucket{job=rw,le=0.5} 2.0",
    "  custom_bucket{job=rw,le=+Inf} 6.0",
    "  custom_sum{job=rw} 7.25",
    "  custom_count{job=rw} 6.0",
    "counter guessed ",
    "  guessed_total{} 6.0",
    "gauge otlp_heat_celsius celsius",
    "  otlp_heat_celsius{} -2.5",
    "histogram otlp_latency_seconds seconds",
    "  otlp_latency_seconds_bucket{le=0.5} 1.0",
    "  otlp_latency_seconds_bucket{le=1.0} 2.0",
    "  otlp_latency_seconds_bucket{le=+Inf} 4.0",
    "  otlp_latency_seconds_sum{} 3.5",
    "  otlp_latency_seconds_count{} 4.0",
    "counter otlp_served ",
    "  otlp_served_total{} 12.0",
    "gauge served_now ",
    "  served_now{} 2.0",
    "counter served ",
    "  served_total{code=200,path=a\"b} 7.0",
    "summary size ",
    "  size{quantile=0.9} 4.0",
    "  size_sum{} 9.0",
    "  size_count{} 3.0",
    "gauge torn_bucket ",
    "  torn_bucket{le=1} 1.0",
    "gauge torn_count ",
    "  torn_count{} 2.0",
    "gauge torn_sum ",
    "  torn_sum{} 1.0",
    "gauge unheard ",
    "  unheard{} 5.0",
    "histogram wait_seconds ",
    "  wait_seconds_bucket{le=0.5} 1.0",
    "  wait_seconds_bucket{le=+Inf} 3.0",
    "  wait_seconds_sum{} 2.5",
    "  wait_seconds_count{} 3.0",
];

#[test]
fn e2e_strict_parsers_take_every_page() {
    let packages = match python_path(&["prometheus-client==0.26.0"]) {
        Ok(packages) => packages,
        Err(why) => return xtask::test::skipped("e2e_strict_parsers_take_every_page", &why),
    };
    let weir = Weir::start(EXPOSURE);
    push_all_types(&weir);
    let selected = "/api/v1/openmetrics?match[]={__name__=~%22.%2B%22,__name__!~%22scalr_.*|target_info%22}";
    let open = parsed(&packages, &weir, selected, "open");
    assert_eq!(open, OPEN, "{open:#?}");
    let created = parsed(&packages, &weir, &format!("{selected}&created=1&timestamps=1"), "open");
    assert!(
        created.contains(&"  served_created{code=200,path=a\"b} 1700000000.0".to_owned()),
        "{created:#?}"
    );
    let text = parsed(&packages, &weir, selected, "text");
    assert_eq!(text[0], "text/plain; version=0.0.4; charset=utf-8");
    // That parser takes `_total` off a counter's name, too.
    let (said, read): (Vec<_>, Vec<_>) = (
        OPEN[1..].iter().map(|line| shape(line)).collect(),
        text[1..].iter().map(|line| shape(line)).collect(),
    );
    let differs = |(a, b): &(String, String)| a != b;
    let differing: Vec<_> = said.into_iter().zip(read).filter(differs).collect();
    assert!(differing.is_empty(), "{differing:#?}");
    // As Splunk's monitor reads it.
    let mut wanted = vec!["text/plain; version=0.0.4; charset=utf-8".to_owned()];
    for (name, value) in GAUGES {
        wanted.extend([format!("gauge {name} "), format!("  {name}{{}} {value}.0")]);
    }
    assert_eq!(parsed(&packages, &weir, "/api/iacp/v3/metrics", "go"), wanted);
    assert_eq!(
        parsed(&packages, &weir, "/api/v1/openmetrics?match[]={__name__=~%22scalr_.*%22}", "go"),
        wanted
    );
    for reader in ["open", "text", "go"] {
        let account = parsed(&packages, &weir, "/api/v1/account/metrics", reader);
        assert_eq!(account.iter().filter(|line| line.starts_with("gauge weir_")).count(), 20, "{account:#?}");
    }
}

/// A line without what text does not say: units, and the point of a bound.
fn shape(line: &str) -> String {
    let line =
        if line.starts_with("  ") { line } else { line.rsplit_once(' ').map_or(line, |(line, _)| line) };
    line.replace("le=1.0}", "le=1}")
}

fn ask(prometheus: &Process, path: &str) -> Value {
    let mut connection = Connection::open(prometheus.address, None).expect("Prometheus answers");
    let answer = connection.get(path).expect("an answer");
    serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{path}: {error}: {}", answer.text()))
}

/// Waits until an expression has a value in Prometheus.
fn value(prometheus: &Process, expression: &str) -> f64 {
    let start = Instant::now();
    loop {
        let json = ask(prometheus, &format!("/api/v1/query?query={}", encoded(expression)));
        let found = json["data"]["result"][0]["value"][1].as_str().and_then(|text| text.parse().ok());
        if let Some(found) = found {
            return found;
        }
        let targets = || ask(prometheus, "/api/v1/targets").to_string();
        assert!(start.elapsed() < Duration::from_secs(60), "{expression}: never\n{}", targets());
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn e2e_a_real_prometheus_scrapes_the_pages() {
    if !xtask::run::exists("prometheus") {
        let test = "e2e_a_real_prometheus_scrapes_the_pages";
        return xtask::test::skipped(test, "prometheus is not installed");
    }
    let weir = Weir::start(EXPOSURE);
    push_all_types(&weir);
    let pasted = block("scrape_configs", &weir);
    let all = "    params:\n      'match[]': ['{__name__=~\"scalr_.*\"}']\n";
    assert!(pasted.contains(all), "{pasted}");
    let job = |name: &str, path: &str| {
        let job =
            pasted.replace("scrape_configs:\n", "").replace("job_name: weir", &format!("job_name: {name}"));
        job.replace("/api/v1/openmetrics", path).replace(all, "")
    };
    let config = format!(
        "global:\n  scrape_interval: 1s\n  scrape_timeout: 1s\n{pasted}{}{}",
        job("everything", "/api/v1/openmetrics"),
        job("iacp", "/api/iacp/v3/metrics")
    );
    let config = written(&weir, "prometheus.yml", &config);
    let address = free_address().expect("an address");
    let mut command = Command::new("prometheus");
    command.arg(format!("--config.file={}", config.display()));
    command.arg(format!("--storage.tsdb.path={}", weir.directory().join("prometheus").display()));
    command.arg(format!("--web.listen-address={address}"));
    let log = weir.directory().join("prometheus.log");
    let mut prometheus = Process::start(command, address, &log).expect("it starts");
    prometheus.wait_ready("/-/ready", Duration::from_secs(60)).expect("it is ready");
    for job in ["weir", "everything", "iacp"] {
        assert_eq!(value(&prometheus, &format!("max_over_time(up{{job=\"{job}\"}}[1m]) == 1")), 1.0, "{job}");
        for (name, wanted) in GAUGES {
            assert_eq!(value(&prometheus, &format!("{name}{{job=\"{job}\"}}")), f64::from(wanted), "{job}");
        }
    }
    assert_eq!(value(&prometheus, "scrape_samples_scraped{job=\"iacp\"}"), 13.0);
    for (expression, wanted) in [
        ("served_total{code=\"200\"}", 7.0),
        ("otlp_latency_seconds_bucket{le=\"1.0\"}", 2.0),
        ("custom_sum{job=\"rw\"}", 7.25),
        ("size{quantile=\"0.9\"}", 4.0),
        ("histogram_quantile(0.5, otlp_latency_seconds_bucket{job=\"everything\"})", 1.0),
    ] {
        assert_eq!(value(&prometheus, expression), wanted, "{expression}");
    }
    let metadata = ask(&prometheus, "/api/v1/metadata");
    for (family, kind) in [
        ("scalr_runs_count", "gauge"),
        ("served", "counter"),
        ("otlp_served", "counter"),
        ("wait_seconds", "histogram"),
        ("otlp_latency_seconds", "histogram"),
        ("custom", "histogram"),
        ("size", "summary"),
        ("unheard", "gauge"),
        ("torn_count", "gauge"),
    ] {
        let told = &metadata["data"][family];
        assert!(
            told.as_array().is_some_and(|all| all.iter().all(|one| one["type"] == kind)),
            "{family}: {told}"
        );
    }
    assert_eq!(metadata["data"]["otlp_latency_seconds"][0]["help"], "Of OTLP.");
}
