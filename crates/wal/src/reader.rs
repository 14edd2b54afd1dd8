//! Reads segments frame by frame, in bounded memory, finding the way again after damage.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use env::{File, Files};

use crate::frame::{self, Found};
use crate::segment::{self, BadHeader, Header, Stream};

/// Bytes read at once; a frame of the greatest length fits in twice.
const WINDOW_BYTES: usize = 1 << 20;

/// Bytes around an unreadable sector that are given up: what a file system reads at once.
const SECTOR_BYTES: u64 = 4096;

/// What was found in a segment besides good frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Damage {
    /// Gaps where frames are missing that had been acknowledged: a frame of a later group stands behind them, or the
    /// next segment says so.
    pub gaps: u64,
    /// Bytes in those gaps.
    pub gap_bytes: u64,
    /// Bytes of the last group that are no good frames and not zero: it was torn before it was acknowledged or, in the
    /// log's last segment, it may be damaged.
    pub torn_bytes: u64,
    /// Sequence from which on frames that were read belong to a torn group.
    pub torn_from: Option<u64>,
    /// Bytes that the disk refuses to read.
    pub unreadable_bytes: u64,
    /// Whether the header was unreadable, so that nothing of the segment could be read.
    pub header: bool,
}

impl Damage {
    /// Whether something that had been acknowledged may be lost.
    pub fn is_loss(&self) -> bool {
        self.gaps > 0 || self.unreadable_bytes > 0 || self.header
    }
}

/// A part of a segment that holds no good frame and is not empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedRange {
    /// Where it begins in the file.
    pub offset: u64,
    /// Its bytes.
    pub bytes: u64,
    /// Sequences of the frames that lay there, as far as what stands around them tells: from the first missing one up to
    /// the next that is there or was acknowledged.
    pub sequences: Range<u64>,
    /// What it is.
    pub kind: RangeKind,
}

/// What a damaged part of a segment means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeKind {
    /// Nothing of the segment can be read.
    Header,
    /// Frames that had been acknowledged.
    Lost,
    /// The log's last group, torn before it was acknowledged or damaged since: that cannot be told.
    Torn,
    /// Sectors that the disk refuses to read; parts of them may lie in other ranges.
    Unreadable,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} gaps of {} bytes", self.gaps, self.gap_bytes)?;
        if self.unreadable_bytes > 0 {
            write!(f, ", {} bytes that the disk does not read", self.unreadable_bytes)?;
        }
        if self.header { f.write_str(", header unreadable") } else { Ok(()) }
    }
}

/// Occurs when a segment cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Occurs when the segment was written by a newer Weir.
    #[error("WAL segment {number} has format version {version}, this Weir reads up to {known}")]
    Newer {
        /// The segment.
        number: u64,
        /// Its version.
        version: u16,
        /// The newest version that this Weir reads.
        known: u16,
    },
    /// Occurs when the disk cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Numbers of the segments in a directory, ascending.
