//! What metrics decode to: data points with the metric, scope and resource that they stand in. Labels are made of them by
//! [`super::labels`] when the store does not know a series' key yet.
//!
//! A key is a hash over what the labels depend on: job, instance and promoted attributes of the resource, promoted scope,
//! name, unit and type of the metric, the tenant's choices, the point's attributes as they lie on the wire, and which of the
//! point's series it is. Each part is hashed once: a resource and a scope for all of their metrics, a metric for its points.

use std::borrow::Cow;

use codec::hash::key128;
use model::LabelError;
use model::batch::{LabelSource, MakeLabels, Pair};

use super::labels;
use super::names::Kind;
use super::settings::{Promoted, Settings};
use super::value::{ATTRIBUTES_MAX, Attributes};
use crate::Malformed;

/// Keeps keys of these series apart from those of other dialects.
const KEY_DOMAIN: u64 = 0x6f74_6c70_206b_6579;

/// Bytes of a point's attributes and of its metric's name and unit that each of its series may have for nothing. They are
/// read once more for each, and a summary of many quantiles may have long attributes.
const FREE_BYTES: usize = 1 << 10;

/// What identifies a resource.
pub(super) const IDENTIFYING: [&str; 3] = ["service.namespace", "service.name", "service.instance.id"];

/// A resource, and what its series have of it.
#[derive(Debug)]
pub(super) struct Resource<'a> {
    pub(super) attributes: Attributes<'a>,
    /// `service.namespace`/`service.name`; empty = none.
    pub(super) job: String,
    /// `service.instance.id`; empty = none.
    pub(super) instance: String,
    /// Promoted attributes under their labels' names, sorted, each once.
    pub(super) promoted: Vec<(String, String)>,
    /// Whether it has an identity, and something to say beside it.
    pub(super) is_described: bool,
}

impl<'a> Resource<'a> {
    /// Reads what series need of a resource.
    pub(super) fn new(settings: &Settings, attributes: Attributes<'a>) -> Result<Self, Malformed> {
        let [mut namespace, mut name, mut instance] = [None, None, None];
        let (mut promoted, mut others, mut has_own) = (Vec::new(), false, false);
        attributes.each(|key, text| {
            let has_room = promoted.len() < ATTRIBUTES_MAX;
            if has_room && settings.promoted != Promoted::None && settings.promoted.has(&key) {
                promoted.push((key.clone().into_owned(), text.clone().into_owned()));
            }
            let text = text.into_owned();
            match key.as_ref() {
                "service.namespace" => namespace = Some(text),
                "service.name" => name = Some(text),
                "service.instance.id" => instance = Some(text),
                key => {
                    has_own |= matches!(key, "job" | "instance") && !text.is_empty();
                    others = true;
                }
            }
        })?;
        let job = match (namespace, name) {
            (Some(namespace), Some(name)) => format!("{namespace}/{name}"),
            (None, Some(name)) => name,
            (_, None) => String::new(),
        };
        let instance = instance.unwrap_or_default();
        let is_described = others && (!job.is_empty() || !instance.is_empty() || has_own);
        let promoted = labels::named(settings, promoted, |name| name);
        Ok(Self { attributes, job, instance, promoted, is_described })
    }
}

/// What made some metrics.
#[derive(Debug, Default)]
pub(super) struct Scope {
    /// Its labels, sorted, each once; none unless the tenant wants them. An empty one takes away a point's own.
    pub(super) labels: Vec<(String, String)>,
}

/// A metric.
#[derive(Debug)]
pub(super) struct Metric<'a> {
    pub(super) name: Cow<'a, str>,
    pub(super) unit: Cow<'a, str>,
    pub(super) kind: Kind,
    /// In [`Source::resources`].
    pub(super) resource: u32,
    /// In [`Source::scopes`].
    pub(super) scope: u32,
    /// Hash of all that the labels of its points have in common.
    pub(super) hash: [u8; 16],
}

/// A data point.
#[derive(Debug)]
pub(super) struct Point<'a> {
    /// In [`Source::metrics`].
    pub(super) metric: u32,
    pub(super) attributes: Attributes<'a>,
    /// Hash of `attributes`.
    pub(super) hash: [u8; 16],
}

/// Which of a data point's series one is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Part {
    /// Its only one.
    Value,
    /// `_count`
    Count,
    /// `_sum`
    Sum,
    /// `_bucket` with this bound.
    Bucket(f64),
    /// This quantile.
    Quantile(f64),
    /// None of a point's: the attributes of a resource.
    TargetInfo,
}

/// A request's series: the source of their labels.
#[derive(Debug)]
pub(super) struct Source<'a> {
    pub(super) settings: &'a Settings,
    pub(super) resources: Vec<Resource<'a>>,
    pub(super) scopes: Vec<Scope>,
    pub(super) metrics: Vec<Metric<'a>>,
    pub(super) points: Vec<Point<'a>>,
    /// By number: which point (or resource), and which part of it.
    series: Vec<(u32, Part)>,
    seed: u64,
    choices: [u8; 16],
    scratch: Vec<u8>,
    /// Hashes of the last resource and scope that had a metric: either may be large, and have very many.
    resource_hash: (usize, [u8; 16]),
    scope_hash: (usize, [u8; 16]),
}

/// The number of nothing.
const NONE: usize = usize::MAX;

