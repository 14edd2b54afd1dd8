//! One series' rows from several places, settled into one column set.
//!
//! The rule of the house: the same timestamp twice, the later write wins; a stale marker never replaces a value.

use std::sync::Arc;

use model::select::HistogramPoint;
use model::{Histogram, TimeRange, is_stale};

use crate::block::Columns;
use crate::head::log::LogSample;
use crate::head::side::Side;

/// One write of one row.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    pub(crate) timestamp_ms: i64,
    pub(crate) value: f64,
    pub(crate) start_ms: i64,
    pub(crate) histogram: Option<Arc<Histogram>>,
}

impl Write {
    fn is_stale(&self) -> bool {
        self.histogram.as_ref().map_or_else(|| is_stale(self.value), |h| h.is_stale())
    }
}

impl Columns {
    /// Drops rows outside the range.
    pub(crate) fn clip(&mut self, range: TimeRange) {
        if self.timestamps.iter().all(|ms| range.contains(*ms)) {
            return;
        }
        let inside = self.take_writes().into_iter().filter(|write| range.contains(write.timestamp_ms));
        self.extend(inside);
    }

    /// The rows as writes, in order; the columns are empty afterwards.
    fn take_writes(&mut self) -> Vec<Write> {
        let mut writes = Vec::with_capacity(self.timestamps.len());
        let mut histograms = std::mem::take(&mut self.histograms).into_iter().peekable();
        for (row, (timestamp_ms, value)) in self.timestamps.iter().zip(&self.values).enumerate() {
            let histogram = histograms.next_if(|h| h.row as usize == row).map(|h| h.histogram);
            let start_ms = self.starts.get(row).copied().unwrap_or(0);
            writes.push(Write { timestamp_ms: *timestamp_ms, value: *value, start_ms, histogram });
        }
        self.clear();
        writes
    }

    /// Whether the rows are in order without a time twice.
    pub(crate) fn is_settled(&self) -> bool {
        self.timestamps.is_sorted_by(|a, b| a < b)
    }

    /// Puts rows that stand in the order of their writes in order of time.
    pub(crate) fn settle(&mut self) {
        if self.is_settled() {
            return;
        }
        let writes = self.take_writes();
        self.extend(settle(writes));
    }

    /// Appends rows.
    pub(crate) fn extend(&mut self, writes: impl IntoIterator<Item = Write>) {
        for write in writes {
            let row = self.timestamps.len();
            self.timestamps.push(write.timestamp_ms);
            self.values.push(write.value);
            if write.start_ms != 0 && self.starts.is_empty() {
                self.starts.resize(row, 0);
            }
            if write.start_ms != 0 || !self.starts.is_empty() {
                self.starts.push(write.start_ms);
            }
            if let Some(histogram) = write.histogram {
                self.histograms.push(HistogramPoint { row: row as u32, histogram });
            }
        }
    }

    /// Appends the head's rows of one series in the order of their writes.
    pub(crate) fn extend_from_head(&mut self, floats: impl Iterator<Item = LogSample>, side: Option<&Side>) {
        let plain = |s: &LogSample| Write {
            timestamp_ms: s.timestamp_ms,
            value: s.value,
            start_ms: 0,
            histogram: None,
        };
        let Some(side) = side.filter(|side| !side.histograms.is_empty() || !side.starts.is_empty()) else {
            if self.starts.is_empty() {
                for sample in floats {
                    self.timestamps.push(sample.timestamp_ms);
                    self.values.push(sample.value);
                }
            } else {
                self.extend(floats.map(|s| plain(&s)));
            }
            return;
        };
        let mut writes: Vec<(u64, Write)> = floats
            .map(|sample| {
                let start = side.starts.binary_search_by_key(&sample.position, |(position, _)| *position);
                let start_ms = start.map_or(0, |at| side.starts[at].1);
                // A histogram carries the position of the float that came after it.
                (sample.position * 2 + 1, Write { start_ms, ..plain(&sample) })
            })
            .collect();
        writes.extend(side.histograms.iter().map(|(position, sample)| {
            let histogram = Some(sample.histogram.clone());
            let write =
                Write { timestamp_ms: sample.timestamp_ms, value: 0.0, start_ms: sample.start_ms, histogram };
            (position * 2, write)
        }));
        writes.sort_by_key(|(order, _)| *order);
        self.extend(writes.into_iter().map(|(_, write)| write));
    }
}

/// Sorts writes by time and keeps one for each time. `writes` stand in the order in which they were made.
fn settle(mut writes: Vec<Write>) -> Vec<Write> {
    writes.sort_by_key(|write| write.timestamp_ms);
    let mut settled: Vec<Write> = Vec::with_capacity(writes.len());
    for write in writes {
        match settled.last_mut() {
            Some(last) if last.timestamp_ms == write.timestamp_ms => {
                if !write.is_stale() || last.is_stale() {
                    *last = write;
                }
            }
            _ => settled.push(write),
        }
    }
    settled
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::STALE_NAN_BITS;

    fn settled(rows: &[(i64, f64)]) -> Vec<(i64, f64)> {
        let mut columns = Columns::default();
        columns.timestamps.extend(rows.iter().map(|r| r.0));
        columns.values.extend(rows.iter().map(|r| r.1));
        columns.settle();
        columns.timestamps.into_iter().zip(columns.values).collect()
    }

    #[test]
    fn the_later_write_wins_but_no_stale_marker_replaces_a_value() {
        let stale = f64::from_bits(STALE_NAN_BITS);
        assert_eq!(settled(&[(2, 1.0), (1, 5.0), (2, 3.0)]), [(1, 5.0), (2, 3.0)]);
        assert_eq!(settled(&[(2, 1.0), (2, stale), (1, 0.0)]), [(1, 0.0), (2, 1.0)]);
        assert_eq!(settled(&[(2, stale), (2, 1.0), (1, 0.0)]), [(1, 0.0), (2, 1.0)]);
        assert_eq!(settled(&[(2, stale), (2, stale)]).len(), 1);
    }
}
