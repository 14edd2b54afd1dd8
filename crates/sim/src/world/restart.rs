//! The ways in which a store goes down and comes back.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use env::Clock;
use tsdb::{Progress, Store};

use super::{DIRECTORY, Life, Trouble};
use crate::files::{Failure, Fault, Op};
use crate::naive::Answer;

/// Power cuts during one recovery, one after the other.
const CUTS_MAX: usize = 5;

impl Life {
    /// An orderly stop: everything queued is committed, the head flushed.
    pub(super) fn close_and_reopen(&mut self) -> Result<()> {
        self.commit()?;
        let closed = self.store().close();
        if let Err(error) = closed {
            let expected = self.disk.is_down() || self.scenario.may_fail();
            ensure!(expected, "closing fails on a good disk: {error}");
        }
        if self.disk.is_down() {
            return Ok(());
        }
        self.tally.closes += 1;
        self.stop();
        self.disk.kill();
        self.reopen()?;
        self.look_twice(false)
    }

    /// The process dies where it is; what it wrote stays.
    pub(super) fn kill(&mut self) -> Result<()> {
        self.tally.kills += 1;
        self.stop();
        self.disk.kill();
        self.reopen()?;
        self.look_twice(false)
    }

    /// The power goes now, or has gone during the last operation.
    pub(super) fn restart_after_power_cut(&mut self) -> Result<()> {
        self.tally.power_cuts += 1;
        self.stop();
        self.disk.crash();
        self.recover()?;
        self.look_twice(true)
    }

    /// The store's process is gone: nothing that it still does reaches the disk.
    pub(super) fn stop(&mut self) {
        self.count_store();
        self.disk.power_off();
        // Their fate stays unknown.
        self.waiting.clear();
        self.store = None;
        self.evicted_before = 0;
        for party in &mut self.parties {
            party.surely_active.clear();
        }
        self.clock.advance(Duration::from_secs(self.rng.below(60)));
    }

    pub(super) fn open_once(&mut self) -> Result<()> {
        self.clock_offsets_ms = vec![(self.clock.monotonic(), self.clock_offset_ms())];
        let directory = Path::new(DIRECTORY);
        let refusals = self.disk.refusals();
        let opened =
            Store::open(self.env.clone(), directory, self.scenario.options.clone(), &Progress::default());
        // What the disk refuses while the store opens is damage, whether or not it would have given it later.
        if self.disk.refusals() > refusals {
            self.tally.damages += 1;
            self.damaged = true;
        }
        self.store = Some(opened.context("the store does not open")?);
        Ok(())
    }

    /// Opens the store where something may be planned: a power cut while it opens is one more, a failure of the disk
    /// may keep it from opening until it is over.
    fn reopen(&mut self) -> Result<()> {
        let failures = self.disk.failures();
        let opened = self.open_once();
        if self.disk.is_down() {
            self.tally.power_cuts += 1;
            self.store = None;
            self.disk.crash();
            return self.recover();
        }
        if opened.is_err() && self.disk.failures() > failures {
            self.disk.heal();
            self.disk.kill();
            return self.open_once().context("after a failure that is over");
        }
        opened
    }

    /// Opens the store on a disk that may lose its power again, or fail, while it recovers.
    fn recover(&mut self) -> Result<()> {
        for round in 0..=CUTS_MAX {
            let calm = round == CUTS_MAX;
            if !calm && self.rng.chance(1, 2) {
                self.disk.crash_after(self.rng.below(30));
            }
            let faulty = !calm && self.scenario.trouble == Trouble::Faults && self.rng.chance(1, 6);
            if faulty {
                let op = *self.rng.pick(&Op::ALL);
                self.disk.plan(Fault::new(op, Failure::Io).after(self.rng.below(10)));
            }
            let opened = self.open_once();
            if self.disk.is_down() {
                self.tally.power_cuts_in_recovery += 1;
                self.disk.power_off();
                self.store = None;
                self.disk.crash();
                continue;
            }
            self.disk.heal();
            match opened {
                Ok(()) => return Ok(()),
                Err(_) if faulty => {
                    self.disk.heal();
                    self.disk.kill();
                }
                Err(error) => return Err(error),
            }
        }
        bail!("the store does not open after {CUTS_MAX} interrupted recoveries")
    }

    /// Looks, and sometimes restarts at once and looks again: nothing may have changed.
    fn look_twice(&mut self, power_was_cut: bool) -> Result<()> {
        let first = [self.verify(0)?, self.verify(1)?];
        if !self.struck {
            self.check_sequences()?;
        }
        if power_was_cut && !self.damaged && !self.disk.is_down() {
            self.settle(&first);
        }
        if !self.disk.is_down() && self.rng.chance(1, 3) {
            self.check_snapshots()?;
        }
        if !self.rng.chance(1, 3) || self.disk.is_down() || self.scenario.trouble == Trouble::Planned {
            return Ok(());
        }
        // What was planned for later is for another time.
        self.disk.heal();
        let log_bytes = self.log_bytes()?;
        self.stop();
        self.disk.kill();
        self.open_once().context("second restart")?;
        let second = [self.verify(0)?, self.verify(1)?];
        for (first, second) in first.iter().zip(&second) {
            // A page that goes bad between two looks is not the restart's doing.
            if let (Some(first), Some(second), false) = (first, second, self.damaged) {
                let changed = first.iter().find(|(labels, points)| second.get(*labels) != Some(*points));
                ensure!(changed.is_none(), "a second restart changes {changed:?}");
                ensure!(first.len() == second.len(), "a second restart adds series");
            }
        }
        let log_bytes_now = self.log_bytes()?;
        ensure!(
            log_bytes_now <= log_bytes,
            "a restart without writes makes the log grow to {log_bytes_now} bytes"
        );
        Ok(())
    }

    /// Sequences of the log grow over all segments and all restarts: whatever is ordered by them stays ordered.
    fn check_sequences(&self) -> Result<()> {
        let disk = self.disk.fork(0);
        disk.heal();
        for (part, stream) in [("wal/metrics", wal::Stream::Metrics), ("wal/logs", wal::Stream::Logs)] {
            let directory = Path::new(DIRECTORY).join(part);
            let mut last = 0;
            for number in wal::segments(&disk, &directory)? {
                wal::read_segment(&disk, &directory, stream, number, &mut |sequence, _| {
                    let grows = std::mem::replace(&mut last, sequence) < sequence;
                    let again = || std::io::Error::other(format!("sequence {sequence} again"));
                    grows.then_some(()).ok_or_else(again)
                })
                .with_context(|| format!("segment {number} of {part}"))?;
            }
        }
        Ok(())
    }

    /// Bytes of all log segments.
    fn log_bytes(&self) -> Result<usize> {
        let paths = self.disk.paths();
        let segments =
            paths.iter().filter(|path| path.extension().is_some_and(|extension| extension == "wal"));
        segments.map(|path| Ok(self.disk.content(path)?.len())).sum()
    }

    fn settle(&mut self, answers: &[Option<Answer>; 2]) {
        let store = self.store();
        for (party, answer) in self.parties.iter().zip(answers) {
            if let Some(answer) = answer {
                let metadata = store.metadata(party.tenant);
                self.ledger.settle_restart(party.tenant, answer, &metadata, party.floor_ms);
                if let Ok((found, _)) = super::answer::lines(&store, party.tenant) {
                    self.lines.settle_restart(party.tenant, &found);
                }
            }
        }
    }
}
