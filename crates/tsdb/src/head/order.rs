//! Series of the head in the order of blocks, as a flush writes them.
//!
//! Sorting label sets by their text is what a flush of many series would mostly do. Instead each tenant's labels are
//! ranked once and series are sorted by ranks. All is copied from the table part by part, so that whoever makes series
//! waits for one part; numbers stay what they are meanwhile, since a series with samples in the log does not leave.

use std::collections::BTreeMap;
use std::ops::Range;

use model::labels::METRIC_NAME;
use model::{Labels, TenantId};

use super::index::HeadIndex;
use super::scan::Reader;

/// What is copied under one hold of the lock.
const PART: usize = 4096;

/// What series are sorted by before all their labels, in this order.
const FIRST: [&str; 3] = [METRIC_NAME, "job", "instance"];

/// Series in the order of blocks.
pub(crate) struct Ordered {
    tenants: BTreeMap<TenantId, Ranked>,
    series: Vec<Series>,
    /// Of each series: the ranks of the [`FIRST`] labels, 0 for one that it has not, then those of all its labels.
    ranks: Vec<u32>,
}

/// A series and where its ranks stand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Series {
    pub(crate) slot: u32,
    pub(crate) tenant: TenantId,
    start: u32,
    labels: u32,
}

impl Series {
    fn ranks(&self) -> Range<usize> {
        let start = self.start as usize;
        start..start + FIRST.len() + self.labels as usize
    }
}

/// A tenant's labels in order of name and value; the rank of a label is its place here, from 1 on.
#[derive(Default)]
struct Ranked {
    text: String,
    labels: Vec<Text>,
}

/// Where a label's name and value stand in the text.
#[derive(Clone, Copy, Debug)]
struct Text {
    start: u32,
    name: u16,
    value: u16,
}

impl Ordered {
    /// The series for which `wanted` holds.
    pub(crate) fn new(table: Reader<'_>, wanted: impl Fn(u32) -> bool) -> Ordered {
        let mut ordered = Ordered { tenants: BTreeMap::new(), series: Vec::new(), ranks: Vec::new() };
        ordered.gather(table, wanted);
        let Self { tenants, series, ranks } = &mut ordered;
        series.sort_by_key(|series| series.tenant);
        for of_tenant in series.chunk_by_mut(|a, b| a.tenant == b.tenant) {
            let tenant = of_tenant[0].tenant;
            let ranked = Ranked::new(table, tenant, of_tenant, ranks);
            of_tenant.sort_unstable_by(|a, b| ranks[a.ranks()].cmp(&ranks[b.ranks()]));
            tenants.insert(tenant, ranked);
        }
        ordered
    }

    /// Copies the lists of the series, with room for the first ranks before each.
    fn gather(&mut self, table: Reader<'_>, wanted: impl Fn(u32) -> bool) {
        let slots = table.read().slots();
        for first in (0..slots).step_by(PART) {
            let table = table.read();
            for slot in (first as u32..).take(PART.min(slots - first)).filter(|slot| wanted(*slot)) {
                let Some(entry) = table.get(slot) else { continue };
                let list = table.list(entry);
                let start = u32::try_from(self.ranks.len()).expect("lists are bounded by memory");
                self.ranks.extend([0; FIRST.len()]);
                self.ranks.extend_from_slice(list);
                let labels = list.len() as u32;
                self.series.push(Series { slot, tenant: entry.tenant, start, labels });
            }
        }
    }

    /// The series.
    pub(crate) fn series(&self) -> &[Series] {
        &self.series
    }

    /// A series' labels; `scratch` keeps its memory from one call to the next.
    pub(crate) fn labels(&self, series: &Series, scratch: &mut String) -> Labels {
        let ranked = &self.tenants[&series.tenant];
        let ranks = &self.ranks[series.ranks()][FIRST.len()..];
        Labels::collect_sorted(ranks.iter().map(|rank| ranked.label(*rank)), scratch)
    }
}

