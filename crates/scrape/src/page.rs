//! From a page to a batch: rows with their keys, markers for what is not there any more, the report.
//!
//! A page is stored whole or not at all. Markers stand first in the batch: of two samples of a series at one time the later
//! one counts, so a series that only changed the text of its labels goes on. Labels are made when the store asks for them,
//! which it does for series that it does not know; here they are made once for a series that is new on the page, since
//! labels that are none fail a scrape.

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use codec::hash::key128;
use dialects::scraped::{self, Row, Value};
use model::batch::{Exemplar, HistogramSample, LabelSource, MakeLabels, MetadataRow, Pair, SeriesRow};
use model::histogram::{BucketCounts, CUSTOM_BOUNDS_SCHEMA};
use model::sample::STALE_NAN_BITS;
use model::{Batch, Histogram, LabelError, Metadata, Sample, Temporality};

use crate::error::ScrapeError;
use crate::fetch::PAGE_BYTES_MAX;
use crate::labelling::Labelling;
use crate::report::{self, Extra, NAMES, Report};
use crate::seen::{Beside, Exemplars, Known, Repeats, Seen, Tracking};

/// Whether times on a page are believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Timestamps {
    /// They are (`honor_timestamps: true`), and such rows get no stale markers.
    #[default]
    Honoured,
    /// They are, and markers are written as for others (`track_timestamps_staleness: true`).
    Tracked,
    /// Everything is of the time of the scrape.
    Ignored,
}

/// How pages of a job are taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Terms {
    /// Whether times on a page are believed.
    pub timestamps: Timestamps,
    /// Rows after the rules; 0 = any number.
    pub sample_limit: u64,
    /// Buckets of a native histogram; 0 = any number.
    pub bucket_limit: usize,
    /// The finest schema of native histograms.
    pub schema_max: i32,
    /// Which report is written.
    pub extra: Extra,
}

/// Longest text of a series. One that is longer has labels that no store takes.
const SERIES_BYTES_MAX: usize = 1 << 20;

/// Texts that are made of a page are no longer than so many times the page and [`MADE_BYTES_MIN`], and no longer than a
/// page of text may be. In protobuf a bucket of a few bytes has a text with all labels of its histogram.
const MADE_FACTOR: usize = 64;
const MADE_BYTES_MIN: usize = 64 << 10;

/// What stands on a page, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) scraped: u64,
    pub(crate) kept: u64,
    pub(crate) added: u64,
}

/// A page on its way into the store.
pub(crate) struct Page<'p> {
    terms: &'p Terms,
    at_ms: i64,
    seed: u64,
    labelling: &'p Arc<Labelling>,
    last: Option<&'p Seen>,
    beside: Beside<'p>,
    source: Source<'p>,
    batch: Batch<'p>,
    counts: Counts,
    stored: u64,
    failure: Option<ScrapeError>,
    metadata: Vec<(String, Metadata)>,
}

/// Where the text of a series is.
#[derive(Clone, Copy, Debug)]
enum Text {
    /// On the page.
    Page(u32, u32),
    /// It was made of what stands there.
    Made(u32, u32),
    /// Of the page before.
    Last(u32, u32),
    /// It is one of [`NAMES`].
    Report(usize),
}

/// Makes labels of series when they are asked for.
#[derive(Debug)]
struct Source<'p> {
    body: &'p str,
    made: String,
    made_max: usize,
    last: String,
    texts: Vec<Text>,
    labelling: &'p Labelling,
    last_labelling: &'p Labelling,
}

impl Source<'_> {
    fn push(&mut self, text: Text) -> LabelSource<'static> {
        self.texts.push(text);
        LabelSource::Made(self.texts.len() as u32 - 1)
    }

    /// Takes the text of a row, which lies on the page or was made; `None` when too much was made of the page.
    fn text(&mut self, series: &str) -> Option<Text> {
        let offset = (series.as_ptr() as usize).wrapping_sub(self.body.as_ptr() as usize);
        let length = series.len() as u32;
        if self.body.get(offset..).is_some_and(|rest| rest.len() >= series.len()) {
            return Some(Text::Page(offset as u32, length));
        }
        if self.made.len() + series.len() > self.made_max {
            return None;
        }
        self.made.push_str(series);
        Some(Text::Made((self.made.len() - series.len()) as u32, length))
    }

    fn get(&self, text: Text) -> &str {
        let slice = |of, start, length| {
            let (start, length) = (start as usize, length as usize);
            str::get(of, start..start + length).expect("it was taken from there")
        };
        match text {
            Text::Page(start, length) => slice(self.body, start, length),
            Text::Made(start, length) => slice(&self.made, start, length),
            Text::Last(start, length) => slice(&self.last, start, length),
            Text::Report(number) => NAMES[number],
        }
    }
}

