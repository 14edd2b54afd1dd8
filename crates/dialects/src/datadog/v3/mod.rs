//! Series and sketches v3: `Payload` of `intake_v3.proto`, one column for each property of all series, strings by
//! reference into dictionaries. Agents send it as many zstd frames behind each other, one for each column.
//!
//! A reference that leads nowhere, a column that ends early or goes on behind the last series, and text other than tags
//! that is not UTF-8, make the whole body undecodable: in columns an error of one series moves the values of the next.
//! A column that is not there at all is one of zeros, as protobuf has it. The types of metrics are open: points of one
//! that is not known are read, to come to the next series', and refused.

#[cfg(test)]
mod beside_v2;
mod columns;
mod dictionaries;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use codec::hash::key128;
use codec::proto::{Reader, WireError};
use codec::varint::unzigzag;
use model::{Batch, Reason, Sample};

use self::columns as column;
use self::columns::Columns;
use self::dictionaries::Dictionaries;
use super::record::{Kind, Name, Record};
use super::sketch::{Sketches, Summary};
use super::submission::{Submission, milliseconds, refuse};
use crate::rows::{Full, Rows};
use crate::{Malformed, Received};

/// The most series that room is made for before they are read: a byte is enough to announce one.
const ROWS_MAX: usize = 1 << 16;

/// Decodes a `Payload`.
pub(super) fn decode<'a>(received: &Received<'a>, batch: &mut Batch<'a>) -> Result<(), Malformed> {
    let mut submission = Submission::new(received, batch);
    let columns = Columns::read(received.body, &mut submission.room)?;
    let dictionaries = Dictionaries::read(&columns, &mut submission)?;
    let mut series = Series::new(&columns, &dictionaries);
    batch.series.reserve(series.rows().min(ROWS_MAX));
    while !series.types.is_empty() {
        series.read(&mut submission, batch)?;
    }
    series.end()?;
    submission.finish(batch);
    Ok(())
}

/// A column of references, each as its distance from the one before.
struct References<'c> {
    deltas: Reader<'c>,
    is_absent: bool,
    id: i64,
    /// How many things there are to refer to, nothing among them.
    things: usize,
}

impl<'c> References<'c> {
    fn new(columns: &'c Columns<'_>, number: usize, things: usize) -> Self {
        let deltas = columns.reader(number);
        Self { deltas, is_absent: deltas.is_empty(), id: 0, things }
    }

    #[inline]
    fn next(&mut self) -> Result<usize, WireError> {
        if self.is_absent {
            return Ok(0);
        }
        let id = self.id.checked_add(unzigzag(self.deltas.varint()?));
        match id.and_then(|id| usize::try_from(id).ok()).filter(|id| *id < self.things) {
            Some(id) => {
                self.id = id as i64;
                Ok(id)
            }
            None => Err(self.deltas.error("reference out of its dictionary's range")),
        }
    }
}

/// Where values lie, in the second half byte of a series' type.
#[derive(Clone, Copy)]
enum Values {
    Zero,
    Sint64,
    Float32,
    Float64,
}

/// The columns of all series, at the next one.
struct Series<'c, 'a> {
    dictionaries: &'c Dictionaries<'a>,
    types: Reader<'c>,
    names: References<'c>,
    tagsets: References<'c>,
    resources: References<'c>,
    source_types: References<'c>,
    origins: References<'c>,
    units: References<'c>,
    intervals: Option<Reader<'c>>,
    num_points: Reader<'c>,
    points: Points<'c>,
    sketches: Sketches,
    /// Type and unit of the last metadata of each name.
    described: Vec<Option<(Kind, usize)>>,
}

/// The columns of all points, at the next one.
struct Points<'c> {
    timestamps: Reader<'c>,
    timestamp_s: i64,
    sint64: Reader<'c>,
    float32: Reader<'c>,
    float64: Reader<'c>,
    num_bins: Reader<'c>,
    bin_keys: Reader<'c>,
    bin_counts: Reader<'c>,
}

