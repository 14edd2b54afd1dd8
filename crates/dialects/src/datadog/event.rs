//! An event, as both of its routes have it: fields of `/api/v1/events`, and their names in `/intake/`.

use std::borrow::Cow;

use model::Batch;

use super::fields::{self, set};
use super::line_tags;
use super::settings::Settings;
use crate::Malformed;
use crate::json::{Json, Token};
use crate::lines::{self, Lines};
use crate::rows::{Full, Room};

/// An event. Empty texts are absent ones.
#[derive(Debug, Default)]
pub(super) struct Event<'a> {
    /// Its title.
    pub(super) title: Cow<'a, str>,
    /// Its text.
    pub(super) text: Cow<'a, str>,
    /// When it happened, in seconds as sent.
    pub(super) happened_ms: Option<i64>,
    /// `error`, `warning`, `info`, ...
    pub(super) alert_type: Cow<'a, str>,
    /// `normal` or `low`.
    pub(super) priority: Cow<'a, str>,
    /// The host it is of.
    pub(super) host: Cow<'a, str>,
    /// Events with the same one belong together.
    pub(super) aggregation_key: Cow<'a, str>,
    /// What made it.
    pub(super) source_type: Cow<'a, str>,
    /// The device it is of.
    pub(super) device: Cow<'a, str>,
    /// Its type, in `/intake/`.
    pub(super) event_type: Cow<'a, str>,
    /// The event that it belongs to; 0 = none.
    pub(super) related: i64,
    /// Its tags.
    pub(super) tags: Vec<Cow<'a, str>>,
    /// What is wrong with it.
    pub(super) fault: Option<&'static str>,
}

impl<'a> Event<'a> {
    /// Reads an event whose brace was read.
    pub(super) fn read(json: &mut Json<'a>, received_ms: i64, room: &mut Room) -> Result<Self, Malformed> {
        let mut event = Self::default();
        json.object(|json, key| {
            let (to, what): (&mut Cow<'a, str>, _) = match key.as_ref() {
                "title" | "msg_title" => (&mut event.title, "the title is no text"),
                "text" | "msg_text" => (&mut event.text, "the text is no text"),
                "alert_type" => (&mut event.alert_type, "`alert_type` is no text"),
                "priority" => (&mut event.priority, "`priority` is no text"),
                "host" => (&mut event.host, "`host` is no text"),
                "aggregation_key" => (&mut event.aggregation_key, "`aggregation_key` is no text"),
                "source_type_name" => (&mut event.source_type, "`source_type_name` is no text"),
                "device_name" => (&mut event.device, "`device_name` is no text"),
                "event_type" => (&mut event.event_type, "`event_type` is no text"),
                "related_event_id" => {
                    return set(
                        fields::whole(json),
                        &mut event.related,
                        &mut event.fault,
                        "it belongs to no event",
                    );
                }
                "tags" => {
                    event.tags.clear();
                    let read = fields::tags(json, &mut event.tags, room);
                    return set(read, &mut (), &mut event.fault, "`tags` is no list of texts");
                }
                "date_happened" | "timestamp" => {
                    let moment = fields::moment(&json.scalar()?, received_ms).map(Some);
                    return set(
                        Ok(moment),
                        &mut event.happened_ms,
                        &mut event.fault,
                        "its time is no number",
                    );
                }
                _ => return json.scalar().map(drop),
            };
            set(fields::text(json), to, &mut event.fault, what)
        })?;
        if event.title.is_empty() && event.text.is_empty() {
            event.fault.get_or_insert("neither a title nor a text");
        }
        Ok(event)
    }

    /// Keeps it as a log line: its text, or its title where there is no text.
    pub(super) fn keep(
        &self,
        batch: &mut Batch<'a>,
        lines: &mut Lines,
        room: &mut Room,
        settings: &Settings,
        received_ms: i64,
    ) -> Result<(), Full> {
        let fields = batch.pairs.len();
        let related = if self.related == 0 { String::new() } else { self.related.to_string() };
        for (name, value) in [
            ("title", &self.title),
            ("priority", &self.priority),
            ("aggregation_key", &self.aggregation_key),
            ("device", &self.device),
            ("event_type", &self.event_type),
            ("related_event_id", &Cow::Owned(related)),
        ] {
            if !value.is_empty() {
                lines::put(batch, room, name.into(), value.clone())?;
            }
        }
        for tag in &self.tags {
            line_tags::put_tag(batch, room, settings, tag.clone())?;
        }
        let stream = [
            ("job", Cow::Borrowed("ddagent")),
            ("source", Cow::Borrowed("datadog_event")),
            (line_tags::host_label(settings), self.host.clone()),
            ("alert_type", self.alert_type.clone()),
            ("source_type_name", self.source_type.clone()),
        ];
        let timestamp_ns = self.happened_ms.unwrap_or(received_ms).saturating_mul(1_000_000);
        let line = if self.text.is_empty() { &self.title } else { &self.text };
        lines.push(batch, room, stream, fields, timestamp_ns, line.clone())
    }
}

/// Reads the next value as an event; `None` when it is no object.
pub(super) fn next<'a>(
    json: &mut Json<'a>,
    received_ms: i64,
    room: &mut Room,
) -> Result<Option<Event<'a>>, Malformed> {
    match json.value()? {
        Token::Object => Event::read(json, received_ms, room).map(Some),
        other => json.rest_of(&other).map(|()| None),
    }
}
