//! Data points on their way into the batch, whichever encoding they came in: the reader of each says what it finds, in the
//! order resource, scope, metric, points, and here it becomes rows.
//!
//! What the sender counts is data points. A point that is wrong costs itself; what is wrong with its metric costs each of its
//! points. A resource's attributes are a series of their own, `target_info`, which is none of the sender's points.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;

use codec::hash::key128;
use model::batch::{HistogramSample, LabelSource, MetadataRow, SeriesRow, Temporality};
use model::sample::STALE_NAN_BITS;
use model::{Batch, Metadata, MetricType, Reason, Sample, Signal};

use super::exemplar::Found;
use super::labels::{self, TARGET_INFO};
use super::names::{self, Kind};
use super::native;
use super::source::{Part, Point, Resource, Scope, Source};
use super::value::{ATTRIBUTES_MAX, Attributes};
use crate::rows::{self, Full, Room, Rows};
use crate::{Malformed, Received};

/// What a series of one sample takes in memory, with its record.
const SERIES_BYTES: usize = size_of::<SeriesRow<'_>>() + size_of::<Sample>() + 2 * size_of::<Part>();
/// What a data point takes beside its series.
const POINT_BYTES: usize = size_of::<Point<'_>>();

/// Time between two samples of `target_info`: half of the time that a query looks back.
const TARGET_INFO_STEP_NS: u64 = 150_000_000_000;
/// Samples of `target_info` that one resource of a request gets at most; with more, its points are not of one time anyway.
const TARGET_INFO_SAMPLES_MAX: u64 = 64;
/// The item of rows that are none of the sender's points.
const NO_ITEM: u32 = u32::MAX;

/// How a metric's points relate to those before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) enum Aggregation {
    /// Not said: 0, or a number that is none.
    #[default]
    Unspecified,
    /// Since the point before.
    Delta,
    /// Since the beginning.
    Cumulative,
}

impl Aggregation {
    /// The enum's numbers.
    pub(super) fn from_number(number: i64) -> Self {
        match number {
            1 => Self::Delta,
            2 => Self::Cumulative,
            _ => Self::Unspecified,
        }
    }
}

/// What a metric says of itself. A name that is no text is none.
#[derive(Clone, Debug)]
pub(super) struct Described<'a> {
    pub(super) name: Option<Cow<'a, str>>,
    pub(super) description: Cow<'a, str>,
    pub(super) unit: Cow<'a, str>,
    pub(super) kind: Kind,
    /// `None` where the type has none.
    pub(super) aggregation: Option<Aggregation>,
}

/// What all data points have.
#[derive(Clone, Debug)]
pub(super) struct Head<'a> {
    pub(super) attributes: Attributes<'a>,
    pub(super) start_ns: u64,
    pub(super) time_ns: u64,
    pub(super) flags: u32,
    pub(super) exemplars: Vec<Found>,
}

impl Head<'_> {
    /// Whether the point only says that there is none.
    fn is_stale(&self) -> bool {
        self.flags & 1 == 1
    }
}

/// A histogram with bounds of its own.
#[derive(Clone, Debug, Default)]
pub(super) struct Buckets {
    pub(super) count: u64,
    pub(super) sum: Option<f64>,
    pub(super) counts: Vec<u64>,
    pub(super) bounds: Vec<f64>,
}

/// Takes a request's data points in.
pub(super) struct Intake<'a, 'b> {
    pub(super) batch: &'b mut Batch<'a>,
    pub(super) room: Room,
    /// What labels may be read again for: work and not memory, so it does not depend on the body.
    again: Room,
    source: Source<'a>,
    received_ms: i64,
    /// Why no point of the metric at hand can be taken.
    refusal: Option<(Reason, &'static str)>,
    temporality: Temporality,
    /// Metrics whose metadata are in the batch.
    known: HashSet<u128>,
    described: Option<MetadataRow<'a>>,
    /// First and last time of the resource's points.
    times_ns: Option<(u64, u64)>,
}

impl<'a, 'b> Intake<'a, 'b> {
    /// Nothing yet. `format` tells encodings apart whose bytes may be the same.
    pub(super) fn new(received: &Received<'a>, batch: &'b mut Batch<'a>, format: u8) -> Self {
        let source = Source::new(&received.settings.otlp, batch.seed, format);
        Self {
            source,
            room: Room::for_body(received.body.len()),
            again: Room::new(),
            received_ms: received.received_ms,
            refusal: None,
            temporality: Temporality::Cumulative,
            known: HashSet::new(),
            described: None,
            times_ns: None,
            batch,
        }
    }

