//! Pages out of series, in the text that they are read as, and a strict reader's rules one by one.

use model::histogram::BucketCounts;

use super::super::Format;
use super::*;

const OPEN: &str = "application/openmetrics-text;version=1.0.0";

const PROTOBUF: &str =
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";

const PLAIN: Options = Options { untyped: Untyped::Gauge, created: Told::Left, times: Told::Left };

/// Series as lines of `name{label=value,…} value @ms`, types as `name type unit help`.
fn page(accept: &str, options: Options, types: &[&str], lines: &[&str]) -> String {
    String::from_utf8(bytes(accept, options, types, lines.iter().map(|line| series(line)).collect())).unwrap()
}

fn bytes(accept: &str, options: Options, types: &[&str], series: Vec<Series>) -> Vec<u8> {
    let metadata = |family: &str| {
        let line = types.iter().find(|line| line.split(' ').next() == Some(family))?;
        let mut words = line.splitn(4, ' ').skip(1);
        let kind = MetricType::from_name(words.next().unwrap()).unwrap();
        let mut text = || words.next().unwrap_or_default().to_owned();
        Some(Metadata { kind, unit: text(), help: text() })
    };
    write(series, &metadata, options, Format::negotiated([accept]))
}

fn series(line: &str) -> Series {
    let (line, at_ms) = line.split_once(" @").map_or((line, 0), |(line, at)| (line, at.parse().unwrap()));
    let (name, value) = line.rsplit_once(' ').unwrap();
    let (name, labels) = name.trim_end_matches('}').split_once('{').unwrap_or((name, ""));
    let pairs = labels.split(',').filter_map(|pair| pair.split_once('='));
    let labels = Labels::from_pairs(pairs.chain([(METRIC_NAME, name)]));
    Series { rank: 0, labels, at_ms, start_ms: 0, value: Newest::Float(value.parse().unwrap()) }
}

#[test]
fn families_are_whole_sorted_and_of_their_types() {
    let types = [
        "h histogram seconds Times.",
        "s summary",
        "requests counter",
        "temperature_celsius gauge celsius Warm.",
    ];
    let lines = [
        "requests_total{job=b} 3",
        "h_count{job=a} 4",
        "h_bucket{job=a,le=+Inf} 4",
        "h_bucket{job=b,le=10} 1",
        "h_bucket{job=a,le=5} 2",
        "h_sum{job=a} 7.5",
        "h_sum{job=b} 7",
        "h_bucket{job=b,le=+Inf} 1",
        "h_bucket{job=a,le=10} 3",
        "h_count{job=b} 1",
        "temperature_celsius -3.5",
        "s_sum 2.5",
        "s{quantile=0.99} 2",
        "s{quantile=0.5} NaN",
        "s_count 2",
    ];
    let wanted = "# TYPE h histogram\n# HELP h Times.\n\
        h_bucket{job=\"a\",le=\"5.0\"} 2\nh_bucket{job=\"a\",le=\"10.0\"} 3\nh_bucket{job=\"a\",le=\"+Inf\"} 4\n\
        h_sum{job=\"a\"} 7.5\nh_count{job=\"a\"} 4\n\
        h_bucket{job=\"b\",le=\"10.0\"} 1\nh_bucket{job=\"b\",le=\"+Inf\"} 1\nh_sum{job=\"b\"} 7.0\nh_count{job=\"b\"} 1\n\
        # TYPE requests counter\nrequests_total{job=\"b\"} 3.0\n\
        # TYPE s summary\ns{quantile=\"0.5\"} NaN\ns{quantile=\"0.99\"} 2.0\ns_sum 2.5\ns_count 2\n\
        # TYPE temperature_celsius gauge\n# UNIT temperature_celsius celsius\n# HELP temperature_celsius Warm.\n\
        temperature_celsius -3.5\n# EOF\n";
    assert_eq!(page(OPEN, PLAIN, &types, &lines), wanted);
    let text = page("", PLAIN, &types, &lines);
    assert!(text.contains("# TYPE h histogram\nh_bucket{job=\"a\",le=\"5\"} 2\n"), "{text}");
    assert!(text.contains("# TYPE requests_total counter\nrequests_total{job=\"b\"} 3\n"), "{text}");
    assert!(text.contains("# TYPE s summary\ns{quantile=\"0.5\"} NaN\n"), "{text}");
    assert!(!text.contains("EOF"), "{text}");
}

