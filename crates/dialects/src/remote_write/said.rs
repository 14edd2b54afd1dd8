//! What is written outward, read back by the readers of this house: the same series, labels, rows, bits.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::batch::{Exemplar, HistogramSample};
use model::histogram::{BucketCounts, CUSTOM_BOUNDS_SCHEMA, ResetHint, Span};
use model::{Batch, Histogram, Metadata, MetricType, STALE_NAN_BITS, Sample, Temporality};
use proptest::prelude::*;

use super::encode::{SPEAKER, encode};
use super::{v1, v2};
use crate::outgoing::{Answered, Options, Outcome, Parcel, Sent, Version};

/// A series as it is owned by the test.
#[derive(Clone, Debug)]
struct Owned {
    labels: BTreeMap<String, String>,
    samples: Vec<Sample>,
    histograms: Vec<HistogramSample>,
    exemplars: Vec<Exemplar>,
    metadata: Option<Metadata>,
}

fn parcel(list: &[Owned]) -> Parcel<'_> {
    let mut parcel = Parcel::default();
    for series in list {
        let labels = parcel.pairs.len();
        parcel.pairs.extend(series.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let (samples, histograms) = (parcel.samples.len(), parcel.histograms.len());
        let exemplars = parcel.exemplars.len();
        parcel.samples.extend_from_slice(&series.samples);
        parcel.histograms.extend_from_slice(&series.histograms);
        parcel.exemplars.extend_from_slice(&series.exemplars);
        parcel.series.push(Sent {
            labels: labels..parcel.pairs.len(),
            samples: samples..parcel.samples.len(),
            histograms: histograms..parcel.histograms.len(),
            exemplars: exemplars..parcel.exemplars.len(),
            family: series.metadata.as_ref().map(|metadata| (series.labels["__name__"].as_str(), metadata)),
            temporality: Temporality::Cumulative,
        });
    }
    parcel
}

fn all(version: Version) -> Options {
    Options { version, native_histograms: true, exemplars: true, ..Options::default() }
}

/// A batch as the list that it was made of; series that stand twice are put together again.
fn read(version: Version, bytes: &[u8]) -> (Vec<Owned>, BTreeMap<String, Metadata>) {
    let mut batch = Batch::new(7);
    match version {
        Version::One => v1::decode(bytes, &mut batch),
        Version::Two => v2::decode(bytes, &mut batch),
    }
    .expect("it is a request");
    assert!(batch.rejections.is_empty(), "{:?}", batch.rejections.details());
    let mut list: Vec<Owned> = Vec::new();
    for index in 0..batch.series.len() {
        let row = &batch.series[index];
        let owned = |pairs: &mut Vec<(&str, &str)>| {
            Ok(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
        };
        let labels: BTreeMap<String, String> = batch.with_labels(index, owned).expect("labels");
        let place = list.iter().position(|series| series.labels == labels).unwrap_or(list.len());
        if place == list.len() {
            let (samples, histograms, exemplars) = Default::default();
            list.push(Owned { labels, samples, histograms, exemplars, metadata: None });
        }
        list[place].samples.extend_from_slice(&batch.samples[row.samples.clone()]);
        list[place].histograms.extend_from_slice(&batch.histograms[row.histograms.clone()]);
        list[place].exemplars.extend_from_slice(&batch.exemplars[row.exemplars.clone()]);
    }
    let metadata = batch.metadata.iter().map(|row| (row.family.to_string(), row.metadata.clone()));
    (list, metadata.collect())
}

fn compare(version: Version, list: &[Owned]) {
    let body = encode(&parcel(list), &all(version));
    let (back, metadata) = read(version, &body.bytes);
    let has_place = |series: &&Owned| {
        version == Version::One && !series.exemplars.is_empty()
            || !series.samples.is_empty()
            || !series.histograms.is_empty()
    };
    let wanted: Vec<&Owned> = list.iter().filter(has_place).collect();
    assert_eq!(back.len(), wanted.len());
    for (back, sent) in back.iter().zip(&wanted) {
        assert_eq!(back.labels, sent.labels);
        let start = |start_ms| if version == Version::Two { start_ms } else { 0 };
        let samples: Vec<Sample> =
            sent.samples.iter().map(|row| Sample { start_ms: start(row.start_ms), ..*row }).collect();
        assert_eq!(back.samples, samples);
        let histograms: Vec<HistogramSample> = sent
            .histograms
            .iter()
            .map(|row| HistogramSample { start_ms: start(row.start_ms), ..row.clone() })
            .collect();
        assert_eq!(back.histograms, histograms);
        assert_eq!(back.exemplars, sent.exemplars);
        let is_said = |metadata: &&Metadata| version == Version::One || **metadata != Metadata::default();
        if let Some(sent_metadata) = sent.metadata.as_ref().filter(is_said) {
            assert_eq!(metadata.get(&sent.labels["__name__"]), Some(sent_metadata));
        }
    }
    let rows = |series: &Owned| series.samples.len() + series.histograms.len() + series.exemplars.len();
    let unsaid: usize = list.iter().filter(|series| !has_place(series)).map(rows).sum();
    assert_eq!(body.unsaid, unsaid as u64);
}

fn float() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<f64>(),
        Just(f64::from_bits(STALE_NAN_BITS)),
        Just(-0.0),
        any::<u64>().prop_map(f64::from_bits)
    ]
}

