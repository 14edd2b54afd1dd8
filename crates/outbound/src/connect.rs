//! From a URL to a stream of bytes: names, addresses, proxies, TLS.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::error::SendError;
use crate::reach::Reach;
use crate::secret::Secret;
use crate::url::{Scheme, Url};

/// An address that does not answer is given up for the next one after this; the last one has all the time there is.
const ATTEMPT: Duration = Duration::from_secs(3);

/// Bytes of what a proxy answers to CONNECT.
const PROXY_HEAD_MAX: usize = 8 << 10;

/// What bytes go through.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// How a client connects.
pub(crate) struct Route<'a> {
    /// Whom it may reach.
    pub reach: &'a Reach,
    /// The proxy, if there is one for this URL.
    pub proxy: Option<&'a Url>,
    /// Headers for the proxy.
    pub connect_headers: &'a [(String, Secret)],
    /// The name that the server's certificate must have, if not the host's.
    pub server_name: &'a str,
}

/// An open stream.
pub(crate) struct Opened {
    pub stream: Box<dyn Stream>,
    /// Whether both sides agreed on HTTP/2.
    pub is_http2: bool,
}

/// Connects to where `url` lies. `tls` is for the server, and for a proxy over https.
pub(crate) async fn open(
    url: &Url,
    route: &Route<'_>,
    tls: Option<Arc<ClientConfig>>,
) -> Result<Opened, SendError> {
    let stream: Box<dyn Stream> = match route.proxy {
        None => Box::new(dial(url.host(), url.port(), route.reach).await?),
        Some(proxy) => {
            let stream = dial(proxy.host(), proxy.port(), route.reach).await?;
            through(stream, proxy, url, route, tls.clone()).await?
        }
    };
    match (url.scheme(), tls) {
        (Scheme::Https, Some(tls)) => {
            let name = if route.server_name.is_empty() { url.host() } else { route.server_name };
            let stream = secured(stream, name, tls).await?;
            let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            Ok(Opened { stream: Box::new(stream), is_http2 })
        }
        _ => Ok(Opened { stream, is_http2: false }),
    }
}

/// Connects to a host: its addresses are asked for once, and only those that may be reached are tried, in their order.
async fn dial(host: &str, port: u16, reach: &Reach) -> Result<TcpStream, SendError> {
    let resolve = |error| SendError::Resolve { host: host.to_owned(), error };
    let addresses: Vec<SocketAddr> = match host.parse::<IpAddr>() {
        Ok(address) => vec![SocketAddr::new(address, port)],
        Err(_) => tokio::net::lookup_host((host, port)).await.map_err(resolve)?.collect(),
    };
    let allowed: Vec<SocketAddr> =
        addresses.iter().copied().filter(|address| reach.allows(address.ip())).collect();
    let Some((last, first)) = allowed.split_last() else {
        return Err(match addresses.first() {
            Some(_) => SendError::Unreachable { host: host.to_owned() },
            None => resolve(io::Error::new(io::ErrorKind::NotFound, "it has no address")),
        });
    };
    for address in first {
        if let Ok(Ok(stream)) = tokio::time::timeout(ATTEMPT, TcpStream::connect(address)).await {
            return Ok(at_once(stream));
        }
    }
    match TcpStream::connect(last).await {
        Ok(stream) => Ok(at_once(stream)),
        Err(error) => Err(SendError::Connect { address: *last, error }),
    }
}

/// A request goes out when it is written. A socket that does not take the option still works.
fn at_once(stream: TcpStream) -> TcpStream {
    let _ = stream.set_nodelay(true);
    stream
}

async fn secured<S: Stream>(
    stream: S,
    host: &str,
    tls: Arc<ClientConfig>,
) -> Result<tokio_rustls::client::TlsStream<S>, SendError> {
    let failed = |error| SendError::Tls { host: host.to_owned(), error };
    let name = ServerName::try_from(host.to_owned()).map_err(|error| failed(io::Error::other(error)))?;
    TlsConnector::from(tls).connect(name, stream).await.map_err(failed)
}

/// The stream to the server behind a proxy; for plain HTTP over an HTTP proxy that is the stream to the proxy.
async fn through(
    stream: TcpStream,
    proxy: &Url,
    url: &Url,
    route: &Route<'_>,
    tls: Option<Arc<ClientConfig>>,
) -> Result<Box<dyn Stream>, SendError> {
    let failed = |message: String| SendError::Proxy { proxy: proxy.host_and_port(), message };
    let mut stream: Box<dyn Stream> = match (proxy.scheme(), tls) {
        (Scheme::Https, Some(tls)) => {
            // A proxy is spoken to in HTTP/1.
            let mut tls = (*tls).clone();
            tls.alpn_protocols = Vec::new();
            Box::new(secured(stream, proxy.host(), Arc::new(tls)).await?)
        }
        _ => Box::new(stream),
    };
    match (proxy.scheme(), url.scheme()) {
        (Scheme::Socks5, _) => socks(&mut stream, proxy, url).await.map_err(failed)?,
        (_, Scheme::Https) => connect(&mut stream, proxy, url, route).await.map_err(failed)?,
        _ => {}
    }
    Ok(stream)
}

