//! Bytes and time per native histogram, against what Prometheus' own chunks take.
//!
//! Sizes are asserted, times are printed: `cargo test --release -p codec --test histogram_sizes -- --nocapture`. A
//! series is a histogram of latencies, scraped every 15 s: 60 buckets of schema 3, Poisson increments, frequent ones in
//! the middle and rare ones at both ends, the sum a float that was added up. What Prometheus takes is an estimate: the
//! bits of its encoding of samples, without the times and the heads of its chunks of about 1 KiB.
#![expect(clippy::disallowed_methods, clippy::print_stdout, reason = "measures and prints")]

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use codec::chunk::bytes::Reader;
use codec::chunk::{Corrupt, Packing, histogram_columns, histograms};
use common::Dice;
use model::Histogram;
use model::histogram::{BucketCounts, ResetHint, Span};

const BUCKETS: usize = 60;

/// A latency histogram with so many observations in 15 s on average.
fn latencies(dice: &mut Dice, rows: usize, rate: f64) -> Vec<Arc<Histogram>> {
    let middle = 25.0 + dice.unit() * 10.0;
    let width = 5.0 + dice.unit() * 5.0;
    let weights: Vec<f64> =
        (0..BUCKETS).map(|b| (-((b as f64 - middle) / width).powi(2) / 2.0).exp()).collect();
    let total: f64 = weights.iter().sum();
    let mut counts = vec![0u64; BUCKETS];
    let mut sum = 0.0;
    for (bucket, weight) in weights.iter().enumerate() {
        // It has been running for a while: whatever can happen has happened.
        counts[bucket] = (weight / total * rate * 20_000.0) as u64 + 1;
        sum += counts[bucket] as f64 * latency(bucket as f64);
    }
    let mut row = || {
        for (count, (bucket, weight)) in counts.iter_mut().zip(weights.iter().enumerate()) {
            for _ in 0..dice.poisson(weight / total * rate) as u64 {
                *count += 1;
                sum += latency(bucket as f64 + dice.unit());
            }
        }
        Arc::new(Histogram {
            schema: 3,
            zero_threshold: 2.938735877055719e-39,
            sum,
            reset_hint: ResetHint::NotReset,
            positive_spans: vec![Span { offset: -40, length: 30 }, Span { offset: 2, length: 30 }],
            negative_spans: vec![],
            counts: BucketCounts::Integer {
                count: counts.iter().sum(),
                zero: 0,
                positive: counts.clone(),
                negative: vec![],
            },
            custom_bounds: vec![],
        })
    };
    (0..rows).map(|_| row()).collect()
}

/// Seconds at a place in the buckets.
fn latency(bucket: f64) -> f64 {
    2f64.powf((bucket - 40.0) / 8.0)
}

/// Bits that Prometheus' histogram chunk takes for the rows, after `tsdb/chunkenc/histogram.go` and `varbit.go`: bucket
/// counts as differences between neighbours, of these the differences of differences over time; sums XORed.
fn prometheus_bits(rows: &[Arc<Histogram>]) -> usize {
    let cells: Vec<Vec<i64>> = rows.iter().map(|row| prometheus_cells(row)).collect();
    let mut bits = 0;
    let zeros = vec![0; cells[0].len()];
    for (at, row) in cells.iter().enumerate() {
        let before = if at > 0 { &cells[at - 1] } else { &zeros };
        let earlier = if at > 1 { &cells[at - 2] } else { before };
        for (column, cell) in row.iter().enumerate() {
            let step = if at > 1 { before[column] - earlier[column] } else { 0 };
            bits += varbit(cell - before[column] - step);
        }
    }
    let (mut leading, mut trailing) = (64, 0);
    for pair in rows.windows(2) {
        let xor = pair[0].sum.to_bits() ^ pair[1].sum.to_bits();
        if xor == 0 {
            bits += 1;
        } else if xor.leading_zeros() >= leading && xor.trailing_zeros() >= trailing {
            bits += 2 + (64 - leading - trailing) as usize;
        } else {
            (leading, trailing) = (xor.leading_zeros().min(31), xor.trailing_zeros());
            bits += 13 + (64 - leading - trailing) as usize;
        }
    }
    bits + 64
}

