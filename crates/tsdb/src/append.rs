//! From a batch to a queued append: find the series, apply the tenant's limits, refuse by name.
//!
//! Most series of a request were there a scrape ago: their label bytes lead to a slot without being decoded. The rest
//! take the slow path, all of a request together, so that each lock is taken once.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use model::batch::{HistogramSample, SeriesRow};
use model::histogram::ResetHint;
use model::{
    Batch, Counts, Histogram, Labels, Reason, Rejections, Sample, SeriesId, Signal, Temporality, TenantId,
    TenantLimits, TimeRange,
};

use crate::head::alias::{ALIASES_MAX, Key};
use crate::head::side::{HISTOGRAM_BYTES_MAX, exemplar_bytes, histogram_bytes};
use crate::head::table::series_id;
use crate::logs;
use crate::queue::Queued;
use crate::record::{Row, SideRow};
use crate::refused::Refused;
use crate::store::{Inner, Store};
use crate::ticket::{self, Committed, Ticket};
use crate::totals::{Delta, Deltas};

/// Who writes, under which limits, when.
#[derive(Clone, Copy, Debug)]
pub struct WriteContext<'a> {
    /// The tenant.
    pub tenant: TenantId,
    /// Its limits.
    pub limits: &'a TenantLimits,
    /// Changes with the tenant's limits or relabelling; cached label lists of other epochs are not believed.
    pub epoch: u32,
    /// Wall clock.
    pub now_ms: i64,
    /// Of the request's bytes, when it may carry deltas: an identical one of the last 20 minutes adds nothing.
    pub digest: Option<u128>,
}

/// What an append took and refused; true once its [`Ticket`] completes well.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Appended {
    /// Taken, by kind.
    pub accepted: Counts,
    /// Refused by the store, the decoder's rejections included.
    pub rejected: Rejections,
    /// Numbers of the batch's items of which the store refused something, for [`model::batch::Items::refuse_all`].
    pub refused_items: Vec<u32>,
}

impl Appended {
    /// What became of it, now that it is durable.
    pub fn settled(mut self, committed: Committed) -> Self {
        for (signal, _, count) in committed.rejected.by_reason() {
            *self.accepted.get_mut(signal) -= count;
        }
        self.rejected.merge(committed.rejected);
        self.refused_items.extend(committed.refused_items);
        self
    }
}

/// Why an append was not queued at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Occurs when more bytes wait for the writer than `queue_bytes`.
    #[error("write queue is full")]
    QueueFull,
    /// Occurs when head, caches and queues are at `memory_bytes`. New series are refused by name well before.
    #[error("memory limit is reached")]
    Memory,
    /// Occurs when the disk has less free space than the reserve, or the last write to it failed.
    #[error("{0}")]
    Disk(String),
    /// Occurs when log lines came and `log_bytes` of them are held already.
    #[error("as many log lines are held as may be (storage.log_bytes)")]
    LogsFull,
    /// Occurs when log lines came and the last ones could not be written; samples may go on.
    #[error("the last write of log lines failed")]
    LogsFailing,
    /// Occurs when the store is closed.
    #[error("store is closing")]
    Closing,
    /// Occurs when the tenant was deleted while the request was under way.
    #[error("the tenant was deleted")]
    Deleted,
}

/// Marks a series that was refused.
const REFUSED: u32 = u32::MAX;

/// Marks a series that was not made because nothing that it brings lies in the time window: its rows are refused one
/// by one, and it takes no place in head, quota and series lists.
const NOT_MADE: u32 = u32::MAX - 1;

/// Longest exemplar label set, in characters (OpenMetrics 1.0).
const EXEMPLAR_CHARACTERS_MAX: usize = 128;

/// Bytes of a family's name, unit and help together.
const METADATA_BYTES_MAX: usize = 32 << 10;

