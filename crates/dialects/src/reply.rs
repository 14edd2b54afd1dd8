//! The parts of an answer that dialects with plain-text answers share.

use std::fmt::Write as _;

use model::{Counts, Signal};

use crate::{Refusal, Reply, Statuses, Verdict};

/// The header by which an answer of success says what of its request was refused, and why.
pub(crate) const REJECTED: &str = "x-weir-rejected";

/// The value of [`REJECTED`]: how many things were refused, then the reasons with their counts where there are several.
pub(crate) fn rejected(verdict: &Verdict) -> Option<(&'static str, String)> {
    let mut reasons: Vec<(&str, u64)> = Vec::new();
    for (_, reason, count) in verdict.rejected.by_reason() {
        match reasons.iter_mut().find(|(name, _)| *name == reason.as_str()) {
            Some((_, sum)) => *sum += count,
            None => reasons.push((reason.as_str(), count)),
        }
    }
    let total = verdict.rejected.counts().total();
    let shown = match &reasons[..] {
        [] => return None,
        [(reason, _)] => (*reason).to_owned(),
        several => several.iter().map(|(reason, n)| format!("{reason}={n}")).collect::<Vec<_>>().join(", "),
    };
    Some((REJECTED, format!("{total}; {shown}")))
}

/// The same for dialects whose sender counts something else than rows: how many of those things were refused, then the
/// reasons.
pub(crate) fn rejected_items(verdict: &Verdict) -> Option<(&'static str, String)> {
    let mut reasons: Vec<&str> = Vec::new();
    for (_, reason, _) in verdict.rejected.by_reason() {
        if !reasons.contains(&reason.as_str()) {
            reasons.push(reason.as_str());
        }
    }
    let refused = verdict.items.refused();
    (!verdict.rejected.is_empty()).then(|| (REJECTED, format!("{refused}; {}", reasons.join(", "))))
}

/// The plain-text answer to `verdict`, by a dialect's own `statuses`.
pub(crate) fn plain(statuses: &Statuses, verdict: &Verdict) -> Reply {
    match &verdict.refusal {
        Some(refusal) => refused(statuses, refusal),
        None if verdict.rejected.is_empty() => {
            Reply { status: statuses.stored, headers: Vec::new(), body: Vec::new() }
        }
        None => text(statuses.partial, partial(verdict)),
    }
}

/// A plain-text answer.
pub(crate) fn text(status: u16, body: String) -> Reply {
    let headers = vec![("content-type", "text/plain; charset=utf-8".to_owned())];
    Reply { status, headers, body: body.into_bytes() }
}

fn refused(statuses: &Statuses, refusal: &Refusal) -> Reply {
    let mut reply = text(statuses.of(refusal), format!("{}\n", message(refusal)));
    match refusal {
        Refusal::NoCredential | Refusal::BadCredential if reply.status == 401 => {
            reply.headers.push(("www-authenticate", "Basic realm=\"weir\", Bearer".to_owned()));
        }
        _ => reply.headers.extend(retry_after(refusal)),
    }
    reply
}

/// The header that says when to come back, where that helps.
pub(crate) fn retry_after(refusal: &Refusal) -> Option<(&'static str, String)> {
    refusal.retry_after_s().map(|seconds| ("retry-after", seconds.to_string()))
}

/// A refusal in words for the sender.
pub(crate) fn message(refusal: &Refusal) -> String {
    match refusal {
        Refusal::NoCredential => "a token is required".to_owned(),
        Refusal::BadCredential => "the token is unknown, revoked or ambiguous".to_owned(),
        Refusal::Forbidden => "the token may not write to this tenant".to_owned(),
        Refusal::TooBig { limit } => format!("the body is over {limit} bytes"),
        Refusal::Undecodable(what) | Refusal::UnsupportedMedia(what) | Refusal::UnsupportedEncoding(what) => {
            what.clone()
        }
        Refusal::OverRate { retry_after_s } => {
            format!("over the tenant's sample rate, come back in {retry_after_s} s")
        }
        Refusal::ManyRequests { retry_after_s } => {
            format!("too many requests from this address, come back in {retry_after_s} s")
        }
        Refusal::Overloaded { retry_after_s, what } => {
            format!("cannot take more now ({what}), come back in {retry_after_s} s")
        }
        Refusal::Internal => "internal error, nothing of this request is acknowledged".to_owned(),
    }
}

/// Exact counts, then the first reasons in the sender's own terms.
fn partial(verdict: &Verdict) -> String {
    counts(verdict) + &details(verdict)
}

/// The first reasons in the sender's own terms, a line each.
pub(crate) fn details(verdict: &Verdict) -> String {
    let mut body = String::new();
    for detail in verdict.rejected.details() {
        body.push_str(detail);
        body.push('\n');
    }
    if verdict.rejected.more() > 0 {
        let _ = writeln!(body, "and {} more", verdict.rejected.more());
    }
    body
}

/// A line with what was stored and what was refused.
pub(crate) fn counts(verdict: &Verdict) -> String {
    let rejected = verdict.rejected.counts();
    let mut body = String::new();
    let mut separator = "stored ";
    for signal in Signal::ALL {
        let (stored, refused) = (verdict.accepted.get(signal), rejected.get(signal));
        if stored + refused > 0 {
            let _ = write!(body, "{separator}{stored} of {} {}", stored + refused, plural(signal));
            separator = ", ";
        }
    }
    if verdict.accepted == Counts::default() && rejected == Counts::default() {
        body.push_str("nothing to store");
    }
    let mut separator = "; refused: ";
    for (signal, reason, count) in verdict.rejected.by_reason() {
        let _ = write!(body, "{separator}{count} {} ({})", plural(signal), reason.as_str());
        separator = ", ";
    }
    body.push('\n');
    body
}

fn plural(signal: Signal) -> &'static str {
    match signal {
        Signal::Sample => "samples",
        Signal::Histogram => "histograms",
        Signal::Exemplar => "exemplars",
        Signal::Metadata => "metadata rows",
        Signal::LogLine => "log lines",
    }
}
