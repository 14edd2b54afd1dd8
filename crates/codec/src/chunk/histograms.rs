//! A run of native histograms, row by row.
//!
//! The generic kind: it holds integer, float and custom-bound histograms in any mixture. A row says its shape (schema,
//! zero threshold, spans, custom bounds, integer or float) only when it differs from the row before; counts are
//! differences to the row before as long as the shape stays, floats are XORed with theirs. Long runs are smaller as
//! columns ([`super::histogram_columns`]); the log's single rows and short runs are written like this.

use std::sync::Arc;

use model::Histogram;
use model::histogram::{BucketCounts, ResetHint, Span};

use super::bytes::{Reader, put_varint, put_zigzag};
use super::{Corrupt, checked_rows};

/// Set when a row's shape follows, else it is that of the row before.
const NEW_SHAPE: u8 = 1;
/// Set when counts are floats.
const FLOAT: u8 = 2;
/// The reset hint lies above the flags.
const HINT_SHIFT: u32 = 2;

/// Spans, bounds and buckets of all rows together; one row alone may have more.
pub const PARTS_MAX: usize = 1 << 20;

/// How many of the rows, one at least, go into one chunk.
pub fn chunk_rows(histograms: &[Arc<Histogram>]) -> usize {
    let mut parts = 0usize;
    let fits = |h: &&Arc<Histogram>| {
        parts = parts.saturating_add(parts_of(h));
        parts <= PARTS_MAX
    };
    histograms.iter().take_while(fits).count().clamp(1.min(histograms.len()), super::ROWS_MAX)
}

pub(super) fn parts_of(histogram: &Histogram) -> usize {
    let buckets = match &histogram.counts {
        BucketCounts::Integer { positive, negative, .. } => positive.len() + negative.len(),
        BucketCounts::Float { positive, negative, .. } => positive.len() + negative.len(),
    };
    histogram.positive_spans.len() + histogram.negative_spans.len() + histogram.custom_bounds.len() + buckets
}

/// Appends histograms: no more than [`chunk_rows`] of them.
pub fn encode(histograms: &[Arc<Histogram>], out: &mut Vec<u8>) {
    let mut previous: Option<&Histogram> = None;
    for histogram in histograms {
        let same = previous.filter(|p| same_shape(p, histogram));
        let flags = if same.is_some() { 0 } else { NEW_SHAPE } | if is_float(histogram) { FLOAT } else { 0 };
        out.push(flags | hint_number(histogram.reset_hint) << HINT_SHIFT);
        if same.is_none() {
            encode_shape(histogram, out);
        }
        put_float(out, histogram.sum, same.map_or(0, |p| p.sum.to_bits()));
        encode_counts(&histogram.counts, same.map(|p| &p.counts), out);
        previous = Some(histogram);
    }
}

pub(super) fn is_float(histogram: &Histogram) -> bool {
    matches!(histogram.counts, BucketCounts::Float { .. })
}

pub(super) fn hint_number(hint: ResetHint) -> u8 {
    match hint {
        ResetHint::Unknown => 0,
        ResetHint::Reset => 1,
        ResetHint::NotReset => 2,
        ResetHint::Gauge => 3,
    }
}

pub(super) fn same_shape(a: &Histogram, b: &Histogram) -> bool {
    let lengths = |h: &Histogram| match &h.counts {
        BucketCounts::Integer { positive, negative, .. } => (false, positive.len(), negative.len()),
        BucketCounts::Float { positive, negative, .. } => (true, positive.len(), negative.len()),
    };
    let bits = |bounds: &[f64]| bounds.iter().map(|b| b.to_bits()).collect::<Vec<_>>();
    (a.schema, a.zero_threshold.to_bits(), lengths(a)) == (b.schema, b.zero_threshold.to_bits(), lengths(b))
        && a.positive_spans == b.positive_spans
        && a.negative_spans == b.negative_spans
        && bits(&a.custom_bounds) == bits(&b.custom_bounds)
}

