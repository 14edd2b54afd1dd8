//! What running totals grew by in windows of ten seconds, for receivers that add what they are sent.
//!
//! Whoever follows the log hands over each row ([`Windows::take`]) and asks what is over ([`Windows::close`]). A total's row
//! counts in the window in which its timestamp lies; the sum over all windows is what the total grew by, up to the addition of
//! floats. Other rows pass as they are, with their window. A window that was given away never comes again: what comes late
//! counts in the oldest one that has not.
//!
//! All that is remembered, open windows among it, is written by [`Windows::encode`]: rows that are read from there on make the
//! same windows byte for byte, so a request that was made of one can be made again, or not be made twice.
//!
//! ```
//! use aggregation::added::{Nature, Read, Windows};
//! use model::{Labels, Sample};
//! let hits = Labels::from_pairs([("__name__", "hits_total")]);
//! let mut windows = Windows::default();
//! for (timestamp_ms, value) in [(10_000, 5.0), (15_000, 7.0), (19_999, 8.0)] {
//!     windows.take(&hits, &Sample { timestamp_ms, value, start_ms: 0 }, Nature::of("hits_total", None));
//! }
//! assert!(windows.close(29_999, Read::ToItsEnd).is_none());
//! let closed = windows.close(30_000, Read::ToItsEnd).unwrap();
//! assert_eq!((closed.start_ms, closed.end_ms, closed.rows[0].samples[0].value), (10_000, 20_000, 3.0));
//! ```

mod state;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use hashbrown::HashMap;
use model::{Labels, MetricType, Sample, Temporality, is_stale};

pub use state::Unreadable;

use crate::WINDOW_MS;

/// How long after its end a window is still open, by default.
pub const LATENESS_MS: i64 = 10_000;

/// A total of which no row came for this long is forgotten, whatever time its rows speak of; one that began longer ago than
/// this counts from its first row on.
pub const REMEMBERED_MS: i64 = 3_600_000;

/// What a series' values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nature {
    /// A running total.
    Total,
    /// Anything else.
    Gauge,
}

impl Nature {
    /// That of a series, by its name and by the type of its family. Where the type is not known the name's end tells.
    pub fn of(name: &str, family: Option<MetricType>) -> Self {
        if family.unwrap_or_default().is_total(name) { Self::Total } else { Self::Gauge }
    }
}

/// How far the log was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// To its end: what is missing is not there yet, so the wall clock tells which windows are over.
    ToItsEnd,
    /// There is more: rows tell, by the newest timestamp among them.
    InParts,
}

/// A window that is over.
#[derive(Clone, Debug, PartialEq)]
pub struct Closed {
    /// Its first millisecond since the Unix epoch.
    pub start_ms: i64,
    /// The first one behind it.
    pub end_ms: i64,
    /// Its rows by series, in the order of their labels; totals before other rows of the same labels.
    pub rows: Vec<Row>,
}

/// A series' part of a window.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Its labels, `__name__` among them.
    pub labels: Labels,
    /// Of a total one sample, from the window's start to its end; other rows as they came.
    pub samples: Vec<Sample>,
    /// What the samples are.
    pub temporality: Temporality,
}

/// A row of a running total.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Last {
    timestamp_ms: i64,
    value: f64,
}

/// What is remembered of a series.
#[derive(Clone, Debug, Default, PartialEq)]
struct Series {
    /// Its newest row, if it is a total.
    last: Option<Last>,
    /// Since when no row came: when windows were first closed after its last one.
    idle_ms: Option<i64>,
    /// What it grew by, by window.
    grown: Vec<(i64, f64)>,
    /// Other rows, and the windows that they go with.
    held: Vec<(i64, Sample)>,
}

/// The windows of one output.
#[derive(Clone, Debug, PartialEq)]
pub struct Windows {
    lateness_ms: i64,
    series: HashMap<Labels, Series, foldhash::fast::RandomState>,
    /// Where those begin that have something in them.
    filled: BTreeSet<i64>,
    /// Where the first window begins that was not given away.
    open_ms: i64,
    /// The newest timestamp of any row.
    newest_ms: i64,
}

impl Default for Windows {
    fn default() -> Self {
        Self::new(LATENESS_MS)
    }
}

impl Windows {
    /// None yet; they stay open for so long after their ends.
    pub fn new(lateness_ms: i64) -> Self {
        let (series, filled) = (HashMap::default(), BTreeSet::new());
        Self { lateness_ms, series, filled, open_ms: i64::MIN, newest_ms: i64::MIN }
    }

