//! Text the way Go prints it: quoted strings, floats, label sets.
//!
//! Error texts and annotations are part of what clients of Prometheus read and match, so they are printed with Go's
//! rules rather than Rust's: the two differ in escapes and in when an exponent appears.

use std::fmt::Write as _;

use model::Labels;

/// A string in double quotes with Go's escapes (`%q`); bytes that are no UTF-8 become `\x..`.
pub(crate) fn quoted_bytes(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() + 2);
    out.push('"');
    for chunk in bytes.utf8_chunks() {
        chunk.valid().chars().for_each(|c| push_escaped(&mut out, c));
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out.push('"');
    out
}

/// A string in double quotes with Go's escapes (`%q`).
pub fn quoted(text: &str) -> String {
    quoted_bytes(text.as_bytes())
}

fn push_escaped(out: &mut String, c: char) {
    match c {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\u{7}' => out.push_str("\\a"),
        '\u{8}' => out.push_str("\\b"),
        '\u{c}' => out.push_str("\\f"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\u{b}' => out.push_str("\\v"),
        c if (c as u32) < 0x20 || c as u32 == 0x7f => {
            let _ = write!(out, "\\x{:02x}", c as u32);
        }
        c if is_unprintable(c) && (c as u32) < 0x10000 => {
            let _ = write!(out, "\\u{:04x}", c as u32);
        }
        c if is_unprintable(c) => {
            let _ = write!(out, "\\U{:08x}", c as u32);
        }
        c => out.push(c),
    }
}

/// The characters outside ASCII that Go escapes and that occur in practice: controls, separators, soft hyphen, BOM,
/// private use, and whatever is not a character.
fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{a0}' | '\u{ad}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' | '\u{3000}' | '\u{1680}')
        || matches!(c as u32, 0x2000..=0x200f | 0x2028..=0x202f | 0x205f..=0x206f | 0xe000..=0xf8ff | 0xe0000..)
}

/// A character in single quotes (`%q` of a rune).
pub(crate) fn quoted_char(c: char) -> String {
    let mut inner = String::new();
    match c {
        '\'' => inner.push_str("\\'"),
        '"' => inner.push('"'),
        c => push_escaped(&mut inner, c),
    }
    format!("'{inner}'")
}

/// The shortest text that reads back as `value`, never with an exponent (`%f` with the shortest precision).
pub fn float_plain(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() }
    } else {
        format!("{value}")
    }
}

/// As Go's `%g` and `%v`: the shortest text, with an exponent below 1e-4 and from 1e6 on.
pub fn float_general(value: f64) -> String {
    if !value.is_finite() || value == 0.0 {
        return float_plain(value);
    }
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if !(-4..6).contains(&exponent) {
        format!("{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
    } else {
        float_plain(value)
    }
}

/// As Go's `%.2g`.
pub(crate) fn float_two_digits(value: f64) -> String {
    if !value.is_finite() || value == 0.0 {
        return float_plain(value);
    }
    let scientific = format!("{value:.1e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let mantissa = mantissa.trim_end_matches('0').trim_end_matches('.');
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..2).contains(&exponent) {
        let rounded: f64 = scientific.parse().unwrap_or(value);
        float_plain(rounded)
    } else {
        format!("{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
    }
}

/// A label set as messages show it: `{__name__="up", job="x"}`.
pub fn labels_text(labels: &Labels) -> String {
    let mut out = String::from("{");
    for (i, (name, value)) in labels.iter().enumerate() {
        if i > 0 {
            out.push_str(", ");
        }
        out.push_str(&label_name(name));
        out.push('=');
        out.push_str(&quoted(value));
    }
    out.push('}');
    out
}

/// A label name, in quotes where it needs them.
pub(crate) fn label_name(name: &str) -> String {
    if model::labels::is_legacy_name(name) { name.to_owned() } else { quoted(name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_quoted_as_go_does() {
        assert_eq!(quoted("a\"b\\\n\t\u{7}ü\u{ad}"), r#""a\"b\\\n\t\aü\u00ad""#);
        assert_eq!(quoted_bytes(b"a\xc5z"), r#""a\xc5z""#);
    }

    #[test]
    fn floats_switch_to_exponents_where_go_does() {
        for (value, plain, general) in [
            (0.1, "0.1", "0.1"),
            (1e21, "1000000000000000000000", "1e+21"),
            (-0.0, "-0", "-0"),
            (0.00001, "0.00001", "1e-05"),
            (100000.0, "100000", "100000"),
            (2147483647.0, "2147483647", "2.147483647e+09"),
            (f64::INFINITY, "+Inf", "+Inf"),
            (f64::NAN, "NaN", "NaN"),
        ] {
            assert_eq!(float_plain(value), plain);
            assert_eq!(float_general(value), general);
        }
    }
}
