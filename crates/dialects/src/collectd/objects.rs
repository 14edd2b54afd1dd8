//! The JSON forms: lists of values with what they are, and KairosDB's metrics with their points.
//!
//! ```text
//! [{"values":[1,2],"dstypes":["derive","derive"],"dsnames":["rx","tx"],"time":1795168007.110,"interval":10.000,"host":"h",
//!   "plugin":"interface","plugin_instance":"lo","type":"if_packets","type_instance":""}]
//! [{"name":"collectd.load","datapoints":[[1795168007110,15.5]],"tags":{"host":"h","type":"load","ds":"shortterm"}}]
//! ```

use std::borrow::Cow;

use model::batch::Pair;
use model::{Reason, Sample};

use super::decode::Values;
use super::names::{Identifier, Source};
use crate::json::{Json, Token};
use crate::rows::{Full, Rows, owned_bytes};
use crate::{Malformed, seconds};

/// Values of one list: collectd's longest types have about ten.
const VALUES_MAX: usize = 256;

/// Reads all objects of a body.
pub(super) fn decode<'a>(body: &'a [u8], values: &mut Values<'a, '_>) -> Result<(), Malformed> {
    let (mut json, mut object, mut number) = (Json::new(body), Object::default(), 0u64);
    let mut next = |json: &mut Json<'a>, token: Token<'a>| {
        let at = number;
        number += 1;
        if token == Token::Object {
            return object.read(json, values)?.keep(values, at).map_err(|Full| json.error(Full::WHAT));
        }
        json.rest_of(&token)?;
        values.refuse(Reason::InvalidLine, 1, || format!("item {at}: no object"));
        Ok(())
    };
    while !json.is_at_end() {
        match json.value()? {
            Token::List => json.list(|json| {
                let token = json.value()?;
                next(json, token)
            })?,
            token => next(&mut json, token)?,
        }
    }
    Ok(())
}

/// An object; keeps its memory from one to the next.
#[derive(Default)]
struct Object<'a> {
    of: Identifier<'a>,
    values: Vec<Token<'a>>,
    sources: Vec<Cow<'a, str>>,
    names: Vec<Cow<'a, str>>,
    time: Option<Token<'a>>,
    /// KairosDB's metric, its tags, and where its points are.
    metric: Option<Cow<'a, str>>,
    tags: Vec<Pair<'a>>,
    rows: Option<Rows>,
    bad_points: u64,
    bad: Option<&'static str>,
}

impl<'a> Object<'a> {
    /// Reads an object, whose brace was read, in place of the one before.
    fn read(&mut self, json: &mut Json<'a>, values: &mut Values<'a, '_>) -> Result<&mut Self, Malformed> {
        self.of = Identifier::default();
        (self.time, self.metric, self.bad_points, self.bad) = (None, None, 0, None);
        self.values.clear();
        self.sources.clear();
        self.names.clear();
        self.tags.clear();
        self.rows = Some(Rows::begin(values.batch));
        json.object(|json, key| {
            let text = match key.as_ref() {
                "values" => {
                    let kept = &mut self.values;
                    return list(json, values, |token| kept.push(token));
                }
                "dstypes" => return texts(json, values, &mut self.sources, &mut self.bad),
                "dsnames" => return texts(json, values, &mut self.names, &mut self.bad),
                "datapoints" => return self.read_points(json, values),
                "tags" => return self.read_tags(json, values),
                "time" => {
                    self.time = Some(json.scalar()?);
                    return Ok(());
                }
                "name" => self.metric.insert(Cow::Borrowed("")),
                "host" => &mut self.of.host,
                "plugin" => &mut self.of.plugin,
                "plugin_instance" => &mut self.of.plugin_instance,
                "type" => &mut self.of.kind,
                "type_instance" => &mut self.of.type_instance,
                _ => return json.scalar().map(drop),
            };
            match json.scalar()? {
                Token::Text(given) => *text = given,
                Token::Null => {}
                _ => self.bad = Some("a name is no text"),
            }
            Ok(())
        })?;
        Ok(self)
    }

    fn read_points(&mut self, json: &mut Json<'a>, values: &mut Values<'a, '_>) -> Result<(), Malformed> {
        let token = json.value()?;
        if token != Token::List {
            self.bad = Some("datapoints is no list");
            return json.rest_of(&token);
        }
        json.list(|json| {
            let token = json.value()?;
            if token != Token::List {
                self.bad_points += 1;
                return json.rest_of(&token);
            }
            let (mut place, mut timestamp_ms, mut value) = (0, None, None);
            json.list(|json| {
                match (place, json.scalar()?) {
                    (0, Token::Number(text)) => timestamp_ms = text.parse().ok(),
                    (1, token) => value = token.number().filter(|value| value.is_finite()),
                    _ => {}
                }
                place += 1;
                Ok(())
            })?;
            match (place, timestamp_ms, value) {
                (2, Some(timestamp_ms), Some(value)) => {
                    values.room.take(size_of::<Sample>()).map_err(|Full| json.error(Full::WHAT))?;
                    values.batch.samples.push(Sample { timestamp_ms, value, start_ms: 0 });
                }
                _ => self.bad_points += 1,
            }
            Ok(())
        })
    }

