//! Streams of datagrams over a Unix socket: a thread that accepts, and one for each connection.
//!
//! Clients keep a connection for as long as they live and there are few of them on one machine, so a thread each is what
//! costs least; there is a bound, and whoever comes beyond it is closed at once.

use std::io::{self, Read};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use dialects::statsd::first_frame;

use super::intake::{Door, Intake};
use crate::app::App;
use crate::datagrams::{Transport, WAIT};
use crate::metrics::Counter;

/// Connections at once.
const STREAMS_MAX: usize = 512;

/// Bytes that are read at once.
const READ_BYTES: usize = 64 << 10;

/// Reads after which a stop does not wait for an empty stream any longer.
const LAST_READS: u32 = 256;

const STACK_BYTES: usize = 256 << 10;

/// How long to wait after a connection that could not be accepted.
const ERROR_PAUSE: Duration = Duration::from_millis(100);

/// Accepts until `stopping`, then waits for the connections' threads.
pub(super) fn accept(
    app: &Arc<App>,
    listener: &UnixListener,
    door: &Door,
    intake: &Arc<Intake>,
    stopping: &Arc<AtomicBool>,
) {
    let open = Arc::new(AtomicUsize::new(0));
    while !stopping.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((stream, _)) => {
                if let Err(reason) = begin(app, stream, door, intake, stopping, &open) {
                    app.metrics.statsd_streams_closed.with(&[reason]).add(1);
                }
            }
            Err(error) if is_nothing(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "StatsD cannot accept");
                thread::sleep(ERROR_PAUSE);
            }
        }
    }
    while open.load(Ordering::Acquire) > 0 {
        thread::sleep(WAIT / 10);
    }
}

fn begin(
    app: &Arc<App>,
    stream: UnixStream,
    door: &Door,
    intake: &Arc<Intake>,
    stopping: &Arc<AtomicBool>,
    open: &Arc<AtomicUsize>,
) -> Result<(), &'static str> {
    if open.load(Ordering::Relaxed) >= STREAMS_MAX {
        return Err("too_many");
    }
    stream.set_read_timeout(Some(WAIT)).map_err(|_| "error")?;
    let slot = Slot::take(app, open);
    let (app, door, intake) = (Arc::clone(app), door.clone(), Arc::clone(intake));
    let stopping = Arc::clone(stopping);
    let serve = move || {
        let slot = slot;
        if let Err(reason) = read(&app, stream, &door, &intake, &stopping) {
            app.metrics.statsd_streams_closed.with(&[reason]).add(1);
        }
        drop(slot);
    };
    let builder = thread::Builder::new().name("statsd-stream".to_owned()).stack_size(STACK_BYTES);
    builder.spawn(serve).map(drop).map_err(|_| "error")
}

/// A connection's place among those that may be open.
struct Slot {
    app: Arc<App>,
    open: Arc<AtomicUsize>,
}

impl Slot {
    fn take(app: &Arc<App>, open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        app.metrics.statsd_streams.add(1.0);
        Self { app: Arc::clone(app), open: Arc::clone(open) }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.app.metrics.statsd_streams.add(-1.0);
        self.open.fetch_sub(1, Ordering::Release);
    }
}

/// Reads frames until the other side has closed; the error says why this one did.
fn read(
    app: &App,
    mut stream: UnixStream,
    door: &Door,
    intake: &Intake,
    stopping: &AtomicBool,
) -> Result<(), &'static str> {
    let datagrams = app.metrics.statsd_datagrams.with(&[Transport::UnixStream.as_str()]);
    let mut bytes = Vec::new();
    let mut chunk = vec![0; READ_BYTES];
    let mut last_reads = LAST_READS;
    loop {
        match stream.read(&mut chunk) {
            Ok(0) if bytes.is_empty() => return Ok(()),
            Ok(0) => return Err("cut"),
            Ok(length) => bytes.extend_from_slice(&chunk[..length]),
            Err(error) if is_nothing(&error) && stopping.load(Ordering::Relaxed) => return Ok(()),
            Err(error) if is_nothing(&error) => continue,
            Err(_) => return Err("error"),
        }
        let rest = take_frames(app, &bytes, door, intake, &datagrams).ok_or("frame_too_long")?;
        let taken = bytes.len() - rest;
        bytes.drain(..taken);
        if stopping.load(Ordering::Relaxed) {
            last_reads -= 1;
            if last_reads == 0 {
                return Ok(());
            }
        }
    }
}

/// Takes what has come as a whole; how many bytes are left.
fn take_frames(app: &App, bytes: &[u8], door: &Door, intake: &Intake, datagrams: &Counter) -> Option<usize> {
    let (mut rest, mut frames) = (bytes, Vec::new());
    let is_good = loop {
        match first_frame(rest) {
            Ok(Some((frame, after))) => {
                frames.push(frame);
                rest = after;
            }
            Ok(None) => break true,
            Err(_) => break false,
        }
    };
    if !frames.is_empty() {
        datagrams.add(frames.len() as u64);
        intake.take(door, app.env.clock.now_ms(), frames.into_iter());
    }
    is_good.then_some(rest.len())
}

fn is_nothing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}
