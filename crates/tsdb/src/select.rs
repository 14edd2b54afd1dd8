//! Selections: head and blocks read as one.
//!
//! A selection first fixes what it will see: the live blocks, the head's log up to its present end, and the series that
//! satisfy the matchers, each once, with the places where it has samples. Then it is pulled block by block, by several
//! readers at once if need be; flushes, retention and appends meanwhile change nothing of it.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use foldhash::HashSet;
use hashbrown::HashTable;
use model::select::Stop;
use model::{Budget, Hints, Labels, Matcher, SeriesId, SeriesRef, TenantId, TimeRange, WantedLabels};
use smallvec::SmallVec;

use crate::block::{BlockError, Damaged, Section, SectionReader, go_around};
use crate::head::log::{LogSample, NO_CELL, Snapshot};
use crate::head::rows::HeadRows;
use crate::head::side::Side;
use crate::head::table::Table;
use crate::pick::{HeadPicker, SectionPicker};
use crate::store::{Inner, LiveBlock, Store};
use crate::tombstone::Masks;

/// Why a selection ended early.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    /// Occurs when the query is over its budget or was cancelled.
    #[error(transparent)]
    Stop(#[from] Stop),
    /// Occurs when a file cannot be read at all.
    #[error("{0}")]
    Io(String),
}

/// A selection over head and blocks, pulled block by block.
pub struct Selection<'a> {
    pub(crate) seen: Arc<Seen>,
    pub(crate) budget: &'a Budget,
    /// Places in the order of the members that are yet to be read.
    pub(crate) members: Range<usize>,
    /// For each part, made when it is needed.
    pub(crate) readers: Vec<Option<PartReader>>,
    pub(crate) warnings: Vec<String>,
    pub(crate) damaged: Vec<Damaged>,
    /// Damage that is among the warnings.
    noted: HashSet<Damaged>,
    pub(crate) cells: Vec<LogSample>,
    /// Rows for which the budget was charged.
    pub(crate) charged_rows: usize,
}

/// What a selection sees.
pub(crate) struct Seen {
    pub(crate) store: Arc<Inner>,
    pub(crate) range: TimeRange,
    pub(crate) hints: Hints,
    /// The tenant's sections of the live blocks that lie in the range, oldest first.
    pub(crate) parts: Vec<Part>,
    pub(crate) head: Snapshot,
    /// The head's samples of the first members, when they were gathered for all of them.
    pub(crate) head_rows: Option<HeadRows>,
    pub(crate) members: Vec<Member>,
    /// Members as they lie in the parts, so that these are read from front to back.
    pub(crate) order: Vec<u32>,
}

/// A part's section, being read.
pub(crate) struct PartReader {
    pub(crate) section: SectionReader,
    picker: SectionPicker,
}

impl PartReader {
    pub(crate) fn new(part: &Part) -> Self {
        Self { section: part.section.reader(), picker: SectionPicker::default() }
    }
}

/// A section as its reader may see it.
pub(crate) struct Part {
    pub(crate) section: Section,
    /// The part of the range asked for that retention has left there.
    pub(crate) left: TimeRange,
    /// What is deleted there.
    pub(crate) masks: Masks,
}

impl Part {
    /// The tenant's section of a live block; `None` when it has none.
    pub(crate) fn open(
        live: &LiveBlock,
        tenant: TenantId,
        budget: &Budget,
        damaged: &mut Vec<Damaged>,
    ) -> Result<Option<Part>, BlockError> {
        let Some(section) = live.block.section(tenant)? else { return Ok(None) };
        let masks = live.masks(&section, budget, damaged)?;
        Ok(Some(Part { section, left: live.left, masks }))
    }

    /// Those of the selected series that have samples left in the range.
    pub(crate) fn select(
        &self,
        matchers: &[Matcher],
        budget: &Budget,
        damaged: &mut Vec<Damaged>,
    ) -> Result<Vec<u32>, BlockError> {
        let mut found = self.section.select_in(matchers, self.left, budget, damaged)?;
        if !self.masks.is_empty() {
            let mut reader = self.section.reader();
            // A range that cannot be read was named by the selection.
            found.retain(|ordinal| {
                reader.range(*ordinal).is_ok_and(|lies| !self.masks.hide(*ordinal, lies, self.left))
            });
        }
        Ok(found)
    }

