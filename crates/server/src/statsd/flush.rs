//! From closed windows to the store: one thread for all tenants.
//!
//! What the store does not take now (it is opening, its queue is full, the disk is) waits for the next time, up to a bound;
//! what is beyond that is lost, and counted.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use admission::Tenant;
use aggregation::{Closed, Role, RowValue, WINDOW_MS};
use codec::hash::key128;
use model::batch::{HistogramSample, LabelSource, MetadataRow, SeriesRow};
use model::histogram::{BucketCounts, Histogram};
use model::{Batch, LabelError, Labels, LabelsRef, LogRow, Metadata, MetricType, Sample, Temporality};
use tsdb::{AppendError, Store, WriteContext};

use super::happened::{Happened, LogLine};
use super::intake::{Intake, Taken, WAITING_BYTES_MAX};
use super::queue::{Queue, Weigh};
use crate::app::App;
use crate::tally::Tally;

/// How often events and checks are written, and what waited is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// Rows that go to the store at once.
const BATCH_ROWS: usize = 10_000;

/// Log lines that go to the store at once.
const BATCH_LINES: usize = 1000;

/// Bytes of log lines of one tenant that wait for the store; the rest of what may wait is for rows.
const WAITING_LINES_BYTES_MAX: usize = WAITING_BYTES_MAX / 4;

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
    /// Bytes of labels that the windows do not hold.
    label_bytes: usize,
}

impl Weigh for Row {
    fn bytes(&self) -> usize {
        let histogram = match &self.value {
            RowValue::Float(_) => 0,
            RowValue::Histogram(histogram) => histogram_bytes(histogram),
        };
        size_of::<Self>() + self.label_bytes + histogram
    }
}

fn histogram_bytes(histogram: &Histogram) -> usize {
    let buckets = match &histogram.counts {
        BucketCounts::Integer { positive, negative, .. } => positive.len() + negative.len(),
        BucketCounts::Float { positive, negative, .. } => positive.len() + negative.len(),
    };
    let spans =
        size_of_val(histogram.positive_spans.as_slice()) + size_of_val(histogram.negative_spans.as_slice());
    size_of::<Histogram>() + buckets * size_of::<f64>() + spans
}

/// What waits for the store.
#[derive(Default)]
struct Waiting {
    rows: Queue<Row>,
    lines: Queue<LogLine>,
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
            // Windows close while this waits for the disk.
            intake.set_waiting(waiting.bytes());
            waiting.write(app, tenant);
            lost(app, tenant, "waiting", waiting.shrink());
            intake.set_waiting(waiting.bytes());
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
        taken.closed.into_items().into_iter().for_each(|closed| self.take_closed(closed));
        if has_window {
            metrics.statsd_flush_seconds.observe(app.env.clock.monotonic().saturating_sub(began));
        }
        taken.happened.into_iter().for_each(|happened| self.take_happened(happened));
        lost(app, tenant, "behind", taken.lost);
    }

    fn bytes(&self) -> usize {
        self.rows.bytes() + self.lines.bytes()
    }

    /// Loses the oldest of what the store did not take, as far as there is too much of it; how many those were.
    fn shrink(&mut self) -> u64 {
        let lines = self.lines.shrink(WAITING_LINES_BYTES_MAX);
        lines + self.rows.shrink(WAITING_BYTES_MAX - WAITING_LINES_BYTES_MAX)
    }

    fn take_closed(&mut self, closed: Closed) {
        let (is_new, is_end) = (closed.is_new(), closed.is_end());
        let mut described: Option<Labels> = None;
        closed.rows(|row| {
            let labels = &row.output.labels;
            let is_first = is_new && described.as_ref() != Some(labels);
            if is_first {
                described = Some(labels.clone());
            }
            self.rows.push(Row {
                labels: labels.clone(),
                timestamp_ms: row.timestamp_ms,
                start_ms: row.start_ms,
                value: row.value,
                kind: is_first.then(|| metric_type(row.output.role)),
                label_bytes: if is_end { labels.as_canonical().len() } else { 0 },
            });
        });
    }

    fn take_happened(&mut self, happened: Happened) {
        if let Some(sample) = happened.sample {
            self.rows.push(Row {
                label_bytes: sample.labels.as_canonical().len(),
                labels: sample.labels,
                timestamp_ms: sample.timestamp_ms,
                start_ms: 0,
                value: RowValue::Float(f64::from(sample.status)),
                kind: None,
            });
        }
        happened.line.into_iter().for_each(|line| self.lines.push(line));
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
            if !append(app, store, tenant, self.rows.first(count), put_row) {
                return;
            }
            self.rows.skip(count);
        }
    }

    fn write_lines(&mut self, app: &App, store: &Store, tenant: &Tenant) {
        while !self.lines.is_empty() {
            let count = self.lines.len().min(BATCH_LINES);
            if !append(app, store, tenant, self.lines.first(count), put_line) {
                return;
            }
            self.lines.skip(count);
        }
    }

    fn lose(&mut self, app: &App, tenant: &str, reason: &str) {
        lost(app, tenant, reason, (self.rows.len() + self.lines.len()) as u64);
        *self = Self::default();
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
        item: 0,
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
    batch.logs.push(LogRow { stream, fields, timestamp_ns: line.timestamp_ns, line: text, item: 0 });
}

fn metric_type(role: Role) -> MetricType {
    match role {
        Role::Total => MetricType::Counter,
        Role::Native => MetricType::GaugeHistogram,
        _ => MetricType::Gauge,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wide native histograms, 8 KB each, that the store does not take.
    #[test]
    fn rows_that_wait_are_bounded_by_their_bytes() {
        let counts =
            BucketCounts::Integer { count: 0, zero: 0, positive: vec![0; 1024], negative: Vec::new() };
        let histogram = Histogram {
            schema: 0,
            zero_threshold: 0.0,
            sum: 0.0,
            reset_hint: model::histogram::ResetHint::Gauge,
            positive_spans: Vec::new(),
            negative_spans: Vec::new(),
            counts,
            custom_bounds: Vec::new(),
        };
        let mut waiting = Waiting::default();
        for timestamp_ms in 0..10_000 {
            waiting.rows.push(Row {
                labels: Labels::from_pairs([("__name__", "wide")]),
                timestamp_ms,
                start_ms: 0,
                value: RowValue::Histogram(Arc::new(histogram.clone())),
                kind: None,
                label_bytes: 0,
            });
        }
        let lost = waiting.shrink();
        assert!(waiting.bytes() <= WAITING_BYTES_MAX && waiting.rows.len() > 5000, "{}", waiting.rows.len());
        assert_eq!(
            (waiting.rows.first(1)[0].timestamp_ms, lost + waiting.rows.len() as u64),
            (lost as i64, 10_000)
        );
    }
}
