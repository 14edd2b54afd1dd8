//! The series of a body: which metric each is of, and its labels once the store asks for them.
//!
//! Most series are known to the store by their key, so tags stay where they lie in the body until somebody wants to see
//! them; the key is a hash of the metric's name and of the tags' bytes.

use std::borrow::Cow;

use codec::float::write_general;
use codec::hash::key128;
use model::LabelError;
use model::batch::{LabelSource, MakeLabels, Pair};
use model::labels::{LABELS_MAX, METRIC_NAME};

use super::packed::Msgpack;
use super::tree::{Packing, Tree, Value};
use crate::Malformed;
use crate::json::Json;
use crate::rows::{Full, Room};

/// Keeps keys of these series apart from those of other dialects.
const KEY_DOMAIN: u64 = 0x6265_7474_6572_7374;

/// Bytes of a metric's name and tags that each of its series may have for nothing. A histogram of many buckets may have
/// long tags, and they are hashed, and read once more, for each.
const FREE_BYTES: usize = 1 << 10;

/// Which of a metric's series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Part {
    /// Its value.
    Value,
    /// What its observations come to.
    Sum,
    /// How many they are.
    Count,
    /// How many are at most so large.
    Bucket(f64),
    /// How many are at most so large and more than those of the bucket before.
    UpperLimit(f64),
    /// What that part of them is at most.
    Quantile(f64),
}

impl Part {
    fn suffix(self) -> &'static str {
        match self {
            Self::Sum => "_sum",
            Self::Count => "_count",
            Self::Bucket(_) => "_bucket",
            Self::Value | Self::UpperLimit(_) | Self::Quantile(_) => "",
        }
    }

    /// A label of this series alone.
    fn label(self) -> Option<(&'static str, f64)> {
        match self {
            Self::Value | Self::Sum | Self::Count => None,
            Self::Bucket(bound) => Some(("le", bound)),
            Self::UpperLimit(bound) => Some(("upper_limit", bound)),
            Self::Quantile(quantile) => Some(("quantile", quantile)),
        }
    }

    /// What tells it from the others, in a key.
    fn mark(self) -> [u8; 9] {
        let (number, bits) = match self {
            Self::Value => (0, 0),
            Self::Sum => (1, 0),
            Self::Count => (2, 0),
            Self::Bucket(bound) => (3, bound.to_bits()),
            Self::UpperLimit(bound) => (4, bound.to_bits()),
            Self::Quantile(quantile) => (5, quantile.to_bits()),
        };
        let mut mark = [number; 9];
        mark[1..].copy_from_slice(&bits.to_le_bytes());
        mark
    }
}

#[derive(Debug)]
struct Metric<'a> {
    name: Cow<'a, str>,
    /// Its tags, a map as it lies in the body; nothing when there are none.
    tags: &'a [u8],
}

/// The series of a body: the source of their labels.
#[derive(Debug)]
pub(super) struct Source<'a> {
    packing: Packing,
    seed: u64,
    metrics: Vec<Metric<'a>>,
    series: Vec<(u32, Part)>,
    /// The current metric's part of a key.
    bytes: Vec<u8>,
}

impl<'a> Source<'a> {
    /// No series yet; keys are made with `seed`.
    pub(super) fn new(packing: Packing, seed: u64) -> Self {
        let seed = seed ^ KEY_DOMAIN ^ packing as u64;
        Self { packing, seed, metrics: Vec::new(), series: Vec::new(), bytes: Vec::new() }
    }

