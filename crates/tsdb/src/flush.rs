//! From the head to a block.
//!
//! A flush freezes a point of the log between two commits, writes everything before it as one block, makes both copies of
//! the manifest say so, and only then lets the head forget it and the write-ahead log be trimmed. Until the last step the
//! head still has everything: a flush that fails is a flush that was not there, and its block goes again.
//!
//! It syncs five times, however many tenants there are: the block, its name, each copy of the manifest, their names; twice
//! more when metadata has changed, and three times when there are totals of deltas, which go into a new segment of the log.

use std::io;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, RwLockWriteGuard, TryLockError};
use std::time::Duration;

use crate::block::{Block, BlockWriter, Columns, Level, SeriesInput};
use crate::commit::WriterState;
use crate::head::log::{LogSample, Snapshot};
use crate::head::order::Ordered;
use crate::head::side::SideMap;
use crate::head::table::series_id;
use crate::manifest::Manifest;
use crate::merge::Writes;
use crate::metadata;
use crate::named::Named;
use crate::status::HeadRange;
use crate::store::{Inner, Live, View};

/// How often a flush tries to find no selection under way before it makes new ones wait.
const TRIES: u32 = 200;
const PAUSE: Duration = Duration::from_millis(5);

/// Up to where a flush goes.
pub(crate) struct Mark {
    /// Position in the log of samples.
    end: u64,
    sides: Arc<SideMap>,
    /// Everything before this WAL segment is covered.
    replay_segment: u64,
    /// Highest WAL sequence covered.
    sequence: u64,
}

impl Inner {
    pub(crate) fn flush_is_due(&self) -> bool {
        let now = self.env.clock.monotonic();
        if now < self.manifest.lock().expect("lock").retry_at {
            return false;
        }
        let unflushed = self.unflushed_bytes();
        // What only passed takes no room, but a start reads it.
        let passed = self.passed_bytes.load(Ordering::Relaxed);
        let full = unflushed >= self.options.flush_bytes || passed >= self.options.flush_bytes;
        // Under memory pressure a flush gives back what it can.
        let pressed =
            self.health.memory_full.load(Ordering::Relaxed) && unflushed > self.options.flush_bytes / 16;
        let oldest = self.oldest_unflushed.load(Ordering::Relaxed);
        let old = oldest != u64::MAX
            && now.as_millis() as u64
                >= oldest.saturating_add(self.options.flush_interval.as_millis() as u64);
        let quiet = self.quiet.lock().expect("lock").is_reason(now, unflushed, self.options.flush_bytes);
        full || pressed || old || quiet
    }

    pub(crate) fn flush(&self) -> io::Result<()> {
        let mark = self.freeze()?;
        self.flush_to(&mark)
    }

    /// Fixes what a flush covers. Waits for the commit that is under way.
    fn freeze(&self) -> io::Result<Mark> {
        let mut writer = self.writer.lock().expect("lock");
        let replay_segment = writer.wal.roll()?;
        let sequence = writer.wal.next_sequence() - 1;
        // Where the log begins from now on: it must have what blocks do not.
        self.log_totals(&mut writer)?;
        Ok(self.mark(replay_segment, sequence))
    }

    /// What a flush covers when everything before `replay_segment` is in the head.
    pub(crate) fn mark(&self, replay_segment: u64, sequence: u64) -> Mark {
        self.oldest_unflushed.store(u64::MAX, Ordering::Relaxed);
        self.passed_bytes.store(0, Ordering::Relaxed);
        let sides = self.sides.write().expect("lock").freeze();
        Mark { end: self.log.end(), sides, replay_segment, sequence }
    }

    pub(crate) fn flush_to(&self, mark: &Mark) -> io::Result<()> {
        self.write_metadata()?;
        let mut live = self.manifest.lock().expect("lock");
        self.keep_damaged(&live, mark.replay_segment)?;
        let cells = self.log.snapshot().until(mark.end);
        let block = if cells.base() < mark.end || !mark.sides.is_empty() {
            let id = live.manifest.next_file;
            // Used once, even when the flush fails half way.
            live.manifest.next_file += 1;
            let sequences =
                live.manifest.flushed_sequence.saturating_add(1).min(mark.sequence)..=mark.sequence;
            Some(self.write_block(id, sequences, &cells, &mark.sides)?)
        } else {
            None
        };
        let mut next = live.manifest.clone();
        next.replay_segment = mark.replay_segment;
        next.flushed_sequence = mark.sequence;
        next.blocks.extend(block.as_ref().map(|block| Named::of(block.meta())));
        if let Err(error) = self.store_manifest(&mut live, next) {
            if let Some(block) = block {
                self.take_back(&mut live, block.meta().id);
            }
            return Err(error);
        }
        self.remove_taken_back(&mut live);
        self.replay_segment.store(live.manifest.replay_segment, Ordering::Relaxed);
        self.publish_flush(mark, block);
        self.trim(&mut live);
        Ok(())
    }

