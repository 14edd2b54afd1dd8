//! What was sent, what was acknowledged, and so what a store may answer.
//!
//! For each series and timestamp the ledger keeps every value that was sent, in order, each with its request's fate.
//! An acknowledged value was written; one whose request failed may have been or not. From that follows the set of
//! answers that are right: one when all requests were acknowledged, more when some were not. What a restart after a
//! power cut shows was on the disk, so it is settled from then on: it may neither change nor vanish later.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use model::batch::Exemplar;
use model::{Labels, Matcher, Metadata, TenantId, TimeRange};

use crate::naive::{Accepted, Answer, Judgement, Point};

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was acknowledged: all of it is there.
    Acknowledged,
    /// It failed, or nobody heard: each of its samples is there or not.
    Unknown,
    /// It was turned away: nothing of it is there.
    Refused,
}

/// A request in the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestId(usize);

#[derive(Clone, Debug)]
struct Sent<T> {
    /// None: settled by what a restart showed.
    request: Option<RequestId>,
    value: T,
}

/// Samples as they are compared: whose, of which series, when, what.
pub type Told = BTreeSet<(TenantId, Labels, i64, String)>;

/// What was sent for each time; no point = it was deleted.
type Times = BTreeMap<i64, Vec<Sent<Option<Point>>>>;

/// The ledger.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    tenants: BTreeMap<TenantId, BTreeMap<Labels, Times>>,
    /// Every value ever sent, kept for damaged disks, on which older values may come up again.
    history: BTreeMap<TenantId, BTreeMap<Labels, BTreeMap<i64, Vec<Point>>>>,
    exemplars: BTreeMap<TenantId, BTreeMap<Labels, Vec<Exemplar>>>,
    metadata: BTreeMap<(TenantId, String), Vec<Sent<Metadata>>>,
    fates: Vec<Fate>,
    /// What each request said.
    said: Vec<(RequestId, TenantId, Vec<Accepted>)>,
}

/// What damage or retention excuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leniency {
    /// The disk was damaged: samples may be missing or show an older value, but never one that was not sent.
    pub damaged: bool,
    /// Samples before this may be missing, or show an older value: retention takes blocks, and may take the one with
    /// the newer value first.
    pub floor_ms: i64,
}

impl Leniency {
    /// Nothing is excused.
    pub const NONE: Leniency = Leniency { damaged: false, floor_ms: i64::MIN };
}

/// An answer that no right store gives.
#[derive(Clone, Debug, PartialEq)]
pub struct Violation {
    /// Whose.
    pub tenant: TenantId,
    /// The series.
    pub labels: Labels,
    /// The timestamp in ms.
    pub timestamp_ms: i64,
    /// What the store says.
    pub found: Option<Point>,
    /// What it might say.
    pub allowed: Vec<Option<Point>>,
    /// All that was sent for it, in order; no point = it was deleted.
    pub sent: Vec<(Fate, Option<Point>)>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match (&self.found, self.allowed.iter().any(Option::is_some)) {
            (None, _) => "lost",
            (Some(_), true) => "altered",
            (Some(_), false) => "never sent",
        };
        write!(
            f,
            "{kind}: tenant {} {} at {}: found {:?}, allowed {:?}, sent {:?}",
            self.tenant.0, self.labels, self.timestamp_ms, self.found, self.allowed, self.sent
        )
    }
}

impl Ledger {
    /// Writes a request down before it is sent; its fate is unknown until it is settled.
    pub fn send(&mut self, tenant: TenantId, judgement: &Judgement) -> RequestId {
        let request = RequestId(self.fates.len());
        self.fates.push(Fate::Unknown);
        self.said.push((request, tenant, judgement.samples.clone()));
        let series = self.tenants.entry(tenant).or_default();
        let history = self.history.entry(tenant).or_default();
        for sample in &judgement.samples {
            let sent = Sent { request: Some(request), value: Some(sample.point.clone()) };
            series
                .entry(sample.labels.clone())
                .or_default()
                .entry(sample.timestamp_ms)
                .or_default()
                .push(sent);
            let ever =
                history.entry(sample.labels.clone()).or_default().entry(sample.timestamp_ms).or_default();
            ever.push(sample.point.clone());
        }
        let exemplars = self.exemplars.entry(tenant).or_default();
        for (labels, exemplar) in &judgement.exemplars {
            exemplars.entry(labels.clone()).or_default().push(exemplar.clone());
        }
        for (family, metadata) in &judgement.metadata {
            let sent = Sent { request: Some(request), value: metadata.clone() };
            self.metadata.entry((tenant, family.clone())).or_default().push(sent);
        }
        request
    }

    /// All samples of acknowledged requests.
    pub fn acknowledged(&self) -> Told {
        self.told(|fate| fate == Fate::Acknowledged)
    }

