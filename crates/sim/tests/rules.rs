//! The naive store is the yardstick, so its rules are written out once more, by example.

use model::{LabelLimits, Matcher, Reason, STALE_NAN_BITS, Signal, TenantId, TenantLimits, TimeRange};
use sim::naive::{Answer, Judgement, NaiveStore, Value};
use sim::request::{Encoding, Request, Row};

const NOW_MS: i64 = 1_800_000_000_000;
const A: TenantId = TenantId(1);
const B: TenantId = TenantId(2);
const ALL: TimeRange = TimeRange { start_ms: i64::MIN, end_ms: i64::MAX };

fn append(store: &mut NaiveStore, tenant: TenantId, limits: &TenantLimits, rows: Vec<Row>) -> Judgement {
    let request = Request { rows, ..Request::default() };
    store.append(tenant, limits, NOW_MS, &request.encode().batch(1))
}

fn row(labels: &[(&str, &str)]) -> Row {
    Row::new(labels.iter().copied(), Encoding::Wire)
}

/// Series as text with the floats of each.
fn floats(answer: &Answer) -> Vec<(String, Vec<(i64, f64)>)> {
    let float = |value: &Value| match value {
        Value::Float(bits) => f64::from_bits(*bits),
        Value::Histogram(_) => panic!("a histogram"),
    };
    let points = |points: &std::collections::BTreeMap<i64, sim::naive::Point>| {
        points.iter().map(|(ms, point)| (*ms - NOW_MS, float(&point.value))).collect()
    };
    answer.iter().map(|(labels, all)| (labels.to_string(), points(all))).collect()
}

#[test]
fn order_and_empty_labels_make_no_other_series_and_tenants_are_apart() {
    let (mut store, limits) = (NaiveStore::default(), TenantLimits::default());
    let one = row(&[("__name__", "up"), ("job", "x")]).sample(NOW_MS, 1.0);
    let other = row(&[("job", "x"), ("gone", ""), ("__name__", "up")]).sample(NOW_MS - 5, 2.0);
    append(&mut store, A, &limits, vec![one, other]);
    append(&mut store, B, &limits, vec![row(&[("__name__", "up"), ("job", "x")]).sample(NOW_MS, 9.0)]);
    let a = floats(&store.select(A, &[], ALL));
    assert_eq!(a, [("up{job=\"x\"}".to_owned(), vec![(-5, 2.0), (0, 1.0)])]);
    assert_eq!(floats(&store.select(B, &[], ALL))[0].1, [(0, 9.0)]);
}

#[test]
fn the_last_write_wins_but_a_stale_marker_replaces_nothing() {
    let (mut store, limits) = (NaiveStore::default(), TenantLimits::default());
    let stale = f64::from_bits(STALE_NAN_BITS);
    let rows = [(0, 1.0), (0, 2.0), (0, stale), (-1, stale), (-1, 3.0)];
    for (at, value) in rows {
        append(&mut store, A, &limits, vec![row(&[("__name__", "m")]).sample(NOW_MS + at, value)]);
    }
    assert_eq!(floats(&store.select(A, &[], ALL))[0].1, [(-1, 3.0), (0, 2.0)]);
}

#[test]
fn wrong_labels_and_times_are_refused_by_reason() {
    let mut store = NaiveStore::default();
    let labels = LabelLimits { labels: 3, ..LabelLimits::default() };
    let limits = TenantLimits { labels, retention_ms: 1000, future_ms: 500, ..TenantLimits::default() };
    let name = ("__name__", "m");
    let judgement = append(
        &mut store,
        A,
        &limits,
        vec![
            row(&[("job", "x")]).sample(NOW_MS, 1.0),
            row(&[name, ("a", "1"), ("a", "")]).sample(NOW_MS, 1.0).sample(NOW_MS, 2.0),
            row(&[name, ("a", "1"), ("b", "2"), ("c", "3")]).sample(NOW_MS, 1.0),
            row(&[name]).sample(NOW_MS - 1001, 1.0).sample(NOW_MS + 501, 1.0),
            row(&[name]).sample(NOW_MS - 1000, 1.0).sample(NOW_MS + 500, 1.0),
        ],
    );
    let refused: Vec<_> = judgement.refused.iter().map(|((_, reason), count)| (*reason, *count)).collect();
    let wanted = [
        (Reason::MissingName, 1),
        (Reason::InvalidLabels, 2),
        (Reason::LabelLimit, 1),
        (Reason::TooOld, 1),
        (Reason::TooFarAhead, 1),
    ];
    assert_eq!(refused, wanted);
    assert_eq!((judgement.samples.len(), judgement.refused_counts().samples), (2, 6));
}

#[test]
fn over_the_quota_only_new_series_are_refused() {
    let mut store = NaiveStore::default();
    let limits = TenantLimits { active_series: 2, ..TenantLimits::default() };
    let series = |n: &str| row(&[("__name__", "m"), ("n", n)]).sample(NOW_MS, 1.0);
    assert!(append(&mut store, A, &limits, vec![series("1"), series("2")]).refused.is_empty());
    let judgement = append(&mut store, A, &limits, vec![series("3"), series("1")]);
    assert_eq!(judgement.refused.get(&(Signal::Sample, Reason::SeriesQuota)), Some(&1));
    assert_eq!(judgement.samples.len(), 1);
    assert!(append(&mut store, B, &limits, vec![series("3")]).refused.is_empty(), "each tenant has its own");
}

#[test]
fn selection_goes_by_matchers_and_both_ends_of_the_range() {
    let (mut store, limits) = (NaiveStore::default(), TenantLimits::default());
    for name in ["a", "b"] {
        let samples =
            row(&[("__name__", name)]).sample(NOW_MS, 1.0).sample(NOW_MS + 1, 2.0).sample(NOW_MS + 2, 3.0);
        append(&mut store, A, &limits, vec![samples]);
    }
    let matcher = Matcher::new("__name__", model::MatchOp::Equal, "b").unwrap();
    let range = TimeRange { start_ms: NOW_MS + 1, end_ms: NOW_MS + 2 };
    let answer = floats(&store.select(A, &[matcher], range));
    assert_eq!(answer, [("b".to_owned(), vec![(1, 2.0), (2, 3.0)])]);
    store.expire(A, NOW_MS + 2);
    assert_eq!(floats(&store.select(A, &[], ALL))[0].1, [(2, 3.0)]);
}
