//! A tenant's section, open for reading.
//!
//! A section holds its root; rows, symbols, postings and chunks come through the cache as they are needed. Series are
//! named by their ordinal in block order. The rows last used and symbols already spelt out stay with the cached root,
//! so going through ordinals in order parses each part once, and a handle costs nothing. A damaged page costs what
//! lies in it: what can be answered without it is, and the damage is named to the caller.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use codec::chunk::bytes::Reader;
use codec::chunk::{Corrupt, exemplars};
use model::batch::Exemplar;
use model::select::HistogramPoint;
use model::{Labels, SeriesId, TimeRange};

use super::cache::Page;
use super::chunk::{self, Decoded, Values};
use super::page::{PageAddress, PageKind, damaged_page};
use super::parts::Part;
use super::reader::BlockFile;
use super::root::{Root, SymbolsEntry};
use super::series::{ID_BYTES, IDS, ROWS, SeriesRows};
use super::symbols::{GROUP, SymbolPartReader};
use super::writer::SectionPlace;
use super::{BlockError, ChunkKind, ChunkMeta, Columns, Damaged, SectionMeta};

/// Symbols that are remembered for a section.
const MEMO_SYMBOLS: usize = 1 << 12;
/// Parts of rows that are remembered for a section: one for each of a few readers.
const MEMO_ROWS: usize = 4;

/// A tenant's part of a block.
pub struct Section {
    file: Arc<BlockFile>,
    place: SectionPlace,
    page: Arc<Page>,
    parsed: Arc<Parsed>,
}

/// A part of rows with its number.
type NumberedRows = (u32, Arc<SeriesRows>);

/// A root as it is kept with its page, and what was parsed last.
#[derive(Debug)]
pub(super) struct Parsed {
    root: Root,
    rows: [Mutex<Option<NumberedRows>>; MEMO_ROWS],
    symbols: Mutex<HashMap<u32, Arc<str>, foldhash::fast::RandomState>>,
}

impl fmt::Debug for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Section").field("meta", &self.place.meta).finish_non_exhaustive()
    }
}

/// Bytes of a part, with the page that they are in.
pub(super) struct PartBytes {
    page: Arc<Page>,
    range: Range<usize>,
    address: PageAddress,
}

impl PartBytes {
    pub(super) fn bytes(&self) -> &[u8] {
        self.page.payload().get(self.range.clone()).unwrap_or(&[])
    }
}

impl Section {
    pub(super) fn open(file: Arc<BlockFile>, place: SectionPlace) -> Result<Section, BlockError> {
        let address = root_address(&place);
        let page = file.page(&address)?;
        let parsed = match page.parsed.get() {
            Some(parsed) => parsed.clone(),
            None => {
                let root = Root::read(page.payload()).ok().filter(|root| is_whole(root, &place.meta));
                let root =
                    root.ok_or_else(|| damaged_page(&file.name, &address, "root of an index is malformed"))?;
                let parsed = Parsed { root, rows: Default::default(), symbols: Mutex::default() };
                page.parsed.get_or_init(|| Arc::new(parsed)).clone()
            }
        };
        Ok(Section { file, place, page, parsed })
    }

    pub(super) fn root(&self) -> &Root {
        &self.parsed.root
    }

    /// What the section holds.
    pub fn meta(&self) -> &SectionMeta {
        &self.place.meta
    }

    /// Number of series; ordinals go from 0 to here.
    pub fn series(&self) -> u32 {
        self.root().series
    }

    /// A series' identity.
    pub fn id(&self, ordinal: u32) -> Result<SeriesId, BlockError> {
        let part = self.root().ids.get((ordinal / IDS) as usize).ok_or_else(|| self.no_such_series())?;
        let part = self.part(*part)?;
        let at = (ordinal % IDS) as usize * ID_BYTES;
        let bytes = part.bytes().get(at..).and_then(|bytes| bytes.first_chunk::<ID_BYTES>());
        let bytes = bytes.ok_or_else(|| self.malformed(&part))?;
        Ok(SeriesId(u128::from_le_bytes(*bytes)))
    }

    /// A series' labels.
    pub fn labels(&self, ordinal: u32) -> Result<Labels, BlockError> {
        let rows = self.rows_of(ordinal)?;
        let numbers = rows.labels((ordinal % ROWS) as usize).ok_or_else(|| self.no_such_series())?;
        let mut pairs: Vec<(Arc<str>, Arc<str>)> = Vec::with_capacity(numbers.len());
        for (name, value) in numbers {
            pairs.push((self.symbol(*name)?, self.symbol(*value)?));
        }
        Ok(pairs.iter().map(|(name, value)| (&**name, &**value)).collect())
    }

