//! What became of the things that a sender counts: of each that lost a row in the store, the store says its number.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use env::{Env, Files};
use model::batch::{Exemplar, HistogramSample, LabelSource, MetadataRow, SeriesRow, Temporality};
use model::histogram::{BucketCounts, Histogram, ResetHint, Span};
use model::{Batch, LogRow, Metadata, Sample, Signal, TenantId, TenantLimits};
use sim::clock::SimClock;
use sim::files::SimFiles;
use sim::random::SimRandom;
use tsdb::{Appended, Options, Progress, Store, WriteContext};

const NOW_MS: i64 = 1_800_000_000_000;

fn open() -> Store {
    let disk = SimFiles::new(1);
    disk.create_dir(Path::new("/data")).unwrap();
    let env = Env {
        clock: Arc::new(SimClock::new(NOW_MS)),
        files: Arc::new(disk),
        random: Arc::new(SimRandom::new(7)),
    };
    let options = Options { disk_reserve_bytes: 0, ..Options::default() };
    Store::open(env, Path::new("/data"), options, &Progress::default()).unwrap()
}

/// What is stored, and the numbers that the store says, once each.
fn send(store: &Store, limits: &TenantLimits, batch: &Batch<'_>) -> (Appended, Vec<u32>) {
    let context = WriteContext { tenant: TenantId(1), limits, epoch: 0, now_ms: NOW_MS, digest: None };
    let (ticket, appended) = store.append(&context, batch).unwrap();
    store.commit(Duration::ZERO);
    let appended = appended.settled(ticket.wait().unwrap());
    let mut numbers = appended.refused_items.clone();
    numbers.sort_unstable();
    numbers.dedup();
    let mut items = batch.items.clone();
    items.refuse_all(&appended.refused_items);
    assert_eq!(items.refused(), numbers.len() as u64);
    (appended, numbers)
}

/// A series of the item that began last, without rows.
fn series(batch: &mut Batch<'_>, name: &str, temporality: Temporality) {
    let first = batch.pairs.len();
    batch.pairs.push(("__name__".into(), name.to_owned().into()));
    let rows = |at: usize| at..at;
    batch.series.push(SeriesRow {
        labels: LabelSource::Pairs(first..first + 1),
        key: name.bytes().fold(1, |key: u128, byte| key.wrapping_mul(31) ^ u128::from(byte)),
        samples: rows(batch.samples.len()),
        histograms: rows(batch.histograms.len()),
        exemplars: rows(batch.exemplars.len()),
        temporality,
        item: batch.items.current(),
    });
}

/// Another series of the item, with one sample.
fn sample(batch: &mut Batch<'_>, name: &str, temporality: Temporality, ms: i64, value: f64) {
    series(batch, name, temporality);
    batch.samples.push(Sample { timestamp_ms: NOW_MS + ms, value, start_ms: 0 });
    batch.series.last_mut().unwrap().samples.end += 1;
}

fn gauge(batch: &mut Batch<'_>, name: &str, ms: i64) {
    sample(batch, name, Temporality::Cumulative, ms, 1.0);
}

fn histogram(batch: &mut Batch<'_>, name: &str, ms: i64, buckets: u32) {
    series(batch, name, Temporality::Cumulative);
    let positive = vec![1; buckets as usize];
    let histogram = Histogram {
        schema: 0,
        zero_threshold: 0.0,
        sum: 1.0,
        reset_hint: ResetHint::Unknown,
        positive_spans: vec![Span { offset: 0, length: buckets }],
        negative_spans: vec![],
        counts: BucketCounts::Integer { count: buckets.into(), zero: 0, positive, negative: vec![] },
        custom_bounds: vec![],
    };
    histogram.validate().unwrap();
    let timestamp_ms = NOW_MS + ms;
    batch.histograms.push(HistogramSample { timestamp_ms, start_ms: 0, histogram: Arc::new(histogram) });
    batch.series.last_mut().unwrap().histograms.end += 1;
}

fn line(batch: &mut Batch<'_>, ms: i64) {
    let (timestamp_ns, item) = ((NOW_MS + ms) * 1_000_000, batch.items.current());
    batch.logs.push(LogRow { stream: 0..0, fields: 0..0, timestamp_ns, line: "x".into(), item });
}

const DAY_MS: i64 = 86_400_000;

fn limits() -> TenantLimits {
    TenantLimits { retention_ms: 7 * DAY_MS, future_ms: 60_000, ..TenantLimits::default() }
}

