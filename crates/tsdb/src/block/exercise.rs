//! Block files whose pages hold what a fuzzer's bytes say, under good checksums and at the right places.
//!
//! The first byte picks how far the bytes are believed to be something: changes to a whole file, the payload of its
//! directory, that of a root behind the runs of its pages, or the parts of an index one by one.

use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use codec::chunk::Corrupt;
use codec::chunk::bytes::{Reader, put_bytes, put_varint, put_zigzag};
use env::Files;
use model::batch::Exemplar;
use model::histogram::{BucketCounts, Histogram, ResetHint, Span};
use model::select::HistogramPoint;
use model::{Labels, SeriesId, TenantId, TimeRange};

use super::page::{FILE_HEADER, FOOTER, FileIdentity, Footer, NO_TENANT, PAGE_HEADER, PageKind, VERSION};
use super::parts::Part;
use super::root::{PageRun, PostingsEntry, Root, SymbolsEntry};
use super::series::{ID_BYTES, IDS, ROWS};
use super::writer::{SectionPlace, write_directory};
use super::{BlockWriter, Level, SectionMeta, SeriesInput, block_order};

/// The block's id.
pub(crate) const ID: u64 = 1;

/// WAL sequences that it came from.
pub(crate) const SEQUENCES: RangeInclusive<u64> = 1..=9;

/// Tenants of a whole file.
pub(crate) const TENANTS: [TenantId; 2] = [TenantId(1), TenantId(2)];

const ALWAYS: TimeRange = TimeRange { start_ms: i64::MIN, end_ms: i64::MAX };

/// The file that `input` describes. `files` takes a whole one, once for all calls.
pub(crate) fn file(files: &dyn Files, input: &[u8]) -> Vec<u8> {
    let mut reader = Reader::new(input);
    let head = reader.byte().unwrap_or(0);
    let level = if head & 4 == 0 { Level::Hours } else { Level::Day };
    let mut made = Made::new(level, SEQUENCES);
    match head % 4 {
        0 => return changed(whole(files, level), &mut reader),
        1 => {
            let sequences = (reader.varint().unwrap_or(0), reader.varint().unwrap_or(0));
            made = Made::new(level, sequences.0..=sequences.1);
            made.end(reader.rest());
        }
        // What is not there ends the input.
        kind => {
            let section = if kind == 2 { made.root(&mut reader) } else { made.parts(&mut reader) };
            let mut directory = Vec::new();
            write_directory(&section.into_iter().collect::<Vec<_>>(), &mut directory);
            made.end(&directory);
        }
    }
    made.bytes
}

/// Changes bytes of pages and seals these again.
fn changed(mut bytes: Vec<u8>, reader: &mut Reader<'_>) -> Vec<u8> {
    let mut pages = Vec::new();
    let mut at = FILE_HEADER;
    while at < bytes.len() - FOOTER {
        let payload = u32::from_le_bytes(bytes[at + 4..at + 8].try_into().expect("four bytes")) as usize;
        pages.push(at..at + PAGE_HEADER + payload);
        at = at + PAGE_HEADER + payload;
    }
    while let (Ok(page), Ok(place), Ok(change)) = (reader.byte(), reader.length(), reader.byte()) {
        // The last ones are the roots and the directory.
        let page = pages[pages.len() - 1 - usize::from(page) % pages.len()].clone();
        let payload = &mut bytes[page.start + PAGE_HEADER..page.end];
        let place = place % payload.len();
        payload[place] = payload[place].wrapping_add(change);
        let checksum = codec::hash::crc32c(&bytes[page.start + 4..page.end]);
        bytes[page.start..page.start + 4].copy_from_slice(&checksum.to_le_bytes());
    }
    bytes
}

/// A file while it is made.
struct Made {
    bytes: Vec<u8>,
    identity: FileIdentity,
}

impl Made {
    fn new(level: Level, sequences: RangeInclusive<u64>) -> Made {
        let identity = FileIdentity { id: ID, level, sequences };
        Made { bytes: identity.header(VERSION).to_vec(), identity }
    }

    fn page(&mut self, kind: PageKind, tenant: TenantId, payload: &[u8]) -> (u64, u32) {
        let offset = self.bytes.len() as u64;
        self.identity.write_page(&mut self.bytes, kind, tenant, offset, payload);
        (offset, (PAGE_HEADER + payload.len()) as u32)
    }

    /// A page of chunks and pages of the index.
    fn pages(&mut self, chunks: &[u8], index: &[&[u8]]) -> (PageRun, PageRun) {
        let (mut chunk_pages, mut index_pages) = (PageRun::default(), PageRun::default());
        let (offset, length) = self.page(PageKind::Chunks, TENANTS[0], chunks);
        chunk_pages.push(offset, length);
        for payload in index {
            let (offset, length) = self.page(PageKind::Index, TENANTS[0], payload);
            index_pages.push(offset, length);
        }
        (chunk_pages, index_pages)
    }

    fn section(&mut self, payload: &[u8], series: u32) -> SectionPlace {
        let (root, root_bytes) = self.page(PageKind::Root, TENANTS[0], payload);
        let meta = SectionMeta { tenant: TENANTS[0], range: ALWAYS, series, samples: 1, bytes: root };
        SectionPlace { meta, root, root_bytes }
    }

