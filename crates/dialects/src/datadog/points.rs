//! `POST /api/v1/distribution_points`: `{"series": [{metric, points: [[seconds, [value, ...]], ...], host, device, tags}]}`.
//! Values as they were observed go into the buckets that sketches go into, so that both add up. A point that is not as
//! it should be costs itself.

use std::borrow::Cow;

use model::{Batch, Reason, Signal};

use super::fields::{self, Field};
use super::record::{Kind, Name, Record};
use super::sketch::Sketches;
use super::submission::Submission;
use crate::json::{Json, Token};
use crate::rows::{self, Full, Rows};
use crate::{Malformed, Received};

/// Decodes a body into `batch`.
pub(super) fn decode<'a>(received: &Received<'a>, batch: &mut Batch<'a>) -> Result<(), Malformed> {
    if received.body.is_empty() {
        return Ok(());
    }
    let mut json = Json::new(received.body);
    let mut points = Points {
        submission: Submission::new(received, batch),
        sketches: Sketches::default(),
        values: Vec::new(),
        received_ms: received.received_ms,
        number: 0,
    };
    fields::series_list(&mut json, |json| points.series(json, batch))?;
    points.submission.finish(batch);
    Ok(())
}

/// The points of a body, as they are read.
struct Points<'a> {
    submission: Submission<'a>,
    sketches: Sketches,
    /// Of one point.
    values: Vec<f64>,
    received_ms: i64,
    /// How many series there were.
    number: usize,
}

/// A series as far as it was read.
#[derive(Default)]
struct Draft<'a> {
    metric: Cow<'a, str>,
    host: Cow<'a, str>,
    device: Cow<'a, str>,
    bad_points: u64,
    fault: Option<(Reason, &'static str)>,
}

impl Draft<'_> {
    /// The value of a field that names something; `what` complains about it.
    fn named<T: Default>(&mut self, field: Field<T>, what: &'static str) -> Result<T, Malformed> {
        Ok(field?.unwrap_or_else(|fields::WrongType| {
            self.fault.get_or_insert((Reason::InvalidLabels, what));
            T::default()
        }))
    }
}

impl<'a> Points<'a> {
    fn series(&mut self, json: &mut Json<'a>, batch: &mut Batch<'a>) -> Result<(), Malformed> {
        let rows = Rows::begin(batch);
        let first_tag = self.submission.source.tags.len();
        let mut draft = Draft::default();
        match json.value()? {
            Token::Object => json.object(|json, key| {
                match key.as_ref() {
                    "metric" => draft.metric = draft.named(fields::text(json), "`metric` is no text")?,
                    "host" => draft.host = draft.named(fields::text(json), "`host` is no text")?,
                    "device" => draft.device = draft.named(fields::text(json), "`device` is no text")?,
                    "tags" => {
                        let Submission { source, room, .. } = &mut self.submission;
                        source.tags.truncate(first_tag);
                        let read = fields::tags(json, &mut source.tags, room);
                        draft.named(read, "`tags` is no list of texts")?;
                    }
                    "points" => {
                        // The last of equal keys counts.
                        rows.forget(batch);
                        self.sketches.forget();
                        self.points(json, &mut draft, batch)?;
                    }
                    _ => drop(json.scalar()?),
                }
                Ok(())
            })?,
            other => {
                json.rest_of(&other)?;
                draft.fault = Some((Reason::InvalidSeries, "it is no object"));
            }
        }
        let kept = self.keep(rows, first_tag, draft, batch);
        self.number += 1;
        kept.map_err(|Full| json.error(Full::WHAT))
    }

