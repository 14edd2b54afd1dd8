//! kill -9, again and again.
//!
//! Some of the kills come at a random moment of the load, others at the n-th rename or unlink, where flushes and
//! retention do what cannot be undone, others before the next start is through; and some while a writer does little but
//! delete, or has snapshots made and deleted. After each the ledgers are compared, and the snapshots that were answered
//! are there and whole. What a kill fell into is told by what it left: a start that was not ready, an unfinished
//! snapshot, a delete without an answer, an unfinished block, the last system call that strace saw.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::ledger::Verdict;
use super::snapshots::{self, Snapshot};
use super::weir::{self, Home, SMALL};
use super::writer::{Deletes, Mix, Writer, now_ms};
use crate::load::http::Connection;
use crate::load::mix::Dice;
use crate::load::process::Process;
use crate::run;

/// Two tenants that keep everything, one that is deleted now and then, and one whose samples expire at once, so that
/// retention has work.
const TENANTS: &str = "\
tenants:
  one: {}
  two: {}
  gone: {}
  short:
    limits:
      retention: 1s
";

/// Calls at which files come and go.
const CALLS: &str = "rename,renameat,renameat2,unlink,unlinkat";

/// How the unfinished blocks of merges end.
const MERGED: &str = ".merged.tmp";

/// What writers do besides writing, as a rule.
const MIX: Mix = Mix { deletes: 200, snapshots: 400 };

/// What one does where kills are to fall into deletes.
const DELETING: Mix = Mix { deletes: 2, snapshots: 0 };

/// And where they are to fall into snapshots.
const SNAPSHOTTING: Mix = Mix { deletes: 200, snapshots: 3 };

/// One in so many cycles restores a snapshot, after each kind of kill in turn.
const RESTORED: u64 = 3;

/// From here on every kind of kill must have happened.
const CYCLES_MIN: u64 = 40;

/// What a kill fell into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Ingest,
    Flush,
    Retention,
    Compaction,
    Replay,
    Delete,
    Snapshot,
    SnapshotDelete,
}

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Load {
    /// By all writers that keep everything.
    All,
    /// Only samples that expire at once, so that whole blocks do.
    Expiring,
}

/// What happened in all cycles.
#[derive(Debug, Default)]
pub struct Report {
    cycles: u64,
    kills: [u64; 8],
    requests: u64,
    answered: u64,
    deletes: u64,
    snapshots: u64,
    restored: u64,
    verdict: Verdict,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cycles, kills, requests, answered, deletes, snapshots, restored, verdict } = self;
        let [ingest, flush, retention, compaction, replay, delete, snapshot, snapshot_delete] = kills;
        write!(
            f,
            "torture: {cycles} cycles; kills in ingest {ingest}, flush {flush}, retention {retention}, "
        )?;
        write!(f, "compaction {compaction}, replay {replay}, delete {delete}, snapshot {snapshot}, ")?;
        writeln!(f, "deleting a snapshot {snapshot_delete}")?;
        write!(f, "  {requests} requests with {answered} samples and {deletes} deletes answered 2xx, ")?;
        writeln!(f, "{snapshots} snapshots, {restored} of them restored")?;
        write!(f, "  {verdict}")
    }
}

/// Tortures a binary; fails with the report when anything is not as promised.
pub fn torture(binary: &Path, cycles: u64, seed: u64) -> Result<Report> {
    let directory = tempfile::tempdir()?;
    let config = format!("{SMALL}{TENANTS}");
    let home = Home::new(binary, directory.path(), &directory.path().join("data"), &config);
    let mut rig = Rig::new(home, seed);
    let result = rig.run(cycles);
    let report = rig.report();
    if result.is_err() || !report.verdict.is_clean() {
        // What is left is worth more than the space.
        eprintln!("torture: seed {seed}; data and log stay in {}", directory.keep().display());
    }
    result.with_context(|| format!("seed {seed}\n{report}"))?;
    ensure!(report.verdict.is_clean(), "seed {seed}\n{report}");
    ensure!(
        cycles < CYCLES_MIN || report.kills.iter().all(|&kills| kills > 0),
        "a phase was never hit\n{report}"
    );
    Ok(report)
}

