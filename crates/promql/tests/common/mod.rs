//! Expressions of every construct of the language, put together by chance.

use promql::ValueType;
use proptest::prelude::*;

fn label() -> impl Strategy<Value = String> {
    prop_oneof!["[a-c]", Just("\"x.y\"".to_owned()), Just("by".to_owned()), Just("\"ü z\"".to_owned())]
}

fn labels() -> impl Strategy<Value = String> {
    prop::collection::vec(label(), 0..3).prop_map(|labels| labels.join(","))
}

fn duration() -> impl Strategy<Value = String> {
    prop_oneof![
        "[1-9][0-9]{0,2}(ms|s|m|h|d|w)",
        Just("90".to_owned()),
        Just("0x10".to_owned()),
        Just("1h30m5s3ms".to_owned()),
        Just("(step() + 5m)".to_owned()),
        Just("2m * (10 + 5) / 3 % 7 ^ 2".to_owned()),
        Just("max_of(1m, range() * 2)".to_owned()),
        Just("min_of(step(), 30)".to_owned()),
    ]
}

/// Offsets may also lie in the future.
fn offset() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => Just(String::new()),
        2 => duration().prop_map(|d| format!(" offset ({d})")),
        1 => "[1-9][0-9]{0,2}(s|m|h)".prop_map(|d| format!(" offset -{d}")),
        1 => Just(" offset -(step() * 2)".to_owned()),
        1 => Just(" offset 50".to_owned()),
    ]
}

fn modifiers() -> impl Strategy<Value = String> {
    let at = prop::sample::select(vec!["", "", " @ 12.5", " @ -3", " @ 0x10", " @ start()", " @ end()"]);
    (at, offset(), any::<bool>()).prop_map(
        |(at, offset, swapped)| {
            if swapped { offset + at } else { at.to_owned() + &offset }
        },
    )
}

fn selector() -> impl Strategy<Value = String> {
    let name =
        prop_oneof!["[m-o]", Just("a:b".to_owned()), Just("fill".to_owned()), Just("start".to_owned())];
    let matcher = prop::sample::select(vec![
        "",
        "{}",
        "{a=\"1\"}",
        "{a!~\"x.*\",b=\"\\\"\\n\"}",
        "{\"x.y\"=~\"ü\"}",
        "{by!='', on=`\\d`,}",
        "{a!=\"3\",a=\"1\",b=\"2\"}",
    ]);
    let quoted =
        prop::sample::select(vec!["{\"a.b\"}", "{\"ü\", c=\"d\"}", "{__name__=~\"a|b\"}", "{\"m\", \"o\"}"]);
    prop_oneof![3 => (name, matcher).prop_map(|(name, matcher)| name + matcher), 1 => quoted.prop_map(str::to_owned)]
}

/// A scalar: literals in all their forms, functions, arithmetic.
fn scalar() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "1",
        "-2.5",
        "0x1F",
        "0755",
        "1_000",
        "1e-7",
        "1e21",
        "inf",
        "-inf",
        "nan",
        "5m",
        "-1h30m",
        "+3",
        "time()",
        "pi()",
        "scalar(m)",
        "(1 + 2) * 3",
        "1 > bool 2",
        "-time()",
        "step()",
        "range()",
        "start()",
        "end()",
        "max_of(1, 2)",
    ])
    .prop_map(str::to_owned)
}

fn cardinality() -> impl Strategy<Value = String> {
    let side = prop::sample::select(vec!["", " group_left", " group_left (z)", " group_right (z, \"y.z\")"]);
    let fill = prop::sample::select(vec![
        "",
        " fill (0)",
        " fill_left (1)",
        " fill_right (-1)",
        " fill_left (1) fill_right (2)",
        " fill (NaN)",
        " fill_right (1e300)",
    ]);
    let word = prop::sample::select(vec!["on", "ignoring"]);
    (word, labels(), side, fill)
        .prop_map(|(word, labels, side, fill)| format!(" {word} ({labels}){side}{fill}"))
}

/// An aggregation that has no parameter, or has one.
fn aggregation() -> impl Strategy<Value = (String, String)> {
    let name = prop::sample::select(vec![
        "sum (",
        "avg (",
        "count (",
        "min (",
        "max (",
        "group (",
        "stddev (",
        "stdvar (",
        "topk (2, ",
        "bottomk (2, ",
        "quantile (0.5, ",
        "count_values (\"v\", ",
        "limitk (1, ",
        "limit_ratio (-0.5, ",
    ]);
    let word = prop::sample::select(vec!["by", "without"]);
    (name, word, labels()).prop_map(|(name, word, labels)| {
        let (name, open) = name.split_once(' ').unwrap();
        (format!("{name} {word} ({labels}) {open}"), ")".to_owned())
    })
}

