//! The store as a whole: its parts, the locks between them, its background work.
//!
//! Locks are taken in this order: `snapshotting`, `flushing`, `compactor`, `scrubber`, `manifest`, `view`, `writer`, `resolving`,
//! `table_turn`, `table`, `sides`, `metadata`; a flush tries `view` after `writer`, without waiting. The writer's thread
//! is the only one that appends. The locks of caches and of blocks' files come last. Whoever changes the manifest has its
//! lock from reading to storing it.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};
use std::time::Duration;

use env::Env;
use model::{Budget, TenantId, TimeRange};

use crate::block::{Block, BlockError, Damaged, Handles, PageCache, Section, SectionMeta};
use crate::commit::WriterState;
use crate::compact::Compactor;
use crate::follow::{Hold, LogEnds};
use crate::head::log::SampleLog;
use crate::head::side::Sides;
use crate::head::table::Table;
use crate::logs::Held;
use crate::manifest::{Floor, Manifest, floor_ms};
use crate::metadata::MetadataStore;
use crate::options::{Keep, Options};
use crate::passing::Passing;
use crate::queue::Queue;
use crate::quiet::Quiet;
use crate::retention::ClockWatch;
use crate::scrub::Scrubber;
use crate::status::{Counters, HeadRange, Health};
use crate::tombstone::{Masks, Tombstone};

/// The store. Cheap to clone; all methods take `&self` and may be called from any thread.
#[derive(Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) env: Env,
    pub(crate) directory: PathBuf,
    pub(crate) options: Options,
    /// Key of series ids.
    pub(crate) id_seed: u64,
    /// Seed of batch keys.
    pub(crate) batch_seed: u64,
    /// The tenants that were deleted: nothing of theirs is queued any more. Read while a batch's series are resolved and
    /// queued; written while series leave the head.
    pub(crate) resolving: RwLock<BTreeSet<TenantId>>,
    pub(crate) queue: Queue,
    pub(crate) writer: Mutex<WriterState>,
    /// Held by whoever waits for the table to change it: readers in parts let him in.
    pub(crate) table_turn: Mutex<()>,
    pub(crate) table: RwLock<Table>,
    pub(crate) log: SampleLog,
    pub(crate) sides: RwLock<Sides>,
    pub(crate) head_range: HeadRange,
    /// Monotonic ms of the oldest append that is not in a block; `u64::MAX` = none.
    pub(crate) oldest_unflushed: AtomicU64,
    pub(crate) metadata: RwLock<MetadataStore>,
    /// Queued appends with metadata that are not applied yet: while there are any, what is stored does not tell what was
    /// written last.
    pub(crate) metadata_waiting: AtomicU64,
    /// Read while a selection gathers what it will read; written when a flush or retention changes what is live.
    pub(crate) view: RwLock<View>,
    /// How often the view was changed. Counted after the change: who asks before reads what is newer at worst.
    pub(crate) view_changes: AtomicU64,
    pub(crate) cache: Arc<PageCache>,
    /// Files of live blocks.
    pub(crate) handles: Arc<Handles>,
    /// The manifest's replay segment, for those who must not wait for a flush.
    pub(crate) replay_segment: AtomicU64,
    /// What is live; taken from before it is read until it is stored anew.
    pub(crate) manifest: Mutex<Live>,
    pub(crate) clock_watch: Mutex<ClockWatch>,
    /// Monotonic time at which retention looks through the parts of blocks again.
    pub(crate) retention_look: Mutex<Duration>,
    /// Used by maintenance.
    pub(crate) quiet: Mutex<Quiet>,
    /// Used by maintenance, by deletes, by whoever wants everything merged, and when the store is closed.
    pub(crate) compactor: Mutex<Compactor>,
    /// Used by maintenance.
    pub(crate) scrubber: Mutex<Scrubber>,
    pub(crate) health: Health,
    /// Of the stream of log lines.
    pub(crate) held: Held,
    /// Whose samples go through the log and no further.
    pub(crate) passing: RwLock<Passing>,
    /// Bytes of what passed since the last flush: so much more log a start would read.
    pub(crate) passed_bytes: AtomicU64,
    /// The first segment of log lines that is kept for what is in it; 0 = that is not known.
    pub(crate) lines_stay: AtomicU64,
    /// Up to where followers may read.
    pub(crate) log_ends: LogEnds,
    /// What is not removed of the log although it is in blocks. The last of all locks.
    pub(crate) log_holds: Mutex<Vec<Hold>>,
    pub(crate) counters: Counters,
    /// Held by whoever makes or deletes a snapshot.
    pub(crate) snapshotting: Mutex<()>,
    /// Held by whoever flushes: two flushes at once would forget each other's rows.
    pub(crate) flushing: Mutex<()>,
    /// What readers should know about damage found at open.
    pub(crate) damage: Mutex<Vec<String>>,
}

