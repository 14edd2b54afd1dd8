//! One tenant's section while it is written: chunks go out page by page, the index gathers and follows at the end.
//!
//! Until its end a section keeps per series its id, its label numbers and the few bytes of its chunk entries, about
//! 50 bytes; samples are never kept beyond the page that is being filled.

use std::cmp::Ordering;
use std::io;

use codec::chunk::aggregates::Aggregates;
use codec::chunk::{Packing, exemplars, histogram_columns, histograms};
use model::select::HistogramPoint;
use model::{Labels, SeriesId, TenantId, TimeRange};

use super::chunk::{self, PageTimes, Rows};
use super::interner::Interner;
use super::page::{PAGE_BYTES, PageKind, VERSION};
use super::parts::{Part, PartPacker};
use super::postings::PostingsPart;
use super::root::{PageRun, PostingsEntry, Root, SymbolsEntry};
use super::series::{self, ChunkCursor};
use super::symbols::SymbolPart;
use super::writer::{Appender, SectionPlace, invalid};
use super::{ChunkKind, ChunkMeta, ChunkPlace, Level, SectionMeta, SeriesInput, block_order};

/// Samples of a chunk at most.
const CHUNK_ROWS: usize = 480;
/// Float samples of a chunk at most in a block of a day, which is read seldom and in long ranges. Histograms are not
/// worth longer chunks: four times as many rows save 9 % of their bytes, and a read decodes whole chunks.
const DAY_CHUNK_ROWS: usize = 8000;
/// Exemplars of a chunk at most.
const CHUNK_EXEMPLARS: usize = 256;
/// Float samples from which a chunk's aggregates are worth their bytes.
const AGGREGATE_ROWS: usize = 64;
/// A range without a time in it.
const EMPTY: TimeRange = TimeRange { start_ms: i64::MAX, end_ms: i64::MIN };

/// Writes one section after another, keeping the memory.
#[derive(Debug)]
pub(super) struct SectionWriter {
    tenant: Option<TenantId>,
    begin: u64,
    range: TimeRange,
    samples: u64,
    page: Vec<u8>,
    times: PageTimes,
    chunk_pages: PageRun,
    series: SeriesTable,
    run: Vec<std::sync::Arc<model::Histogram>>,
}

/// What is gathered of each series.
#[derive(Debug, Default)]
struct SeriesTable {
    ids: Vec<SeriesId>,
    symbols: Interner,
    /// Pairs of name and value numbers, all series one behind the other.
    labels: Vec<(u32, u32)>,
    label_ends: Vec<usize>,
    /// Encoded chunk entries, all series one behind the other.
    chunks: Vec<u8>,
    chunk_ends: Vec<usize>,
    cursor: ChunkCursor,
    previous: Option<Labels>,
}

impl Default for SectionWriter {
    fn default() -> Self {
        Self {
            tenant: None,
            begin: 0,
            range: EMPTY,
            samples: 0,
            page: Vec::new(),
            times: PageTimes::default(),
            chunk_pages: PageRun::default(),
            series: SeriesTable::default(),
            run: Vec::new(),
        }
    }
}

impl SectionWriter {
    /// Begins a section at the appender's position.
    pub(super) fn begin(&mut self, tenant: TenantId, appender: &Appender) {
        (self.tenant, self.begin) = (Some(tenant), appender.position());
        (self.range, self.samples) = (EMPTY, 0);
        self.page.clear();
        self.times.clear();
        self.chunk_pages = PageRun::default();
        self.series.clear();
    }

    /// Adds a series.
    pub(super) fn add(&mut self, appender: &mut Appender, input: &SeriesInput<'_>) -> io::Result<()> {
        if self.tenant.is_none() {
            return Err(invalid("a series before any tenant"));
        }
        check(input)?;
        self.series.begin(input.id, input.labels)?;
        let (mut row, mut histograms) = (0, input.histograms);
        let mut chunks = 0u64;
        let mut entries = Vec::new();
        while row < input.timestamps.len() {
            let next = histograms.first().map_or(input.timestamps.len(), |h| h.row as usize);
            let rows = if next == row {
                let length = self.gather_run(row, histograms);
                histograms = &histograms[length..];
                length
            } else {
                let day = appender.identity.level == Level::Day;
                even_share(next - row, if day { DAY_CHUNK_ROWS } else { CHUNK_ROWS })
            };
            let kind = match next == row {
                true if histogram_columns::suits(&self.run) => ChunkKind::HistogramColumns,
                true => ChunkKind::Histograms,
                false => ChunkKind::Floats,
            };
            self.add_samples(appender, kind, input, row..row + rows, &mut entries)?;
            row += rows;
            chunks += 1;
        }
        for exemplars in input.exemplars.chunks(CHUNK_EXEMPLARS) {
            self.add_exemplars(appender, exemplars, &mut entries)?;
            chunks += 1;
        }
        self.samples += input.timestamps.len() as u64;
        self.series.end(chunks, &entries);
        Ok(())
    }

