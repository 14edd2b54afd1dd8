//! Appends that wait for the writer.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use model::{Metadata, TenantId};

use crate::record::{Row, SideRow};
use crate::ticket::Completion;

/// One append: its series are resolved, its limits checked.
pub(crate) struct Queued {
    pub(crate) tenant: TenantId,
    pub(crate) rows: Vec<Row>,
    pub(crate) sides: Vec<SideRow>,
    pub(crate) metadata: Vec<(String, Metadata)>,
    pub(crate) completion: Completion,
    pub(crate) bytes: u64,
    /// Monotonic time at which it was queued.
    pub(crate) since: Duration,
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
}

/// Bytes that the writer takes as one group; a single larger append is a group of its own.
const GROUP_BYTES: u64 = 4 << 20;

/// An entry that waits longer than this tells that the writer is stuck.
const OLDEST_MAX: Duration = Duration::from_secs(1);

impl Queue {
    /// Queues an append. The caller has asked [`Queue::refuses`].
    pub(crate) fn push(&self, item: Queued) {
        let mut state = self.state.lock().expect("lock");
        state.bytes += item.bytes;
        state.items.push_back(item);
        drop(state);
        self.filled.notify_one();
    }

    /// Whether another append should be refused now: too many bytes wait, or the oldest waits too long.
    pub(crate) fn refuses(&self, bytes_max: u64, now: Duration) -> bool {
        let state = self.state.lock().expect("lock");
        let oldest = state.items.front().map_or(Duration::ZERO, |item| now.saturating_sub(item.since));
        state.bytes >= bytes_max || oldest > OLDEST_MAX
    }

    /// Waits up to `wait` until something is queued.
    pub(crate) fn wait(&self, wait: Duration) {
        let state = self.state.lock().expect("lock");
        if state.items.is_empty() && !wait.is_zero() && !state.closed {
            drop(self.filled.wait_timeout(state, wait).expect("lock"));
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
