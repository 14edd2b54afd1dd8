//! Tenants of whom nothing is kept: the log is a buffer for those who send it on.
//!
//! What such a tenant sends is durable when it is acknowledged, as everybody's. It is read behind the writer
//! ([`crate::Follower`]) and goes with the log; head and blocks never see it.

use std::collections::BTreeSet;
use std::io;

use model::TenantId;
use wal::Stream;

use crate::logs;
use crate::store::{Inner, Store};

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
        *self.inner.passing.write().expect("lock") = passing;
    }
}

impl Inner {
    /// Removes segments of log lines that nobody holds and that have lines only of tenants of whom none are kept.
    pub(crate) fn drop_passed_lines(&self) {
        let passing = self.passing.read().expect("lock").lines.clone();
        if passing.is_empty() {
            return;
        }
        if let Err(error) = self.drop_lines_of(&passing) {
            tracing::warn!(%error, "log lines that were sent on could not be removed");
        }
    }

    fn drop_lines_of(&self, passing: &BTreeSet<TenantId>) -> io::Result<()> {
        let files = &*self.env.files;
        let directory = logs::directory(&self.directory);
        let end = self.log_ends.of(Stream::Logs).segment;
        let before = self.held_from(Stream::Logs).unwrap_or(0).min(end);
        for number in wal::segments(files, &directory)?.into_iter().filter(|number| *number < before) {
            let mut stays = false;
            let read =
                wal::read_segment(files, &directory, Stream::Logs, number, &mut |sequence, payload| {
                    let told = logs::each_line(sequence, payload, &mut |line| {
                        stays |= !passing.contains(&line.tenant);
                    });
                    stays |= told.is_err();
                    Ok(())
                });
            let damage = read.map_err(|error| io::Error::other(error.to_string()))?;
            if stays || damage.is_loss() {
                continue;
            }
            let path = directory.join(wal::file_name(number));
            let bytes = files.open(&path)?.length()?;
            files.remove(&path)?;
            self.held.removed(bytes);
        }
        Ok(())
    }
}
