//! Deletes of a part of a tenant's samples, until merges have taken them off the disk.
//!
//! A delete flushes the head and then writes a tombstone into the manifest. It names the files in which it masks
//! something, of those that were there at that moment: files made later hold what was sent later or what a merge has
//! left. A tombstone goes with the last of its files.

use std::sync::Arc;

use codec::chunk::Corrupt;
use codec::chunk::bytes::{Reader, put_bytes, put_varint, put_zigzag};
use model::{Budget, Labels, MatchOp, Matcher, TenantId, TimeRange};
use roaring::RoaringBitmap;
use smallvec::{SmallVec, smallvec};

use crate::block::{BlockError, Damaged, Section};

/// Bytes of an ordinal in a list.
const ORDINAL_BYTES: u64 = 4;

/// A delete that may still have something to mask.
#[derive(Clone, Debug)]
pub(crate) struct Tombstone {
    pub(crate) tenant: TenantId,
    /// Ids of the files in which it masks something, ascending.
    pub(crate) files: Vec<u64>,
    pub(crate) range: TimeRange,
    /// A series that satisfies all of them is masked.
    pub(crate) matchers: Vec<Matcher>,
}

/// Equal when they mask the same; a pattern is what it is spelled as.
impl PartialEq for Tombstone {
    fn eq(&self, other: &Self) -> bool {
        let place = |t: &Self| (t.tenant, t.range);
        place(self) == place(other)
            && self.files == other.files
            && same_matchers(&self.matchers, &other.matchers)
    }
}

impl Eq for Tombstone {}

fn same_matchers(a: &[Matcher], b: &[Matcher]) -> bool {
    let spelled = |m: &Matcher| (m.name.clone(), op_number(m.op), m.value.clone());
    a.iter().map(spelled).eq(b.iter().map(spelled))
}

impl Tombstone {
    /// Whether it masks something of a file.
    pub(crate) fn masks(&self, file: u64) -> bool {
        self.files.binary_search(&file).is_ok()
    }

    /// Whether it masks all that `other` does.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        self.tenant == other.tenant
            && other.files.iter().all(|file| self.masks(*file))
            && self.range.start_ms <= other.range.start_ms
            && self.range.end_ms >= other.range.end_ms
            && same_matchers(&self.matchers, &other.matchers)
    }

    /// Appends it to the manifest's body.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, u64::from(self.tenant.0));
        put_varint(out, self.files.len() as u64);
        self.files.iter().for_each(|file| put_varint(out, *file));
        put_zigzag(out, self.range.start_ms);
        put_zigzag(out, self.range.end_ms);
        put_varint(out, self.matchers.len() as u64);
        for matcher in &self.matchers {
            out.push(op_number(matcher.op));
            put_bytes(out, matcher.name.as_bytes());
            put_bytes(out, matcher.value.as_bytes());
        }
    }

    /// Reads it from the manifest's body.
    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Tombstone, Corrupt> {
        let tenant = TenantId(reader.number()?);
        let count = reader.count_of(1)?;
        let mut files: Vec<u64> = (0..count).map(|_| reader.varint()).collect::<Result<_, _>>()?;
        files.sort_unstable();
        let range = TimeRange { start_ms: reader.zigzag()?, end_ms: reader.zigzag()? };
        let count = reader.count_of(3)?;
        let matchers = (0..count).map(|_| decode_matcher(reader)).collect::<Result<_, _>>()?;
        Ok(Tombstone { tenant, files, range, matchers })
    }
}

fn decode_matcher(reader: &mut Reader<'_>) -> Result<Matcher, Corrupt> {
    let [op] = reader.array()?;
    let op = OPS.into_iter().find(|known| op_number(*known) == op).ok_or(Corrupt)?;
    let text = |bytes| std::str::from_utf8(bytes).map_err(|_| Corrupt);
    let (name, value) = (text(reader.bytes()?)?, text(reader.bytes()?)?);
    Matcher::new(name, op, value).map_err(|_| Corrupt)
}

const OPS: [MatchOp; 4] = [MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex];

fn op_number(op: MatchOp) -> u8 {
    match op {
        MatchOp::Equal => 0,
        MatchOp::NotEqual => 1,
        MatchOp::Regex => 2,
        MatchOp::NotRegex => 3,
    }
}

/// What deletes mask of one section.
#[derive(Default)]
pub(crate) struct Masks {
    masks: Vec<(TimeRange, RoaringBitmap)>,
}

