//! What blocks hold since version 2 of their format: histograms by column, and long chunks packed for years.

#[path = "common/histograms.rs"]
mod histograms;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use env::Files;
use env::real::OsFiles;
use histograms::{histogram, stale};
use model::batch::Exemplar;
use model::histogram::Histogram;
use model::select::HistogramPoint;
use model::{Labels, STALE_NAN_BITS, SeriesId, TenantId, TimeRange};
use proptest::prelude::*;
use tsdb::block::{
    Block, BlockWriter, ChunkKind, Columns, Level, PageCache, SeriesInput, block_order, every_chunk, verify,
};

const ALWAYS: TimeRange = TimeRange { start_ms: i64::MIN, end_ms: i64::MAX };
const TENANT: TenantId = TenantId(4);

/// A series as the naive model keeps it; a row has a histogram or a float.
#[derive(Clone, Debug)]
struct Naive {
    labels: Labels,
    rows: Vec<Row>,
    exemplars: Vec<Exemplar>,
}

/// Time, start, value.
type Row = (i64, i64, Value);

#[derive(Clone, Debug)]
enum Value {
    Float(f64),
    Histogram(Arc<Histogram>),
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Float(a), Self::Float(b)) => a.to_bits() == b.to_bits(),
            (Self::Histogram(a), Self::Histogram(b)) => a == b,
            _ => false,
        }
    }
}

fn naive(name: &str, values: impl IntoIterator<Item = Value>) -> Naive {
    let labels: Labels = [("__name__", name), ("job", "j")].into_iter().collect();
    let rows = values.into_iter().zip(0i64..).map(|(value, i)| {
        // Every scrape a little late.
        let late_ms = (mixed(i as u64) % 3) as i64;
        (1_700_000_000_000 + i * 15_000 + late_ms, if i % 100 > 50 { 1_699_000_000_000 } else { 0 }, value)
    });
    Naive { labels, rows: rows.collect(), exemplars: vec![] }
}

fn write(path: &Path, level: Level, series: &[Naive]) {
    let _ = OsFiles.remove(path);
    let mut writer = BlockWriter::create(&OsFiles, path, 42, level, 3..=9).unwrap();
    writer.begin_tenant(TENANT).unwrap();
    for (number, series) in series.iter().enumerate() {
        let mut columns = Columns::default();
        for (at, (time, start, value)) in series.rows.iter().enumerate() {
            columns.timestamps.push(*time);
            columns.starts.push(*start);
            match value {
                Value::Float(value) => columns.values.push(*value),
                Value::Histogram(histogram) => {
                    columns.values.push(0.0);
                    columns.histograms.push(HistogramPoint::new(at as u32, histogram.clone()));
                }
            }
        }
        writer
            .add(SeriesInput {
                id: SeriesId(number as u128),
                labels: &series.labels,
                timestamps: &columns.timestamps,
                values: &columns.values,
                starts: &columns.starts,
                histograms: &columns.histograms,
                exemplars: &series.exemplars,
            })
            .unwrap();
    }
    writer.finish().unwrap();
}

/// Reads all, compares it with the model; the kinds and rows of chunks.
fn compare(path: &Path, series: &[Naive]) -> Vec<(ChunkKind, u32)> {
    let report = verify(&OsFiles, path).unwrap();
    assert_eq!((report.damaged, report.series), (vec![], series.len() as u64));
    let block = Block::open(&OsFiles, path, 42, PageCache::new(1 << 20)).unwrap();
    let mut section = block.section(TENANT).unwrap().unwrap().reader();
    let mut kinds = Vec::new();
    for (ordinal, series) in (0..).zip(series) {
        assert_eq!(section.labels(ordinal).unwrap(), series.labels);
        for range in [ALWAYS, TimeRange { start_ms: 1_700_000_100_000, end_ms: 1_700_003_000_000 }] {
            let (mut columns, mut damaged) = (Columns::default(), Vec::new());
            section.read(ordinal, range, every_chunk, &mut columns, &mut damaged).unwrap();
            let wanted: Vec<&Row> = series.rows.iter().filter(|row| range.contains(row.0)).collect();
            assert_eq!(columns.timestamps, wanted.iter().map(|row| row.0).collect::<Vec<_>>());
            let mut points = columns.histograms.iter().peekable();
            for (at, wanted) in wanted.iter().enumerate() {
                let start = columns.starts.get(at).copied().unwrap_or(0);
                let value = match points.next_if(|point| point.row as usize == at) {
                    Some(point) => Value::Histogram(point.histogram.clone()),
                    None => Value::Float(columns.values[at]),
                };
                assert_eq!((start, &value), (wanted.1, &wanted.2), "row {at} of {}", series.labels);
            }
        }
        assert_eq!(section.exemplars(ordinal, ALWAYS, &mut Vec::new()).unwrap(), series.exemplars);
        kinds.extend(section.chunks(ordinal).unwrap().iter().map(|chunk| (chunk.kind, chunk.rows)));
    }
    kinds
}

