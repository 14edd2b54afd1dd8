//! Parts of an index, packed into pages one behind the other.
//!
//! A part is what a reader wants whole: 128 series rows, a run of symbols, the postings of some values. Pages of a
//! section's index are filled in the order of the parts, so a part is said by its length and whether a new page begins.
//! The last pages' worth of parts stands in the root itself: a small tenant's index is one page.

use codec::chunk::Corrupt;
use codec::chunk::bytes::{Reader, put_varint};

use super::page::PAGE_BYTES;

/// Where a part lies. `page` numbers the section's index pages; the number behind the last one is the root's own page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Part {
    pub(super) page: u32,
    pub(super) offset: u32,
    pub(super) length: u32,
}

/// Packs parts.
#[derive(Debug, Default)]
pub(super) struct PartPacker {
    page: Vec<u8>,
    pages: u32,
}

impl PartPacker {
    /// Adds a part; a page that is full comes back to be written first.
    pub(super) fn add(&mut self, bytes: &[u8]) -> (Part, Option<Vec<u8>>) {
        let full = if self.page.is_empty() || self.page.len() + bytes.len() <= PAGE_BYTES {
            None
        } else {
            self.pages += 1;
            Some(std::mem::take(&mut self.page))
        };
        let part = Part { page: self.pages, offset: self.page.len() as u32, length: bytes.len() as u32 };
        self.page.extend_from_slice(bytes);
        (part, full)
    }

    /// What goes into the root.
    pub(super) fn finish(&mut self) -> Vec<u8> {
        self.pages = 0;
        std::mem::take(&mut self.page)
    }
}

/// Writes or reads parts in the order in which they were packed.
#[derive(Debug, Default)]
pub(super) struct PartCursor {
    page: u32,
    end: u32,
}

impl PartCursor {
    pub(super) fn write(&mut self, part: Part, out: &mut Vec<u8>) {
        put_varint(out, u64::from(part.length) << 1 | u64::from(part.page != self.page));
        (self.page, self.end) = (part.page, part.offset + part.length);
    }

    pub(super) fn read(&mut self, reader: &mut Reader<'_>) -> Result<Part, Corrupt> {
        let head = reader.varint()?;
        if head & 1 != 0 {
            (self.page, self.end) = (self.page.checked_add(1).ok_or(Corrupt)?, 0);
        }
        let length = u32::try_from(head >> 1).map_err(|_| Corrupt)?;
        let part = Part { page: self.page, offset: self.end, length };
        self.end = self.end.checked_add(length).ok_or(Corrupt)?;
        Ok(part)
    }
}
