//! Attributes as they lie on the wire, and values of any type as text. Nothing is read before somebody asks.
//!
//! Texts are those of Prometheus' receiver: numbers as JSON has them, bytes in base64, lists and maps as JSON with sorted
//! keys.

use std::borrow::Cow;
use std::collections::BTreeMap;

use codec::float;
use codec::proto::{FIXED64, LEN, Reader, VARINT, WireError, key, known};

use model::batch::Pair;

use super::value_json;
use crate::Malformed;

/// So many attributes of one thing are looked at: no series has more labels.
pub(super) const ATTRIBUTES_MAX: usize = 1 << 12;

/// How deep lists and maps may lie in one another.
pub(super) const DEPTH_MAX: u32 = 32;

/// A list of attributes, unread.
#[derive(Clone, Debug)]
pub(super) enum Attributes<'a> {
    /// Protobuf fields that follow each other, each a `KeyValue`.
    Wire(Cow<'a, [u8]>),
    /// A JSON list; empty = none.
    Json(&'a [u8]),
}

impl<'a> Attributes<'a> {
    /// Their keys and texts.
    pub(super) fn pairs(&self) -> Result<Vec<Pair<'a>>, Malformed> {
        let (mut pairs, mut left) = (Vec::new(), 0);
        // Two bytes can stand for one.
        let push = |key, text| if pairs.len() < ATTRIBUTES_MAX { pairs.push((key, text)) } else { left += 1 };
        match self {
            Self::Wire(Cow::Borrowed(bytes)) => each_field(bytes, usize::MAX, push)?,
            Self::Wire(Cow::Owned(bytes)) => {
                let mut push = push;
                let owned = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
                each_field(bytes, usize::MAX, |key, text| push(owned(key), owned(text)))?;
            }
            Self::Json(bytes) => value_json::each(bytes, push)?,
        }
        if left > 0 { Err(Malformed { what: TOO_MANY, offset: 0 }) } else { Ok(pairs) }
    }

    /// Their bytes, for keys.
    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Wire(bytes) => bytes,
            Self::Json(bytes) => bytes,
        }
    }

    /// Hands each attribute's key and text to `push`.
    pub(super) fn each<'b>(&'b self, push: impl FnMut(Cow<'b, str>, Cow<'b, str>)) -> Result<(), Malformed> {
        self.first(usize::MAX, push)
    }

    /// As [`Attributes::each`], but nothing behind the first `limit` needs to be read.
    pub(super) fn first<'b>(
        &'b self,
        limit: usize,
        push: impl FnMut(Cow<'b, str>, Cow<'b, str>),
    ) -> Result<(), Malformed> {
        match self {
            Self::Wire(bytes) => each_field(bytes, limit, push),
            Self::Json(bytes) => value_json::each(bytes, push),
        }
    }
}

fn each_field<'b>(
    bytes: &'b [u8],
    limit: usize,
    mut push: impl FnMut(Cow<'b, str>, Cow<'b, str>),
) -> Result<(), Malformed> {
    let mut fields = Reader::new(bytes);
    for _ in 0..limit {
        if fields.key()?.is_none() {
            break;
        }
        let (key, value) = key_value(fields.message()?)?;
        let text = match value {
            None => Cow::Borrowed(""),
            Some(value) => text(value, DEPTH_MAX)?,
        };
        push(utf8(key, &fields)?, text);
    }
    Ok(())
}

/// Fields of attributes as they are come upon: mostly they lie in one piece.
#[derive(Clone, Debug, Default)]
pub(super) struct Run<'a> {
    bytes: Cow<'a, [u8]>,
    end: usize,
}

impl<'a> Run<'a> {
    /// Takes the fields that lie at `start` to where `reader` stands.
    #[inline]
    pub(super) fn take(&mut self, start: usize, reader: &Reader<'a>) {
        let (end, length) = (reader.offset(), self.bytes.len());
        match &mut self.bytes {
            bytes if length == 0 => *bytes = Cow::Borrowed(reader.between(start..end)),
            Cow::Borrowed(bytes) if self.end == start => *bytes = reader.between(start - length..end),
            bytes => bytes.to_mut().extend_from_slice(reader.between(start..end)),
        }
        self.end = end;
    }

    /// All that came.
    #[inline]
    pub(super) fn attributes(self) -> Attributes<'a> {
        Attributes::Wire(self.bytes)
    }
}

/// A `KeyValue`'s two fields.
fn key_value<'a>(mut message: Reader<'a>) -> Result<(&'a [u8], Option<Reader<'a>>), WireError> {
    const KEY: u32 = key(1, LEN);
    const VALUE: u32 = key(2, LEN);
    let (mut name, mut value): (&[u8], _) = (b"", None);
    while let Some(key) = message.key()? {
        match key {
            KEY => name = message.bytes()?,
            VALUE => value = Some(message.message()?),
            _ => message.skip(key, known(&[1, 2]))?,
        }
    }
    Ok((name, value))
}

