//! Keys and checksums.
//!
//! Keys are xxh3-128 with a secret seed: fast over the hundred bytes of a label list, and nobody who does not know the
//! seed can aim for a collision. Checksums are CRC32C, which the processor computes.

use xxhash_rust::xxh3::xxh3_128_with_seed;

/// 128-bit key of `bytes`. Keys of different `seed`s have nothing to do with each other.
#[inline]
pub fn key128(seed: u64, bytes: &[u8]) -> u128 {
    xxh3_128_with_seed(bytes, seed)
}

/// CRC32C of `bytes`.
#[inline]
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
}

/// CRC32C of what `crc` covers followed by `bytes`.
#[inline]
pub fn crc32c_append(crc: u32, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc, bytes)
}

/// CRC32C of several parts as if they lay behind one another.
pub fn crc32c_parts(parts: &[&[u8]]) -> u32 {
    parts.iter().fold(0, |crc, part| crc32c_append(crc, part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_vectors() {
        // CRC32C: RFC 3720 B.4. XXH3-128 of nothing with seed 0: the reference implementation's sanity check.
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c_append(crc32c(b"1234"), b"56789"), 0xe306_9283);
        assert_eq!(key128(0, b""), 0x99aa_06d3_0147_98d8_6001_c324_468d_497f);
        assert_ne!(key128(1, b"a"), key128(0, b"a"));
    }
}
