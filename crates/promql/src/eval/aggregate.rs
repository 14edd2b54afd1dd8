//! Aggregations: series fold into groups, column by column.

use std::collections::HashMap;

use model::Labels;
use model::labels::METRIC_NAME;

use crate::annotation::Note;
use crate::ast::{Aggregate, AggregateOp, Span};
use crate::column::{Column, Point, Row, Rows, Steps, is_absent};
use crate::eval::choose::Selection;
use crate::eval::math::{self, KahanSum, Mean};
use crate::eval::{EvalError, Evaluates, Evaluator};
use crate::histogram::sum::HistogramFold;
use crate::text::{float_plain, quoted_bytes};

impl<'a> Evaluator<'a> {
    pub(crate) fn aggregate(&mut self, aggregate: &Aggregate, steps: Steps) -> Evaluates<Rows<'a>> {
        if aggregate.op == AggregateOp::CountValues {
            return self.count_values(aggregate, steps);
        }
        if let Some(rows) = self.aggregate_as_read(aggregate, steps)? {
            return Ok(rows);
        }
        let params = match aggregate.param {
            Some(param) => self.eval_scalar(param, steps)?,
            None => Vec::new(),
        };
        let mut rows = self.eval_rows(aggregate.expr, steps)?;
        if aggregate.op == AggregateOp::Limitk {
            // Which are the first is a matter of labels, not of where they lie.
            rows.rows.sort_unstable_by(|a, b| a.labels.cmp(&b.labels));
        }
        let grouping = Grouping::new(aggregate);
        let (groups, labels) = grouping.assign(&rows.rows);
        match aggregate.op {
            op if op.selects() => {
                let select =
                    Selection { aggregate, params: &params, groups: &groups, count: labels.len(), steps };
                self.select(&select, rows)
            }
            _ => self.fold(aggregate, &params, &rows, &groups, labels, steps),
        }
    }

    fn fold(
        &mut self,
        aggregate: &Aggregate,
        params: &[f64],
        rows: &Rows<'a>,
        groups: &[usize],
        labels: Vec<Labels>,
        steps: Steps,
    ) -> Evaluates<Rows<'a>> {
        let span = self.span(aggregate.expr);
        if let Some(param) = aggregate.param {
            let span = self.span(param);
            quantile_notes(params, |q| self.notes.add(Note::quantile(q, span)));
        }
        let mut out = Rows::none(self.budget);
        let mut members = vec![Vec::new(); labels.len()];
        groups.iter().enumerate().for_each(|(row, group)| members[*group].push(&rows.rows[row]));
        for (labels, members) in labels.into_iter().zip(members) {
            self.budget.check()?;
            out.charge.add_row(steps.count)?;
            let column = match aggregate.op {
                AggregateOp::Sum | AggregateOp::Avg => self.sum_or_mean(aggregate.op, &members, span, steps),
                AggregateOp::Quantile => self.quantile(params, &members, span, steps),
                AggregateOp::Count | AggregateOp::Group => count(aggregate.op, &members, steps),
                op => self.floats_only(op, &members, span, steps),
            };
            // A group's name goes if any of its series lost its name.
            let drop_name = members.iter().any(|row| row.drop_name);
            if column.has_any() {
                out.push_charged(Row { labels, drop_name, column })?;
            }
        }
        Ok(out)
    }

    fn sum_or_mean(&mut self, op: AggregateOp, members: &[&Row], span: Span, steps: Steps) -> Column {
        if members.iter().any(|row| !row.column.histograms.is_empty()) {
            return self.sum_or_mean_mixed(op, members, span, steps);
        }
        if op == AggregateOp::Avg {
            let means = accumulate(members, steps, Mean::of, |mean, value| mean.add(value));
            return column(&means, |mean| mean.value());
        }
        let sums = accumulate(members, steps, KahanSum::of, |sum, value| sum.add(value));
        column(&sums, |sum| sum.value())
    }

    /// Where histograms are among the members, each step is decided by itself: floats and histograms do not mix.
    fn sum_or_mean_mixed(&mut self, op: AggregateOp, members: &[&Row], span: Span, steps: Steps) -> Column {
        let mut column = Column::absent(steps.count);
        for step in 0..steps.count {
            let (mut floats, mut histograms) = (Vec::new(), Vec::new());
            for row in members {
                match row.column.get(step) {
                    Some(Point::Float(value)) => floats.push(value),
                    Some(Point::Histogram(h)) => {
                        histograms.push((h, row.labels.metric_name().unwrap_or_default()))
                    }
                    None => {}
                }
            }
            if !floats.is_empty() && !histograms.is_empty() {
                self.notes.add(Note::mixed_in_aggregation(span));
            } else if let Some((first, rest)) = floats.split_first() {
                let mut sum = KahanSum::of(*first);
                let mut mean = Mean::of(*first);
                rest.iter().for_each(|value| {
                    sum.add(*value);
                    mean.add(*value);
                });
                column
                    .set(step, Point::Float(if op == AggregateOp::Sum { sum.value() } else { mean.value() }));
            } else if let Some((first, rest)) = histograms.split_first() {
                let mut fold = HistogramFold::new(&first.0, op == AggregateOp::Avg);
                for (histogram, metric) in rest {
                    if fold.add(histogram).is_err() {
                        self.notes.add(Note::mixed_schemas(metric, span));
                        break;
                    }
                }
                fold.remarks("aggregation", span).into_iter().for_each(|note| self.notes.add(note));
                if let Some(histogram) = fold.value() {
                    column.set(step, Point::Histogram(histogram.into()));
                }
            }
        }
        column
    }

    fn note_ignored(&mut self, op: AggregateOp, members: &[&Row], span: Span) {
        if members.iter().any(|row| row.column.histograms.iter().any(Option::is_some)) {
            self.notes.add(Note::histogram_ignored_in_aggregation(op.as_str(), span));
        }
    }

    fn floats_only(&mut self, op: AggregateOp, members: &[&Row], span: Span, steps: Steps) -> Column {
        self.note_ignored(op, members, span);
        match op {
            AggregateOp::Min => {
                let keep =
                    |old: &mut f64, new: f64| *old = if *old > new || old.is_nan() { new } else { *old };
                column(&accumulate(members, steps, |first| first, keep), |value| *value)
            }
            AggregateOp::Max => {
                let keep =
                    |old: &mut f64, new: f64| *old = if *old < new || old.is_nan() { new } else { *old };
                column(&accumulate(members, steps, |first| first, keep), |value| *value)
            }
            op => {
                let variances =
                    accumulate(members, steps, Variance::of, |variance, value| variance.add(value));
                let deviation = op == AggregateOp::Stddev;
                column(
                    &variances,
                    |variance| if deviation { variance.value().sqrt() } else { variance.value() },
                )
            }
        }
    }

    fn quantile(&mut self, params: &[f64], members: &[&Row], span: Span, steps: Steps) -> Column {
        self.note_ignored(AggregateOp::Quantile, members, span);
        let (mut out, mut values) = (Column::absent(steps.count), Vec::with_capacity(members.len()));
        for (step, q) in params.iter().enumerate().take(steps.count) {
            values.clear();
            values
                .extend(members.iter().map(|row| row.column.floats[step]).filter(|value| !is_absent(*value)));
            if !values.is_empty() {
                out.floats[step] = math::quantile(*q, &mut values);
            }
        }
        out
    }

    fn count_values(&mut self, aggregate: &Aggregate, steps: Steps) -> Evaluates<Rows<'a>> {
        let label = aggregate.param.map(|param| self.string(param)).unwrap_or_default();
        let name = std::str::from_utf8(label).ok().filter(|name| !name.is_empty());
        let Some(name) = name else {
            return Err(EvalError::Execution(format!("invalid label name {}", quoted_bytes(label))));
        };
        let rows = self.eval_rows(aggregate.expr, steps)?;
        let grouping = Grouping::new(aggregate);
        // The value replaces a label of that name; `without` may take it away again.
        let shown = !(aggregate.without && grouping.labels.contains(&name));
        let mut bases: HashMap<Labels, usize> = HashMap::new();
        let mut places: HashMap<(usize, ValueKey), usize> = HashMap::new();
        let mut out = Rows::none(self.budget);
        for row in &rows.rows {
            self.budget.check()?;
            let others: Labels = row.labels.iter().filter(|(label, _)| *label != name).collect();
            let base = grouping.labels_of(&others);
            let next_base = bases.len();
            let number = *bases.entry(base.clone()).or_insert(next_base);
            for (step, point) in row.column.points() {
                let next = out.rows.len();
                let place = *places.entry((number, ValueKey::of(&point))).or_insert(next);
                if place == next {
                    let value = text_of(&point);
                    let valued = base.iter().chain([(name, value.as_str())].into_iter().filter(|_| shown));
                    out.push(Row::new(valued.collect(), Column::absent(steps.count)))?;
                }
                let count = &mut out.rows[place].column.floats[step];
                *count = if is_absent(*count) { 1.0 } else { *count + 1.0 };
            }
        }
        if !shown {
            return self.finish(sum_same_labels(out), steps);
        }
        self.finish(out, steps)
    }
}

