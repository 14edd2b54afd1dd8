//! Functions over ranges: for each series a window slides along its samples.

use std::sync::Arc;

use model::{Hints, Labels};

use crate::annotation::{Note, Notes};
use crate::ast::{Edge, Kind, NodeId, Span, ValueType};
use crate::column::{Column, Point, Row, Rows, Steps};
use crate::eval::plan::Window;
use crate::eval::select::RangeSamples;
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

/// Everything that one call needs for each of its series.
struct Slide<'c> {
    function: &'static Function,
    body: RangeBody,
    scalars: Vec<Vec<f64>>,
    window: Window,
    steps: Steps,
    edge: Edge,
    span: Span,
    lookback_ms: i64,
    options: &'c Options,
}

impl<'a> Evaluator<'a> {
    pub(crate) fn range_call(
        &mut self,
        function: &'static Function,
        body: RangeBody,
        args: &[NodeId],
        steps: Steps,
    ) -> Evaluates<Rows<'a>> {
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
        };
        let mut rows = Rows::none(self.budget);
        if subquery {
            self.slide_over_subquery(&slide, matrix, &mut rows)?;
        } else if let Kind::Matrix { selector: inner, .. } = &expr.node(matrix).kind
            && let Kind::Vector(selector) = &expr.node(*inner).kind
        {
            slide.edge = selector.edge;
            slide.check_edge()?;
            let range = self.select_range(slide.window, steps, slide.back_ms(), slide.ahead_ms());
            let hints = Hints {
                function: function.name.to_owned(),
                window_ms: slide.window.range_ms,
                step_ms: self.params.step_ms,
                ..Hints::default()
            };
            let mut split = RangeSamples::default();
            self.for_each_series(*inner, selector, range, &hints, |this, labels, samples| {
                samples.split(&mut split);
                slide.series(this, &mut rows, labels, false, &split)
            })?;
            rows.rows.sort_by(|a, b| a.labels.cmp(&b.labels));
        }
        if function.name == "absent_over_time" {
            return self.absent_over_time(&rows, matrix, steps);
        }
        if !self.params.options.delayed_name_removal && has_same_labels(&rows) {
            return Err(EvalError::same_labels());
        }
        Ok(rows)
    }

    fn slide_over_subquery(&mut self, slide: &Slide<'_>, id: NodeId, rows: &mut Rows<'a>) -> Evaluates<()> {
        let (inner, inner_steps) = self.subquery_rows(id, slide.steps)?;
        let mut split = RangeSamples::default();
        for row in inner.rows {
            self.budget.check()?;
            split.read_column(&row.column, inner_steps);
            slide.series(self, rows, row.labels, row.drop_name, &split)?;
        }
        Ok(())
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

    /// Evaluates the function at every step of one series and adds the result, unless it is empty.
    fn series(
        &self,
        evaluator: &mut Evaluator<'_>,
        rows: &mut Rows<'_>,
        labels: Labels,
        input_drops_name: bool,
        samples: &RangeSamples,
    ) -> Evaluates<()> {
        rows.charge.add_row(self.steps.count)?;
        let mut column = Column::absent(self.steps.count);
        let mut scalars = vec![0.0; self.scalars.len()];
        let (mut floats, mut histograms) = (0..0, 0..0);
        // Only these functions know start times.
        let uses_starts = self.options.start_timestamps
            && matches!(self.function.name, "rate" | "irate" | "increase" | "resets");
        for step in 0..self.steps.count {
            // One series may have many steps and long windows.
            evaluator.budget.check()?;
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
            let mut site =
                Site { labels: &labels, scalars: &scalars, span: self.span, notes: &mut evaluator.notes };
            if let Some(point) = (self.body)(&view, &mut site)? {
                column.set(step, point);
            }
        }
        if !column.has_any() {
            return Ok(());
        }
        self.note_non_counter(evaluator, &labels, &column);
        let mut row = Row { labels, drop_name: input_drops_name, column };
        if input_drops_name || !self.function.keeps_name {
            evaluator.drop_name(&mut row);
        }
        rows.rows.push(row);
        Ok(())
    }

    /// A rate of something whose name does not say that it counts.
    fn note_non_counter(&self, evaluator: &mut Evaluator<'_>, labels: &Labels, column: &Column) {
        let name = labels.metric_name().unwrap_or_default();
        let counts = ["_total", "_sum", "_count", "_bucket"].iter().any(|suffix| name.ends_with(suffix));
        if !matches!(self.function.name, "rate" | "increase") || name.is_empty() {
            return;
        }
        if column.floats.iter().all(|value| crate::column::is_absent(*value)) {
            return;
        }
        if self.options.type_and_unit_labels {
            let kind = labels.get("__type__").unwrap_or_default();
            if kind != "counter" && kind != "histogram" {
                evaluator.notes.add(Note::type_is_no_counter(name, kind, self.span));
            }
        } else if !counts {
            evaluator.notes.add(Note::possible_non_counter(name, self.span));
        }
    }
}

/// Moves a range of indexes on to the times in `(after, upto]`. Windows mostly move forward; under `@` they stay.
fn slide(range: &mut std::ops::Range<usize>, times: &[i64], after: i64, upto: i64) {
    if after == upto {
        *range = range.end..range.end;
        return;
    }
    while range.end < times.len() && times[range.end] <= upto {
        range.end += 1;
    }
    while range.start < range.end && times[range.start] <= after {
        range.start += 1;
    }
}
