//! From a metric to its series: a value is one, a histogram and a summary are several.
//!
//! A histogram's buckets are each for itself, as Better Stack documents them and as Vector has them; a client that sends
//! cumulative ones is recognised by a sum of counts that is larger than the count. Stored are both the documented
//! `name{upper_limit}` and Prometheus' `name_bucket{le}`, as the tenant wants it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

use codec::hash::key128;
use model::batch::{MetadataRow, SeriesRow, Temporality};
use model::{Batch, Metadata, MetricType, Reason, Sample};

use super::labels::{Part, Source};
use super::metric::{Draft, Fault, Form};
use super::moment::Moment;
use super::settings::{HistogramSeries, Settings};
use super::tree::Packing;
use crate::Received;
use crate::rows::{Full, Room, Rows};

/// Upper limits of the buckets into which a distribution's samples are put: those that Vector itself uses.
const DISTRIBUTION_LIMITS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Quantiles of a distribution that asks to be a summary.
const DISTRIBUTION_QUANTILES: [f64; 5] = [0.5, 0.75, 0.9, 0.95, 0.99];

/// By what part a sum of buckets may be over the count that it should be.
const ROUNDING: f64 = 1e-9;

/// Places for what was said of a metric's type last.
const DESCRIBED: usize = 256;

/// The metrics of a body on their way into a batch.
pub(super) struct Series<'a> {
    /// The room for all that is made of the body.
    pub(super) room: Room,
    /// Buckets, quantiles or samples of the metric that is being read.
    pub(super) points: Vec<(f64, f64)>,
    source: Source<'a>,
    settings: &'a Settings,
    received_ms: i64,
    unparsed: u64,
    described: Box<[u64; DESCRIBED]>,
    /// Where the deltas of a series are, by its key and their time.
    deltas: HashMap<(u128, i64), usize>,
}

impl<'a> Series<'a> {
    /// No metrics yet.
    pub(super) fn new(received: &Received<'a>, packing: Packing, batch: &Batch<'_>) -> Self {
        Self {
            room: Room::new(),
            points: Vec::new(),
            source: Source::new(packing, batch.seed),
            settings: &received.settings.betterstack,
            received_ms: received.received_ms,
            unparsed: 0,
            described: Box::new([0; DESCRIBED]),
            deltas: HashMap::new(),
        }
    }

    /// Hands the source of labels over to the batch that has the rows.
    pub(super) fn finish(self, batch: &mut Batch<'a>) {
        batch.note("unparsed_dt", self.unparsed);
        batch.source = Some(Box::new(self.source));
    }

    /// Counts a time that could not be read.
    pub(super) fn note_moment(&mut self, moment: Moment) {
        self.unparsed += u64::from(moment == Moment::Unknown);
    }

    /// Keeps a metric that has no fault of its own; what is wrong with it otherwise.
    pub(super) fn keep(&mut self, draft: Draft<'a>, batch: &mut Batch<'a>) -> Result<Option<Fault>, Full> {
        let timestamp_ms = draft.moment.milliseconds(self.received_ms);
        let past_ms = self.received_ms.saturating_sub(timestamp_ms);
        if self.settings.past_ms_max.is_some_and(|max| past_ms > max) {
            return Ok(Some((Reason::TooOld, "further in the past than `max_past`")));
        }
        let Some(form) = draft.form else { return Ok(None) };
        if let Some(fault) = self.sort(form).or_else(|| self.fault(form, &draft)) {
            return Ok(Some(fault));
        }
        self.note_moment(draft.moment);
        let name = match (draft.namespace.as_ref(), draft.name.unwrap_or_default()) {
            ("", name) => name,
            (namespace, name) => Cow::Owned(format!("{namespace}_{name}")),
        };
        self.describe(&name, form, batch)?;
        self.source.begin(name, draft.tags, &mut self.room)?;
        let start_ms = if draft.is_delta && draft.interval_ms > 0 {
            timestamp_ms.saturating_sub(draft.interval_ms).max(0)
        } else {
            0
        };
        let at = Sample { timestamp_ms, value: 0.0, start_ms };
        let added = if draft.is_delta { Temporality::Delta } else { Temporality::Cumulative };
        match form {
            Form::Gauge | Form::Counter => self.push(Part::Value, draft.value, at, added, batch)?,
            Form::Set => self.push(Part::Value, draft.value, at, Temporality::Cumulative, batch)?,
            Form::Histogram => self.histogram(draft.count, draft.sum, at, added, batch)?,
            Form::Summary => {
                for index in 0..self.points.len() {
                    let (quantile, value) = self.points[index];
                    self.push(Part::Quantile(quantile), value, at, Temporality::Cumulative, batch)?;
                }
                self.totals(draft.count, draft.sum, at, added, batch)?;
            }
            Form::Distribution => {
                let (count, sum) = self.observed();
                self.fold();
                self.histogram(count, sum, at, added, batch)?;
            }
            Form::DistributionSummary => {
                let (count, sum) = self.observed();
                for quantile in DISTRIBUTION_QUANTILES {
                    let value = self.quantile(quantile, count);
                    self.push(Part::Quantile(quantile), value, at, Temporality::Cumulative, batch)?;
                }
                self.totals(count, sum, at, added, batch)?;
            }
        }
        Ok(None)
    }

