//! Whatever is damaged on the disk, the check names the file, and the store starts, gives no wrong value and loses no more
//! than the damaged unit held: one bit of each byte of the first 4 KiB of each kind of file, cuts through 64 KiB of log.
//!
//! With `WEIR_EVERY_BIT` set it is every bit and every cut, which takes minutes.

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use env::Env;
use model::batch::MetadataRow;
use model::{Budget, Hints, Metadata, MetricType, TenantId, TenantLimits, TimeRange};
use sim::clock::SimClock;
use sim::files::SimFiles;
use sim::random::SimRandom;
use sim::thinned;
use tsdb::{CheckReport, Options, Progress, SnapshotName, Store, WriteContext};

const ALWAYS: TimeRange = TimeRange { start_ms: i64::MIN, end_ms: i64::MAX };
const DATA: &str = "data";
const SNAPSHOT: &str = "data/snapshots/s";
/// Samples of a request, each of a series of its own, so that no request needs another one's frame.
const ROWS: u32 = 40;
/// Bytes that are flipped bit by bit.
const WINDOW: usize = 4096;
const SEGMENT_HEADER_BYTES: usize = 52;
const FRAME_HEADER_BYTES: usize = 28;

/// Value by series and time.
type Samples = BTreeMap<(String, i64), u64>;

/// A directory as a killed process leaves it.
struct Place {
    disk: SimFiles,
    directory: &'static str,
    segment_bytes: u64,
    samples: Samples,
}

impl Place {
    /// Two blocks, metadata, and a log with requests that are in no block.
    fn new(segment_bytes: u64, requests: u32) -> Self {
        let disk = SimFiles::new(1);
        env::Files::create_dir(&disk, Path::new(DATA)).unwrap();
        let store = open(&disk, DATA, segment_bytes);
        let mut batch = common::batch(store.seed(), &[]);
        let help = "x".repeat(500);
        batch.metadata.push(MetadataRow {
            family: "metric".into(),
            metadata: Metadata { kind: MetricType::Counter, unit: String::new(), help },
        });
        append(&store, 1, &batch);
        for block in 0..2 {
            for tenant in [1, 2] {
                write(&store, tenant, block * 1000..block * 1000 + 8 * ROWS);
            }
            store.flush().unwrap();
        }
        for request in 0..requests {
            write(&store, 1, 10_000 + request * ROWS..10_000 + (request + 1) * ROWS);
        }
        let (samples, warnings) = read(&store);
        assert_eq!(warnings, Vec::<String>::new());
        assert_eq!(samples.len() as u32, 4 * 8 * ROWS + requests * ROWS);
        disk.kill();
        Self { disk, directory: DATA, segment_bytes, samples }
    }

    /// A snapshot of it.
    fn snapshot(self) -> Self {
        let store = open(&self.disk, DATA, self.segment_bytes);
        store.snapshot(&SnapshotName::parse("s").unwrap(), &|_| Ok(())).unwrap();
        self.disk.kill();
        Self { directory: SNAPSHOT, ..self }
    }

    fn check(&self) -> CheckReport {
        tsdb::check(&self.disk, Path::new(self.directory), &mut |_| {}).unwrap()
    }

    fn path(&self, part: &str) -> PathBuf {
        let all = self.disk.paths();
        let part = Path::new("/").join(self.directory).join(part);
        let found = all.iter().find(|path| **path == part);
        found.unwrap_or_else(|| panic!("no {part:?} in {all:?}")).clone()
    }

    /// What the check calls a file.
    fn name(&self, path: &Path) -> String {
        let below = path.strip_prefix(Path::new("/").join(self.directory)).unwrap();
        below.to_str().unwrap().to_owned()
    }

    /// The newest log segment that holds something, and where its data ends.
    fn log(&self, newest: usize) -> (PathBuf, usize) {
        let mut logs = self.disk.paths();
        logs.retain(|path| path.extension().is_some_and(|extension| extension == "wal"));
        let path = logs[logs.len() - newest].clone();
        let bytes = self.disk.content(&path).unwrap();
        let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        (path, end)
    }

    /// Starts the store on a copy; samples that are lost.
    fn lost(&self) -> usize {
        let disk = self.disk.fork(1);
        let (found, _) = read(&open(&disk, self.directory, self.segment_bytes));
        for (key, value) in &found {
            assert_eq!(self.samples.get(key), Some(value), "{key:?} is not what was written");
        }
        self.samples.len() - found.len()
    }

