//! Log lines in the log's second stream: durable when their ticket says so, whatever becomes of the other stream, and held
//! in bounded space.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use env::{Env, Files};
use model::{Batch, Counts, LogRow, Reason, Signal, TenantId, TenantLimits};
use sim::clock::SimClock;
use sim::files::{Failure, Fault, Op, SimFiles};
use sim::random::SimRandom;
use tsdb::logs::{self, FIELDS_MAX, LINE_BYTES_MAX};
use tsdb::{AppendError, Appended, Committed, Options, Progress, SnapshotName, Store, Ticket, WriteContext};

mod common;

const TENANT: TenantId = TenantId(1);
const NOW_MS: i64 = 1_800_000_000_000;
const ALWAYS: std::ops::RangeInclusive<i64> = i64::MIN..=i64::MAX;

struct World {
    disk: SimFiles,
    clock: SimClock,
    options: Options,
}

impl World {
    fn new() -> Self {
        let disk = SimFiles::new(7);
        disk.create_dir(Path::new("/data")).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        let options = Options { disk_reserve_bytes: 0, ..Options::default() };
        Self { disk, clock: SimClock::new(NOW_MS), options }
    }

    fn open(&self) -> Store {
        let env = Env {
            clock: Arc::new(self.clock.clone()),
            files: Arc::new(self.disk.clone()),
            random: Arc::new(SimRandom::new(7)),
        };
        Store::open(env, Path::new("/data"), self.options.clone(), &Progress::default()).unwrap()
    }

    fn segments(&self) -> Vec<PathBuf> {
        let in_stream = |path: &PathBuf| path.starts_with("/data/wal/logs");
        let mut paths: Vec<_> = self.disk.paths().into_iter().filter(in_stream).collect();
        paths.sort();
        paths
    }
}

/// A line: labels of its stream, fields, time in ns, text.
type Line<'a> = (&'a [(&'a str, &'a str)], &'a [(&'a str, &'a str)], i64, String);

fn batch(seed: u64, lines: &[Line<'_>]) -> Batch<'static> {
    let mut batch = Batch::new(seed);
    for (stream, fields, timestamp_ns, line) in lines {
        let mut push = |pairs: &[(&str, &str)]| {
            let start = batch.pairs.len();
            batch.pairs.extend(pairs.iter().map(|(n, v)| ((*n).to_owned().into(), (*v).to_owned().into())));
            start..batch.pairs.len()
        };
        let (stream, fields) = (push(stream), push(fields));
        batch.logs.push(LogRow {
            stream,
            fields,
            timestamp_ns: *timestamp_ns,
            line: line.clone().into(),
            item: 0,
        });
    }
    batch
}

/// Lines of one stream at the present time.
fn plain(seed: u64, lines: &[&str]) -> Batch<'static> {
    let line = |(at, line): (usize, &&str)| -> Line<'static> {
        (&[("app", "web")], &[], NOW_MS * 1_000_000 + at as i64, (*line).to_owned())
    };
    batch(seed, &lines.iter().enumerate().map(line).collect::<Vec<_>>())
}

fn queue(store: &Store, tenant: TenantId, batch: &Batch<'_>) -> Result<(Ticket, Appended), AppendError> {
    let limits = TenantLimits::default();
    store.append(&WriteContext { tenant, limits: &limits, epoch: 0, now_ms: NOW_MS, digest: None }, batch)
}

fn append(store: &Store, tenant: TenantId, batch: &Batch<'_>) -> Appended {
    let (ticket, appended) = queue(store, tenant, batch).unwrap();
    store.commit(Duration::ZERO);
    ticket.wait().unwrap();
    appended
}

fn lines(store: &Store, tenant: TenantId) -> Vec<String> {
    let mut found = Vec::new();
    let damage = store.log_lines(tenant, ALWAYS, &mut |line| found.push(line.line.to_owned())).unwrap();
    assert_eq!(damage, Vec::<String>::new());
    found
}

