//! Checks a whole block: every page's checksum, every root, row, list and chunk.

use std::collections::BTreeMap;
use std::path::Path;

use env::Files;
use model::TimeRange;

use super::page::{PageAddress, PageKind};
use super::reader::Block;
use super::{
    BlockError, ChunkKind, ChunkMeta, Columns, Damaged, PageCache, Section, SectionMeta, SectionReader,
};

/// Bytes of pages that a check keeps in memory.
const CACHE_BYTES: u64 = 16 << 20;

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Pages whose checksum held.
    pub pages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Sections.
    pub sections: u64,
    /// Series that can be read.
    pub series: u64,
    /// Samples that can be read.
    pub samples: u64,
    /// Samples that were written, by the directory.
    pub written: u64,
    /// What is damaged, in the order of the file; empty when the file is whole.
    pub damaged: Vec<Loss>,
}

/// A damaged unit, and what is lost with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The unit.
    pub unit: Damaged,
    /// What it is: `file`, `chunks page`, `index page`, `root page`, `directory page`.
    pub kind: &'static str,
    /// Its bytes, with the page's header; `None` when that cannot be told.
    pub length: Option<u64>,
    /// Series of which something is lost; of an index page those that cannot be read at all.
    pub series: u64,
    /// Samples that are lost, as far as the index tells.
    pub samples: u64,
    /// From the first to the last of them; `None` when that cannot be told, or there is none.
    pub range: Option<TimeRange>,
}

impl Loss {
    fn of(unit: Damaged) -> Self {
        let kind = if unit.page.is_some() { "directory page" } else { "file" };
        Self { unit, kind, length: None, series: 0, samples: 0, range: None }
    }

    fn widen(&mut self, range: TimeRange) {
        let before = self.range.unwrap_or(range);
        let (start_ms, end_ms) = (before.start_ms.min(range.start_ms), before.end_ms.max(range.end_ms));
        self.range = Some(TimeRange { start_ms, end_ms });
    }
}

/// Reads all of a block. Damage is in the report; an error means that the file cannot be read at all, or is newer.
pub fn verify(files: &dyn Files, path: &Path) -> Result<Report, BlockError> {
    let block = match Block::open_any(files, path, PageCache::new(CACHE_BYTES)) {
        Ok(block) => block,
        Err(BlockError::Damaged(unit)) => {
            return Ok(Report { damaged: vec![Loss::of(unit)], ..Report::default() });
        }
        Err(other) => return Err(other),
    };
    let mut check = Check { report: Report::default(), losses: BTreeMap::new() };
    for meta in &block.meta().sections {
        check.report.sections += 1;
        check.report.written += meta.samples;
        match block.section(meta.tenant) {
            Ok(Some(section)) => check.section(&block, &section)?,
            Ok(None) => {}
            Err(error) => check.lose_section(&block, meta, error)?,
        }
    }
    check.report.damaged = check.losses.into_values().collect();
    Ok(check.report)
}

struct Check {
    report: Report,
    /// By offset; a unit that several series use is damaged once.
    losses: BTreeMap<Option<u64>, Loss>,
}

impl Check {
    /// The loss that an error tells of; anything but damage is the caller's.
    fn note(&mut self, error: BlockError) -> Result<&mut Loss, BlockError> {
        let BlockError::Damaged(unit) = error else { return Err(error) };
        Ok(self.losses.entry(unit.page).or_insert_with(|| Loss::of(unit)))
    }

    fn lose_section(
        &mut self,
        block: &Block,
        meta: &SectionMeta,
        error: BlockError,
    ) -> Result<(), BlockError> {
        let length = block.root_bytes(meta.tenant);
        let loss = self.note(error)?;
        (loss.kind, loss.length) = ("root page", length);
        (loss.series, loss.samples) = (u64::from(meta.series), meta.samples);
        loss.range = (meta.range.start_ms <= meta.range.end_ms).then_some(meta.range);
        Ok(())
    }

    fn section(&mut self, block: &Block, section: &Section) -> Result<(), BlockError> {
        for address in section.pages() {
            match block.page_bytes(&address) {
                Ok(bytes) => {
                    (self.report.pages, self.report.bytes) =
                        (self.report.pages + 1, self.report.bytes + bytes);
                }
                Err(error) => {
                    let loss = self.note(error)?;
                    (loss.kind, loss.length) = (kind(&address), Some(u64::from(address.length)));
                }
            }
        }
        let mut reader = section.reader();
        for ordinal in 0..section.series() {
            match self.series(&mut reader, ordinal)? {
                Ok(()) => self.report.series += 1,
                // Its labels or the list of its chunks.
                Err(error) => self.note(error)?.series += 1,
            }
        }
        let mut damaged = Vec::new();
        for label in section.label_names(None, &mut damaged)? {
            section.label_values(&label, None, &mut damaged)?;
        }
        damaged.into_iter().try_for_each(|unit| self.note(unit.into()).map(drop))
    }

    /// The inner error says why nothing of the series can be read.
    fn series(
        &mut self,
        reader: &mut SectionReader,
        ordinal: u32,
    ) -> Result<Result<(), BlockError>, BlockError> {
        let named = reader.id(ordinal).and_then(|_| reader.labels(ordinal).map(drop));
        let chunks = match named.and_then(|()| reader.chunks(ordinal).map(<[ChunkMeta]>::to_vec)) {
            Ok(chunks) => chunks,
            Err(error) => return Ok(Err(error)),
        };
        let mut lost_in = None;
        for chunk in chunks {
            let Err(error) = self.chunk(reader, &chunk) else { continue };
            let loss = self.note(error)?;
            loss.widen(chunk.range);
            if chunk.kind != ChunkKind::Exemplars {
                loss.samples += u64::from(chunk.rows);
            }
            // Chunks of a series that lie in one page come one after the other.
            if lost_in != Some(loss.unit.page) {
                lost_in = Some(loss.unit.page);
                loss.series += 1;
            }
        }
        Ok(Ok(()))
    }

    fn chunk(&mut self, reader: &mut SectionReader, chunk: &ChunkMeta) -> Result<(), BlockError> {
        match chunk.kind {
            ChunkKind::Exemplars => reader.read_exemplars(chunk).map(drop),
            ChunkKind::Floats | ChunkKind::Histograms | ChunkKind::HistogramColumns => {
                let mut columns = Columns::default();
                reader.read_chunk(chunk, &mut columns)?;
                self.report.samples += columns.timestamps.len() as u64;
                Ok(())
            }
        }
    }
}

fn kind(address: &PageAddress) -> &'static str {
    match address.kind {
        PageKind::Chunks => "chunks page",
        PageKind::Index => "index page",
        PageKind::Root => "root page",
        PageKind::Directory => "directory page",
    }
}
