//! Loki's push: log lines by stream, as promtail, Alloy, and the loggers of many languages send them.
//!
//! The media type names the format: `application/json` is JSON, anything else a snappy-packed protobuf message, which has
//! snappy innermost whatever the header says. Of JSON there are two shapes, told apart by the shape itself and not by the
//! path as Loki does, because the paths of hosted services carry either. A bad entry costs itself: the rest is stored and the answer is
//! 400, as from Loki.
//!
//! `service_name` and `detected_level`, which Loki adds, are not kept: what reads the lines can derive them from what is.
//! Only a stream without any label gets the one that Loki would show, since a stream that is called nothing cannot be
//! asked for. Loki's bounds for labels (15 of them, values of 2 KiB) are not Weir's: those of the tenant hold.

mod encode;
mod json;
mod labels;
mod protobuf;
mod push;
mod reply;

#[cfg(test)]
mod hostile;

pub use encode::SPEAKER;

use model::Batch;

use crate::{
    ByteLimits, Credential, Dialect, Door, Encoding, Kind, Malformed, Received, Refusal, Request, Route,
    Statuses,
};
use push::Push;

/// The dialect's row.
pub static DIALECT: Dialect = Dialect {
    name: "loki",
    title: "Loki push",
    routes: &[
        ingest("/loki/api/v1/push"),
        ingest("/api/v1/logs/push"),
        // Remote write has it too.
        Route { claims: Some(is_json), ..ingest("/api/prom/push") },
        ingest("/loki/api/prom/push"),
        ingest("/v1/loki/api/v1/push"),
        ingest("/insert/loki/api/v1/push"),
        ingest("/api/{org}/loki/api/v1/push"),
    ],
    credentials: &[Credential::Bearer, Credential::Basic],
    limits: ByteLimits { wire: 8 << 20, decoded: 64 << 20 },
    encodings: &[Encoding::Identity, Encoding::Gzip, Encoding::Deflate, Encoding::Zstd, Encoding::Snappy],
    inner: Some(inner),
    encoding_aliases: &[],
    statuses: Statuses { unsupported: 400, over_rate: 429, ..Statuses::USUAL },
};

const fn ingest(path: &'static str) -> Route {
    let kind = Kind::Ingest { accept, decode, reply: reply::reply };
    Route { door: Door::Http { method: "POST", path }, kind, claims: None }
}

/// The media type without its parameters.
fn media<'a>(request: &Request<'a>) -> &'a str {
    request.content_type.split(';').next().unwrap_or("").trim()
}

fn is_json(request: &Request<'_>) -> bool {
    media(request).eq_ignore_ascii_case("application/json")
}

/// Protobuf is packed before it is packed again.
fn inner(request: &Request<'_>) -> Option<Encoding> {
    (!media(request).is_empty() && !is_json(request)).then_some(Encoding::Snappy)
}

fn accept(request: &Request<'_>) -> Result<(), Refusal> {
    if media(request).is_empty() {
        return Err(Refusal::UnsupportedMedia("mime: no media type".to_owned()));
    }
    DIALECT.encodings(request).map(drop)
}

fn decode<'a>(received: &Received<'a>, batch: &mut Batch<'a>) -> Result<(), Malformed> {
    let mut push = Push::new(received.received_ms, batch);
    if is_json(&received.request) {
        json::decode(received.body, &mut push)?;
    } else {
        protobuf::decode(received.body, &mut push)?;
    }
    push.end()
}
