//! What running totals grew by in windows of ten seconds, for receivers that add what they are sent.
//!
//! Whoever follows the log hands over each row ([`Windows::take`]) and asks what is over ([`Windows::close`]). A total's row
//! counts in the window in which its timestamp lies; the sum over all windows is what the total grew by, up to the addition of
//! floats. Other rows pass as they are, with their window. A window that was given away never comes again: what comes late
//! counts in the oldest one that has not.
//!
//! A total grows from row to row of one series of the log. Several may go on under the same labels: what they grew by is then
//! one sum, and what one has is never held against the other. A window also knows which ways its rows came, all together.
//!
//! All that is remembered, open windows among it, is written by [`Windows::encode`]: rows that are read from there on make the
//! same windows byte for byte, so a request that was made of one can be made again, or not be made twice.
//!
//! ```
//! use aggregation::added::{Nature, Read, Source, Windows};
//! use model::{Labels, Origin, Sample, SeriesId};
//! let hits = Labels::from_pairs([("__name__", "hits_total")]);
//! let source = Source { id: SeriesId(7), labels: &hits, origin: &Origin::SENDER };
//! let mut windows = Windows::default();
//! for (timestamp_ms, value) in [(10_000, 5.0), (15_000, 7.0), (19_999, 8.0)] {
//!     windows.take(&source, &Sample { timestamp_ms, value, start_ms: 0 }, Nature::of("hits_total", None));
//! }
//! assert!(windows.close(29_999, Read::ToItsEnd).is_none());
//! let closed = windows.close(30_000, Read::ToItsEnd).unwrap();
//! assert_eq!((closed.start_ms, closed.end_ms, closed.rows[0].samples[0].value), (10_000, 20_000, 3.0));
//! ```

mod state;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use model::{Labels, MetricType, Origin, Sample, SeriesId, Temporality, is_stale};

pub use state::Unreadable;

use crate::WINDOW_MS;

/// How long after its end a window is still open, by default.
pub const LATENESS_MS: i64 = 10_000;

/// A total of which no row came for this long is forgotten, whatever time its rows speak of; one that began longer ago than
/// this counts from its first row on.
pub const REMEMBERED_MS: i64 = 3_600_000;

/// How often it is looked for totals that are idle.
const SWEPT_MS: i64 = 60_000;

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

/// Whose a row is.
#[derive(Clone, Copy, Debug)]
pub struct Source<'r> {
    /// The series of the log: a total grows from row to row of one.
    pub id: SeriesId,
    /// The labels under which its rows go on.
    pub labels: &'r Labels,
    /// The way that the row came.
    pub origin: &'r Origin,
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
    /// The ways that its rows came, together.
    pub origin: Origin,
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

/// What is remembered of a total.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Total {
    /// Its newest row.
    last: Last,
    /// Since when no row came: when it was first looked after its last one.
    idle_ms: Option<i64>,
}

/// What goes on under some labels in a window.
#[derive(Clone, Debug, Default, PartialEq)]
struct Part {
    /// What totals grew by.
    grown: Option<f64>,
    /// Other rows.
    held: Vec<Sample>,
}

/// A window that is open.
#[derive(Clone, Debug, Default, PartialEq)]
struct Window {
    origin: Origin,
    parts: HashMap<Labels, Part, foldhash::fast::RandomState>,
}

/// The windows of one output.
#[derive(Clone, Debug, PartialEq)]
pub struct Windows {
    lateness_ms: i64,
    totals: HashMap<(SeriesId, Labels), Total, foldhash::fast::RandomState>,
    /// Those that have something in them, by where they begin.
    filled: BTreeMap<i64, Window>,
    /// Where the first window begins that was not given away.
    open_ms: i64,
    /// The newest timestamp of any row.
    newest_ms: i64,
    /// When it was last looked for totals that are idle.
    swept_ms: i64,
}

impl Default for Windows {
    fn default() -> Self {
        Self::new(LATENESS_MS)
    }
}

impl Windows {
    /// None yet; they stay open for so long after their ends.
    pub fn new(lateness_ms: i64) -> Self {
        let (totals, filled) = (HashMap::default(), BTreeMap::new());
        Self { lateness_ms, totals, filled, open_ms: i64::MIN, newest_ms: i64::MIN, swept_ms: i64::MIN }
    }

