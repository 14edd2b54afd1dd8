//! How many descriptors the process may have, and how many of them may be connections.
//!
//! A shell gives 1,024 by default, fewer than there may be connections: accepting would fail and nobody could be told
//! why. So the limit is raised as far as it goes (nothing here uses `select`, for which it is kept low), and the rest
//! is shared between connections and the store's files.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit to the hard one; gives what it is then, none when there is none.
pub fn raise() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum,
        Err(_) => current,
    }
}

/// Of `wanted` connections, how many there can be with `limit` descriptors: three in four of these.
pub fn connections(wanted: usize, limit: Option<u64>) -> usize {
    let possible = limit.map_or(usize::MAX, |limit| usize::try_from(limit / 4 * 3).unwrap_or(usize::MAX));
    wanted.min(possible.max(1))
}

/// Of `wanted` files of blocks, how many may stay open with `limit` descriptors: one in eight of these.
pub fn blocks(wanted: usize, limit: Option<u64>) -> usize {
    let possible = limit.map_or(usize::MAX, |limit| usize::try_from(limit / 8).unwrap_or(usize::MAX));
    wanted.min(possible.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_keeps_its_part() {
        assert_eq!(connections(4096, Some(1024)), 768);
        assert_eq!(connections(4096, Some(20_000)), 4096);
        assert_eq!(connections(4096, None), 4096);
        assert_eq!(connections(4096, Some(0)), 1);
        assert_eq!(blocks(256, Some(100)), 12);
        assert_eq!(blocks(256, Some(20_000)), 256);
        assert_eq!(blocks(256, None), 256);
        assert_eq!(blocks(256, Some(0)), 1);
    }

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let raised = raise();
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        assert_eq!((raised, current), (maximum, maximum));
    }
}
