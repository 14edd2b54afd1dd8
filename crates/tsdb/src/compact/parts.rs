//! A series in parts: ranges of time whose rows fit into memory, whatever the series has.
//!
//! What a chunk takes once it is read is bounded by what the index says of it. Parts are cut where chunks end, so that in a
//! series whose inputs lie one behind the other each chunk is read once. A part that holds the next end of a chunk and is too
//! large all the same is not cut further: it has one chunk of an input at most.

use codec::chunk::histograms;
use model::TimeRange;
use model::histogram::BucketCounts;
use model::select::HistogramPoint;

use crate::block::{ChunkKind, ChunkMeta, Columns};

/// Bytes that a row takes while it is put in order: in its columns, and twice as a write.
const ROW_BYTES: u64 = 128;

/// Bytes that a histogram takes beside its row and its buckets.
const HISTOGRAM_BYTES: u64 = 256;

/// Bytes of buckets that a byte of a chunk may stand for in each row: a bit says that all rows of a column are alike.
const BUCKET_BYTES_OF_BYTE: u64 = 64;

/// Bytes of the buckets of a chunk of several histograms, at most.
const BUCKETS_BYTES_MAX: u64 = histograms::PARTS_MAX as u64 * 8;

/// Bytes that an exemplar takes beside its text, and those of its text for each that is written.
const EXEMPLAR_BYTES: u64 = 96;
const TEXT_BYTES_OF_BYTE: u64 = 32;

/// What a chunk is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rows {
    Samples,
    Exemplars,
}

/// Chunks of one series in all inputs of a merge, by what they take once they are read.
#[derive(Debug)]
pub(super) struct Weights {
    of: Rows,
    /// First times, ascending, each with the bytes of all chunks up to there.
    starts: Vec<(i64, u64)>,
    /// The same with last times.
    ends: Vec<(i64, u64)>,
    bytes: u64,
}

/// A part of a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// The span that it is in.
    pub(super) span: usize,
    pub(super) of: Rows,
    pub(super) range: TimeRange,
    /// What it takes at most.
    pub(super) bytes: u64,
}

impl Weights {
    pub(super) fn new(of: Rows) -> Self {
        Self { of, starts: Vec::new(), ends: Vec::new(), bytes: 0 }
    }

    /// Adds a chunk if it is of these rows.
    pub(super) fn add(&mut self, chunk: &ChunkMeta) {
        let of = if chunk.kind == ChunkKind::Exemplars { Rows::Exemplars } else { Rows::Samples };
        if of == self.of {
            self.add_bytes(chunk.range, weight(chunk));
        }
    }

    fn add_bytes(&mut self, range: TimeRange, bytes: u64) {
        self.starts.push((range.start_ms, bytes));
        self.ends.push((range.end_ms, bytes));
        self.bytes += bytes;
    }

    /// Bytes of everything.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Before anything is cut.
    pub(super) fn sort(&mut self) {
        for side in [&mut self.starts, &mut self.ends] {
            side.sort_unstable();
            let mut sum = 0;
            for (_, bytes) in side {
                sum += *bytes;
                *bytes = sum;
            }
        }
    }

    /// Cuts what lies within a span into parts of so many bytes.
    pub(super) fn cut(&self, span: usize, within: TimeRange, bytes_max: u64) -> Vec<Part> {
        let before = |side: &[(i64, u64)], at: usize| at.checked_sub(1).map_or(0, |last| side[last].1);
        let mut parts = Vec::new();
        let Some((first_ms, _)) = self.starts.first() else { return parts };
        let mut next = Some(within.start_ms.max(*first_ms));
        while let Some(start_ms) = next.filter(|start_ms| *start_ms <= within.end_ms) {
            let ended = self.ends.partition_point(|(ms, _)| *ms < start_ms);
            let gone = before(&self.ends, ended);
            let Some((next_end_ms, _)) = self.ends.get(ended) else { break };
            let fits = self.starts.partition_point(|(_, bytes)| bytes.saturating_sub(gone) <= bytes_max);
            let end_ms = match self.starts.get(fits) {
                None => within.end_ms,
                Some((too_much_ms, _)) => {
                    let end = self.ends.partition_point(|(ms, _)| ms < too_much_ms);
                    self.ends[end.saturating_sub(1)].0.max(*next_end_ms)
                }
            };
            let end_ms = end_ms.min(within.end_ms);
            let begun = self.starts.partition_point(|(ms, _)| *ms <= end_ms);
            let bytes = before(&self.starts, begun).saturating_sub(gone);
            if bytes > 0 {
                parts.push(Part { span, of: self.of, range: TimeRange { start_ms, end_ms }, bytes });
            }
            next = end_ms.checked_add(1);
        }
        parts
    }
}

