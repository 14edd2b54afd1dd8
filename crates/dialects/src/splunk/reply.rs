//! Answers: `{"text":…,"code":…}`, whose first bytes senders look for.

use super::code::{self, Code};
use crate::{Refusal, Reply, Request, Verdict, reply};

/// The answer to a body. Decoders prepare it where it depends on what they read: an `ackId`, the first bad event.
pub(super) fn reply(request: &Request<'_>, verdict: &Verdict) -> Reply {
    if let Some(refusal) = &verdict.refusal {
        return refused(request, refusal);
    }
    if verdict.rejected.is_empty() {
        let body = verdict.echo.clone().unwrap_or_else(|| code::SUCCESS.body());
        return json(code::SUCCESS.status, body);
    }
    let body = match verdict.items.first_refused() {
        None => code::INVALID_FORMAT.body(),
        Some(number) => {
            // The store may have refused one before the decoder's first.
            let end = format!(":{number}}}");
            let said = verdict.echo.clone().filter(|body| body.ends_with(&end));
            said.unwrap_or_else(|| code::INVALID_FORMAT.body_of_event(number))
        }
    };
    let mut answer = json(code::INVALID_FORMAT.status, body);
    answer.headers.extend(reply::rejected(verdict));
    answer
}

/// `GET /services/collector/health`.
pub(super) fn health(amiss: &[String]) -> Reply {
    let code = if amiss.is_empty() { code::HEALTHY } else { code::UNHEALTHY };
    json(code.status, code.body())
}

fn refused(request: &Request<'_>, refusal: &Refusal) -> Reply {
    let code = of(request, refusal);
    let mut answer = json(code.status, code.body());
    match refusal {
        Refusal::NoCredential => {
            answer.headers.push(("www-authenticate", "Splunk, Basic realm=\"weir\"".to_owned()));
        }
        Refusal::UnsupportedEncoding(_) | Refusal::UnsupportedMedia(_) => {
            answer.status = super::DIALECT.statuses.unsupported;
        }
        _ => answer.headers.extend(reply::retry_after(refusal)),
    }
    answer
}

fn of(request: &Request<'_>, refusal: &Refusal) -> Code {
    match refusal {
        Refusal::NoCredential if request.scheme.is_empty() => code::TOKEN_REQUIRED,
        // Something stands there, but nothing that could be a token of this dialect.
        Refusal::NoCredential => code::INVALID_AUTHORIZATION,
        Refusal::BadCredential => code::INVALID_TOKEN,
        Refusal::Forbidden => code::TOKEN_DISABLED,
        Refusal::TooBig { .. } => code::TOO_LARGE,
        Refusal::Undecodable(what) => Code::of_body(what),
        Refusal::UnsupportedMedia(_) | Refusal::UnsupportedEncoding(_) => code::INVALID_FORMAT,
        Refusal::OverRate { .. } | Refusal::ManyRequests { .. } | Refusal::Overloaded { .. } => code::BUSY,
        Refusal::Internal => code::INTERNAL,
    }
}

fn json(status: u16, body: String) -> Reply {
    let headers = vec![("content-type", "application/json".to_owned())];
    Reply { status, headers, body: body.into_bytes() }
}
