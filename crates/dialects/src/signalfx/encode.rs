//! Data points as `/v2/datapoint` takes them: `DataPointUploadMessage` in protobuf, packed with gzip.
//!
//! Running totals are cumulative counters, what came in windows is a counter, everything else a gauge. Dimensions have narrower
//! names than labels: what is no letter, digit, `_` or `-` becomes `_`, and a name that does not begin with a letter, or begins
//! with `sf_`, gets `label_` before it. The bound of a bucket is called `upper_bound`.

use std::borrow::Cow;

use codec::proto::{write_bytes, write_double, write_message, write_number};
use model::labels::METRIC_NAME;
use model::{Sample, Temporality};

use crate::Encoding;
use crate::outgoing::{self, Body, Options, Parcel, Parts, Repeated, Series, Signal, Speaker, TokenPlace};

/// Its row.
pub static SPEAKER: Speaker = Speaker {
    name: "signalfx",
    signal: Signal::Metrics,
    repeated: |options| if options.deltas { Repeated::IsAdded } else { Repeated::IsKept },
    parts: Parts::Apart,
    path: "/v2/datapoint",
    token: TokenPlace::Header("x-sf-token"),
    body_bytes_max: 10 << 20,
    packed_bytes_max: 10 << 20,
    encode,
    judge: outgoing::usual,
};

/// Types of `com.signalfx.metrics.protobuf.MetricType`.
const GAUGE: u64 = 0;
const COUNTER: u64 = 1;
const CUMULATIVE_COUNTER: u64 = 3;

/// Characters of a metric's name and of a dimension's value.
const TEXT_MAX: usize = 256;
/// Characters of a dimension's name.
const NAME_MAX: usize = 128;
/// Dimensions of a data point.
const DIMENSIONS_MAX: usize = 36;

fn encode(parcel: &Parcel<'_>, _: &Options) -> Body {
    let (mut bytes, mut unsaid) = (Vec::new(), parcel.lines.len() as u64);
    for series in parcel.series() {
        unsaid += series.beside_floats();
        let dimensions = dimensions(&series);
        let can_be_said = |sample: &Sample| sample.value.is_finite() && sample.timestamp_ms > 0;
        for sample in series.samples {
            match &dimensions {
                Some(dimensions) if can_be_said(sample) => {
                    write_message(1, &mut bytes, |out| write(&series, dimensions, sample, out));
                }
                _ => unsaid += 1,
            }
        }
    }
    Body { bytes, media: "application/x-protobuf", packing: Encoding::Gzip, headers: Vec::new(), unsaid }
}

/// A series' dimensions; `None` where they, or its name, are more than the receiver takes.
fn dimensions<'p>(series: &Series<'p>) -> Option<Vec<(Cow<'p, str>, &'p str)>> {
    let is_long = |text: &str, max: usize| text.len() > max && text.chars().count() > max;
    let bound = series.bound_label();
    let mut dimensions: Vec<(Cow<'p, str>, &'p str)> = Vec::with_capacity(series.labels.len());
    for (label, value) in series.labels.iter().filter(|(label, _)| *label != METRIC_NAME) {
        let name = if Some(*label) == bound { Cow::Borrowed("upper_bound") } else { named(label) };
        let is_there = dimensions.iter().any(|(other, _)| *other == name);
        if is_there || is_long(&name, NAME_MAX) || is_long(value, TEXT_MAX) {
            return None;
        }
        dimensions.push((name, value));
    }
    let name = series.name();
    let fits = !name.is_empty() && !is_long(name, TEXT_MAX) && dimensions.len() <= DIMENSIONS_MAX;
    fits.then_some(dimensions)
}

/// A label's name as that of a dimension.
fn named(label: &str) -> Cow<'_, str> {
    let is_good = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let begins_well = label.starts_with(|c: char| c.is_ascii_alphabetic()) && !label.starts_with("sf_");
    if begins_well && label.chars().all(is_good) {
        return Cow::Borrowed(label);
    }
    let cleaned: String = label.chars().map(|c| if is_good(c) { c } else { '_' }).collect();
    Cow::Owned(if begins_well { cleaned } else { format!("label_{cleaned}") })
}

/// Appends a data point.
fn write(series: &Series<'_>, dimensions: &[(Cow<'_, str>, &str)], sample: &Sample, out: &mut Vec<u8>) {
    write_bytes(2, series.name().as_bytes(), out);
    write_number(3, sample.timestamp_ms as u64, out);
    write_message(4, out, |out| write_double(2, sample.value, out));
    let kind = match series.temporality {
        Temporality::Delta => COUNTER,
        Temporality::Cumulative if series.is_total() => CUMULATIVE_COUNTER,
        Temporality::Cumulative => GAUGE,
    };
    write_number(5, kind, out);
    for (name, value) in dimensions {
        write_message(6, out, |out| {
            write_bytes(1, name.as_bytes(), out);
            write_bytes(2, value.as_bytes(), out);
        });
    }
}

