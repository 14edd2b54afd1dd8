//! What a flush costs, what it gives back, and what the files that it replaces are good for afterwards.

mod common;

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};
use std::time::Duration;

use env::{Clock, Env, Files};
use model::{Budget, Hints, TenantId, TenantLimits, TimeRange};
use sim::clock::SimClock;
use sim::files::{Failure, Fault, Op, SimFiles};
use sim::random::SimRandom;
use tsdb::{Job, Keep, Options, Progress, Store, WriteContext};

const DATA: &str = "data";
const ALWAYS: TimeRange = TimeRange { start_ms: i64::MIN, end_ms: i64::MAX };

/// A store on a simulated disk.
struct World {
    disk: SimFiles,
    clock: SimClock,
    store: Store,
}

impl World {
    fn new() -> Self {
        let (disk, clock) = (SimFiles::new(1), SimClock::new(1_000_000));
        disk.create_dir(Path::new(DATA)).unwrap();
        let store = open(&disk, &clock);
        Self { disk, clock, store }
    }

    /// The store opened anew, as after a kill.
    fn restarted(self, options: Options) -> Self {
        self.disk.kill();
        let store = open_with(&self.disk, &self.clock, options);
        Self { store, ..self }
    }

    fn write(&self, tenant: u32, rows: &[(u32, i64, f64)]) {
        write(&self.store, tenant, rows);
    }

    /// What a start finds of tenant 1 on a copy of the disk on which something was done, by time.
    fn reopened(&self, change: impl FnOnce(&SimFiles)) -> Vec<(i64, f64)> {
        let disk = self.disk.fork(2);
        disk.kill();
        change(&disk);
        found(&open(&disk, &self.clock))
    }

    fn log(&self) -> Vec<PathBuf> {
        let mut paths = self.disk.paths();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "wal"));
        paths
    }
}

fn write(store: &Store, tenant: u32, rows: &[(u32, i64, f64)]) {
    let batch = common::batch(store.seed(), rows);
    let limits = TenantLimits { retention_ms: 0, ..TenantLimits::default() };
    let context =
        WriteContext { tenant: TenantId(tenant), limits: &limits, epoch: 0, now_ms: 1_000_000, digest: None };
    let (ticket, _) = store.append(&context, &batch).unwrap();
    store.commit(Duration::ZERO);
    ticket.wait().unwrap();
}

