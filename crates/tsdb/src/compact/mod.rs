//! Compaction: many small blocks become few large ones.
//!
//! Flushed blocks hold whatever came in ten minutes; they are merged into blocks of two hours, and those of a day that is
//! over into blocks of a day. A merge runs in steps, so that a flush waits for one of them at most; it is paced by bytes a
//! second. What was deleted or has expired is left out, and a block that has such parts is rewritten alone when nothing
//! else is to be done. Until the manifest names the new blocks it was not there: a stop of the process throws it away.
//!
//! What of an input cannot be read is told, and that input goes to quarantine instead of being removed.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::block::{Block, Level};
use crate::named::Named;
use crate::store::{Inner, Live, View};

mod merge;
mod parts;
mod plan;

use merge::{Input, Merge};
use plan::{Hindered, Many, Plan};

/// Bytes of rows that one step goes through at most.
const STEP_BYTES: u64 = 32 << 20;

/// Steps in a second: who asks for work does so about as often.
const STEPS: u64 = 2;

/// How long a merge that failed waits before it is tried again.
const RETRY: Duration = Duration::from_secs(30);

/// How long whoever merges everything lets others at the compactor between two steps.
const TURN: Duration = Duration::from_millis(1);

/// So many times a block waits, each time for twice as long, together some four hours, because the disk refuses to read
/// something of it. Then that counts as damaged.
const REFUSALS_MAX: u32 = 9;

/// So many times the blocks that make a merge due wait: then it is no longer paced.
const PRESSED: usize = 4;

/// The merge that runs, and when it goes on.
#[derive(Default)]
pub(crate) struct Compactor {
    running: Option<Merge>,
    /// Monotonic time of the next step.
    next: Duration,
    /// Blocks of which the disk refused to read something.
    refused: BTreeMap<u64, Refused>,
    /// With which number of changes of the view nothing was due, and how much was wanted.
    nothing_due: Option<(u64, Wanted)>,
    /// Whether everything is to be merged, days that are not over too.
    everything: bool,
}

/// What makes merges due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    /// Many blocks of a kind.
    Usual,
    /// Next to nothing is written: flushed blocks, however few.
    Quiet,
    /// Somebody asked for it: everything, days that are not over too.
    Everything,
}

/// Since when a block waits.
#[derive(Clone, Copy, Default)]
struct Refused {
    /// How often it was put off.
    times: u32,
    /// Monotonic time until which nothing is merged past it.
    until: Duration,
}

impl Compactor {
    /// Whether a block is not to be read now, because the disk has just refused to.
    fn waits(&self, id: u64, now: Duration) -> bool {
        self.refused.get(&id).is_some_and(|refused| refused.until > now)
    }

    /// Lets blocks wait that the disk does not read: what it refuses now it may give later, and nobody needs their merge so
    /// much. False when all of them have waited often enough.
    fn put_off(&mut self, blocks: &[u64], now: Duration) -> bool {
        let mut waits = false;
        for id in blocks {
            let refused = self.refused.entry(*id).or_default();
            if refused.times < REFUSALS_MAX {
                refused.until = now + RETRY * (1 << refused.times);
                // What is asked for at once says nothing about how long the disk refuses.
                refused.times += u32::from(!self.everything);
                waits = true;
            }
        }
        waits
    }

    /// Throws away the merge that runs, and lets time pass before the next one.
    pub(crate) fn give_up(&mut self, inner: &Inner, pause: Duration) {
        if let Some(merge) = self.running.take() {
            merge.discard(inner);
            inner.counters.compaction_memory_bytes.store(0, Ordering::Relaxed);
        }
        self.next = inner.env.clock.monotonic() + pause;
    }
}

impl Inner {
    pub(crate) fn compaction_is_due(&self) -> bool {
        if self.queue.is_closed() {
            return false;
        }
        let mut compactor = self.compactor.lock().expect("lock");
        let blocks = self.view.read().expect("lock").blocks.clone();
        if compactor.running.is_some() && self.is_pressed(&blocks) {
            return true;
        }
        let is_time = compactor.next <= self.env.clock.monotonic();
        is_time && (compactor.running.is_some() || self.merge_is_due(&mut compactor))
    }

