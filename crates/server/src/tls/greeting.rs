//! One handshake: what the client asks for decides with what it is greeted.
//!
//! The authority that validates a name asks for the protocol `acme-tls/1` alone (RFC 8737). It is shown the answer to
//! its challenge and nothing else, it need not show a certificate itself, and the connection ends there.

use std::sync::Arc;

use rustls::server::Acceptor;
use rustls::server::ClientHello;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_rustls::LazyConfigAcceptor;

use super::{Failure, Opened, Tls, certificate};

/// The protocol of a validation.
const ACME: &[u8] = b"acme-tls/1";

/// What came of a handshake.
#[derive(Debug)]
pub enum Greeting<S> {
    /// HTTP may begin.
    Open {
        /// The stream.
        stream: Opened<S>,
        /// The name that the client asked for.
        name: Option<Arc<str>>,
    },
    /// A challenge was answered, and the connection has ended.
    Challenge,
}

pub(super) async fn greet<S>(tls: &Tls, stream: S) -> Result<Greeting<S>, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
    let hello = start.client_hello();
    let name: Option<Arc<str>> = hello.server_name().map(|name| name.to_ascii_lowercase().into());
    if validates(&hello) {
        let config = tls.acme().and_then(|acme| acme.challenges().answer(name.as_deref()?));
        // Without an answer to the question the handshake fails as for any name that is not known here.
        let answered = config.is_some();
        let config = config.unwrap_or_else(|| tls.live.load_full());
        let mut stream = start.into_stream(config).await.map_err(|error| named(error, answered))?;
        let _ = stream.shutdown().await;
        return Ok(Greeting::Challenge);
    }
    let has_certificate = tls.acme().is_none_or(|acme| acme.held().shown(name.as_deref()).is_some());
    let accept = start.into_stream_with(tls.live.load_full(), certificate::prepare);
    let stream = accept.await.map_err(|error| named(error, has_certificate))?;
    Ok(Greeting::Open { stream: Box::new(stream), name })
}

fn validates(hello: &ClientHello<'_>) -> bool {
    hello.alpn().is_some_and(|mut protocols| protocols.next() == Some(ACME) && protocols.next().is_none())
}

/// What failed, by its cause: that there is no certificate is no error of its own to rustls.
fn named(error: std::io::Error, has_certificate: bool) -> Failure {
    match Failure::from(error) {
        Failure::Tls(rustls::Error::General(_) | rustls::Error::NoApplicationProtocol)
            if !has_certificate =>
        {
            Failure::NoCertificate
        }
        failure => failure,
    }
}
