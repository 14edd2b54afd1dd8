//! Runs of native histograms, column by column.
//!
//! As long as the shape stays (schema, zero threshold, spans, custom bounds, integer or float) it is said once, and the
//! rest are columns over the rows: reset hints, sums, count, zero count and every bucket. A bucket is a counter, so its
//! column is packed as any other; the buckets that do not move within the run, mostly many, cost a bit each and their
//! share of the first row. The count of integer histograms is what the buckets add up to, unless some observation was
//! NaN: what is written is the difference. A row of another shape begins a new run.
//!
//! A run of few rows is smaller row by row ([`super::histograms`]): [`suits`] says which kind rows should have.

use std::sync::Arc;

use model::Histogram;
use model::histogram::{BucketCounts, ResetHint};

use super::bytes::{Reader, put_varint};
use super::histograms::{PARTS_MAX, decode_shape, encode_shape, hint_number, is_float, parts_of, same_shape};
use super::{Corrupt, Packing, ROWS_MAX, checked_rows, floats, integers};

/// Set in a run's head when counts are floats.
const FLOAT: u8 = 1;
/// Rows that a run has on average, or columns are not worth their heads.
const RUN_ROWS_MIN: usize = 8;
/// Columns before those of the buckets: count and zero count.
const COUNTS: usize = 2;
/// Buckets that a byte can stand for, when none of them moves and all are the same.
const BUCKETS_OF_BYTE: usize = 8;

/// Whether columns are what these rows should be written as.
pub fn suits(histograms: &[Arc<Histogram>]) -> bool {
    let runs = runs(histograms).count();
    let fit = histograms.iter().all(|h| parts_of(h) <= ROWS_MAX - COUNTS);
    fit && runs > 0 && histograms.len() / runs >= RUN_ROWS_MIN
}

fn runs(histograms: &[Arc<Histogram>]) -> impl Iterator<Item = &[Arc<Histogram>]> {
    histograms.chunk_by(|a, b| same_shape(a, b))
}

/// Appends histograms: no more than [`super::histograms::chunk_rows`] of them, of which no one has more than
/// [`ROWS_MAX`] buckets.
pub fn encode(packing: Packing, histograms: &[Arc<Histogram>], out: &mut Vec<u8>) {
    for run in runs(histograms) {
        put_varint(out, run.len() as u64);
        out.push(if is_float(&run[0]) { FLOAT } else { 0 });
        encode_shape(&run[0], out);
        let hints: Vec<i64> = run.iter().map(|h| i64::from(hint_number(h.reset_hint))).collect();
        integers::encode_as(packing, &hints, out);
        let sums: Vec<f64> = run.iter().map(|h| h.sum).collect();
        floats::encode_as(packing, &sums, out);
        if is_float(&run[0]) {
            encode_floats(packing, run, out);
        } else {
            encode_integers(packing, run, out);
        }
    }
}

fn encode_integers(packing: Packing, run: &[Arc<Histogram>], out: &mut Vec<u8>) {
    let cells: Vec<u64> = run.iter().flat_map(|h| integer_cells(h)).collect();
    let width = cells.len() / run.len();
    let first: Vec<i64> = cells[..width].iter().map(|cell| *cell as i64).collect();
    integers::encode_as(packing, &first, out);
    let moves = |column: usize| cells.iter().skip(column).step_by(width).any(|c| *c != cells[column]);
    let moving = put_moving(width, moves, out);
    let mut distances = Vec::with_capacity(run.len());
    for column in moving {
        let rest = cells.iter().skip(column + width).step_by(width);
        distances.clear();
        distances.extend(rest.map(|cell| cell.wrapping_sub(cells[column]) as i64));
        integers::encode_as(packing, &distances, out);
    }
}

/// Counts in the order of their columns; instead of the count what it has over its parts.
fn integer_cells(histogram: &Histogram) -> impl Iterator<Item = u64> {
    let (counts, positive, negative) = match &histogram.counts {
        BucketCounts::Integer { count, zero, positive, negative } => {
            let parts = positive.iter().chain(negative).fold(*zero, |all, part| all.wrapping_add(*part));
            ([count.wrapping_sub(parts), *zero], &positive[..], &negative[..])
        }
        BucketCounts::Float { .. } => ([0, 0], &[][..], &[][..]),
    };
    counts.into_iter().chain(positive.iter().copied()).chain(negative.iter().copied())
}

