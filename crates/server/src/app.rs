//! What every request handler can reach: the store once it is open, who may, how much, and the counters.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use admission::{Authority, Clients, Rates};
use arc_swap::{ArcSwap, Guard};
use dialects::Refusal;
use env::Env;
use forward::Outputs;
use model::{Budget, TenantName};
use scrape::jobs::Pools;
use tokio::sync::watch;
use tsdb::{Passing, Progress, Status, Store};

use crate::config::Config;
use crate::control::Control;
use crate::hosts::Hosts;
use crate::metrics::Metrics;
use crate::pool::Pool;
use crate::proxies::Proxies;
use crate::queries::Queries;
use crate::tls::Tls;
use crate::unknown::UnknownRoutes;

/// The server's parts, shared by all requests.
#[derive(Debug)]
pub struct App {
    /// Clock, files, dice.
    pub env: Env,
    /// The counters.
    pub metrics: Arc<Metrics>,
    /// Tenants and tokens.
    pub control: Control,
    /// What is known of tenants' hosts.
    pub hosts: Hosts,
    /// Samples a second, per tenant.
    pub rates: Rates,
    /// Requests a minute, per client, of dialects that say how many.
    pub clients: Clients,
    /// Bytes of bodies in flight.
    pub bytes: admission::Pool,
    /// Threads that decode large bodies.
    pub decoding: Pool,
    /// One thread for what somebody with the admin scope does to the store: it may wait for the disk, for merges and for
    /// others of its kind, and nothing else waits for it.
    pub upkeep: Pool,
    /// Slots and threads for queries.
    pub queries: Queries,
    /// Bytes that all queries together may hold.
    pub query_memory: Arc<Budget>,
    /// Whether writes are refused for a moment.
    pub shed: Shed,
    /// What is logged about refused requests.
    pub refusals: RefusalLog,
    /// What Datadog senders asked for in vain.
    pub unknown_routes: UnknownRoutes,
    /// How far opening the store has come.
    pub progress: Arc<Progress>,
    /// Where the store lies.
    pub data_dir: PathBuf,
    /// Applies the configuration as it is now.
    pub reloader: Box<dyn Reload>,
    /// The configuration in force.
    pub config: ArcSwap<Config>,
    /// Whose `X-Forwarded-*` is believed; from the configuration.
    pub proxies: ArcSwap<Proxies>,
    /// What TLS is spoken with; none = `listen` speaks plainly.
    pub tls: Option<Arc<Tls>>,
    /// What is scraped, to be shown.
    pub pools: Arc<Pools>,
    /// Told when the configuration is another one.
    pub reloaded: watch::Sender<()>,
    /// The open store.
    pub opened: OnceLock<Store>,
    /// What sends on, once the store is open.
    pub outputs: OnceLock<Outputs>,
    /// The number by which other Weirs know this one.
    pub instance: u64,
    /// Set when Weir is stopping.
    pub draining: AtomicBool,
}

/// Reloads the configuration.
pub trait Reload: std::fmt::Debug + Send + Sync {
    /// Applies the configuration as it is now, or says why nothing was applied.
    fn reload(&self, app: &App) -> Result<(), String>;
}

impl App {
    /// Who may, as of now.
    pub fn authority(&self) -> Arc<Authority> {
        self.control.authority()
    }

    /// The configuration in force.
    pub fn config(&self) -> Guard<Arc<Config>> {
        self.config.load()
    }

    /// Whose `X-Forwarded-*` is believed.
    pub fn proxies(&self) -> Guard<Arc<Proxies>> {
        self.proxies.load()
    }

    /// The store, once it is open.
    pub fn store(&self) -> Option<&Store> {
        self.opened.get()
    }

    /// The store's numbers, once it is open. The slowest sync is one since the last reading, so every reading keeps it.
    pub fn status(&self) -> Option<Status> {
        let status = self.store()?.status();
        self.metrics.wal_sync_seconds_max.raise(status.wal_sync_seconds_max);
        Some(status)
    }

    /// Of whom nothing is kept, as of now.
    pub fn passing(&self) -> Passing {
        let authority = self.authority();
        let ids = |names: &[TenantName]| {
            names.iter().filter_map(|name| Some(authority.tenant(name.as_str())?.id)).collect()
        };
        let config = self.config();
        Passing { samples: ids(&config.passing), lines: ids(&config.passing_lines) }
    }

    /// Whether Weir is stopping.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Whether a write could be taken now.
    pub fn may_write(&self) -> Result<(), Refusal> {
        let refused = |what, retry_after_s| Err(Refusal::Overloaded { retry_after_s, what });
        if self.store().is_none() {
            return refused("starting", 5);
        }
        if self.is_draining() {
            return refused("stopping", 5);
        }
        match self.shed.active(self.env.clock.monotonic()) {
            Some(what) => refused(what, 1),
            None => Ok(()),
        }
    }
}

/// After the store refused an append, bodies are not even read for a moment: reading them would only cost.
#[derive(Debug, Default)]
pub struct Shed(Mutex<Option<(Duration, &'static str)>>);

impl Shed {
    /// Refuses writes for `time` from `now` (monotonic), because `what` is short.
    pub fn begin(&self, now: Duration, what: &'static str, time: Duration) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((now + time, what));
    }

    /// What is short, while writes are refused.
    pub fn active(&self, now: Duration) -> Option<&'static str> {
        let shed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shed.filter(|(until, _)| now < *until).map(|(_, what)| what)
    }
}

/// One line in ten seconds at most about requests that were refused, with how many there were.
#[derive(Debug, Default)]
pub struct RefusalLog(Mutex<(Duration, u64)>);

const REFUSAL_LOG_PAUSE: Duration = Duration::from_secs(10);

impl RefusalLog {
    /// Notes a refused request of `who`: a client's address, or a tenant.
    pub fn note(&self, env: &Env, reason: &str, who: &str) {
        let now = env.clock.monotonic();
        let count = {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            state.1 += 1;
            if state.0 > now {
                return;
            }
            state.0 = now + REFUSAL_LOG_PAUSE;
            std::mem::take(&mut state.1)
        };
        tracing::warn!(reason, who, count, "requests are refused");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_are_refused_for_a_moment_and_then_taken_again() {
        let shed = Shed::default();
        let at = Duration::from_millis;
        assert_eq!(shed.active(at(0)), None);
        shed.begin(at(5), "disk", at(200));
        assert_eq!(shed.active(at(204)), Some("disk"));
        assert_eq!(shed.active(at(205)), None);
    }
}
