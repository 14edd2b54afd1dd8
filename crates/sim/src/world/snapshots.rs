//! Snapshots of a life: each must go on holding exactly what the store held when it was made, whatever happens to the
//! store since.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use env::{Clock, Env};
use tsdb::{Progress, SnapshotError, SnapshotName, Store};

use super::answer::{ALWAYS, select};
use super::{DIRECTORY, Life, TENANTS};
use crate::ledger::{Ledger, Leniency};
use crate::random::SimRandom;

/// Snapshots that a life keeps at a time.
const KEPT: usize = 2;

/// A file that the store does not write itself, as the server's control state is.
const ALSO: &str = "also";

/// A snapshot and what was known when it was made.
pub(super) struct Taken {
    name: SnapshotName,
    ledger: Ledger,
    floors_ms: [i64; 2],
    /// Whether the call that made it ended well: else it is there whole or not at all.
    is_sure: bool,
}

impl Life {
    /// Makes a snapshot, or deletes one when there are enough.
    pub(super) fn snapshot(&mut self) -> Result<()> {
        if self.snapshots.len() >= KEPT || (!self.snapshots.is_empty() && self.rng.chance(1, 3)) {
            return self.delete_snapshot();
        }
        // What waits for a commit is not in it, or is: nobody was told.
        let name = format!("s{}", self.tally.snapshots);
        let name = SnapshotName::parse(&name).context("a snapshot's name")?;
        let also = |directory: &Path| env::replace(&self.disk, directory, ALSO, b"also");
        let made = self.store().snapshot(&name, &also);
        self.tally.snapshots += 1;
        let expected = self.disk.is_down() || self.scenario.may_fail();
        let is_sure = made.is_ok();
        if let Err(error) = made {
            ensure!(expected, "a snapshot fails on a good disk: {error}");
        }
        let floors_ms = self.parties.each_ref().map(|party| party.floor_ms);
        self.snapshots.push(Taken { name, ledger: self.ledger.clone(), floors_ms, is_sure });
        if self.disk.is_down() { Ok(()) } else { self.check_snapshots().context("just made") }
    }

    fn delete_snapshot(&mut self) -> Result<()> {
        let index = self.rng.index(self.snapshots.len());
        let name = self.snapshots[index].name.clone();
        match self.store().delete_snapshot(&name) {
            Ok(()) => {
                self.snapshots.remove(index);
                self.tally.snapshots_deleted += 1;
            }
            Err(SnapshotError::Missing(_)) if !self.snapshots[index].is_sure => {
                self.snapshots.remove(index);
            }
            Err(error) => {
                let expected = self.disk.is_down() || self.scenario.may_fail();
                ensure!(expected, "a snapshot cannot be deleted on a good disk: {error}");
                self.snapshots[index].is_sure = false;
            }
        }
        Ok(())
    }

    /// Restores every snapshot on a copy of the disk and looks at it.
    pub(super) fn check_snapshots(&mut self) -> Result<()> {
        let mut kept = Vec::new();
        for taken in std::mem::take(&mut self.snapshots) {
            let disk = self.disk.fork(self.rng.next_u64());
            disk.heal();
            disk.set_capacity(1 << 40);
            let path = taken.name.path(Path::new(DIRECTORY));
            if env::Files::exists(&disk, &path)? {
                self.check_snapshot(&taken, disk, &path)
                    .with_context(|| format!("snapshot {}", taken.name))?;
                kept.push(taken);
            } else {
                ensure!(!taken.is_sure, "snapshot {} is gone", taken.name);
            }
        }
        self.snapshots = kept;
        Ok(())
    }

    fn check_snapshot(&mut self, taken: &Taken, disk: crate::files::SimFiles, path: &Path) -> Result<()> {
        let names = env::Files::list(&disk, path)?;
        ensure!(
            self.struck || names.iter().any(|name| name == ALSO),
            "what belongs to it is missing: {names:?}"
        );
        // A directory of its own right, or one that was made of it.
        let directory = match self.rng.below(3) {
            0 => path.to_owned(),
            way => {
                let to = PathBuf::from("/restored");
                match tsdb::restore(&disk, path, &to, way == 1, &mut |_| {}) {
                    Ok(()) => to,
                    // The disk does not give all of it.
                    Err(_) if self.struck => return Ok(()),
                    Err(error) => bail!("it is not restored: {error}"),
                }
            }
        };
        let clock: Arc<dyn Clock> = Arc::new(self.clock.clone());
        let random = Arc::new(SimRandom::new(self.rng.next_u64()));
        let env = Env { clock, files: Arc::new(disk), random };
        let options = self.scenario.options.clone();
        let store =
            Store::open(env, &directory, options, &Progress::default()).context("it does not open")?;
        ensure!(self.struck || store.status().head_samples == 0, "its log is not empty");
        let damaged = self.struck || self.damaged;
        for (tenant, floor_ms) in TENANTS.into_iter().zip(taken.floors_ms) {
            let (answer, warnings) = select(&store, tenant, &[], ALWAYS)?;
            let leniency = Leniency { damaged, floor_ms };
            let violations = taken.ledger.check(tenant, &answer, leniency);
            if let Some(first) = violations.first() {
                bail!("{} wrong answers, the first: {first} (warnings: {warnings:?})", violations.len());
            }
            let wrong = taken.ledger.check_metadata(tenant, &store.metadata(tenant), damaged);
            wrong.map_or(Ok(()), |wrong| bail!(wrong))?;
        }
        self.tally.snapshots_restored += 1;
        Ok(())
    }
}
