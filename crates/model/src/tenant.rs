//! Tenants: the name that users see, and the number that never comes back.

use std::fmt;

/// A tenant's internal number. Never reused, so data of a deleted tenant can never show up under a new one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TenantId(pub u32);

/// A tenant's name: one DNS label, `[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?`, because it stands in host names.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TenantName(Box<str>);

/// Occurs when a tenant's name is not one DNS label.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid tenant name: 1 to 63 of a-z, 0-9 and '-', not beginning or ending with '-'")]
pub struct InvalidTenantName;

impl TenantName {
    /// Parses a name.
    pub fn parse(text: &str) -> Result<Self, InvalidTenantName> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let bytes = text.as_bytes();
        let inner = bytes.iter().all(|&b| plain(b) || b == b'-');
        let ends = bytes.first().is_some_and(|&b| plain(b)) && bytes.last().is_some_and(|&b| plain(b));
        if bytes.len() <= 63 && inner && ends { Ok(Self(text.into())) } else { Err(InvalidTenantName) }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TenantName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_labels() {
        for good in ["a", "default", "team-7", "0", &"x".repeat(63)] {
            assert_eq!(TenantName::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", "-a", "a-", "A", "a.b", "..", "a/b", "a b", "ä", &"x".repeat(64), "a|b", "a\0"] {
            assert_eq!(TenantName::parse(bad), Err(InvalidTenantName), "{bad:?}");
        }
    }
}
