//! Metrics in JSON: the same message as [`super::metrics_wire`] reads, in the calls of the same [`Intake`].
//!
//! Names of fields are those in lowerCamelCase and no others. As in protobuf's mapping `null` is an absent field, and something else
//! than the message or list that belongs there makes the body unreadable. JSON promises no order either: an object is walked twice where its parts need to know the whole.

use std::borrow::Cow;

use super::exemplar::Found;
use super::intake::{Aggregation, Buckets, Described, Head, Intake};
use super::names::Kind;
use super::native::{Exponential, Side};
use super::value::Attributes;
use super::value_json::{Numbers, double, integer, text_of, unsigned};
use crate::json::{Json, Token};
use crate::rows::{Full, Room};
use crate::{Malformed, Received};
use model::Batch;

/// Tells keys of this encoding apart.
const FORMAT: u8 = 1;

/// Decodes an `ExportMetricsServiceRequest`.
pub(super) fn decode<'a>(received: &Received<'a>, batch: &mut Batch<'a>) -> Result<(), Malformed> {
    let mut intake = Intake::new(received, batch, FORMAT);
    let mut json = Json::new(received.body);
    request(&mut json, |json, key| match key {
        "resourceMetrics" => each(json, |json| resource_metrics(json, &mut intake)),
        _ => json.scalar().map(drop),
    })?;
    intake.finish()
}

/// The object that is a whole body.
pub(super) fn request<'a>(
    json: &mut Json<'a>,
    mut field: impl FnMut(&mut Json<'a>, &str) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    match json.value()? {
        Token::Object => json.object(|json, key| field(json, &key))?,
        _ => return Err(json.error("invalid JSON doc: not an export request")),
    }
    json.end()
}

/// What is said of a value of the wrong type.
const NO_OBJECT: &str = "invalid JSON doc: an object is expected";
const NO_LIST: &str = "invalid JSON doc: a list is expected";

/// Goes through a list of objects; `each` is at an object whose brace was not read. `null` is an absent list; anything else, there
/// or among the objects, makes the body unreadable.
pub(super) fn each<'a>(
    json: &mut Json<'a>,
    mut each: impl FnMut(&mut Json<'a>) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    match json.value()? {
        Token::List => {
            json.list(|json| if json.is_next(b'{') { each(json) } else { Err(json.error(NO_OBJECT)) })
        }
        Token::Null => Ok(()),
        _ => Err(json.error(NO_LIST)),
    }
}

/// Goes through the fields of an object; `null` is an absent one.
pub(super) fn fields<'a>(
    json: &mut Json<'a>,
    mut field: impl FnMut(&mut Json<'a>, &str) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    match json.value()? {
        Token::Object => json.object(|json, key| field(json, &key)),
        Token::Null => Ok(()),
        _ => Err(json.error(NO_OBJECT)),
    }
}

/// A list of attributes, passed over: only that its types are right is looked at.
pub(super) fn attributes<'a>(json: &mut Json<'a>) -> Result<Attributes<'a>, Malformed> {
    let start = json.start();
    each(json, pass_attribute)?;
    Ok(Attributes::Json(json.bytes_since(start)))
}

fn pass_attribute(json: &mut Json<'_>) -> Result<(), Malformed> {
    fields(json, |json, key| match key {
        "value" => pass_value(json),
        _ => json.scalar().map(drop),
    })
}

/// Passes over a value of any type.
pub(super) fn pass_value(json: &mut Json<'_>) -> Result<(), Malformed> {
    let values = |json: &mut Json<'_>, pass: fn(&mut Json<'_>) -> Result<(), Malformed>| {
        fields(json, |json, key| match key {
            "values" => each(json, pass),
            _ => json.scalar().map(drop),
        })
    };
    fields(json, |json, key| match key {
        "arrayValue" => values(json, pass_value),
        "kvlistValue" => values(json, pass_attribute),
        _ => json.scalar().map(drop),
    })
}

/// No attributes.
pub(super) const NO_ATTRIBUTES: Attributes<'static> = Attributes::Json(b"");

fn resource_metrics<'a>(json: &mut Json<'a>, intake: &mut Intake<'a, '_>) -> Result<(), Malformed> {
    let start = json.start();
    let (mut again, mut resource) = (json.again(start), NO_ATTRIBUTES);
    fields(json, |json, key| match key {
        "resource" => resource_attributes(json, &mut resource),
        _ => json.scalar().map(drop),
    })?;
    intake.resource(resource)?;
    fields(&mut again, |json, key| match key {
        "scopeMetrics" => each(json, |json| scope_metrics(json, intake)),
        _ => json.scalar().map(drop),
    })
}

