//! The evaluation: each node becomes columns over all steps at once.
//!
//! What does not change from step to step (constants, everything under `@`) is evaluated at the first step and
//! repeated. Chains of operators are walked down their left side, not recursed into; all else nests no deeper than
//! the parser allows.

pub(crate) mod aggregate;
pub(crate) mod binary;
mod choose;
pub(crate) mod fold;
pub(crate) mod groups;
pub(crate) mod math;
pub(crate) mod plan;
pub(crate) mod range;
pub(crate) mod samples;
pub(crate) mod scan;
pub(crate) mod select;
pub(crate) mod sweep;

use std::collections::HashMap;

use model::select::Stop;
use model::{Budget, Labels};

use crate::annotation::Notes;
use crate::ast::{Expr, Kind, NodeId, Span, ValueType};
use crate::column::{Charge, Column, Point, Row, Rows, Steps};
use crate::functions::{self, Body, Call};
use crate::points::Points;
use crate::source::{Source, SourceError};
use plan::Plan;

/// How far back an instant selector looks, by default.
pub const LOOKBACK_MS: i64 = 5 * 60 * 1000;

/// Distance of a subquery's steps where it names none, by default.
pub const SUBQUERY_STEP_MS: i64 = 60 * 1000;

/// What changes the meaning of a query; upstream's feature flags of the same names, all off by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `promql-delayed-name-removal`: names go at the end of the query, so they can be used within it.
    pub delayed_name_removal: bool,
    /// `use-start-timestamps`: start times tell resets.
    pub start_timestamps: bool,
    /// `type-and-unit-labels`: `__type__` tells counters.
    pub type_and_unit_labels: bool,
}

/// When and how an expression is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Params {
    /// First step, ms.
    pub start_ms: i64,
    /// Last step at most, ms.
    pub end_ms: i64,
    /// Distance of the steps in ms; 0 = an instant query at `start_ms`.
    pub step_ms: i64,
    /// How old a sample may be that an instant selector takes; the bound itself is too old.
    pub lookback_ms: i64,
    /// Distance of a subquery's steps where it names none.
    pub subquery_step_ms: i64,
    /// What changes the meaning of the query.
    pub options: Options,
    /// Threads that may work on it; one is enough for a small query.
    pub threads: usize,
}

impl Params {
    /// At one time.
    pub fn instant(at_ms: i64) -> Self {
        Self {
            start_ms: at_ms,
            end_ms: at_ms,
            step_ms: 0,
            lookback_ms: LOOKBACK_MS,
            subquery_step_ms: SUBQUERY_STEP_MS,
            options: Options::default(),
            threads: 1,
        }
    }

    /// At all times from `start_ms` to `end_ms`, `step_ms` apart.
    pub fn range(start_ms: i64, end_ms: i64, step_ms: i64) -> Self {
        Self { end_ms, step_ms, ..Self::instant(start_ms) }
    }

    fn is_instant(&self) -> bool {
        self.step_ms == 0
    }
}

/// Why there is no answer. The server's `errorType` follows from the variant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// Occurs when the query as a whole makes no sense, whatever the data: `bad_data`.
    #[error("{0}")]
    Invalid(String),
    /// Occurs when the data does not fit the query: `execution`.
    #[error("{0}")]
    Execution(String),
    /// Occurs when the query's memory ran out (`execution`) or it was told to stop (`canceled`, or `timeout` when
    /// that is why the caller stopped it).
    #[error(transparent)]
    Stop(#[from] Stop),
    /// Occurs when the source cannot be read: `internal`.
    #[error("{0}")]
    Storage(String),
}

impl From<SourceError> for EvalError {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::Stop(stop) => Self::Stop(stop),
            SourceError::Storage(text) => Self::Storage(text),
        }
    }
}

impl EvalError {
    pub(crate) fn same_labels() -> Self {
        Self::Execution("vector cannot contain metrics with the same labelset".into())
    }
}

/// A sample of an instant answer.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorSample {
    /// The series.
    pub labels: Labels,
    /// The evaluation time, ms.
    pub timestamp_ms: i64,
    /// The value.
    pub point: Point,
}

/// A series of a range answer.
#[derive(Clone, Debug, PartialEq)]
pub struct MatrixSeries {
    /// The series.
    pub labels: Labels,
    /// Its samples.
    pub points: Points,
}

