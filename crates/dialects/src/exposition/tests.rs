//! What is written is read again: text by Weir's own decoder, protobuf by messages that are declared here once more.

use model::Batch;
use model::histogram::{BucketCounts, CUSTOM_BOUNDS_SCHEMA, ResetHint, Span};
use prost::Message;

use super::*;

fn format(accept: &str) -> Format {
    Format::negotiated([accept])
}

const OPENMETRICS: &str = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8";
const TEXT: &str = "text/plain;escaping=allow-utf-8";
const PROTOBUF: &str =
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";

fn float(value: f64) -> Metric<'static> {
    Metric {
        labels: &[("job", "a\"b\\c\nd"), ("instance", "")],
        value: Value::Float(value),
        at_ms: Some(1_700_000_000_120),
        exemplar: None,
    }
}

fn custom(counts: BucketCounts) -> Histogram {
    Histogram {
        schema: CUSTOM_BOUNDS_SCHEMA,
        zero_threshold: 0.0,
        sum: 7.25,
        reset_hint: ResetHint::Unknown,
        positive_spans: vec![Span { offset: 0, length: 1 }, Span { offset: 1, length: 2 }],
        negative_spans: vec![],
        counts,
        custom_bounds: vec![0.1, 0.5, 1.0],
    }
}

fn exponential() -> Histogram {
    Histogram {
        schema: 3,
        zero_threshold: 0.001,
        positive_spans: vec![Span { offset: -2, length: 1 }, Span { offset: 1, length: 2 }],
        counts: BucketCounts::Integer { count: 11, zero: 1, positive: vec![2, 5, 3], negative: vec![] },
        custom_bounds: vec![],
        ..custom(BucketCounts::Integer { count: 0, zero: 0, positive: vec![], negative: vec![] })
    }
}

fn written(accept: &str) -> Vec<u8> {
    let mut writer = Writer::new(format(accept));
    let counter = Family {
        name: "requests_total",
        kind: MetricType::Counter,
        unit: "",
        help: "Said \"so\"\\\nand so.",
    };
    let exemplar = Exemplar { labels: vec![("id".into(), "7".into())], value: 0.5, timestamp_ms: 1_500 };
    writer.write(&counter, &Metric { exemplar: Some(&exemplar), ..float(1e6) });
    writer.write(&counter, &Metric { labels: &[], at_ms: None, ..float(3.0) });
    let gauge = Family { name: "wait_seconds", kind: MetricType::Gauge, unit: "seconds", help: "" };
    writer.write(&gauge, &float(f64::NAN));
    writer.write(
        &Family { name: "my.name", ..Family::default() },
        &Metric { labels: &[("a.b", "c")], ..float(-0.5) },
    );
    writer
        .write(&Family { name: "c", kind: MetricType::Counter, ..Family::default() }, &float(f64::INFINITY));
    // A part of a classic histogram.
    writer.write(&Family { name: "h_sum", kind: MetricType::Histogram, ..Family::default() }, &float(2.0));
    let whole =
        custom(BucketCounts::Integer { count: 12, zero: 0, positive: vec![2, 4, 6], negative: vec![] });
    let classic = Family { name: "classic", kind: MetricType::Histogram, ..Family::default() };
    writer.write(&classic, &Metric { value: Value::Histogram(&whole), ..float(0.0) });
    let native = Family { name: "native", ..Family::default() };
    writer.write(&native, &Metric { value: Value::Histogram(&exponential()), ..float(0.0) });
    writer.finish()
}

#[test]
fn text() {
    let wanted = r#"# HELP requests_total Said "so"\\\nand so.
# TYPE requests_total counter
requests_total{job="a\"b\\c\nd",instance=""} 1e+06 1700000000120
requests_total 3
# TYPE wait_seconds gauge
wait_seconds{job="a\"b\\c\nd",instance=""} NaN 1700000000120
# TYPE "my.name" untyped
{"my.name","a.b"="c"} -0.5 1700000000120
# TYPE c counter
c{job="a\"b\\c\nd",instance=""} +Inf 1700000000120
# TYPE h_sum untyped
h_sum{job="a\"b\\c\nd",instance=""} 2 1700000000120
# TYPE classic histogram
classic_bucket{job="a\"b\\c\nd",instance="",le="0.1"} 2 1700000000120
classic_bucket{job="a\"b\\c\nd",instance="",le="0.5"} 2 1700000000120
classic_bucket{job="a\"b\\c\nd",instance="",le="1"} 6 1700000000120
classic_bucket{job="a\"b\\c\nd",instance="",le="+Inf"} 12 1700000000120
classic_sum{job="a\"b\\c\nd",instance=""} 7.25 1700000000120
classic_count{job="a\"b\\c\nd",instance=""} 12 1700000000120
"#;
    assert_eq!(String::from_utf8(written(TEXT)).unwrap(), wanted);
    let escaped = String::from_utf8(written("text/plain")).unwrap();
    assert!(escaped.contains("# TYPE my_name untyped\nmy_name{a_b=\"c\"} -0.5 "), "{escaped}");
}