struct Rig {
    home: Home,
    dice: Dice,
    writers: Vec<Writer>,
    present: Writer,
    report: Report,
    strace: bool,
}

impl Rig {
    fn new(home: Home, seed: u64) -> Self {
        let names = [("one", "a"), ("one", "b"), ("gone", "c"), ("two", "d"), ("two", "e"), ("two", "f")];
        let end = now_ms();
        let writer = |(at, (tenant, name)): (usize, &(&str, &str))| {
            let mut writer = Writer::new(tenant, name, seed + at as u64, end);
            writer.mix = MIX;
            writer.deletes = if *tenant == "gone" { Deletes::Tenant } else { Deletes::Series };
            writer
        };
        let writers = names.iter().enumerate().map(writer).collect();
        let present = Writer::of_the_present("short", "g", seed + 100);
        let strace = run::exists("strace");
        Self { home, dice: Dice(seed), writers, present, report: Report::default(), strace }
    }

    fn run(&mut self, cycles: u64) -> Result<()> {
        for cycle in 0..cycles {
            self.report.cycles += 1;
            match cycle % 10 {
                0 | 2 => self.random_kill().context("random kill")?,
                1 | 3 => self.kill_at_call(Load::All).context("kill at a call")?,
                4 => self.kill_at_call(Load::Expiring).context("kill at a call of retention")?,
                5 => self.kill_at_start().context("kill at start")?,
                6 => self.busy(DELETING, |rig| rig.random_kill()).context("kill in a delete")?,
                7 => self
                    .busy(DELETING, |rig| rig.kill_at_call(Load::All))
                    .context("kill at a call of a delete")?,
                8 => self
                    .busy(SNAPSHOTTING, |rig| rig.kill_in_snapshot(Phase::Snapshot))
                    .context("kill in a snapshot")?,
                _ => self
                    .busy(SNAPSHOTTING, |rig| rig.kill_in_snapshot(Phase::SnapshotDelete))
                    .context("kill in the delete of a snapshot")?,
            }
            self.check_snapshots(cycle).context("snapshots")?;
            ensure!(self.report.verdict.is_clean(), "after cycle {cycle}");
        }
        self.last_starts()
    }

    /// Load, and a kill after 5 to 500 ms.
    fn random_kill(&mut self) -> Result<()> {
        let mut process = self.home.start()?;
        self.compare(&process)?;
        let after = Duration::from_millis(5 + self.dice.below(496));
        let mut writers: Vec<&mut Writer> = self.writers.iter_mut().chain([&mut self.present]).collect();
        under_load(&mut writers, &mut process, |process| {
            std::thread::sleep(after);
            kill(process)
        })?;
        self.killed(self.fell_into(self.unfinished_block()));
        Ok(())
    }

    /// Load, and a kill at the n-th rename or unlink.
    fn kill_at_call(&mut self, load: Load) -> Result<()> {
        if !self.strace {
            return self.random_kill();
        }
        let trace = self.home.directory.join("strace");
        let nth = 4 + self.dice.below(24);
        let config = self.home.config.clone();
        if load == Load::Expiring {
            // Blocks that expire would be merged with others first.
            self.home.config = config.replace("compaction_blocks: 2", "compaction_blocks: 1000");
        }
        let spawned = self.home.spawn(&strace(&trace, nth));
        self.home.config = config;
        let mut process = spawned?;
        let ready = self.home.wait_ready(&mut process).is_ok();
        if ready {
            self.settle_snapshots()?;
        }
        // It may be killed meanwhile.
        let compared = ready && self.compare(&process).is_ok();
        if compared {
            let mut writers: Vec<&mut Writer> = match load {
                Load::All => self.writers.iter_mut().collect(),
                Load::Expiring => vec![&mut self.present],
            };
            under_load(&mut writers, &mut process, |process| until_ended(process, Duration::from_secs(6)))?;
        }
        if !process.has_ended() {
            kill_traced(&mut process)?;
        }
        let by_call = match phase_of_call(&fs::read_to_string(&trace)?) {
            None => Phase::Ingest,
            // No whole block expires under this load: the manifests of a delete were counted, which was answered.
            Some(Phase::Retention) if load == Load::All => Phase::Flush,
            Some(phase) => phase,
        };
        self.killed(match (ready, compared) {
            (false, _) => Phase::Replay,
            (true, false) => by_call,
            (true, true) => self.fell_into(by_call),
        });
        Ok(())
    }

