//! What the log holds and no block does comes back into the head, segment by segment, in bounded memory.

use std::sync::atomic::Ordering;

use model::batch::{Exemplar, HistogramSample};
use wal::Position;

use crate::digests::{Digests, REMEMBERED_MS};
use crate::head::side::{exemplar_bytes, histogram_bytes};
use crate::head::table::series_id;
use crate::open::{OpenError, Progress};
use crate::record::{self, Digest, Record, Row, Unreadable};
use crate::store::Inner;
use crate::totals::{Total, Totals};

/// The part of the memory that samples may take before they are flushed during the replay.
const REPLAY_PART: u64 = 4;

/// The series that slots stand for, as the segment names them and as the table has them now. Slots are small numbers,
/// most of which are there.
#[derive(Default)]
struct Slots {
    parts: Vec<Option<Box<[u32; SLOTS]>>>,
}

/// Slots of a part.
const SLOTS: usize = 1 << 12;

/// The position of a sample that is not kept.
const PASSED: u64 = u64::MAX;

/// Stands where a slot has no series.
const NO_SERIES: u32 = u32::MAX;

impl Slots {
    fn insert(&mut self, slot: u32, ours: u32) {
        let (part, at) = (slot as usize / SLOTS, slot as usize % SLOTS);
        if part >= self.parts.len() {
            self.parts.resize_with(part + 1, || None);
        }
        self.parts[part].get_or_insert_with(|| Box::new([NO_SERIES; SLOTS]))[at] = ours;
    }

    fn get(&self, slot: u32) -> Option<u32> {
        let part = self.parts.get(slot as usize / SLOTS)?.as_ref()?;
        Some(part[slot as usize % SLOTS]).filter(|ours| *ours != NO_SERIES)
    }
}

/// One run over the log.
pub(crate) struct Replay<'a> {
    inner: &'a Inner,
    slots: Slots,
    /// Log positions of the latest samples record, for start timestamps; [`PASSED`] of what is not kept.
    positions: Vec<Option<(u32, u64)>>,
    /// Whether what follows in the present frame is not kept.
    passes: bool,
    /// Monotonic second of the start.
    now_s: u32,
    /// Of the present frame.
    sequence: u64,
    last_sequence: u64,
    /// Frames up to this one are in blocks.
    flushed_sequence: u64,
    /// The first frame of those that came one behind the other up to the present one.
    unbroken_from: u64,
    totals: Totals,
    digests: Digests,
    /// Sequences of frames with a record whose series definition was lost in a damaged frame, or that cannot be decoded.
    lost: Vec<u64>,
    /// A record of a newer Weir that must not be skipped.
    unknown_kind: Option<u8>,
}

impl<'a> Replay<'a> {
    pub(crate) fn new(inner: &'a Inner) -> Self {
        let flushed_sequence = inner.manifest.lock().expect("lock").manifest.flushed_sequence;
        Self {
            inner,
            slots: Slots::default(),
            positions: Vec::new(),
            passes: false,
            now_s: inner.now_s(),
            sequence: 0,
            last_sequence: flushed_sequence,
            flushed_sequence,
            unbroken_from: 0,
            totals: Totals::default(),
            digests: Digests::default(),
            lost: Vec::new(),
            unknown_kind: None,
        }
    }

    /// Replays every segment that the manifest says is needed, then tells the writer where to go on.
    pub(crate) fn run(mut self, progress: &Progress) -> Result<(), OpenError> {
        let inner = self.inner;
        let from = inner.manifest.lock().expect("lock").manifest.replay_segment;
        let numbers = wal::segments(&*inner.env.files, &inner.wal_directory())?;
        let needed: Vec<u64> = numbers.iter().copied().filter(|number| *number >= from).collect();
        progress.segments.store(needed.len() as u64, Ordering::Relaxed);
        // Whoever waits for the start need not wait for a flush too, as long as there is memory.
        let most = inner.options.flush_bytes.max(inner.options.memory_bytes / REPLAY_PART);
        for number in &needed {
            self.segment(*number)?;
            progress.replayed.fetch_add(1, Ordering::Relaxed);
            if inner.unflushed_bytes() >= most {
                // Totals cannot be logged again yet: what has them stays where a replay begins.
                let has_totals = !(self.totals.is_empty() && self.digests.is_empty());
                let begin = if has_totals { from } else { number + 1 };
                let mark = inner.mark(begin, self.last_sequence);
                // A full disk must not keep the store from opening: the log stays, the flush is tried again later.
                match inner.flush_to(&mark) {
                    Ok(()) => inner.counters.flushes.fetch_add(1, Ordering::Relaxed),
                    Err(error) => {
                        tracing::warn!(%error, "flush during replay failed");
                        inner.counters.flush_failures.fetch_add(1, Ordering::Relaxed)
                    }
                };
            }
        }
        let next_segment = numbers.last().map_or(1, |last| last + 1).max(from);
        let mut writer = inner.writer.lock().expect("lock");
        writer.wal.go_on(next_segment, self.last_sequence + 1);
        let end = Position { segment: next_segment, sequence: self.last_sequence + 1 };
        inner.log_ends.open(wal::Stream::Metrics, end);
        (writer.totals, writer.digests) = (self.totals, self.digests);
        inner.charge_totals(&writer);
        Ok(())
    }

