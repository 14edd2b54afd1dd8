//! The labels of one tenant's series in the head, and which series have them.
//!
//! A label, a name with a value, is kept once and has a number; a series is a short list of such numbers, in the order of
//! the names. Numbers stay as long as any series has the label.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use model::LabelsRef;
use roaring::RoaringBitmap;
use smallvec::SmallVec;

use super::numbered::Numbered;

/// Series that have a label. Most values are of few series: those need no bitmap.
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

    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Few(slots) => slots.len() as u64,
            Self::Many(bitmap) => bitmap.len(),
        }
    }
}

/// A label: the number of its name, its value, who has it.
struct Label {
    name: u32,
    value: Box<str>,
    posting: Posting,
}

/// A label name and its labels, in an order that holds until some are removed: a reader can stop and go on.
struct Name {
    text: Box<str>,
    labels: Vec<u32>,
}

/// One tenant's series in the head, by label.
#[derive(Default)]
pub(crate) struct HeadIndex {
    names: Numbered<Name>,
    by_name: HashTable<u32>,
    labels: Numbered<Label>,
    by_label: HashTable<u32>,
    hasher: RandomState,
    all: RoaringBitmap,
    /// The list of the series that came last: the next one's labels are mostly the same at the same place.
    last: Vec<u32>,
    text_bytes: u64,
    /// Members of all postings.
    members: u64,
}

/// Bytes that a member of a posting takes, between a bitmap's two and a list's four.
const MEMBER_BYTES: u64 = 4;

/// Bytes of a text's allocation and of its number in its name's list, beside the text itself.
const TEXT_OVERHEAD_BYTES: u64 = 20;

/// Bytes that a number takes in a hash table, without its slack.
const HASHED_BYTES: u64 = 5;

impl HeadIndex {
    /// Adds a series; its labels' numbers are in [`HeadIndex::last`] then.
    pub(crate) fn insert(&mut self, slot: u32, labels: LabelsRef<'_>) {
        self.all.insert(slot);
        let mut last = std::mem::take(&mut self.last);
        let mut count = 0;
        for (at, (name, value)) in labels.iter().enumerate() {
            let before = last.get(at).filter(|number| self.is(**number, name, value)).copied();
            let number = before.unwrap_or_else(|| self.number(name, value));
            match last.get_mut(at) {
                Some(place) => *place = number,
                None => last.push(number),
            }
            self.labels.get_mut(number).expect("just found").posting.insert(slot);
            count += 1;
        }
        self.members += count as u64;
        last.truncate(count);
        self.last = last;
    }

    /// The list of the series that was inserted last.
    pub(crate) fn last(&self) -> &[u32] {
        &self.last
    }

    fn is(&self, number: u32, name: &str, value: &str) -> bool {
        self.labels.get(number).is_some_and(|label| *label.value == *value && self.name_of(label) == name)
    }

    fn name_of(&self, label: &Label) -> &str {
        self.names.get(label.name).map_or("", |name| &name.text)
    }

    fn find_name(&self, name: &str) -> Option<u32> {
        let same = |number: &u32| self.names.get(*number).is_some_and(|known| *known.text == *name);
        self.by_name.find(self.hasher.hash_one(name), same).copied()
    }

    fn find(&self, name: u32, value: &str) -> Option<u32> {
        let same = |number: &u32| {
            self.labels.get(*number).is_some_and(|label| label.name == name && *label.value == *value)
        };
        self.by_label.find(self.hasher.hash_one((name, value)), same).copied()
    }

