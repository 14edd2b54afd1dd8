//! What JSON and MessagePack have in common: values, some of which have values in them, read in one pass.

use std::borrow::Cow;

use crate::Malformed;
use crate::json::{Json, Token};
use crate::rows::{Full, Room};

/// The next value. Of a list or a map only its beginning was read: [`Tree::list`], [`Tree::map`], [`Tree::skip`] or
/// [`Tree::text_of`] must follow.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value<'a> {
    /// Nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// A number.
    Number(Number<'a>),
    /// A text.
    Text(Cow<'a, str>),
    /// A time: seconds since the Unix epoch and nanoseconds after them.
    Time(i64, u32),
    /// A list, of so many values where its length stands first.
    List(u32),
    /// A map, of so many pairs where its length stands first.
    Map(u32),
    /// What only MessagePack has: an extension that is no time.
    Unknown,
}

/// A number, as it was sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Number<'a> {
    /// Its text.
    Text(&'a str),
    /// A whole one.
    Whole(i128),
    /// Any other.
    Float(f64),
}

impl<'a> Number<'a> {
    /// Its value; one out of range is infinite.
    pub(super) fn value(self) -> f64 {
        match self {
            Self::Text(text) => text.parse().unwrap_or(f64::NAN),
            Self::Whole(number) => number as f64,
            Self::Float(value) => value,
        }
    }

    /// How it is written.
    pub(super) fn text(self) -> Cow<'a, str> {
        match self {
            Self::Text(text) => Cow::Borrowed(text),
            Self::Whole(number) => Cow::Owned(number.to_string()),
            Self::Float(value) => {
                let mut text = String::new();
                codec::float::write_sample(value, &mut text);
                Cow::Owned(text)
            }
        }
    }
}

impl Value<'_> {
    /// The value of what stands for a number: a text too where it is one, for infinity and no number have no other form in
    /// JSON.
    pub(super) fn number(&self) -> Option<f64> {
        let value = match self {
            Self::Number(number) => number.value(),
            Self::Text(text) => codec::float::parse(text.trim())?,
            _ => return None,
        };
        // Among the others is the one that ends a series.
        Some(if value.is_nan() { f64::from_bits(codec::float::NORMAL_NAN_BITS) } else { value })
    }
}

/// A body and how far it is read.
pub(super) trait Tree<'a>: Sized {
    /// Where the next value begins.
    fn start(&mut self) -> usize;

    /// The same body, to be read once more from what [`Tree::start`] said.
    fn again(&self, start: usize) -> Self;

    /// What was read since [`Tree::start`] was `start`.
    fn since(&self, start: usize) -> &'a [u8];

    /// A complaint about what is next.
    fn error(&self, what: &'static str) -> Malformed;

    /// The next value.
    fn value(&mut self) -> Result<Value<'a>, Malformed>;

    /// Goes through a list of `length` values. `each` must read one.
    fn list(
        &mut self,
        length: u32,
        each: impl FnMut(&mut Self) -> Result<(), Malformed>,
    ) -> Result<(), Malformed>;

    /// Goes through a map of `length` pairs. `each` is given a key and must read its value.
    fn map(
        &mut self,
        length: u32,
        each: impl FnMut(&mut Self, Cow<'a, str>) -> Result<(), Malformed>,
    ) -> Result<(), Malformed>;

    /// Skips what is in `value`.
    fn skip(&mut self, value: &Value<'a>) -> Result<(), Malformed>;

    /// The text of `value`, which began at `start`: a list or a map as JSON.
    fn text_of(&mut self, start: usize, value: Value<'a>, room: &mut Room)
    -> Result<Cow<'a, str>, Malformed>;

    /// The next value; what is in a list or a map is skipped.
    fn scalar(&mut self) -> Result<Value<'a>, Malformed> {
        let value = self.value()?;
        self.skip(&value)?;
        Ok(value)
    }

    /// A complaint that there is no more room.
    fn full(&self, _: Full) -> Malformed {
        self.error(Full::WHAT)
    }
}

/// How a body's values are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    /// JSON.
    Json,
    /// MessagePack.
    Msgpack,
}

impl<'a> Tree<'a> for Json<'a> {
    fn start(&mut self) -> usize {
        Json::start(self)
    }

    fn again(&self, start: usize) -> Self {
        Json::again(self, start)
    }

    fn since(&self, start: usize) -> &'a [u8] {
        self.bytes_since(start)
    }

    fn error(&self, what: &'static str) -> Malformed {
        Json::error(self, what)
    }

    #[inline]
    fn value(&mut self) -> Result<Value<'a>, Malformed> {
        Ok(match Json::value(self)? {
            Token::Null => Value::Null,
            Token::Bool(value) => Value::Bool(value),
            Token::Number(text) => Value::Number(Number::Text(text)),
            Token::Text(text) => Value::Text(text),
            Token::List => Value::List(0),
            Token::Object => Value::Map(0),
        })
    }

    fn list(
        &mut self,
        _: u32,
        each: impl FnMut(&mut Self) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        Json::list(self, each)
    }

    fn map(
        &mut self,
        _: u32,
        each: impl FnMut(&mut Self, Cow<'a, str>) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        self.object(each)
    }

    fn skip(&mut self, value: &Value<'a>) -> Result<(), Malformed> {
        match value {
            Value::List(_) => self.rest_of(&Token::List),
            Value::Map(_) => self.rest_of(&Token::Object),
            _ => Ok(()),
        }
    }

    fn text_of(&mut self, start: usize, value: Value<'a>, _: &mut Room) -> Result<Cow<'a, str>, Malformed> {
        self.skip(&value)?;
        Ok(match value {
            Value::Text(text) => text,
            Value::Null => Cow::Borrowed(""),
            _ => Json::since(self, start),
        })
    }
}
