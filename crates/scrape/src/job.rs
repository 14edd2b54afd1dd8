//! A job: its targets, each scraped at its times, and what becomes of those that go.
//!
//! One task holds the timetable of all targets of a job, and begins each scrape as a task of its own. A target that is not
//! found any more keeps what it remembers for a little over two intervals; then its series are marked as ended, unless it
//! came back.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use model::Labels;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::error::ScrapeError;
use crate::labelling::{LabelTerms, Labelling};
use crate::life::{Common, Life, Moment};
use crate::schedule::Place;
use crate::store::Told;
use crate::target::{Found, Target};
use crate::timetable::{Entry, Timetable, What};

/// What a job is now.
#[derive(Debug)]
pub struct Order {
    /// What its targets have in common.
    pub common: Arc<Common>,
    /// How their labels are made.
    pub labels: LabelTerms,
    /// `target_limit`; 0 = any number.
    pub target_limit: usize,
}

/// What is told to a job.
#[derive(Debug)]
pub enum Command {
    /// Its configuration is this now.
    Change(Order),
    /// Its targets are these now.
    Targets(Found),
    /// It is gone.
    End,
}

/// What of a job is shown.
#[derive(Debug, Default)]
pub struct Shown(RwLock<Listing>);

/// A job's targets.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// That are scraped, by URL.
    pub active: Vec<Arc<Life>>,
    /// That were dropped.
    pub dropped: Vec<Labels>,
    /// How many were dropped.
    pub dropped_count: usize,
}

impl Shown {
    /// The targets as they are now.
    pub fn list(&self) -> Listing {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn show(&self, listing: Listing) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = listing;
    }
}

/// A job that runs.
#[derive(Debug)]
pub struct Job {
    order: Order,
    /// Tells instances of Weir apart that scrape the same targets.
    seed: u64,
    crowd: Arc<Semaphore>,
    shown: Arc<Shown>,
    timetable: Timetable,
    lives: HashMap<u64, Arc<Life>>,
    leaving: HashMap<u64, Arc<Life>>,
    tasks: JoinSet<()>,
    ends: bool,
}

impl Job {
    /// A job without targets. Scrapes of all jobs share the places of `crowd`.
    pub fn new(order: Order, seed: u64, crowd: Arc<Semaphore>, shown: Arc<Shown>) -> Self {
        let timetable = Timetable::new(&*order.common.env.clock);
        Self {
            order,
            seed,
            crowd,
            shown,
            timetable,
            lives: HashMap::new(),
            leaving: HashMap::new(),
            tasks: JoinSet::new(),
            ends: false,
        }
    }

