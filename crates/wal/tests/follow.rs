//! A tail behind a writer on a disk that fails now and then: whatever was acknowledged comes, once and in order, from
//! wherever it began, and nothing of a group that failed.

use std::path::Path;
use std::sync::Arc;

use env::{Env, Files};
use sim::clock::SimClock;
use sim::files::{Failure, Fault, Op, SimFiles};
use sim::random::{Rng, SimRandom};
use wal::{Durability, Next, Options, Position, Stream, Tail, Writer};

/// A writer with what was acknowledged.
struct Log {
    disk: SimFiles,
    writer: Writer,
    acknowledged: Vec<(u64, Vec<u8>)>,
    end: Position,
    rng: Rng,
}

impl Log {
    fn new(seed: u64) -> Self {
        let disk = SimFiles::new(seed);
        let env = Env {
            clock: Arc::new(SimClock::new(0)),
            files: Arc::new(disk.clone()),
            random: Arc::new(SimRandom::new(seed)),
        };
        let options = Options { segment_bytes: 3000, durability: Durability::Fsync };
        let writer = Writer::new(env, Path::new("/"), Stream::Metrics, options, 1, 1);
        let end = Position { segment: 1, sequence: 1 };
        Self { disk, writer, acknowledged: Vec::new(), end, rng: Rng::new(seed) }
    }

    /// Writes a group; one in six fails, having reached the disk or not.
    fn group(&mut self) {
        if self.rng.index(8) == 0 {
            self.writer.roll().unwrap();
        }
        let segment = self.writer.segment().unwrap();
        let mut group = Vec::new();
        for _ in 0..1 + self.rng.index(4) {
            let mut payload = vec![0; [0, 30, 300, 900][self.rng.index(4)]];
            self.rng.fill(&mut payload);
            group.push((self.writer.add(&payload), payload));
        }
        if self.rng.index(6) == 0 {
            let op = [Op::Write, Op::Sync][self.rng.index(2)];
            let failure = [Failure::Io, Failure::LostPages][self.rng.index(2)];
            self.disk.plan(Fault::new(op, failure));
        }
        if self.writer.commit().is_ok() {
            self.acknowledged.append(&mut group);
            self.end = Position { segment, sequence: self.writer.next_sequence() };
        }
    }

    fn tail(&self, from: Position) -> Tail {
        Tail::new(Arc::new(self.disk.clone()), Path::new("/"), Stream::Metrics, from)
    }
}

/// Frames from `from` on, up to the end, and how many were lost.
fn rest(tail: &mut Tail, end: Position, from: u64) -> (Vec<(u64, Vec<u8>)>, u64) {
    let (mut frames, mut lost, mut begun) = (Vec::new(), 0, None);
    loop {
        match tail.next(end).unwrap() {
            Next::Segment(number) => {
                assert!(begun < Some(number), "segments come in order");
                begun = Some(number);
            }
            Next::Frame { sequence, payload } if sequence >= from => {
                frames.push((sequence, payload.to_vec()))
            }
            Next::Frame { .. } => {}
            Next::Lost(frames) => lost += frames,
            Next::End => return (frames, lost),
        }
    }
}

#[test]
fn everything_acknowledged_comes_once_and_in_order_from_anywhere() {
    for seed in 0..300 {
        let mut log = Log::new(seed);
        let mut behind = log.tail(Position::default());
        let mut read: Vec<(u64, Vec<u8>)> = Vec::new();
        let mut positions = vec![Position::default()];
        for _ in 0..40 {
            log.group();
            if log.rng.index(3) > 0 {
                let end = log.end;
                let (frames, lost) = rest(&mut behind, end, 0);
                assert_eq!(lost, 0, "seed {seed}");
                read.extend(frames);
                assert_eq!(read, log.acknowledged, "seed {seed}");
                positions.push(behind.position());
            }
        }
        // Another one goes on where this one was; and none is needed for a frame to come.
        for from in positions {
            let wanted: Vec<_> =
                log.acknowledged.iter().filter(|(sequence, _)| *sequence >= from.sequence).cloned().collect();
            let (frames, lost) = rest(&mut log.tail(from), log.end, from.sequence);
            assert_eq!((frames, lost), (wanted, 0), "seed {seed}, {from:?}");
        }
    }
}

#[test]
fn what_is_not_there_any_more_or_is_damaged_is_counted() {
    for seed in 0..200 {
        let mut log = Log::new(seed);
        let mut positions = Vec::new();
        let mut behind = log.tail(Position::default());
        for _ in 0..40 {
            log.group();
            let end = log.end;
            rest(&mut behind, end, 0);
            positions.push(behind.position());
        }
        let from = positions[log.rng.index(positions.len())];
        let number = from.segment.max(2);
        if seed % 2 == 0 {
            log.writer.remove_before(number).unwrap();
        } else {
            let path = wal::file_name(number - 1);
            let Ok(file) = log.disk.open(Path::new(&path)) else { continue };
            let length = file.length().unwrap();
            file.write_at(&[0xff; 40], 52 + log.rng.index(length as usize) as u64 / 2).unwrap();
        }
        let from = Position { segment: 1, sequence: 1 };
        let (frames, lost) = rest(&mut log.tail(from), log.end, from.sequence);
        let missing = log.acknowledged.iter().filter(|frame| !frames.contains(frame)).count() as u64;
        assert!(frames.iter().all(|frame| log.acknowledged.contains(frame)), "seed {seed}");
        // Sequences of groups that failed in between may count: nobody knows any more that they did.
        assert!(lost >= missing && (missing > 0 || lost <= 4 * 40), "seed {seed}: {lost} of {missing}");
        if missing == 0 {
            continue;
        }
        // Whoever was there when it went misses nothing.
        let (_, lost) = rest(&mut log.tail(behind.position()), log.end, u64::MAX);
        assert_eq!(lost, 0, "seed {seed}");
    }
}