    /// Totals that are remembered.
    pub fn len(&self) -> usize {
        self.totals.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.totals.is_empty()
    }

    /// Takes a row. Rows of a series come in the order in which they were acknowledged; of a total, one that is not newer than
    /// the one before says nothing of what it grew by, and neither does one that is no number.
    pub fn take(&mut self, source: &Source<'_>, sample: &Sample, nature: Nature) {
        self.newest_ms = self.newest_ms.max(sample.timestamp_ms);
        if nature == Nature::Gauge {
            return self.part(source, sample).held.push(*sample);
        }
        if is_stale(sample.value) || !sample.value.is_finite() {
            return;
        }
        if let Some(grown) = self.growth(source, sample) {
            *self.part(source, sample).grown.get_or_insert(0.0) += grown;
        }
    }

    /// What a total grew by since the row before.
    fn growth(&mut self, source: &Source<'_>, sample: &Sample) -> Option<f64> {
        let last = Last { timestamp_ms: sample.timestamp_ms, value: sample.value };
        match self.totals.entry((source.id, source.labels.clone())) {
            Entry::Vacant(place) => {
                place.insert(Total { last, idle_ms: None });
                growth(None, sample)
            }
            Entry::Occupied(mut total) => {
                let total = total.get_mut();
                total.idle_ms = None;
                if sample.timestamp_ms <= total.last.timestamp_ms {
                    return None;
                }
                growth(Some(std::mem::replace(&mut total.last, last)), sample)
            }
        }
    }

    /// Where a row goes on.
    fn part(&mut self, source: &Source<'_>, sample: &Sample) -> &mut Part {
        let own = sample.timestamp_ms.saturating_sub(sample.timestamp_ms.rem_euclid(WINDOW_MS));
        let window = self.filled.entry(own.max(self.open_ms)).or_default();
        if !source.origin.is_sender() {
            window.came(source.origin);
        }
        window.parts.entry(source.labels.clone()).or_default()
    }

    /// Gives the oldest window away that has something in it, if it is over: by the wall clock `now_ms` where all of the log was
    /// read, else by the rows' own, as far as that does not run ahead. Asked until there is none.
    pub fn close(&mut self, now_ms: i64, read: Read) -> Option<Closed> {
        let clock_ms = match read {
            Read::ToItsEnd => now_ms,
            Read::InParts => self.newest_ms.min(now_ms),
        };
        let start_ms = *self.filled.first_key_value()?.0;
        let end_ms = start_ms.saturating_add(WINDOW_MS);
        if end_ms.saturating_add(self.lateness_ms) > clock_ms {
            return None;
        }
        let (_, window) = self.filled.pop_first()?;
        self.open_ms = end_ms;
        self.sweep(clock_ms);
        Some(window.closed(start_ms, end_ms))
    }

    /// Forgets totals that are idle.
    fn sweep(&mut self, clock_ms: i64) {
        if clock_ms.saturating_sub(self.swept_ms) < SWEPT_MS {
            return;
        }
        self.swept_ms = clock_ms;
        let forgotten_ms = clock_ms.saturating_sub(REMEMBERED_MS);
        self.totals.retain(|_, total| *total.idle_ms.get_or_insert(clock_ms) >= forgotten_ms);
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

impl Window {
    /// A row came this way.
    fn came(&mut self, origin: &Origin) {
        self.origin.hops = self.origin.hops.max(origin.hops);
        for instance in &origin.via {
            if !self.origin.via.contains(instance) {
                self.origin.via.push(*instance);
            }
        }
    }

    /// All of it.
    fn closed(self, start_ms: i64, end_ms: i64) -> Closed {
        let mut parts: Vec<(Labels, Part)> = self.parts.into_iter().collect();
        parts.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        let mut rows = Vec::with_capacity(parts.len());
        for (labels, part) in parts {
            if let Some(value) = part.grown {
                let samples = vec![Sample { timestamp_ms: end_ms, value, start_ms }];
                rows.push(Row { labels: labels.clone(), samples, temporality: Temporality::Delta });
            }
            if !part.held.is_empty() {
                rows.push(Row { labels, samples: part.held, temporality: Temporality::Cumulative });
            }
        }
        Closed { start_ms, end_ms, origin: self.origin, rows }
    }
}
