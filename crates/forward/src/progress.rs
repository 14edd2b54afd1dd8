//! What of the log an output is done with.
//!
//! Loads are finished in any order; the cursor is the lowest position of which some row is in a load that is not.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use wal::Position;

/// Where an output is.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// What is read next.
    next: Position,
    /// Of loads that are not finished: the position of their first row, and how many begin there.
    open: BTreeMap<Position, u32>,
    /// Rows in them.
    rows: u64,
}

impl Progress {
    /// Nothing is open, and `next` is read next.
    pub(crate) fn reset(&self, next: Position) {
        *self.state() = State { next, ..State::default() };
    }

    /// A load begins whose first row lies at `first`.
    pub(crate) fn begin(&self, first: Position) {
        *self.state().open.entry(first).or_default() += 1;
    }

    /// Rows were added to loads.
    pub(crate) fn add(&self, rows: u64) {
        self.state().rows += rows;
    }

    /// A load with so many rows is finished.
    pub(crate) fn finish(&self, first: Position, rows: u64) {
        let mut state = self.state();
        state.rows = state.rows.saturating_sub(rows);
        if let Some(count) = state.open.get_mut(&first) {
            *count -= 1;
            if *count == 0 {
                state.open.remove(&first);
            }
        }
        self.changed.notify_all();
    }

    /// Everything before `next` is in loads.
    pub(crate) fn reach(&self, next: Position) {
        self.state().next = next;
    }

    /// The lowest position of which something is not sent.
    pub(crate) fn cursor(&self) -> Position {
        let state = self.state();
        state.open.first_key_value().map_or(state.next, |(first, _)| (*first).min(state.next))
    }

    /// Rows in loads that are not finished.
    pub(crate) fn rows(&self) -> u64 {
        self.state().rows
    }

    /// Waits until no load is open; whether that is so within `wait`.
    pub(crate) fn wait_idle(&self, wait: Duration) -> bool {
        let state = self.state();
        let (state, _) = self
            .changed
            .wait_timeout_while(state, wait, |state| !state.open.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        state.open.is_empty()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cursor_is_the_first_position_that_is_not_finished() {
        let at = |sequence| Position { segment: 1, sequence };
        let progress = Progress::default();
        progress.reset(at(5));
        progress.begin(at(5));
        progress.begin(at(5));
        progress.begin(at(7));
        progress.add(9);
        progress.reach(at(9));
        assert_eq!(progress.cursor(), at(5));
        progress.finish(at(5), 3);
        assert_eq!(progress.cursor(), at(5));
        progress.finish(at(5), 3);
        assert_eq!((progress.cursor(), progress.rows()), (at(7), 3));
        assert!(!progress.wait_idle(Duration::ZERO));
        progress.finish(at(7), 3);
        assert_eq!(progress.cursor(), at(9));
        assert!(progress.wait_idle(Duration::ZERO));
    }
}
