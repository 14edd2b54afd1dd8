//! Functions of numbers.

use std::f64::consts::PI;

use crate::column::{ABSENT, Column, Point, Row, Rows, is_absent};
use crate::eval::{Evaluated, Evaluates, Evaluator, math};
use crate::functions::{Call, absent_labels, lone_row};

pub(super) fn rad(value: f64) -> f64 {
    value * PI / 180.0
}

pub(super) fn deg(value: f64) -> f64 {
    value * 180.0 / PI
}

/// -1, 0 or 1; NaN and signed zeros stay what they are.
pub(super) fn sgn(value: f64) -> f64 {
    if value < 0.0 {
        -1.0
    } else if value > 0.0 {
        1.0
    } else {
        value
    }
}

pub(super) fn pi<'a>(_: &mut Evaluator<'a>, call: &mut Call<'_, 'a>) -> Evaluates<Evaluated<'a>> {
    Ok(Evaluated::Scalar(vec![PI; call.steps.count]))
}

/// To the nearest multiple; halves go up.
pub(super) fn round<'a>(evaluator: &mut Evaluator<'a>, call: &mut Call<'_, 'a>) -> Evaluates<Evaluated<'a>> {
    let rows = call.rows(0, evaluator);
    let nearest = call.scalar(1);
    let inverse = |step: usize| 1.0 / nearest.get(step).copied().unwrap_or(1.0);
    Ok(each_float(evaluator, rows, |step, value| {
        let inverse = inverse(step);
        (value * inverse + 0.5).floor() / inverse
    }))
}

/// Applies a function of step and float to all floats, in place; histograms and names go.
pub(super) fn each_float<'a>(
    evaluator: &Evaluator<'a>,
    mut rows: Rows<'a>,
    function: impl Fn(usize, f64) -> f64,
) -> Evaluated<'a> {
    for row in &mut rows.rows {
        row.column.histograms = Vec::new();
        for (step, value) in row.column.floats.iter_mut().enumerate() {
            if !is_absent(*value) {
                *value = function(step, *value);
            }
        }
        evaluator.drop_name(row);
    }
    Evaluated::Rows(rows)
}

pub(super) fn clamp<'a>(evaluator: &mut Evaluator<'a>, call: &mut Call<'_, 'a>) -> Evaluates<Evaluated<'a>> {
    let rows = call.rows(0, evaluator);
    let (low, high) = (call.scalar(1), call.scalar(2));
    Ok(each_float(evaluator, rows, |step, value| {
        // Where the bounds contradict each other there is nothing.
        if high[step] < low[step] { ABSENT } else { math::max(low[step], math::min(high[step], value)) }
    }))
}

pub(super) fn clamp_min<'a>(
    evaluator: &mut Evaluator<'a>,
    call: &mut Call<'_, 'a>,
) -> Evaluates<Evaluated<'a>> {
    let rows = call.rows(0, evaluator);
    let low = call.scalar(1);
    Ok(each_float(evaluator, rows, |step, value| math::max(low[step], value)))
}

pub(super) fn clamp_max<'a>(
    evaluator: &mut Evaluator<'a>,
    call: &mut Call<'_, 'a>,
) -> Evaluates<Evaluated<'a>> {
    let rows = call.rows(0, evaluator);
    let high = call.scalar(1);
    Ok(each_float(evaluator, rows, |step, value| math::max(f64::NEG_INFINITY, math::min(high[step], value))))
}

/// The only float of the vector; NaN where there is none or more than one.
pub(super) fn scalar<'a>(evaluator: &mut Evaluator<'a>, call: &mut Call<'_, 'a>) -> Evaluates<Evaluated<'a>> {
    let rows = call.rows(0, evaluator);
    let only = |step: usize| {
        let mut floats =
            rows.rows.iter().map(|row| row.column.floats[step]).filter(|value| !is_absent(*value));
        match (floats.next(), floats.next()) {
            (Some(value), None) => value,
            _ => f64::NAN,
        }
    };
    Ok(Evaluated::Scalar((0..call.steps.count).map(only).collect()))
}

pub(super) fn vector<'a>(evaluator: &mut Evaluator<'a>, call: &mut Call<'_, 'a>) -> Evaluates<Evaluated<'a>> {
    lone_row(evaluator, call.scalar(0).to_vec())
}

pub(super) fn min_of<'a>(_: &mut Evaluator<'a>, call: &mut Call<'_, 'a>) -> Evaluates<Evaluated<'a>> {
    Ok(pairwise(call, math::min))
}

pub(super) fn max_of<'a>(_: &mut Evaluator<'a>, call: &mut Call<'_, 'a>) -> Evaluates<Evaluated<'a>> {
    Ok(pairwise(call, math::max))
}

fn pairwise<'a>(call: &Call<'_, 'a>, function: fn(f64, f64) -> f64) -> Evaluated<'a> {
    Evaluated::Scalar(call.scalar(0).iter().zip(call.scalar(1)).map(|(a, b)| function(*a, *b)).collect())
}

/// 1 at each step where the vector is empty.
pub(super) fn absent<'a>(evaluator: &mut Evaluator<'a>, call: &mut Call<'_, 'a>) -> Evaluates<Evaluated<'a>> {
    let found = call.rows(0, evaluator);
    let mut column = Column::absent(call.steps.count);
    for step in 0..call.steps.count {
        if !found.rows.iter().any(|row| row.column.is_present(step)) {
            column.set(step, Point::Float(1.0));
        }
    }
    let mut rows = Rows::none(evaluator.budget);
    let labels = absent_labels(evaluator.expr, evaluator.expr.unwrap(call.args[0]));
    rows.push(Row::new(labels, column))?;
    Ok(Evaluated::Rows(rows))
}
