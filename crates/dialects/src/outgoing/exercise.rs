//! Parcels for tests of speakers: made by hand or by dice, and what the dialect's own decoder makes of what was said.

use std::collections::BTreeMap;

use model::batch::{Exemplar, HistogramSample};
use model::{Batch, Metadata, MetricType, Sample, Temporality};
use proptest::prelude::*;

use super::{Body, Options, Parcel, Sent, SentLine, Speaker};
use crate::{Kind, Received, Request, Settings, owner};

/// A series with its rows, owned.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rows {
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) samples: Vec<Sample>,
    pub(crate) histograms: Vec<HistogramSample>,
    pub(crate) exemplars: Vec<Exemplar>,
    pub(crate) family: Option<(String, Metadata)>,
    pub(crate) temporality: Temporality,
}

/// A log line, owned.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Line {
    pub(crate) stream: Vec<(String, String)>,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) timestamp_ns: i64,
    pub(crate) line: String,
}

/// A float's time, start and bits.
pub(crate) type Row = (i64, i64, u64);

/// Series by their labels, sorted, with rows in the order of time.
pub(crate) type Data = BTreeMap<Vec<(String, String)>, (Vec<Row>, Temporality)>;

/// A sample's numbers.
pub(crate) fn at(timestamp_ms: i64, value: f64) -> Sample {
    Sample { timestamp_ms, value, start_ms: 0 }
}

/// A row by its numbers.
pub(crate) fn row(sample: &Sample) -> Row {
    (sample.timestamp_ms, sample.start_ms, sample.value.to_bits())
}

impl Rows {
    /// A series of floats whose name and labels are written as `name{a="b",c="d"}`, without quotes: `name a=b c=d`.
    pub(crate) fn of(text: &str, samples: &[Sample]) -> Self {
        let mut words = text.split(' ');
        let name = [("__name__".to_owned(), words.next().unwrap().to_owned())];
        let pair = |word: &str| {
            let (label, value) = word.split_once('=').unwrap();
            (label.to_owned(), value.to_owned())
        };
        let mut labels: Vec<_> = name.into_iter().filter(|(_, name)| !name.is_empty()).collect();
        labels.extend(words.map(pair));
        labels.sort();
        Self { labels, samples: samples.to_vec(), ..Self::default() }
    }

    /// The same with metadata of this type.
    pub(crate) fn typed(mut self, family: &str, kind: MetricType) -> Self {
        self.family = Some((family.to_owned(), Metadata { kind, ..Metadata::default() }));
        self
    }

    /// The same as what came in windows.
    pub(crate) fn delta(mut self) -> Self {
        self.temporality = Temporality::Delta;
        self
    }
}

