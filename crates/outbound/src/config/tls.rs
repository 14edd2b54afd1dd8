//! `tls_config`: by whom a server is known, and the certificate that Weir shows it.

use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize, de};

use super::{ConfigError, one_of};
use crate::secret::Secret;

/// `tls_config`. What stands in files is read again when it changes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsConfig {
    /// Authorities, PEM. Default: those of the system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// A file with them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// The certificate that is shown, PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert: Option<String>,
    /// A file with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<PathBuf>,
    /// Its private key, PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Secret>,
    /// A file with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// The name for which the server's certificate must be, in place of the host's.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub server_name: String,
    /// Whether any certificate will do.
    #[serde(skip_serializing_if = "super::is_false")]
    pub insecure_skip_verify: bool,
    /// The oldest version that is spoken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_version: Option<TlsVersion>,
    /// The newest version that is spoken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_version: Option<TlsVersion>,
}

/// A version of TLS. Weir speaks 1.2 and 1.3; an older one as the least means 1.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum TlsVersion {
    /// 1.0
    #[serde(rename = "TLS10")]
    Tls10,
    /// 1.1
    #[serde(rename = "TLS11")]
    Tls11,
    /// 1.2
    #[serde(rename = "TLS12")]
    Tls12,
    /// 1.3
    #[serde(rename = "TLS13")]
    Tls13,
}

impl<'de> Deserialize<'de> for TlsVersion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "TLS10" => Ok(Self::Tls10),
            "TLS11" => Ok(Self::Tls11),
            "TLS12" => Ok(Self::Tls12),
            "TLS13" => Ok(Self::Tls13),
            other => Err(de::Error::custom(format!("expected TLS12 or TLS13, found {other:?}"))),
        }
    }
}

impl TlsConfig {
    /// Whether nothing is set.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let (has_cert, has_cert_file) = (self.cert.is_some(), self.cert_file.is_some());
        let (has_key, has_key_file) = (self.key.is_some(), self.key_file.is_some());
        one_of(&[("tls_config.ca", self.ca.is_some()), ("tls_config.ca_file", self.ca_file.is_some())])?;
        one_of(&[("tls_config.cert", has_cert), ("tls_config.cert_file", has_cert_file)])?;
        one_of(&[("tls_config.key", has_key), ("tls_config.key_file", has_key_file)])?;
        if (has_cert || has_cert_file) != (has_key || has_key_file) {
            return Err(ConfigError::new("tls_config", "a certificate and its key belong together"));
        }
        if self.max_version.is_some_and(|most| most < TlsVersion::Tls12) {
            return Err(ConfigError::new("tls_config.max_version", "Weir speaks TLS 1.2 and 1.3 only"));
        }
        if self.min_version.zip(self.max_version).is_some_and(|(least, most)| least > most) {
            return Err(ConfigError::new("tls_config.max_version", "is below min_version"));
        }
        crate::trust::check(self)
    }
}
