//! Aggregations along one series.

use std::sync::Arc;

use crate::annotation::Note;
use crate::column::Point;
use crate::eval::math::{self, KahanSum, Mean};
use crate::eval::range::{Site, View};
use crate::eval::sweep::Sweep;
use crate::eval::{EvalError, Evaluates};
use crate::functions::rate::has_two_floats;
use crate::histogram::sum::HistogramFold;

type Result = Evaluates<Option<Point>>;

fn float(value: f64) -> Result {
    Ok(Some(Point::Float(value)))
}

pub(super) fn sum(view: &View<'_>, site: &mut Site<'_>) -> Result {
    if view.times.is_empty() {
        return Ok(fold_histograms(view, site, false));
    }
    if is_mixed(view, site) {
        return Ok(None);
    }
    float(sum_value(KahanSum::of_all(view.values)))
}

/// Windows with at least so many samples, most of which the next one has too, are added up by parts.
const LONG_WINDOW: usize = 128;
/// Samples of a part.
const PART: usize = 32;

pub(super) fn sweep_sum(sweep: &Sweep<'_>, column: &mut [f64]) {
    if let Some(parts) = sums_of_parts(sweep) {
        return sweep.fill(column, |within, _| {
            let sum = sum_by_parts(sweep.values, &parts, within.clone());
            if sum.sum.is_finite() { sum.value() } else { sum_value(KahanSum::of_all(&sweep.values[within])) }
        });
    }
    sweep.fill_from_values(column, |values| sum_value(KahanSum::of_all(values)));
}

pub(super) fn sweep_avg(sweep: &Sweep<'_>, column: &mut [f64]) {
    if let Some(parts) = sums_of_parts(sweep) {
        return sweep.fill(column, |within, _| {
            let sum = sum_by_parts(sweep.values, &parts, within.clone());
            if sum.sum.is_finite() {
                return Mean::of_sum(sum, within.len()).value();
            }
            Mean::of_all(&sweep.values[within]).value()
        });
    }
    sweep.fill_from_values(column, |values| Mean::of_all(values).value());
}

fn sum_value(sum: KahanSum) -> f64 {
    if sum.sum.is_infinite() { sum.sum } else { sum.value() }
}

/// The sums of all whole parts, when windows are long and overlap.
fn sums_of_parts(sweep: &Sweep<'_>) -> Option<Vec<KahanSum>> {
    let samples = sweep.window_samples();
    let overlap = samples.saturating_mul(sweep.steps.count) > sweep.values.len().saturating_mul(2);
    let parts = || sweep.values.chunks_exact(PART).map(KahanSum::of_all).collect();
    (samples >= LONG_WINDOW && overlap).then(parts)
}

fn sum_by_parts(values: &[f64], parts: &[KahanSum], within: std::ops::Range<usize>) -> KahanSum {
    let (first, last) = (within.start.div_ceil(PART), within.end / PART);
    if first >= last {
        return KahanSum::of_all(&values[within]);
    }
    let mut sum = KahanSum::of_all(&values[within.start..first * PART]);
    parts[first..last].iter().for_each(|part| sum.add_sum(*part));
    sum.add_sum(KahanSum::of_all(&values[last * PART..within.end]));
    sum
}

pub(super) fn sweep_count(sweep: &Sweep<'_>, column: &mut [f64]) {
    sweep.fill(column, |within, _| within.len() as f64);
}

pub(super) fn sweep_present(sweep: &Sweep<'_>, column: &mut [f64]) {
    sweep.fill(column, |_, _| 1.0);
}

pub(super) fn sweep_first(sweep: &Sweep<'_>, column: &mut [f64]) {
    sweep.fill(column, |within, _| sweep.values[within.start]);
}

pub(super) fn sweep_last(sweep: &Sweep<'_>, column: &mut [f64]) {
    sweep.fill(column, |within, _| sweep.values[within.end - 1]);
}

