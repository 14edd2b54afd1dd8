//! The servers that are compared: how each is started, written to, asked, and when its data is safe.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::load::http::{self, Connection};
use crate::load::mix::STEP_MS;
use crate::load::process::{self, Process};

/// A server that takes remote write and answers PromQL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// Weir: the path of its binary.
    Weir(PathBuf),
    /// Debian's victoria-metrics.
    VictoriaMetrics,
    /// Debian's prometheus.
    Prometheus,
}

impl Peer {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Weir(_) => "Weir",
            Self::VictoriaMetrics => "VictoriaMetrics",
            Self::Prometheus => "Prometheus",
        }
    }

    /// Connections that write at once. Prometheus refuses samples that arrive out of order across connections.
    pub(crate) fn connections(&self) -> usize {
        if *self == Self::Prometheus { 1 } else { 2 }
    }

    /// What an answered write means.
    pub(crate) fn durability(&self) -> &'static str {
        match self {
            Self::Weir(_) => "fdatasync before the answer",
            Self::VictoriaMetrics => "in memory at the answer, on disk some seconds later",
            Self::Prometheus => "written to the log at the answer, not synced",
        }
    }

    fn ready_path(&self) -> &'static str {
        match self {
            Self::VictoriaMetrics => "/health",
            _ => "/-/ready",
        }
    }

    /// The command line, data in `directory`.
    fn command(&self, directory: &Path, address: SocketAddr) -> Result<Command> {
        let data = directory.join("data");
        fs::create_dir_all(&data)?;
        let mut command = match self {
            Self::Weir(binary) => {
                let config = directory.join("weir.yaml");
                fs::write(&config, weir_config(&data, address))?;
                let mut command = Command::new(binary);
                command.arg("serve").arg("--config").arg(config);
                command
            }
            Self::VictoriaMetrics => {
                let mut command = Command::new("victoria-metrics");
                command.args(Self::VictoriaMetrics.flags());
                command.arg(format!("-storageDataPath={}", data.display()));
                command.arg(format!("-httpListenAddr={address}"));
                command
            }
            Self::Prometheus => {
                let config = directory.join("prometheus.yml");
                fs::write(&config, "global: {}\n")?;
                let mut command = Command::new("prometheus");
                command.args(Self::Prometheus.flags());
                command.arg(format!("--config.file={}", config.display()));
                command.arg(format!("--storage.tsdb.path={}", data.display()));
                command.arg(format!("--web.listen-address={address}"));
                command
            }
        };
        command.current_dir(directory);
        Ok(command)
    }

    /// Flags that matter to the figures; paths and ports aside.
    pub(crate) fn flags(&self) -> &'static [&'static str] {
        match self {
            Self::Weir(_) => &[],
            Self::VictoriaMetrics => &[
                "-retentionPeriod=100y",
                "-search.disableCache",
                "-search.latencyOffset=0s",
                "-search.maxUniqueTimeseries=5000000",
                "-search.maxQueryDuration=300s",
            ],
            Self::Prometheus => &[
                "--web.enable-remote-write-receiver",
                "--storage.tsdb.retention.time=100y",
                "--query.max-samples=200000000",
                "--query.timeout=5m",
                "--web.enable-admin-api",
                "--log.level=warn",
            ],
        }
    }

    /// The version that it prints.
    pub(crate) fn version(&self) -> String {
        let (program, flag) = match self {
            Self::Weir(binary) => (binary.as_path(), "--version"),
            Self::VictoriaMetrics => (Path::new("dpkg-query"), "-W"),
            Self::Prometheus => (Path::new("prometheus"), "--version"),
        };
        let mut command = Command::new(program);
        command.arg(flag);
        if *self == Self::VictoriaMetrics {
            // Debian's build carries no version of its own.
            command.arg("victoria-metrics");
        }
        let output =
            command.output().map(|output| [output.stdout, output.stderr].concat()).unwrap_or_default();
        String::from_utf8_lossy(&output).lines().next().unwrap_or("unknown").replace('\t', " ")
    }

    /// Starts it on what `directory` holds and waits until it answers.
    pub(crate) fn start(&self, directory: &Path) -> Result<Running> {
        let address = http::free_address()?;
        let command = self.command(directory, address)?;
        let log = directory.join("log");
        let mut process = Process::start(command, address, &log)?;
        if let Err(error) = process.wait_ready(self.ready_path(), Duration::from_secs(120)) {
            bail!("{}: {error}\n{}", self.name(), fs::read_to_string(&log).unwrap_or_default());
        }
        let token = match self {
            Self::Weir(_) => {
                let file = directory.join("data/tenant-api-token-default");
                Some(fs::read_to_string(file).context("read Weir's token")?.trim().to_owned())
            }
            _ => None,
        };
        Ok(Running { peer: self.clone(), process, token })
    }
}

/// Bytes of a data directory by what they are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Parts {
    /// Samples.
    pub(crate) data: u64,
    /// What finds them.
    pub(crate) index: u64,
    /// Logs.
    pub(crate) log: u64,
}

