//! Scaling, adding, subtracting; coarsening one of two histograms until they fit.

use std::cmp::Ordering;

use model::histogram::ResetHint;
use model::histogram::buckets::{self, begins_below, common_bounds, merge, rebound, uncut_threshold};

use crate::histogram::{Buckets, FloatHistogram};

/// Occurs when one histogram has exponential buckets and the other custom bounds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Incompatible;

/// What is worth a note about two histograms that were combined.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mismatch {
    /// One says that there was a reset, the other that there was none.
    pub(crate) conflicting_resets: bool,
    /// Their custom bounds differ; only the common ones were kept.
    pub(crate) reconciled_bounds: bool,
}

impl FloatHistogram {
    pub(crate) fn multiply(&mut self, factor: f64) {
        self.each_count(|count| count * factor);
        if factor < 0.0 {
            self.reset_hint = ResetHint::Gauge;
        }
    }

    /// Divides all counts; by zero there are no buckets left.
    pub(crate) fn divide(&mut self, divisor: f64) {
        if divisor == 0.0 {
            self.positive.clear();
            self.negative.clear();
        }
        self.each_count(|count| count / divisor);
        if divisor < 0.0 {
            self.reset_hint = ResetHint::Gauge;
        }
    }

    fn each_count(&mut self, change: impl Fn(f64) -> f64) {
        let buckets = self.positive.iter_mut().chain(&mut self.negative).map(|(_, count)| count);
        buckets
            .chain([&mut self.count, &mut self.sum, &mut self.zero_count])
            .for_each(|count| *count = change(*count));
    }

    pub(crate) fn add(&mut self, other: &Self) -> Result<Mismatch, Incompatible> {
        self.combine(other, 1.0)
    }

    pub(crate) fn subtract(&mut self, other: &Self) -> Result<Mismatch, Incompatible> {
        self.combine(other, -1.0)
    }

    fn combine(&mut self, other: &Self, sign: f64) -> Result<Mismatch, Incompatible> {
        if self.has_custom_bounds() != other.has_custom_bounds() {
            return Err(Incompatible);
        }
        let mut remarks = Mismatch { conflicting_resets: self.join_hints(other), reconciled_bounds: false };
        self.count += sign * other.count;
        self.sum += sign * other.sum;
        if self.has_custom_bounds() {
            let mut buckets = other.positive.clone();
            if self.custom_bounds != other.custom_bounds {
                remarks.reconciled_bounds = true;
                let common = common_bounds(&self.custom_bounds, &other.custom_bounds);
                self.positive = rebound(&self.positive, &self.custom_bounds, &common);
                buckets = rebound(&other.positive, &other.custom_bounds, &common);
                self.custom_bounds = common;
            }
            self.positive = merge(&self.positive, signed(&buckets, sign));
            if remarks.reconciled_bounds {
                self.compact();
            }
            return Ok(remarks);
        }
        let other = self.fit(other);
        self.zero_count += sign * other.zero_count;
        self.positive = merge(&self.positive, signed(&other.positive, sign));
        self.negative = merge(&self.negative, signed(&other.negative, sign));
        Ok(remarks)
    }

    /// Joins the reset hints of two operands; true when they contradict each other.
    pub(crate) fn join_hints(&mut self, other: &Self) -> bool {
        use ResetHint::{Gauge, Unknown};
        let (own, theirs) = (self.reset_hint, other.reset_hint);
        self.reset_hint = match (own, theirs) {
            (own, theirs) if own == theirs => own,
            (Gauge, _) | (_, Gauge) => Gauge,
            _ => Unknown,
        };
        own != theirs && ![own, theirs].iter().any(|hint| matches!(hint, Gauge | Unknown))
    }

    /// Brings two exponential histograms to one zero bucket and one resolution; gives the other one as it then is.
    pub(crate) fn fit(&mut self, other: &Self) -> Self {
        let mut other = other.clone();
        // A threshold that is no number is neither, and stays.
        loop {
            match self.zero_threshold.partial_cmp(&other.zero_threshold) {
                Some(Ordering::Greater) => other.widen_zero_bucket(self.zero_threshold),
                Some(Ordering::Less) => self.widen_zero_bucket(other.zero_threshold),
                Some(Ordering::Equal) | None => break,
            }
        }
        let schema = self.schema.min(other.schema);
        self.coarsen(schema);
        other.coarsen(schema);
        other
    }

    /// Takes all buckets that begin below a new threshold into the zero bucket. A populated bucket that the threshold
    /// would cut moves it further out.
    pub(crate) fn widen_zero_bucket(&mut self, threshold: f64) {
        let (count, threshold) = self.zero_count_within(threshold);
        let schema = self.schema;
        self.positive.retain(|(index, _)| !begins_below(schema, *index, threshold));
        self.negative.retain(|(index, _)| !begins_below(schema, *index, threshold));
        (self.zero_count, self.zero_threshold) = (count, threshold);
    }

    /// How many observations a zero bucket of (at least) this threshold holds, and its threshold.
    pub(crate) fn zero_count_within(&self, threshold: f64) -> (f64, f64) {
        if threshold == self.zero_threshold {
            return (self.zero_count, threshold);
        }
        let threshold = uncut_threshold(self.schema, threshold, [&self.positive, &self.negative]);
        let buckets = self.positive.iter().chain(&self.negative);
        let inside = buckets.filter(|(index, _)| begins_below(self.schema, *index, threshold));
        (inside.fold(self.zero_count, |sum, (_, count)| sum + count), threshold)
    }

    /// Merges buckets down to a lower resolution.
    pub(crate) fn coarsen(&mut self, schema: i32) {
        if schema >= self.schema {
            return;
        }
        let by = self.schema - schema;
        buckets::coarsen(&mut self.positive, by);
        buckets::coarsen(&mut self.negative, by);
        self.schema = schema;
    }

    /// A copy at a lower or equal resolution; custom bounds stay.
    pub(crate) fn at_schema(&self, schema: i32) -> Self {
        let mut copy = self.clone();
        if !copy.has_custom_bounds() && schema < copy.schema {
            copy.coarsen(schema);
            copy.reset_hint = ResetHint::Unknown;
        }
        copy
    }

    pub(crate) fn overflows(&self) -> bool {
        let buckets = self.positive.iter().chain(&self.negative).map(|(_, count)| *count);
        buckets.chain([self.count, self.sum, self.zero_count]).any(f64::is_infinite)
    }
}

fn signed(buckets: &Buckets, sign: f64) -> impl Iterator<Item = (i32, f64)> {
    buckets.iter().map(move |(index, count)| (*index, sign * count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threshold_that_is_no_number_ends_like_any_other() {
        let of = |zero_threshold| FloatHistogram {
            schema: 0,
            zero_threshold,
            zero_count: 1.0,
            count: 2.0,
            sum: 1.0,
            reset_hint: ResetHint::Unknown,
            positive: vec![(0, 1.0)],
            negative: vec![],
            custom_bounds: vec![],
        };
        for (one, other) in [(f64::NAN, 0.5), (0.5, f64::NAN), (f64::NAN, f64::NAN), (f64::INFINITY, -1.0)] {
            let mut sum = of(one);
            let fitted = sum.fit(&of(other));
            assert_eq!((sum.schema, fitted.schema), (0, 0));
        }
    }
}
