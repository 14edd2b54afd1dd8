//! Histograms: native, classic, or both in one message.
//!
//! One is native when it has a span, a zero bucket or something in it. Its counts are floats when the count or the zero
//! bucket's is one. Spans of no bucket only say that it is native, and are left out. Exemplars of a native histogram need
//! a time; it has those of its own field, or else those of its classic buckets.

use std::sync::Arc;

use codec::proto::{FIXED64, LEN, Reader, VARINT, key, known};
use codec::varint::unzigzag;
use model::MetricType;
use model::histogram::{BucketCounts, Histogram, ResetHint, Span};

use super::exemplar::{self, Found};
use super::{Bound, Fault, Metric, Rows, Value, series};
use crate::remote_write::histogram::{SCHEMA_MAX, SCHEMA_RESERVED_MAX, add, reduce, span};

const BUCKET: u32 = key(3, LEN);
const EXEMPLAR: u32 = key(16, LEN);

/// What a `Histogram` has beside its buckets and exemplars.
#[derive(Default)]
struct Parts {
    count: u64,
    count_float: f64,
    sum: f64,
    /// Whether there are classic buckets.
    has_buckets: bool,
    schema: i32,
    zero_threshold: f64,
    zero_count: u64,
    zero_count_float: f64,
    negative: Side,
    positive: Side,
    start_ms: i64,
    /// Whether it has exemplars of its own.
    has_exemplars: bool,
}

/// The buckets of one sign.
#[derive(Default)]
struct Side {
    /// Whether there was any, of however many buckets.
    is_there: bool,
    spans: Vec<Span>,
    /// How far the next span begins behind a span of no bucket.
    ahead: i32,
    counts: Vec<u64>,
    counts_float: Vec<f64>,
    /// Whether a delta led to no count.
    overflow: bool,
}

impl Side {
    fn add(&mut self, delta: u64) {
        self.overflow |= !add(&mut self.counts, delta);
    }

    fn push(&mut self, span: Span) {
        self.is_there = true;
        let offset = span.offset.saturating_add(self.ahead);
        if span.length == 0 {
            self.ahead = offset;
        } else {
            self.ahead = 0;
            self.spans.push(Span { offset, length: span.length });
        }
    }
}

/// A classic bucket.
struct Bucket<'a> {
    count: u64,
    count_float: f64,
    upper_bound: f64,
    exemplar: Option<Found<'a>>,
}

impl Rows<'_> {
    /// Gives the rows of a `Histogram`.
    pub(super) fn histogram(&mut self, metric: &Metric<'_, '_>, message: Reader<'_>) -> Result<(), Fault> {
        let mut parts = parts(message)?;
        if !self.options.native_histograms || !parts.is_native() {
            return self.classic(metric, &parts, message);
        }
        self.exemplars.clear();
        let own = if parts.has_exemplars { EXEMPLAR } else { BUCKET };
        each(message, own, |message| {
            let exemplar =
                if own == BUCKET { bucket(message)?.exemplar } else { Some(exemplar::read(message)?) };
            if let Some(exemplar) = exemplar.filter(|exemplar| exemplar.timestamp_ms.is_some()) {
                self.push_exemplar(exemplar, 0);
            }
            Ok(())
        })?;
        let is_gauge = metric.family.kind == MetricType::GaugeHistogram;
        let histogram = parts.native(if is_gauge { ResetHint::Gauge } else { ResetHint::Unknown });
        let histogram = histogram.map_err(|what| Fault { what, offset: message.offset() })?;
        series::write(metric.family.name, "", &self.texts.labels, &mut self.texts.series);
        self.give(metric, Value::Histogram(Arc::new(histogram)), parts.start_ms)?;
        if self.options.classic_beside_native && parts.has_buckets {
            return self.classic(metric, &parts, message);
        }
        Ok(())
    }

    fn classic(&mut self, metric: &Metric<'_, '_>, parts: &Parts, message: Reader<'_>) -> Result<(), Fault> {
        let start_ms = parts.start_ms;
        let count = either(parts.count, parts.count_float);
        self.row(metric, "_count", Bound::None, count, start_ms, None)?;
        self.row(metric, "_sum", Bound::None, parts.sum, start_ms, None)?;
        // The last bucket is everything; it may be left out, and nothing follows it.
        let mut is_whole = false;
        each(message, BUCKET, |message| {
            let bucket = bucket(message)?;
            if !is_whole {
                is_whole = bucket.upper_bound == f64::INFINITY;
                let below = either(bucket.count, bucket.count_float);
                let bound = Bound::Of("le", bucket.upper_bound);
                self.row(metric, "_bucket", bound, below, start_ms, bucket.exemplar)?;
            }
            Ok(())
        })?;
        if !is_whole {
            self.row(metric, "_bucket", Bound::Of("le", f64::INFINITY), count, start_ms, None)?;
        }
        Ok(())
    }
}

/// Hands each field `wanted` of a message that was read before to `take`.
fn each<'a>(
    mut message: Reader<'a>,
    wanted: u32,
    mut take: impl FnMut(Reader<'a>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    while let Some(key) = message.key()? {
        if key == wanted { take(message.message()?)? } else { message.skip(key, 0)? }
    }
    Ok(())
}

/// A count that has a field for each kind.
fn either(whole: u64, float: f64) -> f64 {
    if float > 0.0 { float } else { whole as f64 }
}

