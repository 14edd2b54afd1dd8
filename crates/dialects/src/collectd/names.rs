//! Names and labels of collectd's values, as its `write_prometheus` (5.12) makes them: `collectd_<plugin>_<type>_<source>`
//! with the plugin only where it is not called like the type, the data source only where it is not called `value`, and
//! `_total` behind what counts up. The host is `instance`; the plugin's instance a label called like the plugin; the type's
//! instance the label `type`, or, where the plugin has none, a label called like the plugin.

use std::borrow::Cow;

use model::batch::Pair;
use model::metadata::MetricType;

/// What collectd calls one thing that has values.
#[derive(Clone, Debug, Default)]
pub(super) struct Identifier<'a> {
    pub(super) host: Cow<'a, str>,
    pub(super) plugin: Cow<'a, str>,
    pub(super) plugin_instance: Cow<'a, str>,
    pub(super) kind: Cow<'a, str>,
    pub(super) type_instance: Cow<'a, str>,
}

/// What a data source is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// A value.
    Gauge,
    /// A total (`derive` and `counter`).
    Total,
    /// What came since the value before.
    Absolute,
    /// Not said.
    Unknown,
}

impl Source {
    pub(super) fn of(text: &str) -> Option<Self> {
        match text {
            "gauge" => Some(Self::Gauge),
            "derive" | "counter" => Some(Self::Total),
            "absolute" => Some(Self::Absolute),
            _ => None,
        }
    }

    /// Its type in Prometheus' terms.
    pub(super) fn metric_type(self) -> MetricType {
        match self {
            Self::Gauge | Self::Absolute => MetricType::Gauge,
            Self::Total => MetricType::Counter,
            Self::Unknown => MetricType::Unknown,
        }
    }
}

impl<'a> Identifier<'a> {
    /// The metric of a data source.
    pub(super) fn name(&self, name: &str, source: Source) -> String {
        let mut metric = String::from("collectd");
        let plugin = if self.plugin == self.kind { "" } else { self.plugin.as_ref() };
        let name = if name == "value" { "" } else { name };
        let total = if source == Source::Total { "total" } else { "" };
        for part in [plugin, self.kind.as_ref(), name, total].into_iter().filter(|part| !part.is_empty()) {
            metric.push('_');
            metric.push_str(part);
        }
        metric
    }

    /// The labels of all its data sources; some may be empty.
    pub(super) fn labels(&self) -> impl Iterator<Item = Pair<'a>> {
        let kind = if self.plugin_instance.is_empty() { self.plugin.clone() } else { "type".into() };
        [
            (Cow::Borrowed("instance"), self.host.clone()),
            (self.plugin.clone(), self.plugin_instance.clone()),
            (kind, self.type_instance.clone()),
        ]
        .into_iter()
    }
}
