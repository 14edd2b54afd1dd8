//! A tenant's part of the store, as the evaluator sees it. promql does not know tsdb, tsdb does not know promql: this
//! is the whole of what they have in common.

use model::{Budget, Hints, Labels, Matcher, SeriesBlock, SeriesRef, TenantId, TimeRange};
use promql::{SeriesSet, Source, SourceError};
use tsdb::{SelectError, Selection, Store};

/// One tenant's series.
#[derive(Debug)]
pub struct TenantSource {
    store: Store,
    tenant: TenantId,
}

impl TenantSource {
    /// The series of `tenant`.
    pub fn new(store: Store, tenant: TenantId) -> Self {
        Self { store, tenant }
    }
}

impl Source for TenantSource {
    fn select<'a>(
        &'a self,
        matchers: &[Matcher],
        range: TimeRange,
        hints: &Hints,
        budget: &'a Budget,
    ) -> Result<Box<dyn SeriesSet + 'a>, SourceError> {
        let selection = self.store.select(self.tenant, matchers, range, hints, budget).map_err(translated)?;
        Ok(Box::new(Selected(selection)))
    }
}

struct Selected<'a>(Selection<'a>);

impl SeriesSet for Selected<'_> {
    fn next_block(&mut self, block: &mut SeriesBlock) -> Result<bool, SourceError> {
        self.0.next_block(block).map_err(translated)
    }

    fn labels(&mut self, series: SeriesRef) -> Result<Option<Labels>, SourceError> {
        self.0.labels(series).map_err(translated)
    }

    fn series_left(&self) -> usize {
        self.0.len()
    }

    fn split<'a>(self: Box<Self>, parts: usize) -> Vec<Box<dyn SeriesSet + 'a>>
    where
        Self: 'a,
    {
        let boxed = |part| -> Box<dyn SeriesSet + 'a> { Box::new(Selected(part)) };
        self.0.split(parts).into_iter().map(boxed).collect()
    }

    fn warnings(&self) -> Vec<String> {
        self.0.warnings()
    }
}

fn translated(error: SelectError) -> SourceError {
    match error {
        SelectError::Stop(stop) => SourceError::Stop(stop),
        SelectError::Io(message) => SourceError::Storage(message),
    }
}
