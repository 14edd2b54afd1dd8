//! Permits out of one pool: bytes that bodies may take, places in the decode queue, query slots.
//!
//! A permit is taken before anything is read or allocated and goes back when it is dropped. Nothing waits in here: who
//! finds the pool full is refused, or waits outside and comes again when the pool signals. A tenant that was refused
//! counts as *waiting* for a while, and as long as somebody waits no other tenant may go beyond half of the pool. So one
//! busy tenant may use all of it when it is alone, and cannot keep a second one out.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::TenantId;

/// How long a refused tenant counts as waiting; senders come back within seconds, or not at all.
const WAITING: Duration = Duration::from_secs(5);

/// Occurs when the pool has not so much left, or the tenant holds its half while another one waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// Occurs when there is not so much left.
    #[error("the pool is empty")]
    Empty,
    /// Occurs when the tenant would hold more than half of the pool while another tenant waits.
    #[error("the tenant holds its half while another one waits")]
    Share,
}

/// A pool of permits. Cheap to clone; clones are the same pool.
#[derive(Clone)]
pub struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    capacity: u64,
    state: Mutex<PoolState>,
    returned: Box<dyn Fn() + Send + Sync>,
}

#[derive(Default)]
struct PoolState {
    held: u64,
    /// What each tenant holds; no entry means nothing.
    by_tenant: HashMap<TenantId, u64>,
    /// Until when each refused tenant counts as waiting.
    waiting: HashMap<TenantId, Duration>,
}

impl Pool {
    /// A pool of `capacity` units.
    pub fn new(capacity: u64) -> Self {
        Self::with_signal(capacity, || {})
    }

    /// A pool that calls `returned` whenever something came back, from the thread that gave it back.
    pub fn with_signal(capacity: u64, returned: impl Fn() + Send + Sync + 'static) -> Self {
        let state = Mutex::default();
        Self { shared: Arc::new(Shared { capacity, state, returned: Box::new(returned) }) }
    }

    /// Takes `amount` units for `tenant` at `now` (monotonic), or nothing.
    pub fn take(&self, tenant: TenantId, amount: u64, now: Duration) -> Result<Permit, Full> {
        self.shared.lock().take(tenant, amount, 0, self.shared.capacity, now)?;
        Ok(Permit { pool: Arc::clone(&self.shared), tenant, amount })
    }

    /// Units in the pool, given out or not.
    pub fn capacity(&self) -> u64 {
        self.shared.capacity
    }

    /// Units given out.
    pub fn held(&self) -> u64 {
        self.shared.lock().held
    }

    /// Units that `tenant` holds.
    pub fn held_by(&self, tenant: TenantId) -> u64 {
        self.shared.lock().by_tenant.get(&tenant).copied().unwrap_or(0)
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("capacity", &self.capacity()).field("held", &self.held()).finish()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, PoolState> {
        // No code that can panic runs between two writes to the state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_back(&self, tenant: TenantId, amount: u64) {
        if amount > 0 {
            self.lock().give_back(tenant, amount);
            (self.returned)();
        }
    }
}

impl PoolState {
    /// Takes `amount` for a new permit, or on top of one of `grown` units.
    fn take(
        &mut self,
        tenant: TenantId,
        amount: u64,
        grown: u64,
        capacity: u64,
        now: Duration,
    ) -> Result<(), Full> {
        self.waiting.retain(|_, until| *until > now);
        let result = self.may_take(tenant, amount, grown, capacity);
        if result.is_ok() {
            self.waiting.remove(&tenant);
            self.held += amount;
            *self.by_tenant.entry(tenant).or_default() += amount;
        } else {
            self.waiting.insert(tenant, now + WAITING);
        }
        result
    }