    /// All samples that were ever sent.
    pub fn sent(&self) -> Told {
        self.told(|_| true)
    }

    fn told(&self, counts: impl Fn(Fate) -> bool) -> Told {
        let requests = self.said.iter().filter(|(request, ..)| counts(self.fates[request.0]));
        let said = |(_, tenant, samples): &(RequestId, TenantId, Vec<Accepted>)| {
            let tenant = *tenant;
            let told =
                |one: &Accepted| (tenant, one.labels.clone(), one.timestamp_ms, format!("{:?}", one.point));
            samples.iter().map(told).collect::<Vec<_>>()
        };
        requests.flat_map(said).collect()
    }

    /// Writes a delete down before it is asked for; its fate is unknown until it is settled.
    pub fn delete(&mut self, tenant: TenantId, matchers: &[Matcher], range: TimeRange) -> RequestId {
        let request = RequestId(self.fates.len());
        self.fates.push(Fate::Unknown);
        for (labels, times) in self.tenants.entry(tenant).or_default() {
            if matchers.iter().all(|m| m.matches(labels.get(&m.name).unwrap_or(""))) {
                for all_sent in times.range_mut(range.start_ms..=range.end_ms).map(|(_, sent)| sent) {
                    all_sent.push(Sent { request: Some(request), value: None });
                }
            }
        }
        request
    }

    /// Writes down what became of a request.
    pub fn settle(&mut self, request: RequestId, fate: Fate) {
        self.fates[request.0] = fate;
    }

    /// What became of a request, as far as it is known.
    pub fn fate_of(&self, request: RequestId) -> Fate {
        self.fates[request.0]
    }

    /// Series that a request wrote to.
    pub fn series_of(&self, tenant: TenantId, request: RequestId) -> Vec<Labels> {
        let wrote = |times: &Times| times.values().flatten().any(|sent| sent.request == Some(request));
        let series = self.tenants.get(&tenant).into_iter().flatten();
        series.filter(|(_, times)| wrote(times)).map(|(labels, _)| labels.clone()).collect()
    }

    /// Series for which samples were ever sent.
    pub fn series(&self, tenant: TenantId) -> Vec<Labels> {
        self.tenants.get(&tenant).into_iter().flatten().map(|(labels, _)| labels.clone()).collect()
    }

    /// Whether anything was ever sent for a series.
    pub fn knows(&self, tenant: TenantId, labels: &Labels) -> bool {
        self.tenants.get(&tenant).is_some_and(|series| series.contains_key(labels))
            || self.exemplars.get(&tenant).is_some_and(|series| series.contains_key(labels))
    }

    /// The newest time for which a tenant ever sent something, exemplars included.
    pub fn newest_ms(&self, tenant: TenantId) -> Option<i64> {
        let history = self.history.get(&tenant).into_iter().flat_map(|series| series.values());
        let samples = history.filter_map(|times| times.keys().next_back().copied());
        let exemplars = self.exemplars.get(&tenant).into_iter().flat_map(|series| series.values());
        samples.chain(exemplars.flatten().map(|exemplar| exemplar.timestamp_ms)).max()
    }

    fn fate<T>(&self, sent: &Sent<T>) -> Fate {
        sent.request.map_or(Fate::Acknowledged, |request| self.fates[request.0])
    }

    /// The answers that are right for a series at a time.
    pub fn allowed(&self, tenant: TenantId, labels: &Labels, timestamp_ms: i64) -> Vec<Option<Point>> {
        let times = self.tenants.get(&tenant).and_then(|series| series.get(labels));
        self.points(times.and_then(|times| times.get(&timestamp_ms)).map_or(&[], Vec::as_slice))
    }

    fn points(&self, all_sent: &[Sent<Option<Point>>]) -> Vec<Option<Point>> {
        self.states(all_sent, |new, old| match new {
            Some(point) if !point.replaces(old.as_ref()) => old.clone(),
            _ => new.clone(),
        })
    }

    /// What may stand after all that was sent, when `written(new, old)` stands after one of it.
    fn states<T, S: Clone + PartialEq>(
        &self,
        all_sent: &[Sent<T>],
        written: impl Fn(&T, &Option<S>) -> Option<S>,
    ) -> Vec<Option<S>> {
        let mut states = vec![None];
        for sent in all_sent {
            let mut after: Vec<Option<S>> = Vec::new();
            let fate = self.fate(sent);
            let mut add = |state: Option<S>| {
                if !after.contains(&state) {
                    after.push(state);
                }
            };
            for state in states {
                if fate != Fate::Refused {
                    add(written(&sent.value, &state));
                }
                if fate != Fate::Acknowledged {
                    add(state);
                }
            }
            states = after;
        }
        states
    }

