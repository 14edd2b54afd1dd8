//! An expression as text, in upstream's form; parsing the text again gives the same tree.
//!
//! What is still to be printed lies on a stack of its own, so a long chain costs no recursion here either.

use std::fmt;

use crate::ast::{
    Aggregate, At, Binary, BinaryOp, Cardinality, DurationOp, Edge, Expr, Kind, Length, Matching, NodeId,
    Subquery, VectorSelector,
};
use crate::duration;
use crate::text::{float_general, float_plain, label_name, quoted, quoted_bytes};

/// A part of what is printed.
pub(crate) enum Piece {
    Node(NodeId),
    Text(String),
    Length(Length),
}

impl From<&str> for Piece {
    fn from(text: &str) -> Self {
        Piece::Text(text.to_owned())
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(vec![Piece::Node(self.root)], f)
    }
}

impl Expr {
    /// Writes pieces, the last one first.
    pub(crate) fn write(&self, mut stack: Vec<Piece>, out: &mut dyn fmt::Write) -> fmt::Result {
        while let Some(piece) = stack.pop() {
            match piece {
                Piece::Text(text) => out.write_str(&text)?,
                Piece::Length(Length::Millis(millis)) => out.write_str(&duration::text(millis))?,
                Piece::Length(Length::Expression(id)) => stack.push(Piece::Node(id)),
                Piece::Node(id) => stack.extend(self.pieces(id).into_iter().rev()),
            }
        }
        Ok(())
    }

    /// What a node is printed as, one after the other.
    pub(crate) fn pieces(&self, id: NodeId) -> Vec<Piece> {
        let text = |text: String| Piece::Text(text);
        match &self.node(id).kind {
            Kind::Number { value, duration: true } => {
                vec![text(duration::text((value * 1000.0).round() as i64))]
            }
            Kind::Number { value, .. } => vec![text(float_plain(*value))],
            Kind::String(bytes) => vec![text(quoted_bytes(bytes))],
            Kind::Paren(inner) => vec!["(".into(), Piece::Node(*inner), ")".into()],
            Kind::Unary { negative, expr } => {
                vec![if *negative { "-" } else { "+" }.into(), Piece::Node(*expr)]
            }
            // The sign of `+Inf` would reach over the whole power.
            Kind::Binary(binary) if binary.op == BinaryOp::Pow && self.is_infinite(binary.left) => {
                vec!["Inf".into(), text(operator(binary)), Piece::Node(binary.right)]
            }
            Kind::Binary(binary) => {
                vec![Piece::Node(binary.left), text(operator(binary)), Piece::Node(binary.right)]
            }
            Kind::Aggregate(aggregate) => {
                let mut args: Vec<NodeId> = aggregate.param.into_iter().collect();
                args.push(aggregate.expr);
                call(aggregation(aggregate), &args)
            }
            Kind::Call { function, args } => call(function.name.to_owned(), args),
            Kind::Vector(selector) => {
                let mut pieces = vec![text(matchers(selector))];
                pieces.extend(at(selector.at));
                pieces.extend(edge(selector.edge));
                pieces.extend(offset(selector.offset));
                pieces
            }
            Kind::Matrix { selector, range } => {
                let Kind::Vector(selector) = &self.node(*selector).kind else { return Vec::new() };
                let mut pieces =
                    vec![text(matchers(selector)), "[".into(), Piece::Length(*range), "]".into()];
                pieces.extend(edge(selector.edge));
                pieces.extend(at(selector.at));
                pieces.extend(offset(selector.offset));
                pieces
            }
            Kind::Subquery(subquery) => {
                let mut pieces = vec![Piece::Node(subquery.expr)];
                pieces.extend(window(subquery));
                pieces
            }
            Kind::Duration(op) => duration_pieces(*op),
        }
    }

    fn is_infinite(&self, id: NodeId) -> bool {
        matches!(self.node(id).kind, Kind::Number { value, .. } if value == f64::INFINITY)
    }
}

fn duration_pieces(op: DurationOp) -> Vec<Piece> {
    match op {
        DurationOp::Step => vec!["step()".into()],
        DurationOp::Range => vec!["range()".into()],
        DurationOp::Negate(inner) => vec!["-".into(), Piece::Node(inner)],
        DurationOp::Paren(inner) => vec!["(".into(), Piece::Node(inner), ")".into()],
        DurationOp::MinOf(a, b) => call("min_of".into(), &[a, b]),
        DurationOp::MaxOf(a, b) => call("max_of".into(), &[a, b]),
        DurationOp::Arithmetic(op, a, b) => {
            vec![Piece::Node(a), Piece::Text(format!(" {} ", op.as_str())), Piece::Node(b)]
        }
    }
}

