//! How each type of value is read from text, and written back.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use model::re2::Anchored;
use promql::Feature;

use super::effective::Shown;
use super::suggest;
use super::tree::{Node, Shape};
use super::units;

/// A type that a key may have. The error says what was expected.
pub(super) trait Value: Sized {
    /// Reads what was typed.
    fn read(node: &Node) -> Result<Self, String>;
    /// Says it so that it would be read again as it is.
    fn shown(&self) -> Shown;
}

/// A type written as one scalar.
pub(super) trait Scalar: Sized {
    /// What is expected, for messages: `a size like 64MiB`.
    const EXPECTED: &'static str;
    /// Reads the text.
    fn parse(text: &str) -> Option<Self>;
    /// The text that is read as this; empty when it is nothing.
    fn show(&self) -> String;
}

impl<T: Scalar> Value for T {
    fn read(node: &Node) -> Result<Self, String> {
        let text = match &node.shape {
            Shape::Scalar(text) => text.as_str(),
            Shape::Empty => "",
            Shape::List(_) | Shape::Map(_) => return Err(format!("expected {}", T::EXPECTED)),
        };
        T::parse(text.trim()).ok_or_else(|| format!("expected {}, found {text:?}", T::EXPECTED))
    }

    fn shown(&self) -> Shown {
        let text = self.show();
        if text.is_empty() { Shown::Unset } else { Shown::Scalar(text) }
    }
}

/// Bytes, or a share of the memory limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Share {
    /// A fixed number.
    Bytes(u64),
    /// Percent of a whole that is known only at the start.
    Percent(u64),
}

impl Share {
    /// The bytes that this is of `whole`.
    pub fn of(self, whole: u64) -> u64 {
        match self {
            Share::Bytes(bytes) => bytes,
            Share::Percent(percent) => whole / 100 * percent,
        }
    }
}

/// Bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

macro_rules! scalar {
    ($($type:ty, $expected:literal, $parse:expr, $show:expr;)*) => {
        $(impl Scalar for $type {
            const EXPECTED: &'static str = $expected;
            fn parse(text: &str) -> Option<Self> {
                let parse: fn(&str) -> Option<Self> = $parse;
                parse(text)
            }
            fn show(&self) -> String {
                let show: fn(&Self) -> String = $show;
                show(self)
            }
        })*
    };
}

scalar! {
    u64, "a whole number", |text| text.parse().ok(), u64::to_string;
    u32, "a whole number", |text| text.parse().ok(), u32::to_string;
    f64, "a number above 0", |text| text.parse().ok().filter(|n: &f64| n.is_finite() && *n > 0.0), f64::to_string;
    bool, "true or false", |text| text.parse().ok(), bool::to_string;
    Size, "a size like 64MiB", |text| units::parse_size(text).map(Size), |size| units::show_size(size.0);
    Share, "a size like 2GiB or a share like 60%", |text| match text.strip_suffix('%') {
        Some(percent) => percent.parse().ok().filter(|p| (1..=100).contains(p)).map(Share::Percent),
        None => units::parse_size(text).filter(|&bytes| bytes > 0).map(Share::Bytes),
    }, |share| match share {
        Share::Bytes(bytes) => units::show_size(*bytes),
        Share::Percent(percent) => format!("{percent}%"),
    };
    Duration, "a duration like 30s, 10m or 400d", units::parse_duration, |time| units::show_duration(*time);
    SocketAddr, "an address with port like 127.0.0.1:9347", |text| match text.strip_prefix("localhost:") {
        Some(port) => port.parse().ok().map(|port| SocketAddr::from(([127, 0, 0, 1], port))),
        None => text.parse().ok(),
    }, SocketAddr::to_string;
    String, "a name", |text| Some(text.to_owned()), String::clone;
    PathBuf, "a path", |text| (!text.is_empty()).then(|| text.into()), |path| path.display().to_string();
    IpNet, "a network like 10.0.0.0/8", |text| {
        text.parse().ok().or_else(|| text.parse().ok().map(|address: std::net::IpAddr| address.into()))
    }, IpNet::to_string;
}

/// A host name, or nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Domain(pub Option<String>);

impl Scalar for Domain {
    const EXPECTED: &'static str = "a domain name like metrics.example.com";

    fn parse(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self(None));
        }
        let label = |label: &str| {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
            !label.is_empty() && label.len() <= 63 && label.bytes().all(plain)
        };
        (text.len() <= 253 && text.split('.').all(label)).then(|| Self(Some(text.to_ascii_lowercase())))
    }
    fn show(&self) -> String {
        self.0.clone().unwrap_or_default()
    }
}

/// A regular expression in Go's syntax, or nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pattern(pub Option<String>);

impl Scalar for Pattern {
    const EXPECTED: &'static str = "a regular expression like https://(a|b)\\.example\\.com";

    fn parse(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self(None));
        }
        Anchored::new(text).is_ok().then(|| Self(Some(text.to_owned())))
    }
    fn show(&self) -> String {
        self.0.clone().unwrap_or_default()
    }
}

