//! When a failed order may be tried again: after twice the time of the time before, with jitter, six hours at most.
//!
//! An authority counts failed validations by name and hour, and orders by account. So names that fail wait alone, and
//! an authority that fails, or says that it is too much, is left alone with all of them.

use std::collections::HashMap;
use std::time::Duration;

use super::names::Names;

/// Longest pause, but for one that the authority asks for.
const PAUSE_MAX: Duration = Duration::from_secs(6 * 3600);

/// What has failed how often, and until when it rests. Times are monotonic.
#[derive(Debug, Default)]
pub(super) struct Patience {
    authority: Rest,
    names: HashMap<Names, Rest>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Rest {
    failures: u32,
    until: Duration,
}

impl Rest {
    fn fail(&mut self, now: Duration, first: Duration, dice: u64, least: Duration) -> Duration {
        let doubled = first.saturating_mul(1 << self.failures.min(20)).min(PAUSE_MAX).max(least);
        // Up to a quarter more: many who failed together do not come back together.
        let pause = doubled + doubled / 4 * u32::from(dice as u8) / 255;
        self.failures += 1;
        self.until = now + pause;
        pause
    }
}

impl Patience {
    /// Whether these names may be ordered now.
    pub(super) fn allows(&self, names: &Names, now: Duration) -> bool {
        let rests = self.names.get(names).is_some_and(|rest| rest.until > now);
        !rests && self.authority.until <= now
    }

    /// Notes a success.
    pub(super) fn succeeded(&mut self, names: &Names) {
        self.names.remove(names);
        self.authority = Rest::default();
    }

    /// Notes that the names could not be validated; gives how long they rest.
    pub(super) fn names_failed(
        &mut self,
        names: &Names,
        now: Duration,
        first: Duration,
        dice: u64,
    ) -> Duration {
        self.names.entry(names.clone()).or_default().fail(now, first, dice, Duration::ZERO)
    }

    /// Notes that nothing can be ordered at all; gives how long all rest, `least` at least.
    pub(super) fn authority_failed(
        &mut self,
        now: Duration,
        first: Duration,
        dice: u64,
        least: Duration,
    ) -> Duration {
        self.authority.fail(now, first, dice, least)
    }

    /// Forgets names that are not wanted any more.
    pub(super) fn keep(&mut self, wanted: &[Names]) {
        self.names.retain(|names, _| wanted.contains(names));
    }
}

#[cfg(test)]
mod tests {
    use admission::{Authority, Policy, State};

    use super::*;
    use crate::tls::acme::names::wanted;

    #[test]
    fn pauses_double_and_names_wait_alone() {
        let policy = Policy { domain: Some("a.example".into()), ..Policy::default() };
        let all = wanted(&Authority::new(State::first(0).into(), policy));
        let (one, other) = (&all[0], &all[1]);
        let seconds = Duration::from_secs;
        let mut patience = Patience::default();
        let fail =
            |patience: &mut Patience, dice| patience.names_failed(one, seconds(100), seconds(60), dice);
        assert_eq!(fail(&mut patience, 0), seconds(60));
        assert_eq!(fail(&mut patience, 255), seconds(150));
        assert!(!patience.allows(one, seconds(249)) && patience.allows(one, seconds(250)));
        assert!(patience.allows(other, seconds(100)));
        for _ in 0..40 {
            fail(&mut patience, 0);
        }
        assert_eq!(fail(&mut patience, 0), PAUSE_MAX);
        patience.succeeded(one);
        assert_eq!(fail(&mut patience, 0), seconds(60));

        // Who asks for more time gets it, for all names.
        assert_eq!(patience.authority_failed(seconds(100), seconds(60), 0, seconds(90_000)), seconds(90_000));
        assert!(!patience.allows(other, seconds(90_099)) && patience.allows(other, seconds(90_100)));
    }
}
