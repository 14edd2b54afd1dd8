//! One line: `measurement[,tag=value…] field=value[,field=value…] [timestamp]`, in the words of InfluxDB where it is wrong.
//!
//! What separates is separating unless a backslash stands right before it; any other backslash is itself. A field of text
//! may hold line breaks, so where a line ends is known only when it was read.

use memchr::memchr2;
use model::Reason;

use crate::number;

/// Reads a body from line to line.
pub(super) struct Scanner<'a> {
    bytes: &'a [u8],
    /// What comes next.
    pub(super) at: usize,
}

/// A line that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bad {
    /// As what it is counted.
    pub(super) reason: Reason,
    /// What InfluxDB says about it.
    pub(super) what: &'static str,
}

const fn syntax(what: &'static str) -> Bad {
    Bad { reason: Reason::InvalidLine, what }
}

const fn value(what: &'static str) -> Bad {
    Bad { reason: Reason::InvalidValue, what }
}

/// A field's value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value {
    /// A number, or 0 and 1 for false and true.
    Number(f64),
    /// Text, which is no sample.
    Text,
}

/// What ends a piece of a line: a bit for each piece.
const ENDS: [u8; 256] = {
    let mut table = [0; 256];
    table[b',' as usize] = MEASUREMENT | KEY | TAG_VALUE | VALUE;
    table[b' ' as usize] = MEASUREMENT | KEY | TAG_VALUE | VALUE;
    table[b'=' as usize] = KEY | TAG_VALUE;
    table[b'\n' as usize] = MEASUREMENT | KEY | TAG_VALUE | VALUE;
    table[b'\r' as usize] = VALUE;
    table
};
const MEASUREMENT: u8 = 1;
const KEY: u8 = 2;
const TAG_VALUE: u8 = 4;
const VALUE: u8 = 8;

impl<'a> Scanner<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// Goes to the next line that is neither empty nor a comment; false at the end of the body.
    #[inline]
    pub(super) fn next_line(&mut self) -> bool {
        loop {
            match self.peek() {
                None => return false,
                Some(b' ' | b'\t' | b'\r' | b'\n' | 0) => self.at += 1,
                Some(b'#') => self.skip_line(),
                Some(_) => return true,
            }
        }
    }

    /// Goes behind the next line break.
    pub(super) fn skip_line(&mut self) {
        let rest = &self.bytes[self.at..];
        self.at += memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
    }

    #[inline]
    fn blanks(&mut self) {
        while self.peek() == Some(b' ') {
            self.at += 1;
        }
    }

    /// A piece up to something that ends its `kind`, `None` when it is empty.
    #[inline]
    fn piece(&mut self, kind: u8) -> Option<&'a [u8]> {
        let start = self.at;
        let mut at = start;
        while let Some(&byte) = self.bytes.get(at) {
            if ENDS[usize::from(byte)] & kind != 0 {
                // A line break has no escape.
                if byte == b'\n' || at == start || self.bytes[at - 1] != b'\\' {
                    break;
                }
            }
            at += 1;
        }
        self.at = at;
        (at > start).then(|| &self.bytes[start..at])
    }

    /// Measurement and tags, each of which is handed to `tag`, which may stop it; behind it come the fields.
    #[inline]
    pub(super) fn head<E: From<Bad>>(
        &mut self,
        mut tag: impl FnMut(&'a [u8], &'a [u8]) -> Result<(), E>,
    ) -> Result<&'a [u8], E> {
        let measurement = self.piece(MEASUREMENT).ok_or(syntax("missing measurement"))?;
        while self.peek() == Some(b',') {
            self.at += 1;
            let key = self.piece(KEY).ok_or(syntax("missing tag key"))?;
            if self.peek() != Some(b'=') {
                return Err(syntax("missing tag value").into());
            }
            self.at += 1;
            let value = self.piece(TAG_VALUE).ok_or(syntax("missing tag value"))?;
            if self.peek() == Some(b'=') {
                return Err(syntax("invalid tag format").into());
            }
            tag(key, value)?;
        }
        Ok(measurement)
    }

    /// What stands between head and fields.
    #[inline]
    pub(super) fn separator(&mut self) -> Result<(), Bad> {
        self.blanks();
        match self.peek() {
            None | Some(b'\n' | b'\r') => Err(syntax("missing fields")),
            Some(_) => Ok(()),
        }
    }

    /// A field's key, up to its value.
    #[inline]
    pub(super) fn field_key(&mut self) -> Result<&'a [u8], Bad> {
        let key = self.piece(KEY).ok_or(syntax("missing field key"))?;
        if self.peek() != Some(b'=') {
            return Err(syntax("invalid field format"));
        }
        self.at += 1;
        Ok(key)
    }

    /// A field's value.
    #[inline]
    pub(super) fn field_value(&mut self) -> Result<Value, Bad> {
        if self.peek() == Some(b'"') {
            return self.text();
        }
        let start = self.at;
        while self.peek().is_some_and(|byte| ENDS[usize::from(byte)] & VALUE == 0) {
            self.at += 1;
        }
        match &self.bytes[start..self.at] {
            [] => Err(syntax("missing field value")),
            [digits @ .., b'i'] => signed(digits).map(Value::Number).ok_or(value("invalid integer")),
            [digits @ .., b'u'] => unsigned(digits).map(Value::Number).ok_or(value("invalid unsigned")),
            b"t" | b"T" | b"true" | b"True" | b"TRUE" => Ok(Value::Number(1.0)),
            b"f" | b"F" | b"false" | b"False" | b"FALSE" => Ok(Value::Number(0.0)),
            [b't' | b'T' | b'f' | b'F', ..] => Err(value("invalid boolean")),
            digits => number::decimal(digits).map(Value::Number).ok_or(value("invalid number")),
        }
    }

    #[cold]
    fn text(&mut self) -> Result<Value, Bad> {
        let mut at = self.at + 1;
        loop {
            let rest = &self.bytes[at.min(self.bytes.len())..];
            let found = memchr2(b'"', b'\\', rest).ok_or(syntax("unbalanced quotes"))?;
            at += found + 1;
            if rest[found] == b'"' {
                self.at = at;
                return Ok(Value::Text);
            }
            // What a backslash stands before ends nothing.
            at += 1;
        }
    }

    /// Whether another field follows.
    #[inline]
    pub(super) fn comma(&mut self) -> bool {
        let there = self.peek() == Some(b',');
        self.at += usize::from(there);
        there
    }

    /// The timestamp, where there is one, and the line's end, which is not read.
    #[inline]
    pub(super) fn timestamp(&mut self) -> Result<Option<i64>, Bad> {
        let start = self.at;
        self.blanks();
        let digits = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit() || byte == b'-' || byte == b'+') {
            self.at += 1;
        }
        let timestamp = match &self.bytes[digits..self.at] {
            [] => None,
            _ if digits == start => return Err(syntax("invalid field format")),
            text => Some(number::whole(text, i64::MIN, i64::MAX).ok_or(syntax("bad timestamp"))?),
        };
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r')) {
            self.at += 1;
        }
        match self.peek() {
            None | Some(b'\n') => Ok(timestamp),
            // After a text there may stand something that is no part of it.
            Some(_) if digits == start => Err(syntax("invalid field format")),
            Some(_) => Err(syntax("bad timestamp")),
        }
    }
}

fn signed(digits: &[u8]) -> Option<f64> {
    number::whole(digits, i64::MIN, i64::MAX).map(|number| number as f64)
}

fn unsigned(digits: &[u8]) -> Option<f64> {
    let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(number as f64)
}
