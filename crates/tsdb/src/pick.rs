//! Labels as a query wants them: of a million series a sum by job wants a handful of label sets.
//!
//! What is left of a series' labels is looked up by their numbers, so that each set is spelt out once.

use foldhash::HashMap;
use model::{Labels, WantedLabels};
use smallvec::SmallVec;

use crate::block::{BlockError, SectionReader};
use crate::head::index::HeadIndex;

/// Label sets that are remembered.
const SETS_MAX: usize = 1 << 14;

/// Label sets of one place where labels have numbers.
pub(crate) struct Picker<K> {
    /// Whether a label name is wanted, by its number.
    names: HashMap<u32, bool>,
    sets: HashMap<SmallVec<[K; 8]>, Labels>,
    key: SmallVec<[K; 8]>,
    text: String,
}

impl<K> Default for Picker<K> {
    fn default() -> Self {
        Self {
            names: HashMap::default(),
            sets: HashMap::default(),
            key: SmallVec::new(),
            text: String::new(),
        }
    }
}

/// For a tenant's head: a label is a number.
pub(crate) type HeadPicker = Picker<u32>;

/// For a section: a label is a name's and a value's number.
pub(crate) type SectionPicker = Picker<(u32, u32)>;

impl HeadPicker {
    /// The wanted labels of a series of the head, whose numbers are `list`.
    pub(crate) fn pick(&mut self, index: &HeadIndex, list: &[u32], wanted: &WantedLabels) -> Labels {
        if *wanted == WantedLabels::All {
            return Labels::collect_sorted(index.texts(list), &mut self.text);
        }
        let Self { names, sets, key, text } = self;
        key.clear();
        key.extend(list.iter().copied().filter(|label| {
            let name = index.name_number(*label);
            *names.entry(name).or_insert_with(|| wanted.wants(index.text(*label).0))
        }));
        if let Some(labels) = sets.get(key) {
            return labels.clone();
        }
        let labels = Labels::collect_sorted(index.texts(key), text);
        remember(sets, key, &labels);
        labels
    }
}

impl SectionPicker {
    /// The wanted labels of a series of a section.
    pub(crate) fn pick(
        &mut self,
        reader: &mut SectionReader,
        ordinal: u32,
        wanted: &WantedLabels,
    ) -> Result<Labels, BlockError> {
        if *wanted == WantedLabels::All {
            return reader.labels(ordinal);
        }
        let Self { names, sets, key, .. } = self;
        key.clear();
        key.extend_from_slice(reader.label_numbers(ordinal)?);
        for (name, _) in key.iter() {
            if !names.contains_key(name) {
                names.insert(*name, wanted.wants(reader.spell(*name)?));
            }
        }
        key.retain(|(name, _)| names.get(name) == Some(&true));
        if let Some(labels) = sets.get(key) {
            return Ok(labels.clone());
        }
        let labels = reader.labels_where(ordinal, |name, _| names.get(&name) == Some(&true))?;
        remember(sets, key, &labels);
        Ok(labels)
    }
}

fn remember<K: Copy + Eq + std::hash::Hash>(
    sets: &mut HashMap<SmallVec<[K; 8]>, Labels>,
    key: &SmallVec<[K; 8]>,
    labels: &Labels,
) {
    if sets.len() >= SETS_MAX {
        sets.clear();
    }
    sets.insert(key.clone(), labels.clone());
}
