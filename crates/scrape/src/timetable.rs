//! What is next: targets in the order of their times, and what time a scrape's samples have.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use env::Clock;
use tokio::time::Instant;

use crate::life::Life;
use crate::schedule::Place;

/// Samples have the time at which they were due when the scrape began this much later at most, or a hundredth of the
/// interval: regular times take less room.
const TOLERANCE: Duration = Duration::from_millis(2);

/// The wall clock was set when it moved by more than this against the other one.
const STEP_MS: i64 = 10;

/// What happens to a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum What {
    /// It is scraped.
    Scrape,
    /// It has been gone for so long that its series end; at this time, in milliseconds since the Unix epoch.
    End(i64),
}

/// Something that is due.
#[derive(Debug)]
pub(crate) struct Entry {
    /// By the clock that never jumps.
    pub(crate) due: Duration,
    /// What.
    pub(crate) what: What,
    /// Whose. An entry of a target that is scraped no more is passed over.
    pub(crate) life: Arc<Life>,
    number: u64,
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.number).cmp(&(other.due, other.number))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Entry {}

/// Everything that is due, and the clocks that it is read from.
#[derive(Debug)]
pub(crate) struct Timetable {
    entries: BinaryHeap<Reverse<Entry>>,
    number: u64,
    /// The same moment by both.
    began: (Instant, Duration),
    /// The wall clock's lead over the other one, in milliseconds.
    lead_ms: i64,
}

impl Timetable {
    /// Nothing is due.
    pub(crate) fn new(clock: &dyn Clock) -> Self {
        let now = clock.monotonic();
        Self {
            entries: BinaryHeap::new(),
            number: 0,
            began: (Instant::now(), now),
            lead_ms: clock.now_ms() - millis(now),
        }
    }

    /// Puts a target at its next time from now on.
    pub(crate) fn begin(&mut self, life: Arc<Life>, place: Place, clock: &dyn Clock) {
        let now = clock.monotonic();
        let since_epoch = Duration::from_millis(u64::try_from(self.lead_ms).unwrap_or(0)) + now;
        self.put(now + place.wait(since_epoch), What::Scrape, life);
    }

    /// Puts something at a time.
    pub(crate) fn put(&mut self, due: Duration, what: What, life: Arc<Life>) {
        self.number += 1;
        self.entries.push(Reverse(Entry { due, what, life, number: self.number }));
    }

    /// When the next thing is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        let Reverse(entry) = self.entries.peek()?;
        Some(self.began.0 + entry.due.saturating_sub(self.began.1))
    }

    /// The next thing, if its time has come.
    pub(crate) fn take(&mut self, now: Duration) -> Option<Entry> {
        let Reverse(entry) = self.entries.peek()?;
        if entry.due > now {
            return None;
        }
        self.entries.pop().map(|Reverse(entry)| entry)
    }

    /// The time of what was due at `due`, by the wall clock, when it did not happen late.
    pub(crate) fn wall_ms(&mut self, due: Duration, interval: Duration, clock: &dyn Clock) -> i64 {
        let (now, now_ms) = (clock.monotonic(), clock.now_ms());
        let lead_ms = now_ms - millis(now);
        if (lead_ms - self.lead_ms).abs() > STEP_MS {
            self.lead_ms = lead_ms;
        }
        let is_late = now.saturating_sub(due) > TOLERANCE.min(interval / 100);
        if is_late { now_ms } else { self.at_ms(due) }
    }

    /// A time by the wall clock.
    pub(crate) fn at_ms(&self, due: Duration) -> i64 {
        millis(due) + self.lead_ms
    }
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
