//! Pages and what is read of them.

use std::fmt::Write as _;

use model::histogram::{BucketCounts, ResetHint, Span};
use model::{Metadata, MetricType};

use super::*;

/// What stands on a page, a line each.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Page {
    pub(super) rows: Vec<String>,
    pub(super) families: Vec<(String, Metadata)>,
    pub(super) histograms: Vec<Arc<Histogram>>,
    pub(super) bad_exemplars: Vec<&'static str>,
}

impl Page {
    pub(super) fn of(format: Format, body: &[u8], options: &Options) -> Result<Self, Violation> {
        let mut page = Self::default();
        read(format, body, options, &mut page)?;
        Ok(page)
    }
}

impl Sink for Page {
    fn row(&mut self, row: Row<'_>) {
        let mut text = match &row.value {
            Value::Float(value) => {
                let mut text = format!("{} ", row.series);
                codec::float::write_general(*value, &mut text);
                text
            }
            Value::Histogram(histogram) => {
                self.histograms.push(histogram.clone());
                format!("{} histogram", row.series)
            }
        };
        let _ = row.timestamp_ms.map(|ms| write!(text, " @{ms}"));
        if row.start_ms != 0 {
            let _ = write!(text, " since {}", row.start_ms);
        }
        for exemplar in row.exemplars {
            let labels: Vec<_> = exemplar.labels.iter().map(|(n, v)| format!("{n}={v}")).collect();
            let _ = write!(text, " # {} {} @{}", labels.join(","), exemplar.value, exemplar.timestamp_ms);
        }
        self.rows.push(text);
    }

    fn metadata(&mut self, family: &str, metadata: Metadata) {
        self.families.push((family.to_owned(), metadata));
    }

    fn bad_exemplar(&mut self, what: &'static str) {
        self.bad_exemplars.push(what);
    }
}

const OPTIONS: Options =
    Options { native_histograms: true, classic_beside_native: false, start_timestamps: true, scraped_ms: 5 };

fn rows(format: Format, body: &str) -> Vec<String> {
    Page::of(format, body.as_bytes(), &OPTIONS).unwrap_or_else(|e| panic!("{body}: {e}")).rows
}

fn fault(format: Format, body: &[u8]) -> String {
    Page::of(format, body, &OPTIONS).unwrap_err().to_string()
}

#[test]
fn what_peers_write_is_taken() {
    for (body, wanted) in [
        ("up 1", &["up 1"][..]),
        ("up 1\r\nb 2\r\n", &["up 1", "b 2"]),
        ("\n\n  up\t1  \n\t\n", &["up 1"]),
        ("a Nan\nb +inF\nc -INF\ne 1e3", &["a NaN", "b +Inf", "c -Inf", "e 1000"]),
        ("up{a=\"b\",} 1 1700000000123", &["up{a=\"b\",} 1 @1700000000123"]),
        ("up{a=\"b\"c=\"d\"}1", &["up{a=\"b\"c=\"d\"} 1"]),
        (
            "{\"my.name\",\"a.b\"=\"c\"} 1\n{a=\"b\",\"n\"} 2",
            &["{\"my.name\",\"a.b\"=\"c\"} 1", "{a=\"b\",\"n\"} 2"],
        ),
        ("up{a=\"b\nc\",d=\"\n\"} 1\nnext 2", &["up{a=\"b\\nc\",d=\"\\n\"} 1", "next 2"]),
        ("#up 1\n#TYPE x y\n# TYPE\n# HELP\n# UNIT \n# words of any kind {\nup 1", &["up 1"]),
        ("# EOF\nup 1", &["up 1"]),
        ("", &[]),
    ] {
        assert_eq!(rows(Format::Prometheus, body), wanted, "{body:?}");
    }
}

#[test]
fn a_comment_may_be_anything_and_a_series_is_utf8() {
    let body = b"# caf\xe9\nup 1\n";
    assert_eq!(Page::of(Format::Prometheus, body, &OPTIONS).unwrap().rows, ["up 1"]);
    assert_eq!(
        fault(Format::Prometheus, b"up 1\nup{a=\"\xe9\"} 1\n"),
        "line 2: text is not valid UTF-8: up{a=\"\u{fffd}\"} 1"
    );
    assert!(fault(Format::Prometheus, b"# HELP up \xe9\n").starts_with("line 1: text is not valid UTF-8"));
}

