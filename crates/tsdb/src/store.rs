//! The store's face.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use env::Env;
use model::select::Stop;
use model::{
    Batch, Budget, Counts, Hints, Labels, Matcher, Metadata, Rejections, SeriesBlock, SeriesRef, TenantId, TenantLimits,
    TimeRange,
};

/// Sizes and times of a store.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes of a WAL segment.
    pub segment_bytes: u64,
    /// When an append is durable.
    pub durability: wal::Durability,
    /// Bytes that may wait for the writer; over it appends are refused.
    pub queue_bytes: u64,
    /// Bytes of samples in the head at which it is flushed.
    pub flush_bytes: u64,
    /// Age of the oldest unflushed sample at which the head is flushed.
    pub flush_interval: Duration,
    /// A series without a sample for this long leaves the head at the next flush.
    pub idle: Duration,
    /// Bytes for head, caches and queues together; over it appends are refused.
    pub memory_bytes: u64,
    /// Bytes of block pages kept in memory, out of `memory_bytes`.
    pub cache_bytes: u64,
    /// Free bytes on the disk under which appends are refused.
    pub disk_reserve_bytes: u64,
    /// How long two readings of the wall clock must agree before retention deletes anything.
    pub retention_confirm: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 128 << 20,
            durability: wal::Durability::Fsync,
            queue_bytes: 8 << 20,
            flush_bytes: 64 << 20,
            flush_interval: Duration::from_secs(600),
            idle: Duration::from_secs(3600),
            memory_bytes: 4 << 30,
            cache_bytes: 256 << 20,
            disk_reserve_bytes: 64 << 20,
            retention_confirm: Duration::from_secs(3600),
        }
    }
}

/// Who writes, under which limits, when.
#[derive(Clone, Copy, Debug)]
pub struct WriteContext<'a> {
    /// The tenant.
    pub tenant: TenantId,
    /// Its limits.
    pub limits: &'a TenantLimits,
    /// Changes with the tenant's limits or relabelling; cached label lists of other epochs are not believed.
    pub epoch: u32,
    /// Wall clock.
    pub now_ms: i64,
}

/// What an append took and refused; true once its [`Ticket`] completes well.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Appended {
    /// Taken, by kind.
    pub accepted: Counts,
    /// Refused by the store, the decoder's rejections included.
    pub rejected: Rejections,
}

/// Why an append was not queued at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Occurs when more bytes wait for the writer than `queue_bytes`.
    #[error("write queue is full")]
    QueueFull,
    /// Occurs when head, caches and queues are at `memory_bytes`.
    #[error("memory limit is reached")]
    Memory,
    /// Occurs when the disk has less free space than the reserve, or the last write to it failed.
    #[error("{0}")]
    Disk(String),
    /// Occurs when the store is closed.
    #[error("store is closing")]
    Closing,
}

/// Why a queued append did not become durable. Its samples may or may not be there later; resending is safe.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// Occurs when the log could not be written or synced.
    #[error("write-ahead log: {0}")]
    Log(String),
    /// Occurs when the store was closed first.
    #[error("store is closing")]
    Closing,
}

/// A queued append. Completes after its bytes are synced and the head has them. Dropping it cancels nothing.
#[derive(Debug)]
pub struct Ticket {
    _private: (),
}

impl Ticket {
    /// Blocks until the append is durable and queryable.
    pub fn wait(self) -> Result<(), WriteError> {
        unimplemented!()
    }

    /// Calls `done` once, from the writer's thread (or at once when it has completed already).
    pub fn on_done(self, done: impl FnOnce(Result<(), WriteError>) + Send + 'static) {
        let _ = done;
        unimplemented!()
    }
}

/// How far opening has come; shared with whoever shows it.
#[derive(Debug, Default)]
pub struct Progress {
    /// Bytes of log to replay.
    pub replay_bytes: AtomicU64,
    /// Bytes replayed.
    pub replayed_bytes: AtomicU64,
    /// Set when the store is open.
    pub done: AtomicBool,
}

