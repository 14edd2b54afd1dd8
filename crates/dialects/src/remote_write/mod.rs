//! Prometheus remote write, 1.0 and 2.0, snappy or (by VictoriaMetrics' handshake) zstd.
//!
//! What is one bad series and what is a bad body: a body is malformed, and nothing of it is stored, when its protobuf
//! frame is broken outside a label list (lengths, wire types, groups) or when 2.0's symbol table does not begin with
//! the empty string. Everything smaller refuses only what it touches: labels that cannot be read, symbol references
//! out of range or odd in number, a 2.0 series with samples and histograms or with neither, a native histogram or an
//! exemplar that is not one. The rest is stored and the answer is 400 with exact counts, as 2.0 asks for; 1.0 gets the
//! same, because rolling back good samples helps nobody. Samples of a tenant over its rate are answered 503: senders
//! retry that without being configured to, 429 they do not.

mod decode;
mod encode;
mod handshake;
pub(crate) mod histogram;
mod message;
#[cfg(test)]
mod published;
mod reply;
#[cfg(test)]
mod said;
mod symbols;
mod v1;
mod v2;

pub use encode::SPEAKER;

use crate::{ByteLimits, Credential, Dialect, Door, Encoding, Kind, Route, Statuses};

/// The dialect's row.
pub static DIALECT: Dialect = Dialect {
    name: "remote_write",
    title: "Prometheus remote write 1.0 and 2.0",
    routes: &[
        ingest("/api/v1/write"),
        ingest("/api/v1/push"),
        ingest("/prometheus/api/v1/write"),
        ingest("/prometheus/api/v1/push"),
        ingest("/api/prom/push"),
        Route { claims: Some(message::is_protobuf), ..ingest("/metrics") },
        Route { claims: Some(message::is_protobuf), ..ingest("/betterstack/metrics") },
        answer("/api/v1/write"),
        answer("/api/v1/push"),
        answer("/prometheus/api/v1/write"),
        answer("/prometheus/api/v1/push"),
        answer("/api/prom/push"),
    ],
    credentials: &[Credential::Bearer, Credential::Basic],
    limits: ByteLimits { wire: 32 << 20, decoded: 64 << 20 },
    encodings: &[Encoding::Snappy, Encoding::Zstd],
    inner: None,
    encoding_aliases: &[],
    statuses: Statuses::USUAL,
};

const fn ingest(path: &'static str) -> Route {
    let kind = Kind::Ingest { accept: message::accept, decode: decode::decode, reply: reply::reply };
    Route { door: Door::Http { method: "POST", path }, kind, claims: None }
}

const fn answer(path: &'static str) -> Route {
    Route { door: Door::Http { method: "GET", path }, kind: Kind::Answer(handshake::answer), claims: None }
}
