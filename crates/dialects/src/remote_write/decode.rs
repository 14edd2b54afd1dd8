//! Bytes to batch: the message decides the reader.

use codec::proto::WireError;
use model::Batch;

use super::message::Message;
use super::{handshake, v1, v2};
use crate::{Malformed, Received};

/// Decodes a body into `batch`.
pub(super) fn decode<'a>(received: &Received<'a>, batch: &mut Batch<'a>) -> Result<(), Malformed> {
    if handshake::is_asked(&received.request) {
        return Ok(());
    }
    match Message::of(received.request.content_type) {
        Some(Message::V1) => v1::decode(received.body, batch)?,
        Some(Message::V2) => v2::decode(received.body, batch)?,
        None => return Err(Malformed { what: "not a remote write message", offset: 0 }),
    }
    Ok(())
}

impl From<WireError> for Malformed {
    fn from(error: WireError) -> Self {
        Self { what: error.what, offset: error.offset }
    }
}
