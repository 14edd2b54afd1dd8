//! `cargo xtask bench tenants`: what nothing costs, what ten thousand idle tenants cost, and what they cost when each
//! sends ten series every ten seconds.
//!
//! Only Weir: neither peer has tenants on one machine. Each tenant sends a request of its own, evenly spread over the ten
//! seconds. Syncs of a flush are counted by `strace`, new files by their names.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::session::{self, Plan, Profile, now_ms};
use crate::load::http::{self, Connection};
use crate::load::process::Process;
use crate::load::remote_write::{self, Body};
use crate::repo::Repo;
use crate::run;

const ABOUT: &str = "\
Weir alone, since neither peer has tenants on one machine. Each tenant sends requests of its own, evenly spread.";

const TENANTS: usize = 10_000;
const SERIES: usize = 10;
const EVERY: Duration = Duration::from_secs(10);
/// How long they send.
const ROUNDS: u32 = 6;
const CONNECTIONS: usize = 4;
const READY: Duration = Duration::from_secs(60);

/// Runs and prints.
pub fn tenants(repo: &Repo, plan: &Plan) -> Result<()> {
    if cfg!(debug_assertions) && !plan.smoke {
        return session::again_optimised(repo);
    }
    let binary = session::built(repo, if plan.smoke { Profile::Debug } else { Profile::Release })?;
    let (count, every) = if plan.smoke { (100, Duration::from_millis(200)) } else { (TENANTS, EVERY) };
    let plan = &Plan { runs: 1, workloads: Vec::new(), servers: Vec::new(), ..plan.clone() };
    session::heading(repo, "tenants", ABOUT, &[], plan)?;
    let mut text = String::new();

    let empty = tempfile::tempdir()?;
    let (server, ready) = start(&binary, empty.path(), 0)?;
    plan.wait(5);
    let rss = server.memory_bytes("VmRSS")? as f64 / 1e6;
    let _ = writeln!(text, "- empty: ready after {:.0} ms, RSS {rss:.1} MB", ready.as_secs_f64() * 1e3);
    drop(server);

    let directory = tempfile::tempdir()?;
    drop(start(&binary, directory.path(), count)?);
    let (server, ready) = start(&binary, directory.path(), count)?;
    plan.wait(5);
    let idle = server.memory_bytes("VmRSS")? as f64 / 1e6;
    let _ = writeln!(
        text,
        "- {count} idle tenants: ready after {:.0} ms, RSS {idle:.1} MB ({:.1} more), {} open files",
        ready.as_secs_f64() * 1e3,
        idle - rss,
        server.open_files()?,
    );

    // One round makes the series; the others are measured.
    send(&server, count, every, 1)?;
    let (cpu, begun) = (server.cpu_seconds()?, Instant::now());
    send(&server, count, every, ROUNDS)?;
    flush_now(&server, directory.path())?;
    let took = begun.elapsed().as_secs_f64();
    let share = (server.cpu_seconds()? - cpu) / took;
    let _ = writeln!(
        text,
        "- {count} tenants with {SERIES} series each, a request of each every {} s: {:.1} % of a core over {took:.0} s with \
         one flush (a snapshot's; by itself there is one in some minutes) and no merge (`compaction_blocks: 1000`), RSS \
         {:.0} MB, {} open files",
        every.as_secs_f64(),
        share * 100.0,
        server.memory_bytes("VmRSS")? as f64 / 1e6,
        server.open_files()?,
    );
    // For the flush of the stop.
    send(&server, count, every, 1)?;
    text.push_str(&stop(&server, directory.path())?);
    plan.publish(&text)
}

fn start(binary: &Path, directory: &Path, tenants: usize) -> Result<(Process, Duration)> {
    let (address, data) = (http::free_address()?, directory.join("data"));
    let mut config = format!("data_dir: {}\nlisten: {address}\n", data.display());
    if tenants > 0 {
        // The header picks the tenant; a merge would hide what a flush writes.
        config.push_str("auth: off\nstorage:\n  compaction_blocks: 1000\ntenants:\n");
        (0..tenants).for_each(|tenant| config.push_str(&format!("  t{tenant}: {{}}\n")));
    }
    let file = directory.join("weir.yaml");
    fs::write(&file, config)?;
    let mut command = Command::new(binary);
    command.arg("serve").arg("--config").arg(file);
    let log = directory.join("log");
    let mut server = Process::start(command, address, &log)?;
    let ready =
        server.wait_ready("/-/ready", READY).with_context(|| fs::read_to_string(&log).unwrap_or_default())?;
    Ok((server, ready))
}

