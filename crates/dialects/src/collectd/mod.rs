//! What collectd's plugin `write_http` sends: its JSON, its PUTVAL commands, its KairosDB form. Which of them a body is shows
//! in the body, so all have every path.
//!
//! Series of the JSON form are those that collectd's own exporter (`write_prometheus`) has on its page, so it makes no
//! difference whether a collectd is scraped or sends. A bad value costs itself; what is answered other than 2xx collectd
//! logs and forgets.

mod decode;
mod names;
mod objects;
mod putval;

use crate::{
    ByteLimits, Credential, Dialect, Door, Encoding, Kind, Refusal, Reply, Request, Route, Statuses, Verdict,
};

/// The dialect's row.
pub static DIALECT: Dialect = Dialect {
    name: "collectd",
    title: "collectd write_http",
    routes: &[
        ingest("/collectd"),
        ingest("/collectd/json"),
        ingest("/collectd/command"),
        ingest("/collectd/kairos"),
    ],
    credentials: &[Credential::Basic, Credential::Bearer, Credential::Query("token")],
    limits: ByteLimits { wire: 8 << 20, decoded: 64 << 20 },
    encodings: &[Encoding::Identity, Encoding::Gzip],
    inner: None,
    encoding_aliases: &[],
    statuses: Statuses { stored: 202, ..Statuses::USUAL },
};

const fn ingest(path: &'static str) -> Route {
    let kind = Kind::Ingest { accept: any, decode: decode::decode, reply };
    Route { door: Door::Http { method: "POST", path }, kind, claims: None }
}

fn any(_: &Request<'_>) -> Result<(), Refusal> {
    Ok(())
}

fn reply(_: &Request<'_>, verdict: &Verdict) -> Reply {
    crate::reply::plain(&DIALECT.statuses, verdict)
}
