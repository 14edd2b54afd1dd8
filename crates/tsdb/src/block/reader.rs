//! Opens a block: header, footer and directory, nothing else. Everything further is read when it is asked for.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use env::{File, Files, read_exact_at};
use model::TenantId;

use super::cache::Page;
use super::handles::KeptFile;
use super::page::{
    FILE_HEADER, FOOTER, FileIdentity, HeaderError, NO_TENANT, PAGE_HEADER, PageAddress, PageKind, VERSION,
    damaged_page,
};
use super::writer::{SectionPlace, read_directory};
use super::{BlockError, BlockMeta, Damaged, Handles, MISSING, PageCache, Section, UNREADABLE};

/// As [`read_exact_at`]; `None` where the disk refuses: damage like any other, told where it lies.
fn read_or_damaged(file: &dyn File, buffer: &mut [u8], offset: u64) -> io::Result<Option<()>> {
    match read_exact_at(file, buffer, offset) {
        Err(error) if env::is_unreadable(&error) => Ok(None),
        result => result.map(Some),
    }
}

/// Where a block is read from.
#[derive(Clone)]
enum Source {
    /// A file that stays open.
    Open(Arc<dyn File>),
    /// The file of a live block.
    Kept(Arc<KeptFile>),
}

impl Source {
    /// The open file; `Err` in the result says what is wrong with it.
    fn file(&self) -> io::Result<Result<Arc<dyn File>, &'static str>> {
        let kept = match self {
            Self::Open(file) => return Ok(Ok(file.clone())),
            Self::Kept(kept) => kept,
        };
        match kept.open() {
            Err(error) if env::is_unreadable(&error) => Ok(Err(UNREADABLE)),
            // It was there when the block was opened first.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Err(MISSING)),
            result => result.map(Ok),
        }
    }
}

/// A file of pages.
pub(super) struct BlockFile {
    source: Source,
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
        let file = match self.source.file()? {
            Ok(file) => file,
            Err(what) => return Err(damaged_page(&self.name, address, what).into()),
        };
        let mut bytes = vec![0; address.length as usize].into_boxed_slice();
        if read_or_damaged(&*file, &mut bytes, address.offset)?.is_none() {
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

/// A block that can be read. Cheap to keep: pages live in the cache, and the file of a live block is open only for as long
/// as [`Handles`] can keep it.
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
    /// Opens a file that must have the id `expected_id`, and keeps it open.
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
        Self::open_any(files, path, cache)?.with_id(expected_id)
    }

    /// Opens a file as [`Block::open`] does; later it is open while it is read, and for as long as `handles` can keep it.
    pub(crate) fn open_live(
        handles: &Arc<Handles>,
        path: &Path,
        expected_id: u64,
        cache: Arc<PageCache>,
    ) -> Result<Block, BlockError> {
        let file = handles.file(path);
        let opened = file.open().and_then(|open| env::patiently(|| open.length()));
        Self::of(path, opened.map(|bytes| (Source::Kept(file), bytes)), cache)?.with_id(expected_id)
    }

    fn with_id(self, expected_id: u64) -> Result<Block, BlockError> {
        if self.meta.id == expected_id {
            Ok(self)
        } else {
            Err(self.file.damaged("file has another file's id"))
        }
    }

    /// Opens a file whatever its id is, and keeps it open.
    pub(super) fn open_any(
        files: &dyn Files,
        path: &Path,
        cache: Arc<PageCache>,
    ) -> Result<Block, BlockError> {
        let opened = env::open_with_length(files, path);
        Self::of(path, opened.map(|(file, bytes)| (Source::Open(file), bytes)), cache)
    }

    /// Reads what is read at first of a file that was opened, or was not.
    fn of(
        path: &Path,
        opened: io::Result<(Source, u64)>,
        cache: Arc<PageCache>,
    ) -> Result<Block, BlockError> {
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let whole = |what| Damaged { file: name.clone(), what, tenant: None, page: None };
        let (source, bytes) = match opened {
            Err(error) if env::is_unreadable(&error) => return Err(whole(UNREADABLE).into()),
            result => result?,
        };
        if bytes < (FILE_HEADER + FOOTER) as u64 {
            return Err(whole("file is cut off").into());
        }
        let file = source.file()?.map_err(whole)?;
        let mut header = [0; FILE_HEADER];
        read_or_damaged(&*file, &mut header, 0)?.ok_or_else(|| whole(UNREADABLE))?;
        let identity = FileIdentity::from_header(&header).map_err(|error| match error {
            HeaderError::Damaged(what) => whole(what).into(),
            HeaderError::Newer(found) => BlockError::Newer { file: name.clone(), found, known: VERSION },
        })?;
        let mut footer = [0; FOOTER];
        read_or_damaged(&*file, &mut footer, bytes - FOOTER as u64)?.ok_or_else(|| whole(UNREADABLE))?;
        let footer = identity.check_footer(&footer, bytes).map_err(whole)?;
        let file = Arc::new(BlockFile { source, name, bytes, identity, cache });
        let address = PageAddress {
            kind: PageKind::Directory,
            tenant: NO_TENANT,
            offset: footer.directory,
            length: footer.directory_bytes,
        };
        let directory = file.read_page(&address)?;
        let sections = read_directory(&directory[PAGE_HEADER..])
            .map_err(|_| damaged_page(&file.name, &address, "directory is malformed"))?;
        let FileIdentity { id, level, sequences } = file.identity.clone();
        let meta = BlockMeta::new(id, level, sequences, bytes, sections.iter().map(|s| s.meta).collect());
        Ok(Block { file, meta, sections })
    }

    /// The same block through another cache.
    pub(crate) fn with_cache(&self, cache: Arc<PageCache>) -> Block {
        let BlockFile { source, name, bytes, identity, .. } = &*self.file;
        let (source, name, identity) = (source.clone(), name.clone(), identity.clone());
        let file = Arc::new(BlockFile { source, name, bytes: *bytes, identity, cache });
        Block { file, meta: self.meta.clone(), sections: self.sections.clone() }
    }

    /// Removes the file of a block that is no longer live, once nobody may read it any longer.
    pub(crate) fn remove_unread(&self) {
        self.kept().remove_unread();
    }

    /// Has the file of a block moved by `rename`, which says whether it did.
    pub(crate) fn move_to(&self, to: PathBuf, rename: impl FnOnce() -> bool) -> bool {
        self.kept().move_to(to, rename)
    }

    fn kept(&self) -> &KeptFile {
        match &self.file.source {
            Source::Kept(kept) => kept,
            Source::Open(_) => panic!("only files of live blocks are moved and removed"),
        }
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
