//! What blocks cost: bytes of index per series, bytes per tenant, time to write a million series; and real data through
//! a whole block, bit for bit.
//!
//! Sizes are asserted on small numbers and printed. The large run is
//! `WEIR_SERIES=1000000 cargo test --release -p tsdb --test block_sizes -- --nocapture`.
#![expect(clippy::disallowed_methods, clippy::print_stdout, reason = "measures and prints")]

use std::path::Path;
use std::time::Duration;

use env::Files;
use env::real::OsFiles;
use model::{Budget, Labels, MatchOp, Matcher, SeriesId, TenantId, TimeRange};
use tsdb::block::{
    Block, BlockWriter, ChunkKind, Columns, Level, PageCache, SeriesInput, block_order, every_chunk, verify,
};

const ALWAYS: TimeRange = TimeRange { start_ms: i64::MIN, end_ms: i64::MAX };
const STEP_MS: i64 = 15_000;
const FIRST_MS: i64 = 1_760_000_000_000;

/// A stopwatch of this thread's processor time where the kernel tells it, else of the wall: machines are shared.
struct Stopwatch(Duration, std::time::Instant);

impl Stopwatch {
    fn start() -> Self {
        Self(processor_time().unwrap_or_default(), std::time::Instant::now())
    }

    fn elapsed(&self) -> Duration {
        processor_time().map_or_else(|| self.1.elapsed(), |now| now.saturating_sub(self.0))
    }
}

fn processor_time() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

/// Scattered ids, as a keyed hash gives them.
fn id(number: u64) -> SeriesId {
    let mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    SeriesId(u128::from(mixed) << 64 | u128::from(mixed.rotate_left(31).wrapping_mul(0xbf58_476d_1ce4_e5b9)))
}

fn input<'a>(number: u64, labels: &'a Labels, timestamps: &'a [i64], values: &'a [f64]) -> SeriesInput<'a> {
    SeriesInput { id: id(number), labels, timestamps, values, starts: &[], histograms: &[], exemplars: &[] }
}

/// `count` series of 5 labels: 1,000 instances, each with its own time within the step.
fn fleet(count: usize) -> Vec<Labels> {
    let modes = ["idle", "iowait", "irq", "nice", "softirq", "steal", "system", "user"];
    let mut all: Vec<Labels> = (0..count)
        .map(|i| {
            let (host, series) = (i % 1000, i / 1000);
            let metric = format!("node_metric_{}_total", series / 64);
            let instance = format!("host-node-{host:04}:9100");
            let cpu = (series / 8 % 8).to_string();
            [
                ("__name__", metric.as_str()),
                ("job", "node_exporter"),
                ("instance", &instance),
                ("cpu", &cpu),
                ("mode", modes[series % 8]),
            ]
            .into_iter()
            .collect()
        })
        .collect();
    all.sort_by(block_order);
    all
}

#[test]
fn three_samples_of_many_series_are_cheap() {
    let count = std::env::var("WEIR_SERIES").ok().and_then(|n| n.parse().ok()).unwrap_or(20_000);
    let series = fleet(count);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("b.tmp");
    let start = Stopwatch::start();
    let mut writer = BlockWriter::create(&OsFiles, &path, 1, Level::Flushed, 1..=2).unwrap();
    writer.begin_tenant(TenantId(1)).unwrap();
    for (number, labels) in series.iter().enumerate() {
        let host: i64 = labels.get("instance").and_then(|i| i.get(10..14)?.parse().ok()).unwrap();
        let first = FIRST_MS + host * 13;
        let value = (number * 7919 % 100_000) as f64;
        let values = [value, value + (number % 9) as f64, value + (number % 17 + 9) as f64];
        let times = [first, first + STEP_MS, first + 2 * STEP_MS];
        writer.add(input(number as u64, labels, &times, &values)).unwrap();
    }
    let meta = writer.finish().unwrap();
    let wrote = start.elapsed();
    let block = Block::open(&OsFiles, &path, 1, PageCache::new(64 << 20)).unwrap();
    let mut section = block.section(TenantId(1)).unwrap().unwrap().reader();
    let data: u64 = (0..count as u32)
        .step_by(97)
        .map(|ordinal| section.chunks(ordinal).unwrap().iter().map(|c| u64::from(c.length())).sum::<u64>())
        .sum::<u64>()
        * 97;
    let index = (meta.bytes - data) as f64 / count as f64;
    println!(
        "{count} series x 3: {:.2} s, {:.1} MB, about {index:.1} B of index and {:.2} B of samples a series",
        wrote.as_secs_f64(),
        meta.bytes as f64 / 1e6,
        data as f64 / count as f64
    );
    assert!(index < 42.0);
    time_selections(&block, count);
}

