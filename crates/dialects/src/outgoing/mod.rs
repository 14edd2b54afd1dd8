//! What Weir sends on: rows of the log, resolved, on their way into a receiver's protocol.
//!
//! A [`Parcel`] has columns as a [`model::Batch`] does, the other way round: its labels are decoded, it is of one tenant,
//! and whoever fills it decides how much goes into one. A [`Speaker`] is a protocol that Weir speaks outward: pure
//! functions from a parcel to a request, and from an answer to what is done next. It stands in its dialect's folder, in
//! `encode`. Who sends, waits and tries again is `forward`'s business.

#[cfg(test)]
pub(crate) mod exercise;
mod whole;

use std::collections::HashMap;
use std::ops::Range;

use model::batch::{Exemplar, HistogramSample};
use model::{Metadata, MetricType, Sample, Temporality};

use crate::{Encoding, reply};

pub(crate) use whole::{Form, Whole, Wholes};

/// Every protocol that is spoken outward, in the order of the docs.
pub static ALL: &[&Speaker] = &[
    &crate::remote_write::SPEAKER,
    &crate::otlp::SPEAKER,
    &crate::datadog::SPEAKER,
    &crate::splunk::SPEAKER,
    &crate::signalfx::SPEAKER,
    &crate::betterstack::SPEAKER,
    &crate::loki::SPEAKER,
    &crate::otlp::LOGS_SPEAKER,
];

/// The speaker with this name.
pub fn find(name: &str) -> Option<&'static Speaker> {
    ALL.iter().copied().find(|speaker| speaker.name == name)
}

/// Rows of one tenant, to be sent together.
#[derive(Debug, Default)]
pub struct Parcel<'a> {
    /// Labels of series, of streams and fields of lines.
    pub pairs: Vec<(&'a str, &'a str)>,
    /// Series, each once; rows of a series are in the order in which they were acknowledged.
    pub series: Vec<Sent<'a>>,
    /// Rows of series.
    pub samples: Vec<Sample>,
    /// Rows of series.
    pub histograms: Vec<HistogramSample>,
    /// Rows of series.
    pub exemplars: Vec<Exemplar>,
    /// Log lines, in the order in which they were acknowledged.
    pub lines: Vec<SentLine<'a>>,
}

/// A series of a parcel.
#[derive(Clone, Debug)]
pub struct Sent<'a> {
    /// Its labels, `__name__` among them, sorted by name, none empty.
    pub labels: Range<usize>,
    /// Rows in [`Parcel::samples`].
    pub samples: Range<usize>,
    /// Rows in [`Parcel::histograms`].
    pub histograms: Range<usize>,
    /// Rows in [`Parcel::exemplars`].
    pub exemplars: Range<usize>,
    /// What is known of its family, and the family's name: that of a classic histogram's bucket has no `_bucket`.
    pub family: Option<(&'a str, &'a Metadata)>,
    /// Running totals, or what came in a window: from each row's start to its timestamp.
    pub temporality: Temporality,
}

/// A log line of a parcel.
#[derive(Clone, Debug)]
pub struct SentLine<'a> {
    /// Labels of its stream, sorted by name.
    pub stream: Range<usize>,
    /// Fields of this line alone.
    pub fields: Range<usize>,
    /// Nanoseconds since the Unix epoch.
    pub timestamp_ns: i64,
    /// The line.
    pub line: &'a str,
}

/// A series with its rows.
#[derive(Clone, Copy, Debug)]
pub struct Series<'p> {
    /// Labels, sorted by name.
    pub labels: &'p [(&'p str, &'p str)],
    /// Floats.
    pub samples: &'p [Sample],
    /// Native histograms.
    pub histograms: &'p [HistogramSample],
    /// Exemplars.
    pub exemplars: &'p [Exemplar],
    /// Family and what is known of it.
    pub family: Option<(&'p str, &'p Metadata)>,
    /// Running totals, or what came in a window.
    pub temporality: Temporality,
}

impl<'p> Series<'p> {
    /// The metric's name; empty when it has none.
    pub fn name(&self) -> &'p str {
        self.label(model::labels::METRIC_NAME).unwrap_or("")
    }

    /// Whether its floats are a running total, as far as its type or its name says.
    pub fn is_total(&self) -> bool {
        let kind = self.family.map_or(MetricType::Unknown, |(_, metadata)| metadata.kind);
        kind.is_total(self.name())
    }

    /// The label with the bound of a classic histogram's bucket; `None` where there is none, or where `upper_bound`, as others
    /// call it, is taken.
    pub(crate) fn bound_label(&self) -> Option<&'static str> {
        let is_bucket = self.name().ends_with("_bucket") && self.label("upper_bound").is_none();
        (is_bucket && self.label("le").is_some()).then_some("le")
    }

    /// Rows that are no floats.
    pub(crate) fn beside_floats(&self) -> u64 {
        (self.histograms.len() + self.exemplars.len()) as u64
    }

    /// The value of a label.
    pub fn label(&self, name: &str) -> Option<&'p str> {
        self.labels.iter().find(|(other, _)| *other == name).map(|(_, value)| *value)
    }
}

