//! Answers in InfluxDB's two shapes, and what its clients ask before they write.
//!
//! Telegraf acts on words: it drops a batch whose answer says "unable to parse", "partial write" or "points beyond
//! retention policy", and sends it again on any other. All of them are said only where the rest of the batch is stored.

use model::Reason;

use super::{DIALECT, statement};
use crate::{Refusal, Reply, Request, Verdict, reply};

/// What Weir says that it is: clients look for the generation.
const VERSION: &str = "1.8.10";

/// The longest text in a header: what is longer stands in the body.
const HEADER_BYTES_MAX: usize = 512;

/// InfluxDB 1: `{"error": …}`, and the same in a header.
pub(super) fn v1(_: &Request<'_>, verdict: &Verdict) -> Reply {
    let error = match &verdict.refusal {
        Some(Refusal::NoCredential) => "unable to parse authentication credentials".to_owned(),
        Some(Refusal::BadCredential) => "authorization failed".to_owned(),
        // A statement has no bytes to be pointed at.
        Some(refusal @ Refusal::Undecodable(what)) => {
            statement::refused(what).map_or_else(|| reply::message(refusal), str::to_owned)
        }
        Some(refusal) => reply::message(refusal),
        None if verdict.rejected.is_empty() => return stored(verdict),
        None => partial(verdict),
    };
    let mut reply = json(status(verdict), serde_json::json!({ "error": error }).to_string());
    reply.headers.push(("x-influxdb-error", in_header(&error)));
    finished(reply, verdict)
}

/// InfluxDB 2: `{"code": …, "message": …}`.
pub(super) fn v2(_: &Request<'_>, verdict: &Verdict) -> Reply {
    let (code, message) = match &verdict.refusal {
        Some(refusal) => (code(refusal), reply::message(refusal)),
        None if verdict.rejected.is_empty() => return stored(verdict),
        None => ("invalid", partial(verdict)),
    };
    let body = serde_json::json!({ "code": code, "message": message }).to_string();
    finished(json(status(verdict), body), verdict)
}

/// `GET /ping`.
pub(super) fn ping(request: &Request<'_>) -> Reply {
    let is_verbose = crate::query::values(request.query, "verbose").any(|value| value == "true");
    let mut reply = match is_verbose {
        true => json(200, serde_json::json!({ "version": VERSION }).to_string()),
        false => Reply { status: 204, headers: Vec::new(), body: Vec::new() },
    };
    reply.headers.push(("x-influxdb-build", "OSS".to_owned()));
    reply.headers.push(("x-influxdb-version", VERSION.to_owned()));
    reply
}

/// `GET /health`.
pub(super) fn health(amiss: &[String]) -> Reply {
    let is_well = amiss.is_empty();
    let body = serde_json::json!({
        "name": "influxdb",
        "message": if is_well { "ready for queries and writes".to_owned() } else { amiss.join("; ") },
        "status": if is_well { "pass" } else { "fail" },
        "checks": [],
        "version": VERSION,
    });
    json(if is_well { 200 } else { 503 }, body.to_string())
}

/// A JSON body.
pub(super) fn json(status: u16, body: String) -> Reply {
    let headers = vec![("content-type", "application/json".to_owned())];
    Reply { status, headers, body: body.into_bytes() }
}

fn stored(verdict: &Verdict) -> Reply {
    match &verdict.echo {
        Some(results) => json(200, results.clone()),
        None => Reply { status: DIALECT.statuses.stored, headers: Vec::new(), body: Vec::new() },
    }
}

fn status(verdict: &Verdict) -> u16 {
    verdict.refusal.as_ref().map_or(DIALECT.statuses.partial, |refusal| DIALECT.statuses.of(refusal))
}

fn finished(mut reply: Reply, verdict: &Verdict) -> Reply {
    match &verdict.refusal {
        Some(Refusal::NoCredential | Refusal::BadCredential) => {
            reply.headers.push(("www-authenticate", "Basic realm=\"InfluxDB\", Token, Bearer".to_owned()));
        }
        Some(refusal) => reply.headers.extend(reply::retry_after(refusal)),
        None => reply.headers.extend(reply::rejected(verdict)),
    }
    reply
}

fn code(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::NoCredential | Refusal::BadCredential => "unauthorized",
        Refusal::Forbidden => "forbidden",
        Refusal::TooBig { .. } => "request too large",
        Refusal::Undecodable(_) => "invalid",
        Refusal::UnsupportedMedia(_) | Refusal::UnsupportedEncoding(_) => "unsupported media type",
        Refusal::OverRate { .. } | Refusal::ManyRequests { .. } => "too many requests",
        Refusal::Overloaded { .. } => "unavailable",
        Refusal::Internal => "internal error",
    }
}

/// What of a request was refused, while the rest is stored: the first reasons, and how many points it was.
fn partial(verdict: &Verdict) -> String {
    let too_old = verdict.rejected.by_reason().any(|(_, reason, _)| reason == Reason::TooOld);
    let mut reasons = Vec::new();
    if too_old {
        reasons.push("points beyond retention policy");
    }
    reasons.extend(verdict.rejected.details().iter().map(String::as_str));
    let more = format!("and {} more", verdict.rejected.more());
    if verdict.rejected.more() > 0 {
        reasons.push(&more);
    }
    let reasons = reasons.join("\n");
    // Where a point's fields are not all refused it counts as refused all the same.
    let dropped = match verdict.items.refused() {
        0 => verdict.rejected.counts().total(),
        points => points,
    };
    let none_is_read = reasons.starts_with("unable to parse") && dropped == verdict.items.sent();
    if none_is_read { reasons } else { format!("partial write: {reasons} dropped={dropped}") }
}

/// A text as a header's value: one line of ASCII, and not too much of it.
fn in_header(text: &str) -> String {
    let visible = |c: char| if matches!(c, ' '..='~') { c } else { '?' };
    text.chars().map(|c| if c == '\n' { ' ' } else { visible(c) }).take(HEADER_BYTES_MAX).collect()
}
