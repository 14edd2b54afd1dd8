//! Parameters of the query API: from the query string and, for POST, from a form; times and durations as Prometheus
//! reads them.

use jiff::civil::DateTime;
use model::TimeRange;
use promql::duration;

/// The earliest and latest times that Prometheus can name, in ms; clients send them for "everything".
pub const TIME_MIN_MS: i64 = -9_223_309_901_257_974_000;
/// See [`TIME_MIN_MS`].
pub const TIME_MAX_MS: i64 = 9_223_309_901_257_974_000;
const TIME_MIN_TEXT: &str = "-292273086-05-16T16:47:06Z";
const TIME_MAX_TEXT: &str = "+292277025-08-18T07:12:54.999999999Z";

/// Parameters of one request at most; the rest is not read.
const PARAMS_MAX: usize = 10_000;

/// Parameters of one request, those of the body first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Params(Vec<(String, String)>);

/// Occurs when a parameter cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid parameter {name:?}: {what}")]
pub struct InvalidParam {
    /// The parameter.
    pub name: &'static str,
    /// What is wrong with it.
    pub what: String,
}

impl InvalidParam {
    /// With this message.
    pub fn new(name: &'static str, what: impl Into<String>) -> Self {
        Self { name, what: what.into() }
    }
}

impl Params {
    /// Reads a query string and a form, both percent-encoded.
    pub fn parse(form: &str, query: &str) -> Self {
        Self(pairs(form).chain(pairs(query)).take(PARAMS_MAX).collect())
    }

    /// The first value; empty when there is none.
    pub fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value)
    }

    /// All values.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// A time in ms; `default` when it is absent.
    pub fn time(&self, name: &'static str, default: i64) -> Result<i64, InvalidParam> {
        if self.get(name).is_empty() {
            return Ok(default);
        }
        // Prometheus says it twice where a time may be absent.
        let twice = |InvalidParam { name, what }| {
            InvalidParam::new(name, format!("invalid time value for '{name}': {what}"))
        };
        self.required_time(name).map_err(twice)
    }

    /// A time in ms that must be there.
    pub fn required_time(&self, name: &'static str) -> Result<i64, InvalidParam> {
        let text = self.get(name);
        time(text)
            .ok_or_else(|| InvalidParam::new(name, format!("cannot parse {text:?} to a valid timestamp")))
    }

    /// A duration in ms; none when it is absent.
    pub fn duration(&self, name: &'static str) -> Result<Option<i64>, InvalidParam> {
        match self.get(name) {
            "" => Ok(None),
            _ => self.required_duration(name).map(Some),
        }
    }

    /// A duration in ms that must be there.
    pub fn required_duration(&self, name: &'static str) -> Result<i64, InvalidParam> {
        duration_ms(self.get(name)).map_err(|what| InvalidParam::new(name, what))
    }

    /// A limit on results; 0 when it is absent: no limit.
    pub fn limit(&self, name: &'static str) -> Result<usize, InvalidParam> {
        match self.get(name) {
            "" => Ok(0),
            text => {
                let limit =
                    parse_int("Atoi", text, i64::BITS).map_err(|what| InvalidParam::new(name, what))?;
                usize::try_from(limit).map_err(|_| InvalidParam::new(name, "limit must be non-negative"))
            }
        }
    }

    /// `start` and `end`, all of time when they are absent; they may be the wrong way round.
    pub fn range(&self) -> Result<TimeRange, InvalidParam> {
        let start_ms = self.time("start", TIME_MIN_MS)?;
        let end_ms = self.time("end", TIME_MAX_MS)?;
        Ok(TimeRange { start_ms, end_ms })
    }
}

/// What is said where the ends of a range are the wrong way round.
pub const BACKWARDS: &str = "end timestamp must not be before start timestamp";

/// A whole number of so many bits; the error is the text of Go's function of that name.
pub fn parse_int(function: &str, text: &str, bits: u32) -> Result<i64, String> {
    let fault = |what: &str| format!("strconv.{function}: parsing {}: {what}", promql::text::quoted(text));
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(fault("invalid syntax"));
    }
    let most = i64::MAX >> (i64::BITS - bits);
    let number = text.parse::<i64>().ok().filter(|number| (-most - 1..=most).contains(number));
    number.ok_or_else(|| fault("value out of range"))
}

