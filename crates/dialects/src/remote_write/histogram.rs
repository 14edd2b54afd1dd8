//! Native histograms, the same message in 1.0 and 2.0.
//!
//! Bucket deltas are summed to absolute counts while they are read; a sum outside of 0 to 2^64 - 1, integer and float
//! parts together, spans that do not fit, all refuse the histogram and nothing else. Resolutions that Weir does not
//! keep (schema 9 to 52) are reduced to 8 by merging neighbours, which is exact.

use std::sync::Arc;

use codec::proto::{FIXED64, LEN, Reader, VARINT, WireError, key, known};
use codec::varint::unzigzag;
use model::Histogram;
use model::batch::HistogramSample;
use model::histogram::{BucketCounts, InvalidHistogram, ResetHint, Span};

use crate::rows::Room;

/// The finest resolution that is stored.
pub(crate) const SCHEMA_MAX: i32 = 8;
/// The finest resolution that the format knows.
pub(crate) const SCHEMA_RESERVED_MAX: i32 = 52;

/// Why a histogram is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadHistogram {
    /// Occurs when integer and float counts stand together.
    #[error("native histogram mixes integer and float counts")]
    Mixed,
    /// Occurs when bucket deltas add up to less than 0 or more than 2^64 - 1.
    #[error("native histogram bucket deltas overflow")]
    Overflow,
    /// Occurs when what was read is no valid histogram.
    #[error(transparent)]
    Invalid(#[from] InvalidHistogram),
}

#[derive(Default)]
struct Parts {
    count: Option<Number>,
    zero: Option<Number>,
    integers: Sides<u64>,
    floats: Sides<f64>,
    overflow: bool,
}

#[derive(Clone, Copy)]
enum Number {
    Integer(u64),
    Float(f64),
}

#[derive(Default)]
struct Sides<T> {
    positive: Vec<T>,
    negative: Vec<T>,
}

