//! Patched frame of reference: a block of integers as a base, a bit width, packed offsets and a few exceptions.
//!
//! An offset that needs more bits than the width keeps its low bits in place and its high bits in a list behind, so a
//! counter reset or a spike costs itself and not its neighbours. Three bases are weighed: the smallest value, zero
//! (growing counters with resets) and the middle (noise with spikes to both sides).

use super::Corrupt;
use super::bytes::{Reader, put_varint, put_zigzag, varint_length, zigzag};

/// Integers that share a base and a width.
pub(super) const BLOCK: usize = 128;
/// Set in the width byte when exceptions follow.
const PATCHED: u8 = 0x80;
/// Bits of an offset that a load of eight bytes holds whole, wherever in its first byte it begins.
const WORD_BITS: usize = 57;
/// Bytes that a block ends with and that are read from a copy: up to two loads, and what a load takes along.
const PADDED: usize = 32;
/// Under this many integers searching for exceptions costs more than it saves.
const SEARCH_MIN: usize = 8;

/// Bits needed for a number.
#[inline]
fn width_of(number: u64) -> usize {
    (64 - number.leading_zeros()) as usize
}

/// Packs at most [`BLOCK`] integers.
pub(super) fn encode(values: &[i64], out: &mut Vec<u8>) {
    let Plan { base, width, .. } = plan(values);
    let mut offsets = [0u64; BLOCK];
    let offsets = &mut offsets[..values.len()];
    let mut all = 0;
    for (offset, value) in offsets.iter_mut().zip(values) {
        *offset = value.wrapping_sub(base) as u64;
        all |= *offset;
    }
    let patched = width_of(all) > width;
    out.push(width as u8 | if patched { PATCHED } else { 0 });
    put_zigzag(out, base);
    pack(offsets, width, out);
    if patched {
        encode_exceptions(offsets, width, out);
    }
}

fn encode_exceptions(offsets: &[u64], width: usize, out: &mut Vec<u8>) {
    let over = |offset: &u64| offset >> width != 0;
    put_varint(out, offsets.iter().filter(|o| over(o)).count() as u64);
    let mut next = 0;
    for (row, offset) in offsets.iter().enumerate().filter(|(_, o)| over(o)) {
        put_varint(out, (row - next) as u64);
        put_varint(out, offset >> width);
        next = row + 1;
    }
}

/// Unpacks `rows` (at most [`BLOCK`]) integers into the front of `into`.
pub(super) fn decode(reader: &mut Reader<'_>, rows: usize, into: &mut [i64; BLOCK]) -> Result<(), Corrupt> {
    let head = reader.byte()?;
    let width = usize::from(head & !PATCHED);
    if width > 64 {
        return Err(Corrupt);
    }
    let base = reader.zigzag()?;
    let into = into.get_mut(..rows).ok_or(Corrupt)?;
    unpack(reader.take((rows * width).div_ceil(8))?, width, base, into);
    if head & PATCHED != 0 {
        decode_exceptions(reader, width, into)?;
    }
    Ok(())
}

fn decode_exceptions(reader: &mut Reader<'_>, width: usize, into: &mut [i64]) -> Result<(), Corrupt> {
    if width >= 64 {
        return Err(Corrupt);
    }
    let count = reader.length()?;
    if count > into.len() {
        return Err(Corrupt);
    }
    let mut next = 0usize;
    for _ in 0..count {
        let row = next.checked_add(reader.length()?).ok_or(Corrupt)?;
        let high = reader.varint()?;
        let value = into.get_mut(row).ok_or(Corrupt)?;
        *value = value.wrapping_add((high << width) as i64);
        next = row + 1;
    }
    Ok(())
}

/// How a block is packed, and the bytes that takes.
#[derive(Clone, Copy)]
struct Plan {
    base: i64,
    width: usize,
    cost: usize,
}

/// Bytes that at most [`BLOCK`] integers take.
pub(super) fn cost(values: &[i64]) -> usize {
    plan(values).cost
}

/// The base and width that give at most [`BLOCK`] integers the fewest bytes.
fn plan(values: &[i64]) -> Plan {
    let min = values.iter().copied().min().unwrap_or(0);
    let max = values.iter().copied().max().unwrap_or(0);
    let full = width_of(max.wrapping_sub(min) as u64);
    if values.len() < SEARCH_MIN || full <= 1 {
        let cost = (values.len() * full).div_ceil(8) + varint_length(zigzag(min));
        return Plan { base: min, width: full, cost };
    }
    let mut from_min = [0u32; 65];
    if min >= 0 {
        for value in values {
            from_min[width_of(value.wrapping_sub(min) as u64)] += 1;
        }
        return cheapest(&from_min, values.len()).with_base(|_| min);
    }
    let mut from_zero = [0u32; 65];
    let mut centred = [0u32; 65];
    let mut zeros = 0;
    for value in values {
        // Where zeros are frequent, counting each in memory is the slowest part of all.
        if *value == 0 {
            zeros += 1;
            continue;
        }
        from_min[width_of(value.wrapping_sub(min) as u64)] += 1;
        from_zero[width_of(*value as u64)] += 1;
        centred[width_of(zigzag(*value))] += 1;
    }
    from_min[width_of(min.wrapping_neg() as u64)] += zeros;
    from_zero[0] += zeros;
    centred[0] += zeros;
    let middle = |width: usize| if width == 0 { 0 } else { (-1i64).wrapping_shl(width as u32 - 1) };
    let plans = [
        cheapest(&from_min, values.len()).with_base(|_| min),
        cheapest(&from_zero, values.len()).with_base(|_| 0),
        cheapest(&centred, values.len()).with_base(middle),
    ];
    plans.into_iter().min_by_key(|plan| plan.cost).unwrap_or(plans[0])
}

