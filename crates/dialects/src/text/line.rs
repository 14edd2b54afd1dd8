//! One line with a sample: `name{label="value", …} value [timestamp] [# {…} value [timestamp]]`.
//!
//! The scanner checks syntax and finds the ends of things in one pass; a series without escapes is left as the piece
//! of text that it is, to be split into labels by [`parse_series`] only if the store does not know it.

use std::borrow::Cow;

use codec::float;
use model::LabelError;
use model::labels::METRIC_NAME;

use super::format::Format;

/// A sample line, as it lies.
#[derive(Debug)]
pub(crate) struct Line<'a> {
    /// Name and labels.
    pub(crate) series: &'a str,
    /// Whether a name or value in `series` has a backslash.
    pub(crate) escaped: bool,
    /// Whether there is a metric name.
    pub(crate) named: bool,
    /// The value.
    pub(crate) value: f64,
    /// Milliseconds, where the line says so.
    pub(crate) timestamp_ms: Option<i64>,
    /// The exemplar, where there is one.
    pub(crate) exemplar: Option<LineExemplar<'a>>,
}

impl Line<'_> {
    /// Whether a number of the line, which is `text`, is hexadecimal.
    pub(crate) fn has_hexadecimal(&self, text: &str) -> bool {
        let rest = &text[self.series.len()..];
        let Some(exemplar) = rest.find('#').filter(|_| self.exemplar.is_some()) else {
            return is_hexadecimal(rest);
        };
        // Braces in values of labels stand before the one that ends them.
        let numbers = rest.rfind('}').map_or("", |brace| &rest[brace..]);
        is_hexadecimal(&rest[..exemplar]) || is_hexadecimal(numbers)
    }
}

/// Whether a number, or one of several, has a binary exponent. Prometheus takes none from a page.
pub(crate) fn is_hexadecimal(numbers: &str) -> bool {
    memchr::memchr2(b'p', b'P', numbers.as_bytes()).is_some()
}

/// The exemplar at the end of a line.
#[derive(Debug)]
pub(crate) struct LineExemplar<'a> {
    /// Its labels.
    pub(crate) labels: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// Its value.
    pub(crate) value: f64,
    /// Milliseconds, where it says so.
    pub(crate) timestamp_ms: Option<i64>,
}

/// Reads a line.
pub(crate) fn parse(text: &str, format: Format) -> Result<Line<'_>, &'static str> {
    let mut scanner = Scanner { text, at: 0 };
    let (mut escaped, mut named) = (false, false);
    scanner.series(|name, value| {
        escaped |= name.escaped || value.escaped;
        named |= name.text == METRIC_NAME && !value.text.is_empty();
    })?;
    let series = &text[..scanner.at];
    scanner.separator()?;
    let value = scanner.float()?;
    let mut line = Line { series, escaped, named, value, timestamp_ms: None, exemplar: None };
    scanner.blanks();
    if !matches!(scanner.peek(), None | Some(b'#')) {
        line.timestamp_ms = Some(match format {
            Format::Prometheus => {
                scanner.word().parse().map_err(|_| "timestamp is not a whole number of ms")?
            }
            Format::OpenMetrics => {
                seconds_to_ms(scanner.word()).ok_or("timestamp is not a number of seconds")?
            }
        });
        scanner.blanks();
    }
    if scanner.take(b'#') {
        line.exemplar = Some(scanner.exemplar()?);
    }
    match scanner.peek() {
        None => Ok(line),
        Some(_) => Err("text after the sample"),
    }
}

/// Splits a series without escapes, as [`parse`] checked it, into its labels.
pub(super) fn parse_series<'a>(
    bytes: &'a [u8],
    pairs: &mut Vec<(&'a str, &'a str)>,
) -> Result<(), LabelError> {
    let text = std::str::from_utf8(bytes).map_err(|_| LabelError::NotUtf8)?;
    let scanned = Scanner { text, at: 0 }.series(|name, value| pairs.push((name.text, value.text)));
    scanned.map_err(|_| LabelError::Undecodable)
}

/// Splits a series into its labels, with escapes resolved.
pub(crate) fn unescape_series<'a>(text: &'a str, push: impl FnMut(Cow<'a, str>, Cow<'a, str>)) {
    // `parse` checked the syntax: there is no error to report.
    let _ = split_series(text, push);
}

