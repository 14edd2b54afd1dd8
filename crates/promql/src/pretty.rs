//! An expression over several lines, as upstream prints it for people: what does not fit into a line is cut at its
//! outermost operator or call, and each part indented and looked at again.
//!
//! How long each node is as one line is known before anything is printed: nodes stand behind their children.

use model::Budget;
use model::select::Stop;

use crate::ast::{Expr, Kind, Length, NodeId};
use crate::duration;
use crate::print::{Piece, aggregation, operator, window};

/// Bytes of a part that stays in one line.
const LINE_BYTES: usize = 100;

/// What is still to be printed.
enum Part {
    Text(String),
    /// A line's indentation.
    Indent(usize),
    /// A node at a level.
    Node(NodeId, usize),
    /// The same in the line that was begun: whatever it would be indented by is left out.
    Inline(NodeId, usize),
    /// What stands behind a subquery's expression.
    Window(NodeId),
}

fn text(text: impl Into<String>) -> Part {
    Part::Text(text.into())
}

impl Expr {
    /// The expression as upstream's `format_query` tells it. What it takes is charged to `budget`: deep expressions are
    /// indented far.
    pub fn pretty(&self, budget: &Budget) -> Result<String, Stop> {
        let lengths = self.lengths();
        let (mut out, mut stack) = (String::new(), vec![Part::Node(self.root, 0)]);
        let mut is_inline = false;
        while let Some(part) = stack.pop() {
            let before = out.len();
            match part {
                Part::Text(text) => out.push_str(&text),
                Part::Indent(level) => {
                    if !is_inline {
                        budget.charge(2 * level as u64)?;
                        out.extend(std::iter::repeat_n("  ", level));
                    }
                    is_inline = false;
                    continue;
                }
                Part::Inline(id, level) => {
                    is_inline = true;
                    stack.push(Part::Node(id, level));
                }
                Part::Window(id) => {
                    if let Kind::Subquery(subquery) = &self.node(id).kind {
                        // Writing to a string cannot fail.
                        let _ = self.write(window(subquery).into_iter().rev().collect(), &mut out);
                    }
                }
                Part::Node(id, level) => {
                    let fits = lengths[id.index()] <= LINE_BYTES;
                    match self.parts(id, level, fits) {
                        Some(parts) => stack.extend(parts.into_iter().rev()),
                        None => {
                            let _ = self.write(vec![Piece::Node(id)], &mut out);
                            is_inline = false;
                        }
                    }
                }
            }
            budget.charge((out.len() - before) as u64)?;
        }
        Ok(out)
    }

    /// What a node is cut into; `None` = it is printed as it is, and not even indented.
    fn parts(&self, id: NodeId, level: usize, fits: bool) -> Option<Vec<Part>> {
        let inner = |id: NodeId| Part::Node(id, level + 1);
        let whole = || Some(vec![Part::Indent(level), text(self.line(id))]);
        match &self.node(id).kind {
            Kind::Unary { negative, expr } => {
                let sign = if *negative { "-" } else { "+" };
                Some(vec![Part::Indent(level), text(sign), Part::Inline(*expr, level)])
            }
            Kind::Subquery(_) if fits => None,
            _ if fits => whole(),
            Kind::Binary(binary) => {
                let operator = operator(binary).trim().to_owned();
                Some(vec![
                    inner(binary.left),
                    text("\n"),
                    Part::Indent(level),
                    text(operator + "\n"),
                    inner(binary.right),
                ])
            }
            Kind::Aggregate(aggregate) => {
                let args: Vec<NodeId> = aggregate.param.into_iter().chain([aggregate.expr]).collect();
                Some(call(aggregation(aggregate), &args, level))
            }
            Kind::Call { function, args } => Some(call(function.name.to_owned(), args, level)),
            Kind::Paren(expr) => Some(call(String::new(), &[*expr], level)),
            Kind::Subquery(subquery) => Some(vec![Part::Node(subquery.expr, level), Part::Window(id)]),
            _ => whole(),
        }
    }

