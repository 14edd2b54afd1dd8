//! Label sets in their one canonical form.
//!
//! A label set is kept as a single string: for each label, sorted by name, two length digits, the name, two length
//! digits, the value. A length is written as two 7-bit ASCII bytes, so the whole stays valid UTF-8, is hashed, compared
//! and stored as it lies, and is read back without a copy or a second validation.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use crate::limits::LabelLimits;

/// The label that holds the metric's name.
pub const METRIC_NAME: &str = "__name__";

/// The longest name or value that the canonical form can hold, in bytes; tenant limits stay below it.
pub const LENGTH_MAX: usize = (1 << 14) - 1;

/// The most labels that a series can have; tenant limits stay below it.
pub const LABELS_MAX: usize = 1 << 12;

/// A series' identity: 128-bit keyed hash of tenant and canonical labels. The key belongs to the data directory, so
/// the id is the same in WAL, head and blocks and is meaningless elsewhere.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct SeriesId(pub u128);

/// An immutable label set: sorted by name, names unique, no empty value. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Labels(Arc<str>);

/// A label set whose canonical form somebody else holds.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct LabelsRef<'a>(&'a str);

/// Why a label list names no series.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// Occurs when no `__name__` label, or an empty one, is present.
    #[error("metric name is missing")]
    MissingName,
    /// Occurs when a label has an empty name and a value.
    #[error("label with an empty name")]
    EmptyLabelName,
    /// Occurs when one name stands twice in the list, even with equal values.
    #[error("duplicate label {0:?}")]
    Duplicate(String),
    /// Occurs when a name or value is not UTF-8.
    #[error("label name or value is not valid UTF-8")]
    NotUtf8,
    /// Occurs when the bytes that should hold the label list cannot be decoded.
    #[error("undecodable label list")]
    Undecodable,
    /// Occurs when the series has more labels than the tenant may use.
    #[error("{count} labels, the limit is {limit}")]
    TooMany {
        /// Labels found.
        count: usize,
        /// Labels allowed.
        limit: usize,
    },
    /// Occurs when a label name is longer than the tenant may use.
    #[error("label name of {length} bytes, the limit is {limit}")]
    NameTooLong {
        /// Bytes found.
        length: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// Occurs when a label value is longer than the tenant may use.
    #[error("value of label {name:?} has {length} bytes, the limit is {limit}")]
    ValueTooLong {
        /// The label.
        name: String,
        /// Bytes found.
        length: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// Occurs when all names and values together are longer than the tenant may use.
    #[error("labels of {length} bytes together, the limit is {limit}")]
    TooLong {
        /// Bytes found.
        length: usize,
        /// Bytes allowed.
        limit: usize,
    },
}

impl Default for Labels {
    fn default() -> Self {
        Labels(Arc::from(""))
    }
}

impl Labels {
    /// Canonicalises a label list: drops empty values, sorts `pairs` by name, refuses repeats and whatever is over
    /// `limits`. A metric name is required.
    pub fn canonical(pairs: &mut Vec<(&str, &str)>, limits: &LabelLimits) -> Result<Labels, LabelError> {
        settle(pairs, limits)?;
        if !pairs.iter().any(|(name, _)| *name == METRIC_NAME) {
            return Err(LabelError::MissingName);
        }
        Ok(Self::from_sorted(pairs))
    }

    /// As [`Labels::canonical`], of a stream of log lines: it needs no metric name, and may have no label at all.
    pub fn of_stream(pairs: &mut Vec<(&str, &str)>, limits: &LabelLimits) -> Result<Labels, LabelError> {
        settle(pairs, limits)?;
        Ok(Self::from_sorted(pairs))
    }

    /// Builds a label set from any pairs, for results of queries: sorts, drops empty values, the last of equal names
    /// wins. Names and values longer than [`LENGTH_MAX`] are cut there.
    pub fn from_pairs<N: AsRef<str>, V: AsRef<str>>(pairs: impl IntoIterator<Item = (N, V)>) -> Labels {
        let owned: Vec<(N, V)> = pairs.into_iter().collect();
        let mut sorted: Vec<(&str, &str)> =
            owned.iter().map(|(n, v)| (cut(n.as_ref()), cut(v.as_ref()))).collect();
        sorted.sort_by(|a, b| a.0.cmp(b.0));
        let mut unique: Vec<(&str, &str)> = Vec::with_capacity(sorted.len());
        for pair in sorted {
            match unique.last_mut() {
                Some(last) if last.0 == pair.0 => *last = pair,
                _ => unique.push(pair),
            }
        }
        unique.retain(|(_, value)| !value.is_empty());
        Self::from_sorted(&unique)
    }

    fn from_sorted(pairs: &[(&str, &str)]) -> Labels {
        let length = pairs.iter().map(|(n, v)| n.len() + v.len() + 4).sum();
        Self::collect_sorted(pairs.iter().copied(), &mut String::with_capacity(length))
    }

    /// Builds a label set from pairs that are in order already: sorted by name, names unique, no empty value, no part
    /// longer than [`LENGTH_MAX`]. `scratch` keeps its memory from one call to the next.
    pub fn collect_sorted<'a>(
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
        scratch: &mut String,
    ) -> Labels {
        scratch.clear();
        pairs.into_iter().for_each(|(name, value)| push_label(scratch, name, value));
        Labels(scratch.as_str().into())
    }

    /// Reads the canonical form back, as the store wrote it; `None` when it is not in that form.
    pub fn from_canonical(text: &str) -> Option<Labels> {
        LabelsRef::from_canonical(text).map(|labels| Labels(labels.0.into()))
    }

    /// The same label set, borrowed.
    pub fn as_ref(&self) -> LabelsRef<'_> {
        LabelsRef(&self.0)
    }

    /// The canonical form: what is hashed for the [`SeriesId`] and written to disk.
    pub fn as_canonical(&self) -> &str {
        &self.0
    }

    /// The labels in order of their names.
    pub fn iter(&self) -> LabelsIter<'_> {
        LabelsIter { rest: &self.0 }
    }

    /// The value of the label `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(n, _)| *n == name).map(|(_, value)| value)
    }

    /// The value of `__name__`.
    pub fn metric_name(&self) -> Option<&str> {
        self.get(METRIC_NAME)
    }

    /// How many labels there are.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there is no label at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Brings a label list into the canonical order, or says why it names nothing.