impl<'a> Parcel<'a> {
    /// Its series with their rows.
    pub fn series(&self) -> impl ExactSizeIterator<Item = Series<'_>> {
        self.series.iter().map(|sent| Series {
            labels: &self.pairs[sent.labels.clone()],
            samples: &self.samples[sent.samples.clone()],
            histograms: &self.histograms[sent.histograms.clone()],
            exemplars: &self.exemplars[sent.exemplars.clone()],
            family: sent.family,
            temporality: sent.temporality,
        })
    }

    /// Labels of a line's stream.
    pub fn stream_of(&self, line: &SentLine<'a>) -> &[(&'a str, &'a str)] {
        &self.pairs[line.stream.clone()]
    }

    /// Fields of a line.
    pub fn fields_of(&self, line: &SentLine<'a>) -> &[(&'a str, &'a str)] {
        &self.pairs[line.fields.clone()]
    }

    /// Lines by their streams, as those are met; and how many rows are in none: those that are no lines, and lines at or
    /// before 1970.
    pub(crate) fn streams(&self) -> (Vec<Vec<&SentLine<'a>>>, u64) {
        let mut beside = (self.rows() - self.lines.len()) as u64;
        let mut streams: Vec<Vec<&SentLine<'a>>> = Vec::new();
        let mut known: HashMap<&[(&str, &str)], usize> = HashMap::new();
        for line in &self.lines {
            if line.timestamp_ns <= 0 {
                beside += 1;
                continue;
            }
            let stream = *known.entry(self.stream_of(line)).or_insert_with(|| {
                streams.push(Vec::new());
                streams.len() - 1
            });
            streams[stream].push(line);
        }
        (streams, beside)
    }

    /// Rows of all kinds.
    pub fn rows(&self) -> usize {
        self.samples.len() + self.histograms.len() + self.exemplars.len() + self.lines.len()
    }
}

/// What a receiver takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Samples, histograms, exemplars.
    Metrics,
    /// Log lines.
    Logs,
}

/// What a receiver does with a value that comes again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeated {
    /// It is the same value still: running totals may be sent as they lie in the log.
    IsKept,
    /// It is added once more, unless it is the same request byte by byte: counters are sent as what came in windows.
    IsAdded,
}

/// How a protocol says a classic histogram or a summary, which is several series in Weir.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parts {
    /// As its series: where they are sent does not matter.
    Apart,
    /// As one thing, where all of it is in one parcel.
    Together,
}

/// Where a receiver looks for its token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenPlace {
    /// `Authorization: Bearer TOKEN`; receivers whose users bring other credentials have them in the HTTP settings.
    Bearer,
    /// `Authorization: SCHEME TOKEN`.
    Scheme(&'static str),
    /// A header of its own.
    Header(&'static str),
}

/// A protocol that Weir speaks outward.
#[derive(Debug)]
pub struct Speaker {
    /// The output's `type` in the configuration and in self-metrics.
    pub name: &'static str,
    /// What it takes.
    pub signal: Signal,
    /// What becomes of repetitions when the options ask for nothing else.
    pub repeated: fn(&Options) -> Repeated,
    /// How it says classic histograms and summaries.
    pub parts: Parts,
    /// Added to a URL that has no path; empty where the URL is whole.
    pub path: &'static str,
    /// Where its token goes.
    pub token: TokenPlace,
    /// Bytes of a body before and after packing that the receiver takes.
    pub body_bytes_max: usize,
    /// See `body_bytes_max`.
    pub packed_bytes_max: usize,
    /// Parcel to a request's content. What the protocol cannot say is counted in [`Body::unsaid`].
    pub encode: fn(&Parcel<'_>, &Options) -> Body,
    /// What an answer means.
    pub judge: fn(&Answered<'_>) -> Outcome,
}

/// What an output's configuration chooses of a protocol.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Options {
    /// Remote write: 2 instead of 1. Falls to 1 when the receiver says that it does not know 2.
    pub version: Version,
    /// Counters as what came in windows, where the protocol has both.
    pub deltas: bool,
    /// Native histograms are sent, where the protocol has them.
    pub native_histograms: bool,
    /// Exemplars are sent, where the protocol has them.
    pub exemplars: bool,
    /// Splunk: `index` of each event.
    pub index: Option<String>,
    /// Splunk: `source` and `sourcetype` of each event.
    pub source: Option<String>,
    /// See `source`.
    pub sourcetype: Option<String>,
}

/// Versions of remote write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Version {
    /// `prometheus.WriteRequest`.
    #[default]
    One,
    /// `io.prometheus.write.v2.Request`.
    Two,
}

/// The content of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// Before packing. Empty when the protocol could say nothing of the parcel: nothing is sent then.
    pub bytes: Vec<u8>,
    /// `Content-Type`.
    pub media: &'static str,
    /// How it is to be packed.
    pub packing: Encoding,
    /// Headers besides.
    pub headers: Vec<(&'static str, String)>,
    /// Rows that are not in it because the protocol has no place for them.
    pub unsaid: u64,
}

/// What came back.
#[derive(Clone, Copy, Debug)]
pub struct Answered<'a> {
    /// HTTP status.
    pub status: u16,
    /// Its headers; names are in lower case.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body, or its beginning.
    pub body: &'a [u8],
    /// Which version of remote write was sent.
    pub version: Version,
}