/// Asks an HTTP proxy for a tunnel (RFC 9110 9.3.6).
async fn connect(
    stream: &mut Box<dyn Stream>,
    proxy: &Url,
    url: &Url,
    route: &Route<'_>,
) -> Result<(), String> {
    let target = url.host_and_port();
    let mut head = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
    if let Some(credentials) = proxy.basic_auth() {
        head.push_str(&format!("Proxy-Authorization: {}\r\n", credentials.reveal()));
    }
    for (name, value) in route.connect_headers {
        head.push_str(&format!("{name}: {}\r\n", value.reveal()));
    }
    head.push_str("\r\n");
    let broken = |error: io::Error| error.to_string();
    stream.write_all(head.as_bytes()).await.map_err(broken)?;
    let mut answer = Vec::new();
    // A refusal may have a body, and its connection stay open: what decides is the end of the head.
    let end = loop {
        if let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if answer.len() >= PROXY_HEAD_MAX {
            return Err("its answer is too long".to_owned());
        }
        if stream.read_buf(&mut answer).await.map_err(broken)? == 0 {
            return Err("it closed the connection".to_owned());
        }
    };
    let line = answer.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1)).unwrap_or_default();
    if !status.starts_with('2') || status.len() != 3 {
        return Err(format!("it answers {:?}", model::labels::truncated(&line)));
    }
    // The server speaks only once it is spoken to, so nothing of it can stand behind the head.
    if answer.len() > end { Err("it speaks before the server does".to_owned()) } else { Ok(()) }
}

/// Asks a SOCKS5 proxy for a tunnel (RFC 1928, 1929); names are resolved there.
async fn socks(stream: &mut Box<dyn Stream>, proxy: &Url, url: &Url) -> Result<(), String> {
    const NOT_SOCKS: &str = "it does not speak SOCKS5";
    let broken = |error: io::Error| error.to_string();
    let user = proxy.user();
    let greeting: &[u8] = if user.is_some() { &[5, 2, 0, 2] } else { &[5, 1, 0] };
    stream.write_all(greeting).await.map_err(broken)?;
    let mut chosen = [0; 2];
    stream.read_exact(&mut chosen).await.map_err(broken)?;
    match (chosen, user) {
        ([5, 0], _) => {}
        ([5, 2], Some((name, password))) => {
            let mut message = vec![1];
            for part in [name, password] {
                message.push(u8::try_from(part.len()).map_err(|_| "user or password is too long")?);
                message.extend_from_slice(part.as_bytes());
            }
            stream.write_all(&message).await.map_err(broken)?;
            let mut answer = [0; 2];
            stream.read_exact(&mut answer).await.map_err(broken)?;
            if answer[1] != 0 {
                return Err("it refuses user and password".to_owned());
            }
        }
        ([5, _], _) => return Err("it wants other credentials".to_owned()),
        _ => return Err(NOT_SOCKS.to_owned()),
    }
    let mut request = vec![5, 1, 0];
    match url.host().parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => {
            request.push(1);
            request.extend(address.octets());
        }
        Ok(IpAddr::V6(address)) => {
            request.push(4);
            request.extend(address.octets());
        }
        Err(_) => {
            request.push(3);
            request.push(u8::try_from(url.host().len()).map_err(|_| "the host's name is too long")?);
            request.extend_from_slice(url.host().as_bytes());
        }
    }
    request.extend(url.port().to_be_bytes());
    stream.write_all(&request).await.map_err(broken)?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).await.map_err(broken)?;
    if answer[0] != 5 {
        return Err(NOT_SOCKS.to_owned());
    }
    if answer[1] != 0 {
        return Err(format!("it answers with error {}", answer[1]));
    }
    // The address from which it connects says nothing to us.
    let length = match answer[3] {
        1 => 4,
        4 => 16,
        3 => usize::from(stream.read_u8().await.map_err(broken)?),
        _ => return Err(NOT_SOCKS.to_owned()),
    };
    let mut rest = vec![0; length + 2];
    stream.read_exact(&mut rest).await.map_err(broken)?;
    Ok(())
}
