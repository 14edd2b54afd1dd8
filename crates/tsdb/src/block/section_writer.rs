//! One tenant's section while it is written: chunks go out page by page, the index gathers and follows at the end.
//!
//! Samples are never kept beyond the page that is being filled; of the index [`SeriesTable`] keeps what it must.

use std::io;

use codec::chunk::aggregates::Aggregates;
use codec::chunk::{Packing, exemplars, histogram_columns, histograms};
use model::select::HistogramPoint;
use model::{SeriesId, TenantId, TimeRange};

use super::chunk::{self, PageTimes, Rows};
use super::page::{PAGE_BYTES, PageKind, VERSION};
use super::root::PageRun;
use super::series_table::{IndexWriter, SeriesTable};
use super::writer::{Appender, SectionPlace, invalid};
use super::{ChunkKind, ChunkMeta, ChunkPlace, Level, SectionMeta, SeriesInput};

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
pub(super) const EMPTY: TimeRange = TimeRange { start_ms: i64::MAX, end_ms: i64::MIN };

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
    /// The series that is being added.
    open: Option<OpenSeries>,
    run: Vec<std::sync::Arc<model::Histogram>>,
}

/// A series of which some chunks are written.
#[derive(Debug)]
struct OpenSeries {
    id: SeriesId,
    chunks: u64,
    /// What the index will say of them.
    entries: Vec<u8>,
    /// The time of the last row.
    last_ms: Option<i64>,
    /// Whether exemplars are among them, behind which no samples can stand.
    has_exemplars: bool,
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
            open: None,
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
        self.series = SeriesTable::default();
        self.open = None;
    }

    /// Bytes of memory that the section's index takes until it is written.
    pub(super) fn index_bytes(&self) -> u64 {
        let open = self.open.as_ref().map_or(0, |open| open.entries.capacity());
        self.series.bytes() + open as u64 + self.chunk_pages.len() as u64 * 8
    }

    /// Adds a series.
    pub(super) fn add(&mut self, appender: &mut Appender, input: &SeriesInput<'_>) -> io::Result<()> {
        if self.open.is_some() {
            return Err(invalid("a series within another one"));
        }
        self.add_part(appender, input)?;
        self.end_series();
        Ok(())
    }

    /// Adds rows of a series that go on where those before ended. It lasts until [`SectionWriter::end_series`].
    pub(super) fn add_part(&mut self, appender: &mut Appender, input: &SeriesInput<'_>) -> io::Result<()> {
        if self.tenant.is_none() {
            return Err(invalid("a series before any tenant"));
        }
        check(input)?;
        let mut open = match self.open.take() {
            Some(open) => open,
            None => {
                self.series.begin(input.id, input.labels)?;
                OpenSeries {
                    id: input.id,
                    chunks: 0,
                    entries: Vec::new(),
                    last_ms: None,
                    has_exemplars: false,
                }
            }
        };
        let goes_on = open.last_ms < input.timestamps.first().copied() && !open.has_exemplars;
        if open.id != input.id || !(goes_on || input.timestamps.is_empty()) {
            return Err(invalid("a part of a series does not go on where the one before ended"));
        }
        open.last_ms = input.timestamps.last().copied().or(open.last_ms);
        open.has_exemplars |= !input.exemplars.is_empty();
        let OpenSeries { chunks, entries, .. } = &mut open;
        let (mut row, mut histograms) = (0, input.histograms);
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
            self.add_samples(appender, kind, input, row..row + rows, entries)?;
            row += rows;
            *chunks += 1;
        }
        for exemplars in input.exemplars.chunks(CHUNK_EXEMPLARS) {
            self.add_exemplars(appender, exemplars, entries)?;
            *chunks += 1;
        }
        self.samples += input.timestamps.len() as u64;
        self.open = Some(open);
        Ok(())
    }

    /// Ends the series of which parts were added, if there is one.
    pub(super) fn end_series(&mut self) {
        if let Some(open) = self.open.take() {
            self.series.end(open.chunks, &open.entries);
        }
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
        self.series.cursor().write(&meta, entries);
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
        self.end_series();
        let Some(tenant) = self.tenant.filter(|_| self.series.len() > 0) else {
            self.tenant = None;
            return Ok(None);
        };
        self.end_page(appender)?;
        let mut index = IndexWriter::new(appender, tenant);
        let mut root = std::mem::take(&mut self.series).write(&mut index)?;
        let (index_pages, inline) = index.finish();
        root.index_pages = index_pages;
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
