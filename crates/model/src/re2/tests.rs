//! What Go reads, what it refuses, and what of that the engine would read otherwise.

use super::*;

#[track_caller]
fn check(pattern: &str, matching: &[&str], others: &[&str]) {
    let regex = Anchored::new(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
    for value in matching {
        assert!(regex.is_match(value), "{pattern} should match {value:?}");
    }
    for value in others {
        assert!(!regex.is_match(value), "{pattern} should not match {value:?}");
    }
}

#[test]
fn the_whole_value_must_match_newlines_included() {
    check("a.c", &["abc", "a\nc"], &["abcd", "xabc"]);
    check("(?-s)a.c", &["abc"], &["a\nc"]);
    check("a|b", &["a", "b"], &["ab"]);
    check("", &[""], &["a"]);
    check("(?i)k", &["k", "K", "\u{212a}"], &["x"]);
    check("(?i)ss", &["sS", "\u{17f}s"], &["ß"]);
}

#[test]
fn what_go_reads_and_the_engine_does_not() {
    check(r"\Qa.b", &["a.b"], &["axb"]);
    check(r"\Qa.b\E+", &["a.b", "a.bb"], &["a.ba.b"]);
    check(r"\Q\E", &[""], &["a"]);
    check("(?)a(?:)", &["a"], &["A"]);
    check("(?ii)a(?-i)b", &["Ab"], &["AB"]);
    check(r"\123\07", &["S\u{7}"], &[]);
    check("{", &["{"], &[]);
    check("a{", &["a{"], &["a"]);
    check("a{,2}", &["a{,2}"], &["aa"]);
    check("a{x}", &["a{x}"], &[]);
    check("(?P<n>a)(?P<n>b)", &["ab"], &[]);
    check(r"[\d-z]", &["5", "-", "z"], &["a"]);
    check(r"\pN\p{^Greek}\PL", &["5a5"], &["5α5"]);
}

#[test]
fn what_go_refuses() {
    for pattern in [
        "x{1001}",
        "(x{100}){100}",
        r"\p{Script=Greek}",
        "[[:foo:]]",
        "[a--b]",
        "a**",
        "a*+",
        "a{2}{3}",
        "(?x)a",
        "(?u)a",
        r"\u00e9",
        r"\8",
        r"\1",
        "*",
        "a|*",
        "(*)",
        "(",
        ")",
        "[a",
        r"\",
        "(?P<n",
        "(?P<>a)",
        r"\Z",
        r"\p{Nonsense}",
        "[z-a]",
        r"\x{110000}",
        "(?-)",
        "(?i-)",
        "(?--i)",
        r"a\E",
        r"\p{IsGreek}",
        "a{3,2}",
    ] {
        assert!(Anchored::new(pattern).is_err(), "{pattern} should be refused");
    }
}

#[test]
fn what_means_something_else_to_the_engine() {
    check("[a&&b]", &["a", "&", "b"], &["&&"]);
    check("[a~~b]", &["~"], &[]);
    check("[+--]", &["+", ",", "-"], &["."]);
    check("[[a]", &["[", "a"], &[]);
    check("[]a]", &["]", "a"], &[]);
    check("[^]a]", &["b"], &["]", "a"]);
    check(r"[\]\-\\]", &["]", "-", "\\"], &[]);
    check(r"\d", &["5"], &["٥"]);
    check(r"\w", &["a", "_"], &["é"]);
    check(r"\s", &[" ", "\n"], &["\u{b}", "\u{a0}"]);
    check(r"\W", &["é", "-"], &["a"]);
    check(r"[^\w]", &["é"], &["a"]);
    check(r"[\W\d]", &["é", "5"], &["a"]);
    check(r"é\bx", &["éx"], &[]);
    check("[[:alpha:]]+", &["abc"], &["é"]);
}

#[test]
fn a_nested_count_may_be_what_go_allows() {
    check("(a{10}){100}", &["a".repeat(1000).as_str()], &["a"]);
    check("(a{2}|b){3}", &["aabaa"], &["aab"]);
}

/// The rows of the tables in `docs/regex.md` that have so many columns, each cell as the texts within its backticks.
fn documented(columns: usize) -> Vec<Vec<Vec<String>>> {
    let page = include_str!("../../../../docs/regex.md");
    let unescaped = |text: &str| {
        let special =
            [("\\|", "|"), ("\\n", "\n"), ("\\u{7}", "\u{7}"), ("\\u{b}", "\u{b}"), ("\\u{a0}", "\u{a0}")];
        let special = special.into_iter().chain([("\\u{212a}", "\u{212a}"), ("\\u{17f}", "\u{17f}")]);
        special.fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
    };
    let cell = |text: &str| text.split('`').skip(1).step_by(2).map(unescaped).collect::<Vec<_>>();
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    let rows = rows.map(|row| row[2..].trim_end_matches('|').split(" | ").map(cell).collect::<Vec<_>>());
    rows.filter(|row| row.len() == columns).collect()
}

#[test]
fn the_page_says_what_is_read() {
    let rows = documented(3);
    assert!(rows.len() >= 29, "{} rows", rows.len());
    for row in rows {
        let [matching, others] =
            [&row[1], &row[2]].map(|cell| cell.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(!others.is_empty());
        check(&row[0][0], &matching, &others);
    }
}

#[test]
fn the_page_says_what_is_refused() {
    let rows = documented(2);
    assert!(rows.len() >= 27, "{} rows", rows.len());
    for row in rows {
        let error = Anchored::new(&row[0][0]).expect_err(&row[0][0]).0;
        // A backtick is the sign that quotes both in the message and on the page.
        let wanted = row[1].join("").replace('"', "`");
        assert_eq!(error, wanted, "{}", row[0][0]);
    }
}

#[test]
fn plain_words_are_listed() {
    let words = |pattern: &str| Anchored::new(pattern).unwrap().literals().map(<[String]>::to_vec);
    let list = |words: &[&str]| Some(words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>());
    assert_eq!(words("a|b|c"), list(&["a", "b", "c"]));
    assert_eq!(words("foo(bar|baz)"), list(&["foobar", "foobaz"]));
    assert_eq!(words("(?:up|down)?"), list(&["", "down", "up"]));
    assert_eq!(words("^up$"), list(&["up"]));
    assert_eq!(words("[ab]c"), list(&["ac", "bc"]));
    assert_eq!(words(r"10\.0\.0\.1:9100|b"), list(&["10.0.0.1:9100", "b"]));
    let thousands: Vec<String> = (0..9_000).map(|n| format!("host-{n:04}:9100")).collect();
    assert_eq!(words(&thousands.join("|")), Some(thousands));
    assert_eq!(words("[0-9]{1}[0-9]{1}[0-9]{1}"), None, "more than the pattern has bytes");
    // Two classes behind 125 KB made 16,384 words of that length: two gigabytes, of which no budget knew.
    let long = "x".repeat(125_000);
    assert_eq!(words(&format!(r"{long}[\x{{100}}-\x{{1ff}}][\x{{100}}-\x{{13f}}]")), None);
    assert_eq!(words(&format!("{long}|a")), list(&["a", &long]));
    assert_eq!(words(r"\w+"), None);
    assert_eq!(words("a.*"), None);
    assert_eq!(words("[a-z]{4}"), None);
}

#[test]
fn prefixes_are_found() {
    let prefix = |pattern: &str| Anchored::new(pattern).unwrap().prefix().to_owned();
    assert_eq!(prefix("api-.*"), "api-");
    assert_eq!(prefix("(api-)(v1|v2).+"), "api-v");
    assert_eq!(prefix("^api-[0-9]+"), "api-");
    assert_eq!(prefix("a?b"), "");
    assert_eq!(prefix("ünïx|ünïy.*"), "ünï");
    check("api-.*", &["api-", "api-x"], &["ap"]);
    check(".+", &["x", "\n"], &[""]);
    check(".*", &["", "\n"], &[]);
}

#[test]
fn a_huge_program_is_refused() {
    let error = Anchored::new(r"(?:\pL{100}){10}.{900}\pL{1000}").unwrap_err();
    assert!(error.to_string().contains("too large"), "{error}");
    let bytes = |pattern: &str| Anchored::new(pattern).unwrap().program_bytes();
    assert_eq!([bytes("a|b"), bytes("a.*"), bytes(".*a")], [2 * (1 + WORD_BYTES), 0, PROGRAM_BYTES[0]]);
    assert_eq!(bytes(r"\pL{8}x"), PROGRAM_BYTES[1]);
}
