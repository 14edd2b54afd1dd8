//! Deletes of series and of what is too much: gone at once and for good, but for what is sent again.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use env::Env;
use model::{Budget, Hints, MatchOp, Matcher, TenantId, TenantLimits, TimeRange};
use tsdb::{AppendError, Appended, Committed, Job, Keep, Options, Progress, Store, Ticket, WriteContext};

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
const ALWAYS: TimeRange = TimeRange { start_ms: i64::MIN, end_ms: i64::MAX };
const OURS: TenantId = TenantId(3);
const THEIRS: TenantId = TenantId(9);

/// What is there, by tenant, series and time.
type Model = BTreeMap<(TenantId, u32, i64), f64>;

fn open(directory: &Path) -> Store {
    let options = Options { compaction_blocks: 4, ..Options::default() };
    Store::open(Env::real(), directory, options, &Progress::default()).unwrap()
}

fn append(
    store: &Store,
    tenant: TenantId,
    rows: &[(u32, i64, f64)],
) -> Result<(Ticket, Appended), AppendError> {
    let batch = common::batch(store.seed(), rows);
    let limits = TenantLimits { retention_ms: 0, ..TenantLimits::default() };
    let context =
        WriteContext { tenant, limits: &limits, epoch: 0, now_ms: Env::real().clock.now_ms(), digest: None };
    store.append(&context, &batch)
}

fn write(store: &Store, model: &mut Model, tenant: TenantId, rows: &[(u32, i64, f64)]) {
    model.extend(rows.iter().map(|(i, timestamp_ms, value)| ((tenant, *i, *timestamp_ms), *value)));
    let (ticket, appended) = append(store, tenant, rows).unwrap();
    assert_eq!(appended.accepted.samples, rows.len() as u64, "{appended:?}");
    store.commit(Duration::ZERO);
    ticket.wait().unwrap();
}

fn matcher(op: MatchOp, value: &str) -> Vec<Matcher> {
    vec![Matcher::new("i", op, value).unwrap()]
}

fn delete(store: &Store, model: &mut Model, tenant: TenantId, matchers: Vec<Matcher>, range: TimeRange) {
    model.retain(|(of, i, ms), _| {
        *of != tenant || !range.contains(*ms) || !matchers.iter().all(|m| m.matches(&i.to_string()))
    });
    store.delete_series(tenant, &[matchers], range).unwrap();
}

/// Everything of both tenants, and that the names of series are those that have something.
fn read(store: &Store) -> Model {
    let mut found = Model::new();
    for tenant in [OURS, THEIRS] {
        let budget = Budget::new(1 << 30);
        let mut selection = store.select(tenant, &[], ALWAYS, &Hints::default(), &budget).unwrap();
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

/// The series that are listed, by each way of asking.
fn listed(store: &Store, tenant: TenantId) -> [BTreeSet<String>; 2] {
    let budget = Budget::new(1 << 30);
    let series = store.series(tenant, &[], ALWAYS, 0, &budget).unwrap().found;
    let series = series.iter().map(|labels| labels.get("i").unwrap().to_owned()).collect();
    let values = store.label_values(tenant, "i", &[], ALWAYS, &budget).unwrap().found;
    [series, values.into_iter().collect()]
}

fn series_of(model: &Model, tenant: TenantId) -> BTreeSet<String> {
    model.keys().filter(|(of, ..)| *of == tenant).map(|(_, i, _)| i.to_string()).collect()
}

/// Does what is due until nothing is.
fn settle(store: &Store, keep: &dyn Fn(TenantId) -> Keep) {
    for _ in 0..10_000 {
        match store.next_job(keep) {
            Some(job) => store.run(job, keep).unwrap(),
            None => return,
        }
    }
    panic!("there is always more to do");
}

fn for_ever(_: TenantId) -> Keep {
    Keep::default()
}

fn bytes(directory: &Path) -> u64 {
    let files = std::fs::read_dir(directory.join("blocks")).unwrap();
    files.map(|file| file.unwrap().metadata().unwrap().len()).sum()
}

fn noise(seed: u64) -> f64 {
    f64::from_bits(0x3ff0_0000_0000_0000 | seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 12)
}

#[test]
fn what_is_deleted_is_gone_at_once_and_what_is_sent_again_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, mut model) = (open(directory.path()), Model::new());
    let rows: Vec<_> = (0..4).flat_map(|i| (0..10).map(move |n| (i, n * 1000, f64::from(i)))).collect();
    for tenant in [OURS, THEIRS] {
        write(&store, &mut model, tenant, &rows);
    }
    // From the head, then from blocks; a part of a series' time, then all of one.
    delete(
        &store,
        &mut model,
        OURS,
        matcher(MatchOp::Equal, "1"),
        TimeRange { start_ms: 2000, end_ms: 4999 },
    );
    assert!(read(&store) == model, "a range");
    delete(&store, &mut model, OURS, matcher(MatchOp::Regex, "2|3"), ALWAYS);
    assert!(read(&store) == model, "two series");
    assert_eq!(listed(&store, OURS), [series_of(&model, OURS), series_of(&model, OURS)]);
    assert_eq!(listed(&store, THEIRS), [series_of(&model, THEIRS), series_of(&model, THEIRS)]);
    write(&store, &mut model, OURS, &[(2, 3000, 7.0), (1, 2000, 8.0)]);
    assert!(read(&store) == model, "sent again");
    drop(store);
    store = open(directory.path());
    assert!(read(&store) == model, "after a restart, which replays the log");
    store.flush().unwrap();
    assert!(read(&store) == model, "after a flush");
    assert!(store.status().tombstones > 0);
    settle(&store, &for_ever);
    assert_eq!(store.status().tombstones, 0, "merges have applied them");
    assert!(read(&store) == model, "after merges");
}

