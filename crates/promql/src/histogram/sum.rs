//! Sums and means of many histograms, compensated as those of floats are.

use std::collections::BTreeMap;

use model::histogram::ResetHint;
use model::histogram::buckets::{common_bounds, rebound};

use crate::annotation::Note;
use crate::ast::Span;
use crate::eval::math::KahanSum;
use crate::histogram::arithmetic::Incompatible;
use crate::histogram::{Buckets, FloatHistogram};

/// A running sum or mean.
#[derive(Clone, Debug)]
pub(crate) struct HistogramFold {
    total: Total,
    count: f64,
    mean: bool,
    /// The sum would overflow; the total is a running mean from here on.
    incremental: bool,
    reset_seen: bool,
    not_reset_seen: bool,
    reconciled: bool,
    failed: bool,
}

impl HistogramFold {
    pub(crate) fn new(first: &FloatHistogram, mean: bool) -> Self {
        let mut fold = Self {
            total: Total::of(first),
            count: 1.0,
            mean,
            incremental: false,
            reset_seen: false,
            not_reset_seen: false,
            reconciled: false,
            failed: false,
        };
        fold.see_hint(first);
        fold
    }

    fn see_hint(&mut self, histogram: &FloatHistogram) {
        self.reset_seen |= histogram.reset_hint == ResetHint::Reset;
        self.not_reset_seen |= histogram.reset_hint == ResetHint::NotReset;
    }

    /// Adds one; after an error there is no value.
    pub(crate) fn add(&mut self, histogram: &FloatHistogram) -> Result<(), Incompatible> {
        self.see_hint(histogram);
        self.count += 1.0;
        let added = if !self.mean {
            self.total.add(histogram)
        } else if self.incremental {
            self.add_to_mean(histogram)
        } else {
            let mut next = self.total.clone();
            let added = next.add(histogram);
            if next.shape_with_sums().overflows() {
                self.incremental = true;
                self.total.scale(|count, by| count / by, self.count - 1.0);
                self.add_to_mean(histogram)
            } else {
                self.total = next;
                added
            }
        };
        self.failed |= added.is_err();
        self.reconciled |= added?;
        Ok(())
    }

    fn add_to_mean(&mut self, histogram: &FloatHistogram) -> Result<bool, Incompatible> {
        self.total.scale(|count, by| count * by, (self.count - 1.0) / self.count);
        let mut share = histogram.clone();
        share.divide(self.count);
        self.total.add(&share)
    }

    /// What is worth a note.
    pub(crate) fn remarks(&self, operation: &str, span: Span) -> Vec<Note> {
        let mut notes = Vec::new();
        if self.reset_seen && self.not_reset_seen {
            notes.push(Note::conflicting_resets(operation, span));
        }
        if self.reconciled {
            notes.push(Note::reconciled_buckets(operation, span));
        }
        notes
    }

    /// The sum or mean without empty buckets.
    pub(crate) fn value(self) -> Option<FloatHistogram> {
        let mut value = self.value_as_is()?;
        value.compact();
        Some(value)
    }

    /// The sum or mean with all buckets that any of the histograms had.
    pub(crate) fn value_as_is(self) -> Option<FloatHistogram> {
        if self.failed {
            return None;
        }
        let divisor = if self.mean && !self.incremental { self.count } else { 1.0 };
        Some(self.total.value(divisor))
    }
}

/// A histogram whose counts are compensated sums.
#[derive(Clone, Debug)]
struct Total {
    /// Layout and hint; its counts are not kept up.
    shape: FloatHistogram,
    count: KahanSum,
    sum: KahanSum,
    zero_count: KahanSum,
    positive: BTreeMap<i32, KahanSum>,
    negative: BTreeMap<i32, KahanSum>,
}

impl Total {
    fn of(histogram: &FloatHistogram) -> Self {
        let sums = |buckets: &Buckets| buckets.iter().map(|(i, count)| (*i, KahanSum::of(*count))).collect();
        Self {
            count: KahanSum::of(histogram.count),
            sum: KahanSum::of(histogram.sum),
            zero_count: KahanSum::of(histogram.zero_count),
            positive: sums(&histogram.positive),
            negative: sums(&histogram.negative),
            shape: histogram.clone(),
        }
    }

