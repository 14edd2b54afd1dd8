//! A push in protobuf: `logproto.PushRequest`.

use codec::proto::{LEN, Reader, VARINT, WireError, key, known};

use super::labels;
use super::push::{Entry, Push, Stream};
use crate::lines;
use crate::rows::Full;

const STREAMS: u32 = key(1, LEN);

const LABELS: u32 = key(1, LEN);
const ENTRIES: u32 = key(2, LEN);

/// Decodes a body.
pub(super) fn decode<'a>(body: &'a [u8], push: &mut Push<'a, '_>) -> Result<(), WireError> {
    let mut request = Reader::new(body);
    while let Some(key) = request.key()? {
        match key {
            STREAMS => stream(request.message()?, push)?,
            _ => request.skip(key, known(&[1]))?,
        }
    }
    Ok(())
}

fn stream<'a>(message: Reader<'a>, push: &mut Push<'a, '_>) -> Result<(), WireError> {
    let mut reader = message;
    let mut text: &[u8] = b"{}";
    while let Some(key) = reader.key()? {
        match key {
            LABELS => text = reader.bytes()?,
            ENTRIES => drop(reader.bytes()?),
            _ => reader.skip(key, known(&[1, 2]))?,
        }
    }
    let labels = std::str::from_utf8(text).map_err(|_| "not UTF-8".to_owned()).and_then(labels::parse);
    let mut stream = push.stream(labels).map_err(|Full| message.error(Full::WHAT))?;
    let mut reader = message;
    while let Some(key) = reader.key()? {
        match key {
            ENTRIES => entry(reader.message()?, push, &mut stream)?,
            _ => reader.skip(key, 0)?,
        }
    }
    Ok(())
}

fn entry<'a>(mut message: Reader<'a>, push: &mut Push<'a, '_>, stream: &mut Stream) -> Result<(), WireError> {
    const TIMESTAMP: u32 = key(1, LEN);
    const LINE: u32 = key(2, LEN);
    const METADATA: u32 = key(3, LEN);
    let metadata = push.begin();
    let mut entry = Entry::default();
    while let Some(key) = message.key()? {
        match key {
            TIMESTAMP => match timestamp(message.message()?)? {
                Some(timestamp_ns) => entry.timestamp_ns = Some(timestamp_ns),
                None => entry.wrong = Some("its time is out of range"),
            },
            LINE => entry.line = String::from_utf8_lossy(message.bytes()?),
            METADATA => {
                let (name, value) = pair(message.message()?)?;
                let (name, value) = (String::from_utf8_lossy(name), String::from_utf8_lossy(value));
                let put = lines::put(push.batch, &mut push.room, name, value);
                put.map_err(|Full| message.error(Full::WHAT))?;
            }
            _ => message.skip(key, known(&[1, 2, 3]))?,
        }
    }
    push.entry(stream, entry, metadata).map_err(|Full| message.error(Full::WHAT))
}

/// `google.protobuf.Timestamp` in nanoseconds, as far as they reach.
fn timestamp(mut message: Reader<'_>) -> Result<Option<i64>, WireError> {
    const SECONDS: u32 = key(1, VARINT);
    const NANOS: u32 = key(2, VARINT);
    let (mut seconds, mut nanos) = (0, 0);
    while let Some(key) = message.key()? {
        match key {
            SECONDS => seconds = message.varint()? as i64,
            NANOS => nanos = message.varint()? as i64,
            _ => message.skip(key, known(&[1, 2]))?,
        }
    }
    Ok(seconds.checked_mul(1_000_000_000).and_then(|whole| whole.checked_add(nanos)))
}

fn pair<'a>(mut message: Reader<'a>) -> Result<(&'a [u8], &'a [u8]), WireError> {
    const NAME: u32 = key(1, LEN);
    const VALUE: u32 = key(2, LEN);
    let (mut name, mut value): (&[u8], &[u8]) = (&[], &[]);
    while let Some(key) = message.key()? {
        match key {
            NAME => name = message.bytes()?,
            VALUE => value = message.bytes()?,
            _ => message.skip(key, known(&[1, 2]))?,
        }
    }
    Ok((name, value))
}
