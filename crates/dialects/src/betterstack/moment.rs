//! `dt`, the time of an event, in every form in which it is sent.
//!
//! A number is seconds, milliseconds, microseconds or nanoseconds by how large it is, which is unambiguous from 1973 to
//! 5138. A text is RFC 3339, ISO 8601 (also in its basic form, and a date alone), or such a number. MessagePack has a type
//! for times besides.

use std::borrow::Cow;

use super::tree::{Number, Value};
use crate::instant;

/// When something was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) enum Moment {
    /// It was not said: when it was received.
    #[default]
    Unsaid,
    /// Said in no form that is known: when it was received, and counted.
    Unknown,
    /// Seconds since the Unix epoch and nanoseconds after them.
    At(i64, u32),
}

const NANOS: i64 = 1_000_000_000;

impl Moment {
    /// What `value` says.
    #[inline]
    pub(super) fn of(value: &Value<'_>) -> Self {
        match value {
            Value::Null => Self::Unsaid,
            Value::Number(number) => Self::of_number(*number),
            Value::Text(text) => Self::of_text(text.trim()),
            Value::Time(seconds, nanos) => Self::At(*seconds, *nanos),
            Value::Bool(_) | Value::List(_) | Value::Map(_) | Value::Unknown => Self::Unknown,
        }
    }

    fn of_number(number: Number<'_>) -> Self {
        match number {
            Number::Whole(number) => i64::try_from(number).map_or(Self::Unknown, Self::of_whole),
            Number::Float(value) => Self::of_float(value),
            Number::Text(text) => match text.parse() {
                Ok(number) => Self::of_whole(number),
                Err(_) => text.parse().map_or(Self::Unknown, Self::of_float),
            },
        }
    }

    fn of_text(text: &str) -> Self {
        if let Some(nanos) = instant::nanoseconds(&extended(text)) {
            return Self::At(nanos.div_euclid(NANOS), nanos.rem_euclid(NANOS) as u32);
        }
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
        if is_number { Self::of_number(Number::Text(text)) } else { Self::Unknown }
    }

    fn of_whole(number: i64) -> Self {
        let per_second = per_second(number);
        let (seconds, rest) = (number.div_euclid(per_second), number.rem_euclid(per_second));
        Self::At(seconds, (rest * (NANOS / per_second)) as u32)
    }

    fn of_float(value: f64) -> Self {
        let value = value / per_second(value as i64) as f64;
        let seconds = value.floor();
        if !seconds.is_finite() || seconds.abs() >= i64::MAX as f64 {
            return Self::Unknown;
        }
        // A float of our time has no nanoseconds in it.
        let micros = ((value - seconds) * 1e6).round().min(999_999.0);
        Self::At(seconds as i64, micros as u32 * 1000)
    }

    /// Milliseconds since the Unix epoch; a time that they do not reach is as far as they go.
    #[inline]
    pub(super) fn milliseconds(self, received_ms: i64) -> i64 {
        match self {
            Self::Unsaid | Self::Unknown => received_ms,
            Self::At(seconds, nanos) => {
                seconds.saturating_mul(1000).saturating_add(i64::from(nanos / 1_000_000))
            }
        }
    }

    /// Nanoseconds since the Unix epoch, unless they do not reach it, or it is before that.
    pub(super) fn nanoseconds(self) -> Option<i64> {
        let Self::At(seconds, nanos) = self else { return None };
        let nanos = seconds.checked_mul(NANOS)?.checked_add(nanos.into())?;
        (nanos > 0).then_some(nanos)
    }
}

/// How many of a number's units a second has.
fn per_second(number: i64) -> i64 {
    match number {
        _ if number < 100_000_000_000 => 1,
        _ if number < 100_000_000_000_000 => 1000,
        _ if number < 100_000_000_000_000_000 => 1_000_000,
        _ => NANOS,
    }
}

