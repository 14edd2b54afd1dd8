//! The samples of the head, in order of arrival.
//!
//! One log for all series: an append writes the next cell and one link in the series' entry, nothing is allocated per
//! series, and a flush drops whole chunks. A cell links back to its series' previous cell, so reading a series walks
//! from its newest cell to the flushed part. One thread appends; readers take a [`Snapshot`] and see exactly the cells
//! before its end, whatever is appended or flushed meanwhile.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

/// Cells of a chunk.
const CHUNK_CELLS: u64 = 1 << 14;

/// Bytes that a cell takes.
pub(crate) const CELL_BYTES: u64 = 24;

/// Marks the end of a series' chain.
pub(crate) const NO_CELL: u64 = 0;

/// Atomics only because readers share the chunk with the one writer; every access is a plain move on the machine.
struct Cell {
    timestamp_ms: AtomicI64,
    value_bits: AtomicU64,
    /// High half: the series' slot. Low half: distance to its previous cell, 0 = none.
    link: AtomicU64,
}

struct CellChunk {
    cells: Box<[Cell]>,
    /// The latest time of all its cells.
    latest_ms: AtomicI64,
}

type Chunk = Arc<CellChunk>;

/// The log. Positions count from 1 over the life of the process; 0 is [`NO_CELL`].
pub(crate) struct SampleLog {
    chunks: RwLock<Chunks>,
    /// Position behind the newest visible cell.
    end: AtomicU64,
}

struct Chunks {
    /// Number of the first chunk in `live`.
    first: u64,
    live: VecDeque<Chunk>,
    /// Cells below are in blocks.
    base: u64,
}

/// A sample as it is read from the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogSample {
    pub(crate) position: u64,
    pub(crate) timestamp_ms: i64,
    pub(crate) value: f64,
}

impl SampleLog {
    pub(crate) fn new() -> Self {
        let chunks = Chunks { first: 0, live: VecDeque::new(), base: 1 };
        Self { chunks: RwLock::new(chunks), end: AtomicU64::new(1) }
    }

    /// Starts appending; [`Appender::publish`] makes everything visible at once.
    pub(crate) fn appender(&self) -> Appender<'_> {
        Appender { log: self, position: self.end.load(Ordering::Relaxed), chunk: None }
    }

    /// Position behind the newest visible cell.
    pub(crate) fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    /// Cells that are not in blocks.
    pub(crate) fn live_cells(&self) -> u64 {
        self.end() - self.chunks.read().expect("lock").base
    }

    /// The cells from the flushed part to the present end.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let chunks = self.chunks.read().expect("lock");
        let end = self.end();
        let mut latest_ms = i64::MIN;
        let up_to = |chunk: &Chunk| {
            latest_ms = latest_ms.max(chunk.latest_ms.load(Ordering::Relaxed));
            latest_ms
        };
        Snapshot {
            first: chunks.first,
            latest_ms: chunks.live.iter().map(up_to).collect(),
            chunks: chunks.live.iter().cloned().collect(),
            base: chunks.base,
            end,
        }
    }

    /// Forgets cells below `base`: they are in blocks now.
    pub(crate) fn drop_before(&self, base: u64) {
        let mut chunks = self.chunks.write().expect("lock");
        assert!(base >= chunks.base && base <= self.end(), "a flush covers what was appended");
        chunks.base = base;
        while (chunks.first + 1) * CHUNK_CELLS <= base && !chunks.live.is_empty() {
            chunks.live.pop_front();
            chunks.first += 1;
        }
        chunks.live.shrink_to_fit();
    }

    fn chunk(&self, number: u64) -> Chunk {
        let mut chunks = self.chunks.write().expect("lock");
        if chunks.live.is_empty() {
            chunks.first = number;
        }
        let first = chunks.first;
        while first + chunks.live.len() as u64 <= number {
            let cell = || Cell {
                timestamp_ms: AtomicI64::new(0),
                value_bits: AtomicU64::new(0),
                link: AtomicU64::new(0),
            };
            let cells = (0..CHUNK_CELLS).map(|_| cell()).collect();
            chunks.live.push_back(Arc::new(CellChunk { cells, latest_ms: AtomicI64::new(i64::MIN) }));
        }
        chunks.live[index(number - first)].clone()
    }
}

/// The one writer's hand on the log.
pub(crate) struct Appender<'a> {
    log: &'a SampleLog,
    position: u64,
    chunk: Option<(u64, Chunk)>,
}

