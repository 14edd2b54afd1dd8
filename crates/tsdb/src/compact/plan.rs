//! Which blocks are merged next, and into which spans of time.
//!
//! **What is written later wins** is a matter of sequences: of two blocks that share a span of time, one has only higher
//! sequences than the other, and blocks are read in the order of their last sequence. A merge keeps that: whatever
//! shares its span and has a sequence between its lowest and its highest is merged too.
//!
//! A block that could not be read at the start, or that the disk refuses now, may come back in its place in that order: it
//! is a barrier. What would have
//! to take it along is not merged, or only what lies on one side of it; everything else goes on.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use model::TimeRange;

use crate::block::{Block, BlockMeta, Level};
use crate::named::Named;

const HOUR_MS: i64 = 3_600_000;
/// The lower tier's span.
const HOURS_MS: i64 = 2 * HOUR_MS;
/// The upper tier's span.
const DAY_MS: i64 = 24 * HOUR_MS;

/// Blocks that one merge reads, in multiples of those that make one due: bounds open files and what is redone when it
/// is cut short.
const FLUSHED_MAX: usize = 4;

/// A day's block is rewritten for late samples once these have a quarter of its bytes.
const REWRITE_PART: u64 = 4;

/// Spans of one merge that are as short as their tier says. Before them everything falls into few long ones: samples of
/// years ago that somebody sends beside today's must not make thousands of files.
const SHORT_SPANS: usize = 96;
const LONG_SPANS: i64 = 32;

/// A merge to be done.
#[derive(Debug)]
pub(crate) struct Plan {
    /// By sequence.
    pub(crate) inputs: Vec<Arc<Block>>,
    /// Where the output is cut, ascending: together they are all time.
    pub(crate) spans: Vec<Span>,
    /// Whether it takes the place of one for which there is too little room.
    pub(crate) is_instead: bool,
}

/// A span of time and what becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) range: TimeRange,
    pub(crate) level: Level,
}

/// How many blocks of one kind make a merge of them due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Many {
    /// As flushed.
    pub(crate) flushed: usize,
    /// Of the same two hours or day.
    pub(crate) merged: usize,
}

/// Occurs when what is due cannot be merged now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Hindered {
    /// Occurs when nothing is due but merges past a block that cannot be read.
    #[error(
        "a block cannot be read, and what was written before it is not merged with what was written after it"
    )]
    Barrier,
    /// Occurs when there is room for no merge that is due.
    #[error("the disk has too little room for a merge")]
    Room,
}

/// The merge that is due, of blocks in the order of their sequences. When none is, a block with dead parts is rewritten
/// alone: its place in the order stays the same. What has more than `room_bytes` gives way to what has less.
pub(crate) fn next(
    blocks: &[Arc<Block>],
    barriers: &[Named],
    many: Many,
    room_bytes: u64,
    has_dead_parts: impl Fn(&Block) -> bool,
) -> Result<Option<Plan>, Hindered> {
    let newest_ms = newest_ms(blocks.iter().map(|block| block.meta()));
    plan(blocks, barriers, many, newest_ms, room_bytes, has_dead_parts)
}

/// The merge that is due when days that are not over are to be put together too: what is not in blocks of days goes into
/// such, days with several blocks into one each, and dead parts are left out.
pub(crate) fn everything(
    blocks: &[Arc<Block>],
    barriers: &[Named],
    room_bytes: u64,
    has_dead_parts: impl Fn(&Block) -> bool,
) -> Result<Option<Plan>, Hindered> {
    plan(blocks, barriers, Many { flushed: 1, merged: 1 }, i64::MAX, room_bytes, has_dead_parts)
}

fn plan(
    blocks: &[Arc<Block>],
    barriers: &[Named],
    many: Many,
    newest_ms: i64,
    room_bytes: u64,
    has_dead_parts: impl Fn(&Block) -> bool,
) -> Result<Option<Plan>, Hindered> {
    let metas: Vec<&BlockMeta> = blocks.iter().map(|block| block.meta()).collect();
    let dead = |metas: &[&BlockMeta]| -> Vec<usize> {
        (0..metas.len()).filter(|at| has_dead_parts(&blocks[*at])).collect()
    };
    let mut choice = Choice { metas: &metas, barriers, room_bytes, is_hindered: false, is_short: false };
    let Some(chosen) = choice.choose_what_fits(many, newest_ms, dead) else {
        return match choice {
            Choice { is_short: true, .. } => Err(Hindered::Room),
            Choice { is_hindered: true, .. } => Err(Hindered::Barrier),
            Choice { .. } => Ok(None),
        };
    };
    let inputs: Vec<Arc<Block>> = chosen.iter().map(|at| blocks[*at].clone()).collect();
    let range = union(chosen.iter().map(|at| metas[*at].range()));
    Ok(Some(Plan { inputs, spans: spans(range, newest_ms), is_instead: choice.is_short }))
}

