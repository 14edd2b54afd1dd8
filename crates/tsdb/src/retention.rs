//! What is older than its tenant's retention goes, once the clock can be believed; what a deleted tenant had goes at once.
//!
//! A block goes when every tenant's part of it has expired or is cut off. A wall clock that jumped must not delete
//! anything: nothing is deleted for its age until wall clock and monotonic clock have agreed for a while.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use model::TenantId;

use crate::block::Block;
use crate::manifest::{Floor, add_floor, floor_ms};
use crate::store::Inner;

/// How far the two clocks may drift apart between two observations before the wall clock is in doubt.
const DRIFT_MAX_MS: i64 = 60_000;

/// Compares the wall clock with the monotonic one.
pub(crate) struct ClockWatch {
    since: Duration,
    wall_ms: i64,
}

impl ClockWatch {
    /// Begins watching.
    pub(crate) fn new(wall_ms: i64, monotonic: Duration) -> Self {
        Self { since: monotonic, wall_ms }
    }

    /// Whether the clocks agree since `confirm` at least. A disagreement begins the watch anew.
    pub(crate) fn confirmed(&mut self, wall_ms: i64, monotonic: Duration, confirm: Duration) -> bool {
        let passed = monotonic.saturating_sub(self.since);
        let passed_ms = i64::try_from(passed.as_millis()).unwrap_or(i64::MAX);
        let drift = wall_ms.saturating_sub(self.wall_ms).saturating_sub(passed_ms);
        if !(-DRIFT_MAX_MS..=DRIFT_MAX_MS).contains(&drift) {
            *self = Self::new(wall_ms, monotonic);
            return confirm.is_zero();
        }
        passed >= confirm
    }
}

impl Inner {
    pub(crate) fn retention_is_due(&self, retention: &dyn Fn(TenantId) -> i64) -> bool {
        let now_ms = self.env.clock.now_ms();
        let view = self.view.read().expect("lock");
        let (blocks, floors) = (view.blocks.clone(), view.floors.clone());
        drop(view);
        let goes = |age: Age<'_>| blocks.iter().any(|block| is_gone(block, &floors, age));
        let expired = goes(Some((now_ms, retention)));
        let confirmed = self.clock_is_confirmed(now_ms);
        self.counters.retention_paused.store(expired && !confirmed, Ordering::Relaxed);
        expired && confirmed || goes(None)
    }

    fn clock_is_confirmed(&self, now_ms: i64) -> bool {
        let monotonic = self.env.clock.monotonic();
        let confirm = self.options.retention_confirm;
        self.clock_watch.lock().expect("lock").confirmed(now_ms, monotonic, confirm)
    }

    /// Drops blocks of which nothing is left.
    pub(crate) fn drop_expired(&self, retention: &dyn Fn(TenantId) -> i64) -> io::Result<()> {
        let now_ms = self.env.clock.now_ms();
        let age: Age<'_> = self.clock_is_confirmed(now_ms).then_some((now_ms, retention));
        let mut live = self.manifest.lock().expect("lock");
        let blocks = self.view.read().expect("lock").blocks.clone();
        let floors = live.manifest.floors.clone();
        let (gone, kept): (Vec<_>, Vec<_>) =
            blocks.iter().cloned().partition(|block| is_gone(block, &floors, age));
        if gone.is_empty() {
            return Ok(());
        }
        let mut next = live.manifest.clone();
        next.blocks.retain(|id| !gone.iter().any(|block| block.meta().id == *id));
        let sequence = next.flushed_sequence;
        for section in gone.iter().flat_map(|block| &block.meta().sections) {
            if let Some(start_ms) = first_kept_ms(age, section.tenant) {
                add_floor(&mut next.floors, Floor { tenant: section.tenant, start_ms, sequence });
            }
        }
        // A block that is named and not live may come back with what floors cut off.
        if next.blocks.len() == kept.len() {
            let oldest = kept.iter().map(|block| *block.meta().sequences.end()).min().unwrap_or(u64::MAX);
            next.floors.retain(|floor| floor.sequence >= oldest);
        }
        self.publish_manifest(&mut live, next, kept)?;
        self.counters.retention_blocks.fetch_add(gone.len() as u64, Ordering::Relaxed);
        // Files that stay behind after a failure here are orphans: the next start removes them.
        for block in &gone {
            self.cache.forget(block.meta().id);
            self.env.files.remove(&self.block_path(block.meta().id))?;
        }
        self.env.files.sync_dir(&self.directory.join("blocks"))
    }

    /// From now on no block has anything of a tenant.
    pub(crate) fn cut_off(&self, tenant: TenantId) -> io::Result<()> {
        let mut live = self.manifest.lock().expect("lock");
        let blocks = self.view.read().expect("lock").blocks.to_vec();
        let mut next = live.manifest.clone();
        let sequence = next.flushed_sequence;
        add_floor(&mut next.floors, Floor { tenant, start_ms: i64::MAX, sequence });
        self.publish_manifest(&mut live, next, blocks)
    }
}

/// Wall clock in ms and each tenant's retention; `None` while the clock is in doubt.
type Age<'a> = Option<(i64, &'a dyn Fn(TenantId) -> i64)>;

/// The first time in ms that a tenant's retention keeps; `None` = all.
fn first_kept_ms(age: Age<'_>, tenant: TenantId) -> Option<i64> {
    let (now_ms, retention) = age?;
    let keep = retention(tenant);
    (keep > 0).then(|| now_ms.saturating_sub(keep))
}

/// Whether nothing of a block is left: each tenant's part is cut off by a floor or too old.
fn is_gone(block: &Block, floors: &[Floor], age: Age<'_>) -> bool {
    let sequence = *block.meta().sequences.end();
    let first_ms =
        |tenant| floor_ms(floors, tenant, sequence).max(first_kept_ms(age, tenant).unwrap_or(i64::MIN));
    block.meta().sections.iter().all(|section| section.range.end_ms < first_ms(section.tenant))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_jumped_is_not_believed_until_it_agrees_again() {
        let hour = Duration::from_secs(3600);
        let mut watch = ClockWatch::new(1_000_000, Duration::ZERO);
        assert!(!watch.confirmed(1_000_000, Duration::ZERO, hour), "nothing was compared yet");
        assert!(watch.confirmed(1_000_000 + 3_600_000, hour, hour));
        let ten_years = 10 * 365 * 86_400_000;
        assert!(!watch.confirmed(ten_years, hour, hour), "it jumped");
        assert!(!watch.confirmed(ten_years + 60_000, hour + Duration::from_secs(60), hour));
        assert!(watch.confirmed(ten_years + 3_600_000, hour * 2, hour));
    }
}