    /// The number of a label, made when it is new.
    fn number(&mut self, name: &str, value: &str) -> u32 {
        let name = self.find_name(name).unwrap_or_else(|| {
            self.text_bytes += name.len() as u64 + TEXT_OVERHEAD_BYTES;
            let number = self.names.add(Name { text: name.into(), labels: Vec::new() });
            let Self { by_name, names, hasher, .. } = self;
            let hash_of = |n: &u32| names.get(*n).map_or(0, |known| hasher.hash_one(&*known.text));
            by_name.insert_unique(hash_of(&number), number, hash_of);
            number
        });
        self.find(name, value).unwrap_or_else(|| {
            self.text_bytes += value.len() as u64 + TEXT_OVERHEAD_BYTES;
            let posting = Posting::Few(SmallVec::new());
            let number = self.labels.add(Label { name, value: value.into(), posting });
            self.names.get_mut(name).expect("just found").labels.push(number);
            let Self { by_label, labels, hasher, .. } = self;
            let hash_of =
                |n: &u32| labels.get(*n).map_or(0, |label| hasher.hash_one((label.name, &*label.value)));
            by_label.insert_unique(hash_of(&number), number, hash_of);
            number
        })
    }

    /// Forgets series, and labels and names that nobody has any more. `lists` are those of the series.
    pub(crate) fn remove_all<'l>(&mut self, gone: &RoaringBitmap, lists: impl Iterator<Item = &'l [u32]>) {
        self.all -= gone;
        let touched: RoaringBitmap = lists.flatten().collect();
        let mut names = RoaringBitmap::new();
        for number in &touched {
            let label = self.labels.get_mut(number).expect("a series had it");
            let before = label.posting.len();
            label.posting.remove_all(gone);
            self.members -= before - label.posting.len();
            if label.posting.is_empty() {
                names.insert(label.name);
                self.remove_label(number);
            }
        }
        for name in names {
            let labels = &self.labels;
            let of = self.names.get_mut(name).expect("it had a label");
            of.labels.retain(|number| labels.get(*number).is_some_and(|label| label.name == name));
            of.labels.shrink_to(of.labels.len() * 2);
            if of.labels.is_empty() {
                self.remove_name(name);
            }
        }
        if touched.len() > 1024 {
            let Self { by_label, labels, hasher, .. } = self;
            let hash_of =
                |n: &u32| labels.get(*n).map_or(0, |label| hasher.hash_one((label.name, &*label.value)));
            by_label.shrink_to_fit(hash_of);
        }
    }

    fn remove_label(&mut self, number: u32) {
        let Some(label) = self.labels.remove(number) else { return };
        self.text_bytes -= label.value.len() as u64 + TEXT_OVERHEAD_BYTES;
        let hash = self.hasher.hash_one((label.name, &*label.value));
        if let Ok(found) = self.by_label.find_entry(hash, |n| *n == number) {
            found.remove();
        }
    }

    fn remove_name(&mut self, number: u32) {
        let Some(name) = self.names.remove(number) else { return };
        self.text_bytes -= name.text.len() as u64 + TEXT_OVERHEAD_BYTES;
        if let Ok(found) = self.by_name.find_entry(self.hasher.hash_one(&*name.text), |n| *n == number) {
            found.remove();
        }
    }

    /// How many series there are.
    pub(crate) fn len(&self) -> u64 {
        self.all.len()
    }

    /// All series.
    pub(crate) fn all(&self) -> &RoaringBitmap {
        &self.all
    }

    /// The labels of a list, as texts.
    pub(crate) fn texts<'s>(&'s self, list: &'s [u32]) -> impl Iterator<Item = (&'s str, &'s str)> + 's {
        list.iter().map(|number| self.text(*number))
    }

    /// The number of a label's name.
    pub(crate) fn name_number(&self, label: u32) -> u32 {
        self.labels.get(label).map_or(u32::MAX, |label| label.name)
    }

    /// A label's name and value.
    pub(crate) fn text(&self, label: u32) -> (&str, &str) {
        self.labels.get(label).map_or(("", ""), |label| (self.name_of(label), &*label.value))
    }

    /// Series whose label has one of these values.
    pub(crate) fn with_values(&self, name: &str, wanted: &[String]) -> RoaringBitmap {
        let mut bitmap = RoaringBitmap::new();
        if let Some(name) = self.find_name(name) {
            let found = wanted.iter().filter_map(|value| self.labels.get(self.find(name, value)?));
            found.for_each(|label| label.posting.add_to(&mut bitmap));
        }
        bitmap
    }

    /// A label's values and who has them, from the `from`th on, not sorted.
    pub(crate) fn values_from(&self, name: &str, from: usize) -> impl Iterator<Item = (&str, &Posting)> {
        let name = self.find_name(name).and_then(|name| self.names.get(name));
        let numbers = name.and_then(|name| name.labels.get(from..)).unwrap_or(&[]);
        let labels = numbers.iter().filter_map(|number| self.labels.get(*number));
        labels.map(|label| (&*label.value, &label.posting))
    }

    /// Adds label names of `slots` (all series when `None`), not sorted: goes on at a name and one of its values, and
    /// looks at so many values at most. False at the end.
    pub(crate) fn names_from(
        &self,
        (number, value): &mut (u32, usize),
        values_max: usize,
        slots: Option<&RoaringBitmap>,
        names: &mut Vec<String>,
    ) -> bool {
        for _ in 0..values_max {
            if *number as usize >= self.names.end() {
                return false;
            }
            let name = self.names.get(*number);
            let label = name.and_then(|name| self.labels.get(*name.labels.get(*value)?));
            let touched = label.map(|label| slots.is_none_or(|slots| label.posting.touches(slots)));
            if touched == Some(true) {
                names.extend(name.map(|name| name.text.to_string()));
            }
            (*number, *value) = if touched == Some(false) { (*number, *value + 1) } else { (*number + 1, 0) };
        }
        true
    }

    /// Bytes held, estimated.
    pub(crate) fn bytes(&self) -> u64 {
        let tables = (self.by_name.capacity() + self.by_label.capacity()) as u64 * HASHED_BYTES;
        self.text_bytes + self.labels.bytes() + self.names.bytes() + tables + self.members * MEMBER_BYTES
    }
}

