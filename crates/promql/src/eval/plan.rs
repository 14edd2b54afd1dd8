//! What can be known of an expression before any data is read: lengths, and which parts change with the step.

use model::Windows;

use crate::ast::{At, BinaryOp, Expr, Kind, Length, NodeId};
use crate::column::Steps;
use crate::duration::Context;
use crate::eval::{EvalError, Params};

/// Facts about each node of one expression, for one set of parameters.
#[derive(Debug)]
pub(crate) struct Plan {
    invariant: Vec<bool>,
    windows: Vec<Window>,
    only_totals: Vec<bool>,
}

/// Where a selector or subquery looks, seen from a step.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Window {
    /// The time that stands for every step, ms.
    pub(crate) at_ms: Option<i64>,
    /// How far back, ms.
    pub(crate) offset_ms: i64,
    /// How long, ms; 0 for an instant selector.
    pub(crate) range_ms: i64,
    /// Distance of sub-steps, ms; 0 = the default.
    pub(crate) step_ms: i64,
}

impl Window {
    /// The end of the window at a step.
    pub(crate) fn end(&self, step_ms: i64) -> i64 {
        self.at_ms.unwrap_or(step_ms).saturating_sub(self.offset_ms)
    }

    /// The windows of all steps, each so long.
    pub(crate) fn windows(&self, steps: Steps, length_ms: i64) -> Windows {
        // Under `@` all are one.
        let count = if self.at_ms.is_some() { 1 } else { steps.count.max(1) };
        Windows { first_ms: self.end(steps.start_ms), step_ms: steps.step_ms, count, length_ms }
    }
}

impl Plan {
    /// Resolves all lengths and times. Errors are those of duration expressions.
    pub(crate) fn new(expr: &Expr, params: &Params) -> Result<Self, EvalError> {
        let mut plan = Self {
            invariant: vec![false; expr.nodes.len()],
            windows: vec![Window::default(); expr.nodes.len()],
            only_totals: only_totals(expr),
        };
        for index in 0..expr.nodes.len() {
            plan.windows[index] = plan.window_of(expr, index, params)?;
            plan.invariant[index] = plan.invariance_of(expr, index);
        }
        Ok(plan)
    }

    /// Whether the node has one value for all steps.
    pub(crate) fn is_invariant(&self, id: NodeId) -> bool {
        self.invariant[id.index()]
    }

    /// Whether nothing but count and sum of a selector's histograms is asked for.
    pub(crate) fn only_totals(&self, id: NodeId) -> bool {
        self.only_totals[id.index()]
    }

    /// Where the selector or subquery looks; offset and time of a range selector are its inner selector's.
    pub(crate) fn window(&self, id: NodeId) -> Window {
        self.windows[id.index()]
    }

    fn window_of(&self, expr: &Expr, index: usize, params: &Params) -> Result<Window, EvalError> {
        let context =
            Context { step_ms: params.step_ms, range_ms: params.end_ms.saturating_sub(params.start_ms) };
        let resolve = |length: Option<Length>, signed| {
            length.map_or(Ok(0), |length| length.resolve(expr, context, signed)).map_err(EvalError::Invalid)
        };
        let at_ms = |at: Option<At>| {
            at.map(|at| match at {
                At::Time(millis) => millis,
                At::Start => params.start_ms,
                At::End => params.end_ms,
            })
        };
        Ok(match &expr.nodes[index].kind {
            Kind::Vector(selector) => Window {
                at_ms: at_ms(selector.at),
                offset_ms: resolve(selector.offset, true)?,
                ..Window::default()
            },
            Kind::Matrix { selector, range } => {
                Window { range_ms: resolve(Some(*range), false)?, ..self.windows[selector.index()] }
            }
            Kind::Subquery(subquery) => Window {
                at_ms: at_ms(subquery.at),
                offset_ms: resolve(subquery.offset, true)?,
                range_ms: resolve(Some(subquery.range), false)?,
                step_ms: resolve(subquery.step, false)?,
            },
            _ => Window::default(),
        })
    }

    fn invariance_of(&self, expr: &Expr, index: usize) -> bool {
        let of = |id: &NodeId| self.invariant[id.index()];
        match &expr.nodes[index].kind {
            Kind::Number { .. } | Kind::String(_) => true,
            Kind::Paren(inner) | Kind::Unary { expr: inner, .. } => of(inner),
            Kind::Binary(binary) => of(&binary.left) && of(&binary.right),
            // As upstream: the parameter does not count.
            Kind::Aggregate(aggregate) => of(&aggregate.expr),
            Kind::Call { function, args } => match function.name {
                "start" | "end" | "step" | "range" => true,
                // The time of the sample is taken, which `@` fixes.
                "timestamp" => {
                    matches!(expr.node(expr.unwrap(args[0])).kind, Kind::Vector(_)) && of(&args[0])
                }
                _ => !function.at_unsafe && args.iter().all(of),
            },
            Kind::Vector(_) | Kind::Subquery(_) => self.windows[index].at_ms.is_some(),
            Kind::Matrix { selector, .. } => of(selector),
            Kind::Duration(_) => true,
        }
    }
}

/// Selectors below `histogram_count` and its kin, unless something around them needs buckets. Upstream reads such
/// histograms without their buckets and finds resets out while reading, which shows in the notes.
fn only_totals(expr: &Expr) -> Vec<bool> {
    let mut asked = vec![false; expr.nodes.len()];
    let mut blocked = vec![false; expr.nodes.len()];
    // Parents stand behind their children.
    for index in (0..expr.nodes.len()).rev() {
        let (mut ask, mut block) = (asked[index], blocked[index]);
        match &expr.nodes[index].kind {
            Kind::Binary(binary) => {
                block |= matches!(binary.op, BinaryOp::TrimLower | BinaryOp::TrimUpper);
            }
            Kind::Call { function, .. } => {
                ask |= matches!(function.name, "histogram_count" | "histogram_sum" | "histogram_avg");
                block |= matches!(
                    function.name,
                    "histogram_quantile" | "histogram_quantiles" | "histogram_fraction"
                );
            }
            Kind::Subquery(_) => block = true,
            _ => {}
        }
        for child in expr.children(NodeId(index as u32)) {
            asked[child.index()] = ask;
            blocked[child.index()] = block;
        }
    }
    asked.iter().zip(&blocked).map(|(asked, blocked)| *asked && !blocked).collect()
}
