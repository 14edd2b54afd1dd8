//! `POST /intake/`: what an Agent tells of its host, by the keys of one object. `host-tags` are kept for series to come,
//! and as a series that carries them; `events` are kept as log lines; the rest is taken and counted.

use std::borrow::Cow;

use model::hosts::{HOST_BYTES_MAX, HOST_TAGS_MAX, HostRow};
use model::{Batch, Reason, Sample, Signal};

use super::event::{self, Event};
use super::fields::{self, WrongType};
use super::record::{Kind, Name, Record};
use super::settings::HostTagsUse;
use super::submission::Submission;
use crate::json::{Json, Token};
use crate::lines::Lines;
use crate::rows::{Full, Room, Rows};
use crate::{Malformed, Received};

/// Decodes a body into `batch`.
pub(super) fn decode<'a>(received: &Received<'a>, batch: &mut Batch<'a>) -> Result<(), Malformed> {
    let mut json = Json::new(received.body);
    if json.is_at_end() {
        return Ok(());
    }
    let mut room = Room::new();
    let mut host = Cow::Borrowed("");
    let mut meta_host = Cow::Borrowed("");
    let (mut tags, mut events) = (None, None);
    let mut others = 0;
    if json.value()? != Token::Object {
        return Err(json.error("invalid JSON doc: no object"));
    }
    json.object(|json, key| {
        match key.as_ref() {
            "internalHostname" => host = fields::text(json)?.unwrap_or_default(),
            "host-tags" => tags = Some(host_tags(json, &mut room)?),
            "meta" => {
                others += 1;
                meta_host = hostname(json)?;
            }
            "events" => {
                // Whose they are may be said behind them.
                let start = json.start();
                json.scalar()?;
                events = Some(start);
            }
            _ => {
                json.scalar()?;
                others += 1;
            }
        }
        Ok(())
    })?;
    json.end()?;
    let host = if host.is_empty() { meta_host } else { host };
    if tags.is_none() && events.is_none() && others > 0 {
        batch.note("intake_not_kept", 1);
    }
    if let Some(start) = events {
        keep_events(&mut json.again(start), &host, received, &mut room, batch)?;
    }
    match tags {
        Some(Ok(tags)) => keep_tags(host, tags, received, batch),
        Some(Err(WrongType)) => batch.note("host_tags_not_kept", 1),
        None => {}
    }
    Ok(())
}

/// The host's name where older payloads have it.
fn hostname<'a>(json: &mut Json<'a>) -> Result<Cow<'a, str>, Malformed> {
    let mut host = Cow::Borrowed("");
    match json.value()? {
        Token::Object => json.object(|json, key| {
            let value = fields::text(json)?;
            if key == "hostname" {
                host = value.unwrap_or_default();
            }
            Ok(())
        })?,
        other => json.rest_of(&other)?,
    }
    Ok(host)
}

/// The tags of all groups, in order, each once.
fn host_tags<'a>(
    json: &mut Json<'a>,
    room: &mut Room,
) -> Result<Result<Vec<Cow<'a, str>>, WrongType>, Malformed> {
    let mut tags = Vec::new();
    let mut result = Ok(());
    match json.value()? {
        Token::Object => json.object(|json, _| {
            result = result.and(fields::tags(json, &mut tags, room)?);
            Ok(())
        })?,
        Token::Null => {}
        other => {
            json.rest_of(&other)?;
            result = Err(WrongType);
        }
    }
    Ok(result.map(|()| tags))
}

fn keep_tags<'a>(
    host: Cow<'a, str>,
    mut tags: Vec<Cow<'a, str>>,
    received: &Received<'a>,
    batch: &mut Batch<'a>,
) {
    let bytes = host.len() + tags.iter().map(|tag| tag.len()).sum::<usize>();
    if host.is_empty() || tags.len() > HOST_TAGS_MAX || bytes > HOST_BYTES_MAX {
        return batch.note("host_tags_not_kept", 1);
    }
    let mut seen = std::collections::HashSet::new();
    tags.retain(|tag| seen.insert(tag.clone()));
    match received.settings.datadog.host_tags {
        HostTagsUse::Off => return,
        HostTagsUse::Info => {}
        HostTagsUse::Attach => {
            let tags = tags.iter().map(|tag| tag.clone().into_owned()).collect();
            batch.hosts.push(HostRow { host: host.clone().into_owned(), tags });
        }
    }
    let rows = Rows::begin(batch);
    batch.samples.push(Sample { timestamp_ms: received.received_ms, value: 1.0, start_ms: 0 });
    let mut submission = Submission::new(received, batch);
    submission.source.tags = tags;
    let record = Record {
        name: Name::HostInfo,
        kind: Kind::Unspecified,
        interval_s: 0,
        host,
        device: Cow::Borrowed(""),
        source_type: Cow::Borrowed(""),
        resources: 0..0,
        tags: 0..submission.source.tags.len(),
    };
    let (key, dropped) = (submission.key(&record), submission.dropped(&record));
    submission.keep(rows, record, key, dropped, batch);
    submission.finish(batch);
}

/// Keeps `{"<source type, or api>": [event, ...], ...}`.
#[allow(clippy::ptr_arg)] // It is cloned as what it is.
fn keep_events<'a>(
    json: &mut Json<'a>,
    host: &Cow<'a, str>,
    received: &Received<'a>,
    room: &mut Room,
    batch: &mut Batch<'a>,
) -> Result<(), Malformed> {
    let mut lines = Lines::cutting();
    let (settings, now) = (&received.settings.datadog, received.received_ms);
    let not_events = |batch: &mut Batch<'_>, what: &str| {
        batch.rejections.add(Signal::LogLine, Reason::InvalidLine, 1);
        batch.rejections.explain(|| format!("event: {what}"));
    };
    match json.value()? {
        Token::Object => json.object(|json, source_type| match json.value()? {
            Token::List => json.list(|json| {
                let mut event = match event::next(json, now, room)? {
                    Some(Event { fault: Some(what), .. }) => {
                        not_events(batch, what);
                        return Ok(());
                    }
                    Some(event) => event,
                    None => {
                        not_events(batch, "it is no object");
                        return Ok(());
                    }
                };
                if event.host.is_empty() {
                    event.host = host.clone();
                }
                if event.source_type.is_empty() && source_type != "api" {
                    event.source_type = source_type.clone();
                }
                event.keep(batch, &mut lines, room, settings, now).map_err(|Full| json.error(Full::WHAT))
            }),
            Token::Null => Ok(()),
            other => {
                not_events(batch, "its group is no list");
                json.rest_of(&other)
            }
        }),
        Token::Null => Ok(()),
        other => {
            not_events(batch, "`events` is no object");
            json.rest_of(&other)
        }
    }
}