fn encode_floats(packing: Packing, run: &[Arc<Histogram>], out: &mut Vec<u8>) {
    let cells: Vec<f64> = run.iter().flat_map(|h| float_cells(h)).collect();
    let width = cells.len() / run.len();
    floats::encode_as(packing, &cells[..width], out);
    let moves = |column: usize| {
        let first = cells[column].to_bits();
        cells.iter().skip(column).step_by(width).any(|cell| cell.to_bits() != first)
    };
    let moving = put_moving(width, moves, out);
    let mut rest = Vec::with_capacity(run.len());
    for column in moving {
        rest.clear();
        rest.extend(cells.iter().skip(column + width).step_by(width));
        floats::encode_as(packing, &rest, out);
    }
}

fn float_cells(histogram: &Histogram) -> impl Iterator<Item = f64> {
    let (counts, positive, negative) = match &histogram.counts {
        BucketCounts::Float { count, zero, positive, negative } => {
            ([*count, *zero], &positive[..], &negative[..])
        }
        BucketCounts::Integer { .. } => ([0.0, 0.0], &[][..], &[][..]),
    };
    counts.into_iter().chain(positive.iter().copied()).chain(negative.iter().copied())
}

/// Appends a bit for each column, set when it moves; returns those that do.
fn put_moving(width: usize, moves: impl Fn(usize) -> bool, out: &mut Vec<u8>) -> Vec<usize> {
    let moving: Vec<usize> = (0..width).filter(|column| moves(*column)).collect();
    let start = out.len();
    out.resize(start + width.div_ceil(8), 0);
    for column in &moving {
        out[start + column / 8] |= 1 << (column % 8);
    }
    moving
}

fn read_moving(reader: &mut Reader<'_>, width: usize) -> Result<Vec<usize>, Corrupt> {
    let bits = reader.take(width.div_ceil(8))?;
    let moving: Vec<usize> =
        (0..bits.len() * 8).filter(|column| bits[column / 8] >> (column % 8) & 1 != 0).collect();
    if moving.last().is_some_and(|last| *last >= width) { Err(Corrupt) } else { Ok(moving) }
}

/// Reads `rows` histograms, appending them.
pub fn decode(reader: &mut Reader<'_>, rows: usize, out: &mut Vec<Arc<Histogram>>) -> Result<(), Corrupt> {
    let mut left = checked_rows(rows)?;
    let mut parts = 0usize;
    while left > 0 {
        let run = reader.length()?;
        let head = reader.byte()?;
        if run == 0 || run > left || head & !FLOAT != 0 {
            return Err(Corrupt);
        }
        let shape = decode_shape(reader, head & FLOAT != 0, BUCKETS_OF_BYTE)?;
        parts = parts.saturating_add(parts_of(&shape).saturating_mul(run));
        if rows > 1 && parts > PARTS_MAX {
            return Err(Corrupt);
        }
        decode_run(reader, run, shape, out)?;
        left -= run;
    }
    Ok(())
}

fn decode_run(
    reader: &mut Reader<'_>,
    rows: usize,
    mut shape: Histogram,
    out: &mut Vec<Arc<Histogram>>,
) -> Result<(), Corrupt> {
    let (mut hints, mut sums) = (Vec::new(), Vec::new());
    integers::decode(reader, rows, &mut hints)?;
    floats::decode(reader, rows, &mut sums)?;
    let counts = std::mem::replace(&mut shape.counts, NO_COUNTS);
    let counts: Vec<BucketCounts> = match counts {
        BucketCounts::Integer { positive, negative, .. } => {
            let width = COUNTS + positive.len() + negative.len();
            let cells = read_cells(reader, rows, width, integers::decode, i64::wrapping_add)?;
            cells.chunks_exact(width).map(|row| integers_of(row, positive.len())).collect()
        }
        BucketCounts::Float { positive, negative, .. } => {
            let width = COUNTS + positive.len() + negative.len();
            let cells = read_cells(reader, rows, width, floats::decode, |_, cell| cell)?;
            cells.chunks_exact(width).map(|row| floats_of(row, positive.len())).collect()
        }
    };
    out.reserve(rows);
    for ((hint, sum), counts) in hints.into_iter().zip(sums).zip(counts) {
        let reset_hint = u64::try_from(hint).ok().and_then(ResetHint::from_number).ok_or(Corrupt)?;
        out.push(Arc::new(Histogram { sum, reset_hint, counts, ..shape.clone() }));
    }
    Ok(())
}

const NO_COUNTS: BucketCounts =
    BucketCounts::Integer { count: 0, zero: 0, positive: Vec::new(), negative: Vec::new() };

