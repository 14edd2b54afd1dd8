//! Binary operators: scalars, vector with scalar, vector matching, set operators.
//!
//! Matching is decided once per pair of series by the labels they match on; only whether both have a sample is asked
//! again at each step.

use std::collections::HashMap;
use std::sync::Arc;

use model::Labels;
use model::labels::METRIC_NAME;

use crate::annotation::Note;
use crate::ast::{Binary, BinaryOp, Cardinality, Kind, Matching, NodeId, Span};
use crate::column::{Column, Point, Row, Rows, Steps, is_absent};
use crate::eval::{EvalError, Evaluated, Evaluates, Evaluator, math, without_name};
use crate::histogram::{FloatHistogram, Mismatch};
use crate::text::labels_text;

impl<'a> Evaluator<'a> {
    /// Evaluates a chain of operators: its left side is walked down by a loop, then folded up again.
    pub(crate) fn binary_chain(&mut self, id: NodeId, steps: Steps) -> Evaluates<Evaluated<'a>> {
        let expr = self.expr;
        let mut chain: Vec<(&'a Binary, Span)> = Vec::new();
        let mut current = id;
        while let Kind::Binary(binary) = &expr.node(current).kind {
            // What does not change is evaluated once, by itself.
            if current != id && steps.count > 1 && self.plan.is_invariant(current) {
                break;
            }
            chain.push((binary, expr.node(current).span));
            current = binary.left;
        }
        let mut left = self.eval(current, steps)?;
        for (binary, span) in chain.into_iter().rev() {
            let right = self.eval(binary.right, steps)?;
            left = self.binary(binary, span, left, right, steps)?;
        }
        Ok(left)
    }

    fn binary(
        &mut self,
        binary: &Binary,
        span: Span,
        left: Evaluated<'a>,
        right: Evaluated<'a>,
        steps: Steps,
    ) -> Evaluates<Evaluated<'a>> {
        let rows = match (left, right) {
            (Evaluated::Scalar(_), Evaluated::Scalar(_))
                if matches!(binary.op, BinaryOp::TrimLower | BinaryOp::TrimUpper) =>
            {
                let op = crate::text::quoted(binary.op.as_str());
                return Err(EvalError::Execution(format!("operator {op} not allowed for Scalar operations")));
            }
            (Evaluated::Scalar(mut left), Evaluated::Scalar(right)) => {
                left.iter_mut().zip(&right).for_each(|(l, r)| *l = math::binary(binary.op, *l, *r));
                return Ok(Evaluated::Scalar(left));
            }
            (Evaluated::Rows(rows), Evaluated::Scalar(scalar)) => {
                self.with_scalar(binary, span, rows, &scalar, false)
            }
            (Evaluated::Scalar(scalar), Evaluated::Rows(rows)) => {
                self.with_scalar(binary, span, rows, &scalar, true)
            }
            (Evaluated::Rows(left), Evaluated::Rows(right)) => match &binary.matching {
                Some(matching) if binary.op.is_set() => {
                    set_operation(binary.op, matching, left, right, steps)?
                }
                Some(matching) => self.match_vectors(binary, matching, span, left, right, steps)?,
                None => return Err(EvalError::Execution("matching expected between vectors".into())),
            },
            _ => return Err(EvalError::Execution("string in a binary operation".into())),
        };
        Ok(Evaluated::Rows(self.finish(rows, steps)?))
    }

    /// A vector with a scalar, in place. A comparison keeps the vector's value on whichever side it stands.
    fn with_scalar(
        &mut self,
        binary: &Binary,
        span: Span,
        mut rows: Rows<'a>,
        scalar: &[f64],
        swapped: bool,
    ) -> Rows<'a> {
        let mut last_notes = LastNotes::default();
        for row in &mut rows.rows {
            for (step, scalar) in scalar.iter().enumerate() {
                let Some(point) = row.column.get(step) else { continue };
                let scalar = Point::Float(*scalar);
                let (left, right) = if swapped { (&scalar, &point) } else { (&point, &scalar) };
                let mut outcome = operate(binary.op, left, right, span);
                if let Some(note) = outcome.note.take().filter(|_| outcome.is_error) {
                    last_notes.set(step, note);
                }
                if outcome.is_error {
                    row.column.clear(step);
                } else if binary.return_bool {
                    row.column.set(step, Point::Float(f64::from(u8::from(outcome.keep))));
                } else if !outcome.keep {
                    row.column.clear(step);
                } else if binary.op.is_comparison() {
                    row.column.set(step, point);
                } else if let Some(value) = outcome.value {
                    row.column.set(step, value);
                }
            }
            if binary.op.changes_meaning() || binary.return_bool {
                self.drop_name(row);
            }
        }
        last_notes.give_to(self);
        rows
    }

    fn match_vectors(
        &mut self,
        binary: &Binary,
        matching: &Matching,
        span: Span,
        left: Rows<'a>,
        right: Rows<'a>,
        steps: Steps,
    ) -> Evaluates<Rows<'a>> {
        let swapped = matching.cardinality == Cardinality::OneToMany;
        let (many, one) = if swapped { (right, left) } else { (left, right) };
        let mut matcher = VectorMatch {
            binary,
            matching,
            span,
            swapped,
            // By role, not by side: upstream has it so for `group_right`, too.
            fill_many: matching.fill_left,
            fill_one: matching.fill_right,
            steps,
            drop_meaning: binary.op.changes_meaning()
                || (binary.return_bool && !self.params.options.delayed_name_removal),
            groups: Groups::new(matching, &many.rows, &one.rows),
            notes: LastNotes::default(),
        };
        matcher.refuse_ambiguous_one_side(&many.rows, &one.rows)?;
        let mut out = Rows::none(self.budget);
        matcher.run(&many.rows, &one.rows, &mut out)?;
        matcher.notes.give_to(self);
        Ok(out)
    }
}

