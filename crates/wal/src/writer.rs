//! Writes frames in groups, each group synced together, into numbered segments.
//!
//! A writer never appends to a segment of an earlier run and never syncs a file again whose sync failed: it seals it
//! and goes on in a new one. The first failure therefore costs a new file and nothing else.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use env::{Env, File};

use crate::frame;
use crate::segment::{self, Header, Stream};
use crate::{Durability, Options};

/// How far a segment is preallocated ahead of what is written: at first so far, and further as it grows. Whole segments
/// would waste disk on small hosts, and a log that gets little should not look large.
const ALLOCATE_BYTES_MIN: u64 = 64 << 10;
const ALLOCATE_BYTES_MAX: u64 = 4 << 20;

/// The writing end of a log.
pub struct Writer {
    env: Env,
    directory: PathBuf,
    stream: Stream,
    options: Options,
    open: Option<Open>,
    next_segment: u64,
    next_sequence: u64,
    /// Frames of the group that is being built.
    group: Vec<u8>,
    group_frames: u32,
    /// The sequence that ends what was acknowledged of the last segment that was closed; 0 = there is none.
    sealed: u64,
    written_bytes: u64,
    last_sync: Duration,
    last_sync_took: Duration,
}

struct Open {
    file: Arc<dyn File>,
    header: Header,
    /// Where the next group goes.
    position: u64,
    allocated: u64,
    unsynced: bool,
}

impl Writer {
    /// A writer whose first segment is `next_segment` and whose first frame is `next_sequence`; both must be above
    /// everything in the directory. Nothing is created until the first group.
    pub fn new(
        env: Env,
        directory: &Path,
        stream: Stream,
        options: Options,
        next_segment: u64,
        next_sequence: u64,
    ) -> Self {
        Self {
            env,
            directory: directory.to_owned(),
            stream,
            options,
            open: None,
            next_segment,
            next_sequence,
            group: Vec::new(),
            group_frames: 0,
            sealed: 0,
            written_bytes: 0,
            last_sync: Duration::ZERO,
            last_sync_took: Duration::ZERO,
        }
    }

    /// Moves a writer that has written nothing to where replay ended.
    pub fn go_on(&mut self, next_segment: u64, next_sequence: u64) {
        assert!(self.open.is_none() && self.written_bytes == 0, "only a fresh writer is moved");
        self.next_segment = next_segment;
        self.next_sequence = next_sequence;
    }

    /// The number of the segment that takes the next group; a full segment is closed and a new one made first. What
    /// the group refers to must be defined in this segment.
    pub fn segment(&mut self) -> io::Result<u64> {
        let full = self.open.as_ref().is_some_and(|open| open.position >= self.options.segment_bytes);
        if full {
            self.roll()?;
        }
        if self.open.is_none() {
            self.create()?;
        }
        Ok(self.open.as_ref().expect("just created").header.number)
    }

    /// Adds a frame to the group; returns its sequence. Only between [`Writer::segment`] and [`Writer::commit`].
    pub fn add(&mut self, payload: &[u8]) -> u64 {
        let open = self.open.as_ref().expect("segment() was called");
        let sequence = self.next_sequence + u64::from(self.group_frames);
        frame::write(payload, sequence, self.group_frames, open.header.epoch, &mut self.group);
        self.group_frames += 1;
        sequence
    }

    /// Writes the group and makes it durable as configured. On an error nothing of the group counts as written, the
    /// segment is sealed, and the caller builds the group anew against the next [`Writer::segment`].
    pub fn commit(&mut self) -> io::Result<()> {
        let result = self.write_group();
        self.group.clear();
        if result.is_err() {
            self.seal();
        }
        // After an error too: frames that did reach the disk are there until the next segment says that they do not count.
        self.next_sequence += u64::from(self.group_frames);
        self.group_frames = 0;
        result
    }

    fn write_group(&mut self) -> io::Result<()> {
        let open = self.open.as_mut().expect("segment() was called");
        let end = open.position + self.group.len() as u64;
        if end > open.allocated {
            let allocated = allocation(end, self.options.segment_bytes);
            open.file.allocate(allocated)?;
            open.allocated = allocated;
        }
        open.file.write_at(&self.group, open.position)?;
        open.unsynced = true;
        self.written_bytes += self.group.len() as u64;
        if self.options.durability == Durability::Fsync {
            Self::sync(open, &self.env, &mut self.last_sync, &mut self.last_sync_took)?;
        }
        open.position = end;
        Ok(())
    }

    fn sync(open: &mut Open, env: &Env, last: &mut Duration, took: &mut Duration) -> io::Result<()> {
        let start = env.clock.monotonic();
        open.file.sync_data()?;
        *last = env.clock.monotonic();
        *took = last.saturating_sub(start);
        open.unsynced = false;
        Ok(())
    }

