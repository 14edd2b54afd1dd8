//! Starting and stopping: the runtime, the listener, the store's threads, and the order in which they end.
//!
//! HTTP answers before the store is open (503 with the progress of the replay), and stops before the store closes, so
//! nothing that was acknowledged can still be on its way.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use admission::{Clients, Rates};
use arc_swap::ArcSwap;
use env::Env;
use model::Budget;
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Runtime;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tsdb::OpenError;

use crate::app::{App, Reload};
use crate::config::{Config, Identity};
use crate::control::Control;
use crate::driver::Driver;
use crate::hosts::Hosts;
use crate::listen::{self, Listener, descriptors};
use crate::metrics::Metrics;
use crate::pool::Pool;
use crate::proxies::Proxies;
use crate::queries::Queries;
use crate::statsd::Listeners;
use crate::tls::acme::challenges;
use crate::tls::{self, Tls, TlsError};
use crate::{lines, monitor, outputs, routes, scraping, upkeep};

/// Why Weir does not start, or did not stop well.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Occurs when the address cannot be bound.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// Occurs when the data directory, or what controls it, cannot be opened.
    #[error("{}: {error}", path.display())]
    DataDir {
        /// The directory.
        path: PathBuf,
        /// Why.
        error: String,
    },
    /// Occurs when TLS cannot be spoken with what is configured.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Occurs when the store cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Occurs when the system gives no threads or signals, or the store cannot be closed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A running Weir.
#[derive(Debug)]
pub struct Server {
    runtime: Runtime,
    address: SocketAddr,
    others: Vec<(&'static str, SocketAddr)>,
    app: Arc<App>,
    driver: Driver,
    statsd: Listeners,
    lines: lines::Listeners,
    listeners: Vec<JoinHandle<usize>>,
    scraping: JoinHandle<()>,
    stop: watch::Sender<bool>,
    failed: oneshot::Receiver<OpenError>,
}

impl Server {
    /// Starts to listen and to open the store.
    pub fn start(
        env: Env,
        mut config: Config,
        control: Control,
        reloader: Box<dyn Reload>,
    ) -> Result<Self, ServeError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .thread_name("http")
            .worker_threads(config.http_threads)
            .thread_stack_size(4 << 20)
            .enable_all()
            .build()?;
        let socket = runtime.block_on(async { bind(config.listen) })?;
        let address = socket.local_addr()?;
        let mut others = Vec::new();
        let mut further = Vec::new();
        for (key, address) in &config.also_listen {
            let socket = runtime.block_on(async { bind(*address) })?;
            others.push((*key, socket.local_addr()?));
            further.push(socket);
        }
        let challenges_socket = http_listen(&config).map(|address| runtime.block_on(async { bind(address) }));
        let challenges_socket = challenges_socket.transpose()?;
        let descriptors = descriptors::raise();
        let settings = listener_settings(&config, descriptors);
        config.storage.open_blocks = descriptors::blocks(config.storage.open_blocks, descriptors);
        let grace = config.http.shutdown_timeout;
        let interval = config.self_monitoring_interval;
        let app = Arc::new(app(env, config, control, reloader)?);
        let (stop, stopped) = watch::channel(false);
        let (fail, failed) = oneshot::channel();
        let driver = Driver::start(Arc::clone(&app), runtime.handle().clone(), fail)?;
        let statsd = Listeners::start(&app)?;
        let lines = lines::Listeners::start(&app, &runtime)?;
        let listener = Listener::new(socket, settings, routes::router(&app), Arc::clone(&app.metrics));
        let listener = listener.also(further).speaking(app.tls.clone());
        let mut listeners = vec![runtime.spawn(listener.serve(stopped.clone(), grace))];
        listeners.extend(http_for_challenges(&runtime, &app, challenges_socket, stopped, grace));
        keep_certificates(&runtime, &app);
        let scraping = runtime.spawn(scraping::run(Arc::clone(&app), descriptors, stop.subscribe()));
        if !interval.is_zero() {
            runtime.spawn(monitor::write_regularly(Arc::clone(&app), interval));
        }
        Ok(Self { runtime, address, others, app, driver, statsd, lines, listeners, scraping, stop, failed })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where else it listens, by the keys of the configuration.
    pub fn others(&self) -> &[(&'static str, SocketAddr)] {
        &self.others
    }

    /// Where it takes StatsD by UDP: the first address of those.
    pub fn statsd_address(&self) -> Option<SocketAddr> {
        self.statsd.address()
    }

    /// Where it takes lines of a dialect: the first address of those.
    pub fn lines_address(&self, dialect: &str) -> Option<SocketAddr> {
        self.lines.address(dialect)
    }

    /// Its parts.
    pub fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// Runs until `ends` completes, or the store cannot be opened.
    pub fn wait<T>(&mut self, ends: impl Future<Output = T>) -> Result<T, ServeError> {
        let failed = &mut self.failed;
        self.runtime.block_on(async {
            let mut ends = std::pin::pin!(ends);
            tokio::select! {
                result = ends.as_mut() => Ok(result),
                Ok(error) = failed => Err(ServeError::Open(error)),
            }
        })
    }

    /// Runs `task` beside the server, at most until it has stopped.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(task);
    }

