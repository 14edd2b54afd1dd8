//! What was typed, and where: a YAML file as a tree of scalars, lists and maps with their lines.
//!
//! Scalars stay text: what `10m` or `0.5` means is known only by the key that they belong to.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use super::Problem;

/// Where a value was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A line of the file.
    File {
        /// As it was named.
        path: Arc<str>,
        /// From 1; 0 when unknown.
        line: u64,
    },
    /// An environment variable.
    Environment(String),
    /// A command-line flag.
    Flag(&'static str),
    /// All layers together.
    Whole,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File { path, line: 0 } => f.write_str(path),
            Origin::File { path, line } => write!(f, "{path}:{line}"),
            Origin::Environment(name) => write!(f, "environment {name}"),
            Origin::Flag(name) => write!(f, "--{name}"),
            Origin::Whole => f.write_str("configuration"),
        }
    }
}

/// A value with its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The value.
    pub shape: Shape,
    /// Where it was given.
    pub origin: Origin,
}

/// A value as typed.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// Nothing: the key stands there without a value.
    Empty,
    /// Text, number or truth value, as text.
    Scalar(String),
    /// A list.
    List(Vec<Node>),
    /// A map in the order of the file.
    Map(Vec<(String, Node)>),
}

impl Node {
    /// A scalar from outside the file.
    pub fn scalar(text: impl Into<String>, origin: Origin) -> Self {
        Self { shape: Shape::Scalar(text.into()), origin }
    }

    /// Parses a file's text. `path` is for messages only.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Problem> {
        let path: Arc<str> = path.display().to_string().into();
        if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
            return Ok(Self { shape: Shape::Map(Vec::new()), origin: Origin::File { path, line: 0 } });
        }
        match serde_saphyr::from_str::<Spanned<Typed>>(text) {
            Ok(typed) => Ok(placed(typed, &path, text)),
            Err(error) => {
                let line = error.location().map_or(0, |location| location.line());
                let message = match error.without_snippet() {
                    serde_saphyr::Error::DuplicateMappingKey { key: Some(key), .. } => {
                        format!("the key {key} stands twice in one map")
                    }
                    error => error.to_string(),
                };
                Err(Problem { origin: Origin::File { path, line }, key: String::new(), message })
            }
        }
    }
}

/// The tree as the YAML reader gives it.
enum Typed {
    Empty,
    Scalar(String),
    /// A number as it was read: 1.10 is 1.1.
    Number(String),
    List(Vec<Spanned<Typed>>),
    Map(Vec<(String, Spanned<Typed>)>),
}

fn placed(typed: Spanned<Typed>, path: &Arc<str>, text: &str) -> Node {
    let offset = typed.referenced.span().byte_offset();
    let origin = Origin::File { path: Arc::clone(path), line: typed.referenced.line() };
    // Depth is bounded by the reader's own budget.
    let shape = match typed.value {
        Typed::Empty => Shape::Empty,
        Typed::Scalar(text) => Shape::Scalar(text),
        Typed::Number(read) => Shape::Scalar(as_typed(text, offset, read)),
        Typed::List(items) => Shape::List(items.into_iter().map(|item| placed(item, path, text)).collect()),
        Typed::Map(entries) => {
            Shape::Map(entries.into_iter().map(|(key, value)| (key, placed(value, path, text))).collect())
        }
    };
    Node { shape, origin }
}

/// A number as it stands in the file, where it stands there as it was read: a version of 1.10 is not one of 1.1.
fn as_typed(text: &str, offset: Option<u64>, read: String) -> String {
    let from = offset.and_then(|offset| text.get(usize::try_from(offset).ok()?..)).unwrap_or("");
    let ends = |c: char| c.is_whitespace() || ",]}".contains(c);
    let typed = from.split(ends).next().unwrap_or("");
    let same = typed.parse::<f64>().ok().zip(read.parse::<f64>().ok()).is_some_and(|(a, b)| a == b);
    if same { typed.to_owned() } else { read }
}

impl<'de> Deserialize<'de> for Typed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TypedVisitor)
    }
}

struct TypedVisitor;

impl<'de> Visitor<'de> for TypedVisitor {
    type Value = Typed;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value, a list or a map")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Typed, E> {
        Ok(Typed::Empty)
    }

    fn visit_none<E: de::Error>(self) -> Result<Typed, E> {
        Ok(Typed::Empty)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Typed, E> {
        Ok(Typed::Scalar(value.to_string()))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Typed, E> {
        Ok(Typed::Number(value.to_string()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Typed, E> {
        Ok(Typed::Number(value.to_string()))
    }

    fn visit_i128<E: de::Error>(self, value: i128) -> Result<Typed, E> {
        Ok(Typed::Number(value.to_string()))
    }

    fn visit_u128<E: de::Error>(self, value: u128) -> Result<Typed, E> {
        Ok(Typed::Number(value.to_string()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Typed, E> {
        Ok(Typed::Number(value.to_string()))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Typed, E> {
        Ok(Typed::Scalar(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Typed, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Typed::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Typed, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Typed::Map(map))
    }
}
