//! Deltas become running totals, each counted once: whatever was sent again, however the store stopped in between.

#[path = "deltas/lives.rs"]
mod lives;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use env::{Clock, Env, Files};
use model::batch::{HistogramSample, LabelSource, SeriesRow, Temporality};
use model::histogram::{BucketCounts, Histogram, ResetHint, Span};
use model::{
    Batch, Budget, Hints, Reason, STALE_NAN_BITS, Sample, Signal, TenantId, TenantLimits, TimeRange,
};
use sim::clock::SimClock;
use sim::files::{Failure, Fault, Op, SimFiles};
use sim::random::{Rng, SimRandom};
use tsdb::{AppendError, Appended, Options, Progress, SnapshotName, Store, Ticket, WriteContext};

const TENANT: TenantId = TenantId(1);
const BEGIN_MS: i64 = 1_800_000_000_000;

/// Series from this number on are of native histograms: a value is so many observations, and their sum.
const HISTOGRAMS: u32 = 1 << 16;

/// The first number of each kind of series.
const KINDS: [u32; 2] = [0, HISTOGRAMS];

/// What was added to a series: its number, begin and end in ms after [`BEGIN_MS`] (a begin of -1 is not told), how much.
type Delta = (u32, i64, i64, f64);

/// Time in ms after [`BEGIN_MS`], value, start.
type Point = (i64, f64, i64);

struct World {
    disk: SimFiles,
    clock: SimClock,
    options: Options,
}

impl World {
    fn new(seed: u64) -> Self {
        let disk = SimFiles::new(seed);
        disk.create_dir(Path::new("/data")).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        let options = Options { disk_reserve_bytes: 0, ..Options::default() };
        Self { disk, clock: SimClock::new(BEGIN_MS), options }
    }

    fn env(&self) -> Env {
        Env {
            clock: Arc::new(self.clock.clone()),
            files: Arc::new(self.disk.clone()),
            random: Arc::new(SimRandom::new(7)),
        }
    }

    fn open(&self) -> Store {
        open(&self.env(), Path::new("/data"), &self.options)
    }
}

fn open(env: &Env, directory: &Path, options: &Options) -> Store {
    Store::open(env.clone(), directory, options.clone(), &Progress::default()).unwrap()
}

/// A request with deltas; its digest is made of what is in it. With `padding` each series has so long a label.
fn queue_padded(
    store: &Store,
    now_ms: i64,
    deltas: &[Delta],
    padding: &str,
) -> Result<(Ticket, Appended), AppendError> {
    let mut batch = Batch::new(store.seed());
    for (series, start_ms, end_ms, value) in deltas {
        let first = batch.pairs.len();
        let (samples, histograms) = (batch.samples.len(), batch.histograms.len());
        batch.pairs.push(("__name__".into(), "requests_total".into()));
        batch.pairs.push(("i".into(), series.to_string().into()));
        batch.pairs.push(("padding".into(), format!("{padding}{series}").into()));
        let start_ms = if *start_ms < 0 { 0 } else { BEGIN_MS + start_ms };
        let timestamp_ms = BEGIN_MS + end_ms;
        if *series < HISTOGRAMS {
            batch.samples.push(Sample { timestamp_ms, value: *value, start_ms });
        } else {
            let histogram = Arc::new(histogram(*value));
            batch.histograms.push(HistogramSample { timestamp_ms, start_ms, histogram });
        }
        batch.series.push(SeriesRow {
            labels: LabelSource::Pairs(first..first + 3),
            key: u128::from(*series),
            samples: samples..batch.samples.len(),
            histograms: histograms..batch.histograms.len(),
            exemplars: 0..0,
            temporality: Temporality::Delta,
            item: 0,
        });
    }
    let digest = deltas.iter().fold(1u128, |hash, (series, start, end, value)| {
        [u64::from(*series), *start as u64, *end as u64, value.to_bits()]
            .iter()
            .fold(hash, |hash, part| hash.wrapping_mul(0x0100_0000_01b3) ^ u128::from(*part))
    });
    let limits = TenantLimits { retention_ms: 0, future_ms: i64::MAX / 2, ..TenantLimits::default() };
    let context = WriteContext { tenant: TENANT, limits: &limits, epoch: 0, now_ms, digest: Some(digest) };
    store.append(&context, &batch)
}

