//! What a JSON object says, as fields of a log line: an object's values each for itself under `outer.inner`, a list as
//! JSON.

use std::borrow::Cow;

use model::Batch;

use crate::Malformed;
use crate::json::{Json, Token};
use crate::lines;
use crate::rows::{Full, Room};

/// Objects deeper than this are kept as JSON.
const DEPTH_MAX: u32 = 10;

/// Attributes of a line that are kept: it may have 256 fields, and not all of them come from here.
const KEPT_MAX: usize = 192;

/// The attributes of one line so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attributes {
    kept: usize,
    /// How many had no place.
    pub(crate) lost: u64,
}

impl Attributes {
    /// Puts a value behind the line's fields. It is what `token`, read from `start` on, begins.
    pub(crate) fn put<'a>(
        &mut self,
        batch: &mut Batch<'a>,
        room: &mut Room,
        json: &mut Json<'a>,
        (name, start, token): (Cow<'a, str>, usize, Token<'a>),
    ) -> Result<(), Malformed> {
        self.put_at(batch, room, json, (name, start, token), 0)
    }

    /// Puts the values of an object, whose brace was read, each under its key.
    pub(crate) fn put_all<'a>(
        &mut self,
        batch: &mut Batch<'a>,
        room: &mut Room,
        json: &mut Json<'a>,
    ) -> Result<(), Malformed> {
        json.object(|json, key| {
            let start = json.start();
            let token = json.value()?;
            self.put(batch, room, json, (key, start, token))
        })
    }

    fn put_at<'a>(
        &mut self,
        batch: &mut Batch<'a>,
        room: &mut Room,
        json: &mut Json<'a>,
        (name, start, token): (Cow<'a, str>, usize, Token<'a>),
        depth: u32,
    ) -> Result<(), Malformed> {
        if token == Token::Object && depth < DEPTH_MAX && self.kept < KEPT_MAX {
            return json.object(|json, key| {
                let start = json.start();
                let token = json.value()?;
                room.take(name.len() + key.len()).map_err(|Full| json.error(Full::WHAT))?;
                let inner = (Cow::Owned(format!("{name}.{key}")), start, token);
                self.put_at(batch, room, json, inner, depth + 1)
            });
        }
        json.rest_of(&token)?;
        let value = match token {
            Token::Null => return Ok(()),
            Token::Text(text) => text,
            Token::Number(text) => Cow::Borrowed(text),
            Token::Bool(_) | Token::List | Token::Object => json.since(start),
        };
        if name.is_empty() || value.is_empty() {
            return Ok(());
        }
        if self.kept == KEPT_MAX {
            self.lost += 1;
            return Ok(());
        }
        self.kept += 1;
        lines::put(batch, room, name, value).map_err(|Full| json.error(Full::WHAT))
    }
}
