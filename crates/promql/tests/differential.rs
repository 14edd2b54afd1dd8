//! Another parser of PromQL in Rust, of other hands: what it reads we read, what it refuses we refuse, and what both read
//! means the same. Where they differ and why stands in a table; nearly always it has not caught up with Prometheus.

mod common;

use std::path::Path;

use promql::{Syntax, parse_with};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use regex::Regex;

/// In what the two differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Differs {
    /// We read it, they refuse it. The pattern is one of the query.
    WeRead,
    /// They read it, we refuse it. The pattern is one of our error.
    TheyRead,
    /// Both read it, and their tree is another. The pattern is one of the text that we print.
    Tree,
}
use Differs::{TheyRead, Tree, WeRead};

/// A way of differing: what, the pattern by which it is known, an example and the reason. In all of them it is we who do
/// as Prometheus 3.14 does.
const DIFFERENCES: [(Differs, &str, &str, &str); 26] = [
    (WeRead, r"(?i)\b(smoothed|anchored)\b", "up smoothed", "their grammar has no extended ranges"),
    (WeRead, r"</|>/", "up </ 1", "their grammar has no trim operators"),
    (WeRead, r"\[[^\]]*[-+*/%^(]", "up[1m + 1m]", "they have no arithmetic of durations, in brackets"),
    (WeRead, r"(?i)\boffset[-+\s(]*[a-z]+_?[a-z]*\(", "up offset step()", "nor functions, in offsets"),
    (WeRead, r"(?i)\boffset\s*[-+]?\s*\(", "up offset (1m + 1m)", "nor parentheses"),
    (WeRead, r"(?i)\boffset\s*[-+]\s*[-+]", "up offset --1m", "nor signs of signed durations"),
    (WeRead, r"(?i)\b0+(ms|[smhdwy])\b", "up offset 0s", "only a range has to be longer than 0"),
    (WeRead, r"`[^`]*\\", r"up{a=`\d`}", "a backslash between backquotes is one"),
    (WeRead, r"[0-9a-fA-F]_[0-9a-fA-F]", "1_000", "underscores may part digits"),
    (WeRead, r"\b0[0-9]+e", "02e-6", "a leading zero makes no octal of what has an exponent"),
    (WeRead, r"\binfo\s*\(", r#"info(up, {a=~".*"})"#, "the labels that `info` takes may all be empty"),
    (
        WeRead,
        r"[=!]~[^}]*(\\Q|\(\?\)|\{\{)",
        r#"up{a=~"\\Qb"}"#,
        "what Go's patterns may be and Rust's may not",
    ),
    (TheyRead, "duration must be greater than 0", "up[0]", "they look at durations with a unit only"),
    (TheyRead, "error parsing regexp", r#"up{a=~"b**"}"#, "what Rust's patterns may be and Go's may not"),
    (TheyRead, "expected label selectors only", "info(up, up)", "`info` takes labels and no name"),
    (
        TheyRead,
        "expected type scalar in aggregation param",
        "limitk(up, up)",
        "they do not look at what newer aggregations take",
    ),
    (TheyRead, "value out of range", "1e400", "no literal is infinite by its size"),
    (
        TheyRead,
        "unary expression only allowed on",
        r#"+"a""#,
        "they drop a `+` before they look what it stands on",
    ),
    (TheyRead, "not allowed for set operators", "up and fill(1) up", "a set operator has nothing to fill in"),
    (
        TheyRead,
        "timestamp out of bounds for @",
        "up @ 1e300",
        "their time holds what 64 bits of milliseconds do not",
    ),
    (TheyRead, r#"unknown function with name "integral""#, "integral(up[5m])", "a function of theirs"),
    (Tree, r"\+[^ I]", "+up", "a `+` is part of the tree"),
    (
        Tree,
        r"(^|[(,] ?| [-+*/%^=<>]+ |bool )[-+]*([0-9]+(ms|[smhdwy]))+",
        "5m",
        "a number is printed as it was written",
    ),
    (Tree, r"\\x", r#""\xff""#, "a string is bytes, which need not be text"),
    (Tree, r"@ -", "up @ -3", "there was time before 1970"),
    (
        Tree,
        r"ignoring \(\) group_",
        "up + ignoring () group_left () up",
        "a grouping needs its `ignoring ()`",
    ),
];

/// What is no PromQL, a query a line.
const MALFORMED: &str = include_str!("malformed.queries");

/// Compares the two on one query after the other.
struct Comparison {
    differences: Vec<(Differs, Regex)>,
    /// Queries that both read as the same tree, and that both refuse.
    read: usize,
    refused: usize,
    unknown: Vec<String>,
}

impl Comparison {
    fn new() -> Self {
        let differences = DIFFERENCES.map(|(differs, pattern, ..)| (differs, Regex::new(pattern).unwrap()));
        Self { differences: differences.into(), read: 0, refused: 0, unknown: Vec::new() }
    }

    fn compare(&mut self, query: &str) {
        match difference(query) {
            Ok(true) => self.read += 1,
            Ok(false) => self.refused += 1,
            Err((differs, sign, shown)) => {
                let is_known =
                    |(known, pattern): &(Differs, Regex)| *known == differs && pattern.is_match(&sign);
                if !self.differences.iter().any(is_known) {
                    self.unknown.push(format!("{differs:?} {query}\n    {shown}"));
                }
            }
        }
    }

    #[track_caller]
    fn check(&self) {
        let shown = self.unknown.iter().take(20).map(String::as_str).collect::<Vec<_>>().join("\n");
        assert!(
            self.unknown.is_empty(),
            "{} differences that are not in the table:\n{shown}",
            self.unknown.len()
        );
    }
}

/// Whether both read the query, or how they differ on it, with the text that a pattern is to be found in.
fn difference(query: &str) -> Result<bool, (Differs, String, String)> {
    match (parse_with(query, &Syntax::all()), promql_parser::parser::parse(query)) {
        (Err(_), Err(_)) => Ok(false),
        (Ok(_), Err(theirs)) => Err((WeRead, query.to_owned(), theirs)),
        (Err(ours), Ok(_)) => Err((TheyRead, ours.to_string(), ours.to_string())),
        (Ok(ours), Ok(theirs)) => {
            let (ours, theirs) = (ours.to_string(), theirs.to_string());
            match parse_with(&theirs, &Syntax::all()).map(|again| again.to_string()) {
                Ok(again) if again == ours => Ok(true),
                Ok(again) => Err((Tree, ours, again)),
                Err(error) => Err((Tree, ours, format!("{theirs}: {error}"))),
            }
        }
    }
}

/// Queries of the cases in a folder.
fn cases(folder: &Path) -> std::io::Result<Vec<String>> {
    let mut queries = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "test") {
            continue;
        }
        let text = std::fs::read_to_string(path)?;
        queries.extend(text.lines().filter_map(|line| query_of_case(line.trim())).map(str::to_owned));
    }
    Ok(queries)
}

/// What stands behind `eval instant at TIME` and `eval range from TIME to TIME step TIME`.
fn query_of_case(line: &str) -> Option<&str> {
    let (eval, rest) = line.split_once(char::is_whitespace)?;
    let words = if rest.trim_start().starts_with("instant") { 3 } else { 7 };
    let rest =
        (0..words).try_fold(rest, |rest, _| Some(rest.trim_start().split_once(char::is_whitespace)?.1));
    rest.map(str::trim_start).filter(|_| eval.starts_with("eval"))
}

/// The query without one of its characters, for each of them.
fn bent(query: &str) -> impl Iterator<Item = String> {
    query.char_indices().map(|(at, c)| query[..at].to_owned() + &query[at + c.len_utf8()..])
}

#[test]
fn each_difference_of_the_table_is_one() {
    for (at, (differs, pattern, example, reason)) in DIFFERENCES.iter().enumerate() {
        let Err((found, sign, shown)) = difference(example) else {
            panic!("{example}: no difference, though {reason}")
        };
        assert_eq!(found, *differs, "{example}: {shown}");
        let known = DIFFERENCES
            .iter()
            .position(|(kind, pattern, ..)| *kind == found && Regex::new(pattern).unwrap().is_match(&sign));
        assert_eq!(known, Some(at), "{example}: {sign:?} is known by another pattern than {pattern}");
    }
}

#[test]
fn our_own_cases_are_read_alike_and_what_is_left_of_them_without_a_character() {
    let queries = cases(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases")).unwrap();
    let mut comparison = Comparison::new();
    for query in &queries {
        comparison.compare(query);
        bent(query).for_each(|query| comparison.compare(&query));
    }
    comparison.check();
    assert!(comparison.read > 1500, "only {} are read by both", comparison.read);
    assert!(comparison.refused > 1500, "only {} are refused by both", comparison.refused);
}

#[test]
#[expect(clippy::print_stdout, reason = "says that it was skipped")]
fn the_corpus_is_read_alike() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/conformance/promqltest");
    let Ok(queries) = cases(&folder) else {
        println!("SKIPPED: no corpus at ../shared/conformance/promqltest beside the repository");
        return;
    };
    let mut comparison = Comparison::new();
    queries.iter().for_each(|query| comparison.compare(query));
    comparison.check();
    assert!(comparison.read > 1500, "only {} are read by both", comparison.read);
}

/// Always the same ones: whether another parser has one more flaw is no matter of luck.
#[test]
fn what_is_put_together_by_chance_is_read_alike() {
    let (mut runner, mut comparison) = (TestRunner::deterministic(), Comparison::new());
    for _ in 0..4000 {
        let query = common::expression().new_tree(&mut runner).unwrap().current();
        comparison.compare(&query);
        let at = query.len() / 2;
        bent(&query).skip(at).take(1).for_each(|query| comparison.compare(&query));
    }
    comparison.check();
    assert!(comparison.read > 800, "only {} are read by both", comparison.read);
    assert!(comparison.refused > 2000, "only {} are refused by both", comparison.refused);
}

#[test]
fn what_is_malformed_is_refused_by_both() {
    let queries = MALFORMED.lines().chain(["", " ", "# up", "\"a\nb\"", "\0"]);
    let mut comparison = Comparison::new();
    for query in queries {
        assert!(parse_with(query, &Syntax::all()).is_err(), "{query} should be an error");
        comparison.compare(query);
    }
    comparison.check();
    assert!(comparison.refused > 200, "only {} are refused by both", comparison.refused);
}
