//! What a metric is written as: its family's type, as far as its value goes with it.

use model::MetricType;
use model::histogram::{BucketCounts, CUSTOM_BOUNDS_SCHEMA, Histogram, ResetHint};

use super::{Classic, Family, Value};

/// A type that a value can be written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Untyped,
    Counter,
    Gauge,
    Info,
    StateSet,
    Summary,
    Histogram,
    GaugeHistogram,
}

impl Shape {
    pub(super) fn of(family: &Family<'_>, value: &Value<'_>) -> Self {
        let is_suffix = matches!(family.name, "_total" | "_info");
        match (value, family.kind) {
            // Without its suffix such a name is none, and readers take it away.
            (Value::Float(_), MetricType::Counter | MetricType::Info) if is_suffix => Self::Untyped,
            (Value::Histogram(histogram), _) if histogram.reset_hint == ResetHint::Gauge => {
                Self::GaugeHistogram
            }
            (Value::Classic(_), MetricType::GaugeHistogram) => Self::GaugeHistogram,
            (Value::Histogram(_) | Value::Classic(_), _) => Self::Histogram,
            (Value::Summary(_), _) => Self::Summary,
            (Value::Float(_), MetricType::Counter) => Self::Counter,
            (Value::Float(_), MetricType::Gauge) => Self::Gauge,
            (Value::Float(_), MetricType::Info) => Self::Info,
            (Value::Float(_), MetricType::StateSet) => Self::StateSet,
            (Value::Float(_), _) => Self::Untyped,
        }
    }
}

impl Value<'_> {
    /// Whether only protobuf has a place for it.
    pub(super) fn is_exponential(&self) -> bool {
        matches!(self, Self::Histogram(histogram) if histogram.schema != CUSTOM_BOUNDS_SCHEMA)
    }
}

/// A number of observations.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Count {
    Whole(u64),
    Float(f64),
}

/// Up to this, whole numbers are exact as floats.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

impl Count {
    /// A count that is kept as a float.
    pub(super) fn of(count: f64) -> Self {
        match count.fract() == 0.0 && (0.0..=WHOLE_MAX).contains(&count) {
            true => Self::Whole(count as u64),
            false => Self::Float(count),
        }
    }
}

/// A histogram as its buckets are written.
pub(super) struct Buckets {
    /// Upper bounds with everything up to them, without the last, which is everything.
    pub(super) below: Vec<(f64, Count)>,
    pub(super) sum: f64,
    pub(super) count: Count,
}

impl Buckets {
    /// Of a native histogram with custom bounds.
    pub(super) fn of(histogram: &Histogram) -> Self {
        Self { below: cumulative(histogram), sum: histogram.sum, count: total(histogram) }
    }

    /// Of a classic one.
    pub(super) fn of_classic(classic: &Classic<'_>) -> Self {
        let below = classic.below.iter().map(|(bound, count)| (*bound, Count::of(*count))).collect();
        Self { below, sum: classic.sum, count: Count::of(classic.count) }
    }
}

/// A histogram with custom bounds as a classic one: upper bounds with everything up to them, without the last, which is
/// everything.
fn cumulative(histogram: &Histogram) -> Vec<(f64, Count)> {
    let mut counts = vec![Count::Whole(0); histogram.custom_bounds.len() + 1];
    let mut index = 0i64;
    let mut rows = 0;
    for span in &histogram.positive_spans {
        index += i64::from(span.offset);
        for _ in 0..span.length {
            let count = match &histogram.counts {
                BucketCounts::Integer { positive, .. } => Count::Whole(positive[rows]),
                BucketCounts::Float { positive, .. } => Count::Float(positive[rows]),
            };
            if let Some(place) = usize::try_from(index).ok().and_then(|index| counts.get_mut(index)) {
                *place = count;
            }
            (index, rows) = (index + 1, rows + 1);
        }
    }
    let (mut whole, mut float) = (0u64, 0.0);
    let is_float = matches!(histogram.counts, BucketCounts::Float { .. });
    let bounds = histogram.custom_bounds.iter().zip(counts);
    bounds
        .map(|(bound, count)| {
            match count {
                Count::Whole(count) => whole = whole.saturating_add(count),
                Count::Float(count) => float += count,
            }
            (*bound, if is_float { Count::Float(float) } else { Count::Whole(whole) })
        })
        .collect()
}

/// All observations.
pub(super) fn total(histogram: &Histogram) -> Count {
    match histogram.counts {
        BucketCounts::Integer { count, .. } => Count::Whole(count),
        BucketCounts::Float { count, .. } => Count::Float(count),
    }
}
