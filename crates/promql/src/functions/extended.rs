//! `anchored` and `smoothed` selectors: the ends of a window get a value of their own.
//!
//! Anchored, the last sample at or before the start stands for the start. Smoothed, the values at both ends lie on
//! the line to the neighbour outside; a counter that was reset in between starts that line at zero.

use std::sync::Arc;

use model::histogram::ResetHint;

use crate::annotation::{Note, Notes};
use crate::ast::{Edge, Span};
use crate::column::Point;
use crate::eval::range::{Site, View};
use crate::eval::samples::RangeSamples;
use crate::eval::{EvalError, Evaluates};
use crate::histogram::FloatHistogram;

/// Subtracts with the notes that may need; `None` when the two do not fit.
pub(super) fn subtract(from: &mut FloatHistogram, what: &FloatHistogram, site: &mut Site<'_>) -> Option<()> {
    note_result(from.subtract(what), "subtraction", site)
}

/// Adds with the notes that may need; `None` when the two do not fit.
pub(super) fn add(to: &mut FloatHistogram, what: &FloatHistogram, site: &mut Site<'_>) -> Option<()> {
    note_result(to.add(what), "addition", site)
}

fn note_result(
    result: Result<crate::histogram::Mismatch, crate::histogram::Incompatible>,
    operation: &str,
    site: &mut Site<'_>,
) -> Option<()> {
    match result {
        Ok(remarks) => {
            if remarks.reconciled_bounds {
                site.note(|_, span| Note::reconciled_buckets(operation, span));
            }
            Some(())
        }
        Err(_) => {
            site.note(Note::mixed_schemas);
            None
        }
    }
}

/// The samples that count for a window: under `anchored` the newest one at or before the start and all after it.
/// `None` when there is none after the start.
pub(super) fn from_anchor<'v>(view: &View<'v>) -> Option<View<'v>> {
    if view.edge == Edge::Plain {
        return Some(*view);
    }
    let after = |times: &[i64]| times.partition_point(|time| *time <= view.start_ms);
    let (mut float, mut histogram) = (after(view.times), after(view.histogram_times));
    if float >= view.times.len() && histogram >= view.histogram_times.len() {
        return None;
    }
    let before = |times: &[i64], at: usize| at.checked_sub(1).map(|at| times[at]);
    match (before(view.times, float), before(view.histogram_times, histogram)) {
        (None, None) => {}
        (Some(_), None) => float -= 1,
        (Some(f), Some(h)) if f >= h => float -= 1,
        _ => histogram -= 1,
    }
    Some(View {
        times: &view.times[float..],
        values: &view.values[float..],
        starts: view.starts.get(float..).unwrap_or_default(),
        histogram_times: &view.histogram_times[histogram..],
        histograms: &view.histograms[histogram..],
        histogram_starts: view.histogram_starts.get(histogram..).unwrap_or_default(),
        ..*view
    })
}

/// Which samples stand for the ends of a window; `None` when nothing of it is in sight.
fn ends(times: &[i64], start_ms: i64, end_ms: i64, smoothed: bool) -> Option<(usize, usize)> {
    let last = times.len().checked_sub(1)?;
    let first = times[..last].partition_point(|time| *time <= start_ms).saturating_sub(1);
    let last = if smoothed { times[..last].partition_point(|time| *time < end_ms) } else { last };
    let in_sight = times[last] > start_ms && !(smoothed && times[first] > end_ms);
    in_sight.then_some((first, last))
}

/// The value at `at` on the line between two samples.
fn interpolate(before: (i64, f64), after: (i64, f64), at: i64, is_counter: bool) -> f64 {
    let from = if is_counter && after.1 < before.1 { 0.0 } else { before.1 };
    from + (after.1 - from) * (at - before.0) as f64 / (after.0 - before.0) as f64
}

/// The values at both ends.
fn end_values(
    (times, values): (&[i64], &[f64]),
    (first, last): (usize, usize),
    (start_ms, end_ms): (i64, i64),
    smoothed: bool,
    is_counter: bool,
) -> (f64, f64) {
    let at = |i: usize| (times[i], values[i]);
    let left = if smoothed && times[first] < start_ms {
        interpolate(at(first), at(first + 1), start_ms, is_counter)
    } else {
        values[first]
    };
    let right = if smoothed && last > 0 && times[last] > end_ms {
        interpolate(at(last - 1), at(last), end_ms, is_counter)
    } else {
        values[last]
    };
    (left, right)
}