/// Reads a `Histogram` message. Kept out of the loops over series, which are hot for floats.
#[inline(never)]
pub(crate) fn decode(
    mut message: Reader<'_>,
    room: &mut Room,
) -> Result<Result<HistogramSample, BadHistogram>, WireError> {
    const COUNT_INT: u32 = key(1, VARINT);
    const COUNT_FLOAT: u32 = key(2, FIXED64);
    const SUM: u32 = key(3, FIXED64);
    const SCHEMA: u32 = key(4, VARINT);
    const ZERO_THRESHOLD: u32 = key(5, FIXED64);
    const ZERO_COUNT_INT: u32 = key(6, VARINT);
    const ZERO_COUNT_FLOAT: u32 = key(7, FIXED64);
    const NEGATIVE_SPANS: u32 = key(8, LEN);
    const NEGATIVE_DELTAS: u32 = key(9, LEN);
    const NEGATIVE_DELTA: u32 = key(9, VARINT);
    const NEGATIVE_COUNTS: u32 = key(10, LEN);
    const NEGATIVE_COUNT: u32 = key(10, FIXED64);
    const POSITIVE_SPANS: u32 = key(11, LEN);
    const POSITIVE_DELTAS: u32 = key(12, LEN);
    const POSITIVE_DELTA: u32 = key(12, VARINT);
    const POSITIVE_COUNTS: u32 = key(13, LEN);
    const POSITIVE_COUNT: u32 = key(13, FIXED64);
    const RESET_HINT: u32 = key(14, VARINT);
    const TIMESTAMP: u32 = key(15, VARINT);
    const CUSTOM_VALUES: u32 = key(16, LEN);
    const CUSTOM_VALUE: u32 = key(16, FIXED64);
    const START_TIMESTAMP: u32 = key(17, VARINT);

    // A bucket's delta is 1 byte at least, and 8 as a count.
    room.take_for(320 + 8 * message.rest().len(), &message)?;
    let mut parts = Parts::default();
    let (mut timestamp_ms, mut start_ms) = (0, 0);
    let mut histogram = Histogram {
        schema: 0,
        zero_threshold: 0.0,
        sum: 0.0,
        reset_hint: ResetHint::Unknown,
        positive_spans: Vec::new(),
        negative_spans: Vec::new(),
        counts: BucketCounts::Integer { count: 0, zero: 0, positive: Vec::new(), negative: Vec::new() },
        custom_bounds: Vec::new(),
    };
    while let Some(key) = message.key()? {
        match key {
            COUNT_INT => parts.count = Some(Number::Integer(message.varint()?)),
            COUNT_FLOAT => parts.count = Some(Number::Float(message.double()?)),
            SUM => histogram.sum = message.double()?,
            SCHEMA => histogram.schema = unzigzag(message.varint()?) as i32,
            ZERO_THRESHOLD => histogram.zero_threshold = message.double()?,
            ZERO_COUNT_INT => parts.zero = Some(Number::Integer(message.varint()?)),
            ZERO_COUNT_FLOAT => parts.zero = Some(Number::Float(message.double()?)),
            NEGATIVE_SPANS => histogram.negative_spans.push(span(message.message()?)?),
            NEGATIVE_DELTAS => {
                message.packed_varints(|d| parts.overflow |= !add(&mut parts.integers.negative, d))?;
            }
            NEGATIVE_DELTA => parts.overflow |= !add(&mut parts.integers.negative, message.varint()?),
            NEGATIVE_COUNTS => message.packed_doubles(|c| parts.floats.negative.push(c))?,
            NEGATIVE_COUNT => parts.floats.negative.push(message.double()?),
            POSITIVE_SPANS => histogram.positive_spans.push(span(message.message()?)?),
            POSITIVE_DELTAS => {
                message.packed_varints(|d| parts.overflow |= !add(&mut parts.integers.positive, d))?;
            }
            POSITIVE_DELTA => parts.overflow |= !add(&mut parts.integers.positive, message.varint()?),
            POSITIVE_COUNTS => message.packed_doubles(|c| parts.floats.positive.push(c))?,
            POSITIVE_COUNT => parts.floats.positive.push(message.double()?),
            // An enum is open: a hint of a later version tells nothing.
            RESET_HINT => {
                histogram.reset_hint = ResetHint::from_number(message.varint()?).unwrap_or_default();
            }
            TIMESTAMP => timestamp_ms = message.varint()? as i64,
            CUSTOM_VALUES => message.packed_doubles(|b| histogram.custom_bounds.push(b))?,
            CUSTOM_VALUE => histogram.custom_bounds.push(message.double()?),
            START_TIMESTAMP => start_ms = message.varint()? as i64,
            _ => message.skip(key, known(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17]))?,
        }
    }
    let finished = parts.finish(histogram);
    Ok(finished.map(|h| HistogramSample { timestamp_ms, start_ms, histogram: Arc::new(h) }))
}

pub(crate) fn span(mut message: Reader<'_>) -> Result<Span, WireError> {
    const OFFSET: u32 = key(1, VARINT);
    const LENGTH: u32 = key(2, VARINT);
    let mut span = Span { offset: 0, length: 0 };
    while let Some(key) = message.key()? {
        match key {
            OFFSET => span.offset = unzigzag(message.varint()?) as i32,
            LENGTH => span.length = message.varint()? as u32,
            _ => message.skip(key, known(&[1, 2]))?,
        }
    }
    Ok(span)
}

/// Appends the count that lies `delta` (zigzag) over the last one; `false` when there is no such count.
pub(crate) fn add(counts: &mut Vec<u64>, delta: u64) -> bool {
    let last = counts.last().copied().unwrap_or(0);
    let count = last.checked_add_signed(unzigzag(delta));
    counts.push(count.unwrap_or(0));
    count.is_some()
}

impl Parts {
    fn finish(self, mut histogram: Histogram) -> Result<Histogram, BadHistogram> {
        if self.overflow {
            return Err(BadHistogram::Overflow);
        }
        histogram.counts = self.counts()?;
        if (SCHEMA_MAX + 1..=SCHEMA_RESERVED_MAX).contains(&histogram.schema) {
            reduce(&mut histogram)?;
        }
        histogram.validate()?;
        Ok(histogram)
    }

