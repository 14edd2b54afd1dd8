//! The rows that one series of a request has put into a batch so far: kept with the series' labels, or taken back
//! and counted as refused. And the room there is for all of them: two bytes of a hostile body can stand for a sample,
//! a series or a histogram, so a cap on the body's bytes alone would be a cap on a hundred times as much memory.

use std::borrow::Cow;
use std::ops::Range;

use codec::proto::{Reader, WireError};
use model::batch::{Exemplar, HistogramSample, LabelSource, SeriesRow, Temporality};
use model::{Batch, Reason, Sample, Signal};

/// What one request's decoded content may take, in bytes, roughly as it lies in memory: four times the largest body.
const ROOM_BYTES: usize = 256 << 20;

/// The room that is left for one request's content.
pub(crate) struct Room(usize);

/// Occurs when a request's content takes more memory than one request may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl Full {
    /// What the sender is told.
    pub(crate) const WHAT: &'static str = "decoded content over 256 MiB: send smaller requests";
}

impl Room {
    /// A request's room.
    pub(crate) fn new() -> Self {
        Self(ROOM_BYTES)
    }

    /// The room of a body in which nothing stands for much more than itself: 32 times its bytes.
    pub(crate) fn for_body(bytes: usize) -> Self {
        Self(bytes.saturating_mul(32).saturating_add(4 << 10).min(ROOM_BYTES))
    }

    /// Takes `bytes` before they are allocated.
    #[inline]
    pub(crate) fn take(&mut self, bytes: usize) -> Result<(), Full> {
        self.0 = self.0.checked_sub(bytes).ok_or(Full)?;
        Ok(())
    }

    /// Takes `bytes` for what `reader` has in front of it.
    #[inline]
    pub(crate) fn take_for(&mut self, bytes: usize, reader: &Reader<'_>) -> Result<(), WireError> {
        self.take(bytes).map_err(|Full| reader.error(Full::WHAT))
    }
}

/// Where the batch's columns ended before a series' rows.
#[derive(Clone, Copy)]
pub(crate) struct Rows {
    samples: usize,
    histograms: usize,
    exemplars: usize,
}

impl Rows {
    /// Rows pushed from now on belong to one series.
    #[inline]
    pub(crate) fn begin(batch: &Batch<'_>) -> Self {
        Self {
            samples: batch.samples.len(),
            histograms: batch.histograms.len(),
            exemplars: batch.exemplars.len(),
        }
    }

    /// Float samples so far.
    #[inline]
    pub(crate) fn samples(self, batch: &Batch<'_>) -> usize {
        batch.samples.len() - self.samples
    }

    /// Native histograms so far.
    #[inline]
    pub(crate) fn histograms(self, batch: &Batch<'_>) -> usize {
        batch.histograms.len() - self.histograms
    }

    /// The float samples so far, to be changed.
    #[inline]
    pub(crate) fn samples_mut<'b>(self, batch: &'b mut Batch<'_>) -> &'b mut [Sample] {
        &mut batch.samples[self.samples..]
    }

    /// The native histograms so far, to be changed.
    #[inline]
    pub(crate) fn histograms_mut<'b>(self, batch: &'b mut Batch<'_>) -> &'b mut [HistogramSample] {
        &mut batch.histograms[self.histograms..]
    }

    /// Takes back the float samples that are not to be kept; how many.
    #[cold]
    pub(crate) fn retain_samples(self, batch: &mut Batch<'_>, keep: impl Fn(&Sample) -> bool) -> usize {
        let mut end = self.samples;
        for at in self.samples..batch.samples.len() {
            if keep(&batch.samples[at]) {
                batch.samples[end] = batch.samples[at];
                end += 1;
            }
        }
        let refused = batch.samples.len() - end;
        batch.samples.truncate(end);
        refused
    }

    /// Whether there are none.
    #[inline]
    pub(crate) fn is_empty(self, batch: &Batch<'_>) -> bool {
        let (samples, histograms, exemplars) = self.ranges(batch);
        samples.is_empty() && histograms.is_empty() && exemplars.is_empty()
    }

    /// Gives the rows their labels; without rows there is nothing to keep.
    #[inline]
    pub(crate) fn keep<'a>(self, batch: &mut Batch<'a>, labels: LabelSource<'a>, key: u128) {
        self.keep_as(batch, labels, key, Temporality::Cumulative);
    }

    /// As [`Rows::keep`], and says what the float samples are.
    #[inline]
    pub(crate) fn keep_as<'a>(
        self,
        batch: &mut Batch<'a>,
        labels: LabelSource<'a>,
        key: u128,
        temporality: Temporality,
    ) {
        if self.is_empty(batch) {
            return;
        }
        let (samples, histograms, exemplars) = self.ranges(batch);
        let item = batch.items.current();
        batch.series.push(SeriesRow { labels, key, samples, histograms, exemplars, temporality, item });
    }

    /// Takes the rows back without a trace, for whoever reads them again.
    pub(crate) fn forget(self, batch: &mut Batch<'_>) {
        batch.samples.truncate(self.samples);
        batch.histograms.truncate(self.histograms);
        batch.exemplars.truncate(self.exemplars);
    }

    /// Takes the rows back and counts each as refused for `reason`.
    #[cold]
    pub(crate) fn reject(self, batch: &mut Batch<'_>, reason: Reason) {
        batch.items.refuse();
        let (samples, histograms, exemplars) = self.ranges(batch);
        for (signal, rows) in
            [(Signal::Sample, samples), (Signal::Histogram, histograms), (Signal::Exemplar, exemplars)]
        {
            batch.rejections.add(signal, reason, rows.len() as u64);
        }
        self.forget(batch);
    }

    #[inline]
    fn ranges(self, batch: &Batch<'_>) -> (Range<usize>, Range<usize>, Range<usize>) {
        (
            self.samples..batch.samples.len(),
            self.histograms..batch.histograms.len(),
            self.exemplars..batch.exemplars.len(),
        )
    }
}

/// The most characters that an exemplar's label names and values may have together (OpenMetrics 1.0, exemplars).
pub(crate) const EXEMPLAR_CHARACTERS_MAX: usize = 128;

/// An exemplar, unless its labels are too long or name something twice.
pub(crate) fn exemplar(
    labels: Vec<(&str, &str)>,
    value: f64,
    timestamp_ms: i64,
) -> Result<Exemplar, &'static str> {
    let characters: usize = labels.iter().map(|(n, v)| n.chars().count() + v.chars().count()).sum();
    if characters > EXEMPLAR_CHARACTERS_MAX {
        return Err("exemplar whose labels have over 128 characters");
    }
    // At most 128 names: comparing all with all is cheaper than sorting.
    let repeated = |i: usize| labels[..i].iter().any(|(name, _)| *name == labels[i].0);
    if labels.iter().any(|(name, _)| name.is_empty()) || (1..labels.len()).any(repeated) {
        return Err("exemplar with an empty or repeated label name");
    }
    let labels = labels.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    Ok(Exemplar { labels, value, timestamp_ms })
}

/// The bytes that a text takes beside the body.
#[allow(clippy::ptr_arg)] // What counts is whose it is.
pub(crate) fn owned_bytes(text: &Cow<'_, str>) -> usize {
    match text {
        Cow::Borrowed(_) => 0,
        Cow::Owned(text) => text.len(),
    }
}

/// A series as a message for its sender shows it: never more than 200 bytes.
pub(crate) fn shown(series: &str) -> &str {
    let mut end = series.len().min(200);
    while !series.is_char_boundary(end) {
        end -= 1;
    }
    &series[..end]
}
