//! The newest sample of each series that is selected: what every exposition of a tenant's series begins with.

use std::sync::Arc;

use dialects::exposition::whole::{Newest, Series};
use dialects::remote_read::{Row, Rows};
use model::select::Detail;
use model::{Budget, Hints, Histogram, Labels, Matcher, SeriesBlock, TenantId, TimeRange, Windows, is_stale};
use tsdb::Store;

use super::error::ApiError;

/// What a series takes until it is written, besides its labels; and again as text.
const SERIES_BYTES: u64 = 128;
/// What a bucket takes as text.
const BUCKET_BYTES: u64 = 64;

/// The series of each of `sets`, with the set's number as their rank. Two sets may find the same series.
pub(super) fn newest(
    store: &Store,
    tenant: TenantId,
    sets: &[Vec<Matcher>],
    range: TimeRange,
    budget: &Budget,
) -> Result<Vec<Series>, ApiError> {
    let mut all = Vec::new();
    for (rank, matchers) in (0..).zip(sets) {
        let TimeRange { start_ms, end_ms } = range;
        let length_ms = end_ms.saturating_sub(start_ms).saturating_add(1);
        let window = Windows { first_ms: end_ms, step_ms: 1, count: 1, length_ms };
        let hints = Hints { windows: Some(window), detail: Detail::Newest, ..Hints::default() };
        let mut selection = store.select(tenant, matchers, range, &hints, budget)?;
        let mut block = SeriesBlock::default();
        while selection.next_block(&mut block)? {
            for (number, series) in block.series.iter().enumerate() {
                let Some(labels) = selection.labels(*series)? else { continue };
                budget.charge(labels.as_canonical().len() as u64 + SERIES_BYTES)?;
                let rows = Rows::of(&block, number);
                all.extend(last(rank, labels, rows, began_ms(&block, number)));
            }
        }
        for warning in selection.warnings() {
            tracing::debug!(warning, "exposition");
        }
    }
    Ok(all)
}

/// The start time of a series' last row; 0 where it has none.
fn began_ms(block: &SeriesBlock, number: usize) -> i64 {
    let end = block.offsets[number + 1] as usize;
    end.checked_sub(1).and_then(|row| block.columns.starts.get(row)).copied().unwrap_or_default()
}

/// Of a series' rows the last; none when there is nothing to tell: no exposition has stale markers.
fn last(rank: u32, labels: Labels, rows: Rows<'_>, start_ms: i64) -> Option<Series> {
    let (at_ms, value) = match rows.iter().last()? {
        Row::Float(_, value) if is_stale(value) => return None,
        Row::Histogram(_, histogram) if histogram.is_stale() => return None,
        Row::Float(at_ms, value) => (at_ms, Newest::Float(value)),
        Row::Histogram(at_ms, histogram) => (at_ms, Newest::Histogram(Arc::clone(histogram))),
    };
    Some(Series { rank, labels, at_ms, start_ms, value })
}

/// About what a series takes when it is written.
pub(super) fn written_bytes(series: &Series) -> u64 {
    let buckets = match &series.value {
        Newest::Float(_) => 0,
        // Those of a classic histogram are a line each, with all labels.
        Newest::Histogram(histogram) => buckets(histogram),
    };
    (series.labels.as_canonical().len() as u64 + BUCKET_BYTES) * buckets.max(1) + SERIES_BYTES
}

fn buckets(histogram: &Histogram) -> u64 {
    let spans = histogram.positive_spans.iter().chain(&histogram.negative_spans);
    spans.map(|span| u64::from(span.length)).sum::<u64>() + histogram.custom_bounds.len() as u64
}
