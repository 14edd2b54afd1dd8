//! What must hold for whatever lies in a data directory: the bodies of the store's fuzz targets and of their seeded tests.
//!
//! Everything there is under checksums, so bytes as they come would be refused at the first one. Here they say what lies
//! under good ones: [`replay`] takes records of the log, [`block()`] the pages of a block, [`small_file`] the body of a
//! small file. The store opens on all of it, answers with data or errors, and goes on: it takes a sample, flushes, merges, and
//! has after a restart what it had before.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use codec::chunk::Corrupt;
use codec::chunk::bytes::{Reader, put_varint};
use codec::envelope;
use codec::exercise::change;
use env::Env;
use model::batch::{Exemplar, HistogramSample, LabelSource, MetadataRow, SeriesRow, Temporality};
use model::{
    Batch, Budget, Hints, Histogram, Labels, LabelsRef, LogRow, MatchOp, Matcher, Metadata, MetricType,
    Sample, SeriesBlock, TenantId, TenantLimits, TimeRange,
};

use crate::block;
use crate::head::table::series_id;
use crate::logs;
use crate::manifest::{self, Manifest};
use crate::named::Named;
use crate::open::{self, OpenError, Progress};
use crate::record::{self, Digest, Record, Row, Unreadable};
use crate::select::SelectError;
use crate::store::{Store, wal_directory};
use crate::totals::Total;
use crate::{Options, SnapshotName, WriteContext, check, metadata, snapshot};

/// The key of series ids.
const SEED: u64 = 7;

/// Where the data lies.
const DIRECTORY: &str = "/data";

/// Whose data it is, mostly.
const TENANT: TenantId = TenantId(1);

const ALWAYS: TimeRange = TimeRange { start_ms: i64::MIN, end_ms: i64::MAX };

/// What one answer may take.
const BUDGET_BYTES: u64 = 64 << 20;

/// The time of the sample that is sent.
const SENT_MS: i64 = 1_000;

fn directory() -> &'static Path {
    Path::new(DIRECTORY)
}

fn open(env: &Env) -> Result<Store, OpenError> {
    let options = Options { segment_bytes: 64 << 10, disk_reserve_bytes: 0, ..Options::default() };
    Store::open(env.clone(), directory(), options, &Progress::default())
}

/// A row as it is read: time, bits of the float, start, histogram.
type SeenRow = (i64, u64, i64, Option<Arc<Histogram>>);

/// What a tenant's readers get.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    rows: BTreeMap<Labels, Vec<SeenRow>>,
    /// As text, in which a NaN is equal to itself.
    exemplars: String,
    metadata: Vec<(String, Metadata)>,
}

impl Seen {
    fn of(store: &Store, tenant: TenantId) -> Result<Seen, SelectError> {
        let budget = Budget::new(BUDGET_BYTES);
        Ok(Seen {
            rows: rows(store, tenant, &[])?,
            exemplars: format!("{:?}", store.exemplars(tenant, &[], ALWAYS, &budget)?.found),
            metadata: store.metadata(tenant),
        })
    }
}

/// Reads what the matchers select; what comes is in order.
fn rows(
    store: &Store,
    tenant: TenantId,
    matchers: &[Matcher],
) -> Result<BTreeMap<Labels, Vec<SeenRow>>, SelectError> {
    let budget = Budget::new(BUDGET_BYTES);
    let mut rows = BTreeMap::new();
    let mut selection = store.select(tenant, matchers, ALWAYS, &Hints::default(), &budget)?;
    let mut block = SeriesBlock::default();
    while selection.next_block(&mut block)? {
        let columns = &block.columns;
        assert_eq!(block.offsets.len(), block.series.len() + 1);
        let mut histograms = columns.histograms.iter().peekable();
        for (index, series) in block.series.iter().enumerate() {
            let own = block.offsets[index] as usize..block.offsets[index + 1] as usize;
            assert!(
                columns.timestamps[own.clone()].is_sorted_by(|a, b| a < b),
                "a time twice, or out of order"
            );
            let row = |row: usize| {
                let histogram = histograms.next_if(|point| point.row as usize == row);
                let start_ms = columns.starts.get(row).copied().unwrap_or(0);
                let histogram = histogram.map(|point| point.histogram.clone());
                (columns.timestamps[row], columns.values[row].to_bits(), start_ms, histogram)
            };
            let own = own.map(row).collect();
            if let Some(labels) = selection.labels(*series)? {
                rows.insert(labels, own);
            }
        }
        assert!(histograms.next().is_none(), "a histogram without a row");
    }
    Ok(rows)
}

