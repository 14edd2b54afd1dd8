//! The language: what is read, how errors read, and that nothing a client sends can do harm.

mod common;

use std::time::Duration;

use promql::{Syntax, parse, parse_with};
use proptest::prelude::*;
use proptest::strategy::ValueTree;

#[track_caller]
fn error(text: &str) -> String {
    parse_with(text, &Syntax::all()).err().unwrap_or_else(|| panic!("{text} should be an error")).to_string()
}

#[test]
fn errors_read_as_upstreams_do() {
    for (query, message) in [
        ("", "1:1: parse error: no expression found in input"),
        ("1 +", "1:4: parse error: unexpected end of input"),
        ("(1", "1:3: parse error: unclosed left parenthesis"),
        ("1)", "1:3: parse error: unexpected right parenthesis ')'"),
        ("foo bar", "1:5: parse error: unexpected identifier \"bar\""),
        ("*1", "1:1: parse error: unexpected <op:*>"),
        ("foo{a}", "1:6: parse error: unexpected \"}\" in label matching, expected label matching operator"),
        ("foo{a=1}", "1:7: parse error: unexpected character inside braces: '1'"),
        ("foo{a=\"b\"", "1:10: parse error: unexpected end of input inside braces"),
        ("{}", "1:1: parse error: vector selector must contain at least one non-empty matcher"),
        ("{a=~\".*\"}", "1:1: parse error: vector selector must contain at least one non-empty matcher"),
        ("up{\"down\"}", "1:1: parse error: metric name must not be set twice: \"up\" or \"down\""),
        ("nope(up)", "1:1: parse error: unknown function with name \"nope\""),
        (
            "rate(up)",
            "1:6: parse error: expected type range vector in call to function \"rate\", got instant vector",
        ),
        ("rate(up[5m], 1)", "1:1: parse error: expected 1 argument(s) in call to \"rate\", got 2"),
        (
            "label_join(up, \"a\")",
            "1:1: parse error: expected at least 3 argument(s) in call to \"label_join\", got 2",
        ),
        ("sum(1)", "1:5: parse error: expected type instant vector in aggregation expression, got scalar"),
        (
            "topk(up)",
            "1:1: parse error: wrong number of arguments for aggregate expression provided, expected 2, got 1",
        ),
        ("1 == 1", "1:3: parse error: comparisons between scalars must use BOOL modifier"),
        ("up + bool 1", "1:4: parse error: bool modifier can only be used on comparison operators"),
        ("1 and up", "1:1: parse error: set operator \"and\" not allowed in binary scalar expression"),
        ("a and on(x) group_left(y) b", "1:1: parse error: no grouping allowed for \"and\" operation"),
        (
            "a + on(x) group_left(x) b",
            "1:3: parse error: label \"x\" must not occur in ON and GROUP clause at once",
        ),
        ("up[", "1:4: parse error: unexpected end of input in duration expression"),
        ("up[5m", "1:6: parse error: unclosed left bracket"),
        ("up[5m x 5m]", "1:7: parse error: unexpected character: 'x', expected ':'"),
        ("up[x]", "1:4: parse error: unexpected character in duration expression: 'x'"),
        ("up[5m:1m:1m]", "1:9: parse error: unexpected colon ':'"),
        ("up[:1m]", "1:5: parse error: unexpected colon before duration in duration expression"),
        ("up[step():1m]", "1:11: parse error: unexpected colon before duration in duration expression"),
        ("up[(range()):]", "1:14: parse error: unexpected colon before duration in duration expression"),
        (
            "rate(up[1m]) + up[:1m]",
            "1:19: parse error: unexpected \":\" in subquery or range selector, \
                                expected number, duration, step(), or range()",
        ),
        ("up[0s]", "1:4: parse error: duration must be greater than 0"),
        ("(up)[5m]", "1:5: parse error: ranges only allowed for vector selectors"),
        ("up offset 5m[5m]", "1:13: parse error: no offset modifiers allowed before range"),
        ("up offset 1m offset 1m", "1:1: parse error: offset may not be set multiple times"),
        (
            "sum(up) offset 1m",
            "1:1: parse error: offset modifier must be preceded by an instant vector selector or \
                                range vector selector or a subquery",
        ),
        ("up @ start() @ 5", "1:1: parse error: @ <timestamp> may not be set multiple times"),
        ("up @ inf", "1:1: parse error: timestamp out of bounds for @ modifier: +Inf"),
        (
            "1 + \n up[5m]",
            "2:2: parse error: binary expression must contain only scalar and instant vector types",
        ),
        (
            "1e400",
            "1:1: parse error: error parsing number: strconv.ParseFloat: parsing \"1e400\": value out of range",
        ),
        ("100..4", "1:1: parse error: bad number or duration syntax: \"100..\""),
        ("0de", "1:1: parse error: bad number or duration syntax: \"0de\""),
        ("foo[5m1]", "1:5: parse error: bad number or duration syntax: \"5m1\""),
        ("foo[5mm]", "1:5: parse error: bad number or duration syntax: \"5mm\""),
        ("foo[5y1hs]", "1:5: parse error: unknown unit \"hs\" in duration \"5y1hs\""),
        ("foo[1m1h]", "1:5: parse error: not a valid duration string: \"1m1h\""),
        ("'a\\q'", "1:1: parse error: unknown escape sequence U+0071 'q'"),
        ("\"a", "1:1: parse error: unterminated quoted string"),
    ] {
        assert_eq!(error(query), message, "{query}");
    }
}

