//! A block that the disk does not give at a start: what may be merged around it, and what is there when it comes back.

mod common;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use env::{Env, Files};
use model::{Budget, Hints, TenantId, TenantLimits, TimeRange};
use sim::clock::SimClock;
use sim::files::{Failure, Fault, Op, SimFiles};
use sim::random::SimRandom;
use tsdb::{Keep, Options, Progress, Store, WriteContext};

const TENANT: TenantId = TenantId(1);
const HOUR_MS: i64 = 3_600_000;
/// The block that cannot be read.
const LOST: i64 = 6;
/// The first one whose times have nothing to do with those before it.
const APART: i64 = 11;
const BLOCKS: i64 = 16;

/// Value by series and time.
type Model = BTreeMap<(u32, i64), f64>;

fn open(disk: &SimFiles) -> Store {
    open_with(disk, &SimClock::new(1_000_000))
}

fn open_with(disk: &SimFiles, clock: &SimClock) -> Store {
    let env = Env {
        clock: Arc::new(clock.clone()),
        files: Arc::new(disk.clone()),
        random: Arc::new(SimRandom::new(1)),
    };
    let options = Options { compaction_blocks: 4, disk_reserve_bytes: 0, ..Options::default() };
    Store::open(env, Path::new("data"), options, &Progress::default()).unwrap()
}

/// What the n-th block has: samples of its own, and one at a time at which all have one.
fn rows(n: i64) -> Vec<(u32, i64, f64)> {
    let day_ms = if n < APART { 0 } else { 50 * 24 * HOUR_MS };
    vec![(1, day_ms + n * HOUR_MS, n as f64), (2, day_ms + 5, n as f64), (3, day_ms + n, n as f64)]
}

fn write(store: &Store, n: i64) {
    let batch = common::batch(store.seed(), &rows(n));
    let limits = TenantLimits { retention_ms: 0, ..TenantLimits::default() };
    let context =
        WriteContext { tenant: TENANT, limits: &limits, epoch: 0, now_ms: 100 * 24 * HOUR_MS, digest: None };
    let (ticket, _) = store.append(&context, &batch).unwrap();
    store.commit(Duration::ZERO);
    ticket.wait().unwrap();
    store.flush().unwrap();
}

fn model(blocks: impl Iterator<Item = i64>) -> Model {
    blocks.flat_map(rows).map(|(i, ms, value)| ((i, ms), value)).collect()
}

fn read(store: &Store) -> Model {
    let (budget, mut found) = (Budget::new(1 << 30), Model::new());
    let always = TimeRange { start_ms: i64::MIN, end_ms: i64::MAX };
    let mut selection = store.select(TENANT, &[], always, &Hints::default(), &budget).unwrap();
    let mut block = model::SeriesBlock::default();
    while selection.next_block(&mut block).unwrap() {
        for (index, series) in block.series.iter().enumerate() {
            let i = selection.labels(*series).unwrap().unwrap().get("i").unwrap().parse().unwrap();
            for row in block.offsets[index] as usize..block.offsets[index + 1] as usize {
                found.insert((i, block.columns.timestamps[row]), block.columns.values[row]);
            }
        }
    }
    found
}

/// A directory of which the disk does not give one block.
fn with_a_lost_block() -> SimFiles {
    let disk = SimFiles::new(1);
    disk.create_dir(Path::new("data")).unwrap();
    let store = open(&disk);
    (1..=BLOCKS).for_each(|n| write(&store, n));
    drop(store);
    disk.kill();
    disk.plan(Fault::new(Op::Read, Failure::Io).on(&format!("{LOST:012}.block")).forever());
    disk
}

/// The block comes back: all is there, as it was written.
fn come_back(disk: &SimFiles) -> Store {
    disk.heal();
    disk.kill();
    let store = open(disk);
    assert_eq!(read(&store), model(1..=BLOCKS), "after it has come back");
    store
}

#[test]
fn merges_go_on_on_both_sides_of_a_block_that_cannot_be_read() {
    let disk = with_a_lost_block();
    let store = open(&disk);
    let left = model((1..=BLOCKS).filter(|n| *n != LOST));
    assert_eq!(read(&store), left);
    while let Some(job) = store.next_job(&|_| Keep::default()) {
        store.run(job, &|_| Keep::default()).unwrap();
    }
    // A merge on each side. Of the day that is over one block from each; five times two hours of the other day.
    assert_eq!((store.status().compactions, store.status().blocks), (2, 7));
    assert_eq!(read(&store), left);
    drop(store);
    let store = come_back(&disk);
    store.compact_all().unwrap();
    assert_eq!((store.status().blocks, read(&store)), (2, model(1..=BLOCKS)), "a block for each day");
}