fn parts(mut message: Reader<'_>) -> Result<Parts, Fault> {
    const COUNT: u32 = key(1, VARINT);
    const SUM: u32 = key(2, FIXED64);
    const COUNT_FLOAT: u32 = key(4, FIXED64);
    const SCHEMA: u32 = key(5, VARINT);
    const ZERO_THRESHOLD: u32 = key(6, FIXED64);
    const ZERO_COUNT: u32 = key(7, VARINT);
    const ZERO_COUNT_FLOAT: u32 = key(8, FIXED64);
    const NEGATIVE_SPAN: u32 = key(9, LEN);
    const NEGATIVE_DELTA: u32 = key(10, VARINT);
    const NEGATIVE_DELTAS: u32 = key(10, LEN);
    const NEGATIVE_COUNT: u32 = key(11, FIXED64);
    const NEGATIVE_COUNTS: u32 = key(11, LEN);
    const POSITIVE_SPAN: u32 = key(12, LEN);
    const POSITIVE_DELTA: u32 = key(13, VARINT);
    const POSITIVE_DELTAS: u32 = key(13, LEN);
    const POSITIVE_COUNT: u32 = key(14, FIXED64);
    const POSITIVE_COUNTS: u32 = key(14, LEN);
    const START: u32 = key(15, LEN);
    let mut parts = Parts::default();
    while let Some(key) = message.key()? {
        match key {
            COUNT => parts.count = message.varint()?,
            SUM => parts.sum = message.double()?,
            BUCKET => {
                parts.has_buckets = true;
                message.message()?;
            }
            COUNT_FLOAT => parts.count_float = message.double()?,
            SCHEMA => parts.schema = unzigzag(message.varint()?) as i32,
            ZERO_THRESHOLD => parts.zero_threshold = message.double()?,
            ZERO_COUNT => parts.zero_count = message.varint()?,
            ZERO_COUNT_FLOAT => parts.zero_count_float = message.double()?,
            NEGATIVE_SPAN => parts.negative.push(span(message.message()?)?),
            NEGATIVE_DELTA => parts.negative.add(message.varint()?),
            NEGATIVE_DELTAS => message.packed_varints(|delta| parts.negative.add(delta))?,
            NEGATIVE_COUNT => parts.negative.counts_float.push(message.double()?),
            NEGATIVE_COUNTS => message.packed_doubles(|count| parts.negative.counts_float.push(count))?,
            POSITIVE_SPAN => parts.positive.push(span(message.message()?)?),
            POSITIVE_DELTA => parts.positive.add(message.varint()?),
            POSITIVE_DELTAS => message.packed_varints(|delta| parts.positive.add(delta))?,
            POSITIVE_COUNT => parts.positive.counts_float.push(message.double()?),
            POSITIVE_COUNTS => message.packed_doubles(|count| parts.positive.counts_float.push(count))?,
            START => parts.start_ms = exemplar::time_ms(message.message()?)?,
            EXEMPLAR => {
                parts.has_exemplars = true;
                message.message()?;
            }
            _ => message.skip(key, known(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]))?,
        }
    }
    Ok(parts)
}

/// Reads a `Bucket`.
fn bucket(mut message: Reader<'_>) -> Result<Bucket<'_>, Fault> {
    const COUNT: u32 = key(1, VARINT);
    const UPPER_BOUND: u32 = key(2, FIXED64);
    const EXEMPLAR: u32 = key(3, LEN);
    const COUNT_FLOAT: u32 = key(4, FIXED64);
    let mut bucket = Bucket { count: 0, count_float: 0.0, upper_bound: 0.0, exemplar: None };
    while let Some(key) = message.key()? {
        match key {
            COUNT => bucket.count = message.varint()?,
            UPPER_BOUND => bucket.upper_bound = message.double()?,
            EXEMPLAR => bucket.exemplar = Some(exemplar::read(message.message()?)?),
            COUNT_FLOAT => bucket.count_float = message.double()?,
            _ => message.skip(key, known(&[1, 2, 3, 4]))?,
        }
    }
    Ok(bucket)
}

impl Parts {
    fn is_native(&self) -> bool {
        self.positive.is_there
            || self.negative.is_there
            || self.zero_threshold > 0.0
            || self.zero_count > 0
            || self.zero_count_float > 0.0
    }

    /// The native histogram, which has the buckets then; or what is wrong with it.
    fn native(&mut self, reset_hint: ResetHint) -> Result<Histogram, String> {
        let (positive, negative) = (std::mem::take(&mut self.positive), std::mem::take(&mut self.negative));
        if positive.overflow || negative.overflow {
            return Err("native histogram bucket deltas overflow".to_owned());
        }
        let counts = if self.count_float > 0.0 || self.zero_count_float > 0.0 {
            BucketCounts::Float {
                count: self.count_float,
                zero: self.zero_count_float,
                positive: positive.counts_float,
                negative: negative.counts_float,
            }
        } else {
            BucketCounts::Integer {
                count: self.count,
                zero: self.zero_count,
                positive: positive.counts,
                negative: negative.counts,
            }
        };
        let mut histogram = Histogram {
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            sum: self.sum,
            reset_hint,
            positive_spans: positive.spans,
            negative_spans: negative.spans,
            counts,
            custom_bounds: Vec::new(),
        };
        if (SCHEMA_MAX + 1..=SCHEMA_RESERVED_MAX).contains(&histogram.schema) {
            reduce(&mut histogram).map_err(|error| error.to_string())?;
        }
        histogram.validate().map_err(|error| error.to_string())?;
        Ok(histogram)
    }
}
