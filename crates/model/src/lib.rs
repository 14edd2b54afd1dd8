//! The words that every part of Weir shares: labels, samples, native histograms, exemplars, metadata, batches with
//! their rejections, matchers, relabelling rules, tenants and limits.
//!
//! Nothing here does I/O, knows a clock, or has a wire shape: a protocol's shape lives in its dialect, a file's shape
//! in the store that writes it. Times are milliseconds since the Unix epoch in an `i64`, as in Prometheus; columns of
//! them stay plain integers because they are the hottest data in the house.
//!
//! ```
//! use model::{Labels, LabelLimits};
//! let labels = Labels::canonical(&mut vec![("job", "api"), ("__name__", "up")], &LabelLimits::default()).unwrap();
//! assert_eq!(labels.metric_name(), Some("up"));
//! assert_eq!(labels.to_string(), r#"up{job="api"}"#);
//! ```

pub mod batch;
pub mod histogram;
pub mod hosts;
pub mod labels;
pub mod limits;
pub mod log;
pub mod matcher;
pub mod metadata;
pub mod origin;
pub mod re2;
pub mod relabel;
pub mod sample;
pub mod select;
pub mod tenant;

pub use batch::{Batch, Counts, Reason, Rejections, Signal, Temporality};
pub use histogram::Histogram;
pub use hosts::{HostRow, HostTags};
pub use labels::{LabelError, Labels, LabelsRef, SeriesId};
pub use limits::{LabelLimits, TenantLimits};
pub use log::LogRow;
pub use matcher::{MatchOp, Matcher, Matchers};
pub use metadata::{Metadata, MetricType};
pub use origin::Origin;
pub use sample::{STALE_NAN_BITS, Sample, is_stale};
pub use select::{Budget, Hints, SeriesBlock, SeriesRef, TimeRange, WantedLabels, Windows};
pub use tenant::{TenantId, TenantName};