#[test]
fn an_item_that_lost_any_row_is_said_once() {
    let store = open();
    let mut batch = Batch::new(store.seed());
    for number in 0..7 {
        batch.items.begin();
        match number {
            // Two series, one of which is too old: the other one is stored, the item is refused.
            1 => {
                gauge(&mut batch, "a", 1);
                gauge(&mut batch, "b", -8 * DAY_MS);
                gauge(&mut batch, "c", -8 * DAY_MS);
            }
            2 => gauge(&mut batch, "d", DAY_MS),
            3 => gauge(&mut batch, &"x".repeat(1 << 20), 0),
            4 => histogram(&mut batch, "h", 0, 70_000),
            5 => histogram(&mut batch, "h", -8 * DAY_MS, 2),
            _ => {
                gauge(&mut batch, "a", 2 + number);
                histogram(&mut batch, "h", number, 2);
            }
        }
    }
    let (appended, refused) = send(&store, &limits(), &batch);
    assert_eq!(refused, [1, 2, 3, 4, 5]);
    assert_eq!(batch.items.sent() - refused.len() as u64, 2);
    assert_eq!((appended.accepted.samples, appended.rejected.counts().samples), (3, 4));
    assert_eq!((appended.accepted.histograms, appended.rejected.counts().histograms), (2, 2));
}

#[test]
fn an_item_over_the_quota_is_refused() {
    let store = open();
    let mut batch = Batch::new(store.seed());
    for name in ["a", "b", "a", "c"] {
        batch.items.begin();
        gauge(&mut batch, name, 0);
    }
    let (appended, refused) = send(&store, &TenantLimits { active_series: 1, ..limits() }, &batch);
    assert_eq!((refused, appended.accepted.samples), (vec![1, 3], 2));
}

#[test]
fn an_item_that_lost_a_delta_at_its_turn_is_refused() {
    let store = open();
    let delta = |batch: &mut Batch<'_>, name, ms, value| sample(batch, name, Temporality::Delta, ms, value);
    let mut batch = Batch::new(store.seed());
    batch.items.begin();
    delta(&mut batch, "a", 100, 1.0);
    assert_eq!(send(&store, &limits(), &batch).1, [] as [u32; 0]);
    batch.clear();
    // The third loses one row here and one there, the fifth overflows.
    for rows in [[200, 300], [50, 60], [100, -8 * DAY_MS], [400, 500]] {
        batch.items.begin();
        rows.iter().for_each(|ms| delta(&mut batch, "a", *ms, 1.0));
    }
    for ms in [1, 2] {
        batch.items.begin();
        delta(&mut batch, "b", ms, f64::MAX);
    }
    batch.items.begin();
    delta(&mut batch, "b", 3, f64::NAN);
    let (appended, refused) = send(&store, &limits(), &batch);
    assert_eq!(refused, [1, 2, 5, 6]);
    assert_eq!((appended.accepted.samples, appended.rejected.counts().samples), (5, 6));
}

#[test]
fn lines_are_items_too() {
    let store = open();
    let mut batch = Batch::new(store.seed());
    for ms in [0, -8 * DAY_MS, 1, DAY_MS] {
        batch.items.begin();
        line(&mut batch, ms);
    }
    let (appended, refused) = send(&store, &limits(), &batch);
    assert_eq!((refused, appended.accepted.log_lines), (vec![1, 3], 2));
}

#[test]
fn exemplars_and_metadata_do_not_take_their_item_with_them() {
    let store = open();
    let mut batch = Batch::new(store.seed());
    batch.items.begin();
    gauge(&mut batch, "a", 0);
    let labels = vec![("trace".to_owned(), "x".repeat(200))];
    batch.exemplars.push(Exemplar { labels, value: 1.0, timestamp_ms: NOW_MS });
    batch.series.last_mut().unwrap().exemplars.end += 1;
    batch.metadata.push(MetadataRow { family: "".into(), metadata: Metadata::default() });
    let (appended, refused) = send(&store, &limits(), &batch);
    let counts = appended.rejected.counts();
    assert_eq!((counts.get(Signal::Exemplar), counts.get(Signal::Metadata)), (1, 1));
    assert_eq!((refused, appended.accepted.samples), (vec![], 1));
}

#[test]
fn where_nothing_is_counted_nothing_is_said() {
    let store = open();
    let mut batch = Batch::new(store.seed());
    gauge(&mut batch, "a", -8 * DAY_MS);
    sample(&mut batch, "b", Temporality::Delta, 0, f64::NAN);
    line(&mut batch, -8 * DAY_MS);
    let (appended, refused) = send(&store, &limits(), &batch);
    assert_eq!((refused, appended.rejected.counts().total()), (vec![], 3));
}
