//! HTTP to the authority: one request on a connection, HTTPS only, with bounds on time and bytes.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Limited};
use hyper_util::rt::TokioIo;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::tls::certificate::{Now, provider};

const TIME_MAX: Duration = Duration::from_secs(30);
const BYTES_MAX: usize = 1 << 20;
/// Longest pause that the authority may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(7 * 86_400);

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Asks the authority. Cheap to clone.
#[derive(Clone)]
pub(super) struct Client {
    tls: TlsConnector,
    /// How long the authority last asked for patience.
    retry_after: Arc<Mutex<Option<Duration>>>,
}

impl Client {
    /// Believes servers whose certificates `roots` signed.
    pub(super) fn new(env: &env::Env, roots: RootCertStore) -> Self {
        let mut config = ClientConfig::builder_with_details(provider(), Arc::new(Now(env.clone())))
            .with_safe_default_protocol_versions()
            .expect("the provider has suites for both versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self { tls: TlsConnector::from(Arc::new(config)), retry_after: Arc::default() }
    }

    /// How long the authority asked for patience since this was last asked for.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        self.retry_after.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    async fn exchange(self, request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, BoxError> {
        let (mut parts, body) = request.into_parts();
        let authority = parts.uri.authority().cloned().ok_or("a URL without a host")?;
        if parts.uri.scheme_str() != Some("https") {
            return Err("the authority names a URL that is not https".into());
        }
        // As an address of version 6 stands in a URL.
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let tcp = TcpStream::connect((host.as_str(), authority.port_u16().unwrap_or(443))).await?;
        let stream = self.tls.connect(ServerName::try_from(host)?, tcp).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // It ends with the answer, or with this exchange.
        tokio::spawn(connection);
        parts.headers.insert(header::HOST, authority.as_str().parse()?);
        parts.headers.insert(header::CONNECTION, http::HeaderValue::from_static("close"));
        parts.uri = parts.uri.path_and_query().cloned().map_or_else(|| Uri::from_static("/"), Uri::from);
        let answer = sender.send_request(Request::from_parts(parts, body)).await?;
        let (parts, body) = answer.into_parts();
        if matches!(parts.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            let seconds =
                parts.headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
            let pause = seconds.map(|seconds| Duration::from_secs(seconds).min(RETRY_AFTER_MAX));
            *self.retry_after.lock().unwrap_or_else(PoisonError::into_inner) = pause;
        }
        let body = Limited::new(body, BYTES_MAX).collect().await?.to_bytes();
        Ok(BytesResponse { parts, body: Box::new(body) })
    }
}

impl HttpClient for Client {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let exchange = self.clone().exchange(request);
        Box::pin(async move {
            match timeout(TIME_MAX, exchange).await {
                Ok(result) => result.map_err(Error::Other),
                Err(_) => Err(Error::Other(io::Error::from(io::ErrorKind::TimedOut).into())),
            }
        })
    }
}
