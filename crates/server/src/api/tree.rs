//! An expression as Prometheus' tree of JSON objects, for `parse_query`.
//!
//! What is still to be written lies on a stack, as when an expression is printed: a chain of 20,000 operators costs no
//! recursion. Keys are sorted, as Prometheus' are. A length that is an expression is 0, and stands beside as one.

use std::borrow::Cow;

use model::Budget;
use model::select::Stop;
use promql::Expr;
use promql::ast::{At, Cardinality, DurationOp, Edge, Kind, Length, Matching, NodeId, VectorSelector};

use super::encode;

/// Writes the whole expression.
pub(super) fn write(out: &mut String, expr: &Expr, budget: &Budget) -> Result<(), Stop> {
    let mut stack = vec![Piece::Node(expr.root())];
    while let Some(piece) = stack.pop() {
        match piece {
            Piece::Text(text) => {
                budget.charge(text.len() as u64)?;
                out.push_str(&text);
            }
            Piece::Node(id) => stack.extend(node(expr, id).into_iter().rev()),
            Piece::Duration(id) => stack.extend(duration(expr, id).into_iter().rev()),
        }
    }
    Ok(())
}

enum Piece {
    Text(Cow<'static, str>),
    Node(NodeId),
    /// A part of a duration expression.
    Duration(NodeId),
}

/// The value of a key.
enum Member {
    Json(Cow<'static, str>),
    Node(NodeId),
    Nodes(Vec<NodeId>),
    Duration(NodeId),
}

const NULL: Member = Member::Json(Cow::Borrowed("null"));

fn bool(value: bool) -> Member {
    Member::Json(Cow::Borrowed(if value { "true" } else { "false" }))
}

fn text(value: &str) -> Member {
    let mut out = String::with_capacity(value.len() + 2);
    encode::string(&mut out, value);
    Member::Json(out.into())
}

fn number(value: i64) -> Member {
    Member::Json(value.to_string().into())
}

fn texts(values: &[String]) -> Member {
    let mut out = String::new();
    encode::list(&mut out, values, |out, value| encode::string(out, value));
    Member::Json(out.into())
}

fn object<const N: usize>(members: [(&'static str, Member); N]) -> Vec<Piece> {
    let mut pieces = Vec::with_capacity(2 * N + 1);
    for (i, (key, member)) in members.into_iter().enumerate() {
        let before = if i == 0 { '{' } else { ',' };
        pieces.push(Piece::Text(format!("{before}\"{key}\":").into()));
        match member {
            Member::Json(json) => pieces.push(Piece::Text(json)),
            Member::Node(id) => pieces.push(Piece::Node(id)),
            Member::Duration(id) => pieces.push(Piece::Duration(id)),
            Member::Nodes(ids) => {
                pieces.push(Piece::Text("[".into()));
                for (i, id) in ids.into_iter().enumerate() {
                    if i > 0 {
                        pieces.push(Piece::Text(",".into()));
                    }
                    pieces.push(Piece::Node(id));
                }
                pieces.push(Piece::Text("]".into()));
            }
        }
    }
    pieces.push(Piece::Text("}".into()));
    pieces
}

fn node(expr: &Expr, id: NodeId) -> Vec<Piece> {
    match &expr.node(id).kind {
        Kind::Number { value, .. } => {
            object([("type", text("numberLiteral")), ("val", text(&promql::text::float_plain(*value)))])
        }
        Kind::String(bytes) => {
            object([("type", text("stringLiteral")), ("val", text(&String::from_utf8_lossy(bytes)))])
        }
        Kind::Paren(inner) => object([("expr", Member::Node(*inner)), ("type", text("parenExpr"))]),
        Kind::Unary { negative, expr } => object([
            ("expr", Member::Node(*expr)),
            ("op", text(if *negative { "-" } else { "+" })),
            ("type", text("unaryExpr")),
        ]),
        Kind::Binary(binary) => object([
            ("bool", bool(binary.return_bool)),
            ("lhs", Member::Node(binary.left)),
            ("matching", binary.matching.as_ref().map_or(NULL, matching)),
            ("op", text(binary.op.as_str())),
            ("rhs", Member::Node(binary.right)),
            ("type", text("binaryExpr")),
        ]),
        Kind::Aggregate(aggregate) => object([
            ("expr", Member::Node(aggregate.expr)),
            ("grouping", texts(&aggregate.grouping)),
            ("op", text(aggregate.op.as_str())),
            ("param", aggregate.param.map_or(NULL, Member::Node)),
            ("type", text("aggregation")),
            ("without", bool(aggregate.without)),
        ]),
        Kind::Call { function, args } => object([
            ("args", Member::Nodes(args.clone())),
            ("func", signature(function)),
            ("type", text("call")),
        ]),
        Kind::Vector(selector) => object([
            ("anchored", bool(selector.edge == Edge::Anchored)),
            ("matchers", matchers(selector)),
            ("name", text(selector.name.as_deref().unwrap_or_default())),
            ("offset", millis(selector.offset)),
            ("offsetExpr", expression(selector.offset)),
            ("smoothed", bool(selector.edge == Edge::Smoothed)),
            ("startOrEnd", start_or_end(selector.at)),
            ("timestamp", timestamp(selector.at)),
            ("type", text("vectorSelector")),
        ]),
        Kind::Matrix { selector, range } => {
            let Kind::Vector(selector) = &expr.node(*selector).kind else { return Vec::new() };
            object([
                ("anchored", bool(selector.edge == Edge::Anchored)),
                ("matchers", matchers(selector)),
                ("name", text(selector.name.as_deref().unwrap_or_default())),
                ("offset", millis(selector.offset)),
                ("offsetExpr", expression(selector.offset)),
                ("range", millis(Some(*range))),
                ("rangeExpr", expression(Some(*range))),
                ("smoothed", bool(selector.edge == Edge::Smoothed)),
                ("startOrEnd", start_or_end(selector.at)),
                ("timestamp", timestamp(selector.at)),
                ("type", text("matrixSelector")),
            ])
        }
        Kind::Subquery(subquery) => object([
            ("expr", Member::Node(subquery.expr)),
            ("offset", millis(subquery.offset)),
            ("offsetExpr", expression(subquery.offset)),
            ("range", millis(Some(subquery.range))),
            ("rangeExpr", expression(Some(subquery.range))),
            ("startOrEnd", start_or_end(subquery.at)),
            ("step", millis(subquery.step)),
            ("stepExpr", expression(subquery.step)),
            ("timestamp", timestamp(subquery.at)),
            ("type", text("subquery")),
        ]),
        Kind::Duration(_) => duration(expr, id),
    }
}

/// A part of a duration expression; parentheses are a mark on what they are around, a number in them is signed with `+`.
fn duration(expr: &Expr, mut id: NodeId) -> Vec<Piece> {
    let mut wrapped = false;
    while let Kind::Duration(DurationOp::Paren(inner)) = &expr.node(id).kind {
        (id, wrapped) = (*inner, true);
    }
    let (op, left, right) = match &expr.node(id).kind {
        Kind::Number { value, duration } if !wrapped => {
            return object([
                ("duration", bool(*duration)),
                ("type", text("numberLiteral")),
                ("val", text(&promql::text::float_plain(*value))),
            ]);
        }
        Kind::Number { value, duration } => {
            let mut pieces = vec![Piece::Text("{\"lhs\":null,\"op\":\"+\",\"rhs\":".into())];
            pieces.extend(object([
                ("duration", bool(*duration)),
                ("type", text("numberLiteral")),
                ("val", text(&promql::text::float_plain(*value))),
            ]));
            pieces.push(Piece::Text(",\"type\":\"durationExpr\",\"wrapped\":true}".into()));
            return pieces;
        }
        Kind::Duration(op) => match op {
            DurationOp::Step => ("step", None, None),
            DurationOp::Range => ("range", None, None),
            DurationOp::Negate(inner) | DurationOp::Paren(inner) => ("-", None, Some(*inner)),
            DurationOp::Arithmetic(op, left, right) => (op.as_str(), Some(*left), Some(*right)),
            DurationOp::MinOf(left, right) => ("min_of", Some(*left), Some(*right)),
            DurationOp::MaxOf(left, right) => ("max_of", Some(*left), Some(*right)),
        },
        _ => return node(expr, id),
    };
    object([
        ("lhs", left.map_or(NULL, Member::Duration)),
        ("op", text(op)),
        ("rhs", right.map_or(NULL, Member::Duration)),
        ("type", text("durationExpr")),
        ("wrapped", bool(wrapped)),
    ])
}

fn matching(matching: &Matching) -> Member {
    let cardinality = match matching.cardinality {
        Cardinality::OneToOne => "one-to-one",
        Cardinality::ManyToOne => "many-to-one",
        Cardinality::OneToMany => "one-to-many",
        Cardinality::ManyToMany => "many-to-many",
    };
    let json = serde_json::json!({
        "card": cardinality,
        "fillValues": { "lhs": matching.fill_left, "rhs": matching.fill_right },
        "include": matching.include,
        "labels": matching.labels,
        "on": matching.on,
    });
    Member::Json(json.to_string().into())
}

fn signature(function: &promql::functions::Function) -> Member {
    let types: Vec<&str> = function.args.iter().map(|arg| arg.as_str()).collect();
    let json = serde_json::json!({
        "argTypes": types,
        "name": function.name,
        "returnType": function.result.as_str(),
        "variadic": function.variadic,
    });
    Member::Json(json.to_string().into())
}

fn matchers(selector: &VectorSelector) -> Member {
    let mut out = String::new();
    encode::list(&mut out, &selector.matchers, |out, matcher| {
        encode::pairs(
            out,
            [
                ("name", matcher.name.as_str()),
                ("type", matcher.op.as_str()),
                ("value", matcher.value.as_str()),
            ],
        );
    });
    Member::Json(out.into())
}

fn millis(length: Option<Length>) -> Member {
    match length {
        Some(Length::Millis(millis)) => number(millis),
        Some(Length::Expression(_)) | None => number(0),
    }
}

fn expression(length: Option<Length>) -> Member {
    match length {
        Some(Length::Expression(id)) => Member::Duration(id),
        Some(Length::Millis(_)) | None => NULL,
    }
}

fn timestamp(at: Option<At>) -> Member {
    match at {
        Some(At::Time(millis)) => number(millis),
        Some(At::Start | At::End) | None => NULL,
    }
}

fn start_or_end(at: Option<At>) -> Member {
    match at {
        Some(At::Start) => text("start"),
        Some(At::End) => text("end"),
        Some(At::Time(_)) | None => NULL,
    }
}

#[cfg(test)]
mod tests {
    use promql::Syntax;
    use serde_json::{Value, json};

    use super::*;

    fn tree(query: &str) -> Value {
        let expr = promql::parse_with(query, &Syntax::all()).unwrap();
        let mut out = String::new();
        write(&mut out, &expr, &Budget::new(1 << 30)).unwrap();
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{query}: {error}: {out}"))
    }

    #[test]
    fn every_kind_of_node_has_its_object() {
        assert_eq!(
            tree(r#"topk without (a, b) (5m, up{job=~"a.*",x!="y"} @ 1.5 offset -1m)"#),
            json!({
                "type": "aggregation", "op": "topk", "grouping": ["a", "b"], "without": true,
                "param": {"type": "numberLiteral", "val": "300"},
                "expr": {
                    "type": "vectorSelector", "name": "up", "offset": -60000, "offsetExpr": null,
                    "timestamp": 1500, "startOrEnd": null, "anchored": false, "smoothed": false,
                    "matchers": [
                        {"name": "job", "type": "=~", "value": "a.*"},
                        {"name": "x", "type": "!=", "value": "y"},
                        {"name": "__name__", "type": "=", "value": "up"},
                    ],
                },
            })
        );
        let selector = |name: &str| {
            json!({
                "type": "vectorSelector", "name": name, "offset": 0, "offsetExpr": null,
                "timestamp": null, "startOrEnd": null, "anchored": false, "smoothed": false,
                "matchers": [{"name": "__name__", "type": "=", "value": name}],
            })
        };
        assert_eq!(
            tree("-(a > bool on (x) group_left (y) fill_right (0) b)"),
            json!({"type": "unaryExpr", "op": "-", "expr": {"type": "parenExpr", "expr": {
                "type": "binaryExpr", "op": ">", "bool": true, "lhs": selector("a"), "rhs": selector("b"),
                "matching": {
                    "card": "many-to-one", "on": true, "labels": ["x"], "include": ["y"],
                    "fillValues": {"lhs": null, "rhs": 0.0},
                },
            }}})
        );
        assert_eq!(tree("a and b")["matching"]["card"], "many-to-many");
        assert_eq!(tree("1 + Inf")["matching"], Value::Null);
        assert_eq!(tree("1 + Inf")["rhs"]["val"], "+Inf");
        assert_eq!(
            tree(r#"label_join(up, "a", "é\xff", "b")"#)["func"],
            json!({"name": "label_join", "argTypes": ["vector", "string", "string", "string"],
                   "variadic": -1, "returnType": "vector"})
        );
        assert_eq!(tree(r#"label_join(up, "a", "é\xff", "b")"#)["args"][2]["val"], "é\u{fffd}");
        let subquery = tree("(up)[1h:] @ end()");
        assert_eq!((&subquery["range"], &subquery["step"]), (&json!(3_600_000), &json!(0)));
        assert_eq!((&subquery["startOrEnd"], &subquery["timestamp"]), (&json!("end"), &Value::Null));
        let matrix = tree("rate(up[5m] smoothed)")["args"][0].clone();
        assert_eq!((&matrix["type"], &matrix["range"]), (&json!("matrixSelector"), &json!(300_000)));
        assert_eq!((&matrix["smoothed"], &matrix["anchored"]), (&json!(true), &json!(false)));
    }

    #[test]
    fn lengths_that_are_expressions_stand_beside_their_number() {
        let literal =
            |val: &str, duration: bool| json!({"type": "numberLiteral", "val": val, "duration": duration});
        let of = |op: &str, lhs: Value, rhs: Value, wrapped: bool| json!({"type": "durationExpr", "op": op, "lhs": lhs, "rhs": rhs, "wrapped": wrapped});
        let none = || Value::Null;
        let matrix = tree("foo[max_of(step(), 5m+3m)] offset (10m/2)");
        assert_eq!((&matrix["range"], &matrix["offset"]), (&json!(0), &json!(0)));
        let sum = of("+", literal("300", true), literal("180", true), false);
        assert_eq!(matrix["rangeExpr"], of("max_of", of("step", none(), none(), false), sum, false));
        assert_eq!(matrix["offsetExpr"], of("/", literal("600", true), literal("2", false), true));
        assert_eq!(tree("foo[(5m)]")["rangeExpr"], of("+", none(), literal("300", true), true));
        let negative = tree("foo offset -min_of(5s, range())");
        let smaller = of("min_of", literal("5", true), of("range", none(), none(), false), false);
        assert_eq!(negative["offsetExpr"], of("-", none(), smaller, false));
    }

    #[test]
    fn a_long_chain_is_written_and_paid_for() {
        let query = vec!["1"; 20_000].join("+");
        let expr = promql::parse(&query).unwrap();
        let mut out = String::new();
        write(&mut out, &expr, &Budget::new(1 << 30)).unwrap();
        assert_eq!(out.matches("binaryExpr").count(), 19_999);
        assert_eq!(
            write(&mut String::new(), &expr, &Budget::new(1 << 20)),
            Err(Stop::OverBudget { limit: 1 << 20 })
        );
    }
}
