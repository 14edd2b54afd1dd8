//! What is older than its tenant's retention goes, once the clock can be believed; what a deleted tenant had goes at once;
//! a tenant that has too much loses its oldest day.
//!
//! A block goes when every tenant's part of it has expired or is cut off. A part that stays behind in a block which others
//! keep alive is cut off some hours later, and a merge then takes it off the disk. A wall clock that jumped must not
//! delete anything: nothing is deleted for its age until wall clock and monotonic clock have agreed for a while.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use model::{TenantId, TimeRange};

use crate::block::Block;
use crate::manifest::{Floor, Manifest, add_floor, floor_ms};
use crate::options::Keep;
use crate::store::Inner;

/// How far the two clocks may drift apart between two observations before the wall clock is in doubt.
const DRIFT_MAX_MS: i64 = 60_000;

/// How often parts of blocks are looked through: there may be very many.
const LOOK: Duration = Duration::from_secs(60);

/// How long an expired part waits for others of its block, so that the block is not rewritten for each of them.
const GATHER_MS: i64 = 12 * 3_600_000;

const HOURS_MS: i64 = 2 * 3_600_000;
const DAY_MS: i64 = 24 * 3_600_000;

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
    pub(crate) fn retention_is_due(&self, keep: &dyn Fn(TenantId) -> Keep) -> bool {
        let now_ms = self.env.clock.now_ms();
        let view = self.view.read().expect("lock");
        let (blocks, floors) = (view.blocks.clone(), view.floors.clone());
        drop(view);
        let goes = |age: Age<'_>| blocks.iter().any(|block| is_gone(block, &floors, age));
        let expired = goes(Some((now_ms, keep)));
        let confirmed = self.clock_is_confirmed(now_ms);
        self.counters.retention_paused.store(expired && !confirmed, Ordering::Relaxed);
        if expired && confirmed || goes(None) {
            return true;
        }
        let now = self.env.clock.monotonic();
        let mut look_at = self.retention_look.lock().expect("lock");
        if now < *look_at {
            return false;
        }
        *look_at = now + LOOK;
        let age: Age<'_> = confirmed.then_some((now_ms, keep));
        !late(&blocks, &floors, age).is_empty() || !over(&blocks, &floors, keep).is_empty()
    }

    fn clock_is_confirmed(&self, now_ms: i64) -> bool {
        let monotonic = self.env.clock.monotonic();
        let confirm = self.options.retention_confirm;
        self.clock_watch.lock().expect("lock").confirmed(now_ms, monotonic, confirm)
    }

    /// Cuts off what is too old or too much, and drops blocks of which nothing is left.
    pub(crate) fn drop_expired(&self, keep: &dyn Fn(TenantId) -> Keep) -> io::Result<()> {
        let now_ms = self.env.clock.now_ms();
        let age: Age<'_> = self.clock_is_confirmed(now_ms).then_some((now_ms, keep));
        let mut live = self.manifest.lock().expect("lock");
        let blocks = self.view.read().expect("lock").blocks.clone();
        let mut floors = live.manifest.floors.clone();
        let sequence = live.manifest.flushed_sequence;
        let mut cuts = late(&blocks, &floors, age);
        for (tenant, start_ms) in over(&blocks, &floors, keep) {
            tracing::warn!(
                tenant = tenant.0,
                before_ms = start_ms,
                "a tenant over its max_bytes loses its oldest samples"
            );
            cuts.push((tenant, start_ms));
        }
        for (tenant, start_ms) in &cuts {
            add_floor(&mut floors, Floor { tenant: *tenant, start_ms: *start_ms, sequence });
        }
        let (gone, kept): (Vec<_>, Vec<_>) =
            blocks.iter().cloned().partition(|block| is_gone(block, &floors, age));
        if gone.is_empty() && cuts.is_empty() {
            return Ok(());
        }
        let mut next = Manifest { floors, ..live.manifest.clone() };
        next.blocks.retain(|id| !gone.iter().any(|block| block.meta().id == *id));
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
        next.forget_tombstones();
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

/// Wall clock in ms and what is kept of each tenant; `None` while the clock is in doubt.
type Age<'a> = Option<(i64, &'a dyn Fn(TenantId) -> Keep)>;

/// The first time in ms that a tenant's retention keeps; `None` = all.
fn first_kept_ms(age: Age<'_>, tenant: TenantId) -> Option<i64> {
    let (now_ms, keep) = age?;
    let age_ms = keep(tenant).age_ms;
    (age_ms > 0).then(|| now_ms.saturating_sub(age_ms))
}

