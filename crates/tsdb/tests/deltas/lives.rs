//! Lives of a store with senders of deltas, against their own adding up.

use super::*;

/// Bits of a total below those of requests that their sender gives up when they fail, so that nobody knows whether they
/// count: each of these adds a power of two of its own.
const LOW: u64 = (1 << 20) - 1;

/// So many of them are there at most.
const GIVEN_UP: u32 = 30;

/// One sender: it sends a request until it is acknowledged, or gives it up, and then sends the next one.
struct Sender {
    series: Vec<u32>,
    now_ms: i64,
    pending: Option<Vec<Delta>>,
    last: Option<Vec<Delta>>,
    /// Whether the pending one is given up when it fails.
    gives_up: bool,
    /// When each request ended that may have been given up.
    marks: Vec<i64>,
    /// What was acknowledged of all its series: end and value; values are one more in each series.
    acknowledged: Vec<(i64, u64)>,
    waiting: Vec<(Ticket, Appended)>,
}

impl Sender {
    /// The next request, unless one is pending. Every series gets the same.
    fn next(&mut self, rng: &mut Rng) -> Vec<Delta> {
        if self.pending.is_none() {
            let start_ms = self.now_ms;
            self.now_ms += rng.range(1..20_000);
            self.gives_up = self.marks.len() < GIVEN_UP as usize && rng.chance(1, 4);
            let value = if self.gives_up { 1u64 << (20 + self.marks.len()) } else { rng.below(1000) };
            self.marks.extend(self.gives_up.then_some(self.now_ms));
            let deltas = self.series.iter().map(|i| (*i, start_ms, self.now_ms, value as f64)).collect();
            self.pending = Some(deltas);
        }
        self.pending.clone().expect("just made")
    }

    /// Takes the answers; what is said to be taken, if anything.
    fn hear(&mut self) -> Option<Vec<Delta>> {
        let waiting = std::mem::take(&mut self.waiting);
        let mut heard = waiting.iter().map(|(ticket, _)| ticket.outcome().expect("it was committed"));
        if heard.any(|outcome| outcome.is_ok()) {
            return self.pending.take();
        }
        if self.gives_up && !waiting.is_empty() {
            self.pending = None;
        }
        None
    }

    fn check(&self, found: &BTreeMap<u32, Vec<Point>>) {
        for series in self.series.iter().filter(|_| !self.acknowledged.is_empty()) {
            let points = &found[series];
            let mut total = 0;
            for (end_ms, value) in &self.acknowledged {
                total += value;
                let at = points.binary_search_by_key(end_ms, |(ms, ..)| *ms);
                let at = at.unwrap_or_else(|_| panic!("series {series} has nothing at {end_ms}: {points:?}"));
                let there = points[at].1 as u64;
                let marks = self.marks.iter().take_while(|ms| *ms <= end_ms).count();
                let right =
                    there & LOW == total & LOW && there & total == total && there >> (20 + marks) == 0;
                let sent = &self.acknowledged;
                assert!(
                    right,
                    "series {series} at {end_ms}: {there:#x} for {total:#x} in {points:?}, sent {sent:?}"
                );
            }
            assert!(
                points.is_sorted_by_key(|(_, value, _)| *value),
                "series {series} starts anew: {points:?}"
            );
            assert!(points.iter().all(|(.., start_ms)| *start_ms == points[0].2), "{points:?}");
        }
    }
}

struct Life {
    rng: Rng,
    world: World,
    store: Option<Store>,
    senders: Vec<Sender>,
    padding: String,
    acknowledged: u64,
    restarts: u64,
}