impl Appender<'_> {
    /// Writes a cell behind `previous` (the series' newest cell or [`NO_CELL`]); returns its position.
    pub(crate) fn push(&mut self, slot: u32, previous: u64, timestamp_ms: i64, value: f64) -> u64 {
        let position = self.position;
        let number = position / CHUNK_CELLS;
        if self.chunk.as_ref().is_none_or(|(n, _)| *n != number) {
            self.chunk = Some((number, self.log.chunk(number)));
        }
        let (_, chunk) = self.chunk.as_ref().expect("just set");
        if timestamp_ms > chunk.latest_ms.load(Ordering::Relaxed) {
            chunk.latest_ms.store(timestamp_ms, Ordering::Relaxed);
        }
        let cell = &chunk.cells[index(position % CHUNK_CELLS)];
        // A previous cell that is too far away for the link was flushed long ago.
        let distance = if previous == NO_CELL { 0 } else { u32::try_from(position - previous).unwrap_or(0) };
        cell.timestamp_ms.store(timestamp_ms, Ordering::Relaxed);
        cell.value_bits.store(value.to_bits(), Ordering::Relaxed);
        cell.link.store(u64::from(slot) << 32 | u64::from(distance), Ordering::Relaxed);
        self.position = position + 1;
        position
    }

    /// The position that the next cell gets.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Makes the written cells visible.
    pub(crate) fn publish(self) {
        self.log.end.store(self.position, Ordering::Release);
    }
}

/// What a reader sees: fixed at the time it was taken.
#[derive(Clone)]
pub(crate) struct Snapshot {
    first: u64,
    chunks: Vec<Chunk>,
    /// The latest time in each chunk and all before it.
    latest_ms: Vec<i64>,
    base: u64,
    end: u64,
}

impl Snapshot {
    /// Position of the oldest cell.
    pub(crate) fn base(&self) -> u64 {
        self.base
    }

    /// The same cells without those from `end` on.
    pub(crate) fn until(mut self, end: u64) -> Snapshot {
        self.end = self.end.min(end);
        self
    }

    /// The series' cells from `newest` back, appended to `out`, newest first; those where everything is older than
    /// `since_ms` may be left out. `newest` was read before the snapshot was taken (so that the snapshot has its chunk)
    /// and after [`Snapshot::until`]'s end was (so that it is complete).
    pub(crate) fn walk(&self, newest: u64, since_ms: i64, out: &mut Vec<LogSample>) {
        let mut position = newest;
        while position >= self.base && position != NO_CELL {
            let chunk = index(position / CHUNK_CELLS - self.first);
            if self.latest_ms[chunk] < since_ms {
                return;
            }
            let cell = &self.chunks[chunk].cells[index(position % CHUNK_CELLS)];
            let link = cell.link.load(Ordering::Relaxed);
            if position < self.end {
                out.push(LogSample {
                    position,
                    timestamp_ms: cell.timestamp_ms.load(Ordering::Relaxed),
                    value: f64::from_bits(cell.value_bits.load(Ordering::Relaxed)),
                });
            }
            let distance = link & u64::from(u32::MAX);
            if distance == 0 {
                return;
            }
            position -= distance;
        }
    }

    /// How many cells there are at most in which something may be as late as `since_ms`.
    pub(crate) fn cells_since(&self, since_ms: i64) -> u64 {
        self.end.saturating_sub(self.first_since(since_ms).max(self.base))
    }

    /// The position from which on something may be as late as `since_ms`.
    fn first_since(&self, since_ms: i64) -> u64 {
        let older = self.latest_ms.partition_point(|latest_ms| *latest_ms < since_ms);
        (self.first + older as u64) * CHUNK_CELLS
    }

    /// Cells in order of arrival, slot and sample; where everything is older than `since_ms` they may be left out.
    pub(crate) fn each_since(&self, since_ms: i64, mut each: impl FnMut(u32, i64, f64)) {
        let from = self.first_since(since_ms).max(self.base);
        let mut position = from;
        while position < self.end {
            let chunk = &self.chunks[index(position / CHUNK_CELLS - self.first)];
            let end = ((position / CHUNK_CELLS + 1) * CHUNK_CELLS).min(self.end);
            let cells = index(position % CHUNK_CELLS)..index(end - position + position % CHUNK_CELLS);
            for cell in &chunk.cells[cells] {
                let slot = (cell.link.load(Ordering::Relaxed) >> 32) as u32;
                let timestamp_ms = cell.timestamp_ms.load(Ordering::Relaxed);
                each(slot, timestamp_ms, f64::from_bits(cell.value_bits.load(Ordering::Relaxed)));
            }
            position = end;
        }
    }

