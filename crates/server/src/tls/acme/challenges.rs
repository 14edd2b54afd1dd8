//! How the authority is shown that a name leads here: what it asks for is there from before it is told to look until
//! the order has ended.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;
use http::StatusCode;
use instant_acme::{ChallengeType, KeyAuthorization};
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;

use crate::tls::certificate::provider;
use crate::tls::resolve::One;

/// Where a challenge is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// In a handshake on the port of TLS (RFC 8737).
    TlsAlpn,
    /// Over HTTP (RFC 8555, 8.3).
    Http,
}

impl Kind {
    /// As the authority calls it.
    pub(super) fn acme(self) -> ChallengeType {
        match self {
            Self::TlsAlpn => ChallengeType::TlsAlpn01,
            Self::Http => ChallengeType::Http01,
        }
    }
}

/// What the authority asks for just now.
#[derive(Debug, Default)]
pub struct Challenges(Mutex<Asked>);

#[derive(Default)]
struct Asked {
    /// What a handshake that asks for a name is answered with.
    handshakes: HashMap<String, Arc<ServerConfig>>,
    /// What the file of a token holds.
    files: HashMap<String, String>,
}

impl std::fmt::Debug for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Asked").field("names", &self.handshakes.keys()).finish_non_exhaustive()
    }
}

/// Why an answer cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ChallengeError {
    /// Occurs when no certificate can be made.
    #[error("the answer to a challenge cannot be made: {0}")]
    Certificate(#[from] rcgen::Error),
    /// Occurs when it cannot be used.
    #[error("the answer to a challenge cannot be used: {0}")]
    Refused(#[from] rustls::Error),
}

impl Challenges {
    /// With what a handshake for `name` (in lower case) is answered.
    pub fn answer(&self, name: &str) -> Option<Arc<ServerConfig>> {
        self.asked().handshakes.get(name).cloned()
    }

    /// The content of the file of a token.
    pub fn file(&self, token: &str) -> Option<String> {
        self.asked().files.get(token).cloned()
    }

    /// Answers for `name` from now on, until what is given here is dropped.
    pub(super) fn begin(
        self: &Arc<Self>,
        kind: Kind,
        name: &str,
        token: &str,
        key: &KeyAuthorization,
    ) -> Result<Answered, ChallengeError> {
        let at = match kind {
            Kind::TlsAlpn => {
                let config = handshake(name, key.digest().as_ref())?;
                self.asked().handshakes.insert(name.to_owned(), Arc::new(config));
                name
            }
            Kind::Http => {
                self.asked().files.insert(token.to_owned(), key.as_str().to_owned());
                token
            }
        };
        Ok(Answered { challenges: Arc::clone(self), kind, at: at.to_owned() })
    }

    fn asked(&self) -> MutexGuard<'_, Asked> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A challenge that is answered as long as this is there.
#[derive(Debug)]
pub(super) struct Answered {
    challenges: Arc<Challenges>,
    kind: Kind,
    at: String,
}

impl Drop for Answered {
    fn drop(&mut self) {
        let mut asked = self.challenges.asked();
        match self.kind {
            Kind::TlsAlpn => drop(asked.handshakes.remove(&self.at)),
            Kind::Http => drop(asked.files.remove(&self.at)),
        }
    }
}

/// A self-signed certificate for the name, in which the digest of the key authorization stands.
fn handshake(name: &str, digest: &[u8]) -> Result<ServerConfig, ChallengeError> {
    let mut params = CertificateParams::new(vec![name.to_owned()])?;
    params.distinguished_name = DistinguishedName::new();
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let key = KeyPair::generate()?;
    let chain = vec![params.self_signed(&key)?.der().clone()];
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    // They belong together, and rustls would look into a certificate with an extension that it does not know.
    let shown = CertifiedKey::new(chain, provider().key_provider.load_private_key(key)?);
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let mut config = builder.with_no_client_auth().with_cert_resolver(Arc::new(One(Arc::new(shown))));
    config.alpn_protocols = vec![b"acme-tls/1".to_vec()];
    Ok(config)
}

/// The files that answer challenges over HTTP; nothing else is there.
pub fn router(challenges: Arc<Challenges>) -> Router {
    let file = |State(challenges): State<Arc<Challenges>>, Path(token): Path<String>| async move {
        challenges.file(&token).ok_or(StatusCode::NOT_FOUND)
    };
    Router::new().route("/.well-known/acme-challenge/{token}", get(file)).with_state(challenges)
}