#[test]
fn the_first_bad_line_fails_the_page_with_its_number() {
    let long = format!("up{{a=\"{}\"}} x", "é".repeat(500));
    for (format, body, wanted) in [
        (Format::Prometheus, "up 1\n\nup x\nup y", "line 3: value is not a number: up x"),
        (Format::Prometheus, "up{a=\"\n\"} 1\nup x", "line 3: value is not a number: up x"),
        (Format::Prometheus, "up{a=\"b} 1\nup 2", "line 1: quoted text without an end: up{a=\"b} 1"),
        (Format::Prometheus, "# TYPE up meh\nup 1", "line 1: unknown metric type: # TYPE up meh"),
        (Format::Prometheus, "up 1 1.5", "line 1: timestamp is not a whole number of ms: up 1 1.5"),
        (Format::Prometheus, "{a=\"b\"} 1", "line 1: metric name is missing: {a=\"b\"} 1"),
        (Format::Prometheus, "<html>\n", "line 1: line begins with neither a name nor a brace: <html>"),
        (Format::OpenMetrics, "up 1\n", "line 2: page does not end with # EOF"),
        (Format::OpenMetrics, "", "line 1: page does not end with # EOF"),
        (Format::OpenMetrics, "up 1\n# EOF\nup 2\n", "line 3: text after # EOF: up 2"),
        (Format::OpenMetrics, "up{a=\"\n\"} 1\n# EOF", "line 1: quoted text without an end: up{a=\""),
        (Format::Prometheus, &long, &format!("line 1: value is not a number: up{{a=\"{}…", "é".repeat(29))),
    ] {
        assert_eq!(fault(format, body.as_bytes()), wanted, "{body:?}");
    }
    let feeds = format!("up{{a=\"{}\"}} 1", "\n".repeat(17));
    assert!(fault(Format::Prometheus, feeds.as_bytes()).starts_with("line 1: quoted text without an end"));
}

#[test]
fn a_family_is_told_of_once_and_keeps_its_words() {
    let body = "# HELP a Has \\\"no\\\" \\\\ \\n feed. \r\n# HELP b\n# TYPE a counter\na 1\n# TYPE b untyped\nb 1\n\
        # TYPE \"my.name\" gaugehistogram\n# UNIT b seconds";
    let families = Page::of(Format::Prometheus, body.as_bytes(), &OPTIONS).unwrap().families;
    let told = |name: &str, kind, unit: &str, help: &str| {
        (name.to_owned(), Metadata { kind, unit: unit.to_owned(), help: help.to_owned() })
    };
    assert_eq!(
        families,
        [
            told("a", MetricType::Counter, "", "Has \\\"no\\\" \\ \n feed. "),
            told("b", MetricType::Unknown, "seconds", ""),
            told("my.name", MetricType::GaugeHistogram, "", ""),
        ]
    );
    let body = "# TYPE a counter\n# HELP a Has \\\"quotes\\\".\n# EOF";
    let families = Page::of(Format::OpenMetrics, body.as_bytes(), &OPTIONS).unwrap().families;
    assert_eq!(families, [told("a", MetricType::Counter, "", "Has \"quotes\".")]);
}

#[test]
fn bounds_are_one_series_however_they_are_written() {
    let body = "# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{a=\"b\",le=\"1000000\"} 2\nh_bucket{le=\"+Inf\"} 2\n\
        # TYPE s summary\ns{quantile=\"1\",le=\"1\"} 1\n# TYPE g gauge\ng{le=\"1\",quantile=\"1\"} 1\n";
    assert_eq!(
        rows(Format::Prometheus, body),
        [
            "h_bucket{le=\"1.0\"} 1",
            "h_bucket{a=\"b\",le=\"1e+06\"} 2",
            "h_bucket{le=\"+Inf\"} 2",
            "s{quantile=\"1.0\",le=\"1\"} 1",
            "g{le=\"1\",quantile=\"1\"} 1",
        ]
    );
}

#[test]
fn openmetrics_has_seconds_and_exemplars() {
    let body = "# TYPE a counter\na_total 1 1.25 # {id=\"7\"} 0.5 1520879607.789\na_total{b=\"c\"} 1 2 # {} 3\n\
        a_total{b=\"d\"} 1 # {x=\"y\"} 4\na_total{b=\"e\"} 1 # {x=\"1\",x=\"2\"} 4\n# EOF";
    let page = Page::of(Format::OpenMetrics, body.as_bytes(), &OPTIONS).unwrap();
    assert_eq!(
        page.rows,
        [
            "a_total 1 @1250 # id=7 0.5 @1520879607789",
            "a_total{b=\"c\"} 1 @2000 #  3 @2000",
            "a_total{b=\"d\"} 1 # x=y 4 @5",
            "a_total{b=\"e\"} 1",
        ]
    );
    assert_eq!(page.bad_exemplars, ["exemplar with an empty or repeated label name"]);
}

