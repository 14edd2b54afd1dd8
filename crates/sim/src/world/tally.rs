//! What happened in lives: a simulation that never flushed has proven nothing, so everything is counted.

use std::fmt;

/// Counts over one life or many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Tally {
    pub lives: u64,
    pub requests: u64,
    pub acknowledged: u64,
    pub turned_away: u64,
    pub failed: u64,
    pub samples_accepted: u64,
    pub samples_rejected: u64,
    pub lines: u64,
    pub lines_turned_away: u64,
    pub answers: u64,
    pub flushes: u64,
    pub flush_failures: u64,
    pub segments: u64,
    pub series_evicted: u64,
    pub blocks_expired: u64,
    pub compactions: u64,
    pub clock_jumps: u64,
    pub faults: u64,
    pub disk_full: u64,
    pub damages: u64,
    pub losses_reported: u64,
    pub closes: u64,
    pub kills: u64,
    pub power_cuts: u64,
    pub power_cuts_in_recovery: u64,
    pub quota_refusals: u64,
    pub deletes: u64,
    pub snapshots: u64,
    pub snapshots_restored: u64,
    pub snapshots_deleted: u64,
    pub scrubbed_bytes: u64,
}

impl Tally {
    /// Names and counts.
    pub fn rows(&self) -> [(&'static str, u64); 31] {
        [
            ("lives", self.lives),
            ("requests", self.requests),
            ("acknowledged", self.acknowledged),
            ("turned away", self.turned_away),
            ("failed", self.failed),
            ("samples accepted", self.samples_accepted),
            ("samples rejected", self.samples_rejected),
            ("log lines", self.lines),
            ("log lines turned away", self.lines_turned_away),
            ("answers checked", self.answers),
            ("flushes", self.flushes),
            ("failed flushes", self.flush_failures),
            ("merges of blocks", self.compactions),
            ("WAL segments", self.segments),
            ("series evicted", self.series_evicted),
            ("blocks expired", self.blocks_expired),
            ("clock jumps", self.clock_jumps),
            ("faults", self.faults),
            ("full disks", self.disk_full),
            ("damages", self.damages),
            ("losses reported", self.losses_reported),
            ("closes", self.closes),
            ("kills", self.kills),
            ("power cuts", self.power_cuts),
            ("power cuts in recovery", self.power_cuts_in_recovery),
            ("quota refusals", self.quota_refusals),
            ("deletes", self.deletes),
            ("snapshots", self.snapshots),
            ("restored snapshots", self.snapshots_restored),
            ("deleted snapshots", self.snapshots_deleted),
            ("scrubbed bytes", self.scrubbed_bytes),
        ]
    }

    /// Adds the counts of another life.
    pub fn add(&mut self, other: &Tally) {
        self.lives += other.lives;
        self.requests += other.requests;
        self.acknowledged += other.acknowledged;
        self.turned_away += other.turned_away;
        self.failed += other.failed;
        self.samples_accepted += other.samples_accepted;
        self.samples_rejected += other.samples_rejected;
        self.lines += other.lines;
        self.lines_turned_away += other.lines_turned_away;
        self.answers += other.answers;
        self.flushes += other.flushes;
        self.flush_failures += other.flush_failures;
        self.segments += other.segments;
        self.series_evicted += other.series_evicted;
        self.blocks_expired += other.blocks_expired;
        self.compactions += other.compactions;
        self.clock_jumps += other.clock_jumps;
        self.faults += other.faults;
        self.disk_full += other.disk_full;
        self.damages += other.damages;
        self.losses_reported += other.losses_reported;
        self.closes += other.closes;
        self.kills += other.kills;
        self.power_cuts += other.power_cuts;
        self.power_cuts_in_recovery += other.power_cuts_in_recovery;
        self.quota_refusals += other.quota_refusals;
        self.deletes += other.deletes;
        self.snapshots += other.snapshots;
        self.snapshots_restored += other.snapshots_restored;
        self.snapshots_deleted += other.snapshots_deleted;
        self.scrubbed_bytes += other.scrubbed_bytes;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, count)) in self.rows().into_iter().enumerate() {
            write!(f, "{}{count} {name}", if index > 0 { ", " } else { "" })?;
        }
        Ok(())
    }
}
