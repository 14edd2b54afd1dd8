//! Does it fit together? Types of operands and arguments, labels that contradict each other, empty selectors.
//!
//! One walk from the first node to the last; children stand before their parents, so the innermost fault is found
//! first, as upstream does.

use crate::ast::{AggregateOp, Binary, Cardinality, Expr, Kind, NodeId, Span, ValueType, VectorSelector};
use crate::functions::Function;
use crate::parse::Fault;
use crate::text::quoted;

type Checks = Result<(), Fault>;

/// Checks all nodes, and settles what only types can tell: matching exists between two vectors alone, and the label
/// selector of `info()` may match everything.
pub(crate) fn check(expr: &mut Expr) -> Checks {
    release_info_selectors(expr);
    for index in 0..expr.nodes.len() {
        let span = expr.nodes[index].span;
        match &expr.nodes[index].kind {
            Kind::Binary(binary) => {
                let matching = binary_operands(expr, binary, span)?;
                if let Kind::Binary(binary) = &mut expr.nodes[index].kind {
                    if !matching {
                        binary.matching = None;
                    } else if let (true, Some(matching)) = (binary.op.is_set(), &mut binary.matching) {
                        matching.cardinality = Cardinality::ManyToMany;
                    }
                }
            }
            Kind::Aggregate(aggregate) => {
                expect(expr, aggregate.expr, ValueType::Vector, "aggregation expression")?;
                let wanted = match aggregate.op {
                    AggregateOp::CountValues => ValueType::String,
                    _ => ValueType::Scalar,
                };
                if let Some(param) = aggregate.param {
                    expect(expr, param, wanted, "aggregation parameter")?;
                }
            }
            Kind::Call { function, args } => {
                argument_count(function, args.len(), span)?;
                arguments(expr, function, args, span)?;
            }
            Kind::Unary { expr: inner, .. } => {
                let found = expr.type_of(*inner);
                if !matches!(found, ValueType::Scalar | ValueType::Vector) {
                    let message = format!(
                        "unary expression only allowed on expressions of type scalar or instant vector, got {}",
                        quoted(found.documented())
                    );
                    return Err(Fault::new(span, message));
                }
            }
            Kind::Subquery(subquery) => {
                let found = expr.type_of(subquery.expr);
                if found != ValueType::Vector {
                    let message =
                        format!("subquery is only allowed on instant vector, got {} instead", found.as_str());
                    return Err(Fault::new(span, message));
                }
            }
            Kind::Vector(vector) => selector(vector, span)?,
            Kind::Number { .. }
            | Kind::String(_)
            | Kind::Paren(_)
            | Kind::Matrix { .. }
            | Kind::Duration(_) => {}
        }
    }
    Ok(())
}

/// A selector must not name its metric twice and must have a matcher that excludes something.
pub(crate) fn selector(selector: &VectorSelector, span: Span) -> Checks {
    if let Some(name) = &selector.name {
        // The last matcher is the one made from the name.
        let others = &selector.matchers[..selector.matchers.len() - 1];
        return match others.iter().find(|m| m.name == model::labels::METRIC_NAME) {
            Some(other) => Err(Fault::new(
                span,
                format!("metric name must not be set twice: {} or {}", quoted(name), quoted(&other.value)),
            )),
            None => Ok(()),
        };
    }
    if selector.may_match_empty || selector.matchers.iter().any(|m| !m.matches_empty()) {
        return Ok(());
    }
    Err(Fault::new(span, "vector selector must contain at least one non-empty matcher"))
}

fn expect(expr: &Expr, id: NodeId, wanted: ValueType, context: &str) -> Checks {
    let found = expr.type_of(id);
    if found == wanted {
        return Ok(());
    }
    let message = format!("expected type {} in {context}, got {}", wanted.documented(), found.documented());
    Err(Fault::new(expr.node(id).span, message))
}

