//! Rows of the series table: labels as symbols, chunks with their place.
//!
//! 128 rows make a part. Each row says how it differs from the row before: in sorted order mostly one or two label
//! values, and chunks that follow one another in the same page. Ids, which nothing predicts, stand in parts of their
//! own, sixteen bytes each, and are read without parsing anything.

use codec::chunk::Corrupt;
use codec::chunk::aggregates::{Aggregates, Scratch};
use codec::chunk::bytes::{Reader, put_varint, put_zigzag};
use model::TimeRange;

use super::{ChunkKind, ChunkMeta, ChunkPlace};

/// Rows of a part.
pub(super) const ROWS: u32 = 128;
/// Ids of a part.
pub(super) const IDS: u32 = 1024;
/// Bytes of an id.
pub(super) const ID_BYTES: usize = 16;
/// Labels of a row that can be told apart from the row before one by one.
const MASK_LABELS: usize = 48;
/// The least that a chunk takes in a row.
const CHUNK_BYTES_MIN: usize = 5;

/// What chunks are told apart from; begins anew with every part.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ChunkCursor {
    begun: bool,
    start_ms: i64,
    span_ms: i64,
    page: u32,
    end: u32,
}

impl ChunkCursor {
    pub(super) fn write(&mut self, chunk: &ChunkMeta, out: &mut Vec<u8>) {
        let kind = match chunk.kind {
            ChunkKind::Floats => 0,
            ChunkKind::Histograms => 1,
            ChunkKind::Exemplars => 2,
            ChunkKind::HistogramColumns => 3,
        };
        put_varint(out, u64::from(chunk.rows) << 3 | kind << 1 | u64::from(chunk.aggregates.is_some()));
        let span_ms = chunk.range.end_ms.wrapping_sub(chunk.range.start_ms);
        put_zigzag(out, chunk.range.start_ms.wrapping_sub(self.start_ms));
        put_zigzag(out, span_ms.wrapping_sub(self.span_ms));
        put_varint(out, u64::from(chunk.place.page - self.page));
        put_varint(out, u64::from(chunk.place.length));
        if !self.begun {
            put_varint(out, u64::from(chunk.place.offset));
        }
        if let Some(aggregates) = &chunk.aggregates {
            aggregates.encode(out);
        }
        let place = chunk.place;
        let end = place.offset + place.length;
        *self = Self { begun: true, start_ms: chunk.range.start_ms, span_ms, page: place.page, end };
    }

    fn read(&mut self, reader: &mut Reader<'_>, scratch: &mut Scratch) -> Result<ChunkMeta, Corrupt> {
        let head = reader.varint()?;
        let kind = match head >> 1 & 3 {
            0 => ChunkKind::Floats,
            1 => ChunkKind::Histograms,
            2 => ChunkKind::Exemplars,
            _ => ChunkKind::HistogramColumns,
        };
        let rows = u32::try_from(head >> 3).map_err(|_| Corrupt)?;
        let start_ms = self.start_ms.wrapping_add(reader.zigzag()?);
        let span_ms = self.span_ms.wrapping_add(reader.zigzag()?);
        let page_step = reader.number()?;
        let page = self.page.checked_add(page_step).ok_or(Corrupt)?;
        let length = reader.number()?;
        let offset = match (self.begun, page_step) {
            (false, _) => reader.number()?,
            (true, 0) => self.end,
            (true, _) => 0,
        };
        let aggregates = if head & 1 != 0 { Some(Aggregates::decode(reader, scratch)?) } else { None };
        let end = offset.checked_add(length).ok_or(Corrupt)?;
        *self = Self { begun: true, start_ms, span_ms, page, end };
        let range = TimeRange { start_ms, end_ms: start_ms.wrapping_add(span_ms) };
        Ok(ChunkMeta { kind, rows, range, aggregates, place: ChunkPlace { page, offset, length } })
    }
}

