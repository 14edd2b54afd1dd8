//! A job as it is written.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use outbound::{HttpConfig, Inline, RelabelConfig, Size};
use serde::{Deserialize, Serialize};

use super::discovered::{DnsDiscovery, FileDiscovery, HttpDiscovery, StaticGroup};
use super::protocol::{Escaping, NameValidation};

/// A job's own keys with those of its HTTP client beside them.
pub type JobBlock = Inline<JobKeys, HttpConfig>;

/// The keys of a job. Prometheus documents what each does; `tenant` is Weir's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "they are Prometheus' own")]
pub struct JobKeys {
    pub job_name: String,
    /// Whose the samples are. Default: `default`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    #[serde(skip_serializing_if = "is_unset")]
    pub honor_labels: bool,
    pub honor_timestamps: bool,
    pub track_timestamps_staleness: bool,
    #[serde(skip_serializing_if = "is_unset")]
    pub params: BTreeMap<String, Vec<String>>,
    #[serde(with = "outbound::duration::option", skip_serializing_if = "Option::is_none")]
    pub scrape_interval: Option<Duration>,
    #[serde(with = "outbound::duration::option", skip_serializing_if = "Option::is_none")]
    pub scrape_timeout: Option<Duration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scrape_protocols: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback_scrape_protocol: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scrape_native_histograms: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub always_scrape_classic_histograms: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub convert_classic_histograms_to_nhcb: Option<bool>,
    pub metrics_path: String,
    pub scheme: String,
    pub enable_compression: bool,
    #[serde(skip_serializing_if = "is_unset")]
    pub body_size_limit: Size,
    #[serde(skip_serializing_if = "is_unset")]
    pub sample_limit: u64,
    #[serde(skip_serializing_if = "is_unset")]
    pub target_limit: u64,
    #[serde(skip_serializing_if = "is_unset")]
    pub label_limit: u64,
    #[serde(skip_serializing_if = "is_unset")]
    pub label_name_length_limit: u64,
    #[serde(skip_serializing_if = "is_unset")]
    pub label_value_length_limit: u64,
    #[serde(skip_serializing_if = "is_unset")]
    pub native_histogram_bucket_limit: u64,
    #[serde(skip_serializing_if = "is_unset")]
    pub native_histogram_min_bucket_factor: f64,
    #[serde(skip_serializing_if = "is_unset")]
    pub keep_dropped_targets: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric_name_validation_scheme: Option<NameValidation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric_name_escaping_scheme: Option<Escaping>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extra_scrape_metrics: Option<bool>,
    #[serde(skip_serializing_if = "is_unset")]
    pub static_configs: Vec<StaticGroup>,
    #[serde(skip_serializing_if = "is_unset")]
    pub file_sd_configs: Vec<FileDiscovery>,
    #[serde(skip_serializing_if = "is_unset")]
    pub http_sd_configs: Vec<HttpDiscovery>,
    #[serde(skip_serializing_if = "is_unset")]
    pub dns_sd_configs: Vec<DnsDiscovery>,
    #[serde(skip_serializing_if = "is_unset")]
    pub relabel_configs: Vec<RelabelConfig>,
    #[serde(skip_serializing_if = "is_unset")]
    pub metric_relabel_configs: Vec<RelabelConfig>,
}

impl Default for JobKeys {
    fn default() -> Self {
        Self {
            job_name: String::new(),
            tenant: None,
            honor_labels: false,
            honor_timestamps: true,
            track_timestamps_staleness: false,
            params: BTreeMap::new(),
            scrape_interval: None,
            scrape_timeout: None,
            scrape_protocols: None,
            fallback_scrape_protocol: None,
            scrape_native_histograms: None,
            always_scrape_classic_histograms: None,
            convert_classic_histograms_to_nhcb: None,
            metrics_path: "/metrics".to_owned(),
            scheme: "http".to_owned(),
            enable_compression: true,
            body_size_limit: Size::default(),
            sample_limit: 0,
            target_limit: 0,
            label_limit: 0,
            label_name_length_limit: 0,
            label_value_length_limit: 0,
            native_histogram_bucket_limit: 0,
            native_histogram_min_bucket_factor: 0.0,
            keep_dropped_targets: 0,
            metric_name_validation_scheme: None,
            metric_name_escaping_scheme: None,
            extra_scrape_metrics: None,
            static_configs: Vec::new(),
            file_sd_configs: Vec::new(),
            http_sd_configs: Vec::new(),
            dns_sd_configs: Vec::new(),
            relabel_configs: Vec::new(),
            metric_relabel_configs: Vec::new(),
        }
    }
}

/// Takes relative paths as relative to `directory`, where the configuration lies.
pub fn place(block: &mut JobBlock, directory: &Path) {
    block.inner.place(directory);
    for discovery in &mut block.own.file_sd_configs {
        discovery.place(directory);
    }
    for discovery in &mut block.own.http_sd_configs {
        discovery.inner.place(directory);
    }
}

pub(super) fn is_unset<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
