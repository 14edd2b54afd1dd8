//! The state behind [`super::SimFiles`]: names, contents, and what is planned to go wrong.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use env::LockError;

use super::content::Content;
use super::faults::{Failure, Fault, Op, PowerIsOff};
use super::names::Names;
use crate::random::Rng;

/// Bytes of removed files that are kept to show up again as junk.
const JUNK_BYTES: usize = 64 << 10;

/// The disk's state.
#[derive(Clone, Debug)]
pub(super) struct Disk {
    rng: Rng,
    pub(super) names: Names,
    /// By file number; a removed file's content stays for its open handles.
    pub(super) contents: Vec<Content>,
    pub(super) faults: Vec<Fault>,
    pub(super) crash_after: Option<u64>,
    pub(super) down: bool,
    /// Which run of the process it is: handles of earlier ones are dead.
    pub(super) life: u64,
    pub(super) locks: BTreeSet<PathBuf>,
    pub(super) capacity: u64,
    pub(super) files_max: u64,
    /// Handles of this life.
    pub(super) open: u64,
    pub(super) open_max: u64,
    pub(super) counts: [u64; Op::ALL.len()],
    pub(super) failures: u64,
    pub(super) poisoned_syncs: u64,
    /// Whether the last of the operations that read failed.
    read_failed: bool,
    pub(super) refusals: u64,
    pub(super) junk_on: bool,
    junk: Vec<u8>,
}

/// How an operation that may change the disk goes.
enum Fate {
    Works,
    Fails(Failure),
    /// The power goes during it.
    Cut,
}

