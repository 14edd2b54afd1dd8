//! Selections: head and blocks read as one.
//!
//! A selection first fixes what it will see: the live blocks, the head's log up to its present end, and the series that
//! satisfy the matchers, each once, with the places where it has samples. Then it is pulled block by block; flushes,
//! retention and appends meanwhile change nothing of it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use foldhash::HashMap;
use model::select::{HistogramPoint, Stop};
use model::{Budget, Hints, Labels, Matcher, SeriesBlock, SeriesId, SeriesRef, TenantId, TimeRange};
use smallvec::SmallVec;

use crate::block::{BlockError, Columns, Damaged, Section};
use crate::head::log::{LogSample, NO_CELL, Snapshot};
use crate::head::side::Side;
use crate::head::table::Table;
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

/// Rows after which a block of a selection is handed out.
const BLOCK_ROWS: usize = 16 << 10;

/// Bytes that a row takes in the columns.
const ROW_BYTES: u64 = 16;

/// A selection over head and blocks, pulled block by block.
pub struct Selection<'a> {
    store: Arc<Inner>,
    budget: &'a Budget,
    range: TimeRange,
    /// The tenant's sections of the live blocks that lie in the range, oldest first.
    sections: Vec<Part>,
    head: Snapshot,
    members: Vec<Member>,
    next: usize,
    warnings: Vec<String>,
    damaged: Vec<Damaged>,
    scratch: Scratch,
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

    /// Those of the selected series that may have samples left in the range, with their ids.
    pub(crate) fn select(
        &self,
        matchers: &[Matcher],
        budget: &Budget,
        damaged: &mut Vec<Damaged>,
    ) -> Result<Vec<(u32, SeriesId)>, BlockError> {
        let mut found = self.section.select_in(matchers, self.left, budget, damaged)?;
        if !self.masks.is_empty() {
            // A range that cannot be read was named by the selection.
            found.retain(|(ordinal, _)| {
                self.section.range(*ordinal).is_ok_and(|lies| !self.masks.hide(*ordinal, lies, self.left))
            });
        }
        Ok(found)
    }

    /// Reads what is left of a series.
    fn read(
        &self,
        ordinal: u32,
        columns: &mut Columns,
        damaged: &mut Vec<Damaged>,
    ) -> Result<(), BlockError> {
        for range in self.masks.left(ordinal, self.left) {
            self.section.read(ordinal, range, columns, damaged)?;
        }
        Ok(())
    }
}

/// A selected series and where its samples are.
struct Member {
    labels: Option<Labels>,
    /// Its newest cell in the head's log.
    tail: u64,
    side: Option<Box<Side>>,
    /// Section (index into the selection's list) and ordinal in it, oldest section first.
    parts: SmallVec<[(u32, u32); 2]>,
}

/// Bytes that a selected series takes.
const MEMBER_BYTES: u64 = size_of::<Member>() as u64 + 32;

#[derive(Default)]
struct Scratch {
    cells: Vec<LogSample>,
    columns: Columns,
}

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
        let head = gathered.gather(&self.inner, tenant, matchers, range, budget)?;
        let Gathered { mut members, sections, mut damaged, .. } = gathered;
        if hints.limit > 0 {
            members.truncate(hints.limit);
        }
        let mut warnings = self.inner.damage.lock().expect("lock").clone();
        warnings.extend(self.inner.note_damaged(&mut damaged));
        Ok(Selection {
            store: self.inner.clone(),
            budget,
            range,
            sections,
            head,
            members,
            next: 0,
            warnings,
            damaged,
            scratch: Scratch::default(),
        })
    }
}

/// The series of a selection while it is made.
#[derive(Default)]
struct Gathered {
    members: Vec<Member>,
    by_id: HashMap<SeriesId, u32>,
    sections: Vec<Part>,
    damaged: Vec<Damaged>,
}

