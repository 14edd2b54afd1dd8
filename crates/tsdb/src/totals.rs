//! Running totals of series that come as deltas.
//!
//! Deltas are added up where the order of the log is made: by the writer, while it builds a group. A total is proposed
//! until the group is durable and settled then, or dropped when the group failed: what a sender was not told to be there is
//! sent again. The log has the totals, never the deltas, each beside the sample that shows it, and all of them once more
//! where a flush has moved the beginning of the log; so a replay knows each series' last one.

use foldhash::{HashMap, HashMapExt};
use model::Reason;
use roaring::RoaringBitmap;

/// What was added to a series in a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delta {
    pub(crate) slot: u32,
    /// Which of the request's items it came from.
    pub(crate) item: u32,
    /// When it began, in ms; 0 = where the one before ended.
    pub(crate) start_ms: i64,
    pub(crate) timestamp_ms: i64,
    pub(crate) value: f64,
}

/// What was added to a series so far.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Total {
    pub(crate) start_ms: i64,
    /// The end of the last delta.
    pub(crate) end_ms: i64,
    pub(crate) value: f64,
}

/// Totals of the series in the head, by slot.
#[derive(Debug)]
pub(crate) struct Totals {
    settled: HashMap<u32, Total>,
    proposed: HashMap<u32, Total>,
}

impl Default for Totals {
    fn default() -> Self {
        Self { settled: HashMap::new(), proposed: HashMap::new() }
    }
}

/// Bytes of a slot and its total in a hash table, with slack.
const TOTAL_BYTES: u64 = 56;

impl Totals {
    /// Adds a delta to its series' total as it is proposed so far.
    pub(crate) fn propose(&mut self, delta: &Delta) -> Result<Total, Reason> {
        let before = self.proposed.get(&delta.slot).or_else(|| self.settled.get(&delta.slot));
        let total = match before {
            Some(before) if delta.timestamp_ms <= before.end_ms => return Err(Reason::LateDelta),
            Some(before) => {
                Total { end_ms: delta.timestamp_ms, value: before.value + delta.value, ..*before }
            }
            None => Total::first(delta),
        };
        if !total.value.is_finite() {
            return Err(Reason::InvalidValue);
        }
        self.proposed.insert(delta.slot, total);
        Ok(total)
    }

    /// What was proposed is durable.
    pub(crate) fn settle(&mut self) {
        self.settled.extend(self.proposed.drain());
    }

    /// What was proposed is not.
    pub(crate) fn drop_proposed(&mut self) {
        self.proposed.clear();
    }

    /// Takes what the log says.
    pub(crate) fn set(&mut self, slot: u32, total: Total) {
        self.settled.insert(slot, total);
    }

    /// Series that leave the head start anew when they come again.
    pub(crate) fn forget(&mut self, slots: &RoaringBitmap) {
        self.settled.retain(|slot, _| !slots.contains(*slot));
        if self.settled.len() < self.settled.capacity() / 4 {
            self.settled.shrink_to_fit();
        }
    }

    /// Settled ones in order of their slots.
    pub(crate) fn sorted(&self) -> Vec<(u32, Total)> {
        let mut totals: Vec<_> = self.settled.iter().map(|(slot, total)| (*slot, *total)).collect();
        totals.sort_unstable_by_key(|(slot, _)| *slot);
        totals
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.settled.is_empty()
    }

    /// Bytes held, estimated.
    pub(crate) fn bytes(&self) -> u64 {
        self.settled.capacity() as u64 * TOTAL_BYTES
    }
}

impl Total {
    /// The total of a series without one. When its sender does not say when it began, it began right before: so the first
    /// delta counts in full for whoever looks at starts, whether or not the series had a total before.
    fn first(delta: &Delta) -> Self {
        let is_start = delta.start_ms != 0 && delta.start_ms < delta.timestamp_ms;
        let start_ms = if is_start { delta.start_ms } else { delta.timestamp_ms.saturating_sub(1) };
        Self { start_ms, end_ms: delta.timestamp_ms, value: delta.value }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delta(slot: u32, start_ms: i64, timestamp_ms: i64, value: f64) -> Delta {
        Delta { slot, item: 0, start_ms, timestamp_ms, value }
    }

    #[test]
    fn totals_add_up_and_what_failed_was_never_there() {
        let mut totals = Totals::default();
        let total = |start_ms, end_ms, value| Ok(Total { start_ms, end_ms, value });
        assert_eq!(totals.propose(&delta(1, 5, 10, 2.0)), total(5, 10, 2.0));
        assert_eq!(totals.propose(&delta(1, 10, 20, 3.0)), total(5, 20, 5.0), "in one group");
        assert_eq!(totals.propose(&delta(1, 10, 20, 3.0)), Err(Reason::LateDelta));
        totals.settle();
        assert_eq!(totals.propose(&delta(1, 0, 30, 4.0)), total(5, 30, 9.0));
        totals.drop_proposed();
        assert_eq!(totals.propose(&delta(1, 0, 30, 1.0)), total(5, 30, 6.0));
        assert_eq!(totals.propose(&delta(1, 0, 15, 1.0)), Err(Reason::LateDelta));
        assert_eq!(totals.propose(&delta(2, 0, 30, f64::MAX)), total(29, 30, f64::MAX), "no start");
        assert_eq!(totals.propose(&delta(2, 0, 31, f64::MAX)), Err(Reason::InvalidValue));
        totals.settle();
        totals.forget(&RoaringBitmap::from([1]));
        assert_eq!(totals.propose(&delta(1, 30, 40, 7.0)), total(30, 40, 7.0), "anew");
    }
}
