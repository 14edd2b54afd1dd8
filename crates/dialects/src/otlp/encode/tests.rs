//! What is said is heard: by Weir's own decoder under its usual translation, and byte by byte.

use std::sync::Arc;

use codec::proto::{LEN, Reader};
use model::batch::{Exemplar, HistogramSample};
use model::histogram::{BucketCounts, Histogram, ResetHint, Span};
use model::{Metadata, MetricType, STALE_NAN_BITS, Sample, Temporality};
use proptest::prelude::*;

use super::SPEAKER;
use crate::Settings;
use crate::outgoing::exercise::{Data, Rows, at, data, floats, heard, labels, parcel, said, sent};
use crate::outgoing::{Answered, Body, Options, Outcome, Repeated, Version};

const NOW: i64 = 1_795_000_000_000;

fn all() -> Options {
    Options { native_histograms: true, exemplars: true, ..Options::default() }
}

/// A message's fields that have a length: their numbers and contents.
fn fields(bytes: &[u8]) -> Vec<(u32, &[u8])> {
    let (mut message, mut fields) = (Reader::new(bytes), Vec::new());
    while let Some(key) = message.key().unwrap() {
        if key & 7 == LEN {
            fields.push((key >> 3, message.bytes().unwrap()));
        } else {
            message.skip(key, 0).unwrap();
        }
    }
    fields
}

/// Name and field number of the data of each metric.
fn metrics(body: &Body) -> Vec<(String, u32)> {
    let inner = |outer: Vec<(u32, Vec<u8>)>| -> Vec<(u32, Vec<u8>)> {
        let seconds = outer.into_iter().filter(|(number, _)| *number == 2).map(|(_, bytes)| bytes);
        seconds
            .flat_map(|bytes| fields(&bytes).into_iter().map(|(n, b)| (n, b.to_vec())).collect::<Vec<_>>())
            .collect()
    };
    let resources = fields(&body.bytes).into_iter().flat_map(|(_, resource)| fields(resource));
    let scopes = inner(resources.map(|(number, bytes)| (number, bytes.to_vec())).collect());
    let metrics = scopes.into_iter().filter(|(number, _)| *number == 2);
    let shown = metrics.map(|(_, metric)| {
        let parts = fields(&metric);
        (String::from_utf8(parts[0].1.to_vec()).unwrap(), parts.last().unwrap().0)
    });
    shown.collect()
}

fn heard_data(body: &Body) -> Data {
    heard(&SPEAKER, body, Settings::standard(), data)
}

