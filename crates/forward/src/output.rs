//! A running output: its thread, which begins anew after a panic, and its cursor's file.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use env::Env;
use tokio::runtime::Handle;
use tsdb::Store;
use wal::Position;

use crate::adding;
use crate::counts::{Counts, Dropped};
use crate::cursor::{self, Cursor, Found, holder};
use crate::outputs::NameOf;
use crate::post::{Http, Post};
use crate::reader::Reader;
use crate::settings::Settings;
use crate::shards::Shards;
use crate::shared::Shared;
use crate::status::Status;

const STACK_BYTES: usize = 1 << 20;
/// Bytes of the log that an output may be behind when nothing is configured.
const LAG_BYTES_MAX: u64 = 10 << 30;
/// After a panic, or a start that failed, at first and at most.
pub(crate) const RESTART: Duration = Duration::from_secs(1);
pub(crate) const RESTART_MAX: Duration = Duration::from_secs(60);

/// What outputs run in.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) env: Env,
    pub(crate) data_dir: PathBuf,
    pub(crate) store: Store,
    pub(crate) runtime: Handle,
    pub(crate) instance: u64,
    pub(crate) name_of: NameOf,
}

pub(crate) struct Output {
    shared: Arc<Shared>,
    context: Context,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// What the file has.
    stored: Arc<Mutex<Cursor>>,
    /// The file belongs to whoever comes next.
    is_over: AtomicBool,
}

impl Output {
    /// Begins where the file says, or at the end of the log.
    pub(crate) fn start(context: &Context, settings: Settings) -> io::Result<Self> {
        let post = Http::new(&settings, &context.env).map_err(io::Error::other)?;
        Self::start_with(context, settings, Arc::new(post))
    }

