//! The binary under test, its configuration and its data directory.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::load::http::{self, Connection};
use crate::load::process::Process;

/// Longest wait for a start.
const READY: Duration = Duration::from_secs(60);

/// Where a Weir lives between its starts.
#[derive(Debug)]
pub struct Home {
    /// The binary.
    pub binary: PathBuf,
    /// Holds the configuration and the log.
    pub directory: PathBuf,
    /// Holds what Weir stores.
    pub data: PathBuf,
    /// Further lines of `weir.yaml`.
    pub config: String,
    /// Where it listens; `None` = somewhere else at each start.
    pub address: Option<SocketAddr>,
}

/// Sizes at which every second brings flushes, new segments and trimming. Requests name their tenant in a header, so
/// that rigs need no tokens.
pub const SMALL: &str = "\
auth: off
log:
  level: debug
storage:
  flush_bytes: 64KiB
  flush_interval: 100ms
  segment_bytes: 256KiB
  compaction_blocks: 2
  retention_confirm: 0s
  disk_reserve_bytes: 1MiB
self_monitoring:
  interval: 0s
";

impl Home {
    /// A home in `directory`, data in `data`.
    pub fn new(binary: &Path, directory: &Path, data: &Path, config: &str) -> Self {
        let (binary, directory, data) = (binary.to_path_buf(), directory.to_path_buf(), data.to_path_buf());
        Self { binary, directory, data, config: config.to_owned(), address: None }
    }

    /// The token of the tenant `default`, once it has started.
    pub fn token(&self) -> String {
        let text = fs::read_to_string(self.data.join("tenant-api-token-default")).expect("a token");
        text.trim().to_owned()
    }

    /// The file that takes what Weir prints.
    pub fn log(&self) -> PathBuf {
        self.directory.join("log")
    }

    /// What Weir has printed so far.
    pub fn printed(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// Starts it and waits until it is ready.
    pub fn start(&self) -> Result<Process> {
        let mut process = self.spawn(&[])?;
        self.wait_ready(&mut process)?;
        Ok(process)
    }

    /// Waits until it is ready; a failure tells what it printed.
    pub fn wait_ready(&self, process: &mut Process) -> Result<Duration> {
        let ready = process.wait_ready("/-/ready", READY);
        ready.with_context(|| format!("its last words:\n{}", last_lines(&self.printed(), 30)))
    }

    /// Starts it, under `wrapper` (a command line that takes another as its last arguments) when that is not empty.
    pub fn spawn(&self, wrapper: &[String]) -> Result<Process> {
        let address = self.address.map_or_else(http::free_address, Ok)?;
        let config = self.directory.join("weir.yaml");
        let head = format!("data_dir: {}\nlisten: {address}\n", self.data.display());
        fs::write(&config, head + &self.config)?;
        let serve = ["serve".to_owned(), "--config".to_owned(), config.display().to_string()];
        let mut command = match wrapper {
            [] => Command::new(&self.binary),
            [program, arguments @ ..] => {
                let mut command = Command::new(program);
                command.args(arguments).arg(&self.binary);
                command
            }
        };
        command.args(serve).current_dir(&self.directory);
        Process::start(command, address, &self.log())
    }

    /// Fails when it ever panicked or found damage that nobody did.
    pub fn check_log(&self) -> Result<()> {
        let printed = self.printed();
        let bad = ["panicked", "goes to quarantine", "are in quarantine"];
        if let Some(line) = printed.lines().find(|line| bad.iter().any(|word| line.contains(word))) {
            bail!("Weir printed: {line}");
        }
        Ok(())
    }

    /// Paths of the files under its data directory whose names end so.
    pub fn files(&self, ending: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut pending = vec![self.data.clone()];
        while let Some(directory) = pending.pop() {
            for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    pending.push(path);
                } else if path.to_string_lossy().ends_with(ending) {
                    found.push(path);
                }
            }
        }
        found
    }
}

/// A connection as a tenant.
pub fn connect(address: SocketAddr, tenant: &str) -> std::io::Result<Connection> {
    Connection::open_as(address, tenant)
}

/// The process that runs under a wrapper: its first child.
pub fn child_of(wrapper: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{wrapper}/task/{wrapper}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}
