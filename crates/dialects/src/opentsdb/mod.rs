//! OpenTSDB: data points in JSON over HTTP (`/api/put`), and `put` lines as over telnet.
//!
//! A metric is the name as it was sent, tags are labels. A bad data point costs itself: all others are stored, and the
//! answer is 400 with how many failed, as OpenTSDB answers.

mod put;
mod reply;
mod telnet;
mod time;

use crate::{ByteLimits, Credential, Dialect, Door, Encoding, Kind, Refusal, Request, Route, Statuses};

/// The dialect's row.
pub static DIALECT: Dialect = Dialect {
    name: "opentsdb",
    title: "OpenTSDB put",
    routes: &[
        ingest("/api/put"),
        ingest("/api/v1/put"),
        ingest("/opentsdb/api/put"),
        ingest("/opentsdb/api/v1/put"),
        Route {
            door: Door::Lines { listener: "`opentsdb.listen`, TCP and UDP, usually 4242" },
            kind: Kind::Lines { decode: telnet::decode, answer: telnet::answer },
            claims: None,
        },
    ],
    credentials: &[Credential::Bearer, Credential::Basic],
    limits: ByteLimits { wire: 32 << 20, decoded: 64 << 20 },
    encodings: &[Encoding::Identity, Encoding::Gzip, Encoding::Deflate, Encoding::Zstd],
    inner: None,
    encoding_aliases: &[],
    statuses: Statuses { over_rate: 429, ..Statuses::USUAL },
};

const fn ingest(path: &'static str) -> Route {
    let kind = Kind::Ingest { accept: any, decode: put::decode, reply: reply::reply };
    Route { door: Door::Http { method: "POST", path }, kind, claims: None }
}

fn any(_: &Request<'_>) -> Result<(), Refusal> {
    Ok(())
}
