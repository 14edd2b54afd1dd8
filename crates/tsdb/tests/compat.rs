//! Whole data directories, pinned: what this version writes, byte for byte, and what every later version must read.
//!
//! `tests/compat/` has a directory for each set of formats that there ever was; the last is this version's. Clock, dice
//! and disk are simulated, so the same appends give the same bytes: a change of format shows here as a difference, and
//! needs a new version number and a new directory beside the old ones. `WEIR_WRITE_GOLDEN=1` writes it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use env::{Env, Files};
use model::batch::{Exemplar, HistogramSample, LabelSource, MetadataRow, SeriesRow, Temporality};
use model::histogram::{BucketCounts, Histogram, ResetHint, Span};
use model::{
    Batch, Budget, Hints, MatchOp, Matcher, Metadata, MetricType, STALE_NAN_BITS, Sample, TenantId,
    TenantLimits, TimeRange,
};
use sim::clock::SimClock;
use sim::files::SimFiles;
use sim::random::SimRandom;
use tsdb::{Options, Progress, Store, WriteContext};

const NOW_MS: i64 = 1_800_000_000_000;
const ALWAYS: TimeRange = TimeRange { start_ms: i64::MIN, end_ms: i64::MAX };

/// The directory that this version writes.
const THIS: u32 = 3;

fn golden(version: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compat").join(version.to_string())
}

fn open(disk: &SimFiles) -> Store {
    let env = Env {
        clock: Arc::new(SimClock::new(NOW_MS)),
        files: Arc::new(disk.clone()),
        random: Arc::new(SimRandom::new(7)),
    };
    let options = Options { disk_reserve_bytes: 0, segment_bytes: 4096, ..Options::default() };
    Store::open(env, Path::new("data"), options, &Progress::default()).unwrap()
}

/// The floats of the golden series, by time in ms before `NOW_MS`.
const VALUES: [(i64, f64); 6] = [
    (90_000, 0.25),
    (75_000, -0.0),
    (60_000, f64::INFINITY),
    (45_000, 9_007_199_254_740_993.0),
    (30_000, 5e-324),
    (15_000, f64::from_bits(STALE_NAN_BITS)),
];

/// Tenant 3's floats up to here are deleted.
const DELETED_BEFORE_MS: i64 = 60_000;

fn histogram() -> Arc<Histogram> {
    Arc::new(Histogram {
        schema: 3,
        zero_threshold: 1e-128,
        sum: 12.5,
        reset_hint: ResetHint::Unknown,
        positive_spans: vec![Span { offset: -2, length: 2 }, Span { offset: 3, length: 1 }],
        negative_spans: vec![],
        counts: BucketCounts::Integer { count: 7, zero: 1, positive: vec![1, 2, 3], negative: vec![] },
        custom_bounds: vec![],
    })
}

/// Floats, a histogram, an exemplar, metadata and a start timestamp of `tenant`.
fn append(store: &Store, tenant: u32) {
    let mut batch = Batch::new(store.seed());
    for (number, name) in ["golden_total", "golden_seconds"].into_iter().enumerate() {
        let start = batch.pairs.len();
        batch.pairs.push(("__name__".into(), name.into()));
        batch.pairs.push(("tenant".into(), tenant.to_string().into()));
        let floats = if number == 0 { 0..VALUES.len() } else { VALUES.len()..VALUES.len() };
        batch.series.push(SeriesRow {
            labels: LabelSource::Pairs(start..start + 2),
            key: number as u128,
            samples: floats,
            histograms: 0..number,
            exemplars: 0..number,
            temporality: Temporality::Cumulative,
            item: 0,
        });
    }
    for (before_ms, value) in VALUES {
        let start_ms = if before_ms == 90_000 { NOW_MS - 100_000 } else { 0 };
        batch.samples.push(Sample { timestamp_ms: NOW_MS - before_ms, value, start_ms });
    }
    batch.histograms.push(HistogramSample { timestamp_ms: NOW_MS, start_ms: 0, histogram: histogram() });
    batch.exemplars.push(Exemplar {
        labels: vec![("trace_id".into(), "abc".into())],
        value: 0.5,
        timestamp_ms: NOW_MS,
    });
    batch.metadata.push(MetadataRow {
        family: "golden".into(),
        metadata: Metadata { kind: MetricType::Counter, unit: "seconds".into(), help: "Pinned.".into() },
    });
    let limits = TenantLimits { retention_ms: 0, ..TenantLimits::default() };
    let context =
        WriteContext { tenant: TenantId(tenant), limits: &limits, epoch: 0, now_ms: NOW_MS, digest: None };
    let (ticket, appended) = store.append(&context, &batch).unwrap();
    assert!(appended.rejected.is_empty(), "{appended:?}");
    store.commit(Duration::ZERO);
    ticket.wait().unwrap();
}

