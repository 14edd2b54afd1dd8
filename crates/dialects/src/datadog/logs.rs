//! `POST /api/v2/logs` and `/v1/input`: entries in JSON (a list, one, or one behind the other), or lines of plain text.
//!
//! `service`, `ddsource`, `hostname` and `status` are labels of the stream. Tags and whatever else an entry has are fields
//! of its line, nested ones under `outer.inner`.

use std::borrow::Cow;

use model::{Batch, Reason, Signal};

use super::line_tags;
use super::settings::Settings;
use crate::attributes::Attributes;
use crate::json::{Json, Token};
use crate::lines::Lines;
use crate::rows::{Full, Room};
use crate::{Malformed, Received, instant, query};

/// Tags that the query gives to every entry: no line keeps more.
const GIVEN_TAGS_MAX: usize = 256;

/// Decodes a body into `batch`.
pub(super) fn decode<'a>(received: &Received<'a>, batch: &mut Batch<'a>) -> Result<(), Malformed> {
    let asked = received.request.query;
    let value = |name| query::values(asked, name).next().unwrap_or_default();
    let tags = given_tags(asked, batch);
    let mut logs = Logs {
        given: Entry {
            service: value("service"),
            source: value("ddsource"),
            host: value("hostname"),
            tags,
            ..Entry::default()
        },
        settings: &received.settings.datadog,
        received_ms: received.received_ms,
        lines: Lines::cutting(),
        room: Room::new(),
        number: 0,
        batch,
    };
    if is_text(received) {
        return logs.text(received.body);
    }
    let mut json = Json::new(received.body);
    while !json.is_at_end() {
        match json.value()? {
            Token::List => json.list(|json| logs.next(json))?,
            Token::Object => logs.object(&mut json)?,
            _ => return Err(json.error("invalid JSON doc: neither an entry nor a list of entries")),
        }
    }
    Ok(())
}

/// The query's tags that say something, for each entry goes through all of them.
fn given_tags<'a>(query: &str, batch: &mut Batch<'_>) -> Vec<Cow<'a, str>> {
    let texts = query::values(query, "ddtags").collect::<Vec<_>>().join(",");
    let says = |tag: &&str| match tag.split_once(':') {
        Some((key, value)) => !key.is_empty() && !value.is_empty(),
        None => !tag.is_empty(),
    };
    let mut tags = texts.split(',').map(str::trim).filter(says);
    let given = tags.by_ref().take(GIVEN_TAGS_MAX).map(|tag| tag.to_owned().into()).collect();
    batch.note("log_fields_dropped", tags.count() as u64);
    given
}

/// Whether a body is lines of plain text: by its media type, else by how it begins.
fn is_text(received: &Received<'_>) -> bool {
    let media = received.request.content_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    match media.as_str() {
        "" => !matches!(received.body.trim_ascii_start().first(), None | Some(b'{' | b'[')),
        "application/logplex-1" => true,
        media => media.starts_with("text/") && media != "text/json",
    }
}

/// An entry. Empty texts are absent ones.
#[derive(Clone, Debug, Default)]
struct Entry<'a> {
    service: Cow<'a, str>,
    source: Cow<'a, str>,
    host: Cow<'a, str>,
    status: Cow<'a, str>,
    tags: Vec<Cow<'a, str>>,
    message: Option<Cow<'a, str>>,
    timestamp_ns: Option<i64>,
    attributes: Attributes,
}

struct Logs<'a, 'b> {
    /// What the query gives to each entry that does not say it itself.
    given: Entry<'a>,
    settings: &'b Settings,
    received_ms: i64,
    lines: Lines,
    room: Room,
    number: usize,
    batch: &'b mut Batch<'a>,
}