#[test]
fn lines_come_back_with_stream_fields_and_time_by_tenant_after_a_power_cut() {
    let world = World::new();
    let store = world.open();
    let ns = NOW_MS * 1_000_000;
    let sent: [Line<'_>; 4] = [
        (&[("host", "a"), ("app", "web"), ("gone", "")], &[("n", "1"), ("n", "2")], ns + 7, "first".into()),
        (&[("app", "web"), ("host", "a")], &[], ns - 5, String::new()),
        (&[], &[("only", "fields")], ns, "no stream".into()),
        (&[("app", "web"), ("host", "a")], &[], ns, "ünï\nline".into()),
    ];
    let appended = append(&store, TENANT, &batch(store.seed(), &sent));
    assert_eq!(appended.accepted, Counts { log_lines: 4, ..Counts::default() });
    append(&store, TenantId(300), &plain(store.seed(), &["another's"]));
    drop(store);
    world.disk.crash();
    let store = world.open();
    let mut found = Vec::new();
    let range = ns - 5..=ns;
    store
        .log_lines(TENANT, range.clone(), &mut |line| {
            let pairs = |pairs: &mut dyn Iterator<Item = (&str, &str)>| {
                pairs.map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>().join(",")
            };
            let stream = pairs(&mut line.stream.iter());
            let fields = pairs(&mut line.fields.iter().copied());
            found.push((stream, fields, line.timestamp_ns, line.line.to_owned()));
        })
        .unwrap();
    let line = |stream: &str, fields: &str, ns, line: &str| (stream.into(), fields.into(), ns, line.into());
    assert_eq!(
        found,
        [
            line("app=web,host=a", "", ns - 5, ""),
            line("", "only=fields", ns, "no stream"),
            line("app=web,host=a", "", ns, "ünï\nline")
        ]
    );
    assert_eq!(lines(&store, TENANT)[0], "first");
    assert_eq!(lines(&store, TenantId(300)), ["another's"]);
    assert_eq!(store.status().wal_replay_bytes, 0, "nothing of it is in the stream of metrics");
}

#[test]
fn what_is_over_a_bound_is_refused_by_name() {
    let world = World::new();
    let store = world.open();
    let (app, ns): (&[_], _) = (&[("app", "web")], NOW_MS * 1_000_000);
    let many: Vec<_> = (0..=FIELDS_MAX).map(|_| ("n", "v")).collect();
    let long = "x".repeat(LINE_BYTES_MAX + 1);
    let sent: [Line<'_>; 8] = [
        (app, &[], ns, long.clone()),
        (app, &[], ns, long[1..].to_owned()),
        (app, &many, ns, "many fields".into()),
        (app, &[("n", &long)], ns, "a long field".into()),
        (app, &[], ns + 3_600_000_000_000, "ahead".into()),
        (app, &[], 0, "old".into()),
        (&[("a", "1"), ("a", "2")], &[], ns, "a label twice".into()),
        (app, &[], ns, "good".into()),
    ];
    let appended = append(&store, TENANT, &batch(store.seed(), &sent));
    let mut reasons: Vec<_> = appended.rejected.by_reason().collect();
    reasons.sort_unstable();
    let refused = |reason, count| (Signal::LogLine, reason, count);
    assert_eq!(
        reasons,
        [
            refused(Reason::InvalidLabels, 1),
            refused(Reason::LabelLimit, 2),
            refused(Reason::TooOld, 1),
            refused(Reason::TooFarAhead, 1),
            refused(Reason::LineTooLong, 1)
        ]
    );
    assert_eq!(appended.accepted.log_lines, 2);
    assert_eq!(lines(&store, TENANT), [long[1..].to_owned(), "good".into()]);
}

