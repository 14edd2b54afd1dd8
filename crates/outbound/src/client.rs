//! The client: one for each configuration, shared by whoever sends with it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use env::{Clock, Env};
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method};
use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use tokio::time::Instant;

use crate::body::{self, Wire};
use crate::config::{ConfigError, HttpConfig};
use crate::connect::{self, Route};
use crate::credentials::{Credentials, header_value, sensitive};
use crate::error::{self, SendError};
use crate::given::{Fresh, Given};
use crate::pool::{Connection, Place, Pool, Sender};
use crate::proxy::Proxies;
use crate::reach::Reach;
use crate::request::{Bounds, Request, Response, Unreadable};
use crate::secret::Secret;
use crate::url::{Scheme, Url};

/// So many redirects are followed.
const REDIRECTS_MAX: usize = 10;

/// A connection's buffer for reading, which each idle one holds. An answer's headers must fit it.
const READ_BUFFER_BYTES: usize = 8 << 10;

/// To so many bytes it grows where the status counts whatever stands beside it.
const READ_BUFFER_BYTES_MAX: usize = 64 << 10;

/// A connection that was just given back may need a moment.
const READY: Duration = Duration::from_secs(1);

/// A connection over HTTP/2 on which requests wait is asked for a sign of life so often, and has so long for one.
const SIGN_OF_LIFE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(5));

/// Headers that go along when a redirect leaves the origin; any other may be a credential.
const EVERYWHERE: [HeaderName; 10] = [
    header::ACCEPT,
    header::ACCEPT_ENCODING,
    header::USER_AGENT,
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    HeaderName::from_static("x-prometheus-scrape-timeout-seconds"),
    HeaderName::from_static("x-prometheus-remote-write-version"),
    HeaderName::from_static("retry-attempt"),
    // Without them what goes round in a circle would not be noticed.
    HeaderName::from_static("x-weir-hops"),
    HeaderName::from_static("x-weir-via"),
];

const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("Weir/", env!("CARGO_PKG_VERSION")));

/// Sends requests as its configuration says. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    config: HttpConfig,
    reach: Reach,
    clock: Arc<dyn Clock>,
    proxies: Proxies,
    connect_headers: Vec<(String, Secret)>,
    pool: Pool,
    credentials: Credentials,
    tls: Given<Arc<ClientConfig>>,
}

/// Whether a request is still at the place that its sender named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Same,
    Another,
}

/// Why an exchange came to nothing.
enum Failure {
    /// The connection was closed before the request could have had any effect, or it is one that may be asked twice.
    Stale(String),
    Error(SendError),
}

impl From<SendError> for Failure {
    fn from(error: SendError) -> Self {
        Self::Error(error)
    }
}

impl Client {
    /// A client that may reach what `reach` allows. Files are read when the first request needs them, so one that is not
    /// there yet fails requests and not the start.
    pub fn new(config: &HttpConfig, reach: Reach, env: &Env) -> Result<Self, ConfigError> {
        config.check()?;
        // A proxy resolves names itself, where nobody checks what they lead to.
        if reach != Reach::Anything && (config.proxy_url.is_some() || config.proxy_from_environment) {
            return Err(ConfigError::new("proxy_url", "cannot be used where addresses are checked"));
        }
        let tls = &config.tls_config;
        let tls_files = [&tls.ca_file, &tls.cert_file, &tls.key_file];
        let connect_headers = config.proxy_connect_header.iter();
        Ok(Self(Arc::new(Inner {
            proxies: Proxies::new(config, |name| std::env::var(name).ok()),
            connect_headers: connect_headers
                .flat_map(|(name, values)| values.iter().map(|value| (name.clone(), value.clone())))
                .collect(),
            pool: Pool::default(),
            credentials: Credentials::new(config),
            tls: Given::new(tls_files.into_iter().flatten().cloned().collect()),
            config: config.clone(),
            reach,
            clock: Arc::clone(&env.clock),
        })))
    }

    /// Sends a request and reads the answer to its end. An answer of any status is one.
    pub async fn send(&self, request: Request, bounds: &Bounds) -> Result<Response, SendError> {
        let deadline = Instant::now() + bounds.timeout;
        match tokio::time::timeout_at(deadline, self.follow(request, bounds, deadline)).await {
            Ok(result) => result,
            Err(_) => Err(SendError::Timeout(bounds.timeout)),
        }
    }

