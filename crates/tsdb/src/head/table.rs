//! The series that are written now: identity, labels, newest sample.
//!
//! A series has a slot, a small number that log cells and WAL records use for it. The table is the truth for active
//! series, not a cache: a series that is in it is found by its id, whatever became of its aliases.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};

use codec::hash;
use foldhash::HashMap;
use hashbrown::HashTable;
use model::{Labels, LabelsRef, Matcher, SeriesId, TenantId};
use roaring::RoaringBitmap;

use super::alias::{AliasTable, Key};
use super::index::HeadIndex;
use super::lists::{Lists, Place};
use super::log::NO_CELL;
use super::numbered::Numbered;
use crate::room::Holding;

/// One active series.
pub(crate) struct Entry {
    pub(crate) id: SeriesId,
    /// Its first alias.
    alias: Key,
    /// Position of its newest cell in the log.
    pub(crate) tail: AtomicU64,
    /// Low half of the number of the WAL segment in which it was defined last.
    pub(crate) segment: AtomicU32,
    /// Monotonic second of the last append.
    pub(crate) seen_s: AtomicU32,
    pub(crate) tenant: TenantId,
    /// Its labels' numbers in the tenant's index.
    labels: Place,
    /// Whether the newest sample is a stale marker.
    pub(crate) stale: AtomicBool,
    /// Aliases beside the first.
    more_aliases: AtomicU8,
}

/// A million series are so many megabytes.
const _: () = assert!(size_of::<Option<Entry>>() == 64);

/// A slot number and a byte of its hash, in eight places for seven: what a hash table holds per series.
const HASHED_BYTES: u64 = 6;

/// Bytes that a series takes in entries and in the tables of ids and aliases, with their slack, and in lists of five labels.
const SERIES_BYTES: u64 = size_of::<Option<Entry>>() as u64 + 2 * 2 * HASHED_BYTES + 20;

/// All active series.
#[derive(Default)]
pub(crate) struct Table {
    entries: Numbered<Entry>,
    lists: Lists,
    ids: HashTable<u32>,
    /// Slots by their first alias.
    aliases: HashTable<u32>,
    more_aliases: AliasTable,
    tenants: HashMap<TenantId, TenantHead>,
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
}

impl TenantHead {
    /// Bytes that the tenant's series take, estimated.
    fn bytes(&self) -> u64 {
        self.index.bytes() + self.index.len() * SERIES_BYTES
    }
}

/// The id of a series: keyed, with the tenant mixed in.
pub(crate) fn series_id(id_seed: u64, tenant: TenantId, labels: LabelsRef<'_>) -> SeriesId {
    let seed = id_seed ^ u64::from(tenant.0).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    SeriesId(hash::key128(seed, labels.as_canonical().as_bytes()))
}

fn id_hash(id: SeriesId) -> u64 {
    id.0 as u64
}

impl Table {
    /// The entry of a slot that the caller got from this table and that was not evicted since.
    pub(crate) fn entry(&self, slot: u32) -> &Entry {
        self.entries.get(slot).expect("slots in use are not evicted")
    }

    /// The entry of a slot, if it is in use.
    pub(crate) fn get(&self, slot: u32) -> Option<&Entry> {
        self.entries.get(slot)
    }

    /// The slot of a series.
    pub(crate) fn find(&self, id: SeriesId) -> Option<u32> {
        self.ids.find(id_hash(id), |slot| self.entry(*slot).id == id).copied()
    }

    /// Adds a series that is not there yet.
    pub(crate) fn insert(
        &mut self,
        tenant: TenantId,
        id: SeriesId,
        labels: LabelsRef<'_>,
        now_s: u32,
    ) -> u32 {
        debug_assert!(self.find(id).is_none(), "the caller looked");
        let head = self.tenants.entry(tenant).or_default();
        // The entry wants the list, and the list is made when postings get the slot.
        let slot = self.entries.next();
        self.index_bytes -= head.index.bytes();
        head.index.insert(slot, labels);
        self.index_bytes += head.index.bytes();
        self.created += 1;
        let entry = Entry {
            id,
            alias: Key::NONE,
            tail: AtomicU64::new(NO_CELL),
            segment: AtomicU32::new(0),
            seen_s: AtomicU32::new(now_s),
            tenant,
            labels: self.lists.add(head.index.last()),
            stale: AtomicBool::new(false),
            more_aliases: AtomicU8::new(0),
        };
        let added = self.entries.add(entry);
        debug_assert_eq!(added, slot);
        let entries = &self.entries;
        let hash_of = |slot: &u32| entries.get(*slot).map_or(0, |entry| id_hash(entry.id));
        self.ids.insert_unique(id_hash(id), slot, hash_of);
        slot
    }