#[test]
fn unknown_types_are_guessed_and_else_as_wanted() {
    let lines = ["a 1", "b_total 2", "c_sum 1", "c_count 1", "c_bucket{le=+Inf} 1", "d_count 3"];
    let wanted = "# TYPE a gauge\na 1\n# TYPE b_total counter\nb_total 2\n\
        # TYPE c histogram\nc_bucket{le=\"+Inf\"} 1\nc_sum 1\nc_count 1\n# TYPE d_count gauge\nd_count 3\n";
    assert_eq!(page("", PLAIN, &[], &lines), wanted);
    let unknown = Options { untyped: Untyped::Unknown, ..PLAIN };
    let text = page("", unknown, &[], &lines);
    assert!(text.starts_with("# TYPE a untyped\na 1\n# TYPE b_total counter\n"), "{text}");
    assert!(page(OPEN, unknown, &[], &["a 1"]).starts_with("# TYPE a unknown\n"));
    // What is known to be something else is nothing that is guessed.
    let text = page("", PLAIN, &["c gauge"], &["c 1", "c_sum 1", "c_count 1", "c_bucket{le=+Inf} 1"]);
    assert_eq!(text.matches(" gauge\n").count(), 4, "{text}");
    let text = page("", PLAIN, &[], &["c 1", "c_sum 1", "c_count 1", "c_bucket{le=+Inf} 1"]);
    assert_eq!(text.matches(" gauge\n").count(), 4, "{text}");
}

/// Each with what is told instead, as the names of gauges.
#[test]
fn what_breaks_a_rule_is_told_as_gauges() {
    let good = ["h_bucket{le=1} 1", "h_bucket{le=+Inf} 2", "h_sum 3", "h_count 2"];
    assert!(page(OPEN, PLAIN, &["h histogram"], &good).starts_with("# TYPE h histogram\n"));
    let histograms: &[&[&str]] = &[
        &["h_bucket{le=1} 1", "h_sum 3", "h_count 1"],
        &["h_bucket{le=1} 3", "h_bucket{le=+Inf} 2", "h_sum 3", "h_count 2"],
        &["h_bucket{le=1} 1", "h_bucket{le=+Inf} 2", "h_sum 3", "h_count 3"],
        &["h_bucket{le=1} 1.5", "h_bucket{le=+Inf} 2", "h_sum 3", "h_count 2"],
        &["h_bucket{le=+Inf} 2.5", "h_sum 3", "h_count 2.5"],
        &["h_bucket{le=+Inf} 2", "h_count 2"],
        &["h_bucket{le=+Inf} 2", "h_sum 2"],
        &["h_bucket{le=+Inf} 2", "h_sum -3", "h_count 2"],
        &["h_bucket{le=+Inf} 2", "h_sum NaN", "h_count 2"],
        &["h_bucket{le=-1} 1", "h_bucket{le=+Inf} 2", "h_sum 3", "h_count 2"],
        &["h_bucket{le=x} 1", "h_bucket{le=+Inf} 2", "h_sum 3", "h_count 2"],
        &["h_bucket 2", "h_sum 3", "h_count 2"],
        &["h_bucket{le=NaN} 1", "h_bucket{le=+Inf} 2", "h_sum 3", "h_count 2"],
        &["h 5", "h_bucket{le=+Inf} 2", "h_sum 3", "h_count 2"],
        // One metric that is broken is enough.
        &["h_bucket{le=+Inf} 2", "h_sum 3", "h_count 2", "h_count{job=a} 2"],
    ];
    for lines in histograms {
        let text = page(OPEN, PLAIN, &["h histogram"], lines);
        let types: Vec<&str> = text.lines().filter(|line| line.starts_with("# TYPE ")).collect();
        assert!(types.iter().all(|line| line.ends_with(" gauge")), "{lines:?}\n{text}");
        assert_eq!(text.lines().filter(|line| !line.starts_with('#')).count(), lines.len(), "{text}");
    }
    for (kind, lines) in [
        ("x_total counter", &["x_total 1", "x_total{a=b} -1"][..]),
        ("x_total counter", &["x_total NaN"]),
        ("x counter", &["x 1"]),
        ("x info", &["x_info 1", "x_info{a=b} 2"]),
        ("x info", &["x 1"]),
        ("x stateset", &["x{x=a} 1", "x{x=b} 2"]),
        ("x stateset", &["x{x=a} 1", "x{y=b} 0"]),
        ("x summary", &["x{quantile=2} 1", "x_count 1"]),
        ("x summary", &["x{quantile=0.5} -1", "x_count 1"]),
        ("x summary", &["x 1", "x_count 1"]),
        ("x summary", &["x{quantile=0.5} 1", "x_count 1.5"]),
        ("x gaugehistogram", &["x_bucket{le=+Inf} 1", "x_gcount 1", "x_gsum -1"]),
        ("x_total gauge", &["x_total 1"]),
    ] {
        let text = page(OPEN, PLAIN, &[kind], lines);
        assert!(text.lines().filter(|line| line.starts_with("# TYPE ")).all(|line| line.ends_with(" gauge")));
        assert_eq!(text.lines().filter(|line| !line.starts_with('#')).count(), lines.len(), "{kind}\n{text}");
    }
    // Text has counters whose names end otherwise.
    assert_eq!(page("", PLAIN, &["x counter"], &["x 1"]), "# TYPE x counter\nx 1\n");
}

