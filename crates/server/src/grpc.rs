//! gRPC: a dialect's HTTP door in another frame.
//!
//! A unary call is one message behind five bytes, with its packing in a header of its own and its outcome in trailers. So
//! a call's head is rewritten into that of the same request over HTTP, the one way in takes it (gate, byte permits, capped
//! inflate, the dialect's reply), and the answer is put back into the frame. There are no streams. Deadlines are not
//! looked at: from the append on nothing can be cancelled.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use codec::proto::{LEN, Reader, VARINT, WireError, key};
use dialects::{Dialect, Encoding, Refusal};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};

use crate::app::App;
use crate::ingest::{self, Entry};
use crate::respond::{self, Answer};

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
const PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");
const ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");

const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const PROTOBUF: HeaderValue = HeaderValue::from_static("application/x-protobuf");
const IDENTITY: HeaderValue = HeaderValue::from_static("identity");

/// What a complaint about the frame, and not about the message, begins with.
const FRAME: &str = "gRPC frame: ";

/// Bytes of a message for people at most: trailers are headers, and those are bounded by whoever reads them.
const WORDS_BYTES_MAX: usize = 1 << 10;

// Codes of `google.rpc.Code`.
const UNKNOWN: u32 = 2;
const UNIMPLEMENTED: u32 = 12;
const INTERNAL: u32 = 13;

/// Whether a request is a call whose messages are protobuf.
pub fn is_call(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let media = content_type.split(';').next().unwrap_or("").trim();
    ["application/grpc", "application/grpc+proto"].iter().any(|known| media.eq_ignore_ascii_case(known))
}

/// Takes one call in.
pub async fn ingest(app: Arc<App>, entry: Entry, request: Request<Body>) -> Answer {
    if !is_call(request.headers()) {
        let message = "this path takes gRPC: application/grpc\n";
        return respond::closing(respond::text(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    }
    let (mut parts, body) = request.into_parts();
    let encoding = parts.headers.remove(ENCODING).unwrap_or(IDENTITY);
    let known = encoding.to_str().ok().and_then(Encoding::from_name);
    if known.is_none_or(|known| !entry.dialect.encodings.contains(&known)) {
        let offered = offered(entry.dialect);
        let words = format!("grpc-encoding {encoding:?} is not supported here: use one of {offered}");
        let mut answer = not_here(words);
        accept_encoding(entry.dialect, answer.headers_mut());
        return answer;
    }
    parts.headers.insert(header::CONTENT_TYPE, PROTOBUF);
    parts.headers.insert(header::CONTENT_ENCODING, encoding);
    let answer = ingest::ingest(app, entry, Request::from_parts(parts, body)).await;
    let mut answer = call_ended(answer).await;
    accept_encoding(entry.dialect, answer.headers_mut());
    answer
}

/// The answer to a call of something that is not served.
pub fn unimplemented(path: &str) -> Answer {
    not_here(format!("nothing is served at {}", model::labels::truncated(path)))
}

fn not_here(words: String) -> Answer {
    let failure = Failure { code: UNIMPLEMENTED, words: words.into(), details: None };
    respond::closing(failure.answer(None))
}

/// The message in the body of a call, and how it is packed.
pub(crate) fn message(
    body: &Bytes,
    encodings: Vec<Encoding>,
    limit: usize,
) -> Result<(Bytes, Vec<Encoding>), Refusal> {
    let broken = |what: &str| Err(Refusal::Undecodable(format!("{FRAME}{what}")));
    let Some(([flag, length @ ..], rest)) = body.split_first_chunk::<5>() else {
        return broken("a call has one message");
    };
    let length = u32::from_be_bytes(*length) as usize;
    if length > limit {
        return Err(Refusal::TooBig { limit });
    }
    if length > rest.len() {
        return broken("the message ends early");
    }
    if length < rest.len() {
        return broken("a call has one message, something stands behind it");
    }
    let is_packed = encodings.iter().any(|encoding| *encoding != Encoding::Identity);
    let encodings = match flag {
        // Senders leave a message as it is where packing makes it no smaller.
        0 => vec![Encoding::Identity],
        1 if is_packed => encodings,
        1 => return broken("the message is packed, and grpc-encoding does not say how"),
        _ => return broken("the first byte is neither 0 nor 1"),
    };
    Ok((body.slice(5..), encodings))
}

fn offered(dialect: &Dialect) -> String {
    dialect.encodings.iter().map(|encoding| encoding.as_str()).collect::<Vec<_>>().join(",")
}

fn accept_encoding(dialect: &Dialect, headers: &mut HeaderMap) {
    if let Ok(value) = HeaderValue::try_from(offered(dialect)) {
        headers.insert(ACCEPT_ENCODING, value);
    }
}

/// The answer over HTTP in gRPC's frame.
async fn call_ended(answer: Answer) -> Answer {
    let (mut parts, body) = answer.into_parts();
    // Made here, and in memory already.
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    if !parts.status.is_success() {
        let wait_s =
            parts.headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let answer = Failure::of(parts.status, &parts.headers, &body).answer(wait_s);
        return if parts.headers.contains_key(header::CONNECTION) {
            respond::closing(answer)
        } else {
            answer
        };
    }
    let mut message = Vec::with_capacity(5 + body.len());
    message.push(0);
    message.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes());
    message.extend_from_slice(&body);
    let mut trailers = HeaderMap::new();
    trailers.insert(STATUS, HeaderValue::from_static("0"));
    let body = Full::new(Bytes::from(message)).with_trailers(async { Some(Ok(trailers)) });
    parts.status = StatusCode::OK;
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.insert(header::CONTENT_TYPE, GRPC);
    Answer::from_parts(parts, Body::new(body))
}

/// Why a call failed: as the dialect's `google.rpc.Status` says, else by the status of HTTP.
struct Failure<'a> {
    code: u32,
    words: Cow<'a, str>,
    /// The whole status, where it says more than that.
    details: Option<&'a [u8]>,
}

