//! `_sc|name|status` and its fields.

use super::BadLine;
use super::fields::{Origin, Tags, split};
use crate::number;

/// The last second whose nanoseconds fit an `i64`, in the year 2262.
pub(super) const SECONDS_MAX: i64 = i64::MAX / 1_000_000_000;

/// The state of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ServiceCheck<'a> {
    /// What was checked, not empty.
    pub name: &'a [u8],
    /// 0 = ok, 1 = warning, 2 = critical, 3 = unknown.
    pub status: u8,
    /// When, in seconds since the epoch; `None` = now.
    pub timestamp_s: Option<i64>,
    /// Where; empty = not said.
    pub host: &'a [u8],
    /// What the check says, line breaks still `\n`, two characters; empty = nothing.
    pub message: &'a [u8],
    /// Who sent it.
    pub origin: Origin<'a>,
    listed_tags: &'a [u8],
}

impl<'a> ServiceCheck<'a> {
    /// Its tags.
    pub fn tags(&self) -> Tags<'a> {
        Tags::new(&[], self.listed_tags)
    }
}

/// Reads a line that begins with `_sc|`.
///
/// The protocol wants the message last, and clients do not escape `|` in it; but there are those that send tags after
/// it. So a message goes on until a field follows that is known.
pub(super) fn read(line: &[u8]) -> Result<ServiceCheck<'_>, BadLine> {
    let body = line.strip_prefix(b"_sc|").ok_or(BadLine::ServiceCheck)?;
    let (name, rest) = split(body, b'|');
    let (status, mut rest) = split(rest.ok_or(BadLine::ServiceCheck)?, b'|');
    let status = match status {
        [digit @ b'0'..=b'3'] if !name.is_empty() => digit - b'0',
        _ => return Err(BadLine::ServiceCheck),
    };
    let mut check = ServiceCheck { name, status, ..ServiceCheck::default() };
    // Where a message begins that may still go on.
    let mut open = None;
    while let Some(fields) = rest {
        let (field, after) = split(fields, b'|');
        rest = after;
        let start = line.len() - fields.len();
        match field {
            [b'm', b':', message @ ..] if open.is_none() && check.message.is_empty() => {
                open = Some(start + 2);
                check.message = message;
                continue;
            }
            [b'#', tags @ ..] => check.listed_tags = tags,
            [b'd', b':', seconds @ ..] => check.timestamp_s = number::whole(seconds, 1, SECONDS_MAX),
            [b'h', b':', host @ ..] => check.host = host,
            field => {
                let known = check.origin.take(field);
                if let Some(begin) = open.filter(|_| !known) {
                    check.message = &line[begin..start + field.len()];
                    continue;
                }
            }
        }
        open = None;
    }
    Ok(check)
}
