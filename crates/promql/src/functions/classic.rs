//! Classic histograms: upper bounds with cumulative counts.

use crate::annotation::Lifted;

/// Adds up classic buckets of equal bounds; false when the last bound is not +Inf.
fn prepare(buckets: &mut Vec<(f64, f64)>) -> bool {
    if buckets.last().is_none_or(|(upper, _)| *upper != f64::INFINITY) {
        return false;
    }
    buckets.dedup_by(|next, kept| {
        let same = next.0 == kept.0;
        if same {
            kept.1 += next.1;
        }
        same
    });
    true
}

/// Counts of classic buckets must not fall. Differences within rounding are smoothed silently, larger ones reported.
fn make_monotonic(buckets: &mut [(f64, f64)], time_ms: i64) -> Option<Lifted> {
    let mut lifted: Option<Lifted> = None;
    let mut previous = buckets[0].1;
    for (upper, count) in &mut buckets[1..] {
        if *count == previous {
            continue;
        }
        if nearly_equal(previous, *count) {
            *count = previous;
        } else if *count < previous {
            let difference = previous - *count;
            let lifted = lifted.get_or_insert(Lifted {
                lowest_bound: f64::INFINITY,
                highest_bound: f64::NEG_INFINITY,
                largest_difference: 0.0,
                first_ms: time_ms,
                last_ms: time_ms,
                samples: 1,
            });
            lifted.lowest_bound = lifted.lowest_bound.min(*upper);
            lifted.highest_bound = lifted.highest_bound.max(*upper);
            lifted.largest_difference = lifted.largest_difference.max(difference);
            *count = previous;
        } else {
            previous = *count;
        }
    }
    lifted
}

/// Equal up to what summing floats may do.
fn nearly_equal(a: f64, b: f64) -> bool {
    const TOLERANCE: f64 = 1e-12;
    if a.is_nan() && b.is_nan() {
        return true;
    }
    let (sum, difference) = (a.abs() + b.abs(), (a - b).abs());
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < TOLERANCE * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < TOLERANCE
}

pub(super) fn quantile(q: f64, buckets: &mut Vec<(f64, f64)>, time_ms: i64) -> (f64, Option<Lifted>) {
    if q.is_nan() {
        return (f64::NAN, None);
    }
    if q < 0.0 {
        return (f64::NEG_INFINITY, None);
    }
    if q > 1.0 {
        return (f64::INFINITY, None);
    }
    if !prepare(buckets) {
        return (f64::NAN, None);
    }
    let lifted = make_monotonic(buckets, time_ms);
    (quantile_of(q, buckets), lifted)
}

/// The quantile by a straight line within its bucket. The lowest one begins at zero unless it ends below; in the
/// highest one, which has no end, the answer is where it begins.
fn quantile_of(q: f64, buckets: &[(f64, f64)]) -> f64 {
    let last = buckets.len() - 1;
    let observations = buckets[last].1;
    if buckets.len() < 2 || observations == 0.0 {
        return f64::NAN;
    }
    let rank = q * observations;
    // As a binary search does it, counts that are NaN included.
    let (mut at, mut end) = (0, last);
    while at < end {
        let middle = at + (end - at) / 2;
        if buckets[middle].1 >= rank { end = middle } else { at = middle + 1 }
    }
    if at == last {
        return buckets[last - 1].0;
    }
    let (upper, count) = buckets[at];
    match at.checked_sub(1).map(|below| buckets[below]) {
        None if upper <= 0.0 => upper,
        None => upper * (rank / count),
        Some((lower, below)) => lower + (upper - lower) * ((rank - below) / (count - below)),
    }
}

/// The share of observations between two values.
pub(super) fn fraction(lower: f64, upper: f64, buckets: &mut Vec<(f64, f64)>) -> f64 {
    if !prepare(buckets) {
        return f64::NAN;
    }
    let count = buckets[buckets.len() - 1].1;
    if count == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let (mut ranks, mut rank) = (Ranks::default(), 0.0);
    let mut from = if buckets[0].0 <= 0.0 { f64::NEG_INFINITY } else { 0.0 };
    for (to, below) in buckets.iter().copied() {
        ranks.take((lower, upper), (from, to), rank, |value| {
            if from == f64::NEG_INFINITY {
                below
            } else {
                rank + (below - rank) * (value - from) / (to - from)
            }
        });
        if ranks.done() {
            break;
        }
        (rank, from) = (below, to);
    }
    ranks.fraction(count, count)
}

/// How many observations lie below two values, found in one walk over the buckets.
#[derive(Default)]
pub(super) struct Ranks {
    lower: Option<f64>,
    upper: Option<f64>,
}

impl Ranks {
    pub(super) fn done(&self) -> bool {
        self.lower.is_some() && self.upper.is_some()
    }

    /// Takes a bucket in, below which `rank` observations lie.
    pub(super) fn take(
        &mut self,
        (lower, upper): (f64, f64),
        bounds: (f64, f64),
        rank: f64,
        inside: impl Fn(f64) -> f64,
    ) {
        for (slot, value) in [(&mut self.lower, lower), (&mut self.upper, upper)] {
            if slot.is_none() && bounds.0 >= value {
                *slot = Some(rank);
            }
        }
        if self.done() {
            return;
        }
        for (slot, value) in [(&mut self.lower, lower), (&mut self.upper, upper)] {
            if slot.is_none() && bounds.0 < value && bounds.1 > value {
                *slot = Some(inside(value));
            }
        }
    }

    pub(super) fn fraction(&self, count: f64, of: f64) -> f64 {
        let bounded = |rank: Option<f64>| rank.filter(|rank| *rank <= count).unwrap_or(count);
        (bounded(self.upper) - bounded(self.lower)) / of
    }
}