/// Why a store does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Occurs when the data directory was written by a newer Weir.
    #[error("{what} has format version {found}, this Weir reads up to {known}; nothing was changed")]
    Newer {
        /// The file.
        what: String,
        /// Its version.
        found: u32,
        /// The newest known.
        known: u32,
    },
    /// Occurs when the disk cannot be read or written.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Why a selection ended early.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    /// Occurs when the query is over its budget or was cancelled.
    #[error(transparent)]
    Stop(#[from] Stop),
    /// Occurs when a file cannot be read at all.
    #[error("{0}")]
    Io(String),
}

/// A unit of background work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    /// Writes the head to a block.
    Flush,
    /// Drops what is older than its tenant's retention.
    Retention,
}

/// Numbers for self-monitoring; all counters since start.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    /// Series in the head.
    pub head_series: u64,
    /// Samples in the head.
    pub head_samples: u64,
    /// Bytes of the head (samples, entries, index, aliases).
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
    /// Bytes of WAL that a restart would read.
    pub wal_replay_bytes: u64,
    /// Bytes written to the WAL.
    pub wal_written_bytes: u64,
    /// Group commits.
    pub wal_commits: u64,
    /// Group commits that failed.
    pub wal_failures: u64,
    /// Seconds spent in fdatasync.
    pub wal_sync_seconds: f64,
    /// Slowest fdatasync in seconds since the last reading.
    pub wal_sync_seconds_max: f64,
    /// Whether the last group commit failed: the store is not ready for writes.
    pub wal_failing: bool,
    /// Whether the disk is under its reserve.
    pub disk_low: bool,
    /// Bytes waiting for the writer.
    pub queue_bytes: u64,
    /// Frames skipped in replay because they were damaged.
    pub replay_damaged_frames: u64,
    /// Seconds that opening took.
    pub open_seconds: f64,
    /// Files in quarantine.
    pub quarantined: u64,
    /// Pages that failed their checksum since start.
    pub damaged_pages: u64,
    /// Blocks removed by retention.
    pub retention_blocks: u64,
    /// Whether retention waits because the clock is in doubt.
    pub retention_paused: bool,
}

/// Numbers of one tenant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TenantStatus {
    /// Series in the head.
    pub head_series: u64,
}

/// A series with its exemplars.
#[derive(Clone, Debug, PartialEq)]
pub struct ExemplarSeries {
    /// The series.
    pub labels: Labels,
    /// Its exemplars, by time.
    pub exemplars: Vec<model::batch::Exemplar>,
}

/// The store. Cheap to clone; all methods take `&self` and may be called from any thread.
#[derive(Clone, Debug)]
pub struct Store {
    _private: (),
}

impl Store {
    /// Opens the store in `directory` (created when missing), replaying what the log holds. The caller holds the
    /// directory's lock.
    pub fn open(env: Env, directory: &Path, options: Options, progress: &Progress) -> Result<Store, OpenError> {
        let _ = (env, directory, options, progress);
        unimplemented!()
    }

    /// The seed that batches for this store are made with ([`Batch::new`]).
    pub fn seed(&self) -> u64 {
        unimplemented!()
    }

    /// Resolves a batch's series, applies the tenant's limits, queues what is accepted. Never blocks on the disk.
    pub fn append(&self, context: &WriteContext<'_>, batch: &Batch<'_>) -> Result<(Ticket, Appended), AppendError> {
        let _ = (context, batch);
        unimplemented!()
    }

    /// Waits up to `wait` for queued appends, then commits all of them as one group. Returns how many appends were
    /// completed. Driven by one thread at a time.
    pub fn commit(&self, wait: Duration) -> usize {
        let _ = wait;
        unimplemented!()
    }

    /// The next background work that is due, if any.
    pub fn next_job(&self, retention: &dyn Fn(TenantId) -> i64) -> Option<Job> {
        let _ = retention;
        unimplemented!()
    }