/// Reads a `Resource`.
pub(super) fn resource_attributes<'a>(
    json: &mut Json<'a>,
    resource: &mut Attributes<'a>,
) -> Result<(), Malformed> {
    fields(json, |json, key| {
        match key {
            "attributes" => *resource = attributes(json)?,
            _ => drop(json.scalar()?),
        }
        Ok(())
    })
}

fn scope_metrics<'a>(json: &mut Json<'a>, intake: &mut Intake<'a, '_>) -> Result<(), Malformed> {
    let start = json.start();
    let (mut again, mut scope) = (json.again(start), Scope::default());
    let mut schema_url = Cow::Borrowed("");
    fields(json, |json, key| {
        match key {
            "scope" => scope.read(json)?,
            "schemaUrl" => schema_url = text_of(json)?,
            _ => drop(json.scalar()?),
        }
        Ok(())
    })?;
    intake.scope([&scope.name, &scope.version, &schema_url], &scope.attributes)?;
    fields(&mut again, |json, key| match key {
        "metrics" => each(json, |json| metric(json, intake)),
        _ => json.scalar().map(drop),
    })
}

/// An `InstrumentationScope`.
pub(super) struct Scope<'a> {
    pub(super) name: Cow<'a, str>,
    pub(super) version: Cow<'a, str>,
    pub(super) attributes: Attributes<'a>,
}

impl Default for Scope<'_> {
    fn default() -> Self {
        Self { name: Cow::Borrowed(""), version: Cow::Borrowed(""), attributes: NO_ATTRIBUTES }
    }
}

impl<'a> Scope<'a> {
    /// Reads it.
    pub(super) fn read(&mut self, json: &mut Json<'a>) -> Result<(), Malformed> {
        fields(json, |json, key| {
            match key {
                "name" => self.name = text_of(json)?,
                "version" => self.version = text_of(json)?,
                "attributes" => self.attributes = attributes(json)?,
                _ => drop(json.scalar()?),
            }
            Ok(())
        })
    }
}

/// The data of a metric, as their key says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Data {
    Gauge,
    Sum,
    Histogram,
    Exponential,
    Summary,
}

impl Data {
    fn of(key: &str) -> Option<Self> {
        Some(match key {
            "gauge" => Self::Gauge,
            "sum" => Self::Sum,
            "histogram" => Self::Histogram,
            "exponentialHistogram" => Self::Exponential,
            "summary" => Self::Summary,
            _ => return None,
        })
    }
}

fn metric<'a>(json: &mut Json<'a>, intake: &mut Intake<'a, '_>) -> Result<(), Malformed> {
    let (mut name, mut description, mut unit) = (Cow::Borrowed(""), Cow::Borrowed(""), Cow::Borrowed(""));
    let mut found: Option<(Data, Json<'a>)> = None;
    let mut qualities = Qualities::default();
    fields(json, |json, key| {
        match (key, Data::of(key)) {
            ("name", _) => name = text_of(json)?,
            ("description", _) => description = text_of(json)?,
            ("unit", _) => unit = text_of(json)?,
            (_, Some(_)) if json.is_next(b'n') => drop(json.scalar()?),
            (_, Some(data)) => {
                let start = json.start();
                found = Some((data, json.again(start)));
                qualities = Qualities::default();
                qualities.read(json)?;
            }
            _ => drop(json.scalar()?),
        }
        Ok(())
    })?;
    let Some((data, mut again)) = found else {
        intake.no_type();
        return Ok(());
    };
    if !qualities.has_points {
        intake.empty_metric();
        return Ok(());
    }
    let aggregation = Some(qualities.aggregation);
    let (kind, aggregation) = match data {
        Data::Sum if qualities.is_monotonic => (Kind::Counter, aggregation),
        Data::Sum => (Kind::UpDown, aggregation),
        Data::Histogram => (Kind::Histogram, aggregation),
        Data::Exponential => (Kind::Exponential, aggregation),
        Data::Summary => (Kind::Summary, None),
        Data::Gauge => (Kind::Gauge, None),
    };
    intake.metric(Described { name: Some(name), description, unit, kind, aggregation })?;
    fields(&mut again, |json, key| match key {
        "dataPoints" => each(json, |json| match kind {
            Kind::Gauge | Kind::Counter | Kind::UpDown => number(json, intake),
            Kind::Histogram => histogram(json, intake),
            Kind::Exponential => exponential(json, intake),
            Kind::Summary => summary(json, intake),
        }),
        _ => json.scalar().map(drop),
    })
}

/// What a metric's data say beside their points.
#[derive(Default)]
struct Qualities {
    aggregation: Aggregation,
    is_monotonic: bool,
    has_points: bool,
}

impl Qualities {
    fn read(&mut self, json: &mut Json<'_>) -> Result<(), Malformed> {
        fields(json, |json, key| {
            match key {
                "aggregationTemporality" => self.aggregation = aggregation(&json.scalar()?),
                "isMonotonic" => self.is_monotonic = json.scalar()? == Token::Bool(true),
                "dataPoints" => each(json, |json| {
                    self.has_points = true;
                    json.scalar().map(drop)
                })?,
                _ => drop(json.scalar()?),
            }
            Ok(())
        })
    }
}

fn aggregation(token: &Token<'_>) -> Aggregation {
    match token {
        Token::Text(text) if text == "AGGREGATION_TEMPORALITY_DELTA" => Aggregation::Delta,
        Token::Text(text) if text == "AGGREGATION_TEMPORALITY_CUMULATIVE" => Aggregation::Cumulative,
        token => integer(token).map_or(Aggregation::Unspecified, Aggregation::from_number),
    }
}

/// What all points have, while it is read.
struct Common<'a> {
    head: Head<'a>,
    numbers: Numbers,
}

