//! The series that are written now: identity, labels, newest sample.
//!
//! A series has a slot, a small number that log cells and WAL records use for it. The table is the truth for active
//! series, not a cache: a series that is in it is found by its id, whatever became of its aliases.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};

use codec::hash;
use foldhash::HashMap;
use hashbrown::HashTable;
use model::{Labels, Matcher, SeriesId, TenantId};
use roaring::RoaringBitmap;

use super::alias::ALIAS_BYTES;
use super::index::HeadIndex;
use super::log::NO_CELL;
use crate::room::Holding;

/// One active series.
pub(crate) struct Entry {
    pub(crate) id: SeriesId,
    pub(crate) labels: Labels,
    pub(crate) tenant: TenantId,
    /// Position of its newest cell in the log.
    pub(crate) tail: AtomicU64,
    /// The WAL segment in which it was defined last.
    pub(crate) segment: AtomicU64,
    /// Monotonic second of the last append.
    pub(crate) seen_s: AtomicU32,
    /// Whether the newest sample is a stale marker.
    pub(crate) stale: AtomicBool,
    pub(crate) aliases: AtomicU8,
}

/// Bytes that an entry takes, without its labels' text.
const ENTRY_BYTES: u64 = size_of::<Entry>() as u64;

/// A slot number and a hash of the id: what the id table holds per series, with its slack.
const ID_BYTES: u64 = 10;

/// Bytes that a series takes in entries, ids and aliases, whatever its labels are.
const SERIES_BYTES: u64 = ENTRY_BYTES + ID_BYTES + ALIAS_BYTES;

/// Bytes that an allocation takes beside its content: reference counts and the allocator's own.
const ALLOCATION_BYTES: u64 = 24;

/// All active series.
pub(crate) struct Table {
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
    ids: HashTable<u32>,
    tenants: HashMap<TenantId, TenantHead>,
    label_bytes: u64,
    /// Of all tenants' indexes.
    index_bytes: u64,
    created: u64,
    evicted: u64,
}

/// One tenant's part, made when its first series comes.
#[derive(Default)]
pub(crate) struct TenantHead {
    pub(crate) index: HeadIndex,
    /// Epoch of the tenant's limits under which aliases were made last.
    pub(crate) epoch: u32,
    label_bytes: u64,
}

impl TenantHead {
    /// Bytes that the tenant's series take, estimated.
    fn bytes(&self) -> u64 {
        self.label_bytes + self.index.bytes() + self.index.len() * SERIES_BYTES
    }
}

/// The id of a series: keyed, with the tenant mixed in.
pub(crate) fn series_id(id_seed: u64, tenant: TenantId, labels: &Labels) -> SeriesId {
    let seed = id_seed ^ u64::from(tenant.0).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    SeriesId(hash::key128(seed, labels.as_canonical().as_bytes()))
}

impl Table {
    pub(crate) fn new() -> Self {
        Self {
            entries: Vec::new(),
            free: Vec::new(),
            ids: HashTable::new(),
            tenants: HashMap::default(),
            label_bytes: 0,
            index_bytes: 0,
            created: 0,
            evicted: 0,
        }
    }

    /// The entry of a slot that the caller got from this table and that was not evicted since.
    pub(crate) fn entry(&self, slot: u32) -> &Entry {
        self.entries[slot as usize].as_ref().expect("slots in use are not evicted")
    }

    /// The entry of a slot, if it is in use.
    pub(crate) fn get(&self, slot: u32) -> Option<&Entry> {
        self.entries.get(slot as usize)?.as_ref()
    }

    /// The slot of a series.
    pub(crate) fn find(&self, id: SeriesId) -> Option<u32> {
        self.ids.find(id.0 as u64, |slot| self.entry(*slot).id == id).copied()
    }

    /// Adds a series that is not there yet.
    pub(crate) fn insert(&mut self, tenant: TenantId, id: SeriesId, labels: Labels, now_s: u32) -> u32 {
        debug_assert!(self.find(id).is_none(), "the caller looked");
        let slot = self.free.pop().unwrap_or_else(|| {
            if self.entries.len() == self.entries.capacity() {
                self.entries.reserve_exact(growth(self.entries.len()));
            }
            self.entries.push(None);
            u32::try_from(self.entries.len() - 1).expect("series counts are limited far below 2^32")
        });
        let label_bytes = label_bytes(&labels);
        let head = self.tenants.entry(tenant).or_default();
        self.index_bytes -= head.index.bytes();
        head.index.insert(slot, &labels);
        self.index_bytes += head.index.bytes();
        head.label_bytes += label_bytes;
        self.label_bytes += label_bytes;
        self.created += 1;
        self.entries[slot as usize] = Some(Entry {
            id,
            labels,
            tenant,
            tail: AtomicU64::new(NO_CELL),
            segment: AtomicU64::new(0),
            seen_s: AtomicU32::new(now_s),
            stale: AtomicBool::new(false),
            aliases: AtomicU8::new(0),
        });
        let entries = &self.entries;
        let hash_of = |slot: &u32| entries[*slot as usize].as_ref().map_or(0, |e| e.id.0 as u64);
        self.ids.insert_unique(id.0 as u64, slot, hash_of);
        slot
    }

