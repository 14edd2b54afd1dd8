//! Log records in JSON: the same message as [`super::logs_wire`] reads, in the calls of the same [`Records`].

use model::Batch;

use super::logs::{Record, Records, content};
use super::metrics_json::{
    NO_ATTRIBUTES, Scope, attributes, each, fields, hex_id, pass_value, request, resource_attributes,
};
use super::value_json::{Numbers, integer, severity, text, text_of, unsigned};
use crate::json::Json;
use crate::{Malformed, Received};

/// Decodes an `ExportLogsServiceRequest`.
pub(super) fn decode<'a>(received: &Received<'a>, batch: &mut Batch<'a>) -> Result<(), Malformed> {
    let mut records = Records::new(received, batch);
    request(&mut Json::new(received.body), |json, key| match key {
        "resourceLogs" => each(json, |json| resource_logs(json, &mut records)),
        _ => json.scalar().map(drop),
    })
}

fn resource_logs<'a>(json: &mut Json<'a>, records: &mut Records<'a, '_>) -> Result<(), Malformed> {
    let start = json.start();
    let (mut again, mut resource) = (json.again(start), NO_ATTRIBUTES);
    fields(json, |json, key| match key {
        "resource" => resource_attributes(json, &mut resource),
        _ => json.scalar().map(drop),
    })?;
    records.resource(&resource)?;
    fields(&mut again, |json, key| match key {
        "scopeLogs" => each(json, |json| scope_logs(json, records)),
        _ => json.scalar().map(drop),
    })
}

fn scope_logs<'a>(json: &mut Json<'a>, records: &mut Records<'a, '_>) -> Result<(), Malformed> {
    let start = json.start();
    let (mut again, mut scope) = (json.again(start), Scope::default());
    fields(json, |json, key| match key {
        "scope" => scope.read(json),
        _ => json.scalar().map(drop),
    })?;
    records.scope(scope.name, scope.version, &scope.attributes)?;
    fields(&mut again, |json, key| match key {
        "logRecords" => each(json, |json| record(json, records)),
        _ => json.scalar().map(drop),
    })
}

fn record<'a>(json: &mut Json<'a>, records: &mut Records<'a, '_>) -> Result<(), Malformed> {
    let mut numbers = Numbers::default();
    let (mut record, mut own) = (Record::default(), NO_ATTRIBUTES);
    fields(json, |json, key| {
        match key {
            "timeUnixNano" => record.time_ns = numbers.read(json, unsigned)?.unwrap_or(0),
            "observedTimeUnixNano" => record.observed_ns = numbers.read(json, unsigned)?.unwrap_or(0),
            "severityNumber" => {
                let token = json.scalar()?;
                record.severity_number = integer(&token).unwrap_or_else(|| severity(&token));
            }
            "severityText" => record.severity_text = text_of(json)?,
            "body" => {
                let start = json.start();
                let mut again = json.again(start);
                pass_value(json)?;
                record.body = text(&mut again)?;
            }
            "attributes" => own = attributes(json)?,
            "flags" => record.flags = numbers.read(json, unsigned)?.unwrap_or(0) as u32,
            "traceId" => record.trace_id = hex_id(&text_of(json)?),
            "spanId" => record.span_id = hex_id(&text_of(json)?),
            "eventName" => record.event_name = text_of(json)?,
            _ => drop(json.scalar()?),
        }
        Ok(())
    })?;
    if numbers.has_unreadable {
        return records.unreadable();
    }
    records.record(content(own.pairs())?.map(|attributes| Record { attributes, ..record }))
}
