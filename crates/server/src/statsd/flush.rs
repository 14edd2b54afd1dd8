//! From closed windows to the store: one thread for all tenants.
//!
//! What the store does not take now (it is opening, its queue is full, the disk is) waits for the next time, up to a bound;
//! what is beyond that is lost, and counted.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use admission::Tenant;
use aggregation::{Closed, Role, RowValue, WINDOW_MS};
use codec::hash::key128;
use model::batch::{HistogramSample, LabelSource, MetadataRow, SeriesRow};
use model::{Batch, LabelError, Labels, LabelsRef, LogRow, Metadata, MetricType, Sample, Temporality};
use tsdb::{AppendError, Store, WriteContext};

use super::happened::{Happened, LogLine};
use super::intake::{Intake, Taken};
use crate::app::App;
use crate::tally::Tally;

/// How often events and checks are written, and what waited is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// Rows that go to the store at once.
const BATCH_ROWS: usize = 10_000;

/// Log lines that go to the store at once.
const BATCH_LINES: usize = 1000;

/// Rows of one tenant that wait for the store.
const WAITING_ROWS_MAX: usize = 1_000_000;

/// Log lines of one tenant that wait for the store.
const WAITING_LINES_MAX: usize = 20_000;

/// Keeps keys of these label lists apart from those of other dialects.
const KEY_DOMAIN: u64 = 0x7374_6174_7364_0000;

/// A sample on its way into the store.
struct Row {
    labels: Labels,
    timestamp_ms: i64,
    start_ms: i64,
    value: RowValue,
    /// The type of its metric, the first time.
    kind: Option<MetricType>,
}

/// What waits for the store.
#[derive(Default)]
struct Waiting {
    rows: VecDeque<Row>,
    lines: VecDeque<LogLine>,
}

/// Writes until `stopped`, then everything that is left.
pub(super) fn run(app: &App, intakes: &[Arc<Intake>], stopped: &Receiver<()>) {
    let mut waiting: Vec<Waiting> = intakes.iter().map(|_| Waiting::default()).collect();
    loop {
        let left = WINDOW_MS - app.env.clock.now_ms().rem_euclid(WINDOW_MS);
        let pause = PAUSE.min(Duration::from_millis(u64::try_from(left).unwrap_or(1)));
        let ends = !matches!(stopped.recv_timeout(pause), Err(RecvTimeoutError::Timeout));
        let now_ms = app.env.clock.now_ms();
        for (intake, waiting) in intakes.iter().zip(&mut waiting) {
            let taken = if ends { intake.collect_all(now_ms) } else { intake.collect(app, now_ms) };
            let tenant = intake.tenant.as_str();
            waiting.take(app, tenant, taken);
            waiting.write(app, tenant);
            if ends {
                waiting.lose(app, tenant, "stopped");
            }
        }
        if ends {
            return;
        }
    }
}

impl Waiting {
    fn take(&mut self, app: &App, tenant: &str, taken: Taken) {
        let metrics = &app.metrics;
        metrics.statsd_keys.of_tenant(tenant, &[]).set(taken.keys as f64);
        metrics.statsd_memory_bytes.of_tenant(tenant, &[]).set(taken.bytes as f64);
        let began = app.env.clock.monotonic();
        let has_window = !taken.closed.is_empty();
        taken.closed.into_iter().for_each(|closed| self.take_closed(closed));
        if has_window {
            metrics.statsd_flush_seconds.observe(app.env.clock.monotonic().saturating_sub(began));
        }
        taken.happened.into_iter().for_each(|happened| self.take_happened(happened));
        let over = self.rows.len().saturating_sub(WAITING_ROWS_MAX);
        self.rows.drain(..over);
        let over_lines = self.lines.len().saturating_sub(WAITING_LINES_MAX);
        self.lines.drain(..over_lines);
        lost(app, tenant, "waiting", over as u64 + over_lines as u64);
        lost(app, tenant, "behind", taken.lost);
    }

    fn take_closed(&mut self, closed: Closed) {
        let is_new = closed.is_new();
        let mut described: Option<Labels> = None;
        closed.rows(|row| {
            let labels = &row.output.labels;
            let is_first = is_new && described.as_ref() != Some(labels);
            if is_first {
                described = Some(labels.clone());
            }
            self.rows.push_back(Row {
                labels: labels.clone(),
                timestamp_ms: row.timestamp_ms,
                start_ms: row.start_ms,
                value: row.value,
                kind: is_first.then(|| metric_type(row.output.role)),
            });
        });
    }

    fn take_happened(&mut self, happened: Happened) {
        if let Some(sample) = happened.sample {
            self.rows.push_back(Row {
                labels: sample.labels,
                timestamp_ms: sample.timestamp_ms,
                start_ms: 0,
                value: RowValue::Float(f64::from(sample.status)),
                kind: None,
            });
        }
        self.lines.extend(happened.line);
    }

    /// Gives what waits to the store, as far as it takes it.
    fn write(&mut self, app: &App, tenant_name: &str) {
        if let Some(store) = app.store()
            && !(self.rows.is_empty() && self.lines.is_empty())
        {
            let authority = app.authority();
            match authority.tenant(tenant_name) {
                Some(tenant) => {
                    self.write_rows(app, store, tenant);
                    self.write_lines(app, store, tenant);
                }
                None => self.lose(app, tenant_name, "no_tenant"),
            }
        }
        let waits = self.rows.len() + self.lines.len();
        app.metrics.statsd_waiting.of_tenant(tenant_name, &[]).set(waits as f64);
    }

