//! The column of floats: exact decimals where values are decimals, ordered bit patterns where they are not.
//!
//! Most metrics are decimals with a few digits that were rounded to a float once. Such a value is `m / 10^k` exactly,
//! by one correctly rounded division, for a whole `m`; the column of `m` is packed as integers. Division reaches values
//! that multiplying by 0.001 does not (times in seconds with microseconds, two and three decimals). What is not equal
//! bit for bit (NaN payloads, the stale marker, -0.0, infinities, more digits) is listed as an exception. A column that
//! is mostly not decimal is packed as its bit patterns in the order of the numbers, trailing zero bits removed: on
//! noise that is smaller than XOR with the value before, and it is the same code.

use model::STALE_NAN_BITS;

use super::bytes::{Reader, put_varint, put_zigzag};
use super::{Corrupt, Packing, checked_rows, integers};

/// One bit pattern, eight bytes.
const CONSTANT_BITS: u8 = 0;
/// One decimal.
const CONSTANT_DECIMAL: u8 = 1;
/// Decimals without exceptions.
const DECIMALS: u8 = 2;
/// Decimals with exceptions behind them.
const PATCHED_DECIMALS: u8 = 3;
/// Bit patterns.
const PATTERNS: u8 = 4;
/// The upper bits of the first byte hold the decimal digits, or the trailing zero bits of patterns.
const MODE_BITS: u32 = 3;

/// Digits behind the point that are tried.
const DIGITS_MAX: usize = 17;
const POWERS: [f64; DIGITS_MAX + 1] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17];
/// Whole numbers up to here are floats without rounding.
const EXACT_MAX: f64 = (1u64 << 53) as f64;
/// Without digits, larger floats are whole too; distances between them must fit an `i64`.
const WHOLE_MAX: f64 = (1u64 << 62) as f64;
/// Adding and subtracting it rounds a number below 2^51 to the nearest whole one.
const ROUNDER: f64 = (3u64 << 51) as f64;
const ROUNDER_MAX: f64 = (1u64 << 51) as f64;
/// Values that are looked at to choose the digits.
const PROBES: usize = 12;
/// What an exception costs in bits, to weigh it against more digits.
const EXCEPTION_BITS: f64 = 80.0;
const BITS_PER_DIGIT: f64 = 3.33;

/// Appends a column, its numbers packed in blocks. An empty one takes no byte.
pub fn encode(values: &[f64], out: &mut Vec<u8>) {
    encode_as(Packing::Blocks, values, out);
}

/// Appends a column. An empty one takes no byte.
pub fn encode_as(packing: Packing, values: &[f64], out: &mut Vec<u8>) {
    let Some(first) = values.first() else { return };
    if values.iter().all(|v| v.to_bits() == first.to_bits()) {
        encode_constant(*first, out);
        return;
    }
    let start = out.len();
    let Some(decimals) = Decimals::of(values) else {
        encode_patterns(packing, values, out);
        return;
    };
    decimals.encode(packing, out);
    // Decimals of many digits can be no better than what they stand for.
    if out.len() - start > values.len() * 5 {
        let split = out.len();
        encode_patterns(packing, values, out);
        let patterns = out.split_off(split);
        if patterns.len() < split - start {
            out.truncate(start);
            out.extend_from_slice(&patterns);
        }
    }
}

fn encode_constant(value: f64, out: &mut Vec<u8>) {
    match digits_of(value) {
        Some(digits) => {
            out.push(CONSTANT_DECIMAL | (digits as u8) << MODE_BITS);
            put_zigzag(out, scaled(value, digits) as i64);
        }
        None => {
            out.push(CONSTANT_BITS);
            out.extend_from_slice(&value.to_bits().to_le_bytes());
        }
    }
}

/// A column as whole numbers over one power of ten, and the rows that are not.
struct Decimals {
    digits: usize,
    numbers: Vec<i64>,
    exceptions: Vec<(usize, u64)>,
}

