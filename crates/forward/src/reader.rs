//! From the log to loads: reads frames, chooses rows, and deals them out to shards.
//!
//! It runs in a thread of its own, since the log is read without async. When shards are full it waits, and reads no
//! further; the log has what it did not read. Rows that came by different ways go into different loads, and are told apart
//! in the choice of a shard, so that a way's rows of a series keep their order.
//!
//! Where a receiver gets histograms in one piece, all series of one go to one shard, and a load ends between two of them as far
//! as it can be told: parts that came in different requests, or of which one has more rows in the load than are spared for
//! that, may still be apart.

use std::hash::BuildHasher;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hashbrown::HashMap;
use model::labels::METRIC_NAME;
use model::{LabelsRef, Origin, TenantId};
use tsdb::{Entry, Follower, Pairs, Step, Store};
use wal::Position;

use crate::choose::{Chooser, Decision};
use crate::counts::{Counts, Dropped};
use crate::family::Families;
use crate::load::Load;
use crate::output::Context;
use crate::settings::{Describes, Settings};
use crate::shards::{Closed, Shards};
use crate::shared::Shared;
use crate::whole::{Whole, Wholes};

/// How long is waited for the log at once; a stop is noticed so late at most.
pub(crate) const LOOK: Duration = Duration::from_millis(200);
/// Bytes of labels and lines in a load.
const TEXT_BYTES_MAX: usize = 4 << 20;

pub(crate) struct Reader<'o> {
    shared: &'o Shared,
    store: Store,
    follower: Follower,
    dealer: Dealer<'o>,
}

/// Puts rows into loads.
struct Dealer<'o> {
    shared: &'o Shared,
    settings: Arc<Settings>,
    chooser: Chooser,
    families: Families,
    /// Of receivers that get histograms in one piece.
    wholes: Option<Wholes>,
    shards: Shards,
    open: HashMap<Place, Load, foldhash::fast::RandomState>,
    /// Position of the frame that is being read.
    at: Position,
    now: Duration,
    /// Rows put into loads since the last frame.
    rows: u64,
    /// A shard is gone.
    closed: bool,
}

/// A stream of log lines.
#[derive(Clone, Copy)]
struct Stream<'f> {
    tenant: TenantId,
    labels: LabelsRef<'f>,
}

/// Which load a row belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Place {
    shard: usize,
    tenant: TenantId,
    origin: Origin,
}

impl<'o> Reader<'o> {
    /// Reads from `from` on.
    pub(crate) fn new(shared: &'o Shared, context: &Context, shards: Shards, from: Position) -> Self {
        let (store, settings) = (context.store.clone(), Arc::clone(&shared.settings));
        let dealer = Dealer {
            shared,
            chooser: Chooser::new(Arc::clone(&settings), Arc::clone(&context.name_of)),
            families: Families::new(store.clone()),
            wholes: settings.keeps_parts_together().then(Wholes::default),
            settings,
            shards,
            open: HashMap::default(),
            at: from,
            now: shared.now(),
            rows: 0,
            closed: false,
        };
        let follower = store.follow(shared.settings.stream(), from);
        shared.progress.reset(follower.position());
        Self { shared, store, follower, dealer }
    }

    /// Reads until the output stops.
    pub(crate) fn run(&mut self) -> Result<(), Closed> {
        while !self.shared.is_stopping() {
            self.dealer.now = self.shared.now();
            self.dealer.at = self.follower.position();
            let dealer = &mut self.dealer;
            match self.follower.read(&mut |entry, pairs| dealer.take(&entry, pairs)) {
                Ok(Step::Frame { next }) => self.dealer.reach(next),
                Ok(Step::Lost { frames, next }) => {
                    Counts::add(&self.shared.counts.lost_frames, frames);
                    let output = &self.shared.settings.name;
                    tracing::warn!(
                        output,
                        frames,
                        "frames of the log are damaged or gone: the output goes on behind them"
                    );
                    self.dealer.reach(next);
                }
                Ok(Step::End) => {
                    self.wait();
                    if self.dealer.shards.is_any_gone() {
                        return Err(Closed);
                    }
                }
                Err(error) => {
                    self.shared.failed(&format!("the log cannot be read: {error}"));
                    std::thread::sleep(LOOK);
                }
            }
            self.dealer.give_due()?;
            self.dealer.adapt()?;
        }
        Ok(())
    }

