//! What Opstrace refused of a request to its two routes before it looked at the body, in its own words. It is refused
//! here in its profile alone, and only where no official client is refused with it.

use super::settings::Profile;
use crate::{Malformed, Received};

/// Media types that come with JSON.
const JSON: [&str; 3] = ["application/json", "text/json", "application/x-protobuf"];

/// Begins what is said of a request's head.
pub(super) const BAD_REQUEST: &str = "bad request: ";

/// Whether there is a body to be read: outside of Opstrace's profile an empty one only keeps a connection alive.
pub(super) fn has_body(received: &Received<'_>) -> Result<bool, Malformed> {
    let refused = |what| Err(Malformed { what, offset: 0 });
    if received.settings.datadog.profile == Profile::Plain {
        return Ok(!received.body.is_empty());
    }
    let media = received.request.content_type.split(';').next().unwrap_or("").trim();
    if media.is_empty() {
        return refused("bad request: request lacks content-type header");
    }
    if !JSON.iter().any(|known| media.eq_ignore_ascii_case(known)) {
        return refused("bad request: unexpected content-type header (expecting: application/json)");
    }
    Ok(true)
}