    /// A section whose root goes on with bytes as they come behind what says where its pages are.
    fn root(&mut self, reader: &mut Reader<'_>) -> Result<SectionPlace, Corrupt> {
        let (series, chunks, index) = (reader.number()?, reader.bytes()?, reader.bytes()?);
        let (chunk_pages, index_pages) = self.pages(chunks, &[index]);
        let mut payload = Vec::new();
        put_varint(&mut payload, series.into());
        put_varint(&mut payload, 1);
        put_zigzag(&mut payload, ALWAYS.start_ms);
        put_zigzag(&mut payload, ALWAYS.end_ms);
        chunk_pages.write(&mut payload);
        index_pages.write(&mut payload);
        payload.extend_from_slice(reader.rest());
        Ok(self.section(&payload, series))
    }

    /// A section whose root is in order and whose parts hold bytes as they come.
    fn parts(&mut self, reader: &mut Reader<'_>) -> Result<SectionPlace, Corrupt> {
        let series = reader.number()? % 300;
        let chunks = reader.bytes()?;
        let mut index = Parts::default();
        let mut ids = Vec::new();
        for first in (0..series).step_by(IDS as usize) {
            ids.push(index.add(reader.byte()?, &vec![7; (series - first).min(IDS) as usize * ID_BYTES]));
        }
        let mut rows = Vec::new();
        for _ in 0..series.div_ceil(ROWS) {
            rows.push(index.add(reader.byte()?, reader.bytes()?));
        }
        let (mut symbols, mut number) = (Vec::new(), 0u32);
        for _ in 0..reader.byte()? % 8 {
            let (part, count) = (index.add(reader.byte()?, reader.bytes()?), reader.number()?);
            let first = String::from_utf8_lossy(reader.bytes()?).into_owned();
            symbols.push(SymbolsEntry { part, number, count, first });
            number = number.wrapping_add(count);
        }
        let mut postings = Vec::new();
        for _ in 0..reader.byte()? % 8 {
            let part = index.add(reader.byte()?, reader.bytes()?);
            postings.push(PostingsEntry { part, name: reader.number()?, value: reader.number()? });
        }
        let pages: Vec<&[u8]> = index.pages.iter().map(|page| &page[..]).collect();
        let (chunk_pages, index_pages) = self.pages(chunks, &pages);
        let (samples, range, inline) = (1, ALWAYS, 0);
        let root =
            Root { series, samples, range, chunk_pages, index_pages, symbols, ids, rows, postings, inline };
        let mut payload = Vec::new();
        root.write(&mut payload);
        payload.extend_from_slice(&index.last);
        Ok(self.section(&payload, series))
    }

    /// The directory and what follows.
    fn end(&mut self, directory: &[u8]) {
        let (directory, directory_bytes) = self.page(PageKind::Directory, NO_TENANT, directory);
        let file_bytes = (self.bytes.len() + FOOTER) as u64;
        let footer = self.identity.footer(&Footer { file_bytes, directory, directory_bytes });
        self.bytes.extend_from_slice(&footer);
    }
}

/// Parts of an index, the last ones for the root's own page.
#[derive(Default)]
struct Parts {
    pages: Vec<Vec<u8>>,
    last: Vec<u8>,
}

impl Parts {
    /// Adds a part, behind the others or on a new page.
    fn add(&mut self, turn: u8, bytes: &[u8]) -> Part {
        if turn % 8 == 1 {
            self.pages.push(std::mem::take(&mut self.last));
        }
        let (page, offset) = (self.pages.len() as u32, self.last.len() as u32);
        self.last.extend_from_slice(bytes);
        Part { page, offset, length: bytes.len() as u32 }
    }
}

/// Inputs that describe whole files, one for each way but the directory's: where changes begin.
pub(crate) fn seeds() -> [Vec<u8>; 4] {
    // Three rows: linear times, constant floats.
    const CHUNK: [u8; 8] = [0, 1, 0, 0xb0, 0xea, 1, 1, 4];
    // Symbols are `1`, `2`, `__name__`, `i`, `metric`.
    const SYMBOLS: &[u8] = b"\0\x011\0\x012\0\x08__name__\0\x01i\0\x06metric";
    // Labels; one chunk. Then the same labels but for `i`, and the chunk behind.
    const ROWS: &[u8] = &[1, 2, 2, 4, 3, 0, 1, 24, 0, 0xe0, 0xd4, 3, 0, 8, 0, 4, 2, 1, 24, 0, 0, 0, 8];
    // A list of two, and two of one.
    const POSTINGS: [&[u8]; 2] = [&[0, 2, 3, 1, 0, 2], &[0, 1, 0, 1, 1, 2]];
    let chunks = [CHUNK, CHUNK].concat();
    let mut parts = vec![3, 2];
    put_bytes(&mut parts, &chunks);
    parts.extend([0, 0]);
    put_bytes(&mut parts, ROWS);
    parts.extend([1, 0]);
    put_bytes(&mut parts, SYMBOLS);
    parts.extend([5, 1, b'1', 2]);
    for (list, name_and_value) in POSTINGS.into_iter().zip([[2, 4], [3, 0]]) {
        parts.push(0);
        put_bytes(&mut parts, list);
        parts.extend(name_and_value);
    }
    let mut root = vec![2, 2];
    put_bytes(&mut root, &chunks);
    put_bytes(&mut root, &[&[7; 2 * ID_BYTES], ROWS, SYMBOLS, POSTINGS[0], POSTINGS[1]].concat());
    let length = |part: &[u8]| part.len() as u8 * 2;
    root.extend([1, 4 * ID_BYTES as u8, 1, length(ROWS), 1, length(SYMBOLS), 5, 1, b'1', 2]);
    root.extend([length(POSTINGS[0]), 2, 4, length(POSTINGS[1]), 3, 0]);
    [vec![0], vec![4], parts, root]
}

