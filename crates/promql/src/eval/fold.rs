//! Windows over samples of which some are told by summaries: a long window need not read what lies whole in it.
//!
//! A summary lies in a window or out of it, never across its edge, so it is one more value with a weight. Sums of sums
//! are compensated like sums of values and differ from these by the last digit at most.

use std::ops::Range;

use model::is_stale;
use model::select::Summary;

use crate::eval::math::{KahanSum, Mean};
use crate::eval::samples::Floats;
use crate::eval::sweep::{NONE, Sweep, slide};
use crate::functions::extrapolation::Extrapolation;

/// What is made of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fold {
    Count,
    Present,
    Sum,
    Avg,
    Min,
    Max,
    First,
    Last,
    Change(Extrapolation),
}

impl Fold {
    /// Fills the column of all steps, absent everywhere before.
    pub(crate) fn fill(self, floats: &Floats<'_>, sweep: &Sweep<'_>, column: &mut [f64]) {
        let summaries: Vec<(usize, &Summary)> = floats.summaries().collect();
        let ends: Vec<i64> = summaries.iter().map(|(_, summary)| summary.range.end_ms).collect();
        let (mut rows, mut within) = (0..0, 0..0);
        for (step, place) in column.iter_mut().enumerate() {
            let end_ms = sweep.window.end(sweep.steps.at(step));
            let start_ms = end_ms.saturating_sub(sweep.window.range_ms);
            slide(&mut rows, floats.times, start_ms, end_ms);
            slide(&mut within, &ends, start_ms, end_ms);
            let mut whole = Whole::default();
            let mut next = rows.start;
            for (row, summary) in &summaries[within.clone()] {
                whole.add_floats(floats, next..*row);
                whole.add_summary(summary);
                next = *row;
            }
            whole.add_floats(floats, next..rows.end);
            if whole.count > 0 {
                *place = self.value(&whole, sweep, end_ms);
            }
        }
    }

    fn value(self, whole: &Whole, sweep: &Sweep<'_>, end_ms: i64) -> f64 {
        match self {
            Self::Count => whole.count as f64,
            Self::Present => 1.0,
            Self::Sum => whole.sum.value(),
            Self::Avg => whole.mean.map_or(NONE, |mean| mean.value()),
            Self::Min => whole.min,
            Self::Max => whole.max,
            Self::First => whole.first.1,
            Self::Last => whole.last.1,
            Self::Change(extrapolation) => {
                let (first, last) = (whole.first, whole.last);
                let mut change = last.1 - first.1;
                if extrapolation.is_counter {
                    whole.lost.iter().for_each(|before| change += before);
                }
                let ends = (first.0, last.0);
                extrapolation.float(first.1, change, ends, whole.count, &sweep.window, end_ms).unwrap_or(NONE)
            }
        }
    }
}

/// The samples of a window taken together.
#[derive(Clone, Debug)]
struct Whole {
    count: u64,
    sum: KahanSum,
    mean: Option<Mean>,
    min: f64,
    max: f64,
    /// Times and values.
    first: (i64, f64),
    last: (i64, f64),
    /// Values before those that are smaller.
    lost: Vec<f64>,
}

impl Default for Whole {
    fn default() -> Self {
        Self {
            count: 0,
            sum: KahanSum::default(),
            mean: None,
            min: f64::NAN,
            max: f64::NAN,
            first: (0, 0.0),
            last: (0, 0.0),
            lost: Vec::new(),
        }
    }
}

impl Whole {
    fn add_floats(&mut self, floats: &Floats<'_>, rows: Range<usize>) {
        for row in rows.filter(|row| !is_stale(floats.values[*row])) {
            let (time, value) = (floats.times[row], floats.values[row]);
            self.add_ends((time, value), (time, value));
            self.count += 1;
            self.sum.add(value);
            match &mut self.mean {
                Some(mean) => mean.add(value),
                None => self.mean = Some(Mean::of(value)),
            }
            self.add_extremes(value, value);
        }
    }

    fn add_summary(&mut self, summary: &Summary) {
        let Summary { range, count, sum, min, max, first, last, .. } = *summary;
        self.add_ends((range.start_ms, first), (range.end_ms, last));
        self.count += u64::from(count);
        self.sum.add(sum);
        let mean = Mean::of_sum(KahanSum::of(sum), count as usize);
        match &mut self.mean {
            Some(before) => before.add_mean(&mean),
            None => self.mean = Some(mean),
        }
        self.add_extremes(min, max);
    }

    fn add_ends(&mut self, first: (i64, f64), last: (i64, f64)) {
        if self.count == 0 {
            self.first = first;
        } else if first.1 < self.last.1 {
            self.lost.push(self.last.1);
        }
        self.last = last;
    }

