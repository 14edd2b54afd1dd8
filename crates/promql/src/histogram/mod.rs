//! Native histograms as the evaluator calculates with them: all counts are floats, buckets are a sorted list.
//!
//! Spans are a shape for the wire and the disk. Here each populated place is an index with a count, so adding,
//! coarsening and comparing are walks over sorted lists.

mod arithmetic;
mod reset;
pub(crate) mod sum;
mod trim;

use std::fmt;

use model::histogram::buckets::{indexed, spans};
use model::histogram::{BucketCounts, CUSTOM_BOUNDS_SCHEMA, ResetHint, exponential};

use crate::text::float_general;
pub(crate) use arithmetic::{Incompatible, Mismatch};

/// Buckets by index, ascending. An index may hold a count of zero.
pub(crate) type Buckets = model::histogram::buckets::Buckets<f64>;

/// A native histogram with float counts.
#[derive(Clone, Debug)]
pub struct FloatHistogram {
    /// Resolution, or custom bounds; see [`model::Histogram`].
    pub schema: i32,
    /// Half width of the zero bucket.
    pub zero_threshold: f64,
    /// Observations in the zero bucket.
    pub zero_count: f64,
    /// All observations.
    pub count: f64,
    /// Sum of observations.
    pub sum: f64,
    /// What is known about resets.
    pub reset_hint: ResetHint,
    /// Positive buckets by index, ascending.
    pub positive: Vec<(i32, f64)>,
    /// Negative buckets by the index of their mirror image, ascending.
    pub negative: Vec<(i32, f64)>,
    /// Upper bounds of custom buckets.
    pub custom_bounds: Vec<f64>,
}

/// A bucket with its bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// Lower bound.
    pub lower: f64,
    /// Upper bound.
    pub upper: f64,
    /// Whether the lower bound belongs to it.
    pub lower_inclusive: bool,
    /// Whether the upper bound belongs to it.
    pub upper_inclusive: bool,
    /// Observations.
    pub count: f64,
}

impl From<&model::Histogram> for FloatHistogram {
    fn from(histogram: &model::Histogram) -> Self {
        let floats = |counts: &[u64]| counts.iter().map(|n| *n as f64).collect::<Vec<f64>>();
        let (count, zero_count, positive, negative) = match &histogram.counts {
            BucketCounts::Integer { count, zero, positive, negative } => {
                (*count as f64, *zero as f64, floats(positive), floats(negative))
            }
            BucketCounts::Float { count, zero, positive, negative } => {
                (*count, *zero, positive.clone(), negative.clone())
            }
        };
        Self {
            schema: histogram.schema,
            zero_threshold: histogram.zero_threshold,
            zero_count,
            count,
            sum: histogram.sum,
            reset_hint: histogram.reset_hint,
            positive: indexed(&histogram.positive_spans, &positive),
            negative: indexed(&histogram.negative_spans, &negative),
            custom_bounds: histogram.custom_bounds.clone(),
        }
    }
}

impl From<&FloatHistogram> for model::Histogram {
    fn from(histogram: &FloatHistogram) -> Self {
        let (positive_spans, positive) = spans(&histogram.positive);
        let (negative_spans, negative) = spans(&histogram.negative);
        Self {
            schema: histogram.schema,
            zero_threshold: histogram.zero_threshold,
            sum: histogram.sum,
            reset_hint: histogram.reset_hint,
            positive_spans,
            negative_spans,
            counts: BucketCounts::Float {
                count: histogram.count,
                zero: histogram.zero_count,
                positive,
                negative,
            },
            custom_bounds: histogram.custom_bounds.clone(),
        }
    }
}

impl FloatHistogram {
    /// What it takes in memory.
    pub(crate) fn bytes(&self) -> usize {
        let buckets = (self.positive.capacity() + self.negative.capacity()) * size_of::<(i32, f64)>();
        size_of::<Self>() + buckets + self.custom_bounds.capacity() * size_of::<f64>() + 16
    }

    /// Without observations, in the layout of another one.
    pub(crate) fn empty_like(other: &FloatHistogram) -> Self {
        Self {
            schema: other.schema,
            zero_threshold: 0.0,
            zero_count: 0.0,
            count: 0.0,
            sum: 0.0,
            reset_hint: ResetHint::Unknown,
            positive: Vec::new(),
            negative: Vec::new(),
            custom_bounds: other.custom_bounds.clone(),
        }
    }