    /// Sends it, and again to where redirects lead.
    async fn follow(
        &self,
        mut request: Request,
        bounds: &Bounds,
        deadline: Instant,
    ) -> Result<Response, SendError> {
        let mut origin = Origin::Same;
        for _ in 0..=REDIRECTS_MAX {
            let response = self.once(&request, origin, bounds, deadline).await?;
            let Some(next) = self.next(&request, &response)? else { return Ok(response) };
            if !next.is_same_origin(&request.url) {
                origin = Origin::Another;
                let known = |name: &HeaderName| EVERYWHERE.contains(name);
                let names: Vec<HeaderName> =
                    request.headers.keys().filter(|name| !known(name)).cloned().collect();
                names.iter().for_each(|name| drop(request.headers.remove(name)));
            }
            request.url = next;
        }
        Err(SendError::Redirect("there were more than 10"))
    }

    /// Where an answer leads, if it does and that may be followed.
    fn next(&self, request: &Request, response: &Response) -> Result<Option<Url>, SendError> {
        let is_read = matches!(request.method, Method::GET | Method::HEAD);
        // The others would turn what is sent into a question.
        let is_followed = match response.status {
            301..=303 => is_read,
            307 | 308 => true,
            _ => false,
        };
        if !is_followed || !self.0.config.follow_redirects {
            return Ok(None);
        }
        let location = response.header("location").ok_or(SendError::Redirect("it leads nowhere"))?;
        let next = request.url.join(location).map_err(|_| SendError::Redirect("it leads to no URL"))?;
        if next.host() != request.url.host() {
            return Err(SendError::Redirect("it leads to another host"));
        }
        if request.url.scheme() == Scheme::Https && next.scheme() == Scheme::Http {
            return Err(SendError::Redirect("it leads out of TLS"));
        }
        Ok(Some(if next.is_same_origin(&request.url) { next } else { next.without_user() }))
    }

    /// One request, one answer.
    async fn once(
        &self,
        request: &Request,
        origin: Origin,
        bounds: &Bounds,
        deadline: Instant,
    ) -> Result<Response, SendError> {
        if request.url.scheme() == Scheme::Socks5 {
            return Err(SendError::Redirect("socks5 is for proxies"));
        }
        let headers = self.headers(request, origin)?;
        let place = Place::of(&request.url);
        // Looked at also when no connection is opened: a changed certificate ends those that wait.
        let tls = self.tls_for(&request.url)?;
        let age = self.0.pool.age();
        let waiting = self.0.pool.take(&place, self.0.clock.monotonic());
        let mut answered = None;
        if let Some(connection) = waiting {
            let first = self.exchange(connection, &place, request, headers.clone(), bounds, deadline).await;
            answered = Some(first).filter(|first| !matches!(first, Err(Failure::Stale(_))));
        }
        // What came to nothing on a connection that waited is tried once more, on a fresh one.
        let answered = match answered {
            Some(answered) => answered,
            None => {
                let connection =
                    Connection::new(self.connect(&request.url, bounds.unreadable, tls).await?, age);
                self.exchange(connection, &place, request, headers, bounds, deadline).await
            }
        };
        match answered {
            Ok(response) => {
                if response.status == 401 || response.status == 403 {
                    self.0.credentials.doubt();
                }
                Ok(response)
            }
            Err(Failure::Stale(message)) => Err(SendError::broken(&request.url, message)),
            Err(Failure::Error(error)) => Err(error),
        }
    }

