//! Answers in the encoding of the request, as the specification of OTLP wants them: an export response, or a `google.rpc.Status`.
//!
//! What was refused of a request that was taken is told by a count of data points or log records and the first reasons; its
//! sender must not send it again.

use std::collections::HashSet;

use codec::proto::{write_bytes, write_message, write_number};
use serde_json::json;

use super::{DIALECT, Media};
use crate::{Refusal, Reply, Request, Verdict, reply};

/// Details of a refusal that are kept in its message, each once.
const DETAILS_MAX: usize = 3;

/// Metrics.
pub(super) fn metrics(request: &Request<'_>, verdict: &Verdict) -> Reply {
    exported(request, verdict, "rejectedDataPoints")
}

/// Logs.
pub(super) fn logs(request: &Request<'_>, verdict: &Verdict) -> Reply {
    exported(request, verdict, "rejectedLogRecords")
}

fn exported(request: &Request<'_>, verdict: &Verdict, rejected: &str) -> Reply {
    if let Some(refusal) = &verdict.refusal {
        return refused(request, refusal);
    }
    let media = Media::of(request).unwrap_or(Media::Json);
    let body = match (media, partial(verdict)) {
        (Media::Protobuf, partial) => export_response(partial.as_ref()),
        (Media::Json, None) => b"{}".to_vec(),
        (Media::Json, Some((count, message))) => {
            // 64-bit numbers are texts in protobuf's JSON.
            let partial = json!({ rejected: count.to_string(), "errorMessage": message });
            json!({ "partialSuccess": partial }).to_string().into_bytes()
        }
    };
    let mut reply = answer(media, DIALECT.statuses.stored, body);
    reply.headers.extend(reply::rejected(verdict));
    reply
}

/// How many of the sender's points or records were refused, and why; `None` when everything was stored.
pub fn partial(verdict: &Verdict) -> Option<(u64, String)> {
    if verdict.rejected.is_empty() {
        return None;
    }
    let refused = verdict.items.refused();
    let reasons: Vec<String> = verdict
        .rejected
        .by_reason()
        .map(|(signal, reason, count)| format!("{count} {} {}", signal.as_str(), reason.as_str()))
        .collect();
    let mut details: Vec<_> = verdict.rejected.details().iter().collect();
    let mut seen = HashSet::new();
    details.retain(|detail| seen.insert(*detail));
    details.truncate(DETAILS_MAX);
    let mut message = format!("refused: {}", reasons.join(", "));
    for detail in details {
        message.push_str("; ");
        message.push_str(detail);
    }
    Some((refused, message))
}

/// An export response of either signal in protobuf: of both the count is field 1 and the message field 2.
pub fn export_response(partial: Option<&(u64, String)>) -> Vec<u8> {
    let mut body = Vec::new();
    if let Some((count, message)) = partial {
        write_message(1, &mut body, |out| {
            if *count > 0 {
                write_number(1, *count, out);
            }
            write_bytes(2, message.as_bytes(), out);
        });
    }
    body
}

/// The code of gRPC that stands for a refusal.
pub fn status_code(refusal: &Refusal) -> u32 {
    match refusal {
        Refusal::Undecodable(_) | Refusal::UnsupportedMedia(_) | Refusal::UnsupportedEncoding(_) => 3,
        Refusal::Forbidden => 7,
        Refusal::TooBig { .. } | Refusal::OverRate { .. } | Refusal::ManyRequests { .. } => 8,
        Refusal::Internal => 13,
        Refusal::Overloaded { .. } => 14,
        Refusal::NoCredential | Refusal::BadCredential => 16,
    }
}

/// A refusal in words for the sender.
pub fn message(refusal: &Refusal) -> String {
    reply::message(refusal)
}

/// A refusal as a `google.rpc.Status` in protobuf. One that passes says when to come back, by a `RetryInfo` in its details:
/// without it a sender over gRPC takes `RESOURCE_EXHAUSTED` for final.
pub fn status(refusal: &Refusal) -> Vec<u8> {
    let mut body = encoded_status(status_code(refusal), &message(refusal));
    if let Some(retry_after_s) = refusal.retry_after_s() {
        write_message(3, &mut body, |out| {
            write_bytes(1, b"type.googleapis.com/google.rpc.RetryInfo", out);
            write_message(2, out, |out| {
                write_message(1, out, |out| write_number(1, u64::from(retry_after_s), out));
            });
        });
    }
    body
}

fn encoded_status(code: u32, message: &str) -> Vec<u8> {
    let mut body = Vec::new();
    write_number(1, u64::from(code), &mut body);
    write_bytes(2, message.as_bytes(), &mut body);
    body
}

