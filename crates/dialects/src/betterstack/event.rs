//! What is no metric, kept as a log line: `message`, or all of it as JSON, with the rest as fields of the line, nested ones
//! under `outer.inner`.

use std::borrow::Cow;

use model::Batch;

use super::moment::Moment;
use super::tree::{Tree, Value};
use crate::Malformed;
use crate::lines::{self, Lines};
use crate::rows::Room;

/// Maps deeper than this in an event are kept as JSON.
const DEPTH_MAX: u32 = 10;

/// Fields of an event that are kept.
const FIELDS_MAX: usize = 256;

/// An event as far as it was read.
#[derive(Debug, Default)]
struct Event<'a> {
    message: Option<Cow<'a, str>>,
    level: Cow<'a, str>,
    moment: Moment,
    /// The time that holds where there is no `dt`.
    timestamp: Moment,
    fields: usize,
    lost: u64,
}

/// Reads an event, which is a map, from the place where it begins; its time.
pub(super) fn read<'a, T: Tree<'a>>(
    tree: &mut T,
    received_ms: i64,
    lines: &mut Lines,
    room: &mut Room,
    batch: &mut Batch<'a>,
) -> Result<Moment, Malformed> {
    let start = tree.start();
    let fields = batch.pairs.len();
    let mut event = Event::default();
    if let Value::Map(length) = tree.value()? {
        tree.map(length, |tree, key| event.attribute(tree, key, room, batch))?;
    }
    let message = match event.message {
        Some(message) => message,
        None => {
            let mut again = tree.again(start);
            let value = again.value()?;
            again.text_of(start, value, room)?
        }
    };
    batch.note("log_fields_dropped", event.lost);
    let said = event.moment.nanoseconds().or_else(|| event.timestamp.nanoseconds());
    let timestamp_ns = said.unwrap_or(received_ms.saturating_mul(1_000_000));
    let stream = [("source", Cow::Borrowed("betterstack")), ("level", event.level)];
    lines.push(batch, room, stream, fields, timestamp_ns, message).map_err(|full| tree.full(full))?;
    Ok(event.moment)
}

impl<'a> Event<'a> {
    fn attribute<T: Tree<'a>>(
        &mut self,
        tree: &mut T,
        key: Cow<'a, str>,
        room: &mut Room,
        batch: &mut Batch<'a>,
    ) -> Result<(), Malformed> {
        let start = tree.start();
        let value = tree.value()?;
        match (key.as_ref(), &value) {
            ("message", Value::Null) => self.message = None,
            ("message", _) => self.message = Some(tree.text_of(start, value, room)?),
            ("level", Value::Text(_) | Value::Number(_)) => self.level = tree.text_of(start, value, room)?,
            ("dt", _) => match Moment::of(&value) {
                Moment::Unsaid => {}
                moment if moment.nanoseconds().is_some() => self.moment = moment,
                _ => {
                    self.moment = Moment::Unknown;
                    // What it is stays to be seen.
                    self.field(tree, key, start, value, 0, room, batch)?;
                }
            },
            // Vector's name for it.
            ("timestamp", Value::Text(_)) if Moment::of(&value).nanoseconds().is_some() => {
                self.timestamp = Moment::of(&value);
            }
            _ => self.field(tree, key, start, value, 0, room, batch)?,
        }
        Ok(())
    }

    /// Puts a value behind the event's fields: a map's values each for itself, a list as JSON.
    #[allow(clippy::too_many_arguments)] // What is read, from where, into what.
    fn field<T: Tree<'a>>(
        &mut self,
        tree: &mut T,
        name: Cow<'a, str>,
        start: usize,
        value: Value<'a>,
        depth: u32,
        room: &mut Room,
        batch: &mut Batch<'a>,
    ) -> Result<(), Malformed> {
        if let Value::Map(length) = value
            && depth < DEPTH_MAX
            && self.fields < FIELDS_MAX
        {
            return tree.map(length, |tree, key| {
                let start = tree.start();
                let value = tree.value()?;
                room.take(name.len() + key.len()).map_err(|full| tree.full(full))?;
                self.field(tree, Cow::Owned(format!("{name}.{key}")), start, value, depth + 1, room, batch)
            });
        }
        let value = tree.text_of(start, value, room)?;
        if name.is_empty() || value.is_empty() {
            return Ok(());
        }
        if self.fields == FIELDS_MAX {
            self.lost += 1;
            return Ok(());
        }
        self.fields += 1;
        lines::put(batch, room, name, value).map_err(|full| tree.full(full))
    }
}
