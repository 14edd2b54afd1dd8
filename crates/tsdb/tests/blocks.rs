//! Blocks against a naive model: what is written comes back bit for bit, selections are those of a filter, and no flip,
//! cut or swap of bytes ever changes an answer.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use env::{DiskSpace, File, Files, Lock, LockError};
use model::batch::Exemplar;
use model::histogram::{BucketCounts, Histogram, ResetHint, Span};
use model::select::HistogramPoint;
use model::{Budget, Labels, MatchOp, Matcher, STALE_NAN_BITS, SeriesId, TenantId, TimeRange};
use proptest::prelude::*;
use tsdb::block::{
    Block, BlockError, BlockMeta, BlockWriter, ChunkKind, Columns, Damaged, Level, PageCache, SeriesInput,
    block_order, every_chunk, verify,
};

const ALWAYS: TimeRange = TimeRange { start_ms: i64::MIN, end_ms: i64::MAX };

/// Files in memory. Nothing fails and nothing is lost: faults are put into the bytes by the tests.
#[derive(Debug, Default)]
struct MemoryFiles {
    files: Mutex<BTreeMap<PathBuf, Arc<MemoryFile>>>,
}

#[derive(Debug, Default)]
struct MemoryFile(Mutex<Vec<u8>>);

impl File for MemoryFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let bytes = self.0.lock().unwrap();
        let rest = bytes.get(offset as usize..).unwrap_or(&[]);
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }

    fn write_at(&self, new: &[u8], offset: u64) -> io::Result<()> {
        let mut bytes = self.0.lock().unwrap();
        let end = offset as usize + new.len();
        let length = bytes.len().max(end);
        bytes.resize(length, 0);
        bytes[offset as usize..end].copy_from_slice(new);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        self.0.lock().unwrap().resize(length as usize, 0);
        Ok(())
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.0.lock().unwrap().truncate(length as usize);
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().len() as u64)
    }
}

impl MemoryFiles {
    fn with(path: &str, bytes: Vec<u8>) -> MemoryFiles {
        let files = MemoryFiles::default();
        files.files.lock().unwrap().insert(path.into(), Arc::new(MemoryFile(Mutex::new(bytes))));
        files
    }

    fn bytes(&self, path: &str) -> Vec<u8> {
        self.files.lock().unwrap()[Path::new(path)].0.lock().unwrap().clone()
    }
}

impl Files for MemoryFiles {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let file = Arc::new(MemoryFile::default());
        self.files.lock().unwrap().insert(path.into(), file.clone());
        Ok(file)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let files = self.files.lock().unwrap();
        let file: Arc<dyn File> = files.get(path).cloned().ok_or(io::ErrorKind::NotFound)?;
        Ok(file)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut files = self.files.lock().unwrap();
        let file = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.into(), file);
        Ok(())
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut files = self.files.lock().unwrap();
        let file = files.get(from).cloned().ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.into(), file);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.files.lock().unwrap().remove(path).map(|_| ()).ok_or(io::ErrorKind::NotFound.into())
    }

    fn remove_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, _: &Path) -> io::Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        Ok(self.files.lock().unwrap().contains_key(path))
    }

    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        Ok(path.to_owned())
    }

    fn space(&self, _: &Path) -> io::Result<DiskSpace> {
        Ok(DiskSpace { free: u64::MAX, total: u64::MAX })
    }

    fn lock(&self, _: &Path) -> Result<Box<dyn Lock>, LockError> {
        Err(LockError::Held(0))
    }
}

/// A series as the naive model keeps it.
#[derive(Clone, Debug, Default)]
struct Naive {
    id: SeriesId,
    labels: Labels,
    timestamps: Vec<i64>,
    values: Vec<f64>,
    starts: Vec<i64>,
    histograms: Vec<HistogramPoint>,
    exemplars: Vec<Exemplar>,
}

impl Naive {
    fn floats(name: &str, pairs: &[(&str, &str)], rows: impl Iterator<Item = (i64, f64)>) -> Naive {
        let labels: Labels = [("__name__", name)].iter().chain(pairs).copied().collect();
        let (timestamps, values) = rows.unzip();
        let id = SeriesId(
            labels.as_canonical().bytes().fold(7u128, |h, b| h.wrapping_mul(0x1_0000_01b3) ^ u128::from(b)),
        );
        Naive { id, labels, timestamps, values, ..Naive::default() }
    }

