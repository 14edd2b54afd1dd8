//! The accept loop: one task per connection, a cap on connections, idle and age limits, graceful stop.
//!
//! A connection that does nothing for a while, or is old, is asked to finish (`Connection: close`, GOAWAY) rather than
//! cut, so no request is lost to a timeout that its sender cannot see coming.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;
use tower::ServiceExt;

use super::framing::{HEAD_BYTES_MAX, HEADERS_MAX};
use super::guard::Guard;
use crate::metrics::Metrics;

/// Bounds of a listener.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Connections at once; more wait in the kernel's backlog.
    pub connections_max: usize,
    /// Bytes of a head at most.
    pub head_bytes_max: usize,
    /// From the first byte of a head to its last.
    pub head_timeout: Duration,
    /// A connection without a request for this long is closed.
    pub idle_timeout: Duration,
    /// A connection older than this is closed after its current requests.
    pub age_max: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connections_max: 4096,
            head_bytes_max: HEAD_BYTES_MAX,
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(120),
            age_max: Duration::from_secs(3600),
        }
    }
}

/// Who is at the other end of the connection; an extension of every request.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// A bound listener and what it serves.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    settings: Settings,
    router: Router,
    metrics: Arc<Metrics>,
    slots: Arc<Semaphore>,
}

impl Listener {
    /// Serves `router` on `socket`.
    pub fn new(socket: TcpListener, settings: Settings, router: Router, metrics: Arc<Metrics>) -> Self {
        let slots = Arc::new(Semaphore::new(settings.connections_max));
        Self { socket, settings, router, metrics, slots }
    }

    /// Accepts until `stop` becomes true, then lets connections finish for up to `grace`. Gives how many were cut.
    pub async fn serve(self, mut stop: watch::Receiver<bool>, grace: Duration) -> usize {
        let mut failures = 0;
        while !*stop.borrow() {
            tokio::select! {
                accepted = self.accept() => match accepted {
                    Ok((stream, peer, slot)) => {
                        failures = 0;
                        self.spawn(stream, peer, slot, stop.clone());
                    }
                    Err(error) => {
                        failures += 1;
                        self.metrics.accept_failures.add(1);
                        tracing::warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(back_off(failures)).await;
                    }
                },
                changed = stop.changed() => if changed.is_err() { break },
            }
        }
        drop(self.socket);
        all_closed(&self.slots, self.settings.connections_max, grace).await
    }

    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
        let slot = Arc::clone(&self.slots).acquire_owned().await.map_err(io::Error::other)?;
        let (stream, peer) = self.socket.accept().await?;
        Ok((stream, peer, slot))
    }

    fn spawn(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        slot: OwnedSemaphorePermit,
        stop: watch::Receiver<bool>,
    ) {
        let (settings, router, metrics) = (self.settings, self.router.clone(), Arc::clone(&self.metrics));
        tokio::spawn(async move {
            let _slot = slot;
            metrics.connections.add(1.0);
            metrics.connections_accepted.add(1);
            // Small answers must not wait for more: every answer is written whole.
            let _ = stream.set_nodelay(true);
            if let Err(error) = serve_connection(stream, peer, settings, router, stop).await {
                tracing::debug!(%error, %peer, "connection ended");
            }
            metrics.connections.add(-1.0);
        });
    }
}

/// Out of descriptors or memory: retrying at once would only burn the processor that could free some.
fn back_off(failures: u32) -> Duration {
    Duration::from_millis(10 << failures.min(6))
}

/// Waits until every connection gave its slot back; gives how many did not.
async fn all_closed(slots: &Semaphore, total: usize, grace: Duration) -> usize {
    let all = u32::try_from(total).unwrap_or(u32::MAX);
    match tokio::time::timeout(grace, slots.acquire_many(all)).await {
        Ok(_) => 0,
        Err(_) => total - slots.available_permits(),
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

async fn serve_connection(
    stream: TcpStream,
    peer: SocketAddr,
    settings: Settings,
    router: Router,
    mut stop: watch::Receiver<bool>,
) -> Result<(), BoxError> {
    let activity = Arc::new(Activity::new());
    let seen = Arc::clone(&activity);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        let busy = Busy::begin(&seen);
        let router = router.clone();
        async move {
            let response = router.oneshot(request.map(Body::new)).await;
            drop(busy);
            let response: Result<Response<Body>, Infallible> = response;
            response
        }
    });
    let builder = builder(settings.head_bytes_max);
    let mut connection = pin!(builder.serve_connection(
        TokioIo::new(Guard::new(stream, settings.head_timeout, settings.head_bytes_max)),
        service
    ));
    tokio::select! {
        result = connection.as_mut() => return result,
        () = activity.idle(settings.idle_timeout) => {}
        () = tokio::time::sleep(settings.age_max) => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
    connection.as_mut().graceful_shutdown();
    connection.await
}

fn builder(head_bytes_max: usize) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // The guard keeps the clock of heads: hyper's would also count the idle time between requests.
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_headers(HEADERS_MAX)
        .max_buf_size(head_bytes_max + (64 << 10));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(head_bytes_max).unwrap_or(u32::MAX))
        .max_concurrent_streams(128)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}

/// When the connection last had a request, in ms since it began, and how many it has now.
#[derive(Debug)]
struct Activity {
    began: Instant,
    /// Requests in flight in the upper 16 bits, time of the last change in the lower 48.
    state: AtomicU64,
}

const MS_BITS: u32 = 48;

impl Activity {
    fn new() -> Self {
        Self { began: Instant::now(), state: AtomicU64::new(0) }
    }

    fn change(&self, by: impl Fn(u64) -> u64) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX) & ((1 << MS_BITS) - 1);
        let next = |state: u64| Some(by(state >> MS_BITS) << MS_BITS | now);
        let _ = self.state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }

    /// Completes once there was no request for `limit`.
    async fn idle(&self, limit: Duration) {
        loop {
            let state = self.state.load(Ordering::Relaxed);
            let last = Duration::from_millis(state & ((1 << MS_BITS) - 1));
            let (busy, expires) = (state >> MS_BITS > 0, self.began + last + limit);
            let now = Instant::now();
            if !busy && expires <= now {
                return;
            }
            tokio::time::sleep_until(if busy { now + limit } else { expires }).await;
        }
    }
}

/// A request in flight.
struct Busy(Arc<Activity>);

impl Busy {
    fn begin(activity: &Arc<Activity>) -> Self {
        activity.change(|busy| busy + 1);
        Self(Arc::clone(activity))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.change(|busy| busy - 1);
    }
}
