//! Which series satisfy matchers: set operations on postings.
//!
//! A missing label counts as empty. A matcher that the empty value does not satisfy keeps the series that have a
//! matching value; one that it does satisfy drops the series that have a value which does not match. Literals and
//! prefixes are looked up, other patterns are tested once per value. Where postings are damaged the series table
//! answers: slower, and the same.

use std::ops::Range;

use codec::chunk::Corrupt;
use model::{Budget, MatchOp, Matcher, TimeRange};
use roaring::RoaringBitmap;

use super::postings::{Postings, PostingsReader};
use super::section::{Section, Speller, go_around};
use super::series::ROWS;
use super::symbols::prefix_end;
use super::{BlockError, Damaged};

/// Bytes of an ordinal in a list.
const ORDINAL_BYTES: u64 = 4;
/// With fewer series left than this for each part of a label's postings, series are asked and not values.
const SERIES_PER_PART: u64 = 16;

impl Section {
    /// The ordinals, ascending, of the series that satisfy all matchers. What the list takes stays charged to
    /// `budget`. Damaged postings are gone around; series of which nobody can tell then are left out. Either is named in
    /// `damaged`.
    pub fn select(
        &self,
        matchers: &[Matcher],
        budget: &Budget,
        damaged: &mut Vec<Damaged>,
    ) -> Result<Vec<u32>, BlockError> {
        self.select_or(Unknown::LeftOut, matchers, budget, damaged)
    }

    /// The same, of the series that may satisfy all matchers.
    pub(crate) fn select_at_most(
        &self,
        matchers: &[Matcher],
        budget: &Budget,
        damaged: &mut Vec<Damaged>,
    ) -> Result<Vec<u32>, BlockError> {
        self.select_or(Unknown::Selected, matchers, budget, damaged)
    }

    fn select_or(
        &self,
        unknown: Unknown,
        matchers: &[Matcher],
        budget: &Budget,
        damaged: &mut Vec<Damaged>,
    ) -> Result<Vec<u32>, BlockError> {
        let mut charged = Charged { budget, bytes: 0 };
        let selected = match self.select_by_postings(matchers, &mut charged) {
            Err(error @ BlockError::Damaged(_)) => {
                go_around(error, damaged)?;
                self.select_by_rows(unknown, matchers, &mut charged, damaged)?
            }
            other => other?,
        };
        charged.keep(selected.len());
        Ok(selected)
    }

    /// Those of the selected series whose samples overlap the range. Series whose row lies in a damaged page are left out
    /// and the damage is named.
    pub fn select_in(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        budget: &Budget,
        damaged: &mut Vec<Damaged>,
    ) -> Result<Vec<u32>, BlockError> {
        let mut found = self.select(matchers, budget, damaged)?;
        let (mut reader, mut failed) = (self.reader(), None);
        found.retain(|ordinal| match reader.range(*ordinal) {
            Ok(lies) => lies.start_ms <= lies.end_ms && lies.overlaps(&range),
            Err(error) => {
                failed = go_around(error, damaged).err().or(failed.take());
                false
            }
        });
        failed.map_or(Ok(found), Err)
    }

    fn select_by_postings(
        &self,
        matchers: &[Matcher],
        charged: &mut Charged<'_>,
    ) -> Result<Vec<u32>, BlockError> {
        let mut narrowing: Vec<&Matcher> = matchers.iter().filter(|m| !m.matches_empty()).collect();
        // Look-ups first: what they leave makes the others cheap.
        narrowing.sort_by_key(|m| m.literals().is_none());
        let mut left: Option<RoaringBitmap> = None;
        for matcher in narrowing {
            let now = match &left {
                Some(left) if left.is_empty() => return Ok(Vec::new()),
                Some(left) if self.is_cheaper_by_series(matcher, left)? => self.filter(matcher, left)?,
                Some(left) => left & self.having(matcher, true, charged)?,
                None => self.having(matcher, true, charged)?,
            };
            left = Some(now);
        }
        let mut left = match left {
            Some(left) => left,
            None => {
                charged.take(u64::from(self.series()))?;
                (0..self.series()).collect()
            }
        };
        for matcher in matchers.iter().filter(|m| m.matches_empty()) {
            if left.is_empty() {
                break;
            }
            if self.is_cheaper_by_series(matcher, &left)? {
                left = self.filter(matcher, &left)?;
            } else {
                left -= self.having(matcher, false, charged)?;
            }
        }
        Ok(left.iter().collect())
    }

    /// Whether asking the series that are left costs less than walking the label's values.
    fn is_cheaper_by_series(&self, matcher: &Matcher, left: &RoaringBitmap) -> Result<bool, BlockError> {
        if matcher.literals().is_some() || matcher.op == MatchOp::NotEqual {
            return Ok(false);
        }
        let parts = match self.find_symbol(&matcher.name)? {
            Some(name) => self.postings_entries(name).len() as u64,
            None => 0,
        };
        Ok(left.len() < parts * SERIES_PER_PART)
    }

    fn filter(&self, matcher: &Matcher, left: &RoaringBitmap) -> Result<RoaringBitmap, BlockError> {
        let (mut kept, mut reader) = (RoaringBitmap::new(), self.reader());
        for ordinal in left {
            if matcher.matches(reader.labels(ordinal)?.get(&matcher.name).unwrap_or("")) {
                kept.insert(ordinal);
            }
        }
        Ok(kept)
    }

