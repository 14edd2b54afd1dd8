//! Requests a minute, per client address: the first request opens a window of a minute, and so many may follow in it.
//!
//! A window is what a sender is told: after it the whole allowance is there again, and the wait until then is exact. Only
//! so many addresses are remembered; when more come, those whose windows are oldest are forgotten, so whoever comes from
//! very many addresses gets nothing but other windows cut short.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

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
    open: HashMap<IpAddr, (Duration, u32)>,
    /// The same windows, the oldest first.
    order: VecDeque<(Duration, IpAddr)>,
}

impl Clients {
    /// Counts a request from `address` at `now` (monotonic), if it is one of at most `limit` in its window.
    pub fn count(&self, address: IpAddr, limit: u32, now: Duration) -> Result<(), TooMany> {
        // Counters: what a panicking thread left behind is still right.
        let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        windows.close(now);
        let (began, requests) = windows.of(address.to_canonical(), now);
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
        if let Some((_, address)) = self.order.pop_front() {
            self.open.remove(&address);
        }
    }

    fn of(&mut self, address: IpAddr, now: Duration) -> &mut (Duration, u32) {
        if !self.open.contains_key(&address) {
            if self.order.len() == ADDRESSES_MAX {
                self.forget_oldest();
            }
            self.order.push_back((now, address));
        }
        self.open.entry(address).or_insert((now, 0))
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    fn address(number: u32) -> IpAddr {
        IpAddr::V6(Ipv6Addr::from(u128::from(number) | 0xfd00 << 112))
    }

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn a_window_has_its_allowance_and_the_next_one_has_it_again() {
        let clients = Clients::default();
        for second in [5, 5, 40] {
            assert_eq!(clients.count(address(1), 3, seconds(second)), Ok(()));
        }
        let refused = |wait| Err(TooMany { retry_after: seconds(wait) });
        assert_eq!(clients.count(address(1), 3, seconds(40)), refused(25));
        assert_eq!(clients.count(address(2), 3, seconds(40)), Ok(()));
        assert_eq!(clients.count(address(1), 3, Duration::from_millis(64_999)), refused(1));
        assert_eq!(clients.count(address(1), 3, seconds(65)), Ok(()));
        assert_eq!(clients.count(address(1), 1, seconds(65)), refused(60));
        assert_eq!(clients.count(address(1), 2, seconds(65)), Ok(()), "a new limit counts at once");
    }

    #[test]
    fn an_address_is_the_same_in_both_of_its_forms() {
        let clients = Clients::default();
        assert_eq!(clients.count("192.0.2.1".parse().unwrap(), 1, seconds(1)), Ok(()));
        assert!(clients.count("::ffff:192.0.2.1".parse().unwrap(), 1, seconds(1)).is_err());
    }

    #[test]
    fn of_too_many_addresses_the_oldest_are_forgotten() {
        let clients = Clients::default();
        let all = ADDRESSES_MAX as u32;
        for number in 0..=all {
            assert_eq!(clients.count(address(number), 1, seconds(1)), Ok(()));
        }
        assert!(clients.count(address(1), 1, seconds(1)).is_err());
        assert_eq!(clients.count(address(0), 1, seconds(1)), Ok(()), "it was the oldest");
        let windows = clients.0.lock().unwrap();
        assert_eq!((windows.open.len(), windows.order.len()), (ADDRESSES_MAX, ADDRESSES_MAX));
    }

    #[test]
    fn windows_that_are_over_take_no_memory() {
        let clients = Clients::default();
        for number in 0..100 {
            clients.count(address(number), 1, seconds(number.into())).unwrap();
        }
        let windows = clients.0.lock().unwrap();
        assert_eq!((windows.open.len(), windows.order.len()), (60, 60));
    }
}
