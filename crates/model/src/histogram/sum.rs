//! Adding up histograms that come as deltas.
//!
//! The rules are those by which queries add: both go to the coarser schema and the wider zero bucket; of custom bounds
//! those stay that both have. Whole counts stay whole as long as both are.

use super::buckets::{
    Buckets, Count, begins_below, coarsen, common_bounds, indexed, merge, rebound, spans, uncut_threshold,
};
use super::{BucketCounts, CUSTOM_BOUNDS_SCHEMA, Histogram, ResetHint};

/// The lowest schema of exponential buckets.
const SCHEMA_MIN: i32 = -4;

/// Why two histograms have no sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unaddable {
    /// Occurs when one has exponential buckets and the other custom bounds.
    #[error("exponential buckets and custom bounds have no sum")]
    Kinds,
    /// Occurs when a count, or the sum of observations, would be no number any longer.
    #[error("a count or the sum of observations would be too large")]
    Overflow,
}

impl Histogram {
    /// Whether its counts, its sum and its zero bucket are numbers that can be added.
    pub fn is_finite(&self) -> bool {
        let counts = match &self.counts {
            BucketCounts::Integer { .. } => true,
            BucketCounts::Float { count, zero, positive, negative } => {
                positive.iter().chain(negative).chain([count, zero]).all(|count| count.is_finite())
            }
        };
        counts && self.sum.is_finite() && self.zero_threshold.is_finite() && self.zero_threshold >= 0.0
    }

    /// The observations of both, which are finite: a counter of which nothing is known about resets.
    pub fn plus(&self, other: &Self) -> Result<Self, Unaddable> {
        if self.has_custom_bounds() != other.has_custom_bounds() {
            return Err(Unaddable::Kinds);
        }
        let sum = self.sum + other.sum;
        let total = match (self.whole(), other.whole()) {
            (Some(a), Some(b)) => {
                a.count.checked_add(b.count).ok_or(Unaddable::Overflow)?;
                a.plus(b).histogram(sum)
            }
            _ => self.floats().plus(other.floats()).histogram(sum),
        };
        if total.is_finite() { Ok(total) } else { Err(Unaddable::Overflow) }
    }

    /// The same with buckets of twice the width; `None` where there are no wider ones.
    pub fn coarser(&self) -> Option<Self> {
        if self.schema <= SCHEMA_MIN {
            return None;
        }
        fn coarser<N: Count>(mut layout: Layout<N>) -> Layout<N> {
            layout.coarsen(layout.schema - 1);
            layout
        }
        let coarser = match self.whole() {
            Some(whole) => coarser(whole).histogram(self.sum),
            None => coarser(self.floats()).histogram(self.sum),
        };
        Some(Self { reset_hint: self.reset_hint, ..coarser })
    }

    fn has_custom_bounds(&self) -> bool {
        self.schema == CUSTOM_BOUNDS_SCHEMA
    }

    fn whole(&self) -> Option<Layout<u64>> {
        match &self.counts {
            BucketCounts::Integer { count, zero, positive, negative } => {
                Some(self.layout(*count, *zero, positive, negative))
            }
            BucketCounts::Float { .. } => None,
        }
    }

    fn floats(&self) -> Layout<f64> {
        let floats = |counts: &[u64]| counts.iter().map(|n| *n as f64).collect::<Vec<_>>();
        match &self.counts {
            BucketCounts::Integer { count, zero, positive, negative } => {
                self.layout(*count as f64, *zero as f64, &floats(positive), &floats(negative))
            }
            BucketCounts::Float { count, zero, positive, negative } => {
                self.layout(*count, *zero, positive, negative)
            }
        }
    }

    fn layout<N: Count>(&self, count: N, zero: N, positive: &[N], negative: &[N]) -> Layout<N> {
        Layout {
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            count,
            zero,
            positive: indexed(&self.positive_spans, positive),
            negative: indexed(&self.negative_spans, negative),
            custom_bounds: self.custom_bounds.clone(),
        }
    }
}

/// A histogram with its buckets by index.
struct Layout<N> {
    schema: i32,
    zero_threshold: f64,
    count: N,
    zero: N,
    positive: Buckets<N>,
    negative: Buckets<N>,
    custom_bounds: Vec<f64>,
}

