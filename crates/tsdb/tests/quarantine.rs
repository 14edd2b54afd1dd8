//! What the check says of files in quarantine: what of them can be read and what is lost.

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use env::Env;
use model::{Budget, Hints, SeriesBlock, TenantId, TenantLimits, TimeRange};
use sim::files::{Failure, Fault, Op, SimFiles};
use tsdb::{CheckReport, Options, Progress, Quarantined, Store, WriteContext};

const DATA: &str = "/data";
const TENANT: TenantId = TenantId(1);
const ALWAYS: TimeRange = TimeRange { start_ms: i64::MIN, end_ms: i64::MAX };
/// Samples of the block that is damaged, a series each: more than a page of chunks.
const ROWS: u32 = 3000;

fn open(disk: &SimFiles) -> Store {
    let env = Env { files: Arc::new(disk.clone()), ..sim::env(0) };
    let options = Options { disk_reserve_bytes: 0, ..Options::default() };
    Store::open(env, Path::new(DATA), options, &Progress::default()).unwrap()
}

fn write(store: &Store, series: std::ops::Range<u32>) {
    let rows: Vec<_> = series.map(|i| (i, i64::from(i), f64::from(i) * 1.37)).collect();
    let limits = TenantLimits { retention_ms: 0, ..TenantLimits::default() };
    let context = WriteContext { tenant: TENANT, limits: &limits, epoch: 0, now_ms: 1_000_000, digest: None };
    let (ticket, _) = store.append(&context, &common::batch(store.seed(), &rows)).unwrap();
    store.commit(Duration::ZERO);
    ticket.wait().unwrap();
}

/// Samples that a query finds.
fn found(store: &Store) -> u64 {
    let budget = Budget::new(1 << 30);
    let mut selection = store.select(TENANT, &[], ALWAYS, &Hints::default(), &budget).unwrap();
    let (mut found, mut block) = (0, SeriesBlock::default());
    while selection.next_block(&mut block).unwrap() {
        found += block.columns.timestamps.len() as u64;
    }
    found
}

fn check(disk: &SimFiles) -> CheckReport {
    tsdb::check(disk, Path::new(DATA), &mut |_| {}).unwrap()
}

fn path(name: &str) -> PathBuf {
    Path::new(DATA).join(name)
}

/// A directory with one block.
fn with_block() -> (SimFiles, Store) {
    let disk = SimFiles::new(1);
    let store = open(&disk);
    write(&store, 0..ROWS);
    store.flush().unwrap();
    (disk, store)
}

/// The one file in quarantine.
#[track_caller]
fn only(report: CheckReport) -> Quarantined {
    assert_eq!(report.damage, [], "what is in quarantine is damaged no more");
    let [found] = report.quarantine.try_into().unwrap();
    found
}

#[test]
fn of_a_block_that_a_merge_met_the_pages_that_cannot_be_read_are_lost() {
    let (disk, store) = with_block();
    let pages = check(&disk).pages;
    disk.flip_bit(&path("blocks/000000000001.block"), 100 * 8).unwrap();
    // Past the cache of what was just written.
    disk.kill();
    drop(store);
    let store = open(&disk);
    let whole = found(&store);
    assert!(whole < u64::from(ROWS) && whole > 0);
    store.compact_all().unwrap();
    assert_eq!(found(&store), whole, "what can be read lives on");
    let block = only(check(&disk));
    assert_eq!((&*block.file, block.kind), ("quarantine/000000000001.block", "block"));
    assert_eq!((block.pages, block.series), (pages - 1, u64::from(ROWS)));
    assert_eq!((block.samples, block.lost_samples), (whole, Some(u64::from(ROWS) - whole)));
    let [page] = &block.damage[..] else { panic!("{block:?}") };
    assert_eq!((&*page.file, page.unit, page.offset), (&*block.file, "chunks page", Some(48)));
    assert_eq!(page.samples, block.lost_samples);
}

/// Flips a bit of a block, starts, and looks what came to quarantine.
fn set_aside(place: impl Fn(usize) -> usize) -> Quarantined {
    let (disk, store) = with_block();
    let block = path("blocks/000000000001.block");
    let bytes = disk.content(&block).unwrap().len();
    disk.flip_bit(&block, place(bytes) * 8).unwrap();
    disk.kill();
    drop(store);
    let store = open(&disk);
    assert_eq!(found(&store), 0, "nothing of it is answered");
    let named = check(&disk).damage;
    assert_eq!(named.iter().map(|finding| &*finding.what).collect::<Vec<_>>(), ["is in quarantine"]);
    // The next manifest does not name it.
    store.flush().unwrap();
    disk.kill();
    let found = only(check(&disk));
    assert_eq!(found.length, bytes as u64);
    assert_eq!((found.series, found.samples), (0, 0), "nothing can be read");
    found
}

#[test]
fn a_block_that_does_not_open_is_looked_through_for_its_pages() {
    let (disk, _) = with_block();
    let pages = check(&disk).pages;
    // The directory is a page too, which the check of a block does not count.
    for (place, unit, left) in [
        ((|_| 20) as fn(usize) -> usize, "file", pages + 1),
        (|bytes| bytes - 20, "file", pages + 1),
        (|bytes| bytes - 50, "directory page", pages),
    ] {
        let block = set_aside(place);
        assert_eq!((block.pages, block.lost_samples), (left, Some(u64::from(ROWS))), "{block:?}");
        assert_eq!(block.damage.iter().map(|finding| finding.unit).collect::<Vec<_>>(), [unit]);
    }
}

