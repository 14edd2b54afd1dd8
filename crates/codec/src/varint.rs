//! LEB128 varints and zigzag, as protobuf and Weir's own files write them.
//!
//! The reader takes what is in front of it and says how long it was; ten bytes at most, and a tenth byte over 1 is an
//! overflow, not a value cut to 64 bits: two encodings of one number must never become two numbers.

/// The longest varint of a 64-bit number.
pub const LENGTH_MAX: usize = 10;

/// Why a varint cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VarintError {
    /// Occurs when the bytes end inside the number.
    #[error("truncated varint")]
    Truncated,
    /// Occurs when the number needs more than 64 bits.
    #[error("varint over 64 bits")]
    Overflow,
}

/// Reads a varint at the start of `bytes`: the number and how many bytes it took.
#[inline]
pub fn read(bytes: &[u8]) -> Result<(u64, usize), VarintError> {
    match bytes {
        [a, ..] if *a < 0x80 => Ok((u64::from(*a), 1)),
        [a, b, ..] if *b < 0x80 => Ok((u64::from(*a & 0x7f) | u64::from(*b) << 7, 2)),
        _ => read_long(bytes),
    }
}

/// Three bytes and more. Up to eight are taken from one word: the lowest byte without a continuation bit ends the
/// number, what lies above it is masked away, and the groups of seven bits are pushed together in three steps.
#[inline(never)]
fn read_long(bytes: &[u8]) -> Result<(u64, usize), VarintError> {
    if let Some(word) = bytes.first_chunk::<8>() {
        let word = u64::from_le_bytes(*word);
        let ends = !word & 0x8080_8080_8080_8080;
        if ends != 0 {
            let bits = ends.trailing_zeros() + 1;
            let word = word & (u64::MAX >> (64 - bits)) & 0x7f7f_7f7f_7f7f_7f7f;
            let pairs = (word & 0x7f00_7f00_7f00_7f00) >> 1 | (word & 0x007f_007f_007f_007f);
            let fours = (pairs & 0x3fff_0000_3fff_0000) >> 2 | (pairs & 0x0000_3fff_0000_3fff);
            let value = (fours & 0x0fff_ffff_0000_0000) >> 4 | (fours & 0x0fff_ffff);
            return Ok((value, bits as usize / 8));
        }
    }
    read_bytewise(bytes)
}

#[cold]
fn read_bytewise(bytes: &[u8]) -> Result<(u64, usize), VarintError> {
    let mut value = 0;
    for (i, byte) in bytes.iter().take(LENGTH_MAX).enumerate() {
        if i == LENGTH_MAX - 1 && *byte > 1 {
            return Err(VarintError::Overflow);
        }
        value |= u64::from(byte & 0x7f) << (7 * i);
        if *byte < 0x80 {
            return Ok((value, i + 1));
        }
    }
    Err(if bytes.len() < LENGTH_MAX { VarintError::Truncated } else { VarintError::Overflow })
}

/// Bytes that `value` takes.
#[inline]
pub fn length(value: u64) -> usize {
    (70 - (value | 1).leading_zeros() as usize) / 7
}

/// Appends `value`.
pub fn write(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Writes `value` to the front of `out`, which has room for it; how many bytes that took.
pub fn put(mut value: u64, out: &mut [u8]) -> usize {
    let mut length = 0;
    while value >= 0x80 {
        out[length] = value as u8 | 0x80;
        value >>= 7;
        length += 1;
    }
    out[length] = value as u8;
    length + 1
}

/// Signed from zigzag: 0, 1, 2, 3 are 0, -1, 1, -2.
#[inline]
pub fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Zigzag from signed.
#[inline]
pub fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_and_zigzag_too() {
        for shift in 0..64 {
            for value in [1u64 << shift, (1u64 << shift) - 1, u64::MAX >> shift] {
                let mut out = Vec::new();
                write(value, &mut out);
                assert_eq!(read(&out), Ok((value, out.len())), "{value}");
                // With bytes behind it the number is read from a word.
                let followed = [out.as_slice(), &[0xff; 8]].concat();
                assert_eq!(read(&followed), Ok((value, out.len())), "{value}");
                assert_eq!(zigzag(unzigzag(value)), value);
                out.pop();
                assert_eq!(read(&out), Err(VarintError::Truncated));
            }
        }
    }

    #[test]
    fn more_than_64_bits_are_refused() {
        let mut eleven = [0xff; 10];
        assert_eq!(read(&eleven), Err(VarintError::Overflow));
        eleven[9] = 2;
        assert_eq!(read(&eleven), Err(VarintError::Overflow));
        eleven[9] = 1;
        assert_eq!(read(&eleven), Ok((u64::MAX, 10)));
        assert_eq!(read(&[0x80; 9]), Err(VarintError::Truncated));
    }
}
