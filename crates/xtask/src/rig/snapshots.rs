//! The snapshot of a writer: made, kept, dropped, and compared with what its writer was answered before.
//!
//! A writer asks for nothing else meanwhile, so what must be in its snapshot is its ledger as it was, exactly, whatever
//! others write.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::ledger::{Ledger, Verdict};
use super::weir::Home;
use super::writer::Writer;

/// A snapshot and what must be in it.
#[derive(Debug)]
pub struct Kept {
    /// Its name.
    pub name: String,
    /// Its writer's, as it was when it was asked for.
    pub ledger: Ledger,
}

/// Where a writer's snapshot stands.
#[derive(Debug, Default)]
pub enum Snapshot {
    /// There is none.
    #[default]
    None,
    /// It was asked for, and there is no answer: it is there whole or not at all.
    Making(Kept),
    /// It was answered.
    Kept(Kept),
    /// It is to be deleted, and there is no answer: whole or not at all.
    Dropping(Kept),
}

impl Snapshot {
    /// What was open is known now: whether it is there.
    pub fn settle(&mut self, is_there: bool) {
        *self = match std::mem::take(self) {
            Self::Making(kept) | Self::Kept(kept) | Self::Dropping(kept) if is_there => Self::Kept(kept),
            _ => Self::None,
        };
    }

    /// Those are there after a start: one that was answered must be among them.
    pub fn settle_by(&mut self, whole: &[String]) -> Result<()> {
        let is_there = |kept: &Kept| whole.contains(&kept.name);
        match self {
            Self::None => {}
            Self::Kept(kept) => ensure!(is_there(kept), "snapshot {} is gone", kept.name),
            Self::Making(kept) | Self::Dropping(kept) => {
                let is_there = is_there(kept);
                self.settle(is_there);
            }
        }
        Ok(())
    }

    /// Whether it is being made, and has this name.
    pub fn is_making(&self, name: &str) -> bool {
        matches!(self, Self::Making(kept) if kept.name == name)
    }

    /// Whether it is being deleted, and has this name.
    pub fn is_dropping(&self, name: &str) -> bool {
        matches!(self, Self::Dropping(kept) if kept.name == name)
    }

    /// The one that must be there.
    pub fn kept(&self) -> Option<&str> {
        match self {
            Self::Kept(kept) => Some(&kept.name),
            Self::None | Self::Making(_) | Self::Dropping(_) => None,
        }
    }
}

/// What is left of snapshots that were being made or deleted: their names.
pub fn unfinished(home: &Home) -> Vec<String> {
    names(home).into_iter().filter_map(|name| Some(name.strip_suffix(".tmp")?.to_owned())).collect()
}

/// Names of the snapshots that are whole.
pub fn whole(home: &Home) -> Vec<String> {
    names(home).into_iter().filter(|name| !name.ends_with(".tmp")).collect()
}

fn names(home: &Home) -> Vec<String> {
    let entries = fs::read_dir(home.data.join("snapshots")).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Fails when `weir snapshot verify` finds something.
pub fn verify(home: &Home, name: &str) -> Result<()> {
    weir(home, &["snapshot", "verify", name, "--from", &home.data.display().to_string()])
}

/// Restores a writer's snapshot into an empty directory, starts that, and compares.
pub fn restore(home: &Home, writer: &mut Writer) -> Result<Verdict> {
    let Snapshot::Kept(kept) = &writer.snapshot else { return Ok(Verdict::default()) };
    let directory = home.directory.join("restored");
    let data: PathBuf = directory.join("data");
    fs::create_dir(&directory)?;
    let [from, to] = [&home.data, &data].map(|path| path.display().to_string());
    weir(home, &["snapshot", "restore", &kept.name, "--from", &from, "--data-dir", &to])?;
    let restored = Home::new(&home.binary, &directory, &data, &home.config);
    let mut process = restored.start()?;
    let verdict = writer.compare_snapshot(process.address)?;
    process.kill()?;
    restored.check_log()?;
    fs::remove_dir_all(&directory)?;
    Ok(verdict)
}

fn weir(home: &Home, arguments: &[&str]) -> Result<()> {
    let run = Command::new(&home.binary).args(arguments).output().context("run weir")?;
    let printed = || [run.stdout.as_slice(), &run.stderr].map(String::from_utf8_lossy).concat();
    ensure!(run.status.success(), "weir {}: {}\n{}", arguments.join(" "), run.status, printed());
    Ok(())
}