    /// Those of the selected series that may have samples left in the range: where all of the section is asked for, no
    /// series is.
    fn select_for_reading(
        &self,
        matchers: &[Matcher],
        budget: &Budget,
        damaged: &mut Vec<Damaged>,
    ) -> Result<Vec<u32>, BlockError> {
        let all = self.section.meta().range;
        let inside = self.left.start_ms <= all.start_ms && all.end_ms <= self.left.end_ms;
        if inside && self.masks.is_empty() {
            return self.section.select(matchers, budget, damaged);
        }
        self.select(matchers, budget, damaged)
    }
}

/// A selected series and where its samples are.
pub(crate) struct Member {
    /// Of a series of the head, or of a sorted selection; others' are in their parts.
    labels: Option<Labels>,
    /// Its newest cell in the head's log.
    pub(crate) tail: u64,
    pub(crate) side: Option<Box<Side>>,
    /// Part and ordinal in it, oldest part first.
    pub(crate) places: SmallVec<[(u32, u32); 2]>,
}

/// Bytes that a selected series takes; with them its slot, its place in the order and in a hash table.
const MEMBER_BYTES: u64 = size_of::<Member>() as u64 + 20;

/// Samples of the head for which going through all of it is not worth the memory.
const JUMPS_MIN: u64 = 10_000;

/// What following a link to a sample costs, in samples that are looked at one after the other.
const JUMP_COST: u64 = 4;

/// Bytes that a series takes while selections are sorted, and its labels after that, besides their text.
const SORTED_BYTES: u64 = size_of::<(Labels, u32)>() as u64 + 32;

/// Bytes of an id that is remembered.
const ID_BYTES: u64 = size_of::<SeriesId>() as u64;

impl Store {
    /// Selects a tenant's series that satisfy all matchers and have samples in the range, from head and blocks as one.
    pub fn select<'a>(
        &self,
        tenant: TenantId,
        matchers: &[Matcher],
        range: TimeRange,
        hints: &Hints,
        budget: &'a Budget,
    ) -> Result<Selection<'a>, SelectError> {
        let mut gathered = Gathered::default();
        let head = gathered.gather(&self.inner, tenant, matchers, range, &hints.labels, budget)?;
        gathered.complete_order();
        let Gathered { members, mut slots, series, parts, mut order, mut damaged, .. } = gathered;
        if hints.limit > 0 {
            order.truncate(hints.limit);
            if parts.is_empty() {
                slots.truncate(hints.limit);
            }
        }
        // A jump for each sample of the selected, or a look at each of all.
        let jumps = head.cells_since(range.start_ms) / series.max(1) * slots.len() as u64;
        let head_rows = if jumps >= JUMPS_MIN && jumps * JUMP_COST >= head.cells_since(range.start_ms) {
            Some(HeadRows::new(&head, &slots, range, |bytes| budget.charge(bytes))?)
        } else {
            None
        };
        let mut warnings: Vec<_> = self.inner.warnings(tenant).into_iter().collect();
        warnings.extend(self.inner.note_damaged(&mut damaged));
        let store = self.inner.clone();
        let seen = Seen { store, range, hints: hints.clone(), parts, head, head_rows, members, order };
        Ok(Selection::new(Arc::new(seen), budget, warnings))
    }
}

/// The series of a selection while it is made.
#[derive(Default)]
struct Gathered {
    members: Vec<Member>,
    /// Slots of those of the head, which are the first.
    slots: Vec<u32>,
    /// Series of all tenants that the head had.
    series: u64,
    /// Ids of members, and their numbers by id, as long as there may be more places of a series to come.
    ids: Vec<SeriesId>,
    by_id: HashTable<u32>,
    parts: Vec<Part>,
    /// Members by their first places.
    order: Vec<u32>,
    damaged: Vec<Damaged>,
}

fn id_hash(id: SeriesId) -> u64 {
    id.0 as u64
}

