//! Why a handshake failed.

use std::io;

/// Why a connection was not opened.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Occurs when the peer has not finished it in time.
    #[error("the handshake took too long")]
    Late,
    /// Occurs when the peer does not speak TLS.
    #[error("the peer speaks HTTP without TLS")]
    Plain,
    /// Occurs when there is no certificate for the name that is asked for.
    #[error("there is no certificate for this name")]
    NoCertificate,
    /// Occurs when the peer goes away.
    #[error("the peer went away: {0}")]
    Gone(io::Error),
    /// Occurs when TLS itself fails.
    #[error(transparent)]
    Tls(rustls::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.downcast::<rustls::Error>() {
            Ok(error) => Self::Tls(error),
            Err(error) => Self::Gone(error),
        }
    }
}

impl Failure {
    /// The value of the self-metric's label `reason`.
    pub fn label(&self) -> &'static str {
        use rustls::Error;
        match self {
            Self::Late => "timeout",
            Self::Plain => "plain_http",
            Self::NoCertificate => "no_certificate",
            Self::Gone(_) => "gone",
            Self::Tls(Error::NoCertificatesPresented | Error::InvalidCertificate(_)) => "client_certificate",
            // The peer does not like the server's certificate, for one thing.
            Self::Tls(Error::AlertReceived(_)) => "alert",
            Self::Tls(Error::PeerIncompatible(_) | Error::NoApplicationProtocol) => "incompatible",
            Self::Tls(_) => "protocol",
        }
    }
}
