//! What is asked, how much it may cost, and what comes back.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};

use crate::url::Url;

/// A request. Headers that the configuration sets (credentials, `http_headers`) come on top.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// Where to.
    pub url: Url,
    /// Its headers; `Host`, `Content-Length` and credentials are the client's.
    pub headers: HeaderMap,
    /// Its body; empty for none.
    pub body: Bytes,
}

impl Request {
    /// A request for what lies at `url`.
    pub fn get(url: Url) -> Self {
        Self { method: Method::GET, url, headers: HeaderMap::new(), body: Bytes::new() }
    }

    /// A request that brings `body` to `url`.
    pub fn post(url: Url, body: Bytes) -> Self {
        Self { method: Method::POST, url, headers: HeaderMap::new(), body }
    }
}

/// What a request may cost.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// From the call to the last byte of the answer, redirects and all.
    pub timeout: Duration,
    /// Bytes of the answer's body on the wire.
    pub body_bytes_max: usize,
    /// And inflated.
    pub inflated_bytes_max: usize,
    /// What becomes of an answer whose body is none.
    pub unreadable: Unreadable,
}

/// What becomes of an answer of success whose body is longer than it may be, breaks off or cannot be unpacked. One of any
/// other status is always an answer: what it says is its status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unreadable {
    /// An error: the body is what is asked for.
    #[default]
    Refused,
    /// An answer with what could be read of it, within half of the time that is left: the status is what is asked for.
    /// Its headers may take 64 KiB, not 8.
    Cut,
}

/// What came back, whatever its status.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, inflated.
    pub body: Bytes,
    /// Whether the body is not whole: it is what came of it, as it came.
    pub is_cut: bool,
    /// Bytes that the body took on the wire.
    pub wire_bytes: usize,
}

impl Response {
    /// The text of a header, if it is there and a text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}
