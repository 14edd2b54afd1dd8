//! Distributions: sketches of Agents, and values, as native histograms with their minimum and maximum beside them.
//!
//! A histogram is of one flush alone, so it is a gauge: `sum_over_time` adds flushes up. A native histogram does not know
//! its extremes, a sketch does: they are series of their own, `<name>_min` and `<name>_max`.

#[cfg(test)]
pub(super) mod accuracy;
mod buckets;
mod wire;

use std::sync::Arc;

use model::batch::HistogramSample;
use model::histogram::BucketCounts;
use model::{Batch, Histogram, Reason, Sample, Signal};

use self::buckets::Buckets;
use super::record::{Kind, Name, Record};
use super::submission::{Submission, shown};
use crate::rows::{Full, Room, Rows};

pub(super) use wire::decode;

/// The most bins of one sketch: many times what Agents have, which write a bin of many observations as several.
const BINS_MAX: usize = 1 << 16;

/// What a sketch says beside its bins.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Summary {
    /// When it was flushed.
    pub(super) timestamp_ms: i64,
    /// Observations.
    pub(super) count: i64,
    /// Their sum.
    pub(super) sum: f64,
    /// The smallest.
    pub(super) min: f64,
    /// The largest.
    pub(super) max: f64,
}

/// Sketches that were refused.
#[derive(Debug, Default)]
struct Refused {
    /// Their sum or an extreme is not finite.
    values: u64,
    /// Their keys have no counts, or they have no bins.
    bins: u64,
}

/// The distributions of one series. Its memory is for the next one.
#[derive(Debug, Default)]
pub(super) struct Sketches {
    /// Keys and counts of the next sketch.
    bins: Vec<(i32, u64)>,
    buckets: Buckets,
    min: Vec<Sample>,
    max: Vec<Sample>,
    /// Refused, by reason.
    refused: Refused,
    /// Sketches whose bins hold another number of observations than they say.
    differ: u64,
}

impl Sketches {
    /// Adds a bin to the next sketch.
    #[inline]
    pub(super) fn bin(&mut self, key: i32, count: u32) {
        if self.bins.len() <= BINS_MAX {
            self.bins.push((key, u64::from(count)));
        }
    }

    /// Adds the sketch whose bins were added.
    pub(super) fn push(
        &mut self,
        summary: Summary,
        room: &mut Room,
        batch: &mut Batch<'_>,
    ) -> Result<(), Full> {
        let count: u64 = self.bins.iter().map(|(_, count)| count).sum();
        let mut result = Ok(());
        if count == 0 && summary.count != 0 || self.bins.len() > BINS_MAX {
            self.refused.bins += 1;
        } else if ![summary.sum, summary.min, summary.max].iter().all(|value| value.is_finite()) {
            self.refused.values += 1;
        } else {
            self.differ += u64::from(i64::try_from(count) != Ok(summary.count));
            self.buckets.add_bins(&mut self.bins, summary.min, summary.max);
            result = self.take(summary, count > 0, room, batch);
        }
        self.bins.clear();
        result
    }

    /// Refuses a sketch whose bins do not fit together.
    pub(super) fn refuse(&mut self) {
        self.refused.bins += 1;
    }

    /// Forgets what was pushed, for a series that is refused as a whole.
    pub(super) fn forget(&mut self) {
        self.min.clear();
        self.max.clear();
    }

    /// Adds the distribution of `values`.
    pub(super) fn push_values(
        &mut self,
        timestamp_ms: i64,
        values: &[f64],
        room: &mut Room,
        batch: &mut Batch<'_>,
    ) -> Result<(), Full> {
        let (min, max) = (values.iter().copied().fold(f64::INFINITY, f64::min), values.iter().copied());
        let (sum, max) = (values.iter().sum(), max.fold(f64::NEG_INFINITY, f64::max));
        values.iter().for_each(|value| self.buckets.add_value(*value));
        self.take(Summary { timestamp_ms, count: 0, sum, min, max }, !values.is_empty(), room, batch)
    }

    fn take(
        &mut self,
        summary: Summary,
        has_extremes: bool,
        room: &mut Room,
        batch: &mut Batch<'_>,
    ) -> Result<(), Full> {
        let Summary { timestamp_ms, sum, min, max, .. } = summary;
        let histogram = self.buckets.take(sum);
        room.take(2 * (size_of::<HistogramSample>() + 2 * size_of::<Sample>()) + bytes(&histogram))?;
        let histogram = Arc::new(histogram);
        batch.histograms.push(HistogramSample { timestamp_ms, start_ms: 0, histogram });
        // Of nothing there is no smallest.
        if has_extremes {
            self.min.push(Sample { timestamp_ms, value: min, start_ms: 0 });
            self.max.push(Sample { timestamp_ms, value: max, start_ms: 0 });
        }
        Ok(())
    }

    /// Gives what was pushed since `rows` to a record and to those of its extremes.
    pub(super) fn keep<'a>(
        &mut self,
        rows: Rows,
        record: Record<'a>,
        dropped: usize,
        mut key: impl FnMut(&mut Submission<'a>, &Record<'a>) -> u128,
        submission: &mut Submission<'a>,
        batch: &mut Batch<'a>,
    ) {
        self.report(&record, batch);
        let extremes = [("_min", &mut self.min), ("_max", &mut self.max)].map(|(suffix, samples)| {
            let mut record = Record { kind: Kind::Gauge, ..record.clone() };
            if let Name::Metric(_, behind) = &mut record.name {
                *behind = suffix;
            }
            (record, samples)
        });
        let key_of_all = key(submission, &record);
        submission.keep(rows, record, key_of_all, dropped, batch);
        for (record, samples) in extremes {
            let rows = Rows::begin(batch);
            batch.samples.append(samples);
            let key = key(submission, &record);
            submission.keep(rows, record, key, 0, batch);
        }
    }

    fn report(&mut self, record: &Record<'_>, batch: &mut Batch<'_>) {
        batch.note("sketch_counts_differ", std::mem::take(&mut self.differ));
        let Refused { values, bins } = std::mem::take(&mut self.refused);
        for (reason, count, what) in [
            (Reason::InvalidValue, values, "sum, minimum or maximum that is not finite"),
            (Reason::InvalidHistogram, bins, "sketch whose bins do not fit its count"),
        ] {
            if count > 0 {
                batch.rejections.add(Signal::Histogram, reason, count);
                batch.rejections.explain(|| format!("{}: {what}", shown(record)));
            }
        }
    }
}

/// What a histogram takes in memory.
fn bytes(histogram: &Histogram) -> usize {
    let spans = histogram.positive_spans.capacity() + histogram.negative_spans.capacity();
    let counts = match &histogram.counts {
        BucketCounts::Integer { positive, negative, .. } => positive.capacity() + negative.capacity(),
        BucketCounts::Float { positive, negative, .. } => positive.capacity() + negative.capacity(),
    };
    size_of::<Histogram>() + size_of::<u64>() * (spans + counts)
}
