//! A column of whole numbers: constant, linear, or packed differences over a common divisor.
//!
//! A column is its first value and what is added to it. The rest is divided by the greatest common divisor of the
//! distances to the first value (pages of 4096 bytes, scrape steps of 15,000 ms), then coded as it is, as differences,
//! or as differences of differences, whichever has the fewest bits. All arithmetic wraps, so that any `i64` comes back.

use super::bytes::{Reader, put_varint, put_zigzag, varint_length, zigzag};
use super::{Corrupt, Packing, checked_rows, numbers};

/// All values are the first.
const CONSTANT: u8 = 0;
/// Every value is the one before plus a step.
const LINEAR: u8 = 1;
/// Packed distances from the first value.
const DISTANCES: u8 = 2;
/// Packed differences.
const DELTAS: u8 = 3;
/// Packed differences of differences.
const SECOND_DELTAS: u8 = 4;
/// Packed distances from a line: of times that keep to a step, each a little beside it.
const LINE: u8 = 5;
/// Added to the form when a divisor follows.
const DIVIDED: u8 = 8;
/// The bits above say how the numbers are packed.
const FORM_MASK: u8 = DIVIDED - 1;
/// Values of this size and above are not divided: their distances might not fit an `i64`.
const DIVIDE_MAX: i64 = 1 << 62;
/// Under so many differences no line is looked for.
const LINE_ROWS_MIN: usize = 64;

/// Appends a column, packed in blocks. An empty one takes no byte.
pub fn encode(values: &[i64], out: &mut Vec<u8>) {
    encode_as(Packing::Blocks, values, out);
}

/// Appends a column. An empty one takes no byte.
pub fn encode_as(packing: Packing, values: &[i64], out: &mut Vec<u8>) {
    let Some((&first, rest)) = values.split_first() else { return };
    let step = rest.first().map_or(0, |second| second.wrapping_sub(first));
    if step == 0 && rest.iter().all(|v| *v == first) {
        out.push(CONSTANT);
        put_zigzag(out, first);
        return;
    }
    if values.windows(2).all(|pair| pair[1].wrapping_sub(pair[0]) == step) {
        out.push(LINEAR);
        put_zigzag(out, first);
        put_zigzag(out, step);
        return;
    }
    let mut distances: Vec<i64> = rest.iter().map(|v| v.wrapping_sub(first)).collect();
    let divisor =
        if values.iter().all(|v| (-DIVIDE_MAX..DIVIDE_MAX).contains(v)) { divisor(&distances) } else { 1 };
    divide(&mut distances, divisor);
    let mut deltas = distances.clone();
    difference(&mut deltas);
    let mut seconds = deltas.clone();
    difference(&mut seconds);
    let cost = |rows: &[i64]| numbers::cost(packing, rows);
    let first_delta = seconds[0];
    let seconds = &seconds[1..];
    let (plain_cost, delta_cost) = (cost(&distances), cost(&deltas));
    let second_cost = cost(seconds) + varint_length(zigzag(first_delta));
    let line = if packing == Packing::Cold { line(&distances, &deltas) } else { None };
    let best_cost = plain_cost.min(delta_cost).min(second_cost);
    let (form, slope, rows) = if let Some((step, rows)) = &line
        && cost(rows) + varint_length(zigzag(*step)) < best_cost
    {
        (LINE, *step, &rows[..])
    } else if plain_cost == best_cost {
        (DISTANCES, 0, &distances[..])
    } else if delta_cost == best_cost {
        (DELTAS, 0, &deltas[..])
    } else {
        (SECOND_DELTAS, first_delta, seconds)
    };
    let head = out.len();
    out.push(form | if divisor > 1 { DIVIDED } else { 0 });
    put_zigzag(out, first);
    if divisor > 1 {
        put_varint(out, divisor as u64);
    }
    if form == SECOND_DELTAS || form == LINE {
        put_zigzag(out, slope);
    }
    out[head] |= numbers::encode(packing, rows, out);
}

