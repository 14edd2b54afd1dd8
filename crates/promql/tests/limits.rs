//! Memory is charged before it is taken, and a query stops when it is told to.

use model::select::Stop;
use model::{Budget, Labels};
use promql::{EvalError, MemorySource, Params, Syntax, evaluate, parse_with};

fn source(series: usize) -> MemorySource {
    let mut source = MemorySource::new();
    for number in 0..series {
        let labels = Labels::from_pairs([("__name__", "m"), ("n", &number.to_string())]);
        for minute in 0..10 {
            source.push(&labels, minute * 60_000, minute as f64);
        }
    }
    source
}

fn run(query: &str, params: &Params, budget: &Budget) -> Result<promql::Answer, EvalError> {
    evaluate(&source(100), &parse_with(query, &Syntax::all()).unwrap(), params, budget)
}

/// Each held its compiled pattern, of up to 8 MiB, while those within it did the same: 200 of them, charged to nobody.
#[test]
fn patterns_of_nested_replacements_are_charged() {
    let nested = |levels: usize| {
        let pattern = r".{900}[\\x{100}-\\x{17f}]";
        let end = format!(", \"a\", \"b\", \"n\", \"{pattern}\")");
        "label_replace(".repeat(levels) + "m" + &end.repeat(levels)
    };
    let at = Params::instant(540_000);
    let result = |levels| run(&nested(levels), &at, &Budget::new(16 << 20)).map(|_| ());
    assert_eq!(result(1), Ok(()));
    assert_eq!(result(20), Err(EvalError::Stop(Stop::OverBudget { limit: 16 << 20 })));
}

#[test]
fn hostile_queries_are_refused_by_their_budget() {
    let minutes = Params::range(0, 540_000, 60_000);
    for (query, params) in [
        ("avg_over_time(m[30d:1s])", Params::instant(2_592_000_000)),
        ("avg_over_time(vector(1)[10y:1ms])", Params::instant(0)),
        ("max_over_time(max_over_time(m[30d:1s])[30d:1s])", Params::instant(2_592_000_000)),
        ("m", Params::range(0, 1_000_000_000, 1)),
        ("1", Params::range(0, i64::MAX / 2, 1)),
        ("1 + (time() + (2 * time()))", Params::range(0, 1_000_000_000, 1)),
        ("count_values(\"v\", m * on (n) group_left vector(1)) or m[1d:1s] @ 5 offset -1d", minutes),
        ("rate(m[5m])", Params::range(0, 100_000_000, 1)),
    ] {
        let Ok(expr) = parse_with(query, &Syntax::all()) else { continue };
        let budget = Budget::new(4 << 20);
        let result = evaluate(&source(100), &expr, &params, &budget);
        assert!(matches!(result, Err(EvalError::Stop(Stop::OverBudget { .. }))), "{query}: {result:?}");
    }
}

#[test]
fn what_an_evaluation_took_for_itself_it_gives_back() {
    let budget = Budget::new(64 << 20);
    let minutes = Params::range(0, 540_000, 60_000);
    for query in ["sum(m) + 1", "m * m", "topk(3, m) or m", "sum_over_time(m[5m:1m])", "rate(m[5m]) > 0"] {
        let before = budget.used();
        run(query, &minutes, &budget).unwrap();
        // The source keeps what it charged for the samples it handed over.
        let samples = 4 * 100 * 10 * 64;
        assert!(budget.used() - before <= samples, "{query} holds {} bytes", budget.used() - before);
    }
}

