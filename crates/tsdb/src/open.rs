//! Opening a data directory: what is live, what is damaged, what the log still holds.
//!
//! Nothing that a crash can leave behind keeps a store from opening: a half-made file was never there, a damaged one
//! goes to quarantine and is reported, the rest is served. Only a newer format is refused, before a byte is written.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use codec::envelope;
use env::{Env, Files};

use crate::block::{Block, BlockError, Handles, PageCache};
use crate::commit::WriterState;
use crate::compact::sort_by_sequence;
use crate::follow::LogEnds;
use crate::head::log::SampleLog;
use crate::head::side::Sides;
use crate::head::table::Table;
use crate::logs::{self, Held};
use crate::manifest::{Loaded, Manifest};
use crate::metadata::MetadataStore;
use crate::named::Named;
use crate::options::Options;
use crate::queue::Queue;
use crate::replay::Replay;
use crate::retention::ClockWatch;
use crate::small_file::{self, SmallFile};
use crate::snapshot;
use crate::status::{Counters, HeadRange, Health};
use crate::store::{Inner, Live, Store, View, block_file_name, parse_block_file_name, wal_directory};

/// How far opening has come; shared with whoever shows it.
#[derive(Debug, Default)]
pub struct Progress {
    /// WAL segments to replay.
    pub segments: AtomicU64,
    /// WAL segments replayed.
    pub replayed: AtomicU64,
    /// Set when the store is open.
    pub done: AtomicBool,
}

/// Why a store does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Occurs when the data directory was written by a newer Weir.
    #[error("{what} has format version {found}, this Weir reads up to {known}; nothing was changed")]
    Newer {
        /// The file.
        what: String,
        /// Its version.
        found: u32,
        /// The newest known.
        known: u32,
    },
    /// Occurs when a snapshot was being restored into the directory and that was cut short.
    #[error("a restore into this directory was cut short: empty it and restore again")]
    HalfRestored,
    /// Occurs when the disk cannot be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The format version of the directory.
pub(crate) const VERSION: u16 = 1;
pub(crate) const MAGIC: &[u8; 8] = b"WEIRDIR1";

impl From<wal::ReadError> for OpenError {
    fn from(error: wal::ReadError) -> Self {
        match error {
            wal::ReadError::Newer { number, version, known } => Self::Newer {
                what: format!("WAL segment {number}"),
                found: version.into(),
                known: known.into(),
            },
            wal::ReadError::Io(error) => Self::Io(error),
        }
    }
}

impl Store {
    /// Opens the store in `directory` (created when missing), replaying what the log holds. The caller holds the
    /// directory's lock.
    pub fn open(
        env: Env,
        directory: &Path,
        options: Options,
        progress: &Progress,
    ) -> Result<Store, OpenError> {
        let start = env.clock.monotonic();
        if snapshot::unfinished_restore(&*env.files, directory)? {
            return Err(OpenError::HalfRestored);
        }
        let mut damage = Vec::new();
        let format_seed = read_format(&env, directory)?;
        let loaded = Manifest::load(&*env.files, directory, &mut damage)?;
        let metadata = MetadataStore::load(&*env.files, directory, &mut damage)?;
        let id_seed =
            loaded.as_ref().map(|l| l.manifest.id_seed).or(format_seed).unwrap_or_else(|| env.random_u64());
        let had_manifest = loaded.is_some();
        let none = Manifest { id_seed, next_file: 1, ..Manifest::default() };
        let loaded = loaded.unwrap_or(Loaded { manifest: none, is_in_both: false });
        let inner = Inner::new(env, directory, options, loaded, metadata);
        let blocks = inner.open_blocks(had_manifest)?;
        inner.refuse_newer_log()?;
        inner.prepare_directory(format_seed.is_none())?;
        inner.damage.lock().expect("lock").append(&mut damage);
        inner.adopt(blocks)?;
        let store = Store { inner: Arc::new(inner) };
        // Before replay, which gives their numbers again.
        if let Err(error) = store.inner.remove_unfinished() {
            tracing::warn!(%error, "unfinished blocks could not be removed");
        }
        Replay::new(&store.inner).run(progress)?;
        store.inner.open_lines()?;
        if let Err(error) = snapshot::remove_unfinished(&*store.inner.env.files, directory) {
            tracing::warn!(%error, "unfinished snapshots could not be removed");
        }
        if let Err(error) = store.inner.remove_leftovers() {
            tracing::warn!(%error, "files that no manifest names could not be removed");
        }
        let took = store.inner.env.clock.monotonic().saturating_sub(start);
        store.inner.counters.open_micros.store(took.as_micros() as u64, Ordering::Relaxed);
        progress.done.store(true, Ordering::Release);
        Ok(store)
    }
}

