//! How fast: differences over a window, and what may have happened between the samples.
//!
//! `rate`, `increase` and `delta` measure between the first and the last sample of the window and stretch the result
//! to the window's ends: all the way where a sample is missing by no more than 1.1 average distances, else by half a
//! distance, and for counters never below zero.

use std::sync::Arc;

use model::histogram::ResetHint;

use crate::annotation::Note;
use crate::ast::Edge;
use crate::column::Point;
use crate::eval::Evaluates;
use crate::eval::math::KahanSum;
use crate::eval::range::{Site, View};
use crate::eval::sweep::{NONE, Sweep};
use crate::functions::extended;
use crate::functions::extrapolation::{DELTA, Extrapolation, Factors, INCREASE, RATE, Reach};
use crate::histogram::FloatHistogram;

pub(super) fn rate(view: &View<'_>, site: &mut Site<'_>) -> Evaluates<Option<Point>> {
    RATE.point(view, site)
}

pub(super) fn increase(view: &View<'_>, site: &mut Site<'_>) -> Evaluates<Option<Point>> {
    INCREASE.point(view, site)
}

pub(super) fn delta(view: &View<'_>, site: &mut Site<'_>) -> Evaluates<Option<Point>> {
    DELTA.point(view, site)
}

pub(super) fn sweep_rate(sweep: &Sweep<'_>, column: &mut [f64]) {
    RATE.sweep(sweep, column);
}

pub(super) fn sweep_increase(sweep: &Sweep<'_>, column: &mut [f64]) {
    INCREASE.sweep(sweep, column);
}

pub(super) fn sweep_delta(sweep: &Sweep<'_>, column: &mut [f64]) {
    DELTA.sweep(sweep, column);
}

impl Extrapolation {
    fn point(self, view: &View<'_>, site: &mut Site<'_>) -> Evaluates<Option<Point>> {
        let floats = !view.times.is_empty();
        if floats && !view.histogram_times.is_empty() {
            site.note(Note::mixed_floats_histograms);
            return Ok(None);
        }
        if view.edge != Edge::Plain {
            return Ok(extended::rate(view, site, self.is_counter, self.per_second));
        }
        let (times, starts) =
            if floats { (view.times, view.starts) } else { (view.histogram_times, view.histogram_starts) };
        let mut change = match float_or_histogram_change(view, site, self.is_counter) {
            Some(change) => change,
            None if floats || times.len() == 1 => Change::None,
            None => return Ok(None),
        };
        let (first, last) = (times[0], times[times.len() - 1]);
        let gaps = times.len() - 1;
        let sampled = (last - first) as f64 / 1000.0;
        let mut reach = Reach {
            to_start: (first - view.start_ms) as f64 / 1000.0,
            to_end: (view.end_ms - last) as f64 / 1000.0,
            sampled,
            average: if gaps > 0 { sampled / gaps as f64 } else { 0.0 },
        };
        let start = starts.first().copied().unwrap_or(0);
        let mut counts = None;
        if self.is_counter && start != 0 && start > view.start_ms && start < first {
            // The counter began within the window: at zero, and there.
            reach.to_start = 0.0;
            reach.sampled = (last - start) as f64 / 1000.0;
            if !change.add_first(view, site) {
                return Ok(None);
            }
        } else if gaps == 0 {
            return Ok(None);
        } else if self.is_counter {
            counts = change.counts(view);
        }
        Ok(change.scaled(self.by_time(reach.factor(counts), view.range_ms)))
    }

