//! Pages that break rules, and OpenMetrics' own cases.

use super::*;
use crate::scraped::conformance::cases;

fn violations(format: Format, page: &str) -> Vec<String> {
    check(format, page.as_bytes(), 20).iter().map(ToString::to_string).collect()
}

#[test]
fn all_bad_cases_are_refused_and_all_good_ones_are_not() {
    let (mut good, mut bad) = (0, 0);
    for case in cases() {
        let violations = check(Format::OpenMetrics, &case.page, 20);
        if case.is_good {
            good += 1;
            assert_eq!(violations, [], "{} is good", case.folder.display());
        } else {
            bad += 1;
            assert!(!violations.is_empty(), "{} is bad", case.folder.display());
            let guessed = check(guess(&case.page), &case.page, 20);
            assert!(!guessed.is_empty(), "{} is bad whatever it is", case.folder.display());
        }
    }
    assert!(good + bad == 0 || (good >= 44 && bad >= 167), "{good} good and {bad} bad cases");
}

/// Pages, each with what is told of it.
#[test]
fn openmetrics() {
    for (page, wanted) in [
        (
            "# TYPE a counter\n# HELP a Words.\na_total{b=\"c\"} 1 2 # {id=\"7\"} 3 4\na_created{b=\"c\"} 1 2\n# EOF\n",
            &[][..],
        ),
        ("# TYPE a gauge\na{\"b.c\"=\"d\"} 1\n# TYPE \"e.f\" gauge\n{\"e.f\",b=\"c\"} 1\n# EOF", &[]),
        ("a 1\n", &["line 1: page does not end with # EOF"]),
        ("# EOF\na 1\n", &["line 2: text after # EOF"]),
        (
            "\na  1\na 2 \nb 0x1p3\nc 1\r\n# words\n#\nd{a=\"b\",} 1\n# EOF",
            &[
                "line 1: blank line",
                "line 2: value is not a number: a  1",
                "line 3: text after the sample: a 2 ",
                "line 4: value is not a number: b 0x1p3",
                "line 5: value is not a number: c 1\r",
                "line 6: neither HELP, TYPE, UNIT nor EOF: # words",
                "line 7: comments are not allowed: #",
                "line 8: label without a name: d{a=\"b\",} 1",
            ],
        ),
        (
            "# TYPE a_total counter\na_total 1\n# EOF",
            &[
                "line 2: a_total is a name of the counter a_total of line 1, whose series are a_total_total, a_total_created",
            ],
        ),
        (
            "# TYPE a counter\n# TYPE a counter\n# HELP a x\n# HELP a x\n# UNIT a s\na_total 1\n# HELP a y\n# EOF",
            &[
                "line 2: second TYPE of a",
                "line 4: second HELP of a",
                "line 5: unit \"s\" is not the end of the name a",
                "line 7: HELP of a behind its samples",
                "line 7: second HELP of a",
            ],
        ),
        ("# UNIT a_s s\n# TYPE a_s info\n# EOF", &["line 2: a_s is info, which has no unit"]),
        (
            "a 1\nb 1\na 2\na 3\n# EOF",
            &[
                "line 3: a: the family a stands on line 1, and all of it must stand together",
                "line 4: a: the same series a second time",
            ],
        ),
        (
            "# TYPE a_sum gauge\na_sum 1\n# TYPE a summary\na_count 1\n# EOF",
            &["line 3: a_sum: the family a_sum stands on line 1, and all of it must stand together"],
        ),
        (
            "# TYPE h histogram\nh_bucket{x=\"1\",le=\"1\"} 2\nh_bucket{x=\"1\",le=\"1.0\"} 1\nh_bucket{x=\"2\",le=\"+Inf\"} 1.5\n\
          h_sum{x=\"1\"} -1\nh_bucket{le=\"NaN\"} 0\nh_bucket 1\n# EOF",
            &[
                "line 3: h_bucket: buckets are not in the order of their bounds",
                "line 4: h_bucket: counts are whole numbers",
                "line 5: h_sum: samples of a metric do not stand together",
                "line 5: h_sum: counts and sums are not negative",
                "line 5: h: histogram without a bucket le=\"+Inf\"",
                "line 6: h_bucket: le=\"NaN\" is no bound",
                "line 7: h_bucket: bucket without the label le",
                "line 7: h: histogram without a bucket le=\"+Inf\"",
            ],
        ),
        (
            "# TYPE h histogram\nh_bucket{le=\"-1\"} 1\nh_bucket{le=\"+Inf\"} 0\nh_sum 1\nh_count 3\n# EOF",
            &[
                "line 3: h_bucket: bucket holds less than the one before it",
                "line 5: h: histogram whose count is not its bucket le=\"+Inf\"",
                "line 5: h: histogram with a negative bound and a sum, which is no counter then",
            ],
        ),
        (
            "# TYPE s summary\ns{quantile=\"0.9\"} 1\ns{quantile=\"0.5\"} -1\ns 1\ns{quantile=\"2\"} 1\n# EOF",
            &[
                "line 3: s: a quantile is not negative",
                "line 4: s: neither a sum, a count nor the label quantile",
                "line 5: s: quantile=\"2\" is not between 0 and 1",
            ],
        ),
        (
            "# TYPE s stateset\ns{s=\"a\"} 0.5\ns 1\n# TYPE i info\ni_info 2\n# TYPE c counter\nc_created 1\n# EOF",
            &[
                "line 2: s: a state's value is 0 or 1",
                "line 3: s: a state without the label s",
                "line 5: i_info: an info's value is 1",
                "line 7: c: counter without its _total",
            ],
        ),
        (
            "g 1 5\ng 2 4\ng 2\n# EOF",
            &[
                "line 2: g: timestamps of a metric go back",
                "line 3: g: one sample of a metric has a timestamp, another has none",
            ],
        ),
        (
            "g 1 # {} 1\n# TYPE c counter\nc_total 1 # {a=\"1\",a=\"2\"} 1\nc_total{__x=\"\"} 1\n# EOF",
            &[
                "line 1: exemplar at g of the type unknown, which may have none",
                "line 3: label name that stands twice: c_total 1 # {a=\"1\",a=\"2\"} 1",
                "line 4: label name that begins with two underscores is reserved: c_total{__x=\"\"} 1",
            ],
        ),
    ] {
        assert_eq!(violations(Format::OpenMetrics, page), wanted, "{page}");
    }
}

