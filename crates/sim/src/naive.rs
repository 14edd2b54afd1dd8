//! The store as its rules read: nested maps, no disk, no cleverness. What a real store answers must be what this one
//! answers.
//!
//! The rules (design of the store): a series is its canonical labels within a tenant; the last write of a timestamp
//! wins, except that a stale marker never replaces a value; everything from the tenant's retention up to its
//! allowance ahead of the wall clock is taken, in any order; a new series over the quota is refused, existing ones go
//! on. Judging a batch is separate from storing it, because the ledger needs the judgement alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::lines::Line;

use model::batch::Exemplar;
use model::{
    Batch, Counts, Histogram, Labels, Matcher, Metadata, Reason, STALE_NAN_BITS, Signal, TenantId,
    TenantLimits, TimeRange,
};

/// A value at a time: what a float or a histogram sample says.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// The value.
    pub value: Value,
    /// When the counter began, in ms; 0 = not known.
    pub start_ms: i64,
}

/// A sample's value, equal only bit for bit.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// The bits of a float.
    Float(u64),
    /// A native histogram.
    Histogram(Arc<Histogram>),
}

impl Point {
    /// Whether it marks the end of the series.
    pub fn is_stale(&self) -> bool {
        match &self.value {
            Value::Float(bits) => *bits == STALE_NAN_BITS,
            Value::Histogram(histogram) => histogram.is_stale(),
        }
    }

    /// Whether it takes the place of `old` when both were written for one timestamp, `old` first.
    pub fn replaces(&self, old: Option<&Point>) -> bool {
        !self.is_stale() || old.is_none_or(Point::is_stale)
    }
}

/// One accepted sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Accepted {
    /// Its series.
    pub labels: Labels,
    /// Milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
    /// What it says.
    pub point: Point,
}

/// What a store must take from a batch, and what it must refuse and why.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Judgement {
    /// Samples in order of their sequence.
    pub samples: Vec<Accepted>,
    /// Exemplars of accepted series.
    pub exemplars: Vec<(Labels, Exemplar)>,
    /// Metadata by family.
    pub metadata: Vec<(String, Metadata)>,
    /// Log lines, their streams' labels in canonical order.
    pub lines: Vec<Line>,
    /// Refused things by kind and reason, the decoder's among them.
    pub refused: BTreeMap<(Signal, Reason), u64>,
}

impl Judgement {
    /// Judges a batch by the rules that need no memory: labels and the time window.
    pub fn new(limits: &TenantLimits, now_ms: i64, batch: &Batch<'_>) -> Self {
        let mut judgement = Self::default();
        for (signal, reason, count) in batch.rejections.by_reason() {
            *judgement.refused.entry((signal, reason)).or_default() += count;
        }
        for (index, row) in batch.series.iter().enumerate() {
            let labels = batch
                .with_labels(index, |pairs| Labels::canonical(pairs, &limits.labels))
                .map_err(|error| Reason::from(&error));
            let floats = batch.samples[row.samples.clone()].iter().map(|sample| {
                let value = Value::Float(sample.value.to_bits());
                (Signal::Sample, sample.timestamp_ms, Point { value, start_ms: sample.start_ms })
            });
            let histograms = batch.histograms[row.histograms.clone()].iter().map(|sample| {
                let value = Value::Histogram(Arc::clone(&sample.histogram));
                (Signal::Histogram, sample.timestamp_ms, Point { value, start_ms: sample.start_ms })
            });
            for (signal, timestamp_ms, point) in floats.chain(histograms) {
                let window = check_window(limits, now_ms, timestamp_ms);
                match labels.clone().and_then(|labels| window.map(|()| labels)) {
                    Ok(labels) => judgement.samples.push(Accepted { labels, timestamp_ms, point }),
                    Err(reason) => judgement.refuse(signal, reason),
                }
            }
            for exemplar in &batch.exemplars[row.exemplars.clone()] {
                let window = check_window(limits, now_ms, exemplar.timestamp_ms);
                match labels.clone().and_then(|labels| window.map(|()| labels)) {
                    Ok(labels) => judgement.exemplars.push((labels, exemplar.clone())),
                    Err(reason) => judgement.refuse(Signal::Exemplar, reason),
                }
            }
        }
        for row in &batch.logs {
            let mut pairs: Vec<_> =
                batch.pairs[row.stream.clone()].iter().map(|(n, v)| (n.as_ref(), v.as_ref())).collect();
            let stream = Labels::of_stream(&mut pairs, &limits.labels).map_err(|error| Reason::from(&error));
            let window = check_window(limits, now_ms, row.timestamp_ns.div_euclid(1_000_000));
            match window.and(stream) {
                Ok(stream) => judgement.lines.push(Line {
                    stream: stream.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect(),
                    fields: batch.pairs[row.fields.clone()]
                        .iter()
                        .map(|(n, v)| (n.to_string(), v.to_string()))
                        .collect(),
                    timestamp_ns: row.timestamp_ns,
                    text: row.line.to_string(),
                }),
                Err(reason) => judgement.refuse(Signal::LogLine, reason),
            }
        }
        let metadata = batch.metadata.iter().map(|row| (row.family.to_string(), row.metadata.clone()));
        judgement.metadata.extend(metadata);
        judgement
    }

