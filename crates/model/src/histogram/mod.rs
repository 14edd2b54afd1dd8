//! Native histograms: exponential buckets (schema -4 to 8) and custom bounds (schema -53).
//!
//! Shapes follow Prometheus' `model/histogram`: buckets are given as spans (a gap, then a run) over the bucket index,
//! counts are absolute here (the wire's integer deltas are summed by the dialect). Integer and float histograms keep
//! their kind so that what came in goes out bit for bit.

mod bounds;
pub mod buckets;
mod sum;

pub use bounds::exponential;
pub use sum::Unaddable;

use crate::sample::STALE_NAN_BITS;

/// The schema number of histograms with custom bounds.
pub const CUSTOM_BOUNDS_SCHEMA: i32 = -53;

/// A run of consecutive buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Gap to the previous span's end; for the first span the index of its first bucket.
    pub offset: i32,
    /// Buckets in the run.
    pub length: u32,
}

/// Whether the counter behind the histogram was reset before this sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ResetHint {
    /// Must be found out from the data.
    #[default]
    Unknown,
    /// There was a reset.
    Reset,
    /// There was none.
    NotReset,
    /// Not a counter: resets have no meaning.
    Gauge,
}

impl ResetHint {
    /// The hint with this number in remote write.
    pub fn from_number(number: u64) -> Option<Self> {
        [Self::Unknown, Self::Reset, Self::NotReset, Self::Gauge].get(usize::try_from(number).ok()?).copied()
    }
}

/// Observation counts, all integer or all float.
#[derive(Clone, Debug)]
pub enum BucketCounts {
    /// Whole observations.
    Integer {
        /// All observations.
        count: u64,
        /// Those in the zero bucket.
        zero: u64,
        /// One count for each bucket of the positive spans.
        positive: Vec<u64>,
        /// One count for each bucket of the negative spans.
        negative: Vec<u64>,
    },
    /// Weighted or computed observations.
    Float {
        /// All observations.
        count: f64,
        /// Those in the zero bucket.
        zero: f64,
        /// One count for each bucket of the positive spans.
        positive: Vec<f64>,
        /// One count for each bucket of the negative spans.
        negative: Vec<f64>,
    },
}

/// Equality of bits, as for samples.
impl PartialEq for BucketCounts {
    fn eq(&self, other: &Self) -> bool {
        let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        match (self, other) {
            (
                Self::Integer { count, zero, positive, negative },
                Self::Integer { count: c, zero: z, positive: p, negative: n },
            ) => (count, zero, positive, negative) == (c, z, p, n),
            (
                Self::Float { count, zero, positive, negative },
                Self::Float { count: c, zero: z, positive: p, negative: n },
            ) => {
                (count.to_bits(), zero.to_bits()) == (c.to_bits(), z.to_bits())
                    && bits(positive) == bits(p)
                    && bits(negative) == bits(n)
            }
            _ => false,
        }
    }
}

/// One native histogram sample's value.
#[derive(Clone, Debug)]
pub struct Histogram {
    /// Resolution: bucket bounds grow by 2^(2^-schema); [`CUSTOM_BOUNDS_SCHEMA`] = custom bounds.
    pub schema: i32,
    /// Half width of the zero bucket.
    pub zero_threshold: f64,
    /// Sum of observations; the stale marker's bits mean the series ended.
    pub sum: f64,
    /// What is known about resets.
    pub reset_hint: ResetHint,
    /// Where the positive buckets lie.
    pub positive_spans: Vec<Span>,
    /// Where the negative buckets lie.
    pub negative_spans: Vec<Span>,
    /// How many observations each bucket holds.
    pub counts: BucketCounts,
    /// Upper bounds of custom buckets, strictly growing, without +Inf; empty for exponential schemas.
    pub custom_bounds: Vec<f64>,
}

