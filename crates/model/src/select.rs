//! What a query asks of a store and what it gets: time ranges, hints, a budget, and series as columns.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::histogram::{Histogram, ResetHint};

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

/// What the evaluator will do with a selection: a store may use it to read less, never to answer otherwise. By default
/// everything is looked at.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Hints {
    /// The times that are looked at; `None` = the whole range.
    pub windows: Option<Windows>,
    /// What of the samples in a window is looked at.
    pub detail: Detail,
    /// Which labels are looked at.
    pub labels: WantedLabels,
    /// Series that are wanted at most; 0 = all.
    pub limit: usize,
}

/// Windows of one length whose ends lie at even distances. They are open at their start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// The end of the first, ms.
    pub first_ms: i64,
    /// From one end to the next, ms; at least 1.
    pub step_ms: i64,
    /// How many there are; at least 1.
    pub count: usize,
    /// How long each is, ms.
    pub length_ms: i64,
}

impl Windows {
    /// The end of a window.
    pub fn end_ms(&self, window: usize) -> i64 {
        self.first_ms.saturating_add(self.step_ms.saturating_mul(window as i64))
    }

    /// The number of the first window that does not end before `ms`; [`Windows::count`] when all do.
    fn first_from(&self, ms: i64) -> usize {
        let distance = i128::from(ms) - i128::from(self.first_ms);
        let step = i128::from(self.step_ms.max(1));
        let window = distance.max(0).div_euclid(step) + i128::from(distance.max(0).rem_euclid(step) > 0);
        usize::try_from(window).unwrap_or(usize::MAX).min(self.count)
    }

    /// Whether any window has a ms in common with the range.
    pub fn touch(&self, range: TimeRange) -> bool {
        // Of those that do not end before the range begins, the first is the one that begins first.
        let window = self.first_from(range.start_ms);
        self.length_ms > 0
            && window < self.count
            && self.end_ms(window).saturating_sub(self.length_ms) < range.end_ms
    }

    /// Whether each window has all of the range or nothing of it: none begins or ends within it, but for its last ms.
    pub fn keep_whole(&self, range: TimeRange) -> bool {
        let cut = |edges: &Windows| {
            let window = edges.first_from(range.start_ms);
            window < edges.count && edges.end_ms(window) < range.end_ms
        };
        let starts = Windows { first_ms: self.first_ms.saturating_sub(self.length_ms), ..*self };
        self.length_ms <= 0 || !cut(self) && !cut(&starts)
    }
}

/// What of the samples in a window is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Detail {
    /// Each of them.
    #[default]
    All,
    /// The newest: what is older than the newest sample of each window may be left out.
    Newest,
    /// Their number, sum, extremes, first and last: a [`Summary`] says as much as the samples themselves.
    Summaries,
    /// The first and the last of a counter: a [`Summary`] without a reset says as much.
    Counters,
}

/// Which labels of the series are looked at. The others may be left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum WantedLabels {
    /// All.
    #[default]
    All,
    /// These.
    Only(Vec<String>),
    /// All but these.
    Without(Vec<String>),
}

impl WantedLabels {
    /// Whether a label is looked at.
    pub fn wants(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) => names.iter().any(|wanted| wanted == name),
            Self::Without(names) => names.iter().all(|left_out| left_out != name),
        }
    }
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
    /// What is known of resets here ([`Histogram::hint_after`]); the histogram's own hint is what was sent.
    pub hint: ResetHint,
}

impl HistogramPoint {
    /// A histogram of which it is not known what came before it.
    pub fn new(row: u32, histogram: Arc<Histogram>) -> Self {
        Self { row, hint: histogram.hint_after(None), histogram }
    }
}

/// What can be said of consecutive float samples without looking at each. None of them is a stale marker.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// From the first to the last.
    pub range: TimeRange,
    /// How many there are.
    pub count: u32,
    /// Their sum, added in order.
    pub sum: f64,
    /// The smallest that is no NaN, if there is one.
    pub min: f64,
    /// The largest that is no NaN, if there is one.
    pub max: f64,
    /// The first.
    pub first: f64,
    /// The last.
    pub last: f64,
    /// How often one was below the one before.
    pub resets: u32,
}