impl<'a> Common<'a> {
    fn new() -> Self {
        let exemplars = Vec::new();
        let head = Head { attributes: NO_ATTRIBUTES, start_ns: 0, time_ns: 0, flags: 0, exemplars };
        Self { head, numbers: Numbers::default() }
    }

    /// Reads a field that all points have, or passes over it.
    fn field(&mut self, json: &mut Json<'a>, key: &str, room: &mut Room) -> Result<(), Malformed> {
        match key {
            "attributes" => self.head.attributes = attributes(json)?,
            "startTimeUnixNano" => self.head.start_ns = self.numbers.read(json, unsigned)?.unwrap_or(0),
            "timeUnixNano" => self.head.time_ns = self.numbers.read(json, unsigned)?.unwrap_or(0),
            "flags" => self.head.flags = self.numbers.read(json, unsigned)?.unwrap_or(0) as u32,
            "exemplars" => each(json, |json| {
                self.head.exemplars.push(exemplar(json, room)?);
                Ok(())
            })?,
            _ => drop(json.scalar()?),
        }
        Ok(())
    }
}

fn number<'a>(json: &mut Json<'a>, intake: &mut Intake<'a, '_>) -> Result<(), Malformed> {
    let (mut common, mut value) = (Common::new(), None);
    fields(json, |json, key| {
        match key {
            "asDouble" => value = common.numbers.read(json, double)?.or(value),
            "asInt" => value = common.numbers.read(json, integer)?.map(|value| value as f64).or(value),
            key => common.field(json, key, &mut intake.room)?,
        }
        Ok(())
    })?;
    if common.numbers.has_unreadable {
        return intake.unreadable();
    }
    intake.number(common.head, value)
}

/// A list of numbers; `None` when one cannot be read.
fn numbers<'a, N>(
    json: &mut Json<'a>,
    room: &mut Room,
    number: fn(&Token<'_>) -> Option<N>,
) -> Result<Option<Vec<N>>, Malformed> {
    let mut all = Some(Vec::new());
    match json.value()? {
        Token::List => json.list(|json| {
            // As it was sent, and as it is kept.
            room.take(2 * size_of::<N>()).map_err(|Full| json.error(Full::WHAT))?;
            let token = json.scalar()?;
            if token == Token::Null {
                return Err(json.error("invalid JSON doc: a number is expected"));
            }
            match (number(&token), &mut all) {
                (Some(number), Some(all)) => all.push(number),
                _ => all = None,
            }
            Ok(())
        })?,
        Token::Null => {}
        _ => return Err(json.error(NO_LIST)),
    }
    Ok(all)
}

fn histogram<'a>(json: &mut Json<'a>, intake: &mut Intake<'a, '_>) -> Result<(), Malformed> {
    let (mut common, mut buckets) = (Common::new(), Buckets::default());
    let (mut counts, mut bounds) = (Some(Vec::new()), Some(Vec::new()));
    fields(json, |json, key| {
        match key {
            "count" => buckets.count = common.numbers.read(json, unsigned)?.unwrap_or(0),
            "sum" => buckets.sum = common.numbers.read(json, double)?,
            "bucketCounts" => counts = numbers(json, &mut intake.room, unsigned)?,
            "explicitBounds" => bounds = numbers(json, &mut intake.room, double)?,
            key => common.field(json, key, &mut intake.room)?,
        }
        Ok(())
    })?;
    if common.numbers.has_unreadable {
        return intake.unreadable();
    }
    let (Some(counts), Some(bounds)) = (counts, bounds) else { return intake.bad_list() };
    intake.histogram(common.head, Buckets { counts, bounds, ..buckets })
}

