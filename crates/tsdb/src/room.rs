//! Memory that tenants share: who may still take more of it when it gets tight.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use foldhash::{HashMap, HashMapExt};
use model::{Histogram, TenantId};

use crate::head::table::Table;
use crate::store::Inner;
use crate::totals::Running;

/// Two bounds of one budget. Past the first, tenants that hold their even part or more take no more; past the last,
/// nobody does. What lies between is for the small ones, so that one tenant's growth is not the others' end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    first: u64,
    last: u64,
}

/// What a tenant holds of a budget, beside all others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Holding {
    pub(crate) bytes: u64,
    pub(crate) all_bytes: u64,
    /// Tenants that hold something, this one among them.
    pub(crate) tenants: u64,
}

impl Bounds {
    /// 80 % and 90 % of a budget.
    pub(crate) fn of(budget: u64) -> Self {
        Self { first: budget / 10 * 8, last: budget / 10 * 9 }
    }

    /// Whether a tenant may not take what would make the whole `taken` bytes.
    pub(crate) fn refuse(self, taken: u64, holding: impl FnOnce() -> Holding) -> bool {
        let over_even_part = |held: Holding| held.bytes.saturating_mul(held.tenants) >= held.all_bytes;
        taken > self.last || taken > self.first && over_even_part(holding())
    }
}

/// What new series may take, as a request that makes some found it.
pub(crate) struct SeriesRoom {
    bounds: Bounds,
    /// Bytes of everything but the table.
    beside: u64,
    /// Label lists that are not known.
    aliases: usize,
}

impl SeriesRoom {
    /// Whether a tenant may not make another series.
    pub(crate) fn refuses(&self, table: &Table, tenant: TenantId) -> bool {
        self.bounds.refuse(self.beside + table.bytes_with_another(self.aliases), || table.holding(tenant))
    }

    /// Whether some tenants may not.
    pub(crate) fn is_short(&self, table: &Table) -> bool {
        self.beside + table.bytes_with_another(self.aliases) > self.bounds.first
    }
}

/// What totals of native histograms may take, as a group of appends found it: a part of the memory, since they stay as long
/// as their series are in the head.
pub(crate) struct TotalsRoom {
    bounds: Bounds,
    taken: u64,
    /// What each tenant holds, where that matters.
    holdings: HashMap<TenantId, u64>,
    /// Bytes of the group's rows that show totals, all and each tenant's, and how many there may be: a delta of a few bytes
    /// has a row with the whole total.
    shown: u64,
    shown_of: HashMap<TenantId, u64>,
    shown_max: u64,
}

/// The part of the memory that totals of native histograms may take.
const TOTALS_PART: u64 = 4;
/// The part that a group's rows of them may take until it is written.
const SHOWN_PART: u64 = 8;

impl TotalsRoom {
    pub(crate) fn new(memory_bytes: u64, totals: &Running<Arc<Histogram>>, table: &Table) -> Self {
        let (bounds, taken) = (Bounds::of(memory_bytes / TOTALS_PART), totals.value_bytes());
        let mut holdings = HashMap::new();
        // A group brings less than lies between the bound and here.
        if taken > bounds.first / 2 {
            totals.each(|slot, bytes| *holdings.entry(table.entry(slot).tenant).or_default() += bytes);
        }
        let shown_max = memory_bytes / SHOWN_PART;
        Self { bounds, taken, holdings, shown: 0, shown_of: HashMap::new(), shown_max }
    }

    /// Takes the bytes of a row that shows a total; a tenant may have half of a group's.
    pub(crate) fn show(&mut self, tenant: TenantId, bytes: u64) -> bool {
        let own = self.shown_of.entry(tenant).or_default();
        let fits = *own + bytes <= self.shown_max / 2 && self.shown + bytes <= self.shown_max;
        if fits {
            *own += bytes;
            self.shown += bytes;
        }
        fits
    }

    /// Takes some bytes, if the tenant may.
    pub(crate) fn take(&mut self, tenant: TenantId, bytes: u64) -> bool {
        let held = *self.holdings.entry(tenant).or_default();
        let tenants = self.holdings.len() as u64;
        let holding = || Holding { bytes: held, all_bytes: self.taken, tenants };
        let refuses = self.bounds.refuse(self.taken + bytes, holding);
        if !refuses {
            self.taken += bytes;
            self.holdings.insert(tenant, held + bytes);
        }
        !refuses
    }
}

impl Inner {
    /// The room for new series when a request brings `aliases` label lists that are not known.
    ///
    /// Unflushed samples, pages, queue and a merge's indexes count as full even while they are not: they fill up with time,
    /// whatever series there are then, and at the end of the budget writes to existing series would be refused too. They
    /// count for half the budget at most, so that sizes that do not fit together leave some room for series.
    pub(crate) fn series_room(&self, aliases: usize) -> SeriesRoom {
        let options = &self.options;
        let parts = [options.flush_bytes, options.cache_bytes, options.queue_bytes, options.merge_bytes()];
        let reserve = parts.into_iter().fold(0, u64::saturating_add);
        let merge = self.counters.compaction_memory_bytes.load(Ordering::Relaxed);
        let used = self.unflushed_bytes() + self.cache.bytes() + self.queue.bytes() + merge;
        let metadata = self.metadata.read().expect("lock").bytes();
        let totals = self.counters.totals_bytes.load(Ordering::Relaxed);
        let beside = metadata + totals + used.max(reserve.min(options.memory_bytes / 2));
        SeriesRoom { bounds: Bounds::of(options.memory_bytes), beside, aliases }
    }
}
