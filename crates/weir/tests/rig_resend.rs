//! A sender that gets no answer sends again: over kills of the real binary, each thing that it sent counts once.
#![allow(clippy::disallowed_methods, reason = "a test of processes reads the clock")]

use std::path::Path;

use xtask::load::http::{Connection, encoded};
use xtask::load::process::Process;
use xtask::rig::weir::Home;
use xtask::rig::writer::now_ms;

const CONFIG: &str = "datadog: {profile: plain, counts: cumulative, host_tags: attach}\n";

struct Rig {
    home: Home,
    _directory: tempfile::TempDir,
}

impl Rig {
    fn new(config: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        let home = Home::new(Path::new(env!("CARGO_BIN_EXE_weir")), directory.path(), &data, config);
        Self { home, _directory: directory }
    }

    fn start(&self) -> Process {
        self.home.start().unwrap()
    }

    fn send(&self, weir: &Process, path: &str, body: &str) {
        let headers = format!("Content-Type: application/json\r\nDD-API-KEY: {}\r\n", self.home.token());
        let answer =
            Connection::open(weir.address, None).unwrap().post(path, &headers, body.as_bytes()).unwrap();
        assert_eq!((answer.status, answer.header("x-weir-rejected")), (202, None), "{}", answer.text());
    }

    /// Sends metrics in OTLP's JSON, of which nothing is refused.
    fn export(&self, weir: &Process, body: &str) {
        let headers = "Content-Type: application/json\r\n";
        let mut connection = Connection::open(weir.address, Some(&self.home.token())).unwrap();
        let answer = connection.post("/v1/metrics", headers, body.as_bytes()).unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (200, "{}"));
    }

    /// The only value of an expression.
    fn ask(&self, weir: &Process, expression: &str) -> serde_json::Value {
        let target = format!("/api/v1/query?query={}", encoded(expression));
        let answer = Connection::open(weir.address, Some(&self.home.token())).unwrap().get(&target).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        json["data"]["result"][0].clone()
    }
}

fn counted(value: u32, second: i64) -> String {
    format!(
        r#"{{"series":[{{"metric":"visits","type":"count","interval":10,"host":"web-1","points":[[{second},{value}]]}}]}}"#
    )
}

#[test]
fn rig_deltas_that_are_sent_again_count_once() {
    let rig = Rig::new(CONFIG);
    let now = now_ms() / 1000 - 60;
    let (first, second) = (counted(5, now), counted(7, now + 10));
    let mut weir = rig.start();
    rig.send(&weir, "/api/v1/series", &first);
    weir.kill().unwrap();
    weir = rig.start();
    rig.send(&weir, "/api/v1/series", &first);
    rig.send(&weir, "/api/v1/series", &second);
    assert_eq!(rig.ask(&weir, "visits_total")["value"][1], "12");
    weir.kill().unwrap();
    weir = rig.start();
    // The one before is sent again after a later one was taken.
    rig.send(&weir, "/api/v1/series", &first);
    rig.send(&weir, "/api/v1/series", &second);
    assert_eq!(rig.ask(&weir, "visits_total")["value"][1], "12");
    assert_eq!(rig.ask(&weir, "count_over_time(visits_total[5m])")["value"][1], "2");
    // What was flushed in good order goes on from there, too.
    weir.stop(std::time::Duration::from_secs(30)).unwrap();
    weir = rig.start();
    rig.send(&weir, "/api/v1/series", &second);
    rig.send(&weir, "/api/v1/series", &counted(1, now + 20));
    assert_eq!(rig.ask(&weir, "visits_total")["value"][1], "13");
}

/// An exponential histogram of some observations since the one before, which ended ten seconds earlier.
fn observed(counts: [u32; 2], scale: i32, second: i64) -> String {
    let (count, sum) = (counts[0] + counts[1], counts[0] + 2 * counts[1]);
    let point = serde_json::json!({
        "startTimeUnixNano": format!("{}000000000", second - 10), "timeUnixNano": format!("{second}000000000"),
        "count": count.to_string(), "sum": sum, "scale": scale, "zeroCount": "0",
        "positive": {"offset": -1, "bucketCounts": counts.map(|count| count.to_string())},
    });
    serde_json::json!({"resourceMetrics": [{"scopeMetrics": [{"metrics": [{
        "name": "waited",
        "exponentialHistogram": {"aggregationTemporality": 1, "dataPoints": [point]},
    }]}]}]})
    .to_string()
}

