//! JSON as it is sent, read in one pass: the caller asks for the next value and says what to do with what is in it, so
//! nothing is built that nobody keeps, texts without escapes are borrowed, and a value of another type than expected
//! costs itself and not the whole body.
//!
//! It is a little more lenient than RFC 8259, because a body that is refused is lost with everything else in it: bytes
//! that are not UTF-8 and halves of surrogate pairs become U+FFFD (as Go reads them), texts may have control characters
//! in them, and `NaN`, `Infinity` and `-Infinity` are numbers (as Python writes them), `+Inf` and `-Inf` too (as
//! VictoriaMetrics does). A number is its text until somebody
//! asks for its value.

pub(crate) mod write;

use std::borrow::Cow;

use crate::Malformed;

/// How deep lists and objects may lie in one another.
const DEPTH_MAX: u32 = 128;

/// What every complaint of this reader begins with.
pub(crate) const INVALID: &str = "invalid JSON doc";

/// The next value. Of a list or an object only the bracket is read: [`Json::list`], [`Json::object`] or
/// [`Json::rest_of`] must follow.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Token<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number, as it is written.
    Number(&'a str),
    /// A text.
    Text(Cow<'a, str>),
    /// `[`
    List,
    /// `{`
    Object,
}

impl Token<'_> {
    /// The value of a number; one out of range is infinite.
    pub(crate) fn number(&self) -> Option<f64> {
        match self {
            Self::Number(text) => text.parse().ok(),
            _ => None,
        }
    }
}

/// A body and how far it is read.
#[derive(Debug)]
pub(crate) struct Json<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: u32,
}