#[cfg(test)]
mod tests {
    use model::Labels;

    use super::*;

    fn labels(i: u32) -> Labels {
        let value = i.to_string();
        let mut pairs = vec![("__name__", "metric"), ("i", value.as_str())];
        if i.is_multiple_of(3) {
            pairs.push(("third", "yes"));
        }
        Labels::from_pairs(pairs)
    }

    #[test]
    fn lists_are_the_labels_and_what_nobody_has_is_forgotten() {
        let mut index = HeadIndex::default();
        let empty = index.text_bytes;
        let mut lists: Vec<Vec<u32>> = Vec::new();
        for i in 0..1000 {
            index.insert(i, labels(i).as_ref());
            lists.push(index.last().to_vec());
        }
        for (i, list) in lists.iter().enumerate() {
            assert_eq!(index.texts(list).collect::<Labels>(), labels(i as u32));
        }
        let gone: RoaringBitmap = (0..1000).filter(|i| i % 3 == 0).collect();
        index.remove_all(&gone, gone.iter().map(|i| &*lists[i as usize]));
        assert_eq!((index.find_name("third"), index.len()), (None, 666));
        assert_eq!(index.values_from("i", 0).count(), 666);
        assert_eq!(index.texts(&lists[1]).collect::<Labels>(), labels(1));
        // Numbers are given again.
        let end = index.labels.end();
        gone.iter().for_each(|i| index.insert(i, labels(i).as_ref()));
        assert_eq!((index.labels.end(), index.with_values("third", &["yes".into()]).len()), (end, 334));
        for i in &gone {
            let value = i.to_string();
            let name = index.find_name("i").unwrap();
            lists[i as usize] = [("__name__", "metric"), ("i", &value), ("third", "yes")]
                .map(|(name, value)| index.find(index.find_name(name).unwrap(), value).unwrap())
                .to_vec();
            assert_eq!(index.name_number(lists[i as usize][1]), name);
        }
        let all: RoaringBitmap = (0..1000).collect();
        index.remove_all(&all, lists.iter().map(|list| &**list));
        assert_eq!((index.len(), index.members, index.text_bytes), (0, 0, empty));
    }
}