    /// Whoever asks does so twice a second, and what is due depends on the view alone, unless blocks wait.
    fn merge_is_due(&self, compactor: &mut Compactor) -> bool {
        let asked = Some((self.view_changes.load(Ordering::Acquire), self.wanted(compactor)));
        if compactor.nothing_due == asked {
            return false;
        }
        let next = self.next_merge(compactor);
        let is_settled = matches!(next, Ok(None)) && compactor.refused.is_empty();
        compactor.nothing_due = asked.filter(|_| is_settled);
        matches!(next, Ok(Some(_)))
    }

    fn wanted(&self, compactor: &Compactor) -> Wanted {
        let now = self.env.clock.monotonic();
        let blocks = &self.view.read().expect("lock").blocks;
        let bytes = flushed(blocks).map(|block| block.meta().bytes).sum();
        let is_quiet =
            || self.quiet.lock().expect("lock").is_reason_to_merge(now, bytes, self.options.flush_bytes);
        match compactor.everything {
            true => Wanted::Everything,
            false if is_quiet() => Wanted::Quiet,
            false => Wanted::Usual,
        }
    }

    /// The merge that is due, with the view that it is of; an error says why it cannot be done now.
    fn next_merge(&self, compactor: &Compactor) -> io::Result<Option<(Plan, View)>> {
        // Both at once: a flush changes the one after the other.
        let live = self.manifest.lock().expect("lock");
        let view = self.view.read().expect("lock").clone();
        let now = self.env.clock.monotonic();
        let mut barriers = barriers(&live.manifest.blocks, &view.blocks);
        drop(live);
        let waits = |block: &Arc<Block>| compactor.waits(block.meta().id, now);
        let (waiting, blocks): (Vec<_>, Vec<_>) = view.blocks.iter().cloned().partition(waits);
        barriers.extend(waiting.iter().map(|block| Named::of(block.meta())));
        let blocks = &blocks;
        let has_dead_parts = |block: &Block| view.has_dead_parts(block);
        // Writes must not be refused for what a merge takes.
        let room_bytes =
            self.env.files.space(&self.directory)?.free.saturating_sub(self.options.disk_reserve_bytes);
        let many = self.options.compaction_blocks.max(2);
        let next = |many| plan::next(blocks, &barriers, many, room_bytes, has_dead_parts);
        let plan = match self.wanted(compactor) {
            Wanted::Usual => next(Many { flushed: many, merged: many }),
            Wanted::Quiet => next(Many { flushed: 1, merged: many }),
            Wanted::Everything => plan::everything(blocks, &barriers, room_bytes, has_dead_parts),
        };
        let is_short = match &plan {
            Ok(plan) => plan.as_ref().is_some_and(|plan| plan.is_instead),
            Err(hindered) => *hindered == Hindered::Room,
        };
        self.counters.compaction_short_of_disk.store(is_short, Ordering::Relaxed);
        Ok(plan.map_err(io::Error::other)?.map(|plan| (plan, view)))
    }

    fn is_pressed(&self, blocks: &[Arc<Block>]) -> bool {
        flushed(blocks).count() >= self.options.compaction_blocks * PRESSED
    }

    /// Goes on with the merge that runs, or begins the next one.
    pub(crate) fn compact(&self) -> io::Result<()> {
        self.compact_locked(&mut self.compactor.lock().expect("lock"))
    }

    fn compact_locked(&self, compactor: &mut Compactor) -> io::Result<()> {
        let result = self.compact_step(compactor);
        if result.is_err() {
            self.counters.compaction_failures.fetch_add(1, Ordering::Relaxed);
            compactor.give_up(self, RETRY);
        }
        result
    }

    fn compact_step(&self, compactor: &mut Compactor) -> io::Result<()> {
        if compactor.running.is_none() {
            // What hinders it is no failure of a merge: it is asked again.
            let Ok(Some((plan, view))) = self.next_merge(compactor) else { return Ok(()) };
            compactor.running = Some(Merge::new(plan, &view, &self.options));
        }
        let blocks = &self.view.read().expect("lock").blocks.clone();
        let merge = compactor.running.as_mut().expect("just begun");
        if !is_whole(merge, blocks) {
            // Retention was faster: what it has dropped must not come back.
            compactor.give_up(self, Duration::ZERO);
            return Ok(());
        }
        let rate = self.options.compaction_bytes_per_second.max(1);
        let step = if self.is_pressed(blocks) { STEP_BYTES } else { (rate / STEPS).clamp(1, STEP_BYTES) };
        match merge.step(self, step)? {
            Some(bytes) => {
                let pause = Duration::from_micros(bytes.saturating_mul(1_000_000) / rate);
                compactor.next = self.env.clock.monotonic() + pause;
            }
            None => {
                let refused = merge.refused();
                if compactor.put_off(&refused, self.env.clock.monotonic()) {
                    compactor.give_up(self, Duration::ZERO);
                    return Ok(());
                }
                self.counters.compaction_memory_bytes.store(0, Ordering::Relaxed);
                let merge = compactor.running.as_ref().expect("it has ended");
                self.publish_merge(merge)?;
                compactor.running = None;
                let live = self.view.read().expect("lock").blocks.clone();
                compactor.refused.retain(|id, _| live.iter().any(|block| block.meta().id == *id));
            }
        }
        Ok(())
    }

