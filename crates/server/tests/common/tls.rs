//! An authority that signs what a test needs, and the plainest of clients that speaks TLS.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

pub(crate) type Stream = StreamOwned<ClientConnection, TcpStream>;

/// A chain and its key, PEM.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) chain: String,
    pub(crate) key: String,
}

impl Pair {
    /// Writes the two files as an operator's tool does: each is replaced.
    pub(crate) fn write(&self, directory: &Path) -> (PathBuf, PathBuf) {
        let paths = (directory.join("tls.crt"), directory.join("tls.key"));
        for (path, text) in [(&paths.0, &self.chain), (&paths.1, &self.key)] {
            let next = path.with_extension("next");
            std::fs::write(&next, text).unwrap();
            std::fs::rename(next, path).unwrap();
        }
        paths
    }

    /// The certificate itself, as the other side sees it.
    pub(crate) fn certificate(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.chain.as_bytes()).unwrap()
    }
}

/// Signs certificates.
pub(crate) struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    pub(crate) fn new(name: &str) -> Self {
        Self(CertifiedIssuer::self_signed(Self::params(name), KeyPair::generate().unwrap()).unwrap())
    }

    /// An authority that this one signs.
    pub(crate) fn under(&self, name: &str) -> Self {
        Self(CertifiedIssuer::signed_by(Self::params(name), KeyPair::generate().unwrap(), &self.0).unwrap())
    }

    fn params(name: &str) -> CertificateParams {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// As what signs others.
    pub(crate) fn issuer(&self) -> &CertifiedIssuer<'static, KeyPair> {
        &self.0
    }

    pub(crate) fn issue(&self, names: &[&str]) -> Pair {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &self.0).unwrap();
        Pair { chain: certificate.pem(), key: key.serialize_pem() }
    }
}

/// Connects to Weir.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    config: Arc<ClientConfig>,
    /// The name that it asks for.
    pub(crate) name: String,
}

impl Client {
    /// Believes what the authority of `roots` (PEM) signed, and asks for `name`.
    pub(crate) fn new(roots: &str, name: &str) -> Self {
        Self::with(roots, name, None)
    }

    /// As well, and shows a certificate itself.
    pub(crate) fn showing(roots: &str, name: &str, pair: &Pair) -> Self {
        Self::with(roots, name, Some(pair))
    }

    fn with(roots: &str, name: &str, pair: Option<&Pair>) -> Self {
        let mut store = RootCertStore::empty();
        store.add(CertificateDer::from_pem_slice(roots.as_bytes()).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(store);
        let config = match pair {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(vec![pair.certificate()], key).unwrap()
            }
        };
        Self { config: Arc::new(config), name: name.to_owned() }
    }

    /// As it is, but for the name that it asks for.
    pub(crate) fn asking(&self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self.clone() }
    }

    /// As it is, but for the protocols that it offers.
    pub(crate) fn offering(&self, protocols: &[&str]) -> Self {
        let mut config = ClientConfig::clone(&self.config);
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Self { config: Arc::new(config), ..self.clone() }
    }

    /// A connection whose handshake is done.
    pub(crate) fn connect(&self, address: SocketAddr) -> io::Result<Stream> {
        let tcp = TcpStream::connect(address)?;
        tcp.set_read_timeout(Some(Duration::from_secs(20)))?;
        tcp.set_nodelay(true)?;
        let name = ServerName::try_from(self.name.clone()).unwrap();
        let mut stream =
            StreamOwned::new(ClientConnection::new(Arc::clone(&self.config), name).unwrap(), tcp);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(stream)
    }

    /// The certificate that is shown.
    pub(crate) fn shown(&self, address: SocketAddr) -> io::Result<CertificateDer<'static>> {
        Ok(shown_on(&self.connect(address)?))
    }

    /// Sends bytes, reads until the connection is closed.
    pub(crate) fn exchange(&self, address: SocketAddr, bytes: &[u8]) -> io::Result<String> {
        let mut stream = self.connect(address)?;
        stream.write_all(bytes)?;
        let mut answer = Vec::new();
        // The end of a connection may come without the word of it.
        match stream.read_to_end(&mut answer) {
            Err(error) if answer.is_empty() => Err(error),
            _ => Ok(String::from_utf8_lossy(&answer).into_owned()),
        }
    }
}

/// The certificate that was shown on a connection.
pub(crate) fn shown_on(stream: &Stream) -> CertificateDer<'static> {
    stream.conn.peer_certificates().unwrap()[0].clone().into_owned()
}
