//! The threads that drive the store: one opens it and then flushes and drops what is too old, one commits.
//!
//! The store itself starts no threads, so that a simulation can drive it; this is the driver of the real one. A panic
//! in any of them leaves data in an unknown state: the process aborts, and the next start replays the log.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use std::{io, mem};

use model::TenantId;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tsdb::{Keep, OpenError, Status, Store};

use crate::app::App;
use crate::{admin, outputs};

/// How long the writer waits for an append before it looks whether it should end.
const COMMIT_WAIT: Duration = Duration::from_millis(50);
/// How often maintenance looks for work.
const MAINTENANCE_PAUSE: Duration = Duration::from_millis(500);
const STACK_BYTES: usize = 4 << 20;

/// The threads of one store. Dropping it stops nothing; see `stop`.
#[derive(Debug)]
pub(crate) struct Driver {
    app: Arc<App>,
    stop: SyncSender<()>,
    maintenance: JoinHandle<()>,
}

impl Driver {
    /// Begins to open the store; `failed` is told when it cannot be opened.
    pub(crate) fn start(
        app: Arc<App>,
        runtime: Handle,
        failed: oneshot::Sender<OpenError>,
    ) -> io::Result<Self> {
        let (stop, stopped) = sync_channel(1);
        let its = Arc::clone(&app);
        let maintenance = spawn("store", move || match open(&its) {
            Ok(store) => drive(&its, &store, runtime, &stopped),
            Err(error) => {
                let _ = failed.send(error);
            }
        })?;
        Ok(Self { app, stop, maintenance })
    }

    /// Ends the threads, then flushes and closes the store: afterwards a restart replays nothing. No request may be
    /// under way. A store that is still opening is left as it is.
    pub(crate) fn stop(self) -> io::Result<()> {
        let Some(store) = self.app.store() else { return Ok(()) };
        let _ = self.stop.try_send(());
        let _ = self.maintenance.join();
        store.close()
    }
}

fn open(app: &App) -> Result<Store, OpenError> {
    let began = app.env.clock.monotonic();
    let mut options = app.config().storage.clone();
    options.passing = app.passing();
    options.holds = forward::holds(&app.env, &app.data_dir).unwrap_or_else(|error| {
        tracing::error!(%error, "cursors of outputs cannot be read: the log is not kept for them");
        Vec::new()
    });
    let store = Store::open(app.env.clone(), &app.data_dir, options, &app.progress)?;
    let took = app.env.clock.monotonic().saturating_sub(began);
    let status = store.status();
    tracing::info!(
        seconds = took.as_secs_f64(),
        series = status.head_series,
        blocks = status.blocks,
        quarantined = status.quarantined,
        "store is open"
    );
    Ok(store)
}

fn drive(app: &Arc<App>, store: &Store, runtime: Handle, stopped: &Receiver<()>) {
    let (stop_writer, writer_stopped) = sync_channel::<()>(1);
    let its = store.clone();
    let writer = spawn("store-commit", move || {
        while matches!(writer_stopped.try_recv(), Err(TryRecvError::Empty)) {
            its.commit(COMMIT_WAIT);
        }
    });
    let Ok(writer) = writer else {
        tracing::error!("cannot start the thread that commits");
        std::process::abort();
    };
    // What comes from now on is theirs.
    if let Err(error) = outputs::start(app, store, runtime) {
        tracing::error!(%error, "outputs cannot be started: nothing is sent on");
    }
    // Only now may requests reach the store: somebody commits what they append.
    let _ = app.opened.set(store.clone());
    maintain(app, store, stopped);
    mem::drop(stop_writer);
    let _ = writer.join();
}

/// How often blocks are looked through for what they must not hold.
const STRAYS_PAUSE: Duration = Duration::from_secs(60);

/// Background work done before the other duties are looked at.
const JOBS: u32 = 32;

fn maintain(app: &App, store: &Store, stopped: &Receiver<()>) {
    let mut watch = Watch::default();
    let mut strays_at = Duration::ZERO;
    loop {
        let authority = app.authority();
        let keep = |tenant: TenantId| {
            // Of a tenant that is unknown here nothing is dropped for its age: `forget_strays` knows more about it.
            authority.tenant_by_id(tenant).map_or_else(Keep::default, |tenant| Keep {
                age_ms: tenant.limits.retention_ms,
                bytes: tenant.limits.max_bytes,
            })
        };
        // Not for ever, however much there is to do: deletes and the watch have their turn.
        for _ in 0..JOBS {
            let Some(job) = store.next_job(&keep) else { break };
            tracing::debug!(?job, "background work begins");
            if let Err(error) = store.run(job, &keep) {
                tracing::error!(%error, ?job, "background work failed");
                break;
            }
            tracing::debug!(?job, "background work done");
            if !matches!(stopped.try_recv(), Err(TryRecvError::Empty)) {
                return;
            }
        }
        admin::forget_deleted(app);
        // The configuration, or the tenants, may have changed.
        store.let_pass(app.passing());
        if let Err(error) = store.drop_passed_lines() {
            tracing::warn!(%error, "log lines that were sent on could not be removed");
        }
        if strays_at <= app.env.clock.monotonic() {
            strays_at = app.env.clock.monotonic() + STRAYS_PAUSE;
            admin::forget_strays(app);
        }
        if let Some(status) = app.status() {
            watch.look(&status);
        }
        match stopped.recv_timeout(MAINTENANCE_PAUSE) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// What was last seen of the store's health: changes are logged, states are not repeated.
#[derive(Default)]
struct Watch {
    failing: bool,
    disk_low: bool,
    quarantined: u64,
    retention_paused: bool,
    compaction_short_of_disk: bool,
}

impl Watch {
    fn look(&mut self, status: &Status) {
        if mem::replace(&mut self.failing, status.wal_failing) != status.wal_failing {
            match status.wal_failing {
                true => tracing::error!("the write-ahead log cannot be written: writes are refused"),
                false => tracing::info!("the write-ahead log can be written again"),
            }
        }
        if mem::replace(&mut self.disk_low, status.disk_low) != status.disk_low {
            match status.disk_low {
                true => tracing::warn!("the disk is under its reserve: writes are refused"),
                false => tracing::info!("the disk has space again"),
            }
        }
        if mem::replace(&mut self.quarantined, status.quarantined) != status.quarantined {
            tracing::warn!(files = status.quarantined, "damaged files are in quarantine");
        }
        if mem::replace(&mut self.retention_paused, status.retention_paused) != status.retention_paused {
            match status.retention_paused {
                true => tracing::warn!("retention waits: the clock is in doubt"),
                false => tracing::info!("retention goes on"),
            }
        }
        let short = status.compaction_short_of_disk;
        if mem::replace(&mut self.compaction_short_of_disk, short) != short {
            match short {
                true => tracing::warn!("a merge of blocks waits: the disk has too little room for it"),
                false => tracing::info!("the disk has room for merges of blocks again"),
            }
        }
    }
}

pub(crate) fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    thread::Builder::new().name(name.to_owned()).stack_size(STACK_BYTES).spawn(|| {
        let _guard = AbortOnPanic;
        work()
    })
}

struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            std::process::abort();
        }
    }
}
