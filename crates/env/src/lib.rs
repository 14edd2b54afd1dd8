//! Clock, files and randomness, handed in: a trait each, and the real ones.
//!
//! Everything that stores data takes an [`Env`] and nothing else reaches the operating system, so the whole engine
//! runs under simulation (`sim`) with torn writes, lost syncs, full disks and clock steps. Only [`real`] names
//! `std::fs` and the system clock.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub mod real;

/// The wall clock and a clock that never goes back.
pub trait Clock: Send + Sync {
    /// Milliseconds since the Unix epoch; may jump.
    fn now_ms(&self) -> i64;
    /// Time since some fixed moment; never jumps.
    fn monotonic(&self) -> Duration;
}

/// An open file. Offsets are absolute; there is no cursor to share.
pub trait File: Send + Sync {
    /// Reads up to `buffer.len()` bytes at `offset`; fewer only at the end of the file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all bytes at `offset`.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Makes the content durable (fdatasync). After an error the file must never be synced again: seal it, rewrite.
    fn sync_data(&self) -> io::Result<()>;
    /// Reserves `length` bytes and makes them the file's length; new bytes read as zero.
    fn allocate(&self, length: u64) -> io::Result<()>;
    /// Cuts the file to `length` bytes.
    fn truncate(&self, length: u64) -> io::Result<()>;
    /// Length in bytes.
    fn length(&self) -> io::Result<u64>;
}

/// A directory lock; released when dropped (or when the process dies).
pub trait Lock: Send + Sync {}

/// Free and total bytes of a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskSpace {
    /// Bytes that an unprivileged process may still write.
    pub free: u64,
    /// Size of the file system in bytes.
    pub total: u64,
}

/// Occurs when a lock cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Occurs when another process holds it.
    #[error("held by process {0}")]
    Held(u32),
    /// Occurs when the lock file cannot be opened or written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A file system. A new name, a rename or a removal is durable only after [`Files::sync_dir`].
pub trait Files: Send + Sync {
    /// Creates a file that must not exist yet, for reading and writing.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>>;
    /// Opens an existing file for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>>;
    /// Replaces `to` with `from`.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Gives the file `from` a second name, which must be free. File systems without links answer with an error that
    /// [`is_no_link`] knows.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file's name; the file goes with its last one.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty directory.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// Names in a directory, sorted; directories among them.
    fn list(&self, directory: &Path) -> io::Result<Vec<String>>;
    /// Creates a directory and its parents; existing ones are fine.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes names created, renamed or removed in `directory` durable.
    fn sync_dir(&self, directory: &Path) -> io::Result<()>;
    /// Whether a file or directory is there.
    fn exists(&self, path: &Path) -> io::Result<bool>;
    /// The one absolute path of what is there, without links.
    fn canonical(&self, path: &Path) -> io::Result<PathBuf>;
    /// Space of the file system that holds `path`.
    fn space(&self, path: &Path) -> io::Result<DiskSpace>;
    /// Locks the file `path`, writing this process' id into it.
    fn lock(&self, path: &Path) -> Result<Box<dyn Lock>, LockError>;
}

/// Randomness for keys and tokens.
pub trait Random: Send + Sync {
    /// Fills `bytes`.
    fn fill(&self, bytes: &mut [u8]);
}

/// The three together, cheap to clone.
#[derive(Clone)]
pub struct Env {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Disk.
    pub files: Arc<dyn Files>,
    /// Dice.
    pub random: Arc<dyn Random>,
}

impl Env {
    /// The operating system's.
    pub fn real() -> Self {
        Self {
            clock: Arc::new(real::SystemClock::new()),
            files: Arc::new(real::OsFiles),
            random: Arc::new(real::OsRandom),
        }
    }

    /// A random number.
    pub fn random_u64(&self) -> u64 {
        let mut bytes = [0; 8];
        self.random.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }
}

impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Env")
    }
}

/// Tries a read once more when the disk refuses it. The kernel has had its own patience before.
pub fn patiently<T>(mut read: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    match read() {
        Err(error) if is_unreadable(&error) => read(),
        result => result,
    }
}

/// Reads exactly `buffer.len()` bytes at `offset`, once more when the disk refuses; an early end of file is
/// `UnexpectedEof`.
pub fn read_exact_at(file: &dyn File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    let mut done = 0;
    while done < buffer.len() {
        match patiently(|| file.read_at(&mut buffer[done..], offset + done as u64))? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => done += n,
        }
    }
    Ok(())
}

/// Whether an error of a read means that these bytes cannot be had from this disk: an unreadable sector, or structures
/// of the file system that are damaged. Any other error (too many open files, no permission, no memory) says something
/// about this process, not about the data.
pub fn is_unreadable(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(Errno::from_io_error(error), Some(Errno::IO | Errno::UCLEAN | Errno::BADMSG))
}

/// Whether nothing more can be opened at the moment, by this process or on this machine.
pub fn is_out_of_descriptors(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

/// Whether a second name for a file cannot be had here: another file system, one without links, or too many of them.
/// A copy can.
pub fn is_no_link(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let refusals = [Errno::XDEV, Errno::MLINK, Errno::PERM, Errno::OPNOTSUPP, Errno::NOSYS];
    Errno::from_io_error(error).is_some_and(|errno| refusals.contains(&errno))
}

/// Opens an existing file and says how long it is; tries once more when the disk refuses.
pub fn open_with_length(files: &dyn Files, path: &Path) -> io::Result<(Arc<dyn File>, u64)> {
    patiently(|| {
        let file = files.open(path)?;
        let length = file.length()?;
        Ok((file, length))
    })
}

/// Reads a whole small file.
pub fn read_all(files: &dyn Files, path: &Path) -> io::Result<Vec<u8>> {
    let (file, length) = open_with_length(files, path)?;
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    read_exact_at(&*file, &mut bytes, 0)?;
    Ok(bytes)
}

/// As [`read_all`]; `None` when there is no such file.
pub fn read_if_there(files: &dyn Files, path: &Path) -> io::Result<Option<Vec<u8>>> {
    match read_all(files, path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}

/// Replaces a small file so that after a crash either the old or the new content is there: temporary file, sync,
/// rename, directory sync.
pub fn replace(files: &dyn Files, directory: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    replace_all(files, directory, &[name], bytes)
}

/// As [`replace`], for copies of the same content: all are whole and synced before the first takes its name, and after a
/// crash each is the old or the new one.
pub fn replace_all(files: &dyn Files, directory: &Path, names: &[&str], bytes: &[u8]) -> io::Result<()> {
    let temporary = |name: &str| directory.join(format!("{name}.tmp"));
    for name in names {
        let path = temporary(name);
        if files.exists(&path)? {
            files.remove(&path)?;
        }
        let file = files.create(&path)?;
        file.write_at(bytes, 0)?;
        file.sync_data()?;
    }
    names.iter().try_for_each(|name| files.rename(&temporary(name), &directory.join(name)))?;
    files.sync_dir(directory)
}

/// Removes a directory with everything in it, or a file.
pub fn remove_tree(files: &dyn Files, path: &Path) -> io::Result<()> {
    match files.list(path) {
        Ok(names) => {
            names.iter().try_for_each(|name| remove_tree(files, &path.join(name)))?;
            files.remove_dir(path)
        }
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => files.remove(path),
        Err(error) => Err(error),
    }
}