fn time_selections(block: &Block, count: usize) {
    let selections = [
        ("job=", MatchOp::Equal, "job", "node_exporter"),
        ("instance=", MatchOp::Equal, "instance", "host-node-0017:9100"),
        ("instance=~", MatchOp::Regex, "instance", "host-node-001.*"),
        ("mode!=", MatchOp::NotEqual, "mode", "idle"),
    ];
    for (what, op, name, value) in selections {
        let matcher = [Matcher::new(name, op, value).unwrap()];
        let (budget, mut damaged) = (Budget::new(u64::MAX), Vec::new());
        let section = block.section(TenantId(1)).unwrap().unwrap();
        let start = Stopwatch::start();
        let found = section.select(&matcher, &budget, &mut damaged).unwrap();
        let selected = start.elapsed();
        let start = Stopwatch::start();
        let in_range = section.select_in(&matcher, ALWAYS, &budget, &mut damaged).unwrap();
        let ranged = start.elapsed();
        let start = Stopwatch::start();
        let mut columns = Columns::default();
        let (mut rows, mut section) = (0, section.reader());
        for ordinal in in_range.iter().take(100_000) {
            columns.clear();
            section.read(*ordinal, ALWAYS, every_chunk, &mut columns, &mut damaged).unwrap();
            rows += columns.timestamps.len();
        }
        println!(
            "  {what:11} {:7} of {count}: select {:.2} ms, with ranges {:.2} ms, read {rows} rows {:.2} ms",
            found.len(),
            selected.as_secs_f64() * 1e3,
            ranged.as_secs_f64() * 1e3,
            start.elapsed().as_secs_f64() * 1e3
        );
        assert_eq!((in_range.len(), damaged.len()), (found.len(), 0));
    }
}

#[test]
fn ten_thousand_small_tenants_share_a_file() {
    let series = fleet(10);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("b.tmp");
    let start = Stopwatch::start();
    let mut writer = BlockWriter::create(&OsFiles, &path, 1, Level::Flushed, 1..=2).unwrap();
    let tenants = 10_000;
    for tenant in 0..tenants {
        writer.begin_tenant(TenantId(tenant)).unwrap();
        for (number, labels) in series.iter().enumerate() {
            let times = [FIRST_MS, FIRST_MS + STEP_MS, FIRST_MS + 2 * STEP_MS];
            writer
                .add(input(u64::from(tenant) * 10 + number as u64, labels, &times, &[1.0, 2.0, 3.0]))
                .unwrap();
        }
    }
    let meta = writer.finish().unwrap();
    let each = meta.bytes as f64 / f64::from(tenants);
    println!(
        "{tenants} tenants x 10 series x 3: {:.2} s, {each:.0} B a tenant",
        start.elapsed().as_secs_f64()
    );
    assert_eq!(meta.sections.len(), tenants as usize);
    assert!(each < 900.0);
    let block = Block::open(&OsFiles, &path, 1, PageCache::new(1 << 20)).unwrap();
    let mut section = block.section(TenantId(9_999)).unwrap().unwrap().reader();
    let mut columns = Columns::default();
    section.read(9, ALWAYS, every_chunk, &mut columns, &mut Vec::new()).unwrap();
    assert_eq!(columns.values, [1.0, 2.0, 3.0]);
}

