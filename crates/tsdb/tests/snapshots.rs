//! Snapshots on a real directory: what is inside, what the store may do meanwhile, what a restore refuses.

mod common;

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use env::Env;
use env::real::OsFiles;
use model::{Budget, Hints, TenantId, TenantLimits, TimeRange};
use tsdb::{OpenError, Options, Progress, RestoreError, SnapshotError, SnapshotName, Store, WriteContext};

const TENANT: TenantId = TenantId(1);
const ALWAYS: TimeRange = TimeRange { start_ms: i64::MIN, end_ms: i64::MAX };

fn open(directory: &Path) -> Store {
    Store::open(Env::real(), directory, Options::default(), &Progress::default()).unwrap()
}

fn write(store: &Store, rows: &[(u32, i64, f64)]) {
    let batch = common::batch(store.seed(), rows);
    let limits = TenantLimits { retention_ms: 0, ..TenantLimits::default() };
    let context = WriteContext { tenant: TENANT, limits: &limits, epoch: 0, now_ms: 1_000_000, digest: None };
    let (ticket, _) = store.append(&context, &batch).unwrap();
    store.commit(Duration::ZERO);
    ticket.wait().unwrap();
}

/// All samples, by time.
fn read(store: &Store) -> Vec<(i64, f64)> {
    let budget = Budget::new(1 << 30);
    let mut selection = store.select(TENANT, &[], ALWAYS, &Hints::default(), &budget).unwrap();
    let mut found = Vec::new();
    let mut block = model::SeriesBlock::default();
    while selection.next_block(&mut block).unwrap() {
        found.extend(block.columns.timestamps.iter().copied().zip(block.columns.values.iter().copied()));
    }
    assert_eq!(selection.warnings(), Vec::<String>::new());
    found.sort_by_key(|(ms, _)| *ms);
    found
}

fn name(name: &str) -> SnapshotName {
    SnapshotName::parse(name).unwrap()
}

fn snapshot(store: &Store, its: &str) -> tsdb::Snapshot {
    store.snapshot(&name(its), &|_| Ok(())).unwrap()
}

#[test]
fn a_snapshot_outlives_whatever_the_store_does() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    write(&store, &[(1, 10, 1.0)]);
    store.flush().unwrap();
    write(&store, &[(1, 20, 2.0)]);
    let made = snapshot(&store, "s");
    assert_eq!((made.blocks, made.samples), (2, 2));
    let path = name("s").path(directory.path());
    let block = path.join("blocks/000000000001.block");
    assert_eq!(block.metadata().unwrap().nlink(), 2, "the bytes are there once");
    write(&store, &[(1, 30, 3.0), (1, 10, 9.0)]);
    store.delete_tenant(TENANT).unwrap();
    while let Some(job) = store.next_job(&|_| tsdb::Keep::default()) {
        store.run(job, &|_| tsdb::Keep::default()).unwrap();
    }
    assert!(!directory.path().join("blocks/000000000001.block").exists());
    assert_eq!(read(&store), []);
    assert_eq!(block.metadata().unwrap().nlink(), 1);
    assert_eq!(tsdb::snapshots(&OsFiles, directory.path()).unwrap(), [(name("s"), Some(made))]);
    let files = &OsFiles;
    assert_eq!(tsdb::check(files, &path, &mut |_| {}).unwrap().damage, []);

    // The same from a copy, from links, and where it lies.
    for (to, link) in [("copy", false), ("links", true)] {
        let to = directory.path().join(to);
        let mut bytes = 0;
        tsdb::restore(files, &path, &to, link, &mut |more| bytes += more).unwrap();
        assert!(bytes > made.bytes, "{bytes}");
        assert!(!to.join("SNAPSHOT").exists() && !to.join("RESTORING").exists());
        let store = open(&to);
        assert_eq!(read(&store), [(10, 1.0), (20, 2.0)]);
        // What is written now is written later than what is there.
        write(&store, &[(1, 10, 5.0)]);
        store.close().unwrap();
        assert_eq!(read(&open(&to)), [(10, 5.0), (20, 2.0)]);
    }
    assert_eq!(read(&open(&path)), [(10, 1.0), (20, 2.0)]);

    store.delete_snapshot(&name("s")).unwrap();
    assert!(!path.exists());
    assert_eq!(read(&open(&directory.path().join("links"))), [(10, 5.0), (20, 2.0)]);
}