    async fn connect(
        &self,
        url: &Url,
        unreadable: Unreadable,
        tls: Option<Arc<ClientConfig>>,
    ) -> Result<Sender, SendError> {
        let inner = &self.0;
        let proxy = inner.proxies.of(url);
        let route = Route {
            reach: &inner.reach,
            proxy,
            connect_headers: &inner.connect_headers,
            server_name: &inner.config.tls_config.server_name,
        };
        let opened = connect::open(url, &route, tls).await?;
        let io = TokioIo::new(opened.stream);
        let failed = |error: hyper::Error| SendError::broken_by(url, &error);
        // What ends a connection shows at its sender, so its task has nothing to say.
        if opened.is_http2 {
            let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
            builder.timer(TokioTimer::new());
            builder.keep_alive_interval(SIGN_OF_LIFE.0).keep_alive_timeout(SIGN_OF_LIFE.1);
            let (sender, connection) =
                builder.max_header_list_size(64 << 10).handshake(io).await.map_err(failed)?;
            tokio::spawn(async { drop(connection.await) });
            return Ok(Sender::Two(sender));
        }
        let mut builder = hyper::client::conn::http1::Builder::new();
        match unreadable {
            Unreadable::Refused => builder.read_buf_exact_size(Some(READ_BUFFER_BYTES)),
            Unreadable::Cut => builder.max_buf_size(READ_BUFFER_BYTES_MAX),
        };
        let (sender, connection) = builder.handshake(io).await.map_err(failed)?;
        tokio::spawn(async { drop(connection.await) });
        Ok(Sender::One(sender))
    }

    /// What a connection to `url` needs for TLS, if it does. When that has changed, none that was opened before is kept.
    fn tls_for(&self, url: &Url) -> Result<Option<Arc<ClientConfig>>, SendError> {
        let is_secure = |url: &Url| url.scheme() == Scheme::Https;
        if is_secure(url) || self.0.proxies.of(url).is_some_and(is_secure) {
            self.tls().map(Some)
        } else {
            Ok(None)
        }
    }

    fn tls(&self) -> Result<Arc<ClientConfig>, SendError> {
        let config = &self.0.config;
        let protocols: &[&[u8]] = if config.enable_http2 { &[b"h2", b"http/1.1"] } else { &[b"http/1.1"] };
        let make = || crate::trust::client(&config.tls_config, protocols);
        let (tls, fresh) = self.0.tls.get(self.0.clock.monotonic(), make)?;
        if fresh == Fresh::Made {
            self.0.pool.clear();
        }
        Ok(tls)
    }

    /// The headers of a request with what the configuration adds where it was meant to go.
    fn headers(&self, request: &Request, origin: Origin) -> Result<HeaderMap, SendError> {
        let mut headers = request.headers.clone();
        headers.entry(header::USER_AGENT).or_insert(USER_AGENT);
        if origin == Origin::Same {
            self.0.credentials.add(&request.url, self.0.clock.monotonic(), &mut headers)?;
        }
        Ok(headers)
    }

    /// Sends over a connection, reads the answer, and gives the connection back.
    async fn exchange(
        &self,
        mut connection: Connection,
        place: &Place,
        request: &Request,
        headers: HeaderMap,
        bounds: &Bounds,
        deadline: Instant,
    ) -> Result<Response, Failure> {
        let is_read = matches!(request.method, Method::GET | Method::HEAD);
        let failed = |error: hyper::Error| {
            let unsent = error.is_canceled() || error.is_closed() || is_refused(&error);
            // A server that closes an idle connection may cross a request; only a question can be asked again.
            let crossed = error.is_incomplete_message() || is_closing(&error);
            if unsent || (is_read && crossed) {
                Failure::Stale(error::whole(&error))
            } else {
                Failure::Error(SendError::broken_by(&request.url, &error))
            }
        };
        // Whoever gives up waiting drops this half way; the next request shall not wait at the same place.
        let leaving = self.0.pool.leaving(place, &connection);
        let answer = match &mut connection.sender {
            Sender::One(one) => {
                let ready = tokio::time::timeout(READY, one.ready()).await;
                match ready {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => return Err(Failure::Stale(error::whole(&error))),
                    Err(_) => return Err(Failure::Stale("the connection takes no request".to_owned())),
                }
                let message = self.message(request, headers)?;
                one.send_request(message).await.map_err(failed)?
            }
            Sender::Two(two) => {
                two.ready().await.map_err(|error| Failure::Stale(error::whole(&error)))?;
                let message = message_of_http2(request, headers)?;
                two.send_request(message).await.map_err(failed)?
            }
        };
        let (head, mut body) = answer.into_parts();
        let status_counts = bounds.unreadable == Unreadable::Cut || !head.status.is_success();
        let limit = bounds.body_bytes_max;
        if !status_counts && body::is_declared_over(&body, limit) {
            return Err(SendError::TooBig { limit }.into());
        }
        let mut wire = Wire::default();
        let reading = wire.read(&mut body, &request.url, limit);
        let read = if status_counts {
            let now = Instant::now();
            let patience = now + deadline.saturating_duration_since(now) / 2;
            tokio::time::timeout_at(patience, reading)
                .await
                .unwrap_or(Err(SendError::Timeout(bounds.timeout)))
        } else {
            reading.await
        };
        let is_whole = read.is_ok();
        if is_whole {
            leaving.stay();
            self.0.pool.give(place, connection, self.0.clock.monotonic());
        } else if !status_counts {
            read?;
        }
        let wire = wire.bytes();
        let wire_bytes = wire.len();
        let (body, is_cut) = match body::unpacked(&head.headers, wire.clone(), bounds.inflated_bytes_max) {
            Ok(body) => (body, !is_whole),
            Err(error) if !status_counts => return Err(error.into()),
            Err(_) => (wire.slice(..wire.len().min(bounds.inflated_bytes_max)), true),
        };
        Ok(Response { status: head.status.as_u16(), headers: head.headers, body, is_cut, wire_bytes })
    }

