//! What is gathered of each series while a section is written: its id, its labels, its chunk entries.
//!
//! Strings get their final numbers when all of them are known. Until then a row is kept as it will be on disk, told from the
//! row before, but with numbers in the order in which the strings came; at the end each row is read once more and written
//! with the final ones. So a series takes its id and some twenty bytes, beside strings that nobody else has: a merge has
//! many of these tables.

use std::cmp::Ordering;
use std::io;

use codec::chunk::bytes::{Reader, put_bytes, put_varint};
use model::{Labels, SeriesId, TenantId};

use super::block_order;
use super::interner::Interner;
use super::page::PageKind;
use super::parts::{Part, PartPacker};
use super::postings::PostingsPart;
use super::root::{PageRun, PostingsEntry, Root, SymbolsEntry};
use super::section_writer::EMPTY;
use super::series::{self, ChunkCursor};
use super::symbols::SymbolPart;
use super::writer::{Appender, invalid};

/// Pairs of label and series that are sorted at once while postings are written, if one label has not more: 32 MiB.
const PAIRS_MAX: usize = 4 << 20;

/// What is gathered of each series.
#[derive(Debug, Default)]
pub(super) struct SeriesTable {
    symbols: Interner,
    /// Each with as many series as a part of rows has, the last one with fewer.
    parts: Vec<SeriesPart>,
    /// Of the part that is being filled.
    ids: Vec<SeriesId>,
    rows: Vec<u8>,
    cursor: ChunkCursor,
    /// The last series, and the numbers of its names and values.
    previous: Option<Labels>,
    numbers: Vec<(u32, u32)>,
    /// Of the one before it, to be used again.
    spare: Vec<(u32, u32)>,
    /// Bytes of the parts.
    bytes: u64,
}

/// Series one behind the other.
#[derive(Debug)]
struct SeriesPart {
    ids: Box<[SeriesId]>,
    /// For each its labels as in rows on disk, but for their numbers; the number of its chunks; a byte string, their entries.
    rows: Box<[u8]>,
}

impl SeriesTable {
    /// How many series there are.
    pub(super) fn len(&self) -> usize {
        self.parts.len() * series::ROWS as usize + self.ids.len()
    }

    /// What the chunk entries of the series that was begun last are told apart from.
    pub(super) fn cursor(&mut self) -> &mut ChunkCursor {
        &mut self.cursor
    }

    /// Bytes of memory that it takes.
    pub(super) fn bytes(&self) -> u64 {
        let open = self.ids.capacity() * size_of::<SeriesId>() + self.rows.capacity();
        self.bytes + open as u64 + self.symbols.bytes()
    }

    /// Begins a series.
    pub(super) fn begin(&mut self, id: SeriesId, labels: &Labels) -> io::Result<()> {
        if self.previous.as_ref().is_some_and(|before| block_order(before, labels) != Ordering::Less) {
            return Err(invalid("series of a section must be in block order"));
        }
        if self.ids.len() == series::ROWS as usize {
            self.close_part();
        }
        let mut numbers = std::mem::take(&mut self.spare);
        numbers.clear();
        let before = self.previous.as_ref();
        // Neighbours share most pairs at the same place: comparing them is cheaper than looking both strings up.
        let mut neighbour = before.map(|b| b.iter()).into_iter().flatten().zip(&self.numbers);
        for (name, value) in labels {
            let (mut name_number, mut value_number) = (None, None);
            if let Some(((before_name, before_value), numbers)) = neighbour.next() {
                name_number = (before_name == name).then_some(numbers.0);
                value_number = (before_value == value).then_some(numbers.1);
            }
            let name = name_number.unwrap_or_else(|| self.symbols.number(name));
            let value = value_number.unwrap_or_else(|| self.symbols.number(value));
            numbers.push((name, value));
        }
        let before = if self.ids.is_empty() { &[][..] } else { &self.numbers };
        series::write_labels(&numbers, before, &mut self.rows);
        self.ids.push(id);
        self.spare = std::mem::replace(&mut self.numbers, numbers);
        self.previous = Some(labels.clone());
        Ok(())
    }

    /// Ends the series that was begun last.
    pub(super) fn end(&mut self, chunks: u64, entries: &[u8]) {
        put_varint(&mut self.rows, chunks);
        put_bytes(&mut self.rows, entries);
    }

    fn close_part(&mut self) {
        let part = SeriesPart { ids: self.ids.as_slice().into(), rows: self.rows.as_slice().into() };
        self.bytes += (size_of::<SeriesPart>() + size_of_val(&*part.ids) + part.rows.len()) as u64;
        self.parts.push(part);
        self.ids.clear();
        self.rows.clear();
        self.cursor = ChunkCursor::default();
    }

