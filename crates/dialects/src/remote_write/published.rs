//! The published messages of remote write, encoded and decoded by `prost`: an independent hand that our own reader is
//! compared with. Field numbers are those of Prometheus' `prompb/{remote,types}.proto` and
//! `io/prometheus/write/v2/types.proto`.

use std::collections::BTreeMap;

use model::batch::HistogramSample;
use model::histogram::{BucketCounts, ResetHint};
use model::{Batch, Counts};
use proptest::prelude::*;
use prost::Message as _;

use super::{v1, v2};

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    pub(super) timeseries: Vec<TimeSeries>,
    #[prost(message, repeated, tag = "3")]
    pub(super) metadata: Vec<MetricMetadata>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    pub(super) labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    pub(super) samples: Vec<Sample>,
    #[prost(message, repeated, tag = "3")]
    pub(super) exemplars: Vec<Exemplar>,
    #[prost(message, repeated, tag = "4")]
    pub(super) histograms: Vec<Histogram>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Label {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) value: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Sample {
    #[prost(double, tag = "1")]
    pub(super) value: f64,
    #[prost(int64, tag = "2")]
    pub(super) timestamp: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Exemplar {
    #[prost(message, repeated, tag = "1")]
    pub(super) labels: Vec<Label>,
    #[prost(double, tag = "2")]
    pub(super) value: f64,
    #[prost(int64, tag = "3")]
    pub(super) timestamp: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct MetricMetadata {
    #[prost(int32, tag = "1")]
    pub(super) kind: i32,
    #[prost(string, tag = "2")]
    pub(super) metric_family_name: String,
    #[prost(string, tag = "4")]
    pub(super) help: String,
    #[prost(string, tag = "5")]
    pub(super) unit: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Histogram {
    #[prost(oneof = "Count", tags = "1, 2")]
    pub(super) count: Option<Count>,
    #[prost(double, tag = "3")]
    pub(super) sum: f64,
    #[prost(sint32, tag = "4")]
    pub(super) schema: i32,
    #[prost(double, tag = "5")]
    pub(super) zero_threshold: f64,
    #[prost(oneof = "ZeroCount", tags = "6, 7")]
    pub(super) zero_count: Option<ZeroCount>,
    #[prost(message, repeated, tag = "8")]
    pub(super) negative_spans: Vec<BucketSpan>,
    #[prost(sint64, repeated, tag = "9")]
    pub(super) negative_deltas: Vec<i64>,
    #[prost(double, repeated, tag = "10")]
    pub(super) negative_counts: Vec<f64>,
    #[prost(message, repeated, tag = "11")]
    pub(super) positive_spans: Vec<BucketSpan>,
    #[prost(sint64, repeated, tag = "12")]
    pub(super) positive_deltas: Vec<i64>,
    #[prost(double, repeated, tag = "13")]
    pub(super) positive_counts: Vec<f64>,
    #[prost(int32, tag = "14")]
    pub(super) reset_hint: i32,
    #[prost(int64, tag = "15")]
    pub(super) timestamp: i64,
    #[prost(double, repeated, tag = "16")]
    pub(super) custom_values: Vec<f64>,
    #[prost(int64, tag = "17")]
    pub(super) start_timestamp: i64,
}

#[derive(Clone, Copy, PartialEq, prost::Oneof)]
pub(super) enum Count {
    #[prost(uint64, tag = "1")]
    Int(u64),
    #[prost(double, tag = "2")]
    Float(f64),
}

#[derive(Clone, Copy, PartialEq, prost::Oneof)]
pub(super) enum ZeroCount {
    #[prost(uint64, tag = "6")]
    Int(u64),
    #[prost(double, tag = "7")]
    Float(f64),
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct BucketSpan {
    #[prost(sint32, tag = "1")]
    pub(super) offset: i32,
    #[prost(uint32, tag = "2")]
    pub(super) length: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Request {
    #[prost(string, repeated, tag = "4")]
    pub(super) symbols: Vec<String>,
    #[prost(message, repeated, tag = "5")]
    pub(super) timeseries: Vec<TimeSeries2>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct TimeSeries2 {
    #[prost(uint32, repeated, tag = "1")]
    pub(super) labels_refs: Vec<u32>,
    #[prost(message, repeated, tag = "2")]
    pub(super) samples: Vec<Sample2>,
    #[prost(message, repeated, tag = "3")]
    pub(super) histograms: Vec<Histogram>,
    #[prost(message, repeated, tag = "4")]
    pub(super) exemplars: Vec<Exemplar2>,
    #[prost(message, optional, tag = "5")]
    pub(super) metadata: Option<Metadata2>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Sample2 {
    #[prost(double, tag = "1")]
    pub(super) value: f64,
    #[prost(int64, tag = "2")]
    pub(super) timestamp: i64,
    #[prost(int64, tag = "3")]
    pub(super) start_timestamp: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Exemplar2 {
    #[prost(uint32, repeated, tag = "1")]
    pub(super) labels_refs: Vec<u32>,
    #[prost(double, tag = "2")]
    pub(super) value: f64,
    #[prost(int64, tag = "3")]
    pub(super) timestamp: i64,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(super) struct Metadata2 {
    #[prost(int32, tag = "1")]
    pub(super) kind: i32,
    #[prost(uint32, tag = "3")]
    pub(super) help_ref: u32,
    #[prost(uint32, tag = "4")]
    pub(super) unit_ref: u32,
}

fn float() -> impl Strategy<Value = f64> {
    prop_oneof![
        Just(0.0),
        Just(-0.0),
        any::<u64>().prop_map(f64::from_bits),
        (-1000i32..1000).prop_map(f64::from)
    ]
}

fn time() -> impl Strategy<Value = i64> {
    prop_oneof![Just(0), 1_795_000_000_000i64..1_796_000_000_000, any::<i64>()]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "[a-z_]{1,8}", "\\PC{0,12}", Just("__name__".to_owned()), "x{130}"]
}

fn label() -> impl Strategy<Value = Label> {
    (text(), text()).prop_map(|(name, value)| Label { name, value })
}

fn sample() -> impl Strategy<Value = Sample> {
    (float(), time()).prop_map(|(value, timestamp)| Sample { value, timestamp })
}

fn exemplar() -> impl Strategy<Value = Exemplar> {
    (prop::collection::vec(label(), 0..3), float(), time()).prop_map(|(labels, value, timestamp)| Exemplar {
        labels,
        value,
        timestamp,
    })
}

fn span() -> impl Strategy<Value = BucketSpan> {
    (-3i32..6, 0u32..4).prop_map(|(offset, length)| BucketSpan { offset, length })
}

/// About half of these are valid: spans are given the deltas that they need, then little is broken.
fn histogram() -> impl Strategy<Value = Histogram> {
    let spans = || prop::collection::vec(span(), 0..3);
    let counts = || prop::collection::vec(0u64..20, 9);
    (spans(), spans(), counts(), counts(), any::<bool>(), -6i32..14, 0i32..5, float(), time(), 0..10u8)
        .prop_map(
            |(
                mut positive_spans,
                mut negative_spans,
                positive,
                negative,
                float,
                schema,
                reset_hint,
                sum,
                timestamp,
                fault,
            )| {
                if fault > 1 {
                    for spans in [&mut positive_spans, &mut negative_spans] {
                        spans.iter_mut().skip(1).for_each(|span| span.offset = span.offset.abs());
                    }
                }
                let take = |spans: &[BucketSpan], counts: Vec<u64>| {
                    let needed = spans.iter().map(|s| s.length as usize).sum::<usize>();
                    counts.into_iter().cycle().take(needed + usize::from(fault == 0)).collect::<Vec<_>>()
                };
                let (positive, negative) = (take(&positive_spans, positive), take(&negative_spans, negative));
                let count = positive.iter().chain(&negative).sum::<u64>() + u64::from(fault == 1);
                let deltas = |counts: &[u64]| {
                    let before = std::iter::once(&0).chain(counts);
                    counts.iter().zip(before).map(|(count, before)| *count as i64 - *before as i64).collect()
                };
                let floats = |counts: &[u64]| counts.iter().map(|count| *count as f64).collect();
                let mut histogram = Histogram {
                    count: Some(if float { Count::Float(count as f64) } else { Count::Int(count) }),
                    zero_count: Some(if float != (fault == 2) {
                        ZeroCount::Float(0.0)
                    } else {
                        ZeroCount::Int(0)
                    }),
                    sum,
                    schema,
                    zero_threshold: 0.001,
                    positive_spans,
                    negative_spans,
                    reset_hint,
                    timestamp,
                    start_timestamp: timestamp / 2,
                    ..Histogram::default()
                };
                if float {
                    (histogram.positive_counts, histogram.negative_counts) =
                        (floats(&positive), floats(&negative));
                } else {
                    (histogram.positive_deltas, histogram.negative_deltas) =
                        (deltas(&positive), deltas(&negative));
                }
                histogram
            },
        )
}

fn write_request() -> impl Strategy<Value = WriteRequest> {
    let series =
        (prop::collection::vec(label(), 0..5), list_of(sample()), list_of(exemplar()), list_of(histogram()))
            .prop_map(|(labels, samples, exemplars, histograms)| TimeSeries {
                labels,
                samples,
                exemplars,
                histograms,
            });
    let metadata = (0i32..10, text(), text(), text()).prop_map(|(kind, metric_family_name, help, unit)| {
        MetricMetadata { kind, metric_family_name, help, unit }
    });
    (prop::collection::vec(series, 0..6), list_of(metadata))
        .prop_map(|(timeseries, metadata)| WriteRequest { timeseries, metadata })
}

fn list_of<S: Strategy>(strategy: S) -> impl Strategy<Value = Vec<S::Value>> {
    prop::collection::vec(strategy, 0..3)
}

fn request() -> impl Strategy<Value = Request> {
    let references = || {
        prop_oneof![4 => (prop::collection::vec((0u32..8, 0u32..8), 0..4))
        .prop_map(|pairs| pairs.into_iter().flat_map(|(n, v)| [n, v]).collect()),
        1 => prop::collection::vec(0u32..10, 0..5)]
    };
    let sample = (float(), time(), time()).prop_map(|(value, timestamp, start_timestamp)| Sample2 {
        value,
        timestamp,
        start_timestamp,
    });
    let exemplar = (references(), float(), time()).prop_map(|(labels_refs, value, timestamp)| Exemplar2 {
        labels_refs,
        value,
        timestamp,
    });
    let metadata =
        prop::option::of((0i32..10, 0u32..9, 0u32..9).prop_map(|(kind, help_ref, unit_ref)| Metadata2 {
            kind,
            help_ref,
            unit_ref,
        }));
    let series = (references(), list_of(sample), list_of(histogram()), list_of(exemplar), metadata).prop_map(
        |(labels_refs, samples, histograms, exemplars, metadata)| TimeSeries2 {
            labels_refs,
            samples,
            histograms,
            exemplars,
            metadata,
        },
    );
    (prop::collection::vec(text(), 7), prop::collection::vec(series, 0..6)).prop_map(
        |(mut symbols, timeseries)| {
            symbols.insert(0, String::new());
            symbols[1] = "__name__".to_owned();
            Request { symbols, timeseries }
        },
    )
}

/// Batch and refusals together must be what was sent.
fn accounted(batch: &Batch<'_>) -> Counts {
    let (mut counts, rejected) = (batch.counts(), batch.rejections.counts());
    for signal in model::Signal::ALL {
        *counts.get_mut(signal) += rejected.get(signal);
    }
    counts
}

fn labels(batch: &Batch<'_>, series: usize) -> Vec<(String, String)> {
    let owned = |pairs: &mut Vec<(&str, &str)>| {
        Ok(pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect())
    };
    batch.with_labels(series, owned).expect("prost writes nothing else")
}

/// A histogram as a map from bucket to count, by a plain reading of the format; `None` when it is not one.
fn expected(histogram: &Histogram) -> Option<(BTreeMap<i64, f64>, BTreeMap<i64, f64>)> {
    let mixed = matches!(
        (histogram.count, histogram.zero_count),
        (Some(Count::Int(_)), Some(ZeroCount::Float(_))) | (Some(Count::Float(_)), Some(ZeroCount::Int(_)))
    );
    if mixed || !(-4..=52).contains(&histogram.schema) {
        return None;
    }
    let absolute = |deltas: &[i64], floats: &[f64]| -> Vec<f64> {
        let mut count = 0;
        let integers = deltas.iter().map(|delta| {
            count += delta;
            count as f64
        });
        integers.chain(floats.iter().copied()).collect()
    };
    let side = |spans: &[BucketSpan], counts: Vec<f64>| -> Option<BTreeMap<i64, f64>> {
        let (mut buckets, mut index, mut counts) = (BTreeMap::new(), 0i64, counts.into_iter());
        for (i, span) in spans.iter().enumerate() {
            if i > 0 && span.offset < 0 {
                return None;
            }
            index += i64::from(span.offset);
            for _ in 0..span.length {
                // The bucket of a coarser schema is the one that holds this one's upper bound.
                let shift = (histogram.schema - 8).max(0);
                let coarse = (index as f64 / f64::from(1 << shift)).ceil() as i64;
                *buckets.entry(coarse).or_insert(0.0) += counts.next()?;
                index += 1;
            }
        }
        counts.next().is_none().then_some(buckets)
    };
    let positive =
        side(&histogram.positive_spans, absolute(&histogram.positive_deltas, &histogram.positive_counts))?;
    let negative =
        side(&histogram.negative_spans, absolute(&histogram.negative_deltas, &histogram.negative_counts))?;
    let total: f64 = positive.values().chain(negative.values()).sum();
    let fits = match histogram.count {
        Some(Count::Int(count)) if histogram.sum.is_nan() => total <= count as f64,
        Some(Count::Int(count)) => total == count as f64,
        _ => true,
    };
    fits.then_some((positive, negative))
}

fn decoded(sample: &HistogramSample) -> (BTreeMap<i64, f64>, BTreeMap<i64, f64>) {
    let side = |spans: &[model::histogram::Span], counts: Vec<f64>| {
        let (mut buckets, mut index, mut counts) = (BTreeMap::new(), 0i64, counts.into_iter());
        for span in spans {
            index += i64::from(span.offset);
            for _ in 0..span.length {
                buckets.insert(index, counts.next().expect("validated"));
                index += 1;
            }
        }
        buckets
    };
    let histogram = &sample.histogram;
    let (positive, negative) = match &histogram.counts {
        BucketCounts::Integer { positive, negative, .. } => (
            positive.iter().map(|c| *c as f64).collect::<Vec<_>>(),
            negative.iter().map(|c| *c as f64).collect::<Vec<_>>(),
        ),
        BucketCounts::Float { positive, negative, .. } => (positive.clone(), negative.clone()),
    };
    (side(&histogram.positive_spans, positive), side(&histogram.negative_spans, negative))
}

fn check_histograms(got: &[HistogramSample], sent: &[Histogram]) {
    let wanted: Vec<_> = sent.iter().filter_map(|h| Some((h, expected(h)?))).collect();
    assert_eq!(got.len(), wanted.len(), "{sent:#?}");
    for (got, (sent, buckets)) in got.iter().zip(wanted) {
        assert_eq!(decoded(got), buckets, "{sent:#?}");
        assert_eq!(got.histogram.schema, sent.schema.min(8));
        assert_eq!(got.histogram.sum.to_bits(), sent.sum.to_bits());
        let hint = ResetHint::from_number(sent.reset_hint as u64).unwrap_or_default();
        assert_eq!(
            (got.timestamp_ms, got.start_ms, got.histogram.reset_hint),
            (sent.timestamp, sent.start_timestamp, hint)
        );
    }
}

/// Whether an exemplar with these labels is one.
fn is_exemplar(labels: &[(String, String)]) -> bool {
    let characters: usize = labels.iter().map(|(n, v)| n.chars().count() + v.chars().count()).sum();
    let names: std::collections::BTreeSet<_> = labels.iter().map(|(n, _)| n).collect();
    characters <= 128 && names.len() == labels.len() && labels.iter().all(|(n, _)| !n.is_empty())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_1_0_request_is_read_as_prost_reads_it(sent in write_request()) {
        let body = sent.encode_to_vec();
        // prost leaves out -0.0 as if it were 0.0: what it reads back is what was sent.
        let sent = WriteRequest::decode(body.as_slice()).unwrap();
        let mut batch = Batch::new(7);
        v1::decode(&body, &mut batch).unwrap();

        let count = |f: fn(&TimeSeries) -> usize| sent.timeseries.iter().map(f).sum::<usize>() as u64;
        prop_assert_eq!(accounted(&batch), Counts {
            samples: count(|s| s.samples.len()),
            histograms: count(|s| s.histograms.len()),
            exemplars: count(|s| s.exemplars.len()),
            metadata: sent.metadata.len() as u64,
            log_lines: 0,
        });
        let mut rows = batch.series.iter().enumerate();
        for series in &sent.timeseries {
            let pairs = |labels: &[Label]| labels.iter().map(|l| (l.name.clone(), l.value.clone())).collect::<Vec<_>>();
            let exemplars: Vec<_> = series.exemplars.iter().filter(|e| is_exemplar(&pairs(&e.labels))).collect();
            let histograms = series.histograms.iter().filter(|h| expected(h).is_some()).count();
            if series.samples.is_empty() && exemplars.is_empty() && histograms == 0 {
                continue;
            }
            let (index, row) = rows.next().expect("a row for each series with something to store");
            prop_assert_eq!(labels(&batch, index), pairs(&series.labels));
            let samples = batch.samples[row.samples.clone()].iter().map(|s| (s.timestamp_ms, s.value.to_bits()));
            prop_assert!(samples.eq(series.samples.iter().map(|s| (s.timestamp, s.value.to_bits()))));
            check_histograms(&batch.histograms[row.histograms.clone()], &series.histograms);
            let got = &batch.exemplars[row.exemplars.clone()];
            prop_assert_eq!(got.len(), exemplars.len());
            for (got, sent) in got.iter().zip(exemplars) {
                prop_assert_eq!(&got.labels, &pairs(&sent.labels));
                prop_assert_eq!((got.timestamp_ms, got.value.to_bits()), (sent.timestamp, sent.value.to_bits()));
            }
        }
        prop_assert!(rows.next().is_none());
    }

    #[test]
    fn order_on_the_wire_has_no_meaning(sent in write_request(), seed in any::<u64>()) {
        let mut shuffled = Vec::new();
        for series in &sent.timeseries {
            shuffled.extend(scattered(series, seed));
        }
        let body = WriteRequest { metadata: Vec::new(), ..sent }.encode_to_vec();
        let mut plain = Batch::new(7);
        v1::decode(&body, &mut plain).unwrap();
        let mut odd = Batch::new(7);
        v1::decode(&shuffled, &mut odd).unwrap();
        prop_assert_eq!(plain.series.len(), odd.series.len());
        prop_assert_eq!(&plain.samples, &odd.samples);
        prop_assert_eq!(&plain.histograms, &odd.histograms);
        // As text: a NaN is not equal to itself.
        prop_assert_eq!(format!("{:?}", plain.exemplars), format!("{:?}", odd.exemplars));
        prop_assert_eq!(plain.rejections.counts(), odd.rejections.counts());
        for (index, (plain_row, odd_row)) in plain.series.iter().zip(&odd.series).enumerate() {
            prop_assert_eq!(labels(&plain, index), labels(&odd, index));
            prop_assert_eq!(plain_row.key, odd_row.key);
        }
    }

    #[test]
    fn a_2_0_request_is_read_as_prost_reads_it(sent in request()) {
        let body = sent.encode_to_vec();
        let sent = Request::decode(body.as_slice()).unwrap();
        let mut batch = Batch::new(7);
        v2::decode(&body, &mut batch).unwrap();

        let count = |f: fn(&TimeSeries2) -> usize| sent.timeseries.iter().map(f).sum::<usize>() as u64;
        let accounted = accounted(&batch);
        prop_assert_eq!(
            (accounted.samples, accounted.histograms, accounted.exemplars),
            (count(|s| s.samples.len()), count(|s| s.histograms.len()), count(|s| s.exemplars.len()))
        );
        let resolve = |references: &[u32]| -> Option<Vec<(String, String)>> {
            let text = |r: &u32| sent.symbols.get(*r as usize).cloned();
            let (pairs, rest) = references.as_chunks::<2>();
            rest.is_empty().then_some(())?;
            pairs.iter().map(|[n, v]| Some((text(n)?, text(v)?))).collect()
        };
        let mut rows = batch.series.iter().enumerate();
        for series in &sent.timeseries {
            let Some(pairs) = resolve(&series.labels_refs) else { continue };
            if series.samples.is_empty() == series.histograms.is_empty() {
                continue;
            }
            let exemplars: Vec<_> = series
                .exemplars
                .iter()
                .filter_map(|e| Some((e, resolve(&e.labels_refs).filter(|labels| is_exemplar(labels))?)))
                .collect();
            let histograms = series.histograms.iter().filter(|h| expected(h).is_some()).count();
            if series.samples.is_empty() && exemplars.is_empty() && histograms == 0 {
                continue;
            }
            let (index, row) = rows.next().expect("a row for each series with something to store");
            prop_assert_eq!(labels(&batch, index), pairs);
            let samples: Vec<_> = batch.samples[row.samples.clone()]
                .iter()
                .map(|s| (s.timestamp_ms, s.value.to_bits(), s.start_ms))
                .collect();
            let wanted: Vec<_> =
                series.samples.iter().map(|s| (s.timestamp, s.value.to_bits(), s.start_timestamp)).collect();
            prop_assert_eq!(samples, wanted);
            check_histograms(&batch.histograms[row.histograms.clone()], &series.histograms);
            let got = &batch.exemplars[row.exemplars.clone()];
            prop_assert_eq!(got.len(), exemplars.len());
            for (got, (sent, labels)) in got.iter().zip(exemplars) {
                prop_assert_eq!(&got.labels, &labels);
                prop_assert_eq!((got.timestamp_ms, got.value.to_bits()), (sent.timestamp, sent.value.to_bits()));
            }
        }
        prop_assert!(rows.next().is_none());
    }
}

/// A series whose fields lie in an order that `seed` picks; fields of one kind keep theirs.
fn scattered(series: &TimeSeries, mut seed: u64) -> Vec<u8> {
    let field = |number: u32, body: Vec<u8>| {
        let mut out = Vec::new();
        codec::proto::write_bytes(number, &body, &mut out);
        out
    };
    let mut queues = [
        series.labels.iter().map(|l| field(1, l.encode_to_vec())).collect::<std::collections::VecDeque<_>>(),
        series.samples.iter().map(|s| field(2, s.encode_to_vec())).collect(),
        series.exemplars.iter().map(|e| field(3, e.encode_to_vec())).collect(),
        series.histograms.iter().map(|h| field(4, h.encode_to_vec())).collect(),
    ];
    let mut message = Vec::new();
    while queues.iter().any(|queue| !queue.is_empty()) {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        if let Some(bytes) = queues[(seed >> 33) as usize % 4].pop_front() {
            message.extend(bytes);
        }
    }
    field(1, message)
}
