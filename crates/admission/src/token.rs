//! Tokens: 128 random bits as 32 lowercase hex digits, the shape of a Datadog API key, so that one token works in every
//! dialect and the Agent's own log scrubber hides it.
//!
//! Only the SHA-256 is kept. A slow hash would protect guessable secrets; these are not guessable, and one is checked
//! for every request. [`Token`] shows itself only through [`Token::reveal`], so that no log line can do it by accident.

use std::fmt;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

const DIGITS: usize = 32;

/// A secret. Neither `Debug` nor `Display` shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token([u8; 16]);

/// Occurs when a text is not 32 lowercase hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("invalid token: 32 hex digits, 0-9 and a-f")]
pub struct InvalidToken;

impl Token {
    /// Makes a token of 16 random bytes.
    pub fn from_random(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Parses 32 lowercase hex digits.
    pub fn parse(text: &str) -> Result<Self, InvalidToken> {
        let digit = |b: u8| match b {
            b'0'..=b'9' => Ok(b - b'0'),
            b'a'..=b'f' => Ok(b - b'a' + 10),
            _ => Err(InvalidToken),
        };
        if text.len() != DIGITS {
            return Err(InvalidToken);
        }
        let mut bytes = [0; 16];
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Ok(Self(bytes))
    }

    /// The secret as text, to be written to its file or answered once to whoever made it.
    pub fn reveal(&self) -> String {
        hex(&self.0)
    }

    /// What is stored of it.
    pub fn hash(&self) -> TokenHash {
        TokenHash(Sha256::digest(self.reveal()).into())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// SHA-256 of a token's 32 digits. Equality takes the same time wherever two differ.
#[derive(Clone, Copy)]
pub struct TokenHash(pub [u8; 32]);

impl TokenHash {
    /// The hash as 64 hex digits.
    pub fn to_hex(&self) -> String {
        hex(&self.0)
    }

    /// Parses 64 lowercase hex digits.
    pub fn parse(text: &str) -> Option<Self> {
        let (high, low) = text.split_at_checked(DIGITS)?;
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(&Token::parse(high).ok()?.0);
        bytes[16..].copy_from_slice(&Token::parse(low).ok()?.0);
        Some(Self(bytes))
    }
}

impl PartialEq for TokenHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for TokenHash {}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(…)")
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A token's number: how it is named in lists and logs. Never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TokenId(pub u32);

/// What a token may do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Scope {
    /// Send data of its tenant.
    Write,
    /// Query data of its tenant.
    Read,
    /// Change tenants, tokens and limits, reload, and read Weir's own metrics.
    Admin,
}

impl Scope {
    /// All of them, in the order of lists.
    pub const ALL: [Scope; 3] = [Scope::Write, Scope::Read, Scope::Admin];

    /// The name in lists, files and flags.
    pub fn as_str(self) -> &'static str {
        match self {
            Scope::Write => "write",
            Scope::Read => "read",
            Scope::Admin => "admin",
        }
    }

    /// The scope of that name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of scopes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Scopes(u8);

impl Scopes {
    /// Whether `scope` is in the set.
    pub fn has(self, scope: Scope) -> bool {
        self.0 & 1 << scope as u8 != 0
    }

    /// Whether the set is empty.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The scopes, in the order of [`Scope::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |&scope| self.has(scope))
    }
}

impl From<Scope> for Scopes {
    fn from(scope: Scope) -> Self {
        Self(1 << scope as u8)
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().fold(0, |set, scope| set | 1 << scope as u8))
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, scope) in self.iter().enumerate() {
            write!(f, "{}{scope}", if index == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_32_lowercase_hex_digits() {
        let text = "00ff10a5c3d2e1f00123456789abcdef";
        assert_eq!(Token::parse(text).unwrap().reveal(), text);
        let long = format!("{text}0");
        let upper = text.to_uppercase();
        let multibyte = format!("{}ä", &text[..30]);
        for bad in ["", &text[1..], &long, &upper, &multibyte, "weir_w_abc", &text.replace('a', "g")] {
            assert_eq!(Token::parse(bad), Err(InvalidToken), "{bad:?}");
        }
    }

    #[test]
    fn the_hash_is_sha256_of_the_digits() {
        // `printf 00000000000000000000000000000000 | sha256sum`
        let zero = Token::from_random([0; 16]).hash();
        assert_eq!(zero.to_hex(), "84e0c0eafaa95a34c293f278ac52e45ce537bab5e752a00e6959a13ae103b65a");
        assert_eq!(TokenHash::parse(&zero.to_hex()), Some(zero));
        assert_ne!(zero, Token::from_random([1; 16]).hash());
        assert_eq!(TokenHash::parse("84e0"), None);
    }

    #[test]
    fn secrets_do_not_show_in_debug() {
        let token = Token::from_random([0xab; 16]);
        assert!(!format!("{token:?} {:?}", token.hash()).contains("ab"));
    }

    #[test]
    fn scopes_are_a_set() {
        let set: Scopes = [Scope::Read, Scope::Write, Scope::Read].into_iter().collect();
        assert_eq!(set.to_string(), "write,read");
        assert!(set.has(Scope::Read) && !set.has(Scope::Admin) && !set.is_empty());
        assert!(Scope::ALL.iter().all(|&scope| Scope::parse(scope.as_str()) == Some(scope)));
        assert_eq!(Scope::parse("root"), None);
    }
}