#[test]
fn states_and_gauge_histograms_are_of_their_types_in_openmetrics_alone() {
    let types = ["x stateset s", "g gaugehistogram"];
    let lines = ["x{x=a} 1", "x{x=b} 0", "g_bucket{le=+Inf} 2", "g_gcount 2", "g_gsum 3"];
    let wanted = "# TYPE g gaugehistogram\ng_bucket{le=\"+Inf\"} 2\ng_gsum 3.0\ng_gcount 2\n\
        # TYPE x stateset\nx{x=\"a\"} 1.0\nx{x=\"b\"} 0.0\n# EOF\n";
    assert_eq!(page(OPEN, PLAIN, &types, &lines), wanted);
    let wanted = "# TYPE g_bucket gauge\ng_bucket{le=\"+Inf\"} 2\n# TYPE g_gcount gauge\ng_gcount 2\n\
        # TYPE g_gsum gauge\ng_gsum 3\n# TYPE x gauge\nx{x=\"a\"} 1\nx{x=\"b\"} 0\n";
    assert_eq!(page("", PLAIN, &types, &lines), wanted);
}

#[test]
fn a_suffix_alone_is_a_name() {
    for (types, line) in
        [(&[][..], "_total 1"), (&["_total counter"], "_total 1"), (&["_info info"], "_info 1")]
    {
        let name = line.split(' ').next().unwrap();
        for accept in [OPEN, ""] {
            let text = page(accept, PLAIN, types, &[line]);
            assert!(text.starts_with(&format!("# TYPE {name} gauge\n{name} 1")), "{text}");
        }
    }
    let text = page(OPEN, PLAIN, &[], &["_bucket{le=+Inf} 1", "_sum 1", "_count 1"]);
    assert_eq!(text.matches(" gauge\n").count(), 3, "{text}");
}

#[test]
fn two_families_never_have_one_name() {
    let types = [
        "a_total counter",
        "a gauge",
        "h histogram",
        "h_count gauge",
        "i_info info",
        "i gauge",
        "j_total counter",
    ];
    let lines = [
        "a_total 1",
        "a 2",
        "h_bucket{le=+Inf} 2",
        "h_sum 3",
        "h_count 2",
        "i_info{v=1} 1",
        "i 4",
        "j_total 5",
    ];
    let text = page(OPEN, PLAIN, &types, &lines);
    let wanted = "# TYPE a gauge\na 2.0\n# TYPE a_total gauge\na_total 1.0\n# TYPE h_bucket gauge\nh_bucket{le=\"+Inf\"} 2.0\n\
        # TYPE h_count gauge\nh_count 2.0\n# TYPE h_sum gauge\nh_sum 3.0\n# TYPE i gauge\ni 4.0\n\
        # TYPE i_info gauge\ni_info{v=\"1\"} 1.0\n# TYPE j counter\nj_total 5.0\n# EOF\n";
    assert_eq!(text, wanted);
    // In text a counter has no name but its own.
    assert!(page("", PLAIN, &types, &lines).contains("# TYPE a_total counter\n"));
}