#[test]
fn no_number_is_hexadecimal() {
    for (format, line) in [
        (Format::Prometheus, "a 0x1p-2\n"),
        (Format::Prometheus, "a{p=\"P\"} -0X1P3 5\n"),
        (Format::OpenMetrics, "a_total 0x1p3 # {} 1\n# EOF"),
        (Format::OpenMetrics, "a_total 1 # {b=\"}\"} 0x1p3\n# EOF"),
        (Format::OpenMetrics, "a_total 1 # {} 1 0x1p3\n# EOF"),
    ] {
        let refused = Page::of(format, line.as_bytes(), &OPTIONS).err().unwrap();
        assert_eq!(refused.what, format!("value is not a number: {}", line.lines().next().unwrap()));
    }
    let fine = "p_total{p=\"0x1p3\"} 1 # {p=\"P} 0x1p3\"} 2\n# EOF";
    assert_eq!(Page::of(Format::OpenMetrics, fine.as_bytes(), &OPTIONS).unwrap().rows.len(), 1);
}

const CREATED: &str = r#"# HELP a Words.
# TYPE a counter
a_created{x="1",y="2"} 1520430000.123
a_total{y="2",x="1"} 5
a_total{x="2"} 6
a_created{x="2"} 1.5e9
a_total{x="3"} 7
# TYPE h histogram
# HELP h Words.
h_bucket{x="1",le="1"} 0
h_bucket{x="1",le="+Inf"} 0
h_count{x="1"} 0
h_sum{x="1"} 0
h_created{x="1"} 7
hh_sum{x="1"} 8
# TYPE "my.sum" summary
{"my.sum",quantile="0.5"} 1
{"my.sum_created"} 9
# TYPE a_created gauge
a_created 1
# EOF
"#;

#[test]
fn created_tells_when_series_began_wherever_it_stands() {
    let wanted = [
        "a_total{y=\"2\",x=\"1\"} 5 since 1520430000123",
        "a_total{x=\"2\"} 6 since 1500000000000",
        "a_total{x=\"3\"} 7",
        "h_bucket{x=\"1\",le=\"1.0\"} 0 since 7000",
        "h_bucket{x=\"1\",le=\"+Inf\"} 0 since 7000",
        "h_count{x=\"1\"} 0 since 7000",
        "h_sum{x=\"1\"} 0 since 7000",
        "hh_sum{x=\"1\"} 8",
        "{\"my.sum\",quantile=\"0.5\"} 1 since 9000",
        "a_created 1",
    ];
    assert_eq!(rows(Format::OpenMetrics, CREATED), wanted);
    let options = Options { start_timestamps: false, ..OPTIONS };
    let page = Page::of(Format::OpenMetrics, CREATED.as_bytes(), &options).unwrap();
    let rows: Vec<_> = page.rows.iter().filter(|row| row.contains("_created")).collect();
    assert_eq!((page.rows.len(), rows.len()), (14, 5), "{rows:?}");
    assert!(page.rows.iter().all(|row| !row.contains("since")));
}

/// Appends a family to a page of protobuf.
fn family(name: &str, kind: u64, metrics: &[&[u8]], page: &mut Vec<u8>) {
    use codec::proto::{write_bytes, write_number};
    let mut message = Vec::new();
    // Metrics first: the type and name may come behind them.
    metrics.iter().for_each(|metric| write_bytes(4, metric, &mut message));
    write_bytes(1, name.as_bytes(), &mut message);
    write_number(3, kind, &mut message);
    write_bytes(2, b"Words.", &mut message);
    write_bytes(5, b"seconds", &mut message);
    codec::varint::write(message.len() as u64, page);
    page.append(&mut message);
}

/// A metric with the label `a="b"`, a time and a value.
fn metric(field: u32, value: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    use codec::proto::{write_message, write_number};
    let mut out = Vec::new();
    write_message(1, &mut out, |out| label("a", "b", out));
    write_message(field, &mut out, value);
    write_number(6, 7, &mut out);
    out
}

