//! How many series have which labels, wherever they are, and what a delete leaves of it.

mod common;

use std::path::Path;
use std::time::Duration;

use env::Env;
use model::{Budget, MatchOp, Matcher, TenantId, TenantLimits, TimeRange};
use tsdb::{Cardinality, Job, Keep, Options, Progress, SelectError, Store, WriteContext};

const OURS: TenantId = TenantId(3);
const THEIRS: TenantId = TenantId(9);
const ALWAYS: TimeRange = TimeRange { start_ms: i64::MIN, end_ms: i64::MAX };

fn open(directory: &Path) -> Store {
    Store::open(Env::real(), directory, Options::default(), &Progress::default()).unwrap()
}

fn write(store: &Store, tenant: TenantId, series: std::ops::Range<u32>, ms: i64) {
    let rows: Vec<_> = series.map(|i| (i, ms, 1.0)).collect();
    let batch = common::batch(store.seed(), &rows);
    let limits = TenantLimits { retention_ms: 0, ..TenantLimits::default() };
    let context =
        WriteContext { tenant, limits: &limits, epoch: 0, now_ms: Env::real().clock.now_ms(), digest: None };
    let (ticket, _) = store.append(&context, &batch).unwrap();
    store.commit(Duration::ZERO);
    ticket.wait().unwrap();
}

fn counted(store: &Store, most: usize) -> Cardinality {
    let budget = Budget::new(1 << 20);
    let found = store.cardinality(OURS, most, &budget).unwrap();
    assert!(found.warnings.is_empty(), "{found:?}");
    // But for the lists, and what tells deleted series from others.
    let lists = lists(&found.found);
    let held: u64 = lists.iter().flatten().map(|(name, _)| name.len() as u64 + 64).sum();
    assert!((held..held + 200).contains(&budget.used()), "{} bytes for {held}", budget.used());
    found.found
}

/// Series, metrics, values by name, bytes by name, labels of the most series.
fn lists(found: &Cardinality) -> [Vec<(&str, u64)>; 4] {
    [&found.series_by_metric, &found.values_by_name, &found.bytes_by_name, &found.series_by_label]
        .map(|list| list.iter().map(|entry| (entry.name.as_str(), entry.count)).collect())
}

#[test]
fn head_and_blocks_count_and_what_is_deleted_does_not() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    assert_eq!(counted(&store, 10), Cardinality::default());
    write(&store, OURS, 0..12, 1000);
    write(&store, THEIRS, 0..99, 500);
    let all = |found: &Cardinality| {
        assert_eq!(found.labels, 13);
        assert_eq!(
            lists(found),
            [
                vec![("metric", 12)],
                vec![("i", 12), ("__name__", 1)],
                vec![("__name__", 72), ("i", 14)],
                vec![("__name__=metric", 12), ("i=0", 1)],
            ]
        );
    };
    let in_head = counted(&store, 2);
    all(&in_head);
    assert_eq!(in_head.head_series, 12);
    // From 500 on it told when others had written.
    assert_eq!(in_head.head_range, Some(TimeRange { start_ms: 1000, end_ms: 1000 }));
    store.flush().unwrap();
    // In both now, and counted once.
    write(&store, OURS, 0..6, 2000);
    all(&counted(&store, 2));
    store.close().unwrap();
    drop(store);

    let store = open(directory.path());
    let in_blocks = counted(&store, 2);
    all(&in_blocks);
    assert_eq!((in_blocks.head_series, in_blocks.head_range), (0, None));
    let parts = store.blocks_of(OURS);
    assert_eq!(parts.iter().map(|part| (part.series, part.samples)).collect::<Vec<_>>(), [(12, 12), (6, 6)]);
    assert_eq!(parts[0].range, TimeRange { start_ms: 1000, end_ms: 1000 });

    let matchers = vec![Matcher::new("i", MatchOp::Regex, "[1-9].*").unwrap()];
    store.delete_series(OURS, &[matchers], ALWAYS).unwrap();
    let left = counted(&store, 2);
    assert_eq!(lists(&left)[1], [("__name__", 1), ("i", 1)]);
    assert_eq!(lists(&left)[3], [("__name__=metric", 1), ("i=0", 1)]);
    assert_eq!(store.blocks_of(OURS).iter().map(|part| part.tombstones).collect::<Vec<_>>(), [1, 1]);

    // Nothing waits for its turn any more.
    store.clean_tombstones();
    for _ in 0..100 {
        match store.next_job(&|_| Keep::default()) {
            Some(job @ Job::Compaction) => store.run(job, &|_| Keep::default()).unwrap(),
            Some(job) => panic!("{job:?}"),
            None => break,
        }
        store.clean_tombstones();
    }
    assert_eq!(store.status().tombstones, 0);
    assert_eq!(lists(&counted(&store, 2))[1], [("__name__", 1), ("i", 1)]);
}

#[test]
fn what_it_holds_is_paid_for() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    write(&store, OURS, 0..2000, 1000);
    let refused = store.cardinality(OURS, 10, &Budget::new(50_000));
    assert!(matches!(refused, Err(SelectError::Stop(_))), "{refused:?}");
    store.flush().unwrap();
    assert!(matches!(store.cardinality(OURS, 10, &Budget::new(50_000)), Err(SelectError::Stop(_))));
}