    fn read_tags(&mut self, json: &mut Json<'a>, values: &mut Values<'a, '_>) -> Result<(), Malformed> {
        let token = json.value()?;
        if token != Token::Object {
            self.bad = Some("tags is no object");
            return json.rest_of(&token);
        }
        json.object(|json, name| {
            let value = match json.scalar()? {
                Token::Text(value) => value,
                Token::Number(value) => Cow::Borrowed(value),
                _ => {
                    self.bad = Some("a tag is no text");
                    return Ok(());
                }
            };
            let bytes = size_of::<Pair<'_>>() + owned_bytes(&name) + owned_bytes(&value);
            values.room.take(bytes).map_err(|Full| json.error(Full::WHAT))?;
            self.tags.push((name, value));
            Ok(())
        })
    }

    /// Keeps what was read, or refuses it.
    fn keep(&mut self, values: &mut Values<'a, '_>, number: u64) -> Result<(), Full> {
        let Some(rows) = self.rows.take() else { return Ok(()) };
        let is_metric = self.metric.is_some() || !rows.is_empty(values.batch) || self.bad_points > 0;
        if is_metric { self.keep_metric(values, rows, number) } else { self.keep_values(values, number) }
    }

    fn keep_metric(&mut self, values: &mut Values<'a, '_>, rows: Rows, number: u64) -> Result<(), Full> {
        let bad = self.bad_points;
        values.refuse(Reason::InvalidValue, bad, || format!("item {number}: {bad} points that are none"));
        let what = match (self.bad, self.metric.as_deref()) {
            (Some(what), _) => what,
            (None, None | Some("")) => "name is missing",
            (None, Some(_)) if rows.is_empty(values.batch) && bad == 0 => "no points",
            (None, Some(_)) => {
                let shared = values.series.share(values.batch, &mut values.room, self.tags.drain(..))?;
                let metric = self.metric.take().unwrap_or_default();
                return values.series.keep(values.batch, &mut values.room, rows, metric, &shared);
            }
        };
        let points = rows.samples(values.batch) as u64;
        rows.forget(values.batch);
        let count = if points + bad == 0 { 1 } else { points };
        values.refuse(Reason::InvalidSeries, count, || format!("item {number}: {what}"));
        Ok(())
    }

    fn keep_values(&mut self, values: &mut Values<'a, '_>, number: u64) -> Result<(), Full> {
        let count = self.values.len();
        let sources: Option<Vec<Source>> = self.sources.iter().map(|text| Source::of(text)).collect();
        let timestamp_ms = match &self.time {
            None | Some(Token::Null) => Some(values.received_ms),
            Some(Token::Number(text)) => seconds::nanoseconds(text).map(|nanos| nanos.div_euclid(1_000_000)),
            Some(_) => None,
        };
        let (sources, timestamp_ms) = match (self.bad, sources, timestamp_ms) {
            (None, Some(sources), Some(timestamp_ms))
                if (1..=VALUES_MAX).contains(&count)
                    && sources.len() == count
                    && self.names.len() == count
                    && !self.of.kind.is_empty() =>
            {
                (sources, timestamp_ms)
            }
            (bad, sources, timestamp_ms) => {
                let what = match (bad, sources, timestamp_ms) {
                    (Some(what), ..) => what,
                    _ if self.of.kind.is_empty() => "type is missing",
                    _ if !(1..=VALUES_MAX).contains(&count) => "no values, or over 256",
                    (_, None, _) => "dstypes has an unknown one",
                    (.., None) => "time is none",
                    _ => "dstypes, dsnames and values are not equally many",
                };
                let count = count.max(1) as u64;
                values.refuse(Reason::InvalidSeries, count, || format!("item {number}: {what}"));
                return Ok(());
            }
        };
        let shared = values.share(&self.of)?;
        let mut bad = 0;
        for ((name, source), token) in self.names.iter().zip(sources).zip(&self.values) {
            let value = match token {
                Token::Null => Ok(None),
                token => token.number().map(Some).ok_or(()),
            };
            let metric = self.of.name(name, source);
            bad += values.keep(metric, source, &shared, std::iter::once((timestamp_ms, value)))?;
        }
        values.refuse(Reason::InvalidValue, bad, || format!("item {number}: {bad} values that are none"));
        Ok(())
    }
}

/// Goes through a list of scalars; anything else is an empty one.
fn list<'a>(
    json: &mut Json<'a>,
    values: &mut Values<'a, '_>,
    mut each: impl FnMut(Token<'a>),
) -> Result<(), Malformed> {
    let token = json.value()?;
    if token != Token::List {
        return json.rest_of(&token);
    }
    json.list(|json| {
        let token = json.scalar()?;
        values.room.take(size_of::<Token<'_>>()).map_err(|Full| json.error(Full::WHAT))?;
        each(token);
        Ok(())
    })
}

fn texts<'a>(
    json: &mut Json<'a>,
    values: &mut Values<'a, '_>,
    kept: &mut Vec<Cow<'a, str>>,
    bad: &mut Option<&'static str>,
) -> Result<(), Malformed> {
    list(json, values, |token| match token {
        Token::Text(text) => kept.push(text),
        _ => *bad = Some("dstypes or dsnames has something else than texts"),
    })
}
