//! Functions of time.

use crate::ast::{Kind, NodeId};
use crate::column::{ABSENT, Rows, Steps, is_absent};
use crate::eval::{Evaluated, Evaluates, Evaluator};
use crate::functions::calendar::Date;
use crate::functions::math::each_float;
use crate::functions::{Call, lone_row};

pub(super) fn time<'a>(_: &mut Evaluator<'a>, call: &mut Call<'_, 'a>) -> Evaluates<Evaluated<'a>> {
    Ok(Evaluated::Scalar(call.steps.times().map(|ms| ms as f64 / 1000.0).collect()))
}

/// The first step of the whole query.
pub(super) fn start<'a>(evaluator: &mut Evaluator<'a>, call: &mut Call<'_, 'a>) -> Evaluates<Evaluated<'a>> {
    Ok(constant(call, evaluator.params.start_ms))
}

/// The end of the whole query.
pub(super) fn end<'a>(evaluator: &mut Evaluator<'a>, call: &mut Call<'_, 'a>) -> Evaluates<Evaluated<'a>> {
    Ok(constant(call, evaluator.params.end_ms))
}

/// The step of the whole query; 0 for a single time.
pub(super) fn step<'a>(evaluator: &mut Evaluator<'a>, call: &mut Call<'_, 'a>) -> Evaluates<Evaluated<'a>> {
    let params = evaluator.params;
    Ok(constant(call, if params.start_ms == params.end_ms { 0 } else { params.step_ms }))
}

/// From the first to the last time of the whole query.
pub(super) fn range<'a>(evaluator: &mut Evaluator<'a>, call: &mut Call<'_, 'a>) -> Evaluates<Evaluated<'a>> {
    Ok(constant(call, evaluator.params.end_ms.saturating_sub(evaluator.params.start_ms)))
}

fn constant<'a>(call: &Call<'_, 'a>, millis: i64) -> Evaluated<'a> {
    Evaluated::Scalar(vec![millis as f64 / 1000.0; call.steps.count])
}

/// The time of the sample for a bare selector, the evaluation time for everything else.
pub(super) fn timestamp<'a>(
    evaluator: &mut Evaluator<'a>,
    _: NodeId,
    args: &[NodeId],
    steps: Steps,
) -> Evaluates<Evaluated<'a>> {
    let (expr, arg) = (evaluator.expr, evaluator.expr.unwrap(args[0]));
    let mut rows = match &expr.node(arg).kind {
        Kind::Vector(selector) => evaluator.selector_times(arg, selector, steps)?,
        _ => {
            let mut rows = evaluator.eval_rows(arg, steps)?;
            for row in &mut rows.rows {
                let times = (0..steps.count).map(|step| {
                    if row.column.is_present(step) { steps.at(step) as f64 / 1000.0 } else { ABSENT }
                });
                row.column.floats = times.collect();
                row.column.histograms = Vec::new();
            }
            rows
        }
    };
    rows.rows.iter_mut().for_each(|row| evaluator.drop_name(row));
    Ok(Evaluated::Rows(evaluator.finish(rows, steps)?))
}

/// The start time of the sample for a bare selector; nothing for everything else.
pub(super) fn start_timestamp<'a>(
    evaluator: &mut Evaluator<'a>,
    _: NodeId,
    args: &[NodeId],
    steps: Steps,
) -> Evaluates<Evaluated<'a>> {
    let (expr, arg) = (evaluator.expr, evaluator.expr.unwrap(args[0]));
    let mut rows = match &expr.node(arg).kind {
        Kind::Vector(selector) if evaluator.params.options.start_timestamps => {
            evaluator.selector_starts(arg, selector, steps)?
        }
        _ => Rows::none(evaluator.budget),
    };
    rows.rows.iter_mut().for_each(|row| evaluator.drop_name(row));
    Ok(Evaluated::Rows(evaluator.finish(rows, steps)?))
}

macro_rules! date_functions {
    ($($name:ident: $part:expr),* $(,)?) => {
        $(pub(super) fn $name<'a>(
            evaluator: &mut Evaluator<'a>,
            call: &mut Call<'_, 'a>,
        ) -> Evaluates<Evaluated<'a>> {
            of_date(evaluator, call, $part)
        })*
    };
}

date_functions! {
    minute: |date| f64::from(date.minute),
    hour: |date| f64::from(date.hour),
    day_of_month: |date| f64::from(date.day),
    day_of_week: |date| f64::from(date.day_of_week),
    day_of_year: |date| f64::from(date.day_of_year),
    days_in_month: |date| f64::from(date.days_in_month()),
    month: |date| f64::from(date.month),
    year: |date| date.year as f64,
}

/// A part of the dates that the samples' values are, or of the evaluation time.
fn of_date<'a>(
    evaluator: &mut Evaluator<'a>,
    call: &mut Call<'_, 'a>,
    part: fn(Date) -> f64,
) -> Evaluates<Evaluated<'a>> {
    if call.args.is_empty() {
        let values = call.steps.times().map(|ms| part(Date::of((ms / 1000) as f64))).collect();
        return lone_row(evaluator, values);
    }
    let rows = call.rows(0, evaluator);
    Ok(each_float(evaluator, rows, |_, value| if is_absent(value) { value } else { part(Date::of(value)) }))
}