proptest! {
    #[test]
    fn floats_come_back(rows in floats(prop::num::f64::ANY)) {
        let body = said(&SPEAKER, &all(), &rows);
        prop_assert_eq!(body.unsaid, 0);
        prop_assert_eq!(heard_data(&body), sent(&rows));
    }

    #[test]
    fn classic_histograms_come_back_whole_or_in_parts(
        counts in prop::collection::vec(0u64..1 << 40, 1..6),
        leave_out in prop::collection::vec(0usize..9, 0..3),
        start_ms in prop::sample::select(vec![0, NOW - 5_000]),
        is_delta in any::<bool>(),
    ) {
        let (mut rows, mut below) = (Vec::new(), 0);
        let now = |value: f64| Sample { timestamp_ms: NOW, value, start_ms };
        for (bound, count) in counts.iter().enumerate() {
            below += count;
            rows.push(Rows::of(&format!("h_bucket a=b job=x le={bound}"), &[now(below as f64)]));
        }
        rows.push(Rows::of("h_bucket a=b job=x le=+Inf", &[now(below as f64)]));
        rows.push(Rows::of("h_sum a=b job=x", &[now(-2.5)]));
        rows.push(Rows::of("h_count a=b job=x", &[now(below as f64)]));
        for at in leave_out {
            rows.remove(at % rows.len());
        }
        if is_delta {
            rows.iter_mut().for_each(|rows| rows.temporality = Temporality::Delta);
        }
        let body = said(&SPEAKER, &all(), &rows);
        prop_assert_eq!(body.unsaid, 0);
        prop_assert_eq!(heard_data(&body), sent(&rows));
    }

    #[test]
    fn native_histograms_come_back(
        schema in -4i32..=8,
        sides in prop::array::uniform2(prop::collection::btree_map(-40i32..40, 1u64..1000, 0..9)),
        zero in 0u64..9,
    ) {
        let all_in = |side: &std::collections::BTreeMap<i32, u64>| side.values().sum::<u64>();
        let buckets = sides.each_ref().map(|side| side.iter().map(|(i, n)| (*i, *n)).collect());
        let [(positive_spans, positive), (negative_spans, negative)] =
            buckets.each_ref().map(model::histogram::buckets::spans);
        let count = zero + sides.iter().map(all_in).sum::<u64>();
        let histogram = Histogram {
            schema,
            zero_threshold: 0.001,
            sum: 12.5,
            reset_hint: ResetHint::Unknown,
            positive_spans,
            negative_spans,
            counts: BucketCounts::Integer { count, zero, positive, negative },
            custom_bounds: Vec::new(),
        };
        let rows = native(histogram.clone());
        let body = said(&SPEAKER, &all(), &[rows]);
        prop_assert_eq!(body.unsaid, 0);
        heard(&SPEAKER, &body, Settings::standard(), |batch| {
            let got = &batch.histograms[0];
            assert_eq!((got.timestamp_ms, got.start_ms), (NOW, NOW - 9));
            assert_eq!(filled(&got.histogram), filled(&histogram));
            assert_eq!(labels(batch, 0), [("__name__".into(), "h".into()), ("a".into(), "b".to_owned())]);
        });
    }
}

fn native(histogram: Histogram) -> Rows {
    let row = HistogramSample { timestamp_ms: NOW, start_ms: NOW - 9, histogram: Arc::new(histogram) };
    Rows { histograms: vec![row], ..Rows::of("h a=b", &[]) }
}

/// All that a histogram says, in one layout: buckets that hold something.
fn filled(histogram: &Histogram) -> String {
    let BucketCounts::Integer { count, zero, positive, negative } = &histogram.counts else {
        panic!("whole counts")
    };
    let side = |spans, counts| {
        let mut buckets = model::histogram::buckets::indexed(spans, counts);
        buckets.retain(|(_, count)| *count > 0);
        buckets
    };
    let positive = side(&histogram.positive_spans, positive);
    let negative = side(&histogram.negative_spans, negative);
    let Histogram { schema, zero_threshold, sum, .. } = histogram;
    format!("{schema} {zero_threshold} {sum} {count} {zero} {positive:?} {negative:?}")
}

fn histogram_parts() -> Vec<Rows> {
    let now = |value| [Sample { timestamp_ms: NOW, value, start_ms: NOW - 1_000 }];
    let parts = [("h_bucket le=0.5", 2.0), ("h_bucket le=1.0", 5.0), ("h_bucket le=+Inf", 6.0)];
    let others = [("h_sum", 4.5), ("h_count", 6.0)];
    let all = parts.into_iter().chain(others);
    all.map(|(text, value)| Rows::of(text, &now(value)).typed("h", MetricType::Histogram)).collect()
}

#[test]
fn what_is_together_is_one_histogram_and_bounds_are_numbers() {
    let rows = histogram_parts();
    let body = said(&SPEAKER, &all(), &rows);
    assert_eq!(metrics(&body), [("h".to_owned(), 9)]);
    let mut wanted = rows.clone();
    wanted[1] = Rows::of("h_bucket le=1", &rows[1].samples);
    assert_eq!(heard_data(&body), sent(&wanted));
    // A bucket alone has the same bound.
    let body = said(&SPEAKER, &all(), &rows[1..2]);
    assert_eq!(metrics(&body), [("h_bucket".to_owned(), 7)]);
    assert_eq!(heard_data(&body), sent(&wanted[1..2]));
    // What is no histogram stays in parts.
    for (at, value) in [(0, 7.0), (2, 5.0), (3, f64::NAN), (4, 5.0), (0, -1.0), (1, 4.5)] {
        let mut rows = histogram_parts();
        rows[at].samples[0].value = value;
        let whole = said(&SPEAKER, &all(), &rows);
        assert_eq!(metrics(&whole).len() == 1, at == 3, "{at} {value}");
        rows[1] = Rows::of("h_bucket le=1", &rows[1].samples);
        assert_eq!(heard_data(&whole), sent(&rows), "{at} {value}");
    }
}