impl Gathered {
    fn gather(
        &mut self,
        store: &Inner,
        tenant: TenantId,
        matchers: &[Matcher],
        range: TimeRange,
        labels: &WantedLabels,
        budget: &Budget,
    ) -> Result<Snapshot, SelectError> {
        // Nothing is flushed while this is held: what leaves the log is in a block of the same view. The head is
        // gathered in parts that let others at the series between them, so a flush waits for that too, as long as the
        // query may go on: its budget is asked before each part.
        let view = store.view.read().expect("lock");
        let end = store.log.end();
        let blocks = view.blocks_in(tenant, range);
        if store.head_range.get().overlaps(&range) {
            self.gather_head(store, tenant, matchers, labels, !blocks.is_empty(), budget)?;
        }
        // After the newest cells were read, so that it has their chunks.
        let head = store.log.snapshot().until(end);
        drop(view);
        let places = blocks.len() + usize::from(!self.members.is_empty());
        for live in blocks {
            budget.check()?;
            match self.gather_block(&live, tenant, matchers, places > 1, budget) {
                Ok(()) => {}
                Err(BlockError::Damaged(unit)) => self.damaged.push(unit),
                Err(error) => return Err(error.into()),
            }
        }
        budget.release(self.ids.len() as u64 * ID_BYTES);
        Ok(head)
    }

    fn gather_head(
        &mut self,
        store: &Inner,
        tenant: TenantId,
        matchers: &[Matcher],
        labels: &WantedLabels,
        by_id: bool,
        budget: &Budget,
    ) -> Result<(), SelectError> {
        let scan = store.scan(tenant, budget);
        loop {
            let selected = scan.select(matchers)?;
            let bytes = selected.len() * (MEMBER_BYTES + if by_id { ID_BYTES } else { 0 });
            budget.charge(bytes)?;
            self.members.reserve(selected.len() as usize);
            let mut picker = HeadPicker::default();
            let whole = scan.each_part(&selected, |table, slots| {
                self.gather_part(store, table, slots, labels, &mut picker, by_id);
                Ok::<(), Stop>(())
            })?;
            if whole {
                return Ok(());
            }
            // Series of an earlier flush have left. One of them may be back in another slot, and no series may come
            // twice. It does not go on so: who leaves next waits for a flush, which waits for the view.
            self.members.clear();
            self.slots.clear();
            self.ids.clear();
            self.by_id.clear();
            budget.release(bytes);
        }
    }

    /// Samples end where the selection's log ends; of a histogram request that is applied between two parts, only the
    /// later part's series have theirs.
    fn gather_part(
        &mut self,
        store: &Inner,
        table: &Table,
        slots: &[u32],
        labels: &WantedLabels,
        picker: &mut HeadPicker,
        by_id: bool,
    ) {
        let sides = store.sides.read().expect("lock");
        let mut index = None;
        self.series = table.len();
        self.slots.extend_from_slice(slots);
        for slot in slots {
            let entry = table.entry(*slot);
            let side = if sides.is_empty() { None } else { sides.get(*slot).map(Box::new) };
            let tail = entry.tail.load(Ordering::Acquire);
            let index = index.get_or_insert_with(|| table.index_of(entry));
            let labels = Some(picker.pick(index, table.list(entry), labels));
            if by_id {
                self.note_id(entry.id);
            }
            self.members.push(Member { labels, tail, side, places: SmallVec::new() });
        }
    }

    /// Adds those that have no place in a part.
    fn complete_order(&mut self) {
        let elsewhere = (0..).zip(&self.members).filter(|(_, member)| member.places.is_empty());
        self.order.extend(elsewhere.map(|(number, _)| number));
    }

    /// Remembers the id of the member that comes next.
    fn note_id(&mut self, id: SeriesId) {
        let Self { ids, by_id, .. } = self;
        let number = ids.len() as u32;
        ids.push(id);
        by_id.insert_unique(id_hash(id), number, |number| id_hash(ids[*number as usize]));
    }