#[test]
fn prometheus_text() {
    for (page, wanted) in [
        ("", &[][..]),
        (
            "# Words.\n#x\n\n  # HELP a \tHas \\\\ and \\n.\n#\tTYPE a counter\na { b = \"c\" , } 1\t1700000000000\na 0x1p3\n",
            &["line 7: value is not a number: a 0x1p3"],
        ),
        ("# HELP a\na NaN\n", &[]),
        (
            "h_bucket 1\n# TYPE h histogram\nh_bucket{x=\"1\",le=\"1\"} 1\nh_bucket{x=\"2\",le=\"+Inf\"} 2\n\
          h_bucket{le=\"+Inf\",x=\"1\"} 1.5\nh_sum{x=\"1\"} -1\nh_count{x=\"1\"} 1.5\nh_count{x=\"2\"} 3\n",
            &[
                "line 2: h_bucket: the family h_bucket stands on line 1, and all of it must stand together",
                "line 8: h: histogram whose count is not its bucket le=\"+Inf\"",
                "line 8: h: histogram without a sum",
            ],
        ),
        ("a 1\na 2 3", &["line 2: a: the same series a second time", "line 2: last line has no line feed"]),
        (
            "# TYPE a gaugehistogram\n# TYPE b COUNTER\n# HELP c \\t\nd{x=\"\\t\"} 1\ne 1 1.5\nf 1 # {} 1\ng{a=\"b\" c=\"d\"} 1\n",
            &[
                "line 1: unknown metric type: # TYPE a gaugehistogram",
                "line 2: unknown metric type: # TYPE b COUNTER",
                "line 3: backslash before nothing that it escapes: # HELP c \\t",
                "line 4: backslash before nothing that it escapes: d{x=\"\\t\"} 1",
                "line 5: timestamp is not a whole number of ms: e 1 1.5",
                "line 6: timestamp is not a whole number of ms: f 1 # {} 1",
                "line 7: labels without a comma between them or a brace after them: g{a=\"b\" c=\"d\"} 1",
            ],
        ),
        (
            "# TYPE a gauge\na 1\nb 1\n# HELP a Words.\na{x=\"1\"} 1\n",
            &["line 4: a: the family a stands on line 1, and all of it must stand together"],
        ),
    ] {
        assert_eq!(violations(Format::Prometheus, page), wanted, "{page}");
    }
}

#[test]
fn what_nobody_says_is_guessed() {
    for page in [
        "",
        "# EOF",
        "a 1\n# EOF\n",
        "# UNIT a_s s\n",
        "# TYPE a_s gauge\n# UNIT a_s s\n",
        "a_total 1 # {} 1\n",
    ] {
        assert_eq!(guess(page.as_bytes()), Format::OpenMetrics, "{page:?}");
    }
    for page in [
        "a 1\n",
        "# TYPE a gauge\na 1\n",
        "\n",
        "a{b=\"# EOF\"} 1\n",
        "a{b=\" # {\"} 1\n",
        "# HELP a b # {\n",
    ] {
        assert_eq!(guess(page.as_bytes()), Format::Prometheus, "{page:?}");
    }
}

#[test]
fn no_more_are_told_than_are_asked_for() {
    let page = "x y\n".repeat(100);
    assert_eq!(check(Format::Prometheus, page.as_bytes(), 3).len(), 3);
    let bytes = check(Format::Protobuf, b"\x05abc", 3);
    assert_eq!(bytes[0].to_string(), "byte 1: length beyond the end of the message");
    let lines = violations(Format::OpenMetrics, "a \u{e9}\n# EOF");
    assert_eq!(lines, ["line 1: value is not a number: a \u{e9}"]);
    assert_eq!(check(Format::OpenMetrics, b"a \xff\n# EOF", 3)[0].what, "text is not valid UTF-8");
}