/// As [`unescape_series`], of a text that nobody has checked.
pub(crate) fn split_series<'a>(
    text: &'a str,
    mut push: impl FnMut(Cow<'a, str>, Cow<'a, str>),
) -> Result<(), &'static str> {
    let mut scanner = Scanner { text, at: 0 };
    scanner.series(|name, value| push(name.unescaped(), value.unescaped()))?;
    if scanner.peek().is_some() { Err("text after the series") } else { Ok(()) }
}

/// Text between quotes, or a bare name.
#[derive(Clone, Copy)]
struct Part<'a> {
    text: &'a str,
    escaped: bool,
}

impl<'a> Part<'a> {
    fn bare(text: &'a str) -> Self {
        Self { text, escaped: false }
    }

    fn unescaped(self) -> Cow<'a, str> {
        if self.escaped { unescape(self.text).into() } else { self.text.into() }
    }
}

/// Resolves `\\`, `\"` and `\n`; any other backslash stays, as Prometheus leaves it.
pub(crate) fn unescape(text: &str) -> String {
    resolve(text, |byte| match byte {
        b'n' => Some('\n'),
        b'"' | b'\\' => Some(char::from(byte)),
        _ => None,
    })
}

/// Resolves `\\` and `\n`, which are all that Prometheus' text escapes in help.
pub(crate) fn unescape_help(text: &str) -> String {
    resolve(text, |byte| match byte {
        b'n' => Some('\n'),
        b'\\' => Some('\\'),
        _ => None,
    })
}

fn resolve(text: &str, meant: impl Fn(u8) -> Option<char>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
        out.push_str(&rest[..at]);
        let (plain, length) = match rest.as_bytes().get(at + 1).and_then(|byte| meant(*byte)) {
            Some(plain) => (plain, 2),
            None => ('\\', 1),
        };
        out.push(plain);
        rest = &rest[at + length..];
    }
    out.push_str(rest);
    out
}

