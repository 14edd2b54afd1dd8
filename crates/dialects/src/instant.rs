//! A time as text: ISO 8601 as RFC 3339 narrows it, a little wider (a space for the `T`, no zone = UTC, no seconds).

/// Nanoseconds since the Unix epoch; `None` when it is no such text, or a time that they do not reach.
pub(crate) fn nanoseconds(text: &str) -> Option<i64> {
    let mut rest = text.trim();
    let year = digits(&mut rest, 4)?;
    let month = digits(after(&mut rest, &['-'])?, 2)?;
    let day = digits(after(&mut rest, &['-'])?, 2)?;
    let hour = digits(after(&mut rest, &['T', 't', ' '])?, 2)?;
    let minute = digits(after(&mut rest, &[':'])?, 2)?;
    let second = if rest.starts_with(':') { digits(after(&mut rest, &[':'])?, 2)? } else { 0 };
    let nanos = if rest.starts_with(['.', ',']) { fraction(&mut rest)? } else { 0 };
    let offset_s = zone(rest)?;
    let in_range = (1..=12).contains(&month)
        && (1..=days_of(year, month)).contains(&day)
        && hour <= 23
        && minute <= 59
        && second <= 60;
    let seconds = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset_s;
    in_range.then_some(())?;
    seconds.checked_mul(1_000_000_000)?.checked_add(nanos)
}

fn after<'r, 't>(rest: &'r mut &'t str, separators: &[char]) -> Option<&'r mut &'t str> {
    *rest = rest.strip_prefix(separators)?;
    Some(rest)
}

fn digits(rest: &mut &str, count: usize) -> Option<i64> {
    let (number, after) = rest.split_at_checked(count)?;
    *rest = after;
    number.bytes().all(|byte| byte.is_ascii_digit()).then(|| number.parse().ok())?
}

/// Nanoseconds of a fraction of a second; further digits are cut off.
fn fraction(rest: &mut &str) -> Option<i64> {
    let all = &rest[1..];
    let length = all.bytes().take_while(u8::is_ascii_digit).count();
    *rest = &all[length..];
    let known = &all[..length.min(9)];
    let number: i64 = known.parse().ok()?;
    Some(number * 10_i64.pow(9 - known.len() as u32))
}

/// Seconds that a zone is ahead of UTC.
fn zone(text: &str) -> Option<i64> {
    let sign = match text {
        "" | "Z" | "z" => return Some(0),
        text if text.starts_with('-') => -1,
        text if text.starts_with('+') => 1,
        _ => return None,
    };
    let mut rest = &text[1..];
    let hours = digits(&mut rest, 2)?;
    rest = rest.strip_prefix(':').unwrap_or(rest);
    let minutes = if rest.is_empty() { 0 } else { digits(&mut rest, 2)? };
    (rest.is_empty() && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01; years begin in March, so that the day that some of them have is their last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_as_they_are_written() {
        let seconds = |text: &str| nanoseconds(text).map(|nanos| nanos / 1_000_000_000);
        assert_eq!(seconds("2023-11-14T22:13:20Z"), Some(1_700_000_000));
        assert_eq!(seconds("2023-11-15 00:13:20+02:00"), Some(1_700_000_000));
        assert_eq!(seconds("2023-11-14T16:43:20-0530"), Some(1_700_000_000));
        assert_eq!(seconds("2023-11-14T22:13"), Some(1_699_999_980));
        assert_eq!(seconds("1970-01-01T00:00:00z"), Some(0));
        assert_eq!(seconds("2000-02-29T00:00:00+00"), Some(951_782_400));
        assert_eq!(nanoseconds("2023-11-14T22:13:20.123Z"), Some(1_700_000_000_123_000_000));
        assert_eq!(nanoseconds("2023-11-14T22:13:20,1234567891"), Some(1_700_000_000_123_456_789));
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "",
            "2023",
            "2023-11-14",
            "2023-13-01T00:00:00Z",
            "2023-02-29T00:00:00Z",
            "2023-11-14T24:00:00Z",
            "2023-11-14T22:60:00Z",
            "2023-11-14T22:13:20.Z",
            "2023-11-14T22:13:20X",
            "2023-11-14T22:13:20+1",
            "+023-11-14T22:13:20Z",
            "9999-01-01T00:00:00Z",
            "2023-11-14T22:13:20é",
            "1700000000",
        ] {
            assert_eq!(nanoseconds(text), None, "{text}");
        }
    }
}