    fn segment(&mut self, number: u64) -> Result<(), OpenError> {
        let inner = self.inner;
        self.slots = Slots::default();
        self.lost.clear();
        let directory = inner.wal_directory();
        let stream = wal::Stream::Metrics;
        let damage =
            wal::read_segment(&*inner.env.files, &directory, stream, number, &mut |sequence, payload| {
                self.frame(sequence, payload);
                Ok(())
            })?;
        if let Some(kind) = self.unknown_kind {
            let what = format!("a record of WAL segment {number}");
            return Err(OpenError::Newer { what, found: kind.into(), known: record::KIND_MAX.into() });
        }
        // What a torn group names was torn with it.
        let torn_from = damage.torn_from.unwrap_or(u64::MAX);
        let lost_frames = self.lost.iter().filter(|sequence| **sequence < torn_from).count();
        if damage.is_loss() || lost_frames > 0 {
            tracing::error!(segment = number, %damage, lost_frames, "damaged WAL");
            let gaps = damage.gaps + u64::from(damage.header);
            inner.counters.damaged_frames.fetch_add(gaps.max(1), Ordering::Relaxed);
            inner.damage.lock().expect("lock").push(format!("WAL segment {number} is damaged: {damage}"));
            inner.manifest.lock().expect("lock").damaged_segments.push(number);
        } else if damage.torn_bytes > 0 {
            let bytes = damage.torn_bytes;
            tracing::info!(
                segment = number,
                bytes,
                "the last group of a WAL segment was torn, or is damaged"
            );
        }
        Ok(())
    }

