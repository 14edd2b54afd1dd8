//! Functions that change labels or order, and leave the samples alone.

use std::cmp::Ordering;

use model::Labels;
use model::labels::LENGTH_MAX;

use crate::annotation::Note;
use crate::ast::NodeId;
use crate::column::{Charge, Row, Rows, Steps, labels_bytes};
use crate::eval::{EvalError, Evaluated, Evaluates, Evaluator, merge_same_labels};
use model::labels::METRIC_NAME;

/// Bytes that a value may have before it is looked at whether it is too long.
const EXPANDED_MAX: usize = 1 << 20;

/// `label_replace(v, dst, replacement, src, regex)`
pub(super) fn replace<'a>(
    evaluator: &mut Evaluator<'a>,
    _: NodeId,
    args: &[NodeId],
    steps: Steps,
) -> Evaluates<Evaluated<'a>> {
    let text = |at: usize| String::from_utf8_lossy(evaluator.string(args[at])).into_owned();
    let (dst, replacement, src, pattern) = (text(1), text(2), text(3), text(4));
    let (regex, program_bytes) = model::re2::capturing(&pattern).map_err(|_| {
        EvalError::Execution(format!("invalid regular expression in label_replace(): {pattern}"))
    })?;
    check_label(&dst, evaluator.string(args[1]), "destination", "label_replace")?;
    // It is held while what is replaced is evaluated, in which there may be more of them.
    let mut program = Charge::none(evaluator.budget);
    program.add(program_bytes)?;
    let mut rows = evaluator.eval_rows(args[0], steps)?;
    for row in &mut rows.rows {
        evaluator.budget.check()?;
        let Some(found) = regex.captures(row.labels.get(&src).unwrap_or_default()) else { continue };
        // Only what is certainly short enough is expanded to see how long it is.
        let most = replacement.matches('$').count().saturating_mul(found[0].len());
        let mut value = String::new();
        if most <= EXPANDED_MAX {
            found.expand(&replacement, &mut value);
        }
        if most > EXPANDED_MAX || value.len() > LENGTH_MAX {
            return Err(too_long("label_replace", &dst));
        }
        set_label(row, &dst, &value);
        rows.charge.add(labels_bytes(&row.labels))?;
    }
    Ok(Evaluated::Rows(merge_same_labels(rows)?))
}

/// `label_join(v, dst, separator, src…)`
pub(super) fn join<'a>(
    evaluator: &mut Evaluator<'a>,
    _: NodeId,
    args: &[NodeId],
    steps: Steps,
) -> Evaluates<Evaluated<'a>> {
    let text = |at: &NodeId| String::from_utf8_lossy(evaluator.string(*at)).into_owned();
    let (dst, separator) = (text(&args[1]), text(&args[2]));
    let sources: Vec<String> = args[3..].iter().map(text).collect();
    for (source, arg) in sources.iter().zip(&args[3..]) {
        check_label(source, evaluator.string(*arg), "source", "label_join")?;
    }
    check_label(&dst, evaluator.string(args[1]), "destination", "label_join")?;
    let mut rows = evaluator.eval_rows(args[0], steps)?;
    for row in &mut rows.rows {
        evaluator.budget.check()?;
        let values: Vec<&str> = sources.iter().map(|name| row.labels.get(name).unwrap_or_default()).collect();
        let length = values.iter().map(|value| value.len().saturating_add(separator.len()));
        if length.fold(0, usize::saturating_add) > EXPANDED_MAX {
            return Err(too_long("label_join", &dst));
        }
        let value = values.join(&separator);
        if value.len() > LENGTH_MAX {
            return Err(too_long("label_join", &dst));
        }
        set_label(row, &dst, &value);
        rows.charge.add(labels_bytes(&row.labels))?;
    }
    Ok(Evaluated::Rows(merge_same_labels(rows)?))
}

fn too_long(function: &str, label: &str) -> EvalError {
    let label = model::labels::truncated(label);
    EvalError::Execution(format!("{function}() makes a value of over {LENGTH_MAX} bytes for label {label:?}"))
}

fn check_label(name: &str, bytes: &[u8], role: &str, function: &str) -> Evaluates<()> {
    if !name.is_empty() && std::str::from_utf8(bytes).is_ok() {
        return Ok(());
    }
    Err(EvalError::Execution(format!("invalid {role} label name in {function}(): {name}")))
}

/// Sets a label; a name that is set anew is there to stay.
fn set_label(row: &mut Row, name: &str, value: &str) {
    let others = row.labels.iter().filter(|(label, _)| *label != name);
    row.labels = others.chain([(name, value)]).collect::<Labels>();
    if name == METRIC_NAME {
        row.drop_name = false;
    }
}

pub(super) fn sort<'a>(
    evaluator: &mut Evaluator<'a>,
    id: NodeId,
    args: &[NodeId],
    steps: Steps,
) -> Evaluates<Evaluated<'a>> {
    by_value(evaluator, id, args, steps, |a, b| a.partial_cmp(&b))
}

