//! The writer: takes what waits in the queue, logs it as one group, applies it to the head, completes the tickets.
//!
//! Only here do samples enter log and head, one group after the other, so the order of the log is the order of the
//! head. Log lines of a group go into the log's other stream, before the samples and apart from them: each stream is
//! synced when it got something, and one that fails takes only the appends with it that have something for it. A group
//! that cannot be written is tried once more in a new segment; when that fails too its tickets fail, new appends are
//! refused, and a probe every half second finds out when the disk is back.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use model::{Matcher, TenantId};
use roaring::RoaringBitmap;
use wal::Position;

use crate::digests::Digests;
use crate::frames::Frames;
use crate::head::side::{exemplar_bytes, histogram_bytes};
use crate::head::table::Table;
use crate::logs;
use crate::queue::Queued;
use crate::record::SideRow;
use crate::store::{Inner, Store};
use crate::ticket::{Committed, WriteError};
use crate::totals::Totals;

/// How often a failing disk is tried, and how often its free space is looked at.
const PROBE_INTERVAL: Duration = Duration::from_millis(500);

/// What only the writer touches.
pub(crate) struct WriterState {
    pub(crate) wal: wal::Writer,
    /// The stream of log lines.
    pub(crate) lines: wal::Writer,
    pub(crate) payload: Vec<u8>,
    /// A series' labels in canonical form.
    pub(crate) labels: String,
    /// Of series that come as deltas.
    pub(crate) totals: Totals,
    /// Requests with deltas.
    pub(crate) digests: Digests,
    probed: Option<Duration>,
    /// Set by a flush: series without samples in the head should be looked through.
    pub(crate) evict: bool,
    /// Tenants, and of these series that satisfy the matchers, that leave the head whatever their age.
    pub(crate) deleted: Vec<(TenantId, Vec<Matcher>)>,
}

impl WriterState {
    pub(crate) fn new(wal: wal::Writer, lines: wal::Writer) -> Self {
        Self {
            wal,
            lines,
            payload: Vec::new(),
            labels: String::new(),
            totals: Totals::default(),
            digests: Digests::default(),
            probed: None,
            evict: false,
            deleted: Vec::new(),
        }
    }
}

impl Store {
    /// Waits up to `wait` for queued appends, then commits all of them as one group. Returns how many appends were
    /// completed. Driven by one thread; the delete of a tenant takes turns with it.
    pub fn commit(&self, wait: Duration) -> usize {
        let inner = &*self.inner;
        inner.queue.wait(wait, &*inner.env.clock);
        let mut writer = inner.writer.lock().expect("lock");
        // Under the lock: who lets series leave the head takes an empty queue for nobody naming them.
        let group = inner.queue.take_group();
        let committed = group.len();
        if !group.is_empty() {
            inner.commit_group(&mut writer, group);
        }
        inner.watch_disk(&mut writer);
        if std::mem::take(&mut writer.evict) {
            inner.evict(&mut writer);
        }
        committed
    }

    /// Commits what is queued now, whoever drives the writer. What others queue meanwhile is not waited for.
    pub(crate) fn commit_queued(&self) {
        let mut left = self.inner.queue.len();
        while left > 0 {
            match self.commit(Duration::ZERO) {
                0 => return,
                committed => left = left.saturating_sub(committed),
            }
        }
        // A group that the writer's thread took before is in the head once it gives its lock back.
        drop(self.inner.writer.lock().expect("lock"));
    }
}

/// Notes that series go on whose samples nobody keeps.
fn pass(item: &Queued, table: &Table, now_s: u32) {
    let note = |slot: u32, is_stale: bool| {
        let entry = table.entry(slot);
        entry.seen_s.store(now_s, Ordering::Relaxed);
        entry.stale.store(is_stale, Ordering::Relaxed);
    };
    item.rows.iter().for_each(|row| note(row.slot, model::is_stale(row.value)));
    for side in &item.sides {
        if let SideRow::Histogram(slot, sample) | SideRow::Total(slot, sample) = side {
            note(*slot, sample.histogram.is_stale());
        }
    }
}

impl Inner {
    fn commit_group(&self, writer: &mut WriterState, group: Vec<Queued>) {
        let mut group = self.commit_lines(writer, group);
        let passing = self.passing.read().expect("lock");
        group.iter_mut().for_each(|item| item.passes = passing.samples.contains(&item.tenant));
        drop(passing);
        self.propose(writer, &mut group);
        let outcome =
            if group.iter().any(Queued::has_metrics) { self.commit_metrics(writer, &group) } else { Ok(()) };
        self.counters.wal_commits.fetch_add(1, Ordering::Relaxed);
        let (with, without): (Vec<_>, Vec<_>) = group.into_iter().partition(Queued::has_metrics);
        self.complete(with, &outcome);
        self.complete(without, &Ok(()));
    }

