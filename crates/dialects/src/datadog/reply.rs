//! Answers, always JSON: clients choke on anything else. On routes of v1 `errors` is there only when something is wrong,
//! because official clients take its presence for a failure.

use super::{DIALECT, opening};
use crate::{Refusal, Reply, Request, Verdict, json, reply};

/// `GET /api/v1/validate`.
pub(super) fn valid(_: &Request<'_>, verdict: &Verdict) -> Reply {
    or_stored(verdict, 200, r#"{"valid":true}"#)
}

/// Routes of v1: Opstrace's answer, space included.
pub(super) fn status_ok(_: &Request<'_>, verdict: &Verdict) -> Reply {
    or_stored(verdict, DIALECT.statuses.stored, r#"{"status": "ok"}"#)
}

/// Routes of v2.
pub(super) fn no_errors(_: &Request<'_>, verdict: &Verdict) -> Reply {
    or_stored(verdict, DIALECT.statuses.stored, r#"{"errors":[]}"#)
}

/// `POST /api/v1/events`: official clients read the event that they sent from its answer.
pub(super) fn event(request: &Request<'_>, verdict: &Verdict) -> Reply {
    match &verdict.echo {
        Some(event) => {
            let body = format!(r#"{{"status":"ok","event":{event}}}"#);
            or_stored(verdict, DIALECT.statuses.stored, &body)
        }
        None => status_ok(request, verdict),
    }
}

/// Routes whose answer nobody reads.
pub(super) fn empty(_: &Request<'_>, verdict: &Verdict) -> Reply {
    or_stored(verdict, DIALECT.statuses.stored, "{}")
}

fn or_stored(verdict: &Verdict, status: u16, body: &str) -> Reply {
    if let Some(refusal) = &verdict.refusal {
        return refused(refusal);
    }
    let mut reply = json(status, body.to_owned());
    reply.headers.extend(reply::rejected(verdict));
    reply
}

fn refused(refusal: &Refusal) -> Reply {
    let message = match refusal {
        Refusal::NoCredential | Refusal::BadCredential | Refusal::Forbidden => "Forbidden".to_owned(),
        Refusal::Undecodable(what) => undecodable(what),
        other => reply::message(other),
    };
    let mut reply =
        json(DIALECT.statuses.of(refusal), serde_json::json!({ "errors": [message] }).to_string());
    reply.headers.extend(reply::retry_after(refusal));
    reply
}

/// What is wrong with a body, in the words of Opstrace where it had some: a fault of the head stands at no byte.
fn undecodable(what: &str) -> String {
    match what.strip_suffix(" at byte 0") {
        Some(head) if head.starts_with(opening::BAD_REQUEST) => head.to_owned(),
        _ if what.starts_with(json::INVALID) => {
            format!("{}error while translating body: {what}", opening::BAD_REQUEST)
        }
        _ => what.to_owned(),
    }
}

fn json(status: u16, body: String) -> Reply {
    let headers = vec![("content-type", "application/json".to_owned())];
    Reply { status, headers, body: body.into_bytes() }
}
