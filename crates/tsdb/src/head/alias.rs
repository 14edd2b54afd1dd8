//! From the label bytes of a request straight to the series.
//!
//! A key is the 128-bit hash of a label list as it lay on the wire, mixed with tenant and epoch; the table leads to
//! the series' slot. It is filled by the slow path (decode, sort, check), so a hit means that exactly these bytes were
//! accepted for this tenant under these limits before. An alias dies with its series and with its tenant's epoch.

use hashbrown::HashTable;
use model::TenantId;

/// Aliases that a series may have: a sender has one order of labels, a second dialect another.
pub(crate) const ALIASES_MAX: u8 = 4;

/// Bytes that an alias takes in the table, with the table's slack.
pub(crate) const ALIAS_BYTES: u64 = 40;

/// A request's label bytes, made unique to tenant and epoch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Key {
    high: u64,
    low: u64,
}

impl Key {
    /// `hash` is keyed with a secret seed; mixing by xor keeps different hashes of one tenant different.
    pub(crate) fn new(hash: u128, tenant: TenantId, epoch: u32) -> Self {
        let salt = mix(u64::from(tenant.0) << 32 | u64::from(epoch));
        Self { high: (hash >> 64) as u64 ^ salt, low: hash as u64 ^ mix(salt) }
    }
}

/// SplitMix64's finaliser.
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

struct Alias {
    high: u64,
    low: u64,
    slot: u32,
    epoch: u32,
}

/// The table. At most one reader-writer lock is taken per request, not per series.
#[derive(Default)]
pub(crate) struct AliasTable {
    table: HashTable<Alias>,
}

impl AliasTable {
    /// The slot that `key` leads to.
    pub(crate) fn get(&self, key: Key) -> Option<u32> {
        self.table.find(key.low, |a| a.low == key.low && a.high == key.high).map(|a| a.slot)
    }

    /// Adds an alias; false when it is there already.
    pub(crate) fn insert(&mut self, key: Key, slot: u32, epoch: u32) -> bool {
        if self.get(key).is_some() {
            return false;
        }
        let alias = Alias { high: key.high, low: key.low, slot, epoch };
        self.table.insert_unique(key.low, alias, |a| a.low);
        true
    }

    /// Keeps the aliases for which `keep(slot, epoch)` holds.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(u32, u32) -> bool) {
        self.table.retain(|a| keep(a.slot, a.epoch));
        if self.table.len() * 4 < self.table.capacity() {
            self.table.shrink_to_fit(|a| a.low);
        }
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> u64 {
        self.table.capacity() as u64 * ALIAS_BYTES * 7 / 8
    }

    /// Bytes held once each of so many series has one and `more` are added: a table without room grows to the double.
    pub(crate) fn bytes_for(&self, series: u64, more: usize) -> u64 {
        let aliases = self.table.len().max(series as usize) + more;
        let grown = (aliases * 8 / 7 + 1).next_power_of_two() * 7 / 8;
        let capacity = if aliases <= self.table.capacity() { self.table.capacity() } else { grown };
        capacity as u64 * ALIAS_BYTES * 7 / 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenants_and_epochs_do_not_share_aliases() {
        let mut table = AliasTable::default();
        let key = Key::new(42, TenantId(1), 0);
        assert!(table.insert(key, 7, 0));
        assert!(!table.insert(key, 8, 0));
        assert_eq!(table.get(key), Some(7));
        assert_eq!(table.get(Key::new(42, TenantId(2), 0)), None);
        assert_eq!(table.get(Key::new(42, TenantId(1), 1)), None);
        table.retain(|slot, _| slot != 7);
        assert_eq!(table.get(key), None);
    }
}
