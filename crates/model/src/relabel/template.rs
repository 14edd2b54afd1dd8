//! What `$1` and `${name}` stand for, as Go's `Regexp.Expand` reads them.
//!
//! A name is the longest run of letters, digits and underscores; `$1x` is the group named `1x`, which there is none of.
//! `$$` is a dollar sign, and so is a `$` that begins nothing.

/// A text with places for groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Number(usize),
    Name(String),
}

impl Template {
    /// Reads a template; every text is one.
    pub(super) fn new(text: &str) -> Self {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            literal.push_str(before);
            rest = after;
            if let Some(after) = rest.strip_prefix('$') {
                literal.push('$');
                rest = after;
            } else if let Some((part, after)) = group(rest) {
                if !literal.is_empty() {
                    parts.push(Part::Literal(std::mem::take(&mut literal)));
                }
                parts.push(part);
                rest = after;
            } else {
                literal.push('$');
            }
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        Self { text: text.to_owned(), parts }
    }

    /// As it was written.
    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether a `$` stands in it, whatever it means.
    pub(super) fn has_dollar(&self) -> bool {
        self.text.contains('$')
    }

    /// The text that it always gives, when it names no group.
    pub(super) fn constant(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [] => Some(""),
            [Part::Literal(text)] => Some(text),
            _ => None,
        }
    }

    /// Whether it is exactly the group of this number.
    pub(super) fn is_number(&self, number: usize) -> bool {
        self.parts == [Part::Number(number)]
    }

    /// Puts what the groups matched in their places. A group that there is not, or that took no part, is empty.
    pub(super) fn expand<'t>(
        &self,
        numbered: impl Fn(usize) -> Option<&'t str>,
        named: impl Fn(&str) -> Option<&'t str>,
    ) -> String {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Literal(text) => out.push_str(text),
                Part::Number(number) => out.push_str(numbered(*number).unwrap_or_default()),
                Part::Name(name) => out.push_str(named(name).unwrap_or_default()),
            }
        }
        out
    }
}

/// The group that `text` begins with, behind its `$`, and what stands behind it.
fn group(text: &str) -> Option<(Part, &str)> {
    let (braced, text) = match text.strip_prefix('{') {
        Some(text) => (true, text),
        None => (false, text),
    };
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    if name.is_empty() {
        return None;
    }
    let rest = if braced { rest.strip_prefix('}')? } else { rest };
    let is_number = name.bytes().all(|b| b.is_ascii_digit()) && (name.len() == 1 || !name.starts_with('0'));
    let part = match name.parse() {
        Ok(number) if is_number => Part::Number(number),
        _ => Part::Name(name.to_owned()),
    };
    Some((part, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_read_as_go_reads_them() {
        let cases = [
            ("", ""),
            ("plain", "plain"),
            ("$1", "<1>"),
            ("${1}x", "<1>x"),
            ("$1x", "<1x>"),
            ("$1-$2", "<1>-<2>"),
            ("$1_$2", "<1_><2>"),
            ("$$1", "$1"),
            ("$", "$"),
            ("a$", "a$"),
            ("$-$", "$-$"),
            ("${", "${"),
            ("${}", "${}"),
            ("${1", "${1"),
            ("${1 }", "${1 }"),
            ("${name}", "<name>"),
            ("$name.", "<name>."),
            ("$é$01$0", "<é><01><0>"),
            ("$$$$", "$$"),
        ];
        for (text, expected) in cases {
            // What a name is taken for shows in what is asked for.
            let template = Template::new(text);
            let mut shown = String::new();
            for part in &template.parts {
                match part {
                    Part::Literal(literal) => shown.push_str(literal),
                    Part::Number(number) => shown.push_str(&format!("<{number}>")),
                    Part::Name(name) => shown.push_str(&format!("<{name}>")),
                }
            }
            assert_eq!(shown, expected, "{text}");
        }
        assert!(matches!(Template::new("$01").parts[..], [Part::Name(_)]));
        assert!(Template::new("$1").is_number(1) && !Template::new("$1a").is_number(1));
        assert_eq!(Template::new("$$").constant(), Some("$"));
    }
}
