//! What a query cost, for `stats=`: counted around the store, so that the evaluator need not know.
//!
//! Only what is true is said. `samplesRead` is what the selections delivered, each sample once. `totalQueryableSamples`
//! is what Prometheus means by it: for each step the samples that its selectors see, so one that five windows contain
//! counts five times. It follows from a selection's range as long as that is the query's own, shifted by an offset; a
//! subquery, a fixed time in a range query or an extended window leaves it out.

use std::fmt::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use model::select::Detail;
use model::{Budget, Hints, Labels, Matcher, SeriesBlock, SeriesRef, TimeRange, Windows, is_stale};
use promql::{Expr, Params as Steps, SeriesSet, Source, SourceError};

/// A source that counts what it gives.
pub(super) struct Counting<'s, S> {
    source: &'s S,
    steps: Steps,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    read: AtomicU64,
    queryable: AtomicU64,
    /// Set when it is not known which steps a selection was for.
    unclear: AtomicBool,
}

impl<'s, S: Source> Counting<'s, S> {
    pub(super) fn new(source: &'s S, expr: &Expr, steps: Steps) -> Self {
        let counts = Counts { unclear: has_subquery(expr).into(), ..Counts::default() };
        Self { source, steps, counts }
    }

    /// What was counted so far.
    pub(super) fn stats(&self, timings: Timings) -> Stats {
        let Counts { read, queryable, unclear } = &self.counts;
        let queryable = (!unclear.load(Ordering::Relaxed)).then(|| queryable.load(Ordering::Relaxed));
        Stats { timings, read: read.load(Ordering::Relaxed), queryable }
    }
}

/// Whether there may be a subquery: `[` and `:` before the next `]`, also in a string.
fn has_subquery(expr: &Expr) -> bool {
    let text = expr.to_string();
    text.split('[').skip(1).any(|rest| rest.split(']').next().is_some_and(|range| range.contains(':')))
}

impl<S: Source> Source for Counting<'_, S> {
    fn select<'a>(
        &'a self,
        matchers: &[Matcher],
        range: TimeRange,
        hints: &Hints,
        budget: &'a Budget,
    ) -> Result<Box<dyn SeriesSet + 'a>, SourceError> {
        let windows = hints.windows.filter(|windows| {
            let steps = if self.steps.step_ms > 0 {
                self.steps.end_ms.abs_diff(self.steps.start_ms) / self.steps.step_ms.unsigned_abs()
            } else {
                0
            };
            windows.count as u64 == steps + 1 && (steps == 0 || windows.step_ms == self.steps.step_ms)
        });
        if windows.is_none() {
            self.counts.unclear.store(true, Ordering::Relaxed);
        }
        let instant = hints.detail == Detail::Newest;
        // What is left out would not be counted.
        let hints = Hints { windows: None, detail: Detail::All, ..hints.clone() };
        let set = self.source.select(matchers, range, &hints, budget)?;
        let seen = windows.map(|windows| Seen { windows, instant });
        Ok(Box::new(Counted { set, seen, counts: &self.counts }))
    }
}

struct Counted<'a> {
    set: Box<dyn SeriesSet + 'a>,
    seen: Option<Seen>,
    counts: &'a Counts,
}

impl SeriesSet for Counted<'_> {
    fn next_block(&mut self, block: &mut SeriesBlock) -> Result<bool, SourceError> {
        let more = self.set.next_block(block)?;
        self.counts.read.fetch_add(block.columns.timestamps.len() as u64, Ordering::Relaxed);
        if let Some(seen) = &self.seen {
            self.counts.queryable.fetch_add(seen.samples(block), Ordering::Relaxed);
        }
        Ok(more)
    }

    fn labels(&mut self, series: SeriesRef) -> Result<Option<Labels>, SourceError> {
        self.set.labels(series)
    }

    fn series_left(&self) -> usize {
        self.set.series_left()
    }

    fn split<'a>(self: Box<Self>, parts: usize) -> Vec<Box<dyn SeriesSet + 'a>>
    where
        Self: 'a,
    {
        let Self { set, seen, counts } = *self;
        let counted = |set| -> Box<dyn SeriesSet + 'a> { Box::new(Counted { set, seen, counts }) };
        set.split(parts).into_iter().map(counted).collect()
    }

    fn warnings(&self) -> Vec<String> {
        self.set.warnings()
    }
}

/// What a selector sees at each step.
#[derive(Clone, Copy, Debug)]
struct Seen {
    windows: Windows,
    /// Whether only the last sample of each counts.
    instant: bool,
}

