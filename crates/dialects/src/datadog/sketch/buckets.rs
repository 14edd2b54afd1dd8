//! Observations as a native histogram of schema 5: whole bins of a sketch, or values.
//!
//! Bin `k` of a sketch holds what lies around gamma^(k - 1338), half a bin to either side of it in the logarithm. Taking
//! it for what begins there, as is usual, puts every quantile 0.8 % too high. A bin is narrower than a bucket; one that
//! reaches over a bucket's bound is split in proportion, and what rounding takes from one bin's part the next bin's gets
//! back, so that totals are exact and no side is favoured.

use model::Histogram;
use model::histogram::{BucketCounts, ResetHint, Span};

/// Buckets grow by 2^(2^-5).
pub(super) const SCHEMA: i32 = 5;
/// Buckets in which values double.
const PER_DOUBLING: f64 = 32.0;
/// Smaller values are zero to a sketch: gamma^(1 - 1338).
pub(super) const ZERO_THRESHOLD: f64 = 9.941_854_089_121_45e-10;
/// The bin around 1.
const BIAS: f64 = 1338.0;
/// The logarithm of gamma = 1 + 1/64, in buckets: how wide a bin is.
const WIDTH: f64 = 0.022_367_813_028_454_51 * PER_DOUBLING;
/// The logarithm of [`ZERO_THRESHOLD`], in buckets: the middle of the lowest bin.
const LOWEST: f64 = (1.0 - BIAS) * WIDTH;
/// The key of values that are too large for a bin, negated for negative ones.
const KEY_BEYOND: u32 = 32767;
/// Empty buckets that do not end a run.
const GAP_MAX: i32 = 2;
/// The bucket that ends at 2^1024.
const BUCKET_MAX: i32 = 1024 << SCHEMA;

/// Observations by bucket.
#[derive(Debug, Default)]
pub(super) struct Buckets {
    /// Bucket and count, for negative values by their magnitude.
    negative: Vec<(i32, u64)>,
    zero: u64,
    positive: Vec<(i32, u64)>,
}

impl Buckets {
    /// Adds a value, which is finite.
    pub(super) fn add_value(&mut self, value: f64) {
        if value.abs() <= ZERO_THRESHOLD {
            self.zero += 1;
        } else if value < 0.0 {
            push(&mut self.negative, bucket_of(-value), 1);
        } else {
            push(&mut self.positive, bucket_of(value), 1);
        }
    }

    /// Adds a sketch's bins, whose order and repetitions are undone. What is beyond the bins lies where the sketch's exact
    /// `min` and `max` are: no more is known of it.
    pub(super) fn add_bins(&mut self, bins: &mut [(i32, u64)], min: f64, max: f64) {
        if !bins.is_sorted_by_key(|(key, _)| *key) {
            bins.sort_unstable_by_key(|(key, _)| *key);
        }
        let negative = bins.partition_point(|(key, _)| *key < 0);
        let positive = bins.partition_point(|(key, _)| *key <= 0);
        self.zero += bins[negative..positive].iter().map(|(_, count)| count).sum::<u64>();
        add(bins[..negative].iter().rev(), -min, &mut self.negative);
        add(bins[positive..].iter(), max, &mut self.positive);
    }

