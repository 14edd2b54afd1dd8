//! All outputs of a Weir: started when the store is open, changed by reloads, stopped before it is closed.
//!
//! One thread writes cursors once a second, another one waits for outputs that end: a reload waits for no receiver.

use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use env::Env;
use model::{TenantId, TenantName};
use tokio::runtime::Handle;
use tsdb::Store;

use crate::output::Context;
use crate::roster::Roster;
use crate::settings::Settings;
use crate::status::Status;

/// The name of a tenant that exists.
pub type NameOf = Arc<dyn Fn(TenantId) -> Option<TenantName> + Send + Sync>;

/// How often cursors are written, and lags looked at.
const KEPT: Duration = Duration::from_secs(1);
/// How long requests that are under way may take when Weir stops.
pub(crate) const GRACE: Duration = Duration::from_secs(5);

/// The outputs that run. Dropping it stops nothing; see [`Outputs::stop`].
pub struct Outputs {
    roster: Arc<Roster>,
    threads: Mutex<Option<Threads>>,
}

/// Each ends when its sender is gone.
struct Threads {
    keep: SyncSender<()>,
    change: SyncSender<()>,
    keeper: JoinHandle<()>,
    changer: JoinHandle<()>,
}

impl std::fmt::Debug for Outputs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Outputs")
    }
}

impl Outputs {
    /// Starts outputs on a store that takes no appends yet: what comes from then on is theirs. `instance` is this Weir's
    /// number.
    pub fn start(
        env: Env,
        data_dir: PathBuf,
        store: Store,
        runtime: Handle,
        instance: u64,
        name_of: NameOf,
        list: Vec<Settings>,
    ) -> io::Result<Self> {
        let context = Context { env, data_dir, store, runtime, instance, name_of };
        let roster = Arc::new(Roster::new(context));
        roster.want(list);
        roster.forget_others();
        let ((keep, keeps), (change, changes)) = (sync_channel(1), sync_channel(1));
        let thread = |name: &str, run: fn(&Roster, &Receiver<()>), wakes: Receiver<()>| {
            let roster = Arc::clone(&roster);
            thread::Builder::new().name(name.to_owned()).spawn(move || run(&roster, &wakes))
        };
        let keeper = thread("out-cursors", keep_all, keeps)?;
        let changer = thread("out-changes", change_all, changes)?;
        let threads = Threads { keep, change, keeper, changer };
        Ok(Self { roster, threads: Mutex::new(Some(threads)) })
    }

    /// From now on these and no others. Those that are as they were go on undisturbed; one that cannot be started is told in
    /// the log and tried again, and one that is gone is told with what it had not sent. New ones are started when this
    /// returns; those that end, and those that come in their place, are not waited for.
    pub fn apply(&self, list: Vec<Settings>) {
        self.roster.want(list);
        if let Some(threads) = &*self.threads.lock().unwrap_or_else(PoisonError::into_inner) {
            // When there is no room, it is about to look anyway.
            let _ = threads.change.try_send(());
        }
    }

    /// How the outputs are, by name. Waits for nothing.
    pub fn status(&self) -> Vec<Status> {
        self.roster.status()
    }

    /// Stops all: nothing more is read, requests under way may end, cursors are written.
    pub fn stop(&self) {
        self.roster.begin_stop();
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Threads { keep, change, keeper, changer }) = threads {
            drop((keep, change));
            let _ = (keeper.join(), changer.join());
        }
        self.roster.end();
    }
}

fn keep_all(roster: &Roster, wakes: &Receiver<()>) {
    while let Err(RecvTimeoutError::Timeout) = wakes.recv_timeout(KEPT) {
        roster.keep();
    }
}

fn change_all(roster: &Roster, wakes: &Receiver<()>) {
    while let Ok(()) | Err(RecvTimeoutError::Timeout) = wakes.recv_timeout(KEPT) {
        roster.change();
    }
}
