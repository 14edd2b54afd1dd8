//! What kind of life a seed gets: what may go wrong in it, and how small the store's sizes are.

use std::time::Duration;

use tsdb::{Options, Passing};
use wal::Durability;

use super::told::hold;
use crate::random::Rng;

/// What goes wrong in a life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing but orderly restarts: the store must agree with the naive one at every moment.
    None,
    /// The process is killed; the machine and its page cache go on. The log need not sync.
    Kill,
    /// The power is cut at any change of the disk, during recovery too.
    Power,
    /// Operations fail once or for a while, and the power is cut.
    Faults,
    /// The disk fills up and gets space again.
    Full,
    /// Bytes and files on the disk change or vanish.
    Damage,
    /// One thing, planned by whoever asked for this life.
    Planned,
}

/// A life's conditions.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What goes wrong.
    pub trouble: Trouble,
    /// Whether the wall clock jumps.
    pub clock_jumps: bool,
    /// Whether hours pass rather than seconds, so that samples grow old.
    pub slow: bool,
    /// How many things happen.
    pub steps: usize,
    /// How many different series the senders have.
    pub series: usize,
    /// The store's sizes, small enough for every cycle to turn.
    pub options: Options,
    /// Series that the first tenant may have in the head.
    pub quota: u64,
    /// Retention of the first tenant; the second keeps for ever.
    pub retention_ms: i64,
    /// Bytes of blocks that the first tenant may have; 0 = any number.
    pub bytes_max: u64,
}

impl Scenario {
    /// The conditions that a seed's dice give.
    pub fn roll(rng: &mut Rng) -> Self {
        let trouble = match rng.below(16) {
            0..2 => Trouble::None,
            2..4 => Trouble::Kill,
            4..8 => Trouble::Power,
            8..12 => Trouble::Faults,
            12..14 => Trouble::Full,
            _ => Trouble::Damage,
        };
        let seconds = |rng: &mut Rng, from, to| Duration::from_secs(rng.range(from..to) as u64);
        let options = Options {
            segment_bytes: 1 << rng.range(10..15),
            durability: match rng.below(4) {
                0 if trouble == Trouble::Kill => Durability::Os,
                1 if trouble == Trouble::Kill => Durability::Interval(Duration::from_secs(5)),
                _ => Durability::Fsync,
            },
            queue_bytes: 1 << 20,
            log_bytes: if rng.chance(1, 4) { 1 << rng.range(12..17) } else { 1 << 30 },
            flush_bytes: 1 << rng.range(8..16),
            flush_interval: seconds(rng, 5, 300),
            idle: seconds(rng, 5, 600),
            memory_bytes: 1 << 30,
            cache_bytes: 1 << rng.range(8..20),
            disk_reserve_bytes: if rng.chance(1, 2) { 0 } else { 32 << 10 },
            // Fewer than a life has blocks: they are closed and opened again.
            open_blocks: 2,
            compaction_blocks: rng.range(2..6) as usize,
            compaction_bytes_per_second: 1 << rng.range(8..24),
            retention_confirm: seconds(rng, 60, 3600),
            // Small steps often: each life reads its blocks while it merges and drops them.
            scrub_interval: Duration::from_secs(90),
            scrub_bytes_per_second: 8 << 10,
            holds: Vec::new(),
            passing: Passing::default(),
        };
        let mut scenario = Self {
            trouble,
            slow: rng.chance(1, 3),
            clock_jumps: rng.chance(1, 4),
            steps: 40 + rng.index(80),
            series: 1 + rng.index(40),
            options,
            quota: if rng.chance(1, 6) { 1 + rng.below(20) } else { u64::MAX },
            retention_ms: rng.range(1..48) * 3_600_000,
            bytes_max: if rng.chance(1, 4) { 1 << rng.range(10..15) } else { 0 },
        };
        if rng.chance(1, 3) {
            scenario.options.holds.push(hold());
        }
        scenario
    }

    /// Whether operations may fail without the power being off.
    pub fn may_fail(&self) -> bool {
        matches!(self.trouble, Trouble::Faults | Trouble::Full | Trouble::Planned)
    }
}