fn histogram() -> impl Strategy<Value = Histogram> {
    let buckets = || prop::collection::vec(0u64..1 << 40, 0..6);
    (buckets(), buckets(), -4i32..=8, -9i32..9, 0u64..9, any::<bool>(), 0u64..4).prop_map(
        |(positive, mut negative, schema, offset, mut zero, is_float, hint)| {
            let is_custom = schema == -4;
            let custom_bounds = if is_custom { vec![-1.5, 0.0, 1.0, 2.5, 10.0, 11.0] } else { Vec::new() };
            if is_custom {
                negative.clear();
                zero = 0;
            }
            let spans = |counts: &[u64], offset| match counts.len() as u32 {
                0 => Vec::new(),
                length => vec![Span { offset, length: 1 }, Span { offset: 0, length: length - 1 }],
            };
            let positive_spans = spans(&positive, if is_custom { 0 } else { offset });
            let negative_spans = spans(&negative, offset);
            let count = zero + positive.iter().chain(&negative).sum::<u64>();
            let floats = |counts: &[u64]| counts.iter().map(|count| *count as f64 / 2.0).collect();
            let counts = match is_float {
                true => BucketCounts::Float {
                    count: count as f64 / 2.0,
                    zero: zero as f64 / 2.0,
                    positive: floats(&positive),
                    negative: floats(&negative),
                },
                false => BucketCounts::Integer { count, zero, positive, negative },
            };
            Histogram {
                schema: if is_custom { CUSTOM_BOUNDS_SCHEMA } else { schema },
                zero_threshold: 0.25,
                sum: 3.5,
                reset_hint: ResetHint::from_number(hint).expect("four hints"),
                positive_spans,
                negative_spans,
                counts,
                custom_bounds,
            }
        },
    )
}

