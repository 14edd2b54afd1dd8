//! VictoriaMetrics' JSON lines: what its `/api/v1/export` writes, and whoever writes like it, comes in by `/api/v1/import`.
//!
//! A line that cannot be read refuses itself, by number, and nothing else; so does a sample in it whose value or time is
//! none. Answers are plain text, as on `/api/v1/import/prometheus` beside it.

mod decode;
mod line;

use crate::{
    ByteLimits, Credential, Dialect, Door, Encoding, Kind, Refusal, Reply, Request, Route, Statuses, Verdict,
};

/// The dialect's row.
pub static DIALECT: Dialect = Dialect {
    name: "victoriametrics",
    title: "VictoriaMetrics JSON lines",
    routes: &[
        ingest("/api/v1/import"),
        ingest("/prometheus/api/v1/import"),
        ingest("/victoriametrics/api/v1/import"),
    ],
    credentials: &[Credential::Bearer, Credential::Basic],
    limits: ByteLimits { wire: 32 << 20, decoded: 64 << 20 },
    encodings: &[Encoding::Identity, Encoding::Gzip, Encoding::Zstd, Encoding::Snappy, Encoding::Deflate],
    inner: None,
    encoding_aliases: &[],
    statuses: Statuses::USUAL,
};

const fn ingest(path: &'static str) -> Route {
    let kind = Kind::Ingest { accept: any, decode: decode::decode, reply };
    Route { door: Door::Http { method: "POST", path }, kind, claims: None }
}

/// curl says that it sends a form, and VictoriaMetrics does not look.
fn any(_: &Request<'_>) -> Result<(), Refusal> {
    Ok(())
}

fn reply(_: &Request<'_>, verdict: &Verdict) -> Reply {
    crate::reply::plain(&DIALECT.statuses, verdict)
}
