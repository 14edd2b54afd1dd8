//! Sizes and durations as people write them: `64MiB`, `1.5GB`, `10m`, `400d`, `1h30m`.
//!
//! A bare number is a size in bytes; a duration always has a unit, because `timeout: 10` is read as seconds by one half
//! of the world and as milliseconds by the other. Zero needs none.

use std::time::Duration;

const SIZES: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

const TIMES: [(&str, u64); 7] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
    ("w", 7 * 86_400_000),
    ("y", 365 * 86_400_000),
];

/// Parses a number of bytes.
pub fn parse_size(text: &str) -> Option<u64> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let unit = unit.trim_start();
    let factor = match unit {
        "" => 1,
        _ => SIZES.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?.1,
    };
    scaled(number, factor)
}

/// Writes a number of bytes in the largest unit that divides it.
pub fn show_size(bytes: u64) -> String {
    let exact = SIZES.iter().find(|(_, factor)| bytes != 0 && bytes.is_multiple_of(*factor));
    exact.map_or_else(|| bytes.to_string(), |(unit, factor)| format!("{}{unit}", bytes / factor))
}

/// Parses a duration: numbers with units, largest first as a habit, any order allowed.
pub fn parse_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut total_ms = 0u64;
    if text.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let split = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(split);
        let end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let factor = TIMES.iter().find(|(name, _)| *name == unit)?.1;
        total_ms = total_ms.checked_add(scaled(number, factor)?)?;
        rest = tail;
    }
    Some(Duration::from_millis(total_ms))
}

/// Writes a duration in the largest unit, up to days, that divides it.
pub fn show_duration(duration: Duration) -> String {
    let ms = duration.as_millis();
    let units = TIMES[..5].iter().rev();
    let exact = units.into_iter().find(|(_, factor)| ms != 0 && ms.is_multiple_of(u128::from(*factor)));
    exact.map_or_else(|| "0".to_owned(), |(unit, factor)| format!("{}{unit}", ms / u128::from(*factor)))
}

/// A decimal number times `factor`; none when it is no number or the product is not whole or too large.
fn scaled(number: &str, factor: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| text.parse::<u64>().ok();
    let whole = digits(whole)?.checked_mul(factor)?;
    let parts = u128::from(digits(fraction)?) * u128::from(factor);
    let scale = 10u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let part = parts.is_multiple_of(scale).then(|| u64::try_from(parts / scale).ok()).flatten()?;
    whole.checked_add(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let good = [
            ("0", 0),
            ("17", 17),
            ("64MiB", 64 << 20),
            ("64 mib", 64 << 20),
            ("1.5GB", 1_500_000_000),
            ("5B", 5),
        ];
        for (text, bytes) in good {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        for bad in [
            "",
            "MiB",
            "-1",
            "1.2.3",
            "0.3B",
            "1XB",
            "99999999999999999999",
            "18446744073709551615TiB",
            "1e3",
        ] {
            assert_eq!(parse_size(bad), None, "{bad}");
        }
        for bytes in [0, 1, 1000, 1024, 64 << 20, 1_500_000_000, u64::MAX] {
            assert_eq!(parse_size(&show_size(bytes)), Some(bytes));
        }
    }

    #[test]
    fn durations() {
        let good = [("0", 0), ("10ms", 10), ("1h30m", 5_400_000), ("1.5s", 1500), ("400d", 34_560_000_000)];
        for (text, ms) in good {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(ms)), "{text}");
        }
        for bad in ["", "10", "m", "10x", "-5s", "1h30", "1 h", "0.5ms", "99999999999999999999y", "10µs"] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
        for ms in [0, 1, 999, 1000, 90_000, 86_400_000, 3_153_600_000_000] {
            let duration = Duration::from_millis(ms);
            assert_eq!(parse_duration(&show_duration(duration)), Some(duration));
        }
    }
}
