//! The client's side: answers read back, for tests.

use codec::hash::crc32c;
use codec::prometheus_chunk::{Encoding, decode_floats, decode_histograms};
use codec::proto::{FIXED64, LEN, Reader, VARINT, key};
use codec::varint;
use model::histogram::ResetHint;
use model::{Histogram, Labels};

use crate::remote_write::histogram;
use crate::rows::Room;

/// A series of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadSeries {
    /// Its labels.
    pub labels: Labels,
    /// Times in ms and values, by time.
    pub samples: Vec<(i64, Value)>,
}

/// A sample's value.
#[derive(Clone, Debug)]
pub enum Value {
    /// A float.
    Float(f64),
    /// A native histogram.
    Histogram(Box<Histogram>),
}

/// Equality of bits.
impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Float(a), Self::Float(b)) => a.to_bits() == b.to_bits(),
            (Self::Histogram(a), Self::Histogram(b)) => a == b,
            _ => false,
        }
    }
}

impl ReadSeries {
    /// Without what the two forms of the answer say differently: whether a histogram comes after a reset. Of stale
    /// markers nothing else is left.
    pub fn without_hints(&self) -> Self {
        let mut series = self.clone();
        for (_, value) in &mut series.samples {
            if let Value::Histogram(histogram) = value {
                if histogram.reset_hint != ResetHint::Gauge {
                    histogram.reset_hint = ResetHint::Unknown;
                }
                if histogram.is_stale() {
                    *value = Value::Float(histogram.sum);
                }
            }
        }
        series
    }
}

/// Where two answers first differ, in words: they are too long to be shown.
pub fn difference(one: &[ReadSeries], other: &[ReadSeries]) -> Option<String> {
    for (one, other) in one.iter().zip(other) {
        if one.labels != other.labels {
            return Some(format!("{} and {}", one.labels, other.labels));
        }
        let mut pairs = one.samples.iter().zip(&other.samples);
        if let Some((one_, other)) = pairs.find(|(one, other)| one != other) {
            return Some(format!("{}: {one_:?} and {other:?}", one.labels));
        }
        if one.samples.len() != other.samples.len() {
            return Some(format!(
                "{}: {} and {} samples",
                one.labels,
                one.samples.len(),
                other.samples.len()
            ));
        }
    }
    (one.len() != other.len()).then(|| format!("{} and {} series", one.len(), other.len()))
}

/// Reads the results of a `ReadResponse`; `None` when it is not one.
pub fn read_samples(body: &[u8]) -> Option<Vec<Vec<ReadSeries>>> {
    const MESSAGE: u32 = key(1, LEN);
    let (mut response, mut results, mut room) = (Reader::new(body), Vec::new(), Room::new());
    while let Some(key) = response.key().ok()? {
        if key != MESSAGE {
            return None;
        }
        let (mut result, mut series) = (response.message().ok()?, Vec::new());
        while let Some(key) = result.key().ok()? {
            if key != MESSAGE {
                return None;
            }
            series.push(read_series(result.message().ok()?, &mut room)?);
        }
        results.push(series);
    }
    Some(results)
}

fn read_series(mut message: Reader<'_>, room: &mut Room) -> Option<ReadSeries> {
    const LABEL: u32 = key(1, LEN);
    const SAMPLE: u32 = key(2, LEN);
    const HISTOGRAM: u32 = key(4, LEN);
    const VALUE: u32 = key(1, FIXED64);
    const TIMESTAMP: u32 = key(2, VARINT);
    let (mut labels, mut samples) = (Vec::new(), Vec::new());
    while let Some(key) = message.key().ok()? {
        match key {
            LABEL => labels.push(label(message.message().ok()?)?),
            SAMPLE => {
                let (mut sample, mut ms, mut value) = (message.message().ok()?, 0, 0.0);
                while let Some(key) = sample.key().ok()? {
                    match key {
                        VALUE => value = sample.double().ok()?,
                        TIMESTAMP => ms = sample.varint().ok()? as i64,
                        _ => return None,
                    }
                }
                samples.push((ms, Value::Float(value)));
            }
            HISTOGRAM => {
                let sample = histogram::decode(message.message().ok()?, room).ok()?.ok()?;
                let histogram = Box::new((*sample.histogram).clone());
                samples.push((sample.timestamp_ms, Value::Histogram(histogram)));
            }
            _ => return None,
        }
    }
    samples.sort_by_key(|(ms, _)| *ms);
    Some(ReadSeries { labels: Labels::from_pairs(labels), samples })
}

