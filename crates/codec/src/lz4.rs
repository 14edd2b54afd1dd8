//! LZ4 blocks for data that Weir wrote itself; the length after inflating is stored beside the block.

/// Occurs when a block does not inflate to exactly the stored length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("lz4 block is corrupt")]
pub struct CorruptLz4;

/// Appends the compressed `raw` to `out`.
pub fn compress(raw: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + lz4_flex::block::get_maximum_output_size(raw.len()), 0);
    let written =
        lz4_flex::block::compress_into(raw, &mut out[start..]).expect("the buffer has the maximum size");
    out.truncate(start + written);
}

/// Inflates `block` to exactly `raw_length` bytes, appended to `out`. The caller has checked `raw_length` against its
/// own bound.
pub fn decompress(block: &[u8], raw_length: usize, out: &mut Vec<u8>) -> Result<(), CorruptLz4> {
    let start = out.len();
    out.resize(start + raw_length, 0);
    match lz4_flex::block::decompress_into(block, &mut out[start..]) {
        Ok(written) if written == raw_length => Ok(()),
        _ => {
            out.truncate(start);
            Err(CorruptLz4)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_lies_about_the_length() {
        let raw = b"abcabcabcabcabcabc".repeat(20);
        let mut block = vec![7];
        compress(&raw, &mut block);
        let mut out = Vec::new();
        decompress(&block[1..], raw.len(), &mut out).unwrap();
        assert_eq!(out, raw);
        for wrong in [raw.len() - 1, raw.len() + 1, 0] {
            assert_eq!(decompress(&block[1..], wrong, &mut Vec::new()), Err(CorruptLz4));
        }
    }
}
