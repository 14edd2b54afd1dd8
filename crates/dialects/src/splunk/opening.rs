//! What is looked at before the body: where the token stood, whether anything came, the channel.

use std::borrow::Cow;

use codec::hash::key128;
use model::Batch;

use super::code;
use crate::{Malformed, Received, query};

/// The parameter of the query that may be a token.
pub(super) const TOKEN: &str = "token";

/// The longest channel: Splunk's are GUIDs.
const CHANNEL_BYTES_MAX: usize = 128;

/// Refuses a body of nothing, a token in a query where that is not wanted, and a channel that is none. The channel, where
/// there is one.
pub(super) fn channel<'a>(received: &Received<'a>) -> Result<Option<Cow<'a, str>>, Malformed> {
    let request = &received.request;
    let refused = |code: code::Code| Err(Malformed { what: code.text, offset: 0 });
    if !received.settings.splunk.query_token && query::values(request.query, TOKEN).next().is_some() {
        return refused(code::QUERY_TOKEN_OFF);
    }
    if received.body.trim_ascii().is_empty() {
        return refused(code::NO_DATA);
    }
    let asked = || query::values(request.query, "channel").next().filter(|channel| !channel.is_empty());
    let channel = if request.channel.is_empty() { asked() } else { Some(Cow::Borrowed(request.channel)) };
    let is_valid = |channel: &str| {
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        channel.len() <= CHANNEL_BYTES_MAX && channel.bytes().all(is_part)
    };
    match channel {
        Some(channel) if !is_valid(&channel) => refused(code::INVALID_CHANNEL),
        channel => Ok(channel),
    }
}

/// Lets the answer carry an `ackId` that no other request on a channel has while somebody asks for it: 23 bits of time (of
/// 2 hours, in ms) above 30 bits of what was sent. Numbers above 2⁵³ would not survive a sender that reads JSON's as floats.
pub(super) fn acknowledge(received: &Received<'_>, batch: &mut Batch<'_>) {
    let time = received.received_ms as u64 & ((1 << 23) - 1);
    let content = key128(batch.seed, received.body) as u64 & ((1 << 30) - 1);
    batch.echo = Some(code::SUCCESS.body_with("ackId", time << 30 | content));
}
