//! Questions about series rather than samples: label sets, names, values, exemplars.

use std::collections::BTreeSet;

use model::batch::Exemplar;
use model::{Budget, Labels, Matcher, TenantId, TimeRange};

use crate::block::{BlockError, Damaged, go_around};
use crate::passing::PASSES;
use crate::select::{Part, SelectError};
use crate::store::{Inner, Store};

/// What was found, and what the reader should know of it: damage, for one.
#[derive(Clone, Debug, PartialEq)]
pub struct Found<T> {
    /// What was found.
    pub found: T,
    /// Sorted; with any of them there may be more than was found.
    pub warnings: Vec<String>,
}

/// A series with its exemplars.
#[derive(Clone, Debug, PartialEq)]
pub struct ExemplarSeries {
    /// The series.
    pub labels: Labels,
    /// Its exemplars, by time.
    pub exemplars: Vec<Exemplar>,
}

/// No matcher sets means all series, which is one empty set.
fn sets(matcher_sets: &[Vec<Matcher>]) -> &[Vec<Matcher>] {
    const ALL: &[Vec<Matcher>] = &[Vec::new()];
    if matcher_sets.is_empty() { ALL } else { matcher_sets }
}

impl Store {
    /// Label sets of series that satisfy one of the matcher sets, sorted; `limit` 0 = all.
    pub fn series(
        &self,
        tenant: TenantId,
        matcher_sets: &[Vec<Matcher>],
        range: TimeRange,
        limit: usize,
        budget: &Budget,
    ) -> Result<Found<Vec<Labels>>, SelectError> {
        let (mut found, mut warnings) = (BTreeSet::new(), self.inner.warnings(tenant));
        let mut add = |labels: Labels| {
            budget.charge(labels.as_canonical().len() as u64 + 64)?;
            found.insert(labels);
            Ok::<(), SelectError>(())
        };
        for matchers in sets(matcher_sets) {
            self.inner
                .each_head_series(tenant, matchers, range, budget, &mut |labels, _| add(labels.clone()))?;
            self.inner.each_section(tenant, range, budget, &mut warnings, &mut |part, damaged| {
                let mut reader = part.section.reader();
                for ordinal in part.select(matchers, budget, damaged)? {
                    match reader.labels(ordinal) {
                        Ok(labels) => add(labels)?,
                        Err(error) => go_around(error, damaged)?,
                    }
                }
                Ok(())
            })?;
        }
        let limit = if limit == 0 { usize::MAX } else { limit };
        Ok(Found { found: found.into_iter().take(limit).collect(), warnings: warnings.into_iter().collect() })
    }

    /// Label names in use, sorted; no matcher sets = of all series.
    pub fn label_names(
        &self,
        tenant: TenantId,
        matcher_sets: &[Vec<Matcher>],
        range: TimeRange,
        budget: &Budget,
    ) -> Result<Found<Vec<String>>, SelectError> {
        let (mut names, mut warnings) = (BTreeSet::new(), self.inner.warnings(tenant));
        for matchers in sets(matcher_sets) {
            if self.inner.head_overlaps(range) {
                names.extend(self.inner.scan(tenant, budget).names(matchers)?);
            }
            self.inner.each_section(tenant, range, budget, &mut warnings, &mut |part, damaged| {
                let ordinals = part.narrowed(matchers, budget, damaged)?;
                names.extend(part.section.label_names(ordinals.as_deref(), damaged)?);
                Ok(())
            })?;
        }
        Ok(Found { found: names.into_iter().collect(), warnings: warnings.into_iter().collect() })
    }

    /// Values of a label, sorted; no matcher sets = of all series.
    pub fn label_values(
        &self,
        tenant: TenantId,
        name: &str,
        matcher_sets: &[Vec<Matcher>],
        range: TimeRange,
        budget: &Budget,
    ) -> Result<Found<Vec<String>>, SelectError> {
        let (mut values, mut warnings) = (BTreeSet::new(), self.inner.warnings(tenant));
        for matchers in sets(matcher_sets) {
            if self.inner.head_overlaps(range) {
                values.extend(self.inner.scan(tenant, budget).values(name, matchers)?);
            }
            self.inner.each_section(tenant, range, budget, &mut warnings, &mut |part, damaged| {
                let ordinals = part.narrowed(matchers, budget, damaged)?;
                values.extend(part.section.label_values(name, ordinals.as_deref(), damaged)?);
                Ok(())
            })?;
        }
        Ok(Found { found: values.into_iter().collect(), warnings: warnings.into_iter().collect() })
    }