/// A truth value as Go reads it.
pub fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn pairs(text: &str) -> impl Iterator<Item = (String, String)> + '_ {
    text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(name, true), decode(value, true))
    })
}

/// Undoes percent encoding; what is not UTF-8 then is replaced, and matches nothing.
pub fn decode(text: &str, plus_is_space: bool) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let escaped = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match escaped.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) if first == b'%' => {
                bytes.push(byte);
                rest = &tail[2..];
                continue;
            }
            _ => bytes.push(if first == b'+' && plus_is_space { b' ' } else { first }),
        }
        rest = tail;
    }
    String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}

/// Float seconds, rounded to ms, or RFC 3339. Numbers beyond all times (Grafana sends ms where seconds are meant) are
/// valid: they are cut to the ends of time.
fn time(text: &str) -> Option<i64> {
    if let Ok(seconds) = text.parse::<f64>() {
        // NaN and infinities are no times.
        return seconds.is_finite().then(|| float_ms(seconds));
    }
    match text {
        TIME_MIN_TEXT => Some(TIME_MIN_MS),
        TIME_MAX_TEXT => Some(TIME_MAX_MS),
        _ if !is_rfc3339(text) => None,
        _ => match text.parse::<jiff::Timestamp>() {
            Ok(time) => Some(time.as_millisecond()),
            Err(_) => last_days(text),
        },
    }
}

/// The end of the year 9999, which clients send for "always", is later than a timestamp can be, but it is a date.
fn last_days(text: &str) -> Option<i64> {
    let date = text.strip_suffix(['Z', 'z'])?.parse::<DateTime>().ok()?;
    let epoch = jiff::civil::date(1970, 1, 1).at(0, 0, 0, 0);
    i64::try_from(date.duration_since(epoch).as_millis()).ok()
}

/// Whether a time has the form that Go asks for; `jiff` reads others, too: a space for the `T`, no seconds, a zone's name.
fn is_rfc3339(text: &str) -> bool {
    let has_form = |text: &str, form: &str| {
        text.len() == form.len()
            && text.bytes().zip(form.bytes()).all(|(byte, form)| match form {
                b'0' => byte.is_ascii_digit(),
                form => byte == form,
            })
    };
    let Some((time, rest)) = text.split_at_checked("0000-00-00T00:00:00".len()) else { return false };
    let zone = match rest.strip_prefix('.') {
        Some(fraction) => fraction.trim_start_matches(|c: char| c.is_ascii_digit()),
        None => rest,
    };
    let has_zone = zone == "Z" || has_form(zone, "+00:00") || has_form(zone, "-00:00");
    has_form(time, "0000-00-00T00:00:00") && has_zone && !rest.starts_with(&format!(".{zone}"))
}

fn float_ms(seconds: f64) -> i64 {
    let (whole, fraction) = (seconds.trunc(), seconds.fract());
    // The cast saturates; the ends of time are cut below.
    let ms = (whole as i64).saturating_mul(1000).saturating_add((fraction * 1000.0).round() as i64);
    ms.clamp(TIME_MIN_MS, TIME_MAX_MS)
}

