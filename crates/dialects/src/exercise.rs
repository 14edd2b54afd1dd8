//! What must hold for any bytes that any dialect is given: the body of its fuzz target and of its mutation test.
//!
//! A dialect is found by its registry row, so a new one is fuzzed the day it gets its line.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

use model::batch::{Exemplar, HistogramSample, SeriesRow};
use model::{Batch, LabelLimits, Labels, Reason, Sample, Signal};

use crate::{
    Decode, Dialect, Kind, Received, Reply, Request, Said, Say, Settings, Verdict, betterstack, datadog,
    influx, otlp, splunk,
};

/// Media types that any dialect may tell its messages apart by; the first byte of the input picks one.
pub const CONTENT_TYPES: [&str; 8] = [
    "",
    "application/x-protobuf",
    "application/x-protobuf;proto=io.prometheus.write.v2.Request",
    "text/plain; version=0.0.4",
    "application/openmetrics-text; version=1.0.0",
    "application/json",
    "application/msgpack",
    "application/x-ndjson",
];

/// Runs `input` (one byte of choice, then an inflated body) through every ingest route's functions.
///
/// # Panics
/// When the dialect breaks a rule that all share; never otherwise.
pub fn exercise(dialect: &Dialect, input: &[u8]) {
    let Some((choice, body)) = input.split_first() else { return };
    let content_type = CONTENT_TYPES[usize::from(*choice) % CONTENT_TYPES.len()];
    let mut seen: Vec<*const ()> = Vec::new();
    for route in dialect.routes {
        let decode = match route.kind {
            Kind::Ingest { decode, .. } | Kind::Lines { decode, .. } => decode,
            _ => continue,
        };
        // Doors that share a decoder are one case.
        if seen.contains(&(decode as *const ())) {
            continue;
        }
        seen.push(decode as *const ());
        let request = Request { content_type, channel: "exercise", ..Request::default() };
        for settings in [Settings::standard(), &OTHERS] {
            let received =
                Received { body, received_ms: 1_795_167_944_000, settings, ..Received::new(request) };
            match route.kind {
                Kind::Lines { decode, answer } => drop(said(decode, answer, &received)),
                kind => drop(answer(kind, &received)),
            }
        }
    }
}

/// As far from the standard as settings can be.
static OTHERS: LazyLock<Settings> = LazyLock::new(|| Settings {
    datadog: datadog::Settings {
        counts: datadog::Counts::Cumulative,
        host_tags: datadog::HostTagsUse::Attach,
        ..datadog::Settings::of(datadog::Profile::Plain)
    },
    influx: influx::Settings { value_field: influx::ValueField::Keep, database_label: "db".to_owned() },
    splunk: splunk::Settings { query_token: true },
    otlp: otlp::Settings {
        translation_strategy: otlp::Strategy::NoUTF8EscapingWithSuffixes,
        promoted: otlp::Promoted::AllBut(vec!["env".to_owned()]),
        convert_histograms_to_nhcb: true,
        promote_scope_metadata: true,
        ..otlp::Settings::default()
    },
    betterstack: betterstack::Settings {
        histogram_series: betterstack::HistogramSeries::Prometheus,
        past_ms_max: Some(900_000),
        ..betterstack::Settings::default()
    },
});

/// Takes a request from acceptance to reply, with a store that keeps everything whose labels are labels.
///
/// # Panics
/// When the dialect breaks a rule that all share.
pub fn answer(kind: Kind, received: &Received<'_>) -> (Verdict, Reply) {
    let request = received.request;
    let Kind::Ingest { accept, decode, reply } = kind else { panic!("not an ingest route") };
    let verdict = match accept(&request) {
        Err(refusal) => Verdict::refused(refusal),
        Ok(()) => judged(decode, received),
    };
    let reply = reply(&request, &verdict);
    let success = (200..300).contains(&reply.status);
    let complete = verdict.refusal.is_none() && verdict.rejected.is_empty();
    let said = reply.headers.iter().any(|(name, _)| *name == crate::reply::REJECTED);
    assert!(complete || said || !success, "a 2xx over something silently refused: {verdict:?}");
    (verdict, reply)
}