    /// Puts buckets, quantiles and samples in order.
    fn sort(&mut self, form: Form) -> Option<Fault> {
        if matches!(form, Form::Gauge | Form::Counter | Form::Set) {
            return None;
        }
        self.points.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        let is_distribution = matches!(form, Form::Distribution | Form::DistributionSummary);
        let is_negative = |point: &(f64, f64)| point.1.is_nan() || point.1 < 0.0;
        if form != Form::Summary && self.points.iter().any(is_negative) {
            return Some((Reason::InvalidValue, "a count below zero"));
        }
        if is_distribution {
            let none = self.points.iter().all(|point| point.1 == 0.0);
            return none.then_some((Reason::InvalidValue, "a distribution without a sample"));
        }
        let is_twice = self.points.array_windows().any(|[a, b]| a.0 == b.0);
        is_twice.then_some((Reason::InvalidSeries, "the same `upper_limit` or `quantile` twice"))
    }

    /// What is wrong with a metric whose buckets are in order, before anything of it is kept.
    fn fault(&self, form: Form, draft: &Draft<'_>) -> Option<Fault> {
        let is_below = |value: f64| value.is_nan() || value < 0.0;
        if draft.is_delta && form == Form::Counter && is_below(draft.value) {
            return Some((Reason::InvalidValue, "an incremental counter below zero"));
        }
        if draft.is_delta && matches!(form, Form::Histogram | Form::Summary) && is_below(draft.count) {
            return Some((Reason::InvalidValue, "an incremental `count` below zero"));
        }
        if form == Form::Histogram && self.is_over(draft.count) && !self.is_cumulative(draft.count) {
            let what = "its buckets' counts come to more than its `count`, and are not cumulative";
            return Some((Reason::InvalidHistogram, what));
        }
        let (names, what): (&[&str], _) = match (form, self.settings.histogram_series) {
            (Form::Gauge | Form::Counter | Form::Set, _) => return None,
            (Form::Summary | Form::DistributionSummary, _) => {
                (&["quantile"], "a tag `quantile`, which its quantiles have")
            }
            (_, HistogramSeries::Both) => {
                (&["le", "upper_limit"], "a tag `le` or `upper_limit`, which its buckets have")
            }
            (_, HistogramSeries::Prometheus) => (&["le"], "a tag `le`, which its buckets have"),
            (_, HistogramSeries::Betterstack) => {
                (&["upper_limit"], "a tag `upper_limit`, which its buckets have")
            }
        };
        self.source.has_tag(draft.tags, names).then_some((Reason::InvalidLabels, what))
    }

    /// Whether the buckets' counts come to more than `count`. Sums of fractions are not exact.
    fn is_over(&self, count: f64) -> bool {
        self.points.iter().map(|(_, count)| count).sum::<f64>() > count * (1.0 + ROUNDING)
    }

    /// Whether each bucket has the counts of those before it as well.
    fn is_cumulative(&self, count: f64) -> bool {
        self.is_over(count)
            && self.points.is_sorted_by(|a, b| a.1 <= b.1)
            && self.points.last().is_some_and(|(_, last)| *last <= count)
    }