    /// Answers appends that were applied, or failed.
    fn complete(&self, items: Vec<Queued>, outcome: &Result<(), WriteError>) {
        // Only now: who finds nothing waiting reads what was applied, or the doubts.
        let with_metadata = items.iter().filter(|item| !item.metadata.is_empty()).count();
        self.metadata_waiting.fetch_sub(with_metadata as u64, Ordering::Relaxed);
        for Queued { completion, late, .. } in items {
            let committed = Committed { rejected: late.rejections, refused_items: late.items };
            completion.complete(outcome.clone().map(|()| committed));
        }
    }

    /// Makes the group's log lines durable; what is left of the group when they could not be.
    fn commit_lines(&self, writer: &mut WriterState, group: Vec<Queued>) -> Vec<Queued> {
        let WriterState { lines, payload, .. } = writer;
        let mut commit = || {
            let with_lines = group.iter().map(|item| &item.lines).filter(|lines| !lines.is_empty());
            logs::commit(lines, with_lines, payload, &self.held, &self.log_ends)
        };
        if group.iter().all(|item| item.lines.is_empty()) {
            return group;
        }
        let logged = commit().or_else(|error| {
            tracing::warn!(%error, "log lines could not be written, going on in a new segment");
            self.counters.wal_failures.fetch_add(1, Ordering::Relaxed);
            commit()
        });
        self.held.failing.store(logged.is_err(), Ordering::Relaxed);
        let Err(error) = logged else {
            self.counters.wal_synced(writer.lines.last_sync_took(), self.written_bytes(writer));
            return group;
        };
        tracing::error!(%error, "log lines could not be written, refusing them");
        self.counters.wal_failures.fetch_add(1, Ordering::Relaxed);
        writer.probed = Some(self.env.clock.monotonic());
        // Nothing else of their requests is written: their senders hear that nothing was taken.
        let (left, failed) = group.into_iter().partition(|item| item.lines.is_empty());
        self.complete(failed, &Err(WriteError::Log(error.to_string())));
        left
    }

    pub(crate) fn written_bytes(&self, writer: &WriterState) -> u64 {
        writer.wal.written_bytes() + writer.lines.written_bytes()
    }

    /// Makes the group's samples durable and queryable.
    fn commit_metrics(&self, writer: &mut WriterState, group: &[Queued]) -> Result<(), WriteError> {
        let logged = self.log_group(writer, group).or_else(|error| {
            tracing::warn!(%error, "write-ahead log failed, going on in a new segment");
            self.counters.wal_failures.fetch_add(1, Ordering::Relaxed);
            self.log_group(writer, group)
        });
        match logged {
            Ok(()) => {
                self.health.wal_failing.store(false, Ordering::Relaxed);
                self.apply(group);
                self.settle(writer, group);
                Ok(())
            }
            Err(error) => {
                tracing::error!(%error, "write-ahead log failed, refusing writes");
                self.counters.wal_failures.fetch_add(1, Ordering::Relaxed);
                self.health.wal_failing.store(true, Ordering::Relaxed);
                writer.probed = Some(self.env.clock.monotonic());
                writer.totals.drop_proposed();
                self.doubt_metadata(group);
                Err(WriteError::Log(error.to_string()))
            }
        }
    }

    fn log_group(&self, writer: &mut WriterState, group: &[Queued]) -> io::Result<()> {
        let segment = writer.wal.segment()?;
        {
            let table = self.table.read().expect("lock");
            let WriterState { wal, payload, labels, .. } = writer;
            let mut frames = Frames::new(wal, payload, labels, &table, segment);
            let now_ms = self.env.clock.now_ms();
            for item in group {
                frames.item(item, now_ms);
            }
            frames.end();
        }
        writer.wal.commit()?;
        self.acknowledged(writer, segment);
        self.counters.wal_synced(writer.wal.last_sync_took(), self.written_bytes(writer));
        Ok(())
    }

    /// Lets followers read what was written into the segment.
    pub(crate) fn acknowledged(&self, writer: &WriterState, segment: u64) {
        let end = Position { segment, sequence: writer.wal.next_sequence() };
        self.log_ends.set(wal::Stream::Metrics, end);
    }

    /// Makes a logged group queryable.
    fn apply(&self, group: &[Queued]) {
        let table = self.table.read().expect("lock");
        let now_s = self.now_s();
        let mut appender = self.log.appender();
        for item in group {
            if item.passes {
                self.passed_bytes.fetch_add(item.bytes, Ordering::Relaxed);
                pass(item, &table, now_s);
                self.apply_metadata(item);
                continue;
            }
            let first = appender.position();
            for row in &item.rows {
                let entry = table.entry(row.slot);
                let previous = entry.tail.load(Ordering::Relaxed);
                let position = appender.push(row.slot, previous, row.timestamp_ms, row.value);
                entry.tail.store(position, Ordering::Release);
                entry.seen_s.store(now_s, Ordering::Relaxed);
                entry.stale.store(model::is_stale(row.value), Ordering::Relaxed);
                self.head_range.include(row.timestamp_ms);
            }
            self.apply_sides(item, &table, first, appender.position(), now_s);
            self.apply_metadata(item);
        }
        if self.oldest_unflushed.load(Ordering::Relaxed) == u64::MAX {
            self.oldest_unflushed.store(self.env.clock.monotonic().as_millis() as u64, Ordering::Relaxed);
        }
        appender.publish();
    }