impl<'a> Source<'a> {
    /// No series yet.
    pub(super) fn new(settings: &'a Settings, seed: u64, format: u8) -> Self {
        let seed = seed ^ KEY_DOMAIN;
        let choices = key128(seed, format!("{format} {settings:?}").as_bytes()).to_le_bytes();
        Self {
            settings,
            resources: Vec::new(),
            scopes: Vec::new(),
            metrics: Vec::new(),
            points: Vec::new(),
            series: Vec::new(),
            seed,
            choices,
            scratch: Vec::new(),
            resource_hash: (NONE, [0; 16]),
            scope_hash: (NONE, [0; 16]),
        }
    }

    /// Takes a metric of the last resource and scope.
    pub(super) fn push_metric(&mut self, name: Cow<'a, str>, unit: Cow<'a, str>, kind: Kind) {
        let (resource, scope) = (self.resources.len() - 1, self.scopes.len() - 1);
        if self.resource_hash.0 != resource {
            let Resource { job, instance, promoted, .. } = &self.resources[resource];
            let promoted = promoted.iter().flat_map(|(name, text)| [name.as_str(), text.as_str()]);
            put(&mut self.scratch, [job.as_str(), instance.as_str()].into_iter().chain(promoted));
            self.resource_hash = (resource, key128(self.seed, &self.scratch).to_le_bytes());
        }
        if self.scope_hash.0 != scope {
            let labels = &self.scopes[scope].labels;
            put(&mut self.scratch, labels.iter().flat_map(|(name, text)| [name.as_str(), text.as_str()]));
            self.scope_hash = (scope, key128(self.seed, &self.scratch).to_le_bytes());
        }
        put(&mut self.scratch, [&*name, &*unit].into_iter());
        for hash in [&self.choices, &self.resource_hash.1, &self.scope_hash.1] {
            self.scratch.extend_from_slice(hash);
        }
        self.scratch.push(kind as u8);
        let hash = key128(self.seed, &self.scratch).to_le_bytes();
        let (resource, scope) = (number(resource), number(scope));
        self.metrics.push(Metric { name, unit, kind, resource, scope, hash });
    }

    /// Takes a data point of the last metric.
    #[inline]
    pub(super) fn push_point(&mut self, attributes: Attributes<'a>) {
        let hash = key128(self.seed, attributes.bytes()).to_le_bytes();
        self.points.push(Point { metric: number(self.metrics.len() - 1), attributes, hash });
    }

    /// Bytes that each series of the last point is to be charged, because they are read for each.
    #[inline]
    pub(super) fn read_again(&self) -> usize {
        let Some(point) = self.points.last() else { return 0 };
        let metric = &self.metrics[point.metric as usize];
        let bytes = point.attributes.bytes().len() + metric.name.len() + metric.unit.len();
        bytes.saturating_sub(FREE_BYTES)
    }

    /// A series of the last point: where its labels come from, and its key.
    #[inline]
    pub(super) fn series(&mut self, part: Part) -> (LabelSource<'static>, u128) {
        let point = number(self.points.len() - 1);
        let Point { metric, hash, .. } = &self.points[point as usize];
        let (which, value) = match part {
            Part::Value => (0, 0.0),
            Part::Count => (1, 0.0),
            Part::Sum => (2, 0.0),
            Part::Bucket(bound) => (3, bound),
            Part::Quantile(quantile) => (4, quantile),
            Part::TargetInfo => unreachable!("it is of no point"),
        };
        let mut bytes = [0; 41];
        bytes[..16].copy_from_slice(&self.metrics[*metric as usize].hash);
        bytes[16..32].copy_from_slice(hash);
        bytes[32] = which;
        bytes[33..].copy_from_slice(&f64::to_bits(value).to_le_bytes());
        let key = key128(self.seed, &bytes);
        (self.push(point, part), key)
    }

    /// The series of the last resource's attributes.
    pub(super) fn target_info(&mut self) -> (LabelSource<'static>, u128) {
        let resource = self.resources.len() - 1;
        self.scratch.clear();
        self.scratch.extend_from_slice(&self.choices);
        self.scratch.extend_from_slice(b"target_info");
        self.scratch.extend_from_slice(self.resources[resource].attributes.bytes());
        let key = key128(self.seed, &self.scratch);
        (self.push(number(resource), Part::TargetInfo), key)
    }

    #[inline]
    fn push(&mut self, owner: u32, part: Part) -> LabelSource<'static> {
        self.series.push((owner, part));
        LabelSource::Made(number(self.series.len() - 1))
    }
}

/// Writes texts so that no others look alike, over what was there.
fn put<'t>(bytes: &mut Vec<u8>, texts: impl Iterator<Item = &'t str>) {
    bytes.clear();
    for text in texts {
        bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
        bytes.extend_from_slice(text.as_bytes());
    }
}

/// A body has less than 2^32 of anything.
#[inline]
fn number(index: usize) -> u32 {
    u32::try_from(index).expect("a body has less than 2^32 of anything")
}

impl MakeLabels for Source<'_> {
    fn make<'b>(&'b self, number: u32, pairs: &mut Vec<Pair<'b>>) -> Result<(), LabelError> {
        let (owner, part) = self.series[number as usize];
        match part {
            Part::TargetInfo => labels::of_resource(self, &self.resources[owner as usize], pairs),
            part => labels::of_point(self, &self.points[owner as usize], part, pairs),
        }
    }
}
