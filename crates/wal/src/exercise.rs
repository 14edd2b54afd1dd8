//! What must hold for whatever lies in a log: the body of its fuzz target and of its seeded test.
//!
//! Everything in a segment is under a checksum, so bytes as they come would be refused at the first one. Here they say
//! what lies in the segment, piece by piece: frames with good checksums around any payload, any compressed block, any
//! sequence and place, loose bytes between them, and where the file is cut. What must come back is known from that.

use std::ops::Range;
use std::path::Path;

use codec::chunk::Corrupt;
use codec::chunk::bytes::Reader;
use codec::{COUNTER_MAX, hash, lz4};
use env::Files;

use crate::segment::{self, Header};
use crate::{DamagedRange, PAYLOAD_BYTES_MAX, RangeKind, Stream, frame, map_segment};

/// The segment that is read. The one behind it may say how far it was acknowledged.
const NUMBER: u64 = 1;

/// Zeros of one piece at most: more than a reader looks at at once.
const ZEROS_MAX: usize = 3 << 20;

/// Bytes of a segment at most.
const SEGMENT_BYTES_MAX: usize = 8 << 20;

/// A frame that was written whole: where it ends, its sequence, its payload.
type Whole = (usize, u64, Vec<u8>);

/// Writes a segment as `input` describes it to the root of an empty disk, and reads it.
///
/// # Panics
/// When what comes back is not what was written whole, or the map of the damage contradicts itself.
pub fn exercise(files: &dyn Files, input: &[u8]) {
    // Nobody who does not know the whole input can make a frame of this epoch.
    let epoch = hash::key128(0, input) as u64;
    let mut reader = Reader::new(input);
    let (first_sequence, acknowledged) = (reader.varint().unwrap_or(0), reader.varint().unwrap_or(0));
    let cut = reader.length().unwrap_or(0);
    let header = Header { number: NUMBER, epoch, first_sequence, acknowledged_before: 0 };
    let mut bytes = header.encode(Stream::Metrics).to_vec();
    let mut whole = Vec::new();
    let mut sequence = first_sequence;
    while !reader.is_empty() && bytes.len() < SEGMENT_BYTES_MAX {
        // Pieces that are not whole end the input.
        let Ok(()) = piece(&mut reader, epoch, &mut sequence, &mut bytes, &mut whole) else { break };
    }
    bytes.truncate(bytes.len() - cut % (bytes.len() + 1));
    put(files, NUMBER, &bytes);
    if acknowledged > 0 {
        let next = Header { number: NUMBER + 1, epoch, first_sequence: 0, acknowledged_before: acknowledged };
        put(files, NUMBER + 1, &next.encode(Stream::Metrics));
    }
    let is_readable = bytes.len() >= segment::HEADER_BYTES && first_sequence < COUNTER_MAX;
    let expected = whole.into_iter().filter(|(end, ..)| is_readable && *end <= bytes.len());
    // A header with such a number would be damaged, and say nothing.
    let failed_from = if (1..COUNTER_MAX).contains(&acknowledged) { acknowledged } else { u64::MAX };
    check(files, bytes.len() as u64, first_sequence..failed_from, expected);
}

/// Appends what the input says next.
fn piece(
    reader: &mut Reader<'_>,
    epoch: u64,
    sequence: &mut u64,
    bytes: &mut Vec<u8>,
    whole: &mut Vec<Whole>,
) -> Result<(), Corrupt> {
    let head = reader.byte()?;
    match head % 4 {
        kind @ (0 | 1) => {
            *sequence = sequence.wrapping_add(reader.varint()?);
            let place = reader.number()?;
            let stored = reader.bytes()?;
            let payload = if kind == 0 {
                frame::write(stored, *sequence, place, epoch, bytes);
                Some(stored.to_vec())
            } else {
                let raw = reader.number()?;
                frame::seal(stored, raw, *sequence, place, epoch, bytes);
                inflated(stored, raw as usize)
            };
            let payload = payload.filter(|_| *sequence < COUNTER_MAX);
            whole.extend(payload.map(|payload| (bytes.len(), *sequence, payload)));
            *sequence = sequence.wrapping_add(1);
        }
        2 => bytes.extend_from_slice(reader.bytes()?),
        _ => bytes.resize(bytes.len() + reader.length()? % ZEROS_MAX, 0),
    }
    Ok(())
}

/// The payload that a stored block stands for, when it is one.
fn inflated(stored: &[u8], raw: usize) -> Option<Vec<u8>> {
    if stored.len() > raw || raw > PAYLOAD_BYTES_MAX {
        return None;
    }
    let mut payload = Vec::new();
    match stored.len() == raw {
        true => payload.extend_from_slice(stored),
        false => lz4::decompress(stored, raw, &mut payload).ok()?,
    }
    Some(payload)
}

fn put(files: &dyn Files, number: u64, bytes: &[u8]) {
    let file = files.create(&Path::new("/").join(segment::file_name(number))).expect("the disk is empty");
    file.write_at(bytes, 0).expect("the disk has room");
}

/// Reads the segment: those of the frames come back whose sequences grow and were acknowledged, and what else is said fits together.
fn check(files: &dyn Files, length: u64, sequences: Range<u64>, expected: impl Iterator<Item = Whole>) {
    let mut expected = expected.filter(|(_, sequence, _)| *sequence < sequences.end).peekable();
    let mut next = sequences.start;
    let (damage, ranges) =
        map_segment(files, Path::new("/"), Stream::Metrics, NUMBER, &mut |sequence, payload| {
            while expected.next_if(|(_, s, _)| *s < next).is_some() {}
            let (_, wanted, wanted_payload) = expected.next().expect("a frame that was not written");
            assert_eq!(sequence, wanted);
            assert!(payload == wanted_payload, "frame {sequence} has another payload");
            next = sequence + 1;
            Ok(())
        })
        .expect("nothing keeps a segment from being read");
    while expected.next_if(|(_, s, _)| *s < next).is_some() {}
    assert!(expected.next().is_none(), "a frame that was written whole does not come back");

    assert!(ranges.is_sorted_by_key(|range| range.offset), "{ranges:?}");
    assert!(ranges.iter().all(|range| range.offset + range.bytes <= length), "{length}: {ranges:?}");
    assert!(ranges.iter().all(|range| range.sequences.start <= range.sequences.end), "{ranges:?}");
    let of = |kind| move |range: &&DamagedRange| range.kind == kind;
    let bytes = |kind| ranges.iter().filter(of(kind)).map(|range| range.bytes).sum::<u64>();
    let lost = ranges.iter().filter(of(RangeKind::Lost)).count() as u64;
    assert_eq!((damage.gaps, damage.gap_bytes), (lost, bytes(RangeKind::Lost)), "{damage:?} {ranges:?}");
    assert_eq!(damage.torn_bytes, bytes(RangeKind::Torn), "{damage:?} {ranges:?}");
    assert_eq!(damage.header, ranges.iter().any(|range| range.kind == RangeKind::Header));
    assert_eq!(damage.unreadable_bytes, 0, "the disk gives everything");
}
