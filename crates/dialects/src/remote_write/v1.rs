//! Remote write 1.0: `prometheus.WriteRequest`.
//!
//! The hot path of the house. Where a series' labels lie together, as every known sender writes them, they are not
//! decoded here at all: the region is hashed, and the store, which knows the hash from the last request, never looks
//! inside. Labels that lie apart are gathered into the same bytes first, so that order on the wire has no meaning.

use codec::hash::key128;
use codec::proto::{FIXED64, LEN, Reader, VARINT, WireError, key, known};
use model::batch::{Exemplar, LabelSource, MetadataRow};
use model::{Batch, LabelError, Labels, Metadata, MetricType, Reason, Sample, Signal};

use super::histogram;
use crate::rows::{Room, Rows};

const TIMESERIES: u32 = key(1, LEN);
const METADATA: u32 = key(3, LEN);

const LABELS: u32 = key(1, LEN);
const SAMPLES: u32 = key(2, LEN);
const EXEMPLARS: u32 = key(3, LEN);
const HISTOGRAMS: u32 = key(4, LEN);

/// Labels that are looked at before a series is refused, whatever its tenant's limits say.
const LABELS_MAX: usize = 10_000;

/// Decodes a `WriteRequest`.
pub(super) fn decode<'a>(body: &'a [u8], batch: &mut Batch<'a>) -> Result<(), WireError> {
    let mut request = Reader::new(body);
    let mut room = Room::new();
    while let Some(key) = request.key()? {
        match key {
            TIMESERIES => {
                let message = request.message()?;
                // A row, and samples of 24 bytes from 14 on the wire, as plain series have them.
                room.take_for(128 + 2 * message.rest().len(), &message)?;
                if !plain_series(message, batch) {
                    series(message, &mut room, batch)?;
                }
            }
            METADATA => {
                let message = request.message()?;
                room.take_for(128 + message.rest().len(), &message)?;
                metadata(message, batch)?;
            }
            _ => request.skip(key, known(&[1, 3]))?,
        }
    }
    Ok(())
}

/// A series as every known sender writes it: labels, then samples of a value and a timestamp each, and nothing else.
/// `false`, with nothing done, when it is not of that shape.
#[inline]
fn plain_series<'a>(message: Reader<'a>, batch: &mut Batch<'a>) -> bool {
    let rows = Rows::begin(batch);
    let mut reader = message;
    reader.skip_run(LABELS as u8);
    let mut end = reader.offset();
    let labels = message.between(message.offset()..end);
    while let Some([18, length, 9, value @ .., 16]) = reader.rest().first_chunk::<12>() {
        let start = reader.offset();
        reader.advance(12);
        let Ok(timestamp) = reader.varint() else { break };
        if start + 2 + usize::from(*length) != reader.offset() {
            break;
        }
        let (value, timestamp_ms) = (f64::from_le_bytes(*value), timestamp as i64);
        batch.samples.push(Sample { timestamp_ms, value, start_ms: 0 });
        end = reader.offset();
    }
    // Whatever stopped the loop lies before the end of the message.
    if end != message.end() {
        rows.forget(batch);
        return false;
    }
    let key = key128(batch.seed, labels);
    rows.keep(batch, LabelSource::Wire { bytes: labels, parse: parse_labels }, key);
    true
}

