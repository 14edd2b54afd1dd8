//! Reading a section's series.
//!
//! What was read last stays with the reader: the part of the series table, the page of chunks, the ids, symbols already
//! spelt out. So going through series in the order of their ordinals looks each of them up once.

use std::collections::hash_map::Entry;
use std::sync::Arc;

use codec::chunk::bytes::Reader;
use codec::chunk::{Corrupt, exemplars};
use foldhash::HashMap;
use model::batch::Exemplar;
use model::select::Stop;
use model::{Labels, Matcher, SeriesId, TimeRange};
use smallvec::SmallVec;

use super::cache::Page;
use super::chunk;
use super::page::PageAddress;
use super::section::{PartBytes, Section, Speller, go_around};
use super::series::{ID_BYTES, IDS, ROWS, SeriesRows};
use super::{BlockError, ChunkKind, ChunkMeta, Columns, Damaged};

/// Symbols that are remembered.
const TEXTS_MAX: usize = 1 << 14;

/// Wants every chunk: for [`SectionReader::read`].
pub fn every_chunk(_: &ChunkMeta, _: usize) -> Result<bool, Stop> {
    Ok(true)
}

/// A section and what was read of it last.
pub struct SectionReader {
    section: Section,
    rows: Option<(u32, SeriesRows)>,
    ids: Option<(u32, PartBytes)>,
    page: LastPage,
    texts: HashMap<u32, Box<str>>,
    speller: Speller,
    /// A label set in the making.
    text: String,
}

impl SectionReader {
    pub(super) fn new(section: Section) -> Self {
        Self {
            section,
            rows: None,
            ids: None,
            page: LastPage::default(),
            texts: HashMap::default(),
            speller: Speller::default(),
            text: String::new(),
        }
    }

    /// A series' identity.
    pub fn id(&mut self, ordinal: u32) -> Result<SeriesId, BlockError> {
        let number = ordinal / IDS;
        if self.ids.as_ref().is_none_or(|(known, _)| *known != number) {
            let part = self.section.root().ids.get(number as usize);
            let part = part.ok_or_else(|| self.section.no_such_series())?;
            self.ids = Some((number, self.section.part(*part)?));
        }
        let (_, part) = self.ids.as_ref().expect("just read");
        let at = (ordinal % IDS) as usize * ID_BYTES;
        let bytes = part.bytes().get(at..).and_then(|bytes| bytes.first_chunk::<ID_BYTES>());
        let bytes = bytes.ok_or_else(|| self.section.malformed(part))?;
        Ok(SeriesId(u128::from_le_bytes(*bytes)))
    }

    /// A series' labels.
    pub fn labels(&mut self, ordinal: u32) -> Result<Labels, BlockError> {
        self.labels_where(ordinal, |_, _| true)
    }

    /// Those of a series' labels whose name's and value's symbol numbers are `wanted`.
    pub(crate) fn labels_where(
        &mut self,
        ordinal: u32,
        wanted: impl Fn(u32, u32) -> bool,
    ) -> Result<Labels, BlockError> {
        let Self { section, rows, texts, speller, text, .. } = self;
        let numbers = labels_in(section, rows, ordinal)?;
        let numbers = || numbers.iter().copied().filter(|(name, value)| wanted(*name, *value));
        if texts.len() >= TEXTS_MAX {
            texts.clear();
        }
        for number in numbers().flat_map(|(name, value)| [name, value]) {
            if let Entry::Vacant(place) = texts.entry(number) {
                place.insert(speller.spell(section, number)?.into());
            }
        }
        let spelt = |number: u32| texts.get(&number).map_or("", |text| &**text);
        Ok(Labels::collect_sorted(numbers().map(|(name, value)| (spelt(name), spelt(value))), text))
    }

    /// A series' labels as symbol numbers of name and value, in order of the names.
    pub(crate) fn label_numbers(&mut self, ordinal: u32) -> Result<&[(u32, u32)], BlockError> {
        labels_in(&self.section, &mut self.rows, ordinal)
    }

    /// Whether a series satisfies all matchers; an error when that hangs on what cannot be read.
    pub(super) fn satisfies(&mut self, ordinal: u32, matchers: &[Matcher]) -> Result<bool, BlockError> {
        let numbers: SmallVec<[(u32, u32); 16]> = self.label_numbers(ordinal)?.into();
        let mut unknown = None;
        for matcher in matchers {
            match self.value_of(&numbers, &matcher.name) {
                Ok(value) if matcher.matches(value) => {}
                Ok(_) => return Ok(false),
                Err(error) => unknown = Some(error),
            }
        }
        unknown.map_or(Ok(true), Err)
    }