    fn gather_block(
        &mut self,
        live: &LiveBlock,
        tenant: TenantId,
        matchers: &[Matcher],
        by_id: bool,
        budget: &Budget,
    ) -> Result<(), BlockError> {
        let Some(part) = Part::open(live, tenant, budget, &mut self.damaged)? else { return Ok(()) };
        let number = self.parts.len() as u32;
        let found = part.select_for_reading(matchers, budget, &mut self.damaged)?;
        let bytes = MEMBER_BYTES + if by_id { ID_BYTES } else { 0 };
        budget.charge(found.len() as u64 * bytes)?;
        self.members.reserve(if by_id { 0 } else { found.len() });
        let (mut known, mut reader) = (0, part.section.reader());
        for ordinal in found {
            let place = (number, ordinal);
            if by_id {
                let id = match reader.id(ordinal) {
                    Ok(id) => id,
                    Err(error) => {
                        go_around(error, &mut self.damaged)?;
                        continue;
                    }
                };
                if let Some(number) = self.by_id.find(id_hash(id), |n| self.ids[*n as usize] == id) {
                    let member = &mut self.members[*number as usize];
                    if member.places.is_empty() {
                        self.order.push(*number);
                    }
                    member.places.push(place);
                    known += 1;
                    continue;
                }
                self.note_id(id);
            }
            let places = SmallVec::from_iter([place]);
            self.order.push(self.members.len() as u32);
            self.members.push(Member { labels: None, tail: NO_CELL, side: None, places });
        }
        budget.release(known * bytes);
        self.parts.push(part);
        Ok(())
    }
}

impl From<BlockError> for SelectError {
    fn from(error: BlockError) -> Self {
        match error {
            BlockError::Stop(stop) => Self::Stop(stop),
            other => Self::Io(other.to_string()),
        }
    }
}

impl Inner {
    /// Counts damaged units and gives the warnings for the reader.
    pub(crate) fn note_damaged(&self, damaged: &mut Vec<Damaged>) -> Vec<String> {
        self.counters.damaged_pages.fetch_add(damaged.len() as u64, Ordering::Relaxed);
        let warning = |unit: Damaged| {
            tracing::error!(error = %unit, "damaged page");
            format!("data is missing: {unit}")
        };
        damaged.drain(..).map(warning).collect()
    }
}

impl<'a> Selection<'a> {
    fn new(seen: Arc<Seen>, budget: &'a Budget, warnings: Vec<String>) -> Self {
        let readers = seen.parts.iter().map(|_| None).collect();
        let (damaged, noted, cells) = (Vec::new(), HashSet::default(), Vec::new());
        let members = 0..seen.order.len();
        Self { seen, budget, members, readers, warnings, damaged, noted, cells, charged_rows: 0 }
    }

    /// How many series are yet to come at most.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether none is to come.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Puts the series in the order of their labels, which are read for that. Those whose labels lie in damaged pages,
    /// which are among the warnings then, do not come at all.
    ///
    /// # Panics
    /// When the selection was split.
    pub fn sort_by_labels(&mut self) -> Result<(), SelectError> {
        let mut found: Vec<(Labels, u32)> = Vec::new();
        for place in self.members.clone() {
            let number = self.seen.order[place];
            if let Some(labels) = self.labels(SeriesRef(u64::from(number)))? {
                self.budget.charge(labels.as_canonical().len() as u64 + SORTED_BYTES)?;
                found.push((labels, number));
            }
        }
        found.sort_unstable();
        let seen = Arc::get_mut(&mut self.seen).expect("nobody else reads it yet");
        seen.order = found.iter().map(|(_, number)| *number).collect();
        self.members = 0..found.len();
        for (labels, number) in found {
            seen.members[number as usize].labels = Some(labels);
        }
        Ok(())
    }

