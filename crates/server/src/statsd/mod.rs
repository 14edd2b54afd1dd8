//! StatsD and DogStatsD: sockets → lines → windows → the store, every ten seconds.
//!
//! Threads and not tasks: each socket has one that reads datagrams in batches, takes their lines apart where they lie and
//! adds them up ([`intake`]); one for all of them writes what windows saw ([`flush`]). What the kernel drops before
//! anybody reads it is counted by the kernel, and told.
//!
//! Nobody is answered, so nothing here is promised: a datagram is durable once its window is.

mod describe;
mod flush;
mod happened;
mod intake;
mod queue;
mod stream;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use aggregation::Limits;
use rustix::fs::{FileType, Mode};
use socket2::{Domain, SockAddr, SockRef, Socket, Type};

use self::intake::{Door, Intake};
use crate::app::App;
use crate::config::Statsd;
use crate::datagrams::{self, Counters, Transport, WAIT};
use crate::driver::spawn;
use crate::serve::ServeError;

/// All listeners with their threads. Dropping it stops nothing; see `stop`.
#[derive(Debug)]
pub(crate) struct Listeners {
    stopping: Arc<AtomicBool>,
    readers: Vec<JoinHandle<()>>,
    flusher: Option<(SyncSender<()>, JoinHandle<()>)>,
    paths: Vec<PathBuf>,
    address: Option<SocketAddr>,
}

impl Listeners {
    /// Starts what the configuration asks for.
    pub(crate) fn start(app: &Arc<App>) -> Result<Self, ServeError> {
        let mut listeners = Self {
            stopping: Arc::default(),
            readers: Vec::new(),
            flusher: None,
            paths: Vec::new(),
            address: None,
        };
        let config = app.config();
        let mut intakes = BTreeMap::new();
        for (number, section) in config.statsd.iter().filter(|section| section.is_on()).enumerate() {
            let limits = Limits { keys: section.max_keys as usize, ..Limits::default() };
            let intake = intakes
                .entry(section.tenant.clone())
                .or_insert_with(|| Arc::new(Intake::new(app, section.tenant.clone(), limits)));
            listeners.open(app, section, number, intake)?;
        }
        if !intakes.is_empty() {
            let (stop, stopped) = sync_channel(1);
            let (app, intakes) = (Arc::clone(app), intakes.into_values().collect::<Vec<_>>());
            let flusher = spawn("statsd-flush", move || flush::run(&app, &intakes, &stopped))?;
            listeners.flusher = Some((stop, flusher));
        }
        Ok(listeners)
    }

    /// The first UDP address.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    fn open(
        &mut self,
        app: &Arc<App>,
        section: &Statsd,
        number: usize,
        intake: &Arc<Intake>,
    ) -> Result<(), ServeError> {
        let hostname = section.hostname.clone().unwrap_or_else(system_hostname);
        let door = Door::new(app, section.flavor, &hostname, number);
        let at_path = |path: &Path| {
            let path = path.to_owned();
            move |error: io::Error| ServeError::DataDir { path, error: error.to_string() }
        };
        if let Some(address) = section.listen {
            let socket = datagrams::udp(address, section.receive_buffer.0)
                .map_err(|error| ServeError::Listen { address, error })?;
            let bound = socket.local_addr()?.as_socket();
            self.address = self.address.or(bound);
            tracing::info!(address = %bound.unwrap_or(address), tenant = %section.tenant, "StatsD listens");
            self.read("statsd-udp", app, socket.into(), Transport::Udp, door.clone(), intake)?;
        }
        if let Some(path) = &section.unix_datagram {
            let socket = unix_datagram(path, section).map_err(at_path(path))?;
            self.paths.push(path.clone());
            tracing::info!(path = %path.display(), tenant = %section.tenant, "StatsD listens");
            self.read("statsd-unix", app, socket, Transport::UnixDatagram, door.clone(), intake)?;
        }
        if let Some(path) = &section.unix_stream {
            let listener = unix_stream(path).map_err(at_path(path))?;
            self.paths.push(path.clone());
            tracing::info!(path = %path.display(), tenant = %section.tenant, "StatsD listens");
            let (app, intake, stopping) = (Arc::clone(app), Arc::clone(intake), Arc::clone(&self.stopping));
            let accept = move || stream::accept(&app, &listener, &door, &intake, &stopping);
            self.readers.push(spawn("statsd-accept", accept)?);
        }
        Ok(())
    }

    fn read(
        &mut self,
        name: &str,
        app: &Arc<App>,
        socket: OwnedFd,
        transport: Transport,
        door: Door,
        intake: &Arc<Intake>,
    ) -> io::Result<()> {
        let (app, intake, stopping) = (Arc::clone(app), Arc::clone(intake), Arc::clone(&self.stopping));
        let read = move || {
            let read = app.metrics.statsd_datagrams.with(&[transport.as_str()]);
            let metrics = &app.metrics;
            let (truncated, dropped) = (&metrics.statsd_truncated, &metrics.statsd_dropped);
            datagrams::read(
                &socket,
                transport,
                Counters { read: &read, truncated, dropped },
                &stopping,
                |came| {
                    intake.take(&door, app.env.clock.now_ms(), came.iter().copied());
                },
            );
        };
        self.readers.push(spawn(name, read)?);
        Ok(())
    }

    /// Stops to listen, and writes what the open windows have. The store must still be open.
    pub(crate) fn stop(self) {
        self.stopping.store(true, Ordering::Relaxed);
        for reader in self.readers {
            let _ = reader.join();
        }
        for path in self.paths {
            let _ = rustix::fs::unlink(&path);
        }
        if let Some((stop, flusher)) = self.flusher {
            drop(stop);
            let _ = flusher.join();
        }
    }
}

fn unix_datagram(path: &Path, section: &Statsd) -> io::Result<OwnedFd> {
    let socket = Socket::new(Domain::UNIX, Type::DGRAM, None)?;
    make_way(path, Type::DGRAM)?;
    socket.bind(&SockAddr::unix(path)?)?;
    open_to_all(path)?;
    socket.set_read_timeout(Some(WAIT))?;
    datagrams::widen(&socket, section.receive_buffer.0);
    Ok(socket.into())
}

fn unix_stream(path: &Path) -> io::Result<UnixListener> {
    make_way(path, Type::STREAM)?;
    let listener = UnixListener::bind(path)?;
    open_to_all(path)?;
    // On Linux it is the time that `accept` waits, too.
    SockRef::from(&listener).set_read_timeout(Some(WAIT))?;
    Ok(listener)
}

/// Removes the socket of a process that is no more.
fn make_way(path: &Path, kind: Type) -> io::Result<()> {
    let is_socket =
        rustix::fs::lstat(path).is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::Socket);
    if !is_socket {
        return Ok(());
    }
    if Socket::new(Domain::UNIX, kind, None)?.connect(&SockAddr::unix(path)?).is_ok() {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there"));
    }
    Ok(rustix::fs::unlink(path)?)
}

/// Any process of the machine may send; only the owner may do more.
fn open_to_all(path: &Path) -> io::Result<()> {
    Ok(rustix::fs::chmod(path, Mode::from_raw_mode(0o722))?)
}

fn system_hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
