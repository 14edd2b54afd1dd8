//! What both generations of series in JSON have in common: an object becomes a record with its points, and one whose
//! fields are not what they should be refuses itself. A series' type may come after its points, so these are looked at
//! when all of it was read.

use std::borrow::Cow;

use model::{Batch, Reason, Sample, Signal};

use super::fields::{self, Field};
use super::record::{Kind, Name, Record};
use super::submission::Submission;
use crate::json::{Json, Token};
use crate::rows::{self, Full, Rows, shown};
use crate::{Malformed, Received};

/// Reads one field of a series.
pub(super) type ReadField =
    for<'a> fn(&mut Series<'a, '_>, &mut Json<'a>, key: &str) -> Result<(), Malformed>;

/// A point's seconds and its value, as they were sent.
pub(super) type Point<'a> = (Token<'a>, Token<'a>);

/// A series as far as it was read.
#[derive(Default)]
pub(super) struct Draft<'a> {
    /// Its name.
    pub(super) metric: Cow<'a, str>,
    /// Its type.
    pub(super) kind: Kind,
    /// Seconds that a value stands for.
    pub(super) interval_s: i64,
    /// Its host.
    pub(super) host: Cow<'a, str>,
    /// Its device.
    pub(super) device: Cow<'a, str>,
    /// What made it.
    pub(super) source_type: Cow<'a, str>,
    /// Its unit.
    pub(super) unit: Cow<'a, str>,
    /// The number that stands for its type, in the generation that numbers types.
    pub(super) type_number: i64,
    /// Whether its sender is one of those that number types otherwise.
    pub(super) is_serverless: bool,
    fault: Option<(Reason, &'static str)>,
    bad_points: u64,
}

/// The series of a body, as they are read.
pub(super) struct Series<'a, 'b> {
    /// The one that is being read.
    pub(super) draft: Draft<'a>,
    /// Where it goes.
    pub(super) submission: Submission<'a>,
    batch: &'b mut Batch<'a>,
    rows: Rows,
    tags: usize,
    resources: usize,
    number: usize,
    received_ms: i64,
    described: Option<(Cow<'a, str>, Kind, Cow<'a, str>)>,
}

/// Reads `{"series": [...]}`, each field of a series by `field`.
pub(super) fn decode<'a>(
    received: &Received<'a>,
    batch: &mut Batch<'a>,
    field: ReadField,
) -> Result<(), Malformed> {
    let mut json = Json::new(received.body);
    let (submission, rows) = (Submission::new(received, batch), Rows::begin(batch));
    let mut series = Series {
        draft: Draft::default(),
        submission,
        batch,
        rows,
        tags: 0,
        resources: 0,
        number: 0,
        received_ms: received.received_ms,
        described: None,
    };
    fields::series_list(&mut json, |json| series.read(json, field))?;
    let Series { submission, batch, .. } = series;
    submission.finish(batch);
    Ok(())
}

