//! A push in JSON: streams of `stream` and `values`, or (the older shape) of `labels` and `entries`.

use std::borrow::Cow;

use model::batch::Pair;

use super::labels;
use super::push::{Entry, Push, Stream};
use crate::json::{Json, Token};
use crate::rows::Full;
use crate::{Malformed, instant, lines};

/// Decodes a body.
pub(super) fn decode<'a>(body: &'a [u8], push: &mut Push<'a, '_>) -> Result<(), Malformed> {
    let mut json = Json::new(body);
    let token = json.value()?;
    if token != Token::Object {
        return Err(json.error("a push is an object with streams"));
    }
    json.object(|json, key| match (key.as_ref(), json.value()?) {
        ("streams", Token::List) => json.list(|json| stream(json, push)),
        ("streams", Token::Null) => Ok(()),
        ("streams", _) => Err(json.error("streams are a list")),
        (_, other) => json.rest_of(&other),
    })?;
    json.end()
}

fn stream<'a>(json: &mut Json<'a>, push: &mut Push<'a, '_>) -> Result<(), Malformed> {
    let token = json.value()?;
    if token != Token::Object {
        push.no_stream().map_err(|Full| json.error(Full::WHAT))?;
        return json.rest_of(&token);
    }
    let mut named: Option<Stream> = None;
    // Entries that stand before what they belong to are read when that is known.
    let mut before = Vec::new();
    json.object(|json, key| {
        let at = json.start();
        match (key.as_ref(), json.value()?) {
            ("stream", Token::Object) => named = Some(begin(json, push, |json| object(json))?),
            ("labels", Token::Text(text)) => named = Some(begin(json, push, |_| Ok(parsed(text)))?),
            ("values" | "entries", Token::List) => match &mut named {
                Some(stream) => return json.list(|json| entry(json, push, stream)),
                None => {
                    before.push(at);
                    return json.rest_of(&Token::List);
                }
            },
            (_, other) => return json.rest_of(&other),
        }
        Ok(())
    })?;
    let mut stream = match named {
        Some(stream) => stream,
        None => begin(json, push, |_| Ok(Ok(Vec::new())))?,
    };
    for at in before {
        let mut again = json.again(at);
        again.value()?;
        again.list(|json| entry(json, push, &mut stream))?;
    }
    Ok(())
}

type Given<'a> = Result<Vec<Pair<'a>>, String>;

fn begin<'a>(
    json: &mut Json<'a>,
    push: &mut Push<'a, '_>,
    labels: impl FnOnce(&mut Json<'a>) -> Result<Given<'a>, Malformed>,
) -> Result<Stream, Malformed> {
    let labels = labels(json)?;
    push.stream(labels).map_err(|Full| json.error(Full::WHAT))
}

/// Labels as an object of texts.
fn object<'a>(json: &mut Json<'a>) -> Result<Given<'a>, Malformed> {
    let mut given = Ok(Vec::new());
    json.object(|json, name| {
        let value = json.scalar()?;
        let Ok(found) = &mut given else { return Ok(()) };
        match (labels::check_name(&name, 1).and_then(|()| labels::check_count(found.len())), value) {
            (Ok(()), Token::Text(value)) => found.push((name, value)),
            (Ok(()), _) => given = Err(format!("the value of {name:?} is no string")),
            (Err(what), _) => given = Err(what),
        }
        Ok(())
    })?;
    Ok(given)
}

/// Labels as the text of a selector.
fn parsed(text: Cow<'_, str>) -> Given<'_> {
    match text {
        Cow::Borrowed(text) => labels::parse(text),
        Cow::Owned(text) => {
            let owned = |(name, value): Pair<'_>| (name.into_owned().into(), value.into_owned().into());
            labels::parse(&text).map(|pairs| pairs.into_iter().map(owned).collect())
        }
    }
}

const WRONG_TIME: &str = "a time is a string of nanoseconds";
const WRONG_LINE: &str = "a line is a string";
const WRONG_METADATA: &str = "structured metadata are an object of strings";

fn entry<'a>(json: &mut Json<'a>, push: &mut Push<'a, '_>, stream: &mut Stream) -> Result<(), Malformed> {
    let metadata = push.begin();
    let mut entry = Entry::default();
    match json.value()? {
        Token::List => {
            let mut number = 0;
            json.list(|json| {
                number += 1;
                match number {
                    1 => match json.scalar()? {
                        Token::Text(text) if text.parse::<i64>().is_ok() => {
                            entry.timestamp_ns = text.parse().ok();
                        }
                        _ => entry.wrong = Some(WRONG_TIME),
                    },
                    2 => line(json.scalar()?, &mut entry),
                    3 => fields(json, push, &mut entry)?,
                    _ => drop(json.scalar()?),
                }
                Ok(())
            })?;
            if number < 2 {
                entry.wrong = Some("an entry has a time and a line");
            }
        }
        Token::Object => {
            let mut has_line = false;
            json.object(|json, key| {
                match key.as_ref() {
                    "ts" => match json.scalar()? {
                        Token::Text(text) if instant::nanoseconds(&text).is_some() => {
                            entry.timestamp_ns = instant::nanoseconds(&text);
                        }
                        _ => entry.wrong = Some("ts is a time in RFC 3339"),
                    },
                    "line" => {
                        has_line = true;
                        line(json.scalar()?, &mut entry);
                    }
                    "structuredMetadata" => fields(json, push, &mut entry)?,
                    _ => drop(json.scalar()?),
                }
                Ok(())
            })?;
            if !has_line {
                entry.wrong = Some("an entry has a line");
            }
        }
        other => {
            json.rest_of(&other)?;
            entry.wrong = Some("an entry is a list of a time and a line");
        }
    }
    push.entry(stream, entry, metadata).map_err(|Full| json.error(Full::WHAT))
}

fn line<'a>(token: Token<'a>, entry: &mut Entry<'a>) {
    match token {
        Token::Text(line) => entry.line = line,
        _ => entry.wrong = Some(WRONG_LINE),
    }
}

fn fields<'a>(json: &mut Json<'a>, push: &mut Push<'a, '_>, entry: &mut Entry<'a>) -> Result<(), Malformed> {
    match json.value()? {
        Token::Object => json.object(|json, name| {
            match json.scalar()? {
                Token::Text(value) => {
                    let put = lines::put(push.batch, &mut push.room, name, value);
                    put.map_err(|Full| json.error(Full::WHAT))?;
                }
                _ => entry.wrong = Some(WRONG_METADATA),
            }
            Ok(())
        }),
        Token::Null => Ok(()),
        other => {
            entry.wrong = Some(WRONG_METADATA);
            json.rest_of(&other)
        }
    }
}
