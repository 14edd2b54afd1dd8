//! What of Better Stack's API a tenant may choose.

use std::time::Duration;

use dialects::betterstack::{self, HistogramSeries};

use super::section::section;
use super::value::Scalar;

impl Scalar for HistogramSeries {
    const EXPECTED: &'static str = "both, prometheus or betterstack";

    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "both" => Self::Both,
            "prometheus" => Self::Prometheus,
            "betterstack" => Self::Betterstack,
            _ => return None,
        })
    }

    fn show(&self) -> String {
        match self {
            Self::Both => "both",
            Self::Prometheus => "prometheus",
            Self::Betterstack => "betterstack",
        }
        .to_owned()
    }
}

section! {
    /// What becomes of what is sent to Better Stack's API. `tenants.<name>.betterstack` overrides it for one.
    Betterstack {
        /// As which series a histogram is stored: `name{upper_limit}` with each bucket's own count (betterstack), cumulative
        /// `name_bucket{le}` (prometheus), or both. Default: both.
        histogram_series: Option<HistogramSeries> = "", Reload;
        /// Refuse metrics whose time is further in the past; Better Stack itself says 15m. Default: whatever retention allows.
        max_past: Option<Duration> = "", Reload;
        /// Requests that one client's address may make in a minute; more are answered 429. 0 = any number. Default: 500.
        requests_per_minute: Option<u32> = "", Reload;
    }
}

impl Betterstack {
    /// What this means, over what is set for `all` tenants.
    pub(super) fn over(&self, all: &Self) -> betterstack::Settings {
        let standard = betterstack::Settings::default();
        let past_max = self.max_past.or(all.max_past);
        betterstack::Settings {
            histogram_series: self
                .histogram_series
                .or(all.histogram_series)
                .unwrap_or(standard.histogram_series),
            past_ms_max: past_max.map(|past| i64::try_from(past.as_millis()).unwrap_or(i64::MAX)),
            requests_per_minute: self
                .requests_per_minute
                .or(all.requests_per_minute)
                .unwrap_or(standard.requests_per_minute),
        }
    }
}
