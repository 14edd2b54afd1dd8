//! What an output's reader, its shards and its keeper have in common.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use env::Env;
use model::Origin;
use tokio::sync::watch;
use wal::Position;

use crate::counts::{Counts, Dropped};
use crate::lag::Marks;
use crate::outputs::GRACE;
use crate::progress::Progress;
use crate::settings::Settings;

/// Characters of an error that are kept.
const ERROR_CHARACTERS_MAX: usize = 600;

/// One output's state.
pub(crate) struct Shared {
    pub(crate) env: Env,
    pub(crate) settings: Arc<Settings>,
    /// This Weir's number.
    pub(crate) instance: u64,
    pub(crate) counts: Counts,
    pub(crate) progress: Progress,
    /// Shards in use.
    pub(crate) shards: AtomicUsize,
    /// Bytes of the log behind the cursor, when they were last looked at.
    pub(crate) lag_bytes: AtomicU64,
    /// The receiver's number, if it is a Weir that was heard of; 0 = none.
    receiver: AtomicU64,
    /// The receiver does not know the newer version of the protocol.
    downgraded: AtomicBool,
    live: Mutex<Live>,
    /// Until when requests may be under way, once the output stops.
    stop: watch::Sender<Option<Duration>>,
}

#[derive(Default)]
struct Live {
    marks: Marks,
    /// Rows before it are dropped, and why.
    floor: Option<(Position, Dropped)>,
    contact: Contact,
}

/// How it went last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Contact {
    pub(crate) success_ms: i64,
    pub(crate) failure_ms: i64,
    /// What the receiver, or the way to it, said last.
    pub(crate) error: String,
    /// Whether the last request failed.
    pub(crate) is_failing: bool,
}

impl Shared {
    pub(crate) fn new(env: Env, settings: Arc<Settings>, instance: u64, marks: Marks) -> Self {
        Self {
            env,
            settings,
            instance,
            counts: Counts::default(),
            progress: Progress::default(),
            shards: AtomicUsize::new(0),
            lag_bytes: AtomicU64::new(0),
            receiver: AtomicU64::new(0),
            downgraded: AtomicBool::new(false),
            live: Mutex::new(Live { marks, ..Live::default() }),
            stop: watch::Sender::new(None),
        }
    }

    pub(crate) fn now(&self) -> Duration {
        self.env.clock.monotonic()
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stop.borrow().is_some()
    }

    pub(crate) fn stop(&self) {
        let until = self.now() + GRACE;
        self.stop.send_if_modified(|stop| match stop {
            Some(_) => false,
            None => stop.replace(until).is_none(),
        });
    }

    /// Waits, unless the output stops before.
    pub(crate) async fn pause(&self, wait: Duration) {
        let mut stopped = self.stop.subscribe();
        let _ = tokio::time::timeout(wait, stopped.wait_for(Option::is_some)).await;
    }

    /// Waits until the output stops.
    pub(crate) async fn stopped(&self) {
        let _ = self.stop.subscribe().wait_for(Option::is_some).await;
    }

    /// Waits until the output stops and nothing may be under way any more.
    pub(crate) async fn grace_over(&self) {
        self.stopped().await;
        let until = self.stop.borrow().unwrap_or_default();
        tokio::time::sleep(until.saturating_sub(self.now())).await;
    }

    pub(crate) fn is_downgraded(&self) -> bool {
        self.downgraded.load(Ordering::Relaxed)
    }

    pub(crate) fn downgrade(&self) {
        self.downgraded.store(true, Ordering::Relaxed);
    }

    /// The receiver told its number.
    pub(crate) fn meet(&self, receiver: u64) {
        self.receiver.store(receiver, Ordering::Relaxed);
    }

    /// Whether rows of this origin came through the receiver, or the receiver is this Weir.
    pub(crate) fn is_loop(&self, origin: &Origin) -> bool {
        let receiver = self.receiver.load(Ordering::Relaxed);
        receiver != 0 && (origin.via.contains(&receiver) || receiver == self.instance)
    }

    /// Why rows up to `last` are to be dropped, if they are.
    pub(crate) fn below_floor(&self, last: Position) -> Option<Dropped> {
        self.live().floor.filter(|(floor, _)| last < *floor).map(|(_, reason)| reason)
    }

    /// From now on rows before `floor` are dropped.
    pub(crate) fn raise_floor(&self, floor: Position, reason: Dropped) {
        let mut live = self.live();
        if live.floor.is_none_or(|(before, _)| before < floor) {
            live.floor = Some((floor, reason));
        }
    }

    /// Notes where the log ends.
    pub(crate) fn mark(&self, end: Position, at_ms: i64) {
        let cursor = self.progress.cursor();
        self.live().marks.note(end, at_ms, cursor);
    }

    pub(crate) fn marks(&self) -> Marks {
        self.live().marks.clone()
    }

    pub(crate) fn contact(&self) -> Contact {
        self.live().contact.clone()
    }

    /// A request was taken.
    pub(crate) fn succeeded(&self) {
        let now_ms = self.env.clock.now_ms();
        let mut live = self.live();
        live.contact.success_ms = now_ms;
        if std::mem::take(&mut live.contact.is_failing) {
            tracing::info!(output = self.settings.name, "the output's receiver takes data again");
        }
    }

    /// A request was not taken, or not all of it.
    pub(crate) fn failed(&self, error: &str) {
        let now_ms = self.env.clock.now_ms();
        let error: String = error.chars().take(ERROR_CHARACTERS_MAX).collect();
        let mut live = self.live();
        if !std::mem::replace(&mut live.contact.is_failing, true) {
            tracing::warn!(output = self.settings.name, error, "the output's receiver does not take data");
        }
        live.contact.failure_ms = now_ms;
        live.contact.error = error;
    }

    fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