/// The URL under which users reach Weir, or nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExternalUrl(pub Option<String>);

impl Scalar for ExternalUrl {
    const EXPECTED: &'static str = "a URL like https://metrics.example.com/weir";

    fn parse(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self(None));
        }
        let uri: http::Uri = text.parse().ok()?;
        let known = matches!(uri.scheme_str(), Some("http" | "https"));
        (known && uri.host().is_some() && uri.query().is_none())
            .then(|| Self(Some(text.trim_end_matches('/').to_owned())))
    }
    fn show(&self) -> String {
        self.0.clone().unwrap_or_default()
    }
}

/// The directory of an authority that speaks ACME, as the URL of it, or nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directory(pub Option<String>);

impl Directory {
    /// The name or the URL as a name of a folder.
    pub fn folder(&self) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
        self.show().chars().map(plain).collect()
    }
}

/// Directories that have names.
const DIRECTORIES: [(&str, &str); 2] = [
    ("letsencrypt", "https://acme-v02.api.letsencrypt.org/directory"),
    ("letsencrypt-staging", "https://acme-staging-v02.api.letsencrypt.org/directory"),
];

impl Scalar for Directory {
    const EXPECTED: &'static str =
        "letsencrypt, letsencrypt-staging or a URL like https://ca.example.com/directory";

    fn parse(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self(None));
        }
        if let Some((_, url)) = DIRECTORIES.into_iter().find(|(name, _)| *name == text) {
            return Some(Self(Some(url.to_owned())));
        }
        let uri: http::Uri = text.parse().ok()?;
        let good = uri.scheme_str() == Some("https") && uri.host().is_some();
        good.then(|| Self(Some(text.to_owned())))
    }
    fn show(&self) -> String {
        let Some(url) = &self.0 else { return String::new() };
        let named = DIRECTORIES.into_iter().find(|(_, known)| known == url);
        named.map_or_else(|| url.clone(), |(name, _)| name.to_owned())
    }
}

/// A list; one scalar stands for a list of one, or of several with commas between them (as in the environment).
impl<T: Scalar> Value for Vec<T> {
    fn read(node: &Node) -> Result<Self, String> {
        match &node.shape {
            Shape::Empty => Ok(Vec::new()),
            Shape::List(items) => items.iter().map(T::read).collect(),
            Shape::Map(_) => Err(format!("expected a list, each {}", T::EXPECTED)),
            Shape::Scalar(text) => {
                let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
                parts.map(|part| T::read(&Node::scalar(part, node.origin.clone()))).collect()
            }
        }
    }

    fn shown(&self) -> Shown {
        Shown::List(self.iter().map(T::show).collect())
    }
}

/// Something that may be left open.
impl<T: Scalar> Value for Option<T> {
    fn read(node: &Node) -> Result<Self, String> {
        if node.shape == Shape::Empty { Ok(None) } else { T::read(node).map(Some) }
    }

    fn shown(&self) -> Shown {
        self.as_ref().map_or(Shown::Unset, T::shown)
    }
}

impl Value for Vec<Feature> {
    fn read(node: &Node) -> Result<Self, String> {
        let names = Vec::<String>::read(node)?;
        names.iter().map(|name| Feature::from_name(name).ok_or_else(|| unknown_feature(name))).collect()
    }

    fn shown(&self) -> Shown {
        Shown::List(self.iter().map(|feature| feature.as_str().to_owned()).collect())
    }
}

fn unknown_feature(name: &str) -> String {
    let known = || Feature::ALL.into_iter().map(Feature::as_str);
    match suggest::nearest(name, known()) {
        Some(near) => format!("unknown feature {name:?}, did you mean {near:?}?"),
        None => format!("unknown feature {name:?}, there are {}", known().collect::<Vec<_>>().join(", ")),
    }
}

/// An enumeration whose names are its config values.
macro_rules! choice {
    ($(#[$doc:meta])* $name:ident, $expected:literal { $($(#[$variant_doc:meta])* $variant:ident = $text:literal $(| $also:literal)*,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $crate::config::value::Scalar for $name {
            const EXPECTED: &'static str = $expected;
            fn parse(text: &str) -> Option<Self> {
                match text { $($text $(| $also)* => Some(Self::$variant),)* _ => None }
            }
            fn show(&self) -> String {
                self.as_str().to_owned()
            }
        }

        impl $name {
            /// The name in the configuration.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}
pub(crate) use choice;

/// Words for the variants of a type that is not the configuration's own.
macro_rules! words {
    ($($name:ident, $expected:literal { $($variant:ident = $text:literal),* })*) => {
        $(impl $crate::config::value::Scalar for $name {
            const EXPECTED: &'static str = $expected;
            fn parse(text: &str) -> Option<Self> {
                // YAML reads a bare `off` as false.
                match if text == "false" { "off" } else { text } { $($text => Some(Self::$variant),)* _ => None }
            }
            fn show(&self) -> String {
                match self { $(Self::$variant => $text.to_owned(),)* }
            }
        })*
    };
}
pub(crate) use words;
