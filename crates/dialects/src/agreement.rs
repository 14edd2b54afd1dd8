//! The same metric through every dialect that can say it: one series, one sample, whoever sent it.

use std::collections::BTreeSet;

use codec::proto::{FIXED64, write_bytes, write_double, write_key, write_message};
use model::{Batch, LabelLimits, Labels, Signal};

use crate::{ALL, Kind, Received, Request, lines_of, owner};

/// What all of them say.
const SERIES: &str = r#"requests_total{host="web-1", zone="eu west"}"#;
const TIME_MS: i64 = 1_795_167_944_000;
const VALUE: f64 = 42.5;

/// A request, as it is after unpacking.
struct Said {
    target: &'static str,
    content_type: &'static str,
    body: Vec<u8>,
}

fn said(target: &'static str, content_type: &'static str, body: impl Into<Vec<u8>>) -> Said {
    Said { target, content_type, body: body.into() }
}

/// Each dialect's way to say it.
fn sayings() -> Vec<Said> {
    vec![
        said(
            "/api/v1/import/prometheus",
            "text/plain",
            "requests_total{zone=\"eu west\",host=\"web-1\"} 42.5 1795167944000\n",
        ),
        said("/api/v1/write", "application/x-protobuf", remote_write()),
        said(
            "/metrics",
            "application/json",
            r#"{"name":"requests_total","counter":{"value":42.5},"tags":{"zone":"eu west","host":"web-1"},"dt":1795167944}"#,
        ),
        said("/", "application/msgpack", message_pack()),
        said("/v1/metrics", "application/x-protobuf", otlp()),
        said(
            "/otlp/v1/metrics",
            "application/json",
            r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"requests","sum":{"isMonotonic":true,"aggregationTemporality":2,
            "dataPoints":[{"timeUnixNano":"1795167944000000000","asDouble":42.5,"attributes":[
            {"key":"host","value":{"stringValue":"web-1"}},{"key":"zone","value":{"stringValue":"eu west"}}]}]}}]}]}]}"#,
        ),
        said(
            "/api/v1/import",
            "",
            r#"{"metric":{"__name__":"requests_total","zone":"eu west","host":"web-1"},"values":[42.5],"timestamps":[1795167944000]}"#,
        ),
        said(
            "/api/put",
            "application/json",
            r#"{"metric":"requests_total","timestamp":1795167944,"value":42.5,"tags":{"zone":"eu west","host":"web-1"}}"#,
        ),
        said("/write", "", "requests_total,host=web-1,zone=eu\\ west value=42.5 1795167944000000000\n"),
        said(
            "/services/collector",
            "",
            r#"{"time":1795167944,"event":"metric","fields":{"zone":"eu west","host":"web-1","metric_name:requests_total":42.5}}"#,
        ),
    ]
}

/// What stands in the JSON of the same address.
fn message_pack() -> Vec<u8> {
    let text = |text: &str| [&[0xa0 | text.len() as u8], text.as_bytes()].concat();
    [
        vec![0x84],
        text("name"),
        text("requests_total"),
        text("counter"),
        [vec![0x81], text("value"), vec![0xcb], VALUE.to_be_bytes().to_vec()].concat(),
        text("tags"),
        [vec![0x82], text("host"), text("web-1"), text("zone"), text("eu west")].concat(),
        text("dt"),
        [vec![0xd3], TIME_MS.to_be_bytes().to_vec()].concat(),
    ]
    .concat()
}

fn remote_write() -> Vec<u8> {
    let mut body = Vec::new();
    write_message(1, &mut body, |series| {
        for (name, value) in [("__name__", "requests_total"), ("host", "web-1"), ("zone", "eu west")] {
            write_message(1, series, |label| {
                write_bytes(1, name.as_bytes(), label);
                write_bytes(2, value.as_bytes(), label);
            });
        }
        write_message(2, series, |sample| {
            write_double(1, VALUE, sample);
            codec::proto::write_number(2, TIME_MS as u64, sample);
        });
    });
    body
}