#[test]
fn literals_that_are_errors() {
    for query in ["0b1", "0x1p3", "1_", "1__0", "1.5m", "1h1h", "1e", "08m1", "5mm"] {
        assert!(parse(query).is_err(), "{query}");
    }
}

#[test]
fn words_are_names_where_they_can_be() {
    for query in [
        "sum",
        "offset",
        "by + on",
        "start + end",
        "step",
        "anchored",
        "fill + fill_left",
        "sum by (on, bool, group_left) (x)",
        "{\"up\",\"down\"}",
        "up{\"\"=\"x\"}",
        "1 + on() 1",
        "{\"a.b\", \"c d\"=\"e\"}",
        "count(count)",
        "min(max)",
    ] {
        // `on` alone is the modifier; everything else is a name.
        if query == "by + on" {
            assert!(parse(query).is_err());
            continue;
        }
        assert!(parse_with(query, &Syntax::all()).is_ok(), "{query}: {}", error(query));
    }
}

/// Upstream has forgotten to say that `step()` is a duration, and remembers one from other brackets.
#[test]
fn a_colon_stands_behind_a_number_of_these_brackets_or_of_earlier_ones() {
    assert!(parse("up[step():1m]").is_err());
    for query in ["up[step() + 1:1m]", "up[min_of(step(), 30):]", "rate(up[1m]) + rate(up[step():1m])"] {
        assert!(parse(query).is_ok(), "{query}: {}", error(query));
    }
}

#[test]
fn experimental_parts_are_off_by_default() {
    for query in
        ["mad_over_time(x[5m])", "limitk(1, x)", "x + fill(1) y", "x anchored", "rate(x[5m] smoothed)"]
    {
        assert!(parse(query).is_err(), "{query}");
        assert!(parse_with(query, &Syntax::all()).is_ok(), "{query}");
    }
}

/// Runs on the stack that a worker thread has.
fn within(limit: Duration, work: impl FnOnce() + Send + 'static) {
    let (done, wait) = std::sync::mpsc::sync_channel(1);
    std::thread::Builder::new()
        .stack_size(4 << 20)
        .spawn(move || {
            work();
            done.send(()).unwrap();
        })
        .unwrap();
    wait.recv_timeout(limit).expect("should be done in time");
}

