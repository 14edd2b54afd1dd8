//! Values of one key in one window: count, sum, extremes, buckets, and the values themselves while there is room.
//!
//! Buckets are those of a native histogram with schema 5 and a zero bucket as wide as that of Datadog's sketches, so what
//! comes by StatsD merges with what an Agent sends. Quantiles come from the values as long as all of them were kept, and
//! from the buckets otherwise: they are then up to 1.1 % off.

use std::sync::{Arc, LazyLock};

use model::histogram::{BucketCounts, Histogram, ResetHint, Span};

/// Half width of the zero bucket: the smallest value but zero of a Datadog sketch.
pub const ZERO_THRESHOLD: f64 = 9.941_854_089_121_45e-10;

/// 32 buckets for each power of two.
const SCHEMA: i32 = 5;
const PER_OCTAVE: usize = 1 << SCHEMA;

/// Values that are kept for one key.
pub(crate) const VALUES_MAX: usize = 4096;

/// Buckets of one sign of one key: values from the zero bucket to 2^34 need no more. Beyond it the buckets are merged
/// pairwise, which costs resolution and no observation.
const BUCKETS_MAX: usize = 2048;

/// Bytes of a bucket or a kept value.
pub(crate) const CELL_BYTES: usize = 16;

/// Upper bounds of the buckets in [0.5, 1): 2^(i/32 - 1).
static BOUNDS: LazyLock<[f64; PER_OCTAVE]> = LazyLock::new(|| {
    let mut bounds = [0.0; PER_OCTAVE];
    for (at, bound) in bounds.iter_mut().enumerate() {
        *bound = 0.5 * (at as f64 / PER_OCTAVE as f64).exp2();
    }
    bounds
});

/// The index at schema 5 of a finite value over [`ZERO_THRESHOLD`]: bucket i ends at 2^(i/32), which is in it.
pub(crate) fn bucket_index(value: f64) -> i32 {
    let bits = value.to_bits();
    // No value over the threshold is subnormal.
    let exponent = ((bits >> 52) & 0x7ff) as i32 - 1022;
    let fraction = f64::from_bits(bits & 0x800f_ffff_ffff_ffff | 0x3fe0_0000_0000_0000);
    let within = BOUNDS.partition_point(|bound| *bound < fraction) as i32;
    within + (exponent - 1) * PER_OCTAVE as i32
}

/// Buckets of one sign, sorted by index.
#[derive(Clone, Debug, Default)]
struct Buckets(Vec<(i32, f64)>);

impl Buckets {
    /// Adds to a bucket; whether it is a new one.
    fn add(&mut self, index: i32, weight: f64) -> bool {
        match self.0.binary_search_by_key(&index, |(at, _)| *at) {
            Ok(at) => {
                self.0[at].1 += weight;
                false
            }
            Err(at) => {
                self.0.insert(at, (index, weight));
                true
            }
        }
    }

    /// One schema down: two buckets become one.
    fn halve(&mut self) {
        for (index, _) in &mut self.0 {
            *index = (*index + 1) >> 1;
        }
        self.0.dedup_by(|later, before| {
            let same = later.0 == before.0;
            if same {
                before.1 += later.1;
            }
            same
        });
    }

    fn spans(&self) -> Vec<Span> {
        let mut spans: Vec<Span> = Vec::new();
        let mut end = 0;
        for (at, (index, _)) in self.0.iter().enumerate() {
            match spans.last_mut() {
                Some(last) if *index == end => last.length += 1,
                _ => spans.push(Span { offset: if at == 0 { *index } else { index - end }, length: 1 }),
            }
            end = index + 1;
        }
        spans
    }

    fn counts(&self) -> impl Iterator<Item = f64> {
        self.0.iter().map(|(_, count)| *count)
    }
}

