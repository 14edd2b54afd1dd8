//! One rule: what it is made of, what makes it invalid, and what it does.

use std::borrow::Cow;

use md5::{Digest, Md5};

use super::Verdict;
use super::case;
use super::pattern::{self, Pattern};
use super::set::LabelSet;
use super::template::Template;
use crate::labels::{is_legacy_name, truncated};
use crate::re2::InvalidPattern;

/// What a rule does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Action {
    /// Sets a label to what the replacement gives, when the pattern matches.
    #[default]
    Replace,
    /// Drops what does not match.
    Keep,
    /// Drops what matches.
    Drop,
    /// Drops unless the source equals the target label.
    KeepEqual,
    /// Drops when the source equals the target label.
    DropEqual,
    /// Sets a label to a hash of the source, modulo a number.
    HashMod,
    /// Copies labels whose names match to the names that the replacement gives.
    LabelMap,
    /// Removes labels whose names match.
    LabelDrop,
    /// Removes labels whose names do not match.
    LabelKeep,
    /// Sets a label to the source in lower case.
    Lowercase,
    /// Sets a label to the source in upper case.
    Uppercase,
}

impl Action {
    /// Every action.
    pub const ALL: [Action; 11] = [
        Self::Replace,
        Self::Keep,
        Self::Drop,
        Self::KeepEqual,
        Self::DropEqual,
        Self::HashMod,
        Self::LabelMap,
        Self::LabelDrop,
        Self::LabelKeep,
        Self::Lowercase,
        Self::Uppercase,
    ];

    /// Its name in Prometheus' configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Replace => "replace",
            Self::Keep => "keep",
            Self::Drop => "drop",
            Self::KeepEqual => "keepequal",
            Self::DropEqual => "dropequal",
            Self::HashMod => "hashmod",
            Self::LabelMap => "labelmap",
            Self::LabelDrop => "labeldrop",
            Self::LabelKeep => "labelkeep",
            Self::Lowercase => "lowercase",
            Self::Uppercase => "uppercase",
        }
    }

    /// The action of this name; case does not matter.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.as_str().eq_ignore_ascii_case(name))
    }
}

/// Which names labels may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Names {
    /// Any text but the empty one.
    #[default]
    Utf8,
    /// `[a-zA-Z_][a-zA-Z0-9_]*`
    Legacy,
}

impl Names {
    /// Whether a label may have this name.
    pub fn allow(self, name: &str) -> bool {
        match self {
            Self::Utf8 => !name.is_empty(),
            Self::Legacy => is_legacy_name(name),
        }
    }
}

/// A rule as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
    /// Labels whose values are joined into the source.
    pub source_labels: Vec<String>,
    /// What stands between them.
    pub separator: String,
    /// Go's syntax; the whole source (or name) must match.
    pub regex: String,
    /// For `hashmod`.
    pub modulus: u64,
    /// The label that is set, or compared with.
    pub target_label: String,
    /// What it is set to; `$1` and `${name}` are what groups matched.
    pub replacement: String,
    /// What is done.
    pub action: Action,
}

impl Default for Parts {
    fn default() -> Self {
        Self {
            source_labels: Vec::new(),
            separator: ";".to_owned(),
            regex: pattern::ANYTHING.to_owned(),
            modulus: 0,
            target_label: String::new(),
            replacement: "$1".to_owned(),
            action: Action::Replace,
        }
    }
}

/// Why a rule means nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRule {
    /// Occurs when `hashmod` has nothing to divide by.
    #[error("hashmod needs a modulus above 0")]
    NoModulus,
    /// Occurs when an action that sets or compares a label names none.
    #[error("{0} needs a target_label")]
    NoTarget(&'static str),
    /// Occurs when the target label can be no label's name.
    #[error("{name:?} is no valid target_label for {action}")]
    Target {
        /// What was written.
        name: String,
        /// The action.
        action: &'static str,
    },
    /// Occurs when the replacement of `labelmap` can give no label's name.
    #[error("{0:?} is no valid replacement for labelmap")]
    Replacement(String),
    /// Occurs when a key is set that the action has no use for.
    #[error("{action} has no use for {key}")]
    Unused {
        /// The key.
        key: &'static str,
        /// The action.
        action: &'static str,
    },
    /// Occurs when the pattern is not valid.
    #[error("regex: {0}")]
    Pattern(#[from] InvalidPattern),
}

/// A rule that is valid.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    source_labels: Vec<String>,
    separator: String,
    pattern: Pattern,
    modulus: u64,
    target: Template,
    replacement: Template,
    action: Action,
    names: Names,
}

impl Rule {
    /// Checks what was written, by the rules by which Prometheus does.
    pub fn new(parts: Parts, names: Names) -> Result<Self, InvalidRule> {
        check(&parts, names)?;
        let target = Template::new(&parts.target_label);
        let replacement = Template::new(&parts.replacement);
        let pattern = match parts.action {
            Action::Replace => Pattern::new(&parts.regex, &[&target, &replacement])?,
            Action::LabelMap => Pattern::new(&parts.regex, &[&replacement])?,
            _ => Pattern::new(&parts.regex, &[])?,
        };
        Ok(Self {
            source_labels: parts.source_labels,
            separator: parts.separator,
            pattern,
            modulus: parts.modulus,
            target,
            replacement,
            action: parts.action,
            names,
        })
    }

