//! Graphite's plaintext protocol over TCP and UDP, as carbon takes it: `path[;tag=value…] value [timestamp]`, one a line.
//!
//! A path is the metric's name as it was sent, dots and all; tags are labels. Nobody is answered and nobody shows a
//! credential: what cannot be read is counted. There is no pickle.

mod decode;

use crate::{ByteLimits, Dialect, Door, Encoding, Kind, Route, Said, Statuses, Verdict};

/// The dialect's row. Nothing of it is answered over HTTP.
pub static DIALECT: Dialect = Dialect {
    name: "graphite",
    title: "Graphite plaintext",
    routes: &[Route {
        door: Door::Lines { listener: "`graphite.listen`, TCP and UDP, usually 2003" },
        kind: Kind::Lines { decode: decode::decode, answer: silence },
        claims: None,
    }],
    credentials: &[],
    limits: ByteLimits { wire: 1 << 20, decoded: 1 << 20 },
    encodings: &[Encoding::Identity],
    inner: None,
    encoding_aliases: &[],
    statuses: Statuses { over_rate: 429, ..Statuses::USUAL },
};

fn silence(_: &Verdict) -> Said {
    Said::default()
}
