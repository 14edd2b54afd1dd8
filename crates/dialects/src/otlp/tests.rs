//! What both encodings must have in common: each case `NAME.in` in protobuf that has a twin `NAME-json.in`.

use std::path::{Path, PathBuf};

use codec::inflate::inflate;
use model::Batch;

use super::{DIALECT, Settings, Strategy};
use crate::{Kind, Received, Request, owner};

/// A case's head and inflated body.
fn read(path: &Path) -> (String, Vec<u8>) {
    let bytes = std::fs::read(path).unwrap();
    let end = memchr::memmem::find(&bytes, b"\n\n").unwrap();
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let (encoding, mut body) = (header(&head, "content-encoding"), Vec::new());
    let request = Request { content_encoding: encoding, ..Request::default() };
    let encodings = DIALECT.encodings(&request).unwrap();
    inflate(encodings[0], &bytes[end + 2..], DIALECT.limits.decoded, &mut body).unwrap();
    (head, body)
}

fn header<'a>(head: &'a str, name: &str) -> &'a str {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap_or("")
}

/// A value's bits; JSON has one NaN only.
fn bits(value: f64) -> u64 {
    let is_ordinary = value.is_nan() && !model::is_stale(value);
    if is_ordinary { f64::NAN.to_bits() } else { value.to_bits() }
}

/// Everything in a case's batch but its keys.
fn shown(path: &Path, settings: &crate::Settings) -> Vec<String> {
    let (head, body) = read(path);
    let (_, target) = head.lines().next().unwrap().split_once(' ').unwrap();
    let request = Request { path: target, content_type: header(&head, "content-type"), ..Request::default() };
    let Kind::Ingest { decode, .. } = owner("POST", &request).unwrap().1.kind else { panic!("{target}") };
    let mut batch = Batch::new(1);
    let received =
        Received { body: &body, received_ms: 1_795_167_944_000, settings, ..Received::new(request) };
    decode(&received, &mut batch).unwrap();
    let mut all = Vec::new();
    for (index, series) in batch.series.iter().enumerate() {
        let labels = batch.with_labels(index, |pairs| {
            pairs.sort_unstable();
            Ok(format!("{pairs:?}"))
        });
        let samples = &batch.samples[series.samples.clone()];
        let samples: Vec<_> = samples.iter().map(|s| (s.timestamp_ms, s.start_ms, bits(s.value))).collect();
        let histograms = &batch.histograms[series.histograms.clone()];
        let exemplars = &batch.exemplars[series.exemplars.clone()];
        let (temporality, item) = (series.temporality, series.item);
        all.push(format!("{labels:?} {temporality:?} {item} {samples:?} {histograms:?} {exemplars:?}"));
    }
    let pairs = |range: &std::ops::Range<usize>| format!("{:?}", &batch.pairs[range.clone()]);
    all.extend(batch.logs.iter().map(|row| {
        format!("{} {} {} {:?}", pairs(&row.stream), pairs(&row.fields), row.timestamp_ns, row.line)
    }));
    all.extend(batch.metadata.iter().map(|row| format!("{row:?}")));
    all.push(format!("{:?} {:?} {:?}", batch.items, batch.rejections, batch.notes));
    all
}

#[test]
fn both_encodings_say_the_same() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/otlp/cases");
    let is_twin = |path: &PathBuf| path.to_string_lossy().ends_with("-json.in");
    let twins: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(is_twin).collect();
    let utf8 = Settings {
        translation_strategy: Strategy::NoTranslation,
        promote_scope_metadata: true,
        convert_histograms_to_nhcb: true,
        ..Settings::default()
    };
    let utf8 = crate::Settings { otlp: utf8, ..crate::Settings::default() };
    let mut compared = 0;
    for json in twins {
        let wire = PathBuf::from(json.to_string_lossy().replace("-json.in", ".in"));
        if !wire.exists() || header(&read(&wire).0, "content-type") != "application/x-protobuf" {
            continue;
        }
        if read(&wire).0.contains("/traces") {
            continue;
        }
        for settings in [crate::Settings::standard(), &utf8] {
            assert_eq!(shown(&wire, settings), shown(&json, settings), "{}", json.display());
        }
        compared += 1;
    }
    assert!(compared >= 12, "{compared} twins");
}

#[test]
fn a_value_of_the_wrong_type_makes_the_body_unreadable() {
    let fails = |path: &'static str, body: &str| {
        let request = Request { path, content_type: "application/json", ..Request::default() };
        let Kind::Ingest { decode, .. } = owner("POST", &request).unwrap().1.kind else { panic!("{path}") };
        let received = Received { body: body.as_bytes(), ..Received::new(request) };
        decode(&received, &mut Batch::new(1)).is_err()
    };
    let metric =
        |data: &str| format!(r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{data}]}}]}}]}}"#);
    let point =
        |field: &str| metric(&format!(r#"{{"name":"g","gauge":{{"dataPoints":[{{"asInt":1,{field}}}]}}}}"#));
    let good = r#"{"name":"g","gauge":{"dataPoints":[{"asInt":1}]}}"#;
    for wrong in [r#"5"#, r#""x""#, "{}", "[5]", "[null]", r#"[{"scopeMetrics":5}]"#, r#"[{"resource":[]}]"#]
    {
        assert!(fails("/v1/metrics", &format!(r#"{{"resourceMetrics":{wrong}}}"#)), "{wrong}");
        let logs = wrong.replace("scopeMetrics", "scopeLogs");
        assert!(fails("/v1/logs", &format!(r#"{{"resourceLogs":{logs}}}"#)), "{logs}");
    }
    for wrong in ["5", r#""x""#, "[]", "null"] {
        assert!(fails("/v1/metrics", &metric(&format!("{good},{wrong}"))), "{wrong}");
        let logs = format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{}},{wrong}]}}]}}]}}"#);
        assert!(fails("/v1/logs", &logs), "{logs}");
    }
    for wrong in [r#"{"gauge":5}"#, r#"{"gauge":{"dataPoints":{}}}"#, r#"{"gauge":{"dataPoints":[5]}}"#] {
        assert!(fails("/v1/metrics", &metric(wrong)), "{wrong}");
    }
    for wrong in [
        r#""attributes":{}"#,
        r#""attributes":[5]"#,
        r#""attributes":[{"key":"a","value":5}]"#,
        r#""attributes":[{"key":"a","value":{"arrayValue":{"values":[null]}}}]"#,
        r#""exemplars":{}"#,
    ] {
        assert!(fails("/v1/metrics", &point(wrong)), "{wrong}");
    }
    for wrong in ["5", "[null]", "{}"] {
        let of = format!(r#"{{"histogram":{{"dataPoints":[{{"bucketCounts":{wrong}}}]}}}}"#);
        assert!(fails("/v1/metrics", &metric(&of)), "{of}");
    }
    for right in [r#""attributes":null"#, r#""exemplars":null"#, r#""later":[5,{}]"#] {
        assert!(!fails("/v1/metrics", &point(right)), "{right}");
    }
    assert!(!fails("/v1/logs", r#"{"resourceLogs":null,"later":[5]}"#));
}