impl Store {
    /// Resolves a batch's series, applies the tenant's limits, queues what is accepted. Never blocks on the disk.
    pub fn append(
        &self,
        context: &WriteContext<'_>,
        batch: &Batch<'_>,
    ) -> Result<(Ticket, Appended), AppendError> {
        let inner = &*self.inner;
        inner.refuse_append(batch)?;
        // Held until the append is queued: no series that it resolved leaves the head before the writer saw it.
        let deleted = inner.resolving.read().expect("lock");
        if deleted.contains(&context.tenant) {
            return Err(AppendError::Deleted);
        }
        let mut refused = Refused::of(batch);
        refused.rejections = batch.rejections.clone();
        let slots = inner.resolve(context, batch, &mut refused);
        let mut intake = Intake::new(context, batch, refused);
        for (index, slot) in slots.into_iter().enumerate() {
            intake.take_series(index, slot);
        }
        let metadata = intake.take_metadata(inner);
        let lines = logs::take(context, batch, &mut intake.refused);
        intake.accepted.log_lines = lines.count;
        let Intake { rows, sides, mut deltas, accepted, refused, .. } = intake;
        let appended = Appended { accepted, rejected: refused.rejections, refused_items: refused.items };
        let is_nothing = rows.is_empty() && sides.is_empty() && metadata.is_empty() && lines.is_empty();
        if is_nothing && deltas.is_empty() {
            return Ok((Ticket::done(), appended));
        }
        let (ticket, completion) = ticket::pair();
        deltas.sort();
        let digest = context.digest.filter(|_| !deltas.is_empty());
        let bytes = queued_bytes(&rows, &sides, &metadata) + lines.bytes() + deltas.bytes();
        let since = inner.env.clock.monotonic();
        inner.metadata_waiting.fetch_add(u64::from(!metadata.is_empty()), Ordering::Relaxed);
        inner.queue.push(Queued {
            tenant: context.tenant,
            origin: batch.origin.clone(),
            passes: false,
            rows,
            sides,
            metadata,
            lines,
            deltas,
            totals: Vec::new(),
            digest,
            late: Refused::of(batch),
            repeats: false,
            completion,
            bytes,
            since,
        });
        Ok((ticket, appended))
    }
}

impl Inner {
    fn refuse_append(&self, batch: &Batch<'_>) -> Result<(), AppendError> {
        let has_lines = !batch.logs.is_empty();
        let has_metrics = !has_lines || !batch.series.is_empty() || !batch.metadata.is_empty();
        if self.queue.is_closed() {
            return Err(AppendError::Closing);
        }
        if has_metrics && self.health.wal_failing.load(Ordering::Relaxed) {
            return Err(AppendError::Disk("the last write to the write-ahead log failed".into()));
        }
        if has_lines && self.held.failing.load(Ordering::Relaxed) {
            return Err(AppendError::LogsFailing);
        }
        if has_lines && self.held.bytes() >= self.options.log_bytes {
            return Err(AppendError::LogsFull);
        }
        if self.health.disk_low.load(Ordering::Relaxed) {
            return Err(AppendError::Disk("free disk space is below the reserve".into()));
        }
        if self.health.memory_full.load(Ordering::Relaxed) {
            return Err(AppendError::Memory);
        }
        if self.queue.refuses(self.options.queue_bytes, self.env.clock.monotonic()) {
            return Err(AppendError::QueueFull);
        }
        Ok(())
    }

    /// The slot of each series of the batch, or [`REFUSED`] with the reason in `refused`.
    fn resolve(&self, context: &WriteContext<'_>, batch: &Batch<'_>, refused: &mut Refused) -> Vec<u32> {
        self.forget_old_aliases(context);
        let mut slots = Vec::with_capacity(batch.series.len());
        let mut misses: Vec<usize> = Vec::new();
        let key = |series: &SeriesRow<'_>| Key::new(series.key, context.tenant, context.epoch);
        {
            let table = self.table.read().expect("lock");
            for (index, series) in batch.series.iter().enumerate() {
                slots.push(table.find_alias(key(series)).unwrap_or_else(|| {
                    misses.push(index);
                    REFUSED
                }));
            }
        }
        if misses.is_empty() {
            return slots;
        }
        let found = self.resolve_slowly(context, batch, &misses, refused);
        let room = self.series_room(misses.len());
        let mut table = self.table_mut();
        // Further aliases save work, no more: short memory is not for them.
        let aliases_max = if room.is_short(&table) { 1 } else { ALIASES_MAX };
        for (index, slot) in misses.into_iter().zip(found) {
            slots[index] = slot;
            if slot < NOT_MADE {
                table.add_alias(key(&batch.series[index]), slot, aliases_max);
            }
        }
        slots
    }

    /// Aliases made under other limits of this tenant lead nowhere (the epoch is in the key); here they give their
    /// memory and their series' alias slots back.
    fn forget_old_aliases(&self, context: &WriteContext<'_>) {
        let table = self.table.read().expect("lock");
        if table.tenant(context.tenant).is_none_or(|tenant| tenant.epoch == context.epoch) {
            return;
        }
        drop(table);
        self.table_mut().forget_aliases(context.tenant, context.epoch);
    }

