//! Native histograms of OTLP's exponential ones, and of those with bounds of their own.
//!
//! An exponential bucket with index `i` holds what is over `base^i`, one of Prometheus what is up to `base^i`: so indexes are one
//! apart. Finer scales than Prometheus has are made coarser by merging neighbours, which is exact. Only buckets that hold
//! something are kept, and gaps of up to two between them, since a span costs more than that.

use model::histogram::{BucketCounts, CUSTOM_BOUNDS_SCHEMA, Histogram, InvalidHistogram, ResetHint, Span};
use model::sample::STALE_NAN_BITS;

use super::intake::Buckets;

/// The coarsest scale that can be kept.
pub(super) const SCALE_MIN: i32 = -4;
/// The finest scale that is kept.
pub(super) const SCALE_MAX: i32 = 8;
/// Half width of the zero bucket where none is said: Prometheus' own.
const ZERO_THRESHOLD: f64 = 1e-128;
/// Empty buckets in a row that stay within a span.
const GAP_MAX: i64 = 2;

/// An exponential histogram as it was sent.
#[derive(Clone, Debug, Default)]
pub(super) struct Exponential {
    pub(super) count: u64,
    pub(super) sum: Option<f64>,
    pub(super) scale: i32,
    pub(super) zero_count: u64,
    pub(super) zero_threshold: f64,
    pub(super) positive: Side,
    pub(super) negative: Side,
}

/// Its buckets of one sign.
#[derive(Clone, Debug, Default)]
pub(super) struct Side {
    /// Index of the first.
    pub(super) offset: i32,
    pub(super) counts: Vec<u64>,
}

/// Why a histogram is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadHistogram {
    /// Occurs when the buckets are coarser than can be kept.
    #[error("an exponential histogram has scale {0}, the least is -4")]
    Scale(i32),
    /// Occurs when a bucket's index does not fit.
    #[error("an exponential histogram has buckets out of range")]
    Index,
    /// Occurs when merged buckets hold more than can be counted.
    #[error("an exponential histogram's buckets overflow")]
    Overflow,
    /// Occurs when what was read is no valid histogram.
    #[error(transparent)]
    Invalid(#[from] InvalidHistogram),
}

/// An exponential histogram as a native one.
pub(super) fn exponential(sent: &Exponential) -> Result<Histogram, BadHistogram> {
    if sent.scale < SCALE_MIN {
        return Err(BadHistogram::Scale(sent.scale));
    }
    let shift = sent.scale.saturating_sub(SCALE_MAX).max(0);
    let side = |side: &Side| {
        // By 63 every index is 0 or -1 as it is by more.
        let index = |at: usize| ((i64::from(side.offset) + at as i64) >> shift.min(63)) + 1;
        laid_out(side.counts.iter().enumerate().map(|(at, count)| (index(at), *count)))
    };
    let (positive_spans, positive) = side(&sent.positive)?;
    let (negative_spans, negative) = side(&sent.negative)?;
    let is_said = sent.zero_threshold > 0.0 && sent.zero_threshold.is_finite();
    let histogram = Histogram {
        schema: sent.scale.min(SCALE_MAX),
        zero_threshold: if is_said { sent.zero_threshold } else { ZERO_THRESHOLD },
        sum: sent.sum.unwrap_or(0.0),
        reset_hint: ResetHint::Unknown,
        positive_spans,
        negative_spans,
        counts: BucketCounts::Integer { count: sent.count, zero: sent.zero_count, positive, negative },
        custom_bounds: Vec::new(),
    };
    histogram.validate()?;
    Ok(histogram)
}

/// A histogram with bounds of its own as a native one. One without buckets has all in the last.
pub(super) fn custom(sent: Buckets) -> Result<Histogram, BadHistogram> {
    let all = (sent.counts.is_empty()).then_some((sent.bounds.len() as i64, sent.count));
    let buckets = sent.counts.iter().enumerate().map(|(at, count)| (at as i64, *count));
    let (positive_spans, positive) = laid_out(buckets.chain(all))?;
    let histogram = Histogram {
        schema: CUSTOM_BOUNDS_SCHEMA,
        zero_threshold: 0.0,
        sum: sent.sum.unwrap_or(0.0),
        reset_hint: ResetHint::Unknown,
        positive_spans,
        negative_spans: Vec::new(),
        counts: BucketCounts::Integer { count: sent.count, zero: 0, positive, negative: Vec::new() },
        custom_bounds: sent.bounds,
    };
    histogram.validate()?;
    Ok(histogram)
}

/// The marker of a series' end.
pub(super) fn stale(schema: i32) -> Histogram {
    let (positive, negative) = (Vec::new(), Vec::new());
    Histogram {
        schema,
        zero_threshold: if schema == CUSTOM_BOUNDS_SCHEMA { 0.0 } else { ZERO_THRESHOLD },
        sum: f64::from_bits(STALE_NAN_BITS),
        reset_hint: ResetHint::Unknown,
        positive_spans: Vec::new(),
        negative_spans: Vec::new(),
        counts: BucketCounts::Integer { count: 0, zero: 0, positive, negative },
        custom_bounds: Vec::new(),
    }
}

