//! Pages, the file's header and its footer: what is checksummed as one.
//!
//! A page's checksum covers its header, in which stand tenant, file id and offset, so a page that was swapped with
//! another or written to the wrong place does not verify even though its bytes are intact.

use std::ops::RangeInclusive;

use codec::COUNTER_MAX;
use model::TenantId;

use super::{Damaged, Level};

/// Bytes of payload after which a page is closed; one chunk or part larger than this makes a larger page.
pub(super) const PAGE_BYTES: usize = 16 << 10;
/// Bytes before a page's payload.
pub(super) const PAGE_HEADER: usize = 48;
/// Bytes of the file's header.
pub(super) const FILE_HEADER: usize = 48;
/// Bytes of the file's footer.
pub(super) const FOOTER: usize = 48;
/// The newest version of the format.
pub(super) const VERSION: u16 = 2;
/// The version of files that have nothing of a newer one in them: every reader reads them.
pub(super) const FIRST_VERSION: u16 = 1;
const MAGIC: [u8; 8] = *b"WEIRBLK\n";
const FOOTER_MAGIC: [u8; 8] = *b"WEIREND\n";
/// The tenant of pages that belong to the file as a whole.
pub(crate) const NO_TENANT: TenantId = TenantId(u32::MAX);

/// What a page holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum PageKind {
    /// Chunks.
    Chunks = 1,
    /// Parts of a section's index.
    Index = 2,
    /// The root of a section's index.
    Root = 3,
    /// The directory of sections.
    Directory = 4,
}

/// What a page must say of itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct PageAddress {
    pub(super) kind: PageKind,
    pub(super) tenant: TenantId,
    pub(super) offset: u64,
    /// Bytes with the header.
    pub(super) length: u32,
}

/// What all pages of a file say alike.
#[derive(Clone, Debug)]
pub(super) struct FileIdentity {
    pub(super) id: u64,
    pub(super) level: Level,
    pub(super) sequences: RangeInclusive<u64>,
}

impl FileIdentity {
    /// Appends a page.
    pub(super) fn write_page(
        &self,
        out: &mut Vec<u8>,
        kind: PageKind,
        tenant: TenantId,
        offset: u64,
        payload: &[u8],
    ) {
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
        out.extend_from_slice(&u32::from(kind as u8).to_le_bytes());
        out.extend_from_slice(&tenant.0.to_le_bytes());
        for number in [self.id, offset, *self.sequences.start(), *self.sequences.end()] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(payload);
        let checksum = codec::hash::crc32c(&out[start + 4..]);
        out[start..start + 4].copy_from_slice(&checksum.to_le_bytes());
    }

    /// Checks a page that was read from its address.
    pub(super) fn check_page(&self, page: &[u8], address: &PageAddress) -> Result<(), &'static str> {
        if page.len() < PAGE_HEADER || page.len() != address.length as usize {
            return Err("page is cut off");
        }
        if u32_at(page, 0) != codec::hash::crc32c(&page[4..]) {
            return Err("checksum of a page does not match");
        }
        let says = (u32_at(page, 4), u32_at(page, 8), u32_at(page, 12), u64_at(page, 16), u64_at(page, 24));
        let payload = page.len() - PAGE_HEADER;
        let must = (payload as u32, u32::from(address.kind as u8), address.tenant.0, self.id, address.offset);
        if says == must { Ok(()) } else { Err("page belongs elsewhere") }
    }

    /// The file's first bytes. The version is also the lowest of a reader.
    pub(super) fn header(&self, version: u16) -> [u8; FILE_HEADER] {
        let mut header = [0; FILE_HEADER];
        header[..8].copy_from_slice(&MAGIC);
        header[8..10].copy_from_slice(&self.level.number().to_le_bytes());
        header[10..12].copy_from_slice(&version.to_le_bytes());
        header[12..14].copy_from_slice(&version.to_le_bytes());
        header[16..24].copy_from_slice(&self.id.to_le_bytes());
        header[24..32].copy_from_slice(&self.sequences.start().to_le_bytes());
        header[32..40].copy_from_slice(&self.sequences.end().to_le_bytes());
        seal(&mut header);
        header
    }

    /// Reads the file's first bytes.
    pub(super) fn from_header(header: &[u8; FILE_HEADER]) -> Result<FileIdentity, HeaderError> {
        if header[..8] != MAGIC {
            return Err(HeaderError::Damaged("this is no block"));
        }
        // Before the checksum: a newer version may lay out the rest otherwise.
        let lowest = u16::from_le_bytes([header[12], header[13]]);
        let sealed = is_sealed(header);
        if lowest > VERSION {
            return Err(if sealed {
                HeaderError::Newer(lowest)
            } else {
                HeaderError::Damaged("header is damaged")
            });
        }
        let is_whole = sealed && [16, 24, 32].iter().all(|at| u64_at(header, *at) < COUNTER_MAX);
        let level = Level::from_number(u16::from_le_bytes([header[8], header[9]])).filter(|_| is_whole);
        let level = level.ok_or(HeaderError::Damaged("header is damaged"))?;
        Ok(FileIdentity { id: u64_at(header, 16), level, sequences: u64_at(header, 24)..=u64_at(header, 32) })
    }

    /// The file's last bytes.
    pub(super) fn footer(&self, footer: &Footer) -> [u8; FOOTER] {
        let mut bytes = [0; FOOTER];
        bytes[..8].copy_from_slice(&FOOTER_MAGIC);
        bytes[8..16].copy_from_slice(&self.id.to_le_bytes());
        bytes[16..24].copy_from_slice(&footer.file_bytes.to_le_bytes());
        bytes[24..32].copy_from_slice(&footer.directory.to_le_bytes());
        bytes[32..36].copy_from_slice(&footer.directory_bytes.to_le_bytes());
        seal(&mut bytes);
        bytes
    }

    /// Reads the file's last bytes.
    pub(super) fn check_footer(&self, bytes: &[u8; FOOTER], file_bytes: u64) -> Result<Footer, &'static str> {
        if bytes[..8] != FOOTER_MAGIC || !is_sealed(bytes) {
            return Err("footer is damaged or missing");
        }
        let footer = Footer {
            file_bytes: u64_at(bytes, 16),
            directory: u64_at(bytes, 24),
            directory_bytes: u32_at(bytes, 32),
        };
        if u64_at(bytes, 8) != self.id || footer.file_bytes != file_bytes {
            return Err("footer belongs to another file");
        }
        Ok(footer)
    }
}