    /// Runs until it was told to end and all its targets have left, or nobody commands it any more. Dropping it ends it
    /// at once, and then nothing is marked as ended.
    pub async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        while !(self.ends && self.leaving.is_empty()) {
            let next = self.timetable.next();
            tokio::select! {
                biased;
                // Whoever told it to end is gone by then.
                command = commands.recv(), if !self.ends => match command {
                    Some(command) => self.obey(command),
                    None => return,
                },
                Some(_) = self.tasks.join_next() => {}
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => self.do_what_is_due(),
            }
        }
        while self.tasks.join_next().await.is_some() {}
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Change(order) => self.change(order),
            Command::Targets(found) => self.sync(found),
            Command::End => {
                self.sync(Found::default());
                self.ends = true;
            }
        }
    }

    fn change(&mut self, order: Order) {
        self.order = order;
        for life in std::mem::take(&mut self.lives).into_values() {
            let next = self.renewed(&life, Arc::clone(&life.target));
            self.add(next);
        }
        let listing = self.shown.list();
        self.shown.show(Listing { active: self.active(), ..listing });
    }

    fn renewed(&self, before: &Life, target: Arc<Target>) -> Life {
        let labelling = self.labelling(&target);
        Life::after(before, target, labelling)
    }

    fn labelling(&self, target: &Target) -> Arc<Labelling> {
        Arc::new(Labelling::new(target.public(), self.order.labels.clone()))
    }

    fn add(&mut self, life: Life) {
        let hash = life.target.hash();
        let place = Place::new(life.target.interval, hash ^ self.seed);
        let life = Arc::new(life);
        self.lives.insert(hash, Arc::clone(&life));
        self.timetable.begin(life, place, &*self.order.common.env.clock);
    }

    fn sync(&mut self, found: Found) {
        let common = Arc::clone(&self.order.common);
        let mut gone = std::mem::take(&mut self.lives);
        let mut new = Vec::new();
        for target in found.targets {
            let hash = target.hash();
            if self.lives.contains_key(&hash) {
                continue;
            }
            if let Some(life) = gone.remove(&hash) {
                // What it was found as may have changed, and what it is has not.
                if life.target.discovered == target.discovered {
                    self.lives.insert(hash, life);
                } else {
                    let next = self.renewed(&life, Arc::new(target));
                    self.add(next);
                }
                continue;
            }
            match self.leaving.remove(&hash) {
                Some(life) => {
                    let next = self.renewed(&life, Arc::new(target));
                    self.add(next);
                }
                None => new.push(Arc::new(target)),
            }
        }
        // One that is scraped at other times now is another target and has the same series.
        let page = |target: &Target| (target.url.to_string(), target.public());
        let mut by_page: HashMap<_, _> = match new.is_empty() {
            true => HashMap::new(),
            false => gone.iter().map(|(hash, life)| (page(&life.target), *hash)).collect(),
        };
        for target in new {
            let before = by_page.remove(&page(&target)).and_then(|hash| gone.remove(&hash));
            let life = match before {
                Some(life) => self.renewed(&life, target),
                None => Life::new(Arc::clone(&target), self.labelling(&target)),
            };
            self.add(life);
        }
        for (hash, life) in gone {
            self.leave(hash, life);
        }
        let Found { dropped, dropped_count, invalid, .. } = found;
        let active = self.active();
        let job = &common.job;
        common.store.tell(Told::Targets {
            job,
            active: active.len(),
            dropped: dropped_count,
            invalid: invalid.len(),
        });
        self.shown.show(Listing { active, dropped, dropped_count });
    }

    fn active(&self) -> Vec<Arc<Life>> {
        let mut active: Vec<_> = self.lives.values().cloned().collect();
        active.sort_by_cached_key(|life| life.target.url.to_string());
        active
    }

    /// The series of a target that is gone end at the time of its next scrape. It is not told before it could have come back.
    fn leave(&mut self, hash: u64, life: Arc<Life>) {
        let clock = &*self.order.common.env.clock;
        let interval = life.target.interval;
        let now = clock.monotonic();
        let since_epoch = Duration::from_millis(u64::try_from(self.timetable.at_ms(now)).unwrap_or(0));
        let next = now + Place::new(interval, hash ^ self.seed).wait(since_epoch);
        let end = What::End(self.timetable.at_ms(next));
        self.timetable.put(next + interval + interval / 10, end, Arc::clone(&life));
        self.leaving.insert(hash, life);
    }

    fn do_what_is_due(&mut self) {
        let now = self.order.common.env.clock.monotonic();
        let mut ends = Vec::new();
        while let Some(Entry { due, what, life, .. }) = self.timetable.take(now) {
            let hash = life.target.hash();
            let is =
                |lives: &HashMap<u64, Arc<Life>>| lives.get(&hash).is_some_and(|l| Arc::ptr_eq(l, &life));
            match what {
                What::Scrape if is(&self.lives) => self.scrape(due, now, &life),
                What::End(at_ms) if is(&self.leaving) => {
                    self.leaving.remove(&hash);
                    ends.push((life, at_ms));
                }
                _ => {}
            }
        }
        self.end(ends);
    }

    fn end(&mut self, ends: Vec<(Arc<Life>, i64)>) {
        if ends.is_empty() {
            return;
        }
        let names: HashSet<Labels> = self.lives.values().map(|life| life.target.public()).collect();
        // Another target may have its name now, and its series go on.
        for (life, at_ms) in ends.into_iter().filter(|(life, _)| !names.contains(&life.target.public())) {
            self.tasks.spawn(life.end(Arc::clone(&self.order.common), at_ms));
        }
    }

    fn scrape(&mut self, due: Duration, now: Duration, life: &Arc<Life>) {
        let common = Arc::clone(&self.order.common);
        let interval = life.target.interval;
        // Times that passed while nothing could begin are passed over.
        let missed = now.saturating_sub(due).as_nanos() / interval.as_nanos();
        let missed = u32::try_from(missed).unwrap_or(u32::MAX);
        (0..missed.min(1)).for_each(|_| common.store.tell(Told::Skipped { job: &common.job }));
        let due = due + interval * missed;
        self.timetable.put(due + interval, What::Scrape, Arc::clone(life));
        if common.store.seed().is_none() {
            return;
        }
        let at_ms = self.timetable.wall_ms(due, interval, &*common.env.clock);
        let Some(running) = life.begin() else {
            common.store.tell(Told::Skipped { job: &common.job });
            return;
        };
        let moment = Moment { at_ms, began: Instant::now() };
        let (limit, targets) = (self.order.target_limit, self.lives.len());
        let forced = (limit > 0 && targets > limit).then_some(ScrapeError::TargetLimit { targets, limit });
        let crowd = Arc::clone(&self.crowd);
        let deadline = moment.began + life.target.timeout;
        self.tasks.spawn(async move {
            let place = timeout_at(deadline, crowd.acquire_owned()).await;
            let forced = forced.or_else(|| place.is_err().then_some(ScrapeError::Crowded));
            running.scrape(common, moment, forced).await;
            drop(place);
        });
    }
}