    /// Series that are remembered.
    pub fn len(&self) -> usize {
        self.series.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// Takes a row. Rows of a series come in the order in which they were acknowledged; of a total, one that is not newer than
    /// the one before says nothing of what it grew by, and neither does one that is no number.
    pub fn take(&mut self, labels: &Labels, sample: &Sample, nature: Nature) {
        self.newest_ms = self.newest_ms.max(sample.timestamp_ms);
        let own = sample.timestamp_ms.saturating_sub(sample.timestamp_ms.rem_euclid(WINDOW_MS));
        let window = own.max(self.open_ms);
        if nature == Nature::Gauge {
            self.filled.insert(window);
            return self.series(labels).held.push((window, *sample));
        }
        if is_stale(sample.value) || !sample.value.is_finite() {
            return;
        }
        let series = self.series(labels);
        series.idle_ms = None;
        let grown = match series.last {
            Some(last) if sample.timestamp_ms <= last.timestamp_ms => return,
            last => growth(last, sample),
        };
        series.last = Some(Last { timestamp_ms: sample.timestamp_ms, value: sample.value });
        if let Some(grown) = grown {
            match series.grown.iter_mut().find(|(other, _)| *other == window) {
                Some((_, sum)) => *sum += grown,
                None => {
                    series.grown.push((window, grown));
                    self.filled.insert(window);
                }
            }
        }
    }

    fn series(&mut self, labels: &Labels) -> &mut Series {
        // Most are known.
        if !self.series.contains_key(labels) {
            self.series.insert(labels.clone(), Series::default());
        }
        self.series.get_mut(labels).expect("it is there now")
    }

    /// Gives the oldest window away that has something in it, if it is over: by the wall clock `now_ms` where all of the log was
    /// read, else by the rows' own, as far as that does not run ahead. Asked until there is none.
    pub fn close(&mut self, now_ms: i64, read: Read) -> Option<Closed> {
        let clock_ms = match read {
            Read::ToItsEnd => now_ms,
            Read::InParts => self.newest_ms.min(now_ms),
        };
        let start_ms = *self.filled.first()?;
        let end_ms = start_ms.saturating_add(WINDOW_MS);
        if end_ms.saturating_add(self.lateness_ms) > clock_ms {
            return None;
        }
        self.filled.pop_first();
        let mut rows = Vec::new();
        let forgotten_ms = clock_ms.saturating_sub(REMEMBERED_MS);
        self.series.retain(|labels, series| {
            series.give(start_ms, end_ms, labels, &mut rows);
            let is_idle = *series.idle_ms.get_or_insert(clock_ms) < forgotten_ms || series.last.is_none();
            !(is_idle && series.grown.is_empty() && series.held.is_empty())
        });
        // Of equal labels the total came first, and stays so.
        rows.sort_by(|one: &Row, other| one.labels.cmp(&other.labels));
        self.open_ms = end_ms;
        Some(Closed { start_ms, end_ms, rows })
    }
}

/// What a total grew by until `sample`; nothing is known of what it was before its first row, unless it began a short while before.
fn growth(last: Option<Last>, sample: &Sample) -> Option<f64> {
    match last {
        None => {
            let age_ms = sample.timestamp_ms.saturating_sub(sample.start_ms);
            (sample.start_ms != 0 && age_ms < REMEMBERED_MS).then_some(sample.value)
        }
        // It began anew: at its start, or unseen.
        Some(last) if sample.start_ms > last.timestamp_ms || sample.value < last.value => Some(sample.value),
        Some(last) => Some(sample.value - last.value),
    }
}

impl Series {
    /// Appends what it has of a window.
    fn give(&mut self, start_ms: i64, end_ms: i64, labels: &Labels, rows: &mut Vec<Row>) {
        if let Some(at) = self.grown.iter().position(|(window, _)| *window == start_ms) {
            let (_, value) = self.grown.remove(at);
            let samples = vec![Sample { timestamp_ms: end_ms, value, start_ms }];
            rows.push(Row { labels: labels.clone(), samples, temporality: Temporality::Delta });
        }
        if self.held.iter().any(|(window, _)| *window == start_ms) {
            let (given, kept) = self.held.drain(..).partition(|(window, _)| *window == start_ms);
            self.held = kept;
            let given: Vec<(i64, Sample)> = given;
            let samples = given.into_iter().map(|(_, sample)| sample).collect();
            rows.push(Row { labels: labels.clone(), samples, temporality: Temporality::Cumulative });
        }
    }
}
