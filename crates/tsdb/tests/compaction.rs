//! Merges of blocks: the same answers before and after, in fewer files.

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use env::Env;
use model::{Budget, Hints, MatchOp, Matcher, TenantId, TenantLimits, TimeRange};
use tsdb::{Job, Keep, Options, Progress, Store, WriteContext};

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
const TENANTS: [TenantId; 2] = [TenantId(3), TenantId(9)];
const SERIES: u32 = 5;

/// What was written, by tenant, series and time.
type Model = BTreeMap<(TenantId, u32, i64), f64>;

fn open(directory: &Path) -> Store {
    open_with(directory, Options::default().compaction_bytes_per_second)
}

fn open_with(directory: &Path, compaction_bytes_per_second: u64) -> Store {
    let options = Options { compaction_blocks: 4, compaction_bytes_per_second, ..Options::default() };
    Store::open(Env::real(), directory, options, &Progress::default()).unwrap()
}

fn write(store: &Store, model: &mut Model, tenant: TenantId, rows: &[(u32, i64, f64)]) {
    model.extend(rows.iter().map(|(i, timestamp_ms, value)| ((tenant, *i, *timestamp_ms), *value)));
    let batch = common::batch(store.seed(), rows);
    let limits = TenantLimits { retention_ms: 0, ..TenantLimits::default() };
    let context = WriteContext { tenant, limits: &limits, epoch: 0, now_ms: 100 * DAY_MS, digest: None };
    let (ticket, appended) = store.append(&context, &batch).unwrap();
    assert_eq!(appended.accepted.samples, rows.len() as u64, "{appended:?}");
    store.commit(Duration::ZERO);
    ticket.wait().unwrap();
}

fn read(store: &Store) -> Model {
    let mut found = Model::new();
    for tenant in TENANTS {
        let budget = Budget::new(1 << 30);
        let matchers = [Matcher::new("__name__", MatchOp::Equal, "metric").unwrap()];
        let range = TimeRange { start_ms: i64::MIN, end_ms: i64::MAX };
        let mut selection = store.select(tenant, &matchers, range, &Hints::default(), &budget).unwrap();
        let mut block = model::SeriesBlock::default();
        while selection.next_block(&mut block).unwrap() {
            for (index, series) in block.series.iter().enumerate() {
                let i = selection.labels(*series).unwrap().unwrap().get("i").unwrap().parse().unwrap();
                for row in block.offsets[index] as usize..block.offsets[index + 1] as usize {
                    found.insert((tenant, i, block.columns.timestamps[row]), block.columns.values[row]);
                }
            }
        }
        assert_eq!(selection.warnings(), Vec::<String>::new());
    }
    found
}

/// Does merges until none is due.
fn compact(store: &Store) -> u64 {
    let before = store.status().compactions;
    let mut steps = 0;
    while store.status().blocks > 1 && steps < 10_000 {
        match store.next_job(&|_| Keep::default()) {
            Some(job) => store.run(job, &|_| Keep::default()).unwrap(),
            None => break,
        }
        steps += 1;
    }
    store.status().compactions - before
}

/// Ten days, an hour a flush, each with some rows of an earlier time that replace or add.
fn live(store: &Store, model: &mut Model) {
    for hour in 0..240i64 {
        for (tenant, factor) in TENANTS.into_iter().zip([1.0, -1.0]) {
            let mut rows = Vec::new();
            for i in 0..SERIES {
                rows.extend(
                    (0..4).map(|q| (i, hour * HOUR_MS + q * 900_000, factor * (hour * 10 + q) as f64)),
                );
                let earlier = (hour * 7919 + i64::from(i)) % (hour + 1);
                rows.push((i, earlier * HOUR_MS + i64::from(i % 2), factor * (1_000_000 + hour) as f64));
            }
            write(store, model, tenant, &rows);
        }
        store.flush().unwrap();
        compact(store);
    }
}

fn files(directory: &Path) -> usize {
    std::fs::read_dir(directory.join("blocks")).unwrap().count()
}

