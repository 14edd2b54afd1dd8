//! What is read behind the writer is what was acknowledged: rows with their series, start timestamps, histograms, exemplars,
//! metadata, lines and origins, over flushes, kills and tenants that come and go, as long as somebody holds the log.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use env::{Env, Files};
use model::batch::{Exemplar, HistogramSample, LabelSource, MetadataRow, SeriesRow};
use model::histogram::{BucketCounts, ResetHint, Span};
use model::{
    Batch, Budget, Hints, Histogram, LogRow, Metadata, MetricType, Origin, Sample, SeriesBlock, Temporality,
    TenantId, TenantLimits, TimeRange,
};
use sim::clock::SimClock;
use sim::files::SimFiles;
use sim::random::{Rng, SimRandom};
use tsdb::{Entry, Follower, Hold, Options, Pairs, Passing, Progress, Series, Step, Store, WriteContext};
use wal::{Position, Stream};

const DATA: &str = "data";
const NOW_MS: i64 = 1_700_000_000_000;

fn histogram() -> Arc<Histogram> {
    Arc::new(Histogram {
        schema: 0,
        zero_threshold: 0.001,
        sum: 3.0,
        reset_hint: ResetHint::Unknown,
        positive_spans: vec![Span { offset: 0, length: 1 }],
        negative_spans: Vec::new(),
        counts: BucketCounts::Integer { count: 2, zero: 0, positive: vec![2], negative: Vec::new() },
        custom_bounds: Vec::new(),
    })
}

struct World {
    disk: SimFiles,
    store: Store,
    rng: Rng,
    /// What was acknowledged, as [`told`] says it.
    samples: Vec<String>,
    lines: Vec<String>,
}

fn options(holds: Vec<Hold>) -> Options {
    Options { disk_reserve_bytes: 0, segment_bytes: 4000, holds, ..Options::default() }
}

fn open(disk: &SimFiles, holds: Vec<Hold>) -> Store {
    open_with(disk, options(holds))
}

fn open_with(disk: &SimFiles, options: Options) -> Store {
    let env = Env {
        clock: Arc::new(SimClock::new(NOW_MS)),
        files: Arc::new(disk.clone()),
        random: Arc::new(SimRandom::new(1)),
    };
    Store::open(env, Path::new(DATA), options, &Progress::default()).unwrap()
}

fn labels(pairs: &Pairs, series: &Series) -> String {
    let labels = pairs.of(series).map(|(name, value)| format!("{name}={value}"));
    format!("{} {}", series.tenant.0, labels.collect::<Vec<_>>().join(","))
}

fn told(entry: Entry<'_>, pairs: &Pairs) -> String {
    match entry {
        Entry::Sample { series, sample, origin } => {
            format!("{} {sample:?} {origin:?}", labels(pairs, series))
        }
        Entry::Histogram { series, sample, origin } => {
            format!("{} {sample:?} {origin:?}", labels(pairs, series))
        }
        Entry::Exemplar { series, exemplar, origin } => {
            format!("{} {exemplar:?} {origin:?}", labels(pairs, series))
        }
        Entry::Metadata { tenant, family, metadata } => format!("{} {family} {metadata:?}", tenant.0),
        Entry::Line { record, origin } => {
            let stream: Vec<_> = record.stream.iter().collect();
            let (fields, line, at) = (&record.fields, record.line, record.timestamp_ns);
            format!("{} {stream:?} {fields:?} {at} {line} {origin:?}", record.tenant.0)
        }
    }
}