#[test]
fn long_and_deep_queries_are_answered_or_refused_at_once() {
    within(Duration::from_secs(5), || {
        let chain = vec!["1"; 20_000].join("+");
        let expr = parse(&chain).unwrap();
        assert_eq!(expr.to_string().len(), 20_000 + 3 * 19_999);
        let source = promql::MemorySource::new();
        let budget = model::Budget::new(1 << 30);
        let answer = promql::evaluate(&source, &expr, &promql::Params::instant(0), &budget).unwrap();
        assert_eq!(answer.value, promql::Value::Scalar(0, 20_000.0));
        drop(expr.clone());

        let vectors = vec!["x"; 20_000].join(" or ");
        let expr = parse(&vectors).unwrap();
        promql::evaluate(&source, &expr, &promql::Params::range(0, 600_000, 60_000), &budget).unwrap();

        for deep in [
            "(".repeat(200_000) + "1" + &")".repeat(200_000),
            "(".repeat(60_000) + "1" + &")".repeat(60_000),
            "-".repeat(100_000) + "1",
            vec!["1"; 50_000].join("^"),
            "abs(".repeat(50_000) + "x",
            "x[".repeat(50_000),
            "x[".to_owned() + &"(".repeat(50_000),
            "sum by (a) (".repeat(10_000),
            "{a=\"".repeat(10_000),
        ] {
            assert!(parse(&deep).is_err());
        }
    });
}

#[test]
fn what_is_long_or_deep_and_allowed_is_printed_and_evaluated() {
    let nested = |levels: usize, open: &str, inner: &str, close: &str| {
        open.repeat(levels) + inner + &close.repeat(levels)
    };
    let list = |count: usize, each: fn(usize) -> String| (0..count).map(each).collect::<Vec<_>>().join(", ");
    let chain = |operator: &str, operand: &str| vec![operand; 20_000].join(operator);
    for query in [
        chain(" + ", "x"),
        chain(" > ", "x"),
        chain(" and ", "x"),
        chain(" * on (a) ", "x"),
        chain(" < bool ", "1"),
        chain(" - ", "-1"),
        nested(150, "-", "x", ""),
        nested(150, "(", "x", ")"),
        nested(90, "-(", "x", ")"),
        nested(90, "sum by (a) (", "x", ")"),
        nested(60, "max_over_time(", "x", "[5m:1m])"),
        nested(40, "rate(", "x[5m]", "[5m:1m] offset 1m @ end())").replacen("x[5m][5m:1m]", "x[5m]", 1),
        format!("sum by ({}) (x)", list(20_000, |i| format!("a{i}"))),
        format!("x + on ({}) x", list(20_000, |i| format!("a{i}"))),
        format!("x{{{}}}", list(5_000, |i| format!("a{i}=~\"b|c{i}\""))),
        format!("label_join(x, \"a\", \",\", {})", list(10_000, |i| format!("\"a{i}\""))),
        format!("x{{a=\"{}\"}}", "b".repeat(200_000)),
        format!("x offset ({})", vec!["1m"; 20_000].join(" + ")),
        "x #".to_owned() + &"\n #".repeat(80_000),
    ] {
        let shown = query.chars().take(40).collect::<String>();
        within(Duration::from_secs(5), move || {
            let mut source = promql::MemorySource::new();
            source.push(&model::Labels::from_pairs([("__name__", "x"), ("a", "b")]), 590_000, 1.0);
            let expr = parse(&query).unwrap_or_else(|error| panic!("{shown}: {error}"));
            let printed = expr.to_string();
            assert_eq!(parse(&printed).unwrap().to_string(), printed, "{shown}");
            for params in [promql::Params::instant(600_000), promql::Params::range(0, 600_000, 60_000)] {
                let budget = model::Budget::new(1 << 30);
                promql::evaluate(&source, &expr, &params, &budget)
                    .unwrap_or_else(|error| panic!("{shown}: {error}"));
            }
        });
    }
}

#[test]
fn a_query_as_deep_as_allowed_is_evaluated() {
    within(Duration::from_secs(5), || {
        let depth = promql::DEPTH_MAX - 2;
        let expr = parse(&("(".repeat(depth) + "1" + &")".repeat(depth))).unwrap();
        let budget = model::Budget::new(1 << 20);
        let source = promql::MemorySource::new();
        let answer = promql::evaluate(&source, &expr, &promql::Params::instant(0), &budget).unwrap();
        assert_eq!(answer.value, promql::Value::Scalar(0, 1.0));
        let calls = promql::DEPTH_MAX / 2 - 2;
        let nested = "abs(".repeat(calls) + "vector(1)" + &")".repeat(calls);
        promql::evaluate(&source, &parse(&nested).unwrap(), &promql::Params::instant(0), &budget).unwrap();
    });
}

