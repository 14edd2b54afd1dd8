//! A tenant's section, open for reading.
//!
//! A section holds its root; rows, symbols, postings and chunks come through the cache as they are needed. Series are
//! named by their ordinal in block order and read by a [`SectionReader`]. A damaged page costs what lies in it: what can
//! be answered without it is, and the damage is named to the caller.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use codec::chunk::Corrupt;
use model::Budget;
use roaring::RoaringBitmap;

use super::cache::Page;
use super::page::{PageAddress, PageKind, damaged_page};
use super::parts::Part;
use super::reader::BlockFile;
use super::reading::SectionReader;
use super::root::{Root, SymbolsEntry};
use super::series::{IDS, ROWS};
use super::symbols::{GROUP, SymbolPartReader};
use super::writer::SectionPlace;
use super::{BlockError, Damaged, SectionMeta};

/// A tenant's part of a block. Cheap to clone.
#[derive(Clone)]
pub struct Section {
    file: Arc<BlockFile>,
    place: SectionPlace,
    page: Arc<Page>,
    root: Arc<Root>,
}

impl fmt::Debug for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Section").field("meta", &self.place.meta).finish_non_exhaustive()
    }
}

/// Bytes of a part, with the page that they are in.
pub(super) struct PartBytes {
    page: Arc<Page>,
    range: Range<usize>,
    address: PageAddress,
}

impl PartBytes {
    pub(super) fn bytes(&self) -> &[u8] {
        self.page.payload().get(self.range.clone()).unwrap_or(&[])
    }
}

impl Section {
    pub(super) fn open(file: Arc<BlockFile>, place: SectionPlace) -> Result<Section, BlockError> {
        let address = root_address(&place);
        let page = file.page(&address)?;
        let root = match page.root.get() {
            Some(root) => root.clone(),
            None => {
                let root = Root::read(page.payload()).ok().filter(|root| is_whole(root, &place.meta));
                let root =
                    root.ok_or_else(|| damaged_page(&file.name, &address, "root of an index is malformed"))?;
                page.root.get_or_init(|| Arc::new(root)).clone()
            }
        };
        Ok(Section { file, place, page, root })
    }

    pub(super) fn root(&self) -> &Root {
        &self.root
    }

    /// What the section holds.
    pub fn meta(&self) -> &SectionMeta {
        &self.place.meta
    }

    /// Number of series; ordinals go from 0 to here.
    pub fn series(&self) -> u32 {
        self.root().series
    }

    /// Reads the section's series.
    pub fn reader(&self) -> SectionReader {
        SectionReader::new(self.clone())
    }

    /// Label names, sorted: of all series, or of some. What cannot be read is left out and the damage is named.
    pub fn label_names(
        &self,
        of: Option<&[u32]>,
        damaged: &mut Vec<Damaged>,
    ) -> Result<Vec<String>, BlockError> {
        let mut names: BTreeSet<u32> = BTreeSet::new();
        match of {
            None => names.extend(self.root().postings.iter().map(|entry| entry.name)),
            Some(ordinals) => self.each_label(ordinals.iter().copied(), damaged, |name, _| {
                names.insert(name);
            })?,
        }
        self.spell_all(names, damaged)
    }

    /// Values of a label, sorted: of all series, or of some. What cannot be read is left out and the damage is named.
    pub fn label_values(
        &self,
        name: &str,
        of: Option<&[u32]>,
        damaged: &mut Vec<Damaged>,
    ) -> Result<Vec<String>, BlockError> {
        let name = match self.find_symbol(name) {
            Ok(Some(name)) => name,
            Ok(None) => return Ok(Vec::new()),
            Err(error) => return go_around(error, damaged).map(|()| Vec::new()),
        };
        let mut values: BTreeSet<u32> = BTreeSet::new();
        if of.is_none() {
            let by_postings = self.each_postings(name, 0..u32::MAX, |list| {
                values.insert(list.value);
                Ok(Ok(()))
            });
            match by_postings {
                Ok(()) => return self.spell_all(values, damaged),
                Err(error) => go_around(error, damaged)?,
            }
        }
        let add = |other, value| {
            if other == name {
                values.insert(value);
            }
        };
        match of {
            Some(ordinals) => self.each_label(ordinals.iter().copied(), damaged, add)?,
            None => self.each_label(0..self.series(), damaged, add)?,
        }
        self.spell_all(values, damaged)
    }

