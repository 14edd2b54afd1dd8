//! A real Prometheus scrapes a real node exporter and writes to Weir; promtool reads it back.
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test of processes waits, and tells people what was compared"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use xtask::load::http::{Connection, encoded, free_address};
use xtask::load::process::Process;
use xtask::rig::ledger::{SeriesName, read_with};
use xtask::rig::weir::Home;
use xtask::rig::writer::now_ms;

/// Prometheus, what it scrapes, and Weir behind it.
struct Chain {
    home: Home,
    weir: Process,
    prometheus: Process,
    _exporter: Process,
    token: String,
    directory: tempfile::TempDir,
}

fn obstacle() -> Option<String> {
    let missing =
        ["prometheus", "prometheus-node-exporter"].into_iter().find(|program| !xtask::run::exists(program));
    missing.map(|program| format!("{program} is not installed"))
}

impl Chain {
    fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let data = directory.path().join("data");
        let mut home = Home::new(Path::new(env!("CARGO_BIN_EXE_weir")), directory.path(), &data, "");
        home.address = Some(free_address().expect("an address"));
        let weir = home.start().expect("Weir starts");
        let token = home.token();
        let exporter = start_exporter(directory.path());
        let prometheus = start_prometheus(directory.path(), &exporter, &weir, &token);
        Self { home, weir, prometheus, _exporter: exporter, token, directory }
    }

    fn weir_connection(&self) -> Connection {
        Connection::open(self.weir.address, Some(&self.token)).expect("Weir answers")
    }

    fn prometheus_connection(&self) -> Connection {
        Connection::open(self.prometheus.address, None).expect("Prometheus answers")
    }

    /// Waits until Weir has a sample of `up` that is not older than `since_ms`.
    fn wait_for_up(&self, since_ms: i64) {
        let start = Instant::now();
        let query = encoded("timestamp(up{job=\"my_app\"})");
        loop {
            let answer =
                self.weir_connection().get(&format!("/api/v1/query?query={query}")).expect("an answer");
            let json: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
            let seconds =
                json["data"]["result"][0]["value"][1].as_str().and_then(|text| text.parse::<f64>().ok());
            if seconds.is_some_and(|seconds| seconds * 1e3 >= since_ms as f64) {
                return;
            }
            assert!(
                start.elapsed() < Duration::from_secs(90),
                "nothing arrives: {}\n{}",
                answer.text(),
                self.logs()
            );
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn logs(&self) -> String {
        let prometheus =
            std::fs::read_to_string(self.directory.path().join("prometheus.log")).unwrap_or_default();
        format!("Weir:\n{}\nPrometheus:\n{prometheus}", self.home.printed())
    }

    /// Everything that was scraped up to `end_ms`, as Prometheus and as Weir have it.
    fn both(&self, end_ms: i64) -> [BTreeMap<SeriesName, Vec<(i64, u64)>>; 2] {
        let connections = [self.prometheus_connection(), self.weir_connection()];
        connections
            .map(|mut connection| read_with(&mut connection, "{job=\"my_app\"}", end_ms).expect("an answer"))
    }
}

fn start_exporter(directory: &Path) -> Process {
    let address = free_address().expect("an address");
    let mut command = Command::new("prometheus-node-exporter");
    command.arg(format!("--web.listen-address={address}"));
    let mut exporter = Process::start(command, address, &directory.join("exporter.log")).expect("it starts");
    exporter.wait_ready("/metrics", Duration::from_secs(30)).expect("it answers");
    exporter
}

/// The block is the one that users of a hosted service are given, with Weir's address and token; only metadata comes
/// sooner than once a minute.
fn start_prometheus(directory: &Path, exporter: &Process, weir: &Process, token: &str) -> Process {
    let config = format!(
        "global:\n  scrape_interval: 1s\n\
         scrape_configs:\n  - job_name: my_app\n    static_configs:\n      - targets: ['{}']\n\
         remote_write:\n  - url: http://{}/api/v1/push\n    authorization:\n      credentials: {token}\n    headers:\n      \
         X-Scope-OrgID: default\n    metadata_config:\n      send_interval: 2s\n",
        exporter.address, weir.address
    );
    let path = directory.join("prometheus.yml");
    std::fs::write(&path, config).expect("room");
    let address = free_address().expect("an address");
    let mut command = Command::new("prometheus");
    command.arg(format!("--config.file={}", path.display()));
    command.arg(format!("--storage.tsdb.path={}", directory.join("prometheus").display()));
    command.arg(format!("--web.listen-address={address}"));
    let mut prometheus =
        Process::start(command, address, &directory.join("prometheus.log")).expect("it starts");
    prometheus.wait_ready("/-/ready", Duration::from_secs(60)).expect("it is ready");
    prometheus
}

#[test]
fn e2e_a_real_prometheus_writes_and_promtool_reads() {
    if let Some(obstacle) = obstacle() {
        return xtask::test::skipped("e2e_a_real_prometheus_writes_and_promtool_reads", &obstacle);
    }
    let chain = Chain::start();
    chain.wait_for_up(now_ms());
    let url = format!("http://default:{}@{}", chain.token, chain.weir.address);
    let output = Command::new("promtool")
        .args(["query", "instant", &url, "count(node_cpu_seconds_total) > 0"])
        .output();
    let output = output.expect("promtool runs");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && printed.contains("=>"),
        "{printed}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let start = Instant::now();
    loop {
        let metadata = chain.weir_connection().get("/api/v1/metadata").expect("an answer").text();
        if metadata.contains("node_cpu_seconds_total") {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "no metadata: {metadata:.300}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn e2e_a_real_prometheus_loses_nothing_while_weir_is_killed() {
    let test = "e2e_a_real_prometheus_loses_nothing_while_weir_is_killed";
    if let Some(obstacle) = obstacle() {
        return xtask::test::skipped(test, &obstacle);
    }
    let mut chain = Chain::start();
    for _ in 0..3 {
        chain.wait_for_up(now_ms() + 1_000);
        chain.weir.kill().expect("killed");
        // Prometheus meets a closed port for a while, and holds on to what it has.
        std::thread::sleep(Duration::from_secs(2));
        chain.weir = chain.home.start().expect("Weir starts again");
    }
    let end = now_ms();
    chain.wait_for_up(end + 3_000);
    let mut samples = 0;
    let start = Instant::now();
    // The newest samples may still be on their way in some of Prometheus' shards.
    let (theirs, ours) = loop {
        let [theirs, ours] = chain.both(end);
        samples = samples.max(theirs.values().map(Vec::len).sum());
        if theirs == ours || start.elapsed() > Duration::from_secs(30) {
            break (theirs, ours);
        }
        std::thread::sleep(Duration::from_millis(500));
    };
    assert!(samples > 5_000, "only {samples} samples were scraped");
    for (series, scraped) in &theirs {
        assert_eq!(Some(scraped), ours.get(series), "{series}");
    }
    assert_eq!(theirs.len(), ours.len(), "series that Prometheus has not got");
    println!("{samples} samples of {} series, the same bits in both, across 3 kills", theirs.len());
}
