//! Fields of JSON objects as senders mean them: `null` is absent, a text is a text, and a field of another type is the
//! fault of its object alone.

use std::borrow::Cow;

use crate::Malformed;
use crate::json::{Json, Token};
use crate::rows::{Full, Room, owned_bytes};

/// Occurs when a field has not the type that it should have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WrongType;

/// A field's value, unless it is of a wrong type, unless the body is no JSON.
pub(super) type Field<T> = Result<Result<T, WrongType>, Malformed>;

/// A text; absent = empty.
pub(super) fn text<'a>(json: &mut Json<'a>) -> Field<Cow<'a, str>> {
    Ok(match json.scalar()? {
        Token::Text(text) => Ok(text),
        Token::Null => Ok(Cow::Borrowed("")),
        _ => Err(WrongType),
    })
}

/// A whole number; absent = 0.
pub(super) fn whole(json: &mut Json<'_>) -> Field<i64> {
    let token = json.scalar()?;
    Ok(match (&token, token.number()) {
        (Token::Null, _) => Ok(0),
        (_, Some(number)) if number.is_finite() && number.fract() == 0.0 => Ok(number as i64),
        _ => Err(WrongType),
    })
}

/// A list of texts, appended to `tags`; `null` is none.
pub(super) fn tags<'a>(json: &mut Json<'a>, tags: &mut Vec<Cow<'a, str>>, room: &mut Room) -> Field<()> {
    let token = json.value()?;
    if token != Token::List {
        json.rest_of(&token)?;
        return Ok(if token == Token::Null { Ok(()) } else { Err(WrongType) });
    }
    let mut result = Ok(());
    json.list(|json| {
        match json.scalar()? {
            Token::Text(tag) => {
                room.take(size_of_val(&tag) + owned_bytes(&tag)).map_err(|Full| json.error(Full::WHAT))?;
                tags.push(tag);
            }
            Token::Null => {}
            _ => result = Err(WrongType),
        }
        Ok(())
    })?;
    Ok(result)
}

/// Puts a field's value where it belongs, or `what` is wrong with its object; the first fault stays.
pub(super) fn set<T>(
    field: Field<T>,
    to: &mut T,
    fault: &mut Option<&'static str>,
    what: &'static str,
) -> Result<(), Malformed> {
    match field? {
        Ok(value) => *to = value,
        Err(WrongType) => drop(fault.get_or_insert(what)),
    }
    Ok(())
}

/// Reads a whole body `{"series": [...]}`, each series by `each`. `{}` is what an Agent sends that looks whether it can
/// connect; an object with other keys and no `series` is something else.
pub(super) fn series_list<'a>(
    json: &mut Json<'a>,
    mut each: impl FnMut(&mut Json<'a>) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    const NO_LIST: &str = "invalid JSON doc: no object with a list `series`";
    if json.value()? != Token::Object {
        return Err(json.error(NO_LIST));
    }
    let (mut found, mut others) = (false, false);
    json.object(|json, key| {
        if key != "series" {
            others = true;
            return json.scalar().map(drop);
        }
        found = true;
        match json.value()? {
            Token::List => json.list(&mut each),
            Token::Null => Ok(()),
            _ => Err(json.error("invalid JSON doc: `series` is no list")),
        }
    })?;
    json.end()?;
    if others && !found { Err(json.error(NO_LIST)) } else { Ok(()) }
}

/// A time in seconds as milliseconds; absent, zero or before 1970 = when the request came.
pub(super) fn moment(seconds: &Token<'_>, received_ms: i64) -> Result<i64, WrongType> {
    match (seconds, seconds.number()) {
        (Token::Null, _) => Ok(received_ms),
        (_, Some(seconds)) if seconds.is_finite() => {
            Ok(if seconds > 0.0 { (seconds * 1000.0).round() as i64 } else { received_ms })
        }
        _ => Err(WrongType),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_whole_or_not() {
        let of = |text: &str| moment(&Json::new(text.as_bytes()).scalar().unwrap(), 42);
        assert_eq!(of("1700000000"), Ok(1_700_000_000_000));
        assert_eq!(of("1795167559.3153288"), Ok(1_795_167_559_315));
        for absent in ["null", "0", "-1", "-0.5"] {
            assert_eq!(of(absent), Ok(42), "{absent}");
        }
        for wrong in ["\"1700000000\"", "true", "[1]", "NaN", "1e999"] {
            assert_eq!(of(wrong), Err(WrongType), "{wrong}");
        }
    }

    #[test]
    fn a_whole_number_may_have_a_point() {
        let of = |text: &str| whole(&mut Json::new(text.as_bytes())).unwrap();
        assert_eq!((of("10"), of("10.0"), of("null"), of("-1e1")), (Ok(10), Ok(10), Ok(0), Ok(-10)));
        for wrong in ["10.5", "\"10\"", "{}", "1e999"] {
            assert_eq!(of(wrong), Err(WrongType), "{wrong}");
        }
    }
}