#[test]
fn openmetrics() {
    let wanted = r#"# TYPE requests counter
# HELP requests Said \"so\"\\\nand so.
requests_total{job="a\"b\\c\nd",instance=""} 1e+06 1700000000.12 # {id="7"} 0.5 1.5
requests_total 3.0
# TYPE wait_seconds gauge
# UNIT wait_seconds seconds
wait_seconds{job="a\"b\\c\nd",instance=""} NaN 1700000000.12
# TYPE "my.name" unknown
{"my.name","a.b"="c"} -0.5 1700000000.12
# TYPE c unknown
c{job="a\"b\\c\nd",instance=""} +Inf 1700000000.12
# TYPE h_sum unknown
h_sum{job="a\"b\\c\nd",instance=""} 2.0 1700000000.12
# TYPE classic histogram
classic_bucket{job="a\"b\\c\nd",instance="",le="0.1"} 2 1700000000.12
classic_bucket{job="a\"b\\c\nd",instance="",le="0.5"} 2 1700000000.12
classic_bucket{job="a\"b\\c\nd",instance="",le="1.0"} 6 1700000000.12
classic_bucket{job="a\"b\\c\nd",instance="",le="+Inf"} 12 1700000000.12
classic_sum{job="a\"b\\c\nd",instance=""} 7.25 1700000000.12
classic_count{job="a\"b\\c\nd",instance=""} 12 1700000000.12
# EOF
"#;
    assert_eq!(String::from_utf8(written(OPENMETRICS)).unwrap(), wanted);
    assert_eq!(Writer::new(format(OPENMETRICS)).finish(), b"# EOF\n");
}

#[test]
fn two_families_never_have_one_name_in_openmetrics() {
    let mut writer = Writer::new(format(OPENMETRICS));
    for (name, kind) in [
        ("a_created", MetricType::Gauge),
        ("a_total", MetricType::Counter),
        ("b", MetricType::Gauge),
        ("b_info", MetricType::Info),
        ("b_total", MetricType::Counter),
        ("b_total", MetricType::Counter),
        ("c_total", MetricType::Counter),
    ] {
        writer.write(
            &Family { name, kind, ..Family::default() },
            &Metric { labels: &[], at_ms: None, ..float(1.0) },
        );
    }
    let wanted = "# TYPE a_created gauge\na_created 1.0\n# TYPE a_total unknown\na_total 1.0\n# TYPE b gauge\nb 1.0\n\
        # TYPE b_info unknown\nb_info 1.0\n# TYPE b_total unknown\nb_total 1.0\nb_total 1.0\n\
        # TYPE c counter\nc_total 1.0\n# EOF\n";
    assert_eq!(String::from_utf8(writer.finish()).unwrap(), wanted);
}

#[test]
fn weir_reads_its_own_text() {
    for accept in [TEXT, OPENMETRICS, "text/plain;escaping=values"] {
        let body = written(accept);
        let content_type = format(accept).to_string();
        let request = crate::Request {
            path: "/api/v1/import/prometheus",
            content_type: &content_type,
            ..Default::default()
        };
        let (_, route) = crate::find("POST", request.path).unwrap();
        let crate::Kind::Ingest { decode, .. } = route.kind else { panic!() };
        let mut batch = Batch::new(1);
        decode(&crate::Received { body: &body, received_ms: 5, ..crate::Received::new(request) }, &mut batch)
            .unwrap();
        assert!(batch.rejections.is_empty(), "{accept}: {:?}", batch.rejections);
        assert_eq!((batch.series.len(), batch.samples.len()), (12, 12), "{accept}");
        assert_eq!(batch.samples[0].timestamp_ms, 1_700_000_000_120);
    }
}

#[derive(Clone, PartialEq, Message)]
struct MetricFamily {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    help: String,
    #[prost(int32, tag = "3")]
    kind: i32,
    #[prost(message, repeated, tag = "4")]
    metric: Vec<Metric_>,
    #[prost(string, tag = "5")]
    unit: String,
}

#[derive(Clone, PartialEq, Message)]
struct Metric_ {
    #[prost(message, repeated, tag = "1")]
    label: Vec<LabelPair>,
    #[prost(message, optional, tag = "2")]
    gauge: Option<Number>,
    #[prost(message, optional, tag = "3")]
    counter: Option<Number>,
    #[prost(message, optional, tag = "5")]
    untyped: Option<Number>,
    #[prost(int64, optional, tag = "6")]
    timestamp_ms: Option<i64>,
    #[prost(message, optional, tag = "7")]
    histogram: Option<Histogram_>,
}

#[derive(Clone, PartialEq, Message)]
struct LabelPair {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct Number {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(message, optional, tag = "2")]
    exemplar: Option<Exemplar_>,
}

#[derive(Clone, PartialEq, Message)]
struct Exemplar_ {
    #[prost(message, repeated, tag = "1")]
    label: Vec<LabelPair>,
    #[prost(double, tag = "2")]
    value: f64,
    #[prost(message, optional, tag = "3")]
    timestamp: Option<Timestamp>,
}

