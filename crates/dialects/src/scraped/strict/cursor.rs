//! A place in a line, and what the two formats allow between its parts: OpenMetrics one blank where one must be and none
//! elsewhere, Prometheus' text any.

use std::borrow::Cow;

use super::Rules;
use crate::text::line;

pub(super) struct Cursor<'a> {
    pub(super) rules: Rules,
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(rules: Rules, text: &'a str) -> Self {
        Self { rules, text, at: 0 }
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    pub(super) fn take(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    /// Everything that follows.
    pub(super) fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// Blanks where none need be.
    pub(super) fn pad(&mut self) {
        while self.rules == Rules::Prometheus && matches!(self.peek(), Some(b' ' | b'\t')) {
            self.at += 1;
        }
    }

    /// What must stand between two parts.
    pub(super) fn gap(&mut self) -> Result<(), &'static str> {
        let start = self.at;
        self.at += usize::from(self.peek() == Some(b' '));
        self.pad();
        let after_brace = self.rules == Rules::Prometheus && self.text[..start].ends_with('}');
        if self.at > start || after_brace { Ok(()) } else { Err("no blank where one must be") }
    }

    /// Everything up to a blank.
    pub(super) fn word(&mut self) -> &'a str {
        let rest = self.rest();
        let end = match self.rules {
            Rules::Prometheus => rest.find([' ', '\t']),
            Rules::OpenMetrics => rest.find(' '),
        };
        let word = &rest[..end.unwrap_or(rest.len())];
        self.at += word.len();
        word
    }

    /// A metric's name, in quotes or not; empty when there is none.
    pub(super) fn metric_name(&mut self) -> Result<Cow<'a, str>, &'static str> {
        if self.peek() == Some(b'"') { self.quoted() } else { Ok(self.bare(|byte| byte == b':').into()) }
    }

    /// A name of letters, digits, underscores and what else may be; empty when there is none.
    pub(super) fn bare(&mut self, also: impl Fn(u8) -> bool) -> &'a str {
        let rest = self.rest();
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || also(byte);
        let length = match rest.bytes().next() {
            Some(first) if first.is_ascii_digit() => 0,
            _ => rest.bytes().take_while(|byte| is_part(*byte)).count(),
        };
        self.at += length;
        &rest[..length]
    }

    /// `"…"`.
    pub(super) fn quoted(&mut self) -> Result<Cow<'a, str>, &'static str> {
        if !self.take(b'"') {
            return Err("text without quotes");
        }
        let bytes = self.rest().as_bytes();
        let mut end = 0;
        loop {
            let at = memchr::memchr2(b'"', b'\\', bytes.get(end..).unwrap_or(b"")).ok_or(line::UNENDED)?;
            end += at;
            if bytes[end] == b'"' {
                break;
            }
            check_escape(self.rules, bytes.get(end + 1), b"\\\"n")?;
            end += 2;
        }
        let text = &self.rest()[..end];
        self.at += end + 1;
        Ok(if text.contains('\\') { line::unescape(text).into() } else { text.into() })
    }
}

/// Whether what follows a backslash is one of those that have a meaning. OpenMetrics leaves the others as they are.
pub(super) fn check_escape(rules: Rules, next: Option<&u8>, known: &[u8]) -> Result<(), &'static str> {
    let is_known = next.is_some_and(|next| known.contains(next));
    if is_known || rules == Rules::OpenMetrics {
        Ok(())
    } else {
        Err("backslash before nothing that it escapes")
    }
}
