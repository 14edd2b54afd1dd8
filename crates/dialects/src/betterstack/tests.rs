//! What golden cases cannot say: what a hostile body costs, what equal series have in common, what a tenant may choose.

use model::{Batch, Reason, Signal};

use super::{HistogramSeries, Settings};
use crate::exercise::answer;
use crate::rows::Full;
use crate::{Received, Refusal, Request, Verdict, find};

const RECEIVED_MS: i64 = 1_795_167_944_000;

fn request(content_type: &'static str) -> Request<'static> {
    Request { path: "/", content_type, ..Request::default() }
}

fn decoded<'a>(body: &'a [u8], settings: &'a crate::Settings) -> Batch<'a> {
    let mut batch = Batch::new(42);
    let received = Received { body, received_ms: RECEIVED_MS, settings, ..Received::new(request("")) };
    super::decode::metrics(&received, &mut batch).unwrap();
    batch
}

fn verdict(body: &[u8], content_type: &'static str) -> Verdict {
    let (_, route) = find("POST", "/").unwrap();
    let received = Received { body, received_ms: RECEIVED_MS, ..Received::new(request(content_type)) };
    answer(route.kind, &received).0
}

fn labels(batch: &Batch<'_>) -> Vec<String> {
    let shown = |index| batch.with_labels(index, |pairs| Ok(format!("{pairs:?}"))).unwrap();
    (0..batch.series.len()).map(shown).collect()
}

fn of(betterstack: Settings) -> crate::Settings {
    crate::Settings { betterstack, ..crate::Settings::default() }
}

/// Each bucket is two series, and each has all tags of its histogram: a few bytes that stand for very many.
#[test]
fn a_histogram_of_many_buckets_with_long_tags_is_refused_before_it_costs() {
    let bucket = |n: usize| format!(r#"{{"upper_limit":{n},"count":1}}"#);
    let buckets: Vec<String> = (0..10_000).map(bucket).collect();
    let body = format!(
        r#"{{"name":"h","tags":{{"a":"{}"}},"histogram":{{"count":10000,"sum":1,"buckets":[{}]}}}}"#,
        "x".repeat(100_000),
        buckets.join(",")
    );
    let refused = verdict(body.as_bytes(), "application/json").refusal;
    assert!(
        matches!(&refused, Some(Refusal::Undecodable(what)) if what.starts_with(Full::WHAT)),
        "{refused:?}"
    );
    // A broken line costs itself, but nothing goes on in a body that is too much.
    let lines = format!("{body}\n{{\"name\":\"a\",\"gauge\":{{\"value\":1}}}}\n");
    let refused = verdict(lines.as_bytes(), "application/x-ndjson").refusal;
    assert!(
        matches!(&refused, Some(Refusal::Undecodable(what)) if what.starts_with(Full::WHAT)),
        "{refused:?}"
    );
}

#[test]
fn a_series_with_more_tags_than_it_can_have_labels_is_refused_alone() {
    let tags: Vec<String> = (0..5000).map(|n| format!(r#""t{n}":"v""#)).collect();
    let body = format!(
        r#"[{{"name":"many","gauge":{{"value":1}},"tags":{{{}}}}},{{"name":"few","gauge":{{"value":1}}}}]"#,
        tags.join(",")
    );
    let verdict = verdict(body.as_bytes(), "application/json");
    let reasons: Vec<_> = verdict.rejected.by_reason().collect();
    assert_eq!(reasons, [(Signal::Sample, Reason::LabelLimit, 1)]);
    assert_eq!((verdict.items.sent(), verdict.items.refused()), (2, 1));
}

/// The store knows a series by its key: one key for two of them would mix them up.
#[test]
fn series_have_one_key_each_and_the_same_in_every_request() {
    let body = br#"[{"name":"a","gauge":{"value":1},"tags":{"b":"c"}},{"name":"ab","gauge":{"value":1},"tags":{"":""}},
        {"name":"a","summary":{"count":1,"sum":1,"quantiles":[{"quantile":0.5,"value":1}]}},
        {"name":"a","histogram":{"count":1,"sum":1,"buckets":[{"upper_limit":0.5,"count":1}]}},
        {"name":"a","gauge":{"value":2},"tags":{"b":"c"}}]"#;
    let settings = crate::Settings::default();
    let (batch, again) = (decoded(body, &settings), decoded(body, &settings));
    let keys: Vec<u128> = batch.series.iter().map(|series| series.key).collect();
    assert_eq!(keys, again.series.iter().map(|series| series.key).collect::<Vec<_>>());
    let named = labels(&batch);
    for (i, a) in keys.iter().enumerate() {
        for (j, b) in keys.iter().enumerate() {
            assert_eq!(a == b, named[i] == named[j], "{} {}", named[i], named[j]);
        }
    }
    assert_eq!(keys.len(), 2 + 3 + 5 + 1);
}

#[test]
fn a_histogram_is_the_series_that_the_tenant_wants() {
    let body = br#"{"name":"h","histogram":{"count":3,"sum":1,"buckets":[{"upper_limit":1,"count":1},{"upper_limit":2,"count":2}]}}"#;
    for (histogram_series, wanted) in [
        (HistogramSeries::Both, &["h 1", "h_bucket 1", "h 2", "h_bucket 3", "h_bucket 3"][..]),
        (HistogramSeries::Prometheus, &["h_bucket 1", "h_bucket 3", "h_bucket 3"]),
        (HistogramSeries::Betterstack, &["h 1", "h 2"]),
    ] {
        let settings = of(Settings { histogram_series, ..Settings::default() });
        let batch = decoded(body, &settings);
        let shown = |index: usize| {
            let name = batch.with_labels(index, |pairs| Ok(pairs[0].1.to_owned())).unwrap();
            format!("{name} {}", batch.samples[index].value)
        };
        let shown: Vec<String> = (0..batch.series.len()).map(shown).collect();
        let (buckets, totals) = shown.split_at(shown.len() - 2);
        assert_eq!(
            (buckets, totals),
            (
                &wanted.iter().map(ToString::to_string).collect::<Vec<_>>()[..],
                &["h_sum 1".to_owned(), "h_count 3".to_owned()][..]
            )
        );
    }
}

#[test]
fn tags_are_in_the_way_of_the_labels_that_the_tenant_wants_alone() {
    for (tag, histogram_series, refused) in [
        ("le", HistogramSeries::Both, 1),
        ("upper_limit", HistogramSeries::Both, 1),
        ("le", HistogramSeries::Prometheus, 1),
        ("upper_limit", HistogramSeries::Prometheus, 0),
        ("le", HistogramSeries::Betterstack, 0),
        ("upper_limit", HistogramSeries::Betterstack, 1),
    ] {
        let body = format!(
            r#"[{{"name":"g","gauge":{{"value":1}}}},{{"name":"h","tags":{{"{tag}":"x"}},"histogram":{{"count":1,"sum":1,"buckets":[{{"upper_limit":1,"count":1}}]}}}}]"#
        );
        let settings = of(Settings { histogram_series, ..Settings::default() });
        let batch = decoded(body.as_bytes(), &settings);
        let rejected: Vec<_> = batch.rejections.by_reason().collect();
        let wanted = [(Signal::Sample, Reason::InvalidLabels, 1)];
        assert_eq!(rejected, wanted[..refused], "{tag} {histogram_series:?}");
        // Nothing of it is kept, or all.
        let all = if histogram_series == HistogramSeries::Betterstack { 3 } else { 4 };
        let kept = if refused == 1 { 1 } else { 1 + all };
        assert_eq!((batch.series.len(), batch.metadata.len()), (kept, 2 - refused));
    }
}

#[test]
fn what_is_further_in_the_past_than_wanted_is_refused_and_nothing_else() {
    let settings = of(Settings { past_ms_max: Some(900_000), ..Settings::default() });
    let (old, just) = (RECEIVED_MS - 900_001, RECEIVED_MS - 900_000);
    let body = format!(
        r#"{{"name":"old","gauge":{{"value":1}},"dt":{old}}}{{"name":"just","gauge":{{"value":1}},"dt":{just}}}"#
    );
    let batch = decoded(body.as_bytes(), &settings);
    assert_eq!(labels(&batch), [r#"[("__name__", "just")]"#]);
    assert_eq!(batch.rejections.by_reason().collect::<Vec<_>>(), [(Signal::Sample, Reason::TooOld, 1)]);
    // All of it too old is right all the same.
    let body = format!(r#"{{"name":"old","gauge":{{"value":1}},"dt":{old}}}"#);
    assert_eq!(decoded(body.as_bytes(), &settings).items.refused(), 1);
}