    /// One writer does little else for a cycle.
    fn busy(&mut self, mix: Mix, cycle: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let which = self.dice.below(self.writers.len() as u64) as usize;
        self.writers[which].mix = mix;
        let result = cycle(self);
        self.writers[which].mix = MIX;
        result
    }

    /// Load, and a kill while a snapshot is half made or half deleted.
    fn kill_in_snapshot(&mut self, phase: Phase) -> Result<()> {
        let mut process = self.home.start()?;
        self.compare(&process)?;
        let after = Duration::from_micros(self.dice.below(1_000));
        let mut writers: Vec<&mut Writer> = self.writers.iter_mut().collect();
        under_load(&mut writers, &mut process, |process| {
            until_half(&self.home, phase, Duration::from_secs(6));
            std::thread::sleep(after);
            kill(process)
        })?;
        self.killed(self.fell_into(self.unfinished_block()));
        Ok(())
    }

    /// A short load, a kill, and further kills before the next starts are through.
    fn kill_at_start(&mut self) -> Result<()> {
        self.random_kill()?;
        for _ in 0..3 {
            let mut process = self.home.spawn(&[])?;
            let replaying = seen_replaying(&process);
            std::thread::sleep(Duration::from_micros(self.dice.below(2_000)));
            process.kill()?;
            self.killed(if replaying { Phase::Replay } else { Phase::Ingest });
        }
        Ok(())
    }

    /// One of the snapshots is whole, whatever was killed since; now and then one is restored and compared.
    fn check_snapshots(&mut self, cycle: u64) -> Result<()> {
        let whole = snapshots::whole(&self.home);
        if let Some(name) = whole.get(self.dice.below(whole.len().max(1) as u64) as usize) {
            snapshots::verify(&self.home, name)?;
        }
        let kept = self.writers.iter().enumerate().filter(|(_, writer)| writer.snapshot.kept().is_some());
        let kept: Vec<usize> = kept.map(|(at, _)| at).collect();
        if cycle.is_multiple_of(RESTORED)
            && let Some(at) = kept.get(self.dice.below(kept.len().max(1) as u64) as usize)
        {
            self.restore(*at)?;
        }
        Ok(())
    }

    fn restore(&mut self, writer: usize) -> Result<()> {
        self.report.verdict.add(snapshots::restore(&self.home, &mut self.writers[writer])?);
        self.report.restored += 1;
        Ok(())
    }

    /// A start must not change its mind; a stop must leave nothing to do; nothing may have been said in panic.
    fn last_starts(&mut self) -> Result<()> {
        for _ in 0..2 {
            let mut process = self.home.start()?;
            self.compare(&process)?;
            let status = process.stop(Duration::from_secs(30))?;
            ensure!(status.success(), "SIGTERM: {status}");
        }
        for writer in 0..self.writers.len() {
            if let Some(name) = self.writers[writer].snapshot.kept() {
                snapshots::verify(&self.home, name)?;
                self.restore(writer)?;
            }
        }
        self.home.check_log()
    }

    /// What a start leaves of snapshots: whole ones only, and all that were answered.
    fn settle_snapshots(&mut self) -> Result<()> {
        let left = snapshots::unfinished(&self.home);
        ensure!(left.is_empty(), "a start leaves what is unfinished of snapshots: {left:?}");
        let whole = snapshots::whole(&self.home);
        self.writers.iter_mut().try_for_each(|writer| writer.snapshot.settle_by(&whole))
    }

