//! Opens a block: header, footer and directory, nothing else. Everything further is read when it is asked for.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use env::{File, Files, read_exact_at};
use model::TenantId;

use super::cache::Page;
use super::page::{
    FILE_HEADER, FOOTER, FileIdentity, HeaderError, NO_TENANT, PAGE_HEADER, PageAddress, PageKind, VERSION,
    damaged_page,
};
use super::writer::{SectionPlace, read_directory};
use super::{BlockError, BlockMeta, Damaged, PageCache, Section, UNREADABLE};

/// As [`read_exact_at`]; `None` where the disk refuses: damage like any other, told where it lies.
fn read_or_damaged(file: &dyn File, buffer: &mut [u8], offset: u64) -> io::Result<Option<()>> {
    match read_exact_at(file, buffer, offset) {
        Err(error) if env::is_unreadable(&error) => Ok(None),
        result => result.map(Some),
    }
}

/// An open file of pages.
pub(super) struct BlockFile {
    file: Arc<dyn File>,
    pub(super) name: String,
    bytes: u64,
    identity: FileIdentity,
    cache: Arc<PageCache>,
}

impl BlockFile {
    /// A page, from the cache or verified from disk.
    pub(super) fn page(&self, address: &PageAddress) -> Result<Arc<Page>, BlockError> {
        if let Some(page) = self.cache.get(self.identity.id, address.offset) {
            return Ok(page);
        }
        let page = Arc::new(Page::new(self.read_page(address)?));
        self.cache.insert(self.identity.id, address.offset, &page);
        Ok(page)
    }

    /// A page, verified from disk.
    pub(super) fn read_page(&self, address: &PageAddress) -> Result<Box<[u8]>, BlockError> {
        let end = address.offset.checked_add(u64::from(address.length));
        if (address.length as usize) < PAGE_HEADER || end.is_none_or(|end| end > self.bytes) {
            return Err(damaged_page(&self.name, address, "page lies outside of the file").into());
        }
        let mut bytes = vec![0; address.length as usize].into_boxed_slice();
        if read_or_damaged(&*self.file, &mut bytes, address.offset)?.is_none() {
            return Err(damaged_page(&self.name, address, UNREADABLE).into());
        }
        match self.identity.check_page(&bytes, address) {
            Ok(()) => Ok(bytes),
            Err(what) => Err(damaged_page(&self.name, address, what).into()),
        }
    }

    fn damaged(&self, what: &'static str) -> BlockError {
        Damaged { file: self.name.clone(), what, tenant: None, page: None }.into()
    }
}

/// A block, open for reading. Cheap to keep: pages live in the cache.
pub struct Block {
    file: Arc<BlockFile>,
    meta: BlockMeta,
    sections: Vec<SectionPlace>,
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Block").field("meta", &self.meta).finish_non_exhaustive()
    }
}

impl Block {
    /// Opens a file that must have the id `expected_id`.
    ///
    /// # Errors
    /// [`BlockError::Damaged`] without a page when header, footer or directory do not hold: nothing of the file can be
    /// read then. [`BlockError::Newer`] when a newer Weir wrote it.
    pub fn open(
        files: &dyn Files,
        path: &Path,
        expected_id: u64,
        cache: Arc<PageCache>,
    ) -> Result<Block, BlockError> {
        let block = Self::open_any(files, path, cache)?;
        if block.meta.id == expected_id {
            Ok(block)
        } else {
            Err(block.file.damaged("file has another file's id"))
        }
    }

    /// Opens a file whatever its id is.
    pub(super) fn open_any(
        files: &dyn Files,
        path: &Path,
        cache: Arc<PageCache>,
    ) -> Result<Block, BlockError> {
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let whole = |what| Damaged { file: name.clone(), what, tenant: None, page: None };
        let (file, bytes) = match env::open_with_length(files, path) {
            Err(error) if env::is_unreadable(&error) => return Err(whole(UNREADABLE).into()),
            result => result?,
        };
        if bytes < (FILE_HEADER + FOOTER) as u64 {
            return Err(whole("file is cut off").into());
        }
        let mut header = [0; FILE_HEADER];
        read_or_damaged(&*file, &mut header, 0)?.ok_or_else(|| whole(UNREADABLE))?;
        let identity = FileIdentity::from_header(&header).map_err(|error| match error {
            HeaderError::Damaged(what) => whole(what).into(),
            HeaderError::Newer(found) => BlockError::Newer { file: name.clone(), found, known: VERSION },
        })?;
        let mut footer = [0; FOOTER];
        read_or_damaged(&*file, &mut footer, bytes - FOOTER as u64)?.ok_or_else(|| whole(UNREADABLE))?;
        let footer = identity.check_footer(&footer, bytes).map_err(whole)?;
        let file = Arc::new(BlockFile { file, name, bytes, identity, cache });
        let address = PageAddress {
            kind: PageKind::Directory,
            tenant: NO_TENANT,
            offset: footer.directory,
            length: footer.directory_bytes,
        };
        let directory = file.read_page(&address)?;
        let sections = read_directory(&directory[PAGE_HEADER..])
            .map_err(|_| damaged_page(&file.name, &address, "directory is malformed"))?;
        let meta = BlockMeta {
            id: file.identity.id,
            level: file.identity.level,
            sequences: file.identity.sequences.clone(),
            bytes,
            sections: sections.iter().map(|s| s.meta).collect(),
        };
        Ok(Block { file, meta, sections })
    }

    /// The same block through another cache.
    pub(crate) fn with_cache(&self, cache: Arc<PageCache>) -> Block {
        let BlockFile { file, name, bytes, identity, .. } = &*self.file;
        let (file, name, identity) = (file.clone(), name.clone(), identity.clone());
        let file = Arc::new(BlockFile { file, name, bytes: *bytes, identity, cache });
        Block { file, meta: self.meta.clone(), sections: self.sections.clone() }
    }

    /// What the block holds.
    pub fn meta(&self) -> &BlockMeta {
        &self.meta
    }

    /// A tenant's section, its index's root loaded; `None` when the block has nothing of the tenant.
    pub fn section(&self, tenant: TenantId) -> Result<Option<Section>, BlockError> {
        match self.sections.binary_search_by_key(&tenant, |s| s.meta.tenant) {
            Ok(at) => Section::open(self.file.clone(), self.sections[at]).map(Some),
            Err(_) => Ok(None),
        }
    }

    /// The length of the root page of a tenant's section.
    pub(super) fn root_bytes(&self, tenant: TenantId) -> Option<u64> {
        let place = self.sections.iter().find(|section| section.meta.tenant == tenant)?;
        Some(u64::from(place.root_bytes))
    }

    /// The length of a page that is verified from disk.
    pub(super) fn page_bytes(&self, address: &PageAddress) -> Result<u64, BlockError> {
        self.file.read_page(address).map(|bytes| bytes.len() as u64)
    }
}