pub fn segments(files: &dyn Files, directory: &Path) -> io::Result<Vec<u64>> {
    let mut numbers: Vec<u64> =
        files.list(directory)?.iter().filter_map(|n| segment::parse_file_name(n)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Refuses a log of which a segment at or above `from` was written by a newer Weir, by its header alone.
pub fn refuse_newer(files: &dyn Files, directory: &Path, stream: Stream, from: u64) -> Result<(), ReadError> {
    for number in segments(files, directory)?.into_iter().filter(|number| *number >= from) {
        let Some(segment) = Segment::open(files, directory, number)? else { continue };
        if let Err(error @ ReadError::Newer { .. }) = segment.header(stream, number) {
            return Err(error);
        }
    }
    Ok(())
}

/// The sequence of a segment's first frame, whether or not there is one yet; `None` when the header cannot be read.
pub fn first_sequence(
    files: &dyn Files,
    directory: &Path,
    stream: Stream,
    number: u64,
) -> Result<Option<u64>, ReadError> {
    let Some(segment) = Segment::open(files, directory, number)? else { return Ok(None) };
    Ok(segment.header(stream, number)?.map(|header| header.first_sequence))
}

/// Calls `each(sequence, payload)` for every good frame of a segment, in order, but for those of a group that failed and
/// after which the log went on in the next segment. Sectors that the disk refuses to read
/// are damage like any other.
pub fn read_segment(
    files: &dyn Files,
    directory: &Path,
    stream: Stream,
    number: u64,
    each: &mut dyn FnMut(u64, &[u8]) -> io::Result<()>,
) -> Result<Damage, ReadError> {
    map_segment(files, directory, stream, number, each).map(|(damage, _)| damage)
}

/// As [`read_segment`]; says too where the damage lies, in the order of the file.
pub fn map_segment(
    files: &dyn Files,
    directory: &Path,
    stream: Stream,
    number: u64,
    each: &mut dyn FnMut(u64, &[u8]) -> io::Result<()>,
) -> Result<(Damage, Vec<DamagedRange>), ReadError> {
    let whole = |bytes| DamagedRange { offset: 0, bytes, sequences: 0..0, kind: RangeKind::Header };
    let Some(segment) = Segment::open(files, directory, number)? else {
        return Ok((Damage { header: true, ..Damage::default() }, vec![whole(0)]));
    };
    let acknowledged = acknowledged_of(files, directory, stream, number)?;
    let Some(header) = segment.header(stream, number)? else {
        // A crash while the segment was made leaves zeros or nothing: then nothing was ever in it.
        let made = segment.end_of_data(0)? > 0;
        let unreadable_bytes = segment.unreadable_bytes();
        let header = made || unreadable_bytes > 0;
        let ranges = if header { vec![whole(segment.length)] } else { Vec::new() };
        return Ok((Damage { header, unreadable_bytes, ..Damage::default() }, ranges));
    };
    let base = segment::HEADER_BYTES as u64;
    let mut scan =
        Scan { segment: &segment, header, window: Vec::new(), at: 0, base, ranges: Vec::new(), unsure: 0 };
    let mut damage = scan.run(acknowledged, each)?;
    damage.unreadable_bytes = segment.unreadable_bytes();
    let mut ranges = scan.ranges;
    ranges.extend(segment.unreadable.borrow().iter().map(|at| DamagedRange {
        offset: *at,
        bytes: SECTOR_BYTES.min(segment.length - at),
        sequences: 0..0,
        kind: RangeKind::Unreadable,
    }));
    ranges.sort_by_key(|range| range.offset);
    Ok((damage, ranges))
}

/// Where the acknowledged frames of a segment end, as the next one says; 0 = nobody knows. One whose
/// making failed says nothing and is passed over.
pub(crate) fn acknowledged_of(
    files: &dyn Files,
    directory: &Path,
    stream: Stream,
    number: u64,
) -> Result<u64, ReadError> {
    for next in segments(files, directory)?.into_iter().filter(|next| *next > number) {
        let Some(segment) = Segment::open(files, directory, next)? else { return Ok(0) };
        match segment.header(stream, next)? {
            Some(header) => return Ok(header.acknowledged_before),
            None if segment.has_frames()? || segment.unreadable_bytes() > 0 => return Ok(0),
            None => {}
        }
    }
    Ok(0)
}

/// A segment's file, read around the sectors that the disk refuses.
struct Segment {
    file: Arc<dyn File>,
    length: u64,
    /// Offsets of sectors that cannot be read.
    unreadable: RefCell<BTreeSet<u64>>,
}

impl Segment {
    /// `None` when the disk does not even give the file.
    fn open(files: &dyn Files, directory: &Path, number: u64) -> io::Result<Option<Segment>> {
        match env::open_with_length(files, &directory.join(segment::file_name(number))) {
            Ok((file, length)) => Ok(Some(Segment { file, length, unreadable: RefCell::default() })),
            Err(error) if env::is_unreadable(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// `None` when it is damaged.
    fn header(&self, stream: Stream, number: u64) -> Result<Option<Header>, ReadError> {
        let mut header = [0; segment::HEADER_BYTES];
        let got = self.read_at(&mut header, 0)?;
        match Header::decode(&header[..got], stream, number) {
            Ok(header) => Ok(Some(header)),
            Err(BadHeader::Newer(version)) => {
                Err(ReadError::Newer { number, version, known: segment::VERSION })
            }
            Err(BadHeader::Damaged) => Ok(None),
        }
    }

    /// As [`File::read_at`]; what cannot be read is zero and noted.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let wanted = self.window(buffer.len(), offset);
        let buffer = &mut buffer[..wanted];
        match self.file.read_at(buffer, offset) {
            Err(error) if env::is_unreadable(&error) => self.read_around(buffer, offset),
            result => result,
        }
    }

    /// Sector by sector; those that are still refused are given up.
    fn read_around(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            let at = offset + done as u64;
            let in_sector = (SECTOR_BYTES - at % SECTOR_BYTES) as usize;
            let end = (done + in_sector).min(buffer.len());
            match self.file.read_at(&mut buffer[done..end], at) {
                Ok(0) => break,
                Ok(got) => done += got,
                Err(error) if env::is_unreadable(&error) => {
                    buffer[done..end].fill(0);
                    self.unreadable.borrow_mut().insert(at - at % SECTOR_BYTES);
                    done = end;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    /// What of so many bytes there is from an offset on: what is not there needs no memory.
    fn window(&self, bytes: usize, offset: u64) -> usize {
        let left = usize::try_from(self.length.saturating_sub(offset)).unwrap_or(usize::MAX);
        bytes.min(left)
    }

    fn unreadable_bytes(&self) -> u64 {
        self.unreadable.borrow().iter().map(|at| SECTOR_BYTES.min(self.length - at)).sum()
    }

    /// Whether anything in it looks like a frame.
    fn has_frames(&self) -> io::Result<bool> {
        let mut buffer = vec![0; self.window(WINDOW_BYTES, 0)];
        let mut at = 0;
        loop {
            let got = self.read_at(&mut buffer, at)?;
            if frame::next_magic(&buffer[..got], 0).is_some() {
                return Ok(true);
            }
            // Three bytes of a magic may stand at the window's end.
            match got.saturating_sub(3) {
                0 => return Ok(false),
                done => at += done as u64,
            }
        }
    }

    /// Where the last byte behind `from` that is not zero ends; `from` when there is none.
    fn end_of_data(&self, from: u64) -> io::Result<u64> {
        let mut buffer = vec![0; self.window(WINDOW_BYTES, from)];
        let (mut at, mut end) = (from, from);
        loop {
            let got = self.read_at(&mut buffer, at)?;
            if got == 0 {
                return Ok(end);
            }
            if let Some(nonzero) = buffer[..got].iter().rposition(|&b| b != 0) {
                end = at + nonzero as u64 + 1;
            }
            at += got as u64;
        }
    }
}

struct Scan<'a> {
    segment: &'a Segment,
    header: Header,
    /// Bytes of the file; those before `at` are done with.
    window: Vec<u8>,
    at: usize,
    /// Offset in the file of `window[at]`.
    base: u64,
    /// Gaps so far; those from `unsure` on lie in the present group and are torn with it if it is the last one.
    ranges: Vec<DamagedRange>,
    unsure: usize,
}

/// Gaps inside of one group: torn with it when it is the segment's last one, damage when another follows.
#[derive(Clone, Copy, Default)]
struct Torn {
    group: u64,
    gaps: u64,
    bytes: u64,
}

impl Damage {
    fn add(&mut self, torn: Torn) {
        self.gaps += torn.gaps;
        self.gap_bytes += torn.bytes;
    }
}

impl Scan<'_> {
    /// Frames before the sequence `acknowledged` were, when it is known. Those from there on are of a group that failed,
    /// and after which the log went on: they are passed over, whether they reached the disk or not.
    fn run(
        &mut self,
        acknowledged: u64,
        each: &mut dyn FnMut(u64, &[u8]) -> io::Result<()>,
    ) -> Result<Damage, ReadError> {
        let mut damage = Damage::default();
        let mut torn = Torn::default();
        let mut payload = Vec::new();
        let epoch = self.header.epoch;
        let mut next_sequence = self.header.first_sequence;
        let mut good_end = self.base;
        self.fill(frame::HEADER_BYTES)?;
        while !self.rest().is_empty() {
            match frame::read(self.rest(), epoch, &mut payload) {
                Found::Frame { sequence, group, bytes } if sequence >= next_sequence => {
                    if group != torn.group {
                        damage.add(std::mem::replace(&mut torn, Torn { group, ..Torn::default() }));
                        self.unsure = self.ranges.len();
                    }
                    if self.base > good_end {
                        let gap = Torn { group, gaps: 1, bytes: self.base - good_end };
                        self.note(good_end, gap.bytes, next_sequence..sequence);
                        if group <= next_sequence {
                            torn.gaps += gap.gaps;
                            torn.bytes += gap.bytes;
                        } else {
                            // Frames of an earlier group are missing.
                            damage.add(gap);
                            self.unsure = self.ranges.len();
                        }
                    }
                    next_sequence = sequence + 1;
                    if acknowledged == 0 || sequence < acknowledged {
                        each(sequence, &payload)?;
                    }
                    self.advance(bytes)?;
                    good_end = self.base;
                }
                Found::Short(needed) if self.fill(needed)? => {}
                Found::Frame { .. } | Found::Short(_) | Found::Nothing => self.skip_to_magic()?,
            }
        }
        let tail_bytes = self.segment.end_of_data(good_end)? - good_end;
        let group_is_torn = torn.gaps > 0 && torn.group >= acknowledged;
        if group_is_torn {
            self.ranges[self.unsure..].iter_mut().for_each(|range| range.kind = RangeKind::Torn);
        }
        if next_sequence < acknowledged {
            damage.add(Torn { gaps: 1, bytes: tail_bytes, ..torn });
            self.note(good_end, tail_bytes, next_sequence..acknowledged);
        } else {
            damage.torn_bytes = tail_bytes;
            if tail_bytes > 0 {
                self.note(good_end, tail_bytes, next_sequence..next_sequence);
                self.ranges.last_mut().expect("just noted").kind = RangeKind::Torn;
            }
        }
        if group_is_torn {
            damage.torn_bytes += torn.bytes;
            damage.torn_from = Some(torn.group);
        } else if torn.gaps > 0 {
            damage.add(torn);
        }
        Ok(damage)
    }

    fn note(&mut self, offset: u64, bytes: u64, sequences: Range<u64>) {
        self.ranges.push(DamagedRange { offset, bytes, sequences, kind: RangeKind::Lost });
    }

    fn rest(&self) -> &[u8] {
        &self.window[self.at..]
    }

    /// Makes at least `needed` bytes available; false when the file ends before.
    fn fill(&mut self, needed: usize) -> io::Result<bool> {
        let have = self.rest().len();
        if have < needed && self.base + (have as u64) < self.segment.length {
            self.window.drain(..self.at);
            self.at = 0;
            self.window.resize(self.segment.window(needed.max(WINDOW_BYTES), self.base), 0);
            let got = self.segment.read_at(&mut self.window[have..], self.base + have as u64)?;
            self.window.truncate(have + got);
        }
        Ok(self.rest().len() >= needed)
    }

    fn advance(&mut self, bytes: usize) -> io::Result<()> {
        self.at += bytes;
        self.base += bytes as u64;
        self.fill(frame::HEADER_BYTES)?;
        Ok(())
    }

    fn skip_to_magic(&mut self) -> io::Result<()> {
        let mut from = 1;
        loop {
            if let Some(at) = frame::next_magic(self.rest(), from) {
                return self.advance(at);
            }
            // Three bytes of a magic may stand at the window's end.
            let skip = self.rest().len().saturating_sub(3);
            self.advance(skip)?;
            from = 0;
            if !self.fill(4)? {
                let left = self.rest().len();
                self.at += left;
                self.base += left as u64;
                return Ok(());
            }
        }
    }
}