/// What an `AnyValue` holds.
#[derive(Clone, Copy)]
enum Any<'a> {
    Nothing,
    Text(&'a [u8]),
    Bool(bool),
    Integer(i64),
    Double(f64),
    List(Reader<'a>),
    Map(Reader<'a>),
    Bytes(&'a [u8]),
}

fn any<'a>(mut message: Reader<'a>) -> Result<Any<'a>, WireError> {
    const STRING: u32 = key(1, LEN);
    const BOOL: u32 = key(2, VARINT);
    const INT: u32 = key(3, VARINT);
    const DOUBLE: u32 = key(4, FIXED64);
    const ARRAY: u32 = key(5, LEN);
    const KVLIST: u32 = key(6, LEN);
    const BYTES: u32 = key(7, LEN);
    let mut value = Any::Nothing;
    while let Some(key) = message.key()? {
        value = match key {
            STRING => Any::Text(message.bytes()?),
            BOOL => Any::Bool(message.varint()? != 0),
            INT => Any::Integer(message.varint()? as i64),
            DOUBLE => Any::Double(message.double()?),
            ARRAY => Any::List(message.message()?),
            KVLIST => Any::Map(message.message()?),
            BYTES => Any::Bytes(message.bytes()?),
            _ => {
                message.skip(key, known(&[1, 2, 3, 4, 5, 6, 7]))?;
                continue;
            }
        }
    }
    Ok(value)
}

/// An `AnyValue` as text.
pub(super) fn text<'a>(message: Reader<'a>, depth: u32) -> Result<Cow<'a, str>, WireError> {
    Ok(match any(message)? {
        Any::Nothing => Cow::Borrowed(""),
        Any::Text(bytes) => utf8(bytes, &message)?,
        Any::Bool(value) => Cow::Borrowed(if value { "true" } else { "false" }),
        Any::Integer(value) => Cow::Owned(value.to_string()),
        Any::Double(value) => Cow::Owned(double(value)),
        Any::Bytes(bytes) => Cow::Owned(base64(bytes)),
        value => {
            let mut out = String::new();
            write_json(value, depth, &message, &mut out)?;
            Cow::Owned(out)
        }
    })
}

fn write_json<'a>(value: Any<'a>, depth: u32, at: &Reader<'a>, out: &mut String) -> Result<(), WireError> {
    const VALUES: u32 = key(1, LEN);
    let Some(deeper) = depth.checked_sub(1) else {
        return Err(at.error(TOO_DEEP));
    };
    match value {
        Any::Nothing => out.push_str("null"),
        Any::Text(bytes) => write_text(&utf8(bytes, at)?, out),
        Any::Bool(value) => out.push_str(if value { "true" } else { "false" }),
        Any::Integer(value) => out.push_str(&value.to_string()),
        Any::Double(value) if value.is_finite() => out.push_str(&double(value)),
        Any::Double(_) => out.push_str("null"),
        Any::Bytes(bytes) => write_text(&base64(bytes), out),
        Any::List(mut list) => {
            out.push('[');
            let mut separator = "";
            while let Some(key) = list.key()? {
                if key != VALUES {
                    list.skip(key, known(&[1]))?;
                    continue;
                }
                out.push_str(separator);
                separator = ",";
                let message = list.message()?;
                write_json(any(message)?, deeper, &message, out)?;
            }
            out.push(']');
        }
        Any::Map(mut map) => {
            let mut entries = BTreeMap::new();
            while let Some(key) = map.key()? {
                if key != VALUES {
                    map.skip(key, known(&[1]))?;
                    continue;
                }
                let (name, value) = key_value(map.message()?)?;
                let mut text = String::new();
                match value {
                    None => text.push_str("null"),
                    Some(message) => write_json(any(message)?, deeper, &message, &mut text)?,
                }
                entries.insert(utf8(name, &map)?, text);
            }
            write_map(&entries, out);
        }
    }
    Ok(())
}

/// A map whose values are JSON already.
pub(super) fn write_map(entries: &BTreeMap<Cow<'_, str>, String>, out: &mut String) {
    out.push('{');
    let mut separator = "";
    for (name, value) in entries {
        out.push_str(separator);
        separator = ",";
        write_text(name, out);
        out.push(':');
        out.push_str(value);
    }
    out.push('}');
}

/// A text in quotes, escaped as Go escapes it: what HTML would take for its own, too.
pub(super) fn write_text(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\0'..='\u{1f}' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                out.push_str(&format!("\\u{:04x}", c as u32));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// A double as JSON has it.
pub(super) fn double(value: f64) -> String {
    let mut out = String::new();
    float::write_sample(value, &mut out);
    out
}

/// Bytes in base64 (RFC 4648 4).
pub(super) fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let at = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for letter in 0..4 {
            let six = (bits >> (18 - 6 * letter) & 63) as usize;
            out.push(if letter <= chunk.len() { char::from(LETTERS[six]) } else { '=' });
        }
    }
    out
}