/// A value as `count_values` tells values apart: by what they print as.
#[derive(PartialEq, Eq, Hash)]
enum ValueKey {
    Float(u64),
    Histogram(String),
}

impl ValueKey {
    fn of(point: &Point) -> Self {
        match point {
            Point::Float(value) if value.is_nan() => Self::Float(f64::NAN.to_bits()),
            Point::Float(value) => Self::Float(value.to_bits()),
            Point::Histogram(histogram) => Self::Histogram(histogram.to_string()),
        }
    }
}

fn text_of(point: &Point) -> String {
    match point {
        Point::Float(value) => float_plain(*value),
        Point::Histogram(histogram) => histogram.to_string(),
    }
}

/// Adds up counts of groups that turned out to be one, because the value is not among their labels.
fn sum_same_labels(mut rows: Rows<'_>) -> Rows<'_> {
    let mut sums: Vec<Row> = Vec::new();
    for row in rows.rows {
        match sums.iter_mut().find(|sum| sum.labels == row.labels) {
            Some(sum) => {
                for (sum, count) in sum.column.floats.iter_mut().zip(&row.column.floats) {
                    *sum = match (is_absent(*sum), is_absent(*count)) {
                        (true, _) => *count,
                        (false, true) => *sum,
                        (false, false) => *sum + count,
                    };
                }
            }
            None => sums.push(row),
        }
    }
    rows.rows = sums;
    rows
}

/// One warning for each way in which the quantiles are out of range, each with its worst value.
fn quantile_notes(params: &[f64], mut note: impl FnMut(f64)) {
    if params.iter().any(|q| q.is_nan()) {
        note(f64::NAN);
    }
    let largest = params.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let smallest = params.iter().copied().fold(f64::INFINITY, f64::min);
    if largest > 1.0 {
        note(largest);
    }
    if smallest < 0.0 {
        note(smallest);
    }
}

/// Starts an accumulator at each step's first float and adds the others.
fn accumulate<T>(
    members: &[&Row],
    steps: Steps,
    first: impl Fn(f64) -> T,
    add: impl Fn(&mut T, f64),
) -> Vec<Option<T>> {
    let mut accumulators: Vec<Option<T>> = (0..steps.count).map(|_| None).collect();
    for row in members {
        for (accumulator, value) in accumulators.iter_mut().zip(&row.column.floats) {
            if is_absent(*value) {
                continue;
            }
            match accumulator {
                Some(accumulator) => add(accumulator, *value),
                None => *accumulator = Some(first(*value)),
            }
        }
    }
    accumulators
}

fn column<T>(accumulators: &[Option<T>], value: impl Fn(&T) -> f64) -> Column {
    Column::of(accumulators.iter().map(|a| a.as_ref().map_or(crate::column::ABSENT, &value)).collect())
}

fn count(op: AggregateOp, members: &[&Row], steps: Steps) -> Column {
    let mut column = Column::absent(steps.count);
    for row in members {
        for step in (0..steps.count).filter(|step| row.column.is_present(*step)) {
            let count = &mut column.floats[step];
            *count = if is_absent(*count) || op == AggregateOp::Group { 1.0 } else { *count + 1.0 };
        }
    }
    column
}

/// Welford's running variance.
#[derive(Clone, Copy, Debug)]
struct Variance {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Variance {
    fn of(first: f64) -> Self {
        let squares = if first.is_finite() { 0.0 } else { f64::NAN };
        Self { count: 1.0, mean: first, squares }
    }

    fn add(&mut self, value: f64) {
        self.count += 1.0;
        let delta = value - self.mean;
        self.mean += delta / self.count;
        self.squares += delta * (value - self.mean);
    }

    fn value(&self) -> f64 {
        self.squares / self.count
    }
}

/// Which labels make a group.
pub(crate) struct Grouping<'g> {
    pub(crate) labels: Vec<&'g str>,
    pub(crate) without: bool,
}

impl<'g> Grouping<'g> {
    pub(crate) fn new(aggregate: &'g Aggregate) -> Self {
        Self { labels: aggregate.grouping.iter().map(String::as_str).collect(), without: aggregate.without }
    }

    /// The labels of a series' group.
    pub(crate) fn labels_of(&self, labels: &Labels) -> Labels {
        if !self.without && self.labels.is_empty() {
            return Labels::default();
        }
        let kept = |name: &str| {
            let listed = self.labels.contains(&name);
            if self.without { !listed && name != METRIC_NAME } else { listed }
        };
        labels.iter().filter(|(name, _)| kept(name)).collect()
    }

    /// Each series' group, and the groups' labels.
    fn assign(&self, rows: &[Row]) -> (Vec<usize>, Vec<Labels>) {
        let (mut numbers, mut labels) = (HashMap::new(), Vec::new());
        let number = |row: &Row| {
            let key = self.labels_of(&row.labels);
            *numbers.entry(key).or_insert_with_key(|key: &Labels| {
                labels.push(key.clone());
                labels.len() - 1
            })
        };
        let groups = rows.iter().map(number).collect();
        (groups, labels)
    }
}
