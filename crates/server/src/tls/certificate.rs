//! A certificate with its chain and key, checked before anybody is greeted with it.
//!
//! The time of its end comes from the verifier: asked whether the certificate is good at the end of all time (or at its
//! beginning) it says when it is not any more (not yet). So nothing here reads X.509.

use std::sync::Arc;
use std::time::Duration;

use env::Env;
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ParsedCertificate, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::{CertificateError, RootCertStore, ServerConfig};

use crate::config::ClientAuth;

/// Bytes of a TLS connection's answers that are encrypted and not the kernel's yet: little, because of these the
/// connection does not know when they are taken.
const UNSENT_BYTES_MAX: usize = 16 << 10;

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum BadCertificate {
    /// Occurs when there is no certificate in it.
    #[error("holds no certificate (PEM)")]
    NoCertificate,
    /// Occurs when there is no private key in it.
    #[error("holds no private key (PEM)")]
    NoKey,
    /// Occurs when it is no PEM.
    #[error("{0}")]
    Pem(rustls::pki_types::pem::Error),
    /// Occurs when a certificate or key cannot be used, or both do not belong together.
    #[error("{0}")]
    Refused(#[from] rustls::Error),
}

/// A certificate that a server may show.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// Chain and key.
    pub key: Arc<CertifiedKey>,
    /// From when on it is good, in seconds since the Unix epoch.
    pub not_before_s: u64,
    /// Until when.
    pub not_after_s: u64,
}

impl Certificate {
    /// Reads a chain, the server's own certificate first, and the key of that one.
    pub fn read(chain: &[u8], key: &[u8]) -> Result<Self, BadCertificate> {
        let chain = certificates(chain)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| match error {
            rustls::pki_types::pem::Error::NoItemsFound => BadCertificate::NoKey,
            error => BadCertificate::Pem(error),
        })?;
        let key = CertifiedKey::from_der(chain, key, &provider())?;
        let (not_before_s, not_after_s) = lifetime(key.end_entity_cert()?)?;
        Ok(Self { key: Arc::new(key), not_before_s, not_after_s })
    }

    /// Whether it is one for this name.
    pub fn covers(&self, name: &str) -> bool {
        let parsed = self.key.end_entity_cert().and_then(ParsedCertificate::try_from);
        let (Ok(parsed), Ok(name)) = (parsed, ServerName::try_from(name)) else { return false };
        verify_server_name(&parsed, &name).is_ok()
    }
}

/// All certificates of a PEM file; at least one.
pub(super) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, BadCertificate> {
    let chain: Vec<_> =
        CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(BadCertificate::Pem)?;
    if chain.is_empty() { Err(BadCertificate::NoCertificate) } else { Ok(chain) }
}

/// All certificates of a PEM file, as authorities.
pub fn authorities(pem: &[u8]) -> Result<RootCertStore, BadCertificate> {
    let mut roots = RootCertStore::empty();
    certificates(pem)?.into_iter().try_for_each(|authority| roots.add(authority))?;
    Ok(roots)
}

/// The one crypto provider.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// From when and until when a certificate is good, in seconds.
fn lifetime(certificate: &CertificateDer<'_>) -> Result<(u64, u64), rustls::Error> {
    let parsed = ParsedCertificate::try_from(certificate)?;
    let at = |second| {
        let time = UnixTime::since_unix_epoch(Duration::from_secs(second));
        let algorithms = provider().signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&parsed, &RootCertStore::empty(), &[], time, algorithms)
    };
    // One that is good from the beginning or without an end is one all the same.
    let not_before = match at(0) {
        Err(rustls::Error::InvalidCertificate(CertificateError::NotValidYetContext {
            not_before, ..
        })) => not_before.as_secs(),
        _ => 0,
    };
    let not_after = match at(u64::MAX) {
        Err(rustls::Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) => {
            not_after.as_secs()
        }
        _ => u64::MAX,
    };
    Ok((not_before, not_after))
}

/// What connections are greeted with: certificates from `resolver`, those of clients judged by `clients`.
pub(super) fn server_config(
    env: &Env,
    resolver: Arc<dyn ResolvesServerCert>,
    clients: Option<Arc<dyn ClientCertVerifier>>,
) -> ServerConfig {
    let builder = ServerConfig::builder_with_details(provider(), Arc::new(Now(env.clone())))
        .with_safe_default_protocol_versions()
        .expect("the provider has suites for both versions");
    let builder = match clients {
        Some(clients) => builder.with_client_cert_verifier(clients),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(resolver);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config
}

/// Judges clients' certificates by `authorities`; none when they are not asked for any.
pub(super) fn client_verifier(
    authorities: RootCertStore,
    auth: ClientAuth,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, BadCertificate> {
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), provider());
    let builder = match auth {
        ClientAuth::None => return Ok(None),
        ClientAuth::Optional => builder.allow_unauthenticated(),
        ClientAuth::Required => builder,
    };
    let refused = |error| BadCertificate::Refused(rustls::Error::General(format!("{error}")));
    builder.build().map(Some).map_err(refused)
}

/// Prepares a connection of the server's before its handshake.
pub(crate) fn prepare(connection: &mut rustls::ServerConnection) {
    connection.set_buffer_limit(Some(UNSENT_BYTES_MAX));
}

/// The clock by which certificates are judged.
#[derive(Debug)]
pub(super) struct Now(pub(super) Env);

impl TimeProvider for Now {
    fn current_time(&self) -> Option<UnixTime> {
        let now_ms = u64::try_from(self.0.clock.now_ms()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_millis(now_ms)))
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn pair(name: &str) -> (String, String) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(2020, 1, 2);
        params.not_after = date_time_ymd(2051, 3, 4);
        let key = KeyPair::generate().unwrap();
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    #[test]
    fn a_certificate_says_its_names_and_its_time() {
        let (chain, key) = pair("a.example");
        let read = Certificate::read(chain.as_bytes(), key.as_bytes()).unwrap();
        assert_eq!((read.not_before_s, read.not_after_s), (1_577_923_200, 2_561_500_800));
        assert!(read.covers("a.example") && !read.covers("b.example") && !read.covers("not a name"));
    }

    #[test]
    fn what_does_not_belong_together_is_refused() {
        let ((chain, key), (_, other)) = (pair("a.example"), pair("a.example"));
        let refused = |chain: &str, key: &str| {
            Certificate::read(chain.as_bytes(), key.as_bytes()).unwrap_err().to_string()
        };
        assert!(refused(&chain, &other).contains("KeyMismatch"), "{}", refused(&chain, &other));
        assert_eq!(refused("", &key), "holds no certificate (PEM)");
        assert_eq!(refused(&chain, &chain), "holds no private key (PEM)");
        let cut = &chain[..chain.len() / 2];
        assert!(!refused(cut, &key).is_empty());
    }
}