/// The step that most differences are near, and what the distances have over a line with it.
fn line(distances: &[i64], deltas: &[i64]) -> Option<(i64, Vec<i64>)> {
    if deltas.len() < LINE_ROWS_MIN {
        return None;
    }
    let mut sorted = deltas.to_vec();
    let median = *sorted.select_nth_unstable(deltas.len() / 2).1;
    let is_near = |delta: &&i64| delta.wrapping_sub(median).unsigned_abs() <= median.unsigned_abs() / 4;
    let near = deltas.iter().filter(is_near);
    let count = near.clone().count();
    if median == 0 || count * 8 < deltas.len() * 7 {
        return None;
    }
    // Their mean and not the median: half a unit beside the step adds up over the rows.
    let over: i128 = near.map(|delta| i128::from(*delta) - i128::from(median)).sum();
    let step = median.wrapping_add((over as f64 / count as f64).round() as i64);
    let line = (1i64..).map(|row| row.wrapping_mul(step));
    let residuals = distances.iter().zip(line).map(|(distance, line)| distance.wrapping_sub(line));
    Some((step, residuals.collect()))
}

/// Replaces each value by its distance to the one before, the first by its distance to zero.
fn difference(values: &mut [i64]) {
    let mut previous = 0i64;
    for value in values {
        let now = *value;
        *value = now.wrapping_sub(previous);
        previous = now;
    }
}

/// The greatest common divisor of all distances.
fn divisor(distances: &[i64]) -> i64 {
    let shift = distances.iter().fold(0, |all, d| all | d).trailing_zeros();
    let mut odd = 0u64;
    for distance in distances {
        let distance = distance.unsigned_abs() >> shift;
        if distance == 0 || (odd != 0 && distance % odd == 0) {
            continue;
        }
        odd = greatest_common_divisor(odd, distance);
        if odd == 1 {
            break;
        }
    }
    i64::try_from(odd << shift).unwrap_or(1)
}

fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

fn divide(distances: &mut [i64], divisor: i64) {
    if divisor <= 1 {
        return;
    }
    if divisor.count_ones() == 1 {
        let shift = divisor.trailing_zeros();
        distances.iter_mut().for_each(|d| *d >>= shift);
    } else {
        distances.iter_mut().for_each(|d| *d /= divisor);
    }
}

/// Reads a column of `rows` values, appending them.
pub fn decode(reader: &mut Reader<'_>, rows: usize, out: &mut Vec<i64>) -> Result<(), Corrupt> {
    if checked_rows(rows)? == 0 {
        return Ok(());
    }
    let head = reader.byte()?;
    let first = reader.zigzag()?;
    let divisor = if head & DIVIDED != 0 { reader.varint()? as i64 } else { 1 };
    out.reserve(rows);
    let packed = head & !(FORM_MASK | DIVIDED);
    match head & FORM_MASK {
        CONSTANT | LINEAR if packed != 0 => return Err(Corrupt),
        CONSTANT => out.resize(out.len() + rows, first),
        LINEAR => {
            let step = reader.zigzag()?;
            out.extend((0..rows as i64).map(|row| first.wrapping_add(step.wrapping_mul(row))));
        }
        form @ (DISTANCES | DELTAS | SECOND_DELTAS | LINE) => {
            out.push(first);
            decode_form((form, packed), reader, rows - 1, (first, divisor), out)?;
        }
        _ => return Err(Corrupt),
    }
    Ok(())
}

