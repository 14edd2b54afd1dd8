//! The samples of one series, as a selection gives them and as range functions read them.

use std::sync::Arc;

use model::histogram::ResetHint;
use model::select::{HistogramPoint, SummaryPoint};
use model::{SeriesBlock, is_stale};

use crate::column::{Column, Point, Steps};
use crate::histogram::FloatHistogram;

/// The samples of one series: stale markers included, sorted by time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Samples<'s> {
    pub(crate) times: &'s [i64],
    values: &'s [f64],
    starts: &'s [i64],
    histograms: &'s [HistogramPoint],
    first_row: u32,
    /// In the place of some samples; none unless they were asked for.
    summaries: &'s [SummaryPoint],
    /// Resets are found out here, because only totals are asked for.
    finds_resets: bool,
}

/// Floats, with summaries in the place of some.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Floats<'s> {
    pub(crate) times: &'s [i64],
    pub(crate) values: &'s [f64],
    summaries: &'s [SummaryPoint],
    first_row: u32,
}

impl<'s> Samples<'s> {
    /// Those of the series with this index in a block.
    pub(crate) fn of(block: &'s SeriesBlock, index: usize, finds_resets: bool) -> Self {
        let (from, to) = (block.offsets[index], block.offsets[index + 1]);
        let rows = from as usize..to as usize;
        let columns = &block.columns;
        let points = match columns.histograms.as_slice() {
            [] => &[],
            all => &all[all.partition_point(|h| h.row < from)..all.partition_point(|h| h.row < to)],
        };
        let summaries = block.summary_offsets[index] as usize..block.summary_offsets[index + 1] as usize;
        Self {
            times: &columns.timestamps[rows.clone()],
            values: &columns.values[rows.clone()],
            starts: columns.starts.get(rows).unwrap_or_default(),
            histograms: points,
            first_row: from,
            summaries: &block.summaries[summaries],
            finds_resets,
        }
    }

    /// The samples as they lie, when all are floats and none is a stale marker.
    pub(crate) fn floats(&self) -> Option<(&'s [i64], &'s [f64])> {
        // Without a way out at the first: so it goes several values at a time.
        let stale = || self.values.iter().fold(false, |any, value| any | is_stale(*value));
        (self.histograms.is_empty() && !stale()).then_some((self.times, self.values))
    }

    /// Whether summaries stand in the place of some samples.
    pub(crate) fn has_summaries(&self) -> bool {
        !self.summaries.is_empty()
    }

    /// The samples as they lie and the summaries between them, when all are floats or stale markers.
    pub(crate) fn summarised(&self) -> Option<Floats<'s>> {
        let Self { times, values, summaries, first_row, .. } = *self;
        self.histograms.is_empty().then_some(Floats { times, values, summaries, first_row })
    }

    /// Whether all are floats: then this is what there is at each time.
    pub(crate) fn only_floats(&self) -> Option<&'s [f64]> {
        self.histograms.is_empty().then_some(self.values)
    }

    /// The histogram of a sample, if it is one.
    fn histogram(&self, at: usize) -> Option<&'s HistogramPoint> {
        if self.histograms.is_empty() {
            return None;
        }
        let row = self.first_row + at as u32;
        let found = self.histograms.binary_search_by_key(&row, |h| h.row).ok()?;
        Some(&self.histograms[found])
    }

    /// The value of a sample; `None` for a stale marker.
    pub(crate) fn point(&self, at: usize) -> Option<Point> {
        match self.histogram(at) {
            Some(point) if point.histogram.is_stale() => None,
            Some(point) => {
                let mut histogram = FloatHistogram::from(&*point.histogram);
                histogram.reset_hint = point.hint;
                if self.finds_resets && histogram.reset_hint == ResetHint::Unknown {
                    self.find_reset(at, &mut histogram);
                }
                Some(Point::Histogram(Arc::new(histogram)))
            }
            None => Some(self.values[at]).filter(|value| !is_stale(*value)).map(Point::Float),
        }
    }

    fn find_reset(&self, at: usize, histogram: &mut FloatHistogram) {
        let previous = (0..at).rev().find_map(|at| self.histogram(at).filter(|h| !h.histogram.is_stale()));
        if let Some(previous) = previous {
            let reset = histogram.is_reset_from(&FloatHistogram::from(&*previous.histogram));
            histogram.reset_hint = if reset { ResetHint::Reset } else { ResetHint::NotReset };
        }
    }

    /// The start time of a sample, ms, 0 = unknown.
    pub(crate) fn start(&self, at: usize) -> i64 {
        self.starts.get(at).copied().unwrap_or(0)
    }

    /// All samples but stale markers, floats and histograms apart.
    pub(crate) fn split(&self, into: &mut RangeSamples) {
        into.clear();
        for (at, time) in self.times.iter().enumerate() {
            match self.point(at) {
                Some(Point::Float(value)) => {
                    into.times.push(*time);
                    into.values.push(value);
                    into.starts.push(self.start(at));
                }
                Some(Point::Histogram(histogram)) => {
                    into.histogram_times.push(*time);
                    into.histograms.push(histogram);
                    into.histogram_starts.push(self.start(at));
                }
                None => {}
            }
        }
    }
}

impl<'s> Floats<'s> {
    /// The summaries, each with the index of the float behind it.
    pub(crate) fn summaries(&self) -> impl Iterator<Item = (usize, &'s model::select::Summary)> {
        let first = self.first_row;
        self.summaries.iter().map(move |point| ((point.row - first) as usize, &point.summary))
    }
}

/// The samples of one series as range functions read them: floats and histograms apart, no stale markers.
#[derive(Clone, Debug, Default)]
pub(crate) struct RangeSamples {
    pub(crate) times: Vec<i64>,
    pub(crate) values: Vec<f64>,
    pub(crate) starts: Vec<i64>,
    pub(crate) histogram_times: Vec<i64>,
    pub(crate) histograms: Vec<Arc<FloatHistogram>>,
    pub(crate) histogram_starts: Vec<i64>,
}

impl RangeSamples {
    fn clear(&mut self) {
        self.times.clear();
        self.values.clear();
        self.starts.clear();
        self.histogram_times.clear();
        self.histograms.clear();
        self.histogram_starts.clear();
    }

    /// The results of a subquery, with the times of its steps. Reset hints are dropped: between two sub-steps there
    /// may have been samples that nobody looked at.
    pub(crate) fn read_column(&mut self, column: &Column, steps: Steps) {
        self.clear();
        for (step, point) in column.points() {
            match point {
                Point::Float(value) => {
                    self.times.push(steps.at(step));
                    self.values.push(value);
                }
                Point::Histogram(mut histogram) => {
                    if matches!(histogram.reset_hint, ResetHint::Reset | ResetHint::NotReset) {
                        Arc::make_mut(&mut histogram).reset_hint = ResetHint::Unknown;
                    }
                    self.histogram_times.push(steps.at(step));
                    self.histograms.push(histogram);
                }
            }
        }
    }
}
