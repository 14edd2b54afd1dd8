//! Which form a scraper gets: what its `Accept` names first, of what there is; text 0.0.4 when it names nothing of it.

use std::fmt;

use super::Escaping;

/// A syntax, and how names are written in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// The syntax.
    pub syntax: Syntax,
    /// How names are written that are not letters, digits and underscores.
    pub escaping: Escaping,
}

/// A syntax with its version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syntax {
    /// Prometheus' text, of the version that was asked for.
    Text(&'static str),
    /// OpenMetrics, the same.
    OpenMetrics(&'static str),
    /// `io.prometheus.client.MetricFamily`, each behind its length.
    Protobuf,
}

impl Format {
    /// The form that the values of `Accept` like best.
    pub fn negotiated<'a>(accept: impl IntoIterator<Item = &'a str>) -> Self {
        let mut clauses: Vec<Clause<'_>> =
            accept.into_iter().flat_map(|value| value.split(',')).map(Clause::parse).collect();
        // Of what is liked equally well the first; what is not wanted at all is not looked at.
        clauses.retain(|clause| clause.weight > 0.0);
        clauses.sort_by(|a, b| b.weight.total_cmp(&a.weight));
        let mut format = Self { syntax: Syntax::Text("0.0.4"), escaping: Escaping::Underscores };
        for clause in clauses {
            // As upstream: also of a form that there is not.
            if let Some(escaping) = clause.parameter("escaping").and_then(Escaping::from_name) {
                format.escaping = escaping;
            }
            if let Some(syntax) = clause.syntax() {
                format.syntax = syntax;
                break;
            }
        }
        format
    }
}

/// The `Content-Type`.
impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.syntax {
            Syntax::Text(version) => write!(f, "text/plain; version={version}; charset=utf-8")?,
            Syntax::OpenMetrics(version) => {
                write!(f, "application/openmetrics-text; version={version}; charset=utf-8")?;
            }
            Syntax::Protobuf => f.write_str(
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited",
            )?,
        }
        write!(f, "; escaping={}", self.escaping.as_str())
    }
}

/// One of the media types of an `Accept`.
struct Clause<'a> {
    media: &'a str,
    parameters: &'a str,
    weight: f32,
}

impl<'a> Clause<'a> {
    fn parse(text: &'a str) -> Self {
        let (media, parameters) = text.split_once(';').unwrap_or((text, ""));
        let mut clause = Self { media: media.trim(), parameters, weight: 1.0 };
        if let Some(weight) = clause.parameter("q") {
            clause.weight = weight.parse().unwrap_or(0.0);
        }
        clause
    }

    fn parameter(&self, name: &str) -> Option<&'a str> {
        let pairs = self.parameters.split(';').filter_map(|pair| pair.split_once('='));
        let mut found = pairs.filter(|(given, _)| given.trim().eq_ignore_ascii_case(name));
        found.next().map(|(_, value)| value.trim().trim_matches('"'))
    }

    fn syntax(&self) -> Option<Syntax> {
        let version = self.parameter("version").unwrap_or("");
        if self.media.eq_ignore_ascii_case("text/plain") {
            return ["0.0.4", "1.0.0"]
                .into_iter()
                .find(|v| *v == version || version.is_empty())
                .map(Syntax::Text);
        }
        if self.media.eq_ignore_ascii_case("application/openmetrics-text") {
            return ["1.0.0", "0.0.1"]
                .into_iter()
                .find(|v| *v == version || version.is_empty())
                .map(Syntax::OpenMetrics);
        }
        let families = self.parameter("proto") == Some("io.prometheus.client.MetricFamily");
        let delimited = self.parameter("encoding") == Some("delimited");
        let protobuf = self.media.eq_ignore_ascii_case("application/vnd.google.protobuf");
        (protobuf && families && delimited).then_some(Syntax::Protobuf)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scraper_chooses() {
        const PROTOBUF: &str =
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";
        // Prometheus 2.42 and 3.14, without and with native histograms.
        let old = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
            text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let new = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
            application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
            text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        let native = format!("{new},{PROTOBUF};q=0.7");
        for (accept, wanted) in [
            ("", "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"),
            ("*/*", "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"),
            ("text/html, text/plain", "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"),
            ("text/plain;version=2.0.0", "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"),
            (
                "text/plain;version=1.0.0;escaping=allow-utf-8",
                "text/plain; version=1.0.0; charset=utf-8; escaping=allow-utf-8",
            ),
            (old, "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores"),
            (new, "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8"),
            (
                &native,
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited; \
                 escaping=underscores",
            ),
            (
                "application/openmetrics-text;version=0.0.1",
                "application/openmetrics-text; version=0.0.1; charset=utf-8; escaping=underscores",
            ),
            (
                "application/openmetrics-text; version=2.0.0; escaping=dots, text/plain; q=0.1",
                "text/plain; version=0.0.4; charset=utf-8; escaping=dots",
            ),
            (
                "application/openmetrics-text;q=0, text/plain;q=0.1;escaping=values",
                "text/plain; version=0.0.4; charset=utf-8; escaping=values",
            ),
            (
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=text",
                "text/plain; version=0.0.4; charset=utf-8; escaping=underscores",
            ),
        ] {
            assert_eq!(Format::negotiated([accept]).to_string(), wanted, "{accept:?}");
        }
    }
}
