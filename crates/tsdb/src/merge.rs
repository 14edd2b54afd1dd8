//! One series' rows from several places, settled into one column set.
//!
//! The rule of the house: the same timestamp twice, the later write wins; a stale marker never replaces a value.

use std::sync::Arc;

use model::select::{Columns, HistogramPoint};
use model::{Histogram, is_stale};

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

/// Putting rows together that were written one after another.
pub(crate) trait Writes {
    /// Puts the rows from `first` on, which stand in the order of their writes, in order of time.
    fn settle(&mut self, first: usize);

    /// Appends rows.
    fn extend(&mut self, writes: impl IntoIterator<Item = Write>);

    /// Appends floats without start times.
    fn extend_floats(&mut self, times: &[i64], values: &[f64]);

    /// Appends the head's rows of one series in the order of their writes.
    fn extend_from_head(&mut self, floats: impl Iterator<Item = LogSample>, side: Option<&Side>);
}

impl Writes for Columns {
    fn settle(&mut self, first: usize) {
        if !self.timestamps[first..].is_sorted_by(|a, b| a < b) {
            let writes = take_writes(self, first);
            self.extend(settle(writes));
        }
    }

    fn extend(&mut self, writes: impl IntoIterator<Item = Write>) {
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
                self.histograms.push(HistogramPoint::new(row as u32, histogram));
            }
        }
    }

    fn extend_floats(&mut self, times: &[i64], values: &[f64]) {
        self.timestamps.extend_from_slice(times);
        self.values.extend_from_slice(values);
        if !self.starts.is_empty() {
            self.starts.resize(self.timestamps.len(), 0);
        }
    }

    fn extend_from_head(&mut self, floats: impl Iterator<Item = LogSample>, side: Option<&Side>) {
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

/// The rows from `first` on as writes, in order; the columns end there afterwards.
fn take_writes(columns: &mut Columns, first: usize) -> Vec<Write> {
    let before = columns.histograms.partition_point(|point| (point.row as usize) < first);
    let mut histograms = columns.histograms.split_off(before).into_iter().peekable();
    let mut writes = Vec::with_capacity(columns.timestamps.len() - first);
    for row in first..columns.timestamps.len() {
        let histogram = histograms.next_if(|h| h.row as usize == row).map(|h| h.histogram);
        let start_ms = columns.starts.get(row).copied().unwrap_or(0);
        let (timestamp_ms, value) = (columns.timestamps[row], columns.values[row]);
        writes.push(Write { timestamp_ms, value, start_ms, histogram });
    }
    columns.truncate(first);
    writes
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
        columns.settle(0);
        columns.timestamps.into_iter().zip(columns.values).collect()
    }

    #[test]
    fn what_stands_before_stays() {
        let mut columns =
            Columns { timestamps: vec![9, 3, 1], values: vec![0.0, 1.0, 2.0], ..Columns::default() };
        columns.settle(1);
        assert_eq!((columns.timestamps, columns.values), (vec![9, 1, 3], vec![0.0, 2.0, 1.0]));
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