/// So many observations, in a layout that depends on how many: totals meet all that there are.
fn histogram(observations: f64) -> Histogram {
    let is_whole = observations.fract() == 0.0 && observations < 2f64.powi(60);
    let whole = if is_whole { observations as u64 } else { 0 };
    let (low, high) = (whole & 0xff, whole & !0xff);
    let counts = if is_whole {
        BucketCounts::Integer {
            count: whole,
            zero: low / 3,
            positive: vec![low - low / 3, high],
            negative: vec![],
        }
    } else {
        BucketCounts::Float {
            count: observations,
            zero: 0.0,
            positive: vec![observations, 0.0],
            negative: vec![],
        }
    };
    Histogram {
        schema: 1 + (whole % 3) as i32,
        zero_threshold: [0.0, 1e-3, 1e-2][(whole % 5 % 3) as usize],
        sum: observations,
        reset_hint: [ResetHint::Unknown, ResetHint::Reset, ResetHint::Gauge][(whole % 7 % 3) as usize],
        positive_spans: [(whole % 11) as i32 - 4, 1].map(|offset| Span { offset, length: 1 }).into(),
        negative_spans: vec![],
        counts,
        custom_bounds: vec![],
    }
}

fn queue(store: &Store, deltas: &[Delta]) -> (Ticket, Appended) {
    queue_padded(store, BEGIN_MS, deltas, "").unwrap()
}

/// What became of a request in the end.
fn send(store: &Store, deltas: &[Delta]) -> Appended {
    let (ticket, appended) = queue(store, deltas);
    store.commit(Duration::ZERO);
    appended.settled(ticket.wait().unwrap())
}

fn taken(appended: &Appended) -> u64 {
    appended.accepted.samples + appended.accepted.histograms
}

fn refused(appended: &Appended) -> u64 {
    appended.rejected.counts().samples + appended.rejected.counts().histograms
}

/// The observations of a total.
fn observations(total: &Histogram) -> f64 {
    if !total.is_stale() {
        total.validate().unwrap();
        assert_eq!((total.sum, total.reset_hint), (total.count(), ResetHint::Unknown));
    }
    total.sum
}

/// Everything by series.
fn points(store: &Store) -> BTreeMap<u32, Vec<Point>> {
    let (budget, always) = (Budget::new(1 << 30), TimeRange { start_ms: i64::MIN, end_ms: i64::MAX });
    let mut selection = store.select(TENANT, &[], always, &Hints::default(), &budget).unwrap();
    let (mut found, mut block) = (BTreeMap::new(), model::SeriesBlock::default());
    while selection.next_block(&mut block).unwrap() {
        for (index, series) in block.series.iter().enumerate() {
            let labels = selection.labels(*series).unwrap().unwrap();
            let rows = block.offsets[index] as usize..block.offsets[index + 1] as usize;
            let columns = &block.columns;
            let start = |row: usize| columns.starts.get(row).copied().unwrap_or(0);
            let series: u32 = labels.get("i").unwrap().parse().unwrap();
            let histogram = |row: usize| columns.histograms.binary_search_by_key(&row, |it| it.row as usize);
            let value = |row: usize| match histogram(row) {
                Ok(at) => observations(&columns.histograms[at].histogram),
                Err(_) => columns.values[row],
            };
            assert!(rows.clone().all(|row| histogram(row).is_ok() == (series >= HISTOGRAMS)));
            let point = |row: usize| (columns.timestamps[row] - BEGIN_MS, value(row), start(row) - BEGIN_MS);
            assert!(found.insert(series, rows.map(point).collect()).is_none());
        }
    }
    found
}

