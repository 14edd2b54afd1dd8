//! Writes a block in one pass: header, then for each tenant its pages and index, then the directory and the footer.

use std::io;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use codec::chunk::bytes::{put_varint, put_zigzag};
use env::{File, Files};
use model::{TenantId, TimeRange};

use super::page::{FIRST_VERSION, FileIdentity, Footer, NO_TENANT, PAGE_HEADER, PageKind};
use super::section_writer::SectionWriter;
use super::{BlockMeta, Level, SectionMeta, SeriesInput};

/// Bytes that are gathered before they are written.
const WRITE_BYTES: usize = 256 << 10;

/// Appends pages to a new file.
pub(super) struct Appender {
    file: Arc<dyn File>,
    pub(super) identity: FileIdentity,
    buffer: Vec<u8>,
    written: u64,
    /// What a reader must know of the format.
    version: u16,
}

impl Appender {
    /// Notes that something of this version of the format was written.
    pub(super) fn needs(&mut self, version: u16) {
        self.version = self.version.max(version);
    }

    /// Where the next page will lie.
    pub(super) fn position(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// Appends a page: its offset, and its length with the header.
    pub(super) fn page(
        &mut self,
        kind: PageKind,
        tenant: TenantId,
        payload: &[u8],
    ) -> io::Result<(u64, u32)> {
        let length = u32::try_from(payload.len() + PAGE_HEADER)
            .map_err(|_| invalid("a page of a block would be larger than 4 GiB"))?;
        let offset = self.position();
        self.identity.write_page(&mut self.buffer, kind, tenant, offset, payload);
        if self.buffer.len() >= WRITE_BYTES {
            self.flush()?;
        }
        Ok((offset, length))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_at(&self.buffer, self.written)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

/// Where a section lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct SectionPlace {
    pub(super) meta: SectionMeta,
    /// Offset of the root.
    pub(super) root: u64,
    /// Its bytes with the page's header.
    pub(super) root_bytes: u32,
}

/// Writes one block. Dropped before [`BlockWriter::finish`] it leaves a file without a footer, which no reader opens.
pub struct BlockWriter {
    appender: Appender,
    section: SectionWriter,
    sections: Vec<SectionPlace>,
}

impl BlockWriter {
    /// Creates the file, in the place of an unfinished one. `sequences` are the WAL sequences that the samples come from.
    pub fn create(
        files: &dyn Files,
        path: &Path,
        file_id: u64,
        level: Level,
        sequences: RangeInclusive<u64>,
    ) -> io::Result<BlockWriter> {
        let file = match files.create(path) {
            // Left by a life that ended while it wrote, and could not be removed at the start: nothing names it.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                files.remove(path)?;
                files.create(path)?
            }
            result => result?,
        };
        let identity = FileIdentity { id: file_id, level, sequences };
        let buffer = identity.header(FIRST_VERSION).to_vec();
        let appender = Appender { file, identity, buffer, written: 0, version: FIRST_VERSION };
        Ok(BlockWriter { appender, section: SectionWriter::default(), sections: Vec::new() })
    }

    /// Begins a tenant's section, ending the one before. Tenants come in ascending order; one without a series leaves
    /// no section.
    pub fn begin_tenant(&mut self, tenant: TenantId) -> io::Result<()> {
        self.end_section()?;
        if tenant == NO_TENANT || self.sections.last().is_some_and(|last| last.meta.tenant >= tenant) {
            return Err(invalid("tenants of a block must ascend"));
        }
        self.section.begin(tenant, &self.appender);
        Ok(())
    }

    /// Adds a series to the tenant's section. Series come in [`super::block_order`], each once.
    ///
    /// # Errors
    /// `InvalidInput` when order, lengths of columns or times are not as [`SeriesInput`] says: nothing of the block
    /// may be used then.
    pub fn add(&mut self, series: SeriesInput<'_>) -> io::Result<()> {
        self.section.add(&mut self.appender, &series)
    }

    /// Adds a part of a series, which goes on where the part before ended; exemplars come with or after the last samples.
    /// The series is in the section once it was ended.
    pub(crate) fn add_part(&mut self, series: SeriesInput<'_>) -> io::Result<()> {
        self.section.add_part(&mut self.appender, &series)
    }

    /// Ends the series of which parts were added, if there is one.
    pub(crate) fn end_series(&mut self) {
        self.section.end_series();
    }

    /// Bytes of memory that the index of the present section takes until the section ends.
    pub(crate) fn index_bytes(&self) -> u64 {
        self.section.index_bytes()
    }

    /// Ends the file and syncs its content. The caller renames it and syncs the directory.
    pub fn finish(mut self) -> io::Result<BlockMeta> {
        self.end_section()?;
        let mut payload = Vec::new();
        write_directory(&self.sections, &mut payload);
        let (directory, directory_bytes) = self.appender.page(PageKind::Directory, NO_TENANT, &payload)?;
        let file_bytes = self.appender.position() + super::page::FOOTER as u64;
        let footer = Footer { file_bytes, directory, directory_bytes };
        let footer = self.appender.identity.footer(&footer);
        self.appender.buffer.extend_from_slice(&footer);
        self.appender.flush()?;
        if self.appender.version > FIRST_VERSION {
            // Only now it is known what the file has in it.
            let header = self.appender.identity.header(self.appender.version);
            self.appender.file.write_at(&header, 0)?;
        }
        self.appender.file.sync_data()?;
        let FileIdentity { id, level, sequences } = self.appender.identity;
        let sections = self.sections.iter().map(|s| s.meta).collect();
        Ok(BlockMeta::new(id, level, sequences, file_bytes, sections))
    }

    fn end_section(&mut self) -> io::Result<()> {
        if let Some(place) = self.section.end(&mut self.appender)? {
            self.sections.push(place);
        }
        Ok(())
    }
}

/// Appends the directory's payload: sections by tenant, roots one behind the other.
pub(super) fn write_directory(sections: &[SectionPlace], out: &mut Vec<u8>) {
    put_varint(out, sections.len() as u64);
    let (mut tenant, mut root) = (0, 0);
    for SectionPlace { meta, root: offset, root_bytes } in sections {
        put_varint(out, u64::from(meta.tenant.0 - tenant));
        put_zigzag(out, meta.range.start_ms);
        put_zigzag(out, meta.range.end_ms.wrapping_sub(meta.range.start_ms));
        put_varint(out, u64::from(meta.series));
        put_varint(out, meta.samples);
        put_varint(out, meta.bytes);
        put_varint(out, offset - root);
        put_varint(out, u64::from(*root_bytes));
        (tenant, root) = (meta.tenant.0, *offset);
    }
}

/// Reads the directory's payload.
pub(super) fn read_directory(payload: &[u8]) -> Result<Vec<SectionPlace>, codec::chunk::Corrupt> {
    use codec::chunk::Corrupt;
    let mut reader = codec::chunk::bytes::Reader::new(payload);
    let count = reader.count_of(8)?;
    let mut sections = Vec::with_capacity(count);
    let (mut tenant, mut root) = (0u32, 0u64);
    for _ in 0..count {
        tenant = tenant.checked_add(reader.number()?).ok_or(Corrupt)?;
        let start_ms = reader.zigzag()?;
        let end_ms = start_ms.wrapping_add(reader.zigzag()?);
        let (series, samples, bytes) = (reader.number()?, reader.varint()?, reader.varint()?);
        root = root.checked_add(reader.varint()?).ok_or(Corrupt)?;
        let range = TimeRange { start_ms, end_ms };
        let meta = SectionMeta { tenant: TenantId(tenant), range, series, samples, bytes };
        sections.push(SectionPlace { meta, root, root_bytes: reader.number()? });
    }
    let ascending = sections.is_sorted_by(|a, b| a.meta.tenant < b.meta.tenant);
    if reader.is_empty() && ascending { Ok(sections) } else { Err(Corrupt) }
}

/// What a caller did wrong.
pub(super) fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}