impl Decimals {
    /// `None` when most values that were looked at are no decimals.
    fn of(values: &[f64]) -> Option<Decimals> {
        let stride = values.len().div_ceil(PROBES);
        let digits = choose_digits(values.iter().step_by(stride).copied())?;
        let decimals = Self::with_digits(values, digits);
        if decimals.exceptions.len() * 16 <= values.len() {
            return Some(decimals);
        }
        // The probes missed something that is frequent: ask the exceptions.
        let stride = decimals.exceptions.len().div_ceil(PROBES);
        let missed = decimals.exceptions.iter().step_by(stride).map(|(_, bits)| f64::from_bits(*bits));
        let more = choose_digits(missed).filter(|more| *more > digits);
        let finer = more.map(|more| Self::with_digits(values, more));
        let best = finer.filter(|f| f.exceptions.len() * 2 < decimals.exceptions.len()).unwrap_or(decimals);
        if best.exceptions.len() * 2 <= values.len() { Some(best) } else { None }
    }

    fn with_digits(values: &[f64], digits: usize) -> Decimals {
        let mut exceptions = Vec::new();
        let power = POWERS[digits];
        let (mut last, mut step, mut begun) = (0i64, 0i64, false);
        let mut numbers: Vec<i64> = Vec::with_capacity(values.len());
        for value in values {
            let number = scaled(*value, digits) as i64;
            if (number as f64 / power).to_bits() == value.to_bits() && number.unsigned_abs() < 1 << 62 {
                step = if begun { number.wrapping_sub(last) } else { 0 };
                (last, begun) = (number, true);
            } else {
                // A place holder that keeps both a line straight and the common divisor.
                last = last.wrapping_add(step);
                exceptions.push((numbers.len(), value.to_bits()));
            }
            numbers.push(last);
        }
        // Those at the front have nothing before them and repeat the first number that there is.
        let front = exceptions.iter().enumerate().take_while(|(i, (row, _))| i == row).count();
        if let Some(first) = numbers.get(front).copied() {
            numbers[..front].fill(first);
        }
        Decimals { digits, numbers, exceptions }
    }

    fn encode(&self, packing: Packing, out: &mut Vec<u8>) {
        let mode = if self.exceptions.is_empty() { DECIMALS } else { PATCHED_DECIMALS };
        out.push(mode | (self.digits as u8) << MODE_BITS);
        integers::encode_as(packing, &self.numbers, out);
        if self.exceptions.is_empty() {
            return;
        }
        put_varint(out, self.exceptions.len() as u64);
        let mut next = 0;
        for (row, bits) in &self.exceptions {
            let stale = *bits == STALE_NAN_BITS;
            put_varint(out, ((row - next) as u64) << 1 | u64::from(!stale));
            if !stale {
                out.extend_from_slice(&bits.to_le_bytes());
            }
            next = row + 1;
        }
    }
}

/// The digits that cost the fewest bits: each one more costs every value, each one fewer makes exceptions.
fn choose_digits(probes: impl Iterator<Item = f64>) -> Option<usize> {
    let mut needing = [0u32; DIGITS_MAX + 1];
    let (mut count, mut decimal) = (0u32, 0u32);
    for value in probes {
        // A NaN says nothing about its neighbours.
        if value.is_nan() {
            continue;
        }
        count += 1;
        if let Some(digits) = digits_of(value) {
            needing[digits] += 1;
            decimal += 1;
        }
    }
    if count > 0 && decimal * 2 < count {
        return None;
    }
    let mut over = f64::from(decimal);
    let mut best = (f64::INFINITY, 0);
    for (digits, exactly) in needing.iter().enumerate() {
        over -= f64::from(*exactly);
        let bits = over / f64::from(count.max(1)) * EXCEPTION_BITS + digits as f64 * BITS_PER_DIGIT;
        if bits < best.0 {
            best = (bits, digits);
        }
    }
    Some(best.1)
}

/// The fewest digits with which the value is a decimal, bit for bit.
fn digits_of(value: f64) -> Option<usize> {
    (0..=DIGITS_MAX)
        .take_while(|digits| {
            (value * POWERS[*digits]).abs() < if *digits == 0 { WHOLE_MAX } else { EXACT_MAX }
        })
        .find(|digits| {
            let number = scaled(value, *digits) as i64;
            (number as f64 / POWERS[*digits]).to_bits() == value.to_bits()
        })
}

