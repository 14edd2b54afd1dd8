//! `io.prometheus.client.MetricFamily`: the only form with native histograms.

use codec::proto::{FIXED64, VARINT, write_bytes, write_key, write_message};
use codec::varint;
use model::batch::Exemplar;
use model::histogram::{BucketCounts, Histogram, Span};

use super::shape::{Count, Shape, cumulative, total};
use super::{Escaping, Family, Metric, Value};

/// Appends what a family begins with: its metrics follow.
pub(super) fn begin(family: &Family<'_>, shape: Shape, escaping: Escaping, out: &mut Vec<u8>) {
    write_bytes(1, escaping.metric(family.name).as_bytes(), out);
    if !family.help.is_empty() {
        write_bytes(2, family.help.as_bytes(), out);
    }
    number(3, kind(shape), out);
    if !family.unit.is_empty() {
        write_bytes(5, family.unit.as_bytes(), out);
    }
}

fn kind(shape: Shape) -> u64 {
    match shape {
        Shape::Counter => 0,
        Shape::Gauge | Shape::Info => 1,
        Shape::Untyped => 3,
        Shape::Histogram => 4,
        Shape::GaugeHistogram => 5,
    }
}

/// Appends a metric of the family.
pub(super) fn write(shape: Shape, metric: &Metric<'_>, escaping: Escaping, out: &mut Vec<u8>) {
    write_message(4, out, |out| {
        for (name, value) in metric.labels {
            label(&escaping.label(name), value, out);
        }
        match metric.value {
            Value::Float(value) => {
                let field = match shape {
                    Shape::Gauge | Shape::Info => 2,
                    Shape::Counter => 3,
                    _ => 5,
                };
                write_message(field, out, |out| {
                    double(1, value, out);
                    if let Some(exemplar) = metric.exemplar.filter(|_| shape == Shape::Counter) {
                        write_message(2, out, |out| write_exemplar(exemplar, escaping, out));
                    }
                });
            }
            Value::Histogram(histogram) => write_message(7, out, |out| {
                count(1, 4, total(histogram), out);
                double(2, histogram.sum, out);
                if metric.value.is_exponential() { native(histogram, out) } else { classic(histogram, out) }
            }),
        }
        if let Some(ms) = metric.at_ms {
            number(6, ms as u64, out);
        }
    });
}

fn native(histogram: &Histogram, out: &mut Vec<u8>) {
    number(5, varint::zigzag(i64::from(histogram.schema)), out);
    double(6, histogram.zero_threshold, out);
    spans(9, &histogram.negative_spans, out);
    spans(12, &histogram.positive_spans, out);
    match &histogram.counts {
        BucketCounts::Integer { zero, positive, negative, .. } => {
            number(7, *zero, out);
            deltas(10, negative, out);
            deltas(13, positive, out);
        }
        BucketCounts::Float { zero, positive, negative, .. } => {
            double(8, *zero, out);
            negative.iter().for_each(|count| double(11, *count, out));
            positive.iter().for_each(|count| double(14, *count, out));
        }
    }
    // A histogram without a bucket is told from a classic one by a span of none.
    if histogram.positive_spans.is_empty() && histogram.negative_spans.is_empty() {
        spans(12, &[Span { offset: 0, length: 0 }], out);
    }
}

fn classic(histogram: &Histogram, out: &mut Vec<u8>) {
    for (bound, below) in cumulative(histogram) {
        write_message(3, out, |out| {
            count(1, 4, below, out);
            double(2, bound, out);
        });
    }
}

/// A number of observations, which has a field for each kind.
fn count(whole: u32, float: u32, count: Count, out: &mut Vec<u8>) {
    match count {
        Count::Whole(count) => number(whole, count, out),
        Count::Float(count) => double(float, count, out),
    }
}

fn spans(field: u32, spans: &[Span], out: &mut Vec<u8>) {
    for span in spans {
        write_message(field, out, |out| {
            number(1, varint::zigzag(i64::from(span.offset)), out);
            number(2, u64::from(span.length), out);
        });
    }
}

/// Each count as its difference to the one before it; not packed, as these messages are declared.
fn deltas(field: u32, counts: &[u64], out: &mut Vec<u8>) {
    let mut before = 0;
    for count in counts {
        number(field, varint::zigzag(count.wrapping_sub(before) as i64), out);
        before = *count;
    }
}

fn write_exemplar(exemplar: &Exemplar, escaping: Escaping, out: &mut Vec<u8>) {
    for (name, value) in &exemplar.labels {
        label(&escaping.label(name), value, out);
    }
    double(2, exemplar.value, out);
    write_message(3, out, |out| {
        number(1, exemplar.timestamp_ms.div_euclid(1000) as u64, out);
        number(2, exemplar.timestamp_ms.rem_euclid(1000) as u64 * 1_000_000, out);
    });
}

fn label(name: &str, value: &str, out: &mut Vec<u8>) {
    write_message(1, out, |out| {
        write_bytes(1, name.as_bytes(), out);
        write_bytes(2, value.as_bytes(), out);
    });
}

fn number(field: u32, value: u64, out: &mut Vec<u8>) {
    write_key(field, VARINT, out);
    varint::write(value, out);
}

fn double(field: u32, value: f64, out: &mut Vec<u8>) {
    write_key(field, FIXED64, out);
    out.extend_from_slice(&value.to_le_bytes());
}
