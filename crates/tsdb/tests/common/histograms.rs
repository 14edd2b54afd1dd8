//! Histograms of every kind, made of numbers: the same numbers give the same histogram, bit for bit.

use std::sync::Arc;

use model::STALE_NAN_BITS;
use model::histogram::{BucketCounts, CUSTOM_BOUNDS_SCHEMA, Histogram, ResetHint, Span};

/// A valid histogram: `kind` 0 integer, 1 float, 2 custom bounds, 3 custom bounds and floats; `shape` chooses its
/// buckets; `n` grows with time.
pub(crate) fn histogram(kind: u64, shape: u64, n: u64) -> Arc<Histogram> {
    let buckets = 3 + (shape % 5) as usize * 4;
    let custom = kind >= 2;
    let cell = |b: usize| {
        let b = b as u64;
        // Some stand still, some are reset, some are huge.
        match b % 5 {
            0 => 7,
            1 => n * (b + 1) + (n * 7919 + b) % 5,
            2 => n % 97 * b,
            3 => (1 << 53) + n * 3,
            _ => n / 50,
        }
    };
    let cells: Vec<u64> = (0..buckets).map(cell).collect();
    let (positive, negative) = cells.split_at(if custom { buckets } else { buckets - 2 });
    let spans = |length: usize| vec![Span { offset: 0, length: length as u32 }];
    let sum = match n % 53 {
        11 => f64::from_bits(0x7ff8_0000_0000_beef),
        17 => -0.0,
        23 => f64::INFINITY,
        _ => n as f64 * 0.37 + (n % 7) as f64 / 3.0,
    };
    let counts = if kind.is_multiple_of(2) {
        let extra = if sum.is_nan() { 5 } else { 0 };
        BucketCounts::Integer {
            count: cells.iter().sum::<u64>() + 2 + extra,
            zero: 2,
            positive: positive.to_vec(),
            negative: negative.to_vec(),
        }
    } else {
        let floats = |cells: &[u64]| cells.iter().map(|c| *c as f64 / 8.0).collect::<Vec<_>>();
        let count = if n % 41 == 5 { f64::from_bits(0x7ff8_0000_0000_0042) } else { n as f64 / 3.0 };
        BucketCounts::Float { count, zero: 5e-324, positive: floats(positive), negative: floats(negative) }
    };
    Arc::new(Histogram {
        schema: if custom { CUSTOM_BOUNDS_SCHEMA } else { 3 - (shape % 3) as i32 },
        zero_threshold: if custom { 0.0 } else { 1e-128 },
        sum,
        reset_hint: ResetHint::from_number(n / 200 % 4).unwrap(),
        positive_spans: spans(positive.len()),
        negative_spans: if negative.is_empty() { vec![] } else { spans(negative.len()) },
        counts,
        custom_bounds: if custom { (0..buckets).map(|b| b as f64 * 0.1 - 0.3).collect() } else { vec![] },
    })
}

/// What ends a series of histograms.
pub(crate) fn stale() -> Arc<Histogram> {
    Arc::new(Histogram {
        schema: 0,
        zero_threshold: 0.0,
        sum: f64::from_bits(STALE_NAN_BITS),
        reset_hint: ResetHint::Unknown,
        positive_spans: vec![],
        negative_spans: vec![],
        counts: BucketCounts::Integer { count: 0, zero: 0, positive: vec![], negative: vec![] },
        custom_bounds: vec![],
    })
}