    /// As [`Output::start`], to another receiver than the settings name.
    pub(crate) fn start_with(context: &Context, settings: Settings, post: Arc<dyn Post>) -> io::Result<Self> {
        let settings = Arc::new(settings);
        let cursor = first(context, &settings)?;
        cursor::store(&*context.env.files, &context.data_dir, &settings.name, &cursor)?;
        context.store.hold_log(&holder(&settings.name), settings.stream(), cursor.position);
        let shared =
            Shared::new(context.env.clone(), Arc::clone(&settings), context.instance, cursor.marks.clone());
        shared.progress.reset(cursor.position);
        let (shared, stored) = (Arc::new(shared), Arc::new(Mutex::new(cursor)));
        let thread = {
            let (shared, stored, context) = (Arc::clone(&shared), Arc::clone(&stored), context.clone());
            let thread =
                thread::Builder::new().name(format!("out-{}", settings.name)).stack_size(STACK_BYTES);
            thread.spawn(move || supervise(&shared, &context, &post, &stored))?
        };
        let (thread, is_over) = (Mutex::new(Some(thread)), AtomicBool::new(false));
        Ok(Self { shared, context: context.clone(), thread, stored, is_over })
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// Notes the time, drops what is too far behind, and writes the cursor.
    pub(crate) fn keep(&self) {
        let (shared, store) = (&self.shared, &self.context.store);
        let (stream, now_ms) = (shared.settings.stream(), shared.env.clock.now_ms());
        shared.mark(store.log_end(stream), now_ms);
        self.raise_floor(now_ms);
        if !shared.settings.adds() {
            self.store_cursor();
        }
    }

    /// What waited too long, or has too much behind it, is dropped.
    fn raise_floor(&self, now_ms: i64) {
        let (shared, store) = (&self.shared, &self.context.store);
        let (settings, cursor, marks) = (&shared.settings, shared.progress.cursor(), shared.marks());
        let age_ms = i64::try_from(settings.lag_age_max.as_millis()).unwrap_or(i64::MAX);
        if let Some(floor) = marks.end_before(now_ms.saturating_sub(age_ms), cursor) {
            shared.raise_floor(floor, Dropped::LagAge);
        }
        let behind = |position| store.log_bytes_behind(settings.stream(), position).unwrap_or(0);
        let bytes_max = bytes_max(&self.context, settings);
        let lag_bytes = behind(cursor);
        shared.lag_bytes.store(lag_bytes, Ordering::Relaxed);
        if lag_bytes > bytes_max {
            let enough = |mark: &&crate::lag::Mark| behind(mark.end) <= bytes_max;
            let floor =
                marks.iter().find(enough).map_or_else(|| store.log_end(settings.stream()), |mark| mark.end);
            shared.raise_floor(floor, Dropped::LagBytes);
        }
    }

    /// Writes the cursor if it moved.
    fn store_cursor(&self) {
        let (shared, context) = (&self.shared, &self.context);
        let mut stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        let position = shared.progress.cursor();
        if stored.position == position || self.is_over.load(Ordering::Relaxed) {
            return;
        }
        let cursor = Cursor { marks: shared.marks(), ..Cursor::at(shared.settings.stream(), position) };
        let name = &shared.settings.name;
        match cursor::store(&*context.env.files, &context.data_dir, name, &cursor) {
            Ok(()) => {
                context.store.hold_log(&holder(name), shared.settings.stream(), position);
                *stored = cursor;
            }
            Err(error) => tracing::error!(output = name, %error, "the output's cursor cannot be written"),
        }
    }

    /// Stops reading, lets what is under way be sent for up to `grace`, and writes the cursor.
    pub(crate) fn begin_stop(&self) {
        self.shared.stop();
    }

    /// Waits for the end after [`Output::begin_stop`].
    pub(crate) fn end(&self) {
        self.shared.stop();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
        if !self.shared.settings.adds() {
            self.store_cursor();
        }
        let _stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_over.store(true, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(crate) fn cursor(&self) -> Position {
        self.shared.progress.cursor()
    }

    #[cfg(test)]
    pub(crate) fn dropped(&self, reason: Dropped) -> u64 {
        self.shared.counts.dropped(reason)
    }

    pub(crate) fn status(&self) -> Status {
        Status::of(&self.shared, &self.context.store)
    }
}

/// Bytes of the log that an output may be behind.
pub(crate) fn bytes_max(context: &Context, settings: &Settings) -> u64 {
    let usual = || {
        let space = context.env.files.space(&context.data_dir);
        space.map_or(LAG_BYTES_MAX, |space| LAG_BYTES_MAX.min(space.total / 5))
    };
    settings.lag_bytes_max.unwrap_or_else(usual)
}

/// Where an output begins.
fn first(context: &Context, settings: &Settings) -> io::Result<Cursor> {
    let (stream, name) = (settings.stream(), &settings.name);
    let end = || Cursor::at(stream, context.store.log_end(stream));
    Ok(match cursor::load(&*context.env.files, &context.data_dir, name)? {
        Found::Whole(cursor) if cursor.stream == stream => {
            // What windows remember means nothing where there are none.
            let keeps = settings.adds() || cursor.windows.is_empty() && cursor.outbox.is_empty();
            if keeps { cursor } else { Cursor { marks: cursor.marks, ..Cursor::at(stream, cursor.position) } }
        }
        Found::Missing | Found::Whole(_) => end(),
        Found::Damaged if settings.adds() => {
            tracing::error!(
                output = name,
                "the output's cursor is damaged: it goes on with what comes from now on"
            );
            end()
        }
        Found::Damaged => {
            tracing::error!(
                output = name,
                "the output's cursor is damaged: all that the log has is sent again"
            );
            Cursor::at(stream, Position::default())
        }
    })
}

/// Runs the output until it stops, anew after each panic.
fn supervise(shared: &Arc<Shared>, context: &Context, post: &Arc<dyn Post>, stored: &Arc<Mutex<Cursor>>) {
    let mut pause = RESTART;
    loop {
        let began = shared.now();
        let run = || match shared.settings.adds() {
            true => adding::run(shared, context, post, stored),
            false => run(shared, context, post),
        };
        let _ = catch_unwind(AssertUnwindSafe(run));
        if shared.is_stopping() {
            return;
        }
        Counts::add(&shared.counts.restarts, 1);
        tracing::error!(output = shared.settings.name, "the output begins anew after a panic");
        if shared.now().saturating_sub(began) > RESTART_MAX {
            pause = RESTART;
        }
        context.runtime.block_on(shared.pause(pause));
        pause = (pause * 2).min(RESTART_MAX);
    }
}

fn run(shared: &Arc<Shared>, context: &Context, post: &Arc<dyn Post>) {
    let shards = Shards::new(Arc::clone(shared), Arc::clone(post), context.runtime.clone());
    let mut reader = Reader::new(shared, context, shards, shared.progress.cursor());
    let read = reader.run();
    let shards = reader.finish();
    // After a panic in a shard the others end at once: everything is read again from the cursor.
    let is_whole = read.is_ok() || shared.is_stopping();
    let grace = if is_whole { crate::outputs::GRACE } else { Duration::ZERO };
    shards.end(grace);
}
