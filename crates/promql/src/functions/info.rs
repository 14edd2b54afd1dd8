//! `info(v, {…})`: adds the labels of info metrics (`target_info` and the like) to series of the same target.

use std::collections::{BTreeMap, HashMap};

use model::labels::METRIC_NAME;
use model::{Labels, MatchOp, Matcher};

use crate::ast::{Edge, Kind, NodeId, ValueType, VectorSelector};
use crate::column::{Column, Row, Rows, Steps, is_absent};
use crate::eval::plan::Window;
use crate::eval::{EvalError, Evaluated, Evaluates, Evaluator, merge_same_labels};
use crate::text::labels_text;

/// Labels that say which target a series is from.
const IDENTIFYING: [&str; 2] = ["instance", "job"];

pub(super) fn info<'a>(
    evaluator: &mut Evaluator<'a>,
    _: NodeId,
    args: &[NodeId],
    steps: Steps,
) -> Evaluates<Evaluated<'a>> {
    let expr = evaluator.expr;
    let base = evaluator.eval_rows(args[0], steps)?;
    let matchers: &[Matcher] = match args.get(1).map(|arg| &expr.node(expr.unwrap(*arg)).kind) {
        Some(Kind::Vector(selector)) => &selector.matchers,
        _ => &[],
    };
    let (names, data): (Vec<Matcher>, Vec<Matcher>) =
        matchers.iter().cloned().partition(|matcher| matcher.name == METRIC_NAME);
    let names = info_names(names)?;
    let is_info = |row: &Row| {
        let name = row.labels.metric_name().unwrap_or_default();
        names.iter().all(|matcher| matcher.matches(name))
    };
    let infos = select(evaluator, args[0], &base, names.clone(), &data, &is_info, steps)?;
    let newest = Newest::new(&infos, steps)?;
    let mut out = Rows::none(evaluator.budget);
    for row in base.rows {
        if is_info(&row) {
            out.push(row)?;
            continue;
        }
        enrich(&row, &infos, &newest, &data, steps, &mut out)?;
    }
    Ok(Evaluated::Rows(merge_same_labels(out)?))
}

/// Which metrics are info metrics: those that are asked for, all `*_info` where only exclusions are given, or
/// `target_info`.
fn info_names(mut asked: Vec<Matcher>) -> Evaluates<Vec<Matcher>> {
    let positive = |matcher: &Matcher| matches!(matcher.op, MatchOp::Equal | MatchOp::Regex);
    if asked.iter().any(positive) {
        return Ok(asked);
    }
    let default = if asked.is_empty() {
        Matcher::new(METRIC_NAME, MatchOp::Equal, "target_info")
    } else {
        Matcher::new(METRIC_NAME, MatchOp::Regex, ".+_info")
    };
    asked.push(default.map_err(|e| EvalError::Execution(e.to_string()))?);
    Ok(asked)
}

/// Selects the info series of all targets in `base`; the values are the times of their samples, in seconds.
fn select<'a>(
    evaluator: &mut Evaluator<'a>,
    arg: NodeId,
    base: &Rows<'a>,
    names: Vec<Matcher>,
    data: &[Matcher],
    is_info: &dyn Fn(&Row) -> bool,
    steps: Steps,
) -> Evaluates<Rows<'a>> {
    let mut values: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for row in base.rows.iter().filter(|row| !is_info(row)) {
        for label in IDENTIFYING {
            if let Some(value) = row.labels.get(label) {
                let quoted = model::re2::quote(value);
                let values = values.entry(label).or_default();
                if !values.contains(&quoted) {
                    values.push(quoted);
                }
            }
        }
    }
    if values.is_empty() {
        return Ok(Rows::none(evaluator.budget));
    }
    let mut matchers = names;
    matchers.extend(data.iter().cloned());
    for (label, values) in values {
        let matcher = Matcher::new(label, MatchOp::Regex, &values.join("|"));
        matchers.push(matcher.map_err(|e| EvalError::Execution(e.to_string()))?);
    }
    let selector = VectorSelector {
        name: None,
        matchers,
        at: None,
        offset: None,
        edge: Edge::Plain,
        may_match_empty: true,
    };
    let (place, window) = first_selector(evaluator, arg);
    let infos = evaluator.info_times(place, window, &selector, steps)?;
    if infos.rows.iter().any(|row| row.column.histograms.iter().any(Option::is_some)) {
        return Err(EvalError::Execution("info sample should be float".into()));
    }
    Ok(infos)
}

