//! The blocks that configure outputs: Prometheus' `remote_write`, whole, and `outputs` for everything else.
//!
//! What is typed stands in the structures here, with Prometheus' keys and defaults; what it means is a [`Settings`]
//! ([`RemoteWrite::settings`], [`Output::settings`]). The keys of HTTP clients are written inline in both.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use dialects::outgoing::{Options, Speaker, Version, find};
use model::TenantName;
use model::relabel::{Names, Rules};
use outbound::{HttpConfig, Inline, RelabelConfig, Secret, Size, Url, relabel};
use serde::{Deserialize, Serialize};

use crate::given;
pub use crate::given::Tenants;
use crate::pause::Pauses;
use crate::settings::{Chosen, Describes, Queues, Settings};

/// An entry of `remote_write`.
pub type RemoteWriteConfig = Inline<RemoteWrite, HttpConfig>;
/// An entry of `outputs`.
pub type OutputConfig = Inline<Output, HttpConfig>;

/// How long an output's rows may wait when nothing is configured.
const LAG_AGE_MAX: Duration = Duration::from_secs(24 * 3600);

/// Keys of `remote_write` beside those of HTTP clients.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RemoteWrite {
    /// Where to.
    #[serde(serialize_with = "outbound::hide_password_and_query")]
    pub url: String,
    /// The output's name; made from the URL when there is none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// How long a request may take.
    #[serde(with = "outbound::duration")]
    pub remote_timeout: Duration,
    /// Headers of every request.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", serialize_with = "given::hide_values")]
    pub headers: BTreeMap<String, String>,
    /// What becomes of labels.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub write_relabel_configs: Vec<RelabelConfig>,
    /// Whether exemplars are sent.
    pub send_exemplars: bool,
    /// Whether native histograms are sent.
    pub send_native_histograms: bool,
    /// Taken and without effect: each connection goes to the first address that answers.
    pub round_robin_dns: bool,
    /// Which message is sent.
    pub protobuf_message: Message,
    /// How much waits.
    pub queue_config: QueueConfig,
    /// Whether and how often metadata are sent in 1.0.
    pub metadata_config: MetadataConfig,
    /// Not in Weir.
    #[serde(skip_serializing, deserialize_with = "given::no_sigv4")]
    pub sigv4: (),
    /// Not in Weir.
    #[serde(skip_serializing, deserialize_with = "given::no_azuread")]
    pub azuread: (),
    /// Not in Weir.
    #[serde(skip_serializing, deserialize_with = "given::no_google_iam")]
    pub google_iam: (),
    /// Whose rows; `default` when nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Whose rows: several, or `*` for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenants: Option<Tenants>,
    /// Rows that waited longer are dropped.
    #[serde(with = "outbound::duration")]
    pub max_lag_age: Duration,
    /// Rows with more of the log behind them are dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_lag_bytes: Option<Size>,
}

impl Default for RemoteWrite {
    fn default() -> Self {
        Self {
            url: String::new(),
            name: String::new(),
            remote_timeout: Duration::from_secs(30),
            headers: BTreeMap::new(),
            write_relabel_configs: Vec::new(),
            send_exemplars: false,
            send_native_histograms: false,
            round_robin_dns: false,
            protobuf_message: Message::default(),
            queue_config: QueueConfig::default(),
            metadata_config: MetadataConfig::default(),
            sigv4: (),
            azuread: (),
            google_iam: (),
            tenant: None,
            tenants: None,
            max_lag_age: LAG_AGE_MAX,
            max_lag_bytes: None,
        }
    }
}

/// `protobuf_message`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// 1.0.
    #[default]
    #[serde(rename = "prometheus.WriteRequest")]
    One,
    /// 2.0, and 1.0 once the receiver turns out not to know it.
    #[serde(rename = "io.prometheus.write.v2.Request")]
    Two,
}

