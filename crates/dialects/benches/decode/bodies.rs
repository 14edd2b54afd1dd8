//! Bodies for the decoders' benchmark: node-exporter-like series with five labels and one sample each; Datadog's have ten
//! tags, of which four series that lie together have the same.

#[path = "betterstack.rs"]
mod betterstack;
#[path = "collectd.rs"]
mod collectd;
#[path = "graphite.rs"]
mod graphite;
#[path = "influx.rs"]
mod influx;
#[path = "loki.rs"]
mod loki;
#[path = "opentsdb.rs"]
mod opentsdb;
#[path = "otlp.rs"]
mod otlp;
#[path = "splunk.rs"]
mod splunk;
#[path = "victoriametrics.rs"]
mod victoriametrics;

use codec::proto::{FIXED64, VARINT, write_bytes, write_double, write_key, write_message, write_number};
use codec::varint;

/// One decoder's input.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    /// What it is.
    pub(crate) name: &'static str,
    /// Where it is sent: a path, or a dialect's name where it has lines.
    pub(crate) path: &'static str,
    /// As what.
    pub(crate) content_type: &'static str,
    /// The body with this many series.
    pub(crate) body: fn(usize) -> Vec<u8>,
    /// What one of them is in a batch: so many series, of one sample or histogram each, or log lines.
    pub(crate) rows: usize,
}

/// Every decoder's.
pub(crate) const CASES: &[Case] = &[
    Case {
        name: "remote write 1.0",
        path: "/api/v1/write",
        content_type: "application/x-protobuf",
        body: remote_write_1,
        rows: 1,
    },
    Case {
        name: "remote write 2.0",
        path: "/api/v1/write",
        content_type: "application/x-protobuf;proto=io.prometheus.write.v2.Request",
        body: remote_write_2,
        rows: 1,
    },
    Case {
        name: "text 0.0.4",
        path: "/api/v1/import/prometheus",
        content_type: "text/plain; version=0.0.4",
        body: text,
        rows: 1,
    },
    Case {
        name: "Datadog series v2",
        path: "/api/v2/series",
        content_type: "application/x-protobuf",
        body: datadog_v2,
        rows: 1,
    },
    Case {
        name: "Datadog series v3",
        path: "/api/intake/metrics/v3/series",
        content_type: "application/x-protobuf",
        body: datadog_v3,
        rows: 1,
    },
    Case {
        name: "Datadog sketches",
        path: "/api/beta/sketches",
        content_type: "application/x-protobuf",
        body: datadog_sketches,
        rows: 3,
    },
    Case {
        name: "Datadog series v1",
        path: "/api/v1/series",
        content_type: "application/json",
        body: datadog_v1,
        rows: 1,
    },
    Case {
        name: "Better Stack NDJSON",
        path: "/",
        content_type: "application/x-ndjson",
        body: betterstack::json_lines,
        rows: 1,
    },
    Case {
        name: "Better Stack MessagePack",
        path: "/",
        content_type: "application/msgpack",
        body: betterstack::msgpack,
        rows: 1,
    },
    Case {
        name: "Loki push, JSON",
        path: "/loki/api/v1/push",
        content_type: "application/json",
        body: loki::json,
        rows: 1,
    },
    Case {
        name: "Loki push, protobuf",
        path: "/loki/api/v1/push",
        content_type: "application/x-protobuf",
        body: loki::protobuf,
        rows: 1,
    },
    influx::CASES[0],
    influx::CASES[1],
    splunk::METRICS,
    Case {
        name: "OTLP metrics",
        path: "/v1/metrics",
        content_type: "application/x-protobuf",
        body: otlp::metrics,
        rows: 1,
    },
    victoriametrics::LINES,
    graphite::CASE,
    opentsdb::CASES[0],
    opentsdb::CASES[1],
    collectd::VALUES,
];

