//! Every protocol that Weir speaks, as data and pure functions: bytes in → batch out, verdict in → reply out.
//!
//! A dialect is a folder with `mod.rs` (its row: routes, credentials, limits, statuses), `decode.rs`, `reply.rs` and
//! `cases/`, and its line in [`ALL`]. Routes, limits, statuses, self-metric labels, the docs row, golden tests, fuzz
//! targets and benchmarks are derived from the row. Nothing here does I/O, knows a clock, or is async: a dialect can
//! be fuzzed and benchmarked alone.
//!
//! ```
//! use dialects::{Kind, Received, Request, find};
//! let (dialect, route) = find("POST", "/api/v1/import/prometheus").unwrap();
//! assert_eq!(dialect.name, "text");
//! if let Kind::Ingest { decode, .. } = route.kind {
//!     let mut batch = model::Batch::new(42);
//!     let body = b"up{job=\"api\"} 1\n";
//!     let received = Received { body, received_ms: 1000, ..Received::new(Request::default()) };
//!     decode(&received, &mut batch).unwrap();
//!     assert_eq!((batch.samples[0].timestamp_ms, batch.samples[0].value), (1000, 1.0));
//! }
//! ```
//!
//! To add one: its folder, its line in [`ALL`], and requests in `cases/` (see `golden.rs`).
//!
//! [`statsd`] has lines instead of requests. [`remote_read`] and [`exposition`] go the other way: they are what other servers read from Weir;
//! [`scraped`] is what Weir reads from targets; [`outgoing`] is what it sends on, [`signalfx`] among it, which it does not read.

pub mod betterstack;
pub mod collectd;
pub mod datadog;
pub mod exercise;
pub mod exposition;
pub mod graphite;
pub mod influx;
pub mod loki;
pub mod opentsdb;
pub mod otlp;
pub mod outgoing;
pub mod remote_read;
pub mod remote_write;
pub mod scraped;
pub mod signalfx;
pub mod splunk;
pub mod statsd;
pub mod text;
pub mod victoriametrics;

mod attributes;
mod instant;
mod json;
mod lines;
mod named;
mod number;
mod query;
mod registry;
mod reply;
mod rows;
mod seconds;
mod siblings;
mod spans;

#[cfg(test)]
mod agreement;
#[cfg(test)]
mod golden;

use std::sync::LazyLock;

use model::batch::Items;
use model::{Batch, Counts, HostTags, Rejections};

pub use codec::inflate::Encoding;
pub use registry::{decoder, docs_table, find, lines_of, matches, owner};

/// Every dialect, in the order of the docs.
pub static ALL: &[&Dialect] = &[
    &remote_write::DIALECT,
    &text::DIALECT,
    &datadog::DIALECT,
    &betterstack::DIALECT,
    &otlp::DIALECT,
    &influx::DIALECT,
    &graphite::DIALECT,
    &opentsdb::DIALECT,
    &splunk::DIALECT,
    &victoriametrics::DIALECT,
    &collectd::DIALECT,
    &loki::DIALECT,
];

/// One protocol.
#[derive(Debug)]
pub struct Dialect {
    /// Name in config keys and self-metrics: `remote_write`.
    pub name: &'static str,
    /// One line for docs and the status page.
    pub title: &'static str,
    /// Its doors.
    pub routes: &'static [Route],
    /// Which credentials it takes.
    pub credentials: &'static [Credential],
    /// Body limits.
    pub limits: ByteLimits,
    /// Content encodings it takes, first the one that an absent header means; anything else is
    /// [`Refusal::UnsupportedEncoding`].
    pub encodings: &'static [Encoding],
    /// An encoding that some of its bodies have inside of whatever their header says, and without being asked; most
    /// dialects have none.
    pub inner: Option<fn(&Request<'_>) -> Option<Encoding>>,
    /// Other names of encodings that its senders use.
    pub encoding_aliases: &'static [(&'static str, Encoding)],
    /// What it answers to each kind of refusal.
    pub statuses: Statuses,
}