/// A block's file id and what came of opening it.
type Opened = (u64, Result<Block, BlockError>);

/// The id seed in the file `FORMAT`; `None` when the file is missing or damaged.
fn read_format(env: &Env, directory: &Path) -> Result<Option<u64>, OpenError> {
    Ok(match small_file::read(&*env.files, directory, "FORMAT", MAGIC, VERSION)? {
        SmallFile::Whole(body) => body.try_into().ok().map(u64::from_le_bytes),
        SmallFile::Missing | SmallFile::Damaged => None,
    })
}

/// What is wrong with the file `FORMAT`, if anything.
pub(crate) fn check_format(files: &dyn Files, directory: &Path) -> Result<Option<&'static str>, OpenError> {
    Ok(match small_file::read(files, directory, "FORMAT", MAGIC, VERSION)? {
        SmallFile::Whole(body) if body.len() == 8 => None,
        SmallFile::Whole(_) | SmallFile::Damaged => Some("is damaged"),
        SmallFile::Missing => Some("is missing"),
    })
}

/// Writes the file `FORMAT`.
pub(crate) fn store_format(files: &dyn Files, directory: &Path, id_seed: u64) -> io::Result<()> {
    env::replace(files, directory, "FORMAT", &envelope::wrap(MAGIC, VERSION, &id_seed.to_le_bytes()))
}

impl Inner {
    fn new(env: Env, directory: &Path, options: Options, loaded: Loaded, metadata: MetadataStore) -> Self {
        let wal_options =
            wal::Options { segment_bytes: options.segment_bytes, durability: options.durability };
        let wal_path = wal_directory(directory);
        // Replay tells the writer where to go on.
        let wal = wal::Writer::new(env.clone(), &wal_path, wal::Stream::Metrics, wal_options, 0, 0);
        let lines = logs::writer(&env, directory, wal_options);
        let Loaded { manifest, is_in_both } = loaded;
        let id_seed = manifest.id_seed;
        let live = Live {
            manifest,
            is_in_both,
            damaged_segments: Vec::new(),
            taken_back: Vec::new(),
            retry_at: Duration::ZERO,
        };
        let log_holds = Mutex::new(options.holds.clone());
        let passing = RwLock::new(options.passing.clone());
        let clock_watch = ClockWatch::new(env.clock.now_ms(), env.clock.monotonic());
        Self {
            batch_seed: env.random_u64(),
            cache: PageCache::new(options.cache_bytes),
            handles: Handles::new(env.files.clone(), options.open_blocks),
            env,
            directory: directory.to_owned(),
            options,
            id_seed,
            resolving: RwLock::default(),
            queue: Queue::default(),
            writer: Mutex::new(WriterState::new(wal, lines)),
            table_turn: Mutex::new(()),
            table: RwLock::new(Table::default()),
            log: SampleLog::new(),
            sides: RwLock::new(Sides::default()),
            head_range: HeadRange::empty(),
            oldest_unflushed: AtomicU64::new(u64::MAX),
            metadata: RwLock::new(metadata),
            metadata_waiting: AtomicU64::new(0),
            view: RwLock::new(View::default()),
            view_changes: AtomicU64::new(0),
            replay_segment: AtomicU64::new(live.manifest.replay_segment),
            manifest: Mutex::new(live),
            clock_watch: Mutex::new(clock_watch),
            retention_look: Mutex::new(Duration::ZERO),
            quiet: Mutex::default(),
            compactor: Mutex::default(),
            scrubber: Mutex::default(),
            health: Health::default(),
            held: Held::default(),
            passing,
            passed_bytes: AtomicU64::new(0),
            lines_stay: AtomicU64::new(0),
            log_ends: LogEnds::default(),
            log_holds,
            counters: Counters::default(),
            snapshotting: Mutex::new(()),
            flushing: Mutex::new(()),
            damage: Mutex::new(Vec::new()),
        }
    }

