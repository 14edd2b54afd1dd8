//! The form `Command`: lines `PUTVAL host/plugin-instance/type-instance interval=10.000 1795168007.110:1:2`.
//!
//! It says neither how the values of a type are called nor what they are, which only collectd's `types.db` knows: several
//! values are numbered from 0, and no total is known to be one.

use std::borrow::Cow;

use model::Reason;

use super::decode::Values;
use super::names::{Identifier, Source};
use crate::rows::Full;
use crate::{Malformed, seconds};

/// Values of one list: collectd's longest types have five. More would be a series for every two bytes.
const VALUES_MAX: usize = 8;

/// Reads all lines of a body.
pub(super) fn decode<'a>(body: &'a [u8], values: &mut Values<'a, '_>) -> Result<(), Malformed> {
    let (mut start, mut number) = (0, 0u64);
    for line in body.split(|byte| *byte == b'\n') {
        let offset = start;
        start += line.len() + 1;
        number += 1;
        let full = |Full| Malformed { what: Full::WHAT, offset };
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        let read = std::str::from_utf8(line).map_err(|_| "line is not valid UTF-8").and_then(read);
        match read {
            Ok((of, lists)) => keep(values, &of, lists, number).map_err(full)?,
            Err(what) => values.refuse(Reason::InvalidLine, 1, || format!("line {number}: {what}")),
        }
    }
    Ok(())
}

/// What a line is about, and its lists of values.
fn read(line: &str) -> Result<(Identifier<'_>, &str), &'static str> {
    let (command, rest) = line.split_once(' ').ok_or("no PUTVAL command")?;
    if !command.eq_ignore_ascii_case("PUTVAL") {
        return Err("no PUTVAL command");
    }
    let rest = rest.trim_start();
    // A name with spaces stands in quotes.
    let (name, mut rest) = match rest.strip_prefix('"') {
        Some(rest) => rest.split_once('"').ok_or("a quote is not closed")?,
        None => rest.split_once(' ').ok_or("no values")?,
    };
    let of = identifier(name).ok_or("the name is not host/plugin/type")?;
    loop {
        rest = rest.trim_start();
        let word = rest.split(' ').next().unwrap_or_default();
        match word {
            "" => return Err("no values"),
            option if option.contains('=') => rest = &rest[word.len()..],
            _ => return Ok((of, rest)),
        }
    }
}

/// `host/plugin[-instance]/type[-instance]`.
fn identifier(text: &str) -> Option<Identifier<'_>> {
    let mut parts = text.splitn(3, '/');
    let (host, plugin, kind) = (parts.next()?, parts.next()?, parts.next()?);
    let split = |part| str::split_once(part, '-').unwrap_or((part, ""));
    let ((plugin, plugin_instance), (kind, type_instance)) = (split(plugin), split(kind));
    let is_whole = !host.is_empty() && !plugin.is_empty() && !kind.is_empty();
    is_whole.then(|| Identifier {
        host: host.into(),
        plugin: plugin.into(),
        plugin_instance: plugin_instance.into(),
        kind: kind.into(),
        type_instance: type_instance.into(),
    })
}

/// Keeps lists `time:value[:value…]`.
fn keep<'a>(values: &mut Values<'a, '_>, of: &Identifier<'a>, lists: &str, number: u64) -> Result<(), Full> {
    let lists = || lists.split_ascii_whitespace().map(|list| list.split_once(':').unwrap_or((list, "")));
    let of_list = |(_, all): (&str, &str)| all.split(':').count();
    let count = lists().next().map_or(0, of_list);
    if count > VALUES_MAX || lists().any(|list| of_list(list) != count) {
        let all: usize = lists().map(of_list).sum();
        let what = "over 8 values, or not equally many";
        values.refuse(Reason::InvalidLine, all as u64, || format!("line {number}: {what}"));
        return Ok(());
    }
    let received_ms = values.received_ms;
    let millis = |time: &str| match time {
        "N" => Some(received_ms),
        time => seconds::nanoseconds(time).map(|nanos| nanos.div_euclid(1_000_000)),
    };
    let shared = values.share(of)?;
    let mut bad = 0;
    for at in 0..count {
        let name = if count == 1 { Cow::Borrowed("value") } else { Cow::Owned(at.to_string()) };
        let samples = lists().map(|(time, all)| match (millis(time), all.split(':').nth(at)) {
            (Some(timestamp_ms), Some("U" | "nan")) => (timestamp_ms, Ok(None)),
            (Some(timestamp_ms), Some(text)) => (timestamp_ms, codec::float::parse(text).map(Some).ok_or(())),
            _ => (0, Err(())),
        });
        let metric = of.name(&name, Source::Unknown);
        bad += values.keep(metric, Source::Unknown, &shared, samples)?;
    }
    let what = "values without a time, or that are none";
    values.refuse(Reason::InvalidValue, bad, || format!("line {number}: {bad} {what}"));
    Ok(())
}