#[test]
fn snapshots_and_restores_refuse_what_is_there_already() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    write(&store, &[(1, 10, 1.0)]);
    snapshot(&store, "s");
    assert!(matches!(store.snapshot(&name("s"), &|_| Ok(())), Err(SnapshotError::Exists(_))));
    assert!(matches!(store.delete_snapshot(&name("t")), Err(SnapshotError::Missing(_))));
    let from = name("s").path(directory.path());
    let restore = |from: &Path, to: &Path| tsdb::restore(&OsFiles, from, to, false, &mut |_| {});
    let full = tempfile::tempdir().unwrap();
    std::fs::write(full.path().join("x"), "").unwrap();
    assert!(matches!(restore(&from, full.path()), Err(RestoreError::NotEmpty(_))));
    assert!(matches!(restore(full.path(), &directory.path().join("to")), Err(RestoreError::NoSnapshot(_))));
    let empty = tempfile::tempdir().unwrap();
    restore(&from, empty.path()).unwrap();
    assert_eq!(read(&open(empty.path())), [(10, 1.0)]);
}

/// The bug: a directory restored into one inside of it was copied into itself until the disk was full.
#[test]
fn nothing_is_restored_into_itself() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    let store = open(&data);
    write(&store, &[(1, 10, 1.0)]);
    store.close().unwrap();
    drop(store);
    std::os::unix::fs::symlink(&data, place.path().join("link")).unwrap();
    std::fs::create_dir(data.join("empty")).unwrap();
    let restore = |to: &str| tsdb::restore(&OsFiles, &data, &place.path().join(to), false, &mut |_| {});
    for inside in ["data/inner", "data/wal/inner", "link/inner", "other/../data/inner", "data/empty"] {
        std::fs::create_dir_all(place.path().join("other")).unwrap();
        let refused = restore(inside).unwrap_err();
        assert!(matches!(refused, RestoreError::Inside { .. }), "{inside}: {refused}");
        assert_eq!(place.path().join(inside).exists(), inside == "data/empty", "{inside} is as it was");
    }
    // Only its name begins alike.
    restore("data-2").unwrap();
    assert_eq!(read(&open(&place.path().join("data-2"))), [(10, 1.0)]);
}

#[test]
fn what_was_cut_short_is_removed_or_refused() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    write(&store, &[(1, 10, 1.0)]);
    let failed = store.snapshot(&name("failed"), &|_| Err(std::io::Error::other("no")));
    assert!(matches!(failed, Err(SnapshotError::Io(_))));
    assert_eq!(std::fs::read_dir(directory.path().join("snapshots")).unwrap().count(), 0);
    snapshot(&store, "s");
    drop(store);
    let half = directory.path().join("snapshots/half.tmp");
    std::fs::create_dir_all(half.join("blocks")).unwrap();
    std::fs::write(half.join("blocks/000000000001.block"), "x").unwrap();
    assert_eq!(tsdb::snapshots(&OsFiles, directory.path()).unwrap().len(), 1);
    drop(open(directory.path()));
    assert!(!half.exists());

    let to = directory.path().join("to");
    tsdb::restore(&OsFiles, &name("s").path(directory.path()), &to, false, &mut |_| {}).unwrap();
    std::fs::write(to.join("RESTORING"), "").unwrap();
    let refused = Store::open(Env::real(), &to, Options::default(), &Progress::default());
    assert!(matches!(refused, Err(OpenError::HalfRestored)));
}
