//! The write-ahead log: framing, group commit, replay, cursors for readers.

use std::time::Duration;

/// When a write counts as durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// After fdatasync: survives a power cut. The default.
    Fsync,
    /// After write; synced at this interval: survives a crash of the process, loses up to an interval at a power cut.
    Interval(Duration),
    /// After write; synced when the kernel likes.
    Os,
}
