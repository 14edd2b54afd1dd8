//! The `regex` of a rule: anchored at both ends, `(.*)` unless it is set.

use std::borrow::Cow;

use super::template::Template;
use crate::re2::{self, InvalidPattern};

/// A compiled pattern and whatever it takes to answer from it.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    text: String,
    anchored: re2::Anchored,
    /// Only where a template asks what groups matched.
    captures: Option<regex::Regex>,
}

/// The pattern of a rule that says none: anything, which is its first group.
pub(super) const ANYTHING: &str = "(.*)";

impl Pattern {
    /// Compiles a pattern written for Go. The templates say whether groups will be asked for.
    pub(super) fn new(text: &str, templates: &[&Template]) -> Result<Self, InvalidPattern> {
        let anchored = re2::Anchored::new(text)?;
        let constant = |template: &&Template| template.constant().is_some();
        let captures = if text == ANYTHING || templates.iter().all(constant) {
            None
        } else {
            Some(re2::capturing(text)?.0)
        };
        Ok(Self { text: text.to_owned(), anchored, captures })
    }

    /// Whether the whole of `value` matches.
    pub(super) fn is_match(&self, value: &str) -> bool {
        self.anchored.is_match(value)
    }

    /// What each template gives for `value`; `None` when it does not match.
    pub(super) fn expand<'t, const N: usize>(
        &self,
        value: &str,
        templates: [&'t Template; N],
    ) -> Option<[Cow<'t, str>; N]> {
        let Some(regex) = &self.captures else {
            // Without captures all templates are constant, or the whole is the first group.
            return self.is_match(value).then(|| {
                templates.map(|template| match template.constant() {
                    Some(text) => Cow::Borrowed(text),
                    None if template.is_number(1) => Cow::Owned(value.to_owned()),
                    None => {
                        Cow::Owned(template.expand(|number| (number <= 1).then_some(value), |_| None::<&str>))
                    }
                })
            });
        };
        if !value.starts_with(self.anchored.prefix()) {
            return None;
        }
        let found = regex.captures(value)?;
        Some(templates.map(|template| match template.constant() {
            Some(text) => Cow::Borrowed(text),
            None => Cow::Owned(template.expand(
                |number| found.get(number).map(|group| group.as_str()),
                |name| found.name(name).map(|group| group.as_str()),
            )),
        }))
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}