impl Peer {
    /// What a data directory, or what [`Running::merge`] gave, consists of.
    pub(crate) fn parts(&self, data: &Path) -> Result<Parts> {
        let bytes = |name: &str| process::disk_bytes(&data.join(name));
        let mut parts = Parts::default();
        match self {
            Self::Weir(_) => {
                parts.log = bytes("wal");
                for entry in fs::read_dir(data.join("blocks"))? {
                    let (samples, other) = weir_block(&fs::read(entry?.path())?);
                    parts.data += samples;
                    parts.index += other;
                }
            }
            Self::VictoriaMetrics => {
                parts = Parts { data: bytes("data"), index: bytes("indexdb"), log: 0 };
            }
            Self::Prometheus => {
                parts.log = bytes("wal") + bytes("chunks_head");
                for entry in fs::read_dir(data)? {
                    let block = entry?.path();
                    parts.data += process::disk_bytes(&block.join("chunks"));
                    parts.index += fs::metadata(block.join("index")).map_or(0, |index| index.len());
                }
            }
        }
        Ok(parts)
    }
}

/// Bytes of chunk pages, and of everything else, in one of Weir's blocks (FORMAT.md, Blocks).
fn weir_block(bytes: &[u8]) -> (u64, u64) {
    const HEADER: usize = 48;
    const CHUNKS: u32 = 1;
    let number =
        |at: usize| bytes.get(at..at + 4).map(|b| u32::from_le_bytes(b.try_into().unwrap_or_default()));
    let (mut at, mut samples) = (HEADER, 0);
    while let (Some(length), Some(kind)) = (number(at + 4), number(at + 8)) {
        let page = HEADER + length as usize;
        // The last 48 bytes are the footer, which is no page.
        if at + page + HEADER > bytes.len() {
            break;
        }
        if kind == CHUNKS {
            samples += page as u64;
        }
        at += page;
    }
    (samples, bytes.len() as u64 - samples)
}

/// Everything at its default, except the limits that a benchmark of one tenant runs into.
fn weir_config(data: &Path, address: SocketAddr) -> String {
    format!("data_dir: {}\nlisten: {address}\n", data.display())
}

/// A server that runs.
#[derive(Debug)]
pub(crate) struct Running {
    peer: Peer,
    pub(crate) process: Process,
    token: Option<String>,
}

impl Running {
    pub(crate) fn connection(&self) -> Result<Connection> {
        Connection::open(self.process.address, self.token.as_deref()).context("connect")
    }

    /// Waits until what was answered is queryable and, as far as the server ever does it, synced.
    pub(crate) fn settle(&self) -> Result<()> {
        if self.peer == Peer::VictoriaMetrics {
            let answer = self.connection()?.get("/internal/force_flush")?;
            anyhow::ensure!(answer.is_success(), "force_flush: {}", answer.text());
            // Its parts in memory go to disk within 5 s.
            std::thread::sleep(Duration::from_secs(6));
        }
        Ok(())
    }

    /// Merges everything that the server ever merges; the directory in which the result lies.
    pub(crate) fn merge(&self, data: &Path) -> Result<PathBuf> {
        match self.peer {
            Peer::Weir(_) => {
                let token = fs::read_to_string(data.join("admin-api-token"))?;
                let mut connection = Connection::open(self.process.address, Some(token.trim()))?;
                let answer = connection.post("/api/v1/admin/tsdb/compact", "", b"")?;
                anyhow::ensure!(answer.is_success(), "compact: {}", answer.text());
            }
            Peer::VictoriaMetrics => {
                let answer = self.connection()?.get("/internal/force_merge")?;
                anyhow::ensure!(answer.is_success(), "force_merge: {}", answer.text());
                // It answers before it is done.
                let mut before = u64::MAX;
                while process::disk_bytes(data) != before {
                    before = process::disk_bytes(data);
                    std::thread::sleep(Duration::from_secs(5));
                }
            }
            Peer::Prometheus => {
                let answer = self.connection()?.post("/api/v1/admin/tsdb/snapshot", "", b"")?;
                let json: Value = serde_json::from_slice(&answer.body).with_context(|| answer.text())?;
                let name = json["data"]["name"].as_str().with_context(|| answer.text())?.to_owned();
                return Ok(data.join("snapshots").join(name));
            }
        }
        Ok(data.to_owned())
    }

    /// Asks an expression at one time, whatever the answer.
    pub(crate) fn instant(&self, query: &str, ms: i64) -> Result<()> {
        let target = format!("/api/v1/query?time={}&query={}", ms as f64 / 1e3, http::encoded(query));
        self.connection()?.get(&target).map(drop).context("query")
    }

    /// Samples that can be queried between two timestamps, both included.
    pub(crate) fn count(&self, first_ms: i64, last_ms: i64) -> Result<u64> {
        let mut total = 0;
        // By the hour, so that no server's limit on samples in one query is met.
        let mut end = last_ms;
        while end >= first_ms {
            let start = (end - 3_600_000).max(first_ms - STEP_MS);
            total += self.count_window((end - start) / 1_000, end)?;
            end = start;
        }
        Ok(total)
    }

    fn count_window(&self, seconds: i64, end_ms: i64) -> Result<u64> {
        // VictoriaMetrics and Prometheus 3 leave the window's left edge out, Prometheus 2 takes it in: timestamps
        // are multiples of 15 s, so a window that is a second short at the left never holds the edge.
        let window = (seconds - 1).max(1);
        let query = format!("sum(count_over_time({{job=\"node_exporter\"}}[{window}s]))");
        let target = format!("/api/v1/query?time={}&query={}", end_ms as f64 / 1e3, http::encoded(&query));
        let answer = self.connection()?.get(&target)?;
        let json: Value = serde_json::from_slice(&answer.body).with_context(|| answer.text())?;
        if json["status"] != "success" {
            bail!("{}: {}", self.peer.name(), answer.text());
        }
        let value = json["data"]["result"][0]["value"][1].as_str().unwrap_or("0");
        Ok(value.parse::<f64>()? as u64)
    }
}
