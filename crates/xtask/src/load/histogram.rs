//! A native histogram as the loader knows it: exponential, whole counts, no negative observations.

use std::ops::RangeInclusive;

/// Resolution of all of them: bounds grow by 2^(1/8).
pub const SCHEMA: i32 = 3;

/// Buckets of a power of two.
const PER_POWER: f64 = 8.0;

/// Half width of the zero bucket, 2^-128 as in client_golang.
pub const ZERO_THRESHOLD: f64 = f64::from_bits((1_023 - 128) << 52);

/// Empty buckets up to which two runs are sent as one span, as client_golang does.
const GAP_MAX: i32 = 2;

/// Observations since the last reset.
#[derive(Clone, Debug, Default)]
pub struct Histogram {
    /// All observations.
    pub count: u64,
    /// What they add up to.
    pub sum: f64,
    /// Those of zero.
    pub zero_count: u64,
    /// Buckets that hold something: their index and how many. Bucket `i` goes from 2^((i-1)/8), which is not in it, to
    /// 2^(i/8), which is.
    pub buckets: Vec<(i32, u64)>,
}

/// The sum bit for bit.
impl PartialEq for Histogram {
    fn eq(&self, other: &Self) -> bool {
        (self.count, self.sum.to_bits(), self.zero_count, &self.buckets)
            == (other.count, other.sum.to_bits(), other.zero_count, &other.buckets)
    }
}

impl Histogram {
    /// Runs of buckets for the wire, short gaps closed.
    pub fn spans(&self) -> Vec<RangeInclusive<i32>> {
        let mut spans: Vec<RangeInclusive<i32>> = Vec::new();
        for (index, _) in &self.buckets {
            match spans.last_mut() {
                Some(span) if index - span.end() <= GAP_MAX + 1 => *span = *span.start()..=*index,
                _ => spans.push(*index..=*index),
            }
        }
        spans
    }

    /// What a bucket holds.
    pub fn bucket(&self, index: i32) -> u64 {
        self.buckets.binary_search_by_key(&index, |(index, _)| *index).map_or(0, |at| self.buckets[at].1)
    }
}

/// The bucket in which 2^`exponent` falls.
pub fn bucket_of(exponent: f64) -> i32 {
    (exponent * PER_POWER).ceil() as i32
}

/// The bucket that has these bounds, to the accuracy with which powers of two are computed.
pub fn bucket_between(lower: f64, upper: f64) -> Option<i32> {
    let index = (upper.log2() * PER_POWER).round();
    let is_bound = |number: f64, index: f64| {
        let bound = (index / PER_POWER).exp2();
        (number - bound).abs() <= 1e-12 * bound
    };
    (is_bound(upper, index) && is_bound(lower, index - 1.0)).then_some(index as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_close_short_gaps() {
        let buckets = vec![(-4, 1), (-3, 9), (0, 2), (1, 2), (5, 7)];
        let histogram = Histogram { count: 21, sum: 1.0, zero_count: 0, buckets };
        assert_eq!(histogram.spans(), [-4..=1, 5..=5]);
        assert_eq!([-3, -2, 0, 5].map(|index| histogram.bucket(index)), [9, 0, 2, 7]);
    }

    #[test]
    fn a_bucket_is_found_by_an_observation_and_by_its_bounds() {
        for index in -90..90 {
            let (lower, upper) = (f64::from(index - 1) / 8.0, f64::from(index) / 8.0);
            assert_eq!(bucket_of(upper), index);
            assert_eq!(bucket_of(lower + 0.01), index);
            assert_eq!(bucket_between(lower.exp2(), upper.exp2()), Some(index));
        }
        assert_eq!(bucket_between(1.0, 2.0), None, "a bucket of another resolution");
        assert_eq!(ZERO_THRESHOLD, 2f64.powi(-128));
    }
}
