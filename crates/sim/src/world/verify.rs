//! Looks at what the store answers and asks the ledger whether that can be right.

use anyhow::{Context, Result, bail, ensure};
use model::{Budget, MatchOp, Matcher, TenantId, TimeRange};

use super::answer::{ALWAYS, lines, narrow, select};
use super::{Life, Party, Trouble};
use crate::ledger::Leniency;
use crate::naive::Answer;

impl Life {
    /// Looks at both tenants.
    pub(super) fn verify_all(&mut self) -> Result<()> {
        self.commit()?;
        for index in 0..2 {
            self.verify(index)?;
        }
        Ok(())
    }

    /// Looks at one tenant.
    pub(super) fn verify_one(&mut self) -> Result<()> {
        self.commit()?;
        let index = self.rng.index(2);
        self.verify(index).map(drop)
    }

    /// Looks at everything of a tenant; what was read, unless the disk would not let it.
    pub(super) fn verify(&mut self, index: usize) -> Result<Option<Answer>> {
        let store = self.store();
        let tenant = self.parties[index].tenant;
        let failures = self.disk.failures();
        let (answer, warnings) = match select(&store, tenant, &[], ALWAYS) {
            Ok(read) => read,
            Err(_) if self.disk.is_down() || self.disk.failures() > failures => return Ok(None),
            Err(error) => return Err(error),
        };
        // Reads that failed and were said to have failed excuse what they lack.
        let read_failed = self.disk.failures() > failures && !warnings.is_empty();
        let leniency =
            Leniency { damaged: self.damaged || read_failed, floor_ms: self.parties[index].floor_ms };
        let violations = self.ledger.check(tenant, &answer, leniency);
        if let Some(first) = violations.first() {
            bail!("{} wrong answers, the first: {first} (warnings: {warnings:?})", violations.len());
        }
        self.tally.answers += 1;
        self.check_report(index, &answer, &warnings)?;
        self.check_metadata(tenant)?;
        if self.disk.failures() == failures {
            self.check_lines(tenant)?;
        }
        if self.scenario.trouble == Trouble::None && self.scenario.quota == u64::MAX {
            self.check_naive(index, &answer)?;
        }
        if !self.disk.is_down() && !read_failed {
            let asked = self.check_narrow(tenant, &answer).context("a narrower question");
            let asked = asked.and_then(|()| self.check_exemplars(tenant));
            if self.disk.failures() == failures && !self.disk.is_down() {
                asked?;
            }
        }
        Ok((!read_failed).then_some(answer))
    }

    /// On a damaged disk a loss must be said somewhere.
    fn check_report(&mut self, index: usize, answer: &Answer, warnings: &[String]) -> Result<()> {
        if !self.damaged || !self.damage_is_noticeable {
            return Ok(());
        }
        let party = &self.parties[index];
        let missing = self.ledger.missing(party.tenant, answer, party.floor_ms);
        if missing == 0 {
            return Ok(());
        }
        let status = self.store().status();
        let counted = status.quarantined + status.damaged_pages + status.replay_damaged_frames;
        ensure!(counted > 0 || !warnings.is_empty(), "{missing} samples are lost and nobody says so");
        self.tally.losses_reported += 1;
        Ok(())
    }

    fn check_lines(&self, tenant: TenantId) -> Result<()> {
        let failures = self.disk.failures();
        let (found, warnings) = match lines(&self.store(), tenant) {
            Ok(found) => found,
            Err(_) if self.disk.is_down() || self.disk.failures() > failures => return Ok(()),
            Err(error) => return Err(error),
        };
        let damaged = self.damaged || self.disk.failures() > failures;
        let wrong = self.lines.check(tenant, &found, |request| self.ledger.fate_of(request), damaged);
        wrong.map_or(Ok(()), |wrong| bail!("{wrong} (warnings: {warnings:?})"))
    }

    fn check_metadata(&self, tenant: TenantId) -> Result<()> {
        let wrong = self.ledger.check_metadata(tenant, &self.store().metadata(tenant), self.damaged);
        wrong.map_or(Ok(()), |wrong| bail!(wrong))
    }

