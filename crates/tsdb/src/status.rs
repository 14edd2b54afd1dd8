//! Numbers for self-monitoring.

use std::sync::RwLockWriteGuard;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use model::{Budget, TenantId, TimeRange};

use crate::head::scan::{self, Reader, Scan};
use crate::head::table::Table;
use crate::store::{Inner, Store};

/// Numbers of the store; all counters since start.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    /// Series in the head.
    pub head_series: u64,
    /// Samples in the head.
    pub head_samples: u64,
    /// Bytes of the head (samples, entries, index, aliases, metadata, totals of deltas).
    pub head_bytes: u64,
    /// Series made since start.
    pub series_created: u64,
    /// Series that left the head since start.
    pub series_evicted: u64,
    /// Live blocks.
    pub blocks: u64,
    /// Bytes of live blocks.
    pub block_bytes: u64,
    /// Bytes of pages in the cache.
    pub cache_bytes: u64,
    /// Flushes done.
    pub flushes: u64,
    /// Flushes that failed.
    pub flush_failures: u64,
    /// WAL segments on disk.
    pub wal_segments: u64,
    /// Bytes of WAL that a restart would read, at most.
    pub wal_replay_bytes: u64,
    /// Bytes written to the WAL.
    pub wal_written_bytes: u64,
    /// Group commits.
    pub wal_commits: u64,
    /// Group commits and syncs that failed.
    pub wal_failures: u64,
    /// Seconds spent in fdatasync.
    pub wal_sync_seconds: f64,
    /// Slowest fdatasync in seconds since the last reading.
    pub wal_sync_seconds_max: f64,
    /// Whether the last group commit failed: the store is not ready for writes.
    pub wal_failing: bool,
    /// Bytes of log lines that are held.
    pub log_bytes: u64,
    /// Bytes of log lines that may be held.
    pub log_bytes_max: u64,
    /// Log lines made durable.
    pub log_lines: u64,
    /// Whether the last group of log lines could not be written: further ones are refused, samples are not.
    pub log_failing: bool,
    /// Whether the disk is under its reserve.
    pub disk_low: bool,
    /// Bytes waiting for the writer.
    pub queue_bytes: u64,
    /// Gaps in WAL segments found by replay: frames that had been durable and are damaged.
    pub replay_damaged_frames: u64,
    /// Seconds that opening took.
    pub open_seconds: f64,
    /// Files found damaged, unreadable or missing since start; damaged ones are in quarantine.
    pub quarantined: u64,
    /// Pages that failed their checksum since start.
    pub damaged_pages: u64,
    /// Bytes of blocks written by flushes.
    pub flush_written_bytes: u64,
    /// Merges of blocks done.
    pub compactions: u64,
    /// Merges that failed.
    pub compaction_failures: u64,
    /// Bytes of blocks written by merges.
    pub compaction_written_bytes: u64,
    /// Bytes of memory that the merge that runs takes: for the indexes of what it writes, and for rows.
    pub compaction_memory_bytes: u64,
    /// Whether a merge waits because the disk has too little room for it; smaller ones go on.
    pub compaction_short_of_disk: bool,
    /// Deletes of series that merges have not applied everywhere yet.
    pub tombstones: u64,
    /// Blocks removed by retention.
    pub retention_blocks: u64,
    /// Whether retention waits because the clock is in doubt.
    pub retention_paused: bool,
    /// Bytes of blocks that the scrubber has read.
    pub scrubbed_bytes: u64,
    /// When the scrubber's last pass ended, in ms since the Unix epoch; 0 = none has.
    pub scrub_pass_ms: i64,
    /// Damaged pages and files that the scrubber has found among the live blocks.
    pub scrub_damaged: u64,
}

/// Numbers of one tenant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TenantStatus {
    /// Series in the head.
    pub head_series: u64,
}

/// What decides whether appends are taken.
#[derive(Default)]
pub(crate) struct Health {
    pub(crate) wal_failing: AtomicBool,
    pub(crate) disk_low: AtomicBool,
    pub(crate) memory_full: AtomicBool,
}

