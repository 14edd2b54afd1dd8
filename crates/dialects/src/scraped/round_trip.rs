//! What Weir writes for scrapers it reads as a scraper, in all forms.

use model::batch::Exemplar;
use model::histogram::{BucketCounts, CUSTOM_BOUNDS_SCHEMA, Histogram, ResetHint, Span};
use model::{Metadata, MetricType};
use proptest::prelude::*;

use super::{Format, Options, Protocol, Row, Sink, Value, accept, labels, read};
use crate::exposition::{self, Writer};

/// A family with its metrics.
#[derive(Clone, Debug)]
struct Written {
    name: String,
    kind: MetricType,
    unit: &'static str,
    help: String,
    metrics: Vec<Metric>,
}

#[derive(Clone, Debug)]
struct Metric {
    labels: Vec<(&'static str, String)>,
    value: Told,
    at_ms: Option<i64>,
    exemplar: Option<Exemplar>,
}

#[derive(Clone, Debug)]
enum Told {
    Float(f64),
    Histogram(Histogram),
}

/// A row as it was read or should be.
#[derive(Clone, Debug)]
struct Seen {
    labels: Vec<(String, String)>,
    value: Told,
    at_ms: Option<i64>,
    exemplars: Vec<Exemplar>,
}

impl PartialEq for Seen {
    fn eq(&self, other: &Self) -> bool {
        let values = match (&self.value, &other.value) {
            (Told::Float(a), Told::Float(b)) => a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan(),
            (Told::Histogram(a), Told::Histogram(b)) => a == b,
            _ => false,
        };
        values
            && (&self.labels, self.at_ms, &self.exemplars) == (&other.labels, other.at_ms, &other.exemplars)
    }
}

#[derive(Debug, Default)]
struct Page {
    rows: Vec<Seen>,
    families: Vec<(String, Metadata)>,
}

impl Sink for Page {
    fn row(&mut self, row: Row<'_>) {
        let mut pairs = Vec::new();
        labels(row.series, &mut pairs).unwrap();
        let value = match row.value {
            Value::Float(value) => Told::Float(value),
            Value::Histogram(histogram) => Told::Histogram((*histogram).clone()),
        };
        self.rows.push(Seen {
            labels: pairs.into_iter().map(|(name, value)| (name.into_owned(), value.into_owned())).collect(),
            value,
            at_ms: row.timestamp_ms,
            exemplars: row.exemplars.to_vec(),
        });
    }

    fn metadata(&mut self, family: &str, metadata: Metadata) {
        self.families.push((family.to_owned(), metadata));
    }

