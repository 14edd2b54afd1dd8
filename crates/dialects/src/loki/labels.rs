//! A stream's labels as text: `{app="web", env="prod"}`, values quoted as Go quotes.

use std::borrow::Cow;
use std::iter::Peekable;
use std::str::CharIndices;

use model::batch::Pair;

/// Labels that are looked at before a stream is refused, whatever its tenant's limits say.
const LABELS_MAX: usize = 1000;

/// Reads a label list, or says where it is none: line and column, as Loki does.
pub(super) fn parse(text: &str) -> Result<Vec<Pair<'_>>, String> {
    let mut rest = Text { text, chars: text.char_indices().peekable() };
    let mut labels = Vec::new();
    rest.space();
    rest.expect('{')?;
    loop {
        rest.space();
        if rest.take('}') {
            break;
        }
        check_count(labels.len())?;
        let name = rest.name()?;
        rest.space();
        rest.expect('=')?;
        rest.space();
        labels.push((Cow::Borrowed(name), rest.value()?));
        rest.space();
        if !rest.take(',') {
            rest.expect('}')?;
            break;
        }
    }
    rest.space();
    if rest.chars.peek().is_some() { Err(rest.unexpected()) } else { Ok(labels) }
}

/// Whether one more label may follow `count` others.
pub(super) fn check_count(count: usize) -> Result<(), String> {
    if count < LABELS_MAX { Ok(()) } else { Err(format!("over {LABELS_MAX} labels")) }
}

/// Whether `name` may be called so, where it stands `before` characters behind the beginning of its list.
pub(super) fn check_name(name: &str, before: usize) -> Result<(), String> {
    let wrong = name.chars().enumerate().find(|(at, c)| !is_in_name(*c, *at == 0));
    match wrong {
        None if !name.is_empty() => Ok(()),
        None => Err(complaint(before + 1, '=')),
        Some((at, c)) => Err(complaint(before + at + 1, c)),
    }
}

fn is_in_name(c: char, is_first: bool) -> bool {
    c == '_' || c.is_ascii_alphabetic() || !is_first && c.is_ascii_digit()
}

fn complaint(column: usize, c: char) -> String {
    format!("1:{column}: parse error: unexpected character inside braces: {c:?}")
}

struct Text<'a> {
    text: &'a str,
    chars: Peekable<CharIndices<'a>>,
}

impl<'a> Text<'a> {
    fn space(&mut self) {
        while self.chars.next_if(|(_, c)| c.is_ascii_whitespace()).is_some() {}
    }

    fn take(&mut self, wanted: char) -> bool {
        self.chars.next_if(|(_, c)| *c == wanted).is_some()
    }

    fn expect(&mut self, wanted: char) -> Result<(), String> {
        if self.take(wanted) { Ok(()) } else { Err(self.unexpected()) }
    }

    /// A complaint about what is next.
    fn unexpected(&mut self) -> String {
        let column = |at: usize| self.text[..at].chars().count() + 1;
        match self.chars.peek() {
            Some((at, c)) => complaint(column(*at), *c),
            None => format!("1:{}: parse error: unexpected end of input", column(self.text.len())),
        }
    }

    fn at(&mut self) -> usize {
        self.chars.peek().map_or(self.text.len(), |(at, _)| *at)
    }

    fn name(&mut self) -> Result<&'a str, String> {
        let start = self.at();
        while self.chars.next_if(|(at, c)| is_in_name(*c, *at == start)).is_some() {}
        let name = &self.text[start..self.at()];
        if name.is_empty() { Err(self.unexpected()) } else { Ok(name) }
    }

    fn value(&mut self) -> Result<Cow<'a, str>, String> {
        let quote = self.chars.next_if(|(_, c)| matches!(c, '"' | '`' | '\''));
        let Some((_, quote)) = quote else { return Err(self.unexpected()) };
        let start = self.at();
        let mut unquoted: Option<Vec<u8>> = None;
        loop {
            let Some((at, c)) = self.chars.next() else { return Err(self.unexpected()) };
            match c {
                c if c == quote => {
                    return Ok(match unquoted {
                        None => Cow::Borrowed(&self.text[start..at]),
                        Some(bytes) => String::from_utf8_lossy(&bytes).into_owned().into(),
                    });
                }
                '\\' if quote != '`' => {
                    let bytes = unquoted.get_or_insert_with(|| self.text.as_bytes()[start..at].to_vec());
                    escape(&mut self.chars, bytes).ok_or_else(|| {
                        let column = self.text[..at].chars().count() + 1;
                        format!("1:{column}: parse error: unknown escape sequence")
                    })?;
                }
                c => {
                    if let Some(bytes) = &mut unquoted {
                        bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                    }
                }
            }
        }
    }
}

