//! How long is waited before the next try: full jitter under a bound that doubles, or what the receiver asks for.

use std::num::IntErrorKind;
use std::time::Duration;

use env::Env;

/// A receiver's wish counts up to this.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

/// Bounds of pauses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pauses {
    /// Bound of the first one.
    pub min: Duration,
    /// Bound of all.
    pub max: Duration,
}

impl Default for Pauses {
    fn default() -> Self {
        Self { min: Duration::from_millis(250), max: Duration::from_secs(60) }
    }
}

impl Pauses {
    /// The pause after try number `attempt` when the receiver `asked` for one: for more patience, never for less.
    pub(crate) fn after(&self, attempt: u32, asked: Option<Duration>, env: &Env) -> Duration {
        let pause = self.before(attempt, env);
        asked.map_or(pause, |asked| asked.max(pause))
    }

    /// The pause before try number `attempt`, the first repetition being 1.
    pub(crate) fn before(&self, attempt: u32, env: &Env) -> Duration {
        let doubled = attempt.saturating_sub(1).min(20);
        let bound = self.min.saturating_mul(1 << doubled).min(self.max);
        let bound_ms = u64::try_from(bound.as_millis()).unwrap_or(u64::MAX);
        // A remainder is uneven by less than a millionth here.
        Duration::from_millis(env.random_u64() % (bound_ms + 1))
    }
}

/// What `Retry-After` says, at `now_ms`: seconds, or a date.
pub(crate) fn retry_after(text: &str, now_ms: i64) -> Option<Duration> {
    let text = text.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        // More seconds than a number has room for.
        Err(error) if *error.kind() == IntErrorKind::PosOverflow => RETRY_AFTER_MAX,
        Err(_) => {
            let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_zoned(text).ok()?;
            let until_ms = date.timestamp().as_millisecond();
            Duration::from_millis(u64::try_from(until_ms.saturating_sub(now_ms)).unwrap_or(0))
        }
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_their_bound_and_are_scattered_below_it() {
        let (pauses, env) = (Pauses::default(), Env::real());
        assert!(pauses.before(u32::MAX, &env) <= Duration::from_secs(60));
        for attempt in 1..100 {
            let bound = Duration::from_millis(250 << (attempt - 1).min(20)).min(Duration::from_secs(60));
            assert!(pauses.before(attempt, &env) <= bound, "{attempt}");
        }
        let many: Vec<Duration> = (0..100).map(|_| pauses.before(9, &env)).collect();
        let asked: Vec<Duration> = (0..100).map(|_| pauses.after(9, Some(Duration::ZERO), &env)).collect();
        assert!(asked.iter().any(|pause| *pause > Duration::from_secs(20)));
        assert!(pauses.after(1, Some(Duration::from_secs(7)), &env) == Duration::from_secs(7));
        assert!(many.iter().any(|pause| *pause > Duration::from_secs(20)));
        assert!(many.iter().any(|pause| *pause < Duration::from_secs(40)));
    }

    #[test]
    fn receivers_say_when_in_seconds_or_as_a_date() {
        let now_ms = 784_111_777_000;
        let after = |text| retry_after(text, now_ms);
        assert_eq!(after("7"), Some(Duration::from_secs(7)));
        assert_eq!(after(" 100000 "), Some(RETRY_AFTER_MAX));
        assert_eq!(after("Sun, 06 Nov 1994 08:49:47 GMT"), Some(Duration::from_secs(10)));
        assert_eq!(after("Sun, 06 Nov 1994 08:49:27 GMT"), Some(Duration::ZERO));
        assert_eq!(after("99999999999999999999"), Some(RETRY_AFTER_MAX));
        assert_eq!(after("soon"), None);
        assert_eq!(after("-1"), None);
    }
}