/// Tenant 1 is in a block, tenant 2 in the log; of tenant 3, in a block, some is deleted.
fn write() -> SimFiles {
    let disk = SimFiles::new(7);
    disk.create_dir(Path::new("data")).unwrap();
    let store = open(&disk);
    append(&store, 1);
    append(&store, 3);
    let counters = vec![Matcher::new("__name__", MatchOp::Regex, "golden_t.*").unwrap()];
    let deleted = TimeRange { start_ms: i64::MIN, end_ms: NOW_MS - DELETED_BEFORE_MS };
    store.delete_series(TenantId(3), &[counters], deleted).unwrap();
    append(&store, 2);
    disk
}

#[test]
fn this_version_writes_these_bytes() {
    let disk = write();
    let mut names: Vec<PathBuf> = disk.paths();
    names.sort();
    if std::env::var_os("WEIR_WRITE_GOLDEN").is_some() {
        for path in &names {
            let to = golden(THIS).join(inside(path));
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::write(to, trimmed(path, &disk.content(path).unwrap())).unwrap();
        }
    }
    assert!(names.len() >= 6, "{names:?}");
    for path in &names {
        let pinned = fs::read(golden(THIS).join(inside(path))).unwrap();
        assert!(pinned == trimmed(path, &disk.content(path).unwrap()), "{} changed", path.display());
    }
}

/// The path in the data directory.
fn inside(path: &Path) -> PathBuf {
    path.iter().skip_while(|part| *part != "data").skip(1).collect()
}

/// A log segment without the zeros of its preallocation, which would make the repository grow by megabytes.
fn trimmed<'a>(path: &Path, bytes: &'a [u8]) -> &'a [u8] {
    if path.extension().is_none_or(|extension| extension != "wal") {
        return bytes;
    }
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
    &bytes[..end]
}

#[test]
fn every_versions_directory_is_read() {
    for version in 1..=THIS {
        let disk = SimFiles::new(8);
        copy(&disk, &golden(version), Path::new("data"));
        let store = open(&disk);
        assert_eq!(store.status().quarantined, 0, "version {version}");
        let tenants = if version == 1 { 2 } else { 3 };
        for tenant in 1..=tenants {
            check(&store, TenantId(tenant));
        }
    }
}

fn copy(disk: &SimFiles, from: &Path, to: &Path) {
    disk.create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(disk, &entry.path(), &target);
        } else {
            let file = disk.create(&target).unwrap();
            file.write_at(&fs::read(entry.path()).unwrap(), 0).unwrap();
            file.sync_data().unwrap();
        }
    }
    disk.sync_dir(to).unwrap();
}

fn check(store: &Store, tenant: TenantId) {
    let budget = Budget::new(1 << 20);
    let matchers = [Matcher::new("__name__", MatchOp::Regex, "golden_.*").unwrap()];
    let mut selection = store.select(tenant, &matchers, ALWAYS, &Hints::default(), &budget).unwrap();
    let mut block = model::SeriesBlock::default();
    assert!(selection.next_block(&mut block).unwrap());
    assert_eq!(block.series.len(), 2);
    for (index, series) in block.series.iter().enumerate() {
        let rows = block.offsets[index] as usize..block.offsets[index + 1] as usize;
        let labels = selection.labels(*series).unwrap().unwrap();
        assert_eq!(labels.get("tenant"), Some(tenant.0.to_string().as_str()));
        if labels.metric_name() == Some("golden_total") {
            let read: Vec<(i64, u64)> = rows
                .clone()
                .map(|row| (block.columns.timestamps[row], block.columns.values[row].to_bits()))
                .collect();
            let left = |before: i64| tenant != TenantId(3) || before < DELETED_BEFORE_MS;
            let wanted: Vec<(i64, u64)> = VALUES
                .iter()
                .filter(|(before, _)| left(*before))
                .map(|(before, value)| (NOW_MS - before, value.to_bits()))
                .collect();
            assert_eq!(read, wanted);
            if tenant != TenantId(3) {
                assert_eq!(block.columns.starts[rows.start], NOW_MS - 100_000);
            }
        } else {
            let point =
                block.columns.histograms.iter().find(|point| rows.contains(&(point.row as usize))).unwrap();
            assert_eq!(*point.histogram, *histogram());
        }
    }
    assert!(!selection.next_block(&mut model::SeriesBlock::default()).unwrap());
    assert_eq!(selection.warnings(), Vec::<String>::new());
    let exemplars = store.exemplars(tenant, &matchers, ALWAYS, &budget).unwrap().found;
    assert_eq!(exemplars.len(), 1);
    assert_eq!(exemplars[0].exemplars[0].labels, [("trace_id".to_owned(), "abc".to_owned())]);
    let metadata = store.metadata(tenant);
    assert_eq!((metadata[0].0.as_str(), metadata[0].1.help.as_str()), ("golden", "Pinned."));
}