    /// The observations as a histogram with this sum; none are left.
    pub(super) fn take(&mut self, sum: f64) -> Histogram {
        let (zero, mut count) = (std::mem::take(&mut self.zero), 0);
        let mut side = |buckets: &mut Vec<(i32, u64)>| {
            if !buckets.is_sorted_by(|a, b| a.0 < b.0) {
                buckets.sort_unstable_by_key(|(bucket, _)| *bucket);
            }
            let (mut spans, mut counts): (Vec<Span>, Vec<u64>) = (Vec::new(), Vec::new());
            let mut end = 0;
            for (bucket, n) in buckets.drain(..) {
                count += n;
                match (spans.last_mut(), counts.last_mut()) {
                    (Some(_), Some(last)) if bucket == end - 1 => *last += n,
                    // One or two empty buckets take less than a span of their own.
                    (Some(run), Some(_)) if bucket - end <= GAP_MAX => {
                        run.length += (bucket - end) as u32 + 1;
                        counts.resize(counts.len() + (bucket - end) as usize, 0);
                        counts.push(n);
                    }
                    _ => {
                        spans.push(Span { offset: bucket - end, length: 1 });
                        counts.push(n);
                    }
                }
                end = bucket + 1;
            }
            (spans, counts)
        };
        let (positive_spans, positive) = side(&mut self.positive);
        let (negative_spans, negative) = side(&mut self.negative);
        Histogram {
            schema: SCHEMA,
            zero_threshold: ZERO_THRESHOLD,
            sum,
            reset_hint: ResetHint::Gauge,
            positive_spans,
            negative_spans,
            counts: BucketCounts::Integer { count: count + zero, zero, positive, negative },
            custom_bounds: Vec::new(),
        }
    }
}

/// Adds bins of one side, in the order of their magnitudes, of which `largest` is the largest.
fn add<'b>(bins: impl Iterator<Item = &'b (i32, u64)>, largest: f64, buckets: &mut Vec<(i32, u64)>) {
    let mut carry = 0.0;
    let mut bins = bins.map(|(key, count)| (key.unsigned_abs(), *count)).peekable();
    while let Some((key, mut count)) = bins.next() {
        while let Some((_, more)) = bins.next_if(|(next, _)| *next == key) {
            count += more;
        }
        if key >= KEY_BEYOND {
            push(buckets, if largest > 0.0 { bucket_of(largest) } else { BUCKET_MAX }, count);
        } else {
            split(key, count, &mut carry, buckets);
        }
    }
}

/// Adds one bin to the one or two buckets that it lies in. `carry` is what the buckets below have too little.
fn split(key: u32, count: u64, carry: &mut f64, buckets: &mut Vec<(i32, u64)>) {
    // What the lowest bin would hold below the threshold is in the zero bucket.
    let low = ((f64::from(key) - BIAS - 0.5) * WIDTH).max(LOWEST);
    // Bucket i holds what is over i - 1, up to i.
    let first = low.floor() as i32 + 1;
    let part = (f64::from(first) - low) / WIDTH;
    if part >= 1.0 {
        return push(buckets, first, count);
    }
    // A single observation lies where the middle of its bin does: to move it for the sake of others would show.
    let got = if count == 1 {
        u64::from(part >= 0.5)
    } else {
        let wanted = count as f64 * part + *carry;
        let got = wanted.round().clamp(0.0, count as f64);
        *carry = wanted - got;
        (got as u64).min(count)
    };
    push(buckets, first, got);
    push(buckets, first + 1, count - got);
}

fn push(buckets: &mut Vec<(i32, u64)>, bucket: i32, count: u64) {
    match buckets.last_mut() {
        _ if count == 0 => {}
        Some((last, n)) if *last == bucket => *n += count,
        _ => buckets.push((bucket, count)),
    }
}

/// The bucket of a positive finite value: the lowest whose upper bound, 2^(i/32), is not below it.
fn bucket_of(value: f64) -> i32 {
    let bound = |bucket: i32| (f64::from(bucket) / PER_DOUBLING).exp2();
    let mut bucket = ((value.log2() * PER_DOUBLING).ceil() as i32).min(BUCKET_MAX);
    // A logarithm is not exact, a power of two is.
    while bucket < BUCKET_MAX && value > bound(bucket) {
        bucket += 1;
    }
    while value <= bound(bucket - 1) {
        bucket -= 1;
    }
    bucket
}

#[cfg(test)]
mod tests {
    use super::*;

    fn positive(histogram: &Histogram) -> Vec<(i32, u64)> {
        let BucketCounts::Integer { positive, .. } = &histogram.counts else { panic!("integers") };
        let (mut out, mut next, mut counts) = (Vec::new(), 0, positive.iter());
        for span in &histogram.positive_spans {
            next += span.offset;
            for _ in 0..span.length {
                out.push((next, *counts.next().unwrap()));
                next += 1;
            }
        }
        out
    }

