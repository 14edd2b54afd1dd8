//! Body to batch: JSON by its first bracket, else lines of commands.

use std::borrow::Cow;
use std::collections::HashSet;

use model::batch::MetadataRow;
use model::{Batch, Metadata, Reason, Sample, Signal};

use super::names::{Identifier, Source};
use super::{objects, putval};
use crate::rows::{Full, Room, Rows};
use crate::siblings::{Shared, Siblings};
use crate::{Malformed, Received};

/// Decodes a body into `batch`.
pub(super) fn decode<'a>(received: &Received<'a>, batch: &mut Batch<'a>) -> Result<(), Malformed> {
    let mut values = Values {
        received_ms: received.received_ms,
        room: Room::new(),
        series: Siblings::default(),
        families: HashSet::new(),
        batch,
    };
    match received.body.trim_ascii_start().first() {
        Some(b'[' | b'{') => objects::decode(received.body, &mut values)?,
        _ => putval::decode(received.body, &mut values)?,
    }
    let Values { series, batch, .. } = values;
    series.finish(batch);
    Ok(())
}

/// A body's values on their way into the batch.
pub(super) struct Values<'a, 'b> {
    pub(super) received_ms: i64,
    pub(super) room: Room,
    pub(super) series: Siblings<'a>,
    /// Whose type was told.
    families: HashSet<String>,
    pub(super) batch: &'b mut Batch<'a>,
}

/// A value as it was sent. `Err` is a text that is no value, `Ok(None)` none.
pub(super) type Value = Result<Option<f64>, ()>;

impl<'a> Values<'a, '_> {
    /// Takes the labels of a thing.
    pub(super) fn share(&mut self, of: &Identifier<'a>) -> Result<Shared, Full> {
        self.series.share(self.batch, &mut self.room, of.labels())
    }

    /// Keeps the values of a metric; how many were no value at all.
    pub(super) fn keep(
        &mut self,
        metric: String,
        source: Source,
        shared: &Shared,
        samples: impl Iterator<Item = (i64, Value)>,
    ) -> Result<u64, Full> {
        let rows = Rows::begin(self.batch);
        let mut bad = 0;
        for (timestamp_ms, value) in samples {
            match value {
                Ok(Some(value)) if value.is_finite() => {
                    self.room.take(size_of::<Sample>())?;
                    self.batch.samples.push(Sample { timestamp_ms, value, start_ms: 0 });
                }
                Ok(None) => self.batch.note("null_values", 1),
                Ok(Some(_)) | Err(()) => bad += 1,
            }
        }
        if !rows.is_empty(self.batch) {
            self.describe(&metric, source)?;
            self.series.keep(self.batch, &mut self.room, rows, metric.into(), shared)?;
        }
        Ok(bad)
    }

    /// Tells a metric's type, once.
    fn describe(&mut self, metric: &str, source: Source) -> Result<(), Full> {
        if source == Source::Unknown || self.families.contains(metric) {
            return Ok(());
        }
        self.room.take(2 * (size_of::<MetadataRow<'_>>() + metric.len()))?;
        self.families.insert(metric.to_owned());
        let metadata = Metadata { kind: source.metric_type(), ..Metadata::default() };
        self.batch.metadata.push(MetadataRow { family: Cow::Owned(metric.to_owned()), metadata });
        Ok(())
    }

    /// Counts samples as refused.
    pub(super) fn refuse(&mut self, reason: Reason, count: u64, explain: impl FnOnce() -> String) {
        if count > 0 {
            self.batch.rejections.add(Signal::Sample, reason, count);
            self.batch.rejections.explain(explain);
        }
    }
}
