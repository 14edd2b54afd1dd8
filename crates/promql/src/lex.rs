//! Text to tokens.
//!
//! The language is read in three moods: plain, inside braces (where keywords are label names) and inside brackets
//! (where only durations and their arithmetic may stand). The mood depends on the text alone, so the whole query is
//! lexed before it is parsed. The first character that fits nowhere becomes an error token, which ends the list; the
//! parser reports it only when it gets that far.

use crate::ast::{AggregateOp, BinaryOp, Span};
use crate::text::{quoted, quoted_char};

/// A word or sign.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Token {
    End,
    Error,
    LeftParen,
    RightParen,
    LeftBrace,
    RightBrace,
    LeftBracket,
    RightBracket,
    Comma,
    Colon,
    At,
    Equal,
    RegexMatch,
    RegexNoMatch,
    Operator(BinaryOp),
    Aggregate(AggregateOp),
    Keyword(Keyword),
    Preprocessor(Preprocessor),
    Identifier,
    MetricIdentifier,
    Number,
    Duration,
    String,
}

/// Words with a meaning of their own, outside of braces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keyword {
    Bool,
    By,
    Without,
    On,
    Ignoring,
    GroupLeft,
    GroupRight,
    Fill,
    FillLeft,
    FillRight,
    Offset,
    Anchored,
    Smoothed,
}

/// The keywords as they are written.
pub(crate) const KEYWORDS: [(&str, Keyword); 13] = [
    ("bool", Keyword::Bool),
    ("by", Keyword::By),
    ("without", Keyword::Without),
    ("on", Keyword::On),
    ("ignoring", Keyword::Ignoring),
    ("group_left", Keyword::GroupLeft),
    ("group_right", Keyword::GroupRight),
    ("fill", Keyword::Fill),
    ("fill_left", Keyword::FillLeft),
    ("fill_right", Keyword::FillRight),
    ("offset", Keyword::Offset),
    ("anchored", Keyword::Anchored),
    ("smoothed", Keyword::Smoothed),
];

/// Words that are functions, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Preprocessor {
    Start,
    End,
    Step,
    Range,
    MaxOf,
    MinOf,
}

/// A token and where it stands; the text of an error token is in [`Lexed::error`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Item {
    pub(crate) token: Token,
    pub(crate) span: Span,
}

/// All tokens of a query; the last is `End` or `Error`.
pub(crate) struct Lexed {
    pub(crate) items: Vec<Item>,
    pub(crate) error: String,
}

/// Splits a query into tokens.
pub(crate) fn lex(text: &str) -> Lexed {
    let mut lexer = Lexer { text, at: 0, start: 0, items: Vec::new(), mood: Mood::default() };
    let error = lexer.run().err().unwrap_or_default();
    if !error.is_empty() {
        let span = Span { start: lexer.start, end: text.len() };
        lexer.items.push(Item { token: Token::Error, span });
    }
    Lexed { items: lexer.items, error }
}

#[derive(Default)]
struct Mood {
    parens: usize,
    braces: bool,
    brackets: bool,
    colon: bool,
    /// Some brackets of the query began with a number. Upstream takes a colon behind `step()` and the like only then.
    duration: bool,
    /// A number stood within the brackets: from there on upstream's errors are those of other text.
    number: bool,
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    start: usize,
    items: Vec<Item>,
    mood: Mood,
}

type Lexes<T = ()> = Result<T, String>;