fn prometheus_cells(row: &Histogram) -> Vec<i64> {
    let BucketCounts::Integer { count, zero, positive, .. } = &row.counts else { unreachable!() };
    let mut before = 0;
    let differences = positive.iter().map(|bucket| {
        let difference = *bucket as i64 - before;
        before = *bucket as i64;
        difference
    });
    [*count as i64, *zero as i64].into_iter().chain(differences).collect()
}

fn varbit(number: i64) -> usize {
    match number {
        0 => 1,
        -3..=4 => 5,
        -31..=32 => 9,
        -255..=256 => 13,
        -2047..=2048 => 17,
        -131_071..=131_072 => 24,
        -16_777_215..=16_777_216 => 32,
        -36_028_797_018_963_967..=36_028_797_018_963_968 => 64,
        _ => 72,
    }
}

type Encode = fn(&[Arc<Histogram>], &mut Vec<u8>);
type Decode = fn(&mut Reader<'_>, usize, &mut Vec<Arc<Histogram>>) -> Result<(), Corrupt>;

/// Bytes for each histogram in chunks of so many rows.
fn measure(what: &str, series: &[Vec<Arc<Histogram>>], rows: usize, encode: Encode, decode: Decode) -> f64 {
    let (mut bytes, mut count) = (0, 0);
    let (mut writing, mut reading) = (Duration::ZERO, Duration::ZERO);
    for chunk in series.iter().flat_map(|series| series.chunks(rows)) {
        let mut out = Vec::new();
        let start = Instant::now();
        encode(chunk, &mut out);
        writing += start.elapsed();
        let mut back = Vec::new();
        let start = Instant::now();
        decode(&mut Reader::new(&out), chunk.len(), &mut back).unwrap();
        reading += start.elapsed();
        assert_eq!(back, chunk);
        bytes += out.len();
        count += chunk.len();
    }
    let each = |time: Duration| time.as_nanos() as f64 / count as f64;
    let size = bytes as f64 / count as f64;
    println!(
        "  {what:22} @{rows:4}: {size:6.2} B, write {:.0} ns, read {:.0} ns",
        each(writing),
        each(reading)
    );
    size
}

#[test]
fn columns_are_smaller_than_prometheus_chunks() {
    let hot: Encode = |rows, out| histogram_columns::encode(Packing::Lists, rows, out);
    let cold: Encode = |rows, out| histogram_columns::encode(Packing::Cold, rows, out);
    let columns: Decode = histogram_columns::decode;
    for rate in [3.0, 30.0, 150.0, 1500.0] {
        let mut dice = Dice(11);
        let series: Vec<_> = (0..6).map(|_| latencies(&mut dice, 1920, rate)).collect();
        let bits: usize = series.iter().flat_map(|series| series.chunks(480)).map(prometheus_bits).sum();
        let prometheus = bits as f64 / 8.0 / (6 * 1920) as f64;
        println!("{rate} observations in 15 s: Prometheus about {prometheus:.2} B a histogram");
        measure("row by row", &series, 480, histograms::encode, histograms::decode);
        for rows in [3, 4, 6, 8, 12] {
            measure("row by row", &series, rows, histograms::encode, histograms::decode);
            measure("columns", &series, rows, hot, columns);
        }
        measure("columns", &series, 40, hot, columns);
        let hours = measure("columns", &series, 480, hot, columns);
        for rows in [480, 960] {
            measure("cold columns", &series, rows, cold, columns);
        }
        let days = measure("cold columns", &series, 1920, cold, columns);
        assert!(hours < prometheus * 0.75, "{hours:.2} B against {prometheus:.2} B");
        assert!(days < hours);
    }
}
