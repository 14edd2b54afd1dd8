//! The scrubber: reads every page of the live blocks again and again, slowly, so that damage is found while a backup is
//! still there, and not by the first query in a year.
//!
//! A pass goes through the blocks that were live when it began, a step at a time, paced by bytes a second; then the next
//! one waits for the interval to pass. Damage is handled as that which a query meets: it is counted and logged, once for
//! as long as the process lives, and the rest goes on being answered.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::block::{BlockError, Damaged, Scrub};
use crate::store::Inner;

/// How long after the start the first pass begins, at most: a start has enough to do.
const FIRST: Duration = Duration::from_secs(3600);

/// Steps in a second: who asks for work does so about as often.
const STEPS: u64 = 2;

/// Bytes that one step reads at most.
const STEP_BYTES: u64 = 16 << 20;

/// How long a step that failed waits before it is tried again.
const RETRY: Duration = Duration::from_secs(60);

/// The pass that runs, and when it goes on.
#[derive(Default)]
pub(crate) struct Scrubber {
    /// Monotonic time of the next step; `None` = nothing was planned yet.
    next: Option<Duration>,
    /// Monotonic time at which the pass that runs began, if one does.
    began: Option<Duration>,
    /// Blocks of the pass that are still to be read, the next one last.
    waiting: Vec<u64>,
    /// The block that is being read.
    reading: Option<(u64, Scrub)>,
    /// What was found damaged and is live still: file and offset of the page.
    known: BTreeSet<(String, Option<u64>)>,
}

impl Inner {
    pub(crate) fn scrub_is_due(&self) -> bool {
        if self.options.scrub_interval.is_zero() || self.queue.is_closed() {
            return false;
        }
        let mut scrubber = self.scrubber.lock().expect("lock");
        let now = self.env.clock.monotonic();
        let first = || now + FIRST.min(self.options.scrub_interval);
        *scrubber.next.get_or_insert_with(first) <= now
    }

    /// Goes on with the pass that runs, or begins one.
    pub(crate) fn scrub(&self) -> io::Result<()> {
        let mut scrubber = self.scrubber.lock().expect("lock");
        let now = self.env.clock.monotonic();
        let result = self.scrub_step(&mut scrubber, now);
        if result.is_err() {
            scrubber.reading = None;
            scrubber.next = Some(now + RETRY);
        }
        result
    }

    fn scrub_step(&self, scrubber: &mut Scrubber, now: Duration) -> io::Result<()> {
        let blocks = self.view.read().expect("lock").blocks.clone();
        let is_live = |id: u64| blocks.iter().any(|block| block.meta().id == id);
        if scrubber.began.is_none() {
            scrubber.began = Some(now);
            scrubber.waiting = blocks.iter().rev().map(|block| block.meta().id).collect();
        }
        let rate = self.options.scrub_bytes_per_second.max(1);
        let step = (rate / STEPS).clamp(1, STEP_BYTES);
        let (mut done, mut damaged) = (0, Vec::new());
        let ended = loop {
            if done >= step {
                break false;
            }
            let Some((id, scrub)) = &mut scrubber.reading else {
                let Some(id) = scrubber.waiting.pop() else { break true };
                // Merged or expired since the pass began.
                if is_live(id) {
                    match Scrub::begin(&*self.env.files, &self.block_path(id), id) {
                        Ok(scrub) => scrubber.reading = Some((id, scrub)),
                        Err(BlockError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
                            damaged.push(missing(id));
                        }
                        Err(error) => note(error, &mut damaged)?,
                    }
                }
                continue;
            };
            if !is_live(*id) {
                scrubber.reading = None;
                continue;
            }
            match scrub.step(step - done, &mut damaged) {
                Ok((bytes, is_done)) => {
                    done += bytes;
                    if is_done {
                        scrubber.reading = None;
                    }
                }
                Err(error) => {
                    note(error, &mut damaged)?;
                    scrubber.reading = None;
                }
            }
        };
        self.counters.scrubbed_bytes.fetch_add(done, Ordering::Relaxed);
        damaged.retain(|unit: &Damaged| scrubber.known.insert((unit.file.clone(), unit.page)));
        self.note_damaged(&mut damaged);
        let live: Vec<String> =
            blocks.iter().map(|block| crate::store::block_file_name(block.meta().id)).collect();
        scrubber.known.retain(|(file, _)| live.contains(file));
        self.counters.scrub_damaged.store(scrubber.known.len() as u64, Ordering::Relaxed);
        scrubber.next = Some(if ended {
            let began = scrubber.began.take().unwrap_or(now);
            self.counters.scrub_pass_ms.store(self.env.clock.now_ms(), Ordering::Relaxed);
            // A pass that took longer than the interval is followed by the next one at once, but not in this moment.
            (began + self.options.scrub_interval).max(now + Duration::from_secs(1))
        } else {
            now + Duration::from_micros(done.saturating_mul(1_000_000) / rate)
        });
        Ok(())
    }
}

/// A live block whose name is gone: it is answered from while it happens to be open, and missing from then on.
fn missing(id: u64) -> Damaged {
    Damaged { file: crate::store::block_file_name(id), what: "file is missing", tenant: None, page: None }
}

/// Names damage; a read that fails otherwise is the caller's.
fn note(error: BlockError, damaged: &mut Vec<Damaged>) -> io::Result<()> {
    match error {
        BlockError::Damaged(unit) => {
            damaged.push(unit);
            Ok(())
        }
        BlockError::Io(error) => Err(error),
        other => Err(io::Error::other(other.to_string())),
    }
}
