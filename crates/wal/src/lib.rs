//! The write-ahead log: framing, group commit, replay.
//!
//! A log is a directory of numbered segments. [`Writer`] builds a group of frames, writes it with one call, syncs it
//! with one fdatasync. [`read_segment`] gives the frames back and says what was damaged; it finds the next good frame
//! behind any damage, so damaged bytes cost the frames they lie in and no others. [`Tail`] reads behind the writer, from a
//! position on that its owner keeps.
//!
//! What is in a frame is the store's business. The one rule that the log imposes: **a segment is self-contained**,
//! whatever a frame refers to is defined earlier in the same segment. [`Writer::segment`] tells which one a group goes
//! into, so segments can be replayed, skipped, quarantined and removed one by one.

use std::time::Duration;

pub mod exercise;

mod follow;
mod frame;
mod reader;
mod segment;
mod writer;

pub use follow::{Next, Position, Tail};
pub use frame::PAYLOAD_BYTES_MAX;
pub use reader::{
    Damage, DamagedRange, RangeKind, ReadError, first_sequence, map_segment, read_segment, refuse_newer,
    segments,
};
pub use segment::{Stream, file_name, parse_file_name};
pub use writer::Writer;

/// When a write counts as durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// After fdatasync: survives a power cut. The default.
    Fsync,
    /// After write; synced at this interval: survives a crash of the process, loses up to an interval at a power cut.
    Interval(Duration),
    /// After write; synced when the kernel likes.
    Os,
}

/// Sizes of a log.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Bytes at which a segment is closed.
    pub segment_bytes: u64,
    /// When a group counts as durable.
    pub durability: Durability,
}
