//! Prometheus remote read: another server asks for series, and evaluates its queries itself.
//!
//! Not an ingest dialect, so it has no row among [`crate::ALL`]: [`decode()`] reads a `ReadRequest`, and the answer is either
//! one `ReadResponse` ([`samples`]) or a stream of frames with chunks ([`frames`]), as the client prefers. Both are written
//! from the store's columns ([`Rows`]) series by series; nothing here knows how many there are. [`client`] is the other
//! side, for tests.
//!
//! ```
//! use dialects::remote_read::{AnswerType, decode};
//! // One query from 0 to 5 ms for {job="a"}; the client takes chunks, or else samples.
//! let body = b"\x0a\x0c\x10\x05\x1a\x08\x12\x03job\x1a\x01a\x12\x02\x01\x00";
//! let request = decode(body).unwrap();
//! assert_eq!(request.answer, AnswerType::Chunks);
//! assert_eq!(request.queries[0].matchers[0].to_string(), r#"job="a""#);
//! ```

mod chunks;
pub mod client;
mod decode;
pub mod frames;
pub(crate) mod histogram;
mod rows;
pub mod samples;

pub use decode::{AnswerType, BadRequest, Query, ReadRequest, decode};
pub use rows::{Row, Rows};

/// Largest request, inflated: a query is some matchers.
pub const REQUEST_BYTES_MAX: usize = 4 << 20;

/// What must hold for any bytes, for the fuzz target: requests and answers are read or refused.
///
/// # Panics
/// When a request has more than it may have.
pub fn exercise(input: &[u8]) {
    if let Ok(request) = decode(input) {
        let matchers: usize = request.queries.iter().map(|query| query.matchers.len()).sum();
        assert!(request.queries.len() <= decode::QUERIES_MAX && matchers <= decode::MATCHERS_MAX);
    }
    let _ = client::read_samples(input);
    let _ = client::read_frames(input);
}