impl Masks {
    /// Looks up what tombstones, all of them of the section's block and tenant, mask there. They mask what damage does not
    /// let be told from it, too: what was deleted must not come back.
    pub(crate) fn new<'a>(
        section: &Section,
        tombstones: impl IntoIterator<Item = &'a Tombstone>,
        budget: &Budget,
        damaged: &mut Vec<Damaged>,
    ) -> Result<Masks, BlockError> {
        let mut masks = Vec::new();
        for tombstone in tombstones {
            let ordinals = section.select_at_most(&tombstone.matchers, budget, damaged)?;
            let list_bytes = ordinals.len() as u64 * ORDINAL_BYTES;
            let masked: RoaringBitmap = ordinals.into_iter().collect();
            budget.release(list_bytes);
            budget.charge(masked.serialized_size() as u64)?;
            if !masked.is_empty() {
                masks.push((tombstone.range, masked));
            }
        }
        Ok(Masks { masks })
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.masks.is_empty()
    }

    /// What of a range is left of a series, ascending.
    pub(crate) fn left(&self, ordinal: u32, range: TimeRange) -> SmallVec<[TimeRange; 1]> {
        let of_series = self.masks.iter().filter(|(_, ordinals)| ordinals.contains(ordinal));
        cut(range, of_series.map(|(masked, _)| *masked))
    }

    /// Whether nothing is left of a series that lies in `lies`.
    pub(crate) fn hide(&self, ordinal: u32, lies: TimeRange, range: TimeRange) -> bool {
        !self.left(ordinal, range).iter().any(|part| part.overlaps(&lies))
    }
}

/// What of a range tombstones leave of a series, ascending.
pub(crate) fn left_of(
    tombstones: &[Arc<Tombstone>],
    labels: &Labels,
    range: TimeRange,
) -> SmallVec<[TimeRange; 1]> {
    let masks_it = |t: &&Arc<Tombstone>| {
        t.matchers.iter().all(|matcher| matcher.matches(labels.get(&matcher.name).unwrap_or("")))
    };
    cut(range, tombstones.iter().filter(masks_it).map(|tombstone| tombstone.range))
}

fn cut(range: TimeRange, masked: impl Iterator<Item = TimeRange>) -> SmallVec<[TimeRange; 1]> {
    let mut left: SmallVec<[TimeRange; 1]> = smallvec![range];
    for masked in masked {
        left = left.into_iter().flat_map(|part| without(part, masked)).collect();
    }
    left.retain(|part| part.start_ms <= part.end_ms);
    left
}

/// What lies before and what lies behind the masked part; either may be empty.
fn without(range: TimeRange, masked: TimeRange) -> SmallVec<[TimeRange; 2]> {
    if !range.overlaps(&masked) {
        return smallvec![range];
    }
    let mut parts = SmallVec::new();
    if let Some(end_ms) = masked.start_ms.checked_sub(1) {
        parts.push(TimeRange { end_ms, ..range });
    }
    if let Some(start_ms) = masked.end_ms.checked_add(1) {
        parts.push(TimeRange { start_ms, ..range });
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start_ms: i64, end_ms: i64) -> TimeRange {
        TimeRange { start_ms, end_ms }
    }

    #[test]
    fn what_is_masked_is_cut_out() {
        let all = range(i64::MIN, i64::MAX);
        let of = |ordinal: u32| RoaringBitmap::from_iter([ordinal]);
        let masks =
            Masks { masks: vec![(range(10, 19), of(1)), (range(15, 30), of(1)), (all, of(2)), (all, of(3))] };
        assert_eq!(masks.left(0, range(0, 100))[..], [range(0, 100)]);
        assert_eq!(masks.left(1, range(0, 100))[..], [range(0, 9), range(31, 100)]);
        assert_eq!(masks.left(1, range(12, 40))[..], [range(31, 40)]);
        assert_eq!(masks.left(1, all)[..], [range(i64::MIN, 9), range(31, i64::MAX)]);
        assert!(masks.left(2, all).is_empty());
        assert!(masks.hide(1, range(12, 28), all) && masks.hide(1, range(0, 100), range(10, 30)));
        assert!(!masks.hide(1, range(12, 31), all));
    }

    #[test]
    fn a_tombstone_comes_back() {
        let matcher = |op, value| Matcher::new("__name__", op, value).unwrap();
        let matchers = vec![matcher(MatchOp::Regex, "a.*|b"), matcher(MatchOp::NotEqual, "")];
        let range = range(i64::MIN, -5);
        let tombstone = Tombstone { tenant: TenantId(300), files: vec![3, 70_000], range, matchers };
        let mut bytes = Vec::new();
        tombstone.encode(&mut bytes);
        assert_eq!(Tombstone::decode(&mut Reader::new(&bytes)), Ok(tombstone.clone()));
        let mut wider = tombstone.clone();
        (wider.range.end_ms, wider.files) = (7, vec![3, 5, 70_000]);
        assert!(wider.covers(&tombstone) && !tombstone.covers(&wider));
        for cut in 0..bytes.len() {
            assert_eq!(Tombstone::decode(&mut Reader::new(&bytes[..cut])), Err(Corrupt), "cut at {cut}");
        }
    }
}
