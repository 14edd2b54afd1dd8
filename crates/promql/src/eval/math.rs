//! Arithmetic on floats, exactly as Go does it.

use crate::ast::BinaryOp;

/// The smaller; NaN if either is, -0 is smaller than 0.
pub(crate) fn min(a: f64, b: f64) -> f64 {
    if a == f64::NEG_INFINITY || b == f64::NEG_INFINITY {
        f64::NEG_INFINITY
    } else if a.is_nan() || b.is_nan() {
        f64::NAN
    } else if a == 0.0 && b == 0.0 {
        if a.is_sign_negative() { a } else { b }
    } else if a < b {
        a
    } else {
        b
    }
}

/// The larger; NaN if either is, 0 is larger than -0.
pub(crate) fn max(a: f64, b: f64) -> f64 {
    if a == f64::INFINITY || b == f64::INFINITY {
        f64::INFINITY
    } else if a.is_nan() || b.is_nan() {
        f64::NAN
    } else if a == 0.0 && b == 0.0 {
        if a.is_sign_negative() { b } else { a }
    } else if a > b {
        a
    } else {
        b
    }
}

/// An arithmetic operator, or a comparison as 0 or 1.
pub(crate) fn binary(op: BinaryOp, a: f64, b: f64) -> f64 {
    match op {
        BinaryOp::Add => a + b,
        BinaryOp::Sub => a - b,
        BinaryOp::Mul => a * b,
        BinaryOp::Div => a / b,
        BinaryOp::Mod => a % b,
        BinaryOp::Pow => a.powf(b),
        BinaryOp::Atan2 => a.atan2(b),
        op => f64::from(u8::from(compare(op, a, b))),
    }
}

/// A comparison; false for every other operator.
pub(crate) fn compare(op: BinaryOp, a: f64, b: f64) -> bool {
    match op {
        BinaryOp::Eq => a == b,
        BinaryOp::Ne => a != b,
        BinaryOp::Lt => a < b,
        BinaryOp::Gt => a > b,
        BinaryOp::Le => a <= b,
        BinaryOp::Ge => a >= b,
        _ => false,
    }
}

/// A sum with Kahan's and Neumaier's compensation.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct KahanSum {
    /// The running sum.
    pub(crate) sum: f64,
    /// What rounding took from it.
    pub(crate) compensation: f64,
}

impl KahanSum {
    pub(crate) fn of(sum: f64) -> Self {
        Self { sum, compensation: 0.0 }
    }

    pub(crate) fn add(&mut self, value: f64) {
        let total = self.sum + value;
        if total.is_infinite() {
            self.compensation = 0.0;
        } else if self.sum.abs() >= value.abs() {
            self.compensation += (self.sum - total) + value;
        } else {
            self.compensation += (value - total) + self.sum;
        }
        self.sum = total;
    }

    pub(crate) fn value(&self) -> f64 {
        self.sum + self.compensation
    }
}

/// Values that are added to one lane each before the lanes are put together.
const LANES: usize = 4;

impl KahanSum {
    /// Adds another sum.
    pub(crate) fn add_sum(&mut self, other: KahanSum) {
        self.add(other.sum);
        self.compensation += other.compensation;
    }

    /// The sum of some values. Lanes that do not wait for each other make it three times as fast as one by one, and each
    /// keeps what rounding takes: the value is the same but for the last bit in rare cases.
    pub(crate) fn of_all(values: &[f64]) -> Self {
        let (lanes, rest) = values.as_chunks::<LANES>();
        let (mut sums, mut lost) = ([0.0; LANES], [0.0; LANES]);
        for four in lanes {
            for ((sum, lost), value) in sums.iter_mut().zip(&mut lost).zip(four) {
                let total = *sum + value;
                let taken = total - *sum;
                *lost += (*sum - (total - taken)) + (value - taken);
                *sum = total;
            }
        }
        let mut all = Self::default();
        sums.iter().zip(&lost).for_each(|(sum, lost)| {
            all.add_sum(KahanSum { sum: *sum, compensation: *lost });
        });
        rest.iter().for_each(|value| all.add(*value));
        if all.value().is_finite() {
            return all;
        }
        // Infinities leave the lanes with nonsense.
        let mut all = Self::default();
        values.iter().for_each(|value| all.add(*value));
        all
    }
}

/// A mean: the compensated sum divided by the count, or, once that sum would overflow, a running mean.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mean {
    sum: KahanSum,
    count: f64,
    incremental: bool,
}

impl Mean {
    pub(crate) fn of(first: f64) -> Self {
        Self { sum: KahanSum::of(first), count: 1.0, incremental: false }
    }

    pub(crate) fn add(&mut self, value: f64) {
        self.count += 1.0;
        if !self.incremental {
            let mut next = self.sum;
            next.add(value);
            if !next.sum.is_infinite() {
                self.sum = next;
                return;
            }
            self.incremental = true;
            self.sum.sum /= self.count - 1.0;
            self.sum.compensation /= self.count - 1.0;
        }
        let share = (self.count - 1.0) / self.count;
        self.sum.sum *= share;
        self.sum.compensation *= share;
        self.sum.add(value / self.count);
    }

    /// The mean of some values, of which there are any.
    pub(crate) fn of_all(values: &[f64]) -> Self {
        let sum = KahanSum::of_all(values);
        if !sum.sum.is_infinite() {
            return Self::of_sum(sum, values.len());
        }
        let mut mean = Self::of(values[0]);
        values[1..].iter().for_each(|value| mean.add(*value));
        mean
    }