/// `queue_config`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QueueConfig {
    /// Rows that wait for a shard.
    pub capacity: usize,
    /// Requests under way at once, at most.
    pub max_shards: usize,
    /// And at least.
    pub min_shards: usize,
    /// Rows of a request.
    pub max_samples_per_send: usize,
    /// How long rows wait for others.
    #[serde(with = "outbound::duration")]
    pub batch_send_deadline: Duration,
    /// Bound of the first pause after a failure.
    #[serde(with = "outbound::duration")]
    pub min_backoff: Duration,
    /// Bound of all pauses.
    #[serde(with = "outbound::duration")]
    pub max_backoff: Duration,
    /// Taken and without effect: it is always so.
    pub retry_on_http_429: bool,
    /// Rows older than this are not sent; 0 = all are.
    #[serde(with = "outbound::duration")]
    pub sample_age_limit: Duration,
}

impl Default for QueueConfig {
    fn default() -> Self {
        let Pauses { min, max } = Pauses::default();
        Self {
            capacity: 10_000,
            max_shards: 50,
            min_shards: 1,
            max_samples_per_send: 2_000,
            batch_send_deadline: Duration::from_secs(5),
            min_backoff: min,
            max_backoff: max,
            retry_on_http_429: true,
            sample_age_limit: Duration::ZERO,
        }
    }
}

/// `metadata_config`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MetadataConfig {
    /// Whether they are sent.
    pub send: bool,
    /// How often.
    #[serde(with = "outbound::duration")]
    pub send_interval: Duration,
    /// Taken and without effect: they go with the samples of their families.
    pub max_samples_per_send: usize,
}

impl Default for MetadataConfig {
    fn default() -> Self {
        Self { send: true, send_interval: Duration::from_secs(60), max_samples_per_send: 2_000 }
    }
}

/// Keys of `outputs` beside those of HTTP clients.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Output {
    /// The protocol.
    #[serde(rename = "type")]
    pub kind: String,
    /// The output's name.
    pub name: String,
    /// Where to.
    #[serde(serialize_with = "outbound::hide_password_and_query")]
    pub url: String,
    /// The receiver's token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<Secret>,
    /// A file with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// As in `remote_write`.
    #[serde(with = "outbound::duration")]
    pub remote_timeout: Duration,
    /// As in `remote_write`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", serialize_with = "given::hide_values")]
    pub headers: BTreeMap<String, String>,
    /// As in `remote_write`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub write_relabel_configs: Vec<RelabelConfig>,
    /// As in `remote_write`.
    pub queue_config: QueueConfig,
    /// Whether exemplars are sent, where the protocol has them.
    pub send_exemplars: bool,
    /// Whether native histograms are sent, where the protocol has them.
    pub send_native_histograms: bool,
    /// Counters as what they grew by, where the protocol has both.
    pub deltas: bool,
    /// Splunk: the index.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<String>,
    /// Splunk: the source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Splunk: the source type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sourcetype: Option<String>,
    /// As in `remote_write`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// As in `remote_write`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenants: Option<Tenants>,
    /// As in `remote_write`.
    #[serde(with = "outbound::duration")]
    pub max_lag_age: Duration,
    /// As in `remote_write`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_lag_bytes: Option<Size>,
}

impl Default for Output {
    fn default() -> Self {
        Self {
            kind: String::new(),
            name: String::new(),
            url: String::new(),
            token: None,
            token_file: None,
            remote_timeout: Duration::from_secs(30),
            headers: BTreeMap::new(),
            write_relabel_configs: Vec::new(),
            queue_config: QueueConfig::default(),
            send_exemplars: true,
            send_native_histograms: true,
            deltas: false,
            index: None,
            source: None,
            sourcetype: None,
            tenant: None,
            tenants: None,
            max_lag_age: LAG_AGE_MAX,
            max_lag_bytes: None,
        }
    }
}

/// Why an output's configuration means nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {message}")]
pub struct Invalid {
    /// The key, in the entry.
    pub key: String,
    /// What is wrong.
    pub message: String,
}

impl Invalid {
    pub(crate) fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { key: key.into(), message: message.into() }
    }
}

