//! Reads a block's pages once more, a few at a time, past the cache: what lies on the disk may have changed since.

use std::path::Path;
use std::vec::IntoIter;

use env::Files;

use super::page::PageAddress;
use super::reader::Block;
use super::section::go_around;
use super::{BlockError, Damaged, PageCache};

/// How far the reading of a block has come.
pub(crate) struct Scrub {
    /// Opened anew, past the cache.
    block: Block,
    section: usize,
    pages: IntoIter<PageAddress>,
}

impl Scrub {
    /// Opens the file anew, which reads its header, footer and directory.
    pub(crate) fn begin(files: &dyn Files, path: &Path, id: u64) -> Result<Self, BlockError> {
        let block = Block::open(files, path, id, PageCache::new(0))?;
        Ok(Self { block, section: 0, pages: Vec::new().into_iter() })
    }

    /// Reads pages until there were so many bytes or there are no more. What is damaged is named in `damaged`.
    ///
    /// # Returns
    /// Bytes read, and whether the block is done.
    pub(crate) fn step(&mut self, bytes: u64, damaged: &mut Vec<Damaged>) -> Result<(u64, bool), BlockError> {
        let mut done = 0;
        while done < bytes {
            let Some(address) = self.pages.next() else {
                let Some(meta) = self.block.meta().sections.get(self.section) else {
                    return Ok((done, true));
                };
                self.section += 1;
                match self.block.section(meta.tenant) {
                    Ok(section) => {
                        let pages: Vec<_> = section.iter().flat_map(|section| section.pages()).collect();
                        self.pages = pages.into_iter();
                    }
                    // Nothing of the section can be found without its root.
                    Err(error) => go_around(error, damaged)?,
                }
                continue;
            };
            done += u64::from(address.length);
            if let Err(error) = self.block.page_bytes(&address) {
                go_around(error, damaged)?;
            }
        }
        Ok((done, false))
    }
}