    /// Hands over the values of a label, ascending, and how many series have each: all, or those that are `left`. What
    /// cannot be read is left out and the damage is named.
    pub(crate) fn each_value_count<E: From<BlockError>>(
        &self,
        name: &str,
        left: Option<&RoaringBitmap>,
        budget: &Budget,
        damaged: &mut Vec<Damaged>,
        each: &mut dyn FnMut(&str, u64) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut counts: Vec<(u32, u64)> = Vec::new();
        let mut ordinals = Vec::new();
        let counted = self.find_symbol(name).and_then(|name| match name {
            None => Ok(()),
            Some(name) => self.each_postings(name, 0..u32::MAX, |list| {
                let count = match left {
                    None => u64::from(list.count),
                    Some(left) => {
                        ordinals.clear();
                        if let Err(corrupt) = list.read(self.series(), &mut ordinals) {
                            return Ok(Err(corrupt));
                        }
                        ordinals.iter().filter(|ordinal| left.contains(**ordinal)).count() as u64
                    }
                };
                budget.charge(size_of::<(u32, u64)>() as u64)?;
                counts.push((list.value, count));
                Ok(Ok(()))
            }),
        });
        counted.or_else(|error| go_around(error, damaged))?;
        let (mut speller, held) = (Speller::default(), size_of_val(counts.as_slice()) as u64);
        for (value, count) in counts {
            match speller.spell(self, value) {
                Ok(text) => each(text, count)?,
                Err(error) => go_around(error, damaged)?,
            }
        }
        budget.release(held);
        Ok(())
    }

    /// The labels of series, as numbers.
    fn each_label(
        &self,
        ordinals: impl Iterator<Item = u32>,
        damaged: &mut Vec<Damaged>,
        mut each: impl FnMut(u32, u32),
    ) -> Result<(), BlockError> {
        let mut reader = self.reader();
        for ordinal in ordinals {
            match reader.label_numbers(ordinal) {
                Ok(numbers) => numbers.iter().for_each(|(name, value)| each(*name, *value)),
                Err(error) => go_around(error, damaged)?,
            }
        }
        Ok(())
    }

    fn spell_all(
        &self,
        symbols: BTreeSet<u32>,
        damaged: &mut Vec<Damaged>,
    ) -> Result<Vec<String>, BlockError> {
        let (mut spelt, mut speller) = (Vec::with_capacity(symbols.len()), Speller::default());
        for symbol in symbols {
            match speller.spell(self, symbol) {
                Ok(text) => spelt.push(text.to_owned()),
                Err(error) => go_around(error, damaged)?,
            }
        }
        Ok(spelt)
    }

    /// A page of chunks by its number.
    pub(super) fn chunk_page(&self, page: u32) -> Result<(Arc<Page>, PageAddress), BlockError> {
        let place = self.root().chunk_pages.get(page);
        let (offset, length) =
            place.ok_or_else(|| self.damaged_root("index names a page that is not there"))?;
        let address = PageAddress { kind: PageKind::Chunks, tenant: self.place.meta.tenant, offset, length };
        Ok((self.file.page(&address)?, address))
    }

    /// A page that does not hold what its checksum says.
    pub(super) fn malformed_page(&self, address: &PageAddress, what: &'static str) -> BlockError {
        damaged_page(&self.file.name, address, what).into()
    }

    /// A part of the index.
    pub(super) fn part(&self, part: Part) -> Result<PartBytes, BlockError> {
        let (page, address, base) = match self.root().index_pages.get(part.page) {
            Some((offset, length)) => {
                let tenant = self.place.meta.tenant;
                let address = PageAddress { kind: PageKind::Index, tenant, offset, length };
                (self.file.page(&address)?, address, 0)
            }
            None => (self.page.clone(), root_address(&self.place), self.root().inline),
        };
        let start = base + part.offset as usize;
        let range = start..start + part.length as usize;
        let part = PartBytes { page, range, address };
        let inside = part.page.payload().get(part.range.clone()).is_some();
        if inside { Ok(part) } else { Err(self.malformed(&part)) }
    }

    pub(super) fn malformed(&self, part: &PartBytes) -> BlockError {
        self.malformed_page(&part.address, "index is malformed")
    }

