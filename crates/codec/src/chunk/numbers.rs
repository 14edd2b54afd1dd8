//! The numbers of an integer column, packed in one of three ways: blocks of bits, a list, or pco.
//!
//! Blocks ([`super::packing`]) are written and read fastest and are never bad. A column that hardly ever moves is a
//! list of the few numbers that are not zero, without anything for each block. What is kept for long goes through pco
//! ([`super::entropy`]), which comes near the entropy of the numbers where a block takes whole bits for each.

use super::bytes::{Reader, put_varint, put_zigzag, varint_length, zigzag};
use super::{Corrupt, Packing, entropy, packing};

/// Set in a column's head when the numbers are a list.
const LISTED: u8 = 16;
/// Set in a column's head when the numbers went through pco.
const ENTROPY: u8 = 32;

/// Under so many bytes pco's own tables do not pay, nor does trying.
const ENTROPY_BYTES_MIN: usize = 48;
/// What pco must save of the bytes, as a fraction of them, to be worth reading it: it takes up to twice as long as
/// blocks.
const ENTROPY_SAVES: usize = 32;
/// Blocks that speak for all others when forms are weighed: a series rarely changes its nature within a chunk.
const COST_BLOCKS: usize = 4;

/// About how many bytes the numbers take, to weigh forms of a column against each other.
pub(super) fn cost(packing: Packing, numbers: &[i64]) -> usize {
    let blocks = if packing == Packing::Cold { usize::MAX } else { COST_BLOCKS };
    let rows = numbers.len().min(blocks.saturating_mul(packing::BLOCK));
    let blocks = numbers[..rows].chunks(packing::BLOCK).map(packing::cost).sum();
    if packing == Packing::Blocks { blocks } else { list_cost(&numbers[..rows]).min(blocks) }
}

/// Appends the numbers; returns what the head must say of it.
pub(super) fn encode(packing: Packing, numbers: &[i64], out: &mut Vec<u8>) -> u8 {
    let start = out.len();
    for block in numbers.chunks(packing::BLOCK) {
        packing::encode(block, out);
    }
    if packing == Packing::Blocks {
        return 0;
    }
    let mut flag = 0;
    if list_cost(numbers) < out.len() - start {
        out.truncate(start);
        encode_list(numbers, out);
        flag = LISTED;
    }
    let bytes = out.len() - start;
    if packing == Packing::Cold
        && bytes >= ENTROPY_BYTES_MIN
        && let Some(packed) = entropy::encode(numbers)
        && packed.len() < bytes - bytes / ENTROPY_SAVES
    {
        out.truncate(start);
        out.extend_from_slice(&packed);
        flag = ENTROPY;
    }
    flag
}

fn list_cost(numbers: &[i64]) -> usize {
    let mut next = 0;
    let mut count = 0;
    let mut bytes = 0;
    for (row, number) in numbers.iter().enumerate().filter(|(_, number)| **number != 0) {
        bytes += varint_length((row - next) as u64) + varint_length(zigzag(*number));
        next = row + 1;
        count += 1;
    }
    bytes + varint_length(count)
}

fn encode_list(numbers: &[i64], out: &mut Vec<u8>) {
    put_varint(out, numbers.iter().filter(|number| **number != 0).count() as u64);
    let mut next = 0;
    for (row, number) in numbers.iter().enumerate().filter(|(_, number)| **number != 0) {
        put_varint(out, (row - next) as u64);
        put_zigzag(out, *number);
        next = row + 1;
    }
}

/// Reads `rows` numbers, in pieces.
pub(super) fn decode(
    packed: u8,
    reader: &mut Reader<'_>,
    rows: usize,
    mut each: impl FnMut(&[i64]),
) -> Result<(), Corrupt> {
    match packed {
        0 => {
            let mut block = [0i64; packing::BLOCK];
            let mut left = rows;
            while left > 0 {
                let length = left.min(packing::BLOCK);
                packing::decode(reader, length, &mut block)?;
                each(&block[..length]);
                left -= length;
            }
        }
        LISTED => each(&decode_list(reader, rows)?),
        ENTROPY => each(&entropy::decode(reader, rows)?),
        _ => return Err(Corrupt),
    }
    Ok(())
}

fn decode_list(reader: &mut Reader<'_>, rows: usize) -> Result<Vec<i64>, Corrupt> {
    let count = reader.count_of(2)?;
    let mut numbers = vec![0; rows];
    let mut next = 0usize;
    for _ in 0..count {
        let row = next.checked_add(reader.length()?).ok_or(Corrupt)?;
        *numbers.get_mut(row).ok_or(Corrupt)? = reader.zigzag()?;
        next = row + 1;
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(packing: Packing, numbers: &[i64]) -> (u8, usize) {
        let mut out = Vec::new();
        let flag = encode(packing, numbers, &mut out);
        let mut reader = Reader::new(&out);
        let mut back = Vec::new();
        decode(flag, &mut reader, numbers.len(), |piece| back.extend_from_slice(piece)).unwrap();
        assert!(reader.is_empty());
        assert_eq!(back, numbers);
        (flag, out.len())
    }

    #[test]
    fn what_hardly_ever_moves_is_a_list() {
        let mut numbers = vec![0i64; 480];
        for row in [3, 100, 101, 400] {
            numbers[row] = row as i64 % 5 - 2;
        }
        let (flag, bytes) = round_trip(Packing::Lists, &numbers);
        assert!(flag == LISTED && bytes < 12, "{flag} {bytes}");
        assert_eq!(round_trip(Packing::Blocks, &numbers).0, 0, "the first version has no lists");
        numbers[7] = i64::MIN;
        numbers[479] = i64::MAX;
        assert_eq!(round_trip(Packing::Lists, &numbers).0, LISTED);
    }

    #[test]
    fn what_is_kept_takes_fractions_of_bits() {
        let mut state = 7u64;
        let numbers: Vec<i64> = (0..8000)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                i64::from((state >> 33).trailing_zeros())
            })
            .collect();
        let (_, hot) = round_trip(Packing::Lists, &numbers);
        let (flag, cold) = round_trip(Packing::Cold, &numbers);
        assert!(flag == ENTROPY && cold * 10 < hot * 9, "{flag} {cold} of {hot}");
        assert!(cold < 8000 * 2 / 8 * 11 / 10, "two bits each, {cold} bytes");
    }

    #[test]
    fn a_list_says_no_more_than_there_is() {
        let read = |bytes: &[u8], rows| decode_list(&mut Reader::new(bytes), rows);
        assert_eq!(read(&[1, 2, 4], 3), Ok(vec![0, 0, 2]));
        assert_eq!(read(&[1, 3, 4], 3), Err(Corrupt), "a row behind the end");
        assert_eq!(read(&[2, 0, 4], 3), Err(Corrupt), "more entries than bytes");
        assert_eq!(read(&[2, 0, 4, 0, 4], 1), Err(Corrupt), "more entries than rows");
        assert_eq!(decode(LISTED | ENTROPY, &mut Reader::new(&[0; 50]), 3, |_| {}), Err(Corrupt));
    }
}
