//! What a target's page says of its metric families: type, unit, help. It goes to the store when it changes, and is kept
//! packed for `/api/v1/targets/metadata`.

use std::hash::{BuildHasher, Hasher};

use model::{Metadata, MetricType};

use crate::page::Telling;

/// It goes to the store again after so many scrapes, though it did not change: a tenant may be a new one by the same name.
const TELL_AGAIN: u32 = 240;

/// What was said the last time.
#[derive(Debug, Default)]
pub(crate) struct Families {
    digest: u64,
    scrapes: u32,
    packed: Vec<u8>,
    length: usize,
}

/// What is said now.
#[derive(Debug)]
pub(crate) enum Said {
    /// Nothing new.
    Same,
    /// Something else, or it is time to say it again.
    News(u64, Vec<(String, Metadata)>),
}

impl Said {
    /// Whether it goes to the store.
    pub(crate) fn telling(&self) -> Telling {
        match self {
            Self::Same => Telling::Known,
            Self::News(..) => Telling::News,
        }
    }
}

impl Families {
    /// What a page says, beside what the one before said.
    pub(crate) fn beside(&self, families: &[(String, Metadata)]) -> Said {
        let digest = digest(families);
        if digest == self.digest && self.scrapes < TELL_AGAIN {
            return Said::Same;
        }
        Said::News(digest, families.to_vec())
    }

    /// Remembers what the store has taken.
    pub(crate) fn take(&mut self, said: Said) {
        let Said::News(digest, families) = said else {
            self.scrapes += 1;
            return;
        };
        self.scrapes = 0;
        if self.digest == digest {
            return;
        }
        let mut bytes = Vec::new();
        for (family, metadata) in &families {
            bytes.push(metadata.kind.number());
            for text in [family, &metadata.unit, &metadata.help] {
                bytes.extend_from_slice(&(text.len() as u32).to_le_bytes());
                bytes.extend_from_slice(text.as_bytes());
            }
        }
        self.packed = Vec::new();
        codec::lz4::compress(&bytes, &mut self.packed);
        self.packed.shrink_to_fit();
        (self.length, self.digest) = (bytes.len(), digest);
    }

    /// The store may not have what it took: it is told again.
    pub(crate) fn forget(&mut self) {
        self.scrapes = TELL_AGAIN;
    }

    /// What was said, in the order of the page.
    pub(crate) fn list(&self) -> Vec<(String, Metadata)> {
        let mut bytes = Vec::new();
        codec::lz4::decompress(&self.packed, self.length, &mut bytes).unwrap_or_default();
        let mut rest = &bytes[..];
        let mut families = Vec::new();
        while let Some((kind, after)) = rest.split_first() {
            rest = after;
            let mut text = || {
                let (length, after) = rest.split_first_chunk().expect("it was written here");
                let (text, after) = after.split_at(u32::from_le_bytes(*length) as usize);
                rest = after;
                String::from_utf8_lossy(text).into_owned()
            };
            let (family, unit, help) = (text(), text(), text());
            let kind = MetricType::from_number(u64::from(*kind)).unwrap_or_default();
            families.push((family, Metadata { kind, unit, help }));
        }
        families
    }
}

fn digest(families: &[(String, Metadata)]) -> u64 {
    let mut hash = foldhash::quality::FixedState::default().build_hasher();
    for (family, metadata) in families {
        hash.write_u8(metadata.kind.number());
        for text in [family, &metadata.unit, &metadata.help] {
            hash.write_usize(text.len());
            hash.write(text.as_bytes());
        }
    }
    hash.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_is_kept_and_told_when_it_changes() {
        let said = |help: &str| {
            let metadata = Metadata { kind: MetricType::Counter, unit: "s".into(), help: help.into() };
            vec![("a".to_owned(), metadata), ("b".to_owned(), Metadata::default())]
        };
        let mut families = Families::default();
        assert_eq!(families.list(), []);
        for help in ["one", "", "two"] {
            let news = families.beside(&said(help));
            assert_eq!(news.telling(), Telling::News);
            families.take(news);
            assert_eq!(families.list(), said(help));
            assert_eq!(families.beside(&said(help)).telling(), Telling::Known);
        }
        for _ in 0..TELL_AGAIN {
            families.take(families.beside(&said("two")));
        }
        assert_eq!(families.beside(&said("two")).telling(), Telling::News);
    }
}