fn exponential<'a>(json: &mut Json<'a>, intake: &mut Intake<'a, '_>) -> Result<(), Malformed> {
    let (mut common, mut buckets) = (Common::new(), Exponential::default());
    let (mut positive, mut negative) = (Some(Side::default()), Some(Side::default()));
    fields(json, |json, key| {
        match key {
            "count" => buckets.count = common.numbers.read(json, unsigned)?.unwrap_or(0),
            "sum" => buckets.sum = common.numbers.read(json, double)?,
            "scale" => buckets.scale = common.numbers.read(json, small)?.unwrap_or(0),
            "zeroCount" => buckets.zero_count = common.numbers.read(json, unsigned)?.unwrap_or(0),
            "zeroThreshold" => buckets.zero_threshold = common.numbers.read(json, double)?.unwrap_or(0.0),
            "positive" => positive = side(json, &mut common.numbers, &mut intake.room)?,
            "negative" => negative = side(json, &mut common.numbers, &mut intake.room)?,
            key => common.field(json, key, &mut intake.room)?,
        }
        Ok(())
    })?;
    if common.numbers.has_unreadable {
        return intake.unreadable();
    }
    let (Some(positive), Some(negative)) = (positive, negative) else { return intake.bad_list() };
    intake.exponential(common.head, &Exponential { positive, negative, ..buckets })
}

/// Buckets of one sign; `None` when something else than a number is among them.
fn side(json: &mut Json<'_>, own: &mut Numbers, room: &mut Room) -> Result<Option<Side>, Malformed> {
    let (mut offset, mut counts) = (0, Some(Vec::new()));
    fields(json, |json, key| {
        match key {
            "offset" => offset = own.read(json, small)?.unwrap_or(0),
            "bucketCounts" => counts = numbers(json, room, unsigned)?,
            _ => drop(json.scalar()?),
        }
        Ok(())
    })?;
    Ok(counts.map(|counts| Side { offset, counts }))
}

/// A number of 32 bits; one that is larger is the largest, and refused for it where it matters.
fn small(token: &Token<'_>) -> Option<i32> {
    integer(token).map(|number| number.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32)
}

fn summary<'a>(json: &mut Json<'a>, intake: &mut Intake<'a, '_>) -> Result<(), Malformed> {
    let (mut common, mut count, mut sum, mut quantiles) = (Common::new(), 0, 0.0, Vec::new());
    fields(json, |json, key| {
        match key {
            "count" => count = common.numbers.read(json, unsigned)?.unwrap_or(0),
            "sum" => sum = common.numbers.read(json, double)?.unwrap_or(0.0),
            "quantileValues" => each(json, |json| {
                intake.take(size_of::<(f64, f64)>())?;
                quantiles.push(quantile(json, &mut common.numbers)?);
                Ok(())
            })?,
            key => common.field(json, key, &mut intake.room)?,
        }
        Ok(())
    })?;
    if common.numbers.has_unreadable {
        return intake.unreadable();
    }
    intake.summary(common.head, count, sum, &quantiles)
}

fn quantile(json: &mut Json<'_>, numbers: &mut Numbers) -> Result<(f64, f64), Malformed> {
    let (mut quantile, mut value) = (0.0, 0.0);
    fields(json, |json, key| {
        match key {
            "quantile" => quantile = numbers.read(json, double)?.unwrap_or(0.0),
            "value" => value = numbers.read(json, double)?.unwrap_or(0.0),
            _ => drop(json.scalar()?),
        }
        Ok(())
    })?;
    Ok((quantile, value))
}

fn exemplar(json: &mut Json<'_>, room: &mut Room) -> Result<Found, Malformed> {
    let (mut found, mut filtered) = (Found::default(), NO_ATTRIBUTES);
    fields(json, |json, key| {
        match key {
            "timeUnixNano" => found.time_ns = unsigned(&json.scalar()?).unwrap_or(0),
            "asDouble" => found.value = double(&json.scalar()?).or(found.value),
            "asInt" => found.value = integer(&json.scalar()?).map(|value| value as f64).or(found.value),
            "spanId" => found.span_id = hex_id(&text_of(json)?),
            "traceId" => found.trace_id = hex_id(&text_of(json)?),
            "filteredAttributes" => filtered = attributes(json)?,
            _ => drop(json.scalar()?),
        }
        Ok(())
    })?;
    let full = |Full| json.error(Full::WHAT);
    room.take(size_of::<Found>() + found.span_id.len() + found.trace_id.len()).map_err(full)?;
    let mut taken = Ok(());
    filtered.each(|name, value| {
        if taken.is_ok() {
            taken = room.take(64 + name.len() + value.len());
            found.filtered.push((name.into_owned(), value.into_owned()));
        }
    })?;
    taken.map_err(|Full| json.error(Full::WHAT))?;
    Ok(found)
}

/// An id in lower case; one of zeros is none.
pub(super) fn hex_id(text: &str) -> String {
    if text.bytes().all(|byte| byte == b'0') { String::new() } else { text.to_ascii_lowercase() }
}