/// What was observed.
#[derive(Clone, Debug)]
pub(crate) struct Distribution {
    /// Observations, weighted.
    pub(crate) count: f64,
    /// Their sum, weighted.
    pub(crate) sum: f64,
    /// The least value.
    pub(crate) min: f64,
    /// The greatest value.
    pub(crate) max: f64,
    zero: f64,
    positive: Buckets,
    negative: Buckets,
    schema: i32,
    /// Values with their weights; all of them unless `some_left_out`.
    values: Vec<(f64, f64)>,
    some_left_out: bool,
}

impl Default for Distribution {
    fn default() -> Self {
        Self {
            count: 0.0,
            sum: 0.0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            zero: 0.0,
            positive: Buckets::default(),
            negative: Buckets::default(),
            schema: SCHEMA,
            values: Vec::new(),
            some_left_out: false,
        }
    }
}

impl Distribution {
    /// Takes a finite value that stands for `weight` observations; how many bytes it took: a bucket's at most, and those
    /// of the value itself if there are `room_for_values`.
    pub(crate) fn add(&mut self, value: f64, weight: f64, room_for_values: usize) -> usize {
        self.count += weight;
        self.sum += value * weight;
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        let mut taken = 0;
        if value.abs() <= ZERO_THRESHOLD {
            self.zero += weight;
        } else {
            let index = self.index_of(value.abs());
            let buckets = if value > 0.0 { &mut self.positive } else { &mut self.negative };
            if buckets.add(index, weight) {
                taken += CELL_BYTES;
                if buckets.0.len() > BUCKETS_MAX {
                    self.positive.halve();
                    self.negative.halve();
                    self.schema -= 1;
                }
            }
        }
        if !self.some_left_out {
            if self.values.len() < VALUES_MAX && room_for_values >= CELL_BYTES {
                self.values.push((value, weight));
                taken += CELL_BYTES;
            } else {
                self.some_left_out = true;
            }
        }
        taken
    }

    /// Bytes that it takes, roughly.
    pub(crate) fn bytes(&self) -> usize {
        let cells = self.positive.0.len() + self.negative.0.len() + self.values.len();
        size_of::<Self>() + cells * CELL_BYTES
    }

    fn index_of(&self, magnitude: f64) -> i32 {
        let steps = SCHEMA - self.schema;
        // Halving an index rounds up: the upper bound of a bucket is in it.
        (bucket_index(magnitude) + (1 << steps) - 1) >> steps
    }

    /// Sorts the values, for [`Distribution::quantile`].
    pub(crate) fn sort(&mut self) {
        self.values.sort_by(|a, b| a.0.total_cmp(&b.0));
    }

    /// The first value, in order, with more than `rank` observations up to it, as the Agent picks it; sorted before.
    pub(crate) fn quantile(&self, rank: f64) -> f64 {
        let mut seen = 0.0;
        if !self.some_left_out {
            let found = self.values.iter().find(|(_, weight)| {
                seen += weight;
                seen > rank
            });
            return found.map_or(self.max, |(value, _)| *value);
        }
        let middle = |index: i32| ((f64::from(index) - 0.5) * f64::from(-self.schema).exp2()).exp2();
        let negative = self.negative.0.iter().rev().map(|(index, count)| (-middle(*index), *count));
        let positive = self.positive.0.iter().map(|(index, count)| (middle(*index), *count));
        let mut all = negative.chain([(0.0, self.zero)]).chain(positive);
        let found = all.find(|(_, count)| {
            seen += count;
            seen > rank
        });
        found.map_or(self.max, |(value, _)| value).clamp(self.min, self.max)
    }