/// A file of everything: floats in long and short runs, histograms of both kinds, starts, exemplars, and labels
/// long enough for an index of several pages.
fn whole(files: &dyn Files, level: Level) -> Vec<u8> {
    static WHOLE: [OnceLock<Vec<u8>>; 2] = [OnceLock::new(), OnceLock::new()];
    let at = usize::from(level == Level::Day);
    WHOLE[at].get_or_init(|| write_whole(files, level)).clone()
}

fn write_whole(files: &dyn Files, level: Level) -> Vec<u8> {
    let path = Path::new("/whole");
    let mut writer =
        BlockWriter::create(files, path, ID, level, SEQUENCES).expect("the disk has room for a block");
    for tenant in TENANTS {
        writer.begin_tenant(tenant).expect("tenants ascend");
        let count = if tenant == TENANTS[0] { 140 } else { 3 };
        let mut all: Vec<Labels> = (0..count)
            .map(|i: usize| {
                let long = "long ".repeat(if i.is_multiple_of(40) { 900 } else { 0 });
                Labels::from_pairs([("__name__", "metric"), ("i", &i.to_string()), ("x", &long)])
            })
            .collect();
        all.sort_by(block_order);
        for (i, labels) in all.iter().enumerate() {
            write_series(&mut writer, i, labels);
        }
    }
    writer.finish().expect("the disk works");
    let bytes = env::read_all(files, path).expect("the disk works");
    files.remove(path).expect("the disk works");
    bytes
}

fn write_series(writer: &mut BlockWriter, i: usize, labels: &Labels) {
    // One in forty is long, some have histograms.
    let rows: i64 = if i % 40 == 7 { 700 } else { 3 + i as i64 % 11 };
    let timestamps: Vec<i64> = (0..rows).map(|row| row * 15_000 + row % 3).collect();
    let values: Vec<f64> = (0..rows).map(|row| ((row * row) % 97) as f64 / 4.0).collect();
    let starts: Vec<i64> = if i.is_multiple_of(5) { vec![1_000; rows as usize] } else { Vec::new() };
    let buckets = |row: i64| if i % 20 == 3 { 3 + row as u32 % 2 } else { 4 };
    let point = |row: i64| {
        let histogram = Arc::new(histogram(row as u64, buckets(row)));
        HistogramPoint::new(row as u32, histogram)
    };
    let histograms: Vec<HistogramPoint> = match i % 10 {
        3 => (0..rows).map(point).collect(),
        _ => Vec::new(),
    };
    let exemplar = |row: &i64| Exemplar {
        labels: vec![("trace_id".to_owned(), row.to_string())],
        value: 0.5,
        timestamp_ms: row * 15_000,
    };
    let exemplars: Vec<Exemplar> =
        (0..rows.min(2)).filter(|_| i.is_multiple_of(9)).map(|row| exemplar(&row)).collect();
    let series = SeriesInput {
        id: SeriesId(i as u128),
        labels,
        timestamps: &timestamps,
        values: &values,
        starts: &starts,
        histograms: &histograms,
        exemplars: &exemplars,
    };
    writer.add(series).expect("the series are in order");
}

/// A histogram with so many buckets that grows from row to row.
pub(crate) fn histogram(row: u64, buckets: u32) -> Histogram {
    let positive = (0..u64::from(buckets)).map(|bucket| row * bucket).collect();
    Histogram {
        schema: 3,
        zero_threshold: 0.0,
        sum: row as f64,
        reset_hint: ResetHint::Unknown,
        positive_spans: vec![Span { offset: 0, length: buckets }],
        negative_spans: Vec::new(),
        counts: BucketCounts::Integer { count: row * 10, zero: row, positive, negative: Vec::new() },
        custom_bounds: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_describe_whole_files() {
        let env = sim::env(0);
        let files = &*env.files;
        for (seed, series) in seeds().iter().zip([143, 143, 2, 2]) {
            let path = Path::new("/file");
            files.create(path).unwrap().write_at(&file(files, seed), 0).unwrap();
            let report = super::super::verify(files, path).unwrap();
            assert_eq!((report.damaged, report.series), (vec![], series), "{seed:?}");
            files.remove(path).unwrap();
        }
    }
}
