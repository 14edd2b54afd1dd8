//! `h </ x` and `h >/ x`: what is left of a histogram below or above a value.
//!
//! A bucket that the value cuts keeps the share that interpolation gives it; the sum is estimated from the middles of
//! what is left, as soon as anything was cut off.

use crate::histogram::{Bucket, FloatHistogram};

impl FloatHistogram {
    /// Keeps what lies below (`upper`) or above the value.
    pub(crate) fn trim(&mut self, value: f64, upper: bool) {
        let linear = self.has_custom_bounds();
        let mut kept = Kept::default();
        let populated = |buckets: &[(i32, f64)]| buckets.iter().any(|(_, count)| *count != 0.0);
        let (has_positive, has_negative) = (populated(&self.positive), populated(&self.negative));
        let cut = Cut { value, upper, linear };
        let shape = self.clone();
        for bucket in self.positive.iter_mut().filter(|(_, count)| *count != 0.0) {
            let left = cut.bucket(&shape.positive_bucket(*bucket), true);
            kept.take(&mut bucket.1, left);
        }
        for bucket in self.negative.iter_mut().filter(|(_, count)| *count != 0.0) {
            let left = cut.bucket(&shape.negative_bucket(*bucket), false);
            kept.take(&mut bucket.1, left);
        }
        if self.zero_count > 0.0 {
            let zero = cut.zero_bucket(&shape.zero_bucket(), has_negative, has_positive);
            kept.take(&mut self.zero_count, zero);
        }
        if kept.trimmed {
            self.count = kept.count;
            self.sum = kept.sum;
            self.compact();
        }
    }
}

#[derive(Default)]
struct Kept {
    count: f64,
    sum: f64,
    trimmed: bool,
}

impl Kept {
    fn take(&mut self, count: &mut f64, (kept, middle): (f64, f64)) {
        self.trimmed |= *count != kept;
        *count = kept;
        self.count += kept;
        self.sum += middle * kept;
    }
}

#[derive(Clone, Copy)]
struct Cut {
    value: f64,
    upper: bool,
    linear: bool,
}

impl Cut {
    /// How many observations of a bucket stay, and the middle of where they lie.
    fn bucket(&self, bucket: &Bucket, positive: bool) -> (f64, f64) {
        let (lower, upper) = (bucket.lower, bucket.upper);
        let whole = if self.upper { upper <= self.value } else { lower >= self.value };
        if whole {
            return (bucket.count, self.middle(lower, upper, positive));
        }
        let cut = if self.upper { lower < self.value } else { upper > self.value };
        if !cut {
            return (0.0, 0.0);
        }
        if lower == f64::NEG_INFINITY || upper == f64::INFINITY {
            return self.infinite_bucket(bucket);
        }
        let below = if self.value <= lower {
            0.0
        } else if self.value >= upper {
            bucket.count
        } else {
            bucket.count * bucket.share_below(self.value, self.linear)
        };
        if self.upper {
            (below, self.middle(lower, self.value, positive))
        } else {
            (bucket.count - below, self.middle(self.value, upper, positive))
        }
    }

    /// A bucket without a lower bound begins at zero, unless it ends below; one without an upper bound is all at its
    /// lower one.
    fn infinite_bucket(&self, bucket: &Bucket) -> (f64, f64) {
        let finite = |x: f64| if x.is_infinite() { 0.0 } else { x };
        let (value, upper) = (self.value, bucket.upper);
        if bucket.lower == f64::NEG_INFINITY {
            let splits = upper.is_finite() && upper > 0.0;
            return match self.upper {
                true if value >= upper => (bucket.count, 0.0),
                true if value > 0.0 && splits => (bucket.count * value / upper, value / 2.0),
                true if upper <= 0.0 => (bucket.count, value),
                false if value <= bucket.lower => (bucket.count, 0.0),
                false if value >= 0.0 && upper > value && upper.is_finite() => {
                    (bucket.count * (1.0 - value / upper), (value + upper) / 2.0)
                }
                _ => (0.0, finite(upper)),
            };
        }
        if !self.upper && value >= bucket.lower { (bucket.count, value) } else { (0.0, finite(bucket.lower)) }
    }

    fn zero_bucket(&self, bucket: &Bucket, has_negative: bool, has_positive: bool) -> (f64, f64) {
        // With buckets on one side only, the zero bucket reaches to that side alone.
        let upper = if has_negative && !has_positive { 0.0 } else { bucket.upper };
        let lower = if has_positive && !has_negative { 0.0 } else { bucket.lower };
        let value = self.value;
        let all = (bucket.count, (lower + upper) / 2.0);
        if value <= lower {
            return if self.upper { (0.0, 0.0) } else { all };
        }
        if value >= upper {
            return if self.upper { all } else { (0.0, 0.0) };
        }
        if self.upper {
            (bucket.count * ((value - lower) / (upper - lower)), (lower + value) / 2.0)
        } else {
            (bucket.count * ((upper - value) / (upper - lower)), (value + upper) / 2.0)
        }
    }

    fn middle(&self, lower: f64, upper: f64, positive: bool) -> f64 {
        match (lower.is_infinite(), upper.is_infinite()) {
            (true, true) => 0.0,
            (true, false) => {
                if upper > 0.0 {
                    upper / 2.0
                } else {
                    upper
                }
            }
            (false, true) => lower,
            (false, false) if self.linear => (lower + upper) / 2.0,
            (false, false) => {
                let mean = (lower * upper).abs().sqrt();
                if positive { mean } else { -mean }
            }
        }
    }
}