fn newest_ms<'a>(metas: impl Iterator<Item = &'a BlockMeta>) -> i64 {
    metas.map(|meta| meta.range().end_ms).max().unwrap_or(i64::MIN)
}

/// Whether a day is over by so much that its late samples are there too.
fn is_over(day_ms: i64, newest_ms: i64) -> bool {
    day_ms.saturating_add(DAY_MS + HOURS_MS) <= newest_ms
}

fn floor_to(ms: i64, unit: i64) -> i64 {
    ms.div_euclid(unit).saturating_mul(unit)
}

fn union(ranges: impl Iterator<Item = TimeRange>) -> TimeRange {
    let none = TimeRange { start_ms: i64::MAX, end_ms: i64::MIN };
    ranges.fold(none, |all, range| TimeRange {
        start_ms: all.start_ms.min(range.start_ms),
        end_ms: all.end_ms.max(range.end_ms),
    })
}

/// Blocks among which is chosen.
struct Choice<'a> {
    /// In the order of their sequences.
    metas: &'a [&'a BlockMeta],
    barriers: &'a [Named],
    /// Bytes that inputs may have.
    room_bytes: u64,
    /// Whether a barrier kept something from being merged.
    is_hindered: bool,
    /// Whether something is not merged for its size.
    is_short: bool,
}

