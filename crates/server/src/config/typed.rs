//! Blocks of the file as typed structures: a serde deserializer over the tree of what was typed.
//!
//! A scalar is read as the type asks, so `10` is a number, a text or a label's value. A fault says the line and the whole
//! path of its key, and an unknown key is one. Structures whose keys stand inline in another's ([`outbound::Inline`]) are
//! each handed their own keys.

use std::fmt;

use outbound::INLINE;
use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, Visitor};

use super::Problem;
use super::suggest::nearest;
use super::tree::{Node, Origin, Shape};

/// Reads a block. `path` is where it stands, for messages.
pub(super) fn read<T: DeserializeOwned>(node: &Node, path: &str) -> Result<T, Problem> {
    T::deserialize(Value(node)).map_err(|fault| {
        let fault = fault.within(path, node);
        Problem {
            origin: fault.origin.unwrap_or_else(|| node.origin.clone()),
            key: fault.path,
            message: fault.message,
        }
    })
}

/// What is wrong, and as it goes up, where.
#[derive(Debug)]
struct Fault {
    origin: Option<Origin>,
    path: String,
    message: String,
}

impl Fault {
    fn new(message: impl Into<String>) -> Self {
        Self { origin: None, path: String::new(), message: message.into() }
    }

    /// In the value of `key`, which is `node`.
    fn within(mut self, key: &str, node: &Node) -> Self {
        let joined = key.is_empty() || self.path.is_empty() || self.path.starts_with('[');
        let between = if joined { "" } else { "." };
        self.path = format!("{key}{between}{}", self.path);
        self.origin.get_or_insert_with(|| node.origin.clone());
        self
    }

    fn unknown(key: &str, known: &[&'static str]) -> Self {
        let message = if key.ends_with("_sd_configs") {
            "this discovery is not in Weir; there are static_configs, file_sd_configs, http_sd_configs and \
             dns_sd_configs"
                .to_owned()
        } else if matches!(key, "scrape_failure_log_file" | "query_log_file") {
            "is not in Weir, which says it in its log".to_owned()
        } else {
            let hint = nearest(key, known.iter().copied()).map(|near| format!(", did you mean {near}?"));
            format!("unknown key{}", hint.unwrap_or_default())
        };
        Self { origin: None, path: key.to_owned(), message }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message.to_string())
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::unknown(field, expected)
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::new(format!("expected {}, found {variant:?}", expected.join(", ")))
    }
}

/// A node as whatever is asked for.
#[derive(Clone, Copy)]
struct Value<'n>(&'n Node);

impl<'n> Value<'n> {
    /// The text of a scalar; the value itself is not repeated, it may be a secret.
    fn text(self, expected: &str) -> Result<&'n str, Fault> {
        match &self.0.shape {
            Shape::Scalar(text) => Ok(text),
            Shape::Empty => Ok(""),
            Shape::List(_) | Shape::Map(_) => Err(Fault::new(format!("expected {expected}"))),
        }
    }

    fn number<T: std::str::FromStr>(self, expected: &str) -> Result<T, Fault> {
        let text = self.text(expected)?;
        text.trim().parse().map_err(|_| Fault::new(format!("expected {expected}, found {text:?}")))
    }

    fn entries(self) -> Result<&'n [(String, Node)], Fault> {
        match &self.0.shape {
            Shape::Map(entries) => Ok(entries),
            Shape::Empty => Ok(&[]),
            Shape::List(_) | Shape::Scalar(_) => Err(Fault::new("expected a map of keys")),
        }
    }

    fn items(self) -> Result<&'n [Node], Fault> {
        match &self.0.shape {
            Shape::List(items) => Ok(items),
            Shape::Empty => Ok(&[]),
            Shape::Map(_) | Shape::Scalar(_) => Err(Fault::new("expected a list")),
        }
    }
}

macro_rules! whole_numbers {
    ($($method:ident $visit:ident,)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            visitor.$visit(self.number("a whole number")?)
        })*
    };
}

