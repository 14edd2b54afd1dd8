//! A merge of a series that has more than fits into memory: in parts, with the same result.

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use env::{Env, Files};
use model::batch::{HistogramSample, LabelSource, SeriesRow, Temporality};
use model::histogram::{BucketCounts, Histogram, ResetHint, Span};
use model::{Batch, Budget, Hints, SeriesBlock, TenantId, TenantLimits, TimeRange};
use sim::clock::SimClock;
use sim::files::{Op, SimFiles};
use sim::random::SimRandom;
use tsdb::{Keep, Options, Progress, Store, WriteContext};

const TENANT: TenantId = TenantId(1);
const MEMORY_BYTES: u64 = 32 << 20;
/// Bytes of rows that a merge may hold.
const ROWS_BYTES: u64 = MEMORY_BYTES / 64;
const BLOCKS: i64 = 4;

struct World {
    disk: SimFiles,
    clock: SimClock,
    store: Store,
}

/// What a merge took.
#[derive(Debug, Default)]
struct Took {
    steps: u64,
    /// Pages that one step read at most.
    reads_max: u64,
    /// Bytes that it said it takes, at most.
    bytes_max: u64,
}

impl World {
    fn new() -> Self {
        let (disk, clock) = (SimFiles::new(1), SimClock::new(1_000_000));
        disk.create_dir(Path::new("data")).unwrap();
        let env = Env {
            clock: Arc::new(clock.clone()),
            files: Arc::new(disk.clone()),
            random: Arc::new(SimRandom::new(1)),
        };
        let options = Options {
            memory_bytes: MEMORY_BYTES,
            cache_bytes: 1 << 20,
            disk_reserve_bytes: 0,
            compaction_blocks: BLOCKS as usize,
            // The least of rows a step.
            compaction_bytes_per_second: 1,
            scrub_interval: Duration::ZERO,
            ..Options::default()
        };
        let store = Store::open(env, Path::new("data"), options, &Progress::default()).unwrap();
        Self { disk, clock, store }
    }

    fn append(&self, batch: &Batch<'_>) {
        let limits = TenantLimits { retention_ms: 0, ..TenantLimits::default() };
        let context =
            WriteContext { tenant: TENANT, limits: &limits, epoch: 0, now_ms: 1 << 40, digest: None };
        let (ticket, appended) = self.store.append(&context, batch).unwrap();
        assert!(appended.rejected.is_empty(), "{appended:?}");
        self.store.commit(Duration::ZERO);
        ticket.wait().unwrap();
    }

    /// Makes a block of one large series and two small ones around it.
    fn block(&self, samples: &mut BTreeMap<(u32, i64), u64>, rows: impl Iterator<Item = (i64, f64)>) {
        let mut rows: Vec<(u32, i64, f64)> = rows.map(|(ms, value)| (1, ms, value)).collect();
        rows.extend([0, 2].map(|i| (i, rows[0].1, rows[0].2)));
        samples.extend(rows.iter().map(|(i, ms, value)| ((*i, *ms), value.to_bits())));
        for part in rows.chunks(10_000) {
            self.append(&common::batch(self.store.seed(), part));
        }
        self.store.flush().unwrap();
    }

    fn merge(&self) -> Took {
        let mut took = Took::default();
        while let Some(job) = self.store.next_job(&|_| Keep::default()) {
            let before = self.disk.count(Op::Read);
            self.store.run(job, &|_| Keep::default()).unwrap();
            took.steps += 1;
            took.reads_max = took.reads_max.max(self.disk.count(Op::Read) - before);
            took.bytes_max = took.bytes_max.max(self.store.status().compaction_memory_bytes);
            self.clock.advance(Duration::from_secs(1 << 30));
        }
        assert_eq!((self.store.status().compactions, self.store.status().compaction_failures), (1, 0));
        assert_eq!(self.store.status().compaction_memory_bytes, 0, "given back");
        took
    }

    fn each_block(&self, mut each: impl FnMut(&str, &SeriesBlock, std::ops::Range<usize>)) {
        let budget = Budget::new(1 << 30);
        let range = TimeRange { start_ms: i64::MIN, end_ms: i64::MAX };
        let mut selection = self.store.select(TENANT, &[], range, &Hints::default(), &budget).unwrap();
        let mut block = SeriesBlock::default();
        while selection.next_block(&mut block).unwrap() {
            for (index, series) in block.series.iter().enumerate() {
                let labels = selection.labels(*series).unwrap().unwrap();
                let rows = block.offsets[index] as usize..block.offsets[index + 1] as usize;
                each(labels.get("i").unwrap(), &block, rows);
            }
        }
        assert_eq!(selection.warnings(), Vec::<String>::new());
    }

