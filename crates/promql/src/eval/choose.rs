//! `topk`, `bottomk`, `limitk`, `limit_ratio`: aggregations that choose among series.

use std::cmp::Ordering;

use model::Labels;

use crate::annotation::Note;
use crate::ast::{Aggregate, AggregateOp, Span};
use crate::column::{Row, Rows, Steps, is_absent};
use crate::eval::{EvalError, Evaluates, Evaluator};

impl<'a> Evaluator<'a> {
    /// `topk`, `bottomk`, `limitk`, `limit_ratio`: which series of each group stay at each step.
    pub(super) fn select(&mut self, selection: &Selection<'_>, mut rows: Rows<'a>) -> Evaluates<Rows<'a>> {
        let Selection { aggregate, params, steps, .. } = *selection;
        if !self.check_params(aggregate, params)? {
            return Ok(Rows::none(self.budget));
        }
        let mut order = Vec::new();
        rows.charge.add(steps.count.saturating_mul(rows.rows.len()))?;
        let mut kept = vec![false; steps.count * rows.rows.len()];
        let floats: Vec<&[f64]> = rows.rows.iter().map(|row| row.column.floats.as_slice()).collect();
        for step in 0..steps.count {
            self.budget.check()?;
            order = selection.at_step(&rows.rows, &floats, step);
            for row in &order {
                kept[row * steps.count + step] = true;
            }
        }
        if matches!(aggregate.op, AggregateOp::Topk | AggregateOp::Bottomk) {
            let looked_at = |step: usize| params[step] >= 1.0;
            let ignored = rows.rows.iter().any(|row| {
                (0..steps.count).any(|step| looked_at(step) && row.column.histogram(step).is_some())
            });
            if ignored {
                let span = selection.span(self);
                self.notes.add(Note::histogram_ignored_in_aggregation(aggregate.op.as_str(), span));
            }
        }
        for (row, kept) in rows.rows.iter_mut().zip(kept.chunks(steps.count)) {
            kept.iter().enumerate().filter(|(_, kept)| !**kept).for_each(|(step, _)| row.column.clear(step));
        }
        if steps.count == 1 {
            let mut taken: Vec<Option<Row>> = rows.rows.into_iter().map(Some).collect();
            rows.rows = order.iter().filter_map(|row| taken[*row].take()).collect();
        } else {
            rows.rows.retain(|row| row.column.has_any());
        }
        Ok(rows)
    }

    /// Whether there is anything to select; an error when the parameter is no number that can be used.
    fn check_params(&mut self, aggregate: &Aggregate, params: &[f64]) -> Evaluates<bool> {
        let largest = params.iter().copied().filter(|p| !p.is_nan()).fold(f64::NEG_INFINITY, f64::max);
        let smallest = params.iter().copied().filter(|p| !p.is_nan()).fold(f64::INFINITY, f64::min);
        let any_nan = params.iter().any(|p| p.is_nan());
        let fail = |message: String| Err(EvalError::Execution(message));
        if aggregate.op == AggregateOp::LimitRatio {
            if any_nan {
                return fail("Ratio value is NaN".into());
            }
            if largest == 0.0 && smallest == 0.0 {
                return Ok(false);
            }
            let span = self.span(aggregate.param.unwrap_or(aggregate.expr));
            if largest > 1.0 {
                self.notes.add(Note::ratio(largest, 1.0, span));
            }
            if smallest < -1.0 {
                self.notes.add(Note::ratio(smallest, -1.0, span));
            }
            return Ok(true);
        }
        if any_nan {
            return fail("Parameter value is NaN".into());
        }
        if largest < 1.0 {
            return Ok(false);
        }
        let general = crate::text::float_general;
        if smallest <= i64::MIN as f64 {
            return fail(format!("Scalar value {} underflows int64", general(smallest)));
        }
        if largest >= i64::MAX as f64 {
            return fail(format!("Scalar value {} overflows int64", general(largest)));
        }
        Ok(true)
    }
}

/// What `topk` and its kin select by.
pub(super) struct Selection<'s> {
    pub(super) aggregate: &'s Aggregate,
    pub(super) params: &'s [f64],
    pub(super) groups: &'s [usize],
    pub(super) count: usize,
    pub(super) steps: Steps,
}