    /// All windows of a series of floats. Where a counter never falls, nothing lies between a window's ends that counts.
    fn sweep(self, sweep: &Sweep<'_>, column: &mut [f64]) {
        let (times, values) = (sweep.times, sweep.values);
        let resets: Vec<usize> = match self.is_counter && falls(values) {
            true => (1..values.len()).filter(|at| values[*at] < values[at - 1]).collect(),
            false => Vec::new(),
        };
        let (mut next_reset, mut factors) = (0, Factors::new(self, &sweep.window));
        sweep.fill(column, |within, end_ms| {
            let (first, last) = (within.start, within.end - 1);
            let mut change = values[last] - values[first];
            while resets.get(next_reset).is_some_and(|at| *at <= first) {
                next_reset += 1;
            }
            for at in resets[next_reset..].iter().take_while(|at| **at <= last) {
                change += values[at - 1];
            }
            let ends = (times[first], times[last]);
            factors.scaled(values[first], change, ends, within.len() as u64, end_ms).unwrap_or(NONE)
        });
    }
}

/// Whether a value is smaller than the one before it. Without a way out at the first: so it goes several at a time.
fn falls(values: &[f64]) -> bool {
    let rest = values.get(1..).unwrap_or_default();
    values.iter().zip(rest).fold(false, |any, (before, value)| any | (value < before))
}

/// What came between the first and the last sample.
enum Change {
    /// There is only one sample, and it is no float.
    None,
    Float(f64),
    Histogram(FloatHistogram),
}

fn float_or_histogram_change(view: &View<'_>, site: &mut Site<'_>, is_counter: bool) -> Option<Change> {
    if !view.values.is_empty() {
        return Some(Change::Float(float_change(view, site, is_counter)));
    }
    if view.histograms.len() < 2 {
        return None;
    }
    histogram_change(view, site, is_counter).map(Change::Histogram)
}

impl Change {
    /// Adds the first sample, because the counter began at zero before it.
    fn add_first(&mut self, view: &View<'_>, site: &mut Site<'_>) -> bool {
        match self {
            Change::Float(change) => *change += view.values[0],
            Change::None => *self = Change::Histogram((*view.histograms[0]).clone()),
            Change::Histogram(change) => match change.add(&view.histograms[0]) {
                Ok(remarks) if remarks.reconciled_bounds => {
                    site.note(|_, span| Note::reconciled_buckets("addition", span));
                }
                Ok(_) => {}
                Err(_) => {
                    site.note(Note::mixed_schemas);
                    return false;
                }
            },
        }
        true
    }

    /// The first sample and the change, where together they tell when the counter stood at zero.
    fn counts(&self, view: &View<'_>) -> Option<(f64, f64)> {
        let (first, change) = match self {
            Change::Float(change) => (view.values[0], *change),
            Change::Histogram(change) => (view.histograms[0].count, change.count),
            Change::None => return None,
        };
        (change > 0.0 && first >= 0.0).then_some((first, change))
    }

    fn scaled(self, factor: f64) -> Option<Point> {
        match self {
            Change::Float(change) => Some(Point::Float(change * factor)),
            Change::Histogram(mut change) => {
                change.multiply(factor);
                Some(Point::Histogram(Arc::new(change)))
            }
            Change::None => None,
        }
    }
}

fn float_change(view: &View<'_>, site: &mut Site<'_>, is_counter: bool) -> f64 {
    let values = view.values;
    let mut change = values[values.len() - 1] - values[0];
    if !is_counter {
        return change;
    }
    if view.starts.is_empty() {
        for pair in values.windows(2) {
            if pair[1] < pair[0] {
                change += pair[0];
            }
        }
        return change;
    }
    let mut overlapped = false;
    for at in 1..values.len() {
        overlapped |= note_overlap(view.times, view.starts, at, overlapped, site);
        if values[at] < values[at - 1] || starts_anew(view.times, view.starts, at) {
            change += values[at - 1];
        }
    }
    change
}

/// Whether the start time of a sample says that its counter is not the one of the sample before.
fn starts_anew(times: &[i64], starts: &[i64], at: usize) -> bool {
    let (Some(previous_start), Some(start)) = (starts.get(at - 1), starts.get(at)) else { return false };
    let (previous, time) = (times[at - 1], times[at]);
    // Unknown, or no start at all.
    if *start == 0 || *start >= time || *start < previous {
        return false;
    }
    if *start > previous {
        return true;
    }
    // It starts where the sample before stands: a delta, unless that one's own start is unknown.
    *previous_start <= previous && *previous_start != 0 && *previous_start != previous
}