/// A series of any shape.
#[inline(never)]
fn series<'a>(message: Reader<'a>, room: &mut Room, batch: &mut Batch<'a>) -> Result<(), WireError> {
    let rows = Rows::begin(batch);
    let mut reader = message;
    let (mut region, mut apart) = (0..0, false);
    let mut complaints = Vec::new();
    loop {
        let start = reader.offset();
        let Some(key) = reader.key()? else { break };
        match key {
            LABELS => {
                reader.message()?;
                reader.skip_run(LABELS as u8);
                if region.is_empty() {
                    region = start..reader.offset();
                } else if region.end == start {
                    region.end = reader.offset();
                } else {
                    apart = true;
                }
            }
            SAMPLES => {
                room.take_for(size_of::<Sample>(), &reader)?;
                batch.samples.push(sample(reader.message()?)?);
            }
            HISTOGRAMS => match histogram::decode(reader.message()?, room)? {
                Ok(histogram) => batch.histograms.push(histogram),
                Err(error) => {
                    complaints.push((Signal::Histogram, Reason::InvalidHistogram, error.to_string()))
                }
            },
            EXEMPLARS => match exemplar(reader.message()?, room)? {
                Ok(exemplar) => batch.exemplars.push(exemplar),
                Err(what) => complaints.push((Signal::Exemplar, Reason::InvalidExemplar, what.to_owned())),
            },
            _ => reader.skip(key, known(&[1, 2, 3, 4]))?,
        }
    }
    if !complaints.is_empty() {
        complain(message, complaints, room, batch)?;
    }
    if apart {
        return gathered(message, rows, room, batch);
    }
    let labels = message.between(region);
    let key = key128(batch.seed, labels);
    rows.keep(batch, LabelSource::Wire { bytes: labels, parse: parse_labels }, key);
    Ok(())
}

fn sample(mut message: Reader<'_>) -> Result<Sample, WireError> {
    const VALUE: u32 = key(1, FIXED64);
    const TIMESTAMP: u32 = key(2, VARINT);
    let mut sample = Sample { timestamp_ms: 0, value: 0.0, start_ms: 0 };
    while let Some(key) = message.key()? {
        match key {
            VALUE => sample.value = message.double()?,
            TIMESTAMP => sample.timestamp_ms = message.varint()? as i64,
            _ => message.skip(key, known(&[1, 2]))?,
        }
    }
    Ok(sample)
}

/// Decodes a run of `labels` fields, the region that [`series`] found.
fn parse_labels<'a>(region: &'a [u8], pairs: &mut Vec<(&'a str, &'a str)>) -> Result<(), LabelError> {
    let mut reader = Reader::new(region);
    while let Some(key) = reader.key().map_err(|_| LabelError::Undecodable)? {
        if key != LABELS {
            return Err(LabelError::Undecodable);
        }
        if pairs.len() == LABELS_MAX {
            return Err(LabelError::TooMany { count: LABELS_MAX + 1, limit: LABELS_MAX });
        }
        pairs.push(label(reader.message().map_err(|_| LabelError::Undecodable)?)?);
    }
    Ok(())
}

fn label<'a>(mut message: Reader<'a>) -> Result<(&'a str, &'a str), LabelError> {
    const NAME: u32 = key(1, LEN);
    const VALUE: u32 = key(2, LEN);
    let (mut name, mut value): (&[u8], &[u8]) = (&[], &[]);
    let mut fields = || -> Result<(), WireError> {
        while let Some(key) = message.key()? {
            match key {
                NAME => name = message.bytes()?,
                VALUE => value = message.bytes()?,
                _ => message.skip(key, known(&[1, 2]))?,
            }
        }
        Ok(())
    };
    fields().map_err(|_| LabelError::Undecodable)?;
    let text = |bytes| std::str::from_utf8(bytes).map_err(|_| LabelError::NotUtf8);
    Ok((text(name)?, text(value)?))
}

/// The slow path: labels that do not lie together.
#[cold]
fn gathered<'a>(
    message: Reader<'a>,
    rows: Rows,
    room: &mut Room,
    batch: &mut Batch<'a>,
) -> Result<(), WireError> {
    let (region, pairs) = gather(message, room)?;
    match pairs {
        Ok(pairs) => {
            let start = batch.pairs.len();
            batch.pairs.extend(pairs.into_iter().map(|(name, value)| (name.into(), value.into())));
            let key = key128(batch.seed, &region);
            rows.keep(batch, LabelSource::Pairs(start..batch.pairs.len()), key);
        }
        Err(error) => {
            rows.reject(batch, Reason::from(&error));
            batch.rejections.explain(|| format!("series at byte {}: {error}", message.offset()));
        }
    }
    Ok(())
}

type Gathered<'a> = (Vec<u8>, Result<Vec<(&'a str, &'a str)>, LabelError>);