/// Counters that several parts add to.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) flushes: AtomicU64,
    pub(crate) flush_failures: AtomicU64,
    pub(crate) wal_commits: AtomicU64,
    pub(crate) totals_bytes: AtomicU64,
    pub(crate) wal_failures: AtomicU64,
    wal_written_bytes: AtomicU64,
    wal_sync_micros: AtomicU64,
    wal_sync_micros_max: AtomicU64,
    pub(crate) damaged_frames: AtomicU64,
    pub(crate) damaged_pages: AtomicU64,
    pub(crate) quarantined: AtomicU64,
    pub(crate) flush_written_bytes: AtomicU64,
    pub(crate) compactions: AtomicU64,
    pub(crate) compaction_failures: AtomicU64,
    pub(crate) compaction_written_bytes: AtomicU64,
    pub(crate) compaction_memory_bytes: AtomicU64,
    pub(crate) compaction_short_of_disk: AtomicBool,
    pub(crate) retention_blocks: AtomicU64,
    pub(crate) retention_paused: AtomicBool,
    pub(crate) scrubbed_bytes: AtomicU64,
    pub(crate) scrub_pass_ms: AtomicI64,
    pub(crate) scrub_damaged: AtomicU64,
    pub(crate) open_micros: AtomicU64,
}

impl Counters {
    /// Counts a sync of the log and notes how much was written so far.
    pub(crate) fn wal_synced(&self, took: Duration, written_bytes: u64) {
        let micros = took.as_micros() as u64;
        self.wal_sync_micros.fetch_add(micros, Ordering::Relaxed);
        self.wal_sync_micros_max.fetch_max(micros, Ordering::Relaxed);
        self.wal_written_bytes.store(written_bytes, Ordering::Relaxed);
    }
}

/// Oldest and newest sample of the head.
pub(crate) struct HeadRange {
    start_ms: AtomicI64,
    end_ms: AtomicI64,
}

impl HeadRange {
    pub(crate) fn empty() -> Self {
        Self { start_ms: AtomicI64::new(i64::MAX), end_ms: AtomicI64::new(i64::MIN) }
    }

    /// Widens the range; almost always the sample lies inside already.
    #[inline]
    pub(crate) fn include(&self, timestamp_ms: i64) {
        if timestamp_ms < self.start_ms.load(Ordering::Relaxed) {
            self.start_ms.store(timestamp_ms, Ordering::Relaxed);
        }
        if timestamp_ms > self.end_ms.load(Ordering::Relaxed) {
            self.end_ms.store(timestamp_ms, Ordering::Relaxed);
        }
    }

    /// Replaces the range.
    pub(crate) fn set(&self, range: TimeRange) {
        self.start_ms.store(range.start_ms, Ordering::Relaxed);
        self.end_ms.store(range.end_ms, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> TimeRange {
        TimeRange {
            start_ms: self.start_ms.load(Ordering::Relaxed),
            end_ms: self.end_ms.load(Ordering::Relaxed),
        }
    }
}

impl Inner {
    /// The table, to change it.
    pub(crate) fn table_mut(&self) -> RwLockWriteGuard<'_, Table> {
        scan::write(&self.table, &self.table_turn)
    }

    /// The table, to be read in parts.
    pub(crate) fn table_reader(&self) -> Reader<'_> {
        Reader::new(&self.table, &self.table_turn)
    }

    /// A tenant's part of the table, to be read by a query.
    pub(crate) fn scan<'a>(&'a self, tenant: TenantId, budget: &'a Budget) -> Scan<'a> {
        Scan::new(self.table_reader(), tenant, budget)
    }

    /// Bytes of the head, estimated.
    pub(crate) fn head_bytes(&self) -> u64 {
        let table = self.table.read().expect("lock").bytes();
        let totals = self.counters.totals_bytes.load(Ordering::Relaxed);
        table + totals + self.metadata.read().expect("lock").bytes() + self.unflushed_bytes()
    }