    /// Gathers consecutive histogram rows from `row` that fit one chunk; how many there are.
    fn gather_run(&mut self, row: usize, histograms: &[HistogramPoint]) -> usize {
        let consecutive = histograms.iter().zip(row..).take_while(|(h, row)| h.row as usize == *row);
        self.run.clear();
        self.run.extend(consecutive.take(CHUNK_ROWS).map(|(h, _)| h.histogram.clone()));
        let rows = histograms::chunk_rows(&self.run);
        self.run.truncate(rows);
        rows
    }

    fn add_samples(
        &mut self,
        appender: &mut Appender,
        kind: ChunkKind,
        input: &SeriesInput<'_>,
        rows: std::ops::Range<usize>,
        entries: &mut Vec<u8>,
    ) -> io::Result<()> {
        let times = &input.timestamps[rows.clone()];
        let starts = if input.starts.is_empty() { &[][..] } else { &input.starts[rows.clone()] };
        let offset = self.page.len();
        let values = &input.values[rows.clone()];
        let columns = match kind {
            ChunkKind::HistogramColumns => Rows::HistogramColumns(&self.run),
            ChunkKind::Histograms => Rows::Histograms(&self.run),
            ChunkKind::Floats | ChunkKind::Exemplars => Rows::Floats(values),
        };
        let day = appender.identity.level == Level::Day;
        let packing = if day { Packing::Cold } else { Packing::Blocks };
        if packing > Packing::Blocks || kind == ChunkKind::HistogramColumns {
            appender.needs(VERSION);
        }
        chunk::encode(packing, &mut self.page, &mut self.times, times, starts, columns);
        let aggregates = kind == ChunkKind::Floats && values.len() >= AGGREGATE_ROWS;
        let aggregates = if aggregates { Aggregates::of(values) } else { None };
        let range = TimeRange { start_ms: times[0], end_ms: times[times.len() - 1] };
        self.add_entry(kind, times.len(), range, aggregates, offset, entries);
        self.end_page_when_full(appender)
    }

    fn add_exemplars(
        &mut self,
        appender: &mut Appender,
        rows: &[model::batch::Exemplar],
        entries: &mut Vec<u8>,
    ) -> io::Result<()> {
        let offset = self.page.len();
        exemplars::encode(rows, &mut self.page);
        let times = || rows.iter().map(|e| e.timestamp_ms);
        let range = TimeRange { start_ms: times().min().unwrap_or(0), end_ms: times().max().unwrap_or(0) };
        self.add_entry(ChunkKind::Exemplars, rows.len(), range, None, offset, entries);
        self.end_page_when_full(appender)
    }

    fn add_entry(
        &mut self,
        kind: ChunkKind,
        rows: usize,
        range: TimeRange,
        aggregates: Option<Aggregates>,
        offset: usize,
        entries: &mut Vec<u8>,
    ) {
        let place = ChunkPlace {
            page: self.chunk_pages.len() as u32,
            offset: offset as u32,
            length: (self.page.len() - offset) as u32,
        };
        let meta = ChunkMeta { kind, rows: rows as u32, range, aggregates, place };
        self.series.cursor.write(&meta, entries);
        self.range.start_ms = self.range.start_ms.min(range.start_ms);
        self.range.end_ms = self.range.end_ms.max(range.end_ms);
    }

    fn end_page_when_full(&mut self, appender: &mut Appender) -> io::Result<()> {
        if self.page.len() >= PAGE_BYTES { self.end_page(appender) } else { Ok(()) }
    }

    fn end_page(&mut self, appender: &mut Appender) -> io::Result<()> {
        let Some(tenant) = self.tenant.filter(|_| !self.page.is_empty()) else { return Ok(()) };
        let (offset, length) = appender.page(PageKind::Chunks, tenant, &self.page)?;
        self.chunk_pages.push(offset, length);
        self.page.clear();
        self.times.clear();
        Ok(())
    }