pub(super) fn encode_shape(histogram: &Histogram, out: &mut Vec<u8>) {
    put_zigzag(out, i64::from(histogram.schema));
    put_float(out, histogram.zero_threshold, 0);
    for spans in [&histogram.positive_spans, &histogram.negative_spans] {
        put_varint(out, spans.len() as u64);
        for span in spans {
            put_zigzag(out, i64::from(span.offset));
            put_varint(out, u64::from(span.length));
        }
    }
    put_varint(out, histogram.custom_bounds.len() as u64);
    for bound in &histogram.custom_bounds {
        put_float(out, *bound, 0);
    }
    let (positive, negative) = match &histogram.counts {
        BucketCounts::Integer { positive, negative, .. } => (positive.len(), negative.len()),
        BucketCounts::Float { positive, negative, .. } => (positive.len(), negative.len()),
    };
    put_varint(out, positive as u64);
    put_varint(out, negative as u64);
}

fn encode_counts(counts: &BucketCounts, before: Option<&BucketCounts>, out: &mut Vec<u8>) {
    match counts {
        BucketCounts::Integer { count, zero, positive, negative } => {
            let before = match before {
                Some(BucketCounts::Integer { count, zero, positive, negative }) => {
                    (*count, *zero, &positive[..], &negative[..])
                }
                _ => (0, 0, &[][..], &[][..]),
            };
            put_difference(out, *count, before.0);
            put_difference(out, *zero, before.1);
            for (buckets, before) in [(positive, before.2), (negative, before.3)] {
                for (i, bucket) in buckets.iter().enumerate() {
                    put_difference(out, *bucket, before.get(i).copied().unwrap_or(0));
                }
            }
        }
        BucketCounts::Float { count, zero, positive, negative } => {
            let before = match before {
                Some(BucketCounts::Float { count, zero, positive, negative }) => {
                    (count.to_bits(), zero.to_bits(), &positive[..], &negative[..])
                }
                _ => (0, 0, &[][..], &[][..]),
            };
            put_float(out, *count, before.0);
            put_float(out, *zero, before.1);
            for (buckets, before) in [(positive, before.2), (negative, before.3)] {
                for (i, bucket) in buckets.iter().enumerate() {
                    put_float(out, *bucket, before.get(i).map_or(0, |b| b.to_bits()));
                }
            }
        }
    }
}

fn put_difference(out: &mut Vec<u8>, count: u64, before: u64) {
    put_zigzag(out, count.wrapping_sub(before) as i64);
}

/// A float XORed with the bits before it; reversed, because what differs little ends in zeros.
fn put_float(out: &mut Vec<u8>, value: f64, before: u64) {
    put_varint(out, (value.to_bits() ^ before).swap_bytes());
}

fn float(reader: &mut Reader<'_>, before: u64) -> Result<f64, Corrupt> {
    Ok(f64::from_bits(reader.varint()?.swap_bytes() ^ before))
}

/// Reads `rows` histograms, appending them.
pub fn decode(reader: &mut Reader<'_>, rows: usize, out: &mut Vec<Arc<Histogram>>) -> Result<(), Corrupt> {
    checked_rows(rows)?;
    let mut parts = 0usize;
    let mut previous: Option<Arc<Histogram>> = None;
    for row in 0..rows {
        let head = reader.byte()?;
        let reset_hint = ResetHint::from_number(u64::from(head >> HINT_SHIFT)).ok_or(Corrupt)?;
        let (shape, before) = if head & NEW_SHAPE != 0 {
            (decode_shape(reader, head & FLOAT != 0, 1)?, None)
        } else {
            let before = previous.as_deref().ok_or(Corrupt)?;
            if is_float(before) != (head & FLOAT != 0) {
                return Err(Corrupt);
            }
            parts = parts.saturating_add(parts_of(before));
            if row > 0 && parts > PARTS_MAX {
                return Err(Corrupt);
            }
            (before.clone(), Some(before))
        };
        let sum = float(reader, before.map_or(0, |b| b.sum.to_bits()))?;
        let mut histogram = Histogram { sum, reset_hint, ..shape };
        decode_counts(reader, &mut histogram.counts)?;
        let histogram = Arc::new(histogram);
        out.push(histogram.clone());
        previous = Some(histogram);
    }
    Ok(())
}