    /// Compares everything with what a process that is ready has.
    fn compare(&mut self, process: &Process) -> Result<()> {
        self.settle_snapshots()?;
        for writer in self.writers.iter_mut().chain([&mut self.present]) {
            let verdict = writer.compare(process.address)?;
            self.report.verdict.add(verdict);
        }
        Ok(())
    }

    fn killed(&mut self, phase: Phase) {
        self.report.kills[phase as usize] += 1;
    }

    /// What a kill under load fell into; `otherwise` when nothing is left of a snapshot and every delete was answered.
    fn fell_into(&self, otherwise: Phase) -> Phase {
        let left = snapshots::unfinished(&self.home);
        let some = |is: fn(&Snapshot, &str) -> bool| {
            self.writers.iter().any(|writer| left.iter().any(|name| is(&writer.snapshot, name)))
        };
        match otherwise {
            _ if some(Snapshot::is_making) => Phase::Snapshot,
            _ if some(Snapshot::is_dropping) => Phase::SnapshotDelete,
            _ if self.writers.iter().any(|writer| writer.ledger.is_deleting()) => Phase::Delete,
            otherwise => otherwise,
        }
    }

    /// What was being written.
    fn unfinished_block(&self) -> Phase {
        let files = self.home.files(".tmp");
        let of_blocks =
            || files.iter().filter(|path| path.parent().is_some_and(|folder| folder.ends_with("blocks")));
        match of_blocks().count() {
            0 => Phase::Ingest,
            _ if of_blocks().any(|path| path.to_string_lossy().ends_with(MERGED)) => Phase::Compaction,
            _ => Phase::Flush,
        }
    }

    fn report(&mut self) -> Report {
        let mut report = std::mem::take(&mut self.report);
        for writer in self.writers.iter().chain([&self.present]) {
            report.requests += writer.requests;
            report.answered += writer.ledger.answered;
            report.deletes += writer.ledger.deletes;
            report.snapshots += writer.snapshots;
        }
        report
    }
}

/// Runs writers until `act` is done with the process.
fn under_load<T>(
    writers: &mut [&mut Writer],
    process: &mut Process,
    act: impl FnOnce(&mut Process) -> Result<T>,
) -> Result<T> {
    let stop = AtomicBool::new(false);
    let address = process.address;
    std::thread::scope(|scope| {
        let running: Vec<_> =
            writers.iter_mut().map(|writer| scope.spawn(|| writer.run(address, &stop))).collect();
        let result = act(process);
        stop.store(true, Ordering::SeqCst);
        for writer in running {
            writer.join().unwrap_or_else(|_| bail!("a writer panicked"))?;
        }
        result
    })
}

/// kill -9 of a process that runs: one that has ended died of something else.
fn kill(process: &mut Process) -> Result<()> {
    if process.has_ended() {
        bail!("it ended by itself: {}", process.wait(Duration::ZERO)?);
    }
    process.kill()
}

/// Waits until the process says that it replays, or that it is through.
fn seen_replaying(process: &Process) -> bool {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(10) {
        let answer =
            Connection::open(process.address, None).and_then(|mut connection| connection.get("/-/ready"));
        match answer {
            Ok(answer) if answer.status == 200 => return false,
            Ok(answer) if answer.text().contains("replaying") => return true,
            _ => std::thread::sleep(Duration::from_micros(200)),
        }
    }
    false
}

/// Waits until something of a snapshot that is being made, or deleted, lies there.
fn until_half(home: &Home, phase: Phase, limit: Duration) {
    let start = Instant::now();
    // What is deleted was whole before.
    let mut whole = BTreeSet::new();
    while start.elapsed() < limit {
        whole.extend(snapshots::whole(home));
        let is_due = |name: &String| whole.contains(name) == (phase == Phase::SnapshotDelete);
        if snapshots::unfinished(home).iter().any(is_due) {
            return;
        }
        std::thread::sleep(Duration::from_micros(50));
    }
}