    fn keep(
        &mut self,
        rows: Rows,
        first_tag: usize,
        draft: Draft<'a>,
        batch: &mut Batch<'a>,
    ) -> Result<(), Full> {
        let number = self.number;
        let refuse = |batch: &mut Batch<'_>, what: &str| {
            let metric = rows::shown(&draft.metric);
            batch.rejections.explain(|| format!("series {number} ({metric:?}): {what}"));
        };
        if draft.bad_points > 0 {
            batch.rejections.add(Signal::Histogram, Reason::InvalidValue, draft.bad_points);
            refuse(batch, "points are not a time and a list of finite numbers");
        }
        if let Some((reason, what)) = draft.fault {
            let nothing = rows.is_empty(batch) && draft.bad_points == 0;
            rows.reject(batch, reason);
            batch.rejections.add(Signal::Histogram, reason, u64::from(nothing));
            refuse(batch, what);
            self.sketches.forget();
            self.submission.source.tags.truncate(first_tag);
            return Ok(());
        }
        let tags = first_tag..self.submission.source.tags.len();
        if !rows.is_empty(batch) {
            self.submission.describe(draft.metric.clone(), Kind::Distribution, "", batch)?;
        }
        let record = Record {
            name: Name::Metric(draft.metric, ""),
            kind: Kind::Distribution,
            interval_s: 0,
            host: draft.host,
            device: draft.device,
            source_type: Cow::Borrowed(""),
            resources: 0..0,
            tags,
        };
        for _ in 0..3 {
            self.submission.room_for(&record)?;
        }
        let dropped = self.submission.dropped(&record);
        self.sketches.keep(rows, record, dropped, Submission::key, &mut self.submission, batch);
        Ok(())
    }

    fn points(
        &mut self,
        json: &mut Json<'a>,
        draft: &mut Draft<'a>,
        batch: &mut Batch<'a>,
    ) -> Result<(), Malformed> {
        draft.bad_points = 0;
        let token = json.value()?;
        if token != Token::List {
            if token != Token::Null {
                draft.fault.get_or_insert((Reason::InvalidSeries, "`points` is no list"));
            }
            return json.rest_of(&token);
        }
        json.list(|json| {
            let is_good = self.point(json)?;
            match is_good.and_then(|time| Some((time, self.summed()?))) {
                Some((timestamp_ms, true)) => {
                    let room = &mut self.submission.room;
                    let pushed = self.sketches.push_values(timestamp_ms, &self.values, room, batch);
                    pushed.map_err(|Full| json.error(Full::WHAT))?;
                }
                // Nothing was observed.
                Some((_, false)) => {}
                None => draft.bad_points += 1,
            }
            Ok(())
        })
    }

    /// Whether there are values; `None` when they have no sum.
    fn summed(&self) -> Option<bool> {
        self.values.iter().sum::<f64>().is_finite().then_some(!self.values.is_empty())
    }

    /// Reads `[seconds, [value, ...]]`, or one value instead of the list; its time, unless it is none.
    fn point(&mut self, json: &mut Json<'a>) -> Result<Option<i64>, Malformed> {
        self.values.clear();
        let token = json.value()?;
        if token != Token::List {
            json.rest_of(&token)?;
            return Ok(None);
        }
        let (mut timestamp_ms, mut is_good, mut place) = (None, true, 0);
        json.list(|json| {
            match place {
                0 => timestamp_ms = fields::moment(&json.scalar()?, self.received_ms).ok(),
                1 => match json.value()? {
                    Token::List => json.list(|json| {
                        let token = json.scalar()?;
                        is_good &= self.value(&token).map_err(|Full| json.error(Full::WHAT))?;
                        Ok(())
                    })?,
                    token => {
                        json.rest_of(&token)?;
                        is_good = self.value(&token).map_err(|Full| json.error(Full::WHAT))?;
                    }
                },
                _ => drop(json.scalar()?),
            }
            place += 1;
            Ok(())
        })?;
        Ok(timestamp_ms.filter(|_| is_good && place > 1))
    }

    /// Takes a value; whether it is a finite number.
    fn value(&mut self, token: &Token<'_>) -> Result<bool, Full> {
        // The value, and its bucket while these are put in order.
        self.submission.room.take(64)?;
        let value = token.number().filter(|value| value.is_finite());
        self.values.extend(value);
        Ok(value.is_some())
    }
}
