//! Every cut and every flipped bit of a small segment: exactly the frames that are whole come back, and bytes of an
//! older segment behind the cut are never taken for frames.

use std::path::Path;
use std::sync::Arc;

use env::{Env, Files};
use sim::clock::SimClock;
use sim::files::SimFiles;
use sim::random::{Rng, SimRandom};
use wal::{Damage, Durability, Options, Stream, Writer, read_segment};

const SEGMENT_HEADER_BYTES: usize = 36;
const FRAME_HEADER_BYTES: usize = 24;

type Frames = Vec<(u64, Vec<u8>)>;

/// A segment and the frames in it.
struct Segment {
    bytes: Vec<u8>,
    frames: Frames,
    /// Where each frame begins, and where the last one ends.
    bounds: Vec<usize>,
}

impl Segment {
    /// Frames of the same lengths for every `seed`, with other content and under another epoch.
    fn new(seed: u64) -> Self {
        let disk = SimFiles::new(seed);
        let env = Env {
            clock: Arc::new(SimClock::new(0)),
            files: Arc::new(disk.clone()),
            random: Arc::new(SimRandom::new(seed)),
        };
        let options = Options { segment_bytes: 4096, durability: Durability::Fsync };
        let mut writer = Writer::new(env, Path::new("/"), Stream::Metrics, options, 1, 10);
        let mut frames = Frames::new();
        let mut lengths = Rng::new(1);
        let mut rng = Rng::new(seed);
        for group in [3, 1, 2, 2] {
            writer.segment().unwrap();
            for _ in 0..group {
                let mut payload = vec![b'a' + seed as u8; [0, 40, 90, 600][lengths.index(4)]];
                let incompressible = payload.len().min(60);
                rng.fill(&mut payload[..incompressible]);
                frames.push((writer.add(&payload), payload));
            }
            writer.commit().unwrap();
        }
        let bytes = disk.content(Path::new(&wal::file_name(1))).unwrap();
        let mut bounds = vec![SEGMENT_HEADER_BYTES];
        for _ in &frames {
            let at = bounds[bounds.len() - 1];
            let stored = u32::from_le_bytes(bytes[at + 4..at + 8].try_into().unwrap()) as usize;
            bounds.push(at + FRAME_HEADER_BYTES + stored);
        }
        Self { bytes, frames, bounds }
    }

    fn end(&self) -> usize {
        self.bounds[self.bounds.len() - 1]
    }

    /// The frames for which `good(begin, end)` holds.
    fn frames_where(&self, good: impl Fn(usize, usize) -> bool) -> Frames {
        let bounds = self.bounds.windows(2).map(|pair| good(pair[0], pair[1]));
        self.frames.iter().zip(bounds).filter(|(_, good)| *good).map(|(frame, _)| frame.clone()).collect()
    }
}

fn read(bytes: &[u8]) -> (Frames, Damage) {
    let disk = SimFiles::new(0);
    disk.create(Path::new(&wal::file_name(1))).unwrap().write_at(bytes, 0).unwrap();
    let mut frames = Frames::new();
    let damage = read_segment(&disk, Path::new("/"), Stream::Metrics, 1, &mut |sequence, payload| {
        frames.push((sequence, payload.to_vec()));
        Ok(())
    });
    (frames, damage.unwrap())
}

#[test]
fn an_undamaged_segment_comes_back_whole() {
    let segment = Segment::new(1);
    let (frames, damage) = read(&segment.bytes);
    assert_eq!(frames, segment.frames);
    assert_eq!(damage, Damage::default());
    assert_eq!(
        frames.iter().map(|(sequence, _)| *sequence).collect::<Vec<_>>(),
        (10..18).collect::<Vec<_>>()
    );
}

#[test]
fn a_tail_cut_at_any_byte_leaves_the_frames_before_it() {
    let (segment, recycled) = (Segment::new(1), Segment::new(2));
    assert_eq!(segment.bounds, recycled.bounds, "the same frames lie at the same places");
    assert_ne!(segment.bytes[24..32], recycled.bytes[24..32], "under another epoch");
    for cut in 0..=segment.end() {
        let whole = segment.frames_where(|_, end| end <= cut && cut >= SEGMENT_HEADER_BYTES);
        let short = &segment.bytes[..cut];
        let mut zeroed = short.to_vec();
        zeroed.resize(segment.bytes.len(), 0);
        for (tail, bytes) in [("cut", short), ("zeroed", &zeroed)] {
            let (frames, damage) = read(bytes);
            assert_eq!(frames, whole, "{tail} at {cut}");
            assert_eq!(damage.gaps, 0, "{tail} at {cut}: a torn tail is no loss of anything durable");
        }
        let mut mixed = short.to_vec();
        mixed.extend_from_slice(&recycled.bytes[cut..]);
        if cut >= SEGMENT_HEADER_BYTES {
            // Now and then the recycled byte is the one that was cut off.
            let whole = segment.frames_where(|begin, end| mixed[begin..end] == segment.bytes[begin..end]);
            assert_eq!(read(&mixed).0, whole, "recycled from {cut}");
        } else {
            // The header is of one of the two, or of neither: frames of that one, never a mixture.
            let (frames, damage) = read(&mixed);
            assert!(damage.header && frames.is_empty() || frames == recycled.frames, "recycled from {cut}");
        }
    }
}

#[test]
fn any_flipped_bit_costs_the_frame_that_it_lies_in() {
    let segment = Segment::new(1);
    for bit in 0..segment.end() * 8 {
        let mut bytes = segment.bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let (frames, damage) = read(&bytes);
        if bit / 8 < SEGMENT_HEADER_BYTES {
            assert!(frames.is_empty() && damage.header && damage.is_loss(), "bit {bit}");
            continue;
        }
        let others = segment.frames_where(|begin, end| bit / 8 < begin || end <= bit / 8);
        assert_eq!(frames, others, "bit {bit}");
        let last = bit / 8 >= segment.bounds[segment.bounds.len() - 2];
        assert_eq!(damage.is_loss(), !last, "bit {bit}");
        assert_eq!(damage.tail_bytes > 0, last, "bit {bit}");
    }
}

#[test]
fn a_sector_of_garbage_costs_the_frames_that_it_touches() {
    let segment = Segment::new(1);
    let mut rng = Rng::new(5);
    for start in SEGMENT_HEADER_BYTES..segment.end() {
        let mut bytes = segment.bytes.clone();
        let end = (start + 1 + rng.index(512)).min(segment.end());
        rng.fill(&mut bytes[start..end]);
        let whole = segment.frames_where(|begin, frame_end| frame_end <= start || end <= begin);
        let (frames, _) = read(&bytes);
        // A short run of random bytes may happen to be what stood there.
        assert!(
            frames == whole || end - start <= 2 && frames.len() > whole.len(),
            "garbage in {start}..{end}"
        );
    }
}

#[test]
fn a_segment_under_another_number_or_stream_is_not_read() {
    let segment = Segment::new(1);
    let disk = SimFiles::new(0);
    disk.create(Path::new(&wal::file_name(2))).unwrap().write_at(&segment.bytes, 0).unwrap();
    disk.create(Path::new(&wal::file_name(1))).unwrap().write_at(&segment.bytes, 0).unwrap();
    for (stream, number) in [(Stream::Metrics, 2), (Stream::Logs, 1)] {
        let mut each = |_, _: &[u8]| panic!("a frame of {stream:?} {number}");
        let damage = read_segment(&disk, Path::new("/"), stream, number, &mut each).unwrap();
        assert!(damage.header && damage.is_loss());
    }
}
