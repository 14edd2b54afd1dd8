//! Metrics in protobuf: `ExportMetricsServiceRequest`.
//!
//! Protobuf promises no order of fields, and a sum's temporality does lie behind its points: so each message is walked twice,
//! first for what its parts need to know, then for the parts. What is passed over costs a length.

use std::borrow::Cow;

use codec::proto::{FIXED64, LEN, Reader, VARINT, WireError, key, known};
use codec::varint::unzigzag;

use super::exemplar::{Found, id};
use super::intake::{Aggregation, Buckets, Described, Head, Intake};
use super::names::Kind;
use super::native::{Exponential, Side};
use super::value::Run;
use crate::rows::{Full, Room};
use crate::{Malformed, Received};
use model::Batch;

/// Tells keys of this encoding apart.
pub(super) const FORMAT: u8 = 0;

/// Decodes an `ExportMetricsServiceRequest`.
pub(super) fn decode<'a>(received: &Received<'a>, batch: &mut Batch<'a>) -> Result<(), Malformed> {
    const RESOURCE_METRICS: u32 = key(1, LEN);
    let mut intake = Intake::new(received, batch, FORMAT);
    let mut request = Reader::new(received.body);
    while let Some(key) = request.key()? {
        match key {
            RESOURCE_METRICS => resource_metrics(request.message()?, &mut intake)?,
            _ => request.skip(key, known(&[1]))?,
        }
    }
    intake.finish()
}

fn resource_metrics<'a>(message: Reader<'a>, intake: &mut Intake<'a, '_>) -> Result<(), Malformed> {
    const RESOURCE: u32 = key(1, LEN);
    const SCOPE_METRICS: u32 = key(2, LEN);
    let (mut reader, mut resource) = (message, Run::default());
    while let Some(key) = reader.key()? {
        match key {
            RESOURCE => attributes_of(reader.message()?, 1, &mut resource)?,
            SCOPE_METRICS => drop(reader.message()?),
            _ => reader.skip(key, known(&[1, 2]))?,
        }
    }
    intake.resource(resource.attributes())?;
    let mut reader = message;
    while let Some(key) = reader.key()? {
        match key {
            SCOPE_METRICS => scope_metrics(reader.message()?, intake)?,
            _ => reader.skip(key, 0)?,
        }
    }
    Ok(())
}

/// Takes the fields `number` of a message, which are attributes.
pub(super) fn attributes_of<'a>(
    mut message: Reader<'a>,
    number: u32,
    run: &mut Run<'a>,
) -> Result<(), WireError> {
    loop {
        let start = message.offset();
        let Some(found) = message.key()? else { return Ok(()) };
        if found == key(number, LEN) {
            message.message()?;
            run.take(start, &message);
        } else {
            message.skip(found, 1 << number)?;
        }
    }
}

fn scope_metrics<'a>(message: Reader<'a>, intake: &mut Intake<'a, '_>) -> Result<(), Malformed> {
    const SCOPE: u32 = key(1, LEN);
    const METRICS: u32 = key(2, LEN);
    const SCHEMA_URL: u32 = key(3, LEN);
    let (mut reader, mut scope, mut schema_url) = (message, Scope::default(), Cow::Borrowed(""));
    while let Some(key) = reader.key()? {
        match key {
            SCOPE => scope.read(reader.message()?)?,
            METRICS => drop(reader.message()?),
            SCHEMA_URL => schema_url = lossy(&mut reader)?,
            _ => reader.skip(key, known(&[1, 2, 3]))?,
        }
    }
    intake.scope([&scope.name, &scope.version, &schema_url], &scope.attributes.attributes())?;
    let mut reader = message;
    while let Some(key) = reader.key()? {
        match key {
            METRICS => metric(reader.message()?, intake)?,
            _ => reader.skip(key, 0)?,
        }
    }
    Ok(())
}

/// An `InstrumentationScope`.
#[derive(Default)]
pub(super) struct Scope<'a> {
    pub(super) name: Cow<'a, str>,
    pub(super) version: Cow<'a, str>,
    pub(super) attributes: Run<'a>,
}

