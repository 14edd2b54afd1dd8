//! From a body to its metrics and events: which packing it has, where each value begins, which of the two it is.

use model::{Batch, Reason, Signal};

use super::event;
use super::metric::Draft;
use super::packed::Msgpack;
use super::series::Series;
use super::tree::{Packing, Tree, Value};
use crate::json::Json;
use crate::lines::Lines;
use crate::rows::shown;
use crate::{Malformed, Received};

/// `POST /metrics`: what is no metric is refused.
pub(super) fn metrics<'a>(received: &Received<'a>, batch: &mut Batch<'a>) -> Result<(), Malformed> {
    decode(received, batch, Others::Refused)
}

/// `POST /`: what is no metric is a log line.
pub(super) fn anything<'a>(received: &Received<'a>, batch: &mut Batch<'a>) -> Result<(), Malformed> {
    decode(received, batch, Others::Lines)
}

/// What becomes of what is no metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Others {
    Refused,
    Lines,
}

fn decode<'a>(received: &Received<'a>, batch: &mut Batch<'a>, others: Others) -> Result<(), Malformed> {
    let body = received.body;
    let form = form_of(received);
    let packing = if form == Form::Msgpack { Packing::Msgpack } else { Packing::Json };
    let series = Series::new(received, packing, batch);
    let mut intake = Intake {
        series,
        lines: Lines::default(),
        received_ms: received.received_ms,
        others,
        batch,
        wrong: 0,
        first_wrong: None,
    };
    if body.trim_ascii().is_empty() {
        return Err(Malformed { what: "the body is empty", offset: 0 });
    }
    match form {
        Form::Json => {
            let mut json = Json::new(body);
            while !json.is_at_end() {
                intake.value(&mut json)?;
            }
        }
        Form::JsonLines => intake.json_lines(body)?,
        Form::Msgpack => {
            let mut tree = Msgpack::new(body);
            while !tree.is_at_end() {
                intake.value(&mut tree)?;
            }
        }
    }
    intake.finish()
}

/// How a body is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Json,
    JsonLines,
    Msgpack,
}

/// How a body begins says which packing it has: no metric in JSON begins like one in MessagePack. That each of its lines is
/// for itself only the media type says.
fn form_of(received: &Received<'_>) -> Form {
    let media = received.request.content_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    match received.body.trim_ascii_start().first() {
        Some(0x80..=0x9f | 0xdc..=0xdf) => Form::Msgpack,
        _ if LINES.contains(&media.as_str()) => Form::JsonLines,
        _ => Form::Json,
    }
}

/// Media types of JSON lines.
const LINES: [&str; 4] =
    ["application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"];

/// A body's metrics and events on their way into a batch.
struct Intake<'a, 'b> {
    series: Series<'a>,
    lines: Lines,
    received_ms: i64,
    others: Others,
    batch: &'b mut Batch<'a>,
    /// How many were not what they should be.
    wrong: u64,
    first_wrong: Option<Malformed>,
}

impl<'a> Intake<'a, '_> {
    /// Each line is read for itself, so that a broken one costs itself.
    fn json_lines(&mut self, body: &'a [u8]) -> Result<(), Malformed> {
        let mut start = 0;
        while start < body.len() {
            let end = memchr::memchr(b'\n', &body[start..]).map_or(body.len(), |at| start + at);
            let mut json = Json::part(body, start, end);
            while !json.is_at_end() {
                if let Err(malformed) = self.value(&mut json) {
                    self.broken_line(malformed)?;
                    break;
                }
            }
            start = end + 1;
        }
        Ok(())
    }

    #[cold]
    fn broken_line(&mut self, malformed: Malformed) -> Result<(), Malformed> {
        if malformed.what == crate::rows::Full::WHAT {
            return Err(malformed);
        }
        self.batch.items.begin();
        self.refuse(Reason::InvalidLine, "", malformed);
        Ok(())
    }

    /// Reads a metric or an event, or a list of them.
    fn value<T: Tree<'a>>(&mut self, tree: &mut T) -> Result<(), Malformed> {
        let start = tree.start();
        match tree.value()? {
            Value::List(length) => tree.list(length, |tree| {
                let start = tree.start();
                let value = tree.value()?;
                self.item(tree, start, &value)
            }),
            value => self.item(tree, start, &value),
        }
    }

    fn item<T: Tree<'a>>(&mut self, tree: &mut T, start: usize, value: &Value<'a>) -> Result<(), Malformed> {
        let Value::Map(length) = *value else {
            tree.skip(value)?;
            self.batch.items.begin();
            let malformed = Malformed { what: "neither a metric nor a list of metrics", offset: start };
            self.refuse(Reason::InvalidSeries, "", malformed);
            return Ok(());
        };
        let mut draft = Draft::default();
        self.series.points.clear();
        let Series { points, room, .. } = &mut self.series;
        tree.map(length, |tree, key| draft.field(tree, &key, points, room))?;
        self.batch.items.begin();
        if self.others == Others::Lines && !draft.is_metric() {
            let mut again = tree.again(start);
            let room = &mut self.series.room;
            let moment = event::read(&mut again, self.received_ms, &mut self.lines, room, self.batch)?;
            self.series.note_moment(moment);
            return Ok(());
        }
        if let Some((reason, what)) = draft.fault() {
            let name = draft.name.unwrap_or_default();
            self.refuse(reason, &name, Malformed { what, offset: start });
            return Ok(());
        }
        let name = draft.name.clone();
        match self.series.keep(draft, self.batch).map_err(|full| tree.full(full))? {
            None => {}
            Some((Reason::TooOld, what)) => {
                let name = name.unwrap_or_default();
                self.batch
                    .refuse_item(Signal::Sample, Reason::TooOld, || format!("{:?}: {what}", shown(&name)));
            }
            Some((reason, what)) => {
                self.refuse(reason, &name.unwrap_or_default(), Malformed { what, offset: start });
            }
        }
        Ok(())
    }

    #[cold]
    fn refuse(&mut self, reason: Reason, name: &str, malformed: Malformed) {
        self.wrong += 1;
        self.batch.refuse_item(Signal::Sample, reason, || format!("{:?}: {malformed}", shown(name)));
        self.first_wrong.get_or_insert(malformed);
    }

    /// A body of which nothing is right is refused as a whole.
    fn finish(self) -> Result<(), Malformed> {
        match self.first_wrong {
            Some(malformed) if self.wrong == self.batch.items.sent() => Err(malformed),
            _ => {
                self.series.finish(self.batch);
                Ok(())
            }
        }
    }
}