/// Appends what an escape stands for; its backslash was read.
fn escape(chars: &mut Peekable<CharIndices<'_>>, bytes: &mut Vec<u8>) -> Option<()> {
    let (_, letter) = chars.next()?;
    let mut number = |first: u32, digits: u32, radix: u32| {
        (0..digits).try_fold(first, |number: u32, _| {
            let digit = chars.next()?.1.to_digit(radix)?;
            number.checked_mul(radix)?.checked_add(digit)
        })
    };
    let character = match letter {
        'a' => '\u{7}',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\u{b}',
        '\\' | '"' | '\'' => letter,
        'u' => char::from_u32(number(0, 4, 16)?)?,
        'U' => char::from_u32(number(0, 8, 16)?)?,
        // Bytes, which need not be characters by themselves.
        'x' => {
            bytes.push(u8::try_from(number(0, 2, 16)?).ok()?);
            return Some(());
        }
        '0'..='7' => {
            bytes.push(u8::try_from(number(letter.to_digit(8)?, 2, 8)?).ok()?);
            return Some(());
        }
        _ => return None,
    };
    bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(String, String)> {
        let pairs = parse(text).unwrap_or_else(|what| panic!("{text}: {what}"));
        pairs.into_iter().map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
    }

    #[test]
    fn labels_as_they_are_written() {
        assert_eq!(read("{}"), []);
        assert_eq!(read(" { } "), []);
        let two = [("a".to_owned(), "b".to_owned()), ("_c1".to_owned(), "d, }".to_owned())];
        for text in [r#"{a="b",_c1="d, }"}"#, r#"{ a = "b" , _c1 = `d, }`, }"#] {
            assert_eq!(read(text), two, "{text}");
        }
        let value = |text: &str| read(&format!("{{a={text}}}")).remove(0).1;
        assert_eq!(value(r#""\"\\\n\t\x41\101\u00e9\U0001F600é""#), "\"\\\n\tAAé😀é");
        assert_eq!(value(r#""\xc3\xa9\xff""#), "é\u{fffd}");
        assert_eq!(value(r"`\n`"), "\\n");
        assert_eq!(value(r#""""#), "");
    }

    #[test]
    fn complaints_say_where() {
        for (text, column, about) in [
            (r#"{a-b="c"}"#, 3, "unexpected character inside braces: '-'"),
            (r#"{a.b="c"}"#, 3, "unexpected character inside braces: '.'"),
            (r#"{1="c"}"#, 2, "unexpected character inside braces: '1'"),
            (r#"{é="c"}"#, 2, "unexpected character inside braces: 'é'"),
            (r#"{a=c}"#, 4, "unexpected character inside braces: 'c'"),
            (r#"{a="c" b="d"}"#, 8, "unexpected character inside braces: 'b'"),
            (r#"{a="é"} x"#, 9, "unexpected character inside braces: 'x'"),
            (r#"a="c""#, 1, "unexpected character inside braces: 'a'"),
            (r#"{a="c"#, 6, "unexpected end of input"),
            ("", 1, "unexpected end of input"),
            (r#"{a="\q"}"#, 5, "unknown escape sequence"),
            (r#"{a="\ud800"}"#, 5, "unknown escape sequence"),
            (r#"{a="\UFFFFFFFF"}"#, 5, "unknown escape sequence"),
        ] {
            assert_eq!(parse(text), Err(format!("1:{column}: parse error: {about}")), "{text}");
        }
        let name = |name: &str| check_name(name, 1);
        assert_eq!(name("a_1"), Ok(()));
        assert_eq!(name("a-b"), parse(r#"{a-b="c"}"#).map(drop));
        assert!(name("").is_err() && name("1a").is_err() && name("a.b").is_err());
        assert!(parse(&format!("{{{}}}", "a=\"\",".repeat(LABELS_MAX + 1))).is_err());
        assert!(parse(&format!("{{{}}}", "a=\"\",".repeat(LABELS_MAX))).is_ok());
    }
}