impl Choice<'_> {
    /// What is due, or one of the blocks that have `dead` parts. When that is too large, what frees room comes first and
    /// then what fits.
    fn choose_what_fits(
        &mut self,
        many: Many,
        newest_ms: i64,
        dead: impl FnOnce(&[&BlockMeta]) -> Vec<usize>,
    ) -> Option<Vec<usize>> {
        let first = self.choose(many, newest_ms);
        if first.is_some() && !self.is_short {
            return first;
        }
        let mut dead = dead(self.metas);
        if self.is_short {
            dead.sort_by_key(|at| self.metas[*at].bytes);
        }
        let alone = dead.into_iter().map(|at| vec![at]).find(|alone| self.fits(alone));
        alone.or(first)
    }

    /// Whether there is room for a merge of some blocks.
    fn fits(&mut self, chosen: &[usize]) -> bool {
        // Inputs and outputs lie there together for a while.
        let fits = chosen.iter().map(|at| self.metas[*at].bytes).sum::<u64>() <= self.room_bytes;
        self.is_short |= !fits;
        fits
    }

    /// With one flushed block being enough, all that is not in blocks of days is chosen in the end, when `newest_ms` says
    /// that every day is over.
    fn choose(&mut self, many: Many, newest_ms: i64) -> Option<Vec<usize>> {
        let metas = self.metas;
        let of_level = |wanted: Level| (0..metas.len()).filter(move |at| metas[*at].level == wanted);
        let at_most = many.merged.max(4) * FLUSHED_MAX;
        let oldest = |part: &[usize]| part.iter().copied().take(at_most).collect();
        let are_many = |part: &[usize]| part.len() >= many.flushed;
        let flushed: Vec<usize> = of_level(Level::Flushed).collect();
        if let Some(chosen) = self.take(&flushed, are_many, oldest) {
            return Some(chosen);
        }
        if self.is_short {
            // Fewer of them, two at least.
            let fewer = (2..at_most).rev();
            let some = |count: usize| flushed.iter().copied().take(count).collect();
            if let Some(chosen) = fewer.filter_map(|count| self.closed(some(count))).next() {
                return Some(chosen);
            }
        }
        let mut by_day: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
        let mut by_hours: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
        for at in of_level(Level::Hours) {
            let start_ms = metas[at].range().start_ms;
            let day_ms = floor_to(start_ms, DAY_MS);
            if is_over(day_ms, newest_ms) {
                by_day.entry(day_ms).or_default().push(at);
            } else {
                by_hours.entry(floor_to(start_ms, HOURS_MS)).or_default().push(at);
            }
        }
        for (day_ms, hours) in by_day {
            let day = TimeRange { start_ms: day_ms, end_ms: day_ms.saturating_add(DAY_MS - 1) };
            let whole = self.take(&hours, |_| true, |part| with_days(metas, part.to_vec(), day));
            if whole.is_some() {
                return whole;
            }
        }
        let mut by_long_day: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
        for at in of_level(Level::Day) {
            by_long_day.entry(floor_to(metas[at].range().start_ms, DAY_MS)).or_default().push(at);
        }
        let is_pile = |part: &[usize]| layers(metas, part).len() >= many.merged.max(2);
        let mut piles = by_hours.into_values().chain(by_long_day.into_values());
        piles.find_map(|pile| self.take(&pile, is_pile, |part| worth_it(metas, part)))
    }

    /// What is merged of the blocks `wanted`, in the order of their sequences: those that `of` gives for them, if they are
    /// enough; past a barrier nothing, but then maybe those on one side of it.
    fn take(
        &mut self,
        wanted: &[usize],
        are_enough: impl Fn(&[usize]) -> bool,
        of: impl Fn(&[usize]) -> Vec<usize>,
    ) -> Option<Vec<usize>> {
        if !are_enough(wanted) {
            return None;
        }
        if let Some(chosen) = self.closed(of(wanted)) {
            return Some(chosen);
        }
        let barriers = self.barriers.iter();
        let before = |at: usize| {
            let first = *self.metas[at].sequences.start();
            barriers.clone().filter(|barrier| *barrier.sequences.end() < first).count()
        };
        let mut sides: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        wanted.iter().for_each(|at| sides.entry(before(*at)).or_default().push(*at));
        sides.into_values().filter(|side| are_enough(side)).find_map(|side| self.closed(of(&side)))
    }

    /// With everything that shares the span of the chosen and lies between their sequences; in the order of sequences.
    /// `None` when a barrier is among it, or when there is too little room.
    fn closed(&mut self, mut chosen: Vec<usize>) -> Option<Vec<usize>> {
        let metas = self.metas;
        loop {
            let range = union(chosen.iter().map(|at| metas[*at].range()));
            let first = chosen.iter().map(|at| *metas[*at].sequences.start()).min().unwrap_or(0);
            let last = chosen.iter().map(|at| *metas[*at].sequences.end()).max().unwrap_or(0);
            let between = |of: TimeRange, sequences: &RangeInclusive<u64>| {
                of.overlaps(&range) && *sequences.end() >= first && *sequences.start() <= last
            };
            if self.barriers.iter().any(|barrier| between(barrier.range, &barrier.sequences)) {
                self.is_hindered = true;
                return None;
            }
            let is_more =
                |at: &usize| !chosen.contains(at) && between(metas[*at].range(), &metas[*at].sequences);
            let more: Vec<usize> = (0..metas.len()).filter(is_more).collect();
            if more.is_empty() {
                chosen.sort_unstable();
                return self.fits(&chosen).then_some(chosen);
            }
            chosen.extend(more);
        }
    }
}

/// Blocks by their last sequence: what one merge wrote into one span for several tenants is one layer of it.
fn layers(metas: &[&BlockMeta], blocks: &[usize]) -> BTreeMap<u64, Vec<usize>> {
    let mut layers: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    blocks.iter().for_each(|at| layers.entry(*metas[*at].sequences.end()).or_default().push(*at));
    layers
}

/// Adds the blocks of a day that are worth to be rewritten for what came to it.
fn with_days(metas: &[&BlockMeta], mut chosen: Vec<usize>, day: TimeRange) -> Vec<usize> {
    let days =
        (0..metas.len()).filter(|at| metas[*at].level == Level::Day && metas[*at].range().overlaps(&day));
    let mut bytes: u64 = chosen.iter().map(|at| metas[*at].bytes).sum();
    for at in days.collect::<Vec<_>>().into_iter().rev() {
        if metas[at].bytes > bytes.saturating_mul(REWRITE_PART) {
            break;
        }
        bytes += metas[at].bytes;
        chosen.push(at);
    }
    chosen
}

