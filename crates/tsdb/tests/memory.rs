//! Memory is short: what one tenant brings is refused by name before anything of the others is.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use env::Env;
use model::batch::{LabelSource, SeriesRow};
use model::{Batch, Reason, Sample, Signal, TenantId, TenantLimits};
use sim::clock::SimClock;
use tsdb::{AppendError, Appended, Options, Progress, Store, WriteContext};

const MEMORY_BYTES: u64 = 32 << 20;
const FLOODING: TenantId = TenantId(1);
const SMALL: TenantId = TenantId(2);

/// A store with little memory, and a clock to let the writer look at it.
struct World {
    store: Store,
    clock: SimClock,
    _disk: sim::files::SimFiles,
}

impl World {
    fn new() -> Self {
        let (disk, clock) = (sim::files::SimFiles::new(1), SimClock::new(1_000_000));
        env::Files::create_dir(&disk, Path::new("data")).unwrap();
        let store = open(&disk, &clock);
        Self { store, clock, _disk: disk }
    }

    /// Appends a sample to `metric{i="…"}` for each `i`.
    fn write(&self, tenant: TenantId, series: std::ops::Range<u32>) -> Result<Appended, AppendError> {
        let mut batch = Batch::new(self.store.seed());
        for (at, i) in series.enumerate() {
            let start = batch.pairs.len();
            batch.pairs.push(("__name__".into(), "metric".into()));
            batch.pairs.push(("i".into(), i.to_string().into()));
            batch.samples.push(Sample { timestamp_ms: 1, value: 1.0, start_ms: 0 });
            batch.series.push(SeriesRow {
                labels: LabelSource::Pairs(start..start + 2),
                key: u128::from(i),
                samples: at..at + 1,
                histograms: 0..0,
                exemplars: 0..0,
            });
        }
        self.append(tenant, &batch)
    }

    fn append(&self, tenant: TenantId, batch: &Batch<'_>) -> Result<Appended, AppendError> {
        let limits = TenantLimits { retention_ms: 0, ..TenantLimits::default() };
        let context = WriteContext { tenant, limits: &limits, epoch: 0, now_ms: 1_000_000 };
        let (ticket, appended) = self.store.append(&context, batch)?;
        self.clock.advance(Duration::from_secs(1));
        self.store.commit(Duration::ZERO);
        ticket.wait().unwrap();
        Ok(appended)
    }
}

fn open(disk: &sim::files::SimFiles, clock: &SimClock) -> Store {
    let env = Env {
        clock: Arc::new(clock.clone()),
        files: Arc::new(disk.clone()),
        random: Arc::new(sim::random::SimRandom::new(1)),
    };
    let options = Options {
        memory_bytes: MEMORY_BYTES,
        flush_bytes: 4 << 20,
        cache_bytes: 1 << 20,
        queue_bytes: 1 << 20,
        disk_reserve_bytes: 0,
        ..Options::default()
    };
    Store::open(env, Path::new("data"), options, &Progress::default()).unwrap()
}

fn refused(appended: &Appended, signal: Signal) -> Vec<(Signal, Reason, u64)> {
    appended.rejected.by_reason().filter(|(of, _, count)| *of == signal && *count > 0).collect()
}

/// The bug: new series of one tenant took the head to its limit, and there every tenant's appends were answered
/// "memory limit is reached", those to series that are there too.
#[test]
fn one_tenants_new_series_stop_nobody_else() {
    let world = World::new();
    let all = |appended: Appended, count: u64| {
        assert_eq!((appended.accepted.samples, appended.rejected.is_empty()), (count, true), "{appended:?}");
    };
    all(world.write(SMALL, 0..100).unwrap(), 100);
    // One request as large as all memory, then many small ones.
    let flood = world.write(FLOODING, 0..200_000).unwrap();
    let made = flood.accepted.samples;
    assert_eq!(refused(&flood, Signal::Sample), [(Signal::Sample, Reason::Memory, 200_000 - made)]);
    assert!(made > 20_000, "{made} series are no good use of the memory");
    let told = &flood.rejected.details()[0];
    for part in ["\"metric\"", "the tenant", "storage.memory_bytes"] {
        assert!(told.contains(part), "{told}");
    }
    for round in 1..200 {
        let from = 200_000 + round * 500;
        world.write(FLOODING, from..from + 500).unwrap();
        assert!(world.store.status().head_bytes < MEMORY_BYTES, "round {round}");
    }
    all(world.write(SMALL, 0..100).unwrap(), 100);
    all(world.write(SMALL, 100..200).unwrap(), 100);
    all(world.write(TenantId(3), 0..10).unwrap(), 10);
    all(world.write(FLOODING, 0..100).unwrap(), 100);

    // Many small tenants together reach the second bound: from there on nobody makes series, all write what they have.
    let many = (10..2000).map(|tenant| world.write(TenantId(tenant), 0..100).unwrap());
    assert!(many.last().unwrap().accepted.samples < 100);
    all(world.write(SMALL, 0..200).unwrap(), 200);
    assert!(world.store.status().head_bytes < MEMORY_BYTES);
}
