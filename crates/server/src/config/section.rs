//! A section of the configuration: a row per key, from which its field, its default, its parser, its line in the docs
//! and its part in a reload are made.
//!
//! A default is written once, as the text that a user would write, so the docs cannot say something else than the code.

use super::effective::Shown;
use super::tree::{Node, Origin, Shape};
use super::value::Value;

/// When a changed value takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// At a reload.
    Reload,
    /// At the next start; a reload that changes it is refused.
    Restart,
}

/// A key.
#[derive(Debug)]
pub struct Key {
    /// Its name within the section.
    pub name: &'static str,
    /// Its default as a user would write it; empty when there is none.
    pub default: &'static str,
    /// What it does, line by line.
    pub doc: &'static [&'static str],
    /// When a change takes effect.
    pub when: When,
}

/// A section.
pub trait Section {
    /// Its keys in the order of the docs.
    const KEYS: &'static [Key];
    /// What it is about.
    const DOC: &'static [&'static str];

    /// Sets a key. `None` when there is no such key; the error says what was expected.
    fn set(&mut self, key: &str, node: &Node) -> Option<Result<(), String>>;
    /// Each key with its value.
    fn shown(&self) -> Vec<(&'static str, Shown)>;
    /// Keys whose values differ.
    fn changed(&self, next: &Self) -> Vec<&'static Key>;
}

/// The value that a default's text means.
pub(super) fn default<T: Value>(text: &str) -> T {
    let origin = Origin::Flag("default");
    let empty = Node { shape: Shape::Empty, origin: origin.clone() };
    let node = if text.is_empty() { empty } else { Node::scalar(text, origin) };
    T::read(&node).expect("defaults are valid, every test reads them")
}

/// The name of a key in the file: that of its field, unless that would be a keyword of Rust.
macro_rules! key_name {
    ($field:ident) => {
        stringify!($field)
    };
    ($field:ident $name:literal) => {
        $name
    };
}
pub(crate) use key_name;

macro_rules! section {
    ($(#[doc = $doc:literal])+ $name:ident {
        $($(#[doc = $key_doc:literal])+ $key:ident $([$key_name:literal])?: $type:ty = $default:literal, $when:ident;)*
    }) => {
        $(#[doc = $doc])+
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name { $($(#[doc = $key_doc])+ pub $key: $type,)* }

        impl Default for $name {
            fn default() -> Self {
                Self { $($key: $crate::config::section::default($default),)* }
            }
        }

        impl $crate::config::section::Section for $name {
            const KEYS: &'static [$crate::config::section::Key] = &[$($crate::config::section::Key {
                name: $crate::config::section::key_name!($key $($key_name)?),
                default: $default,
                doc: &[$($key_doc),+],
                when: $crate::config::section::When::$when,
            },)*];
            const DOC: &'static [&'static str] = &[$($doc),+];

            fn set(&mut self, key: &str, node: &$crate::config::tree::Node) -> Option<Result<(), String>> {
                match key {
                    $($crate::config::section::key_name!($key $($key_name)?) => {
                        Some($crate::config::value::Value::read(node).map(|value| self.$key = value))
                    })*
                    _ => None,
                }
            }

            fn shown(&self) -> Vec<(&'static str, $crate::config::effective::Shown)> {
                vec![$(($crate::config::section::key_name!($key $($key_name)?), $crate::config::value::Value::shown(&self.$key)),)*]
            }

            fn changed(&self, next: &Self) -> Vec<&'static $crate::config::section::Key> {
                let differs = [$(self.$key != next.$key,)*];
                Self::KEYS.iter().zip(differs).filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
            }
        }
    };
}
pub(crate) use section;