/// An answer's value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A number at a time.
    Scalar(i64, f64),
    /// A string at a time.
    String(i64, String),
    /// Samples at one time, in the order of the query.
    Vector(Vec<VectorSample>),
    /// Series, sorted by labels.
    Matrix(Vec<MatrixSeries>),
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The value.
    pub value: Value,
    /// What may make it differ from what was meant.
    pub warnings: Vec<String>,
    /// Remarks.
    pub infos: Vec<String>,
}

/// Evaluates an expression at one time or over a range of them.
pub fn evaluate(
    source: &dyn Source,
    expr: &Expr,
    params: &Params,
    budget: &Budget,
) -> Result<Answer, EvalError> {
    let value_type = expr.value_type();
    if !params.is_instant() && !matches!(value_type, ValueType::Scalar | ValueType::Vector) {
        return Err(EvalError::Invalid(format!(
            "invalid expression type \"{}\" for range query, must be Scalar or instant Vector",
            value_type.documented()
        )));
    }
    let plan = Plan::new(expr, params)?;
    let mut evaluator = Evaluator {
        expr,
        plan: &plan,
        source,
        budget,
        params,
        notes: Notes::default(),
        warnings: Vec::new(),
    };
    let steps = Steps::between(params.start_ms, params.end_ms, params.step_ms);
    let value = evaluator.answer(steps, value_type)?;
    let (mut warnings, infos) = evaluator.notes.print(expr);
    warnings.append(&mut evaluator.warnings);
    Ok(Answer { value, warnings, infos })
}

/// A node's value over the steps.
#[derive(Debug)]
pub(crate) enum Evaluated<'b> {
    /// A number at each step.
    Scalar(Vec<f64>),
    /// Series.
    Rows(Rows<'b>),
    /// A string.
    String(Vec<u8>),
}

pub(crate) type Evaluates<T> = Result<T, EvalError>;

pub(crate) struct Evaluator<'a> {
    pub(crate) expr: &'a Expr,
    plan: &'a Plan,
    source: &'a dyn Source,
    pub(crate) budget: &'a Budget,
    pub(crate) params: &'a Params,
    pub(crate) notes: Notes,
    /// Warnings of the source.
    warnings: Vec<String>,
}

impl<'a> Evaluator<'a> {
    fn answer(&mut self, steps: Steps, value_type: ValueType) -> Evaluates<Value> {
        let root = self.expr.root();
        if value_type == ValueType::Matrix {
            return self.matrix_answer(self.expr.unwrap(root), steps);
        }
        let rows = match self.eval(root, steps)? {
            Evaluated::String(bytes) => {
                return Ok(Value::String(steps.start_ms, String::from_utf8_lossy(&bytes).into_owned()));
            }
            Evaluated::Scalar(values) if self.params.is_instant() => {
                return Ok(Value::Scalar(steps.start_ms, values.first().copied().unwrap_or(f64::NAN)));
            }
            Evaluated::Scalar(values) => vec![Row::new(Labels::default(), Column::of(values))],
            Evaluated::Rows(rows) => self.remove_delayed_names(rows)?.rows,
        };
        if self.params.is_instant() {
            let sample = |row: Row| {
                let point = row.column.get(0)?;
                Some(VectorSample { labels: row.labels, timestamp_ms: steps.start_ms, point })
            };
            let mut samples: Vec<VectorSample> = rows.into_iter().filter_map(sample).collect();
            if !self.has_order(root) {
                samples.sort_unstable_by(|a, b| a.labels.cmp(&b.labels));
            }
            return Ok(Value::Vector(samples));
        }
        let series =
            |row: Row| MatrixSeries { labels: row.labels, points: Points::at_steps(steps, row.column) };
        Ok(Value::Matrix(sorted(rows.into_iter().map(series).collect())))
    }

    /// Whether a node gives its series in an order that means something.
    fn has_order(&self, id: NodeId) -> bool {
        match &self.expr.node(self.expr.unwrap(id)).kind {
            Kind::Aggregate(aggregate) => aggregate.op.selects(),
            Kind::Call { function, .. } => function.name.starts_with("sort"),
            _ => false,
        }
    }

    /// A range selector or subquery that is the whole of an instant query: the samples with their own times.
    fn matrix_answer(&mut self, id: NodeId, steps: Steps) -> Evaluates<Value> {
        let series = match &self.expr.node(id).kind {
            Kind::Subquery(_) => {
                let (rows, inner) = self.subquery_rows(id, steps)?;
                let rows = self.remove_delayed_names(rows)?;
                let series = |row: Row| MatrixSeries {
                    labels: row.labels,
                    points: Points::at_steps(inner, row.column),
                };
                rows.rows.into_iter().map(series).collect()
            }
            _ => self.raw_samples(id, steps)?,
        };
        Ok(Value::Matrix(sorted(series)))
    }

