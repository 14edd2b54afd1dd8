//! Checks a whole block: every page's checksum, every root, row, list and chunk.

use std::path::Path;

use env::Files;

use super::reader::Block;
use super::section::go_around;
use super::{BlockError, ChunkKind, Damaged, PageCache, Section};

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
    /// What is damaged; empty when the file is whole.
    pub damaged: Vec<Damaged>,
}

/// Reads all of a block. Damage is in the report; an error means that the file cannot be read at all, or is newer.
pub fn verify(files: &dyn Files, path: &Path) -> Result<Report, BlockError> {
    let mut report = Report::default();
    let block = match Block::open_any(files, path, PageCache::new(CACHE_BYTES)) {
        Ok(block) => block,
        Err(BlockError::Damaged(unit)) => {
            report.damaged.push(unit);
            return Ok(report);
        }
        Err(other) => return Err(other),
    };
    for meta in &block.meta().sections {
        report.sections += 1;
        match block.section(meta.tenant) {
            Ok(Some(section)) => verify_section(&block, &section, &mut report)?,
            Ok(None) => {}
            Err(error) => go_around(error, &mut report.damaged)?,
        }
    }
    Ok(report)
}

fn verify_section(block: &Block, section: &Section, report: &mut Report) -> Result<(), BlockError> {
    for address in section.pages() {
        match block.page_bytes(&address) {
            Ok(bytes) => (report.pages, report.bytes) = (report.pages + 1, report.bytes + bytes),
            Err(error) => go_around(error, &mut report.damaged)?,
        }
    }
    for ordinal in 0..section.series() {
        match verify_series(section, ordinal, report) {
            Ok(()) => report.series += 1,
            Err(error) => go_around(error, &mut report.damaged)?,
        }
    }
    let names = match section.label_names(None) {
        Ok(names) => names,
        Err(error) => return go_around(error, &mut report.damaged),
    };
    for label in names {
        if let Err(error) = section.label_values(&label, None) {
            go_around(error, &mut report.damaged)?;
        }
    }
    Ok(())
}

fn verify_series(section: &Section, ordinal: u32, report: &mut Report) -> Result<(), BlockError> {
    section.id(ordinal)?;
    section.labels(ordinal)?;
    for chunk in section.chunks(ordinal)? {
        match chunk.kind {
            ChunkKind::Exemplars => {
                section.read_exemplars(&chunk)?;
            }
            ChunkKind::Floats | ChunkKind::Histograms | ChunkKind::HistogramColumns => {
                let rows = section.read_chunk(&chunk)?;
                report.samples += rows.timestamps.len() as u64;
            }
        }
    }
    Ok(())
}
