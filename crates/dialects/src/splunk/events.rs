//! `/services/collector/event`: JSON objects one behind the other. What an object does not say of `host`, `source`,
//! `sourcetype` and `index` the one before it said.

use std::borrow::Cow;

use model::batch::Pair;
use model::{Batch, Reason, Sample, Signal};

use super::code::{self, Code};
use super::fields::{self, Field};
use super::opening;
use crate::attributes::Attributes;
use crate::json::{Json, Token};
use crate::lines::{self, Lines};
use crate::rows::{Full, Room, Rows};
use crate::siblings::{Shared, Siblings};
use crate::{Malformed, Received, seconds};

/// Dimensions that an event may have: by default tenants may have half as many labels.
const DIMENSIONS_MAX: usize = 256;

/// What an event says of where it comes from: labels of series and streams.
pub(super) const ORIGIN: [&str; 4] = ["host", "source", "sourcetype", "index"];

/// Decodes a body into `batch`.
pub(super) fn decode<'a>(received: &Received<'a>, batch: &mut Batch<'a>) -> Result<(), Malformed> {
    let channel = opening::channel(received)?;
    let mut events = Events {
        origin: Origin::default(),
        received_ns: received.received_ms.saturating_mul(1_000_000),
        fields: Vec::new(),
        series: Siblings::default(),
        lines: Lines::default(),
        room: Room::new(),
        first_bad: None,
        batch,
    };
    let mut json = Json::new(received.body);
    while !json.is_at_end() {
        events.batch.items.begin();
        match events.next(&mut json) {
            Ok(()) => {}
            Err(full) if full.what == Full::WHAT => return Err(full),
            // Where the next one begins, nobody knows.
            Err(malformed) => {
                events.refuse(code::INVALID_FORMAT, Signal::LogLine, Reason::InvalidLine, malformed.what);
                break;
            }
        }
    }
    let Events { series, first_bad, batch, .. } = events;
    series.finish(batch);
    match (first_bad, channel) {
        (Some((code, number)), _) => batch.echo = Some(code.body_of_event(number)),
        (None, Some(_)) => opening::acknowledge(received, batch),
        (None, None) => {}
    }
    Ok(())
}

/// Values of [`ORIGIN`]; empty ones are absent.
type Origin<'a> = [Cow<'a, str>; 4];

struct Events<'a, 'b> {
    /// Of the event before, or of this one.
    origin: Origin<'a>,
    received_ns: i64,
    /// Of this event.
    fields: Vec<Field<'a>>,
    series: Siblings<'a>,
    lines: Lines,
    room: Room,
    /// What is wrong with the first event that is refused, and its number.
    first_bad: Option<(Code, u64)>,
    batch: &'b mut Batch<'a>,
}