#[test]
fn whoever_wants_everything_merged_is_told_of_a_block_that_cannot_be_read_when_the_rest_is_done() {
    let disk = with_a_lost_block();
    let report = tsdb::check(&disk, Path::new("data"), &mut |_| {}).unwrap();
    let [finding] = report.damage.as_slice() else { panic!("{report:?}") };
    let range = TimeRange { start_ms: 5, end_ms: LOST * HOUR_MS };
    assert_eq!((finding.unit, finding.range), ("file", Some(range)), "{finding:?}");
    let store = open(&disk);
    let error = store.compact_all().unwrap_err().to_string();
    assert!(error.starts_with("a block cannot be read"), "{error}");
    assert_eq!(store.status().blocks, 3, "a block for each day and each side of it");
    assert_eq!(store.status().compaction_failures, 0);
    drop(come_back(&disk));
}

fn work(store: &Store) {
    while let Some(job) = store.next_job(&|_| Keep::default()) {
        store.run(job, &|_| Keep::default()).unwrap();
    }
}

/// A store that has read all blocks at its start, and now the disk refuses one.
fn with_a_refused_block(clock: &SimClock, blocks: RangeInclusive<i64>) -> (SimFiles, Store) {
    let disk = SimFiles::new(1);
    disk.create_dir(Path::new("data")).unwrap();
    let store = open_with(&disk, clock);
    // Files are numbered from one.
    let first = *blocks.start();
    blocks.for_each(|n| write(&store, n));
    let lost = LOST - first + 1;
    disk.plan(Fault::new(Op::Read, Failure::Io).on(&format!("{lost:012}.block")).forever());
    (disk, store)
}

/// The bug: every merge waited for hours, because the one that was due first met a block that the disk did not read.
#[test]
fn merges_go_on_while_the_disk_refuses_a_block() {
    let clock = SimClock::new(1_000_000);
    let (disk, store) = with_a_refused_block(&clock, 1..=BLOCKS);
    work(&store);
    // As around a block that was not there at the start, and that one.
    assert_eq!((store.status().compactions, store.status().blocks), (2, 8));
    let error = store.compact_all().unwrap_err().to_string();
    assert!(error.starts_with("a block cannot be read"), "{error}");
    assert_eq!((store.status().compaction_failures, store.status().quarantined), (0, 0));
    disk.heal();
    store.compact_all().unwrap();
    assert_eq!((store.status().blocks, read(&store)), (2, model(1..=BLOCKS)), "a block for each day");
}

#[test]
fn a_block_that_the_disk_refuses_for_hours_is_damaged() {
    let clock = SimClock::new(1_000_000);
    // Without it too few to be merged.
    let blocks = LOST - 2..=LOST + 1;
    let (_disk, store) = with_a_refused_block(&clock, blocks.clone());
    let mut seconds = 0;
    while store.status().quarantined == 0 && seconds < 24 * 3600 {
        work(&store);
        clock.advance(Duration::from_secs(10));
        seconds += 10;
    }
    assert!((4 * 3600..5 * 3600).contains(&seconds), "{seconds} s");
    assert_eq!((store.status().compactions, store.status().quarantined), (1, 1));
    assert_eq!(read(&store), model(blocks.filter(|n| *n != LOST)));
}

/// A manifest of an older Weir says nothing of a block but its number: it may be of any time.
#[test]
fn a_block_of_which_nothing_is_known_stops_all_merges() {
    let disk = SimFiles::new(1);
    disk.create_dir(Path::new("data")).unwrap();
    let store = open(&disk);
    (1..=BLOCKS).for_each(|n| write(&store, n));
    drop(store);
    disk.kill();
    // As version 2 ended.
    for name in ["manifest-0", "manifest-1"] {
        let path = Path::new("/data").join(name);
        disk.damage(&path, without_what_is_known).unwrap();
    }
    disk.plan(Fault::new(Op::Read, Failure::Io).on(&format!("{LOST:012}.block")).forever());
    let store = open(&disk);
    assert_eq!(store.next_job(&|_| Keep::default()), None);
    store.compact_all().unwrap_err();
    assert_eq!(store.status().compactions, 0);
    drop(store);
    // The start has written what it knows of the others, and that it knows nothing of this one.
    disk.kill();
    let store = open(&disk);
    store.compact_all().unwrap_err();
    assert_eq!(store.status().compactions, 0);
    drop(come_back(&disk));
}

/// Cuts the end that version 3 has added off a manifest's body.
fn without_what_is_known(bytes: &mut Vec<u8>) {
    let body = &bytes[20..];
    // Level, times, sequences of each block: behind the counts of floors and tombstones, which are both zero.
    let ids: Vec<u8> = (1..=BLOCKS as u8).collect();
    let at = body.windows(ids.len()).position(|window| window == ids).unwrap() + ids.len();
    assert_eq!(body[at..at + 2], [0, 0]);
    let body = body[..at + 2].to_vec();
    *bytes = codec::envelope::wrap(b"WEIRMAN1", 2, &body);
}