/// Notes, once for a series, that a sample claims to have begun before the one in front of it ended.
fn note_overlap(times: &[i64], starts: &[i64], at: usize, noted: bool, site: &mut Site<'_>) -> bool {
    let (Some(previous_start), Some(start)) = (starts.get(at - 1), starts.get(at)) else { return false };
    let overlaps = *start != 0 && *start < times[at - 1] && start != previous_start;
    if overlaps && !noted {
        site.note(Note::start_overlap);
    }
    overlaps
}

/// The last histogram less the first, and what every reset in between took away.
fn histogram_change(view: &View<'_>, site: &mut Site<'_>, is_counter: bool) -> Option<FloatHistogram> {
    let histograms = view.histograms;
    let (first, last) = (&*histograms[0], &*histograms[histograms.len() - 1]);
    let gauge = |h: &FloatHistogram| h.reset_hint == ResetHint::Gauge;
    if is_counter && (gauge(first) || gauge(last)) {
        site.note(Note::not_a_counter);
    }
    // A reset right behind the first sample makes its buckets irrelevant.
    let emptied = FloatHistogram::empty_like(&histograms[1]);
    let reset_at = |at: usize, previous: &FloatHistogram| {
        starts_anew(view.histogram_times, view.histogram_starts, at) || histograms[at].is_reset_from(previous)
    };
    let first = if is_counter && reset_at(1, first) { &emptied } else { first };
    let custom = first.has_custom_bounds();
    let mut mixed = last.has_custom_bounds() != custom;
    let mut schema = last.schema.min(first.schema);
    if is_counter && !mixed {
        for histogram in &histograms[1..histograms.len() - 1] {
            if gauge(histogram) {
                site.note(Note::not_a_counter);
            }
            schema = schema.min(histogram.schema);
            mixed |= histogram.has_custom_bounds() != custom;
        }
    }
    if mixed {
        site.note(Note::mixed_schemas);
        return None;
    }
    let mut change = last.at_schema(schema);
    extended::subtract(&mut change, first, site)?;
    if is_counter {
        let (mut previous, mut overlapped) = (first, false);
        for (at, current) in histograms.iter().enumerate().skip(1) {
            overlapped |= note_overlap(view.histogram_times, view.histogram_starts, at, overlapped, site);
            if reset_at(at, previous) {
                extended::add(&mut change, previous, site)?;
            }
            previous = current;
        }
    } else if !gauge(&histograms[0]) || !gauge(last) {
        site.note(Note::not_a_gauge);
    }
    change.reset_hint = ResetHint::Gauge;
    change.compact();
    Some(change)
}

pub(super) fn irate(view: &View<'_>, site: &mut Site<'_>) -> Evaluates<Option<Point>> {
    Ok(instant(view, site, true))
}

pub(super) fn idelta(view: &View<'_>, site: &mut Site<'_>) -> Evaluates<Option<Point>> {
    Ok(instant(view, site, false))
}

/// One of the window's samples, floats and histograms in one order.
#[derive(Clone, Copy)]
struct Sample<'v> {
    time: i64,
    start: i64,
    value: Either<'v>,
}

#[derive(Clone, Copy)]
enum Either<'v> {
    Float(f64),
    Histogram(&'v FloatHistogram),
}