impl<'de> Deserializer<'de> for Value<'de> {
    type Error = Fault;

    whole_numbers! {
        deserialize_u8 visit_u8, deserialize_u16 visit_u16, deserialize_u32 visit_u32, deserialize_u64 visit_u64,
        deserialize_i8 visit_i8, deserialize_i16 visit_i16, deserialize_i32 visit_i32, deserialize_i64 visit_i64,
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.0.shape {
            Shape::Empty => visitor.visit_unit(),
            Shape::Scalar(text) => visitor.visit_str(text),
            Shape::List(_) => self.deserialize_seq(visitor),
            Shape::Map(_) => self.deserialize_map(visitor),
        }
    }

    /// With the words that YAML 1.1 had, which Prometheus' reader knows.
    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let text = self.text("true or false")?;
        match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "y" => visitor.visit_bool(true),
            "false" | "no" | "off" | "n" => visitor.visit_bool(false),
            _ => Err(Fault::new(format!("expected true or false, found {text:?}"))),
        }
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_f64(self.number("a number")?)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_str(self.text("a text")?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.0.shape == Shape::Empty { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_seq(Items { items: self.items()?.iter(), at: 0 })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_map(Entries { entries: self.entries()?.iter().rev().collect(), value: None })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        // A key without a value leaves what is the default.
        let says =
            |entry: &&(String, Node)| entry.1.shape != Shape::Empty || !fields.contains(&entry.0.as_str());
        let entries = self.entries()?.iter().filter(says).rev().collect();
        visitor.visit_map(Entries { entries, value: None })
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        if name != INLINE {
            return self.deserialize_tuple(length, visitor);
        }
        let entries = self.entries()?;
        let mut known = Vec::new();
        let both = visitor.visit_seq(Halves { node: self.0, known: &mut known })?;
        match entries.iter().find(|(key, _)| !known.contains(&key.as_str())) {
            Some((key, node)) => {
                let mut fault = Fault::unknown(key, &known);
                fault.origin = Some(node.origin.clone());
                Err(fault)
            }
            None => Ok(both),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let text: StrDeserializer<'_, Fault> = self.text("a word")?.into_deserializer();
        visitor.visit_enum(text)
    }

    serde::forward_to_deserialize_any! {
        i128 u128 f32 char bytes byte_buf unit unit_struct tuple identifier ignored_any
    }
}

/// Items of a list.
struct Items<'n> {
    items: std::slice::Iter<'n, Node>,
    at: usize,
}

impl<'de> de::SeqAccess<'de> for Items<'de> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        let Some(node) = self.items.next() else { return Ok(None) };
        let place = format!("[{}]", self.at);
        self.at += 1;
        seed.deserialize(Value(node)).map(Some).map_err(|fault| fault.within(&place, node))
    }
}

/// Entries of a map, the next one last.
struct Entries<'n> {
    entries: Vec<&'n (String, Node)>,
    value: Option<&'n (String, Node)>,
}

impl<'de> de::MapAccess<'de> for Entries<'de> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        let Some(entry) = self.entries.pop() else { return Ok(None) };
        self.value = Some(entry);
        let key: StrDeserializer<'_, Fault> = entry.0.as_str().into_deserializer();
        seed.deserialize(key).map(Some).map_err(|mut fault| {
            fault.origin.get_or_insert_with(|| entry.1.origin.clone());
            fault
        })
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let (key, node) = self.value.take().ok_or_else(|| Fault::new("a value without a key"))?;
        seed.deserialize(Value(node)).map_err(|fault| fault.within(key, node))
    }
}

/// Structures that share a map, one after the other.
struct Halves<'n, 'k> {
    node: &'n Node,
    known: &'k mut Vec<&'static str>,
}

impl<'de> de::SeqAccess<'de> for Halves<'de, '_> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        seed.deserialize(Half { node: self.node, known: self.known }).map(Some)
    }
}

/// The keys of one of them.
struct Half<'n, 'k> {
    node: &'n Node,
    known: &'k mut Vec<&'static str>,
}

impl<'de> Deserializer<'de> for Half<'de, '_> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        Value(self.node).deserialize_any(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.known.extend(fields);
        let own =
            |entry: &&(String, Node)| fields.contains(&entry.0.as_str()) && entry.1.shape != Shape::Empty;
        let entries = Value(self.node).entries()?.iter().filter(own).rev().collect();
        visitor.visit_map(Entries { entries, value: None })
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}
