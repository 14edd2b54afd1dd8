//! The shards of an output: as many as its receiver is worth.
//!
//! An output begins with `min_shards`. When its reader had to wait for room in most of some seconds although requests were
//! answered, the number doubles, up to `max_shards`; after minutes in which it never waited it is halved. It changes only
//! when nothing is under way, so no row of a series overtakes another.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::mpsc::{Sender, channel, error::TrySendError};
use tokio::task::JoinHandle;

use crate::load::Load;
use crate::post::Post;
use crate::settings::Queues;
use crate::shard::Shard;
use crate::shared::Shared;

/// How long it is watched whether the reader waits.
const WATCHED: Duration = Duration::from_secs(10);
/// After so long without waiting there are fewer shards.
const CALM: Duration = Duration::from_secs(300);

/// Occurs when a shard takes nothing any more: its output stops, or it panicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Closed;

pub(crate) struct Shards {
    shared: Arc<Shared>,
    post: Arc<dyn Post>,
    runtime: Handle,
    senders: Vec<Sender<Load>>,
    tasks: Vec<JoinHandle<()>>,
    active: usize,
    watch: Watch,
}

/// How long the reader waited, since when.
#[derive(Debug, Default)]
struct Watch {
    since: Duration,
    waited: Duration,
    calm_since: Duration,
    /// Rows sent at `since`.
    sent: u64,
}

impl Shards {
    pub(crate) fn new(shared: Arc<Shared>, post: Arc<dyn Post>, runtime: Handle) -> Self {
        let now = shared.now();
        let watch = Watch { since: now, calm_since: now, sent: shared.counts.sent(), ..Watch::default() };
        let active = shared.settings.queues.shards_min;
        shared.shards.store(active, std::sync::atomic::Ordering::Relaxed);
        let mut shards =
            Self { shared, post, runtime, senders: Vec::new(), tasks: Vec::new(), active: 0, watch };
        shards.set_active(active);
        shards
    }

    pub(crate) fn active(&self) -> usize {
        self.active
    }

    /// So many are used from now on.
    pub(crate) fn set_active(&mut self, active: usize) {
        let queues = &self.shared.settings.queues;
        let depth = (queues.capacity / queues.rows_max).max(1);
        while self.senders.len() < active {
            let (sender, loads) = channel(depth);
            let shard = Shard { shared: Arc::clone(&self.shared), post: Arc::clone(&self.post) };
            self.senders.push(sender);
            self.tasks.push(self.runtime.spawn(shard.run(loads)));
        }
        self.active = active;
    }

    /// Gives a load to a shard; waits for room.
    pub(crate) fn give(&mut self, shard: usize, mut load: Load, shared: &Shared) -> Result<(), Closed> {
        load.seal();
        match self.senders[shard].try_send(load) {
            Ok(()) => Ok(()),
            Err(TrySendError::Closed(_)) => Err(Closed),
            Err(TrySendError::Full(load)) => {
                let began = shared.now();
                // What a stop cuts off is not finished: it is read again after the next start.
                let given = self.runtime.block_on(async {
                    tokio::select! {
                        sent = self.senders[shard].send(load) => sent.map_err(|_| Closed),
                        () = shared.stopped() => Err(Closed),
                    }
                });
                self.watch.waited += shared.now().saturating_sub(began);
                given
            }
        }
    }

    /// Gives a load to a shard that has room.
    pub(crate) fn try_give(&mut self, shard: usize, mut load: Load) -> Result<(), Closed> {
        load.seal();
        self.senders[shard].try_send(load).map_err(|_| Closed)
    }

    /// How many there should be, when that is another number than now.
    pub(crate) fn wanted(&mut self, now: Duration, queues: &Queues) -> Option<usize> {
        let watched = now.saturating_sub(self.watch.since);
        if watched < WATCHED {
            return None;
        }
        let sent = self.shared.counts.sent();
        let was_busy = self.watch.waited > watched / 2 && sent > self.watch.sent;
        if !self.watch.waited.is_zero() {
            self.watch.calm_since = now;
        }
        let is_calm = now.saturating_sub(self.watch.calm_since) > CALM;
        self.watch = Watch { since: now, waited: Duration::ZERO, sent, calm_since: self.watch.calm_since };
        let wanted = match (was_busy, is_calm) {
            (true, _) => (self.active * 2).min(queues.shards_max),
            (_, true) => (self.active / 2).max(queues.shards_min),
            _ => self.active,
        };
        (wanted != self.active).then_some(wanted)
    }

    /// Whether a shard ended before it was told to.
    pub(crate) fn is_any_gone(&self) -> bool {
        self.tasks.iter().any(JoinHandle::is_finished)
    }

    /// Waits up to `grace` until everything given is sent, then ends the shards.
    pub(crate) fn end(mut self, grace: Duration) {
        self.senders.clear();
        let tasks = &mut self.tasks;
        self.runtime.block_on(async {
            let all = async {
                for task in tasks {
                    let _ = task.await;
                }
            };
            let _ = tokio::time::timeout(grace, all).await;
        });
    }
}

/// What they have is read again: nothing of it may arrive, or be finished, behind that.
impl Drop for Shards {
    fn drop(&mut self) {
        self.senders.clear();
        let tasks: Vec<_> = self.tasks.drain(..).filter(|task| !task.is_finished()).collect();
        tasks.iter().for_each(JoinHandle::abort);
        self.runtime.block_on(async {
            for task in tasks {
                let _ = task.await;
            }
        });
    }
}
