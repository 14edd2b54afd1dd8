//! Dates as Go has them: the Gregorian calendar over all seconds that 64 bits can count, which goes round once it is through.

/// Days from March 1st of the year -292,277,022,400, where Go's calendar begins, to the epoch. That year is a multiple of 400.
const DAYS_BEFORE_EPOCH: i64 = YEARS_BEFORE_ZERO / 400 * DAYS_OF_400_YEARS + 719_468;
const YEARS_BEFORE_ZERO: i64 = 292_277_022_400;
const DAYS_OF_400_YEARS: i64 = 146_097;
const SECONDS_OF_DAY: u64 = 86_400;

/// A date and the time of its day, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Date {
    pub(super) year: i64,
    /// From 1.
    pub(super) month: u32,
    /// From 1.
    pub(super) day: u32,
    /// From 1.
    pub(super) day_of_year: u32,
    /// From 0, which is Sunday.
    pub(super) day_of_week: u32,
    pub(super) hour: u32,
    pub(super) minute: u32,
}

impl Date {
    /// The date so many seconds after the epoch. What is no number, or too large for 64 bits, is what Go on amd64 makes of
    /// it: the smallest of them.
    pub(super) fn of(seconds: f64) -> Self {
        const BOUND: f64 = 9_223_372_036_854_775_808.0;
        let whole = if (-BOUND..BOUND).contains(&seconds) { seconds as i64 } else { i64::MIN };
        Self::of_seconds(whole)
    }

    fn of_seconds(seconds: i64) -> Self {
        let before_epoch = (DAYS_BEFORE_EPOCH as u64).wrapping_mul(SECONDS_OF_DAY);
        let seconds = (seconds as u64).wrapping_add(before_epoch);
        // Years begin in March here, so that the day that only some have is their last.
        let days = (seconds / SECONDS_OF_DAY) as i64;
        let (era, day) = (days / DAYS_OF_400_YEARS, days % DAYS_OF_400_YEARS);
        let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let (day, month) = (day - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
        let year = era * 400 + year - YEARS_BEFORE_ZERO + i64::from(month <= 2);
        let (month, day, second) = (month as u32, day as u32, seconds % SECONDS_OF_DAY);
        Self {
            year,
            month,
            day,
            day_of_year: (1..month).map(|month| days_in(year, month)).sum::<u32>() + day,
            day_of_week: ((days + 3) % 7) as u32,
            hour: (second / 3600) as u32,
            minute: (second / 60 % 60) as u32,
        }
    }

    pub(super) fn days_in_month(&self) -> u32 {
        days_in(self.year, self.month)
    }
}

fn days_in(year: i64, month: u32) -> u32 {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 => 28 + u32::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use jiff::tz::TimeZone;

    #[test]
    fn dates_are_those_of_the_gregorian_calendar() {
        let (first, last) = (Timestamp::MIN.as_second(), Timestamp::MAX.as_second());
        let spread = (0..100_000).map(|n| first + (last - first) / 100_000 * n);
        let around = (-800..800).flat_map(|day| [day * 86_400, day * 86_400 - 1, day * 86_400 + 47_111]);
        for seconds in spread.chain(around).chain([first, last]) {
            let wanted = Timestamp::from_second(seconds).unwrap().to_zoned(TimeZone::UTC).datetime();
            let date = Date::of_seconds(seconds);
            assert_eq!(
                (date.year, date.month as i8, date.day as i8, date.day_of_year as i16),
                (i64::from(wanted.year()), wanted.month(), wanted.day(), wanted.day_of_year()),
                "{seconds}"
            );
            let rest =
                (date.day_of_week as i8, date.hour as i8, date.minute as i8, date.days_in_month() as i8);
            let weekday = wanted.weekday().to_sunday_zero_offset();
            assert_eq!(rest, (weekday, wanted.hour(), wanted.minute(), wanted.days_in_month()), "{seconds}");
        }
    }

    /// As Prometheus on amd64 answers.
    #[test]
    fn what_is_no_date_is_a_late_one() {
        let late = Date {
            year: 292_277_026_596,
            month: 12,
            day: 4,
            day_of_year: 339,
            day_of_week: 0,
            hour: 15,
            minute: 30,
        };
        for seconds in
            [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300, -1e300, 9_223_372_036_854_775_808.0]
        {
            assert_eq!(Date::of(seconds), late, "{seconds}");
        }
        assert_eq!(Date::of(-1.5).minute, 59);
        assert_eq!(Date::of(1e17).year, 3_168_875_820);
    }
}