impl PartialEq for Histogram {
    fn eq(&self, other: &Self) -> bool {
        let bounds = |h: &Self| h.custom_bounds.iter().map(|b| b.to_bits()).collect::<Vec<_>>();
        (self.schema, self.zero_threshold.to_bits(), self.sum.to_bits(), self.reset_hint)
            == (other.schema, other.zero_threshold.to_bits(), other.sum.to_bits(), other.reset_hint)
            && self.positive_spans == other.positive_spans
            && self.negative_spans == other.negative_spans
            && self.counts == other.counts
            && bounds(self) == bounds(other)
    }
}

/// Whether no bucket holds less than before; spans and counts are those of now and of before.
fn grew<N: Copy + PartialOrd + Default>(spans: [&[Span]; 2], counts: [&[N]; 2]) -> bool {
    if spans[0] == spans[1] {
        return !counts[0].iter().zip(counts[1]).any(|(now, before)| now < before);
    }
    let [now, before] = [0, 1].map(|at: usize| indexes(spans[at]).zip(counts[at].iter().copied()));
    let mut now = now.peekable();
    for (index, before) in before {
        while now.next_if(|(at, _)| *at < index).is_some() {}
        let now = now.next_if(|(at, _)| *at == index).map_or_else(N::default, |(_, count)| count);
        if now < before {
            return false;
        }
    }
    true
}

/// The indexes of the buckets that spans describe.
fn indexes(spans: &[Span]) -> impl Iterator<Item = i64> {
    let mut next = 0;
    spans.iter().flat_map(move |span| {
        let first = next + i64::from(span.offset);
        next = first + i64::from(span.length);
        first..next
    })
}

/// Why a histogram is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHistogram {
    /// Occurs when the schema is neither exponential (-4 to 8) nor custom (-53).
    #[error("native histogram schema {0} is not supported")]
    Schema(i32),
    /// Occurs when spans and counts disagree on the number of buckets.
    #[error("native histogram spans need {spans} buckets, {buckets} are given")]
    BucketCount {
        /// Buckets that the spans describe.
        spans: u64,
        /// Buckets given.
        buckets: u64,
    },
    /// Occurs when a span other than the first has a negative offset.
    #[error("native histogram span with a negative offset")]
    NegativeOffset,
    /// Occurs when a bucket's count is negative.
    #[error("native histogram bucket with a negative count")]
    NegativeCount,
    /// Occurs when the buckets hold more observations than the count says.
    #[error("native histogram count does not match its buckets")]
    Count,
    /// Occurs when custom bounds are not strictly growing and finite, or are given for an exponential schema.
    #[error("native histogram custom bounds are invalid")]
    CustomBounds,
}

impl Histogram {
    /// Whether this is a stale marker.
    pub fn is_stale(&self) -> bool {
        self.sum.to_bits() == STALE_NAN_BITS
    }

    /// All observations, as a float.
    pub fn count(&self) -> f64 {
        match &self.counts {
            BucketCounts::Integer { count, .. } => *count as f64,
            BucketCounts::Float { count, .. } => *count,
        }
    }

    /// What a query is told of resets, as Prometheus' store would tell it: gauges are what they were sent as; for the
    /// rest the data count. A histogram that continues the one before it says so, any other says nothing, whatever
    /// was sent with it.
    pub fn hint_after(&self, previous: Option<&Self>) -> ResetHint {
        match (self.reset_hint, previous) {
            (ResetHint::Gauge, _) => ResetHint::Gauge,
            (ResetHint::Reset, _) | (_, None) => ResetHint::Unknown,
            (_, Some(previous)) => {
                let is_counter = !previous.is_stale() && previous.reset_hint != ResetHint::Gauge;
                if is_counter && self.continues(previous) { ResetHint::NotReset } else { ResetHint::Unknown }
            }
        }
    }

