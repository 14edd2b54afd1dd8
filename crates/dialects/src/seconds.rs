//! Times in seconds with a fraction, as they are written. A number too large for seconds is milliseconds, or nanoseconds.

/// Seconds from here on are milliseconds: the year 2400.
const SECONDS_END: i64 = 13_569_465_600;
/// Milliseconds from here on are nanoseconds: the year 10,000.
const MILLIS_END: i64 = 253_402_300_800_000;

/// Nanoseconds since the Unix epoch; `None` when it is no time.
pub(crate) fn nanoseconds(text: &str) -> Option<i64> {
    let text = text.trim();
    match text.strip_prefix('-') {
        Some(text) => distance(text).map(|nanoseconds| -nanoseconds),
        None => distance(text),
    }
}

/// Nanoseconds from the Unix epoch.
fn distance(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !are_digits(whole) || !are_digits(fraction) {
        // `1.7e9`: as exactly as a float has it.
        let seconds = text.parse::<f64>().ok().filter(|seconds| *seconds >= 0.0)?;
        return ((seconds * 1e6).round() as i64).checked_mul(1000);
    }
    let whole: i64 = whole.parse().ok()?;
    let unit = match whole {
        _ if whole < SECONDS_END => 1_000_000_000,
        _ if whole < MILLIS_END => 1_000_000,
        _ => 1,
    };
    let known = &fraction[..fraction.len().min(9)];
    let billionths = known.parse().unwrap_or(0_i64) * 10_i64.pow(9 - known.len() as u32);
    whole.checked_mul(unit)?.checked_add(billionths / (1_000_000_000 / unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_and_keep_their_digits() {
        for (text, wanted) in [
            ("1795168691.5834677", 1_795_168_691_583_467_700),
            (" 1795168696.039 ", 1_795_168_696_039_000_000),
            ("1486683865", 1_486_683_865_000_000_000),
            ("1486683865.", 1_486_683_865_000_000_000),
            ("1.1234567899", 1_123_456_789),
            ("0", 0),
            ("1433188255500", 1_433_188_255_500_000_000),
            ("1433188255500.25", 1_433_188_255_500_250_000),
            ("1433188255500000001", 1_433_188_255_500_000_001),
            ("1.5e9", 1_500_000_000_000_000_000),
            ("-5", -5_000_000_000),
            (" -0.25", -250_000_000),
            ("-1e-3", -1_000_000),
        ] {
            assert_eq!(nanoseconds(text), Some(wanted), "{text}");
        }
        for text in ["", "x", "-", "--1", ".", "1.2.3", "1e300", "NaN", "-inf", "inf", "99999999999999999999"]
        {
            assert_eq!(nanoseconds(text), None, "{text}");
        }
    }
}
