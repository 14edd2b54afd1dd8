//! Snapshots: the store as it was at one moment, beside it on the same disk.
//!
//! A snapshot is a directory `snapshots/<name>` that is a data directory of its own: the live blocks under second names
//! (hard links, or copies where the file system has none), both copies of a manifest that names them, the key of series
//! ids, metadata, the segments of log lines under second names, and a log of samples whose segments and sequences go on where
//! the store's were. In that log nothing is but totals of deltas and digests, as they are when it is made. The head is flushed
//! before, so everything that was acknowledged before the call is inside. Blocks never change, so the store goes on merging and
//! dropping its own names without touching the snapshot's.
//!
//! It is made as `<name>.tmp` and renamed once everything is synced; deleting goes the other way. What a crash leaves
//! behind is a `.tmp`, which the next start removes.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use codec::chunk::Corrupt;
use codec::chunk::bytes::{Reader, put_varint, put_zigzag};
use codec::envelope;
use env::{File, Files};

use crate::logs;
use crate::manifest::Manifest;
use crate::metadata;
use crate::open::{OpenError, store_format};
use crate::small_file::{self, SmallFile};
use crate::store::{Inner, Store, block_file_name, wal_directory};

/// The directory of snapshots in a data directory.
const DIRECTORY: &str = "snapshots";
/// The file that describes a snapshot.
const FILE: &str = "SNAPSHOT";
pub(crate) const MAGIC: &[u8; 8] = b"WEIRSNP1";
pub(crate) const VERSION: u16 = 1;
/// There while a snapshot is being restored into a directory.
const RESTORING: &str = "RESTORING";
/// Bytes of a name at most.
const NAME_BYTES_MAX: usize = 128;
/// Bytes that are copied at once.
const COPY_BYTES: usize = 1 << 20;

/// The name of a snapshot: letters, digits, `-`, `_` and `.`, a letter or digit first, at most 128 bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SnapshotName(String);

impl SnapshotName {
    /// A name, unless it is none.
    pub fn parse(name: &str) -> Option<SnapshotName> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let good = name.len() <= NAME_BYTES_MAX
            && name.bytes().all(plain)
            && name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && !name.ends_with(".tmp");
        good.then(|| SnapshotName(name.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Where the snapshot lies in a data directory.
    pub fn path(&self, directory: &Path) -> PathBuf {
        directory.join(DIRECTORY).join(&self.0)
    }

    fn unfinished_path(&self, directory: &Path) -> PathBuf {
        directory.join(DIRECTORY).join(format!("{}.tmp", self.0))
    }
}

impl fmt::Display for SnapshotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a snapshot holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// When it was made, in ms since the Unix epoch.
    pub created_ms: i64,
    /// Highest WAL sequence inside.
    pub sequence: u64,
    /// Blocks.
    pub blocks: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Samples in them; one that was written to several blocks counts in each.
    pub samples: u64,
}

/// Why a snapshot is not made or deleted.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// Occurs when there is one of that name.
    #[error("snapshot {0} exists already")]
    Exists(SnapshotName),
    /// Occurs when there is none of that name.
    #[error("no snapshot {0}")]
    Missing(SnapshotName),
    /// Occurs when the disk cannot be read or written.
    #[error("snapshot: {0}")]
    Io(#[from] io::Error),
}

/// Why a snapshot is not restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// Occurs when what is to be restored is no data directory.
    #[error("{} is no snapshot", .0.display())]
    NoSnapshot(PathBuf),
    /// Occurs when what is to be restored is itself what a restore that was cut short has left.
    #[error("{} was not restored to its end", .0.display())]
    HalfRestored(PathBuf),
    /// Occurs when the directory to restore into holds something.
    #[error("{} is not empty", .0.display())]
    NotEmpty(PathBuf),
    /// Occurs when the directory to restore into lies in what is to be restored, which would be copied into itself for ever.
    #[error("{} lies in {}, which is to be restored: name a directory outside of it", .to.display(), .from.display())]
    Inside {
        /// What is to be restored.
        from: PathBuf,
        /// The directory to restore into.
        to: PathBuf,
    },
    /// Occurs when the disk cannot be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Snapshot {
    fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        put_zigzag(&mut body, self.created_ms);
        for number in [self.sequence, self.blocks, self.bytes, self.samples] {
            put_varint(&mut body, number);
        }
        envelope::wrap(MAGIC, VERSION, &body)
    }

    fn decode(body: &[u8]) -> Result<Self, Corrupt> {
        let mut reader = Reader::new(body);
        Ok(Self {
            created_ms: reader.zigzag()?,
            sequence: reader.varint()?,
            blocks: reader.varint()?,
            bytes: reader.varint()?,
            samples: reader.varint()?,
        })
    }
}

