//! Immutable blocks: one file with a section for each tenant, of checksummed pages.
//!
//! [`BlockWriter`] streams series in [`block_order`], tenant by tenant, into pages of about 16 KiB; behind a tenant's
//! pages of samples stands the section's own index, at the end of the file a directory of sections. [`Block`] opens a
//! file by its header, footer and directory only; a [`Section`] finds series by matchers and reads their rows, page by
//! page through a [`PageCache`]. FORMAT.md describes every byte.
//!
//! The one decision: the page is the unit of everything. It is what is read, cached, verified on each load and, when
//! its checksum does not hold, lost: a page knows its tenant, file and place, so one that lies where it does not belong
//! is as damaged as one with a flipped bit, and the chunks of other pages are still answered. There is no mmap: a
//! page that cannot be read is an error value, never a signal.

use std::cmp::Ordering;
use std::io;
use std::ops::RangeInclusive;

use codec::chunk::aggregates::Aggregates;
use model::batch::Exemplar;
pub use model::select::Columns;
use model::select::{HistogramPoint, Stop};
use model::{Labels, SeriesId, TenantId, TimeRange};

mod cache;
mod chunk;
pub(crate) mod exercise;
mod handles;
mod interner;
mod page;
mod parts;
mod postings;
mod reader;
mod reading;
mod remains;
mod root;
mod scrub;
mod section;
mod section_writer;
mod select;
mod series;
mod series_table;
mod symbols;
mod verify;
mod writer;

pub use cache::PageCache;
pub(crate) use handles::Handles;
pub(crate) use page::NO_TENANT;
pub use reader::Block;
pub use reading::{SectionReader, every_chunk};
pub(crate) use remains::remains;
pub(crate) use scrub::Scrub;
pub use section::Section;
pub(crate) use section::go_around;
pub use verify::{Loss, Report, verify};
pub use writer::BlockWriter;

/// A series as it is written: columns sorted by time, no time twice.
#[derive(Clone, Copy, Debug)]
pub struct SeriesInput<'a> {
    /// Its identity.
    pub id: SeriesId,
    /// Its labels.
    pub labels: &'a Labels,
    /// Column of times in ms, growing.
    pub timestamps: &'a [i64],
    /// Column of floats, as long as the times; meaningless where a histogram stands.
    pub values: &'a [f64],
    /// Column of start times in ms (0 = unknown): as long as the times, or empty.
    pub starts: &'a [i64],
    /// Rows that hold a histogram, sorted by row.
    pub histograms: &'a [HistogramPoint],
    /// Exemplars, sorted by time.
    pub exemplars: &'a [Exemplar],
}

/// A tenant's part of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SectionMeta {
    /// The tenant.
    pub tenant: TenantId,
    /// From the first sample to the last, exemplars included; `start_ms > end_ms` when there is none.
    pub range: TimeRange,
    /// Series.
    pub series: u32,
    /// Float and histogram samples.
    pub samples: u64,
    /// Bytes in the file, index included.
    pub bytes: u64,
}

/// How far a block was compacted, which is how long the span of time is that it covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As it was flushed: any span.
    Flushed,
    /// Two hours.
    Hours,
    /// A day; several where they hold next to nothing.
    Day,
}

impl Level {
    /// The number in files.
    pub(crate) fn number(self) -> u16 {
        self as u16
    }

    pub(crate) fn from_number(number: u16) -> Option<Level> {
        [Self::Flushed, Self::Hours, Self::Day].into_iter().find(|level| level.number() == number)
    }
}

/// What a block holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockMeta {
    /// The file's id, never used twice in a data directory.
    pub id: u64,
    /// How far it was compacted.
    pub level: Level,
    /// WAL sequences that the samples came from.
    pub sequences: RangeInclusive<u64>,
    /// Bytes of the file.
    pub bytes: u64,
    /// Sections, by tenant.
    pub sections: Vec<SectionMeta>,
    range: TimeRange,
}

