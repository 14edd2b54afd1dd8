//! Labels that are being rewritten: sorted by name, names unique, no empty value.

use std::borrow::Cow;
use std::fmt;

/// A set of labels, borrowed where it can be. To set a label to nothing is to remove it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct LabelSet<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> LabelSet<'a> {
    /// No labels.
    pub fn new() -> Self {
        Self::default()
    }

    /// The value of the label `name`; empty when there is none.
    pub fn get(&self, name: &str) -> &str {
        self.place(name).map_or("", |at| &self.0[at].1)
    }

    /// Whether there is a label `name`.
    pub fn has(&self, name: &str) -> bool {
        self.place(name).is_ok()
    }

    /// Sets the label `name`, or removes it when `value` is empty.
    pub fn set(&mut self, name: impl Into<Cow<'a, str>>, value: impl Into<Cow<'a, str>>) {
        let (name, value) = (name.into(), value.into());
        match self.place(&name) {
            Ok(at) if value.is_empty() => {
                self.0.remove(at);
            }
            Ok(at) => self.0[at].1 = value,
            Err(_) if value.is_empty() => {}
            Err(at) => self.0.insert(at, (name, value)),
        }
    }

    /// Removes the label `name`.
    pub fn remove(&mut self, name: &str) {
        if let Ok(at) = self.place(name) {
            self.0.remove(at);
        }
    }

    /// Keeps the labels for which `keep` is true.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &str) -> bool) {
        self.0.retain(|(name, value)| keep(name, value));
    }

    /// The labels in order of their names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// How many labels there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no label at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Where the label is, or would be.
    fn place(&self, name: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(other, _)| (**other).cmp(name))
    }

    /// A value with the lifetime of the set: borrowed again where it was borrowed.
    pub(super) fn value(&self, name: &str) -> Cow<'a, str> {
        self.place(name).map_or(Cow::Borrowed(""), |at| self.0[at].1.clone())
    }

    /// Labels whose names `chosen` gives a new one, with it.
    pub(super) fn renamed(&self, chosen: impl Fn(&str) -> Option<String>) -> Vec<(String, Cow<'a, str>)> {
        self.0.iter().filter_map(|(name, value)| Some((chosen(name)?, value.clone()))).collect()
    }
}

/// Of equal names the last one counts.
impl<'a, N: Into<Cow<'a, str>>, V: Into<Cow<'a, str>>> FromIterator<(N, V)> for LabelSet<'a> {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let mut set = Self::new();
        set.extend(pairs);
        set
    }
}

impl<'a, N: Into<Cow<'a, str>>, V: Into<Cow<'a, str>>> Extend<(N, V)> for LabelSet<'a> {
    fn extend<I: IntoIterator<Item = (N, V)>>(&mut self, pairs: I) {
        for (name, value) in pairs {
            let (name, value) = (name.into(), value.into());
            // Labels mostly come in order.
            match self.0.last() {
                Some((last, _)) if **last >= *name => self.set(name, value),
                _ if value.is_empty() => {}
                _ => self.0.push((name, value)),
            }
        }
    }
}

impl fmt::Debug for LabelSet<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<'a> IntoIterator for LabelSet<'a> {
    type Item = (Cow<'a, str>, Cow<'a, str>);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    /// The labels in order of their names.
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}
