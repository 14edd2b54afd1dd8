//! More blocks than a process may have descriptors: their files are opened when they are read.

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use env::{Env, Files};
use model::{Budget, Hints, TenantId, TenantLimits, TimeRange};
use sim::clock::SimClock;
use sim::files::{Failure, Fault, Op, SimFiles};
use sim::random::SimRandom;
use tsdb::{Keep, Options, Progress, Selection, Store, WriteContext};

const TENANT: TenantId = TenantId(1);
const HOUR_MS: i64 = 3_600_000;
static BUDGET: LazyLock<Budget> = LazyLock::new(|| Budget::new(1 << 40));
const ALWAYS: TimeRange = TimeRange { start_ms: i64::MIN, end_ms: i64::MAX };

/// Value by series and time.
type Model = BTreeMap<(u32, i64), f64>;

fn open(disk: &SimFiles, open_blocks: usize) -> Store {
    let clock = SimClock::new(100 * 24 * HOUR_MS);
    let env =
        Env { clock: Arc::new(clock), files: Arc::new(disk.clone()), random: Arc::new(SimRandom::new(1)) };
    let options = Options {
        open_blocks,
        cache_bytes: 0,
        disk_reserve_bytes: 0,
        retention_confirm: Duration::ZERO,
        ..Options::default()
    };
    Store::open(env, Path::new("data"), options, &Progress::default()).unwrap()
}

fn empty_disk() -> SimFiles {
    let disk = SimFiles::new(1);
    disk.create_dir(Path::new("data")).unwrap();
    disk
}

/// Two series with a sample each, an hour after those of the block before.
fn rows(n: i64) -> Vec<(u32, i64, f64)> {
    vec![(1, n * HOUR_MS, n as f64), (2, n * HOUR_MS + 5, -n as f64)]
}

fn model(blocks: impl Iterator<Item = i64>) -> Model {
    blocks.flat_map(rows).map(|(i, ms, value)| ((i, ms), value)).collect()
}

/// Makes a block.
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

fn begin(store: &Store) -> Selection<'_> {
    store.select(TENANT, &[], ALWAYS, &Hints::default(), &BUDGET).unwrap()
}

/// What a selection gives, and the warnings that it gives with it.
fn read_out(mut selection: Selection<'_>) -> (Model, Vec<String>) {
    let (mut found, mut block) = (Model::new(), model::SeriesBlock::default());
    while selection.next_block(&mut block).unwrap() {
        for (index, series) in block.series.iter().enumerate() {
            let i = selection.labels(*series).unwrap().unwrap().get("i").unwrap().parse().unwrap();
            for row in block.offsets[index] as usize..block.offsets[index + 1] as usize {
                found.insert((i, block.columns.timestamps[row]), block.columns.values[row]);
            }
        }
    }
    (found, selection.warnings())
}

fn read(store: &Store) -> Model {
    read_out(begin(store)).0
}

fn names(disk: &SimFiles, directory: &str) -> Vec<String> {
    disk.list(&Path::new("data").join(directory)).unwrap()
}

/// Each live block had a descriptor: 90 blocks, `ulimit -n 100`, and the next start failed with EMFILE.
#[test]
fn a_store_has_more_blocks_than_descriptors() {
    const BLOCKS: i64 = 90;
    let disk = empty_disk();
    disk.set_open_max(20);
    let store = open(&disk, 8);
    (1..=BLOCKS).for_each(|n| write(&store, n));
    assert_eq!(read(&store), model(1..=BLOCKS));
    drop(store);
    let store = open(&disk, 8);
    assert_eq!((store.status().blocks, store.status().quarantined), (90, 0));
    assert_eq!(read(&store), model(1..=BLOCKS));
    // Eight of blocks, and the log's segment.
    assert!((8..=9).contains(&disk.open_files()), "{}", disk.open_files());
    drop(store);
    assert_eq!(disk.open_files(), 0);
}

/// With one handle each page costs another opening, with enough of them none.
#[test]
fn a_block_that_is_read_again_is_still_open() {
    let disk = empty_disk();
    let store = open(&disk, 4);
    (1..=4).for_each(|n| write(&store, n));
    let before = disk.count(Op::Open);
    assert_eq!(read(&store), model(1..=4));
    assert_eq!(disk.count(Op::Open), before);
    write(&store, 5);
    let before = disk.count(Op::Open);
    assert_eq!(read(&store), model(1..=5));
    assert!(disk.count(Op::Open) > before);
}

