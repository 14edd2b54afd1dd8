//! Verified pages in memory, up to a number of bytes.
//!
//! Sixteen shards, each with a clock: a page that was used since the hand last passed gets another round. That is as
//! good as LRU for scans over pages of one size and a hit writes one flag under the shard's lock. Only pages whose
//! checksum held come in.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::page::PAGE_HEADER;
use super::root::Root;

const SHARDS: usize = 16;
/// What a page costs beside its bytes.
const OVERHEAD: u64 = 128;

/// A page whose checksum held.
#[derive(Debug)]
pub(super) struct Page {
    bytes: Box<[u8]>,
    /// Parsed once, when the page is the root of an index.
    pub(super) root: OnceLock<Arc<Root>>,
}

impl Page {
    /// Wraps bytes that were checked.
    pub(super) fn new(bytes: Box<[u8]>) -> Page {
        Page { bytes, root: OnceLock::new() }
    }

    /// What stands behind the header.
    pub(super) fn payload(&self) -> &[u8] {
        self.bytes.get(PAGE_HEADER..).unwrap_or(&[])
    }

    fn cost(&self) -> u64 {
        self.bytes.len() as u64 + OVERHEAD
    }
}

/// File id and offset of a page.
type Key = (u64, u64);

#[derive(Debug)]
struct Slot {
    key: Key,
    page: Arc<Page>,
    used: bool,
}

#[derive(Debug, Default)]
struct Shard {
    slots: Vec<Slot>,
    by_key: HashMap<Key, usize, foldhash::fast::RandomState>,
    hand: usize,
    bytes: u64,
}

/// Pages of blocks, shared by all blocks of a store.
#[derive(Debug)]
pub struct PageCache {
    shards: [Mutex<Shard>; SHARDS],
    shard_bytes_max: u64,
}

impl PageCache {
    /// A cache of at most `bytes_max` bytes. A page larger than a sixteenth of it is never kept.
    pub fn new(bytes_max: u64) -> Arc<PageCache> {
        let shards = std::array::from_fn(|_| Mutex::default());
        Arc::new(PageCache { shards, shard_bytes_max: bytes_max / SHARDS as u64 })
    }

    /// Bytes held now.
    pub fn bytes(&self) -> u64 {
        self.shards.iter().map(|shard| lock(shard).bytes).sum()
    }

    /// Drops the pages of a file that is being removed.
    pub fn forget(&self, file: u64) {
        for shard in &self.shards {
            let mut shard = lock(shard);
            while let Some(at) = shard.slots.iter().position(|slot| slot.key.0 == file) {
                shard.remove(at);
            }
        }
    }

    pub(super) fn get(&self, file: u64, offset: u64) -> Option<Arc<Page>> {
        let mut shard = lock(self.shard(file, offset));
        let at = *shard.by_key.get(&(file, offset))?;
        let slot = shard.slots.get_mut(at)?;
        slot.used = true;
        Some(slot.page.clone())
    }

    pub(super) fn insert(&self, file: u64, offset: u64, page: &Arc<Page>) {
        if page.cost() > self.shard_bytes_max {
            return;
        }
        let mut shard = lock(self.shard(file, offset));
        if shard.by_key.contains_key(&(file, offset)) {
            return;
        }
        while shard.bytes + page.cost() > self.shard_bytes_max {
            shard.evict();
        }
        shard.bytes += page.cost();
        let at = shard.slots.len();
        shard.by_key.insert((file, offset), at);
        shard.slots.push(Slot { key: (file, offset), page: page.clone(), used: false });
    }

    fn shard(&self, file: u64, offset: u64) -> &Mutex<Shard> {
        let mixed = (file ^ offset.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        &self.shards[(mixed >> 60) as usize % SHARDS]
    }
}

/// A shard is whole between any two of its statements that can panic, so a poisoned lock is only a lock.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shard {
    /// Removes the next page that was not used since the hand last passed.
    fn evict(&mut self) {
        loop {
            self.hand = if self.hand < self.slots.len() { self.hand } else { 0 };
            match self.slots.get_mut(self.hand) {
                Some(slot) if slot.used => slot.used = false,
                Some(_) => return self.remove(self.hand),
                None => return,
            }
            self.hand += 1;
        }
    }

    fn remove(&mut self, at: usize) {
        let slot = self.slots.swap_remove(at);
        self.bytes -= slot.page.cost();
        self.by_key.remove(&slot.key);
        if let Some(moved) = self.slots.get(at) {
            self.by_key.insert(moved.key, at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(length: usize) -> Arc<Page> {
        Arc::new(Page::new(vec![0; length].into()))
    }

    #[test]
    fn bytes_stay_bounded_and_used_pages_stay() {
        let cache = PageCache::new(16 * 10_000);
        for file in 0..1000u64 {
            cache.insert(file, 64, &page(1000));
            assert!(cache.get(0, 64).is_some(), "a page used in every round stays, file {file}");
            assert!(cache.bytes() <= 160_000);
        }
        assert!(cache.bytes() > 100_000);
        cache.forget(0);
        assert!(cache.get(0, 64).is_none());
        cache.insert(7, 0, &page(20_000));
        assert!(cache.get(7, 0).is_none(), "a page larger than a shard is not kept");
    }
}
