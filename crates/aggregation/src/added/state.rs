//! All that windows remember, as bytes: the same for the same windows.
//!
//! ```text
//! version (1) · open_ms (8) · newest_ms (8) · series (4)
//! for each, in the order of its labels:
//!   labels: length (4), canonical form · has a last row (1): timestamp (8), value (8) · is idle (1): since (8)
//!   grown: count (4), each window (8), value (8) · held: count (4), each window (8), timestamp (8), value (8), start (8)
//! ```
//! Numbers are little-endian. Whoever keeps it wraps it with a checksum. How long windows stay open is not among it: that is
//! said anew by whoever goes on.

use model::{Labels, Sample};

use super::{Last, Series, Windows};

/// No release wrote version 1.
const VERSION: u8 = 2;

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
        for number in [self.open_ms, self.newest_ms] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        let mut all: Vec<(&Labels, &Series)> = self.series.iter().collect();
        all.sort_unstable_by_key(|(labels, _)| *labels);
        put_count(all.len(), out);
        for (labels, series) in all {
            let text = labels.as_canonical();
            put_count(text.len(), out);
            out.extend_from_slice(text.as_bytes());
            out.push(u8::from(series.last.is_some()));
            if let Some(last) = series.last {
                out.extend_from_slice(&last.timestamp_ms.to_le_bytes());
                put_value(last.value, out);
            }
            out.push(u8::from(series.idle_ms.is_some()));
            if let Some(idle_ms) = series.idle_ms {
                out.extend_from_slice(&idle_ms.to_le_bytes());
            }
            put_count(series.grown.len(), out);
            for (window, value) in &series.grown {
                out.extend_from_slice(&window.to_le_bytes());
                put_value(*value, out);
            }
            put_count(series.held.len(), out);
            for (window, sample) in &series.held {
                out.extend_from_slice(&window.to_le_bytes());
                out.extend_from_slice(&sample.timestamp_ms.to_le_bytes());
                put_value(sample.value, out);
                out.extend_from_slice(&sample.start_ms.to_le_bytes());
            }
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
        for _ in 0..rest.count()? {
            let length = rest.count()?;
            let text = std::str::from_utf8(rest.take(length)?).map_err(|_| Unreadable::Damaged)?;
            let labels = Labels::from_canonical(text).ok_or(Unreadable::Damaged)?;
            let mut series = Series::default();
            if rest.take(1)? != [0] {
                series.last = Some(Last { timestamp_ms: rest.number()?, value: rest.value()? });
            }
            if rest.take(1)? != [0] {
                series.idle_ms = Some(rest.number()?);
            }
            for _ in 0..rest.count()? {
                series.grown.push((rest.number()?, rest.value()?));
            }
            for _ in 0..rest.count()? {
                let (window, timestamp_ms) = (rest.number()?, rest.number()?);
                let (value, start_ms) = (rest.value()?, rest.number()?);
                series.held.push((window, Sample { timestamp_ms, value, start_ms }));
            }
            windows.filled.extend(series.grown.iter().map(|(window, _)| *window));
            windows.filled.extend(series.held.iter().map(|(window, _)| *window));
            if windows.series.insert(labels, series).is_some() {
                return Err(Unreadable::Damaged);
            }
        }
        if rest.0.is_empty() { Ok(windows) } else { Err(Unreadable::Damaged) }
    }
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

    fn count(&mut self) -> Result<usize, Unreadable> {
        self.array().map(|bytes| u32::from_le_bytes(bytes) as usize)
    }
}