/// A number that looks random.
fn mixed(n: u64) -> u64 {
    let n = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (n ^ n >> 31).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

/// Series that use every form, in block order.
fn all_forms() -> Vec<Naive> {
    let floats = |value: fn(u64) -> f64| (0..1500).map(move |i| Value::Float(value(i)));
    let mut alternating = naive(
        "alternating",
        (0..900u64).map(|i| match i / 40 % 4 {
            3 => Value::Float(i as f64),
            kind => Value::Histogram(histogram(kind, i / 160, i)),
        }),
    );
    alternating.exemplars = vec![Exemplar {
        labels: vec![("trace_id".into(), "4bf92f35".into())],
        value: 0.25,
        timestamp_ms: 1_700_000_000_100,
    }];
    let runs = |kind: u64| {
        let rows = (0..600u64).map(move |i| Value::Histogram(histogram(kind, i / 250, i)));
        rows.chain([Value::Histogram(stale())])
    };
    let mut odd = 0u64;
    let odd: Vec<Value> = std::iter::repeat_with(|| {
        odd += 1;
        Value::Float(match odd % 100 {
            7 => f64::from_bits(STALE_NAN_BITS),
            19 => f64::from_bits(0xfff0_0000_dead_beef),
            31 => -0.0,
            43 => f64::NEG_INFINITY,
            57 => 5e-324,
            71 => (1u64 << 53) as f64 + 2.0,
            _ => (mixed(odd) % 9) as f64 / 10.0,
        })
    })
    .take(1500)
    .collect();
    let mut series = vec![
        alternating,
        naive("counter", floats(|i| (i * 5 + mixed(i) % 5) as f64)),
        naive("custom", runs(2)),
        naive("custom_floats", runs(3)),
        naive("floats", runs(1)),
        naive("integers", runs(0)),
        naive("noise", floats(|i| 100.0 + mixed(i) as f64 / 1e19)),
        naive("odd", odd),
        naive("steps", floats(|i| (i / 300) as f64)),
        naive("wide", floats(|i| f64::from_bits(mixed(i)))),
    ];
    series.sort_by(|a, b| block_order(&a.labels, &b.labels));
    series
}

/// The level's number, the version, the lowest version of a reader.
fn header(path: &Path) -> [u16; 3] {
    let bytes = env::read_all(&OsFiles, path).unwrap();
    [8, 10, 12].map(|at| u16::from_le_bytes([bytes[at], bytes[at + 1]]))
}

#[test]
fn every_form_comes_back_at_every_level() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("b");
    let series = all_forms();
    for (level, float_rows) in [(Level::Flushed, 375), (Level::Hours, 375), (Level::Day, 1500)] {
        write(&path, level, &series);
        let kinds = compare(&path, &series);
        assert!(kinds.contains(&(ChunkKind::Floats, float_rows)), "{level:?} {kinds:?}");
        assert!(kinds.contains(&(ChunkKind::HistogramColumns, 480)), "{level:?} {kinds:?}");
        assert!(kinds.iter().all(|(kind, rows)| *kind == ChunkKind::Floats || *rows <= 480));
    }
}

#[test]
fn a_file_says_the_version_that_it_needs() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("b");
    let plain = [naive("plain", (0..900).map(|i| Value::Float(f64::from(i))))];
    let short = [naive("short", (0..7).map(|i| Value::Histogram(histogram(0, 0, i))))];
    let long = [naive("long", (0..8).map(|i| Value::Histogram(histogram(0, 0, i))))];
    for (level, series, version) in [
        (Level::Flushed, &plain, 1),
        (Level::Hours, &plain, 1),
        (Level::Day, &plain, 2),
        (Level::Flushed, &short, 1),
        (Level::Flushed, &long, 2),
    ] {
        write(&path, level, series);
        assert_eq!(header(&path), [level as u16, version, version], "{level:?} {}", series[0].labels);
        compare(&path, series);
    }
}

#[test]
fn days_are_smaller_than_hours() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("b");
    let counter = naive("counter", (0..5760).map(|i| Value::Float((i * 5 + mixed(i) % 6) as f64)));
    let bytes = |level| {
        write(&path, level, std::slice::from_ref(&counter));
        compare(&path, std::slice::from_ref(&counter));
        env::read_all(&OsFiles, &path).unwrap().len()
    };
    let (hours, day) = (bytes(Level::Hours), bytes(Level::Day));
    assert!(day * 4 < hours * 3, "{day} {hours}");
}

/// The format is pinned: every later version reads this file. What a later version writes may differ without a change
/// of the format, since the choice of pco's bins is pco's own.
#[test]
fn golden_file_of_version_2() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/block-v2.bin");
    let series = all_forms();
    if std::env::var_os("WEIR_WRITE_GOLDEN").is_some() {
        let temporary: PathBuf = golden.with_extension("tmp");
        write(&temporary, Level::Day, &series);
        OsFiles.rename(&temporary, &golden).unwrap();
    }
    assert_eq!(header(&golden), [2, 2, 2]);
    compare(&golden, &series);
}

fn a_value() -> impl Strategy<Value = Vec<Value>> {
    let float = prop_oneof![
        any::<u64>().prop_map(f64::from_bits),
        (-1000i32..1000).prop_map(|v| f64::from(v) / 10.0),
        Just(f64::from_bits(STALE_NAN_BITS)),
        Just(1.0),
    ];
    let floats = proptest::collection::vec(float.prop_map(Value::Float), 1..30);
    let run = (0u64..4, 0u64..9, 0u64..1 << 40, 1u64..60);
    prop_oneof![
        floats,
        run.prop_map(|(kind, shape, first, rows)| (0..rows)
            .map(|i| Value::Histogram(histogram(kind, shape, first + i)))
            .collect()),
        Just(vec![Value::Histogram(stale())]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_rows_come_back_at_every_level(
        pieces in proptest::collection::vec(a_value(), 1..12), repeat in 1usize..8,
    ) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("b");
        let values = pieces.iter().cycle().take(pieces.len() * repeat).flatten().cloned();
        let series = [naive("any", values)];
        for level in [Level::Flushed, Level::Hours, Level::Day] {
            write(&path, level, &series);
            compare(&path, &series);
        }
    }
}