/// Everything up to the end, and what was lost.
fn rest(follower: &mut Follower) -> (Vec<String>, u64) {
    let (mut entries, mut lost) = (Vec::new(), 0);
    loop {
        match follower.read(&mut |entry, pairs| entries.push(told(entry, pairs))).unwrap() {
            Step::Frame { next } => assert_eq!(next, follower.position()),
            Step::Lost { frames, .. } => lost += frames,
            Step::End => return (entries, lost),
        }
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let disk = SimFiles::new(seed);
        disk.create_dir(Path::new(DATA)).unwrap();
        let holds = [(Stream::Metrics, "m"), (Stream::Logs, "l")];
        let hold = |(stream, holder): (Stream, &str)| Hold { holder: holder.to_owned(), stream, segment: 0 };
        let store = open(&disk, holds.map(hold).to_vec());
        Self { disk, store, rng: Rng::new(seed), samples: Vec::new(), lines: Vec::new() }
    }

    /// Appends something random.
    fn append(&mut self) {
        let rng = &mut self.rng;
        let tenant = TenantId(1 + rng.index(3) as u32);
        let mut batch = Batch::new(self.store.seed());
        if rng.index(3) == 0 {
            batch.origin = Origin { hops: 1 + rng.index(3) as u8, via: (0..rng.index(3) as u64).collect() };
        }
        let origin = batch.origin.clone();
        let (mut floats, mut sides, mut metadata) = (Vec::new(), Vec::new(), Vec::new());
        for one in 0..rng.index(6) {
            let name = ["up", "requests_total", "temperature"][rng.index(3)];
            let instance = format!("i{}", rng.index(40));
            let start = batch.pairs.len();
            batch.pairs.push(("__name__".into(), name.into()));
            batch.pairs.push(("instance".into(), instance.clone().into()));
            let labels = format!("{} __name__={name},instance={instance}", tenant.0);
            let (samples, histograms, exemplars) =
                (batch.samples.len(), batch.histograms.len(), batch.exemplars.len());
            let timestamp_ms = NOW_MS - 1000 * one as i64;
            if rng.index(4) > 0 {
                for _ in 0..1 + rng.index(2) {
                    let value = [1.5, f64::from_bits(model::STALE_NAN_BITS), -0.0][rng.index(3)];
                    let start_ms = [0, NOW_MS - 60_000][rng.index(2)];
                    let sample = Sample { timestamp_ms, value, start_ms };
                    floats.push(format!("{labels} {sample:?} {origin:?}"));
                    batch.samples.push(sample);
                }
            } else {
                let histogram = histogram();
                let sample = HistogramSample { timestamp_ms, start_ms: 0, histogram };
                sides.push(format!("{labels} {sample:?} {origin:?}"));
                batch.histograms.push(sample);
            }
            if rng.index(3) == 0 {
                let trace = [("trace".to_owned(), rng.index(9).to_string())];
                let exemplar = Exemplar { labels: trace.to_vec(), value: 7.0, timestamp_ms };
                sides.push(format!("{labels} {exemplar:?} {origin:?}"));
                batch.exemplars.push(exemplar);
            }
            batch.series.push(SeriesRow {
                labels: LabelSource::Pairs(start..start + 2),
                key: codec::hash::key128(1, labels.as_bytes()),
                samples: samples..batch.samples.len(),
                histograms: histograms..batch.histograms.len(),
                exemplars: exemplars..batch.exemplars.len(),
                temporality: Temporality::Cumulative,
                item: 0,
            });
        }
        if rng.index(10) == 0 {
            // Each time another text: what is known already is not logged again.
            let help = format!("help {}", self.samples.len());
            let known = Metadata { kind: MetricType::Counter, unit: String::new(), help };
            metadata.push(format!("{} requests_total {known:?}", tenant.0));
            batch.metadata.push(MetadataRow { family: "requests_total".into(), metadata: known });
        }
        let mut lines = Vec::new();
        for _ in 0..[0, 0, 2][rng.index(3)] {
            let app = ["web", "db"][rng.index(2)];
            let start = batch.pairs.len();
            batch.pairs.push(("app".into(), app.into()));
            batch.pairs.push(("trace".into(), "9".into()));
            let (stream, fields) = (start..start + 1, start + 1..start + 2);
            let (timestamp_ns, line) = (NOW_MS * 1_000_000 + 5, "a line");
            batch.logs.push(LogRow { stream, fields, timestamp_ns, line: line.into(), item: 0 });
            let (stream, fields) = ([("app", app)], [("trace", "9")]);
            lines.push(format!("{} {stream:?} {fields:?} {timestamp_ns} {line} {origin:?}", tenant.0));
        }
        let limits = TenantLimits { retention_ms: 0, ..TenantLimits::default() };
        let context = WriteContext { tenant, limits: &limits, epoch: 0, now_ms: NOW_MS, digest: None };
        let (ticket, _) = self.store.append(&context, &batch).unwrap();
        if self.rng.index(3) > 0 {
            self.store.commit(Duration::ZERO);
            ticket.wait().unwrap();
        }
        self.samples.extend(floats.into_iter().chain(sides).chain(metadata));
        self.lines.extend(lines);
    }
}

