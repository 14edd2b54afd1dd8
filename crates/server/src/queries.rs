//! Where queries run: a fixed number of slots, shared fairly between tenants, in front of as many threads.
//!
//! A query waits for a slot outside the pool of threads, so a slow tenant's queue is its own: as soon as a second
//! tenant waits, nobody gets more than half of the slots. The slot is given back when the evaluation has really ended,
//! not when its client has left.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use admission::Permit;
use env::Env;
use model::{Budget, TenantId};
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, sleep_until, timeout};

use crate::metrics::Metrics;
use crate::pool::{Pool, PoolError};

/// Queries that may wait for a slot; more are refused at once.
const WAITING_MAX: usize = 256;
/// A waiting query asks again at least this often, so that the slots know that its tenant still waits.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Why a query gave no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// Occurs when too many queries wait already.
    #[error("too many queries are waiting")]
    Overloaded,
    /// Occurs when the query's time ran out, waiting included.
    #[error("query timed out in expression evaluation")]
    Timeout,
    /// Occurs when the evaluation panicked.
    #[error("query failed in Weir itself")]
    Panicked,
}

/// The slots and the threads.
#[derive(Debug)]
pub struct Queries {
    slots: admission::Pool,
    returned: Arc<Notify>,
    waiting: Semaphore,
    /// How many of each tenant wait; no entry means none.
    waiting_by_tenant: Mutex<HashMap<TenantId, u64>>,
    threads: Pool,
    metrics: Arc<Metrics>,
    env: Env,
}

impl Queries {
    /// Starts as many threads as there are `slots`.
    pub fn start(slots: usize, env: Env, metrics: Arc<Metrics>) -> io::Result<Self> {
        let returned = Arc::new(Notify::new());
        let signal = Arc::clone(&returned);
        Ok(Self {
            slots: admission::Pool::with_signal(slots as u64, move || signal.notify_waiters()),
            returned,
            waiting: Semaphore::new(WAITING_MAX),
            waiting_by_tenant: Mutex::default(),
            threads: Pool::start("query", slots, slots)?,
            metrics,
            env,
        })
    }

    /// Queries of `tenant` that run.
    pub fn running(&self, tenant: TenantId) -> u64 {
        self.slots.held_by(tenant)
    }

    /// Queries of `tenant` that wait for a slot.
    pub fn waiting(&self, tenant: TenantId) -> u64 {
        self.waiters().get(&tenant).copied().unwrap_or(0)
    }

    fn waiters(&self) -> MutexGuard<'_, HashMap<TenantId, u64>> {
        self.waiting_by_tenant.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `evaluate` for `tenant` within `time`. When the caller goes away, or time is up, `budget` is cancelled.
    pub async fn run<T: Send + 'static>(
        &self,
        tenant: TenantId,
        time: Duration,
        budget: Arc<Budget>,
        evaluate: impl FnOnce(&Budget) -> T + Send + 'static,
    ) -> Result<T, QueryError> {
        let deadline = Instant::now() + time;
        let cancel = CancelOnDrop(Arc::clone(&budget));
        let slot = self.slot(tenant, deadline).await?;
        let metrics = Arc::clone(&self.metrics);
        let job = self.threads.run(move || {
            metrics.queries_active.add(1.0);
            let active = Active(metrics, slot);
            let result = evaluate(&budget);
            drop(active);
            result
        });
        tokio::select! {
            result = job => {
                result.map_err(|error| match error {
                    PoolError::Full => QueryError::Overloaded,
                    PoolError::Panicked => {
                        self.metrics.panics.add(1);
                        QueryError::Panicked
                    }
                })
            }
            () = sleep_until(deadline) => {
                drop(cancel);
                Err(QueryError::Timeout)
            }
        }
    }

    async fn slot(&self, tenant: TenantId, deadline: Instant) -> Result<Permit, QueryError> {
        // `notified` is made before the slots are asked: what comes back in between is not missed.
        let mut returned = std::pin::pin!(self.returned.notified());
        returned.as_mut().enable();
        if let Ok(slot) = self.slots.take(tenant, 1, self.env.clock.monotonic()) {
            return Ok(slot);
        }
        let _place = self.waiting.try_acquire().map_err(|_| QueryError::Overloaded)?;
        let _waits = Waits::begin(self, tenant);
        loop {
            tokio::select! {
                _ = timeout(ASK_AGAIN, returned.as_mut()) => {}
                () = sleep_until(deadline) => return Err(QueryError::Timeout),
            }
            returned.set(self.returned.notified());
            returned.as_mut().enable();
            if let Ok(slot) = self.slots.take(tenant, 1, self.env.clock.monotonic()) {
                return Ok(slot);
            }
        }
    }
}