impl Life {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let mut world = World::new(seed);
        world.options.segment_bytes = 1 << rng.range(10..16);
        world.options.idle = Duration::from_secs(1_000_000);
        // Definitions that take more than a frame, so that groups have several.
        let padding = if rng.chance(1, 4) { "ab:".repeat(2700) } else { String::new() };
        let series = if padding.is_empty() { 4 } else { 60 };
        let sender = |n: u32| Sender {
            // Of every request some are native histograms.
            series: (n * series..(n + 1) * series)
                .map(|i| if i % 2 == 0 { i } else { HISTOGRAMS + i })
                .collect(),
            now_ms: 0,
            pending: None,
            last: None,
            gives_up: false,
            marks: Vec::new(),
            acknowledged: Vec::new(),
            waiting: Vec::new(),
        };
        let senders = (0..3).map(sender).collect();
        let store = Some(world.open());
        Self { rng, world, store, senders, padding, acknowledged: 0, restarts: 0 }
    }

    fn run(&mut self) {
        for step in 0..60 {
            match self.rng.below(14) {
                0..6 => self.send(),
                6..9 => self.commit(),
                9 => drop(self.store().flush()),
                10 => self.world.clock.advance(Duration::from_secs(self.rng.below(400))),
                11 => self.world.disk.crash_after(self.rng.below(30)),
                12 => {
                    let failure = *self.rng.pick(&[Failure::Io, Failure::NoSpace, Failure::LostPages]);
                    let op = *self.rng.pick(&[Op::Sync, Op::Sync, Op::Write, Op::Create, Op::SyncDir]);
                    let fault = Fault::new(op, failure).after(self.rng.below(4));
                    self.world.disk.plan(if self.rng.chance(1, 2) { fault.forever() } else { fault });
                }
                _ => self.restart(),
            }
            if self.world.disk.is_down() {
                self.restart();
            }
            if step % 7 == 0 {
                self.world.disk.heal();
                self.world.clock.advance(Duration::from_secs(1));
                self.commit();
            }
        }
        self.restart();
        for _ in 0..6 {
            self.world.clock.advance(Duration::from_secs(1));
            self.send();
            self.commit();
        }
        self.check();
    }

    fn store(&self) -> Store {
        self.store.clone().expect("open except during a restart")
    }

    fn send(&mut self) {
        let (store, now_ms) = (self.store(), self.world.clock.now_ms());
        let at = self.rng.index(self.senders.len());
        let (rng, sender) = (&mut self.rng, &mut self.senders[at]);
        // What was acknowledged once is acknowledged again, and changes nothing.
        if let Some(last) = sender.last.clone().filter(|_| rng.chance(1, 3)) {
            drop(queue_padded(&store, now_ms, &last, &self.padding));
        }
        if !sender.waiting.is_empty() {
            return;
        }
        let deltas = sender.next(rng);
        for _ in 0..1 + rng.below(2) {
            match queue_padded(&store, now_ms, &deltas, &self.padding) {
                Ok(queued) => sender.waiting.push(queued),
                // It is sent later.
                Err(AppendError::Disk(_) | AppendError::QueueFull) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn commit(&mut self) {
        let store = self.store();
        while store.commit(Duration::ZERO) > 0 {}
        for sender in &mut self.senders {
            if let Some(deltas) = sender.hear() {
                let (_, _, end_ms, value) = deltas[0];
                sender.acknowledged.push((end_ms, value as u64));
                sender.last = Some(deltas);
                self.acknowledged += 1;
            }
        }
    }

    fn restart(&mut self) {
        self.restarts += 1;
        for sender in &mut self.senders {
            // Nobody hears of what was under way.
            if !sender.waiting.is_empty() && sender.gives_up {
                sender.pending = None;
            }
            sender.waiting.clear();
        }
        if self.rng.chance(1, 4) && !self.world.disk.is_down() {
            drop(self.store().close());
        }
        self.world.disk.power_off();
        self.store = None;
        if self.rng.chance(1, 2) {
            self.world.disk.kill()
        } else {
            self.world.disk.crash()
        }
        self.world.disk.heal();
        self.store = Some(self.world.open());
        self.check();
    }

    fn check(&self) {
        let found = points(&self.store());
        self.senders.iter().for_each(|sender| sender.check(&found));
    }
}

/// Against senders that only add up: on a disk that fails, tears and loses power, with flushes, restarts, requests that come
/// twice and requests that are given up, every acknowledged delta counts once, and none that was given up counts twice.
#[test]
fn every_delta_counts_once_in_300_lives() {
    let (mut acknowledged, mut restarts) = (0, 0);
    let seeds = std::env::var("WEIR_DELTA_SEEDS").map_or(0..300, |seeds| {
        let (from, to) = seeds.split_once("..").unwrap();
        from.parse().unwrap()..to.parse().unwrap()
    });
    for seed in seeds {
        let life = std::panic::catch_unwind(|| {
            let mut life = Life::new(seed);
            life.run();
            life
        });
        let life = life.unwrap_or_else(|_| panic!("seed {seed}"));
        acknowledged += life.acknowledged;
        restarts += life.restarts;
    }
    assert!(acknowledged > 1000 && restarts > 500, "{acknowledged} acknowledged, {restarts} restarts");
}