/// All labels of a series, wherever they lie: the bytes of their fields as one region, and the pairs.
fn gather<'a>(mut message: Reader<'a>, room: &mut Room) -> Result<Gathered<'a>, WireError> {
    let (mut region, mut pairs) = (Vec::new(), Ok(Vec::new()));
    loop {
        let start = message.offset();
        let Some(key) = message.key()? else { break };
        if key != LABELS {
            message.skip(key, 0)?;
            continue;
        }
        let field = message.message()?;
        room.take_for(128 + field.rest().len(), &field)?;
        region.extend_from_slice(message.between(start..message.offset()));
        if let Ok(found) = &mut pairs {
            match label(field) {
                Ok(pair) => found.push(pair),
                Err(error) => pairs = Err(error),
            }
        }
    }
    Ok((region, pairs))
}

/// Counts what a series' decoder refused, naming the series.
#[cold]
fn complain(
    message: Reader<'_>,
    complaints: Vec<(Signal, Reason, String)>,
    room: &mut Room,
    batch: &mut Batch<'_>,
) -> Result<(), WireError> {
    let series = match gather(message, room)? {
        (_, Ok(pairs)) => Labels::from_pairs(pairs).to_string(),
        _ => format!("series at byte {}", message.offset()),
    };
    for (signal, reason, what) in complaints {
        batch.rejections.add(signal, reason, 1);
        batch.rejections.explain(|| format!("{}: {what}", crate::rows::shown(&series)));
    }
    Ok(())
}

/// An exemplar; one that is not is refused by itself.
fn exemplar(mut message: Reader<'_>, room: &mut Room) -> Result<Result<Exemplar, &'static str>, WireError> {
    const LABELS: u32 = key(1, LEN);
    const VALUE: u32 = key(2, FIXED64);
    const TIMESTAMP: u32 = key(3, VARINT);
    // An empty label is 2 bytes here and 32 as a pair.
    room.take_for(128 + 16 * message.rest().len(), &message)?;
    let mut labels = Ok(Vec::new());
    let (mut value, mut timestamp_ms) = (0.0, 0);
    while let Some(key) = message.key()? {
        match key {
            LABELS => {
                let pair = label(message.message()?);
                if let Ok(found) = &mut labels {
                    match pair {
                        Ok(pair) => found.push(pair),
                        Err(_) => labels = Err("exemplar with labels that cannot be read"),
                    }
                }
            }
            VALUE => value = message.double()?,
            TIMESTAMP => timestamp_ms = message.varint()? as i64,
            _ => message.skip(key, known(&[1, 2, 3]))?,
        }
    }
    Ok(labels.and_then(|labels| crate::rows::exemplar(labels, value, timestamp_ms)))
}

fn metadata<'a>(mut message: Reader<'a>, batch: &mut Batch<'a>) -> Result<(), WireError> {
    const TYPE: u32 = key(1, VARINT);
    const FAMILY: u32 = key(2, LEN);
    const HELP: u32 = key(4, LEN);
    const UNIT: u32 = key(5, LEN);
    let (mut kind, mut family, mut help, mut unit) = (0, &[][..], &[][..], &[][..]);
    while let Some(key) = message.key()? {
        match key {
            TYPE => kind = message.varint()?,
            FAMILY => family = message.bytes()?,
            HELP => help = message.bytes()?,
            UNIT => unit = message.bytes()?,
            _ => message.skip(key, known(&[1, 2, 4, 5]))?,
        }
    }
    let row = || {
        let family = std::str::from_utf8(family).ok().filter(|family| !family.is_empty())?;
        let text = |bytes| std::str::from_utf8(bytes).ok().map(str::to_owned);
        let metadata =
            Metadata { kind: MetricType::from_number(kind)?, unit: text(unit)?, help: text(help)? };
        Some(MetadataRow { family: family.into(), metadata })
    };
    match row() {
        Some(row) => batch.metadata.push(row),
        None => {
            batch.rejections.add(Signal::Metadata, Reason::InvalidMetadata, 1);
            batch.rejections.explain(|| {
                format!("metadata at byte {}: no family name, unknown type or not UTF-8", message.offset())
            });
        }
    }
    Ok(())
}
