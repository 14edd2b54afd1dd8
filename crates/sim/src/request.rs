//! A request as a test writes it, and the batch that a decoder would make of it.
//!
//! Labels come either as pairs or as bytes of a small wire format of this crate: for each label the length of the
//! name, the name, the length of the value, the value. A length is a varint and may be padded, so one label list has
//! several encodings, as in protobuf.

use std::borrow::Cow;

use model::batch::{Exemplar, HistogramSample, LabelSource, MetadataRow, SeriesRow, Temporality};
use model::{Batch, LabelError, LogRow, Metadata, Sample};

use crate::lines::Line;
use xxhash_rust::xxh3::xxh3_128_with_seed;

/// How a row's labels come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// As pairs in the batch.
    Pairs,
    /// On the wire, lengths in as few bytes as they need.
    Wire,
    /// On the wire, lengths in one byte more than they need.
    PaddedWire,
}

impl Encoding {
    /// Every encoding.
    pub const ALL: [Encoding; 3] = [Self::Pairs, Self::Wire, Self::PaddedWire];
}

/// One series of a request with what it brings.
#[derive(Clone, Debug)]
pub struct Row {
    /// Labels in the order of the wire, as wrong as the sender likes.
    pub labels: Vec<(String, String)>,
    /// How they come.
    pub encoding: Encoding,
    /// Floats.
    pub samples: Vec<Sample>,
    /// Native histograms.
    pub histograms: Vec<HistogramSample>,
    /// Exemplars.
    pub exemplars: Vec<Exemplar>,
}

impl Row {
    /// A row with labels only.
    pub fn new<N: Into<String>, V: Into<String>>(
        labels: impl IntoIterator<Item = (N, V)>,
        encoding: Encoding,
    ) -> Self {
        let labels = labels.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        Self { labels, encoding, samples: Vec::new(), histograms: Vec::new(), exemplars: Vec::new() }
    }

    /// The row with one more float.
    #[must_use]
    pub fn sample(mut self, timestamp_ms: i64, value: f64) -> Self {
        self.samples.push(Sample { timestamp_ms, value, start_ms: 0 });
        self
    }
}

/// A request.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Series in order.
    pub rows: Vec<Row>,
    /// Metadata by family.
    pub metadata: Vec<(String, Metadata)>,
    /// Log lines.
    pub lines: Vec<Line>,
}

/// A request's bytes, which its batch points into.
#[derive(Clone, Debug)]
pub struct Encoded<'a> {
    request: &'a Request,
    /// The label list of each row, on the wire.
    wires: Vec<Vec<u8>>,
}

impl Request {
    /// Writes the labels as they lie on the wire.
    pub fn encode(&self) -> Encoded<'_> {
        let wires = self.rows.iter().map(|row| encode_labels(&row.labels, row.encoding)).collect();
        Encoded { request: self, wires }
    }
}

impl<'b> Encoded<'b> {
    /// What a decoder would hand to the store; keys are made with `seed`.
    pub fn batch(&'b self, seed: u64) -> Batch<'b> {
        let mut batch = Batch::new(seed);
        for (row, wire) in self.request.rows.iter().zip(&self.wires) {
            let labels = match row.encoding {
                Encoding::Pairs => {
                    let start = batch.pairs.len();
                    let pairs = row.labels.iter();
                    batch.pairs.extend(pairs.map(|(n, v)| (Cow::from(n.as_str()), Cow::from(v.as_str()))));
                    LabelSource::Pairs(start..batch.pairs.len())
                }
                Encoding::Wire | Encoding::PaddedWire => {
                    LabelSource::Wire { bytes: wire, parse: parse_labels }
                }
            };
            let starts = (batch.samples.len(), batch.histograms.len(), batch.exemplars.len());
            batch.samples.extend_from_slice(&row.samples);
            batch.histograms.extend_from_slice(&row.histograms);
            batch.exemplars.extend_from_slice(&row.exemplars);
            batch.series.push(SeriesRow {
                labels,
                key: xxh3_128_with_seed(wire, seed),
                samples: starts.0..batch.samples.len(),
                histograms: starts.1..batch.histograms.len(),
                exemplars: starts.2..batch.exemplars.len(),
                temporality: Temporality::Cumulative,
                item: 0,
            });
        }
        for line in &self.request.lines {
            let mut push = |pairs: &'b [(String, String)]| {
                let start = batch.pairs.len();
                batch.pairs.extend(pairs.iter().map(|(n, v)| (Cow::from(n.as_str()), Cow::from(v.as_str()))));
                start..batch.pairs.len()
            };
            let (stream, fields) = (push(&line.stream), push(&line.fields));
            let (timestamp_ns, line) = (line.timestamp_ns, Cow::from(line.text.as_str()));
            batch.logs.push(LogRow { stream, fields, timestamp_ns, line, item: 0 });
        }
        let metadata = self.request.metadata.iter();
        batch.metadata.extend(metadata.map(|(family, metadata)| MetadataRow {
            family: Cow::from(family.as_str()),
            metadata: metadata.clone(),
        }));
        batch
    }
}

fn encode_labels(labels: &[(String, String)], encoding: Encoding) -> Vec<u8> {
    let mut wire = Vec::new();
    for part in labels.iter().flat_map(|(name, value)| [name, value]) {
        push_length(&mut wire, part.len(), encoding == Encoding::PaddedWire);
        wire.extend_from_slice(part.as_bytes());
    }
    wire
}

fn push_length(wire: &mut Vec<u8>, mut length: usize, padded: bool) {
    while length > 0x7f {
        wire.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    if padded {
        wire.extend([length as u8 | 0x80, 0]);
    } else {
        wire.push(length as u8);
    }
}

fn parse_labels<'a>(wire: &'a [u8], pairs: &mut Vec<(&'a str, &'a str)>) -> Result<(), LabelError> {
    let mut rest = wire;
    while !rest.is_empty() {
        let name = take_part(&mut rest)?;
        let value = take_part(&mut rest)?;
        pairs.push((name, value));
    }
    Ok(())
}

fn take_part<'a>(rest: &mut &'a [u8]) -> Result<&'a str, LabelError> {
    let mut length = 0usize;
    for shift in (0..28).step_by(7) {
        let (&byte, after) = rest.split_first().ok_or(LabelError::Undecodable)?;
        *rest = after;
        length |= usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            let (part, after) = rest.split_at_checked(length).ok_or(LabelError::Undecodable)?;
            *rest = after;
            return std::str::from_utf8(part).map_err(|_| LabelError::NotUtf8);
        }
    }
    Err(LabelError::Undecodable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_encodings_give_the_labels_back_under_keys_of_their_own() {
        let labels = [("job", "x".repeat(300)), ("__name__", "up".into()), ("gone", String::new())];
        let rows = Encoding::ALL.map(|encoding| Row::new(labels.clone(), encoding).sample(1, 2.0));
        let request = Request { rows: rows.into(), ..Request::default() };
        let encoded = request.encode();
        let batch = encoded.batch(7);
        for index in 0..3 {
            let same = |pairs: &mut Vec<(&str, &str)>| {
                Ok(pairs.iter().map(|(n, v)| (*n, v.to_string())).eq(labels.iter().cloned()))
            };
            assert!(batch.with_labels(index, same).unwrap());
        }
        assert_eq!(batch.series[0].key, batch.series[1].key);
        assert_ne!(batch.series[1].key, batch.series[2].key);
        assert_ne!(batch.series[0].key, encoded.batch(8).series[0].key);
        assert_eq!(batch.series[2].samples, 2..3);
    }
}