#[test]
fn deltas_add_up_from_the_first_ones_start() {
    for of in KINDS {
        let store = World::new(1).open();
        assert_eq!(taken(&send(&store, &[(of + 1, 0, 10, 2.0), (of + 2, -1, 10, 5.0)])), 2);
        send(&store, &[(of + 1, 10, 20, 3.0), (of + 2, -1, 20, 0.5), (of + 1, 20, 30, 1.0)]);
        let wanted = [
            (of + 1, vec![(10, 2.0, 0), (20, 5.0, 0), (30, 6.0, 0)]),
            (of + 2, vec![(10, 5.0, 9), (20, 5.5, 9)]),
        ];
        assert_eq!(points(&store), BTreeMap::from(wanted));
        store.flush().unwrap();
        assert_eq!(points(&store)[&(of + 1)].len(), 3);
    }
}

/// The promise: three times the same, with a kill after each.
#[test]
fn the_same_request_three_times_with_kills_between_counts_once() {
    for of in KINDS {
        let world = World::new(1);
        for flushed in [false, true] {
            for kill in [SimFiles::kill, SimFiles::crash] {
                let round = points(&world.open()).get(&1).map_or(0, Vec::len) as i64;
                let deltas = [(of + 1, round * 10, round * 10 + 10, 7.0), (of + 2, -1, round * 10 + 10, 1.0)];
                for _ in 0..3 {
                    let store = world.open();
                    let appended = send(&store, &deltas);
                    assert_eq!((taken(&appended), appended.rejected.is_empty()), (2, true));
                    if flushed {
                        store.flush().unwrap();
                    }
                    drop(store);
                    kill(&world.disk);
                }
                let found = points(&world.open());
                assert_eq!(found[&(of + 1)].last(), Some(&(round * 10 + 10, 7.0 * (round + 1) as f64, 0)));
                assert_eq!(found[&(of + 1)].len() as i64, round + 1);
            }
        }
    }
}

#[test]
fn the_same_request_three_times_on_a_real_disk_counts_once() {
    for of in KINDS {
        let directory = tempfile::tempdir().unwrap();
        let (env, options) = (Env::real(), Options { disk_reserve_bytes: 0, ..Options::default() });
        for _ in 0..3 {
            let store = open(&env, directory.path(), &options);
            let (ticket, appended) =
                queue_padded(&store, env.clock.now_ms(), &[(of + 1, 0, 10, 7.0)], "").unwrap();
            store.commit(Duration::ZERO);
            assert!(appended.settled(ticket.wait().unwrap()).rejected.is_empty());
        }
        let store = open(&env, directory.path(), &options);
        assert_eq!(points(&store)[&(of + 1)], [(10, 7.0, 0)]);
    }
}

#[test]
fn two_that_are_the_same_in_one_group_count_once() {
    for of in KINDS {
        let world = World::new(1);
        let store = world.open();
        let (one, _) = queue(&store, &[(of + 1, 0, 10, 7.0)]);
        let (other, _) = queue(&store, &[(of + 2, 0, 10, 1.0)]);
        let (again, appended) = queue(&store, &[(of + 1, 0, 10, 7.0)]);
        assert_eq!(store.commit(Duration::ZERO), 3);
        assert!(one.wait().is_ok() && other.wait().is_ok());
        assert!(appended.settled(again.wait().unwrap()).rejected.is_empty());
        assert_eq!(points(&store)[&(of + 1)], [(10, 7.0, 0)]);
        // They fail together: neither may be told that it was taken.
        world.disk.plan(Fault::new(Op::Sync, Failure::Io).forever());
        let (one, _) = queue(&store, &[(of + 1, 10, 20, 7.0)]);
        let (again, _) = queue(&store, &[(of + 1, 10, 20, 7.0)]);
        store.commit(Duration::ZERO);
        assert!(one.wait().is_err() && again.wait().is_err());
    }
}

