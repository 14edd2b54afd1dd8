//! Names for scrapers that take letters, digits and underscores only: Prometheus' four ways of escaping.

use std::borrow::Cow;
use std::fmt::Write as _;

/// How names are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Escaping {
    /// As they are.
    AllowUtf8,
    /// Whatever else becomes an underscore. Two names may become one.
    #[default]
    Underscores,
    /// A dot becomes `_dot_`, an underscore two, whatever else two.
    Dots,
    /// `U__`, an underscore becomes two, whatever else its number in hex between underscores.
    Values,
}

impl Escaping {
    const ALL: [Self; 4] = [Self::AllowUtf8, Self::Underscores, Self::Dots, Self::Values];

    /// The value of the parameter `escaping`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AllowUtf8 => "allow-utf-8",
            Self::Underscores => "underscores",
            Self::Dots => "dots",
            Self::Values => "values",
        }
    }

    /// The escaping with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|escaping| escaping.as_str() == name)
    }

    /// The name of a metric, in which colons may stand.
    pub(super) fn metric(self, name: &str) -> Cow<'_, str> {
        self.escaped(name, |c| c == ':')
    }

    /// The name of a label.
    pub(super) fn label(self, name: &str) -> Cow<'_, str> {
        self.escaped(name, |_| false)
    }

    fn escaped(self, name: &str, also: impl Fn(char) -> bool) -> Cow<'_, str> {
        let plain = |(at, c): (usize, char)| {
            c.is_ascii_alphabetic() || c == '_' || c.is_ascii_digit() && at > 0 || also(c)
        };
        let legacy = name.char_indices().all(plain);
        // Dots escape every underscore, so that the other end can tell; the others leave what is fine.
        if self == Self::AllowUtf8 || legacy && self != Self::Dots {
            return Cow::Borrowed(name);
        }
        let mut out = String::from(if self == Self::Values { "U__" } else { "" });
        for (at, c) in name.char_indices() {
            match (self, c) {
                (Self::Dots | Self::Values, '_') => out.push_str("__"),
                (Self::Dots, '.') => out.push_str("_dot_"),
                _ if plain((at, c)) => out.push(c),
                (Self::Dots, _) => out.push_str("__"),
                (Self::Values, _) => {
                    let _ = write!(out, "_{:x}_", u32::from(c));
                }
                _ => out.push('_'),
            }
        }
        Cow::Owned(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cases of `TestEscapeName` in prometheus/common, as far as they are UTF-8.
    #[test]
    fn names_are_escaped_as_upstream_does() {
        for (name, underscores, dots, values) in [
            ("no:escaping_required", "no:escaping_required", "no:escaping__required", "no:escaping_required"),
            (
                "mysystem.prod.west.cpu.load",
                "mysystem_prod_west_cpu_load",
                "mysystem_dot_prod_dot_west_dot_cpu_dot_load",
                "U__mysystem_2e_prod_2e_west_2e_cpu_2e_load",
            ),
            (
                "mysystem.prod.west.cpu.load_total",
                "mysystem_prod_west_cpu_load_total",
                "mysystem_dot_prod_dot_west_dot_cpu_dot_load__total",
                "U__mysystem_2e_prod_2e_west_2e_cpu_2e_load__total",
            ),
            ("http.status:sum", "http_status:sum", "http_dot_status:sum", "U__http_2e_status:sum"),
            ("label with 😱", "label_with__", "label__with____", "U__label_20_with_20__1f631_"),
            ("花火", "__", "____", "U___82b1__706b_"),
            ("0a", "_a", "__a", "U___30_a"),
        ] {
            assert_eq!(Escaping::Underscores.metric(name), underscores);
            assert_eq!(Escaping::Dots.metric(name), dots);
            assert_eq!(Escaping::Values.metric(name), values);
            assert_eq!(Escaping::AllowUtf8.metric(name), name);
        }
        assert_eq!(Escaping::Underscores.label("a:b"), "a_b");
        for escaping in Escaping::ALL {
            assert_eq!(Escaping::from_name(escaping.as_str()), Some(escaping));
        }
    }
}
