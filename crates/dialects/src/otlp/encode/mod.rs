//! Metrics as OTLP over HTTP sends them: `ExportMetricsServiceRequest` in protobuf, packed with gzip.
//!
//! Names are said as they are, and as a type under which Weir's own decoder, and Prometheus', make the same name of them: a counter
//! whose name does not end in `_total` is a sum that may shrink, and a unit that would be put behind the name stays away. Classic
//! histograms and summaries whose parts are together are one point each; other parts are sums that may shrink. `job` and
//! `instance` are the resource.

mod logs;
mod message;
mod point;

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use model::histogram::CUSTOM_BOUNDS_SCHEMA;
use model::{Metadata, MetricType, Temporality, is_stale};

use super::names::{self, Kind};
use super::settings::Strategy;
use crate::Encoding;
use crate::outgoing::{
    self, Answered, Body, Form, Options, Outcome, Parcel, Parts, Repeated, Series, Signal, Speaker,
    TokenPlace, Whole, Wholes,
};
use codec::proto::{LEN, Reader, VARINT, key};
pub use logs::LOGS_SPEAKER;
use point::Point;

/// Its row.
pub static SPEAKER: Speaker = Speaker {
    name: "otlp",
    signal: Signal::Metrics,
    repeated,
    parts: Parts::Together,
    path: "/v1/metrics",
    token: TokenPlace::Bearer,
    body_bytes_max: 64 << 20,
    packed_bytes_max: 64 << 20,
    encode,
    judge,
};

fn repeated(options: &Options) -> Repeated {
    if options.deltas { Repeated::IsAdded } else { Repeated::IsKept }
}

/// What a metric's points are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Data {
    Gauge,
    /// A sum that only grows.
    Counter(Temporality),
    /// A sum that may shrink.
    UpDown(Temporality),
    Histogram(Temporality),
    Exponential(Temporality),
    Summary,
}

impl Data {
    /// What a receiver takes it for when it makes a name.
    fn kind(self) -> Kind {
        match self {
            Self::Gauge => Kind::Gauge,
            Self::Counter(_) => Kind::Counter,
            Self::UpDown(_) => Kind::UpDown,
            Self::Histogram(_) => Kind::Histogram,
            Self::Exponential(_) => Kind::Exponential,
            Self::Summary => Kind::Summary,
        }
    }
}

/// A metric in the making.
#[derive(Debug)]
struct Metric<'p> {
    name: &'p str,
    data: Data,
    metadata: Option<&'p Metadata>,
    points: Vec<Point<'p>>,
}