fn label(name: &str, value: &str, out: &mut Vec<u8>) {
    codec::proto::write_bytes(1, name.as_bytes(), out);
    codec::proto::write_bytes(2, value.as_bytes(), out);
}

fn time(field: u32, seconds: u64, out: &mut Vec<u8>) {
    use codec::proto::{write_message, write_number};
    write_message(field, out, |out| {
        write_number(1, seconds, out);
        write_number(2, 250_000_000, out);
    });
}

fn exemplar(field: u32, value: f64, seconds: Option<u64>, out: &mut Vec<u8>) {
    use codec::proto::{write_double, write_message};
    write_message(field, out, |out| {
        write_message(1, out, |out| label("id", "7", out));
        write_double(2, value, out);
        if let Some(seconds) = seconds {
            time(3, seconds, out);
        }
    });
}

#[test]
fn protobuf_of_every_type() {
    use codec::proto::{write_double, write_message, write_number};
    let counter = metric(3, |out| {
        write_double(1, 5.0, out);
        exemplar(2, 0.5, None, out);
        time(3, 9, out);
    });
    let gauge = metric(2, |out| write_double(1, -1.5, out));
    let summary = metric(4, |out| {
        write_number(1, 3, out);
        write_double(2, 4.5, out);
        for (quantile, value) in [(0.5, 1.0), (1.0, f64::NAN)] {
            write_message(3, out, |out| {
                write_double(1, quantile, out);
                write_double(2, value, out);
            });
        }
        time(4, 9, out);
    });
    let untyped = metric(5, |out| write_double(1, 1.0, out));
    let classic = metric(7, |out| {
        write_number(1, 3, out);
        write_double(2, 4.5, out);
        for (bound, count) in [(0.1, 1), (1.0, 2)] {
            write_message(3, out, |out| {
                write_number(1, count, out);
                write_double(2, bound, out);
                exemplar(3, bound, Some(count), out);
            });
        }
        time(15, 9, out);
    });
    let mut page = Vec::new();
    family("c_total", 0, &[&counter], &mut page);
    family("g", 1, &[&gauge, &[]], &mut page);
    family("s", 2, &[&summary], &mut page);
    family("u", 3, &[&untyped], &mut page);
    family("h.x", 4, &[&classic], &mut page);
    family("empty", 4, &[], &mut page);
    let page = Page::of(Format::Protobuf, &page, &OPTIONS).unwrap();
    assert_eq!(
        page.rows,
        [
            "c_total{a=\"b\"} 5 @7 since 9250 # id=7 0.5 @7",
            "g{a=\"b\"} -1.5 @7",
            "g 0",
            "s_count{a=\"b\"} 3 @7 since 9250",
            "s_sum{a=\"b\"} 4.5 @7 since 9250",
            "s{a=\"b\",quantile=\"0.5\"} 1 @7 since 9250",
            "s{a=\"b\",quantile=\"1.0\"} NaN @7 since 9250",
            "u{a=\"b\"} 1 @7",
            "{\"h.x_count\",a=\"b\"} 3 @7 since 9250",
            "{\"h.x_sum\",a=\"b\"} 4.5 @7 since 9250",
            "{\"h.x_bucket\",a=\"b\",le=\"0.1\"} 1 @7 since 9250 # id=7 0.1 @1250",
            "{\"h.x_bucket\",a=\"b\",le=\"1.0\"} 2 @7 since 9250 # id=7 1 @2250",
            "{\"h.x_bucket\",a=\"b\",le=\"+Inf\"} 3 @7 since 9250",
        ]
    );
    assert_eq!(page.families.len(), 5);
    let (name, metadata) = &page.families[4];
    assert_eq!(
        (name.as_str(), metadata.kind, metadata.unit.as_str()),
        ("h.x", MetricType::Histogram, "seconds")
    );
}

/// A histogram that is native and classic.
fn both(out: &mut Vec<u8>) {
    use codec::proto::{write_double, write_message, write_number};
    use codec::varint::zigzag;
    write_number(1, 6, out);
    write_double(2, 4.5, out);
    for (bound, count) in [(0.5, 2), (f64::INFINITY, 6)] {
        write_message(3, out, |out| {
            write_number(1, count, out);
            write_double(2, bound, out);
            exemplar(3, bound, (count == 2).then_some(3), out);
        });
    }
    write_number(5, zigzag(3), out);
    write_double(6, 0.001, out);
    write_number(7, 1, out);
    // A span of nothing moves the one behind it.
    for (offset, length) in [(-2, 1), (1, 0), (2, 2)] {
        write_message(12, out, |out| {
            write_number(1, zigzag(offset), out);
            write_number(2, length, out);
        });
    }
    [2i64, -1, 1].iter().for_each(|delta| write_number(13, zigzag(*delta), out));
}