/// Reads a column of so many rows.
type Decode<T> = fn(&mut Reader<'_>, usize, &mut Vec<T>) -> Result<(), Corrupt>;

/// All cells, row by row. `cell` makes one of the first of its column and of what its column says.
fn read_cells<T: Copy>(
    reader: &mut Reader<'_>,
    rows: usize,
    width: usize,
    decode: Decode<T>,
    cell: fn(T, T) -> T,
) -> Result<Vec<T>, Corrupt> {
    let mut first = Vec::new();
    decode(reader, width, &mut first)?;
    let mut cells = first.repeat(rows);
    let mut rest = Vec::new();
    for column in read_moving(reader, width)? {
        rest.clear();
        decode(reader, rows - 1, &mut rest)?;
        let below = cells.iter_mut().skip(column + width).step_by(width);
        below.zip(&rest).for_each(|(into, rest)| *into = cell(first[column], *rest));
    }
    Ok(cells)
}

fn integers_of(cells: &[i64], positive: usize) -> BucketCounts {
    let counts: Vec<u64> = cells.iter().map(|cell| *cell as u64).collect();
    let count = counts.iter().fold(0, |all: u64, part| all.wrapping_add(*part));
    let (positive, negative) = counts[COUNTS..].split_at(positive);
    BucketCounts::Integer { count, zero: counts[1], positive: positive.to_vec(), negative: negative.to_vec() }
}

fn floats_of(cells: &[f64], positive: usize) -> BucketCounts {
    let (positive, negative) = cells[COUNTS..].split_at(positive);
    BucketCounts::Float {
        count: cells[0],
        zero: cells[1],
        positive: positive.to_vec(),
        negative: negative.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::histograms::chunk_rows;
    use super::super::histograms::tests::{growing, histogram};
    use super::*;
    use model::STALE_NAN_BITS;
    use proptest::prelude::*;

    fn round_trip(histograms: &[Arc<Histogram>]) -> [usize; 2] {
        assert_eq!(chunk_rows(histograms), histograms.len());
        [Packing::Lists, Packing::Cold].map(|packing| {
            let mut out = Vec::new();
            encode(packing, histograms, &mut out);
            let mut back = Vec::new();
            let mut reader = Reader::new(&out);
            decode(&mut reader, histograms.len(), &mut back).unwrap();
            assert!(reader.is_empty());
            assert_eq!(back, histograms);
            out.len()
        })
    }

    /// A histogram of the same shape, its numbers made of a seed.
    fn alike(shape: &Histogram, seed: u64) -> Arc<Histogram> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state >> (seed % 64) ^ if seed.is_multiple_of(7) { u64::MAX } else { 0 }
        };
        let mut row = shape.clone();
        row.sum = f64::from_bits(next());
        row.reset_hint = ResetHint::from_number(seed % 4).unwrap();
        match &mut row.counts {
            BucketCounts::Integer { count, zero, positive, negative } => {
                [count, zero].into_iter().chain(positive).chain(negative).for_each(|cell| *cell = next());
            }
            BucketCounts::Float { count, zero, positive, negative } => {
                let cells = [count, zero].into_iter().chain(positive).chain(negative);
                cells.for_each(|cell| *cell = f64::from_bits(next()));
            }
        }
        Arc::new(row)
    }

    #[test]
    fn a_bucket_that_does_not_move_takes_next_to_nothing() {
        let rows = growing(480);
        let [moving, _] = round_trip(&rows);
        let mut wide: Vec<Histogram> = rows.iter().map(|row| (**row).clone()).collect();
        for row in &mut wide {
            let BucketCounts::Integer { count, negative, .. } = &mut row.counts else { unreachable!() };
            *negative = vec![7; 160];
            *count += 7 * 160;
            row.negative_spans = vec![model::histogram::Span { offset: 0, length: 160 }];
        }
        let wide: Vec<Arc<Histogram>> = wide.into_iter().map(Arc::new).collect();
        let [bytes, _] = round_trip(&wide);
        assert!(bytes < moving + 100, "{bytes} with 160 more buckets, {moving} without");
    }

    #[test]
    fn the_count_is_known_from_the_buckets() {
        let rows: Vec<Arc<Histogram>> = (0..480u64).map(|i| alike(&growing(1)[0], 44 + i * 64)).collect();
        let [with, _] = round_trip(&rows);
        let sound = rows.iter().map(|row| {
            let mut row = (**row).clone();
            let cells: Vec<u64> = integer_cells(&row).skip(1).collect();
            let BucketCounts::Integer { count, .. } = &mut row.counts else { unreachable!() };
            *count = cells.iter().fold(0, |all, cell| all.wrapping_add(*cell));
            Arc::new(row)
        });
        let [without, _] = round_trip(&sound.collect::<Vec<_>>());
        assert!(without + 480 < with, "{without} {with}");
    }

    #[test]
    fn short_runs_stay_row_by_row() {
        assert!(!suits(&[]));
        assert!(!suits(&growing(RUN_ROWS_MIN as u64 - 1)));
        assert!(suits(&growing(RUN_ROWS_MIN as u64)));
        let mut rows = growing(12);
        let mut other = (*rows[0]).clone();
        other.schema = 5;
        rows.insert(6, Arc::new(other));
        assert!(!suits(&rows), "three runs");
        round_trip(&rows);
        let mut huge = (*rows[0]).clone();
        huge.counts =
            BucketCounts::Integer { count: 0, zero: 0, positive: vec![1; ROWS_MAX], negative: vec![] };
        let huge: Vec<Arc<Histogram>> = std::iter::repeat_n(Arc::new(huge), 8).collect();
        assert!(!suits(&huge), "more buckets than a column has rows");
    }

    #[test]
    fn extremes_resets_and_stale_markers_come_back() {
        let mut rows: Vec<Histogram> = growing(100).iter().map(|row| (**row).clone()).collect();
        for (at, row) in rows.iter_mut().enumerate() {
            let BucketCounts::Integer { count, zero, positive, .. } = &mut row.counts else { unreachable!() };
            match at % 20 {
                3 => row.sum = f64::from_bits(STALE_NAN_BITS),
                5 => row.sum = f64::from_bits(0xfff0_0000_dead_beef),
                7 => (*count, *zero) = (u64::MAX, u64::MAX),
                9 => positive.fill(u64::MAX),
                11 => (row.sum, row.reset_hint) = (-0.0, ResetHint::Reset),
                13 => positive.fill(0),
                17 => positive[3] = 1 << 63,
                19 => row.sum = 5e-324,
                _ => {}
            }
        }
        round_trip(&rows.into_iter().map(Arc::new).collect::<Vec<_>>());
    }

    #[test]
    fn a_small_chunk_cannot_ask_for_much_memory() {
        let mut wide = (*growing(1)[0]).clone();
        let BucketCounts::Integer { positive, .. } = &mut wide.counts else { unreachable!() };
        *positive = vec![5; 20_000];
        let rows: Vec<Arc<Histogram>> = std::iter::repeat_n(Arc::new(wide), 1000).collect();
        let fit = chunk_rows(&rows);
        assert!((2..100).contains(&fit));
        round_trip(&rows[..fit]);
        let mut out = Vec::new();
        encode(Packing::Lists, &rows, &mut out);
        assert!(out.len() < 3000);
        assert_eq!(decode(&mut Reader::new(&out), 1000, &mut Vec::new()), Err(Corrupt));
        // Buckets that no bit is left for.
        let mut out = vec![1, 0, 0, 0, 0, 0, 0];
        put_varint(&mut out, 1 << 40);
        put_varint(&mut out, 0);
        out.extend_from_slice(&[0; 64]);
        assert_eq!(decode(&mut Reader::new(&out), 1, &mut Vec::new()), Err(Corrupt));
    }

    proptest! {
        #[test]
        fn any_runs_come_back(runs in proptest::collection::vec(
            (histogram(), proptest::collection::vec(any::<u64>(), 1..40)), 0..5
        )) {
            let rows: Vec<Arc<Histogram>> = runs
                .iter()
                .flat_map(|(shape, seeds)| seeds.iter().map(|seed| alike(shape, *seed)))
                .collect();
            round_trip(&rows);
        }

        #[test]
        fn any_bytes_are_histograms_or_corrupt(
            bytes in proptest::collection::vec(any::<u8>(), 0..200), rows in 0usize..50,
        ) {
            let mut out = Vec::new();
            if decode(&mut Reader::new(&bytes), rows, &mut out).is_ok() {
                prop_assert_eq!(out.len(), rows);
            }
        }

        #[test]
        fn changed_bytes_are_histograms_or_corrupt(
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
            float in any::<bool>(),
        ) {
            let mut shape = (*growing(1)[0]).clone();
            if float {
                let [positive, negative] = [vec![1.5; 20], vec![0.1; 3]];
                shape.counts = BucketCounts::Float { count: 1.0, zero: 0.5, positive, negative };
            }
            let rows: Vec<Arc<Histogram>> = (0..30).map(|seed| alike(&shape, seed * 64 + 40)).collect();
            for packing in [Packing::Lists, Packing::Cold] {
                let mut out = Vec::new();
                encode(packing, &rows, &mut out);
                for (at, byte) in &changes {
                    let at = at.index(out.len());
                    out[at] = *byte;
                }
                let mut back = Vec::new();
                if decode(&mut Reader::new(&out), 30, &mut back).is_ok() {
                    prop_assert_eq!(back.len(), 30);
                }
            }
        }
    }
}
