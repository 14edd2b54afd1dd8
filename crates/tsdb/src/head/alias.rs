//! From the label bytes of a request straight to the series.
//!
//! A key is the 128-bit hash of a label list as it lay on the wire, mixed with tenant and epoch; it leads to the series'
//! slot. It is made by the slow path (decode, sort, check), so a hit means that exactly these bytes were accepted for this
//! tenant under these limits before. The first key of a series stands in its entry; here are the further ones, of senders
//! that order labels otherwise. An alias dies with its series and with its tenant's epoch.

use hashbrown::HashTable;
use model::TenantId;

/// Aliases that a series may have: a sender has one order of labels, a second dialect another.
pub(crate) const ALIASES_MAX: u8 = 4;

/// Bytes that an alias takes in the table, with the table's slack.
const ALIAS_BYTES: u64 = 40;

/// A request's label bytes, made unique to tenant and epoch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Key {
    high: u64,
    low: u64,
}

impl Key {
    /// Stands where there is no key. A request whose key it is finds its series by the slow path, always.
    pub(crate) const NONE: Key = Key { high: 0, low: 0 };

    /// `hash` is keyed with a secret seed; mixing by xor keeps different hashes of one tenant different.
    pub(crate) fn new(hash: u128, tenant: TenantId, epoch: u32) -> Self {
        let salt = mix(u64::from(tenant.0) << 32 | u64::from(epoch));
        Self { high: (hash >> 64) as u64 ^ salt, low: hash as u64 ^ mix(salt) }
    }

    /// For a hash table.
    pub(crate) fn hash(&self) -> u64 {
        self.low
    }
}

/// SplitMix64's finaliser.
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The table.
#[derive(Default)]
pub(crate) struct AliasTable {
    table: HashTable<(Key, u32)>,
}

impl AliasTable {
    /// The slot that `key` leads to.
    pub(crate) fn get(&self, key: Key) -> Option<u32> {
        self.table.find(key.hash(), |(known, _)| *known == key).map(|(_, slot)| *slot)
    }

    /// Adds an alias that is not there.
    pub(crate) fn insert(&mut self, key: Key, slot: u32) {
        self.table.insert_unique(key.hash(), (key, slot), |(key, _)| key.hash());
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Keeps the aliases of the slots for which `keep` holds.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(u32) -> bool) {
        self.table.retain(|(_, slot)| keep(*slot));
        if self.table.len() * 4 < self.table.capacity() {
            self.table.shrink_to_fit(|(key, _)| key.hash());
        }
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> u64 {
        bytes_of(self.table.capacity())
    }

    /// Bytes held once `more` are added: a table without room grows to the double.
    pub(crate) fn bytes_with(&self, more: usize) -> u64 {
        let aliases = self.table.len() + more;
        if aliases <= self.table.capacity() {
            return self.bytes();
        }
        bytes_of((aliases * 8 / 7 + 1).next_power_of_two() * 7 / 8)
    }
}

fn bytes_of(capacity: usize) -> u64 {
    capacity as u64 * ALIAS_BYTES * 7 / 8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenants_and_epochs_do_not_share_aliases() {
        let mut table = AliasTable::default();
        let key = Key::new(42, TenantId(1), 0);
        table.insert(key, 7);
        assert_eq!(table.get(key), Some(7));
        assert_eq!(table.get(Key::new(42, TenantId(2), 0)), None);
        assert_eq!(table.get(Key::new(42, TenantId(1), 1)), None);
        table.retain(|slot| slot != 7);
        assert!(table.get(key).is_none() && table.is_empty());
    }
}
