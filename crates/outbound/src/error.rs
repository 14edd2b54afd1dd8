//! Why a request has no answer. No text here holds a credential.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use codec::inflate::InflateError;

use crate::url::Url;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// Occurs when the whole took longer than it may.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// Occurs when a name has no address.
    #[error("{host}: cannot be resolved: {error}")]
    Resolve {
        /// The name.
        host: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// Occurs when no address of a host takes a connection; the last one's error.
    #[error("{address}: {error}")]
    Connect {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        error: std::io::Error,
    },
    /// Occurs when a host has only addresses that may not be reached. Which ones is not for a tenant to know.
    #[error("{host} has an address that requests of tenants must not reach")]
    Unreachable {
        /// The host.
        host: String,
    },
    /// Occurs when both sides do not come to terms about TLS.
    #[error("TLS with {host}: {error}")]
    Tls {
        /// The host.
        host: String,
        /// What failed.
        error: std::io::Error,
    },
    /// Occurs when a proxy does not lead on.
    #[error("proxy {proxy}: {message}")]
    Proxy {
        /// Its host and port.
        proxy: String,
        /// What it said.
        message: String,
    },
    /// Occurs when the body is longer than it may be, on the wire or inflated.
    #[error("body is over {limit} bytes")]
    TooBig {
        /// Bytes allowed.
        limit: usize,
    },
    /// Occurs when a body is not what its `Content-Encoding` says, or that says something unknown.
    #[error("content encoding: {0}")]
    Encoding(String),
    /// Occurs when redirects lead elsewhere, in circles or nowhere.
    #[error("redirect: {0}")]
    Redirect(&'static str),
    /// Occurs when a file of a credential, certificate or header cannot be used.
    #[error("{path}: {message}")]
    Given {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// Occurs when a header cannot be sent; its value is not shown.
    #[error("header {0} has characters that cannot be sent")]
    Header(String),
    /// Occurs when the connection breaks, or what comes is not HTTP.
    #[error("{host}: {message}")]
    Broken {
        /// The host.
        host: String,
        /// What failed.
        message: String,
    },
}

impl SendError {
    pub(crate) fn broken(url: &Url, message: String) -> Self {
        Self::Broken { host: url.host_and_port(), message }
    }

    /// With all that an error says about its causes: hyper's own words are "client error" and its like.
    pub(crate) fn broken_by(url: &Url, error: &hyper::Error) -> Self {
        Self::broken(url, whole(error))
    }

    /// A word for metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Timeout(_) => "timeout",
            Self::Resolve { .. } => "resolve",
            Self::Connect { .. } => "connect",
            Self::Unreachable { .. } => "unreachable",
            Self::Tls { .. } => "tls",
            Self::Proxy { .. } => "proxy",
            Self::TooBig { .. } => "too_big",
            Self::Encoding(_) => "encoding",
            Self::Redirect(_) => "redirect",
            Self::Given { .. } | Self::Header(_) => "credentials",
            Self::Broken { .. } => "broken",
        }
    }
}

impl From<InflateError> for SendError {
    fn from(error: InflateError) -> Self {
        match error {
            InflateError::TooBig { limit } => Self::TooBig { limit },
            InflateError::Corrupt(_) => Self::Encoding(error.to_string()),
        }
    }
}

/// What an error says, and what its causes do.
pub(crate) fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}
