//! `storage.max_bytes`: what a tenant has at most, however long the spans of its blocks are.

mod common;

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
const DAY_MS: i64 = 24 * 3_600_000;
/// More than one merge has spans of a day for.
const DAYS: i64 = 200;
const ROWS: i64 = 40_000;
/// What a file has beside a tenant's part, about.
const FILE_BYTES: u64 = 256;

/// The times of what is left.
fn times(store: &Store) -> Vec<i64> {
    let (budget, mut found) = (Budget::new(1 << 30), Vec::new());
    let always = TimeRange { start_ms: i64::MIN, end_ms: i64::MAX };
    let mut selection = store.select(TENANT, &[], always, &Hints::default(), &budget).unwrap();
    let mut block = model::SeriesBlock::default();
    while selection.next_block(&mut block).unwrap() {
        found.extend_from_slice(&block.columns.timestamps);
    }
    found
}

/// The bug: what a merge of many days puts into spans of several days was never counted, and nothing cut it later.
#[test]
fn what_lies_in_spans_of_several_days_counts_and_goes() {
    let (disk, clock) = (SimFiles::new(1), SimClock::new(1_000_000));
    disk.create_dir(Path::new("data")).unwrap();
    let env = Env {
        clock: Arc::new(clock.clone()),
        files: Arc::new(disk.clone()),
        random: Arc::new(SimRandom::new(1)),
    };
    let options = Options { compaction_blocks: 4, disk_reserve_bytes: 0, ..Options::default() };
    let store = Store::open(env, Path::new("data"), options, &Progress::default()).unwrap();
    for part in 0..4i64 {
        // Most of it is old.
        let ms = |row: i64| (row * row / ROWS) * DAYS * DAY_MS / ROWS + part;
        let rows: Vec<(u32, i64, f64)> = (0..ROWS)
            .map(|row| (row as u32 % 5, ms(row) + row % 1000 * 4, (row as f64).sqrt().sin()))
            .collect();
        let limits = TenantLimits { retention_ms: 0, ..TenantLimits::default() };
        let now_ms = 2 * DAYS * DAY_MS;
        let context = WriteContext { tenant: TENANT, limits: &limits, epoch: 0, now_ms, digest: None };
        let (ticket, _) = store.append(&context, &common::batch(store.seed(), &rows)).unwrap();
        store.commit(Duration::ZERO);
        ticket.wait().unwrap();
        store.flush().unwrap();
    }
    let work = |keep: Keep| {
        clock.advance(Duration::from_secs(120));
        while let Some(job) = store.next_job(&|_| keep) {
            store.run(job, &|_| keep).unwrap();
            clock.advance(Duration::from_secs(1));
        }
    };
    work(Keep::default());
    assert_eq!(store.status().compactions, 1);
    let (all, bytes) = (times(&store), store.status().block_bytes);
    let max = bytes / 2;
    work(Keep { age_ms: 0, bytes: max });
    let left = store.status().block_bytes - store.status().blocks * FILE_BYTES;
    assert!(left <= max, "{left} of {bytes} bytes are left, {max} are wanted");
    assert!(left > max / 2, "{left} of {bytes} bytes are left, {max} are wanted");
    let first = times(&store).into_iter().min().unwrap();
    let mut newest: Vec<i64> = all.into_iter().filter(|ms| *ms >= first).collect();
    let mut found = times(&store);
    newest.sort_unstable();
    found.sort_unstable();
    assert!(found == newest, "only the oldest went");
    assert_ne!(store.next_job(&|_| Keep { age_ms: 0, bytes: max }), Some(Job::Retention));
}
