//! Numbers through pco: their distances to the smallest, as entropy code.
//!
//! pco finds bins and codes them with tANS. Of its format only that is used: mode classic, no delta, one chunk with one
//! page, in the narrowest of its unsigned types, so that the table of bins is small. Differences were taken before, the
//! number of rows is known, and which pco format it is stands with the block's version: neither is in the bytes.
//!
//! Whatever else a pco chunk can ask for (dictionaries, windows, multipliers) is refused by its first byte before pco
//! sees it; what is left allocates tables of at most 2^14 states and the rows that the caller checked. Should pco panic
//! nevertheless, the bytes are corrupt.

use std::panic::catch_unwind;

use pco::data_types::Number;
use pco::wrapped::{FileCompressor, FileDecompressor};
use pco::{ChunkConfig, DeltaSpec, ModeSpec};

use super::Corrupt;
use super::bytes::{Reader, put_zigzag};

/// pco's header: the version of its format, which is that of crate 1.1.
const FORMAT: [u8; 2] = [4, 1];
/// The first byte of a chunk in mode classic without delta.
const PLAIN: u8 = 0;

/// Packs the numbers; `None` when pco does not want them.
pub(super) fn encode(numbers: &[i64]) -> Option<Vec<u8>> {
    let base = *numbers.iter().min()?;
    let distances = || numbers.iter().map(|number| number.wrapping_sub(base) as u64);
    let width = 64 - distances().fold(0, |all, d| all | d).leading_zeros();
    let mut out = Vec::new();
    put_zigzag(&mut out, base);
    // Narrowing loses nothing: the width was looked at.
    match width {
        0..=8 => compress(0, &distances().map(|d| d as u8).collect::<Vec<_>>(), &mut out),
        9..=16 => compress(1, &distances().map(|d| d as u16).collect::<Vec<_>>(), &mut out),
        17..=32 => compress(2, &distances().map(|d| d as u32).collect::<Vec<_>>(), &mut out),
        _ => compress(3, &distances().collect::<Vec<_>>(), &mut out),
    }?;
    Some(out)
}

fn compress<T: Number>(kind: u8, numbers: &[T], out: &mut Vec<u8>) -> Option<()> {
    let config = ChunkConfig::default()
        .with_mode_spec(ModeSpec::Classic)
        .with_delta_spec(DeltaSpec::NoOp)
        .with_enable_8_bit(true);
    let mut chunk = FileCompressor::default().chunk_compressor(numbers, &config).ok()?;
    out.push(kind);
    let start = out.len();
    chunk.write_meta(&mut *out).ok()?;
    chunk.write_page(0, &mut *out).ok()?;
    (out.get(start) == Some(&PLAIN)).then_some(())
}

/// Reads `rows` numbers, no more than [`super::ROWS_MAX`].
pub(super) fn decode(reader: &mut Reader<'_>, rows: usize) -> Result<Vec<i64>, Corrupt> {
    let base = reader.zigzag()?;
    let kind = reader.byte()?;
    let bytes = reader.rest();
    if bytes.first() != Some(&PLAIN) {
        return Err(Corrupt);
    }
    let decompressed = catch_unwind(|| match kind {
        0 => decompress::<u8>(bytes, rows, |distance| base.wrapping_add(i64::from(distance))),
        1 => decompress::<u16>(bytes, rows, |distance| base.wrapping_add(i64::from(distance))),
        2 => decompress::<u32>(bytes, rows, |distance| base.wrapping_add(i64::from(distance))),
        3 => decompress::<u64>(bytes, rows, |distance| base.wrapping_add(distance as i64)),
        _ => None,
    });
    let (numbers, left) = decompressed.ok().flatten().ok_or(Corrupt)?;
    reader.take(bytes.len().checked_sub(left).ok_or(Corrupt)?)?;
    Ok(numbers)
}

/// The numbers, and how many bytes are left behind them.
fn decompress<T: Number + Default>(
    bytes: &[u8],
    rows: usize,
    number: impl Fn(T) -> i64,
) -> Option<(Vec<i64>, usize)> {
    let (file, _) = FileDecompressor::new(&FORMAT[..]).ok()?;
    let (mut chunk, rest) = file.chunk_decompressor::<T, _>(bytes).ok()?;
    let mut page = chunk.page_decompressor(rest, rows).ok()?;
    let mut distances = vec![T::default(); rows];
    let progress = page.read(&mut distances).ok()?;
    let left = page.into_src().len();
    (progress.n_processed == rows).then(|| (distances.into_iter().map(number).collect(), left))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers of every width, from a seed.
    fn noise(seed: u64, rows: usize) -> Vec<i64> {
        let mut state = seed;
        let width = seed % 64;
        (0..rows)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let number = state ^ state >> 29;
                (number as i64) >> (number >> 7 & 3) >> width
            })
            .collect()
    }

    fn round_trip(numbers: &[i64]) -> Vec<u8> {
        let mut out = encode(numbers).unwrap();
        let length = out.len();
        out.extend_from_slice(b"what follows is not read");
        let mut reader = Reader::new(&out);
        assert_eq!(decode(&mut reader, numbers.len()).unwrap(), numbers);
        assert_eq!(reader.rest(), b"what follows is not read");
        out.truncate(length);
        assert_eq!(decode(&mut Reader::new(&out), numbers.len()).unwrap(), numbers);
        out
    }

    #[test]
    fn every_width_comes_back() {
        for seed in 0..128 {
            for rows in [1, 2, 255, 256, 257, 1000] {
                round_trip(&noise(seed, rows));
            }
        }
        round_trip(&[i64::MIN, i64::MAX, 0, -1, 1]);
        round_trip(&[7; 300]);
    }

    #[test]
    fn the_format_is_the_one_that_is_declared() {
        let mut header = Vec::new();
        FileCompressor::default().write_header(&mut header).unwrap();
        assert_eq!(header, FORMAT);
    }

    /// A hundred thousand changed inputs: every one gives so many rows, or is refused.
    #[test]
    fn changed_bytes_are_numbers_or_corrupt() {
        let mut state = 99u64;
        let mut dice = move |bound: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % bound
        };
        for seed in 0..100 {
            let numbers = noise(seed, 40 + seed as usize * 3);
            let whole = round_trip(&numbers);
            for _ in 0..1000 {
                let mut bytes = whole.clone();
                for _ in 0..=dice(3) {
                    // Half of them in the tables, which are where a decoder goes wrong.
                    let most = if dice(2) == 0 { 40 } else { usize::MAX };
                    let at = dice(bytes.len().min(most));
                    bytes[at] = if dice(2) == 0 { bytes[at] ^ 1 << dice(8) } else { dice(256) as u8 };
                }
                bytes.truncate(if dice(4) == 0 { dice(bytes.len() + 1) } else { bytes.len() });
                let rows = if dice(4) == 0 { dice(2000) } else { numbers.len() };
                if let Ok(back) = decode(&mut Reader::new(&bytes), rows) {
                    assert_eq!(back.len(), rows);
                }
            }
        }
    }

    #[test]
    fn other_forms_of_pco_are_refused() {
        let config = ChunkConfig::default().with_delta_spec(DeltaSpec::TryConsecutive(1));
        let numbers: Vec<u64> = (0..300).map(|i| i * i).collect();
        let mut chunk = FileCompressor::default().chunk_compressor(&numbers, &config).unwrap();
        let mut bytes = vec![0, 3];
        chunk.write_meta(&mut bytes).unwrap();
        chunk.write_page(0, &mut bytes).unwrap();
        assert_eq!(decode(&mut Reader::new(&bytes), 300), Err(Corrupt));
    }
}
