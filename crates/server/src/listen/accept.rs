//! The accept loop: one task per connection (it begins with a handshake where TLS is spoken), a cap on connections,
//! idle and age limits, graceful stop.
//!
//! A connection that does nothing for a while, or is old, is asked to finish (`Connection: close`, GOAWAY) rather than
//! cut, so no request is lost to a timeout that its sender cannot see coming. Whoever does not finish is cut in the
//! end. When there are as many connections as may be, those that ask nothing make way ([`Crowd`]): ten thousand
//! half-sent heads must not keep a client out that has something to say.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::unconstrained;
use tokio::time::timeout;
use tower::ServiceExt;

use super::crowd::{Activity, Busy, Crowd, Place};
use super::framing::{HEAD_BYTES_MAX, HEADERS_MAX};
use super::greet::{ServerName, greet};
use super::guard::Guard;
use super::pace::Paced;
use crate::metrics::Metrics;
use crate::tls::{Failure, Tls};

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

/// What a connection is told for which there is no place.
const NO_PLACE: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\n\
    content-type: text/plain; charset=utf-8\r\ncontent-length: 21\r\n\r\ntoo many connections\n";

/// Who is at the other end of the connection; an extension of every request.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// A bound listener and what it serves.
#[derive(Debug)]
pub struct Listener {
    /// All with the same bounds together.
    sockets: Vec<TcpListener>,
    settings: Settings,
    router: Router,
    metrics: Arc<Metrics>,
    crowd: Arc<Crowd>,
    tls: Option<Arc<Tls>>,
}

impl Listener {
    /// Serves `router` on `socket`.
    pub fn new(socket: TcpListener, settings: Settings, router: Router, metrics: Arc<Metrics>) -> Self {
        let crowd = Arc::new(Crowd::new(settings.connections_max));
        Self { sockets: vec![socket], settings, router, metrics, crowd, tls: None }
    }

    /// Serves the same on further sockets.
    pub fn also(mut self, sockets: Vec<TcpListener>) -> Self {
        self.sockets.extend(sockets);
        self
    }

    /// Speaks TLS and nothing else.
    pub fn speaking(self, tls: Option<Arc<Tls>>) -> Self {
        Self { tls, ..self }
    }