impl<'a> Logs<'a, '_> {
    fn text(&mut self, body: &'a [u8]) -> Result<(), Malformed> {
        let mut start = 0;
        while start < body.len() {
            let end = memchr::memchr(b'\n', &body[start..]).map_or(body.len(), |at| start + at);
            let line = &body[start..end];
            if !line.trim_ascii().is_empty() {
                let message = Some(String::from_utf8_lossy(line));
                let entry = Entry { message, ..Entry::default() };
                let fields = self.batch.pairs.len();
                self.keep(entry, fields).map_err(|Full| Malformed { what: Full::WHAT, offset: start })?;
            }
            start = end + 1;
        }
        Ok(())
    }

    /// Reads an entry of a list: an object, or a text that is all message.
    fn next(&mut self, json: &mut Json<'a>) -> Result<(), Malformed> {
        match json.value()? {
            Token::Object => self.object(json),
            Token::Text(message) => {
                let entry = Entry { message: Some(message), ..Entry::default() };
                let fields = self.batch.pairs.len();
                self.keep(entry, fields).map_err(|Full| json.error(Full::WHAT))
            }
            other => {
                json.rest_of(&other)?;
                let number = self.number;
                self.number += 1;
                self.batch.rejections.add(Signal::LogLine, Reason::InvalidLine, 1);
                self.batch.rejections.explain(|| format!("entry {number} is no object"));
                Ok(())
            }
        }
    }

    /// Reads an entry whose brace was read.
    fn object(&mut self, json: &mut Json<'a>) -> Result<(), Malformed> {
        let start = json.bracket();
        let fields = self.batch.pairs.len();
        let mut entry = Entry::default();
        json.object(|json, key| self.attribute(json, key, &mut entry))?;
        // `{}` only asks whether somebody is there.
        if entry.message.is_none() && !(entry.is_empty() && fields == self.batch.pairs.len()) {
            entry.message = Some(json.since(start));
        }
        match entry.message {
            None => Ok(()),
            Some(_) => self.keep(entry, fields).map_err(|Full| json.error(Full::WHAT)),
        }
    }

    fn attribute(
        &mut self,
        json: &mut Json<'a>,
        key: Cow<'a, str>,
        entry: &mut Entry<'a>,
    ) -> Result<(), Malformed> {
        let start = json.start();
        let token = json.value()?;
        let to = match (key.as_ref(), &token) {
            ("message", _) => {
                json.rest_of(&token)?;
                entry.message = match token {
                    Token::Null => None,
                    Token::Text(message) => Some(message),
                    _ => Some(json.since(start)),
                };
                return Ok(());
            }
            ("ddtags", Token::Text(_) | Token::List) => return self.tags(json, token, entry),
            ("timestamp", Token::Text(_) | Token::Number(_)) => {
                match nanoseconds(&token) {
                    Some(timestamp_ns) => entry.timestamp_ns = Some(timestamp_ns),
                    // What it is stays to be seen.
                    None => self.field(json, (key, start, token), entry)?,
                }
                return Ok(());
            }
            ("service", Token::Text(_) | Token::Number(_)) => &mut entry.service,
            ("ddsource", Token::Text(_) | Token::Number(_)) => &mut entry.source,
            ("hostname", Token::Text(_) | Token::Number(_)) => &mut entry.host,
            ("status", Token::Text(_) | Token::Number(_)) => &mut entry.status,
            _ => return self.field(json, (key, start, token), entry),
        };
        *to = match token {
            Token::Text(text) => text,
            Token::Number(text) => Cow::Borrowed(text),
            _ => return Ok(()),
        };
        Ok(())
    }

    /// Tags as one text with commas, or as a list of texts.
    fn tags(
        &mut self,
        json: &mut Json<'a>,
        token: Token<'a>,
        entry: &mut Entry<'a>,
    ) -> Result<(), Malformed> {
        let room = &mut self.room;
        let mut take = |json: &Json<'a>, text: Cow<'a, str>| {
            let mut push = |tag: Cow<'a, str>| {
                room.take(size_of_val(&tag)).map_err(|Full| json.error(Full::WHAT))?;
                entry.tags.push(tag);
                Ok(())
            };
            match text {
                Cow::Borrowed(text) => text.split(',').try_for_each(|tag| push(tag.trim().into())),
                Cow::Owned(text) => text.split(',').try_for_each(|tag| push(tag.trim().to_owned().into())),
            }
        };
        match token {
            Token::Text(text) => take(json, text),
            _ => json.list(|json| match json.scalar()? {
                Token::Text(text) => take(json, text),
                _ => Ok(()),
            }),
        }
    }

    /// Puts a value behind the entry's fields.
    fn field(
        &mut self,
        json: &mut Json<'a>,
        named: (Cow<'a, str>, usize, Token<'a>),
        entry: &mut Entry<'a>,
    ) -> Result<(), Malformed> {
        entry.attributes.put(self.batch, &mut self.room, json, named)
    }

    /// Keeps an entry whose other fields are the pairs from `fields` on.
    fn keep(&mut self, entry: Entry<'a>, fields: usize) -> Result<(), Full> {
        self.number += 1;
        let (batch, room) = (&mut *self.batch, &mut self.room);
        batch.note("log_fields_dropped", entry.attributes.lost);
        for tag in entry.tags {
            line_tags::put_tag(batch, room, self.settings, tag)?;
        }
        for tag in &self.given.tags {
            room.take(tag.len())?;
            line_tags::put_tag(batch, room, self.settings, tag.clone())?;
        }
        let or = |own: Cow<'a, str>, given: &Cow<'a, str>| if own.is_empty() { given.clone() } else { own };
        let stream = [
            ("service", or(entry.service, &self.given.service)),
            ("ddsource", or(entry.source, &self.given.source)),
            ("hostname", or(entry.host, &self.given.host)),
            ("status", entry.status),
        ];
        // A stream has a label at least.
        let unnamed = stream.iter().all(|(_, value)| value.is_empty());
        let source = ("source", Cow::Borrowed(if unnamed { "datadog_log" } else { "" }));
        let timestamp_ns = entry.timestamp_ns.unwrap_or(self.received_ms.saturating_mul(1_000_000));
        let line = entry.message.unwrap_or_default();
        self.lines.push(batch, room, stream.into_iter().chain([source]), fields, timestamp_ns, line)
    }
}