/// Asks in every way; answers may be errors.
fn ask(store: &Store, tenant: TenantId) {
    let matcher = |name: &str, op, value: &str| Matcher::new(name, op, value).expect("it is one");
    let all = [
        vec![matcher("__name__", MatchOp::Equal, "metric")],
        vec![matcher("i", MatchOp::Regex, "1.*|2")],
        vec![matcher("i", MatchOp::NotRegex, "1.*"), matcher("__name__", MatchOp::NotEqual, "")],
        vec![matcher("i", MatchOp::NotEqual, "3"), matcher("x", MatchOp::Equal, "")],
    ];
    let budget = || Budget::new(BUDGET_BYTES);
    for matchers in &all {
        let _ = rows(store, tenant, matchers);
        let _ = store.series(tenant, std::slice::from_ref(matchers), ALWAYS, 0, &budget());
        let _ = store.label_values(tenant, "i", std::slice::from_ref(matchers), ALWAYS, &budget());
    }
    let names = store.label_names(tenant, &[], ALWAYS, &budget());
    for name in names.map(|names| names.found).unwrap_or_default() {
        let _ = store.label_values(tenant, &name, &[], ALWAYS, &budget());
    }
    let _ = store.label_names(tenant, &all, ALWAYS, &budget());
}

/// What is sent is stored and found, after a restart too.
fn goes_on(env: &Env, store: Store) {
    send(&store);
    drop(store);
    let store = open(env).expect("what a store has written opens");
    let found = rows(&store, TENANT, &[sent("1")]).expect("nothing is asked but what was sent");
    assert!(found.values().flatten().any(|(ms, ..)| *ms == SENT_MS), "what was sent is gone");
}

/// Selects a series that is sent.
fn sent(which: &str) -> Matcher {
    Matcher::new("sent", MatchOp::Equal, which).expect("it is one")
}

/// Sends a sample of two series and writes them to a block.
fn send(store: &Store) {
    let mut batch = Batch::new(store.seed());
    for (at, which) in ["1", "2"].into_iter().enumerate() {
        batch.pairs.extend([("__name__".into(), "sent".into()), ("sent".into(), which.into())]);
        batch.samples.push(Sample { timestamp_ms: SENT_MS, value: 1.5, start_ms: 0 });
        batch.series.push(SeriesRow {
            labels: LabelSource::Pairs(2 * at..2 * at + 2),
            key: at as u128,
            samples: at..at + 1,
            histograms: 0..0,
            exemplars: 0..0,
            temporality: Temporality::Cumulative,
            item: 0,
        });
    }
    let metadata =
        Metadata { kind: MetricType::Gauge, unit: String::new(), help: "What was sent.".to_owned() };
    batch.metadata.push(MetadataRow { family: "sent".into(), metadata });
    let limits = TenantLimits { retention_ms: 0, ..TenantLimits::default() };
    let context = WriteContext { tenant: TENANT, limits: &limits, epoch: 0, now_ms: SENT_MS, digest: None };
    let (ticket, appended) = store.append(&context, &batch).expect("there is room");
    assert_eq!(appended.accepted.samples, 2, "{appended:?}");
    store.commit(Duration::ZERO);
    ticket.wait().expect("the disk works");
    store.flush().expect("the disk works");
}

/// Writes a log of which `input` says the records, and opens a store on it.
///
/// # Panics
/// When the store does not open, or changes its mind about what it has.
pub fn replay(env: &Env, input: &[u8]) {
    let files = &*env.files;
    files.create_dir(&wal_directory(directory())).expect("the disk is empty");
    open::store_format(files, directory(), SEED).expect("the disk has room");
    let (tenants, is_known) = write_log(env, input);
    let Some(store) = unless_newer(!is_known, open(env)) else { return };
    let see = |store: &Store| -> Vec<Seen> {
        tenants.iter().map(|tenant| Seen::of(store, *tenant).expect("it is not much")).collect()
    };
    let seen = see(&store);
    store.flush().expect("the disk works");
    assert_eq!(see(&store), seen, "after a flush");
    drop(store);
    let store = open(env).expect("what a store has written opens");
    assert_eq!(see(&store), seen, "after a restart");
    store.compact_all().expect("the disk works");
    assert_eq!(see(&store), seen, "after a merge");
    tenants.iter().for_each(|tenant| ask(&store, *tenant));
    goes_on(env, store);
    let report = check(files, directory(), &mut |_| {}).expect("the disk works");
    assert_eq!(report.damage, []);
}

