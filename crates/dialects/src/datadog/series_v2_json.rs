//! `POST /api/v2/series` in JSON: `{"series": [{metric, points: [{timestamp, value}], type, interval, resources: [{type,
//! name}], tags, unit, source_type_name, metadata}]}`.

use std::borrow::Cow;

use model::{Batch, Reason};

use super::fields;
use super::record::Kind;
use super::series_json::{self, Point, Series};
use crate::json::{Json, Token};
use crate::rows::Full;
use crate::{Malformed, Received};

/// Decodes a body that is not empty into `batch`.
pub(super) fn decode<'a>(received: &Received<'a>, batch: &mut Batch<'a>) -> Result<(), Malformed> {
    series_json::decode(received, batch, field)
}

fn field<'a>(series: &mut Series<'a, '_>, json: &mut Json<'a>, key: &str) -> Result<(), Malformed> {
    match key {
        "metric" => {
            series.draft.metric = series.named(fields::text(json), "`metric` is no text")?;
        }
        "points" => series.points(json, point)?,
        "type" => match fields::whole(json)? {
            Ok(number) => series.draft.type_number = number,
            Err(fields::WrongType) => series.refuse(Reason::InvalidSeries, "`type` is no number"),
        },
        "interval" => series.interval(json)?,
        "resources" => resources(series, json)?,
        "tags" => series.tags(json)?,
        "unit" => series.draft.unit = series.named(fields::text(json), "`unit` is no text")?,
        "source_type_name" => {
            let text = fields::text(json);
            series.draft.source_type = series.named(text, "`source_type_name` is no text")?;
        }
        "metadata" => series.draft.is_serverless = is_serverless(json)?,
        _ => drop(json.scalar()?),
    }
    series.draft.kind = kind_of(series.draft.type_number, series.draft.is_serverless);
    Ok(())
}

/// Serverless clients number types otherwise than everybody else.
fn kind_of(number: i64, is_serverless: bool) -> Kind {
    match (number, is_serverless) {
        (0, true) | (1, false) => Kind::Count,
        (2, _) => Kind::Rate,
        (1, true) | (3, _) => Kind::Gauge,
        _ => Kind::Unspecified,
    }
}

/// Whether `metadata.origin.origin_sub_product` is there, which only serverless clients write.
fn is_serverless(json: &mut Json<'_>) -> Result<bool, Malformed> {
    let mut found = false;
    inside(json, &mut |json, key| match key {
        "origin" => inside(json, &mut |json, key| {
            let token = json.scalar()?;
            found |= key == "origin_sub_product" && token != Token::Null;
            Ok(())
        }),
        _ => json.scalar().map(drop),
    })?;
    Ok(found)
}

/// Goes through an object; anything else has nothing in it.
fn inside<'a>(
    json: &mut Json<'a>,
    each: &mut dyn FnMut(&mut Json<'a>, &str) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    match json.value()? {
        Token::Object => json.object(|json, key| each(json, &key)),
        other => json.rest_of(&other),
    }
}

fn resources<'a>(series: &mut Series<'a, '_>, json: &mut Json<'a>) -> Result<(), Malformed> {
    const WHAT: &str = "`resources` is no list of types and names";
    series.forget_resources();
    let token = json.value()?;
    if token != Token::List {
        json.rest_of(&token)?;
        if token != Token::Null {
            series.refuse(Reason::InvalidLabels, WHAT);
        }
        return Ok(());
    }
    json.list(|json| {
        let (mut kind, mut name) = (Cow::Borrowed(""), Cow::Borrowed(""));
        match json.value()? {
            Token::Object => json.object(|json, key| {
                match key.as_ref() {
                    "type" => kind = series.named(fields::text(json), WHAT)?,
                    "name" => name = series.named(fields::text(json), WHAT)?,
                    _ => drop(json.scalar()?),
                }
                Ok(())
            })?,
            other => {
                json.rest_of(&other)?;
                series.refuse(Reason::InvalidLabels, WHAT);
            }
        }
        match kind.as_ref() {
            "host" => series.draft.host = name,
            "device" => series.draft.device = name,
            _ if kind.is_empty() || name.is_empty() => {}
            _ => {
                series
                    .submission
                    .room
                    .take(2 * size_of::<Cow<'_, str>>())
                    .map_err(|Full| json.error(Full::WHAT))?;
                series.submission.source.resources.push((kind, name));
            }
        }
        Ok(())
    })
}

/// `{"timestamp": seconds, "value": value}`; what is not there is no number.
fn point<'a>(json: &mut Json<'a>) -> Result<Point<'a>, Malformed> {
    let (mut seconds, mut value) = (Token::Null, Token::Null);
    let first = json.value()?;
    if first != Token::Object {
        json.rest_of(&first)?;
        return Ok((seconds, value));
    }
    json.object(|json, key| {
        let token = json.scalar()?;
        match key.as_ref() {
            "timestamp" => seconds = token,
            "value" => value = token,
            _ => {}
        }
        Ok(())
    })?;
    Ok((seconds, value))
}