impl MakeLabels for Source<'_> {
    fn make<'b>(&'b self, number: u32, pairs: &mut Vec<Pair<'b>>) -> Result<(), LabelError> {
        let text = self.texts[number as usize];
        let labelling = match text {
            Text::Report(_) => {
                self.labelling.report(self.get(text), pairs);
                return Ok(());
            }
            Text::Last(..) => self.last_labelling,
            Text::Page(..) | Text::Made(..) => self.labelling,
        };
        // It was asked before, and said neither no nor that it is none.
        let labels = labelling.labels(self.get(text)).map_err(|_| LabelError::Undecodable)?;
        pairs.extend(labels.into_iter().flatten());
        Ok(())
    }
}

/// What became of a page, its batch taken out.
pub(crate) struct Done<'p> {
    /// Markers, rows, report.
    pub(crate) batch: Batch<'p>,
    /// Why nothing of it is stored.
    pub(crate) failure: Option<ScrapeError>,
    /// What to remember.
    pub(crate) next: Next,
}

/// What to remember of a page.
pub(crate) enum Next {
    /// The one before, with these marks and exemplars.
    Again(Vec<u64>, Exemplars),
    /// It.
    Page(Seen),
    /// The one before, ended.
    Ended,
}

impl<'p> Page<'p> {
    /// Begins to read `body`, which came at `at_ms`. `batch` is an empty one with the store's seed.
    pub(crate) fn new(
        terms: &'p Terms,
        at_ms: i64,
        labelling: &'p Arc<Labelling>,
        last: Option<&'p Seen>,
        body: &'p str,
        batch: Batch<'p>,
    ) -> Self {
        let alike =
            last.filter(|seen| Arc::ptr_eq(&seen.labelling, labelling) || seen.labelling == *labelling);
        Self {
            terms,
            at_ms,
            seed: labelling.seed(batch.seed),
            labelling,
            last,
            beside: Beside::new(alike),
            source: Source {
                body,
                made: String::new(),
                made_max: MADE_BYTES_MIN,
                last: String::new(),
                texts: Vec::with_capacity(alike.map_or(64, Seen::len) + NAMES.len()),
                labelling,
                last_labelling: last.map_or(labelling, |seen| &seen.labelling),
            },
            batch,
            counts: Counts::default(),
            stored: 0,
            failure: None,
            metadata: Vec::new(),
        }
    }

    /// Reads the page.
    pub(crate) fn read(&mut self, format: scraped::Format, bytes: &[u8], options: &scraped::Options) {
        let made_max = bytes.len().saturating_mul(MADE_FACTOR).saturating_add(MADE_BYTES_MIN);
        self.source.made_max = made_max.min(PAGE_BYTES_MAX as usize);
        if let Err(violation) = scraped::read(format, bytes, options, self) {
            self.fail(violation.into());
        }
    }

    /// The scrape fails: nothing of the page is stored. The first reason counts.
    pub(crate) fn fail(&mut self, error: ScrapeError) {
        self.failure.get_or_insert(error);
    }

    /// What is said of its families.
    pub(crate) fn metadata(&self) -> &[(String, Metadata)] {
        &self.metadata
    }

    /// What the page has.
    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    /// Whether it failed so far.
    pub(crate) fn failure(&self) -> Option<&ScrapeError> {
        self.failure.as_ref()
    }

