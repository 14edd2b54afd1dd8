//! The embedded metrics store: a write-ahead log, a head in memory, immutable blocks, one queryable view over both.
//!
//! The store is synchronous. [`Store::append`] resolves a batch and queues it; whoever drives the writer
//! ([`Store::commit`]) syncs queued batches to the log together, applies them to the head and completes their
//! tickets; whoever drives maintenance ([`Store::maintain`]) flushes the head to blocks and drops what retention
//! allows. In production two threads drive; under simulation the seed does.

pub mod block;
mod store;

pub use store::{
    AppendError, Appended, ExemplarSeries, Job, OpenError, Options, Progress, SelectError, Selection, Status, Store,
    TenantStatus, Ticket, WriteContext, WriteError,
};