impl<'a> Series<'a, '_> {
    /// A series that is none of what it should be; the first reason stays.
    #[cold]
    pub(super) fn refuse(&mut self, reason: Reason, what: &'static str) {
        self.draft.fault.get_or_insert((reason, what));
    }

    /// The value of a field that names something; `what` complains about it.
    pub(super) fn named<T: Default>(&mut self, field: Field<T>, what: &'static str) -> Result<T, Malformed> {
        Ok(field?.unwrap_or_else(|fields::WrongType| {
            self.refuse(Reason::InvalidLabels, what);
            T::default()
        }))
    }

    /// Reads the seconds that a value stands for.
    pub(super) fn interval(&mut self, json: &mut Json<'a>) -> Result<(), Malformed> {
        match fields::whole(json)? {
            Ok(interval_s) => self.draft.interval_s = interval_s,
            Err(fields::WrongType) => {
                self.refuse(Reason::InvalidSeries, "`interval` is no whole number of seconds");
            }
        }
        Ok(())
    }

    /// Reads the list of tags.
    pub(super) fn tags(&mut self, json: &mut Json<'a>) -> Result<(), Malformed> {
        self.submission.source.tags.truncate(self.tags);
        let read = fields::tags(json, &mut self.submission.source.tags, &mut self.submission.room);
        self.named(read, "`tags` is no list of texts")
    }

    /// Forgets resources that were read, for the last of equal keys counts.
    pub(super) fn forget_resources(&mut self) {
        self.submission.source.resources.truncate(self.resources);
        (self.draft.host, self.draft.device) = (Cow::Borrowed(""), Cow::Borrowed(""));
    }

    /// Goes through the list of points; `point` reads one.
    pub(super) fn points(
        &mut self,
        json: &mut Json<'a>,
        point: fn(&mut Json<'a>) -> Result<Point<'a>, Malformed>,
    ) -> Result<(), Malformed> {
        self.rows.forget(self.batch);
        self.draft.bad_points = 0;
        let token = json.value()?;
        if token != Token::List {
            json.rest_of(&token)?;
            if token != Token::Null {
                self.refuse(Reason::InvalidSeries, "`points` is no list");
            }
            return Ok(());
        }
        json.list(|json| {
            let (seconds, value) = point(json)?;
            let timestamp_ms = fields::moment(&seconds, self.received_ms);
            match (timestamp_ms, value.number().filter(|value| value.is_finite())) {
                (Ok(timestamp_ms), Some(value)) => {
                    self.submission.room.take(size_of::<Sample>()).map_err(|Full| json.error(Full::WHAT))?;
                    self.batch.samples.push(Sample { timestamp_ms, value, start_ms: 0 });
                }
                _ => self.draft.bad_points += 1,
            }
            Ok(())
        })
    }

    fn read(&mut self, json: &mut Json<'a>, field: ReadField) -> Result<(), Malformed> {
        self.draft = Draft::default();
        self.rows = Rows::begin(self.batch);
        (self.tags, self.resources) =
            (self.submission.source.tags.len(), self.submission.source.resources.len());
        match json.value()? {
            Token::Object => json.object(|json, key| field(self, json, &key))?,
            other => {
                json.rest_of(&other)?;
                self.refuse(Reason::InvalidSeries, "it is no object");
            }
        }
        if !self.keep(json)? {
            self.submission.source.tags.truncate(self.tags);
            self.submission.source.resources.truncate(self.resources);
        }
        self.number += 1;
        Ok(())
    }

    /// Keeps the series with its points, unless there is nothing to keep.
    fn keep(&mut self, json: &Json<'a>) -> Result<bool, Malformed> {
        let draft = std::mem::take(&mut self.draft);
        let (number, points) = (self.number, self.rows.samples(self.batch));
        if draft.bad_points > 0 {
            let bad = draft.bad_points;
            self.batch.rejections.add(Signal::Sample, Reason::InvalidValue, bad);
            self.batch.rejections.explain(|| {
                let metric = shown(&draft.metric);
                format!("series {number} ({metric:?}): {bad} points are not a time and a finite number")
            });
        }
        let nameless = (Reason::MissingName, "no `metric`");
        let fault = draft.fault.or((draft.metric.is_empty() && points > 0).then_some(nameless));
        if let Some((reason, what)) = fault {
            self.rows.reject(self.batch, reason);
            if points == 0 {
                self.batch.rejections.add(Signal::Sample, reason, u64::from(draft.bad_points == 0));
            }
            let metric = shown(&draft.metric);
            self.batch.rejections.explain(|| format!("series {number} ({metric:?}): {what}"));
            return Ok(false);
        }
        if points == 0 {
            return Ok(false);
        }
        let texts = [&draft.metric, &draft.host, &draft.device, &draft.source_type, &draft.unit];
        let owned = texts.into_iter().map(rows::owned_bytes).sum();
        self.submission.room.take(owned).map_err(|Full| json.error(Full::WHAT))?;
        self.describe(&draft).map_err(|Full| json.error(Full::WHAT))?;
        let record = Record {
            name: Name::Metric(draft.metric, ""),
            kind: draft.kind,
            interval_s: draft.interval_s,
            host: draft.host,
            device: draft.device,
            source_type: draft.source_type,
            resources: self.resources..self.submission.source.resources.len(),
            tags: self.tags..self.submission.source.tags.len(),
        };
        self.submission.room_for(&record).map_err(|Full| json.error(Full::WHAT))?;
        let (key, dropped) = (self.submission.key(&record), self.submission.dropped(&record));
        self.submission.keep(self.rows, record, key, dropped, self.batch);
        Ok(true)
    }

    /// Keeps what has no place in labels, once for series that stand together.
    fn describe(&mut self, draft: &Draft<'a>) -> Result<(), Full> {
        let described = (draft.metric.clone(), draft.kind, draft.unit.clone());
        if self.described.as_ref() == Some(&described) {
            return Ok(());
        }
        self.described = Some(described);
        self.submission.describe(draft.metric.clone(), draft.kind, &draft.unit, self.batch)
    }
}
