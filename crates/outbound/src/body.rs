//! Answers' bodies: read to a limit, unpacked to another.

use bytes::Bytes;
use codec::inflate::{Encoding, inflate};
use http::{HeaderMap, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::error::SendError;
use crate::url::Url;

/// Reads a body, up to `limit` bytes.
pub(crate) async fn read(mut body: Incoming, url: &Url, limit: usize) -> Result<Bytes, SendError> {
    let declared = hyper::body::Body::size_hint(&body).lower();
    if usize::try_from(declared).map_or(true, |declared| declared > limit) {
        return Err(SendError::TooBig { limit });
    }
    let mut first = Bytes::new();
    let mut all: Vec<u8> = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| SendError::broken(url, error.to_string()))?;
        let Ok(data) = frame.into_data() else { continue };
        if first.len() + all.len() + data.len() > limit {
            return Err(SendError::TooBig { limit });
        }
        if first.is_empty() && all.is_empty() {
            first = data;
            continue;
        }
        if all.is_empty() {
            all.reserve(usize::try_from(declared).unwrap_or(0).max(first.len() + data.len()));
            all.extend_from_slice(&first);
            first = Bytes::new();
        }
        all.extend_from_slice(&data);
    }
    // A single frame is a part of the connection's buffer, which it would keep from being used again.
    Ok(if all.is_empty() { Bytes::copy_from_slice(&first) } else { all.into() })
}

/// The body as its `Content-Encoding` says that it is packed.
pub(crate) fn unpacked(headers: &HeaderMap, wire: Bytes, limit: usize) -> Result<Bytes, SendError> {
    let name = headers.get(header::CONTENT_ENCODING).map_or(Ok("identity"), |value| value.to_str());
    let name = name.map_err(|_| SendError::Encoding("is no text".to_owned()))?.trim();
    let known = match Encoding::from_name(name) {
        _ if name.is_empty() => Some(Encoding::Identity),
        Some(Encoding::Snappy) => None,
        known => known,
    };
    let Some(encoding) = known else {
        return Err(SendError::Encoding(format!("unknown {:?}", model::labels::truncated(name))));
    };
    if wire.is_empty() || encoding == Encoding::Identity {
        return if wire.len() > limit { Err(SendError::TooBig { limit }) } else { Ok(wire) };
    }
    let mut body = Vec::new();
    inflate(encoding, &wire, limit, &mut body)?;
    Ok(body.into())
}
