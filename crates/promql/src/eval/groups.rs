//! Aggregations that take each series in as it is read: what is aggregated away is never kept.
//!
//! `sum by (job) (rate(x[5m]))` over a million series holds a few groups and one column. Only what makes a group is
//! asked of the source's labels. Histograms, and series that might become equal without their names, take the way over
//! rows.

use std::collections::HashMap;

use model::labels::METRIC_NAME;
use model::{Budget, Labels, MatchOp, WantedLabels};

use crate::ast::{Aggregate, AggregateOp, Edge, Kind, VectorSelector};
use crate::column::{ABSENT, Charge, Column, Row, Rows, Steps, is_absent, labels_bytes};
use crate::eval::aggregate::Grouping;
use crate::eval::math::{KahanSum, Mean};
use crate::eval::range::{Scratch, Slide};
use crate::eval::scan::Scan;
use crate::eval::select::Instants;
use crate::eval::{Evaluates, Evaluator, Options, without_name};
use crate::functions::Body;

/// Labels beside the name that say what a sample is: they go with the name, and what is left may be another series'.
const KIND_LABELS: [&str; 2] = ["__type__", "__unit__"];

/// What is aggregated, when it can be taken in series by series.
enum Input<'s> {
    Instants(Instants),
    Slide(Slide<'s>),
}

/// A worker: the groups of the series that it has seen.
struct Groups<'b> {
    op: AggregateOp,
    steps: Steps,
    /// The group of series with these labels.
    by_labels: HashMap<Labels, usize>,
    by_group: HashMap<Labels, usize>,
    groups: Vec<Group>,
    charge: Charge<'b>,
    scratch: Scratch,
    /// Set when this way does not lead to the answer.
    declines: bool,
}

struct Group {
    labels: Labels,
    drops_name: bool,
    sums: Sums,
}

/// What a group has at each step.
enum Sums {
    /// Absent where there is none: counts, ones, extremes.
    Plain(Vec<f64>),
    /// Sums, absent where there is none, and what rounding took from them.
    Compensated(Vec<f64>, Vec<f64>),
    Means(Vec<Option<Mean>>),
}

impl<'a> Evaluator<'a> {
    /// The aggregation, when it can be done series by series; `None` = it takes the way over rows.
    pub(crate) fn aggregate_as_read(
        &mut self,
        aggregate: &Aggregate,
        steps: Steps,
    ) -> Evaluates<Option<Rows<'a>>> {
        let Some((input, mut scan)) = self.streamed(aggregate, steps)? else { return Ok(None) };
        let grouping = Grouping::new(aggregate);
        scan.hints.labels = grouping.wanted();
        let (budget, options, op) = (self.budget, self.params.options, aggregate.op);
        let parts = self.scan(
            &scan,
            || Groups::new(op, steps, budget),
            |groups: &mut Groups<'a>, notes, labels, samples| {
                if groups.declines || groups.declines_labels(&input, &labels) {
                    groups.declines = true;
                    return Ok(());
                }
                match &input {
                    Input::Instants(instants) => {
                        groups.scratch.column.reset(steps.count);
                        instants.fill(samples, &mut groups.scratch.column);
                    }
                    Input::Slide(slide) => {
                        slide.fill(budget, &labels, samples, notes, &mut groups.scratch)?
                    }
                }
                groups.take_in(labels, &input, &grouping, options)
            },
        )?;
        let mut parts = parts.into_iter();
        let mut all = parts.next().unwrap_or_else(|| Groups::new(op, steps, budget));
        for part in parts {
            all.absorb(part)?;
        }
        Ok(if all.declines { None } else { Some(all.rows(budget)) })
    }

    /// What is aggregated, if it is a selector or a function over a range of one.
    fn streamed(&mut self, aggregate: &Aggregate, steps: Steps) -> Evaluates<Option<(Input<'a>, Scan<'a>)>> {
        let folds = matches!(
            aggregate.op,
            AggregateOp::Sum
                | AggregateOp::Avg
                | AggregateOp::Count
                | AggregateOp::Group
                | AggregateOp::Min
                | AggregateOp::Max
        );
        let (expr, inner) = (self.expr, self.expr.unwrap(aggregate.expr));
        if !folds || steps.count == 0 || self.plan.is_invariant(inner) && steps.count > 1 {
            return Ok(None);
        }
        match &expr.node(inner).kind {
            Kind::Vector(selector) if selector.edge != Edge::Smoothed => {
                let (scan, instants) =
                    self.instants(inner, self.window(inner), self.params.lookback_ms, selector, steps);
                Ok(Some((Input::Instants(instants), scan)))
            }
            Kind::Call { function, args } if function.name != "absent_over_time" => {
                let Body::Range(body) = function.body else { return Ok(None) };
                let slide = self.slide(function, body, args, steps)?;
                let scan = self.range_scan(&slide)?;
                let keeps_apart = |scan: &Scan<'_>| function.keeps_name || has_one_name(scan.selector);
                Ok(scan.filter(keeps_apart).map(|scan| (Input::Slide(slide), scan)))
            }
            _ => Ok(None),
        }
    }
}

