//! A segment's name and header.
//!
//! ```text
//! offset  bytes  field            (little-endian)
//!      0      8  magic "WEIRWAL1"
//!      8      2  format version
//!     10      2  lowest version of a reader
//!     12      4  stream (0 = metrics, 1 = logs)
//!     16      8  segment number, also in the file's name
//!     24      8  epoch, random
//!     32      8  sequence of the first frame
//!     40      8  sequence that ends the acknowledged frames of the segment before; 0 = not known
//!     48      4  CRC32C of bytes 0..48
//! ```

use codec::COUNTER_MAX;
use codec::hash::crc32c_parts;

/// Bytes of a segment's header; the first frame begins there.
pub(crate) const HEADER_BYTES: usize = 52;

/// The format version that this Weir writes.
pub(crate) const VERSION: u16 = 1;

const MAGIC: &[u8; 8] = b"WEIRWAL1";

/// Which log a segment belongs to. Both share the mechanism; each has its own segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Samples, histograms, exemplars, metadata.
    Metrics,
    /// Log lines.
    Logs,
}

impl Stream {
    fn number(self) -> u32 {
        match self {
            Self::Metrics => 0,
            Self::Logs => 1,
        }
    }
}

/// What a segment's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) number: u64,
    pub(crate) epoch: u64,
    pub(crate) first_sequence: u64,
    /// Where the acknowledged frames of the segment before end; 0 = not known.
    pub(crate) acknowledged_before: u64,
}

/// Why a segment's header cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BadHeader {
    /// Not written completely, or damaged.
    Damaged,
    /// Written by a newer Weir that says this one cannot read it.
    Newer(u16),
}

impl Header {
    pub(crate) fn encode(self, stream: Stream) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0..8].copy_from_slice(MAGIC);
        bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
        bytes[10..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&stream.number().to_le_bytes());
        bytes[16..24].copy_from_slice(&self.number.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.epoch.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.first_sequence.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.acknowledged_before.to_le_bytes());
        let crc = crc32c_parts(&[&bytes[..48]]);
        bytes[48..52].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8], stream: Stream, number: u64) -> Result<Header, BadHeader> {
        let bytes: &[u8; HEADER_BYTES] =
            bytes.get(..HEADER_BYTES).and_then(|b| b.try_into().ok()).ok_or(BadHeader::Damaged)?;
        let crc = u32::from_le_bytes(bytes[48..52].try_into().expect("four bytes"));
        if &bytes[0..8] != MAGIC || crc32c_parts(&[&bytes[..48]]) != crc {
            return Err(BadHeader::Damaged);
        }
        let lowest_reader = u16::from_le_bytes([bytes[10], bytes[11]]);
        if lowest_reader > VERSION {
            return Err(BadHeader::Newer(u16::from_le_bytes([bytes[8], bytes[9]])));
        }
        let header = Header {
            number: u64_at(bytes, 16),
            epoch: u64_at(bytes, 24),
            first_sequence: u64_at(bytes, 32),
            acknowledged_before: u64_at(bytes, 40),
        };
        let same_stream = bytes[12..16] == stream.number().to_le_bytes();
        let numbers = [header.number, header.first_sequence, header.acknowledged_before];
        // A file that was swapped with another one is as good as damaged.
        let is_ours = header.number == number && same_stream;
        if is_ours && numbers.iter().all(|n| *n < COUNTER_MAX) { Ok(header) } else { Err(BadHeader::Damaged) }
    }
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// The file name of a segment.
pub fn file_name(number: u64) -> String {
    format!("{number:012}.wal")
}

/// The segment number in a file name, if it is one.
pub fn parse_file_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".wal")?;
    let number = digits.parse().ok().filter(|number| *number < COUNTER_MAX)?;
    (file_name(number) == name).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As with frames: what comes after must have a number.
    #[test]
    fn numbers_have_one_after_them() {
        let header = Header { number: 7, epoch: 1, first_sequence: 8, acknowledged_before: 9 };
        let read = |header: Header| Header::decode(&header.encode(Stream::Logs), Stream::Logs, header.number);
        assert_eq!(read(header), Ok(header));
        for damaged in [
            Header { number: COUNTER_MAX, ..header },
            Header { first_sequence: u64::MAX, ..header },
            Header { acknowledged_before: COUNTER_MAX, ..header },
        ] {
            assert_eq!(read(damaged), Err(BadHeader::Damaged));
        }
        for number in [1, COUNTER_MAX - 1] {
            assert_eq!(parse_file_name(&file_name(number)), Some(number));
        }
        assert_eq!(parse_file_name(&file_name(u64::MAX)), None);
    }
}
