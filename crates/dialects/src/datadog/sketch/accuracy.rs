//! How far quantiles of stored sketches are off: from the values that the sketches were made of, with PromQL's own
//! interpolation, and beside it the error of the mapping that is usual.

#![allow(clippy::print_stdout)] // Figures to be read.

use std::collections::BTreeMap;

use model::Histogram;
use model::histogram::{BucketCounts, Span};

use super::buckets::{Buckets, SCHEMA};

/// The quantiles that are compared.
const QUANTILES: [f64; 4] = [0.5, 0.9, 0.95, 0.99];

/// PromQL's `histogram_quantile` over positive exponential buckets: in the bucket that holds the rank, values lie evenly
/// in the logarithm.
pub(in crate::datadog) fn quantile(histogram: &Histogram, q: f64) -> f64 {
    let counts: Vec<f64> = match &histogram.counts {
        BucketCounts::Integer { positive, .. } => positive.iter().map(|n| *n as f64).collect(),
        BucketCounts::Float { positive, .. } => positive.clone(),
    };
    let per_doubling = f64::from(1 << histogram.schema);
    let (mut rank, mut bucket, mut counts) = (q * histogram.count(), 0, counts.into_iter());
    for span in &histogram.positive_spans {
        bucket += span.offset;
        for count in counts.by_ref().take(span.length as usize) {
            if rank <= count {
                return ((f64::from(bucket - 1) + rank / count) / per_doubling).exp2();
            }
            rank -= count;
            bucket += 1;
        }
    }
    panic!("the rank is beyond the buckets");
}

/// The usual mapping: a bin is taken for what begins at its centre, gamma^(k - 1338) to gamma^(k - 1337).
pub(in crate::datadog) fn floored(bins: &[(i32, u64)]) -> Histogram {
    let width = 1.015_625f64.log2() * f64::from(1 << SCHEMA);
    let mut buckets: BTreeMap<i32, f64> = BTreeMap::new();
    for (key, count) in bins {
        let low = f64::from(*key - 1338) * width;
        let first = low.floor() as i32 + 1;
        let part = ((f64::from(first) - low) / width).min(1.0);
        *buckets.entry(first).or_default() += *count as f64 * part;
        *buckets.entry(first + 1).or_default() += *count as f64 * (1.0 - part);
    }
    let (mut positive_spans, mut end) = (Vec::new(), 0);
    for bucket in buckets.keys() {
        positive_spans.push(Span { offset: bucket - end, length: 1 });
        end = bucket + 1;
    }
    let count = bins.iter().map(|(_, count)| *count as f64).sum();
    let positive = buckets.into_values().collect();
    let counts = BucketCounts::Float { count, zero: 0.0, positive, negative: Vec::new() };
    Histogram { positive_spans, counts, ..Buckets::default().take(0.0) }
}

/// Relative errors, signed, of quantiles against those of the values, which are sorted.
pub(in crate::datadog) fn errors(sorted: &[f64], quantile: impl Fn(f64) -> f64) -> Vec<f64> {
    let of = |q: f64| {
        let exact = sorted[(q * (sorted.len() - 1) as f64).round() as usize];
        quantile(q) / exact - 1.0
    };
    QUANTILES.into_iter().map(of).collect()
}

/// Prints both mappings' errors, and compares them with what is promised.
pub(in crate::datadog) fn compare(what: &str, ours: &[f64], floored: &[f64]) {
    let mean = |errors: &[f64]| errors.iter().sum::<f64>() / errors.len() as f64;
    let absolute = |errors: &[f64]| errors.iter().map(|e| e.abs()).collect::<Vec<_>>();
    let show = |name: &str, errors: &[f64]| {
        let absolute = absolute(errors);
        let largest = absolute.iter().copied().fold(0.0, f64::max);
        println!(
            "{what}: {name}: signed {:+.2} %, absolute {:.2} %, largest {:.2} %",
            100.0 * mean(errors),
            100.0 * mean(&absolute),
            100.0 * largest
        );
        mean(&absolute)
    };
    let (ours, floored) = (show("centred bins", ours), show("floored bins", floored));
    assert!(ours <= 0.005, "{what}: {ours}");
    assert!(ours < floored, "{what}: {ours} {floored}");
}

/// The key that a sketch has for a positive value.
fn key(value: f64) -> i32 {
    let key = value.ln() / 0.015_504_186_535_965_254;
    key.round_ties_even() as i32 + 1338
}

/// Numbers between 0 and 1.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mixed = (self.0 ^ self.0 >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        ((mixed >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        (-2.0 * self.roll().ln()).sqrt() * (std::f64::consts::TAU * self.roll()).cos()
    }
}

/// Draws a value.
type Draw = fn(&mut Dice) -> f64;

#[test]
fn quantiles_of_sketches_are_within_half_a_percent() {
    let shapes: [Draw; 4] = [
        // Log-normal.
        |dice| (3.0 + dice.normal()).exp(),
        // Exponential.
        |dice| -50.0 * dice.roll().ln(),
        // Uniform.
        |dice| 10.0 + 990.0 * dice.roll(),
        // Two modes.
        |dice| if dice.roll() < 0.7 { 20.0 + dice.normal() } else { 300.0 + 30.0 * dice.normal() },
    ];
    for (values, sketches) in [(1000, 20), (20_000, 5)] {
        let (mut all_ours, mut all_floored) = (Vec::new(), Vec::new());
        for draw in shapes {
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            for seed in 0..sketches {
                let mut dice = Dice(seed + 1);
                let mut raw: Vec<f64> = (0..values).map(|_| draw(&mut dice).abs()).collect();
                raw.sort_by(f64::total_cmp);
                let mut bins: Vec<(i32, u64)> = raw.iter().map(|value| (key(*value), 1)).collect();
                let mut buckets = Buckets::default();
                buckets.add_bins(&mut bins, raw[0], raw[values - 1]);
                let histogram = buckets.take(raw.iter().sum());
                assert_eq!((histogram.validate(), histogram.count()), (Ok(()), values as f64));
                ours.extend(errors(&raw, |q| quantile(&histogram, q)));
                theirs.extend(errors(&raw, |q| quantile(&floored(&bins), q)));
            }
            all_ours.extend(&ours);
            all_floored.extend(&theirs);
        }
        compare(&format!("sketches of {values} values"), &all_ours, &all_floored);
    }
}