#[test]
fn what_was_acknowledged_is_told_once_and_in_order_from_any_position() {
    for seed in 0..60 {
        let mut world = World::new(seed);
        let mut positions = vec![(Position::default(), 0)];
        let mut follower = world.store.follow(Stream::Metrics, Position::default());
        let mut found = Vec::new();
        for _ in 0..60 {
            world.append();
            match world.rng.index(12) {
                0 => world.store.flush().unwrap(),
                1 => {
                    while world.store.commit(Duration::ZERO) > 0 {}
                    let from = follower.position();
                    drop(follower);
                    world.disk.kill();
                    let hold = |holder: &str, stream| Hold { holder: holder.into(), stream, segment: 0 };
                    let holds = vec![hold("m", Stream::Metrics), hold("l", Stream::Logs)];
                    world.store = open(&world.disk, holds);
                    follower = world.store.follow(Stream::Metrics, from);
                }
                2 | 3 => {
                    while world.store.commit(Duration::ZERO) > 0 {}
                    let (entries, lost) = rest(&mut follower);
                    found.extend(entries);
                    assert_eq!((lost, &found), (0, &world.samples), "seed {seed}");
                    positions.push((follower.position(), found.len()));
                }
                _ => {}
            }
        }
        while world.store.commit(Duration::ZERO) > 0 {}
        for (from, told) in positions {
            let (entries, lost) = rest(&mut world.store.follow(Stream::Metrics, from));
            assert_eq!((lost, &entries[..]), (0, &world.samples[told..]), "seed {seed}");
        }
        let (lines, lost) = rest(&mut world.store.follow(Stream::Logs, Position::default()));
        assert_eq!((lost, lines), (0, world.lines), "seed {seed}");
    }
}

#[test]
fn what_nobody_holds_goes_with_the_flush_and_is_counted() {
    let mut world = World::new(7);
    for _ in 0..200 {
        world.append();
    }
    while world.store.commit(Duration::ZERO) > 0 {}
    let mut reader = world.store.follow(Stream::Metrics, Position::default());
    reader.read(&mut |_, _| ()).unwrap();
    let from = reader.position();
    let log = || {
        let mut paths = world.disk.paths();
        paths.retain(|path| path.to_string_lossy().contains("wal/metrics"));
        paths.len()
    };
    world.store.flush().unwrap();
    let all = log();
    assert!(all > 2, "{all} segments are held");
    assert!(world.store.log_bytes_behind(Stream::Metrics, from).unwrap() > 0);
    world.store.hold_log("m", Stream::Metrics, Position { segment: all as u64, ..from });
    world.store.flush().unwrap();
    assert_eq!(log(), 1);
    world.store.release_log("m");
    world.store.flush().unwrap();
    assert_eq!(log(), 0);
    let end = world.store.log_end(Stream::Metrics);
    let (entries, lost) = rest(&mut world.store.follow(Stream::Metrics, from));
    // What is gone shows once there is something behind it.
    assert_eq!((entries, lost), (vec![], 0));
    assert!(!world.store.wait_log(Stream::Metrics, end, Duration::ZERO));
    let before = world.samples.len();
    while world.samples.len() == before {
        world.append();
        while world.store.commit(Duration::ZERO) > 0 {}
    }
    assert!(world.store.wait_log(Stream::Metrics, end, Duration::ZERO));
    let (entries, lost) = rest(&mut world.store.follow(Stream::Metrics, from));
    assert_eq!((&entries[..], lost), (&world.samples[before..], end.sequence - from.sequence));
}

/// Whose samples only pass through are in no query, in no block and in no head, also after a restart; what comes behind the
/// writer is the same.
#[test]
fn of_tenants_that_pass_through_nothing_is_kept_and_everything_is_told() {
    let passing = Passing { samples: [TenantId(2)].into(), lines: [TenantId(2)].into() };
    let mut world = World::new(9);
    world.store.let_pass(passing.clone());
    let count = |store: &Store, tenant: u32| {
        let (budget, hints) = (Budget::new(1 << 30), Hints::default());
        let always = TimeRange { start_ms: i64::MIN, end_ms: i64::MAX };
        let mut selection = store.select(TenantId(tenant), &[], always, &hints, &budget).unwrap();
        assert_eq!(selection.warnings().len(), usize::from(tenant == 2), "who asks is told why");
        let (mut block, mut rows) = (SeriesBlock::default(), 0);
        while selection.next_block(&mut block).unwrap() {
            rows += block.columns.timestamps.len();
        }
        rows
    };
    for _ in 0..50 {
        world.append();
        while world.store.commit(Duration::ZERO) > 0 {}
    }
    assert!(count(&world.store, 1) > 0);
    assert_eq!(count(&world.store, 2), 0);
    world.disk.kill();
    world.store = open_with(&world.disk, Options { passing: passing.clone(), ..options(vec![]) });
    assert!(count(&world.store, 1) > 0);
    assert_eq!(count(&world.store, 2), 0);
    let (entries, lost) = rest(&mut world.store.follow(Stream::Metrics, Position::default()));
    assert_eq!((lost, &entries), (0, &world.samples));
    world.store.flush().unwrap();
    assert_eq!(count(&world.store, 2), 0);
    assert!(world.store.status().replay_damaged_frames == 0);
}