/// Bytes that the rows of a chunk take at most while they are merged.
fn weight(chunk: &ChunkMeta) -> u64 {
    let (rows, length) = (u64::from(chunk.rows), u64::from(chunk.length()));
    match chunk.kind {
        ChunkKind::Floats => rows * ROW_BYTES,
        ChunkKind::Histograms | ChunkKind::HistogramColumns => {
            let buckets = rows.saturating_mul(length).saturating_mul(BUCKET_BYTES_OF_BYTE);
            let most = if rows > 1 { BUCKETS_BYTES_MAX } else { u64::MAX };
            buckets.min(most).saturating_add(rows * (ROW_BYTES + HISTOGRAM_BYTES))
        }
        ChunkKind::Exemplars => rows * EXEMPLAR_BYTES + length * TEXT_BYTES_OF_BYTE,
    }
}

/// Bytes that the rows from `first` on take as they are.
pub(super) fn bytes_from(columns: &Columns, first: usize) -> u64 {
    let rows = (columns.timestamps.len() - first) as u64;
    let each = if columns.starts.is_empty() { 16 } else { 24 };
    let before = columns.histograms.partition_point(|point| (point.row as usize) < first);
    let of = |point: &HistogramPoint| {
        let histogram = &point.histogram;
        let buckets = match &histogram.counts {
            BucketCounts::Integer { positive, negative, .. } => positive.len() + negative.len(),
            BucketCounts::Float { positive, negative, .. } => positive.len() + negative.len(),
        };
        let spans = histogram.positive_spans.len() + histogram.negative_spans.len();
        HISTOGRAM_BYTES + 8 * (buckets + spans + histogram.custom_bounds.len()) as u64
    };
    rows * each + columns.histograms[before..].iter().map(of).sum::<u64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights(chunks: &[(i64, i64, u64)]) -> Weights {
        let mut weights = Weights::new(Rows::Samples);
        for (start_ms, end_ms, bytes) in chunks {
            weights.add_bytes(TimeRange { start_ms: *start_ms, end_ms: *end_ms }, *bytes);
        }
        weights.sort();
        weights
    }

    fn cut(chunks: &[(i64, i64, u64)], within: (i64, i64), bytes_max: u64) -> Vec<(i64, i64, u64)> {
        let within = TimeRange { start_ms: within.0, end_ms: within.1 };
        let parts = weights(chunks).cut(0, within, bytes_max);
        parts.iter().map(|part| (part.range.start_ms, part.range.end_ms, part.bytes)).collect()
    }

    const ALWAYS: (i64, i64) = (i64::MIN, i64::MAX);

    #[test]
    fn chunks_that_lie_one_behind_the_other_are_each_in_one_part() {
        let chunks = [(0, 9, 4), (10, 19, 4), (20, 29, 4), (40, 49, 20), (50, 59, 4)];
        assert_eq!(cut(&chunks, ALWAYS, 100), [(0, i64::MAX, 36)]);
        let parts = [(0, 19, 8), (20, 29, 4), (30, 49, 20), (50, i64::MAX, 4)];
        assert_eq!(cut(&chunks, ALWAYS, 10), parts);
        assert_eq!(cut(&chunks, (12, 25), 10), [(12, 25, 8)]);
        assert_eq!(cut(&chunks, (30, 39), 10), []);
        assert_eq!(cut(&[], ALWAYS, 10), []);
    }

    #[test]
    fn what_is_too_large_has_one_chunk_of_an_input_at_most() {
        // Two inputs with the same times, and one whose chunks end elsewhere.
        let same = [(0, 9, 6), (10, 19, 6), (0, 9, 6), (10, 19, 6)];
        assert_eq!(cut(&same, ALWAYS, 8), [(0, 9, 12), (10, 19, 12)]);
        let apart = [(0, 9, 6), (10, 19, 6), (0, 4, 6), (5, 14, 6), (15, 19, 6)];
        let parts = [(0, 4, 12), (5, 9, 12), (10, 14, 12), (15, 19, 12)];
        assert_eq!(cut(&apart, ALWAYS, 8), parts);
    }

    #[test]
    fn parts_are_all_of_a_range_whatever_an_index_says() {
        let mut state = 7u64;
        let mut dice = |n: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % n
        };
        for _ in 0..2000 {
            // Ends before starts too.
            let chunks: Vec<_> = (0..dice(12))
                .map(|_| {
                    let start_ms = dice(100) as i64;
                    (start_ms, start_ms + dice(30) as i64 - 2, 1 + dice(9))
                })
                .collect();
            let within = (dice(60) as i64, 40 + dice(80) as i64);
            let parts = cut(&chunks, within, 1 + dice(30));
            assert!(parts.is_sorted_by(|a, b| a.1 < b.0), "{parts:?}");
            for (start_ms, end_ms, _) in chunks.iter().filter(|chunk| chunk.0 <= chunk.1) {
                for ms in (*start_ms..=*end_ms).filter(|ms| (within.0..=within.1).contains(ms)) {
                    let of = parts.iter().filter(|part| (part.0..=part.1).contains(&ms)).count();
                    assert_eq!(of, 1, "{ms} of {chunks:?} in {parts:?}");
                }
            }
        }
    }
}
