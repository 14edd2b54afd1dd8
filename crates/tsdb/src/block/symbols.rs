//! Symbols: every label name and value of a section once, sorted, numbered in that order.
//!
//! Sorted numbers make values of a label sorted without looking at them, and a prefix a range of numbers. Symbols are
//! front-coded in groups of 16, so that one is found by a search over groups and at most 16 steps.

use codec::chunk::Corrupt;
use codec::chunk::bytes::{Reader, put_bytes, put_varint};

/// Symbols that are front-coded together.
pub(super) const GROUP: usize = 16;
/// Symbols of a part at most.
const PART_SYMBOLS: usize = 512;
/// Bytes at which a part is closed.
const PART_BYTES: usize = 8 << 10;

/// Collects sorted symbols into parts.
#[derive(Debug, Default)]
pub(super) struct SymbolPart {
    groups: Vec<u32>,
    body: Vec<u8>,
    count: u32,
    first: String,
    previous: String,
}

impl SymbolPart {
    /// Adds a symbol; whether the part should be taken now.
    pub(super) fn add(&mut self, symbol: &str) -> bool {
        if self.count == 0 {
            self.first.clear();
            self.first.push_str(symbol);
        }
        let shared = if (self.count as usize).is_multiple_of(GROUP) {
            self.groups.push(self.body.len() as u32);
            0
        } else {
            self.previous.bytes().zip(symbol.bytes()).take_while(|(a, b)| a == b).count()
        };
        put_varint(&mut self.body, shared as u64);
        put_bytes(&mut self.body, &symbol.as_bytes()[shared..]);
        self.previous.clear();
        self.previous.push_str(symbol);
        self.count += 1;
        self.count as usize >= PART_SYMBOLS || self.body.len() >= PART_BYTES
    }

    /// The part's bytes, its number of symbols and its first; empty afterwards.
    pub(super) fn take(&mut self) -> Option<(Vec<u8>, u32, String)> {
        if self.count == 0 {
            return None;
        }
        let mut bytes = Vec::with_capacity(self.body.len() + self.groups.len() * 4);
        // The first group begins at 0.
        for group in &self.groups[1..] {
            bytes.extend_from_slice(&group.to_le_bytes());
        }
        bytes.extend_from_slice(&self.body);
        let (count, first) = (self.count, std::mem::take(&mut self.first));
        *self = Self::default();
        Some((bytes, count, first))
    }
}

/// A part as it is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct SymbolPartReader<'a> {
    table: &'a [u8],
    body: &'a [u8],
    count: u32,
}

impl<'a> SymbolPartReader<'a> {
    /// A part of `count` symbols.
    pub(super) fn new(bytes: &'a [u8], count: u32) -> Result<Self, Corrupt> {
        let groups = (count as usize).div_ceil(GROUP);
        let (table, body) = bytes.split_at_checked(groups.saturating_sub(1) * 4).ok_or(Corrupt)?;
        Ok(Self { table, body, count })
    }

    fn groups(&self) -> u32 {
        self.count.div_ceil(GROUP as u32)
    }

    fn group(&self, group: u32) -> Result<Reader<'a>, Corrupt> {
        let start = match (group as usize).checked_sub(1) {
            None => 0,
            Some(at) => {
                let bytes = self.table.get(at * 4..).and_then(|b| b.first_chunk::<4>()).ok_or(Corrupt)?;
                u32::from_le_bytes(*bytes)
            }
        };
        Ok(Reader::new(self.body.get(start as usize..).ok_or(Corrupt)?))
    }

    /// Decodes a group's symbols, replacing what is in `into`.
    pub(super) fn read_group(&self, group: u32, into: &mut Vec<String>) -> Result<(), Corrupt> {
        into.clear();
        let left = self.count.checked_sub(group * GROUP as u32).ok_or(Corrupt)?;
        let mut reader = self.group(group)?;
        let mut bytes: Vec<u8> = Vec::new();
        for _ in 0..left.min(GROUP as u32) {
            let shared = reader.length()?;
            if shared > bytes.len() {
                return Err(Corrupt);
            }
            bytes.truncate(shared);
            bytes.extend_from_slice(reader.bytes()?);
            into.push(std::str::from_utf8(&bytes).map_err(|_| Corrupt)?.to_owned());
        }
        Ok(())
    }

    /// How many symbols of the part are smaller than `bytes`.
    pub(super) fn smaller_than(&self, bytes: &[u8]) -> Result<u32, Corrupt> {
        // The last group whose first symbol is smaller.
        let (mut low, mut high) = (0, self.groups());
        while low < high {
            let middle = low + (high - low) / 2;
            let mut reader = self.group(middle)?;
            reader.length()?;
            if reader.bytes()? < bytes { low = middle + 1 } else { high = middle }
        }
        let Some(group) = low.checked_sub(1) else { return Ok(0) };
        let mut symbols = Vec::new();
        self.read_group(group, &mut symbols)?;
        let smaller = symbols.partition_point(|symbol| symbol.as_bytes() < bytes);
        Ok(group * GROUP as u32 + smaller as u32)
    }
}

/// The smallest byte string above everything that begins with `prefix`; `None` when there is no end.
pub(super) fn prefix_end(prefix: &str) -> Option<Vec<u8>> {
    let mut end = prefix.as_bytes().to_vec();
    // UTF-8 has no byte 0xff: the last one can always grow.
    let last = end.last_mut()?;
    *last += 1;
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_are_found_by_number_and_by_order() {
        let symbols: Vec<String> = (0..100).map(|i| format!("host-{:03}", i * 2)).collect();
        let mut part = SymbolPart::default();
        symbols.iter().for_each(|s| assert!(!part.add(s)));
        let (bytes, count, first) = part.take().unwrap();
        assert_eq!((count, first.as_str()), (100, "host-000"));
        let reader = SymbolPartReader::new(&bytes, count).unwrap();
        let mut group = Vec::new();
        reader.read_group(6, &mut group).unwrap();
        assert_eq!(group, symbols[96..]);
        for (text, smaller) in
            [("", 0), ("host-000", 0), ("host-001", 1), ("host-032", 16), ("host-033", 17), ("i", 100)]
        {
            assert_eq!(reader.smaller_than(text.as_bytes()), Ok(smaller), "{text}");
        }
    }
}
