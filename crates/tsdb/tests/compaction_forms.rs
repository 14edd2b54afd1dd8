//! Everything that a series can hold, from the log through flushes, blocks of two hours and blocks of days, and through a
//! restart: bit for bit what a naive model holds.

#[path = "common/histograms.rs"]
mod histograms;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use env::Env;
use histograms::{histogram, stale};
use model::batch::{Exemplar, HistogramSample, LabelSource, SeriesRow, Temporality};
use model::histogram::Histogram;
use model::{
    Batch, Budget, Hints, MatchOp, Matcher, STALE_NAN_BITS, Sample, TenantId, TenantLimits, TimeRange,
};
use tsdb::{Keep, Options, Progress, Store, WriteContext};

const HOUR_MS: i64 = 3_600_000;
/// A little over a day, so that one is over.
const HOURS: i64 = 53;
const FIRST_MS: i64 = 1_699_920_000_000;
const TENANT: TenantId = TenantId(6);
const ALWAYS: TimeRange = TimeRange { start_ms: i64::MIN, end_ms: i64::MAX };
const SERIES: [&str; 7] =
    ["alternating", "counter", "custom", "custom_floats", "floats", "integers", "integers_and_floats"];

/// A sample: its start and its value.
#[derive(Clone, Debug)]
enum Value {
    Float(i64, f64),
    Histogram(i64, Arc<Histogram>),
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Float(start, a), Self::Float(other, b)) => (start, a.to_bits()) == (other, b.to_bits()),
            (Self::Histogram(start, a), Self::Histogram(other, b)) => (start, a) == (other, b),
            _ => false,
        }
    }
}

#[derive(Debug, Default, PartialEq)]
struct Model {
    samples: BTreeMap<(String, i64), Value>,
    exemplars: BTreeMap<(String, i64), Exemplar>,
}

/// What a series has at a minute.
fn value(series: usize, minute: i64) -> Value {
    let n = minute as u64 + 300;
    let start = if series.is_multiple_of(2) { FIRST_MS - 5000 + minute / 600 * 7 } else { 0 };
    let histogram_of = |kind: u64| Value::Histogram(start, histogram(kind, n / 400, n));
    let float = match n % 90 {
        4 => f64::from_bits(STALE_NAN_BITS),
        8 => -0.0,
        15 => f64::from_bits(0xfff0_0000_dead_beef),
        _ => (n * 3 + n * 7919 % 11) as f64 / 10.0,
    };
    match SERIES[series] {
        _ if n.is_multiple_of(700) => Value::Histogram(start, stale()),
        "alternating" if (n / 25).is_multiple_of(2) => Value::Float(start, float),
        "alternating" => histogram_of(n / 50 % 4),
        "counter" => Value::Float(start, float),
        "custom" => histogram_of(2),
        "custom_floats" => histogram_of(3),
        "floats" => histogram_of(1),
        "integers" => histogram_of(0),
        _ => histogram_of(n / 30 % 2),
    }
}

fn write(store: &Store, model: &mut Model, minutes: &[i64]) {
    let mut batch = Batch::new(store.seed());
    for (at, name) in SERIES.into_iter().enumerate() {
        let pairs = batch.pairs.len();
        batch.pairs.push(("__name__".into(), name.into()));
        let (samples, histograms) = (batch.samples.len(), batch.histograms.len());
        let exemplars = batch.exemplars.len();
        for minute in minutes.iter().copied() {
            let timestamp_ms = FIRST_MS + minute * 60_000;
            let value = value(at, minute);
            match &value {
                Value::Float(start_ms, value) => {
                    batch.samples.push(Sample { timestamp_ms, value: *value, start_ms: *start_ms });
                }
                Value::Histogram(start_ms, histogram) => {
                    let (start_ms, histogram) = (*start_ms, histogram.clone());
                    batch.histograms.push(HistogramSample { timestamp_ms, start_ms, histogram });
                }
            }
            model.samples.insert((name.into(), timestamp_ms), value);
            if minute % 13 == at as i64 {
                let labels = vec![("trace_id".to_owned(), format!("{minute:x}"))];
                let exemplar = Exemplar { labels, value: minute as f64 / 3.0, timestamp_ms };
                batch.exemplars.push(exemplar.clone());
                model.exemplars.insert((name.into(), timestamp_ms), exemplar);
            }
        }
        batch.series.push(SeriesRow {
            labels: LabelSource::Pairs(pairs..pairs + 1),
            key: at as u128,
            samples: samples..batch.samples.len(),
            histograms: histograms..batch.histograms.len(),
            exemplars: exemplars..batch.exemplars.len(),
            temporality: Temporality::Cumulative,
            item: 0,
        });
    }
    let limits = TenantLimits { retention_ms: 0, ..TenantLimits::default() };
    let now_ms = FIRST_MS + 100 * HOUR_MS;
    let context = WriteContext { tenant: TENANT, limits: &limits, epoch: 0, now_ms, digest: None };
    let (ticket, appended) = store.append(&context, &batch).unwrap();
    assert!(appended.rejected.is_empty(), "{appended:?}");
    store.commit(Duration::ZERO);
    ticket.wait().unwrap();
}