    /// As a native histogram of what happened in the window: a gauge. Its counts are whole unless a sample rate made
    /// them otherwise.
    pub(crate) fn histogram(&self) -> Arc<Histogram> {
        let whole = |count: f64| count.fract() == 0.0 && count < 2f64.powi(53);
        let all = || self.positive.counts().chain(self.negative.counts()).chain([self.zero]);
        let counts = if all().all(whole) && whole(self.count) {
            let integers = |buckets: &Buckets| buckets.counts().map(|count| count as u64).collect();
            let (positive, negative): (Vec<u64>, Vec<u64>) =
                (integers(&self.positive), integers(&self.negative));
            let zero = self.zero as u64;
            let count = positive.iter().chain(&negative).sum::<u64>() + zero;
            BucketCounts::Integer { count, zero, positive, negative }
        } else {
            BucketCounts::Float {
                count: self.count,
                zero: self.zero,
                positive: self.positive.counts().collect(),
                negative: self.negative.counts().collect(),
            }
        };
        Arc::new(Histogram {
            schema: self.schema,
            zero_threshold: ZERO_THRESHOLD,
            sum: self.sum,
            reset_hint: ResetHint::Gauge,
            positive_spans: self.positive.spans(),
            negative_spans: self.negative.spans(),
            counts,
            custom_bounds: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[f64]) -> Distribution {
        let mut distribution = Distribution::default();
        for value in values {
            distribution.add(*value, 1.0, usize::MAX);
        }
        distribution.sort();
        distribution
    }

    #[test]
    fn a_bucket_has_its_upper_bound() {
        for octave in [-29, -1, 0, 1, 40, 1000] {
            let power = f64::from(octave).exp2();
            assert_eq!(bucket_index(power), octave * 32, "2^{octave}");
            assert_eq!(bucket_index(power.next_up()), octave * 32 + 1);
            assert_eq!(bucket_index(power.next_down()), octave * 32);
        }
        for index in [-900, -7, 3, 31, 33, 500] {
            let middle = ((f64::from(index) - 0.5) / 32.0).exp2();
            assert_eq!(bucket_index(middle), index);
        }
    }

    #[test]
    fn a_histogram_is_valid_whatever_went_in() {
        for values in [
            vec![],
            vec![0.0, -0.0, 1e-12],
            vec![1.0, 2.0, 2.0, -1.0, 1e300, 9.95e-10, f64::MAX, -f64::MAX / 2.0],
            (1..20_000).map(|n| f64::from(n).powi(7)).collect(),
        ] {
            let distribution = of(&values);
            let histogram = distribution.histogram();
            assert_eq!(histogram.validate(), Ok(()));
            assert_eq!(histogram.count(), values.len() as f64);
        }
        let mut weighted = Distribution::default();
        weighted.add(3.0, 1.0 / 0.3, usize::MAX);
        assert_eq!(weighted.histogram().validate(), Ok(()));
        assert!(matches!(weighted.histogram().counts, BucketCounts::Float { .. }));
    }

    #[test]
    fn too_many_buckets_are_merged_and_nothing_is_lost() {
        let values: Vec<f64> = (0..7000).map(|n| ((f64::from(n) - 200.5) / 8.0).exp2()).collect();
        let histogram = of(&values).histogram();
        assert!(histogram.schema < SCHEMA, "{}", histogram.schema);
        assert_eq!((histogram.validate(), histogram.count()), (Ok(()), 7000.0));
        let BucketCounts::Integer { positive, .. } = &histogram.counts else { panic!() };
        assert!(positive.len() <= BUCKETS_MAX);
        // The same as if each value had been put into a bucket of that schema at once.
        let width = f64::from(-histogram.schema).exp2();
        let lowest = (values[0].log2() / width).ceil() as i32;
        assert_eq!(histogram.positive_spans[0].offset, lowest);
    }

    #[test]
    fn quantiles_are_values_and_then_close() {
        let few = of(&[3.0, 1.0, 2.0, 5.0, 4.0]);
        assert_eq!((few.quantile(2.0), few.quantile(3.0), few.quantile(4.0)), (3.0, 4.0, 5.0));
        let values: Vec<f64> = (1..=100_000).map(f64::from).collect();
        let many = of(&values);
        assert!(many.values.len() <= VALUES_MAX);
        for rank in [0.0, 49_999.0, 94_999.0, 99_999.0] {
            let off = many.quantile(rank) / (rank + 1.0) - 1.0;
            assert!(off.abs() < 0.012, "rank {rank}: {off}");
        }
    }
}
