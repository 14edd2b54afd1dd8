//! Reads a log behind its writer, from a position on, frame by frame.
//!
//! A [`Tail`] may begin anywhere, also long before what a restart would replay; it begins at the head of the position's
//! segment, because what frames refer to is defined there. It reads no further than what is acknowledged, which its
//! caller knows ([`Position`] of the end), and passes over frames of groups that failed: the next segment says which.
//! Damage costs the frames in it, and segments that are no longer there cost theirs; both are told.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use env::{File, Files};

use crate::frame::{self, Found};
use crate::reader::{ReadError, acknowledged_of, segments};
use crate::segment::{self, BadHeader, Header, Stream};

/// A place in a log: the next frame that is to be read, and the segment in which it is, or before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Number of the segment.
    pub segment: u64,
    /// Sequence of the frame.
    pub sequence: u64,
}

/// What [`Tail::next`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<'t> {
    /// A segment begins: what was defined in the one before is not in this one.
    Segment(u64),
    /// A frame.
    Frame {
        /// Its sequence. Those before the position that the tail began at come too, for what they define.
        sequence: u64,
        /// Its bytes.
        payload: &'t [u8],
    },
    /// So many frames were acknowledged and are damaged, or their segment is not there any more.
    Lost(u64),
    /// Everything that is acknowledged was read.
    End,
}

/// Bytes read at once at least; as much more as a frame needs.
const READ_BYTES: usize = 128 << 10;

/// A reader behind the writer.
pub struct Tail {
    files: Arc<dyn Files>,
    directory: PathBuf,
    stream: Stream,
    /// What is read next. While `open` is none, the segment to look for.
    next: Position,
    /// Frames before this one were read by somebody before.
    from: u64,
    open: Option<Open>,
    /// Bytes of the open segment, from `at` in it on.
    window: Vec<u8>,
    payload: Vec<u8>,
}

struct Open {
    file: Arc<dyn File>,
    header: Header,
    /// Offset of the first byte that is not read.
    at: u64,
    /// What [`Tail::window`] begins with.
    window_at: u64,
    /// Where its acknowledged frames end, once that is known.
    acknowledged: Option<u64>,
}

/// What lies at the reader's place.
enum Place {
    Frame {
        sequence: u64,
        group: u64,
        bytes: u64,
    },
    /// No further frame in the segment.
    Nothing,
}

impl Tail {
    /// A reader that gives the frames from `from` on.
    pub fn new(files: Arc<dyn Files>, directory: &Path, stream: Stream, from: Position) -> Self {
        Self {
            files,
            directory: directory.to_owned(),
            stream,
            next: from,
            from: from.sequence,
            open: None,
            window: Vec::new(),
            payload: Vec::new(),
        }
    }

    /// Where it is.
    pub fn position(&self) -> Position {
        Position { sequence: self.next.sequence.max(self.from), ..self.next }
    }