#[test]
fn a_summary_is_one_point_and_the_end_of_a_series_is_said() {
    let now = |value| [at(NOW, value)];
    let mut rows = vec![
        Rows::of("s quantile=0.5", &now(2.0)),
        Rows::of("s quantile=0.99", &now(f64::NAN)),
        Rows::of("s_sum", &now(4.5)),
        Rows::of("s_count", &now(6.0)),
    ];
    let body = said(&SPEAKER, &all(), &rows);
    assert_eq!(metrics(&body), [("s".to_owned(), 11)]);
    assert_eq!(heard_data(&body), sent(&rows));
    for mut ends in [rows.clone(), histogram_parts()] {
        let stale = f64::from_bits(STALE_NAN_BITS);
        ends.iter_mut().for_each(|rows| rows.samples[0].value = stale);
        ends.iter_mut().for_each(|rows| rows.labels.retain(|(_, value)| value != "1.0"));
        ends.retain(|rows| rows.labels.len() > 1 || !rows.labels[0].1.ends_with("_bucket"));
        let body = said(&SPEAKER, &all(), &ends);
        assert_eq!((metrics(&body).len(), body.unsaid), (1, 0));
        assert_eq!(heard_data(&body), sent(&ends));
    }
    // Windows of a summary are parts.
    rows[2].temporality = Temporality::Delta;
    rows[3].temporality = Temporality::Delta;
    assert_eq!(metrics(&said(&SPEAKER, &all(), &rows)).len(), 3);
}

#[test]
fn exemplars_stand_where_their_series_does() {
    let trace = "0123456789abcdef0123456789abcdef";
    let exemplar = |value: f64, label: (&str, &str)| Exemplar {
        labels: vec![(label.0.to_owned(), label.1.to_owned())],
        value,
        timestamp_ms: NOW - 5,
    };
    let mut rows = histogram_parts();
    rows[1] = Rows::of("h_bucket le=1", &rows[1].samples).typed("h", MetricType::Histogram);
    rows[1].exemplars = vec![exemplar(0.7, ("trace_id", trace))];
    let mut counter = Rows::of("c_total", &[at(NOW, 5.0)]);
    counter.exemplars =
        vec![exemplar(1.0, ("trace_id", "short")), exemplar(2.0, ("span_id", "00000000000000ff"))];
    let mut alone = Rows::of("alone_total", &[]);
    alone.exemplars = vec![exemplar(1.0, ("a", "b"))];
    rows.extend([counter, alone]);
    let body = said(&SPEAKER, &all(), &rows);
    assert_eq!(body.unsaid, 1);
    heard(&SPEAKER, &body, Settings::standard(), |batch| {
        for (index, series) in batch.series.iter().enumerate() {
            let labels = labels(batch, index);
            let wanted = rows.iter().find(|rows| rows.labels == labels).unwrap();
            assert_eq!(batch.exemplars[series.exemplars.clone()], wanted.exemplars, "{labels:?}");
        }
        assert_eq!(batch.exemplars.len(), 3);
    });
    let without = said(&SPEAKER, &Options::default(), &rows);
    assert_eq!(without.unsaid, 0);
    heard(&SPEAKER, &without, Settings::standard(), |batch| assert!(batch.exemplars.is_empty()));
}