/// An object that was read, without its origin and its fields.
struct Event<'a> {
    /// Its first token, and where it stands.
    content: Option<(Token<'a>, usize)>,
    /// The text of [`Event::content`].
    text: Cow<'a, str>,
    timestamp_ns: i64,
    bad: Option<(Code, &'static str)>,
}

impl<'a> Events<'a, '_> {
    /// Reads and keeps one event. What cannot be read is the error; what is only bad is refused.
    fn next(&mut self, json: &mut Json<'a>) -> Result<(), Malformed> {
        let token = json.value()?;
        if token != Token::Object {
            json.rest_of(&token)?;
            self.refuse(code::INVALID_FORMAT, Signal::LogLine, Reason::InvalidLine, "it is no object");
            return Ok(());
        }
        let event = self.read(json)?;
        let is_metric = event.is_metric(&self.fields);
        if let Some((code, what)) = event.bad {
            let (signal, reason) = match is_metric {
                true => (Signal::Sample, Reason::InvalidSeries),
                false => (Signal::LogLine, Reason::InvalidLine),
            };
            self.refuse(code, signal, reason, what);
            self.batch.rejections.add(signal, reason, self.samples().saturating_sub(1));
            return Ok(());
        }
        if is_metric {
            self.keep_samples(event.timestamp_ns).map_err(|Full| json.error(Full::WHAT))
        } else {
            self.keep_line(event, json)
        }
    }

    fn read(&mut self, json: &mut Json<'a>) -> Result<Event<'a>, Malformed> {
        self.fields.clear();
        let mut event = Event { content: None, text: "".into(), timestamp_ns: self.received_ns, bad: None };
        let mut bad = None;
        let mut complain = |code: Code, what: &'static str| {
            bad.get_or_insert((code, what));
        };
        json.object(|json, key| {
            let key = key.as_ref();
            if key == "event" {
                let start = json.start();
                let token = json.value()?;
                json.rest_of(&token)?;
                event.text = match &token {
                    Token::Text(text) => text.clone(),
                    _ => json.since(start),
                };
                event.content = Some((token, start));
                return Ok(());
            }
            if key == "fields" {
                if !fields::read(json, &mut self.room, &mut self.fields)? {
                    complain(code::INVALID_FIELDS, "fields is no flat object");
                }
                return Ok(());
            }
            let token = json.scalar()?;
            if key == "time" {
                let is_absent = token == Token::Null;
                match fields::text(token).and_then(|text| seconds::nanoseconds(&text)) {
                    Some(timestamp_ns) => event.timestamp_ns = timestamp_ns,
                    None if is_absent => {}
                    None => complain(code::INVALID_FORMAT, "time is none"),
                }
                return Ok(());
            }
            let Some(at) = ORIGIN.iter().position(|name| *name == key) else { return Ok(()) };
            match token {
                Token::List | Token::Object if key == "index" => {
                    complain(code::INCORRECT_INDEX, "index is no text");
                }
                Token::List | Token::Object => complain(code::INVALID_FORMAT, "an origin is no text"),
                token => {
                    if let Some(text) = fields::text(token).filter(|text| !text.is_empty()) {
                        self.origin[at] = text;
                    }
                }
            }
            Ok(())
        })?;
        match &event.content {
            None | Some((Token::Null, _)) => complain(code::EVENT_REQUIRED, "event is missing"),
            Some(_) if matches!(event.text.as_ref(), "" | "{}") => {
                complain(code::EVENT_BLANK, "event is blank");
            }
            Some(_) => {}
        }
        event.bad = bad;
        Ok(event)
    }

    /// Keeps the metrics that are in the fields; the others are dimensions, and come before the origin.
    fn keep_samples(&mut self, timestamp_ns: i64) -> Result<(), Full> {
        let is_dimension = |(name, _): &&Field<'a>| !fields::is_of_metric(name);
        let dimensions = self.fields.iter().filter(is_dimension);
        if dimensions.clone().count() > DIMENSIONS_MAX {
            let what = "over 256 dimensions";
            self.refuse(code::INVALID_FIELDS, Signal::Sample, Reason::LabelLimit, what);
            self.batch.rejections.add(Signal::Sample, Reason::LabelLimit, self.samples().saturating_sub(1));
            return Ok(());
        }
        let said = |name: &str| self.fields.iter().any(|(field, _)| field == name);
        let origin = ORIGIN.into_iter().zip(&self.origin).filter(|(name, _)| !said(name));
        let pairs = dimensions
            .filter_map(|(name, token)| Some((name.clone(), fields::text(token.clone())?)))
            .chain(origin.map(|(name, value)| (Cow::Borrowed(name), value.clone())));
        let shared = self.series.share(self.batch, &mut self.room, pairs)?;
        let timestamp_ms = timestamp_ns.div_euclid(1_000_000);
        let (mut single_name, mut single_value) = (None, None);
        for at in 0..self.fields.len() {
            let (name, token) = self.fields[at].clone();
            match name.as_ref() {
                fields::NAME => single_name = fields::text(token),
                fields::VALUE => single_value = Some(token),
                _ => {
                    if let Some(name) = metric(&name) {
                        self.keep_sample(&shared, Some(name), Some(&token), timestamp_ms)?;
                    }
                }
            }
        }
        if single_name.is_some() || single_value.is_some() {
            self.keep_sample(&shared, single_name, single_value.as_ref(), timestamp_ms)?;
        }
        Ok(())
    }

    /// Samples that the fields have: one for each name, and one for the value that is named apart.
    fn samples(&self) -> u64 {
        let named = self.fields.iter().filter(|(name, _)| fields::metric(name).is_some()).count();
        let apart = self.fields.iter().any(|(name, _)| name == fields::NAME || name == fields::VALUE);
        named as u64 + u64::from(apart)
    }

    fn keep_sample(
        &mut self,
        shared: &Shared,
        name: Option<Cow<'a, str>>,
        value: Option<&Token<'a>>,
        timestamp_ms: i64,
    ) -> Result<(), Full> {
        let Some(name) = name.filter(|name| !name.is_empty()) else {
            self.refuse(code::INVALID_FIELDS, Signal::Sample, Reason::MissingName, "a metric has no name");
            return Ok(());
        };
        let Some(value) = value.and_then(number) else {
            let what = "a metric's value is no finite number";
            self.refuse(code::INVALID_FIELDS, Signal::Sample, Reason::InvalidValue, what);
            return Ok(());
        };
        self.room.take(size_of::<Sample>())?;
        let rows = Rows::begin(self.batch);
        self.batch.samples.push(Sample { timestamp_ms, value, start_ms: 0 });
        self.series.keep(self.batch, &mut self.room, rows, name, shared)
    }

    /// Keeps an event as a log line: its text, or its JSON, whose attributes are fields of the line.
    fn keep_line(&mut self, event: Event<'a>, json: &Json<'a>) -> Result<(), Malformed> {
        let full = |Full| json.error(Full::WHAT);
        let start = self.batch.pairs.len();
        for (name, token) in self.fields.drain(..) {
            if let Some(text) = fields::text(token).filter(|text| !text.is_empty() && !name.is_empty()) {
                lines::put(self.batch, &mut self.room, name, text).map_err(full)?;
            }
        }
        let mut attributes = Attributes::default();
        if let Some((Token::Object, at)) = event.content {
            let mut again = json.again(at);
            again.value()?;
            attributes.put_all(self.batch, &mut self.room, &mut again)?;
        }
        self.batch.note("log_fields_dropped", attributes.lost);
        let Self { batch, room, lines, origin, .. } = self;
        lines.push(batch, room, stream(origin), start, event.timestamp_ns, event.text).map_err(full)
    }

    /// Refuses the event that is being read, or a part of it.
    fn refuse(&mut self, code: Code, signal: Signal, reason: Reason, what: &'static str) {
        let number = u64::from(self.batch.items.current());
        self.first_bad.get_or_insert((code, number));
        self.batch.refuse_item(signal, reason, || format!("event {number}: {what}"));
    }
}

