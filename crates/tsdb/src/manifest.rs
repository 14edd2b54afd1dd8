//! The manifest: what of the data directory is live.
//!
//! Two files, `manifest-0` and `manifest-1`, with the same content: each new generation replaces both. Nothing is removed
//! before both are on the disk, no block that was merged and no WAL segment that was flushed, so whoever finds only one of
//! them loses nothing. A power cut in between leaves one of the old generation; either says what is there.
//!
//! ```text
//! an envelope (`codec::envelope`) with magic "WEIRMAN1" and the body:
//! generation · id seed (8) · varints: replay segment, next file id, flushed sequence, blocks: count, ids,
//! floors: count, for each tenant, time (zigzag), sequence; since version 2 tombstones: count, for each tenant, files:
//! count, ids, times (zigzag) of first and last ms, matchers: count, for each operator (1), byte strings name, value;
//! since version 3 for each block level, times (zigzag) of the first ms and from there to the last, sequence of the first
//! sample and from there to the last
//! ```

use std::io;
use std::path::Path;
use std::sync::Arc;

use codec::chunk::Corrupt;
use codec::chunk::bytes::{Reader, put_varint, put_zigzag};
use codec::envelope;
use env::Files;
use model::TenantId;

use crate::named::Named;
use crate::open::OpenError;
use crate::small_file::{self, SmallFile};
use crate::tombstone::Tombstone;

/// The format version that this Weir writes.
pub(crate) const VERSION: u16 = 3;

pub(crate) const MAGIC: &[u8; 8] = b"WEIRMAN1";

/// What is live.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Manifest {
    /// Grows with each change.
    pub(crate) generation: u64,
    /// Key of series ids; as long as the data directory lives.
    pub(crate) id_seed: u64,
    /// Everything in WAL segments below is in blocks.
    pub(crate) replay_segment: u64,
    /// Never given to a file yet.
    pub(crate) next_file: u64,
    /// Highest WAL sequence that is in blocks.
    pub(crate) flushed_sequence: u64,
    /// Live blocks, ascending by age.
    pub(crate) blocks: Vec<Named>,
    /// What retention has cut off, by tenant.
    pub(crate) floors: Vec<Floor>,
    /// Deletes that mask something still.
    pub(crate) tombstones: Vec<Arc<Tombstone>>,
}

/// A manifest as it was found.
pub(crate) struct Loaded {
    pub(crate) manifest: Manifest,
    /// Whether both copies say so.
    pub(crate) is_in_both: bool,
}

/// A tenant's samples before a time are gone from all blocks whose sequences end at or before `sequence`; of a deleted
/// tenant all are, before the end of time.
///
/// Blocks expire one by one: without a floor, a value that a dropped block had overwritten would come back from an
/// older block that newer samples keep alive. Blocks written later are not cut: what is sent anew is visible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Floor {
    pub(crate) tenant: TenantId,
    /// First time that is still there, in ms.
    pub(crate) start_ms: i64,
    pub(crate) sequence: u64,
}

impl Floor {
    fn covers(&self, other: &Floor) -> bool {
        self.tenant == other.tenant && self.start_ms >= other.start_ms && self.sequence >= other.sequence
    }
}

/// The first time in ms that a tenant still has in a block whose sequences end at `sequence`; `floors` stand by tenant.
pub(crate) fn floor_ms(floors: &[Floor], tenant: TenantId, sequence: u64) -> i64 {
    // Many tenants may have one, and every query asks for its own.
    let first = floors.partition_point(|floor| floor.tenant < tenant);
    let of_tenant = floors[first..].iter().take_while(|floor| floor.tenant == tenant);
    let of_block = of_tenant.filter(|floor| sequence <= floor.sequence);
    of_block.map(|floor| floor.start_ms).max().unwrap_or(i64::MIN)
}

/// Adds a floor and forgets those that it covers.
pub(crate) fn add_floor(floors: &mut Vec<Floor>, floor: Floor) {
    floors.retain(|old| !floor.covers(old));
    let at = floors.partition_point(|old| old.tenant <= floor.tenant);
    floors.insert(at, floor);
}

impl Manifest {
    /// Whether a block is live.
    pub(crate) fn names(&self, id: u64) -> bool {
        self.blocks.iter().any(|named| named.id == id)
    }

