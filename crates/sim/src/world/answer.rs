//! Reads a store's answer into plain maps, refusing whatever has not the promised shape.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use model::{Budget, Hints, Matcher, SeriesBlock, TenantId, TimeRange};
use tsdb::Store;
use tsdb::logs::LogRecord;

use crate::lines::Line;
use crate::naive::{Answer, Point, Value};

/// All time.
pub const ALWAYS: TimeRange = TimeRange { start_ms: i64::MIN, end_ms: i64::MAX };

/// Everything that a selection gives, and its warnings.
pub fn select(
    store: &Store,
    tenant: TenantId,
    matchers: &[Matcher],
    range: TimeRange,
) -> Result<(Answer, Vec<String>)> {
    let budget = Budget::new(1 << 30);
    let mut answer = Answer::new();
    let mut selection =
        store.select(tenant, matchers, range, &Hints::default(), &budget).context("selection fails")?;
    let mut block = model::SeriesBlock::default();
    while selection.next_block(&mut block).context("selection breaks off")? {
        check_shape(&block)?;
        for (index, series) in block.series.iter().enumerate() {
            let Some(labels) = selection.labels(*series).context("labels break off")? else {
                ensure!(!selection.warnings().is_empty(), "a series without labels, and no warning");
                continue;
            };
            let rows = block.offsets[index] as usize..block.offsets[index + 1] as usize;
            let points = points(&block, rows.clone())?;
            ensure!(points.keys().all(|ms| range.contains(*ms)), "{labels}: samples outside the range");
            ensure!(!points.is_empty(), "{labels}: a series without samples");
            ensure!(!answer.contains_key(&labels), "{labels}: comes twice");
            answer.insert(labels, points);
        }
    }
    Ok((answer, selection.warnings()))
}

/// A tenant's log lines, and what is said of damage among them.
pub(super) fn lines(store: &Store, tenant: TenantId) -> Result<(Vec<Line>, Vec<String>)> {
    let mut found = Vec::new();
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let mut each = |line: LogRecord<'_>| {
        found.push(Line {
            stream: line.stream.iter().map(owned).collect(),
            fields: line.fields.iter().copied().map(owned).collect(),
            timestamp_ns: line.timestamp_ns,
            text: line.line.to_owned(),
        });
    };
    let warnings = store.log_lines(tenant, i64::MIN..=i64::MAX, &mut each).context("log lines")?;
    Ok((found, warnings))
}

fn check_shape(block: &SeriesBlock) -> Result<()> {
    let rows = block.columns.timestamps.len();
    ensure!(block.columns.values.len() == rows, "columns of different lengths");
    ensure!(
        block.columns.starts.is_empty() || block.columns.starts.len() == rows,
        "start column of another length"
    );
    ensure!(block.offsets.len() == block.series.len() + 1, "offsets do not fit the series");
    ensure!(block.offsets.is_sorted(), "offsets shrink");
    ensure!(block.offsets.first() == Some(&0), "rows before the first series");
    ensure!(block.offsets.last().map(|end| *end as usize) == Some(rows), "rows behind the last series");
    ensure!(block.columns.histograms.is_sorted_by(|a, b| a.row < b.row), "histogram rows are not sorted");
    ensure!(
        block.columns.histograms.last().is_none_or(|h| (h.row as usize) < rows),
        "histogram row out of range"
    );
    Ok(())
}

fn points(block: &SeriesBlock, rows: std::ops::Range<usize>) -> Result<BTreeMap<i64, Point>> {
    ensure!(
        block.columns.timestamps[rows.clone()].is_sorted_by(|a, b| a < b),
        "times are not sorted, or one comes twice"
    );
    let point = |row: usize| {
        let histogram = block.columns.histograms.binary_search_by_key(&row, |h| h.row as usize);
        let value = match histogram {
            Ok(at) => Value::Histogram(Arc::clone(&block.columns.histograms[at].histogram)),
            Err(_) => Value::Float(block.columns.values[row].to_bits()),
        };
        Point { value, start_ms: block.columns.starts.get(row).copied().unwrap_or(0) }
    };
    Ok(rows.map(|row| (block.columns.timestamps[row], point(row))).collect())
}

/// The part of an answer that a narrower question should give.
pub fn narrow(answer: &Answer, matchers: &[Matcher], range: TimeRange) -> Answer {
    let matching =
        |labels: &model::Labels| matchers.iter().all(|m| m.matches(labels.get(&m.name).unwrap_or("")));
    let within = |points: &BTreeMap<i64, Point>| -> BTreeMap<i64, Point> {
        points.iter().filter(|(ms, _)| range.contains(**ms)).map(|(ms, point)| (*ms, point.clone())).collect()
    };
    let series = answer.iter().filter(|(labels, _)| matching(labels));
    series.map(|(labels, all)| (labels.clone(), within(all))).filter(|(_, all)| !all.is_empty()).collect()
}