    /// Everything that is wrong with an answer over a tenant's whole data.
    pub fn check(&self, tenant: TenantId, answer: &Answer, leniency: Leniency) -> Vec<Violation> {
        let mut violations = Vec::new();
        let nothing = BTreeMap::new();
        let series = self.tenants.get(&tenant).unwrap_or(&nothing);
        for (labels, times) in series {
            let found = answer.get(labels);
            for (timestamp_ms, all_sent) in times {
                let found = found.and_then(|points| points.get(timestamp_ms));
                let mut allowed = self.points(all_sent);
                if leniency.damaged || *timestamp_ms < leniency.floor_ms {
                    let ever = self.history[&tenant][labels][timestamp_ms].iter().cloned().map(Some);
                    allowed.extend(ever);
                }
                let excused = found.is_none() && (leniency.damaged || *timestamp_ms < leniency.floor_ms);
                if !excused && !allowed.iter().any(|state| state.as_ref() == found) {
                    let (labels, found) = (labels.clone(), found.cloned());
                    let sent = all_sent.iter().map(|sent| (self.fate(sent), sent.value.clone())).collect();
                    let timestamp_ms = *timestamp_ms;
                    violations.push(Violation { tenant, labels, timestamp_ms, found, allowed, sent });
                }
            }
        }
        for (labels, points) in answer {
            let times = series.get(labels);
            for (timestamp_ms, point) in points {
                if times.is_none_or(|times| !times.contains_key(timestamp_ms)) {
                    let (labels, found) = (labels.clone(), Some(point.clone()));
                    let allowed = vec![None];
                    let (timestamp_ms, sent) = (*timestamp_ms, Vec::new());
                    violations.push(Violation { tenant, labels, timestamp_ms, found, allowed, sent });
                }
            }
        }
        violations
    }

    /// Acknowledged samples that an answer lacks: on a damaged disk their loss must at least be reported.
    pub fn missing(&self, tenant: TenantId, answer: &Answer, floor_ms: i64) -> usize {
        let strict = Leniency { damaged: false, floor_ms };
        self.check(tenant, answer, strict).iter().filter(|violation| violation.found.is_none()).count()
    }

    /// The first thing that is wrong with the exemplars that a store shows for a series: each must have been sent.
    pub fn check_exemplars(&self, tenant: TenantId, labels: &Labels, found: &[Exemplar]) -> Option<Exemplar> {
        let sent = self.exemplars.get(&tenant).and_then(|series| series.get(labels));
        let same = |a: &Exemplar, b: &Exemplar| {
            (&a.labels, a.value.to_bits(), a.timestamp_ms) == (&b.labels, b.value.to_bits(), b.timestamp_ms)
        };
        let was_sent = |exemplar: &Exemplar| sent.is_some_and(|sent| sent.iter().any(|s| same(s, exemplar)));
        found.iter().find(|exemplar| !was_sent(exemplar)).cloned()
    }

    /// What is wrong with the metadata that a store shows of a tenant; `damaged` excuses what is missing or old.
    pub fn check_metadata(
        &self,
        tenant: TenantId,
        found: &[(String, Metadata)],
        damaged: bool,
    ) -> Option<String> {
        let found: BTreeMap<&String, &Metadata> =
            found.iter().map(|(family, metadata)| (family, metadata)).collect();
        for ((_, family), all_sent) in self.metadata.iter().filter(|((of, _), _)| *of == tenant) {
            let mut allowed = self.states(all_sent, |new, _| Some(new.clone()));
            if damaged {
                allowed.push(None);
                allowed.extend(all_sent.iter().map(|sent| Some(sent.value.clone())));
            }
            let found = found.get(family).copied();
            if !allowed.iter().any(|state| state.as_ref() == found) {
                return Some(format!("metadata of {family}: found {found:?}, allowed {allowed:?}"));
            }
        }
        let unknown = found.keys().find(|family| !self.metadata.contains_key(&(tenant, (**family).clone())));
        unknown.map(|family| format!("metadata of {family} was never sent"))
    }