#[test]
fn native_histograms_and_their_classic_parts() {
    let mut page = Vec::new();
    family("h", 4, &[&metric(7, both)], &mut page);
    family("g", 5, &[&metric(7, both)], &mut page);
    let native = Page::of(Format::Protobuf, &page, &OPTIONS).unwrap();
    assert_eq!(
        native.rows,
        ["h{a=\"b\"} histogram @7 # id=7 0.5 @3250", "g{a=\"b\"} histogram @7 # id=7 0.5 @3250",]
    );
    let histogram = &*native.histograms[0];
    assert_eq!((histogram.schema, histogram.zero_threshold, histogram.sum), (3, 0.001, 4.5));
    assert_eq!(histogram.positive_spans, [Span { offset: -2, length: 1 }, Span { offset: 3, length: 2 }]);
    let counts = BucketCounts::Integer { count: 6, zero: 1, positive: vec![2, 1, 2], negative: vec![] };
    assert_eq!(histogram.counts, counts);
    assert_eq!(
        (histogram.reset_hint, native.histograms[1].reset_hint),
        (ResetHint::Unknown, ResetHint::Gauge)
    );
    let classic = [
        "h_count{a=\"b\"} 6 @7",
        "h_sum{a=\"b\"} 4.5 @7",
        "h_bucket{a=\"b\",le=\"0.5\"} 2 @7 # id=7 0.5 @3250",
        "h_bucket{a=\"b\",le=\"+Inf\"} 6 @7 # id=7 inf @7",
    ];
    let options = Options { native_histograms: false, ..OPTIONS };
    assert_eq!(Page::of(Format::Protobuf, &page, &options).unwrap().rows[..4], classic);
    let options = Options { classic_beside_native: true, ..OPTIONS };
    let beside = Page::of(Format::Protobuf, &page, &options).unwrap();
    assert_eq!((&beside.rows[0], &beside.rows[1..5]), (&native.rows[0], &classic.map(str::to_owned)[..]));
}

#[test]
fn protobuf_that_is_none_is_told_by_its_offset() {
    let mut page = Vec::new();
    family("h", 4, &[&metric(7, both)], &mut page);
    let cut = fault(Format::Protobuf, &page[..page.len() - 1]);
    assert_eq!(cut, "byte 2: length beyond the end of the message");
    let mut page = Vec::new();
    family("h", 9, &[&metric(7, both)], &mut page);
    assert!(fault(Format::Protobuf, &page).ends_with("unknown metric type"));
    let mut page = Vec::new();
    family("", 4, &[&metric(7, both)], &mut page);
    assert!(fault(Format::Protobuf, &page).ends_with("metric name is missing"));
    let mut page = Vec::new();
    let wrong = metric(7, |out| {
        both(out);
        codec::proto::write_number(13, 2, out);
    });
    family("h", 4, &[&wrong], &mut page);
    let fault = fault(Format::Protobuf, &page);
    assert!(fault.ends_with("native histogram spans need 3 buckets, 4 are given"), "{fault}");
}

#[test]
fn mutations_keep_the_rules() {
    let mut page = Vec::new();
    family("h", 4, &[&metric(7, both)], &mut page);
    let text = "# TYPE a counter\n# HELP a b\\n\na_total{x=\"1\",y=\"\\\\\"} 1 1.5 # {a=\"b\"} 2 3\na_created 4\n# EOF\n";
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as usize
    };
    for seed in [page.as_slice(), text.as_bytes(), CREATED.as_bytes()] {
        for _ in 0..3000 {
            let mut input = vec![next() as u8];
            input.extend_from_slice(seed);
            for _ in 0..1 + next() % 3 {
                let at = next() % input.len().max(1);
                if input.len() < 2 {
                    break;
                }
                match next() % 4 {
                    0 => drop(input.remove(at)),
                    1 => input.insert(at, b"{}\"\\\n #=,01\x00\xff"[next() % 13]),
                    2 => input[at] ^= 1 << (next() % 8),
                    _ => input.truncate(at.max(1)),
                }
            }
            exercise(&input);
        }
    }
}
