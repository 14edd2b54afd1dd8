//! Lines to batch. A series is left as the path that it is, to be split into labels only if the store does not know it.

use codec::hash::key128;
use model::batch::LabelSource;
use model::labels::METRIC_NAME;
use model::{Batch, LabelError, Reason, Sample, Signal};

use crate::number;
use crate::rows::{Full, Room, Rows};
use crate::{Malformed, Received};

/// Keeps keys of paths apart from those of other dialects.
const KEY_DOMAIN: u64 = 0x6772_6170_6869_7465;

/// The longest line. Listeners skip most longer ones before they come here.
const LINE_BYTES_MAX: usize = 64 << 10;

/// What a line takes in the batch, roughly.
const LINE_BYTES: usize = 128;

/// Decodes lines into `batch`.
pub(super) fn decode<'a>(received: &Received<'a>, batch: &mut Batch<'a>) -> Result<(), Malformed> {
    let (body, mut room) = (received.body, Room::new());
    let (mut start, mut number) = (0, 0u64);
    while start < body.len() {
        let end = memchr::memchr(b'\n', &body[start..]).map_or(body.len(), |at| start + at);
        let line = body[start..end].trim_ascii();
        number += 1;
        if !line.is_empty() {
            room.take(LINE_BYTES).map_err(|Full| Malformed { what: Full::WHAT, offset: start })?;
            batch.items.begin();
            if let Err((reason, what)) = take(line, received.received_ms, batch) {
                batch.refuse_item(Signal::Sample, reason, || format!("line {number}: {what}"));
            }
        }
        start = end + 1;
    }
    Ok(())
}

type Complaint = (Reason, &'static str);

fn take<'a>(line: &'a [u8], received_ms: i64, batch: &mut Batch<'a>) -> Result<(), Complaint> {
    if line.len() > LINE_BYTES_MAX {
        return Err((Reason::LineTooLong, "over 64 KiB"));
    }
    let line = std::str::from_utf8(line).map_err(|_| (Reason::InvalidLine, "not UTF-8"))?;
    let mut words = line.split_ascii_whitespace();
    let (Some(path), Some(value)) = (words.next(), words.next()) else {
        return Err((Reason::InvalidLine, "a path and a value are wanted"));
    };
    let timestamp = words.next();
    if words.next().is_some() {
        return Err((Reason::InvalidLine, "text after the timestamp"));
    }
    check(path)?;
    let timestamp_ms = match timestamp {
        // What collectd and others say for "now".
        None | Some("-1") => received_ms,
        Some(text) => to_ms(text).ok_or((Reason::InvalidLine, "timestamp is no number of seconds"))?,
    };
    // So collectd says that it knows no value; carbon leaves it out as well.
    if value.eq_ignore_ascii_case("nan") {
        batch.note("graphite_nan", 1);
        return Ok(());
    }
    let value = float(value).ok_or((Reason::InvalidValue, "value is no number"))?;
    let rows = Rows::begin(batch);
    batch.samples.push(Sample { timestamp_ms, value, start_ms: 0 });
    let key = key128(batch.seed ^ KEY_DOMAIN, path.as_bytes());
    rows.keep(batch, LabelSource::Wire { bytes: path.as_bytes(), parse: labels }, key);
    Ok(())
}

/// Looks whether a path can be split into labels.
fn check(path: &str) -> Result<(), Complaint> {
    let (name, tags) = path.split_once(';').map_or((path, None), |(name, tags)| (name, Some(tags)));
    if name.is_empty() {
        return Err((Reason::MissingName, "a path without a name"));
    }
    let is_tag = |tag: &str| tag.split_once('=').is_some_and(|(key, _)| !key.is_empty());
    match tags.is_none_or(|tags| tags.split(';').all(is_tag)) {
        true => Ok(()),
        false => Err((Reason::InvalidLine, "a tag is not key=value")),
    }
}

/// Splits a path that was looked at into labels. An empty value is no label.
fn labels<'a>(path: &'a [u8], pairs: &mut Vec<(&'a str, &'a str)>) -> Result<(), LabelError> {
    let path = std::str::from_utf8(path).map_err(|_| LabelError::NotUtf8)?;
    let mut parts = path.split(';');
    pairs.extend(parts.next().map(|name| (METRIC_NAME, name)));
    pairs.extend(parts.filter_map(|tag| tag.split_once('=')).filter(|(_, value)| !value.is_empty()));
    Ok(())
}

/// A number as Python reads it, whose reader carbon's is; no hexadecimal one.
fn float(text: &str) -> Option<f64> {
    let is_infinite =
        || text.trim_start_matches(['+', '-']).as_bytes().first().is_some_and(|b| b | 32 == b'i');
    number::decimal(text.as_bytes()).or_else(|| is_infinite().then(|| codec::float::parse(text)).flatten())
}

/// Seconds, whole or not, to milliseconds. The cast saturates.
fn to_ms(seconds: &str) -> Option<i64> {
    number::decimal(seconds.as_bytes()).map(|seconds| (seconds * 1000.0).round() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Request;

    #[test]
    fn a_line_over_64_kib_is_too_long_and_costs_itself() {
        let line = |bytes: usize| format!("{} 1\n", "x".repeat(bytes - 2));
        let body =
            [line(LINE_BYTES_MAX), line(LINE_BYTES_MAX + 1), line(100_000), "a 1\n".to_owned()].concat();
        let mut batch = Batch::new(1);
        decode(&Received { body: body.as_bytes(), ..Received::new(Request::default()) }, &mut batch).unwrap();
        let rejected: Vec<_> = batch.rejections.by_reason().collect();
        assert_eq!(rejected, [(Signal::Sample, Reason::LineTooLong, 2)]);
        assert_eq!((batch.series.len(), batch.items.sent(), batch.items.refused()), (2, 4, 2));
    }
}
