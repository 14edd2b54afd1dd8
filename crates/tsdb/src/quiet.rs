//! Whether next to nothing is written: then what lies in the head may as well be in a block, which gives back its memory
//! and makes the next start short, and what lies in flushed blocks may as well be merged, which takes less of the disk.
//!
//! "Nothing" would never come: self-monitoring goes on. A trickle that counts as nothing does not bring a sixteenth of the
//! bytes of a flush within ten minutes, so it never makes small blocks of its own.

use std::time::Duration;

/// How long it must be quiet.
const TIME: Duration = Duration::from_secs(30);

/// What may come in that time, as a part of the bytes at which the head is flushed.
const PART: u64 = 512;

/// The part of those bytes that must wait for a flush to be worth a block.
const WORTH: u64 = 16;

/// The part of those bytes that flushed blocks must have to be worth a merge.
const WORTH_MERGED: u64 = 64;

/// Since when it is quiet.
#[derive(Default)]
pub(crate) struct Quiet {
    since: Duration,
    /// Bytes that waited for a flush then.
    bytes: u64,
}

impl Quiet {
    /// Looks at the bytes that wait for a flush now: whether it is quiet and they are worth one. `flush_bytes` make a flush
    /// due in any case.
    pub(crate) fn is_reason(&mut self, now: Duration, bytes: u64, flush_bytes: u64) -> bool {
        match bytes.checked_sub(self.bytes) {
            Some(came) if came > flush_bytes / PART => *self = Self { since: now, bytes },
            Some(_) => {}
            // After a flush it is as quiet as before.
            None => self.bytes = bytes,
        }
        self.is_quiet(now) && bytes > 0 && bytes >= flush_bytes / WORTH
    }

    /// Whether it is quiet and `bytes` of flushed blocks are worth a merge.
    pub(crate) fn is_reason_to_merge(&self, now: Duration, bytes: u64, flush_bytes: u64) -> bool {
        self.is_quiet(now) && bytes >= flush_bytes / WORTH_MERGED
    }

    fn is_quiet(&self, now: Duration) -> bool {
        now.saturating_sub(self.since) >= TIME
    }
}
