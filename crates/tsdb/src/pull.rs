//! Reading what a selection sees, series by series.
//!
//! Mostly every chunk in the range is decoded. Three things save that, when whoever asks has said what is looked at:
//! chunks that lie between the windows are left out; for one window's newest sample only what may hold it is read; and a
//! chunk that lies whole within windows is told by the aggregates that stand in the index. The last two need that the
//! series' chunks lie one behind the other, which they do unless samples came late.

use model::select::{Detail, Stop, Summary, SummaryPoint};
use model::{Budget, Hints, SeriesBlock, SeriesRef, TimeRange, Windows};
use smallvec::SmallVec;

use crate::block::{BlockError, ChunkKind, ChunkMeta, Damaged};
use crate::head::log::LogSample;
use crate::merge::Writes;
use crate::select::{Member, Part, PartReader, Seen, SelectError, Selection};

/// Rows and summaries after which a block of a selection is handed out.
const BLOCK_ROWS: usize = 16 << 10;

/// Series after which it is.
const BLOCK_SERIES: usize = 4 << 10;

/// Bytes that a row takes in the columns.
const ROW_BYTES: u64 = 16;

/// A chunk of a member that may have something in the range.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    part: usize,
    chunk: ChunkMeta,
    /// What of the chunk's range is asked for and left.
    range: TimeRange,
}

impl Candidate {
    fn is_whole(&self) -> bool {
        self.range == self.chunk.range
    }

    /// What its samples together say, when the index says that and all of them count.
    fn summary(&self) -> Option<Summary> {
        let aggregates = self.chunk.aggregates.filter(|a| self.is_whole() && a.count == self.chunk.rows)?;
        // What overflows says nothing about the mean.
        if aggregates.sum.is_infinite() {
            return None;
        }
        Some(Summary {
            range: self.chunk.range,
            count: aggregates.count,
            sum: aggregates.sum,
            min: aggregates.min,
            max: aggregates.max,
            first: aggregates.first,
            last: aggregates.last,
            resets: aggregates.resets,
        })
    }
}

impl Selection<'_> {
    /// Puts the next series with all their samples in the range into `block`; false at the end. No series comes twice.
    pub fn next_block(&mut self, block: &mut SeriesBlock) -> Result<bool, SelectError> {
        block.clear();
        while !self.members.is_empty() && block.series.len() < BLOCK_SERIES {
            if block.columns.timestamps.len() + block.summaries.len() >= BLOCK_ROWS {
                break;
            }
            self.budget.check()?;
            let member = self.seen.order[self.members.start] as usize;
            self.members.start += 1;
            let (rows, summaries) = (block.columns.timestamps.len(), block.summaries.len());
            self.read_member(member, block)?;
            if block.columns.timestamps.len() > rows || block.summaries.len() > summaries {
                block.end_series(SeriesRef(member as u64));
            }
        }
        Ok(!block.series.is_empty())
    }

    /// Appends one series' rows in the range.
    fn read_member(&mut self, number: usize, block: &mut SeriesBlock) -> Result<(), SelectError> {
        let Self { seen, readers, damaged, cells, charged_rows, budget, .. } = self;
        let seen: &Seen = seen;
        let member = &seen.members[number];
        let first = block.columns.timestamps.len();
        let side = member.side.as_deref();
        let head = match &seen.head_rows {
            // Only a chain tells where histograms and start times belong.
            Some(rows) if side.is_none() => HeadPart::Rows(rows.of(number)),
            _ => {
                cells.clear();
                seen.head.walk(member.tail, seen.range.start_ms, cells);
                cells.retain(|cell| seen.range.contains(cell.timestamp_ms));
                cells.reverse();
                HeadPart::Cells(cells)
            }
        };
        let mut parts = Parts { seen, readers, damaged, budget, charged_rows, in_order: true };
        match &seen.hints {
            Hints { windows: Some(windows), detail: Detail::Newest, .. } if windows.count == 1 => {
                parts.read_newest(member, &head, block)?;
            }
            Hints { windows: Some(windows), detail: Detail::Summaries | Detail::Counters, .. } => {
                parts.read_summarised(member, windows, &head, block)?;
            }
            _ => parts.read_all(member, block)?,
        }
        let mut in_order = parts.in_order;
        let columns = &mut block.columns;
        let before = columns.timestamps.len();
        match head {
            HeadPart::Rows((times, values)) => columns.extend_floats(times, values),
            HeadPart::Cells(cells) => columns.extend_from_head(cells.iter().copied(), side),
        }
        if side.is_some_and(|side| !side.histograms.is_empty()) {
            // Histograms come all, and in the order of their writes.
            columns.settle(before);
            columns.find_resets(before);
            columns.keep_within(before, seen.range);
        }
        in_order &= columns.timestamps[before.saturating_sub(1).max(first)..].is_sorted_by(|a, b| a < b);
        if !in_order {
            columns.settle(first);
        }
        self.note_damaged();
        Ok(())
    }
}

