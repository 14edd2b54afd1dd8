//! Body to batch, line by line.

use codec::hash::key128;
use model::batch::{LabelSource, SeriesRow, Temporality};
use model::labels::METRIC_NAME;
use model::{Batch, Reason, Sample, Signal};

use super::line::{Line, Metric, Value, parse_metric};
use crate::named::{Named, Sent};
use crate::rows::{Full, Room, Rows};
use crate::{Malformed, Received};

/// Keeps keys of labels in JSON apart from those of other dialects: the same bytes mean other labels there.
const KEY_DOMAIN: u64 = 0x766d_206a_736f_6e20;

/// Decodes a body into `batch`.
pub(super) fn decode<'a>(received: &Received<'a>, batch: &mut Batch<'a>) -> Result<(), Malformed> {
    let (mut line, mut named, mut room) = (Line::default(), Named::default(), Room::new());
    let (mut start, mut number) = (0, 0u64);
    for text in received.body.split(|byte| *byte == b'\n') {
        let offset = start;
        start += text.len() + 1;
        number += 1;
        let full = |Full| Malformed { what: Full::WHAT, offset };
        if text.trim_ascii().is_empty() {
            continue;
        }
        let read = line.read(text, &mut room);
        let what = match read {
            Err(malformed) if malformed.what == Full::WHAT => return Err(full(Full)),
            Err(malformed) => malformed.to_string(),
            Ok(()) if matches!(line.metric, Metric::Missing) => "metric is missing".to_owned(),
            Ok(()) if line.samples() == 0 => "no values".to_owned(),
            Ok(()) if line.values.len() != line.timestamps.len() => {
                format!("{} values and {} timestamps", line.values.len(), line.timestamps.len())
            }
            Ok(()) => {
                let bytes = size_of::<SeriesRow<'_>>() + line.samples() * size_of::<Sample>();
                room.take(bytes).map_err(full)?;
                keep(&mut line, text, number, &mut named, &mut room, batch).map_err(full)?;
                continue;
            }
        };
        batch.rejections.add(Signal::Sample, Reason::InvalidLine, line.samples().max(1) as u64);
        batch.rejections.explain(|| format!("line {number}: {what}"));
    }
    Ok(())
}

/// Keeps a line's samples.
fn keep<'a>(
    line: &mut Line<'a>,
    text: &'a [u8],
    number: u64,
    named: &mut Named,
    room: &mut Room,
    batch: &mut Batch<'a>,
) -> Result<(), Full> {
    let rows = Rows::begin(batch);
    let (mut none, mut bad) = (0, 0);
    for (value, timestamp_ms) in line.values.iter().zip(&line.timestamps) {
        match (value, timestamp_ms) {
            (Value::Number(value), Some(timestamp_ms)) => {
                batch.samples.push(Sample { timestamp_ms: *timestamp_ms, value: *value, start_ms: 0 });
            }
            (Value::None, Some(_)) => none += 1,
            (Value::Bad, _) | (_, None) => bad += 1,
        }
    }
    batch.note("null_values", none);
    if bad > 0 {
        batch.rejections.add(Signal::Sample, Reason::InvalidValue, bad);
        batch.rejections.explain(|| format!("line {number}: {bad} samples without a value or a time"));
    }
    if let Metric::Plain(range) = &line.metric {
        let bytes = &text[range.clone()];
        let key = key128(batch.seed ^ KEY_DOMAIN, bytes);
        rows.keep(batch, LabelSource::Wire { bytes, parse: parse_metric }, key);
        return Ok(());
    }
    let name = line.pairs.iter().position(|(name, _)| name == METRIC_NAME);
    let name = name.map(|at| line.pairs.remove(at).1).unwrap_or_default();
    let sent = Sent { name, tags: &line.pairs, extra: None, temporality: Temporality::Cumulative };
    named.keep(batch, room, rows, sent)
}