/// What queries read beside the head. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct View {
    /// Oldest first.
    pub(crate) blocks: Arc<Vec<Arc<Block>>>,
    pub(crate) floors: Arc<Vec<Floor>>,
    pub(crate) tombstones: Arc<Vec<Arc<Tombstone>>>,
}

/// A live block as a tenant may see it.
pub(crate) struct LiveBlock {
    pub(crate) block: Arc<Block>,
    /// The part of the range asked for that retention has left there.
    pub(crate) left: TimeRange,
    /// The tenant's deletes that mask something there.
    pub(crate) tombstones: Vec<Arc<Tombstone>>,
}

impl LiveBlock {
    /// What is deleted in the tenant's section of the block.
    pub(crate) fn masks(
        &self,
        section: &Section,
        budget: &Budget,
        damaged: &mut Vec<Damaged>,
    ) -> Result<Masks, BlockError> {
        Masks::new(section, self.tombstones.iter().map(|tombstone| &**tombstone), budget, damaged)
    }
}

impl View {
    /// The view that a manifest describes.
    pub(crate) fn new(blocks: Vec<Arc<Block>>, manifest: &Manifest) -> Self {
        let (floors, tombstones) = (manifest.floors.clone(), manifest.tombstones.clone());
        Self { blocks: Arc::new(blocks), floors: Arc::new(floors), tombstones: Arc::new(tombstones) }
    }

    /// The live blocks in which the tenant has something in the range.
    pub(crate) fn blocks_in(&self, tenant: TenantId, range: TimeRange) -> Vec<LiveBlock> {
        let of_block = |block: &Arc<Block>| {
            let floor = floor_ms(&self.floors, tenant, *block.meta().sequences.end());
            let left = TimeRange { start_ms: range.start_ms.max(floor), ..range };
            let inside = block.meta().section(tenant).is_some_and(|section| section.range.overlaps(&left));
            inside.then(|| LiveBlock {
                block: block.clone(),
                left,
                tombstones: tombstones_of(&self.tombstones, tenant, block.meta().id),
            })
        };
        self.blocks.iter().filter_map(of_block).collect()
    }
}

impl View {
    /// Whether a merge would take something off the disk: a deleted tenant's part, one that expired, or deleted series.
    pub(crate) fn has_dead_parts(&self, block: &Block) -> bool {
        let meta = block.meta();
        let is_cut_off = |section: &SectionMeta| {
            section.range.end_ms < floor_ms(&self.floors, section.tenant, *meta.sequences.end())
        };
        self.tombstones.iter().any(|tombstone| tombstone.masks(meta.id))
            || !self.floors.is_empty() && meta.sections.iter().any(is_cut_off)
    }
}

/// The manifest, and what belongs to changing it.
pub(crate) struct Live {
    pub(crate) manifest: Manifest,
    /// Whether both copies on the disk are this generation.
    pub(crate) is_in_both: bool,
    /// WAL segments with damage: kept in quarantine when they are no longer needed.
    pub(crate) damaged_segments: Vec<u64>,
    /// Blocks of flushes that failed, which a manifest on the disk may name: they go with the next manifest.
    pub(crate) taken_back: Vec<u64>,
    /// Monotonic time before which a failed flush is not tried again.
    pub(crate) retry_at: Duration,
}

