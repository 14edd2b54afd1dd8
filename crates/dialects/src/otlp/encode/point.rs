//! A data point on its way out.

use codec::float;
use codec::proto::{FIXED64, LEN, write_bytes, write_double, write_key, write_message, write_number};
use codec::varint::{self, zigzag};
use model::batch::{Exemplar, HistogramSample};
use model::histogram::buckets::{Buckets, coarsen, indexed};
use model::histogram::{BucketCounts, CUSTOM_BOUNDS_SCHEMA, Histogram, ResetHint};
use model::labels::METRIC_NAME;
use model::{Sample, is_stale};

use super::super::labels::bound;
use crate::outgoing::{Form, Whole};

/// Buckets of one sign are said in one piece, with the empty ones between them. Where those would be more than this and more
/// than are held, they are said coarser: few buckets far apart must not become a message of any size.
const BUCKETS_MAX: usize = 512;
/// The coarsest scale that whoever keeps native histograms takes.
const SCALE_MIN: i32 = -4;

/// A point.
#[derive(Debug)]
pub(super) struct Point<'p> {
    labels: Vec<(&'p str, &'p str)>,
    timestamp_ms: i64,
    start_ms: i64,
    value: Value,
    pub(super) exemplars: Vec<&'p Exemplar>,
}

/// What it says.
#[derive(Debug)]
enum Value {
    Number(f64),
    Histogram { count: u64, sum: f64, bounds: Vec<f64>, counts: Vec<u64> },
    Exponential { count: u64, sum: f64, scale: i32, zero: u64, threshold: f64, sides: [Side; 2] },
    Summary { count: u64, sum: f64, quantiles: Vec<(f64, f64)> },
}

/// Buckets of one sign: the first one's index, and what each holds.
#[derive(Debug, Default)]
struct Side {
    offset: i32,
    counts: Vec<u64>,
}

impl<'p> Point<'p> {
    fn new(labels: &[(&'p str, &'p str)], timestamp_ms: i64, start_ms: i64, value: Value) -> Self {
        Self { labels: labels.to_vec(), timestamp_ms, start_ms, value, exemplars: Vec::new() }
    }

    pub(super) fn of_sample(labels: &[(&'p str, &'p str)], sample: &Sample) -> Self {
        Self::new(labels, sample.timestamp_ms, sample.start_ms, Value::Number(sample.value))
    }

    pub(super) fn of_whole(whole: &Whole<'p>) -> Self {
        let Whole { count, sum, .. } = *whole;
        let value = match whole.form {
            Form::Histogram => {
                let (bounds, mut counts): (Vec<f64>, Vec<u64>) =
                    whole.apart().map(|(bound, count)| (bound, count as u64)).unzip();
                counts.push(whole.above() as u64);
                Value::Histogram { count: count as u64, sum, bounds, counts }
            }
            Form::Summary => Value::Summary { count: count as u64, sum, quantiles: whole.points.clone() },
        };
        Self::new(&whole.labels, whole.timestamp_ms, whole.start_ms, value)
    }

    /// A native histogram, unless it counts in parts of observations or goes up and down: OTLP has neither.
    pub(super) fn of_histogram(labels: &[(&'p str, &'p str)], row: &HistogramSample) -> Option<Self> {
        let value = Value::of_histogram(&row.histogram)?;
        Some(Self::new(labels, row.timestamp_ms, row.start_ms, value))
    }

    /// Appends the point's message.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let (attributes, flags, exemplars) = match self.value {
            Value::Number(_) => (7, 8, Some(5)),
            Value::Histogram { .. } => (9, 10, Some(8)),
            Value::Exponential { .. } => (1, 10, Some(11)),
            Value::Summary { .. } => (7, 8, None),
        };
        let fixed = |label: &str| matches!(label, METRIC_NAME | "job" | "instance");
        for (name, value) in self.labels.iter().filter(|(name, _)| !fixed(name)) {
            attribute(attributes, name, value, out);
        }
        if self.start_ms > 0 {
            write_fixed(2, nanoseconds(self.start_ms), out);
        }
        write_fixed(3, nanoseconds(self.timestamp_ms), out);
        if self.is_stale() {
            write_number(flags, 1, out);
        }
        self.value.write(self.is_stale(), out);
        for one in self.exemplars.iter().filter(|_| exemplars.is_some()) {
            write_message(exemplars.unwrap_or_default(), out, |out| exemplar(one, out));
        }
    }

    fn is_stale(&self) -> bool {
        match &self.value {
            Value::Number(value) => is_stale(*value),
            Value::Histogram { sum, .. } | Value::Exponential { sum, .. } | Value::Summary { sum, .. } => {
                is_stale(*sum)
            }
        }
    }
}

impl Value {
    fn of_histogram(histogram: &Histogram) -> Option<Self> {
        let BucketCounts::Integer { count, zero, positive, negative } = &histogram.counts else {
            return None;
        };
        if histogram.reset_hint == ResetHint::Gauge {
            return None;
        }
        let (count, sum) = (*count, histogram.sum);
        let positive = indexed(&histogram.positive_spans, positive);
        if histogram.schema == CUSTOM_BOUNDS_SCHEMA {
            let bounds = histogram.custom_bounds.clone();
            let mut counts = vec![0; bounds.len() + 1];
            for (index, held) in positive {
                *counts.get_mut(usize::try_from(index).ok()?)? = held;
            }
            return Some(Self::Histogram { count, sum, bounds, counts });
        }
        let mut sides = [positive, indexed(&histogram.negative_spans, negative)];
        let mut scale = histogram.schema;
        while !sides.iter().all(can_be_said) {
            if scale <= SCALE_MIN {
                return None;
            }
            sides.iter_mut().for_each(|buckets| coarsen(buckets, 1));
            scale -= 1;
        }
        let sides = [Side::of(&sides[0])?, Side::of(&sides[1])?];
        let threshold = histogram.zero_threshold;
        Some(Self::Exponential { count, sum, scale, zero: *zero, threshold, sides })
    }

