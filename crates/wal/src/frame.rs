//! A frame: what one group commit writes, found again by its magic even where the bytes before it are damaged.
//!
//! ```text
//! offset  bytes  field            (little-endian)
//!      0      4  magic 0x314D5246 ("FRM1")
//!      4      4  stored length    bytes that follow the header
//!      8      4  raw length       bytes after lz4; equal to the stored length = not compressed
//!     12      8  sequence         grows by one from frame to frame over all segments
//!     20      4  place            number of frames of the same group before it
//!     24      4  CRC32C           of segment epoch (8 bytes), header bytes 0..24, stored bytes
//!     28      …  stored bytes
//! ```
//! The place tells a reader which frames were synced together: those missing before a frame of the same group were torn
//! with it, those of an earlier group had been durable.
//!
//! The segment's epoch is random and part of the checksum, so bytes of an older segment that come back on a recycled
//! disk block are never taken for a frame.

use codec::hash::crc32c_parts;
use codec::{COUNTER_MAX, lz4};

/// Bytes of a frame's header.
pub(crate) const HEADER_BYTES: usize = 28;

/// Longest payload; a longer one is split by the caller. Bounds what a reader allocates.
pub const PAYLOAD_BYTES_MAX: usize = 4 << 20;

const MAGIC: [u8; 4] = *b"FRM1";

/// Payloads under this are stored as they are: lz4 would not pay for its call.
const COMPRESS_BYTES_MIN: usize = 256;

/// Appends a frame that holds `payload`, the `place`-th of its group.
pub(crate) fn write(payload: &[u8], sequence: u64, place: u32, epoch: u64, out: &mut Vec<u8>) {
    assert!(payload.len() <= PAYLOAD_BYTES_MAX, "the caller splits payloads");
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES]);
    if payload.len() >= COMPRESS_BYTES_MIN {
        lz4::compress(payload, out);
    }
    let compressed = out.len() - start - HEADER_BYTES;
    if compressed == 0 || compressed >= payload.len() {
        out.truncate(start + HEADER_BYTES);
        out.extend_from_slice(payload);
    }
    fill_header(&mut out[start..], length_u32(payload.len()), sequence, place, epoch);
}

/// Appends a frame with these stored bytes, which are said to inflate to `raw` bytes, whatever they are.
pub(crate) fn seal(stored: &[u8], raw: u32, sequence: u64, place: u32, epoch: u64, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES]);
    out.extend_from_slice(stored);
    fill_header(&mut out[start..], raw, sequence, place, epoch);
}

/// Puts the header before the stored bytes of a frame.
fn fill_header(frame: &mut [u8], raw: u32, sequence: u64, place: u32, epoch: u64) {
    frame[0..4].copy_from_slice(&MAGIC);
    let stored = length_u32(frame.len() - HEADER_BYTES);
    frame[4..8].copy_from_slice(&stored.to_le_bytes());
    frame[8..12].copy_from_slice(&raw.to_le_bytes());
    frame[12..20].copy_from_slice(&sequence.to_le_bytes());
    frame[20..24].copy_from_slice(&place.to_le_bytes());
    let crc = crc32c_parts(&[&epoch.to_le_bytes(), &frame[..24], &frame[HEADER_BYTES..]]);
    frame[24..28].copy_from_slice(&crc.to_le_bytes());
}

fn length_u32(length: usize) -> u32 {
    u32::try_from(length).expect("payloads are bounded")
}

/// What lies at some place in a segment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// A good frame: its sequence, the sequence of its group's first frame, and how many bytes it takes; the payload is
    /// in the caller's buffer.
    Frame { sequence: u64, group: u64, bytes: usize },
    /// The frame may be good but goes beyond the bytes given: so many are needed.
    Short(usize),
    /// No frame begins here.
    Nothing,
}

/// Looks for a frame at the beginning of `bytes`, inflating its payload into `payload`.
pub(crate) fn read(bytes: &[u8], epoch: u64, payload: &mut Vec<u8>) -> Found {
    if bytes.len() < HEADER_BYTES {
        return if MAGIC.starts_with(&bytes[..bytes.len().min(4)]) {
            Found::Short(HEADER_BYTES)
        } else {
            Found::Nothing
        };
    }
    if bytes[0..4] != MAGIC {
        return Found::Nothing;
    }
    let stored = u32_at(bytes, 4) as usize;
    let raw = u32_at(bytes, 8) as usize;
    let sequence = u64::from_le_bytes(bytes[12..20].try_into().expect("eight bytes"));
    if stored > raw || raw > PAYLOAD_BYTES_MAX || sequence >= COUNTER_MAX {
        return Found::Nothing;
    }
    let end = HEADER_BYTES + stored;
    if bytes.len() < end {
        return Found::Short(end);
    }
    if crc32c_parts(&[&epoch.to_le_bytes(), &bytes[..24], &bytes[HEADER_BYTES..end]]) != u32_at(bytes, 24) {
        return Found::Nothing;
    }
    payload.clear();
    if stored == raw {
        payload.extend_from_slice(&bytes[HEADER_BYTES..end]);
    } else if lz4::decompress(&bytes[HEADER_BYTES..end], raw, payload).is_err() {
        return Found::Nothing;
    }
    Found::Frame { sequence, group: sequence.saturating_sub(u64::from(u32_at(bytes, 20))), bytes: end }
}

/// The next place after `from` at which a magic begins, for finding the way again after damage.
pub(crate) fn next_magic(bytes: &[u8], from: usize) -> Option<usize> {
    let tail = bytes.get(from..)?;
    tail.windows(4).position(|w| w == MAGIC).map(|at| from + at)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_and_every_flipped_bit_is_noticed() {
        for payload in [vec![], b"short".to_vec(), b"compress me ".repeat(40)] {
            let mut bytes = Vec::new();
            write(&payload, 7, 2, 99, &mut bytes);
            let mut found = Vec::new();
            assert_eq!(
                read(&bytes, 99, &mut found),
                Found::Frame { sequence: 7, group: 5, bytes: bytes.len() }
            );
            assert_eq!(found, payload);
            assert_eq!(read(&bytes, 98, &mut found), Found::Nothing, "another segment's epoch");
            for bit in 0..bytes.len() * 8 {
                let mut damaged = bytes.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                assert!(!matches!(read(&damaged, 99, &mut found), Found::Frame { .. }), "bit {bit}");
            }
        }
    }

    /// A frame that no other can follow: counting on from it was an overflow, at each start.
    #[test]
    fn a_sequence_has_one_after_it() {
        let found = |sequence| {
            let mut bytes = Vec::new();
            write(b"payload", sequence, 0, 2, &mut bytes);
            read(&bytes, 2, &mut Vec::new())
        };
        assert!(matches!(found(COUNTER_MAX - 1), Found::Frame { .. }));
        for sequence in [COUNTER_MAX, u64::MAX] {
            assert_eq!(found(sequence), Found::Nothing);
        }
    }

    #[test]
    fn a_cut_frame_asks_for_its_rest() {
        let mut bytes = Vec::new();
        write(b"payload", 1, 0, 2, &mut bytes);
        for cut in 0..bytes.len() {
            assert!(matches!(read(&bytes[..cut], 2, &mut Vec::new()), Found::Short(n) if n > cut), "{cut}");
        }
    }
}