    /// Accepts until `stop` becomes true, then lets connections finish for up to `grace`. Gives how many were cut.
    pub async fn serve(self, mut stop: watch::Receiver<bool>, grace: Duration) -> usize {
        let (mut failures, mut turn) = (0, 0);
        while !*stop.borrow() {
            tokio::select! {
                accepted = accept(&self.sockets, &mut turn) => match accepted {
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
        drop(self.sockets);
        self.crowd.all_gone(grace).await
    }

    async fn admit(&self, stream: TcpStream, peer: SocketAddr, stop: &watch::Receiver<bool>) {
        match self.crowd.enter().await {
            Some(place) => self.spawn(stream, peer, place, stop.clone()),
            None => {
                self.metrics.connections_refused.add(1);
                // Nothing can be said before a handshake.
                if self.tls.is_none() {
                    refuse(stream);
                }
            }
        }
    }

    fn spawn(&self, stream: TcpStream, peer: SocketAddr, place: Place, stop: watch::Receiver<bool>) {
        let (settings, router, metrics) = (self.settings, self.router.clone(), Arc::clone(&self.metrics));
        let tls = self.tls.clone();
        tokio::spawn(async move {
            metrics.connections.add(1.0);
            metrics.connections_accepted.add(1);
            // Small answers must not wait for more: every answer is written whole.
            let _ = stream.set_nodelay(true);
            let ended = match tls {
                None => {
                    let stream = Paced::new(stream, place.activity().blocked());
                    serve_connection(stream, (peer, None), settings, router, place.activity(), stop).await
                }
                // Boxed, because the state of a handshake is some kilobytes that connections without one would have too.
                Some(tls) => {
                    Box::pin(serve_tls(&tls, stream, peer, settings, router, place.activity(), stop)).await
                }
            };
            match ended {
                Ok(Ended::Itself) => {}
                Ok(Ended::Evicted) => metrics.connections_evicted.add(1),
                Err(error) => tracing::debug!(%error, %peer, "connection ended"),
            }
            metrics.connections.add(-1.0);
            drop(place);
        });
    }
}

/// The next connection on any of `sockets`. They are asked in `turn`, so that a flood at one keeps nobody from another.
async fn accept(sockets: &[TcpListener], turn: &mut usize) -> io::Result<(TcpStream, SocketAddr)> {
    *turn = (*turn + 1) % sockets.len();
    let (before, after) = sockets.split_at(*turn);
    poll_fn(|cx| {
        let next = |socket: &TcpListener| match socket.poll_accept(cx) {
            Poll::Ready(accepted) => Some(accepted),
            Poll::Pending => None,
        };
        after.iter().chain(before).find_map(next).map_or(Poll::Pending, Poll::Ready)
    })
    .await
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

/// How a connection came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// By its peer, or because its time was over.
    Itself,
    /// It made way for another one.
    Evicted,
}

/// Greets the peer and serves what comes then.
async fn serve_tls(
    tls: &Tls,
    stream: TcpStream,
    peer: SocketAddr,
    settings: Settings,
    router: Router,
    activity: &Arc<Activity>,
    mut stop: watch::Receiver<bool>,
) -> Result<Ended, BoxError> {
    let greeted = tokio::select! {
        greeted = timeout(settings.head_timeout, greet(tls, stream, peer, activity.blocked())) => greeted,
        () = activity.makes_way() => return Ok(Ended::Evicted),
        _ = stop.wait_for(|stop| *stop) => return Ok(Ended::Itself),
    };
    match greeted.unwrap_or(Err(Failure::Late)) {
        Ok(Some(greeted)) => {
            let who = (peer, greeted.name);
            serve_connection(greeted.stream, who, settings, router, activity, stop).await
        }
        Ok(None) => Ok(Ended::Itself),
        Err(failure) => {
            tls.count(&failure);
            Err(failure.into())
        }
    }
}

async fn serve_connection<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    (peer, name): (SocketAddr, Option<ServerName>),
    settings: Settings,
    router: Router,
    activity: &Arc<Activity>,
    mut stop: watch::Receiver<bool>,
) -> Result<Ended, BoxError> {
    let seen = Arc::clone(activity);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        if let Some(name) = &name {
            request.extensions_mut().insert(name.clone());
        }
        let busy = Busy::begin(&seen);
        let router = router.clone();
        async move {
            let response: Result<Response<Body>, Infallible> = router.oneshot(request.map(Body::new)).await;
            response.map(|response| response.map(|body| busy.until_sent(body)))
        }
    });
    let builder = builder(settings.head_bytes_max);
    let guard = Guard::new(stream, settings.head_timeout, settings.head_bytes_max);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(guard), service));
    let patience = tokio::select! {
        result = connection.as_mut() => return result.map(|()| Ended::Itself),
        () = activity.idle(settings.head_timeout, settings.idle_timeout) => {
            Some(if activity.is_stranger() { Duration::ZERO } else { settings.head_timeout })
        }
        () = tokio::time::sleep(settings.age_max) => Some(settings.head_timeout),
        () = activity.makes_way() => None,
        _ = stop.wait_for(|stop| *stop) => Some(settings.head_timeout),
    };
    connection.as_mut().graceful_shutdown();
    let Some(patience) = patience else {
        // Once more, to say so.
        let _ = timeout(Duration::ZERO, connection).await;
        return Ok(Ended::Evicted);
    };
    // What is in flight may end, also what comes before the peer has heard that it should not. Who then has nothing in
    // flight and does not even answer a GOAWAY is not waited for.
    activity.finish();
    tokio::select! {
        biased;
        result = connection => result.map(|()| Ended::Itself),
        // Whoever floods the connection uses up all of the task's budget; the clock must run all the same.
        () = unconstrained(activity.idle(patience, patience)) => Ok(Ended::Itself),
        () = unconstrained(activity.makes_way()) => Ok(Ended::Evicted),
    }
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

#[cfg(test)]
mod tests {
    use rustls::pki_types::PrivateKeyDer;
    use rustls::{ClientConfig, RootCertStore, ServerConfig};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::task::JoinHandle;
    use tokio::time::{Instant, sleep};
    use tokio_rustls::client::TlsStream;
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    use super::*;
    use crate::tls::certificate::{prepare, provider};

    const BODY_BYTES: usize = 600_000;
    /// What may be on its way in buffers that are no longer the server's.
    const BUFFERED_BYTES: usize = 32 << 10;
    const SETTINGS: Settings = Settings {
        connections_max: 4,
        head_bytes_max: HEAD_BYTES_MAX,
        head_timeout: Duration::from_secs(1),
        idle_timeout: Duration::from_secs(1),
        age_max: Duration::from_secs(3600),
    };

