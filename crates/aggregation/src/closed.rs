//! What a window had of one key, and the rows that are written for it.
//!
//! A row stands at the start of its window, as the Agent puts it; a running total stands at the end, because it is what was
//! counted until then. Whoever closes a window holds up those who add to it, so rows are made later: here.

use std::sync::Arc;

use model::histogram::{BucketCounts, ResetHint};
use model::{Histogram, STALE_NAN_BITS};

use crate::WINDOW_S;
use crate::distribution::{Distribution, ZERO_THRESHOLD};
use crate::entry::{Output, Role};

/// What was seen.
pub(crate) enum Content {
    Counter {
        sum: f64,
        total: f64,
        start_ms: i64,
    },
    Gauge(f64),
    Distribution(Box<Distribution>),
    /// Only what came with a time of its own.
    Nothing,
    /// The key is forgotten.
    Stale,
}

/// A closed window of one key.
pub struct Closed {
    pub(crate) outputs: Arc<[Output]>,
    pub(crate) content: Content,
    pub(crate) stamped: Vec<(i64, f64)>,
    pub(crate) start_ms: i64,
    pub(crate) end_ms: i64,
    pub(crate) is_new: bool,
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum RowValue {
    /// A float.
    Float(f64),
    /// A native histogram.
    Histogram(Arc<Histogram>),
}

/// A sample that is written.
#[derive(Clone, Debug)]
pub struct Row<'a> {
    /// Which series it belongs to.
    pub output: &'a Output,
    /// Milliseconds since the epoch.
    pub timestamp_ms: i64,
    /// Since when a running total counts, in ms; 0 for all else.
    pub start_ms: i64,
    /// Its value.
    pub value: RowValue,
}

impl Closed {
    /// The series that it may have rows of.
    pub fn outputs(&self) -> &[Output] {
        &self.outputs
    }

    /// Whether these are the first rows of its series.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// Whether it is the end of its series.
    pub fn is_end(&self) -> bool {
        matches!(self.content, Content::Stale)
    }

    /// Bytes that it holds, roughly. Labels are held by the windows, until they end.
    pub fn bytes(&self) -> usize {
        let content = match &self.content {
            Content::Distribution(distribution) => distribution.bytes(),
            Content::Stale => self.outputs.iter().map(|output| output.labels.as_canonical().len()).sum(),
            _ => 0,
        };
        size_of::<Self>() + size_of_val(self.stamped.as_slice()) + content
    }

    /// Makes the rows, series by series.
    pub fn rows(mut self, mut each: impl FnMut(Row<'_>)) {
        if let Content::Distribution(distribution) = &mut self.content {
            distribution.sort();
        }
        for output in self.outputs.iter() {
            for (timestamp_ms, value) in &self.stamped {
                let value = match output.role {
                    Role::PerSecond => value / WINDOW_S,
                    Role::Sum | Role::Last => *value,
                    _ => continue,
                };
                let value = RowValue::Float(value);
                each(Row { output, timestamp_ms: *timestamp_ms, start_ms: 0, value });
            }
            if let Some(value) = self.value(output.role) {
                let (timestamp_ms, start_ms) = match (&self.content, output.role) {
                    (Content::Counter { start_ms, .. }, Role::Total) => (self.end_ms, *start_ms),
                    // Behind the last total, which stands at the window's end: no marker replaces a value.
                    (Content::Stale, Role::Total) => (self.end_ms + 1, 0),
                    (Content::Stale, _) => (self.end_ms, 0),
                    _ => (self.start_ms, 0),
                };
                each(Row { output, timestamp_ms, start_ms, value });
            }
        }
    }

    fn value(&self, role: Role) -> Option<RowValue> {
        let float = match (&self.content, role) {
            (Content::Counter { sum, .. }, Role::PerSecond) => sum / WINDOW_S,
            (Content::Counter { sum, .. }, Role::Sum) => *sum,
            (Content::Counter { total, .. }, Role::Total) => *total,
            (Content::Gauge(value), Role::Last | Role::Distinct) => *value,
            (Content::Distribution(values), role) => return of_distribution(values, role),
            (Content::Stale, Role::Native) => return Some(RowValue::Histogram(stale_histogram())),
            (Content::Stale, _) => f64::from_bits(STALE_NAN_BITS),
            _ => return None,
        };
        Some(RowValue::Float(float))
    }
}

fn of_distribution(values: &Distribution, role: Role) -> Option<RowValue> {
    let float = match role {
        Role::Max => values.max,
        Role::Min => values.min,
        Role::Average => values.sum / values.count,
        Role::CountPerSecond => values.count / WINDOW_S,
        Role::Median => values.quantile(((values.count - 1.0) / 2.0).floor()),
        Role::Percentile95 => values.quantile(((95.0 * values.count - 1.0) / 100.0).floor()),
        Role::Native => return Some(RowValue::Histogram(values.histogram())),
        _ => return None,
    };
    Some(RowValue::Float(float))
}

fn stale_histogram() -> Arc<Histogram> {
    Arc::new(Histogram {
        schema: 0,
        zero_threshold: ZERO_THRESHOLD,
        sum: f64::from_bits(STALE_NAN_BITS),
        reset_hint: ResetHint::Unknown,
        positive_spans: Vec::new(),
        negative_spans: Vec::new(),
        counts: BucketCounts::Integer { count: 0, zero: 0, positive: Vec::new(), negative: Vec::new() },
        custom_bounds: Vec::new(),
    })
}