/// A call of one of all functions that take a vector or a range, without what is in its middle.
fn call(takes: ValueType) -> impl Strategy<Value = (String, String)> {
    let calls = promql::functions::all().iter().filter_map(move |function| {
        let at = function.args.iter().position(|arg| *arg == takes)?;
        let filler = |arg: &ValueType| match arg {
            ValueType::Scalar => "0.5",
            ValueType::String => "\"a\"",
            ValueType::Vector => "m",
            ValueType::Matrix => "m[5m]",
        };
        let before: String = function.args[..at].iter().map(|arg| format!("{}, ", filler(arg))).collect();
        let last = function.args.len() - usize::from(function.variadic != 0 && at + 1 < function.args.len());
        let after: String =
            function.args[at + 1..last.max(at + 1)].iter().map(|arg| format!(", {}", filler(arg))).collect();
        Some((format!("{}({before}", function.name), format!("{after})")))
    });
    prop::sample::select(calls.collect::<Vec<_>>())
}

/// Any instant vector expression.
fn vector() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        (selector(), modifiers()).prop_map(|(s, m)| s + &m),
        (selector(), modifiers()).prop_map(|(s, m)| format!("{s} smoothed{m}")),
        (call(ValueType::Matrix), selector(), duration(), modifiers())
            .prop_map(|((f, g), s, d, m)| format!("{f}{s}[{d}]{m}{g}")),
        (selector(), duration(), modifiers()).prop_map(|(s, d, m)| format!("increase({s}[{d}] anchored{m})")),
        (selector(), duration(), modifiers()).prop_map(|(s, d, m)| format!("delta({s}[{d}]{m} smoothed)")),
        scalar().prop_map(|s| format!("vector({s})")),
    ];
    leaf.prop_recursive(5, 24, 3, |inner| {
        let op = prop::sample::select(vec![
            "+", "-", "*", "/", "%", "^", "atan2", "==", "!=", "<", ">", "<=", ">= bool", "and", "or",
            "unless", "</", ">/",
        ]);
        let one_to_one = prop::sample::select(vec!["+", "-", "*", "/", "^", "==", "< bool", "</"]);
        let set = prop::sample::select(vec!["and", "or", "unless"]);
        let sign = prop::sample::select(vec!["-", "+"]);
        prop_oneof![
            inner.clone().prop_map(|e| format!("({e})")),
            (sign, inner.clone()).prop_map(|(sign, e)| format!("{sign}{e}")),
            (inner.clone(), scalar()).prop_map(|(e, s)| format!("{e} ^ {s}")),
            (scalar(), inner.clone()).prop_map(|(s, e)| format!("{s} * {e}")),
            (inner.clone(), op, inner.clone()).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
            (inner.clone(), one_to_one, cardinality(), inner.clone())
                .prop_map(|(a, op, how, b)| format!("{a} {op}{how} {b}")),
            (inner.clone(), set, labels(), inner.clone())
                .prop_map(|(a, op, l, b)| format!("{a} {op} ignoring ({l}) {b}")),
            (aggregation(), inner.clone()).prop_map(|((f, g), e)| format!("{f}{e}{g}")),
            (call(ValueType::Vector), inner.clone()).prop_map(|((f, g), e)| format!("{f}{e}{g}")),
            (call(ValueType::Matrix), inner.clone(), duration(), prop::option::of(duration()), modifiers())
                .prop_map(|((f, g), e, r, s, m)| format!("{f}({e})[{r}:{}]{m}{g}", s.unwrap_or_default())),
            inner.prop_map(|e| format!("label_replace({e}, \"a\", \"$1\", 'b', `(.*)`)")),
        ]
    })
}

/// Any expression.
pub(crate) fn expression() -> impl Strategy<Value = String> {
    let string = prop::sample::select(vec!["'a'", "`\\n`", "\"\\xff\\u00fc\"", "\"\\\"\"", "\"ü\\t\""]);
    prop_oneof![
        12 => vector(),
        1 => scalar(),
        1 => string.prop_map(str::to_owned),
        1 => (selector(), duration(), modifiers()).prop_map(|(s, d, m)| format!("{s}[{d}]{m}")),
        1 => (vector(), duration(), modifiers()).prop_map(|(e, d, m)| format!("({e})[{d}:]{m}")),
    ]
}
