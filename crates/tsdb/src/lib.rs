//! The embedded metrics store: a write-ahead log, a head in memory, immutable blocks, one queryable view over both.
//!
//! The store is synchronous. [`Store::append`] resolves a batch and queues it; whoever drives the writer
//! ([`Store::commit`]) syncs queued batches to the log together, applies them to the head and completes their
//! tickets; whoever drives maintenance ([`Store::next_job`], [`Store::run`]) flushes the head to blocks, merges them
//! and drops what retention allows. In production two threads drive; under simulation the seed does.
//!
//! The files are described byte by byte in `FORMAT.md` beside this crate's manifest.

pub mod block;
pub mod exercise;
pub mod logs;

mod append;
mod cardinality;
mod check;
mod commit;
mod compact;
mod delete;
mod deltas;
mod digests;
mod flush;
mod follow;
mod frames;
mod head;
mod lookup;
mod manifest;
mod merge;
mod metadata;
mod named;
mod open;
mod options;
mod passing;
mod pick;
mod pull;
mod quarantine;
mod queue;
mod quiet;
mod record;
mod refused;
mod replay;
mod retention;
mod room;
mod scrub;
mod select;
mod small_file;
mod snapshot;
mod status;
mod store;
mod ticket;
mod tombstone;
mod totals;

pub use append::{AppendError, Appended, WriteContext};
pub use cardinality::{BlockPart, Cardinality, Count};
pub use check::{CheckReport, Finding, check};
pub use delete::DeleteError;
pub use follow::{Entry, FollowError, Follower, Hold, Pairs, Series, Step};
pub use lookup::{ExemplarSeries, Found};
pub use open::{OpenError, Progress};
pub use options::{Keep, Options};
pub use passing::Passing;
pub use quarantine::Quarantined;
pub use select::{SelectError, Selection};
pub use snapshot::{
    RestoreError, Snapshot, SnapshotError, SnapshotName, delete_snapshot, restore, snapshots,
    unfinished_restore,
};
pub use status::{Status, TenantStatus};
pub use store::{Job, Store};
pub use ticket::{Committed, Ticket, WriteError};