    fn write_rows(&mut self, app: &App, store: &Store, tenant: &Tenant) {
        while !self.rows.is_empty() {
            let count = self.rows.len().min(BATCH_ROWS);
            if !append(app, store, tenant, &self.rows.make_contiguous()[..count], put_row) {
                return;
            }
            self.rows.drain(..count);
        }
    }

    fn write_lines(&mut self, app: &App, store: &Store, tenant: &Tenant) {
        while !self.lines.is_empty() {
            let count = self.lines.len().min(BATCH_LINES);
            if !append(app, store, tenant, &self.lines.make_contiguous()[..count], put_line) {
                return;
            }
            self.lines.drain(..count);
        }
    }

    fn lose(&mut self, app: &App, tenant: &str, reason: &str) {
        lost(app, tenant, reason, (self.rows.len() + self.lines.len()) as u64);
        self.rows.clear();
        self.lines.clear();
    }
}

fn lost(app: &App, tenant: &str, reason: &str, count: u64) {
    if count > 0 {
        app.metrics.statsd_lost.of_tenant(tenant, &[reason]).add(count);
    }
}

/// Whether these need not be tried again: they are durable, or nobody wants them any more.
fn append<'a, T>(
    app: &App,
    store: &Store,
    tenant: &Tenant,
    items: &'a [T],
    put: impl Fn(&'a T, &mut Batch<'a>),
) -> bool {
    let mut batch = Batch::new(store.seed());
    items.iter().for_each(|item| put(item, &mut batch));
    let tally = Tally::of(tenant.name.as_str(), &batch);
    let context = WriteContext {
        tenant: tenant.id,
        limits: &tenant.limits,
        epoch: tenant.epoch,
        now_ms: app.env.clock.now_ms(),
        digest: None,
    };
    match store.append(&context, &batch) {
        Ok((ticket, appended)) => {
            let (samples, count) = (tally.samples(), tally.appended(&app.metrics, &appended));
            let committed = ticket.wait();
            match &committed {
                Ok(committed) => {
                    app.rates.charge(tenant.id, &tenant.limits, samples, app.env.clock.monotonic());
                    count(Some(committed));
                }
                Err(_) => app.metrics.statsd_flush_failures.add(1),
            }
            committed.is_ok()
        }
        Err(AppendError::Deleted | AppendError::Closing) => {
            tally.refused(&app.metrics);
            true
        }
        Err(_) => {
            app.metrics.statsd_flush_failures.add(1);
            false
        }
    }
}

fn put_row<'a>(row: &'a Row, batch: &mut Batch<'a>) {
    let (samples, histograms) = (batch.samples.len(), batch.histograms.len());
    match &row.value {
        RowValue::Float(value) => batch.samples.push(Sample {
            timestamp_ms: row.timestamp_ms,
            value: *value,
            start_ms: row.start_ms,
        }),
        RowValue::Histogram(histogram) => batch.histograms.push(HistogramSample {
            timestamp_ms: row.timestamp_ms,
            start_ms: row.start_ms,
            histogram: Arc::clone(histogram),
        }),
    }
    if let (Some(kind), Some(name)) = (row.kind, row.labels.metric_name()) {
        let metadata = Metadata { kind, ..Metadata::default() };
        batch.metadata.push(MetadataRow { family: Cow::Borrowed(name), metadata });
    }
    let bytes = row.labels.as_canonical().as_bytes();
    batch.series.push(SeriesRow {
        labels: LabelSource::Wire { bytes, parse },
        key: key128(batch.seed ^ KEY_DOMAIN, bytes),
        samples: samples..batch.samples.len(),
        histograms: histograms..batch.histograms.len(),
        exemplars: 0..0,
        temporality: Temporality::Cumulative,
    });
}

/// Labels in their canonical form.
fn parse<'a>(bytes: &'a [u8], pairs: &mut Vec<(&'a str, &'a str)>) -> Result<(), LabelError> {
    let text = std::str::from_utf8(bytes).map_err(|_| LabelError::NotUtf8)?;
    pairs.extend(LabelsRef::from_canonical(text).ok_or(LabelError::Undecodable)?.iter());
    Ok(())
}

fn put_line<'a>(line: &'a LogLine, batch: &mut Batch<'a>) {
    let mut put = |pairs: &'a [(String, String)]| {
        let start = batch.pairs.len();
        batch.pairs.extend(pairs.iter().map(|(n, v)| (Cow::Borrowed(n.as_str()), Cow::Borrowed(v.as_str()))));
        start..batch.pairs.len()
    };
    let (stream, fields) = (put(&line.stream), put(&line.fields));
    let text = Cow::Borrowed(line.line.as_str());
    batch.logs.push(LogRow { stream, fields, timestamp_ns: line.timestamp_ns, line: text });
}

fn metric_type(role: Role) -> MetricType {
    match role {
        Role::Total => MetricType::Counter,
        Role::Native => MetricType::GaugeHistogram,
        _ => MetricType::Gauge,
    }
}
