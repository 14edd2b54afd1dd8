//! Outputs on a real store, before a receiver that answers by a script.

mod adding;
mod changing;
mod receiver;
mod sending;
mod wholes;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use env::Env;
use model::batch::{LabelSource, SeriesRow};
use model::{Batch, Labels, Origin, Sample, Temporality, TenantId, TenantLimits, TenantName};
use outbound::HttpConfig;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tsdb::{Options, Progress, Store, WriteContext};

use crate::output::{Context, Output};
use crate::settings::{Chosen, Describes, Queues, Settings};
use crate::{Pauses, cursor};
use receiver::Receiver;

/// How long a test waits for what must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
const INSTANCE: u64 = 0xabc;

/// Labels, time and value of a sample.
type Row<'r> = (Vec<(&'r str, &'r str)>, i64, f64);

/// A store with its committing thread.
struct World {
    directory: TempDir,
    runtime: Runtime,
    store: Store,
    committing: Arc<AtomicBool>,
    committer: Mutex<Option<JoinHandle<()>>>,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let store = open(directory.path());
        let committing = Arc::new(AtomicBool::new(true));
        let committer = {
            let (store, committing) = (store.clone(), Arc::clone(&committing));
            std::thread::spawn(move || {
                while committing.load(Ordering::Relaxed) {
                    store.commit(Duration::from_millis(5));
                }
            })
        };
        Self { directory, runtime, store, committing, committer: Mutex::new(Some(committer)) }
    }

    fn context(&self) -> Context {
        let names = ["default", "acme"];
        let name_of = move |TenantId(number): TenantId| {
            Some(TenantName::parse(names.get(number as usize - 1)?).expect("a name"))
        };
        Context {
            env: Env::real(),
            data_dir: self.directory.path().to_owned(),
            store: self.store.clone(),
            runtime: self.runtime.handle().clone(),
            instance: INSTANCE,
            name_of: Arc::new(name_of),
        }
    }

    fn start(&self, settings: Settings, receiver: &Arc<Receiver>) -> Output {
        let post: Arc<Receiver> = Arc::clone(receiver);
        Output::start_with(&self.context(), settings, post).unwrap()
    }

    /// Appends a sample of each series and waits until it is acknowledged.
    fn push(&self, rows: &[(&str, i64, f64)]) {
        self.push_as(TenantId(1), &Origin::SENDER, rows);
    }

    fn push_as(&self, tenant: TenantId, origin: &Origin, rows: &[(&str, i64, f64)]) {
        let rows: Vec<Row<'_>> = rows
            .iter()
            .map(|(name, timestamp_ms, value)| {
                (vec![("__name__", *name), ("job", "test")], *timestamp_ms, *value)
            })
            .collect();
        self.push_under(tenant, origin, &rows);
    }

    fn push_under(&self, tenant: TenantId, origin: &Origin, rows: &[Row<'_>]) {
        let mut batch = Batch::new(3);
        batch.origin = origin.clone();
        for (labels, timestamp_ms, value) in rows {
            let (pairs, samples) = (batch.pairs.len(), batch.samples.len());
            batch.pairs.extend(labels.iter().map(|(name, value)| ((*name).into(), (*value).into())));
            batch.samples.push(Sample { timestamp_ms: *timestamp_ms, value: *value, start_ms: 0 });
            batch.series.push(SeriesRow {
                labels: LabelSource::Pairs(pairs..pairs + labels.len()),
                key: codec::hash::key128(3, format!("{labels:?}").as_bytes()),
                samples: samples..samples + 1,
                histograms: 0..0,
                exemplars: 0..0,
                temporality: Temporality::Cumulative,
                item: 0,
            });
        }
        let limits = TenantLimits::default();
        let context = WriteContext { tenant, limits: &limits, epoch: 0, now_ms: now_ms(), digest: None };
        let (ticket, appended) = self.store.append(&context, &batch).unwrap();
        assert_eq!(appended.accepted.samples, rows.len() as u64, "{appended:?}");
        ticket.wait().unwrap();
    }

    /// What the output's file says.
    fn cursor(&self, name: &str) -> cursor::Cursor {
        match cursor::load(&*Env::real().files, self.directory.path(), name).unwrap() {
            cursor::Found::Whole(cursor) => cursor,
            other => panic!("{other:?}"),
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.committing.store(false, Ordering::Relaxed);
        if let Some(committer) = self.committer.lock().unwrap().take() {
            committer.join().unwrap();
        }
    }
}

fn open(path: &Path) -> Store {
    let options = Options { disk_reserve_bytes: 0, ..Options::default() };
    Store::open(Env::real(), path, options, &Progress::default()).unwrap()
}

fn now_ms() -> i64 {
    Env::real().clock.now_ms()
}

/// Remote write 1.0 with short pauses.
fn settings(name: &str) -> Settings {
    Settings {
        name: name.to_owned(),
        speaker: &dialects::remote_write::SPEAKER,
        options: dialects::outgoing::Options::default(),
        url: outbound::Url::parse("http://receiver.invalid/api/v1/write").unwrap(),
        headers: Default::default(),
        http: HttpConfig::default(),
        timeout: Duration::from_secs(5),
        tenants: Chosen::Named([TenantName::parse("default").unwrap()].into()),
        external_labels: Default::default(),
        relabel: Default::default(),
        queues: Queues {
            capacity: 100,
            shards_min: 2,
            shards_max: 2,
            rows_max: 10,
            deadline: Duration::from_millis(20),
            sample_age: None,
        },
        pauses: Pauses { min: Duration::from_millis(1), max: Duration::from_millis(10) },
        describes: Describes::Never,
        lag_age_max: Duration::from_secs(3600),
        lag_bytes_max: None,
    }
}

fn labels(name: &str) -> Labels {
    Labels::from_pairs([("__name__", name), ("job", "test")])
}
