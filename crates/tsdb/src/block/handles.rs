//! Files of live blocks: opened when they are read, and kept open to be read again, but only so many at once. There may be
//! far more blocks than a process may have descriptors.
//!
//! Which one is closed for another is found by a second chance, as in the page cache: one that was read since its turn last
//! came stays. A read takes the handle out of the file's own place, where readers do not wait for each other; the common
//! list is touched only when a file is opened or closed. A handle that somebody reads with stays valid when it is closed
//! here. When the process has no descriptor left, all that are here are given back for the one that is needed.
//!
//! The one decision: **a file keeps its name until nobody may read it any longer.** It can be opened again only by its
//! name, so whoever removes a block (once no manifest names it) says so with [`KeptFile::remove_unread`], and whoever lets
//! go of the file last removes the name: as a rule the same one, in the next moment. A crash in between leaves a file that
//! no manifest names, as it did before, and the next start removes it. To hold removed files by their descriptors instead
//! would take as many of these as blocks that a long query or a merge reads while others drop them.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};

use env::{File, Files};

/// The open ones of a store's files of blocks.
pub(crate) struct Handles {
    files: Arc<dyn Files>,
    open_max: usize,
    /// Whose turn it is to be closed comes first.
    open: Mutex<VecDeque<Weak<KeptFile>>>,
}

/// A file that is opened when it is read.
pub(crate) struct KeptFile {
    handles: Arc<Handles>,
    place: RwLock<Place>,
    /// Since its turn last came.
    was_read: AtomicBool,
    /// Whether the name goes with the last reader.
    goes: AtomicBool,
}

struct Place {
    path: PathBuf,
    handle: Option<Arc<dyn File>>,
}

impl Handles {
    /// Keeps at most `open_max` files open, one at least.
    pub(crate) fn new(files: Arc<dyn Files>, open_max: usize) -> Arc<Self> {
        Arc::new(Self { files, open_max: open_max.max(1), open: Mutex::default() })
    }

    /// A file, not opened yet.
    pub(super) fn file(self: &Arc<Self>, path: &Path) -> Arc<KeptFile> {
        Arc::new(KeptFile {
            handles: self.clone(),
            place: RwLock::new(Place { path: path.to_owned(), handle: None }),
            was_read: AtomicBool::new(false),
            goes: AtomicBool::new(false),
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Weak<KeptFile>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes files until no more than `left` are open.
    fn close_over(&self, left: usize) {
        // Let go of only without the lock: whoever does it last takes it again.
        let (mut closed, mut spared) = (Vec::new(), Vec::new());
        let mut open = self.lock();
        let mut chances = open.len();
        while open.len() > left {
            let Some(next) = open.pop_front() else { break };
            let Some(file) = next.upgrade() else { continue };
            if chances > 0 && file.was_read.swap(false, Ordering::Relaxed) {
                chances -= 1;
                open.push_back(next);
                spared.push(file);
            } else {
                closed.push(file);
            }
        }
        drop(open);
        for file in closed {
            file.place.write().unwrap_or_else(PoisonError::into_inner).handle = None;
        }
    }
}

impl KeptFile {
    /// The open file, to be read from now.
    pub(super) fn open(self: &Arc<Self>) -> io::Result<Arc<dyn File>> {
        match self.try_open() {
            Err(error) if env::is_out_of_descriptors(&error) => {
                self.handles.close_over(0);
                self.try_open()
            }
            result => result,
        }
    }

    fn try_open(self: &Arc<Self>) -> io::Result<Arc<dyn File>> {
        if !self.was_read.load(Ordering::Relaxed) {
            self.was_read.store(true, Ordering::Relaxed);
        }
        let place = self.place.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(handle) = &place.handle {
            return Ok(handle.clone());
        }
        drop(place);
        let mut place = self.place.write().unwrap_or_else(PoisonError::into_inner);
        // Somebody else was faster.
        if let Some(handle) = &place.handle {
            return Ok(handle.clone());
        }
        let handle = env::patiently(|| self.handles.files.open(&place.path))?;
        place.handle = Some(handle.clone());
        drop(place);
        self.handles.lock().push_back(Arc::downgrade(self));
        self.handles.close_over(self.handles.open_max);
        Ok(handle)
    }

    /// Removes the file once nobody may read it any longer. Nothing on the disk may name it by now.
    pub(super) fn remove_unread(&self) {
        self.goes.store(true, Ordering::Relaxed);
    }

    /// Has the file moved by `rename`, which says whether it did. Readers find it in its new place.
    pub(super) fn move_to(&self, to: PathBuf, rename: impl FnOnce() -> bool) -> bool {
        let mut place = self.place.write().unwrap_or_else(PoisonError::into_inner);
        let has_moved = rename();
        if has_moved {
            place.path = to;
        }
        has_moved
    }
}

impl Drop for KeptFile {
    fn drop(&mut self) {
        let place = self.place.get_mut().unwrap_or_else(PoisonError::into_inner);
        if place.handle.take().is_some() {
            self.handles.lock().retain(|open| open.strong_count() > 0);
        }
        if *self.goes.get_mut()
            && let Err(error) = self.handles.files.remove(&place.path)
        {
            // The next start removes it.
            tracing::warn!(%error, file = %place.path.display(), "a block that is no longer live could not be removed");
        }
    }
}