fn refused(request: &Request<'_>, refusal: &Refusal) -> Reply {
    let status = DIALECT.statuses.of(refusal);
    let mut reply = match (refusal, Media::of(request)) {
        (Refusal::UnsupportedMedia(_), _) => reply::text(status, format!("{}\n", message(refusal))),
        (_, Some(Media::Protobuf)) => answer(Media::Protobuf, status, self::status(refusal)),
        _ => json_status(status, status_code(refusal), &message(refusal)),
    };
    match refusal {
        Refusal::NoCredential | Refusal::BadCredential => {
            reply.headers.push(("www-authenticate", "Basic realm=\"weir\", Bearer".to_owned()));
        }
        _ => reply.headers.extend(crate::reply::retry_after(refusal)),
    }
    reply
}

/// Traces and profiles have no place here. 404 is final for their senders.
pub(super) fn no_place(request: &Request<'_>) -> Reply {
    const NOT_FOUND: u32 = 5;
    const MESSAGE: &str = "Weir keeps metrics and logs: send to /v1/metrics and /v1/logs";
    match Media::of(request) {
        Some(Media::Protobuf) => answer(Media::Protobuf, 404, encoded_status(NOT_FOUND, MESSAGE)),
        _ => json_status(404, NOT_FOUND, MESSAGE),
    }
}

fn json_status(status: u16, code: u32, message: &str) -> Reply {
    answer(Media::Json, status, json!({ "code": code, "message": message }).to_string().into_bytes())
}

fn answer(media: Media, status: u16, body: Vec<u8>) -> Reply {
    Reply { status, headers: vec![("content-type", media.as_str().to_owned())], body }
}

#[cfg(test)]
mod tests {
    use model::{Reason, Signal};

    use super::*;

    fn sent(content_type: &'static str) -> Request<'static> {
        Request { content_type, ..Request::default() }
    }

    #[test]
    fn an_answer_has_the_encoding_of_its_request() {
        let mut verdict = Verdict::default();
        let body = |content_type, verdict: &Verdict| {
            let reply = metrics(&sent(content_type), verdict);
            assert_eq!(reply.status, 200);
            reply.body
        };
        assert_eq!(body("application/json; charset=utf-8", &verdict), b"{}");
        assert_eq!(body("application/x-protobuf", &verdict), b"");
        verdict.items.begin();
        verdict.items.refuse();
        verdict.rejected.add(Signal::Sample, Reason::TooOld, 2);
        verdict.rejected.explain(|| "up: too old".into());
        assert_eq!(
            body("application/json", &verdict),
            br#"{"partialSuccess":{"errorMessage":"refused: 2 sample too_old; up: too old","rejectedDataPoints":"1"}}"#
        );
        let bytes = body("application/x-protobuf", &verdict);
        assert_eq!(bytes[..6], [0x0a, 42, 0x08, 1, 0x12, 38]);
        assert_eq!(&bytes[6..], b"refused: 2 sample too_old; up: too old");
        let told = logs(&sent("application/json"), &verdict);
        assert!(String::from_utf8_lossy(&told.body).contains("rejectedLogRecords"));
        assert_eq!(told.headers[1], ("x-weir-rejected", "2; too_old".to_owned()));
    }

    #[test]
    fn equal_details_are_said_once() {
        let mut verdict = Verdict::default();
        for detail in ["a", "a", "b", "a", "c", "d"] {
            verdict.items.begin();
            verdict.items.refuse();
            verdict.rejected.add(Signal::Sample, Reason::TooOld, 1);
            verdict.rejected.explain(|| detail.into());
        }
        assert_eq!(partial(&verdict), Some((6, "refused: 6 sample too_old; a; b; c".to_owned())));
    }

    #[test]
    fn a_refusal_is_a_status() {
        let refused = |refusal, content_type| metrics(&sent(content_type), &Verdict::refused(refusal));
        let reply = refused(Refusal::OverRate { retry_after_s: 3 }, "application/json");
        assert_eq!((reply.status, reply.headers[1].1.as_str()), (429, "3"));
        assert!(reply.body.starts_with(br#"{"code":8,"#), "{reply:?}");
        let reply = refused(Refusal::Overloaded { retry_after_s: 4, what: "disk" }, "application/x-protobuf");
        assert_eq!((reply.status, &reply.body[..2]), (503, &[8, 14][..]));
        assert!(reply.body.ends_with(&[0x12, 4, 0x0a, 2, 8, 4]), "{:?}", reply.body);
        let reply = refused(Refusal::UnsupportedMedia("text".into()), "text/csv");
        assert_eq!((reply.status, reply.body.as_slice()), (415, &b"text\n"[..]));
        assert_eq!(no_place(&sent("application/x-protobuf")).body[..2], [8, 5]);
    }
}
