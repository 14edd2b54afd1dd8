//! Families put together: the parts of each metric found by its labels, and every rule of a strict reader checked.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::labels::METRIC_NAME;
use model::{Histogram, Metadata, MetricType};

use super::super::{Classic, Summary, Syntax, Value};
use super::parts::Part;
use super::{Draft, Newest, ResetHint, Series, Whole};

/// One metric of a family.
pub(super) struct Group<'a> {
    pub(super) labels: Vec<(&'a str, &'a str)>,
    pub(super) at_ms: i64,
    pub(super) value: GroupValue<'a>,
    /// When it began, in seconds: a series that says so goes before what came with the sample.
    pub(super) created_s: Option<f64>,
}

pub(super) enum GroupValue<'a> {
    Float(f64),
    Native(&'a Arc<Histogram>),
    Classic { below: Vec<(f64, f64)>, sum: f64, count: f64 },
    Summary { quantiles: Vec<(f64, f64)>, sum: Option<f64>, count: Option<f64> },
}

impl GroupValue<'_> {
    pub(super) fn shown(&self) -> Value<'_> {
        match self {
            Self::Float(value) => Value::Float(*value),
            Self::Native(histogram) => Value::Histogram(histogram),
            Self::Classic { below, sum, count } => {
                Value::Classic(Classic { below, sum: *sum, count: *count })
            }
            Self::Summary { quantiles, sum, count } => {
                Value::Summary(Summary { quantiles, sum: *sum, count: *count })
            }
        }
    }
}

/// Occurs when a family breaks a rule of a strict reader.
struct Broken;

/// The family as it can be written, or as one gauge for each name where it breaks a rule.
pub(super) fn put_together<'a>(name: &'a str, draft: &'a Draft<'a>, syntax: Syntax) -> Vec<Whole<'a>> {
    let kind = told_kind(name, draft, syntax);
    let is_part = |(of, part, _): &(&str, Part, _)| *part != Part::Created && *of != name;
    let groups = match kind {
        // Text has no type for it, and a histogram's parts are called otherwise.
        MetricType::GaugeHistogram if matches!(syntax, Syntax::Text(_)) => Err(Broken),
        MetricType::Histogram | MetricType::GaugeHistogram | MetricType::Summary => compound(draft, kind),
        // Something of this name stands beside what looks like the parts of a histogram.
        _ if draft.members.iter().any(is_part) => Err(Broken),
        _ => simple(name, draft, kind),
    };
    let metadata = Metadata { kind, ..draft.metadata.clone() };
    let whole = |groups| Whole { rank: draft.rank, name, metadata, groups, members: draft.members.clone() };
    match groups {
        Ok(groups) => vec![whole(groups)],
        Err(Broken) => gauges(draft.rank, &draft.metadata, &draft.members),
    }
}

/// One gauge for each name.
pub(super) fn gauges<'a>(
    rank: u32,
    metadata: &Metadata,
    members: &[(&'a str, Part, &'a [Series])],
) -> Vec<Whole<'a>> {
    let gauge = |(name, part, series): &(&'a str, Part, &'a [Series])| {
        let groups: Vec<_> = series.iter().filter_map(float).collect();
        let metadata = Metadata { kind: MetricType::Gauge, ..metadata.clone() };
        let members = vec![(*name, *part, *series)];
        (!groups.is_empty()).then_some(Whole { rank, name, metadata, groups, members })
    };
    members.iter().filter_map(gauge).collect()
}