    /// A request as HTTP/1 writes it: what is wanted from a server is a path, from a proxy a whole URL.
    fn message(
        &self,
        request: &Request,
        headers: HeaderMap,
    ) -> Result<http::Request<Full<Bytes>>, SendError> {
        let url = &request.url;
        let host = header_value("Host", &url.authority())?;
        let plain_proxy = self
            .0
            .proxies
            .of(url)
            .filter(|proxy| url.scheme() == Scheme::Http && proxy.scheme() != Scheme::Socks5);
        let target = match plain_proxy {
            Some(_) => format!("http://{}{}", url.authority(), url.path_and_query()),
            None => url.path_and_query().to_owned(),
        };
        let mut message = message_to(request, &target, headers)?;
        message.headers_mut().insert(header::HOST, host);
        if let Some(credentials) = plain_proxy.and_then(Url::basic_auth) {
            let value = sensitive("Proxy-Authorization", credentials.reveal())?;
            message.headers_mut().insert(header::PROXY_AUTHORIZATION, value);
        }
        Ok(message)
    }
}

/// Whether a server says that it did nothing about a request over HTTP/2: it refused the stream, or it leaves in good
/// order and the stream is one that it did not look at any more (RFC 9113 6.8, 8.7).
fn is_refused(error: &hyper::Error) -> bool {
    cause::<h2::Error>(error).is_some_and(|error| {
        let is_in_order = error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR);
        error.is_remote() && (is_in_order || error.reason() == Some(h2::Reason::REFUSED_STREAM))
    })
}

/// Whether a connection ended: it broke, or its server leaves.
fn is_closing(error: &hyper::Error) -> bool {
    cause::<std::io::Error>(error).is_some()
        || cause::<h2::Error>(error).is_some_and(|error| error.is_io() || error.is_go_away())
}

fn cause<E: std::error::Error + 'static>(error: &hyper::Error) -> Option<&E> {
    std::error::Error::source(error)?.downcast_ref()
}

fn message_of_http2(
    request: &Request,
    mut headers: HeaderMap,
) -> Result<http::Request<Full<Bytes>>, SendError> {
    let url = &request.url;
    headers.remove(header::HOST);
    let target = format!("{}://{}{}", url.scheme().as_str(), url.authority(), url.path_and_query());
    message_to(request, &target, headers)
}

fn message_to(
    request: &Request,
    target: &str,
    headers: HeaderMap,
) -> Result<http::Request<Full<Bytes>>, SendError> {
    let mut message = http::Request::new(Full::new(request.body.clone()));
    *message.method_mut() = request.method.clone();
    *message.uri_mut() =
        target.parse().map_err(|_| SendError::broken(&request.url, "its path cannot be sent".to_owned()))?;
    *message.headers_mut() = headers;
    Ok(message)
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("config", &self.0.config).finish_non_exhaustive()
    }
}
