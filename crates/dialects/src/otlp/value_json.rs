//! Attributes and values of any type in OTLP's JSON: `[{"key": …, "value": {"stringValue": …}}]`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use codec::float::NORMAL_NAN_BITS;

use super::value;
use crate::Malformed;
use crate::json::{Json, Token};

/// As [`value::Attributes::each`], over a list's text.
pub(super) fn each<'a>(
    bytes: &'a [u8],
    mut push: impl FnMut(Cow<'a, str>, Cow<'a, str>),
) -> Result<(), Malformed> {
    let mut json = Json::new(bytes);
    if json.is_at_end() {
        return Ok(());
    }
    match json.value()? {
        Token::List => json.list(|json| {
            let (mut name, mut text) = (Cow::Borrowed(""), Cow::Borrowed(""));
            match json.value()? {
                Token::Object => json.object(|json, key| {
                    match key.as_ref() {
                        "key" => name = text_of(json)?,
                        "value" => text = self::text(json)?,
                        _ => drop(json.scalar()?),
                    }
                    Ok(())
                })?,
                other => return json.rest_of(&other),
            }
            push(name, text);
            Ok(())
        }),
        other => json.rest_of(&other),
    }
}

/// A text; whatever else stands there is none.
pub(super) fn text_of<'a>(json: &mut Json<'a>) -> Result<Cow<'a, str>, Malformed> {
    Ok(match json.scalar()? {
        Token::Text(text) => text,
        _ => Cow::Borrowed(""),
    })
}

/// A value of any type as text.
pub(super) fn text<'a>(json: &mut Json<'a>) -> Result<Cow<'a, str>, Malformed> {
    Ok(match any(json)? {
        Any::Nothing => Cow::Borrowed(""),
        Any::Text(text) => text,
        Any::Bare(text) | Any::Quoted(text) | Any::Json(text) => Cow::Owned(text),
    })
}

/// What a value is: `Bare` stands without quotes in JSON, `Quoted` with them, `Json` is a list or a map.
enum Any<'a> {
    Nothing,
    Text(Cow<'a, str>),
    Bare(String),
    Quoted(String),
    Json(String),
}

fn any<'a>(json: &mut Json<'a>) -> Result<Any<'a>, Malformed> {
    let mut value = Any::Nothing;
    match json.value()? {
        Token::Object => json.object(|json, key| {
            let found = match key.as_ref() {
                "stringValue" => Any::Text(text_of(json)?),
                "boolValue" => match json.scalar()? {
                    Token::Bool(value) => Any::Bare(value.to_string()),
                    _ => return Ok(()),
                },
                "intValue" => match integer(&json.scalar()?) {
                    Some(value) => Any::Bare(value.to_string()),
                    None => return Ok(()),
                },
                "doubleValue" => match double(&json.scalar()?) {
                    Some(value) => Any::Bare(value::double(value)),
                    None => return Ok(()),
                },
                "bytesValue" => Any::Quoted(text_of(json)?.into_owned()),
                "arrayValue" => Any::Json(list(json)?),
                "kvlistValue" => Any::Json(map(json)?),
                _ => return json.scalar().map(drop),
            };
            value = found;
            Ok(())
        })?,
        other => json.rest_of(&other)?,
    }
    Ok(value)
}

fn list(json: &mut Json<'_>) -> Result<String, Malformed> {
    let mut out = String::from("[");
    values(json, |json| {
        if out.len() > 1 {
            out.push(',');
        }
        write(any(json)?, &mut out);
        Ok(())
    })?;
    out.push(']');
    Ok(out)
}

fn map(json: &mut Json<'_>) -> Result<String, Malformed> {
    let mut entries = BTreeMap::new();
    values(json, |json| {
        let (mut name, mut text) = (Cow::Borrowed(""), String::from("null"));
        match json.value()? {
            Token::Object => json.object(|json, key| {
                match key.as_ref() {
                    "key" => name = text_of(json)?,
                    "value" => {
                        text.clear();
                        write(any(json)?, &mut text);
                    }
                    _ => drop(json.scalar()?),
                }
                Ok(())
            })?,
            other => json.rest_of(&other)?,
        }
        entries.insert(name, text);
        Ok(())
    })?;
    let mut out = String::new();
    value::write_map(&entries, &mut out);
    Ok(out)
}

/// Goes through `{"values": […]}`.
fn values<'a>(
    json: &mut Json<'a>,
    mut each: impl FnMut(&mut Json<'a>) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    match json.value()? {
        Token::Object => json.object(|json, key| match (key.as_ref(), json.value()?) {
            ("values", Token::List) => json.list(&mut each),
            (_, other) => json.rest_of(&other),
        }),
        other => json.rest_of(&other),
    }
}

fn write(value: Any<'_>, out: &mut String) {
    match value {
        Any::Nothing => out.push_str("null"),
        Any::Text(text) => value::write_text(&text, out),
        Any::Quoted(text) => value::write_text(&text, out),
        // No JSON has these.
        Any::Bare(text) if matches!(text.as_str(), "NaN" | "+Inf" | "-Inf") => out.push_str("null"),
        Any::Bare(text) | Any::Json(text) => out.push_str(&text),
    }
}

/// The number of a severity's name: `SEVERITY_NUMBER_WARN2` is 14.
pub(super) fn severity(token: &Token<'_>) -> i64 {
    const LEVELS: [&str; 6] = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"];
    let Token::Text(text) = token else { return 0 };
    let name = text.strip_prefix("SEVERITY_NUMBER_").unwrap_or("");
    let level = name.trim_end_matches(['2', '3', '4']);
    let step = match &name[level.len()..] {
        "" => 1,
        "2" => 2,
        "3" => 3,
        "4" => 4,
        _ => return 0,
    };
    LEVELS.iter().position(|known| *known == level).map_or(0, |at| at as i64 * 4 + step)
}

