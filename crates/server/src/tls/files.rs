//! The files that TLS is made of: read, and seen to change.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use env::real::{self, Stamp};
use rustls::pki_types::CertificateDer;
use rustls::server::danger::ClientCertVerifier;

use super::TlsError;
use super::certificate::{self, BadCertificate, Certificate};
use crate::config::{Identity, TlsConfig};

/// A chain is a few KiB, all authorities of a system some 200.
const BYTES_MAX: u64 = 4 << 20;

/// By what it is seen that a file has changed; none for one that is not there.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Files(Vec<(PathBuf, Option<Stamp>)>);

impl Files {
    /// Those that `config` names, as they are now.
    pub(super) fn of(config: &TlsConfig) -> Self {
        let mut paths = Vec::new();
        if let Identity::Files { cert, key } = &config.identity {
            paths.extend([cert, key]);
        }
        paths.extend(config.clients.as_ref().map(|(authorities, _)| authorities));
        Self(paths.into_iter().map(|path| (path.clone(), real::stamp(path).ok())).collect())
    }
}

/// Reads the server's certificate and its key.
pub(super) fn certificate(cert: &Path, key: &Path) -> Result<Certificate, TlsError> {
    let (chain, secret) = (read(cert)?, read(key)?);
    Certificate::read(&chain, &secret).map_err(|error| match error {
        BadCertificate::NoKey => bad(key, error),
        BadCertificate::Refused(rustls::Error::InconsistentKeys(_)) => {
            TlsError::Strangers { cert: cert.to_owned(), key: key.to_owned(), error }
        }
        error => bad(cert, error),
    })
}

/// Reads by whom clients' certificates are signed; none when they are not asked for any.
pub(super) fn clients(config: &TlsConfig) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
    let Some((path, auth)) = &config.clients else { return Ok(None) };
    let roots = authorities(path)?;
    certificate::client_verifier(roots, *auth).map_err(|error| bad(path, error))
}

/// Reads authorities.
fn authorities(path: &Path) -> Result<rustls::RootCertStore, TlsError> {
    certificate::authorities(&read(path)?).map_err(|error| bad(path, error))
}

/// By whom servers are known: the authorities in a file, else those that the system believes.
pub fn trusted(path: Option<&Path>) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    if let Some(path) = path {
        return certificate::certificates(&read(path)?).map_err(|error| bad(path, error));
    }
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "authorities of the system cannot be read");
    }
    Ok(found.certs)
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    real::read_given(path, BYTES_MAX).map_err(|error| TlsError::Read { path: path.to_owned(), error })
}

fn bad(path: &Path, error: BadCertificate) -> TlsError {
    TlsError::Bad { path: path.to_owned(), error }
}