#[cfg(test)]
mod tests {
    use model::MetricType;

    use super::*;
    use crate::outgoing::exercise::{Rows, at, said};

    /// `DataPointUploadMessage` as PyPI's signalfx describes it.
    #[derive(Clone, PartialEq, prost::Message)]
    struct Upload {
        #[prost(message, repeated, tag = "1")]
        datapoints: Vec<DataPoint>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    struct DataPoint {
        #[prost(string, optional, tag = "1")]
        source: Option<String>,
        #[prost(string, optional, tag = "2")]
        metric: Option<String>,
        #[prost(int64, optional, tag = "3")]
        timestamp: Option<i64>,
        #[prost(message, optional, tag = "4")]
        value: Option<Datum>,
        #[prost(int32, optional, tag = "5")]
        kind: Option<i32>,
        #[prost(message, repeated, tag = "6")]
        dimensions: Vec<Dimension>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    struct Datum {
        #[prost(double, optional, tag = "2")]
        double: Option<f64>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    struct Dimension {
        #[prost(string, optional, tag = "1")]
        key: Option<String>,
        #[prost(string, optional, tag = "2")]
        value: Option<String>,
    }

    fn shown(rows: &[Rows]) -> (Vec<String>, u64) {
        let body = said(&SPEAKER, &Options::default(), rows);
        let upload: Upload = prost::Message::decode(body.bytes.as_slice()).unwrap();
        let show = |point: DataPoint| {
            let dimensions: Vec<String> = point
                .dimensions
                .into_iter()
                .map(|d| format!("{}={}", d.key.unwrap(), d.value.unwrap()))
                .collect();
            let value = point.value.unwrap().double.unwrap();
            let (metric, time) = (point.metric.unwrap(), point.timestamp.unwrap());
            format!("{metric} {} {value} {time} {}", dimensions.join(","), point.kind.unwrap())
        };
        (upload.datapoints.into_iter().map(show).collect(), body.unsaid)
    }

    #[test]
    fn points_have_types_and_dimensions() {
        let now = [at(1_795_000_000_123, 2.5)];
        let window = [Sample { start_ms: 1_795_000_000_000, ..at(1_795_000_010_000, 3.0) }];
        let rows = [
            Rows::of("up job=a/b instance=c:1", &now).typed("up", MetricType::Gauge),
            Rows::of("hits a.b=c _d=e sf_f=g 1h=i", &now).typed("hits", MetricType::Counter),
            Rows::of("h_bucket le=0.5", &now),
            Rows::of("hits_total", &window).delta(),
        ];
        let (points, unsaid) = shown(&rows);
        assert_eq!(unsaid, 0);
        assert_eq!(
            points,
            [
                "up instance=c:1,job=a/b 2.5 1795000000123 0",
                "hits label_1h=i,label__d=e,a_b=c,label_sf_f=g 2.5 1795000000123 3",
                "h_bucket upper_bound=0.5 2.5 1795000000123 3",
                "hits_total  3 1795000010000 1",
            ]
        );
    }

    #[test]
    fn what_is_too_much_has_no_place() {
        let now = [at(1_795_000_000_123, 2.5)];
        let many = |count| (0..count).map(|n| format!(" l{n}=v")).collect::<String>();
        let (fits, long) = ("é".repeat(TEXT_MAX), "é".repeat(TEXT_MAX + 1));
        let rows = [
            Rows::of(&format!("a{}", many(DIMENSIONS_MAX)), &now),
            Rows::of(&format!("a{}", many(DIMENSIONS_MAX + 1)), &now),
            Rows::of(&fits, &now),
            Rows::of(&long, &now),
            Rows::of(&format!("a b={long}"), &now),
            Rows::of(&format!("a {}=b", "c".repeat(NAME_MAX + 1)), &now),
            Rows::of("a b.c=1 b_c=2", &now),
            Rows::of(" b=1", &now),
            Rows::of("a", &[at(5, f64::NAN), at(6, f64::INFINITY), at(0, 1.0)]),
        ];
        let (points, unsaid) = shown(&rows);
        assert_eq!((points.len(), unsaid), (2, 9));
    }

    #[test]
    fn the_bytes_are_these() {
        let body = said(&SPEAKER, &Options::default(), &[Rows::of("up a=b", &[at(1, 1.0)])]);
        let wanted: &[&[u8]] = &[
            b"\x0a\x1b\x12\x02up\x18\x01\x22\x09\x11\x00\x00\x00\x00\x00\x00\xf0\x3f\x28\x00",
            b"\x32\x06\x0a\x01a\x12\x01b",
        ];
        assert_eq!(body.bytes, wanted.concat());
    }
}
