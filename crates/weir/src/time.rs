//! Times on the command line: as the server takes them, or relative to now; and times in output.

use jiff::Timestamp;
use server::config::units;

/// Turns `now`, `-1h` or `+5m` into seconds since the epoch; everything else (RFC 3339, seconds) goes to the server as
/// it is, which knows what it takes.
pub(crate) fn absolute(text: &str, now_ms: i64) -> String {
    let relative =
        |text: &str| units::parse_duration(text).and_then(|span| i64::try_from(span.as_millis()).ok());
    let ms = match text.split_at_checked(1) {
        _ if text == "now" => Some(now_ms),
        Some(("-", span)) => relative(span).map(|span| now_ms.saturating_sub(span)),
        Some(("+", span)) => relative(span).map(|span| now_ms.saturating_add(span)),
        _ => None,
    };
    ms.map_or_else(|| text.to_owned(), seconds)
}

/// Milliseconds as the decimal seconds of Prometheus' API.
fn seconds(ms: i64) -> String {
    let (sign, ms) = (if ms < 0 { "-" } else { "" }, ms.unsigned_abs());
    format!("{sign}{}.{:03}", ms / 1000, ms % 1000)
}

/// Seconds since the epoch as RFC 3339.
pub(crate) fn show(seconds: f64) -> String {
    let ms = (seconds * 1000.0).round();
    // Out of range, `as` saturates, and jiff refuses what is out of its own range.
    let time = Timestamp::from_millisecond(ms as i64);
    time.map_or_else(|_| seconds.to_string(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_times_are_resolved_and_others_are_left() {
        let now = 1_700_000_000_123;
        let cases = [
            ("now", "1700000000.123"),
            ("-1h", "1699996400.123"),
            ("+1s", "1700000001.123"),
            ("1700000000", "1700000000"),
            ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"),
            ("-5", "-5"),
            ("", ""),
        ];
        for (text, expected) in cases {
            assert_eq!(absolute(text, now), expected);
        }
        assert_eq!(seconds(-1), "-0.001");
        assert_eq!(show(1_700_000_000.5), "2023-11-14T22:13:20.5Z");
        assert_eq!(show(1e300), "1e300".parse::<f64>().unwrap().to_string());
    }
}