/// A way in.
#[derive(Debug)]
pub struct Route {
    /// Where requests arrive.
    pub door: Door,
    /// What is done with them.
    pub kind: Kind,
    /// On a path that the query API or another dialect has too: which requests are this dialect's; the others are for the
    /// route that claims none. One that presents a credential where only this dialect looks for it is so in any case.
    pub claims: Option<fn(&Request<'_>) -> bool>,
}

/// Where requests arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// An HTTP route.
    Http {
        /// Upper-case method.
        method: &'static str,
        /// Path from the root; a part in braces is whatever stands there. With a slash at its end it is the same path.
        path: &'static str,
    },
    /// A unary call of gRPC, whose message is what its dialect has as protobuf over HTTP.
    Grpc {
        /// `/package.Service/Method`
        path: &'static str,
    },
    /// Lines in a stream or in datagrams, where a listener is configured.
    Lines {
        /// Which section configures it, and where it usually listens.
        listener: &'static str,
    },
}

impl Door {
    /// Upper-case method and path of requests; lines have none.
    pub fn http(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Http { method, path } => Some((method, path)),
            Self::Grpc { path } => Some(("POST", path)),
            Self::Lines { .. } => None,
        }
    }
}

/// Decodes an inflated body into `batch`. [`Malformed`] discards the whole batch; anything smaller is a rejection
/// inside it.
pub type Decode = for<'a> fn(&Received<'a>, &mut Batch<'a>) -> Result<(), Malformed>;

/// Says what became of a request.
pub type ReplyTo = fn(&Request<'_>, &Verdict) -> Reply;

/// What is done with a request.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Its body is decoded and stored.
    Ingest {
        /// Before the body is read: is this a request that the dialect can take at all? (415 before decoding.)
        /// Media type and content encoding are both looked at; the encoding is then [`Dialect::encodings`].
        accept: fn(&Request<'_>) -> Result<(), Refusal>,
        /// Bytes to batch.
        decode: Decode,
        /// Verdict to answer.
        reply: ReplyTo,
    },
    /// It is answered from what is known, nothing is stored.
    Answer(fn(&Request<'_>) -> Reply),
    /// It asks whether Weir is well: the answer is made of what is amiss, a sentence for each part, none when all is well.
    Health(fn(&[String]) -> Reply),
    /// It asks whether its credential may write.
    Check(ReplyTo),
    /// Its body is read, counted and dropped, because its sender would repeat it for ever: *received, not kept*.
    Discard(ReplyTo),
    /// Its lines are decoded and stored.
    Lines {
        /// Whole lines to batch.
        decode: Decode,
        /// What their sender is told.
        answer: Say,
    },
}

/// Says what became of lines.
pub type Say = fn(&Verdict) -> Said;

/// What the sender of lines is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// Lines with their ends; nothing where there is nothing to say.
    pub text: String,
    /// Whether the connection ends with it.
    pub closes: bool,
}

/// The head of a request, as the dialect sees it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Request<'a> {
    /// Path without the query.
    pub path: &'a str,
    /// Query string without `?`, percent-encoded as sent.
    pub query: &'a str,
    /// `Content-Type`, empty when absent.
    pub content_type: &'a str,
    /// `Content-Encoding`, empty when absent.
    pub content_encoding: &'a str,
    /// `X-Splunk-Request-Channel`, empty when absent.
    pub channel: &'a str,
    /// The scheme of `Authorization`, empty when absent.
    pub scheme: &'a str,
}

/// A request with its body.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// The head.
    pub request: Request<'a>,
    /// The body, inflated.
    pub body: &'a [u8],
    /// Wall clock at reception, for dialects whose timestamps are optional.
    pub received_ms: i64,
    /// How the tenant wants what its dialects leave open.
    pub settings: &'a Settings,
    /// What is known of the tenant's hosts.
    pub hosts: &'a HostTags,
}

impl Received<'_> {
    /// An empty body at time 0, under standard settings.
    pub fn new(request: Request<'_>) -> Received<'_> {
        static HOSTS: LazyLock<HostTags> = LazyLock::new(HostTags::default);
        Received { request, body: &[], received_ms: 0, settings: Settings::standard(), hosts: &HOSTS }
    }
}

/// What a tenant may choose, by dialect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Datadog, and DogStatsD which follows it.
    pub datadog: datadog::Settings,
    /// Influx.
    pub influx: influx::Settings,
    /// Splunk HEC.
    pub splunk: splunk::Settings,
    /// OTLP.
    pub otlp: otlp::Settings,
    /// Better Stack.
    pub betterstack: betterstack::Settings,
}

