//! The servers that are compared: how each is started, and what its answer to a write means.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::running::Running;
use crate::load::http;
use crate::load::process::Process;
use crate::load::workload::Kind;

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

    /// Why it cannot take samples of a kind.
    pub(crate) fn obstacle(&self, kind: Kind) -> Option<&'static str> {
        let old = "this version has no native histograms: it answers 204 and keeps nothing of them";
        (*self == Self::VictoriaMetrics && kind == Kind::Latencies).then_some(old)
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
                "--enable-feature=native-histograms",
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
        Ok(Running::new(self.clone(), process, directory.join("data"), token))
    }
}

/// Everything at its default.
fn weir_config(data: &Path, address: SocketAddr) -> String {
    format!("data_dir: {}\nlisten: {address}\n", data.display())
}
