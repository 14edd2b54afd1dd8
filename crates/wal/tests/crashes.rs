//! Seeded lives of a log on a disk that fails: whatever a commit acknowledged is read after every restart, nothing is
//! read that was not written, and what one restart showed the next shows too.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use env::{Env, Files};
use sim::clock::SimClock;
use sim::files::{Failure, Fault, Op, SimFiles};
use sim::random::{Rng, SimRandom};
use wal::{Durability, Options, Stream, Writer, read_segment, segments};

const DIRECTORY: &str = "/wal";
const OPTIONS: Options = Options { segment_bytes: 3000, durability: Durability::Fsync };

/// What is known of one frame.
#[derive(Clone, Debug, PartialEq)]
struct Known {
    payload: Vec<u8>,
    acknowledged: bool,
    segment: u64,
}

struct Life {
    rng: Rng,
    disk: SimFiles,
    env: Env,
    frames: BTreeMap<u64, Known>,
    /// Segments below this were removed on purpose.
    removed_before: u64,
    highest_segment: u64,
    highest_sequence: u64,
}

impl Life {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let disk = SimFiles::new(rng.next_u64());
        disk.set_junk(rng.chance(1, 2));
        disk.create_dir(Path::new(DIRECTORY)).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        let env = Env {
            clock: Arc::new(SimClock::new(0)),
            files: Arc::new(disk.clone()),
            random: Arc::new(SimRandom::new(rng.next_u64())),
        };
        Self {
            rng,
            disk,
            env,
            frames: BTreeMap::new(),
            removed_before: 0,
            highest_segment: 0,
            highest_sequence: 0,
        }
    }

    /// Starts, writes groups until the power goes, and looks at what is left.
    fn run(&mut self, seed: u64) {
        self.disk.crash_after(self.rng.below(50));
        let (segment, sequence) = (self.highest_segment + 1, self.highest_sequence + 1);
        let mut writer =
            Writer::new(self.env.clone(), Path::new(DIRECTORY), Stream::Metrics, OPTIONS, segment, sequence);
        while !self.disk.is_down() {
            if self.rng.chance(1, 10) {
                let op = *self.rng.pick(&[
                    Op::Write,
                    Op::Sync,
                    Op::Allocate,
                    Op::Create,
                    Op::SyncDir,
                    Op::Truncate,
                ]);
                let failure = *self.rng.pick(&[Failure::Io, Failure::NoSpace, Failure::LostPages]);
                self.disk.plan(Fault::new(op, failure).after(self.rng.below(3)));
            }
            self.write_group(&mut writer);
            if self.rng.chance(1, 15)
                && let Ok(before) = writer.segment()
            {
                self.removed_before = self.removed_before.max(before);
                let _ = writer.remove_before(before);
            }
        }
        assert_eq!(
            self.disk.poisoned_syncs(),
            0,
            "seed {seed}: a file was synced again after its sync had failed"
        );
        self.disk.crash();
        self.check(seed);
    }

    fn write_group(&mut self, writer: &mut Writer) {
        let Ok(segment) = writer.segment() else { return };
        self.highest_segment = self.highest_segment.max(segment);
        let mut group = Vec::new();
        for _ in 0..1 + self.rng.index(4) {
            let mut payload = vec![0; self.rng.index(900)];
            let random = self.rng.index(payload.len() + 1);
            self.rng.fill(&mut payload[..random]);
            let sequence = writer.add(&payload);
            let known = Known { payload, acknowledged: false, segment };
            assert!(self.frames.insert(sequence, known).is_none(), "sequence {sequence} twice");
            group.push(sequence);
        }
        if writer.commit().is_ok() {
            for sequence in group {
                self.frames.get_mut(&sequence).unwrap().acknowledged = true;
            }
        }
    }

    fn check(&mut self, seed: u64) {
        let mut found: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
        // The segment that says that frames of one that was removed do not count may be gone before that one.
        let mut removed = BTreeSet::new();
        let numbers = segments(&self.disk, Path::new(DIRECTORY)).unwrap();
        for number in &numbers {
            let damage = read_segment(
                &self.disk,
                Path::new(DIRECTORY),
                Stream::Metrics,
                *number,
                &mut |sequence, payload| {
                    let after = found.last_key_value().is_none_or(|(last, _)| *last < sequence);
                    assert!(
                        after,
                        "seed {seed}: sequence {sequence} in segment {number} is not after the last"
                    );
                    found.insert(sequence, payload.to_vec());
                    if *number < self.removed_before {
                        removed.insert(sequence);
                    }
                    Ok(())
                },
            );
            damage.unwrap_or_else(|error| panic!("seed {seed}: segment {number}: {error}"));
        }
        for (sequence, known) in &self.frames {
            match found.get(sequence) {
                Some(payload) => assert!(*payload == known.payload, "seed {seed}: frame {sequence} altered"),
                None => {
                    let removed = known.segment < self.removed_before;
                    assert!(!known.acknowledged || removed, "seed {seed}: frame {sequence} lost: {known:?}");
                }
            }
        }
        for sequence in found.keys().filter(|sequence| !removed.contains(sequence)) {
            assert!(self.frames.contains_key(sequence), "seed {seed}: frame {sequence} was never written");
        }
        // What is there now was on the disk: it must stay. What is not must never come.
        let removed_before = self.removed_before;
        self.frames.retain(|sequence, known| found.contains_key(sequence) || known.segment < removed_before);
        for known in self.frames.values_mut() {
            known.acknowledged = true;
        }
        self.highest_segment = self.highest_segment.max(numbers.last().copied().unwrap_or(0));
        // Of removed segments the blocks remember how far they went.
        let highest = self.frames.last_key_value().map_or(0, |(sequence, _)| *sequence);
        self.highest_sequence = self.highest_sequence.max(highest);
    }
}

#[test]
fn acknowledged_frames_survive_everything_for_2000_lives() {
    for seed in 0..2000 {
        let mut life = Life::new(seed);
        for _ in 0..4 {
            life.run(seed);
        }
    }
}