/// Shows `with` a parcel of these.
pub(crate) fn parcel<T>(rows: &[Rows], lines: &[Line], with: impl FnOnce(&Parcel<'_>) -> T) -> T {
    let mut parcel = Parcel::default();
    fn put<'a>(parcel: &mut Parcel<'a>, pairs: &'a [(String, String)]) -> std::ops::Range<usize> {
        let start = parcel.pairs.len();
        parcel.pairs.extend(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        start..parcel.pairs.len()
    }
    for series in rows {
        let labels = put(&mut parcel, &series.labels);
        let starts = [parcel.samples.len(), parcel.histograms.len(), parcel.exemplars.len()];
        parcel.samples.extend(&series.samples);
        parcel.histograms.extend(series.histograms.iter().cloned());
        parcel.exemplars.extend(series.exemplars.iter().cloned());
        let sent = Sent {
            labels,
            samples: starts[0]..parcel.samples.len(),
            histograms: starts[1]..parcel.histograms.len(),
            exemplars: starts[2]..parcel.exemplars.len(),
            family: series.family.as_ref().map(|(name, metadata)| (name.as_str(), metadata)),
            temporality: series.temporality,
        };
        parcel.series.push(sent);
    }
    for line in lines {
        let stream = put(&mut parcel, &line.stream);
        let fields = put(&mut parcel, &line.fields);
        parcel.lines.push(SentLine { stream, fields, timestamp_ns: line.timestamp_ns, line: &line.line });
    }
    with(&parcel)
}

/// What a speaker says of these.
pub(crate) fn said(speaker: &Speaker, options: &Options, rows: &[Rows]) -> Body {
    parcel(rows, &[], |parcel| (speaker.encode)(parcel, options))
}

/// Shows `with` what Weir reads of a body that is sent to a speaker's path. It is packed and unpacked on the way, and
/// nothing in it is refused.
pub(crate) fn heard<T>(
    speaker: &Speaker,
    body: &Body,
    settings: &Settings,
    with: impl FnOnce(&Batch<'_>) -> T,
) -> T {
    let packed = codec::pack::pack(body.packing, &body.bytes).unwrap();
    assert!(body.bytes.len() <= speaker.body_bytes_max && packed.len() <= speaker.packed_bytes_max);
    let mut bytes = Vec::new();
    codec::inflate::inflate(body.packing, &packed, body.bytes.len(), &mut bytes).unwrap();
    let request = Request { path: speaker.path, content_type: body.media, ..Request::default() };
    let (dialect, route) = owner("POST", &request).unwrap();
    assert!(dialect.encodings.contains(&body.packing));
    let Kind::Ingest { accept, decode, .. } = route.kind else { panic!("{} takes no body", speaker.path) };
    accept(&request).unwrap();
    let received = Received { body: &bytes, received_ms: 1, settings, ..Received::new(request) };
    let mut batch = Batch::new(42);
    decode(&received, &mut batch).unwrap();
    assert!(batch.rejections.is_empty(), "{:?}", batch.rejections);
    with(&batch)
}

/// A batch's floats by series.
pub(crate) fn data(batch: &Batch<'_>) -> Data {
    let mut data = Data::new();
    for (index, series) in batch.series.iter().enumerate().filter(|(_, series)| !series.samples.is_empty()) {
        let (rows, temporality) = data.entry(labels(batch, index)).or_default();
        rows.extend(batch.samples[series.samples.clone()].iter().map(row));
        *temporality = series.temporality;
    }
    data.values_mut().for_each(|(rows, _)| rows.sort_unstable());
    data
}

/// Lines as they are read, by stream.
pub(crate) fn lines(batch: &Batch<'_>) -> Vec<Line> {
    let pairs = |range: &std::ops::Range<usize>| -> Vec<(String, String)> {
        let pairs = batch.pairs[range.clone()].iter();
        pairs.map(|(name, value)| (name.clone().into_owned(), value.clone().into_owned())).collect()
    };
    let read = batch.logs.iter().map(|row| Line {
        stream: pairs(&row.stream),
        fields: pairs(&row.fields),
        timestamp_ns: row.timestamp_ns,
        line: row.line.clone().into_owned(),
    });
    let mut lines: Vec<Line> = read.collect();
    lines.sort_by(|one, other| one.stream.cmp(&other.stream));
    lines
}

/// A series' labels, sorted, without empty ones.
pub(crate) fn labels(batch: &Batch<'_>, index: usize) -> Vec<(String, String)> {
    let owned = |pairs: &mut Vec<(&str, &str)>| {
        let mut pairs: Vec<_> = pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        pairs.sort();
        Ok(pairs)
    };
    batch.with_labels(index, owned).unwrap()
}

/// The floats of series as they were sent.
pub(crate) fn sent(rows: &[Rows]) -> Data {
    let mut data = Data::new();
    for series in rows.iter().filter(|series| !series.samples.is_empty()) {
        let (all, temporality) = data.entry(series.labels.clone()).or_default();
        all.extend(series.samples.iter().map(row));
        *temporality = series.temporality;
    }
    data.values_mut().for_each(|(rows, _)| rows.sort_unstable());
    data
}

/// Any series of floats: names and labels that every protocol knows, values that it knows if they are finite.
pub(crate) fn floats(value: impl Strategy<Value = f64> + Clone) -> impl Strategy<Value = Vec<Rows>> {
    let name = "[a-z]{1,4}(_[a-z]{2,3}){0,2}(_total|_sum|_count|_bucket)?";
    let label = ("[a-z]{1,3}(_[a-z]{1,3})?", "[ -~é]{1,6}");
    let labels = prop::collection::btree_map(label.0, label.1, 0..4);
    let origin = (prop::option::of("[a-z/]{1,4}"), prop::option::of("[a-z0-9:]{1,6}"));
    let kind = prop::sample::select(vec![
        None,
        Some(MetricType::Counter),
        Some(MetricType::Gauge),
        Some(MetricType::Unknown),
    ]);
    let samples = prop::collection::btree_map(1_000_000_000_000i64..1_800_000_000_000, value, 1..4);
    let series = (name, labels, origin, kind, samples).prop_map(|(name, labels, origin, kind, samples)| {
        let own =
            labels.into_iter().filter(|(label, _)| !matches!(label.as_str(), "le" | "job" | "instance"));
        let mut labels: Vec<(String, String)> = own.collect();
        labels.push(("__name__".to_owned(), name.clone()));
        labels.extend(origin.0.map(|job| ("job".to_owned(), job)));
        labels.extend(origin.1.map(|instance| ("instance".to_owned(), instance)));
        labels.sort();
        let family = kind.map(|kind| (name, Metadata { kind, ..Metadata::default() }));
        let samples = samples.into_iter().map(|(timestamp_ms, value)| at(timestamp_ms, value)).collect();
        Rows { labels, samples, family, ..Rows::default() }
    });
    prop::collection::vec(series, 0..8).prop_map(|mut all| {
        all.sort_by(|one, other| one.labels.cmp(&other.labels));
        all.dedup_by(|one, other| one.labels == other.labels);
        all
    })
}