/// The whole number nearest to `value * 10^digits`.
#[inline]
fn scaled(value: f64, digits: usize) -> f64 {
    let product = value * POWERS[digits];
    // From 2^51 on only halves can lie between whole numbers; truncating those makes them exceptions.
    if product.abs() < ROUNDER_MAX { product + ROUNDER - ROUNDER } else { product }
}

fn encode_patterns(packing: Packing, values: &[f64], out: &mut Vec<u8>) {
    let zeros = values.iter().fold(0, |all, v| all | v.to_bits()).trailing_zeros().min(31);
    out.push(PATTERNS | (zeros as u8) << MODE_BITS);
    let patterns: Vec<i64> = values.iter().map(|v| pattern(v.to_bits(), zeros)).collect();
    integers::encode_as(packing, &patterns, out);
}

/// Bits as a whole number that sorts as the float does, without its trailing zeros; negative numbers go below zero.
fn pattern(bits: u64, zeros: u32) -> i64 {
    let magnitude = ((bits & !SIGN) >> zeros) as i64;
    if bits & SIGN == 0 { magnitude } else { !magnitude }
}

const SIGN: u64 = 1 << 63;

fn pattern_bits(pattern: i64, zeros: u32) -> u64 {
    if pattern >= 0 { (pattern as u64) << zeros } else { SIGN | (!pattern as u64) << zeros }
}

/// Reads `rows` values, appending them.
pub fn decode(reader: &mut Reader<'_>, rows: usize, out: &mut Vec<f64>) -> Result<(), Corrupt> {
    decode_with(&mut Vec::new(), reader, rows, out)
}

/// Reads `rows` values, appending them. `numbers` keeps its memory from one call to the next.
pub fn decode_with(
    numbers: &mut Vec<i64>,
    reader: &mut Reader<'_>,
    rows: usize,
    out: &mut Vec<f64>,
) -> Result<(), Corrupt> {
    numbers.clear();
    if checked_rows(rows)? == 0 {
        return Ok(());
    }
    let head = reader.byte()?;
    let (mode, detail) = (head & ((1 << MODE_BITS) - 1), usize::from(head >> MODE_BITS));
    match mode {
        CONSTANT_BITS if detail == 0 => {
            let value = f64::from_bits(u64::from_le_bytes(reader.array()?));
            out.resize(out.len() + rows, value);
        }
        CONSTANT_DECIMAL => {
            let power = *POWERS.get(detail).ok_or(Corrupt)?;
            let value = reader.zigzag()? as f64 / power;
            out.resize(out.len() + rows, value);
        }
        DECIMALS | PATCHED_DECIMALS => {
            let power = *POWERS.get(detail).ok_or(Corrupt)?;
            let start = out.len();
            integers::decode(reader, rows, numbers)?;
            if detail == 0 {
                out.extend(numbers.iter().map(|n| *n as f64));
            } else {
                out.extend(numbers.iter().map(|n| *n as f64 / power));
            }
            if mode == PATCHED_DECIMALS {
                decode_exceptions(reader, &mut out[start..])?;
            }
        }
        PATTERNS => {
            integers::decode(reader, rows, numbers)?;
            out.extend(numbers.iter().map(|p| f64::from_bits(pattern_bits(*p, detail as u32))));
        }
        _ => return Err(Corrupt),
    }
    Ok(())
}

