//! What an instrumented service shows of its requests without native histograms: of a host's thirty series ten are
//! counters, ten the buckets of a classic histogram, ten gauges. A restart sets every fiftieth counter back once. No
//! counter is ever near zero: how far a rate is stretched towards it differs between versions of Prometheus.

use super::mix::{Dice, instance};

/// The job of every series.
pub(super) const JOB: &str = "shop";

/// Series of one host: so many of each kind.
pub(super) const SERIES_PER_HOST: usize = 3 * KIND;

/// Series of one kind that a host has.
const KIND: usize = 10;

/// Upper bounds of the buckets.
const BOUNDS: [&str; KIND] = ["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "+Inf"];

/// Where a counter begins; a bucket with as much for each that it holds.
const BEGIN: f64 = 100_000.0;

/// What a counter is set back to.
const RESET: f64 = 5_000.0;

/// Every so many counters one is set back.
const RESET_EVERY: usize = 50;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Counter,
    Bucket,
    Gauge,
}

/// A series and where its value stands.
#[derive(Debug)]
pub(super) struct Series {
    host: usize,
    kind: Kind,
    /// Which of its kind.
    nth: usize,
    value: f64,
    /// Steps until it is set back.
    reset: Option<u64>,
    /// A bucket's are those of all buckets of its host, so that they agree.
    dice: Dice,
}

impl Series {
    /// A series in a workload of so many steps.
    pub(super) fn new(index: usize, steps: usize) -> Self {
        let (host, nth) = (index / SERIES_PER_HOST, index % KIND);
        let kind = [Kind::Counter, Kind::Bucket, Kind::Gauge][index % SERIES_PER_HOST / KIND];
        let seed = if kind == Kind::Bucket { host * SERIES_PER_HOST + KIND } else { index };
        let mut dice = Dice(seed as u64 ^ 0x5409);
        let counter = host * KIND + nth;
        let is_reset = kind == Kind::Counter && counter % RESET_EVERY == RESET_EVERY / 2;
        let reset = is_reset.then(|| dice.below(steps as u64));
        let value = match kind {
            Kind::Counter => BEGIN,
            Kind::Bucket => BEGIN * (nth + 1) as f64,
            Kind::Gauge => (dice.below(1 << 18) * 4096) as f64,
        };
        Self { host, kind, nth, value, reset, dice }
    }

    /// Its next sample.
    pub(super) fn next(&mut self) -> f64 {
        if self.reset == Some(0) {
            self.value = RESET;
        }
        self.reset = self.reset.and_then(|steps| steps.checked_sub(1));
        let dice = &mut self.dice;
        self.value = match self.kind {
            Kind::Counter => self.value + (dice.below(30) + dice.below(30)) as f64,
            // Most requests end in the middle.
            Kind::Bucket => {
                let counts: [u64; KIND] =
                    std::array::from_fn(|bucket| dice.below(1 + 8 * bucket.min(KIND - bucket) as u64));
                self.value + counts[..=self.nth].iter().sum::<u64>() as f64
            }
            Kind::Gauge => (self.value + (dice.below(201) as f64 - 100.0) * 4096.0).max(0.0),
        };
        self.value
    }

    /// Its labels, sorted by name.
    pub(super) fn labels(&self) -> Vec<(&'static str, String)> {
        let (name, label) = match self.kind {
            Kind::Counter => ("http_requests_total", ("handler", format!("/api/v1/orders/{}", self.nth))),
            Kind::Bucket => ("http_request_seconds_bucket", ("le", BOUNDS[self.nth].to_owned())),
            Kind::Gauge => ("process_resident_memory_bytes", ("pool", format!("worker-{}", self.nth))),
        };
        let others = [
            ("__name__", name.to_owned()),
            ("instance", instance(self.host)),
            ("job", JOB.to_owned()),
            label,
        ];
        let mut labels = Vec::from(others);
        labels.sort_unstable();
        labels
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_hold_what_smaller_ones_hold() {
        let series = |nth| Series::new(SERIES_PER_HOST + KIND + nth, 100);
        let mut buckets: Vec<Series> = (0..KIND).map(series).collect();
        let mut last = Vec::new();
        for _ in 0..100 {
            last = buckets.iter_mut().map(Series::next).collect();
            assert!(last.is_sorted(), "{last:?}");
        }
        assert!(last[1] > 0.0 && last[KIND - 1] > last[1], "{last:?}");
    }

    #[test]
    fn one_counter_in_fifty_is_set_back() {
        let mut resets = 0;
        for index in 0..100 * SERIES_PER_HOST {
            let mut series = Series::new(index, 100);
            let values: Vec<f64> = (0..100).map(|_| series.next()).collect();
            if series.kind == Kind::Counter {
                resets += values.windows(2).filter(|pair| pair[1] < pair[0]).count();
            }
        }
        assert!((15..=20).contains(&resets), "{resets}");
    }
}
