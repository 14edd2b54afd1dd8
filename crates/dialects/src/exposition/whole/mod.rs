//! Whole families out of single series: what a store keeps as `h_bucket`, `h_sum` and `h_count` is told as one histogram.
//!
//! [`write()`] takes each series with its newest sample, finds out by the metadata, else by the names, what it is a part
//! of, and writes families as a strict reader of OpenMetrics takes them (the rules of `prometheus_client`'s parser). A
//! family that breaks one of these rules is told as gauges, one for each name of its series: nothing is left out for it,
//! and no page is broken by it. The steps are files: [`parts`] names what a series is part of, [`groups`] puts together
//! and checks, [`clash`] looks at all families beside each other.

mod clash;
mod groups;
mod parts;

use std::collections::BTreeMap;
use std::sync::Arc;

use codec::float;
use model::histogram::{CUSTOM_BOUNDS_SCHEMA, ResetHint};
use model::labels::METRIC_NAME;
use model::{Histogram, Labels, Metadata, MetricType};

use super::shape::{Buckets, Count};
use super::{Escaping, Format, Syntax, Writer};
use groups::Group;
use parts::{Names, Part};

/// A series with its newest sample.
#[derive(Clone, Debug)]
pub struct Series {
    /// Families stand in the order of this number, then of their names.
    pub rank: u32,
    /// All labels.
    pub labels: Labels,
    /// Milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// Since when a counter, a histogram or a summary counts, as it came with the sample; 0 = unknown.
    pub start_ms: i64,
    /// The value.
    pub value: Newest,
}

/// The value of a series.
#[derive(Clone, Debug)]
pub enum Newest {
    /// A number.
    Float(f64),
    /// A native histogram.
    Histogram(Arc<Histogram>),
}

/// What may be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// As what something is told whose type nobody knows.
    pub untyped: Untyped,
    /// Whether it is told when counters, histograms and summaries began.
    pub created: Told,
    /// Whether it is told of when the values are.
    pub times: Told,
}

/// As what something is told whose type nobody knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Untyped {
    /// Readers that drop what has no type take it.
    #[default]
    Gauge,
    /// As it is.
    Unknown,
}

/// Whether something is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Told {
    /// It is not.
    #[default]
    Left,
    /// It is.
    Told,
}

/// A family as far as it is known.
struct Draft<'a> {
    rank: u32,
    metadata: Metadata,
    /// Names of series, what they are in the family, and the series.
    members: Vec<(&'a str, Part, &'a [Series])>,
}

/// A family as it will be written.
struct Whole<'a> {
    rank: u32,
    name: &'a str,
    metadata: Metadata,
    groups: Vec<Group<'a>>,
    members: Vec<(&'a str, Part, &'a [Series])>,
}

/// The exposition of `series`, whose types, units and helps `metadata` knows by the names of families.
pub fn write(
    series: Vec<Series>,
    metadata: &dyn Fn(&str) -> Option<Metadata>,
    options: Options,
    format: Format,
) -> Vec<u8> {
    let series = settled(series, format);
    let by_name: Vec<(&str, &[Series])> =
        series.chunk_by(|a, b| a.name() == b.name()).map(|series| (series[0].name(), series)).collect();
    let names = Names::new(by_name.iter().map(|(name, _)| *name), metadata, options, format.syntax);
    let mut drafts: BTreeMap<String, Draft<'_>> = BTreeMap::new();
    for (name, series) in by_name {
        let Some(place) = names.place(name) else { continue };
        let rank = series.iter().map(|series| series.rank).min().unwrap_or_default();
        let draft = drafts.entry(place.family).or_insert_with(|| Draft {
            rank,
            metadata: place.metadata,
            members: Vec::new(),
        });
        draft.rank = draft.rank.min(rank);
        draft.members.push((name, place.part, series));
    }
    let families = drafts.iter().flat_map(|(name, draft)| groups::put_together(name, draft, format.syntax));
    let mut families = clash::settle(families.collect(), format.syntax);
    families.sort_by(|a, b| (a.rank, a.name).cmp(&(b.rank, b.name)));
    // Names are escaped already, unless in a way that tells them apart.
    let mut writer = Writer::new(Format { escaping: later(format.escaping), ..format });
    for family in &families {
        family.write(options, &mut writer);
    }
    writer.finish()
}

/// How names are written that [`settled`] leaves as they are.
fn later(escaping: Escaping) -> Escaping {
    if escaping == Escaping::Underscores { Escaping::AllowUtf8 } else { escaping }
}