/// A block that has to be copied, open: the store may remove its name meanwhile.
struct Copied {
    file: Arc<dyn File>,
    name: String,
}

impl Store {
    /// Makes a snapshot of everything that was acknowledged before the call. `also` writes what else belongs to it into
    /// its directory, durably but for the names, which are synced afterwards. Writes go on; maintenance waits while names
    /// are given to the blocks.
    pub fn snapshot(
        &self,
        name: &SnapshotName,
        also: &dyn Fn(&Path) -> io::Result<()>,
    ) -> Result<Snapshot, SnapshotError> {
        let inner = &*self.inner;
        let files = &*inner.env.files;
        let _alone = inner.snapshotting.lock().expect("lock");
        let (path, temporary) = (name.path(&inner.directory), name.unfinished_path(&inner.directory));
        if files.exists(&path)? {
            return Err(SnapshotError::Exists(name.clone()));
        }
        if files.exists(&temporary)? {
            env::remove_tree(files, &temporary)?;
        }
        self.flush()?;
        let made = inner.fill_snapshot(&temporary, also).and_then(|snapshot| {
            files.rename(&temporary, &path)?;
            files.sync_dir(&inner.directory.join(DIRECTORY))?;
            Ok(snapshot)
        });
        if made.is_err() && files.exists(&temporary).unwrap_or(false) {
            // When this fails too, the next start does it.
            let _ = env::remove_tree(files, &temporary);
        }
        Ok(made?)
    }

    /// Deletes a snapshot.
    pub fn delete_snapshot(&self, name: &SnapshotName) -> Result<(), SnapshotError> {
        let _alone = self.inner.snapshotting.lock().expect("lock");
        delete_snapshot(&*self.inner.env.files, &self.inner.directory, name)
    }
}

impl Inner {
    fn fill_snapshot(&self, to: &Path, also: &dyn Fn(&Path) -> io::Result<()>) -> io::Result<Snapshot> {
        let files = &*self.env.files;
        let blocks = to.join("blocks");
        for part in ["wal/metrics", "wal/logs", "blocks", "quarantine"] {
            files.create_dir(&to.join(part))?;
        }
        let (mut manifest, snapshot, copied) = self.link_blocks(&blocks)?;
        for block in copied {
            copy_file(files, &*block.file, &blocks.join(block.name), &mut |_| {})?;
        }
        files.sync_dir(&blocks)?;
        self.link_lines(&logs::directory(to))?;
        self.link_totals(&wal_directory(to))?;
        store_format(files, to, manifest.id_seed)?;
        let families = self.metadata.read().expect("lock").encode();
        metadata::store(files, to, &families)?;
        also(to)?;
        env::replace(files, to, FILE, &snapshot.encode())?;
        manifest.generation += 1;
        manifest.store(files, to)?;
        files.sync_dir(&to.join("wal"))?;
        files.sync_dir(to)?;
        // The directory of snapshots may be new.
        files.sync_dir(&self.directory)?;
        Ok(snapshot)
    }

    /// Gives the segments of log lines names in `to`: from here on nothing is added to them.
    fn link_lines(&self, to: &Path) -> io::Result<()> {
        let (files, from) = (&*self.env.files, logs::directory(&self.directory));
        let end = self.writer.lock().expect("lock").lines.roll()?;
        for number in wal::segments(files, &from)?.into_iter().filter(|number| *number < end) {
            link_segment(files, number, &from, to)?;
        }
        files.sync_dir(to)
    }

    /// Puts totals of deltas and digests into a segment of their own, and gives it a name in `to`. Deltas that came since the
    /// flush are in them: what the snapshot does not show of a series, its next sample has.
    fn link_totals(&self, to: &Path) -> io::Result<()> {
        let (files, from) = (&*self.env.files, self.wal_directory());
        // Held, so that no flush takes the segment away.
        let mut writer = self.writer.lock().expect("lock");
        let number = writer.wal.roll()?;
        self.log_totals(&mut writer)?;
        if writer.wal.roll()? > number {
            link_segment(files, number, &from, to)?;
        }
        files.sync_dir(to)
    }