/// Reads the numbers of a data point or record. `null` is an absent one; one that cannot be read costs the whole.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    pub(super) has_unreadable: bool,
}

impl Numbers {
    /// The next value, as `read` understands it.
    pub(super) fn read<N>(
        &mut self,
        json: &mut Json<'_>,
        read: fn(&Token<'_>) -> Option<N>,
    ) -> Result<Option<N>, Malformed> {
        let token = json.scalar()?;
        let number = read(&token);
        self.has_unreadable |= number.is_none() && token != Token::Null;
        Ok(number)
    }
}

/// A whole number of 64 bits, as a number or as a text.
pub(super) fn integer(token: &Token<'_>) -> Option<i64> {
    let text = match token {
        Token::Number(text) => text,
        Token::Text(text) => text.trim(),
        _ => return None,
    };
    text.parse().ok().or_else(|| whole(text, -TWO_63..TWO_63).map(|value| value as i64))
}

/// As [`integer`], of a number that has no sign.
pub(super) fn unsigned(token: &Token<'_>) -> Option<u64> {
    let text = match token {
        Token::Number(text) => text,
        Token::Text(text) => text.trim(),
        _ => return None,
    };
    text.parse().ok().or_else(|| whole(text, 0.0..2.0 * TWO_63).map(|value| value as u64))
}

/// 2^63, which is exact.
const TWO_63: f64 = 9_223_372_036_854_775_808.0;

/// A whole number that is written like a double. One of digits alone that is no integer is out of range.
fn whole(text: &str, range: Range<f64>) -> Option<f64> {
    let value: f64 = text.contains(['.', 'e', 'E']).then(|| text.parse().ok())??;
    (value.fract() == 0.0 && range.contains(&value)).then_some(value)
}

/// A double: a number, or a text for those that JSON has none for.
pub(super) fn double(token: &Token<'_>) -> Option<f64> {
    match token {
        Token::Number(_) => token.number(),
        Token::Text(text) => match text.trim() {
            "NaN" => Some(f64::from_bits(NORMAL_NAN_BITS)),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            text => text.parse().ok(),
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_any_type_are_text() {
        for (value, wanted) in [
            (r#"{"stringValue":"x<y"}"#, "x<y"),
            (r#"{"boolValue":true}"#, "true"),
            (r#"{"intValue":"-7"}"#, "-7"),
            (r#"{"intValue":-7}"#, "-7"),
            (r#"{"doubleValue":1.5}"#, "1.5"),
            (r#"{"doubleValue":"Infinity"}"#, "+Inf"),
            (r#"{"bytesValue":"/wA="}"#, "/wA="),
            (r#"{"later":[{}],"stringValue":"x"}"#, "x"),
            (r#"{"intValue":"x"}"#, ""),
            ("null", ""),
            ("[1]", ""),
            (
                r#"{"kvlistValue":{"values":[{"key":"b","value":{"arrayValue":{"values":[{"intValue":2},{"stringValue":"<\""},{},null]}}},{"key":"a","value":{"bytesValue":"/w=="}},{"key":"c"}]}}"#,
                r#"{"a":"/w==","b":[2,"\u003c\"",null,null],"c":null}"#,
            ),
        ] {
            assert_eq!(text(&mut Json::new(value.as_bytes())).unwrap(), wanted, "{value}");
        }
    }

    #[test]
    fn attributes_that_are_none_are_passed_over() {
        let read = |text: &str| {
            let mut all = Vec::new();
            each(text.as_bytes(), |key, value| all.push(format!("{key}={value}"))).unwrap();
            all.join(" ")
        };
        assert_eq!(read(""), "");
        assert_eq!(read("null"), "");
        assert_eq!(read(r#"[null,1,{"key":"a","value":{"intValue":1},"x":{}},{"key":"b"}]"#), "a=1 b=");
    }

    #[test]
    fn numbers_may_be_texts() {
        let of = |text: &'static str| Json::new(text.as_bytes()).scalar().unwrap();
        assert_eq!(integer(&of("\"9223372036854775807\"")), Some(i64::MAX));
        assert_eq!((integer(&of("1e3")), integer(&of("1.5"))), (Some(1000), None));
        for text in ["9223372036854775808", "\"9223372036854775808\"", "-9223372036854775809", "1e19"] {
            assert_eq!(integer(&of(text)), None, "{text}");
        }
        assert_eq!(integer(&of("-9223372036854775808")), Some(i64::MIN));
        assert_eq!((unsigned(&of("18446744073709551616")), unsigned(&of("2e19"))), (None, None));
        assert_eq!(unsigned(&of("18446744073709551615")), Some(u64::MAX));
        assert_eq!((unsigned(&of("-1")), unsigned(&of("\"12\""))), (None, Some(12)));
        assert!(double(&of("\"NaN\"")).unwrap().is_nan() && double(&of("NaN")).unwrap().is_nan());
        assert_eq!(double(&of("true")), None);
        let severity = |text| severity(&Token::Text(Cow::Borrowed(text)));
        assert_eq!((severity("SEVERITY_NUMBER_WARN2"), severity("SEVERITY_NUMBER_TRACE")), (14, 1));
        assert_eq!((severity("WARN"), severity("SEVERITY_NUMBER_WARN22")), (0, 0));
    }
}
