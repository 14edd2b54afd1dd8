//! Numbers and strings as Go reads them.

/// Reads a number: decimal, hexadecimal, octal with a leading 0, `_` between digits of integers, `inf`, `nan`.
pub(crate) fn number(text: &str) -> Result<f64, String> {
    if let Some(integer) = integer(text) {
        return Ok(integer as f64);
    }
    let fail = |what: &str| format!("strconv.ParseFloat: parsing \"{text}\": {what}");
    match text.to_ascii_lowercase().as_str() {
        "inf" | "+inf" | "-inf" | "nan" => {}
        _ if !text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-')) => {
            return Err(fail("invalid syntax"));
        }
        _ => {}
    }
    let value: f64 = text.parse().map_err(|_| fail("invalid syntax"))?;
    if value.is_infinite() && text.bytes().any(|b| b.is_ascii_digit()) {
        return Err(fail("value out of range"));
    }
    Ok(value)
}

/// An integer that fits into 64 bits; the prefix decides the base.
fn integer(text: &str) -> Option<i64> {
    let (digits, base, prefixed) = match text.as_bytes() {
        [b'0', b'x' | b'X', ..] => (&text[2..], 16, true),
        [b'0', _, ..] => (&text[1..], 8, true),
        _ => (text, 10, false),
    };
    // `_` must separate digits; behind a prefix it may stand first.
    let body = if prefixed { digits.strip_prefix('_').unwrap_or(digits) } else { digits };
    if body.is_empty() || body.starts_with('_') || body.ends_with('_') || body.contains("__") {
        return None;
    }
    if body.starts_with(['+', '-']) {
        return None;
    }
    i64::from_str_radix(&body.replace('_', ""), base).ok()
}

/// The bytes that a quoted string stands for; `None` when its escapes are wrong.
pub(crate) fn unquote(text: &str) -> Option<Vec<u8>> {
    let mut chars = text.chars();
    let quote = chars.next()?;
    let inner = text.get(1..text.len().checked_sub(1)?)?;
    if quote == '`' {
        return Some(inner.bytes().collect());
    }
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(at) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        rest = unescape(&rest[at + 1..], &mut bytes)?;
    }
    bytes.extend_from_slice(rest.as_bytes());
    Some(bytes)
}

/// Reads what follows a backslash.
fn unescape<'a>(text: &'a str, bytes: &mut Vec<u8>) -> Option<&'a str> {
    let first = text.chars().next()?;
    let (digits, base, skip) = match first {
        'x' => (2, 16, 1),
        'u' => (4, 16, 1),
        'U' => (8, 16, 1),
        '0'..='7' => (3, 8, 0),
        _ => {
            bytes.push(match first {
                'a' => 7,
                'b' => 8,
                'f' => 12,
                'n' => b'\n',
                'r' => b'\r',
                't' => b'\t',
                'v' => 11,
                '\\' | '"' | '\'' => first as u8,
                _ => return None,
            });
            return Some(&text[1..]);
        }
    };
    let code = u32::from_str_radix(text.get(skip..skip + digits)?, base).ok()?;
    if matches!(first, 'u' | 'U') {
        let c = char::from_u32(code)?;
        bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    } else {
        bytes.push(u8::try_from(code).ok()?);
    }
    text.get(skip + digits..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_go_does() {
        for (text, value) in [
            ("0755", 493.0),
            ("08", 8.0),
            ("1_000", 1000.0),
            ("1e-400", 0.0),
            ("0x1F", 31.0),
            (".5", 0.5),
            ("2.", 2.0),
        ] {
            assert_eq!(number(text), Ok(value), "{text}");
        }
        assert!(number("NaN").unwrap().is_nan());
        assert_eq!(number("iNf"), Ok(f64::INFINITY));
        for text in ["1e400", "1__0", "1_", "1_000.5", "0xfffffffffffffffffff"] {
            assert!(number(text).is_err(), "{text}");
        }
    }

    #[test]
    fn strings_may_be_any_bytes() {
        assert_eq!(unquote(r#""a\n\xff\101\u00fc\"""#).unwrap(), b"a\n\xffA\xc3\xbc\"");
        assert_eq!(unquote(r"`a\n`").unwrap(), br"a\n");
        assert_eq!(unquote("'ü'").unwrap(), "ü".as_bytes());
    }
}