impl<'a> Scope<'a> {
    /// Reads it, over what came before.
    pub(super) fn read(&mut self, mut message: Reader<'a>) -> Result<(), WireError> {
        const NAME: u32 = key(1, LEN);
        const VERSION: u32 = key(2, LEN);
        const ATTRIBUTES: u32 = key(3, LEN);
        loop {
            let start = message.offset();
            let Some(key) = message.key()? else { return Ok(()) };
            match key {
                NAME => self.name = lossy(&mut message)?,
                VERSION => self.version = lossy(&mut message)?,
                ATTRIBUTES => {
                    message.message()?;
                    self.attributes.take(start, &message);
                }
                _ => message.skip(key, known(&[1, 2, 3]))?,
            }
        }
    }
}

/// A text, mended where it is none.
pub(super) fn lossy<'a>(reader: &mut Reader<'a>) -> Result<Cow<'a, str>, WireError> {
    Ok(String::from_utf8_lossy(reader.bytes()?))
}

const GAUGE: u32 = key(5, LEN);
const SUM: u32 = key(7, LEN);
const HISTOGRAM: u32 = key(9, LEN);
const EXPONENTIAL: u32 = key(10, LEN);
const SUMMARY: u32 = key(11, LEN);

fn metric<'a>(message: Reader<'a>, intake: &mut Intake<'a, '_>) -> Result<(), Malformed> {
    const NAME: u32 = key(1, LEN);
    const DESCRIPTION: u32 = key(2, LEN);
    const UNIT: u32 = key(3, LEN);
    let mut reader = message;
    let (mut name, mut description, mut unit) =
        (Some(Cow::Borrowed("")), Cow::Borrowed(""), Cow::Borrowed(""));
    let (mut data, mut qualities) = (None, Qualities::default());
    while let Some(key) = reader.key()? {
        match key {
            NAME => name = std::str::from_utf8(reader.bytes()?).ok().map(Cow::Borrowed),
            DESCRIPTION => description = lossy(&mut reader)?,
            UNIT => unit = lossy(&mut reader)?,
            GAUGE | SUM | HISTOGRAM | EXPONENTIAL | SUMMARY => {
                // Of several types the last one counts.
                if data.replace(key).is_some_and(|before| before != key) {
                    qualities = Qualities::default();
                }
                qualities.read(reader.message()?, key)?;
            }
            _ => reader.skip(key, known(&[1, 2, 3, 5, 7, 9, 10, 11]))?,
        }
    }
    let Some(data) = data else {
        intake.no_type();
        return Ok(());
    };
    if !qualities.has_points {
        intake.empty_metric();
        return Ok(());
    }
    let aggregation = Some(qualities.aggregation);
    let (kind, aggregation) = match data {
        SUM if qualities.is_monotonic => (Kind::Counter, aggregation),
        SUM => (Kind::UpDown, aggregation),
        HISTOGRAM => (Kind::Histogram, aggregation),
        EXPONENTIAL => (Kind::Exponential, aggregation),
        SUMMARY => (Kind::Summary, None),
        _ => (Kind::Gauge, None),
    };
    intake.metric(Described { name, description, unit, kind, aggregation })?;
    let mut reader = message;
    while let Some(key) = reader.key()? {
        if key == data { points(reader.message()?, kind, intake)? } else { reader.skip(key, 0)? }
    }
    Ok(())
}

/// What a metric's data say beside their points.
#[derive(Default)]
struct Qualities {
    aggregation: Aggregation,
    is_monotonic: bool,
    has_points: bool,
}

