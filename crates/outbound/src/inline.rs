//! Two structures whose keys stand in one map, as Prometheus writes `tls_config` and its like beside a job's own keys.
//!
//! serde's `flatten` takes unknown keys without a word and forgets where values stood. Here the deserializer is asked for
//! both, one after the other, under the name [`INLINE`]: it hands each its own keys and complains about what neither has.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The name under which a deserializer is asked for two structures from one map.
pub const INLINE: &str = "$inline";

/// `own` keys, and those of `inner` beside them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inline<A, B> {
    /// The structure's own keys; it is what the whole stands for.
    pub own: A,
    /// What is written inline.
    pub inner: B,
}

impl<A, B> Deref for Inline<A, B> {
    type Target = A;

    fn deref(&self) -> &A {
        &self.own
    }
}

impl<A, B> DerefMut for Inline<A, B> {
    fn deref_mut(&mut self) -> &mut A {
        &mut self.own
    }
}

impl<'de, A: Deserialize<'de>, B: Deserialize<'de>> Deserialize<'de> for Inline<A, B> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_tuple_struct(INLINE, 2, Both(PhantomData))
    }
}

struct Both<A, B>(PhantomData<(A, B)>);

impl<'de, A: Deserialize<'de>, B: Deserialize<'de>> Visitor<'de> for Both<A, B> {
    type Value = Inline<A, B>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of keys")
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut both: S) -> Result<Self::Value, S::Error> {
        let missing = |at| de::Error::invalid_length(at, &"two structures");
        let own = both.next_element()?.ok_or_else(|| missing(0))?;
        let inner = both.next_element()?.ok_or_else(|| missing(1))?;
        Ok(Inline { own, inner })
    }
}

/// Both write maps, which become one.
impl<A: Serialize, B: Serialize> Serialize for Inline<A, B> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Flat<'a, A, B> {
            #[serde(flatten)]
            own: &'a A,
            #[serde(flatten)]
            inner: &'a B,
        }
        Flat { own: &self.own, inner: &self.inner }.serialize(serializer)
    }
}
