//! One key: the series that it becomes, and what was seen of it in this window.

use std::sync::Arc;

use model::Labels;

use crate::closed::{Closed, Content};
use crate::distinct::Distinct;
use crate::distribution::Distribution;

/// What is written to a series. A key has one output or several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// A counter's sum in the window, per second; 0 while nothing comes.
    PerSecond,
    /// A counter's sum in the window; 0 while nothing comes.
    Sum,
    /// A counter's running total with its start timestamp, at the window's end.
    Total,
    /// A gauge's last value.
    Last,
    /// How many distinct members a set had.
    Distinct,
    /// The greatest value.
    Max,
    /// The least value.
    Min,
    /// The value in the middle.
    Median,
    /// The mean.
    Average,
    /// Observations per second.
    CountPerSecond,
    /// The 95th percentile.
    Percentile95,
    /// A native histogram of the window's values.
    Native,
}

/// A series.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// What is written to it.
    pub role: Role,
    /// Its labels.
    pub labels: Labels,
}

/// What a key means: at least one output. Those of one type of metric whose first series are the same are one key, so a
/// distribution's first output is the one that all its forms have.
#[derive(Clone, Debug)]
pub struct Described {
    /// The series.
    pub outputs: Arc<[Output]>,
}

impl Described {
    /// Bytes that the labels take.
    pub(crate) fn bytes(&self) -> usize {
        self.outputs.iter().map(|output| size_of::<Output>() + output.labels.as_canonical().len()).sum()
    }
}

/// The type of a key, for all that tell series apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Class {
    Counter,
    Gauge,
    Set,
    Distribution,
}

/// What was seen in the open window, and what outlives it.
pub(crate) enum State {
    /// Sum of the window, running total before it, since when.
    Counter {
        sum: f64,
        total: f64,
        start_ms: i64,
    },
    /// Last value ever, whether it is of this window.
    Gauge {
        value: f64,
        is_set: bool,
    },
    Set(Distinct),
    /// Boxed: most keys are counters and gauges.
    Distribution(Option<Box<Distribution>>),
}

/// A key.
pub(crate) struct Entry {
    pub(crate) described: Described,
    pub(crate) class: Class,
    pub(crate) state: State,
    /// Values that came with a time of their own, one for each, sorted.
    pub(crate) stamped: Vec<(i64, f64)>,
    /// A counter's `stamped` of the last window: a sum goes on when its time comes again.
    pub(crate) before: Vec<(i64, f64)>,
    /// Hashes of the wire that lead here; 0 = none.
    pub(crate) aliases: [u128; ALIASES_MAX],
    /// When something came last.
    pub(crate) seen_ms: i64,
    /// Whether anything was written to its series yet.
    pub(crate) is_written: bool,
}

/// Ways to write one key that are remembered; further ones are described each time.
pub(crate) const ALIASES_MAX: usize = 4;

impl Entry {
    /// Whether a closed window has nothing of this key.
    fn is_quiet(&self) -> bool {
        let quiet = match &self.state {
            // A counter is 0 when nothing comes, as long as it is known.
            State::Counter { .. } => false,
            State::Gauge { is_set, .. } => !is_set,
            State::Set(distinct) => distinct.kept() == 0,
            State::Distribution(distribution) => distribution.is_none(),
        };
        quiet && self.stamped.is_empty()
    }

    /// Takes out what the window `start_ms..end_ms` has seen; `None` when that is nothing.
    pub(crate) fn close(&mut self, start_ms: i64, end_ms: i64) -> Option<Closed> {
        if self.is_quiet() {
            return None;
        }
        let content = match &mut self.state {
            State::Counter { sum, total, start_ms } => {
                let of_window = std::mem::take(sum);
                *total += of_window;
                Content::Counter { sum: of_window, total: *total, start_ms: *start_ms }
            }
            State::Gauge { value, is_set } => match std::mem::take(is_set) {
                true => Content::Gauge(*value),
                false => Content::Nothing,
            },
            State::Set(distinct) => match std::mem::take(distinct) {
                distinct if distinct.kept() > 0 => Content::Gauge(distinct.count()),
                _ => Content::Nothing,
            },
            State::Distribution(distribution) => match distribution.take() {
                Some(distribution) => Content::Distribution(distribution),
                None => Content::Nothing,
            },
        };
        let is_new = !std::mem::replace(&mut self.is_written, true);
        let outputs = Arc::clone(&self.described.outputs);
        let stamped = std::mem::take(&mut self.stamped);
        if self.class == Class::Counter {
            self.before = stamped.clone();
        }
        Some(Closed { outputs, content, stamped, start_ms, end_ms, is_new })
    }

    /// The end of the key's series.
    pub(crate) fn end(&self, start_ms: i64, end_ms: i64) -> Closed {
        let outputs = Arc::clone(&self.described.outputs);
        Closed { outputs, content: Content::Stale, stamped: Vec::new(), start_ms, end_ms, is_new: false }
    }
}
