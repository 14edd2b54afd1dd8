//! `POST /api/v1/events`: one event, which becomes a log line. The answer repeats it with a number, because official
//! clients read it from there. The number is a hash of the body: a request that is sent again is the same event.

use codec::hash::key128;
use model::Batch;
use serde_json::{Map, Value};

use super::event::{self, Event};
use crate::json::Json;
use crate::lines::Lines;
use crate::rows::{Full, Room};
use crate::{Malformed, Received};

/// Numbers of events are whole numbers that every client can hold.
const NUMBER_BITS: u32 = 53;

/// Decodes a body into `batch`.
pub(super) fn decode<'a>(received: &Received<'a>, batch: &mut Batch<'a>) -> Result<(), Malformed> {
    let mut json = Json::new(received.body);
    if json.is_at_end() {
        return Ok(());
    }
    let mut room = Room::new();
    let start = json.start();
    let at_start = |what| Malformed { what, offset: start };
    let read = event::next(&mut json, received.received_ms, &mut room)?;
    let event = read.ok_or_else(|| at_start("an event is an object"))?;
    json.end()?;
    if let Some(what) = event.fault {
        return Err(at_start(what));
    }
    batch.echo = Some(echo(&event, received));
    let (settings, now) = (&received.settings.datadog, received.received_ms);
    event.keep(batch, &mut Lines::cutting(), &mut room, settings, now).map_err(|Full| at_start(Full::WHAT))
}

/// The event as Datadog answers it. What is absent is left out: clients take a null for a wrong type, except where
/// Datadog sends one.
fn echo(event: &Event<'_>, received: &Received<'_>) -> String {
    let number = key128(0, received.body) as u64 >> (u64::BITS - NUMBER_BITS);
    let mut object = Map::new();
    object.insert("id".into(), number.into());
    object.insert("id_str".into(), number.to_string().into());
    for (name, value) in [
        ("title", &event.title),
        ("text", &event.text),
        ("alert_type", &event.alert_type),
        ("host", &event.host),
        ("device_name", &event.device),
        ("source_type_name", &event.source_type),
        ("aggregation_key", &event.aggregation_key),
    ] {
        if !value.is_empty() {
            object.insert(name.into(), value.as_ref().into());
        }
    }
    let priority = (!event.priority.is_empty()).then(|| event.priority.as_ref());
    object.insert("priority".into(), priority.map_or(Value::Null, Value::from));
    let happened_ms = event.happened_ms.unwrap_or(received.received_ms);
    object.insert("date_happened".into(), (happened_ms / 1000).into());
    object.insert("tags".into(), event.tags.iter().map(|tag| tag.as_ref()).collect());
    if event.related != 0 {
        object.insert("related_event_id".into(), event.related.into());
    }
    Value::Object(object).to_string()
}