    /// Scopes, metrics and points from now on are of this resource.
    pub(super) fn resource(&mut self, attributes: Attributes<'a>) -> Result<(), Malformed> {
        self.end_resource()?;
        self.take(size_of::<Resource<'_>>() + 2 * attributes.bytes().len())?;
        self.source.resources.push(Resource::new(self.source.settings, attributes)?);
        Ok(())
    }

    /// Metrics from now on are of this scope: its name, version and schema.
    pub(super) fn scope(&mut self, texts: [&str; 3], attributes: &Attributes<'a>) -> Result<(), Malformed> {
        let mut labels = Vec::new();
        if self.source.settings.promote_scope_metadata {
            let texts_bytes: usize = texts.iter().map(|text| text.len()).sum();
            self.take(256 + texts_bytes + 8 * attributes.bytes().len())?;
            let mut pairs = Vec::new();
            attributes.each(|name, text| {
                if pairs.len() < ATTRIBUTES_MAX {
                    pairs.push((name.into_owned(), text.into_owned()));
                }
            })?;
            labels = labels::of_scope(self.source.settings, texts, pairs);
        }
        self.take(size_of::<Scope>())?;
        self.source.scopes.push(Scope { labels });
        Ok(())
    }

    /// Points from now on are of this metric.
    pub(super) fn metric(&mut self, described: Described<'a>) -> Result<(), Malformed> {
        let Described { name, description, unit, kind, aggregation } = described;
        self.refusal = match (&name, aggregation) {
            (None, _) => Some((Reason::InvalidLabels, "a metric's name is not valid UTF-8")),
            (Some(name), _) if name.is_empty() => Some((Reason::MissingName, "a metric has no name")),
            (_, Some(Aggregation::Unspecified)) => {
                Some((Reason::InvalidSeries, "a metric's aggregation temporality is not said"))
            }
            _ => None,
        };
        self.temporality = match aggregation {
            Some(Aggregation::Delta) => Temporality::Delta,
            _ => Temporality::Cumulative,
        };
        let name = name.unwrap_or_default();
        self.take(
            size_of::<super::source::Metric<'_>>()
                + 2 * (rows::owned_bytes(&name) + rows::owned_bytes(&unit)),
        )?;
        self.described = match self.refusal {
            None => self.metadata(&name, &description, &unit, kind)?,
            Some(_) => None,
        };
        self.source.push_metric(name, unit, kind);
        Ok(())
    }

    /// The metric's metadata, unless they were told before. They are kept once it has a point.
    fn metadata(
        &mut self,
        name: &str,
        description: &str,
        unit: &str,
        kind: Kind,
    ) -> Result<Option<MetadataRow<'a>>, Malformed> {
        let mut bytes = Vec::with_capacity(name.len() + unit.len() + description.len() + 32);
        bytes.push(kind as u8);
        for text in [name, unit, description] {
            bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
            bytes.extend_from_slice(text.as_bytes());
        }
        if !self.known.insert(key128(self.batch.seed, &bytes)) {
            return Ok(None);
        }
        self.take(64 + size_of::<MetadataRow<'_>>() + description.len() + 2 * (name.len() + unit.len()))?;
        let Some(family) = names::metric(self.source.settings.translation_strategy, name, unit, kind) else {
            return Ok(None);
        };
        let kind = match kind {
            Kind::Gauge | Kind::UpDown => MetricType::Gauge,
            Kind::Counter => MetricType::Counter,
            Kind::Histogram | Kind::Exponential => MetricType::Histogram,
            Kind::Summary => MetricType::Summary,
        };
        let metadata = Metadata { kind, unit: names::unit(unit), help: description.to_owned() };
        Ok(Some(MetadataRow { family: Cow::Owned(family.into_owned()), metadata }))
    }

    /// A metric without points says nothing.
    pub(super) fn empty_metric(&mut self) {
        self.batch.note("otlp_metrics_without_points", 1);
    }

    /// A metric whose type is none that is known, or absent.
    pub(super) fn no_type(&mut self) {
        self.batch.note("otlp_metrics_without_type", 1);
    }

    /// A point of a gauge or a sum.
    #[inline]
    pub(super) fn number(&mut self, head: Head<'a>, value: Option<f64>) -> Result<(), Malformed> {
        let stale = head.is_stale().then_some(f64::from_bits(STALE_NAN_BITS));
        let Some(value) = stale.or(value) else {
            return self.refuse(Reason::InvalidValue, "a data point has no value");
        };
        let is_growth = self.temporality == Temporality::Delta && self.is_of(Kind::Counter);
        // Neither does NaN.
        let grows = value >= 0.0 || stale.is_some();
        if is_growth && !grows {
            return self.refuse(Reason::InvalidValue, "a delta of a monotonic sum is below zero or NaN");
        }
        let Some(times) = self.begin(head)? else { return Ok(()) };
        self.sample(Part::Value, value, &times, 0..times.exemplars.len())
    }

    /// A point that has a number, or its time, in a form that cannot be read.
    pub(super) fn unreadable(&mut self) -> Result<(), Malformed> {
        self.refuse(Reason::InvalidValue, "a data point has a number that cannot be read")
    }

    /// A histogram in whose lists something else than a number stands.
    pub(super) fn bad_list(&mut self) -> Result<(), Malformed> {
        self.refuse(Reason::InvalidHistogram, "a histogram's list of numbers has something else in it")
    }

    /// A histogram with bounds of its own.
    pub(super) fn histogram(&mut self, mut head: Head<'a>, mut buckets: Buckets) -> Result<(), Malformed> {
        if buckets.bounds.last() == Some(&f64::INFINITY) && buckets.bounds.len() == buckets.counts.len() {
            buckets.bounds.pop();
        }
        let is_sorted = buckets.bounds.is_sorted_by(|one, other| one < other);
        let is_finite = buckets.bounds.iter().all(|bound| bound.is_finite());
        let fits = buckets.counts.is_empty() || buckets.counts.len() == buckets.bounds.len() + 1;
        if !(is_sorted && is_finite) {
            return self.refuse(Reason::InvalidHistogram, "a histogram's bounds do not grow");
        }
        if !fits {
            return self.refuse(Reason::InvalidHistogram, "a histogram has not one bucket more than bounds");
        }
        let all = buckets.counts.iter().try_fold(0u64, |all, count| all.checked_add(*count));
        if !buckets.counts.is_empty() && all != Some(buckets.count) && !head.is_stale() {
            return self.refuse(Reason::InvalidHistogram, "a histogram's count is not that of its buckets");
        }
        if self.source.settings.convert_histograms_to_nhcb {
            let histogram = match head.is_stale() {
                true => Ok(native::stale(model::histogram::CUSTOM_BOUNDS_SCHEMA)),
                false => native::custom(buckets),
            };
            return self.native(head, histogram);
        }
        // Each of them lies in one bucket; readers look for it there.
        head.exemplars.sort_by(|one, other| one.value().total_cmp(&other.value()));
        let stale = head.is_stale().then_some(f64::from_bits(STALE_NAN_BITS));
        let Some(times) = self.begin(head)? else { return Ok(()) };
        if let Some(sum) = buckets.sum {
            self.sample(Part::Sum, stale.unwrap_or(sum), &times, 0..0)?;
        }
        let count = stale.unwrap_or(buckets.count as f64);
        self.sample(Part::Count, count, &times, 0..0)?;
        let (mut below, mut start) = (0u64, 0);
        for (bound, count) in buckets.bounds.iter().zip(&buckets.counts) {
            below = below.saturating_add(*count);
            let rest = times.exemplars[start..].iter();
            let end = start + rest.take_while(|found| found.value() <= *bound).count();
            self.sample(Part::Bucket(*bound), stale.unwrap_or(below as f64), &times, start..end)?;
            start = end;
        }
        self.sample(Part::Bucket(f64::INFINITY), count, &times, start..times.exemplars.len())
    }

    /// A histogram whose bounds grow by a factor.
    pub(super) fn exponential(
        &mut self,
        head: Head<'a>,
        buckets: &native::Exponential,
    ) -> Result<(), Malformed> {
        let histogram = match head.is_stale() {
            true => Ok(native::stale(buckets.scale.clamp(native::SCALE_MIN, native::SCALE_MAX))),
            false => native::exponential(buckets),
        };
        self.native(head, histogram)
    }

    fn native(
        &mut self,
        head: Head<'a>,
        histogram: Result<model::Histogram, native::BadHistogram>,
    ) -> Result<(), Malformed> {
        let histogram = match histogram {
            Ok(histogram) => histogram,
            Err(error) => return self.refuse_for(Reason::InvalidHistogram, || error.to_string()),
        };
        let Some(times) = self.begin(head)? else { return Ok(()) };
        self.take(SERIES_BYTES + size_of::<HistogramSample>())?;
        self.read_again()?;
        let Times { timestamp_ms, start_ms, .. } = times;
        let (labels, key) = self.source.series(Part::Value);
        let rows = Rows::begin(self.batch);
        self.batch.histograms.push(HistogramSample { timestamp_ms, start_ms, histogram: histogram.into() });
        self.exemplars(&times, 0..times.exemplars.len())?;
        rows.keep_as(self.batch, labels, key, self.temporality);
        Ok(())
    }

    /// Quantiles, with a count and a sum.
    pub(super) fn summary(
        &mut self,
        head: Head<'a>,
        count: u64,
        sum: f64,
        quantiles: &[(f64, f64)],
    ) -> Result<(), Malformed> {
        let stale = head.is_stale().then_some(f64::from_bits(STALE_NAN_BITS));
        let Some(times) = self.begin(head)? else { return Ok(()) };
        self.sample(Part::Sum, stale.unwrap_or(sum), &times, 0..0)?;
        self.sample(Part::Count, stale.unwrap_or(count as f64), &times, 0..0)?;
        for (quantile, value) in quantiles {
            self.sample(Part::Quantile(*quantile), stale.unwrap_or(*value), &times, 0..0)?;
        }
        Ok(())
    }

    /// Whether the metric at hand is of this kind.
    #[inline]
    fn is_of(&self, kind: Kind) -> bool {
        self.source.metrics.last().is_some_and(|metric| metric.kind == kind)
    }

    /// Counts a point, and takes what its series have in common unless its metric is refused.
    #[inline]
    fn begin(&mut self, head: Head<'a>) -> Result<Option<Times>, Malformed> {
        if self.refusal.is_some() {
            self.refuse_for(Reason::InvalidSeries, String::new)?;
            return Ok(None);
        }
        self.batch.items.begin();
        self.take(POINT_BYTES)?;
        if let Some(row) = self.described.take() {
            self.batch.metadata.push(row);
        }
        let Head { attributes, start_ns, time_ns, exemplars, .. } = head;
        let timestamp_ms = if time_ns == 0 { self.received_ms } else { milliseconds(time_ns) };
        let time_ns =
            if time_ns == 0 { (self.received_ms.max(0) as u64).saturating_mul(1_000_000) } else { time_ns };
        self.times_ns = Some(match self.times_ns {
            None => (time_ns, time_ns),
            Some((first, last)) => (first.min(time_ns), last.max(time_ns)),
        });
        // A gauge has no beginning, whatever its sender says of the time that it stands for.
        let is_gauge = self.is_of(Kind::Gauge);
        let start_ms = if is_gauge || start_ns > time_ns { 0 } else { milliseconds(start_ns) };
        self.source.push_point(attributes);
        Ok(Some(Times { timestamp_ms, start_ms, exemplars }))
    }

    /// Keeps a sample of a series of the point at hand, with some of its exemplars.
    #[inline]
    fn sample(
        &mut self,
        part: Part,
        value: f64,
        times: &Times,
        exemplars: Range<usize>,
    ) -> Result<(), Malformed> {
        self.take(SERIES_BYTES)?;
        self.read_again()?;
        let (labels, key) = self.source.series(part);
        let rows = Rows::begin(self.batch);
        let Times { timestamp_ms, start_ms, .. } = *times;
        self.batch.samples.push(Sample { timestamp_ms, value, start_ms });
        if !exemplars.is_empty() {
            self.exemplars(times, exemplars)?;
        }
        rows.keep_as(self.batch, labels, key, self.temporality);
        Ok(())
    }

    #[cold]
    fn exemplars(&mut self, times: &Times, which: Range<usize>) -> Result<(), Malformed> {
        for found in &times.exemplars[which] {
            self.take(found.bytes())?;
            match found.exemplar(times.timestamp_ms) {
                Ok(exemplar) => self.batch.exemplars.push(exemplar),
                Err(what) => {
                    let name = self.source.metrics.last().map_or("", |metric| metric.name.as_ref());
                    self.batch.rejections.add(Signal::Exemplar, Reason::InvalidExemplar, 1);
                    self.batch.rejections.explain(|| format!("{}: {what}", rows::shown(name)));
                }
            }
        }
        Ok(())
    }

    /// Counts a point, and refuses it.
    #[cold]
    fn refuse(&mut self, reason: Reason, what: &'static str) -> Result<(), Malformed> {
        self.refuse_for(reason, || what.to_owned())
    }

    #[cold]
    fn refuse_for(&mut self, reason: Reason, what: impl FnOnce() -> String) -> Result<(), Malformed> {
        self.batch.items.begin();
        // Its number is kept.
        self.take(2 * size_of::<u32>())?;
        let (reason, what) = match self.refusal {
            Some((reason, what)) => (reason, what.to_owned()),
            None => (reason, what()),
        };
        let metric = self.source.metrics.last();
        let signal = if self.is_of(Kind::Exponential) { Signal::Histogram } else { Signal::Sample };
        let name = metric.map_or("", |metric| metric.name.as_ref());
        self.batch.refuse_item(signal, reason, || match rows::shown(name) {
            "" => what,
            name => format!("{name}: {what}"),
        });
        Ok(())
    }

    /// Keeps the series of the resource at hand, which says from the first to the last of its points what it is.
    fn end_resource(&mut self) -> Result<(), Malformed> {
        let Some((first, last)) = self.times_ns.take() else { return Ok(()) };
        let is_wanted = self.source.settings.target_info;
        if !is_wanted || !self.source.resources.last().is_some_and(|resource| resource.is_described) {
            return Ok(());
        }
        let steps = (last - first).div_ceil(TARGET_INFO_STEP_NS).min(TARGET_INFO_SAMPLES_MAX - 1);
        self.take(SERIES_BYTES + (steps as usize + 1) * size_of::<Sample>())?;
        let (labels, key) = self.source.target_info();
        let rows = Rows::begin(self.batch);
        let first = first.max(last.saturating_sub(steps * TARGET_INFO_STEP_NS));
        for time_ns in (0..steps).map(|step| first + step * TARGET_INFO_STEP_NS).chain([last]) {
            let sample = Sample { timestamp_ms: milliseconds(time_ns), value: 1.0, start_ms: 0 };
            self.batch.samples.push(sample);
        }
        self.keep_beside(rows, labels, key);
        self.describe_target_info();
        Ok(())
    }

    fn keep_beside(&mut self, rows: Rows, labels: LabelSource<'a>, key: u128) {
        rows.keep(self.batch, labels, key);
        if let Some(series) = self.batch.series.last_mut() {
            series.item = NO_ITEM;
        }
    }

    fn describe_target_info(&mut self) {
        if self.known.insert(0) {
            let (kind, unit) = (MetricType::Gauge, String::new());
            let metadata = Metadata { kind, unit, help: "Target metadata".to_owned() };
            self.batch.metadata.push(MetadataRow { family: TARGET_INFO.into(), metadata });
        }
    }

    /// Takes `bytes` before they are allocated.
    #[inline]
    pub(super) fn take(&mut self, bytes: usize) -> Result<(), Malformed> {
        self.room.take(bytes).map_err(|Full| Malformed { what: Full::WHAT, offset: 0 })
    }

    /// Each series of a point may have the point's attributes read once more.
    fn read_again(&mut self) -> Result<(), Malformed> {
        let bytes = self.source.read_again();
        self.again.take(bytes).map_err(|Full| Malformed { what: Full::WHAT, offset: 0 })
    }

    /// The request is read.
    pub(super) fn finish(mut self) -> Result<(), Malformed> {
        self.end_resource()?;
        self.batch.source = Some(Box::new(self.source));
        Ok(())
    }
}

/// A point's times and exemplars.
struct Times {
    timestamp_ms: i64,
    start_ms: i64,
    exemplars: Vec<Found>,
}

#[inline]
fn milliseconds(ns: u64) -> i64 {
    (ns / 1_000_000) as i64
}