    /// Gives the live blocks names in `to`; those that need a copy come back open. While this runs nobody removes one.
    fn link_blocks(&self, to: &Path) -> io::Result<(Manifest, Snapshot, Vec<Copied>)> {
        let files = &*self.env.files;
        let live = self.manifest.lock().expect("lock");
        let readable = self.view.read().expect("lock").blocks.clone();
        let mut copied = Vec::new();
        for named in &live.manifest.blocks {
            let (from, name) = (self.block_path(named.id), block_file_name(named.id));
            match files.link(&from, &to.join(&name)) {
                Err(error) if env::is_no_link(&error) => {
                    copied.push(Copied { file: files.open(&from)?, name })
                }
                result => result?,
            }
        }
        let samples = readable.iter().flat_map(|block| &block.meta().sections).map(|section| section.samples);
        let snapshot = Snapshot {
            created_ms: self.env.clock.now_ms(),
            sequence: live.manifest.flushed_sequence,
            blocks: live.manifest.blocks.len() as u64,
            bytes: readable.iter().map(|block| block.meta().bytes).sum(),
            samples: samples.sum(),
        };
        Ok((live.manifest.clone(), snapshot, copied))
    }
}

/// Gives a segment to which nothing is added any more a name in another directory.
fn link_segment(files: &dyn Files, number: u64, from: &Path, to: &Path) -> io::Result<()> {
    let (from, to) = (from.join(wal::file_name(number)), to.join(wal::file_name(number)));
    match files.link(&from, &to) {
        Err(error) if env::is_no_link(&error) => copy_file(files, &*files.open(&from)?, &to, &mut |_| {}),
        result => result,
    }
}

/// The snapshots in a data directory by name, each with what it holds; `None` when its description is damaged.
pub fn snapshots(
    files: &dyn Files,
    directory: &Path,
) -> Result<Vec<(SnapshotName, Option<Snapshot>)>, OpenError> {
    let directory = directory.join(DIRECTORY);
    if !files.exists(&directory)? {
        return Ok(Vec::new());
    }
    let names = files.list(&directory)?;
    let names = names.iter().filter_map(|name| SnapshotName::parse(name));
    names
        .map(|name| {
            let found = small_file::read(files, &directory.join(name.as_str()), FILE, MAGIC, VERSION)?;
            let body = match found {
                SmallFile::Whole(body) => Some(body),
                SmallFile::Missing | SmallFile::Damaged => None,
            };
            Ok((name, body.and_then(|body| Snapshot::decode(&body).ok())))
        })
        .collect()
}

/// What is wrong with a snapshot's description, if anything: a data directory has none.
pub(crate) fn check_description(
    files: &dyn Files,
    directory: &Path,
) -> Result<Option<&'static str>, OpenError> {
    Ok(match small_file::read(files, directory, FILE, MAGIC, VERSION)? {
        SmallFile::Whole(body) => Snapshot::decode(&body).is_err().then_some("is damaged"),
        SmallFile::Damaged => Some("is damaged"),
        SmallFile::Missing => None,
    })
}

/// Deletes a snapshot in a data directory that no store has open.
pub fn delete_snapshot(
    files: &dyn Files,
    directory: &Path,
    name: &SnapshotName,
) -> Result<(), SnapshotError> {
    let (path, temporary) = (name.path(directory), name.unfinished_path(directory));
    if !files.exists(&path)? {
        return Err(SnapshotError::Missing(name.clone()));
    }
    if files.exists(&temporary)? {
        env::remove_tree(files, &temporary)?;
    }
    // From here on it is unfinished: a stop in the middle leaves no half of a snapshot.
    files.rename(&path, &temporary)?;
    files.sync_dir(&directory.join(DIRECTORY))?;
    env::remove_tree(files, &temporary)?;
    Ok(files.sync_dir(&directory.join(DIRECTORY))?)
}

/// Removes what making or deleting a snapshot left behind.
pub(crate) fn remove_unfinished(files: &dyn Files, directory: &Path) -> io::Result<()> {
    let directory = directory.join(DIRECTORY);
    if !files.exists(&directory)? {
        return Ok(());
    }
    let names = files.list(&directory)?;
    let mut unfinished = names.iter().filter(|name| name.ends_with(".tmp"));
    unfinished.try_for_each(|name| env::remove_tree(files, &directory.join(name)))
}