/// A summary in the place of the samples that it stands for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SummaryPoint {
    /// The row behind it: index into the block's columns, or their length.
    pub row: u32,
    /// The value.
    pub summary: Summary,
}

/// Rows as columns.
#[derive(Clone, Debug, Default)]
pub struct Columns {
    /// Column of times in ms.
    pub timestamps: Vec<i64>,
    /// Column of floats; 0 where a histogram stands.
    pub values: Vec<f64>,
    /// Rows that hold a histogram, sorted by row.
    pub histograms: Vec<HistogramPoint>,
    /// Column of start times in ms (0 = unknown); empty when no row has one.
    pub starts: Vec<i64>,
}

impl Columns {
    /// Forgets the rows, keeps the memory.
    pub fn clear(&mut self) {
        self.truncate(0);
    }

    /// Appends a float.
    pub fn push(&mut self, timestamp_ms: i64, value: f64) {
        self.timestamps.push(timestamp_ms);
        self.values.push(value);
        if !self.starts.is_empty() {
            self.starts.push(0);
        }
    }

    /// Forgets all rows but the first so many.
    pub fn truncate(&mut self, rows: usize) {
        self.timestamps.truncate(rows);
        self.values.truncate(rows);
        self.starts.truncate(rows);
        let histograms = self.histograms.partition_point(|point| (point.row as usize) < rows);
        self.histograms.truncate(histograms);
    }

    /// Finds out about resets in the rows from `first` on, which follow each other in one series.
    pub fn find_resets(&mut self, first: usize) {
        let before = self.histograms.partition_point(|point| (point.row as usize) < first);
        let points = &mut self.histograms[before..];
        for at in 1..points.len() {
            if points[at - 1].row + 1 == points[at].row {
                points[at].hint = points[at].histogram.hint_after(Some(&points[at - 1].histogram));
            }
        }
    }

    /// What lay before `row` is gone: of resets there nothing is known.
    pub fn forget_before(&mut self, row: usize) {
        if let Ok(at) = self.histograms.binary_search_by_key(&row, |point| point.row as usize) {
            self.histograms[at].hint = self.histograms[at].histogram.hint_after(None);
        }
    }

    /// Of the rows from `first` on, which are sorted by time, keeps those within the range.
    pub fn keep_within(&mut self, first: usize, range: TimeRange) {
        let times = &self.timestamps[first..];
        let end = first + times.partition_point(|ms| *ms <= range.end_ms);
        let start = first + times.partition_point(|ms| *ms < range.start_ms);
        self.truncate(end);
        let start = start.min(end);
        if start == first {
            return;
        }
        self.timestamps.drain(first..start);
        self.values.drain(first..start);
        if !self.starts.is_empty() {
            self.starts.drain(first..start);
        }
        let gone = (start - first) as u32;
        let before = self.histograms.partition_point(|point| (point.row as usize) < first);
        let after = self.histograms.partition_point(|point| (point.row as usize) < start);
        self.histograms.drain(before..after);
        self.histograms[before..].iter_mut().for_each(|point| point.row -= gone);
    }
}

/// Some series with their samples as columns: series `i` owns rows `offsets[i]..offsets[i + 1]`, sorted by time,
/// no time twice. Stale markers are included.
#[derive(Clone, Debug, Default)]
pub struct SeriesBlock {
    /// The series.
    pub series: Vec<SeriesRef>,
    /// `series.len() + 1` row numbers, growing.
    pub offsets: Vec<u32>,
    /// The rows.
    pub columns: Columns,
    /// Summaries in the place of rows, where these were asked for; series `i` owns the ones in
    /// `summary_offsets[i]..summary_offsets[i + 1]`.
    pub summaries: Vec<SummaryPoint>,
    /// `series.len() + 1` numbers of summaries, growing.
    pub summary_offsets: Vec<u32>,
}