/// The info metrics are looked up where the first selector of the argument looks: its `@` and offset, or, as long as
/// it has no `@`, those of the subqueries around it, too.
fn first_selector(evaluator: &Evaluator<'_>, arg: NodeId) -> (NodeId, Window) {
    let expr = evaluator.expr;
    let mut subqueries = Vec::new();
    let mut at = arg;
    loop {
        at = match &expr.node(at).kind {
            Kind::Paren(inner) | Kind::Unary { expr: inner, .. } => *inner,
            Kind::Binary(binary) => binary.left,
            Kind::Aggregate(aggregate) => aggregate.expr,
            Kind::Call { args, .. } => {
                let selects =
                    |arg: &&NodeId| !matches!(expr.type_of(**arg), ValueType::Scalar | ValueType::String);
                match args.iter().find(selects) {
                    Some(arg) => *arg,
                    None => break,
                }
            }
            Kind::Matrix { selector, .. } => *selector,
            Kind::Subquery(subquery) => {
                subqueries.push(at);
                subquery.expr
            }
            Kind::Vector(_) | Kind::Number { .. } | Kind::String(_) | Kind::Duration(_) => break,
        };
    }
    let mut window = evaluator.window(at);
    while let (None, Some(subquery)) = (window.at_ms, subqueries.pop()) {
        let around = evaluator.window(subquery);
        window.offset_ms += around.offset_ms;
        window.at_ms = around.at_ms;
    }
    (at, window)
}

fn identity(labels: &Labels) -> Labels {
    labels.iter().filter(|(name, _)| IDENTIFYING.contains(name)).collect()
}

/// For each target and info metric, which series is the newest at each step.
struct Newest {
    by_target: HashMap<Labels, BTreeMap<String, Vec<Option<usize>>>>,
}

impl Newest {
    fn new(infos: &Rows<'_>, steps: Steps) -> Evaluates<Self> {
        let mut by_target: HashMap<Labels, BTreeMap<String, Vec<Option<usize>>>> = HashMap::new();
        for (index, row) in infos.rows.iter().enumerate() {
            let target = by_target.entry(identity(&row.labels)).or_default();
            let name = row.labels.metric_name().unwrap_or_default().to_owned();
            let newest = target.entry(name).or_insert_with(|| vec![None; steps.count]);
            for (step, newest) in newest.iter_mut().enumerate() {
                let time = row.column.floats[step];
                if is_absent(time) {
                    continue;
                }
                match *newest {
                    Some(other) => {
                        let other_row = &infos.rows[other];
                        let other_time = other_row.column.floats[step];
                        if time == other_time {
                            return Err(EvalError::Execution(format!(
                                "found duplicate series for info metric: existing {} @ {other_time}, new {} @ {time}",
                                labels_text(&other_row.labels),
                                labels_text(&row.labels),
                            )));
                        }
                        if time > other_time {
                            *newest = Some(index);
                        }
                    }
                    None => *newest = Some(index),
                }
            }
        }
        Ok(Self { by_target })
    }

    /// The info series of a target at one step, one for each metric.
    fn at(&self, target: &Labels, step: usize) -> Vec<usize> {
        let metrics = self.by_target.get(target);
        metrics.into_iter().flat_map(BTreeMap::values).filter_map(|newest| newest[step]).collect()
    }
}

/// Adds the labels that hold at each step; where they change, the series becomes several.
fn enrich(
    row: &Row,
    infos: &Rows<'_>,
    newest: &Newest,
    data: &[Matcher],
    steps: Steps,
    out: &mut Rows<'_>,
) -> Evaluates<()> {
    let target = identity(&row.labels);
    let may_be_missing = data.iter().all(Matcher::matches_empty);
    let mut parts: Vec<(Vec<usize>, Column)> = Vec::new();
    for step in (0..steps.count).filter(|step| row.column.is_present(*step)) {
        let found = newest.at(&target, step);
        if found.is_empty() && !may_be_missing {
            continue;
        }
        let Some(point) = row.column.get(step) else { continue };
        match parts.iter_mut().find(|(with, _)| *with == found) {
            Some((_, column)) => column.set(step, point),
            None => {
                let mut column = Column::absent(steps.count);
                column.set(step, point);
                parts.push((found, column));
            }
        }
    }
    for (with, column) in parts {
        let labels = added_labels(row, with.iter().map(|index| &infos.rows[*index].labels), data)?;
        out.push(Row { labels, drop_name: row.drop_name, column })?;
    }
    Ok(())
}

fn added_labels<'l>(
    row: &Row,
    infos: impl Iterator<Item = &'l Labels>,
    data: &[Matcher],
) -> Evaluates<Labels> {
    let mut added: BTreeMap<&str, &str> = BTreeMap::new();
    for (name, value) in infos.flat_map(Labels::iter).filter(|(name, _)| *name != METRIC_NAME) {
        if !data.is_empty() && !data.iter().any(|matcher| matcher.name == name) {
            continue;
        }
        if added.get(name).is_some_and(|other| *other != value) {
            return Err(EvalError::Execution(format!("conflicting label: {name}")));
        }
        if row.labels.get(name).is_none() {
            added.insert(name, value);
        }
    }
    Ok(row.labels.iter().chain(added).collect())
}