/// Reads frames: each series with the number of its query, frames of one series together. `None` when they are not
/// whole.
pub fn read_frames(mut bytes: &[u8]) -> Option<Vec<(u64, ReadSeries)>> {
    const SERIES: u32 = key(1, LEN);
    const QUERY: u32 = key(2, VARINT);
    let mut all: Vec<(u64, ReadSeries)> = Vec::new();
    while !bytes.is_empty() {
        let (length, head) = varint::read(bytes).ok()?;
        let (crc, rest) = bytes[head..].split_first_chunk::<4>()?;
        let (message, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
        if crc32c(message) != u32::from_be_bytes(*crc) {
            return None;
        }
        bytes = rest;
        let (mut frame, mut query, mut found) = (Reader::new(message), 0, Vec::new());
        while let Some(key) = frame.key().ok()? {
            match key {
                SERIES => found.push(chunked_series(frame.message().ok()?)?),
                QUERY => query = frame.varint().ok()?,
                _ => return None,
            }
        }
        for series in found {
            match all.last_mut() {
                Some((of, last)) if *of == query && last.labels == series.labels => {
                    last.samples.extend(series.samples);
                }
                _ => all.push((query, series)),
            }
        }
    }
    Some(all)
}

fn chunked_series(mut message: Reader<'_>) -> Option<ReadSeries> {
    const LABEL: u32 = key(1, LEN);
    const CHUNK: u32 = key(2, LEN);
    let (mut labels, mut samples) = (Vec::new(), Vec::new());
    while let Some(key) = message.key().ok()? {
        match key {
            LABEL => labels.push(label(message.message().ok()?)?),
            CHUNK => samples.extend(chunk(message.message().ok()?)?),
            _ => return None,
        }
    }
    Some(ReadSeries { labels: Labels::from_pairs(labels), samples })
}

fn chunk(mut message: Reader<'_>) -> Option<Vec<(i64, Value)>> {
    const MIN: u32 = key(1, VARINT);
    const MAX: u32 = key(2, VARINT);
    const ENCODING: u32 = key(3, VARINT);
    const DATA: u32 = key(4, LEN);
    let (mut min, mut max, mut encoding, mut data) = (0, 0, None, &[][..]);
    while let Some(key) = message.key().ok()? {
        match key {
            MIN => min = message.varint().ok()? as i64,
            MAX => max = message.varint().ok()? as i64,
            ENCODING => encoding = Encoding::from_number(message.varint().ok()?),
            DATA => data = message.bytes().ok()?,
            _ => return None,
        }
    }
    let samples: Vec<(i64, Value)> = match encoding? {
        Encoding::Xor => decode_floats(data).ok()?.into_iter().map(|(ms, v)| (ms, Value::Float(v))).collect(),
        encoding => {
            let histograms = decode_histograms(encoding, data).ok()?.into_iter();
            histograms.map(|(ms, histogram)| (ms, Value::Histogram(Box::new(histogram)))).collect()
        }
    };
    let (first, last) = (samples.first()?.0, samples.last()?.0);
    ((min, max) == (first, last)).then_some(samples)
}

fn label(mut message: Reader<'_>) -> Option<(String, String)> {
    const NAME: u32 = key(1, LEN);
    const VALUE: u32 = key(2, LEN);
    let (mut name, mut value) = (String::new(), String::new());
    while let Some(key) = message.key().ok()? {
        let into = match key {
            NAME => &mut name,
            VALUE => &mut value,
            _ => return None,
        };
        *into = std::str::from_utf8(message.bytes().ok()?).ok()?.to_owned();
    }
    Some((name, value))
}