#[test]
fn types_are_those_under_which_names_stay() {
    let of = |text: &str, kind, unit: &str, help: &str| {
        let metadata = Metadata { kind, unit: unit.to_owned(), help: help.to_owned() };
        let name = text.split(' ').next().unwrap().to_owned();
        Rows { family: Some((name, metadata)), ..Rows::of(text, &[at(NOW, 1.0)]) }
    };
    let rows = [
        of("a_seconds_total", MetricType::Counter, "seconds", "How long."),
        of("b", MetricType::Counter, "", ""),
        of("c", MetricType::Gauge, "bytes", ""),
        of("d_total", MetricType::Unknown, "", ""),
        of("total_e_total", MetricType::Counter, "", ""),
        of("f_ratio", MetricType::Gauge, "ratio", ""),
    ];
    let body = said(&SPEAKER, &all(), &rows);
    let numbers: Vec<u32> = metrics(&body).into_iter().map(|(_, number)| number).collect();
    assert_eq!(numbers, [7, 7, 5, 7, 7, 5]);
    heard(&SPEAKER, &body, Settings::standard(), |batch| {
        let metadata: Vec<_> = batch
            .metadata
            .iter()
            .map(|row| {
                (
                    row.family.as_ref(),
                    row.metadata.kind,
                    row.metadata.unit.as_str(),
                    row.metadata.help.as_str(),
                )
            })
            .collect();
        assert_eq!(
            metadata,
            [
                ("a_seconds_total", MetricType::Counter, "seconds", "How long."),
                ("b", MetricType::Gauge, "", ""),
                ("c", MetricType::Gauge, "", ""),
                ("d_total", MetricType::Counter, "", ""),
                ("total_e_total", MetricType::Gauge, "", ""),
                ("f_ratio", MetricType::Gauge, "ratio", ""),
            ]
        );
    });
    assert_eq!(heard_data(&body), sent(&rows));
}

#[test]
fn buckets_far_apart_are_said_coarser() {
    let far = |schema, offset| Histogram {
        schema,
        zero_threshold: 0.001,
        sum: 1.0,
        reset_hint: ResetHint::Unknown,
        positive_spans: vec![Span { offset: 1 - offset / 2, length: 1 }, Span { offset, length: 1 }],
        negative_spans: vec![Span { offset: 3, length: 1 }],
        counts: BucketCounts::Integer { count: 6, zero: 0, positive: vec![1, 2], negative: vec![3] },
        custom_bounds: Vec::new(),
    };
    let body = said(&SPEAKER, &all(), &[native(far(8, 60_000))]);
    assert!(body.unsaid == 0 && body.bytes.len() < 1_000, "{} bytes", body.bytes.len());
    heard(&SPEAKER, &body, Settings::standard(), |batch| {
        // 60,002 buckets are 469 of 128 each: those from -30,000 on lie in -234, those of 30,002 in 235.
        let wanted = "1 0.001 1 6 0 [(-234, 1), (235, 2)] [(1, 3)]";
        assert_eq!(filled(&batch.histograms[0].histogram), wanted);
    });
    // What is nearer stays as it is.
    let near = far(8, 500);
    let body = said(&SPEAKER, &all(), &[native(near.clone())]);
    heard(&SPEAKER, &body, Settings::standard(), |batch| {
        assert_eq!(filled(&batch.histograms[0].histogram), filled(&near));
    });
}

#[test]
fn what_has_no_place_is_counted() {
    let float = BucketCounts::Float { count: 1.5, zero: 1.5, positive: Vec::new(), negative: Vec::new() };
    let whole = || BucketCounts::Integer { count: 1, zero: 1, positive: Vec::new(), negative: Vec::new() };
    let histogram = |counts, reset_hint, positive_spans: Vec<Span>| Histogram {
        schema: 0,
        zero_threshold: 0.1,
        sum: 1.0,
        reset_hint,
        positive_spans,
        negative_spans: Vec::new(),
        counts,
        custom_bounds: Vec::new(),
    };
    let wide = BucketCounts::Integer { count: 2, zero: 0, positive: vec![1, 1], negative: Vec::new() };
    let far = vec![Span { offset: -1_000_000, length: 1 }, Span { offset: 2_000_000, length: 1 }];
    let rows = [
        native(histogram(float, ResetHint::Unknown, Vec::new())),
        native(histogram(whole(), ResetHint::Gauge, Vec::new())),
        native(histogram(wide, ResetHint::Unknown, far)),
        Rows::of("early", &[at(0, 1.0), at(-5, 1.0)]),
        Rows::of(" a=b", &[at(NOW, 1.0)]),
    ];
    let body = said(&SPEAKER, &all(), &rows);
    assert_eq!((body.unsaid, body.bytes.len()), (6, 0));
    let body = said(&SPEAKER, &all(), &[native(histogram(whole(), ResetHint::Unknown, Vec::new()))]);
    assert_eq!((body.unsaid, metrics(&body)), (0, vec![("h".to_owned(), 10)]));
    let lines = [crate::outgoing::exercise::Line::default()];
    assert_eq!(parcel(&[], &lines, |parcel| (SPEAKER.encode)(parcel, &all()).unsaid), 1);
}

