//! What needs memory before it is a sample: observations that a StatsD client sends one by one, added up in windows of
//! ten seconds.
//!
//! A pure state machine that is handed the time and the bytes' hashes: [`Windows::add`] takes an observation,
//! [`Windows::flush`] closes the window when it is over and gives what was seen in it. It does not know profiles or
//! protocols: what series an observation becomes is asked once per key, as a list of [`Output`]s, each a label set with
//! the [`Role`] that says what is written to it. Memory is bounded, and whatever is refused is counted by the caller.
//!
//! ```
//! use aggregation::{Described, Limits, Observation, Output, Role, Windows};
//! let labels = model::Labels::from_pairs([("__name__", "hits"), ("type", "rate")]);
//! let mut windows = Windows::new(Limits::default(), 10_000);
//! for at in [10_001, 19_999] {
//!     let outputs = || Some(Described { outputs: [Output { role: Role::PerSecond, labels: labels.clone() }].into() });
//!     windows.add(at, 7, Observation::Count(5.0), outputs).unwrap();
//! }
//! let mut rows = Vec::new();
//! windows.flush(20_000).for_each(|closed| closed.rows(|row| rows.push((row.timestamp_ms, row.value.clone()))));
//! assert_eq!(rows, [(10_000, aggregation::RowValue::Float(1.0))]);
//! ```
//!
//! [`added`] goes the other way: what running totals of the log grew by in such windows, for receivers that add.

pub mod added;

mod closed;
mod distinct;
mod distribution;
mod entry;
mod windows;

pub use closed::{Closed, Row, RowValue};
pub use distribution::ZERO_THRESHOLD;
pub use entry::{Described, Output, Role};
pub use windows::{Flushed, Limits, Observation, Refused, Windows};

/// How long a window is.
pub const WINDOW_MS: i64 = 10_000;

/// Seconds in a window.
pub const WINDOW_S: f64 = (WINDOW_MS / 1000) as f64;

/// A key that was not seen for this long is given a stale marker and forgotten.
pub const FORGET_MS: i64 = 300_000;

#[cfg(test)]
mod tests;