impl Ranked {
    /// Ranks the labels of a tenant's series and puts the ranks in the place of their numbers.
    fn new(table: Reader<'_>, tenant: TenantId, series: &[Series], lists: &mut [u32]) -> Ranked {
        let mut ranked = Ranked::default();
        let numbers = numbers_in(series, lists);
        for part in numbers.chunks(PART) {
            let table = table.read();
            let index = &table.tenant(tenant).expect("a tenant with series").index;
            part.iter().for_each(|number| ranked.copy(index, *number));
        }
        let mut order: Vec<u32> = (0..numbers.len() as u32).collect();
        order.sort_unstable_by(|a, b| ranked.text(*a as usize).cmp(&ranked.text(*b as usize)));
        let mut rank_of = vec![0; numbers.last().map_or(0, |last| *last as usize + 1)];
        order.iter().zip(1..).for_each(|(at, rank)| rank_of[numbers[*at as usize] as usize] = rank);
        ranked.labels = order.iter().map(|at| ranked.labels[*at as usize]).collect();
        let first = FIRST.map(|name| ranked.ranks_of(name));
        for one in series {
            let (before, labels) = lists[one.ranks()].split_at_mut(FIRST.len());
            for label in labels {
                *label = rank_of[*label as usize];
                if let Some(first) = first.iter().position(|of| of.contains(label)) {
                    before[first] = *label;
                }
            }
        }
        ranked
    }

    fn copy(&mut self, index: &HeadIndex, number: u32) {
        let (name, value) = index.text(number);
        let start = u32::try_from(self.text.len()).expect("labels are bounded by memory");
        self.text.push_str(name);
        self.text.push_str(value);
        self.labels.push(Text { start, name: name.len() as u16, value: value.len() as u16 });
    }

    fn text(&self, at: usize) -> (&str, &str) {
        let Text { start, name, value } = self.labels[at];
        let (start, name, value) = (start as usize, usize::from(name), usize::from(value));
        (&self.text[start..start + name], &self.text[start + name..start + name + value])
    }

    fn label(&self, rank: u32) -> (&str, &str) {
        self.text(rank as usize - 1)
    }

    /// The ranks of the labels with a name.
    fn ranks_of(&self, name: &str) -> Range<u32> {
        let start = self.first_not(|other| other < name);
        let end = self.first_not(|other| other <= name);
        start as u32 + 1..end as u32 + 1
    }

    /// The place of the first label for whose name `holds` does not hold.
    fn first_not(&self, holds: impl Fn(&str) -> bool) -> usize {
        let name = |text: &Text| &self.text[text.start as usize..][..usize::from(text.name)];
        self.labels.partition_point(|text| holds(name(text)))
    }
}

/// The numbers in the lists of some series, ascending.
fn numbers_in(series: &[Series], lists: &[u32]) -> Vec<u32> {
    let mut seen = Vec::new();
    for number in series.iter().flat_map(|one| &lists[one.ranks()][FIRST.len()..]) {
        let number = *number as usize;
        if number >= seen.len() {
            seen.resize(number + 1, false);
        }
        seen[number] = true;
    }
    (0..).zip(seen).filter(|(_, seen)| *seen).map(|(number, _)| number).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, RwLock};

    use super::*;
    use crate::block::block_order;
    use crate::head::table::{Table, series_id};

    #[test]
    fn series_stand_as_blocks_want_them() {
        let (mut table, mut wanted) = (Table::default(), Vec::new());
        for i in 0..3 * PART as u32 / 2 {
            let tenant = TenantId(1 + i % 3);
            let number = i.wrapping_mul(2_654_435_761).to_string();
            let (metric, job) = (format!("m{}", i % 11), format!("j{}", i % 5));
            let mut pairs = vec![("__name__", &*metric), ("a", &*number), ("z", "same")];
            if i % 4 > 0 {
                pairs.push(("job", &job));
            }
            if i % 7 > 0 {
                pairs.push(("instance", &number[..2]));
            }
            let labels = Labels::from_pairs(pairs);
            let slot = table.insert(tenant, series_id(1, tenant, labels.as_ref()), labels.as_ref(), 0);
            if slot % 10 > 0 {
                wanted.push((tenant, labels, slot));
            }
        }
        wanted.sort_by(|a, b| a.0.cmp(&b.0).then_with(|| block_order(&a.1, &b.1)));
        let (table, turn) = (RwLock::new(table), Mutex::default());
        let ordered = Ordered::new(Reader::new(&table, &turn), |slot| slot % 10 > 0);
        let of = |one: &Series| (one.tenant, ordered.labels(one, &mut String::new()), one.slot);
        assert!(ordered.series().iter().map(of).eq(wanted));
    }
}
