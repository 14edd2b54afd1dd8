//! Durations as Prometheus writes them, for `#[serde(with = "outbound::duration")]`: `1d12h`, `90s`, `500ms`, `0`.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Units from the largest, in milliseconds.
const UNITS: [(&str, u64); 7] = [
    ("y", 365 * 24 * 3_600_000),
    ("w", 7 * 24 * 3_600_000),
    ("d", 24 * 3_600_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Reads a duration: whole numbers with units, from the largest unit to the smallest, each once.
pub fn parse(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let (mut rest, mut total_ms, mut units) = (text, 0u64, UNITS.iter());
    if text.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let (number, tail) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let (unit, tail) = tail.split_at(tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len()));
        let factor = units.find(|(name, _)| *name == unit)?.1;
        total_ms = total_ms.checked_add(number.parse::<u64>().ok()?.checked_mul(factor)?)?;
        rest = tail;
    }
    // Prometheus counts nanoseconds in 64 bits.
    (total_ms <= i64::MAX as u64 / 1_000_000).then(|| Duration::from_millis(total_ms))
}

/// Writes a duration as Prometheus does; what is below a millisecond is cut off.
pub fn show(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if rest == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (unit, factor) in UNITS {
        let number = rest / factor;
        // Years and weeks only where they say everything.
        if number > 0 && (!matches!(unit, "y" | "w") || rest.is_multiple_of(factor)) {
            text.push_str(&format!("{number}{unit}"));
            rest %= factor;
        }
    }
    text
}

/// For serde.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse(&text)
        .ok_or_else(|| de::Error::custom(format!("expected a duration like 30s or 1h30m, found {text:?}")))
}

/// For serde.
pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    show(*duration).serialize(serializer)
}

/// For a duration that may be left open: `#[serde(with = "outbound::duration::option")]`.
pub mod option {
    use super::{Deserializer, Duration, Serializer};

    /// For serde.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        super::deserialize(deserializer).map(Some)
    }

    /// For serde.
    pub fn serialize<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => super::serialize(duration, serializer),
            None => serializer.serialize_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_prometheus() {
        let good = [
            ("0", 0),
            ("0s", 0),
            ("5ms", 5),
            ("1h30m", 5_400_000),
            ("1d12h", 129_600_000),
            ("3w", 1_814_400_000),
        ];
        for (text, ms) in good {
            assert_eq!(parse(text), Some(Duration::from_millis(ms)), "{text}");
        }
        for bad in ["", "1", "1.5h", "-1m", "1m1h", "1s1s", "h", "1 m", "300y", "99999999999999999999s"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
        for text in ["0s", "15s", "1m30s", "1d12h", "1y", "2w", "1s500ms", "90d"] {
            assert_eq!(show(parse(text).unwrap()), text);
        }
    }
}
