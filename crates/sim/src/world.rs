//! Seeded lives of the whole store: two tenants, senders good and bad, restarts of every kind, and after each of them
//! the question whether everything that was acknowledged is there, exactly, and nothing else.
//!
//! A life is one thread and one random sequence, so a seed that fails fails again. It drives the store as the server
//! does (append, commit, next job, run, select) and the disk as bad luck does. The oracle is the ledger; in lives
//! without trouble the naive store must agree too. What may be missing is only what was never acknowledged, what
//! retention may take, and, on a disk that was damaged, what the store says is damaged.

mod answer;
mod damage;
mod drive;
mod restart;
mod scenario;
mod senders;
mod snapshots;
mod tally;
mod told;
mod verify;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use env::{Env, Files};
use model::{LabelLimits, Labels, TenantId, TenantLimits};
use tsdb::{Progress, Store, Ticket};

use crate::clock::SimClock;
use crate::files::{Fault, SimFiles};
use crate::ledger::{Ledger, RequestId};
use crate::lines::Lines;
use crate::naive::NaiveStore;
use crate::random::{Rng, SimRandom};

pub use answer::{ALWAYS, narrow, select};
pub use scenario::{Scenario, Trouble};
pub use senders::Senders;
pub use tally::Tally;

/// Where the store lives on the simulated disk.
const DIRECTORY: &str = "/weir-data";

/// The tenants; numbers of different width on disk.
const TENANTS: [TenantId; 2] = [TenantId(1), TenantId(300)];

/// When lives begin, in ms since the epoch: 2026.
const BIRTH_MS: i64 = 1_790_000_000_000;

/// One tenant's side of a life.
struct Party {
    tenant: TenantId,
    limits: TenantLimits,
    senders: Senders,
    /// Samples before this may have been taken by retention.
    floor_ms: i64,
    /// Series that were acknowledged since series could last leave the head.
    surely_active: std::collections::BTreeSet<Labels>,
}

/// A life in progress.
struct Life {
    rng: Rng,
    scenario: Scenario,
    disk: SimFiles,
    clock: SimClock,
    env: Env,
    /// None only while it restarts.
    store: Option<Store>,
    parties: [Party; 2],
    ledger: Ledger,
    lines: Lines,
    naive: NaiveStore,
    /// Appends that wait for a commit.
    waiting: Vec<(RequestId, usize, Ticket)>,
    /// Whether anything on the disk was damaged in this life.
    struck: bool,
    /// Whether the damage may have cost something, and whether it is only where the store must notice it.
    damaged: bool,
    damage_is_noticeable: bool,
    /// By how much the wall clock has jumped in all, with the monotonic time of each jump since the store was opened.
    clock_offsets_ms: Vec<(Duration, i64)>,
    epoch: u32,
    evicted_before: u64,
    snapshots: Vec<snapshots::Taken>,
    tally: Tally,
}

/// Lives one life; an error says what a right store would not have done.
pub fn live(seed: u64) -> Result<Tally> {
    let mut life = Life::begin(seed)?;
    let trouble = life.scenario.trouble;
    life.run().with_context(|| format!("a life with trouble {trouble:?}"))?;
    Ok(life.tally)
}

/// Lives a short life whose power is cut during the change of the disk that follows `changes` others. The tally says
/// whether it came that far.
pub fn live_cut_after(seed: u64, changes: u64) -> Result<Tally> {
    live_planned(seed, |disk| disk.crash_after(changes))
}

/// Lives a short life in which one failure is planned. The tally says whether it struck.
pub fn live_with_fault(seed: u64, fault: Fault) -> Result<Tally> {
    live_planned(seed, |disk| disk.plan(fault))
}

fn live_planned(seed: u64, plan: impl FnOnce(&SimFiles)) -> Result<Tally> {
    let mut life = Life::begin(seed)?;
    life.scenario.trouble = Trouble::Planned;
    life.scenario.steps = 30;
    plan(&life.disk);
    life.run()?;
    Ok(life.tally)
}

impl Life {
    fn begin(seed: u64) -> Result<Self> {
        let mut rng = Rng::new(seed);
        let scenario = Scenario::roll(&mut rng);
        let disk = SimFiles::new(rng.next_u64());
        disk.set_junk(rng.chance(1, 3));
        // The server makes the directory and locks it before it opens the store.
        disk.create_dir(Path::new(DIRECTORY))?;
        disk.sync_dir(Path::new("/"))?;
        let clock = SimClock::new(BIRTH_MS);
        let env = Env {
            clock: Arc::new(clock.clone()),
            files: Arc::new(disk.clone()),
            random: Arc::new(SimRandom::new(rng.next_u64())),
        };
        let store =
            Store::open(env.clone(), Path::new(DIRECTORY), scenario.options.clone(), &Progress::default())
                .context("an empty directory does not open")?;
        let labels = LabelLimits { labels: 30, ..LabelLimits::default() };
        let limits = [
            TenantLimits {
                labels,
                active_series: scenario.quota,
                retention_ms: scenario.retention_ms,
                ..TenantLimits::default()
            },
            TenantLimits { labels, retention_ms: 0, ..TenantLimits::default() },
        ];
        let mut party = |index: usize| Party {
            tenant: TENANTS[index],
            limits: limits[index],
            senders: Senders::new(rng.fork(), scenario.series),
            floor_ms: i64::MIN,
            surely_active: std::collections::BTreeSet::new(),
        };
        let parties = [party(0), party(1)];
        Ok(Self {
            rng,
            scenario,
            disk,
            clock,
            env,
            store: Some(store),
            parties,
            ledger: Ledger::default(),
            lines: Lines::default(),
            naive: NaiveStore::default(),
            waiting: Vec::new(),
            struck: false,
            damaged: false,
            damage_is_noticeable: true,
            clock_offsets_ms: vec![(Duration::ZERO, 0)],
            epoch: 1,
            evicted_before: 0,
            snapshots: Vec::new(),
            tally: Tally { lives: 1, ..Tally::default() },
        })
    }

    fn run(&mut self) -> Result<()> {
        for step in 0..self.scenario.steps {
            self.step().with_context(|| format!("step {step}"))?;
            if self.disk.is_down() {
                self.restart_after_power_cut().with_context(|| format!("power cut in step {step}"))?;
            }
        }
        self.end_trouble().context("end of troubles")?;
        self.verify_all().context("last look")?;
        self.check_told().context("what is read behind the writer")?;
        self.close_and_reopen().context("last restart")?;
        self.check_snapshots().context("last look at snapshots")?;
        self.count_store();
        self.tally.faults = self.disk.failures();
        Ok(())
    }

    /// One thing happens.
    fn step(&mut self) -> Result<()> {
        self.plan_trouble();
        match self.rng.below(22) {
            0..10 => self.send(),
            10..13 => self.commit(),
            13..15 => self.maintain(),
            15 => self.verify_one(),
            16 | 17 => self.pass_time(),
            18 => self.change_clock_or_limits(),
            19 => self.delete(),
            20 => self.snapshot(),
            _ => self.trouble_or_restart(),
        }
    }

    fn store(&self) -> Store {
        self.store.clone().expect("open except during a restart")
    }
}