    /// Bytes that a flush frees.
    pub(crate) fn unflushed_bytes(&self) -> u64 {
        self.log.live_cells() * crate::head::log::CELL_BYTES + self.sides.read().expect("lock").bytes()
    }

    /// Bytes of everything that the accountant counts.
    pub(crate) fn memory_bytes(&self) -> u64 {
        let merge = self.counters.compaction_memory_bytes.load(Ordering::Relaxed);
        self.head_bytes() + self.cache.bytes() + self.queue.bytes() + merge
    }
}

impl Inner {
    /// Bytes of the log segments that a restart would read.
    fn replay_bytes(&self, segments: &[u64]) -> u64 {
        let from = self.replay_segment.load(Ordering::Relaxed);
        let needed = segments.iter().filter(|number| **number >= from);
        let path = |number: &u64| self.wal_directory().join(wal::file_name(*number));
        needed.filter_map(|number| self.env.files.open(&path(number)).ok()?.length().ok()).sum()
    }
}

impl Store {
    /// Numbers for self-monitoring.
    pub fn status(&self) -> Status {
        let inner = &*self.inner;
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &inner.counters;
        let (created, evicted) = inner.table.read().expect("lock").turnover();
        let view = inner.view.read().expect("lock").clone();
        let blocks = &view.blocks;
        let segments = wal::segments(&*inner.env.files, &inner.wal_directory()).unwrap_or_default();
        Status {
            head_series: inner.table.read().expect("lock").len(),
            head_samples: inner.log.live_cells(),
            head_bytes: inner.head_bytes(),
            series_created: created,
            series_evicted: evicted,
            blocks: blocks.len() as u64,
            block_bytes: blocks.iter().map(|b| b.meta().bytes).sum(),
            cache_bytes: inner.cache.bytes(),
            flushes: load(&counters.flushes),
            flush_failures: load(&counters.flush_failures),
            wal_segments: segments.len() as u64,
            wal_replay_bytes: inner.replay_bytes(&segments),
            wal_written_bytes: load(&counters.wal_written_bytes),
            wal_commits: load(&counters.wal_commits),
            wal_failures: load(&counters.wal_failures),
            wal_sync_seconds: load(&counters.wal_sync_micros) as f64 / 1e6,
            wal_sync_seconds_max: counters.wal_sync_micros_max.swap(0, Ordering::Relaxed) as f64 / 1e6,
            wal_failing: inner.health.wal_failing.load(Ordering::Relaxed),
            log_bytes: inner.held.bytes(),
            log_bytes_max: inner.options.log_bytes,
            log_lines: load(&inner.held.lines),
            log_failing: inner.held.failing.load(Ordering::Relaxed),
            disk_low: inner.health.disk_low.load(Ordering::Relaxed),
            queue_bytes: inner.queue.bytes(),
            replay_damaged_frames: load(&counters.damaged_frames),
            open_seconds: load(&counters.open_micros) as f64 / 1e6,
            quarantined: load(&counters.quarantined),
            damaged_pages: load(&counters.damaged_pages),
            flush_written_bytes: load(&counters.flush_written_bytes),
            compactions: load(&counters.compactions),
            compaction_failures: load(&counters.compaction_failures),
            compaction_written_bytes: load(&counters.compaction_written_bytes),
            compaction_memory_bytes: load(&counters.compaction_memory_bytes),
            compaction_short_of_disk: counters.compaction_short_of_disk.load(Ordering::Relaxed),
            tombstones: view.tombstones.len() as u64,
            retention_blocks: load(&counters.retention_blocks),
            retention_paused: counters.retention_paused.load(Ordering::Relaxed),
            scrubbed_bytes: load(&counters.scrubbed_bytes),
            scrub_pass_ms: counters.scrub_pass_ms.load(Ordering::Relaxed),
            scrub_damaged: load(&counters.scrub_damaged),
        }
    }

    /// Numbers of one tenant.
    pub fn tenant_status(&self, tenant: TenantId) -> TenantStatus {
        let table = self.inner.table.read().expect("lock");
        TenantStatus { head_series: table.tenant(tenant).map_or(0, |t| t.index.len()) }
    }
}