/// Why a header is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderError {
    Damaged(&'static str),
    Newer(u16),
}

/// Where the directory of sections is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Footer {
    pub(super) file_bytes: u64,
    pub(super) directory: u64,
    /// With the page's header.
    pub(super) directory_bytes: u32,
}

/// What bytes say that may be the header of a page.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    pub(super) kind: PageKind,
    /// With the header.
    pub(super) length: u64,
}

impl Claim {
    /// Whether the page's checksum holds.
    pub(super) fn holds(&self, page: &[u8]) -> bool {
        u32_at(page, 0) == codec::hash::crc32c(&page[4..])
    }
}

/// Whether bytes claim to be a page of the file `id` that lies at this offset.
pub(super) fn claim(header: &[u8], offset: u64, id: u64) -> Option<Claim> {
    if u64_at(header, 24) != offset || u64_at(header, 16) != id {
        return None;
    }
    let kinds = [PageKind::Chunks, PageKind::Index, PageKind::Root, PageKind::Directory];
    let kind = kinds.into_iter().find(|kind| u32_at(header, 8) == u32::from(*kind as u8))?;
    Some(Claim { kind, length: u64::from(u32_at(header, 4)) + PAGE_HEADER as u64 })
}

/// Puts a checksum of all before into the last four bytes.
fn seal(bytes: &mut [u8]) {
    let end = bytes.len() - 4;
    let checksum = codec::hash::crc32c(&bytes[..end]);
    bytes[end..].copy_from_slice(&checksum.to_le_bytes());
}

fn is_sealed(bytes: &[u8]) -> bool {
    let end = bytes.len() - 4;
    u32_at(bytes, end) == codec::hash::crc32c(&bytes[..end])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|b| b.first_chunk()).map_or(0, |b| u32::from_le_bytes(*b))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|b| b.first_chunk()).map_or(0, |b| u64::from_le_bytes(*b))
}

/// Names a damaged page.
pub(super) fn damaged_page(file: &str, address: &PageAddress, what: &'static str) -> Damaged {
    let tenant = (address.tenant != NO_TENANT).then_some(address.tenant);
    Damaged { file: file.to_owned(), what, tenant, page: Some(address.offset) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file or a sequence that nothing can follow: counting on from it was an overflow, at each start.
    #[test]
    fn numbers_of_a_header_have_one_after_them() {
        let identity = |id, last| FileIdentity { id, level: Level::Hours, sequences: 1..=last };
        let read =
            |id, last| FileIdentity::from_header(&identity(id, last).header(VERSION)).map(|read| read.id);
        assert_eq!(read(COUNTER_MAX - 1, COUNTER_MAX - 1), Ok(COUNTER_MAX - 1));
        for (id, last) in [(COUNTER_MAX, 5), (u64::MAX, 5), (5, COUNTER_MAX)] {
            assert_eq!(read(id, last), Err(HeaderError::Damaged("header is damaged")));
        }
    }
}