impl Settings {
    /// What holds where nothing was chosen.
    pub fn standard() -> &'static Self {
        static STANDARD: LazyLock<Settings> = LazyLock::new(Settings::default);
        &STANDARD
    }
}

/// Where a credential may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential {
    /// `Authorization: Bearer TOKEN`
    Bearer,
    /// `Authorization: Basic`, the token is the password.
    Basic,
    /// `Authorization: SCHEME TOKEN`, the scheme in lower case; what stands before a colon is a user.
    Scheme(&'static str),
    /// A header with this name, in lower case.
    Header(&'static str),
    /// A parameter of the query with this name.
    Query(&'static str),
    /// The part of the path that stands in braces.
    Path,
}

/// Body limits in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteLimits {
    /// As it lies on the wire.
    pub wire: usize,
    /// After inflating.
    pub decoded: usize,
}

/// The status a dialect answers to each kind of refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statuses {
    /// Everything was stored.
    pub stored: u16,
    /// No credential.
    pub no_credential: u16,
    /// An unknown credential.
    pub bad_credential: u16,
    /// A good token of another tenant or without the scope.
    pub forbidden: u16,
    /// Body over a byte limit.
    pub too_big: u16,
    /// Body that cannot be decoded.
    pub undecodable: u16,
    /// Media type or encoding that the dialect does not take.
    pub unsupported: u16,
    /// Some samples were rejected, the rest is stored.
    pub partial: u16,
    /// The tenant is over its sample rate.
    pub over_rate: u16,
    /// Weir is overloaded, out of disk, starting or stopping.
    pub overloaded: u16,
}

/// Occurs when a body is not in the dialect's format at all; nothing of it is stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {offset}")]
pub struct Malformed {
    /// What is wrong, without any of the body's content.
    pub what: &'static str,
    /// Where in the inflated body.
    pub offset: usize,
}

/// Why a request was not taken at all.
#[derive(Clone, Debug, PartialEq)]
pub enum Refusal {
    /// Occurs when there is no credential.
    NoCredential,
    /// Occurs when the credential is unknown or revoked, or two differ.
    BadCredential,
    /// Occurs when the token has not the scope, or names another tenant.
    Forbidden,
    /// Occurs when the body is over `limit` bytes, on the wire or inflated.
    TooBig {
        /// Bytes allowed.
        limit: usize,
    },
    /// Occurs when the body cannot be inflated or decoded.
    Undecodable(String),
    /// Occurs when the media type or the message is none of the dialect's.
    UnsupportedMedia(String),
    /// Occurs when the content encoding is none of the dialect's.
    UnsupportedEncoding(String),
    /// Occurs when the tenant is over its sample rate.
    OverRate {
        /// Seconds after which it may come back.
        retry_after_s: u32,
    },
    /// Occurs when one client's address has made as many requests as it may.
    ManyRequests {
        /// Seconds after which it may come back.
        retry_after_s: u32,
    },
    /// Occurs when Weir cannot take more now: overload, disk full, starting, stopping.
    Overloaded {
        /// Seconds after which the sender may come back.
        retry_after_s: u32,
        /// What is short.
        what: &'static str,
    },
    /// Occurs when something in Weir failed that is no fault of the request.
    Internal,
}

/// What became of a request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    /// Stored, by kind.
    pub accepted: Counts,
    /// Refused, by kind and reason.
    pub rejected: Rejections,
    /// Set when the request was not taken at all (then nothing was stored).
    pub refusal: Option<Refusal>,
    /// What the answer repeats of the request ([`Batch::echo`]).
    pub echo: Option<String>,
    /// What became of the things that its sender counts, where those are not rows ([`Batch::items`]).
    pub items: Items,
}

impl Verdict {
    /// A request that was not taken.
    pub fn refused(refusal: Refusal) -> Self {
        Self { refusal: Some(refusal), ..Self::default() }
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// Header names (lower case) and values.
    pub headers: Vec<(&'static str, String)>,
    /// Body; empty for 204.
    pub body: Vec<u8>,
}
