//! The keys with which Prometheus configures its HTTP clients, all of which Weir takes but for OAuth 2.

mod headers;
mod tls;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, de};

use crate::secret::Secret;
use crate::url::Url;

pub use headers::HeaderValues;
pub use tls::{TlsConfig, TlsVersion};

/// How requests are made. Unknown keys are errors; [`HttpConfig::check`] finds what contradicts itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    /// User and password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub basic_auth: Option<BasicAuth>,
    /// Any other `Authorization`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorization: Option<Authorization>,
    /// Not in Weir.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oauth2: Option<OAuth2>,
    /// As `authorization.credentials`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bearer_token: Option<Secret>,
    /// As `authorization.credentials_file`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bearer_token_file: Option<PathBuf>,
    /// By whom servers are known, and as whom Weir is.
    #[serde(skip_serializing_if = "TlsConfig::is_default")]
    pub tls_config: TlsConfig,
    /// The proxy: http, https or socks5.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_url: Option<Url>,
    /// Hosts, domains, networks and ports that are asked without it, with commas between.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub no_proxy: String,
    /// Whether `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` say which proxy.
    #[serde(skip_serializing_if = "is_false")]
    pub proxy_from_environment: bool,
    /// Headers for the proxy when it is asked to connect.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub proxy_connect_header: BTreeMap<String, Vec<Secret>>,
    /// Whether redirects are followed, on their host.
    pub follow_redirects: bool,
    /// Whether HTTP/2 is spoken with servers that offer it over TLS.
    pub enable_http2: bool,
    /// Headers of every request.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub http_headers: BTreeMap<String, HeaderValues>,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            basic_auth: None,
            authorization: None,
            oauth2: None,
            bearer_token: None,
            bearer_token_file: None,
            tls_config: TlsConfig::default(),
            proxy_url: None,
            no_proxy: String::new(),
            proxy_from_environment: false,
            proxy_connect_header: BTreeMap::new(),
            follow_redirects: true,
            enable_http2: true,
            http_headers: BTreeMap::new(),
        }
    }
}

/// `basic_auth`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BasicAuth {
    /// The user.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub username: String,
    /// A file with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username_file: Option<PathBuf>,
    /// The password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// A file with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
}

/// `authorization`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Authorization {
    /// The word before the credentials.
    #[serde(rename = "type")]
    pub kind: String,
    /// The credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Secret>,
    /// A file with them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials_file: Option<PathBuf>,
}

impl Default for Authorization {
    fn default() -> Self {
        Self { kind: "Bearer".to_owned(), credentials: None, credentials_file: None }
    }
}

/// `oauth2`, which is refused by name.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum OAuth2 {}

impl<'de> Deserialize<'de> for OAuth2 {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(de::Error::custom(
            "Weir fetches no tokens by OAuth 2: let something else write one to a file and name it as \
             authorization.credentials_file",
        ))
    }
}

/// Why a configuration means nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {message}")]
pub struct ConfigError {
    /// The key: `tls_config.cert`.
    pub key: String,
    /// What is wrong.
    pub message: String,
}

impl ConfigError {
    pub(crate) fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { key: key.into(), message: message.into() }
    }
}

impl HttpConfig {
    /// Looks for what contradicts itself, by Prometheus' rules. Files are not read.
    pub fn check(&self) -> Result<(), ConfigError> {
        let is_set = [
            ("basic_auth", self.basic_auth.is_some()),
            ("authorization", self.authorization.is_some()),
            ("bearer_token", self.bearer_token.is_some()),
            ("bearer_token_file", self.bearer_token_file.is_some()),
        ];
        one_of(&is_set)?;
        if let Some(basic) = &self.basic_auth {
            basic.check()?;
        }
        if let Some(authorization) = &self.authorization {
            authorization.check()?;
        }
        self.tls_config.check()?;
        self.check_proxy()?;
        headers::check_connect(&self.proxy_connect_header)?;
        headers::check(&self.http_headers)
    }

    /// Takes relative paths as relative to `directory`, where the configuration lies.
    pub fn place(&mut self, directory: &Path) {
        let basic =
            self.basic_auth.iter_mut().flat_map(|basic| [&mut basic.username_file, &mut basic.password_file]);
        let other = self.authorization.iter_mut().map(|other| &mut other.credentials_file);
        let tls = &mut self.tls_config;
        let own = [&mut self.bearer_token_file, &mut tls.ca_file, &mut tls.cert_file, &mut tls.key_file];
        let headers = self.http_headers.values_mut().flat_map(|values| values.files.iter_mut());
        for path in basic.chain(other).chain(own).flatten().chain(headers) {
            // An absolute path stays what it is.
            *path = directory.join(&*path);
        }
    }

    fn check_proxy(&self) -> Result<(), ConfigError> {
        let (named, environment) = (self.proxy_url.is_some(), self.proxy_from_environment);
        one_of(&[("proxy_url", named), ("proxy_from_environment", environment)])?;
        let rules = [
            ("no_proxy", !self.no_proxy.is_empty() && environment, "the environment says it"),
            ("no_proxy", !self.no_proxy.is_empty() && !named, "goes with proxy_url"),
            (
                "proxy_connect_header",
                !self.proxy_connect_header.is_empty() && !named && !environment,
                "goes with a proxy",
            ),
        ];
        match rules.into_iter().find(|(_, broken, _)| *broken) {
            Some((key, _, message)) => Err(ConfigError::new(key, message)),
            None => Ok(()),
        }
    }
}

impl BasicAuth {
    fn check(&self) -> Result<(), ConfigError> {
        let user = [
            ("basic_auth.username", !self.username.is_empty()),
            ("basic_auth.username_file", self.username_file.is_some()),
        ];
        let password = [
            ("basic_auth.password", self.password.is_some()),
            ("basic_auth.password_file", self.password_file.is_some()),
        ];
        one_of(&user)?;
        one_of(&password)
    }
}

impl Authorization {
    fn check(&self) -> Result<(), ConfigError> {
        one_of(&[
            ("authorization.credentials", self.credentials.is_some()),
            ("authorization.credentials_file", self.credentials_file.is_some()),
        ])?;
        match self.kind.trim() {
            kind if kind.eq_ignore_ascii_case("basic") => {
                Err(ConfigError::new("authorization.type", "is set by basic_auth when it is Basic"))
            }
            _ => Ok(()),
        }
    }
}

/// Complains about the second of several keys that say the same.
fn one_of(keys: &[(&str, bool)]) -> Result<(), ConfigError> {
    let mut set = keys.iter().filter(|(_, is_set)| *is_set);
    match (set.next(), set.next()) {
        (Some((first, _)), Some((second, _))) => {
            Err(ConfigError::new(*second, format!("at most one of {first} and {second} may be set")))
        }
        _ => Ok(()),
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

#[cfg(test)]
mod tests;
