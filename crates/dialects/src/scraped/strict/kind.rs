//! What families of a type are named and which of their labels tell parts of a metric apart.

use model::MetricType;

use super::Rules;

/// A family's type under the rules of a format; without a `TYPE` line it is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) rules: Rules,
    pub(super) kind: MetricType,
}

impl Kind {
    /// What its series are named behind the family's name.
    pub(super) fn suffixes(self) -> &'static [&'static str] {
        match (self.rules, self.kind) {
            (Rules::Prometheus, MetricType::Histogram) => &["_bucket", "_sum", "_count"],
            (Rules::Prometheus, MetricType::Summary) => &["", "_sum", "_count"],
            (Rules::Prometheus, _) => &[""],
            (_, MetricType::Counter) => &["_total", "_created"],
            (_, MetricType::Histogram) => &["_bucket", "_sum", "_count", "_created"],
            (_, MetricType::GaugeHistogram) => &["_bucket", "_gsum", "_gcount"],
            (_, MetricType::Summary) => &["", "_sum", "_count", "_created"],
            (_, MetricType::Info) => &["_info"],
            (_, MetricType::Unknown | MetricType::Gauge | MetricType::StateSet) => &[""],
        }
    }

    /// The label that tells parts of one metric apart, if there is one.
    pub(super) fn part(self, family: &str) -> Option<&str> {
        match self.kind {
            MetricType::Histogram | MetricType::GaugeHistogram => Some("le"),
            MetricType::Summary => Some("quantile"),
            MetricType::StateSet => Some(family),
            _ => None,
        }
    }

    /// Whether a series with this suffix may have exemplars.
    pub(super) fn has_exemplars(self, suffix: &str) -> bool {
        match self.kind {
            MetricType::Counter => suffix == "_total",
            MetricType::Histogram | MetricType::GaugeHistogram => suffix == "_bucket",
            _ => false,
        }
    }
}