    fn may_take(&self, tenant: TenantId, amount: u64, grown: u64, capacity: u64) -> Result<(), Full> {
        let own = self.by_tenant.get(&tenant).copied().unwrap_or(0);
        let other_waits = self.waiting.keys().any(|&other| other != tenant);
        if amount > capacity - self.held {
            return Err(Full::Empty);
        }
        // A tenant that holds nothing else gets even one large permit, at once or step by step, or it would never get
        // any: two who each need more than half would refuse each other for ever.
        if other_waits && own > grown && own.saturating_add(amount) > capacity / 2 {
            return Err(Full::Share);
        }
        Ok(())
    }

    fn give_back(&mut self, tenant: TenantId, amount: u64) {
        self.held -= amount;
        if let Some(own) = self.by_tenant.get_mut(&tenant) {
            *own -= amount;
            if *own == 0 {
                self.by_tenant.remove(&tenant);
            }
        }
    }
}

/// Units out of a pool; they go back when it is dropped.
#[must_use = "a permit that is dropped at once permits nothing"]
pub struct Permit {
    pool: Arc<Shared>,
    tenant: TenantId,
    amount: u64,
}

impl Permit {
    /// Units held.
    pub fn amount(&self) -> u64 {
        self.amount
    }

    /// Takes `more` units on top at `now` (monotonic), for bodies whose length is not known in advance.
    pub fn grow(&mut self, more: u64, now: Duration) -> Result<(), Full> {
        self.pool.lock().take(self.tenant, more, self.amount, self.pool.capacity, now)?;
        self.amount += more;
        Ok(())
    }

