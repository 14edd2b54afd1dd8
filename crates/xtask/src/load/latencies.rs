//! Latencies of requests, as an instrumented service counts them in native histograms: log-normal, about 150 a step, the
//! mean drifting, some 60 buckets with something in them. A restart of the process sets every fiftieth series back once.
//!
//! Each series has a mean, a spread, a rate and dice of its own, so that no two are alike.

use super::histogram::{self, Histogram};
use super::mix::Dice;

/// The job of every series.
pub(super) const JOB: &str = "api";

/// Series of one instance.
pub(super) const SERIES_PER_HOST: usize = 100;

/// Buckets that there are room for: from 2^-16 s to 2^16 s.
const BUCKETS: std::ops::Range<i32> = -127..129;

/// How far the mean drifts, in powers of two.
const DRIFT_MAX: f64 = 0.5;

/// Every so many series one is set back.
const RESET_EVERY: usize = 50;

/// Every so many series one has requests that take no time at all.
const ZERO_EVERY: usize = 20;

/// A series and what it has counted.
#[derive(Debug)]
pub(super) struct Series {
    index: usize,
    dice: Dice,
    /// Powers of two of a second.
    mean: f64,
    drift: f64,
    spread: f64,
    /// Pairs of observations in a step, more or less.
    rate: u64,
    /// Steps until it is set back.
    reset: Option<u64>,
    count: u64,
    sum: f64,
    zero_count: u64,
    buckets: Vec<u64>,
}

impl Series {
    /// A series that has counted for a while, in a workload of so many steps.
    pub(super) fn new(index: usize, steps: usize) -> Self {
        let mut dice = Dice(index as u64 ^ 0x1a7e);
        let reset = (index % RESET_EVERY == RESET_EVERY / 2).then(|| dice.below(steps as u64));
        let mut series = Self {
            index,
            mean: dice.fraction() * 4.0 - 8.0,
            drift: 0.0,
            spread: 0.75 + dice.fraction() * 0.25,
            rate: 50 + dice.below(51),
            reset,
            dice,
            count: 0,
            sum: 0.0,
            zero_count: 0,
            buckets: vec![0; BUCKETS.len()],
        };
        let before = 100 + series.dice.below(200);
        (0..before).for_each(|_| series.count_step());
        series
    }

    /// What it exposes after the next step.
    pub(super) fn next(&mut self) -> Histogram {
        if self.reset == Some(0) {
            (self.count, self.sum, self.zero_count) = (0, 0.0, 0);
            self.buckets.fill(0);
        }
        self.reset = self.reset.and_then(|steps| steps.checked_sub(1));
        self.count_step();
        let filled = BUCKETS.zip(self.buckets.iter().copied()).filter(|(_, count)| *count > 0);
        let Self { count, sum, zero_count, .. } = *self;
        Histogram { count, sum, zero_count, buckets: filled.collect() }
    }

    fn count_step(&mut self) {
        self.drift = (self.drift + (self.dice.fraction() - 0.5) * 0.05).clamp(-DRIFT_MAX, DRIFT_MAX);
        let pairs = self.rate * 3 / 4 + self.dice.below(self.rate / 2);
        for _ in 0..pairs {
            for normal in normals(&mut self.dice) {
                self.observe(self.mean + self.drift + self.spread * normal);
            }
        }
        if self.index.is_multiple_of(ZERO_EVERY) {
            let zeros = self.dice.below(3);
            self.zero_count += zeros;
            self.count += zeros;
        }
    }

    /// Counts 2^`exponent` seconds.
    fn observe(&mut self, exponent: f64) {
        let bucket = histogram::bucket_of(exponent).clamp(BUCKETS.start, BUCKETS.end - 1);
        self.buckets[(bucket - BUCKETS.start) as usize] += 1;
        self.count += 1;
        self.sum += exponent.exp2();
    }

    /// Its labels, sorted by name.
    pub(super) fn labels(&self) -> Vec<(&'static str, String)> {
        let (host, nth) = (self.index / SERIES_PER_HOST, self.index % SERIES_PER_HOST);
        let method = ["GET", "POST", "PUT", "DELETE"][nth % 4];
        vec![
            ("__name__", "http_request_duration_seconds".to_owned()),
            ("handler", format!("/api/v1/resource-{}", nth / 4)),
            ("instance", instance(host)),
            ("job", JOB.to_owned()),
            ("method", method.to_owned()),
        ]
    }
}

/// The instance of a host's series.
pub(super) fn instance(host: usize) -> String {
    format!("host-api-{host}:8080")
}

/// Two independent numbers of the normal distribution (Box and Muller).
fn normals(dice: &mut Dice) -> [f64; 2] {
    let radius = (-2.0 * (1.0 - dice.fraction()).ln()).sqrt();
    let (sin, cos) = (dice.fraction() * std::f64::consts::TAU).sin_cos();
    [radius * sin, radius * cos]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the header says about them.
    #[test]
    fn some_sixty_buckets_and_a_hundred_and_fifty_observations() {
        const STEPS: usize = 48;
        let (mut observations, mut buckets, mut resets, mut zeros) = (0, 0, 0, 0);
        let mut last = Vec::new();
        for index in 0..100 {
            let mut series = Series::new(index, STEPS);
            let mut before = series.count;
            for _ in 0..STEPS {
                let histogram = series.next();
                let in_buckets: u64 = histogram.buckets.iter().map(|(_, count)| count).sum();
                assert_eq!(histogram.count, in_buckets + histogram.zero_count);
                resets += u64::from(histogram.count < before);
                observations += histogram.count.saturating_sub(before);
                before = histogram.count;
                buckets += histogram.buckets.len();
                last.push(histogram);
            }
            zeros += u64::from(series.zero_count > 0);
            assert_eq!(Series::new(index, STEPS).next(), last[index * STEPS], "the same at every run");
        }
        let samples = 100 * STEPS as u64;
        assert!((140..160).contains(&(observations / samples)), "{}", observations / samples);
        assert!((55..65).contains(&(buckets as u64 / samples)), "{}", buckets as u64 / samples);
        assert_eq!((resets, zeros), (2, 5));
        assert!(last.iter().enumerate().all(|(at, one)| !last[..at].contains(one)), "two alike");
    }
}