    /// Writes the index; `None` when the section has no series.
    pub(super) fn end(&mut self, appender: &mut Appender) -> io::Result<Option<SectionPlace>> {
        let Some(tenant) = self.tenant.filter(|_| !self.series.ids.is_empty()) else {
            self.tenant = None;
            return Ok(None);
        };
        self.end_page(appender)?;
        let mut index =
            IndexWriter { appender, tenant, packer: PartPacker::default(), pages: PageRun::default() };
        let mut root = self.series.write(&mut index)?;
        let inline = index.packer.finish();
        root.index_pages = index.pages;
        root.chunk_pages = std::mem::take(&mut self.chunk_pages);
        (root.samples, root.range) = (self.samples, self.range);
        let mut payload = Vec::new();
        root.write(&mut payload);
        payload.extend_from_slice(&inline);
        let (offset, root_bytes) = appender.page(PageKind::Root, tenant, &payload)?;
        self.tenant = None;
        let meta = SectionMeta {
            tenant,
            range: self.range,
            series: root.series,
            samples: self.samples,
            bytes: appender.position() - self.begin,
        };
        Ok(Some(SectionPlace { meta, root: offset, root_bytes }))
    }
}

/// Splits rows into chunks of about the same length.
fn even_share(rows: usize, most: usize) -> usize {
    rows.div_ceil(rows.div_ceil(most))
}

fn check(input: &SeriesInput<'_>) -> io::Result<()> {
    let rows = input.timestamps.len();
    if input.values.len() != rows || !(input.starts.is_empty() || input.starts.len() == rows) {
        return Err(invalid("columns of a series differ in length"));
    }
    if !input.timestamps.is_sorted_by(|a, b| a < b) {
        return Err(invalid("times of a series must grow"));
    }
    let rows_grow = input.histograms.is_sorted_by(|a, b| a.row < b.row);
    if !rows_grow || input.histograms.last().is_some_and(|h| h.row as usize >= rows) {
        return Err(invalid("histogram rows of a series are out of order or range"));
    }
    Ok(())
}

/// Where parts of the index go.
struct IndexWriter<'a> {
    appender: &'a mut Appender,
    tenant: TenantId,
    packer: PartPacker,
    pages: PageRun,
}

impl IndexWriter<'_> {
    fn add(&mut self, bytes: &[u8]) -> io::Result<Part> {
        let (part, full) = self.packer.add(bytes);
        if let Some(page) = full {
            let (offset, length) = self.appender.page(PageKind::Index, self.tenant, &page)?;
            self.pages.push(offset, length);
        }
        Ok(part)
    }
}

impl SeriesTable {
    fn clear(&mut self) {
        self.ids.clear();
        self.symbols.clear();
        self.labels.clear();
        self.label_ends.clear();
        self.chunks.clear();
        self.chunk_ends.clear();
        self.previous = None;
    }

    fn begin(&mut self, id: SeriesId, labels: &Labels) -> io::Result<()> {
        let before = self.previous.as_ref();
        if before.is_some_and(|before| block_order(before, labels) != Ordering::Less) {
            return Err(invalid("series of a section must be in block order"));
        }
        if (self.ids.len() as u32).is_multiple_of(series::ROWS) {
            self.cursor = ChunkCursor::default();
        }
        self.ids.push(id);
        // Neighbours share most pairs at the same place: comparing them is cheaper than looking both strings up.
        let start = self.label_ends.len().checked_sub(2).map_or(0, |i| self.label_ends[i]);
        let numbers = start..self.labels.len();
        let mut neighbour = before.map(|b| b.iter()).into_iter().flatten().zip(numbers);
        for (name, value) in labels {
            let (mut name_number, mut value_number) = (None, None);
            if let Some(((before_name, before_value), at)) = neighbour.next() {
                let numbers = self.labels[at];
                name_number = (before_name == name).then_some(numbers.0);
                value_number = (before_value == value).then_some(numbers.1);
            }
            let name = name_number.unwrap_or_else(|| self.symbols.number(name));
            let value = value_number.unwrap_or_else(|| self.symbols.number(value));
            self.labels.push((name, value));
        }
        self.label_ends.push(self.labels.len());
        self.previous = Some(labels.clone());
        Ok(())
    }

    fn end(&mut self, chunks: u64, entries: &[u8]) {
        codec::chunk::bytes::put_varint(&mut self.chunks, chunks);
        self.chunks.extend_from_slice(entries);
        self.chunk_ends.push(self.chunks.len());
    }