#[test]
fn ten_days_of_late_and_repeated_samples_are_the_same_in_few_files() {
    let directory = tempfile::tempdir().unwrap();
    let (store, mut model) = (open(directory.path()), Model::new());
    live(&store, &mut model);
    assert!(store.status().compactions > 20, "{:?}", store.status());
    assert_eq!(store.status().compaction_failures, 0);
    assert!(read(&store) == model, "before a restart");
    // A few for each of ten days and the hours of today, out of 240 flushes.
    assert!(store.status().blocks < 60, "{} blocks", store.status().blocks);
    assert_eq!(files(directory.path()) as u64, store.status().blocks, "what was merged is removed");
    drop(store);
    let store = open(directory.path());
    assert!(read(&store) == model, "after a restart");
}

#[test]
fn everything_is_merged_into_days_when_that_is_wanted() {
    let directory = tempfile::tempdir().unwrap();
    let (store, mut model) = (open(directory.path()), Model::new());
    live(&store, &mut model);
    store.compact_all().unwrap();
    assert!(read(&store) == model);
    let days = 10;
    assert_eq!(store.status().blocks, days, "one for each day, today's too");
    let before = store.status().compactions;
    store.compact_all().unwrap();
    assert_eq!(store.status().compactions, before, "nothing is left to be merged");
    drop(store);
    assert!(read(&open(directory.path())) == model, "after a restart");
}

/// The newer copy of the manifest is lost right after a merge: the one before must not name what the merge removed.
#[test]
fn either_copy_of_the_manifest_is_enough_after_a_merge() {
    let directory = tempfile::tempdir().unwrap();
    for lost in ["manifest-0", "manifest-1"] {
        let directory = directory.path().join(lost);
        let (store, mut model) = (open(&directory), Model::new());
        for hour in 0..4 {
            write(&store, &mut model, TENANTS[0], &[(1, hour * HOUR_MS, hour as f64)]);
            store.flush().unwrap();
        }
        assert_eq!(compact(&store), 1);
        drop(store);
        std::fs::remove_file(directory.join(lost)).unwrap();
        let store = open(&directory);
        assert!(read(&store) == model, "without {lost}");
    }
}

#[test]
fn a_merge_that_is_cut_short_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (store, mut model) = (open_with(directory.path(), 1), Model::new());
    for hour in 0..4 {
        write(&store, &mut model, TENANTS[0], &[(1, hour * HOUR_MS, 1.0), (2, hour * HOUR_MS, 2.0)]);
        store.flush().unwrap();
    }
    assert_eq!(store.next_job(&|_| Keep::default()), Some(Job::Compaction));
    store.run(Job::Compaction, &|_| Keep::default()).unwrap();
    assert!(files(directory.path()) > 4, "a merge is under way");
    store.close().unwrap();
    assert_eq!(files(directory.path()) as u64, store.status().blocks);
    drop(store);
    let store = open(directory.path());
    assert!(read(&store) == model);
}

/// Bytes of a directory's blocks.
fn block_bytes(directory: &Path) -> u64 {
    let files = std::fs::read_dir(directory.join("blocks")).unwrap();
    files.map(|file| file.unwrap().metadata().unwrap().len()).sum()
}

#[test]
fn what_a_deleted_tenant_had_is_gone_at_once_and_leaves_the_disk() {
    let directory = tempfile::tempdir().unwrap();
    let (store, mut model) = (open(directory.path()), Model::new());
    let [large, small] = TENANTS;
    let rows = |hour: i64, count: i64| -> Vec<(u32, i64, f64)> {
        (0..count).map(|q| ((q % 3) as u32, hour * HOUR_MS + q * 1000, (q as f64).sin())).collect()
    };
    for hour in 0..3 {
        write(&store, &mut model, large, &rows(hour, 3000));
        write(&store, &mut model, small, &rows(hour, 10));
        store.flush().unwrap();
    }
    // One that holds nothing else.
    write(&store, &mut model, large, &rows(3, 3000));
    store.flush().unwrap();
    let before = block_bytes(directory.path());
    store.delete_tenant(large).unwrap();
    model.retain(|(tenant, _, _), _| *tenant == small);
    assert!(read(&store) == model, "at once");
    store.run(Job::Retention, &|_| Keep::default()).unwrap();
    assert_eq!(store.status().blocks, 3, "the block that held nothing else");
    write(&store, &mut model, small, &rows(4, 10));
    store.flush().unwrap();
    assert_eq!(compact(&store), 1);
    let after = block_bytes(directory.path());
    assert!(after * 20 < before, "{after} of {before} bytes are left");
    assert!(read(&store) == model);
    drop(store);
    assert!(read(&open(directory.path())) == model, "after a restart");
}