fn settle(pairs: &mut Vec<(&str, &str)>, limits: &LabelLimits) -> Result<(), LabelError> {
    // A repeated name is refused even where one of the values is empty: which of the two was meant is unknowable.
    if !pairs.is_sorted_by(|a, b| a.0 < b.0) {
        pairs.sort_by(|a, b| a.0.cmp(b.0));
        if let Some(pair) = pairs.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(LabelError::Duplicate(truncated(pair[0].0)));
        }
    }
    pairs.retain(|(_, value)| !value.is_empty());
    limits.check(pairs)?;
    if pairs.first().is_some_and(|(name, _)| name.is_empty()) {
        return Err(LabelError::EmptyLabelName);
    }
    Ok(())
}

/// Appends a label to a canonical form. Labels come sorted by name; none has an empty value.
pub fn push_label(text: &mut String, name: &str, value: &str) {
    push_part(text, name);
    push_part(text, value);
}

impl<'a> LabelsRef<'a> {
    /// Takes a canonical form, as the store wrote it; `None` when it is not in that form.
    pub fn from_canonical(text: &'a str) -> Option<Self> {
        let mut rest = text;
        let mut previous: Option<&str> = None;
        while !rest.is_empty() {
            let (name, after_name) = take_part(rest)?;
            let (value, after_value) = take_part(after_name)?;
            if name.is_empty() || value.is_empty() || previous.is_some_and(|p| p >= name) {
                return None;
            }
            previous = Some(name);
            rest = after_value;
        }
        Some(Self(text))
    }

    /// The canonical form.
    pub fn as_canonical(&self) -> &'a str {
        self.0
    }

    /// The labels in order of their names.
    pub fn iter(&self) -> LabelsIter<'a> {
        LabelsIter { rest: self.0 }
    }
}

fn push_part(text: &mut String, part: &str) {
    debug_assert!(part.len() <= LENGTH_MAX, "limits keep parts below the canonical form's bound");
    let length = part.len() & LENGTH_MAX;
    text.push(char::from((length >> 7) as u8));
    text.push(char::from((length & 0x7f) as u8));
    text.push_str(part);
}

fn take_part(text: &str) -> Option<(&str, &str)> {
    let bytes = text.as_bytes();
    let (high, low) = (*bytes.first()?, *bytes.get(1)?);
    if high > 0x7f || low > 0x7f {
        return None;
    }
    let end = 2 + (usize::from(high) << 7 | usize::from(low));
    Some((text.get(2..end)?, text.get(end..)?))
}