impl Qualities {
    fn read(&mut self, mut message: Reader<'_>, data: u32) -> Result<(), WireError> {
        const POINT: u8 = key(1, LEN) as u8;
        const POINTS: u32 = key(1, LEN);
        const TEMPORALITY: u32 = key(2, VARINT);
        const MONOTONIC: u32 = key(3, VARINT);
        let is_aggregated = matches!(data, SUM | HISTOGRAM | EXPONENTIAL);
        let numbers = known(if data == SUM {
            &[1, 2, 3]
        } else if is_aggregated {
            &[1, 2]
        } else {
            &[1]
        });
        loop {
            let start = message.offset();
            message.skip_run(POINT);
            self.has_points |= message.offset() > start;
            let Some(key) = message.key()? else { return Ok(()) };
            match key {
                POINTS => {
                    self.has_points = true;
                    message.message()?;
                }
                TEMPORALITY if is_aggregated => {
                    // An enum is an int32, whatever its varint's upper half.
                    self.aggregation = Aggregation::from_number(i64::from(message.varint()? as i32));
                }
                MONOTONIC if data == SUM => self.is_monotonic = message.varint()? != 0,
                _ => message.skip(key, numbers)?,
            }
        }
    }
}

fn points<'a>(mut message: Reader<'a>, kind: Kind, intake: &mut Intake<'a, '_>) -> Result<(), Malformed> {
    const POINTS: u32 = key(1, LEN);
    while let Some(key) = message.key()? {
        if key != POINTS {
            message.skip(key, 0)?;
            continue;
        }
        let point = message.message()?;
        match kind {
            Kind::Gauge | Kind::Counter | Kind::UpDown => number(point, intake)?,
            Kind::Histogram => histogram(point, intake)?,
            Kind::Exponential => exponential(point, intake)?,
            Kind::Summary => summary(point, intake)?,
        }
    }
    Ok(())
}

/// What all points have, while it is read. Only exemplars and flags have other numbers in each.
#[derive(Default)]
struct Common<'a> {
    attributes: Run<'a>,
    start_ns: u64,
    time_ns: u64,
    flags: u32,
    exemplars: Vec<Found>,
}

/// Keys of what points of several kinds have, each kind under numbers of its own.
struct Fields {
    attributes: u32,
    flags: u32,
    exemplars: u32,
}

/// No field has this key.
const NONE: u32 = 0;

