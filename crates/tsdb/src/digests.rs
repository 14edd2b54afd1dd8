//! Requests with deltas that were taken lately: an identical one is acknowledged, and its deltas are not added again.
//!
//! A request is told by a digest of its bytes. Digests are remembered for 20 minutes, per tenant, in the log too. Their
//! number is bounded: beyond it the oldest of the tenant with more than its even part, else of the one with most, are
//! forgotten, and their deltas are refused as late when they come again.

use std::collections::VecDeque;

use foldhash::{HashMap, HashMapExt};
use model::TenantId;

/// For how long a request is remembered, in ms.
pub(crate) const REMEMBERED_MS: i64 = 20 * 60 * 1000;

/// Requests that are remembered at most, of all tenants: 100 bytes each.
const REQUESTS_MAX: usize = 1 << 19;

/// Bytes of a digest in a hash table and in the order, with slack.
const DIGEST_BYTES: u64 = 100;

/// What is remembered.
#[derive(Debug)]
pub(crate) struct Digests {
    tenants: HashMap<TenantId, Requests>,
    count: usize,
    most: usize,
}

/// Requests of a tenant.
#[derive(Debug, Default)]
struct Requests {
    /// Monotonic ms at which each was taken last; before the start it is negative.
    taken_ms: HashMap<u128, i64>,
    /// Oldest first. One that was taken again stands here twice.
    order: VecDeque<(u128, i64)>,
}

impl Default for Digests {
    fn default() -> Self {
        Self { tenants: HashMap::new(), count: 0, most: REQUESTS_MAX }
    }
}

impl Digests {
    /// Whether the request was taken lately. Times are monotonic.
    pub(crate) fn knows(&self, tenant: TenantId, digest: u128, now_ms: i64) -> bool {
        let taken_ms = self.tenants.get(&tenant).and_then(|requests| requests.taken_ms.get(&digest));
        taken_ms.is_some_and(|taken_ms| now_ms - taken_ms <= REMEMBERED_MS)
    }

    /// Remembers a request that was taken at a monotonic time.
    pub(crate) fn remember(&mut self, tenant: TenantId, digest: u128, taken_ms: i64) {
        let requests = self.tenants.entry(tenant).or_default();
        let is_new = requests.taken_ms.insert(digest, taken_ms).is_none();
        requests.order.push_back((digest, taken_ms));
        self.count += usize::from(is_new);
        while self.count > self.most {
            self.forget_one(tenant);
        }
    }

    fn forget_one(&mut self, tenant: TenantId) {
        let part = self.count / self.tenants.len();
        let is_large = self.tenants.get(&tenant).is_some_and(|requests| requests.taken_ms.len() > part);
        let largest = || self.tenants.iter().max_by_key(|(_, requests)| requests.taken_ms.len());
        let of = if is_large { Some(tenant) } else { largest().map(|(tenant, _)| *tenant) };
        if let Some(requests) = of.and_then(|of| self.tenants.get_mut(&of)) {
            self.count -= requests.forget_oldest();
        }
    }

    /// Forgets what was taken long ago.
    pub(crate) fn forget_old(&mut self, now_ms: i64) {
        for requests in self.tenants.values_mut() {
            while requests.order.front().is_some_and(|(_, taken_ms)| now_ms - taken_ms > REMEMBERED_MS) {
                self.count -= requests.forget_oldest();
            }
        }
        self.tenants.retain(|_, requests| !requests.order.is_empty());
    }

    /// Forgets a tenant's requests.
    pub(crate) fn forget_tenant(&mut self, tenant: TenantId) {
        self.count -= self.tenants.remove(&tenant).map_or(0, |requests| requests.taken_ms.len());
    }

    /// Tenant, digest and monotonic ms of each, those of a tenant oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (TenantId, u128, i64)> {
        self.tenants.iter().flat_map(|(tenant, requests)| {
            let is_last = |(digest, taken_ms): &&(u128, i64)| requests.taken_ms.get(digest) == Some(taken_ms);
            requests.order.iter().filter(is_last).map(|(digest, taken_ms)| (*tenant, *digest, *taken_ms))
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes held, estimated.
    pub(crate) fn bytes(&self) -> u64 {
        self.count as u64 * DIGEST_BYTES
    }
}

impl Requests {
    /// Forgets the oldest entry; how many requests are not known any more.
    fn forget_oldest(&mut self) -> usize {
        let Some((digest, taken_ms)) = self.order.pop_front() else { return 0 };
        let is_last = self.taken_ms.get(&digest) == Some(&taken_ms);
        usize::from(is_last && self.taken_ms.remove(&digest).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: TenantId = TenantId(1);
    const B: TenantId = TenantId(2);

    #[test]
    fn requests_are_remembered_for_20_minutes_by_tenant() {
        let mut digests = Digests::default();
        digests.remember(A, 7, -5);
        assert!(digests.knows(A, 7, REMEMBERED_MS - 5) && !digests.knows(A, 7, REMEMBERED_MS - 4));
        assert!(!digests.knows(B, 7, 0) && !digests.knows(A, 8, 0));
        digests.remember(A, 7, 10);
        digests.forget_old(REMEMBERED_MS);
        assert!(digests.knows(A, 7, REMEMBERED_MS), "it came again");
        assert_eq!(digests.iter().collect::<Vec<_>>(), [(A, 7, 10)]);
        digests.forget_old(REMEMBERED_MS + 11);
        assert!(digests.is_empty() && digests.tenants.is_empty());
    }

    #[test]
    fn the_oldest_of_whoever_has_most_are_forgotten() {
        let mut digests = Digests { most: 10, ..Digests::default() };
        (0..9).for_each(|n| digests.remember(A, n, n as i64));
        (0..4).for_each(|n| digests.remember(B, n, n as i64));
        assert_eq!(digests.count, 10);
        assert!((0..4).all(|n| digests.knows(B, n, 10)));
        assert_eq!((0..9).filter(|n| digests.knows(A, *n, 10)).collect::<Vec<_>>(), [3, 4, 5, 6, 7, 8]);
        digests.remember(A, 9, 10);
        assert!(!digests.knows(A, 3, 10) && digests.knows(A, 9, 10) && digests.knows(B, 0, 10));
        digests.forget_tenant(A);
        assert_eq!((digests.count, digests.bytes()), (4, 400));
    }
}