/// Labels of series `i`, the name first.
fn labels(i: usize) -> [(&'static str, String); 5] {
    [
        ("__name__", "node_network_receive_packets_total".into()),
        ("device", format!("eth{}", i % 50)),
        ("env", "production".into()),
        ("instance", format!("host-{:04}.example.net:9100", i / 50)),
        ("job", "node-exporter".into()),
    ]
}

fn value(i: usize) -> f64 {
    (i * 977) as f64 + 0.25
}

fn timestamp_ms(i: usize) -> i64 {
    1_795_167_944_000 + (i % 15) as i64 * 1000
}

fn sample(i: usize) -> Vec<u8> {
    let mut out = Vec::new();
    write_key(1, FIXED64, &mut out);
    out.extend(value(i).to_le_bytes());
    write_key(2, VARINT, &mut out);
    varint::write(timestamp_ms(i) as u64, &mut out);
    out
}

/// A 1.0 `WriteRequest`.
fn remote_write_1(series: usize) -> Vec<u8> {
    let mut body = Vec::new();
    for i in 0..series {
        let mut message = Vec::new();
        for (name, value) in labels(i) {
            let mut label = Vec::new();
            write_bytes(1, name.as_bytes(), &mut label);
            write_bytes(2, value.as_bytes(), &mut label);
            write_bytes(1, &label, &mut message);
        }
        write_bytes(2, &sample(i), &mut message);
        write_bytes(1, &message, &mut body);
    }
    body
}

/// A 2.0 `Request`.
fn remote_write_2(series: usize) -> Vec<u8> {
    let mut symbols = vec![String::new()];
    let mut numbers = std::collections::HashMap::new();
    let mut number = |text: String| {
        *numbers.entry(text.clone()).or_insert_with(|| {
            symbols.push(text);
            symbols.len() as u64 - 1
        })
    };
    let mut rows = Vec::new();
    for i in 0..series {
        let mut references = Vec::new();
        for (name, value) in labels(i) {
            varint::write(number(name.into()), &mut references);
            varint::write(number(value), &mut references);
        }
        let mut message = Vec::new();
        write_bytes(1, &references, &mut message);
        write_bytes(2, &sample(i), &mut message);
        write_bytes(5, &message, &mut rows);
    }
    let mut body = Vec::new();
    for symbol in &symbols {
        write_bytes(4, symbol.as_bytes(), &mut body);
    }
    body.extend(rows);
    body
}

/// Text 0.0.4.
fn text(series: usize) -> Vec<u8> {
    let mut body = String::new();
    for i in 0..series {
        let [(_, name), rest @ ..] = labels(i);
        let rest: Vec<_> = rest.iter().map(|(n, v)| format!("{n}=\"{v}\"")).collect();
        body += &format!("{name}{{{}}} {} {}\n", rest.join(","), value(i), timestamp_ms(i));
    }
    body.into_bytes()
}

/// `/api/v1/series` as an Agent writes it.
fn datadog_v1(series: usize) -> Vec<u8> {
    let rows: Vec<_> = (0..series)
        .map(|i| {
            let [(_, name), (_, device), (_, env), (_, host), (_, job)] = labels(i);
            format!(
                r#"{{"metric":"{name}","points":[[{},{}]],"tags":["device:{device}","env:{env}","job:{job}"],"host":"{host}","type":"gauge","interval":0,"source_type_name":"System"}}"#,
                timestamp_ms(i) / 1000,
                value(i),
            )
        })
        .collect();
    format!(r#"{{"series":[{}]}}"#, rows.join(",")).into_bytes()
}

/// The metric of series `i`.
fn metric(i: usize) -> String {
    format!("kubernetes.containers.metric_{:02}", i % 40)
}

/// Tags of series `i`.
fn tags(i: usize) -> [String; 10] {
    let pod = i / 4;
    [
        "env:production".into(),
        format!("service:shop-{}", pod % 20),
        format!("version:1.{}.0", pod % 20),
        "team:storefront".into(),
        format!("region:eu-west-{}", pod % 3),
        format!("kube_namespace:shop-{}", pod % 5),
        format!("kube_deployment:shop-{}", pod % 20),
        format!("pod_name:shop-{}-7d9c5b6f4-{pod:05}", pod % 20),
        format!("container_id:{:064x}", pod * 977),
        "image_tag:2026-11-20".into(),
    ]
}

fn host(i: usize) -> String {
    format!("i-{:017x}", i / 200)
}

/// A `MetricPayload`.
fn datadog_v2(series: usize) -> Vec<u8> {
    let mut body = Vec::new();
    for i in 0..series {
        write_message(1, &mut body, |out| {
            write_message(1, out, |out| {
                write_bytes(1, b"host", out);
                write_bytes(2, host(i).as_bytes(), out);
            });
            write_bytes(2, metric(i).as_bytes(), out);
            tags(i).iter().for_each(|tag| write_bytes(3, tag.as_bytes(), out));
            write_message(4, out, |out| {
                write_number(2, timestamp_ms(i) as u64 / 1000, out);
                write_double(1, value(i), out);
            });
            write_number(5, 3, out);
            write_number(8, 10, out);
        });
    }
    body
}

/// A dictionary while it grows: its text, and the ids of what is in it.
#[derive(Default)]
struct Dictionary {
    text: Vec<u8>,
    ids: std::collections::HashMap<String, i64>,
}

impl Dictionary {
    fn id(&mut self, text: String) -> i64 {
        let next = self.ids.len() as i64 + 1;
        *self.ids.entry(text).or_insert_with_key(|text| {
            varint::write(text.len() as u64, &mut self.text);
            self.text.extend(text.as_bytes());
            next
        })
    }
}

/// A column of numbers, each as its distance from the one before.
#[derive(Default)]
struct Deltas {
    bytes: Vec<u8>,
    last: i64,
}

impl Deltas {
    fn push(&mut self, number: i64) {
        varint::write(varint::zigzag(number - self.last), &mut self.bytes);
        self.last = number;
    }
}

/// A `Payload` of v3.
fn datadog_v3(series: usize) -> Vec<u8> {
    let [mut names, mut texts, mut resources] = [(); 3].map(|()| Dictionary::default());
    let [mut name_refs, mut tagset_refs, mut resource_refs, mut timestamps] =
        [(); 4].map(|()| Deltas::default());
    let (mut tagsets, mut tagset) = (Vec::new(), 0);
    let (mut host_text, mut host_sets) = (resources.id("host".into()), Deltas::default());
    let (mut host_types, mut values) = (Vec::new(), Vec::new());
    let mut last_host = 0;
    for i in 0..series {
        name_refs.push(names.id(metric(i)));
        if i % 4 == 0 {
            let mut ids = tags(i).map(|tag| texts.id(tag));
            ids.sort_unstable();
            varint::write(varint::zigzag(ids.len() as i64), &mut tagsets);
            let mut deltas = Deltas::default();
            ids.iter().for_each(|id| deltas.push(*id));
            tagsets.extend(deltas.bytes);
            tagset += 1;
        }
        tagset_refs.push(tagset);
        let host = resources.id(host(i));
        if host != host_text {
            host_text = host;
            last_host += 1;
            varint::write(varint::zigzag(1), &mut host_types);
            host_sets.last = 0;
            host_sets.push(host);
        }
        resource_refs.push(last_host);
        timestamps.push(timestamp_ms(i) / 1000);
        values.extend(value(i).to_le_bytes());
    }
    let repeated = |byte: u8, count: usize| vec![byte; count];
    let zeros = repeated(0, series);
    let mut body = Vec::new();
    write_message(3, &mut body, |out| {
        write_bytes(1, &names.text, out);
        write_bytes(2, &texts.text, out);
        write_bytes(3, &tagsets, out);
        write_bytes(4, &resources.text, out);
        write_bytes(5, &repeated(1, last_host as usize), out);
        write_bytes(6, &host_types, out);
        write_bytes(7, &host_sets.bytes, out);
        write_bytes(10, &repeated(0x33, series), out);
        write_bytes(11, &name_refs.bytes, out);
        write_bytes(12, &tagset_refs.bytes, out);
        write_bytes(13, &resource_refs.bytes, out);
        write_bytes(14, &repeated(10, series), out);
        write_bytes(15, &repeated(1, series), out);
        write_bytes(16, &timestamps.bytes, out);
        write_bytes(19, &values, out);
        write_bytes(23, &zeros, out);
        write_bytes(24, &zeros, out);
    });
    body
}

/// A `SketchPayload`: sketches of a hundred bins.
fn datadog_sketches(series: usize) -> Vec<u8> {
    let mut body = Vec::new();
    for i in 0..series {
        let (mut keys, mut counts, mut sum) = (Vec::new(), Vec::new(), 0);
        for bin in 0..100 {
            let count = (i + bin * 7) % 13 + 1;
            varint::write(varint::zigzag(1400 + 2 * bin as i64), &mut keys);
            varint::write(count as u64, &mut counts);
            sum += count;
        }
        write_message(1, &mut body, |out| {
            write_bytes(1, metric(i).as_bytes(), out);
            write_bytes(2, host(i).as_bytes(), out);
            tags(i).iter().for_each(|tag| write_bytes(4, tag.as_bytes(), out));
            write_message(7, out, |out| {
                write_number(1, timestamp_ms(i) as u64 / 1000, out);
                write_number(2, sum as u64, out);
                [(3, 2.6), (4, 56.0), (5, 10.0), (6, 10.0 * sum as f64)]
                    .iter()
                    .for_each(|(number, value)| write_double(*number, *value, out));
                write_bytes(7, &keys, out);
                write_bytes(8, &counts, out);
            });
        });
    }
    body
}
