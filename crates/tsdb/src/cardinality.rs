//! How many series have which labels: what a tenant should know before it has too many.
//!
//! Head and blocks are not counted together, which would take the id of every series: a label counts as often as in the
//! head or in one of the blocks, whichever is most. A series that is written all the time is in all of them. Only blocks of
//! the tenant's last day are asked. It goes on name by name, so what is held is the values of one name.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use model::labels::METRIC_NAME;
use model::select::Stop;
use model::{Budget, TenantId, TimeRange};
use roaring::RoaringBitmap;

use crate::block::{BlockError, Level};
use crate::head::scan::Scan;
use crate::lookup::{Found, LookupError};
use crate::select::{Part, SelectError};
use crate::status::HeadRange;
use crate::store::{Inner, Store};

/// How far before the tenant's last sample a block may end.
const BACK_MS: i64 = 24 * 3_600_000;

/// Bytes of an entry beside its text, in a map or a list.
const ENTRY_BYTES: u64 = 64;

/// A name, or a name and a value as `name=value`, and how often.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Count {
    /// What is counted.
    pub name: String,
    /// How much of it there is.
    pub count: u64,
}

/// Numbers of a tenant's series; lists begin with the most.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cardinality {
    /// Series in the head.
    pub head_series: u64,
    /// From the tenant's first sample in the head to its last; `None` without any.
    pub head_range: Option<TimeRange>,
    /// Labels: names with a value.
    pub labels: u64,
    /// Series by metric name.
    pub series_by_metric: Vec<Count>,
    /// Values by label name.
    pub values_by_name: Vec<Count>,
    /// Bytes of values, once for each series, by label name.
    pub bytes_by_name: Vec<Count>,
    /// Series by label.
    pub series_by_label: Vec<Count>,
}

/// A block as one tenant sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockPart {
    /// The file's id.
    pub id: u64,
    /// How far it was compacted.
    pub level: Level,
    /// From the tenant's first sample in it to its last.
    pub range: TimeRange,
    /// The tenant's series in it.
    pub series: u32,
    /// The tenant's samples in it.
    pub samples: u64,
    /// The tenant's bytes in it.
    pub bytes: u64,
    /// Deletes that mask something in it.
    pub tombstones: usize,
}

impl Store {
    /// Counts a tenant's series by label; lists have `most` entries at most.
    pub fn cardinality(
        &self,
        tenant: TenantId,
        most: usize,
        budget: &Budget,
    ) -> Result<Found<Cardinality>, SelectError> {
        let inner = &*self.inner;
        let (mut warnings, mut damaged) = (inner.warnings(tenant), Vec::new());
        let head_series = self.tenant_status(tenant).head_series;
        let mut parts = Vec::new();
        for live in self.inner.view.read().expect("lock").clone().blocks_in(tenant, self.last_day(tenant)) {
            let opened = Part::open(&live, tenant, budget, &mut damaged);
            let counted = opened.and_then(|part| match part {
                Some(part) => Counted::of(part, budget, &mut damaged).map(Some),
                None => Ok(None),
            });
            match counted {
                Ok(part) => parts.extend(part),
                Err(BlockError::Damaged(unit)) => damaged.push(unit),
                Err(error) => return Err(error.into()),
            }
        }
        let scan = inner.scan(tenant, budget);
        let mut names: BTreeSet<String> = scan.names(&[])?.into_iter().collect();
        for part in &parts {
            match part.part.section.label_names(None, &mut damaged) {
                Ok(found) => names.extend(found),
                Err(error) => return Err(error.into()),
            }
        }
        let mut tops = Tops::new(most);
        for name in names {
            let mut values: BTreeMap<String, u64> = BTreeMap::new();
            let mut held = 0;
            let mut add = |value: String, series: u64| {
                match values.get_mut(&value) {
                    Some(known) => *known = series.max(*known),
                    None => {
                        let bytes = value.len() as u64 + ENTRY_BYTES;
                        budget.charge(bytes)?;
                        held += bytes;
                        values.insert(value, series);
                    }
                }
                Ok::<(), SelectError>(())
            };
            scan.each_value_count(&name, &mut add)?;
            for Counted { part, left } in &parts {
                let mut each = |value: &str, series: u64| add(value.to_owned(), series);
                part.section.each_value_count(&name, left.as_ref(), budget, &mut damaged, &mut each)?;
            }
            tops.add(&name, &values, budget)?;
            drop(values);
            budget.release(held);
        }
        warnings.extend(inner.note_damaged(&mut damaged));
        let head_range = inner.head_range_of(&scan)?;
        let found = Cardinality { head_series, head_range, ..tops.end() };
        Ok(Found { found, warnings: warnings.into_iter().collect() })
    }

    /// The tenant's live blocks, oldest first.
    pub fn blocks_of(&self, tenant: TenantId) -> Vec<BlockPart> {
        let always = TimeRange { start_ms: i64::MIN, end_ms: i64::MAX };
        let blocks = self.inner.view.read().expect("lock").clone().blocks_in(tenant, always);
        let part = |live: crate::store::LiveBlock| {
            let meta = live.block.meta();
            let section = meta.section(tenant)?;
            let range =
                TimeRange { start_ms: section.range.start_ms.max(live.left.start_ms), ..section.range };
            Some(BlockPart {
                id: meta.id,
                level: meta.level,
                range,
                series: section.series,
                samples: section.samples,
                bytes: section.bytes,
                tombstones: live.tombstones.len(),
            })
        };
        blocks.into_iter().filter_map(part).collect()
    }