#[test]
fn times_at_the_edges_are_times() {
    for query in [
        "m",
        "rate(m[5m])",
        "m offset 5m",
        "m offset -5m",
        "m @ 9e15",
        "m @ -9e15",
        "sum_over_time(m[5m:1m])",
        "avg_over_time(m[292y])",
        "max_over_time(m[1h:1m] @ -9e15 offset 292y)",
        "minute()",
        "year(vector(1e300))",
        "timestamp(m)",
        "absent(m)",
        "predict_linear(m[1h], 1e300)",
        "increase(m[1h] anchored)",
        "m smoothed",
        "rate(m[1h] smoothed)",
        "range()",
        "m[step() + range() + 1]",
        "irate(m[5m] @ end())",
        "topk(2, m)",
    ] {
        let expr = parse_with(query, &Syntax::all()).unwrap();
        for at in [i64::MIN, i64::MIN + 1, -1, 0, 540_000, i64::MAX - 1, i64::MAX] {
            let budget = Budget::new(1 << 20);
            let _ = evaluate(&source(3), &expr, &Params::instant(at), &budget);
            let _ = evaluate(&source(3), &expr, &Params::range(at, i64::MAX, i64::MAX / 3), &budget);
            let _ = evaluate(&source(3), &expr, &Params::range(i64::MIN, at, i64::MAX / 3), &budget);
            let _ = evaluate(&source(3), &expr, &Params::range(at, at, 1), &budget);
        }
    }
}

#[test]
fn a_cancelled_query_stops() {
    let budget = Budget::new(64 << 20);
    budget.cancel();
    let result = run("sum(m)", &Params::instant(60_000), &budget);
    assert_eq!(result, Err(EvalError::Stop(Stop::Cancelled)));
}

#[test]
fn errors_say_whose_they_are() {
    let budget = Budget::new(64 << 20);
    let minutes = Params::range(0, 540_000, 60_000);
    assert!(matches!(run("m[5m]", &minutes, &budget), Err(EvalError::Invalid(_))));
    assert!(matches!(run("'text'", &minutes, &budget), Err(EvalError::Invalid(_))));
    assert!(matches!(run("rate(m[step()])", &Params::instant(0), &budget), Err(EvalError::Invalid(_))));
    assert!(matches!(
        run("label_replace(m, 'a', 'b', 'c', '(')", &minutes, &budget),
        Err(EvalError::Execution(_))
    ));
}

#[test]
fn selectors_can_be_listed() {
    let expr = parse_with("sum(rate(a[5m])) / on (x) b{y='z'} + count(c[1h:])", &Syntax::all());
    assert!(expr.is_err(), "a subquery is no vector");
    let expr = parse_with("sum(rate(a[5m])) / on () max_over_time(b{y='z'}[1h:])", &Syntax::all()).unwrap();
    let names: Vec<_> = expr.selectors().map(|selector| selector.name.clone().unwrap()).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(promql::matchers_of_selector("up{job='x'}").unwrap().len(), 2);
    assert!(promql::matchers_of_selector("up{job='x'}[5m]").is_err());
    assert!(promql::matchers_of_selector("{job=~'.*'}").is_err());
    assert!(promql::matchers_of_selector("sum(up)").is_err());
}

#[test]
fn regular_expressions_share_one_limit() {
    let large = |count: usize| {
        let matchers: Vec<String> = (0..count).map(|n| format!("l{n}=~`\\pL{{100}}x{n}`")).collect();
        promql::parse(&format!("m{{{}}}", matchers.join(","))).map(|_| ()).map_err(|error| error.message)
    };
    assert_eq!(large(2), Ok(()));
    let error = large(20).unwrap_err();
    assert!(error.contains("need more than 33554432 bytes together"), "{error}");
    // A list of words takes next to nothing.
    let words: Vec<String> = (0..10_000).map(|n| format!("host-{n}")).collect();
    assert!(promql::parse(&format!("m{{l=~\"{}\"}}", words.join("|"))).is_ok());
}

#[test]
fn labels_that_are_made_are_labels() {
    let budget = Budget::new(64 << 20);
    let replaced = |replacement: String| {
        let query = format!("label_replace(m, 'a', '{replacement}', 'n', '(.*)')");
        run(&query, &Params::instant(60_000), &budget).map(|_| ())
    };
    assert_eq!(replaced("x".repeat(16_383)), Ok(()));
    for replacement in ["x".repeat(16_384), "$1".repeat(100_000)] {
        let error = replaced(replacement).unwrap_err().to_string();
        assert!(error.contains("label_replace() makes a value of over 16383 bytes"), "{error}");
    }
    let joined = format!("label_join(m, 'a', '{}', 'i', 'i', 'i')", "x".repeat(9_000));
    let error = run(&joined, &Params::instant(60_000), &budget).unwrap_err().to_string();
    assert!(error.contains("label_join() makes a value"), "{error}");
}