    /// The value of the label `name`, empty when there is none.
    fn value_of(&mut self, numbers: &[(u32, u32)], name: &str) -> Result<&str, BlockError> {
        let mut unknown = None;
        for (label, value) in numbers {
            match self.spell(*label) {
                Ok(text) if text == name => return self.spell(*value),
                Ok(_) => {}
                Err(error) => unknown = Some(error),
            }
        }
        unknown.map_or(Ok(""), Err)
    }

    /// A symbol's text.
    pub(crate) fn spell(&mut self, symbol: u32) -> Result<&str, BlockError> {
        self.speller.spell(&self.section, symbol)
    }

    /// From a series' first sample to its last; `start_ms > end_ms` when it has exemplars only.
    pub fn range(&mut self, ordinal: u32) -> Result<TimeRange, BlockError> {
        let none = TimeRange { start_ms: i64::MAX, end_ms: i64::MIN };
        let chunks = self.chunks(ordinal)?.iter().filter(|chunk| chunk.kind != ChunkKind::Exemplars);
        Ok(chunks.fold(none, |all, chunk| TimeRange {
            start_ms: all.start_ms.min(chunk.range.start_ms),
            end_ms: all.end_ms.max(chunk.range.end_ms),
        }))
    }

    /// A series' chunks, samples in the order of time, then exemplars.
    pub fn chunks(&mut self, ordinal: u32) -> Result<&[ChunkMeta], BlockError> {
        chunks_in(&self.section, &mut self.rows, ordinal)
    }

    /// Appends a series' samples in the range to `columns`, of those chunks that are `wanted`, which is asked with the
    /// rows that there are before. Chunks in damaged pages are left out and named in `damaged`.
    ///
    /// # Errors
    /// [`BlockError::Damaged`] when the series' row in the index cannot be read.
    pub fn read(
        &mut self,
        ordinal: u32,
        range: TimeRange,
        mut wanted: impl FnMut(&ChunkMeta, usize) -> Result<bool, Stop>,
        columns: &mut Columns,
        damaged: &mut Vec<Damaged>,
    ) -> Result<(), BlockError> {
        let Self { section, rows, page, .. } = self;
        for chunk in chunks_in(section, rows, ordinal)? {
            let outside = chunk.kind == ChunkKind::Exemplars || !chunk.range.overlaps(&range);
            if outside || !wanted(chunk, columns.timestamps.len())? {
                continue;
            }
            if let Err(error) = read_part(section, page, chunk, range, columns) {
                go_around(error, damaged)?;
            }
        }
        Ok(())
    }

    /// Appends all rows of a chunk of samples.
    pub(crate) fn read_chunk(&mut self, chunk: &ChunkMeta, columns: &mut Columns) -> Result<(), BlockError> {
        read_whole(&self.section, &mut self.page, chunk, columns)
    }

    /// Appends the rows of a chunk of samples that are in the range.
    pub(crate) fn read_part(
        &mut self,
        chunk: &ChunkMeta,
        range: TimeRange,
        columns: &mut Columns,
    ) -> Result<(), BlockError> {
        read_part(&self.section, &mut self.page, chunk, range, columns)
    }

    /// A series' exemplars in the range. Chunks in damaged pages are left out and named in `damaged`.
    ///
    /// # Errors
    /// [`BlockError::Damaged`] when the series' row in the index cannot be read.
    pub fn exemplars(
        &mut self,
        ordinal: u32,
        range: TimeRange,
        damaged: &mut Vec<Damaged>,
    ) -> Result<Vec<Exemplar>, BlockError> {
        let Self { section, rows, page, .. } = self;
        let mut all = Vec::new();
        for chunk in chunks_in(section, rows, ordinal)? {
            if chunk.kind != ChunkKind::Exemplars || !chunk.range.overlaps(&range) {
                continue;
            }
            match exemplars_in(section, page, chunk) {
                Ok(exemplars) => all.extend(exemplars),
                Err(error) => go_around(error, damaged)?,
            }
        }
        all.retain(|exemplar| range.contains(exemplar.timestamp_ms));
        Ok(all)
    }

    /// The exemplars of a chunk.
    pub(super) fn read_exemplars(&mut self, chunk: &ChunkMeta) -> Result<Vec<Exemplar>, BlockError> {
        exemplars_in(&self.section, &mut self.page, chunk)
    }
}