    /// Does background work; `retention` gives each tenant's retention in ms (0 = for ever). One thread at a time.
    pub fn run(&self, job: Job, retention: &dyn Fn(TenantId) -> i64) -> std::io::Result<()> {
        let _ = (job, retention);
        unimplemented!()
    }

    /// Selects a tenant's series that satisfy all matchers and have samples in the range, from head and blocks as one.
    pub fn select<'a>(
        &self,
        tenant: TenantId,
        matchers: &[Matcher],
        range: TimeRange,
        hints: &Hints,
        budget: &'a Budget,
    ) -> Result<Selection<'a>, SelectError> {
        let _ = (tenant, matchers, range, hints, budget);
        unimplemented!()
    }

    /// Label sets of series that satisfy one of the matcher sets, sorted; `limit` 0 = all.
    pub fn series(
        &self,
        tenant: TenantId,
        matcher_sets: &[Vec<Matcher>],
        range: TimeRange,
        limit: usize,
        budget: &Budget,
    ) -> Result<Vec<Labels>, SelectError> {
        let _ = (tenant, matcher_sets, range, limit, budget);
        unimplemented!()
    }

    /// Label names in use, sorted; no matcher sets = of all series.
    pub fn label_names(
        &self,
        tenant: TenantId,
        matcher_sets: &[Vec<Matcher>],
        range: TimeRange,
        budget: &Budget,
    ) -> Result<Vec<String>, SelectError> {
        let _ = (tenant, matcher_sets, range, budget);
        unimplemented!()
    }

    /// Values of a label, sorted; no matcher sets = of all series.
    pub fn label_values(
        &self,
        tenant: TenantId,
        name: &str,
        matcher_sets: &[Vec<Matcher>],
        range: TimeRange,
        budget: &Budget,
    ) -> Result<Vec<String>, SelectError> {
        let _ = (tenant, name, matcher_sets, range, budget);
        unimplemented!()
    }

    /// Metadata of a tenant's metric families, sorted by name.
    pub fn metadata(&self, tenant: TenantId) -> Vec<(String, Metadata)> {
        let _ = tenant;
        unimplemented!()
    }

    /// Exemplars of series that satisfy the matchers.
    pub fn exemplars(
        &self,
        tenant: TenantId,
        matchers: &[Matcher],
        range: TimeRange,
        budget: &Budget,
    ) -> Result<Vec<ExemplarSeries>, SelectError> {
        let _ = (tenant, matchers, range, budget);
        unimplemented!()
    }

    /// Forgets a tenant: its series leave the head and its blocks' sections are dead at once.
    pub fn delete_tenant(&self, tenant: TenantId) -> std::io::Result<()> {
        let _ = tenant;
        unimplemented!()
    }

    /// Numbers for self-monitoring.
    pub fn status(&self) -> Status {
        unimplemented!()
    }

    /// Numbers of one tenant.
    pub fn tenant_status(&self, tenant: TenantId) -> TenantStatus {
        let _ = tenant;
        unimplemented!()
    }

    /// Refuses new appends, commits the queued ones, flushes the head: afterwards a restart replays nothing.
    pub fn close(&self) -> std::io::Result<()> {
        unimplemented!()
    }
}

/// A selection over head and blocks, pulled block by block.
#[derive(Debug)]
pub struct Selection<'a> {
    _budget: &'a Budget,
    _series: Arc<Vec<Labels>>,
}

impl Selection<'_> {
    /// The next series with all their samples in the range; `None` at the end. No series comes twice.
    pub fn next_block(&mut self) -> Result<Option<SeriesBlock>, SelectError> {
        unimplemented!()
    }

    /// The labels of a series that a block named.
    pub fn labels(&self, series: SeriesRef) -> Result<Labels, SelectError> {
        let _ = series;
        unimplemented!()
    }

    /// Damage and other things that the reader should know; complete after the last block.
    pub fn warnings(&self) -> Vec<String> {
        unimplemented!()
    }
}
