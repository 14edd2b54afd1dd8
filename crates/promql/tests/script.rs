//! The script language itself: for every rule of comparison a case that passes and one that fails for it alone.

use promql::script::{Report, Settings, in_memory, run};

const LOAD: &str = "
load 1m
  up{job=\"a\"} 1 1 1
  up{job=\"b\"} 2 2 2
  c_total 0 60 120
  bad NaN NaN NaN
  gone 1 stale
  h {{schema:0 sum:3 count:3 buckets:[1 2]}}x2
  g {{schema:0 sum:3 count:3 buckets:[1 2] counter_reset_hint:gauge}}x2
  n {{schema:-53 sum:3 count:3 custom_values:[1 2] buckets:[1 2]}}x2
";

fn report(case: &str) -> Report {
    run(&format!("{LOAD}\n{case}\n"), &Settings::default(), &mut in_memory)
}

fn passes(case: &str) {
    let report = report(case);
    assert_eq!((report.passed, report.total), (1, 1), "{case}: {:?}", report.failures);
    assert!(report.failures.is_empty(), "{case}: {:?}", report.failures);
}

#[track_caller]
fn fails(case: &str, why: &str) {
    let report = report(case);
    assert_eq!((report.passed, report.total), (0, 1), "{case}");
    let [failure] = report.failures.as_slice() else { panic!("{case}: {:?}", report.failures) };
    assert!(failure.message.contains(why), "{case}: {}", failure.message);
}

const SUM: &str = "eval instant at 1m sum(up)\n";

#[test]
fn floats_are_equal_up_to_a_millionth() {
    passes(&format!("{SUM} {{}} 3"));
    passes(&format!("{SUM} {{}} 3.000005"));
    fails(&format!("{SUM} {{}} 3.00001"), "expected 3.00001, got 3");
    fails(&format!("{SUM} {{}} -3"), "expected -3, got 3");
    fails(&format!("{SUM} {{}} NaN"), "expected NaN, got 3");
    fails(&format!("{SUM} {{}} Inf"), "expected inf, got 3");
    passes("eval instant at 1m vector(0)\n {} 0");
    passes("eval instant at 1m vector(0)\n {} 1e-315");
    fails("eval instant at 1m vector(0)\n {} 1e-300", "expected 0.000");
    fails("eval instant at 1m vector(1e-300)\n {} 0", "expected 0, got");
    passes("eval instant at 1m vector(inf)\n {} Inf");
    fails("eval instant at 1m vector(inf)\n {} 1e308", "got inf");
}

#[test]
fn nan_is_nan_and_stale_is_stale() {
    passes("eval instant at 1m bad\n bad NaN");
    fails("eval instant at 1m bad\n bad 1", "expected 1, got NaN");
    fails("eval instant at 1m bad\n bad stale", "got NaN");
    passes("eval instant at 1m gone");
    fails("eval instant at 1m gone\n gone stale", "not found");
}

#[test]
fn labels_and_series_are_exact() {
    passes("eval instant at 1m up\n up{job=\"a\"} 1\n up{job=\"b\"} 2");
    passes("eval instant at 1m up\n up{job=\"b\"} 2\n up{job=\"a\"} 1");
    fails("eval instant at 1m up\n up{job=\"a\"} 1", "job=\"b\"} in result, has 2");
    fails(
        "eval instant at 1m up\n up{job=\"a\"} 1\n up{job=\"b\"} 2\n up{job=\"c\"} 3",
        "job=\"c\"} not found",
    );
    fails("eval instant at 1m up\n {job=\"a\"} 1\n {job=\"b\"} 2", "in result, has 1");
    fails("eval instant at 1m up{job=\"a\"}\n up{job=\"a\", x=\"\"} 2", "expected 2, got 1");
    passes("eval instant at 1m missing");
    fails("eval instant at 1m missing\n missing 1", "not found");
    fails("eval instant at 1m up{job=\"a\"}\n up{job=\"a\"} _", "expected Gap");
}

#[test]
fn order_counts_when_it_is_asked_for() {
    let query = "eval instant at 1m sort_desc(up)\n";
    let right = "up{job=\"b\"} 2\n up{job=\"a\"} 1";
    let wrong = "up{job=\"a\"} 1\n up{job=\"b\"} 2";
    passes(&format!("{query} expect ordered\n {right}"));
    passes(&format!("{query} {wrong}"));
    fails(&format!("{query} expect ordered\n {wrong}"), "at position 2, was at 1");
    fails(&format!("eval_ordered instant at 1m sort_desc(up)\n {wrong}"), "at position 2, was at 1");
    fails("eval range from 0 to 1m step 1m up\n expect ordered\n up{job=\"a\"} 1 1", "got a matrix");
    fails("eval_ordered range from 0 to 1m step 1m up\n up 1", "a range has no order");
}

#[test]
fn scalars_and_strings_are_what_they_are() {
    passes("eval instant at 1m 1 + 1\n 2");
    passes("eval instant at 1m 1 + 1\n 0x2");
    fails("eval instant at 1m 1 + 1\n 3", "expected 3, got 2");
    fails("eval instant at 1m 1 + 1\n {} 2", "expected a vector or matrix, got the scalar 2");
    fails("eval instant at 1m 1 + 1", "got the scalar 2");
    fails("eval instant at 1m vector(2)\n 2", "expected no instant vector");
    // A duration is a number in series, and none alone.
    fails("eval instant at 1m 60\n 1m", "got the scalar 60");
    passes("eval instant at 1m \"a\\tb\"\n expect string \"a\\tb\"");
    fails("eval instant at 1m \"a\"\n expect string \"b\"", "expected the string Some(\"b\"), got \"a\"");
    fails("eval instant at 1m \"a\"\n expect string", "a quoted string is expected");
    fails("eval instant at 1m \"a\"\n expect string a", "a quoted string is expected");
    fails("eval instant at 1m \"\"", "expected the string None");
    fails("eval instant at 1m missing\n expect string \"a\"", "expected no instant vector");
}

#[test]
fn ranges_are_compared_point_by_point() {
    let query = "eval range from 0 to 2m step 1m c_total\n";
    passes(&format!("{query} c_total 0 60 120"));
    fails(&format!("{query} c_total 0 60 121"), "expected 121, got 120");
    fails(&format!("{query} c_total 0 60"), "expected 2 points");
    fails(&format!("{query} c_total 0 _ 120"), "expected 2 points");
    fails(&format!("{query} c_total 0 60 120 180"), "more values expected than the range has steps");
    fails(&format!("{query} c_total 0 60 120 _"), "more values expected than the range has steps");
    fails(&format!("{query} c_total 0 60 {{{{count:1}}}}"), "got 120");
    fails(query, "in result, has 0@0");
    fails(&format!("{query} c_total 0 60 120\n d 1"), "not found");
    passes("eval range from 0 to 2m step 1m c_total > 0\n c_total _ 60 120");
    fails("eval range from 0 to 2m step 1m c_total > 0\n c_total 60 120", "expected a point at 0");
    fails("eval range from 2m to 0 step 1m c_total\n c_total 0", "an end behind its start");
    fails("eval range from 0 to 2m step 0 c_total\n c_total 0", "a range needs a step");
}

#[test]
fn range_vectors_are_compared_where_they_are_said_to_lie() {
    let query = "eval instant at 2m c_total[2m]\n";
    passes(&format!("{query} expect range vector from 1m to 2m step 1m\n c_total 60 120"));
    fails(
        &format!("{query} expect range vector from 0 to 2m step 1m\n c_total 0 60 120"),
        "expected 3 points",
    );
    // It is evaluated at their end.
    passes(&format!("{query} expect range vector from 0 to 1m step 1m\n c_total 0 60"));
    fails(&format!("{query} c_total 60 120"), "several values expected of an instant evaluation");
    fails(&format!("{query} expect range vector from 1m to 2m\n c_total 60 120"), "duration expected");
}

#[test]
fn histograms_are_compared_whole() {
    let case = |histogram: &str| format!("eval instant at 1m h\n h {{{{{histogram}}}}}");
    passes(&case("schema:0 sum:3 count:3 buckets:[1 2]"));
    passes(&case("count:3 sum:3 offset:-2 buckets:[0 0 1 2 0 0] n_buckets:[0]"));
    passes(&case("count:3.000001 sum:3 buckets:[1 2.000001]"));
    for wrong in [
        "schema:1 sum:3 count:3 buckets:[1 2]",
        "sum:4 count:3 buckets:[1 2]",
        "sum:3 count:4 buckets:[1 2]",
        "sum:3 count:3 buckets:[2 1]",
        "sum:3 count:3 buckets:[1 2 1]",
        "sum:3 count:3 offset:1 buckets:[1 2]",
        "sum:3 count:3 buckets:[1 2] n_buckets:[1]",
        "sum:3 count:3 z_bucket:1 buckets:[1 2]",
        "sum:3 count:3 z_bucket_w:0.1 buckets:[1 2]",
        "schema:-53 custom_values:[1] sum:3 count:3 buckets:[1 2]",
    ] {
        fails(&case(wrong), "got {count:3");
    }
    fails("eval instant at 1m h\n h 3", "expected Float(3.0)");
    fails("eval instant at 1m c_total\n c_total {{count:3}}", "got 60");
    passes("eval instant at 1m n\n n {{schema:-53 sum:3 count:3 custom_values:[1 2] buckets:[1 2]}}");
    fails("eval instant at 1m n\n n {{schema:-53 sum:3 count:3 custom_values:[1 3] buckets:[1 2]}}", "got {");
}

#[test]
fn reset_hints_are_compared_when_they_are_written() {
    let plain = "schema:0 sum:3 count:3 buckets:[1 2]";
    passes(&format!("eval instant at 1m h\n h {{{{{plain}}}}}"));
    passes(&format!("eval instant at 1m h\n h {{{{{plain} counter_reset_hint:not_reset}}}}"));
    fails(&format!("eval instant at 1m h\n h {{{{{plain} counter_reset_hint:unknown}}}}"), "got {count:3");
    passes(&format!("eval instant at 0 h\n h {{{{{plain} counter_reset_hint:unknown}}}}"));
    fails(&format!("eval instant at 0 h\n h {{{{{plain} counter_reset_hint:not_reset}}}}"), "got {count:3");
    passes(&format!("eval instant at 1m g\n g {{{{{plain}}}}}"));
    fails(&format!("eval instant at 1m g\n g {{{{{plain} counter_reset_hint:reset}}}}"), "Gauge");
    // That of the increment counts.
    let hinted = format!("{plain} counter_reset_hint:gauge");
    let range = "eval range from 0 to 1m step 1m h\n";
    passes(&format!("{range} h {{{{{hinted}}}}}-{{{{}}}}x1"));
    fails(&format!("{range} h {{{{{plain}}}}}+{{{{counter_reset_hint:gauge}}}}x1"), "got {count:3");
}

#[test]
fn notes_are_compared_with_text_and_place() {
    let query = "eval instant at 2m rate(up{job=\"a\"}[2m])\n";
    let text =
        "PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket: \"up\"";
    passes(&format!("{query} {{job=\"a\"}} 0"));
    passes(&format!("{query} expect info\n {{job=\"a\"}} 0"));
    passes(&format!("{query} expect info msg: {text} (1:6)\n {{job=\"a\"}} 0"));
    passes(&format!("{query} expect info regex: counter.*\\(1:6\\)$\n {{job=\"a\"}} 0"));
    passes(&format!("{query} expect no_warn\n {{job=\"a\"}} 0"));
    passes("eval_info instant at 2m rate(up{job=\"a\"}[2m])\n {job=\"a\"} 0");
    fails(&format!("{query} expect info msg: {text} (1:7)\n {{job=\"a\"}} 0"), "expected the info");
    fails(&format!("{query} expect info msg: {text}\n {{job=\"a\"}} 0"), "expected the info");
    fails(&format!("{query} expect info regex: gauge\n {{job=\"a\"}} 0"), "expected the info");
    fails(&format!("{query} expect no_info\n {{job=\"a\"}} 0"), "unexpected info");
    fails(&format!("{query} expect warn\n {{job=\"a\"}} 0"), "expected a warning but got none");
    fails(
        "eval_warn instant at 2m rate(up{job=\"a\"}[2m])\n {job=\"a\"} 0",
        "expected a warning but got none",
    );
    fails("eval instant at 2m sum(up)\n expect info\n {} 3", "expected a info but got none");
    // Every line has its note, every note its line.
    let two = "eval instant at 2m rate(up{job=\"a\"}[2m]) + rate(bad[2m])\n";
    passes(&format!("{two} expect info regex: \"up\"\n expect info regex: \"bad\""));
    fails(&format!("{two} expect info regex: \"up\""), "unexpected info");
    fails(&format!("{two} expect info regex: counter\n expect info regex: \"c\""), "expected the info");
    let warns = "eval instant at 1m quantile(2, up)\n";
    passes(&format!(
        "{warns} expect warn msg: PromQL warning: quantile value should be between 0 and 1, got 2 (1:10)\n {{}} Inf"
    ));
    fails(&format!("{warns} expect no_warn\n {{}} Inf"), "unexpected warning");
}

#[test]
fn failures_are_compared_with_their_text() {
    let query = "eval instant at 1m up + on () up\n";
    passes(&format!("{query} expect fail"));
    passes(&format!("{query} expect fail regex: found duplicate series"));
    passes("eval_fail instant at 1m up + on () up");
    passes("eval_fail instant at 1m up + on () up\n expected_fail_regexp found duplicate .* right");
    passes("eval_fail instant at 1m label_replace(up, \"~\", \"\", \"job\", \"(\")");
    fails(&format!("{query} {{}} 1"), "error: found duplicate series");
    fails(&format!("{query} expect fail msg: found duplicate series"), "expected [Text");
    fails(&format!("{query} expect fail regex: nothing"), "expected [Pattern");
    fails(
        "eval_fail instant at 1m up + on () up\n expected_fail_message found duplicate series",
        "expected [Text",
    );
    fails("eval instant at 1m sum(up)\n expect fail", "expected an error but got none");
    fails("eval_fail instant at 1m sum(up)", "expected an error but got none");
    fails(&format!("{query} expect fail\n expect fail"), "fails in one way");
    // What is no PromQL is no failure of a query.
    fails("eval instant at 1m up +\n expect fail", "unexpected end of input");
}

#[test]
fn what_is_no_script_is_a_failure() {
    for (case, why) in [
        ("eval instant at 1m sum(up)\n expect", "invalid expect statement"),
        ("eval instant at 1m sum(up)\n expect nothing", "invalid expect statement"),
        ("eval instant at 1m sum(up)\n expect warn text", "invalid expect statement"),
        ("eval instant at 1m sum(up)\n expect warn msg:", "invalid expect statement"),
        ("eval instant at 1m sum(up)\n expect warn\n expect no_warn", "notes of a kind"),
        ("eval instant at 1m sum(up)\n expect no_info\n expect info", "notes of a kind"),
        ("eval instant at 1m sum(up)\n expect info regex: (", "regex parse error"),
        ("eval instant at x sum(up)\n {} 3", "not a valid duration"),
        ("eval instant sum(up)\n {} 3", "at expected"),
        ("eval instantly at 1m sum(up)\n {} 3", "range expected"),
        ("eval_odd instant at 1m sum(up)\n {} 3", "invalid evaluation command"),
        ("eval instant at 1m sum(up)\n {} 3 3", "several values expected"),
        ("eval instant at 1m sum(up)\n {x} 3", "expected \"=\""),
    ] {
        fails(case, why);
    }
    let report = report("what is this\n");
    assert_eq!((report.total, report.failures.len()), (0, 1));
    let report = run("load 1m\n  up 1 x\n", &Settings::default(), &mut in_memory);
    assert_eq!((report.total, report.failures.len()), (0, 1));
}

#[test]
fn queries_are_asked_again_and_their_answers_are_counted() {
    let checks = |case: &str| {
        let report = report(case);
        assert!(report.failures.is_empty(), "{:?}", report.failures);
        report.checks
    };
    // Once, at five other times, and each as the middle of a range.
    assert_eq!(checks("eval instant at 1m sum(up)\n {} 3"), 12);
    // At the epoch there are three other times.
    assert_eq!(checks("eval instant at 0 sum(up)\n {} 3"), 8);
    // No range.
    assert_eq!(
        checks("eval instant at 2m c_total[1m]\n expect range vector from 2m to 2m step 1m\n c_total 120"),
        6
    );
    assert_eq!(checks("eval instant at 1m max_over_time(up{job=\"a\"}[2m + step()])\n {job=\"a\"} 1"), 6);
    // No other time.
    assert_eq!(checks("eval instant at 1m vector(time())\n {} 60"), 2);
    assert_eq!(checks("eval instant at 1m vector(end())\n {} 60"), 1);
    // A failure has no range form.
    assert_eq!(checks("eval instant at 1m up + on () up\n expect fail"), 6);
    assert_eq!(checks("eval range from 0 to 1m step 1m sum(up)\n {} 3 3"), 1);
    let once = Settings { asks_again: false, ..Settings::default() };
    let report = run(&format!("{LOAD}\neval instant at 1m sum(up)\n {{}} 3"), &once, &mut in_memory);
    assert_eq!((report.checks, report.passed), (1, 1));
}