    fn frame(&mut self, sequence: u64, payload: &[u8]) {
        if sequence != self.sequence + 1 {
            self.unbroken_from = sequence;
        }
        self.sequence = sequence;
        self.passes = false;
        self.last_sequence = self.last_sequence.max(sequence);
        // Without a manifest a segment comes here that was flushed, and that a power cut has brought back: blocks that were
        // written after it must not be overwritten by it.
        let is_flushed = sequence <= self.flushed_sequence;
        let each = |record: Record<'_>| {
            let counts_anyway = matches!(
                record,
                Record::Series { .. }
                    | Record::Totals(_)
                    | Record::HistogramTotal(..)
                    | Record::Digest(_)
                    | Record::Passes(_)
            );
            if !is_flushed || counts_anyway {
                self.record(record);
            }
        };
        match record::read(payload, each) {
            Ok(_) => {}
            Err(Unreadable::Corrupt) => self.lose(),
            Err(Unreadable::UnknownKind(kind)) => self.unknown_kind = Some(kind),
        }
    }

    /// Notes that something of the present frame is lost.
    fn lose(&mut self) {
        if self.lost.last() != Some(&self.sequence) {
            self.lost.push(self.sequence);
        }
    }

    fn record(&mut self, record: Record<'_>) {
        match record {
            Record::Series { slot, tenant, id, labels } => {
                let mut table = self.inner.table.write().expect("lock");
                // The id is recomputed rather than believed: it decides which series a sample belongs to.
                if series_id(self.inner.id_seed, tenant, labels) != id {
                    self.lose();
                    return;
                }
                let now_s = self.now_s;
                let ours = table.find(id).unwrap_or_else(|| table.insert(tenant, id, labels, now_s));
                self.slots.insert(slot, ours);
            }
            Record::Samples(rows) => self.samples(&rows),
            Record::Starts(starts) => self.starts(&starts),
            Record::Histogram(slot, sample) => self.histogram(slot, sample),
            Record::Exemplar(slot, exemplar) => self.exemplar(slot, exemplar),
            Record::Totals(totals) => self.totals(totals),
            Record::HistogramTotal(slot, total) => match self.slots.get(slot) {
                Some(slot) => self.totals.histograms.set(slot, total),
                None => self.lose(),
            },
            Record::Digest(digest) => self.digest(digest),
            Record::Origin(_) => {}
            Record::Passes(passes) => self.passes = passes,
            Record::Metadata { tenant, family, metadata } => {
                self.inner.metadata.write().expect("lock").set(tenant, &family, metadata);
            }
        }
    }

    fn samples(&mut self, rows: &[Row]) {
        let inner = self.inner;
        let table = inner.table.read().expect("lock");
        let mut appender = inner.log.appender();
        self.positions.clear();
        for row in rows {
            let Some(slot) = self.slots.get(row.slot) else {
                self.lose();
                self.positions.push(None);
                continue;
            };
            let entry = table.entry(slot);
            if self.passes {
                self.positions.push(Some((slot, PASSED)));
                continue;
            }
            let previous = entry.tail.load(Ordering::Relaxed);
            let position = appender.push(slot, previous, row.timestamp_ms, row.value);
            entry.tail.store(position, Ordering::Relaxed);
            entry.stale.store(model::is_stale(row.value), Ordering::Relaxed);
            inner.head_range.include(row.timestamp_ms);
            self.positions.push(Some((slot, position)));
        }
        appender.publish();
        self.note_unflushed();
    }

    fn starts(&mut self, starts: &[(u32, i64)]) {
        let mut sides = self.inner.sides.write().expect("lock");
        for (row, start_ms) in starts {
            match self.positions.get(*row as usize) {
                Some(Some((_, PASSED))) => {}
                Some(Some((slot, position))) => {
                    sides.charge(16);
                    sides.of(*slot).starts.push((*position, *start_ms));
                }
                _ => self.lose(),
            }
        }
    }

    fn histogram(&mut self, slot: u32, sample: HistogramSample) {
        let Some(slot) = self.slots.get(slot) else {
            self.lose();
            return;
        };
        if self.passes {
            return;
        }
        self.inner.head_range.include(sample.timestamp_ms);
        let position = self.inner.log.end();
        let mut sides = self.inner.sides.write().expect("lock");
        sides.charge(histogram_bytes(&sample));
        sides.of(slot).histograms.push((position, sample));
        drop(sides);
        self.note_unflushed();
    }

    fn exemplar(&mut self, slot: u32, exemplar: Exemplar) {
        let Some(slot) = self.slots.get(slot) else {
            self.lose();
            return;
        };
        if self.passes {
            return;
        }
        let mut sides = self.inner.sides.write().expect("lock");
        sides.charge(exemplar_bytes(&exemplar));
        sides.of(slot).exemplars.push(exemplar);
        drop(sides);
        self.note_unflushed();
    }

    fn totals(&mut self, totals: Vec<(u32, Total<f64>)>) {
        for (slot, total) in totals {
            match self.slots.get(slot) {
                Some(slot) => self.totals.floats.set(slot, total),
                None => self.lose(),
            }
        }
    }

    /// A request is known when all of it is there. Of one that was torn what is there is late when it comes again, and the
    /// rest is not.
    fn digest(&mut self, digest: Digest) {
        let Digest { tenant, digest, taken_ms, frames } = digest;
        let first = self.sequence.saturating_sub(frames);
        if first < self.unbroken_from || self.lost.last().is_some_and(|lost| *lost >= first) {
            return;
        }
        let clock = &self.inner.env.clock;
        // A clock that was set back makes it young.
        let age_ms = clock.now_ms().saturating_sub(taken_ms).max(0);
        if age_ms <= REMEMBERED_MS {
            self.digests.remember(tenant, digest, self.inner.monotonic_ms() - age_ms);
        }
    }

    fn note_unflushed(&self) {
        let oldest = &self.inner.oldest_unflushed;
        if oldest.load(Ordering::Relaxed) == u64::MAX {
            oldest.store(self.inner.env.clock.monotonic().as_millis() as u64, Ordering::Relaxed);
        }
    }
}