fn duration_ms(text: &str) -> Result<i64, String> {
    if let Ok(seconds) = text.parse::<f64>() {
        let nanoseconds = seconds * 1e9;
        if nanoseconds.is_nan() || nanoseconds.abs() > i64::MAX as f64 {
            return Err(format!("cannot parse {text:?} to a valid duration. It overflows int64"));
        }
        return Ok((nanoseconds as i64) / 1_000_000);
    }
    duration::parse(text).map_err(|_| format!("cannot parse {text:?} to a valid duration"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_prometheus_reads_them() {
        let cases = [
            ("0", Some(0)),
            ("1.5", Some(1500)),
            ("1435781430.781", Some(1_435_781_430_781)),
            ("-0.0005", Some(-1)),
            ("1e9", Some(1_000_000_000_000)),
            ("1700000000000", Some(1_700_000_000_000_000)),
            ("1e300", Some(TIME_MAX_MS)),
            ("-1e300", Some(TIME_MIN_MS)),
            ("2015-07-01T20:10:30.781Z", Some(1_435_781_430_781)),
            ("2015-07-01T22:10:30.781+02:00", Some(1_435_781_430_781)),
            ("2015-07-01T15:10:30-05:00", Some(1_435_781_430_000)),
            ("2015-07-01 20:10:30Z", None),
            ("2015-07-01T20:10Z", None),
            ("2015-07-01T20:10:30", None),
            ("2015-07-01T20:10:30.Z", None),
            ("2015-07-01T20:10:30Z[UTC]", None),
            ("20150701T201030Z", None),
            ("2015-07-01T20:10:30+0200", None),
            ("2015-07-01T20:10:3üZ", None),
            ("9999-12-31T23:59:59Z", Some(253_402_300_799_000)),
            ("9999-12-31T23:59:59.999Z", Some(253_402_300_799_999)),
            (TIME_MIN_TEXT, Some(TIME_MIN_MS)),
            (TIME_MAX_TEXT, Some(TIME_MAX_MS)),
            ("NaN", None),
            ("inf", None),
            ("yesterday", None),
            ("", None),
        ];
        for (text, wanted) in cases {
            assert_eq!(time(text), wanted, "{text:?}");
        }
    }

    #[test]
    fn durations_are_seconds_or_prometheus_durations() {
        for (text, wanted) in
            [("15", 15_000), ("0.5", 500), ("1m30s", 90_000), ("5m", 300_000), ("1e-3", 1), ("-1", -1000)]
        {
            assert_eq!(duration_ms(text), Ok(wanted), "{text:?}");
        }
        for bad in ["", "x", "5 m", "NaN", "1e300", "m5"] {
            assert!(duration_ms(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn forms_come_before_the_query_string() {
        let params = Params::parse("match[]=a%7Bb%3D%22c%22%7D&x=1+2", "x=3&match%5B%5D=up&y");
        assert_eq!(params.all("match[]").collect::<Vec<_>>(), ["a{b=\"c\"}", "up"]);
        assert_eq!((params.get("x"), params.get("y"), params.get("z")), ("1 2", "", ""));
        assert_eq!(decode("%zz%4", false), "%zz%4");
        assert_eq!(decode("a+b%2Fc", false), "a+b/c");
    }

    #[test]
    fn errors_name_the_parameter() {
        let params = Params::parse("", "time=x&limit=-1&step=q&many=9223372036854775808&word=two");
        assert_eq!(
            params.time("time", 0).unwrap_err().to_string(),
            "invalid parameter \"time\": invalid time value for 'time': cannot parse \"x\" to a valid timestamp"
        );
        assert_eq!(
            params.required_time("time").unwrap_err().to_string(),
            "invalid parameter \"time\": cannot parse \"x\" to a valid timestamp"
        );
        assert!(params.limit("limit").unwrap_err().to_string().contains("non-negative"));
        assert_eq!(
            params.limit("many").unwrap_err().to_string(),
            "invalid parameter \"many\": strconv.Atoi: parsing \"9223372036854775808\": value out of range"
        );
        assert_eq!(
            params.limit("word").unwrap_err().to_string(),
            "invalid parameter \"word\": strconv.Atoi: parsing \"two\": invalid syntax"
        );
        assert!(params.required_duration("step").unwrap_err().to_string().contains("valid duration"));
    }

    #[test]
    fn whole_numbers_have_their_bits() {
        for (text, bits, wanted) in [
            ("-2147483648", 32, Some(i64::from(i32::MIN))),
            ("2147483648", 32, None),
            ("+7", 32, Some(7)),
            ("-9223372036854775808", 64, Some(i64::MIN)),
            ("", 64, None),
            ("-", 64, None),
            ("1_0", 64, None),
        ] {
            assert_eq!(parse_int("ParseInt", text, bits).ok(), wanted, "{text:?}");
        }
    }
}
