//! A disk in memory that may lose, tear and reorder whatever was not synced.
//!
//! **Fault model.** Reads see every write at once. A power cut ([`SimFiles::crash`], or [`SimFiles::crash_after`] in
//! the middle of an operation) keeps all synced bytes and names exactly. Of the rest, each 4 KiB page of a file keeps
//! any number of its writes, torn at 512-byte sectors; a file's length is any that it had since its last sync; the
//! part beyond the synced length that was never written back reads as zero or, when junk is on, as bytes of removed
//! files. Creations, renames, removals and new directories each happened or not, in any subset, until the directory
//! is synced; syncing a file does not save its name. A rename is atomic. A removed file lives on for open handles;
//! after a crash all handles and locks are dead.
//!
//! **Faults** ([`SimFiles::plan`]): any operation can fail at its n-th call, once or for ever; a failing write may
//! have written a part; a failing sync may lose its pages and report later syncs as good. The disk has a capacity in
//! bytes and in files, the process one of open files; bytes and whole files can be damaged from outside, sectors become
//! unreadable. What the model leaves out: sectors that tear inside, writes that land in the wrong place (damage by hand does that), and reads that
//! fail to see a write.
//!
//! Everything random is decided by the seed. All handles share one lock: a simulation runs on one thread.

mod content;
mod disk;
mod faults;
mod names;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use env::{DiskSpace, File, Files, Lock, LockError};

use disk::Disk;
pub use faults::{Failure, Fault, Op, PowerIsOff, is_crash};

/// The disk. Clones are the same disk.
#[derive(Clone, Debug)]
pub struct SimFiles {
    disk: Arc<Mutex<Disk>>,
}

impl SimFiles {
    /// An empty disk of 1 TiB.
    pub fn new(seed: u64) -> Self {
        Self { disk: Arc::new(Mutex::new(Disk::new(seed))) }
    }

    /// A copy of the disk as it is, with dice of its own: to try several futures of one past.
    pub fn fork(&self, seed: u64) -> Self {
        let mut disk = self.disk().clone();
        disk.reseed(seed);
        disk.open = 0;
        Self { disk: Arc::new(Mutex::new(disk)) }
    }

    /// Power cut and restart: see the fault model. Planned faults and crashes are forgotten.
    pub fn crash(&self) {
        self.disk().crash();
    }

    /// The process dies, the machine does not (kill -9): handles and locks are dead, no byte is lost, and what is
    /// planned for the disk stays planned.
    pub fn kill(&self) {
        self.disk().kill();
    }

    /// The power goes during the operation after `changes` more that change the disk: it fails, as does everything
    /// until [`SimFiles::crash`].
    pub fn crash_after(&self, changes: u64) {
        self.disk().crash_after = Some(changes);
    }

    /// From now on everything fails until [`SimFiles::crash`] or [`SimFiles::kill`]: so that what a dying process still
    /// tries does not reach the disk.
    pub fn power_off(&self) {
        self.disk().down = true;
    }

    /// Whether the power is off.
    pub fn is_down(&self) -> bool {
        self.disk().down
    }

    /// Plans a failure.
    pub fn plan(&self, fault: Fault) {
        self.disk().faults.push(fault);
    }

    /// Forgets planned failures and a planned crash.
    pub fn heal(&self) {
        let mut disk = self.disk();
        disk.faults.clear();
        disk.crash_after = None;
    }

    /// Size of the disk in bytes; may be less than what is on it.
    pub fn set_capacity(&self, bytes: u64) {
        self.disk().capacity = bytes;
    }

    /// Files that the disk can hold.
    pub fn set_files_max(&self, files: u64) {
        self.disk().files_max = files;
    }

    /// Files that may be open at once: opening one more fails as it does when the process has no descriptor left.
    pub fn set_open_max(&self, files: u64) {
        self.disk().open_max = files;
    }

    /// Files that are open; one that is open twice counts twice.
    pub fn open_files(&self) -> u64 {
        self.disk().open
    }

    /// Whether allocated space that was never written may show bytes of removed files after a crash. Off at first:
    /// journalling file systems do not, but the store should not need that.
    pub fn set_junk(&self, on: bool) {
        self.disk().junk_on = on;
    }

    /// Operations of one kind since the disk was made.
    pub fn count(&self, op: Op) -> u64 {
        self.disk().counts[op as usize]
    }

    /// Operations that change the disk since it was made.
    pub fn changes(&self) -> u64 {
        let disk = self.disk();
        Op::ALL.iter().filter(|op| op.changes()).map(|op| disk.counts[*op as usize]).sum()
    }

    /// Failures that struck since the disk was made.
    pub fn failures(&self) -> u64 {
        self.disk().failures
    }

    /// Reads that failed right after another one had: who tried twice now takes the bytes for lost.
    pub fn refusals(&self) -> u64 {
        self.disk().refusals
    }

    /// Syncs of files whose sync had failed before: a program that makes one trusts an answer that means nothing.
    pub fn poisoned_syncs(&self) -> u64 {
        self.disk().poisoned_syncs
    }

    /// Bytes in use.
    pub fn used(&self) -> u64 {
        self.disk().used()
    }