/// The type, as far as the syntax can say it of this name.
fn told_kind(name: &str, draft: &Draft<'_>, syntax: Syntax) -> MetricType {
    let is_open = matches!(syntax, Syntax::OpenMetrics(_));
    let natives = draft.members.iter().flat_map(|(_, part, series)| {
        let series = if *part == Part::Whole { *series } else { &[] };
        series.iter().filter_map(|series| match &series.value {
            Newest::Histogram(histogram) => Some(histogram.reset_hint),
            Newest::Float(_) => None,
        })
    });
    let is_suffix = matches!(name, "_total" | "_info");
    match (draft.metadata.kind, natives.into_iter().next()) {
        (MetricType::Histogram | MetricType::GaugeHistogram, Some(_)) if draft.members.len() > 1 => {
            draft.metadata.kind
        }
        (_, Some(ResetHint::Gauge)) => MetricType::GaugeHistogram,
        (_, Some(_)) => MetricType::Histogram,
        // Without its suffix such a name is none, and readers take it away.
        (MetricType::Counter | MetricType::Info, _) if is_suffix => MetricType::Gauge,
        (MetricType::Counter, _) if is_open && !name.ends_with("_total") => MetricType::Gauge,
        (MetricType::Info, _) if is_open && !name.ends_with("_info") => MetricType::Gauge,
        (MetricType::StateSet, _) if !is_open => MetricType::Gauge,
        (kind, _) => kind,
    }
}

fn simple<'a>(name: &str, draft: &Draft<'a>, kind: MetricType) -> Result<Vec<Group<'a>>, Broken> {
    let mut created = BTreeMap::new();
    let mut groups = Vec::new();
    for (_, part, series) in &draft.members {
        for mut group in series.iter().filter_map(float) {
            match (part, &group.value) {
                (Part::Created, GroupValue::Float(began)) => {
                    created.insert(std::mem::take(&mut group.labels), *began);
                }
                _ => groups.push(group),
            }
        }
    }
    for group in &mut groups {
        group.created_s = created.get(&group.labels).copied().or(group.created_s);
        let GroupValue::Float(value) = group.value else { continue };
        match kind {
            MetricType::Counter if value.is_nan() || value < 0.0 => return Err(Broken),
            MetricType::Info if value != 1.0 => return Err(Broken),
            MetricType::StateSet if !is_state(name, group, value) => return Err(Broken),
            _ => {}
        }
    }
    if groups.is_empty() { Err(Broken) } else { Ok(groups) }
}

/// Whether it is one state of a set: its label is called like the family.
fn is_state(name: &str, group: &Group<'_>, value: f64) -> bool {
    (value == 0.0 || value == 1.0) && group.labels.iter().any(|(label, _)| *label == name)
}

fn float(series: &Series) -> Option<Group<'_>> {
    let Newest::Float(value) = series.value else { return None };
    Some(Group {
        labels: labels(series, ""),
        at_ms: series.at_ms,
        value: GroupValue::Float(value),
        created_s: began_s(series.start_ms),
    })
}

/// A start time in seconds.
fn began_s(start_ms: i64) -> Option<f64> {
    (start_ms > 0).then_some(start_ms as f64 / 1000.0)
}

/// A series' labels, but for its name and one other.
fn labels<'a>(series: &'a Series, without: &str) -> Vec<(&'a str, &'a str)> {
    series.labels.iter().filter(|(name, _)| *name != METRIC_NAME && *name != without).collect()
}

/// The parts of one metric.
#[derive(Default)]
struct Parts {
    /// Part, the bound or the quantile, time, value.
    parts: Vec<(Part, f64, i64, f64)>,
    created_s: Option<f64>,
    /// The latest start time that came with a part.
    start_ms: i64,
}

