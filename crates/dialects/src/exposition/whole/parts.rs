//! What a series is part of, by what is known of families and by the names of all series that are told.

use std::collections::HashSet;

use model::{Metadata, MetricType};

use super::super::Syntax;
use super::{Options, Told, Untyped};

/// What a series is in its family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// All of a metric, or a quantile of a summary.
    Whole,
    /// A bucket.
    Bucket,
    /// The sum of observations.
    Sum,
    /// Their number.
    Count,
    /// When it began, in seconds.
    Created,
}

/// Where a series belongs.
pub(super) struct Place {
    /// The family: of a counter and an info the name of its series.
    pub(super) family: String,
    pub(super) part: Part,
    pub(super) metadata: Metadata,
}

/// All names, and what is known of families.
pub(super) struct Names<'a> {
    names: HashSet<&'a str>,
    metadata: &'a dyn Fn(&str) -> Option<Metadata>,
    options: Options,
    syntax: Syntax,
}

/// Suffixes of parts, and the types that have them.
const PARTS: [(&str, Part, &[MetricType]); 5] = [
    ("_bucket", Part::Bucket, &[MetricType::Histogram, MetricType::GaugeHistogram]),
    ("_sum", Part::Sum, &[MetricType::Histogram, MetricType::Summary]),
    ("_count", Part::Count, &[MetricType::Histogram, MetricType::Summary]),
    ("_gsum", Part::Sum, &[MetricType::GaugeHistogram]),
    ("_gcount", Part::Count, &[MetricType::GaugeHistogram]),
];

impl<'a> Names<'a> {
    pub(super) fn new(
        names: impl Iterator<Item = &'a str>,
        metadata: &'a dyn Fn(&str) -> Option<Metadata>,
        options: Options,
        syntax: Syntax,
    ) -> Self {
        Self { names: names.collect(), metadata, options, syntax }
    }

    /// The place of the series of this name; none when they are not told.
    pub(super) fn place(&self, name: &str) -> Option<Place> {
        if let Some(place) = self.created(name) {
            return match (self.options.created, self.syntax) {
                (Told::Left, _) => None,
                (Told::Told, Syntax::OpenMetrics(_) | Syntax::Protobuf) => Some(place),
                // Text has no place for it: it is a gauge of its own.
                (Told::Told, Syntax::Text(_)) => Some(Place {
                    family: name.to_owned(),
                    part: Part::Whole,
                    metadata: Metadata { kind: MetricType::Gauge, ..Metadata::default() },
                }),
            };
        }
        let own = (self.metadata)(name);
        let place = |family: &str, part, metadata| Some(Place { family: family.to_owned(), part, metadata });
        if let Some(metadata) = own.clone().filter(|metadata| metadata.kind != MetricType::Unknown) {
            return place(name, Part::Whole, metadata);
        }
        for (suffix, part, kinds) in PARTS {
            if let Some((base, metadata)) = self.base(name, suffix, kinds) {
                return place(base, part, metadata);
            }
        }
        // OpenMetrics has the metadata of these without their suffixes.
        for (suffix, kind) in [("_total", MetricType::Counter), ("_info", MetricType::Info)] {
            if let Some((_, metadata)) = self.base(name, suffix, &[kind]) {
                return place(name, Part::Whole, metadata);
            }
        }
        let known = own.unwrap_or_default();
        if name.ends_with("_total") {
            return place(name, Part::Whole, Metadata { kind: MetricType::Counter, ..known });
        }
        if let Some((base, part)) = self.triple(name) {
            let known = (self.metadata)(base).unwrap_or_default();
            return place(base, part, Metadata { kind: MetricType::Histogram, ..known });
        }
        let kind = match self.options.untyped {
            Untyped::Gauge => MetricType::Gauge,
            Untyped::Unknown => MetricType::Unknown,
        };
        place(name, Part::Whole, Metadata { kind, ..known })
    }

    /// The name without the suffix, when that is a family of one of these types.
    fn base<'n>(&self, name: &'n str, suffix: &str, kinds: &[MetricType]) -> Option<(&'n str, Metadata)> {
        let base = without(name, suffix)?;
        (self.metadata)(base)
            .filter(|metadata| kinds.contains(&metadata.kind))
            .map(|metadata| (base, metadata))
    }

    /// Whose beginning the series tell.
    fn created(&self, name: &str) -> Option<Place> {
        const BEGIN: [MetricType; 3] = [MetricType::Counter, MetricType::Histogram, MetricType::Summary];
        let base = without(name, "_created")?;
        let total = format!("{base}_total");
        let of_base = self.base(name, "_created", &BEGIN).map(|(_, metadata)| metadata);
        let of_total = || (self.metadata)(&total).filter(|metadata| metadata.kind == MetricType::Counter);
        let metadata = of_base.or_else(of_total)?;
        let is_total = metadata.kind == MetricType::Counter && self.names.contains(total.as_str());
        let family = if is_total { total } else { base.to_owned() };
        Some(Place { family, part: Part::Created, metadata })
    }

    /// The base of three names of which this is one, that only a histogram has, when nothing else is known of it.
    fn triple<'n>(&self, name: &'n str) -> Option<(&'n str, Part)> {
        const THREE: [(&str, Part); 3] =
            [("_bucket", Part::Bucket), ("_sum", Part::Sum), ("_count", Part::Count)];
        THREE.into_iter().find_map(|(suffix, part)| {
            let base = without(name, suffix)?;
            let is_known = (self.metadata)(base).is_some_and(|known| known.kind != MetricType::Unknown);
            let has_all = || THREE.iter().all(|(s, _)| self.names.contains(format!("{base}{s}").as_str()));
            (!is_known && has_all()).then_some((base, part))
        })
    }
}

/// The name without the suffix, when that leaves a name.
fn without<'n>(name: &'n str, suffix: &str) -> Option<&'n str> {
    name.strip_suffix(suffix).filter(|base| !base.is_empty())
}