/// Takes lines from their decoder to what is said of them, with the same store.
///
/// # Panics
/// When the dialect breaks a rule that all share.
pub fn said(decode: Decode, answer: Say, received: &Received<'_>) -> (Verdict, Said) {
    let verdict = judged(decode, received);
    let said = answer(&verdict);
    assert!(said.text.is_empty() || said.text.ends_with('\n'), "{said:?}");
    (verdict, said)
}

fn judged(decode: Decode, received: &Received<'_>) -> Verdict {
    let (mut batch, body) = (Batch::new(42), received.body);
    match decode(received, &mut batch) {
        Err(malformed) => {
            assert!(malformed.offset <= body.len(), "offset {} of {}", malformed.offset, body.len());
            Verdict::refused(malformed.into())
        }
        Ok(()) => {
            check_rows(&batch, body.len());
            check_keys(&batch);
            store(&mut batch)
        }
    }
}

/// Every row belongs to one series, in order, and no column outgrows the body.
fn check_rows(batch: &Batch<'_>, body: usize) {
    let (mut samples, mut histograms, mut exemplars) = (0, 0, 0);
    for series in &batch.series {
        assert_eq!(
            (series.samples.start, series.histograms.start, series.exemplars.start),
            (samples, histograms, exemplars)
        );
        (samples, histograms, exemplars) = (series.samples.end, series.histograms.end, series.exemplars.end);
    }
    assert_eq!(
        (samples, histograms, exemplars),
        (batch.samples.len(), batch.histograms.len(), batch.exemplars.len())
    );
    // What a resource of logs says stands at each of its lines: that has a bound of its own, `rows::Room`.
    let pairs = if batch.logs.is_empty() { batch.pairs.capacity() } else { 0 };
    let columns = batch.series.capacity() * size_of::<SeriesRow<'_>>()
        + batch.samples.capacity() * size_of::<Sample>()
        + batch.histograms.capacity() * size_of::<HistogramSample>()
        + batch.exemplars.capacity() * size_of::<Exemplar>()
        + pairs * size_of::<(Cow<'_, str>, Cow<'_, str>)>();
    assert!(columns <= 64 * body + (8 << 10), "{columns} bytes of columns for {body} of body");
    for sample in &batch.histograms {
        assert_eq!(sample.histogram.validate(), Ok(()));
    }
}

/// Equal keys mean equal label lists.
fn check_keys(batch: &Batch<'_>) {
    let mut lists = HashMap::new();
    for (index, series) in batch.series.iter().enumerate() {
        let owned = |pairs: &mut Vec<(&str, &str)>| {
            Ok(pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect::<Vec<_>>())
        };
        let labels = batch.with_labels(index, owned);
        assert_eq!(lists.entry(series.key).or_insert_with(|| labels.clone()), &labels);
    }
}

/// The gate's part of a verdict: series whose labels name no series are refused.
fn store(batch: &mut Batch<'_>) -> Verdict {
    let mut accepted = batch.counts();
    let mut rejected = std::mem::take(&mut batch.rejections);
    for (index, series) in batch.series.iter().enumerate() {
        let limits = LabelLimits::default();
        let labels = batch.with_labels(index, |pairs| Labels::canonical(pairs, &limits));
        let Err(error) = labels else { continue };
        let rows = [
            (Signal::Sample, series.samples.len()),
            (Signal::Histogram, series.histograms.len()),
            (Signal::Exemplar, series.exemplars.len()),
        ];
        for (signal, count) in rows {
            rejected.add(signal, Reason::from(&error), count as u64);
            *accepted.get_mut(signal) -= count as u64;
        }
        rejected.explain(|| format!("series {index}: {error}"));
        batch.items.refuse_one(series.item);
    }
    let items = std::mem::take(&mut batch.items);
    Verdict { accepted, rejected, refusal: None, echo: batch.echo.take(), items }
}
