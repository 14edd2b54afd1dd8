//! `_e{5,4}:title|text` and its fields.

use super::BadLine;
use super::fields::{Origin, Tags, split};
use crate::number;

/// How bad an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum AlertType {
    /// `info`, and what is not known.
    #[default]
    Info,
    /// `success`
    Success,
    /// `warning`
    Warning,
    /// `error`
    Error,
}

impl AlertType {
    /// Its name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Success => "success",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }

    fn read(text: &[u8]) -> Self {
        [Self::Success, Self::Warning, Self::Error]
            .into_iter()
            .find(|kind| kind.as_str().as_bytes() == text)
            .unwrap_or_default()
    }
}

/// Something that happened. Line breaks in title and text are still `\n`, two characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Event<'a> {
    /// Its title, not empty.
    pub title: &'a [u8],
    /// Its text.
    pub text: &'a [u8],
    /// When, in seconds since the epoch; `None` = now.
    pub timestamp_s: Option<i64>,
    /// Where; empty = not said.
    pub host: &'a [u8],
    /// What it belongs together with; empty = nothing.
    pub aggregation_key: &'a [u8],
    /// `normal` or `low` by the protocol; empty = not said.
    pub priority: &'a [u8],
    /// What kind of source it is from; empty = not said.
    pub source_type_name: &'a [u8],
    /// How bad it is.
    pub alert_type: AlertType,
    /// Who sent it.
    pub origin: Origin<'a>,
    listed_tags: &'a [u8],
}

impl<'a> Event<'a> {
    /// Its tags.
    pub fn tags(&self) -> Tags<'a> {
        Tags::new(&[], self.listed_tags)
    }
}

/// Reads a line that begins with `_e{`. Fields that cannot be read are skipped: the event happened all the same.
pub(super) fn read(line: &[u8]) -> Result<Event<'_>, BadLine> {
    let (title, text, mut rest) = read_head(line).ok_or(BadLine::Event)?;
    let mut event = Event { title, text, ..Event::default() };
    while let Some(fields) = rest {
        let (field, after) = split(fields, b'|');
        rest = after;
        match field {
            [b'#', tags @ ..] => event.listed_tags = tags,
            [b'd', b':', seconds @ ..] => {
                event.timestamp_s = number::whole(seconds, 1, super::check::SECONDS_MAX)
            }
            [b'h', b':', host @ ..] => event.host = host,
            [b'k', b':', key @ ..] => event.aggregation_key = key,
            [b'p', b':', priority @ ..] => event.priority = priority,
            [b's', b':', source @ ..] => event.source_type_name = source,
            [b't', b':', alert @ ..] => event.alert_type = AlertType::read(alert),
            field => {
                event.origin.take(field);
            }
        }
    }
    Ok(event)
}

/// Title, text, and what follows the `|` behind them.
type Head<'a> = (&'a [u8], &'a [u8], Option<&'a [u8]>);

fn read_head(line: &[u8]) -> Option<Head<'_>> {
    let (lengths, body) = split(line.strip_prefix(b"_e{")?, b'}');
    let body = body?.strip_prefix(b":")?;
    let (title, text) = split(lengths, b',');
    let last = body.len() as i64;
    let title = number::whole(title, 1, last)? as usize;
    let text = number::whole(text?, 0, last)? as usize;
    let (title, rest) = body.split_at_checked(title)?;
    let (text, rest) = rest.strip_prefix(b"|")?.split_at_checked(text)?;
    match rest {
        [] => Some((title, text, None)),
        [b'|', fields @ ..] => Some((title, text, Some(fields))),
        _ => None,
    }
}
