//! Power cuts: the binary on a file system of its own, which stops writing in the middle of the load.
//!
//! The shutdown call leaves the file system as a power cut would: what was synced is there after a remount, what was
//! only written is not. The rig proves its own teeth: with `fdatasync` and `fsync` made to do nothing it must find
//! losses.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::ledger::Verdict;
use super::mount::{FileSystem, Mount};
use super::weir::{self, Home, SMALL};
use super::writer::{Writer, now_ms};
use crate::load::mix::Dice;

const TENANTS: &str = "tenants:\n  one: {}\n  two: {}\n";

/// What happened in all cycles.
#[derive(Debug)]
pub struct Report {
    file_system: &'static str,
    cycles: u64,
    requests: u64,
    answered: u64,
    verdict: Verdict,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file_system, cycles, requests, answered, verdict } = self;
        write!(
            f,
            "power cut on {file_system}: {cycles} cuts; {requests} requests with {answered} samples answered 2xx; {verdict}"
        )
    }
}

/// Whether the binary's syncs reach the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syncs {
    /// As they are.
    Real,
    /// Answered, not done: the rig must find losses.
    Pretended,
}

/// Cuts the power `cycles` times and compares after each; the report tells what was found, good or bad.
pub fn powercut(binary: &Path, kind: FileSystem, cycles: u64, seed: u64, syncs: Syncs) -> Result<Report> {
    let directory = tempfile::tempdir()?;
    let mount = Mount::create(kind, directory.path())?;
    let config = format!("{SMALL}{TENANTS}");
    let home = Home::new(binary, directory.path(), &mount.root.join("data"), &config);
    let mut dice = Dice(seed);
    let end = now_ms();
    let writer =
        |(at, (tenant, name)): (usize, (&str, &str))| Writer::new(tenant, name, seed + at as u64, end);
    let names = [("one", "a"), ("one", "b"), ("two", "c"), ("two", "d")];
    let mut writers: Vec<Writer> = names.into_iter().enumerate().map(writer).collect();
    let mut verdict = Verdict::default();
    let mut done = 0;
    for _ in 0..cycles {
        cycle(&home, &mount, &mut writers, &mut verdict, Duration::from_millis(5 + dice.below(400)), syncs)
            .with_context(|| format!("seed {seed}, cycle {done}\n{}", home.printed()))?;
        done += 1;
        if !verdict.is_clean() {
            eprintln!("{}", home.printed());
            break;
        }
    }
    if verdict.is_clean() {
        verdict.add(compare(&home, &mut writers)?);
        home.check_log_of_cuts()?;
    }
    let requests = writers.iter().map(|writer| writer.requests).sum();
    let answered = writers.iter().map(|writer| writer.ledger.answered).sum();
    Ok(Report { file_system: kind.name(), cycles: done, requests, answered, verdict })
}

impl Report {
    /// Fails with the report when anything was lost, altered or made up.
    pub fn check(self) -> Result<Self> {
        ensure!(self.verdict.is_clean(), "{self}");
        Ok(self)
    }

    /// Samples answered and gone.
    pub fn lost(&self) -> u64 {
        self.verdict.lost
    }
}

impl Home {
    /// A cut ends in I/O errors, never in panic.
    fn check_log_of_cuts(&self) -> Result<()> {
        let printed = self.printed();
        let panic = printed.lines().find(|line| line.contains("panicked"));
        panic.map_or(Ok(()), |line| bail!("Weir printed: {line}"))
    }
}

fn cycle(
    home: &Home,
    mount: &Mount,
    writers: &mut [Writer],
    verdict: &mut Verdict,
    load: Duration,
    syncs: Syncs,
) -> Result<()> {
    let mut process = home.spawn(&wrapper(syncs))?;
    home.wait_ready(&mut process)?;
    for writer in writers.iter_mut() {
        verdict.add(writer.compare(process.address)?);
    }
    let stop = AtomicBool::new(false);
    let address = process.address;
    std::thread::scope(|scope| -> Result<()> {
        let running: Vec<_> =
            writers.iter_mut().map(|writer| scope.spawn(|| writer.run(address, &stop))).collect();
        std::thread::sleep(load);
        // Every answer counts, also one that arrives while the power goes: an honest one was synced before.
        let cut = mount.cut();
        std::thread::sleep(Duration::from_millis(20));
        stop.store(true, Ordering::SeqCst);
        if let Some(child) = weir::child_of(process.id()).filter(|_| syncs == Syncs::Pretended) {
            std::process::Command::new("kill").args(["-KILL", &child.to_string()]).status()?;
            process.wait(Duration::from_secs(10))?;
        } else {
            process.kill()?;
        }
        for writer in running {
            writer.join().unwrap_or_else(|_| bail!("a writer panicked"))?;
        }
        cut
    })?;
    mount.reboot()
}

fn wrapper(syncs: Syncs) -> Vec<String> {
    match syncs {
        Syncs::Real => Vec::new(),
        Syncs::Pretended => {
            let words = "strace -f --seccomp-bpf -qq -o /dev/null -e trace=fdatasync,fsync -e inject=fdatasync,fsync:retval=0";
            words.split(' ').map(str::to_owned).collect()
        }
    }
}

fn compare(home: &Home, writers: &mut [Writer]) -> Result<Verdict> {
    let process = home.start()?;
    let mut verdict = Verdict::default();
    for writer in writers {
        verdict.add(writer.compare(process.address)?);
    }
    Ok(verdict)
}
