//! Memory is short: what one tenant brings is refused by name before anything of the others is.

mod common;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use env::Env;
use model::batch::{HistogramSample, MetadataRow, Temporality};
use model::histogram::{BucketCounts, Histogram, ResetHint, Span};
use model::{Batch, Metadata, MetricType, Reason, Signal, TenantId, TenantLimits};
use sim::clock::SimClock;
use sim::files::{Failure, Fault, Op};
use tsdb::{AppendError, Appended, Options, Progress, Store, WriteContext};

const MEMORY_BYTES: u64 = 32 << 20;
const FLOODING: TenantId = TenantId(1);
const SMALL: TenantId = TenantId(2);

/// A store with little memory, and a clock to let the writer look at it.
struct World {
    store: Store,
    clock: SimClock,
    disk: sim::files::SimFiles,
}

impl World {
    fn new() -> Self {
        let (disk, clock) = (sim::files::SimFiles::new(1), SimClock::new(1_000_000));
        env::Files::create_dir(&disk, Path::new("data")).unwrap();
        let store = open(&disk, &clock);
        Self { store, clock, disk }
    }

    /// Appends a sample to `metric{i="…"}` for each `i`.
    fn write(&self, tenant: TenantId, series: std::ops::Range<u32>) -> Result<Appended, AppendError> {
        let rows: Vec<(u32, i64, f64)> = series.map(|i| (i, 1, 1.0)).collect();
        let batch = common::batch(self.store.seed(), &rows);
        self.append(tenant, &batch)
    }

    /// Sends the metadata of families with a help text.
    fn describe(&self, tenant: TenantId, families: &[(&str, &str)]) -> Appended {
        self.append(tenant, &self.metadata(families)).unwrap()
    }

    fn metadata<'a>(&self, families: &[(&'a str, &str)]) -> Batch<'a> {
        let mut batch = Batch::new(self.store.seed());
        batch.metadata.extend(families.iter().map(|(family, help)| MetadataRow {
            family: (*family).into(),
            metadata: Metadata { kind: MetricType::Counter, unit: String::new(), help: (*help).to_owned() },
        }));
        batch
    }

    fn append(&self, tenant: TenantId, batch: &Batch<'_>) -> Result<Appended, AppendError> {
        let limits = TenantLimits { retention_ms: 0, ..TenantLimits::default() };
        let context = WriteContext { tenant, limits: &limits, epoch: 0, now_ms: 1_000_000, digest: None };
        let (ticket, appended) = self.store.append(&context, batch)?;
        self.clock.advance(Duration::from_secs(1));
        self.store.commit(Duration::ZERO);
        Ok(appended.settled(ticket.wait().unwrap()))
    }

    /// Sends a delta of a native histogram with so many buckets for each series.
    fn add(&self, tenant: TenantId, series: std::ops::Range<u32>, buckets: usize, end_ms: i64) -> Appended {
        let rows: Vec<(u32, i64, f64)> = series.map(|i| (i, end_ms, 0.0)).collect();
        let mut batch = common::batch(self.store.seed(), &rows);
        batch.samples.clear();
        let histogram = Arc::new(Histogram {
            schema: 3,
            zero_threshold: 0.0,
            sum: 1.0,
            reset_hint: ResetHint::Unknown,
            positive_spans: vec![Span { offset: 0, length: buckets as u32 }],
            negative_spans: vec![],
            counts: BucketCounts::Integer {
                count: buckets as u64,
                zero: 0,
                positive: vec![1; buckets],
                negative: vec![],
            },
            custom_bounds: vec![],
        });
        for (at, series) in batch.series.iter_mut().enumerate() {
            (series.samples, series.histograms) = (0..0, at..at + 1);
            series.temporality = Temporality::Delta;
            let histogram = histogram.clone();
            batch.histograms.push(HistogramSample { timestamp_ms: end_ms, start_ms: 0, histogram });
        }
        self.append(tenant, &batch).unwrap()
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
    let many: Vec<Appended> =
        (10..2000).map(|tenant| world.write(TenantId(tenant), 0..100).unwrap()).collect();
    assert!(many[many.len() - 1].accepted.samples < 100);
    all(world.write(SMALL, 0..200).unwrap(), 200);
    assert!(world.store.status().head_bytes < MEMORY_BYTES);
}

