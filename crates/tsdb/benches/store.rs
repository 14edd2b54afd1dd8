//! CPU per sample of the store alone: append, commit, flush, select, merge; real files, durability `os` so that the disk's
//! speed is not what is measured. `cargo bench -p tsdb` prints; without `--bench` it runs once, small.
#![expect(clippy::disallowed_methods, clippy::print_stdout, reason = "a benchmark measures time and prints")]

use std::time::{Duration, Instant};

use env::Env;
use model::batch::{LabelSource, SeriesRow, Temporality};
use model::{Batch, Budget, Hints, MatchOp, Matcher, Sample, TenantId, TenantLimits, TimeRange};
use tsdb::{Job, Keep, Options, Progress, Status, Store, WriteContext};

const TENANT: TenantId = TenantId(1);

struct Load {
    name: &'static str,
    series: usize,
    steps: usize,
    per_request: usize,
}

fn main() {
    let full = std::env::args().any(|argument| argument == "--bench");
    let scale = if full { 1 } else { 100 };
    let loads = [
        Load { name: "A", series: 1_200, steps: 8_000 / scale, per_request: 1_200 },
        Load { name: "B", series: 20_000 / scale, steps: 480, per_request: 10_000 },
        Load { name: "E", series: 1_000_000 / scale, steps: 6, per_request: 2_000 },
    ];
    for load in loads {
        run(&load);
    }
}

fn run(load: &Load) {
    let directory = tempfile::tempdir().expect("temporary directory");
    let options = Options {
        durability: wal::Durability::Os,
        disk_reserve_bytes: 0,
        compaction_blocks: 2,
        compaction_bytes_per_second: u64::MAX,
        ..Options::default()
    };
    let store = Store::open(Env::real(), directory.path(), options, &Progress::default()).expect("open");
    let instances: Vec<String> = (0..load.series).map(|i| format!("host-{}:9100", i / 100)).collect();
    let cpus: Vec<String> = (0..load.series).map(|i| format!("cpu{i}")).collect();
    let limits = TenantLimits { retention_ms: 0, ..TenantLimits::default() };
    let context = WriteContext { tenant: TENANT, limits: &limits, epoch: 0, now_ms: 1 << 40, digest: None };
    let (mut appending, mut committing, mut flushing) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    for step in 0..load.steps {
        for first in (0..load.series).step_by(load.per_request) {
            let range = first..(first + load.per_request).min(load.series);
            let batch = batch(&store, range, step, &instances, &cpus);
            let start = Instant::now();
            store.append(&context, &batch).expect("room");
            appending += start.elapsed();
            let start = Instant::now();
            store.commit(Duration::ZERO);
            committing += start.elapsed();
            let start = Instant::now();
            if store.next_job(&|_| Keep::default()) == Some(Job::Flush) {
                store.run(Job::Flush, &|_| Keep::default()).expect("flush");
                flushing += start.elapsed();
            }
        }
    }
    let start = Instant::now();
    store.flush().expect("flush");
    flushing += start.elapsed();
    let start = Instant::now();
    let samples = read(&store);
    let reading = start.elapsed();
    assert_eq!(samples, load.series * load.steps, "everything comes back");
    let flushed = store.status();
    let start = Instant::now();
    while let Some(job) = store.next_job(&|_| Keep::default()) {
        store.run(job, &|_| Keep::default()).expect("merge");
    }
    let merging = start.elapsed();
    let start = Instant::now();
    assert_eq!(read(&store), samples, "everything comes back after merging");
    let reading_merged = start.elapsed();
    let ns = |time: Duration| time.as_nanos() as f64 / samples as f64;
    let bytes = |status: &Status| status.block_bytes as f64 / samples as f64;
    let merged = store.status();
    println!(
        "{}: {samples} samples; ns/sample: append {:.0}, commit {:.0}, flush {:.0}, read {:.0}; {} blocks, {:.3} B/sample",
        load.name,
        ns(appending),
        ns(committing),
        ns(flushing),
        ns(reading),
        flushed.blocks,
        bytes(&flushed),
    );
    println!(
        "   merge {:.0}, read {:.0}; {} blocks, {:.3} B/sample, {:.2} bytes written for one flushed",
        ns(merging),
        ns(reading_merged),
        merged.blocks,
        bytes(&merged),
        (merged.flush_written_bytes + merged.compaction_written_bytes) as f64
            / merged.flush_written_bytes as f64,
    );
}

fn batch<'a>(
    store: &Store,
    range: std::ops::Range<usize>,
    step: usize,
    instances: &'a [String],
    cpus: &'a [String],
) -> Batch<'a> {
    let mut batch = Batch::new(store.seed());
    for i in range {
        let start = batch.pairs.len();
        for (name, value) in [
            ("__name__", "node_cpu_seconds_total"),
            ("cpu", cpus[i].as_str()),
            ("instance", instances[i].as_str()),
            ("job", "node"),
            ("mode", "idle"),
        ] {
            batch.pairs.push((name.into(), value.into()));
        }
        let at = batch.samples.len();
        let value = (step * (i % 17 + 1)) as f64 / 100.0;
        batch.samples.push(Sample { timestamp_ms: step as i64 * 15_000, value, start_ms: 0 });
        batch.series.push(SeriesRow {
            labels: LabelSource::Pairs(start..start + 5),
            key: (i as u128 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835),
            samples: at..at + 1,
            histograms: 0..0,
            exemplars: 0..0,
            temporality: Temporality::Cumulative,
            item: 0,
        });
    }
    batch
}

fn read(store: &Store) -> usize {
    let budget = Budget::new(1 << 34);
    let matchers = [Matcher::new("job", MatchOp::Equal, "node").expect("matcher")];
    let range = TimeRange { start_ms: i64::MIN, end_ms: i64::MAX };
    let mut selection = store.select(TENANT, &matchers, range, &Hints::default(), &budget).expect("select");
    let mut samples = 0;
    let mut block = model::SeriesBlock::default();
    while selection.next_block(&mut block).expect("block") {
        samples += block.columns.timestamps.len();
    }
    samples
}
