//! What a tenant may use. Every number has its config key (`limits.<field>`) and its default here.

use crate::labels::{LABELS_MAX, LENGTH_MAX, LabelError};

/// Bounds on one series' label set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LabelLimits {
    /// Labels of a series, the metric name among them.
    pub labels: usize,
    /// Bytes of a label name.
    pub name_bytes: usize,
    /// Bytes of a label value.
    pub value_bytes: usize,
    /// Bytes of all names and values together.
    pub total_bytes: usize,
}

impl Default for LabelLimits {
    fn default() -> Self {
        Self { labels: 128, name_bytes: 1 << 10, value_bytes: 8 << 10, total_bytes: 32 << 10 }
    }
}

impl LabelLimits {
    pub(crate) fn check(&self, pairs: &[(&str, &str)]) -> Result<(), LabelError> {
        // Whatever a tenant was given, stores hold no more.
        let labels = self.labels.min(LABELS_MAX);
        if pairs.len() > labels {
            return Err(LabelError::TooMany { count: pairs.len(), limit: labels });
        }
        let mut total = 0;
        for (name, value) in pairs {
            total += name.len() + value.len();
            let (name_bytes, value_bytes) =
                (self.name_bytes.min(LENGTH_MAX), self.value_bytes.min(LENGTH_MAX));
            if name.len() > name_bytes {
                return Err(LabelError::NameTooLong { length: name.len(), limit: name_bytes });
            }
            if value.len() > value_bytes {
                return Err(LabelError::ValueTooLong {
                    name: crate::labels::truncated(name),
                    length: value.len(),
                    limit: value_bytes,
                });
            }
        }
        if total > self.total_bytes {
            return Err(LabelError::TooLong { length: total, limit: self.total_bytes });
        }
        Ok(())
    }
}

/// Everything that is limited per tenant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TenantLimits {
    /// Label sets.
    pub labels: LabelLimits,
    /// Series in the head at once; over it existing series go on and new ones are rejected.
    pub active_series: u64,
    /// Samples a second, averaged; over it a dialect answers "over rate".
    pub samples_per_second: f64,
    /// Samples that may come at once on top of the rate.
    pub samples_burst: f64,
    /// How far ahead of the wall clock a sample may lie, in ms.
    pub future_ms: i64,
    /// How long samples are kept, in ms; 0 = for ever. Samples older than this are rejected.
    pub retention_ms: i64,
    /// Bytes of blocks that are kept; 0 = any number. A tenant over it loses its oldest ones.
    pub max_bytes: u64,
    /// Bytes that one query may hold at once.
    pub query_bytes: u64,
}

impl Default for TenantLimits {
    fn default() -> Self {
        Self {
            labels: LabelLimits::default(),
            active_series: 10_000_000,
            samples_per_second: 10_000_000.0,
            samples_burst: 50_000_000.0,
            future_ms: 10 * 60 * 1000,
            retention_ms: 400 * 24 * 3600 * 1000,
            max_bytes: 0,
            query_bytes: 1 << 30,
        }
    }
}