/// Appends a row's labels as pairs of name and value symbols, given those of the row before in the same part.
pub(super) fn write_labels(labels: &[(u32, u32)], before: &[(u32, u32)], out: &mut Vec<u8>) {
    let same_names = labels.len() == before.len() && labels.iter().zip(before).all(|(a, b)| a.0 == b.0);
    if !same_names || labels.len() > MASK_LABELS {
        put_varint(out, 1);
        put_varint(out, labels.len() as u64);
        for (name, value) in labels {
            put_varint(out, u64::from(*name));
            put_varint(out, u64::from(*value));
        }
        return;
    }
    let differs = |i: &usize| labels[*i].1 != before[*i].1;
    let mask = (0..labels.len()).filter(differs).fold(0u64, |mask, i| mask | 1 << i);
    put_varint(out, mask << 1);
    for i in (0..labels.len()).filter(differs) {
        put_zigzag(out, i64::from(labels[i].1) - i64::from(before[i].1));
    }
}

/// Reads the labels of a row; `labels` are those of the row before in the same part.
pub(super) fn read_labels(reader: &mut Reader<'_>, labels: &mut Vec<(u32, u32)>) -> Result<(), Corrupt> {
    let head = reader.varint()?;
    if head & 1 != 0 {
        labels.clear();
        for _ in 0..reader.count_of(2)? {
            labels.push((reader.number()?, reader.number()?));
        }
        return Ok(());
    }
    let labels_of_mask = 64 - (head >> 1).leading_zeros() as usize;
    if labels.len() > MASK_LABELS || labels.len() < labels_of_mask {
        return Err(Corrupt);
    }
    for (i, (_, value)) in labels.iter_mut().enumerate() {
        if head >> 1 & 1 << i != 0 {
            let step = reader.zigzag()?;
            *value =
                i64::from(*value).checked_add(step).and_then(|v| u32::try_from(v).ok()).ok_or(Corrupt)?;
        }
    }
    Ok(())
}

/// The decoded rows of a part.
#[derive(Debug, Default)]
pub(super) struct SeriesRows {
    labels: Vec<(u32, u32)>,
    label_ends: Vec<usize>,
    chunks: Vec<ChunkMeta>,
    chunk_ends: Vec<usize>,
}

impl SeriesRows {
    /// Reads a part of `rows` rows.
    pub(super) fn read(bytes: &[u8], rows: u32) -> Result<SeriesRows, Corrupt> {
        let mut reader = Reader::new(bytes);
        let mut all = SeriesRows::default();
        let (mut cursor, mut scratch) = (ChunkCursor::default(), Scratch::default());
        all.label_ends.reserve(rows as usize);
        all.chunk_ends.reserve(rows as usize);
        all.chunks.reserve(rows as usize);
        let mut labels = Vec::new();
        for _ in 0..rows {
            read_labels(&mut reader, &mut labels)?;
            all.labels.extend_from_slice(&labels);
            all.label_ends.push(all.labels.len());
            for _ in 0..reader.count_of(CHUNK_BYTES_MIN)? {
                all.chunks.push(cursor.read(&mut reader, &mut scratch)?);
            }
            all.chunk_ends.push(all.chunks.len());
        }
        if reader.is_empty() { Ok(all) } else { Err(Corrupt) }
    }

    /// A row's labels as pairs of name and value symbols.
    pub(super) fn labels(&self, row: usize) -> Option<&[(u32, u32)]> {
        self.labels.get(range(&self.label_ends, row)?)
    }

    /// A row's chunks.
    pub(super) fn chunks(&self, row: usize) -> Option<&[ChunkMeta]> {
        self.chunks.get(range(&self.chunk_ends, row)?)
    }
}

fn range(ends: &[usize], row: usize) -> Option<std::ops::Range<usize>> {
    let end = *ends.get(row)?;
    let start = if row == 0 { 0 } else { ends[row - 1] };
    Some(start..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row of more labels than a mask holds, then one that says it has the same: that was a shift by 64 bits, and 128 rows
    /// of thousands of labels out of a few bytes.
    #[test]
    fn only_a_row_that_a_mask_holds_is_the_same_again() {
        let part = |labels: usize| {
            let mut bytes = Vec::new();
            write_labels(&vec![(1, 2); labels], &[], &mut bytes);
            put_varint(&mut bytes, 0);
            // The same labels, no chunk.
            bytes.extend([0, 0]);
            bytes
        };
        let rows = SeriesRows::read(&part(MASK_LABELS), 2).unwrap();
        assert_eq!(rows.labels(1).unwrap().len(), MASK_LABELS);
        for labels in [MASK_LABELS + 1, 64, 65, 1000] {
            assert_eq!(SeriesRows::read(&part(labels), 2).map(drop), Err(Corrupt), "{labels}");
        }
    }
}