impl Entry<'_> {
    /// Whether nothing was said.
    fn is_empty(&self) -> bool {
        let texts = [&self.service, &self.source, &self.host, &self.status];
        texts.iter().all(|text| text.is_empty()) && self.tags.is_empty() && self.timestamp_ns.is_none()
    }
}

/// A time in milliseconds, as a number or as a text, or one of ISO 8601; `None` when it is neither, or long ago.
fn nanoseconds(token: &Token<'_>) -> Option<i64> {
    let text = match token {
        Token::Number(text) => text,
        Token::Text(text) => text.trim(),
        _ => return None,
    };
    let nanos = match (text.parse::<i64>(), text.parse::<f64>()) {
        (Ok(millis), _) => millis.checked_mul(1_000_000)?,
        // An f64 has no nanoseconds of our time in it.
        (_, Ok(millis)) => ((millis * 1000.0).round() as i64).checked_mul(1000)?,
        _ => instant::nanoseconds(text)?,
    };
    (0 < nanos && nanos < i64::MAX).then_some(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_entry_gets_the_querys_tags_that_say_something() {
        let mut batch = Batch::new(1);
        let given = given_tags("ddtags=,,x:,:y,:,+env:prod+,bare&ddtags=,a:b:c", &mut batch);
        assert_eq!((given, batch.notes.len()), (vec!["env:prod".into(), "bare".into(), "a:b:c".into()], 0));
        assert_eq!(given_tags(&format!("ddtags={}", ",".repeat(60_000)), &mut batch).len(), 0);
        let given = given_tags(&format!("ddtags={}", ",a:b".repeat(1000)), &mut batch);
        assert_eq!((given.len(), &batch.notes[..]), (GIVEN_TAGS_MAX, &[("log_fields_dropped", 744)][..]));
    }

    #[test]
    fn times_are_milliseconds_or_iso_8601() {
        let of = |text: &str| nanoseconds(&Json::new(text.as_bytes()).scalar().unwrap());
        for text in [
            "1700000000123",
            "\"1700000000123\"",
            "1700000000123.0",
            "\"2023-11-14T22:13:20.123Z\"",
            "1.700000000123e12",
        ] {
            assert_eq!(of(text), Some(1_700_000_000_123_000_000), "{text}");
        }
        for text in
            ["0", "-5", "1e999", "NaN", "\"\"", "\"yesterday\"", "9223372036854775807", "1e300", "true"]
        {
            assert_eq!(of(text), None, "{text}");
        }
    }
}
