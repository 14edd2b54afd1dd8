//! Requests a minute, per client address and tenant: the first request opens a window of a minute, and so many may follow in it.
//!
//! A window is what a sender is told: after it the whole allowance is there again, and the wait until then is exact. Only
//! so many addresses are remembered; when more come, those whose windows are oldest are forgotten, so whoever comes from
//! very many addresses gets nothing but other windows cut short.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use model::TenantId;

/// How long a window is.
const WINDOW: Duration = Duration::from_secs(60);

/// Addresses that are remembered.
const ADDRESSES_MAX: usize = 1 << 16;

/// Occurs when an address has made as many requests as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("over the requests that a client may make in a minute")]
pub struct TooMany {
    /// When its next window begins: at least 1 s, at most a minute.
    pub retry_after: Duration,
}

/// Every address that made a request within the last minute.
#[derive(Debug, Default)]
pub struct Clients(Mutex<Windows>);

#[derive(Debug, Default)]
struct Windows {
    /// When each window began, and requests in it so far.
    open: HashMap<Client, (Duration, u32)>,
    /// The same windows, the oldest first.
    order: VecDeque<(Duration, Client)>,
}

/// Who is counted: tenants that share an address do not share its allowance.
type Client = (TenantId, IpAddr);

/// An address as one client has it: of IPv6 the first half, since the other is its own to choose.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from(u128::from(address) & (u128::MAX << 64))),
        address => address,
    }
}

impl Clients {
    /// Counts a request for `tenant` from `address` at `now` (monotonic), if it is one of at most `limit` in its window.
    pub fn count(&self, tenant: TenantId, address: IpAddr, limit: u32, now: Duration) -> Result<(), TooMany> {
        // Counters: what a panicking thread left behind is still right.
        let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        windows.close(now);
        let (began, requests) = windows.of((tenant, network(address)), now);
        if *requests >= limit {
            let retry_after = (*began + WINDOW).saturating_sub(now);
            return Err(TooMany { retry_after: retry_after.clamp(Duration::from_secs(1), WINDOW) });
        }
        *requests += 1;
        Ok(())
    }
}

impl Windows {
    /// Forgets windows that are over.
    fn close(&mut self, now: Duration) {
        while self.order.front().is_some_and(|(began, _)| *began + WINDOW <= now) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, client)) = self.order.pop_front() {
            self.open.remove(&client);
        }
    }

    fn of(&mut self, client: Client, now: Duration) -> &mut (Duration, u32) {
        if !self.open.contains_key(&client) {
            if self.order.len() == ADDRESSES_MAX {
                self.forget_oldest();
            }
            self.order.push_back((now, client));
        }
        self.open.entry(client).or_insert((now, 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: TenantId = TenantId(1);

    fn address(number: u32) -> IpAddr {
        IpAddr::V6(Ipv6Addr::from(u128::from(number) << 64 | 0xfd00 << 112))
    }

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn a_window_has_its_allowance_and_the_next_one_has_it_again() {
        let clients = Clients::default();
        for second in [5, 5, 40] {
            assert_eq!(clients.count(TENANT, address(1), 3, seconds(second)), Ok(()));
        }
        let refused = |wait| Err(TooMany { retry_after: seconds(wait) });
        assert_eq!(clients.count(TENANT, address(1), 3, seconds(40)), refused(25));
        assert_eq!(clients.count(TENANT, address(2), 3, seconds(40)), Ok(()));
        assert_eq!(clients.count(TENANT, address(1), 3, Duration::from_millis(64_999)), refused(1));
        assert_eq!(clients.count(TENANT, address(1), 3, seconds(65)), Ok(()));
        assert_eq!(clients.count(TENANT, address(1), 1, seconds(65)), refused(60));
        assert_eq!(clients.count(TENANT, address(1), 2, seconds(65)), Ok(()), "a new limit counts at once");
    }

    #[test]
    fn an_address_is_the_same_in_both_of_its_forms() {
        let clients = Clients::default();
        assert_eq!(clients.count(TENANT, "192.0.2.1".parse().unwrap(), 1, seconds(1)), Ok(()));
        assert!(clients.count(TENANT, "::ffff:192.0.2.1".parse().unwrap(), 1, seconds(1)).is_err());
    }

    #[test]
    fn tenants_have_their_own_allowance_and_a_network_has_one() {
        let clients = Clients::default();
        let of = |tenant, text: &str| clients.count(TenantId(tenant), text.parse().unwrap(), 1, seconds(1));
        assert_eq!((of(1, "192.0.2.1"), of(2, "192.0.2.1")), (Ok(()), Ok(())));
        assert_eq!((of(1, "2001:db8::1"), of(1, "2001:db8:0:1::1")), (Ok(()), Ok(())));
        assert!(of(1, "2001:db8::ffff:1").is_err());
    }

    #[test]
    fn of_too_many_addresses_the_oldest_are_forgotten() {
        let clients = Clients::default();
        let all = ADDRESSES_MAX as u32;
        for number in 0..=all {
            assert_eq!(clients.count(TENANT, address(number), 1, seconds(1)), Ok(()));
        }
        assert!(clients.count(TENANT, address(1), 1, seconds(1)).is_err());
        assert_eq!(clients.count(TENANT, address(0), 1, seconds(1)), Ok(()), "it was the oldest");
        let windows = clients.0.lock().unwrap();
        assert_eq!((windows.open.len(), windows.order.len()), (ADDRESSES_MAX, ADDRESSES_MAX));
    }

    #[test]
    fn windows_that_are_over_take_no_memory() {
        let clients = Clients::default();
        for number in 0..100 {
            clients.count(TENANT, address(number), 1, seconds(number.into())).unwrap();
        }
        let windows = clients.0.lock().unwrap();
        assert_eq!((windows.open.len(), windows.order.len()), (60, 60));
    }
}
