//! Better Stack's metrics API, and what really hits it: Vector's `http` sink, Better Stack's log clients, curl.
//!
//! A body is JSON, JSON lines or MessagePack; one reader of metrics goes over all of them ([`tree::Tree`]). What has a name
//! and a `gauge`, `counter`, `histogram`, `summary` (or one of Vector's forms) is a metric, anything else that is posted to
//! `/` is a log line, which is what that address is for at Better Stack. A metric that is none costs itself: the answer is
//! the documented empty 202 with the counts in headers. Only a body of which nothing is right is refused, by the documented
//! 406, since its sender has not understood something.

mod decode;
mod encode;
mod event;
mod labels;
mod metric;
mod moment;
mod packed;
mod reply;
mod series;
mod settings;
#[cfg(test)]
mod tests;
mod tree;

pub use encode::SPEAKER;
pub use settings::{HistogramSeries, Settings};

use crate::{ByteLimits, Credential, Dialect, Door, Encoding, Kind, Refusal, Request, Route, Statuses};

/// The dialect's row.
pub static DIALECT: Dialect = Dialect {
    name: "betterstack",
    title: "Better Stack metrics, Vector",
    routes: &[
        ingest("/metrics", decode::metrics),
        ingest("/", decode::anything),
        ingest("/betterstack/metrics", decode::metrics),
        ingest("/betterstack", decode::anything),
    ],
    credentials: &[Credential::Bearer],
    limits: ByteLimits { wire: 20 << 20, decoded: 20 << 20 },
    encodings: &[Encoding::Identity, Encoding::Gzip, Encoding::Zstd, Encoding::Deflate],
    encoding_aliases: &[],
    inner: None,
    statuses: Statuses {
        stored: 202,
        no_credential: 403,
        bad_credential: 403,
        undecodable: 406,
        unsupported: 406,
        partial: 202,
        over_rate: 429,
        ..Statuses::USUAL
    },
};

const fn ingest(path: &'static str, decode: crate::Decode) -> Route {
    let kind = Kind::Ingest { accept: any, decode, reply: reply::reply };
    Route { door: Door::Http { method: "POST", path }, kind, claims: None }
}

/// What counts is what the body is.
fn any(_: &Request<'_>) -> Result<(), Refusal> {
    Ok(())
}
