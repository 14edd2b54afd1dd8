//! Remote read over HTTP: what was written comes back bit for bit, in both forms, in the order of labels.

mod common;

use std::io::{Read, Write};

use codec::inflate::{Encoding, inflate};
use codec::pack;
use codec::proto::{VARINT, write_bytes, write_key, write_message};
use codec::varint;
use common::Weir;
use dialects::remote_read::client::{ReadSeries, Value, difference, read_frames, read_samples};
use dialects::remote_read::{Rows, samples};
use model::histogram::{BucketCounts, CUSTOM_BOUNDS_SCHEMA, ResetHint, Span};
use model::select::HistogramPoint;
use model::{Histogram, Labels, STALE_NAN_BITS, SeriesBlock, SeriesRef};

const START: i64 = 1_700_000_000_000;

fn start() -> Weir {
    Weir::start_with(|settings| {
        settings.self_monitoring.interval = std::time::Duration::ZERO;
        settings.storage.retention = std::time::Duration::ZERO;
    })
}

/// An answer with the bytes of its body.
#[derive(Debug)]
struct Got {
    status: u16,
    head: String,
    body: Vec<u8>,
}

fn post(weir: &Weir, path: &str, token: &str, body: &[u8]) -> Got {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: weir\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/x-protobuf\r\nContent-Encoding: snappy\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = weir.connect();
    stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|part| part == b"\r\n\r\n").unwrap() + 4;
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let chunked = head.contains("transfer-encoding: chunked");
    let body = if chunked { unchunked(&answer[end..]) } else { answer[end..].to_vec() };
    Got { status, head, body }
}

/// # Panics
/// When the body was broken off.
fn unchunked(mut bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let end = bytes.windows(2).position(|part| part == b"\r\n").expect("a chunk's length");
        let length = usize::from_str_radix(std::str::from_utf8(&bytes[..end]).unwrap(), 16).unwrap();
        if length == 0 {
            return out;
        }
        out.extend_from_slice(&bytes[end + 2..end + 2 + length]);
        bytes = &bytes[end + 2 + length + 2..];
    }
}

fn write(weir: &Weir, series: &[ReadSeries]) {
    let mut body = Vec::new();
    for series in series {
        let mut block = SeriesBlock::default();
        block.clear();
        for (row, (ms, value)) in series.samples.iter().enumerate() {
            match value {
                Value::Float(value) => block.columns.push(*ms, *value),
                Value::Histogram(histogram) => {
                    let histogram = std::sync::Arc::new((**histogram).clone());
                    block.columns.push(*ms, 0.0);
                    block.columns.histograms.push(HistogramPoint::new(row as u32, histogram));
                }
            }
        }
        block.end_series(SeriesRef(0));
        // A series of an answer is one of a request.
        samples::write_series(&series.labels, Rows::of(&block, 0), &mut body);
    }
    let stored = post(weir, "/api/v1/write", &weir.token, &pack::snappy(&body).unwrap());
    assert_eq!(stored.status, 204, "{}", String::from_utf8_lossy(&stored.body));
}

struct Asked<'a> {
    range: (i64, i64),
    matchers: &'a [(u64, &'a str, &'a str)],
    function: &'a str,
}

const ALL: Asked<'static> = Asked { range: (0, i64::MAX), matchers: &[], function: "" };