#[test]
fn either_copy_of_the_manifest_knows_of_a_delete() {
    let directory = tempfile::tempdir().unwrap();
    for lost in ["manifest-0", "manifest-1"] {
        let directory = directory.path().join(lost);
        let (store, mut model) = (open(&directory), Model::new());
        write(&store, &mut model, OURS, &[(1, 1000, 1.0), (2, 1000, 2.0)]);
        delete(&store, &mut model, OURS, matcher(MatchOp::Equal, "1"), ALWAYS);
        drop(store);
        std::fs::remove_file(directory.join(lost)).unwrap();
        assert!(read(&open(&directory)) == model, "without {lost}");
    }
}

#[test]
fn deletes_give_the_space_back() {
    let directory = tempfile::tempdir().unwrap();
    let (store, mut model) = (open(directory.path()), Model::new());
    for tenant in [OURS, THEIRS] {
        let rows: Vec<_> = (0..20)
            .flat_map(|i| (0..1000).map(move |n| (i, n * 15_000, noise(n as u64 * 20 + u64::from(i)))))
            .collect();
        write(&store, &mut model, tenant, &rows);
    }
    store.flush().unwrap();
    let before = bytes(directory.path());
    delete(&store, &mut model, OURS, matcher(MatchOp::Regex, "1?[0-9]"), ALWAYS);
    settle(&store, &for_ever);
    let after = bytes(directory.path());
    assert!(
        after * 10 < before * 6,
        "{before} bytes before, {after} after all of one tenant of two is deleted"
    );
    assert!(read(&store) == model);
    store.delete_tenant(THEIRS).unwrap();
    settle(&store, &for_ever);
    assert_eq!(bytes(directory.path()), 0, "and after the other one is deleted whole");
}

/// An append that was queued when its tenant was deleted, or came after that from a request admitted before, got a
/// sequence above the tenant's floor: its samples were there for ever, out of everybody's reach.
#[test]
fn what_waits_or_comes_late_of_a_deleted_tenant_is_not_kept() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let mut model = Model::new();
    write(&store, &mut model, OURS, &[(1, 1000, 1.0)]);
    let (waiting, _) = append(&store, THEIRS, &[(1, 1000, 1.0)]).unwrap();
    assert_eq!(store.tenants_in_blocks(), BTreeSet::new());
    store.delete_tenant(THEIRS).unwrap();
    assert_eq!(waiting.outcome(), Some(Ok(Committed::default())), "it came before");
    assert_eq!(append(&store, THEIRS, &[(2, 1000, 1.0)]).err(), Some(AppendError::Deleted));
    assert_eq!(store.tenant_status(THEIRS).head_series, 1, "until the next commit");
    write(&store, &mut model, OURS, &[(2, 1000, 1.0)]);
    assert_eq!(store.tenant_status(THEIRS).head_series, 0);
    let only_ours = |store: &Store| {
        store.flush().unwrap();
        assert_eq!((read(store), store.tenants_in_blocks()), (model.clone(), [OURS].into()));
    };
    only_ours(&store);
    store.compact_all().unwrap();
    only_ours(&store);
    drop(store);
    only_ours(&open(directory.path()));
}

