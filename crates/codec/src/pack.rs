//! Packing for those who ask: what [`crate::inflate`] undoes.

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inflate::{Encoding, inflate};

    #[test]
    fn what_was_packed_inflates() {
        let bytes = b"abcabcabcabc".repeat(1000);
        let packed = snappy(&bytes).unwrap();
        assert!(packed.len() < bytes.len() && packed.len() <= snappy_bytes_max(bytes.len()));
        let mut back = Vec::new();
        inflate(Encoding::Snappy, &packed, bytes.len(), &mut back).unwrap();
        assert_eq!(back, bytes);
    }
}