fn cut(text: &str) -> &str {
    let mut end = text.len().min(LENGTH_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// A label as an error message shows it: never more than 64 bytes of what a client sent.
pub fn truncated(text: &str) -> String {
    let mut end = text.len().min(64);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    if end < text.len() { format!("{}…", &text[..end]) } else { text.to_owned() }
}

/// Iterates over `(name, value)`, sorted by name.
#[derive(Clone, Debug)]
pub struct LabelsIter<'a> {
    rest: &'a str,
}

impl<'a> Iterator for LabelsIter<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, rest) = take_part(self.rest)?;
        let (value, rest) = take_part(rest)?;
        self.rest = rest;
        Some((name, value))
    }
}

impl<'a> IntoIterator for &'a Labels {
    type Item = (&'a str, &'a str);
    type IntoIter = LabelsIter<'a>;

    fn into_iter(self) -> LabelsIter<'a> {
        self.iter()
    }
}

impl<N: AsRef<str>, V: AsRef<str>> FromIterator<(N, V)> for Labels {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        Self::from_pairs(pairs)
    }
}

/// Prometheus' order: label by label, name before value; a prefix sorts first.
///
/// Sorted series begin alike, so the bytes are compared first and only the part in which they differ is read.
impl Ord for Labels {
    fn cmp(&self, other: &Self) -> Ordering {
        let (a, b) = (self.0.as_bytes(), other.0.as_bytes());
        let Some(differs) = first_difference(a, b) else { return a.len().cmp(&b.len()) };
        // Up to there both have the same parts.
        let mut start = 0;
        while let Some(end) = part_end(a, start).filter(|end| *end <= differs) {
            start = end;
        }
        part_at(a, start).cmp(part_at(b, start))
    }
}

/// Where two byte strings first differ; `None` when one begins with the other.
fn first_difference(a: &[u8], b: &[u8]) -> Option<usize> {
    const WORD: usize = 16;
    let length = a.len().min(b.len());
    let words = a.chunks_exact(WORD).zip(b.chunks_exact(WORD)).take_while(|(a, b)| a == b).count() * WORD;
    (words..length).find(|at| a[*at] != b[*at])
}

fn part_at(bytes: &[u8], start: usize) -> &[u8] {
    part_end(bytes, start).and_then(|end| bytes.get(start + 2..end)).unwrap_or(&[])
}

