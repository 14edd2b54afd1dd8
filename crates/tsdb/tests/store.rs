//! The store as its callers use it: append, commit, select, flush, reopen.

mod common;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use env::Env;
use model::{Budget, Hints, MatchOp, Matcher, TenantId, TenantLimits, TimeRange};
use tsdb::{Options, Progress, Store, WriteContext};

const TENANT: TenantId = TenantId(1);
const ALWAYS: TimeRange = TimeRange { start_ms: i64::MIN, end_ms: i64::MAX };

fn open(directory: &Path) -> Store {
    Store::open(Env::real(), directory, Options::default(), &Progress::default()).unwrap()
}

fn limits() -> TenantLimits {
    TenantLimits { retention_ms: 0, ..TenantLimits::default() }
}

/// Appends `metric{i="…"}` for each `(i, ms, value)` and waits for the ticket.
fn write(store: &Store, rows: &[(u32, i64, f64)]) {
    let batch = common::batch(store.seed(), rows);
    let limits = limits();
    let context = WriteContext { tenant: TENANT, limits: &limits, epoch: 0, now_ms: 1_000_000, digest: None };
    let (ticket, appended) = store.append(&context, &batch).unwrap();
    assert_eq!(appended.accepted.samples, rows.len() as u64, "{appended:?}");
    store.commit(Duration::ZERO);
    ticket.wait().unwrap();
}

fn read(store: &Store) -> Vec<(String, Vec<(i64, f64)>)> {
    let budget = Budget::new(1 << 30);
    let matchers = [Matcher::new("__name__", MatchOp::Equal, "metric").unwrap()];
    let mut selection = store.select(TENANT, &matchers, ALWAYS, &Hints::default(), &budget).unwrap();
    let mut found = Vec::new();
    let mut block = model::SeriesBlock::default();
    while selection.next_block(&mut block).unwrap() {
        for (index, series) in block.series.iter().enumerate() {
            let rows = block.offsets[index] as usize..block.offsets[index + 1] as usize;
            let samples =
                rows.map(|row| (block.columns.timestamps[row], block.columns.values[row])).collect();
            found.push((selection.labels(*series).unwrap().unwrap().get("i").unwrap().to_owned(), samples));
        }
    }
    assert_eq!(selection.warnings(), Vec::<String>::new());
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

#[test]
fn samples_are_there_after_commit_flush_and_reopening() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    write(&store, &[(1, 10, 1.0), (2, 10, 2.0), (1, 30, 3.0)]);
    let wanted = vec![("1".to_owned(), vec![(10, 1.0), (30, 3.0)]), ("2".to_owned(), vec![(10, 2.0)])];
    assert_eq!(read(&store), wanted, "queryable when the ticket completes");
    drop(store);
    let store = open(directory.path());
    assert_eq!(read(&store), wanted, "replayed");
    store.flush().unwrap();
    assert_eq!(store.status().head_samples, 0);
    assert_eq!(read(&store), wanted, "from a block");
    write(&store, &[(1, 20, 9.0), (1, 30, 4.0), (3, 5, 5.0)]);
    let both = vec![
        ("1".to_owned(), vec![(10, 1.0), (20, 9.0), (30, 4.0)]),
        ("2".to_owned(), vec![(10, 2.0)]),
        ("3".to_owned(), vec![(5, 5.0)]),
    ];
    assert_eq!(read(&store), both, "head and block as one, the later write wins");
    store.close().unwrap();
    drop(store);
    let store = open(directory.path());
    assert_eq!(store.status().head_samples, 0, "nothing to replay after close");
    assert_eq!(read(&store), both);
}

