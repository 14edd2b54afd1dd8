//! Log records in protobuf: `ExportLogsServiceRequest`. Messages are walked twice where their parts need to know the whole.

use codec::proto::{FIXED32, FIXED64, LEN, Reader, VARINT, key, known};
use model::Batch;

use super::exemplar::id;
use super::logs::{Record, Records, content};
use super::metrics_wire::{Scope, attributes_of, fixed, lossy};
use super::value::{DEPTH_MAX, Run, text};
use crate::{Malformed, Received};

/// Decodes an `ExportLogsServiceRequest`.
pub(super) fn decode<'a>(received: &Received<'a>, batch: &mut Batch<'a>) -> Result<(), Malformed> {
    const RESOURCE_LOGS: u32 = key(1, LEN);
    let mut records = Records::new(received, batch);
    let mut request = Reader::new(received.body);
    while let Some(key) = request.key()? {
        match key {
            RESOURCE_LOGS => resource_logs(request.message()?, &mut records)?,
            _ => request.skip(key, known(&[1]))?,
        }
    }
    Ok(())
}

fn resource_logs<'a>(message: Reader<'a>, records: &mut Records<'a, '_>) -> Result<(), Malformed> {
    const RESOURCE: u32 = key(1, LEN);
    const SCOPE_LOGS: u32 = key(2, LEN);
    let (mut reader, mut resource) = (message, Run::default());
    while let Some(key) = reader.key()? {
        match key {
            RESOURCE => attributes_of(reader.message()?, 1, &mut resource)?,
            SCOPE_LOGS => drop(reader.message()?),
            _ => reader.skip(key, known(&[1, 2]))?,
        }
    }
    records.resource(&resource.attributes())?;
    let mut reader = message;
    while let Some(key) = reader.key()? {
        match key {
            SCOPE_LOGS => scope_logs(reader.message()?, records)?,
            _ => reader.skip(key, 0)?,
        }
    }
    Ok(())
}

fn scope_logs<'a>(message: Reader<'a>, records: &mut Records<'a, '_>) -> Result<(), Malformed> {
    const SCOPE: u32 = key(1, LEN);
    const LOG_RECORDS: u32 = key(2, LEN);
    let (mut reader, mut scope) = (message, Scope::default());
    while let Some(key) = reader.key()? {
        match key {
            SCOPE => scope.read(reader.message()?)?,
            LOG_RECORDS => drop(reader.message()?),
            _ => reader.skip(key, known(&[1, 2]))?,
        }
    }
    records.scope(scope.name, scope.version, &scope.attributes.attributes())?;
    let mut reader = message;
    while let Some(key) = reader.key()? {
        match key {
            LOG_RECORDS => {
                let record = content(record(reader.message()?))?;
                records.record(record)?;
            }
            _ => reader.skip(key, 0)?,
        }
    }
    Ok(())
}

fn record<'a>(mut message: Reader<'a>) -> Result<Record<'a>, Malformed> {
    const TIME: u32 = key(1, FIXED64);
    const SEVERITY_NUMBER: u32 = key(2, VARINT);
    const SEVERITY_TEXT: u32 = key(3, LEN);
    const BODY: u32 = key(5, LEN);
    const ATTRIBUTES: u32 = key(6, LEN);
    const FLAGS: u32 = key(8, FIXED32);
    const TRACE_ID: u32 = key(9, LEN);
    const SPAN_ID: u32 = key(10, LEN);
    const OBSERVED: u32 = key(11, FIXED64);
    const EVENT_NAME: u32 = key(12, LEN);
    const KNOWN: u64 = known(&[1, 2, 3, 5, 6, 8, 9, 10, 11, 12]);
    let (mut record, mut attributes, mut body) = (Record::default(), Run::default(), None);
    loop {
        let start = message.offset();
        let Some(key) = message.key()? else { break };
        match key {
            TIME => record.time_ns = fixed(&mut message)?,
            OBSERVED => record.observed_ns = fixed(&mut message)?,
            SEVERITY_NUMBER => record.severity_number = i64::from(message.varint()? as i32),
            SEVERITY_TEXT => record.severity_text = lossy(&mut message)?,
            BODY => body = Some(message.message()?),
            TRACE_ID => record.trace_id = id(message.bytes()?),
            SPAN_ID => record.span_id = id(message.bytes()?),
            EVENT_NAME => record.event_name = lossy(&mut message)?,
            ATTRIBUTES => {
                message.message()?;
                attributes.take(start, &message);
            }
            FLAGS => {
                let bytes = message.rest().first_chunk::<4>();
                record.flags =
                    u32::from_le_bytes(*bytes.ok_or_else(|| message.error("truncated 32-bit field"))?);
                message.advance(4);
            }
            _ => message.skip(key, KNOWN)?,
        }
    }
    record.attributes = attributes.attributes().pairs()?;
    if let Some(body) = body {
        record.body = text(body, DEPTH_MAX)?;
    }
    Ok(record)
}