#[test]
fn a_late_delta_is_refused_by_name() {
    for (of, signal) in KINDS.into_iter().zip([Signal::Sample, Signal::Histogram]) {
        let store = World::new(1).open();
        send(&store, &[(of + 1, 10, 20, 1.0)]);
        let appended = send(
            &store,
            &[(of + 1, 0, 10, 2.0), (of + 1, 10, 20, 4.0), (of + 1, 20, 30, 8.0), (of + 2, 0, 10, 1.0)],
        );
        let rejected: Vec<_> = appended.rejected.by_reason().collect();
        assert_eq!(rejected, [(signal, Reason::LateDelta, 2)]);
        assert_eq!(taken(&appended), 2);
        let why = &appended.rejected.details()[0];
        assert!(why.contains("requests_total") && why.contains("taken before"), "{why}");
        assert_eq!(points(&store)[&(of + 1)], [(20, 1.0, 10), (30, 9.0, 10)]);
        // Nothing of a number that is none, or that would make the total one.
        let appended = send(
            &store,
            &[(of + 1, 30, 40, f64::NAN), (of + 1, 40, 50, f64::INFINITY), (of + 2, 10, 20, f64::MAX)],
        );
        assert_eq!((taken(&appended), refused(&appended)), (1, 2));
        let appended = send(&store, &[(of + 2, 20, 30, f64::MAX)]);
        assert_eq!(appended.rejected.by_reason().next(), Some((signal, Reason::InvalidValue, 1)));
    }
}

/// A group that fails was never proposed; what of it did reach the disk does not come back once the log went on.
#[test]
fn what_failed_is_dropped_and_may_be_sent_again() {
    for of in KINDS {
        let world = World::new(1);
        let store = world.open();
        send(&store, &[(of + 1, 0, 10, 100.0)]);
        // The bytes are there, and the sync says that they are not.
        world.disk.plan(Fault::new(Op::Sync, Failure::Io).on("wal").forever());
        let (ticket, _) = queue(&store, &[(of + 1, 10, 20, 50.0), (of + 2, 10, 20, 50.0)]);
        store.commit(Duration::ZERO);
        ticket.wait().unwrap_err();
        world.disk.heal();
        for _ in 0..3 {
            world.clock.advance(Duration::from_secs(1));
            store.commit(Duration::ZERO);
        }
        // Somebody else's comes first: the one that failed is late now for series 1, and not for series 2.
        send(&store, &[(of + 1, 20, 30, 1.0)]);
        let appended = send(&store, &[(of + 1, 10, 20, 50.0), (of + 2, 10, 20, 50.0)]);
        assert_eq!((taken(&appended), refused(&appended)), (1, 1));
        let wanted =
            BTreeMap::from([(of + 1, vec![(10, 100.0, 0), (30, 101.0, 0)]), (of + 2, vec![(20, 50.0, 10)])]);
        assert_eq!(points(&store), wanted);
        drop(store);
        world.disk.kill();
        let store = world.open();
        assert_eq!(points(&store), wanted, "after a restart");
        send(&store, &[(of + 1, 30, 40, 1.0), (of + 2, 20, 30, 1.0)]);
        assert_eq!(points(&store)[&(of + 1)].last(), Some(&(40, 102.0, 0)));
        assert_eq!(points(&store)[&(of + 2)].last(), Some(&(30, 51.0, 10)));
    }
}

#[test]
fn totals_and_digests_survive_flushes_and_restarts() {
    for of in KINDS {
        let world = World::new(1);
        let mut total = 0.0;
        for round in 0..8 {
            let store = world.open();
            let (start_ms, end_ms) = (round * 10, round * 10 + 10);
            // The one before, again, before anything else is written.
            if round > 0 {
                let again = send(&store, &[(of + 1, start_ms - 10, start_ms, 1.5)]);
                assert!(again.rejected.is_empty(), "round {round}: {again:?}");
            }
            send(&store, &[(of + 1, start_ms, end_ms, 1.5)]);
            total += 1.5;
            match round % 4 {
                0 => store.close().unwrap(),
                1 => store.flush().unwrap(),
                2 => (0..3).for_each(|_| store.flush().unwrap()),
                _ => {}
            }
            drop(store);
            if round % 2 == 0 {
                world.disk.crash()
            } else {
                world.disk.kill()
            }
            let found = points(&world.open());
            assert_eq!(found[&(of + 1)].last(), Some(&(end_ms, total, 0)), "round {round}");
            assert_eq!(found[&(of + 1)].len() as i64, round + 1);
        }
    }
}

