//! Series v2 as an Agent sends them: `MetricPayload` of agent-payload, one message for each series.
//!
//! A tag that is not UTF-8 is mended, any other text that is not refuses its series. A type that is none of the message's
//! is as good as none: the series is a gauge.

use std::borrow::Cow;

use codec::proto::{FIXED64, LEN, Reader, VARINT, WireError, key, known};
use model::{Batch, Reason, Sample};

use super::record::{Kind, Name, Record};
use super::submission::{Submission, milliseconds, refuse, tag};
use crate::rows::{Full, Rows};
use crate::{Malformed, Received};

const SERIES: u32 = key(1, LEN);

/// Decodes a `MetricPayload`.
pub(super) fn decode<'a>(received: &Received<'a>, batch: &mut Batch<'a>) -> Result<(), Malformed> {
    let mut submission = Submission::new(received, batch);
    let mut payload = Reader::new(received.body);
    let mut described = None;
    while let Some(key) = payload.key()? {
        match key {
            SERIES => series(payload.message()?, &mut described, &mut submission, batch)?,
            _ => payload.skip(key, known(&[1]))?,
        }
    }
    submission.finish(batch);
    Ok(())
}

/// Metric, type and unit of the last metadata.
type Described<'a> = Option<(&'a str, Kind, &'a str)>;

fn series<'a>(
    message: Reader<'a>,
    described: &mut Described<'a>,
    submission: &mut Submission<'a>,
    batch: &mut Batch<'a>,
) -> Result<(), WireError> {
    const RESOURCE: u32 = key(1, LEN);
    const METRIC: u32 = key(2, LEN);
    const TAG: u32 = key(3, LEN);
    const POINT: u32 = key(4, LEN);
    const TYPE: u32 = key(5, VARINT);
    const UNIT: u32 = key(6, LEN);
    const SOURCE_TYPE: u32 = key(7, LEN);
    const INTERVAL: u32 = key(8, VARINT);
    const METADATA: u32 = key(9, LEN);

    let rows = Rows::begin(batch);
    let (first_tag, first_resource) = (submission.source.tags.len(), submission.source.resources.len());
    let (mut metric, mut unit, mut source_type): (&[u8], &[u8], &[u8]) = (b"", b"", b"");
    let (mut host, mut device): (&[u8], &[u8]) = (b"", b"");
    let (mut kind, mut interval_s, mut is_text) = (Kind::Unspecified, 0, true);
    let mut reader = message;
    while let Some(key) = reader.key()? {
        match key {
            TAG => {
                submission.room.take_for(2 * size_of::<Cow<'_, str>>(), &reader)?;
                submission.source.tags.push(tag(reader.bytes()?));
            }
            POINT => {
                submission.room.take_for(2 * size_of::<Sample>(), &reader)?;
                batch.samples.push(point(reader.message()?)?);
            }
            METRIC => metric = reader.bytes()?,
            RESOURCE => match resource(reader.message()?)? {
                (b"host", name) => host = name,
                (b"device", name) => device = name,
                (kind, name) => match (std::str::from_utf8(kind), std::str::from_utf8(name)) {
                    (Ok(kind), Ok(name)) => {
                        submission.room.take_for(4 * size_of::<Cow<'_, str>>(), &reader)?;
                        submission.source.resources.push((kind.into(), name.into()));
                    }
                    _ => is_text = false,
                },
            },
            TYPE => {
                kind = match reader.varint()? {
                    1 => Kind::Count,
                    2 => Kind::Rate,
                    3 => Kind::Gauge,
                    _ => Kind::Unspecified,
                }
            }
            UNIT => unit = reader.bytes()?,
            SOURCE_TYPE => source_type = reader.bytes()?,
            INTERVAL => interval_s = (reader.varint()? as i64).max(0),
            // Who made the metric, and whether Datadog was to index it: it is stored like any other.
            METADATA => drop(reader.message()?),
            _ => reader.skip(key, known(&[1, 2, 3, 4, 5, 6, 7, 8, 9]))?,
        }
    }
    let tags = first_tag..submission.source.tags.len();
    let full = |Full| message.error(Full::WHAT);
    let mut text = |bytes: &'a [u8]| match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(_) => {
            is_text = false;
            ""
        }
    };
    let (metric, unit) = (text(metric), text(unit));
    let record = Record {
        name: Name::Metric(Cow::Borrowed(metric), ""),
        kind,
        interval_s,
        host: Cow::Borrowed(text(host)),
        device: Cow::Borrowed(text(device)),
        source_type: Cow::Borrowed(text(source_type)),
        resources: first_resource..submission.source.resources.len(),
        tags,
    };
    submission.room_for(&record).map_err(full)?;
    if !is_text {
        refuse(rows, &record, Reason::InvalidLabels, "text that is not valid UTF-8", batch);
        return Ok(());
    }
    if !rows.is_empty(batch) && *described != Some((metric, kind, unit)) {
        *described = Some((metric, kind, unit));
        submission.describe(Cow::Borrowed(metric), kind, unit, batch).map_err(full)?;
    }
    let (key, dropped) = (submission.key(&record), submission.dropped(&record));
    submission.keep(rows, record, key, dropped, batch);
    Ok(())
}

/// A point. Agents write its second field first.
#[inline]
fn point(mut message: Reader<'_>) -> Result<Sample, WireError> {
    const VALUE: u32 = key(1, FIXED64);
    const TIMESTAMP: u32 = key(2, VARINT);
    let mut sample = Sample { timestamp_ms: 0, value: 0.0, start_ms: 0 };
    while let Some(key) = message.key()? {
        match key {
            VALUE => sample.value = message.double()?,
            TIMESTAMP => sample.timestamp_ms = milliseconds(message.varint()? as i64),
            _ => message.skip(key, known(&[1, 2]))?,
        }
    }
    Ok(sample)
}

/// Type and name of a resource.
fn resource(mut message: Reader<'_>) -> Result<(&[u8], &[u8]), WireError> {
    const TYPE: u32 = key(1, LEN);
    const NAME: u32 = key(2, LEN);
    let (mut kind, mut name): (&[u8], &[u8]) = (b"", b"");
    while let Some(key) = message.key()? {
        match key {
            TYPE => kind = message.bytes()?,
            NAME => name = message.bytes()?,
            _ => message.skip(key, known(&[1, 2]))?,
        }
    }
    Ok((kind, name))
}