impl<'a> Json<'a> {
    /// A body to be read from its beginning.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, depth: 0 }
    }

    /// A part of a body, up to `end`, to be read from `start` on; offsets are those of the whole body.
    pub(crate) fn part(body: &'a [u8], start: usize, end: usize) -> Self {
        Self { bytes: &body[..end], at: start, depth: 0 }
    }

    /// A complaint about what is next.
    #[cold]
    pub(crate) fn error(&self, what: &'static str) -> Malformed {
        Malformed { what, offset: self.at }
    }

    /// Whether nothing is left.
    pub(crate) fn is_at_end(&mut self) -> bool {
        self.start() == self.bytes.len()
    }

    /// Whether this byte is next.
    pub(crate) fn is_next(&mut self, byte: u8) -> bool {
        let at = self.start();
        self.bytes.get(at) == Some(&byte)
    }

    /// Complains when something is left.
    pub(crate) fn end(&mut self) -> Result<(), Malformed> {
        if self.is_at_end() {
            Ok(())
        } else {
            Err(self.error("invalid JSON doc: something stands behind it"))
        }
    }

    /// Where the next value, bracket or comma stands.
    pub(crate) fn start(&mut self) -> usize {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.bytes.get(self.at) {
            self.at += 1;
        }
        self.at
    }

    /// Where the bracket stands that was read last.
    pub(crate) fn bracket(&self) -> usize {
        self.at.saturating_sub(1)
    }

    /// What was read since [`Json::start`] was `start`, as text.
    pub(crate) fn since(&self, start: usize) -> Cow<'a, str> {
        String::from_utf8_lossy(&self.bytes[start..self.at])
    }

    /// The same, as it lies in the body.
    pub(crate) fn bytes_since(&self, start: usize) -> &'a [u8] {
        &self.bytes[start..self.at]
    }

    /// The same body, to be read once more from what [`Json::start`] said.
    pub(crate) fn again(&self, start: usize) -> Self {
        Self { bytes: self.bytes, at: start, depth: self.depth }
    }

    /// The next value.
    pub(crate) fn value(&mut self) -> Result<Token<'a>, Malformed> {
        let start = self.start();
        let rest = &self.bytes[start..];
        match rest.first() {
            None => Err(self.error("invalid JSON doc: it ends early")),
            Some(b'"') => {
                self.at += 1;
                self.text().map(Token::Text)
            }
            Some(b'[') => {
                self.at += 1;
                Ok(Token::List)
            }
            Some(b'{') => {
                self.at += 1;
                Ok(Token::Object)
            }
            Some(b'0'..=b'9') => self.number(),
            Some(b'-') if rest.get(1).is_some_and(u8::is_ascii_digit) => self.number(),
            Some(_) => self.word(rest),
        }
    }

    fn word(&mut self, rest: &[u8]) -> Result<Token<'a>, Malformed> {
        // The longer ones first.
        let words: [(&[u8], Token<'a>); 10] = [
            (b"null", Token::Null),
            (b"true", Token::Bool(true)),
            (b"false", Token::Bool(false)),
            (b"NaN", Token::Number("NaN")),
            (b"Infinity", Token::Number("inf")),
            (b"-Infinity", Token::Number("-inf")),
            (b"+Infinity", Token::Number("inf")),
            (b"Inf", Token::Number("inf")),
            (b"-Inf", Token::Number("-inf")),
            (b"+Inf", Token::Number("inf")),
        ];
        let found = words.into_iter().find(|(word, _)| rest.starts_with(word));
        let (word, token) = found.ok_or_else(|| self.error("invalid JSON doc: a value is expected"))?;
        self.at += word.len();
        Ok(token)
    }

    /// The next value; what is in a list or an object is skipped.
    pub(crate) fn scalar(&mut self) -> Result<Token<'a>, Malformed> {
        let token = self.value()?;
        self.rest_of(&token)?;
        Ok(token)
    }

    /// Skips what is in a list or an object whose bracket was read.
    pub(crate) fn rest_of(&mut self, token: &Token<'_>) -> Result<(), Malformed> {
        match token {
            Token::List => self.list(|json| json.scalar().map(drop)),
            Token::Object => self.object(|json, _| json.scalar().map(drop)),
            _ => Ok(()),
        }
    }

    /// Goes through a list whose bracket was read. `each` must read one value.
    pub(crate) fn list(
        &mut self,
        mut each: impl FnMut(&mut Self) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        self.enclosed(b']', |json| each(json))
    }

    /// Goes through an object whose bracket was read. `each` is given a key and must read its value.
    pub(crate) fn object(
        &mut self,
        mut each: impl FnMut(&mut Self, Cow<'a, str>) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        self.enclosed(b'}', |json| {
            let Token::Text(key) = json.value()? else {
                return Err(json.error("invalid JSON doc: a key is expected"));
            };
            if !json.is_next(b':') {
                return Err(json.error("invalid JSON doc: a colon is expected"));
            }
            json.at += 1;
            each(json, key)
        })
    }

    fn enclosed(
        &mut self,
        bracket: u8,
        mut each: impl FnMut(&mut Self) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        if self.depth == DEPTH_MAX {
            return Err(self.error("invalid JSON doc: nested over 128 deep"));
        }
        self.depth += 1;
        if self.is_next(bracket) {
            self.at += 1;
        } else {
            loop {
                each(self)?;
                self.start();
                match self.bytes.get(self.at) {
                    Some(b',') => self.at += 1,
                    Some(byte) if *byte == bracket => {
                        self.at += 1;
                        break;
                    }
                    Some(_) => return Err(self.error("invalid JSON doc: a comma or a bracket is expected")),
                    None => return Err(self.error("invalid JSON doc: it ends early")),
                }
            }
        }
        self.depth -= 1;
        Ok(())
    }

    /// A number: `-?digits(.digits)?([eE][+-]?digits)?`.
    fn number(&mut self) -> Result<Token<'a>, Malformed> {
        let start = self.at;
        if self.bytes[self.at] == b'-' {
            self.at += 1;
        }
        self.digits()?;
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.bytes.get(self.at) {
            self.at += 1;
            if let Some(b'+' | b'-') = self.bytes.get(self.at) {
                self.at += 1;
            }
            self.digits()?;
        }
        let text = std::str::from_utf8(&self.bytes[start..self.at]);
        text.map(Token::Number).map_err(|_| self.error("invalid JSON doc: a digit is expected"))
    }

    fn digits(&mut self) -> Result<(), Malformed> {
        let start = self.at;
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        if self.at == start { Err(self.error("invalid JSON doc: a digit is expected")) } else { Ok(()) }
    }

    /// A text whose opening quote was read.
    fn text(&mut self) -> Result<Cow<'a, str>, Malformed> {
        let plain = self.plain()?;
        if self.bytes[self.at] == b'"' {
            self.at += 1;
            return Ok(String::from_utf8_lossy(plain));
        }
        let mut text = plain.to_vec();
        while self.bytes[self.at] == b'\\' {
            self.at += 1;
            let escaped = self.escaped()?;
            text.extend_from_slice(escaped.encode_utf8(&mut [0; 4]).as_bytes());
            text.extend_from_slice(self.plain()?);
        }
        self.at += 1;
        Ok(Cow::Owned(match String::from_utf8(text) {
            Ok(text) => text,
            Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
        }))
    }

    /// What comes before the next quote or backslash, one of which is there.
    fn plain(&mut self) -> Result<&'a [u8], Malformed> {
        let rest = &self.bytes[self.at..];
        let Some(length) = memchr::memchr2(b'"', b'\\', rest) else {
            self.at = self.bytes.len();
            return Err(self.error("invalid JSON doc: it ends early"));
        };
        self.at += length;
        Ok(&rest[..length])
    }

    /// The character that an escape stands for; its backslash was read.
    fn escaped(&mut self) -> Result<char, Malformed> {
        let Some(letter) = self.bytes.get(self.at) else {
            return Err(self.error("invalid JSON doc: it ends early"));
        };
        self.at += 1;
        Ok(match letter {
            b'"' | b'\\' | b'/' => char::from(*letter),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.surrogates(),
            _ => return Err(self.error("invalid JSON doc: an unknown escape")),
        })
    }

    fn surrogates(&mut self) -> Result<char, Malformed> {
        let first = self.unit()?;
        if !(0xd800..0xdc00).contains(&first) {
            return Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        if !self.bytes[self.at..].starts_with(b"\\u") {
            return Ok(char::REPLACEMENT_CHARACTER);
        }
        let after_first = self.at;
        self.at += 2;
        let second = self.unit()?;
        if !(0xdc00..0xe000).contains(&second) {
            self.at = after_first;
            return Ok(char::REPLACEMENT_CHARACTER);
        }
        let code = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
        Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    /// Four hexadecimal digits.
    fn unit(&mut self) -> Result<u32, Malformed> {
        let mut unit = 0;
        for _ in 0..4 {
            let digit = self.bytes.get(self.at).and_then(|byte| char::from(*byte).to_digit(16));
            let Some(digit) = digit else {
                return Err(self.error("invalid JSON doc: four hexadecimal digits are expected"));
            };
            unit = unit << 4 | digit;
            self.at += 1;
        }
        Ok(unit)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    /// Everything that the reader gives, as serde_json's tree; the last of equal keys counts.
    fn tree(json: &mut Json<'_>) -> Result<Value, Malformed> {
        Ok(match json.value()? {
            Token::Null => Value::Null,
            Token::Bool(value) => Value::Bool(value),
            Token::Number(text) => serde_json::from_str(text).unwrap_or_else(|_| Value::from(text)),
            Token::Text(text) => Value::from(text),
            Token::List => {
                let mut items = Vec::new();
                json.list(|json| {
                    items.push(tree(json)?);
                    Ok(())
                })?;
                Value::Array(items)
            }
            Token::Object => {
                let mut items = serde_json::Map::new();
                json.object(|json, key| {
                    items.insert(key.into_owned(), tree(json)?);
                    Ok(())
                })?;
                Value::Object(items)
            }
        })
    }

    fn read(text: &[u8]) -> Result<Value, Malformed> {
        let mut json = Json::new(text);
        let value = tree(&mut json)?;
        json.end()?;
        let mut skipped = Json::new(text);
        skipped.scalar().and_then(|_| skipped.end()).expect("what can be read can be skipped");
        Ok(value)
    }

    #[test]
    fn what_others_refuse_is_read() {
        let text = |bytes: &[u8]| match Json::new(bytes).value() {
            Ok(Token::Text(text)) => text.into_owned(),
            other => panic!("{other:?}"),
        };
        assert_eq!(text(b"\"a\xffb\""), "a\u{fffd}b");
        assert_eq!(text(br#""\ud83d\ude00 \ud83d \ud83d\u0041 \ude00""#), "😀 \u{fffd} \u{fffd}A \u{fffd}");
        assert_eq!(text(b"\"\xff\\n\""), "\u{fffd}\n");
        assert_eq!(text(b"\"a\nb\""), "a\nb");
        let number = |text: &str| Json::new(text.as_bytes()).value().unwrap().number().unwrap();
        assert!(number("NaN").is_nan());
        assert_eq!((number("1e999"), number("-Infinity")), (f64::INFINITY, f64::NEG_INFINITY));
        for (text, wanted) in [("+Inf", f64::INFINITY), ("Inf", f64::INFINITY), ("-Inf", f64::NEG_INFINITY)] {
            let mut json = Json::new(text.as_bytes());
            assert_eq!((json.value().unwrap().number(), json.is_at_end()), (Some(wanted), true), "{text}");
        }
    }

    #[test]
    fn complaints_say_where() {
        let complaint = |text: &str| {
            let error = read(text.as_bytes()).unwrap_err();
            assert!(error.what.starts_with(INVALID), "{error}");
            (error.what.trim_start_matches(INVALID).trim_start_matches(": "), error.offset)
        };
        for (text, offset) in [("", 0), (" [1", 3), ("{\"a", 3), ("\"\\", 2)] {
            assert_eq!(complaint(text), ("it ends early", offset), "{text}");
        }
        assert_eq!(complaint("[1,]"), ("a value is expected", 3));
        assert_eq!(complaint("[1 2]"), ("a comma or a bracket is expected", 3));
        assert_eq!(complaint("{1:2}"), ("a key is expected", 2));
        assert_eq!(complaint("{\"a\" 2}"), ("a colon is expected", 5));
        assert_eq!(complaint("[-1.]"), ("a digit is expected", 4));
        assert_eq!(complaint("[1] x"), ("something stands behind it", 4));
        assert_eq!(complaint("\"\\x\"").0, "an unknown escape");
        assert_eq!(complaint(&"[".repeat(129)), ("nested over 128 deep", 129));
        assert!(read(format!("{}{}", "[".repeat(128), "]".repeat(128)).as_bytes()).is_ok());
    }

    proptest! {
        #[test]
        fn what_serde_json_reads_is_read_alike(text in r#"[\[\]{}:," \\eE+.u0-9a-fnrtluls-]{0,24}"#) {
            let wanted = serde_json::from_str::<Value>(&text);
            let got = read(text.as_bytes());
            match (wanted, got) {
                (Ok(wanted), got) => prop_assert_eq!(got, Ok(wanted)),
                (Err(error), Ok(got)) => prop_assert!(is_lenient(&error, &got), "{}: {}", error, got),
                (Err(_), Err(_)) => {}
            }
        }

        #[test]
        fn texts_come_back(texts in proptest::collection::vec(any::<String>(), 0..4)) {
            let wanted = Value::from(texts);
            prop_assert_eq!(read(wanted.to_string().as_bytes()), Ok(wanted));
        }
    }

    /// Whether what serde_json refused is one of the leniencies.
    fn is_lenient(error: &serde_json::Error, got: &Value) -> bool {
        let error = error.to_string();
        ["control character", "surrogate", "hex escape", "number out of range"].iter().any(|known| error.contains(known))
            // It wants no number to begin with zeros.
            || error.contains("invalid number") && got.to_string().contains(|c: char| c.is_ascii_digit())
    }
}