    /// Without trouble there is one right answer.
    fn check_naive(&self, index: usize, answer: &Answer) -> Result<()> {
        let Party { tenant, floor_ms, .. } = &self.parties[index];
        let range = TimeRange { start_ms: *floor_ms, end_ms: i64::MAX };
        let naive = self.naive.select(*tenant, &[], range);
        ensure!(
            narrow(answer, &[], range) == naive,
            "the naive store of tenant {} answers otherwise",
            tenant.0
        );
        Ok(())
    }

    /// A question with matchers and a range gets that part of the whole answer.
    fn check_narrow(&mut self, tenant: TenantId, answer: &Answer) -> Result<()> {
        let times: Vec<i64> = answer.values().flat_map(|points| points.keys().copied()).collect();
        if times.is_empty() {
            return Ok(());
        }
        let (one, other) = (*self.rng.pick(&times), *self.rng.pick(&times));
        let range = TimeRange { start_ms: one.min(other), end_ms: one.max(other) };
        let (name, op, value) = *self.rng.pick(&[
            ("__name__", MatchOp::Equal, "metric_1"),
            ("job", MatchOp::NotEqual, "api"),
            ("job", MatchOp::Regex, "api|ünï"),
            ("instance", MatchOp::Regex, "host-.*[02468]"),
            ("instance", MatchOp::NotRegex, "host-1.*"),
            ("long", MatchOp::Equal, ""),
            ("long", MatchOp::NotEqual, ""),
            ("nobody", MatchOp::Equal, "has this"),
        ]);
        let matchers = [Matcher::new(name, op, value).context("pattern")?];
        let (found, _) = select(&self.store(), tenant, &matchers, range)?;
        let wanted = narrow(answer, &matchers, range);
        ensure!(found == wanted, "{} in {range:?}: found {found:?}, wanted {wanted:?}", matchers[0]);
        self.check_labels(tenant, &matchers, range, &wanted)
    }

    /// Series and label questions name at least what has samples, and nothing of the other tenant's alone.
    fn check_labels(
        &self,
        tenant: TenantId,
        matchers: &[Matcher],
        range: TimeRange,
        wanted: &Answer,
    ) -> Result<()> {
        let (store, budget) = (self.store(), Budget::new(1 << 30));
        let sets = [matchers.to_vec()];
        let series = store.series(tenant, &sets, range, 0, &budget)?.found;
        ensure!(series.is_sorted_by(|a, b| a < b), "series are not sorted");
        ensure!(wanted.keys().all(|labels| series.binary_search(labels).is_ok()), "a series is not listed");
        for labels in &series {
            ensure!(self.ledger.knows(tenant, labels), "{labels} is listed and was never sent");
            ensure!(
                matchers.iter().all(|m| m.matches(labels.get(&m.name).unwrap_or(""))),
                "{labels} does not match"
            );
        }
        let names = store.label_names(tenant, &sets, range, &budget)?.found;
        let values = store.label_values(tenant, "instance", &sets, range, &budget)?.found;
        ensure!(
            names.is_sorted_by(|a, b| a < b) && values.is_sorted_by(|a, b| a < b),
            "names or values unsorted"
        );
        for (name, value) in wanted.keys().flatten() {
            ensure!(names.iter().any(|n| n == name), "label {name} is not listed");
            ensure!(
                name != "instance" || values.iter().any(|v| v == value),
                "instance {value} is not listed"
            );
        }
        Ok(())
    }

    fn check_exemplars(&self, tenant: TenantId) -> Result<()> {
        for found in self.store().exemplars(tenant, &[], ALWAYS, &Budget::new(1 << 30))?.found {
            if let Some(phantom) = self.ledger.check_exemplars(tenant, &found.labels, &found.exemplars) {
                bail!("{}: exemplar was never sent: {phantom:?}", found.labels);
            }
        }
        Ok(())
    }
}
