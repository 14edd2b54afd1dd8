//! What Weir's small files are wrapped in: magic, versions, length, checksum.
//!
//! ```text
//! magic (8) · format version (2) · lowest reader (2) · body length (4)
//! · CRC32C of the bytes before and the body (4) · body
//! ```
//! Numbers are little-endian. Layout and checksum hold for all versions to come, so that a file of a newer Weir is told
//! from a damaged one.

use crate::hash::crc32c_parts;

const HEADER_BYTES: usize = 20;

/// Why a small file cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// Not what was written.
    Damaged,
    /// Written by a newer Weir, in this version, that says this one cannot read it.
    Newer(u16),
}

/// Wraps a body.
///
/// # Panics
/// When the body has 4 GiB or more: what may grow has a bound of its own.
pub fn wrap(magic: &[u8; 8], version: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len());
    bytes.extend_from_slice(magic);
    bytes.extend_from_slice(&version.to_le_bytes());
    bytes.extend_from_slice(&version.to_le_bytes());
    bytes.extend_from_slice(&u32::try_from(body.len()).expect("small files").to_le_bytes());
    let crc = crc32c_parts(&[&bytes, body]);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// The body of [`wrap`], checked; `known` is the newest version that the caller reads.
pub fn unwrap<'a>(magic: &[u8; 8], known: u16, bytes: &'a [u8]) -> Result<&'a [u8], Unreadable> {
    let (header, body) = bytes.split_at_checked(HEADER_BYTES).ok_or(Unreadable::Damaged)?;
    let number = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("four bytes"));
    let length_fits = number(12) as usize == body.len();
    if &header[..8] != magic || !length_fits || crc32c_parts(&[&header[..16], body]) != number(16) {
        return Err(Unreadable::Damaged);
    }
    let lowest_reader = u16::from_le_bytes([header[10], header[11]]);
    if lowest_reader > known {
        return Err(Unreadable::Newer(u16::from_le_bytes([header[8], header[9]])));
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAGIC: &[u8; 8] = b"WEIRTEST";

    #[test]
    fn a_body_comes_back_and_every_flipped_bit_is_noticed() {
        let bytes = wrap(MAGIC, 3, b"body");
        assert_eq!(unwrap(MAGIC, 3, &bytes), Ok(&b"body"[..]));
        assert_eq!(unwrap(b"WEIROTHR", 3, &bytes), Err(Unreadable::Damaged));
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(unwrap(MAGIC, 3, &damaged), Err(Unreadable::Damaged), "bit {bit}");
        }
        for cut in 0..bytes.len() {
            assert_eq!(unwrap(MAGIC, 3, &bytes[..cut]), Err(Unreadable::Damaged), "cut at {cut}");
        }
    }

    #[test]
    fn only_a_reader_below_the_lowest_is_refused() {
        let mut bytes = wrap(MAGIC, 9, b"body");
        bytes[10] = 8;
        let crc = crc32c_parts(&[&bytes[..16], &bytes[20..]]);
        bytes[16..20].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(unwrap(MAGIC, 8, &bytes), Ok(&b"body"[..]));
        assert_eq!(unwrap(MAGIC, 7, &bytes), Err(Unreadable::Newer(9)));
    }
}
