//! A real VictoriaMetrics is emptied into Weir: what its `/api/v1/export` writes comes back the same.
#![allow(clippy::disallowed_methods, reason = "a test of processes reads the clock")]

mod started;

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use started::{Weir, documented, run};
use xtask::load::http::{Connection, encoded, free_address};
use xtask::load::process::Process;
use xtask::rig::writer::now_ms;

/// Series of several kinds of values; `{T}` is a time.
const SENT: &str = "\
    http_requests_total{job=\"api\",path=\"/a b\"} 1027 {T}\n\
    http_requests_total{job=\"api\",path=\"/a b\"} 1030.5 {T+}\n\
    temperature{room=\"küche\",quote=\"a\\\"b\\\\c\\nd\"} -12.25 {T}\n\
    bound{le=\"+Inf\"} +Inf {T}\n\
    bound{le=\"-Inf\"} -Inf {T}\n\
    tiny 5e-300 {T}\n";

fn start_victoria_metrics(weir: &Weir) -> Process {
    let address = free_address().expect("an address");
    let mut command = Command::new("victoria-metrics");
    command.arg(format!("-storageDataPath={}", weir.directory().join("vm").display()));
    command.arg(format!("-httpListenAddr={address}")).current_dir(weir.directory());
    let log = weir.directory().join("vm.log");
    let mut process = Process::start(command, address, &log).expect("it starts");
    process.wait_ready("/health", Duration::from_secs(30)).expect("it is ready");
    process
}

/// Labels, sorted, with times and values as they are written.
type Series = BTreeMap<String, Vec<(i64, String)>>;

fn name(labels: &Value) -> String {
    let labels: BTreeMap<String, String> = serde_json::from_value(labels.clone()).expect("labels");
    format!("{labels:?}")
}

/// What VictoriaMetrics wrote.
fn exported(lines: &str) -> Series {
    let line = |line: &str| {
        // Debian's version writes what is no JSON.
        let line = line.replace("[+Inf]", "[\"Inf\"]").replace("[-Inf]", "[\"-Inf\"]");
        let json: Value = serde_json::from_str(&line).expect("JSON");
        let list = |key: &str| json[key].as_array().expect("a list").clone();
        let value = |value: &Value| match value {
            Value::String(text) => text.replace("Infinity", "Inf"),
            number => number.as_f64().expect("a number").to_string(),
        };
        let times = list("timestamps").into_iter().map(|time| time.as_i64().expect("ms"));
        (name(&json["metric"]), times.zip(list("values").iter().map(value)).collect())
    };
    lines.lines().map(line).collect()
}

/// What Weir has of the last minutes.
fn stored(weir: &Weir, now_ms: i64) -> Series {
    let question = encoded(r#"{__name__!=""}[10m]"#);
    let data = weir.data(&format!("/api/v1/query?time={}&query={question}", now_ms / 1000 + 1));
    let value = |text: &str| match text {
        "+Inf" => "Inf".to_owned(),
        "-Inf" => "-Inf".to_owned(),
        text => text.parse::<f64>().expect("a number").to_string(),
    };
    let row = |row: &Value| {
        let sample = |pair: &Value| {
            let seconds = pair[0].as_f64().expect("a time");
            ((seconds * 1e3).round() as i64, value(pair[1].as_str().expect("a value")))
        };
        (name(&row["metric"]), row["values"].as_array().expect("samples").iter().map(sample).collect())
    };
    data["result"].as_array().expect("a list").iter().map(row).collect()
}

#[test]
fn e2e_what_victoriametrics_exports_comes_back_the_same() {
    let test = "e2e_what_victoriametrics_exports_comes_back_the_same";
    if let Some(missing) = ["victoria-metrics", "curl"].into_iter().find(|name| !xtask::run::exists(name)) {
        return xtask::test::skipped(test, &format!("{missing} is not installed"));
    }
    let (weir, now_ms) = (Weir::start(""), now_ms());
    let source = start_victoria_metrics(&weir);
    let mut connection = Connection::open(source.address, None).expect("it answers");
    let sent =
        SENT.replace("{T}", &(now_ms - 60_000).to_string()).replace("{T+}", &(now_ms - 45_000).to_string());
    let answer = connection.post("/api/v1/import/prometheus", "", sent.as_bytes()).expect("an answer");
    assert_eq!(answer.status, 204, "{}", answer.text());
    connection.get("/internal/force_flush").expect("an answer");
    let lines = connection.get("/api/v1/export?match[]=%7B__name__!=%22%22%7D").expect("lines");
    let wanted = exported(&lines.text());
    assert_eq!(wanted.len(), 5, "{}", lines.text());

    let mut piped = Command::new("sh");
    let page = documented("docs/send/victoriametrics.md", "sh", &weir);
    let page = page.replace("http://localhost:8428", &format!("http://{}", source.address));
    assert_eq!(run(piped.args(["-c", &page]).env("TOKEN", &weir.token)), [""; 0]);
    assert_eq!(stored(&weir, now_ms), wanted);
}