    /// The next thing. `end` is where what is acknowledged ends: the segment that was written last, and the sequence that
    /// the next frame will get.
    ///
    /// # Errors
    /// When a segment was written by a newer Weir, or the disk fails.
    pub fn next(&mut self, end: Position) -> Result<Next<'_>, ReadError> {
        let sequence = loop {
            let Some(open) = &self.open else {
                match self.enter(end)? {
                    Some(next) => return Ok(next),
                    None => continue,
                }
            };
            let number = open.header.number;
            if number > end.segment {
                return Ok(Next::End);
            }
            let is_last = number == end.segment;
            let acknowledged = if is_last { end.sequence } else { self.acknowledged(number)? };
            if self.next.sequence >= acknowledged {
                if is_last || !self.leave()? {
                    return Ok(Next::End);
                }
                continue;
            }
            match self.look(acknowledged)? {
                Place::Frame { sequence, group, .. } if sequence > self.next.sequence => {
                    // Where nobody says what was acknowledged, a part of a group may have been torn before it was.
                    let torn = acknowledged == u64::MAX && group <= self.next.sequence;
                    let lost = self.pass(sequence - self.next.sequence);
                    let lost = if torn { 0 } else { lost };
                    if lost > 0 {
                        return Ok(Next::Lost(lost));
                    }
                }
                Place::Frame { sequence, bytes, .. } => {
                    self.next.sequence = sequence + 1;
                    self.open.as_mut().expect("looked into").at += bytes;
                    break sequence;
                }
                Place::Nothing if acknowledged == u64::MAX => {
                    if !self.leave()? {
                        return Ok(Next::End);
                    }
                }
                Place::Nothing => {
                    let lost = self.pass(acknowledged - self.next.sequence);
                    if lost > 0 {
                        return Ok(Next::Lost(lost));
                    }
                }
            }
        };
        Ok(Next::Frame { sequence, payload: &self.payload })
    }

    /// Gives up so many frames; how many of them nobody had read before.
    fn pass(&mut self, frames: u64) -> u64 {
        let before = self.next.sequence;
        self.next.sequence += frames;
        self.next.sequence.saturating_sub(before.max(self.from))
    }

    /// Leaves the open segment when there is a later one.
    fn leave(&mut self) -> Result<bool, ReadError> {
        let number = self.next.segment;
        let is_another = segments(&*self.files, &self.directory)?.into_iter().any(|other| other > number);
        if is_another {
            self.open = None;
            self.window.clear();
            self.next.segment = number + 1;
        }
        Ok(is_another)
    }

    /// Opens the segment that is to be read, or the next that is there. None = look again.
    fn enter(&mut self, end: Position) -> Result<Option<Next<'static>>, ReadError> {
        let numbers = segments(&*self.files, &self.directory)?;
        let Some(number) = numbers.into_iter().find(|number| *number >= self.next.segment) else {
            return Ok(Some(Next::End));
        };
        if number > end.segment {
            return Ok(Some(Next::End));
        }
        self.next.segment = number;
        let Some(open) = self.open(number)? else {
            // Made and not finished, or damaged: what was in it shows as a gap before the next one's first frame.
            if number == end.segment {
                let lost = self.pass(end.sequence.saturating_sub(self.next.sequence));
                return Ok(Some(if lost > 0 { Next::Lost(lost) } else { Next::End }));
            }
            self.next.segment += 1;
            return Ok(None);
        };
        let header = open.header;
        self.window.clear();
        self.open = Some(open);
        let begins = header.first_sequence;
        if begins <= self.next.sequence {
            self.next.sequence = begins;
            return Ok(Some(Next::Segment(number)));
        }
        // What was acknowledged before and is not there is lost, but for what somebody had read already. Whoever begins at
        // the beginning misses nothing.
        let acknowledged = if header.acknowledged_before > 0 { header.acknowledged_before } else { begins };
        let read = if self.next == (Position { segment: number, sequence: 0 }) {
            begins
        } else {
            self.next.sequence
        };
        let lost = acknowledged.saturating_sub(read.max(self.from));
        self.next.sequence = begins;
        if lost == 0 {
            return Ok(Some(Next::Segment(number)));
        }
        // That the segment begins is told next.
        self.open = None;
        Ok(Some(Next::Lost(lost)))
    }

    /// Where the acknowledged frames of a segment end that is not the last one. Where nobody says, everything that is whole
    /// counts, as it does for a replay.
    fn acknowledged(&mut self, number: u64) -> Result<u64, ReadError> {
        let open = self.open.as_mut().expect("the caller has looked");
        if let Some(known) = open.acknowledged {
            return Ok(known);
        }
        match acknowledged_of(&*self.files, &self.directory, self.stream, number)? {
            // Whatever stands behind it does not change any more.
            0 if segments(&*self.files, &self.directory)?.into_iter().any(|other| other > number) => {
                Ok(*open.acknowledged.insert(u64::MAX))
            }
            0 => Ok(u64::MAX),
            sequence => Ok(*open.acknowledged.insert(sequence)),
        }
    }

    fn open(&self, number: u64) -> Result<Option<Open>, ReadError> {
        let path = self.directory.join(segment::file_name(number));
        let file = match self.files.open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound || env::is_unreadable(&error) => {
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        let at = segment::HEADER_BYTES as u64;
        let mut bytes = [0; segment::HEADER_BYTES];
        let got = match file.read_at(&mut bytes, 0) {
            Err(error) if env::is_unreadable(&error) => 0,
            result => result?,
        };
        match Header::decode(&bytes[..got], self.stream, number) {
            Ok(header) => Ok(Some(Open { file, header, at, window_at: at, acknowledged: None })),
            Err(BadHeader::Damaged) => Ok(None),
            Err(BadHeader::Newer(version)) => {
                Err(ReadError::Newer { number, version, known: segment::VERSION })
            }
        }
    }

    /// Finds the frame at the reader's place, or the next one behind damage. Of acknowledged frames all bytes are there.
    fn look(&mut self, acknowledged: u64) -> io::Result<Place> {
        let open = self.open.as_mut().expect("the caller has looked");
        // What was read before these frames were acknowledged may have been read while they were written.
        let mut is_fresh = false;
        loop {
            let rest = &self.window[open.consumed(&self.window)..];
            let found = frame::read(rest, open.header.epoch, &mut self.payload);
            let wanted = match found {
                Found::Frame { sequence, .. } if sequence >= acknowledged => return Ok(Place::Nothing),
                Found::Frame { sequence, group, bytes } if sequence >= self.next.sequence => {
                    return Ok(Place::Frame { sequence, group, bytes: bytes as u64 });
                }
                Found::Short(wanted) => wanted,
                Found::Frame { .. } | Found::Nothing => frame::HEADER_BYTES,
            };
            if !is_fresh {
                self.window.clear();
                open.window_at = open.at;
                open.fill(&mut self.window, wanted)?;
                is_fresh = true;
                continue;
            }
            if wanted > rest.len() && open.fill(&mut self.window, wanted)? {
                continue;
            }
            // Damage, or the end of what is there. Three bytes of a magic may stand at the window's end.
            let rest = &self.window[open.consumed(&self.window)..];
            match frame::next_magic(rest, 1) {
                Some(skip) => open.at += skip as u64,
                None => {
                    open.at += rest.len().saturating_sub(3).max(1) as u64;
                    if !open.fill(&mut self.window, frame::HEADER_BYTES)? {
                        return Ok(Place::Nothing);
                    }
                }
            }
        }
    }
}