struct CancelOnDrop(Arc<Budget>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// A running evaluation, also when it ends in a panic.
struct Active(Arc<Metrics>, #[expect(dead_code, reason = "held until the evaluation has ended")] Permit);

impl Drop for Active {
    fn drop(&mut self) {
        self.0.queries_active.add(-1.0);
    }
}

struct Waits<'a>(&'a Queries, TenantId);

impl<'a> Waits<'a> {
    fn begin(queries: &'a Queries, tenant: TenantId) -> Self {
        queries.metrics.queries_waiting.add(1.0);
        *queries.waiters().entry(tenant).or_default() += 1;
        Self(queries, tenant)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        let Self(queries, tenant) = self;
        queries.metrics.queries_waiting.add(-1.0);
        let mut waiters = queries.waiters();
        if let Some(count) = waiters.get_mut(tenant) {
            *count -= 1;
            if *count == 0 {
                waiters.remove(tenant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    fn queries(slots: usize) -> Arc<Queries> {
        Arc::new(Queries::start(slots, Env::real(), Arc::default()).unwrap())
    }

    fn budget() -> Arc<Budget> {
        Arc::new(Budget::new(1 << 20))
    }

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_client_that_leaves_cancels_its_query() {
        let queries = queries(1);
        let (begun, is_begun) = tokio::sync::oneshot::channel();
        let (ended, is_ended) = sync_channel(1);
        let task = tokio::spawn({
            let queries = Arc::clone(&queries);
            async move {
                let evaluate = move |budget: &Budget| {
                    let _ = begun.send(());
                    while budget.check().is_ok() {
                        std::thread::yield_now();
                    }
                    let _ = ended.send(());
                };
                queries.run(TenantId(1), LONG, budget(), evaluate).await
            }
        });
        is_begun.await.unwrap();
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        assert!(is_ended.recv_timeout(LONG).is_ok());
        assert_eq!(queries.run(TenantId(1), LONG, budget(), |_| 5).await, Ok(5));
    }

    #[tokio::test]
    async fn time_runs_out_while_waiting_too() {
        let queries = queries(1);
        let (go, may_go) = sync_channel::<()>(1);
        let short = Duration::from_millis(5);
        let blocked = queries.run(TenantId(1), short, budget(), move |_| may_go.recv().is_ok()).await;
        assert_eq!(blocked, Err(QueryError::Timeout));
        assert_eq!(queries.run(TenantId(2), short, budget(), |_| 5).await, Err(QueryError::Timeout));
        go.send(()).unwrap();
        assert_eq!(queries.run(TenantId(2), LONG, budget(), |_| 5).await, Ok(5));
    }

    #[tokio::test]
    async fn nobody_has_more_than_half_while_another_waits() {
        let queries = queries(4);
        let (go, may_go) = sync_channel::<()>(16);
        let may_go = Arc::new(std::sync::Mutex::new(may_go));
        let mut tasks = Vec::new();
        for tenant in [1, 1, 1, 1, 1, 1, 1, 1, 2] {
            let (queries, may_go) = (Arc::clone(&queries), Arc::clone(&may_go));
            let task = tokio::spawn(async move {
                let evaluate = move |_: &Budget| may_go.lock().unwrap().recv().is_ok();
                queries.run(TenantId(tenant), LONG, budget(), evaluate).await
            });
            tokio::task::yield_now().await;
            tasks.push(task);
        }
        // One of the four that run ends. Four of tenant 1 have waited longer, and yet it is tenant 2's turn.
        assert_eq!(queries.slots.held_by(TenantId(1)), 4);
        go.send(()).unwrap();
        let turn = async {
            while queries.slots.held_by(TenantId(2)) == 0 {
                assert!(queries.slots.held_by(TenantId(1)) >= 3, "only one may end yet");
                tokio::task::yield_now().await;
            }
        };
        timeout(LONG, turn).await.expect("tenant 2 waits for all eight of tenant 1");
        for _ in 1..9 {
            go.send(()).unwrap();
        }
        for task in tasks {
            task.await.unwrap().unwrap();
        }
    }
}
