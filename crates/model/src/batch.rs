//! One request's content on its way into the store, and what became of it.
//!
//! A dialect's decoder fills a [`Batch`] that the caller owns. Series point into the request's own bytes; their labels
//! are decoded only when the store does not know them yet: `key` is a hash of the label list as it lies on the wire.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::histogram::Histogram;
use crate::hosts::HostRow;
use crate::labels::LabelError;
use crate::log::LogRow;
use crate::metadata::Metadata;
use crate::origin::Origin;
use crate::sample::Sample;

/// Decodes a label list from wire bytes, appending to `pairs` in the order of the wire.
pub type ParseLabels = for<'a> fn(&'a [u8], &mut Vec<(&'a str, &'a str)>) -> Result<(), LabelError>;

/// Where a series' labels are.
#[derive(Clone, Debug)]
pub enum LabelSource<'a> {
    /// Still on the wire, contiguous.
    Wire {
        /// The label list's bytes.
        bytes: &'a [u8],
        /// How to decode them.
        parse: ParseLabels,
    },
    /// In [`Batch::pairs`].
    Pairs(Range<usize>),
    /// To be made from what came: the series with this number in [`Batch::source`].
    Made(u32),
}

/// A label pair that is borrowed where the wire has it as it should be.
pub type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);

/// Makes label lists that do not lie on the wire as such: those of dialects whose names and tags are translated. It is
/// asked only for series that the store does not know by their key.
pub trait MakeLabels: fmt::Debug {
    /// Appends the labels of series `number` to `pairs`.
    fn make<'b>(&'b self, number: u32, pairs: &mut Vec<Pair<'b>>) -> Result<(), LabelError>;
}

/// What a series' samples are, floats and native histograms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Temporality {
    /// Values as they are to be stored.
    #[default]
    Cumulative,
    /// What was added from the start timestamp (0 = since the delta before) to the sample's own: the store adds them up
    /// and keeps the running total.
    Delta,
}

/// One series of a batch with the rows that belong to it. A batch may name the same series more than once.
#[derive(Clone, Debug)]
pub struct SeriesRow<'a> {
    /// Its labels.
    pub labels: LabelSource<'a>,
    /// 128-bit hash, seeded with [`Batch::seed`], of the label list as it lay on the wire. Equal keys mean equal
    /// label lists; one series may have several keys (other order, other dialect).
    pub key: u128,
    /// Its rows in [`Batch::samples`].
    pub samples: Range<usize>,
    /// Its rows in [`Batch::histograms`].
    pub histograms: Range<usize>,
    /// Its rows in [`Batch::exemplars`].
    pub exemplars: Range<usize>,
    /// What its samples are.
    pub temporality: Temporality,
    /// Which of [`Batch::items`] it came from, where the dialect counts them.
    pub item: u32,
}

/// A native histogram at a time.
#[derive(Clone, Debug, PartialEq)]
pub struct HistogramSample {
    /// Milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
    /// When the counter began, in ms; 0 = not known.
    pub start_ms: i64,
    /// The value; already valid ([`Histogram::validate`]).
    pub histogram: Arc<Histogram>,
}

/// An exemplar: a value with the labels of a trace.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    /// Labels, as sent.
    pub labels: Vec<(String, String)>,
    /// The observation.
    pub value: f64,
    /// Milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
}

/// A metric family's metadata as it came with a request.
#[derive(Clone, Debug, PartialEq)]
pub struct MetadataRow<'a> {
    /// The family's name.
    pub family: Cow<'a, str>,
    /// Type, unit, help.
    pub metadata: Metadata,
}

/// The content of one request.
#[derive(Debug, Default)]
pub struct Batch<'a> {
    /// Seed for [`SeriesRow::key`]: secret, drawn at process start.
    pub seed: u64,
    /// Series in the order of the request.
    pub series: Vec<SeriesRow<'a>>,
    /// Label pairs that series point into.
    pub pairs: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// Float samples.
    pub samples: Vec<Sample>,
    /// Native histogram samples.
    pub histograms: Vec<HistogramSample>,
    /// Exemplars.
    pub exemplars: Vec<Exemplar>,
    /// Metadata.
    pub metadata: Vec<MetadataRow<'a>>,
    /// Log lines.
    pub logs: Vec<LogRow<'a>>,
    /// Tags of hosts; kept beside the store, for whoever translates the next request.
    pub hosts: Vec<HostRow>,
    /// Who makes the labels of [`LabelSource::Made`].
    pub source: Option<Box<dyn MakeLabels + 'a>>,
    /// What was kept otherwise than it was sent, by name, for self-metrics: tags without a place, counts that contradict
    /// each other.
    pub notes: Vec<(&'static str, u64)>,
    /// What the answer repeats of the request, where a dialect's does.
    pub echo: Option<String>,
    /// What the sender counts, where that is something else than rows.
    pub items: Items,
    /// Who sent it on; no decoder knows.
    pub origin: Origin,
    /// What the decoder already refused: such items are not in the columns above.
    pub rejections: Rejections,
}