/// The newest layers of a pile, as far as no older one is many times as large as all that came after it; two at least.
fn worth_it(metas: &[&BlockMeta], pile: &[usize]) -> Vec<usize> {
    let (mut chosen, mut bytes) = (Vec::new(), 0u64);
    for (n, layer) in layers(metas, pile).into_values().rev().enumerate() {
        let more: u64 = layer.iter().map(|at| metas[*at].bytes).sum();
        if n >= 2 && more > bytes.saturating_mul(REWRITE_PART) {
            break;
        }
        bytes += more;
        chosen.extend(layer);
    }
    chosen
}

/// Cuts a range into spans: days that are over, two hours of those that are not.
fn spans(range: TimeRange, newest_ms: i64) -> Vec<Span> {
    let mut starts = Vec::new();
    let mut ms = range.end_ms;
    // From the newest to the oldest, so that the short ones are the newest.
    let oldest = loop {
        let day_ms = floor_to(ms, DAY_MS);
        let (start_ms, level) = if is_over(day_ms, newest_ms) {
            (day_ms, Level::Day)
        } else {
            (floor_to(ms, HOURS_MS), Level::Hours)
        };
        starts.push((start_ms, level));
        if start_ms <= range.start_ms || starts.len() == SHORT_SPANS {
            break start_ms;
        }
        ms = start_ms - 1;
    };
    if oldest > range.start_ms {
        let days = oldest.saturating_sub(range.start_ms) / DAY_MS / LONG_SPANS + 1;
        let mut start_ms = oldest;
        while start_ms > range.start_ms {
            start_ms = start_ms.saturating_sub(days.saturating_mul(DAY_MS));
            starts.push((start_ms, Level::Day));
        }
    }
    starts.reverse();
    starts[0].0 = i64::MIN;
    let ends = starts.iter().skip(1).map(|(next, _)| next - 1).chain([i64::MAX]);
    let span = |((start_ms, level), end_ms): (&(i64, Level), i64)| Span {
        range: TimeRange { start_ms: *start_ms, end_ms },
        level: *level,
    };
    starts.iter().zip(ends).map(span).collect()
}

#[cfg(test)]
mod tests {
    use model::TenantId;

    use super::*;
    use crate::block::SectionMeta;

    const MANY: Many = Many { flushed: 4, merged: 4 };

    /// A block of one tenant: level, hours from and to, sequences, bytes.
    fn block(level: Level, hours: (i64, i64), sequences: (u64, u64), bytes: u64) -> BlockMeta {
        let range = TimeRange { start_ms: hours.0 * HOUR_MS, end_ms: hours.1 * HOUR_MS - 1 };
        let section = SectionMeta { tenant: TenantId(1), range, series: 1, samples: 1, bytes };
        BlockMeta::new(0, level, sequences.0..=sequences.1, bytes, vec![section])
    }

    fn chosen(blocks: &[BlockMeta]) -> Option<Vec<usize>> {
        chosen_around(blocks, &[]).unwrap()
    }

    /// What is chosen when some more blocks cannot be read.
    fn chosen_around(blocks: &[BlockMeta], barriers: &[BlockMeta]) -> Result<Option<Vec<usize>>, Hindered> {
        let metas: Vec<&BlockMeta> = blocks.iter().collect();
        let barriers: Vec<Named> = barriers.iter().map(Named::of).collect();
        let room_bytes = u64::MAX;
        let mut choice =
            Choice { metas: &metas, barriers: &barriers, room_bytes, is_hindered: false, is_short: false };
        let chosen = choice.choose(MANY, newest_ms(blocks.iter()));
        if chosen.is_none() && choice.is_hindered { Err(Hindered::Barrier) } else { Ok(chosen) }
    }

    /// What is chosen with so much room, some blocks having dead parts, and whether something larger comes first.
    fn chosen_within(room_bytes: u64, blocks: &[BlockMeta], dead: &[usize]) -> (Option<Vec<usize>>, bool) {
        let metas: Vec<&BlockMeta> = blocks.iter().collect();
        let mut choice =
            Choice { metas: &metas, barriers: &[], room_bytes, is_hindered: false, is_short: false };
        let chosen = choice.choose_what_fits(MANY, newest_ms(blocks.iter()), |_| dead.to_vec());
        (chosen, choice.is_short)
    }

