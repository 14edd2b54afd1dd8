//! What the server does with the store: append, commit, background work, and time.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use env::Clock;
use model::{MatchOp, Matcher, Reason, Signal, TenantId, TimeRange};
use tsdb::{AppendError, Appended, DeleteError, Job, Keep, WriteContext};

use super::answer::ALWAYS;
use super::senders::HOUR_MS;
use super::{Life, Trouble};
use crate::files::{Failure, Fault, Op};
use crate::ledger::Fate;
use crate::naive::Judgement;

/// Milliseconds of a year.
const YEAR_MS: i64 = 365 * 24 * HOUR_MS;

/// Background work that may be due one after the other: merges in steps, and merges of what was merged.
const ROUNDS: usize = 200;

impl Life {
    /// One tenant sends one request; it is queued or turned away.
    pub(super) fn send(&mut self) -> Result<()> {
        let index = self.rng.index(2);
        self.send_as(index).map(drop)
    }

    /// Sends as one of the tenants; whether the store queued it.
    fn send_as(&mut self, index: usize) -> Result<bool> {
        let store = self.store();
        let now_ms = self.clock.now_ms();
        let party = &mut self.parties[index];
        let series_before = store.tenant_status(party.tenant).head_series;
        let request = party.senders.request(now_ms, &party.limits);
        let encoded = request.encode();
        let batch = encoded.batch(store.seed());
        let judgement = Judgement::new(&party.limits, now_ms, &batch);
        let id = self.ledger.send(party.tenant, &judgement);
        self.lines.send(party.tenant, id, &judgement.lines);
        let context = WriteContext {
            tenant: party.tenant,
            limits: &party.limits,
            epoch: self.epoch,
            now_ms,
            digest: None,
        };
        self.tally.requests += 1;
        match store.append(&context, &batch) {
            Ok((ticket, appended)) => {
                let (series, quota) =
                    (store.tenant_status(party.tenant).head_series, party.limits.active_series);
                ensure!(
                    series <= quota.max(series_before),
                    "{series} series in the head, the quota is {quota}"
                );
                let quota = check_counts(&judgement, &appended, batch.counts())?;
                if quota > 0 {
                    self.check_quota(index, &judgement)?;
                    // Which of the new series were refused is not said by name here: all of it may be there or not.
                    self.tally.quota_refusals += quota;
                    return Ok(true);
                }
                let party = &self.parties[index];
                self.naive.append(party.tenant, &unlimited(party.limits), now_ms, &batch);
                self.tally.samples_accepted += appended.accepted.samples + appended.accepted.histograms;
                self.tally.lines += appended.accepted.log_lines;
                self.tally.samples_rejected += appended.rejected.counts().total();
                self.waiting.push((id, index, ticket));
                Ok(true)
            }
            Err(error) => {
                self.ledger.settle(id, Fate::Refused);
                self.tally.turned_away += 1;
                let expected = match error {
                    AppendError::Disk(_) => self.writes_may_fail(),
                    AppendError::LogsFailing => self.writes_may_fail() && !batch.logs.is_empty(),
                    AppendError::LogsFull => {
                        self.tally.lines_turned_away += batch.logs.len() as u64;
                        let status = store.status();
                        !batch.logs.is_empty() && status.log_bytes >= status.log_bytes_max
                    }
                    _ => false,
                };
                ensure!(expected, "an append is turned away: {error}");
                Ok(false)
            }
        }
    }

    fn writes_may_fail(&self) -> bool {
        self.disk.is_down() || self.scenario.may_fail()
    }

    /// A refusal over the quota is right only when the head is full and the request had a series that is not in it.
    fn check_quota(&self, index: usize, judgement: &Judgement) -> Result<()> {
        let party = &self.parties[index];
        let series = self.store().tenant_status(party.tenant).head_series;
        ensure!(
            series >= party.limits.active_series,
            "refused over the quota with {series} series in the head"
        );
        let sampled = judgement.samples.iter().map(|sample| &sample.labels);
        let mut series = sampled.chain(judgement.exemplars.iter().map(|(labels, _)| labels));
        let all_known = series.all(|labels| party.surely_active.contains(labels));
        ensure!(!all_known, "series in the head are refused over the quota");
        Ok(())
    }

    /// A tenant's series are deleted in a range of time.
    pub(super) fn delete(&mut self) -> Result<()> {
        // What waits is written later.
        self.commit()?;
        let party = &self.parties[self.rng.index(2)];
        let series = self.ledger.series(party.tenant);
        if series.is_empty() {
            return Ok(());
        }
        let pairs: Vec<_> = series[self.rng.index(series.len())].iter().collect();
        let (name, value) = *self.rng.pick(&pairs);
        let op = *self.rng.pick(&[MatchOp::Equal, MatchOp::Equal, MatchOp::NotEqual]);
        let matchers = vec![Matcher::new(name, op, value)?];
        let now_ms = self.clock.now_ms();
        let range = match self.rng.below(3) {
            0 => ALWAYS,
            1 => TimeRange { start_ms: now_ms - self.rng.range(0..4 * HOUR_MS), end_ms: i64::MAX },
            _ => TimeRange { start_ms: i64::MIN, end_ms: now_ms - self.rng.range(0..4 * HOUR_MS) },
        };
        let id = self.ledger.delete(party.tenant, &matchers, range);
        match self.store().delete_series(party.tenant, std::slice::from_ref(&matchers), range) {
            Ok(()) => {
                self.ledger.settle(id, Fate::Acknowledged);
                self.naive.delete(party.tenant, &matchers, range);
                self.tally.deletes += 1;
            }
            Err(error) => {
                let expected = self.writes_may_fail() || matches!(error, DeleteError::TooMany);
                ensure!(expected, "a delete fails on a good disk: {error}");
            }
        }
        self.forget_evicted();
        Ok(())
    }

