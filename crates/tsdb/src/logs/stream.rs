//! The writing end of the stream, and how much is held.
//!
//! At a start only the last segment is read, to find the next sequence: of the others the lengths are enough. Damage in
//! those is found by whoever reads them.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use env::Env;
use wal::Position;

use super::Lines;
use crate::follow::LogEnds;
use crate::open::OpenError;

/// Bytes of a segment at most: a start reads one of them whole.
const SEGMENT_BYTES_MAX: u64 = 16 << 20;

/// Bytes of a frame's payload at which the next frame begins.
pub(super) const FRAME_BYTES: usize = 1 << 20;

const STREAM: wal::Stream = wal::Stream::Logs;

/// How much is held, for those who do not write.
#[derive(Debug, Default)]
pub(crate) struct Held {
    at_start_bytes: AtomicU64,
    written_bytes: AtomicU64,
    removed_bytes: AtomicU64,
    /// Lines since the start.
    pub(crate) lines: AtomicU64,
    /// Whether the last group could not be written.
    pub(crate) failing: AtomicBool,
}

impl Held {
    /// Bytes on the disk.
    pub(crate) fn bytes(&self) -> u64 {
        let came = self.at_start_bytes.load(Ordering::Relaxed) + self.written_bytes.load(Ordering::Relaxed);
        came.saturating_sub(self.removed_bytes.load(Ordering::Relaxed))
    }

    /// So many bytes of segments are not there any more.
    pub(crate) fn removed(&self, bytes: u64) {
        self.removed_bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// A writer for the stream; [`go_on`] tells it where.
pub(crate) fn writer(env: &Env, data: &Path, options: wal::Options) -> wal::Writer {
    let segment_bytes = options.segment_bytes.min(SEGMENT_BYTES_MAX);
    let options = wal::Options { segment_bytes, ..options };
    wal::Writer::new(env.clone(), &super::directory(data), STREAM, options, 0, 0)
}

/// What a start found.
pub(crate) struct Start {
    /// Segments of which nothing can be read.
    pub(crate) unreadable: Vec<u64>,
    /// What is damaged, a sentence each.
    pub(crate) damage: Vec<String>,
}

/// Tells the writer where to go on, and measures what is held.
pub(crate) fn go_on(
    env: &Env,
    data: &Path,
    writer: &mut wal::Writer,
    held: &Held,
    ends: &LogEnds,
) -> Result<Start, OpenError> {
    let (files, directory) = (&*env.files, super::directory(data));
    let numbers = wal::segments(files, &directory)?;
    let length = |number: &u64| files.open(&directory.join(wal::file_name(*number)))?.length();
    let lengths = numbers.iter().map(|number| length(number).or_else(unless_unreadable));
    held.at_start_bytes.store(lengths.sum::<io::Result<u64>>()?, Ordering::Relaxed);
    let mut start = Start { unreadable: Vec::new(), damage: Vec::new() };
    let mut last_sequence = 0;
    for number in numbers.iter().rev() {
        let mut each = |sequence: u64, _: &[u8]| {
            last_sequence = last_sequence.max(sequence);
            Ok(())
        };
        let damage = wal::read_segment(files, &directory, STREAM, *number, &mut each)?;
        let first = wal::first_sequence(files, &directory, STREAM, *number)?;
        last_sequence = last_sequence.max(first.unwrap_or(0).saturating_sub(1));
        if damage.is_loss() {
            start.damage.push(format!("log segment {number} is damaged: {damage}"));
        }
        if damage.header && damage.unreadable_bytes == 0 && length(number).is_ok() {
            start.unreadable.push(*number);
        }
        if first.is_some() {
            break;
        }
    }
    let next = numbers.last().map_or(1, |last| last + 1);
    writer.go_on(next, last_sequence + 1);
    ends.open(STREAM, Position { segment: next, sequence: last_sequence + 1 });
    Ok(start)
}

fn unless_unreadable(error: io::Error) -> io::Result<u64> {
    if env::is_unreadable(&error) { Ok(0) } else { Err(error) }
}

/// Writes lines as one group and makes them durable.
pub(crate) fn commit<'l>(
    writer: &mut wal::Writer,
    lines: impl Iterator<Item = &'l Lines>,
    payload: &mut Vec<u8>,
    held: &Held,
    ends: &LogEnds,
) -> io::Result<()> {
    let segment = writer.segment()?;
    payload.clear();
    let mut count = 0;
    for lines in lines {
        count += lines.count;
        for record in &lines.records {
            payload.extend_from_slice(record);
            if payload.len() >= FRAME_BYTES {
                writer.add(payload);
                payload.clear();
            }
        }
    }
    if !payload.is_empty() {
        writer.add(payload);
    }
    let result = writer.commit();
    held.written_bytes.store(writer.written_bytes(), Ordering::Relaxed);
    result?;
    ends.set(STREAM, Position { segment, sequence: writer.next_sequence() });
    held.lines.fetch_add(count, Ordering::Relaxed);
    Ok(())
}
