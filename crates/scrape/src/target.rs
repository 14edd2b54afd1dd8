//! From groups of discovered targets to what is scraped, by Prometheus' rules.
//!
//! A target's labels begin as what was discovered of it, its group's labels and what the job says of every target
//! (`__scheme__`, `__metrics_path__`, `__param_…`, `__scrape_interval__`). The job's rules rewrite them; what they are then
//! says where the page lies and how often it is fetched. Labels in `__` are for that alone and do not reach a series.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use model::Labels;
use model::relabel::{LabelSet, Verdict};
use outbound::{Scheme, Url, duration};

use crate::config::{Histograms, ScrapeConfig};

/// Host and port.
pub const ADDRESS: &str = "__address__";
const SCHEME: &str = "__scheme__";
const METRICS_PATH: &str = "__metrics_path__";
const INTERVAL: &str = "__scrape_interval__";
const TIMEOUT: &str = "__scrape_timeout__";
const PARAMETER: &str = "__param_";
const META: &str = "__meta_";
const CLASSIC_AS_NATIVE: &str = "__convert_classic_histograms_to_nhcb__";
const CLASSIC_BESIDE_NATIVE: &str = "__always_scrape_classic_histograms__";
const NATIVE: &str = "__scrape_native_histograms__";

/// Targets that were discovered together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetGroup {
    /// From where: `targets.json:0`.
    pub source: String,
    /// The labels of each, its address among them.
    pub targets: Vec<BTreeMap<String, String>>,
    /// Labels that all of them have unless they say otherwise.
    pub labels: BTreeMap<String, String>,
}

/// What is scraped.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// Where its page lies, with parameters.
    pub url: Url,
    /// Its labels, those in `__` among them.
    pub labels: Labels,
    /// Its labels before the job's rules.
    pub discovered: Labels,
    /// Time between two scrapes.
    pub interval: Duration,
    /// How long a scrape may take.
    pub timeout: Duration,
    /// Which histograms are taken.
    pub histograms: Histograms,
}

impl Target {
    /// Tells it from every other target of its job, before and after a restart.
    pub fn hash(&self) -> u64 {
        let text = format!("{}\0{}", self.labels.as_canonical(), self.url);
        // Half of 128 bits.
        codec::hash::key128(0, text.as_bytes()) as u64
    }

    /// The labels that its series get.
    pub fn public(&self) -> Labels {
        self.labels.iter().filter(|(name, _)| !name.starts_with("__")).collect()
    }
}

/// What became of the groups of a job.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// To be scraped, each once.
    pub targets: Vec<Target>,
    /// What the rules dropped, as it was discovered; at most `keep_dropped_targets` of them.
    pub dropped: Vec<Labels>,
    /// How many were dropped.
    pub dropped_count: usize,
    /// What cannot be scraped, with the place in its group.
    pub invalid: Vec<Invalid>,
}

/// A target that cannot be scraped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// Its group.
    pub source: String,
    /// Its place in the group.
    pub index: usize,
    /// Why.
    pub error: InvalidTarget,
}

/// Why a target cannot be scraped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTarget {
    /// Occurs when `__address__` is empty.
    #[error("no address")]
    NoAddress,
    /// Occurs when address and scheme make no URL.
    #[error("{0:?} is no host with a port")]
    Address(String),
    /// Occurs when `__scheme__` is another than http or https.
    #[error("unsupported scheme {0:?}")]
    Scheme(String),
    /// Occurs when a label should be a duration above zero.
    #[error("{label} is {value:?}, expected a duration like 30s")]
    Time {
        /// The label.
        label: &'static str,
        /// Its value.
        value: String,
    },
    /// Occurs when a scrape may take longer than until the next one.
    #[error("scrape timeout {timeout:?} is longer than the interval {interval:?}")]
    Timeout {
        /// The timeout.
        timeout: Duration,
        /// The interval.
        interval: Duration,
    },
    /// Occurs when a label should be true or false.
    #[error("{label} is {value:?}, expected true or false")]
    Truth {
        /// The label.
        label: &'static str,
        /// Its value.
        value: String,
    },
}

/// The targets of a job from everything that was discovered for it.
pub fn targets(config: &ScrapeConfig, groups: &[TargetGroup]) -> Found {
    let mut found = Found::default();
    let mut seen = HashSet::new();
    let dropped_max = match config.limits.dropped_targets {
        0 => usize::MAX,
        most => usize::try_from(most).unwrap_or(usize::MAX),
    };
    for group in groups {
        for (index, own) in group.targets.iter().enumerate() {
            let mut labels = discovered(config, own, &group.labels);
            let before: Labels = labels.iter().collect();
            if config.relabel.apply(&mut labels) == Verdict::Dropped {
                found.dropped_count += 1;
                if found.dropped.len() < dropped_max {
                    found.dropped.push(before);
                }
                continue;
            }
            match target(config, labels, before) {
                Ok(target) if seen.insert(target.hash()) => found.targets.push(target),
                Ok(_) => {}
                Err(error) => {
                    found.invalid.push(Invalid { source: group.source.clone(), index, error });
                }
            }
        }
    }
    found
}