/// Segments of log lines go when everything in them was sent on for tenants of whom nothing is kept.
#[test]
fn lines_that_passed_through_make_room() {
    let world = World::new(3);
    let lines: std::collections::BTreeSet<_> = [TenantId(1)].into();
    world.store.let_pass(Passing { lines, ..Passing::default() });
    let send = |tenant: u32| {
        let mut batch = Batch::new(world.store.seed());
        batch.pairs.push(("app".into(), "web".into()));
        let line = "noise ".repeat(200);
        let line = LogRow {
            stream: 0..1,
            fields: 1..1,
            timestamp_ns: NOW_MS * 1_000_000,
            line: line.into(),
            item: 0,
        };
        batch.logs.push(line);
        let limits = TenantLimits::default();
        let tenant = TenantId(tenant);
        let context = WriteContext { tenant, limits: &limits, epoch: 0, now_ms: NOW_MS, digest: None };
        world.store.append(&context, &batch).unwrap();
        world.store.commit(Duration::ZERO);
    };
    let held = || world.store.status().log_bytes;
    let segments =
        || world.disk.paths().iter().filter(|path| path.to_string_lossy().contains("wal/logs")).count();
    (0..400).for_each(|_| send(1));
    let (all, many) = (held(), segments());
    assert!(many > 3, "{many}");
    world.store.hold_log("l", Stream::Logs, Position { segment: 2, sequence: 2 });
    world.store.drop_passed_lines().unwrap();
    assert_eq!(segments(), many - 1, "segment 2 and what follows is held");
    let end = world.store.log_end(Stream::Logs);
    world.store.hold_log("l", Stream::Logs, end);
    world.store.drop_passed_lines().unwrap();
    assert_eq!(segments(), 1, "from the last one a start learns where to go on");
    assert!(held() < all);
    // One of another tenant's keeps its segment, and those behind it.
    send(2);
    (0..400).for_each(|_| send(1));
    let all = segments();
    assert!(all > 3, "{all}");
    world.store.hold_log("l", Stream::Logs, world.store.log_end(Stream::Logs));
    world.store.drop_passed_lines().unwrap();
    assert!(segments() >= all - 1);
    let (lines, lost) = rest(&mut world.store.follow(Stream::Logs, Position::default()));
    assert!(lines.len() >= 401 && lost == 0, "{} lines, {lost} lost", lines.len());
}

/// What was acknowledged while it was kept is kept, also when the next start hears that nothing is.
#[test]
fn who_passes_from_now_on_keeps_what_was_kept() {
    let mut world = World::new(11);
    let rows = |store: &Store| {
        let (budget, hints) = (Budget::new(1 << 30), Hints::default());
        let always = TimeRange { start_ms: i64::MIN, end_ms: i64::MAX };
        let mut selection = store.select(TenantId(2), &[], always, &hints, &budget).unwrap();
        let (mut block, mut rows) = (SeriesBlock::default(), 0);
        while selection.next_block(&mut block).unwrap() {
            rows += block.columns.timestamps.len();
        }
        rows
    };
    let append = |world: &mut World| {
        for _ in 0..30 {
            world.append();
            while world.store.commit(Duration::ZERO) > 0 {}
        }
    };
    append(&mut world);
    let kept = rows(&world.store);
    assert!(kept > 0);
    let passing = Passing { samples: [TenantId(2)].into(), ..Passing::default() };
    world.disk.kill();
    world.store = open_with(&world.disk, Options { passing, ..options(vec![]) });
    assert_eq!(rows(&world.store), kept);
    append(&mut world);
    assert_eq!(rows(&world.store), kept);
    world.disk.kill();
    world.store = open(&world.disk, vec![]);
    assert_eq!(rows(&world.store), kept);
}

/// A cursor that outlived what a power cut took of the log hides nothing that comes after.
#[test]
fn a_position_that_the_log_never_had_is_where_it_was_opened() {
    let mut world = World::new(12);
    let append = |world: &mut World| {
        for _ in 0..20 {
            world.append();
            while world.store.commit(Duration::ZERO) > 0 {}
        }
    };
    append(&mut world);
    let end = world.store.log_end(Stream::Metrics);
    world.disk.kill();
    world.store = open(&world.disk, vec![]);
    let before = world.samples.len();
    append(&mut world);
    let ahead = Position { sequence: end.sequence + 5, ..end };
    let far = Position { segment: end.segment + 1000, sequence: end.sequence + 5000 };
    for from in [ahead, far] {
        let (entries, lost) = rest(&mut world.store.follow(Stream::Metrics, from));
        assert_eq!((&entries[..], lost), (&world.samples[before..], 0));
    }
}
