//! Text.
use crate::*;
use model::Batch;
/// The dialect's row.
pub static DIALECT: Dialect = Dialect {
    name: "text",
    title: "Prometheus text 0.0.4 and OpenMetrics 1.0",
    routes: &[
        Route { door: Door::Http { method: "POST", path: "/api/v1/import/prometheus" }, kind: INGEST },
        Route {
            door: Door::Http { method: "POST", path: "/prometheus/api/v1/import/prometheus" },
            kind: INGEST,
        },
    ],
    credentials: &[Credential::Bearer, Credential::Basic],
    limits: ByteLimits { wire: 32 << 20, decoded: 64 << 20 },
    encodings: &[Encoding::Identity, Encoding::Gzip, Encoding::Zstd, Encoding::Snappy, Encoding::Deflate],
    statuses: Statuses {
        stored: 204,
        no_credential: 401,
        bad_credential: 401,
        forbidden: 403,
        too_big: 413,
        undecodable: 400,
        unsupported: 415,
        partial: 400,
        over_rate: 503,
        overloaded: 503,
    },
};
const INGEST: Kind = Kind::Ingest { accept, decode, reply: answer };
fn accept(request: &Request<'_>) -> Result<(), Refusal> {
    DIALECT.encoding(request).map(drop)
}
fn decode<'a>(_: &Received<'a>, _: &mut Batch<'a>) -> Result<(), Malformed> {
    Ok(())
}
fn answer(_: &Request<'_>, verdict: &Verdict) -> Reply {
    crate::reply::plain(&DIALECT.statuses, verdict)
}
