//! Label postings of one tenant's series in the head.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use model::Labels;
use roaring::RoaringBitmap;
use smallvec::SmallVec;

/// Series that have a label with a value. Most values are of few series: those need no bitmap.
pub(crate) enum Posting {
    Few(SmallVec<[u32; 4]>),
    Many(RoaringBitmap),
}

/// Slots up to which a posting is a plain list.
const FEW_MAX: usize = 16;

impl Posting {
    fn insert(&mut self, slot: u32) {
        match self {
            Self::Few(slots) if slots.len() < FEW_MAX => slots.push(slot),
            Self::Few(slots) => *self = Self::Many(slots.iter().copied().chain([slot]).collect()),
            Self::Many(bitmap) => {
                bitmap.insert(slot);
            }
        }
    }

    fn remove_all(&mut self, gone: &RoaringBitmap) {
        match self {
            Self::Few(slots) => slots.retain(|slot| !gone.contains(*slot)),
            Self::Many(bitmap) => *bitmap -= gone,
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Few(slots) => slots.is_empty(),
            Self::Many(bitmap) => bitmap.is_empty(),
        }
    }

    pub(crate) fn add_to(&self, bitmap: &mut RoaringBitmap) {
        match self {
            Self::Few(slots) => bitmap.extend(slots.iter().copied()),
            Self::Many(many) => *bitmap |= many,
        }
    }

    pub(crate) fn touches(&self, slots: &RoaringBitmap) -> bool {
        match self {
            Self::Few(few) => few.iter().any(|slot| slots.contains(*slot)),
            Self::Many(many) => !many.is_disjoint(slots),
        }
    }

    fn len(&self) -> u64 {
        match self {
            Self::Few(slots) => slots.len() as u64,
            Self::Many(bitmap) => bitmap.len(),
        }
    }
}

/// Texts with what is kept for each, in an order that holds until some are removed: a reader can stop and go on.
struct Symbols<T> {
    by_text: HashTable<u32>,
    list: Vec<(Box<str>, T)>,
    hasher: RandomState,
}

impl<T> Default for Symbols<T> {
    fn default() -> Self {
        Self { by_text: HashTable::new(), list: Vec::new(), hasher: RandomState::default() }
    }
}

impl<T> Symbols<T> {
    fn position(&self, text: &str) -> Option<usize> {
        let found = |at: &u32| *self.list[*at as usize].0 == *text;
        self.by_text.find(self.hasher.hash_one(text), found).map(|at| *at as usize)
    }

    fn get(&self, text: &str) -> Option<&T> {
        self.position(text).map(|at| &self.list[at].1)
    }

    /// What is kept for a text, made when it is new, and whether it is.
    fn get_or_add(&mut self, text: &str, new: impl FnOnce() -> T) -> (&mut T, bool) {
        let found = self.position(text);
        let at = found.unwrap_or_else(|| {
            self.list.push((text.into(), new()));
            self.enter(self.list.len() - 1);
            self.list.len() - 1
        });
        (&mut self.list[at].1, found.is_none())
    }

    fn enter(&mut self, at: usize) {
        let Self { by_text, list, hasher } = self;
        let hash_of = |at: &u32| hasher.hash_one(&*list[*at as usize].0);
        let number = u32::try_from(at).expect("there are no more texts than postings of u32 slots");
        by_text.insert_unique(hash_of(&number), number, hash_of);
    }

    fn retain(&mut self, mut keep: impl FnMut(&str, &mut T) -> bool) {
        let before = self.list.len();
        self.list.retain_mut(|(text, kept)| keep(text, kept));
        if self.list.len() < before {
            self.list.shrink_to(self.list.len() * 2);
            self.by_text = HashTable::with_capacity(self.list.len());
            (0..self.list.len()).for_each(|at| self.enter(at));
        }
    }
}