    fn samples(&self) -> BTreeMap<(u32, i64), u64> {
        let mut found = BTreeMap::new();
        self.each_block(|i, block, rows| {
            for row in rows {
                let at = (i.parse().unwrap(), block.columns.timestamps[row]);
                assert!(found.insert(at, block.columns.values[row].to_bits()).is_none(), "{at:?} twice");
            }
        });
        found
    }
}

/// Rows that are hard to pack, from a time on.
fn rows(first_ms: i64, step_ms: i64, count: i64, salt: i64) -> impl Iterator<Item = (i64, f64)> {
    (0..count).map(move |n| (first_ms + n * step_ms, ((n * 7919 + salt) as f64).sqrt().sin()))
}

const ROWS: i64 = 40_000;

/// The bug: all rows of a series in all spans of a pass were read at once, and put in order with several copies.
#[track_caller]
fn assert_in_parts(world: &World, samples: &BTreeMap<(u32, i64), u64>) {
    let took = world.merge();
    // Eight bytes a row: some 80 pages in all.
    assert!(took.reads_max <= 24, "{took:?}");
    assert!((ROWS_BYTES / 2..=ROWS_BYTES * 2).contains(&took.bytes_max), "{took:?}");
    assert!(world.samples() == *samples);
}

#[test]
fn a_large_series_in_order() {
    let (world, mut samples) = (World::new(), BTreeMap::new());
    for n in 0..BLOCKS {
        world.block(&mut samples, rows(n * ROWS * 100, 100, ROWS, n));
    }
    assert_in_parts(&world, &samples);
}

#[test]
fn a_large_series_that_was_sent_several_times() {
    let (world, mut samples) = (World::new(), BTreeMap::new());
    for n in 0..BLOCKS {
        // What was sent last counts; some of it is of other times.
        world.block(&mut samples, rows(n * 1_000, 100, ROWS, n));
    }
    assert_in_parts(&world, &samples);
}

#[test]
fn a_large_series_out_of_order() {
    let (world, mut samples) = (World::new(), BTreeMap::new());
    for n in 0..BLOCKS {
        let mut shuffled: Vec<_> = rows(n * 25, 100, ROWS, n).collect();
        shuffled.sort_by_key(|(ms, _)| ms.wrapping_mul(0x9e37_79b9_7f4a_7c15u64 as i64));
        world.block(&mut samples, shuffled.into_iter());
    }
    assert_in_parts(&world, &samples);
}

/// 20,000 buckets that take next to nothing in a block, and much in memory.
fn wide(n: u64) -> Arc<Histogram> {
    const BUCKETS: u64 = 20_000;
    let positive: Vec<u64> = (0..BUCKETS).map(|b| if b % 500 == 0 { n } else { 1 }).collect();
    let count = positive.iter().sum::<u64>() + 2;
    Arc::new(Histogram {
        schema: 8,
        zero_threshold: 1e-128,
        sum: n as f64,
        reset_hint: ResetHint::NotReset,
        positive_spans: vec![Span { offset: 0, length: BUCKETS as u32 }],
        negative_spans: vec![],
        counts: BucketCounts::Integer { count, zero: 2, positive, negative: vec![] },
        custom_bounds: vec![],
    })
}

#[test]
fn a_series_of_large_histograms() {
    const ROWS: u64 = 60;
    let world = World::new();
    for n in 0..BLOCKS as u64 {
        for row in n * ROWS..(n + 1) * ROWS {
            let mut batch = Batch::new(world.store.seed());
            batch.pairs.extend([("__name__".into(), "metric".into()), ("i".into(), "1".into())]);
            let timestamp_ms = row as i64 * 1000;
            batch.histograms.push(HistogramSample { timestamp_ms, start_ms: 0, histogram: wide(row) });
            batch.series.push(SeriesRow {
                labels: LabelSource::Pairs(0..2),
                key: 1,
                samples: 0..0,
                histograms: 0..1,
                exemplars: 0..0,
                temporality: Temporality::Cumulative,
                item: 0,
            });
            world.append(&batch);
        }
        world.store.flush().unwrap();
    }
    let took = world.merge();
    // A chunk of them has some 50.
    assert!(took.steps >= 2 * BLOCKS as u64, "{took:?}");
    let mut found = 0;
    world.each_block(|_, block, rows| {
        let points = block.columns.histograms.iter().filter(|point| rows.contains(&(point.row as usize)));
        for point in points {
            let n = block.columns.timestamps[point.row as usize] as u64 / 1000;
            assert_eq!(point.histogram, wide(n), "{n}");
            found += 1;
        }
    });
    assert_eq!(found, BLOCKS as u64 * ROWS);
}
