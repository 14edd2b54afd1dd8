//! The client: one for each configuration, shared by whoever sends with it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use codec::inflate::{Encoding, inflate};
use env::{Clock, Env};
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;

use crate::config::{ConfigError, HttpConfig};
use crate::connect::{self, Route};
use crate::error::SendError;
use crate::given::{self, Fresh, Given};
use crate::pool::{Place, Pool, Sender};
use crate::proxy::Proxies;
use crate::reach::Reach;
use crate::request::{Bounds, Request, Response};
use crate::secret::Secret;
use crate::url::{self, Scheme, Url};

/// So many redirects are followed.
const REDIRECTS_MAX: usize = 10;

/// A connection's buffer for reading; 10,000 idle connections hold one each. An answer's headers must fit it.
const READ_BUFFER_BYTES: usize = 8 << 10;

/// A connection that was just given back may need a moment.
const READY: Duration = Duration::from_secs(1);

/// Headers that go along when a redirect leaves the origin; any other may be a credential.
const EVERYWHERE: [HeaderName; 6] = [
    header::ACCEPT,
    header::ACCEPT_ENCODING,
    header::USER_AGENT,
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    HeaderName::from_static("x-prometheus-scrape-timeout-seconds"),
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
    authorization: Given<Option<HeaderValue>>,
    headers: Given<Arc<[(HeaderName, HeaderValue)]>>,
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
        let files = |config: &HttpConfig| {
            let basic = config.basic_auth.iter();
            let basic = basic.flat_map(|basic| [basic.username_file.clone(), basic.password_file.clone()]);
            let other = config.authorization.iter().map(|other| other.credentials_file.clone());
            basic.chain(other).chain([config.bearer_token_file.clone()]).flatten().collect()
        };
        let tls = &config.tls_config;
        let tls_files = [&tls.ca_file, &tls.cert_file, &tls.key_file];
        let header_files = config.http_headers.values().flat_map(|values| values.files.iter().cloned());
        let connect_headers = config.proxy_connect_header.iter();
        Ok(Self(Arc::new(Inner {
            proxies: Proxies::new(config, |name| std::env::var(name).ok()),
            connect_headers: connect_headers
                .flat_map(|(name, values)| values.iter().map(|value| (name.clone(), value.clone())))
                .collect(),
            pool: Pool::default(),
            authorization: Given::new(files(config)),
            headers: Given::new(header_files.collect()),
            tls: Given::new(tls_files.into_iter().flatten().cloned().collect()),
            config: config.clone(),
            reach,
            clock: Arc::clone(&env.clock),
        })))
    }

    /// Sends a request and reads the answer to its end. An answer of any status is one.
    pub async fn send(&self, request: Request, bounds: &Bounds) -> Result<Response, SendError> {
        match tokio::time::timeout(bounds.timeout, self.follow(request, bounds)).await {
            Ok(result) => result,
            Err(_) => Err(SendError::Timeout(bounds.timeout)),
        }
    }

    /// Sends it, and again to where redirects lead.
    async fn follow(&self, mut request: Request, bounds: &Bounds) -> Result<Response, SendError> {
        let mut origin = Origin::Same;
        for _ in 0..=REDIRECTS_MAX {
            let response = self.once(&request, origin, bounds).await?;
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
    async fn once(&self, request: &Request, origin: Origin, bounds: &Bounds) -> Result<Response, SendError> {
        if request.url.scheme() == Scheme::Socks5 {
            return Err(SendError::Redirect("socks5 is for proxies"));
        }
        let headers = self.headers(request, origin)?;
        let place = Place::of(&request.url);
        loop {
            let waiting = self.0.pool.take(&place, self.0.clock.monotonic());
            let is_reused = waiting.is_some();
            let sender = match waiting {
                Some(sender) => sender,
                None => self.connect(&request.url).await?,
            };
            let answered = self.exchange(sender, &place, request, headers.clone(), bounds).await;
            match answered {
                Ok(response) => {
                    if response.status == 401 || response.status == 403 {
                        self.0.authorization.doubt();
                    }
                    return Ok(response);
                }
                Err(Failure::Stale(_)) if is_reused => {}
                Err(Failure::Stale(message)) => return Err(broken(&request.url, message)),
                Err(Failure::Error(error)) => return Err(error),
            }
        }
    }

    async fn connect(&self, url: &Url) -> Result<Sender, SendError> {
        let inner = &self.0;
        let proxy = inner.proxies.of(url);
        let needs_tls =
            url.scheme() == Scheme::Https || proxy.is_some_and(|proxy| proxy.scheme() == Scheme::Https);
        let tls = if needs_tls { Some(self.tls()?) } else { None };
        let route = Route {
            reach: &inner.reach,
            proxy,
            connect_headers: &inner.connect_headers,
            server_name: &inner.config.tls_config.server_name,
        };
        let opened = connect::open(url, &route, tls).await?;
        let io = TokioIo::new(opened.stream);
        let failed = |error: hyper::Error| broken(url, error.to_string());
        // What ends a connection shows at its sender, so its task has nothing to say.
        if opened.is_http2 {
            let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
            let (sender, connection) =
                builder.max_header_list_size(64 << 10).handshake(io).await.map_err(failed)?;
            tokio::spawn(async { drop(connection.await) });
            return Ok(Sender::Two(sender));
        }
        let mut builder = hyper::client::conn::http1::Builder::new();
        builder.read_buf_exact_size(Some(READ_BUFFER_BYTES));
        let (sender, connection) = builder.handshake(io).await.map_err(failed)?;
        tokio::spawn(async { drop(connection.await) });
        Ok(Sender::One(sender))
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

    /// The headers of a request with what the configuration adds.
    fn headers(&self, request: &Request, origin: Origin) -> Result<HeaderMap, SendError> {
        let mut headers = request.headers.clone();
        headers.entry(header::USER_AGENT).or_insert(USER_AGENT);
        if origin == Origin::Another {
            return Ok(headers);
        }
        let now = self.0.clock.monotonic();
        let (own, _) = self.0.headers.get(now, || self.own_headers())?;
        for (name, value) in own.iter() {
            headers.append(name, value.clone());
        }
        if headers.contains_key(header::AUTHORIZATION) {
            return Ok(headers);
        }
        let authorization = match request.url.basic_auth() {
            Some(basic) => Some(sensitive("Authorization", basic.reveal())?),
            None => self.0.authorization.get(now, || self.authorization())?.0,
        };
        if let Some(value) = authorization {
            headers.insert(header::AUTHORIZATION, value);
        }
        Ok(headers)
    }

    fn own_headers(&self) -> Result<Arc<[(HeaderName, HeaderValue)]>, SendError> {
        let mut own = Vec::new();
        for (name, values) in &self.0.config.http_headers {
            let parsed: HeaderName = name.parse().map_err(|_| SendError::Header(name.clone()))?;
            for value in &values.values {
                let value = HeaderValue::from_str(value).map_err(|_| SendError::Header(name.clone()))?;
                own.push((parsed.clone(), value));
            }
            for secret in &values.secrets {
                own.push((parsed.clone(), sensitive(name, secret.reveal())?));
            }
            for file in &values.files {
                own.push((parsed.clone(), sensitive(name, &given::text(file)?)?));
            }
        }
        Ok(own.into())
    }

    /// The value of `Authorization`, from the configuration or from files.
    fn authorization(&self) -> Result<Option<HeaderValue>, SendError> {
        let config = &self.0.config;
        let text = |inline: Option<&str>, file: Option<&std::path::Path>| match (inline, file) {
            (Some(text), _) => Ok(text.to_owned()),
            (None, Some(path)) => given::text(path),
            (None, None) => Ok(String::new()),
        };
        let revealed = |secret: &'_ Option<Secret>| secret.as_ref().map(|secret| secret.reveal().clone());
        let value = if let Some(basic) = &config.basic_auth {
            let user = Some(basic.username.as_str()).filter(|user| !user.is_empty());
            let user = text(user, basic.username_file.as_deref())?;
            let password = text(revealed(&basic.password).as_deref(), basic.password_file.as_deref())?;
            url::basic(&user, &password)
        } else if let Some(other) = &config.authorization {
            let credentials =
                text(revealed(&other.credentials).as_deref(), other.credentials_file.as_deref())?;
            let kind = Some(other.kind.trim()).filter(|kind| !kind.is_empty()).unwrap_or("Bearer");
            Secret::new(format!("{kind} {credentials}"))
        } else if config.bearer_token.is_some() || config.bearer_token_file.is_some() {
            let token = text(revealed(&config.bearer_token).as_deref(), config.bearer_token_file.as_deref())?;
            Secret::new(format!("Bearer {token}"))
        } else {
            return Ok(None);
        };
        sensitive("Authorization", value.reveal()).map(Some)
    }

    /// Sends over a connection, reads the answer, and gives the connection back.
    async fn exchange(
        &self,
        sender: Sender,
        place: &Place,
        request: &Request,
        headers: HeaderMap,
        bounds: &Bounds,
    ) -> Result<Response, Failure> {
        let is_read = matches!(request.method, Method::GET | Method::HEAD);
        let failed = |error: hyper::Error| {
            let unsent = error.is_canceled() || error.is_closed();
            // A server that closes an idle connection may cross a request; only a question can be asked again.
            let crossed = error.is_incomplete_message() || std::error::Error::source(&error).is_some();
            if unsent || (is_read && crossed) {
                Failure::Stale(error.to_string())
            } else {
                Failure::Error(broken(&request.url, error.to_string()))
            }
        };
        let (answer, sender) = match sender {
            Sender::One(mut one) => {
                let ready = tokio::time::timeout(READY, one.ready()).await;
                if !matches!(ready, Ok(Ok(()))) {
                    return Err(Failure::Stale("the connection takes no request".to_owned()));
                }
                let message = self.message(request, headers)?;
                (one.send_request(message).await.map_err(failed)?, Sender::One(one))
            }
            Sender::Two(mut two) => {
                two.ready().await.map_err(|error| Failure::Stale(error.to_string()))?;
                let message = message_of_http2(request, headers)?;
                (two.send_request(message).await.map_err(failed)?, Sender::Two(two))
            }
        };
        let (head, body) = answer.into_parts();
        let wire = read(body, &request.url, bounds.body_bytes_max).await?;
        self.0.pool.give(place, sender, self.0.clock.monotonic());
        let wire_bytes = wire.len();
        let body = unpacked(&head.headers, wire, bounds.inflated_bytes_max)?;
        Ok(Response { status: head.status.as_u16(), headers: head.headers, body, wire_bytes })
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
        target.parse().map_err(|_| broken(&request.url, "its path cannot be sent".to_owned()))?;
    *message.headers_mut() = headers;
    Ok(message)
}

/// Reads a body, up to `limit` bytes.
async fn read(mut body: Incoming, url: &Url, limit: usize) -> Result<Bytes, SendError> {
    let declared = hyper::body::Body::size_hint(&body).lower();
    if usize::try_from(declared).map_or(true, |declared| declared > limit) {
        return Err(SendError::TooBig { limit });
    }
    let mut first = Bytes::new();
    let mut all: Vec<u8> = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| broken(url, error.to_string()))?;
        let Ok(data) = frame.into_data() else { continue };
        if first.len() + all.len() + data.len() > limit {
            return Err(SendError::TooBig { limit });
        }
        if first.is_empty() && all.is_empty() {
            first = data;
            continue;
        }
        if all.is_empty() {
            all.reserve(usize::try_from(declared).unwrap_or(0).max(first.len() + data.len()));
            all.extend_from_slice(&first);
            first = Bytes::new();
        }
        all.extend_from_slice(&data);
    }
    // A single frame is a part of the connection's buffer, which it would keep from being used again.
    Ok(if all.is_empty() { Bytes::copy_from_slice(&first) } else { all.into() })
}

/// The body as its `Content-Encoding` says that it is packed.
fn unpacked(headers: &HeaderMap, wire: Bytes, limit: usize) -> Result<Bytes, SendError> {
    let name = headers.get(header::CONTENT_ENCODING).map_or(Ok("identity"), |value| value.to_str());
    let name = name.map_err(|_| SendError::Encoding("is no text".to_owned()))?.trim();
    let known = match Encoding::from_name(name) {
        _ if name.is_empty() => Some(Encoding::Identity),
        Some(Encoding::Snappy) => None,
        known => known,
    };
    let Some(encoding) = known else {
        return Err(SendError::Encoding(format!("unknown {:?}", model::labels::truncated(name))));
    };
    if wire.is_empty() || encoding == Encoding::Identity {
        return if wire.len() > limit { Err(SendError::TooBig { limit }) } else { Ok(wire) };
    }
    let mut body = Vec::new();
    inflate(encoding, &wire, limit, &mut body)?;
    Ok(body.into())
}

fn broken(url: &Url, message: String) -> SendError {
    SendError::Broken { host: url.host_and_port(), message }
}

fn header_value(name: &str, value: &str) -> Result<HeaderValue, SendError> {
    HeaderValue::from_str(value).map_err(|_| SendError::Header(name.to_owned()))
}

/// A value that hyper and whoever logs headers keep to themselves.
fn sensitive(name: &str, value: &str) -> Result<HeaderValue, SendError> {
    let mut value = header_value(name, value)?;
    value.set_sensitive(true);
    Ok(value)
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("config", &self.0.config).finish_non_exhaustive()
    }
}
