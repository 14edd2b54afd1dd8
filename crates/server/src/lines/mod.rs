//! Listeners of dialects that are streams of lines, over TCP and UDP: lines → batch → the store, and what it says back.
//!
//! Nobody shows a credential there: the configuration says whose the lines are. A TCP connection is read on only when what
//! it brought is durable, so whoever sends faster than the store takes is slowed down by its own connection. UDP cannot be
//! slowed down: what the kernel drops is counted.

mod intake;
mod split;
mod stream;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task;

use self::intake::Intake;
use crate::app::App;
use crate::config::LineListener;
use crate::datagrams::{self, Counters, Transport};
use crate::driver::spawn;
use crate::serve::{self, ServeError};

/// All listeners with their tasks and threads. Dropping it stops nothing; see `stop`.
#[derive(Debug)]
pub(crate) struct Listeners {
    stop: watch::Sender<bool>,
    stopping: Arc<AtomicBool>,
    streams: Vec<task::JoinHandle<()>>,
    readers: Vec<thread::JoinHandle<()>>,
    addresses: Vec<(&'static str, SocketAddr)>,
}

impl Listeners {
    /// Starts what the configuration asks for.
    pub(crate) fn start(app: &Arc<App>, runtime: &Runtime) -> Result<Self, ServeError> {
        let (stop, _) = watch::channel(false);
        let mut listeners = Self {
            stop,
            stopping: Arc::default(),
            streams: Vec::new(),
            readers: Vec::new(),
            addresses: Vec::new(),
        };
        let config = app.config();
        let graphite = config.graphite.iter().map(|section| ("graphite", section));
        let opentsdb = config.opentsdb.iter().map(|section| ("opentsdb", section));
        for (dialect, section) in graphite.chain(opentsdb) {
            listeners.open(app, runtime, dialect, section)?;
        }
        Ok(listeners)
    }

    /// The first address of a dialect.
    pub(crate) fn address(&self, dialect: &str) -> Option<SocketAddr> {
        self.addresses.iter().find(|(name, _)| *name == dialect).map(|(_, address)| *address)
    }

    fn open(
        &mut self,
        app: &Arc<App>,
        runtime: &Runtime,
        dialect: &'static str,
        section: &LineListener,
    ) -> Result<(), ServeError> {
        let is_enabled = app.config().dialects.get(dialect).is_none_or(|dialect| dialect.enabled);
        let Some(address) = section.listen.filter(|_| is_enabled) else { return Ok(()) };
        let intake = Arc::new(Intake::new(app, dialect, section.tenant.clone()));
        let listener = runtime.block_on(async { serve::bind(address) })?;
        // Both have the same port, whichever it is.
        let address = listener.local_addr()?;
        tracing::info!(%address, dialect, tenant = %section.tenant, "listens for lines");
        let bounds = stream::Bounds {
            connections_max: section.max_connections as usize,
            idle_timeout: section.idle_timeout,
        };
        let (its, stopped) = (Arc::clone(&intake), self.stop.subscribe());
        self.streams.push(runtime.spawn(stream::accept(listener, its, bounds, stopped)));
        self.addresses.push((dialect, address));
        let socket = datagrams::udp(address, section.receive_buffer.0)
            .map_err(|error| ServeError::Listen { address, error })?;
        let (app, socket, stopping) = (Arc::clone(app), socket.into(), Arc::clone(&self.stopping));
        self.readers.push(spawn("lines-udp", move || {
            let metrics = &app.metrics;
            let read = metrics.lines_datagrams.with(&[dialect]);
            let truncated = metrics.lines_truncated.with(&[dialect]);
            let dropped = metrics.lines_dropped.with(&[dialect]);
            let counters = Counters { read: &read, truncated: &truncated, dropped: &dropped };
            let (mut lines, mut patience) = (Vec::new(), intake::LAST_TRIES);
            datagrams::read(&socket, Transport::Udp, counters, &stopping, |came| {
                lines.clear();
                for datagram in came {
                    lines.extend_from_slice(datagram);
                    lines.push(b'\n');
                }
                intake.take_datagrams(&lines, &stopping, &mut patience);
            });
        })?);
        Ok(())
    }

    /// Stops to listen, once what has come is in the store, which must still be open.
    pub(crate) fn stop(self, runtime: &Runtime) {
        let _ = self.stop.send(true);
        self.stopping.store(true, Ordering::Relaxed);
        for stream in self.streams {
            let _ = runtime.block_on(stream);
        }
        for reader in self.readers {
            let _ = reader.join();
        }
    }
}
