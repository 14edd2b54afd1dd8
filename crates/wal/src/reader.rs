//! Reads segments frame by frame, in bounded memory, finding the way again after damage.

use std::io;
use std::path::Path;

use env::{File, Files};

use crate::frame::{self, Found};
use crate::segment::{self, BadHeader, Header, Stream};

/// Bytes read at once; a frame of the greatest length fits in twice.
const WINDOW_BYTES: usize = 1 << 20;

/// What was found in a segment besides good frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Damage {
    /// Gaps with good frames behind them: something durable was lost.
    pub gaps: u64,
    /// Bytes in those gaps.
    pub gap_bytes: u64,
    /// Bytes behind the last good frame that are not zero: a torn group that was never acknowledged, or damage.
    pub tail_bytes: u64,
    /// Whether the header was unreadable, so that nothing of the segment could be read.
    pub header: bool,
}

impl Damage {
    /// Whether something that had been durable may be lost.
    pub fn is_loss(&self) -> bool {
        self.gaps > 0 || self.header
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

/// Calls `each(sequence, payload)` for every good frame of a segment, in order.
pub fn read_segment(
    files: &dyn Files,
    directory: &Path,
    stream: Stream,
    number: u64,
    each: &mut dyn FnMut(u64, &[u8]) -> io::Result<()>,
) -> Result<Damage, ReadError> {
    let file = files.open(&directory.join(segment::file_name(number)))?;
    let length = file.length()?;
    let mut header = [0; segment::HEADER_BYTES];
    let got = file.read_at(&mut header, 0)?;
    let header = match Header::decode(&header[..got], stream, number) {
        Ok(header) => header,
        Err(BadHeader::Newer(version)) => {
            return Err(ReadError::Newer { number, version, known: segment::VERSION });
        }
        Err(BadHeader::Damaged) => {
            // A crash while the segment was made leaves zeros or nothing: then nothing was ever in it.
            let made = !is_zero(&*file, length)?;
            return Ok(Damage { header: made, ..Damage::default() });
        }
    };
    let base = segment::HEADER_BYTES as u64;
    Scan { file: &*file, length, epoch: header.epoch, window: Vec::new(), at: 0, base }.run(each)
}

fn is_zero(file: &dyn File, length: u64) -> io::Result<bool> {
    let mut buffer = vec![0; WINDOW_BYTES.min(usize::try_from(length).unwrap_or(WINDOW_BYTES))];
    let mut at = 0;
    while at < length {
        let got = file.read_at(&mut buffer, at)?;
        if got == 0 {
            break;
        }
        if buffer[..got].iter().any(|&b| b != 0) {
            return Ok(false);
        }
        at += got as u64;
    }
    Ok(true)
}

struct Scan<'a> {
    file: &'a dyn File,
    length: u64,
    epoch: u64,
    /// Bytes of the file; those before `at` are done with.
    window: Vec<u8>,
    at: usize,
    /// Offset in the file of `window[at]`.
    base: u64,
}

impl Scan<'_> {
    fn run(mut self, each: &mut dyn FnMut(u64, &[u8]) -> io::Result<()>) -> Result<Damage, ReadError> {
        let mut damage = Damage::default();
        let mut payload = Vec::new();
        let mut last_sequence = 0;
        let mut good_end = self.base;
        self.fill(frame::HEADER_BYTES)?;
        while !self.rest().is_empty() {
            match frame::read(self.rest(), self.epoch, &mut payload) {
                Found::Frame { sequence, bytes } if sequence > last_sequence => {
                    if self.base > good_end {
                        damage.gaps += 1;
                        damage.gap_bytes += self.base - good_end;
                    }
                    last_sequence = sequence;
                    each(sequence, &payload)?;
                    self.advance(bytes)?;
                    good_end = self.base;
                }
                Found::Short(needed) if self.fill(needed)? => {}
                Found::Frame { .. } | Found::Short(_) | Found::Nothing => self.skip_to_magic()?,
            }
        }
        damage.tail_bytes = self.tail_bytes(good_end)?;
        Ok(damage)
    }

    fn rest(&self) -> &[u8] {
        &self.window[self.at..]
    }

    /// Makes at least `needed` bytes available; false when the file ends before.
    fn fill(&mut self, needed: usize) -> io::Result<bool> {
        let have = self.rest().len();
        if have < needed && self.base + (have as u64) < self.length {
            self.window.drain(..self.at);
            self.at = 0;
            self.window.resize(needed.max(WINDOW_BYTES), 0);
            let got = self.file.read_at(&mut self.window[have..], self.base + have as u64)?;
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

    /// Bytes from `from` to the last byte that is not zero.
    fn tail_bytes(&self, from: u64) -> io::Result<u64> {
        let mut buffer = vec![0; WINDOW_BYTES];
        let (mut at, mut last) = (from, from);
        loop {
            let got = self.file.read_at(&mut buffer, at)?;
            if got == 0 {
                return Ok(last - from);
            }
            if let Some(nonzero) = buffer[..got].iter().rposition(|&b| b != 0) {
                last = at + nonzero as u64 + 1;
            }
            at += got as u64;
        }
    }
}