/// The longest lines there are, one behind the other: each record must fit in its frame.
#[test]
fn the_longest_lines_fit_into_frames() {
    let world = World::new();
    let store = world.open();
    let value = "v".repeat(1020);
    let fields: Vec<_> = (0..FIELDS_MAX).map(|_| ("name", value.as_str())).collect();
    let line = "\u{fffd}".repeat(LINE_BYTES_MAX / 3);
    let ns = NOW_MS * 1_000_000;
    let (small, app): (&str, &[_]) = ("x", &[("app", "web")]);
    let mut sent: Vec<Line<'_>> = vec![(app, &[], ns, small.repeat((256 << 10) - 20))];
    sent.extend((0..3).map(|_| -> Line<'_> { (app, &fields, ns, line.clone()) }));
    append(&store, TENANT, &batch(store.seed(), &sent));
    assert_eq!(lines(&store, TENANT).iter().map(String::len).collect::<Vec<_>>()[1..], [line.len(); 3]);
}

#[test]
fn a_full_stream_refuses_lines_and_takes_samples() {
    let mut world = World::new();
    world.options.log_bytes = 4096;
    let store = world.open();
    let noise = |seed: u64| {
        let mut bytes = vec![0; 1000];
        sim::random::Rng::new(seed).fill(&mut bytes);
        bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let mut taken = 0;
    let refused = loop {
        match queue(&store, TENANT, &plain(store.seed(), &[&noise(taken)])) {
            Ok((ticket, _)) => {
                store.commit(Duration::ZERO);
                ticket.wait().unwrap();
                taken += 1;
            }
            Err(error) => break error,
        }
    };
    assert_eq!(refused, AppendError::LogsFull);
    assert!((2..10).contains(&taken), "{taken}");
    let status = store.status();
    assert!((4096..8192).contains(&status.log_bytes), "{}", status.log_bytes);
    assert_eq!((status.log_bytes_max, status.log_lines), (4096, taken));
    let samples = common::batch(store.seed(), &[(1, NOW_MS, 1.0)]);
    assert_eq!(append(&store, TENANT, &samples).accepted.samples, 1);
    // A request that brings both is refused whole: its sender sends it again.
    let mut both = common::batch(store.seed(), &[(1, NOW_MS, 2.0)]);
    both.pairs.push(("app".into(), "web".into()));
    let stream = both.pairs.len() - 1..both.pairs.len();
    both.logs.push(LogRow {
        stream,
        fields: 0..0,
        timestamp_ns: NOW_MS * 1_000_000,
        line: "x".into(),
        item: 0,
    });
    assert_eq!(queue(&store, TENANT, &both).map(drop), Err(AppendError::LogsFull));
    drop(store);
    let store = world.open();
    assert_eq!(queue(&store, TENANT, &plain(store.seed(), &["x"])).map(drop), Err(AppendError::LogsFull));
    assert_eq!(lines(&store, TENANT).len() as u64, taken);
}

/// Of each stream's failing disk only those hear who have something for it, and each stream comes back by itself.
#[test]
fn each_stream_fails_alone() {
    for (stream, other) in [("wal/logs", "wal/metrics"), ("wal/metrics", "wal/logs")] {
        let world = World::new();
        let store = world.open();
        append(&store, TENANT, &plain(store.seed(), &["before"]));
        append(&store, TENANT, &common::batch(store.seed(), &[(1, NOW_MS, 1.0)]));
        world.disk.plan(Fault::new(Op::Sync, Failure::Io).on(stream).forever());
        let mut both = common::batch(store.seed(), &[(2, NOW_MS, 2.0)]);
        both.pairs.push(("app".into(), "web".into()));
        let stream_labels = both.pairs.len() - 1..both.pairs.len();
        let timestamp_ns = NOW_MS * 1_000_000;
        both.logs.push(LogRow {
            stream: stream_labels,
            fields: 0..0,
            timestamp_ns,
            line: "both".into(),
            item: 0,
        });
        let (of_both, _) = queue(&store, TENANT, &both).unwrap();
        let (of_lines, _) = queue(&store, TENANT, &plain(store.seed(), &["alone"])).unwrap();
        let (of_samples, _) =
            queue(&store, TENANT, &common::batch(store.seed(), &[(3, NOW_MS, 3.0)])).unwrap();
        store.commit(Duration::ZERO);
        let lines_fail = stream == "wal/logs";
        assert!(of_both.wait().is_err(), "{stream}");
        assert_eq!(of_lines.wait().is_err(), lines_fail, "{stream}");
        assert_eq!(of_samples.wait().is_err(), !lines_fail, "{stream}");
        let status = store.status();
        assert_eq!((status.log_failing, status.wal_failing), (lines_fail, !lines_fail), "{other} goes on");
        let lines_are_taken = queue(&store, TENANT, &plain(store.seed(), &["then"])).is_ok();
        assert_eq!(lines_are_taken, !lines_fail);
        world.disk.heal();
        for _ in 0..3 {
            world.clock.advance(Duration::from_secs(1));
            store.commit(Duration::ZERO);
        }
        append(&store, TENANT, &both);
        drop(store);
        world.disk.crash();
        let found = lines(&world.open(), TENANT);
        for line in ["before", "both"] {
            assert!(found.iter().any(|found| found == line), "{line}: {found:?}");
        }
    }
}

/// Only a stream that got something is synced.
#[test]
fn a_stream_without_news_is_not_synced() {
    let world = World::new();
    let store = world.open();
    append(&store, TENANT, &plain(store.seed(), &["first"]));
    append(&store, TENANT, &common::batch(store.seed(), &[(1, NOW_MS, 1.0)]));
    world.disk.plan(Fault::new(Op::Sync, Failure::Io).on("wal/metrics").forever());
    append(&store, TENANT, &plain(store.seed(), &["second"]));
    world.disk.heal();
    world.disk.plan(Fault::new(Op::Sync, Failure::Io).on("wal/logs").forever());
    append(&store, TENANT, &common::batch(store.seed(), &[(1, NOW_MS, 2.0)]));
    assert_eq!(world.disk.failures(), 0);
}

#[test]
fn a_deleted_tenants_lines_are_not_read_any_more() {
    let world = World::new();
    let store = world.open();
    append(&store, TENANT, &plain(store.seed(), &["mine"]));
    let (waiting, _) = queue(&store, TENANT, &plain(store.seed(), &["waiting"])).unwrap();
    append(&store, TenantId(2), &plain(store.seed(), &["another's"]));
    assert_eq!(waiting.outcome(), Some(Ok(Committed::default())));
    store.delete_tenant(TENANT).unwrap();
    assert_eq!(lines(&store, TENANT), Vec::<String>::new());
    assert_eq!(lines(&store, TenantId(2)), ["another's"]);
    assert_eq!(queue(&store, TENANT, &plain(store.seed(), &["late"])).map(drop), Err(AppendError::Deleted));
    // Whoever reads the whole says which tenants there are.
    let mut found = Vec::new();
    let known = |tenant| tenant == TenantId(2);
    logs::read(&world.disk, Path::new("/data"), &known, ALWAYS, &mut |line| found.push(line.tenant)).unwrap();
    assert_eq!(found, [TenantId(2)]);
}

/// A flipped bit costs the frame it lies in; a segment of which nothing can be read is set aside; both are told.
#[test]
fn damage_costs_its_frame_and_is_told() {
    let world = World::new();
    let store = world.open();
    for line in ["one", "two", "three"] {
        append(&store, TENANT, &plain(store.seed(), &[line]));
    }
    drop(store);
    let first = world.segments()[0].clone();
    let content = world.disk.content(&first).unwrap();
    let at = content.windows(3).position(|bytes| bytes == b"two").unwrap();
    world.disk.flip_bit(&first, at * 8).unwrap();
    let store = world.open();
    assert_eq!(store.status().replay_damaged_frames, 1);
    let mut found = Vec::new();
    let damage = store.log_lines(TENANT, ALWAYS, &mut |line| found.push(line.line.to_owned())).unwrap();
    assert_eq!((found, damage.len()), (vec!["one".to_owned(), "three".to_owned()], 1));
    let report = tsdb::check(&world.disk, Path::new("/data"), &mut |_| {}).unwrap();
    assert_eq!((report.lines, report.damage.len()), (2, 1), "{report:?}");
    assert_eq!(report.damage[0].file, "wal/logs/000000000001.wal");
    append(&store, TENANT, &plain(store.seed(), &["four"]));
    drop(store);
    // The last one's header.
    world.disk.flip_bit(&world.segments()[1], 0).unwrap();
    let store = world.open();
    assert_eq!((store.status().quarantined, world.segments().len()), (1, 1));
    let report = tsdb::check(&world.disk, Path::new("/data"), &mut |_| {}).unwrap();
    assert_eq!((report.quarantine[0].kind, report.quarantine[0].damage.len()), ("log segment", 1));
    append(&store, TENANT, &plain(store.seed(), &["five"]));
    drop(store);
    let mut found = Vec::new();
    let read = world.open().log_lines(TENANT, ALWAYS, &mut |line| found.push(line.line.to_owned()));
    assert_eq!((read.unwrap().len(), found), (1, vec!["one".into(), "three".into(), "five".into()]));
}

#[test]
fn a_snapshot_holds_the_lines_so_far() {
    let world = World::new();
    let store = world.open();
    append(&store, TENANT, &plain(store.seed(), &["before"]));
    let name = SnapshotName::parse("s").unwrap();
    store.snapshot(&name, &|_| Ok(())).unwrap();
    append(&store, TENANT, &plain(store.seed(), &["after"]));
    assert_eq!(lines(&store, TENANT), ["before", "after"]);
    let read = |directory: &str| {
        let mut found = Vec::new();
        logs::read(&world.disk, Path::new(directory), &|_| true, ALWAYS, &mut |line| {
            found.push(line.line.to_owned());
        })
        .unwrap();
        found
    };
    assert_eq!(read("/data/snapshots/s"), ["before"]);
    tsdb::restore(&world.disk, Path::new("/data/snapshots/s"), Path::new("/again"), true, &mut |_| {})
        .unwrap();
    assert_eq!(read("/again"), ["before"]);
}

/// A segment of this version, pinned. `WEIR_WRITE_GOLDEN=1` writes it; a later version writes another file beside it.
#[test]
fn the_golden_segment_is_written_and_read() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/logs-v1.wal");
    let world = World::new();
    let store = world.open();
    let ns = NOW_MS * 1_000_000;
    let sent: [Line<'_>; 3] = [
        (&[("app", "web"), ("host", "a")], &[("trace", "abc")], ns, "GET / 200".into()),
        (&[("app", "web"), ("host", "a")], &[], ns - 1, "x".repeat(400)),
        (&[("app", "db")], &[], ns, "ünï".into()),
    ];
    append(&store, TENANT, &batch(store.seed(), &sent));
    append(&store, TenantId(300), &plain(store.seed(), &["another's"]));
    let written = world.disk.content(&world.segments()[0]).unwrap();
    let end = written.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    if std::env::var_os("WEIR_WRITE_GOLDEN").is_some() {
        fs::write(&golden, &written[..end]).unwrap();
    }
    let pinned = fs::read(&golden).unwrap();
    assert!(pinned == written[..end], "the format changed");
    let disk = SimFiles::new(1);
    disk.create_dir(Path::new("old/wal/logs")).unwrap();
    let file = disk.create(Path::new("old/wal/logs/000000000001.wal")).unwrap();
    file.write_at(&pinned, 0).unwrap();
    let mut found = Vec::new();
    logs::read(&disk, Path::new("old"), &|_| true, ALWAYS, &mut |line| {
        found.push((line.tenant.0, line.stream.iter().count(), line.fields.len(), line.line.to_owned()));
    })
    .unwrap();
    let line = |tenant, labels, fields, line: &str| (tenant, labels, fields, line.to_owned());
    assert_eq!(
        found,
        [
            line(1, 2, 1, "GET / 200"),
            line(1, 2, 0, &"x".repeat(400)),
            line(1, 1, 0, "ünï"),
            line(300, 1, 0, "another's")
        ]
    );
}
