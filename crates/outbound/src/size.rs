//! Numbers of bytes as Prometheus writes them: `10MB` and `10MiB` are the same, 10 × 1,048,576.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Bytes; 0 where there is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

const UNITS: [(char, u32); 6] = [('K', 10), ('M', 20), ('G', 30), ('T', 40), ('P', 50), ('E', 60)];

impl Size {
    /// Reads a size; a bare number is of bytes.
    pub fn parse(text: &str) -> Option<Self> {
        let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(split);
        let number: u64 = number.parse().ok()?;
        let mut letters = unit.chars();
        let Some(first) = letters.next() else { return Some(Self(number)) };
        let shift = match (first, letters.as_str()) {
            ('B', "") => 0,
            (letter, "B" | "iB") => UNITS.iter().find(|(unit, _)| *unit == letter)?.1,
            _ => return None,
        };
        number.checked_mul(1 << shift).map(Self)
    }
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match UNITS.iter().rev().find(|(_, shift)| self.0 != 0 && self.0.is_multiple_of(1 << shift)) {
            Some((letter, shift)) => write!(f, "{}{letter}iB", self.0 >> shift),
            None => write!(f, "{}B", self.0),
        }
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text)
            .ok_or_else(|| de::Error::custom(format!("expected a size like 10MB, found {text:?}")))
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_prometheus() {
        for (text, bytes) in
            [("0", 0), ("17", 17), ("5B", 5), ("10MB", 10 << 20), ("10MiB", 10 << 20), ("2GB", 2 << 30)]
        {
            assert_eq!(Size::parse(text), Some(Size(bytes)), "{text}");
        }
        for bad in ["", "MB", "-1", "1.5MB", "1XB", "1M", "10mb", "99999999999EB"] {
            assert_eq!(Size::parse(bad), None, "{bad}");
        }
        for text in ["0B", "7B", "10MiB", "3GiB"] {
            assert_eq!(Size::parse(text).unwrap().to_string(), text);
        }
    }
}
