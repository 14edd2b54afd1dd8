//! The answer: plain text, and for 2.0 always the three counts of what was written, on every status.

use model::Signal;

use super::message::Message;
use super::{DIALECT, handshake};
use crate::{Refusal, Reply, Request, Verdict, reply};

const WRITTEN: [(&str, Signal); 3] = [
    ("x-prometheus-remote-write-samples-written", Signal::Sample),
    ("x-prometheus-remote-write-histograms-written", Signal::Histogram),
    ("x-prometheus-remote-write-exemplars-written", Signal::Exemplar),
];

/// Answers `verdict`.
pub(super) fn reply(request: &Request<'_>, verdict: &Verdict) -> Reply {
    // The question's body means nothing, so neither does its being undecodable.
    if handshake::is_asked(request) && matches!(verdict.refusal, None | Some(Refusal::Undecodable(_))) {
        return handshake::yes();
    }
    let mut reply = reply::plain(&DIALECT.statuses, verdict);
    // A 1.0 sender must not see the counts: with them it would take the receiver for one of 2.0.
    if Message::of(request.content_type) == Some(Message::V2) {
        let count = |(name, signal)| (name, verdict.accepted.get(signal).to_string());
        reply.headers.extend(WRITTEN.map(count));
    }
    reply
}