/// A unit of background work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    /// Writes the head to a block.
    Flush,
    /// Drops what is older than its tenant's retention, and the oldest of tenants that have too much.
    Retention,
    /// Does a step of merging blocks.
    Compaction,
    /// Reads some pages of live blocks, to find damage before a query does.
    Scrub,
}

/// How long a failed flush waits before it is tried again.
const FLUSH_RETRY: Duration = Duration::from_secs(5);

impl Store {
    /// The seed that batches for this store are made with ([`model::Batch::new`]).
    pub fn seed(&self) -> u64 {
        self.inner.batch_seed
    }

    /// The next background work that is due, if any. `keep` says what is kept of each tenant.
    pub fn next_job(&self, keep: &dyn Fn(TenantId) -> Keep) -> Option<Job> {
        if self.inner.flush_is_due() {
            return Some(Job::Flush);
        }
        if self.inner.retention_is_due(keep) {
            return Some(Job::Retention);
        }
        if self.inner.compaction_is_due() {
            return Some(Job::Compaction);
        }
        self.inner.scrub_is_due().then_some(Job::Scrub)
    }

    /// Does background work. One thread at a time.
    pub fn run(&self, job: Job, keep: &dyn Fn(TenantId) -> Keep) -> io::Result<()> {
        match job {
            Job::Flush => self.flush(),
            Job::Retention => self.inner.drop_expired(keep),
            Job::Compaction => self.inner.compact(),
            Job::Scrub => self.inner.scrub(),
        }
    }

    /// Writes the head to a block now.
    pub fn flush(&self) -> io::Result<()> {
        let alone = self.inner.flushing.lock().expect("lock");
        self.flush_alone(&alone)
    }

    /// Writes the head to a block; the guard is that of `flushing`.
    pub(crate) fn flush_alone(&self, _alone: &MutexGuard<'_, ()>) -> io::Result<()> {
        let inner = &*self.inner;
        let result = inner.flush();
        match &result {
            Ok(()) => {
                inner.counters.flushes.fetch_add(1, Ordering::Relaxed);
            }
            Err(_) => {
                inner.counters.flush_failures.fetch_add(1, Ordering::Relaxed);
                let retry_at = inner.env.clock.monotonic() + FLUSH_RETRY;
                inner.manifest.lock().expect("lock").retry_at = retry_at;
                inner.oldest_unflushed.store(0, Ordering::Relaxed);
            }
        }
        result
    }

    /// Flushes, and merges all blocks into those of days, whether their day is over or not. Takes as long as it takes.
    /// Afterwards the log holds only what came meanwhile, and no room for more.
    pub fn compact_all(&self) -> io::Result<()> {
        self.flush()?;
        self.inner.compact_everything()?;
        self.inner.writer.lock().expect("lock").wal.roll().map(|_| ())
    }

    /// Has blocks of which something is deleted rewritten without it as soon as background work is asked for next, if merges
    /// of other blocks are not due; what an earlier failure put off is tried again.
    pub fn clean_tombstones(&self) {
        self.inner.hurry_compaction();
    }

    /// Refuses new appends, commits the queued ones, flushes the head: afterwards a restart replays nothing.
    pub fn close(&self) -> io::Result<()> {
        self.inner.queue.close();
        while self.commit(Duration::ZERO) > 0 {}
        self.inner.stop_compaction();
        self.flush()
    }

    /// Whether [`Store::close`] was called: the writer's thread may end.
    pub fn is_closed(&self) -> bool {
        self.inner.queue.is_closed()
    }
}

impl Inner {
    pub(crate) fn wal_directory(&self) -> PathBuf {
        wal_directory(&self.directory)
    }

    pub(crate) fn block_path(&self, id: u64) -> PathBuf {
        self.directory.join("blocks").join(block_file_name(id))
    }

    /// Seconds of monotonic time, as entries note them.
    pub(crate) fn now_s(&self) -> u32 {
        u32::try_from(self.env.clock.monotonic().as_secs()).unwrap_or(u32::MAX)
    }