impl BlockMeta {
    pub(crate) fn new(
        id: u64,
        level: Level,
        sequences: RangeInclusive<u64>,
        bytes: u64,
        sections: Vec<SectionMeta>,
    ) -> Self {
        let none = TimeRange { start_ms: i64::MAX, end_ms: i64::MIN };
        let range = sections.iter().fold(none, |all, section| TimeRange {
            start_ms: all.start_ms.min(section.range.start_ms),
            end_ms: all.end_ms.max(section.range.end_ms),
        });
        Self { id, level, sequences, bytes, sections, range }
    }

    /// From the first sample to the last, of all tenants.
    pub fn range(&self) -> TimeRange {
        self.range
    }

    /// A tenant's section, if there is one.
    pub fn section(&self, tenant: TenantId) -> Option<&SectionMeta> {
        self.sections
            .binary_search_by_key(&tenant, |section| section.tenant)
            .ok()
            .map(|at| &self.sections[at])
    }
}

/// What a chunk holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkKind {
    /// Float samples.
    Floats,
    /// Native histogram samples, row by row.
    Histograms,
    /// Exemplars.
    Exemplars,
    /// Native histogram samples, column by column.
    HistogramColumns,
}

/// A chunk as the index knows it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChunkMeta {
    /// What it holds.
    pub kind: ChunkKind,
    /// Rows.
    pub rows: u32,
    /// From its first row to its last.
    pub range: TimeRange,
    /// Of its floats, when there are 64 rows or more and one is live.
    pub aggregates: Option<Aggregates>,
    /// Where it lies.
    place: ChunkPlace,
}

impl ChunkMeta {
    /// Bytes of the chunk.
    pub fn length(&self) -> u32 {
        self.place.length
    }
}

/// Where a chunk lies: a page of the section, and the bytes of its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
struct ChunkPlace {
    page: u32,
    offset: u32,
    length: u32,
}

/// A unit of a file that does not hold what was written there: what is to be quarantined.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("block {file}: {what}{}", place(self.tenant, self.page))]
pub struct Damaged {
    /// The file's name.
    pub file: String,
    /// What is wrong.
    pub what: &'static str,
    /// Whose it is; `None` when the whole file is unreadable.
    pub tenant: Option<TenantId>,
    /// Offset of the page in the file; `None` when the whole file is unreadable.
    pub page: Option<u64>,
}

/// What is said of bytes that the disk does not give.
const UNREADABLE: &str = "the disk does not read it";

/// What is said of a file that was there and is not.
const MISSING: &str = "file is missing";

impl Damaged {
    /// Whether the disk refused to read it, which may pass, rather than gave something else.
    pub fn is_unreadable(&self) -> bool {
        self.what == UNREADABLE
    }
}

fn place(tenant: Option<TenantId>, page: Option<u64>) -> String {
    let tenant = tenant.map(|t| format!(", tenant {}", t.0)).unwrap_or_default();
    let page = page.map(|p| format!(", page at {p}")).unwrap_or_default();
    tenant + &page
}

/// Why a block does not answer.
#[derive(Debug, thiserror::Error)]
pub enum BlockError {
    /// Occurs when a unit of the file is damaged: quarantine it, answer the rest with a warning.
    #[error(transparent)]
    Damaged(#[from] Damaged),
    /// Occurs when the file was written by a newer Weir.
    #[error("block {file} has format version {found}, this Weir reads up to {known}")]
    Newer {
        /// The file's name.
        file: String,
        /// The lowest version that reads it.
        found: u16,
        /// The newest known.
        known: u16,
    },
    /// Occurs when the query is over its budget or was cancelled.
    #[error(transparent)]
    Stop(#[from] Stop),
    /// Occurs when the file cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The order of series in a section: by metric, job, instance, then label by label. What is queried together lies
/// together.
pub fn block_order(a: &Labels, b: &Labels) -> Ordering {
    if a == b {
        return Ordering::Equal;
    }
    let by = |name: &str| a.get(name).unwrap_or("").cmp(b.get(name).unwrap_or(""));
    by(model::labels::METRIC_NAME).then_with(|| by("job")).then_with(|| by("instance")).then_with(|| a.cmp(b))
}