impl Event<'_> {
    /// Whether it is a metric: it says so, and its fields have one.
    fn is_metric(&self, fields: &[Field<'_>]) -> bool {
        let says_so = matches!(&self.content, Some((Token::Text(text), _)) if text == "metric");
        says_so && fields.iter().any(|(name, _)| fields::is_of_metric(name))
    }
}

/// The labels of a line's stream; a stream has one at least.
pub(super) fn stream<'a>(origin: &Origin<'a>) -> impl Iterator<Item = Pair<'a>> {
    let unnamed = origin.iter().all(|value| value.is_empty());
    let other = ("source", Cow::Borrowed(if unnamed { "splunk_hec" } else { "" }));
    let said = ORIGIN.into_iter().zip(origin.clone()).chain([other]);
    said.map(|(name, value)| (Cow::Borrowed(name), value))
}

/// The metric whose value a field of this name is, where the name says so.
fn metric<'a>(name: &Cow<'a, str>) -> Option<Cow<'a, str>> {
    match name {
        Cow::Borrowed(name) => fields::metric(name).map(Cow::Borrowed),
        Cow::Owned(name) => fields::metric(name).map(|name| Cow::Owned(name.to_owned())),
    }
}

/// A metric's value, as a number or as text.
fn number(token: &Token<'_>) -> Option<f64> {
    let value = match token {
        Token::Text(text) => codec::float::parse(text.trim()),
        token => token.number(),
    };
    value.filter(|value| value.is_finite())
}