impl<'a> Failure<'a> {
    fn of(status: StatusCode, headers: &HeaderMap, body: &'a [u8]) -> Self {
        let is_status = headers.get(header::CONTENT_TYPE).is_some_and(|value| *value == PROTOBUF);
        let read = if is_status { Self::read(body).ok() } else { None };
        let text = || String::from_utf8_lossy(body.trim_ascii());
        let mut failure = read.unwrap_or_else(|| Self { code: code(status), words: text(), details: None });
        if failure.words.starts_with(FRAME) {
            failure.code = INTERNAL;
        }
        failure
    }

    fn read(body: &'a [u8]) -> Result<Self, WireError> {
        const CODE: u32 = key(1, VARINT);
        const MESSAGE: u32 = key(2, LEN);
        const DETAILS: u32 = key(3, LEN);
        let mut reader = Reader::new(body);
        let mut failure = Self { code: UNKNOWN, words: Cow::Borrowed(""), details: None };
        while let Some(key) = reader.key()? {
            match key {
                CODE => failure.code = u32::try_from(reader.varint()?).unwrap_or(UNKNOWN),
                MESSAGE => failure.words = String::from_utf8_lossy(reader.bytes()?),
                DETAILS => {
                    reader.bytes()?;
                    failure.details = Some(body);
                }
                _ => reader.skip(key, 0)?,
            }
        }
        Ok(failure)
    }

    /// An answer that has no message: everything stands in its head. `wait_s` says when the call may be tried again.
    fn answer(&self, wait_s: Option<u64>) -> Answer {
        let mut answer = Answer::new(Body::empty());
        let words = &self.words[..self.words.floor_char_boundary(WORDS_BYTES_MAX)];
        let headers = answer.headers_mut();
        headers.insert(header::CONTENT_TYPE, GRPC);
        headers.insert(STATUS, HeaderValue::from(self.code));
        headers.insert(MESSAGE, escaped(words));
        let details = self.details.map(|details| HeaderValue::try_from(STANDARD_NO_PAD.encode(details)));
        if let Some(Ok(details)) = details {
            headers.insert(DETAILS, details);
        }
        if let Some(seconds) = wait_s {
            headers.insert(PUSHBACK, HeaderValue::from(seconds.saturating_mul(1000)));
        }
        answer
    }
}

/// What a status of HTTP is as a code.
fn code(status: StatusCode) -> u32 {
    match status.as_u16() {
        401 => 16,
        403 => 7,
        404 | 405 | 415 => UNIMPLEMENTED,
        413 => 8,
        408 | 429 | 502..=504 => 14,
        500.. => INTERNAL,
        _ => 3,
    }
}

