//! A query asked again: with `@` at every selector, the time of its evaluation no longer matters.

use crate::ast::{At, Expr, Kind, NodeId};

/// The query with `@ at_ms` wherever it has none. What stands within a subquery follows from the subquery's own time. `None`
/// when a function outside of subqueries asks what time it is, for then the answer is another one.
pub(super) fn pinned(expr: &Expr, at_ms: i64) -> Option<String> {
    let mut pinned = expr.clone();
    let mut in_subquery = vec![false; expr.nodes.len()];
    // Parents stand behind their children.
    for index in (0..expr.nodes.len()).rev() {
        let id = NodeId(index as u32);
        let inside = in_subquery[index];
        let is_subquery = matches!(expr.node(id).kind, Kind::Subquery(_));
        for child in expr.children(id) {
            in_subquery[child.index()] = inside || is_subquery;
        }
        if inside {
            continue;
        }
        match &mut pinned.nodes[index].kind {
            Kind::Call { function, .. } if function.at_unsafe => return None,
            Kind::Vector(selector) => selector.at = selector.at.or(Some(At::Time(at_ms))),
            Kind::Subquery(subquery) => subquery.at = subquery.at.or(Some(At::Time(at_ms))),
            _ => {}
        }
    }
    Some(pinned.to_string())
}

/// The times at which a query that was pinned to `at_ms` is evaluated.
pub(super) fn times(at_ms: i64) -> Vec<i64> {
    match at_ms {
        0 => vec![-1000, 0, 1000],
        _ => vec![at_ms.saturating_mul(-10), 0, at_ms / 5, at_ms, at_ms.saturating_mul(10)],
    }
}

/// Whether the query asks for its own range or step, which are others when it is evaluated over another range.
pub(super) fn asks_for_its_range(query: &str) -> bool {
    ["start()", "end()", "range()", "step()"].iter().any(|call| query.contains(call))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Syntax, parse_with};

    fn pinned_at_90s(query: &str) -> Option<String> {
        pinned(&parse_with(query, &Syntax::all()).unwrap(), 90_000)
    }

    #[test]
    fn every_selector_is_pinned_once() {
        for (query, wanted) in [
            ("a + b", "a @ 90.000 + b @ 90.000"),
            ("rate(a[5m] offset 1m)", "rate(a[5m] @ 90.000 offset 1m)"),
            ("a @ 10 / b", "a @ 10.000 / b @ 90.000"),
            ("a @ start() / b", "a @ start() / b @ 90.000"),
            ("sum(rate(a[5m] smoothed))", "sum(rate(a[5m] smoothed @ 90.000))"),
            ("topk(scalar(k), a)", "topk(scalar(k @ 90.000), a @ 90.000)"),
            ("info(a, {b=\"c\"})", "info(a @ 90.000, {b=\"c\"} @ 90.000)"),
            ("1 + 2", "1 + 2"),
        ] {
            assert_eq!(pinned_at_90s(query).as_deref(), Some(wanted), "{query}");
        }
    }

    #[test]
    fn within_subqueries_nothing_is_pinned() {
        for (query, wanted) in [
            ("max_over_time(a[1h:1m])", "max_over_time(a[1h:1m] @ 90.000)"),
            ("max_over_time(a[1h:1m] @ 5)", "max_over_time(a[1h:1m] @ 5.000)"),
            (
                "max_over_time(rate(a[5m])[1h:1m] offset 1m) + b",
                "max_over_time(rate(a[5m])[1h:1m] @ 90.000 offset 1m) + b @ 90.000",
            ),
            ("sum_over_time(timestamp(a)[1h:1m])", "sum_over_time(timestamp(a)[1h:1m] @ 90.000)"),
        ] {
            assert_eq!(pinned_at_90s(query).as_deref(), Some(wanted), "{query}");
        }
    }

    #[test]
    fn what_asks_for_the_time_is_not_asked_again() {
        for query in
            ["time()", "a + time()", "hour()", "timestamp(a)", "predict_linear(a[5m], 60)", "vector(step())"]
        {
            assert_eq!(pinned_at_90s(query), None, "{query}");
        }
    }

    #[test]
    fn times_lie_on_both_sides() {
        assert_eq!(times(0), [-1000, 0, 1000]);
        assert_eq!(times(300_000), [-3_000_000, 0, 60_000, 300_000, 3_000_000]);
    }
}