    fn line(&self, id: NodeId) -> String {
        let mut out = String::new();
        let _ = self.write(vec![Piece::Node(id)], &mut out);
        out
    }

    /// Bytes of each node as one line.
    fn lengths(&self) -> Vec<usize> {
        let mut lengths = Vec::with_capacity(self.nodes.len());
        for number in 0..self.nodes.len() {
            let pieces = self.pieces(NodeId(number as u32));
            let bytes = pieces.iter().map(|piece| match piece {
                Piece::Text(text) => text.len(),
                Piece::Length(Length::Millis(millis)) => duration::text(*millis).len(),
                Piece::Node(id) | Piece::Length(Length::Expression(id)) => {
                    lengths.get(id.index()).copied().unwrap_or(0)
                }
            });
            let bytes = bytes.sum::<usize>();
            lengths.push(bytes);
        }
        lengths
    }
}

fn call(head: String, args: &[NodeId], level: usize) -> Vec<Part> {
    let mut parts = vec![Part::Indent(level), text(head + "(\n")];
    for (i, arg) in args.iter().enumerate() {
        if i > 0 {
            parts.push(text(",\n"));
        }
        parts.push(Part::Node(*arg, level + 1));
    }
    parts.extend([text("\n"), Part::Indent(level), text(")")]);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse;

    fn pretty(query: &str) -> String {
        let text = parse(query).unwrap().pretty(&Budget::new(1 << 30)).unwrap();
        assert_eq!(parse(&text).unwrap(), parse(query).unwrap(), "{text}");
        text
    }

    const LONG: &str = "a_metric_with_a_name_that_takes_more_than_half_of_what_fits_into_a_line";

    #[test]
    fn what_fits_stays_in_its_line() {
        assert_eq!(pretty("sum  by(job) (rate(up[5m]))"), "sum by (job) (rate(up[5m]))");
        let exactly = format!("sum({})", "a".repeat(LINE_BYTES - 5));
        assert_eq!(pretty(&exactly), exactly);
        assert_eq!(
            pretty(&format!("sum(a{})", "a".repeat(LINE_BYTES - 5))),
            format!("sum(\n  {}\n)", "a".repeat(LINE_BYTES - 4))
        );
    }

    #[test]
    fn what_does_not_fit_is_cut_from_outside() {
        let binary = format!("{LONG} > bool on (job) group_left () {LONG}{{code=\"5\"}}");
        assert_eq!(
            pretty(&binary),
            format!("  {LONG}\n> bool on (job) group_left ()\n  {LONG}{{code=\"5\"}}")
        );
        assert_eq!(
            pretty(&format!("topk by (a) (3, clamp_max(rate({LONG}[5m]), 12345) + 1)")),
            format!("topk by (a) (\n  3,\n    clamp_max(rate({LONG}[5m]), 12345)\n  +\n    1\n)")
        );
        // A sign stands in front of the first line.
        assert_eq!(pretty(&format!("-({LONG} + {LONG})")), format!("-(\n    {LONG}\n  +\n    {LONG}\n)"));
        // A subquery that fits is not indented, as upstream has it.
        assert_eq!(
            pretty(&format!(
                "max_over_time({LONG}[10m:1m]) + max_over_time({LONG}{{a=\"12345678901\"}}[5m:])"
            )),
            format!(
                "  max_over_time({LONG}[10m:1m])\n+\n  max_over_time(\n{LONG}{{a=\"12345678901\"}}[5m:]\n  )"
            )
        );
        assert_eq!(
            pretty(&format!("({LONG} + {LONG})[1h:5m] offset 1h")),
            format!("(\n    {LONG}\n  +\n    {LONG}\n)[1h:5m] offset 1h")
        );
    }

    #[test]
    fn deep_expressions_are_paid_for() {
        let chain = vec!["1"; 20_000].join("+");
        let expr = parse(&chain).unwrap();
        assert!(expr.pretty(&Budget::new(1 << 20)).is_err());
        let signs = format!("{}up", "-".repeat(100));
        assert_eq!(pretty(&signs), signs);
    }
}
