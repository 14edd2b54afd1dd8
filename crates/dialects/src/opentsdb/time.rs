//! OpenTSDB's timestamps: seconds with up to ten digits, else milliseconds.

use crate::number;

/// The last second of ten digits.
const SECONDS_MAX: f64 = 9_999_999_999.0;

/// A timestamp in milliseconds. Seconds may have a fraction.
pub(super) fn to_ms(text: &str) -> Option<i64> {
    let number = number::decimal(text.as_bytes())?;
    // The cast saturates: what is too far away is refused for that.
    Some(if number.abs() <= SECONDS_MAX { (number * 1000.0).round() as i64 } else { number as i64 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_say_what_is_counted() {
        assert_eq!(to_ms("1795167944"), Some(1_795_167_944_000));
        assert_eq!(to_ms("1795167944.789"), Some(1_795_167_944_789));
        assert_eq!(to_ms("1795167944789"), Some(1_795_167_944_789));
        assert_eq!(to_ms("-1"), Some(-1000));
        assert_eq!(to_ms("1e300"), Some(i64::MAX));
        assert_eq!((to_ms("now"), to_ms(""), to_ms("nan")), (None, None, None));
    }
}