/// Of the notes that a step gives, the last one stays.
#[derive(Default)]
struct LastNotes(std::collections::BTreeMap<usize, Note>);

impl LastNotes {
    fn set(&mut self, step: usize, note: Note) {
        self.0.insert(step, note);
    }

    fn give_to(self, evaluator: &mut Evaluator<'_>) {
        self.0.into_values().for_each(|note| evaluator.notes.add(note));
    }
}

/// What an operation on two samples gave.
struct Outcome {
    value: Option<Point>,
    /// For a comparison, whether it holds.
    keep: bool,
    note: Option<Note>,
    /// The samples do not fit together; there is no result.
    is_error: bool,
}

impl Outcome {
    fn of(value: Point) -> Self {
        Self { value: Some(value), keep: true, note: None, is_error: false }
    }

    fn error(note: Note) -> Self {
        Self { value: None, keep: false, note: Some(note), is_error: true }
    }
}

fn operate(op: BinaryOp, left: &Point, right: &Point, span: Span) -> Outcome {
    use BinaryOp::{Add, Div, Eq, Mul, Ne, Sub, TrimLower, TrimUpper};
    let mismatch = |left, right| Outcome::error(Note::incompatible_types(left, op.as_str(), right, span));
    let changed = |histogram: &FloatHistogram, change: &dyn Fn(&mut FloatHistogram)| {
        let mut histogram = histogram.clone();
        change(&mut histogram);
        Outcome::of(Point::Histogram(Arc::new(histogram)))
    };
    match (left, right) {
        (Point::Float(_), Point::Float(_)) if matches!(op, TrimLower | TrimUpper) => {
            mismatch("float", "float")
        }
        (Point::Float(l), Point::Float(r)) if op.is_comparison() => {
            Outcome { keep: math::compare(op, *l, *r), ..Outcome::of(left.clone()) }
        }
        (Point::Float(l), Point::Float(r)) => Outcome::of(Point::Float(math::binary(op, *l, *r))),
        (Point::Float(l), Point::Histogram(r)) if op == Mul => changed(r, &|h| {
            h.multiply(*l);
            h.compact();
        }),
        (Point::Float(_), Point::Histogram(_)) => mismatch("float", "histogram"),
        (Point::Histogram(l), Point::Float(r)) => match op {
            Mul => changed(l, &|h| {
                h.multiply(*r);
                h.compact();
            }),
            Div => changed(l, &|h| {
                h.divide(*r);
                h.compact();
            }),
            TrimUpper => changed(l, &|h| h.trim(*r, true)),
            TrimLower => changed(l, &|h| h.trim(*r, false)),
            _ => mismatch("histogram", "float"),
        },
        (Point::Histogram(l), Point::Histogram(r)) => match op {
            Add | Sub => combine(op, l, r, span),
            Eq | Ne => Outcome { keep: l.equals(r) == (op == Eq), ..Outcome::of(left.clone()) },
            _ => mismatch("histogram", "histogram"),
        },
    }
}