    /// Every cell in order of arrival: slot and sample.
    pub(crate) fn cells(&self) -> impl Iterator<Item = (u32, LogSample)> + '_ {
        (self.base..self.end).map(|position| {
            let slot = (self.cell(position).link.load(Ordering::Relaxed) >> 32) as u32;
            (slot, self.sample(position))
        })
    }

    /// The sample of a cell.
    pub(crate) fn sample(&self, position: u64) -> LogSample {
        let cell = self.cell(position);
        LogSample {
            position,
            timestamp_ms: cell.timestamp_ms.load(Ordering::Relaxed),
            value: f64::from_bits(cell.value_bits.load(Ordering::Relaxed)),
        }
    }

    fn cell(&self, position: u64) -> &Cell {
        &self.chunks[index(position / CHUNK_CELLS - self.first)].cells[index(position % CHUNK_CELLS)]
    }
}

fn index(number: u64) -> usize {
    usize::try_from(number).expect("chunk counts fit in memory")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(snapshot: &Snapshot, newest: u64) -> Vec<f64> {
        let mut out = Vec::new();
        snapshot.walk(newest, i64::MIN, &mut out);
        out.iter().rev().map(|s| s.value).collect()
    }

    #[test]
    fn what_is_older_than_asked_for_is_not_walked_through() {
        let log = SampleLog::new();
        let (mut appender, mut tail) = (log.appender(), NO_CELL);
        for i in 0..4 * CHUNK_CELLS as i64 {
            // Every thousandth comes late.
            tail = appender.push(1, tail, if i % 1000 == 999 { i - 5000 } else { i }, 0.0);
        }
        appender.publish();
        let (snapshot, mut out) = (log.snapshot(), Vec::new());
        for since_ms in [0, 1000, CHUNK_CELLS as i64 + 1, 4 * CHUNK_CELLS as i64 - 10] {
            out.clear();
            snapshot.walk(tail, since_ms, &mut out);
            let found = out.iter().filter(|sample| sample.timestamp_ms >= since_ms).count() as i64;
            let late = |i: i64| i % 1000 == 999 && i - 5000 < since_ms;
            let wanted = (since_ms..4 * CHUNK_CELLS as i64).filter(|i| !late(*i)).count() as i64;
            assert_eq!(found, wanted);
            let (mut all, mut seen) = (0, 0);
            snapshot.each_since(since_ms, |slot, timestamp_ms, _| {
                assert_eq!(slot, 1);
                all += 1;
                seen += i64::from(timestamp_ms >= since_ms);
            });
            assert_eq!((seen, all), (wanted, snapshot.cells_since(since_ms)));
            assert!(out.len() as i64 <= 4 * CHUNK_CELLS as i64 - since_ms + CHUNK_CELLS as i64);
        }
    }

    #[test]
    fn snapshots_stay_as_they_were_taken() {
        let log = SampleLog::new();
        let mut tails = [NO_CELL; 2];
        let push = |appender: &mut Appender<'_>, tails: &mut [u64; 2], slot: usize, value: f64| {
            tails[slot] = appender.push(slot as u32, tails[slot], 0, value);
        };
        let mut appender = log.appender();
        push(&mut appender, &mut tails, 0, 1.0);
        push(&mut appender, &mut tails, 1, 2.0);
        push(&mut appender, &mut tails, 0, 3.0);
        assert_eq!(values(&log.snapshot(), tails[0]), Vec::<f64>::new(), "not published yet");
        appender.publish();
        let early = log.snapshot();
        let mut appender = log.appender();
        for i in 0..3 * CHUNK_CELLS {
            push(&mut appender, &mut tails, 1, i as f64);
        }
        push(&mut appender, &mut tails, 0, 4.0);
        appender.publish();
        assert_eq!(values(&log.snapshot(), tails[0]), [1.0, 3.0, 4.0]);
        log.drop_before(4);
        assert_eq!(values(&log.snapshot(), tails[0]), [4.0], "flushed cells are gone from new snapshots");
        assert_eq!(
            early.cells().map(|(slot, s)| (slot, s.value)).collect::<Vec<_>>(),
            [(0, 1.0), (1, 2.0), (0, 3.0)]
        );
        assert_eq!(log.live_cells(), 3 * CHUNK_CELLS + 1);
    }
}