/// The series as they will be called, sorted by name and labels, each once: where that makes two the same, the newer.
fn settled(series: Vec<Series>, format: Format) -> Vec<Series> {
    let mut all = Vec::with_capacity(series.len());
    for series in series {
        let series = if format.escaping == Escaping::Underscores { series.underscored() } else { series };
        let series = series.unreserved();
        match series.value {
            Newest::Histogram(ref histogram) if histogram.schema == CUSTOM_BOUNDS_SCHEMA => {
                series.classic(histogram, &mut all);
            }
            Newest::Histogram(_) if format.syntax != Syntax::Protobuf => {}
            _ => all.push(series),
        }
    }
    let by_labels = |a: &Series, b: &Series| a.name().cmp(b.name()).then_with(|| a.labels.cmp(&b.labels));
    all.sort_by(|a, b| by_labels(a, b).then(b.at_ms.cmp(&a.at_ms)));
    all.dedup_by(|again, first| {
        let is_same = again.labels == first.labels;
        if is_same {
            first.rank = first.rank.min(again.rank);
        }
        is_same
    });
    all
}

impl Series {
    /// The metric's name.
    pub fn name(&self) -> &str {
        self.labels.metric_name().unwrap_or_default()
    }

    /// The same under names of letters, digits and underscores.
    fn underscored(self) -> Self {
        let escape = |(name, value): (&str, &str)| match name == METRIC_NAME {
            true => (name.to_owned(), Escaping::Underscores.metric(value).into_owned()),
            false => (Escaping::Underscores.label(name).into_owned(), value.to_owned()),
        };
        let is_plain = self.labels.iter().all(|pair| {
            let (name, value) = escape(pair);
            (name.as_str(), value.as_str()) == pair
        });
        if is_plain {
            return self;
        }
        Self { labels: Labels::from_pairs(self.labels.iter().map(escape)), ..self }
    }

    /// The same without labels that strict readers keep for themselves: they refuse a page for one.
    fn unreserved(self) -> Self {
        let is_reserved = |name: &str| name.starts_with("__") && name != METRIC_NAME;
        if !self.labels.iter().any(|(name, _)| is_reserved(name)) {
            return self;
        }
        let labels = Labels::from_pairs(self.labels.iter().filter(|(name, _)| !is_reserved(name)));
        Self { labels, ..self }
    }

    /// A native histogram with custom bounds as the series of a classic one.
    fn classic(&self, histogram: &Histogram, all: &mut Vec<Series>) {
        let is_gauge = histogram.reset_hint == ResetHint::Gauge;
        let (sum, count) = if is_gauge { ("_gsum", "_gcount") } else { ("_sum", "_count") };
        let mut push = |suffix: &str, bound: Option<String>, value: f64| {
            let name = format!("{}{suffix}", self.name());
            let others = self.labels.iter().filter(|(name, _)| *name != METRIC_NAME);
            let pairs = others.map(|(name, value)| (name, value.to_owned()));
            let labels = pairs.chain([(METRIC_NAME, name)]).chain(bound.map(|bound| ("le", bound)));
            let (labels, value) = (Labels::from_pairs(labels), Newest::Float(value));
            all.push(Series { labels, value, rank: self.rank, at_ms: self.at_ms, start_ms: self.start_ms });
        };
        let number = |count: Count| match count {
            Count::Whole(count) => count as f64,
            Count::Float(count) => count,
        };
        let buckets = Buckets::of(histogram);
        for (bound, below) in buckets.below {
            let mut text = String::new();
            float::write_general(bound, &mut text);
            push("_bucket", Some(text), number(below));
        }
        push("_bucket", Some("+Inf".to_owned()), number(buckets.count));
        push(sum, None, buckets.sum);
        push(count, None, number(buckets.count));
    }
}

impl Whole<'_> {
    fn write(&self, options: Options, writer: &mut Writer) {
        let Metadata { kind, unit, help } = &self.metadata;
        // An info has no unit, and no state set.
        let unit = if matches!(kind, MetricType::Info | MetricType::StateSet) { "" } else { unit };
        let family = super::Family { name: self.name, kind: *kind, unit, help };
        for group in &self.groups {
            let at_ms = (options.times == Told::Told).then_some(group.at_ms);
            let metric =
                super::Metric { labels: &group.labels, value: group.value.shown(), at_ms, exemplar: None };
            let begins = matches!(kind, MetricType::Counter | MetricType::Histogram | MetricType::Summary);
            let created_s = group.created_s.filter(|_| begins && options.created == Told::Told);
            writer.write_since(&family, &metric, created_s);
        }
    }
}

#[cfg(test)]
mod tests;