    /// Ends the page: markers for what has gone, the report, metadata where `telling` says so.
    pub(crate) fn done(mut self, report: &Report, telling: Telling) -> Done<'p> {
        let failed = self.failure.is_some();
        if failed {
            let seed = self.batch.seed;
            self.batch.clear();
            self.batch.seed = seed;
        } else if telling == Telling::News {
            let rows = self.metadata.drain(..);
            self.batch
                .metadata
                .extend(rows.map(|(family, metadata)| MetadataRow { family: family.into(), metadata }));
        }
        let is_same = !failed && self.beside.is_same() && self.last.is_some();
        let is_alike = self.last.is_none_or(|seen| seen.labelling == *self.labelling);
        let rows = self.source.texts.len();
        if let Some(last) = self.last.filter(|_| !is_same || !is_alike) {
            let here = if failed || !is_alike { Default::default() } else { self.beside.keys() };
            self.mark_gone(last, |key| here.contains(&key));
        }
        for (number, value) in report.values().into_iter().take(report::count(self.terms.extra)).enumerate() {
            self.report(number, value);
        }
        let next = if failed {
            Next::Ended
        } else if is_same && is_alike {
            let (entries, exemplars) = self.beside.into_entries();
            Next::Again(entries, exemplars)
        } else {
            let (entries, exemplars) = self.beside.into_entries();
            let texts = self.source.texts[..rows].iter().map(|text| self.source.get(*text));
            Next::Page(Seen::new(entries, exemplars, texts, Arc::clone(self.labelling)))
        };
        self.batch.source = Some(Box::new(self.source));
        Done { batch: self.batch, failure: self.failure, next }
    }

    /// Ends the target: markers for everything that it had, its report among it.
    pub(crate) fn end(mut self) -> Batch<'p> {
        if let Some(last) = self.last {
            self.mark_gone(last, |_| false);
        }
        for number in 0..report::count(self.terms.extra) {
            self.report(number, f64::from_bits(STALE_NAN_BITS));
        }
        self.batch.source = Some(Box::new(self.source));
        self.batch
    }

    fn mark_gone(&mut self, last: &Seen, is_there: impl Fn(u64) -> bool) {
        let (text, gone) = last.gone(is_there);
        if gone.is_empty() {
            return;
        }
        self.source.last = text;
        let seed = last.labelling.seed(self.batch.seed);
        let before = self.batch.series.len();
        for (start, length) in gone {
            let text = Text::Last(start, length);
            let key = key128(seed, self.source.get(text).as_bytes());
            let labels = self.source.push(text);
            self.push_float(labels, key, self.at_ms, f64::from_bits(STALE_NAN_BITS), 0, 0..0);
        }
        let markers = self.batch.series.len() - before;
        self.batch.series.rotate_right(markers);
    }

    fn report(&mut self, number: usize, value: f64) {
        // No series of a page has such a key: its text would not be UTF-8.
        let mut text = NAMES[number].as_bytes().to_vec();
        text.push(0xff);
        let key = key128(self.seed, &text);
        let labels = self.source.push(Text::Report(number));
        self.push_float(labels, key, self.at_ms, value, 0, 0..0);
    }

    fn push_float(
        &mut self,
        labels: LabelSource<'p>,
        key: u128,
        timestamp_ms: i64,
        value: f64,
        start_ms: i64,
        exemplars: std::ops::Range<usize>,
    ) {
        let batch = &mut self.batch;
        let (samples, histograms) = (batch.samples.len(), batch.histograms.len());
        batch.samples.push(Sample { timestamp_ms, value, start_ms });
        batch.series.push(series(labels, key, samples..samples + 1, histograms..histograms, exemplars));
    }

    /// Whether the row with this text and key is one that the rules leave.
    fn admit(&mut self, text: &str, key: u128, tracking: Tracking) -> Admitted {
        let (known, repeats) = self.beside.row(key, tracking);
        match known {
            Known::Kept if repeats == Repeats::Yes => Admitted::Again,
            Known::Kept => Admitted::Known,
            Known::Dropped => Admitted::Dropped,
            Known::New => match self.labelling.labels(text) {
                Ok(Some(_)) => {
                    self.beside.keep_last();
                    Admitted::New
                }
                Ok(None) => {
                    self.beside.drop_last();
                    Admitted::Dropped
                }
                Err(error) => {
                    self.fail(error.into());
                    Admitted::Dropped
                }
            },
        }
    }

    /// Whether nothing behind the row that failed is looked at. Over a limit rows are still counted.
    fn is_broken(&self) -> bool {
        let goes_on =
            |error: &ScrapeError| matches!(error, ScrapeError::SampleLimit | ScrapeError::BucketLimit);
        self.failure.as_ref().is_some_and(|error| !goes_on(error))
    }
}

/// Whether what is said of families goes into the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Telling {
    /// It does.
    News,
    /// The store has it already.
    Known,
}

/// What becomes of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Admitted {
    /// Of a series that the page did not have the last time.
    New,
    /// Of one that it had.
    Known,
    /// Of one that stands on this page already.
    Again,
    /// The rules drop it.
    Dropped,
}

