//! Selectors: one selection for all steps, then for each step the sample that counts.

use model::select::Detail;
use model::{Hints, Labels, TimeRange, Windows, is_stale};

use crate::ast::{Edge, Kind, NodeId, VectorSelector};
use crate::column::{Column, Point, Row, Rows, Steps, labels_bytes};
use crate::eval::plan::Window;
use crate::eval::samples::{RangeSamples, Samples};
use crate::eval::scan::Scan;
use crate::eval::{EvalError, Evaluates, Evaluator, MatrixSeries};

/// What an instant selector looks for: the newest sample at or before each step, unless it is too old.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Instants {
    pub(crate) window: Window,
    pub(crate) steps: Steps,
    pub(crate) lookback_ms: i64,
}

impl Instants {
    /// The samples that are looked at.
    pub(crate) fn windows(&self) -> Windows {
        self.window.windows(self.steps, self.lookback_ms)
    }

    /// Calls `each` with every step that sees a sample, and the sample's index.
    fn each(&self, times: &[i64], mut each: impl FnMut(usize, usize)) {
        let mut next = 0;
        for step in 0..self.steps.count {
            let wanted = self.window.end(self.steps.at(step));
            while times.get(next).is_some_and(|time| *time <= wanted) {
                next += 1;
            }
            let Some(at) = next.checked_sub(1) else { continue };
            if times[at] > wanted.saturating_sub(self.lookback_ms) {
                each(step, at);
            }
        }
    }

    /// The values that the steps see; the column is absent everywhere before.
    pub(crate) fn fill(&self, samples: &Samples<'_>, column: &mut Column) {
        match samples.only_floats() {
            Some(values) => self.each(samples.times, |step, at| {
                if !is_stale(values[at]) {
                    column.floats[step] = values[at];
                }
            }),
            None => self.fill_with(samples, column, |samples, at| samples.point(at)),
        }
    }

    fn fill_with(
        &self,
        samples: &Samples<'_>,
        column: &mut Column,
        value: impl Fn(&Samples<'_>, usize) -> Option<Point>,
    ) {
        // Several steps may see the same sample.
        let mut seen = None;
        self.each(samples.times, |step, at| {
            let point = match seen.take() {
                Some((seen_at, point)) if seen_at == at => point,
                _ => value(samples, at),
            };
            if let Some(point) = &point {
                column.set(step, point.clone());
            }
            seen = Some((at, point));
        });
    }
}

impl<'a> Evaluator<'a> {
    pub(crate) fn window(&self, id: NodeId) -> Window {
        self.plan.window(id)
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

    /// What an instant selector selects, and how its samples are looked at.
    pub(crate) fn instants<'s>(
        &self,
        place: NodeId,
        window: Window,
        lookback_ms: i64,
        selector: &'s VectorSelector,
        steps: Steps,
    ) -> (Scan<'s>, Instants) {
        let instants = Instants { window, steps, lookback_ms };
        let range = self.select_range(window, steps, lookback_ms, 0);
        let hints = Hints { windows: Some(instants.windows()), detail: Detail::Newest, ..Hints::default() };
        (Scan { place, selector, range, hints, steps: steps.count }, instants)
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
        let lookback_ms = self.params.lookback_ms;
        let (scan, instants) = self.instants(id, self.window(id), lookback_ms, selector, steps);
        self.select_columns(&scan, steps, |samples, column| instants.fill(samples, column))
    }

    /// `timestamp(x)` of a bare selector: the time of the sample, not of the step.
    pub(crate) fn selector_times(
        &mut self,
        id: NodeId,
        selector: &VectorSelector,
        steps: Steps,
    ) -> Evaluates<Rows<'a>> {
        let (window, lookback_ms) = self.view_from_at(id);
        self.select_points(id, window, lookback_ms, selector, steps, |samples, at| {
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
        let (window, lookback_ms) = self.view_from_at(id);
        self.select_points(id, window, lookback_ms, selector, steps, |samples, at| {
            samples.point(at).map(|_| Point::Float(samples.start(at) as f64 / 1000.0))
        })
    }

    /// Where `timestamp` and its kin look, and how far back. Upstream selects by `@` and `offset`, then forgets the offset
    /// and looks from `@` at what it has.
    fn view_from_at(&self, id: NodeId) -> (Window, i64) {
        let (window, lookback_ms) = (self.window(id), self.params.lookback_ms);
        if window.at_ms.is_none() {
            return (window, lookback_ms);
        }
        let lost_ms = window.offset_ms.saturating_abs();
        (Window { offset_ms: window.offset_ms.max(0), ..window }, lookback_ms.saturating_sub(lost_ms))
    }

    /// The times of floats, and the histograms as they are, seen through a window that is not the selector's own.
    pub(crate) fn info_times(
        &mut self,
        id: NodeId,
        window: Window,
        selector: &VectorSelector,
        steps: Steps,
    ) -> Evaluates<Rows<'a>> {
        let lookback_ms = self.params.lookback_ms;
        self.select_points(id, window, lookback_ms, selector, steps, |samples, at| {
            match samples.point(at)? {
                Point::Float(_) => Some(Point::Float(samples.times[at] as f64 / 1000.0)),
                histogram @ Point::Histogram(_) => Some(histogram),
            }
        })
    }