fn series() -> impl Strategy<Value = Owned> {
    let time = || prop_oneof![Just(0i64), 1_700_000_000_000i64..1_800_000_000_000, -1000i64..1000];
    let sample = (time(), float(), time()).prop_map(|(timestamp_ms, value, start_ms)| Sample {
        timestamp_ms,
        value,
        start_ms,
    });
    let histogram = (time(), time(), histogram()).prop_map(|(timestamp_ms, start_ms, histogram)| {
        HistogramSample { timestamp_ms, start_ms, histogram: Arc::new(histogram) }
    });
    let exemplar = (prop::collection::vec(("[a-c]{1,2}", "[x-zä]{1,3}"), 1..3), -9.0..9.0f64, time())
        .prop_map(|(mut labels, value, timestamp_ms)| {
            labels.sort();
            labels.dedup_by(|a, b| a.0 == b.0);
            Exemplar { labels, value, timestamp_ms }
        });
    let metadata = (0u64..8, "[a-z ]{0,3}", ".{0,4}").prop_map(|(kind, unit, help)| Metadata {
        kind: MetricType::from_number(kind).expect("eight types"),
        unit,
        help,
    });
    let labels = prop::collection::btree_map("[a-d]{1,2}", "[a-cé]{1,20}", 0..5);
    (
        labels,
        prop::collection::vec(sample, 0..4),
        prop::collection::vec(histogram, 0..3),
        prop::collection::vec(exemplar, 0..3),
        prop::option::of(metadata),
    )
        .prop_map(|(labels, samples, histograms, exemplars, metadata)| Owned {
            labels,
            samples,
            histograms,
            exemplars,
            metadata,
        })
}

proptest! {
    #[test]
    fn what_is_said_is_read_back(list in prop::collection::vec(series(), 0..12)) {
        let mut list = list;
        for (at, series) in list.iter_mut().enumerate() {
            series.labels.insert("__name__".to_owned(), format!("m{at}"));
        }
        compare(Version::One, &list);
        compare(Version::Two, &list);
    }
}

#[test]
fn what_is_switched_off_is_counted_and_not_said() {
    let one = HistogramSample {
        timestamp_ms: 1,
        start_ms: 0,
        histogram: Arc::new(Histogram {
            schema: 0,
            zero_threshold: 0.0,
            sum: 0.0,
            reset_hint: ResetHint::Unknown,
            positive_spans: Vec::new(),
            negative_spans: Vec::new(),
            counts: BucketCounts::Integer { count: 0, zero: 0, positive: Vec::new(), negative: Vec::new() },
            custom_bounds: Vec::new(),
        }),
    };
    let exemplar = Exemplar { labels: vec![("t".into(), "x".into())], value: 1.0, timestamp_ms: 1 };
    let list = [Owned {
        labels: [("__name__".to_owned(), "m".to_owned())].into(),
        samples: Vec::new(),
        histograms: vec![one],
        exemplars: vec![exemplar],
        metadata: None,
    }];
    for version in [Version::One, Version::Two] {
        let body = encode(&parcel(&list), &Options { version, ..Options::default() });
        assert_eq!((body.bytes.len(), body.unsaid), (0, 2));
        assert!(encode(&Parcel::default(), &all(version)).bytes.is_empty());
    }
}

#[test]
fn an_answer_that_says_nothing_of_what_was_written_is_one_of_version_one() {
    let written = [("x-prometheus-remote-write-samples-written", "0")];
    let judged = |status, version, headers: &[(&str, &str)]| {
        (SPEAKER.judge)(&Answered { status, headers, body: b"why", version })
    };
    assert_eq!(judged(204, Version::One, &[]), Outcome::Taken);
    assert_eq!(judged(204, Version::Two, &written), Outcome::Taken);
    assert!(matches!(judged(200, Version::Two, &[]), Outcome::Downgrade(_)));
    assert!(matches!(judged(415, Version::Two, &[]), Outcome::Downgrade(_)));
    assert_eq!(judged(415, Version::One, &[]), Outcome::Drop("415: why".to_owned()));
    assert_eq!(judged(413, Version::Two, &[]), Outcome::Halve("413: why".to_owned()));
    assert_eq!(judged(429, Version::One, &[]), Outcome::Again("429: why".to_owned()));
    let refused = Outcome::TakenBut { refused: 1, why: "400: why".to_owned() };
    assert_eq!(judged(400, Version::Two, &written), refused);
    assert_eq!(judged(400, Version::Two, &[]), Outcome::Drop("400: why".to_owned()));
}
