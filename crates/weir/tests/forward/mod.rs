//! A Weir that sends on: its home, its outputs' state, and who takes what it sends.
#![allow(dead_code, reason = "each test file uses its part")]

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use xtask::load::http::{Answer, Connection, encoded, free_address};
use xtask::load::process::Process;
use xtask::rig::weir::Home;

/// How long a test waits for what must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// A Weir at an address of its own, which can be killed and started again.
pub(crate) struct Weir {
    pub(crate) home: Home,
    pub(crate) process: Process,
    _directory: tempfile::TempDir,
}

impl Weir {
    /// Without tokens: requests name their tenant in a header.
    pub(crate) fn start(config: &str) -> Self {
        Self::start_at(free_address().expect("an address"), config)
    }

    pub(crate) fn start_at(address: SocketAddr, config: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let data = directory.path().join("data");
        let mut home = Home::new(Path::new(env!("CARGO_BIN_EXE_weir")), directory.path(), &data, config);
        home.address = Some(address);
        let process = home.start().expect("Weir starts");
        Self { home, process, _directory: directory }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.process.address
    }

    pub(crate) fn kill_and_start(&mut self) {
        self.process.kill().expect("it dies");
        self.process = self.home.start().expect("Weir starts again");
    }

    pub(crate) fn get(&self, path: &str, tenant: &str) -> Answer {
        let mut connection = Connection::open_as(self.address(), tenant).expect("Weir answers");
        connection.get(path).expect("an answer")
    }

    /// How an output is.
    pub(crate) fn output(&self, name: &str) -> Value {
        let answer = self.get("/api/v1/status/outputs", "default");
        let json: Value = serde_json::from_slice(&answer.body).expect("JSON");
        let list = json["data"]["outputs"].as_array().expect("outputs").clone();
        list.into_iter().find(|output| output["name"] == name).unwrap_or_else(|| panic!("no {name}: {json}"))
    }

    /// Waits until everything is sent.
    pub(crate) fn wait_sent(&self, name: &str) {
        wait(&format!("{name} has sent everything"), || {
            let output = self.output(name);
            let done = output["lagBytes"] == 0 && output["samplesPending"] == 0;
            if done { Ok(()) } else { Err(format!("{output}\n{}", self.home.printed())) }
        });
    }

    /// The value of a metric of its own, by how its line begins.
    pub(crate) fn own(&self, line: &str) -> Option<f64> {
        let text = self.get("/metrics", "default").text();
        text.lines().find(|found| found.starts_with(line))?.rsplit(' ').next()?.parse().ok()
    }

    /// The values that an expression has now, sorted.
    pub(crate) fn values(&self, tenant: &str, expression: &str) -> Vec<f64> {
        let answer = self.get(&format!("/api/v1/query?query={}", encoded(expression)), tenant);
        let json: Value = serde_json::from_slice(&answer.body).expect("JSON");
        values(&json)
    }
}

/// The values of an answer to a query, sorted.
pub(crate) fn values(json: &Value) -> Vec<f64> {
    let value = |row: &Value| row["value"][1].as_str().and_then(|text| text.parse().ok()).expect("a number");
    let list = json["data"]["result"].as_array().unwrap_or_else(|| panic!("no result: {json}"));
    let mut values: Vec<f64> = list.iter().map(value).collect();
    values.sort_by(f64::total_cmp);
    values
}

/// Waits until `try_it` succeeds; else tells what it said last.
pub(crate) fn wait<T>(what: &str, mut try_it: impl FnMut() -> Result<T, String>) -> T {
    let start = Instant::now();
    loop {
        match try_it() {
            Ok(value) => return value,
            Err(why) => assert!(start.elapsed() < PATIENCE, "{what}: {why}"),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Debian's VictoriaMetrics.
pub(crate) fn victoria_metrics(directory: &Path) -> Process {
    let address = free_address().expect("an address");
    let mut command = Command::new("victoria-metrics");
    command.arg(format!("-storageDataPath={}", directory.join("vm").display()));
    command.arg(format!("-httpListenAddr={address}")).current_dir(directory);
    let mut process = Process::start(command, address, &directory.join("vm.log")).expect("it starts");
    process.wait_ready("/health", Duration::from_secs(30)).expect("it is ready");
    process
}

/// Debian's Prometheus as a receiver.
pub(crate) fn prometheus(directory: &Path) -> Process {
    let address = free_address().expect("an address");
    let path = directory.join("prometheus.yml");
    std::fs::write(&path, "global: {}\n").expect("room");
    let mut command = Command::new("prometheus");
    command.arg(format!("--config.file={}", path.display()));
    command.arg(format!("--storage.tsdb.path={}", directory.join("prometheus").display()));
    command.arg(format!("--web.listen-address={address}")).arg("--web.enable-remote-write-receiver");
    let mut process = Process::start(command, address, &directory.join("prometheus.log")).expect("it starts");
    process.wait_ready("/-/ready", Duration::from_secs(60)).expect("it is ready");
    process
}

/// The values that a Prometheus or VictoriaMetrics has for an expression.
pub(crate) fn asked(process: &Process, expression: &str) -> Vec<f64> {
    let mut connection = Connection::open(process.address, None).expect("it answers");
    let path = format!("/api/v1/query?query={}", encoded(expression));
    let answer = connection.get(&path).expect("an answer");
    values(&serde_json::from_slice(&answer.body).expect("JSON"))
}

/// Sends lines of the text format to a tenant.
pub(crate) fn push(address: SocketAddr, tenant: &str, lines: &str) {
    let mut connection = Connection::open_as(address, tenant).expect("it answers");
    let answer = connection.post("/api/v1/import/prometheus", "", lines.as_bytes()).expect("an answer");
    assert!(answer.is_success(), "{}", answer.text());
}