impl<'a> Common<'a> {
    /// Takes a field whose key was read from `start` on, if it is one of these.
    fn take(
        &mut self,
        key: u32,
        start: usize,
        fields: &Fields,
        message: &mut Reader<'a>,
        room: &mut Room,
    ) -> Result<bool, Malformed> {
        match key {
            START => self.start_ns = fixed(message)?,
            TIME => self.time_ns = fixed(message)?,
            _ if key == fields.attributes => {
                message.message()?;
                self.attributes.take(start, message);
            }
            _ if key == fields.flags => self.flags = message.varint()? as u32,
            _ if key == fields.exemplars => self.exemplars.push(exemplar(message.message()?, room)?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn head(self) -> Head<'a> {
        let Self { attributes, start_ns, time_ns, flags, exemplars } = self;
        Head { attributes: attributes.attributes(), start_ns, time_ns, flags, exemplars }
    }
}

const START: u32 = key(2, FIXED64);
const TIME: u32 = key(3, FIXED64);

/// Most points are of this kind, so its fields are told apart at once, and attributes that lie together taken together.
#[inline]
fn number<'a>(mut message: Reader<'a>, intake: &mut Intake<'a, '_>) -> Result<(), Malformed> {
    const DOUBLE: u32 = key(4, FIXED64);
    const EXEMPLARS: u32 = key(5, LEN);
    const INT: u32 = key(6, FIXED64);
    const ATTRIBUTE: u8 = key(7, LEN) as u8;
    const ATTRIBUTES: u32 = key(7, LEN);
    const FLAGS: u32 = key(8, VARINT);
    let (mut common, mut value) = (Common::default(), None);
    loop {
        let start = message.offset();
        let Some(key) = message.key()? else { break };
        match key {
            START => common.start_ns = fixed(&mut message)?,
            TIME => common.time_ns = fixed(&mut message)?,
            DOUBLE => value = Some(message.double()?),
            INT => value = Some(fixed(&mut message)? as i64 as f64),
            ATTRIBUTES => {
                message.message()?;
                message.skip_run(ATTRIBUTE);
                common.attributes.take(start, &message);
            }
            FLAGS => common.flags = message.varint()? as u32,
            EXEMPLARS => common.exemplars.push(exemplar(message.message()?, &mut intake.room)?),
            _ => message.skip(key, known(&[2, 3, 4, 5, 6, 7, 8]))?,
        }
    }
    intake.number(common.head(), value)
}

fn histogram<'a>(mut message: Reader<'a>, intake: &mut Intake<'a, '_>) -> Result<(), Malformed> {
    const COMMON: Fields = Fields { attributes: key(9, LEN), flags: key(10, VARINT), exemplars: key(8, LEN) };
    const COUNT: u32 = key(4, FIXED64);
    const SUM: u32 = key(5, FIXED64);
    const COUNTS: u32 = key(6, LEN);
    const ONE_COUNT: u32 = key(6, FIXED64);
    const BOUNDS: u32 = key(7, LEN);
    const ONE_BOUND: u32 = key(7, FIXED64);
    let (mut common, mut buckets) = (Common::default(), Buckets::default());
    loop {
        let start = message.offset();
        let Some(key) = message.key()? else { break };
        match key {
            COUNT => buckets.count = fixed(&mut message)?,
            SUM => buckets.sum = Some(message.double()?),
            COUNTS => message.packed_doubles(|bits| buckets.counts.push(bits.to_bits()))?,
            ONE_COUNT => buckets.counts.push(fixed(&mut message)?),
            BOUNDS => message.packed_doubles(|bound| buckets.bounds.push(bound))?,
            ONE_BOUND => buckets.bounds.push(message.double()?),
            _ if common.take(key, start, &COMMON, &mut message, &mut intake.room)? => {}
            _ => message.skip(key, known(&[2, 3, 4, 5, 6, 7, 8, 9, 10]))?,
        }
    }
    intake.histogram(common.head(), buckets)
}

fn exponential<'a>(mut message: Reader<'a>, intake: &mut Intake<'a, '_>) -> Result<(), Malformed> {
    const COMMON: Fields =
        Fields { attributes: key(1, LEN), flags: key(10, VARINT), exemplars: key(11, LEN) };
    const COUNT: u32 = key(4, FIXED64);
    const SUM: u32 = key(5, FIXED64);
    const SCALE: u32 = key(6, VARINT);
    const ZERO_COUNT: u32 = key(7, FIXED64);
    const POSITIVE: u32 = key(8, LEN);
    const NEGATIVE: u32 = key(9, LEN);
    const ZERO_THRESHOLD: u32 = key(14, FIXED64);
    const KNOWN: u64 = known(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 14]);
    let (mut common, mut buckets) = (Common::default(), Exponential::default());
    loop {
        let start = message.offset();
        let Some(key) = message.key()? else { break };
        match key {
            COUNT => buckets.count = fixed(&mut message)?,
            SUM => buckets.sum = Some(message.double()?),
            SCALE => buckets.scale = unzigzag(message.varint()?) as i32,
            ZERO_COUNT => buckets.zero_count = fixed(&mut message)?,
            POSITIVE => side(message.message()?, &mut buckets.positive, &mut intake.room)?,
            NEGATIVE => side(message.message()?, &mut buckets.negative, &mut intake.room)?,
            ZERO_THRESHOLD => buckets.zero_threshold = message.double()?,
            _ if common.take(key, start, &COMMON, &mut message, &mut intake.room)? => {}
            _ => message.skip(key, KNOWN)?,
        }
    }
    intake.exponential(common.head(), &buckets)
}

