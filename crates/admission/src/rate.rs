//! Samples a second, per tenant, as a meter: admit while the tenant is not in debt, charge after decoding.
//!
//! How many samples a body holds is only known once it is decoded, and throwing decoded samples away would make the
//! sender pay twice; so a request is let in when what was charged before has drained, and its true cost is added
//! afterwards. This is GCRA with the level kept in samples instead of a theoretical arrival time: a limit that changes
//! while Weir runs then changes how fast the debt drains, and not how large it is.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use model::{TenantId, TenantLimits};

/// The longest wait that is ever asked for.
const RETRY_MAX: Duration = Duration::from_secs(30);

/// Occurs when a tenant has sent more than its rate and burst allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("over the tenant's sample rate")]
pub struct OverRate {
    /// When it may come back: at least 1 s, at most 30 s.
    pub retry_after: Duration,
}

/// One tenant's meter.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Meter {
    level: f64,
    at: Duration,
}

impl Meter {
    /// Whether a request may come in at `now` (monotonic).
    pub fn check(&self, limits: &TenantLimits, now: Duration) -> Result<(), OverRate> {
        let debt = self.level_at(limits, now) - limits.samples_burst;
        if debt <= 0.0 {
            return Ok(());
        }
        let seconds = debt / limits.samples_per_second;
        let wait = Duration::try_from_secs_f64(seconds).unwrap_or(RETRY_MAX);
        Err(OverRate { retry_after: wait.clamp(Duration::from_secs(1), RETRY_MAX) })
    }

    /// Adds what a request turned out to hold.
    pub fn charge(&mut self, limits: &TenantLimits, samples: u64, now: Duration) {
        self.level = self.level_at(limits, now) + samples as f64;
        self.at = self.at.max(now);
    }

    fn level_at(&self, limits: &TenantLimits, now: Duration) -> f64 {
        let drained = now.saturating_sub(self.at).as_secs_f64() * limits.samples_per_second;
        (self.level - drained).max(0.0)
    }
}

/// Every tenant's meter. A tenant that sends nothing has none.
#[derive(Debug, Default)]
pub struct Rates {
    meters: Mutex<HashMap<TenantId, Meter>>,
}

impl Rates {
    /// Whether a request of `tenant` may come in at `now` (monotonic).
    pub fn check(&self, tenant: TenantId, limits: &TenantLimits, now: Duration) -> Result<(), OverRate> {
        self.with(|meters| meters.get(&tenant).map_or(Ok(()), |meter| meter.check(limits, now)))
    }

    /// Adds what a request of `tenant` turned out to hold: all samples, accepted and rejected ones.
    pub fn charge(&self, tenant: TenantId, limits: &TenantLimits, samples: u64, now: Duration) {
        self.with(|meters| meters.entry(tenant).or_default().charge(limits, samples, now));
    }

    /// Forgets a deleted tenant.
    pub fn forget(&self, tenant: TenantId) {
        self.with(|meters| meters.remove(&tenant));
    }

    fn with<T>(&self, act: impl FnOnce(&mut HashMap<TenantId, Meter>) -> T) -> T {
        // A meter is a plain number: one that a panicking thread left behind is still right.
        act(&mut self.meters.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limits(rate: f64, burst: f64) -> TenantLimits {
        TenantLimits { samples_per_second: rate, samples_burst: burst, ..TenantLimits::default() }
    }

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn a_debt_is_waited_for_and_told() {
        let limits = limits(100.0, 50.0);
        let rates = Rates::default();
        let tenant = TenantId(1);
        assert_eq!(rates.check(tenant, &limits, seconds(5)), Ok(()));
        rates.charge(tenant, &limits, 550, seconds(5));
        assert_eq!(rates.check(tenant, &limits, seconds(5)), Err(OverRate { retry_after: seconds(5) }));
        assert_eq!(rates.check(TenantId(2), &limits, seconds(5)), Ok(()));
        assert!(rates.check(tenant, &limits, seconds(9)).is_err());
        assert_eq!(rates.check(tenant, &limits, seconds(10)), Ok(()));
        rates.charge(tenant, &limits, u64::MAX, seconds(10));
        assert_eq!(rates.check(tenant, &limits, seconds(10)), Err(OverRate { retry_after: RETRY_MAX }));
        rates.forget(tenant);
        assert_eq!(rates.check(tenant, &limits, seconds(10)), Ok(()));
    }

    #[test]
    fn the_burst_itself_is_no_debt_and_half_a_sample_more_is() {
        let mut meter = Meter::default();
        meter.charge(&limits(1.0, 50.0), 50, seconds(0));
        assert_eq!(meter.check(&limits(1.0, 50.0), seconds(0)), Ok(()));
        assert_eq!(meter.check(&limits(1.0, 49.5), seconds(0)), Err(OverRate { retry_after: seconds(1) }));
    }

    #[test]
    fn a_new_limit_counts_at_once() {
        let mut meter = Meter::default();
        meter.charge(&limits(100.0, 50.0), 1000, seconds(0));
        assert!(meter.check(&limits(100.0, 50.0), seconds(1)).is_err());
        assert_eq!(meter.check(&limits(1000.0, 50.0), seconds(1)), Ok(()));
        assert_eq!(meter.check(&limits(100.0, 1000.0), seconds(1)), Ok(()));
    }

    proptest! {
        /// Against a model that drains a bucket in steps of one millisecond.
        #[test]
        fn meters_agree_with_a_bucket_drained_by_hand(
            rate in 1u32..20, burst in 0u32..2000,
            steps in prop::collection::vec((0u64..400, 0u64..600), 1..40),
        ) {
            // Whole samples a millisecond keep both sides exact.
            let limits = limits(f64::from(rate) * 1000.0, f64::from(burst));
            let (mut meter, mut bucket, mut now) = (Meter::default(), 0u64, 0u64);
            for (wait, samples) in steps {
                for _ in 0..wait {
                    bucket = bucket.saturating_sub(u64::from(rate));
                }
                now += wait;
                let at = Duration::from_millis(now);
                // Seconds as floating point leave a rounding error of far less than a thousandth of a sample.
                let level = meter.level_at(&limits, at);
                prop_assert!((level - bucket as f64).abs() < 1e-3, "{level} {bucket}");
                if level != f64::from(burst) && bucket != u64::from(burst) {
                    prop_assert_eq!(meter.check(&limits, at).is_ok(), bucket <= u64::from(burst));
                }
                if meter.check(&limits, at).is_ok() {
                    meter.charge(&limits, samples, at);
                    bucket += samples;
                }
            }
        }
    }
}
