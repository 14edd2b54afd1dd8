//! Which of the two messages a request carries, told from its media type before the body is read.

use crate::{Refusal, Request, remote_write::handshake};

/// A protobuf message of remote write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// `prometheus.WriteRequest`, 1.0.
    V1,
    /// `io.prometheus.write.v2.Request`, 2.0.
    V2,
}

impl Message {
    /// The message named by a `Content-Type`: no header at all is 1.0, as is no `proto` parameter.
    pub(super) fn of(content_type: &str) -> Option<Self> {
        let mut parts = content_type.split(';').map(str::trim);
        let media = parts.next().unwrap_or("");
        if !media.is_empty() && !media.eq_ignore_ascii_case("application/x-protobuf") {
            return None;
        }
        let named = parts
            .filter_map(|part| part.split_once('='))
            .find(|(n, _)| n.trim().eq_ignore_ascii_case("proto"));
        match named.map(|(_, name)| name.trim().trim_matches('"')) {
            None | Some("prometheus.WriteRequest") => Some(Self::V1),
            Some("io.prometheus.write.v2.Request") => Some(Self::V2),
            Some(_) => None,
        }
    }
}

/// Whether a request on a path of somebody else is one of remote write.
pub(super) fn is_protobuf(request: &Request<'_>) -> bool {
    let media = request.content_type.split(';').next().unwrap_or("").trim();
    media.eq_ignore_ascii_case("application/x-protobuf")
}

/// Refuses other media types, other messages and other encodings.
pub(super) fn accept(request: &Request<'_>) -> Result<(), Refusal> {
    if handshake::is_asked(request) {
        return Ok(());
    }
    if Message::of(request.content_type).is_none() {
        return Err(Refusal::UnsupportedMedia(format!(
            "content type {:?} is not supported here: use application/x-protobuf, with proto=prometheus.WriteRequest \
             or proto=io.prometheus.write.v2.Request",
            model::labels::truncated(request.content_type)
        )));
    }
    super::DIALECT.encodings(request).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_media_type_names_the_message() {
        let v1 = Some(Message::V1);
        for (content_type, message) in [
            ("", v1),
            ("application/x-protobuf", v1),
            ("Application/X-Protobuf; charset=utf-8", v1),
            ("application/x-protobuf;proto=prometheus.WriteRequest", v1),
            ("application/x-protobuf;proto=io.prometheus.write.v2.Request", Some(Message::V2)),
            ("application/x-protobuf; Proto=\"io.prometheus.write.v2.Request\"", Some(Message::V2)),
            ("application/x-protobuf;proto=io.prometheus.write.v3.Request", None),
            ("application/x-protobuf;proto=", None),
            ("application/protobuf", None),
            ("application/json", None),
            ("text/plain", None),
        ] {
            assert_eq!(Message::of(content_type), message, "{content_type:?}");
        }
    }
}
