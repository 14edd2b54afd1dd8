//! Packing for those who ask, and for those whom Weir sends to: what [`crate::inflate`] undoes.

use std::io::Write;

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};

use crate::inflate::Encoding;

/// Level at which Zstandard packs: its default, and what peers send with.
const ZSTD_LEVEL: i32 = 3;

/// Occurs when there is more than the format can say the length of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} bytes are too many for one snappy block")]
pub struct TooLong(pub usize);

/// Bytes that packing so many may take at most, to be paid before.
pub fn snappy_bytes_max(length: usize) -> usize {
    snap::raw::max_compress_len(length)
}

/// Packs `bytes` as a snappy block.
pub fn snappy(bytes: &[u8]) -> Result<Vec<u8>, TooLong> {
    snap::raw::Encoder::new().compress_vec(bytes).map_err(|_| TooLong(bytes.len()))
}

/// Packs `bytes`, quickly rather than tightly. The same bytes are packed to the same bytes.
pub fn pack(encoding: Encoding, bytes: &[u8]) -> Result<Vec<u8>, TooLong> {
    let out = || Vec::with_capacity(bytes.len() / 4);
    let infallible = "memory takes what is written";
    Ok(match encoding {
        Encoding::Identity => bytes.to_vec(),
        Encoding::Snappy => snappy(bytes)?,
        Encoding::Zstd => zstd::bulk::compress(bytes, ZSTD_LEVEL).map_err(|_| TooLong(bytes.len()))?,
        Encoding::Gzip => {
            let mut encoder = GzEncoder::new(out(), Compression::fast());
            encoder.write_all(bytes).and_then(|()| encoder.finish()).expect(infallible)
        }
        Encoding::Deflate => {
            let mut encoder = ZlibEncoder::new(out(), Compression::fast());
            encoder.write_all(bytes).and_then(|()| encoder.finish()).expect(infallible)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inflate::inflate;

    #[test]
    fn what_was_packed_inflates() {
        let bytes = b"abcabcabcabc".repeat(1000);
        for encoding in Encoding::ALL {
            let packed = pack(encoding, &bytes).unwrap();
            assert!(packed.len() < bytes.len() || encoding == Encoding::Identity, "{encoding:?}");
            assert_eq!(pack(encoding, &bytes).unwrap(), packed);
            let mut back = Vec::new();
            inflate(encoding, &packed, bytes.len(), &mut back).unwrap();
            assert_eq!(back, bytes, "{encoding:?}");
        }
        assert!(snappy(&bytes).unwrap().len() <= snappy_bytes_max(bytes.len()));
    }
}
