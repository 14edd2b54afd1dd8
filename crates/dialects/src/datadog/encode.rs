//! Series as Datadog's API v2 takes them: `MetricPayload` in protobuf, packed with zstd, as an Agent sends it.
//!
//! What came in a window is a count with its interval, and stands at the window's start, as the Agent puts it; everything else is a
//! gauge. A label is a tag; `host` and `device` are resources, and the bound of a bucket is called `upper_bound`, as the Agent's own
//! check of such pages calls it. Points have whole seconds.

use codec::proto::{write_bytes, write_double, write_message, write_number};
use model::labels::METRIC_NAME;
use model::{Sample, Temporality};

use crate::Encoding;
use crate::outgoing::{self, Body, Options, Parcel, Parts, Repeated, Series, Signal, Speaker, TokenPlace};

/// Its row.
pub static SPEAKER: Speaker = Speaker {
    name: "datadog",
    signal: Signal::Metrics,
    repeated: |_| Repeated::IsAdded,
    parts: Parts::Apart,
    path: "/api/v2/series",
    token: TokenPlace::Header("dd-api-key"),
    body_bytes_max: 5 << 20,
    packed_bytes_max: 512_000,
    encode,
    judge: outgoing::usual,
};

/// Types of `MetricPayload`.
const COUNT: u64 = 1;
const GAUGE: u64 = 3;

/// Labels that are resources.
const RESOURCES: [&str; 2] = ["host", "device"];

fn encode(parcel: &Parcel<'_>, _: &Options) -> Body {
    let (mut bytes, mut unsaid) = (Vec::new(), parcel.lines.len() as u64);
    for series in parcel.series() {
        unsaid += series.beside_floats() + series.samples.len() as u64;
        // A tag's name ends at its first colon.
        let can_be_said =
            !series.name().is_empty() && series.labels.iter().all(|(name, _)| !name.contains(':'));
        let can_be_said =
            |sample: &&Sample| can_be_said && sample.value.is_finite() && sample.timestamp_ms > 0;
        let samples: Vec<Sample> = series.samples.iter().filter(can_be_said).copied().collect();
        unsaid -= samples.len() as u64;
        for rows in samples.chunk_by(|one, other| interval_s(&series, one) == interval_s(&series, other)) {
            write_message(1, &mut bytes, |out| write(&series, rows, out));
        }
    }
    Body { bytes, media: "application/x-protobuf", packing: Encoding::Zstd, headers: Vec::new(), unsaid }
}

/// Seconds of a window; 0 = it is none.
fn interval_s(series: &Series<'_>, sample: &Sample) -> u64 {
    let is_window = series.temporality == Temporality::Delta && sample.start_ms > 0;
    if is_window { ((sample.timestamp_ms - sample.start_ms) / 1000).max(0) as u64 } else { 0 }
}

/// Appends a series with rows of one interval.
fn write(series: &Series<'_>, rows: &[Sample], out: &mut Vec<u8>) {
    for (kind, name) in series.labels.iter().filter(|(label, _)| RESOURCES.contains(label)) {
        write_message(1, out, |out| {
            write_bytes(1, kind.as_bytes(), out);
            write_bytes(2, name.as_bytes(), out);
        });
    }
    write_bytes(2, series.name().as_bytes(), out);
    let is_tag = |label: &str| label != METRIC_NAME && !RESOURCES.contains(&label);
    let bound = series.bound_label();
    for (label, value) in series.labels.iter().filter(|(label, _)| is_tag(label)) {
        let label = if Some(*label) == bound { "upper_bound" } else { label };
        write_bytes(3, format!("{label}:{value}").as_bytes(), out);
    }
    let interval_s = interval_s(series, &rows[0]);
    for row in rows {
        let time_ms = if interval_s > 0 { row.start_ms } else { row.timestamp_ms };
        write_message(4, out, |out| {
            write_double(1, row.value, out);
            write_number(2, (time_ms / 1000) as u64, out);
        });
    }
    let is_count = series.temporality == Temporality::Delta;
    write_number(5, if is_count { COUNT } else { GAUGE }, out);
    if let Some((_, metadata)) = series.family
        && !metadata.unit.is_empty()
    {
        write_bytes(6, metadata.unit.as_bytes(), out);
    }
    if interval_s > 0 {
        write_number(8, interval_s, out);
    }
}