    /// All files, sorted by path.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.disk().names.files().into_iter().map(|(path, _)| path).collect()
    }

    /// A file's bytes as reads see them; works while the power is off and counts nothing.
    pub fn content(&self, path: &Path) -> io::Result<Vec<u8>> {
        let disk = self.disk();
        Ok(disk.contents[disk.names.file(path)?].current().to_vec())
    }

    /// Changes bytes on the disk behind everyone's back.
    pub fn damage(&self, path: &Path, damage: impl Fn(&mut Vec<u8>)) -> io::Result<()> {
        let mut disk = self.disk();
        let file = disk.names.file(path)?;
        disk.contents[file].damage(damage);
        Ok(())
    }

    /// Turns one bit of a file over.
    pub fn flip_bit(&self, path: &Path, bit: usize) -> io::Result<()> {
        self.damage(path, |bytes| {
            if let Some(byte) = bytes.get_mut(bit / 8) {
                *byte ^= 1 << (bit % 8);
            }
        })
    }

    /// Makes the 4 KiB at `offset` unreadable: EIO, for ever.
    pub fn spoil_sector(&self, path: &Path, offset: u64) -> io::Result<()> {
        let mut disk = self.disk();
        let file = disk.names.file(path)?;
        disk.contents[file].spoil(usize::try_from(offset).map_err(io::Error::other)?);
        Ok(())
    }

    /// Makes a file vanish behind everyone's back.
    pub fn lose(&self, path: &Path) -> io::Result<()> {
        self.disk().names.forget(path)
    }

    /// Exchanges the content of two files behind everyone's back.
    pub fn swap(&self, one: &Path, other: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        let (one, other) = (disk.names.file(one)?, disk.names.file(other)?);
        disk.contents.swap(one, other);
        Ok(())
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handle(&self, disk: &mut Disk, file: usize, path: &Path) -> Arc<dyn File> {
        disk.open += 1;
        Arc::new(Handle { files: self.clone(), file, life: disk.life, path: path.to_owned() })
    }
}

impl Files for SimFiles {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let mut disk = self.disk();
        let file = disk.create(path)?;
        Ok(self.handle(&mut disk, file, path))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let mut disk = self.disk();
        disk.begin(Op::Open, path)?;
        let file = disk.names.file(path)?;
        if disk.open >= disk.open_max {
            return Err(Failure::TooManyFiles.error());
        }
        Ok(self.handle(&mut disk, file, path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk().change_names(Op::Rename, to, |names| names.rename(from, to))
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk().change_names(Op::Link, to, |names| names.link(to, names.file(from)?))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk().remove(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.disk().change_names(Op::RemoveDir, path, |names| names.remove_directory(path))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let mut disk = self.disk();
        disk.begin(Op::List, directory)?;
        disk.names.list(directory)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.disk().change_names(Op::CreateDir, path, |names| names.create_directory(path))
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        self.disk().change_names(Op::SyncDir, directory, |names| {
            names.sync(names.directory(directory)?);
            Ok(())
        })
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        let mut disk = self.disk();
        disk.begin(Op::Exists, path)?;
        Ok(disk.names.find(path)?.is_some())
    }

    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        // There are no links to directories, and nobody writes `..`.
        match self.exists(path)? {
            true => Ok(Path::new("/").join(path)),
            false => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn space(&self, path: &Path) -> io::Result<DiskSpace> {
        let mut disk = self.disk();
        disk.begin(Op::Space, path)?;
        Ok(DiskSpace { free: disk.free(), total: disk.capacity })
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn Lock>, LockError> {
        let mut disk = self.disk();
        disk.lock(path)?;
        Ok(Box::new(Held { files: self.clone(), life: disk.life, path: path.to_owned() }))
    }
}

/// An open file.
struct Handle {
    files: SimFiles,
    file: usize,
    /// The life of the process that opened it.
    life: u64,
    path: PathBuf,
}

impl Handle {
    fn disk(&self) -> io::Result<MutexGuard<'_, Disk>> {
        let disk = self.files.disk();
        if disk.life == self.life { Ok(disk) } else { Err(io::Error::other(PowerIsOff)) }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let mut disk = self.files.disk();
        if disk.life == self.life {
            disk.open -= 1;
        }
    }
}

impl File for Handle {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut disk = self.disk()?;
        disk.begin(Op::Read, &self.path)?;
        let bytes = disk.contents[self.file].current();
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        let count = buffer.len().min(bytes.len() - start);
        if disk.contents[self.file].is_spoiled(start..start + count) {
            return Err(Failure::Io.error());
        }
        buffer[..count].copy_from_slice(&bytes[start..start + count]);
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.disk()?.write(self.file, &self.path, bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk()?.sync(self.file, &self.path)
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        let mut disk = self.disk()?;
        // As fallocate does: it never makes a file shorter.
        let length = length.max(disk.contents[self.file].current().len() as u64);
        disk.set_length(Op::Allocate, self.file, &self.path, length)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.disk()?.set_length(Op::Truncate, self.file, &self.path, length)
    }

    fn length(&self) -> io::Result<u64> {
        let mut disk = self.disk()?;
        disk.begin(Op::Length, &self.path)?;
        Ok(disk.contents[self.file].current().len() as u64)
    }
}

/// A lock; free again when dropped.
struct Held {
    files: SimFiles,
    life: u64,
    path: PathBuf,
}

impl Lock for Held {}

impl Drop for Held {
    fn drop(&mut self) {
        let mut disk = self.files.disk();
        if disk.life == self.life {
            disk.locks.remove(&self.path);
        }
    }
}