/// Writes frames of log lines as `input` says, and reads them.
///
/// # Panics
/// When the store does not open on them, or does not have the same lines after another one and a restart.
pub fn lines(env: &Env, input: &[u8]) {
    let (files, path) = (&*env.files, logs::directory(directory()));
    files.create_dir(&path).expect("the disk is empty");
    let options = wal::Options { segment_bytes: 4 << 10, durability: wal::Durability::Fsync };
    let mut writer = wal::Writer::new(env.clone(), &path, wal::Stream::Logs, options, 1, 1);
    let mut reader = Reader::new(input);
    while let Ok(kind) = reader.byte() {
        let Ok(body) = reader.bytes() else { break };
        let mut payload = Vec::new();
        match kind % 4 {
            0 => payload.extend_from_slice(body),
            1 => record::record(kind, &mut payload, |out| out.extend_from_slice(body)),
            _ => record::record(record::LINES, &mut payload, |out| out.extend_from_slice(body)),
        }
        writer.segment().expect("the disk has room");
        writer.add(&payload);
        writer.commit().expect("the disk works");
    }
    let see = || {
        let mut found = Vec::new();
        logs::read(files, directory(), &|_| true, i64::MIN..=i64::MAX, &mut |line| {
            found.push((line.tenant, line.timestamp_ns, line.fields.len(), line.line.to_owned()));
        })
        .map(|damage| (found, damage))
    };
    let is_known = !matches!(see(), Err(OpenError::Newer { .. }));
    let store = open(env).expect("what is in frames of lines keeps no store from opening");
    let Some((mut found, damage)) = unless_newer(!is_known, see()) else { return };
    let mut batch = Batch::new(store.seed());
    batch.logs.push(LogRow { stream: 0..0, fields: 0..0, timestamp_ns: 5, line: "one more".into(), item: 0 });
    let limits = TenantLimits { retention_ms: 0, ..TenantLimits::default() };
    let context = WriteContext { tenant: TENANT, limits: &limits, epoch: 0, now_ms: SENT_MS, digest: None };
    let (ticket, _) = store.append(&context, &batch).expect("there is room");
    store.commit(Duration::ZERO);
    ticket.wait().expect("the disk works");
    drop(store);
    found.push((TENANT, 5, 0, "one more".to_owned()));
    open(env).expect("what a store has written opens");
    assert_eq!(see().expect("it was read before"), (found, damage));
}

/// Writes the records; returns whose they are, and whether all of their kinds are known.
fn write_log(env: &Env, input: &[u8]) -> (BTreeSet<TenantId>, bool) {
    let options = wal::Options { segment_bytes: 64 << 10, durability: wal::Durability::Fsync };
    let stream = wal::Stream::Metrics;
    let mut writer = wal::Writer::new(env.clone(), &wal_directory(directory()), stream, options, 1, 1);
    let (mut tenants, mut is_known) = (BTreeSet::from([TENANT]), true);
    let mut reader = Reader::new(input);
    while !reader.is_empty() {
        let (mut payload, mut ends) = (Vec::new(), false);
        while let Ok(kind) = reader.byte() {
            ends = kind & 0x80 != 0;
            if kind % 8 == 0 || records(kind % 8, &mut reader, &mut payload).is_err() {
                break;
            }
        }
        let seen = record::read(&payload, |record| match record {
            Record::Series { tenant, .. } | Record::Metadata { tenant, .. } => drop(tenants.insert(tenant)),
            _ => {}
        });
        is_known &= !matches!(seen, Err(Unreadable::UnknownKind(_)));
        writer.segment().expect("the disk has room");
        writer.add(&payload);
        writer.commit().expect("the disk works");
        if ends {
            writer.roll().expect("the disk works");
        }
    }
    (tenants, is_known)
}

