//! Go's RE2 syntax on the `regex` crate.
//!
//! A pattern is read alone, then anchored as `^(?s:…)$`. The two engines mean the same by most of the syntax; what
//! they read differently is rewritten here, in one walk without recursion: `\Q…\E`, octal escapes, a `{` that opens
//! no repetition, classes (where `&&`, `--` and `~~` are plain characters), `\d \s \w \b` (ASCII), group names that
//! repeat. What Go refuses is refused: repetitions of repetitions, counts over 1,000, unknown flags and escapes.
//!
//! A pattern that is a list of plain words in disguise (`a|b`, `foo(bar|baz)`) gives that list, so that an index looks
//! words up instead of testing every value; any other gives the text that all its matches begin with.

use std::sync::Arc;

use regex_syntax::hir::{Class, Hir, HirKind, Look};

/// A list of plain words may hold so many of them, or as many as the pattern has bytes.
const LITERALS_MAX: usize = 256;

/// And so many bytes, or as many as the pattern has: two classes behind a long word are that word many times.
const LITERALS_BYTES_MAX: usize = 64 << 10;

/// Bytes that a word of a list takes besides its text.
const WORD_BYTES: usize = 2 * size_of::<String>();

/// Bytes that a compiled pattern may take: the smallest of these that is enough is what it is said to take.
const PROGRAM_BYTES: [usize; 3] = [64 << 10, 1 << 20, 8 << 20];

/// Bytes that all compiled patterns of a query may take.
pub const PROGRAMS_BYTES_MAX: usize = 32 << 20;

/// Largest count in a repetition, and largest product of counts that lie within each other.
const REPEAT_MAX: u32 = 1000;

/// Occurs when a pattern is not valid, or its program would be larger than 8 MiB.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("error parsing regexp: {0}")]
pub struct InvalidPattern(pub String);

/// A compiled pattern that must match the whole value.
#[derive(Clone, Debug)]
pub struct Anchored {
    /// None where the shape says everything.
    engine: Option<Arc<regex::Regex>>,
    program_bytes: usize,
    shape: Shape,
    prefix: String,
}

/// What a pattern comes down to.
#[derive(Clone, Debug, PartialEq)]
enum Shape {
    /// `.*`
    Anything,
    /// `.+`
    NotEmpty,
    /// These words, sorted.
    Literals(Vec<String>),
    /// The prefix, then anything.
    Prefix,
    /// Only the engine can tell.
    Other,
}

impl Anchored {
    /// Compiles a pattern written for Go.
    pub fn new(pattern: &str) -> Result<Self, InvalidPattern> {
        let translated = translate(pattern)?;
        let hir = regex_syntax::ParserBuilder::new()
            .dot_matches_new_line(true)
            .build()
            .parse(&translated)
            .map_err(|error| refused(&error.to_string()))?;
        let shape = shape_of(&hir, WordsMax::of(pattern));
        let prefix = match &shape {
            Shape::Literals(words) => common_prefix(words.iter().map(String::as_str)),
            _ => prefix_of(&hir).0,
        };
        let (engine, program_bytes) = match shape {
            Shape::Other => {
                let (regex, bytes) = compile(&translated)?;
                (Some(Arc::new(regex)), bytes)
            }
            Shape::Literals(ref words) => (None, words.iter().map(|word| word.len() + WORD_BYTES).sum()),
            _ => (None, 0),
        };
        Ok(Self { engine, program_bytes, shape, prefix })
    }

    /// Whether the whole of `value` matches.
    pub fn is_match(&self, value: &str) -> bool {
        match &self.shape {
            Shape::Anything => true,
            Shape::NotEmpty => !value.is_empty(),
            Shape::Literals(words) => words.binary_search_by(|word| word.as_str().cmp(value)).is_ok(),
            Shape::Prefix => value.starts_with(&self.prefix),
            Shape::Other => {
                let engine_matches = |engine: &Arc<regex::Regex>| engine.is_match(value);
                value.starts_with(&self.prefix) && self.engine.as_ref().is_some_and(engine_matches)
            }
        }
    }