    /// Begins a metric; the series that come are its.
    pub(super) fn begin(&mut self, name: Cow<'a, str>, tags: &'a [u8], room: &mut Room) -> Result<(), Full> {
        room.take(size_of::<Metric<'_>>() + crate::rows::owned_bytes(&name))?;
        self.bytes.clear();
        self.bytes.extend_from_slice(&(name.len() as u64).to_le_bytes());
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.extend_from_slice(tags);
        self.metrics.push(Metric { name, tags });
        Ok(())
    }

    /// Whether a metric's tags have one of `names`.
    pub(super) fn has_tag(&self, tags: &[u8], names: &[&str]) -> bool {
        !tags.is_empty()
            && match self.packing {
                Packing::Json => has_tag(Json::new(tags), names),
                Packing::Msgpack => has_tag(Msgpack::new(tags), names),
            }
    }

    /// A series of the metric that came last: where its labels come from, and its key.
    pub(super) fn series(
        &mut self,
        part: Part,
        room: &mut Room,
    ) -> Result<(LabelSource<'static>, u128), Full> {
        room.take(size_of::<(u32, Part)>() + self.bytes.len().saturating_sub(FREE_BYTES))?;
        let metric = self.bytes.len();
        self.bytes.extend_from_slice(&part.mark());
        let key = key128(self.seed, &self.bytes);
        self.bytes.truncate(metric);
        let number = |length: usize| u32::try_from(length).expect("a body has less than 2^32 series");
        let labels = LabelSource::Made(number(self.series.len()));
        self.series.push((number(self.metrics.len() - 1), part));
        Ok((labels, key))
    }
}

impl MakeLabels for Source<'_> {
    fn make<'b>(&'b self, number: u32, pairs: &mut Vec<Pair<'b>>) -> Result<(), LabelError> {
        let (metric, part) = self.series[number as usize];
        let Metric { name, tags } = &self.metrics[metric as usize];
        let name = match part.suffix() {
            "" => Cow::Borrowed(name.as_ref()),
            suffix => Cow::Owned(format!("{name}{suffix}")),
        };
        pairs.push((Cow::Borrowed(METRIC_NAME), name));
        if !tags.is_empty() {
            match self.packing {
                Packing::Json => push_tags(Json::new(tags), pairs)?,
                Packing::Msgpack => push_tags(Msgpack::new(tags), pairs)?,
            }
        }
        if let Some((label, value)) = part.label() {
            let mut text = String::new();
            write_general(value, &mut text);
            pairs.push((Cow::Borrowed(label), Cow::Owned(text)));
        }
        Ok(())
    }
}

/// Appends the tags of a map.
fn push_tags<'b>(mut tree: impl Tree<'b>, pairs: &mut Vec<Pair<'b>>) -> Result<(), LabelError> {
    let mut fault = None;
    let read = tree.value().and_then(|value| match value {
        Value::Map(length) => tree.map(length, |tree, key| {
            match tag(tree)? {
                Ok(value) if !value.is_empty() && fault.is_none() => {
                    pairs.push((key, value));
                    if pairs.len() > LABELS_MAX {
                        fault = Some(LabelError::TooMany { count: pairs.len(), limit: LABELS_MAX });
                    }
                }
                Ok(_) => {}
                Err(error) => fault = Some(error),
            }
            Ok(())
        }),
        _ => Err(tree.error("no map")),
    });
    match (read, fault) {
        (_, Some(error)) => Err(error),
        (Err(_), None) => Err(LabelError::Undecodable),
        (Ok(()), None) => Ok(()),
    }
}

/// Whether one of `names` is a label that the tags of a map make.
fn has_tag<'b>(mut tree: impl Tree<'b>, names: &[&str]) -> bool {
    let mut found = false;
    let read = tree.value().and_then(|value| match value {
        Value::Map(length) => tree.map(length, |tree, key| {
            let is_label = tag(tree)?.is_ok_and(|value| !value.is_empty());
            found |= is_label && names.contains(&key.as_ref());
            Ok(())
        }),
        _ => Err(tree.error("no map")),
    });
    read.is_ok() && found
}

/// A tag's value: what is no text is written as one, of several it is the last, and nothing is no label.
fn tag<'b, T: Tree<'b>>(tree: &mut T) -> Result<Result<Cow<'b, str>, LabelError>, Malformed> {
    let value = tree.value()?;
    if let Value::List(length) = value {
        let mut last = Ok(Cow::Borrowed(""));
        tree.list(length, |tree| {
            let value = tree.scalar()?;
            if !matches!(value, Value::Null) {
                last = written(value);
            }
            Ok(())
        })?;
        return Ok(last);
    }
    tree.skip(&value)?;
    Ok(written(value))
}

fn written(value: Value<'_>) -> Result<Cow<'_, str>, LabelError> {
    Ok(match value {
        Value::Null => Cow::Borrowed(""),
        Value::Text(text) => text,
        Value::Number(number) => number.text(),
        Value::Bool(value) => Cow::Borrowed(if value { "true" } else { "false" }),
        Value::Time(..) | Value::Unknown | Value::List(_) | Value::Map(_) => {
            return Err(LabelError::Undecodable);
        }
    })
}