fn until_ended(process: &mut Process, limit: Duration) -> Result<()> {
    let start = Instant::now();
    while !process.has_ended() && start.elapsed() < limit {
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// strace that sends SIGKILL at the n-th call at which files come and go.
fn strace(trace: &Path, nth: u64) -> Vec<String> {
    let calls: String = CALLS.split(',').map(|call| format!("?{call},")).collect();
    let calls = calls.trim_end_matches(',');
    let inject = format!("inject={calls}:signal=KILL:when={nth}");
    let words = [
        "strace",
        "-f",
        "--seccomp-bpf",
        "-qq",
        "-o",
        &trace.display().to_string(),
        "-e",
        &format!("trace={calls}"),
    ]
    .map(str::to_owned);
    words.into_iter().chain(["-e".to_owned(), inject]).collect()
}

/// Kills what runs under strace, which then ends by itself.
fn kill_traced(process: &mut Process) -> Result<()> {
    let Some(child) = weir::child_of(process.id()) else { return process.kill() };
    std::process::Command::new("kill").args(["-KILL", &child.to_string()]).status()?;
    process.wait(Duration::from_secs(10)).map(|_| ())
}

/// What the last call belongs to; `None` when there was none. A flush renames its block and two manifests; a merge
/// renames blocks and two manifests, then removes blocks; retention renames two manifests and removes blocks. What
/// snapshots do in their own directories says nothing here.
fn phase_of_call(trace: &str) -> Option<Phase> {
    let is_call =
        |line: &&str| (line.contains("rename") || line.contains("unlink")) && !line.contains("/snapshots/");
    let calls: Vec<&str> = trace.lines().filter(is_call).collect();
    let last = calls.last()?;
    let is_block = |line: &str| line.contains(".block\"");
    let of_merge = |line: &str| line.contains(MERGED);
    let (mut manifests, mut merge) = (0, false);
    for call in calls.iter().rev().filter(|call| call.contains("rename")) {
        if is_block(call) {
            merge = of_merge(call);
            break;
        }
        manifests += usize::from(call.contains("manifest"));
    }
    Some(match manifests {
        _ if of_merge(last) => Phase::Compaction,
        // Of the log, or unfinished.
        _ if last.contains("unlink") && !is_block(last) => Phase::Flush,
        0..=2 if merge => Phase::Compaction,
        0..=2 if !last.contains("unlink") => Phase::Flush,
        _ => Phase::Retention,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases() {
        let flush = "7 rename(\"b/1.tmp\", \"b/1.block\") = 0\n";
        let merge = "7 rename(\"b/2.merged.tmp\", \"b/2.block\") = 0\n";
        let manifest = "7 rename(\"manifest.tmp\", \"manifest-0\") = 0\n";
        let removed = "7 unlink(\"b/1.block\") = ?\n";
        let phase = |parts: &[&str]| phase_of_call(&parts.concat());
        assert_eq!(phase(&[]), None);
        assert_eq!(phase(&[flush]), Some(Phase::Flush));
        let in_snapshot = "7 unlink(\"/data/snapshots/a.tmp/blocks/1.block\") = 0\n";
        assert_eq!(phase(&[flush, in_snapshot]), Some(Phase::Flush));
        assert_eq!(phase(&[flush, manifest]), Some(Phase::Flush));
        assert_eq!(phase(&[flush, manifest, manifest]), Some(Phase::Flush));
        assert_eq!(phase(&[flush, manifest, manifest, manifest]), Some(Phase::Retention));
        assert_eq!(phase(&[flush, manifest, manifest, manifest, manifest, removed]), Some(Phase::Retention));
        assert_eq!(phase(&[flush, manifest, "7 unlink(\"w/1.wal\") = 0\n"]), Some(Phase::Flush));
        assert_eq!(phase(&[flush, manifest, merge]), Some(Phase::Compaction));
        assert_eq!(phase(&[merge, manifest]), Some(Phase::Compaction));
        assert_eq!(phase(&[merge, manifest, manifest]), Some(Phase::Compaction));
        assert_eq!(phase(&[merge, manifest, manifest, removed, removed]), Some(Phase::Compaction));
        assert_eq!(phase(&[merge, manifest, manifest, removed, manifest]), Some(Phase::Retention));
        assert_eq!(phase(&[merge, manifest, manifest, removed, flush]), Some(Phase::Flush));
    }
}
