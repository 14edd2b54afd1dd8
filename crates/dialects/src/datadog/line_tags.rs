//! Tags and hosts of what is kept as a log line.

use std::borrow::Cow;

use model::Batch;

use super::settings::{BareTags, Profile, Settings};
use super::translate::sanitised;
use crate::lines::put;
use crate::rows::{Full, Room};

/// Appends a tag under the name that it has as a label of series. One without a colon has its place here, whatever the
/// knob says of series: a field is no label.
pub(super) fn put_tag<'a>(
    batch: &mut Batch<'a>,
    room: &mut Room,
    settings: &Settings,
    tag: Cow<'a, str>,
) -> Result<(), Full> {
    let bare = if settings.bare_tags == BareTags::Value { "no_label_value" } else { "true" };
    let (key, value) = match tag {
        Cow::Borrowed(tag) => match tag.split_once(':') {
            Some((key, value)) => (Cow::Borrowed(key), Cow::Borrowed(value)),
            None => (Cow::Borrowed(tag), Cow::Borrowed(bare)),
        },
        Cow::Owned(tag) => match tag.split_once(':') {
            Some((key, value)) => (Cow::Owned(key.to_owned()), Cow::Owned(value.to_owned())),
            None => (Cow::Owned(tag), Cow::Borrowed(bare)),
        },
    };
    if key.is_empty() || value.is_empty() {
        return Ok(());
    }
    let name = match (settings.profile, key) {
        (Profile::Opstrace, key) => Cow::Owned(format!("ddtag_{}", sanitised(&key))),
        (Profile::Plain, Cow::Borrowed(key)) => sanitised(key),
        (Profile::Plain, Cow::Owned(key)) => Cow::Owned(sanitised(&key).into_owned()),
    };
    put(batch, room, name, value)
}

/// The label of a stream that says the host.
pub(super) fn host_label(settings: &Settings) -> &'static str {
    match settings.profile {
        Profile::Opstrace => "instance",
        Profile::Plain => "host",
    }
}