/// The part of the series table that has a series, and the series' place there.
fn rows_of<'r>(
    section: &Section,
    last: &'r mut Option<(u32, SeriesRows)>,
    ordinal: u32,
) -> Result<(&'r SeriesRows, usize), BlockError> {
    let (number, place) = (ordinal / ROWS, (ordinal % ROWS) as usize);
    if last.as_ref().is_none_or(|(known, _)| *known != number) {
        if ordinal >= section.series() {
            return Err(section.no_such_series());
        }
        let part = section.part(section.root().rows[number as usize])?;
        let count = (section.series() - number * ROWS).min(ROWS);
        let rows = SeriesRows::read(part.bytes(), count).map_err(|Corrupt| section.malformed(&part))?;
        *last = Some((number, rows));
    }
    let (_, rows) = last.as_ref().expect("just read");
    Ok((rows, place))
}

fn chunks_in<'r>(
    section: &Section,
    last: &'r mut Option<(u32, SeriesRows)>,
    ordinal: u32,
) -> Result<&'r [ChunkMeta], BlockError> {
    let (rows, place) = rows_of(section, last, ordinal)?;
    rows.chunks(place).ok_or_else(|| section.no_such_series())
}

fn labels_in<'r>(
    section: &Section,
    last: &'r mut Option<(u32, SeriesRows)>,
    ordinal: u32,
) -> Result<&'r [(u32, u32)], BlockError> {
    let (rows, place) = rows_of(section, last, ordinal)?;
    rows.labels(place).ok_or_else(|| section.no_such_series())
}

/// The page of chunks that was read last, and memory for decoding.
#[derive(Default)]
struct LastPage {
    page: Option<(u32, Arc<Page>, PageAddress)>,
    numbers: Vec<i64>,
}

fn page_of<'p>(
    section: &Section,
    last: &'p mut LastPage,
    chunk: &ChunkMeta,
) -> Result<(&'p Page, &'p PageAddress, &'p mut Vec<i64>), BlockError> {
    let number = chunk.place.page;
    if last.page.as_ref().is_none_or(|(known, ..)| *known != number) {
        let (page, address) = section.chunk_page(number)?;
        last.page = Some((number, page, address));
    }
    let (_, page, address) = last.page.as_ref().expect("just read");
    Ok((page, address, &mut last.numbers))
}

fn read_whole(
    section: &Section,
    last: &mut LastPage,
    chunk: &ChunkMeta,
    columns: &mut Columns,
) -> Result<(), BlockError> {
    let (page, address, numbers) = page_of(section, last, chunk)?;
    let place = (chunk.place.offset, chunk.place.length);
    let before = columns.timestamps.len();
    chunk::decode(page.payload(), place, chunk.rows, chunk.kind, numbers, columns)
        .map_err(|Corrupt| section.malformed_page(address, "chunk is malformed"))?;
    // Which chunks are read, and in which order, was decided by what the index says of them.
    let times = &columns.timestamps[before..];
    if times.first() != Some(&chunk.range.start_ms) || times.last() != Some(&chunk.range.end_ms) {
        columns.truncate(before);
        return Err(section.malformed_page(address, "chunk has other times than the index says"));
    }
    Ok(())
}

fn read_part(
    section: &Section,
    last: &mut LastPage,
    chunk: &ChunkMeta,
    range: TimeRange,
    columns: &mut Columns,
) -> Result<(), BlockError> {
    let before = columns.timestamps.len();
    read_whole(section, last, chunk, columns)?;
    columns.find_resets(before);
    if chunk.range.start_ms < range.start_ms || chunk.range.end_ms > range.end_ms {
        columns.keep_within(before, range);
    }
    Ok(())
}

fn exemplars_in(
    section: &Section,
    last: &mut LastPage,
    chunk: &ChunkMeta,
) -> Result<Vec<Exemplar>, BlockError> {
    let (page, address, _) = page_of(section, last, chunk)?;
    let start = chunk.place.offset as usize;
    let bytes = page.payload().get(start..).and_then(|b| b.get(..chunk.place.length as usize));
    let mut all = Vec::new();
    exemplars::decode(&mut Reader::new(bytes.unwrap_or(&[])), chunk.rows as usize, &mut all)
        .map_err(|Corrupt| section.malformed_page(address, "exemplars are malformed"))?;
    Ok(all)
}
