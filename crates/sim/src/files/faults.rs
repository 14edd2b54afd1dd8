//! What goes wrong on purpose: which operation fails, how, when, and for how long.

use std::io;
use std::path::Path;

/// The operations of [`env::Files`] and [`env::File`], as they are counted and made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Op {
    /// [`env::Files::create`]
    Create,
    /// [`env::Files::open`]
    Open,
    /// [`env::File::read_at`]
    Read,
    /// [`env::File::write_at`]
    Write,
    /// [`env::File::sync_data`]
    Sync,
    /// [`env::File::allocate`]
    Allocate,
    /// [`env::File::truncate`]
    Truncate,
    /// [`env::File::length`]
    Length,
    /// [`env::Files::rename`]
    Rename,
    /// [`env::Files::link`]
    Link,
    /// [`env::Files::remove`]
    Remove,
    /// [`env::Files::remove_dir`]
    RemoveDir,
    /// [`env::Files::list`]
    List,
    /// [`env::Files::create_dir`]
    CreateDir,
    /// [`env::Files::sync_dir`]
    SyncDir,
    /// [`env::Files::exists`]
    Exists,
    /// [`env::Files::space`]
    Space,
    /// [`env::Files::lock`]
    Lock,
}

impl Op {
    /// Every operation.
    pub const ALL: [Op; 18] = [
        Self::Create,
        Self::Open,
        Self::Read,
        Self::Write,
        Self::Sync,
        Self::Allocate,
        Self::Truncate,
        Self::Length,
        Self::Rename,
        Self::Link,
        Self::Remove,
        Self::RemoveDir,
        Self::List,
        Self::CreateDir,
        Self::SyncDir,
        Self::Exists,
        Self::Space,
        Self::Lock,
    ];

    /// Whether it changes what is on the disk: only these are worth a crash.
    pub fn changes(self) -> bool {
        matches!(
            self,
            Self::Create
                | Self::Write
                | Self::Sync
                | Self::Allocate
                | Self::Truncate
                | Self::Rename
                | Self::Link
                | Self::Remove
                | Self::RemoveDir
                | Self::CreateDir
                | Self::SyncDir
        )
    }
}

/// How an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// EIO. A write may have written a part; a sync leaves its pages dirty.
    Io,
    /// ENOSPC.
    NoSpace,
    /// EMFILE.
    TooManyFiles,
    /// EIO from a sync, after which the dirty pages are marked clean though some never reached the disk: what Linux
    /// file systems do ("Can Applications Recover from fsync Failures?", USENIX ATC 2020). For other operations as
    /// [`Failure::Io`].
    LostPages,
    /// EOPNOTSUPP, of a file system that does not have the operation.
    Unsupported,
}

impl Failure {
    /// The error that the caller sees.
    pub fn error(self) -> io::Error {
        io::Error::from_raw_os_error(match self {
            Self::Io | Self::LostPages => 5,
            Self::NoSpace => 28,
            Self::Unsupported => 95,
            Self::TooManyFiles => 24,
        })
    }
}

/// One planned failure.
#[derive(Clone, Debug)]
pub struct Fault {
    op: Op,
    failure: Failure,
    skip: u64,
    left: u64,
    path: String,
}

impl Fault {
    /// The next such operation fails, once.
    pub fn new(op: Op, failure: Failure) -> Self {
        Self { op, failure, skip: 0, left: 1, path: String::new() }
    }

    /// Lets `skip` such operations pass first.
    #[must_use]
    pub fn after(mut self, skip: u64) -> Self {
        self.skip = skip;
        self
    }

    /// From then on all fail.
    #[must_use]
    pub fn forever(mut self) -> Self {
        self.left = u64::MAX;
        self
    }

    /// Only operations on paths that contain `part`.
    #[must_use]
    pub fn on(mut self, part: &str) -> Self {
        part.clone_into(&mut self.path);
        self
    }

    /// Whether this operation fails; counts it.
    pub(super) fn strikes(&mut self, op: Op, path: &Path) -> Option<Failure> {
        if self.left == 0 || op != self.op || !path.to_string_lossy().contains(&self.path) {
            return None;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return None;
        }
        self.left = self.left.saturating_sub(if self.left == u64::MAX { 0 } else { 1 });
        Some(self.failure)
    }
}

/// What every operation answers between a crash and the restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PowerIsOff;

impl std::fmt::Display for PowerIsOff {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("simulated crash")
    }
}

impl std::error::Error for PowerIsOff {}

/// Whether an error came from the simulated crash rather than from a fault.
pub fn is_crash(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<PowerIsOff>())
}
