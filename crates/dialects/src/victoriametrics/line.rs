//! One line: `{"metric":{"__name__":"up","job":"a"},"values":[1,null],"timestamps":[1,2]}`, in any order. Other keys have no
//! meaning. A value may be `null`, which is none, and what JSON has no number for: `"Infinity"`, `"-Infinity"`, `"NaN"`, of
//! which older versions leave the quotes away.

use std::borrow::Cow;
use std::ops::Range;

use model::batch::Pair;
use model::labels::LabelError;

use crate::Malformed;
use crate::json::{Json, Token};
use crate::rows::{Full, Room, owned_bytes};

/// A value as it was sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value {
    Number(f64),
    /// `null`
    None,
    /// No value at all.
    Bad,
}

/// Where the labels are.
#[derive(Debug, Default)]
pub(super) enum Metric {
    #[default]
    Missing,
    /// As they lie in the line: nothing in them is escaped.
    Plain(Range<usize>),
    /// In [`Line::pairs`].
    Escaped,
}

/// A line's content; keeps its memory from one to the next.
#[derive(Debug, Default)]
pub(super) struct Line<'a> {
    pub(super) metric: Metric,
    pub(super) pairs: Vec<Pair<'a>>,
    pub(super) values: Vec<Value>,
    /// `None` is no time.
    pub(super) timestamps: Vec<Option<i64>>,
}

impl<'a> Line<'a> {
    /// Reads a line in place of the one before. After an error what was read stays.
    pub(super) fn read(&mut self, text: &'a [u8], room: &mut Room) -> Result<(), Malformed> {
        self.metric = Metric::Missing;
        self.values.clear();
        self.timestamps.clear();
        let mut json = Json::new(text);
        if json.value()? != Token::Object {
            return Err(json.error("no JSON object"));
        }
        json.object(|json, key| match key.as_ref() {
            "metric" => self.read_metric(json, room),
            "values" => {
                self.values.clear();
                let values = &mut self.values;
                list(json, "values is no list", |json, token| {
                    take::<Value>(json, room)?;
                    values.push(value(&token));
                    Ok(())
                })
            }
            "timestamps" => {
                self.timestamps.clear();
                let timestamps = &mut self.timestamps;
                list(json, "timestamps is no list", |json, token| {
                    take::<Option<i64>>(json, room)?;
                    timestamps.push(millis(&token));
                    Ok(())
                })
            }
            _ => json.scalar().map(drop),
        })?;
        json.end()
    }

    fn read_metric(&mut self, json: &mut Json<'a>, room: &mut Room) -> Result<(), Malformed> {
        let start = json.start();
        self.pairs.clear();
        if json.value()? != Token::Object {
            return Err(json.error("metric is no object"));
        }
        let mut is_plain = true;
        json.object(|json, name| {
            let Token::Text(value) = json.scalar()? else {
                return Err(json.error("a label's value is no text"));
            };
            is_plain &= matches!((&name, &value), (Cow::Borrowed(_), Cow::Borrowed(_)));
            room.take(size_of::<Pair<'_>>() + owned_bytes(&name) + owned_bytes(&value))
                .map_err(|Full| json.error(Full::WHAT))?;
            self.pairs.push((name, value));
            Ok(())
        })?;
        self.metric = if is_plain { Metric::Plain(start..json.start()) } else { Metric::Escaped };
        Ok(())
    }

    /// Samples of the line, as far as it was read.
    pub(super) fn samples(&self) -> usize {
        self.values.len().max(self.timestamps.len())
    }
}

/// Labels as they lie in a line: an object of texts without escapes.
pub(super) fn parse_metric<'a>(
    bytes: &'a [u8],
    pairs: &mut Vec<(&'a str, &'a str)>,
) -> Result<(), LabelError> {
    let undecodable = |_| LabelError::Undecodable;
    let mut json = Json::new(bytes);
    json.value().map_err(undecodable)?;
    let mut is_plain = true;
    json.object(|json, name| {
        match (name, json.scalar()?) {
            (Cow::Borrowed(name), Token::Text(Cow::Borrowed(value))) => pairs.push((name, value)),
            _ => is_plain = false,
        }
        Ok(())
    })
    .map_err(undecodable)?;
    if is_plain { Ok(()) } else { Err(LabelError::Undecodable) }
}

fn list<'a>(
    json: &mut Json<'a>,
    what: &'static str,
    mut each: impl FnMut(&Json<'a>, Token<'a>) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    if json.value()? != Token::List {
        return Err(json.error(what));
    }
    json.list(|json| {
        let token = json.scalar()?;
        each(json, token)
    })
}

fn take<T>(json: &Json<'_>, room: &mut Room) -> Result<(), Malformed> {
    room.take(size_of::<T>()).map_err(|Full| json.error(Full::WHAT))
}

fn value(token: &Token<'_>) -> Value {
    let number = match token {
        Token::Null => return Value::None,
        Token::Text(text) => match text.as_ref() {
            "null" | "Null" => return Value::None,
            text => codec::float::parse(text).filter(|value| !value.is_finite()),
        },
        // One too large for a float is no number; `Infinity` is.
        Token::Number(text) => codec::float::parse(text),
        _ => None,
    };
    number.map_or(Value::Bad, Value::Number)
}

/// Whole milliseconds.
fn millis(token: &Token<'_>) -> Option<i64> {
    match token {
        Token::Number(text) => text.parse().ok(),
        _ => None,
    }
}
