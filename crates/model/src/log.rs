//! Log lines on their way into the store.

use std::borrow::Cow;
use std::ops::Range;

/// A log line of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct LogRow<'a> {
    /// Labels of its stream, in [`crate::Batch::pairs`].
    pub stream: Range<usize>,
    /// Fields of this line alone (structured metadata), in [`crate::Batch::pairs`]. Names may repeat.
    pub fields: Range<usize>,
    /// Nanoseconds since the Unix epoch.
    pub timestamp_ns: i64,
    /// The line, without its line break.
    pub line: Cow<'a, str>,
    /// Which of [`crate::Batch::items`] it came from, where the dialect counts them.
    pub item: u32,
}
