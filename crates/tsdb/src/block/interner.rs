//! Strings as numbers while a section is being written.

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use std::hash::BuildHasher;

/// Each string once, numbered in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Interner {
    text: String,
    ends: Vec<usize>,
    table: HashTable<u32>,
    hasher: RandomState,
}

impl Interner {
    /// The number of a string.
    pub(super) fn number(&mut self, string: &str) -> u32 {
        let hash = self.hasher.hash_one(string);
        let (text, ends) = (&self.text, &self.ends);
        if let Some(found) = self.table.find(hash, |n| get(text, ends, *n) == string) {
            return *found;
        }
        let number = self.ends.len() as u32;
        self.text.push_str(string);
        self.ends.push(self.text.len());
        let (text, ends) = (&self.text, &self.ends);
        let hasher = &self.hasher;
        self.table.insert_unique(hash, number, |n| hasher.hash_one(get(text, ends, *n)));
        number
    }

    /// The string with a number.
    pub(super) fn get(&self, number: u32) -> &str {
        get(&self.text, &self.ends, number)
    }

    /// Numbers in the order of their strings.
    pub(super) fn sorted(&self) -> Vec<u32> {
        let mut numbers: Vec<u32> = (0..self.ends.len() as u32).collect();
        numbers.sort_unstable_by(|a, b| self.get(*a).cmp(self.get(*b)));
        numbers
    }

    /// Bytes of memory that they take.
    pub(super) fn bytes(&self) -> u64 {
        let slots = self.table.capacity() * (size_of::<u32>() + 1);
        (self.text.capacity() + self.ends.capacity() * size_of::<usize>() + slots) as u64
    }
}

fn get<'a>(text: &'a str, ends: &[usize], number: u32) -> &'a str {
    let number = number as usize;
    let start = if number == 0 { 0 } else { ends[number - 1] };
    &text[start..ends[number]]
}