    fn resolve_slowly(
        &self,
        context: &WriteContext<'_>,
        batch: &Batch<'_>,
        misses: &[usize],
        refused: &mut Refused,
    ) -> Vec<u32> {
        let id_seed = self.id_seed;
        let mut parsed: Vec<Option<(SeriesId, Labels)>> = Vec::with_capacity(misses.len());
        for &index in misses {
            let labels = batch.with_labels(index, |pairs| Labels::canonical(pairs, &context.limits.labels));
            parsed.push(match labels {
                Ok(labels) => Some((series_id(id_seed, context.tenant, labels.as_ref()), labels)),
                Err(error) => {
                    reject_series(&batch.series[index], Reason::from(&error), refused);
                    refused.explain(|| error.to_string());
                    None
                }
            });
        }
        let mut slots: Vec<u32> = {
            let table = self.table.read().expect("lock");
            let find = |p: &Option<(SeriesId, Labels)>| p.as_ref().and_then(|(id, _)| table.find(*id));
            parsed.iter().map(|p| find(p).unwrap_or(REFUSED)).collect()
        };
        if slots.iter().zip(&parsed).any(|(slot, p)| *slot == REFUSED && p.is_some()) {
            self.create(context, batch, misses, parsed, &mut slots, refused);
        }
        slots
    }

    /// Makes the series that are parsed but have no slot yet.
    fn create(
        &self,
        context: &WriteContext<'_>,
        batch: &Batch<'_>,
        misses: &[usize],
        parsed: Vec<Option<(SeriesId, Labels)>>,
        slots: &mut [u32],
        refused: &mut Refused,
    ) {
        let now_s = self.now_s();
        let window = window(context);
        let room = self.series_room(misses.len());
        let mut table = self.table_mut();
        let mut active = table.tenant(context.tenant).map_or(0, |tenant| tenant.index.len());
        for ((slot, parsed), &index) in slots.iter_mut().zip(parsed).zip(misses) {
            let Some((id, labels)) = parsed.filter(|_| *slot == REFUSED) else { continue };
            // Another request, or this one, may have made it meanwhile.
            if let Some(found) = table.find(id) {
                *slot = found;
            } else if !brings_something(batch, index, window) {
                *slot = NOT_MADE;
            } else if active >= context.limits.active_series {
                reject_series(&batch.series[index], Reason::SeriesQuota, refused);
                refused.explain(|| {
                    let name = model::labels::truncated(labels.metric_name().unwrap_or_default());
                    let limit = context.limits.active_series;
                    format!("new series of {name:?} refused: the tenant has {limit} active series (limits.active_series)")
                });
            } else if room.refuses(&table, context.tenant) {
                reject_series(&batch.series[index], Reason::Memory, refused);
                refused.explain(|| {
                    let name = model::labels::truncated(labels.metric_name().unwrap_or_default());
                    let held = table.holding(context.tenant).bytes;
                    format!("new series of {name:?} refused: memory is short, the tenant's series hold {held} bytes of it (storage.memory_bytes)")
                });
            } else {
                *slot = table.insert(context.tenant, id, labels.as_ref(), now_s);
                active += 1;
            }
        }
        if let Some(tenant) = table.tenant_mut(context.tenant) {
            tenant.epoch = context.epoch;
        }
    }
}

/// Bytes that an append takes while it waits, estimated.
fn queued_bytes(rows: &[Row], sides: &[SideRow], metadata: &[(String, model::Metadata)]) -> u64 {
    let side = |side: &SideRow| match side {
        SideRow::Histogram(_, sample) | SideRow::Total(_, sample) => 64 + histogram_bytes(sample),
        SideRow::Exemplar(_, exemplar) => 64 + exemplar_bytes(exemplar),
        SideRow::Start { .. } => 64,
    };
    let family =
        |(name, m): &(String, model::Metadata)| (128 + name.len() + m.unit.len() + m.help.len()) as u64;
    size_of_val(rows) as u64 + sides.iter().map(side).sum::<u64>() + metadata.iter().map(family).sum::<u64>()
}

/// Counts everything that a series carries as refused.
fn reject_series(series: &SeriesRow<'_>, reason: Reason, refused: &mut Refused) {
    refused.add(Signal::Sample, reason, series.samples.len() as u64, series.item);
    refused.add(Signal::Histogram, reason, series.histograms.len() as u64, series.item);
    refused.add(Signal::Exemplar, reason, series.exemplars.len() as u64, series.item);
}