impl<'c, 'a> Series<'c, 'a> {
    fn new(columns: &'c Columns<'a>, dictionaries: &'c Dictionaries<'a>) -> Self {
        let of = |number| columns.reader(number);
        let refs = |number, things| References::new(columns, number, things);
        Self {
            dictionaries,
            types: of(column::TYPES),
            names: refs(column::NAME_REFS, dictionaries.names.len()),
            tagsets: refs(column::TAGSET_REFS, dictionaries.tagsets.len()),
            resources: refs(column::RESOURCE_REFS, dictionaries.resources.len()),
            source_types: refs(column::SOURCE_TYPE_REFS, dictionaries.source_types.len()),
            origins: refs(column::ORIGIN_REFS, dictionaries.origins + 1),
            units: refs(column::UNIT_REFS, dictionaries.units.len()),
            intervals: Some(of(column::INTERVALS)).filter(|intervals| !intervals.is_empty()),
            num_points: of(column::NUM_POINTS),
            points: Points {
                timestamps: of(column::TIMESTAMPS),
                timestamp_s: 0,
                sint64: of(column::VALS_SINT64),
                float32: of(column::VALS_FLOAT32),
                float64: of(column::VALS_FLOAT64),
                num_bins: of(column::SKETCH_NUM_BINS),
                bin_keys: of(column::SKETCH_BIN_KEYS),
                bin_counts: of(column::SKETCH_BIN_COUNTS),
            },
            sketches: Sketches::default(),
            described: vec![None; dictionaries.names.len()],
        }
    }

    /// How many series there will be in the batch: a sketch is three.
    fn rows(&self) -> usize {
        let (mut types, mut rows) = (self.types, 0);
        while let Ok(kind) = types.varint() {
            rows += if kind & 0xf == 4 { 3 } else { 1 };
        }
        rows
    }

    #[inline]
    fn read(&mut self, submission: &mut Submission<'a>, batch: &mut Batch<'a>) -> Result<(), WireError> {
        const HAS_UNIT: u64 = 0x200;
        let bits = self.types.varint()?;
        let values = match bits & 0xf0 {
            0x00 => Values::Zero,
            0x10 => Values::Sint64,
            0x20 => Values::Float32,
            0x30 => Values::Float64,
            _ => return Err(self.types.error("unknown type of values")),
        };
        let (name, tagset) = (self.names.next()?, self.tagsets.next()?);
        let (resources, source_type) = (self.resources.next()?, self.source_types.next()?);
        self.origins.next()?;
        let unit = if bits & HAS_UNIT == 0 { 0 } else { self.units.next()? };
        let interval = self.intervals.as_mut().map_or(Ok(0), Reader::varint)?;
        let points = self.num_points.varint()?;

        let dictionaries = self.dictionaries;
        let (tagset, resources) = (&dictionaries.tagsets[tagset], &dictionaries.resources[resources]);
        let (name_id, name) = (name, dictionaries.names[name]);
        let source_type = dictionaries.source_types[source_type];
        let kind = match bits & 0xf {
            0 => Some(Kind::Unspecified),
            1 => Some(Kind::Count),
            2 => Some(Kind::Rate),
            3 => Some(Kind::Gauge),
            4 => Some(Kind::Distribution),
            _ => None,
        };
        let is_sketch = kind == Some(Kind::Distribution);
        let record = Record {
            name: Name::Metric(Cow::Borrowed(name.text), ""),
            kind: kind.unwrap_or_default(),
            // A sketch of the older route has none, and is of the same series.
            interval_s: if is_sketch { 0 } else { i64::try_from(interval).unwrap_or(0) },
            host: Cow::Borrowed(resources.host),
            device: Cow::Borrowed(resources.device),
            source_type: Cow::Borrowed(source_type.text),
            resources: resources.others.clone(),
            tags: tagset.tags.clone(),
        };
        let full = |reader: &Reader<'_>| reader.error(Full::WHAT);
        for _ in 0..if is_sketch { 3 } else { 1 } {
            submission.room_for(&record).map_err(|Full| full(&self.types))?;
        }
        let key = |record: &Record<'_>| {
            let mut parts = [0; 80];
            for (part, hash) in parts.as_chunks_mut::<16>().0.iter_mut().zip([
                name.hash,
                tagset.hash,
                resources.hash,
                source_type.hash,
            ]) {
                *part = hash;
            }
            parts[64..72].copy_from_slice(&record.interval_s.to_le_bytes());
            parts[72] = record.kind as u8;
            if let Name::Metric(_, suffix) = record.name {
                parts[73..73 + suffix.len()].copy_from_slice(suffix.as_bytes());
            }
            key128(dictionaries.seed, &parts)
        };
        let rows = Rows::begin(batch);
        if is_sketch {
            for _ in 0..points {
                self.points.sketch(values, &mut self.sketches, submission, batch)?;
            }
            let key = |_: &mut Submission<'a>, record: &Record<'a>| key(record);
            self.sketches.keep(rows, record, tagset.dropped, key, submission, batch);
        } else {
            for _ in 0..points {
                let point = Sample {
                    timestamp_ms: self.points.timestamp_ms()?,
                    value: self.points.value(values)?,
                    start_ms: 0,
                };
                submission.room.take_for(2 * size_of::<Sample>(), &self.points.timestamps)?;
                batch.samples.push(point);
            }
            if kind.is_none() {
                refuse(rows, &record, Reason::InvalidSeries, "unknown type of metric", batch);
                return Ok(());
            }
            let key = key(&record);
            submission.keep(rows, record, key, tagset.dropped, batch);
        }
        let (kind, unit_id) = (kind.unwrap_or_default(), unit);
        let unit = dictionaries.units[unit_id].text;
        if points > 0 && self.described[name_id] != Some((kind, unit_id)) {
            self.described[name_id] = Some((kind, unit_id));
            let metric = Cow::Borrowed(name.text);
            submission.describe(metric, kind, unit, batch).map_err(|Full| full(&self.types))?;
        }
        Ok(())
    }

    /// Nothing is left in any column.
    fn end(&self) -> Result<(), WireError> {
        let refs =
            [&self.names, &self.tagsets, &self.resources, &self.source_types, &self.origins, &self.units];
        let points = &self.points;
        let rest = [
            &self.num_points,
            &points.timestamps,
            &points.sint64,
            &points.float32,
            &points.float64,
            &points.num_bins,
            &points.bin_keys,
            &points.bin_counts,
        ];
        let columns = refs.iter().map(|refs| &refs.deltas).chain(rest).chain(&self.intervals);
        for column in columns {
            if !column.is_empty() {
                return Err(column.error("column that goes on behind its series"));
            }
        }
        Ok(())
    }
}