impl<N: Count> Layout<N> {
    fn plus(mut self, mut other: Self) -> Self {
        if self.custom_bounds != other.custom_bounds {
            let common = common_bounds(&self.custom_bounds, &other.custom_bounds);
            self.rebound(&common);
            other.rebound(&common);
        } else if self.schema != CUSTOM_BOUNDS_SCHEMA {
            self.fit(&mut other);
        }
        self.count = self.count.plus(other.count);
        self.zero = self.zero.plus(other.zero);
        self.positive = merge(&self.positive, other.positive);
        self.negative = merge(&self.negative, other.negative);
        self
    }

    fn rebound(&mut self, bounds: &[f64]) {
        self.positive = rebound(&self.positive, &self.custom_bounds, bounds);
        self.custom_bounds = bounds.to_vec();
    }

    /// One zero bucket and one schema for both.
    fn fit(&mut self, other: &mut Self) {
        // What one cannot cut, the other may, and so on outwards.
        while self.zero_threshold != other.zero_threshold {
            let threshold = self.zero_threshold.max(other.zero_threshold);
            self.widen(threshold);
            other.widen(threshold);
        }
        let schema = self.schema.min(other.schema);
        self.coarsen(schema);
        other.coarsen(schema);
    }

    fn widen(&mut self, threshold: f64) {
        if threshold == self.zero_threshold {
            return;
        }
        let threshold = uncut_threshold(self.schema, threshold, [&self.positive, &self.negative]);
        for buckets in [&mut self.positive, &mut self.negative] {
            let inside = buckets.iter().take_while(|(i, _)| begins_below(self.schema, *i, threshold)).count();
            self.zero = buckets.drain(..inside).fold(self.zero, |sum, (_, count)| sum.plus(count));
        }
        self.zero_threshold = threshold;
    }

    fn coarsen(&mut self, schema: i32) {
        let by = self.schema.saturating_sub(schema);
        coarsen(&mut self.positive, by);
        coarsen(&mut self.negative, by);
        self.schema = schema;
    }
}

impl Layout<u64> {
    fn histogram(self, sum: f64) -> Histogram {
        let (count, zero) = (self.count, self.zero);
        self.with_counts(sum, |positive, negative| BucketCounts::Integer { count, zero, positive, negative })
    }
}

impl Layout<f64> {
    fn histogram(self, sum: f64) -> Histogram {
        let (count, zero) = (self.count, self.zero);
        self.with_counts(sum, |positive, negative| BucketCounts::Float { count, zero, positive, negative })
    }
}

