//! Label postings of one tenant's series in the head.

use foldhash::HashMap;
use model::{Labels, Matcher};
use roaring::RoaringBitmap;
use smallvec::SmallVec;

/// Series that have a label with a value. Most values are of few series: those need no bitmap.
enum Posting {
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

    fn add_to(&self, bitmap: &mut RoaringBitmap) {
        match self {
            Self::Few(slots) => bitmap.extend(slots.iter().copied()),
            Self::Many(many) => *bitmap |= many,
        }
    }

    fn touches(&self, slots: &RoaringBitmap) -> bool {
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

/// One tenant's series in the head, by label.
#[derive(Default)]
pub(crate) struct HeadIndex {
    labels: HashMap<Box<str>, HashMap<Box<str>, Posting>>,
    all: RoaringBitmap,
    symbol_bytes: u64,
    /// Members of all postings.
    members: u64,
}

/// Bytes that a member of a posting takes, between a bitmap's two and a list's four.
const MEMBER_BYTES: u64 = 4;

/// Bytes of a hash map entry and the allocation behind it, beside the text itself.
const SYMBOL_OVERHEAD_BYTES: u64 = 72;

impl HeadIndex {
    pub(crate) fn insert(&mut self, slot: u32, labels: &Labels) {
        self.all.insert(slot);
        for (name, value) in labels.iter() {
            self.members += 1;
            if !self.labels.contains_key(name) {
                self.labels.insert(name.into(), HashMap::default());
                self.symbol_bytes += name.len() as u64 + SYMBOL_OVERHEAD_BYTES;
            }
            let values = self.labels.get_mut(name).expect("just inserted");
            match values.get_mut(value) {
                Some(posting) => posting.insert(slot),
                None => {
                    values.insert(value.into(), Posting::Few(SmallVec::from_slice(&[slot])));
                    self.symbol_bytes += value.len() as u64 + SYMBOL_OVERHEAD_BYTES;
                }
            }
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
            if values.is_empty() {
                freed += name.len() as u64 + SYMBOL_OVERHEAD_BYTES;
            }
            !values.is_empty()
        });
        self.symbol_bytes -= freed;
        self.members -= left;
    }

    /// How many series there are.
    pub(crate) fn len(&self) -> u64 {
        self.all.len()
    }

    /// Series that satisfy all matchers; a label that a series does not have counts as empty.
    pub(crate) fn select(&self, matchers: &[Matcher]) -> RoaringBitmap {
        let mut selected: Option<RoaringBitmap> = None;
        let mut excluded = RoaringBitmap::new();
        for matcher in matchers {
            if matcher.matches_empty() {
                excluded |= self.with_value(matcher, |value| !matcher.matches(value));
            } else {
                let found = self.found(matcher);
                selected = Some(match selected {
                    Some(before) => before & found,
                    None => found,
                });
                if selected.as_ref().is_some_and(RoaringBitmap::is_empty) {
                    return RoaringBitmap::new();
                }
            }
        }
        selected.unwrap_or_else(|| self.all.clone()) - excluded
    }

    fn found(&self, matcher: &Matcher) -> RoaringBitmap {
        let Some(literals) = matcher.literals() else {
            return self.with_value(matcher, |value| matcher.matches(value));
        };
        let mut bitmap = RoaringBitmap::new();
        if let Some(values) = self.labels.get(matcher.name.as_str()) {
            for posting in literals.iter().filter_map(|literal| values.get(literal.as_str())) {
                posting.add_to(&mut bitmap);
            }
        }
        bitmap
    }

    fn with_value(&self, matcher: &Matcher, wanted: impl Fn(&str) -> bool) -> RoaringBitmap {
        let mut bitmap = RoaringBitmap::new();
        let values = self.labels.get(matcher.name.as_str());
        for (_, posting) in values.into_iter().flatten().filter(|(value, _)| wanted(value)) {
            posting.add_to(&mut bitmap);
        }
        bitmap
    }

    /// Label names of `slots` (all series when `None`), not sorted.
    pub(crate) fn names(&self, slots: Option<&RoaringBitmap>) -> Vec<String> {
        let touched = |values: &HashMap<Box<str>, Posting>| {
            slots.is_none_or(|slots| values.values().any(|posting| posting.touches(slots)))
        };
        self.labels.iter().filter(|(_, values)| touched(values)).map(|(name, _)| name.to_string()).collect()
    }

    /// Values of a label of `slots` (all series when `None`), not sorted.
    pub(crate) fn values(&self, name: &str, slots: Option<&RoaringBitmap>) -> Vec<String> {
        let touched = |posting: &Posting| slots.is_none_or(|slots| posting.touches(slots));
        let values = self.labels.get(name).into_iter().flatten();
        values.filter(|(_, posting)| touched(posting)).map(|(value, _)| value.to_string()).collect()
    }

    /// Bytes held, estimated.
    pub(crate) fn bytes(&self) -> u64 {
        self.symbol_bytes + self.members * MEMBER_BYTES
    }
}