impl<'a> Batch<'a> {
    /// An empty batch whose keys will be made with `seed`.
    pub fn new(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    /// Calls `with` with the labels of series `index`, in the order of the wire.
    pub fn with_labels<T>(
        &self,
        index: usize,
        with: impl FnOnce(&mut Vec<(&str, &str)>) -> Result<T, LabelError>,
    ) -> Result<T, LabelError> {
        fn borrowed<'b>(pairs: &'b [Pair<'_>]) -> Vec<(&'b str, &'b str)> {
            pairs.iter().map(|(n, v)| (n.as_ref(), v.as_ref())).collect()
        }
        match &self.series[index].labels {
            LabelSource::Wire { bytes, parse } => {
                let mut pairs = Vec::with_capacity(16);
                parse(bytes, &mut pairs)?;
                with(&mut pairs)
            }
            LabelSource::Pairs(range) => with(&mut borrowed(&self.pairs[range.clone()])),
            LabelSource::Made(number) => {
                let mut made = Vec::with_capacity(16);
                self.source.as_ref().expect("it came with its rows").make(*number, &mut made)?;
                with(&mut borrowed(&made))
            }
        }
    }

    /// What is in the columns (rejections of the decoder not among them).
    pub fn counts(&self) -> Counts {
        Counts {
            samples: self.samples.len() as u64,
            histograms: self.histograms.len() as u64,
            exemplars: self.exemplars.len() as u64,
            metadata: self.metadata.len() as u64,
            log_lines: self.logs.len() as u64,
        }
    }

    /// Notes that `count` things were kept otherwise than they were sent.
    pub fn note(&mut self, what: &'static str, count: u64) {
        match self.notes.iter_mut().find(|(name, _)| *name == what) {
            _ if count == 0 => {}
            Some((_, sum)) => *sum += count,
            None => self.notes.push((what, count)),
        }
    }

    /// Counts the item that came last as refused, as one thing of the kind `signal`.
    pub fn refuse_item(&mut self, signal: Signal, reason: Reason, explain: impl FnOnce() -> String) {
        self.items.refuse();
        self.rejections.add(signal, reason, 1);
        self.rejections.explain(explain);
    }

    /// Forgets the content (and the rejections), keeps the memory and the seed.
    pub fn clear(&mut self) {
        self.series.clear();
        self.pairs.clear();
        self.samples.clear();
        self.histograms.clear();
        self.exemplars.clear();
        self.metadata.clear();
        self.logs.clear();
        self.hosts.clear();
        self.source = None;
        self.notes.clear();
        self.echo = None;
        self.items.clear();
        self.origin = Origin::SENDER;
        self.rejections = Rejections::default();
    }

    /// Forgets the content, which may end here, and keeps the memory for a batch of other bytes.
    pub fn recycled<'b>(mut self) -> Batch<'b> {
        self.clear();
        // The columns are empty, so nothing is mapped: collecting in place only changes the lifetime.
        Batch {
            seed: self.seed,
            series: self.series.into_iter().map(|_| unreachable!("cleared above")).collect(),
            pairs: self.pairs.into_iter().map(|_| unreachable!("cleared above")).collect(),
            samples: self.samples,
            histograms: self.histograms,
            exemplars: self.exemplars,
            metadata: self.metadata.into_iter().map(|_| unreachable!("cleared above")).collect(),
            logs: self.logs.into_iter().map(|_| unreachable!("cleared above")).collect(),
            hosts: self.hosts,
            source: None,
            notes: self.notes,
            echo: None,
            items: self.items,
            origin: self.origin,
            rejections: self.rejections,
        }
    }
}

/// What a sender counts where that is not rows: data points, lines, metrics, of which each may become rows of several series.
/// An item of which any float, histogram or log line was refused counts as refused, once. Exemplars and metadata go with
/// points that stand without them: one that is refused is counted as what it is, and its item is not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Items {
    sent: u32,
    refused: Vec<u32>,
}

impl Items {
    /// Another item came; rows and refusals from now on are its.
    pub fn begin(&mut self) {
        self.sent = self.sent.saturating_add(1);
    }

    /// The number of the item that came last; 0 when none did.
    pub fn current(&self) -> u32 {
        self.sent.saturating_sub(1)
    }