    /// Writes all parts, in the order in which the root lists them.
    pub(super) fn write(mut self, index: &mut IndexWriter<'_>) -> io::Result<Root> {
        let series = self.len();
        self.close_part();
        let order = self.symbols.sorted();
        let mut finals = vec![0; order.len()];
        for (number, old) in order.iter().enumerate() {
            finals[*old as usize] = number as u32;
        }
        Ok(Root {
            series: series as u32,
            ids: self.write_ids(index)?,
            rows: self.write_rows(&finals, index)?,
            symbols: self.write_symbols(&order, index)?,
            postings: self.write_postings(&finals, index)?,
            samples: 0,
            range: EMPTY,
            chunk_pages: PageRun::default(),
            index_pages: PageRun::default(),
            inline: 0,
        })
    }

    fn write_ids(&self, index: &mut IndexWriter<'_>) -> io::Result<Vec<Part>> {
        let mut bytes = Vec::new();
        let part = |parts: &[SeriesPart]| {
            bytes.clear();
            let ids = parts.iter().flat_map(|part| &part.ids);
            ids.for_each(|id| bytes.extend_from_slice(&id.0.to_le_bytes()));
            index.add(&bytes)
        };
        self.parts.chunks((series::IDS / series::ROWS) as usize).map(part).collect()
    }

    fn write_rows(&self, finals: &[u32], index: &mut IndexWriter<'_>) -> io::Result<Vec<Part>> {
        let mut bytes = Vec::new();
        let mut before = Vec::new();
        let part = |part: &SeriesPart| {
            bytes.clear();
            before.clear();
            part.each_row(finals, |labels, chunks, entries| {
                series::write_labels(labels, &before, &mut bytes);
                put_varint(&mut bytes, chunks);
                bytes.extend_from_slice(entries);
                before.clear();
                before.extend_from_slice(labels);
            });
            index.add(&bytes)
        };
        self.parts.iter().map(part).collect()
    }

    fn write_symbols(&self, order: &[u32], index: &mut IndexWriter<'_>) -> io::Result<Vec<SymbolsEntry>> {
        let mut entries = Vec::new();
        let mut part = SymbolPart::default();
        let mut number = 0;
        for (at, symbol) in order.iter().enumerate() {
            let full = part.add(self.symbols.get(*symbol));
            if !full && at + 1 < order.len() {
                continue;
            }
            if let Some((bytes, count, first)) = part.take() {
                entries.push(SymbolsEntry { part: index.add(&bytes)?, number, count, first });
                number += count;
            }
        }
        Ok(entries)
    }

    fn write_postings(&self, finals: &[u32], index: &mut IndexWriter<'_>) -> io::Result<Vec<PostingsEntry>> {
        let mut entries = Vec::new();
        let mut part = PostingsPart::default();
        let mut take = |part: &mut PostingsPart, name: u32, index: &mut IndexWriter<'_>| -> io::Result<()> {
            if let Some((bytes, value)) = part.take() {
                entries.push(PostingsEntry { part: index.add(bytes)?, name, value });
            }
            Ok(())
        };
        for names in self.names_in_groups(finals, PAIRS_MAX) {
            for (name, mut pairs) in self.pairs_of(&names, finals) {
                // Value above ordinal: one sort of plain numbers groups and orders both.
                pairs.sort_unstable();
                for list in pairs.chunk_by(|a, b| a >> 32 == b >> 32) {
                    if part.add((list[0] >> 32) as u32, list.iter().map(|pair| *pair as u32)) {
                        take(&mut part, name, index)?;
                    }
                }
                take(&mut part, name, index)?;
            }
        }
        Ok(entries)
    }

    /// Label names in order, each with the number of its series; in groups that have at most `pairs_max` of them together, or
    /// one name.
    fn names_in_groups(&self, finals: &[u32], pairs_max: usize) -> Vec<Vec<(u32, usize)>> {
        let mut counts = vec![0u32; finals.len()];
        let mut count =
            |labels: &[(u32, u32)]| labels.iter().for_each(|(name, _)| counts[*name as usize] += 1);
        self.parts.iter().for_each(|part| part.each_row(finals, |labels, _, _| count(labels)));
        let mut groups: Vec<Vec<(u32, usize)>> = Vec::new();
        let mut pairs = 0usize;
        for (name, count) in counts.into_iter().enumerate().filter(|(_, count)| *count > 0) {
            let count = count as usize;
            if groups.is_empty() || pairs + count > pairs_max {
                groups.push(Vec::new());
                pairs = 0;
            }
            groups.last_mut().expect("just pushed").push((name as u32, count));
            pairs += count;
        }
        groups
    }

    /// The pairs of value and ordinal of some label names.
    fn pairs_of(&self, names: &[(u32, usize)], finals: &[u32]) -> Vec<(u32, Vec<u64>)> {
        let mut all: Vec<(u32, Vec<u64>)> =
            names.iter().map(|(name, count)| (*name, Vec::with_capacity(*count))).collect();
        let mut ordinal = 0u64;
        let mut row = |labels: &[(u32, u32)]| {
            for (name, value) in labels {
                if let Ok(at) = names.binary_search_by_key(name, |(name, _)| *name) {
                    all[at].1.push(u64::from(*value) << 32 | ordinal);
                }
            }
            ordinal += 1;
        };
        self.parts.iter().for_each(|part| part.each_row(finals, |labels, _, _| row(labels)));
        all
    }
}

