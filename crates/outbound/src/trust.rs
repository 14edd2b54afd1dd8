//! From `tls_config` to what rustls needs.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme, SupportedProtocolVersion, version,
};

use crate::config::{ConfigError, TlsConfig, TlsVersion};
use crate::error::SendError;
use crate::given;

/// Looks at what stands in the configuration itself.
pub(crate) fn check(config: &TlsConfig) -> Result<(), ConfigError> {
    let wrong =
        |key: &'static str| move |message: String| ConfigError::new(format!("tls_config.{key}"), message);
    if let Some(ca) = &config.ca {
        authorities(ca.as_bytes()).map_err(wrong("ca"))?;
    }
    if let Some(cert) = &config.cert {
        certificates(cert.as_bytes()).map_err(wrong("cert"))?;
    }
    if let Some(key) = &config.key {
        private_key(key.reveal().as_bytes()).map_err(wrong("key"))?;
    }
    if !config.server_name.is_empty() && ServerName::try_from(config.server_name.as_str()).is_err() {
        return Err(ConfigError::new("tls_config.server_name", "is no name of a host"));
    }
    Ok(())
}

/// Reads whatever the configuration names and puts it together. `protocols` are offered in this order.
pub(crate) fn client(config: &TlsConfig, protocols: &[&[u8]]) -> Result<Arc<ClientConfig>, SendError> {
    let provider = Arc::new(ring::default_provider());
    let failed = |error: rustls::Error| tls(&error);
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions(config))
        .map_err(failed)?;
    let builder = if config.insecure_skip_verify {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone(provider)))
    } else {
        builder.with_root_certificates(roots(config)?)
    };
    let cert = part(config.cert.as_ref().map(String::as_bytes), config.cert_file.as_deref(), certificates)?;
    let key = config.key.as_ref().map(|key| key.reveal().as_bytes());
    let key = part(key, config.key_file.as_deref(), private_key)?;
    let mut client = match (cert, key) {
        (Some(cert), Some(key)) => builder.with_client_auth_cert(cert, key).map_err(failed)?,
        _ => builder.with_no_client_auth(),
    };
    client.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(Arc::new(client))
}

fn tls(error: &rustls::Error) -> SendError {
    SendError::Tls { host: "tls_config".to_owned(), error: std::io::Error::other(error.to_string()) }
}

/// A part from the configuration itself or from a file.
fn part<T>(
    inline: Option<&[u8]>,
    file: Option<&Path>,
    read: impl Fn(&[u8]) -> Result<T, String>,
) -> Result<Option<T>, SendError> {
    match (inline, file) {
        (Some(pem), _) => {
            read(pem).map(Some).map_err(|message| given::unusable(Path::new("tls_config"), message))
        }
        (None, Some(path)) => {
            read(&given::bytes(path)?).map(Some).map_err(|message| given::unusable(path, message))
        }
        (None, None) => Ok(None),
    }
}

fn roots(config: &TlsConfig) -> Result<Arc<RootCertStore>, SendError> {
    let named = part(config.ca.as_ref().map(String::as_bytes), config.ca_file.as_deref(), authorities)?;
    Ok(named.map_or_else(system, Arc::new))
}

/// The authorities of the system: some 150, which all clients share.
fn system() -> Arc<RootCertStore> {
    static SYSTEM: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let load = || {
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::warn!(%error, "authorities of the system cannot be read");
        }
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(found.certs);
        Arc::new(store)
    };
    Arc::clone(SYSTEM.get_or_init(load))
}

fn authorities(pem: &[u8]) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(pem)? {
        store.add(certificate).map_err(|error| error.to_string())?;
    }
    Ok(store)
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if found.is_empty() => Err("there is no certificate (PEM) in it".to_owned()),
        Ok(found) => Ok(found),
        Err(error) => Err(error.to_string()),
    }
}

fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|_| "there is no private key (PEM) in it".to_owned())
}

fn versions(config: &TlsConfig) -> Vec<&'static SupportedProtocolVersion> {
    let least = config.min_version.unwrap_or(TlsVersion::Tls12);
    let most = config.max_version.unwrap_or(TlsVersion::Tls13);
    let known = [(TlsVersion::Tls13, &version::TLS13), (TlsVersion::Tls12, &version::TLS12)];
    known
        .into_iter()
        .filter(|(version, _)| (least..=most).contains(version))
        .map(|(_, known)| known)
        .collect()
}

/// Believes every certificate, as `insecure_skip_verify` asks; signatures are checked, so that whoever shows one has its
/// key.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