    /// Whether the check says something of this file, and of no other.
    #[track_caller]
    fn expect_named(&self, file: &str, damage: &str) -> CheckReport {
        let report = self.check();
        let named: Vec<&str> = report.damage.iter().chain(&report.torn).map(|f| f.file.as_str()).collect();
        assert!(!named.is_empty(), "{damage} of {file} is not seen");
        assert!(named.iter().all(|named| *named == file), "{damage} of {file}: {named:?}");
        report
    }

    /// Flips bits of the first 4 KiB of a file: the check names it. With every eighth of them the store starts and loses
    /// no more than `unit` gives for the report.
    fn flip(&self, path: &Path, unit: impl Fn(&CheckReport) -> usize) {
        let file = self.name(path);
        let bytes = self.disk.content(path).unwrap().len().min(WINDOW);
        assert!(bytes > 20);
        // Another bit in each byte.
        for bit in (0..bytes * 8).step_by(thinned(9)) {
            self.disk.flip_bit(path, bit).unwrap();
            let report = self.expect_named(&file, &format!("bit {bit}"));
            if bit / 9 % 8 == 0 {
                let (lost, most) = (self.lost(), unit(&report));
                assert!(lost <= most, "bit {bit} of {file} costs {lost} samples, at most {most}: {report:?}");
            }
            self.disk.flip_bit(path, bit).unwrap();
        }
        assert_eq!((self.check().damage, self.lost()), (vec![], 0));
    }
}

fn open(disk: &SimFiles, directory: &str, segment_bytes: u64) -> Store {
    let env = Env {
        clock: Arc::new(SimClock::new(1_000_000)),
        files: Arc::new(disk.clone()),
        random: Arc::new(SimRandom::new(1)),
    };
    let options = Options { segment_bytes, disk_reserve_bytes: 0, ..Options::default() };
    Store::open(env, Path::new(directory), options, &Progress::default()).unwrap()
}

fn write(store: &Store, tenant: u32, series: std::ops::Range<u32>) {
    for start in series.clone().step_by(ROWS as usize) {
        let rows: Vec<_> = (start..start + ROWS).map(|i| (i, i64::from(i), f64::from(i) * 1.37)).collect();
        append(store, tenant, &common::batch(store.seed(), &rows));
    }
}

fn append(store: &Store, tenant: u32, batch: &model::Batch<'_>) {
    let limits = TenantLimits { retention_ms: 0, ..TenantLimits::default() };
    let context =
        WriteContext { tenant: TenantId(tenant), limits: &limits, epoch: 0, now_ms: 1_000_000, digest: None };
    let (ticket, _) = store.append(&context, batch).unwrap();
    store.commit(Duration::ZERO);
    ticket.wait().unwrap();
}

fn read(store: &Store) -> (Samples, Vec<String>) {
    let mut samples = Samples::new();
    let mut warnings = Vec::new();
    for tenant in [1, 2] {
        let budget = Budget::new(1 << 30);
        let mut selection = store.select(TenantId(tenant), &[], ALWAYS, &Hints::default(), &budget).unwrap();
        let mut block = model::SeriesBlock::default();
        while selection.next_block(&mut block).unwrap() {
            for (index, series) in block.series.iter().enumerate() {
                let labels = selection.labels(*series).unwrap().unwrap();
                let name = format!("{tenant} {}", labels.get("i").unwrap());
                for row in block.offsets[index] as usize..block.offsets[index + 1] as usize {
                    samples.insert(
                        (name.clone(), block.columns.timestamps[row]),
                        block.columns.values[row].to_bits(),
                    );
                }
            }
        }
        warnings.extend(selection.warnings());
    }
    (samples, warnings)
}

#[test]
fn a_flipped_bit_in_a_small_file_is_named_and_costs_no_sample() {
    let place = Place::new(16 << 10, 3);
    for name in ["FORMAT", "manifest-0", "manifest-1", "metadata"] {
        place.flip(&place.path(name), |_| 0);
    }
}