/// ISO 8601's basic form as the extended one, and a date without a time as its midnight; anything else as it is.
fn extended(text: &str) -> Cow<'_, str> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    if digits == 4 && text.len() == "2022-12-31".len() {
        return Cow::Owned(format!("{text}T00:00:00"));
    }
    if digits != 8 {
        return Cow::Borrowed(text);
    }
    let (date, time) = text.split_at(8);
    let date = format!("{}-{}-{}", &date[..4], &date[4..6], &date[6..]);
    if time.is_empty() {
        return Cow::Owned(format!("{date}T00:00:00"));
    }
    let Some(time) = time.strip_prefix(['T', 't', ' ']) else { return Cow::Borrowed(text) };
    let digits = time.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, rest) = time.split_at(digits);
    Cow::Owned(match digits.len() {
        2 if !rest.starts_with(':') => format!("{date}T{digits}:00{rest}"),
        4 => format!("{date}T{}:{}{rest}", &digits[..2], &digits[2..]),
        6 => format!("{date}T{}:{}:{}{rest}", &digits[..2], &digits[2..4], &digits[4..]),
        _ => format!("{date}T{time}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Moment {
        Moment::of(&Value::Text(text.into()))
    }

    fn number(text: &str) -> Moment {
        Moment::of(&Value::Number(Number::Text(text)))
    }

    #[test]
    fn numbers_say_their_unit_by_their_size() {
        for (sent, seconds, nanos) in [
            ("1672490759", 1_672_490_759, 0),
            ("1672490759123", 1_672_490_759, 123_000_000),
            ("1672490759123456", 1_672_490_759, 123_456_000),
            ("1672490759123456000", 1_672_490_759, 123_456_000),
            ("1672490759123456789", 1_672_490_759, 123_456_789),
            ("99999999999", 99_999_999_999, 0),
            ("100000000000", 100_000_000, 0),
            ("99999999999999", 99_999_999_999, 999_000_000),
            ("100000000000000", 100_000_000, 0),
            ("99999999999999999", 99_999_999_999, 999_999_000),
            ("100000000000000000", 100_000_000, 0),
            ("0", 0, 0),
            ("-1", -1, 0),
            ("-100000000000", -100_000_000_000, 0),
            ("1672490759.25", 1_672_490_759, 250_000_000),
            ("1795167593.8814704", 1_795_167_593, 881_470_000),
            ("1.672490759123e12", 1_672_490_759, 123_000_000),
            ("-1.5", -2, 500_000_000),
        ] {
            assert_eq!(number(sent), Moment::At(seconds, nanos), "{sent}");
            assert_eq!(text(sent), Moment::At(seconds, nanos), "{sent} as text");
        }
        let whole = |number| Moment::of(&Value::Number(Number::Whole(number)));
        assert_eq!(whole(1_672_490_759_123), Moment::At(1_672_490_759, 123_000_000));
        assert_eq!(whole(i128::from(u64::MAX)), Moment::Unknown);
        assert_eq!(number("1e300"), Moment::Unknown);
        assert_eq!(number("NaN"), Moment::Unknown);
    }

    #[test]
    fn texts_are_iso_8601() {
        let at = Moment::At(1_672_494_359, 123_456_000);
        for sent in [
            "2022-12-31T13:45:59.123456Z",
            "2022-12-31 13:45:59.123456Z",
            " 2022-12-31t13:45:59.123456z ",
            "2022-12-31 15:45:59.123456+02:00",
            "2022-12-31T08:15:59.123456-0530",
            "2022-12-31T13:45:59,123456",
            "20221231T134559.123456Z",
            "20221231T154559,123456+0200",
            "20221231 134559.123456",
        ] {
            assert_eq!(text(sent), at, "{sent}");
        }
        for (sent, seconds) in [
            ("2023-08-09 07:03:30+00:00", 1_691_564_610),
            ("20221231T134559Z", 1_672_494_359),
            ("20221231T1345Z", 1_672_494_300),
            ("20221231T13+01", 1_672_488_000),
            ("20221231T13:45:59Z", 1_672_494_359),
            ("2022-12-31T13:45Z", 1_672_494_300),
            ("2022-12-31", 1_672_444_800),
            ("20221231", 1_672_444_800),
            ("20229931", 20_229_931),
        ] {
            assert_eq!(text(sent), Moment::At(seconds, 0), "{sent}");
        }
    }

    #[test]
    fn what_is_no_time_is_counted_and_what_is_nothing_is_not() {
        for sent in
            ["not a date", "", "2022-12-31T", "2022-13-31", "20221231T1", "20221231T134", "é", "-", "."]
        {
            assert_eq!(text(sent), Moment::Unknown, "{sent:?}");
        }
        for sent in [Value::Bool(true), Value::List(0), Value::Map(0), Value::Unknown] {
            assert_eq!(Moment::of(&sent), Moment::Unknown);
        }
        assert_eq!(Moment::of(&Value::Null), Moment::Unsaid);
    }

    #[test]
    fn milliseconds_go_as_far_as_they_go() {
        assert_eq!(Moment::Unsaid.milliseconds(7), 7);
        assert_eq!(Moment::Unknown.milliseconds(7), 7);
        assert_eq!(Moment::At(1, 999_999_999).milliseconds(7), 1999);
        assert_eq!(Moment::At(-1, 5).milliseconds(7), -1000);
        assert_eq!(Moment::At(i64::MAX, 0).milliseconds(7), i64::MAX);
        assert_eq!(Moment::At(i64::MIN, 0).milliseconds(7), i64::MIN);
        assert_eq!(Moment::At(5, 6).nanoseconds(), Some(5_000_000_006));
        assert_eq!(Moment::At(-5, 6).nanoseconds(), None);
        assert_eq!(Moment::At(i64::MAX, 0).nanoseconds(), None);
    }
}
