//! `POST /api/v1/series`: `{"series": [{metric, points: [[seconds, value], ...], type, interval, host, device, tags,
//! source_type_name}]}`. Official clients leave out or null most of it, and write seconds with fractions.

use model::{Batch, Reason};

use super::fields;
use super::opening;
use super::record::Kind;
use super::series_json::{self, Point, Series};
use crate::json::{Json, Token};
use crate::{Malformed, Received};

/// Decodes a body into `batch`.
pub(super) fn decode<'a>(received: &Received<'a>, batch: &mut Batch<'a>) -> Result<(), Malformed> {
    match opening::has_body(received)? {
        true => series_json::decode(received, batch, field),
        false => Ok(()),
    }
}

fn field<'a>(series: &mut Series<'a, '_>, json: &mut Json<'a>, key: &str) -> Result<(), Malformed> {
    match key {
        "metric" => {
            series.draft.metric = series.named(fields::text(json), "`metric` is no text")?;
        }
        "points" => series.points(json, point)?,
        "type" => match fields::text(json)? {
            Ok(kind) => series.draft.kind = kind_of(&kind),
            Err(fields::WrongType) => series.refuse(Reason::InvalidSeries, "`type` is no text"),
        },
        "interval" => series.interval(json)?,
        "host" => series.draft.host = series.named(fields::text(json), "`host` is no text")?,
        "device" => series.draft.device = series.named(fields::text(json), "`device` is no text")?,
        "tags" => series.tags(json)?,
        "source_type_name" => {
            let text = fields::text(json);
            series.draft.source_type = series.named(text, "`source_type_name` is no text")?;
        }
        _ => drop(json.scalar()?),
    }
    Ok(())
}

/// A type that nobody knows says nothing.
fn kind_of(name: &str) -> Kind {
    match name {
        "gauge" => Kind::Gauge,
        "count" => Kind::Count,
        "rate" => Kind::Rate,
        _ => Kind::Unspecified,
    }
}

/// `[seconds, value]`; what is not there is no number.
fn point<'a>(json: &mut Json<'a>) -> Result<Point<'a>, Malformed> {
    let (mut seconds, mut value) = (Token::Null, Token::Null);
    let first = json.value()?;
    if first != Token::List {
        json.rest_of(&first)?;
        return Ok((seconds, value));
    }
    let mut place = 0;
    json.list(|json| {
        let token = json.scalar()?;
        match place {
            0 => seconds = token,
            1 => value = token,
            _ => {}
        }
        place += 1;
        Ok(())
    })?;
    Ok((seconds, value))
}