    #[test]
    fn constants_are_those_of_the_sketch() {
        let gamma: f64 = 1.0 + 2.0 / 128.0;
        assert!((gamma.log2() * PER_DOUBLING - WIDTH).abs() < 1e-14);
        assert!((gamma.powi(1 - 1338) / ZERO_THRESHOLD - 1.0).abs() < 1e-14);
    }

    #[test]
    fn a_value_on_a_bound_belongs_below_it() {
        for (value, bucket) in [
            (1.0, 0),
            (1.0 + f64::EPSILON, 1),
            (2.0, 32),
            (0.5, -32),
            (f64::MAX, BUCKET_MAX),
            (ZERO_THRESHOLD * 1.01, -956),
        ] {
            assert_eq!(bucket_of(value), bucket, "{value}");
        }
        for bucket in -900..1000 {
            let bound = (f64::from(bucket) / 32.0).exp2();
            assert_eq!((bucket_of(bound), bucket_of(bound.next_up())), (bucket, bucket + 1));
        }
    }

    #[test]
    fn a_bin_around_one_lies_half_below_it() {
        let mut buckets = Buckets::default();
        buckets.add_bins(&mut [(1338, 1000)], 1.0, 1.0);
        assert_eq!(positive(&buckets.take(1000.0)), [(0, 500), (1, 500)]);
        // Bins of one, narrower than buckets: each lies in one of them.
        let mut ones: Vec<_> = (1300..1400).map(|key| (key, 1)).collect();
        buckets.add_bins(&mut ones, 1.0, 1.0);
        let ones = positive(&buckets.take(0.0));
        assert_eq!(ones.iter().map(|(_, n)| n).sum::<u64>(), 100);
        assert!(ones.iter().all(|(_, n)| (1..=2).contains(n)), "{ones:?}");
    }

    #[test]
    fn no_bucket_lies_in_the_zero_bucket() {
        let mut buckets = Buckets::default();
        buckets.add_bins(&mut [(-1, 1000), (1, 1000)], 0.0, 0.0);
        let histogram = buckets.take(0.0);
        assert_eq!(positive(&histogram), [(bucket_of(ZERO_THRESHOLD.next_up()), 1000)]);
        assert_eq!(histogram.negative_spans, histogram.positive_spans);
    }

    #[test]
    fn equal_keys_are_one_bin_in_any_order() {
        let mut buckets = Buckets::default();
        let mut taken = |bins: &mut [(i32, u64)]| {
            buckets.add_bins(bins, -5.0, 5.0);
            buckets.take(0.0)
        };
        let once = taken(&mut [(-1400, 3), (0, 2), (1400, 131_070), (1402, 1)]);
        let apart = [(1402, 1), (1400, 65535), (0, 1), (-1400, 1), (1400, 65535), (0, 1), (-1400, 2)];
        assert_eq!(taken(&mut apart.clone()), once);
        assert_eq!(once.count(), 131_076.0);
        assert_eq!(once.validate(), Ok(()));
    }

    #[test]
    fn what_is_beyond_the_bins_lies_at_the_extremes() {
        let mut buckets = Buckets::default();
        buckets.add_bins(&mut [(i32::MIN, 1), (-32767, 1), (32767, 2), (i32::MAX, 1)], -1e250, 1e300);
        let histogram = buckets.take(0.0);
        assert_eq!(positive(&histogram), [(bucket_of(1e300), 3)]);
        assert_eq!(histogram.negative_spans, [Span { offset: bucket_of(1e250), length: 1 }]);
        // A sender that says what cannot be: still a histogram.
        buckets.add_bins(&mut [(32766, 1), (32767, 1)], -1.0, 1.0);
        assert_eq!(buckets.take(0.0).validate(), Ok(()));
        buckets.add_bins(&mut [(32767, 1)], -1.0, -1.0);
        assert_eq!(positive(&buckets.take(0.0)), [(BUCKET_MAX, 1)]);
    }
}