impl Points<'_> {
    #[inline]
    fn timestamp_ms(&mut self) -> Result<i64, WireError> {
        self.timestamp_s = self.timestamp_s.wrapping_add(unzigzag(self.timestamps.varint()?));
        Ok(milliseconds(self.timestamp_s))
    }

    #[inline]
    fn value(&mut self, values: Values) -> Result<f64, WireError> {
        match values {
            Values::Zero => Ok(0.0),
            Values::Sint64 => Ok(unzigzag(self.sint64.varint()?) as f64),
            Values::Float32 => match self.float32.rest().first_chunk::<4>() {
                Some(bytes) => {
                    self.float32.advance(4);
                    Ok(f64::from(f32::from_le_bytes(*bytes)))
                }
                None => Err(self.float32.error("truncated 32-bit field")),
            },
            Values::Float64 => self.float64.double(),
        }
    }

    /// A sketch: sum, minimum and maximum are values, the count is an integer behind them.
    fn sketch<'a>(
        &mut self,
        values: Values,
        sketches: &mut Sketches,
        submission: &mut Submission<'a>,
        batch: &mut Batch<'a>,
    ) -> Result<(), WireError> {
        let timestamp_ms = self.timestamp_ms()?;
        let [sum, min, max] = [self.value(values)?, self.value(values)?, self.value(values)?];
        let count = unzigzag(self.sint64.varint()?);
        let mut key = 0i32;
        for _ in 0..self.num_bins.varint()? {
            key = key.wrapping_add(unzigzag(self.bin_keys.varint()?) as i32);
            sketches.bin(key, self.bin_counts.varint()? as u32);
        }
        let summary = Summary { timestamp_ms, count, sum, min, max };
        sketches.push(summary, &mut submission.room, batch).map_err(|Full| self.timestamps.error(Full::WHAT))
    }
}