impl SeriesBlock {
    /// Makes it empty, keeps the memory.
    pub fn clear(&mut self) {
        self.series.clear();
        self.offsets.clear();
        self.offsets.push(0);
        self.columns.clear();
        self.summaries.clear();
        self.summary_offsets.clear();
        self.summary_offsets.push(0);
    }

    /// Ends a series: everything that was added since the one before is its.
    pub fn end_series(&mut self, series: SeriesRef) {
        self.series.push(series);
        self.offsets.push(self.columns.timestamps.len() as u32);
        self.summary_offsets.push(self.summaries.len() as u32);
    }
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

    /// Keeps so many bytes charged, whatever was charged before.
    pub fn settle(&self, bytes: u64) -> Result<(), Stop> {
        let used = self.used();
        match used.checked_sub(bytes) {
            Some(more) => {
                self.release(more);
                Ok(())
            }
            None => self.charge(bytes - used),
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
    use crate::histogram::BucketCounts;

    #[test]
    fn windows_touch_and_keep_ranges_as_each_of_their_ms_says() {
        let shapes = [(10, 7, 4, 3), (10, 3, 5, 8), (0, 1, 1, 5), (-4, 10, 3, 10), (5, 2, 6, 0)];
        for (first_ms, step_ms, count, length_ms) in shapes {
            let windows = Windows { first_ms, step_ms, count, length_ms };
            for start_ms in -20..60 {
                for end_ms in start_ms..start_ms + 12 {
                    let range = TimeRange { start_ms, end_ms };
                    let inside = |window: usize| {
                        let end = windows.end_ms(window);
                        (start_ms..=end_ms).filter(|ms| end - length_ms < *ms && *ms <= end).count()
                    };
                    let each: Vec<usize> = (0..count).map(inside).collect();
                    let all = (end_ms - start_ms + 1) as usize;
                    let told = format!("{windows:?} {range:?}");
                    assert_eq!(windows.touch(range), each.iter().any(|n| *n > 0), "{told}");
                    let whole = each.iter().all(|n| *n == 0 || *n == all);
                    assert_eq!(windows.keep_whole(range), whole, "{told}");
                }
            }
        }
    }

    #[test]
    fn rows_out_of_the_range_go_and_what_stood_before_them_stays() {
        let counts = BucketCounts::Integer { count: 0, zero: 0, positive: vec![], negative: vec![] };
        let empty = Arc::new(Histogram {
            schema: 0,
            zero_threshold: 0.0,
            sum: 0.0,
            reset_hint: ResetHint::Unknown,
            positive_spans: vec![],
            negative_spans: vec![],
            counts,
            custom_bounds: vec![],
        });
        let histogram = |row| HistogramPoint::new(row, empty.clone());
        let columns = Columns {
            timestamps: vec![7, 1, 2, 3, 4, 5],
            values: vec![70.0, 0.0, 20.0, 0.0, 40.0, 0.0],
            histograms: [1, 3, 5].map(histogram).into(),
            starts: vec![0, 1, 2, 3, 4, 5],
        };
        for (range, rows) in [((2, 4), 2..5), ((0, 9), 1..6), ((3, 3), 3..4), ((6, 9), 0..0), ((9, 0), 0..0)]
        {
            let mut kept = columns.clone();
            kept.keep_within(1, TimeRange { start_ms: range.0, end_ms: range.1 });
            let rows: Vec<usize> = [0].into_iter().chain(rows).collect();
            assert_eq!(kept.timestamps, rows.iter().map(|row| columns.timestamps[*row]).collect::<Vec<_>>());
            assert_eq!(kept.values, rows.iter().map(|row| columns.values[*row]).collect::<Vec<_>>());
            assert_eq!(kept.starts, rows.iter().map(|row| columns.starts[*row]).collect::<Vec<_>>());
            let points: Vec<u32> = kept.histograms.iter().map(|point| point.row).collect();
            let of = |row: &usize| columns.histograms.iter().any(|point| point.row as usize == *row);
            let wanted: Vec<u32> = (0..).zip(&rows).filter(|(_, row)| of(row)).map(|(at, _)| at).collect();
            assert_eq!(points, wanted, "{range:?}");
        }
    }

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
