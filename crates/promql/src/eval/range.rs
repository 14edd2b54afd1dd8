//! Functions over ranges: for each series a window slides along its samples.

use std::sync::Arc;

use model::select::Detail;
use model::{Budget, Hints, Labels};

use crate::annotation::{Note, Notes};
use crate::ast::{Edge, Kind, NodeId, Span, ValueType, VectorSelector};
use crate::column::{Column, Point, Row, Rows, Steps};
use crate::eval::fold::Fold;
use crate::eval::plan::Window;
use crate::eval::samples::{RangeSamples, Samples};
use crate::eval::scan::Scan;
use crate::eval::sweep::{Sweep, SweepBody, slide};
use crate::eval::{EvalError, Evaluates, Evaluator, Options, has_same_labels};
use crate::functions::Function;
use crate::histogram::FloatHistogram;

/// What a range function sees at one step of one series.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'w> {
    /// Times of the floats in the window.
    pub(crate) times: &'w [i64],
    /// The floats.
    pub(crate) values: &'w [f64],
    /// Their start times, ms, 0 = unknown; empty when they do not count.
    pub(crate) starts: &'w [i64],
    /// Times of the histograms.
    pub(crate) histogram_times: &'w [i64],
    /// The histograms.
    pub(crate) histograms: &'w [Arc<FloatHistogram>],
    /// Their start times; empty when they do not count.
    pub(crate) histogram_starts: &'w [i64],
    /// The window itself, left-open; what `anchored` and `smoothed` add lies outside.
    pub(crate) start_ms: i64,
    pub(crate) end_ms: i64,
    pub(crate) range_ms: i64,
    /// The evaluation time.
    pub(crate) step_ms: i64,
    /// How the ends are treated.
    pub(crate) edge: Edge,
}

/// What stays the same over all windows of a series, and where notes go.
pub(crate) struct Site<'s> {
    /// The series.
    pub(crate) labels: &'s Labels,
    /// The scalar arguments at this step.
    pub(crate) scalars: &'s [f64],
    /// Where the first argument stands.
    pub(crate) span: Span,
    pub(crate) notes: &'s mut Notes,
}

impl Site<'_> {
    pub(crate) fn metric(&self) -> &str {
        self.labels.metric_name().unwrap_or_default()
    }

    pub(crate) fn note(&mut self, note: impl FnOnce(&str, Span) -> Note) {
        let note = note(self.metric(), self.span);
        self.notes.add(note);
    }
}

/// A function over one window; the window is never empty.
pub(crate) type RangeBody = fn(&View<'_>, &mut Site<'_>) -> Evaluates<Option<Point>>;

/// A function over ranges.
#[derive(Clone, Copy)]
pub(crate) struct RangeFunction {
    /// Over one window of whatever samples.
    pub(crate) body: RangeBody,
    /// Over all windows of a series that has floats alone, where that is faster.
    pub(crate) sweep: Option<SweepBody>,
    /// Over windows of which parts are told by summaries, where these say enough.
    pub(crate) fold: Option<Fold>,
}

/// A call over ranges: everything that it needs for each of its series.
pub(crate) struct Slide<'c> {
    pub(crate) function: &'static Function,
    body: RangeFunction,
    scalars: Vec<Vec<f64>>,
    window: Window,
    pub(crate) steps: Steps,
    edge: Edge,
    span: Span,
    lookback_ms: i64,
    options: &'c Options,
    /// The node of the range selector or subquery.
    matrix: NodeId,
}

/// What a worker keeps from one series to the next.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    split: RangeSamples,
    pub(crate) column: Column,
    /// The metric that was noted last.
    noted: String,
    /// Set when summaries did not say enough: everything is to be done again with samples.
    pub(crate) needs_samples: bool,
}

