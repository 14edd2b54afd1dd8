//! `io.prometheus.client.MetricFamily`: the only form with native histograms.

use codec::proto::{write_bytes, write_double, write_message, write_number};
use codec::varint;
use model::batch::Exemplar;
use model::histogram::{BucketCounts, Histogram, Span};

use super::shape::{Buckets, Count, Shape};
use super::{Escaping, Family, Metric, Summary, Value};
use crate::spans;

/// Appends what a family begins with: its metrics follow.
pub(super) fn begin(family: &Family<'_>, shape: Shape, escaping: Escaping, out: &mut Vec<u8>) {
    write_bytes(1, escaping.metric(family.name).as_bytes(), out);
    if !family.help.is_empty() {
        write_bytes(2, family.help.as_bytes(), out);
    }
    write_number(3, kind(shape), out);
    if !family.unit.is_empty() {
        write_bytes(5, family.unit.as_bytes(), out);
    }
}

fn kind(shape: Shape) -> u64 {
    match shape {
        Shape::Counter => 0,
        Shape::Gauge | Shape::Info | Shape::StateSet => 1,
        Shape::Summary => 2,
        Shape::Untyped => 3,
        Shape::Histogram => 4,
        Shape::GaugeHistogram => 5,
    }
}

/// Appends a metric of the family.
pub(super) fn write(
    shape: Shape,
    metric: &Metric<'_>,
    created_s: Option<f64>,
    escaping: Escaping,
    out: &mut Vec<u8>,
) {
    let created = |field, out: &mut Vec<u8>| {
        if let Some(created_s) = created_s {
            write_message(field, out, |out| timestamp((created_s * 1000.0).round() as i64, out));
        }
    };
    write_message(4, out, |out| {
        for (name, value) in metric.labels {
            label(&escaping.label(name), value, out);
        }
        match metric.value {
            Value::Float(value) => {
                let field = match shape {
                    Shape::Gauge | Shape::Info | Shape::StateSet => 2,
                    Shape::Counter => 3,
                    _ => 5,
                };
                write_message(field, out, |out| {
                    write_double(1, value, out);
                    if let Some(exemplar) = metric.exemplar.filter(|_| shape == Shape::Counter) {
                        write_message(2, out, |out| write_exemplar(exemplar, escaping, out));
                    }
                    if shape == Shape::Counter {
                        created(3, out);
                    }
                });
            }
            Value::Summary(summary) => write_message(4, out, |out| {
                write_summary(&summary, out);
                created(4, out);
            }),
            Value::Classic(classic) => write_message(7, out, |out| {
                histogram(&Buckets::of_classic(&classic), None, out);
                created(15, out);
            }),
            Value::Histogram(value) => write_message(7, out, |out| {
                let native = Some(value).filter(|_| metric.value.is_exponential());
                histogram(&Buckets::of(value), native, out);
                created(15, out);
            }),
        }
        if let Some(ms) = metric.at_ms {
            write_number(6, ms as u64, out);
        }
    });
}

fn native(histogram: &Histogram, out: &mut Vec<u8>) {
    write_number(5, varint::zigzag(i64::from(histogram.schema)), out);
    write_double(6, histogram.zero_threshold, out);
    spans::write(9, &histogram.negative_spans, out);
    spans::write(12, &histogram.positive_spans, out);
    match &histogram.counts {
        BucketCounts::Integer { zero, positive, negative, .. } => {
            write_number(7, *zero, out);
            deltas(10, negative, out);
            deltas(13, positive, out);
        }
        BucketCounts::Float { zero, positive, negative, .. } => {
            write_double(8, *zero, out);
            negative.iter().for_each(|count| write_double(11, *count, out));
            positive.iter().for_each(|count| write_double(14, *count, out));
        }
    }
    // A histogram without a bucket is told from a classic one by a span of none.
    if histogram.positive_spans.is_empty() && histogram.negative_spans.is_empty() {
        spans::write(12, &[Span { offset: 0, length: 0 }], out);
    }
}

/// All of a histogram: one with exponential buckets has those, others the classic ones.
fn histogram(buckets: &Buckets, exponential: Option<&Histogram>, out: &mut Vec<u8>) {
    count(1, 4, buckets.count, out);
    write_double(2, buckets.sum, out);
    match exponential {
        Some(histogram) => native(histogram, out),
        None => buckets.below.iter().for_each(|(bound, below)| {
            write_message(3, out, |out| {
                count(1, 4, *below, out);
                write_double(2, *bound, out);
            });
        }),
    }
}

fn write_summary(summary: &Summary<'_>, out: &mut Vec<u8>) {
    if let Some(count) = summary.count {
        write_number(1, count as u64, out);
    }
    if let Some(sum) = summary.sum {
        write_double(2, sum, out);
    }
    for (quantile, value) in summary.quantiles {
        write_message(3, out, |out| {
            write_double(1, *quantile, out);
            write_double(2, *value, out);
        });
    }
}

/// A number of observations, which has a field for each kind.
fn count(whole: u32, float: u32, count: Count, out: &mut Vec<u8>) {
    match count {
        Count::Whole(count) => write_number(whole, count, out),
        Count::Float(count) => write_double(float, count, out),
    }
}

/// Each count as its difference to the one before it; not packed, as these messages are declared.
fn deltas(field: u32, counts: &[u64], out: &mut Vec<u8>) {
    let mut before = 0;
    for count in counts {
        write_number(field, varint::zigzag(count.wrapping_sub(before) as i64), out);
        before = *count;
    }
}

fn write_exemplar(exemplar: &Exemplar, escaping: Escaping, out: &mut Vec<u8>) {
    for (name, value) in &exemplar.labels {
        label(&escaping.label(name), value, out);
    }
    write_double(2, exemplar.value, out);
    write_message(3, out, |out| timestamp(exemplar.timestamp_ms, out));
}

fn timestamp(ms: i64, out: &mut Vec<u8>) {
    write_number(1, ms.div_euclid(1000) as u64, out);
    write_number(2, ms.rem_euclid(1000) as u64 * 1_000_000, out);
}

fn label(name: &str, value: &str, out: &mut Vec<u8>) {
    write_message(1, out, |out| {
        write_bytes(1, name.as_bytes(), out);
        write_bytes(2, value.as_bytes(), out);
    });
}
