//! Remote write outward: a parcel as `prometheus.WriteRequest` or as `io.prometheus.write.v2.Request`.
//!
//! A series' message is written into scratch memory first and copied behind its length: that is cheaper than to measure it,
//! and nothing is moved. What 1.0 has no field for (start timestamps) is left out and is no row that is missing; metadata of
//! 1.0 stands in the same request, each family once. A series of 2.0 has floats or histograms, so one that has both is
//! written twice; exemplars without either have no place there.

use codec::proto::{FIXED64, LEN, VARINT, key, write_bytes, write_double, write_message, write_number};
use codec::varint;
use model::batch::{Exemplar, HistogramSample};
use model::{Metadata, Sample};

use super::symbols::Symbols;
use crate::Encoding;
use crate::outgoing::{
    Answered, Body, Options, Outcome, Parcel, Parts, Repeated, Series, Signal, Speaker, TokenPlace, Version,
    usual,
};
use crate::remote_read::histogram;

/// What is spoken.
pub static SPEAKER: Speaker = Speaker {
    name: "remote_write",
    signal: Signal::Metrics,
    repeated: |_| Repeated::IsKept,
    parts: Parts::Apart,
    path: "",
    token: TokenPlace::Bearer,
    body_bytes_max: 32 << 20,
    packed_bytes_max: 32 << 20,
    encode,
    judge,
};

/// Parcel to request, in the version that the options name.
pub(super) fn encode(parcel: &Parcel<'_>, options: &Options) -> Body {
    let (bytes, unsaid) = match options.version {
        Version::One => one(parcel, options),
        Version::Two => two(parcel, options),
    };
    let (media, version) = match options.version {
        Version::One => ("application/x-protobuf", "0.1.0"),
        Version::Two => ("application/x-protobuf;proto=io.prometheus.write.v2.Request", "2.0.0"),
    };
    let headers = vec![("x-prometheus-remote-write-version", version.to_owned())];
    Body { bytes, media, packing: Encoding::Snappy, headers, unsaid }
}

/// What an answer means. A receiver that takes 2.0 says how much it wrote, whatever else it says; one that does not say so
/// read something else than was sent.
fn judge(answered: &Answered<'_>) -> Outcome {
    let written = answered.header("x-prometheus-remote-write-samples-written").is_some();
    match (answered.version, answered.status) {
        (Version::Two, 415) => Outcome::Downgrade(answered.text()),
        (Version::Two, 200..=299) if !written => {
            Outcome::Downgrade(format!("{} without a count of what was written", answered.status))
        }
        // The rest is stored; how much was refused is known to nobody, so it is one at least.
        (Version::Two, 400) if written => Outcome::TakenBut { refused: 1, why: answered.text() },
        _ => usual(answered),
    }
}

/// The rows of a series that will be said.
struct Said<'p> {
    samples: &'p [Sample],
    histograms: &'p [HistogramSample],
    exemplars: &'p [Exemplar],
}

impl<'p> Said<'p> {
    /// What of `series` is said under `options`; the rest is counted.
    fn of(series: &Series<'p>, options: &Options, unsaid: &mut u64) -> Self {
        let mut said = Self { samples: series.samples, histograms: &[], exemplars: &[] };
        if options.native_histograms {
            said.histograms = series.histograms;
        }
        if options.exemplars {
            said.exemplars = series.exemplars;
        }
        let left =
            series.histograms.len() - said.histograms.len() + series.exemplars.len() - said.exemplars.len();
        *unsaid += left as u64;
        said
    }

    fn is_empty(&self) -> bool {
        self.samples.is_empty() && self.histograms.is_empty() && self.exemplars.is_empty()
    }
}

fn one(parcel: &Parcel<'_>, options: &Options) -> (Vec<u8>, u64) {
    let mut unsaid = parcel.lines.len() as u64;
    let mut out = Vec::with_capacity(parcel.rows() * 64);
    let mut scratch = Vec::with_capacity(1024);
    let mut families: Vec<(&str, &Metadata)> = Vec::new();
    for series in parcel.series() {
        let said = Said::of(&series, options, &mut unsaid);
        if said.is_empty() {
            continue;
        }
        scratch.clear();
        for (name, value) in series.labels {
            label(name, value, &mut scratch);
        }
        for row in said.samples {
            sample(row, 0, &mut scratch);
        }
        for row in said.exemplars {
            write_message(3, &mut scratch, |out| {
                row.labels.iter().for_each(|(name, value)| label(name, value, out));
                write_double(2, row.value, out);
                write_number(3, row.timestamp_ms as u64, out);
            });
        }
        for row in said.histograms {
            write_message(4, &mut scratch, |out| histogram::write(row.timestamp_ms, &row.histogram, out));
        }
        write_bytes(1, &scratch, &mut out);
        families.extend(series.family);
    }
    // Series of a family lie together more often than not; the sort makes sure of it.
    families.dedup_by_key(|(family, _)| *family);
    families.sort_by_key(|(family, _)| *family);
    families.dedup_by_key(|(family, _)| *family);
    for (family, metadata) in families {
        write_message(3, &mut out, |out| {
            write_number(1, u64::from(metadata.kind.number()), out);
            write_bytes(2, family.as_bytes(), out);
            write_bytes(4, metadata.help.as_bytes(), out);
            write_bytes(5, metadata.unit.as_bytes(), out);
        });
    }
    (out, unsaid)
}

