//! Jobs: Prometheus' `scrape_configs` as they are written, and what they mean.
//!
//! Two stages. A [`JobBlock`] is what stands in the file, key by key; a [`ScrapeConfig`] is that with what [`Global`] says,
//! its rules compiled, valid as a whole.

mod block;
mod discovered;
mod global;
mod protocol;

use std::collections::BTreeMap;
use std::time::Duration;

use dialects::scraped::Protocol;
use model::TenantName;
use model::relabel::{Names, Rules};
use outbound::{HttpConfig, Scheme, relabel};

pub use block::{JobBlock, JobKeys, place};
pub use discovered::{DnsDiscovery, DnsType, FileDiscovery, HttpDiscovery, HttpDiscoveryKeys, StaticGroup};
pub use global::Global;
pub use protocol::{Escaping, NameValidation};

/// A job, as it runs.
#[derive(Clone, Debug, PartialEq)]
pub struct ScrapeConfig {
    /// Its name, which no other job has.
    pub job_name: String,
    /// Whose the samples are.
    pub tenant: TenantName,
    /// Whether labels of the page win over those of the target.
    pub honor_labels: bool,
    /// Whether timestamps of the page count.
    pub honor_timestamps: bool,
    /// Whether series with timestamps of their own go stale.
    pub track_timestamps_staleness: bool,
    /// Parameters of the URL.
    pub params: BTreeMap<String, Vec<String>>,
    /// Time between two scrapes of a target, unless its labels say another.
    pub interval: Duration,
    /// How long a scrape may take; at most the interval.
    pub timeout: Duration,
    /// What is asked for, the most wanted first.
    pub protocols: Vec<Protocol>,
    /// What a page is taken for that does not say what it is.
    pub fallback: Option<Protocol>,
    /// Which histograms are taken, and how.
    pub histograms: Histograms,
    /// Path of the page.
    pub metrics_path: String,
    /// How it is fetched.
    pub scheme: Scheme,
    /// Whether it may come packed.
    pub compression: bool,
    /// Bounds of a page and of a job.
    pub limits: Limits,
    /// Which names labels and metrics may have.
    pub names: Names,
    /// How names that the server cannot say otherwise are to be escaped.
    pub escaping: Escaping,
    /// Whether `scrape_timeout_seconds`, `scrape_sample_limit` and `scrape_body_size_bytes` are stored too.
    pub extra_metrics: bool,
    /// How requests are made.
    pub http: HttpConfig,
    /// Rules for targets.
    pub relabel: Rules,
    /// Rules for samples.
    pub metric_relabel: Rules,
    /// What the job was made of; where its targets come from stands there.
    pub block: JobBlock,
}

/// Which histograms are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Histograms {
    /// Whether native ones are.
    pub native: bool,
    /// Whether classic ones are beside native ones.
    pub classic_beside_native: bool,
    /// Whether classic ones become native ones with custom buckets.
    pub classic_as_native: bool,
}

/// Bounds; 0 = none.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limits {
    /// Bytes of a page, unpacked.
    pub body_bytes: u64,
    /// Samples of a page.
    pub samples: u64,
    /// Targets of the job.
    pub targets: u64,
    /// Labels of a series.
    pub labels: u64,
    /// Bytes of a label's name.
    pub label_name_bytes: u64,
    /// Bytes of a label's value.
    pub label_value_bytes: u64,
    /// Buckets of a native histogram.
    pub buckets: u64,
    /// The least factor from one bucket of a native histogram to the next.
    pub bucket_factor_min: f64,
    /// Dropped targets that are remembered.
    pub dropped_targets: u64,
}

/// What is wrong with a job.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {message}")]
pub struct JobProblem {
    /// The key within the job.
    pub key: String,
    /// What is wrong.
    pub message: String,
}

impl JobProblem {
    fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { key: key.into(), message: message.into() }
    }
}

