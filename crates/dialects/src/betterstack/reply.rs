//! Answers, to the letter of Better Stack's documentation: a success has no body, so what was refused stands in headers.

use super::DIALECT;
use crate::{Refusal, Reply, Request, Verdict, reply};

/// The answer to `verdict`.
pub(super) fn reply(_: &Request<'_>, verdict: &Verdict) -> Reply {
    let statuses = &DIALECT.statuses;
    let Some(refusal) = &verdict.refusal else {
        let accepted = verdict.items.sent().saturating_sub(verdict.items.refused());
        let mut headers = vec![("x-weir-accepted", accepted.to_string())];
        headers.extend(reply::rejected_items(verdict));
        return Reply { status: statuses.stored, headers, body: Vec::new() };
    };
    let body = match refusal {
        Refusal::NoCredential | Refusal::BadCredential | Refusal::Forbidden => "Unauthorized".to_owned(),
        Refusal::TooBig { .. } => "payload reached size limit".to_owned(),
        Refusal::Undecodable(_) | Refusal::UnsupportedMedia(_) | Refusal::UnsupportedEncoding(_) => {
            format!("Couldn't parse JSON content.\n{}", reply::message(refusal))
        }
        other => reply::message(other),
    };
    let mut reply = reply::text(statuses.of(refusal), body);
    reply.headers.extend(reply::retry_after(refusal));
    reply
}