/// All samples of the window in order of time.
fn merged<'v>(view: &View<'v>) -> impl Iterator<Item = Sample<'v>> {
    let view = *view;
    let (mut float, mut histogram) = (0, 0);
    std::iter::from_fn(move || {
        let float_first = match (view.times.get(float), view.histogram_times.get(histogram)) {
            (None, None) => return None,
            (Some(f), Some(h)) => f < h,
            (f, _) => f.is_some(),
        };
        let start = |starts: &[i64], at: usize| starts.get(at).copied().unwrap_or(0);
        if float_first {
            float += 1;
            let at = float - 1;
            let value = Either::Float(view.values[at]);
            return Some(Sample { time: view.times[at], start: start(view.starts, at), value });
        }
        histogram += 1;
        let at = histogram - 1;
        let value = Either::Histogram(&view.histograms[at]);
        Some(Sample { time: view.histogram_times[at], start: start(view.histogram_starts, at), value })
    })
}

impl Sample<'_> {
    fn starts_anew_after(&self, previous: &Sample<'_>) -> bool {
        starts_anew(&[previous.time, self.time], &[previous.start, self.start], 1)
    }
}

pub(super) fn sweep_irate(sweep: &Sweep<'_>, column: &mut [f64]) {
    sweep_instant(sweep, column, |last, previous| if last < previous { last } else { last - previous }, true);
}

pub(super) fn sweep_idelta(sweep: &Sweep<'_>, column: &mut [f64]) {
    sweep_instant(sweep, column, |last, previous| last - previous, false);
}

fn sweep_instant(sweep: &Sweep<'_>, column: &mut [f64], change: fn(f64, f64) -> f64, per_second: bool) {
    sweep.fill(column, |within, _| {
        if within.len() < 2 {
            return NONE;
        }
        let at = within.end - 1;
        let change = change(sweep.values[at], sweep.values[at - 1]);
        let seconds = (sweep.times[at] - sweep.times[at - 1]) as f64 / 1000.0;
        if per_second { change / seconds } else { change }
    });
}

pub(super) fn sweep_resets(sweep: &Sweep<'_>, column: &mut [f64]) {
    sweep.fill_with_pairs(column, |before, value| value < before);
}

pub(super) fn sweep_changes(sweep: &Sweep<'_>, column: &mut [f64]) {
    sweep.fill_with_pairs(column, |before, value| before != value && !(before.is_nan() && value.is_nan()));
}

/// Between the last two samples.
fn instant(view: &View<'_>, site: &mut Site<'_>, is_rate: bool) -> Option<Point> {
    // Of each kind only the last two can be among the last two of all.
    let tail = |len: usize| len.saturating_sub(2);
    let (f, h) = (tail(view.times.len()), tail(view.histogram_times.len()));
    let view = View {
        times: &view.times[f..],
        values: &view.values[f..],
        starts: view.starts.get(f..).unwrap_or_default(),
        histogram_times: &view.histogram_times[h..],
        histograms: &view.histograms[h..],
        histogram_starts: view.histogram_starts.get(h..).unwrap_or_default(),
        ..*view
    };
    let samples: Vec<Sample<'_>> = merged(&view).collect();
    let [.., previous, last] = samples.as_slice() else { return None };
    let seconds = (last.time - previous.time) as f64 / 1000.0;
    if seconds == 0.0 {
        return None;
    }
    let anew = is_rate && last.starts_anew_after(previous);
    match (previous.value, last.value) {
        (Either::Float(previous), Either::Float(last)) => {
            let reset = anew || (is_rate && last < previous);
            let change = if reset { last } else { last - previous };
            Some(Point::Float(if is_rate { change / seconds } else { change }))
        }
        (Either::Histogram(previous), Either::Histogram(last)) => {
            let gauges = [previous, last].map(|h| h.reset_hint == ResetHint::Gauge);
            if is_rate && gauges.contains(&true) {
                site.note(Note::not_a_counter);
            }
            if !is_rate && gauges.contains(&false) {
                site.note(Note::not_a_gauge);
            }
            let mut change = last.clone();
            if !(anew || (is_rate && last.is_reset_from(previous))) {
                extended::subtract(&mut change, previous, site)?;
            }
            change.reset_hint = ResetHint::Gauge;
            change.compact();
            if is_rate {
                change.divide(seconds);
            }
            Some(Point::Histogram(Arc::new(change)))
        }
        _ => {
            site.note(Note::mixed_floats_histograms);
            None
        }
    }
}

