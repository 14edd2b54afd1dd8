//! The scrubber finds damage that no query has met, once, at the rate that it is given, and lets itself be switched off.

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use env::Env;
use model::{TenantId, TenantLimits};
use sim::clock::SimClock;
use sim::files::SimFiles;
use sim::random::SimRandom;
use tsdb::{Job, Options, Progress, Status, Store, WriteContext};

const DAY: Duration = Duration::from_secs(86_400);

struct World {
    store: Store,
    clock: SimClock,
    disk: SimFiles,
}

impl World {
    /// Two blocks, of two tenants each.
    fn new(scrub_interval: Duration, scrub_bytes_per_second: u64) -> Self {
        let (disk, clock) = (SimFiles::new(1), SimClock::new(1_000_000));
        env::Files::create_dir(&disk, Path::new("data")).unwrap();
        let env = Env {
            clock: Arc::new(clock.clone()),
            files: Arc::new(disk.clone()),
            random: Arc::new(SimRandom::new(1)),
        };
        let options =
            Options { scrub_interval, scrub_bytes_per_second, disk_reserve_bytes: 0, ..Options::default() };
        let store = Store::open(env, Path::new("data"), options, &Progress::default()).unwrap();
        for block in 0..2 {
            for tenant in [1, 2] {
                let rows: Vec<_> = (0..500).map(|i| (i, block, f64::from(i) * 1.37)).collect();
                let batch = common::batch(store.seed(), &rows);
                let limits = TenantLimits { retention_ms: 0, ..TenantLimits::default() };
                let tenant = TenantId(tenant);
                let context =
                    WriteContext { tenant, limits: &limits, epoch: 0, now_ms: 1_000_000, digest: None };
                let (ticket, _) = store.append(&context, &batch).unwrap();
                store.commit(Duration::ZERO);
                ticket.wait().unwrap();
            }
            store.flush().unwrap();
        }
        Self { store, clock, disk }
    }

    /// Does what is due for so long; steps of the scrubber.
    fn pass(&self, time: Duration) -> u64 {
        let mut steps = 0;
        for _ in 0..time.as_secs() {
            self.clock.advance(Duration::from_secs(1));
            while let Some(job) = self.store.next_job(&|_| tsdb::Keep::default()) {
                self.store.run(job, &|_| tsdb::Keep::default()).unwrap();
                steps += u64::from(job == Job::Scrub);
            }
        }
        steps
    }

    fn status(&self) -> Status {
        self.store.status()
    }

    fn block(&self) -> PathBuf {
        let all = self.disk.paths();
        all.into_iter().find(|path| path.ends_with("blocks/000000000001.block")).unwrap()
    }
}

#[test]
fn damage_is_found_once_without_a_query() {
    let world = World::new(DAY, 1 << 20);
    world.pass(2 * DAY);
    let clean = world.status();
    assert!(clean.scrubbed_bytes > clean.block_bytes, "two passes: {clean:?}");
    assert_eq!((clean.damaged_pages, clean.scrub_damaged), (0, 0));
    assert!(clean.scrub_pass_ms > 1_000_000);
    world.disk.flip_bit(&world.block(), 100 * 8).unwrap();
    world.pass(3 * DAY);
    let found = world.status();
    assert_eq!((found.damaged_pages, found.scrub_damaged), (1, 1), "counted once, known since");
    assert!(found.scrub_pass_ms > clean.scrub_pass_ms, "the passes go on");
    // What is damaged now is no page, and read at every pass all the same.
    let length = world.disk.content(&world.block()).unwrap().len();
    world.disk.flip_bit(&world.block(), (length - 3) * 8).unwrap();
    world.pass(2 * DAY);
    assert_eq!((world.status().damaged_pages, world.status().scrub_damaged), (2, 2));
    // Damage that is gone with its block is no longer known.
    world.store.delete_tenant(TenantId(1)).unwrap();
    world.store.delete_tenant(TenantId(2)).unwrap();
    world.pass(2 * DAY);
    assert_eq!((world.status().damaged_pages, world.status().scrub_damaged), (2, 0));
}

#[test]
fn a_pass_is_paced_and_can_be_switched_off() {
    let world = World::new(DAY, 2048);
    assert_eq!(world.pass(Duration::from_secs(3599)), 0, "a start has enough to do");
    let bytes = world.status().block_bytes;
    let seconds = bytes / 2048;
    world.pass(Duration::from_secs(seconds / 2));
    let half = world.status().scrubbed_bytes;
    // A page is read as a whole.
    assert!(half > bytes / 4 && half < bytes * 3 / 4 + (40 << 10), "{half} of {bytes}");
    assert_eq!(world.status().scrub_pass_ms, 0);
    world.pass(Duration::from_secs(seconds * 2));
    assert!(world.status().scrub_pass_ms > 0);

    let off = World::new(Duration::ZERO, 1 << 20);
    assert_eq!(off.pass(10 * DAY), 0);
}
