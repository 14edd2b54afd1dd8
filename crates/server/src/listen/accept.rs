//! The accept loop: one task per connection, a cap on connections, idle and age limits, graceful stop.
//!
//! A connection that does nothing for a while, or is old, is asked to finish (`Connection: close`, GOAWAY) rather than
//! cut, so no request is lost to a timeout that its sender cannot see coming. Whoever does not finish is cut in the
//! end. When there are as many connections as may be, those that ask nothing make way ([`Crowd`]): ten thousand
//! half-sent heads must not keep a client out that has something to say.

use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tower::ServiceExt;

use super::crowd::{Activity, Busy, Crowd, Place};
use super::framing::{HEAD_BYTES_MAX, HEADERS_MAX};
use super::guard::Guard;
use crate::metrics::Metrics;

/// Bounds of a listener.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Connections at once.
    pub connections_max: usize,
    /// Bytes of a head at most.
    pub head_bytes_max: usize,
    /// From the first byte of a head to its last, and from the start of a connection to its first request.
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

/// How long the last requests of a connection that is too old may take: more than any query or body may.
const LAST_REQUESTS: Duration = Duration::from_secs(300);

/// What a connection is told for which there is no place.
const NO_PLACE: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\n\
    content-type: text/plain; charset=utf-8\r\ncontent-length: 21\r\n\r\ntoo many connections\n";

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
    crowd: Arc<Crowd>,
}

impl Listener {
    /// Serves `router` on `socket`.
    pub fn new(socket: TcpListener, settings: Settings, router: Router, metrics: Arc<Metrics>) -> Self {
        let crowd = Arc::new(Crowd::new(settings.connections_max));
        Self { socket, settings, router, metrics, crowd }
    }

    /// Accepts until `stop` becomes true, then lets connections finish for up to `grace`. Gives how many were cut.
    pub async fn serve(self, mut stop: watch::Receiver<bool>, grace: Duration) -> usize {
        let mut failures = 0;
        while !*stop.borrow() {
            tokio::select! {
                accepted = self.socket.accept() => match accepted {
                    Ok((stream, peer)) => {
                        failures = 0;
                        self.admit(stream, peer, &stop).await;
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
        self.crowd.all_gone(grace).await
    }

    async fn admit(&self, stream: TcpStream, peer: SocketAddr, stop: &watch::Receiver<bool>) {
        let evicted = |count| self.metrics.connections_evicted.add(count);
        match self.crowd.enter(evicted).await {
            Some(place) => self.spawn(stream, peer, place, stop.clone()),
            None => {
                self.metrics.connections_refused.add(1);
                refuse(stream);
            }
        }
    }

    fn spawn(&self, stream: TcpStream, peer: SocketAddr, place: Place, stop: watch::Receiver<bool>) {
        let (settings, router, metrics) = (self.settings, self.router.clone(), Arc::clone(&self.metrics));
        tokio::spawn(async move {
            metrics.connections.add(1.0);
            metrics.connections_accepted.add(1);
            // Small answers must not wait for more: every answer is written whole.
            let _ = stream.set_nodelay(true);
            if let Err(error) = serve_connection(stream, peer, settings, router, place.activity(), stop).await
            {
                tracing::debug!(%error, %peer, "connection ended");
            }
            metrics.connections.add(-1.0);
            drop(place);
        });
    }
}

/// Out of descriptors or memory: retrying at once would only burn the processor that could free some.
fn back_off(failures: u32) -> Duration {
    Duration::from_millis(10 << failures.min(6))
}

/// Says that there is no place, as far as that costs no time: whoever floods must not make others wait.
fn refuse(stream: TcpStream) {
    let Ok(mut stream) = stream.into_std() else { return };
    let _ = stream.write_all(NO_PLACE);
    // Closing a socket with something unread sends a reset, which may overtake the answer.
    let _ = stream.read(&mut [0; 16 << 10]);
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

async fn serve_connection(
    stream: TcpStream,
    peer: SocketAddr,
    settings: Settings,
    router: Router,
    activity: &Arc<Activity>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), BoxError> {
    let seen = Arc::clone(activity);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        let busy = Busy::begin(&seen);
        let router = router.clone();
        async move {
            let response: Result<Response<Body>, Infallible> = router.oneshot(request.map(Body::new)).await;
            response.map(|response| response.map(|body| busy.until_sent(body)))
        }
    });
    let builder = builder(settings.head_bytes_max);
    let mut connection = pin!(builder.serve_connection(
        TokioIo::new(Guard::new(stream, settings.head_timeout, settings.head_bytes_max)),
        service
    ));
    let patience = tokio::select! {
        result = connection.as_mut() => return result,
        // Nothing is in flight: who does not even answer a GOAWAY is not waited for.
        () = activity.idle(settings.head_timeout, settings.idle_timeout) => {
            if activity.is_stranger() { Duration::ZERO } else { settings.head_timeout }
        }
        () = tokio::time::sleep(settings.age_max) => LAST_REQUESTS,
        () = activity.makes_way() => Duration::ZERO,
        _ = stop.wait_for(|stop| *stop) => LAST_REQUESTS,
    };
    connection.as_mut().graceful_shutdown();
    tokio::time::timeout(patience, connection).await.unwrap_or(Ok(()))
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
        // Header blocks are bounded as heads are; the number of CONTINUATION frames follows from it.
        .max_header_list_size(u32::try_from(head_bytes_max).unwrap_or(u32::MAX))
        .max_concurrent_streams(128)
        // More than this is an attack (CVE-2023-44487, CVE-2025-8671), and the connection ends.
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(1024)
        .max_send_buf_size(64 << 10)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}