/// The bug: blocks expire one by one, so the block with the newer of two writes went while the older one stayed, kept
/// by newer samples, and showed the overwritten value again. A floor in the manifest cuts what retention has passed.
#[test]
fn an_expired_write_does_not_uncover_the_one_that_it_replaced() {
    let disk = sim::files::SimFiles::new(1);
    env::Files::create_dir(&disk, Path::new("data")).unwrap();
    let open = || {
        let env = Env {
            clock: Arc::new(sim::clock::SimClock::new(600)),
            files: Arc::new(disk.clone()),
            random: Arc::new(sim::random::SimRandom::new(1)),
        };
        let options =
            Options { disk_reserve_bytes: 0, retention_confirm: Duration::ZERO, ..Options::default() };
        Store::open(env, Path::new("data"), options, &Progress::default()).unwrap()
    };
    let store = open();
    write(&store, &[(1, 10, 1.0), (1, 1000, 5.0)]);
    store.flush().unwrap();
    write(&store, &[(1, 10, 2.0)]);
    store.flush().unwrap();
    store.run(tsdb::Job::Retention, &|_| tsdb::Keep { age_ms: 400, bytes: 0 }).unwrap();
    assert_eq!(store.status().blocks, 1, "the block with only the newer write has expired");
    let left = vec![("1".to_owned(), vec![(1000, 5.0)])];
    assert_eq!(read(&store), left);
    assert_eq!(read(&open()), left, "also after a restart");
    write(&store, &[(1, 10, 3.0)]);
    store.flush().unwrap();
    let sent_anew = vec![("1".to_owned(), vec![(10, 3.0), (1000, 5.0)])];
    assert_eq!(read(&store), sent_anew, "what is written later is visible");
}

/// The bug: a start that found both manifests damaged showed every block, and wrote a first manifest that named none;
/// killed before its first flush, the next start removed all blocks as files that nobody names.
#[test]
fn blocks_outlive_the_loss_of_both_manifests_and_a_kill_after_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    write(&store, &[(1, 10, 1.0)]);
    store.flush().unwrap();
    drop(store);
    for name in ["manifest-0", "manifest-1"] {
        std::fs::write(directory.path().join(name), b"damaged").unwrap();
    }
    let samples = |store: &Store| {
        let budget = Budget::new(1 << 20);
        let matchers = [Matcher::new("i", MatchOp::Equal, "1").unwrap()];
        let mut selection = store.select(TENANT, &matchers, ALWAYS, &Hints::default(), &budget).unwrap();
        let mut block = model::SeriesBlock::default();
        selection.next_block(&mut block).unwrap().then_some(block.columns.values)
    };
    for start in 1..=3 {
        let store = open(directory.path());
        assert_eq!(samples(&store), Some(vec![1.0]), "start {start}");
    }
}

#[test]
fn a_log_of_a_newer_weir_is_refused_before_a_byte_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    write(&store, &[(1, 10, 1.0)]);
    drop(store);
    let log = directory.path().join("wal/metrics");
    let segment = std::fs::read_dir(&log).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[8..12].copy_from_slice(&[9, 0, 8, 0]);
    let crc = codec::hash::crc32c_parts(&[&bytes[..48]]);
    bytes[48..52].copy_from_slice(&crc.to_le_bytes());
    std::fs::write(&segment, &bytes).unwrap();
    // What a start makes anew when it is missing.
    std::fs::remove_dir(directory.path().join("quarantine")).unwrap();
    std::fs::remove_file(directory.path().join("FORMAT")).unwrap();
    let refused = Store::open(Env::real(), directory.path(), Options::default(), &Progress::default());
    let error = refused.unwrap_err().to_string();
    assert_eq!(error, "WAL segment 1 has format version 9, this Weir reads up to 1; nothing was changed");
    assert!(!directory.path().join("quarantine").exists() && !directory.path().join("FORMAT").exists());
    assert_eq!(std::fs::read(&segment).unwrap(), bytes);
}

/// The power goes while a large request is written: of its frames the first, with the definitions, is lost, the others
/// are there. Nobody was told that it is durable, so nothing is missing.
#[test]
fn what_a_torn_request_names_is_no_damage() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    write(&store, &[(1, 10, 1.0)]);
    let rows: Vec<(u32, i64, f64)> = (100..60_100).map(|i| (i, 10, 2.0)).collect();
    write(&store, &rows);
    drop(store);
    let log = directory.path().join("wal/metrics");
    let segment = std::fs::read_dir(&log).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&segment).unwrap();
    let frames: Vec<usize> =
        bytes.windows(4).enumerate().filter(|(_, w)| w == b"FRM1").map(|(at, _)| at).collect();
    assert!(frames.len() > 3, "{frames:?}");
    bytes[frames[1]..frames[2]].fill(0);
    std::fs::write(&segment, &bytes).unwrap();
    let store = open(directory.path());
    assert_eq!(store.status().replay_damaged_frames, 0);
    let found = read(&store);
    assert!(found.contains(&("1".to_owned(), vec![(10, 1.0)])) && found.len() < 60_001);
}
