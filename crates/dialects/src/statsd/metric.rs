//! `name:value|type` and its fields.

use super::fields::{Origin, Tags, split};
use super::{BadLine, Flavor, RATE_MIN};
use crate::number;

/// The last second of the year 9999.
const SECONDS_MAX: i64 = 253_402_300_799;

/// A metric's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MetricKind {
    /// `c`
    Counter,
    /// `g`
    Gauge,
    /// `h`
    Histogram,
    /// `ms`
    Timing,
    /// `d`
    Distribution,
    /// `s`
    Set,
}

impl MetricKind {
    /// Every type.
    pub const ALL: [MetricKind; 6] =
        [Self::Counter, Self::Gauge, Self::Histogram, Self::Timing, Self::Distribution, Self::Set];

    /// As it stands in a line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "c",
            Self::Gauge => "g",
            Self::Histogram => "h",
            Self::Timing => "ms",
            Self::Distribution => "d",
            Self::Set => "s",
        }
    }

    fn read(text: &[u8]) -> Option<Self> {
        Some(match text {
            b"c" => Self::Counter,
            b"g" => Self::Gauge,
            b"h" => Self::Histogram,
            b"ms" => Self::Timing,
            b"d" => Self::Distribution,
            b"s" => Self::Set,
            _ => return None,
        })
    }
}

/// What was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// One finite number or more.
    Numbers(&'a [f64]),
    /// By how much a gauge changes, one finite number or more.
    Changes(&'a [f64]),
    /// A member of a set; not empty.
    Member(&'a [u8]),
}

/// A line with values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Metric<'a> {
    /// Its name, as sent; not empty.
    pub name: &'a [u8],
    /// Its type.
    pub kind: MetricKind,
    /// What was measured.
    pub value: Value<'a>,
    /// How many observations each value stands for: one over the sample rate.
    pub weight: f64,
    /// When, in ms since the epoch, if the sender aggregated already; `None` = now.
    pub timestamp_ms: Option<i64>,
    /// Who sent it.
    pub origin: Origin<'a>,
    /// Telegraf's tags, from the name's first comma on.
    inline_tags: &'a [u8],
    /// The tags after `#`.
    listed_tags: &'a [u8],
}

impl<'a> Metric<'a> {
    /// Its tags.
    pub fn tags(&self) -> Tags<'a> {
        Tags::new(self.inline_tags, self.listed_tags)
    }

    /// Hash of its name, type and tags as they lie on the wire. Equal keys mean equal bytes; the same metric may have
    /// several keys (other order of tags). Histograms and timings are one type.
    #[inline]
    pub fn key(&self, seed: u64) -> u128 {
        let kind = match self.kind {
            MetricKind::Timing => MetricKind::Histogram,
            kind => kind,
        };
        let of_name = codec::hash::key128(seed, self.name);
        let seed = (of_name as u64).wrapping_add(kind as u64 + 1);
        let mut key = codec::hash::key128(seed, self.listed_tags);
        if !self.inline_tags.is_empty() {
            key = key.rotate_left(1) ^ codec::hash::key128(!seed, self.inline_tags);
        }
        key ^ of_name.rotate_left(64)
    }
}

/// Reads a line that is not empty. `room` is for its values.
#[inline]
pub(super) fn read<'a>(line: &'a [u8], flavor: Flavor, room: &'a mut Room) -> Result<Metric<'a>, BadLine> {
    let (head, rest) = split(line, b'|');
    let rest = rest.ok_or(BadLine::NoType)?;
    let (name, inline_tags, value) = read_head(head)?;
    let (kind, mut rest) = split(rest, b'|');
    let kind = MetricKind::read(kind).ok_or(BadLine::Type)?;
    let (mut weight, mut timestamp_ms, mut listed_tags, mut origin) = (1.0, None, &[][..], Origin::default());
    while let Some(fields) = rest {
        let (field, after) = split(fields, b'|');
        rest = after;
        match field {
            [b'#', tags @ ..] => listed_tags = tags,
            [b'@', rate @ ..] => {
                let rate = number::finite(rate).filter(|rate| (RATE_MIN..=1.0).contains(rate));
                weight = 1.0 / rate.ok_or(BadLine::Rate)?;
            }
            [b'T', seconds @ ..] => {
                let seconds = number::whole(seconds, 1, SECONDS_MAX).ok_or(BadLine::Timestamp)?;
                timestamp_ms = Some(seconds * 1000);
            }
            field => {
                origin.take(field);
            }
        }
    }
    let value = match kind {
        MetricKind::Set => Value::Member(value),
        MetricKind::Gauge if flavor == Flavor::StatsD && has_sign(value) => {
            if value.split(|byte| *byte == b':').any(|part| !part.is_empty() && !has_sign(part)) {
                return Err(BadLine::Value);
            }
            Value::Changes(room.read(value)?)
        }
        _ => Value::Numbers(room.read(value)?),
    };
    Ok(Metric { name, kind, value, weight, timestamp_ms, origin, inline_tags, listed_tags })
}

/// Name, Telegraf's tags, value.
type Head<'a> = (&'a [u8], &'a [u8], &'a [u8]);

#[inline]
fn read_head(head: &[u8]) -> Result<Head<'_>, BadLine> {
    let colon = memchr::memchr(b':', head).ok_or(BadLine::NoName)?;
    let (mut name, mut inline_tags, mut value) = (&head[..colon], &[][..], &head[colon + 1..]);
    if let Some(comma) = memchr::memchr(b',', name) {
        // A tag's value may have colons.
        let colon = memchr::memrchr(b':', head).unwrap_or(colon);
        (name, inline_tags, value) = (&head[..comma], &head[comma + 1..colon], &head[colon + 1..]);
    }
    match (name, value) {
        ([], _) => Err(BadLine::NoName),
        (_, []) => Err(BadLine::NoValue),
        _ => Ok((name, inline_tags, value)),
    }
}

fn has_sign(value: &[u8]) -> bool {
    matches!(value.first(), Some(b'+' | b'-'))
}

/// Where a line's values are read to: a single one, as most are, needs no allocation.
#[derive(Default)]
pub(super) struct Room {
    one: [f64; 1],
    many: Vec<f64>,
}

impl Room {
    /// One value, or several between colons; what is empty between them is skipped.
    #[inline]
    fn read(&mut self, text: &[u8]) -> Result<&[f64], BadLine> {
        if memchr::memchr(b':', text).is_none() {
            self.one = [number::finite(text).ok_or(BadLine::Value)?];
            return Ok(&self.one);
        }
        self.many.clear();
        for part in text.split(|byte| *byte == b':').filter(|part| !part.is_empty()) {
            self.many.push(number::finite(part).ok_or(BadLine::Value)?);
        }
        if self.many.is_empty() { Err(BadLine::NoValue) } else { Ok(&self.many) }
    }
}