    /// Opens the live blocks. Without a manifest every block that can be read is live: both generations were lost, and
    /// what is in a block twice is the same twice.
    fn open_blocks(&self, had_manifest: bool) -> Result<Vec<Opened>, OpenError> {
        let directory = self.directory.join("blocks");
        let on_disk: Vec<u64> = if self.env.files.exists(&directory)? {
            self.env.files.list(&directory)?.iter().filter_map(|name| parse_block_file_name(name)).collect()
        } else {
            Vec::new()
        };
        let wanted: Vec<u64> = if had_manifest {
            self.manifest.lock().expect("lock").manifest.blocks.iter().map(|named| named.id).collect()
        } else {
            on_disk.clone()
        };
        let mut blocks = Vec::with_capacity(wanted.len());
        for id in wanted {
            if !on_disk.contains(&id) {
                self.damage.lock().expect("lock").push(format!("block {id} is missing"));
                self.counters.quarantined.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            let opened = Block::open_live(&self.handles, &self.block_path(id), id, self.cache.clone());
            if let Err(BlockError::Newer { found, known, .. }) = &opened {
                let (found, known) = (u32::from(*found), u32::from(*known));
                return Err(OpenError::Newer { what: format!("block {id}"), found, known });
            }
            blocks.push((id, opened));
        }
        Ok(blocks)
    }

    /// A segment of a newer Weir must be found before anything is written.
    fn refuse_newer_log(&self) -> Result<(), OpenError> {
        let files = &*self.env.files;
        let from = self.replay_segment.load(Ordering::Relaxed);
        let streams = [
            (self.wal_directory(), wal::Stream::Metrics, from),
            (logs::directory(&self.directory), wal::Stream::Logs, 0),
        ];
        for (directory, stream, from) in streams {
            if files.exists(&directory)? {
                wal::refuse_newer(files, &directory, stream, from)?;
            }
        }
        Ok(())
    }

    /// Finds where the stream of log lines goes on. What is there is not read: nobody asks for it yet.
    fn open_lines(&self) -> Result<(), OpenError> {
        let mut writer = self.writer.lock().expect("lock");
        let start = logs::go_on(&self.env, &self.directory, &mut writer.lines, &self.held, &self.log_ends)?;
        for what in start.damage {
            tracing::error!(what, "damaged log lines");
            self.counters.damaged_frames.fetch_add(1, Ordering::Relaxed);
            self.damage.lock().expect("lock").push(what);
        }
        for number in start.unreadable {
            let path = logs::directory(&self.directory).join(wal::file_name(number));
            let to = self.directory.join("quarantine").join(logs::quarantined_name(number));
            self.quarantine_as(&path, &to, "nothing of the segment of log lines can be read");
        }
        Ok(())
    }

    fn prepare_directory(&self, write_format: bool) -> io::Result<()> {
        let files = &*self.env.files;
        for part in ["wal/metrics", "wal/logs", "blocks", "quarantine"] {
            files.create_dir(&self.directory.join(part))?;
        }
        files.sync_dir(&self.directory.join("wal"))?;
        if write_format {
            store_format(files, &self.directory, self.id_seed)?;
        }
        files.sync_dir(&self.directory)
    }

    /// Makes the good blocks visible, sends the damaged ones to quarantine.
    fn adopt(&self, blocks: Vec<Opened>) -> io::Result<()> {
        let mut good = Vec::with_capacity(blocks.len());
        // Named by the manifest as long as they lie where they lay: the next start tries again.
        let mut left = Vec::new();
        for (id, block) in blocks {
            match block {
                Ok(block) => good.push(Arc::new(block)),
                Err(BlockError::Damaged(unit)) if unit.is_unreadable() => {
                    self.note_left(id, &unit.to_string());
                    left.push(id);
                }
                // Says nothing about the block: no descriptor, no memory, no permission.
                Err(BlockError::Io(error)) => {
                    self.note_left(id, &format!("block {}: {error}", block_file_name(id)));
                    left.push(id);
                }
                Err(error) => {
                    if !self.quarantine(&self.block_path(id), &error.to_string()) {
                        left.push(id);
                    }
                }
            }
        }
        sort_by_sequence(&mut good);
        let mut live = self.manifest.lock().expect("lock");
        let before = std::mem::take(&mut live.manifest.blocks);
        let known = |id: u64| before.iter().find(|named| named.id == id).cloned();
        let left = left.into_iter().map(|id| known(id).unwrap_or_else(|| Named::unknown(id)));
        live.manifest.blocks = good.iter().map(|block| Named::of(block.meta())).chain(left).collect();
        let highest = live.manifest.blocks.iter().map(|named| named.id).max().unwrap_or(0);
        live.manifest.next_file = live.manifest.next_file.max(highest + 1);
        // Known to the manifest, unless both copies were lost: what is written now must count as later.
        let last = good.iter().map(|block| *block.meta().sequences.end()).max().unwrap_or(0);
        live.manifest.flushed_sequence = live.manifest.flushed_sequence.max(last);
        *self.view.write().expect("lock") = View::new(good, &live.manifest);
        // The first generation, of a new directory or of one whose manifests were both lost: only a manifest that names
        // what is live may let a later start remove what it does not name.
        if live.manifest.generation == 0 {
            self.set_lost_manifests_aside()?;
            self.repeat_manifest(&mut live)?;
        }
        Ok(())
    }

    /// Tells of a block that cannot be read, and counts it.
    fn note_left(&self, id: u64, why: &str) {
        tracing::error!(block = id, error = why, "a block cannot be read and is left where it is");
        self.counters.quarantined.fetch_add(1, Ordering::Relaxed);
        self.damage.lock().expect("lock").push(why.to_owned());
    }

    /// A copy that the disk does not give today and gives tomorrow would be of a higher generation than the one that
    /// begins anew, and make a later start remove what that one does not name.
    fn set_lost_manifests_aside(&self) -> io::Result<()> {
        let files = &*self.env.files;
        for name in Manifest::FILES {
            let path = self.directory.join(name);
            if files.exists(&path)? {
                files.rename(&path, &self.directory.join("quarantine").join(name))?;
            }
        }
        files.sync_dir(&self.directory.join("quarantine"))?;
        files.sync_dir(&self.directory)
    }

    /// Removes blocks that were not finished.
    fn remove_unfinished(&self) -> io::Result<()> {
        let directory = self.directory.join("blocks");
        let names = self.env.files.list(&directory)?;
        let mut unfinished = names.iter().filter(|name| name.ends_with(".tmp"));
        unfinished.try_for_each(|name| self.env.files.remove(&directory.join(name)))
    }

    /// Removes what the manifest does not name, since its removal was cut short: blocks that were merged or have expired,
    /// log that is in blocks. A copy that was damaged or is of the generation before is made anew.
    fn remove_leftovers(&self) -> io::Result<()> {
        let directory = self.directory.join("blocks");
        let mut live = self.manifest.lock().expect("lock");
        if !live.is_in_both {
            self.repeat_manifest(&mut live)?;
        }
        self.trim(&mut live);
        let names = self.env.files.list(&directory)?;
        let remove = |name: &String| self.env.files.remove(&directory.join(name));
        let is_orphan =
            |name: &&String| parse_block_file_name(name).is_some_and(|id| !live.manifest.names(id));
        names.iter().filter(is_orphan).try_for_each(remove)?;
        self.env.files.sync_dir(&directory)
    }
}
