//! Label matchers: `=`, `!=`, `=~`, `!~`. A label that a series does not have counts as empty.

use std::fmt;

use crate::re2;

/// How a matcher compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`, anchored at both ends
    Regex,
    /// `!~`, anchored at both ends
    NotRegex,
}

impl MatchOp {
    /// As written in a selector.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Regex => "=~",
            Self::NotRegex => "!~",
        }
    }
}

/// One condition on one label.
#[derive(Clone, Debug)]
pub struct Matcher {
    /// The label.
    pub name: String,
    /// How it is compared.
    pub op: MatchOp,
    /// With what: a literal, or the pattern as the user wrote it.
    pub value: String,
    regex: Option<re2::Anchored>,
}

/// All must hold.
pub type Matchers = Vec<Matcher>;

impl Matcher {
    /// Builds a matcher; a pattern is translated from Go's RE2 syntax and compiled with a size limit.
    pub fn new(name: &str, op: MatchOp, value: &str) -> Result<Self, re2::InvalidPattern> {
        let regex = match op {
            MatchOp::Regex | MatchOp::NotRegex => Some(re2::Anchored::new(value)?),
            MatchOp::Equal | MatchOp::NotEqual => None,
        };
        Ok(Self { name: name.to_owned(), op, value: value.to_owned(), regex })
    }

    /// Bytes that the compiled pattern takes at most; a query's may take [`re2::PROGRAMS_BYTES_MAX`] together.
    pub fn program_bytes(&self) -> usize {
        self.regex.as_ref().map_or(0, re2::Anchored::program_bytes)
    }

    /// Whether a label with this value (empty: the label is absent) satisfies the condition.
    pub fn matches(&self, value: &str) -> bool {
        match (self.op, &self.regex) {
            (MatchOp::Equal, _) => value == self.value,
            (MatchOp::NotEqual, _) => value != self.value,
            (MatchOp::Regex, Some(regex)) => regex.is_match(value),
            (MatchOp::NotRegex, Some(regex)) => !regex.is_match(value),
            (MatchOp::Regex | MatchOp::NotRegex, None) => unreachable!("new() compiles every pattern"),
        }
    }

    /// Whether a series without the label satisfies the condition: such a matcher cannot narrow a selection alone.
    pub fn matches_empty(&self) -> bool {
        self.matches("")
    }

    /// The only values that can match, when the pattern is a plain alternation of literals (or the matcher is `=`).
    /// Lets an index look values up in place of testing each one. Never given for negative matchers.
    pub fn literals(&self) -> Option<Vec<String>> {
        match self.op {
            MatchOp::Equal => Some(vec![self.value.clone()]),
            MatchOp::Regex => self.regex.as_ref().and_then(|r| r.literals().map(<[String]>::to_vec)),
            MatchOp::NotEqual | MatchOp::NotRegex => None,
        }
    }

    /// A literal that every matching value begins with; empty when there is none.
    pub fn prefix(&self) -> &str {
        match (self.op, &self.regex) {
            (MatchOp::Equal, _) => &self.value,
            (MatchOp::Regex, Some(regex)) => regex.prefix(),
            _ => "",
        }
    }
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, self.op, &self.value) == (&other.name, other.op, &other.value)
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if crate::labels::is_legacy_name(&self.name) {
            write!(f, "{}{}{:?}", self.name, self.op.as_str(), self.value)
        } else {
            write!(f, "{:?}{}{:?}", self.name, self.op.as_str(), self.value)
        }
    }
}