#[cfg(test)]
mod tests {
    use model::{MetricType, STALE_NAN_BITS};
    use proptest::prelude::*;

    use super::super::settings::{Profile, Settings};
    use super::*;
    use crate::outgoing::exercise::{Rows, at, data, floats, heard, said, sent};

    fn plain() -> crate::Settings {
        crate::Settings { datadog: Settings::of(Profile::Plain), ..crate::Settings::default() }
    }

    /// Whole seconds, as points have them.
    fn whole(mut rows: Vec<Rows>) -> Vec<Rows> {
        for sample in rows.iter_mut().flat_map(|rows| &mut rows.samples) {
            sample.timestamp_ms -= sample.timestamp_ms % 1000;
        }
        rows
    }

    proptest! {
        #[test]
        fn gauges_come_back(rows in floats(prop::num::f64::NORMAL)) {
            let body = said(&SPEAKER, &Options::default(), &rows);
            prop_assert_eq!(body.unsaid, 0);
            prop_assert_eq!(heard(&SPEAKER, &body, &plain(), data), sent(&whole(rows)));
        }
    }

    #[test]
    fn windows_are_counts_and_come_back_as_a_running_total() {
        let window = Sample { timestamp_ms: 1_795_000_010_000, value: 7.5, start_ms: 1_795_000_000_000 };
        let rows = [Rows::of("hits_total host=a device=b c=d", &[window]).delta()];
        let body = said(&SPEAKER, &Options::default(), &rows);
        let at_start = [at(1_795_000_000_000, 7.5)];
        let wanted = [Rows::of("hits_total host=a device=b c=d", &at_start)];
        assert_eq!(heard(&SPEAKER, &body, &plain(), data), sent(&wanted));
        let mut totals = plain();
        totals.datadog.counts = super::super::Counts::Cumulative;
        let start_ms = 1_795_000_000_000 - 10_000;
        let wanted =
            [Rows::of("hits_total_total host=a device=b c=d", &[Sample { start_ms, ..at_start[0] }]).delta()];
        assert_eq!(heard(&SPEAKER, &body, &totals, data), sent(&wanted));
    }

    #[test]
    fn the_bytes_are_these() {
        let now = [at(1_000, 1.0), at(2_999, 2.0)];
        let mut rows = Rows::of("a_bucket host=h le=0.5", &now).typed("a", MetricType::Histogram);
        rows.family.as_mut().unwrap().1.unit = "seconds".to_owned();
        let body = said(&SPEAKER, &Options::default(), &[rows]);
        let wanted: &[&[u8]] = &[
            b"\x0a\x4b\x0a\x09\x0a\x04host\x12\x01h\x12\x08a_bucket\x1a\x0fupper_bound:0.5",
            b"\x22\x0b\x09\x00\x00\x00\x00\x00\x00\xf0\x3f\x10\x01",
            b"\x22\x0b\x09\x00\x00\x00\x00\x00\x00\x00\x40\x10\x02",
            b"\x28\x03\x32\x07seconds",
        ];
        assert_eq!(body.bytes, wanted.concat());
    }

    #[test]
    fn what_is_no_number_has_no_place() {
        let values = [f64::NAN, f64::INFINITY, f64::from_bits(STALE_NAN_BITS), 1.0];
        let samples: Vec<Sample> = values.into_iter().map(|value| at(5_000, value)).collect();
        let rows = [Rows::of("a", &samples), Rows::of("", &samples[3..]), Rows::of("a b:c=d", &samples[3..])];
        let body = said(&SPEAKER, &Options::default(), &rows);
        assert_eq!(body.unsaid, 5);
        assert_eq!(heard(&SPEAKER, &body, &plain(), data), sent(&[Rows::of("a", &samples[3..])]));
        assert!(said(&SPEAKER, &Options::default(), &rows[1..]).bytes.is_empty());
    }
}
