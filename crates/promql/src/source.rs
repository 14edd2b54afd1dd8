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
    /// `hints` say what will be done with the samples; they may be ignored. Memory is charged to `budget` before it
    /// is allocated; the set releases nothing, the budget ends with the query.
    fn select<'a>(
        &'a self,
        matchers: &[Matcher],
        range: TimeRange,
        hints: &Hints,
        budget: &'a Budget,
    ) -> Result<Box<dyn SeriesSet + 'a>, SourceError>;

    /// Push-down: answers an aggregation over whole windows from the index or from chunk aggregates, or declines with
    /// `None`, after which the evaluator selects. The answer must be the one that the evaluator would compute.
    fn fold(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        fold: &Fold,
        budget: &Budget,
    ) -> Result<Option<Folded>, SourceError> {
        let _ = (matchers, range, fold, budget);
        Ok(None)
    }
}

/// A selection: pulled block by block, labels on demand.
pub trait SeriesSet {
    /// The next series with all their samples in the range; `None` at the end. No series comes twice.
    fn next_block(&mut self) -> Result<Option<SeriesBlock>, SourceError>;

    /// The labels of a series that a block named.
    fn labels(&self, series: SeriesRef) -> Result<Labels, SourceError>;

    /// What the reader should know: quarantined pages, truncated ranges. Complete once the last block was pulled.
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }
}

/// What is folded over each series and then over each group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FoldFunction {
    /// Number of series with a live sample (instant selector) or number of samples (range).
    Count,
    /// Sum.
    Sum,
    /// Smallest.
    Min,
    /// Largest.
    Max,
    /// Newest.
    Last,
    /// Increase of a counter.
    Increase,
}

/// A push-down request: one value for each group and step.
#[derive(Clone, Debug, PartialEq)]
pub struct Fold {
    /// What is computed.
    pub function: FoldFunction,
    /// Steps: first, last (within `range`'s meaning: evaluation times) and distance in ms.
    pub start_ms: i64,
    /// Last evaluation time.
    pub end_ms: i64,
    /// Distance of evaluation times; 0 = only `start_ms`.
    pub step_ms: i64,
    /// Window of a range selector, or the lookback of an instant selector, in ms; left-open.
    pub window_ms: i64,
    /// Labels to group by (`true`) or to leave out (`false`).
    pub grouping: (Vec<String>, bool),
}

/// One group's values: `None` where the group has none at that step.
#[derive(Clone, Debug, PartialEq)]
pub struct Folded {
    /// Groups with a column of values each, one for every step.
    pub groups: Vec<(Labels, Vec<Option<f64>>)>,
    /// As [`SeriesSet::warnings`].
    pub warnings: Vec<String>,
}