fn decode_form(
    (form, packed): (u8, u8),
    reader: &mut Reader<'_>,
    rows: usize,
    (first, divisor): (i64, i64),
    out: &mut Vec<i64>,
) -> Result<(), Corrupt> {
    let (mut left, mut value, mut delta) = (rows, first, 0i64);
    if form == SECOND_DELTAS {
        left = rows.checked_sub(1).ok_or(Corrupt)?;
        delta = reader.zigzag()?.wrapping_mul(divisor);
        value = value.wrapping_add(delta);
        out.push(value);
    }
    if form == LINE {
        delta = reader.zigzag()?.wrapping_mul(divisor);
    }
    numbers::decode(packed, reader, left, |numbers| {
        let numbers = numbers.iter().map(|number| number.wrapping_mul(divisor));
        match form {
            DISTANCES => out.extend(numbers.map(|n| first.wrapping_add(n))),
            DELTAS => out.extend(numbers.map(|n| {
                value = value.wrapping_add(n);
                value
            })),
            LINE => out.extend(numbers.map(|n| {
                value = value.wrapping_add(delta);
                value.wrapping_add(n)
            })),
            _ => out.extend(numbers.map(|n| {
                delta = delta.wrapping_add(n);
                value = value.wrapping_add(delta);
                value
            })),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PACKINGS: [Packing; 3] = [Packing::Blocks, Packing::Lists, Packing::Cold];

    /// The bytes that each packing takes.
    fn sizes(values: &[i64]) -> [usize; 3] {
        PACKINGS.map(|packing| {
            let mut out = Vec::new();
            encode_as(packing, values, &mut out);
            let mut back = Vec::new();
            let mut reader = Reader::new(&out);
            decode(&mut reader, values.len(), &mut back).unwrap();
            assert!(reader.is_empty());
            assert_eq!(back, values);
            out.len()
        })
    }

    fn round_trip(values: &[i64]) -> usize {
        sizes(values)[0]
    }

    #[test]
    fn regular_columns_take_a_few_bytes() {
        assert_eq!(round_trip(&[]), 0);
        assert_eq!(round_trip(&[7; 480]), 2);
        let steps: Vec<i64> = (0..480).map(|i| 1_700_000_000_000 + i * 15_000).collect();
        assert!(round_trip(&steps) < 12);
        let mut gap = steps.clone();
        gap.drain(100..150);
        assert!(round_trip(&gap) < 30, "a gap of whole steps is one exception");
        let pages: Vec<i64> = (0..480).map(|i: i64| (i * i % 61) * 4096).collect();
        assert!(round_trip(&pages) < 400, "multiples of 4096 lose their twelve zero bits");
    }

    #[test]
    fn each_packing_is_at_most_as_large_as_the_one_before() {
        let counter: Vec<i64> = (0..4000i64).map(|i| i / 97 * 3).collect();
        let [blocks, lists, _] = sizes(&counter);
        assert!(lists * 2 < blocks, "a step now and then: {lists} of {blocks}");
        let mut value = 0;
        let walk: Vec<i64> = (0..4000i64)
            .map(|i| {
                value += 1 + i64::from((i * i * 7919 % 1009).trailing_zeros());
                value
            })
            .collect();
        let [blocks, lists, cold] = sizes(&walk);
        assert!(lists <= blocks && cold * 10 < lists * 9, "{blocks} {lists} {cold}");
    }

    #[test]
    fn times_beside_their_step_take_what_they_are_beside_it() {
        let beside = |i: i64| (i * i * 7919 % 1009) % 5 - 2;
        let mut times: Vec<i64> = (0..4000).map(|i| 1_700_000_000_000 + i * 15_000 + beside(i)).collect();
        let [_, lists, cold] = sizes(&times);
        assert!(cold < 4000 * 3 / 8 && cold < lists, "{cold} {lists}");
        times.drain(100..300);
        assert!(sizes(&times)[2] < 3800 * 3 / 8, "with a gap too");
        let seconds: Vec<i64> = times.iter().map(|ms| ms * 1000).collect();
        assert!(sizes(&seconds)[2] < 3800 * 3 / 8, "and with a divisor");
    }

    #[test]
    fn the_ends_of_the_number_line_come_back() {
        for values in [
            &[i64::MIN][..],
            &[i64::MIN, i64::MAX],
            &[i64::MAX, i64::MIN, i64::MAX, 0],
            &[i64::MIN, 0, i64::MAX, -1, 1],
            &[-DIVIDE_MAX, DIVIDE_MAX - 1, -DIVIDE_MAX, 7],
        ] {
            round_trip(values);
        }
    }

    proptest! {
        #[test]
        fn any_column_comes_back(values in proptest::collection::vec(prop_oneof![
            any::<i64>(), -100i64..100, (0i64..50).prop_map(|v| v * 15_000), Just(i64::MIN), Just(i64::MAX)
        ], 0..1100)) {
            round_trip(&values);
        }

        #[test]
        fn any_line_comes_back(
            first in any::<i64>(), step in any::<i64>(), shift in 0u32..63,
            beside in proptest::collection::vec(-3i64..3, 64..400),
        ) {
            let step = step >> shift;
            let row = |(i, beside): (i64, &i64)| first.wrapping_add(step.wrapping_mul(i)).wrapping_add(*beside);
            sizes(&(0i64..).zip(&beside).map(row).collect::<Vec<_>>());
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