#[test]
fn of_a_metric_the_newest_parts_count() {
    let lines = [
        "h_bucket{le=1} 9 @1000",
        "h_bucket{le=2} 1 @2000",
        "h_bucket{le=+Inf} 2 @2000",
        "h_sum 3 @2000",
        "h_count 2 @2000",
        "g 1 @1500",
    ];
    let times = Options { times: Told::Told, ..PLAIN };
    let wanted = "# TYPE g gauge\ng 1.0 1.5\n# TYPE h histogram\nh_bucket{le=\"2.0\"} 1 2\nh_bucket{le=\"+Inf\"} 2 2\n\
        h_sum 3.0 2\nh_count 2 2\n# EOF\n";
    assert_eq!(page(OPEN, times, &["h histogram"], &lines), wanted);
}

#[test]
fn when_something_began_is_told_on_request() {
    let types = ["c counter", "h histogram", "alone_created gauge"];
    let lines = [
        "c_total{a=b} 3",
        "c_created{a=b} 1700000000.5",
        "h_bucket{le=+Inf} 2",
        "h_sum 3",
        "h_count 2",
        "h_created 17",
        "alone_created 4",
    ];
    let text = page(OPEN, PLAIN, &types, &lines);
    assert!(
        !text.contains("c_created") && !text.contains("h_created") && text.contains("alone_created 4.0"),
        "{text}"
    );
    let created = Options { created: Told::Told, ..PLAIN };
    let text = page(OPEN, created, &types, &lines);
    assert!(text.contains("c_total{a=\"b\"} 3.0\nc_created{a=\"b\"} 1.7000000005e+09\n"), "{text}");
    assert!(text.contains("h_count 2\nh_created 17.0\n"), "{text}");
    let text = page("", created, &types, &lines);
    assert!(text.contains("# TYPE c_created gauge\nc_created{a=\"b\"} 1.7000000005e+09\n"), "{text}");
}

#[test]
fn a_start_time_that_came_with_the_sample_is_told_on_request() {
    let types = ["c counter", "h histogram", "s summary", "g gauge"];
    let lines =
        ["c_total{a=b} 3", "h_bucket{le=+Inf} 2", "h_sum 3", "h_count 2", "s_count 1", "s_sum 1", "g 1"];
    let all = || lines.map(|line| Series { start_ms: 1_700_000_000_500, ..series(line) }).to_vec();
    let text = |options| String::from_utf8(bytes(OPEN, options, &types, all())).unwrap();
    assert!(!text(PLAIN).contains("_created"));
    let created = Options { created: Told::Told, ..PLAIN };
    let told = text(created);
    for line in ["c_created{a=\"b\"}", "h_created", "s_created"] {
        assert!(told.contains(&format!("\n{line} 1.7000000005e+09\n")), "{line}\n{told}");
    }
    assert!(!told.contains("g_created"), "{told}");
    // A series that says so itself goes before it.
    let both = [all(), vec![series("c_created{a=b} 5")]].concat();
    let told = String::from_utf8(bytes(OPEN, created, &types, both)).unwrap();
    assert!(told.contains("\nc_created{a=\"b\"} 5.0\n"), "{told}");
    // In protobuf: a field of the counter, of the summary and of the histogram.
    let body = bytes(PROTOBUF, created, &types, all());
    let seconds = [8, 0x80, 0xe2, 0xcf, 0xaa, 6, 16, 0x80, 0xca, 0xb5, 0xee, 1];
    for field in [3 << 3 | 2, 4 << 3 | 2, 15 << 3 | 2] {
        let message = [&[field, seconds.len() as u8][..], &seconds].concat();
        assert_eq!(body.windows(message.len()).filter(|part| *part == message).count(), 1, "{field}");
    }
}

