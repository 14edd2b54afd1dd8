//! VictoriaMetrics' handshake: vmagent asks with `?get_vm_proto_version=1` whether the receiver takes zstd bodies, and
//! sends `X-VictoriaMetrics-Remote-Write-Version: 1` with `Content-Encoding: zstd` when the answer is `1`.

use crate::{Reply, Request, reply};

/// Whether `request` is the question. Its body, if any, is not looked at.
pub(super) fn is_asked(request: &Request<'_>) -> bool {
    request.query.split('&').any(|pair| pair == "get_vm_proto_version=1")
}

/// The answer to the question.
pub(super) fn yes() -> Reply {
    reply::text(200, "1".to_owned())
}

/// GET on a write path: the question, or a mistake.
pub(super) fn answer(request: &Request<'_>) -> Reply {
    if is_asked(request) {
        return yes();
    }
    let mut reply = reply::text(405, "remote write takes POST\n".to_owned());
    reply.headers.push(("allow", "POST".to_owned()));
    reply
}
