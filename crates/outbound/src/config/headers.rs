//! `http_headers`: headers of every request, from the configuration and from files.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::ConfigError;
use crate::secret::Secret;

/// The values of one header, all of which are sent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HeaderValues {
    /// Values that may be seen.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
    /// Values that may not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<Secret>,
    /// Files with values.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<PathBuf>,
}

/// Headers that are the client's own, or that another key sets.
const RESERVED: [&str; 18] = [
    "authorization",
    "host",
    "content-encoding",
    "content-length",
    "content-type",
    "user-agent",
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "www-authenticate",
    "accept-encoding",
    "x-prometheus-remote-write-version",
    "x-prometheus-remote-read-version",
    "x-prometheus-scrape-timeout-seconds",
    "x-amz-date",
    "x-amz-security-token",
    "x-amz-content-sha256",
];

pub(super) fn check(headers: &BTreeMap<String, HeaderValues>) -> Result<(), ConfigError> {
    for (name, values) in headers {
        let key = format!("http_headers.{}", model::labels::truncated(name));
        if name.parse::<http::HeaderName>().is_err() {
            return Err(ConfigError::new(key, "is no name of a header"));
        }
        if RESERVED.iter().any(|reserved| name.eq_ignore_ascii_case(reserved)) {
            return Err(ConfigError::new(key, "is a header that cannot be set here"));
        }
        let sendable = |value: &str| http::HeaderValue::from_str(value).is_ok();
        let secrets = values.secrets.iter().map(|secret| secret.reveal().as_str());
        if !values.values.iter().map(String::as_str).chain(secrets).all(sendable) {
            return Err(ConfigError::new(key, "has characters that cannot be sent"));
        }
    }
    Ok(())
}

/// `proxy_connect_header`: its lines are written as they stand here, so none may hold the end of one.
pub(super) fn check_connect(headers: &BTreeMap<String, Vec<Secret>>) -> Result<(), ConfigError> {
    for (name, values) in headers {
        let key = format!("proxy_connect_header.{}", model::labels::truncated(name));
        if name.parse::<http::HeaderName>().is_err() {
            return Err(ConfigError::new(key, "is no name of a header"));
        }
        if !values.iter().all(|value| http::HeaderValue::from_str(value.reveal()).is_ok()) {
            return Err(ConfigError::new(key, "has characters that cannot be sent"));
        }
    }
    Ok(())
}
