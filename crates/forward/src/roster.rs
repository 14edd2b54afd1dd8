//! Which outputs there are: those that run, those that end, and those that could not be started.
//!
//! The lock is held to look and to put, never while a file, a socket or a thread is waited for: whoever asks how the outputs
//! are, perhaps on a thread that the outputs themselves need, waits for none of them. Meanwhile a name that is being changed
//! belongs to the thread that changes it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use wal::Position;

use crate::cursor::{self, Found, holder};
use crate::output::{Context, Output, RESTART, RESTART_MAX, bytes_max};
use crate::settings::Settings;
use crate::status::Status;

pub(crate) struct Roster {
    context: Context,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    wanted: BTreeMap<String, Settings>,
    places: BTreeMap<String, Place>,
    is_stopping: bool,
}

/// What a name stands for.
enum Place {
    /// Whoever put this is starting it.
    Starts,
    Runs(Arc<Output>),
    /// Whoever put this waits for its end.
    Ends(Arc<Output>),
    Failed(Box<Failed>),
}

/// An output that could not be started, and will be tried again.
#[derive(Clone)]
struct Failed {
    settings: Settings,
    error: String,
    at_ms: i64,
    /// When it failed first.
    since: Duration,
    /// When it is tried again.
    next: Duration,
    pause: Duration,
    /// What it has not sent begins there.
    from: Position,
    /// The log is not kept for it any more.
    is_released: bool,
}

impl Roster {
    pub(crate) fn new(context: Context) -> Self {
        Self { context, state: Mutex::default() }
    }

    /// These are wanted from now on. New ones are started here, so that they miss nothing that comes afterwards; for all
    /// else see [`Roster::change`].
    pub(crate) fn want(&self, list: Vec<Settings>) {
        let mut new = Vec::new();
        {
            let mut state = self.state();
            state.wanted = list.into_iter().map(|settings| (settings.name.clone(), settings)).collect();
            let State { wanted, places, is_stopping } = &mut *state;
            if *is_stopping {
                return;
            }
            for name in wanted.keys().filter(|name| !places.contains_key(*name)) {
                new.push(name.clone());
            }
            places.extend(new.iter().map(|name| (name.clone(), Place::Starts)));
        }
        new.iter().for_each(|name| self.settle(name, None));
    }

    /// Ends what is not wanted as it is, starts what is wanted instead, and tries again what could not be started. Waits
    /// for what ends. Only one thread may call this.
    pub(crate) fn change(&self) {
        let now = self.context.env.clock.monotonic();
        let (mut ending, mut starting) = (Vec::new(), Vec::new());
        {
            let mut state = self.state();
            let State { wanted, places, is_stopping } = &mut *state;
            if *is_stopping {
                return;
            }
            for (name, place) in places {
                let wanted = wanted.get(name);
                match place {
                    Place::Runs(output) if wanted != Some(output.settings()) => {
                        let output = Arc::clone(output);
                        output.begin_stop();
                        *place = Place::Ends(Arc::clone(&output));
                        ending.push((name.clone(), output));
                    }
                    Place::Failed(failed) if failed.next <= now || wanted != Some(&failed.settings) => {
                        let before = (wanted == Some(&failed.settings)).then(|| failed.clone());
                        *place = Place::Starts;
                        starting.push((name.clone(), before));
                    }
                    _ => {}
                }
            }
        }
        for (name, output) in ending {
            output.end();
            self.settle(&name, None);
        }
        starting.into_iter().for_each(|(name, before)| self.settle(&name, before));
        self.release_failed();
    }

    /// Starts what is wanted under a name, or forgets the name, which belongs to the caller.
    fn settle(&self, name: &str, before: Option<Box<Failed>>) {
        loop {
            let wanted = self.state().wanted.get(name).cloned();
            let Some(settings) = wanted else {
                self.forget(name);
                let mut state = self.state();
                if !state.wanted.contains_key(name) {
                    state.places.remove(name);
                    return;
                }
                continue;
            };
            if self.state().is_stopping {
                self.state().places.remove(name);
                return;
            }
            let place = self.started(&settings, before);
            let mut state = self.state();
            if !state.is_stopping {
                state.places.insert(name.to_owned(), place);
                return;
            }
            state.places.remove(name);
            drop(state);
            if let Place::Runs(output) = place {
                output.end();
            }
            return;
        }
    }

