//! All functions, one row each: what they take, what they give, what is special about them, and their body.
//!
//! Parser, checker and evaluator read this table; a function is added by a row and a body.

mod calendar;
mod classic;
pub(crate) mod extended;
pub(crate) mod extrapolation;
mod histogram;
mod info;
mod label;
mod math;
mod over_time;
mod rate;
mod time;

use model::labels::METRIC_NAME;
use model::{Labels, MatchOp};

use crate::ast::{Expr, Kind, NodeId, ValueType};
use crate::column::{Column, Row, Rows, Steps};
use crate::eval::fold::Fold;
use crate::eval::range::{RangeBody, RangeFunction};
use crate::eval::sweep::SweepBody;
use crate::eval::{Evaluated, Evaluates, Evaluator};

/// A function of the language.
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// The types of its arguments.
    pub args: &'static [ValueType],
    /// How many arguments more than `args` may follow, the last of which is then optional itself: 0 = none,
    /// -1 = any number.
    pub variadic: i8,
    /// The type of its value.
    pub result: ValueType,
    /// Whether upstream keeps it behind a flag.
    pub experimental: bool,
    /// Its value changes with the evaluation time even if its arguments do not.
    pub(crate) at_unsafe: bool,
    /// Over ranges: the result is still the same quantity.
    pub(crate) keeps_name: bool,
    pub(crate) body: Body,
}

/// How a function is evaluated.
#[derive(Clone, Copy)]
pub(crate) enum Body {
    /// Each float by itself; histograms are left out.
    Float(fn(f64) -> f64),
    /// Each window of each series by itself.
    Range(RangeFunction),
    /// From the values of all arguments.
    Eager(for<'a> fn(&mut Evaluator<'a>, &mut Call<'_, 'a>) -> Evaluates<Evaluated<'a>>),
    /// Evaluates its arguments itself.
    Lazy(for<'a> fn(&mut Evaluator<'a>, NodeId, &[NodeId], Steps) -> Evaluates<Evaluated<'a>>),
}

/// A call with the values of its arguments.
pub(crate) struct Call<'c, 'a> {
    pub(crate) args: &'c [NodeId],
    pub(crate) values: Vec<Evaluated<'a>>,
    pub(crate) steps: Steps,
}

impl<'a> Call<'_, 'a> {
    /// Takes an instant vector argument; the checker has made sure that it is one.
    pub(crate) fn rows(&mut self, index: usize, evaluator: &Evaluator<'a>) -> Rows<'a> {
        match self.values.get_mut(index) {
            Some(Evaluated::Rows(rows)) => std::mem::replace(rows, Rows::none(evaluator.budget)),
            _ => Rows::none(evaluator.budget),
        }
    }

    /// A scalar argument at each step.
    pub(crate) fn scalar(&self, index: usize) -> &[f64] {
        match self.values.get(index) {
            Some(Evaluated::Scalar(values)) => values,
            _ => &[],
        }
    }
}

impl std::fmt::Debug for Function {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Function {
    /// How many arguments it takes at least and at most; `None` = any number.
    pub(crate) fn argument_counts(&self) -> (usize, Option<usize>) {
        match self.variadic {
            0 => (self.args.len(), Some(self.args.len())),
            more => (self.args.len() - 1, usize::try_from(more).ok().map(|more| self.args.len() - 1 + more)),
        }
    }
}

/// The function with this name.
pub fn lookup(name: &str) -> Option<&'static Function> {
    TABLE.iter().find(|function| function.name == name)
}

/// All functions.
pub fn all() -> &'static [Function] {
    TABLE
}

use ValueType::{Matrix as M, Scalar as S, String as T, Vector as V};

const fn row(name: &'static str, args: &'static [ValueType], result: ValueType, body: Body) -> Function {
    Function {
        name,
        args,
        variadic: 0,
        result,
        experimental: false,
        at_unsafe: false,
        keeps_name: false,
        body,
    }
}

const fn float(name: &'static str, body: fn(f64) -> f64) -> Function {
    row(name, &[V], V, Body::Float(body))
}

const fn range(name: &'static str, body: RangeBody) -> Function {
    row(name, &[M], V, over_range(body))
}

const fn over_range(body: RangeBody) -> Body {
    Body::Range(RangeFunction { body, sweep: None, fold: None })
}