/// The end of the part that begins at `start`.
fn part_end(bytes: &[u8], start: usize) -> Option<usize> {
    let (high, low) = (bytes.get(start)?, bytes.get(start + 1)?);
    Some(start + 2 + (usize::from(*high) << 7 | usize::from(*low)))
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// As Prometheus prints a series: `name{a="x", b="y"}`.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.iter().filter(|(name, _)| *name != METRIC_NAME).peekable();
        f.write_str(self.metric_name().unwrap_or(""))?;
        if rest.peek().is_none() && self.metric_name().is_some() {
            return Ok(());
        }
        f.write_str("{")?;
        for (i, (name, value)) in rest.enumerate() {
            let comma = if i > 0 { ", " } else { "" };
            if is_legacy_name(name) {
                write!(f, "{comma}{name}={value:?}")?;
            } else {
                write!(f, "{comma}{name:?}={value:?}")?;
            }
        }
        f.write_str("}")
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Whether `name` matches `[a-zA-Z_][a-zA-Z0-9_]*`, the label names that need no quotes.
pub fn is_legacy_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(pairs: &[(&str, &str)]) -> Result<Labels, LabelError> {
        Labels::canonical(&mut pairs.to_vec(), &LabelLimits::default())
    }

    #[test]
    fn order_and_empty_values_do_not_matter() {
        let a = canonical(&[("__name__", "up"), ("job", "x"), ("gone", "")]).unwrap();
        let b = canonical(&[("job", "x"), ("__name__", "up")]).unwrap();
        assert_eq!(a, b);
        assert_eq!(a.iter().collect::<Vec<_>>(), [("__name__", "up"), ("job", "x")]);
        assert_eq!(Labels::from_canonical(a.as_canonical()), Some(b));
    }

    #[test]
    fn repeated_names_are_refused_even_with_equal_or_empty_values() {
        for value in ["x", "y", ""] {
            let list = [("__name__", "up"), ("job", "x"), ("job", value)];
            assert_eq!(canonical(&list), Err(LabelError::Duplicate("job".into())), "{value:?}");
        }
    }

    #[test]
    fn the_order_is_that_of_the_parts() {
        let parts = ["a", "ab", "b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaa", "aaaaaaaaaaaaaaaaaaaaaaaaaaab", "é"];
        let mut all = vec![Labels::default()];
        for name in parts {
            for value in parts {
                all.push(Labels::from_pairs([(name, value)]));
                all.extend(parts.map(|other| Labels::from_pairs([(name, value), ("zz", other)])));
                all.extend(parts.map(|other| Labels::from_pairs([("__name__", other), (name, value)])));
            }
        }
        for a in &all {
            for b in &all {
                assert_eq!(a.cmp(b), a.iter().cmp(b.iter()), "{a} {b}");
            }
        }
    }

    #[test]
    fn a_name_is_required() {
        assert_eq!(canonical(&[("job", "x")]), Err(LabelError::MissingName));
        assert_eq!(canonical(&[("__name__", "")]), Err(LabelError::MissingName));
        assert_eq!(canonical(&[("", "x"), ("__name__", "up")]), Err(LabelError::EmptyLabelName));
    }

    #[test]
    fn limits_name_what_was_exceeded() {
        let limits = LabelLimits { labels: 2, name_bytes: 8, value_bytes: 4, total_bytes: 30 };
        let check = |pairs: &[(&str, &str)]| Labels::canonical(&mut pairs.to_vec(), &limits);
        assert!(check(&[("__name__", "up"), ("a", "b")]).is_ok());
        assert!(matches!(
            check(&[("__name__", "up"), ("a", "b"), ("c", "d")]),
            Err(LabelError::TooMany { count: 3, limit: 2 })
        ));
        assert!(matches!(check(&[("__name__", "upper")]), Err(LabelError::ValueTooLong { length: 5, .. })));
        assert!(matches!(
            check(&[("__name__", "up"), ("too_long_a_name", "b")]),
            Err(LabelError::NameTooLong { length: 15, .. })
        ));
    }

    #[test]
    fn no_limit_lets_in_what_the_canonical_form_cannot_hold() {
        let wide = LabelLimits { labels: 9, name_bytes: 1 << 20, value_bytes: 1 << 20, total_bytes: 1 << 20 };
        let fits = "x".repeat(LENGTH_MAX);
        let labels = Labels::canonical(&mut vec![("__name__", "m"), ("v", &fits)], &wide).unwrap();
        assert_eq!(Labels::from_canonical(labels.as_canonical()), Some(labels));
        let wide = LabelLimits { labels: LABELS_MAX + 1, ..wide };
        let names: Vec<String> = (0..LABELS_MAX).map(|n| format!("n{n:04}")).collect();
        let pairs =
            || [METRIC_NAME].into_iter().chain(names.iter().map(String::as_str)).map(|name| (name, "v"));
        assert!(Labels::canonical(&mut pairs().take(LABELS_MAX).collect(), &wide).is_ok());
        let refused = Labels::canonical(&mut pairs().collect(), &wide);
        assert!(matches!(refused, Err(LabelError::TooMany { limit: LABELS_MAX, .. })));
        let over = "x".repeat(LENGTH_MAX + 1);
        let refused = Labels::canonical(&mut vec![("__name__", "m"), ("v", &over)], &wide);
        assert!(matches!(refused, Err(LabelError::ValueTooLong { limit: LENGTH_MAX, .. })));
    }

    #[test]
    fn long_parts_survive_the_canonical_form() {
        let value = "ü".repeat(1000);
        let labels = canonical(&[("__name__", "m"), ("v", &value)]).unwrap();
        assert_eq!(labels.get("v"), Some(value.as_str()));
        assert_eq!(Labels::from_canonical(labels.as_canonical()).unwrap(), labels);
    }

    #[test]
    fn canonical_text_that_nobody_wrote_is_refused() {
        for text in
            ["\0", "\0\u{1}a", "\0\u{1}a\0\0", "\0\u{1}b\0\u{1}x\0\u{1}a\0\u{1}x", "é", "\u{7f}\u{7f}a"]
        {
            assert_eq!(Labels::from_canonical(text), None, "{text:?}");
        }
    }
}