    /// After a restart from a power cut: what is there now was on the disk and stays, what is not never comes.
    /// Samples before `floor_ms` stay open, since retention takes them when it likes.
    pub fn settle_restart(
        &mut self,
        tenant: TenantId,
        answer: &Answer,
        metadata: &[(String, Metadata)],
        floor_ms: i64,
    ) {
        for (labels, times) in self.tenants.entry(tenant).or_default() {
            let found = answer.get(labels);
            for (timestamp_ms, all_sent) in times.range_mut(floor_ms..) {
                let point = found.and_then(|points| points.get(timestamp_ms)).cloned();
                *all_sent = vec![Sent { request: None, value: point }];
            }
        }
        for ((_, family), all_sent) in self.metadata.iter_mut().filter(|((of, _), _)| *of == tenant) {
            let found = metadata.iter().find(|(name, _)| name == family);
            *all_sent =
                found.map(|(_, value)| Sent { request: None, value: value.clone() }).into_iter().collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::naive::{Accepted, Value};
    use model::STALE_NAN_BITS;

    const TENANT: TenantId = TenantId(1);

    fn labels() -> Labels {
        Labels::from_pairs([("__name__", "m")])
    }

    fn point(bits: u64) -> Point {
        Point { value: Value::Float(bits), start_ms: 0 }
    }

    fn send(ledger: &mut Ledger, bits: u64, fate: Fate) {
        let sample = Accepted { labels: labels(), timestamp_ms: 5, point: point(bits) };
        let request = ledger.send(TENANT, &Judgement { samples: vec![sample], ..Judgement::default() });
        ledger.settle(request, fate);
    }

    fn answer(bits: Option<u64>) -> Answer {
        bits.map(|bits| (labels(), BTreeMap::from([(5, point(bits))]))).into_iter().collect()
    }

    fn wrong(ledger: &Ledger, bits: Option<u64>) -> usize {
        ledger.check(TENANT, &answer(bits), Leniency::NONE).len()
    }

    #[test]
    fn acknowledged_values_are_required_and_unknown_ones_possible() {
        let mut ledger = Ledger::default();
        send(&mut ledger, 1, Fate::Acknowledged);
        send(&mut ledger, 2, Fate::Unknown);
        send(&mut ledger, 3, Fate::Refused);
        assert_eq!([None, Some(1), Some(2), Some(3)].map(|bits| wrong(&ledger, bits)), [1, 0, 0, 1]);
        send(&mut ledger, 4, Fate::Acknowledged);
        assert_eq!([Some(2), Some(4)].map(|bits| wrong(&ledger, bits)), [1, 0]);
    }

    #[test]
    fn a_stale_marker_fills_a_gap_but_replaces_nothing() {
        let mut ledger = Ledger::default();
        send(&mut ledger, 1, Fate::Unknown);
        send(&mut ledger, STALE_NAN_BITS, Fate::Acknowledged);
        assert_eq!([None, Some(1), Some(STALE_NAN_BITS)].map(|bits| wrong(&ledger, bits)), [1, 0, 0]);
    }

    #[test]
    fn a_delete_takes_what_came_before_it() {
        let always = TimeRange { start_ms: i64::MIN, end_ms: i64::MAX };
        let mut ledger = Ledger::default();
        send(&mut ledger, 1, Fate::Acknowledged);
        let delete = ledger.delete(TENANT, &[], always);
        assert_eq!([None, Some(1)].map(|bits| wrong(&ledger, bits)), [0, 0], "nobody knows");
        ledger.settle(delete, Fate::Acknowledged);
        assert_eq!([None, Some(1)].map(|bits| wrong(&ledger, bits)), [0, 1]);
        send(&mut ledger, 2, Fate::Acknowledged);
        assert_eq!([None, Some(1), Some(2)].map(|bits| wrong(&ledger, bits)), [1, 1, 0]);
    }

    #[test]
    fn what_a_restart_showed_stays() {
        let mut ledger = Ledger::default();
        send(&mut ledger, 1, Fate::Unknown);
        let mut gone = ledger.clone();
        ledger.settle_restart(TENANT, &answer(Some(1)), &[], i64::MIN);
        assert_eq!([None, Some(1)].map(|bits| wrong(&ledger, bits)), [1, 0]);
        gone.settle_restart(TENANT, &answer(None), &[], i64::MIN);
        assert_eq!([None, Some(1)].map(|bits| wrong(&gone, bits)), [0, 1]);
    }

    #[test]
    fn damage_excuses_loss_and_old_values_but_no_inventions() {
        let mut ledger = Ledger::default();
        send(&mut ledger, 1, Fate::Acknowledged);
        send(&mut ledger, 2, Fate::Acknowledged);
        let damaged = Leniency { damaged: true, ..Leniency::NONE };
        let wrong = |bits| ledger.check(TENANT, &answer(bits), damaged).len();
        assert_eq!([None, Some(1), Some(2), Some(3)].map(wrong), [0, 0, 0, 1]);
        assert_eq!(ledger.missing(TENANT, &answer(None), i64::MIN), 1);
    }

    #[test]
    fn what_nobody_sent_is_named() {
        let ledger = Ledger::default();
        let violations = ledger.check(TENANT, &answer(Some(1)), Leniency::NONE);
        assert!(violations[0].to_string().starts_with("never sent: tenant 1 m at 5"), "{}", violations[0]);
    }
}