impl Selection<'_> {
    /// Upstream means the whole aggregation here, not its argument.
    fn span(&self, evaluator: &Evaluator<'_>) -> Span {
        let own = |kind: &crate::ast::Kind| match kind {
            crate::ast::Kind::Aggregate(a) => std::ptr::eq(a.as_ref(), self.aggregate),
            _ => false,
        };
        evaluator.expr.nodes.iter().find(|node| own(&node.kind)).map(|node| node.span).unwrap_or_default()
    }

    /// The rows that stay, group by group, in the order of an instant answer.
    fn at_step(&self, rows: &[Row], floats: &[&[f64]], step: usize) -> Vec<usize> {
        let param = self.params[step];
        let limit = (param as i64).min(rows.len() as i64);
        let ratio = param.clamp(-1.0, 1.0);
        let by_ratio = self.aggregate.op == AggregateOp::LimitRatio;
        if if by_ratio { param == 0.0 } else { limit < 1 } {
            return Vec::new();
        }
        let order = Heap { rows, floats, step, reverse: self.aggregate.op == AggregateOp::Bottomk };
        let mut heaps: Vec<Vec<usize>> = vec![Vec::new(); self.count];
        for (index, row) in rows.iter().enumerate() {
            let is_float = !is_absent(floats[index][step]);
            if !is_float && row.column.histogram(step).is_none() {
                continue;
            }
            let heap = &mut heaps[self.groups[index]];
            match self.aggregate.op {
                AggregateOp::LimitRatio if in_ratio(ratio, &row.labels) => heap.push(index),
                AggregateOp::LimitRatio => {}
                AggregateOp::Limitk if (heap.len() as i64) < limit => heap.push(index),
                AggregateOp::Limitk => {}
                _ if !is_float => {}
                _ => order.offer(heap, index, limit as usize),
            }
        }
        if matches!(self.aggregate.op, AggregateOp::Topk | AggregateOp::Bottomk) {
            heaps.iter_mut().for_each(|heap| order.sort(heap));
        }
        heaps.concat()
    }
}

/// A heap with the sample on top that has to go first. NaN goes before all others.
struct Heap<'h> {
    rows: &'h [Row],
    /// Their floats.
    floats: &'h [&'h [f64]],
    step: usize,
    reverse: bool,
}

impl Heap<'_> {
    fn value(&self, row: usize) -> f64 {
        self.floats[row][self.step]
    }

    fn goes_before(&self, a: usize, b: usize) -> bool {
        let (x, y) = (self.value(a), self.value(b));
        if x == y || x.is_nan() && y.is_nan() {
            // Of equal ones the first by labels stays, wherever they lie.
            return self.rows[a].labels > self.rows[b].labels;
        }
        x.is_nan() || if self.reverse { x > y } else { x < y }
    }

    fn offer(&self, heap: &mut Vec<usize>, row: usize, limit: usize) {
        if heap.len() < limit {
            heap.push(row);
            let mut at = heap.len() - 1;
            while at > 0 && self.goes_before(heap[at], heap[(at - 1) / 2]) {
                heap.swap(at, (at - 1) / 2);
                at = (at - 1) / 2;
            }
            return;
        }
        if self.goes_before(heap[0], row) {
            heap[0] = row;
            self.sift_down(heap);
        }
    }

    fn sift_down(&self, heap: &mut [usize]) {
        let mut at = 0;
        loop {
            let (left, right) = (2 * at + 1, 2 * at + 2);
            if left >= heap.len() {
                return;
            }
            let right_first = right < heap.len() && self.goes_before(heap[right], heap[left]);
            let child = if right_first { right } else { left };
            if !self.goes_before(heap[child], heap[at]) {
                return;
            }
            heap.swap(at, child);
            at = child;
        }
    }

    /// The best first.
    fn sort(&self, heap: &mut [usize]) {
        heap.sort_by(|a, b| {
            if self.goes_before(*a, *b) {
                Ordering::Greater
            } else if self.goes_before(*b, *a) {
                Ordering::Less
            } else {
                Ordering::Equal
            }
        });
    }
}

/// Whether a series belongs to the share that `ratio` asks for; a negative one asks for the complement.
fn in_ratio(ratio: f64, labels: &Labels) -> bool {
    let offset = label_hash(labels) as f64 / u64::MAX as f64;
    if ratio >= 0.0 { offset < ratio } else { offset >= 1.0 + ratio }
}

/// Prometheus' hash of a label set: xxHash64 over each name and value with its length in front, one byte, or from
/// 255 on the byte 255 and three more.
fn label_hash(labels: &Labels) -> u64 {
    let mut bytes = Vec::new();
    for (name, value) in labels.iter() {
        for part in [name, value] {
            match part.len() {
                length @ 0..255 => bytes.push(length as u8),
                length => {
                    bytes.push(255);
                    bytes.extend_from_slice(&(length as u32).to_le_bytes()[..3]);
                }
            }
            bytes.extend_from_slice(part.as_bytes());
        }
    }
    xxhash_rust::xxh64::xxh64(&bytes, 0)
}