impl Seen {
    /// Samples of all series that all steps see together; stale markers are none.
    fn samples(&self, block: &SeriesBlock) -> u64 {
        let columns = &block.columns;
        let stale_histogram = |row: usize| {
            let found = columns.histograms.binary_search_by_key(&row, |h| h.row as usize).ok()?;
            Some(columns.histograms[found].histogram.is_stale())
        };
        let live =
            |row: usize| u64::from(!stale_histogram(row).unwrap_or_else(|| is_stale(columns.values[row])));
        let mut total = 0;
        for rows in block.offsets.windows(2) {
            let (mut from, mut to, end) = (rows[0] as usize, rows[0] as usize, rows[1] as usize);
            let mut within = 0;
            for step in 0..self.windows.count {
                let at_ms = self.windows.end_ms(step);
                while to < end && columns.timestamps[to] <= at_ms {
                    within += live(to);
                    to += 1;
                }
                while from < to && columns.timestamps[from] <= at_ms.saturating_sub(self.windows.length_ms) {
                    within -= live(from);
                    from += 1;
                }
                total += match self.instant {
                    true if from == to => 0,
                    true => live(to - 1),
                    false => within,
                };
            }
        }
        total
    }
}

/// Where the time went.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timings {
    /// Waiting for a slot.
    pub(super) queue: Duration,
    /// Evaluating, the store's part included.
    pub(super) eval: Duration,
    /// From the question to the value.
    pub(super) total: Duration,
}

/// What a query cost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stats {
    timings: Timings,
    read: u64,
    queryable: Option<u64>,
}

impl Stats {
    /// The member `stats` of `data`.
    pub(super) fn json(&self) -> String {
        let Timings { queue, eval, total } = self.timings;
        let (queue, eval, total) = (queue.as_secs_f64(), eval.as_secs_f64(), total.as_secs_f64());
        let mut out = format!(
            "{{\"timings\":{{\"evalTotalTime\":{eval},\"execQueueTime\":{queue},\"execTotalTime\":{total}}},\"samples\":{{"
        );
        if let Some(queryable) = self.queryable {
            let _ = write!(out, "\"totalQueryableSamples\":{queryable},");
        }
        let _ = write!(out, "\"samplesRead\":{}}}}}", self.read);
        out
    }
}

#[cfg(test)]
mod tests {
    use promql::{MemorySource, evaluate, parse};

    use super::*;

    /// What `query` reads and sees of `up` and of a series that goes stale, a sample every 10 s from 0 to 10 minutes.
    fn counted(query: &str, steps: Steps) -> (u64, Option<u64>) {
        let mut source = MemorySource::default();
        let labels = |name: &str| Labels::from_pairs([("__name__", name)]);
        for at in 0..=60 {
            source.push(&labels("up"), at * 10_000, 1.0);
            let value = if at < 30 { 1.0 } else { f64::from_bits(model::STALE_NAN_BITS) };
            source.push(&labels("gone"), at * 10_000, value);
        }
        let expr = parse(query).unwrap();
        let counting = Counting::new(&source, &expr, steps);
        evaluate(&counting, &expr, &steps, &Budget::new(1 << 30)).unwrap();
        let zero = Duration::ZERO;
        let stats = counting.stats(Timings { queue: zero, eval: zero, total: zero });
        (stats.read, stats.queryable)
    }

    #[test]
    fn steps_see_what_prometheus_counts() {
        let at = Steps::instant(600_000);
        let range = Steps::range(300_000, 600_000, 100_000);
        for (query, steps, read, queryable) in [
            // Five minutes of lookback are read, one sample is seen.
            ("up", at, 30, Some(1)),
            ("up", range, 60, Some(4)),
            ("up offset 1m", range, 55, Some(4)),
            ("gone", range, 60, Some(0)),
            ("sum_over_time(up[1m])", at, 6, Some(6)),
            ("sum_over_time(up[100s])", range, 40, Some(40)),
            // Windows of 200 s, 100 s apart: every second sample is seen twice.
            ("sum_over_time(up[200s])", range, 50, Some(80)),
            ("sum_over_time(gone[200s])", range, 50, Some(28)),
            ("up + sum_over_time(up[1m])", at, 36, Some(7)),
            ("1", range, 0, Some(0)),
            ("up @ 300", at, 30, Some(1)),
            ("up @ 300", range, 30, None),
            ("sum_over_time(up[1m:30s])", at, 33, None),
        ] {
            let found = counted(query, steps);
            assert_eq!(found.1, queryable, "{query}: {found:?}");
            assert_eq!(found.0, read, "{query}");
        }
    }
}