impl RemoteWrite {
    /// What an entry means. `external_labels` are those of `global`.
    pub fn settings(
        config: &RemoteWriteConfig,
        external_labels: &BTreeMap<String, String>,
    ) -> Result<Settings, Invalid> {
        let own = &config.own;
        let speaker = &dialects::remote_write::SPEAKER;
        let url = url(&own.url, speaker)?;
        let version = match own.protobuf_message {
            Message::One => Version::One,
            Message::Two => Version::Two,
        };
        let MetadataConfig { send, send_interval, .. } = own.metadata_config;
        let describes = match (send, version) {
            (false, _) => Describes::Never,
            (true, Version::One) => Describes::AtTimes(send_interval),
            (true, Version::Two) => Describes::EachSeries,
        };
        let name = match own.name.is_empty() {
            true => format!("remote_write-{:08x}", codec::hash::key128(0, own.url.as_bytes()) as u32),
            false => own.name.clone(),
        };
        if own.round_robin_dns {
            tracing::info!(output = name, "round_robin_dns has no effect");
        }
        checked(Settings {
            name,
            speaker,
            options: Options {
                version,
                exemplars: own.send_exemplars,
                native_histograms: own.send_native_histograms,
                ..Options::default()
            },
            url,
            headers: given::headers(&own.headers)?,
            http: config.inner.clone(),
            timeout: own.remote_timeout,
            tenants: chosen(own.tenant.as_deref(), own.tenants.as_ref())?,
            external_labels: external_labels.clone(),
            relabel: rules(&own.write_relabel_configs)?,
            queues: own.queue_config.queues()?,
            pauses: own.queue_config.pauses()?,
            describes,
            lag_age_max: own.max_lag_age,
            lag_bytes_max: own.max_lag_bytes.map(|size| size.0),
        })
    }
}

impl Output {
    /// What an entry means. `external_labels` are those of `global`.
    pub fn settings(
        config: &OutputConfig,
        external_labels: &BTreeMap<String, String>,
    ) -> Result<Settings, Invalid> {
        let own = &config.own;
        let speaker = find(&own.kind).ok_or_else(|| {
            let known: Vec<&str> = dialects::outgoing::ALL.iter().map(|speaker| speaker.name).collect();
            Invalid::new("type", format!("unknown type {:?}, there are {}", own.kind, known.join(", ")))
        })?;
        if own.name.is_empty() {
            return Err(Invalid::new("name", "every output needs a name"));
        }
        let mut http = config.inner.clone();
        given::token(own, speaker.token, &mut http)?;
        checked(Settings {
            name: own.name.clone(),
            speaker,
            options: Options {
                version: Version::One,
                deltas: own.deltas,
                native_histograms: own.send_native_histograms,
                exemplars: own.send_exemplars,
                index: own.index.clone(),
                source: own.source.clone(),
                sourcetype: own.sourcetype.clone(),
            },
            url: url(&own.url, speaker)?,
            headers: given::headers(&own.headers)?,
            http,
            timeout: own.remote_timeout,
            tenants: chosen(own.tenant.as_deref(), own.tenants.as_ref())?,
            external_labels: external_labels.clone(),
            relabel: rules(&own.write_relabel_configs)?,
            queues: own.queue_config.queues()?,
            pauses: own.queue_config.pauses()?,
            describes: Describes::EachSeries,
            lag_age_max: own.max_lag_age,
            lag_bytes_max: own.max_lag_bytes.map(|size| size.0),
        })
    }
}

impl QueueConfig {
    fn queues(&self) -> Result<Queues, Invalid> {
        let bounds = [
            ("queue_config.capacity", self.capacity, 10_000_000),
            ("queue_config.max_shards", self.max_shards, 1_000),
            ("queue_config.min_shards", self.min_shards, 1_000),
            ("queue_config.max_samples_per_send", self.max_samples_per_send, 1_000_000),
        ];
        for (key, number, max) in bounds {
            if !(1..=max).contains(&number) {
                return Err(Invalid::new(key, format!("{number} is not between 1 and {max}")));
            }
        }
        if self.min_shards > self.max_shards {
            return Err(Invalid::new("queue_config.min_shards", "is more than max_shards"));
        }
        Ok(Queues {
            capacity: self.capacity,
            shards_min: self.min_shards,
            shards_max: self.max_shards,
            rows_max: self.max_samples_per_send,
            deadline: self.batch_send_deadline,
            sample_age: (!self.sample_age_limit.is_zero()).then_some(self.sample_age_limit),
        })
    }

