//! `fields` of an event: a flat object. What has a metric's name is its value, everything else is a dimension of the
//! metrics, or a field of the log line.

use std::borrow::Cow;

use crate::Malformed;
use crate::json::{Json, Token};
use crate::rows::{Full, Room};

/// One field; never a list or an object.
pub(super) type Field<'a> = (Cow<'a, str>, Token<'a>);

/// Stands before a metric's name where an event has several.
const NAMED: &str = "metric_name:";
/// The metric's name where an event has one.
pub(super) const NAME: &str = "metric_name";
/// And its value.
pub(super) const VALUE: &str = "_value";

/// The metric whose value a field of this name is, where the name says so.
pub(super) fn metric(name: &str) -> Option<&str> {
    name.strip_prefix(NAMED)
}

/// Whether a field says something of a metric.
pub(super) fn is_of_metric(name: &str) -> bool {
    name == NAME || name == VALUE || name.starts_with(NAMED)
}

/// A field's value as text; `None` is none.
pub(super) fn text<'a>(token: Token<'a>) -> Option<Cow<'a, str>> {
    match token {
        Token::Text(text) => Some(text),
        Token::Number(text) => Some(Cow::Borrowed(text)),
        Token::Bool(value) => Some(Cow::Borrowed(if value { "true" } else { "false" })),
        Token::Null | Token::List | Token::Object => None,
    }
}

/// Reads the value of `fields`; of a list each value is one more field of that name. Whether it was flat.
pub(super) fn read<'a>(
    json: &mut Json<'a>,
    room: &mut Room,
    fields: &mut Vec<Field<'a>>,
) -> Result<bool, Malformed> {
    let token = json.value()?;
    if token != Token::Object {
        json.rest_of(&token)?;
        return Ok(token == Token::Null);
    }
    let mut is_flat = true;
    json.object(|json, name| {
        let mut push = |json: &Json<'a>, name: Cow<'a, str>, token: Token<'a>| {
            let owned = if matches!(name, Cow::Owned(_)) { name.len() } else { 0 };
            room.take(size_of::<Field<'_>>() + owned).map_err(|Full| json.error(Full::WHAT))?;
            fields.push((name, token));
            Ok(())
        };
        match json.value()? {
            Token::List => json.list(|json| match json.value()? {
                token @ (Token::List | Token::Object) => {
                    is_flat = false;
                    json.rest_of(&token)
                }
                token => push(json, name.clone(), token),
            }),
            Token::Object => {
                is_flat = false;
                json.rest_of(&Token::Object)
            }
            token => push(json, name, token),
        }
    })?;
    Ok(is_flat)
}