impl ScrapeConfig {
    /// Gives a job its meaning. What it leaves open is as in `global`, which must be checked ([`Global::check`]).
    pub fn resolve(block: JobBlock, global: &Global) -> Result<Self, Vec<JobProblem>> {
        let mut problems = Vec::new();
        let keys = &block.own;
        let mut complain = |key: &str, message: String| problems.push(JobProblem::new(key, message));
        if keys.job_name.is_empty() {
            complain("job_name", "is needed".to_owned());
        }
        let tenant = TenantName::parse(keys.tenant.as_deref().unwrap_or("default"));
        let tenant = tenant.map_err(|error| complain("tenant", error.to_string())).ok();
        let scheme = match keys.scheme.as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            other => {
                complain("scheme", format!("expected http or https, found {other:?}"));
                Scheme::Http
            }
        };
        let (interval, timeout) = times(keys, global).unwrap_or_else(|problem| {
            complain(&problem.key, problem.message);
            (global.interval(), global.timeout())
        });
        let native = keys.scrape_native_histograms.unwrap_or(global.scrape_native_histograms);
        let protocols = keys.scrape_protocols.clone().or_else(|| global.scrape_protocols.clone());
        let protocols = match protocols {
            Some(names) => protocol::parse_all(&names),
            None if native => Ok(Protocol::PROTOBUF_FIRST.to_vec()),
            None => Ok(Protocol::USUAL.to_vec()),
        };
        let protocols = protocols.unwrap_or_else(|message| {
            complain("scrape_protocols", message);
            Vec::new()
        });
        let fallback = keys.fallback_scrape_protocol.as_deref().filter(|name| !name.is_empty());
        let fallback = fallback.and_then(|name| {
            let parsed = name.parse().map_err(|error: dialects::scraped::UnknownProtocol| error.to_string());
            parsed.map_err(|message| complain("fallback_scrape_protocol", message)).ok()
        });
        let validation = keys.metric_name_validation_scheme.unwrap_or(global.metric_name_validation_scheme);
        let names = validation.names();
        let escaping = protocol::escaping(keys, global).unwrap_or_else(|message| {
            complain("metric_name_escaping_scheme", message);
            Escaping::default()
        });
        let mut rules = |key: &str, configs| {
            relabel::rules(configs, names).unwrap_or_else(|(at, error)| {
                complain(&format!("{key}[{at}]"), error.to_string());
                Rules::default()
            })
        };
        let relabel = rules("relabel_configs", &keys.relabel_configs);
        let metric_relabel = rules("metric_relabel_configs", &keys.metric_relabel_configs);
        if let Err(error) = block.inner.check() {
            complain(&error.key, error.message);
        }
        discovered::check(keys, &mut complain);
        let Some(tenant) = tenant.filter(|_| problems.is_empty()) else { return Err(problems) };
        Ok(Self {
            job_name: keys.job_name.clone(),
            tenant,
            honor_labels: keys.honor_labels,
            honor_timestamps: keys.honor_timestamps,
            track_timestamps_staleness: keys.track_timestamps_staleness,
            params: keys.params.clone(),
            interval,
            timeout,
            protocols,
            fallback,
            histograms: Histograms {
                native,
                classic_beside_native: keys
                    .always_scrape_classic_histograms
                    .unwrap_or(global.always_scrape_classic_histograms),
                classic_as_native: keys
                    .convert_classic_histograms_to_nhcb
                    .unwrap_or(global.convert_classic_histograms_to_nhcb),
            },
            metrics_path: keys.metrics_path.clone(),
            scheme,
            compression: keys.enable_compression,
            limits: limits(keys, global),
            names,
            escaping,
            extra_metrics: keys.extra_scrape_metrics.unwrap_or(global.extra_scrape_metrics),
            http: block.inner.clone(),
            relabel,
            metric_relabel,
            block,
        })
    }
}

fn times(keys: &JobKeys, global: &Global) -> Result<(Duration, Duration), JobProblem> {
    let set = |time: Option<Duration>| time.filter(|time| !time.is_zero());
    let interval = set(keys.scrape_interval).unwrap_or(global.interval());
    let timeout = set(keys.scrape_timeout).unwrap_or(global.timeout().min(interval));
    if timeout > interval {
        return Err(JobProblem::new("scrape_timeout", "is longer than scrape_interval"));
    }
    Ok((interval, timeout))
}

fn limits(keys: &JobKeys, global: &Global) -> Limits {
    let either = |own: u64, all: u64| if own == 0 { all } else { own };
    Limits {
        body_bytes: either(keys.body_size_limit.0, global.body_size_limit.0),
        samples: either(keys.sample_limit, global.sample_limit),
        targets: either(keys.target_limit, global.target_limit),
        labels: either(keys.label_limit, global.label_limit),
        label_name_bytes: either(keys.label_name_length_limit, global.label_name_length_limit),
        label_value_bytes: either(keys.label_value_length_limit, global.label_value_length_limit),
        buckets: keys.native_histogram_bucket_limit,
        bucket_factor_min: keys.native_histogram_min_bucket_factor,
        dropped_targets: either(keys.keep_dropped_targets, global.keep_dropped_targets),
    }
}

#[cfg(test)]
mod tests;