fn call(head: String, args: &[NodeId]) -> Vec<Piece> {
    let mut pieces = vec![Piece::Text(head + "(")];
    for (i, arg) in args.iter().enumerate() {
        if i > 0 {
            pieces.push(", ".into());
        }
        pieces.push(Piece::Node(*arg));
    }
    pieces.push(")".into());
    pieces
}

/// What stands in front of an aggregation's parentheses.
pub(crate) fn aggregation(aggregate: &Aggregate) -> String {
    let mut head = aggregate.op.as_str().to_owned();
    if aggregate.without || !aggregate.grouping.is_empty() {
        let word = if aggregate.without { "without" } else { "by" };
        head += &format!(" {word} ({}) ", labels(&aggregate.grouping));
    }
    head
}

/// What stands behind a subquery's expression.
pub(crate) fn window(subquery: &Subquery) -> Vec<Piece> {
    let mut pieces = vec!["[".into(), Piece::Length(subquery.range), ":".into()];
    pieces.extend(subquery.step.map(Piece::Length));
    pieces.push("]".into());
    pieces.extend(at(subquery.at));
    pieces.extend(offset(subquery.offset));
    pieces
}

/// A binary operator with its modifiers, between spaces.
pub(crate) fn operator(binary: &Binary) -> String {
    let return_bool = if binary.return_bool { " bool" } else { "" };
    let matching = binary.matching.as_ref().map(matching).unwrap_or_default();
    format!(" {}{return_bool}{matching} ", binary.op.as_str())
}

fn matching(matching: &Matching) -> String {
    let mut out = String::new();
    let group = match matching.cardinality {
        Cardinality::ManyToOne => Some("group_left"),
        Cardinality::OneToMany => Some("group_right"),
        Cardinality::OneToOne | Cardinality::ManyToMany => None,
    };
    if matching.on || !matching.labels.is_empty() || group.is_some() {
        let word = if matching.on { "on" } else { "ignoring" };
        out += &format!(" {word} ({})", labels(&matching.labels));
    }
    if let Some(group) = group {
        out += &format!(" {group} ({})", labels(&matching.include));
    }
    match (matching.fill_left, matching.fill_right) {
        (Some(left), Some(right)) if left == right => out += &format!(" fill ({})", float_general(left)),
        (left, right) => {
            for (word, value) in [("fill_left", left), ("fill_right", right)] {
                if let Some(value) = value {
                    out += &format!(" {word} ({})", float_general(value));
                }
            }
        }
    }
    out
}

fn labels(names: &[String]) -> String {
    // `without` is the one word that is no label unless quoted.
    let printed = names
        .iter()
        .map(|name| if name.eq_ignore_ascii_case("without") { quoted(name) } else { label_name(name) });
    printed.collect::<Vec<_>>().join(", ")
}

fn matchers(selector: &VectorSelector) -> String {
    let name = selector.name.as_deref().unwrap_or_default();
    let shown = &selector.matchers[..selector.matchers.len() - usize::from(selector.name.is_some())];
    let mut texts: Vec<String> = shown
        .iter()
        .map(|m| format!("{}{}{}", label_name(&m.name), m.op.as_str(), quoted(&m.value)))
        .collect();
    texts.sort();
    if texts.is_empty() && !name.is_empty() {
        name.to_owned()
    } else {
        format!("{name}{{{}}}", texts.join(","))
    }
}

fn at(at: Option<At>) -> Option<Piece> {
    at.map(|at| match at {
        At::Time(millis) => Piece::Text(format!(" @ {:.3}", millis as f64 / 1000.0)),
        At::Start => " @ start()".into(),
        At::End => " @ end()".into(),
    })
}

fn edge(edge: Edge) -> Option<Piece> {
    match edge {
        Edge::Plain => None,
        Edge::Anchored => Some(" anchored".into()),
        Edge::Smoothed => Some(" smoothed".into()),
    }
}

fn offset(offset: Option<Length>) -> Vec<Piece> {
    offset.map(|length| vec![" offset ".into(), Piece::Length(length)]).unwrap_or_default()
}