    /// Makes other blocks and floors live.
    pub(crate) fn publish_manifest(
        &self,
        live: &mut Live,
        next: Manifest,
        blocks: Vec<Arc<Block>>,
    ) -> io::Result<()> {
        self.store_manifest(live, next)?;
        *self.view.write().expect("lock") = View::new(blocks, &live.manifest);
        self.view_changes.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// Stores a manifest as the next generation. Afterwards both copies say so: whoever finds one of them misses no block
    /// and no log that is removed from now on, and finds nothing that was cut off.
    pub(crate) fn store_manifest(&self, live: &mut Live, mut next: Manifest) -> io::Result<()> {
        // Used once, even when storing fails half way: one copy may be of it then.
        live.manifest.generation += 1;
        live.is_in_both = false;
        next.generation = live.manifest.generation;
        next.store(&*self.env.files, &self.directory)?;
        live.manifest = next;
        live.is_in_both = true;
        Ok(())
    }

    /// Stores the manifest once more: what lies on the disk instead of it names what is not live.
    pub(crate) fn repeat_manifest(&self, live: &mut Live) -> io::Result<()> {
        let again = live.manifest.clone();
        self.store_manifest(live, again)
    }

    /// Moves a damaged file out of the way and counts it. The rest is served. False when it could not be moved.
    pub(crate) fn quarantine(&self, path: &Path, why: &str) -> bool {
        self.quarantine_as(path, &self.quarantine_path(path), why)
    }

    /// As [`Inner::quarantine`], under a name of its own.
    pub(crate) fn quarantine_as(&self, path: &Path, to: &Path, why: &str) -> bool {
        let files = &self.env.files;
        let moved = match files.rename(path, to) {
            // It went the last time, which then failed otherwise.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        };
        // A name that does not survive a power cut is found where it was, and moved again.
        let _ = files.sync_dir(&self.directory.join("quarantine"));
        self.note_quarantined(path, why, moved.is_ok());
        moved.is_ok()
    }

    /// Where a damaged file goes.
    pub(crate) fn quarantine_path(&self, path: &Path) -> PathBuf {
        self.directory.join("quarantine").join(path.file_name().unwrap_or_default())
    }

    /// Gives a damaged file a second name in quarantine, durably. False where the file system has no such names, or the
    /// file is not there any more.
    pub(crate) fn link_to_quarantine(&self, path: &Path) -> io::Result<bool> {
        let directory = self.directory.join("quarantine");
        match self.env.files.link(path, &self.quarantine_path(path)) {
            Err(error) if env::is_no_link(&error) || error.kind() == io::ErrorKind::NotFound => {
                return Ok(false);
            }
            // From the last try.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            result => result?,
        }
        self.env.files.sync_dir(&directory)?;
        Ok(true)
    }

    /// Tells of a damaged file and counts it.
    pub(crate) fn note_quarantined(&self, path: &Path, why: &str, moved: bool) {
        let name = path.file_name().unwrap_or_default();
        tracing::error!(file = %path.display(), why, moved, "damaged file goes to quarantine");
        self.counters.quarantined.fetch_add(1, Ordering::Relaxed);
        let place = if moved { "is in quarantine" } else { "is damaged and cannot be moved" };
        self.damage.lock().expect("lock").push(format!("{} {place}: {why}", name.display()));
    }
}

/// A tenant's deletes that mask something in a file.
pub(crate) fn tombstones_of(
    tombstones: &[Arc<Tombstone>],
    tenant: TenantId,
    file: u64,
) -> Vec<Arc<Tombstone>> {
    let of_file = |t: &&Arc<Tombstone>| t.tenant == tenant && t.masks(file);
    tombstones.iter().filter(of_file).cloned().collect()
}

pub(crate) fn wal_directory(directory: &Path) -> PathBuf {
    directory.join("wal").join("metrics")
}

/// The file name of a block.
pub(crate) fn block_file_name(id: u64) -> String {
    format!("{id:012}.block")
}

/// The file id in a block's file name.
pub(crate) fn parse_block_file_name(name: &str) -> Option<u64> {
    let id = name.strip_suffix(".block")?.parse().ok()?;
    (block_file_name(id) == name).then_some(id)
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("directory", &self.inner.directory).finish_non_exhaustive()
    }
}