    /// What `value` says of the samples that the steps see. Their start times are there too.
    fn select_points(
        &mut self,
        id: NodeId,
        window: Window,
        lookback_ms: i64,
        selector: &VectorSelector,
        steps: Steps,
        value: impl Fn(&Samples<'_>, usize) -> Option<Point> + Sync,
    ) -> Evaluates<Rows<'a>> {
        if lookback_ms <= 0 {
            return Ok(Rows::none(self.budget));
        }
        let (mut scan, instants) = self.instants(id, window, lookback_ms, selector, steps);
        scan.hints.detail = Detail::All;
        self.select_columns(&scan, steps, |samples, column| instants.fill_with(samples, column, &value))
    }

    fn select_columns(
        &mut self,
        scan: &Scan<'_>,
        steps: Steps,
        fill: impl Fn(&Samples<'_>, &mut Column) + Sync,
    ) -> Evaluates<Rows<'a>> {
        let budget = self.budget;
        let parts = self.scan(
            scan,
            || Rows::none(budget),
            |rows: &mut Rows<'a>, _, labels, samples| {
                rows.charge.add_row(steps.count)?;
                let mut column = Column::absent(steps.count);
                fill(samples, &mut column);
                if column.has_any() {
                    rows.push_charged(Row::new(labels, column))?;
                }
                Ok(())
            },
        )?;
        Ok(Rows::of_parts(budget, parts))
    }

    /// `x smoothed`: between two samples the value lies on the line between them.
    fn smoothed_selector(
        &mut self,
        id: NodeId,
        selector: &VectorSelector,
        steps: Steps,
    ) -> Evaluates<Rows<'a>> {
        let (window, lookback_ms, budget) = (self.window(id), self.params.lookback_ms, self.budget);
        let range = self.select_range(window, steps, lookback_ms, lookback_ms);
        let scan = Scan { place: id, selector, range, hints: Hints::default(), steps: steps.count };
        let span = self.span(id);
        let parts = self.scan(
            &scan,
            || (Rows::none(budget), RangeSamples::default()),
            |(rows, split): &mut (Rows<'a>, RangeSamples), notes, labels, samples| {
                rows.charge.add_row(steps.count)?;
                samples.split(split);
                let mut column = Column::absent(steps.count);
                for step in 0..steps.count {
                    let wanted = window.end(steps.at(step));
                    let bounds = (wanted.saturating_sub(lookback_ms), wanted.saturating_add(lookback_ms));
                    let point =
                        crate::functions::extended::smoothed(split, wanted, bounds, &labels, span, notes);
                    if let Some(point) = point {
                        column.set(step, point);
                    }
                }
                if column.has_any() {
                    rows.push_charged(Row::new(labels, column))?;
                }
                Ok(())
            },
        )?;
        Ok(Rows::of_parts(budget, parts.into_iter().map(|(rows, _)| rows).collect()))
    }

    /// The samples of a range selector as they are, for an instant query that is nothing else.
    pub(crate) fn raw_samples(&mut self, id: NodeId, steps: Steps) -> Evaluates<Vec<MatrixSeries>> {
        let expr = self.expr;
        let Kind::Matrix { selector: inner, .. } = &expr.node(id).kind else { return Ok(Vec::new()) };
        let Kind::Vector(selector) = &expr.node(*inner).kind else { return Ok(Vec::new()) };
        let (window, edge, budget) = (self.window(id), selector.edge, self.budget);
        let extended = edge != Edge::Plain;
        let lookback = if extended { self.params.lookback_ms } else { 0 };
        let ahead = if edge == Edge::Smoothed { lookback } else { 0 };
        let range = self.select_range(window, steps, window.range_ms + lookback, ahead);
        let windows = (!extended).then(|| window.windows(steps, window.range_ms));
        let hints = Hints { windows, ..Hints::default() };
        let scan = Scan { place: *inner, selector, range, hints, steps: steps.count };
        let end = window.end(steps.start_ms);
        let parts = self.scan(
            &scan,
            || (Vec::new(), RangeSamples::default()),
            |(series, split): &mut (Vec<MatrixSeries>, RangeSamples), _, labels: Labels, samples| {
                if window.range_ms == 0 {
                    return Ok(());
                }
                let points = samples.times.len() * size_of::<(i64, Point)>();
                budget.charge((points + labels_bytes(&labels)) as u64)?;
                let points: Vec<(i64, Point)> = if extended {
                    samples.split(split);
                    crate::functions::extended::range(split, end - window.range_ms, end, edge)?
                } else {
                    let value = |(at, time): (usize, &i64)| samples.point(at).map(|point| (*time, point));
                    samples.times.iter().enumerate().filter_map(value).collect()
                };
                let histograms = points.iter().map(|(_, point)| match point {
                    Point::Histogram(histogram) => histogram.bytes() as u64,
                    Point::Float(_) => 0,
                });
                budget.charge(histograms.sum())?;
                series.push(MatrixSeries { labels, points: points.into() });
                Ok(())
            },
        )?;
        Ok(parts.into_iter().flat_map(|(series, _)| series).collect())
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