    fn input(&self) -> SeriesInput<'_> {
        SeriesInput {
            id: self.id,
            labels: &self.labels,
            timestamps: &self.timestamps,
            values: &self.values,
            starts: &self.starts,
            histograms: &self.histograms,
            exemplars: &self.exemplars,
        }
    }

    /// Rows in a range: time, bits of the float (0 where a histogram stands), start, histogram.
    fn rows(&self, range: TimeRange) -> Vec<Row> {
        let histogram =
            |row: usize| self.histograms.iter().find(|h| h.row as usize == row).map(|h| h.histogram.clone());
        (0..self.timestamps.len())
            .filter(|row| range.contains(self.timestamps[*row]))
            .map(|row| {
                let histogram = histogram(row);
                let bits = if histogram.is_some() { 0 } else { self.values[row].to_bits() };
                (self.timestamps[row], bits, self.starts.get(row).copied().unwrap_or(0), histogram)
            })
            .collect()
    }
}

type Row = (i64, u64, i64, Option<Arc<Histogram>>);

fn rows_of(columns: &Columns) -> Vec<Row> {
    let naive = Naive {
        timestamps: columns.timestamps.clone(),
        values: columns.values.clone(),
        starts: columns.starts.clone(),
        histograms: columns.histograms.clone(),
        ..Naive::default()
    };
    naive.rows(ALWAYS)
}

type Tenants = BTreeMap<u32, Vec<Naive>>;

fn write(files: &dyn Files, path: &str, id: u64, tenants: &Tenants) -> BlockMeta {
    let mut writer = BlockWriter::create(files, Path::new(path), id, Level::Flushed, 3..=9).unwrap();
    for (tenant, series) in tenants {
        writer.begin_tenant(TenantId(*tenant)).unwrap();
        for series in series {
            writer.add(series.input()).unwrap();
        }
    }
    writer.finish().unwrap()
}

fn in_order(mut series: Vec<Naive>) -> Vec<Naive> {
    series.sort_by(|a, b| block_order(&a.labels, &b.labels));
    series.dedup_by(|a, b| a.labels == b.labels);
    series
}

fn open(files: &dyn Files, path: &str, id: u64) -> Result<Block, BlockError> {
    Block::open(files, Path::new(path), id, PageCache::new(1 << 20))
}

fn budget() -> Budget {
    Budget::new(u64::MAX)
}

/// Everything of a tenant that can be read, compared with the model. What damage hides may be missing; what comes
/// must be right. Returns the series that came back whole.
fn compare(block: &Block, tenant: u32, naive: &[Naive], damaged: &mut Vec<Damaged>) -> usize {
    let section = match block.section(TenantId(tenant)) {
        Ok(Some(section)) => section,
        Ok(None) => panic!("tenant {tenant} has no section"),
        Err(BlockError::Damaged(unit)) => {
            damaged.push(unit);
            return 0;
        }
        Err(other) => panic!("{other}"),
    };
    let (mut whole, mut reader) = (0, section.reader());
    for ordinal in section.select(&[], &budget(), damaged).unwrap() {
        let expected = &naive[ordinal as usize];
        let mut lost = Vec::new();
        let result = (|| {
            assert_eq!(reader.labels(ordinal)?, expected.labels);
            assert_eq!(reader.id(ordinal)?, expected.id);
            let mut columns = Columns::default();
            reader.read(ordinal, ALWAYS, every_chunk, &mut columns, &mut lost)?;
            let (got, wanted) = (rows_of(&columns), expected.rows(ALWAYS));
            assert!(got.iter().all(|row| wanted.contains(row)), "{}", expected.labels);
            assert!(got.len() == wanted.len() || !lost.is_empty());
            let exemplars = reader.exemplars(ordinal, ALWAYS, &mut lost)?;
            assert!(exemplars == expected.exemplars || !lost.is_empty());
            Ok::<_, BlockError>(())
        })();
        match result {
            Ok(()) => whole += usize::from(lost.is_empty()),
            Err(BlockError::Damaged(unit)) => lost.push(unit),
            Err(other) => panic!("{other}"),
        }
        damaged.extend(lost);
    }
    whole
}

fn histogram(n: u64) -> Arc<Histogram> {
    Arc::new(Histogram {
        schema: 3,
        zero_threshold: 1e-128,
        sum: n as f64 / 8.0,
        reset_hint: ResetHint::NotReset,
        positive_spans: vec![Span { offset: 2, length: 3 }],
        negative_spans: vec![],
        counts: BucketCounts::Integer {
            count: 6 * n,
            zero: 0,
            positive: vec![n, 2 * n, 3 * n],
            negative: vec![],
        },
        custom_bounds: vec![],
    })
}

