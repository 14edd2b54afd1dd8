//! A server that runs: what it is told, and what is read back from it.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::answer;
use super::peer::Peer;
use crate::load::http::{self, Answer, Connection};
use crate::load::process::{self, Process};
use crate::load::sent::{Piece, Samples};
use crate::load::workload::STEP_MS;

/// VictoriaMetrics looks every 5 s for parts in memory that are 5 s old, and begins to write them to the disk.
const PARTS_TO_DISK: Duration = Duration::from_secs(11);

/// How often it is looked whether a merge is still running.
const LOOK: Duration = Duration::from_millis(500);

/// A server that runs.
#[derive(Debug)]
pub(crate) struct Running {
    peer: Peer,
    pub(crate) process: Process,
    /// Its data directory.
    pub(crate) data: PathBuf,
    token: Option<String>,
}

impl Running {
    pub(crate) fn new(peer: Peer, process: Process, data: PathBuf, token: Option<String>) -> Self {
        Self { peer, process, data, token }
    }

    pub(crate) fn connection(&self) -> Result<Connection> {
        Connection::open(self.process.address, self.token.as_deref()).context("connect")
    }

    /// Waits until what was answered can be queried.
    pub(crate) fn show(&self) -> Result<()> {
        if self.peer == Peer::VictoriaMetrics {
            succeeded("force_flush", &self.connection()?.get("/internal/force_flush")?)?;
        }
        Ok(())
    }

    /// Waits until what was answered can be queried and, as far as the server ever does it, is synced.
    pub(crate) fn settle(&self) -> Result<()> {
        self.show()?;
        if self.peer == Peer::VictoriaMetrics {
            std::thread::sleep(PARTS_TO_DISK);
            self.wait_for_merges()?;
        }
        Ok(())
    }

    /// Has what is settled written in the form in which it is kept and found, as the server does it by itself later.
    pub(crate) fn flush(&self) -> Result<()> {
        match self.peer {
            // It has no other form.
            Peer::VictoriaMetrics => Ok(()),
            Peer::Weir(_) | Peer::Prometheus => self.snapshot().map(drop),
        }
    }

    /// Merges everything that the server ever merges; the directory in which the result lies.
    pub(crate) fn merge(&self) -> Result<PathBuf> {
        match self.peer {
            Peer::Weir(_) => {
                succeeded("compact", &self.as_admin()?.post("/api/v1/admin/tsdb/compact", "", b"")?)?;
            }
            Peer::VictoriaMetrics => {
                succeeded("force_merge", &self.connection()?.get("/internal/force_merge")?)?;
                self.wait_for_merges()?;
            }
            // It merges nothing on request; a snapshot is its blocks and one of its head.
            Peer::Prometheus => return self.snapshot(),
        }
        Ok(self.data.clone())
    }

    /// Flushes the head; the snapshot's directory.
    fn snapshot(&self) -> Result<PathBuf> {
        let answer = self.as_admin()?.post("/api/v1/admin/tsdb/snapshot", "", b"")?;
        succeeded("snapshot", &answer)?;
        let json: Value = serde_json::from_slice(&answer.body).with_context(|| answer.text())?;
        let name = json["data"]["name"].as_str().with_context(|| answer.text())?;
        Ok(self.data.join("snapshots").join(name))
    }

    fn as_admin(&self) -> Result<Connection> {
        let token = match self.peer {
            Peer::Weir(_) => Some(fs::read_to_string(self.data.join("admin-api-token"))?),
            _ => None,
        };
        Connection::open(self.process.address, token.as_deref().map(str::trim)).context("connect")
    }

    /// VictoriaMetrics does not tell when it is done: its merges are over when none was running for some looks and the
    /// directory was always the same.
    fn wait_for_merges(&self) -> Result<()> {
        const LOOKS: usize = 3;
        let (mut same, mut before) = (0, u64::MAX);
        while same < LOOKS {
            std::thread::sleep(LOOK);
            let metrics = self.connection()?.get("/metrics")?.text();
            let running: f64 = metrics
                .lines()
                .filter(|line| {
                    line.starts_with("vm_active_force_merges") || line.starts_with("vm_active_merges")
                })
                .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
                .sum();
            let now = process::disk_bytes(&self.data);
            same = if running == 0.0 && now == before { same + 1 } else { 0 };
            before = now;
        }
        Ok(())
    }

    /// Asks an expression at one time.
    pub(crate) fn instant(&self, query: &str, ms: i64) -> Result<Answer> {
        let target =
            format!("/api/v1/query?time={}&nocache=1&query={}", ms as f64 / 1e3, http::encoded(query));
        self.connection()?.get(&target).context("query")
    }

    /// The number that an expression gives at one time; 0 when it gives none.
    pub(crate) fn number(&self, query: &str, ms: i64) -> Result<f64> {
        let answer = self.instant(query, ms)?;
        let json: Value = serde_json::from_slice(&answer.body).with_context(|| answer.text())?;
        if json["status"] != "success" {
            bail!("{}: {}", self.peer.name(), answer.text());
        }
        Ok(json["data"]["result"][0]["value"][1].as_str().unwrap_or("0").parse()?)
    }

    /// Samples of a job that can be queried between two timestamps, both included.
    pub(crate) fn count(&self, job: &str, first_ms: i64, last_ms: i64) -> Result<u64> {
        let mut total = 0;
        // By the hour, so that no server's limit on samples in one query is met.
        let mut end = last_ms;
        while end >= first_ms {
            let start = (end - 3_600_000).max(first_ms - STEP_MS);
            let query = format!("sum(count_over_time({{job=\"{job}\"}}[{}]))", window(start, end));
            total += self.number(&query, end)? as u64;
            end = start;
        }
        Ok(total)
    }

    /// Counts until everything is there, at most half a minute.
    pub(crate) fn count_when_visible(
        &self,
        job: &str,
        first_ms: i64,
        last_ms: i64,
        expected: u64,
    ) -> Result<u64> {
        let start = Instant::now();
        loop {
            let found = self.count(job, first_ms, last_ms)?;
            if found >= expected || start.elapsed() > Duration::from_secs(30) {
                return Ok(found);
            }
            eprintln!("    {found} of {expected} visible after {:.1} s", start.elapsed().as_secs_f64());
        }
    }

    /// Everything that it has of a piece's series in the piece's time.
    pub(crate) fn read(&self, piece: &Piece) -> Result<Samples> {
        let (selector, first, last) = (&piece.selector, piece.first_ms, piece.last_ms);
        if self.peer == Peer::VictoriaMetrics {
            let (match_, start, end) = (http::encoded(selector), first / 1_000 - 1, last / 1_000 + 1);
            let target = format!("/api/v1/export?match%5B%5D={match_}&start={start}&end={end}");
            return answer::exported(&self.connection()?.get(&target)?);
        }
        let range = format!("{selector}[{}]", window(first - STEP_MS, last));
        answer::samples(&self.instant(&range, last)?)
    }
}

/// The window that ends at `end` and begins behind `start`, both timestamps of samples.
///
/// VictoriaMetrics, Weir and Prometheus 3 leave a window's left edge out, Prometheus 2 takes it in: a window that is a
/// second short at the left never has a sample there.
fn window(start_ms: i64, end_ms: i64) -> String {
    format!("{}s", ((end_ms - start_ms) / 1_000 - 1).max(1))
}

fn succeeded(what: &str, answer: &Answer) -> Result<()> {
    ensure!(answer.is_success(), "{what}: status {}: {}", answer.status, answer.text());
    Ok(())
}