fn decode_exceptions(reader: &mut Reader<'_>, values: &mut [f64]) -> Result<(), Corrupt> {
    let count = reader.length()?;
    if count > values.len() {
        return Err(Corrupt);
    }
    let mut next = 0usize;
    for _ in 0..count {
        let head = reader.length()?;
        let row = next.checked_add(head >> 1).ok_or(Corrupt)?;
        let bits = if head & 1 == 0 { STALE_NAN_BITS } else { u64::from_le_bytes(reader.array()?) };
        *values.get_mut(row).ok_or(Corrupt)? = f64::from_bits(bits);
        next = row + 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round_trip(values: &[f64]) -> usize {
        let sizes = [Packing::Blocks, Packing::Lists, Packing::Cold].map(|packing| {
            let mut out = Vec::new();
            encode_as(packing, values, &mut out);
            let mut back = Vec::new();
            let mut reader = Reader::new(&out);
            decode(&mut reader, values.len(), &mut back).unwrap();
            assert!(reader.is_empty());
            let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&back), bits(values));
            out.len()
        });
        sizes[0]
    }

    #[test]
    fn decimals_take_the_bits_of_their_digits() {
        assert_eq!(round_trip(&[0.0; 480]), 2);
        assert_eq!(round_trip(&[0.1; 480]), 2);
        let cents: Vec<f64> = (0..480).map(|i| f64::from(i * 7919 % 101) / 100.0).collect();
        assert!(round_trip(&cents) < 480, "seven bits a value");
        let epoch: Vec<f64> =
            (0..480).map(|i| 1_763_600_000.0 + f64::from(i) * 15.0 + f64::from(i % 7) / 1e6).collect();
        assert!(round_trip(&epoch) < 700, "seconds with microseconds are decimals");
        let large: Vec<f64> = (0..480).map(|i| (1u64 << 60) as f64 + f64::from(i % 5) * 1024.0).collect();
        assert!(round_trip(&large) < 250, "above 2^53 too");
    }

    #[test]
    fn what_is_no_decimal_comes_back() {
        let odd = [
            f64::from_bits(STALE_NAN_BITS),
            f64::NAN,
            f64::from_bits(0x7ff8_0000_0000_0001),
            f64::from_bits(0xfff0_0000_dead_beef),
            -0.0,
            0.0,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::MIN_POSITIVE,
            5e-324,
            f64::MAX,
            f64::MIN,
            (1u64 << 53) as f64 + 2.0,
            9.3e18,
            -9.3e18,
            1.0 / 3.0,
        ];
        round_trip(&odd);
        for value in odd {
            round_trip(&[value]);
            round_trip(&[value, 1.0]);
            round_trip(&[1.0, value]);
            let mut counter: Vec<f64> = (0..100).map(f64::from).collect();
            counter[50] = value;
            assert!(round_trip(&counter) < 40, "{value} costs itself only");
        }
        let stale_end: Vec<f64> = (0..50).map(f64::from).chain([f64::from_bits(STALE_NAN_BITS)]).collect();
        assert!(round_trip(&stale_end) < 14);
    }

    #[test]
    fn noise_takes_less_than_itself() {
        let mut state = 1u64;
        let noise: Vec<f64> = (0..480)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                100.0 + (state >> 11) as f64 / (1u64 << 53) as f64
            })
            .collect();
        assert!(round_trip(&noise) < 480 * 7);
        let single: Vec<f64> = noise.iter().map(|v| f64::from(*v as f32)).collect();
        assert!(round_trip(&single) < 480 * 3, "values that were f32 lose their 29 zero bits");
    }

    fn nasty() -> impl Strategy<Value = f64> {
        prop_oneof![
            any::<u64>().prop_map(f64::from_bits),
            (-1000i32..1000).prop_map(f64::from),
            (-100_000i32..100_000).prop_map(|v| f64::from(v) / 100.0),
            Just(f64::from_bits(STALE_NAN_BITS)),
            Just(-0.0),
            any::<i64>().prop_map(|v| v as f64),
        ]
    }

    proptest! {
        #[test]
        fn any_column_comes_back(values in proptest::collection::vec(nasty(), 0..700)) {
            round_trip(&values);
        }

        #[test]
        fn a_decimal_column_with_accidents_comes_back(
            digits in 0usize..6,
            numbers in proptest::collection::vec(-1_000_000i64..1_000_000, 1..600),
            accidents in proptest::collection::vec((any::<prop::sample::Index>(), nasty()), 0..5),
        ) {
            let mut values: Vec<f64> = numbers.iter().map(|n| *n as f64 / POWERS[digits]).collect();
            for (row, value) in accidents {
                let row = row.index(values.len());
                values[row] = value;
            }
            round_trip(&values);
        }

        #[test]
        fn any_bytes_are_rows_or_corrupt(bytes in proptest::collection::vec(any::<u8>(), 0..300), rows in 0usize..2000) {
            let mut out = Vec::new();
            if decode(&mut Reader::new(&bytes), rows, &mut out).is_ok() {
                prop_assert_eq!(out.len(), rows);
            }
        }
    }
}
