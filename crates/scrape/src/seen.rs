//! What a target's page had the last time: keys of its series in the order of the page, and their texts, packed.
//!
//! Pages keep their order, so what is known of a row is found by one comparison with the row at the same place. Only a page
//! that differs is looked up in a table, which is made then and dropped again. A key is 61 bits of a hash and three marks;
//! two of the thousands of series of a page have the same one once in a hundred billion pages.

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use crate::labelling::Labelling;

/// The rules drop the series.
const DROPPED: u64 = 1;
/// The series stood on the page before.
const REPEATED: u64 = 2;
/// The page gave its time, so its end is not told by its absence.
const UNTRACKED: u64 = 4;
/// All marks.
const MARKS: u64 = 7;

/// Whether the series of a page have been given their stale markers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ends {
    /// They are there.
    Open,
    /// The scrape after it failed.
    Marked,
}

/// A page as it was.
#[derive(Debug)]
pub(crate) struct Seen {
    entries: Vec<u64>,
    texts: Packed,
    /// How its labels were made.
    pub(crate) labelling: Arc<Labelling>,
    /// Whether its series have ended.
    pub(crate) ends: Ends,
    exemplars: Exemplars,
}

/// Digests of the exemplars without a time of their own that stood on a page, by the keys of their series.
pub(crate) type Exemplars = HashMap<u64, u64, foldhash::fast::FixedState>;

/// Texts of series, a line each: none has a line feed.
#[derive(Debug, Default)]
struct Packed {
    block: Box<[u8]>,
    length: usize,
}

/// What is known of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// The page had no such series.
    New,
    /// It had, and it is stored.
    Kept,
    /// It had, and the rules drop it.
    Dropped,
}

/// Whether the end of a series is told by its absence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tracking {
    /// It is.
    Tracked,
    /// Its rows have times of their own.
    Untracked,
}

impl Seen {
    /// Remembers a page.
    pub(crate) fn new<'t>(
        entries: Vec<u64>,
        exemplars: Exemplars,
        texts: impl Iterator<Item = &'t str>,
        labelling: Arc<Labelling>,
    ) -> Self {
        let mut lines = Vec::new();
        for text in texts {
            lines.extend_from_slice(text.as_bytes());
            lines.push(b'\n');
        }
        let mut block = Vec::new();
        codec::lz4::compress(&lines, &mut block);
        let texts = Packed { block: block.into(), length: lines.len() };
        let mut entries = entries;
        entries.shrink_to_fit();
        Self { entries, texts, labelling, ends: Ends::Open, exemplars }
    }

    /// The same series again, at the same places.
    pub(crate) fn again(&mut self, entries: &[u64], exemplars: Exemplars) {
        self.entries.copy_from_slice(entries);
        self.exemplars = exemplars;
        self.ends = Ends::Open;
    }

    /// Its exemplars are not stored: they are given again.
    pub(crate) fn forget_exemplars(&mut self) {
        self.exemplars.clear();
    }

    /// How many rows the page had.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The texts of its series whose end would be told and is not yet, without those that `is_there` knows by their keys.
    /// One string, and where in it they lie.
    pub(crate) fn gone(&self, is_there: impl Fn(u64) -> bool) -> (String, Vec<(u32, u32)>) {
        let is_gone = |entry: u64| entry & MARKS == 0 && !is_there(entry & !MARKS);
        if self.ends == Ends::Marked || !self.entries.iter().any(|entry| is_gone(*entry)) {
            return Default::default();
        }
        let mut bytes = Vec::new();
        let Packed { block, length } = &self.texts;
        codec::lz4::decompress(block, *length, &mut bytes).expect("it was packed here");
        let text = String::from_utf8(bytes).expect("they were texts");
        let mut places = Vec::new();
        let mut start = 0;
        for (line, entry) in text.split_terminator('\n').zip(&self.entries) {
            if is_gone(*entry) {
                places.push((start, line.len() as u32));
            }
            start += line.len() as u32 + 1;
        }
        (text, places)
    }
}