fn request(queries: &[Asked<'_>], accepted: &[u64]) -> Vec<u8> {
    let number = |field, value: u64, out: &mut Vec<u8>| {
        write_key(field, VARINT, out);
        varint::write(value, out);
    };
    let mut body = Vec::new();
    for query in queries {
        write_message(1, &mut body, |out| {
            number(1, query.range.0 as u64, out);
            number(2, query.range.1 as u64, out);
            for (op, name, value) in query.matchers {
                write_message(3, out, |out| {
                    number(1, *op, out);
                    write_bytes(2, name.as_bytes(), out);
                    write_bytes(3, value.as_bytes(), out);
                });
            }
            write_message(4, out, |out| write_bytes(2, query.function.as_bytes(), out));
        });
    }
    accepted.iter().for_each(|form| number(2, *form, &mut body));
    pack::snappy(&body).unwrap()
}

fn as_samples(weir: &Weir, queries: &[Asked<'_>]) -> Vec<Vec<ReadSeries>> {
    let got = post(weir, "/api/v1/read", &weir.token, &request(queries, &[]));
    assert_eq!(got.status, 200, "{}", String::from_utf8_lossy(&got.body));
    assert!(got.head.contains("content-type: application/x-protobuf\r\n"), "{}", got.head);
    assert!(got.head.contains("content-encoding: snappy\r\n"), "{}", got.head);
    let mut body = Vec::new();
    inflate(Encoding::Snappy, &got.body, 64 << 20, &mut body).unwrap();
    let results = read_samples(&body).unwrap();
    assert_eq!(results.len(), queries.len());
    results
}

fn as_chunks(weir: &Weir, queries: &[Asked<'_>]) -> Vec<Vec<ReadSeries>> {
    let got = post(weir, "/prometheus/api/v1/read", &weir.token, &request(queries, &[1, 0]));
    assert_eq!(got.status, 200, "{}", String::from_utf8_lossy(&got.body));
    let content_type =
        "content-type: application/x-streamed-protobuf; proto=prometheus.chunkedreadresponse\r\n";
    assert!(got.head.contains(content_type) && !got.head.contains("content-encoding"), "{}", got.head);
    let mut results = vec![Vec::new(); queries.len()];
    for (query, series) in read_frames(&got.body).unwrap() {
        results[query as usize].push(series);
    }
    results
}

fn floats(name: &str, label: &str, samples: &[(i64, f64)]) -> ReadSeries {
    let labels = Labels::from_pairs([("__name__", name), ("l", label)]);
    ReadSeries { labels, samples: samples.iter().map(|(ms, v)| (START + ms, Value::Float(*v))).collect() }
}

fn histogram(by: u64, sum: f64, reset_hint: ResetHint) -> Value {
    Value::Histogram(Box::new(Histogram {
        schema: 2,
        zero_threshold: 0.001,
        sum,
        reset_hint,
        positive_spans: vec![Span { offset: -1, length: 1 }, Span { offset: 3, length: 1 }],
        negative_spans: vec![Span { offset: 0, length: 1 }],
        counts: BucketCounts::Integer { count: 4 * by, zero: by, positive: vec![by, by], negative: vec![by] },
        custom_bounds: vec![],
    }))
}

fn custom(by: f64) -> Value {
    Value::Histogram(Box::new(Histogram {
        schema: CUSTOM_BOUNDS_SCHEMA,
        zero_threshold: 0.0,
        sum: by,
        reset_hint: ResetHint::Gauge,
        positive_spans: vec![Span { offset: 0, length: 2 }],
        negative_spans: vec![],
        counts: BucketCounts::Float { count: by, zero: 0.0, positive: vec![by, 0.0], negative: vec![] },
        custom_bounds: vec![0.005, 0.25],
    }))
}

/// In the order of labels, which is not that of their canonical forms' lengths.
fn data() -> Vec<ReadSeries> {
    let odd = [0.0, -0.0, f64::INFINITY, 1.0 / 3.0]
        .into_iter()
        .chain([STALE_NAN_BITS, 0x7ff8_0000_0000_0001, 0x7ff0_0000_dead_beef].map(f64::from_bits));
    let odd: Vec<(i64, f64)> = (0..).map(|row| row * 15_000).zip(odd).collect();
    let long: Vec<(i64, f64)> = (0..1_000).map(|row| (row * 15_000 + row % 3, row as f64 * 0.1)).collect();
    let named = |name| Labels::from_pairs([("__name__", name)]);
    let whole = (0..300).map(|row| {
        // A reset at 150.
        let hint = if row == 150 { ResetHint::Reset } else { ResetHint::Unknown };
        (START + row * 15_000, histogram(row as u64 % 150, row as f64, hint))
    });
    let marker = (START + 300 * 15_000, histogram(0, f64::from_bits(STALE_NAN_BITS), ResetHint::Unknown));
    let gauges = (0..5).map(|row| (START + row * 15_000, custom(5.0 - row as f64)));
    vec![
        ReadSeries {
            labels: Labels::from_pairs([("A", "z"), ("__name__", "zzz")]),
            samples: floats("", "", &odd).samples,
        },
        ReadSeries { labels: named("hc"), samples: gauges.collect() },
        ReadSeries { labels: named("hw"), samples: whole.chain([marker]).collect() },
        floats("m", "a", &long),
        floats("m", "aa", &[(0, 1.0)]),
        floats("m", "b", &odd),
        floats("nn", "a", &[(7, 7.0)]),
    ]
}

fn without_hints(series: &[ReadSeries]) -> Vec<ReadSeries> {
    series.iter().map(ReadSeries::without_hints).collect()
}

#[test]
fn what_was_written_is_read_bit_for_bit() {
    let weir = start();
    let data = data();
    // Half of each series in a block, half in the head; the series in another order than their labels'.
    let half = |halves: std::ops::Range<usize>| -> Vec<ReadSeries> {
        let cut = |series: &ReadSeries| {
            let cut = |half: usize| series.samples.len() * half / 2;
            let samples = series.samples[cut(halves.start)..cut(halves.end)].to_vec();
            ReadSeries { labels: series.labels.clone(), samples }
        };
        data.iter().rev().map(cut).filter(|series| !series.samples.is_empty()).collect()
    };
    write(&weir, &half(0..1));
    weir.app().store().unwrap().flush().unwrap();
    write(&weir, &half(1..2));

    let wanted = without_hints(&data);
    let plain = as_samples(&weir, &[ALL]);
    for form in [&plain, &as_chunks(&weir, &[ALL])] {
        assert_eq!(difference(&without_hints(&form[0]), &wanted), None);
    }
    // What was said about resets is told as it was said.
    let hint = |series: &ReadSeries, row: usize| match &series.samples[row].1 {
        Value::Histogram(histogram) => histogram.reset_hint,
        Value::Float(_) => panic!("a float"),
    };
    assert_eq!((hint(&plain[0][2], 150), hint(&plain[0][1], 0)), (ResetHint::Reset, ResetHint::Gauge));
}

#[test]
fn queries_select_by_range_and_matchers_and_have_results_of_their_own() {
    let weir = start();
    write(&weir, &data());
    let queries = || {
        [
            Asked {
                range: (START + 15_000, START + 30_010),
                matchers: &[(0, "l", "a"), (2, "__name__", "m|nn")],
                ..ALL
            },
            Asked { matchers: &[(1, "l", ""), (3, "l", "a+")], ..ALL },
            Asked { matchers: &[(0, "__name__", "nothing")], ..ALL },
            Asked { range: (START + 5, START), ..ALL },
            Asked { matchers: &[(0, "A", "z")], ..ALL },
        ]
    };
    let chunks = as_chunks(&weir, &queries());
    let [part, b, nothing, backwards, zzz] = &chunks[..] else { panic!() };
    let times: Vec<i64> = part[0].samples.iter().map(|(ms, _)| ms - START).collect();
    assert_eq!((part.len(), times), (1, vec![15_001, 30_002]));
    assert_eq!((b.len(), b[0].labels.get("l")), (1, Some("b")));
    assert!(nothing.is_empty() && backwards.is_empty());
    assert_eq!(zzz[0].labels.to_string(), "zzz{A=\"z\"}");
    assert_eq!(as_samples(&weir, &queries()), chunks);
    // Whoever lists series wants no samples.
    let listed = as_samples(&weir, &[Asked { function: "series", matchers: &[(0, "l", "a")], ..ALL }]);
    let listed: Vec<_> =
        listed[0].iter().map(|s| (s.labels.metric_name().unwrap(), s.samples.len())).collect();
    assert_eq!(listed, [("m", 0), ("nn", 0)]);
    let none = Asked { function: "series", matchers: &[(0, "l", "a")], range: (0, START - 1) };
    assert_eq!(as_samples(&weir, &[none]), [vec![]]);
    assert!(as_samples(&weir, &[]).is_empty() && as_chunks(&weir, &[]).is_empty());
}

#[test]
fn refusals_are_text() {
    let weir = start();
    let ask = |token: &str, body: &[u8]| {
        let got = post(&weir, "/api/v1/read", token, body);
        (got.status, String::from_utf8(got.body).unwrap())
    };
    let refused = |queries: &[Asked<'_>], accepted: &[u64]| ask(&weir.token, &request(queries, accepted));
    assert_eq!(ask(&weir.admin, &request(&[ALL], &[])).0, 403);
    assert_eq!(ask("", &request(&[ALL], &[])).0, 401);
    assert_eq!(ask(&weir.token, b"\xff\xff").0, 400);
    assert_eq!(ask(&weir.token, &pack::snappy(b"\x0a\xff").unwrap()).0, 400);
    assert_eq!(ask(&weir.token, &pack::snappy(&vec![0; 5 << 20]).unwrap()).0, 400);
    assert_eq!(ask(&weir.token, &vec![0; 5 << 20]).0, 413);
    let (status, what) = refused(&[Asked { matchers: &[(2, "a", "(")], ..ALL }], &[]);
    assert!(status == 400 && what.contains("regexp"), "{what}");
    let (status, what) = refused(&[ALL], &[9]);
    assert!(
        status == 400 && what.contains("does not support any of the requested response types: [9]"),
        "{what}"
    );
    assert_eq!(post(&weir, "/api/v1/read?x", &weir.token, &request(&[ALL], &[])).status, 200);
    let metrics = weir.get("/metrics", &weir.admin).body;
    assert!(metrics.contains("weir_queries_total{endpoint=\"read\",outcome=\"bad_data\"} 6"), "{metrics}");
}

#[test]
fn tenants_read_their_own() {
    let weir = start();
    write(&weir, &data());
    let got = post(&weir, "/api/v1/read", &weir.system, &request(&[ALL], &[1]));
    assert_eq!((got.status, got.body), (200, vec![]));
}

#[test]
fn samples_over_the_budget_are_refused_and_chunks_are_not_kept() {
    let weir = Weir::start_with(|settings| {
        settings.self_monitoring.interval = std::time::Duration::ZERO;
        settings.storage.retention = std::time::Duration::ZERO;
        settings.limits.query_bytes.0 = 12 << 20;
    });
    write_noise(&weir, 20);
    // What lies in memory would be gathered for all series at once, and charged.
    weir.app().store().unwrap().flush().unwrap();
    let got = post(&weir, "/api/v1/read", &weir.token, &request(&[ALL], &[]));
    let what = String::from_utf8_lossy(&got.body);
    assert!(got.status == 422 && what.contains("limits.query_bytes"), "{} {what}", got.status);
    let read = as_chunks(&weir, &[ALL]);
    let samples: usize = read[0].iter().map(|series| series.samples.len()).sum();
    assert_eq!((read[0].len(), samples), (200, 1_000_000));
    assert!(read[0].is_sorted_by(|a, b| a.labels < b.labels));
}

/// 200 series of 250 samples in each part, 22 bytes a sample as samples, and noise, so that chunks are hardly smaller
/// than 8 bytes a sample.
fn write_noise(weir: &Weir, parts: i64) {
    let mut bits = 1u64;
    for part in 0..parts {
        let series: Vec<ReadSeries> = (0..200)
            .map(|number| {
                let rows = (0..250).map(|row| {
                    bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    ((part * 250 + row) * 1000, f64::from_bits(bits >> 2))
                });
                floats("noise", &format!("{number:03}"), &rows.collect::<Vec<_>>())
            })
            .collect();
        write(weir, &series);
    }
}

#[test]
fn a_client_that_does_not_read_on_has_its_answer_broken_off() {
    let weir = Weir::start_with(|settings| {
        settings.self_monitoring.interval = std::time::Duration::ZERO;
        settings.storage.retention = std::time::Duration::ZERO;
        settings.query.timeout = std::time::Duration::from_secs(1);
    });
    // 24 MB, which is more than what the sockets keep between them.
    write_noise(&weir, 60);
    let body = request(&[ALL], &[1]);
    let head = format!(
        "POST /api/v1/read HTTP/1.1\r\nHost: weir\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\
         Content-Length: {}\r\n\r\n",
        weir.token,
        body.len()
    );
    let mut stream = weir.connect();
    stream.write_all(&[head.as_bytes(), &body].concat()).unwrap();
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, b"HTTP/1.1 200");
    let idle = || weir.get("/metrics", &weir.admin).body.contains("\nweir_queries_active 0\n");
    assert!(!idle());
    common::until("the slot is given back", idle);
    let ended = stream.read_to_end(&mut answer);
    assert!(ended.is_err() || !answer.ends_with(b"\r\n0\r\n\r\n"), "{} bytes", answer.len());
}