pub(super) fn sort_desc<'a>(
    evaluator: &mut Evaluator<'a>,
    id: NodeId,
    args: &[NodeId],
    steps: Steps,
) -> Evaluates<Evaluated<'a>> {
    by_value(evaluator, id, args, steps, |a, b| b.partial_cmp(&a))
}

/// Sorts an instant answer; a range answer is sorted by labels whatever one asks for.
fn by_value<'a>(
    evaluator: &mut Evaluator<'a>,
    id: NodeId,
    args: &[NodeId],
    steps: Steps,
    order: fn(f64, f64) -> Option<Ordering>,
) -> Evaluates<Evaluated<'a>> {
    let mut rows = evaluate(evaluator, id, args, steps)?;
    for row in &mut rows.rows {
        row.column.map_floats(|value| value);
    }
    if steps.count == 1 {
        rows.rows.retain(|row| row.column.has_any());
        rows.rows.sort_by(|a, b| {
            let (a, b) = (a.column.floats[0], b.column.floats[0]);
            // NaN is last in both directions.
            a.is_nan().cmp(&b.is_nan()).then(order(a, b).unwrap_or(Ordering::Equal))
        });
    }
    Ok(Evaluated::Rows(evaluator.finish(rows, steps)?))
}

fn evaluate<'a>(
    evaluator: &mut Evaluator<'a>,
    id: NodeId,
    args: &[NodeId],
    steps: Steps,
) -> Evaluates<Rows<'a>> {
    if steps.count > 1 {
        let span = evaluator.expr.node(id).span;
        evaluator.notes.add(Note::sort_in_range_query(span));
    }
    evaluator.eval_rows(args[0], steps)
}

pub(super) fn sort_by_label<'a>(
    evaluator: &mut Evaluator<'a>,
    id: NodeId,
    args: &[NodeId],
    steps: Steps,
) -> Evaluates<Evaluated<'a>> {
    by_label(evaluator, id, args, steps, |order| order)
}

pub(super) fn sort_by_label_desc<'a>(
    evaluator: &mut Evaluator<'a>,
    id: NodeId,
    args: &[NodeId],
    steps: Steps,
) -> Evaluates<Evaluated<'a>> {
    by_label(evaluator, id, args, steps, Ordering::reverse)
}

/// Sorts by the values of some labels, numbers in them as numbers, then by all labels.
fn by_label<'a>(
    evaluator: &mut Evaluator<'a>,
    id: NodeId,
    args: &[NodeId],
    steps: Steps,
    direction: fn(Ordering) -> Ordering,
) -> Evaluates<Evaluated<'a>> {
    let names: Vec<String> =
        args[1..].iter().map(|arg| String::from_utf8_lossy(evaluator.string(*arg)).into_owned()).collect();
    let mut rows = evaluate(evaluator, id, args, steps)?;
    let compare = |a: &Row, b: &Row| {
        let value = |row: &'_ Row, name: &str| row.labels.get(name).unwrap_or_default().to_owned();
        let by_labels = names.iter().map(|name| natural(&value(a, name), &value(b, name)));
        let first = by_labels.into_iter().find(|order| order.is_ne());
        direction(first.unwrap_or_else(|| a.labels.cmp(&b.labels)))
    };
    rows.rows.sort_by(compare);
    Ok(Evaluated::Rows(evaluator.finish(rows, steps)?))
}

/// The order in which people sort: runs of digits count as numbers.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut a_parts, mut b_parts) = (runs(a), runs(b));
    loop {
        let order = match (a_parts.next(), b_parts.next()) {
            (None, None) => return a.cmp(b),
            (None, Some(_)) => Ordering::Less,
            (Some(_), None) => Ordering::Greater,
            (Some(x), Some(y)) => match (number(x), number(y)) {
                (Some(x), Some(y)) => x.cmp(&y),
                _ => x.cmp(y),
            },
        };
        if order.is_ne() {
            return order;
        }
    }
}

/// A run of digits by its length without leading zeros, then by its digits.
fn number(run: &str) -> Option<(usize, &str)> {
    let is_number = run.bytes().next().is_some_and(|b| b.is_ascii_digit());
    let digits = run.trim_start_matches('0');
    is_number.then_some((digits.len(), digits))
}

/// Splits into runs of digits and of everything else.
fn runs(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let digits = rest.chars().next()?.is_ascii_digit();
        let end = rest.find(|c: char| c.is_ascii_digit() != digits).unwrap_or(rest.len());
        let (run, after) = rest.split_at(end);
        rest = after;
        Some(run)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_labels_sort_as_numbers() {
        let mut names = ["host10", "host9", "host09", "host", "a", "host1b"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["a", "host", "host1b", "host09", "host9", "host10"]);
    }
}
