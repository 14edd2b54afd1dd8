//! Postings: for each label pair the series that have it.
//!
//! A list of ordinals is a column of integers like any other: runs and strides of the sorted series table are linear
//! and take a few bytes, scattered ones take the bits of their gaps, which no byte-aligned list or bitmap undercuts by
//! much. Lists of one label stand in the order of its values; a value with one series is two or three bytes.

use codec::chunk::bytes::{Reader, put_varint, put_zigzag};
use codec::chunk::{Corrupt, ROWS_MAX, integers};

/// Bytes at which a part is closed.
const PART_BYTES: usize = 4 << 10;

/// Collects the lists of one label into parts.
#[derive(Debug, Default)]
pub(super) struct PostingsPart {
    bytes: Vec<u8>,
    first: Option<u32>,
    value: u32,
    ordinal: i64,
    scratch: Vec<i64>,
    list: Vec<u8>,
}

impl PostingsPart {
    /// Adds the sorted ordinals of a value, values ascending; whether the part should be taken now.
    pub(super) fn add(&mut self, value: u32, ordinals: impl Iterator<Item = u32>) -> bool {
        self.scratch.clear();
        self.scratch.extend(ordinals.map(i64::from));
        if self.first.is_none() {
            (self.first, self.value, self.ordinal) = (Some(value), value, 0);
        }
        put_varint(&mut self.bytes, u64::from(value - self.value));
        put_varint(&mut self.bytes, self.scratch.len() as u64);
        if let [only] = self.scratch[..] {
            put_zigzag(&mut self.bytes, only - self.ordinal);
            self.ordinal = only;
        } else {
            self.list.clear();
            for run in self.scratch.chunks(ROWS_MAX) {
                integers::encode(run, &mut self.list);
            }
            put_varint(&mut self.bytes, self.list.len() as u64);
            self.bytes.extend_from_slice(&self.list);
        }
        self.value = value;
        self.bytes.len() >= PART_BYTES
    }

    /// The part's bytes and its first value; empty afterwards.
    pub(super) fn take(&mut self) -> Option<(&[u8], u32)> {
        let first = self.first.take()?;
        std::mem::swap(&mut self.bytes, &mut self.list);
        self.bytes.clear();
        Some((&self.list, first))
    }
}

/// The series of one value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Postings<'a> {
    /// The value's symbol.
    pub(super) value: u32,
    /// How many series.
    pub(super) count: u32,
    list: List<'a>,
}

#[derive(Clone, Copy, Debug)]
enum List<'a> {
    One(u32),
    Packed(&'a [u8]),
}

impl Postings<'_> {
    /// Appends the ordinals, ascending. None is `series` or more.
    pub(super) fn read(&self, series: u32, out: &mut Vec<u32>) -> Result<(), Corrupt> {
        let start = out.len();
        match self.list {
            List::One(ordinal) => out.push(ordinal),
            List::Packed(bytes) => {
                if self.count > series {
                    return Err(Corrupt);
                }
                let mut reader = Reader::new(bytes);
                let mut run = Vec::new();
                let mut left = self.count as usize;
                while left > 0 {
                    let length = left.min(ROWS_MAX);
                    run.clear();
                    integers::decode(&mut reader, length, &mut run)?;
                    for ordinal in &run {
                        out.push(u32::try_from(*ordinal).map_err(|_| Corrupt)?);
                    }
                    left -= length;
                }
            }
        }
        let list = &out[start..];
        let in_order = list.is_sorted_by(|a, b| a < b) && list.last().is_none_or(|last| *last < series);
        if in_order { Ok(()) } else { Err(Corrupt) }
    }
}

/// Walks the lists of a part.
#[derive(Clone, Debug)]
pub(super) struct PostingsReader<'a> {
    reader: Reader<'a>,
    value: u32,
    ordinal: i64,
}

impl<'a> PostingsReader<'a> {
    /// A part whose first value is `first`.
    pub(super) fn new(bytes: &'a [u8], first: u32) -> Self {
        Self { reader: Reader::new(bytes), value: first, ordinal: 0 }
    }

    /// The next value's list.
    pub(super) fn next(&mut self) -> Result<Option<Postings<'a>>, Corrupt> {
        if self.reader.is_empty() {
            return Ok(None);
        }
        self.value = self.value.checked_add(self.reader.number()?).ok_or(Corrupt)?;
        let count = self.reader.number()?;
        let list = if count == 1 {
            self.ordinal = self.ordinal.wrapping_add(self.reader.zigzag()?);
            List::One(u32::try_from(self.ordinal).map_err(|_| Corrupt)?)
        } else {
            List::Packed(self.reader.bytes()?)
        };
        Ok(Some(Postings { value: self.value, count, list }))
    }
}
