//! Appends that wait for the writer.
//!
//! Small appends that come one by one would each cost a sync of their own. Where they come more slowly than the writer
//! works and faster than [`GATHER`], it waits so long for others: a thousand requests a second take a quarter less CPU
//! time (`cargo xtask bench tenants`). Senders that wait for their answers before they go on are not kept waiting: their
//! next append comes sooner than [`SPARSE`], or nothing more comes, which is tried ever more rarely.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

use env::Clock;
use model::{Metadata, Origin, TenantId};

use crate::logs::Lines;
use crate::record::{Row, SideRow};
use crate::refused::Refused;
use crate::ticket::Completion;
use crate::totals::{Deltas, Total};

/// One append: its series are resolved, its limits checked.
pub(crate) struct Queued {
    pub(crate) tenant: TenantId,
    /// Who sent it on.
    pub(crate) origin: Origin,
    /// Whether its samples go no further than the log; the writer says so.
    pub(crate) passes: bool,
    pub(crate) rows: Vec<Row>,
    pub(crate) sides: Vec<SideRow>,
    pub(crate) metadata: Vec<(String, Metadata)>,
    pub(crate) lines: Lines,
    /// In order for each series; the writer makes rows of them.
    pub(crate) deltas: Deltas,
    /// Of rows that the writer made: index and total.
    pub(crate) totals: Vec<(usize, Total<f64>)>,
    /// Of a request with deltas, when it is to be remembered.
    pub(crate) digest: Option<u128>,
    /// Deltas that the writer refused.
    pub(crate) late: Refused,
    /// Whether an identical request stands before it in its group.
    pub(crate) repeats: bool,
    pub(crate) completion: Completion,
    pub(crate) bytes: u64,
    /// Monotonic time at which it was queued.
    pub(crate) since: Duration,
}

impl Queued {
    /// Whether it stands and falls with the stream of metrics. Asked when its deltas were looked at.
    pub(crate) fn has_metrics(&self) -> bool {
        self.repeats || !(self.rows.is_empty() && self.sides.is_empty() && self.metadata.is_empty())
    }
}

/// First in, first out.
#[derive(Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    filled: Condvar,
}

#[derive(Default)]
struct State {
    items: VecDeque<Queued>,
    bytes: u64,
    closed: bool,
    /// Whether the writer waits for more than there is.
    gathering: bool,
    /// How often in a row it did so for nothing.
    misses: u32,
    /// So many times it does not.
    skips: u32,
}

/// Bytes that the writer takes as one group; a single larger append is a group of its own.
const GROUP_BYTES: u64 = 4 << 20;

/// How long the first of a group waits for others.
const GATHER: Duration = Duration::from_millis(2);

/// Bytes that are enough for a group.
const GATHER_BYTES: u64 = 64 << 10;

/// An append that comes so long after the last group is no answer to it.
const SPARSE: Duration = Duration::from_micros(300);

/// So many times in a row nothing more may come before gathering is left out, for a while that doubles each time.
const MISSES: u32 = 4;
const SKIPS: u32 = 16;
const DOUBLINGS: u32 = 6;

/// An entry that waits longer than this tells that the writer is stuck.
const OLDEST_MAX: Duration = Duration::from_secs(1);

impl Queue {
    /// Queues an append. The caller has asked [`Queue::refuses`].
    pub(crate) fn push(&self, item: Queued) {
        let mut state = self.state.lock().expect("lock");
        state.bytes += item.bytes;
        state.items.push_back(item);
        let wakes = !state.gathering || state.bytes >= GATHER_BYTES;
        drop(state);
        if wakes {
            self.filled.notify_one();
        }
    }

    /// Whether another append should be refused now: too many bytes wait, or the oldest waits too long.
    pub(crate) fn refuses(&self, bytes_max: u64, now: Duration) -> bool {
        let state = self.state.lock().expect("lock");
        let oldest = state.items.front().map_or(Duration::ZERO, |item| now.saturating_sub(item.since));
        state.bytes >= bytes_max || oldest > OLDEST_MAX
    }

    /// Waits up to `wait` until something is queued, then maybe a little for more.
    pub(crate) fn wait(&self, wait: Duration, clock: &dyn Clock) {
        let mut state = self.state.lock().expect("lock");
        if !state.items.is_empty() || wait.is_zero() || state.closed {
            return;
        }
        let since = clock.monotonic();
        state = self.filled.wait_timeout(state, wait).expect("lock").0;
        if state.items.front().is_some_and(|first| first.since.saturating_sub(since) >= SPARSE) {
            self.gather(state);
        }
    }