    /// From a series' first sample to its last; `start_ms > end_ms` when it has exemplars only.
    pub fn range(&self, ordinal: u32) -> Result<TimeRange, BlockError> {
        let mut range = TimeRange { start_ms: i64::MAX, end_ms: i64::MIN };
        self.each_chunk(ordinal, |chunk| {
            if chunk.kind != ChunkKind::Exemplars {
                range.start_ms = range.start_ms.min(chunk.range.start_ms);
                range.end_ms = range.end_ms.max(chunk.range.end_ms);
            }
        })?;
        Ok(range)
    }

    /// A series' chunks, samples in the order of time, then exemplars.
    pub fn chunks(&self, ordinal: u32) -> Result<Vec<ChunkMeta>, BlockError> {
        let mut chunks = Vec::new();
        self.each_chunk(ordinal, |chunk| chunks.push(*chunk))?;
        Ok(chunks)
    }

    /// Appends a series' samples in the range to `columns`. Chunks in damaged pages are left out and named in
    /// `damaged`.
    ///
    /// # Errors
    /// [`BlockError::Damaged`] when the series' row in the index cannot be read.
    pub fn read(
        &self,
        ordinal: u32,
        range: TimeRange,
        columns: &mut Columns,
        damaged: &mut Vec<Damaged>,
    ) -> Result<(), BlockError> {
        for chunk in self.chunks(ordinal)? {
            if chunk.kind == ChunkKind::Exemplars || !chunk.range.overlaps(&range) {
                continue;
            }
            match self.read_chunk(&chunk) {
                Ok(decoded) => append(&decoded, range, columns),
                Err(error) => go_around(error, damaged)?,
            }
        }
        Ok(())
    }

    /// A series' exemplars in the range. Chunks in damaged pages are left out and named in `damaged`.
    ///
    /// # Errors
    /// [`BlockError::Damaged`] when the series' row in the index cannot be read.
    pub fn exemplars(
        &self,
        ordinal: u32,
        range: TimeRange,
        damaged: &mut Vec<Damaged>,
    ) -> Result<Vec<Exemplar>, BlockError> {
        let mut all = Vec::new();
        for chunk in self.chunks(ordinal)? {
            if chunk.kind != ChunkKind::Exemplars || !chunk.range.overlaps(&range) {
                continue;
            }
            match self.read_exemplars(&chunk) {
                Ok(exemplars) => all.extend(exemplars),
                Err(error) => go_around(error, damaged)?,
            }
        }
        all.retain(|exemplar| range.contains(exemplar.timestamp_ms));
        Ok(all)
    }

    /// Label names, sorted: of all series, or of some.
    pub fn label_names(&self, of: Option<&[u32]>) -> Result<Vec<String>, BlockError> {
        let mut names: BTreeSet<u32> = BTreeSet::new();
        match of {
            None => names.extend(self.root().postings.iter().map(|entry| entry.name)),
            Some(ordinals) => self.each_label(ordinals, |name, _| {
                names.insert(name);
            })?,
        }
        names.into_iter().map(|name| Ok(self.symbol(name)?.as_ref().to_owned())).collect()
    }

    /// Values of a label, sorted: of all series, or of some.
    pub fn label_values(&self, name: &str, of: Option<&[u32]>) -> Result<Vec<String>, BlockError> {
        let Some(name) = self.find_symbol(name)? else { return Ok(Vec::new()) };
        let mut values: BTreeSet<u32> = BTreeSet::new();
        match of {
            None => self.each_postings(name, 0..u32::MAX, |list| {
                values.insert(list.value);
                Ok(Ok(()))
            })?,
            Some(ordinals) => self.each_label(ordinals, |other, value| {
                if other == name {
                    values.insert(value);
                }
            })?,
        }
        let mut spelt = Vec::with_capacity(values.len());
        let mut speller = Speller::default();
        for value in values {
            spelt.push(speller.spell(self, value)?.to_owned());
        }
        Ok(spelt)
    }

    fn each_label(&self, ordinals: &[u32], mut each: impl FnMut(u32, u32)) -> Result<(), BlockError> {
        for ordinal in ordinals {
            let rows = self.rows_of(*ordinal)?;
            let labels = rows.labels((ordinal % ROWS) as usize).ok_or_else(|| self.no_such_series())?;
            labels.iter().for_each(|(name, value)| each(*name, *value));
        }
        Ok(())
    }

    fn each_chunk(&self, ordinal: u32, each: impl FnMut(&ChunkMeta)) -> Result<(), BlockError> {
        let rows = self.rows_of(ordinal)?;
        rows.chunks((ordinal % ROWS) as usize).ok_or_else(|| self.no_such_series())?.iter().for_each(each);
        Ok(())
    }