impl scraped::Sink for Page<'_> {
    fn row(&mut self, row: Row<'_>) {
        if self.is_broken() {
            return;
        }
        self.counts.scraped += 1;
        let timestamp_ms = row.timestamp_ms.filter(|_| self.terms.timestamps != Timestamps::Ignored);
        let is_untracked = timestamp_ms.is_some() && self.terms.timestamps == Timestamps::Honoured;
        let tracking = if is_untracked { Tracking::Untracked } else { Tracking::Tracked };
        let length = row.series.len();
        if length > SERIES_BYTES_MAX {
            return self.fail(ScrapeError::SeriesLength { length, limit: SERIES_BYTES_MAX });
        }
        let key = key128(self.seed, row.series.as_bytes());
        // Of a page that failed nothing is asked.
        let text = match self.failure {
            None => self.source.text(row.series),
            Some(_) => Some(Text::Made(0, 0)),
        };
        let Some(text) = text else { return self.fail(ScrapeError::TextSize(self.source.made_max)) };
        // Also of a row that is dropped: texts go with keys.
        let labels = self.source.push(text);
        let admitted = self.admit(row.series, key, tracking);
        if admitted == Admitted::Dropped {
            return;
        }
        self.counts.kept += 1;
        // Of two rows without a time the first one counts.
        if self.failure.is_some() || (admitted == Admitted::Again && timestamp_ms.is_none()) {
            return;
        }
        self.stored += 1;
        if self.terms.sample_limit > 0 && self.stored > self.terms.sample_limit {
            return self.fail(ScrapeError::SampleLimit);
        }
        self.counts.added += u64::from(admitted == Admitted::New);
        let at_ms = timestamp_ms.unwrap_or(self.at_ms);
        let first = self.batch.exemplars.len();
        for exemplar in row.exemplars {
            // One that says no time has that of its row. It stands on the page until there is another one, and is stored
            // once, as Prometheus does.
            let is_timeless = exemplar.timestamp_ms == row.timestamp_ms.unwrap_or(self.at_ms);
            if !is_timeless || !self.beside.had_exemplar(key, digest(exemplar)) {
                self.batch.exemplars.push(exemplar.clone());
            }
        }
        let exemplars = first..self.batch.exemplars.len();
        match row.value {
            Value::Float(value) => self.push_float(labels, key, at_ms, value, row.start_ms, exemplars),
            Value::Histogram(histogram) => match bounded(histogram, self.terms) {
                Some(histogram) => {
                    let batch = &mut self.batch;
                    let (samples, histograms) = (batch.samples.len(), batch.histograms.len());
                    let start_ms = row.start_ms;
                    batch.histograms.push(HistogramSample { timestamp_ms: at_ms, start_ms, histogram });
                    let rows = series(labels, key, samples..samples, histograms..histograms + 1, exemplars);
                    batch.series.push(rows);
                }
                None => self.fail(ScrapeError::BucketLimit),
            },
        }
    }

    fn has_enough(&self) -> bool {
        self.is_broken()
    }

    fn metadata(&mut self, family: &str, metadata: Metadata) {
        self.metadata.push((family.to_owned(), metadata));
    }
}

/// Tells exemplars apart, whatever their times.
fn digest(exemplar: &Exemplar) -> u64 {
    let mut hash = foldhash::quality::FixedState::default().build_hasher();
    for (name, value) in exemplar.labels.iter() {
        for text in [name, value] {
            hash.write_usize(text.len());
            hash.write(text.as_bytes());
        }
    }
    hash.write_u64(exemplar.value.to_bits());
    hash.finish()
}

fn series<'p>(
    labels: LabelSource<'p>,
    key: u128,
    samples: std::ops::Range<usize>,
    histograms: std::ops::Range<usize>,
    exemplars: std::ops::Range<usize>,
) -> SeriesRow<'p> {
    SeriesRow { labels, key, samples, histograms, exemplars, temporality: Temporality::Cumulative, item: 0 }
}

/// A native histogram within the bounds of a job, its resolution halved as often as it takes; `None` when that does not
/// help.
fn bounded(mut histogram: Arc<Histogram>, terms: &Terms) -> Option<Arc<Histogram>> {
    let buckets = |histogram: &Histogram| match &histogram.counts {
        BucketCounts::Integer { positive, negative, .. } => positive.len() + negative.len(),
        BucketCounts::Float { positive, negative, .. } => positive.len() + negative.len(),
    };
    let is_custom = histogram.schema == CUSTOM_BOUNDS_SCHEMA;
    while (!is_custom && histogram.schema > terms.schema_max)
        || (terms.bucket_limit > 0 && buckets(&histogram) > terms.bucket_limit)
    {
        histogram = Arc::new(histogram.coarser()?);
    }
    Some(histogram)
}