/// The sum or difference of two histograms.
fn combine(op: BinaryOp, left: &FloatHistogram, right: &FloatHistogram, span: Span) -> Outcome {
    let mut result = left.clone();
    let (combined, name) = match op {
        BinaryOp::Add => (result.add(right), "addition"),
        _ => (result.subtract(right), "subtraction"),
    };
    let Ok(remarks) = combined else { return Outcome::error(Note::incompatible_buckets(op.as_str(), span)) };
    if op == BinaryOp::Sub {
        result.reset_hint = model::histogram::ResetHint::Gauge;
    }
    result.compact();
    let note = match remarks {
        // Upstream treats this one as an error: the result is lost.
        Mismatch { conflicting_resets: true, .. } => {
            return Outcome::error(Note::conflicting_resets(name, span));
        }
        Mismatch { reconciled_bounds: true, .. } => Some(Note::reconciled_buckets(name, span)),
        Mismatch { .. } => None,
    };
    Outcome { note, ..Outcome::of(Point::Histogram(Arc::new(result))) }
}

/// Series of both sides by the labels they match on.
struct Groups {
    many: Vec<usize>,
    one: Vec<usize>,
    /// Series of the one side in each group.
    ones_of: Vec<Vec<usize>>,
    /// Series of the many side in each group.
    manies_of: Vec<Vec<usize>>,
}

impl Groups {
    fn new(matching: &Matching, many: &[Row], one: &[Row]) -> Self {
        let mut numbers: HashMap<Labels, usize> = HashMap::new();
        let mut number = |row: &Row| {
            let next = numbers.len();
            *numbers.entry(signature(matching, &row.labels)).or_insert(next)
        };
        let (many, one): (Vec<usize>, Vec<usize>) =
            (many.iter().map(&mut number).collect(), one.iter().map(&mut number).collect());
        let count = numbers.len();
        let members = |side: &[usize]| {
            let mut members = vec![Vec::new(); count];
            side.iter().enumerate().for_each(|(row, group)| members[*group].push(row));
            members
        };
        Self { manies_of: members(&many), ones_of: members(&one), many, one }
    }
}

/// The labels that two series must share to match.
fn signature(matching: &Matching, labels: &Labels) -> Labels {
    let listed = |name: &str| matching.labels.iter().any(|label| label == name);
    let kept = |name: &str| if matching.on { listed(name) } else { name != METRIC_NAME && !listed(name) };
    labels.iter().filter(|(name, _)| kept(name)).collect()
}

struct VectorMatch<'m> {
    binary: &'m Binary,
    matching: &'m Matching,
    span: Span,
    /// The left operand is the one side.
    swapped: bool,
    /// What stands for a missing sample of the many and of the one side.
    fill_many: Option<f64>,
    fill_one: Option<f64>,
    steps: Steps,
    drop_meaning: bool,
    groups: Groups,
    notes: LastNotes,
}

