//! All outputs of a Weir: started when the store is open, changed by reloads, stopped before it is closed.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use env::Env;
use model::{TenantId, TenantName};
use tokio::runtime::Handle;
use tsdb::Store;

use crate::cursor::{self, holder};
use crate::output::{Context, Output};
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
    context: Context,
    running: Arc<Mutex<BTreeMap<String, Output>>>,
    stop: SyncSender<()>,
    keeper: Mutex<Option<JoinHandle<()>>>,
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
        let running = Arc::new(Mutex::new(BTreeMap::new()));
        let (stop, stopped) = sync_channel(1);
        let keeper = {
            let running = Arc::clone(&running);
            thread::Builder::new().name("out-cursors".to_owned()).spawn(move || keep(&running, &stopped))?
        };
        let outputs = Self { context, running, stop, keeper: Mutex::new(Some(keeper)) };
        outputs.apply(list);
        Ok(outputs)
    }

    /// From now on these and no others. Those that are as they were go on undisturbed; one that cannot be started is told in
    /// the log, and so is one that is gone with what it had not sent.
    pub fn apply(&self, list: Vec<Settings>) {
        let mut running = self.running();
        let wanted: BTreeMap<String, Settings> =
            list.into_iter().map(|settings| (settings.name.clone(), settings)).collect();
        let goes = |name: &String, output: &mut Output| wanted.get(name) != Some(output.settings());
        let gone: Vec<(String, Output)> = running.extract_if(.., goes).collect();
        gone.iter().for_each(|(_, output)| output.begin_stop());
        gone.into_iter().for_each(|(_, output)| output.end());
        self.forget_others(&wanted);
        for (name, settings) in wanted {
            if running.contains_key(&name) {
                continue;
            }
            match Output::start(&self.context, settings) {
                Ok(output) => {
                    tracing::info!(output = name, "output starts");
                    running.insert(name, output);
                }
                Err(error) => tracing::error!(output = name, %error, "output cannot be started"),
            }
        }
    }

    /// Removes the cursors of outputs that are not configured any more.
    fn forget_others(&self, wanted: &BTreeMap<String, Settings>) {
        let Context { env, data_dir, store, .. } = &self.context;
        let names = cursor::names(&*env.files, data_dir).unwrap_or_default();
        for name in names.iter().filter(|name| !wanted.contains_key(*name)) {
            tracing::warn!(
                output = name,
                "output is not configured any more: what it had not sent is not sent"
            );
            store.release_log(&holder(name));
            if let Err(error) = cursor::remove(&*env.files, data_dir, name) {
                tracing::error!(output = name, %error, "an output's cursor cannot be removed");
            }
        }
    }

    /// How the outputs are, by name.
    pub fn status(&self) -> Vec<Status> {
        self.running().values().map(Output::status).collect()
    }

    /// Stops all: nothing more is read, requests under way may end, cursors are written.
    pub fn stop(&self) {
        let _ = self.stop.try_send(());
        if let Some(keeper) = self.keeper.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = keeper.join();
        }
        let running = std::mem::take(&mut *self.running());
        running.values().for_each(Output::begin_stop);
        running.into_values().for_each(Output::end);
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<String, Output>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn keep(running: &Mutex<BTreeMap<String, Output>>, stopped: &Receiver<()>) {
    while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(KEPT) {
        running.lock().unwrap_or_else(PoisonError::into_inner).values().for_each(Output::keep);
    }
}