fn small() -> Tenants {
    let times = || (0..70i64).map(|i| 1_700_000_000_000 + i * 15_000);
    let mut mixed = Naive::floats("mixed", &[("job", "a")], times().zip((0..70).map(|i| f64::from(i) * 0.1)));
    mixed.histograms = [3, 4, 5, 40].map(|row| HistogramPoint::new(row, histogram(u64::from(row)))).to_vec();
    mixed.starts = times().map(|t| if t % 60_000 == 0 { 0 } else { 1_699_999_999_000 }).collect();
    mixed.exemplars = vec![Exemplar {
        labels: vec![("trace_id".into(), "4bf92f35".into())],
        value: 0.25,
        timestamp_ms: 1_700_000_000_100,
    }];
    let counter = |instance: &str| {
        let rows = times().zip((0..70).map(|i| f64::from(i * i % 13)));
        Naive::floats("requests_total", &[("instance", instance), ("job", "a")], rows)
    };
    let stale =
        Naive::floats("up", &[], [(5, 1.0), (6, f64::from_bits(STALE_NAN_BITS)), (7, -0.0)].into_iter());
    let first = in_order(vec![mixed, counter("h1"), counter("h2"), stale.clone()]);
    Tenants::from([(2, first), (7, vec![stale])])
}

#[test]
fn what_is_written_comes_back() {
    let files = MemoryFiles::default();
    let tenants = small();
    let meta = write(&files, "b", 42, &tenants);
    let block = open(&files, "b", 42).unwrap();
    assert_eq!(block.meta(), &meta);
    assert_eq!((meta.sequences.clone(), meta.sections.len()), (3..=9, 2));
    assert_eq!((meta.sections[0].series, meta.sections[0].samples), (4, 213));
    for (tenant, naive) in &tenants {
        let mut damaged = Vec::new();
        assert_eq!(compare(&block, *tenant, naive, &mut damaged), naive.len());
        assert_eq!(damaged, []);
    }
    assert!(block.section(TenantId(3)).unwrap().is_none());
    let report = verify(&files, Path::new("b")).unwrap();
    assert_eq!((report.series, report.samples, report.damaged.len()), (5, 216, 0));
    assert!(matches!(open(&files, "b", 41), Err(BlockError::Damaged(_))));
    let mut section = block.section(TenantId(2)).unwrap().unwrap().reader();
    let chunks = section.chunks(1).unwrap();
    assert_eq!((chunks[0].kind, chunks[0].rows), (ChunkKind::Floats, 70));
    let aggregates = chunks[0].aggregates.unwrap();
    assert_eq!((aggregates.count, aggregates.first, aggregates.max), (70, 0.0, 12.0));
}

#[test]
fn names_and_values_come_sorted_of_all_or_of_some() {
    let files = MemoryFiles::default();
    write(&files, "b", 1, &small());
    let block = open(&files, "b", 1).unwrap();
    let section = block.section(TenantId(2)).unwrap().unwrap();
    assert_eq!(section.label_names(None, &mut Vec::new()).unwrap(), ["__name__", "instance", "job"]);
    assert_eq!(section.label_names(Some(&[3]), &mut Vec::new()).unwrap(), ["__name__"]);
    assert_eq!(section.label_values("instance", None, &mut Vec::new()).unwrap(), ["h1", "h2"]);
    assert_eq!(section.label_values("instance", Some(&[0, 2]), &mut Vec::new()).unwrap(), ["h2"]);
    assert_eq!(section.label_values("absent", None, &mut Vec::new()).unwrap(), [""; 0]);
}

#[test]
fn what_is_out_of_order_is_refused() {
    let files = MemoryFiles::default();
    let (a, b) =
        (Naive::floats("a", &[], [(1, 1.0)].into_iter()), Naive::floats("b", &[], [(1, 1.0)].into_iter()));
    let mut writer = BlockWriter::create(&files, Path::new("b"), 1, Level::Flushed, 0..=0).unwrap();
    assert!(writer.add(a.input()).is_err(), "no tenant");
    writer.begin_tenant(TenantId(5)).unwrap();
    writer.add(b.input()).unwrap();
    assert!(writer.add(b.input()).is_err(), "the same series twice");
    assert!(writer.add(a.input()).is_err(), "series descend");
    let back = Naive::floats("c", &[], [(2, 1.0), (2, 1.0)].into_iter());
    assert!(writer.add(back.input()).is_err(), "a time twice");
    assert!(writer.begin_tenant(TenantId(5)).is_err());
}