/// The times that the tenant may write now.
pub(crate) fn window(context: &WriteContext<'_>) -> TimeRange {
    let limits = context.limits;
    let start_ms = match limits.retention_ms {
        0 => i64::MIN,
        retention => context.now_ms.saturating_sub(retention),
    };
    TimeRange { start_ms, end_ms: context.now_ms.saturating_add(limits.future_ms) }
}

/// Whether anything that a series carries lies in the window.
fn brings_something(batch: &Batch<'_>, index: usize, window: TimeRange) -> bool {
    let series = &batch.series[index];
    let samples = batch.samples[series.samples.clone()].iter().map(|sample| sample.timestamp_ms);
    let histograms = batch.histograms[series.histograms.clone()].iter().map(|sample| sample.timestamp_ms);
    let exemplars = batch.exemplars[series.exemplars.clone()].iter().map(|exemplar| exemplar.timestamp_ms);
    samples.chain(histograms).chain(exemplars).any(|timestamp_ms| window.contains(timestamp_ms))
}

/// Collects what of a batch is taken.
struct Intake<'c, 'b, 'a> {
    context: &'c WriteContext<'c>,
    batch: &'b Batch<'a>,
    window: TimeRange,
    rows: Vec<Row>,
    sides: Vec<SideRow>,
    deltas: Deltas,
    accepted: Counts,
    refused: Refused,
}

impl<'c, 'b, 'a> Intake<'c, 'b, 'a> {
    fn new(context: &'c WriteContext<'c>, batch: &'b Batch<'a>, refused: Refused) -> Self {
        let window = window(context);
        let rows = Vec::with_capacity(batch.samples.len());
        let (sides, deltas, accepted) = (Vec::new(), Deltas::default(), Counts::default());
        Self { context, batch, window, rows, sides, deltas, accepted, refused }
    }

    fn take_series(&mut self, index: usize, slot: u32) {
        if slot == REFUSED {
            return;
        }
        let series = &self.batch.series[index];
        for sample in &self.batch.samples[series.samples.clone()] {
            if !self.window.contains(sample.timestamp_ms) {
                self.reject_time(Signal::Sample, index, sample.timestamp_ms);
                continue;
            }
            // A marker of an end says nothing of what was added.
            if series.temporality == Temporality::Delta && !model::is_stale(sample.value) {
                self.take_delta(index, slot, sample);
                continue;
            }
            if sample.start_ms != 0 {
                self.sides.push(SideRow::Start { row: self.rows.len(), start_ms: sample.start_ms });
            }
            self.rows.push(Row { slot, timestamp_ms: sample.timestamp_ms, value: sample.value });
            self.accepted.samples += 1;
        }
        for sample in &self.batch.histograms[series.histograms.clone()] {
            if histogram_bytes(sample) > HISTOGRAM_BYTES_MAX {
                self.refused.add(Signal::Histogram, Reason::InvalidHistogram, 1, series.item);
                self.refused.explain(|| format!("native histogram of more than {HISTOGRAM_BYTES_MAX} bytes"));
            } else if !self.window.contains(sample.timestamp_ms) {
                self.reject_time(Signal::Histogram, index, sample.timestamp_ms);
            } else if series.temporality == Temporality::Delta && !sample.histogram.is_stale() {
                self.take_histogram_delta(index, slot, sample);
            } else {
                self.sides.push(SideRow::Histogram(slot, sample.clone()));
                self.accepted.histograms += 1;
            }
        }
        self.take_exemplars(index, slot);
    }

    fn take_delta(&mut self, index: usize, slot: u32, sample: &Sample) {
        let (Sample { timestamp_ms, value, start_ms }, item) = (*sample, self.batch.series[index].item);
        if value.is_finite() {
            self.deltas.floats.push(Delta { slot, item, start_ms, timestamp_ms, value });
            self.accepted.samples += 1;
        } else {
            self.refused.add(Signal::Sample, Reason::InvalidValue, 1, item);
            let batch = self.batch;
            self.refused.explain(|| {
                format!("{value} cannot be added to the total of {:?}", metric_name(batch, index))
            });
        }
    }

