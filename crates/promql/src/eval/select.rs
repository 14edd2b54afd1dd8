//! Selectors: one selection for all steps, then for each step the sample that counts.

use std::sync::Arc;

use model::histogram::ResetHint;
use model::{Hints, Labels, SeriesBlock, TimeRange, is_stale};

use crate::ast::{Edge, Kind, NodeId, VectorSelector};
use crate::column::{Column, Point, Row, Rows, Steps};
use crate::eval::plan::Window;
use crate::eval::{EvalError, Evaluates, Evaluator, MatrixSeries};
use crate::histogram::FloatHistogram;

/// The samples of one series: stale markers included, sorted by time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Samples<'s> {
    pub(crate) times: &'s [i64],
    values: &'s [f64],
    starts: &'s [i64],
    histograms: &'s [model::select::HistogramPoint],
    first_row: u32,
    /// Resets are found out here, because only totals are asked for.
    finds_resets: bool,
}

impl<'s> Samples<'s> {
    fn of(block: &'s SeriesBlock, index: usize) -> Self {
        let (from, to) = (block.offsets[index], block.offsets[index + 1]);
        let rows = from as usize..to as usize;
        let first = block.histograms.partition_point(|h| h.row < from);
        let last = block.histograms.partition_point(|h| h.row < to);
        Self {
            times: &block.timestamps[rows.clone()],
            values: &block.values[rows.clone()],
            starts: block.starts.get(rows).unwrap_or_default(),
            histograms: &block.histograms[first..last],
            first_row: from,
            finds_resets: false,
        }
    }