    fn started(&self, settings: &Settings, before: Option<Box<Failed>>) -> Place {
        let Context { env, data_dir, .. } = &self.context;
        let name = settings.name.clone();
        let error = match Output::start(&self.context, settings.clone()) {
            Ok(output) => {
                tracing::info!(output = name, "output starts");
                return Place::Runs(Arc::new(output));
            }
            Err(error) => error.to_string(),
        };
        tracing::error!(output = name, error, "output cannot be started: it is tried again");
        let (now, at_ms) = (env.clock.monotonic(), env.clock.now_ms());
        let first = || Failed {
            from: match cursor::load(&*env.files, data_dir, &name) {
                Ok(Found::Whole(cursor)) => cursor.position,
                Ok(Found::Missing) => self.context.store.log_end(settings.stream()),
                Ok(Found::Damaged) | Err(_) => Position::default(),
            },
            settings: settings.clone(),
            error: String::new(),
            at_ms,
            since: now,
            next: now,
            pause: RESTART,
            is_released: false,
        };
        let mut failed = before.unwrap_or_else(|| Box::new(first()));
        (failed.error, failed.at_ms, failed.next) = (error, at_ms, now + failed.pause);
        failed.pause = (failed.pause * 2).min(RESTART_MAX);
        Place::Failed(failed)
    }

    /// The log is not kept longer for an output that cannot be started than for one that cannot send.
    fn release_failed(&self) {
        let now = self.context.env.clock.monotonic();
        let failed: Vec<Failed> = self.state().places.values().filter_map(Place::failed).cloned().collect();
        for failed in failed.iter().filter(|failed| !failed.is_released) {
            let (settings, store) = (&failed.settings, &self.context.store);
            let behind = store.log_bytes_behind(settings.stream(), failed.from).unwrap_or(0);
            let is_late = now.saturating_sub(failed.since) >= settings.lag_age_max;
            if !is_late && behind <= bytes_max(&self.context, settings) {
                continue;
            }
            let name = &settings.name;
            tracing::error!(
                output = name,
                "the log is not kept any more for an output that cannot be started"
            );
            store.release_log(&holder(name));
            if let Some(Place::Failed(failed)) = self.state().places.get_mut(name) {
                failed.is_released = true;
            }
        }
    }

    /// Removes the cursors of outputs that earlier processes had, and that are not wanted.
    pub(crate) fn forget_others(&self) {
        let names = cursor::names(&*self.context.env.files, &self.context.data_dir).unwrap_or_default();
        for name in &names {
            if !self.state().wanted.contains_key(name) {
                self.forget(name);
            }
        }
    }

    fn forget(&self, name: &str) {
        let Context { env, data_dir, store, .. } = &self.context;
        tracing::warn!(output = name, "output is not configured any more: what it had not sent is not sent");
        store.release_log(&holder(name));
        match cursor::remove(&*env.files, data_dir, name) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::error!(output = name, %error, "an output's cursor cannot be removed");
            }
            _ => {}
        }
    }

    /// Writes the cursors, and drops what is too far behind.
    pub(crate) fn keep(&self) {
        self.running().iter().for_each(|output| output.keep());
    }

    /// How the outputs are, by name. Of those that end, too.
    pub(crate) fn status(&self) -> Vec<Status> {
        enum Of {
            Output(Arc<Output>),
            Failed(Box<Failed>),
        }
        let places: Vec<Of> = {
            let state = self.state();
            let of = |place: &Place| match place {
                Place::Starts => None,
                Place::Runs(output) | Place::Ends(output) => Some(Of::Output(Arc::clone(output))),
                Place::Failed(failed) => Some(Of::Failed(failed.clone())),
            };
            state.places.values().filter_map(of).collect()
        };
        let status = |of| match of {
            Of::Output(output) => output.status(),
            Of::Failed(failed) => Status::not_started(&failed.settings, &failed.error, failed.at_ms),
        };
        places.into_iter().map(status).collect()
    }

    /// Nothing is started any more, and all that runs is told to end.
    pub(crate) fn begin_stop(&self) {
        self.state().is_stopping = true;
        self.running().iter().for_each(|output| output.begin_stop());
    }

    /// Waits for the end of all that runs.
    pub(crate) fn end(&self) {
        self.running().iter().for_each(|output| output.end());
        self.state().places.clear();
    }

    fn running(&self) -> Vec<Arc<Output>> {
        let state = self.state();
        let runs = |place: &Place| match place {
            Place::Runs(output) => Some(Arc::clone(output)),
            _ => None,
        };
        state.places.values().filter_map(runs).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    fn failed(&self) -> Option<&Failed> {
        match self {
            Self::Failed(failed) => Some(&**failed),
            _ => None,
        }
    }
}