    use Level::{Day, Flushed, Hours};

    #[test]
    fn flushed_blocks_are_merged_when_there_are_many_and_the_oldest_first() {
        let flushed = |n: u64| block(Flushed, (n as i64, n as i64 + 1), (n * 10, n * 10 + 9), 100);
        let three: Vec<_> = (0..3).map(flushed).collect();
        assert_eq!(chosen(&three), None);
        let many: Vec<_> = (0..30).map(flushed).collect();
        assert_eq!(chosen(&many), Some((0..16).collect()));
    }

    #[test]
    fn a_day_that_is_over_is_put_together() {
        let now = block(Hours, (26, 28), (50, 59), 100);
        let blocks = [
            block(Hours, (0, 2), (1, 9), 100),
            block(Hours, (4, 6), (10, 19), 100),
            block(Hours, (25, 26), (20, 29), 100),
            now.clone(),
        ];
        assert_eq!(chosen(&blocks), Some(vec![0, 1]));
        assert_eq!(chosen(&blocks[2..]), None, "today is not over");
        // A large block of the day is left alone for little that came late, a small one is not.
        let late =
            |bytes| [block(Day, (0, 24), (1, 9), bytes), block(Hours, (3, 4), (10, 12), 100), now.clone()];
        assert_eq!(chosen(&late(1000)), Some(vec![1]));
        assert_eq!(chosen(&late(400)), Some(vec![0, 1]));
    }

    #[test]
    fn what_lies_between_in_time_and_sequence_comes_too() {
        let blocks = [
            block(Hours, (0, 2), (1, 4), 100),
            block(Day, (1, 30), (5, 9), 100_000),
            block(Hours, (4, 6), (10, 19), 100),
            block(Hours, (100, 101), (20, 29), 100),
        ];
        assert_eq!(chosen(&blocks), Some(vec![0, 1, 2]));
    }

    #[test]
    fn nothing_is_merged_past_a_block_that_cannot_be_read_and_everything_else_is() {
        let flushed = |n: u64| block(Flushed, (n as i64, n as i64 + 1), (n * 10, n * 10 + 9), 100);
        let all: Vec<_> = (0..13).map(flushed).collect();
        let without = |n: usize| {
            let mut blocks = all.clone();
            let barrier = blocks.remove(n);
            chosen_around(&blocks, &[barrier])
        };
        assert_eq!(without(0), Ok(Some((0..12).collect())), "it was written first");
        assert_eq!(without(6), Ok(Some((0..6).collect())), "what was written before it");
        assert_eq!(without(2), Ok(Some((2..12).collect())), "what was written after it");
        // Of another time, and before or after all in sequence: in nobody's way.
        for barrier in [block(Flushed, (50, 51), (30, 39), 100), block(Day, (0, 24), (200, 209), 100)] {
            assert_eq!(chosen_around(&all, &[barrier]), Ok(Some((0..13).collect())));
        }
        assert_eq!(
            chosen_around(&all, &[block(Flushed, (0, 99), (0, 999), 1)]),
            Err(Hindered::Barrier),
            "may have anything"
        );
        let few: Vec<_> = (0..6).filter(|n| *n != 3).map(flushed).collect();
        assert_eq!(chosen_around(&few, &[flushed(3)]), Err(Hindered::Barrier), "too few on either side");
        assert_eq!(chosen_around(&few[..3], &[flushed(3)]), Ok(None), "nothing is due");
    }

    #[test]
    fn a_day_with_a_block_that_cannot_be_read_lets_other_days_be_put_together() {
        let hours = |day: i64, hour: i64, n: u64| {
            block(Hours, (day * 24 + hour, day * 24 + hour + 2), (n * 10, n * 10 + 9), 100)
        };
        let now = block(Hours, (24 * 9, 24 * 9 + 2), (90, 99), 100);
        let blocks = [hours(0, 0, 1), hours(0, 4, 3), hours(1, 0, 4), hours(1, 4, 5), now];
        assert_eq!(chosen_around(&blocks, &[hours(0, 2, 2)]), Ok(Some(vec![0])), "what came before it");
        let later = &blocks[1..];
        assert_eq!(chosen_around(later, &[hours(0, 2, 2)]), Ok(Some(vec![0])), "what came after it");
        assert_eq!(chosen_around(later, &[hours(0, 4, 3)]), Ok(Some(vec![1, 2])));
        // A pile of two hours.
        let layer = |n: u64| block(Hours, (0, 2), (n * 10, n * 10 + 9), 100);
        let pile: Vec<_> = (0..9).filter(|n| *n != 3).map(layer).collect();
        assert_eq!(chosen_around(&pile, &[layer(3)]), Ok(Some((3..8).collect())));
    }

