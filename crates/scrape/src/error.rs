//! Why a scrape failed: each reason with its text for `/api/v1/targets` and its name for the counters.

use dialects::scraped::{UnknownMedia, Violation};

use crate::labelling::BadSeries;
use crate::store::Lost;

/// Why a scrape failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ScrapeError {
    /// Occurs when there is no answer: no connection, no time, TLS, a proxy, a redirect that is not followed.
    #[error("{0}")]
    NoAnswer(String),
    /// Occurs when the target does not answer in its timeout.
    #[error("context deadline exceeded: no answer within {0:?}")]
    Timeout(std::time::Duration),
    /// Occurs when the answer is no 200.
    #[error("server returned HTTP status {0}")]
    Status(http::StatusCode),
    /// Occurs when the page is longer than `body_size_limit`, or than any page may be.
    #[error("body size limit exceeded")]
    BodySize,
    /// Occurs when the media type says no format and there is no `fallback_scrape_protocol`.
    #[error("{0}")]
    Media(#[from] UnknownMedia),
    /// Occurs when the page is not what its format allows.
    #[error("{0}")]
    Page(#[from] Violation),
    /// Occurs when the labels of a series are none, or over a limit.
    #[error("{0}")]
    Labels(#[from] BadSeries),
    /// Occurs when the text of a series is longer than any may be.
    #[error("the labels of a series take {length} bytes, at most {limit} are read")]
    SeriesLength {
        /// Bytes found.
        length: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// Occurs when a page in protobuf would be far longer as text: every bucket has all labels of its histogram there.
    #[error("the page would be longer than {0} bytes as text")]
    TextSize(usize),
    /// Occurs when there are more rows than `sample_limit`.
    #[error("sample limit exceeded")]
    SampleLimit,
    /// Occurs when a native histogram has more buckets than `native_histogram_bucket_limit` at any resolution.
    #[error("histogram bucket limit exceeded")]
    BucketLimit,
    /// Occurs when a job has more targets than `target_limit`: all of them fail.
    #[error("target_limit exceeded (number of targets: {targets}, limit: {limit})")]
    TargetLimit {
        /// Targets found.
        targets: usize,
        /// Targets allowed.
        limit: usize,
    },
    /// Occurs when as many scrapes run as may run at once, for as long as the timeout.
    #[error("too many scrapes are under way")]
    Crowded,
    /// Occurs when the rows could not be stored.
    #[error("{0}")]
    Lost(#[from] Lost),
}

impl ScrapeError {
    /// The value of the self-metrics' label `reason`.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NoAnswer(_) => "no_answer",
            Self::Timeout(_) => "timeout",
            Self::Status(_) => "status",
            Self::BodySize => "body_size_limit",
            Self::Media(_) => "media_type",
            Self::Page(_) => "page",
            Self::Labels(BadSeries::Labels { .. } | BadSeries::Length { .. }) => "label_limit",
            Self::Labels(_) | Self::SeriesLength { .. } => "labels",
            Self::TextSize(_) => "body_size_limit",
            Self::SampleLimit => "sample_limit",
            Self::BucketLimit => "bucket_limit",
            Self::TargetLimit { .. } => "target_limit",
            Self::Crowded => "crowded",
            Self::Lost(lost) => lost.as_str(),
        }
    }
}