    fn rows_of(&self, ordinal: u32) -> Result<Arc<SeriesRows>, BlockError> {
        if ordinal >= self.root().series {
            return Err(self.no_such_series());
        }
        let at = ordinal / ROWS;
        // Readers that walk different regions rarely push each other out.
        let memo = &self.parsed.rows[(at as usize / 64) % MEMO_ROWS];
        let mut last = memo.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((part, rows)) = &*last
            && *part == at
        {
            return Ok(rows.clone());
        }
        let part = self.part(self.root().rows[at as usize])?;
        let count = (self.root().series - at * ROWS).min(ROWS);
        let rows = SeriesRows::read(part.bytes(), count).map_err(|Corrupt| self.malformed(&part))?;
        let rows = Arc::new(rows);
        *last = Some((at, rows.clone()));
        Ok(rows)
    }

    pub(super) fn read_chunk(&self, chunk: &ChunkMeta) -> Result<Decoded, BlockError> {
        let values = match chunk.kind {
            ChunkKind::Histograms => Values::Histograms,
            ChunkKind::HistogramColumns => Values::HistogramColumns,
            ChunkKind::Floats | ChunkKind::Exemplars => Values::Floats,
        };
        let (page, address) = self.chunk_page(chunk)?;
        chunk::decode(page.payload(), (chunk.place.offset, chunk.place.length), chunk.rows, values)
            .map_err(|Corrupt| damaged_page(&self.file.name, &address, "chunk is malformed").into())
    }

    pub(super) fn read_exemplars(&self, chunk: &ChunkMeta) -> Result<Vec<Exemplar>, BlockError> {
        let (page, address) = self.chunk_page(chunk)?;
        let start = chunk.place.offset as usize;
        let bytes = page.payload().get(start..).and_then(|b| b.get(..chunk.place.length as usize));
        let mut all = Vec::new();
        exemplars::decode(&mut Reader::new(bytes.unwrap_or(&[])), chunk.rows as usize, &mut all)
            .map_err(|Corrupt| damaged_page(&self.file.name, &address, "exemplars are malformed"))?;
        Ok(all)
    }

    fn chunk_page(&self, chunk: &ChunkMeta) -> Result<(Arc<Page>, PageAddress), BlockError> {
        let place = self.root().chunk_pages.get(chunk.place.page);
        let (offset, length) =
            place.ok_or_else(|| self.damaged_root("index names a page that is not there"))?;
        let address = PageAddress { kind: PageKind::Chunks, tenant: self.place.meta.tenant, offset, length };
        Ok((self.file.page(&address)?, address))
    }

    /// A part of the index.
    pub(super) fn part(&self, part: Part) -> Result<PartBytes, BlockError> {
        let (page, address, base) = match self.root().index_pages.get(part.page) {
            Some((offset, length)) => {
                let tenant = self.place.meta.tenant;
                let address = PageAddress { kind: PageKind::Index, tenant, offset, length };
                (self.file.page(&address)?, address, 0)
            }
            None => (self.page.clone(), root_address(&self.place), self.root().inline),
        };
        let start = base + part.offset as usize;
        let range = start..start + part.length as usize;
        let part = PartBytes { page, range, address };
        let inside = part.page.payload().get(part.range.clone()).is_some();
        if inside { Ok(part) } else { Err(self.malformed(&part)) }
    }

    pub(super) fn malformed(&self, part: &PartBytes) -> BlockError {
        damaged_page(&self.file.name, &part.address, "index is malformed").into()
    }

    fn damaged_root(&self, what: &'static str) -> BlockError {
        damaged_page(&self.file.name, &root_address(&self.place), what).into()
    }

    fn no_such_series(&self) -> BlockError {
        self.damaged_root("index has no such series")
    }