    fn gather(&self, mut state: MutexGuard<'_, State>) {
        if state.skips > 0 {
            state.skips -= 1;
            return;
        }
        state.gathering = true;
        let is_short = |state: &mut State| !state.closed && state.bytes < GATHER_BYTES;
        state = self.filled.wait_timeout_while(state, GATHER, is_short).expect("lock").0;
        state.gathering = false;
        if state.items.len() > 1 {
            state.misses = 0;
            return;
        }
        state.misses += 1;
        if let Some(times) = state.misses.checked_sub(MISSES) {
            state.skips = SKIPS << times.min(DOUBLINGS);
        }
    }

    /// Takes the next group. The caller has the writer's lock, and keeps it until the group is in the head.
    pub(crate) fn take_group(&self) -> Vec<Queued> {
        let mut state = self.state.lock().expect("lock");
        let mut group = Vec::new();
        let mut bytes = 0;
        while let Some(item) = state.items.front() {
            if !group.is_empty() && bytes + item.bytes > GROUP_BYTES {
                break;
            }
            bytes += item.bytes;
            group.extend(state.items.pop_front());
        }
        state.bytes -= bytes;
        group
    }

    /// Wakes the writer and lets it wait no more.
    pub(crate) fn close(&self) {
        self.state.lock().expect("lock").closed = true;
        self.filled.notify_all();
    }

    /// Whether [`Queue::close`] was called.
    pub(crate) fn is_closed(&self) -> bool {
        self.state.lock().expect("lock").closed
    }

    /// Appends that wait.
    pub(crate) fn len(&self) -> usize {
        self.state.lock().expect("lock").items.len()
    }

    /// Bytes that wait.
    pub(crate) fn bytes(&self) -> u64 {
        self.state.lock().expect("lock").bytes
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{SyncSender, sync_channel};
    use std::thread;

    use super::*;
    use crate::ticket;

    /// Tells each time that it is asked, which the writer does before it waits; its time stands still.
    struct Asked(SyncSender<()>);

    impl Clock for Asked {
        fn now_ms(&self) -> i64 {
            0
        }

        fn monotonic(&self) -> Duration {
            self.0.send(()).expect("the test listens");
            Duration::ZERO
        }
    }

    fn push(queue: &Queue, bytes: u64, since: Duration) {
        let (_, completion) = ticket::pair();
        queue.push(Queued {
            tenant: TenantId(1),
            origin: Origin::SENDER,
            passes: false,
            rows: Vec::new(),
            sides: Vec::new(),
            metadata: Vec::new(),
            lines: Lines::default(),
            deltas: Deltas::default(),
            totals: Vec::new(),
            digest: None,
            late: Refused::default(),
            repeats: false,
            completion,
            bytes,
            since,
        });
    }

    /// Lets the writer wait for appends, which come so long after the last group; how many it takes as one.
    fn group(queue: &Queue, appends: &[u64], since: Duration) -> usize {
        let (sender, asked) = sync_channel(1);
        thread::scope(|scope| {
            let writer = scope.spawn(|| queue.wait(Duration::from_secs(60), &Asked(sender)));
            asked.recv().expect("the writer asks");
            appends.iter().for_each(|bytes| push(queue, *bytes, since));
            writer.join().expect("it does not panic");
        });
        let taken = queue.take_group().len();
        while !queue.take_group().is_empty() {}
        taken
    }

    fn state(queue: &Queue) -> (u32, u32) {
        let state = queue.state.lock().unwrap();
        (state.misses, state.skips)
    }

    #[test]
    fn appends_that_come_one_by_one_are_gathered() {
        let queue = Queue::default();
        // The second may come too late for the first.
        let is_hit = |_| group(&queue, &[10, GATHER_BYTES], SPARSE) == 2 && state(&queue).0 == 0;
        assert!((0..1000).any(is_hit), "{:?}", state(&queue));
    }

    #[test]
    fn where_nothing_more_comes_gathering_is_left_out_for_a_while() {
        let queue = Queue::default();
        for miss in 1..MISSES {
            assert_eq!(group(&queue, &[10], SPARSE), 1);
            assert_eq!(state(&queue), (miss, 0));
        }
        for times in 0..3 {
            assert_eq!(group(&queue, &[10], SPARSE), 1);
            assert_eq!(state(&queue), (MISSES + times, SKIPS << times));
            (0..SKIPS << times).for_each(|_| assert_eq!(group(&queue, &[10], SPARSE), 1));
            assert_eq!(state(&queue), (MISSES + times, 0));
        }
    }

    #[test]
    fn who_answers_at_once_is_not_kept_waiting() {
        let queue = Queue::default();
        (0..2 * MISSES).for_each(|_| assert_eq!(group(&queue, &[10], SPARSE - Duration::from_micros(1)), 1));
        assert_eq!(state(&queue), (0, 0));
    }
}
