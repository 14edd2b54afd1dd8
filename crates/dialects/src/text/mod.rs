//! Prometheus text 0.0.4 and OpenMetrics 1.0, pushed: `curl --data-binary @metrics …/api/v1/import/prometheus`.
//!
//! The lax reader: a line that cannot be read refuses itself, by number, and nothing else. What OpenMetrics says about
//! families (order, suffixes, allowed values) is not enforced; `_created` lines are samples like any other, because a
//! later line may carry its series before its creation and because 0.0.4 exposes them as gauges anyway. Timestamps are
//! optional (then: when the request came): whole milliseconds in 0.0.4, seconds in OpenMetrics. Which of the two a body
//! is, is told by its media type, else by what only OpenMetrics has (`# EOF`, `# UNIT`, exemplars).

#[cfg(test)]
mod conformance;
mod decode;
pub(crate) mod format;
pub(crate) mod line;
mod metadata;

use crate::{
    ByteLimits, Credential, Dialect, Door, Encoding, Kind, Reply, Request, Route, Statuses, Verdict,
};

/// The dialect's row.
pub static DIALECT: Dialect = Dialect {
    name: "text",
    title: "Prometheus text 0.0.4 and OpenMetrics 1.0",
    routes: &[ingest("/api/v1/import/prometheus"), ingest("/prometheus/api/v1/import/prometheus")],
    credentials: &[Credential::Bearer, Credential::Basic],
    limits: ByteLimits { wire: 32 << 20, decoded: 64 << 20 },
    encodings: &[Encoding::Identity, Encoding::Gzip, Encoding::Zstd, Encoding::Snappy, Encoding::Deflate],
    inner: None,
    encoding_aliases: &[],
    statuses: Statuses::USUAL,
};

const fn ingest(path: &'static str) -> Route {
    let kind = Kind::Ingest { accept: format::accept, decode: decode::decode, reply };
    Route { door: Door::Http { method: "POST", path }, kind, claims: None }
}

fn reply(_: &Request<'_>, verdict: &Verdict) -> Reply {
    crate::reply::plain(&DIALECT.statuses, verdict)
}
