//! Histograms and summaries put together of the series that they are in Prometheus, for protocols in which they are one thing.
//!
//! Parts belong together when they have the same labels, the same time, the same beginning and one family. What is put together
//! says neither more nor less than its parts: a histogram has its last bucket, which holds as much as its count, and buckets
//! that never hold less than the one before. A part that finds no others stays a row of its own, so nothing depends on which
//! rows a parcel happens to have.

use std::collections::HashMap;

use model::labels::METRIC_NAME;
use model::{Metadata, MetricType, Sample, Temporality, is_stale};

use super::{Parcel, Series};

/// Names and values of labels.
type Pairs<'p> = Vec<(&'p str, &'p str)>;

/// A histogram or a summary at a time.
#[derive(Clone, Debug)]
pub(crate) struct Whole<'p> {
    /// Its family's name.
    pub(crate) name: &'p str,
    /// Labels that its parts have in common, sorted, without the name.
    pub(crate) labels: Pairs<'p>,
    /// What is known of its family.
    pub(crate) metadata: Option<&'p Metadata>,
    /// Which of the two.
    pub(crate) form: Form,
    /// When, and since when.
    pub(crate) timestamp_ms: i64,
    /// See `timestamp_ms`; 0 = not known.
    pub(crate) start_ms: i64,
    /// Running totals, or what came in a window.
    pub(crate) temporality: Temporality,
    /// Whether it only says that it has ended.
    pub(crate) is_stale: bool,
    /// How many observations.
    pub(crate) count: f64,
    /// What they come to.
    pub(crate) sum: f64,
    /// Bounds, without the last one, and what is up to each; or quantiles and their values. Ascending.
    pub(crate) points: Vec<(f64, f64)>,
    /// Its parts, by their numbers in the parcel.
    pub(crate) series: Vec<usize>,
}

/// What parts come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Histogram,
    Summary,
}

/// What a parcel has in one piece.
#[derive(Debug, Default)]
pub(crate) struct Wholes<'p> {
    pub(crate) list: Vec<Whole<'p>>,
    /// By the row's number in the parcel: whether it is part of one of them.
    taken: Vec<bool>,
}

impl<'p> Wholes<'p> {
    /// Puts together what belongs together and what `can_be_said`.
    pub(crate) fn of(parcel: &'p Parcel<'_>, can_be_said: impl Fn(&Whole<'_>) -> bool) -> Self {
        let series: Vec<Series<'p>> = parcel.series().collect();
        let mut groups: Vec<Group<'p>> = Vec::new();
        let mut known: HashMap<(&str, Pairs<'_>), usize> = HashMap::new();
        for (number, one) in series.iter().enumerate() {
            let Some((part, name)) = Part::of(one) else { continue };
            let own = part.label();
            let is_common = |(label, _): &&(&str, &str)| *label != METRIC_NAME && Some(*label) != own;
            let labels: Vec<_> = one.labels.iter().filter(is_common).copied().collect();
            let group = *known.entry((name, labels)).or_insert_with_key(|(name, labels)| {
                groups.push(Group::new(name, labels.clone()));
                groups.len() - 1
            });
            groups[group].put(part, number);
        }
        let mut wholes = Self { list: Vec::new(), taken: vec![false; parcel.samples.len()] };
        for group in &groups {
            group.settle(parcel, &series, &mut wholes, &can_be_said);
        }
        wholes
    }

    /// Whether a row of the parcel is part of one.
    pub(crate) fn has(&self, row: usize) -> bool {
        self.taken[row]
    }
}

/// What a series is of a histogram or summary.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Part {
    Bucket(f64),
    Quantile(f64),
    Sum,
    Count,
}

impl Part {
    /// What a series is, and of which family: as its metadata say, or else as it looks.
    fn of<'p>(series: &Series<'p>) -> Option<(Self, &'p str)> {
        let kind = series.family.map_or(MetricType::Unknown, |(_, metadata)| metadata.kind);
        let (is_histogram, is_summary) = match kind {
            MetricType::Histogram => (true, false),
            MetricType::Summary => (false, true),
            MetricType::Unknown => (true, true),
            _ => return None,
        };
        let number = |wanted: &str| series.label(wanted).and_then(codec::float::parse);
        let name = series.label(METRIC_NAME)?;
        if is_histogram && let (Some(base), Some(bound)) = (name.strip_suffix("_bucket"), number("le")) {
            return (!bound.is_nan()).then_some((Self::Bucket(bound), base));
        }
        if is_summary && let Some(quantile) = number("quantile") {
            return (!quantile.is_nan()).then_some((Self::Quantile(quantile), name));
        }
        let ends = [("_sum", Self::Sum), ("_count", Self::Count)];
        ends.into_iter().find_map(|(end, part)| Some((part, name.strip_suffix(end)?)))
    }

    /// The label that tells it from its siblings.
    fn label(self) -> Option<&'static str> {
        match self {
            Self::Bucket(_) => Some("le"),
            Self::Quantile(_) => Some("quantile"),
            Self::Sum | Self::Count => None,
        }
    }
}

