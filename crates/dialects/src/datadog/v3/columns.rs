//! The columns of a v3 payload as they lie in its bytes.
//!
//! Protobuf lets a sender write a column in pieces, packed or not; the pieces are put together here, and a column that
//! came whole, as all do that Agents write, is read where it lies.

use codec::proto::{FIXED32, FIXED64, LEN, Reader, VARINT, WireError, key, known};

use crate::rows::Room;

pub(super) const NAME_STR: usize = 1;
pub(super) const TAG_STR: usize = 2;
pub(super) const TAGSETS: usize = 3;
pub(super) const RESOURCE_STR: usize = 4;
pub(super) const RESOURCE_LEN: usize = 5;
pub(super) const RESOURCE_TYPE: usize = 6;
pub(super) const RESOURCE_NAME: usize = 7;
pub(super) const SOURCE_TYPE_STR: usize = 8;
pub(super) const ORIGINS: usize = 9;
pub(super) const TYPES: usize = 10;
pub(super) const NAME_REFS: usize = 11;
pub(super) const TAGSET_REFS: usize = 12;
pub(super) const RESOURCE_REFS: usize = 13;
pub(super) const INTERVALS: usize = 14;
pub(super) const NUM_POINTS: usize = 15;
pub(super) const TIMESTAMPS: usize = 16;
pub(super) const VALS_SINT64: usize = 17;
pub(super) const VALS_FLOAT32: usize = 18;
pub(super) const VALS_FLOAT64: usize = 19;
pub(super) const SKETCH_NUM_BINS: usize = 20;
pub(super) const SKETCH_BIN_KEYS: usize = 21;
pub(super) const SKETCH_BIN_COUNTS: usize = 22;
pub(super) const SOURCE_TYPE_REFS: usize = 23;
pub(super) const ORIGIN_REFS: usize = 24;
pub(super) const UNIT_STR: usize = 25;
pub(super) const UNIT_REFS: usize = 26;

const COLUMNS: usize = 27;

/// A payload's columns, by field number.
#[derive(Default)]
pub(super) struct Columns<'a> {
    columns: [Column<'a>; COLUMNS],
    /// Tags of every series.
    pub(super) tags: Vec<&'a [u8]>,
    /// Types and names of resources of every series.
    pub(super) resources: Vec<&'a [u8]>,
}

#[derive(Default)]
struct Column<'a> {
    whole: Option<Reader<'a>>,
    /// Its pieces, where it came in several.
    joined: Vec<u8>,
}

impl<'a> Columns<'a> {
    /// Finds a payload's columns.
    pub(super) fn read(body: &'a [u8], room: &mut Room) -> Result<Self, WireError> {
        const METADATA: u32 = key(2, LEN);
        const METRIC_DATA: u32 = key(3, LEN);
        let mut columns = Self::default();
        let mut payload = Reader::new(body);
        while let Some(key) = payload.key()? {
            match key {
                METADATA => columns.metadata(payload.message()?, room)?,
                METRIC_DATA => columns.metric_data(payload.message()?, room)?,
                // It is what series of v2 are: kept free so that one is not taken for the other.
                _ if key >> 3 == 1 => return Err(payload.error("a payload of another version")),
                _ => payload.skip(key, known(&[2, 3]))?,
            }
        }
        Ok(columns)
    }

    /// A column, or nothing where it did not come.
    pub(super) fn reader(&self, number: usize) -> Reader<'_> {
        let Column { whole, joined } = &self.columns[number];
        whole.unwrap_or_else(|| Reader::new(joined))
    }

    /// A dictionary's text, which is one field and never in pieces.
    pub(super) fn text(&self, number: usize) -> Reader<'a> {
        self.columns[number].whole.unwrap_or_else(|| Reader::new(&[]))
    }

    fn metadata(&mut self, mut message: Reader<'a>, room: &mut Room) -> Result<(), WireError> {
        const TAGS: u32 = key(1, LEN);
        const RESOURCES: u32 = key(2, LEN);
        while let Some(key) = message.key()? {
            match key {
                TAGS | RESOURCES => {
                    room.take_for(2 * size_of::<&[u8]>(), &message)?;
                    let list = if key == TAGS { &mut self.tags } else { &mut self.resources };
                    list.push(message.bytes()?);
                }
                _ => message.skip(key, known(&[1, 2]))?,
            }
        }
        Ok(())
    }

    fn metric_data(&mut self, mut message: Reader<'a>, room: &mut Room) -> Result<(), WireError> {
        while let Some(key) = message.key()? {
            let (number, wire_type) = ((key >> 3) as usize, key & 7);
            if number >= COLUMNS {
                message.skip(key, 0)?;
                continue;
            }
            let column = &mut self.columns[number];
            match (wire_type, item(number)) {
                // Of a field that is no list the last one counts.
                (LEN, LEN) => column.whole = Some(message.message()?),
                (LEN, item) => {
                    let piece = message.message()?;
                    if item == VARINT && piece.rest().last().is_some_and(|byte| *byte >= 0x80) {
                        return Err(message.error("truncated varint"));
                    }
                    column.append(piece, room)?;
                }
                (_, item) if wire_type == item => {
                    let mut after = message;
                    after.skip(wire_type | 1 << 3, 0)?;
                    let piece = message.between(message.offset()..after.offset());
                    room.take_for(2 * piece.len(), &message)?;
                    column.join(piece);
                    message = after;
                }
                _ => return Err(message.error("known field with a wrong wire type")),
            }
        }
        Ok(())
    }
}

/// The wire type of a column's items; [`LEN`] where it is a dictionary's text.
fn item(number: usize) -> u32 {
    match number {
        NAME_STR | TAG_STR | RESOURCE_STR | SOURCE_TYPE_STR | UNIT_STR => LEN,
        VALS_FLOAT32 => FIXED32,
        VALS_FLOAT64 => FIXED64,
        _ => VARINT,
    }
}

impl<'a> Column<'a> {
    fn append(&mut self, piece: Reader<'a>, room: &mut Room) -> Result<(), WireError> {
        if self.whole.is_none() && self.joined.is_empty() {
            self.whole = Some(piece);
            return Ok(());
        }
        let before = self.whole.map_or(0, |whole| whole.rest().len());
        room.take_for(2 * (before + piece.rest().len()), &piece)?;
        self.join(piece.rest());
        Ok(())
    }

    fn join(&mut self, piece: &[u8]) {
        if let Some(whole) = self.whole.take() {
            self.joined.extend_from_slice(whole.rest());
        }
        self.joined.extend_from_slice(piece);
    }
}
