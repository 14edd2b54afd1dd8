//! Numbers of a line: most have a few digits, which need no general reader.

/// Powers of ten that a float holds exactly.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
];

/// Digits of which any number is below 2^53.
const DIGITS_MAX: usize = 15;

/// A finite number.
#[inline]
pub(crate) fn finite(text: &[u8]) -> Option<f64> {
    short(text).or_else(|| {
        let text = std::str::from_utf8(text).ok()?;
        codec::float::parse(text).filter(|value| value.is_finite())
    })
}

/// A finite number in decimal.
#[inline]
pub(crate) fn decimal(text: &[u8]) -> Option<f64> {
    let is_decimal = |byte: &u8| matches!(byte, b'0'..=b'9' | b'.' | b'-' | b'+' | b'e' | b'E');
    short(text).or_else(|| text.iter().all(is_decimal).then(|| finite(text)).flatten())
}

/// A decimal with up to [`DIGITS_MAX`] digits: both its digits and the power of ten are floats without an error, so
/// their quotient is the nearest one to what is written.
#[inline]
fn short(text: &[u8]) -> Option<f64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    if digits.is_empty() || digits.len() > DIGITS_MAX {
        return None;
    }
    let (mut mantissa, mut point) = (0u64, None);
    for (at, byte) in digits.iter().enumerate() {
        match byte {
            b'0'..=b'9' => mantissa = mantissa * 10 + u64::from(byte - b'0'),
            b'.' if point.is_none() => point = Some(at),
            _ => return None,
        }
    }
    let decimals = match point {
        Some(_) if digits.len() == 1 => return None,
        Some(at) => digits.len() - at - 1,
        None => 0,
    };
    let value = mantissa as f64 / POWERS[decimals];
    Some(if negative { -value } else { value })
}

/// A whole number from `first` to `last`.
pub(crate) fn whole(text: &[u8], first: i64, last: i64) -> Option<i64> {
    let number: i64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    (first..=last).contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_way_is_the_long_way() {
        for text in [
            "0",
            "-0",
            "+1",
            "1.5",
            "-3",
            ".5",
            "5.",
            "0.1",
            "0.30000000000001",
            "123456789012345",
            "1e3",
            "1e999",
            "",
            "-",
            ".",
            "+.",
            "1.2.3",
            "1_0",
            "nan",
            "inf",
            "-Infinity",
            "0x10p2",
            "320.000000",
            "99999999999999.",
            "0.42857142857142855",
            "12a",
            " 1",
        ] {
            let long = codec::float::parse(text).filter(|value| value.is_finite());
            assert_eq!(finite(text.as_bytes()).map(f64::to_bits), long.map(f64::to_bits), "{text:?}");
            if let Some(short) = short(text.as_bytes()) {
                assert_eq!(Some(short.to_bits()), long.map(f64::to_bits), "{text:?}");
            }
        }
    }

    #[test]
    fn decimals_are_decimal() {
        assert_eq!(decimal(b"1.5e3"), Some(1500.0));
        assert_eq!(decimal(b"0.42857142857142855"), Some(0.428_571_428_571_428_55));
        for text in ["0x1p4", "inf", "nan", "1_0", "e5", "1e999", ""] {
            assert_eq!(decimal(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn every_short_decimal_is_the_nearest_float() {
        let mut state = 1u64;
        for _ in 0..200_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let digits = format!("{:015}", (state >> 11) % 1_000_000_000_000_000);
            let at = (state % 14) as usize;
            let text = format!("{}.{}", &digits[..at], &digits[at..14]);
            assert_eq!(short(text.as_bytes()), text.parse().ok(), "{text}");
        }
    }
}