/// A width and the bytes that it gives.
struct Choice {
    cost: usize,
    width: usize,
}

impl Choice {
    fn with_base(self, base: impl Fn(usize) -> i64) -> Plan {
        let base = base(self.width);
        Plan { base, width: self.width, cost: self.cost + varint_length(zigzag(base)) }
    }
}

/// Weighs every width, given how many offsets need exactly so many bits.
fn cheapest(widths: &[u32; 65], rows: usize) -> Choice {
    let top = widths.iter().rposition(|n| *n > 0).unwrap_or(0);
    let mut best = Choice { cost: (rows * top).div_ceil(8), width: top };
    // Exceptions cost at least two bytes: once they alone cost more than the best, narrower widths only add more.
    let mut over = 0usize;
    for width in (0..top).rev() {
        over += widths[width + 1] as usize;
        let mut cost = (rows * width).div_ceil(8) + 1 + over;
        if cost + over >= best.cost && over * 16 > rows {
            break;
        }
        for (needed, count) in widths.iter().enumerate().take(top + 1).skip(width + 1) {
            cost += *count as usize * (needed - width).div_ceil(7);
        }
        if cost < best.cost {
            best = Choice { cost, width };
        }
    }
    best
}

/// Writes the low `width` bits of each offset, first offset in the lowest bits of the first byte.
fn pack(offsets: &[u64], width: usize, out: &mut Vec<u8>) {
    if width == 0 {
        return;
    }
    let end = out.len() + (offsets.len() * width).div_ceil(8);
    let mask = u64::MAX >> (64 - width);
    let (mut word, mut filled) = (0u64, 0usize);
    for offset in offsets {
        let offset = offset & mask;
        word |= offset << filled;
        filled += width;
        if filled >= 64 {
            out.extend_from_slice(&word.to_le_bytes());
            filled -= 64;
            word = if filled == 0 { 0 } else { offset >> (width - filled) };
        }
    }
    out.extend_from_slice(&word.to_le_bytes());
    out.truncate(end);
}

/// The inverse of [`pack`], with the base added. `packed` has exactly the bytes that are needed.
fn unpack(packed: &[u8], width: usize, base: i64, into: &mut [i64]) {
    if width == 0 {
        into.fill(base);
        return;
    }
    if width > WORD_BITS {
        unpack_wide(packed, width, base, into);
        return;
    }
    // The last bytes are not followed by others that a load could take along.
    let whole = (packed.len().saturating_sub(8) * 8 / width).min(into.len());
    let (front, back) = into.split_at_mut(whole);
    unpack_words(packed, 0, width, base, front);
    let bit = whole * width;
    let tail = packed.get(bit >> 3..).unwrap_or(&[]);
    let mut padded = [0u8; PADDED];
    let length = tail.len().min(PADDED - 8);
    padded[..length].copy_from_slice(&tail[..length]);
    unpack_words(&padded, bit & 7, width, base, back);
}

/// Reads offsets of up to [`WORD_BITS`] bits from bytes that are eight longer than what is read.
fn unpack_words(packed: &[u8], mut bit: usize, width: usize, base: i64, into: &mut [i64]) {
    let mask = u64::MAX >> (64 - width);
    for value in into {
        let byte = bit >> 3;
        let word = packed.get(byte..).and_then(|bytes| bytes.first_chunk::<8>());
        let word = u64::from_le_bytes(word.copied().unwrap_or_default());
        *value = base.wrapping_add((word >> (bit & 7) & mask) as i64);
        bit += width;
    }
}

/// Reads offsets of any width.
fn unpack_wide(packed: &[u8], width: usize, base: i64, into: &mut [i64]) {
    let mask = u64::MAX >> (64 - width);
    for (at, value) in into.iter_mut().enumerate() {
        let (byte, bit) = ((at * width) >> 3, (at * width) & 7);
        let mut word = [0u8; 16];
        let tail = packed.get(byte..).unwrap_or(&[]);
        let length = tail.len().min(9);
        word[..length].copy_from_slice(&tail[..length]);
        *value = base.wrapping_add(((u128::from_le_bytes(word) >> bit) as u64 & mask) as i64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(values: &[i64]) -> usize {
        let mut out = Vec::new();
        encode(values, &mut out);
        let mut back = [0; BLOCK];
        let mut reader = Reader::new(&out);
        decode(&mut reader, values.len(), &mut back).unwrap();
        assert!(reader.is_empty());
        assert_eq!(&back[..values.len()], values);
        out.len()
    }

    #[test]
    fn every_width_comes_back() {
        for width in 0..64 {
            for rows in [1, 2, 7, 8, 9, 63, 64, 65, 127, 128] {
                let values: Vec<i64> = (0..rows)
                    .map(|i: i64| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15u64 as i64)) >> (63 - width))
                    .collect();
                round_trip(&values);
            }
        }
        round_trip(&[i64::MIN, i64::MAX, 0, -1, 1, i64::MIN, 5, 5, 5]);
    }

    #[test]
    fn a_spike_costs_itself_only() {
        let mut values: Vec<i64> = (0..BLOCK as i64).map(|i| i % 8).collect();
        let plain = round_trip(&values);
        values[50] = -1_000_000_000;
        values[100] = 1_000_000_000;
        assert!(round_trip(&values) < plain + 30, "{plain}");
    }
}