    fn refuse(&mut self, signal: Signal, reason: Reason) {
        *self.refused.entry((signal, reason)).or_default() += 1;
    }

    /// Refused things by kind.
    pub fn refused_counts(&self) -> Counts {
        let mut counts = Counts::default();
        for ((signal, _), count) in &self.refused {
            *counts.get_mut(*signal) += count;
        }
        counts
    }
}

fn check_window(limits: &TenantLimits, now_ms: i64, timestamp_ms: i64) -> Result<(), Reason> {
    if timestamp_ms > now_ms.saturating_add(limits.future_ms) {
        return Err(Reason::TooFarAhead);
    }
    if limits.retention_ms > 0 && timestamp_ms < now_ms.saturating_sub(limits.retention_ms) {
        return Err(Reason::TooOld);
    }
    Ok(())
}

/// Series with their points by time.
pub type Answer = BTreeMap<Labels, BTreeMap<i64, Point>>;

#[derive(Clone, Debug, Default)]
struct Tenant {
    series: Answer,
    active: BTreeSet<Labels>,
    metadata: BTreeMap<String, Metadata>,
}

/// The reference store.
#[derive(Clone, Debug, Default)]
pub struct NaiveStore {
    tenants: BTreeMap<TenantId, Tenant>,
}

impl NaiveStore {
    /// Takes a batch and says what a store must say about it.
    pub fn append(
        &mut self,
        tenant: TenantId,
        limits: &TenantLimits,
        now_ms: i64,
        batch: &Batch<'_>,
    ) -> Judgement {
        let tenant = self.tenants.entry(tenant).or_default();
        let mut judgement = Judgement::new(limits, now_ms, batch);
        let mut over = Vec::new();
        judgement.samples.retain(|sample| {
            let fits = tenant.admit(limits, &sample.labels);
            if !fits {
                over.push(match sample.point.value {
                    Value::Float(_) => Signal::Sample,
                    Value::Histogram(_) => Signal::Histogram,
                });
            }
            fits
        });
        judgement.exemplars.retain(|(labels, _)| {
            let fits = tenant.active.contains(labels);
            if !fits {
                over.push(Signal::Exemplar);
            }
            fits
        });
        for signal in over {
            judgement.refuse(signal, Reason::SeriesQuota);
        }
        for sample in &judgement.samples {
            let points = tenant.series.entry(sample.labels.clone()).or_default();
            if sample.point.replaces(points.get(&sample.timestamp_ms)) {
                points.insert(sample.timestamp_ms, sample.point.clone());
            }
        }
        tenant.metadata.extend(judgement.metadata.iter().cloned());
        judgement
    }

    /// Series of a tenant that satisfy all matchers, with their points in the range; series without any are left out.
    pub fn select(&self, tenant: TenantId, matchers: &[Matcher], range: TimeRange) -> Answer {
        let mut answer = Answer::new();
        for (labels, points) in self.tenants.get(&tenant).iter().flat_map(|tenant| &tenant.series) {
            let matching = matchers.iter().all(|m| m.matches(labels.get(&m.name).unwrap_or("")));
            if matching && range.start_ms <= range.end_ms {
                let points: BTreeMap<_, _> = points
                    .range(range.start_ms..=range.end_ms)
                    .map(|(ms, point)| (*ms, point.clone()))
                    .collect();
                if !points.is_empty() {
                    answer.insert(labels.clone(), points);
                }
            }
        }
        answer
    }

    /// Metadata of a tenant's families, sorted by name.
    pub fn metadata(&self, tenant: TenantId) -> Vec<(String, Metadata)> {
        let tenant = self.tenants.get(&tenant);
        tenant.iter().flat_map(|t| &t.metadata).map(|(family, m)| (family.clone(), m.clone())).collect()
    }

    /// Series of a tenant that count against its quota.
    pub fn active_series(&self, tenant: TenantId) -> u64 {
        self.tenants.get(&tenant).map_or(0, |tenant| tenant.active.len() as u64)
    }

    /// All series left the head: none counts against a quota any longer.
    pub fn evict_all(&mut self) {
        for tenant in self.tenants.values_mut() {
            tenant.active.clear();
        }
    }

    /// Samples in the range of series that satisfy all matchers are gone.
    pub fn delete(&mut self, tenant: TenantId, matchers: &[Matcher], range: TimeRange) {
        for (labels, points) in self.tenants.get_mut(&tenant).iter_mut().flat_map(|tenant| &mut tenant.series)
        {
            if matchers.iter().all(|m| m.matches(labels.get(&m.name).unwrap_or(""))) {
                points.retain(|ms, _| !range.contains(*ms));
            }
        }
    }

    /// Everything before `floor_ms` is gone.
    pub fn expire(&mut self, tenant: TenantId, floor_ms: i64) {
        if let Some(tenant) = self.tenants.get_mut(&tenant) {
            for points in tenant.series.values_mut() {
                *points = points.split_off(&floor_ms);
            }
        }
    }
}

impl Tenant {
    fn admit(&mut self, limits: &TenantLimits, labels: &Labels) -> bool {
        if self.active.contains(labels) {
            return true;
        }
        let fits = (self.active.len() as u64) < limits.active_series;
        if fits {
            self.active.insert(labels.clone());
        }
        fits
    }
}