fn read(store: &Store) -> Model {
    let budget = Budget::new(1 << 30);
    let matchers = [Matcher::new("__name__", MatchOp::Regex, ".+").unwrap()];
    let mut model = Model::default();
    let mut selection = store.select(TENANT, &matchers, ALWAYS, &Hints::default(), &budget).unwrap();
    let mut block = model::SeriesBlock::default();
    while selection.next_block(&mut block).unwrap() {
        let mut points = block.columns.histograms.iter().peekable();
        for (index, series) in block.series.iter().enumerate() {
            let name = selection.labels(*series).unwrap().unwrap().metric_name().unwrap().to_owned();
            for row in block.offsets[index] as usize..block.offsets[index + 1] as usize {
                let start = block.columns.starts.get(row).copied().unwrap_or(0);
                let value = match points.next_if(|point| point.row as usize == row) {
                    Some(point) => Value::Histogram(start, point.histogram.clone()),
                    None => Value::Float(start, block.columns.values[row]),
                };
                model.samples.insert((name.clone(), block.columns.timestamps[row]), value);
            }
        }
    }
    assert_eq!(selection.warnings(), Vec::<String>::new());
    for series in store.exemplars(TENANT, &matchers, ALWAYS, &budget).unwrap().found {
        let name = series.labels.metric_name().unwrap().to_owned();
        for exemplar in series.exemplars {
            model.exemplars.insert((name.clone(), exemplar.timestamp_ms), exemplar);
        }
    }
    model
}

fn open(directory: &Path, memory_bytes: u64) -> Store {
    let options =
        Options { compaction_blocks: 4, memory_bytes, cache_bytes: memory_bytes / 16, ..Options::default() };
    Store::open(Env::real(), directory, options, &Progress::default()).unwrap()
}

fn compact(store: &Store) {
    while let Some(job) = store.next_job(&|_| Keep::default()) {
        store.run(job, &|_| Keep::default()).unwrap();
    }
}

/// Pairs of level and format version of all blocks.
fn blocks(directory: &Path) -> Vec<(u8, u8)> {
    let files = std::fs::read_dir(directory.join("blocks")).unwrap();
    let headers = files.map(|file| std::fs::read(file.unwrap().path()).unwrap());
    headers.map(|bytes| (bytes[8], bytes[10])).collect()
}

#[track_caller]
fn assert_same(found: &Model, wanted: &Model) {
    assert_eq!(found.samples.len(), wanted.samples.len());
    for (at, value) in &wanted.samples {
        assert_eq!(found.samples.get(at), Some(value), "{at:?}");
    }
    assert_eq!(found.exemplars, wanted.exemplars);
}

#[test]
fn everything_comes_back_from_every_level() {
    comes_back(Options::default().memory_bytes);
}

/// A part of a series has next to nothing: a chunk or two of each input.
#[test]
fn everything_comes_back_when_series_are_merged_in_parts() {
    comes_back(24 << 20);
}

fn comes_back(memory_bytes: u64) {
    let directory = tempfile::tempdir().unwrap();
    let (store, mut model) = (open(directory.path(), memory_bytes), Model::default());
    let mut seen = Vec::new();
    for hour in 0..HOURS {
        write(&store, &mut model, &(hour * 60..hour * 60 + 60).collect::<Vec<_>>());
        if hour % 5 == 4 {
            // What is sent again replaces what is merged already, by the same.
            write(&store, &mut model, &(hour * 60 - 240..hour * 60).step_by(37).collect::<Vec<_>>());
        }
        store.flush().unwrap();
        compact(&store);
        seen.extend(blocks(directory.path()));
        if hour % 17 == 3 {
            assert_same(&read(&store), &model);
        }
    }
    for level in 0..3 {
        assert!(seen.contains(&(level, 2)), "level {level} by columns: {seen:?}");
    }
    assert!(blocks(directory.path()).iter().filter(|(level, _)| *level == 2).count() >= 1);
    assert_eq!(store.status().compaction_failures, 0);
    write(&store, &mut model, &(HOURS * 60..HOURS * 60 + 20).collect::<Vec<_>>());
    assert_same(&read(&store), &model);
    drop(store);
    let store = open(directory.path(), memory_bytes);
    assert_same(&read(&store), &model);
    assert_eq!(store.status().quarantined, 0);
}
