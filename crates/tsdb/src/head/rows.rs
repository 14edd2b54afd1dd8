//! The head's samples of many series, each series' together.
//!
//! Following a series' chain through the log is a jump for each sample. Whoever wants the samples of a good part of all
//! series goes through the log from one end to the other instead, twice: to count and to place.

use std::ops::Range;

use super::log::Snapshot;
use model::TimeRange;
use model::select::Stop;

/// Stands for a slot that nobody asked for.
const NOBODY: u32 = u32::MAX;

/// Samples of some series in the order of their writes.
#[derive(Debug, Default)]
pub(crate) struct HeadRows {
    offsets: Vec<u32>,
    timestamps: Vec<i64>,
    values: Vec<f64>,
}

/// Bytes that a sample takes.
const ROW_BYTES: u64 = 16;

/// Bytes that a slot or a series takes.
const SERIES_BYTES: u64 = 4;

impl HeadRows {
    /// The samples in the range of the series with these slots, in their order. `charge` is asked before memory is taken.
    pub(crate) fn new(
        log: &Snapshot,
        slots: &[u32],
        range: TimeRange,
        charge: impl Fn(u64) -> Result<(), Stop>,
    ) -> Result<Self, Stop> {
        let highest = slots.iter().max().map_or(0, |slot| *slot as usize + 1);
        charge((highest + slots.len() * 2) as u64 * SERIES_BYTES)?;
        let mut series_of = vec![NOBODY; highest];
        (0..).zip(slots).for_each(|(series, slot)| series_of[*slot as usize] = series);
        let series = |slot: u32| series_of.get(slot as usize).copied().unwrap_or(NOBODY);
        let mut offsets = vec![0u32; slots.len() + 1];
        log.each_since(range.start_ms, |slot, timestamp_ms, _| {
            let series = series(slot);
            if series != NOBODY && range.contains(timestamp_ms) {
                offsets[series as usize + 1] += 1;
            }
        });
        for at in 1..offsets.len() {
            offsets[at] += offsets[at - 1];
        }
        let rows = offsets.last().map_or(0, |rows| *rows as usize);
        charge(rows as u64 * ROW_BYTES)?;
        let (mut timestamps, mut values) = (vec![0; rows], vec![0.0; rows]);
        let mut next = offsets.clone();
        log.each_since(range.start_ms, |slot, timestamp_ms, value| {
            let series = series(slot);
            if series != NOBODY && range.contains(timestamp_ms) {
                let at = &mut next[series as usize];
                timestamps[*at as usize] = timestamp_ms;
                values[*at as usize] = value;
                *at += 1;
            }
        });
        Ok(Self { offsets, timestamps, values })
    }

    /// The times and values of a series; nothing of one that was not asked for.
    pub(crate) fn of(&self, series: usize) -> (&[i64], &[f64]) {
        let rows: Option<Range<usize>> =
            self.offsets.get(series).zip(self.offsets.get(series + 1)).map(|(a, b)| *a as usize..*b as usize);
        let rows = rows.unwrap_or(0..0);
        (&self.timestamps[rows.clone()], &self.values[rows])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::log::{NO_CELL, SampleLog};

    #[test]
    fn rows_are_what_the_chains_say() {
        let log = SampleLog::new();
        let (mut appender, mut tails) = (log.appender(), [NO_CELL; 40]);
        for i in 0..100_000u64 {
            let slot = (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as usize % 40;
            let late = if i % 50 == 0 { 30_000 } else { 0 };
            tails[slot] = appender.push(slot as u32, tails[slot], i as i64 - late, i as f64);
        }
        appender.publish();
        log.drop_before(20_000);
        let (snapshot, slots) = (log.snapshot(), [7, 3, 39, 0, 12]);
        for range in [(i64::MIN, i64::MAX), (40_000, 90_000), (99_990, 99_999), (5, 4)] {
            let range = TimeRange { start_ms: range.0, end_ms: range.1 };
            let rows = HeadRows::new(&snapshot, &slots, range, |_| Ok(())).unwrap();
            for (series, slot) in slots.iter().enumerate() {
                let mut chain = Vec::new();
                snapshot.walk(tails[*slot as usize], range.start_ms, &mut chain);
                chain.retain(|sample| range.contains(sample.timestamp_ms));
                let wanted: Vec<(i64, f64)> = chain.iter().rev().map(|s| (s.timestamp_ms, s.value)).collect();
                let (times, values) = rows.of(series);
                let found: Vec<(i64, f64)> = times.iter().copied().zip(values.iter().copied()).collect();
                assert_eq!(found, wanted, "slot {slot} in {range:?}");
            }
            assert_eq!(rows.of(5).0, &[] as &[i64]);
        }
        let refused =
            HeadRows::new(&snapshot, &slots, TimeRange { start_ms: 0, end_ms: 9 }, |_| Err(Stop::Cancelled));
        assert!(refused.is_err());
    }
}