    /// The writer commits what is queued, and every queued append is answered.
    pub(super) fn commit(&mut self) -> Result<()> {
        let store = self.store();
        // The last round finds nothing queued; it is when series leave the head.
        while store.commit(Duration::ZERO) > 0 {}
        let may_fail = self.writes_may_fail();
        for (id, index, ticket) in std::mem::take(&mut self.waiting) {
            match ticket.outcome() {
                Some(Ok(_)) => {
                    self.ledger.settle(id, Fate::Acknowledged);
                    self.tally.acknowledged += 1;
                    let labels = self.ledger.series_of(self.parties[index].tenant, id);
                    self.parties[index].surely_active.extend(labels);
                }
                Some(Err(error)) => {
                    self.tally.failed += 1;
                    ensure!(may_fail, "a commit fails on a good disk: {error}");
                }
                None => bail!("a commit leaves an append without an answer"),
            }
        }
        self.forget_evicted();
        Ok(())
    }

    /// Series that may have left the head are no longer surely there.
    pub(super) fn forget_evicted(&mut self) {
        let evicted = self.store().status().series_evicted;
        if evicted != self.evicted_before {
            self.evicted_before = evicted;
            for party in &mut self.parties {
                party.surely_active.clear();
            }
        }
    }

    /// Does the background work that is due, and sometimes a flush that is not.
    pub(super) fn maintain(&mut self) -> Result<()> {
        let store = self.store();
        let keep = |tenant: TenantId| {
            let party = self.parties.iter().find(|party| party.tenant == tenant);
            let age_ms = party.map_or(0, |party| party.limits.retention_ms);
            let bytes = if tenant == self.parties[0].tenant { self.scenario.bytes_max } else { 0 };
            Keep { age_ms, bytes }
        };
        let mut floors = self.parties.each_ref().map(|party| party.floor_ms);
        let may_fail = self.writes_may_fail() || self.disk.is_down();
        let early_flush = self.rng.chance(1, 3).then_some(Job::Flush);
        for round in 0..ROUNDS {
            let due = store.next_job(&keep);
            let Some(job) = due.or(early_flush.filter(|_| round == 0)) else { break };
            if job == Job::Retention && self.clock_is_sure() {
                for (floor_ms, party) in floors.iter_mut().zip(&self.parties) {
                    let keep_ms = party.limits.retention_ms;
                    if keep_ms > 0 {
                        *floor_ms = (*floor_ms).max(self.clock.now_ms().saturating_sub(keep_ms));
                    }
                }
            }
            if job == Job::Retention && self.scenario.bytes_max > 0 {
                // It may take whatever is not in the newest two hours.
                let newest_ms = self.ledger.newest_ms(self.parties[0].tenant).unwrap_or(i64::MIN);
                floors[0] = floors[0].max(newest_ms.saturating_sub(2 * HOUR_MS - 1));
            }
            if let Err(error) = store.run(job, &keep) {
                let expected = may_fail || self.disk.is_down();
                ensure!(expected, "{job:?} fails on a good disk: {error}");
                break;
            }
            ensure!(round < ROUNDS - 1, "the store always has another {job:?} to do");
        }
        for (party, floor_ms) in self.parties.iter_mut().zip(floors) {
            party.floor_ms = floor_ms;
        }
        Ok(())
    }

    /// Whether the wall clock now agrees with what it showed so long ago as retention wants before it deletes.
    fn clock_is_sure(&self) -> bool {
        let confirm = self.scenario.options.retention_confirm;
        let Some(long_ago) = self.clock.monotonic().checked_sub(confirm) else { return false };
        let now = self.clock_offset_ms();
        self.clock_offsets_ms.iter().any(|(since, offset_ms)| *since <= long_ago && *offset_ms == now)
    }

    /// By how much the wall clock is wrong.
    pub(super) fn clock_offset_ms(&self) -> i64 {
        self.clock_offsets_ms.last().map_or(0, |(_, offset_ms)| *offset_ms)
    }

    /// Some seconds, now and then hours.
    pub(super) fn pass_time(&mut self) -> Result<()> {
        self.commit()?;
        let seconds = match self.rng.below(8) {
            0..4 if self.scenario.slow => self.rng.range(0..12 * 3600),
            0 => self.rng.range(0..6 * 3600),
            1 => self.rng.range(0..3600),
            _ => self.rng.range(0..90),
        };
        self.clock.advance(Duration::from_secs(seconds as u64));
        Ok(())
    }