/// Whether all series have the same name: then none becomes another's equal when names go.
fn has_one_name(selector: &VectorSelector) -> bool {
    selector.matchers.iter().any(|m| m.name == METRIC_NAME && m.op == MatchOp::Equal && !m.value.is_empty())
}

impl Grouping<'_> {
    /// The labels that make groups, and those that notes and names need.
    fn wanted(&self) -> WantedLabels {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        if self.without {
            let needed = |name: &&str| *name != METRIC_NAME && !KIND_LABELS.contains(name);
            let left_out: Vec<&str> = self.labels.iter().copied().filter(needed).collect();
            return WantedLabels::Without(owned(&left_out));
        }
        WantedLabels::Only([owned(&self.labels), owned(&[METRIC_NAME]), owned(&KIND_LABELS)].concat())
    }
}

impl<'b> Groups<'b> {
    fn new(op: AggregateOp, steps: Steps, budget: &'b Budget) -> Self {
        Self {
            op,
            steps,
            by_labels: HashMap::new(),
            by_group: HashMap::new(),
            groups: Vec::new(),
            charge: Charge::none(budget),
            scratch: Scratch::default(),
            declines: false,
        }
    }

    /// Whether a series may become another's equal when its name goes.
    fn declines_labels(&self, input: &Input<'_>, labels: &Labels) -> bool {
        matches!(input, Input::Slide(slide) if !slide.function.keeps_name)
            && labels.iter().any(|(name, _)| KIND_LABELS.contains(&name))
    }

    /// Adds the scratch's column to the group of the labels.
    fn take_in(
        &mut self,
        labels: Labels,
        input: &Input<'_>,
        grouping: &Grouping<'_>,
        options: Options,
    ) -> Evaluates<()> {
        self.declines |= self.scratch.needs_samples || !self.scratch.column.histograms.is_empty();
        if self.declines || !self.scratch.column.has_any() {
            return Ok(());
        }
        let drops_name = matches!(input, Input::Slide(slide) if !slide.function.keeps_name);
        let group = match self.by_labels.get(&labels) {
            Some(group) => *group,
            None => {
                let named = if drops_name && !options.delayed_name_removal {
                    grouping.labels_of(&without_name(&labels))
                } else {
                    grouping.labels_of(&labels)
                };
                let group = self.group(named)?;
                self.charge.add(size_of::<(Labels, usize)>() + labels_bytes(&labels))?;
                self.by_labels.insert(labels, group);
                group
            }
        };
        let group = &mut self.groups[group];
        group.drops_name |= drops_name;
        group.sums.add(self.op, &self.scratch.column.floats);
        Ok(())
    }

    fn group(&mut self, labels: Labels) -> Evaluates<usize> {
        if let Some(group) = self.by_group.get(&labels) {
            return Ok(*group);
        }
        self.charge.add_row(self.steps.count * size_of::<Mean>() / size_of::<f64>())?;
        self.charge.add(labels_bytes(&labels))?;
        let sums = Sums::new(self.op, self.steps.count);
        self.groups.push(Group { labels: labels.clone(), drops_name: false, sums });
        self.by_group.insert(labels, self.groups.len() - 1);
        Ok(self.groups.len() - 1)
    }

    /// Adds what another worker has found.
    fn absorb(&mut self, other: Groups<'b>) -> Evaluates<()> {
        self.declines |= other.declines;
        for theirs in other.groups {
            let ours = self.group(theirs.labels)?;
            let ours = &mut self.groups[ours];
            ours.drops_name |= theirs.drops_name;
            ours.sums.add_all(self.op, &theirs.sums);
        }
        Ok(())
    }