/// A histogram of the shape that is written next, all counts zero. `buckets_of_byte` = how many buckets each of the
/// bytes behind the shape may stand for.
pub(super) fn decode_shape(
    reader: &mut Reader<'_>,
    float_counts: bool,
    buckets_of_byte: usize,
) -> Result<Histogram, Corrupt> {
    let schema = i32::try_from(reader.zigzag()?).map_err(|_| Corrupt)?;
    let zero_threshold = float(reader, 0)?;
    let positive_spans = spans(reader)?;
    let negative_spans = spans(reader)?;
    let bounds = reader.count_of(1)?;
    let custom_bounds = (0..bounds).map(|_| float(reader, 0)).collect::<Result<_, _>>()?;
    let (positive, negative) = (reader.length()?, reader.length()?);
    let most = reader.rest().len().saturating_mul(buckets_of_byte);
    if positive.saturating_add(negative) > most {
        return Err(Corrupt);
    }
    let counts = if float_counts {
        BucketCounts::Float {
            count: 0.0,
            zero: 0.0,
            positive: vec![0.0; positive],
            negative: vec![0.0; negative],
        }
    } else {
        BucketCounts::Integer { count: 0, zero: 0, positive: vec![0; positive], negative: vec![0; negative] }
    };
    Ok(Histogram {
        schema,
        zero_threshold,
        sum: 0.0,
        reset_hint: ResetHint::Unknown,
        positive_spans,
        negative_spans,
        counts,
        custom_bounds,
    })
}

fn spans(reader: &mut Reader<'_>) -> Result<Vec<Span>, Corrupt> {
    let count = reader.count_of(2)?;
    (0..count)
        .map(|_| {
            let offset = i32::try_from(reader.zigzag()?).map_err(|_| Corrupt)?;
            Ok(Span { offset, length: reader.number()? })
        })
        .collect()
}

