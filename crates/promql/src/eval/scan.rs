//! Selections, shared among the cores where they are large.
//!
//! The series are cut into several parts for each thread, since parts of as many series are not as much work: a thread that
//! has done one takes the next. What is made of a part is kept to itself and put together in the order of the series, so an
//! answer does not depend on who was faster.

use std::iter;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use model::{Budget, Hints, Labels, SeriesBlock, TimeRange};

use crate::annotation::Notes;
use crate::ast::{NodeId, VectorSelector};
use crate::eval::samples::Samples;
use crate::eval::{Evaluates, Evaluator};
use crate::source::SeriesSet;

/// Bytes of a worker's stack.
const STACK_BYTES: usize = 4 << 20;

/// Work that is worth another thread, in steps of series.
const WORK: usize = 1 << 16;

/// Parts for each thread at most: with one for each, one of two threads waited a third of its time for the other.
const PARTS: usize = 4;

/// What a series costs beside its steps, in steps.
const SERIES_WORK: usize = 64;

/// What is selected.
pub(crate) struct Scan<'s> {
    /// The selector's node, or the one that stands in for it.
    pub(crate) place: NodeId,
    pub(crate) selector: &'s VectorSelector,
    pub(crate) range: TimeRange,
    pub(crate) hints: Hints,
    /// Steps at which each series is evaluated.
    pub(crate) steps: usize,
}

/// What works on a part of the series.
struct Part<'a, W> {
    worker: W,
    notes: Notes,
    warnings: Vec<String>,
    budget: &'a Budget,
}

impl Evaluator<'_> {
    /// Selects once for all steps. Each series with its samples is handed to a worker made by `begin`; the workers come
    /// back in the order of their series.
    pub(crate) fn scan<W: Send>(
        &mut self,
        scan: &Scan<'_>,
        begin: impl Fn() -> W + Sync,
        each: impl Fn(&mut W, &mut Notes, Labels, &Samples<'_>) -> Evaluates<()> + Sync,
    ) -> Evaluates<Vec<W>> {
        let finds_resets = self.plan.only_totals(scan.place);
        let set = self.source.select(&scan.selector.matchers, scan.range, &scan.hints, self.budget)?;
        let work = set.series_left().saturating_mul(scan.steps.saturating_add(SERIES_WORK));
        let threads = (work / WORK).clamp(1, self.params.threads.max(1));
        let parts = if threads == 1 { 1 } else { (work / WORK).clamp(1, threads * PARTS) };
        let part =
            || Part { worker: begin(), notes: Notes::default(), warnings: Vec::new(), budget: self.budget };
        let failed = AtomicBool::new(false);
        let run = |set: Box<dyn SeriesSet + '_>| {
            let done = part().run(set, finds_resets, &failed, &each);
            if done.is_err() {
                failed.store(true, Ordering::Relaxed);
            }
            done
        };
        if parts == 1 {
            return self.gather([run(set)]);
        }
        let sets = Mutex::new(set.split(parts).into_iter().enumerate());
        let next = || sets.lock().unwrap_or_else(PoisonError::into_inner).next();
        let run_some = || iter::from_fn(next).map(|(number, set)| (number, run(set))).collect::<Vec<_>>();
        let mut done = thread::scope(|scope| {
            let spawn = |_| {
                let builder = thread::Builder::new().name("query-part".into()).stack_size(STACK_BYTES);
                // Without it the others have more to do.
                builder.spawn_scoped(scope, run_some).ok()
            };
            let others: Vec<_> = (1..threads).filter_map(spawn).collect();
            let mut done = run_some();
            for other in others {
                done.extend(other.join().unwrap_or_else(|panic| resume_unwind(panic)));
            }
            done
        });
        done.sort_by_key(|(number, _)| *number);
        self.gather(done.into_iter().map(|(_, part)| part))
    }

    /// Puts together what the parts have made; the first error is the answer's.
    fn gather<'p, W: 'p>(
        &mut self,
        done: impl IntoIterator<Item = Evaluates<Part<'p, W>>>,
    ) -> Evaluates<Vec<W>> {
        let mut workers = Vec::new();
        for part in done {
            let Part { worker, notes, warnings, .. } = part?;
            self.notes.extend(notes);
            self.warnings.extend(warnings);
            workers.push(worker);
        }
        self.warnings.sort();
        self.warnings.dedup();
        Ok(workers)
    }
}

impl<W> Part<'_, W> {
    /// Goes through the series of a set, unless another part fails.
    fn run(
        mut self,
        mut set: Box<dyn SeriesSet + '_>,
        finds_resets: bool,
        failed: &AtomicBool,
        each: &impl Fn(&mut W, &mut Notes, Labels, &Samples<'_>) -> Evaluates<()>,
    ) -> Evaluates<Self> {
        let mut block = SeriesBlock::default();
        while !failed.load(Ordering::Relaxed) && set.next_block(&mut block)? {
            for (index, series) in block.series.iter().enumerate() {
                self.budget.check()?;
                let samples = Samples::of(&block, index, finds_resets);
                if let Some(labels) = set.labels(*series)? {
                    each(&mut self.worker, &mut self.notes, labels, &samples)?;
                }
            }
        }
        self.warnings = set.warnings();
        Ok(self)
    }
}
