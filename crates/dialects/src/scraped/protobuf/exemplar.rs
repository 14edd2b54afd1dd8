//! Exemplars and times.

use codec::proto::{FIXED64, LEN, Reader, VARINT, WireError, key, known};
use model::batch::Exemplar;

use super::label;
use crate::rows;

/// An exemplar as it lies.
pub(super) struct Found<'a> {
    labels: Vec<(&'a str, &'a str)>,
    value: f64,
    /// Milliseconds, where it says so.
    pub(super) timestamp_ms: Option<i64>,
}

impl Found<'_> {
    /// The exemplar, at `at_ms` when it says no time; or what is wrong with it.
    pub(super) fn own(self, at_ms: i64) -> Result<Exemplar, &'static str> {
        rows::exemplar(self.labels, self.value, self.timestamp_ms.unwrap_or(at_ms))
    }
}

/// Reads an `Exemplar`.
pub(super) fn read(mut message: Reader<'_>) -> Result<Found<'_>, WireError> {
    const LABEL: u32 = key(1, LEN);
    const VALUE: u32 = key(2, FIXED64);
    const TIMESTAMP: u32 = key(3, LEN);
    let mut exemplar = Found { labels: Vec::new(), value: 0.0, timestamp_ms: None };
    while let Some(key) = message.key()? {
        match key {
            LABEL => exemplar.labels.push(label(message.message()?)?),
            VALUE => exemplar.value = message.double()?,
            TIMESTAMP => exemplar.timestamp_ms = Some(time_ms(message.message()?)?),
            _ => message.skip(key, known(&[1, 2, 3]))?,
        }
    }
    Ok(exemplar)
}

/// Reads a `google.protobuf.Timestamp`, in milliseconds. What no timestamp can hold becomes the last or first one.
pub(super) fn time_ms(mut message: Reader<'_>) -> Result<i64, WireError> {
    const SECONDS: u32 = key(1, VARINT);
    const NANOS: u32 = key(2, VARINT);
    let (mut seconds, mut nanos) = (0i64, 0i64);
    while let Some(key) = message.key()? {
        match key {
            SECONDS => seconds = message.varint()? as i64,
            NANOS => nanos = message.varint()? as i64,
            _ => message.skip(key, known(&[1, 2]))?,
        }
    }
    Ok(seconds.saturating_mul(1000).saturating_add(nanos / 1_000_000))
}
