//! Answers: JSON and text, a dialect's reply as HTTP, and the end of connections whose request was not read.

use axum::body::{Body, Bytes};
use dialects::Reply;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};

/// What this file builds.
pub type Answer = Response<Body>;

/// No body: 204.
pub fn empty() -> Answer {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::NO_CONTENT;
    answer
}

/// A JSON body.
pub fn json(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    with_type(status, "application/json", body.into())
}

/// A plain-text body.
pub fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    with_type(status, "text/plain; charset=utf-8", body.into())
}

/// An error as Prometheus shapes it.
pub fn error(status: StatusCode, kind: &str, message: &str) -> Answer {
    let body = serde_json::json!({ "status": "error", "errorType": kind, "error": message });
    json(status, body.to_string())
}

/// A body with its content type.
pub fn with_type(status: StatusCode, content_type: &'static str, body: Bytes) -> Answer {
    let mut answer = Response::new(Body::from(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

/// A dialect's reply.
pub fn reply(reply: Reply) -> Answer {
    let mut answer = Response::new(Body::from(reply.body));
    *answer.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in reply.headers {
        // A dialect writes its own header values; one that is no header is left out rather than answered 500.
        if let Ok(value) = HeaderValue::try_from(value) {
            answer.headers_mut().append(HeaderName::from_static(name), value);
        }
    }
    answer
}

/// Says that the connection ends with this answer: its request was not read to the end.
pub fn closing(mut answer: Answer) -> Answer {
    answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    answer
}

/// Adds `Retry-After`.
pub fn retry_after(mut answer: Answer, seconds: u32) -> Answer {
    answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    answer
}