    fn damaged_root(&self, what: &'static str) -> BlockError {
        damaged_page(&self.file.name, &root_address(&self.place), what).into()
    }

    pub(super) fn no_such_series(&self) -> BlockError {
        self.damaged_root("index has no such series")
    }

    /// The addresses of all pages of the section, the root last.
    pub(super) fn pages(&self) -> impl Iterator<Item = PageAddress> + '_ {
        let tenant = self.place.meta.tenant;
        let runs =
            [(PageKind::Chunks, &self.root().chunk_pages), (PageKind::Index, &self.root().index_pages)];
        let pages =
            runs.into_iter().flat_map(move |(kind, run)| {
                (0..run.len() as u32)
                    .filter_map(|page| run.get(page))
                    .map(move |(offset, length)| PageAddress { kind, tenant, offset, length })
            });
        pages.chain([root_address(&self.place)])
    }

    /// The number of a symbol.
    pub(super) fn find_symbol(&self, symbol: &str) -> Result<Option<u32>, BlockError> {
        let number = self.symbols_before(symbol.as_bytes())?;
        if self.entry_of(number).is_none() {
            return Ok(None);
        }
        Ok((Speller::default().spell(self, number)? == symbol).then_some(number))
    }

    /// How many symbols are smaller than these bytes: the number of the first that is not.
    pub(super) fn symbols_before(&self, bytes: &[u8]) -> Result<u32, BlockError> {
        let at = self.root().symbols.partition_point(|entry| entry.first.as_bytes() < bytes);
        let Some(entry) = at.checked_sub(1).and_then(|at| self.root().symbols.get(at)) else { return Ok(0) };
        let part = self.part(entry.part)?;
        let smaller = SymbolPartReader::new(part.bytes(), entry.count).and_then(|p| p.smaller_than(bytes));
        Ok(entry.number + smaller.map_err(|Corrupt| self.malformed(&part))?)
    }

    fn entry_of(&self, number: u32) -> Option<&SymbolsEntry> {
        let at = self.root().symbols.partition_point(|entry| entry.number <= number).checked_sub(1)?;
        self.root().symbols.get(at).filter(|entry| number - entry.number < entry.count)
    }
}

/// Spells symbols out, a group at a time: for numbers that ascend.
#[derive(Debug, Default)]
pub(super) struct Speller {
    group: Vec<String>,
    first: u32,
}

impl Speller {
    pub(super) fn spell<'a>(&'a mut self, section: &Section, number: u32) -> Result<&'a str, BlockError> {
        let known = number.checked_sub(self.first).is_some_and(|at| (at as usize) < self.group.len());
        if !known {
            self.load(section, number)?;
        }
        let symbol = self.group.get((number - self.first) as usize);
        symbol
            .map(String::as_str)
            .ok_or_else(|| section.damaged_root("index names a symbol that is not there"))
    }

    fn load(&mut self, section: &Section, number: u32) -> Result<(), BlockError> {
        let entry = section.entry_of(number);
        let entry = entry.ok_or_else(|| section.damaged_root("index names a symbol that is not there"))?;
        let part = section.part(entry.part)?;
        let group = (number - entry.number) / GROUP as u32;
        self.group.clear();
        SymbolPartReader::new(part.bytes(), entry.count)
            .and_then(|reader| reader.read_group(group, &mut self.group))
            .map_err(|Corrupt| section.malformed(&part))?;
        self.first = entry.number + group * GROUP as u32;
        Ok(())
    }
}

fn root_address(place: &SectionPlace) -> PageAddress {
    PageAddress {
        kind: PageKind::Root,
        tenant: place.meta.tenant,
        offset: place.root,
        length: place.root_bytes,
    }
}

/// Whether a root has the parts that its number of series needs.
fn is_whole(root: &Root, meta: &SectionMeta) -> bool {
    root.series == meta.series
        && root.rows.len() == root.series.div_ceil(ROWS) as usize
        && root.ids.len() == root.series.div_ceil(IDS) as usize
}

/// Names damage, once; anything else is the caller's.
pub(crate) fn go_around(error: BlockError, damaged: &mut Vec<Damaged>) -> Result<(), BlockError> {
    let BlockError::Damaged(unit) = error else { return Err(error) };
    if !damaged.contains(&unit) {
        damaged.push(unit);
    }
    Ok(())
}