    /// Merges until nothing is left to merge, at once. Background work may do steps of it too, and others have their turn
    /// between two steps.
    pub(crate) fn compact_everything(&self) -> io::Result<()> {
        let busy = || io::Error::other("everything is being merged already");
        match self.compactor.lock().expect("lock") {
            compactor if compactor.everything => return Err(busy()),
            mut compactor => {
                compactor.everything = true;
                compactor.refused.values_mut().for_each(|refused| refused.until = Duration::ZERO);
            }
        }
        let result = self.compact_until_done();
        self.compactor.lock().expect("lock").everything = false;
        result
    }

    fn compact_until_done(&self) -> io::Result<()> {
        while !self.queue.is_closed() {
            let mut compactor = self.compactor.lock().expect("lock");
            if compactor.running.is_none() && self.next_merge(&compactor)?.is_none() {
                let now = self.env.clock.monotonic();
                return match compactor.refused.values().any(|refused| refused.until > now) {
                    true => Err(io::Error::other("the disk does not give what is to be merged")),
                    false => Ok(()),
                };
            }
            self.compact_locked(&mut compactor)?;
            drop(compactor);
            std::thread::sleep(TURN);
        }
        Ok(())
    }

    /// Lets nothing wait any longer: no pause between merges, no block that the disk refused.
    pub(crate) fn hurry_compaction(&self) {
        let mut compactor = self.compactor.lock().expect("lock");
        compactor.next = Duration::ZERO;
        compactor.nothing_due = None;
        compactor.refused.values_mut().for_each(|refused| refused.until = Duration::ZERO);
    }

    /// Gives up the merge that runs.
    pub(crate) fn stop_compaction(&self) {
        self.compactor.lock().expect("lock").give_up(self, Duration::ZERO);
    }

    /// A file id that was never given before.
    pub(crate) fn next_file_id(&self) -> u64 {
        let mut live = self.manifest.lock().expect("lock");
        live.manifest.next_file += 1;
        live.manifest.next_file - 1
    }

    /// Puts the new blocks in the place of the old ones.
    fn publish_merge(&self, merge: &Merge) -> io::Result<()> {
        let mut live = self.manifest.lock().expect("lock");
        // Only now: the delete of a tenant flushes too, in another thread.
        let live_blocks = self.view.read().expect("lock").blocks.clone();
        if !is_whole(merge, &live_blocks) {
            return Err(io::Error::other("a block went while it was merged"));
        }
        let merged = |id: u64| merge.inputs().iter().any(|input| input.id == id);
        // Before no manifest names them any longer: whatever happens in between, a damaged file is not removed.
        let mut linked = Vec::new();
        for input in merge.inputs().iter().filter(|input| !input.damaged.is_empty()) {
            if self.link_to_quarantine(&self.block_path(input.id))? {
                linked.push(input.id);
            }
        }
        let outputs = self.name_outputs(merge).inspect_err(|_| self.remove_outputs(merge))?;
        let mut blocks: Vec<Arc<Block>> =
            live_blocks.iter().filter(|block| !merged(block.meta().id)).cloned().collect();
        blocks.extend(outputs.iter().cloned());
        sort_by_sequence(&mut blocks);
        let mut next = live.manifest.clone();
        // Blocks that are named and not live could not be read at the start: they stay.
        next.blocks.retain(|named| !merged(named.id));
        next.blocks.extend(outputs.iter().map(|block| Named::of(block.meta())));
        if merge.inputs().iter().all(|input| input.damaged.is_empty()) {
            next.forget_tombstones();
        }
        if let Err(error) = self.publish_manifest(&mut live, next, blocks) {
            // Nobody knows what of the new manifest is on the disk: only when the old one is in its place, nothing names
            // the new files.
            if self.repeat_manifest(&mut live).is_ok() {
                self.remove_outputs(merge);
            }
            return Err(error);
        }
        let bytes: u64 = merge.written().iter().map(|written| written.bytes).sum();
        self.counters.compactions.fetch_add(1, Ordering::Relaxed);
        self.counters.compaction_written_bytes.fetch_add(bytes, Ordering::Relaxed);
        // All of them, whatever fails: what is damaged and lies there without a name is removed by the next start.
        let mut result = Ok(());
        for input in merge.inputs() {
            self.cache.forget(input.id);
            result = result.and(self.put_away(&mut live, input, &linked));
        }
        result.and(self.env.files.sync_dir(&self.directory.join("blocks")))
    }