fn two(parcel: &Parcel<'_>, options: &Options) -> (Vec<u8>, u64) {
    let mut unsaid = parcel.lines.len() as u64;
    let mut symbols = Symbols::default();
    let mut list = Vec::with_capacity(parcel.rows() * 48);
    let (mut message, mut references) = (Vec::with_capacity(256), Vec::with_capacity(64));
    for series in parcel.series() {
        let said = Said::of(&series, options, &mut unsaid);
        if said.samples.is_empty() && said.histograms.is_empty() {
            unsaid += said.exemplars.len() as u64;
            continue;
        }
        references.clear();
        symbols.refer_all(series.labels, &mut references);
        let described = series.family.map(|(_, metadata)| {
            let (help, unit) = (symbols.refer(&metadata.help), symbols.refer(&metadata.unit));
            (metadata.kind.number(), help, unit)
        });
        let floats = Said { histograms: &[], ..said };
        let histograms = Said {
            samples: &[],
            exemplars: if floats.samples.is_empty() { said.exemplars } else { &[] },
            histograms: said.histograms,
        };
        for part in [floats, histograms] {
            if part.samples.is_empty() && part.histograms.is_empty() {
                continue;
            }
            message.clear();
            write_bytes(1, &references, &mut message);
            for row in part.samples {
                sample(row, row.start_ms, &mut message);
            }
            for row in part.histograms {
                write_message(3, &mut message, |out| {
                    histogram::write(row.timestamp_ms, &row.histogram, out);
                    if row.start_ms != 0 {
                        write_number(17, row.start_ms as u64, out);
                    }
                });
            }
            for row in part.exemplars {
                exemplar(row, &mut symbols, &mut message);
            }
            if let Some((kind, help, unit)) = described {
                write_message(5, &mut message, |out| {
                    write_number(1, u64::from(kind), out);
                    write_number(3, u64::from(help), out);
                    write_number(4, u64::from(unit), out);
                });
            }
            write_bytes(5, &message, &mut list);
        }
    }
    if list.is_empty() {
        return (list, unsaid);
    }
    let mut out = Vec::with_capacity(list.len() + symbols.bytes() + 16);
    symbols.write(4, &mut out);
    out.extend_from_slice(&list);
    (out, unsaid)
}

fn exemplar<'p>(row: &'p Exemplar, symbols: &mut Symbols<'p>, out: &mut Vec<u8>) {
    write_message(4, out, |out| {
        write_message(1, out, |out| {
            for (name, value) in &row.labels {
                varint::write(u64::from(symbols.refer(name)), out);
                varint::write(u64::from(symbols.refer(value)), out);
            }
        });
        write_double(2, row.value, out);
        write_number(3, row.timestamp_ms as u64, out);
    });
}

/// A label of two texts, whose length is known before it is written.
fn label(name: &str, value: &str, out: &mut Vec<u8>) {
    let of = |text: &str| 1 + varint::length(text.len() as u64) + text.len();
    out.push(key(1, LEN) as u8);
    varint::write((of(name) + of(value)) as u64, out);
    write_bytes(1, name.as_bytes(), out);
    write_bytes(2, value.as_bytes(), out);
}

/// A float, field 2 of a series in both versions; a start timestamp of 0 is not known.
#[inline]
fn sample(row: &Sample, start_ms: i64, out: &mut Vec<u8>) {
    let time = row.timestamp_ms as u64;
    let start = if start_ms == 0 { 0 } else { 1 + varint::length(start_ms as u64) };
    out.extend_from_slice(&[
        key(2, LEN) as u8,
        (10 + varint::length(time) + start) as u8,
        key(1, FIXED64) as u8,
    ]);
    out.extend_from_slice(&row.value.to_le_bytes());
    out.push(key(2, VARINT) as u8);
    varint::write(time, out);
    if start_ms != 0 {
        write_number(3, start_ms as u64, out);
    }
}
