//! Overrides of a tenant's limits: what is set replaces the default, what is not set follows it.

use model::{LabelLimits, TenantLimits};

/// Limits that are set for one tenant. Field names are the keys of the configuration and the admin API.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LimitOverrides {
    /// Labels of a series.
    pub labels: Option<u64>,
    /// Bytes of a label name.
    pub label_name_bytes: Option<u64>,
    /// Bytes of a label value.
    pub label_value_bytes: Option<u64>,
    /// Bytes of all names and values of a series together.
    pub labels_bytes: Option<u64>,
    /// Series in the head at once.
    pub active_series: Option<u64>,
    /// Samples a second.
    pub samples_per_second: Option<f64>,
    /// Samples at once on top of the rate.
    pub samples_burst: Option<f64>,
    /// How far ahead of the clock a sample may lie, in ms.
    pub future_ms: Option<i64>,
    /// How long samples are kept, in ms; 0 = for ever.
    pub retention_ms: Option<i64>,
    /// Bytes of blocks that are kept; 0 = any number.
    pub max_bytes: Option<u64>,
    /// Bytes that one query may hold.
    pub query_bytes: Option<u64>,
}

impl LimitOverrides {
    /// `base` with everything that is set here.
    pub fn over(&self, base: &TenantLimits) -> TenantLimits {
        let size = |set: Option<u64>, default: usize| {
            set.map_or(default, |value| usize::try_from(value).unwrap_or(usize::MAX))
        };
        TenantLimits {
            labels: LabelLimits {
                labels: size(self.labels, base.labels.labels),
                name_bytes: size(self.label_name_bytes, base.labels.name_bytes),
                value_bytes: size(self.label_value_bytes, base.labels.value_bytes),
                total_bytes: size(self.labels_bytes, base.labels.total_bytes),
            },
            active_series: self.active_series.unwrap_or(base.active_series),
            samples_per_second: self.samples_per_second.unwrap_or(base.samples_per_second),
            samples_burst: self.samples_burst.unwrap_or(base.samples_burst),
            future_ms: self.future_ms.unwrap_or(base.future_ms),
            retention_ms: self.retention_ms.unwrap_or(base.retention_ms),
            max_bytes: self.max_bytes.unwrap_or(base.max_bytes),
            query_bytes: self.query_bytes.unwrap_or(base.query_bytes),
        }
    }

    /// These overrides with everything that is set in `other` on top.
    pub fn then(&self, other: &Self) -> Self {
        Self {
            labels: other.labels.or(self.labels),
            label_name_bytes: other.label_name_bytes.or(self.label_name_bytes),
            label_value_bytes: other.label_value_bytes.or(self.label_value_bytes),
            labels_bytes: other.labels_bytes.or(self.labels_bytes),
            active_series: other.active_series.or(self.active_series),
            samples_per_second: other.samples_per_second.or(self.samples_per_second),
            samples_burst: other.samples_burst.or(self.samples_burst),
            future_ms: other.future_ms.or(self.future_ms),
            retention_ms: other.retention_ms.or(self.retention_ms),
            max_bytes: other.max_bytes.or(self.max_bytes),
            query_bytes: other.query_bytes.or(self.query_bytes),
        }
    }

    /// The name of the first limit whose value makes no sense: a rate or burst that is not a number above 0, a
    /// negative time.
    pub fn nonsense(&self) -> Option<&'static str> {
        let rate = |value: Option<f64>| value.is_some_and(|value| !value.is_finite() || value <= 0.0);
        let time = |value: Option<i64>| value.is_some_and(|value| value < 0);
        let found = [
            ("samples_per_second", rate(self.samples_per_second)),
            ("samples_burst", rate(self.samples_burst)),
            ("future", time(self.future_ms)),
            ("retention", time(self.retention_ms)),
        ];
        found.into_iter().find(|(_, bad)| *bad).map(|(name, _)| name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_set_follows_the_default() {
        let base = TenantLimits::default();
        assert_eq!(LimitOverrides::default().over(&base), base);
        let file = LimitOverrides { active_series: Some(5), labels: Some(7), ..LimitOverrides::default() };
        let admin = LimitOverrides { active_series: Some(9), ..LimitOverrides::default() };
        let limits = file.then(&admin).over(&base);
        assert_eq!((limits.active_series, limits.labels.labels), (9, 7));
        assert_eq!(limits.samples_burst, base.samples_burst);
    }

    #[test]
    fn nonsense_is_named() {
        let with = |rate| LimitOverrides { samples_per_second: Some(rate), ..LimitOverrides::default() };
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(with(rate).nonsense(), Some("samples_per_second"));
        }
        assert_eq!(with(0.5).nonsense(), None);
        let negative = LimitOverrides { retention_ms: Some(-1), ..LimitOverrides::default() };
        assert_eq!(negative.nonsense(), Some("retention"));
    }
}