    /// The addresses of all pages of the section, the root last.
    pub(super) fn pages(&self) -> impl Iterator<Item = PageAddress> + '_ {
        let tenant = self.place.meta.tenant;
        let runs =
            [(PageKind::Chunks, &self.root().chunk_pages), (PageKind::Index, &self.root().index_pages)];
        let pages =
            runs.into_iter().flat_map(move |(kind, run)| {
                (0..run.len() as u32)
                    .filter_map(|page| run.get(page))
                    .map(move |(offset, length)| PageAddress { kind, tenant, offset, length })
            });
        pages.chain([root_address(&self.place)])
    }

    /// The number of a symbol.
    pub(super) fn find_symbol(&self, symbol: &str) -> Result<Option<u32>, BlockError> {
        let number = self.symbols_before(symbol.as_bytes())?;
        if self.entry_of(number).is_none() {
            return Ok(None);
        }
        let found = self.symbol(number)?;
        Ok((&*found == symbol).then_some(number))
    }

    /// How many symbols are smaller than these bytes: the number of the first that is not.
    pub(super) fn symbols_before(&self, bytes: &[u8]) -> Result<u32, BlockError> {
        let at = self.root().symbols.partition_point(|entry| entry.first.as_bytes() < bytes);
        let Some(entry) = at.checked_sub(1).and_then(|at| self.root().symbols.get(at)) else { return Ok(0) };
        let part = self.part(entry.part)?;
        let smaller = SymbolPartReader::new(part.bytes(), entry.count).and_then(|p| p.smaller_than(bytes));
        Ok(entry.number + smaller.map_err(|Corrupt| self.malformed(&part))?)
    }

    fn entry_of(&self, number: u32) -> Option<&SymbolsEntry> {
        let at = self.root().symbols.partition_point(|entry| entry.number <= number).checked_sub(1)?;
        self.root().symbols.get(at).filter(|entry| number - entry.number < entry.count)
    }

    /// A symbol, remembered.
    fn symbol(&self, number: u32) -> Result<Arc<str>, BlockError> {
        let mut memo = self.parsed.symbols.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(symbol) = memo.get(&number) {
            return Ok(symbol.clone());
        }
        let symbol: Arc<str> = Speller::default().spell(self, number)?.into();
        if memo.len() >= MEMO_SYMBOLS {
            memo.clear();
        }
        memo.insert(number, symbol.clone());
        Ok(symbol)
    }
}

/// Spells symbols out, a group at a time: for numbers that ascend.
#[derive(Debug, Default)]
pub(super) struct Speller {
    group: Vec<String>,
    first: u32,
}

impl Speller {
    pub(super) fn spell<'a>(&'a mut self, section: &Section, number: u32) -> Result<&'a str, BlockError> {
        let known = number.checked_sub(self.first).is_some_and(|at| (at as usize) < self.group.len());
        if !known {
            self.load(section, number)?;
        }
        let symbol = self.group.get((number - self.first) as usize);
        symbol
            .map(String::as_str)
            .ok_or_else(|| section.damaged_root("index names a symbol that is not there"))
    }

    fn load(&mut self, section: &Section, number: u32) -> Result<(), BlockError> {
        let entry = section.entry_of(number);
        let entry = entry.ok_or_else(|| section.damaged_root("index names a symbol that is not there"))?;
        let part = section.part(entry.part)?;
        let group = (number - entry.number) / GROUP as u32;
        self.group.clear();
        SymbolPartReader::new(part.bytes(), entry.count)
            .and_then(|reader| reader.read_group(group, &mut self.group))
            .map_err(|Corrupt| section.malformed(&part))?;
        self.first = entry.number + group * GROUP as u32;
        Ok(())
    }
}

fn root_address(place: &SectionPlace) -> PageAddress {
    PageAddress {
        kind: PageKind::Root,
        tenant: place.meta.tenant,
        offset: place.root,
        length: place.root_bytes,
    }
}

/// Whether a root has the parts that its number of series needs.
fn is_whole(root: &Root, meta: &SectionMeta) -> bool {
    root.series == meta.series
        && root.rows.len() == root.series.div_ceil(ROWS) as usize
        && root.ids.len() == root.series.div_ceil(IDS) as usize
}

/// Names damage, once; anything else is the caller's.
pub(super) fn go_around(error: BlockError, damaged: &mut Vec<Damaged>) -> Result<(), BlockError> {
    let BlockError::Damaged(unit) = error else { return Err(error) };
    if !damaged.contains(&unit) {
        damaged.push(unit);
    }
    Ok(())
}

/// Appends the rows of a chunk that are in the range.
fn append(chunk: &Decoded, range: TimeRange, columns: &mut Columns) {
    let start = chunk.timestamps.partition_point(|t| *t < range.start_ms);
    let end = chunk.timestamps.partition_point(|t| *t <= range.end_ms).max(start);
    let before = columns.timestamps.len();
    columns.timestamps.extend_from_slice(&chunk.timestamps[start..end]);
    let rows = columns.timestamps.len();
    if chunk.histograms.is_empty() {
        columns.values.extend_from_slice(&chunk.values[start..end]);
    } else {
        columns.values.resize(rows, 0.0);
        let points = chunk.histograms[start..end].iter().zip(before..);
        columns.histograms.extend(
            points.map(|(histogram, row)| HistogramPoint { row: row as u32, histogram: histogram.clone() }),
        );
    }
    if chunk.starts.is_empty() && columns.starts.is_empty() {
        return;
    }
    columns.starts.resize(before, 0);
    match chunk.starts.get(start..end) {
        Some(starts) => columns.starts.extend_from_slice(starts),
        None => columns.starts.resize(rows, 0),
    }
}