    type Connection = (DuplexStream, JoinHandle<Result<Ended, BoxError>>);

    /// A connection in `crowd` through which few bytes fit; none when there is no place.
    async fn connect(crowd: &Arc<Crowd>, settings: Settings) -> Option<Connection> {
        let place = crowd.enter().await?;
        let (ours, theirs) = duplex(8 << 10);
        let router = Router::new()
            .route("/", axum::routing::get(|| async { vec![b'x'; BODY_BYTES] }))
            .route("/late", axum::routing::get(|| sleep(Duration::from_secs(200))));
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(async move {
            let _stop = stop;
            let ours = Paced::new(ours, place.activity().blocked());
            serve_connection(ours, (peer, None), settings, router, place.activity(), stopped).await
        });
        Some((theirs, task))
    }

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    }

    /// The preface, with the window that each stream begins with.
    fn preface(window: u32) -> Vec<u8> {
        let settings = [&4u16.to_be_bytes()[..], &window.to_be_bytes()].concat();
        [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(4, 0, 0, &settings)].concat()
    }

    fn get(stream: u32, path: &str) -> Vec<u8> {
        let mut block = Vec::new();
        for (name, value) in [(":method", "GET"), (":scheme", "http"), (":path", path), (":authority", "a")] {
            block.extend(
                [&[0, name.len() as u8], name.as_bytes(), &[value.len() as u8], value.as_bytes()].concat(),
            );
        }
        frame(1, 4 | 1, stream, &block)
    }

    /// The next frame: kind and payload. Pings are answered.
    async fn read_frame(stream: &mut DuplexStream) -> Option<(u8, Vec<u8>)> {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.ok()?;
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        stream.read_exact(&mut payload).await.ok()?;
        if (head[3], head[4]) == (6, 0) {
            stream.write_all(&frame(6, 1, 0, &payload)).await.ok()?;
        }
        Some((head[3], payload))
    }

    /// Somebody else wants the only place of `crowd`, and gets none while an answer is on its way.
    async fn nobody_makes_way(crowd: &Arc<Crowd>) {
        assert!(crowd.enter().await.is_none(), "a connection went in the middle of its answer");
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_gets_its_whole_answer() {
        // The body was gone from hyper at once, so the connection counted as idle: it was cut after idle_timeout, or
        // for the next newcomer, in the middle of the answer.
        let crowd = Arc::new(Crowd::new(1));
        let (mut stream, task) = connect(&crowd, SETTINGS).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut read = Vec::with_capacity(2 * BODY_BYTES);
        while stream.read_buf(&mut read).await.unwrap() > 0 {
            sleep(Duration::from_millis(2500)).await;
            if read.len() + BUFFERED_BYTES < BODY_BYTES {
                nobody_makes_way(&crowd).await;
            }
        }
        let head = read.windows(4).position(|at| at == b"\r\n\r\n").unwrap() + 4;
        assert_eq!(read.len() - head, BODY_BYTES);
        assert_eq!(task.await.unwrap().unwrap(), Ended::Itself);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_of_http_2_gets_its_whole_answer() {
        let crowd = Arc::new(Crowd::new(1));
        let (mut stream, task) = connect(&crowd, SETTINGS).await.unwrap();
        stream.write_all(&[preface(16 << 10), get(1, "/")].concat()).await.unwrap();
        let mut read = 0;
        while read < BODY_BYTES {
            let (kind, payload) = read_frame(&mut stream).await.expect("the answer is not whole");
            if kind == 0 && !payload.is_empty() {
                read += payload.len();
                sleep(Duration::from_secs(3)).await;
                if read + BUFFERED_BYTES < BODY_BYTES {
                    nobody_makes_way(&crowd).await;
                }
                let more = u32::try_from(payload.len()).unwrap().to_be_bytes();
                // The server may be done, and gone.
                let _ = stream.write_all(&[frame(8, 0, 0, &more), frame(8, 0, 1, &more)].concat()).await;
            }
        }
        while read_frame(&mut stream).await.is_some() {}
        assert_eq!(task.await.unwrap().unwrap(), Ended::Itself);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_takes_nothing_of_its_answer_makes_way() {
        // With a window of zero nothing of an answer may be sent, and whoever had asked was busy until age_max.
        let crowd = Arc::new(Crowd::new(4));
        let began = Instant::now();
        let mut stuck = Vec::new();
        for _ in 0..4 {
            let (mut stream, task) = connect(&crowd, SETTINGS).await.unwrap();
            stream.write_all(&[preface(0), get(1, "/"), get(3, "/")].concat()).await.unwrap();
            while read_frame(&mut stream).await.unwrap().0 != 1 {}
            stuck.push((stream, task));
        }
        nobody_makes_way(&crowd).await;
        // Held back, so that nobody ends by himself first.
        let newcomer = async {
            while crowd.enter().await.is_none() {
                sleep(Duration::from_millis(500)).await;
            }
        };
        newcomer.await;
        let waited = began.elapsed();
        assert!(Duration::from_secs(10) <= waited && waited < Duration::from_secs(12), "{waited:?}");
        for (mut stream, task) in stuck {
            // Each pings as long as it can: that moves no answer.
            while stream.write_all(&frame(6, 0, 0, b"12345678")).await.is_ok() {
                if read_frame(&mut stream).await.is_none() {
                    break;
                }
                sleep(Duration::from_millis(100)).await;
            }
            task.await.unwrap().unwrap();
        }
        assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_crosses_the_goaway_is_answered() {
        // Patience with an idle connection was 10 s in all, whatever it had asked meanwhile.
        let crowd = Arc::new(Crowd::new(1));
        let (mut stream, task) = connect(&crowd, SETTINGS).await.unwrap();
        stream.write_all(&[preface(1 << 20), get(1, "/")].concat()).await.unwrap();
        stream.write_all(&frame(8, 0, 0, &(1u32 << 20).to_be_bytes())).await.unwrap();
        while read_frame(&mut stream).await.expect("no GOAWAY").0 != 7 {}
        stream.write_all(&get(3, "/late")).await.unwrap();
        let mut answered = false;
        while let Some((kind, _)) = read_frame(&mut stream).await {
            answered |= kind == 1;
        }
        assert!(answered);
        assert_eq!(task.await.unwrap().unwrap(), Ended::Itself);
    }

    /// Both ends of a TLS connection in `crowd`, through which few bytes fit.
    async fn connect_secretly(
        crowd: &Arc<Crowd>,
    ) -> (TlsStream<DuplexStream>, JoinHandle<Result<Ended, BoxError>>) {
        let signed = rcgen::generate_simple_self_signed(vec!["a.example".to_owned()]).unwrap();
        let key = PrivateKeyDer::Pkcs8(signed.signing_key.serialize_der().into());
        let mut roots = RootCertStore::empty();
        roots.add(signed.cert.der().clone()).unwrap();
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let served = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![signed.cert.der().clone()], key)
            .unwrap();
        let place = crowd.enter().await.unwrap();
        let (ours, theirs) = duplex(8 << 10);
        let router = Router::new().route("/", axum::routing::get(|| async { vec![b'x'; BODY_BYTES] }));
        let task = tokio::spawn(async move {
            let (_stop, stopped) = watch::channel(false);
            let paced = Paced::new(ours, place.activity().blocked());
            let accept = TlsAcceptor::from(Arc::new(served)).accept_with(paced, prepare);
            let peer = SocketAddr::from(([127, 0, 0, 1], 1));
            let stream = accept.await.unwrap();
            serve_connection(stream, (peer, None), SETTINGS, router, place.activity(), stopped).await
        });
        let connector = TlsConnector::from(Arc::new(config));
        (connector.connect("a.example".try_into().unwrap(), theirs).await.unwrap(), task)
    }

    /// What was encrypted and not sent yet counted as taken: the connection was idle with 64 KiB of its answer to come.
    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_gets_its_whole_answer_over_tls() {
        let crowd = Arc::new(Crowd::new(1));
        let (mut stream, task) = connect_secretly(&crowd).await;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut read = Vec::with_capacity(2 * BODY_BYTES);
        let mut part = [0; 16 << 10];
        loop {
            let length = stream.read(&mut part).await.unwrap();
            if length == 0 {
                break;
            }
            read.extend_from_slice(&part[..length]);
            sleep(Duration::from_millis(2500)).await;
            if read.len() + BUFFERED_BYTES < BODY_BYTES {
                nobody_makes_way(&crowd).await;
            }
        }
        let head = read.windows(4).position(|at| at == b"\r\n\r\n").unwrap() + 4;
        assert_eq!(read.len() - head, BODY_BYTES);
        assert_eq!(task.await.unwrap().unwrap(), Ended::Itself);
    }
}
