//! What a tenant's counters have grown by since midnight, in UTC. Counters begin anew with the process, so what the tenant
//! `system` has of them is read, and what was counted since it was last written is added: a restart takes nothing away.

use std::collections::BTreeMap;

use dialects::remote_read::{Row, Rows};
use model::labels::METRIC_NAME;
use model::{Budget, Hints, MatchOp, Matcher, SeriesBlock, TenantId, TimeRange, is_stale};
use tsdb::Store;

use crate::api::error::ApiError;

const DAY_MS: i64 = 86_400_000;
/// Over how long a rate is measured, at least.
const RATE_MS: i64 = 60_000;

/// Where counters are kept, and the times that count.
pub(super) struct Day<'a> {
    pub(super) store: &'a Store,
    /// The tenant of Weir's own metrics; none = they are not stored.
    pub(super) system: Option<TenantId>,
    pub(super) now_ms: i64,
    /// When this process began.
    pub(super) began_ms: i64,
    /// Time between two stored samples.
    pub(super) interval_ms: i64,
}

/// One of a tenant's counters: the values of its labels, and where it stands.
pub(super) type Live = Vec<(Vec<String>, u64)>;

/// A counter of Weir's own.
pub(super) struct Counted {
    /// As its samples are called.
    pub(super) metric: &'static str,
    pub(super) labels: &'static [&'static str],
    /// Those that count; none = all.
    pub(super) kinds: &'static [&'static str],
}

/// By how much it grew.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Grown {
    pub(super) today: f64,
    pub(super) per_second: f64,
}

/// Stored samples, and where the counter stands; none when this process has not counted yet.
#[derive(Default)]
struct Course {
    points: Vec<(i64, f64)>,
    live: Option<f64>,
}

impl Day<'_> {
    /// What the tenant's counters have grown by together.
    pub(super) fn grown(
        &self,
        counted: &Counted,
        tenant: &str,
        live: Live,
        budget: &Budget,
    ) -> Result<Grown, ApiError> {
        let midnight_ms = self.now_ms - self.now_ms.rem_euclid(DAY_MS);
        let recent_ms = self.now_ms - RATE_MS;
        let mut courses: BTreeMap<Vec<String>, Course> = BTreeMap::new();
        // What was written last before, so that only what came after counts.
        let start_ms = midnight_ms.min(recent_ms) - RATE_MS.max(3 * self.interval_ms);
        self.read(counted, tenant, start_ms, &mut courses, budget)?;
        for (values, count) in live {
            courses.entry(values).or_default().live = Some(count as f64);
        }
        let counts = |values: &[String]| {
            counted.kinds.is_empty() || values.iter().any(|value| counted.kinds.contains(&value.as_str()))
        };
        courses.retain(|values, _| counts(values));
        let times = courses.values().flat_map(|course| &course.points).map(|(at_ms, _)| *at_ms);
        let since_ms =
            times.filter(|at_ms| *at_ms <= recent_ms).max().unwrap_or(recent_ms.max(self.began_ms));
        let all = |since_ms| courses.values().fold(0.0, |sum, course| sum + course.grown(since_ms));
        // A process that has just begun has no rate worth the name.
        let seconds = (self.now_ms - since_ms).max(1000) as f64 / 1000.0;
        Ok(Grown { today: all(midnight_ms), per_second: all(since_ms) / seconds })
    }

    fn read(
        &self,
        counted: &Counted,
        tenant: &str,
        start_ms: i64,
        courses: &mut BTreeMap<Vec<String>, Course>,
        budget: &Budget,
    ) -> Result<(), ApiError> {
        let Some(system) = self.system else { return Ok(()) };
        let equal = |name, value| Matcher::new(name, MatchOp::Equal, value).expect("it is no pattern");
        let matchers = [equal(METRIC_NAME, counted.metric), equal("tenant", tenant)];
        let range = TimeRange { start_ms, end_ms: self.now_ms };
        let mut selection = self.store.select(system, &matchers, range, &Hints::default(), budget)?;
        let mut block = SeriesBlock::default();
        while selection.next_block(&mut block)? {
            for (number, series) in block.series.iter().enumerate() {
                let Some(labels) = selection.labels(*series)? else { continue };
                let value = |name: &&str| labels.get(name).unwrap_or_default().to_owned();
                let points = Rows::of(&block, number).iter().filter_map(|row| match row {
                    Row::Float(at_ms, value) if !is_stale(value) => Some((at_ms, value)),
                    _ => None,
                });
                let points: Vec<_> = points.collect();
                budget.charge((points.len() * size_of::<(i64, f64)>()) as u64)?;
                courses.entry(counted.labels.iter().map(value).collect()).or_default().points.extend(points);
            }
        }
        Ok(())
    }
}

impl Course {
    /// The sum of what was counted after `since_ms`. Where there is less than before, the counter began anew.
    fn grown(&self, since_ms: i64) -> f64 {
        let (mut grown, mut before) = (0.0, 0.0);
        let now = self.live.map(|count| (i64::MAX, count));
        for (at_ms, value) in self.points.iter().copied().chain(now) {
            if at_ms > since_ms {
                grown += if value >= before { value - before } else { value };
            }
            before = value;
        }
        grown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_that_begins_anew_loses_nothing() {
        let course = |points: &[(i64, f64)], live| Course { points: points.to_vec(), live };
        for (points, live, wanted) in [
            (&[][..], None, 0.0),
            (&[], Some(5.0), 5.0),
            // As of midnight, and since.
            (&[(90, 100.0), (100, 110.0), (110, 130.0)], Some(133.0), 23.0),
            // A restart after midnight, one that has counted nothing yet, one across midnight.
            (&[(100, 110.0), (110, 130.0), (120, 4.0)], Some(9.0), 29.0),
            (&[(100, 110.0), (110, 130.0)], None, 20.0),
            (&[(120, 4.0)], Some(9.0), 9.0),
            (&[(100, 110.0)], Some(9.0), 9.0),
        ] {
            assert_eq!(course(points, live).grown(100), wanted, "{points:?} {live:?}");
        }
    }
}