    /// Gives back what is above `amount`.
    pub fn shrink_to(&mut self, amount: u64) {
        let surplus = self.amount.saturating_sub(amount);
        self.amount -= surplus;
        self.pool.give_back(self.tenant, surplus);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.pool.give_back(self.tenant, self.amount);
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("tenant", &self.tenant).field("amount", &self.amount).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use proptest::prelude::*;

    use super::*;

    const A: TenantId = TenantId(1);
    const B: TenantId = TenantId(2);

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn one_tenant_may_have_all_until_another_waits() {
        let pool = Pool::new(10);
        let first = pool.take(A, 6, at(0)).unwrap();
        let second = pool.take(A, 4, at(0)).unwrap();
        assert_eq!(pool.take(B, 2, at(0)).unwrap_err(), Full::Empty);
        drop(second);
        assert_eq!(pool.take(A, 1, at(1)).unwrap_err(), Full::Share);
        let other = pool.take(B, 2, at(1)).unwrap();
        // A was refused as well and waits, so B stays within its half.
        assert_eq!(pool.take(B, 4, at(1)).unwrap_err(), Full::Empty);
        assert_eq!(pool.take(B, 2, at(1)).unwrap().amount(), 2);
        drop(first);
        assert_eq!(pool.take(A, 5, at(2)).unwrap().amount(), 5);
        drop(other);
        assert_eq!((pool.held(), pool.held_by(A), pool.held_by(B)), (0, 0, 0));
        assert!(pool.shared.lock().by_tenant.is_empty(), "who holds nothing costs nothing");
    }

    #[test]
    fn whoever_stays_away_is_forgotten() {
        let pool = Pool::new(10);
        let _most = pool.take(A, 9, at(0)).unwrap();
        assert_eq!(pool.take(B, 2, at(0)).unwrap_err(), Full::Empty);
        assert_eq!(pool.take(A, 1, at(4999)).unwrap_err(), Full::Share);
        assert!(pool.take(A, 1, at(5000)).is_ok());
    }

    #[test]
    fn of_two_that_each_need_more_than_half_one_gets_through() {
        // Both read bodies of 40 in steps of 10 and come again when they are refused. What a permit had grown to counted
        // against it as if it were another one, so each was stopped at half for as long as the other one came again.
        let pool = Pool::new(60);
        let mut bodies = [(A, None, 0), (B, None, 0)];
        for round in 0..100 {
            for (tenant, permit, done) in &mut bodies {
                let now = at(round * 10);
                let took = match permit {
                    None => pool.take(*tenant, 10, now).map(|first| *permit = Some(first)),
                    Some(permit) => permit.grow(10, now),
                };
                let whole = permit.as_ref().is_some_and(|permit| permit.amount() == 40);
                *done += u32::from(whole);
                if took.is_err() || whole {
                    *permit = None;
                }
            }
        }
        let done = bodies.map(|(_, _, done)| done);
        assert_ne!(done, [0, 0]);
        // A second permit still counts against the first.
        let _other = pool.take(B, 20, at(5000)).unwrap();
        let _first = pool.take(A, 20, at(5000)).unwrap();
        let mut second = pool.take(A, 10, at(5000)).unwrap();
        assert_eq!(pool.take(B, 20, at(5000)).unwrap_err(), Full::Empty);
        assert_eq!(second.grow(10, at(5000)).unwrap_err(), Full::Share);
    }

    #[test]
    fn permits_grow_and_shrink_and_signal() {
        let signals = Arc::new(AtomicU32::new(0));
        let seen = Arc::clone(&signals);
        let pool = Pool::with_signal(10, move || {
            seen.fetch_add(1, Ordering::Relaxed);
        });
        let mut permit = pool.take(A, 2, at(0)).unwrap();
        permit.grow(8, at(0)).unwrap();
        assert_eq!(permit.grow(1, at(0)), Err(Full::Empty));
        assert_eq!((permit.amount(), pool.held_by(A)), (10, 10));
        permit.shrink_to(20);
        assert_eq!(signals.load(Ordering::Relaxed), 0);
        permit.shrink_to(3);
        assert_eq!((pool.held(), signals.load(Ordering::Relaxed)), (3, 1));
        drop(permit);
        assert_eq!((pool.held(), signals.load(Ordering::Relaxed)), (0, 2));
        assert_eq!(pool.take(A, 11, at(0)).unwrap_err(), Full::Empty);
        assert_eq!(pool.take(A, u64::MAX, at(0)).unwrap_err(), Full::Empty);
    }

    proptest! {
        /// Against a list of what everyone holds: sums agree, nothing is given beyond the capacity, and who was refused
        /// a moment ago keeps everyone else within half.
        #[test]
        fn pools_agree_with_a_list(
            capacity in 1u64..60,
            steps in prop::collection::vec((0u32..3, 1u64..40, 0u64..3000, any::<bool>()), 1..120),
        ) {
            let pool = Pool::new(capacity);
            let mut held: Vec<Permit> = Vec::new();
            let mut refused: HashMap<TenantId, u64> = HashMap::new();
            let mut now = 0;
            for (tenant, amount, wait, give_back) in steps {
                now += wait;
                let tenant = TenantId(tenant);
                if give_back && !held.is_empty() {
                    drop(held.remove(usize::try_from(amount).unwrap() % held.len()));
                }
                let before: u64 = held.iter().filter(|p| p.tenant == tenant).map(Permit::amount).sum();
                let total: u64 = held.iter().map(Permit::amount).sum();
                prop_assert_eq!(pool.held(), total);
                prop_assert_eq!(pool.held_by(tenant), before);
                let waits = refused.iter().any(|(&other, &since)| other != tenant && now - since < 5000);
                let fits = total + amount <= capacity;
                let fair = !waits || before == 0 || before + amount <= capacity / 2;
                match pool.take(tenant, amount, at(now)) {
                    Ok(permit) => {
                        prop_assert!(fits && fair);
                        held.push(permit);
                        refused.remove(&tenant);
                    }
                    Err(full) => {
                        prop_assert_eq!(full, if fits { Full::Share } else { Full::Empty });
                        prop_assert!(!(fits && fair));
                        refused.insert(tenant, now);
                    }
                }
            }
            held.clear();
            prop_assert_eq!(pool.held(), 0);
        }
    }
}
