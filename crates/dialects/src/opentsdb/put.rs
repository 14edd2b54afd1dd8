//! `POST /api/put`: a data point `{"metric", "timestamp", "value", "tags": {…}}`, or a list of them. Numbers may be texts.

use std::borrow::Cow;

use model::batch::{Pair, Temporality};
use model::{Batch, Reason, Sample, Signal};
use serde_json::Value;

use super::time;
use crate::json::{Json, Token};
use crate::named::{Named, Sent};
use crate::number;
use crate::rows::{Full, Room, Rows};
use crate::{Malformed, Received};

/// What a data point takes in the batch beside its tags, roughly.
const POINT_BYTES: usize = 128;

/// Refused data points that the answer shows.
const SHOWN_MAX: usize = 10;

/// The longest data point that it shows.
const SHOWN_BYTES_MAX: usize = 1024;

/// Decodes a body into `batch`.
pub(super) fn decode<'a>(received: &Received<'a>, batch: &mut Batch<'a>) -> Result<(), Malformed> {
    let mut json = Json::new(received.body);
    if json.is_at_end() {
        return Err(json.error("Missing request content"));
    }
    let mut points = Points {
        received_ms: received.received_ms,
        tags: Vec::new(),
        named: Named::default(),
        room: Room::new(),
        refused: Vec::new(),
    };
    match json.value()? {
        Token::List => json.list(|json| {
            let start = json.start();
            let token = json.value()?;
            points.point(json, start, &token, batch)
        })?,
        token => points.point(&mut json, 0, &token, batch)?,
    }
    json.end()?;
    if !points.refused.is_empty() {
        batch.echo = Some(Value::from(points.refused).to_string());
    }
    Ok(())
}

struct Points<'a> {
    received_ms: i64,
    tags: Vec<Pair<'a>>,
    named: Named,
    room: Room,
    /// What the answer shows of refused ones.
    refused: Vec<Value>,
}

/// A data point as it is read.
struct Point<'a> {
    metric: Option<Cow<'a, str>>,
    timestamp: Token<'a>,
    value: Token<'a>,
    are_tags: bool,
}

impl<'a> Points<'a> {
    fn point(
        &mut self,
        json: &mut Json<'a>,
        start: usize,
        token: &Token<'a>,
        batch: &mut Batch<'a>,
    ) -> Result<(), Malformed> {
        batch.items.begin();
        self.tags.clear();
        let mut point = Point { metric: None, timestamp: Token::Null, value: Token::Null, are_tags: true };
        match token {
            Token::Object => json.object(|json, key| self.field(&mut point, json, &key))?,
            token => json.rest_of(token)?,
        }
        self.room.take(POINT_BYTES).map_err(|Full| json.error(Full::WHAT))?;
        match self.sample(&point, token) {
            Ok(sample) => {
                let rows = Rows::begin(batch);
                batch.samples.push(sample);
                let sent = Sent {
                    name: point.metric.unwrap_or_default(),
                    tags: &self.tags,
                    extra: None,
                    temporality: Temporality::Cumulative,
                };
                self.named.keep(batch, &mut self.room, rows, sent).map_err(|Full| json.error(Full::WHAT))
            }
            Err((reason, what)) => {
                batch.refuse_item(Signal::Sample, reason, || what.to_owned());
                if self.refused.len() < SHOWN_MAX {
                    self.refused.push(shown(&json.since(start), what));
                }
                Ok(())
            }
        }
    }

    fn field(&mut self, point: &mut Point<'a>, json: &mut Json<'a>, key: &str) -> Result<(), Malformed> {
        match key {
            "metric" => point.metric = text(json.scalar()?),
            "timestamp" => point.timestamp = json.scalar()?,
            "value" => point.value = json.scalar()?,
            "tags" => match json.value()? {
                Token::Object => json.object(|json, key| {
                    self.room.take(size_of::<Pair<'_>>()).map_err(|Full| json.error(Full::WHAT))?;
                    match json.scalar()? {
                        Token::Null => {}
                        Token::Bool(is) => self.tags.push((key, is.to_string().into())),
                        token => match text(token) {
                            Some(value) => self.tags.push((key, value)),
                            None => point.are_tags = false,
                        },
                    }
                    Ok(())
                })?,
                Token::Null => {}
                token => {
                    point.are_tags = false;
                    json.rest_of(&token)?;
                }
            },
            _ => drop(json.scalar()?),
        }
        Ok(())
    }

    fn sample(&self, point: &Point<'a>, token: &Token<'a>) -> Result<Sample, (Reason, &'static str)> {
        if *token != Token::Object {
            return Err((Reason::InvalidSeries, "A data point is expected"));
        }
        if point.metric.as_ref().is_none_or(|metric| metric.is_empty()) {
            return Err((Reason::MissingName, "Metric name was empty"));
        }
        if !point.are_tags {
            return Err((Reason::InvalidLabels, "Tags are not texts"));
        }
        let timestamp_ms = match &point.timestamp {
            Token::Null => Some(self.received_ms),
            Token::Number(text) => time::to_ms(text),
            Token::Text(text) => time::to_ms(text.trim()),
            _ => None,
        };
        let timestamp_ms = timestamp_ms.ok_or((Reason::InvalidSeries, "Invalid timestamp"))?;
        let value = match &point.value {
            Token::Null => return Err((Reason::InvalidValue, "Empty value")),
            Token::Number(text) => number::decimal(text.as_bytes()),
            Token::Text(text) => number::decimal(text.trim().as_bytes()),
            _ => None,
        };
        let value = value.ok_or((Reason::InvalidValue, "Unable to parse value to a number"))?;
        Ok(Sample { timestamp_ms, value, start_ms: 0 })
    }
}

fn text(token: Token<'_>) -> Option<Cow<'_, str>> {
    match token {
        Token::Text(text) => Some(text),
        Token::Number(text) => Some(Cow::Borrowed(text)),
        _ => None,
    }
}

/// A refused data point, with itself where it is not too long for that.
fn shown(point: &str, what: &str) -> Value {
    let mut shown = serde_json::json!({ "error": what });
    if point.len() <= SHOWN_BYTES_MAX
        && let Ok(point) = serde_json::from_str(point)
    {
        shown["datapoint"] = point;
    }
    shown
}