    fn pauses(&self) -> Result<Pauses, Invalid> {
        if self.min_backoff > self.max_backoff {
            return Err(Invalid::new("queue_config.min_backoff", "is more than max_backoff"));
        }
        Ok(Pauses { min: self.min_backoff, max: self.max_backoff })
    }
}

/// The speaker's path is added where the URL has none.
fn url(text: &str, speaker: &Speaker) -> Result<Url, Invalid> {
    let invalid = |error: &dyn std::fmt::Display| Invalid::new("url", error.to_string());
    let url = Url::parse(text).map_err(|error| invalid(&error))?;
    match (url.path_and_query(), speaker.path) {
        ("/" | "", path) if !path.is_empty() => {
            url.with_path_and_query(path).map_err(|error| invalid(&error))
        }
        _ => Ok(url),
    }
}

fn rules(configs: &[RelabelConfig]) -> Result<Rules, Invalid> {
    relabel::rules(configs, Names::Utf8)
        .map_err(|(at, error)| Invalid::new(format!("write_relabel_configs[{at}]"), error.to_string()))
}

fn chosen(tenant: Option<&str>, tenants: Option<&Tenants>) -> Result<Chosen, Invalid> {
    let name = |text: &str| {
        TenantName::parse(text).map_err(|error| Invalid::new("tenants", format!("{text:?}: {error}")))
    };
    match (tenant, tenants) {
        (Some(_), Some(_)) => {
            Err(Invalid::new("tenant", "tenant and tenants stand beside each other: one is enough"))
        }
        (_, Some(Tenants::All)) | (Some("*"), _) => Ok(Chosen::All),
        (Some(tenant), None) => Ok(Chosen::Named(BTreeSet::from([name(tenant)?]))),
        (None, Some(Tenants::Named(names))) => {
            Ok(Chosen::Named(names.iter().map(|n| name(n)).collect::<Result<_, _>>()?))
        }
        (None, None) => Ok(Chosen::Named(BTreeSet::from([name("default")?]))),
    }
}

/// Names are names of files, and what goes over HTTP must make sense together.
fn checked(settings: Settings) -> Result<Settings, Invalid> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let name = &settings.name;
    if name.len() > 64 || name.starts_with('.') || !name.chars().all(plain) {
        return Err(Invalid::new(
            "name",
            format!("{name:?} is not up to 64 of A-Z, a-z, 0-9, '.', '_' and '-'"),
        ));
    }
    settings.http.check().map_err(|error| Invalid::new(error.key.clone(), error.message.clone()))?;
    if settings.timeout.is_zero() {
        return Err(Invalid::new("remote_timeout", "0 leaves no time for an answer"));
    }
    Ok(settings)
}

/// Takes relative paths as relative to `directory`, where the configuration lies.
pub fn place(config: &mut OutputConfig, directory: &Path) {
    config.inner.place(directory);
    if let Some(file) = &mut config.own.token_file {
        // An absolute path stays what it is.
        *file = directory.join(&*file);
    }
}

/// Whether names stand once each, and there are not too many outputs.
pub fn check_names(list: &[Settings]) -> Result<(), Invalid> {
    let mut names = BTreeSet::new();
    if let Some(twice) = list.iter().find(|settings| !names.insert(&settings.name)) {
        return Err(Invalid::new("name", format!("two outputs are called {:?}", twice.name)));
    }
    if list.len() > crate::OUTPUTS_MAX {
        return Err(Invalid::new(
            "outputs",
            format!("{} outputs, at most {} may be", list.len(), crate::OUTPUTS_MAX),
        ));
    }
    Ok(())
}
