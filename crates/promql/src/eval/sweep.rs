//! All windows of one series at once, where it has floats alone: what most queries come down to.
//!
//! A function over windows takes a [`Sweep`] and fills the column of all steps. Where neighbouring windows share most of
//! their samples it need not go through them again for each.

use std::ops::Range;

use crate::column::{ABSENT, Steps};
use crate::eval::plan::Window;

/// The floats of a series and the windows over them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sweep<'s> {
    pub(crate) times: &'s [i64],
    pub(crate) values: &'s [f64],
    pub(crate) window: Window,
    pub(crate) steps: Steps,
    /// The scalar arguments at each step.
    pub(crate) scalars: &'s [Vec<f64>],
}

/// Fills a column of all steps, absent everywhere before.
pub(crate) type SweepBody = fn(&Sweep<'_>, &mut [f64]);

impl Sweep<'_> {
    /// Asks for the value of every window that is not empty: its samples and where it ends.
    pub(crate) fn fill(&self, column: &mut [f64], mut value: impl FnMut(Range<usize>, i64) -> f64) {
        self.fill_steps(column, |_, within, end_ms| value(within, end_ms));
    }

    /// [`Sweep::fill`] of something that depends on the step.
    pub(crate) fn fill_steps(
        &self,
        column: &mut [f64],
        mut value: impl FnMut(usize, Range<usize>, i64) -> f64,
    ) {
        let (mut start, mut end) = (Cursor::default(), Cursor::default());
        for (step, place) in column.iter_mut().enumerate() {
            let end_ms = self.window.end(self.steps.at(step));
            end.move_past(self.times, end_ms);
            start.move_past(self.times, end_ms.saturating_sub(self.window.range_ms));
            if start.at < end.at {
                *place = value(step, start.at..end.at, end_ms);
            }
        }
    }

    /// Asks for the value of every window that is not empty, given its values.
    pub(crate) fn fill_from_values(&self, column: &mut [f64], value: impl Fn(&[f64]) -> f64) {
        self.fill(column, |within, _| value(&self.values[within]));
    }

    /// Fills with the sample of each window that no other one beats. A NaN beats none, and is beaten by all but the NaNs
    /// before it.
    pub(crate) fn fill_with_best(&self, column: &mut [f64], beats: impl Fn(f64, f64) -> bool) {
        // Those that may still be the best of a window: each is beaten by the one before it.
        let mut best: std::collections::VecDeque<usize> = std::collections::VecDeque::new();
        let mut seen = 0;
        self.fill(column, |within, _| {
            for at in seen.max(within.start)..within.end {
                let value = self.values[at];
                if value.is_nan() {
                    continue;
                }
                while best.back().is_some_and(|last| beats(value, self.values[*last])) {
                    best.pop_back();
                }
                best.push_back(at);
            }
            seen = within.end;
            while best.front().is_some_and(|first| *first < within.start) {
                best.pop_front();
            }
            self.values[best.front().copied().unwrap_or(within.end - 1)]
        });
    }

    /// Fills with the number of neighbours in each window for which something holds.
    pub(crate) fn fill_with_pairs(&self, column: &mut [f64], holds: impl Fn(f64, f64) -> bool) {
        let mut up_to = Vec::with_capacity(self.values.len());
        let mut count = 0u32;
        up_to.push(0);
        for pair in self.values.windows(2) {
            count += u32::from(holds(pair[0], pair[1]));
            up_to.push(count);
        }
        self.fill(column, |within, _| f64::from(up_to[within.end - 1] - up_to[within.start]));
    }

    /// Samples of a window, about.
    pub(crate) fn window_samples(&self) -> usize {
        let (Some(first), Some(last)) = (self.times.first(), self.times.last()) else { return 0 };
        let span = last.saturating_sub(*first).max(1);
        let samples = i128::from(self.window.range_ms) * self.times.len() as i128 / i128::from(span);
        usize::try_from(samples).unwrap_or(usize::MAX).min(self.times.len())
    }
}

/// A place among times that moves on as windows do: mostly as far as it did the last time.
#[derive(Clone, Copy, Debug, Default)]
struct Cursor {
    at: usize,
    stride: usize,
}

impl Cursor {
    /// Moves on to the first time behind `limit`, which does not fall from call to call.
    fn move_past(&mut self, times: &[i64], limit: i64) {
        let guess = self.at + self.stride;
        let is_past = |at: usize| times.get(at).is_none_or(|time| *time > limit);
        let reaches =
            guess.checked_sub(1).is_none_or(|before| times.get(before).is_some_and(|t| *t <= limit));
        if reaches && is_past(guess) {
            self.at = guess;
            return;
        }
        let from = self.at;
        while !is_past(self.at) {
            self.at += 1;
        }
        self.stride = self.at - from;
    }
}

/// A place without a value.
pub(crate) const NONE: f64 = ABSENT;

/// Moves a range of indexes on to the times in `(after, upto]`. Windows mostly move forward; under `@` they stay.
pub(crate) fn slide(range: &mut Range<usize>, times: &[i64], after: i64, upto: i64) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_find_what_a_search_finds() {
        let mut state = 7u64;
        let mut below = |bound: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % bound
        };
        for _ in 0..500 {
            let mut times: Vec<i64> = (0..below(60)).map(|_| below(400) as i64).collect();
            times.sort_unstable();
            times.dedup();
            let (mut cursor, mut limit) = (Cursor::default(), -5);
            for _ in 0..80 {
                let most = if below(3) == 0 { 30 } else { 6 };
                limit += below(most) as i64;
                cursor.move_past(&times, limit);
                assert_eq!(cursor.at, times.partition_point(|time| *time <= limit), "{times:?} {limit}");
            }
        }
    }
}
