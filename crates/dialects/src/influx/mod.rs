//! Influx line protocol, as InfluxDB 1 and 2 take it: what telegraf, Home Assistant, Proxmox, k6 and InfluxDB's own clients
//! send.
//!
//! A field is a series: `cpu,host=a usage=1` is `cpu_usage{host="a"}`. Tags are labels of their own name, a field of text is
//! no number and is left out. A line that cannot be read refuses itself, and the answer is 400 with the words on which
//! telegraf drops what it sent instead of sending it again; all other lines are stored. Beside writing there is as much of
//! InfluxDB's other API as its clients insist on: pings, health, and `CREATE DATABASE`.

mod decode;
#[cfg(test)]
mod hostile;
mod labels;
mod line;
mod options;
mod reply;
mod settings;
mod statement;
#[cfg(test)]
mod tests;

pub use settings::{Settings, ValueField};

use crate::{
    ByteLimits, Credential, Decode, Dialect, Door, Encoding, Kind, Refusal, ReplyTo, Request, Route, Statuses,
};

/// The dialect's row.
pub static DIALECT: Dialect = Dialect {
    name: "influx",
    title: "Influx line protocol 1 and 2",
    routes: ROUTES,
    credentials: &[
        Credential::Bearer,
        Credential::Basic,
        Credential::Scheme("token"),
        Credential::Query("p"),
    ],
    limits: ByteLimits { wire: 32 << 20, decoded: 64 << 20 },
    encodings: &[Encoding::Identity, Encoding::Gzip, Encoding::Deflate, Encoding::Zstd],
    inner: None,
    encoding_aliases: &[],
    statuses: Statuses { over_rate: 429, ..Statuses::USUAL },
};

/// Each path stands at the root and under `/influx`.
macro_rules! routes {
    ($($method:literal $path:literal => $kind:expr;)*) => {
        &[$(route($method, $path, $kind), route($method, concat!("/influx", $path), $kind)),*]
    };
}

const ROUTES: &[Route] = routes! {
    "POST" "/write" => ingest(options::accept, decode::decode, reply::v1);
    "POST" "/api/v2/write" => ingest(options::accept, decode::decode, reply::v2);
    "POST" "/query" => ingest(any, statement::decode, reply::v1);
    "GET" "/query" => Kind::Answer(statement::answer);
    "GET" "/ping" => Kind::Answer(reply::ping);
    "HEAD" "/ping" => Kind::Answer(reply::ping);
    "GET" "/health" => Kind::Health(reply::health);
};

const fn route(method: &'static str, path: &'static str, kind: Kind) -> Route {
    Route { door: Door::Http { method, path }, kind, claims: None }
}

const fn ingest(accept: fn(&Request<'_>) -> Result<(), Refusal>, decode: Decode, reply: ReplyTo) -> Kind {
    Kind::Ingest { accept, decode, reply }
}

fn any(_: &Request<'_>) -> Result<(), Refusal> {
    Ok(())
}
