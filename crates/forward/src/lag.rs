//! How far behind an output is, in time, and from where on it may be.
//!
//! The log does not say when a frame was written. So every second or so the end of the log is noted with the time; what
//! lies between two marks was written between them. Marks are thinned out, the older the more, so that a few hundred say of
//! any age up to a day how old it is, to a tenth.

use std::collections::VecDeque;

use wal::Position;

/// Marks at most.
const MARKS_MAX: usize = 256;

/// The end of the log at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) end: Position,
    pub(crate) at_ms: i64,
}

/// Marks, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Marks(VecDeque<Mark>);

impl Marks {
    pub(crate) fn new(marks: impl IntoIterator<Item = Mark>) -> Self {
        Self(marks.into_iter().collect())
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &Mark> {
        self.0.iter()
    }

    /// Notes where the log ends now. What `cursor` has behind it is forgotten.
    pub(crate) fn note(&mut self, end: Position, at_ms: i64, cursor: Position) {
        while self.0.front().is_some_and(|mark| mark.end <= cursor) {
            self.0.pop_front();
        }
        // A clock that was set back says nothing more about marks from then on.
        while self.0.back().is_some_and(|mark| mark.at_ms > at_ms) {
            self.0.pop_back();
        }
        if end <= cursor || self.0.back().is_some_and(|mark| mark.end >= end) {
            return;
        }
        self.0.push_back(Mark { end, at_ms });
        if self.0.len() > MARKS_MAX {
            self.thin_out(at_ms);
        }
    }

    /// Removes the mark that is missed least: the one between whose neighbours the least time lies, for their age.
    fn thin_out(&mut self, now_ms: i64) {
        let missed = |at: usize| {
            let gap_ms = self.0[at + 1].at_ms - self.0[at - 1].at_ms;
            gap_ms as f64 / (now_ms - self.0[at].at_ms).max(1) as f64
        };
        let least = (1..self.0.len() - 1).min_by(|one, other| missed(*one).total_cmp(&missed(*other)));
        if let Some(least) = least {
            self.0.remove(least);
        }
    }

    /// Milliseconds since what lies at `cursor` was written, at least.
    pub(crate) fn lag_ms(&self, cursor: Position, now_ms: i64) -> i64 {
        let behind = self.0.iter().find(|mark| mark.end > cursor);
        behind.map_or(0, |mark| now_ms.saturating_sub(mark.at_ms).max(0))
    }

    /// Where what was written before `before_ms` ends, if any of it lies behind `cursor`.
    pub(crate) fn end_before(&self, before_ms: i64, cursor: Position) -> Option<Position> {
        let old = self.0.iter().rev().find(|mark| mark.at_ms < before_ms)?;
        (old.end > cursor).then_some(old.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(sequence: u64) -> Position {
        Position { segment: 1, sequence }
    }

    #[test]
    fn the_lag_is_the_age_of_the_oldest_mark_that_is_not_reached() {
        let mut marks = Marks::default();
        marks.note(at(0), 0, at(0));
        assert_eq!(marks.lag_ms(at(0), 1000), 0);
        for second in 1..=10 {
            marks.note(at(second), second as i64 * 1000, at(0));
        }
        assert_eq!(marks.lag_ms(at(0), 12_000), 11_000);
        assert_eq!(marks.lag_ms(at(7), 12_000), 4_000);
        assert_eq!(marks.lag_ms(at(10), 12_000), 0);
        assert_eq!(marks.end_before(4_500, at(2)), Some(at(4)));
        assert_eq!(marks.end_before(4_500, at(4)), None);
        marks.note(at(10), 13_000, at(9));
        assert_eq!(marks.iter().len(), 1);
    }

    #[test]
    fn a_few_hundred_marks_tell_any_age_to_a_tenth() {
        let mut marks = Marks::default();
        for second in 1..=86_400 {
            marks.note(at(second), second as i64 * 1000, at(0));
        }
        assert!(marks.iter().len() <= MARKS_MAX);
        for age in [1, 10, 100, 1_000, 10_000, 80_000] {
            let told_ms = marks.lag_ms(at(86_400 - age), 86_400_000);
            let age_ms = age as i64 * 1000;
            assert!((told_ms - age_ms).abs() <= 1000 + age_ms / 10, "{age}: {told_ms}");
        }
    }
}
