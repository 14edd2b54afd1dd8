//! What a tenant may choose.

/// As which series a histogram is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum HistogramSeries {
    /// Both of the following.
    #[default]
    Both,
    /// `name_bucket{le}`, cumulative, as `histogram_quantile` wants it.
    Prometheus,
    /// `name{upper_limit}`, each bucket's own count, as Better Stack documents it.
    Betterstack,
}

/// A tenant's choices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Settings {
    /// As which series a histogram is stored.
    pub histogram_series: HistogramSeries,
    /// Metrics with a time further in the past than so many milliseconds are refused; `None` = whatever retention allows.
    pub past_ms_max: Option<i64>,
    /// Requests that one client's address may make in a minute; 0 = any number. Asked before a body is read.
    pub requests_per_minute: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { histogram_series: HistogramSeries::default(), past_ms_max: None, requests_per_minute: 500 }
    }
}