fn open(disk: &SimFiles, clock: &(impl Clock + Clone + 'static)) -> Store {
    // A series is a step of a merge.
    let options = Options { disk_reserve_bytes: 0, compaction_bytes_per_second: 1, ..Options::default() };
    open_with(disk, clock, options)
}

fn open_with(disk: &SimFiles, clock: &(impl Clock + Clone + 'static), options: Options) -> Store {
    let env = Env {
        clock: Arc::new(clock.clone()),
        files: Arc::new(disk.clone()),
        random: Arc::new(SimRandom::new(1)),
    };
    Store::open(env, Path::new(DATA), options, &Progress::default()).unwrap()
}

/// What a store has of tenant 1, by time.
fn found(store: &Store) -> Vec<(i64, f64)> {
    let budget = Budget::new(1 << 30);
    let mut selection = store.select(TenantId(1), &[], ALWAYS, &Hints::default(), &budget).unwrap();
    let mut found = Vec::new();
    let mut block = model::SeriesBlock::default();
    while selection.next_block(&mut block).unwrap() {
        found.extend(block.columns.timestamps.iter().copied().zip(block.columns.values.iter().copied()));
    }
    found.sort_by_key(|(ms, _)| *ms);
    found
}

fn in_data(name: &str) -> PathBuf {
    Path::new("/").join(DATA).join(name)
}

#[test]
fn a_flush_of_a_thousand_tenants_syncs_five_times_makes_three_files_and_leaves_no_log() {
    let world = World::new();
    for round in 0..3 {
        for tenant in 1..1000 {
            world.write(tenant, &[(1, round * 10, 1.0), (2, round * 10, 2.0)]);
        }
        let done = || [Op::Sync, Op::SyncDir, Op::Create].map(|op| world.disk.count(op));
        let before = done();
        world.store.flush().unwrap();
        let after = done();
        let [syncs, directory_syncs, created] = [0, 1, 2].map(|op: usize| after[op] - before[op]);
        assert_eq!((syncs + directory_syncs, created), (5, 3));
        assert_eq!(world.log(), Vec::<PathBuf>::new(), "all of it is in blocks");
    }
}

/// The bug: the log was kept until the flush after the next one, since only one copy of the manifest knew of the last one.
#[test]
fn either_copy_of_the_manifest_is_enough_after_a_flush() {
    let world = World::new();
    world.write(1, &[(1, 10, 1.0)]);
    world.store.flush().unwrap();
    world.write(1, &[(1, 20, 2.0)]);
    world.store.flush().unwrap();
    world.write(1, &[(1, 30, 3.0)]);
    let wanted = [(10, 1.0), (20, 2.0), (30, 3.0)];
    for name in ["manifest-0", "manifest-1"] {
        let flip = |disk: &SimFiles| disk.flip_bit(&in_data(name), 200).unwrap();
        assert_eq!(world.reopened(flip), wanted, "{name} is damaged");
        assert_eq!(world.reopened(|disk| disk.lose(&in_data(name)).unwrap()), wanted, "{name} is lost");
    }
}

#[test]
fn a_start_makes_a_damaged_copy_of_the_manifest_anew() {
    let world = World::new();
    world.write(1, &[(1, 10, 1.0)]);
    world.store.flush().unwrap();
    for (first, then) in [("manifest-0", "manifest-1"), ("manifest-1", "manifest-0")] {
        let disk = world.disk.fork(3);
        disk.kill();
        disk.flip_bit(&in_data(first), 200).unwrap();
        let store = open(&disk, &world.clock);
        assert_eq!(store.status().quarantined, 0);
        drop(store);
        disk.kill();
        assert_eq!(tsdb::check(&disk, Path::new(DATA), &mut |_| {}).unwrap().damage, []);
        disk.flip_bit(&in_data(then), 200).unwrap();
        // Named by no copy it would be removed or, without any copy, be found.
        let report = tsdb::check(&disk, Path::new(DATA), &mut |_| {}).unwrap();
        assert!(report.manifest_generation.is_some_and(|generation| generation > 1), "{report:?}");
        assert_eq!((report.blocks, report.orphans.len()), (1, 0));
    }
}

/// Removed segments are not synced away. One that a power cut brings back, beside the loss of both copies of the manifest,
/// is older than the blocks.
#[test]
fn a_segment_that_comes_back_without_a_manifest_overwrites_nothing() {
    let world = World::new();
    world.write(1, &[(1, 10, 1.0), (1, 20, 2.0)]);
    let first = world.log()[0].clone();
    let bytes = world.disk.content(&first).unwrap();
    world.store.flush().unwrap();
    world.write(1, &[(1, 10, 9.0)]);
    world.store.flush().unwrap();
    world.write(1, &[(1, 30, 3.0)]);
    let wanted = [(10, 9.0), (20, 2.0), (30, 3.0)];
    let come_back = |disk: &SimFiles| {
        let file = disk.create(&first).unwrap();
        file.write_at(&bytes, 0).unwrap();
    };
    let mut left = true;
    let open_twice = |disk: &SimFiles| {
        come_back(disk);
        drop(open(disk, &world.clock));
        left = disk.paths().contains(&first);
        disk.kill();
    };
    assert_eq!(world.reopened(open_twice), wanted);
    assert!(!left, "a start removes it");
    let without_manifests = |disk: &SimFiles| {
        come_back(disk);
        ["manifest-0", "manifest-1"].into_iter().for_each(|name| disk.lose(&in_data(name)).unwrap());
    };
    assert_eq!(world.reopened(without_manifests), wanted);
}

/// A clock whose reading by one thread lets another one do something first, once: merges read it between steps.
#[derive(Clone)]
struct Interrupting {
    clock: SimClock,
    thread: ThreadId,
    other: Arc<Mutex<Option<Waiting>>>,
}

/// Who waits for his turn, and how he tells that he is done.
type Waiting = (SyncSender<()>, Receiver<()>);

impl Clock for Interrupting {
    fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    fn monotonic(&self) -> Duration {
        let is_his = thread::current().id() == self.thread;
        if let Some((turn, done)) = is_his.then(|| self.other.lock().unwrap().take()).flatten() {
            turn.send(()).unwrap();
            done.recv().unwrap();
        }
        self.clock.monotonic()
    }
}

#[test]
fn after_merging_everything_there_is_next_to_no_log() {
    let disk = SimFiles::new(1);
    disk.create_dir(Path::new(DATA)).unwrap();
    let clock = SimClock::new(1_000_000);
    let world = World { store: open(&disk, &clock), disk: disk.clone(), clock };
    for i in 0..20 {
        world.write(1, &[(i, 10, 1.0)]);
        world.store.flush().unwrap();
        world.write(1, &[(i, 20, 1.0)]);
    }
    let World { store, clock, .. } = &world;
    let log_bytes = || world.log().iter().map(|path| disk.content(path).unwrap().len()).sum::<usize>();
    store.compact_all().unwrap();
    assert_eq!((store.status().blocks, log_bytes()), (1, 0));

    // And when something is written meanwhile.
    world.write(1, &[(1, 30, 1.0)]);
    disk.kill();
    let (thread, other) = (thread::current().id(), Arc::default());
    let clock = Interrupting { clock: clock.clone(), thread, other };
    let store = open(&disk, &clock);
    let (turn, turns) = sync_channel(0);
    let (told, done) = sync_channel(0);
    *clock.other.lock().unwrap() = Some((turn, done));
    let writer = store.clone();
    let writer = thread::spawn(move || {
        turns.recv().unwrap();
        write(&writer, 1, &[(1, 40, 1.0)]);
        told.send(()).unwrap();
    });
    store.compact_all().unwrap();
    writer.join().unwrap();
    assert_eq!((store.status().blocks, store.status().head_samples), (1, 1));
    assert!((1..500).contains(&log_bytes()), "{} bytes of log for one sample", log_bytes());
}

/// Bytes of a sample in the head.
const CELL: u64 = 24;

/// Seconds after which a flush is due when `samples` come each 15 s, looked at every 5 s; `None` = not before the samples
/// are ten minutes old.
fn flushed_after(world: &World, samples: u32) -> Option<u64> {
    due_after(world, samples, Job::Flush)
}

/// The same of other work.
fn due_after(world: &World, samples: u32, wanted: Job) -> Option<u64> {
    (0..600).step_by(5).find(|second| {
        if second % 15 == 0 {
            let rows: Vec<_> = (0..samples).map(|i| (i, *second as i64, 1.0)).collect();
            world.write(2, &rows);
        }
        let job = world.store.next_job(&|_| Keep::default());
        world.clock.advance(Duration::from_secs(5));
        job == Some(wanted)
    })
}

#[test]
fn the_head_is_flushed_when_next_to_nothing_comes_and_a_trickle_makes_no_small_blocks() {
    // Worth a flush are 1,024 samples; 32 in half a minute are as good as none.
    let options = Options { flush_bytes: 16 * 1024 * CELL, disk_reserve_bytes: 0, ..Options::default() };
    let with_head_of = |samples: u32| {
        let world = World::new().restarted(options.clone());
        let rows: Vec<_> = (0..samples).map(|i| (i, 1, 1.0)).collect();
        world.write(1, &rows);
        world
    };
    assert_eq!(flushed_after(&with_head_of(1100), 10), Some(30), "self-monitoring goes on");
    assert_eq!(flushed_after(&with_head_of(1100), 0), Some(30));
    assert_eq!(flushed_after(&with_head_of(1100), 20), None, "samples are coming");
    assert_eq!(flushed_after(&with_head_of(500), 10), None, "not worth a block");
    assert_eq!(flushed_after(&with_head_of(0), 10), None);

    let world = with_head_of(1100);
    flushed_after(&world, 10).unwrap();
    world.store.flush().unwrap();
    assert_eq!(flushed_after(&world, 10), None, "the next one is for what comes then");
    // What a start has read from the log is worth the same.
    let world = with_head_of(1100).restarted(options.clone());
    assert_eq!(flushed_after(&world, 10), Some(30));
}

#[test]
fn flushed_blocks_are_merged_when_next_to_nothing_comes() {
    let options = Options { flush_bytes: 16 * 1024 * CELL, disk_reserve_bytes: 0, ..Options::default() };
    let with_block_of = |samples: u32| {
        let world = World::new().restarted(options.clone());
        let rows: Vec<_> = (0..samples).map(|i| (i, 1, f64::from(i) * 1.37)).collect();
        world.write(1, &rows);
        world.store.flush().unwrap();
        world
    };
    assert_eq!(due_after(&with_block_of(2000), 10, Job::Compaction), Some(30));
    assert_eq!(due_after(&with_block_of(2000), 20, Job::Compaction), None, "samples are coming");
    assert_eq!(due_after(&with_block_of(100), 10, Job::Compaction), None, "not worth a merge");
    let world = with_block_of(2000);
    let before = found(&world.store);
    while due_after(&world, 10, Job::Compaction).is_some() {
        world.store.run(Job::Compaction, &|_| Keep::default()).unwrap();
    }
    assert_eq!(world.store.status().compactions, 1, "what was merged is not merged again");
    assert_eq!(found(&world.store), before);
    // It was quiet before the flush.
    let world = World::new().restarted(options.clone());
    world.write(1, &(0..2000).map(|i| (i, 1, f64::from(i) * 1.37)).collect::<Vec<_>>());
    assert_eq!(flushed_after(&world, 10), Some(30));
    world.store.flush().unwrap();
    assert_eq!(due_after(&world, 10, Job::Compaction), Some(0));
}

/// The bug: a flush that failed after its block had its name left it there, and each try another one; on a disk that was
/// full for the manifest the first of them kept it full.
#[test]
fn a_flush_that_fails_leaves_no_block() {
    let blocks = |world: &World| world.disk.list(&Path::new(DATA).join("blocks")).unwrap();
    let none: [String; 0] = [];
    let plans = [
        ("the block's name", Fault::new(Op::SyncDir, Failure::Io).on("blocks").forever()),
        ("the block again", Fault::new(Op::Open, Failure::TooManyFiles).on(".block").forever()),
        ("a manifest", Fault::new(Op::Create, Failure::NoSpace).on("manifest-0").forever()),
        ("the other's name", Fault::new(Op::Rename, Failure::Io).on("manifest-1")),
        ("the manifests' names", Fault::new(Op::SyncDir, Failure::Io).after(1)),
    ];
    for (what, fault) in plans {
        let world = World::new();
        world.write(1, &[(1, 10, 1.0)]);
        world.disk.plan(fault);
        for _ in 0..3 {
            if world.store.flush().is_ok() {
                break;
            }
            assert_eq!(blocks(&world), none, "{what}");
            assert_eq!(world.reopened(|disk| disk.heal()), [(10, 1.0)], "{what}");
        }
        assert!(world.disk.failures() > 0, "{what}");
        world.disk.heal();
        world.store.flush().unwrap();
        assert_eq!(blocks(&world).len(), 1, "{what}");
    }
}

/// A manifest whose names were not synced may be what a start finds: a block that it names stays until another one is.
#[test]
fn a_block_that_a_manifest_may_name_goes_with_the_next_one() {
    let blocks = |disk: &SimFiles| disk.list(&Path::new(DATA).join("blocks")).unwrap().len();
    let world = World::new();
    // The directory itself is there after a power cut.
    world.disk.sync_dir(Path::new("/")).unwrap();
    world.write(1, &[(1, 10, 1.0)]);
    for failed in 1..4 {
        world.disk.heal();
        world.disk.plan(Fault::new(Op::SyncDir, Failure::Io).after(1).forever());
        world.store.flush().unwrap_err();
        assert_eq!(blocks(&world.disk), failed);
        for seed in 0..50 {
            let disk = world.disk.fork(seed);
            disk.crash();
            let store = open(&disk, &world.clock);
            assert_eq!(store.status().quarantined, 0, "no block is missing, seed {seed}");
            assert_eq!(found(&store), [(10, 1.0)], "seed {seed}");
            assert_eq!(blocks(&disk) as u64, store.status().blocks);
        }
    }
    world.disk.heal();
    world.store.flush().unwrap();
    assert_eq!(blocks(&world.disk), 1);
}