    fn bad_exemplar(&mut self, what: &'static str) {
        panic!("{what}");
    }
}

/// The rows that stand for a metric in a form.
fn wanted(family: &Written, metric: &Metric, format: Format, rows: &mut Vec<Seen>) {
    let mut push = |suffix: &str, bound: Option<&str>, value: Told, exemplars: Vec<Exemplar>| {
        let mut labels = vec![("__name__".to_owned(), format!("{}{suffix}", family.name))];
        labels.extend(metric.labels.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        labels.extend(bound.map(|bound| ("le".to_owned(), bound.to_owned())));
        rows.push(Seen { labels, value, at_ms: metric.at_ms, exemplars });
    };
    match &metric.value {
        Told::Float(value) => {
            let may = match format {
                Format::Prometheus => false,
                Format::OpenMetrics => family.kind == MetricType::Counter && family.name.ends_with("_total"),
                Format::Protobuf => family.kind == MetricType::Counter,
            };
            let exemplars = metric.exemplar.iter().filter(|_| may).cloned().collect();
            push("", None, Told::Float(*value), exemplars);
        }
        Told::Histogram(histogram) if histogram.schema == CUSTOM_BOUNDS_SCHEMA => {
            let BucketCounts::Integer { count, positive, .. } = &histogram.counts else { panic!() };
            let number = |number: u64| Told::Float(number as f64);
            let buckets = [("0.5", positive[0]), ("1.0", positive[0] + positive[1]), ("+Inf", *count)];
            let gauge = histogram.reset_hint == ResetHint::Gauge && format == Format::OpenMetrics;
            let (sum, all) = if gauge { ("_gsum", "_gcount") } else { ("_sum", "_count") };
            if format == Format::Protobuf {
                push(all, None, number(*count), vec![]);
                push(sum, None, Told::Float(histogram.sum), vec![]);
            }
            buckets.iter().for_each(|(bound, below)| push("_bucket", Some(bound), number(*below), vec![]));
            if format != Format::Protobuf {
                push(sum, None, Told::Float(histogram.sum), vec![]);
                push(all, None, number(*count), vec![]);
            }
        }
        Told::Histogram(histogram) if format == Format::Protobuf => {
            push("", None, Told::Histogram(histogram.clone()), vec![]);
        }
        Told::Histogram(_) => {}
    }
}

/// What is said of a family in a form.
fn said(family: &Written, format: Format) -> (String, Metadata) {
    let is_histogram = family.kind == MetricType::Histogram;
    let gauge = family.metrics.iter().any(
        |metric| matches!(&metric.value, Told::Histogram(histogram) if histogram.reset_hint == ResetHint::Gauge),
    );
    let (mut name, mut kind) = (family.name.as_str(), family.kind);
    if is_histogram && gauge && format != Format::Prometheus {
        kind = MetricType::GaugeHistogram;
    }
    if format == Format::OpenMetrics {
        let suffix = match kind {
            MetricType::Counter => "_total",
            MetricType::Info => "_info",
            _ => "",
        };
        (name, kind) = name.strip_suffix(suffix).map_or((name, MetricType::Unknown), |name| (name, kind));
    } else if kind == MetricType::Info {
        kind = MetricType::Gauge;
    }
    let unit = match format {
        Format::Prometheus => "",
        Format::OpenMetrics if !name.ends_with("_seconds") => "",
        _ => family.unit,
    };
    (name.to_owned(), Metadata { kind, unit: unit.to_owned(), help: family.help.clone() })
}

fn check(families: &[Written], protocol: Protocol) {
    let format = protocol.format();
    let header = accept(&[protocol]);
    // Protobuf says nothing of names: they are escaped unless that is asked for.
    let header = header.replacen("encoding=delimited", "encoding=delimited;escaping=allow-utf-8", 1);
    let mut writer = Writer::new(exposition::Format::negotiated([header.as_str()]));
    let (mut rows, mut told) = (Vec::new(), Vec::new());
    for family in families {
        let before = rows.len();
        for metric in &family.metrics {
            let labels: Vec<_> = metric.labels.iter().map(|(n, v)| (*n, v.as_str())).collect();
            let value = match &metric.value {
                Told::Float(value) => exposition::Value::Float(*value),
                Told::Histogram(histogram) => exposition::Value::Histogram(histogram),
            };
            let (kind, unit, help) = (family.kind, family.unit, family.help.as_str());
            let said = exposition::Family { name: &family.name, kind, unit, help };
            let exemplar = metric.exemplar.as_ref();
            writer
                .write(&said, &exposition::Metric { labels: &labels, value, at_ms: metric.at_ms, exemplar });
            wanted(family, metric, format, &mut rows);
        }
        if rows.len() > before {
            told.push(said(family, format));
        }
    }
    let body = writer.finish();
    let options = Options { native_histograms: true, ..Options::default() };
    let mut page = Page::default();
    read(format, &body, &options, &mut page)
        .unwrap_or_else(|violation| panic!("{violation} in {}", String::from_utf8_lossy(&body)));
    assert_eq!(page.rows, rows, "{}", String::from_utf8_lossy(&body));
    assert_eq!(page.families, told, "{}", String::from_utf8_lossy(&body));
}

fn moments() -> impl Strategy<Value = i64> {
    (-4_000_000_000_000..4_000_000_000_000i64).prop_map(|ms| if ms == 0 { 1 } else { ms })
}

fn exemplars() -> impl Strategy<Value = Exemplar> {
    (
        proptest::collection::vec("\\PC{0,9}", 0..3),
        any::<f64>().prop_filter("a number", |v| !v.is_nan()),
        moments(),
    )
        .prop_map(|(values, value, timestamp_ms)| Exemplar {
            labels: ["id", "b.c"].iter().zip(values).map(|(n, v)| ((*n).to_owned(), v)).collect(),
            value,
            timestamp_ms,
        })
}

fn histograms() -> impl Strategy<Value = Histogram> {
    let counts = proptest::collection::vec(0..1_000_000u64, 3);
    (any::<bool>(), any::<bool>(), counts, -4..9i32, -1e9..1e9f64).prop_map(
        |(custom, gauge, positive, schema, sum)| {
            let zero = if custom { 0 } else { 4 };
            let count = zero + positive.iter().sum::<u64>();
            let spans = [Span { offset: -3, length: 2 }, Span { offset: 7, length: 1 }];
            Histogram {
                schema: if custom { CUSTOM_BOUNDS_SCHEMA } else { schema },
                zero_threshold: if custom { 0.0 } else { 1e-128 },
                sum,
                reset_hint: if gauge { ResetHint::Gauge } else { ResetHint::Unknown },
                positive_spans: if custom { vec![Span { offset: 0, length: 3 }] } else { spans.to_vec() },
                negative_spans: vec![],
                counts: BucketCounts::Integer { count, zero, positive, negative: vec![] },
                custom_bounds: if custom { vec![0.5, 1.0] } else { vec![] },
            }
        },
    )
}

fn metrics(histogram: Option<Histogram>) -> impl Strategy<Value = Metric> {
    let value = match histogram {
        Some(histogram) => Just(Told::Histogram(histogram)).boxed(),
        None => any::<f64>().prop_map(Told::Float).boxed(),
    };
    let values = proptest::collection::vec(any::<String>(), 0..4);
    let exemplar = proptest::option::of(exemplars());
    (values, value, proptest::option::of(moments()), exemplar).prop_map(|(values, value, at_ms, exemplar)| {
        Metric {
            labels: ["a", "b.c", "_é", "instance"].into_iter().zip(values).collect(),
            value,
            at_ms,
            exemplar,
        }
    })
}

fn families() -> impl Strategy<Value = Vec<Written>> {
    let kinds = [MetricType::Unknown, MetricType::Counter, MetricType::Gauge, MetricType::Info];
    let name = proptest::sample::select(vec![
        "",
        "_total",
        "_info",
        ".x",
        ":y",
        "é\"q\\",
        "_seconds_total",
        "_seconds",
    ]);
    let help =
        any::<String>().prop_filter("no CR at the end: it is taken for a line's", |s| !s.ends_with('\r'));
    let histogram = proptest::option::of(histograms());
    let family = (name, proptest::sample::select(kinds.to_vec()), help, histogram).prop_flat_map(
        |(name, kind, help, histogram)| {
            let kind = if histogram.is_some() { MetricType::Histogram } else { kind };
            proptest::collection::vec(metrics(histogram), 1..3).prop_map(move |metrics| Written {
                name: name.to_owned(),
                kind,
                unit: if name.contains("_seconds") { "seconds" } else { "" },
                help: help.clone(),
                metrics,
            })
        },
    );
    proptest::collection::vec(family, 1..4).prop_map(|mut families| {
        families.iter_mut().enumerate().for_each(|(i, family)| family.name.insert_str(0, &format!("f{i}")));
        families
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read(families in families()) {
        check(&families, Protocol::PrometheusText1_0_0);
        check(&families, Protocol::OpenMetricsText1_0_0);
        check(&families, Protocol::PrometheusProto);
    }
}