/// Every tenant sends one sample of each of its series, so many times.
fn send(server: &Process, tenants: usize, every: Duration, rounds: u32) -> Result<()> {
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let senders: Vec<_> = (0..CONNECTIONS)
            .map(|nth| scope.spawn(move || send_share(server, nth, tenants, every, rounds, begun)))
            .collect();
        senders.into_iter().try_for_each(|sender| sender.join().expect("a sender panicked"))
    })
}

fn send_share(
    server: &Process,
    nth: usize,
    tenants: usize,
    every: Duration,
    rounds: u32,
    begun: Instant,
) -> Result<()> {
    let mut connection = Connection::open(server.address, None)?;
    let mut body = Body::default();
    for round in 0..rounds {
        for tenant in (nth..tenants).step_by(CONNECTIONS) {
            let due = every * round + every.mul_f64(tenant as f64 / tenants as f64);
            std::thread::sleep(due.saturating_sub(begun.elapsed()));
            body.clear();
            for series in 0..SERIES {
                let (name, host) = (format!("metric_{series}"), format!("host-{tenant}"));
                let labels = remote_write::labels(&[("__name__", &name), ("instance", &host)]);
                body.series(&labels, &[(now_ms(), f64::from(round) + series as f64)]);
            }
            let headers = format!("{}X-Scope-OrgID: t{tenant}\r\n", remote_write::HEADERS);
            let answer = connection.post("/api/v1/write", &headers, &body.packed())?;
            ensure!(answer.is_success(), "status {}: {}", answer.status, answer.text());
        }
    }
    Ok(())
}

/// Writes the head to a block, as a snapshot does before anything else.
fn flush_now(server: &Process, directory: &Path) -> Result<()> {
    let blocks = Names::of(directory, "blocks");
    let answer = Connection::open(server.address, None)?.post("/api/v1/admin/tsdb/snapshot", "", b"")?;
    ensure!(answer.is_success(), "snapshot: status {}: {}", answer.status, answer.text());
    ensure!(blocks.added() == 1, "a flush makes one block, not {}", blocks.added());
    Ok(())
}

/// What a stop does to the disk, with its flush of all tenants' samples.
fn stop(server: &Process, directory: &Path) -> Result<String> {
    if !run::exists("strace") {
        return Ok("- SKIPPED syncs of a flush: strace is not installed\n".to_owned());
    }
    let (blocks, log) = (Names::of(directory, "blocks"), Names::of(directory, "wal/metrics"));
    let traced = directory.join("trace");
    let id = server.id().to_string();
    let mut strace = Command::new("strace")
        .args(["-f", "-e", "trace=fsync,fdatasync,openat", "-o"])
        .arg(&traced)
        .args(["-p", &id])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    // A stop flushes; the lock and the log's last sync are part of it.
    let begun = Instant::now();
    while !traced.exists() && begun.elapsed() < READY {
        std::thread::sleep(Duration::from_millis(10));
    }
    std::thread::sleep(Duration::from_millis(500));
    Command::new("kill").args(["-TERM", &id]).status()?;
    strace.wait()?;
    let text = fs::read_to_string(&traced)?;
    let syncs = text.lines().filter(|line| line.contains("sync(")).count();
    Ok(format!(
        "- stop with its flush: {syncs} syncs, {} new blocks, {} new log segments\n",
        blocks.added(),
        log.added()
    ))
}

/// The names in a folder, as they were.
struct Names {
    folder: PathBuf,
    then: BTreeSet<OsString>,
}

impl Names {
    fn of(directory: &Path, folder: &str) -> Self {
        let folder = directory.join("data").join(folder);
        Self { then: names(&folder), folder }
    }

    /// How many there are that were not there: counts would not tell one that came from one that went.
    fn added(&self) -> usize {
        names(&self.folder).difference(&self.then).count()
    }
}

fn names(folder: &Path) -> BTreeSet<OsString> {
    fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.file_name())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_came_as_another_went_is_new() {
        let directory = tempfile::tempdir().expect("a directory");
        let blocks = directory.path().join("data/blocks");
        fs::create_dir_all(&blocks).expect("made");
        fs::write(blocks.join("1"), "").expect("written");
        let before = Names::of(directory.path(), "blocks");
        assert_eq!(before.added(), 0);
        fs::write(blocks.join("2"), "").expect("written");
        fs::remove_file(blocks.join("1")).expect("removed");
        assert_eq!(before.added(), 1);
    }
}