    /// Gives damaged WAL segments that are not needed any longer their names in quarantine, before a manifest says that they
    /// are not: a start does not look into those and removes them. Where the file system has no second names, only a
    /// kill before they are moved loses them.
    fn keep_damaged(&self, live: &Live, replay_segment: u64) -> io::Result<()> {
        let damaged = live.damaged_segments.iter().filter(|number| **number < replay_segment);
        for number in damaged {
            self.link_to_quarantine(&self.wal_directory().join(wal::file_name(*number)))?;
        }
        Ok(())
    }

    /// Removes the block of a flush that failed: it must not lie there until the next start, one for each try. One that a
    /// manifest on the disk may name stays until another manifest is stored.
    fn take_back(&self, live: &mut Live, id: u64) {
        let is_named = Manifest::FILES.iter().any(|name| {
            match Manifest::load_one(&*self.env.files, &self.directory, name) {
                Ok(Some(Ok(manifest))) => manifest.names(id),
                Ok(None) => false,
                Ok(Some(Err(()))) | Err(_) => true,
            }
        });
        if !is_named {
            // Asked first: a disk that is too full for a manifest stays so as long as the block is there.
            self.remove_failed(id);
            return;
        }
        live.taken_back.push(id);
        if self.repeat_manifest(live).is_ok() {
            self.remove_taken_back(live);
        }
    }

    /// Both copies of the manifest name none of them now.
    fn remove_taken_back(&self, live: &mut Live) {
        live.taken_back.drain(..).for_each(|id| self.remove_failed(id));
    }

    /// What is left of it when that fails, the next start removes.
    fn remove_failed(&self, id: u64) {
        self.cache.forget(id);
        let _ = self.env.files.remove(&self.block_path(id));
    }

    fn publish_flush(&self, mark: &Mark, block: Option<Arc<Block>>) {
        // No commit runs meanwhile: the head's time range is made anew from what is left.
        let (mut writer, mut view) = self.stop_everyone();
        writer.evict = true;
        if let Some(block) = block {
            self.counters.flush_written_bytes.fetch_add(block.meta().bytes, Ordering::Relaxed);
            Arc::make_mut(&mut view.blocks).push(block);
            self.view_changes.fetch_add(1, Ordering::Release);
        }
        self.log.drop_before(mark.end);
        self.sides.write().expect("lock").flushed();
        self.recompute_head_range();
    }

    /// Commits and selections both wait from here on, and neither waits for the other: a selection may take a while to
    /// gather, a commit waits for the disk.
    fn stop_everyone(&self) -> (MutexGuard<'_, WriterState>, RwLockWriteGuard<'_, View>) {
        for _ in 0..TRIES {
            let writer = self.writer.lock().expect("lock");
            match self.view.try_write() {
                Ok(view) => return (writer, view),
                Err(TryLockError::WouldBlock) => drop(writer),
                Err(TryLockError::Poisoned(_)) => panic!("lock"),
            }
            std::thread::sleep(PAUSE);
        }
        // There is always some selection under way: new ones wait for once.
        let view = self.view.write().expect("lock");
        (self.writer.lock().expect("lock"), view)
    }

    fn recompute_head_range(&self) {
        let left = HeadRange::empty();
        for (_, sample) in self.log.snapshot().cells() {
            left.include(sample.timestamp_ms);
        }
        self.sides.read().expect("lock").each_time(|_, timestamp_ms| left.include(timestamp_ms));
        self.head_range.set(left.get());
    }

    /// Removes WAL segments of which everything is in blocks, but for those that somebody holds. Both copies of the manifest say that it is.
    pub(crate) fn trim(&self, live: &mut Live) {
        assert!(live.is_in_both, "the other copy may need the log");
        let held = self.held_from(wal::Stream::Metrics);
        let mut before = live.manifest.replay_segment.min(held.unwrap_or(u64::MAX));
        live.damaged_segments.retain(|number| {
            let path = self.wal_directory().join(wal::file_name(*number));
            let is_needed = *number >= before;
            let stays = is_needed || !self.quarantine(&path, "WAL segment with damaged frames");
            if stays && !is_needed {
                // What cannot be moved must not be removed: it is tried again.
                before = *number;
            }
            stays
        });
        let writer = self.writer.lock().expect("lock");
        if let Err(error) = writer.wal.remove_before(before) {
            tracing::warn!(%error, "WAL segments could not be removed");
        }
    }

