//! Answers as Loki gives them: 204, or plain text whose first line says what is wrong, because clients log no more of it.

use super::DIALECT;
use super::push::NO_STREAM;
use crate::{Refusal, Reply, Request, Verdict, reply};

/// Answers `verdict`.
pub(super) fn reply(_: &Request<'_>, verdict: &Verdict) -> Reply {
    let statuses = &DIALECT.statuses;
    match &verdict.refusal {
        Some(Refusal::Undecodable(what)) if what.starts_with(NO_STREAM) => {
            reply::text(422, format!("{NO_STREAM}\n"))
        }
        Some(Refusal::Undecodable(what)) if what == "corrupt snappy body" => {
            reply::text(statuses.undecodable, "snappy: corrupt input\n".to_owned())
        }
        Some(Refusal::NoCredential) => {
            let mut reply = reply::plain(statuses, verdict);
            reply.body = b"no org id\n".to_vec();
            reply
        }
        None if !verdict.rejected.is_empty() => {
            reply::text(statuses.partial, reply::details(verdict) + &reply::counts(verdict))
        }
        _ => reply::plain(statuses, verdict),
    }
}