    /// Evaluates a node at all steps.
    pub(crate) fn eval(&mut self, id: NodeId, steps: Steps) -> Evaluates<Evaluated<'a>> {
        self.budget.check()?;
        if steps.count == 0 {
            return Ok(match self.expr.type_of(id) {
                ValueType::Scalar => Evaluated::Scalar(Vec::new()),
                _ => Evaluated::Rows(Rows::none(self.budget)),
            });
        }
        // A scalar's values weigh nothing themselves; whoever works on them holds the weight of two operands.
        let mut frame = Charge::none(self.budget);
        if self.expr.type_of(id) == ValueType::Scalar {
            frame.add(steps.count.saturating_mul(2 * size_of::<f64>()))?;
        }
        if steps.count > 1 && self.plan.is_invariant(id) {
            return self.eval_once(id, steps);
        }
        self.eval_node(id, steps)
    }

    /// Evaluates what is the same at every step.
    fn eval_once(&mut self, id: NodeId, steps: Steps) -> Evaluates<Evaluated<'a>> {
        Ok(match self.eval_node(id, steps.first_only())? {
            Evaluated::Scalar(values) => Evaluated::Scalar(vec![values[0]; steps.count]),
            Evaluated::Rows(mut rows) => {
                let bytes = rows.rows.len().saturating_mul(steps.count).saturating_mul(size_of::<f64>());
                rows.charge.add(bytes)?;
                for row in &mut rows.rows {
                    row.column = row.column.repeat_first(steps.count);
                }
                Evaluated::Rows(rows)
            }
            string @ Evaluated::String(_) => string,
        })
    }

    fn eval_node(&mut self, id: NodeId, steps: Steps) -> Evaluates<Evaluated<'a>> {
        let expr = self.expr;
        match &expr.node(id).kind {
            Kind::Number { value, .. } => Ok(Evaluated::Scalar(vec![*value; steps.count])),
            Kind::String(bytes) => Ok(Evaluated::String(bytes.clone())),
            Kind::Paren(inner) => self.eval(*inner, steps),
            Kind::Unary { negative, expr } => self.unary(*negative, *expr, steps),
            Kind::Binary(_) => self.binary_chain(id, steps),
            Kind::Aggregate(aggregate) => Ok(Evaluated::Rows(self.aggregate(aggregate, steps)?)),
            Kind::Call { function, args } => self.call(id, function, args, steps),
            Kind::Vector(selector) => Ok(Evaluated::Rows(self.instant_selector(id, selector, steps)?)),
            Kind::Matrix { .. } | Kind::Subquery(_) | Kind::Duration(_) => {
                Err(EvalError::Execution("range vector where an instant vector is needed".into()))
            }
        }
    }

    pub(crate) fn eval_rows(&mut self, id: NodeId, steps: Steps) -> Evaluates<Rows<'a>> {
        match self.eval(id, steps)? {
            Evaluated::Rows(rows) => Ok(rows),
            _ => Err(EvalError::Execution("instant vector expected".into())),
        }
    }

    pub(crate) fn eval_scalar(&mut self, id: NodeId, steps: Steps) -> Evaluates<Vec<f64>> {
        match self.eval(id, steps)? {
            Evaluated::Scalar(values) => Ok(values),
            _ => Err(EvalError::Execution("scalar expected".into())),
        }
    }

    /// The bytes of a string literal.
    pub(crate) fn string(&self, id: NodeId) -> &'a [u8] {
        match &self.expr.node(self.expr.unwrap(id)).kind {
            Kind::String(bytes) => bytes,
            _ => &[],
        }
    }

    /// Where a node stands, parentheses around it not counted.
    pub(crate) fn span(&self, id: NodeId) -> Span {
        self.expr.node(self.expr.unwrap(id)).span
    }

    fn unary(&mut self, negative: bool, inner: NodeId, steps: Steps) -> Evaluates<Evaluated<'a>> {
        let value = self.eval(inner, steps)?;
        if !negative {
            return Ok(value);
        }
        match value {
            Evaluated::Scalar(values) => Ok(Evaluated::Scalar(values.into_iter().map(|v| -v).collect())),
            Evaluated::Rows(mut rows) => {
                for row in &mut rows.rows {
                    self.drop_name(row);
                    negate(&mut row.column);
                }
                if self.params.options.delayed_name_removal {
                    return Ok(Evaluated::Rows(rows));
                }
                Ok(Evaluated::Rows(merge_same_labels(rows)?))
            }
            string @ Evaluated::String(_) => Ok(string),
        }
    }

    fn call(
        &mut self,
        id: NodeId,
        function: &'static functions::Function,
        args: &[NodeId],
        steps: Steps,
    ) -> Evaluates<Evaluated<'a>> {
        match function.body {
            Body::Lazy(body) => body(self, id, args, steps),
            Body::Range(body) => Ok(Evaluated::Rows(self.range_call(function, body, args, steps)?)),
            Body::Float(body) => {
                let mut rows = self.eval_rows(args[0], steps)?;
                for row in &mut rows.rows {
                    row.column.map_floats(body);
                    self.drop_name(row);
                }
                Ok(Evaluated::Rows(self.finish(rows, steps)?))
            }
            Body::Eager(body) => {
                let values = args
                    .iter()
                    .map(|arg| self.eval(*arg, steps))
                    .collect::<Evaluates<Vec<Evaluated<'a>>>>()?;
                let value = body(self, &mut Call { args, values, steps })?;
                match value {
                    Evaluated::Rows(rows) => Ok(Evaluated::Rows(self.finish(rows, steps)?)),
                    other => Ok(other),
                }
            }
        }
    }

    /// Takes the name from a series, or marks it for that at the end.
    pub(crate) fn drop_name(&self, row: &mut Row) {
        row.lose_name(self.params.options);
    }

    /// What every operation over samples ends with: series without a sample go; series that became equal are merged
    /// where they do not meet, and are an error where they do. At a single step with delayed names the decision is
    /// left to the end.
    pub(crate) fn finish(&self, mut rows: Rows<'a>, steps: Steps) -> Evaluates<Rows<'a>> {
        rows.rows.retain(|row| row.column.has_any());
        if steps.count > 1 {
            return merge_same_labels(rows);
        }
        if !self.params.options.delayed_name_removal && has_same_labels(&rows) {
            return Err(EvalError::same_labels());
        }
        Ok(rows)
    }

    fn remove_delayed_names(&self, mut rows: Rows<'a>) -> Evaluates<Rows<'a>> {
        if !self.params.options.delayed_name_removal {
            return Ok(rows);
        }
        for row in rows.rows.iter_mut().filter(|row| row.drop_name) {
            row.labels = without_name(&row.labels);
        }
        merge_same_labels(rows)
    }
}

fn sorted(mut series: Vec<MatrixSeries>) -> Vec<MatrixSeries> {
    series.retain(|series| !series.points.is_empty());
    series.sort_by(|a, b| a.labels.cmp(&b.labels));
    series
}

fn negate(column: &mut Column) {
    for value in &mut column.floats {
        if !crate::column::is_absent(*value) {
            *value = -*value;
        }
    }
    for histogram in column.histograms.iter_mut().flatten() {
        let mut negated = (**histogram).clone();
        negated.multiply(-1.0);
        *histogram = negated.into();
    }
}

/// Labels that say what a sample is, not where it is from: they go when the value becomes something else.
const RESERVED: [&str; 3] = ["__name__", "__type__", "__unit__"];

pub(crate) fn without_name(labels: &Labels) -> Labels {
    if !labels.iter().any(|(name, _)| RESERVED.contains(&name)) {
        return labels.clone();
    }
    labels.iter().filter(|(name, _)| !RESERVED.contains(name)).collect()
}

pub(crate) fn has_same_labels(rows: &Rows<'_>) -> bool {
    let mut seen = std::collections::HashSet::with_capacity(rows.rows.len());
    !rows.rows.iter().all(|row| seen.insert(&row.labels))
}

/// Merges series with equal labels; an error where two of them have a sample at the same step.
pub(crate) fn merge_same_labels(mut rows: Rows<'_>) -> Evaluates<Rows<'_>> {
    if !has_same_labels(&rows) {
        return Ok(rows);
    }
    let mut merged: Vec<Row> = Vec::with_capacity(rows.rows.len());
    let mut places: HashMap<Labels, usize> = HashMap::new();
    for row in rows.rows {
        match places.get(&row.labels) {
            Some(at) => {
                if !merged[*at].column.take_over(&row.column) {
                    return Err(EvalError::same_labels());
                }
            }
            None => {
                places.insert(row.labels.clone(), merged.len());
                merged.push(row);
            }
        }
    }
    rows.rows = merged;
    Ok(rows)
}
