//! What a metric is: its type, unit and help.

/// The type of a metric family, as remote write numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum MetricType {
    /// Nothing is known.
    #[default]
    Unknown,
    /// Only goes up.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Buckets, sum and count.
    Histogram,
    /// A histogram that may shrink.
    GaugeHistogram,
    /// Quantiles, sum and count.
    Summary,
    /// Constant 1 with facts in labels.
    Info,
    /// A set of booleans.
    StateSet,
}

impl MetricType {
    /// Every type, at the index of its number in remote write.
    pub const ALL: [MetricType; 8] = [
        Self::Unknown,
        Self::Counter,
        Self::Gauge,
        Self::Histogram,
        Self::GaugeHistogram,
        Self::Summary,
        Self::Info,
        Self::StateSet,
    ];

    /// The name in the text format and in `/api/v1/metadata`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::GaugeHistogram => "gaugehistogram",
            Self::Summary => "summary",
            Self::Info => "info",
            Self::StateSet => "stateset",
        }
    }

    /// The type with this name in the text format (`untyped` is 0.0.4's word for unknown).
    pub fn from_name(name: &str) -> Option<Self> {
        if name == "untyped" {
            return Some(Self::Unknown);
        }
        Self::ALL.into_iter().find(|t| t.as_str() == name)
    }

    /// The type with this number in remote write.
    pub fn from_number(number: u64) -> Option<Self> {
        usize::try_from(number).ok().and_then(|n| Self::ALL.get(n)).copied()
    }

    /// Whether the series `name` of a family of this type is a running total. Where the type is not known the name's end
    /// tells.
    pub fn is_total(self, name: &str) -> bool {
        let ends: &[&str] = match self {
            Self::Counter => return true,
            Self::Histogram => &["_bucket", "_count", "_sum"],
            Self::Summary => &["_count", "_sum"],
            Self::Unknown => &["_total", "_bucket", "_count", "_sum"],
            Self::Gauge | Self::GaugeHistogram | Self::Info | Self::StateSet => &[],
        };
        ends.iter().any(|end| name.ends_with(end))
    }

    /// The number in remote write and in Weir's files.
    pub fn number(self) -> u8 {
        self as u8
    }
}

/// Type, unit and help of a metric family.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Metadata {
    /// What kind of metric it is.
    pub kind: MetricType,
    /// Its unit, or empty.
    pub unit: String,
    /// Its help text, or empty.
    pub help: String,
}