#[test]
fn a_newer_file_is_refused_by_name() {
    let files = MemoryFiles::default();
    write(&files, "b", 1, &small());
    let mut bytes = files.bytes("b");
    bytes[12] = 9;
    let checksum = codec::hash::crc32c(&bytes[..44]).to_le_bytes();
    bytes[44..48].copy_from_slice(&checksum);
    let error = open(&MemoryFiles::with("b", bytes), "b", 1).unwrap_err();
    assert_eq!(error.to_string(), "block b has format version 9, this Weir reads up to 2");
}

/// Opens a damaged file and compares all that it still says.
fn survives(bytes: Vec<u8>, tenants: &Tenants) -> (usize, Vec<Damaged>) {
    let files = MemoryFiles::with("b", bytes);
    let mut damaged = Vec::new();
    let block = match open(&files, "b", 42) {
        Ok(block) => block,
        Err(BlockError::Damaged(unit)) => return (0, vec![unit]),
        Err(other) => panic!("{other}"),
    };
    let whole = tenants.iter().map(|(tenant, naive)| compare(&block, *tenant, naive, &mut damaged)).sum();
    (whole, damaged)
}

#[test]
fn every_flipped_bit_is_noticed() {
    let files = MemoryFiles::default();
    let tenants = small();
    write(&files, "b", 42, &tenants);
    let bytes = files.bytes("b");
    let mut kept = 0;
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let (whole, damaged) = survives(flipped, &tenants);
        assert!(!damaged.is_empty(), "bit {bit} of {}", bytes.len() * 8);
        kept += whole;
    }
    assert!(kept > bytes.len() * 8, "damage in one section leaves the other");
}

#[test]
fn every_truncation_is_noticed() {
    let files = MemoryFiles::default();
    let tenants = small();
    write(&files, "b", 42, &tenants);
    let bytes = files.bytes("b");
    for length in 0..bytes.len() {
        let (whole, damaged) = survives(bytes[..length].to_vec(), &tenants);
        assert_eq!((whole, damaged.len()), (0, 1), "cut at {length}");
    }
    let longer = [&bytes[..], &[0; 7]].concat();
    assert_eq!(survives(longer, &tenants).0, 0);
}

/// Offsets and lengths of all pages between header and footer.
fn pages(bytes: &[u8]) -> Vec<std::ops::Range<usize>> {
    let mut pages = Vec::new();
    let mut at = 48;
    while at < bytes.len() - 48 {
        let length = u32::from_le_bytes(bytes[at + 4..at + 8].try_into().unwrap()) as usize + 48;
        pages.push(at..at + length);
        at += length;
    }
    pages
}

#[test]
fn a_page_of_another_file_or_tenant_is_noticed() {
    let (files, tenants) = (MemoryFiles::default(), small());
    // Both tenants the same, so that pages have equal lengths and even equal chunks.
    let twins = Tenants::from([(2, tenants[&2].clone()), (7, tenants[&2].clone())]);
    write(&files, "b", 42, &twins);
    write(&files, "other", 43, &twins);
    let (bytes, other) = (files.bytes("b"), files.bytes("other"));
    let all = pages(&bytes);
    assert_eq!(all, pages(&other));
    for page in &all {
        let mut foreign = bytes.clone();
        foreign[page.clone()].copy_from_slice(&other[page.clone()]);
        assert!(!survives(foreign, &twins).1.is_empty(), "page of another file at {page:?}");
        for second in all.iter().filter(|second| second.len() == page.len() && second.start != page.start) {
            let mut swapped = bytes.clone();
            swapped[page.clone()].copy_from_slice(&bytes[second.clone()]);
            assert!(!survives(swapped, &twins).1.is_empty(), "page {second:?} at {page:?}");
        }
    }
}

const SERIES: i32 = 9000;

/// Enough series for many pages of every kind.
fn large() -> Tenants {
    let series = (0..SERIES).map(|i| {
        let (metric, host) = (format!("metric_{:02}", i % 30), format!("host-{}", i / 30));
        let unique = format!("u{i}");
        let rows = (0..8i64).map(move |t| (t * 15_000, f64::from(i) + (t % 7) as f64 * 0.37));
        Naive::floats(&metric, &[("job", "j"), ("instance", &host), ("uid", &unique)], rows)
    });
    Tenants::from([(2, in_order(series.collect()))])
}

