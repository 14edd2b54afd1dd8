//! Answers' bodies: read to a limit, unpacked to another.

use bytes::Bytes;
use codec::inflate::{Encoding, inflate};
use http::{HeaderMap, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::error::SendError;
use crate::url::Url;

/// A body as it came.
#[derive(Debug, Default)]
pub(crate) struct Wire {
    first: Bytes,
    all: Vec<u8>,
}

impl Wire {
    fn len(&self) -> usize {
        self.first.len() + self.all.len()
    }

    /// Reads a body, up to `limit` bytes. After an error there is what came before.
    pub(crate) async fn read(
        &mut self,
        body: &mut Incoming,
        url: &Url,
        limit: usize,
    ) -> Result<(), SendError> {
        let declared = usize::try_from(hyper::body::Body::size_hint(body).lower()).unwrap_or(usize::MAX);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| SendError::broken_by(url, &error))?;
            let Ok(data) = frame.into_data() else { continue };
            let room = limit - self.len();
            self.add(data.slice(..data.len().min(room)), declared.min(limit));
            if data.len() > room {
                return Err(SendError::TooBig { limit });
            }
        }
        Ok(())
    }

    fn add(&mut self, data: Bytes, declared: usize) {
        if self.len() == 0 {
            self.first = data;
            return;
        }
        if self.all.is_empty() {
            self.all.reserve(declared.max(self.first.len() + data.len()));
            self.all.extend_from_slice(&self.first);
            self.first = Bytes::new();
        }
        self.all.extend_from_slice(&data);
    }

    /// The bytes. A single frame is a part of the connection's buffer, which it would keep from being used again.
    pub(crate) fn bytes(self) -> Bytes {
        if self.all.is_empty() { Bytes::copy_from_slice(&self.first) } else { self.all.into() }
    }
}

/// Whether a body says that it is longer than `limit` bytes.
pub(crate) fn is_declared_over(body: &Incoming, limit: usize) -> bool {
    usize::try_from(hyper::body::Body::size_hint(body).lower()).map_or(true, |declared| declared > limit)
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