/// A target's labels before the rules.
fn discovered<'a>(
    config: &'a ScrapeConfig,
    own: &'a BTreeMap<String, String>,
    group: &'a BTreeMap<String, String>,
) -> LabelSet<'a> {
    let mut labels: LabelSet<'a> =
        group.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    // A label that the target itself leaves empty is not its group's either.
    for (name, value) in own {
        labels.set(name.as_str(), value.as_str());
    }
    let truth = |value: bool| if value { "true" } else { "false" };
    let mut default = |name: &'static str, value: String| {
        if !labels.has(name) {
            labels.set(name, value);
        }
    };
    default("job", config.job_name.clone());
    default(INTERVAL, duration::show(config.interval));
    default(TIMEOUT, duration::show(config.timeout));
    default(METRICS_PATH, config.metrics_path.clone());
    default(SCHEME, config.scheme.as_str().to_owned());
    default(CLASSIC_AS_NATIVE, truth(config.histograms.classic_as_native).to_owned());
    default(CLASSIC_BESIDE_NATIVE, truth(config.histograms.classic_beside_native).to_owned());
    default(NATIVE, truth(config.histograms.native).to_owned());
    for (name, values) in &config.params {
        let name = format!("{PARAMETER}{name}");
        if let Some(first) = values.first()
            && !labels.has(&name)
        {
            labels.set(name, first.as_str());
        }
    }
    labels
}

/// The target that relabelled labels mean.
fn target(
    config: &ScrapeConfig,
    mut labels: LabelSet<'_>,
    discovered: Labels,
) -> Result<Target, InvalidTarget> {
    let address = labels.get(ADDRESS).to_owned();
    if address.is_empty() {
        return Err(InvalidTarget::NoAddress);
    }
    let url = url(config, &labels, &address)?;
    let interval = time(&labels, INTERVAL)?;
    let timeout = time(&labels, TIMEOUT)?;
    if timeout > interval {
        return Err(InvalidTarget::Timeout { timeout, interval });
    }
    let standard = config.histograms;
    let histograms = Histograms {
        native: truth(&labels, NATIVE, standard.native)?,
        classic_beside_native: truth(&labels, CLASSIC_BESIDE_NATIVE, standard.classic_beside_native)?,
        classic_as_native: truth(&labels, CLASSIC_AS_NATIVE, standard.classic_as_native)?,
    };
    labels.retain(|name, _| !name.starts_with(META));
    if !labels.has("instance") {
        labels.set("instance", address);
    }
    Ok(Target { url, labels: labels.iter().collect(), discovered, interval, timeout, histograms })
}

fn url(config: &ScrapeConfig, labels: &LabelSet<'_>, address: &str) -> Result<Url, InvalidTarget> {
    let no_address = || InvalidTarget::Address(model::labels::truncated(address));
    // A path or a user belongs in other labels and keys.
    if address.contains(['/', '@', '?', '#']) {
        return Err(no_address());
    }
    let scheme = match labels.get(SCHEME) {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        other => return Err(InvalidTarget::Scheme(model::labels::truncated(other))),
    };
    let mut params: BTreeMap<&str, Vec<&str>> = config
        .params
        .iter()
        .map(|(name, values)| (name.as_str(), values.iter().map(String::as_str).collect()))
        .collect();
    for (name, value) in labels.iter() {
        let Some(name) = name.strip_prefix(PARAMETER) else { continue };
        let values = params.entry(name).or_default();
        match values.first_mut() {
            Some(first) => *first = value,
            None => values.push(value),
        }
    }
    let path = labels.get(METRICS_PATH);
    let slash = if path.starts_with('/') { "" } else { "/" };
    let mut text = format!("{}://{address}{slash}", scheme.as_str());
    escape_path(path, &mut text);
    let mut before = '?';
    for (name, values) in params {
        for value in values {
            text.push(before);
            escape_query(name, &mut text);
            text.push('=');
            escape_query(value, &mut text);
            before = '&';
        }
    }
    Url::parse(&text).map_err(|_| no_address())
}

/// A path as Go's `net/url` writes it.
fn escape_path(path: &str, out: &mut String) {
    for byte in path.bytes() {
        match byte {
            b'-' | b'_' | b'.' | b'~' | b'$' | b'&' | b'+' | b',' | b'/' | b':' | b';' | b'=' | b'@' => {
                out.push(char::from(byte));
            }
            byte if byte.is_ascii_alphanumeric() => out.push(char::from(byte)),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
}

/// A parameter as Go's `net/url` writes it.
fn escape_query(text: &str, out: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            byte if byte.is_ascii_alphanumeric() => out.push(char::from(byte)),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
}

fn time(labels: &LabelSet<'_>, label: &'static str) -> Result<Duration, InvalidTarget> {
    let value = labels.get(label);
    duration::parse(value)
        .filter(|time| !time.is_zero())
        .ok_or_else(|| InvalidTarget::Time { label, value: model::labels::truncated(value) })
}

/// The words that Go's `strconv.ParseBool` takes.
fn truth(labels: &LabelSet<'_>, label: &'static str, unset: bool) -> Result<bool, InvalidTarget> {
    match labels.get(label) {
        "" => Ok(unset),
        "1" | "t" | "T" | "true" | "True" | "TRUE" => Ok(true),
        "0" | "f" | "F" | "false" | "False" | "FALSE" => Ok(false),
        other => Err(InvalidTarget::Truth { label, value: model::labels::truncated(other) }),
    }
}

#[cfg(test)]
mod tests;
