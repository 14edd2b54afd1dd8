//! A series is its tenant and its canonical labels, whatever way the sender writes them.
//!
//! Label lists are permuted, encoded in several ways, repeat names, carry empty names and values, side by side and
//! apart; two tenants send the same ones; series leave the head, the store is started anew, limits change. The store
//! must make the same series and the same refusals as nested maps do, with the alias table in front or not.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use env::{Clock, Env, Files};
use model::{Budget, Hints, LabelLimits, TenantId, TenantLimits, TimeRange};
use proptest::prelude::*;
use sim::clock::SimClock;
use sim::files::SimFiles;
use sim::naive::{Answer, NaiveStore, Point, Value};
use sim::random::SimRandom;
use sim::request::{Encoding, Request, Row};
use tsdb::{Options, Progress, Store, WriteContext};

const NAMES: [&str; 7] = ["__name__", "a", "b", "job", "ünï", "", "__name"];
const VALUES: [&str; 6] = ["", "x", "y", "xx", "ünï", "a long one that does not fit into the tight limit"];
const TENANTS: [TenantId; 2] = [TenantId(1), TenantId(2)];
const NOW_MS: i64 = 1_800_000_000_000;

/// A label list as indices, and how it comes.
type List = (Vec<(usize, usize)>, Encoding);

#[derive(Clone, Debug)]
enum Step {
    /// A request of one tenant.
    Append(usize, Vec<List>),
    /// All series leave the head.
    Evict,
    /// The process is killed and starts again.
    Restart,
    /// The first tenant's label limits become tight or wide.
    Limit(bool),
}

fn list() -> impl Strategy<Value = List> {
    // Mostly a name first, so that many lists are good and many are the same series.
    let pair = (0..NAMES.len(), 0..VALUES.len());
    let pairs = prop::collection::vec(pair, 0..5);
    let name = prop::option::weighted(0.9, 1..3usize);
    let encoding = prop::sample::select(Encoding::ALL.to_vec());
    (pairs, name, encoding).prop_flat_map(|(mut pairs, name, encoding)| {
        pairs.extend(name.map(|value| (0, value)));
        (Just(pairs).prop_shuffle(), Just(encoding))
    })
}

/// Steps over a few lists that come again and again, as a sender's do: only those are found by their bytes.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(list(), 1..20).prop_flat_map(|pool| prop::collection::vec(step(pool), 1..25))
}

fn step(pool: Vec<List>) -> impl Strategy<Value = Step> {
    let lists = prop::collection::vec(prop::sample::select(pool), 1..12);
    prop_oneof![
        10 => (0..2usize, lists).prop_map(|(tenant, lists)| Step::Append(tenant, lists)),
        1 => Just(Step::Evict),
        1 => Just(Step::Restart),
        1 => any::<bool>().prop_map(Step::Limit),
    ]
}

/// The store and the maps, side by side.
struct Pair {
    disk: SimFiles,
    clock: SimClock,
    env: Env,
    store: Store,
    naive: NaiveStore,
    limits: [TenantLimits; 2],
    epoch: u32,
    sent: u32,
}

fn options() -> Options {
    Options { idle: Duration::ZERO, disk_reserve_bytes: 0, ..Options::default() }
}

fn open(env: &Env) -> Store {
    Store::open(env.clone(), Path::new("/data"), options(), &Progress::default()).unwrap()
}

impl Pair {
    fn new() -> Self {
        let (disk, clock) = (SimFiles::new(1), SimClock::new(NOW_MS));
        disk.create_dir(Path::new("/data")).unwrap();
        let env = Env {
            clock: Arc::new(clock.clone()),
            files: Arc::new(disk.clone()),
            random: Arc::new(SimRandom::new(1)),
        };
        let store = open(&env);
        let (naive, limits) = (NaiveStore::default(), [TenantLimits::default(); 2]);
        Self { disk, clock, env, store, naive, limits, epoch: 1, sent: 0 }
    }

    fn run(&mut self, step: &Step) {
        match step {
            Step::Append(tenant, lists) => self.append(*tenant, lists),
            Step::Evict => {
                self.clock.advance(Duration::from_secs(10));
                self.store.flush().unwrap();
                self.store.commit(Duration::ZERO);
                assert_eq!(self.store.status().head_series, 0);
                self.naive.evict_all();
            }
            Step::Restart => {
                // The old store is still there, but its files are dead.
                self.disk.kill();
                self.store = open(&self.env);
            }
            Step::Limit(tight) => {
                let tight_labels = LabelLimits { labels: 3, value_bytes: 10, ..LabelLimits::default() };
                self.limits[0].labels = if *tight { tight_labels } else { LabelLimits::default() };
                self.epoch += 1;
            }
        }
    }

    fn append(&mut self, index: usize, lists: &[List]) {
        let mut request = Request::default();
        for (pairs, encoding) in lists {
            self.sent += 1;
            let labels = pairs.iter().map(|(name, value)| (NAMES[*name], VALUES[*value]));
            let at_ms = NOW_MS - i64::from(self.sent % 7) * 1000;
            request.rows.push(Row::new(labels, *encoding).sample(at_ms, f64::from(self.sent)));
        }
        let encoded = request.encode();
        let batch = encoded.batch(self.store.seed());
        let (tenant, limits, now_ms) = (TENANTS[index], &self.limits[index], self.clock.now_ms());
        let judgement = self.naive.append(tenant, limits, now_ms, &batch);
        let context = WriteContext { tenant, limits, epoch: self.epoch, now_ms, digest: None };
        let (ticket, appended) = self.store.append(&context, &batch).unwrap();
        self.store.commit(Duration::ZERO);
        ticket.wait().unwrap();
        assert_eq!(appended.accepted.samples, judgement.samples.len() as u64);
        let mut refused: Vec<_> = appended.rejected.by_reason().collect();
        refused.sort_unstable();
        let wanted: Vec<_> =
            judgement.refused.into_iter().map(|((signal, reason), n)| (signal, reason, n)).collect();
        assert_eq!(refused, wanted);
        assert_eq!(self.store.tenant_status(tenant).head_series, self.naive.active_series(tenant));
    }

    fn compare(&self) {
        let range = TimeRange { start_ms: i64::MIN, end_ms: i64::MAX };
        for tenant in TENANTS {
            let budget = Budget::new(1 << 30);
            let mut found = Answer::new();
            let mut selection = self.store.select(tenant, &[], range, &Hints::default(), &budget).unwrap();
            let mut block = model::SeriesBlock::default();
            while selection.next_block(&mut block).unwrap() {
                for (index, series) in block.series.iter().enumerate() {
                    let rows = block.offsets[index] as usize..block.offsets[index + 1] as usize;
                    let point = |row: usize| Point {
                        value: Value::Float(block.columns.values[row].to_bits()),
                        start_ms: 0,
                    };
                    let points = rows.map(|row| (block.columns.timestamps[row], point(row))).collect();
                    let labels = selection.labels(*series).unwrap().unwrap();
                    assert_eq!(found.insert(labels, points), None, "a series comes twice");
                }
            }
            assert_eq!(found, self.naive.select(tenant, &[], range), "tenant {}", tenant.0);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_way_to_write_labels_gives_the_same_series_or_refusal(steps in steps()) {
        let mut pair = Pair::new();
        for step in &steps {
            pair.run(step);
        }
        pair.compare();
        // Everything once more from blocks, without the head.
        pair.run(&Step::Evict);
        pair.compare();
        pair.run(&Step::Restart);
        pair.compare();
    }
}