/// Reads the family's name at the start of a `HELP`, `TYPE` or `UNIT` line: the name, and what follows it.
pub(super) fn family(text: &str) -> Result<(Cow<'_, str>, &str), &'static str> {
    name(text).map(|(name, rest)| (name, rest.trim_start_matches([' ', '\t'])))
}

/// As [`family`], with the blanks between them.
pub(crate) fn name(text: &str) -> Result<(Cow<'_, str>, &str), &'static str> {
    let mut scanner = Scanner { text, at: 0 };
    let name = if scanner.peek() == Some(b'"') { scanner.quoted()? } else { Part::bare(scanner.word()) };
    Ok((name.unescaped(), &text[scanner.at..]))
}

/// What is wrong with a quoted text that the line does not end.
pub(crate) const UNENDED: &str = "quoted text without an end";

/// In which unquoted names a byte may stand: a bit for each kind.
const IN_NAME: [u8; 256] = {
    let (mut table, mut byte) = ([0; 256], 0);
    while byte < 256 {
        let letter = (byte as u8).is_ascii_alphanumeric() || byte as u8 == b'_';
        table[byte] = if letter { METRIC | LABEL } else { 0 };
        byte += 1;
    }
    table[b':' as usize] = METRIC;
    table
};
const METRIC: u8 = 1;
const LABEL: u8 = 2;

struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t')) {
            self.at += 1;
        }
    }

    /// What stands between the series and the value: nothing is enough after a brace.
    fn separator(&mut self) -> Result<(), &'static str> {
        let start = self.at;
        self.blanks();
        let after_brace = start > 0 && self.text.as_bytes()[start - 1] == b'}';
        if self.at > start || after_brace { Ok(()) } else { Err("no blank between series and value") }
    }

    /// Everything up to a blank.
    fn word(&mut self) -> &'a str {
        let rest = &self.text.as_bytes()[self.at..];
        let length = memchr::memchr2(b' ', b'\t', rest).unwrap_or(rest.len());
        let word = &self.text[self.at..self.at + length];
        self.at += length;
        word
    }

    fn float(&mut self) -> Result<f64, &'static str> {
        match self.word() {
            "" => Err("no value"),
            word => float::parse(word).ok_or("value is not a number"),
        }
    }

    fn name(&mut self, kind: u8) -> &'a str {
        let rest = &self.text.as_bytes()[self.at..];
        let length = match rest.first() {
            Some(first) if first.is_ascii_digit() => 0,
            _ => rest.iter().take_while(|b| IN_NAME[usize::from(**b)] & kind != 0).count(),
        };
        let name = &self.text[self.at..self.at + length];
        self.at += length;
        name
    }

    /// `"…"` with its quotes; the part is what lies between.
    fn quoted(&mut self) -> Result<Part<'a>, &'static str> {
        if !self.take(b'"') {
            return Err("quoted text expected");
        }
        let start = self.at;
        let mut escaped = false;
        loop {
            let rest = &self.text.as_bytes()[self.at..];
            let at = memchr::memchr2(b'"', b'\\', rest).ok_or(UNENDED)?;
            self.at += at;
            if rest[at] == b'"' {
                let part = Part { text: &self.text[start..self.at], escaped };
                self.at += 1;
                return Ok(part);
            }
            escaped = true;
            // The byte after a backslash never ends the text. It may be the first of several: those are no quotes.
            self.at = (self.at + 2).min(self.text.len());
        }
    }

    /// Name and braces; each label is handed to `label`, the metric's name as `__name__`.
    fn series(&mut self, mut label: impl FnMut(Part<'a>, Part<'a>)) -> Result<(), &'static str> {
        let name = self.name(METRIC);
        if !name.is_empty() {
            label(Part::bare(METRIC_NAME), Part::bare(name));
        }
        let end = self.at;
        self.blanks();
        if !self.take(b'{') {
            self.at = end;
            return if name.is_empty() { Err("line begins with neither a name nor a brace") } else { Ok(()) };
        }
        self.labels(!name.is_empty(), label)
    }

    /// What follows an opening brace, up to the closing one.
    fn labels(
        &mut self,
        mut named: bool,
        mut label: impl FnMut(Part<'a>, Part<'a>),
    ) -> Result<(), &'static str> {
        loop {
            self.blanks();
            if self.take(b'}') {
                return Ok(());
            }
            let quoted = self.peek() == Some(b'"');
            let name = if quoted { self.quoted()? } else { Part::bare(self.name(LABEL)) };
            self.blanks();
            if self.take(b'=') {
                if name.text.is_empty() {
                    return Err("label without a name");
                }
                self.blanks();
                label(name, self.quoted()?);
            } else if quoted && !named {
                named = true;
                label(Part::bare(METRIC_NAME), name);
            } else {
                return Err("label without '='");
            }
            self.blanks();
            // As Prometheus reads it, labels may also stand without a comma between them.
            if !self.take(b',') && self.peek().is_none() {
                return Err("labels without a brace after them");
            }
        }
    }

    /// What follows the `#` of an exemplar.
    fn exemplar(&mut self) -> Result<LineExemplar<'a>, &'static str> {
        self.blanks();
        if !self.take(b'{') {
            return Err("exemplar without labels");
        }
        let mut labels = Vec::new();
        self.labels(true, |name, value| labels.push((name.unescaped(), value.unescaped())))?;
        self.blanks();
        let value = self.float().map_err(|_| "exemplar without a value")?;
        self.blanks();
        let mut exemplar = LineExemplar { labels, value, timestamp_ms: None };
        if self.peek().is_some() {
            let timestamp =
                seconds_to_ms(self.word()).ok_or("exemplar's timestamp is not a number of seconds")?;
            exemplar.timestamp_ms = Some(timestamp);
            self.blanks();
        }
        Ok(exemplar)
    }
}

