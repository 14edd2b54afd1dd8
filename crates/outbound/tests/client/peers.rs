//! Small servers that answer what a test says, over TCP or TLS.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use env::{Clock, Env};
use outbound::{Bounds, Client, HttpConfig, Reach, Request, Response, SendError, Unreadable, Url};
use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, KeyPair, SanType};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// A clock that stands until it is moved.
#[derive(Debug, Default)]
pub(crate) struct StandingClock(AtomicUsize);

impl StandingClock {
    pub(crate) fn advance(&self, time: Duration) {
        self.0.fetch_add(usize::try_from(time.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for StandingClock {
    fn now_ms(&self) -> i64 {
        0
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::SeqCst) as u64)
    }
}

/// What a server got and gives.
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    /// Connections that were made.
    pub(crate) connections: Arc<AtomicUsize>,
    /// Requests: head and body.
    pub(crate) requests: Arc<Mutex<Vec<String>>>,
}

impl Peer {
    /// Answers each request with what `answer` makes of it; an empty answer closes the connection.
    pub(crate) async fn new(answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::listen(None, answer).await
    }

    pub(crate) async fn listen(
        tls: Option<Arc<rustls::ServerConfig>>,
        answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = Self {
            address: listener.local_addr().unwrap(),
            connections: Arc::default(),
            requests: Arc::default(),
        };
        let (connections, requests) = (Arc::clone(&peer.connections), Arc::clone(&peer.requests));
        let answer = Arc::new(answer);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.fetch_add(1, Ordering::SeqCst);
                let (answer, requests, tls) = (Arc::clone(&answer), Arc::clone(&requests), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, &*answer, &requests).await,
                        Some(tls) => {
                            // A client that does not like the certificate is gone.
                            if let Ok(stream) = TlsAcceptor::from(tls).accept(stream).await {
                                serve(stream, &*answer, &requests).await;
                            }
                        }
                    }
                });
            }
        });
        peer
    }

    pub(crate) fn url(&self, path: &str) -> Url {
        Url::parse(&format!("http://{}{path}", self.address)).unwrap()
    }

    pub(crate) fn https(&self, host: &str, path: &str) -> Url {
        Url::parse(&format!("https://{host}:{}{path}", self.address.port())).unwrap()
    }

    pub(crate) fn seen(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    answer: &(impl Fn(&str) -> Vec<u8> + ?Sized),
    requests: &Mutex<Vec<String>>,
) {
    let mut bytes = Vec::new();
    loop {
        let head = loop {
            if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                return;
            }
        };
        let text = String::from_utf8(bytes[..head].to_vec()).unwrap();
        let lower = text.to_ascii_lowercase();
        let length = lower
            .split("content-length: ")
            .nth(1)
            .map_or(0, |rest| rest.split("\r\n").next().unwrap().parse::<usize>().unwrap());
        while bytes.len() < head + length {
            if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let request = String::from_utf8(bytes.drain(..head + length).collect()).unwrap();
        requests.lock().unwrap().push(request.clone());
        let answer = answer(&request);
        if answer.is_empty() || stream.write_all(&answer).await.is_err() {
            return;
        }
        // What a server says about the end of a connection it does.
        if String::from_utf8_lossy(&answer).contains("X-Then: close") {
            return;
        }
        if String::from_utf8_lossy(&answer).contains("X-Then: endless") {
            while stream.write_all(&[b'x'; 4096]).await.is_ok() {}
            return;
        }
        if String::from_utf8_lossy(&answer).contains("X-Then: wait") {
            std::future::pending::<()>().await;
        }
    }
}

/// An answer with headers, each with its line's end, and a body.
pub(crate) fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

pub(crate) const BOUNDS: Bounds = Bounds {
    timeout: Duration::from_secs(20),
    body_bytes_max: 1 << 20,
    inflated_bytes_max: 1 << 20,
    unreadable: Unreadable::Refused,
};

pub(crate) fn client(change: impl FnOnce(&mut HttpConfig)) -> Client {
    client_with(&Env::real(), change)
}

pub(crate) fn client_with(env: &Env, change: impl FnOnce(&mut HttpConfig)) -> Client {
    let mut config = HttpConfig::default();
    change(&mut config);
    Client::new(&config, Reach::Anything, env).unwrap()
}

pub(crate) async fn get(client: &Client, url: Url) -> Result<Response, SendError> {
    client.send(Request::get(url), &BOUNDS).await
}

/// An authority and what it signs.
pub(crate) struct Authority {
    certificate: Certificate,
    issuer: rcgen::Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self { certificate, issuer: rcgen::Issuer::new(params, key) }
    }

    pub(crate) fn pem(&self) -> String {
        self.certificate.pem()
    }

    /// A certificate for a name, as PEM, with its key.
    pub(crate) fn sign(&self, name: &str) -> (String, String) {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.subject_alt_names = vec![match name.parse() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName(name.try_into().unwrap()),
        }];
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    /// How a server of this name speaks TLS; with `clients`, only with whom they signed.
    pub(crate) fn server(
        &self,
        name: &str,
        clients: Option<&Authority>,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> rustls::ServerConfig {
        use rustls::pki_types::pem::PemObject;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .unwrap();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = rustls::RootCertStore::empty();
                roots.add(authority.certificate.der().clone()).unwrap();
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let (cert, key) = self.sign(name);
        let cert = rustls::pki_types::CertificateDer::from_pem_slice(cert.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        builder.with_single_cert(vec![cert], key).unwrap()
    }
}