const fn date(
    name: &'static str,
    body: for<'a> fn(&mut Evaluator<'a>, &mut Call<'_, 'a>) -> Evaluates<Evaluated<'a>>,
) -> Function {
    row(name, &[V], V, Body::Eager(body)).variadic(1).at_unsafe()
}

impl Function {
    const fn variadic(mut self, more: i8) -> Self {
        self.variadic = more;
        self
    }

    const fn experimental(mut self) -> Self {
        self.experimental = true;
        self
    }

    const fn at_unsafe(mut self) -> Self {
        self.at_unsafe = true;
        self
    }

    const fn keeps_name(mut self) -> Self {
        self.keeps_name = true;
        self
    }

    /// Over all windows of a series of floats at once.
    const fn sweeps(mut self, sweep: SweepBody) -> Self {
        if let Body::Range(function) = &mut self.body {
            function.sweep = Some(sweep);
        }
        self
    }

    /// Over summaries.
    const fn folds(mut self, fold: Fold) -> Self {
        if let Body::Range(function) = &mut self.body {
            function.fold = Some(fold);
        }
        self
    }
}

static TABLE: &[Function] = &[
    // Rates.
    range("rate", rate::rate).sweeps(rate::sweep_rate).folds(Fold::Change(extrapolation::RATE)),
    range("increase", rate::increase)
        .sweeps(rate::sweep_increase)
        .folds(Fold::Change(extrapolation::INCREASE)),
    range("delta", rate::delta).sweeps(rate::sweep_delta).folds(Fold::Change(extrapolation::DELTA)),
    range("irate", rate::irate).sweeps(rate::sweep_irate),
    range("idelta", rate::idelta).sweeps(rate::sweep_idelta),
    range("resets", rate::resets).sweeps(rate::sweep_resets),
    range("changes", rate::changes).sweeps(rate::sweep_changes),
    range("deriv", rate::deriv),
    row("predict_linear", &[M, S], V, over_range(rate::predict_linear)).at_unsafe(),
    // Over time.
    range("avg_over_time", over_time::avg).sweeps(over_time::sweep_avg).folds(Fold::Avg),
    range("sum_over_time", over_time::sum).sweeps(over_time::sweep_sum).folds(Fold::Sum),
    range("count_over_time", over_time::count).sweeps(over_time::sweep_count).folds(Fold::Count),
    range("min_over_time", over_time::min).sweeps(over_time::sweep_min).folds(Fold::Min),
    range("max_over_time", over_time::max).sweeps(over_time::sweep_max).folds(Fold::Max),
    range("last_over_time", over_time::last).keeps_name().sweeps(over_time::sweep_last).folds(Fold::Last),
    range("first_over_time", over_time::first).keeps_name().sweeps(over_time::sweep_first).folds(Fold::First),
    range("present_over_time", over_time::present).sweeps(over_time::sweep_present).folds(Fold::Present),
    range("absent_over_time", over_time::present).sweeps(over_time::sweep_present).folds(Fold::Present),
    range("stddev_over_time", over_time::stddev),
    range("stdvar_over_time", over_time::stdvar),
    row("quantile_over_time", &[S, M], V, over_range(over_time::quantile)).sweeps(over_time::sweep_quantile),
    range("mad_over_time", over_time::mad).experimental(),
    range("ts_of_first_over_time", over_time::ts_of_first).experimental(),
    range("ts_of_last_over_time", over_time::ts_of_last).experimental(),
    range("ts_of_max_over_time", over_time::ts_of_max).experimental(),
    range("ts_of_min_over_time", over_time::ts_of_min).experimental(),
    row("double_exponential_smoothing", &[M, S, S], V, over_range(over_time::smoothing)).experimental(),
    // Mathematics.
    float("abs", f64::abs),
    float("ceil", f64::ceil),
    float("floor", f64::floor),
    float("exp", f64::exp),
    float("sqrt", f64::sqrt),
    float("ln", f64::ln),
    float("log2", f64::log2),
    float("log10", f64::log10),
    float("sin", f64::sin),
    float("cos", f64::cos),
    float("tan", f64::tan),
    float("asin", f64::asin),
    float("acos", f64::acos),
    float("atan", f64::atan),
    float("sinh", f64::sinh),
    float("cosh", f64::cosh),
    float("tanh", f64::tanh),
    float("asinh", f64::asinh),
    float("acosh", f64::acosh),
    float("atanh", f64::atanh),
    float("rad", math::rad),
    float("deg", math::deg),
    float("sgn", math::sgn),
    row("pi", &[], S, Body::Eager(math::pi)),
    row("round", &[V, S], V, Body::Eager(math::round)).variadic(1),
    row("clamp", &[V, S, S], V, Body::Eager(math::clamp)),
    row("clamp_min", &[V, S], V, Body::Eager(math::clamp_min)),
    row("clamp_max", &[V, S], V, Body::Eager(math::clamp_max)),
    row("scalar", &[V], S, Body::Eager(math::scalar)),
    row("vector", &[S], V, Body::Eager(math::vector)),
    row("min_of", &[S, S], S, Body::Eager(math::min_of)).experimental(),
    row("max_of", &[S, S], S, Body::Eager(math::max_of)).experimental(),
    row("absent", &[V], V, Body::Eager(math::absent)),
    // Time.
    row("time", &[], S, Body::Eager(time::time)).at_unsafe(),
    row("start", &[], S, Body::Eager(time::start)).at_unsafe().experimental(),
    row("end", &[], S, Body::Eager(time::end)).at_unsafe().experimental(),
    row("step", &[], S, Body::Eager(time::step)).at_unsafe().experimental(),
    row("range", &[], S, Body::Eager(time::range)).at_unsafe().experimental(),
    row("timestamp", &[V], V, Body::Lazy(time::timestamp)).at_unsafe(),
    row("start_timestamp", &[V], V, Body::Lazy(time::start_timestamp)).experimental(),
    date("minute", time::minute),
    date("hour", time::hour),
    date("day_of_month", time::day_of_month),
    date("day_of_week", time::day_of_week),
    date("day_of_year", time::day_of_year),
    date("days_in_month", time::days_in_month),
    date("month", time::month),
    date("year", time::year),
    // Labels and order.
    row("label_replace", &[V, T, T, T, T], V, Body::Lazy(label::replace)),
    row("label_join", &[V, T, T, T], V, Body::Lazy(label::join)).variadic(-1),
    row("sort", &[V], V, Body::Lazy(label::sort)),
    row("sort_desc", &[V], V, Body::Lazy(label::sort_desc)),
    row("sort_by_label", &[V, T], V, Body::Lazy(label::sort_by_label)).variadic(-1).experimental(),
    row("sort_by_label_desc", &[V, T], V, Body::Lazy(label::sort_by_label_desc)).variadic(-1).experimental(),
    row("info", &[V, V], V, Body::Lazy(info::info)).variadic(1).experimental(),
    // Histograms.
    row("histogram_count", &[V], V, Body::Eager(histogram::count)),
    row("histogram_sum", &[V], V, Body::Eager(histogram::sum)),
    row("histogram_avg", &[V], V, Body::Eager(histogram::avg)),
    row("histogram_stddev", &[V], V, Body::Eager(histogram::stddev)),
    row("histogram_stdvar", &[V], V, Body::Eager(histogram::stdvar)),
    row("histogram_fraction", &[S, S, V], V, Body::Eager(histogram::fraction)),
    row("histogram_quantile", &[S, V], V, Body::Eager(histogram::quantile)),
    row("histogram_quantiles", &[V, T, S, S], V, Body::Eager(histogram::quantiles))
        .variadic(9)
        .experimental(),
];

/// A single series without labels.
pub(crate) fn lone_row<'a>(evaluator: &Evaluator<'a>, floats: Vec<f64>) -> Evaluates<Evaluated<'a>> {
    let mut rows = Rows::none(evaluator.budget);
    rows.push(Row::new(Labels::default(), Column::of(floats)))?;
    Ok(Evaluated::Rows(rows))
}

/// The labels that `absent()` can tell: those that the selector fixes by `=`, each named once.
pub(crate) fn absent_labels(expr: &Expr, id: NodeId) -> Labels {
    let selector = match &expr.node(id).kind {
        Kind::Matrix { selector, .. } => &expr.node(*selector).kind,
        kind => kind,
    };
    let Kind::Vector(selector) = selector else { return Labels::default() };
    let mut known: Vec<(&str, &str)> = Vec::new();
    let mut seen: Vec<&str> = Vec::new();
    for matcher in selector.matchers.iter().filter(|m| m.name != METRIC_NAME) {
        known.retain(|(name, _)| *name != matcher.name);
        if matcher.op == MatchOp::Equal && !seen.contains(&matcher.name.as_str()) {
            known.push((&matcher.name, &matcher.value));
            seen.push(&matcher.name);
        }
    }
    known.into_iter().collect()
}