    /// Forgets tombstones whose files are no longer named.
    pub(crate) fn forget_tombstones(&mut self) {
        let blocks = &self.blocks;
        let named = |file: &u64| blocks.iter().any(|named| named.id == *file);
        let left = |tombstone: Arc<Tombstone>| {
            let files: Vec<u64> = tombstone.files.iter().copied().filter(named).collect();
            match files.len() {
                0 => None,
                n if n == tombstone.files.len() => Some(tombstone),
                _ => Some(Arc::new(Tombstone { files, ..(*tombstone).clone() })),
            }
        };
        self.tombstones = std::mem::take(&mut self.tombstones).into_iter().filter_map(left).collect();
    }

    /// The newest readable generation; `None` when there is no manifest at all. What is damaged is told in `damage`.
    pub(crate) fn load(
        files: &dyn Files,
        directory: &Path,
        damage: &mut Vec<String>,
    ) -> Result<Option<Loaded>, OpenError> {
        let mut copies = Vec::new();
        let mut damaged = Vec::new();
        for name in Self::FILES {
            match Self::load_one(files, directory, name)? {
                Some(Ok(found)) => copies.push(found),
                Some(Err(())) => damaged.push(name),
                None => {}
            }
        }
        let is_in_both = copies.len() == 2 && copies[0] == copies[1];
        let newest = copies.into_iter().max_by_key(|manifest| manifest.generation);
        match (&newest, damaged.as_slice()) {
            (_, []) => {}
            (Some(_), damaged) => {
                damage.push(format!("{} is damaged, the other copy is used", damaged.join(" and ")));
            }
            (None, _) => damage.push("no manifest can be read: every block that can be is live".to_owned()),
        }
        Ok(newest.map(|manifest| Loaded { manifest, is_in_both }))
    }

    /// One copy: `None` when it is missing, an error in it when it is damaged.
    pub(crate) fn load_one(
        files: &dyn Files,
        directory: &Path,
        name: &str,
    ) -> Result<Option<Result<Manifest, ()>>, OpenError> {
        Ok(match small_file::read(files, directory, name, MAGIC, VERSION)? {
            SmallFile::Missing => None,
            SmallFile::Damaged => Some(Err(())),
            SmallFile::Whole(body) => Some(Self::decode_body(&body).map_err(|Corrupt| ())),
        })
    }

    /// The names of both copies.
    pub(crate) const FILES: [&str; 2] = ["manifest-0", "manifest-1"];

    /// Writes this generation durably, into both copies. After an error each is this or the one that it was.
    pub(crate) fn store(&self, files: &dyn Files, directory: &Path) -> io::Result<()> {
        env::replace_all(files, directory, &Self::FILES, &self.encode())
    }

    fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        put_varint(&mut body, self.generation);
        body.extend_from_slice(&self.id_seed.to_le_bytes());
        for number in [self.replay_segment, self.next_file, self.flushed_sequence, self.blocks.len() as u64] {
            put_varint(&mut body, number);
        }
        self.blocks.iter().for_each(|named| put_varint(&mut body, named.id));
        put_varint(&mut body, self.floors.len() as u64);
        for floor in &self.floors {
            put_varint(&mut body, u64::from(floor.tenant.0));
            put_zigzag(&mut body, floor.start_ms);
            put_varint(&mut body, floor.sequence);
        }
        put_varint(&mut body, self.tombstones.len() as u64);
        self.tombstones.iter().for_each(|tombstone| tombstone.encode(&mut body));
        self.blocks.iter().for_each(|named| named.encode(&mut body));
        envelope::wrap(MAGIC, VERSION, &body)
    }

    fn decode_body(body: &[u8]) -> Result<Manifest, Corrupt> {
        let mut reader = Reader::new(body);
        let generation = reader.counter()?;
        let id_seed = u64::from_le_bytes(reader.array()?);
        let (replay_segment, next_file, flushed_sequence) =
            (reader.counter()?, reader.counter()?, reader.counter()?);
        let count = reader.count_of(1)?;
        let ids: Vec<u64> = (0..count).map(|_| reader.counter()).collect::<Result<_, _>>()?;
        let count = reader.count_of(3)?;
        let floor = |reader: &mut Reader<'_>| {
            let tenant = TenantId(reader.number()?);
            Ok(Floor { tenant, start_ms: reader.zigzag()?, sequence: reader.counter()? })
        };
        let mut floors: Vec<Floor> = (0..count).map(|_| floor(&mut reader)).collect::<Result<_, _>>()?;
        floors.sort_by_key(|floor| floor.tenant);
        // Version 1 ends here.
        let count = if reader.is_empty() { 0 } else { reader.count_of(5)? };
        let tombstone = |_| Tombstone::decode(&mut reader).map(Arc::new);
        let tombstones = (0..count).map(tombstone).collect::<Result<_, _>>()?;
        // Version 2 ends here.
        let blocks = if reader.is_empty() {
            ids.into_iter().map(Named::unknown).collect()
        } else {
            ids.into_iter().map(|id| Named::decode(id, &mut reader)).collect::<Result<_, _>>()?
        };
        Ok(Manifest {
            generation,
            id_seed,
            replay_segment,
            next_file,
            flushed_sequence,
            blocks,
            floors,
            tombstones,
        })
    }
}

