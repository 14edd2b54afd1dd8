//! A chunk in its page: which columns it has, and the column of times that it may share.
//!
//! Series of one scrape have the same times. A chunk whose column of times is, byte for byte, one that an earlier chunk
//! of the same page wrote, points at it; with a few samples a chunk that is half of its size.

use std::collections::HashMap;
use std::sync::Arc;

use codec::chunk::bytes::{Reader, put_varint};
use codec::chunk::{Corrupt, Packing, ROWS_MAX, floats, histogram_columns, histograms, starts, timestamps};
use model::Histogram;
use model::select::{Columns, HistogramPoint};

use super::ChunkKind;

/// Set when a column of starts follows the times.
const STARTS: u8 = 1;
/// Set when the times stand elsewhere in the page.
const SHARED_TIMES: u8 = 2;

/// What a chunk is made of.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rows<'a> {
    Floats(&'a [f64]),
    Histograms(&'a [Arc<Histogram>]),
    HistogramColumns(&'a [Arc<Histogram>]),
}

/// Columns of times that the page has, by their hash.
#[derive(Debug, Default)]
pub(super) struct PageTimes {
    at: HashMap<u64, u32, foldhash::fast::RandomState>,
    scratch: Vec<u8>,
}

impl PageTimes {
    /// Forgets everything: a new page begins.
    pub(super) fn clear(&mut self) {
        self.at.clear();
    }
}

/// Appends a chunk to a page's payload. `begin` = empty or parallel to the times. `packing` is that of times, starts and
/// floats; columns of histograms, which the first version of the format does not know, are never packed worse than as
/// lists.
pub(super) fn encode(
    packing: Packing,
    page: &mut Vec<u8>,
    shared: &mut PageTimes,
    times: &[i64],
    begin: &[i64],
    rows: Rows<'_>,
) {
    let with_starts = starts::is_known(begin);
    let flags = if with_starts { STARTS } else { 0 };
    let mut column = std::mem::take(&mut shared.scratch);
    column.clear();
    timestamps::encode(packing, times, &mut column);
    let key = codec::hash::key128(times.len() as u64, &column) as u64;
    match shared.at.get(&key).copied().filter(|at| page[*at as usize..].starts_with(&column)) {
        Some(at) => {
            page.push(flags | SHARED_TIMES);
            put_varint(page, u64::from(at));
        }
        None => {
            page.push(flags);
            shared.at.insert(key, page.len() as u32);
            page.extend_from_slice(&column);
        }
    }
    shared.scratch = column;
    if with_starts {
        starts::encode(packing, begin, page);
    }
    match rows {
        Rows::Floats(values) => floats::encode_as(packing, values, page),
        Rows::Histograms(values) => histograms::encode(values, page),
        Rows::HistogramColumns(values) => {
            histogram_columns::encode(packing.max(Packing::Lists), values, page);
        }
    }
}

/// Appends the rows of a chunk of a page's payload; nothing when it is malformed. `numbers` keeps its memory from one
/// call to the next.
pub(super) fn decode(
    page: &[u8],
    (offset, length): (u32, u32),
    rows: u32,
    kind: ChunkKind,
    numbers: &mut Vec<i64>,
    columns: &mut Columns,
) -> Result<(), Corrupt> {
    let before = columns.timestamps.len();
    let decoded = decode_rows(page, (offset, length), rows as usize, kind, numbers, columns);
    if decoded.is_err() {
        columns.truncate(before);
    }
    decoded
}

fn decode_rows(
    page: &[u8],
    (offset, length): (u32, u32),
    rows: usize,
    kind: ChunkKind,
    numbers: &mut Vec<i64>,
    columns: &mut Columns,
) -> Result<(), Corrupt> {
    if rows > ROWS_MAX {
        return Err(Corrupt);
    }
    let start = offset as usize;
    let end = start.checked_add(length as usize).ok_or(Corrupt)?;
    let mut reader = Reader::new(page.get(start..end).ok_or(Corrupt)?);
    let before = columns.timestamps.len();
    let flags = reader.byte()?;
    if flags & SHARED_TIMES != 0 {
        let elsewhere = page.get(reader.length()?..).ok_or(Corrupt)?;
        timestamps::decode(&mut Reader::new(elsewhere), rows, &mut columns.timestamps)?;
    } else {
        timestamps::decode(&mut reader, rows, &mut columns.timestamps)?;
    }
    if !ascend(&columns.timestamps[before..]) {
        return Err(Corrupt);
    }
    if flags & STARTS != 0 {
        columns.starts.resize(before, 0);
        starts::decode(&mut reader, rows, &mut columns.starts)?;
    } else if !columns.starts.is_empty() {
        columns.starts.resize(before + rows, 0);
    }
    let mut histograms = Vec::new();
    match kind {
        ChunkKind::Floats => floats::decode_with(numbers, &mut reader, rows, &mut columns.values)?,
        ChunkKind::Histograms => histograms::decode(&mut reader, rows, &mut histograms)?,
        ChunkKind::HistogramColumns => histogram_columns::decode(&mut reader, rows, &mut histograms)?,
        ChunkKind::Exemplars => return Err(Corrupt),
    }
    columns.values.resize(before + rows, 0.0);
    let points = histograms.into_iter().zip(before as u32..);
    columns.histograms.extend(points.map(|(histogram, row)| HistogramPoint::new(row, histogram)));
    if reader.is_empty() { Ok(()) } else { Err(Corrupt) }
}

/// Whether each time is later than the one before. Without a way out early, which costs more than the rest of the loop.
fn ascend(times: &[i64]) -> bool {
    let rest = times.get(1..).unwrap_or_default();
    times.iter().zip(rest).fold(true, |all, (a, b)| all & (a < b))
}