/// Appends records to a frame.
fn records(kind: u8, reader: &mut Reader<'_>, out: &mut Vec<u8>) -> Result<(), Corrupt> {
    match kind {
        // A series that others can name, with small numbers.
        1 | 2 => {
            let (slot, tenant) = (reader.byte()? % 8, u32::from(reader.byte()? % 3));
            let i = reader.byte()?.to_string();
            let labels = Labels::from_pairs([("__name__", "metric"), ("i", &i)]);
            let id = series_id(SEED, TenantId(tenant), labels.as_ref());
            record::write_series(slot.into(), TenantId(tenant), id, labels.as_canonical(), out);
        }
        3 => {
            let rows = (0..reader.byte()? % 32).map(|_| {
                let (slot, timestamp_ms) = (u32::from(reader.byte()? % 9), reader.zigzag()?);
                Ok(Row { slot, timestamp_ms, value: f64::from_bits(reader.varint()?.rotate_right(12)) })
            });
            record::write_samples(&rows.collect::<Result<Vec<_>, Corrupt>>()?, out);
        }
        // Any labels, under the id that they have.
        4 => {
            let (slot, tenant, labels) = (reader.number()?, TenantId(reader.number()?), reader.bytes()?);
            let mut body = Vec::new();
            put_varint(&mut body, slot.into());
            put_varint(&mut body, tenant.0.into());
            let text = std::str::from_utf8(labels).ok().and_then(LabelsRef::from_canonical);
            let id = text.map(|labels| series_id(SEED, tenant, labels)).unwrap_or_default();
            body.extend_from_slice(&id.0.to_le_bytes());
            body.extend_from_slice(labels);
            record::record(record::SERIES, out, |out| out.extend_from_slice(&body));
        }
        5 => {
            let mut like = Vec::new();
            sample_record(reader.byte()?, &mut like);
            change(&mut like, reader);
            out.extend_from_slice(&like);
        }
        // Any body.
        _ => {
            let (kind, body) = (reader.byte()?, reader.bytes()?);
            record::record(kind, out, |out| out.extend_from_slice(body));
        }
    }
    Ok(())
}

/// Appends a record of a kind that has more in it than numbers.
fn sample_record(which: u8, out: &mut Vec<u8>) {
    match which % 6 {
        0 => {
            let histogram = Arc::new(block::exercise::histogram(5, 4));
            let sample = HistogramSample { timestamp_ms: 2_000, start_ms: 1_000, histogram };
            record::write_histogram(1, &sample, out);
        }
        1 => {
            let labels = vec![("trace_id".to_owned(), "5".to_owned())];
            record::write_exemplar(1, &Exemplar { labels, value: 0.5, timestamp_ms: 2_000 }, out);
        }
        2 => {
            let total = |slot: u32| (slot, Total { start_ms: 1_000, end_ms: 2_000, value: f64::from(slot) });
            record::write_totals([0, 1].map(total).into_iter(), out);
        }
        3 => {
            let digest = Digest { tenant: TENANT, digest: 5, taken_ms: 1_000, frames: 0 };
            record::write_digest(&digest, out);
        }
        4 => {
            let (unit, help) = ("seconds".to_owned(), "How long.".to_owned());
            let metadata = Metadata { kind: MetricType::Counter, unit, help };
            record::write_metadata(TENANT, "metric", &metadata, out);
        }
        _ => record::write_starts(&[(0, 1_000), (1, 0)], out),
    }
}

/// Inputs of [`block()`] that describe whole ones: where changes begin.
pub fn whole_blocks() -> [Vec<u8>; 4] {
    block::exercise::seeds()
}