    /// The day before the last sample that the tenant has in a block, and what comes after.
    fn last_day(&self, tenant: TenantId) -> TimeRange {
        let newest_ms = self.blocks_of(tenant).iter().map(|part| part.range.end_ms).max();
        let start_ms = newest_ms.map_or(i64::MIN, |newest_ms| newest_ms.saturating_sub(BACK_MS));
        TimeRange { start_ms, end_ms: i64::MAX }
    }
}

impl Inner {
    /// When a tenant's samples in the head are. When others' are is not its business.
    fn head_range_of(&self, scan: &Scan<'_>) -> Result<Option<TimeRange>, Stop> {
        loop {
            let (ours, range) = (scan.select(&[])?, HeadRange::empty());
            let include = |slot: u32, timestamp_ms: i64| {
                if ours.has(slot) {
                    range.include(timestamp_ms);
                }
            };
            self.log.snapshot().each_since(i64::MIN, |slot, timestamp_ms, _| include(slot, timestamp_ms));
            self.sides.read().expect("lock").each_time(include);
            if scan.is_current(&ours)? {
                let range = range.get();
                return Ok((range.start_ms <= range.end_ms).then_some(range));
            }
        }
    }
}

/// A section, and its series that are not all deleted when some are.
struct Counted {
    part: Part,
    left: Option<RoaringBitmap>,
}

impl Counted {
    fn of(part: Part, budget: &Budget, damaged: &mut Vec<crate::block::Damaged>) -> Result<Self, BlockError> {
        let left = part.narrowed(&[], budget, damaged)?;
        Ok(Self { left: left.map(|ordinals| ordinals.into_iter().collect()), part })
    }
}

impl From<LookupError> for SelectError {
    fn from(error: LookupError) -> Self {
        match error {
            LookupError::Select(error) => error,
            LookupError::Block(error) => error.into(),
        }
    }
}

/// The lists while they are made.
struct Tops {
    labels: u64,
    metrics: Top,
    values: Top,
    bytes: Top,
    pairs: Top,
}

impl Tops {
    fn new(most: usize) -> Self {
        let top = || Top { most, heap: BinaryHeap::new() };
        Self { labels: 0, metrics: top(), values: top(), bytes: top(), pairs: top() }
    }

    fn add(&mut self, name: &str, values: &BTreeMap<String, u64>, budget: &Budget) -> Result<(), Stop> {
        // A value of which all series are deleted is not one.
        let live = || values.iter().filter(|(_, series)| **series > 0);
        let count = live().count() as u64;
        if count == 0 {
            return Ok(());
        }
        self.labels += count;
        self.values.offer(count, budget, || name.to_owned())?;
        let bytes = live().map(|(value, series)| value.len() as u64 * series).sum();
        self.bytes.offer(bytes, budget, || name.to_owned())?;
        for (value, series) in live() {
            if name == METRIC_NAME {
                self.metrics.offer(*series, budget, || value.clone())?;
            }
            self.pairs.offer(*series, budget, || format!("{name}={value}"))?;
        }
        Ok(())
    }

    fn end(self) -> Cardinality {
        Cardinality {
            labels: self.labels,
            series_by_metric: self.metrics.list(),
            values_by_name: self.values.list(),
            bytes_by_name: self.bytes.list(),
            series_by_label: self.pairs.list(),
            ..Cardinality::default()
        }
    }
}

/// The largest counts; of equal ones those whose names come first.
struct Top {
    most: usize,
    /// The least of them on top.
    heap: BinaryHeap<Reverse<(u64, Reverse<String>)>>,
}

impl Top {
    fn offer(&mut self, count: u64, budget: &Budget, name: impl FnOnce() -> String) -> Result<(), Stop> {
        let least = self.heap.peek().map_or(0, |Reverse((least, _))| *least);
        if self.heap.len() == self.most && count < least {
            return Ok(());
        }
        let name = name();
        budget.charge(name.len() as u64 + ENTRY_BYTES)?;
        self.heap.push(Reverse((count, Reverse(name))));
        if self.heap.len() > self.most
            && let Some(Reverse((_, Reverse(gone)))) = self.heap.pop()
        {
            budget.release(gone.len() as u64 + ENTRY_BYTES);
        }
        Ok(())
    }

    fn list(self) -> Vec<Count> {
        let sorted = self.heap.into_sorted_vec();
        sorted.into_iter().map(|Reverse((count, Reverse(name)))| Count { name, count }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_are_kept_in_their_order() {
        let (mut top, budget) =
            (Top { most: 3, heap: BinaryHeap::new() }, Budget::new(4 * (1 + ENTRY_BYTES)));
        for (name, count) in [("b", 2), ("d", 1), ("a", 2), ("c", 5), ("e", 2)] {
            top.offer(count, &budget, || name.to_owned()).unwrap();
        }
        assert_eq!(budget.used(), 3 * (1 + ENTRY_BYTES));
        let too_long = top.offer(9, &budget, || "x".repeat(200));
        assert!(matches!(too_long, Err(Stop::OverBudget { .. })), "{too_long:?}");
        let list: Vec<_> = top.list().into_iter().map(|entry| (entry.name, entry.count)).collect();
        assert_eq!(list, [("c".to_owned(), 5), ("a".to_owned(), 2), ("b".to_owned(), 2)]);
    }
}