    fn apply_sides(&self, item: &Queued, table: &Table, first: u64, end: u64, now_s: u32) {
        if item.sides.is_empty() {
            return;
        }
        let mut sides = self.sides.write().expect("lock");
        for side in &item.sides {
            match side {
                SideRow::Histogram(slot, sample) | SideRow::Total(slot, sample) => {
                    let entry = table.entry(*slot);
                    entry.seen_s.store(now_s, Ordering::Relaxed);
                    entry.stale.store(sample.histogram.is_stale(), Ordering::Relaxed);
                    self.head_range.include(sample.timestamp_ms);
                    sides.charge(histogram_bytes(sample));
                    sides.of(*slot).histograms.push((end, sample.clone()));
                }
                SideRow::Exemplar(slot, exemplar) => {
                    sides.charge(exemplar_bytes(exemplar));
                    sides.of(*slot).exemplars.push(exemplar.clone());
                }
                SideRow::Start { row, start_ms } => {
                    sides.charge(16);
                    let slot = item.rows[*row].slot;
                    sides.of(slot).starts.push((first + *row as u64, *start_ms));
                }
            }
        }
    }

    fn apply_metadata(&self, item: &Queued) {
        if !item.metadata.is_empty() {
            let mut stored = self.metadata.write().expect("lock");
            for (family, metadata) in &item.metadata {
                stored.set(item.tenant, family, metadata.clone());
            }
        }
    }

    /// Of a group that failed nobody knows what a restart will find in the log.
    fn doubt_metadata(&self, group: &[Queued]) {
        let mut stored = self.metadata.write().expect("lock");
        for item in group {
            item.metadata.iter().for_each(|(family, _)| stored.doubt(item.tenant, family));
        }
    }

    /// Looks at free space and, after a failure, whether the disk takes writes again.
    fn watch_disk(&self, writer: &mut WriterState) {
        let now = self.env.clock.monotonic();
        if writer.probed.is_some_and(|at| now.saturating_sub(at) < PROBE_INTERVAL) {
            return;
        }
        writer.probed = Some(now);
        self.health.memory_full.store(self.memory_bytes() > self.options.memory_bytes, Ordering::Relaxed);
        if let Ok(space) = self.env.files.space(&self.directory) {
            let low = space.free < self.options.disk_reserve_bytes;
            if low != self.health.disk_low.swap(low, Ordering::Relaxed) {
                tracing::warn!(free_bytes = space.free, low, "free disk space crossed the reserve");
            }
        }
        if self.health.wal_failing.load(Ordering::Relaxed) && writer.wal.probe().is_ok() {
            tracing::info!("write-ahead log takes writes again");
            self.health.wal_failing.store(false, Ordering::Relaxed);
        }
        if let Err(error) = writer.wal.sync_if_due() {
            tracing::error!(%error, "write-ahead log could not be synced");
            self.health.wal_failing.store(true, Ordering::Relaxed);
        }
        if self.held.failing.load(Ordering::Relaxed) && writer.lines.probe().is_ok() {
            tracing::info!("log lines can be written again");
            self.held.failing.store(false, Ordering::Relaxed);
        }
        if let Err(error) = writer.lines.sync_if_due() {
            tracing::error!(%error, "log lines could not be synced");
            self.held.failing.store(true, Ordering::Relaxed);
        }
    }

    /// Lets idle and ended series leave the head, when no append waits: those that do name series by slot.
    pub(crate) fn evict(&self, writer: &mut WriterState) {
        let _nobody_resolves = self.resolving.write().expect("lock");
        if self.queue.bytes() > 0 {
            // Something was queued since the last group: appends must not wait for the disk, so this waits for them.
            writer.evict = true;
            return;
        }
        let idle_s = u32::try_from(self.options.idle.as_secs()).unwrap_or(u32::MAX);
        let idle_before_s = self.now_s().saturating_sub(idle_s);
        let base = self.log.snapshot().base();
        let deleted = std::mem::take(&mut writer.deleted);
        let gone = self.table.read().expect("lock").leaving(base, idle_before_s, &deleted);
        let sides = self.sides.read().expect("lock");
        let gone = gone.into_iter().filter(|slot| !sides.contains(*slot)).collect();
        drop(sides);
        self.remove_series(writer, &gone);
    }

    /// Removes series. The caller keeps everyone from resolving.
    fn remove_series(&self, writer: &mut WriterState, gone: &RoaringBitmap) {
        if gone.is_empty() {
            return;
        }
        writer.totals.forget(gone);
        self.charge_totals(writer);
        self.table_mut().remove(gone);
    }
}
