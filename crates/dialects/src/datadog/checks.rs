//! `POST /api/v1/check_run`: a list of service checks or one, `{check, host_name, status, timestamp, message, tags}`.
//!
//! A status becomes a sample, 0 (ok) to 3 (unknown). A message that is not empty becomes a log line each time that it
//! comes: whether it is new could only be told by who remembers the one before, and nothing here does.

use std::borrow::Cow;

use model::{Batch, Reason, Sample, Signal};

use super::fields::{self, WrongType};
use super::lines::{self, Lines};
use super::opening;
use super::record::{Kind, Name, Record, Source};
use crate::json::{Json, Token};
use crate::rows::{Full, Room, Rows};
use crate::{Malformed, Received};

/// What statuses are called, by number.
const STATUSES: [&str; 4] = ["ok", "warning", "critical", "unknown"];

/// Decodes a body into `batch`.
pub(super) fn decode<'a>(received: &Received<'a>, batch: &mut Batch<'a>) -> Result<(), Malformed> {
    if !opening::has_body(received)? {
        return Ok(());
    }
    let source = Source::new(received);
    let mut checks = Checks {
        key_seed: source.key_seed(batch),
        source,
        batch,
        lines: Lines::default(),
        room: Room::new(),
        received_ms: received.received_ms,
        number: 0,
        scratch: Vec::new(),
    };
    let mut json = Json::new(received.body);
    match json.value()? {
        Token::List => json.list(|json| {
            let token = json.value()?;
            checks.read(json, token)
        })?,
        token @ Token::Object => checks.read(&mut json, token)?,
        _ => return Err(json.error("invalid JSON doc: neither a check nor a list of checks")),
    }
    json.end()?;
    let Checks { source, batch, .. } = checks;
    batch.source = Some(Box::new(source));
    Ok(())
}

#[derive(Default)]
struct Check<'a> {
    name: Cow<'a, str>,
    host: Cow<'a, str>,
    message: Cow<'a, str>,
    status: Option<usize>,
    timestamp_ms: Option<i64>,
    fault: Option<(Reason, &'static str)>,
}

struct Checks<'a, 'b> {
    source: Source<'a>,
    batch: &'b mut Batch<'a>,
    lines: Lines,
    room: Room,
    received_ms: i64,
    key_seed: u64,
    number: usize,
    scratch: Vec<u8>,
}

impl<'a> Checks<'a, '_> {
    fn read(&mut self, json: &mut Json<'a>, token: Token<'a>) -> Result<(), Malformed> {
        let tags = self.source.tags.len();
        let mut check = Check::default();
        if token == Token::Object {
            json.object(|json, key| self.field(json, &key, &mut check, tags))?;
        } else {
            json.rest_of(&token)?;
            check.fault = Some((Reason::InvalidSeries, "it is no object"));
        }
        let fault = match (check.fault, check.status) {
            (Some(fault), _) => Some(fault),
            _ if check.name.is_empty() => Some((Reason::MissingName, "no `check`")),
            (None, None) => Some((Reason::InvalidValue, "`status` is not 0 to 3")),
            (None, Some(status)) => {
                self.keep(check, status, tags).map_err(|Full| json.error(Full::WHAT))?;
                None
            }
        };
        if let Some((reason, what)) = fault {
            self.source.tags.truncate(tags);
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
        let what = match key {
            "check" => match fields::text(json)? {
                Ok(name) => return Ok(check.name = name),
                Err(WrongType) => "`check` is no text",
            },
            "host_name" => match fields::text(json)? {
                Ok(host) => return Ok(check.host = host),
                Err(WrongType) => "`host_name` is no text",
            },
            "message" => match fields::text(json)? {
                Ok(message) => return Ok(check.message = message),
                Err(WrongType) => "`message` is no text",
            },
            "tags" => {
                self.source.tags.truncate(tags);
                match fields::tags(json, &mut self.source.tags, &mut self.room)? {
                    Ok(()) => return Ok(()),
                    Err(WrongType) => "`tags` is no list of texts",
                }
            }
            "status" => {
                let status = json.scalar()?.number();
                check.status = (0..STATUSES.len()).find(|known| status == Some(*known as f64));
                return Ok(());
            }
            "timestamp" => match fields::moment(&json.scalar()?, self.received_ms) {
                Ok(timestamp_ms) => return Ok(check.timestamp_ms = Some(timestamp_ms)),
                Err(WrongType) => "`timestamp` is no number",
            },
            _ => return json.scalar().map(drop),
        };
        check.fault.get_or_insert((Reason::InvalidSeries, what));
        Ok(())
    }

    fn keep(&mut self, check: Check<'a>, status: usize, tags: usize) -> Result<(), Full> {
        let timestamp_ms = check.timestamp_ms.unwrap_or(self.received_ms);
        if !check.message.is_empty() {
            self.message(&check, status, tags, timestamp_ms)?;
        }
        self.room.take(size_of::<Record<'_>>() + size_of::<model::batch::SeriesRow<'_>>())?;
        let rows = Rows::begin(self.batch);
        self.batch.samples.push(Sample { timestamp_ms, value: status as f64, start_ms: 0 });
        let record = Record {
            name: Name::Check(check.name),
            kind: Kind::Unspecified,
            interval_s: 0,
            host: check.host,
            device: Cow::Borrowed(""),
            source_type: Cow::Borrowed(""),
            resources: 0..0,
            tags: tags..self.source.tags.len(),
        };
        let key = self.source.key(&record, self.key_seed, &mut self.scratch);
        let labels = self.source.push(record);
        rows.keep(self.batch, labels, key);
        self.source.note_dropped(tags, self.batch);
        Ok(())
    }

    fn message(
        &mut self,
        check: &Check<'a>,
        status: usize,
        tags: usize,
        timestamp_ms: i64,
    ) -> Result<(), Full> {
        let (batch, room, settings) = (&mut *self.batch, &mut self.room, self.source.settings);
        let fields = batch.pairs.len();
        lines::put(batch, room, "check".into(), check.name.clone())?;
        lines::put(batch, room, "status".into(), STATUSES[status].into())?;
        if !check.host.is_empty() {
            lines::put(batch, room, "host".into(), check.host.clone())?;
        }
        for tag in &self.source.tags[tags..] {
            lines::put_tag(batch, room, settings, tag.clone())?;
        }
        let stream = [
            ("job", Cow::Borrowed("ddagent")),
            ("source", Cow::Borrowed("datadog_check")),
            (lines::host_label(settings), check.host.clone()),
        ];
        let timestamp_ns = timestamp_ms.saturating_mul(1_000_000);
        self.lines.push(batch, room, stream, fields, timestamp_ns, check.message.clone())
    }
}
