//! What can be said of a chunk of floats without reading it.
//!
//! Stale markers are no observations and are left out everywhere. A min or max skips NaNs unless there is nothing else,
//! as the query functions do; a NaN makes the sum NaN. A reset is a live value below the live value before it.

use model::is_stale;

use super::bytes::{Reader, put_varint};
use super::{Corrupt, floats};

/// Aggregates of a column of floats.
#[derive(Clone, Copy, Debug)]
pub struct Aggregates {
    /// Live values.
    pub count: u32,
    /// Their sum, with what rounding takes from it kept aside and added at the end.
    pub sum: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// The first.
    pub first: f64,
    /// The last.
    pub last: f64,
    /// How often a value was below the one before.
    pub resets: u32,
}

/// Equality of bits, as for samples.
impl PartialEq for Aggregates {
    fn eq(&self, other: &Self) -> bool {
        let bits = |a: &Self| [a.sum, a.min, a.max, a.first, a.last].map(f64::to_bits);
        (self.count, self.resets, bits(self)) == (other.count, other.resets, bits(other))
    }
}

/// What reading aggregates needs beside them.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    numbers: Vec<i64>,
    values: Vec<f64>,
}

/// Set when the sum is `first * count`: what a constant chunk has, mostly.
const SUM_OF_FIRST: u64 = 1;

impl Aggregates {
    /// Aggregates a column; `None` when no value is live.
    pub fn of(values: &[f64]) -> Option<Aggregates> {
        let mut live = values.iter().copied().filter(|v| !is_stale(*v));
        let first = live.next()?;
        let mut all =
            Aggregates { count: 1, sum: first, min: first, max: first, first, last: first, resets: 0 };
        let mut lost = 0.0;
        for value in live {
            all.count += 1;
            let total = all.sum + value;
            let larger = all.sum.abs() >= value.abs();
            lost += if larger { (all.sum - total) + value } else { (value - total) + all.sum };
            all.sum = total;
            all.resets += u32::from(value < all.last);
            all.min = if value < all.min || all.min.is_nan() { value } else { all.min };
            all.max = if value > all.max || all.max.is_nan() { value } else { all.max };
            all.last = value;
        }
        // Of an infinite sum nothing is known to be lost.
        all.sum += if all.sum.is_finite() { lost } else { 0.0 };
        Some(all)
    }

    /// Appends the aggregates.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let product = self.first * f64::from(self.count);
        let of_first = self.sum.to_bits() == product.to_bits();
        put_varint(out, u64::from(self.resets) << 1 | if of_first { SUM_OF_FIRST } else { 0 });
        put_varint(out, u64::from(self.count));
        floats::encode(&[self.first, self.last, self.min, self.max], out);
        if !of_first {
            floats::encode(&[self.sum], out);
        }
    }

    /// Reads aggregates. `scratch` keeps its memory from one call to the next.
    pub fn decode(reader: &mut Reader<'_>, scratch: &mut Scratch) -> Result<Aggregates, Corrupt> {
        let Scratch { numbers, values } = scratch;
        values.clear();
        let head = reader.varint()?;
        let count = reader.number()?;
        floats::decode_with(numbers, reader, 4, values)?;
        if head & SUM_OF_FIRST == 0 {
            floats::decode_with(numbers, reader, 1, values)?;
        } else {
            values.push(values[0] * f64::from(count));
        }
        let resets = u32::try_from(head >> 1).map_err(|_| Corrupt)?;
        let [first, last, min, max, sum] = values[..] else { return Err(Corrupt) };
        Ok(Aggregates { count, sum, min, max, first, last, resets })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::STALE_NAN_BITS;

    fn round_trip(values: &[f64]) -> Aggregates {
        let aggregates = Aggregates::of(values).unwrap();
        let mut out = Vec::new();
        aggregates.encode(&mut out);
        assert_eq!(Aggregates::decode(&mut Reader::new(&out), &mut Scratch::default()), Ok(aggregates));
        aggregates
    }

    #[test]
    fn resets_extremes_and_stale_markers() {
        let stale = f64::from_bits(STALE_NAN_BITS);
        let all = round_trip(&[5.0, 7.0, stale, 1.5, 3.0]);
        assert_eq!((all.count, all.sum, all.min, all.max), (4, 16.5, 1.5, 7.0));
        assert_eq!((all.first, all.last, all.resets), (5.0, 3.0, 1));
        assert_eq!(Aggregates::of(&[stale]), None);
        let nan = round_trip(&[f64::NAN, 2.0, f64::NAN]);
        assert!(nan.sum.is_nan() && nan.last.is_nan());
        assert_eq!((nan.min, nan.max), (2.0, 2.0));
    }

    #[test]
    fn sums_are_compensated() {
        let sum = |values: &[f64]| round_trip(values).sum;
        assert_eq!(sum(&[0.1; 480]), 48.0);
        assert_eq!(sum(&[1.0, 1e100, 1.0, -1e100]), 2.0);
        assert_eq!(sum(&[f64::INFINITY, 1.0]), f64::INFINITY);
        assert!(sum(&[f64::INFINITY, f64::NEG_INFINITY]).is_nan());
        assert_eq!(sum(&[f64::MAX, f64::MAX]), f64::INFINITY);
    }

    #[test]
    fn a_constant_takes_a_few_bytes() {
        let mut out = Vec::new();
        Aggregates::of(&[3.0; 480]).unwrap().encode(&mut out);
        assert!(out.len() <= 6, "{}", out.len());
    }
}
