//! What is older than its tenant's retention goes, once the clock can be believed; what a deleted tenant had goes at once;
//! a tenant that has too much loses its oldest parts of blocks.
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

use crate::block::{Block, Level};
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
        next.blocks.retain(|named| !gone.iter().any(|block| block.meta().id == named.id));
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
        // They go here, unless somebody reads them. Files that stay behind are orphans: the next start removes them.
        drop(blocks);
        for block in gone {
            self.cache.forget(block.meta().id);
            block.remove_unread();
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
///
/// Flushed parts of more than a day are not counted: nobody knows how their bytes are spread, and merges soon cut them. What
/// merges leave in spans of several days stays so: such a part counts, and goes as a whole once its last sample is old
/// enough.
fn over(blocks: &[Arc<Block>], floors: &[Floor], keep: &dyn Fn(TenantId) -> Keep) -> Vec<(TenantId, i64)> {
    let mut parts: BTreeMap<TenantId, Vec<(TimeRange, u64)>> = BTreeMap::new();
    for block in blocks {
        for section in &block.meta().sections {
            // Asked first: of tenants without a limit nothing is gathered.
            if keep(section.tenant).bytes == 0 {
                continue;
            }
            let TimeRange { start_ms, end_ms } = section.range;
            let is_left = end_ms >= floor_ms(floors, section.tenant, *block.meta().sequences.end());
            let is_cut = block.meta().level > Level::Flushed || end_ms.saturating_sub(start_ms) < DAY_MS;
            if is_left && is_cut {
                parts.entry(section.tenant).or_default().push((section.range, section.bytes));
            }
        }
    }
    let cut = |(tenant, parts): (TenantId, Vec<_>)| match keep(tenant).bytes {
        0 => None,
        max => cut_ms(parts, max).map(|ms| (tenant, ms)),
    };
    parts.into_iter().filter_map(cut).collect()
}

/// The first time that is kept when as many of the oldest parts go as have to, so that no more than `max` bytes are
/// left. What lies in the newest two hours stays.
fn cut_ms(mut parts: Vec<(TimeRange, u64)>, max: u64) -> Option<i64> {
    let newest_ms = parts.iter().map(|(range, _)| range.end_ms).max()?;
    let mut bytes: u64 = parts.iter().map(|(_, bytes)| bytes).sum();
    parts.sort_by_key(|(range, _)| range.end_ms);
    let mut cut = None;
    for (range, of_part) in parts {
        if bytes <= max || range.end_ms > newest_ms.saturating_sub(HOURS_MS) {
            break;
        }
        bytes -= of_part;
        cut = Some(range.end_ms.saturating_add(1));
    }
    cut
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
    fn the_oldest_parts_go_and_the_newest_hours_never() {
        let day = |n: i64, bytes| (TimeRange { start_ms: n * DAY_MS, end_ms: (n + 1) * DAY_MS - 1 }, bytes);
        let days = vec![day(9, 100), day(0, 100), day(1, 100)];
        let cut = |max| cut_ms(days.clone(), max);
        assert_eq!(
            [cut(300), cut(299), cut(200), cut(100)],
            [None, Some(DAY_MS), Some(DAY_MS), Some(2 * DAY_MS)]
        );
        assert_eq!(cut(0), Some(2 * DAY_MS), "the newest one stays");
        assert_eq!(cut_ms(vec![day(5, 5)], 0), None);
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
