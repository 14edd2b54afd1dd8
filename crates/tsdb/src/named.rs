//! A live block as the manifest names it: what is known of it when the disk does not give the block itself.

use std::ops::RangeInclusive;

use codec::chunk::Corrupt;
use codec::chunk::bytes::{Reader, put_varint, put_zigzag};
use model::TimeRange;

use crate::block::{BlockMeta, Level};

/// A block that the manifest names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) id: u64,
    pub(crate) level: Level,
    /// From the first sample to the last, of all tenants.
    pub(crate) range: TimeRange,
    /// WAL sequences that the samples came from.
    pub(crate) sequences: RangeInclusive<u64>,
}

impl Named {
    /// A block of which nothing is known, as manifests named them before version 3: it may have anything.
    pub(crate) fn unknown(id: u64) -> Self {
        let range = TimeRange { start_ms: i64::MIN, end_ms: i64::MAX };
        Self { id, level: Level::Flushed, range, sequences: 0..=u64::MAX }
    }

    /// A block that can be read.
    pub(crate) fn of(meta: &BlockMeta) -> Self {
        let sequences = meta.sequences.clone();
        Self { id: meta.id, level: meta.level, range: meta.range(), sequences }
    }

    /// The times of its samples, if they are known.
    pub(crate) fn known_range(&self) -> Option<TimeRange> {
        (self.range != Self::unknown(self.id).range).then_some(self.range)
    }

    /// Writes all but the id.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.level.number().into());
        put_zigzag(out, self.range.start_ms);
        put_zigzag(out, self.range.end_ms.wrapping_sub(self.range.start_ms));
        put_varint(out, *self.sequences.start());
        put_varint(out, self.sequences.end().wrapping_sub(*self.sequences.start()));
    }

    /// What [`Named::encode`] wrote of the block `id`.
    pub(crate) fn decode(id: u64, reader: &mut Reader<'_>) -> Result<Self, Corrupt> {
        let level = u16::try_from(reader.varint()?).ok().and_then(Level::from_number).ok_or(Corrupt)?;
        let start_ms = reader.zigzag()?;
        let end_ms = start_ms.wrapping_add(reader.zigzag()?);
        let first = reader.varint()?;
        let last = first.wrapping_add(reader.varint()?);
        Ok(Self { id, level, range: TimeRange { start_ms, end_ms }, sequences: first..=last })
    }
}
