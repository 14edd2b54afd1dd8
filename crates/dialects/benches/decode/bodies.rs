//! Bodies for the decoders' benchmark: node-exporter-like series with five labels and one sample each.

use codec::proto::{FIXED64, VARINT, write_bytes, write_key};
use codec::varint;

/// One decoder's input.
pub(crate) struct Case {
    /// What it is.
    pub(crate) name: &'static str,
    /// Where it is sent.
    pub(crate) path: &'static str,
    /// As what.
    pub(crate) content_type: &'static str,
    /// The body with this many series.
    pub(crate) body: fn(usize) -> Vec<u8>,
}

/// Every decoder's.
pub(crate) const CASES: [Case; 4] = [
    Case {
        name: "remote write 1.0",
        path: "/api/v1/write",
        content_type: "application/x-protobuf",
        body: remote_write_1,
    },
    Case {
        name: "remote write 2.0",
        path: "/api/v1/write",
        content_type: "application/x-protobuf;proto=io.prometheus.write.v2.Request",
        body: remote_write_2,
    },
    Case {
        name: "text 0.0.4",
        path: "/api/v1/import/prometheus",
        content_type: "text/plain; version=0.0.4",
        body: text,
    },
    Case {
        name: "Datadog series v1",
        path: "/api/v1/series",
        content_type: "application/json",
        body: datadog_v1,
    },
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
