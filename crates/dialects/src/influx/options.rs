//! What stands in the query of a write.

use std::borrow::Cow;

use crate::{Refusal, Request, query};

/// What a timestamp counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Precision {
    Nanoseconds,
    Microseconds,
    Milliseconds,
    Seconds,
    Minutes,
    Hours,
}

impl Precision {
    /// Both generations' names; 1.x also had nanoseconds for a name that it did not know, which is refused here.
    fn parse(name: &str) -> Option<Self> {
        match name {
            "" | "n" | "ns" => Some(Self::Nanoseconds),
            "u" | "us" | "µ" | "µs" => Some(Self::Microseconds),
            "ms" => Some(Self::Milliseconds),
            "s" => Some(Self::Seconds),
            "m" => Some(Self::Minutes),
            "h" => Some(Self::Hours),
            _ => None,
        }
    }

    /// A timestamp in milliseconds; one that is too far away to be told stays far away.
    #[inline]
    pub(super) fn to_ms(self, timestamp: i64) -> i64 {
        match self {
            Self::Nanoseconds => timestamp.div_euclid(1_000_000),
            Self::Microseconds => timestamp.div_euclid(1000),
            Self::Milliseconds => timestamp,
            Self::Seconds => timestamp.saturating_mul(1000),
            Self::Minutes => timestamp.saturating_mul(60_000),
            Self::Hours => timestamp.saturating_mul(3_600_000),
        }
    }
}

/// The precision of a request, `None` when it names one that does not exist.
pub(super) fn precision(request: &Request<'_>) -> Option<Precision> {
    Precision::parse(&query::values(request.query, "precision").next().unwrap_or_default())
}

/// The database, or bucket, that was written to.
pub(super) fn database<'a>(request: &Request<'a>) -> Cow<'a, str> {
    let name = if is_v2(request) { "bucket" } else { "db" };
    query::values(request.query, name).next().unwrap_or_default()
}

/// Whether InfluxDB 2 has this path.
pub(super) fn is_v2(request: &Request<'_>) -> bool {
    request.path.trim_end_matches('/').ends_with("/api/v2/write")
}

/// Refuses a precision that does not exist, before the body is read.
pub(super) fn accept(request: &Request<'_>) -> Result<(), Refusal> {
    if precision(request).is_some() {
        return Ok(());
    }
    Err(Refusal::Undecodable(match is_v2(request) {
        true => "invalid precision; valid precision units are ns, us, ms, and s".to_owned(),
        false => "invalid precision (use n, u, ms, s, m or h)".to_owned(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_cut_to_milliseconds() {
        let of = |name: &str, timestamp| Precision::parse(name).map(|precision| precision.to_ms(timestamp));
        assert_eq!(of("", 1_999_999), Some(1));
        assert_eq!(of("ns", -1), Some(-1));
        assert_eq!(of("µ", 1_999), Some(1));
        assert_eq!(of("ms", 7), Some(7));
        assert_eq!(of("s", 7), Some(7000));
        assert_eq!(of("m", 7), Some(420_000));
        assert_eq!(of("h", i64::MAX), Some(i64::MAX));
        assert_eq!(of("d", 1), None);
    }

    #[test]
    fn a_write_says_where_to() {
        let request = |path, query| Request { path, query, ..Request::default() };
        assert_eq!(database(&request("/write", "bucket=b&db=my+db")), "my db");
        assert_eq!(database(&request("/influx/api/v2/write/", "bucket=b&db=d")), "b");
        assert_eq!(precision(&request("/write", "precision=%C2%B5")), Some(Precision::Microseconds));
        assert!(accept(&request("/write", "precision=x")).is_err());
    }
}