    /// Removes series; their slots will be given to others.
    pub(crate) fn remove(&mut self, slots: &RoaringBitmap) {
        let mut by_tenant: HashMap<TenantId, (RoaringBitmap, Vec<Place>)> = HashMap::default();
        let mut further = false;
        for slot in slots {
            let Some(entry) = self.entries.get(slot) else { continue };
            let (gone, lists) = by_tenant.entry(entry.tenant).or_default();
            gone.insert(slot);
            lists.push(entry.labels);
            further |= entry.more_aliases.load(Ordering::Relaxed) > 0;
            remove_slot(&mut self.ids, id_hash(entry.id), slot);
            remove_slot(&mut self.aliases, entry.alias.hash(), slot);
            self.entries.remove(slot);
            self.evicted += 1;
        }
        if further {
            self.more_aliases.retain(|slot| !slots.contains(slot));
        }
        for (tenant, (gone, places)) in by_tenant {
            let head = self.tenants.get_mut(&tenant).expect("its series were there");
            self.index_bytes -= head.index.bytes();
            head.index.remove_all(&gone, places.iter().map(|place| self.lists.get(*place)));
            self.index_bytes += head.index.bytes();
            if head.index.len() == 0 {
                self.index_bytes -= head.index.bytes();
                self.tenants.remove(&tenant);
            }
            places.into_iter().for_each(|place| self.lists.remove(place));
        }
        if slots.len() > 1024 {
            self.shrink();
        }
    }

    fn shrink(&mut self) {
        let entries = &self.entries;
        self.ids.shrink_to_fit(|slot| entries.get(*slot).map_or(0, |entry| id_hash(entry.id)));
        self.aliases.shrink_to_fit(|slot| entries.get(*slot).map_or(0, |entry| entry.alias.hash()));
        if self.lists.is_sparse() {
            let before = std::mem::take(&mut self.lists);
            for (_, entry) in self.entries.iter_mut() {
                entry.labels = self.lists.add(before.get(entry.labels));
            }
        }
    }

    /// The slot that a request's label bytes lead to.
    pub(crate) fn find_alias(&self, key: Key) -> Option<u32> {
        let first = self.aliases.find(key.hash(), |slot| self.entry(*slot).alias == key).copied();
        if first.is_none() && !self.more_aliases.is_empty() {
            return self.more_aliases.get(key);
        }
        first
    }

    /// Adds an alias that is not there, unless the series has so many.
    pub(crate) fn add_alias(&mut self, key: Key, slot: u32, most: u8) {
        if key == Key::NONE || self.find_alias(key).is_some() {
            return;
        }
        let Some(entry) = self.entries.get_mut(slot) else { return };
        if entry.alias == Key::NONE {
            entry.alias = key;
            let entries = &self.entries;
            let hash_of = |slot: &u32| entries.get(*slot).map_or(0, |entry| entry.alias.hash());
            self.aliases.insert_unique(key.hash(), slot, hash_of);
        } else if 1 + *entry.more_aliases.get_mut() < most {
            *entry.more_aliases.get_mut() += 1;
            self.more_aliases.insert(key, slot);
        }
    }

    /// Drops a tenant's aliases: its limits are others now, under which its series may not be what they were.
    pub(crate) fn forget_aliases(&mut self, tenant: TenantId, epoch: u32) {
        let Some(head) = self.tenants.get_mut(&tenant) else { return };
        head.epoch = epoch;
        let mut further = false;
        for slot in head.index.all() {
            let Some(entry) = self.entries.get_mut(slot) else { continue };
            remove_slot(&mut self.aliases, entry.alias.hash(), slot);
            entry.alias = Key::NONE;
            further |= std::mem::take(entry.more_aliases.get_mut()) > 0;
        }
        if further {
            let ours = head.index.all();
            self.more_aliases.retain(|slot| !ours.contains(slot));
        }
    }