    /// Appends its fields. Of one that is stale only what tells which series end.
    fn write(&self, is_stale: bool, out: &mut Vec<u8>) {
        match self {
            Self::Number(_) | Self::Summary { .. } if is_stale => self.write_quantiles(out),
            Self::Number(value) => write_double(4, *value, out),
            Self::Histogram { count, sum, bounds, counts } => {
                if !is_stale {
                    write_fixed(4, *count, out);
                }
                write_double(5, if is_stale { 0.0 } else { *sum }, out);
                let counts = counts.iter().map(|count| if is_stale { 0 } else { *count });
                packed(6, counts, out);
                packed(7, bounds.iter().map(|bound| bound.to_bits()), out);
            }
            Self::Exponential { count, sum, scale, zero, threshold, sides } => {
                write_number(6, zigzag(i64::from(*scale)), out);
                if is_stale {
                    return;
                }
                write_fixed(4, *count, out);
                write_double(5, *sum, out);
                write_fixed(7, *zero, out);
                for (number, side) in [8, 9].into_iter().zip(sides) {
                    if !side.counts.is_empty() {
                        write_message(number, out, |out| side.write(out));
                    }
                }
                write_double(14, *threshold, out);
            }
            Self::Summary { count, sum, .. } => {
                write_fixed(4, *count, out);
                write_double(5, *sum, out);
                self.write_quantiles(out);
            }
        }
    }

    fn write_quantiles(&self, out: &mut Vec<u8>) {
        let Self::Summary { quantiles, .. } = self else { return };
        for (quantile, value) in quantiles {
            write_message(6, out, |out| {
                write_double(1, *quantile, out);
                write_double(2, *value, out);
            });
        }
    }
}

/// How many buckets there are from the first to the last.
fn width(buckets: &Buckets<u64>) -> usize {
    let ends = buckets.first().zip(buckets.last());
    let width = |(first, last): (&(i32, u64), &(i32, u64))| i64::from(last.0) - i64::from(first.0) + 1;
    ends.map_or(0, |ends| usize::try_from(width(ends)).unwrap_or_default())
}

fn can_be_said(buckets: &Buckets<u64>) -> bool {
    width(buckets) <= BUCKETS_MAX.max(2 * buckets.len())
}

impl Side {
    /// Buckets in one piece, empty ones between them; `None` where they are in no order.
    fn of(buckets: &Buckets<u64>) -> Option<Self> {
        let Some((first, _)) = buckets.first() else { return Some(Self::default()) };
        let mut counts = vec![0; width(buckets)];
        for (index, held) in buckets {
            let place = usize::try_from(i64::from(*index) - i64::from(*first)).ok()?;
            *counts.get_mut(place)? = *held;
        }
        // A bucket is called by its lower end here, by its upper one there.
        Some(Self { offset: first.saturating_sub(1), counts })
    }

    fn write(&self, out: &mut Vec<u8>) {
        write_number(1, zigzag(i64::from(self.offset)), out);
        let mut counts = Vec::with_capacity(2 * self.counts.len());
        self.counts.iter().for_each(|count| varint::write(*count, &mut counts));
        write_bytes(2, &counts, out);
    }
}

/// Appends a `KeyValue` whose value is a text. Bounds and quantiles are written as a receiver writes them of a whole histogram.
pub(super) fn attribute(number: u32, name: &str, value: &str, out: &mut Vec<u8>) {
    let bound = match (name, float::parse(value)) {
        ("le" | "quantile", Some(number)) => Some(bound(number)),
        _ => None,
    };
    let value = bound.as_deref().unwrap_or(value);
    write_message(number, out, |out| {
        write_bytes(1, name.as_bytes(), out);
        write_message(2, out, |out| write_bytes(1, value.as_bytes(), out));
    });
}

fn exemplar(exemplar: &Exemplar, out: &mut Vec<u8>) {
    if exemplar.timestamp_ms > 0 {
        write_fixed(2, nanoseconds(exemplar.timestamp_ms), out);
    }
    write_double(3, exemplar.value, out);
    for (name, value) in &exemplar.labels {
        let field = match name.as_str() {
            "span_id" => Some((4, 8)),
            "trace_id" => Some((5, 16)),
            _ => None,
        };
        match field.and_then(|(number, length)| Some((number, id(value, length)?))) {
            Some((number, id)) => write_bytes(number, &id, out),
            None => attribute(7, name, value, out),
        }
    }
}

/// The bytes of an id in hexadecimal; `None` where it is none, or written otherwise than a receiver would.
pub(super) fn id(text: &str, length: usize) -> Option<Vec<u8>> {
    let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if text.len() != 2 * length || !text.bytes().all(is_hex) || text.bytes().all(|byte| byte == b'0') {
        return None;
    }
    (0..length).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()).collect()
}

/// Milliseconds that are positive in nanoseconds, as far as they go.
fn nanoseconds(ms: i64) -> u64 {
    (ms as u64).saturating_mul(1_000_000)
}

pub(super) fn write_fixed(number: u32, value: u64, out: &mut Vec<u8>) {
    write_key(number, FIXED64, out);
    out.extend_from_slice(&value.to_le_bytes());
}

fn packed(number: u32, values: impl ExactSizeIterator<Item = u64>, out: &mut Vec<u8>) {
    write_key(number, LEN, out);
    varint::write(8 * values.len() as u64, out);
    values.for_each(|value| out.extend_from_slice(&value.to_le_bytes()));
}
