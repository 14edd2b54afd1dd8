//! `global`: what jobs leave open, and labels for what leaves this server.

use std::collections::BTreeMap;
use std::time::Duration;

use outbound::Size;
use serde::{Deserialize, Serialize};

use super::JobProblem;
use super::protocol::{self, Escaping, NameValidation};

/// The block `global`. Prometheus documents what each key does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "they are Prometheus' own")]
pub struct Global {
    #[serde(with = "outbound::duration::option", skip_serializing_if = "Option::is_none")]
    pub scrape_interval: Option<Duration>,
    #[serde(with = "outbound::duration::option", skip_serializing_if = "Option::is_none")]
    pub scrape_timeout: Option<Duration>,
    #[serde(with = "outbound::duration::option", skip_serializing_if = "Option::is_none")]
    pub evaluation_interval: Option<Duration>,
    #[serde(with = "outbound::duration::option", skip_serializing_if = "Option::is_none")]
    pub rule_query_offset: Option<Duration>,
    pub external_labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scrape_protocols: Option<Vec<String>>,
    #[serde(skip_serializing_if = "super::block::is_unset")]
    pub body_size_limit: Size,
    #[serde(skip_serializing_if = "super::block::is_unset")]
    pub sample_limit: u64,
    #[serde(skip_serializing_if = "super::block::is_unset")]
    pub target_limit: u64,
    #[serde(skip_serializing_if = "super::block::is_unset")]
    pub label_limit: u64,
    #[serde(skip_serializing_if = "super::block::is_unset")]
    pub label_name_length_limit: u64,
    #[serde(skip_serializing_if = "super::block::is_unset")]
    pub label_value_length_limit: u64,
    #[serde(skip_serializing_if = "super::block::is_unset")]
    pub keep_dropped_targets: u64,
    pub metric_name_validation_scheme: NameValidation,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric_name_escaping_scheme: Option<Escaping>,
    pub scrape_native_histograms: bool,
    pub convert_classic_histograms_to_nhcb: bool,
    pub always_scrape_classic_histograms: bool,
    pub extra_scrape_metrics: bool,
}

impl Default for Global {
    fn default() -> Self {
        Self {
            scrape_interval: None,
            scrape_timeout: None,
            evaluation_interval: None,
            rule_query_offset: None,
            external_labels: BTreeMap::new(),
            scrape_protocols: None,
            body_size_limit: Size::default(),
            sample_limit: 0,
            target_limit: 0,
            label_limit: 0,
            label_name_length_limit: 0,
            label_value_length_limit: 0,
            keep_dropped_targets: 0,
            metric_name_validation_scheme: NameValidation::Utf8,
            metric_name_escaping_scheme: None,
            scrape_native_histograms: false,
            convert_classic_histograms_to_nhcb: false,
            always_scrape_classic_histograms: false,
            extra_scrape_metrics: false,
        }
    }
}

impl Global {
    /// Time between two scrapes. Default: a minute.
    pub fn interval(&self) -> Duration {
        self.scrape_interval.filter(|time| !time.is_zero()).unwrap_or(Duration::from_secs(60))
    }

    /// How long a scrape may take. Default: ten seconds, or the interval when that is shorter.
    pub fn timeout(&self) -> Duration {
        let usual = Duration::from_secs(10).min(self.interval());
        self.scrape_timeout.filter(|time| !time.is_zero()).unwrap_or(usual)
    }

    /// Looks for what contradicts itself.
    pub fn check(&self) -> Vec<JobProblem> {
        let mut problems = Vec::new();
        if self.timeout() > self.interval() {
            problems.push(JobProblem::new("scrape_timeout", "is longer than scrape_interval"));
        }
        if let Some(Err(message)) = self.scrape_protocols.as_deref().map(protocol::parse_all) {
            problems.push(JobProblem::new("scrape_protocols", message));
        }
        let names = self.metric_name_validation_scheme.names();
        for name in self.external_labels.keys().filter(|name| !names.allow(name)) {
            let message = format!("{:?} is no name of a label", model::labels::truncated(name));
            problems.push(JobProblem::new("external_labels", message));
        }
        problems
    }
}