impl<'a> Evaluator<'a> {
    pub(crate) fn range_call(
        &mut self,
        function: &'static Function,
        body: RangeFunction,
        args: &[NodeId],
        steps: Steps,
    ) -> Evaluates<Rows<'a>> {
        let slide = self.slide(function, body, args, steps)?;
        let rows = match self.range_scan(&slide)? {
            Some(scan) => self.slide_over_selection(&slide, scan)?,
            None => self.slide_over_subquery(&slide)?,
        };
        if function.name == "absent_over_time" {
            return self.absent_over_time(&rows, slide.matrix, steps);
        }
        if !self.params.options.delayed_name_removal && has_same_labels(&rows) {
            return Err(EvalError::same_labels());
        }
        Ok(rows)
    }

    /// Evaluates the scalar arguments and finds out what the others are.
    pub(crate) fn slide(
        &mut self,
        function: &'static Function,
        body: RangeFunction,
        args: &[NodeId],
        steps: Steps,
    ) -> Evaluates<Slide<'a>> {
        let expr = self.expr;
        let mut scalars = Vec::new();
        let mut matrix = args[0];
        for arg in args {
            match expr.type_of(*arg) {
                ValueType::Matrix => matrix = expr.unwrap(*arg),
                _ => scalars.push(self.eval_scalar(*arg, steps)?),
            }
        }
        let subquery = matches!(expr.node(matrix).kind, Kind::Subquery(_));
        // Upstream replaces a subquery by its result, which stands nowhere.
        let span = match expr.unwrap(args[0]) {
            first if first == matrix && subquery => Span::default(),
            first => expr.node(first).span,
        };
        let mut slide = Slide {
            function,
            body,
            scalars,
            window: self.window(matrix),
            steps,
            edge: Edge::Plain,
            span,
            lookback_ms: self.params.lookback_ms,
            options: &self.params.options,
            matrix,
        };
        if let Some((_, selector)) = self.selector_of(matrix) {
            slide.edge = selector.edge;
            slide.check_edge()?;
        }
        Ok(slide)
    }

    /// The selector in a range selector; `None` for a subquery.
    fn selector_of(&self, matrix: NodeId) -> Option<(NodeId, &'a VectorSelector)> {
        let Kind::Matrix { selector: inner, .. } = &self.expr.node(matrix).kind else { return None };
        let Kind::Vector(selector) = &self.expr.node(*inner).kind else { return None };
        Some((*inner, selector))
    }

    /// What a range selector selects; `None` for a subquery.
    pub(crate) fn range_scan(&self, slide: &Slide<'_>) -> Evaluates<Option<Scan<'a>>> {
        let Some((place, selector)) = self.selector_of(slide.matrix) else { return Ok(None) };
        let (window, steps) = (slide.window, slide.steps);
        let range = self.select_range(window, steps, slide.back_ms(), slide.ahead_ms());
        let hints = match slide.edge {
            Edge::Plain => Hints {
                windows: Some(window.windows(steps, window.range_ms)),
                detail: slide.detail(),
                ..Hints::default()
            },
            _ => Hints::default(),
        };
        Ok(Some(Scan { place, selector, range, hints, steps: steps.count }))
    }

    fn slide_over_selection(&mut self, slide: &Slide<'_>, mut scan: Scan<'_>) -> Evaluates<Rows<'a>> {
        let (budget, options) = (self.budget, self.params.options);
        loop {
            let parts = self.scan(
                &scan,
                || (Rows::none(budget), Scratch::default()),
                |(rows, scratch): &mut (Rows<'a>, Scratch), notes, labels, samples| {
                    rows.charge.add_row(slide.steps.count)?;
                    slide.fill(budget, &labels, samples, notes, scratch)?;
                    slide.finish_series(rows, labels, false, options, scratch)
                },
            )?;
            if parts.iter().any(|(_, scratch)| scratch.needs_samples) {
                scan.hints.detail = Detail::All;
                continue;
            }
            return Ok(Rows::of_parts(budget, parts.into_iter().map(|(rows, _)| rows).collect()));
        }
    }

    fn slide_over_subquery(&mut self, slide: &Slide<'_>) -> Evaluates<Rows<'a>> {
        let (inner, inner_steps) = self.subquery_rows(slide.matrix, slide.steps)?;
        let (mut rows, mut scratch) = (Rows::none(self.budget), Scratch::default());
        for row in inner.rows {
            self.budget.check()?;
            rows.charge.add_row(slide.steps.count)?;
            scratch.split.read_column(&row.column, inner_steps);
            slide.fill_from_split(self.budget, &row.labels, &mut self.notes, &mut scratch)?;
            slide.note_non_counter(&row.labels, &mut self.notes, &mut scratch);
            slide.finish_series(&mut rows, row.labels, row.drop_name, self.params.options, &mut scratch)?;
        }
        Ok(rows)
    }

    /// 1 at each step where no series has a sample in its window.
    fn absent_over_time(&self, found: &Rows<'a>, matrix: NodeId, steps: Steps) -> Evaluates<Rows<'a>> {
        let mut column = Column::of(vec![1.0; steps.count]);
        for row in &found.rows {
            (0..steps.count).filter(|step| row.column.is_present(*step)).for_each(|step| column.clear(step));
        }
        let mut rows = Rows::none(self.budget);
        if column.has_any() {
            let labels = crate::functions::absent_labels(self.expr, matrix);
            rows.push(Row { labels, drop_name: true, column })?;
        }
        Ok(rows)
    }
}

impl Slide<'_> {
    fn check_edge(&self) -> Evaluates<()> {
        let (word, functions): (_, &[&str]) = match self.edge {
            Edge::Plain => return Ok(()),
            Edge::Anchored => ("anchored", &["changes", "delta", "increase", "rate", "resets"]),
            Edge::Smoothed => ("smoothed", &["delta", "increase", "rate"]),
        };
        if functions.contains(&self.function.name) {
            return Ok(());
        }
        Err(EvalError::Execution(format!(
            "{word} modifier can only be used with: {} - not with {}",
            functions.join(", "),
            self.function.name
        )))
    }

    /// How far before its end a window reaches.
    fn back_ms(&self) -> i64 {
        self.window.range_ms + if self.edge == Edge::Plain { 0 } else { self.lookback_ms }
    }

    /// How far behind its end a window reaches.
    fn ahead_ms(&self) -> i64 {
        if self.edge == Edge::Smoothed { self.lookback_ms } else { 0 }
    }

    /// How much of the samples is looked at.
    fn detail(&self) -> Detail {
        match self.body.fold {
            _ if !self.is_plain() => Detail::All,
            None => Detail::All,
            Some(Fold::Change(change)) if change.is_counter => Detail::Counters,
            Some(_) => Detail::Summaries,
        }
    }

    /// Whether windows are what they are, and nothing but the samples in them counts.
    fn is_plain(&self) -> bool {
        self.edge == Edge::Plain && !self.uses_starts()
    }

    /// Only these functions know start times.
    fn uses_starts(&self) -> bool {
        self.options.start_timestamps
            && matches!(self.function.name, "rate" | "irate" | "increase" | "resets")
    }

    /// Evaluates the function at every step of one series, into the scratch's column.
    pub(crate) fn fill(
        &self,
        budget: &Budget,
        labels: &Labels,
        samples: &Samples<'_>,
        notes: &mut Notes,
        scratch: &mut Scratch,
    ) -> Evaluates<()> {
        if samples.has_summaries() {
            match (self.body.fold, samples.summarised()) {
                (Some(fold), Some(floats)) => {
                    scratch.column.reset(self.steps.count);
                    let sweep = self.sweep(&[], &[]);
                    fold.fill(&floats, &sweep, &mut scratch.column.floats);
                }
                _ => scratch.needs_samples = true,
            }
        } else if let (Some(sweep), Some((times, values))) =
            (self.body.sweep.filter(|_| self.is_plain()), samples.floats())
        {
            scratch.column.reset(self.steps.count);
            sweep(&self.sweep(times, values), &mut scratch.column.floats);
            self.note_quantile(&scratch.column, notes);
        } else {
            samples.split(&mut scratch.split);
            self.fill_from_split(budget, labels, notes, scratch)?;
        }
        self.note_non_counter(labels, notes, scratch);
        Ok(())
    }

    fn sweep<'s>(&'s self, times: &'s [i64], values: &'s [f64]) -> Sweep<'s> {
        Sweep { times, values, window: self.window, steps: self.steps, scalars: &self.scalars }
    }

    /// Evaluates the function at every step, window by window.
    fn fill_from_split(
        &self,
        budget: &Budget,
        labels: &Labels,
        notes: &mut Notes,
        scratch: &mut Scratch,
    ) -> Evaluates<()> {
        let Scratch { split: samples, column, .. } = scratch;
        column.reset(self.steps.count);
        if let Some(sweep) = self.body.sweep.filter(|_| self.is_plain() && samples.histograms.is_empty()) {
            sweep(&self.sweep(&samples.times, &samples.values), &mut column.floats);
            self.note_quantile(column, notes);
            return Ok(());
        }
        let mut scalars = vec![0.0; self.scalars.len()];
        let (mut floats, mut histograms) = (0..0, 0..0);
        let uses_starts = self.uses_starts();
        for step in 0..self.steps.count {
            // One series may have many steps and long windows.
            budget.check()?;
            let end_ms = self.window.end(self.steps.at(step));
            let (after, upto) =
                (end_ms.saturating_sub(self.back_ms()), end_ms.saturating_add(self.ahead_ms()));
            slide(&mut floats, &samples.times, after, upto);
            slide(&mut histograms, &samples.histogram_times, after, upto);
            if floats.is_empty() && histograms.is_empty() {
                continue;
            }
            scalars.iter_mut().zip(&self.scalars).for_each(|(scalar, values)| *scalar = values[step]);
            let starts = |starts| if uses_starts { starts } else { &[][..] };
            let view = View {
                times: &samples.times[floats.clone()],
                values: &samples.values[floats.clone()],
                starts: starts(samples.starts.get(floats.clone()).unwrap_or_default()),
                histogram_times: &samples.histogram_times[histograms.clone()],
                histograms: &samples.histograms[histograms.clone()],
                histogram_starts: starts(
                    samples.histogram_starts.get(histograms.clone()).unwrap_or_default(),
                ),
                start_ms: end_ms.saturating_sub(self.window.range_ms),
                end_ms,
                range_ms: self.window.range_ms,
                step_ms: self.steps.at(step),
                edge: self.edge,
            };
            let mut site = Site { labels, scalars: &scalars, span: self.span, notes };
            if let Some(point) = (self.body.body)(&view, &mut site)? {
                column.set(step, point);
            }
        }
        Ok(())
    }

    /// Adds the scratch's column as a series, unless it is empty.
    fn finish_series(
        &self,
        rows: &mut Rows<'_>,
        labels: Labels,
        input_drops_name: bool,
        options: Options,
        scratch: &mut Scratch,
    ) -> Evaluates<()> {
        if !scratch.column.has_any() {
            return Ok(());
        }
        let column = std::mem::take(&mut scratch.column);
        let mut row = Row { labels, drop_name: input_drops_name, column };
        if input_drops_name || !self.function.keeps_name {
            row.lose_name(options);
        }
        Ok(rows.push_charged(row)?)
    }

    /// What `quantile_over_time` says of its first argument window by window, where all were taken at once.
    fn note_quantile(&self, column: &Column, notes: &mut Notes) {
        if self.function.name != "quantile_over_time" {
            return;
        }
        for (step, q) in self.scalars[0].iter().enumerate() {
            if !(0.0..=1.0).contains(q) && column.is_present(step) {
                notes.add(Note::quantile(*q, self.span));
            }
        }
    }

    /// A rate of something whose name does not say that it counts.
    fn note_non_counter(&self, labels: &Labels, notes: &mut Notes, scratch: &mut Scratch) {
        if !matches!(self.function.name, "rate" | "increase") {
            return;
        }
        let name = labels.metric_name().unwrap_or_default();
        let counts = ["_total", "_sum", "_count", "_bucket"].iter().any(|suffix| name.ends_with(suffix));
        let typed = self.options.type_and_unit_labels;
        if name.is_empty() || !typed && (counts || scratch.noted == name) {
            return;
        }
        if scratch.column.floats.iter().all(|value| crate::column::is_absent(*value)) {
            return;
        }
        if typed {
            let kind = labels.get("__type__").unwrap_or_default();
            if kind != "counter" && kind != "histogram" {
                notes.add(Note::type_is_no_counter(name, kind, self.span));
            }
        } else {
            notes.add(Note::possible_non_counter(name, self.span));
            name.clone_into(&mut scratch.noted);
        }
    }
}