#[test]
fn a_flipped_bit_in_a_snapshots_description_is_named_and_costs_nothing_else() {
    let place = Place::new(16 << 10, 3).snapshot();
    let path = place.path("SNAPSHOT");
    let listed = || tsdb::snapshots(&place.disk, Path::new(DATA)).unwrap().pop().unwrap().1;
    let described = listed();
    assert_eq!(described.map(|snapshot| snapshot.samples), Some(place.samples.len() as u64));
    for bit in 0..place.disk.content(&path).unwrap().len() * 8 {
        place.disk.flip_bit(&path, bit).unwrap();
        assert_eq!(listed(), None, "bit {bit}");
        place.disk.flip_bit(&path, bit).unwrap();
    }
    assert_eq!(listed(), described);
    place.flip(&path, |_| 0);
}

#[test]
fn a_flipped_bit_in_a_block_is_named_and_costs_its_page() {
    let place = Place::new(16 << 10, 3);
    let path = place.path("blocks/000000000001.block");
    place.flip(&path, |report| {
        // Whatever the map does not count is at most all of the file.
        let lost = report.damage.iter().map(|finding| finding.samples.unwrap_or(u64::from(2 * 8 * ROWS)));
        lost.sum::<u64>() as usize
    });
}

#[test]
fn a_flipped_bit_in_the_log_is_named_and_costs_its_frame() {
    let place = Place::new(16 << 10, 3);
    let (path, end) = place.log(1);
    assert!(end > 1000);
    place.flip(&path, |report| {
        let is_header = report.damage.iter().any(|finding| finding.unit == "file");
        if is_header { 3 * ROWS as usize } else { ROWS as usize }
    });
}

#[test]
fn a_log_that_is_cut_is_named_and_loses_what_lay_behind() {
    let place = Place::new(80 << 10, 260);
    // The one after it says how far it was acknowledged.
    let (path, end) = place.log(2);
    let whole = place.disk.content(&path).unwrap();
    let file = place.name(&path);
    assert!(end > 65 << 10, "{end}");
    let mut lost_before = 0;
    for cut in (end - (64 << 10)..end).rev().step_by(thinned(31)) {
        place.disk.damage(&path, |bytes| bytes.truncate(cut)).unwrap();
        let report = place.expect_named(&file, &format!("a cut at {cut}"));
        let [finding] = report.damage.as_slice() else { panic!("{report:?}") };
        let sequences = finding.sequences.clone().unwrap();
        if cut % 16 == 0 {
            let lost = place.lost();
            assert_eq!(lost as u64, (sequences.end - sequences.start) * u64::from(ROWS), "cut at {cut}");
            assert!(lost >= lost_before);
            lost_before = lost;
        }
    }
    place.disk.damage(&path, |bytes| bytes.clone_from(&whole)).unwrap();
    assert_eq!((place.check().damage, place.lost()), (vec![], 0));
}

#[test]
fn a_log_that_is_cut_in_its_newest_segment_loses_what_lay_behind_and_nothing_else() {
    let place = Place::new(1 << 20, 50);
    let (path, end) = place.log(1);
    let whole = place.disk.content(&path).unwrap();
    let file = place.name(&path);
    assert!(end > 65 << 10, "{end}");
    let mut ends = vec![SEGMENT_HEADER_BYTES];
    while let Some(at) = ends.last().copied().filter(|at| *at < end) {
        let stored = u32::from_le_bytes(whole[at + 4..at + 8].try_into().unwrap());
        ends.push(at + FRAME_HEADER_BYTES + stored as usize);
    }
    assert_eq!(ends.len(), 1 + 50, "a frame for each request");
    for cut in (end - (64 << 10)..end).rev().step_by(thinned(127)) {
        place.disk.damage(&path, |bytes| bytes.truncate(cut)).unwrap();
        let report = place.check();
        // Nobody knows what came behind, but that a frame begins and does not end is seen.
        assert_eq!(report.damage, [], "cut at {cut}");
        let torn = report.torn.iter().map(|finding| finding.file.as_str());
        let named: Vec<&str> = if ends.contains(&cut) { Vec::new() } else { vec![&file] };
        assert_eq!(torn.collect::<Vec<_>>(), named, "cut at {cut}");
        if cut % 16 == 0 {
            let behind = ends.iter().filter(|end| **end > cut).count();
            assert_eq!(place.lost(), behind * ROWS as usize, "cut at {cut}");
        }
    }
    place.disk.damage(&path, |bytes| bytes.clone_from(&whole)).unwrap();
    assert_eq!((place.check().torn, place.lost()), (vec![], 0));
}