/// Series that may be one thing.
struct Group<'p> {
    name: &'p str,
    labels: Pairs<'p>,
    buckets: Vec<(f64, usize)>,
    quantiles: Vec<(f64, usize)>,
    sum: Option<usize>,
    count: Option<usize>,
}

impl<'p> Group<'p> {
    fn new(name: &'p str, labels: Pairs<'p>) -> Self {
        Self { name, labels, buckets: Vec::new(), quantiles: Vec::new(), sum: None, count: None }
    }

    fn put(&mut self, part: Part, series: usize) {
        match part {
            Part::Bucket(bound) => self.buckets.push((bound, series)),
            Part::Quantile(quantile) => self.quantiles.push((quantile, series)),
            Part::Sum => self.sum = Some(series),
            Part::Count => self.count = Some(series),
        }
    }

    /// Puts the group together at each time for which it has all that it needs.
    fn settle(
        &self,
        parcel: &Parcel<'_>,
        series: &[Series<'p>],
        wholes: &mut Wholes<'p>,
        can_be_said: &impl Fn(&Whole<'_>) -> bool,
    ) {
        let (Some(sum), Some(count)) = (self.sum, self.count) else { return };
        let (form, points) = match (self.buckets.is_empty(), self.quantiles.is_empty()) {
            (false, true) => (Form::Histogram, &self.buckets),
            (true, false) => (Form::Summary, &self.quantiles),
            _ => return,
        };
        let mut points = points.clone();
        points.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        if points.array_windows().any(|[(one, _), (other, _)]| one == other) {
            return;
        }
        for counted in series[count].samples {
            let temporality = series[count].temporality;
            // Its row, if it has one that belongs to this one.
            let row = |of: usize| {
                let at =
                    series[of].samples.iter().position(|row| row.timestamp_ms == counted.timestamp_ms)?;
                let sample = &series[of].samples[at];
                let is_of = sample.start_ms == counted.start_ms
                    && series[of].temporality == temporality
                    && is_stale(sample.value) == is_stale(counted.value);
                is_of.then_some((parcel.series[of].samples.start + at, sample))
            };
            let (Some(count_row), Some(sum_row)) = (row(count), row(sum)) else { continue };
            let found: Vec<(f64, usize, (usize, &Sample))> =
                points.iter().filter_map(|(point, of)| Some((*point, *of, row(*of)?))).collect();
            let values = found.iter().map(|(point, _, (_, sample))| (*point, sample.value));
            let mut whole = Whole {
                name: self.name,
                labels: self.labels.clone(),
                metadata: series[count].family.map(|(_, metadata)| metadata),
                form,
                timestamp_ms: counted.timestamp_ms,
                start_ms: counted.start_ms,
                temporality,
                is_stale: is_stale(counted.value),
                count: counted.value,
                sum: sum_row.1.value,
                points: values.collect(),
                series: found.iter().map(|(_, of, _)| *of).chain([sum, count]).collect(),
            };
            if whole.close() && can_be_said(&whole) {
                let rows = found.iter().map(|(.., (row, _))| *row).chain([count_row.0, sum_row.0]);
                rows.for_each(|row| wholes.taken[row] = true);
                wholes.list.push(whole);
            }
        }
    }
}

impl Whole<'_> {
    /// Whether it is one. The last bucket goes, since it is the count.
    fn close(&mut self) -> bool {
        if self.form == Form::Summary {
            return !self.points.is_empty();
        }
        let is_last =
            |(bound, count): &(f64, f64)| *bound == f64::INFINITY && (*count == self.count || self.is_stale);
        if !self.points.last().is_some_and(is_last) {
            return false;
        }
        self.points.pop();
        let counts = self.points.iter().map(|(_, count)| *count).chain([self.count]);
        self.is_stale || counts.is_sorted_by(|one, other| 0.0 <= *one && one <= other)
    }

    /// Whether all counts are whole numbers that a float holds exactly.
    pub(crate) fn is_whole(&self) -> bool {
        const EXACT_MAX: f64 = (1u64 << 53) as f64;
        let is_whole = |count: f64| (0.0..=EXACT_MAX).contains(&count) && count.fract() == 0.0;
        let buckets: &[(f64, f64)] = if self.form == Form::Histogram { &self.points } else { &[] };
        self.is_stale || is_whole(self.count) && buckets.iter().all(|(_, count)| is_whole(*count))
    }

    /// Bounds and what each bucket has for itself, without the last.
    pub(crate) fn apart(&self) -> impl Iterator<Item = (f64, f64)> {
        let mut below = 0.0;
        self.points.iter().map(move |(bound, count)| {
            let own = count - below;
            below = *count;
            (*bound, own)
        })
    }

    /// What the last bucket has for itself.
    pub(crate) fn above(&self) -> f64 {
        self.count - self.points.last().map_or(0.0, |(_, count)| *count)
    }
}