    /// The mean of so many values, given their sum.
    pub(crate) fn of_sum(sum: KahanSum, count: usize) -> Self {
        Self { sum, count: count as f64, incremental: false }
    }

    /// Adds the mean of other values.
    pub(crate) fn add_mean(&mut self, other: &Mean) {
        let count = self.count + other.count;
        if !self.incremental && !other.incremental {
            let mut sum = self.sum;
            sum.add_sum(other.sum);
            if !sum.sum.is_infinite() {
                *self = Self { sum, count, incremental: false };
                return;
            }
        }
        let value = self.value() * (self.count / count) + other.value() * (other.count / count);
        *self = Self { sum: KahanSum::of(value), count, incremental: true };
    }

    pub(crate) fn value(&self) -> f64 {
        if self.incremental {
            self.sum.value()
        } else {
            self.sum.sum / self.count + self.sum.compensation / self.count
        }
    }
}

/// The `q` quantile by linear interpolation; NaN sorts first. The values are reordered.
pub(crate) fn quantile(q: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    // In the total order those with a sign come first.
    values.iter_mut().filter(|value| value.is_nan()).for_each(|nan| *nan = -f64::NAN.abs());
    let rank = q * (values.len() - 1) as f64;
    let weight = rank - rank.floor();
    let (_, lower, above) = values.select_nth_unstable_by(rank.floor() as usize, f64::total_cmp);
    let upper = above.iter().copied().min_by(f64::total_cmp).unwrap_or(*lower);
    *lower * (1.0 - weight) + upper * weight
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compensated_sums_keep_what_plain_sums_lose() {
        let mut sum = KahanSum::default();
        [1.0, 1e100, 1.0, -1e100].into_iter().for_each(|v| sum.add(v));
        assert_eq!(sum.value(), 2.0);
        let mut mean = Mean::of(f64::MAX);
        mean.add(f64::MAX);
        assert_eq!(mean.value(), f64::MAX);
    }

    #[test]
    fn sums_in_lanes_are_sums_one_by_one() {
        let mut state = 1u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as f64
        };
        for length in 0..70 {
            let cents: Vec<f64> = (0..length).map(|_| (next() % 1e6) / 100.0).collect();
            let mut one_by_one = KahanSum::default();
            cents.iter().for_each(|value| one_by_one.add(*value));
            let (lanes, one_by_one) = (KahanSum::of_all(&cents).value(), one_by_one.value());
            assert!(lanes == one_by_one || lanes == one_by_one.next_up() || lanes == one_by_one.next_down());
            let whole: Vec<f64> = cents.iter().map(|value| (value * 100.0).round()).collect();
            assert_eq!(KahanSum::of_all(&whole).value(), whole.iter().sum::<f64>(), "{length} values");
        }
        let wild = [1.0, 1e100, 1.0, -1e100, 5.0, 0.0];
        assert_eq!(KahanSum::of_all(&wild).value(), 7.0);
        for (values, sum) in [
            (&[f64::INFINITY, 1.0, 2.0, 3.0, 4.0][..], f64::INFINITY),
            (&[1.0, 2.0, f64::NEG_INFINITY, 3.0, f64::NEG_INFINITY], f64::NEG_INFINITY),
            (&[f64::MAX, f64::MAX, f64::MAX, f64::MAX, 1.0], f64::INFINITY),
        ] {
            assert_eq!(KahanSum::of_all(values).value(), sum, "{values:?}");
        }
        let nan = KahanSum::of_all(&[f64::INFINITY, 0.0, 0.0, 0.0, f64::NEG_INFINITY]).value();
        assert!(nan.is_nan());
        let mut mean = Mean::of_all(&[f64::MAX, f64::MAX]);
        mean.add_mean(&Mean::of_all(&[f64::MAX; 7]));
        assert!(mean.value() >= f64::MAX.next_down());
        let mut mean = Mean::of_all(&[1.0, 2.0]);
        mean.add_mean(&Mean::of_all(&[3.0]));
        assert_eq!(mean.value(), 2.0);
    }

    #[test]
    fn quantiles_interpolate_and_put_nan_first() {
        assert_eq!(quantile(0.5, &mut [3.0, 1.0, 2.0, 4.0]), 2.5);
        assert_eq!(quantile(1.0, &mut [f64::NAN, 1.0]), 1.0);
        assert!(quantile(0.0, &mut [1.0, f64::NAN]).is_nan());
        assert!(quantile(0.25, &mut [f64::INFINITY, 1.0, f64::NAN, -f64::NAN, 0.0]).is_nan());
        assert_eq!(quantile(0.5, &mut [f64::INFINITY, 1.0, f64::NAN, -f64::NAN, 0.0]), 0.0);
        assert_eq!(quantile(1.1, &mut [1.0]), f64::INFINITY);
        let values: Vec<f64> = (0..101).map(|n| f64::from(n * 37 % 101)).collect();
        for percent in 0..=100 {
            let found = quantile(f64::from(percent) / 100.0, &mut values.clone());
            assert!((found - f64::from(percent)).abs() < 1e-12, "{found}");
        }
    }

    #[test]
    fn minimum_and_maximum_know_signed_zeros_and_nan() {
        assert!(min(0.0, -0.0).is_sign_negative() && max(-0.0, 0.0).is_sign_positive());
        assert!(min(f64::NAN, 1.0).is_nan() && max(1.0, f64::NAN).is_nan());
        assert_eq!(max(f64::INFINITY, f64::NAN), f64::INFINITY);
    }
}