#[test]
fn a_damaged_page_loses_only_what_is_in_it() {
    let (files, tenants) = (MemoryFiles::default(), large());
    write(&files, "b", 42, &tenants);
    let bytes = files.bytes("b");
    let all = pages(&bytes);
    assert!(all.len() > 15, "{}", all.len());
    let mut kinds = BTreeMap::new();
    for page in all.iter().step_by(3).chain(all.last()) {
        let kind = bytes[page.start + 8];
        let mut damaged_bytes = bytes.clone();
        damaged_bytes[page.start + 60] ^= 4;
        let (whole, damaged) = survives(damaged_bytes, &tenants);
        assert!(!damaged.is_empty());
        kinds.entry(kind).or_insert_with(Vec::new).push(whole);
    }
    assert!(kinds[&1].iter().all(|whole| (7000..9000).contains(whole)), "chunks: {kinds:?}");
    // The page that holds the name `__name__` costs its section; most others cost what they list.
    let most = kinds[&2].iter().filter(|whole| **whole > 7000).count();
    assert!(most * 2 > kinds[&2].len(), "index: {kinds:?}");
}

#[test]
fn damaged_postings_are_answered_by_the_series_table() {
    let (files, tenants) = (MemoryFiles::default(), large());
    write(&files, "b", 42, &tenants);
    let bytes = files.bytes("b");
    let matcher = Matcher::new("uid", MatchOp::Regex, "u1[0-9]{3}").unwrap();
    let mut fell_back = 0;
    for page in pages(&bytes).iter().filter(|page| bytes[page.start + 8] == 2) {
        let mut broken = bytes.clone();
        broken[page.start + 60] ^= 4;
        let files = MemoryFiles::with("b", broken);
        let block = open(&files, "b", 42).unwrap();
        let section = block.section(TenantId(2)).unwrap().unwrap();
        let mut damaged = Vec::new();
        let found = section.select(std::slice::from_ref(&matcher), &budget(), &mut damaged).unwrap();
        for ordinal in &found {
            assert!(matcher.matches(tenants[&2][*ordinal as usize].labels.get("uid").unwrap()));
        }
        assert!(found.len() == 1000 || !damaged.is_empty());
        fell_back += usize::from(found.len() == 1000 && !damaged.is_empty());
    }
    assert!(fell_back > 0);
}

#[test]
fn a_query_over_its_budget_is_refused_and_gives_back() {
    let (files, tenants) = (MemoryFiles::default(), large());
    write(&files, "b", 1, &tenants);
    let block = open(&files, "b", 1).unwrap();
    let section = block.section(TenantId(2)).unwrap().unwrap();
    let budget = Budget::new(1000);
    let all = Matcher::new("job", MatchOp::Equal, "j").unwrap();
    assert!(matches!(section.select(&[all], &budget, &mut Vec::new()), Err(BlockError::Stop(_))));
    assert_eq!(budget.used(), 0);
    let few = Matcher::new("instance", MatchOp::Equal, "host-3").unwrap();
    assert_eq!(section.select(&[few], &budget, &mut Vec::new()).unwrap().len(), 30);
    assert_eq!(budget.used(), 120);
}

fn nasty() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<u64>().prop_map(f64::from_bits),
        (-1000i32..1000).prop_map(|v| f64::from(v) / 10.0),
        Just(f64::from_bits(STALE_NAN_BITS)),
        Just(1.0),
    ]
}