#[test]
fn names_are_escaped_before_they_are_compared() {
    let lines = ["a.b{c.d=1} 1 @1", "a_b{c_d=1} 2 @2", "h.x_bucket{le=+Inf} 2", "h.x_sum 3", "h.x_count 2"];
    let wanted = "# TYPE a_b gauge\na_b{c_d=\"1\"} 2\n# TYPE h_x histogram\nh_x_bucket{le=\"+Inf\"} 2\nh_x_sum 3\nh_x_count 2\n";
    assert_eq!(page("", PLAIN, &[], &lines), wanted);
    let text = page("text/plain;escaping=allow-utf-8", PLAIN, &[], &lines);
    assert!(text.contains("# TYPE \"a.b\" gauge\n{\"a.b\",\"c.d\"=\"1\"} 1\n"), "{text}");
    assert!(text.contains("# TYPE \"h.x\" histogram\n{\"h.x_bucket\",le=\"+Inf\"} 2\n"), "{text}");
}

#[test]
fn labels_that_readers_keep_for_themselves_are_left_out() {
    let lines = ["a{__b=c,d=e} 1 @1", "a{__b=f,d=e} 2 @2", "a{__g=h} 3", "a{.b=c} 4 @1"];
    let wanted = "# TYPE a gauge\na{_b=\"c\"} 4\na{d=\"e\"} 2\na 3\n";
    assert_eq!(sorted(&page("", PLAIN, &[], &lines)), sorted(wanted));
    // Escaping may make one.
    assert_eq!(page("", PLAIN, &[], &["a{..b=c,d=e} 1"]), "# TYPE a gauge\na{d=\"e\"} 1\n");
}

/// The lines of a page in an order of their own.
fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn families_stand_in_the_order_of_their_ranks() {
    let ranked = |rank, line| Series { rank, ..series(line) };
    let all = vec![ranked(2, "a 1"), ranked(0, "c 1"), ranked(1, "b 1"), ranked(0, "b 1")];
    let text = String::from_utf8(bytes("", PLAIN, &[], all)).unwrap();
    assert_eq!(text, "# TYPE b gauge\nb 1\n# TYPE c gauge\nc 1\n# TYPE a gauge\na 1\n");
}

#[test]
fn native_histograms_are_classic_ones_where_they_can_be() {
    let custom = Histogram {
        schema: CUSTOM_BOUNDS_SCHEMA,
        zero_threshold: 0.0,
        sum: 7.25,
        reset_hint: ResetHint::Unknown,
        positive_spans: vec![model::histogram::Span { offset: 0, length: 2 }],
        negative_spans: vec![],
        counts: BucketCounts::Integer { count: 6, zero: 0, positive: vec![2, 4], negative: vec![] },
        custom_bounds: vec![0.5],
    };
    let exponential = Histogram { schema: 0, custom_bounds: vec![], ..custom.clone() };
    let of = |histogram: &Histogram, line| Series {
        value: Newest::Histogram(Arc::new(histogram.clone())),
        ..series(line)
    };
    let all = || vec![of(&custom, "n{a=b} 0"), of(&exponential, "e 0"), series("f 1")];
    let text = String::from_utf8(bytes(OPEN, PLAIN, &[], all())).unwrap();
    let wanted = "# TYPE f gauge\nf 1.0\n# TYPE n histogram\nn_bucket{a=\"b\",le=\"0.5\"} 2\nn_bucket{a=\"b\",le=\"+Inf\"} 6\n\
        n_sum{a=\"b\"} 7.25\nn_count{a=\"b\"} 6\n# EOF\n";
    assert_eq!(text, wanted);
    let gauge = Histogram { reset_hint: ResetHint::Gauge, ..custom.clone() };
    let text = bytes(OPEN, PLAIN, &["n gaugehistogram"], vec![of(&gauge, "n 0")]);
    let text = String::from_utf8(text).unwrap();
    assert!(
        text.starts_with("# TYPE n gaugehistogram\n") && text.contains("n_gsum 7.25\nn_gcount 6\n"),
        "{text}"
    );
    let body = bytes(PROTOBUF, PLAIN, &[], all());
    for name in ["e", "f", "n"] {
        let family = [&[10, name.len() as u8][..], name.as_bytes()].concat();
        assert!(body.windows(family.len()).any(|part| part == family), "{name}");
    }
}