/// Lowercase hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

pub(super) fn utf8<'a>(bytes: &'a [u8], at: &Reader<'_>) -> Result<Cow<'a, str>, WireError> {
    std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|_| at.error(NOT_UTF8))
}

/// What is said of texts that are none.
pub(super) const NOT_UTF8: &str = "text that is not valid UTF-8";
/// What is said of lists in lists without end.
const TOO_DEEP: &str = "value nested too deep";
/// What is said of more attributes than anything is given.
const TOO_MANY: &str = "list of over 4096 attributes";

/// Whether a complaint is about what was read, and not that it could not be.
pub(super) fn is_about_content(what: &str) -> bool {
    matches!(what, NOT_UTF8 | TOO_DEEP | TOO_MANY)
}

#[cfg(test)]
mod tests {
    use codec::proto::{write_bytes, write_double, write_message, write_number};

    use super::*;

    fn texts(write: impl Fn(&mut Vec<u8>)) -> Result<Vec<(String, String)>, Malformed> {
        let mut bytes = Vec::new();
        write_message(9, &mut bytes, |out| {
            write_bytes(1, b"k", out);
            write_message(2, out, &write);
        });
        let mut all = Vec::new();
        Attributes::Wire(bytes.into()).each(|key, text| all.push((key.into_owned(), text.into_owned())))?;
        Ok(all)
    }

    #[test]
    fn values_of_any_type_are_text() {
        let one = |write: &dyn Fn(&mut Vec<u8>)| texts(write).unwrap().remove(0).1;
        assert_eq!(one(&|out| write_bytes(1, b"x<y", out)), "x<y");
        assert_eq!(one(&|out| write_number(2, 1, out)), "true");
        assert_eq!(one(&|out| write_number(3, -7i64 as u64, out)), "-7");
        assert_eq!(one(&|out| write_double(4, 1.5, out)), "1.5");
        assert_eq!(one(&|out| write_double(4, 1e21, out)), "1e+21");
        assert_eq!(one(&|out| write_bytes(7, b"\xff\x00", out)), "/wA=");
        assert_eq!(one(&|_| ()), "");
        let nested = |out: &mut Vec<u8>| {
            write_message(6, out, |out| {
                for (name, value) in [("b", 2), ("a", 1)] {
                    write_message(1, out, |out| {
                        write_bytes(1, name.as_bytes(), out);
                        write_message(2, out, |out| {
                            write_message(5, out, |out| {
                                write_message(1, out, |out| write_number(3, value, out));
                                write_message(1, out, |out| write_bytes(1, b"<\"", out));
                                write_message(1, out, |_| ());
                            });
                        });
                    });
                }
            });
        };
        assert_eq!(one(&nested), r#"{"a":[1,"\u003c\"",null],"b":[2,"\u003c\"",null]}"#);
    }

    #[test]
    fn depth_is_bounded_and_texts_are_texts() {
        fn deep(levels: u32, out: &mut Vec<u8>) {
            if levels > 0 {
                write_message(5, out, |out| write_message(1, out, |out| deep(levels - 1, out)));
            }
        }
        assert!(texts(|out| deep(DEPTH_MAX - 1, out)).is_ok());
        assert_eq!(texts(|out| deep(DEPTH_MAX, out)).unwrap_err().what, TOO_DEEP);
        assert_eq!(texts(|out| write_bytes(1, b"\xff", out)).unwrap_err().what, NOT_UTF8);
    }

    #[test]
    fn base64_is_padded() {
        for (bytes, wanted) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")]
        {
            assert_eq!(base64(bytes.as_bytes()), wanted);
        }
        assert_eq!(hex(&[0x0f, 0xa0]), "0fa0");
    }

    #[test]
    fn fields_that_do_not_lie_in_one_piece_are_gathered() {
        let (mut bytes, mut starts) = (Vec::new(), Vec::new());
        for (number, name) in [(7, "a"), (7, "b"), (1, "-"), (7, "c")] {
            starts.push(bytes.len());
            write_message(number, &mut bytes, |out| write_bytes(1, name.as_bytes(), out));
        }
        let (mut reader, mut run) = (Reader::new(&bytes), Run::default());
        for start in starts {
            let key = reader.key().unwrap().unwrap();
            reader.message().unwrap();
            if key >> 3 == 7 {
                run.take(start, &reader);
            }
        }
        let mut names = String::new();
        run.attributes().each(|name, _| names += &name).unwrap();
        assert_eq!(names, "abc");
    }
}