/// Adds the differences to the counts, which are those of the row before or zero.
fn decode_counts(reader: &mut Reader<'_>, counts: &mut BucketCounts) -> Result<(), Corrupt> {
    match counts {
        BucketCounts::Integer { count, zero, positive, negative } => {
            for number in [count, zero].into_iter().chain(positive).chain(negative) {
                *number = number.wrapping_add(reader.zigzag()? as u64);
            }
        }
        BucketCounts::Float { count, zero, positive, negative } => {
            for number in [count, zero].into_iter().chain(positive).chain(negative) {
                *number = float(reader, number.to_bits())?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    fn spans_strategy() -> impl Strategy<Value = Vec<Span>> {
        proptest::collection::vec(
            (any::<i32>(), 0u32..4).prop_map(|(offset, length)| Span { offset, length }),
            0..4,
        )
    }

    fn counts() -> impl Strategy<Value = BucketCounts> {
        let integers = || proptest::collection::vec(any::<u64>(), 0..5);
        let floats = || proptest::collection::vec(any::<u64>().prop_map(f64::from_bits), 0..5);
        prop_oneof![
            (any::<u64>(), any::<u64>(), integers(), integers()).prop_map(
                |(count, zero, positive, negative)| {
                    BucketCounts::Integer { count, zero, positive, negative }
                }
            ),
            (any::<f64>(), any::<f64>(), floats(), floats()).prop_map(|(count, zero, positive, negative)| {
                BucketCounts::Float { count, zero, positive, negative }
            }),
        ]
    }

    pub(in crate::chunk) fn histogram() -> impl Strategy<Value = Arc<Histogram>> {
        let hint = (0u64..4).prop_map(|n| ResetHint::from_number(n).unwrap());
        let bounds = proptest::collection::vec(any::<f64>(), 0..4);
        (-60i32..10, any::<f64>(), any::<u64>(), hint, spans_strategy(), spans_strategy(), counts(), bounds)
            .prop_map(
                |(
                    schema,
                    zero_threshold,
                    sum,
                    reset_hint,
                    positive_spans,
                    negative_spans,
                    counts,
                    custom_bounds,
                )| {
                    Arc::new(Histogram {
                        schema,
                        zero_threshold,
                        sum: f64::from_bits(sum),
                        reset_hint,
                        positive_spans,
                        negative_spans,
                        counts,
                        custom_bounds,
                    })
                },
            )
    }

    fn round_trip(histograms: &[Arc<Histogram>]) -> usize {
        assert_eq!(chunk_rows(histograms), histograms.len());
        let mut out = Vec::new();
        encode(histograms, &mut out);
        let mut back = Vec::new();
        let mut reader = Reader::new(&out);
        decode(&mut reader, histograms.len(), &mut back).unwrap();
        assert!(reader.is_empty());
        assert_eq!(back, histograms);
        out.len()
    }

    pub(in crate::chunk) fn growing(rows: u64) -> Vec<Arc<Histogram>> {
        let row = |i: u64| Histogram {
            schema: 3,
            zero_threshold: 1e-128,
            sum: i as f64 * 0.25,
            reset_hint: ResetHint::NotReset,
            positive_spans: vec![Span { offset: -5, length: 10 }, Span { offset: 3, length: 10 }],
            negative_spans: vec![],
            counts: BucketCounts::Integer {
                count: i * 40,
                zero: 0,
                positive: (0..20).map(|b| i * b / 5).collect(),
                negative: vec![],
            },
            custom_bounds: vec![],
        };
        (0..rows).map(|i| Arc::new(row(i))).collect()
    }

    #[test]
    fn a_run_of_one_shape_says_it_once() {
        let rows = 100;
        assert!(round_trip(&growing(rows)) < 100 + rows as usize * 32);
    }

    #[test]
    fn a_small_chunk_cannot_ask_for_much_memory() {
        let mut wide = (*growing(1)[0]).clone();
        wide.positive_spans = vec![Span { offset: 0, length: 0 }; 20_000];
        let rows: Vec<Arc<Histogram>> = std::iter::repeat_n(Arc::new(wide), 1000).collect();
        let fit = chunk_rows(&rows);
        assert!((2..100).contains(&fit));
        let mut out = Vec::new();
        encode(&rows, &mut out);
        assert_eq!(decode(&mut Reader::new(&out), 1000, &mut Vec::new()), Err(Corrupt));
        let mut back = Vec::new();
        decode(&mut Reader::new(&out), fit, &mut back).unwrap();
        assert_eq!(back.len(), fit);
    }

    proptest! {
        #[test]
        fn any_histograms_come_back(mut rows in proptest::collection::vec(histogram(), 0..12), repeat in any::<bool>()) {
            if repeat {
                let copies = rows.clone();
                rows.extend(copies.into_iter().rev());
            }
            round_trip(&rows);
        }

        #[test]
        fn any_bytes_are_histograms_or_corrupt(bytes in proptest::collection::vec(any::<u8>(), 0..200), rows in 0usize..50) {
            let _ = decode(&mut Reader::new(&bytes), rows, &mut Vec::new());
        }

        #[test]
        fn a_flipped_bit_is_histograms_or_corrupt(at in any::<prop::sample::Index>(), bit in 0u8..8) {
            let rows = growing(20);
            let mut out = Vec::new();
            encode(&rows, &mut out);
            let at = at.index(out.len());
            out[at] ^= 1 << bit;
            let _ = decode(&mut Reader::new(&out), 20, &mut Vec::new());
        }
    }
}