    /// Whether the two are of one layout and kind, and nothing is less than it was before.
    fn continues(&self, previous: &Self) -> bool {
        if self.schema != previous.schema
            || self.zero_threshold.to_bits() != previous.zero_threshold.to_bits()
            || self.custom_bounds != previous.custom_bounds
        {
            return false;
        }
        let positive = [self.positive_spans.as_slice(), &previous.positive_spans];
        let negative = [self.negative_spans.as_slice(), &previous.negative_spans];
        match (&self.counts, &previous.counts) {
            (
                BucketCounts::Integer { count, zero, positive: p, negative: n },
                BucketCounts::Integer { count: c, zero: z, positive: before_p, negative: before_n },
            ) => count >= c && zero >= z && grew(positive, [p, before_p]) && grew(negative, [n, before_n]),
            (
                BucketCounts::Float { count, zero, positive: p, negative: n },
                BucketCounts::Float { count: c, zero: z, positive: before_p, negative: before_n },
            ) => {
                // What is no number is no less.
                let shrank = count < c || zero < z;
                !shrank && grew(positive, [p, before_p]) && grew(negative, [n, before_n])
            }
            _ => false,
        }
    }

    /// Checks what Prometheus checks on append (`model/histogram` `Validate`).
    pub fn validate(&self) -> Result<(), InvalidHistogram> {
        let custom = self.schema == CUSTOM_BOUNDS_SCHEMA;
        if !custom && !(-4..=8).contains(&self.schema) {
            return Err(InvalidHistogram::Schema(self.schema));
        }
        let growing = self.custom_bounds.is_sorted_by(|a, b| a < b);
        let finite = self.custom_bounds.iter().all(|b| b.is_finite());
        if if custom { !growing || !finite } else { !self.custom_bounds.is_empty() } {
            return Err(InvalidHistogram::CustomBounds);
        }
        let (positive, negative) = match &self.counts {
            BucketCounts::Integer { positive, negative, .. } => (positive.len(), negative.len()),
            BucketCounts::Float { positive, negative, .. } => (positive.len(), negative.len()),
        };
        for (spans, buckets) in [(&self.positive_spans, positive), (&self.negative_spans, negative)] {
            if spans.iter().skip(1).any(|s| s.offset < 0) {
                return Err(InvalidHistogram::NegativeOffset);
            }
            let described: u64 = spans.iter().map(|s| u64::from(s.length)).sum();
            if described != buckets as u64 {
                return Err(InvalidHistogram::BucketCount { spans: described, buckets: buckets as u64 });
            }
        }
        if custom {
            let last = self.positive_spans.iter().fold(0i64, |end, s| {
                end.saturating_add(i64::from(s.offset)).saturating_add(i64::from(s.length))
            });
            let first_negative = self.positive_spans.first().is_some_and(|s| s.offset < 0);
            if negative > 0 || first_negative || last > self.custom_bounds.len() as i64 + 1 {
                return Err(InvalidHistogram::CustomBounds);
            }
        }
        self.validate_counts()
    }

