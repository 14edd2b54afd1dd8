//! Splunk's HTTP Event Collector: metric events become series, all others log lines.
//!
//! A body is JSON objects one behind the other, whatever its media type says. Each is an event for itself: a bad one costs
//! itself, the good ones are stored, and the answer is Splunk's own for the first bad one (400 with its code and
//! `invalid-event-number`). Senders do not repeat what was answered so, which is why Weir does not stop where Splunk would.
//!
//! What is answered 200 is on disk, so an acknowledgement has nothing left to wait for: an `ackId` is a number that nobody
//! keeps, and every one that is asked for is true.

mod ack;
mod code;
mod encode;
mod events;
mod fields;
mod opening;
mod raw;
mod reply;
#[cfg(test)]
mod tests;

pub use encode::SPEAKER;

use crate::{
    ByteLimits, Credential, Decode, Dialect, Door, Encoding, Kind, Refusal, Request, Route, Statuses,
};

/// The dialect's row.
pub static DIALECT: Dialect = Dialect {
    name: "splunk",
    title: "Splunk HTTP Event Collector",
    routes: ROUTES,
    credentials: &[
        Credential::Scheme("splunk"),
        Credential::Basic,
        Credential::Bearer,
        Credential::Query(opening::TOKEN),
    ],
    limits: ByteLimits { wire: 8 << 20, decoded: 64 << 20 },
    encodings: &[Encoding::Identity, Encoding::Gzip, Encoding::Zstd, Encoding::Deflate],
    inner: None,
    encoding_aliases: &[],
    statuses: Statuses { stored: 200, bad_credential: 403, ..Statuses::USUAL },
};

/// What a tenant may choose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Settings {
    /// Whether a token may stand in the query as `token`, where proxies log it.
    pub query_token: bool,
}

/// Each path stands at the root and under `/splunk`.
macro_rules! routes {
    ($($method:literal $path:literal => $kind:expr;)*) => {
        &[$(route($method, $path, $kind), route($method, concat!("/splunk", $path), $kind)),*]
    };
}

const ROUTES: &[Route] = routes! {
    "POST" "/services/collector" => ingest(events::decode);
    "POST" "/services/collector/event" => ingest(events::decode);
    "POST" "/services/collector/event/1.0" => ingest(events::decode);
    "POST" "/services/collector/raw" => ingest(raw::decode);
    "POST" "/services/collector/raw/1.0" => ingest(raw::decode);
    "POST" "/services/collector/ack" => ingest(ack::decode);
    "GET" "/services/collector/health" => Kind::Health(reply::health);
    "GET" "/services/collector/health/1.0" => Kind::Health(reply::health);
};

const fn route(method: &'static str, path: &'static str, kind: Kind) -> Route {
    Route { door: Door::Http { method, path }, kind, claims: None }
}

/// Takes any media type: what senders say of it has no meaning.
const fn ingest(decode: Decode) -> Kind {
    Kind::Ingest { accept: any, decode, reply: reply::reply }
}

fn any(_: &Request<'_>) -> Result<(), Refusal> {
    Ok(())
}