impl VectorMatch<'_> {
    /// Two samples of one group on the one side are an error, wherever the other side has any sample at all.
    fn refuse_ambiguous_one_side(&self, many: &[Row], one: &[Row]) -> Evaluates<()> {
        let fills = self.fill_many.is_some() || self.fill_one.is_some();
        for members in self.groups.ones_of.iter().filter(|members| members.len() > 1) {
            for step in 0..self.steps.count {
                let mut present = members.iter().filter(|row| one[**row].column.is_present(step));
                let (Some(first), Some(second)) = (present.next(), present.next()) else { continue };
                if !fills && !many.iter().any(|row| row.column.is_present(step)) {
                    continue;
                }
                return Err(self.ambiguous(&one[*first].labels, &one[*second].labels));
            }
        }
        Ok(())
    }

    fn ambiguous(&self, first: &Labels, second: &Labels) -> EvalError {
        let side = if self.swapped { "left" } else { "right" };
        let group = labels_text(&signature(self.matching, first));
        let mut pair = [labels_text(first), labels_text(second)];
        pair.sort();
        EvalError::Execution(format!(
            "found duplicate series for the match group {group} on the {side} hand-side of the operation: [{}, {}];\
             many-to-many matching not allowed: matching labels must be unique on one side",
            pair[0], pair[1]
        ))
    }

    fn run(&mut self, many: &[Row], one: &[Row], out: &mut Rows<'_>) -> Evaluates<()> {
        // For each group: where a result was made, to refuse a second one; and where the one side was matched.
        let contested = |members: &Vec<usize>| Taken { contested: members.len() > 1, ..Taken::default() };
        let mut taken: Vec<Taken> = self.groups.manies_of.iter().map(contested).collect();
        for (index, row) in many.iter().enumerate() {
            let group = self.groups.many[index];
            for other in self.groups.ones_of[group].clone() {
                self.pair(row, &one[other], &mut taken[group], out)?;
            }
            if let Some(fill) = self.fill_one {
                let missing = self.fill_column(fill, row, group, one);
                self.pair(row, &missing, &mut taken[group], out)?;
            }
        }
        let Some(fill) = self.fill_many else { return Ok(()) };
        for (index, row) in one.iter().enumerate() {
            let group = self.groups.one[index];
            let mut column = Column::absent(self.steps.count);
            for step in 0..self.steps.count {
                let matched =
                    self.groups.manies_of[group].iter().any(|other| many[*other].column.is_present(step));
                if row.column.is_present(step) && !matched {
                    column.floats[step] = fill;
                }
            }
            let missing = Row::new(signature(self.matching, &row.labels), column);
            self.pair(&missing, row, &mut taken[group], out)?;
        }
        Ok(())
    }

    /// A series that stands for the one side wherever its group has no sample.
    fn fill_column(&self, fill: f64, row: &Row, group: usize, one: &[Row]) -> Row {
        let mut column = Column::absent(self.steps.count);
        for step in 0..self.steps.count {
            if !self.groups.ones_of[group].iter().any(|other| one[*other].column.is_present(step)) {
                column.floats[step] = fill;
            }
        }
        Row::new(signature(self.matching, &row.labels), column)
    }

    /// Operates on two matched series at every step where both have a sample.
    fn pair(&mut self, many: &Row, one: &Row, taken: &mut Taken, out: &mut Rows<'_>) -> Evaluates<()> {
        let labels = self.result_labels(&many.labels, &one.labels);
        out.charge.add_row(self.steps.count)?;
        let mut column = Column::absent(self.steps.count);
        let mut met = Vec::new();
        let plain = many.column.histograms.is_empty()
            && one.column.histograms.is_empty()
            && !matches!(self.binary.op, BinaryOp::TrimLower | BinaryOp::TrimUpper);
        for step in 0..self.steps.count {
            if plain {
                let (l, r) = (many.column.floats[step], one.column.floats[step]);
                if is_absent(l) || is_absent(r) {
                    continue;
                }
                met.push(step);
                let (l, r) = if self.swapped { (r, l) } else { (l, r) };
                column.floats[step] = self.operate_floats(l, r);
                continue;
            }
            let (Some(l), Some(r)) = (many.column.get(step), one.column.get(step)) else { continue };
            let (l, r) = if self.swapped { (r, l) } else { (l, r) };
            let outcome = operate(self.binary.op, &l, &r, self.span);
            if let Some(note) = outcome.note {
                self.notes.set(step, note);
            }
            if outcome.is_error {
                continue;
            }
            met.push(step);
            match outcome.value {
                _ if self.binary.return_bool => {
                    column.set(step, Point::Float(f64::from(u8::from(outcome.keep))));
                }
                Some(value) if outcome.keep => column.set(step, value),
                _ => {}
            }
        }
        if met.is_empty() {
            return Ok(());
        }
        taken.claim(&labels, &met, self.matching, self.steps)?;
        Ok(out.push_charged(Row { labels, drop_name: self.binary.return_bool, column })?)
    }

    fn operate_floats(&self, left: f64, right: f64) -> f64 {
        let op = self.binary.op;
        if !op.is_comparison() || self.binary.return_bool {
            return math::binary(op, left, right);
        }
        if math::compare(op, left, right) { left } else { crate::column::ABSENT }
    }

    fn result_labels(&self, many: &Labels, one: &Labels) -> Labels {
        let matching = self.matching;
        let mut labels = if self.drop_meaning { without_name(many) } else { many.clone() };
        if matching.cardinality == Cardinality::OneToOne {
            let listed = |name: &str| matching.labels.iter().any(|label| label == name);
            labels = labels.iter().filter(|(name, _)| listed(name) == matching.on).collect();
        }
        if matching.include.is_empty() {
            return labels;
        }
        let included = |name: &str| matching.include.iter().any(|label| label == name);
        let own = labels.iter().filter(|(name, _)| !included(name));
        let taken = matching.include.iter().map(|name| (name.as_str(), one.get(name).unwrap_or_default()));
        own.chain(taken).collect()
    }
}