pub(super) fn sweep_min(sweep: &Sweep<'_>, column: &mut [f64]) {
    sweep.fill_with_best(column, |new, old| new < old);
}

pub(super) fn sweep_max(sweep: &Sweep<'_>, column: &mut [f64]) {
    sweep.fill_with_best(column, |new, old| new > old);
}

pub(super) fn avg(view: &View<'_>, site: &mut Site<'_>) -> Result {
    if view.times.is_empty() {
        return Ok(fold_histograms(view, site, true));
    }
    if is_mixed(view, site) {
        return Ok(None);
    }
    float(Mean::of_all(view.values).value())
}

fn is_mixed(view: &View<'_>, site: &mut Site<'_>) -> bool {
    let mixed = !view.histograms.is_empty();
    if mixed {
        site.note(Note::mixed_floats_histograms);
    }
    mixed
}

fn fold_histograms(view: &View<'_>, site: &mut Site<'_>, mean: bool) -> Option<Point> {
    let (first, rest) = view.histograms.split_first()?;
    let mut fold = HistogramFold::new(first, mean);
    for histogram in rest {
        if fold.add(histogram).is_err() {
            site.note(Note::mixed_schemas);
            return None;
        }
    }
    fold.remarks("aggregation", site.span).into_iter().for_each(|note| site.notes.add(note));
    fold.value_as_is().map(|histogram| Point::Histogram(Arc::new(histogram)))
}

pub(super) fn count(view: &View<'_>, _: &mut Site<'_>) -> Result {
    float((view.times.len() + view.histogram_times.len()) as f64)
}

pub(super) fn present(_: &View<'_>, _: &mut Site<'_>) -> Result {
    float(1.0)
}

pub(super) fn last(view: &View<'_>, _: &mut Site<'_>) -> Result {
    Ok(match (view.times.last(), view.histogram_times.last()) {
        (Some(f), Some(h)) if h >= f => view.histograms.last().map(|h| Point::Histogram(Arc::clone(h))),
        (None, _) => view.histograms.last().map(|h| Point::Histogram(Arc::clone(h))),
        _ => view.values.last().copied().map(Point::Float),
    })
}

pub(super) fn first(view: &View<'_>, _: &mut Site<'_>) -> Result {
    Ok(match (view.times.first(), view.histogram_times.first()) {
        (Some(f), Some(h)) if f >= h => view.histograms.first().map(|h| Point::Histogram(Arc::clone(h))),
        (None, _) => view.histograms.first().map(|h| Point::Histogram(Arc::clone(h))),
        _ => view.values.first().copied().map(Point::Float),
    })
}

pub(super) fn ts_of_first(view: &View<'_>, _: &mut Site<'_>) -> Result {
    let first = view.times.first().into_iter().chain(view.histogram_times.first()).min();
    Ok(first.map(|ms| Point::Float(*ms as f64 / 1000.0)))
}

pub(super) fn ts_of_last(view: &View<'_>, _: &mut Site<'_>) -> Result {
    let last = view.times.last().into_iter().chain(view.histogram_times.last()).max();
    Ok(last.map(|ms| Point::Float(*ms as f64 / 1000.0)))
}

pub(super) fn min(view: &View<'_>, site: &mut Site<'_>) -> Result {
    Ok(best(view, site, |new, old| new < old).map(|at| Point::Float(view.values[at])))
}

pub(super) fn max(view: &View<'_>, site: &mut Site<'_>) -> Result {
    Ok(best(view, site, |new, old| new > old).map(|at| Point::Float(view.values[at])))
}

pub(super) fn ts_of_min(view: &View<'_>, site: &mut Site<'_>) -> Result {
    Ok(best(view, site, |new, old| new <= old).map(|at| Point::Float(view.times[at] as f64 / 1000.0)))
}

pub(super) fn ts_of_max(view: &View<'_>, site: &mut Site<'_>) -> Result {
    Ok(best(view, site, |new, old| new >= old).map(|at| Point::Float(view.times[at] as f64 / 1000.0)))
}