/// The bound may be more than there are: others of the process need them too.
#[test]
fn a_store_gives_its_descriptors_back_when_there_are_no_more() {
    let disk = empty_disk();
    let store = open(&disk, 1000);
    (1..=20).for_each(|n| write(&store, n));
    disk.set_open_max(disk.open_files());
    write(&store, 21);
    assert_eq!(read(&store), model(1..=21));
    assert_eq!(store.status().quarantined, 0);
}

#[test]
fn a_start_goes_around_a_block_that_cannot_be_opened() {
    let disk = empty_disk();
    let store = open(&disk, 8);
    (1..=10).for_each(|n| write(&store, n));
    drop(store);
    disk.plan(Fault::new(Op::Open, Failure::TooManyFiles).on("000000000006.block").forever());
    let store = open(&disk, 8);
    assert_eq!(read(&store), model((1..=10).filter(|n| *n != 6)));
    let (_, warnings) = read_out(begin(&store));
    assert!(warnings.iter().any(|warning| warning.contains("block 000000000006.block: ")), "{warnings:?}");
    store.compact_all().unwrap_err();
    drop(store);
    disk.heal();
    assert_eq!(read(&open(&disk, 8)), model(1..=10), "it is where it was");
}

/// A selection goes on to read blocks that a merge has replaced since: by their names, when they are not open.
#[test]
fn a_merged_block_goes_when_nobody_reads_it_any_longer() {
    let disk = empty_disk();
    let store = open(&disk, 1);
    (1..=6).for_each(|n| write(&store, n));
    let merged = names(&disk, "blocks");
    let selection = begin(&store);
    store.compact_all().unwrap();
    assert_eq!(read(&store), model(1..=6));
    assert!(merged.iter().all(|name| names(&disk, "blocks").contains(name)), "there is a reader");
    assert_eq!(read_out(selection), (model(1..=6), Vec::new()));
    assert!(!merged.iter().any(|name| names(&disk, "blocks").contains(name)), "there is none");
    assert_eq!(store.status().blocks, names(&disk, "blocks").len() as u64);
    drop(store);
    assert_eq!(read(&open(&disk, 1)), model(1..=6));
}

#[test]
fn an_expired_block_goes_when_nobody_reads_it_any_longer() {
    let disk = empty_disk();
    let store = open(&disk, 1);
    (1..=6).for_each(|n| write(&store, n));
    let selection = begin(&store);
    let keep = |_| Keep { age_ms: 24 * HOUR_MS, bytes: 0 };
    while let Some(job) = store.next_job(&keep) {
        store.run(job, &keep).unwrap();
    }
    assert_eq!((store.status().blocks, names(&disk, "blocks").len()), (0, 6));
    assert_eq!(read_out(selection), (model(1..=6), Vec::new()));
    assert_eq!(names(&disk, "blocks"), Vec::<String>::new());
}

/// A kill while somebody reads a block that is no longer live: the next start removes it.
#[test]
fn a_block_that_was_still_read_at_a_kill_goes_at_the_next_start() {
    let disk = empty_disk();
    let store = open(&disk, 1);
    (1..=6).for_each(|n| write(&store, n));
    let selection = begin(&store);
    store.compact_all().unwrap();
    disk.kill();
    let after = open(&disk, 1);
    assert_eq!(read(&after), model(1..=6));
    assert_eq!(after.status().blocks, names(&disk, "blocks").len() as u64);
    drop(selection);
    drop(store);
    assert_eq!(read(&after), model(1..=6), "who was killed changes nothing");
}

/// Where the file system has no second names a damaged block is moved; who reads it finds the rest of it there.
#[test]
fn a_damaged_block_is_read_on_from_quarantine() {
    for links in [None, Some(Fault::new(Op::Link, Failure::Unsupported).forever())] {
        let disk = empty_disk();
        let store = open(&disk, 1);
        (1..=6).for_each(|n| write(&store, n));
        // In its only page of chunks.
        let damaged = Path::new("data/blocks/000000000003.block");
        disk.damage(damaged, |bytes| bytes[100] ^= 1).unwrap();
        let wanted = read_out(begin(&store)).0;
        assert_eq!(wanted, model((1..=6).filter(|n| *n != 3)));
        let selection = begin(&store);
        if let Some(fault) = links {
            disk.plan(fault);
        }
        store.compact_all().unwrap();
        assert_eq!(names(&disk, "quarantine"), ["000000000003.block"]);
        let (found, warnings) = read_out(selection);
        assert_eq!(found, wanted);
        assert!(!warnings.iter().any(|warning| warning.contains("file is missing")), "{warnings:?}");
        assert!(!names(&disk, "blocks").contains(&"000000000003.block".to_owned()));
        assert_eq!(names(&disk, "quarantine"), ["000000000003.block"]);
    }
}