    /// Whether custom bounds had to be reconciled.
    fn add(&mut self, other: &FloatHistogram) -> Result<bool, Incompatible> {
        if self.shape.has_custom_bounds() != other.has_custom_bounds() {
            return Err(Incompatible);
        }
        self.shape.join_hints(other);
        let mut other = other.clone();
        let mut reconciled = false;
        if self.shape.has_custom_bounds() {
            if self.shape.custom_bounds != other.custom_bounds {
                reconciled = true;
                let common = common_bounds(&self.shape.custom_bounds, &other.custom_bounds);
                let own = self.shape_with_sums();
                self.positive = regroup(&self.positive, |i| target(i, &own.custom_bounds, &common));
                other.positive = rebound(&other.positive, &other.custom_bounds, &common);
                self.shape.custom_bounds = common;
            }
        } else {
            self.fit(&mut other);
        }
        self.count.add(other.count);
        self.sum.add(other.sum);
        self.zero_count.add(other.zero_count);
        for (sums, buckets) in [(&mut self.positive, &other.positive), (&mut self.negative, &other.negative)]
        {
            for (index, count) in buckets {
                sums.entry(*index).or_default().add(*count);
            }
        }
        Ok(reconciled)
    }

    /// One zero bucket and one resolution for both.
    fn fit(&mut self, other: &mut FloatHistogram) {
        let mut own = self.shape_with_sums();
        let before = own.clone();
        *other = own.fit(other);
        if own.zero_threshold != before.zero_threshold {
            // What moved into the zero bucket left its own.
            let mut widened = before.clone();
            widened.widen_zero_bucket(own.zero_threshold);
            self.zero_count.add(widened.zero_count - before.zero_count);
            self.positive.retain(|i, _| widened.positive.iter().any(|(kept, _)| kept == i));
            self.negative.retain(|i, _| widened.negative.iter().any(|(kept, _)| kept == i));
            self.shape.zero_threshold = own.zero_threshold;
        }
        if own.schema != self.shape.schema {
            let shift = (self.shape.schema - own.schema).min(31);
            let coarse = |index: i32| ((index.saturating_sub(1)) >> shift).saturating_add(1);
            self.positive = regroup(&self.positive, coarse);
            self.negative = regroup(&self.negative, coarse);
            self.shape.schema = own.schema;
        }
    }

    fn each_sum(&mut self, mut change: impl FnMut(&mut KahanSum)) {
        self.positive.values_mut().chain(self.negative.values_mut()).for_each(&mut change);
        [&mut self.count, &mut self.sum, &mut self.zero_count].into_iter().for_each(change);
    }

    fn scale(&mut self, scale: impl Fn(f64, f64) -> f64, by: f64) {
        self.each_sum(|sum| {
            sum.sum = scale(sum.sum, by);
            sum.compensation = scale(sum.compensation, by);
        });
    }

    /// The sums without their compensation: what decides about layout and overflow.
    fn shape_with_sums(&self) -> FloatHistogram {
        self.with_counts(|sum| sum.sum)
    }

    fn value(&self, divisor: f64) -> FloatHistogram {
        self.with_counts(|sum| sum.sum / divisor + sum.compensation / divisor)
    }

    fn with_counts(&self, count: impl Fn(&KahanSum) -> f64) -> FloatHistogram {
        let buckets = |sums: &BTreeMap<i32, KahanSum>| sums.iter().map(|(i, sum)| (*i, count(sum))).collect();
        FloatHistogram {
            count: count(&self.count),
            sum: count(&self.sum),
            zero_count: count(&self.zero_count),
            positive: buckets(&self.positive),
            negative: buckets(&self.negative),
            custom_bounds: self.shape.custom_bounds.clone(),
            ..self.shape
        }
    }
}

fn target(index: i32, bounds: &[f64], fewer: &[f64]) -> i32 {
    let upper = usize::try_from(index).ok().and_then(|index| bounds.get(index));
    upper.map_or(fewer.len(), |upper| fewer.partition_point(|bound| bound < upper)) as i32
}

fn regroup(sums: &BTreeMap<i32, KahanSum>, place: impl Fn(i32) -> i32) -> BTreeMap<i32, KahanSum> {
    let mut out: BTreeMap<i32, KahanSum> = BTreeMap::new();
    for (index, sum) in sums {
        let total = out.entry(place(*index)).or_default();
        total.add(sum.sum);
        total.add(sum.compensation);
    }
    out
}