    /// Does to `labels` what the rule says.
    pub fn apply(&self, labels: &mut LabelSet<'_>) -> Verdict {
        let dropped_if = |dropped: bool| if dropped { Verdict::Dropped } else { Verdict::Kept };
        match self.action {
            Action::Keep => return dropped_if(!self.pattern.is_match(&self.source(labels))),
            Action::Drop => return dropped_if(self.pattern.is_match(&self.source(labels))),
            Action::KeepEqual => return dropped_if(labels.get(self.target.as_str()) != self.source(labels)),
            Action::DropEqual => return dropped_if(labels.get(self.target.as_str()) == self.source(labels)),
            Action::Replace => self.replace(labels),
            Action::HashMod => {
                let number = hash(&self.source(labels)) % self.modulus;
                self.set(labels, number.to_string());
            }
            Action::Lowercase => self.set(labels, case::lower(&self.source(labels))),
            Action::Uppercase => self.set(labels, case::upper(&self.source(labels))),
            Action::LabelMap => {
                let renamed = |name: &str| {
                    let [name] = self.pattern.expand(name, [&self.replacement])?;
                    (!name.is_empty()).then(|| name.into_owned())
                };
                labels.renamed(renamed).into_iter().for_each(|(name, value)| labels.set(name, value));
            }
            Action::LabelDrop => labels.retain(|name, _| !self.pattern.is_match(name)),
            Action::LabelKeep => labels.retain(|name, _| self.pattern.is_match(name)),
        }
        Verdict::Kept
    }

    fn replace(&self, labels: &mut LabelSet<'_>) {
        let source = self.source(labels);
        let Some([target, value]) = self.pattern.expand(&source, [&self.target, &self.replacement]) else {
            return;
        };
        if !self.names.allow(&target) {
            return;
        }
        if value.is_empty() {
            labels.remove(&target);
        } else {
            labels.set(target.into_owned(), value.into_owned());
        }
    }

    fn set(&self, labels: &mut LabelSet<'_>, value: String) {
        labels.set(self.target.as_str().to_owned(), value);
    }

    /// The values of the source labels, joined.
    fn source<'a>(&self, labels: &LabelSet<'a>) -> Cow<'a, str> {
        match self.source_labels.as_slice() {
            [] => Cow::Borrowed(""),
            [name] => labels.value(name),
            names => {
                let values: Vec<&str> = names.iter().map(|name| labels.get(name)).collect();
                Cow::Owned(values.join(&self.separator))
            }
        }
    }
}

/// The last eight bytes of MD5: that is what Prometheus spreads targets by, and servers that share them must agree.
fn hash(text: &str) -> u64 {
    let digest = Md5::digest(text.as_bytes());
    digest[8..].iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn check(parts: &Parts, names: Names) -> Result<(), InvalidRule> {
    let action = parts.action.as_str();
    let standard = Parts::default();
    let unused = |keys: &[(&'static str, bool)]| match keys.iter().find(|(_, is_set)| *is_set) {
        Some((key, _)) => Err(InvalidRule::Unused { key, action }),
        None => Ok(()),
    };
    let target = Template::new(&parts.target_label);
    let may_name = |template: &Template| match names {
        Names::Utf8 => names.allow(template.as_str()),
        Names::Legacy => is_legacy_template(template.as_str()),
    };
    let separator = ("separator", parts.separator != standard.separator);
    let regex = ("regex", parts.regex != standard.regex);
    let modulus = ("modulus", parts.modulus != standard.modulus);
    let replacement = ("replacement", parts.replacement != standard.replacement);
    let valid = match parts.action {
        Action::Keep | Action::Drop => return Ok(()),
        Action::LabelDrop | Action::LabelKeep => {
            let source = ("source_labels", !parts.source_labels.is_empty());
            let target = ("target_label", !parts.target_label.is_empty());
            return unused(&[source, target, modulus, separator, replacement]);
        }
        Action::LabelMap => {
            let replacement = Template::new(&parts.replacement);
            let error = || InvalidRule::Replacement(truncated(&parts.replacement));
            return may_name(&replacement).then_some(()).ok_or_else(error);
        }
        Action::HashMod if parts.modulus == 0 => return Err(InvalidRule::NoModulus),
        _ if parts.target_label.is_empty() => return Err(InvalidRule::NoTarget(action)),
        Action::Replace if target.has_dollar() => may_name(&target),
        _ => names.allow(&parts.target_label),
    };
    if !valid {
        return Err(InvalidRule::Target { name: truncated(&parts.target_label), action });
    }
    match parts.action {
        Action::Lowercase | Action::Uppercase => unused(&[replacement]),
        Action::KeepEqual | Action::DropEqual => unused(&[regex, modulus, separator, replacement]),
        _ => Ok(()),
    }
}

/// Whether a template gives a legacy name for whatever its groups match that is one: `[a-zA-Z_]` or a group first, then
/// groups and the characters of a name.
fn is_legacy_template(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let mut rest = text;
    while let Some(first) = rest.bytes().next() {
        let group = rest.strip_prefix('$');
        rest = match group {
            Some(behind) => {
                let braced = behind.strip_prefix('{');
                let name = braced.unwrap_or(behind);
                let end = name.bytes().position(|b| !word(b)).unwrap_or(name.len());
                let behind = match braced {
                    Some(_) => name[end..].strip_prefix('}'),
                    None => Some(&name[end..]),
                };
                match behind {
                    Some(behind) if end > 0 => behind,
                    _ => return false,
                }
            }
            None if word(first) && !(rest.len() == text.len() && first.is_ascii_digit()) => &rest[1..],
            None => return false,
        };
    }
    !text.is_empty()
}
