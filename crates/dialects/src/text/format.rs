//! Which of the two text formats a body is in: they differ in the unit of timestamps, so guessing wrong is a factor of
//! a thousand. A media type that says which wins; `text/plain` without a version, a form (curl's default) or no type
//! at all leave it to what only OpenMetrics has.

use memchr::memmem;

use crate::{Refusal, Request};

/// A text format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Prometheus 0.0.4 (and 1.0.0, which adds quoted names): timestamps in ms.
    Prometheus,
    /// OpenMetrics 1.0: timestamps in seconds.
    OpenMetrics,
}

impl Format {
    /// The format of `body`.
    pub(super) fn of(content_type: &str, body: &[u8]) -> Self {
        let (media, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
        let versioned = parameters
            .split(';')
            .filter_map(|parameter| parameter.split_once('='))
            .any(|(name, _)| name.trim().eq_ignore_ascii_case("version"));
        let media = media.trim();
        if media.eq_ignore_ascii_case("application/openmetrics-text") {
            return Self::OpenMetrics;
        }
        let said = media.eq_ignore_ascii_case("text/plain") && versioned;
        if !said && has_openmetrics_syntax(body) { Self::OpenMetrics } else { Self::Prometheus }
    }
}

fn has_openmetrics_syntax(body: &[u8]) -> bool {
    let unit: &[u8] = b"# UNIT ";
    body.trim_ascii_end().ends_with(b"# EOF")
        || body.starts_with(unit)
        || memmem::find(body, b"\n# UNIT ").is_some()
        || has_exemplar(body)
}

const EXEMPLAR: &[u8] = b" # {";

/// Whether a sample has an exemplar: what looks like one in a label's value or in a comment is none.
pub(crate) fn has_exemplar(body: &[u8]) -> bool {
    let mut rest = body;
    while let Some(at) = memmem::find(rest, EXEMPLAR) {
        let start = memchr::memrchr(b'\n', &rest[..at]).map_or(0, |before| before + 1);
        let end = memchr::memchr(b'\n', &rest[at..]).map_or(rest.len(), |length| at + length);
        if is_in(&rest[start..end]) {
            return true;
        }
        rest = &rest[end..];
    }
    false
}

/// Whether the line has an exemplar.
fn is_in(line: &[u8]) -> bool {
    if line.trim_ascii_start().starts_with(b"#") {
        return false;
    }
    let (mut is_quoted, mut is_escaped) = (false, false);
    line.iter().enumerate().any(|(at, byte)| {
        let is_special = !std::mem::take(&mut is_escaped);
        match byte {
            b'\\' if is_quoted && is_special => is_escaped = true,
            b'"' if is_special => is_quoted = !is_quoted,
            _ => {}
        }
        !is_quoted && line[at..].starts_with(EXEMPLAR)
    })
}

/// Refuses media types that are surely something else, and unknown encodings.
pub(super) fn accept(request: &Request<'_>) -> Result<(), Refusal> {
    let media = request.content_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    let other = ["application/json", "application/x-protobuf", "application/x-msgpack", "text/html"];
    if other.contains(&media.as_str()) || media.starts_with("multipart/") || media.contains("protobuf") {
        return Err(Refusal::UnsupportedMedia(format!(
            "content type {:?} is not supported here: use text/plain or application/openmetrics-text",
            model::labels::truncated(request.content_type)
        )));
    }
    super::DIALECT.encodings(request).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_media_type_decides_then_the_syntax() {
        let of = |content_type, body: &str| Format::of(content_type, body.as_bytes());
        assert_eq!(of("application/openmetrics-text; version=1.0.0", "a 1\n"), Format::OpenMetrics);
        assert_eq!(of("text/plain; version=0.0.4", "a 1\n# EOF\n"), Format::Prometheus);
        for unsaid in ["", "text/plain", "text/plain; charset=utf-8", "application/x-www-form-urlencoded"] {
            assert_eq!(of(unsaid, "a 1\n"), Format::Prometheus);
            assert_eq!(of(unsaid, "a 1\n# EOF"), Format::OpenMetrics);
            assert_eq!(of(unsaid, "# UNIT a_seconds seconds\na_seconds 1\n"), Format::OpenMetrics);
            assert_eq!(of(unsaid, "a_total 1 # {trace=\"x\"} 1\n"), Format::OpenMetrics);
            let first = "b{c=\"\\\" # {\"} 1\n# HELP d Like e # {f=\"g\"}\n";
            assert_eq!(of(unsaid, first), Format::Prometheus);
            assert_eq!(of(unsaid, &format!("{first}a_total{{b=\"\\\\\"}} 1 # {{}} 1")), Format::OpenMetrics);
        }
    }
}