/// Two tenants in the same files, one of which keeps little: by age when the clock is believed, by bytes at any time.
#[test]
fn what_is_too_old_or_too_much_leaves_shared_files() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options { compaction_blocks: 4, retention_confirm: Duration::ZERO, ..Options::default() };
    let store = Store::open(Env::real(), directory.path(), options, &Progress::default()).unwrap();
    let now_ms = Env::real().clock.now_ms();
    let first_ms = (now_ms / DAY_MS - 10) * DAY_MS;
    let mut model = Model::new();
    for day in 0..10 {
        for tenant in [OURS, THEIRS] {
            let rows: Vec<_> = (0..500)
                .map(|n| (n % 5, first_ms + day * DAY_MS + i64::from(n) * 60_000, noise(u64::from(n))))
                .collect();
            write(&store, &mut model, tenant, &rows);
        }
        store.flush().unwrap();
        settle(&store, &for_ever);
    }
    // Every day the same number of bytes.
    store.compact_all().unwrap();
    let before = bytes(directory.path());
    let days_of = |found: &Model, tenant: TenantId| -> BTreeSet<i64> {
        found.keys().filter(|(of, ..)| *of == tenant).map(|(_, _, ms)| (ms - first_ms) / DAY_MS).collect()
    };
    // Half of what there is of ours: whole days of the oldest go, nothing of theirs.
    let limited = |tenant: TenantId| match tenant {
        OURS => Keep { age_ms: 0, bytes: before / 4 },
        _ => Keep::default(),
    };
    store.run(Job::Retention, &limited).unwrap();
    settle(&store, &limited);
    let found = read(&store);
    let (ours, theirs) = (days_of(&found, OURS), days_of(&found, THEIRS));
    assert_eq!(theirs.len(), 10);
    assert!((3..=7).contains(&ours.len()) && ours.contains(&9) && !ours.contains(&0), "{ours:?} are left");
    assert!(
        model
            .iter()
            .all(|(key, value)| !ours.contains(&((key.2 - first_ms) / DAY_MS)) || found[key] == *value)
    );
    let after = bytes(directory.path());
    assert!(after < before * 9 / 10, "{before} bytes before, {after} after");
    let short = |tenant: TenantId| match tenant {
        OURS => Keep { age_ms: 2 * DAY_MS, bytes: 0 },
        _ => Keep::default(),
    };
    store.run(Job::Retention, &short).unwrap();
    settle(&store, &short);
    let found = read(&store);
    assert!(days_of(&found, OURS).iter().all(|day| *day >= 7), "{:?} are left", days_of(&found, OURS));
    assert_eq!(days_of(&found, THEIRS).len(), 10);
    assert!(bytes(directory.path()) < after);
}

/// Writes, deletes, flushes, merges, restarts in any order: always what a map says.
#[test]
fn any_order_of_deletes_and_everything_else_is_what_a_map_says() {
    for seed in 0..20u64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut below = |n: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % n
        };
        let directory = tempfile::tempdir().unwrap();
        let (mut store, mut model) = (open(directory.path()), Model::new());
        for step in 0..60 {
            let tenant = if below(2) == 0 { OURS } else { THEIRS };
            match below(10) {
                0..4 => {
                    let rows: Vec<_> = (0..below(20) + 1)
                        .map(|_| (below(6) as u32, below(40) as i64 * HOUR_MS / 2, below(1000) as f64))
                        .collect();
                    write(&store, &mut model, tenant, &rows);
                }
                4 | 5 => {
                    let start_ms = below(40) as i64 * HOUR_MS / 2;
                    let range = TimeRange { start_ms, end_ms: start_ms + below(20) as i64 * HOUR_MS };
                    let op = [MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex][below(3) as usize];
                    delete(&store, &mut model, tenant, matcher(op, &below(6).to_string()), range);
                }
                6 | 7 => store.flush().unwrap(),
                8 => settle(&store, &for_ever),
                _ => {
                    drop(store);
                    store = open(directory.path());
                }
            }
            assert!(read(&store) == model, "seed {seed}, step {step}");
        }
        settle(&store, &for_ever);
        assert!(read(&store) == model, "seed {seed} at its end");
        assert_eq!(store.status().tombstones, 0, "seed {seed}");
    }
}

/// A delete lets series leave the head from its own thread. It could do so while the writer had a group in hand that named
/// them, no longer in the queue and not yet in the head: the writer panicked, or gave the samples to whoever had got the slot.
#[test]
fn a_delete_lets_no_series_leave_that_an_append_names() {
    const ROUNDS: i64 = 20_000;
    let store =
        Store::open(sim::env(1), Path::new("/data"), Options::default(), &Progress::default()).unwrap();
    let done = AtomicBool::new(false);
    let limits = TenantLimits { retention_ms: 0, ..TenantLimits::default() };
    let append = |tenant, i, timestamp_ms| {
        let batch = common::batch(store.seed(), &[(i, timestamp_ms, f64::from(i))]);
        let context = WriteContext { tenant, limits: &limits, epoch: 0, now_ms: 1_000_000, digest: None };
        store.append(&context, &batch).unwrap().0.wait().unwrap();
    };
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                store.commit(Duration::from_millis(1));
            }
        });
        let appenders = [(OURS, 1), (OURS, 2), (THEIRS, 3)].map(|(tenant, i)| {
            scope.spawn(move || {
                for timestamp_ms in 0..ROUNDS {
                    append(tenant, i, timestamp_ms);
                }
            })
        });
        while !appenders.iter().all(|appender| appender.is_finished()) && !writer.is_finished() {
            store.delete_series(OURS, &[matcher(MatchOp::Equal, "1")], ALWAYS).unwrap();
        }
        done.store(true, Ordering::Relaxed);
        writer.join().expect("the writer has what it was given");
    });
    let found = read(&store);
    let of = |i: u32| found.iter().filter(move |((_, series, _), _)| *series == i);
    for i in [2, 3] {
        assert!(of(i).all(|(_, value)| *value == f64::from(i)), "another series' samples are in {i}");
        assert_eq!(of(i).count() as i64, ROUNDS);
    }
}