    /// The index of an entry's tenant.
    pub(crate) fn index_of(&self, entry: &Entry) -> &HeadIndex {
        &self.tenants.get(&entry.tenant).expect("a series' tenant is there").index
    }

    /// The labels of an entry, by number in its tenant's index.
    pub(crate) fn list(&self, entry: &Entry) -> &[u32] {
        self.lists.get(entry.labels)
    }

    /// The labels of an entry.
    pub(crate) fn texts<'s>(&'s self, entry: &'s Entry) -> impl Iterator<Item = (&'s str, &'s str)> + 's {
        self.index_of(entry).texts(self.list(entry))
    }

    /// The labels of an entry; `scratch` keeps its memory from one call to the next.
    pub(crate) fn labels(&self, entry: &Entry, scratch: &mut String) -> Labels {
        Labels::collect_sorted(self.texts(entry), scratch)
    }

    /// Slots of series that have nothing left in the log and are idle since `idle_before_s`, ended, or deleted: of the
    /// tenant and satisfying all matchers.
    pub(crate) fn leaving(
        &self,
        base: u64,
        idle_before_s: u32,
        deleted: &[(TenantId, Vec<Matcher>)],
    ) -> RoaringBitmap {
        let leaves = |entry: &Entry| {
            entry.tail.load(Ordering::Relaxed) < base
                && (entry.seen_s.load(Ordering::Relaxed) < idle_before_s
                    || entry.stale.load(Ordering::Relaxed)
                    || deleted.iter().any(|(tenant, of)| self.is_of(entry, *tenant, of)))
        };
        self.entries.iter().filter(|(_, entry)| leaves(entry)).map(|(slot, _)| slot).collect()
    }

    /// Whether a slot's series is the tenant's and satisfies all matchers.
    pub(crate) fn satisfies(&self, slot: u32, tenant: TenantId, matchers: &[Matcher]) -> bool {
        self.get(slot).is_some_and(|entry| self.is_of(entry, tenant, matchers))
    }

    fn is_of(&self, entry: &Entry, tenant: TenantId, matchers: &[Matcher]) -> bool {
        let value = |name: &str| self.texts(entry).find(|(n, _)| *n == name).map_or("", |(_, value)| value);
        entry.tenant == tenant && matchers.iter().all(|m| m.matches(value(&m.name)))
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
        self.entries.end()
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
            all_bytes: self.index_bytes + self.len() * SERIES_BYTES,
            tenants: self.tenants.len() as u64 + u64::from(head.is_none()),
        }
    }

    /// Series removed since start. While this stays the same every slot in use stays the same series.
    pub(crate) fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Bytes held, estimated.
    pub(crate) fn bytes(&self) -> u64 {
        let hashed = (self.ids.capacity() + self.aliases.capacity()) as u64 * HASHED_BYTES;
        self.entries.bytes() + self.lists.bytes() + hashed + self.more_aliases.bytes() + self.index_bytes
    }

    /// Bytes held once there is room for one more series and `more` aliases: entries and hash tables grow by a lot at once.
    pub(crate) fn bytes_with_another(&self, more: usize) -> u64 {
        let full = self.ids.len() == self.ids.capacity();
        let ids = self.ids.capacity() * if full { 2 } else { 1 };
        // After a start the series are there and their aliases are yet to come.
        let hashed = (ids + ids.max(self.aliases.capacity())) as u64 * HASHED_BYTES;
        let further = self.more_aliases.bytes_with(more);
        self.entries.bytes_with_another() + self.lists.bytes() + hashed + further + self.index_bytes
    }
}

/// Removes a slot from a hash table, if it is there.
fn remove_slot(table: &mut HashTable<u32>, hash: u64, slot: u32) {
    if let Ok(found) = table.find_entry(hash, |other| *other == slot) {
        found.remove();
    }
}