    /// Stops: not ready any more, no new connections, running requests end, the store is flushed and closed.
    pub fn stop(self) -> Result<(), ServeError> {
        self.app.draining.store(true, Ordering::Relaxed);
        let _ = self.stop.send(true);
        let mut cut = 0;
        for listener in self.listeners {
            cut += self.runtime.block_on(listener).unwrap_or(0);
        }
        if cut > 0 {
            tracing::warn!(connections = cut, "connections were cut while stopping");
        }
        // Scrapes that are under way are dropped; their targets are there again after the next start.
        let _ = self.runtime.block_on(self.scraping);
        self.lines.stop(&self.runtime);
        // What its open windows have goes into the store before that closes.
        self.statsd.stop();
        // What is under way is sent, what is not is sent after the next start.
        if let Some(outputs) = self.app.outputs.get() {
            outputs.stop();
        }
        // The runtime goes last: it is what hears a second signal.
        let closed = self.driver.stop();
        self.runtime.shutdown_background();
        Ok(closed?)
    }
}

/// Connections that the kernel keeps until they are accepted. In a flood the next one is dropped, and comes again only
/// after a second; the kernel has its own bound (`net.core.somaxconn`, 4,096 by default).
const BACKLOG: u32 = 4096;

pub(crate) fn bind(address: SocketAddr) -> Result<TcpListener, ServeError> {
    let listen = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    listen().map_err(|error| ServeError::Listen { address, error })
}

/// Where challenges are answered over HTTP.
fn http_listen(config: &Config) -> Option<SocketAddr> {
    match &config.tls.as_ref()?.identity {
        Identity::Acme(acme) => acme.http_listen,
        Identity::Files { .. } => None,
    }
}

/// Connections that ask for answers to challenges, at once.
const CHALLENGERS_MAX: usize = 64;

fn http_for_challenges(
    runtime: &Runtime,
    app: &App,
    socket: Option<TcpListener>,
    stopped: watch::Receiver<bool>,
    grace: Duration,
) -> Option<JoinHandle<usize>> {
    let (socket, acme) = socket.zip(app.tls.as_ref()?.acme())?;
    let settings = listen::Settings { connections_max: CHALLENGERS_MAX, ..listen::Settings::default() };
    let router = challenges::router(Arc::clone(acme.challenges()));
    let listener = Listener::new(socket, settings, router, Arc::clone(&app.metrics));
    Some(runtime.spawn(listener.serve(stopped, grace)))
}

/// Looks after certificates for as long as the runtime is there.
fn keep_certificates(runtime: &Runtime, app: &Arc<App>) {
    let Some(tls) = &app.tls else { return };
    if let Some(acme) = tls.acme() {
        runtime.spawn(Arc::clone(acme).keep_all(Arc::clone(app)));
    }
    runtime.spawn(tls::watch(Arc::clone(app)));
}

fn listener_settings(config: &Config, descriptors: Option<u64>) -> listen::Settings {
    let wanted = config.http.max_connections as usize;
    let connections_max = descriptors::connections(wanted, descriptors);
    if connections_max < wanted {
        tracing::warn!(
            connections_max,
            "fewer connections than configured: the process may open too few files"
        );
    }
    listen::Settings {
        connections_max,
        head_bytes_max: usize::try_from(config.http.header_bytes.0).unwrap_or(usize::MAX),
        head_timeout: config.http.header_timeout,
        idle_timeout: config.http.idle_timeout,
        age_max: config.http.age_max,
    }
}

fn app(env: Env, config: Config, control: Control, reloader: Box<dyn Reload>) -> Result<App, ServeError> {
    for (dialect, lowered) in config.dialects.iter().filter(|(_, dialect)| dialect.lowered) {
        let (wire, decoded) = (lowered.limits.wire, lowered.limits.decoded);
        tracing::warn!(dialect, wire, decoded, "bodies are limited to what ingest.in_flight_bytes can hold");
    }
    let metrics = Arc::new(Metrics::default());
    metrics.start_time.set(env.clock.now_ms() as f64 / 1000.0);
    let tls = config.tls.clone().map(|tls| Tls::open(&env, &config.data_dir, tls, Arc::clone(&metrics)));
    let tls = tls.transpose()?;
    let instance = outputs::instance(&env, &config.data_dir)
        .map_err(|error| ServeError::DataDir { path: config.data_dir.clone(), error: error.to_string() })?;
    if let Some(acme) = tls.as_ref().and_then(Tls::acme) {
        acme.take_from_shelf(&control.authority());
    }
    Ok(App {
        control,
        hosts: Hosts::open(env.clone(), &config.data_dir),
        rates: Rates::default(),
        clients: Clients::default(),
        bytes: admission::Pool::new(config.ingest_bytes),
        decoding: Pool::start("decode", config.ingest_threads, config.ingest_queue)?,
        upkeep: Pool::start("upkeep", 1, upkeep::WAITING_MAX)?,
        queries: Queries::start(config.query_concurrency, env.clone(), Arc::clone(&metrics))?,
        query_memory: Arc::new(Budget::new(config.query_bytes)),
        shed: Default::default(),
        refusals: Default::default(),
        unknown_routes: Default::default(),
        progress: Arc::default(),
        data_dir: config.data_dir.clone(),
        reloader,
        tls: tls.map(Arc::new),
        proxies: ArcSwap::from_pointee(Proxies::new(config.trusted_proxies.clone())),
        config: ArcSwap::from_pointee(config),
        pools: Arc::default(),
        reloaded: watch::Sender::new(()),
        opened: OnceLock::new(),
        outputs: OnceLock::new(),
        instance,
        draining: Default::default(),
        metrics,
        env,
    })
}