    /// Bytes that the compiled pattern, or its list of words, takes at most.
    pub fn program_bytes(&self) -> usize {
        self.program_bytes
    }

    /// Every value that matches, sorted, when they can be listed.
    pub fn literals(&self) -> Option<&[String]> {
        match &self.shape {
            Shape::Literals(words) => Some(words),
            _ => None,
        }
    }

    /// What every matching value begins with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }
}

/// A pattern that matches exactly this text.
pub fn quote(text: &str) -> String {
    regex_syntax::escape(text)
}

/// Compiles a pattern written for Go, anchored, for replacements; with the bytes that it takes at most.
pub fn capturing(pattern: &str) -> Result<(regex::Regex, usize), InvalidPattern> {
    compile(&translate(pattern)?)
}

/// Compiles what [`translate`] gave; with the bytes that it takes at most.
fn compile(translated: &str) -> Result<(regex::Regex, usize), InvalidPattern> {
    let anchored = format!("^(?s:{translated})$");
    for bytes in PROGRAM_BYTES {
        match regex::RegexBuilder::new(&anchored).size_limit(bytes).build() {
            Ok(regex) => return Ok((regex, bytes)),
            Err(regex::Error::CompiledTooBig(_)) => {}
            Err(error) => return Err(refused(&error.to_string())),
        }
    }
    let most = PROGRAM_BYTES[PROGRAM_BYTES.len() - 1];
    Err(InvalidPattern(format!("expression too large: its program needs more than {most} bytes")))
}

/// The engine's own message draws a picture over several lines; its last line says what is wrong.
fn refused(error: &str) -> InvalidPattern {
    InvalidPattern(error.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned())
}

// Reading what a pattern comes down to.

/// How long a list of words may be.
#[derive(Clone, Copy, Debug)]
struct WordsMax {
    words: usize,
    bytes: usize,
}

impl WordsMax {
    fn of(pattern: &str) -> Self {
        Self { words: pattern.len().max(LITERALS_MAX), bytes: pattern.len().max(LITERALS_BYTES_MAX) }
    }

    /// Nothing when it is longer.
    fn hold(self, words: usize, bytes: usize) -> Option<()> {
        (words <= self.words && bytes <= self.bytes).then_some(())
    }
}

fn shape_of(hir: &Hir, words_max: WordsMax) -> Shape {
    if let Some((0, _)) = repeats_anything(hir) {
        return Shape::Anything;
    }
    if let Some((1, _)) = repeats_anything(hir) {
        return Shape::NotEmpty;
    }
    if let Some(mut words) = words_of(hir, words_max) {
        words.sort();
        words.dedup();
        return Shape::Literals(words);
    }
    match hir.kind() {
        HirKind::Concat(parts) => match parts.as_slice() {
            [head, tail] if repeats_anything(tail).is_some_and(|(min, _)| min == 0) => match head.kind() {
                HirKind::Literal(_) => Shape::Prefix,
                _ => Shape::Other,
            },
            _ => Shape::Other,
        },
        _ => Shape::Other,
    }
}

/// `.*` and `.+` where the dot matches newlines: the least number of characters, without an upper bound.
fn repeats_anything(hir: &Hir) -> Option<(u32, ())> {
    let HirKind::Repetition(repetition) = hir.kind() else { return None };
    let HirKind::Class(Class::Unicode(class)) = repetition.sub.kind() else { return None };
    let ranges = class.ranges();
    let all = ranges.len() == 1 && ranges[0].start() == '\0' && ranges[0].end() == char::MAX;
    (all && repetition.max.is_none()).then_some((repetition.min, ()))
}