    #[test]
    fn a_pile_of_one_span_is_merged_without_its_large_old_part() {
        let mut blocks = vec![block(Hours, (0, 2), (1, 9), 10_000)];
        blocks.extend((1..5).map(|n| block(Hours, (0, 2), (n * 10, n * 10 + 9), 100)));
        assert_eq!(chosen(&blocks), Some(vec![1, 2, 3, 4]));
    }

    #[test]
    fn files_that_one_merge_wrote_for_several_tenants_are_no_pile() {
        let of = |n: u64| block(Hours, (0, 2), (n / 10 * 10, n / 10 * 10 + 9), 100);
        assert_eq!(chosen(&(0..10).map(of).collect::<Vec<_>>()), None);
        assert_eq!(chosen(&(0..31).map(of).collect::<Vec<_>>()).map(|chosen| chosen.len()), Some(31));
    }

    #[test]
    fn what_has_too_little_room_gives_way_to_what_has_enough() {
        let hours = |day: i64, hour: i64, n: u64, bytes| {
            block(Hours, (day * 24 + hour, day * 24 + hour + 2), (n * 10, n * 10 + 9), bytes)
        };
        let mut blocks =
            vec![hours(0, 0, 0, 500), hours(0, 4, 1, 500), hours(1, 0, 2, 300), hours(1, 2, 3, 300)];
        blocks.extend([hours(9, 0, 4, 200), hours(9, 2, 5, 100)]);
        assert_eq!(chosen_within(1000, &blocks, &[5]), (Some(vec![0, 1]), false));
        assert_eq!(chosen_within(999, &blocks, &[]), (Some(vec![2, 3]), true), "another day");
        assert_eq!(
            chosen_within(999, &blocks, &[0, 4, 5]),
            (Some(vec![5]), true),
            "what frees room, the least"
        );
        assert_eq!(chosen_within(599, &blocks, &[]), (None, true));
        assert_eq!(chosen_within(99, &blocks, &[5]), (None, true));
        assert_eq!(chosen_within(99, &blocks[4..], &[]), (None, false), "nothing is due");
        assert_eq!(chosen_within(99, &blocks[4..], &[0]), (None, true), "but for its size");
        let flushed = |n: u64| block(Flushed, (n as i64, n as i64 + 1), (n * 10, n * 10 + 9), 100);
        let many: Vec<_> = (0..30).map(flushed).collect();
        assert_eq!(chosen_within(1599, &many, &[]), (Some((0..15).collect()), true));
        assert_eq!(chosen_within(200, &many, &[]), (Some(vec![0, 1]), true));
        assert_eq!(chosen_within(199, &many, &[]), (None, true));
    }

    #[test]
    fn spans_are_all_of_time_and_few() {
        let day = |n: i64| n * DAY_MS;
        for (start_ms, end_ms) in
            [(0, 1), (day(3) + 5, day(5) + HOUR_MS), (day(-20_000), day(400)), (i64::MIN, i64::MAX)]
        {
            let spans = spans(TimeRange { start_ms, end_ms }, end_ms);
            assert_eq!(spans[0].range.start_ms, i64::MIN);
            assert_eq!(spans[spans.len() - 1].range.end_ms, i64::MAX);
            for pair in spans.windows(2) {
                assert_eq!(pair[0].range.end_ms + 1, pair[1].range.start_ms);
            }
            assert!(spans.len() <= SHORT_SPANS + 2 * LONG_SPANS as usize, "{} spans", spans.len());
        }
        let of_two_days =
            spans(TimeRange { start_ms: 0, end_ms: day(1) + 3 * HOUR_MS }, day(1) + 3 * HOUR_MS);
        let starts: Vec<_> = of_two_days.iter().map(|span| (span.range.start_ms, span.level)).collect();
        assert_eq!(starts, [(i64::MIN, Day), (day(1), Hours), (day(1) + HOURS_MS, Hours)]);
    }
}