/// Writes a block as `input` describes it and opens a store on it.
///
/// # Panics
/// When the store does not open, or does not go on.
pub fn block(env: &Env, input: &[u8]) {
    let files = &*env.files;
    let blocks = directory().join("blocks");
    files.create_dir(&blocks).expect("the disk is empty");
    let path = blocks.join(crate::store::block_file_name(block::exercise::ID));
    let file = files.create(&path).expect("the disk is empty");
    file.write_at(&block::exercise::file(files, input), 0).expect("the disk has room");
    let manifest = Manifest {
        generation: 1,
        id_seed: SEED,
        next_file: block::exercise::ID + 1,
        flushed_sequence: *block::exercise::SEQUENCES.end(),
        blocks: vec![Named::unknown(block::exercise::ID)],
        ..Manifest::default()
    };
    manifest.store(files, directory()).expect("the disk has room");
    let report = block::verify(files, &path).expect("the disk works");
    block::remains(files, &path, block::exercise::ID).expect("the disk works");
    let store = open(env).expect("whatever lies in a block, the store opens");
    for tenant in block::exercise::TENANTS {
        let seen = Seen::of(&store, tenant);
        ask(&store, tenant);
        if report.damaged.is_empty() {
            assert!(seen.is_ok(), "the check finds nothing, and reading does: {seen:?}");
        }
    }
    let scrub = store.run(crate::Job::Scrub, &|_| crate::Keep::default());
    scrub.expect("the disk works");
    // What contradicts itself is not merged.
    let _ = store.compact_all();
    let _ = Seen::of(&store, TENANT);
    goes_on(env, store);
}

/// Puts a small file into a data directory and opens a store on it. The first byte says which one, whether the input is
/// its body or changes the one that is there, and whether the manifest's other copy is lost; the second its version.
///
/// # Panics
/// When the store does not open, or does not go on.
pub fn small_file(env: &Env, input: &[u8]) {
    let files = &*env.files;
    let [head, version, rest @ ..] = input else { return };
    fill(&open(env).expect("the directory is new"));
    let (name, magic, known) = SMALL_FILES[usize::from(*head) % SMALL_FILES.len()];
    let version = u16::from(*version % 4);
    let mut body = rest.to_vec();
    if *head & 0x40 != 0 {
        let bytes = env::read_all(files, &directory().join(name)).expect("a store has written it");
        body = envelope::unwrap(magic, known, &bytes).expect("a store has written it").to_vec();
        change(&mut body, &mut Reader::new(rest));
    }
    if *head & 0x80 != 0 {
        for name in Manifest::FILES {
            files.remove(&directory().join(name)).expect("a store has written it");
        }
    }
    let path = directory().join(name);
    let (parent, file) = (path.parent().unwrap_or(&path), name.rsplit('/').next().unwrap_or(name));
    env::replace(files, parent, file, &envelope::wrap(magic, version, &body)).expect("the disk has room");
    let _ = unless_newer(version > known, check(files, directory(), &mut |_| {}));
    let _ = unless_newer(version > known, snapshot::snapshots(files, directory()));
    let Some(opened) = unless_newer(version > known, open(env)) else { return };
    let _ = rows(&opened, TENANT, &[]);
    if name.starts_with("manifest") {
        // It may say of what is written now that it was deleted.
        send(&opened);
        let _ = opened.compact_all();
        drop(opened);
        let _ = rows(&open(env).expect("what a store has written opens"), TENANT, &[]);
    } else {
        goes_on(env, opened);
    }
}

/// Only a newer version may be refused.
fn unless_newer<T>(is_newer: bool, result: Result<T, OpenError>) -> Option<T> {
    match result {
        Err(OpenError::Newer { .. }) if is_newer => None,
        result => Some(result.expect("whatever lies there is gone around")),
    }
}

/// A block, metadata, deletes and a snapshot: something of everything that small files speak of.
fn fill(store: &Store) {
    send(store);
    store.delete_series(TENANT, &[vec![sent("2")]], ALWAYS).expect("the disk works");
    store.delete_tenant(TenantId(2)).expect("the disk works");
    let name = SnapshotName::parse("s").expect("it is one");
    store.snapshot(&name, &|_| Ok(())).expect("the disk works");
}

/// What small files are called, how they begin, and the newest version that is known.
const SMALL_FILES: [(&str, &[u8; 8], u16); 5] = [
    ("FORMAT", open::MAGIC, open::VERSION),
    ("manifest-0", manifest::MAGIC, manifest::VERSION),
    ("manifest-1", manifest::MAGIC, manifest::VERSION),
    ("metadata", metadata::MAGIC, metadata::VERSION),
    ("snapshots/s/SNAPSHOT", snapshot::MAGIC, snapshot::VERSION),
];