impl Disk {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            rng: Rng::new(seed),
            names: Names::new(),
            contents: Vec::new(),
            faults: Vec::new(),
            crash_after: None,
            down: false,
            life: 0,
            locks: BTreeSet::new(),
            capacity: 1 << 40,
            files_max: u64::MAX,
            open: 0,
            open_max: u64::MAX,
            counts: [0; Op::ALL.len()],
            failures: 0,
            poisoned_syncs: 0,
            read_failed: false,
            refusals: 0,
            junk_on: false,
            junk: Vec::new(),
        }
    }

    pub(super) fn reseed(&mut self, seed: u64) {
        self.rng = Rng::new(seed);
    }

    fn fate(&mut self, op: Op, path: &Path) -> io::Result<Fate> {
        if self.down {
            return Err(io::Error::other(PowerIsOff));
        }
        self.counts[op as usize] += 1;
        if op.changes() {
            match &mut self.crash_after {
                Some(0) => {
                    self.down = true;
                    return Ok(Fate::Cut);
                }
                Some(left) => *left -= 1,
                None => {}
            }
        }
        match self.faults.iter_mut().find_map(|fault| fault.strikes(op, path)) {
            Some(failure) => {
                self.failures += 1;
                Ok(Fate::Fails(failure))
            }
            None => Ok(Fate::Works),
        }
    }

    /// Counts an operation that works wholly or not at all.
    pub(super) fn begin(&mut self, op: Op, path: &Path) -> io::Result<()> {
        let fate = self.fate(op, path)?;
        if matches!(op, Op::Open | Op::Read | Op::Length) {
            let failed = matches!(fate, Fate::Fails(_));
            self.refusals += u64::from(failed && self.read_failed);
            self.read_failed = failed;
        }
        match fate {
            Fate::Works => Ok(()),
            Fate::Fails(failure) => Err(failure.error()),
            Fate::Cut => Err(io::Error::other(PowerIsOff)),
        }
    }

    /// An operation on names: when the power goes during it, it was done (and is not synced) or not.
    pub(super) fn change_names(
        &mut self,
        op: Op,
        path: &Path,
        change: impl FnOnce(&mut Names) -> io::Result<()>,
    ) -> io::Result<()> {
        match self.fate(op, path)? {
            Fate::Works => change(&mut self.names),
            Fate::Fails(failure) => Err(failure.error()),
            Fate::Cut => {
                if self.rng.chance(1, 2) {
                    let _ = change(&mut self.names);
                }
                Err(io::Error::other(PowerIsOff))
            }
        }
    }

    pub(super) fn create(&mut self, path: &Path) -> io::Result<usize> {
        let full = self.names.numbers().count() as u64 >= self.files_max;
        let file = self.contents.len();
        self.contents.push(Content::default());
        self.change_names(Op::Create, path, |names| {
            names.check_free(path)?;
            if full { Err(Failure::NoSpace.error()) } else { names.link(path, file) }
        })?;
        Ok(file)
    }

    pub(super) fn remove(&mut self, path: &Path) -> io::Result<()> {
        let mut removed = None;
        let result = self.change_names(Op::Remove, path, |names| {
            removed = Some(names.unlink(path)?);
            Ok(())
        });
        if let Some(file) = removed {
            let bytes = self.contents[file].current();
            self.junk = bytes[..bytes.len().min(JUNK_BYTES)].to_vec();
        }
        result
    }

    pub(super) fn write(&mut self, file: usize, path: &Path, bytes: &[u8], offset: u64) -> io::Result<()> {
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        let fate = self.fate(Op::Write, path)?;
        let length = self.contents[file].current().len();
        // Bytes inside the file have their space; only what makes it longer needs more.
        let room = (length as u64).saturating_add(self.free());
        let fits = usize::try_from(room).unwrap_or(usize::MAX).saturating_sub(offset).min(bytes.len());
        let (written, error) = match fate {
            Fate::Works if fits == bytes.len() => (fits, None),
            Fate::Works => (fits, Some(Failure::NoSpace.error())),
            Fate::Fails(failure) => (self.rng.index(fits + 1), Some(failure.error())),
            Fate::Cut => (self.rng.index(fits + 1), Some(io::Error::other(PowerIsOff))),
        };
        self.contents[file].write(offset, &bytes[..written]);
        error.map_or(Ok(()), Err)
    }

    pub(super) fn sync(&mut self, file: usize, path: &Path) -> io::Result<()> {
        let fate = self.fate(Op::Sync, path)?;
        self.poisoned_syncs += u64::from(self.contents[file].poisoned);
        match fate {
            Fate::Works => {
                self.contents[file].sync();
                Ok(())
            }
            Fate::Fails(failure) => {
                self.contents[file].poisoned = true;
                if failure == Failure::LostPages {
                    self.contents[file].lose_dirty_pages(&mut self.rng);
                }
                Err(failure.error())
            }
            Fate::Cut => {
                if self.rng.chance(1, 2) {
                    self.contents[file].sync();
                }
                Err(io::Error::other(PowerIsOff))
            }
        }
    }

    pub(super) fn set_length(&mut self, op: Op, file: usize, path: &Path, length: u64) -> io::Result<()> {
        let fate = self.fate(op, path)?;
        let new = usize::try_from(length).map_err(io::Error::other)?;
        let more = length.saturating_sub(self.contents[file].current().len() as u64);
        match fate {
            Fate::Works if more > self.free() => Err(Failure::NoSpace.error()),
            Fate::Works => {
                self.contents[file].set_length(new);
                Ok(())
            }
            Fate::Fails(failure) => Err(failure.error()),
            Fate::Cut => {
                if self.rng.chance(1, 2) {
                    self.contents[file].set_length(new);
                }
                Err(io::Error::other(PowerIsOff))
            }
        }
    }

    pub(super) fn lock(&mut self, path: &Path) -> Result<(), LockError> {
        self.begin(Op::Lock, path)?;
        if !self.locks.insert(path.to_owned()) {
            return Err(LockError::Held(1));
        }
        if self.names.find(path)?.is_none() {
            self.contents.push(Content::default());
            self.names.link(path, self.contents.len() - 1)?;
        }
        Ok(())
    }

    pub(super) fn crash(&mut self) {
        self.names.crash(&mut self.rng);
        for content in &mut self.contents {
            let junk = self.junk_on && self.rng.chance(1, 2);
            content.crash(&mut self.rng, junk.then_some(&self.junk[..]));
        }
        self.faults.clear();
        self.crash_after = None;
        self.kill();
    }

    pub(super) fn kill(&mut self) {
        self.locks.clear();
        self.down = false;
        self.life += 1;
        self.open = 0;
        self.begin_life();
    }

    /// A new life: failed syncs are history, and files that have neither a name nor a handle are gone.
    fn begin_life(&mut self) {
        let mut named = vec![false; self.contents.len()];
        for file in self.names.reachable() {
            named[file] = true;
        }
        for (content, named) in self.contents.iter_mut().zip(named) {
            content.poisoned = false;
            if !named {
                *content = Content::default();
            }
        }
    }

    pub(super) fn used(&self) -> u64 {
        let mut files: Vec<usize> = self.names.numbers().collect();
        files.sort_unstable();
        // A file with several names is there once.
        files.dedup();
        files.into_iter().map(|file| self.contents[file].current().len() as u64).sum()
    }

    pub(super) fn free(&self) -> u64 {
        self.capacity.saturating_sub(self.used())
    }
}