impl Lexer<'_> {
    fn run(&mut self) -> Lexes {
        loop {
            self.skip_blanks();
            self.start = self.at;
            let Some(c) = self.next() else { return self.end() };
            if self.mood.braces {
                self.in_braces(c)?;
            } else if self.mood.brackets {
                self.in_brackets(c)?;
            } else {
                self.plain(c)?;
            }
        }
    }

    fn end(&mut self) -> Lexes {
        if self.mood.braces {
            return Err("unexpected end of input inside braces".into());
        }
        if self.mood.brackets && !self.mood.number {
            return Err("unexpected end of input in duration expression".into());
        }
        if self.mood.parens > 0 {
            return Err("unclosed left parenthesis".into());
        }
        if self.mood.brackets {
            return Err("unclosed left bracket".into());
        }
        self.emit(Token::End);
        Ok(())
    }

    fn skip_blanks(&mut self) {
        while let Some(c) = self.peek() {
            match c {
                ' ' | '\t' | '\n' | '\r' => self.at += 1,
                // Within brackets a comment is an error, as any other sign.
                '#' if !self.mood.brackets => {
                    let rest = &self.text[self.at..];
                    self.at += rest.find(['\n', '\r']).unwrap_or(rest.len());
                }
                _ => return,
            }
        }
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn accept(&mut self, set: &str) -> bool {
        let found = self.peek().is_some_and(|c| set.contains(c));
        if found {
            self.next();
        }
        found
    }

    fn emit(&mut self, token: Token) {
        self.items.push(Item { token, span: Span { start: self.start, end: self.at } });
    }

    fn word(&self) -> &str {
        &self.text[self.start..self.at]
    }

    fn plain(&mut self, c: char) -> Lexes {
        use BinaryOp::{Add, Div, Eq, Ge, Gt, Le, Lt, Mod, Mul, Ne, Pow, Sub, TrimLower, TrimUpper};
        let token = match c {
            ',' => Token::Comma,
            '*' => Token::Operator(Mul),
            '/' => Token::Operator(Div),
            '%' => Token::Operator(Mod),
            '+' => Token::Operator(Add),
            '-' => Token::Operator(Sub),
            '^' => Token::Operator(Pow),
            '@' => Token::At,
            '=' => match self.peek() {
                Some('=') => self.then(Token::Operator(Eq)),
                Some('~') => return Err("unexpected character after '=': '~'".into()),
                _ => Token::Equal,
            },
            '!' => match self.next() {
                Some('=') => Token::Operator(Ne),
                other => return Err(format!("unexpected character after '!': {}", rune(other))),
            },
            '<' => match self.peek() {
                Some('=') => self.then(Token::Operator(Le)),
                Some('/') => self.then(Token::Operator(TrimUpper)),
                _ => Token::Operator(Lt),
            },
            '>' => match self.peek() {
                Some('=') => self.then(Token::Operator(Ge)),
                Some('/') => self.then(Token::Operator(TrimLower)),
                _ => Token::Operator(Gt),
            },
            '(' => {
                self.mood.parens += 1;
                Token::LeftParen
            }
            ')' => return self.right_paren(),
            '{' => {
                self.mood.braces = true;
                Token::LeftBrace
            }
            '[' => {
                let mood = std::mem::take(&mut self.mood);
                self.mood = Mood { brackets: true, colon: false, number: false, ..mood };
                Token::LeftBracket
            }
            ']' => return Err("unexpected right bracket ']'".into()),
            '"' | '\'' => return self.string(c),
            '`' => return self.raw_string(),
            '0'..='9' => return self.number_or_duration(),
            '.' if self.peek().is_some_and(|c| c.is_ascii_digit()) => return self.number_or_duration(),
            c if is_alpha(c) || c == ':' => {
                self.keyword_or_identifier();
                return Ok(());
            }
            c => return Err(format!("unexpected character: {}", quoted_char(c))),
        };
        self.emit(token);
        Ok(())
    }

    fn then(&mut self, token: Token) -> Token {
        self.next();
        token
    }

    fn right_paren(&mut self) -> Lexes {
        match self.mood.parens.checked_sub(1) {
            Some(parens) => self.mood.parens = parens,
            None => return self.error_behind("unexpected right parenthesis ')'"),
        }
        self.emit(Token::RightParen);
        Ok(())
    }

    /// An error about the sign just read; upstream places it behind that sign.
    fn error_behind(&mut self, message: &str) -> Lexes {
        self.start = self.at;
        Err(message.into())
    }

    fn in_braces(&mut self, c: char) -> Lexes {
        let token = match c {
            ',' => Token::Comma,
            '}' => {
                self.mood.braces = false;
                Token::RightBrace
            }
            '=' if self.accept("~") => Token::RegexMatch,
            '=' => Token::Equal,
            '!' => match self.next() {
                Some('~') => Token::RegexNoMatch,
                Some('=') => Token::Operator(BinaryOp::Ne),
                other => {
                    return Err(format!("unexpected character after '!' inside braces: {}", rune(other)));
                }
            },
            '{' => return Err("unexpected left brace '{'".into()),
            '"' | '\'' => return self.string(c),
            '`' => return self.raw_string(),
            c if is_alpha(c) => {
                self.identifier();
                Token::Identifier
            }
            c => return Err(format!("unexpected character inside braces: {}", quoted_char(c))),
        };
        self.emit(token);
        Ok(())
    }

    fn in_brackets(&mut self, c: char) -> Lexes {
        use BinaryOp::{Add, Div, Mod, Mul, Pow, Sub};
        let token = match c {
            ']' => {
                self.mood.brackets = false;
                Token::RightBracket
            }
            ':' => {
                if !self.mood.duration {
                    return self.error_behind("unexpected colon before duration in duration expression");
                }
                if self.mood.colon && self.mood.number {
                    return Err("unexpected colon ':'".into());
                }
                if std::mem::replace(&mut self.mood.colon, true) {
                    return self.error_behind("unexpected repeated colon in duration expression");
                }
                self.emit(Token::Colon);
                return Ok(());
            }
            '(' => {
                self.mood.parens += 1;
                Token::LeftParen
            }
            ')' => return self.right_paren(),
            '+' => Token::Operator(Add),
            '-' => Token::Operator(Sub),
            '*' => Token::Operator(Mul),
            '/' => Token::Operator(Div),
            '%' => Token::Operator(Mod),
            '^' => Token::Operator(Pow),
            ',' => Token::Comma,
            '0'..='9' => return self.number_in_brackets(),
            '.' if self.peek().is_some_and(|c| c.is_ascii_digit()) => return self.number_in_brackets(),
            c if is_alpha(c) => {
                while self.peek().is_some_and(is_alpha) {
                    self.next();
                }
                match duration_word(&self.word().to_ascii_lowercase()) {
                    Some(word) => Token::Preprocessor(word),
                    None if self.mood.number => {
                        return Err(format!("unexpected character: {}, expected ':'", quoted_char(c)));
                    }
                    None => {
                        return Err(format!(
                            "unexpected character in duration expression: {}",
                            quoted_char(c)
                        ));
                    }
                }
            }
            c => return Err(format!("unexpected character in duration expression: {}", quoted_char(c))),
        };
        self.emit(token);
        Ok(())
    }

    fn identifier(&mut self) {
        while self.peek().is_some_and(is_alphanumeric) {
            self.next();
        }
    }

    fn keyword_or_identifier(&mut self) {
        while self.peek().is_some_and(|c| is_alphanumeric(c) || c == ':') {
            self.next();
        }
        let word = self.word();
        let token = match keyword(&word.to_ascii_lowercase()) {
            // These came late to the language, so they stay usable as metric names.
            Some(Token::Keyword(Keyword::Fill | Keyword::FillLeft | Keyword::FillRight))
                if !self.text[self.at..].trim_start_matches([' ', '\t', '\n', '\r']).starts_with('(') =>
            {
                Token::Identifier
            }
            Some(token) => token,
            None if word.contains(':') => Token::MetricIdentifier,
            None => Token::Identifier,
        };
        self.emit(token);
    }

    fn string(&mut self, quote: char) -> Lexes {
        loop {
            match self.next() {
                Some('\\') => self.escape(quote)?,
                None | Some('\n') => return Err("unterminated quoted string".into()),
                Some(c) if c == quote => break,
                Some(_) => {}
            }
        }
        self.emit(Token::String);
        Ok(())
    }

    fn escape(&mut self, quote: char) -> Lexes {
        let (digits, base, limit) = match self.next() {
            Some('a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '\\') => return Ok(()),
            Some(c) if c == quote => return Ok(()),
            Some('0'..='7') => {
                self.at -= 1;
                (3, 8, 255)
            }
            Some('x') => (2, 16, 255),
            Some('u') => (4, 16, 0x10ffff),
            Some('U') => (8, 16, 0x10ffff),
            None => return Err("escape sequence not terminated".into()),
            Some(c) => return Err(format!("unknown escape sequence {}", code_point(c))),
        };
        let mut value: u32 = 0;
        for _ in 0..digits {
            let c = self.next().ok_or("escape sequence not terminated")?;
            let digit = c
                .to_digit(base)
                .ok_or_else(|| format!("illegal character {} in escape sequence", code_point(c)))?;
            value = value.wrapping_mul(base).wrapping_add(digit);
        }
        if value > limit || (0xd800..0xe000).contains(&value) {
            return Err("escape sequence is an invalid Unicode code point".into());
        }
        Ok(())
    }

    fn raw_string(&mut self) -> Lexes {
        let rest = &self.text[self.at..];
        self.at += rest.find('`').ok_or("unterminated raw string")? + 1;
        self.emit(Token::String);
        Ok(())
    }

    fn number_in_brackets(&mut self) -> Lexes {
        (self.mood.duration, self.mood.number) = (true, true);
        self.number_or_duration()
    }

    fn number_or_duration(&mut self) -> Lexes {
        self.at = self.start;
        if self.scan_number() {
            self.emit(Token::Number);
            return Ok(());
        }
        if self.scan_duration_rest() {
            self.emit(Token::Duration);
            return Ok(());
        }
        Err(format!("bad number or duration syntax: {}", quoted(self.word())))
    }

    /// What may follow the first digits of a duration: a unit, then digits and units in turn.
    fn scan_duration_rest(&mut self) -> bool {
        if !self.accept("smhdwy") {
            return false;
        }
        self.accept("s");
        while self.accept("0123456789") {
            while self.accept("0123456789") {}
            if !self.accept("smhdw") {
                return false;
            }
            self.accept("s");
        }
        let ends = !self.peek().is_some_and(is_alphanumeric);
        if !ends {
            // Belongs to what is shown as wrong.
            self.next();
        }
        ends
    }

    /// Scans what looks like a number; whether it is one is decided when it is read.
    fn scan_number(&mut self) -> bool {
        let mut digits = "0123456789";
        if self.accept("0") && self.accept("xX") {
            self.accept("_");
            digits = "0123456789abcdefABCDEF";
        }
        self.accept(".");
        self.accept(digits);
        let (mut dot, mut exponent) = (false, false);
        while let Some(c) = self.peek() {
            if digits.contains(c) && !(matches!(c, 'e' | 'E') && digits.len() == 10) {
                self.next();
                // In hexadecimal, `e` is a digit, yet only one may stand on its own as upstream reads it.
                continue;
            }
            match c {
                '.' if dot => {
                    self.next();
                    return false;
                }
                '.' => {
                    self.next();
                    dot = true;
                    if self.accept("_.") || digits.len() > 10 {
                        return false;
                    }
                }
                'e' | 'E' if exponent => {
                    self.next();
                    return false;
                }
                'e' | 'E' => {
                    self.next();
                    exponent = true;
                    self.accept("+-");
                    if self.accept("._eE") || self.peek().is_none() {
                        return false;
                    }
                }
                '_' => {
                    self.next();
                    if self.accept("._eE") || self.peek().is_none() {
                        return false;
                    }
                }
                _ => break,
            }
        }
        self.at > self.start && !self.peek().is_some_and(is_alphanumeric)
    }
}

fn rune(c: Option<char>) -> String {
    c.map_or_else(|| "'�'".to_owned(), quoted_char)
}

/// As Go's `%#U`.
fn code_point(c: char) -> String {
    if c.is_control() { format!("U+{:04X}", c as u32) } else { format!("U+{:04X} '{c}'", c as u32) }
}

fn is_alpha(c: char) -> bool {
    c == '_' || c.is_ascii_alphabetic()
}

fn is_alphanumeric(c: char) -> bool {
    is_alpha(c) || c.is_ascii_digit()
}

fn duration_word(word: &str) -> Option<Preprocessor> {
    match keyword(word) {
        Some(Token::Preprocessor(p)) if !matches!(p, Preprocessor::Start | Preprocessor::End) => Some(p),
        _ => None,
    }
}

fn keyword(word: &str) -> Option<Token> {
    use Preprocessor as P;
    Some(match word {
        "and" => Token::Operator(BinaryOp::And),
        "or" => Token::Operator(BinaryOp::Or),
        "unless" => Token::Operator(BinaryOp::Unless),
        "atan2" => Token::Operator(BinaryOp::Atan2),
        "start" => Token::Preprocessor(P::Start),
        "end" => Token::Preprocessor(P::End),
        "step" => Token::Preprocessor(P::Step),
        "range" => Token::Preprocessor(P::Range),
        "max_of" => Token::Preprocessor(P::MaxOf),
        "min_of" => Token::Preprocessor(P::MinOf),
        "inf" | "nan" => Token::Number,
        word => match KEYWORDS.iter().find(|(known, _)| *known == word) {
            Some((_, keyword)) => Token::Keyword(*keyword),
            None => Token::Aggregate(AggregateOp::from_name(word)?),
        },
    })
}
