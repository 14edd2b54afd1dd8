//! Where the evaluator reads from. The server ties it to a store; tests tie it to a few vectors in memory.

use model::{Budget, Hints, Labels, Matcher, SeriesBlock, SeriesRef, TimeRange, select::Stop};

/// Why a source could not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// Occurs when the query ran over its budget or was cancelled.
    #[error(transparent)]
    Stop(#[from] Stop),
    /// Occurs when the store behind the source cannot be read at all; damage to single pages is a warning instead.
    #[error("{0}")]
    Storage(String),
}

/// A store of series.
pub trait Source: Send + Sync {
    /// Selects the series that satisfy all matchers and have a sample in `range`, stale markers included.
    ///
    /// `hints` say what of them will be looked at; whatever else there is may be left out, and where
    /// [`model::select::Detail`] says so, samples may come as summaries. Memory is charged to `budget` before it is
    /// allocated; the set releases nothing, the budget ends with the query.
    fn select<'a>(
        &'a self,
        matchers: &[Matcher],
        range: TimeRange,
        hints: &Hints,
        budget: &'a Budget,
    ) -> Result<Box<dyn SeriesSet + 'a>, SourceError>;
}

/// A selection: pulled block by block, labels on demand.
pub trait SeriesSet: Send {
    /// Puts the next series with their samples in the range in the place of what is in `block`; false at the end. No
    /// series comes twice.
    fn next_block(&mut self, block: &mut SeriesBlock) -> Result<bool, SourceError>;

    /// The labels of a series that a block named, as far as they are wanted; `None` when damage has taken them, which is
    /// among the warnings: its samples are nobody's.
    fn labels(&mut self, series: SeriesRef) -> Result<Option<Labels>, SourceError>;

    /// How many series are yet to come at most; 0 = not known.
    fn series_left(&self) -> usize {
        0
    }

    /// Splits what is yet to come into as many parts at most, which can be read at the same time: together the same
    /// series in the same order.
    fn split<'a>(self: Box<Self>, parts: usize) -> Vec<Box<dyn SeriesSet + 'a>>
    where
        Self: 'a;

    /// What the reader should know: quarantined pages, truncated ranges. Complete once the last block was pulled.
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }
}
