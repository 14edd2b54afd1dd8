//! `/services/collector/raw`: every line of the body is an event; of where they come from, and when, the query tells.

use std::borrow::Cow;

use model::Batch;

use super::events::{ORIGIN, stream};
use super::{code, opening};
use crate::lines::Lines;
use crate::rows::{Full, Room};
use crate::{Malformed, Received, query, seconds};

/// Decodes a body into `batch`.
pub(super) fn decode<'a>(received: &Received<'a>, batch: &mut Batch<'a>) -> Result<(), Malformed> {
    let channel = opening::channel(received)?;
    let asked = |name| query::values(received.request.query, name).next().unwrap_or_default();
    let origin = ORIGIN.map(asked);
    let timestamp_ns = match asked("time").as_ref() {
        "" => received.received_ms.saturating_mul(1_000_000),
        time => seconds::nanoseconds(time).ok_or(Malformed { what: code::INVALID_FORMAT.text, offset: 0 })?,
    };
    let (mut lines, mut room, mut start) = (Lines::default(), Room::new(), 0);
    for line in received.body.split(|byte| *byte == b'\n') {
        let offset = start;
        start += line.len() + 1;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.trim_ascii().is_empty() {
            continue;
        }
        batch.items.begin();
        let fields = batch.pairs.len();
        let text: Cow<'a, str> = String::from_utf8_lossy(line);
        lines
            .push(batch, &mut room, stream(&origin), fields, timestamp_ns, text)
            .map_err(|Full| Malformed { what: Full::WHAT, offset })?;
    }
    if channel.is_some() {
        opening::acknowledge(received, batch);
    }
    Ok(())
}
