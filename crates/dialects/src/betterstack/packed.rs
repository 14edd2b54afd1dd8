//! MessagePack as values, and as JSON where somebody wants to see them.

use std::borrow::Cow;

use codec::msgpack::{self, MsgpackError, Reader, Token};

use super::tree::{Number, Tree, Value};
use crate::Malformed;
use crate::rows::Room;

/// A body and how far it is read.
#[derive(Clone, Debug)]
pub(super) struct Msgpack<'a>(Reader<'a>);

impl From<MsgpackError> for Malformed {
    fn from(error: MsgpackError) -> Self {
        Self { what: error.what, offset: error.offset }
    }
}

impl<'a> Msgpack<'a> {
    /// A body to be read from its beginning.
    pub(super) fn new(body: &'a [u8]) -> Self {
        Self(Reader::new(body))
    }

    /// Whether nothing is left.
    pub(super) fn is_at_end(&self) -> bool {
        self.0.is_empty()
    }

    /// Appends `value` as JSON.
    fn write_json(&mut self, value: Value<'a>, out: &mut String, room: &mut Room) -> Result<(), Malformed> {
        let before = out.len();
        match value {
            Value::Null | Value::Unknown => out.push_str("null"),
            Value::Bool(value) => out.push_str(if value { "true" } else { "false" }),
            Value::Number(number) => out.push_str(&number.text()),
            Value::Text(text) => write_text(&text, out),
            Value::Time(seconds, nanos) => out.push_str(&written(seconds, nanos)),
            Value::List(length) => {
                let mut separator = "[";
                self.list(length, |tree| {
                    out.push_str(separator);
                    separator = ",";
                    let value = tree.value()?;
                    tree.write_json(value, out, room)
                })?;
                out.push_str(if length == 0 { "[]" } else { "]" });
            }
            Value::Map(length) => {
                let mut separator = "{";
                self.map(length, |tree, key| {
                    out.push_str(separator);
                    separator = ",";
                    write_text(&key, out);
                    room.take(key.len()).map_err(|full| tree.full(full))?;
                    out.push(':');
                    let value = tree.value()?;
                    tree.write_json(value, out, room)
                })?;
                out.push_str(if length == 0 { "{}" } else { "}" });
            }
        }
        // What is in a list was paid for when it was written, and is paid for once more with each list around it.
        room.take(out.len() - before).map_err(|full| self.full(full))
    }
}

/// A text in quotes.
fn write_text(text: &str, out: &mut String) {
    out.push_str(&serde_json::Value::from(text).to_string());
}

/// A time as seconds.
fn written(seconds: i64, nanos: u32) -> String {
    if nanos == 0 { seconds.to_string() } else { format!("{seconds}.{nanos:09}") }
}

/// What is not UTF-8 is replaced.
#[inline]
fn text(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => String::from_utf8_lossy(bytes),
    }
}

impl<'a> Tree<'a> for Msgpack<'a> {
    fn start(&mut self) -> usize {
        self.0.offset()
    }

    fn again(&self, start: usize) -> Self {
        Self(self.0.again(start))
    }

    fn since(&self, start: usize) -> &'a [u8] {
        self.0.since(start)
    }

    fn error(&self, what: &'static str) -> Malformed {
        self.0.error(what).into()
    }

    #[inline]
    fn value(&mut self) -> Result<Value<'a>, Malformed> {
        Ok(match self.0.token()? {
            Token::Nil => Value::Null,
            Token::Bool(value) => Value::Bool(value),
            Token::Unsigned(number) => Value::Number(Number::Whole(number.into())),
            Token::Negative(number) => Value::Number(Number::Whole(number.into())),
            Token::Float(value) => Value::Number(Number::Float(value)),
            Token::Text(bytes) | Token::Bytes(bytes) => Value::Text(text(bytes)),
            Token::Extension(kind, content) => match msgpack::timestamp(kind, content) {
                Some((seconds, nanos)) => Value::Time(seconds, nanos),
                None => Value::Unknown,
            },
            Token::List(length) => Value::List(length),
            Token::Map(length) => Value::Map(length),
        })
    }

    fn list(
        &mut self,
        length: u32,
        mut each: impl FnMut(&mut Self) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        let Self(reader) = self;
        reader.each(length, |reader| {
            let mut tree = Self(*reader);
            let read = each(&mut tree);
            *reader = tree.0;
            read
        })
    }

    fn map(
        &mut self,
        length: u32,
        mut each: impl FnMut(&mut Self, Cow<'a, str>) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        self.list(length, |tree| {
            let key = match tree.value()? {
                Value::Text(key) => key,
                Value::Number(number) => number.text(),
                other => {
                    tree.skip(&other)?;
                    Cow::Borrowed("")
                }
            };
            each(tree, key)
        })
    }

    fn skip(&mut self, value: &Value<'a>) -> Result<(), Malformed> {
        match value {
            Value::List(length) => Ok(self.0.rest_of(&Token::List(*length))?),
            Value::Map(length) => Ok(self.0.rest_of(&Token::Map(*length))?),
            _ => Ok(()),
        }
    }

    fn text_of(&mut self, _: usize, value: Value<'a>, room: &mut Room) -> Result<Cow<'a, str>, Malformed> {
        match value {
            Value::Text(text) => Ok(text),
            Value::Null => Ok(Cow::Borrowed("")),
            value => {
                let mut out = String::new();
                self.write_json(value, &mut out, room)?;
                Ok(Cow::Owned(out))
            }
        }
    }
}