/// The bug: metadata was bounded by a count as large as that of series, 32 KiB each, and counted nowhere.
#[test]
fn metadata_is_refused_by_name_when_a_tenant_has_its_part() {
    let world = World::new();
    let empty = world.store.status().head_bytes;
    let names: Vec<String> = (0..3000).map(|i| format!("family_{i}")).collect();
    let help = "h".repeat(1000);
    let all: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), help.as_str())).collect();
    let flood = world.describe(FLOODING, &all);
    let taken = flood.accepted.metadata;
    assert!((400..500).contains(&taken), "{taken} families of the 512 KiB that a quarter of a sixteenth is");
    assert_eq!(refused(&flood, Signal::Metadata), [(Signal::Metadata, Reason::Memory, 3000 - taken)]);
    assert!(flood.rejected.details()[0].contains("storage.memory_bytes"), "{:?}", flood.rejected.details());
    assert!(world.store.status().head_bytes - empty > taken * 1000, "metadata is counted");

    let one = |help: &str| world.describe(FLOODING, &[("family_0", help)]).accepted.metadata;
    let longer = "h".repeat(20_000);
    assert_eq!((one(&help), one("short"), one(&longer)), (1, 1, 0), "known and shorter ones go on");
    assert_eq!(world.describe(SMALL, &[("family_0", &help)]).accepted.metadata, 1);
    for tenant in 10..40 {
        world.describe(TenantId(tenant), &all);
    }
    let held = world.store.status().head_bytes - empty;
    assert!(held < MEMORY_BYTES / 16, "{held} bytes of all tenants' metadata");
}

/// Totals of histograms stay as long as their series: one tenant's must not take what all have.
#[test]
fn totals_of_histograms_are_refused_by_name_when_a_tenant_has_its_part() {
    let world = World::new();
    let (bytes, budget) = (200 + 8 * 10_001, MEMORY_BYTES / 4);
    let small = world.add(SMALL, 0..2, 10_000, 10);
    assert_eq!(small.accepted.histograms, 2);
    let mut taken = 0;
    for at in 0..20 {
        taken += world.add(FLOODING, at * 10..at * 10 + 10, 10_000, 10).accepted.histograms;
    }
    let fits = budget / 10 * 8 / bytes;
    assert!((fits - 2..=fits).contains(&(taken + 2)), "{taken} of {fits}");
    let flood = world.add(FLOODING, 200..210, 10_000, 10);
    assert_eq!(refused(&flood, Signal::Histogram), [(Signal::Histogram, Reason::Memory, 10)]);
    assert!(flood.rejected.details()[0].contains("storage.memory_bytes"), "{:?}", flood.rejected.details());
    // Those that are there go on, as long as they are not more.
    assert_eq!(world.add(FLOODING, 0..10, 10_000, 20).accepted.histograms, 10);
    assert_eq!(world.add(FLOODING, 0..10, 20_000, 30).accepted.histograms, 0);
    assert_eq!(world.add(SMALL, 2..4, 10_000, 20).accepted.histograms, 2);
    for tenant in 10..20 {
        world.add(TenantId(tenant), 0..2, 10_000, 10);
    }
    let refused = world.add(TenantId(20), 0..1, 10_000, 10);
    assert_eq!(refused.accepted.histograms, 0, "the second bound is everybody's");
    assert!(world.store.status().head_bytes < MEMORY_BYTES);
}

/// The bug: after a failed group metadata counted as waiting for ever, so every scrape wrote all its metadata to the log
/// again. It waits for a reason: the log may hold what failed, and a restart would find that one last.
#[test]
fn after_a_failed_group_metadata_is_written_once_more() {
    let world = World::new();
    world.describe(SMALL, &[("family", "old"), ("other", "other")]);
    // Written whole, but told to be lost: a restart finds it.
    world.disk.plan(Fault::new(Op::Sync, Failure::Io).on("wal").forever());
    let limits = TenantLimits { retention_ms: 0, ..TenantLimits::default() };
    let context = WriteContext { tenant: SMALL, limits: &limits, epoch: 0, now_ms: 1_000_000, digest: None };
    let (ticket, _) = world.store.append(&context, &world.metadata(&[("family", "failed")])).unwrap();
    world.store.commit(Duration::ZERO);
    ticket.wait().unwrap_err();
    world.disk.heal();
    world.clock.advance(Duration::from_secs(1));
    world.store.commit(Duration::ZERO);

    let written = || world.store.status().wal_written_bytes;
    let before = written();
    world.describe(SMALL, &[("other", "other")]);
    assert_eq!(written(), before, "nothing else of the tenant is in doubt");
    world.describe(SMALL, &[("family", "old")]);
    assert_ne!(written(), before, "the log may say \"failed\"");
    let once = written();
    world.describe(SMALL, &[("family", "old")]);
    assert_eq!(written(), once, "settled");

    let World { store, clock, disk } = world;
    let help = |store: &Store| store.metadata(SMALL)[0].1.help.clone();
    assert_eq!(help(&store), "old");
    drop(store);
    assert_eq!(help(&open(&disk, &clock)), "old", "what was accepted last");
}