/// Whether the operation matches vectors.
fn binary_operands(expr: &Expr, binary: &Binary, span: Span) -> Result<bool, Fault> {
    let [left, right] = [binary.left, binary.right].map(|id| expr.type_of(id));
    let Some(matching) = &binary.matching else { return Ok(false) };
    if binary.return_bool && !binary.op.is_comparison() {
        let message = "bool modifier can only be used on comparison operators";
        return Err(Fault::new(operator_span(expr, binary), message));
    }
    if binary.op.is_comparison() && !binary.return_bool && [left, right] == [ValueType::Scalar; 2] {
        return Err(Fault::new(
            operator_span(expr, binary),
            "comparisons between scalars must use BOOL modifier",
        ));
    }
    if let (true, Some(label)) = (matching.on, matching.labels.iter().find(|l| matching.include.contains(l)))
    {
        let message = format!("label {} must not occur in ON and GROUP clause at once", quoted(label));
        return Err(Fault::new(operator_span(expr, binary), message));
    }
    for (side, found) in [(binary.left, left), (binary.right, right)] {
        if !matches!(found, ValueType::Scalar | ValueType::Vector) {
            let message = "binary expression must contain only scalar and instant vector types";
            return Err(Fault::new(expr.node(side).span, message));
        }
    }
    let filled = matching.fill_left.is_some() || matching.fill_right.is_some();
    let op = binary.op.as_str();
    if [left, right] != [ValueType::Vector; 2] {
        let message = match () {
            () if !matching.labels.is_empty() => {
                "vector matching only allowed between instant vectors".to_owned()
            }
            () if filled => "filling in missing series only allowed between instant vectors".to_owned(),
            () if binary.op.is_set() => {
                format!("set operator {} not allowed in binary scalar expression", quoted(op))
            }
            () => return Ok(false),
        };
        return Err(Fault::new(span, message));
    }
    if binary.op.is_set() {
        if matching.cardinality != Cardinality::OneToOne && matching.cardinality != Cardinality::ManyToMany {
            return Err(Fault::new(span, format!("no grouping allowed for {} operation", quoted(op))));
        }
        if filled {
            return Err(Fault::new(span, "filling in missing series not allowed for set operators"));
        }
    }
    Ok(true)
}

/// Where the operator with its modifiers stands: between the operands, without the blanks.
fn operator_span(expr: &Expr, binary: &Binary) -> Span {
    let (start, end) = (expr.node(binary.left).span.end, expr.node(binary.right).span.start);
    let between = expr.text.get(start..end).unwrap_or_default();
    Span {
        start: start + (between.len() - between.trim_start().len()),
        end: start + between.trim_end().len(),
    }
}

fn argument_count(function: &Function, given: usize, span: Span) -> Checks {
    let (least, most) = function.argument_counts();
    let name = quoted(function.name);
    let message = match (least, most) {
        (least, Some(most)) if least == most && given != least => {
            format!("expected {least} argument(s) in call to {name}, got {given}")
        }
        (least, _) if given < least => {
            format!("expected at least {least} argument(s) in call to {name}, got {given}")
        }
        (_, Some(most)) if given > most => {
            format!("expected at most {most} argument(s) in call to {name}, got {given}")
        }
        _ => return Ok(()),
    };
    Err(Fault::new(span, message))
}

fn arguments(expr: &Expr, function: &Function, args: &[NodeId], span: Span) -> Checks {
    if function.name == "info" && args.len() > 1 {
        info_selector(expr, args[1], span)?;
    }
    for (i, arg) in args.iter().enumerate() {
        // The last declared type stands for all further arguments.
        let Some(wanted) = function.args.get(i).or(function.args.last()) else { continue };
        let context = format!("call to function {}", quoted(function.name));
        expect(expr, *arg, *wanted, &context)?;
    }
    Ok(())
}

/// The second argument of `info()` is a list of matchers, written as a selector without a name.
fn info_selector(expr: &Expr, id: NodeId, span: Span) -> Checks {
    let node = expr.node(id);
    let found = node.value_type;
    if found != ValueType::Vector {
        let message =
            format!("expected type instant vector in call to function \"info\", got {}", found.documented());
        return Err(Fault::new(span, message));
    }
    match &node.kind {
        Kind::Vector(selector) if selector.name.is_none() => Ok(()),
        Kind::Vector(_) => {
            Err(Fault::new(node.span, "expected label selectors only, got vector selector instead"))
        }
        _ => Err(Fault::new(node.span, "expected label selectors only")),
    }
}

fn release_info_selectors(expr: &mut Expr) {
    let calls = expr.nodes.iter().filter_map(|node| match &node.kind {
        Kind::Call { function, args } if function.name == "info" => args.get(1).copied(),
        _ => None,
    });
    for id in calls.collect::<Vec<_>>() {
        if let Kind::Vector(selector) = &mut expr.nodes[id.index()].kind {
            selector.may_match_empty = true;
        }
    }
}