#[derive(Clone, PartialEq, Message)]
struct Timestamp {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Histogram_ {
    #[prost(uint64, tag = "1")]
    count: u64,
    #[prost(double, tag = "2")]
    sum: f64,
    #[prost(message, repeated, tag = "3")]
    bucket: Vec<Bucket>,
    #[prost(double, tag = "4")]
    count_float: f64,
    #[prost(sint32, optional, tag = "5")]
    schema: Option<i32>,
    #[prost(double, tag = "6")]
    zero_threshold: f64,
    #[prost(uint64, tag = "7")]
    zero_count: u64,
    #[prost(message, repeated, tag = "12")]
    positive_span: Vec<Span_>,
    #[prost(sint64, repeated, packed = "false", tag = "13")]
    positive_delta: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct Bucket {
    #[prost(uint64, tag = "1")]
    count: u64,
    #[prost(double, tag = "2")]
    upper_bound: f64,
    #[prost(double, tag = "4")]
    count_float: f64,
}

#[derive(Clone, PartialEq, Message)]
struct Span_ {
    #[prost(sint32, tag = "1")]
    offset: i32,
    #[prost(uint32, tag = "2")]
    length: u32,
}

#[test]
fn protobuf() {
    let body = written(PROTOBUF);
    let (mut rest, mut families) = (&body[..], Vec::new());
    while !rest.is_empty() {
        families.push(MetricFamily::decode_length_delimited(&mut rest).unwrap());
    }
    let told: Vec<_> = families.iter().map(|f| (f.name.as_str(), f.kind, f.metric.len())).collect();
    let wanted = [
        ("requests_total", 0, 2),
        ("wait_seconds", 1, 1),
        ("my_name", 3, 1),
        ("c", 0, 1),
        ("h_sum", 3, 1),
        ("classic", 4, 1),
        ("native", 4, 1),
    ];
    assert_eq!(told, wanted);
    assert_eq!((families[0].help.as_str(), families[1].unit.as_str()), ("Said \"so\"\\\nand so.", "seconds"));
    let first = &families[0].metric[0];
    let counter = first.counter.as_ref().unwrap();
    assert_eq!((counter.value, first.timestamp_ms), (1e6, Some(1_700_000_000_120)));
    let exemplar = counter.exemplar.as_ref().unwrap();
    assert_eq!((exemplar.value, exemplar.label[0].value.as_str()), (0.5, "7"));
    assert_eq!(exemplar.timestamp, Some(Timestamp { seconds: 1, nanos: 500_000_000 }));
    assert_eq!((first.label[1].name.as_str(), first.label[1].value.as_str()), ("instance", ""));
    assert_eq!(families[0].metric[1].timestamp_ms, None);
    assert!(families[1].metric[0].gauge.as_ref().unwrap().value.is_nan());
    assert_eq!(families[2].metric[0].untyped.as_ref().unwrap().value, -0.5);
    let classic = families[5].metric[0].histogram.as_ref().unwrap();
    let buckets: Vec<_> = classic.bucket.iter().map(|b| (b.upper_bound, b.count)).collect();
    assert_eq!((classic.count, classic.schema, buckets), (12, None, vec![(0.1, 2), (0.5, 2), (1.0, 6)]));
    let native = families[6].metric[0].histogram.as_ref().unwrap();
    assert_eq!((native.count, native.sum, native.schema, native.zero_count), (11, 7.25, Some(3), 1));
    assert_eq!((native.zero_threshold, native.positive_delta.as_slice()), (0.001, &[2, 3, -2][..]));
    assert_eq!(native.positive_span, [Span_ { offset: -2, length: 1 }, Span_ { offset: 1, length: 2 }]);
}

#[test]
fn float_counts_stay_float() {
    let counts =
        BucketCounts::Float { count: 4.5, zero: 0.0, positive: vec![0.5, 1.0, 3.0], negative: vec![] };
    let histogram = Histogram { reset_hint: ResetHint::Gauge, ..custom(counts) };
    let family = Family { name: "g", ..Family::default() };
    let metric = Metric { labels: &[], at_ms: None, value: Value::Histogram(&histogram), exemplar: None };
    let write = |accept| {
        let mut writer = Writer::new(format(accept));
        writer.write(&family, &metric);
        writer.finish()
    };
    let text = String::from_utf8(write(OPENMETRICS)).unwrap();
    let wanted = "# TYPE g gaugehistogram\ng_bucket{le=\"0.1\"} 0.5\ng_bucket{le=\"0.5\"} 0.5\ng_bucket{le=\"1.0\"} 1.5\n\
        g_bucket{le=\"+Inf\"} 4.5\ng_gsum 7.25\ng_gcount 4.5\n# EOF\n";
    assert_eq!(text, wanted);
    let read = MetricFamily::decode_length_delimited(&write(PROTOBUF)[..]).unwrap();
    let histogram = read.metric[0].histogram.as_ref().unwrap();
    assert_eq!((read.kind, histogram.count_float, histogram.bucket[2].count_float), (5, 4.5, 1.5));
}