#[test]
fn bounds_of_ones_own_are_a_histogram() {
    let histogram = Histogram {
        schema: model::histogram::CUSTOM_BOUNDS_SCHEMA,
        zero_threshold: 0.0,
        sum: 4.5,
        reset_hint: ResetHint::Unknown,
        positive_spans: vec![Span { offset: 0, length: 1 }, Span { offset: 1, length: 1 }],
        negative_spans: Vec::new(),
        counts: BucketCounts::Integer { count: 6, zero: 0, positive: vec![2, 4], negative: Vec::new() },
        custom_bounds: vec![0.5, 1.0],
    };
    let body = said(&SPEAKER, &all(), &[native(histogram)]);
    let now = |value| [Sample { timestamp_ms: NOW, value, start_ms: NOW - 9 }];
    let wanted = [
        Rows::of("h_bucket a=b le=0.5", &now(2.0)),
        Rows::of("h_bucket a=b le=1", &now(2.0)),
        Rows::of("h_bucket a=b le=+Inf", &now(6.0)),
        Rows::of("h_sum a=b", &now(4.5)),
        Rows::of("h_count a=b", &now(6.0)),
    ];
    assert_eq!(heard_data(&body), sent(&wanted));
}

#[test]
fn the_bytes_are_these() {
    let rows = [Rows::of("up job=shop/cart instance=i a=b", &[at(1000, 1.0)]).typed("up", MetricType::Gauge)];
    let body = said(&SPEAKER, &Options::default(), &rows);
    let wanted: &[&[u8]] = &[
        b"\x0a\x7b\x0a\x51",
        b"\x0a\x1b\x0a\x11service.namespace\x12\x06\x0a\x04shop",
        b"\x0a\x16\x0a\x0cservice.name\x12\x06\x0a\x04cart",
        b"\x0a\x1a\x0a\x13service.instance.id\x12\x03\x0a\x01i",
        b"\x12\x26\x12\x24\x0a\x02up\x2a\x1e\x0a\x1c",
        b"\x3a\x08\x0a\x01a\x12\x03\x0a\x01b",
        b"\x19\x00\xca\x9a\x3b\x00\x00\x00\x00\x21\x00\x00\x00\x00\x00\x00\xf0\x3f",
    ];
    assert_eq!(body.bytes, wanted.concat());
    assert_eq!(body.media, "application/x-protobuf");
}

#[test]
fn answers_say_what_was_refused() {
    let judged = |status, body: &[u8]| {
        (SPEAKER.judge)(&Answered { status, headers: &[], body, version: Version::One })
    };
    assert_eq!(judged(200, b""), Outcome::Taken);
    assert_eq!(judged(200, b"{}"), Outcome::Taken);
    let partly = Outcome::TakenBut { refused: 3, why: "no".to_owned() };
    assert_eq!(judged(200, b"\x0a\x06\x08\x03\x12\x02no"), partly);
    assert_eq!(judged(200, b"\x0a\x04\x12\x02no"), Outcome::Taken);
    assert!(matches!(judged(503, b""), Outcome::Again(_)) && matches!(judged(400, b""), Outcome::Drop(_)));
    assert_eq!((SPEAKER.repeated)(&all()), Repeated::IsKept);
    assert_eq!((SPEAKER.repeated)(&Options { deltas: true, ..all() }), Repeated::IsAdded);
}