    /// Anything is better than NaN, and the first of equals stays.
    fn add_extremes(&mut self, min: f64, max: f64) {
        self.min = if min < self.min || self.min.is_nan() { min } else { self.min };
        self.max = if max > self.max || self.max.is_nan() { max } else { self.max };
    }
}

#[cfg(test)]
mod tests {
    use model::select::{Columns, SummaryPoint};
    use model::{SeriesBlock, SeriesRef, TimeRange, Windows};

    use super::*;
    use crate::column::{ABSENT, Steps};
    use crate::eval::plan::Window;
    use crate::eval::samples::Samples;
    use crate::functions::{Body, lookup};

    const FUNCTIONS: [&str; 11] = [
        "count_over_time",
        "present_over_time",
        "sum_over_time",
        "avg_over_time",
        "min_over_time",
        "max_over_time",
        "first_over_time",
        "last_over_time",
        "rate",
        "increase",
        "delta",
    ];

    fn summary(times: &[i64], values: &[f64]) -> Summary {
        let extreme = |better: fn(f64, f64) -> bool| {
            values.iter().copied().reduce(|a, b| if better(b, a) || a.is_nan() { b } else { a }).unwrap()
        };
        Summary {
            range: TimeRange { start_ms: times[0], end_ms: times[times.len() - 1] },
            count: values.len() as u32,
            sum: KahanSum::of_all(values).value(),
            min: extreme(|b, a| b < a),
            max: extreme(|b, a| b > a),
            first: values[0],
            last: values[values.len() - 1],
            resets: values.windows(2).filter(|pair| pair[1] < pair[0]).count() as u32,
        }
    }

    /// A block in which chunks of `length` rows are told by summaries where the windows allow it.
    fn summarised(
        times: &[i64],
        values: &[f64],
        length: usize,
        windows: &Windows,
        counters: bool,
    ) -> SeriesBlock {
        let mut block = SeriesBlock::default();
        block.clear();
        for (times, values) in times.chunks(length).zip(values.chunks(length)) {
            let summary = summary(times, values);
            if !windows.touch(summary.range) {
                continue;
            }
            if windows.keep_whole(summary.range) && !(counters && summary.resets > 0) {
                let row = block.columns.timestamps.len() as u32;
                block.summaries.push(SummaryPoint { row, summary });
            } else {
                let Columns { timestamps, values: column, .. } = &mut block.columns;
                timestamps.extend_from_slice(times);
                column.extend_from_slice(values);
            }
        }
        block.end_series(SeriesRef(0));
        block
    }

    /// Whole numbers: their sums are exact, so nothing may differ.
    #[test]
    fn summaries_say_what_the_samples_say() {
        let mut state = 7u64;
        let mut next = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let mut used = 0;
        for round in 0..400 {
            let rows = 20 + next(200) as usize;
            let (mut time, mut value) = (0, 1000.0);
            let (mut times, mut values) = (Vec::new(), Vec::new());
            for _ in 0..rows {
                time += 1 + next(20) as i64;
                value = match next(30) {
                    0 => next(50) as f64,
                    1 if round % 3 == 0 => f64::NAN,
                    _ => value + next(9) as f64 - if round % 2 == 0 { 2.0 } else { 0.0 },
                };
                times.push(time);
                values.push(value);
            }
            let range_ms = 1 + next(time as u64) as i64;
            let window = Window { range_ms, ..Window::default() };
            let steps =
                Steps { start_ms: next(time as u64) as i64, step_ms: 1 + next(time as u64) as i64, count: 3 };
            let windows = window.windows(steps, range_ms);
            for name in FUNCTIONS {
                let Body::Range(function) = lookup(name).unwrap().body else { panic!("{name}") };
                let (fold, sweep) = (function.fold.unwrap(), function.sweep.unwrap());
                let counters = matches!(fold, Fold::Change(_));
                let block = summarised(&times, &values, 5 + next(20) as usize, &windows, counters);
                used += block.summaries.len();
                let samples = Samples::of(&block, 0, false);
                let (mut told, mut read) = ([ABSENT; 3], [ABSENT; 3]);
                let whole = Sweep { times: &times, values: &values, window, steps, scalars: &[] };
                fold.fill(&samples.summarised().unwrap(), &whole, &mut told);
                sweep(&whole, &mut read);
                let bits = |column: [f64; 3]| {
                    column
                        .map(|v| if v.is_nan() && v.to_bits() != ABSENT.to_bits() { 1 } else { v.to_bits() })
                };
                assert_eq!(bits(told), bits(read), "{name} in round {round}: {told:?} {read:?}");
            }
        }
        assert!(used > 2000, "{used} summaries are few");
    }
}
