//! What a query asks of a store and what it gets: time ranges, hints, a budget, and series as columns.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::histogram::Histogram;

/// Both ends belong to the range, in ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeRange {
    /// First ms.
    pub start_ms: i64,
    /// Last ms.
    pub end_ms: i64,
}

impl TimeRange {
    /// Whether `ms` lies inside.
    pub fn contains(&self, ms: i64) -> bool {
        self.start_ms <= ms && ms <= self.end_ms
    }

    /// Whether the two share a ms.
    pub fn overlaps(&self, other: &TimeRange) -> bool {
        self.start_ms <= other.end_ms && other.start_ms <= self.end_ms
    }
}

/// What the evaluator will do with a selection: a store may use it to read less, never to answer otherwise.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Hints {
    /// The function around the selector, or empty.
    pub function: String,
    /// The selector's own range (`[5m]`), in ms; 0 for an instant selector.
    pub window_ms: i64,
    /// The query's step in ms; 0 for an instant query.
    pub step_ms: i64,
    /// Labels of the aggregation around it, and whether it is `by` (else `without`).
    pub grouping: Option<(Vec<String>, bool)>,
    /// Series that are wanted at most; 0 = all.
    pub limit: usize,
}

/// A series within one selection. Its labels are resolved by the selection that gave it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SeriesRef(pub u64);

/// A row of a block that holds a native histogram in place of a float.
#[derive(Clone, Debug)]
pub struct HistogramPoint {
    /// Index into the block's columns; the float there has no meaning.
    pub row: u32,
    /// The value.
    pub histogram: Arc<Histogram>,
}

/// Some series with their samples as columns: series `i` owns rows `offsets[i]..offsets[i + 1]`, sorted by time,
/// no time twice. Stale markers are included.
#[derive(Clone, Debug, Default)]
pub struct SeriesBlock {
    /// The series.
    pub series: Vec<SeriesRef>,
    /// `series.len() + 1` row numbers, growing.
    pub offsets: Vec<u32>,
    /// Column of times in ms.
    pub timestamps: Vec<i64>,
    /// Column of floats.
    pub values: Vec<f64>,
    /// Histogram rows, sorted by row.
    pub histograms: Vec<HistogramPoint>,
    /// Column of start times in ms (0 = unknown); empty when no row has one.
    pub starts: Vec<i64>,
}

/// What a query may use: bytes it may hold, and whether it should go on. Shared by everyone who works on the query.
#[derive(Debug)]
pub struct Budget {
    bytes_left: AtomicU64,
    bytes_limit: u64,
    cancelled: AtomicBool,
    /// What all queries together may hold; given back when this budget ends.
    total: Option<Arc<Budget>>,
}

/// Why a query must stop.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    /// Occurs when the query would hold more memory than its tenant's `limits.query_bytes`.
    #[error("query needs more than {limit} bytes of memory (limits.query_bytes)")]
    OverBudget {
        /// Bytes allowed.
        limit: u64,
    },
    /// Occurs when all queries together would hold more memory than `query.memory_bytes`.
    #[error("queries together need more than {limit} bytes of memory (query.memory_bytes), try again later")]
    OverTotal {
        /// Bytes allowed.
        limit: u64,
    },
    /// Occurs when the client left or the query's time ran out.
    #[error("query was cancelled")]
    Cancelled,
}

impl Budget {
    /// A budget of this many bytes.
    pub fn new(bytes_limit: u64) -> Self {
        Self::with(bytes_limit, None)
    }

    /// A budget of this many bytes, which are taken out of `total` as they are charged.
    pub fn within(total: Arc<Budget>, bytes_limit: u64) -> Self {
        Self::with(bytes_limit, Some(total))
    }

    fn with(bytes_limit: u64, total: Option<Arc<Budget>>) -> Self {
        let (bytes_left, cancelled) = (AtomicU64::new(bytes_limit), AtomicBool::new(false));
        Self { bytes_left, bytes_limit, cancelled, total }
    }

    /// Takes `bytes` before they are allocated.
    pub fn charge(&self, bytes: u64) -> Result<(), Stop> {
        self.check()?;
        if !self.take(bytes) {
            return Err(Stop::OverBudget { limit: self.bytes_limit });
        }
        match &self.total {
            Some(total) if !total.take(bytes) => {
                self.give_back(bytes);
                Err(Stop::OverTotal { limit: total.bytes_limit })
            }
            _ => Ok(()),
        }
    }

    /// Gives `bytes` back that were charged before.
    pub fn release(&self, bytes: u64) {
        self.give_back(bytes);
        if let Some(total) = &self.total {
            total.give_back(bytes);
        }
    }

    fn take(&self, bytes: u64) -> bool {
        let less = |left: u64| left.checked_sub(bytes);
        self.bytes_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }

    fn give_back(&self, bytes: u64) {
        self.bytes_left.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes charged now.
    pub fn used(&self) -> u64 {
        self.bytes_limit - self.bytes_left.load(Ordering::Relaxed)
    }

    /// Tells everyone who works on the query to stop.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Whether the query should go on; checked per block.
    pub fn check(&self) -> Result<(), Stop> {
        if self.cancelled.load(Ordering::Relaxed) { Err(Stop::Cancelled) } else { Ok(()) }
    }
}

impl Drop for Budget {
    fn drop(&mut self) {
        if let Some(total) = &self.total {
            total.give_back(self.used());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_share_a_total_and_give_it_back_when_they_end() {
        let total = Arc::new(Budget::new(100));
        let (first, second) =
            (Budget::within(Arc::clone(&total), 80), Budget::within(Arc::clone(&total), 80));
        first.charge(70).unwrap();
        assert_eq!(second.charge(31), Err(Stop::OverTotal { limit: 100 }));
        assert_eq!(second.used(), 0);
        first.release(20);
        second.charge(50).unwrap();
        drop(first);
        assert_eq!(total.used(), 50);
        drop(second);
        assert_eq!(total.used(), 0);
    }

    #[test]
    fn a_budget_refuses_before_it_is_exceeded_and_takes_back() {
        let budget = Budget::new(100);
        budget.charge(60).unwrap();
        assert_eq!(budget.charge(41), Err(Stop::OverBudget { limit: 100 }));
        budget.release(20);
        budget.charge(60).unwrap();
        assert_eq!(budget.used(), 100);
        budget.cancel();
        assert_eq!(budget.charge(0), Err(Stop::Cancelled));
    }
}