/// What the head has of a member, in the order of the writes.
enum HeadPart<'h> {
    Rows((&'h [i64], &'h [f64])),
    Cells(&'h [LogSample]),
}

impl HeadPart<'_> {
    fn times(&self) -> impl Iterator<Item = i64> {
        let (times, cells) = match self {
            Self::Rows((times, _)) => (*times, &[][..]),
            Self::Cells(cells) => (&[][..], *cells),
        };
        times.iter().copied().chain(cells.iter().map(|cell| cell.timestamp_ms))
    }
}

/// The parts of a selection while a member is read.
struct Parts<'p> {
    seen: &'p Seen,
    readers: &'p mut [Option<PartReader>],
    damaged: &'p mut Vec<Damaged>,
    budget: &'p Budget,
    charged_rows: &'p mut usize,
    /// Whether each chunk so far lay behind the one before.
    in_order: bool,
}

impl Parts<'_> {
    /// Reads every chunk that a window touches.
    fn read_all(&mut self, member: &Member, block: &mut SeriesBlock) -> Result<(), SelectError> {
        let windows = self.seen.hints.windows;
        let mut end_ms = None;
        for (part, ordinal) in &member.places {
            let Self { seen, readers, damaged, budget, charged_rows, in_order } = self;
            let (place, part) = (&mut readers[*part as usize], &seen.parts[*part as usize]);
            let reader = reader_of(place, part);
            for range in part.masks.left(*ordinal, part.left) {
                // What of a series can be read is there even when a page of it is damaged.
                let wanted = |chunk: &ChunkMeta, rows: usize| {
                    if windows.is_some_and(|windows| !windows.touch(chunk.range)) {
                        return Ok(false);
                    }
                    *in_order &= end_ms.is_none_or(|end_ms| end_ms < chunk.range.start_ms);
                    end_ms = Some(chunk.range.end_ms);
                    charge(budget, charged_rows, rows + chunk.rows as usize).map(|()| true)
                };
                let before = block.columns.timestamps.len();
                let read = reader.section.read(*ordinal, range, wanted, &mut block.columns, damaged);
                unless_damaged(read, damaged)?;
                if range.start_ms > seen.range.start_ms {
                    block.columns.forget_before(before);
                }
            }
        }
        Ok(())
    }

    /// Reads what may have the newest sample.
    fn read_newest(
        &mut self,
        member: &Member,
        head: &HeadPart<'_>,
        block: &mut SeriesBlock,
    ) -> Result<(), SelectError> {
        let candidates = self.candidates(member)?;
        // Of a chunk that is cut nobody knows which sample is its last within the range.
        let known = candidates.iter().filter(|candidate| candidate.is_whole()).map(|c| c.chunk.range.end_ms);
        let newest_ms = known.chain(head.times()).max().unwrap_or(i64::MIN);
        // What is read is little, and may come from anywhere.
        self.in_order = candidates.is_empty();
        for candidate in candidates.iter().filter(|candidate| candidate.range.end_ms >= newest_ms) {
            match candidate.summary() {
                Some(summary) if candidate.range.end_ms == newest_ms => {
                    block.columns.push(newest_ms, summary.last);
                }
                _ => self.read(candidate, block)?,
            }
        }
        Ok(())
    }

    /// Reads what windows cut and summarises the rest.
    fn read_summarised(
        &mut self,
        member: &Member,
        windows: &Windows,
        head: &HeadPart<'_>,
        block: &mut SeriesBlock,
    ) -> Result<(), SelectError> {
        let mut candidates = self.candidates(member)?;
        candidates.retain(|candidate| windows.touch(candidate.range));
        candidates.sort_by_key(|candidate| candidate.chunk.range.start_ms);
        let apart = candidates.is_sorted_by(|a, b| a.chunk.range.end_ms < b.chunk.range.start_ms);
        let end_ms = candidates.last().map_or(i64::MIN, |last| last.chunk.range.end_ms);
        let behind = head.times().all(|ms| ms > end_ms) && member.side.is_none();
        if !apart || !behind {
            return self.read_all(member, block);
        }
        let resets = self.seen.hints.detail == Detail::Counters;
        for candidate in candidates {
            let fits =
                |summary: &Summary| windows.keep_whole(candidate.range) && !(resets && summary.resets > 0);
            match candidate.summary().filter(fits) {
                Some(summary) => {
                    let row = block.columns.timestamps.len() as u32;
                    block.summaries.push(SummaryPoint { row, summary });
                }
                None => self.read(&candidate, block)?,
            }
        }
        Ok(())
    }

    /// The chunks of a member that have something in the range.
    fn candidates(&mut self, member: &Member) -> Result<SmallVec<[Candidate; 4]>, SelectError> {
        let mut candidates = SmallVec::new();
        for (number, ordinal) in &member.places {
            let number = *number as usize;
            let part = &self.seen.parts[number];
            let reader = reader_of(&mut self.readers[number], part);
            let chunks = match reader.section.chunks(*ordinal) {
                Ok(chunks) => chunks,
                Err(error) => {
                    unless_damaged(Err(error), self.damaged)?;
                    continue;
                }
            };
            for left in part.masks.left(*ordinal, part.left) {
                let within =
                    |chunk: &&ChunkMeta| chunk.kind != ChunkKind::Exemplars && chunk.range.overlaps(&left);
                candidates.extend(chunks.iter().filter(within).map(|chunk| {
                    let range = TimeRange {
                        start_ms: left.start_ms.max(chunk.range.start_ms),
                        end_ms: left.end_ms.min(chunk.range.end_ms),
                    };
                    Candidate { part: number, chunk: *chunk, range }
                }));
            }
        }
        Ok(candidates)
    }

    fn read(&mut self, candidate: &Candidate, block: &mut SeriesBlock) -> Result<(), SelectError> {
        let rows = block.columns.timestamps.len() + candidate.chunk.rows as usize;
        charge(self.budget, self.charged_rows, rows)?;
        let reader = reader_of(&mut self.readers[candidate.part], &self.seen.parts[candidate.part]);
        let before = block.columns.timestamps.len();
        let read = reader.section.read_part(&candidate.chunk, candidate.range, &mut block.columns);
        unless_damaged(read, self.damaged)?;
        if candidate.range.start_ms > self.seen.range.start_ms {
            block.columns.forget_before(before);
        }
        Ok(())
    }
}

fn reader_of<'r>(place: &'r mut Option<PartReader>, part: &Part) -> &'r mut PartReader {
    place.get_or_insert_with(|| PartReader::new(part))
}

/// Takes from the budget what a block of so many rows needs, once: the next block gets its memory.
fn charge(budget: &Budget, charged_rows: &mut usize, rows: usize) -> Result<(), Stop> {
    if rows > *charged_rows {
        // More than is needed now, so that it is seldom asked.
        let more = (rows - *charged_rows).max(BLOCK_ROWS / 16);
        budget.charge(more as u64 * ROW_BYTES)?;
        *charged_rows += more;
    }
    Ok(())
}

/// Names damage; anything else ends the selection.
fn unless_damaged(read: Result<(), BlockError>, damaged: &mut Vec<Damaged>) -> Result<(), SelectError> {
    match read {
        Err(BlockError::Damaged(unit)) => damaged.push(unit),
        other => other?,
    }
    Ok(())
}