    /// The wall clock jumps, or a tenant's limits change their epoch.
    pub(super) fn change_clock_or_limits(&mut self) -> Result<()> {
        if !self.scenario.clock_jumps {
            self.epoch += u32::from(self.rng.chance(1, 2));
            return Ok(());
        }
        let by_ms = *self.rng.pick(&[HOUR_MS, -HOUR_MS, 10 * YEAR_MS, -10 * YEAR_MS]);
        self.clock.jump(by_ms);
        self.clock_offsets_ms.push((self.clock.monotonic(), self.clock_offset_ms() + by_ms));
        self.tally.clock_jumps += 1;
        Ok(())
    }

    /// Now and then something is made to go wrong soon.
    pub(super) fn plan_trouble(&mut self) {
        match self.scenario.trouble {
            Trouble::Power | Trouble::Faults if self.rng.chance(1, 10) => {
                self.disk.crash_after(self.rng.below(40));
            }
            Trouble::Faults if self.rng.chance(1, 6) => {
                let op = *self.rng.pick(&Op::ALL);
                let failure = *self.rng.pick(&[Failure::Io, Failure::NoSpace, Failure::LostPages]);
                let fault = Fault::new(op, failure).after(self.rng.below(6));
                self.disk.plan(if self.rng.chance(1, 5) { fault.forever() } else { fault });
            }
            _ => {}
        }
    }

    /// What this life's trouble does of its own accord.
    pub(super) fn trouble_or_restart(&mut self) -> Result<()> {
        match self.scenario.trouble {
            Trouble::None | Trouble::Planned => self.close_and_reopen(),
            Trouble::Kill => self.kill(),
            Trouble::Power if self.rng.chance(1, 3) => self.close_and_reopen(),
            Trouble::Power => self.restart_after_power_cut(),
            Trouble::Faults => self.end_trouble(),
            Trouble::Full if self.rng.chance(1, 2) => self.end_trouble(),
            Trouble::Full => {
                self.disk.set_capacity(self.disk.used() + self.rng.below(20 << 10));
                self.tally.disk_full += 1;
                Ok(())
            }
            Trouble::Damage => self.damage_and_restart(),
        }
    }

    /// The disk is good and has space again: writes must come back by themselves.
    pub(super) fn end_trouble(&mut self) -> Result<()> {
        if self.disk.is_down() {
            return Ok(());
        }
        self.disk.heal();
        self.disk.set_capacity(1 << 40);
        for _ in 0..5 {
            self.clock.advance(Duration::from_secs(1));
            self.commit()?;
        }
        let trouble = std::mem::replace(&mut self.scenario.trouble, Trouble::None);
        let result = self.writes_work();
        self.scenario.trouble = trouble;
        result.context("5 s after the disk is good again")
    }

    fn writes_work(&mut self) -> Result<()> {
        self.send_as(0)?;
        self.send_as(1)?;
        self.commit()?;
        self.clock.advance(Duration::from_secs(10));
        self.maintain()
    }

    /// Takes the store's own counts over before it goes.
    pub(super) fn count_store(&mut self) {
        let status = self.store().status();
        self.tally.flushes += status.flushes;
        self.tally.flush_failures += status.flush_failures;
        self.tally.series_evicted += status.series_evicted;
        self.tally.blocks_expired += status.retention_blocks;
        self.tally.compactions += status.compactions;
        self.tally.segments += status.wal_segments;
        self.tally.scrubbed_bytes += status.scrubbed_bytes;
    }
}

fn unlimited(limits: model::TenantLimits) -> model::TenantLimits {
    model::TenantLimits { active_series: u64::MAX, ..limits }
}

/// Accepted and rejected together are what was sent, and rejected is what the rules reject; returns how much was
/// refused over the quota, which the rules leave to the store's memory.
fn check_counts(judgement: &Judgement, appended: &Appended, sent: model::Counts) -> Result<u64> {
    let rejected = appended.rejected.counts();
    for signal in Signal::ALL {
        let (taken, refused, all) = (appended.accepted.get(signal), rejected.get(signal), sent.get(signal));
        let kind = signal.as_str();
        ensure!(taken + refused == all, "{kind}: {taken} accepted and {refused} rejected of {all} sent");
    }
    let by_quota: u64 = appended
        .rejected
        .by_reason()
        .filter(|(_, reason, _)| *reason == Reason::SeriesQuota)
        .map(|(_, _, n)| n)
        .sum();
    if by_quota == 0 {
        let mut rejected: Vec<_> = appended.rejected.by_reason().collect();
        rejected.sort_unstable();
        let wanted: Vec<_> =
            judgement.refused.iter().map(|((signal, reason), n)| (*signal, *reason, *n)).collect();
        ensure!(rejected == wanted, "rejected {rejected:?}, the rules reject {wanted:?}");
    }
    Ok(by_quota)
}