impl Gathered {
    fn gather(
        &mut self,
        store: &Inner,
        tenant: TenantId,
        matchers: &[Matcher],
        range: TimeRange,
        budget: &Budget,
    ) -> Result<Snapshot, SelectError> {
        // Nothing is flushed while this is held: what leaves the log is in a block of the same view. The head is
        // gathered in parts that let others at the series between them, so a flush waits for that too, as long as the
        // query may go on: its budget is asked before each part.
        let view = store.view.read().expect("lock");
        let end = store.log.end();
        let blocks = view.blocks_in(tenant, range);
        if store.head_range.get().overlaps(&range) {
            self.gather_head(store, tenant, matchers, !blocks.is_empty(), budget)?;
        }
        // After the newest cells were read, so that it has their chunks.
        let head = store.log.snapshot().until(end);
        drop(view);
        for live in blocks {
            budget.check()?;
            match self.gather_block(&live, tenant, matchers, budget) {
                Ok(()) => {}
                Err(BlockError::Damaged(unit)) => self.damaged.push(unit),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(head)
    }

    fn gather_head(
        &mut self,
        store: &Inner,
        tenant: TenantId,
        matchers: &[Matcher],
        by_id: bool,
        budget: &Budget,
    ) -> Result<(), SelectError> {
        let scan = store.scan(tenant, budget);
        loop {
            let selected = scan.select(matchers)?;
            let bytes = selected.len() * MEMBER_BYTES;
            budget.charge(bytes)?;
            self.members.reserve(selected.len() as usize);
            let whole = scan.each_part(&selected, |table, slots| {
                self.gather_part(store, table, slots, by_id);
                Ok::<(), Stop>(())
            })?;
            if whole {
                return Ok(());
            }
            // Series of an earlier flush have left. One of them may be back in another slot, and no series may come
            // twice. It does not go on so: who leaves next waits for a flush, which waits for the view.
            self.members.clear();
            self.by_id.clear();
            budget.release(bytes);
        }
    }

    /// Samples end where the selection's log ends; of a histogram request that is applied between two parts, only the
    /// later part's series have theirs.
    fn gather_part(&mut self, store: &Inner, table: &Table, slots: &[u32], by_id: bool) {
        let sides = store.sides.read().expect("lock");
        let mut text = String::new();
        for slot in slots {
            let entry = table.entry(*slot);
            let side = if sides.is_empty() { None } else { sides.get(*slot).map(Box::new) };
            let tail = entry.tail.load(Ordering::Acquire);
            if by_id {
                self.by_id.insert(entry.id, self.members.len() as u32);
            }
            self.members.push(Member {
                labels: Some(table.labels(entry, &mut text)),
                tail,
                side,
                parts: SmallVec::new(),
            });
        }
    }

    fn gather_block(
        &mut self,
        live: &LiveBlock,
        tenant: TenantId,
        matchers: &[Matcher],
        budget: &Budget,
    ) -> Result<(), BlockError> {
        let Some(part) = Part::open(live, tenant, budget, &mut self.damaged)? else { return Ok(()) };
        let index = self.sections.len() as u32;
        for (ordinal, id) in part.select(matchers, budget, &mut self.damaged)? {
            self.member(id, budget)?.parts.push((index, ordinal));
        }
        self.sections.push(part);
        Ok(())
    }

    fn member(&mut self, id: SeriesId, budget: &Budget) -> Result<&mut Member, Stop> {
        let index = match self.by_id.get(&id) {
            Some(index) => *index as usize,
            None => {
                budget.charge(MEMBER_BYTES)?;
                self.by_id.insert(id, self.members.len() as u32);
                self.members.push(Member { labels: None, tail: NO_CELL, side: None, parts: SmallVec::new() });
                self.members.len() - 1
            }
        };
        Ok(&mut self.members[index])
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

impl Selection<'_> {
    /// The next series with all their samples in the range; `None` at the end. No series comes twice.
    pub fn next_block(&mut self) -> Result<Option<SeriesBlock>, SelectError> {
        let mut block = SeriesBlock { offsets: vec![0], ..SeriesBlock::default() };
        while self.next < self.members.len() && block.timestamps.len() < BLOCK_ROWS {
            self.budget.check()?;
            let member = self.next;
            self.next += 1;
            self.read_member(member)?;
            let rows = self.scratch.columns.timestamps.len();
            if rows > 0 {
                self.budget.charge(rows as u64 * ROW_BYTES)?;
                append(&mut block, &self.scratch.columns);
                block.series.push(SeriesRef(member as u64));
                block.offsets.push(block.timestamps.len() as u32);
            }
        }
        Ok((!block.series.is_empty()).then_some(block))
    }

    /// Fills the scratch columns with one series' rows in the range.
    fn read_member(&mut self, member: usize) -> Result<(), SelectError> {
        let member = &self.members[member];
        let Scratch { cells, columns } = &mut self.scratch;
        columns.clear();
        for (section, ordinal) in &member.parts {
            // What of a series can be read is there even when a page of it is damaged.
            match self.sections[*section as usize].read(*ordinal, columns, &mut self.damaged) {
                Ok(()) => {}
                Err(BlockError::Damaged(unit)) => self.damaged.push(unit),
                Err(error) => return Err(error.into()),
            }
        }
        if !self.damaged.is_empty() {
            let noted = self.store.note_damaged(&mut self.damaged);
            self.warnings.extend(noted);
            self.warnings.sort();
            self.warnings.dedup();
        }
        cells.clear();
        self.head.walk(member.tail, cells);
        let range = self.range;
        let side = member.side.as_deref();
        let inside = cells.iter().rev().copied().filter(|cell| range.contains(cell.timestamp_ms));
        columns.extend_from_head(inside, side);
        if side.is_some_and(|side| !side.histograms.is_empty()) {
            columns.clip(range);
        }
        columns.settle();
        Ok(())
    }

    /// The labels of a series that a block named.
    pub fn labels(&self, series: SeriesRef) -> Result<Labels, SelectError> {
        let member = &self.members[series.0 as usize];
        if let Some(labels) = &member.labels {
            return Ok(labels.clone());
        }
        let mut last = SelectError::Io("a series without a place".into());
        for (section, ordinal) in &member.parts {
            match self.sections[*section as usize].section.labels(*ordinal) {
                Ok(labels) => return Ok(labels),
                Err(error) => last = error.into(),
            }
        }
        Err(last)
    }

    /// Damage and other things that the reader should know; complete after the last block.
    pub fn warnings(&self) -> Vec<String> {
        self.warnings.clone()
    }
}

fn append(block: &mut SeriesBlock, columns: &Columns) {
    let first = block.timestamps.len();
    if !columns.starts.is_empty() || !block.starts.is_empty() {
        block.starts.resize(first, 0);
        block.starts.extend_from_slice(&columns.starts);
        block.starts.resize(first + columns.timestamps.len(), 0);
    }
    block.timestamps.extend_from_slice(&columns.timestamps);
    block.values.extend_from_slice(&columns.values);
    block.histograms.extend(
        columns.histograms.iter().map(|point| HistogramPoint {
            row: point.row + first as u32,
            histogram: point.histogram.clone(),
        }),
    );
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
        let id = series_id(1, tenant, &labels);
        if table.find(id).is_none() {
            table.insert(tenant, id, &labels, 0);
        }
    }

    /// What a selection from the head has, when it is wrong.
    fn wrong(gathered: &Gathered) -> Option<String> {
        let labels: Vec<&Labels> =
            gathered.members.iter().map(|member| member.labels.as_ref().unwrap()).collect();
        let each: BTreeSet<&Labels> = labels.iter().copied().collect();
        let others = labels.iter().filter(|labels| labels.get("of") != Some("1")).count();
        let once = each.len() == labels.len() && gathered.by_id.len() == labels.len();
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
                gathered.gather_head(inner, OURS, &[], true, &budget).unwrap();
                found = found.take().or_else(|| wrong(&gathered));
            }
            done.store(true, Ordering::Relaxed);
        });
        assert_eq!(found, None);
    }
}