/// What is said, in the order in which it is met.
#[derive(Default)]
struct Said<'p> {
    /// Of each resource its `job` and `instance`, and its metrics.
    resources: Vec<([&'p str; 2], Vec<usize>)>,
    metrics: Vec<Metric<'p>>,
    resource_of: HashMap<[&'p str; 2], usize>,
    metric_of: HashMap<(usize, &'p str, Data), usize>,
    unsaid: u64,
}

fn encode(parcel: &Parcel<'_>, options: &Options) -> Body {
    // A summary has no windows.
    let can_be_said = |whole: &Whole<'_>| {
        whole.is_whole() && (whole.form == Form::Histogram || whole.temporality == Temporality::Cumulative)
    };
    let wholes = Wholes::of(parcel, can_be_said);
    let mut said = Said { unsaid: parcel.lines.len() as u64, ..Said::default() };
    let mut places = vec![None; parcel.series.len()];
    for whole in &wholes.list {
        if let Some(place) = said.whole(whole)
            && whole.form == Form::Histogram
        {
            whole.series.iter().for_each(|series| places[*series] = Some(place));
        }
    }
    let all = parcel.series().zip(&parcel.series).zip(&mut places);
    for ((series, sent), place) in all {
        let rows = sent.samples.clone().zip(series.samples).filter(|(row, _)| !wholes.has(*row));
        let samples: Vec<_> = rows.map(|(_, sample)| *sample).collect();
        *place = said.samples(&series, &samples).or(*place);
        *place = said.natives(&series, options).or(*place);
        if options.exemplars {
            said.exemplars(&series, *place);
        }
    }
    let bytes = message::write(&said.resources, &said.metrics);
    Body {
        bytes,
        media: "application/x-protobuf",
        packing: Encoding::Gzip,
        headers: Vec::new(),
        unsaid: said.unsaid,
    }
}

/// A metric, and which of its points.
type Place = (usize, usize);

impl<'p> Said<'p> {
    fn whole(&mut self, whole: &Whole<'p>) -> Option<Place> {
        if !can_be_named(whole.name) || whole.timestamp_ms <= 0 {
            // What its rows are is counted.
            self.unsaid += whole.series.len() as u64;
            return None;
        }
        let data = match whole.form {
            Form::Histogram => Data::Histogram(whole.temporality),
            Form::Summary => Data::Summary,
        };
        let metric = self.metric(&whole.labels, whole.name, data, whole.metadata);
        Some(self.push(metric, Point::of_whole(whole)))
    }

    /// Says a series' floats; where the last of them stands.
    fn samples(&mut self, series: &Series<'p>, samples: &[model::Sample]) -> Option<Place> {
        let has_name = !samples.is_empty() && can_be_named(series.name());
        let sayable = samples.iter().filter(|sample| has_name && sample.timestamp_ms > 0);
        self.unsaid += (samples.len() - sayable.clone().count()) as u64;
        sayable.clone().next()?;
        let metadata = series.family.map(|(_, metadata)| metadata);
        let metric = self.metric(series.labels, series.name(), data_of(series, samples), metadata);
        sayable.map(|sample| self.push(metric, Point::of_sample(series.labels, sample))).last()
    }

    /// Says a series' native histograms; where the last of them stands.
    fn natives(&mut self, series: &Series<'p>, options: &Options) -> Option<Place> {
        let mut place = None;
        for row in series.histograms.iter().filter(|_| options.native_histograms) {
            let can_be_said = can_be_named(series.name()) && row.timestamp_ms > 0;
            let point = Point::of_histogram(series.labels, row).filter(|_| can_be_said);
            let Some(point) = point else {
                self.unsaid += 1;
                continue;
            };
            let data = match row.histogram.schema {
                CUSTOM_BOUNDS_SCHEMA => Data::Histogram(series.temporality),
                _ => Data::Exponential(series.temporality),
            };
            let metadata = series.family.map(|(_, metadata)| metadata);
            let metric = self.metric(series.labels, series.name(), data, metadata);
            place = Some(self.push(metric, point));
        }
        place
    }

    /// Exemplars stand with a point of their series.
    fn exemplars(&mut self, series: &Series<'p>, place: Option<Place>) {
        match place {
            Some((metric, point)) => self.metrics[metric].points[point].exemplars.extend(series.exemplars),
            None => self.unsaid += series.exemplars.len() as u64,
        }
    }

    fn metric(
        &mut self,
        labels: &[(&'p str, &'p str)],
        name: &'p str,
        data: Data,
        metadata: Option<&'p Metadata>,
    ) -> usize {
        let value =
            |wanted: &str| labels.iter().find(|(name, _)| *name == wanted).map_or("", |(_, value)| *value);
        let identity = [value("job"), value("instance")];
        let resources = &mut self.resources;
        let resource = *self.resource_of.entry(identity).or_insert_with(|| {
            resources.push((identity, Vec::new()));
            resources.len() - 1
        });
        let metrics = &mut self.metrics;
        *self.metric_of.entry((resource, name, data)).or_insert_with(|| {
            metrics.push(Metric { name, data, metadata, points: Vec::new() });
            resources[resource].1.push(metrics.len() - 1);
            metrics.len() - 1
        })
    }

    fn push(&mut self, metric: usize, point: Point<'p>) -> Place {
        let points = &mut self.metrics[metric].points;
        points.push(point);
        (metric, points.len() - 1)
    }
}

/// Whether a receiver makes any name of it.
fn can_be_named(name: &str) -> bool {
    names::metric(Strategy::default(), name, "", Kind::UpDown).is_some()
}

/// As what a series' floats are said.
fn data_of(series: &Series<'_>, samples: &[model::Sample]) -> Data {
    let kind = series.family.map_or(MetricType::Unknown, |(_, metadata)| metadata.kind);
    let name = series.name();
    let has_end = |ends: &[&str]| ends.iter().any(|end| name.ends_with(end));
    let is_named_so =
        || names::metric(Strategy::default(), name, "", Kind::Counter).is_some_and(|made| made == name);
    let may_shrink = |sample: &model::Sample| {
        series.temporality == Temporality::Delta && sample.value < 0.0 && !is_stale(sample.value)
    };
    match kind {
        MetricType::Counter | MetricType::Unknown
            if has_end(&["_total"]) && is_named_so() && !samples.iter().any(may_shrink) =>
        {
            Data::Counter(series.temporality)
        }
        MetricType::Counter => Data::UpDown(series.temporality),
        _ if series.temporality == Temporality::Delta => Data::UpDown(Temporality::Delta),
        MetricType::Histogram | MetricType::Summary | MetricType::Unknown
            if has_end(&["_bucket", "_sum", "_count"])
                || samples.iter().any(|sample| sample.start_ms != 0) =>
        {
            Data::UpDown(Temporality::Cumulative)
        }
        _ => Data::Gauge,
    }
}

/// A unit, where no receiver puts it behind the name.
fn unit_of<'p>(metric: &Metric<'p>) -> &'p str {
    let unit = metric.metadata.map_or("", |metadata| metadata.unit.as_str());
    let named = |unit| names::metric(Strategy::default(), metric.name, unit, metric.data.kind());
    if named(unit) == named("") { unit } else { "" }
}

/// What an answer means. A part that was refused is for good.
fn judge(answered: &Answered<'_>) -> Outcome {
    match outgoing::usual(answered) {
        taken @ (Outcome::Taken | Outcome::TakenBut { .. }) => match partial(answered.body) {
            Some((refused, why)) if refused > 0 => Outcome::TakenBut { refused, why },
            _ => taken,
        },
        other => other,
    }
}

/// How many points were refused, and why: the field 1 of an `Export*ServiceResponse`.
fn partial(body: &[u8]) -> Option<(u64, String)> {
    let mut reader = Reader::new(body);
    while let Some(found) = reader.key().ok()? {
        if found != key(1, LEN) {
            reader.skip(found, 0).ok()?;
            continue;
        }
        let (mut partial, mut refused, mut why) = (reader.message().ok()?, 0, String::new());
        while let Some(found) = partial.key().ok()? {
            match found {
                _ if found == key(1, VARINT) => refused = partial.varint().ok()?,
                _ if found == key(2, LEN) => {
                    why = String::from_utf8_lossy(partial.bytes().ok()?).into_owned()
                }
                _ => partial.skip(found, 0).ok()?,
            }
        }
        return Some((refused, why));
    }
    None
}
