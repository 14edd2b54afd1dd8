//! All that windows remember, as bytes: the same for the same windows.
//!
//! ```text
//! version (1) · open_ms (8) · newest_ms (8) · swept_ms (8)
//! totals: count (4), each, in the order of labels and numbers:
//!   labels: length (4), canonical form · number (16) · timestamp (8) · value (8) · is idle (1): since (8)
//! windows: count (4), each, the oldest first:
//!   start (8) · hops (1) · instances: count (4), each (8) · parts: count (4), each, in the order of labels:
//!     labels: length (4), canonical form · has grown (1): by (8) · held: count (4), each timestamp (8), value (8), start (8)
//! ```
//! Numbers are little-endian. Whoever keeps it wraps it with a checksum. How long windows stay open is not among it: that is
//! said anew by whoever goes on.

use model::{Labels, Sample, SeriesId};

use super::{Last, Part, Total, Window, Windows};

/// No release wrote versions 1 and 2.
const VERSION: u8 = 3;

/// Occurs when bytes are not what [`Windows::encode`] wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// They end too soon, go on too long, or say what cannot be.
    Damaged,
    /// A newer Weir wrote them, in this version.
    Newer(u8),
}

impl std::fmt::Display for Unreadable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Damaged => f.write_str("the state of windows is damaged"),
            Self::Newer(version) => write!(f, "the state of windows is of version {version}, which is newer"),
        }
    }
}

impl std::error::Error for Unreadable {}

impl Windows {
    /// Appends all that is remembered.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        for number in [self.open_ms, self.newest_ms, self.swept_ms] {
            put_number(number, out);
        }
        let mut totals: Vec<(&(SeriesId, Labels), &Total)> = self.totals.iter().collect();
        totals.sort_unstable_by_key(|((id, labels), _)| (labels, *id));
        put_count(totals.len(), out);
        for ((id, labels), total) in totals {
            put_labels(labels, out);
            out.extend_from_slice(&id.0.to_le_bytes());
            put_number(total.last.timestamp_ms, out);
            put_value(total.last.value, out);
            out.push(u8::from(total.idle_ms.is_some()));
            total.idle_ms.into_iter().for_each(|idle_ms| put_number(idle_ms, out));
        }
        put_count(self.filled.len(), out);
        for (start_ms, window) in &self.filled {
            put_number(*start_ms, out);
            window.encode(out);
        }
    }

    /// Windows that go on where those went that were encoded, and stay open for so long after their ends from now on.
    pub fn decode(bytes: &[u8], lateness_ms: i64) -> Result<Self, Unreadable> {
        let (version, rest) = bytes.split_first().ok_or(Unreadable::Damaged)?;
        match *version {
            VERSION => {}
            newer @ VERSION.. => return Err(Unreadable::Newer(newer)),
            _ => return Err(Unreadable::Damaged),
        }
        let mut rest = Rest(rest);
        let mut windows = Self::new(lateness_ms);
        windows.open_ms = rest.number()?;
        windows.newest_ms = rest.number()?;
        windows.swept_ms = rest.number()?;
        for _ in 0..rest.count()? {
            let labels = rest.labels()?;
            let id = SeriesId(u128::from_le_bytes(rest.array()?));
            let last = Last { timestamp_ms: rest.number()?, value: rest.value()? };
            let idle_ms = if rest.is()? { Some(rest.number()?) } else { None };
            if windows.totals.insert((id, labels), Total { last, idle_ms }).is_some() {
                return Err(Unreadable::Damaged);
            }
        }
        for _ in 0..rest.count()? {
            if windows.filled.insert(rest.number()?, Window::decode(&mut rest)?).is_some() {
                return Err(Unreadable::Damaged);
            }
        }
        if rest.0.is_empty() { Ok(windows) } else { Err(Unreadable::Damaged) }
    }
}

impl Window {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.origin.hops);
        put_count(self.origin.via.len(), out);
        self.origin.via.iter().for_each(|instance| out.extend_from_slice(&instance.to_le_bytes()));
        let mut parts: Vec<(&Labels, &Part)> = self.parts.iter().collect();
        parts.sort_unstable_by_key(|(labels, _)| *labels);
        put_count(parts.len(), out);
        for (labels, part) in parts {
            put_labels(labels, out);
            out.push(u8::from(part.grown.is_some()));
            part.grown.into_iter().for_each(|grown| put_value(grown, out));
            put_count(part.held.len(), out);
            for sample in &part.held {
                put_number(sample.timestamp_ms, out);
                put_value(sample.value, out);
                put_number(sample.start_ms, out);
            }
        }
    }

    fn decode(rest: &mut Rest<'_>) -> Result<Self, Unreadable> {
        let mut window = Self::default();
        let [hops] = rest.array()?;
        window.origin.hops = hops;
        for _ in 0..rest.count()? {
            window.origin.via.push(u64::from_le_bytes(rest.array()?));
        }
        for _ in 0..rest.count()? {
            let labels = rest.labels()?;
            let mut part =
                Part { grown: if rest.is()? { Some(rest.value()?) } else { None }, held: Vec::new() };
            for _ in 0..rest.count()? {
                let (timestamp_ms, value, start_ms) = (rest.number()?, rest.value()?, rest.number()?);
                part.held.push(Sample { timestamp_ms, value, start_ms });
            }
            if window.parts.insert(labels, part).is_some() {
                return Err(Unreadable::Damaged);
            }
        }
        Ok(window)
    }
}

fn put_labels(labels: &Labels, out: &mut Vec<u8>) {
    let text = labels.as_canonical();
    put_count(text.len(), out);
    out.extend_from_slice(text.as_bytes());
}

fn put_number(number: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn put_count(count: usize, out: &mut Vec<u8>) {
    let count = u32::try_from(count).expect("fewer than 2^32 of anything are remembered");
    out.extend_from_slice(&count.to_le_bytes());
}

fn put_value(value: f64, out: &mut Vec<u8>) {
    out.extend_from_slice(&value.to_bits().to_le_bytes());
}

/// Bytes that are not read yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Unreadable> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Unreadable::Damaged)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Unreadable> {
        Ok(self.take(N)?.try_into().expect("so many were taken"))
    }

    fn number(&mut self) -> Result<i64, Unreadable> {
        self.array().map(i64::from_le_bytes)
    }

    fn value(&mut self) -> Result<f64, Unreadable> {
        self.array().map(|bytes| f64::from_bits(u64::from_le_bytes(bytes)))
    }

    fn is(&mut self) -> Result<bool, Unreadable> {
        Ok(self.array()? != [0])
    }

    fn labels(&mut self) -> Result<Labels, Unreadable> {
        let length = self.count()?;
        let text = std::str::from_utf8(self.take(length)?).map_err(|_| Unreadable::Damaged)?;
        Labels::from_canonical(text).ok_or(Unreadable::Damaged)
    }

    fn count(&mut self) -> Result<usize, Unreadable> {
        self.array().map(|bytes| u32::from_le_bytes(bytes) as usize)
    }
}