/// `rate`, `increase`, `delta` over an extended window.
pub(super) fn rate(
    view: &View<'_>,
    site: &mut Site<'_>,
    is_counter: bool,
    per_second: bool,
) -> Option<Point> {
    let seconds = view.range_ms as f64 / 1000.0;
    if view.times.is_empty() {
        let mut change = histogram_change(view, site, is_counter)?;
        if per_second {
            change.divide(seconds);
        }
        change.reset_hint = ResetHint::Gauge;
        change.compact();
        return Some(Point::Histogram(Arc::new(change)));
    }
    let smoothed = view.edge == Edge::Smoothed;
    let (mut first, mut last) = ends(view.times, view.start_ms, view.end_ms, smoothed)?;
    let bounds = (view.start_ms, view.end_ms);
    let (left, right) = end_values((view.times, view.values), (first, last), bounds, smoothed, is_counter);
    let mut change = right - left;
    if is_counter {
        // Only samples strictly inside: the ends have taken care of themselves.
        first += usize::from(view.times[first] <= view.start_ms);
        last = if view.times[last] >= view.end_ms { last } else { last + 1 };
        let mut previous = left;
        for value in view.values.get(first..last).unwrap_or_default().iter().chain([&right]) {
            if *value < previous {
                change += previous;
            }
            previous = *value;
        }
    }
    Some(Point::Float(if per_second { change / seconds } else { change }))
}

fn histogram_change(view: &View<'_>, site: &mut Site<'_>, is_counter: bool) -> Option<FloatHistogram> {
    let (times, histograms) = (view.histogram_times, view.histograms);
    let smoothed = view.edge == Edge::Smoothed;
    let (first, last) = ends(times, view.start_ms, view.end_ms, smoothed)?;
    let custom = histograms[first].has_custom_bounds();
    for histogram in &histograms[first..=last] {
        if histogram.has_custom_bounds() != custom {
            site.note(Note::mixed_schemas);
            return None;
        }
        if is_counter && histogram.reset_hint == ResetHint::Gauge {
            site.note(Note::not_a_counter);
        }
    }
    let between = |i: usize, at: i64, site: &mut Site<'_>| {
        let (before, after) = ((times[i], &*histograms[i]), (times[i + 1], &*histograms[i + 1]));
        interpolate_histograms(before, after, at, is_counter, site)
    };
    let left = if smoothed && times[first] < view.start_ms {
        between(first, view.start_ms, site)?
    } else {
        (*histograms[first]).clone()
    };
    let right = if smoothed && last > 0 && times[last] > view.end_ms {
        between(last - 1, view.end_ms, site)?
    } else {
        (*histograms[last]).clone()
    };
    if !is_counter && [&left, &right].iter().any(|h| h.reset_hint != ResetHint::Gauge) {
        site.note(Note::not_a_gauge);
    }
    let mut change = right.clone();
    subtract(&mut change, &left, site)?;
    if is_counter && let Some(lost) = lost_to_resets(view, site, (first, last), &left, &right)? {
        add(&mut change, &lost, site)?;
    }
    Some(change)
}

/// What resets took away between the ends; the inner `None` when there was none.
fn lost_to_resets(
    view: &View<'_>,
    site: &mut Site<'_>,
    (first, last): (usize, usize),
    left: &FloatHistogram,
    right: &FloatHistogram,
) -> Option<Option<FloatHistogram>> {
    let histograms = view.histograms;
    let (mut next, mut previous) = (first + 1, left);
    let interpolated = view.edge == Edge::Smoothed && view.histogram_times[first] < view.start_ms;
    if interpolated && histograms[first + 1].is_reset_from(&histograms[first]) {
        // The interpolation has dealt with this reset.
        previous = &histograms[first + 1];
        next += 1;
    }
    // The last sample is represented by the right end.
    if next > last {
        return Some(None);
    }
    let mut lost: Option<FloatHistogram> = None;
    for current in histograms[next..last].iter().map(|h| &**h).chain([right]) {
        if current.is_reset_from(previous) {
            match &mut lost {
                Some(lost) => add(lost, previous, site)?,
                None => lost = Some(previous.clone()),
            }
        }
        previous = current;
    }
    Some(lost)
}