/// Percent-encoded where it is not printable ASCII.
fn escaped(words: &str) -> HeaderValue {
    let mut escaped = String::with_capacity(words.len());
    for byte in words.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => escaped.push(char::from(byte)),
            // Writing to a String cannot fail.
            _ => drop(write!(escaped, "%{byte:02X}")),
        }
    }
    HeaderValue::try_from(escaped).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(flag: u8, length: u32, message: &[u8]) -> Bytes {
        [&[flag][..], &length.to_be_bytes(), message].concat().into()
    }

    #[test]
    fn a_call_has_one_message() {
        let read = |body: Bytes, encodings: &[Encoding]| message(&body, encodings.to_vec(), 100);
        let (gzip, none) = ([Encoding::Gzip], [Encoding::Identity]);
        let read_well = |body, encodings: &[Encoding]| read(body, encodings).unwrap();
        assert_eq!(read_well(framed(0, 2, b"ab"), &none), ("ab".into(), none.to_vec()));
        assert_eq!(read_well(framed(0, 2, b"ab"), &gzip), ("ab".into(), none.to_vec()));
        assert_eq!(read_well(framed(1, 2, b"ab"), &gzip), ("ab".into(), gzip.to_vec()));
        assert_eq!(read_well(framed(0, 0, b""), &none), ("".into(), none.to_vec()));
        let broken = |body: Bytes, encodings: &[Encoding]| match read(body, encodings) {
            Err(Refusal::Undecodable(what)) => {
                let failure = Failure::of(StatusCode::BAD_REQUEST, &HeaderMap::new(), what.as_bytes());
                assert_eq!(failure.code, INTERNAL);
                what
            }
            other => panic!("{other:?}"),
        };
        assert!(broken("".into(), &none).contains("one message"));
        assert!(broken("abcd".into(), &none).contains("one message"));
        assert!(broken(framed(0, 3, b"ab"), &none).contains("ends early"));
        assert!(broken(framed(0, 1, b"ab"), &none).contains("behind"));
        assert!(broken(framed(1, 2, b"ab"), &none).contains("grpc-encoding"));
        assert!(broken(framed(2, 2, b"ab"), &gzip).contains("first byte"));
        assert_eq!(read(framed(0, u32::MAX, b"ab"), &none), Err(Refusal::TooBig { limit: 100 }));
    }

    #[test]
    fn a_message_is_escaped_and_bounded() {
        assert_eq!(escaped("a b~"), "a b~");
        assert_eq!(escaped("50 %\nü"), "50 %25%0A%C3%BC");
        let failure = Failure { code: 3, words: "ü".repeat(2000).into(), details: None };
        let answer = failure.answer(None);
        assert_eq!(answer.headers()[MESSAGE].len(), WORDS_BYTES_MAX / 2 * 6);
        assert_eq!((answer.status(), &answer.headers()[STATUS]), (StatusCode::OK, &HeaderValue::from(3)));
    }

    #[tokio::test]
    async fn who_may_come_again_is_told_when() {
        let body = b"\x08\x08\x12\x04what\x1a\x00";
        let mut answer = respond::with_type(
            StatusCode::TOO_MANY_REQUESTS,
            "application/x-protobuf",
            Bytes::from_static(body),
        );
        answer = respond::closing(respond::retry_after(answer, 7));
        let answer = call_ended(answer).await;
        let headers = answer.headers();
        assert_eq!((&headers[STATUS], &headers[PUSHBACK]), (&HeaderValue::from(8), &HeaderValue::from(7000)));
        assert_eq!(STANDARD_NO_PAD.decode(headers[DETAILS].as_bytes()).unwrap(), body);
        assert_eq!(headers[header::CONNECTION], "close");
    }

    #[tokio::test]
    async fn errors_over_http_are_codes() {
        let ended = async |status: u16, content_type, body: &'static [u8]| {
            let status = StatusCode::from_u16(status).unwrap();
            let answer = respond::with_type(status, content_type, Bytes::from_static(body));
            let answer = call_ended(answer).await;
            let text = |name| answer.headers()[name].to_str().unwrap().to_owned();
            assert_eq!(answer.status(), StatusCode::OK);
            assert!(!answer.headers().contains_key(DETAILS) && !answer.headers().contains_key(PUSHBACK));
            (text(STATUS), text(MESSAGE))
        };
        for (status, code) in [
            (400, "3"),
            (401, "16"),
            (403, "7"),
            (413, "8"),
            (415, "12"),
            (429, "14"),
            (503, "14"),
            (500, "13"),
        ] {
            assert_eq!(ended(status, "text/plain", b"what\n").await, (code.into(), "what".into()));
        }
        let status = b"\x08\x05\x12\x04what";
        assert_eq!(ended(400, "application/x-protobuf", status).await, ("5".into(), "what".into()));
        assert_eq!(ended(400, "application/x-protobuf", b"\x12\x7f").await, ("3".into(), "%12%7F".into()));
    }

    #[tokio::test]
    async fn an_answer_ends_in_trailers() {
        let answer = respond::with_type(StatusCode::OK, "application/x-protobuf", Bytes::from_static(b"abc"));
        let answer = call_ended(answer).await;
        assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/grpc");
        assert!(!answer.headers().contains_key(STATUS));
        let collected = answer.into_body().collect().await.unwrap();
        assert_eq!(collected.trailers().unwrap()[STATUS], "0");
        assert_eq!(collected.to_bytes(), &b"\0\0\0\0\x03abc"[..]);
    }

    #[test]
    fn calls_are_told_from_other_requests() {
        for (content_type, is) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("Application/GRPC; charset=x", true),
            ("application/grpc-web", false),
            ("application/grpc+json", false),
            ("application/x-protobuf", false),
        ] {
            let headers =
                HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(content_type))]);
            assert_eq!(is_call(&headers), is, "{content_type}");
        }
        assert!(!is_call(&HeaderMap::new()));
    }
}