/// Spans and counts of buckets that come by index; those with one index are one.
fn laid_out(buckets: impl Iterator<Item = (i64, u64)>) -> Result<(Vec<Span>, Vec<u64>), BadHistogram> {
    let (mut spans, mut counts) = (Vec::<Span>::new(), Vec::new());
    let mut next = 0;
    for (index, count) in buckets.filter(|(_, count)| *count > 0) {
        let gap = index - next;
        match spans.last_mut() {
            Some(_) if gap == -1 => {
                let last: &mut u64 = counts.last_mut().expect("a span has a bucket");
                *last = last.checked_add(count).ok_or(BadHistogram::Overflow)?;
                continue;
            }
            Some(span) if gap <= GAP_MAX => {
                counts.resize(counts.len() + gap as usize, 0);
                span.length += gap as u32 + 1;
            }
            _ => {
                let offset = i32::try_from(gap).map_err(|_| BadHistogram::Index)?;
                spans.push(Span { offset, length: 1 });
            }
        }
        counts.push(count);
        next = index + 1;
    }
    // The last bucket's index is one too.
    i32::try_from(next).map_err(|_| BadHistogram::Index)?;
    Ok((spans, counts))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Spans and counts of the positive side.
    fn side(scale: i32, offset: i32, counts: &[u64]) -> Result<(i32, String, Vec<u64>), BadHistogram> {
        let side = Side { offset, counts: counts.to_vec() };
        let count = counts.iter().copied().fold(0, u64::saturating_add);
        let histogram = exponential(&Exponential { count, scale, positive: side, ..Exponential::default() })?;
        let BucketCounts::Integer { positive, .. } = histogram.counts else { panic!("whole counts") };
        let spans: Vec<_> = histogram
            .positive_spans
            .iter()
            .map(|span| format!("{:+}x{}", span.offset, span.length))
            .collect();
        Ok((histogram.schema, spans.join(" "), positive))
    }

    #[test]
    fn indexes_are_one_apart_and_gaps_are_spans() {
        assert_eq!(side(0, 0, &[4, 2, 3]), Ok((0, "+1x3".into(), vec![4, 2, 3])));
        assert_eq!(side(0, -2, &[1, 0, 0, 2]), Ok((0, "-1x4".into(), vec![1, 0, 0, 2])));
        assert_eq!(side(0, 0, &[1, 0, 0, 0, 2]), Ok((0, "+1x1 +3x1".into(), vec![1, 2])));
        assert_eq!(side(0, 0, &[0, 0, 0, 0, 2, 0]), Ok((0, "+5x1".into(), vec![2])));
        assert_eq!(side(-4, 0, &[]), Ok((-4, "".into(), vec![])));
    }

    /// Facts of upstream's test of layouts: scales over 8 are merged by two to the difference.
    #[test]
    fn fine_scales_are_merged() {
        assert_eq!(side(9, 0, &[4, 2, 3, 7, 1]), Ok((8, "+1x3".into(), vec![6, 10, 1])));
        assert_eq!(side(9, -1, &[4, 2, 3]), Ok((8, "+0x2".into(), vec![4, 5])));
        assert_eq!(side(10, 5, &[1, 1, 1, 1]), Ok((8, "+2x2".into(), vec![3, 1])));
        assert_eq!(side(i32::MAX, i32::MIN, &[1, 1]), Ok((8, "+0x1".into(), vec![2])));
        assert_eq!(side(i32::MAX, i32::MAX, &[1, 1]), Ok((8, "+1x1".into(), vec![2])));
    }

    #[test]
    fn what_cannot_be_kept_is_refused() {
        assert_eq!(side(-5, 0, &[1]), Err(BadHistogram::Scale(-5)));
        assert_eq!(side(0, i32::MAX, &[1]), Err(BadHistogram::Index));
        assert_eq!(side(0, i32::MAX - 2, &[1, 1]), Err(BadHistogram::Index));
        assert!(side(0, i32::MIN, &[1]).is_ok());
        assert_eq!(side(9, 0, &[u64::MAX, 1]), Err(BadHistogram::Overflow));
        let wrong = Exponential { count: 3, zero_count: 1, ..Exponential::default() };
        assert_eq!(exponential(&wrong), Err(BadHistogram::Invalid(InvalidHistogram::Count)));
    }

    #[test]
    fn bounds_of_ones_own_are_kept() {
        let of = |counts: &[u64], count| {
            let bounds = vec![0.5, 1.0];
            let sent = Buckets { count, sum: Some(2.5), counts: counts.to_vec(), bounds };
            custom(sent).map(|histogram| (histogram.positive_spans, histogram.custom_bounds))
        };
        let span = |offset, length| vec![Span { offset, length }];
        assert_eq!(of(&[1, 0, 2], 3), Ok((span(0, 3), vec![0.5, 1.0])));
        assert_eq!(of(&[0, 0, 2], 2), Ok((span(2, 1), vec![0.5, 1.0])));
        assert_eq!(of(&[], 2), Ok((span(2, 1), vec![0.5, 1.0])));
        assert_eq!(of(&[1, 0, 2], 4), Err(BadHistogram::Invalid(InvalidHistogram::Count)));
        assert_eq!(stale(-53).validate(), Ok(()));
        assert_eq!(stale(3).validate(), Ok(()));
    }
}