    /// Splits what is yet to come into parts for several readers, in order.
    pub fn split(self, parts: usize) -> Vec<Selection<'a>> {
        let share = self.len().div_ceil(parts.max(1)).max(1);
        let Range { start, end } = self.members;
        let mut all: Vec<Selection<'a>> = (start..end)
            .step_by(share)
            .map(|from| Selection {
                members: from..end.min(from + share),
                ..Self::new(self.seen.clone(), self.budget, Vec::new())
            })
            .collect();
        match all.first_mut() {
            Some(first) => first.warnings = self.warnings,
            None => all.push(self),
        }
        all
    }

    /// The labels of a series that a block named, as far as they are wanted; `None` when they lie in damaged pages, which
    /// are named then.
    pub fn labels(&mut self, series: SeriesRef) -> Result<Option<Labels>, SelectError> {
        let Self { seen, readers, damaged, .. } = self;
        let member = &seen.members[series.0 as usize];
        if let Some(labels) = &member.labels {
            return Ok(Some(labels.clone()));
        }
        for (part, ordinal) in &member.places {
            let reader = &mut readers[*part as usize];
            let reader = reader.get_or_insert_with(|| PartReader::new(&seen.parts[*part as usize]));
            match reader.picker.pick(&mut reader.section, *ordinal, &seen.hints.labels) {
                Ok(labels) => return Ok(Some(labels)),
                Err(error) => go_around(error, damaged)?,
            }
        }
        self.note_damaged();
        Ok(None)
    }

    /// Puts what was damaged among the warnings, each unit once.
    pub(crate) fn note_damaged(&mut self) {
        let Self { seen, damaged, noted, warnings, .. } = self;
        if !damaged.is_empty() {
            damaged.retain(|unit| noted.insert(unit.clone()));
            warnings.extend(seen.store.note_damaged(damaged));
        }
    }

    /// Damage and other things that the reader should know, sorted; complete after the last block and its labels.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = self.warnings.clone();
        warnings.sort();
        warnings.dedup();
        warnings
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::atomic::AtomicBool;
    use std::thread;

    use env::Env;
    use model::LabelLimits;

    use super::*;
    use crate::head::table::series_id;
    use crate::{Options, Progress};

    const OURS: TenantId = TenantId(1);
    const OTHERS: TenantId = TenantId(2);
    const SERIES: u32 = 20_000;

    fn insert(table: &mut Table, tenant: TenantId, i: u32) {
        let (i, of) = (i.to_string(), tenant.0.to_string());
        let mut pairs = vec![("__name__", "metric"), ("i", &*i), ("of", &*of)];
        let labels = Labels::canonical(&mut pairs, &LabelLimits::default()).unwrap();
        let id = series_id(1, tenant, labels.as_ref());
        if table.find(id).is_none() {
            table.insert(tenant, id, labels.as_ref(), 0);
        }
    }

    /// What a selection from the head has, when it is wrong.
    fn wrong(gathered: &Gathered) -> Option<String> {
        let labels: Vec<&Labels> =
            gathered.members.iter().map(|member| member.labels.as_ref().unwrap()).collect();
        let each: BTreeSet<&Labels> = labels.iter().copied().collect();
        let others = labels.iter().filter(|labels| labels.get("of") != Some("1")).count();
        let once = each.len() == labels.len() && gathered.ids.len() == labels.len();
        let right = once && others == 0 && [SERIES, SERIES / 4].contains(&(labels.len() as u32));
        (!right).then(|| {
            format!("{} series, {} different ones, {others} of another tenant", labels.len(), each.len())
        })
    }

    /// Between two parts series leave, and their slots go to another tenant or to the same series in another order.
    #[test]
    fn series_that_leave_meanwhile_make_no_others_appear_and_none_twice() {
        let directory = tempfile::tempdir().unwrap();
        let store =
            Store::open(Env::real(), directory.path(), Options::default(), &Progress::default()).unwrap();
        let inner = &*store.inner;
        (0..SERIES).for_each(|i| insert(&mut inner.table_mut(), OURS, i));
        let (done, mut found) = (AtomicBool::new(false), None);
        thread::scope(|scope| {
            scope.spawn(|| {
                let leaving = SERIES / 4..SERIES;
                for round in 0.. {
                    let mut table = inner.table_mut();
                    table.remove(&leaving.clone().collect());
                    let tenant = if round % 3 == 0 { OTHERS } else { OURS };
                    let first = round * 5000 % leaving.len();
                    let turned = leaving.clone().cycle().skip(first).take(leaving.len());
                    turned.for_each(|i| insert(&mut table, tenant, i));
                    drop(table);
                    thread::yield_now();
                    if done.load(Ordering::Relaxed) {
                        return;
                    }
                }
            });
            for _ in 0..200 {
                let (mut gathered, budget) = (Gathered::default(), Budget::new(1 << 30));
                gathered.gather_head(inner, OURS, &[], &WantedLabels::All, true, &budget).unwrap();
                found = found.take().or_else(|| wrong(&gathered));
            }
            done.store(true, Ordering::Relaxed);
        });
        assert_eq!(found, None);
    }
}