    fn rows(self, budget: &'b Budget) -> Rows<'b> {
        let mut rows = Rows::none(budget);
        rows.charge = self.charge;
        rows.rows.extend(self.groups.into_iter().map(|group| Row {
            labels: group.labels,
            drop_name: group.drops_name,
            column: Column::of(group.sums.values()),
        }));
        rows
    }
}

impl Sums {
    fn new(op: AggregateOp, steps: usize) -> Self {
        match op {
            AggregateOp::Sum => Self::Compensated(vec![ABSENT; steps], vec![0.0; steps]),
            AggregateOp::Avg => Self::Means(vec![None; steps]),
            _ => Self::Plain(vec![ABSENT; steps]),
        }
    }

    /// Adds a series.
    fn add(&mut self, op: AggregateOp, column: &[f64]) {
        match self {
            Self::Plain(values) => {
                let one =
                    |place: &mut f64, _: f64| *place = if is_absent(*place) { 1.0 } else { *place + 1.0 };
                match op {
                    AggregateOp::Count => each_present(values, column, one),
                    AggregateOp::Group => each_present(values, column, |place, _| *place = 1.0),
                    AggregateOp::Min => each_present(values, column, keep_smaller),
                    _ => each_present(values, column, keep_larger),
                }
            }
            Self::Compensated(sums, lost) => {
                for ((sum, lost), value) in sums.iter_mut().zip(lost).zip(column) {
                    if is_absent(*value) {
                        continue;
                    }
                    if is_absent(*sum) {
                        *sum = *value;
                        continue;
                    }
                    let mut both = KahanSum { sum: *sum, compensation: *lost };
                    both.add(*value);
                    (*sum, *lost) = (both.sum, both.compensation);
                }
            }
            Self::Means(means) => {
                for (mean, value) in means.iter_mut().zip(column).filter(|(_, value)| !is_absent(**value)) {
                    match mean {
                        Some(mean) => mean.add(*value),
                        None => *mean = Some(Mean::of(*value)),
                    }
                }
            }
        }
    }

    /// Adds a group's part.
    fn add_all(&mut self, op: AggregateOp, other: &Sums) {
        match (self, other) {
            (Self::Plain(values), Self::Plain(theirs)) => match op {
                AggregateOp::Count => each_present(values, theirs, |place, count| {
                    *place = if is_absent(*place) { count } else { *place + count };
                }),
                AggregateOp::Group => each_present(values, theirs, |place, _| *place = 1.0),
                AggregateOp::Min => each_present(values, theirs, keep_smaller),
                _ => each_present(values, theirs, keep_larger),
            },
            (Self::Compensated(sums, lost), Self::Compensated(theirs, their_lost)) => {
                let ours = sums.iter_mut().zip(lost);
                for ((sum, lost), (value, value_lost)) in ours.zip(theirs.iter().zip(their_lost)) {
                    if is_absent(*value) {
                        continue;
                    }
                    let mut both = match is_absent(*sum) {
                        true => KahanSum { sum: *value, compensation: *value_lost },
                        false => KahanSum { sum: *sum, compensation: *lost },
                    };
                    if !is_absent(*sum) {
                        both.add_sum(KahanSum { sum: *value, compensation: *value_lost });
                    }
                    (*sum, *lost) = (both.sum, both.compensation);
                }
            }
            (Self::Means(means), Self::Means(theirs)) => {
                for (mean, their) in means.iter_mut().zip(theirs) {
                    match (mean, their) {
                        (Some(mean), Some(their)) => mean.add_mean(their),
                        (mean @ None, their) => *mean = *their,
                        (Some(_), None) => {}
                    }
                }
            }
            // Both are of one operation.
            _ => {}
        }
    }

    fn values(self) -> Vec<f64> {
        match self {
            Self::Plain(values) => values,
            Self::Compensated(sums, lost) => {
                let value = |(sum, lost): (&f64, &f64)| if is_absent(*sum) { ABSENT } else { sum + lost };
                sums.iter().zip(&lost).map(value).collect()
            }
            Self::Means(means) => {
                means.iter().map(|mean| mean.as_ref().map_or(ABSENT, Mean::value)).collect()
            }
        }
    }
}

fn each_present(places: &mut [f64], column: &[f64], put: impl Fn(&mut f64, f64)) {
    for (place, value) in places.iter_mut().zip(column) {
        if !is_absent(*value) {
            put(place, *value);
        }
    }
}

/// An absent place is a NaN: anything replaces it.
fn keep_smaller(place: &mut f64, value: f64) {
    *place = if *place > value || place.is_nan() { value } else { *place };
}

fn keep_larger(place: &mut f64, value: f64) {
    *place = if *place < value || place.is_nan() { value } else { *place };
}