#[test]
fn a_block_of_which_nothing_is_left_says_so() {
    let (disk, store) = with_block();
    let block = path("blocks/000000000001.block");
    disk.damage(&block, |bytes| bytes.fill(7)).unwrap();
    disk.kill();
    drop(store);
    open(&disk).flush().unwrap();
    disk.kill();
    let block = only(check(&disk));
    assert_eq!((block.pages, block.lost_samples, block.damage.len()), (0, None, 1), "{block:?}");
    disk.spoil_sector(&path("quarantine/000000000001.block"), 4096).unwrap();
    assert_eq!(only(check(&disk)).pages, 0, "and a disk that refuses to read it keeps no check from ending");
}

#[test]
fn of_a_log_segment_the_good_frames_are_counted() {
    let disk = SimFiles::new(1);
    let store = open(&disk);
    for request in 0..5 {
        write(&store, request * 10..(request + 1) * 10);
    }
    disk.kill();
    drop(store);
    let segment = path("wal/metrics/000000000001.wal");
    let second = 52 + 28 + u32::from_le_bytes(disk.content(&segment).unwrap()[56..60].try_into().unwrap());
    disk.flip_bit(&segment, (second as usize + 40) * 8).unwrap();
    let store = open(&disk);
    assert_eq!(found(&store), 40);
    // Segments go one generation late.
    (0..2).for_each(|_| store.flush().unwrap());
    disk.kill();
    let segment = only(check(&disk));
    assert_eq!((&*segment.file, segment.kind), ("quarantine/000000000001.wal", "log segment"));
    assert_eq!(segment.frames, 4);
    let [frames] = &segment.damage[..] else { panic!("{segment:?}") };
    assert_eq!((frames.unit, frames.offset), ("frames", Some(u64::from(second))));
    assert_eq!(frames.sequences, Some(2..3));
}

/// The bug: a flush stored a manifest that does not need a damaged segment, and was killed before it moved that to quarantine.
/// The next start does not look into it, and removed it.
#[test]
fn a_damaged_log_segment_outlives_a_kill_before_it_is_moved() {
    let disk = SimFiles::new(1);
    let store = open(&disk);
    (0..5).for_each(|request| write(&store, request * 10..(request + 1) * 10));
    disk.kill();
    drop(store);
    disk.flip_bit(&path("wal/metrics/000000000001.wal"), 100 * 8).unwrap();
    let damaged = disk.content(&path("wal/metrics/000000000001.wal")).unwrap();
    let store = open(&disk);
    assert_eq!(found(&store), 40);
    disk.plan(Fault::new(Op::Rename, Failure::Io).on("quarantine").forever());
    store.flush().unwrap();
    assert!(disk.failures() > 0, "it was not moved");
    disk.kill();
    drop(store);
    disk.heal();
    let store = open(&disk);
    assert_eq!(found(&store), 40);
    assert_eq!(disk.content(&path("quarantine/000000000001.wal")).unwrap(), damaged);
    assert!(!disk.paths().contains(&path("wal/metrics/000000000001.wal")), "it is not needed there");
}

#[test]
fn of_manifests_it_is_said_whether_they_can_be_read_now() {
    let (disk, store) = with_block();
    disk.kill();
    drop(store);
    for name in ["manifest-0", "manifest-1"] {
        disk.flip_bit(&path(name), 170).unwrap();
    }
    assert_eq!(found(&open(&disk)), u64::from(ROWS));
    disk.kill();
    // A disk that gives today what it did not give yesterday.
    disk.flip_bit(&path("quarantine/manifest-1"), 170).unwrap();
    let report = check(&disk);
    assert_eq!(report.damage, []);
    let said: Vec<_> = report.quarantine.iter().map(|f| (&*f.file, f.kind, f.damage.len())).collect();
    assert_eq!(said, [("quarantine/manifest-0", "manifest", 1), ("quarantine/manifest-1", "manifest", 0)]);
}

/// The bug: where files have no second names, a damaged block was left without any when one before it could not be
/// removed, and the next start removed it.
#[test]
fn a_damaged_block_is_kept_when_another_one_cannot_be_removed() {
    let disk = SimFiles::new(1);
    let store = open(&disk);
    write(&store, 0..10);
    store.flush().unwrap();
    write(&store, 0..ROWS);
    store.flush().unwrap();
    disk.flip_bit(&path("blocks/000000000002.block"), 100 * 8).unwrap();
    disk.kill();
    drop(store);
    let store = open(&disk);
    disk.plan(Fault::new(Op::Link, Failure::Unsupported).forever());
    disk.plan(Fault::new(Op::Remove, Failure::Io).on("000000000001.block").forever());
    store.compact_all().unwrap();
    let whole = found(&store);
    assert!(whole < u64::from(ROWS) && whole > 0);
    drop(store);
    disk.heal();
    disk.kill();
    let store = open(&disk);
    assert_eq!(found(&store), whole);
    assert_eq!(only(check(&disk)).file, "quarantine/000000000002.block");
    assert!(!disk.paths().contains(&path("blocks/000000000001.block")), "nothing names it");
}