/// Replaying more than memory allows flushes on the way, when totals cannot be logged again yet.
#[test]
fn totals_survive_flushes_during_a_replay() {
    for of in KINDS {
        let mut world = World::new(1);
        world.options.segment_bytes = 16 << 10;
        let store = world.open();
        let series = 300u32;
        let round =
            |n: i64| (0..series).map(|i| (of + i, n * 10, n * 10 + 10, f64::from(i))).collect::<Vec<Delta>>();
        (0..40).for_each(|n| drop(send(&store, &round(n))));
        drop(store);
        world.disk.kill();
        world.options.memory_bytes = 1 << 20;
        world.options.flush_bytes = 4096;
        for n in 40..43 {
            let store = world.open();
            assert!(n > 40 || store.status().flushes > 0, "the replay flushes");
            world.options.memory_bytes = 1 << 30;
            drop(store);
            let store = world.open();
            assert!(send(&store, &round(n - 1)).rejected.is_empty(), "round {n}");
            send(&store, &round(n));
            drop(store);
            world.disk.kill();
            world.options.memory_bytes = 1 << 20;
        }
        world.options.memory_bytes = 1 << 30;
        let found = points(&world.open());
        for i in 0..series {
            let wanted = (1..=43).map(|n| (n * 10, n as f64 * f64::from(i), 0));
            assert_eq!(found[&(of + i)], wanted.collect::<Vec<_>>(), "series {i}");
        }
    }
}

#[test]
fn a_series_that_left_the_head_starts_anew() {
    for of in KINDS {
        let world = World::new(1);
        let store = world.open();
        send(&store, &[(of + 1, 0, 10, 5.0), (of + 2, 0, 10, 5.0)]);
        let before = store.status().head_bytes;
        store.flush().unwrap();
        world.clock.advance(world.options.idle + Duration::from_secs(1));
        send(&store, &[(of + 2, 10, 20, 1.0)]);
        store.flush().unwrap();
        store.commit(Duration::ZERO);
        assert_eq!(store.status().head_series, 1);
        assert!(store.status().head_bytes < before);
        send(&store, &[(of + 1, -1, 30, 9.0), (of + 2, 20, 30, 1.0)]);
        assert_eq!(points(&store)[&(of + 1)], [(10, 5.0, 0), (30, 9.0, 29)]);
        assert_eq!(points(&store)[&(of + 2)], [(10, 5.0, 0), (20, 6.0, 0), (30, 7.0, 0)]);
        // So does one that was deleted, whatever the log still has of it.
        store.delete_series(TENANT, &[vec![]], TimeRange { start_ms: i64::MIN, end_ms: i64::MAX }).unwrap();
        drop(store);
        world.disk.kill();
        let store = world.open();
        assert_eq!(store.status().head_series, 0);
        send(&store, &[(of + 2, 30, 40, 4.0)]);
        assert_eq!(points(&store), BTreeMap::from([(of + 2, vec![(40, 4.0, 30)])]));
    }
}

#[test]
fn a_snapshot_goes_on_where_the_store_was() {
    for of in KINDS {
        let world = World::new(1);
        let store = world.open();
        send(&store, &[(of + 1, 0, 10, 5.0)]);
        send(&store, &[(of + 1, 10, 20, 1.0)]);
        store.snapshot(&SnapshotName::parse("s").unwrap(), &|_| Ok(())).unwrap();
        // What the store takes afterwards is its own.
        send(&store, &[(of + 1, 20, 30, 100.0)]);
        store.flush().unwrap();
        let (from, to) = (Path::new("/data/snapshots/s"), Path::new("/restored"));
        tsdb::restore(&world.disk, from, to, false, &mut |_| {}).unwrap();
        let restored = open(&world.env(), to, &world.options);
        assert!(send(&restored, &[(of + 1, 0, 10, 5.0)]).rejected.is_empty(), "it is known");
        send(&restored, &[(of + 1, 20, 30, 2.0)]);
        assert_eq!(points(&restored)[&(of + 1)], [(10, 5.0, 0), (20, 6.0, 0), (30, 8.0, 0)]);
        assert_eq!(points(&store)[&(of + 1)], [(10, 5.0, 0), (20, 6.0, 0), (30, 106.0, 0)]);
    }
}

