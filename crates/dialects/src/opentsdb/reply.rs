//! Answers of `/api/put`: nothing when all is well, counts and errors for whoever asks for `summary` or `details`.

use serde_json::{Value, json};

use super::DIALECT;
use crate::{Refusal, Reply, Request, Verdict, reply};

/// What OpenTSDB says where nobody asked for more.
const HAD_ERRORS: &str = "One or more data points had errors";

/// The answer to `verdict`.
pub(super) fn reply(request: &Request<'_>, verdict: &Verdict) -> Reply {
    let statuses = &DIALECT.statuses;
    if let Some(refusal) = &verdict.refusal {
        return refused(refusal);
    }
    let is_complete = verdict.rejected.is_empty();
    let asks = |flag: &str| {
        request.query.split('&').any(|pair| pair.split_once('=').map_or(pair, |(name, _)| name) == flag)
    };
    let mut reply = match (asks("details"), asks("summary")) {
        (false, false) if is_complete => {
            return Reply { status: statuses.stored, headers: Vec::new(), body: Vec::new() };
        }
        (false, false) => {
            let details = "Please append \"details\" to the put request";
            error(statuses.partial, HAD_ERRORS, details)
        }
        (details, _) => {
            let failed = verdict.items.refused();
            let mut counts = json!({ "success": verdict.items.sent() - failed, "failed": failed });
            if details {
                counts["errors"] = errors(verdict);
            }
            answer(if is_complete { 200 } else { statuses.partial }, &counts)
        }
    };
    reply.headers.extend(reply::rejected(verdict));
    reply
}

/// Data points that the decoder refused, then what the store says of others.
fn errors(verdict: &Verdict) -> Value {
    let read = verdict.echo.as_deref().and_then(|errors| serde_json::from_str(errors).ok());
    let mut errors: Vec<Value> = read.unwrap_or_default();
    let stored = verdict.rejected.details().iter().skip(errors.len());
    errors.extend(stored.map(|what| json!({ "error": what })));
    Value::from(errors)
}

fn refused(refusal: &Refusal) -> Reply {
    let mut reply = error(DIALECT.statuses.of(refusal), &reply::message(refusal), "");
    match refusal {
        Refusal::NoCredential | Refusal::BadCredential => {
            reply.headers.push(("www-authenticate", "Basic realm=\"weir\", Bearer".to_owned()));
        }
        Refusal::OverRate { retry_after_s } | Refusal::Overloaded { retry_after_s, .. } => {
            reply.headers.push(("retry-after", retry_after_s.to_string()));
        }
        _ => {}
    }
    reply
}

fn error(status: u16, message: &str, details: &str) -> Reply {
    let mut error = json!({ "code": status, "message": message });
    if !details.is_empty() {
        error["details"] = Value::from(details);
    }
    answer(status, &json!({ "error": error }))
}

fn answer(status: u16, body: &Value) -> Reply {
    let headers = vec![("content-type", "application/json; charset=UTF-8".to_owned())];
    Reply { status, headers, body: body.to_string().into_bytes() }
}
