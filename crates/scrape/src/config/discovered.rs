//! Where targets come from, as it is written.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use outbound::{HttpConfig, Inline, Url};
use serde::{Deserialize, Serialize};

use super::block::JobKeys;

/// A group of `static_configs`, and of files and servers that tell groups.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StaticGroup {
    /// Hosts with ports.
    pub targets: Vec<String>,
    /// Labels that all of them have.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// An entry of `file_sd_configs`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FileDiscovery {
    /// Paths that end in `.json`, `.yml` or `.yaml`; the last part may hold a `*`.
    pub files: Vec<String>,
    /// Time between two readings of files that did not change.
    #[serde(with = "outbound::duration")]
    pub refresh_interval: Duration,
}

impl Default for FileDiscovery {
    fn default() -> Self {
        Self { files: Vec::new(), refresh_interval: Duration::from_secs(300) }
    }
}

impl FileDiscovery {
    pub(super) fn place(&mut self, directory: &Path) {
        for file in &mut self.files {
            if Path::new(file).is_relative() && !file.is_empty() {
                *file = directory.join(&*file).display().to_string();
            }
        }
    }
}

/// An entry of `http_sd_configs`, its HTTP client's keys beside its own.
pub type HttpDiscovery = Inline<HttpDiscoveryKeys, HttpConfig>;

/// The own keys of an entry of `http_sd_configs`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpDiscoveryKeys {
    /// Where groups are told, as JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<Url>,
    /// Time between two questions.
    #[serde(with = "outbound::duration")]
    pub refresh_interval: Duration,
}

impl Default for HttpDiscoveryKeys {
    fn default() -> Self {
        Self { url: None, refresh_interval: Duration::from_secs(60) }
    }
}

/// An entry of `dns_sd_configs`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DnsDiscovery {
    /// Names that are asked for.
    pub names: Vec<String>,
    /// Which records.
    #[serde(rename = "type")]
    pub kind: DnsType,
    /// The port of targets whose records say none.
    #[serde(skip_serializing_if = "super::block::is_unset")]
    pub port: u16,
    /// Time between two questions.
    #[serde(with = "outbound::duration")]
    pub refresh_interval: Duration,
}

impl Default for DnsDiscovery {
    fn default() -> Self {
        Self { names: Vec::new(), kind: DnsType::Srv, port: 0, refresh_interval: Duration::from_secs(30) }
    }
}

/// Types of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum DnsType {
    /// A service: host and port.
    #[serde(alias = "srv")]
    Srv,
    /// Addresses.
    #[serde(alias = "a")]
    A,
    /// Addresses.
    #[serde(alias = "aaaa")]
    Aaaa,
    /// Mail servers.
    #[serde(alias = "mx")]
    Mx,
    /// Name servers.
    #[serde(alias = "ns")]
    Ns,
}

/// Complains about what names no targets.
pub(super) fn check(keys: &JobKeys, complain: &mut impl FnMut(&str, String)) {
    // With rules an address may become one yet.
    if keys.relabel_configs.is_empty() {
        let targets = keys.static_configs.iter().flat_map(|group| &group.targets);
        for target in targets.filter(|target| target.contains('/')) {
            complain("static_configs", format!("{target:?} is no host with a port"));
        }
    }
    let zero = |time: &Duration| time.is_zero();
    for discovery in &keys.file_sd_configs {
        if discovery.files.is_empty() {
            complain("file_sd_configs.files", "is needed".to_owned());
        }
        for file in discovery.files.iter().filter(|file| !is_file_pattern(file)) {
            complain(
                "file_sd_configs.files",
                format!("{file:?} does not end in .json, .yml or .yaml, or has a * before its last part"),
            );
        }
        if zero(&discovery.refresh_interval) {
            complain("file_sd_configs.refresh_interval", "must be more than 0".to_owned());
        }
    }
    for discovery in &keys.http_sd_configs {
        match &discovery.own.url {
            None => complain("http_sd_configs.url", "is needed".to_owned()),
            Some(url) if url.scheme() == outbound::Scheme::Socks5 => {
                complain("http_sd_configs.url", "must be over http or https".to_owned());
            }
            Some(_) => {}
        }
        if zero(&discovery.own.refresh_interval) {
            complain("http_sd_configs.refresh_interval", "must be more than 0".to_owned());
        }
        if let Err(error) = discovery.inner.check() {
            complain(&format!("http_sd_configs.{}", error.key), error.message);
        }
    }
    for discovery in &keys.dns_sd_configs {
        if discovery.names.is_empty() {
            complain("dns_sd_configs.names", "is needed".to_owned());
        }
        if discovery.kind != DnsType::Srv && discovery.port == 0 {
            complain("dns_sd_configs.port", "is needed: only SRV records say one".to_owned());
        }
        if zero(&discovery.refresh_interval) {
            complain("dns_sd_configs.refresh_interval", "must be more than 0".to_owned());
        }
    }
}

/// Whether the path's ending says how it is read, and only its last part has a `*`.
fn is_file_pattern(path: &str) -> bool {
    let known = ["json", "yml", "yaml", "JSON", "YML", "YAML"];
    let ending = path.rsplit_once('.').map(|(_, ending)| ending);
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    ending.is_some_and(|ending| known.contains(&ending)) && !folder.contains('*')
}
