//! Sizes and times of a store.

use std::time::Duration;

use crate::follow::Hold;
use crate::passing::Passing;

/// Sizes and times of a store. Each has its config key (`storage.<field>`).
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes of a WAL segment.
    pub segment_bytes: u64,
    /// When an append is durable.
    pub durability: wal::Durability,
    /// Bytes that may wait for the writer; over it appends are refused.
    pub queue_bytes: u64,
    /// Bytes of log lines that are held; at it further lines are refused, and nothing else is.
    pub log_bytes: u64,
    /// Bytes of samples in the head at which it is flushed; of a sixteenth, when next to nothing comes for half a minute.
    pub flush_bytes: u64,
    /// Age of the oldest unflushed sample at which the head is flushed.
    pub flush_interval: Duration,
    /// A series without a sample for this long leaves the head at the next flush.
    pub idle: Duration,
    /// Bytes for head, caches, queues and a merge together; over it appends are refused. From 80 % on no new series are made
    /// for tenants that hold their even part of the series' memory, from 90 % on for nobody. A sixteenth is for the indexes
    /// of blocks that a merge writes, and a quarter of that for rows that it puts together.
    pub memory_bytes: u64,
    /// Bytes of block pages kept in memory, out of `memory_bytes`.
    pub cache_bytes: u64,
    /// Files of blocks that are kept open to be read again.
    pub open_blocks: usize,
    /// Free bytes on the disk under which appends are refused.
    pub disk_reserve_bytes: u64,
    /// Blocks of one kind that make a merge of them due.
    pub compaction_blocks: usize,
    /// Bytes of rows (16 each) that merging goes through in a second, unless blocks pile up.
    pub compaction_bytes_per_second: u64,
    /// Time from the beginning of one pass of the scrubber to that of the next; zero = it does nothing.
    pub scrub_interval: Duration,
    /// Bytes of blocks that the scrubber reads in a second.
    pub scrub_bytes_per_second: u64,
    /// Parts of the log that are needed by others than the store from its opening on ([`crate::Store::hold_log`]).
    pub holds: Vec<Hold>,
    /// Tenants of whom nothing is kept from the opening on ([`crate::Store::let_pass`]).
    pub passing: Passing,
    /// How long two readings of the wall clock must agree before retention deletes anything.
    pub retention_confirm: Duration,
}

/// How much is kept of a tenant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// For so long, in ms; 0 = for ever.
    pub age_ms: i64,
    /// At most so many bytes of blocks; 0 = any number. A tenant over it loses its oldest ones.
    pub bytes: u64,
}

impl Options {
    /// Bytes that the indexes of blocks may take while a merge writes them.
    pub(crate) fn merge_bytes(&self) -> u64 {
        self.memory_bytes / 16
    }

    /// Bytes that rows may take while they are merged: a series that has more is merged in parts.
    pub(crate) fn merge_rows_bytes(&self) -> u64 {
        (self.memory_bytes / 64).min(16 << 20)
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 128 << 20,
            durability: wal::Durability::Fsync,
            queue_bytes: 8 << 20,
            log_bytes: 1 << 30,
            flush_bytes: 64 << 20,
            flush_interval: Duration::from_secs(600),
            idle: Duration::from_secs(3600),
            memory_bytes: 4 << 30,
            cache_bytes: 256 << 20,
            open_blocks: 256,
            disk_reserve_bytes: 64 << 20,
            compaction_blocks: 8,
            compaction_bytes_per_second: 64 << 20,
            scrub_interval: Duration::from_secs(7 * 86_400),
            scrub_bytes_per_second: 4 << 20,
            holds: Vec::new(),
            passing: Passing::default(),
            retention_confirm: Duration::from_secs(3600),
        }
    }
}