impl SeriesPart {
    /// Calls `row` with the final numbers of each series' labels, the number of its chunks, and their entries.
    fn each_row(&self, finals: &[u32], mut row: impl FnMut(&[(u32, u32)], u64, &[u8])) {
        let mut reader = Reader::new(&self.rows);
        let (mut labels, mut mapped) = (Vec::new(), Vec::new());
        for _ in &self.ids {
            series::read_labels(&mut reader, &mut labels).expect("written by this table");
            let chunks = reader.varint().expect("written by this table");
            let entries = reader.bytes().expect("written by this table");
            mapped.clear();
            let finally = |(name, value): &(u32, u32)| (finals[*name as usize], finals[*value as usize]);
            mapped.extend(labels.iter().map(finally));
            row(&mapped, chunks, entries);
        }
    }
}

/// Where parts of the index go.
pub(super) struct IndexWriter<'a> {
    appender: &'a mut Appender,
    tenant: TenantId,
    packer: PartPacker,
    pages: PageRun,
}

impl<'a> IndexWriter<'a> {
    pub(super) fn new(appender: &'a mut Appender, tenant: TenantId) -> Self {
        Self { appender, tenant, packer: PartPacker::default(), pages: PageRun::default() }
    }

    /// The pages that were written, and the parts that are left for the root's own page.
    pub(super) fn finish(mut self) -> (PageRun, Vec<u8>) {
        (self.pages, self.packer.finish())
    }

    fn add(&mut self, bytes: &[u8]) -> io::Result<Part> {
        let (part, full) = self.packer.add(bytes);
        if let Some(page) = full {
            let (offset, length) = self.appender.page(PageKind::Index, self.tenant, &page)?;
            self.pages.push(offset, length);
        }
        Ok(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_come_back_name_by_name_however_few_are_taken_at_once() {
        let mut table = SeriesTable::default();
        let labels = |i: u32| {
            let some = if i.is_multiple_of(3) { "some" } else { "" };
            let pairs = [
                ("__name__", "m"),
                ("i", &format!("{i:04}")),
                ("part", some),
                ("tens", &format!("{:03}", i / 10)),
            ];
            Labels::from_pairs(pairs)
        };
        for i in 0..300 {
            table.begin(SeriesId(i.into()), &labels(i)).unwrap();
            table.end(0, &[]);
        }
        assert!(table.bytes() > 300 * 16);
        table.close_part();
        let order = table.symbols.sorted();
        let mut finals = vec![0; order.len()];
        order.iter().enumerate().for_each(|(number, old)| finals[*old as usize] = number as u32);
        let text = |number: u64| table.symbols.get(order[number as usize]);
        let mut wanted: Vec<(&str, &str, u64)> = Vec::new();
        let all: Vec<Labels> = (0..300).map(labels).collect();
        for (ordinal, labels) in all.iter().enumerate() {
            wanted.extend(labels.iter().map(|(name, value)| (name, value, ordinal as u64)));
        }
        wanted.sort_unstable();
        for (pairs_max, groups) in [(0, 4), (400, 3), (600, 2), (usize::MAX, 1)] {
            let names = table.names_in_groups(&finals, pairs_max);
            assert_eq!(names.len(), groups, "{pairs_max}");
            let mut found = Vec::new();
            for (name, pairs) in names.iter().flat_map(|names| table.pairs_of(names, &finals)) {
                let of = pairs
                    .iter()
                    .map(|pair| (text(name.into()), text(pair >> 32), pair & u64::from(u32::MAX)));
                found.extend(of);
            }
            assert!(found.is_sorted_by_key(|(name, ..)| *name), "{pairs_max}");
            found.sort_unstable();
            assert!(found == wanted, "{pairs_max}");
        }
    }
}
