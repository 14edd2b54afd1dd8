//! Tenants of whom nothing is kept: the log is a buffer for those who send it on.
//!
//! What such a tenant sends is durable when it is acknowledged, as everybody's. It is read behind the writer
//! ([`crate::Follower`]) and goes with the log; head and blocks never see it. The log says of its samples that they go no
//! further, so a replay needs not know who passed when.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::Ordering;

use model::TenantId;
use wal::Stream;

use crate::logs;
use crate::store::{Inner, Store};

/// What whoever asks of such a tenant is told.
pub(crate) const PASSES: &str =
    "nothing that this tenant sends is kept here: it is sent on (tenants.NAME.store: none)";

/// Of whom nothing is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Passing {
    /// Whose samples go through the log and no further.
    pub samples: BTreeSet<TenantId>,
    /// Whose log lines go when nobody holds the log any more for them. Only tenants whose lines somebody sends on.
    pub lines: BTreeSet<TenantId>,
}

impl Store {
    /// From now on nothing is kept of these tenants and no others. What was stored before stays.
    pub fn let_pass(&self, passing: Passing) {
        let mut ours = self.inner.passing.write().expect("lock");
        if *ours != passing {
            *ours = passing;
            // What kept a segment may not keep it any more.
            self.inner.lines_stay.store(0, Ordering::Relaxed);
        }
    }

    /// Removes the oldest segments of log lines that nobody holds and that have lines only of tenants of whom none are kept.
    /// One that has others stays, and everything behind it: a gap would look like a loss. Not while a snapshot is made.
    ///
    /// # Errors
    /// When the disk cannot be read or written; it may be tried again.
    pub fn drop_passed_lines(&self) -> io::Result<()> {
        let passing = self.inner.passing.read().expect("lock").lines.clone();
        if passing.is_empty() {
            return Ok(());
        }
        match self.inner.snapshotting.try_lock() {
            Ok(_no_snapshot) => self.inner.drop_lines_of(&passing),
            Err(_) => Ok(()),
        }
    }
}

impl Inner {
    fn drop_lines_of(&self, passing: &BTreeSet<TenantId>) -> io::Result<()> {
        let files = &*self.env.files;
        let directory = logs::directory(&self.directory);
        let mut numbers = wal::segments(files, &directory)?;
        // From the last one a start learns where to go on.
        numbers.pop();
        let Some(held) = self.held_from(Stream::Logs) else { return Ok(()) };
        for number in numbers {
            if number >= held || number == self.lines_stay.load(Ordering::Relaxed) {
                return Ok(());
            }
            if self.has_others(number, passing)? {
                self.lines_stay.store(number, Ordering::Relaxed);
                return Ok(());
            }
            let path = directory.join(wal::file_name(number));
            let bytes = files.open(&path)?.length()?;
            files.remove(&path)?;
            self.held.removed(bytes);
        }
        Ok(())
    }

    /// Whether a segment has lines of other tenants, or something that cannot be read.
    fn has_others(&self, number: u64, passing: &BTreeSet<TenantId>) -> io::Result<bool> {
        let mut others = false;
        let directory = logs::directory(&self.directory);
        let read = wal::read_segment(
            &*self.env.files,
            &directory,
            Stream::Logs,
            number,
            &mut |sequence, payload| {
                let told =
                    logs::each_line(sequence, payload, &mut |line| others |= !passing.contains(&line.tenant));
                others |= told.is_err();
                Ok(())
            },
        );
        let damage = read.map_err(|error| io::Error::other(error.to_string()))?;
        Ok(others || damage.is_loss())
    }
}