/// Buckets of one sign. A byte can stand for a bucket, sent and kept.
fn side(mut message: Reader<'_>, side: &mut Side, room: &mut Room) -> Result<(), WireError> {
    const OFFSET: u32 = key(1, VARINT);
    const COUNTS: u32 = key(2, LEN);
    const ONE_COUNT: u32 = key(2, VARINT);
    room.take_for(2 * size_of::<u64>() * message.rest().len(), &message)?;
    while let Some(key) = message.key()? {
        match key {
            OFFSET => side.offset = unzigzag(message.varint()?) as i32,
            COUNTS => message.packed_varints(|count| side.counts.push(count))?,
            ONE_COUNT => side.counts.push(message.varint()?),
            _ => message.skip(key, known(&[1, 2]))?,
        }
    }
    Ok(())
}

fn summary<'a>(mut message: Reader<'a>, intake: &mut Intake<'a, '_>) -> Result<(), Malformed> {
    const COMMON: Fields = Fields { attributes: key(7, LEN), flags: key(8, VARINT), exemplars: NONE };
    const COUNT: u32 = key(4, FIXED64);
    const SUM: u32 = key(5, FIXED64);
    const QUANTILES: u32 = key(6, LEN);
    let (mut common, mut count, mut sum, mut quantiles) = (Common::default(), 0, 0.0, Vec::new());
    loop {
        let start = message.offset();
        let Some(key) = message.key()? else { break };
        match key {
            COUNT => count = fixed(&mut message)?,
            SUM => sum = message.double()?,
            QUANTILES => {
                intake.room.take_for(size_of::<(f64, f64)>(), &message)?;
                quantiles.push(quantile(message.message()?)?);
            }
            _ if common.take(key, start, &COMMON, &mut message, &mut intake.room)? => {}
            _ => message.skip(key, known(&[2, 3, 4, 5, 6, 7, 8]))?,
        }
    }
    intake.summary(common.head(), count, sum, &quantiles)
}

fn quantile(mut message: Reader<'_>) -> Result<(f64, f64), WireError> {
    const QUANTILE: u32 = key(1, FIXED64);
    const VALUE: u32 = key(2, FIXED64);
    let (mut quantile, mut value) = (0.0, 0.0);
    while let Some(key) = message.key()? {
        match key {
            QUANTILE => quantile = message.double()?,
            VALUE => value = message.double()?,
            _ => message.skip(key, known(&[1, 2]))?,
        }
    }
    Ok((quantile, value))
}

/// An exemplar. Its texts are short, or it is refused for them.
#[inline(never)]
fn exemplar(mut message: Reader<'_>, room: &mut Room) -> Result<Found, Malformed> {
    const TIME: u32 = key(2, FIXED64);
    const DOUBLE: u32 = key(3, FIXED64);
    const SPAN_ID: u32 = key(4, LEN);
    const TRACE_ID: u32 = key(5, LEN);
    const INT: u32 = key(6, FIXED64);
    const ATTRIBUTES: u32 = key(7, LEN);
    room.take_for(size_of::<Found>() + 2 * message.rest().len(), &message)?;
    let (mut found, mut filtered) = (Found::default(), Run::default());
    loop {
        let start = message.offset();
        let Some(key) = message.key()? else { break };
        match key {
            TIME => found.time_ns = fixed(&mut message)?,
            DOUBLE => found.value = Some(message.double()?),
            INT => found.value = Some(fixed(&mut message)? as i64 as f64),
            SPAN_ID => found.span_id = id(message.bytes()?),
            TRACE_ID => found.trace_id = id(message.bytes()?),
            ATTRIBUTES => {
                message.message()?;
                filtered.take(start, &message);
            }
            _ => message.skip(key, known(&[2, 3, 4, 5, 6, 7]))?,
        }
    }
    let mut full = Ok(());
    filtered.attributes().each(|name, value| {
        if full.is_ok() {
            full = room.take(64 + name.len() + value.len());
            found.filtered.push((name.into_owned(), value.into_owned()));
        }
    })?;
    full.map_err(|Full| message.error(Full::WHAT))?;
    Ok(found)
}

/// Eight bytes as a number.
#[inline]
pub(super) fn fixed(message: &mut Reader<'_>) -> Result<u64, WireError> {
    message.double().map(f64::to_bits)
}