#[test]
fn rig_histograms_that_are_sent_again_count_once() {
    let rig = Rig::new(CONFIG);
    let now = now_ms() / 1000 - 60;
    // The second is coarser: from there on the total is so too.
    let (first, second) = (observed([1, 2], 1, now), observed([3, 2], 0, now + 10));
    let mut weir = rig.start();
    let told = |weir: &Process| {
        [
            "histogram_count(waited)",
            "histogram_sum(waited)",
            "histogram_fraction(0, 1, waited) * histogram_count(waited)",
        ]
        .map(|asked| rig.ask(weir, asked)["value"][1].as_str().unwrap_or_default().to_owned())
    };
    for _ in 0..2 {
        rig.export(&weir, &first);
        weir.kill().unwrap();
        weir = rig.start();
    }
    rig.export(&weir, &first);
    rig.export(&weir, &second);
    assert_eq!(told(&weir), ["8", "12", "4"]);
    weir.kill().unwrap();
    weir = rig.start();
    rig.export(&weir, &first);
    rig.export(&weir, &second);
    assert_eq!(told(&weir), ["8", "12", "4"]);
    assert_eq!(rig.ask(&weir, "count_over_time(waited[5m])")["value"][1], "2");
    weir.stop(std::time::Duration::from_secs(30)).unwrap();
    weir = rig.start();
    rig.export(&weir, &second);
    rig.export(&weir, &observed([1, 0], 1, now + 20));
    assert_eq!(told(&weir), ["9", "13", "5"]);
}

/// A sum and a histogram of OTLP: what was added in the ten seconds before `second`.
fn exported(count: u32, second: i64) -> String {
    let times = serde_json::json!({
        "startTimeUnixNano": format!("{}000000000", second - 10), "timeUnixNano": format!("{second}000000000"),
    });
    let with = |values: serde_json::Value| {
        let mut point = times.clone();
        point.as_object_mut().unwrap().extend(values.as_object().unwrap().clone());
        point
    };
    let sum = with(serde_json::json!({"asInt": count.to_string()}));
    let histogram = with(serde_json::json!({
        "count": count.to_string(), "sum": f64::from(count) + 0.5,
        "bucketCounts": [count.to_string(), "0"], "explicitBounds": [1],
    }));
    serde_json::json!({"resourceMetrics": [{"scopeMetrics": [{"metrics": [
        {"name": "came", "sum": {"aggregationTemporality": 1, "isMonotonic": true, "dataPoints": [sum]}},
        {"name": "stayed", "histogram": {"aggregationTemporality": 1, "dataPoints": [histogram]}},
    ]}]}]})
    .to_string()
}

#[test]
fn rig_deltas_of_otlp_that_are_sent_again_count_once() {
    let rig = Rig::new("");
    let now = now_ms() / 1000 - 60;
    let (first, second) = (exported(5, now), exported(7, now + 10));
    let mut weir = rig.start();
    rig.export(&weir, &first);
    for _ in 0..2 {
        weir.kill().unwrap();
        weir = rig.start();
        rig.export(&weir, &first);
        rig.export(&weir, &second);
    }
    for (expression, wanted) in [
        ("came_total", "12"),
        ("stayed_count", "12"),
        ("stayed_sum", "13"),
        (r#"stayed_bucket{le="1"}"#, "12"),
        (r#"stayed_bucket{le="+Inf"}"#, "12"),
        ("count_over_time(came_total[5m])", "2"),
    ] {
        assert_eq!(rig.ask(&weir, expression)["value"][1], wanted, "{expression}");
    }
}

#[test]
fn rig_deltas_without_a_time_are_new_each_time() {
    let rig = Rig::new(CONFIG);
    let weir = rig.start();
    for sent in 1..=3 {
        rig.send(
            &weir,
            "/api/v1/series",
            r#"{"series":[{"metric":"runs","type":"count","points":[[0,1]]}]}"#,
        );
        assert_eq!(rig.ask(&weir, "runs_total")["value"][1], sent.to_string());
    }
}

#[test]
fn rig_tags_of_hosts_are_there_after_a_kill() {
    let rig = Rig::new(CONFIG);
    let mut weir = rig.start();
    let told = r#"{"internalHostname":"web-1","host-tags":{"system":["env:prod","role:web"]}}"#;
    rig.send(&weir, "/intake/", told);
    weir.kill().unwrap();
    weir = rig.start();
    rig.send(&weir, "/api/v1/series", &counted(5, now_ms() / 1000));
    let labels = rig.ask(&weir, "visits_total")["metric"].clone();
    let wanted =
        serde_json::json!({"__name__": "visits_total", "host": "web-1", "env": "prod", "role": "web"});
    assert_eq!(labels, wanted);
    let info = rig.ask(&weir, "datadog_host_info");
    assert_eq!((&info["metric"]["env"], &info["value"][1]), (&"prod".into(), &"1".into()));
}
