//! The root of a section's index: how many, where the pages are, and where each part begins.
//!
//! It is the one page of a section that every query needs, so it stays small: parts are found by position (ids, rows),
//! by their first symbol, or by label and first value.

use codec::chunk::Corrupt;
use codec::chunk::bytes::{Reader, put_bytes, put_varint, put_zigzag};
use model::TimeRange;

use super::parts::{Part, PartCursor};

/// Pages that lie one behind the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PageRun {
    offsets: Vec<u64>,
    end: u64,
}

impl PageRun {
    /// Adds the next page.
    pub(super) fn push(&mut self, offset: u64, length: u32) {
        self.offsets.push(offset);
        self.end = offset + u64::from(length);
    }

    pub(super) fn len(&self) -> usize {
        self.offsets.len()
    }

    /// Offset and length of a page.
    pub(super) fn get(&self, page: u32) -> Option<(u64, u32)> {
        let at = page as usize;
        let offset = *self.offsets.get(at)?;
        let end = self.offsets.get(at + 1).copied().unwrap_or(self.end);
        Some((offset, u32::try_from(end - offset).ok()?))
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        put_varint(out, self.offsets.len() as u64);
        put_varint(out, self.offsets.first().copied().unwrap_or(0));
        for page in 0..self.offsets.len() {
            put_varint(out, self.get(page as u32).map_or(0, |(_, length)| u64::from(length)));
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<PageRun, Corrupt> {
        let pages = reader.count_of(1)?;
        let mut offset = reader.varint()?;
        let mut run = PageRun { offsets: Vec::with_capacity(pages), end: offset };
        for _ in 0..pages {
            run.offsets.push(offset);
            offset = offset.checked_add(u64::from(reader.number()?)).ok_or(Corrupt)?;
        }
        run.end = offset;
        Ok(run)
    }
}

/// A part of symbols.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SymbolsEntry {
    pub(super) part: Part,
    /// Number of the first symbol.
    pub(super) number: u32,
    pub(super) count: u32,
    pub(super) first: String,
}

/// A part of postings of one label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PostingsEntry {
    pub(super) part: Part,
    /// The label's name.
    pub(super) name: u32,
    /// The first value.
    pub(super) value: u32,
}

/// The root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Root {
    pub(super) series: u32,
    pub(super) samples: u64,
    pub(super) range: TimeRange,
    pub(super) chunk_pages: PageRun,
    pub(super) index_pages: PageRun,
    pub(super) symbols: Vec<SymbolsEntry>,
    pub(super) ids: Vec<Part>,
    pub(super) rows: Vec<Part>,
    /// By name, then value.
    pub(super) postings: Vec<PostingsEntry>,
    /// Where the parts that are in the root's own page begin in its payload.
    pub(super) inline: usize,
}

impl Root {
    /// Appends the root; the parts of its own page follow.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        put_varint(out, u64::from(self.series));
        put_varint(out, self.samples);
        put_zigzag(out, self.range.start_ms);
        put_zigzag(out, self.range.end_ms);
        self.chunk_pages.write(out);
        self.index_pages.write(out);
        let mut cursor = PartCursor::default();
        for parts in [&self.ids, &self.rows] {
            put_varint(out, parts.len() as u64);
            parts.iter().for_each(|part| cursor.write(*part, out));
        }
        put_varint(out, self.symbols.len() as u64);
        for entry in &self.symbols {
            cursor.write(entry.part, out);
            put_varint(out, u64::from(entry.count));
            put_bytes(out, entry.first.as_bytes());
        }
        put_varint(out, self.postings.len() as u64);
        for entry in &self.postings {
            cursor.write(entry.part, out);
            put_varint(out, u64::from(entry.name));
            put_varint(out, u64::from(entry.value));
        }
    }

    /// Reads a root page's payload.
    pub(super) fn read(payload: &[u8]) -> Result<Root, Corrupt> {
        let mut reader = Reader::new(payload);
        let (series, samples) = (reader.number()?, reader.varint()?);
        let range = TimeRange { start_ms: reader.zigzag()?, end_ms: reader.zigzag()? };
        let chunk_pages = PageRun::read(&mut reader)?;
        let index_pages = PageRun::read(&mut reader)?;
        let mut cursor = PartCursor::default();
        let mut parts = || -> Result<Vec<Part>, Corrupt> {
            let count = reader.count_of(1)?;
            (0..count).map(|_| cursor.read(&mut reader)).collect()
        };
        let (ids, rows) = (parts()?, parts()?);
        let mut symbols = Vec::new();
        let mut number = 0u32;
        for _ in 0..reader.count_of(3)? {
            let (part, count) = (cursor.read(&mut reader)?, reader.number()?);
            let first = std::str::from_utf8(reader.bytes()?).map_err(|_| Corrupt)?.to_owned();
            symbols.push(SymbolsEntry { part, number, count, first });
            number = number.checked_add(count).ok_or(Corrupt)?;
        }
        let postings = (0..reader.count_of(3)?)
            .map(|_| {
                Ok(PostingsEntry {
                    part: cursor.read(&mut reader)?,
                    name: reader.number()?,
                    value: reader.number()?,
                })
            })
            .collect::<Result<_, Corrupt>>()?;
        let inline = payload.len() - reader.rest().len();
        Ok(Root { series, samples, range, chunk_pages, index_pages, symbols, ids, rows, postings, inline })
    }
}