fn a_series() -> impl Strategy<Value = Naive> {
    let label = |name: &'static str| {
        let value = prop_oneof![Just(String::new()), "[a-c]{1,2}", "host-[0-9]{1,2}", ".{0,6}"];
        value.prop_map(move |value| (name, value))
    };
    let labels = (label("__name__"), label("job"), label("instance"), label("le"), label("zone"));
    let row =
        (prop_oneof![1i64..100_000, Just(15_000i64)], nasty(), proptest::option::weighted(0.1, 0u64..50));
    let rows = proptest::collection::vec(row, 0..40);
    let exemplars = proptest::collection::vec((0i64..1000, "[a-z]{0,4}"), 0..3);
    (labels, any::<u128>(), any::<i32>(), rows, any::<bool>(), exemplars, 1usize..40).prop_map(
        |(labels, id, first, rows, with_starts, exemplars, repeat)| {
            let (a, b, c, d, e) = labels;
            let name = ("__name__", if a.1.is_empty() { "up".to_owned() } else { a.1 });
            let mut naive = Naive {
                id: SeriesId(id),
                labels: [name, b, c, d, e].into_iter().collect(),
                ..Naive::default()
            };
            let mut time = i64::from(first);
            for (step, value, histogram_value) in rows.iter().cycle().take(rows.len() * repeat) {
                time += step;
                if let Some(n) = histogram_value {
                    let row = naive.timestamps.len() as u32;
                    naive.histograms.push(HistogramPoint::new(row, histogram(*n)));
                }
                naive.timestamps.push(time);
                naive.values.push(*value);
                if with_starts {
                    naive.starts.push(if step % 3 == 0 { time - 10_000 } else { 0 });
                }
            }
            naive.exemplars = exemplars
                .into_iter()
                .map(|(timestamp_ms, trace)| Exemplar {
                    labels: vec![("t".into(), trace)],
                    value: 1.5,
                    timestamp_ms,
                })
                .collect();
            naive
        },
    )
}

fn a_matcher() -> impl Strategy<Value = Matcher> {
    let name = prop_oneof![Just("__name__"), Just("job"), Just("instance"), Just("le"), Just("absent")];
    let op = prop_oneof![
        Just(MatchOp::Equal),
        Just(MatchOp::NotEqual),
        Just(MatchOp::Regex),
        Just(MatchOp::NotRegex)
    ];
    let value = prop_oneof![
        Just(""),
        Just("a"),
        Just("up"),
        Just("host-.*"),
        Just("host-1|host-2|a"),
        Just(".*"),
        Just(".+"),
        Just("[ab]+")
    ];
    (name, op, value).prop_map(|(name, op, value)| Matcher::new(name, op, value).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_block_is_the_model(
        tenants in proptest::collection::btree_map(0u32..1000, proptest::collection::vec(a_series(), 1..25), 1..4),
        matchers in proptest::collection::vec(proptest::collection::vec(a_matcher(), 0..4), 6),
        range in (any::<i32>(), 0i64..2_000_000),
    ) {
        let tenants: Tenants = tenants.into_iter().map(|(tenant, series)| (tenant, in_order(series))).collect();
        let files = MemoryFiles::default();
        write(&files, "b", 42, &tenants);
        let block = open(&files, "b", 42).unwrap();
        let range = TimeRange { start_ms: i64::from(range.0), end_ms: i64::from(range.0) + range.1 };
        for (tenant, naive) in &tenants {
            let mut damaged = Vec::new();
            prop_assert_eq!(compare(&block, *tenant, naive, &mut damaged), naive.len());
            let section = block.section(TenantId(*tenant)).unwrap().unwrap();
            for matchers in &matchers {
                let fits = |series: &Naive| matchers.iter().all(|m| m.matches(series.labels.get(&m.name).unwrap_or("")));
                let wanted: Vec<u32> = (0..naive.len() as u32).filter(|i| fits(&naive[*i as usize])).collect();
                prop_assert_eq!(section.select(matchers, &budget(), &mut damaged).unwrap(), wanted, "{:?}", matchers);
            }
            let mut reader = section.reader();
            for (ordinal, series) in naive.iter().enumerate() {
                let mut columns = Columns::default();
                reader.read(ordinal as u32, range, every_chunk, &mut columns, &mut damaged).unwrap();
                prop_assert_eq!(rows_of(&columns), series.rows(range));
            }
            prop_assert!(damaged.is_empty());
        }
    }
}

/// The format is pinned: these bytes are what this version writes, and every later version reads them.
#[test]
fn golden_file_of_version_1() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/block-v1.bin");
    let files = MemoryFiles::default();
    let tenants = small();
    write(&files, "b", 42, &tenants);
    let bytes = files.bytes("b");
    if std::env::var_os("WEIR_WRITE_GOLDEN").is_some() {
        env::replace(&env::real::OsFiles, path.parent().unwrap(), "block-v1.bin", &bytes).unwrap();
    }
    let golden = env::read_all(&env::real::OsFiles, &path).unwrap();
    let (whole, damaged) = survives(golden.clone(), &tenants);
    assert_eq!((whole, damaged.len()), (5, 0), "the golden file must stay readable for ever");
    assert!(
        golden == bytes,
        "the writer's bytes changed: that is a new format version with a golden file of its own"
    );
}
