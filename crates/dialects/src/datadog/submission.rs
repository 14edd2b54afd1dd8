//! A request of metrics on its way into a batch: what every route does with a series once it is read.
//!
//! Values are looked at here and not where they are read, because a protobuf series says its type and interval behind its
//! points: what is not finite is refused by itself, a rate becomes what happened in its interval where the tenant wants
//! that, and rows are put in the order of time.

use std::borrow::Cow;

use model::batch::{MetadataRow, SeriesRow, Temporality};
use model::labels::LABELS_MAX;
use model::{Batch, Metadata, Reason, Signal};

use super::record::{Kind, Name, Record, Source};
use super::settings::Profile;
use super::translate;
use crate::Received;
use crate::rows::{self, Full, Room, Rows};

/// A request's records, and the room for them.
pub(super) struct Submission<'a> {
    pub(super) source: Source<'a>,
    pub(super) room: Room,
    /// Of this request's keys.
    pub(super) seed: u64,
    scratch: Vec<u8>,
    dropped: u64,
}

impl<'a> Submission<'a> {
    /// No records yet.
    pub(super) fn new(received: &Received<'a>, batch: &Batch<'_>) -> Self {
        let source = Source::new(received);
        let seed = source.key_seed(batch);
        Self { source, room: Room::new(), seed, scratch: Vec::new(), dropped: 0 }
    }

    /// Hands the records over to the batch that has their rows.
    pub(super) fn finish(self, batch: &mut Batch<'a>) {
        batch.note("bare_tags_dropped", self.dropped);
        batch.source = Some(Box::new(self.source));
    }

    /// Takes room for one more series, and for making its labels: several series may have the same long list of them. Of a
    /// series that has too many none are made.
    #[inline]
    pub(super) fn room_for(&mut self, record: &Record<'_>) -> Result<(), Full> {
        let labels = self.source.labels(record);
        let comparisons = if labels > LABELS_MAX { 0 } else { labels * labels };
        self.room.take(comparisons + size_of::<Record<'_>>() + size_of::<SeriesRow<'_>>())
    }

    /// A record's key, from its text.
    pub(super) fn key(&mut self, record: &Record<'_>) -> u128 {
        self.source.key(record, self.seed, &mut self.scratch)
    }

    /// How many of a record's tags have no place.
    pub(super) fn dropped(&self, record: &Record<'_>) -> usize {
        let tags = &self.source.tags[record.tags.clone()];
        tags.iter().filter(|tag| translate::is_dropped(self.source.settings, tag)).count()
    }

    /// Gives `rows` to a record; `dropped` of its tags have no place. Without rows there is nothing to keep.
    #[inline]
    pub(super) fn keep(
        &mut self,
        rows: Rows,
        record: Record<'a>,
        key: u128,
        dropped: usize,
        batch: &mut Batch<'a>,
    ) {
        let settings = self.source.settings;
        let factor = translate::value(settings, record.kind, record.interval_s, 1.0);
        let samples = rows.samples_mut(batch);
        if factor != 1.0 {
            samples.iter_mut().for_each(|sample| sample.value *= factor);
        }
        if samples.iter().any(|sample| !sample.value.is_finite()) {
            refuse_values(rows, &record, batch);
        }
        if rows.is_empty(batch) {
            return;
        }
        if let Some((reason, what)) = self.fault(&record) {
            return refuse(rows, &record, reason, what, batch);
        }
        let samples = rows.samples_mut(batch);
        if !samples.is_sorted_by_key(|sample| sample.timestamp_ms) {
            samples.sort_by_key(|sample| sample.timestamp_ms);
        }
        let mut temporality = Temporality::Cumulative;
        if translate::is_total(settings, record.kind) {
            temporality = Temporality::Delta;
            let interval_ms = record.interval_s.saturating_mul(1000);
            for sample in samples.iter_mut().filter(|_| interval_ms > 0) {
                sample.start_ms = sample.timestamp_ms.saturating_sub(interval_ms).max(0);
            }
        }
        let histograms = rows.histograms_mut(batch);
        if !histograms.is_sorted_by_key(|sample| sample.timestamp_ms) {
            histograms.sort_by_key(|sample| sample.timestamp_ms);
        }
        self.dropped += dropped as u64;
        let labels = self.source.push(record);
        rows.keep_as(batch, labels, key, temporality);
    }

    /// Why a record names no series.
    fn fault(&self, record: &Record<'_>) -> Option<(Reason, &'static str)> {
        if matches!(&record.name, Name::Metric(name, _) | Name::Check(name) if name.is_empty()) {
            return Some((Reason::MissingName, "metric name is missing"));
        }
        (self.source.labels(record) > LABELS_MAX)
            .then_some((Reason::LabelLimit, "more tags and resources than a series can have labels"))
    }

    /// A metric's unit and type as metadata. In the profile `plain` the type stands nowhere else; in the other it alone is
    /// nothing new.
    #[inline]
    pub(super) fn describe(
        &mut self,
        metric: Cow<'a, str>,
        kind: Kind,
        unit: &str,
        batch: &mut Batch<'a>,
    ) -> Result<(), Full> {
        let settings = self.source.settings;
        if metric.is_empty() || unit.is_empty() && settings.profile == Profile::Opstrace {
            return Ok(());
        }
        self.room.take(256 + metric.len() + unit.len())?;
        let family = match metric {
            Cow::Borrowed(metric) => translate::family(settings, metric, kind),
            Cow::Owned(metric) => Cow::Owned(translate::family(settings, &metric, kind).into_owned()),
        };
        let metadata = Metadata {
            kind: translate::metric_type(settings, kind),
            unit: unit.to_owned(),
            help: String::new(),
        };
        batch.metadata.push(MetadataRow { family, metadata });
        Ok(())
    }
}

/// Refuses the rows of a series as a whole. Where there are none, nothing was lost.
#[cold]
pub(super) fn refuse(rows: Rows, record: &Record<'_>, reason: Reason, what: &str, batch: &mut Batch<'_>) {
    if rows.is_empty(batch) {
        return;
    }
    rows.reject(batch, reason);
    batch.rejections.explain(|| format!("{}: {what}", shown(record)));
}

/// Refuses what is not finite among the samples of a series.
#[cold]
fn refuse_values(rows: Rows, record: &Record<'_>, batch: &mut Batch<'_>) {
    let refused = rows.retain_samples(batch, |sample| sample.value.is_finite());
    batch.rejections.add(Signal::Sample, Reason::InvalidValue, refused as u64);
    batch.rejections.explain(|| format!("{}: value that is not finite", shown(record)));
}

/// A record as a message for its sender shows it.
pub(super) fn shown(record: &Record<'_>) -> String {
    match &record.name {
        Name::Metric(name, suffix) => format!("{:?}", rows::shown(name).to_owned() + suffix),
        Name::Check(name) => format!("{:?}", rows::shown(name)),
        Name::HostInfo => "tags of a host".to_owned(),
    }
}

/// A tag: what is not UTF-8 in it is replaced.
#[inline]
pub(super) fn tag(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => String::from_utf8_lossy(bytes),
    }
}

/// Seconds as milliseconds; what is out of range is as far as it goes, and refused for that by the store.
#[inline]
pub(super) fn milliseconds(seconds: i64) -> i64 {
    seconds.saturating_mul(1000)
}