    /// The series that have a value of the matcher's label which satisfies it, or which does not.
    fn having(
        &self,
        matcher: &Matcher,
        satisfied: bool,
        charged: &mut Charged<'_>,
    ) -> Result<RoaringBitmap, BlockError> {
        let Some(label) = self.find_symbol(&matcher.name)? else { return Ok(RoaringBitmap::new()) };
        let mut ordinals = Vec::new();
        let mut lists = 0;
        let mut take = |list: &Postings<'_>, charged: &mut Charged<'_>| {
            charged.take(u64::from(list.count))?;
            lists += 1;
            Ok::<_, BlockError>(list.read(self.series(), &mut ordinals))
        };
        match literals(matcher, satisfied) {
            Some(literals) => {
                for literal in literals {
                    let Some(value) = self.find_symbol(&literal)? else { continue };
                    self.each_postings(label, value..value.saturating_add(1), |list| take(list, charged))?;
                }
            }
            None => {
                let prefix = if satisfied { matcher.prefix() } else { "" };
                let mut speller = Speller::default();
                self.each_postings(label, self.values_with(prefix)?, |list| {
                    if matcher.matches(speller.spell(self, list.value)?) == satisfied {
                        return take(list, charged);
                    }
                    Ok(Ok(()))
                })?;
            }
        }
        if lists > 1 {
            ordinals.sort_unstable();
            ordinals.dedup();
        }
        // Sorted by now, and the only way to build it in one go.
        Ok(RoaringBitmap::from_sorted_iter(ordinals).unwrap_or_default())
    }

    /// The numbers of symbols that begin with a prefix.
    fn values_with(&self, prefix: &str) -> Result<Range<u32>, BlockError> {
        let start = self.symbols_before(prefix.as_bytes())?;
        let end = match prefix_end(prefix) {
            Some(end) => self.symbols_before(&end)?,
            None => u32::MAX,
        };
        Ok(start..end)
    }

    fn postings_entries(&self, name: u32) -> &[super::root::PostingsEntry] {
        let all = &self.root().postings;
        let start = all.partition_point(|entry| entry.name < name);
        let end = all.partition_point(|entry| entry.name <= name);
        &all[start..end]
    }

    /// Walks the lists of a label whose value's number is in a range.
    pub(super) fn each_postings(
        &self,
        name: u32,
        values: Range<u32>,
        mut each: impl FnMut(&Postings<'_>) -> Result<Result<(), Corrupt>, BlockError>,
    ) -> Result<(), BlockError> {
        let entries = self.postings_entries(name);
        let start = entries.partition_point(|entry| entry.value <= values.start).saturating_sub(1);
        for entry in entries.iter().skip(start).take_while(|entry| entry.value < values.end) {
            let part = self.part(entry.part)?;
            let mut reader = PostingsReader::new(part.bytes(), entry.value);
            while let Some(list) = reader.next().map_err(|Corrupt| self.malformed(&part))? {
                if list.value >= values.end {
                    return Ok(());
                }
                if list.value >= values.start {
                    each(&list)?.map_err(|Corrupt| self.malformed(&part))?;
                }
            }
        }
        Ok(())
    }

    fn select_by_rows(
        &self,
        unknown: Unknown,
        matchers: &[Matcher],
        charged: &mut Charged<'_>,
        damaged: &mut Vec<Damaged>,
    ) -> Result<Vec<u32>, BlockError> {
        let (mut selected, mut reader) = (Vec::new(), self.reader());
        let mut ordinal = 0;
        while ordinal < self.series() {
            let is_selected = match reader.satisfies(ordinal, matchers) {
                Ok(satisfied) => satisfied,
                Err(error) => {
                    go_around(error, damaged)?;
                    if reader.range(ordinal).is_err() {
                        // It is the row that is lost, with its chunks, and so is its part: nothing is there to be read.
                        ordinal = (ordinal / ROWS + 1) * ROWS;
                        continue;
                    }
                    unknown == Unknown::Selected
                }
            };
            if is_selected {
                charged.take(1)?;
                selected.push(ordinal);
            }
            ordinal += 1;
        }
        Ok(selected)
    }
}

/// What becomes of series of which damage does not let tell whether they satisfy the matchers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unknown {
    /// They are left out: what is answered is right.
    LeftOut,
    /// They are selected: what is deleted stays so.
    Selected,
}

/// The only values whose lists are wanted, when they can be told without looking at any.
fn literals(matcher: &Matcher, satisfied: bool) -> Option<Vec<String>> {
    match (satisfied, matcher.op) {
        (true, _) => matcher.literals(),
        (false, MatchOp::NotEqual) => Some(vec![matcher.value.clone()]),
        (false, _) => None,
    }
}

/// What a selection took from the budget, given back when it ends but for the result.
struct Charged<'a> {
    budget: &'a Budget,
    bytes: u64,
}

impl Charged<'_> {
    /// Takes the bytes of so many ordinals before they are read.
    fn take(&mut self, ordinals: u64) -> Result<(), BlockError> {
        let bytes = ordinals * ORDINAL_BYTES;
        self.budget.charge(bytes)?;
        self.bytes += bytes;
        Ok(())
    }

    /// Leaves the result charged.
    fn keep(&mut self, ordinals: usize) {
        self.bytes = self.bytes.saturating_sub(ordinals as u64 * ORDINAL_BYTES);
    }
}

impl Drop for Charged<'_> {
    fn drop(&mut self) {
        self.budget.release(self.bytes);
    }
}