    fn take_histogram_delta(&mut self, index: usize, slot: u32, sample: &HistogramSample) {
        let HistogramSample { timestamp_ms, start_ms, histogram } = sample.clone();
        let item = self.batch.series[index].item;
        if !histogram.is_finite() {
            self.refused.add(Signal::Histogram, Reason::InvalidValue, 1, item);
            let batch = self.batch;
            self.refused.explain(|| {
                let name = metric_name(batch, index);
                format!("a histogram that is not finite cannot be added to the total of {name:?}")
            });
            return;
        }
        // What is added up is a counter, and its resets are told by its start.
        let value = match histogram.reset_hint {
            ResetHint::Unknown => histogram,
            _ => Arc::new(Histogram { reset_hint: ResetHint::Unknown, ..(*histogram).clone() }),
        };
        self.deltas.histograms.push(Delta { slot, item, start_ms, timestamp_ms, value });
        self.accepted.histograms += 1;
    }

    fn take_exemplars(&mut self, index: usize, slot: u32) {
        for exemplar in &self.batch.exemplars[self.batch.series[index].exemplars.clone()] {
            let characters: usize =
                exemplar.labels.iter().map(|(n, v)| n.chars().count() + v.chars().count()).sum();
            if characters > EXEMPLAR_CHARACTERS_MAX {
                self.refused.add(Signal::Exemplar, Reason::InvalidExemplar, 1, self.batch.series[index].item);
                self.refused
                    .explain(|| format!("exemplar labels of {characters} characters, the limit is 128"));
            } else if self.window.contains(exemplar.timestamp_ms) {
                self.sides.push(SideRow::Exemplar(slot, exemplar.clone()));
                self.accepted.exemplars += 1;
            } else {
                self.reject_time(Signal::Exemplar, index, exemplar.timestamp_ms);
            }
        }
    }

    fn reject_time(&mut self, signal: Signal, index: usize, timestamp_ms: i64) {
        let reason = if timestamp_ms > self.window.end_ms { Reason::TooFarAhead } else { Reason::TooOld };
        self.refused.add(signal, reason, 1, self.batch.series[index].item);
        let (batch, context) = (self.batch, self.context);
        self.refused.explain(|| {
            let name = metric_name(batch, index);
            let kind = signal.as_str();
            if reason == Reason::TooOld {
                let days = context.limits.retention_ms / 86_400_000;
                format!("{kind} of {name:?} at {timestamp_ms} ms is older than the tenant's retention of {days} days")
            } else {
                let ahead = context.limits.future_ms / 1000;
                format!("{kind} of {name:?} at {timestamp_ms} ms is more than {ahead} s ahead of the clock")
            }
        });
    }

    /// Metadata that differs from what is stored; what does not differ is accepted without being written again.
    fn take_metadata(&mut self, inner: &Inner) -> Vec<(String, model::Metadata)> {
        if self.batch.metadata.is_empty() {
            return Vec::new();
        }
        let settled = inner.metadata_waiting.load(Ordering::Relaxed) == 0;
        let stored = inner.metadata.read().expect("lock");
        let tenant = self.context.tenant;
        let mut changed = Vec::new();
        // What waits in the queue is not counted: metadata may pass its bound by that.
        let mut growth = 0;
        for row in &self.batch.metadata {
            let bytes = row.family.len() + row.metadata.unit.len() + row.metadata.help.len();
            let full = stored.count(tenant) >= self.context.limits.active_series;
            let known = stored.get(tenant, &row.family);
            if row.family.is_empty() || bytes > METADATA_BYTES_MAX || (full && known.is_none()) {
                self.refused.add(Signal::Metadata, Reason::InvalidMetadata, 1, 0);
                self.refused
                    .explain(|| format!("metadata of {:?} refused", model::labels::truncated(&row.family)));
                continue;
            }
            let grows = stored.growth(tenant, &row.family, &row.metadata);
            if grows > 0 && stored.refuses(inner.options.memory_bytes, tenant, growth + grows) {
                self.refused.add(Signal::Metadata, Reason::Memory, 1, 0);
                self.refused.explain(|| {
                    let family = model::labels::truncated(&row.family);
                    format!("metadata of {family:?} refused: the tenant's part of the memory for metadata is used up (storage.memory_bytes)")
                });
                continue;
            }
            self.accepted.metadata += 1;
            if !settled || known.is_none_or(|stored| stored.in_doubt || stored.metadata != row.metadata) {
                growth += grows;
                changed.push((row.family.to_string(), row.metadata.clone()));
            }
        }
        changed
    }
}

fn metric_name(batch: &Batch<'_>, index: usize) -> String {
    let named = |pairs: &mut Vec<(&str, &str)>| {
        let name = pairs.iter().find(|(name, _)| *name == "__name__").map_or("", |(_, value)| value);
        Ok(model::labels::truncated(name))
    };
    batch.with_labels(index, named).unwrap_or_default()
}