    /// Gives what is in open loads to the shards, as far as they have room.
    pub(crate) fn finish(mut self) -> Shards {
        for (place, load) in mem::take(&mut self.dealer.open) {
            // What finds no room is read again after the next start.
            let _ = self.dealer.shards.try_give(place.shard, load);
        }
        self.dealer.shards
    }

    /// Waits for something in the log, or for a load to become due.
    fn wait(&self) {
        let began = self.dealer.open.values().map(|load| load.began).min();
        let due = began.map(|began| began + self.shared.settings.queues.deadline);
        let wait =
            due.map_or(LOOK, |due| due.saturating_sub(self.dealer.now).clamp(Duration::from_millis(1), LOOK));
        self.store.wait_log(self.shared.settings.stream(), self.follower.position(), wait);
    }
}

impl Dealer<'_> {
    fn take(&mut self, entry: &Entry<'_>, pairs: &Pairs) {
        if self.closed {
            return;
        }
        match entry {
            Entry::Sample { series, sample, origin } => {
                self.row(series, origin, pairs, |load, number| load.push_sample(number, *sample));
            }
            Entry::Histogram { series, sample, origin } => {
                self.row(series, origin, pairs, |load, number| {
                    load.push_histogram(number, (*sample).clone())
                });
            }
            Entry::Exemplar { series, exemplar, origin } => {
                self.row(series, origin, pairs, |load, number| {
                    load.push_exemplar(number, (*exemplar).clone())
                });
            }
            Entry::Metadata { tenant, .. } => self.families.changed(*tenant),
            Entry::Line { record, origin } => {
                let stream = Stream { tenant: record.tenant, labels: record.stream };
                self.line(stream, origin, |load, number| {
                    let fields = record.fields.iter().copied();
                    load.push_line(number, fields, record.timestamp_ns, record.line);
                });
            }
        }
    }

    fn row(
        &mut self,
        series: &tsdb::Series,
        origin: &Origin,
        pairs: &Pairs,
        push: impl FnOnce(&mut Load, u32),
    ) {
        let (tenant, id) = (series.tenant, series.id);
        if !self.chooser.has_tenant(tenant, &self.shared.counts) || self.is_unwanted(origin) {
            return;
        }
        let decision = self.chooser.decide(tenant, id, self.now, || pairs.of(series));
        if *decision == Decision::Dropped {
            return;
        }
        let whole = self.wholes.as_mut().map(|wholes| {
            wholes.of(tenant, id, || match decision {
                Decision::Under(labels) => Whole::of(labels.iter()),
                _ => Whole::of(pairs.of(series)),
            })
        });
        let hash = whole.map_or(id.0, |whole| u128::from(whole.0));
        let place = place(self.shards.active(), tenant, hash, origin);
        let (shared, at, now) = (self.shared, self.at, self.now);
        let is_full = |load: &Load| load.ends_before(whole, self.settings.queues.rows_max);
        if whole.is_some() && self.open.get(&place).is_some_and(is_full) {
            let load = self.open.remove(&place).expect("it is there");
            shared.progress.add(mem::take(&mut self.rows));
            self.closed |= self.shards.give(place.shard, load, shared).is_err();
        }
        let load = self.open.entry(place).or_insert_with_key(|place| begin(shared, place, at, now));
        let number = load.number(id).unwrap_or_else(|| {
            let name = match decision {
                Decision::Under(labels) => labels.metric_name(),
                _ => pairs.of(series).find(|(name, _)| *name == METRIC_NAME).map(|(_, name)| name),
            };
            let name = name.unwrap_or("");
            let family = match self.settings.describes {
                Describes::Never => None,
                Describes::EachSeries => self.families.of(tenant, name, now),
                Describes::AtTimes(interval) => self.families.of_at_times(tenant, name, now, interval),
            };
            let number = match decision {
                Decision::Under(labels) => load.add_series(id, labels.iter(), family),
                _ => load.add_series(id, pairs.of(series), family),
            };
            whole.into_iter().for_each(|whole| load.belongs(whole));
            number
        });
        push(load, number);
        self.pushed(tenant, hash, origin);
    }

    fn line(&mut self, stream: Stream<'_>, origin: &Origin, push: impl FnOnce(&mut Load, u32)) {
        let Stream { tenant, labels: stream } = stream;
        if !self.chooser.has_tenant(tenant, &self.shared.counts) || self.is_unwanted(origin) {
            return;
        }
        let id = model::SeriesId(u128::from(foldhash::fast::FixedState::default().hash_one(stream)));
        let decision = self.chooser.decide(tenant, id, self.now, || stream.iter());
        if *decision == Decision::Dropped {
            return;
        }
        let place = place(self.shards.active(), tenant, id.0, origin);
        let (shared, at, now) = (self.shared, self.at, self.now);
        let load = self.open.entry(place).or_insert_with_key(|place| begin(shared, place, at, now));
        let number = load.number(id).unwrap_or_else(|| match decision {
            Decision::Under(labels) => load.add_series(id, labels.iter(), None),
            _ => load.add_series(id, stream.iter(), None),
        });
        push(load, number);
        self.pushed(tenant, id.0, origin);
    }

    /// Whether rows are dropped where they are read: they came through the receiver, or waited too long already.
    fn is_unwanted(&self, origin: &Origin) -> bool {
        let reason = match self.shared.is_loop(origin) {
            true => Some(Dropped::Loop),
            false => self.shared.below_floor(self.at),
        };
        reason.inspect(|reason| self.shared.counts.drop(*reason, 1)).is_some()
    }

    /// A row was put into a load, which may be full now.
    fn pushed(&mut self, tenant: TenantId, hash: u128, origin: &Origin) {
        self.rows += 1;
        let place = place(self.shards.active(), tenant, hash, origin);
        let Some(load) = self.open.get_mut(&place) else { return };
        load.last = self.at;
        // What more is read of a histogram goes with it.
        let is_full = self.wholes.is_none() && load.rows() >= self.settings.queues.rows_max;
        if is_full || load.text_bytes() >= TEXT_BYTES_MAX {
            let load = self.open.remove(&place).expect("it is there");
            self.closed |= self.give(place.shard, load).is_err();
        }
    }

    /// Everything before `next` is in loads.
    fn reach(&mut self, next: Position) {
        self.shared.progress.add(mem::take(&mut self.rows));
        self.shared.progress.reach(next);
    }

    fn give(&mut self, shard: usize, load: Load) -> Result<(), Closed> {
        // Counted before a shard can be done with it.
        self.shared.progress.add(mem::take(&mut self.rows));
        self.shards.give(shard, load, self.shared)
    }

    /// Gives loads away that are full, or whose deadline is over.
    fn give_due(&mut self) -> Result<(), Closed> {
        let (now, deadline) = (self.shared.now(), self.settings.queues.deadline);
        let rows_max = self.settings.queues.rows_max;
        let is_due = |_: &Place, load: &mut Load| {
            now.saturating_sub(load.began) >= deadline || load.rows() >= rows_max
        };
        let due: Vec<(Place, Load)> = self.open.extract_if(is_due).collect();
        for (place, load) in due {
            self.give(place.shard, load)?;
        }
        if self.closed { Err(Closed) } else { Ok(()) }
    }

    /// Changes the number of shards when that is due, between two loads of any series.
    fn adapt(&mut self) -> Result<(), Closed> {
        let Some(wanted) = self.shards.wanted(self.now, &self.settings.queues) else { return Ok(()) };
        for (place, load) in mem::take(&mut self.open) {
            self.give(place.shard, load)?;
        }
        while !self.shared.progress.wait_idle(LOOK) {
            if self.shared.is_stopping() || self.shards.is_any_gone() {
                return Ok(());
            }
        }
        self.shards.set_active(wanted);
        self.shared.shards.store(wanted, Ordering::Relaxed);
        Ok(())
    }
}

fn begin(shared: &Shared, place: &Place, at: Position, now: Duration) -> Load {
    shared.progress.begin(at);
    Load::new(place.origin.clone(), at, now)
}

fn place(shards: usize, tenant: TenantId, hash: u128, origin: &Origin) -> Place {
    let mut mixed = hash as u64 ^ u64::from(tenant.0).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    if !origin.is_sender() {
        mixed ^= foldhash::fast::FixedState::default().hash_one(origin);
    }
    // The high half of a product: any number of shards, evenly.
    let shard = ((u128::from(mixed) * shards as u128) >> 64) as usize;
    Place { shard, tenant, origin: origin.clone() }
}
