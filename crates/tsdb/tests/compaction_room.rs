//! Merges on a disk that is almost full: what does not fit gives way to what does, and that is said.

mod common;

use std::collections::BTreeMap;
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
const BLOCKS: i64 = 6;

fn open(disk: &SimFiles) -> Store {
    disk.create_dir(Path::new("data")).unwrap();
    let env = Env {
        clock: Arc::new(SimClock::new(1_000_000)),
        files: Arc::new(disk.clone()),
        random: Arc::new(SimRandom::new(1)),
    };
    let options = Options {
        compaction_blocks: 4,
        disk_reserve_bytes: 0,
        compaction_bytes_per_second: 1 << 40,
        ..Options::default()
    };
    Store::open(env, Path::new("data"), options, &Progress::default()).unwrap()
}

/// Makes blocks of some hours each that take a few pages.
fn write(store: &Store) -> BTreeMap<i64, u64> {
    let mut model = BTreeMap::new();
    for n in 0..BLOCKS {
        let value = |row: i64| ((n * 7919 + row) as f64).sqrt().sin();
        let rows: Vec<(u32, i64, f64)> =
            (0..8000).map(|row| (1, n * HOUR_MS + row * 100, value(row))).collect();
        model.extend(rows.iter().map(|(_, ms, value)| (*ms, value.to_bits())));
        let batch = common::batch(store.seed(), &rows);
        let limits = TenantLimits { retention_ms: 0, ..TenantLimits::default() };
        let context =
            WriteContext { tenant: TENANT, limits: &limits, epoch: 0, now_ms: 50 * HOUR_MS, digest: None };
        let (ticket, _) = store.append(&context, &batch).unwrap();
        store.commit(Duration::ZERO);
        ticket.wait().unwrap();
        store.flush().unwrap();
    }
    model
}

fn read(store: &Store) -> BTreeMap<i64, u64> {
    let (budget, mut found) = (Budget::new(1 << 30), BTreeMap::new());
    let always = TimeRange { start_ms: i64::MIN, end_ms: i64::MAX };
    let mut selection = store.select(TENANT, &[], always, &Hints::default(), &budget).unwrap();
    let mut block = model::SeriesBlock::default();
    while selection.next_block(&mut block).unwrap() {
        let values = block.columns.values.iter().map(|value| value.to_bits());
        found.extend(block.columns.timestamps.iter().copied().zip(values));
    }
    found
}

fn keep(_: TenantId) -> Keep {
    Keep::default()
}

/// The bug: the merge that came first was tried alone, and one that did not fit was the same as none, without a word.
#[test]
fn fewer_blocks_are_merged_when_all_of_them_do_not_fit() {
    let disk = SimFiles::new(1);
    let store = open(&disk);
    let model = write(&store);
    let block = store.status().block_bytes / BLOCKS as u64;
    disk.set_capacity(disk.used() + block * 5 / 2);
    assert_eq!(store.next_job(&keep), Some(Job::Compaction));
    assert!(store.status().compaction_short_of_disk);
    while let Some(job) = store.next_job(&keep) {
        store.run(job, &keep).unwrap();
    }
    assert_eq!((store.status().compactions, store.status().compaction_failures), (2, 0));
    assert!(!store.status().compaction_short_of_disk, "what is left is not due");
    assert!(read(&store) == model);
}

#[test]
fn a_disk_with_room_for_no_merge_at_all_is_told_of_until_it_has_some() {
    let disk = SimFiles::new(1);
    let store = open(&disk);
    let model = write(&store);
    disk.set_capacity(disk.used() + store.status().block_bytes / BLOCKS as u64);
    assert_eq!(store.next_job(&keep), None);
    assert!(store.status().compaction_short_of_disk);
    let error = store.compact_all().unwrap_err().to_string();
    assert_eq!(error, "the disk has too little room for a merge");
    disk.set_capacity(1 << 40);
    assert_eq!(store.next_job(&keep), Some(Job::Compaction));
    assert!(!store.status().compaction_short_of_disk);
    store.run(Job::Compaction, &keep).unwrap();
    assert!(read(&store) == model);
}