fn interpolate_histograms(
    before: (i64, &FloatHistogram),
    after: (i64, &FloatHistogram),
    at: i64,
    is_counter: bool,
    site: &mut Site<'_>,
) -> Option<FloatHistogram> {
    if at == before.0 {
        return Some(before.1.clone());
    }
    let mut result = after.1.clone();
    if at == after.0 {
        return Some(result);
    }
    let share = (at - before.0) as f64 / (after.0 - before.0) as f64;
    if is_counter && after.1.is_reset_from(before.1) {
        result.multiply(share);
        return Some(result);
    }
    subtract(&mut result, before.1, site)?;
    result.multiply(share);
    add(&mut result, before.1, site)?;
    Some(result)
}

/// `x smoothed` at one time: the sample there, the line between its neighbours, or the last one before.
pub(crate) fn smoothed(
    samples: &RangeSamples,
    at: i64,
    (after, upto): (i64, i64),
    labels: &model::Labels,
    span: Span,
    notes: &mut Notes,
) -> Option<Point> {
    let mut site = Site { labels, scalars: &[], span, notes };
    let visible = |times: &[i64]| {
        times.partition_point(|time| *time <= after)..times.partition_point(|time| *time <= upto)
    };
    let (floats, histograms) = (visible(&samples.times), visible(&samples.histogram_times));
    if !floats.is_empty() && !histograms.is_empty() {
        site.note(Note::mixed_floats_histograms);
        return None;
    }
    if histograms.is_empty() {
        let (times, values) = (&samples.times[floats.clone()], &samples.values[floats]);
        let next = times.partition_point(|time| *time < at);
        return match times.get(next) {
            Some(time) if *time == at => Some(Point::Float(values[next])),
            Some(time) => {
                let before = next.checked_sub(1)?;
                let line = ((times[before], values[before]), (*time, values[next]));
                Some(Point::Float(interpolate(line.0, line.1, at, false)))
            }
            None => values.last().copied().map(Point::Float),
        };
    }
    let times = &samples.histogram_times[histograms.clone()];
    let values = &samples.histograms[histograms];
    let next = times.partition_point(|time| *time < at);
    let result = match times.get(next) {
        Some(time) if *time == at => (*values[next]).clone(),
        Some(time) => {
            let before = next.checked_sub(1)?;
            let (a, b) = (&*values[before], &*values[next]);
            if a.has_custom_bounds() != b.has_custom_bounds() {
                site.note(Note::mixed_schemas);
                return None;
            }
            let is_counter = [a, b].iter().any(|h| h.reset_hint != ResetHint::Gauge);
            interpolate_histograms((times[before], a), (*time, b), at, is_counter, &mut site)?
        }
        None => {
            let mut last = (**values.last()?).clone();
            last.reset_hint = ResetHint::Unknown;
            last
        }
    };
    Some(Point::Histogram(Arc::new(result)))
}

/// The samples of an extended range selector that stands alone: those inside, and a value at each end.
pub(crate) fn range(
    samples: &RangeSamples,
    start_ms: i64,
    end_ms: i64,
    edge: Edge,
) -> Evaluates<Vec<(i64, Point)>> {
    let smoothed = edge == Edge::Smoothed;
    if !samples.histograms.is_empty() {
        let word = if smoothed { "smoothed" } else { "anchored" };
        return Err(EvalError::Execution(format!("{word} modifier is not supported with histograms")));
    }
    let Some((first, last)) = ends(&samples.times, start_ms, end_ms, smoothed) else { return Ok(Vec::new()) };
    let series = (samples.times.as_slice(), samples.values.as_slice());
    let (left, right) = end_values(series, (first, last), (start_ms, end_ms), smoothed, false);
    let inside = (first..=last).filter(|i| samples.times[*i] > start_ms && samples.times[*i] < end_ms);
    let mut points = vec![(start_ms, Point::Float(left))];
    points.extend(inside.map(|i| (samples.times[i], Point::Float(samples.values[i]))));
    points.push((end_ms, Point::Float(right)));
    Ok(points)
}