    /// The histogram of a sample, if it is one.
    fn histogram(&self, at: usize) -> Option<&'s Arc<model::Histogram>> {
        if self.histograms.is_empty() {
            return None;
        }
        let row = self.first_row + at as u32;
        let found = self.histograms.binary_search_by_key(&row, |h| h.row).ok()?;
        Some(&self.histograms[found].histogram)
    }

    /// The value of a sample; `None` for a stale marker.
    fn point(&self, at: usize) -> Option<Point> {
        match self.histogram(at) {
            Some(histogram) if histogram.is_stale() => None,
            Some(histogram) => {
                let mut histogram = FloatHistogram::from(&**histogram);
                if self.finds_resets && histogram.reset_hint == ResetHint::Unknown {
                    self.find_reset(at, &mut histogram);
                }
                Some(Point::Histogram(Arc::new(histogram)))
            }
            None => Some(self.values[at]).filter(|value| !is_stale(*value)).map(Point::Float),
        }
    }

    fn find_reset(&self, at: usize, histogram: &mut FloatHistogram) {
        let previous = (0..at).rev().find_map(|at| self.histogram(at).filter(|h| !h.is_stale()));
        if let Some(previous) = previous {
            let reset = histogram.is_reset_from(&FloatHistogram::from(&**previous));
            histogram.reset_hint = if reset { ResetHint::Reset } else { ResetHint::NotReset };
        }
    }

    fn start(&self, at: usize) -> i64 {
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

impl<'a> Evaluator<'a> {
    pub(crate) fn window(&self, id: NodeId) -> Window {
        self.plan.window(id)
    }

    /// Selects once for all steps and hands over each series with its samples.
    ///
    /// `place` is the selector's node, or the one that stands in for it.
    pub(crate) fn for_each_series(
        &mut self,
        place: NodeId,
        selector: &VectorSelector,
        range: TimeRange,
        hints: &Hints,
        mut each: impl FnMut(&mut Self, Labels, Samples<'_>) -> Evaluates<()>,
    ) -> Evaluates<()> {
        let finds_resets = self.plan.only_totals(place);
        let mut set = self.source.select(&selector.matchers, range, hints, self.budget)?;
        while let Some(block) = set.next_block()? {
            self.budget.check()?;
            for (index, series) in block.series.iter().enumerate() {
                let samples = Samples { finds_resets, ..Samples::of(&block, index) };
                each(self, set.labels(*series)?, samples)?;
            }
        }
        self.warnings.extend(set.warnings());
        Ok(())
    }

    /// The times that the steps ask for, from first to last, less what lies `back` behind each; both included.
    pub(crate) fn select_range(
        &self,
        window: Window,
        steps: Steps,
        back_ms: i64,
        ahead_ms: i64,
    ) -> TimeRange {
        let (first, last) = (window.end(steps.start_ms), window.end(steps.last_ms()));
        // Windows are open at their start.
        TimeRange {
            start_ms: first.saturating_sub(back_ms).saturating_add(1),
            end_ms: last.saturating_add(ahead_ms),
        }
    }

    pub(crate) fn instant_selector(
        &mut self,
        id: NodeId,
        selector: &VectorSelector,
        steps: Steps,
    ) -> Evaluates<Rows<'a>> {
        if selector.edge == Edge::Smoothed {
            return self.smoothed_selector(id, selector, steps);
        }
        self.select_points(id, self.window(id), selector, steps, |samples, at| samples.point(at))
    }

    /// `timestamp(x)` of a bare selector: the time of the sample, not of the step.
    pub(crate) fn selector_times(
        &mut self,
        id: NodeId,
        selector: &VectorSelector,
        steps: Steps,
    ) -> Evaluates<Rows<'a>> {
        self.select_points(id, self.window(id), selector, steps, |samples, at| {
            samples.point(at).map(|_| Point::Float(samples.times[at] as f64 / 1000.0))
        })
    }

    /// `start_timestamp(x)` of a bare selector.
    pub(crate) fn selector_starts(
        &mut self,
        id: NodeId,
        selector: &VectorSelector,
        steps: Steps,
    ) -> Evaluates<Rows<'a>> {
        self.select_points(id, self.window(id), selector, steps, |samples, at| {
            samples.point(at).map(|_| Point::Float(samples.start(at) as f64 / 1000.0))
        })
    }

    /// The times of floats, and the histograms as they are, seen through a window that is not the selector's own.
    pub(crate) fn info_times(
        &mut self,
        id: NodeId,
        window: Window,
        selector: &VectorSelector,
        steps: Steps,
    ) -> Evaluates<Rows<'a>> {
        self.select_points(id, window, selector, steps, |samples, at| match samples.point(at)? {
            Point::Float(_) => Some(Point::Float(samples.times[at] as f64 / 1000.0)),
            histogram @ Point::Histogram(_) => Some(histogram),
        })
    }

    fn select_points(
        &mut self,
        id: NodeId,
        window: Window,
        selector: &VectorSelector,
        steps: Steps,
        value: impl Fn(&Samples<'_>, usize) -> Option<Point>,
    ) -> Evaluates<Rows<'a>> {
        let lookback_ms = self.params.lookback_ms;
        let range = self.select_range(window, steps, lookback_ms, 0);
        let hints = Hints { step_ms: self.params.step_ms, ..Hints::default() };
        let mut rows = Rows::none(self.budget);
        self.for_each_series(id, selector, range, &hints, |_, labels, samples| {
            rows.charge.add_row(steps.count)?;
            let mut column = Column::absent(steps.count);
            let mut next = 0;
            for step in 0..steps.count {
                let wanted = window.end(steps.at(step));
                while samples.times.get(next).is_some_and(|time| *time <= wanted) {
                    next += 1;
                }
                let Some(at) = next.checked_sub(1) else { continue };
                if samples.times[at] <= wanted.saturating_sub(lookback_ms) {
                    continue;
                }
                if let Some(point) = value(&samples, at) {
                    column.set(step, point);
                }
            }
            if column.has_any() {
                rows.rows.push(Row::new(labels, column));
            }
            Ok(())
        })?;
        rows.rows.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(rows)
    }

    /// `x smoothed`: between two samples the value lies on the line between them.
    fn smoothed_selector(
        &mut self,
        id: NodeId,
        selector: &VectorSelector,
        steps: Steps,
    ) -> Evaluates<Rows<'a>> {
        let (window, lookback_ms) = (self.window(id), self.params.lookback_ms);
        let range = self.select_range(window, steps, lookback_ms, lookback_ms);
        let (mut rows, mut split) = (Rows::none(self.budget), RangeSamples::default());
        let span = self.span(id);
        self.for_each_series(id, selector, range, &Hints::default(), |this, labels, samples| {
            rows.charge.add_row(steps.count)?;
            samples.split(&mut split);
            let mut column = Column::absent(steps.count);
            for step in 0..steps.count {
                let wanted = window.end(steps.at(step));
                let bounds = (wanted.saturating_sub(lookback_ms), wanted.saturating_add(lookback_ms));
                if let Some(point) =
                    crate::functions::extended::smoothed(&split, wanted, bounds, &labels, span, this)
                {
                    column.set(step, point);
                }
            }
            if column.has_any() {
                rows.rows.push(Row::new(labels, column));
            }
            Ok(())
        })?;
        rows.rows.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(rows)
    }

    /// The samples of a range selector as they are, for an instant query that is nothing else.
    pub(crate) fn raw_samples(&mut self, id: NodeId, steps: Steps) -> Evaluates<Vec<MatrixSeries>> {
        let expr = self.expr;
        let Kind::Matrix { selector: inner, .. } = &expr.node(id).kind else { return Ok(Vec::new()) };
        let Kind::Vector(selector) = &expr.node(*inner).kind else { return Ok(Vec::new()) };
        let window = self.window(id);
        let extended = selector.edge != Edge::Plain;
        let lookback = if extended { self.params.lookback_ms } else { 0 };
        let ahead = if selector.edge == Edge::Smoothed { lookback } else { 0 };
        let range = self.select_range(window, steps, window.range_ms + lookback, ahead);
        let hints = Hints { window_ms: window.range_ms, ..Hints::default() };
        let (mut series, mut split) = (Vec::new(), RangeSamples::default());
        let end = window.end(steps.start_ms);
        self.for_each_series(*inner, selector, range, &hints, |this, labels, samples| {
            if window.range_ms == 0 {
                return Ok(());
            }
            this.budget.charge((samples.times.len() * size_of::<(i64, Point)>()) as u64)?;
            let points = if extended {
                samples.split(&mut split);
                crate::functions::extended::range(&split, end - window.range_ms, end, selector.edge)?
            } else {
                let value = |(at, time): (usize, &i64)| samples.point(at).map(|point| (*time, point));
                samples.times.iter().enumerate().filter_map(value).collect()
            };
            series.push(MatrixSeries { labels, points });
            Ok(())
        })?;
        Ok(series)
    }

    /// Evaluates the inside of a subquery at its own steps, which lie at multiples of their distance.
    pub(crate) fn subquery_rows(&mut self, id: NodeId, steps: Steps) -> Evaluates<(Rows<'a>, Steps)> {
        let expr = self.expr;
        let Kind::Subquery(subquery) = &expr.node(id).kind else {
            return Err(EvalError::Execution("subquery expected".into()));
        };
        let window = self.window(id);
        let distance = if window.step_ms == 0 { self.params.subquery_step_ms } else { window.step_ms }.max(1);
        let before = window.end(steps.start_ms).saturating_sub(window.range_ms);
        // The first multiple of the distance that lies after the window's open start.
        let first = before.div_euclid(distance).saturating_add(1).saturating_mul(distance);
        let inner = Steps::between(first, window.end(steps.last_ms()), distance);
        // A column of this length must be affordable before anything is built.
        self.budget.charge((inner.count as u64).saturating_mul(size_of::<f64>() as u64))?;
        self.budget.release((inner.count as u64).saturating_mul(size_of::<f64>() as u64));
        Ok((self.eval_rows(subquery.expr, inner)?, inner))
    }
}