/// Where to cut tenants whose part of some block expired long ago and is not cut off yet.
fn late(blocks: &[Arc<Block>], floors: &[Floor], age: Age<'_>) -> Vec<(TenantId, i64)> {
    let mut cuts = BTreeMap::new();
    for block in blocks {
        let sequence = *block.meta().sequences.end();
        for section in &block.meta().sections {
            let Some(first_ms) = first_kept_ms(age, section.tenant) else { continue };
            let end_ms = section.range.end_ms;
            if end_ms < first_ms.saturating_sub(GATHER_MS)
                && end_ms >= floor_ms(floors, section.tenant, sequence)
            {
                cuts.insert(section.tenant, first_ms);
            }
        }
    }
    cuts.into_iter().collect()
}

/// Where to cut tenants that have more bytes in blocks than they may.
fn over(blocks: &[Arc<Block>], floors: &[Floor], keep: &dyn Fn(TenantId) -> Keep) -> Vec<(TenantId, i64)> {
    let mut parts: BTreeMap<TenantId, Vec<(TimeRange, u64)>> = BTreeMap::new();
    for block in blocks {
        for section in &block.meta().sections {
            let first_ms = floor_ms(floors, section.tenant, *block.meta().sequences.end());
            let left = TimeRange { start_ms: section.range.start_ms.max(first_ms), ..section.range };
            if left.start_ms <= left.end_ms {
                let bytes = share(section.bytes, section.range, left.start_ms);
                parts.entry(section.tenant).or_default().push((left, bytes));
            }
        }
    }
    let cut = |(tenant, parts): (TenantId, Vec<_>)| match keep(tenant).bytes {
        0 => None,
        max => cut_ms(&parts, max).map(|ms| (tenant, ms)),
    };
    parts.into_iter().filter_map(cut).collect()
}

/// What of a part's bytes lies at or after a time, when they are spread evenly.
fn share(bytes: u64, range: TimeRange, start_ms: i64) -> u64 {
    if start_ms <= range.start_ms {
        return bytes;
    }
    let ms = |from: i64| range.end_ms.saturating_sub(from).max(0) as u128 + 1;
    (u128::from(bytes) * ms(start_ms) / ms(range.start_ms)) as u64
}

/// The first time that is kept when as many of the oldest days go as have to, so that no more than `max` bytes are
/// left. Of the newest day two hours go at a time, and its newest two hours stay.
fn cut_ms(parts: &[(TimeRange, u64)], max: u64) -> Option<i64> {
    let newest_ms = parts.iter().map(|(range, _)| range.end_ms).max()?;
    let (mut first_ms, mut cut) = (i64::MIN, None);
    loop {
        let left = parts.iter().filter(|(range, _)| range.end_ms >= first_ms);
        let bytes: u64 = left.clone().map(|(range, bytes)| share(*bytes, *range, first_ms)).sum();
        if bytes <= max {
            return cut;
        }
        let oldest_ms = left.map(|(range, _)| range.start_ms.max(first_ms)).min()?;
        let after = |unit: i64| oldest_ms.div_euclid(unit).saturating_add(1).saturating_mul(unit);
        match [DAY_MS, HOURS_MS].into_iter().map(after).find(|ms| *ms <= newest_ms) {
            Some(ms) => (first_ms, cut) = (ms, Some(ms)),
            None => return cut,
        }
    }
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
    fn whole_days_go_first_and_the_newest_hours_never() {
        let day = |n: i64, bytes| (TimeRange { start_ms: n * DAY_MS, end_ms: (n + 1) * DAY_MS - 1 }, bytes);
        let days = [day(0, 100), day(1, 100), day(9, 100)];
        assert_eq!(cut_ms(&days, 300), None);
        assert_eq!(cut_ms(&days, 299), Some(DAY_MS));
        assert_eq!(cut_ms(&days, 100), Some(2 * DAY_MS));
        assert_eq!(cut_ms(&days, 99), Some(9 * DAY_MS + HOURS_MS));
        assert_eq!(cut_ms(&days, 0), Some(9 * DAY_MS + 11 * HOURS_MS));
        // A part over several days loses them one by one.
        let long = [(TimeRange { start_ms: 0, end_ms: 10 * DAY_MS - 1 }, 1000)];
        assert_eq!(cut_ms(&long, 450), Some(6 * DAY_MS));
        let short = [(TimeRange { start_ms: 5, end_ms: HOURS_MS - 1 }, 1000)];
        assert_eq!(cut_ms(&short, 0), None);
    }

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
