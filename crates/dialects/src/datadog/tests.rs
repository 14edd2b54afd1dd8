//! What the requests of `cases/` say, as an independent decoder reads them, beside what came out: names, types, tags and
//! values of each series, and the quantiles of sketches whose raw values are known.

use std::collections::BTreeMap;
use std::path::Path;

use codec::inflate::{Encoding, inflate};
use model::Batch;
use serde_json::Value;

use super::sketch::accuracy::{compare, errors, floored, quantile};
use crate::{Kind, Received, Request, Settings, find};

/// A case's body, unpacked.
fn body(name: &str, encoding: Encoding) -> Vec<u8> {
    let bytes = std::fs::read(folder().join(name)).expect("a case");
    let head = memchr::memmem::find(&bytes, b"\n\n").expect("an empty line ends the head");
    let mut body = Vec::new();
    inflate(encoding, &bytes[head + 2..], 1 << 20, &mut body).expect("a body that can be unpacked");
    body
}

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src/datadog/cases"))
}

fn expected(name: &str) -> Value {
    let text = std::fs::read_to_string(folder().join(name)).expect("what is expected of a case");
    serde_json::from_str(&text).expect("JSON")
}

/// Decodes a protobuf body that is sent to `path`, and shows the batch to `with`.
pub(super) fn decoded<T>(
    path: &str,
    body: &[u8],
    settings: &Settings,
    with: impl FnOnce(&Batch<'_>) -> T,
) -> T {
    let (_, route) = find("POST", path).expect("a route");
    let Kind::Ingest { decode, .. } = route.kind else { panic!("{path} takes no body") };
    let request = Request { path, content_type: "application/x-protobuf", ..Request::default() };
    let received = Received { body, settings, ..Received::new(request) };
    let mut batch = Batch::new(42);
    decode(&received, &mut batch).expect("a well-formed body");
    with(&batch)
}

/// A series' labels by name.
pub(super) fn labels(batch: &Batch<'_>, index: usize) -> BTreeMap<String, String> {
    let owned = |pairs: &mut Vec<(&str, &str)>| {
        Ok(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    };
    batch.with_labels(index, owned).expect("labels")
}

fn underscores(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' || c == ':' { c } else { '_' }).collect()
}

/// The labels that Opstrace's profile makes of what is expected.
fn wanted_labels(
    metric: &str,
    kind: &str,
    interval: i64,
    facts: [(&str, &str); 3],
    tags: &Value,
) -> BTreeMap<String, String> {
    let name = metric.strip_prefix("n_o_i_n_d_e_x.").unwrap_or(metric);
    let mut labels = BTreeMap::from([
        ("__name__".to_owned(), underscores(name)),
        ("job".to_owned(), "ddagent".to_owned()),
        ("type".to_owned(), kind.to_owned()),
    ]);
    if interval != 0 {
        labels.insert("interval".to_owned(), interval.to_string());
    }
    for (label, value) in facts.into_iter().filter(|(_, value)| !value.is_empty()) {
        labels.insert(label.to_owned(), value.to_owned());
    }
    for tag in tags.as_array().expect("tags") {
        if let Some((key, value)) = tag.as_str().expect("a tag").split_once(':') {
            labels.insert(format!("ddtag_{}", underscores(key)), value.to_owned());
        }
    }
    labels
}

fn kind(number: &Value) -> &'static str {
    ["", "count", "rate", "gauge", "distribution"][number.as_u64().expect("a type") as usize]
}

fn points(points: &Value) -> Vec<(i64, f64)> {
    let mut points: Vec<_> = points
        .as_array()
        .expect("points")
        .iter()
        .map(|point| (point[0].as_i64().expect("seconds") * 1000, point[1].as_f64().expect("a value")))
        .collect();
    points.sort_by_key(|(timestamp_ms, _)| *timestamp_ms);
    points
}

fn samples(batch: &Batch<'_>, index: usize) -> Vec<(i64, f64)> {
    batch.samples[batch.series[index].samples.clone()].iter().map(|s| (s.timestamp_ms, s.value)).collect()
}

#[test]
fn series_v2_are_as_an_independent_decoder_reads_them() {
    decoded(
        "/api/v2/series",
        &body("v2-series-identity.in", Encoding::Identity),
        Settings::standard(),
        |batch| {
            let expected = expected("v2-series.expected.json");
            let expected = expected.as_array().unwrap();
            assert_eq!(batch.series.len(), expected.len());
            for (index, series) in expected.iter().enumerate() {
                let text = |key: &str| series[key].as_str().unwrap_or("");
                let facts = [
                    ("instance", text("host")),
                    ("device", text("device")),
                    ("source_type_name", text("stn")),
                ];
                let interval = series["interval"].as_i64().unwrap_or(0);
                let mut wanted =
                    wanted_labels(text("name"), kind(&series["mtype"]), interval, facts, &series["tags"]);
                for resource in series["resources"].as_array().into_iter().flatten() {
                    wanted.insert(
                        format!("ddres_{}", resource[0].as_str().unwrap()),
                        resource[1].as_str().unwrap().into(),
                    );
                }
                assert_eq!(labels(batch, index), wanted);
                assert_eq!(samples(batch, index), points(&series["pts"]));
                if !text("unit").is_empty() {
                    let is_named =
                        |row: &&model::batch::MetadataRow<'_>| row.family == underscores(text("name"));
                    assert_eq!(batch.metadata.iter().find(is_named).unwrap().metadata.unit, text("unit"));
                }
            }
            assert_eq!(batch.metadata.len(), 1);
            assert_eq!(batch.notes, [("bare_tags_dropped", 1)]);
        },
    );
}

#[test]
fn series_v3_are_as_an_independent_decoder_reads_them() {
    decoded(
        "/api/intake/metrics/v3/series",
        &body("v3-series-identity.in", Encoding::Identity),
        Settings::standard(),
        |batch| {
            let expected = expected("v3-series.expected.json");
            let expected = expected.as_array().unwrap();
            assert_eq!(batch.series.len(), expected.len());
            let mut units = Vec::new();
            for (index, series) in expected.iter().enumerate() {
                let resource = |wanted: &str| {
                    let pairs = series["resources"].as_array().unwrap();
                    pairs.iter().find(|pair| pair[0] == wanted).map_or("", |pair| pair[1].as_str().unwrap())
                };
                let facts = [
                    ("instance", resource("host")),
                    ("device", resource("device")),
                    ("source_type_name", series["source_type_name"].as_str().unwrap()),
                ];
                let (metric, interval) =
                    (series["metric"].as_str().unwrap(), series["interval"].as_i64().unwrap());
                let wanted = wanted_labels(metric, kind(&series["type"]), interval, facts, &series["tags"]);
                assert_eq!(labels(batch, index), wanted);
                let near = |(a, b): (&(i64, f64), &(i64, f64))| {
                    a.0 == b.0 && (a.1 - b.1).abs() < 1e-7 * b.1.abs().max(1.0)
                };
                let (got, wanted) = (samples(batch, index), points(&series["points"]));
                assert!(got.len() == wanted.len() && got.iter().zip(&wanted).all(near), "{got:?} {wanted:?}");
                units.extend(series["unit"].as_str().map(|unit| (underscores(metric), unit.to_owned())));
            }
            let got: Vec<_> = batch
                .metadata
                .iter()
                .map(|row| (row.family.to_string(), row.metadata.unit.clone()))
                .collect();
            assert_eq!(got, units);
            assert_eq!(batch.notes, [("bare_tags_dropped", 2)]);
        },
    );
}

#[test]
fn sketches_are_as_an_independent_decoder_reads_them() {
    let body = body("sketches-zstd.in", Encoding::Zstd);
    decoded("/api/beta/sketches", &body, Settings::standard(), |batch| {
        let expected = expected("sketches.expected.json");
        let mut index = 0;
        let (mut ours, mut usual) = (Vec::new(), Vec::new());
        for sketch in expected["sketches"].as_array().unwrap() {
            let (metric, host) = (sketch["metric"].as_str().unwrap(), sketch["host"].as_str().unwrap());
            let facts = [("instance", host), ("device", ""), ("source_type_name", "")];
            let flushes = sketch["dogsketches"].as_array().unwrap();
            assert_eq!(
                labels(batch, index),
                wanted_labels(metric, "distribution", 0, facts, &sketch["tags"])
            );
            let histograms = &batch.histograms[batch.series[index].histograms.clone()];
            assert_eq!(histograms.len(), flushes.len());
            for (histogram, flush) in histograms.iter().zip(flushes) {
                let number = |key: &str| flush[key].as_f64().unwrap();
                assert_eq!(histogram.timestamp_ms, flush["ts"].as_i64().unwrap() * 1000);
                assert_eq!(histogram.histogram.sum, number("sum"));
                assert_eq!(histogram.histogram.count(), number("cnt"));
                let raw = &sketch["raw_values"][flush["ts"].as_i64().unwrap().to_string()];
                let mut raw: Vec<f64> =
                    raw.as_array().into_iter().flatten().map(|v| v.as_f64().unwrap()).collect();
                if raw.len() >= 1000 {
                    raw.sort_by(f64::total_cmp);
                    ours.extend(errors(&raw, |q| quantile(&histogram.histogram, q)));
                    let bins = bins(flush);
                    usual.extend(errors(&raw, |q| quantile(&floored(&bins), q)));
                }
            }
            for (offset, suffix, key) in [(1, "_min", "min"), (2, "_max", "max")] {
                let wanted = wanted_labels(&format!("{metric}{suffix}"), "gauge", 0, facts, &sketch["tags"]);
                assert_eq!(labels(batch, index + offset), wanted);
                let wanted: Vec<_> = flushes.iter().map(|flush| flush[key].as_f64().unwrap()).collect();
                let got: Vec<_> =
                    samples(batch, index + offset).into_iter().map(|(_, value)| value).collect();
                assert_eq!(got, wanted);
            }
            index += 3;
        }
        assert_eq!(batch.series.len(), index);
        assert_eq!(batch.notes, [("bare_tags_dropped", 1)]);
        assert_eq!(ours.len(), 4);
        compare("the captured sketch of 1000 values", &ours, &usual);
    });
}

/// Keys and counts of a flush.
fn bins(flush: &Value) -> Vec<(i32, u64)> {
    let numbers =
        |key: &str| flush[key].as_array().unwrap().iter().map(|n| n.as_i64().unwrap()).collect::<Vec<_>>();
    numbers("k").into_iter().zip(numbers("n")).map(|(k, n)| (k as i32, n as u64)).collect()
}

/// An Agent packs each column of v3 as a frame of its own: whoever stops behind the first one sees three bytes.
#[test]
fn many_frames_are_one_body() {
    let identity = body("v3-series-identity.in", Encoding::Identity);
    assert_eq!(body("v3-series-oneframe-zstd.in", Encoding::Zstd), identity);
    assert_eq!(body("v3-series-multiframe-zstd.in", Encoding::Zstd), identity);
}