#[track_caller]
fn round_trip(text: &str) {
    let expr = parse_with(text, &Syntax::all()).unwrap_or_else(|e| panic!("{text}: {e}"));
    let printed = expr.to_string();
    let again =
        parse_with(&printed, &Syntax::all()).unwrap_or_else(|e| panic!("{text} printed as {printed}: {e}"));
    assert_eq!(again.to_string(), printed, "{text}");
    // NaN is no equal of itself; its text is compared above.
    assert!(again == expr || printed.contains("NaN"), "{text} printed as {printed}\n{expr:?}\n{again:?}");
}

#[test]
fn printing_is_upstreams() {
    for (query, printed) in [
        ("sum(x)by(a , b)", "sum by (a, b) (x)"),
        ("a+on(x)group_left b", "a + on (x) group_left () b"),
        ("rate(x{b='1',a=~\"2\"}[300s]offset 1h@5)", "rate(x{a=~\"2\",b=\"1\"}[5m] @ 5.000 offset 1h)"),
        ("x[1h:]", "x[1h:]"),
        ("x[1h:5m]offset -1m", "x[1h:5m] offset -1m"),
        ("-x^2", "-x ^ 2"),
        ("1m", "1m"),
        ("x offset (step()*2)", "x offset (step() * 2)"),
        ("{\"a b\"}", "{__name__=\"a b\"}"),
        ("max without() (x)", "max without () (x)"),
        ("x + fill(0) y", "x + fill (0) y"),
        ("inf + x", "+Inf + x"),
        ("inf ^ x", "Inf ^ x"),
    ] {
        assert_eq!(parse_with(query, &Syntax::all()).unwrap().to_string(), printed);
        // Matchers are printed in order of their text.
        round_trip(printed);
    }
}

/// Some of what is put together does not fit together: a set operator takes no `fill`, nobody may group by a label that
/// both sides share. The rest, and that is most, must come back.
#[test]
fn printing_and_parsing_again_gives_the_same_tree() {
    let mut runner = proptest::test_runner::TestRunner::default();
    let (mut read, mut refused) = (0, std::collections::BTreeMap::<String, usize>::new());
    for _ in 0..4000 {
        let query = common::expression().new_tree(&mut runner).unwrap().current();
        match parse_with(&query, &Syntax::all()) {
            Ok(_) => {
                round_trip(&query);
                read += 1;
            }
            Err(error) => *refused.entry(error.message).or_default() += 1,
        }
    }
    assert!(read > 3000, "only {read} of 4,000 are read: {refused:#?}");
}

proptest! {
    #[test]
    fn no_text_does_harm(text in "\\PC{0,60}") {
        let _ = parse_with(&text, &Syntax::all());
    }

    #[test]
    fn no_text_of_the_languages_own_pieces_does_harm(
        pieces in prop::collection::vec(
            prop::sample::select(vec![
                "(", ")", "[", "]", "{", "}", ",", ":", "5m", "1", "x", "sum", "rate", "by", "on", "offset", "@",
                "-", "^", "\"a\"", "=", "=~", "bool", "start", "step", "min_of", "fill", "anchored", "0x", "#", "\n", "'",
            ]),
            0..30,
        ),
        glue in prop::sample::select(vec!["", " "]),
    ) {
        let text = pieces.join(glue);
        if let Ok(expr) = parse_with(&text, &Syntax::all()) {
            // What can be parsed can be evaluated, to an answer or an error.
            let source = promql::MemorySource::new();
            let budget = model::Budget::new(1 << 20);
            let _ = promql::evaluate(&source, &expr, &promql::Params::range(0, 120_000, 60_000), &budget);
            let _ = expr.to_string();
        }
    }

    #[test]
    fn no_pattern_does_harm(pattern in "[a-c()|*+?{}0-9,\\[\\]\\\\^$.:<>PQEdwsbpx!&~-]{0,24}") {
        let _ = model::re2::Anchored::new(&pattern);
    }
}