/// All texts that an expression matches, unless there are more than `most`.
fn words_of(hir: &Hir, most: WordsMax) -> Option<Vec<String>> {
    let bytes_of = |words: &[String]| words.iter().map(String::len).sum::<usize>();
    match hir.kind() {
        HirKind::Empty => Some(vec![String::new()]),
        HirKind::Literal(literal) => Some(vec![std::str::from_utf8(&literal.0).ok()?.to_owned()]),
        HirKind::Class(Class::Unicode(class)) => {
            let count: usize = class.ranges().iter().map(|r| r.end() as usize - r.start() as usize + 1).sum();
            (count <= LITERALS_MAX).then(|| {
                class.ranges().iter().flat_map(|r| (r.start()..=r.end()).map(String::from)).collect()
            })
        }
        HirKind::Class(Class::Bytes(_)) | HirKind::Look(_) => None,
        HirKind::Capture(capture) => words_of(&capture.sub, most),
        HirKind::Repetition(repetition) if (repetition.min, repetition.max) == (0, Some(1)) => {
            let mut words = words_of(&repetition.sub, most)?;
            words.push(String::new());
            Some(words)
        }
        HirKind::Repetition(_) => None,
        HirKind::Concat(parts) => {
            let mut words = vec![String::new()];
            for (at, part) in parts.iter().enumerate() {
                // At its ends the pattern is anchored anyway.
                match part.kind() {
                    HirKind::Look(Look::Start) if at == 0 => continue,
                    HirKind::Look(Look::End) if at + 1 == parts.len() => continue,
                    _ => {}
                }
                let next = words_of(part, most)?;
                let bytes = bytes_of(&words) * next.len() + bytes_of(&next) * words.len();
                most.hold(words.len() * next.len(), bytes)?;
                words =
                    words.iter().flat_map(|head| next.iter().map(move |tail| head.clone() + tail)).collect();
            }
            Some(words)
        }
        HirKind::Alternation(branches) => {
            let (mut words, mut bytes) = (Vec::new(), 0);
            for branch in branches {
                let next = words_of(branch, most)?;
                bytes += bytes_of(&next);
                words.extend(next);
                most.hold(words.len(), bytes)?;
            }
            Some(words)
        }
    }
}

/// The text that every match begins with, and whether it is the whole match.
fn prefix_of(hir: &Hir) -> (String, bool) {
    match hir.kind() {
        HirKind::Empty => (String::new(), true),
        HirKind::Look(Look::Start) => (String::new(), true),
        HirKind::Literal(literal) => match std::str::from_utf8(&literal.0) {
            Ok(text) => (text.to_owned(), true),
            Err(_) => (String::new(), false),
        },
        HirKind::Capture(capture) => prefix_of(&capture.sub),
        HirKind::Concat(parts) => {
            let mut prefix = String::new();
            for part in parts {
                let (text, whole) = prefix_of(part);
                prefix += &text;
                if !whole {
                    return (prefix, false);
                }
            }
            (prefix, true)
        }
        HirKind::Alternation(branches) => {
            let prefixes: Vec<String> = branches.iter().map(|branch| prefix_of(branch).0).collect();
            (common_prefix(prefixes.iter().map(String::as_str)), false)
        }
        HirKind::Repetition(repetition) if repetition.min > 0 => (prefix_of(&repetition.sub).0, false),
        HirKind::Repetition(_) | HirKind::Class(_) | HirKind::Look(_) => (String::new(), false),
    }
}

fn common_prefix<'a>(mut words: impl Iterator<Item = &'a str>) -> String {
    let Some(first) = words.next() else { return String::new() };
    let length = words.fold(first.len(), |length, word| {
        first[..length]
            .char_indices()
            .zip(word.chars())
            .find(|((_, a), b)| a != b)
            .map_or_else(|| length.min(word.len()), |((at, _), _)| at)
    });
    first[..length].to_owned()
}

// Translating.

/// What may come next depends on what came last.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Last {
    /// Nothing that could be repeated.
    Nothing,
    /// An atom, and the product of the counts within it.
    Atom(u32),
    /// A repetition operator, and where it stands.
    Repetition(usize),
}

/// An open group.
#[derive(Clone, Copy, Debug)]
struct Group {
    /// Largest product of counts so far.
    counts: u32,
    /// The product of the counts within the last atom; a repetition multiplies it.
    last_counts: u32,
}

