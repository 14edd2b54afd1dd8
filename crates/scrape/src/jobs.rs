//! All jobs: which run, under which configuration, and what is shown of them.
//!
//! A new configuration is compared job by job. One that did not change keeps its task, its connections and its targets; one
//! that did keeps what its targets remember; one that is gone ends its series in its own time.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use env::Env;
use model::TenantName;
use outbound::ConfigError;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};

use crate::config::ScrapeConfig;
use crate::discovery::{Counts, Discovery};
use crate::job::{Command, Job, Listing, Shown};
use crate::plan;
use crate::store::Store;
use crate::target::TargetGroup;

/// Commands to a job that may wait.
const COMMANDS_MAX: usize = 4;

/// What is shown of all jobs. Cheap to share.
#[derive(Debug, Default)]
pub struct Pools(RwLock<BTreeMap<String, Pool>>);

/// A job as it is shown.
#[derive(Clone, Debug)]
pub struct Pool {
    /// Its configuration; its name among it.
    pub config: Arc<ScrapeConfig>,
    shown: Arc<Shown>,
    counts: Arc<[(&'static str, Arc<Counts>)]>,
}

impl Pool {
    /// How often each of its mechanisms of discovery was asked, and in vain.
    pub fn discovered(&self) -> &[(&'static str, Arc<Counts>)] {
        &self.counts
    }

    /// Its targets as they are now.
    pub fn list(&self) -> Listing {
        self.shown.list()
    }
}

impl Pools {
    /// The jobs of a tenant, by name.
    pub fn of(&self, tenant: &TenantName) -> Vec<Pool> {
        let pools = self.0.read().unwrap_or_else(PoisonError::into_inner);
        pools.values().filter(|pool| pool.config.tenant == *tenant).cloned().collect()
    }

    /// All jobs, by name.
    pub fn all(&self) -> Vec<Pool> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    fn show(&self, pools: BTreeMap<String, Pool>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = pools;
    }
}

/// Jobs that run. Dropping it ends them at once, and no series is marked as ended.
pub struct Jobs {
    store: Arc<dyn Store>,
    env: Env,
    seed: u64,
    crowd: Arc<Semaphore>,
    pools: Arc<Pools>,
    running: BTreeMap<String, Running>,
    tasks: JoinSet<()>,
}

/// A job that runs.
struct Running {
    pool: Pool,
    commands: mpsc::Sender<Command>,
    discovery: AbortHandle,
    /// What each of its mechanisms told last, by the place that it asks.
    told: Vec<(String, watch::Receiver<Vec<TargetGroup>>)>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.discovery.abort();
    }
}

impl Jobs {
    /// None yet. `seed` tells instances apart that scrape the same targets, and stays the same over restarts; at most
    /// `places` scrapes are under way at once.
    pub fn new(store: Arc<dyn Store>, env: Env, seed: u64, places: usize, pools: Arc<Pools>) -> Self {
        let crowd = Arc::new(Semaphore::new(places));
        Self { store, env, seed, crowd, pools, running: BTreeMap::new(), tasks: JoinSet::new() }
    }

    /// These are the jobs now. A job that cannot be made is left out, and told of.
    pub async fn apply(&mut self, configs: &[ScrapeConfig]) -> Vec<(String, ConfigError)> {
        while self.tasks.try_join_next().is_some() {}
        let mut before = std::mem::take(&mut self.running);
        let mut failed = Vec::new();
        for config in configs {
            let name = config.job_name.clone();
            let old = before.remove(&name);
            let next = match old {
                Some(old) if *old.pool.config == *config => Ok(old),
                old => self.start(old, &Arc::new(config.clone())).await,
            };
            match next {
                Ok(running) => drop(self.running.insert(name, running)),
                Err(error) => failed.push((name, error)),
            }
        }
        for gone in before.into_values() {
            // A job whose task is over has nothing to end.
            let _ = gone.commands.send(Command::End).await;
        }
        let pools = self.running.iter().map(|(name, running)| (name.clone(), running.pool.clone()));
        self.pools.show(pools.collect());
        failed
    }

    async fn start(
        &mut self,
        old: Option<Running>,
        config: &Arc<ScrapeConfig>,
    ) -> Result<Running, ConfigError> {
        let plan = plan::order(config, &self.store, &self.env)
            .and_then(|order| Ok((order, Discovery::of(config, &self.env)?)));
        let (order, mechanisms) = match plan {
            Ok(plan) => plan,
            Err(error) => {
                if let Some(old) = old {
                    let _ = old.commands.send(Command::End).await;
                }
                return Err(error);
            }
        };
        let counts = mechanisms.iter().map(|mechanism| (mechanism.mechanism(), mechanism.counts())).collect();
        // A server that is down just when a job changes takes no targets along.
        let told_before = |place: &str| {
            let told = old.iter().flat_map(|old| &old.told).find(|(asked, _)| asked == place);
            told.map(|(_, groups)| groups.borrow().clone()).unwrap_or_default()
        };
        let (mut told, mut finders) = (Vec::new(), Vec::new());
        for mechanism in mechanisms {
            let place = mechanism.place();
            let (sink, groups) = watch::channel(told_before(&place));
            told.push((place, groups));
            finders.push((mechanism, sink));
        }
        // Samples of another tenant are other series.
        let old = match old {
            Some(old) if old.pool.config.tenant != config.tenant => {
                let _ = old.commands.send(Command::End).await;
                None
            }
            old => old,
        };
        let (shown, commands) = match old {
            Some(old) => {
                let _ = old.commands.send(Command::Change(order)).await;
                (Arc::clone(&old.pool.shown), old.commands.clone())
            }
            None => {
                let (commands, inbox) = mpsc::channel(COMMANDS_MAX);
                let shown = Arc::<Shown>::default();
                let job = Job::new(order, self.seed, Arc::clone(&self.crowd), Arc::clone(&shown));
                self.tasks.spawn(job.run(inbox));
                (shown, commands)
            }
        };
        let finder = plan::find(Arc::clone(config), finders, commands.clone());
        let discovery = self.tasks.spawn(finder);
        Ok(Running { pool: Pool { config: Arc::clone(config), shown, counts }, commands, discovery, told })
    }
}