    /// The item that came last is refused, or a part of it.
    pub fn refuse(&mut self) {
        self.refuse_one(self.current());
    }

    /// Item `number` is refused, or a part of it.
    pub fn refuse_one(&mut self, number: u32) {
        if number < self.sent && self.refused.last() != Some(&number) {
            self.refused.push(number);
        }
    }

    /// Items that another stage refused, or a part of each; in any order, some more than once.
    pub fn refuse_all(&mut self, numbers: &[u32]) {
        numbers.iter().for_each(|number| self.refuse_one(*number));
    }

    /// How many came.
    pub fn sent(&self) -> u64 {
        u64::from(self.sent)
    }

    /// How many of them were refused.
    pub fn refused(&self) -> u64 {
        let mut numbers = self.refused.clone();
        numbers.sort_unstable();
        numbers.dedup();
        numbers.len() as u64
    }

    /// The first that was refused.
    pub fn first_refused(&self) -> Option<u64> {
        self.refused.iter().min().map(|number| u64::from(*number))
    }

    /// Forgets all, keeps the memory.
    fn clear(&mut self) {
        self.sent = 0;
        self.refused.clear();
    }
}

/// The kinds of things that are counted apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Signal {
    /// A float sample.
    Sample,
    /// A native histogram sample.
    Histogram,
    /// An exemplar.
    Exemplar,
    /// A metadata row.
    Metadata,
    /// A log line.
    LogLine,
}

impl Signal {
    /// Every kind.
    pub const ALL: [Signal; 5] =
        [Self::Sample, Self::Histogram, Self::Exemplar, Self::Metadata, Self::LogLine];

    /// The value of the self-metrics' label `kind`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sample => "sample",
            Self::Histogram => "histogram",
            Self::Exemplar => "exemplar",
            Self::Metadata => "metadata",
            Self::LogLine => "log_line",
        }
    }
}

/// A count for each [`Signal`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Counts {
    /// Float samples.
    pub samples: u64,
    /// Native histogram samples.
    pub histograms: u64,
    /// Exemplars.
    pub exemplars: u64,
    /// Metadata rows.
    pub metadata: u64,
    /// Log lines.
    pub log_lines: u64,
}

impl Counts {
    /// The count of one kind.
    pub fn get(&self, signal: Signal) -> u64 {
        match signal {
            Signal::Sample => self.samples,
            Signal::Histogram => self.histograms,
            Signal::Exemplar => self.exemplars,
            Signal::Metadata => self.metadata,
            Signal::LogLine => self.log_lines,
        }
    }

    /// The count of one kind, to change it.
    pub fn get_mut(&mut self, signal: Signal) -> &mut u64 {
        match signal {
            Signal::Sample => &mut self.samples,
            Signal::Histogram => &mut self.histograms,
            Signal::Exemplar => &mut self.exemplars,
            Signal::Metadata => &mut self.metadata,
            Signal::LogLine => &mut self.log_lines,
        }
    }

    /// All kinds together.
    pub fn total(&self) -> u64 {
        Signal::ALL.iter().map(|s| self.get(*s)).sum()
    }
}

/// Why something was not stored. `as_str` is the value of the self-metrics' label `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// No or empty `__name__`.
    MissingName,
    /// An empty or repeated label name, bytes that are not UTF-8, symbol references out of range.
    InvalidLabels,
    /// Over one of the tenant's label limits.
    LabelLimit,
    /// Before the tenant's retention.
    TooOld,
    /// Too far ahead of the wall clock.
    TooFarAhead,
    /// A new series while the tenant is at `limits.active_series`.
    SeriesQuota,
    /// New while memory is short and the tenant holds its part of it, or longer metadata then.
    Memory,
    /// A native histogram that is not one.
    InvalidHistogram,
    /// An exemplar whose labels are over 128 characters, or without a value.
    InvalidExemplar,
    /// A line of a text dialect that cannot be read.
    InvalidLine,
    /// Metadata without a family name or with an unknown type.
    InvalidMetadata,
    /// A series that carries what its dialect forbids together (remote write 2.0: floats and histograms), or nothing.
    InvalidSeries,
    /// A value that its dialect does not allow: no number, or one that is not finite.
    InvalidValue,
    /// A delta whose end is not after the end of the one before.
    LateDelta,
    /// A log line over the bound.
    LineTooLong,
    /// A log line that came with other things while no more lines can be held.
    LogsFull,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Reason; 16] = [
        Self::MissingName,
        Self::InvalidLabels,
        Self::LabelLimit,
        Self::TooOld,
        Self::TooFarAhead,
        Self::SeriesQuota,
        Self::Memory,
        Self::InvalidHistogram,
        Self::InvalidExemplar,
        Self::InvalidLine,
        Self::InvalidMetadata,
        Self::InvalidSeries,
        Self::InvalidValue,
        Self::LateDelta,
        Self::LineTooLong,
        Self::LogsFull,
    ];

    /// The value of the self-metrics' label `reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MissingName => "missing_name",
            Self::InvalidLabels => "invalid_labels",
            Self::LabelLimit => "label_limit",
            Self::TooOld => "too_old",
            Self::TooFarAhead => "too_far_ahead",
            Self::SeriesQuota => "series_quota",
            Self::Memory => "memory",
            Self::InvalidHistogram => "invalid_histogram",
            Self::InvalidExemplar => "invalid_exemplar",
            Self::InvalidLine => "invalid_line",
            Self::InvalidMetadata => "invalid_metadata",
            Self::InvalidSeries => "invalid_series",
            Self::InvalidValue => "invalid_value",
            Self::LateDelta => "late_delta",
            Self::LineTooLong => "line_too_long",
            Self::LogsFull => "logs_full",
        }
    }
}