    /// The count tells the kind, as for Prometheus; no count at all is an integer 0.
    fn counts(self) -> Result<BucketCounts, BadHistogram> {
        let Self { integers, floats, .. } = self;
        match (self.count.unwrap_or(Number::Integer(0)), self.zero) {
            (Number::Integer(count), zero) if floats.positive.is_empty() && floats.negative.is_empty() => {
                let zero = match zero {
                    None => 0,
                    Some(Number::Integer(zero)) => zero,
                    Some(Number::Float(_)) => return Err(BadHistogram::Mixed),
                };
                let Sides { positive, negative } = integers;
                Ok(BucketCounts::Integer { count, zero, positive, negative })
            }
            (Number::Float(count), zero) if integers.positive.is_empty() && integers.negative.is_empty() => {
                let zero = match zero {
                    None => 0.0,
                    Some(Number::Float(zero)) => zero,
                    Some(Number::Integer(_)) => return Err(BadHistogram::Mixed),
                };
                let Sides { positive, negative } = floats;
                Ok(BucketCounts::Float { count, zero, positive, negative })
            }
            _ => Err(BadHistogram::Mixed),
        }
    }
}

/// Brings a histogram that is finer than [`SCHEMA_MAX`] to it.
pub(crate) fn reduce(histogram: &mut Histogram) -> Result<(), BadHistogram> {
    let shift = (histogram.schema - SCHEMA_MAX) as u32;
    let Histogram { positive_spans, negative_spans, counts, .. } = histogram;
    match counts {
        BucketCounts::Integer { positive, negative, .. } => {
            merge(positive_spans, positive, shift, |a: u64, b| a.checked_add(b))?;
            merge(negative_spans, negative, shift, |a: u64, b| a.checked_add(b))?;
        }
        BucketCounts::Float { positive, negative, .. } => {
            merge(positive_spans, positive, shift, |a, b| Some(a + b))?;
            merge(negative_spans, negative, shift, |a, b| Some(a + b))?;
        }
    }
    histogram.schema = SCHEMA_MAX;
    Ok(())
}

/// Merges buckets whose upper bounds fall into one bucket of a schema that is `shift` coarser: bucket `i` holds up to
/// base^i, so it goes to `ceil(i / 2^shift)`.
fn merge<T: Copy>(
    spans: &mut Vec<Span>,
    counts: &mut Vec<T>,
    shift: u32,
    sum: impl Fn(T, T) -> Option<T>,
) -> Result<(), BadHistogram> {
    let described: u64 = spans.iter().map(|span| u64::from(span.length)).sum();
    if described != counts.len() as u64 {
        let error = InvalidHistogram::BucketCount { spans: described, buckets: counts.len() as u64 };
        return Err(error.into());
    }
    if spans.iter().skip(1).any(|span| span.offset < 0) {
        return Err(InvalidHistogram::NegativeOffset.into());
    }
    let mut merged_spans: Vec<Span> = Vec::new();
    let mut merged: Vec<T> = Vec::new();
    // i64: every index is a sum of at most 2^26 (a body's bytes) numbers of 32 bits.
    let (mut index, mut end, mut rest) = (0i64, 0i64, counts.iter());
    for span in spans.iter() {
        index += i64::from(span.offset);
        for count in rest.by_ref().take(span.length as usize) {
            let target = ((index - 1) >> shift) + 1;
            match (merged.last_mut(), merged_spans.last_mut()) {
                (Some(last), Some(_)) if target == end - 1 => {
                    *last = sum(*last, *count).ok_or(BadHistogram::Overflow)?;
                }
                (Some(_), Some(run)) if target == end => {
                    run.length += 1;
                    merged.push(*count);
                    end += 1;
                }
                _ => {
                    let offset = i32::try_from(target - end).map_err(|_| BadHistogram::Overflow)?;
                    merged_spans.push(Span { offset, length: 1 });
                    merged.push(*count);
                    end = target + 1;
                }
            }
            index += 1;
        }
    }
    (*spans, *counts) = (merged_spans, merged);
    Ok(())
}