    /// Exemplars of series that satisfy the matchers, by series and time.
    pub fn exemplars(
        &self,
        tenant: TenantId,
        matchers: &[Matcher],
        range: TimeRange,
        budget: &Budget,
    ) -> Result<Found<Vec<ExemplarSeries>>, SelectError> {
        let mut found: Vec<ExemplarSeries> = Vec::new();
        let mut warnings = self.inner.warnings(tenant);
        let mut add = |labels: Labels, mut exemplars: Vec<Exemplar>| {
            exemplars.retain(|e| range.contains(e.timestamp_ms));
            if !exemplars.is_empty() {
                budget.charge(exemplars.len() as u64 * 128)?;
                found.push(ExemplarSeries { labels, exemplars });
            }
            Ok::<(), SelectError>(())
        };
        // The head has no range of its exemplars. It is asked first: what a flush moves meanwhile is then found twice rather
        // than not at all.
        let always = TimeRange { start_ms: i64::MIN, end_ms: i64::MAX };
        self.inner.each_head_series(tenant, matchers, always, budget, &mut |labels, slot| {
            let sides = self.inner.sides.read().expect("lock");
            let exemplars = sides.get(slot).map(|side| side.exemplars).unwrap_or_default();
            add(labels.clone(), exemplars)
        })?;
        self.inner.each_section(tenant, range, budget, &mut warnings, &mut |part, damaged| {
            let mut reader = part.section.reader();
            for ordinal in part.section.select(matchers, budget, damaged)? {
                let exemplars = reader.exemplars(ordinal, range, damaged);
                let labelled = exemplars.and_then(|exemplars| match exemplars.is_empty() {
                    true => Ok(None),
                    false => Ok(Some((reader.labels(ordinal)?, exemplars))),
                });
                match labelled {
                    Ok(Some((labels, mut exemplars))) => {
                        let left = part.masks.left(ordinal, part.left);
                        exemplars.retain(|e| left.iter().any(|range| range.contains(e.timestamp_ms)));
                        add(labels, exemplars)?;
                    }
                    Ok(None) => {}
                    Err(error) => go_around(error, damaged)?,
                }
            }
            Ok(())
        })?;
        Ok(Found { found: joined(found), warnings: warnings.into_iter().collect() })
    }
}

/// One entry for each series, exemplars sorted by time, equal ones once.
fn joined(mut found: Vec<ExemplarSeries>) -> Vec<ExemplarSeries> {
    found.sort_by(|a, b| a.labels.cmp(&b.labels));
    found.dedup_by(|later, first| {
        let same = later.labels == first.labels;
        if same {
            first.exemplars.append(&mut later.exemplars);
        }
        same
    });
    for series in &mut found {
        series.exemplars.sort_by_key(|e| e.timestamp_ms);
        series.exemplars.dedup();
    }
    found
}

impl Inner {
    fn head_overlaps(&self, range: TimeRange) -> bool {
        let head = self.head_range.get();
        head.start_ms <= head.end_ms && head.overlaps(&range) || range.start_ms == i64::MIN
    }

    /// Calls `each` for series of the head; the same series may come twice.
    fn each_head_series(
        &self,
        tenant: TenantId,
        matchers: &[Matcher],
        range: TimeRange,
        budget: &Budget,
        each: &mut dyn FnMut(&Labels, u32) -> Result<(), SelectError>,
    ) -> Result<(), SelectError> {
        if !self.head_overlaps(range) {
            return Ok(());
        }
        self.scan(tenant, budget).each_matching(matchers, |table, slots| {
            let mut text = String::new();
            slots.iter().try_for_each(|slot| each(&table.labels(table.entry(*slot), &mut text), *slot))
        })
    }

    /// What is said to whoever of a tenant asks: damage that was found at the start, and that nothing of the tenant is kept.
    pub(crate) fn warnings(&self, tenant: TenantId) -> BTreeSet<String> {
        let damage = self.damage.lock().expect("lock");
        let passes = self.passing.read().expect("lock").samples.contains(&tenant);
        damage.iter().cloned().chain(passes.then(|| PASSES.to_owned())).collect()
    }

    /// Asks every live block's section of the tenant; what is damaged is left out, counted and named in `warnings`.
    fn each_section(
        &self,
        tenant: TenantId,
        range: TimeRange,
        budget: &Budget,
        warnings: &mut BTreeSet<String>,
        each: &mut Ask<'_>,
    ) -> Result<(), SelectError> {
        let blocks = self.view.read().expect("lock").blocks_in(tenant, range);
        let mut damaged = Vec::new();
        for live in blocks {
            let part = Part::open(&live, tenant, budget, &mut damaged).map_err(LookupError::from);
            let asked = part.and_then(|part| match &part {
                Some(part) => each(part, &mut damaged),
                None => Ok(()),
            });
            match asked {
                Ok(()) => {}
                Err(LookupError::Select(error)) => return Err(error),
                Err(LookupError::Block(BlockError::Damaged(unit))) => damaged.push(unit),
                Err(LookupError::Block(error)) => return Err(error.into()),
            }
            warnings.extend(self.note_damaged(&mut damaged));
        }
        Ok(())
    }
}

impl Part {
    /// The series that a question about labels is asked of; `None` = all of the section.
    pub(crate) fn narrowed(
        &self,
        matchers: &[Matcher],
        budget: &Budget,
        damaged: &mut Vec<Damaged>,
    ) -> Result<Option<Vec<u32>>, BlockError> {
        if matchers.is_empty() && self.masks.is_empty() {
            return Ok(None);
        }
        if self.masks.is_empty() {
            return self.section.select(matchers, budget, damaged).map(Some);
        }
        self.select(matchers, budget, damaged).map(Some)
    }
}

/// A question to a section; damage that it went around is named in the list.
type Ask<'a> = dyn FnMut(&Part, &mut Vec<Damaged>) -> Result<(), LookupError> + 'a;

/// What can go wrong while a section is asked.
pub(crate) enum LookupError {
    Select(SelectError),
    Block(BlockError),
}

impl From<SelectError> for LookupError {
    fn from(error: SelectError) -> Self {
        Self::Select(error)
    }
}

impl From<BlockError> for LookupError {
    fn from(error: BlockError) -> Self {
        Self::Block(error)
    }
}