impl<N: Count> Layout<N> {
    fn with_counts(self, sum: f64, counts: impl FnOnce(Vec<N>, Vec<N>) -> BucketCounts) -> Histogram {
        let (positive_spans, positive) = spans(&self.positive);
        let (negative_spans, negative) = spans(&self.negative);
        Histogram {
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            sum,
            reset_hint: ResetHint::Unknown,
            positive_spans,
            negative_spans,
            counts: counts(positive, negative),
            custom_bounds: self.custom_bounds,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::Span;

    fn whole(schema: i32, zero: (f64, u64), positive: &[(i32, u64)], negative: &[(i32, u64)]) -> Histogram {
        let count = positive.iter().chain(negative).map(|(_, count)| count).sum::<u64>() + zero.1;
        let layout = Layout {
            schema,
            zero_threshold: zero.0,
            count,
            zero: zero.1,
            positive: positive.to_vec(),
            negative: negative.to_vec(),
            custom_bounds: vec![],
        };
        let histogram = layout.histogram(count as f64);
        histogram.validate().unwrap();
        histogram
    }

    fn custom(bounds: &[f64], counts: &[u64]) -> Histogram {
        let buckets: Vec<(i32, u64)> = (0..).zip(counts.iter().copied()).collect();
        let histogram = Histogram {
            schema: CUSTOM_BOUNDS_SCHEMA,
            custom_bounds: bounds.to_vec(),
            ..whole(0, (0.0, 0), &buckets, &[])
        };
        histogram.validate().unwrap();
        histogram
    }

    #[test]
    fn buckets_of_one_schema_add_up() {
        let sum = whole(2, (0.5, 1), &[(1, 2), (5, 3)], &[(0, 1)]);
        let sum = sum.plus(&whole(2, (0.5, 2), &[(2, 1), (5, 1)], &[])).unwrap();
        assert_eq!(sum, whole(2, (0.5, 3), &[(1, 2), (2, 1), (5, 4)], &[(0, 1)]));
    }

    #[test]
    fn the_coarser_schema_and_the_wider_zero_bucket_hold() {
        // (1,2] and (2,4] at schema 0 are two buckets each at schema 1.
        let fine = whole(1, (0.0, 1), &[(1, 1), (2, 2), (3, 4), (4, 8)], &[(2, 3)]);
        let coarse = whole(0, (1.0, 10), &[(2, 1)], &[]);
        let wanted = whole(0, (1.0, 11), &[(1, 3), (2, 13)], &[(1, 3)]);
        assert_eq!(fine.plus(&coarse).unwrap(), wanted);
        assert_eq!(coarse.plus(&fine).unwrap(), wanted);
        // It would cut (1,2], which is not empty: it reaches to 2 then, and cuts nothing of the other.
        let wide = whole(0, (1.5, 1), &[(3, 1)], &[]);
        assert_eq!(wide.plus(&whole(0, (0.0, 0), &[(1, 5), (2, 1)], &[(1, 1)])).unwrap(), {
            whole(0, (2.0, 7), &[(2, 1), (3, 1)], &[])
        });
    }

    #[test]
    fn of_custom_bounds_the_common_ones_stay() {
        let sum = custom(&[1.0, 2.0, 3.0], &[1, 2, 3, 4]).plus(&custom(&[1.0, 2.0, 3.0], &[1])).unwrap();
        assert_eq!(sum, custom(&[1.0, 2.0, 3.0], &[2, 2, 3, 4]));
        let sum = sum.plus(&custom(&[1.0, 2.5, 3.0], &[1, 1, 1, 1])).unwrap();
        assert_eq!(sum, custom(&[1.0, 3.0], &[3, 7, 5]));
        let sum = sum.plus(&custom(&[5.0], &[0, 1])).unwrap();
        assert_eq!(sum, custom(&[], &[16]));
        assert_eq!(sum.plus(&whole(0, (0.0, 1), &[], &[])), Err(Unaddable::Kinds));
    }

    #[test]
    fn whole_counts_become_floats_with_the_first_that_are() {
        let one = whole(0, (0.0, 1), &[(1, u64::MAX - 10)], &[]);
        assert_eq!(one.plus(&whole(0, (0.0, 0), &[(1, 9)], &[])).unwrap().count(), u64::MAX as f64);
        assert_eq!(one.plus(&whole(0, (0.0, 0), &[(1, 10)], &[])), Err(Unaddable::Overflow));
        let counts = BucketCounts::Float { count: 1.5, zero: 0.5, positive: vec![1.0], negative: vec![] };
        let weighted = Histogram { counts, ..whole(0, (0.0, 0), &[(1, 1)], &[]) };
        let sum = whole(0, (0.0, 1), &[(1, 2)], &[]).plus(&weighted).unwrap();
        let wanted = BucketCounts::Float { count: 4.5, zero: 1.5, positive: vec![3.0], negative: vec![] };
        assert_eq!(sum.counts, wanted);
        let large = Histogram { sum: f64::MAX, ..weighted.clone() };
        assert_eq!(large.plus(&large), Err(Unaddable::Overflow));
        let endless = |sum, zero_threshold| Histogram { sum, zero_threshold, ..weighted.clone() };
        assert!(weighted.is_finite());
        for (sum, threshold) in [(f64::NAN, 0.0), (0.0, f64::NAN), (0.0, -1.0), (f64::INFINITY, 0.0)] {
            assert!(!endless(sum, threshold).is_finite());
        }
    }

    #[test]
    fn coarser_buckets_end_at_the_coarsest() {
        let mut histogram = whole(8, (0.0, 0), &[(-70_000, 1), (1, 1), (70_000, 3)], &[(3, 1)]);
        for schema in (-4..8).rev() {
            histogram = histogram.coarser().unwrap();
            histogram.validate().unwrap();
            assert_eq!(histogram.schema, schema);
        }
        assert_eq!(histogram.coarser(), None);
        let one = |offset| Span { offset, length: 1 };
        assert_eq!(histogram.positive_spans, [one(-17), one(17), one(16)]);
        assert_eq!(custom(&[1.0], &[1]).coarser(), None);
    }
}
