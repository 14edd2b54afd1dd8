//! Every cut and every flipped bit of a small segment: exactly the frames that are whole come back, and bytes of an
//! older segment behind the cut are never taken for frames.

use std::path::Path;
use std::sync::Arc;

use env::{Env, Files};
use sim::clock::SimClock;
use sim::files::{Failure, Fault, Op, SimFiles};
use sim::random::{Rng, SimRandom};
use wal::{Damage, Durability, Options, Stream, Writer, read_segment};

const SEGMENT_HEADER_BYTES: usize = 52;
const FRAME_HEADER_BYTES: usize = 28;

/// Frames of each group of a [`Segment`].
const GROUPS: [usize; 4] = [3, 1, 2, 2];

type Frames = Vec<(u64, Vec<u8>)>;

/// A segment and the frames in it.
struct Segment {
    /// Frames of each group.
    groups: Vec<usize>,
    bytes: Vec<u8>,
    frames: Frames,
    /// Where each frame begins, and where the last one ends.
    bounds: Vec<usize>,
}

/// Writes the log at the root of a disk, from segment 1 on.
fn writer(disk: &SimFiles, seed: u64, segment_bytes: u64, first_sequence: u64) -> Writer {
    let env = Env {
        clock: Arc::new(SimClock::new(0)),
        files: Arc::new(disk.clone()),
        random: Arc::new(SimRandom::new(seed)),
    };
    let options = Options { segment_bytes, durability: Durability::Fsync };
    Writer::new(env, Path::new("/"), Stream::Metrics, options, 1, first_sequence)
}

impl Segment {
    /// Frames of the same lengths for every `seed`, with other content and under another epoch.
    fn new(seed: u64) -> Self {
        Self::with(seed, &GROUPS)
    }