/// Where the best float is; anything is better than NaN.
fn best(view: &View<'_>, site: &mut Site<'_>, better: impl Fn(f64, f64) -> bool) -> Option<usize> {
    note_ignored(view, site);
    let choose = |best: usize, at: usize| {
        let (old, new) = (view.values[best], view.values[at]);
        if better(new, old) || old.is_nan() { at } else { best }
    };
    (0..view.values.len()).reduce(choose)
}

fn note_ignored(view: &View<'_>, site: &mut Site<'_>) {
    if !view.times.is_empty() && !view.histograms.is_empty() {
        site.note(Note::histogram_ignored_in_range);
    }
}

pub(super) fn stddev(view: &View<'_>, site: &mut Site<'_>) -> Result {
    Ok(variance(view, site).map(|variance| Point::Float(variance.sqrt())))
}

pub(super) fn stdvar(view: &View<'_>, site: &mut Site<'_>) -> Result {
    Ok(variance(view, site).map(Point::Float))
}

fn variance(view: &View<'_>, site: &mut Site<'_>) -> Option<f64> {
    note_ignored(view, site);
    let (mut mean, mut squares) = (KahanSum::default(), KahanSum::default());
    for (index, value) in view.values.iter().enumerate() {
        let delta = value - mean.value();
        mean.add(delta / (index + 1) as f64);
        squares.add(delta * (value - mean.value()));
    }
    (!view.values.is_empty()).then(|| squares.value() / view.values.len() as f64)
}

pub(super) fn quantile(view: &View<'_>, site: &mut Site<'_>) -> Result {
    let q = site.scalars[0];
    if view.values.is_empty() {
        return Ok(None);
    }
    if !(0.0..=1.0).contains(&q) {
        site.note(|_, span| Note::quantile(q, span));
    }
    note_ignored(view, site);
    float(math::quantile(q, &mut view.values.to_vec()))
}

pub(super) fn sweep_quantile(sweep: &Sweep<'_>, column: &mut [f64]) {
    let mut values = Vec::new();
    sweep.fill_steps(column, |step, within, _| {
        values.clear();
        values.extend_from_slice(&sweep.values[within]);
        math::quantile(sweep.scalars[0][step], &mut values)
    });
}

/// The median distance from the median.
pub(super) fn mad(view: &View<'_>, site: &mut Site<'_>) -> Result {
    note_ignored(view, site);
    if view.values.is_empty() {
        return Ok(None);
    }
    if view.values.iter().any(|value| value.is_nan()) {
        return float(f64::NAN);
    }
    let mut values = view.values.to_vec();
    let median = math::quantile(0.5, &mut values);
    values.iter_mut().for_each(|value| *value = (*value - median).abs());
    float(math::quantile(0.5, &mut values))
}

/// Double exponential smoothing: a level and a trend, each with its factor.
pub(super) fn smoothing(view: &View<'_>, site: &mut Site<'_>) -> Result {
    let (level_factor, trend_factor) = (site.scalars[0], site.scalars[1]);
    for (name, factor, short) in [("smoothing", level_factor, "sf"), ("trend", trend_factor, "tf")] {
        if factor <= 0.0 || factor >= 1.0 {
            return Err(EvalError::Execution(format!(
                "invalid {name} factor. Expected: 0 < {short} < 1, got: {factor:.6}"
            )));
        }
    }
    if !has_two_floats(view, site) {
        return Ok(None);
    }
    let values = view.values;
    let (mut before, mut level, mut trend) = (0.0, values[0], values[1] - values[0]);
    for (index, value) in values[1..].iter().enumerate() {
        if index > 0 {
            trend = trend_factor * (level - before) + (1.0 - trend_factor) * trend;
        }
        let next = level_factor * value + (1.0 - level_factor) * (level + trend);
        (before, level) = (level, next);
    }
    float(level)
}