/// Makes a data directory of a snapshot (or of any data directory that nobody has open): `to` is made or must be empty.
/// With `link` blocks get a second name where the file system allows it, else they are copied. `each` is told of bytes
/// as they are done. Until everything is synced the directory says that it is unfinished, and no store opens it.
pub fn restore(
    files: &dyn Files,
    from: &Path,
    to: &Path,
    link: bool,
    each: &mut dyn FnMut(u64),
) -> Result<(), RestoreError> {
    let is_data_directory = Manifest::FILES.iter().map(|name| files.exists(&from.join(name)));
    if !is_data_directory.collect::<io::Result<Vec<_>>>()?.contains(&true) {
        return Err(RestoreError::NoSnapshot(from.to_owned()));
    }
    if unfinished_restore(files, from)? {
        return Err(RestoreError::HalfRestored(from.to_owned()));
    }
    let is_new = !files.exists(to)?;
    files.create_dir(to)?;
    // A file system of its own has that at its root.
    if files.list(to)?.iter().any(|name| name != "lost+found") {
        return Err(RestoreError::NotEmpty(to.to_owned()));
    }
    if files.canonical(to)?.starts_with(files.canonical(from)?) {
        if is_new {
            files.remove_dir(to)?;
        }
        return Err(RestoreError::Inside { from: from.to_owned(), to: to.to_owned() });
    }
    env::replace(files, to, RESTORING, b"a snapshot is being restored into this directory\n")?;
    copy_tree(files, from, to, link, each)?;
    if let Some(parent) = to.parent() {
        // The directory itself may be new; a bare name lies in the working directory.
        files.sync_dir(if parent.as_os_str().is_empty() { Path::new(".") } else { parent })?;
    }
    files.remove(&to.join(RESTORING))?;
    Ok(files.sync_dir(to)?)
}

/// Whether a restore into this directory was begun and not finished.
pub fn unfinished_restore(files: &dyn Files, directory: &Path) -> io::Result<bool> {
    files.exists(&directory.join(RESTORING))
}

/// What belongs to the place and not to the data.
fn stays_behind(name: &str) -> bool {
    ["LOCK", FILE, DIRECTORY, RESTORING].contains(&name) || name.ends_with(".tmp")
}

fn copy_tree(
    files: &dyn Files,
    from: &Path,
    to: &Path,
    link: bool,
    each: &mut dyn FnMut(u64),
) -> io::Result<()> {
    for name in files.list(from)?.iter().filter(|name| !stays_behind(name)) {
        let (from, to) = (from.join(name), to.join(name));
        let is_directory = match files.list(&from) {
            Ok(_) => true,
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => false,
            Err(error) => return Err(error),
        };
        if is_directory {
            files.create_dir(&to)?;
            copy_tree(files, &from, &to, link, each)?;
            continue;
        }
        // Only blocks never change: a log segment or a small file must not be shared.
        let may_link = link && name.ends_with(".block");
        match may_link.then(|| files.link(&from, &to)) {
            Some(Err(error)) if !env::is_no_link(&error) => return Err(error),
            Some(Ok(())) => each(files.open(&to)?.length()?),
            Some(Err(_)) | None => copy_file(files, &*files.open(&from)?, &to, each)?,
        }
    }
    files.sync_dir(to)
}

/// Copies an open file to a new one and syncs that.
fn copy_file(files: &dyn Files, from: &dyn File, to: &Path, each: &mut dyn FnMut(u64)) -> io::Result<()> {
    let copy = files.create(to)?;
    let mut buffer = vec![0; COPY_BYTES];
    let mut at = 0;
    loop {
        let got = from.read_at(&mut buffer, at)?;
        if got == 0 {
            return copy.sync_data();
        }
        copy.write_at(&buffer[..got], at)?;
        at += got as u64;
        each(got as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_plain_segment_of_a_path() {
        for good in ["a", "2026-11-21T12-56-19Z", "before_upgrade.2", &"x".repeat(128)] {
            assert_eq!(SnapshotName::parse(good).as_ref().map(SnapshotName::as_str), Some(good));
        }
        for bad in ["", ".", "..", ".a", "-a", "a/b", "a b", "ä", "a.tmp", "a\0", &"x".repeat(129)] {
            assert_eq!(SnapshotName::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_description_comes_back() {
        let snapshot = Snapshot { created_ms: -5, sequence: 7, blocks: 2, bytes: 1 << 40, samples: 300 };
        let bytes = snapshot.encode();
        assert_eq!(Snapshot::decode(envelope::unwrap(MAGIC, VERSION, &bytes).unwrap()), Ok(snapshot));
    }
}