#[cfg(test)]
mod tests {
    use model::{MatchOp, Matcher, TimeRange};

    use super::*;
    use crate::block::Level;

    fn named(id: u64, sequences: std::ops::RangeInclusive<u64>) -> Named {
        Named { id, level: Level::Day, range: TimeRange { start_ms: -1, end_ms: 1 << 60 }, sequences }
    }

    fn manifest() -> Manifest {
        let range = TimeRange { start_ms: -5, end_ms: 5 };
        let matchers = vec![Matcher::new("a", MatchOp::Equal, "b").unwrap()];
        let tombstone = Tombstone { tenant: TenantId(2), files: vec![3, 200], range, matchers };
        Manifest {
            generation: 7,
            id_seed: 42,
            replay_segment: 9,
            next_file: 70_001,
            flushed_sequence: 500,
            blocks: vec![named(3, 0..=7), Named::unknown(200), named(70_000, 8..=u64::MAX)],
            floors: vec![Floor { tenant: TenantId(3), start_ms: -1, sequence: 400 }],
            tombstones: vec![Arc::new(tombstone)],
        }
    }

    #[test]
    fn a_floor_cuts_older_blocks_only_and_replaces_what_it_covers() {
        let floor = |start_ms, sequence| Floor { tenant: TenantId(1), start_ms, sequence };
        let mut floors = Vec::new();
        add_floor(&mut floors, floor(100, 10));
        add_floor(&mut floors, floor(200, 20));
        assert_eq!(floors, [floor(200, 20)]);
        add_floor(&mut floors, floor(150, 30));
        assert_eq!(floor_ms(&floors, TenantId(1), 20), 200);
        assert_eq!(
            floor_ms(&floors, TenantId(1), 25),
            150,
            "a lower floor later cuts newer blocks only so far"
        );
        assert_eq!(floor_ms(&floors, TenantId(1), 31), i64::MIN);
        assert_eq!(floor_ms(&floors, TenantId(2), 5), i64::MIN);
    }

    #[test]
    fn a_manifest_comes_back() {
        let bytes = manifest().encode();
        let body = envelope::unwrap(MAGIC, VERSION, &bytes).unwrap();
        assert_eq!(Manifest::decode_body(body), Ok(manifest()));
        // Of a block without a sample.
        let range = TimeRange { start_ms: i64::MAX, end_ms: i64::MIN };
        let empty = Manifest { blocks: vec![Named { range, ..named(1, 5..=5) }], ..manifest() };
        let bytes = empty.encode();
        assert_eq!(Manifest::decode_body(envelope::unwrap(MAGIC, VERSION, &bytes).unwrap()), Ok(empty));
    }

    #[test]
    fn of_blocks_that_an_older_manifest_names_nothing_is_known() {
        let mut body = Vec::new();
        put_varint(&mut body, 4);
        body.extend_from_slice(&42u64.to_le_bytes());
        // Replay segment, next file, flushed sequence, two blocks; no floor; no tombstone, in version 2.
        [1, 8, 9, 2, 5, 7, 0].into_iter().for_each(|number| put_varint(&mut body, number));
        for version in [1, 2] {
            if version == 2 {
                put_varint(&mut body, 0);
            }
            let found = Manifest::decode_body(&body).unwrap();
            assert_eq!(found.blocks, [Named::unknown(5), Named::unknown(7)], "version {version}");
        }
    }

    /// Numbers that nothing can follow: the next generation, segment, file or flush was an overflow, at each start.
    #[test]
    fn what_counts_on_has_a_number_after_it() {
        let too_high: [fn(&mut Manifest); 5] = [
            |m| m.generation = u64::MAX,
            |m| m.replay_segment = u64::MAX,
            |m| m.next_file = u64::MAX,
            |m| m.flushed_sequence = u64::MAX,
            |m| m.blocks.push(named(u64::MAX, 1..=2)),
        ];
        for change in too_high {
            let mut manifest = manifest();
            change(&mut manifest);
            let bytes = manifest.encode();
            let body = envelope::unwrap(MAGIC, VERSION, &bytes).unwrap();
            assert_eq!(Manifest::decode_body(body), Err(Corrupt), "{manifest:?}");
        }
    }
}