    /// Writes all parts, in the order in which the root lists them.
    fn write(&mut self, index: &mut IndexWriter<'_>) -> io::Result<Root> {
        let order = self.symbols.sorted();
        let mut numbers = vec![0; order.len()];
        for (number, old) in order.iter().enumerate() {
            numbers[*old as usize] = number as u32;
        }
        for (name, value) in &mut self.labels {
            (*name, *value) = (numbers[*name as usize], numbers[*value as usize]);
        }
        Ok(Root {
            series: self.ids.len() as u32,
            ids: self.write_ids(index)?,
            rows: self.write_rows(index)?,
            symbols: self.write_symbols(&order, index)?,
            postings: self.write_postings(index)?,
            samples: 0,
            range: EMPTY,
            chunk_pages: PageRun::default(),
            index_pages: PageRun::default(),
            inline: 0,
        })
    }

    fn write_ids(&self, index: &mut IndexWriter<'_>) -> io::Result<Vec<Part>> {
        let mut bytes = Vec::new();
        let part = |ids: &[SeriesId]| {
            bytes.clear();
            ids.iter().for_each(|id| bytes.extend_from_slice(&id.0.to_le_bytes()));
            index.add(&bytes)
        };
        self.ids.chunks(series::IDS as usize).map(part).collect()
    }

    fn write_rows(&self, index: &mut IndexWriter<'_>) -> io::Result<Vec<Part>> {
        let mut parts = Vec::new();
        let mut bytes = Vec::new();
        let (mut label, mut chunk) = (0, 0);
        let mut before: &[(u32, u32)] = &[];
        for (row, (label_end, chunk_end)) in self.label_ends.iter().zip(&self.chunk_ends).enumerate() {
            if row > 0 && row % series::ROWS as usize == 0 {
                parts.push(index.add(&bytes)?);
                bytes.clear();
                before = &[];
            }
            let labels = &self.labels[label..*label_end];
            series::write_labels(labels, before, &mut bytes);
            bytes.extend_from_slice(&self.chunks[chunk..*chunk_end]);
            (before, label, chunk) = (labels, *label_end, *chunk_end);
        }
        parts.push(index.add(&bytes)?);
        Ok(parts)
    }

    fn write_symbols(&self, order: &[u32], index: &mut IndexWriter<'_>) -> io::Result<Vec<SymbolsEntry>> {
        let mut entries = Vec::new();
        let mut part = SymbolPart::default();
        let mut number = 0;
        for (at, symbol) in order.iter().enumerate() {
            let full = part.add(self.symbols.get(*symbol));
            if !full && at + 1 < order.len() {
                continue;
            }
            if let Some((bytes, count, first)) = part.take() {
                entries.push(SymbolsEntry { part: index.add(&bytes)?, number, count, first });
                number += count;
            }
        }
        Ok(entries)
    }

    fn write_postings(&self, index: &mut IndexWriter<'_>) -> io::Result<Vec<PostingsEntry>> {
        let mut entries = Vec::new();
        let mut part = PostingsPart::default();
        for (name, mut pairs) in self.pairs_by_name() {
            // Value above ordinal: one sort of plain numbers groups and orders both.
            pairs.sort_unstable();
            let mut take = |part: &mut PostingsPart| -> io::Result<()> {
                if let Some((bytes, value)) = part.take() {
                    entries.push(PostingsEntry { part: index.add(bytes)?, name, value });
                }
                Ok(())
            };
            for list in pairs.chunk_by(|a, b| a >> 32 == b >> 32) {
                if part.add((list[0] >> 32) as u32, list.iter().map(|pair| *pair as u32)) {
                    take(&mut part)?;
                }
            }
            take(&mut part)?;
        }
        Ok(entries)
    }

    /// For each label name, in order, its pairs of value and ordinal.
    fn pairs_by_name(&self) -> Vec<(u32, Vec<u64>)> {
        let mut slots: Vec<u32> = vec![u32::MAX; self.symbols.len()];
        let mut names: Vec<(u32, Vec<u64>)> = Vec::new();
        let mut start = 0;
        for (ordinal, end) in self.label_ends.iter().enumerate() {
            for (name, value) in &self.labels[start..*end] {
                let slot = &mut slots[*name as usize];
                if *slot == u32::MAX {
                    *slot = names.len() as u32;
                    names.push((*name, Vec::new()));
                }
                names[*slot as usize].1.push(u64::from(*value) << 32 | ordinal as u64);
            }
            start = *end;
        }
        names.sort_unstable_by_key(|(name, _)| *name);
        names
    }
}