    /// Removes series; their slots will be given to others.
    pub(crate) fn remove(&mut self, slots: &RoaringBitmap) {
        let mut by_tenant: HashMap<TenantId, RoaringBitmap> = HashMap::default();
        for slot in slots {
            let Some(entry) = self.entries[slot as usize].take() else { continue };
            by_tenant.entry(entry.tenant).or_default().insert(slot);
            let label_bytes = label_bytes(&entry.labels);
            self.label_bytes -= label_bytes;
            self.tenants.get_mut(&entry.tenant).expect("its series were there").label_bytes -= label_bytes;
            self.evicted += 1;
            if let Ok(found) = self.ids.find_entry(entry.id.0 as u64, |s| *s == slot) {
                found.remove();
            }
            self.free.push(slot);
        }
        for (tenant, gone) in by_tenant {
            let head = self.tenants.get_mut(&tenant).expect("its series were there");
            self.index_bytes -= head.index.bytes();
            head.index.remove_all(&gone);
            self.index_bytes += head.index.bytes();
            if head.index.len() == 0 {
                self.tenants.remove(&tenant);
            }
        }
        if slots.len() > 1024 {
            let entries = &self.entries;
            self.ids.shrink_to_fit(|slot| entries[*slot as usize].as_ref().map_or(0, |e| e.id.0 as u64));
        }
    }

    /// Slots of series that have nothing left in the log and are idle since `idle_before_s`, ended, or deleted: of the
    /// tenant and satisfying all matchers.
    pub(crate) fn leaving(
        &self,
        base: u64,
        idle_before_s: u32,
        deleted: &[(TenantId, Vec<Matcher>)],
    ) -> RoaringBitmap {
        let satisfies = |entry: &Entry, matchers: &[Matcher]| {
            matchers.iter().all(|m| m.matches(entry.labels.get(&m.name).unwrap_or("")))
        };
        let leaves = |entry: &Entry| {
            entry.tail.load(Ordering::Relaxed) < base
                && (entry.seen_s.load(Ordering::Relaxed) < idle_before_s
                    || entry.stale.load(Ordering::Relaxed)
                    || deleted.iter().any(|(tenant, of)| *tenant == entry.tenant && satisfies(entry, of)))
        };
        let entries = self.entries.iter().enumerate();
        entries.filter(|(_, e)| e.as_ref().is_some_and(leaves)).map(|(slot, _)| slot as u32).collect()
    }

    /// A tenant's part, if it has series.
    pub(crate) fn tenant(&self, tenant: TenantId) -> Option<&TenantHead> {
        self.tenants.get(&tenant)
    }

    /// A tenant's part, if it has series, to change its epoch.
    pub(crate) fn tenant_mut(&mut self, tenant: TenantId) -> Option<&mut TenantHead> {
        self.tenants.get_mut(&tenant)
    }

    /// Highest slot + 1.
    pub(crate) fn slots(&self) -> usize {
        self.entries.len()
    }

    /// Active series.
    pub(crate) fn len(&self) -> u64 {
        self.ids.len() as u64
    }

    /// Series made and removed since start.
    pub(crate) fn turnover(&self) -> (u64, u64) {
        (self.created, self.evicted)
    }

    /// What a tenant's series take of what all series take.
    pub(crate) fn holding(&self, tenant: TenantId) -> Holding {
        let head = self.tenants.get(&tenant);
        Holding {
            bytes: head.map_or(0, TenantHead::bytes),
            all_bytes: self.label_bytes + self.index_bytes + self.len() * SERIES_BYTES,
            tenants: self.tenants.len() as u64 + u64::from(head.is_none()),
        }
    }

    /// Series removed since start. While this stays the same every slot in use stays the same series.
    pub(crate) fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Bytes held, estimated.
    pub(crate) fn bytes(&self) -> u64 {
        let slots = self.entries.capacity() as u64 * ENTRY_BYTES + self.free.capacity() as u64 * 4;
        slots + self.ids.capacity() as u64 * ID_BYTES + self.label_bytes + self.index_bytes
    }

    /// Bytes held once there is room for one more series: where there is none, entries and ids grow by a lot at once.
    pub(crate) fn bytes_with_another(&self) -> u64 {
        let mut bytes = self.bytes();
        if self.free.is_empty() && self.entries.len() == self.entries.capacity() {
            bytes += growth(self.entries.len()) as u64 * ENTRY_BYTES;
        }
        if self.ids.len() == self.ids.capacity() {
            bytes += self.ids.capacity() as u64 * ID_BYTES;
        }
        bytes
    }
}

/// Entries to make room for when there are so many: by a quarter rather than to the double, since the part that is not
/// used yet counts as memory that series take.
fn growth(entries: usize) -> usize {
    entries / 4 + 64
}

/// Bytes that a series' label text takes.
fn label_bytes(labels: &Labels) -> u64 {
    labels.as_canonical().len() as u64 + ALLOCATION_BYTES
}