/// Which results a group has at which steps.
#[derive(Clone, Default)]
struct Taken {
    /// Several series of the many side are in the group, so results may collide.
    contested: bool,
    steps: Vec<bool>,
    by_labels: HashMap<Labels, Vec<bool>>,
}

impl Taken {
    /// Takes the steps for one result; an error where they are taken already.
    fn claim(&mut self, labels: &Labels, met: &[usize], matching: &Matching, steps: Steps) -> Evaluates<()> {
        if !self.contested {
            return Ok(());
        }
        let (taken, message) = if matching.cardinality == Cardinality::OneToOne {
            (&mut self.steps, "many-to-one matching must be explicit (group_left/group_right)")
        } else {
            (self.by_labels.entry(labels.clone()).or_default(), "grouping labels must ensure unique matches")
        };
        taken.resize(steps.count, false);
        if met.iter().all(|step| !std::mem::replace(&mut taken[*step], true)) {
            return Ok(());
        }
        Err(EvalError::Execution(format!("multiple matches for labels: {message}")))
    }
}

/// `and`, `or`, `unless`: whether a sample stays depends on which groups the other side has at that step.
fn set_operation<'a>(
    op: BinaryOp,
    matching: &Matching,
    mut left: Rows<'a>,
    mut right: Rows<'a>,
    steps: Steps,
) -> Evaluates<Rows<'a>> {
    let groups = Groups::new(matching, &left.rows, &right.rows);
    let presence = |rows: &[Row], members: &[Vec<usize>]| -> Vec<Vec<bool>> {
        let of = |members: &Vec<usize>| {
            let any = |step| members.iter().any(|row| rows[*row].column.is_present(step));
            (0..steps.count).map(any).collect()
        };
        members.iter().map(of).collect()
    };
    if op == BinaryOp::Or {
        let present = presence(&left.rows, &groups.manies_of);
        for (row, group) in right.rows.iter_mut().zip(&groups.one) {
            (0..steps.count).filter(|step| present[*group][*step]).for_each(|step| row.column.clear(step));
        }
        left.rows.append(&mut right.rows);
        left.charge.absorb(right.charge);
        return Ok(left);
    }
    let present = presence(&right.rows, &groups.ones_of);
    for (row, group) in left.rows.iter_mut().zip(&groups.many) {
        let goes = |step: &usize| present[*group][*step] == (op == BinaryOp::Unless);
        (0..steps.count).filter(goes).for_each(|step| row.column.clear(step));
    }
    Ok(left)
}