    /// Removes a block that was merged, or moves it to quarantine when something of it could not be read; those that are
    /// `linked` have a name there.
    fn put_away(&self, live: &mut Live, input: &Input, linked: &[u64]) -> io::Result<()> {
        let path = self.block_path(input.id);
        match input.damaged.first() {
            Some(unit) if linked.contains(&input.id) => {
                input.block.remove_unread();
                self.note_quarantined(&path, &unit.to_string(), true);
            }
            Some(unit) => {
                let to = self.quarantine_path(&path);
                if !input.block.move_to(to, || self.quarantine(&path, &unit.to_string())) {
                    // Named again, or the next start would remove it.
                    live.manifest.blocks.push(input.named());
                    return self.repeat_manifest(live);
                }
            }
            None => input.block.remove_unread(),
        }
        Ok(())
    }

    /// Removes what no manifest names: it must not lie there until the next start, one copy for each try.
    fn remove_outputs(&self, merge: &Merge) {
        for written in merge.written() {
            let _ = self.env.files.remove(&self.block_path(written.id));
        }
    }

    /// Gives the new blocks their names and opens them.
    fn name_outputs(&self, merge: &Merge) -> io::Result<Vec<Arc<Block>>> {
        let files = &*self.env.files;
        let mut blocks = Vec::with_capacity(merge.written().len());
        for written in merge.written() {
            let path = self.block_path(written.id);
            files.rename(&merge::temporary(self, written.id), &path)?;
            let block = Block::open_live(&self.handles, &path, written.id, self.cache.clone());
            blocks.push(Arc::new(block.map_err(|error| io::Error::other(error.to_string()))?));
        }
        files.sync_dir(&self.directory.join("blocks"))?;
        Ok(blocks)
    }
}

fn flushed(blocks: &[Arc<Block>]) -> impl Iterator<Item = &Arc<Block>> {
    blocks.iter().filter(|block| block.meta().level == Level::Flushed)
}

/// Whether all that is merged is live still.
fn is_whole(merge: &Merge, blocks: &[Arc<Block>]) -> bool {
    merge.inputs().iter().all(|input| blocks.iter().any(|block| block.meta().id == input.id))
}

/// Blocks that could not be read at the start: they may come back, in their place in the order of writes.
fn barriers(named: &[Named], blocks: &[Arc<Block>]) -> Vec<Named> {
    if named.len() == blocks.len() {
        return Vec::new();
    }
    let live: BTreeSet<u64> = blocks.iter().map(|block| block.meta().id).collect();
    named.iter().filter(|named| !live.contains(&named.id)).cloned().collect()
}

/// What was written last comes last.
pub(crate) fn sort_by_sequence(blocks: &mut [Arc<Block>]) {
    blocks.sort_by_key(|block| (*block.meta().sequences.end(), block.meta().id));
}

#[cfg(test)]
mod tests {
    use env::Env;
    use model::TenantId;

    use super::Wanted;
    use crate::options::{Keep, Options};
    use crate::{Progress, Store};

    /// It was planned anew twice a second, through all parts of all blocks.
    #[test]
    fn what_is_due_is_asked_again_only_when_the_view_has_changed() {
        let directory = tempfile::tempdir().unwrap();
        let store =
            Store::open(Env::real(), directory.path(), Options::default(), &Progress::default()).unwrap();
        let remembered = || store.inner.compactor.lock().unwrap().nothing_due;
        assert_eq!((store.next_job(&|_| Keep::default()), remembered()), (None, Some((0, Wanted::Usual))));
        store.inner.cut_off(TenantId(1)).unwrap();
        assert_eq!((store.next_job(&|_| Keep::default()), remembered()), (None, Some((1, Wanted::Usual))));
    }
}