    fn validate_counts(&self) -> Result<(), InvalidHistogram> {
        match &self.counts {
            BucketCounts::Integer { count, zero, positive, negative } => {
                let sum = positive.iter().chain(negative).try_fold(*zero, |sum, n| sum.checked_add(*n));
                // A NaN observation is counted but falls in no bucket.
                let fits =
                    sum.is_some_and(|sum| if self.sum.is_nan() { sum <= *count } else { sum == *count });
                if fits { Ok(()) } else { Err(InvalidHistogram::Count) }
            }
            BucketCounts::Float { count, zero, positive, negative } => {
                let negative_count = |v: &f64| *v < 0.0;
                if negative_count(count) || positive.iter().chain(negative).chain([zero]).any(negative_count)
                {
                    return Err(InvalidHistogram::NegativeCount);
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An integer histogram whose buckets begin at `offset`.
    fn counter(offset: i32, buckets: &[u64]) -> Histogram {
        Histogram {
            schema: 0,
            zero_threshold: 0.0,
            sum: 1.0,
            reset_hint: ResetHint::Unknown,
            positive_spans: vec![Span { offset, length: buckets.len() as u32 }],
            negative_spans: vec![],
            counts: BucketCounts::Integer {
                count: buckets.iter().sum(),
                zero: 0,
                positive: buckets.to_vec(),
                negative: vec![],
            },
            custom_bounds: vec![],
        }
    }

    #[test]
    fn a_histogram_that_shrank_nowhere_continues_the_one_before() {
        use ResetHint::{NotReset, Unknown};
        let before = counter(2, &[1, 0, 3]);
        for (now, wanted) in [
            (counter(2, &[1, 0, 3]), NotReset),
            (counter(2, &[2, 1, 3]), NotReset),
            (counter(2, &[9, 9, 2]), Unknown),
            (counter(1, &[5, 1, 0, 3, 7]), NotReset),
            (counter(3, &[9, 3]), Unknown),
            (counter(2, &[9, 9]), Unknown),
            (counter(2, &[0, 0, 3]), Unknown),
            (Histogram { schema: 1, ..counter(2, &[1, 0, 3]) }, Unknown),
            (Histogram { zero_threshold: 0.1, ..counter(2, &[1, 0, 3]) }, Unknown),
            (Histogram { custom_bounds: vec![1.0], ..counter(2, &[1, 0, 3]) }, Unknown),
        ] {
            assert_eq!(now.hint_after(Some(&before)), wanted, "{now:?}");
        }
        // An empty bucket that is no longer described is none that shrank.
        let gap = vec![Span { offset: 2, length: 1 }, Span { offset: 1, length: 1 }];
        let now = Histogram { positive_spans: gap, ..counter(2, &[1, 3]) };
        assert_eq!(now.hint_after(Some(&before)), NotReset);
        assert_eq!(before.hint_after(Some(&now)), NotReset);
    }

    #[test]
    fn what_was_sent_counts_for_gauges_only() {
        use ResetHint::{Gauge, NotReset, Reset, Unknown};
        let (small, large) = (counter(0, &[1]), counter(0, &[2]));
        let hinted = |hint, histogram: &Histogram| Histogram { reset_hint: hint, ..histogram.clone() };
        for (sent, before, wanted) in [
            (Unknown, Some(&small), NotReset),
            (NotReset, Some(&small), NotReset),
            (NotReset, None, Unknown),
            (Reset, Some(&small), Unknown),
            (Gauge, Some(&small), Gauge),
            (Gauge, None, Gauge),
        ] {
            assert_eq!(hinted(sent, &large).hint_after(before), wanted, "{sent:?}");
        }
        assert_eq!(hinted(NotReset, &small).hint_after(Some(&large)), Unknown);
        assert_eq!(large.hint_after(Some(&hinted(Gauge, &small))), Unknown);
        let stale = Histogram { sum: f64::from_bits(STALE_NAN_BITS), ..small };
        assert_eq!(large.hint_after(Some(&stale)), Unknown);
    }

    #[test]
    fn the_kinds_do_not_continue_each_other() {
        let float = |count, positive| Histogram {
            counts: BucketCounts::Float { count, zero: 0.0, positive, negative: vec![] },
            ..counter(0, &[0])
        };
        assert_eq!(float(1.0, vec![1.0]).hint_after(Some(&counter(0, &[1]))), ResetHint::Unknown);
        assert_eq!(float(1.5, vec![1.0]).hint_after(Some(&float(1.0, vec![1.0]))), ResetHint::NotReset);
        assert_eq!(float(0.5, vec![1.0]).hint_after(Some(&float(1.0, vec![1.0]))), ResetHint::Unknown);
        assert_eq!(float(f64::NAN, vec![1.0]).hint_after(Some(&float(1.0, vec![1.0]))), ResetHint::NotReset);
    }
}
