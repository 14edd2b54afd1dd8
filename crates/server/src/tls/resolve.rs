//! Which certificate a client is shown.

use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::acme::Held;

/// The one certificate, whatever name is asked for: whether it is the right one is the client's judgement.
#[derive(Debug)]
pub(super) struct One(pub(super) Arc<CertifiedKey>);

impl ResolvesServerCert for One {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

/// The certificate that was ordered for the name; a client that names none gets the domain's. For other names there is
/// none, and the handshake ends.
#[derive(Debug)]
pub(super) struct ByName(pub(super) Arc<Held>);

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.shown(hello.server_name())
    }
}