impl From<&LabelError> for Reason {
    fn from(error: &LabelError) -> Self {
        match error {
            LabelError::MissingName => Self::MissingName,
            LabelError::EmptyLabelName
            | LabelError::Duplicate(_)
            | LabelError::NotUtf8
            | LabelError::Undecodable => Self::InvalidLabels,
            LabelError::TooMany { .. }
            | LabelError::NameTooLong { .. }
            | LabelError::ValueTooLong { .. }
            | LabelError::TooLong { .. } => Self::LabelLimit,
        }
    }
}

/// Messages kept for the answer; more are only counted.
const DETAILS_MAX: usize = 10;

/// What was not stored, by kind and reason, with the first few messages for the sender.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rejections {
    counts: Vec<(Signal, Reason, u64)>,
    details: Vec<String>,
    messages: u64,
}

impl Rejections {
    /// Counts `count` things of one kind as refused. Call [`Rejections::explain`] once per cause as well.
    pub fn add(&mut self, signal: Signal, reason: Reason, count: u64) {
        if count == 0 {
            return;
        }
        match self.counts.iter_mut().find(|(s, r, _)| (*s, *r) == (signal, reason)) {
            Some((_, _, n)) => *n += count,
            None => self.counts.push((signal, reason, count)),
        }
    }

    /// Adds a message for the sender; only the first ten are built and kept.
    pub fn explain(&mut self, message: impl FnOnce() -> String) {
        self.messages += 1;
        if self.details.len() < DETAILS_MAX {
            self.details.push(message());
        }
    }

    /// Whether nothing was refused.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty() && self.messages == 0
    }

    /// Refused things by kind and reason.
    pub fn by_reason(&self) -> impl Iterator<Item = (Signal, Reason, u64)> + '_ {
        self.counts.iter().copied()
    }

    /// Refused things by kind.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for (signal, _, n) in &self.counts {
            *counts.get_mut(*signal) += n;
        }
        counts
    }

    /// The first messages, in order.
    pub fn details(&self) -> &[String] {
        &self.details
    }

    /// How many messages there were beyond [`Rejections::details`].
    pub fn more(&self) -> u64 {
        self.messages - self.details.len() as u64
    }

    /// Takes over what another stage refused.
    pub fn merge(&mut self, other: Rejections) {
        for (signal, reason, count) in other.counts {
            self.add(signal, reason, count);
        }
        self.messages += other.messages;
        let free = DETAILS_MAX - self.details.len();
        self.details.extend(other.details.into_iter().take(free));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recycled_batch_keeps_its_memory() {
        let text = String::from("up");
        let mut batch = Batch::new(7);
        batch.pairs.reserve(1000);
        batch.pairs.push((Cow::Borrowed(text.as_str()), Cow::Borrowed("x")));
        let kept = batch.pairs.capacity();
        let next: Batch<'static> = batch.recycled();
        drop(text);
        assert_eq!((next.seed, next.pairs.len(), next.pairs.capacity()), (7, 0, kept));
    }

    #[test]
    fn rejections_count_everything_and_keep_ten_messages() {
        let mut rejections = Rejections::default();
        for i in 0..12 {
            rejections.add(Signal::Sample, Reason::TooOld, 2);
            rejections.explain(|| format!("sample {i}"));
        }
        let mut all = Rejections::default();
        all.add(Signal::Exemplar, Reason::InvalidExemplar, 1);
        all.explain(|| "exemplar".into());
        all.merge(rejections);
        assert_eq!(all.counts(), Counts { samples: 24, exemplars: 1, ..Counts::default() });
        assert_eq!((all.details().len(), all.more()), (10, 3));
    }
}