impl<'a> Answered<'a> {
    /// A header's value, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers.iter().find(|(other, _)| *other == name).map(|(_, value)| *value)
    }

    /// The body as far as it is text, for people.
    pub fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.body[..self.body.len().min(512)]);
        format!("{}: {}", self.status, text.trim())
    }
}

/// What is done after an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All of it arrived.
    Taken,
    /// It arrived, and the receiver refused some rows for good.
    TakenBut {
        /// How many, as far as it said.
        refused: u64,
        /// What it said.
        why: String,
    },
    /// The same once more, later: after `Retry-After` if that says so.
    Again(String),
    /// Once more in two halves; a single row is dropped.
    Halve(String),
    /// Once more in the version before.
    Downgrade(String),
    /// It will never be taken.
    Drop(String),
}

/// What statuses mean where a protocol says nothing else.
pub fn usual(answered: &Answered<'_>) -> Outcome {
    match answered.status {
        200..=299 => taken(answered),
        413 => Outcome::Halve(answered.text()),
        501 => Outcome::Drop(answered.text()),
        408 | 429 | 500..=599 => Outcome::Again(answered.text()),
        _ => Outcome::Drop(answered.text()),
    }
}

/// An answer of success: another Weir says in a header what of it was refused.
fn taken(answered: &Answered<'_>) -> Outcome {
    let Some(why) = answered.header(reply::REJECTED) else { return Outcome::Taken };
    let refused = why.split(';').next().and_then(|count| count.trim().parse().ok()).unwrap_or(1);
    Outcome::TakenBut { refused, why: why.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_of_outputs_has_each_of_them() {
        let page = include_str!("../../../../docs/outputs.md");
        let remote_write = crate::remote_write::SPEAKER.name;
        for speaker in ALL.iter().filter(|speaker| speaker.name != remote_write) {
            let row = page.lines().find(|line| line.starts_with(&format!("| `{}` |", speaker.name)));
            let row = row.unwrap_or_else(|| panic!("{} has a row", speaker.name));
            let signal = if speaker.signal == Signal::Logs { "log lines" } else { "metrics" };
            let token = match speaker.token {
                TokenPlace::Bearer => "Authorization: Bearer".to_owned(),
                TokenPlace::Scheme(scheme) => format!("Authorization: {scheme}"),
                TokenPlace::Header(name) => name.to_uppercase(),
            };
            for part in [signal, &format!("`{}`", speaker.path), &token] {
                assert!(row.to_uppercase().contains(&part.to_uppercase()), "{part}: {row}");
            }
            let same = find(speaker.name).expect("it is one of them");
            assert!(std::ptr::eq(same, *speaker), "two are called {}", speaker.name);
        }
    }

    #[test]
    fn statuses_have_their_usual_meaning() {
        let judged = |status, headers: &[(&str, &str)]| {
            usual(&Answered { status, headers, body: b"no\n", version: Version::One })
        };
        assert_eq!(judged(202, &[]), Outcome::Taken);
        let why = "3; too_old=2, late_delta=1";
        let partly = Outcome::TakenBut { refused: 3, why: why.to_owned() };
        assert_eq!(judged(200, &[("x-weir-rejected", why)]), partly);
        assert_eq!(judged(413, &[]), Outcome::Halve("413: no".to_owned()));
        for status in [408, 429, 500, 502, 503, 504, 599] {
            assert_eq!(judged(status, &[]), Outcome::Again(format!("{status}: no")));
        }
        for status in [301, 400, 401, 403, 404, 501] {
            assert_eq!(judged(status, &[]), Outcome::Drop(format!("{status}: no")));
        }
    }
}