pub(super) fn resets(view: &View<'_>, _: &mut Site<'_>) -> Evaluates<Option<Point>> {
    Ok(pairs(view, |previous, sample| match (previous.value, sample.value) {
        (Either::Float(a), Either::Float(b)) => b < a || sample.starts_anew_after(previous),
        (Either::Histogram(a), Either::Histogram(b)) => {
            sample.starts_anew_after(previous) || b.is_reset_from(a)
        }
        _ => true,
    }))
}

pub(super) fn changes(view: &View<'_>, _: &mut Site<'_>) -> Evaluates<Option<Point>> {
    Ok(pairs(view, |previous, sample| match (previous.value, sample.value) {
        (Either::Float(a), Either::Float(b)) => a != b && !(a.is_nan() && b.is_nan()),
        (Either::Histogram(a), Either::Histogram(b)) => !a.equals(b),
        _ => true,
    }))
}

/// Counts the pairs of neighbours for which something holds.
fn pairs(view: &View<'_>, holds: impl Fn(&Sample<'_>, &Sample<'_>) -> bool) -> Option<Point> {
    let view = &extended::from_anchor(view)?;
    if view.histogram_times.is_empty() && view.starts.is_empty() && view.histogram_starts.is_empty() {
        let sample = |at: usize| Sample { time: 0, start: 0, value: Either::Float(view.values[at]) };
        let count = (1..view.values.len()).filter(|at| holds(&sample(at - 1), &sample(*at))).count();
        return Some(Point::Float(count as f64));
    }
    let mut samples = merged(view);
    let mut previous = samples.next()?;
    let count = samples.filter(|sample| {
        let held = holds(&previous, sample);
        previous = *sample;
        held
    });
    Some(Point::Float(count.count() as f64))
}

pub(super) fn deriv(view: &View<'_>, site: &mut Site<'_>) -> Evaluates<Option<Point>> {
    if !has_two_floats(view, site) {
        return Ok(None);
    }
    // Times are taken relative to one nearby, or their squares would eat the precision.
    Ok(Some(Point::Float(regression(view, view.times[0]).0)))
}

pub(super) fn predict_linear(view: &View<'_>, site: &mut Site<'_>) -> Evaluates<Option<Point>> {
    if !has_two_floats(view, site) {
        return Ok(None);
    }
    let (slope, intercept) = regression(view, view.step_ms);
    Ok(Some(Point::Float(slope * site.scalars[0] + intercept)))
}

/// Notes histograms among floats, too.
pub(super) fn has_two_floats(view: &View<'_>, site: &mut Site<'_>) -> bool {
    if !view.times.is_empty() && !view.histograms.is_empty() {
        site.note(Note::histogram_ignored_in_range);
    }
    view.times.len() >= 2
}

/// Least squares: slope per second, and the value at `at_ms`.
fn regression(view: &View<'_>, at_ms: i64) -> (f64, f64) {
    let first = view.values[0];
    if view.values.iter().all(|value| *value == first) {
        return if first.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first) };
    }
    let [mut x, mut y, mut xy, mut xx] = [KahanSum::default(); 4];
    for (time, value) in view.times.iter().zip(view.values) {
        let seconds = (time - at_ms) as f64 / 1000.0;
        x.add(seconds);
        y.add(*value);
        xy.add(seconds * value);
        xx.add(seconds * seconds);
    }
    let n = view.values.len() as f64;
    let (x, y, xy, xx) = (x.value(), y.value(), xy.value(), xx.value());
    let slope = (xy - x * y / n) / (xx - x * x / n);
    (slope, y / n - slope * x / n)
}