    fn write_metadata(&self) -> io::Result<()> {
        let pending = self.metadata.read().expect("lock").pending();
        if let Some((content, changes)) = pending {
            metadata::store(&*self.env.files, &self.directory, &content)?;
            self.metadata.write().expect("lock").written(changes);
        }
        Ok(())
    }

    fn write_block(
        &self,
        id: u64,
        sequences: RangeInclusive<u64>,
        cells: &Snapshot,
        sides: &SideMap,
    ) -> io::Result<Arc<Block>> {
        let path = self.block_path(id);
        let temporary = path.with_extension("tmp");
        let written = self.fill_block(id, &temporary, sequences, cells, sides);
        if written.is_err() {
            let _ = self.env.files.remove(&temporary);
        }
        written?;
        self.env.files.rename(&temporary, &path)?;
        // No manifest names it yet: it would lie there until the next start, one for each try.
        self.open_written(id, &path).inspect_err(|_| drop(self.env.files.remove(&path)))
    }

    fn open_written(&self, id: u64, path: &Path) -> io::Result<Arc<Block>> {
        self.env.files.sync_dir(&self.directory.join("blocks"))?;
        let block = Block::open_live(&self.handles, path, id, self.cache.clone());
        Ok(Arc::new(block.map_err(|error| io::Error::other(error.to_string()))?))
    }

    fn fill_block(
        &self,
        id: u64,
        path: &Path,
        sequences: RangeInclusive<u64>,
        cells: &Snapshot,
        sides: &SideMap,
    ) -> io::Result<()> {
        let table = self.table_reader();
        let by_slot = BySlot::new(cells, table.read().slots());
        let series = Ordered::new(table, |slot| !by_slot.group(slot).is_empty() || sides.contains_key(&slot));
        let mut writer = BlockWriter::create(&*self.env.files, path, id, Level::Flushed, sequences)?;
        let (mut columns, mut text) = (Columns::default(), String::new());
        let mut tenant = None;
        for one in series.series() {
            if tenant != Some(one.tenant) {
                tenant = Some(one.tenant);
                writer.begin_tenant(one.tenant)?;
            }
            let labels = series.labels(one, &mut text);
            let side = sides.get(&one.slot);
            columns.clear();
            columns.extend_from_head(by_slot.of(one.slot), side);
            columns.settle(0);
            let mut exemplars = side.map_or_else(Vec::new, |side| side.exemplars.clone());
            exemplars.sort_by_key(|exemplar| exemplar.timestamp_ms);
            writer.add(SeriesInput {
                id: series_id(self.id_seed, one.tenant, labels.as_ref()),
                labels: &labels,
                timestamps: &columns.timestamps,
                values: &columns.values,
                starts: &columns.starts,
                histograms: &columns.histograms,
                exemplars: &exemplars,
            })?;
        }
        writer.finish().map(|_| ())
    }
}

/// The log's cells by series: where they lie, each group in order of arrival. It is there while the head is fullest, so the
/// cells themselves are read where they are.
struct BySlot<'a> {
    cells: &'a Snapshot,
    /// Group `slot` is `offsets[slot]..offsets[slot + 1]`.
    offsets: Vec<u32>,
    /// Positions, from the oldest cell on.
    places: Vec<u32>,
}

impl<'a> BySlot<'a> {
    /// A counting sort: two passes over the cells.
    fn new(cells: &'a Snapshot, slots: usize) -> Self {
        // Group `slot` is counted one further on, and fills up from its beginning to where the next one begins.
        let mut offsets = vec![0u32; slots + 2];
        for (slot, _) in cells.cells() {
            offsets[slot as usize + 2] += 1;
        }
        for slot in 0..=slots {
            offsets[slot + 1] += offsets[slot];
        }
        let mut places = vec![0; offsets[slots + 1] as usize];
        for (slot, sample) in cells.cells() {
            let at = &mut offsets[slot as usize + 1];
            places[*at as usize] = (sample.position - cells.base()) as u32;
            *at += 1;
        }
        Self { cells, offsets, places }
    }

    fn group(&self, slot: u32) -> &[u32] {
        let slot = slot as usize;
        // One that was made after the grouping began has nothing in these cells.
        let range = self.offsets.get(slot).zip(self.offsets.get(slot + 1));
        range.map_or(&[], |(start, end)| &self.places[*start as usize..*end as usize])
    }

    fn of(&self, slot: u32) -> impl Iterator<Item = LogSample> + '_ {
        self.group(slot).iter().map(|place| self.cells.sample(self.cells.base() + u64::from(*place)))
    }
}