fn compound<'a>(draft: &Draft<'a>, kind: MetricType) -> Result<Vec<Group<'a>>, Broken> {
    let mut metrics: BTreeMap<Vec<(&str, &str)>, Parts> = BTreeMap::new();
    let mut groups = Vec::new();
    for (_, part, series) in &draft.members {
        let label = match part {
            Part::Bucket => "le",
            Part::Whole => "quantile",
            Part::Sum | Part::Count | Part::Created => "",
        };
        for series in *series {
            let value = match &series.value {
                Newest::Float(value) => *value,
                Newest::Histogram(histogram) => {
                    let is_gauge = histogram.reset_hint == ResetHint::Gauge;
                    if is_gauge == (kind == MetricType::GaugeHistogram) {
                        let value = GroupValue::Native(histogram);
                        let (labels, at_ms) = (labels(series, ""), series.at_ms);
                        groups.push(Group { labels, at_ms, value, created_s: began_s(series.start_ms) });
                    }
                    continue;
                }
            };
            let metric = metrics.entry(labels(series, label)).or_default();
            if *part == Part::Created {
                metric.created_s = Some(value);
                continue;
            }
            // Only a summary has parts that are called like the family.
            if *part == Part::Whole && kind != MetricType::Summary {
                return Err(Broken);
            }
            let at = match label {
                "" => 0.0,
                _ => series.labels.get(label).and_then(|text| text.parse::<f64>().ok()).ok_or(Broken)?,
            };
            metric.start_ms = metric.start_ms.max(series.start_ms);
            metric.parts.push((*part, at, series.at_ms, value));
        }
    }
    for (labels, metric) in metrics {
        // What is older than the newest parts is of a time when there were other buckets.
        let Some(at_ms) = metric.parts.iter().map(|(_, _, at_ms, _)| *at_ms).max() else { continue };
        let value = metric.value(at_ms, kind)?;
        let created_s = metric.created_s.or(began_s(metric.start_ms));
        groups.push(Group { labels, at_ms, value, created_s });
    }
    if groups.is_empty() { Err(Broken) } else { Ok(groups) }
}

impl Parts {
    fn value(&self, newest_ms: i64, kind: MetricType) -> Result<GroupValue<'static>, Broken> {
        let of = |wanted: Part| {
            self.parts.iter().filter(move |(part, _, at_ms, _)| *part == wanted && *at_ms == newest_ms)
        };
        let rows = |part| {
            let mut rows: Vec<(f64, f64)> = of(part).map(|(_, at, _, value)| (*at, *value)).collect();
            rows.sort_by(|a, b| a.0.total_cmp(&b.0));
            // `le="1"` and `le="1.0"`.
            rows.dedup_by(|again, first| again.0 == first.0);
            rows
        };
        let one = |part| of(part).next().map(|(_, _, _, value)| *value);
        let (sum, count) = (one(Part::Sum), one(Part::Count));
        let is_count = |count: f64| count >= 0.0 && count.fract() == 0.0;
        if count.is_some_and(|count| !is_count(count)) {
            return Err(Broken);
        }
        let may_fall = kind == MetricType::GaugeHistogram;
        if sum.is_some_and(|sum| sum.is_nan() || sum < 0.0 && !may_fall) {
            return Err(Broken);
        }
        if kind == MetricType::Summary {
            let quantiles = rows(Part::Whole);
            let is_good = |(quantile, value): &(f64, f64)| {
                (0.0..=1.0).contains(quantile) && (*value >= 0.0 || value.is_nan())
            };
            return match quantiles.iter().all(is_good) {
                true => Ok(GroupValue::Summary { quantiles, sum, count }),
                false => Err(Broken),
            };
        }
        let mut below = rows(Part::Bucket);
        let (Some(sum), Some(count)) = (sum, count) else { return Err(Broken) };
        let is_rising =
            below.is_sorted_by(|a, b| a.1 <= b.1) && below.iter().all(|(_, count)| is_count(*count));
        let has_negative = below.first().is_some_and(|(bound, _)| *bound < 0.0);
        let is_whole = below.pop() == Some((f64::INFINITY, count));
        let sum_fits = if may_fall { has_negative || sum >= 0.0 } else { !has_negative };
        match is_rising && is_whole && sum_fits && below.iter().all(|(bound, _)| !bound.is_nan()) {
            true => Ok(GroupValue::Classic { below, sum, count }),
            false => Err(Broken),
        }
    }
}
