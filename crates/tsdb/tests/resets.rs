//! What a selection says of resets of histograms: gauges are what they were sent as, for the rest the data count.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use env::{Env, Files};
use model::batch::{HistogramSample, LabelSource, SeriesRow, Temporality};
use model::histogram::{BucketCounts, Histogram, ResetHint, Span};
use model::{Batch, Budget, Hints, MatchOp, Matcher, TenantId, TenantLimits, TimeRange};
use sim::clock::SimClock;
use sim::files::SimFiles;
use sim::random::SimRandom;
use tsdb::{Options, Progress, Store, WriteContext};

use ResetHint::{Gauge, NotReset, Reset, Unknown};

const DATA: &str = "data";

fn store() -> Store {
    let disk = SimFiles::new(1);
    disk.create_dir(Path::new(DATA)).unwrap();
    let env = Env {
        clock: Arc::new(SimClock::new(1_000_000)),
        files: Arc::new(disk),
        random: Arc::new(SimRandom::new(1)),
    };
    let options = Options { disk_reserve_bytes: 0, ..Options::default() };
    Store::open(env, Path::new(DATA), options, &Progress::default()).unwrap()
}

/// Writes one series' histograms: each with its time, its one bucket and the hint that is sent.
fn write(store: &Store, rows: &[(i64, u64, ResetHint)]) {
    let mut batch = Batch::new(store.seed());
    batch.pairs.push(("__name__".into(), "h".into()));
    for (timestamp_ms, count, reset_hint) in rows {
        let histogram = Arc::new(Histogram {
            schema: 0,
            zero_threshold: 0.0,
            sum: 1.0,
            reset_hint: *reset_hint,
            positive_spans: vec![Span { offset: 0, length: 1 }],
            negative_spans: vec![],
            counts: BucketCounts::Integer {
                count: *count,
                zero: 0,
                positive: vec![*count],
                negative: vec![],
            },
            custom_bounds: vec![],
        });
        batch.histograms.push(HistogramSample { timestamp_ms: *timestamp_ms, start_ms: 0, histogram });
    }
    batch.series.push(SeriesRow {
        labels: LabelSource::Pairs(0..1),
        key: 1,
        samples: 0..0,
        histograms: 0..rows.len(),
        exemplars: 0..0,
        temporality: Temporality::Cumulative,
        item: 0,
    });
    let limits = TenantLimits { retention_ms: 0, ..TenantLimits::default() };
    let context =
        WriteContext { tenant: TenantId(1), limits: &limits, epoch: 0, now_ms: 1_000_000, digest: None };
    let (ticket, appended) = store.append(&context, &batch).unwrap();
    assert!(appended.rejected.is_empty());
    store.commit(Duration::ZERO);
    ticket.wait().unwrap();
}

/// What is told of the histograms in the range, by time.
fn told(store: &Store, start_ms: i64, end_ms: i64) -> Vec<(i64, ResetHint)> {
    let budget = Budget::new(1 << 30);
    let range = TimeRange { start_ms, end_ms };
    let mut selection = store.select(TenantId(1), &[], range, &Hints::default(), &budget).unwrap();
    let mut block = model::SeriesBlock::default();
    assert!(selection.next_block(&mut block).unwrap());
    let columns = &block.columns;
    columns.histograms.iter().map(|point| (columns.timestamps[point.row as usize], point.hint)).collect()
}

/// The head, then the flushed block.
fn in_head_and_block(store: &Store, check: impl Fn(&Store)) {
    check(store);
    store.flush().unwrap();
    check(store);
    store.compact_all().unwrap();
    check(store);
}

#[test]
fn the_data_tell_and_not_what_was_sent() {
    let store = store();
    write(&store, &[(10, 5, Reset), (20, 6, NotReset), (30, 7, Reset), (40, 3, NotReset), (50, 4, Unknown)]);
    write(&store, &[(60, 9, Gauge), (70, 10, Unknown), (80, 11, Unknown)]);
    in_head_and_block(&store, |store| {
        let wanted = [Unknown, NotReset, Unknown, Unknown, NotReset, Gauge, Unknown, NotReset];
        let times = (1..).map(|at| at * 10);
        assert_eq!(told(store, 0, 100), times.zip(wanted).collect::<Vec<_>>());
        // Also of the first in a range: what came before it is known.
        assert_eq!(told(store, 45, 55), [(50, NotReset)]);
    });
}

#[test]
fn what_comes_late_counts_where_it_lies() {
    let store = store();
    write(&store, &[(10, 5, Unknown), (30, 8, Unknown)]);
    // The later one is a reset now, which it was not before.
    write(&store, &[(20, 9, Unknown)]);
    in_head_and_block(&store, |store| {
        assert_eq!(told(store, 0, 100), [(10, Unknown), (20, NotReset), (30, Unknown)]);
    });
}

#[test]
fn what_comes_late_into_another_block_leaves_nothing_known() {
    let store = store();
    write(&store, &[(10, 5, Unknown), (30, 8, Unknown)]);
    store.flush().unwrap();
    assert_eq!(told(&store, 0, 100), [(10, Unknown), (30, NotReset)]);
    write(&store, &[(20, 9, Unknown)]);
    assert_eq!(told(&store, 0, 100), [(10, Unknown), (20, Unknown), (30, Unknown)]);
    store.flush().unwrap();
    assert_eq!(told(&store, 0, 100), [(10, Unknown), (20, Unknown), (30, Unknown)]);
    store.compact_all().unwrap();
    assert_eq!(told(&store, 0, 100), [(10, Unknown), (20, NotReset), (30, Unknown)]);
}

/// The reset may have been in what was deleted: 5, then 1 and 2.
#[test]
fn what_was_deleted_is_not_what_a_histogram_continues() {
    let store = store();
    write(&store, &[(10, 5, Unknown), (20, 1, Unknown), (30, 2, Unknown), (40, 3, Unknown)]);
    let name = vec![Matcher::new("__name__", MatchOp::Equal, "h").unwrap()];
    store.delete_series(TenantId(1), &[name], TimeRange { start_ms: 20, end_ms: 20 }).unwrap();
    assert_eq!(told(&store, 0, 100), [(10, Unknown), (30, Unknown), (40, NotReset)]);
    store.compact_all().unwrap();
    assert_eq!(told(&store, 0, 100), [(10, Unknown), (30, Unknown), (40, NotReset)]);
}