    /// Keeps a histogram whose buckets are in order.
    fn histogram(
        &mut self,
        count: f64,
        sum: f64,
        at: Sample,
        added: Temporality,
        batch: &mut Batch<'a>,
    ) -> Result<(), Full> {
        let is_cumulative = self.is_cumulative(count);
        let wants = self.settings.histogram_series;
        let mut below = 0.0;
        for index in 0..self.points.len() {
            let (limit, sent) = self.points[index];
            let (own, so_far) = if is_cumulative { (sent - below, sent) } else { (sent, below + sent) };
            below = so_far;
            if wants != HistogramSeries::Prometheus {
                self.push(Part::UpperLimit(limit), own, at, added, batch)?;
            }
            if wants != HistogramSeries::Betterstack && limit < f64::INFINITY {
                self.push(Part::Bucket(limit), so_far.min(count), at, added, batch)?;
            }
        }
        if wants != HistogramSeries::Betterstack {
            self.push(Part::Bucket(f64::INFINITY), count, at, added, batch)?;
        }
        self.totals(count, sum, at, added, batch)
    }

    fn totals(
        &mut self,
        count: f64,
        sum: f64,
        at: Sample,
        added: Temporality,
        batch: &mut Batch<'a>,
    ) -> Result<(), Full> {
        self.push(Part::Sum, sum, at, added, batch)?;
        self.push(Part::Count, count, at, added, batch)
    }

    /// How many observations a distribution's samples stand for, and what they come to.
    fn observed(&self) -> (f64, f64) {
        self.points.iter().fold((0.0, 0.0), |(count, sum), (value, rate)| (count + rate, sum + value * rate))
    }

    /// Turns samples into buckets.
    fn fold(&mut self) {
        let mut samples = self.points.iter().peekable();
        let buckets = DISTRIBUTION_LIMITS.map(|limit| {
            let mut count = 0.0;
            while let Some((_, rate)) = samples.next_if(|(value, _)| *value <= limit) {
                count += rate;
            }
            (limit, count)
        });
        self.points.clear();
        self.points.extend(buckets);
    }

    /// The smallest sample that is not below a part of `count` observations.
    fn quantile(&self, quantile: f64, count: f64) -> f64 {
        let mut below = 0.0;
        let found = self.points.iter().find(|(_, rate)| {
            below += rate;
            below >= quantile * count
        });
        found.or(self.points.last()).map_or(f64::NAN, |(value, _)| *value)
    }

    fn push(
        &mut self,
        part: Part,
        value: f64,
        at: Sample,
        temporality: Temporality,
        batch: &mut Batch<'a>,
    ) -> Result<(), Full> {
        let (labels, key) = self.source.series(part, &mut self.room)?;
        self.room.take(size_of::<SeriesRow<'_>>() + size_of::<Sample>())?;
        if temporality == Temporality::Delta {
            // What was added at the same millisecond is one delta: the second one would come too late.
            match self.deltas.entry((key, at.timestamp_ms)) {
                Entry::Occupied(before) => {
                    batch.samples[*before.get()].value += value;
                    return Ok(());
                }
                Entry::Vacant(place) => {
                    self.room.take(2 * size_of::<((u128, i64), usize)>())?;
                    place.insert(batch.samples.len());
                }
            }
        }
        let rows = Rows::begin(batch);
        batch.samples.push(Sample { value, ..at });
        rows.keep_as(batch, labels, key, temporality);
        Ok(())
    }

    /// Says the type of a metric, once for those that come again soon.
    #[allow(clippy::ptr_arg)] // What counts is whose it is.
    fn describe(&mut self, name: &Cow<'a, str>, form: Form, batch: &mut Batch<'a>) -> Result<(), Full> {
        let mark = key128(form as u64, name.as_bytes()) as u64;
        let place = &mut self.described[(mark >> 56) as usize % DESCRIBED];
        if *place == mark {
            return Ok(());
        }
        *place = mark;
        let kind = match form {
            Form::Gauge | Form::Set => MetricType::Gauge,
            Form::Counter => MetricType::Counter,
            Form::Histogram | Form::Distribution => MetricType::Histogram,
            Form::Summary | Form::DistributionSummary => MetricType::Summary,
        };
        self.room.take(size_of::<MetadataRow<'_>>() + crate::rows::owned_bytes(name))?;
        let metadata = Metadata { kind, unit: String::new(), help: String::new() };
        batch.metadata.push(MetadataRow { family: name.clone(), metadata });
        Ok(())
    }
}