/// A page that is being read, beside the one before.
#[derive(Debug)]
pub(crate) struct Beside<'l> {
    last: &'l [u64],
    now: Vec<u64>,
    table: Option<Table>,
    last_exemplars: Option<&'l Exemplars>,
    exemplars: Exemplars,
}

/// For pages that differ.
#[derive(Debug, Default)]
struct Table {
    last: HashMap<u64, u64, foldhash::fast::FixedState>,
    now: HashSet<u64, foldhash::fast::FixedState>,
}

impl<'l> Beside<'l> {
    /// A new page beside `last`, if that is known and its labels were made in the same way.
    pub(crate) fn new(last: Option<&'l Seen>) -> Self {
        let last_exemplars = last.map(|seen| &seen.exemplars);
        let last = last.map_or(&[][..], |seen| &seen.entries);
        let now = Vec::with_capacity(last.len());
        Self { last, now, table: None, last_exemplars, exemplars: Exemplars::default() }
    }

    /// Takes the next row: what is known of it, and whether it stood on this page already.
    pub(crate) fn row(&mut self, key: u128, tracking: Tracking) -> (Known, Repeats) {
        let key = key as u64 & !MARKS;
        let (known, repeats) = match self.last.get(self.now.len()) {
            Some(entry) if self.table.is_none() && entry & !MARKS == key => {
                (known(*entry), if entry & REPEATED == 0 { Repeats::No } else { Repeats::Yes })
            }
            _ => {
                let table = self.table.get_or_insert_with(|| Table::new(self.last, &self.now));
                let repeats = if table.now.insert(key) { Repeats::No } else { Repeats::Yes };
                (table.last.get(&key).map_or(Known::New, |entry| known(*entry)), repeats)
            }
        };
        let mut entry = key;
        if known == Known::Dropped {
            entry |= DROPPED;
        }
        if repeats == Repeats::Yes {
            entry |= REPEATED;
        }
        if tracking == Tracking::Untracked {
            entry |= UNTRACKED;
        }
        self.now.push(entry);
        (known, repeats)
    }

    /// The rules drop the row that came last.
    pub(crate) fn drop_last(&mut self) {
        if let (Some(entry), Some(table)) = (self.now.last_mut(), &mut self.table) {
            *entry |= DROPPED;
            // It may come again on this page.
            table.last.insert(*entry & !MARKS, DROPPED);
        }
    }

    /// The row that came last is new and stored: it is known when it comes again.
    pub(crate) fn keep_last(&mut self) {
        if let (Some(entry), Some(table)) = (self.now.last(), &mut self.table) {
            table.last.insert(entry & !MARKS, 0);
        }
    }

    /// Whether the page has the rows of the last one, in their order.
    pub(crate) fn is_same(&self) -> bool {
        self.table.is_none() && self.now.len() == self.last.len()
    }

    /// Whether the series with a key is on this page.
    pub(crate) fn keys(&self) -> HashSet<u64, foldhash::fast::FixedState> {
        self.now.iter().map(|entry| entry & !MARKS).collect()
    }

    /// Whether the series with this key had an exemplar of this digest on the last page. Takes it for this one.
    pub(crate) fn had_exemplar(&mut self, key: u128, digest: u64) -> bool {
        let key = key as u64 & !MARKS;
        self.exemplars.insert(key, digest);
        self.last_exemplars.and_then(|last| last.get(&key)) == Some(&digest)
    }

    /// The rows, and their exemplars without a time.
    pub(crate) fn into_entries(self) -> (Vec<u64>, Exemplars) {
        (self.now, self.exemplars)
    }
}

/// Whether a series stood on this page before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeats {
    /// It did not.
    No,
    /// It did.
    Yes,
}

impl Table {
    fn new(last: &[u64], now: &[u64]) -> Self {
        Self {
            last: last.iter().map(|entry| (entry & !MARKS, entry & MARKS)).collect(),
            now: now.iter().map(|entry| entry & !MARKS).collect(),
        }
    }
}

fn known(entry: u64) -> Known {
    if entry & DROPPED == 0 { Known::Kept } else { Known::Dropped }
}
