//! What a merge takes of memory: indexes of what it writes, bounded whatever the blocks hold.

mod common;

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use env::{Env, Files};
use model::{Budget, Hints, TenantId, TenantLimits, TimeRange};
use sim::clock::SimClock;
use sim::files::SimFiles;
use sim::random::SimRandom;
use tsdb::{Job, Keep, Options, Progress, Store, WriteContext};

const TENANT: TenantId = TenantId(1);
const HOUR_MS: i64 = 3_600_000;

/// A sixteenth of it is for a merge.
const MEMORY_BYTES: u64 = 32 << 20;
const MERGE_BYTES: u64 = MEMORY_BYTES / 16;

/// Sixteen spans: times, in hours, all in one day.
const HOURS: Range<i64> = 0..16;

struct World {
    clock: SimClock,
    store: Store,
    samples: BTreeSet<(u32, i64)>,
}

impl World {
    fn new(memory_bytes: u64) -> Self {
        let (disk, clock) = (SimFiles::new(1), SimClock::new(1_000_000));
        disk.create_dir(Path::new("data")).unwrap();
        let env = Env {
            clock: Arc::new(clock.clone()),
            files: Arc::new(disk),
            random: Arc::new(SimRandom::new(1)),
        };
        let options = Options {
            memory_bytes,
            cache_bytes: 1 << 20,
            disk_reserve_bytes: 0,
            compaction_blocks: 4,
            // A few hundred series a step.
            compaction_bytes_per_second: 256 << 10,
            ..Options::default()
        };
        let store = Store::open(env, Path::new("data"), options, &Progress::default()).unwrap();
        Self { clock, store, samples: BTreeSet::new() }
    }

    /// Makes a block with a sample of each series in each of the hours, and lets the series leave the head.
    fn block(&mut self, series: Range<u32>, hours: Range<i64>) {
        for hour in hours {
            let at = hour * HOUR_MS;
            let rows: Vec<(u32, i64, f64)> = series.clone().map(|i| (i, at, f64::from(i))).collect();
            self.samples.extend(rows.iter().map(|(i, ms, _)| (*i, *ms)));
            let batch = common::batch(self.store.seed(), &rows);
            let limits = TenantLimits { retention_ms: 0, ..TenantLimits::default() };
            let context = WriteContext {
                tenant: TENANT,
                limits: &limits,
                epoch: 0,
                now_ms: 50 * HOUR_MS,
                digest: None,
            };
            let (ticket, appended) = self.store.append(&context, &batch).unwrap();
            assert_eq!(appended.accepted.samples, u64::from(series.end - series.start));
            self.store.commit(Duration::ZERO);
            ticket.wait().unwrap();
        }
        self.clock.advance(Duration::from_secs(2 * 3600));
        self.store.flush().unwrap();
        self.store.commit(Duration::ZERO);
    }

    /// Does the merges that are due; the most bytes that they had.
    fn merge(&self) -> u64 {
        let mut most = 0;
        while let Some(job) = self.store.next_job(&|_| Keep::default()) {
            assert_eq!(job, Job::Compaction);
            self.store.run(job, &|_| Keep::default()).unwrap();
            most = most.max(self.store.status().compaction_memory_bytes);
            self.clock.advance(Duration::from_secs(2));
        }
        assert_eq!(self.store.status().compaction_memory_bytes, 0, "given back");
        most
    }

    fn check(&self) {
        let budget = Budget::new(1 << 30);
        let range = TimeRange { start_ms: i64::MIN, end_ms: i64::MAX };
        let mut selection = self.store.select(TENANT, &[], range, &Hints::default(), &budget).unwrap();
        let mut found = BTreeSet::new();
        let mut block = model::SeriesBlock::default();
        while selection.next_block(&mut block).unwrap() {
            for (index, series) in block.series.iter().enumerate() {
                let i: u32 = selection.labels(*series).unwrap().unwrap().get("i").unwrap().parse().unwrap();
                for row in block.offsets[index] as usize..block.offsets[index + 1] as usize {
                    assert_eq!(block.columns.values[row], f64::from(i));
                    assert!(found.insert((i, block.columns.timestamps[row])), "{i} twice");
                }
            }
        }
        assert!(found == self.samples);
    }
}

/// The bug: a merge held the index of sixteen spans at once, whatever that took, and nobody counted it.
#[test]
fn many_series_are_merged_in_passes_of_fewer_spans() {
    let mut world = World::new(MEMORY_BYTES);
    for n in 0..4 {
        // Each block of all hours, as when old data is sent.
        world.block(0..8_000, HOURS.start + n..HOURS.end);
    }
    let most = world.merge();
    assert!((MERGE_BYTES / 4..=MERGE_BYTES).contains(&most), "{most} of {MERGE_BYTES} bytes");
    assert_eq!(world.store.status().compactions, 1);
    assert_eq!(world.store.status().blocks, 8, "a file for each span of two hours");
    world.check();

    let mut world = World::new(16 * MEMORY_BYTES);
    for _ in 0..4 {
        world.block(0..8_000, HOURS);
    }
    assert!(world.merge() > MERGE_BYTES, "what it takes when it may");
}

/// Each block has other series: what the largest of them has says little about all.
#[test]
fn more_series_than_expected_make_more_files() {
    let mut world = World::new(MEMORY_BYTES);
    for n in 0..8 {
        world.block(n * 8_000..(n + 1) * 8_000, 0..1);
    }
    let most = world.merge();
    assert!((MERGE_BYTES / 2..=MERGE_BYTES).contains(&most), "{most} of {MERGE_BYTES} bytes");
    assert!((2..6).contains(&world.store.status().blocks), "{} blocks", world.store.status().blocks);
    assert_eq!(world.merge(), 0, "files of one merge are no reason for another one");
    world.check();
    world.store.compact_all().unwrap();
    world.check();
}
