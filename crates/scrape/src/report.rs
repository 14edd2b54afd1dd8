//! The series that tell of a scrape itself, by Prometheus' names.

use std::time::Duration;

/// Whether the series of `extra_scrape_metrics` are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Extra {
    /// They are not.
    #[default]
    Without,
    /// They are.
    With,
}

/// Names, in the order of [`Report::values`]. The last three are those of `extra_scrape_metrics`.
pub const NAMES: [&str; 8] = [
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
    "scrape_timeout_seconds",
    "scrape_sample_limit",
    "scrape_body_size_bytes",
];

/// How many of [`NAMES`] a target has.
pub fn count(extra: Extra) -> usize {
    match extra {
        Extra::Without => 5,
        Extra::With => NAMES.len(),
    }
}

/// What is known of a scrape when it ends.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Report {
    /// Whether it went well.
    pub health: Health,
    /// How long it took.
    pub took: Duration,
    /// Rows on the page.
    pub scraped: u64,
    /// Rows that the rules left.
    pub kept: u64,
    /// Series that were not on the page before.
    pub added: u64,
    /// The target's timeout.
    pub timeout: Duration,
    /// `sample_limit`; 0 = none.
    pub sample_limit: u64,
    /// Bytes of the page, unpacked; -1 when it was over `body_size_limit`, 0 when there was none.
    pub body_bytes: i64,
}

/// How a target is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// Not scraped yet.
    #[default]
    Unknown,
    /// Its last scrape went well.
    Up,
    /// It did not.
    Down,
}

impl Health {
    /// As `/api/v1/targets` has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

impl Report {
    /// The values of [`NAMES`].
    pub fn values(&self) -> [f64; NAMES.len()] {
        [
            f64::from(u8::from(self.health == Health::Up)),
            self.took.as_secs_f64(),
            self.scraped as f64,
            self.kept as f64,
            self.added as f64,
            self.timeout.as_secs_f64(),
            self.sample_limit as f64,
            self.body_bytes as f64,
        ]
    }
}
