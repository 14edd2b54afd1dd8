//! The `Histogram` message, which remote write reads and writes too.

use codec::proto::{write_bytes, write_double, write_message, write_number};
use codec::varint;
use model::Histogram;
use model::histogram::BucketCounts;

use crate::spans;

/// Appends the fields of a histogram at a time.
pub(crate) fn write(ms: i64, histogram: &Histogram, out: &mut Vec<u8>) {
    match &histogram.counts {
        BucketCounts::Integer { count, zero, .. } => {
            write_number(1, *count, out);
            write_number(6, *zero, out);
        }
        BucketCounts::Float { count, zero, .. } => {
            write_double(2, *count, out);
            write_double(7, *zero, out);
        }
    }
    write_double(3, histogram.sum, out);
    write_number(4, varint::zigzag(i64::from(histogram.schema)), out);
    write_double(5, histogram.zero_threshold, out);
    spans::write(8, &histogram.negative_spans, out);
    spans::write(11, &histogram.positive_spans, out);
    match &histogram.counts {
        BucketCounts::Integer { positive, negative, .. } => {
            deltas(9, negative, out);
            deltas(12, positive, out);
        }
        BucketCounts::Float { positive, negative, .. } => {
            doubles(10, negative, out);
            doubles(13, positive, out);
        }
    }
    write_number(14, histogram.reset_hint as u64, out);
    write_number(15, ms as u64, out);
    doubles(16, &histogram.custom_bounds, out);
}

/// Bytes that it takes at most.
pub(super) fn bytes_max(histogram: &Histogram) -> usize {
    let spans = histogram.positive_spans.len() + histogram.negative_spans.len();
    let buckets = match &histogram.counts {
        BucketCounts::Integer { positive, negative, .. } => positive.len() + negative.len(),
        BucketCounts::Float { positive, negative, .. } => positive.len() + negative.len(),
    };
    192 + 16 * spans + varint::LENGTH_MAX * buckets + 8 * histogram.custom_bounds.len()
}

/// Each count as its difference to the one before it.
fn deltas(field: u32, counts: &[u64], out: &mut Vec<u8>) {
    if counts.is_empty() {
        return;
    }
    let before = [0].iter().chain(counts);
    let deltas = counts.iter().zip(before).map(|(count, before)| count.wrapping_sub(*before) as i64);
    write_message(field, out, |out| deltas.for_each(|delta| varint::write(varint::zigzag(delta), out)));
}

fn doubles(field: u32, values: &[f64], out: &mut Vec<u8>) {
    if !values.is_empty() {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        write_bytes(field, &bytes, out);
    }
}
