//! When a target is scraped: at a fixed place in its interval, which a hash of the target says.
//!
//! Places are spread evenly whatever the number of targets, and stay where they are over restarts, since nothing but the
//! target and the instance's seed goes into them. Time is counted by the monotonic clock from a common beginning that the
//! wall clock gave once.

use std::time::Duration;

/// A target's place in its interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    interval: Duration,
    offset: Duration,
}

impl Place {
    /// The place that `hash` says in an `interval`, which is not zero.
    pub fn new(interval: Duration, hash: u64) -> Self {
        let nanos = interval.as_nanos().max(1);
        let offset = u64::try_from((u128::from(hash) * nanos) >> 64).unwrap_or(0);
        Self { interval: interval.max(Duration::from_nanos(1)), offset: Duration::from_nanos(offset) }
    }

    /// How long it is from `since_epoch` until this place is next: less than an interval, zero when it is there.
    pub fn wait(self, since_epoch: Duration) -> Duration {
        let interval = self.interval.as_nanos();
        let into = since_epoch.as_nanos() % interval;
        let wait = (self.offset.as_nanos() + interval - into) % interval;
        Duration::from_nanos(u64::try_from(wait).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_spread_over_the_whole_interval() {
        let interval = Duration::from_secs(10);
        let mut tenths = [0_u32; 10];
        for target in 0..10_000_u64 {
            let wait = Place::new(interval, target.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wait(Duration::ZERO);
            assert!(wait < interval);
            tenths[wait.as_secs() as usize] += 1;
        }
        assert!(tenths.iter().all(|count| (900..1100).contains(count)), "{tenths:?}");
    }

    #[test]
    fn a_place_comes_once_in_each_interval() {
        let place = Place::new(Duration::from_secs(10), u64::MAX / 2 + 1);
        let at = Duration::from_secs;
        assert_eq!(place.wait(at(0)), at(5));
        assert_eq!(place.wait(at(5)), at(0));
        assert_eq!(place.wait(at(1_000_006)), at(9));
    }
}
