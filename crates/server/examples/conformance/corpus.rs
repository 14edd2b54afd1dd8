//! Scripts of the `promqltest` language on every kind of source that Weir has: a list in memory, the head of a real store,
//! and the blocks that the store has merged. What is loaded goes through the append path.

use std::path::{Path, PathBuf};
use std::time::Duration;

use env::Env;
use model::batch::{HistogramSample, LabelSource, SeriesRow, Temporality};
use model::{Batch, Sample, TenantId, TenantLimits};
use promql::MemoryValue;
use promql::script::{self, LoadedSample, LoadedSeries, Report, Settings};
use server::source::TenantSource;
use tempfile::TempDir;
use tsdb::{Options, Progress, Store, WriteContext};

const TENANT: TenantId = TenantId(1);

/// What the cases are evaluated on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A list in memory.
    Memory,
    /// A store's head.
    Head,
    /// A store's blocks, after two flushes and the merge of everything.
    Blocks,
}

impl Kind {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Memory, Self::Head, Self::Blocks];

    /// Its name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Head => "head",
            Self::Blocks => "blocks",
        }
    }
}

/// The scripts of a folder, sorted by name; none when there is no such folder.
pub(crate) fn scripts(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "test"));
    paths.sort();
    paths
}

/// Runs a script on sources of a kind.
pub(crate) fn run(path: &Path, kind: Kind, settings: &Settings) -> Report {
    let text = std::fs::read_to_string(path).expect("a script can be read");
    if kind == Kind::Memory {
        return script::run(&text, settings, &mut script::in_memory);
    }
    let mut stored = None;
    script::run(&text, settings, &mut |series| {
        // The one before is not asked any more.
        let stored = stored.insert(Stored::new(kind, series));
        Box::new(TenantSource::new(stored.store.clone(), TENANT))
    })
}

/// A store in a temporary directory, in memory where the system has such. Nothing in it outlives it, so the log is not
/// synced.
struct Stored {
    store: Store,
    _directory: TempDir,
}

impl Stored {
    fn new(kind: Kind, series: &[LoadedSeries]) -> Self {
        let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        let directory = directory.expect("a temporary directory");
        let options = Options {
            segment_bytes: 1 << 20,
            durability: wal::Durability::Os,
            compaction_bytes_per_second: 1 << 30,
            disk_reserve_bytes: 0,
            ..Options::default()
        };
        let store = Store::open(Env::real(), directory.path(), options, &Progress::default());
        let stored = Self { store: store.expect("a store opens"), _directory: directory };
        match kind {
            Kind::Blocks => stored.append_and_merge(series),
            Kind::Memory | Kind::Head => stored.append(series),
        }
        stored
    }

    /// Every other sample, then the rest, so that merging has something to merge.
    fn append_and_merge(&self, series: &[LoadedSeries]) {
        for rest in [0, 1] {
            let part = |(labels, samples): &LoadedSeries| {
                (labels.clone(), samples.iter().skip(rest).step_by(2).cloned().collect())
            };
            self.append(&series.iter().map(part).collect::<Vec<_>>());
            self.store.flush().expect("a flush");
        }
        self.store.compact_all().expect("a merge of everything");
        assert_eq!(self.store.status().head_samples, 0, "all of it is in blocks");
    }

    fn append(&self, series: &[LoadedSeries]) {
        // Scripts begin at the epoch, and some go far into the future.
        let limits = TenantLimits { retention_ms: 0, future_ms: i64::MAX, ..TenantLimits::default() };
        let context = WriteContext { tenant: TENANT, limits: &limits, epoch: 0, now_ms: 0, digest: None };
        let batch = batch(self.store.seed(), series);
        let (ticket, appended) = self.store.append(&context, &batch).expect("the append is queued");
        assert!(appended.rejected.is_empty(), "refused: {:?}", appended.rejected);
        while self.store.commit(Duration::ZERO) > 0 {}
        ticket.wait().expect("the append is committed");
    }
}

fn batch(seed: u64, series: &[LoadedSeries]) -> Batch<'_> {
    let mut batch = Batch::new(seed);
    for (number, (labels, samples)) in (0..).zip(series) {
        let [pairs, first_sample, first_histogram] =
            [batch.pairs.len(), batch.samples.len(), batch.histograms.len()];
        batch.pairs.extend(labels.iter().map(|(name, value)| (name.into(), value.into())));
        for LoadedSample { time_ms, start_ms, value } in samples {
            let (timestamp_ms, start_ms) = (*time_ms, *start_ms);
            match value {
                MemoryValue::Float(value) => {
                    batch.samples.push(Sample { timestamp_ms, value: *value, start_ms });
                }
                MemoryValue::Histogram(histogram) => {
                    histogram.validate().expect("a valid histogram");
                    let histogram = histogram.clone();
                    batch.histograms.push(HistogramSample { timestamp_ms, start_ms, histogram });
                }
            }
        }
        batch.series.push(SeriesRow {
            labels: LabelSource::Pairs(pairs..batch.pairs.len()),
            key: number,
            samples: first_sample..batch.samples.len(),
            histograms: first_histogram..batch.histograms.len(),
            exemplars: 0..0,
            temporality: Temporality::Cumulative,
            item: 0,
        });
    }
    batch
}