    /// Whether the buckets have custom bounds.
    pub fn has_custom_bounds(&self) -> bool {
        self.schema == CUSTOM_BOUNDS_SCHEMA
    }

    /// All buckets from the lowest to the highest, empty ones too.
    pub fn buckets(&self) -> Vec<Bucket> {
        let mut buckets: Vec<Bucket> = self.negative.iter().rev().map(|b| self.negative_bucket(*b)).collect();
        if self.zero_count != 0.0 {
            buckets.push(self.zero_bucket());
        }
        buckets.extend(self.positive.iter().map(|b| self.positive_bucket(*b)));
        buckets
    }

    fn zero_bucket(&self) -> Bucket {
        Bucket {
            lower: -self.zero_threshold,
            upper: self.zero_threshold,
            lower_inclusive: true,
            upper_inclusive: true,
            count: self.zero_count,
        }
    }

    fn positive_bucket(&self, (index, count): (i32, f64)) -> Bucket {
        let (lower, upper) = (self.bound(index.saturating_sub(1)), self.bound(index));
        // The first custom bucket reaches down to -Inf, and has it.
        let lower_inclusive = self.has_custom_bounds() && index == 0;
        Bucket { lower, upper, lower_inclusive, upper_inclusive: true, count }
    }

    fn negative_bucket(&self, (index, count): (i32, f64)) -> Bucket {
        let (lower, upper) = (-self.bound(index), -self.bound(index.saturating_sub(1)));
        Bucket { lower, upper, lower_inclusive: true, upper_inclusive: false, count }
    }

    /// The upper bound of the positive bucket with this index.
    fn bound(&self, index: i32) -> f64 {
        if self.has_custom_bounds() {
            return match usize::try_from(index) {
                Ok(index) => self.custom_bounds.get(index).copied().unwrap_or(f64::INFINITY),
                Err(_) => f64::NEG_INFINITY,
            };
        }
        exponential(self.schema, index)
    }

    /// Drops buckets without observations.
    pub(crate) fn compact(&mut self) {
        self.positive.retain(|(_, count)| *count != 0.0);
        self.negative.retain(|(_, count)| *count != 0.0);
    }

    /// Equality bit by bit, reset hints left aside.
    pub(crate) fn equals(&self, other: &Self) -> bool {
        let same = |a: f64, b: f64| a.to_bits() == b.to_bits();
        let buckets = |a: &Buckets, b: &Buckets| {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.0 == b.0 && same(a.1, b.1))
        };
        self.schema == other.schema
            && same(self.count, other.count)
            && same(self.sum, other.sum)
            && self.zero_threshold == other.zero_threshold
            && same(self.zero_count, other.zero_count)
            && self.custom_bounds == other.custom_bounds
            && buckets(&self.positive, &other.positive)
            && buckets(&self.negative, &other.negative)
    }
}

impl PartialEq for FloatHistogram {
    fn eq(&self, other: &Self) -> bool {
        self.equals(other) && self.reset_hint == other.reset_hint
    }
}

impl Bucket {
    /// The share of the bucket's width below `value`, which lies strictly inside of finite bounds: on a straight
    /// line, or on a logarithmic one.
    pub(crate) fn share_below(&self, value: f64, linear: bool) -> f64 {
        if linear {
            return (value - self.lower) / (self.upper - self.lower);
        }
        let [lower, upper, value_log] = [self.lower, self.upper, value].map(|v| v.abs().log2());
        if value > 0.0 {
            (value_log - lower) / (upper - lower)
        } else {
            1.0 - (value_log - upper) / (lower - upper)
        }
    }
}

/// As upstream prints one: `{count:3, sum:1.5, (1,2]:3}`.
impl fmt::Display for FloatHistogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{count:{}, sum:{}", float_general(self.count), float_general(self.sum))?;
        for bucket in self.buckets().iter().filter(|bucket| bucket.count != 0.0) {
            let open = if bucket.lower_inclusive { '[' } else { '(' };
            let close = if bucket.upper_inclusive { ']' } else { ')' };
            let (lower, upper) = (float_general(bucket.lower), float_general(bucket.upper));
            write!(f, ", {open}{lower},{upper}{close}:{}", float_general(bucket.count))?;
        }
        f.write_str("}")
    }
}