#[test]
fn real_data_comes_back_through_a_block() {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    if !OsFiles.exists(&shared.join("real-proc.bin.zst")).unwrap() {
        println!("skipped: ../shared/data is not here");
        return;
    }
    let packed = env::read_all(&OsFiles, &shared.join("real-proc.bin.zst")).unwrap();
    let keys = String::from_utf8(env::read_all(&OsFiles, &shared.join("real-proc.keys")).unwrap()).unwrap();
    let mut bytes = Vec::new();
    codec::inflate::inflate(codec::inflate::Encoding::Zstd, &packed, 128 << 20, &mut bytes).unwrap();
    let width = keys.lines().count() + 1;
    let rows = bytes.len() / 8 / width;
    let column = |column: usize| -> Vec<f64> {
        let cells = (0..rows).map(|row| (row * width + column) * 8);
        cells.map(|at| f64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())).collect()
    };
    let labels_of = |key: &str| -> Labels {
        let parts = key.split('|').enumerate();
        parts.map(|(i, part)| (if i == 0 { "__name__".to_owned() } else { format!("l{i}") }, part)).collect()
    };
    let mut series: Vec<(Labels, usize)> = keys.lines().map(labels_of).zip(1..).collect();
    series.sort_by(|a, b| block_order(&a.0, &b.0));
    let times: Vec<i64> = (0..rows as i64).map(|row| FIRST_MS + row * STEP_MS).collect();

    for (level, chunk_rows, most) in [(Level::Flushed, 480, 0.30), (Level::Day, 8000, 0.15)] {
        real_data_through(level, chunk_rows, most, &series, &times, column);
    }
}

fn real_data_through(
    level: Level,
    chunk_rows: u32,
    most: f64,
    series: &[(Labels, usize)],
    times: &[i64],
    column: impl Fn(usize) -> Vec<f64>,
) {
    let rows = times.len();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("b.tmp");
    let mut writer = BlockWriter::create(&OsFiles, &path, 1, level, 1..=2).unwrap();
    writer.begin_tenant(TenantId(1)).unwrap();
    for (labels, at) in series {
        writer.add(input(*at as u64, labels, times, &column(*at))).unwrap();
    }
    let meta = writer.finish().unwrap();
    let report = verify(&OsFiles, &path).unwrap();
    assert_eq!((report.samples, report.damaged.len()), ((series.len() * rows) as u64, 0));
    let block = Block::open(&OsFiles, &path, 1, PageCache::new(1 << 20)).unwrap();
    let mut section = block.section(TenantId(1)).unwrap().unwrap().reader();
    let mut columns = Columns::default();
    let mut data = 0;
    for (ordinal, (labels, at)) in (0..).zip(series) {
        assert_eq!(section.labels(ordinal).unwrap(), *labels);
        columns.clear();
        section.read(ordinal, ALWAYS, every_chunk, &mut columns, &mut Vec::new()).unwrap();
        let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&columns.values), bits(&column(*at)), "{labels}");
        assert_eq!(columns.timestamps, times);
        let chunks = section.chunks(ordinal).unwrap();
        assert!(chunks.iter().all(|c| c.kind == ChunkKind::Floats && c.rows <= chunk_rows));
        data += chunks.iter().map(|c| u64::from(c.length())).sum::<u64>();
    }
    let per_sample = |bytes: u64| bytes as f64 / (series.len() * rows) as f64;
    println!(
        "real, {level:?}: {} series x {rows}: {:.3} B/sample, of which {:.3} chunks with times, the rest index and aggregates",
        series.len(),
        per_sample(meta.bytes),
        per_sample(data)
    );
    assert!(per_sample(meta.bytes) < most);
}