/// One tenant's series in the head, by label.
#[derive(Default)]
pub(crate) struct HeadIndex {
    labels: Symbols<Symbols<Posting>>,
    all: RoaringBitmap,
    symbol_bytes: u64,
    /// Members of all postings.
    members: u64,
}

/// Bytes that a member of a posting takes, between a bitmap's two and a list's four.
const MEMBER_BYTES: u64 = 4;

/// Bytes of a text's places in list and table and the allocation behind it, beside the text itself.
const SYMBOL_OVERHEAD_BYTES: u64 = 72;

impl HeadIndex {
    pub(crate) fn insert(&mut self, slot: u32, labels: &Labels) {
        self.all.insert(slot);
        for (name, value) in labels.iter() {
            self.members += 1;
            let (values, new) = self.labels.get_or_add(name, Symbols::default);
            if new {
                self.symbol_bytes += name.len() as u64 + SYMBOL_OVERHEAD_BYTES;
            }
            let (posting, new) = values.get_or_add(value, || Posting::Few(SmallVec::new()));
            if new {
                self.symbol_bytes += value.len() as u64 + SYMBOL_OVERHEAD_BYTES;
            }
            posting.insert(slot);
        }
    }

    /// Forgets series, and values and names that nobody has any more.
    pub(crate) fn remove_all(&mut self, gone: &RoaringBitmap) {
        self.all -= gone;
        let (mut freed, mut left) = (0, 0);
        self.labels.retain(|name, values| {
            values.retain(|value, posting| {
                let before = posting.len();
                posting.remove_all(gone);
                left += before - posting.len();
                if posting.is_empty() {
                    freed += value.len() as u64 + SYMBOL_OVERHEAD_BYTES;
                }
                !posting.is_empty()
            });
            if values.list.is_empty() {
                freed += name.len() as u64 + SYMBOL_OVERHEAD_BYTES;
            }
            !values.list.is_empty()
        });
        self.symbol_bytes -= freed;
        self.members -= left;
    }

    /// How many series there are.
    pub(crate) fn len(&self) -> u64 {
        self.all.len()
    }

    /// All series.
    pub(crate) fn all(&self) -> &RoaringBitmap {
        &self.all
    }

    /// Series whose label has one of these values.
    pub(crate) fn with_values(&self, name: &str, wanted: &[String]) -> RoaringBitmap {
        let mut bitmap = RoaringBitmap::new();
        if let Some(values) = self.labels.get(name) {
            wanted
                .iter()
                .filter_map(|value| values.get(value))
                .for_each(|posting| posting.add_to(&mut bitmap));
        }
        bitmap
    }

    /// A label's values and who has them, from the `from`th on, not sorted.
    pub(crate) fn values_from(&self, name: &str, from: usize) -> impl Iterator<Item = (&str, &Posting)> {
        let values = self.labels.get(name).and_then(|values| values.list.get(from..));
        values.into_iter().flatten().map(|(value, posting)| (&**value, posting))
    }

    /// Adds label names of `slots` (all series when `None`), not sorted: goes on at a name and one of its values, and
    /// looks at so many values at most. False at the end.
    pub(crate) fn names_from(
        &self,
        (name, value): &mut (usize, usize),
        values_max: usize,
        slots: Option<&RoaringBitmap>,
        names: &mut Vec<String>,
    ) -> bool {
        for _ in 0..values_max {
            let Some((text, values)) = self.labels.list.get(*name) else { return false };
            let posting = values.list.get(*value).map(|(_, posting)| posting);
            let touched = posting.map(|posting| slots.is_none_or(|slots| posting.touches(slots)));
            if touched == Some(true) {
                names.push(text.to_string());
            }
            (*name, *value) = if touched == Some(false) { (*name, *value + 1) } else { (*name + 1, 0) };
        }
        true
    }

    /// Bytes held, estimated.
    pub(crate) fn bytes(&self) -> u64 {
        self.symbol_bytes + self.members * MEMBER_BYTES
    }
}