struct Translator<'p> {
    pattern: &'p str,
    at: usize,
    out: String,
    groups: Vec<Group>,
    last: Last,
    names: Vec<&'p str>,
}

type Translates<T = ()> = Result<T, InvalidPattern>;

/// Rewrites a pattern for the `regex` crate.
fn translate(pattern: &str) -> Result<String, InvalidPattern> {
    let top = Group { counts: 1, last_counts: 1 };
    let mut translator = Translator {
        pattern,
        at: 0,
        out: String::with_capacity(pattern.len() + 16),
        groups: vec![top],
        last: Last::Nothing,
        names: Vec::new(),
    };
    while let Some(c) = translator.next() {
        translator.item(c)?;
    }
    if translator.groups.len() > 1 {
        return Err(InvalidPattern(format!("missing closing ): `{pattern}`")));
    }
    Ok(translator.out)
}

impl<'p> Translator<'p> {
    fn rest(&self) -> &'p str {
        &self.pattern[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn literal(&mut self, c: char) {
        regex_syntax::escape_into(c.encode_utf8(&mut [0; 4]), &mut self.out);
        self.atom(1);
    }

    fn emit(&mut self, text: &str) {
        self.out.push_str(text);
        self.atom(1);
    }

    fn atom(&mut self, counts: u32) {
        self.last = Last::Atom(counts);
        self.see_counts(counts);
    }

    fn see_counts(&mut self, counts: u32) {
        if let Some(group) = self.groups.last_mut() {
            group.last_counts = counts;
            group.counts = group.counts.max(counts);
        }
    }

    fn item(&mut self, c: char) -> Translates {
        match c {
            '(' => self.open(),
            ')' => self.close(),
            '|' => {
                self.out.push('|');
                self.last = Last::Nothing;
                Ok(())
            }
            '[' => self.class(),
            '\\' => self.escape(),
            '.' | '^' | '$' => {
                self.emit(c.encode_utf8(&mut [0; 4]));
                Ok(())
            }
            '*' | '+' | '?' => {
                let text = c.encode_utf8(&mut [0; 4]).to_owned();
                self.repeat(self.at - 1, &text, 1)
            }
            '{' => match self.counts() {
                Some((text, low, high)) => self.counted(text, low, high),
                // A brace that opens no repetition is a brace.
                None => {
                    self.literal('{');
                    Ok(())
                }
            },
            c => {
                self.literal(c);
                Ok(())
            }
        }
    }

    /// `{2}`, `{2,}`, `{2,3}` at the brace just read: its text and counts.
    fn counts(&self) -> Option<(&'p str, u32, Option<u32>)> {
        let end = self.rest().find('}')?;
        let inner = &self.rest()[..end];
        let number = |text: &str| -> Option<u32> {
            let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            // Leading zeros make it a text, and more digits than fit are too many in any case.
            let zero = text.len() > 1 && text.starts_with('0');
            (plain && !zero).then(|| text.parse().unwrap_or(u32::MAX))
        };
        let (low, high) = match inner.split_once(',') {
            None => (number(inner)?, Some(number(inner)?)),
            Some((low, "")) => (number(low)?, None),
            Some((low, high)) => (number(low)?, Some(number(high)?)),
        };
        Some((inner, low, high))
    }

    fn counted(&mut self, inner: &'p str, low: u32, high: Option<u32>) -> Translates {
        let start = self.at - 1;
        let text = format!("{{{inner}}}");
        if low > REPEAT_MAX || high.is_some_and(|high| high > REPEAT_MAX || high < low) {
            return Err(InvalidPattern(format!("invalid repeat count: `{text}`")));
        }
        self.at += inner.len() + 1;
        let within = match self.last {
            Last::Atom(counts) => counts,
            _ => 1,
        };
        let count = high.unwrap_or(low).max(1);
        let product = count.saturating_mul(within);
        if product > REPEAT_MAX && (low >= 2 || count >= 2) {
            return Err(InvalidPattern(format!("invalid repeat count: `{text}`")));
        }
        self.repeat(start, &text, product)
    }

    fn repeat(&mut self, start: usize, text: &str, product: u32) -> Translates {
        match self.last {
            Last::Nothing => {
                return Err(InvalidPattern(format!("missing argument to repetition operator: `{text}`")));
            }
            Last::Repetition(before) => {
                let both = &self.pattern[before..self.at];
                return Err(InvalidPattern(format!("invalid nested repetition operator: `{both}`")));
            }
            Last::Atom(counts) => {
                self.see_counts(product.max(counts));
            }
        }
        self.out.push_str(text);
        if self.peek() == Some('?') {
            self.next();
            self.out.push('?');
        }
        self.last = Last::Repetition(start);
        Ok(())
    }

    // Groups.

    fn open(&mut self) -> Translates {
        let rest = self.rest();
        if !rest.starts_with('?') {
            return self.push_group("(");
        }
        for opening in ["?P<", "?<"] {
            if let Some(named) = rest.strip_prefix(opening) {
                let end = named.find('>').unwrap_or(named.len());
                let name = &named[..end];
                let word = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
                if end == named.len() || !word {
                    let shown = &self.pattern
                        [self.at - 1..(self.at + opening.len() + end + 1).min(self.pattern.len())];
                    return Err(InvalidPattern(format!("invalid named capture: `{shown}`")));
                }
                self.at += opening.len() + end + 1;
                // Only the first group of a name can have it here, and no name may begin with a digit.
                let named = !self.names.contains(&name) && !name.starts_with(|c: char| c.is_ascii_digit());
                self.names.push(name);
                return if named { self.push_group(&format!("(?P<{name}>")) } else { self.push_group("(") };
            }
        }
        self.flags()
    }

    fn push_group(&mut self, text: &str) -> Translates {
        if self.groups.len() > 200 {
            return Err(InvalidPattern(format!("expression nests too deeply: `{}`", self.pattern)));
        }
        self.out.push_str(text);
        self.groups.push(Group { counts: 1, last_counts: 1 });
        self.last = Last::Nothing;
        Ok(())
    }

    fn close(&mut self) -> Translates {
        if self.groups.len() < 2 {
            return Err(InvalidPattern(format!("unexpected ): `{}`", self.pattern)));
        }
        let counts = self.groups.pop().map_or(1, |group| group.counts);
        self.out.push(')');
        self.atom(counts);
        Ok(())
    }

    /// `(?i)`, `(?s-m:…`
    fn flags(&mut self) -> Translates {
        let rest = &self.rest()[1..];
        let (mut minus, mut after_minus) = (None, 0);
        // The sign that ends the flags, or is none of them.
        let end = rest.char_indices().find(|(at, c)| match c {
            'i' | 'm' | 's' | 'U' => {
                after_minus += 1;
                false
            }
            '-' if minus.is_none() => {
                (minus, after_minus) = (Some(*at), 0);
                false
            }
            _ => true,
        });
        let ends_well = |c: char| matches!(c, ':' | ')') && (minus.is_none() || after_minus > 0);
        let (end, closing) = match end {
            Some((end, c)) if ends_well(c) => (end, c),
            other => {
                let length = other.map_or(rest.len(), |(at, c)| at + c.len_utf8());
                let shown = &self.pattern[self.at - 1..self.at + 1 + length];
                return Err(InvalidPattern(format!("invalid or unsupported Perl syntax: `{shown}`")));
            }
        };
        let flags = &rest[..end];
        let (on, off) = minus.map_or((flags, ""), |at| (&flags[..at], &flags[at + 1..]));
        self.at += 1 + end + 1;
        // A flag that is written twice means the same, but the engine minds.
        let once = |flags: &str| "imsU".chars().filter(|f| flags.contains(*f)).collect::<String>();
        let (on, off) = (once(on).replace(|f| off.contains(f), ""), once(off));
        let minus = if off.is_empty() { "" } else { "-" };
        if closing == ':' {
            return self.push_group(&format!("(?{on}{minus}{off}:"));
        }
        if !flags.is_empty() {
            self.out.push_str(&format!("(?{on}{minus}{off})"));
        }
        self.last = Last::Nothing;
        Ok(())
    }

    // Escapes.

    fn escape(&mut self) -> Translates {
        let start = self.at - 1;
        let Some(c) = self.next() else {
            return Err(InvalidPattern("trailing backslash at end of expression: ``".into()));
        };
        match c {
            'A' => self.emit(r"\A"),
            'z' => self.emit(r"\z"),
            'b' => self.emit(r"(?-u:\b)"),
            // Outside of ASCII both sides are no words, so no boundary is where the ASCII one is none.
            'B' => self.emit(r"(?-u:\B)"),
            'Q' => {
                let (quoted, after) = match self.rest().find(r"\E") {
                    Some(end) => (&self.rest()[..end], end + 2),
                    None => (self.rest(), self.rest().len()),
                };
                self.at += after;
                quoted.chars().for_each(|c| self.literal(c));
            }
            'd' | 'D' | 's' | 'S' | 'w' | 'W' => {
                let negated = if c.is_ascii_uppercase() { "^" } else { "" };
                let text = format!("[{negated}{}]", perl_class(c));
                self.emit(&text);
            }
            'p' | 'P' => {
                let text = self.property(start, c)?;
                self.emit(&text);
            }
            _ => {
                let c = self.escaped_char(start, c)?;
                self.literal(c);
            }
        }
        Ok(())
    }

    /// `\pN`, `\p{Greek}`, `\P{^Greek}`
    fn property(&mut self, start: usize, c: char) -> Translates<String> {
        let invalid = |this: &Self| {
            InvalidPattern(format!("invalid character class range: `{}`", &this.pattern[start..this.at]))
        };
        let name = match self.next() {
            Some('{') => {
                let Some(end) = self.rest().find('}') else {
                    self.at = self.pattern.len();
                    return Err(invalid(self));
                };
                let name = &self.rest()[..end];
                self.at += end + 1;
                name
            }
            Some(letter) => &self.pattern[self.at - letter.len_utf8()..self.at],
            None => return Err(invalid(self)),
        };
        let (name, negated) = match name.strip_prefix('^') {
            Some(name) => (name, c == 'p'),
            None => (name, c == 'P'),
        };
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b' ');
        // The engine also knows `IsGreek`.
        let is = name.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("is"));
        if name.is_empty() || !name.bytes().all(plain) || is {
            return Err(invalid(self));
        }
        let text = format!(r"\{}{{{name}}}", if negated { 'P' } else { 'p' });
        if regex_syntax::parse(&text).is_err() {
            return Err(invalid(self));
        }
        Ok(text)
    }

    /// A single character written as an escape.
    fn escaped_char(&mut self, start: usize, c: char) -> Translates<char> {
        let invalid = |this: &Self| {
            InvalidPattern(format!("invalid escape sequence: `{}`", &this.pattern[start..this.at]))
        };
        let is_octal = |c: Option<char>| c.is_some_and(|c| ('0'..='7').contains(&c));
        match c {
            'a' => Ok('\u{7}'),
            'f' => Ok('\u{c}'),
            'n' => Ok('\n'),
            'r' => Ok('\r'),
            't' => Ok('\t'),
            'v' => Ok('\u{b}'),
            // One digit alone would be a back reference, which RE2 has not.
            '1'..='7' if !is_octal(self.peek()) => Err(invalid(self)),
            '0'..='7' => {
                let mut code = c.to_digit(8).unwrap_or(0);
                for _ in 0..2 {
                    if is_octal(self.peek()) {
                        code = code * 8 + self.next().and_then(|c| c.to_digit(8)).unwrap_or(0);
                    }
                }
                char::from_u32(code).ok_or_else(|| invalid(self))
            }
            'x' => {
                let digits = if self.peek() == Some('{') {
                    let end = self.rest().find('}').ok_or_else(|| invalid(self))?;
                    let digits = &self.rest()[1..end];
                    self.at += end + 1;
                    digits
                } else {
                    let digits = self.rest().get(..2).ok_or_else(|| invalid(self))?;
                    self.at += 2;
                    digits
                };
                let hex = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit());
                let code = if hex { u32::from_str_radix(digits, 16).ok() } else { None };
                code.and_then(char::from_u32).ok_or_else(|| invalid(self))
            }
            c if c.is_ascii() && !c.is_ascii_alphanumeric() => Ok(c),
            _ => Err(invalid(self)),
        }
    }

    // Classes.

    fn class(&mut self) -> Translates {
        let start = self.at - 1;
        let missing = || InvalidPattern(format!("missing closing ]: `{}`", &self.pattern[start..]));
        let missing_error = missing();
        let mut class = String::from("[");
        if self.peek() == Some('^') {
            self.next();
            class.push('^');
        }
        let mut first = true;
        loop {
            let item = self.at;
            let Some(c) = self.next() else { return Err(missing_error) };
            if c == ']' && !first {
                break;
            }
            first = false;
            if c == '['
                && self.rest().starts_with(':')
                && let Some(end) = self.rest().find(":]")
            {
                let name = &self.rest()[1..end];
                if !is_posix_class(name.strip_prefix('^').unwrap_or(name)) {
                    let shown = &self.pattern[item..self.at + end + 2];
                    return Err(InvalidPattern(format!("invalid character class range: `{shown}`")));
                }
                class.push_str(&format!("[:{name}:]"));
                self.at += end + 2;
                continue;
            }
            if c == '\\' {
                match self.peek() {
                    Some(perl @ ('d' | 's' | 'w')) => {
                        self.next();
                        class.push_str(perl_class(perl));
                        continue;
                    }
                    Some(perl @ ('D' | 'S' | 'W')) => {
                        self.next();
                        class.push_str(&format!("[^{}]", perl_class(perl)));
                        continue;
                    }
                    Some(property @ ('p' | 'P')) => {
                        self.next();
                        class.push_str(&self.property(item, property)?);
                        continue;
                    }
                    _ => {}
                }
            }
            let low = self.class_char(item, c, &missing_error)?;
            push_class_char(&mut class, low);
            let mut following = self.rest().chars();
            if (following.next(), following.next()) != (Some('-'), Some(']')) && self.peek() == Some('-') {
                self.next();
                let Some(c) = self.next() else { return Err(missing_error) };
                let high = self.class_char(self.at - c.len_utf8(), c, &missing_error)?;
                if high < low {
                    let shown = &self.pattern[item..self.at];
                    return Err(InvalidPattern(format!("invalid character class range: `{shown}`")));
                }
                class.push('-');
                push_class_char(&mut class, high);
            }
        }
        class.push(']');
        self.emit(&class);
        Ok(())
    }

    fn class_char(&mut self, start: usize, c: char, missing: &InvalidPattern) -> Translates<char> {
        if c != '\\' {
            return Ok(c);
        }
        let c = self.next().ok_or_else(|| missing.clone())?;
        self.escaped_char(start, c)
    }
}

/// Every character of a class is escaped that could mean something to the engine.
fn push_class_char(class: &mut String, c: char) {
    if c.is_ascii_punctuation() {
        class.push('\\');
    }
    class.push(c);
}

/// What `\d`, `\s`, `\w` (or their negations, negated) hold.
fn perl_class(c: char) -> &'static str {
    match c.to_ascii_lowercase() {
        'd' => "0-9",
        's' => r"\t\n\f\r ",
        _ => "0-9A-Za-z_",
    }
}

fn is_posix_class(name: &str) -> bool {
    const NAMES: [&str; 14] = [
        "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space",
        "upper", "word", "xdigit",
    ];
    NAMES.contains(&name)
}

#[cfg(test)]
mod tests;