/// Seconds to whole milliseconds: digits are moved, not multiplied, so that 1520879607.789 is exactly …789 ms; what
/// lies below a millisecond is cut off. With an exponent the number goes through a float and is rounded. A number that
/// no timestamp can hold becomes the last or first one, which is then refused for what it is: too far away.
fn seconds_to_ms(text: &str) -> Option<i64> {
    let (negative, digits) = match text.as_bytes() {
        [b'-', ..] => (true, &text[1..]),
        [b'+', ..] => (false, &text[1..]),
        _ => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let plain = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if whole.len() + fraction.len() == 0 {
        return None;
    }
    if !plain(whole) || !plain(fraction) {
        let ms = (float::parse(text)? * 1000.0).round();
        // The cast saturates.
        return (!ms.is_nan() && text.bytes().any(|b| b.is_ascii_digit())).then_some(ms as i64);
    }
    // Digits that do not fit saturate.
    let mut ms = if whole.is_empty() { 0 } else { whole.parse().unwrap_or(i64::MAX) };
    for i in 0..3 {
        let digit = fraction.as_bytes().get(i).map_or(0, |b| i64::from(b - b'0'));
        ms = ms.saturating_mul(10).saturating_add(digit);
    }
    Some(if negative { -ms } else { ms })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_moved_not_multiplied() {
        for (text, ms) in [
            ("0", Some(0)),
            ("1520879607.789", Some(1_520_879_607_789)),
            ("1520879607", Some(1_520_879_607_000)),
            ("-1.5", Some(-1500)),
            ("1.23456", Some(1234)),
            (".5", Some(500)),
            ("5.", Some(5000)),
            ("1.5e3", Some(1_500_000)),
            ("9223372036854775.807", Some(i64::MAX)),
            ("9223372036854775.808", Some(i64::MAX)),
            ("-12345678901234567890.5", Some(-i64::MAX)),
            ("1e16", Some(i64::MAX)),
            ("1e300", Some(i64::MAX)),
            ("1e400", None),
            ("NaN", None),
            ("+Inf", None),
            ("", None),
            (".", None),
            ("-", None),
            ("1.2.3", None),
        ] {
            assert_eq!(seconds_to_ms(text), ms, "{text:?}");
        }
    }

    #[test]
    fn series_are_split_where_they_lie() {
        let pairs = |text: &'static str| {
            let line = parse(text, Format::Prometheus).unwrap_or_else(|e| panic!("{text}: {e}"));
            let mut pairs = Vec::new();
            unescape_series(line.series, |n, v| pairs.push(format!("{n}={v}")));
            if !line.escaped {
                let mut borrowed = Vec::new();
                parse_series(line.series.as_bytes(), &mut borrowed).unwrap();
                assert_eq!(borrowed.iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>(), pairs);
            }
            pairs.join(" ")
        };
        assert_eq!(pairs("up 1"), "__name__=up");
        assert_eq!(pairs("up{} 1"), "__name__=up");
        assert_eq!(pairs("up{}1"), "__name__=up");
        assert_eq!(pairs(r#"up{a="b" c="d"e="f"} 1"#), "__name__=up a=b c=d e=f");
        assert_eq!(pairs("up\t {a = \"b\" , c=\"d\",}\t1"), "__name__=up a=b c=d");
        assert_eq!(pairs(r#"{"http.requests", "a.b"="c"} 1"#), "__name__=http.requests a.b=c");
        assert_eq!(pairs(r#"up{a="x\\n\"\n\t}"} 1"#), "__name__=up a=x\\n\"\n\\t}");
        assert_eq!(pairs(r#"a:b{l="\é"} 1"#), r"__name__=a:b l=\é");
    }

    #[test]
    fn lines_that_cannot_be_read() {
        for (text, what) in [
            ("1up 1", "line begins with neither a name nor a brace"),
            ("up", "no blank between series and value"),
            ("up ", "no value"),
            ("up x", "value is not a number"),
            ("up 1 x", "timestamp is not a whole number of ms"),
            ("up 1 1.5", "timestamp is not a whole number of ms"),
            ("up 1 1 1", "text after the sample"),
            ("up{a} 1", "label without '='"),
            ("up{=\"x\"} 1", "label without a name"),
            ("up{\"up2\"} 1", "label without '='"),
            ("up{a=b} 1", "quoted text expected"),
            ("up{a=\"b} 1", "quoted text without an end"),
            ("up{a=\"b\\\"} 1", "quoted text without an end"),
            ("up{a=\"b\\", "quoted text without an end"),
            ("up{a=\"b\" c} 1", "label without '='"),
            ("up{,} 1", "label without '='"),
            ("up{a=\"b\"", "labels without a brace after them"),
            ("http.requests 1", "no blank between series and value"),
            ("up 1 # x", "exemplar without labels"),
            ("up 1 # {}", "exemplar without a value"),
            ("up 1 # {} 1 x", "exemplar's timestamp is not a number of seconds"),
        ] {
            assert_eq!(parse(text, Format::Prometheus).unwrap_err(), what, "{text}");
        }
    }
}