    /// As [`Segment::new`], of other groups.
    fn with(seed: u64, groups: &[usize]) -> Self {
        let disk = SimFiles::new(seed);
        let mut writer = writer(&disk, seed, 1024 * groups.len() as u64, 10);
        let mut frames = Frames::new();
        let mut lengths = Rng::new(1);
        let mut rng = Rng::new(seed);
        for group in groups {
            writer.segment().unwrap();
            for _ in 0..*group {
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
        Self { groups: groups.to_vec(), bytes, frames, bounds }
    }

    /// Where the last group begins.
    fn last_group(&self) -> usize {
        self.bounds[self.frames.len() - self.groups[self.groups.len() - 1]]
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

/// Cuts a tail off, and puts nothing, zeros or what a recycled disk block has in its place. Now and then the byte that
/// comes is the one that was cut off.
fn expect_frames_before(cut: usize, segment: &Segment, recycled: &Segment) {
    let short = &segment.bytes[..cut];
    let mut zeroed = short.to_vec();
    zeroed.resize(segment.bytes.len(), 0);
    for (tail, bytes) in [("cut", short), ("zeroed", &zeroed)] {
        let is_whole = |begin, end| bytes.get(begin..end) == Some(&segment.bytes[begin..end]);
        let whole = segment.frames_where(|begin, end| cut >= SEGMENT_HEADER_BYTES && is_whole(begin, end));
        let (frames, damage) = read(bytes);
        assert!(frames == whole, "{tail} at {cut}: {} frames of {}", frames.len(), whole.len());
        assert_eq!(damage.gaps, 0, "{tail} at {cut}: a torn tail is no loss of anything durable");
    }
    let mut mixed = short.to_vec();
    mixed.extend_from_slice(&recycled.bytes[cut..]);
    let (frames, damage) = read(&mixed);
    if cut >= SEGMENT_HEADER_BYTES {
        let whole = segment.frames_where(|begin, end| mixed[begin..end] == segment.bytes[begin..end]);
        assert!(frames == whole, "recycled from {cut}: {} frames of {}", frames.len(), whole.len());
    } else {
        // The header is of one of the two, or of neither: frames of that one, never a mixture.
        assert!(damage.header && frames.is_empty() || frames == recycled.frames, "recycled from {cut}");
    }
}

#[test]
fn a_tail_cut_at_any_byte_leaves_the_frames_before_it() {
    let (segment, recycled) = (Segment::new(1), Segment::new(2));
    assert_eq!(segment.bounds, recycled.bounds, "the same frames lie at the same places");
    assert_ne!(segment.bytes[24..32], recycled.bytes[24..32], "under another epoch");
    for cut in 0..=segment.end() {
        expect_frames_before(cut, &segment, &recycled);
    }
}

/// Every byte with `WEIR_EVERY_BIT`, some of them without.
#[test]
fn a_long_tail_cut_at_any_byte_leaves_the_frames_before_it() {
    let groups = GROUPS.repeat(120);
    let (segment, recycled) = (Segment::with(1, &groups), Segment::with(2, &groups));
    let end = segment.end();
    assert!(end > 64 << 10, "{end}");
    for cut in (end - (64 << 10)..=end).rev().step_by(sim::thinned(127)) {
        expect_frames_before(cut, &segment, &recycled);
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
        let last = bit / 8 >= segment.last_group();
        assert_eq!(damage.is_loss(), !last, "bit {bit}: only the last group may have been torn");
        assert_eq!(damage.torn_bytes > 0, last, "bit {bit}");
    }
}

#[test]
fn frames_that_are_missing_before_a_later_group_are_a_loss_and_inside_of_the_last_one_they_are_not() {
    let segment = Segment::new(1);
    for (frame, bounds) in segment.bounds.windows(2).enumerate() {
        let mut bytes = segment.bytes.clone();
        bytes[bounds[0]..bounds[1]].fill(0);
        let (frames, damage) = read(&bytes);
        assert_eq!(frames, segment.frames_where(|begin, _| begin != bounds[0]), "frame {frame}");
        let torn = bounds[0] >= segment.last_group();
        let length = (bounds[1] - bounds[0]) as u64;
        let expected = if torn {
            // Of the last frame nothing is left to be counted.
            let is_last = bounds[1] == segment.end();
            let torn_from = (!is_last).then_some(16);
            Damage { torn_bytes: if is_last { 0 } else { length }, torn_from, ..Damage::default() }
        } else {
            Damage { gaps: 1, gap_bytes: length, ..Damage::default() }
        };
        assert_eq!(damage, expected, "frame {frame}");
    }
}

#[test]
fn what_the_next_segment_says_was_acknowledged_is_a_loss_in_the_last_group_too() {
    let disk = SimFiles::new(1);
    let mut writer = writer(&disk, 1, 1 << 20, 1);
    let group = |writer: &mut Writer| {
        writer.segment().unwrap();
        (0..2).for_each(|_| {
            writer.add(b"payload");
        });
        writer.commit()
    };
    group(&mut writer).unwrap();
    group(&mut writer).unwrap();
    writer.roll().unwrap();
    group(&mut writer).unwrap();
    disk.plan(Fault::new(Op::Sync, Failure::Io));
    group(&mut writer).unwrap_err();
    group(&mut writer).unwrap();
    let read = |number| {
        let each = &mut |_, _: &[u8]| Ok(());
        read_segment(&disk, Path::new("/"), Stream::Metrics, number, each).unwrap()
    };
    let frame = FRAME_HEADER_BYTES + 7;
    let zero = |number, frames: std::ops::Range<usize>| {
        let bytes = SEGMENT_HEADER_BYTES + frames.start * frame..SEGMENT_HEADER_BYTES + frames.end * frame;
        disk.damage(&Path::new("/").join(wal::file_name(number)), |file| file[bytes.clone()].fill(0))
            .unwrap();
    };
    assert_eq!([read(1), read(2), read(3)], [Damage::default(); 3]);
    zero(1, 2..3);
    assert!(read(1).is_loss(), "a frame of the last group of a segment that was closed: {:?}", read(1));
    zero(1, 3..4);
    assert!(read(1).is_loss(), "all of it: {:?}", read(1));
    zero(2, 2..3);
    assert!(!read(2).is_loss(), "the group whose sync failed was not acknowledged: {:?}", read(2));
    zero(2, 1..2);
    assert!(read(2).is_loss(), "the one before it was: {:?}", read(2));
    zero(3, 0..1);
    assert!(!read(3).is_loss(), "nobody knows of the log's last group: {:?}", read(3));
}

/// Whoever was told that a group failed may have done otherwise since: what of it did reach the disk is passed over as soon
/// as the log goes on, also when the next segment could not be made at once.
#[test]
fn a_group_that_failed_does_not_count_once_the_log_goes_on() {
    let disk = SimFiles::new(1);
    let mut writer = writer(&disk, 1, 1 << 20, 1);
    let mut group = |payload: &[u8]| {
        writer.segment()?;
        writer.add(payload);
        writer.commit()
    };
    let read = |number| {
        let mut found = Vec::new();
        let damage = read_segment(&disk, Path::new("/"), Stream::Metrics, number, &mut |_, payload| {
            found.push(String::from_utf8(payload.to_vec()).unwrap());
            Ok(())
        });
        (found, damage.unwrap().is_loss())
    };
    let found = |frames: &[&str]| (frames.iter().map(|frame| (*frame).to_owned()).collect(), false);
    group(b"taken").unwrap();
    disk.plan(Fault::new(Op::Sync, Failure::Io));
    group(b"failed").unwrap_err();
    assert_eq!(read(1), found(&["taken", "failed"]), "nobody knows");
    disk.plan(Fault::new(Op::Create, Failure::NoSpace));
    group(b"not even made").unwrap_err();
    assert_eq!(read(1), found(&["taken", "failed"]), "nobody knows yet");
    group(b"then").unwrap();
    assert_eq!((read(1), read(3)), (found(&["taken"]), found(&["then"])));
}

#[test]
fn a_sector_that_cannot_be_read_costs_the_frames_in_it() {
    // Longer than a few sectors, so that there is something before and behind each.
    let payload =
        |n: u8| [vec![n; 40], (0..=255).cycle().skip(n.into()).step_by(7).take(1500).collect()].concat();
    let disk = SimFiles::new(3);
    let mut writer = writer(&disk, 3, 1 << 20, 1);
    let mut rng = Rng::new(3);
    let mut ends = vec![SEGMENT_HEADER_BYTES];
    for n in 0..20 {
        writer.segment().unwrap();
        let mut bytes = payload(n);
        rng.fill(&mut bytes);
        writer.add(&bytes);
        writer.commit().unwrap();
        ends.push(ends[ends.len() - 1] + FRAME_HEADER_BYTES + bytes.len());
    }
    let path = Path::new("/").join(wal::file_name(1));
    let sectors = ends[20].div_ceil(4096);
    for sector in 0..sectors {
        let disk = disk.fork(7);
        disk.spoil_sector(&path, sector as u64 * 4096).unwrap();
        let mut found = Vec::new();
        let damage = read_segment(&disk, Path::new("/"), Stream::Metrics, 1, &mut |sequence, _| {
            found.push(sequence as usize);
            Ok(())
        })
        .unwrap();
        assert!(damage.is_loss() && damage.unreadable_bytes == 4096, "sector {sector}: {damage:?}");
        let spoiled = sector * 4096..(sector + 1) * 4096;
        let whole = (1..=20).filter(|n| ends[*n] <= spoiled.start || ends[n - 1] >= spoiled.end);
        let expected: Vec<usize> = if sector == 0 { Vec::new() } else { whole.collect() };
        assert_eq!((found, damage.header), (expected, sector == 0), "sector {sector}");
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
