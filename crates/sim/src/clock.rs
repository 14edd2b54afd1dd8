//! A clock that the test sets: wall time may jump by years in either direction, monotonic time only goes on.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A simulated clock; clones show the same time.
#[derive(Clone, Debug)]
pub struct SimClock(Arc<Mutex<Hands>>);

#[derive(Debug)]
struct Hands {
    wall_ms: i64,
    monotonic: Duration,
}

impl SimClock {
    /// A clock that shows `wall_ms` and has run for no time.
    pub fn new(wall_ms: i64) -> Self {
        Self(Arc::new(Mutex::new(Hands { wall_ms, monotonic: Duration::ZERO })))
    }

    /// Time passes: both clocks go on.
    pub fn advance(&self, by: Duration) {
        self.change(|hands| {
            hands.monotonic += by;
            hands.wall_ms = hands.wall_ms.saturating_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX));
        });
    }

    /// Somebody sets the wall clock: it jumps, no time passes.
    pub fn jump(&self, by_ms: i64) {
        self.change(|hands| hands.wall_ms = hands.wall_ms.saturating_add(by_ms));
    }

    fn change<T>(&self, change: impl FnOnce(&mut Hands) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl env::Clock for SimClock {
    fn now_ms(&self) -> i64 {
        self.change(|hands| hands.wall_ms)
    }

    fn monotonic(&self) -> Duration {
        self.change(|hands| hands.monotonic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use env::Clock;

    #[test]
    fn only_the_wall_clock_jumps() {
        let clock = SimClock::new(1_000);
        clock.advance(Duration::from_secs(2));
        clock.jump(-10_000);
        assert_eq!((clock.now_ms(), clock.monotonic()), (-7_000, Duration::from_secs(2)));
    }
}