    /// Syncs what was written under [`Durability::Interval`] when the interval is over.
    pub fn sync_if_due(&mut self) -> io::Result<()> {
        let Durability::Interval(interval) = self.options.durability else { return Ok(()) };
        let due = self.env.clock.monotonic().saturating_sub(self.last_sync) >= interval;
        if due { self.sync_now() } else { Ok(()) }
    }

    fn sync_now(&mut self) -> io::Result<()> {
        let Some(open) = self.open.as_mut().filter(|open| open.unsynced) else { return Ok(()) };
        let result = Self::sync(open, &self.env, &mut self.last_sync, &mut self.last_sync_took);
        if result.is_err() {
            self.seal();
        }
        result
    }

    /// Nothing more goes into the segment. What was acknowledged of it is told by the next one.
    fn seal(&mut self) -> Option<Open> {
        let open = self.open.take()?;
        self.sealed = self.next_sequence;
        Some(open)
    }

    /// Closes the segment: the next group goes into a new one. Returns the new one's number.
    pub fn roll(&mut self) -> io::Result<u64> {
        self.sync_now()?;
        if let Some(open) = self.seal() {
            // Gives preallocated space back; readers stop at the last frame with or without it.
            let _ = open.file.truncate(open.position);
        }
        Ok(self.next_segment)
    }

    /// Makes and syncs an empty segment, to find out whether the disk takes writes again.
    pub fn probe(&mut self) -> io::Result<()> {
        self.segment()?;
        self.add(&[]);
        self.commit()
    }

    fn create(&mut self) -> io::Result<()> {
        let number = self.next_segment;
        // A number is used once, even when making the file failed half way.
        self.next_segment += 1;
        let header = Header {
            number,
            epoch: self.env.random_u64(),
            first_sequence: self.next_sequence,
            acknowledged_before: self.sealed,
        };
        let path = self.directory.join(segment::file_name(number));
        let file = self.env.files.create(&path)?;
        let result = Self::fill_new(&*file, header, self.stream, &self.options)
            .and_then(|()| self.env.files.sync_dir(&self.directory));
        if let Err(error) = result {
            let _ = self.env.files.remove(&path);
            return Err(error);
        }
        let allocated = file.length()?;
        let position = segment::HEADER_BYTES as u64;
        self.open = Some(Open { file, header, position, allocated, unsynced: false });
        Ok(())
    }

    fn fill_new(file: &dyn File, header: Header, stream: Stream, options: &Options) -> io::Result<()> {
        file.allocate(allocation(segment::HEADER_BYTES as u64, options.segment_bytes))?;
        file.write_at(&header.encode(stream), 0)?;
        file.sync_data()
    }

    /// Removes segments below `number`: everything in them is in blocks. One that a power cut brings back is removed by the
    /// next call, so that nothing is synced here.
    pub fn remove_before(&self, number: u64) -> io::Result<()> {
        for name in self.env.files.list(&self.directory)? {
            if segment::parse_file_name(&name).is_some_and(|n| n < number) {
                self.env.files.remove(&self.directory.join(name))?;
            }
        }
        Ok(())
    }

    /// The sequence that the next frame gets.
    pub fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// Bytes written since the start.
    pub fn written_bytes(&self) -> u64 {
        self.written_bytes
    }

    /// How long the last sync took.
    pub fn last_sync_took(&self) -> Duration {
        self.last_sync_took
    }
}

/// How long a segment is made when its data ends at `end`: twice as long each time, in the end a step more.
fn allocation(end: u64, segment_bytes: u64) -> u64 {
    let step = end.next_power_of_two().clamp(ALLOCATE_BYTES_MIN, ALLOCATE_BYTES_MAX);
    end.next_multiple_of(step.min(segment_bytes.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_preallocated_by_as_much_as_it_holds_and_no_more_than_4_mib() {
        const KIB: u64 = 1 << 10;
        let of = |end| allocation(end, 128 << 20);
        assert_eq!([52, 64 * KIB, 64 * KIB + 1].map(of), [64 * KIB, 64 * KIB, 128 * KIB]);
        assert_eq!([129 * KIB, 1000 * KIB, 1025 * KIB].map(of), [256 * KIB, 1024 * KIB, 2048 * KIB]);
        assert_eq!([4097 * KIB, 8192 * KIB, 8193 * KIB].map(of), [8192 * KIB, 8192 * KIB, 12_288 * KIB]);
        // Small segments, as tests have them: no further than their own length.
        assert_eq!([52, 3000, 3001].map(|end| allocation(end, 3000)), [3000, 3000, 6000]);
        assert_eq!(allocation(52, 0), 52);
    }
}
