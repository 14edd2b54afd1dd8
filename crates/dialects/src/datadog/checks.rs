//! `POST /api/v1/check_run`: a list of service checks or one, `{check, host_name, status, timestamp, message, tags}`.
//!
//! A status becomes a sample, 0 (ok) to 3 (unknown). A message that is not empty becomes a log line each time that it
//! comes: whether it is new could only be told by who remembers the one before, and nothing here does.

use std::borrow::Cow;

use model::{Batch, Reason, Sample, Signal};

use super::fields::{self, set};
use super::line_tags;
use super::opening;
use super::record::{Kind, Name, Record};
use super::submission::Submission;
use crate::json::{Json, Token};
use crate::lines::{self, Lines};
use crate::rows::{Full, Rows};
use crate::{Malformed, Received};

/// What statuses are called, by number.
const STATUSES: [&str; 4] = ["ok", "warning", "critical", "unknown"];

/// Decodes a body into `batch`.
pub(super) fn decode<'a>(received: &Received<'a>, batch: &mut Batch<'a>) -> Result<(), Malformed> {
    if !opening::has_body(received)? {
        return Ok(());
    }
    let mut checks = Checks {
        submission: Submission::new(received, batch),
        batch,
        lines: Lines::cutting(),
        received_ms: received.received_ms,
        number: 0,
    };
    let mut json = Json::new(received.body);
    if json.is_next(b'{') {
        checks.read(&mut json)?;
    } else if json.value()? == Token::List {
        json.list(|json| checks.read(json))?;
    } else {
        return Err(json.error("invalid JSON doc: neither a check nor a list of checks"));
    }
    json.end()?;
    let Checks { submission, batch, .. } = checks;
    submission.finish(batch);
    Ok(())
}

#[derive(Default)]
struct Check<'a> {
    name: Cow<'a, str>,
    host: Cow<'a, str>,
    message: Cow<'a, str>,
    status: Option<usize>,
    timestamp_ms: Option<i64>,
    fault: Option<&'static str>,
}

struct Checks<'a, 'b> {
    submission: Submission<'a>,
    batch: &'b mut Batch<'a>,
    lines: Lines,
    received_ms: i64,
    number: usize,
}

impl<'a> Checks<'a, '_> {
    fn read(&mut self, json: &mut Json<'a>) -> Result<(), Malformed> {
        let token = json.value()?;
        let tags = self.submission.source.tags.len();
        let mut check = Check::default();
        if token == Token::Object {
            json.object(|json, key| self.field(json, &key, &mut check, tags))?;
        } else {
            json.rest_of(&token)?;
            check.fault = Some("it is no object");
        }
        let fault = match (check.fault, check.status) {
            (Some(what), _) => Some((Reason::InvalidSeries, what)),
            _ if check.name.is_empty() => Some((Reason::MissingName, "no `check`")),
            (None, None) => Some((Reason::InvalidValue, "`status` is not 0 to 3")),
            (None, Some(status)) => {
                self.keep(check, status, tags).map_err(|Full| json.error(Full::WHAT))?;
                None
            }
        };
        if let Some((reason, what)) = fault {
            self.submission.source.tags.truncate(tags);
            self.batch.rejections.add(Signal::Sample, reason, 1);
            let number = self.number;
            self.batch.rejections.explain(|| format!("check {number}: {what}"));
        }
        self.number += 1;
        Ok(())
    }

    fn field(
        &mut self,
        json: &mut Json<'a>,
        key: &str,
        check: &mut Check<'a>,
        tags: usize,
    ) -> Result<(), Malformed> {
        let fault = &mut check.fault;
        match key {
            "check" => set(fields::text(json), &mut check.name, fault, "`check` is no text"),
            "host_name" => set(fields::text(json), &mut check.host, fault, "`host_name` is no text"),
            "message" => set(fields::text(json), &mut check.message, fault, "`message` is no text"),
            "tags" => {
                self.submission.source.tags.truncate(tags);
                let read = fields::tags(json, &mut self.submission.source.tags, &mut self.submission.room);
                set(read, &mut (), fault, "`tags` is no list of texts")
            }
            "status" => {
                let status = json.scalar()?.number();
                check.status = (0..STATUSES.len()).find(|known| status == Some(*known as f64));
                Ok(())
            }
            "timestamp" => {
                let moment = fields::moment(&json.scalar()?, self.received_ms).map(Some);
                set(Ok(moment), &mut check.timestamp_ms, fault, "`timestamp` is no number")
            }
            _ => json.scalar().map(drop),
        }
    }

    fn keep(&mut self, check: Check<'a>, status: usize, tags: usize) -> Result<(), Full> {
        let timestamp_ms = check.timestamp_ms.unwrap_or(self.received_ms);
        if !check.message.is_empty() {
            self.message(&check, status, tags, timestamp_ms)?;
        }
        let record = Record {
            name: Name::Check(check.name),
            kind: Kind::Unspecified,
            interval_s: 0,
            host: check.host,
            device: Cow::Borrowed(""),
            source_type: Cow::Borrowed(""),
            resources: 0..0,
            tags: tags..self.submission.source.tags.len(),
        };
        self.submission.room_for(&record)?;
        let rows = Rows::begin(self.batch);
        self.batch.samples.push(Sample { timestamp_ms, value: status as f64, start_ms: 0 });
        let (key, dropped) = (self.submission.key(&record), self.submission.dropped(&record));
        self.submission.keep(rows, record, key, dropped, self.batch);
        Ok(())
    }

    fn message(
        &mut self,
        check: &Check<'a>,
        status: usize,
        tags: usize,
        timestamp_ms: i64,
    ) -> Result<(), Full> {
        let (batch, room, settings) =
            (&mut *self.batch, &mut self.submission.room, self.submission.source.settings);
        let fields = batch.pairs.len();
        lines::put(batch, room, "check".into(), check.name.clone())?;
        lines::put(batch, room, "status".into(), STATUSES[status].into())?;
        if !check.host.is_empty() {
            lines::put(batch, room, "host".into(), check.host.clone())?;
        }
        for tag in &self.submission.source.tags[tags..] {
            line_tags::put_tag(batch, room, settings, tag.clone())?;
        }
        let stream = [
            ("job", Cow::Borrowed("ddagent")),
            ("source", Cow::Borrowed("datadog_check")),
            (line_tags::host_label(settings), check.host.clone()),
        ];
        let timestamp_ns = timestamp_ms.saturating_mul(1_000_000);
        self.lines.push(batch, room, stream, fields, timestamp_ns, check.message.clone())
    }
}