#[test]
fn a_request_is_known_for_20_minutes() {
    for of in KINDS {
        let world = World::new(1);
        let deltas = [(of + 1, 0, 10, 5.0)];
        send(&world.open(), &deltas);
        for (minutes, known) in [(19, true), (2, false)] {
            world.clock.advance(Duration::from_secs(minutes * 60));
            let store = world.open();
            let appended = send(&store, &deltas);
            assert_eq!(appended.rejected.is_empty(), known, "{appended:?}");
            store.flush().unwrap();
            assert_eq!(points(&store)[&(of + 1)], [(10, 5.0, 0)]);
        }
    }
}

#[test]
fn a_marker_of_an_end_adds_nothing() {
    for of in KINDS {
        let store = World::new(1).open();
        send(&store, &[(of + 1, 0, 10, 5.0)]);
        send(&store, &[(of + 1, -1, 20, f64::from_bits(STALE_NAN_BITS))]);
        send(&store, &[(of + 1, 10, 30, 1.0)]);
        let found = points(&store)[&(of + 1)].clone();
        assert_eq!((found[0], found[2]), ((10, 5.0, 0), (30, 6.0, 0)));
        assert!(model::is_stale(found[1].1));
    }
}

/// A request of several frames of which a power cut leaves all but one: what of it is there is late when it comes again, the
/// rest is taken, and a digest whose request is not all there is not believed.
#[test]
fn a_torn_request_counts_once_when_it_comes_again() {
    // Several frames of each kind.
    for (of, half) in KINDS.into_iter().zip([60_000, 40_000]) {
        let deltas: Vec<Delta> =
            (0..2 * half).map(|n| (of + 1 + (n / half) as u32, n + 10, n + 11, 1.0)).collect();
        let world = World::new(1);
        let store = world.open();
        send(&store, &[(of + 1, 0, 10, 1.0)]);
        send(&store, &deltas);
        drop(store);
        world.disk.kill();
        let log = Path::new("/data/wal/metrics/000000000001.wal");
        let content = world.disk.content(log).unwrap();
        let frames: Vec<usize> =
            (0..content.len()).filter(|at| content[*at..].starts_with(b"FRM1")).collect();
        assert!(frames.len() > 3, "{frames:?}");
        let mut found_there = Vec::new();
        for (torn, begin) in frames.iter().enumerate().skip(1) {
            let end = frames.get(torn + 1).copied().unwrap_or(content.len());
            let world = World { disk: world.disk.fork(1), options: world.options.clone(), ..World::new(1) };
            world.disk.damage(log, |bytes| bytes[*begin..end].fill(0)).unwrap();
            let store = world.open();
            assert_eq!(store.status().replay_damaged_frames, 0, "it is torn, not damaged");
            let there = points(&store).values().map(Vec::len).sum::<usize>() as u64 - 1;
            let again = send(&store, &deltas);
            let late = refused(&again);
            assert!(
                late >= there && taken(&again) + late == 2 * half as u64,
                "frame {torn}: {there} there, {late} late"
            );
            let check = |store: &Store| {
                let found = points(store);
                let last = |series| found[&series].last().map(|(ms, value, _)| (*ms, *value));
                assert_eq!(last(of + 1), Some((half + 10, half as f64 + 1.0)), "frame {torn}");
                assert_eq!(last(of + 2), Some((2 * half + 10, half as f64)), "frame {torn}");
            };
            check(&store);
            // Now it is known, unless there was nothing to be taken.
            assert!(late == 2 * half as u64 || send(&store, &deltas).rejected.is_empty());
            store.flush().unwrap();
            drop(store);
            world.disk.crash();
            check(&world.open());
            found_there.push(there);
        }
        assert!(found_there.iter().any(|there| *there > 0), "{found_there:?}");
    }
}
