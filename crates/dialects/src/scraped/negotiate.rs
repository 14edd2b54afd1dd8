//! What is asked for and what came: Prometheus' names of protocols, the `Accept` header, media types.

use std::str::FromStr;

/// A protocol, as `scrape_protocols` names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// `io.prometheus.client.MetricFamily`, each behind its length.
    PrometheusProto,
    /// OpenMetrics 1.0.0.
    OpenMetricsText1_0_0,
    /// OpenMetrics 0.0.1.
    OpenMetricsText0_0_1,
    /// Prometheus' text with quoted names.
    PrometheusText1_0_0,
    /// Prometheus' text.
    PrometheusText0_0_4,
}

/// Occurs when a word names no protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown scrape protocol {0}, supported: [OpenMetricsText0.0.1 OpenMetricsText1.0.0 PrometheusProto \
     PrometheusText0.0.4 PrometheusText1.0.0]"
)]
pub struct UnknownProtocol(pub String);

impl Protocol {
    /// All, in the order in which native histograms are asked for.
    pub const PROTOBUF_FIRST: [Self; 5] = [
        Self::PrometheusProto,
        Self::OpenMetricsText1_0_0,
        Self::OpenMetricsText0_0_1,
        Self::PrometheusText1_0_0,
        Self::PrometheusText0_0_4,
    ];

    /// What is asked for when nothing is configured.
    pub const USUAL: [Self; 4] = [
        Self::OpenMetricsText1_0_0,
        Self::OpenMetricsText0_0_1,
        Self::PrometheusText1_0_0,
        Self::PrometheusText0_0_4,
    ];

    /// The name in `scrape_protocols`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PrometheusProto => "PrometheusProto",
            Self::OpenMetricsText1_0_0 => "OpenMetricsText1.0.0",
            Self::OpenMetricsText0_0_1 => "OpenMetricsText0.0.1",
            Self::PrometheusText1_0_0 => "PrometheusText1.0.0",
            Self::PrometheusText0_0_4 => "PrometheusText0.0.4",
        }
    }

    /// The form of its pages.
    pub fn format(self) -> Format {
        match self {
            Self::PrometheusProto => Format::Protobuf,
            Self::OpenMetricsText1_0_0 | Self::OpenMetricsText0_0_1 => Format::OpenMetrics,
            Self::PrometheusText1_0_0 | Self::PrometheusText0_0_4 => Format::Prometheus,
        }
    }

    /// Its media type; names are asked for as they are where the version can say them.
    fn media(self) -> &'static str {
        match self {
            Self::PrometheusProto => {
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
            }
            Self::OpenMetricsText1_0_0 => "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8",
            Self::OpenMetricsText0_0_1 => "application/openmetrics-text;version=0.0.1",
            Self::PrometheusText1_0_0 => "text/plain;version=1.0.0;escaping=allow-utf-8",
            Self::PrometheusText0_0_4 => "text/plain;version=0.0.4",
        }
    }
}

impl FromStr for Protocol {
    type Err = UnknownProtocol;

    fn from_str(name: &str) -> Result<Self, UnknownProtocol> {
        let mut all = Self::PROTOBUF_FIRST.into_iter();
        all.find(|protocol| protocol.as_str() == name).ok_or_else(|| UnknownProtocol(name.to_owned()))
    }
}

/// The `Accept` header that asks for `protocols`, the first best, with Prometheus' weights. Each may stand in it once.
pub fn accept(protocols: &[Protocol]) -> String {
    // One more than there are protocols.
    let mut weight = Protocol::PROTOBUF_FIRST.len() + 1;
    let mut header = String::new();
    for protocol in protocols {
        header.push_str(&format!("{};q=0.{weight},", protocol.media()));
        weight = weight.saturating_sub(1);
    }
    header.push_str(&format!("*/*;q=0.{weight}"));
    header
}

/// A form of pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' text, 0.0.4 and 1.0.0.
    Prometheus,
    /// OpenMetrics' text, 0.0.1 and 1.0.0.
    OpenMetrics,
    /// Messages of protobuf, each behind its length.
    Protobuf,
}

/// Occurs when a target does not say what it answers, or something that is not read, and no fallback is configured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnknownMedia {
    /// Occurs without a `Content-Type`.
    #[error("the target says no Content-Type, and there is no fallback_scrape_protocol for it")]
    Blank,
    /// Occurs with any other.
    #[error("the target answers {0:?}, which is not read, and there is no fallback_scrape_protocol for it")]
    Other(String),
}

/// The form that `content_type` says; what says none, or one that is not read, has that of `fallback`.
pub fn format(content_type: Option<&str>, fallback: Option<Protocol>) -> Result<Format, UnknownMedia> {
    let said = content_type.unwrap_or("").trim();
    let media = said.split(';').next().unwrap_or("").trim();
    let known = [
        ("text/plain", Format::Prometheus),
        ("application/openmetrics-text", Format::OpenMetrics),
        ("application/vnd.google.protobuf", Format::Protobuf),
    ];
    let named = known.into_iter().find(|(name, _)| media.eq_ignore_ascii_case(name));
    match (named, fallback) {
        (Some((_, format)), _) => Ok(format),
        (None, Some(protocol)) => Ok(protocol.format()),
        (None, None) if said.is_empty() => Err(UnknownMedia::Blank),
        (None, None) => Err(UnknownMedia::Other(model::labels::truncated(said))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prometheus_3_14_asks_the_same() {
        assert_eq!(
            accept(&Protocol::USUAL),
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
             application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
             text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
        );
        assert_eq!(
            accept(&Protocol::PROTOBUF_FIRST),
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,\
             application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
             application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,\
             text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
        );
        assert_eq!(accept(&[Protocol::PrometheusText0_0_4]), "text/plain;version=0.0.4;q=0.6,*/*;q=0.5");
    }

    #[test]
    fn names_of_protocols() {
        for protocol in Protocol::PROTOBUF_FIRST {
            assert_eq!(protocol.as_str().parse(), Ok(protocol));
        }
        let error = "prometheusproto".parse::<Protocol>().unwrap_err();
        assert_eq!(error, UnknownProtocol("prometheusproto".to_owned()));
    }

    #[test]
    fn the_media_type_tells_and_nothing_is_guessed() {
        let fallback = Some(Protocol::PrometheusText0_0_4);
        for (content_type, alone, beside) in [
            (Some("text/plain; version=0.0.4; charset=utf-8"), Some(Format::Prometheus), Format::Prometheus),
            (Some("Text/Plain"), Some(Format::Prometheus), Format::Prometheus),
            (
                Some("application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores"),
                Some(Format::OpenMetrics),
                Format::OpenMetrics,
            ),
            (
                Some("application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily"),
                Some(Format::Protobuf),
                Format::Protobuf,
            ),
            (Some("text/html; charset=utf-8"), None, Format::Prometheus),
            (Some("application/json"), None, Format::Prometheus),
            (Some(" "), None, Format::Prometheus),
            (None, None, Format::Prometheus),
        ] {
            assert_eq!(format(content_type, None).ok(), alone, "{content_type:?}");
            assert_eq!(format(content_type, fallback), Ok(beside), "{content_type:?}");
        }
        assert_eq!(format(None, None), Err(UnknownMedia::Blank));
        let error = format(Some("text/html"), None).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the target answers \"text/html\", which is not read, and there is no fallback_scrape_protocol for it"
        );
    }
}