impl Open {
    /// Bytes of the window that lie before the reader's place.
    fn consumed(&self, window: &[u8]) -> usize {
        usize::try_from(self.at - self.window_at).unwrap_or(usize::MAX).min(window.len())
    }

    /// Has at least `wanted` bytes from `at` on in the window; false when the file ends before. Sectors that the disk refuses
    /// are zeros.
    fn fill(&mut self, window: &mut Vec<u8>, wanted: usize) -> io::Result<bool> {
        window.drain(..self.consumed(window));
        self.window_at = self.at;
        let have = window.len();
        if have >= wanted {
            return Ok(true);
        }
        window.resize(wanted.max(READ_BYTES), 0);
        let mut filled = have;
        while filled < window.len() {
            match self.file.read_at(&mut window[filled..], self.at + filled as u64) {
                Ok(0) => break,
                Ok(got) => filled += got,
                Err(error) if env::is_unreadable(&error) => {
                    let length = self.file.length()?;
                    let left = usize::try_from(length.saturating_sub(self.at + filled as u64));
                    let zeros = left.unwrap_or(usize::MAX).min(window.len() - filled).min(SECTOR_BYTES);
                    if zeros == 0 {
                        break;
                    }
                    window[filled..filled + zeros].fill(0);
                    filled += zeros;
                }
                Err(error) => return Err(error),
            }
        }
        window.truncate(filled);
        Ok(filled >= wanted)
    }
}

/// Bytes that are given up where the disk refuses to read.
const SECTOR_BYTES: usize = 4096;