/// A counter by OpenTelemetry's name for it.
fn otlp() -> Vec<u8> {
    let attribute = |key: &str, text: &str, out: &mut Vec<u8>| {
        write_message(7, out, |pair| {
            write_bytes(1, key.as_bytes(), pair);
            write_message(2, pair, |value| write_bytes(1, text.as_bytes(), value));
        });
    };
    let point = |out: &mut Vec<u8>| {
        write_key(3, FIXED64, out);
        out.extend((TIME_MS as u64 * 1_000_000).to_le_bytes());
        write_double(4, VALUE, out);
        attribute("zone", "eu west", out);
        attribute("host", "web-1", out);
    };
    let metric = |out: &mut Vec<u8>| {
        write_bytes(1, b"requests", out);
        write_message(7, out, |sum| {
            write_message(1, sum, point);
            codec::proto::write_number(2, 2, sum);
            codec::proto::write_number(3, 1, sum);
        });
    };
    let mut body = Vec::new();
    write_message(1, &mut body, |resource| {
        write_message(2, resource, |scope| write_message(2, scope, metric));
    });
    body
}

/// Series with their samples.
fn found(batch: &Batch<'_>) -> Vec<(String, Vec<(i64, f64)>)> {
    let one = |index: usize| {
        let limits = LabelLimits::default();
        let labels = batch.with_labels(index, |pairs| Labels::canonical(pairs, &limits)).unwrap();
        let samples = &batch.samples[batch.series[index].samples.clone()];
        (labels.to_string(), samples.iter().map(|s| (s.timestamp_ms, s.value)).collect())
    };
    (0..batch.series.len()).map(one).collect()
}

#[test]
fn every_dialect_says_the_same_of_the_same() {
    let mut names = Vec::new();
    for Said { target, content_type, body } in sayings() {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let request = Request { path, query, content_type, ..Request::default() };
        let (dialect, route) = owner("POST", &request).expect("a route");
        let Kind::Ingest { decode, .. } = route.kind else { panic!("{target} takes no body") };
        let mut batch = Batch::new(42);
        decode(&Received { body: &body, received_ms: TIME_MS + 5, ..Received::new(request) }, &mut batch)
            .unwrap();
        assert!(batch.rejections.is_empty(), "{}: {:?}", dialect.name, batch.rejections);
        assert_eq!(found(&batch), [(SERIES.to_owned(), vec![(TIME_MS, VALUE)])], "{}", dialect.name);
        assert_eq!(batch.counts().get(Signal::LogLine), 0, "{}", dialect.name);
        names.push(dialect.name);
    }
    // And what comes as lines: a tag of Graphite's has no blank, so its zone is asked for with another one.
    let lines: [(&str, &[u8]); 2] = [
        ("graphite", b"requests_total;zone=eu;host=web-1 42.5 1795167944\n"),
        ("opentsdb", b"put requests_total 1795167944 42.5 host=web-1 zone=eu\n"),
    ];
    for (name, body) in lines {
        let (_, decode, _) = lines_of(name).expect("it has lines");
        let mut batch = Batch::new(42);
        let received = Received { body, received_ms: TIME_MS + 5, ..Received::new(Request::default()) };
        decode(&received, &mut batch).unwrap();
        let series = SERIES.replace("eu west", "eu");
        assert_eq!(found(&batch), [(series, vec![(TIME_MS, VALUE)])], "{name}");
        names.push(name);
    }
    names.sort_unstable();
    names.dedup();
    // Datadog's and collectd's names are their own, and Loki has lines.
    let others = ["datadog", "collectd", "loki"];
    let wanted: BTreeSet<_> =
        ALL.iter().map(|dialect| dialect.name).filter(|name| !others.contains(name)).collect();
    assert_eq!(names.into_iter().collect::<BTreeSet<_>>(), wanted);
}
