//! What receivers of running totals get, and in which order.

use std::collections::BTreeMap;
use std::time::Duration;

use dialects::outgoing::Version;
use model::relabel::{Action, Names, Parts, Rule, Rules};
use model::{Labels, Origin, TenantId};
use wal::Stream;

use super::receiver::{Play, Receiver};
use super::{INSTANCE, World, labels, now_ms, settings};
use crate::counts::Dropped;
use crate::settings::Chosen;

const NONE: &[(&str, &str)] = &[];

/// Values by series, in the order in which they were taken.
fn by_series(rows: Vec<(Labels, model::Sample)>) -> BTreeMap<String, Vec<f64>> {
    let mut all: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for (labels, sample) in rows {
        all.entry(labels.metric_name().unwrap().to_owned()).or_default().push(sample.value);
    }
    all
}

/// Waits until the output has nothing left.
fn wait_done(world: &World, output: &crate::output::Output) {
    let end = world.store.log_end(Stream::Metrics);
    let until = std::time::Duration::from_secs(20);
    let clock = env::Env::real().clock;
    let began = clock.monotonic();
    while output.cursor() < end {
        assert!(clock.monotonic() - began < until, "the output does not come to its end");
        std::thread::yield_now();
    }
}

#[test]
fn what_is_acknowledged_is_sent_by_series_in_its_order() {
    let world = World::new();
    let receiver = Receiver::playing([
        Play::Answer(503, NONE),
        Play::Answer(429, &[("retry-after", "0")]),
        Play::Cut,
        Play::Answer(500, NONE),
        Play::Cut,
    ]);
    let output = world.start(settings("a"), &receiver);
    let now = now_ms();
    for i in 0..40 {
        let rows: Vec<(String, i64, f64)> = (0..7).map(|s| (format!("m{s}"), now + i, i as f64)).collect();
        let rows: Vec<(&str, i64, f64)> =
            rows.iter().map(|(name, at, value)| (name.as_str(), *at, *value)).collect();
        world.push(&rows);
    }
    wait_done(&world, &output);
    for (name, mut values) in by_series(receiver.wait_rows(280)) {
        // What was cut came twice, before anything behind it.
        values.dedup();
        let wanted: Vec<f64> = (0..40).map(f64::from).collect();
        let (repeated, once): (Vec<f64>, Vec<f64>) = split_repeats(&values);
        assert_eq!(once, wanted, "{name}: {values:?}, {repeated:?}");
    }
    let status = output.status();
    assert_eq!((status.sent, status.pending, status.lag_bytes), (280, 0, 0));
    assert!(status.retried > 0);
    output.end();
    assert_eq!(world.cursor("a").position, world.store.log_end(Stream::Metrics));
}

/// Values that stand for the first time, and those that came again.
fn split_repeats(values: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let mut highest = f64::NEG_INFINITY;
    values.iter().partition(|value| {
        let again = **value <= highest;
        highest = highest.max(**value);
        again
    })
}

#[test]
fn a_repeated_request_is_the_same_and_says_its_number() {
    let world = World::new();
    let receiver = Receiver::playing([Play::Answer(503, NONE), Play::Answer(503, NONE)]);
    let output = world.start(settings("a"), &receiver);
    world.push(&[("m", now_ms(), 1.0)]);
    let seen = receiver.wait(|seen| seen.len() == 3);
    assert!(seen.iter().all(|request| request.body == seen[0].body));
    let attempts: Vec<_> = seen.iter().map(|request| request.header("retry-attempt")).collect();
    assert_eq!(attempts, [None, Some("1"), Some("2")]);
    assert_eq!(seen[0].header("x-weir-hops"), Some("1"));
    assert_eq!(seen[0].header("x-weir-via"), Some(format!("{INSTANCE:016x}").as_str()));
    assert_eq!(seen[0].header("content-encoding"), Some("snappy"));
    output.end();
}

#[test]
fn what_is_too_large_comes_in_halves_and_one_row_that_is_too_large_is_dropped() {
    let world = World::new();
    let receiver = Receiver::playing([]);
    receiver.always(Some(Play::Wait));
    let mut settings = settings("a");
    settings.queues.shards_min = 1;
    settings.queues.shards_max = 1;
    let output = world.start(settings, &receiver);
    let now = now_ms();
    let rows: Vec<(String, i64, f64)> = (0..4).map(|s| (format!("m{s}"), now, 1.0)).collect();
    let rows: Vec<(&str, i64, f64)> =
        rows.iter().map(|(name, at, value)| (name.as_str(), *at, *value)).collect();
    world.push(&rows);
    receiver.play([Play::Answer(413, NONE), Play::Answer(413, NONE), Play::Answer(413, NONE)]);
    receiver.always(None);
    wait_done(&world, &output);
    let seen = receiver.wait(|seen| seen.len() == 5);
    let sizes: Vec<usize> = seen.iter().map(|request| request.rows().len()).collect();
    assert_eq!(sizes, [4, 2, 1, 1, 2]);
    assert_eq!(receiver.wait_rows(3).len(), 3);
    assert_eq!(output.dropped(Dropped::Refused), 1);
    assert_eq!(output.status().last_error, "413: because");
    output.end();
}

#[test]
fn a_receiver_that_does_not_know_version_two_gets_one_from_then_on() {
    let world = World::new();
    // As a receiver of 1.0 that reads no media types answers.
    let receiver = Receiver::playing([Play::Answer(204, NONE)]);
    let mut settings = settings("a");
    settings.options.version = Version::Two;
    settings.queues.shards_min = 1;
    let output = world.start(settings, &receiver);
    world.push(&[("m", now_ms(), 1.0)]);
    receiver.wait(|seen| seen.len() == 2);
    world.push(&[("m", now_ms(), 2.0)]);
    let seen = receiver.wait(|seen| seen.len() == 3);
    let versions: Vec<_> =
        seen.iter().map(|request| request.header("x-prometheus-remote-write-version").unwrap()).collect();
    assert_eq!(versions, ["2.0.0", "0.1.0", "0.1.0"]);
    assert_eq!(seen[1].rows()[0].0, labels("m"));
    output.end();
}

#[test]
fn a_receiver_that_moved_loses_nothing_and_is_told_where_to() {
    let world = World::new();
    let elsewhere = [("location", "https://me:word@new.invalid/write?key=word")];
    let receiver = Receiver::playing([Play::Answer(301, &[]), Play::Answer(304, NONE)]);
    receiver.always(Some(Play::Answer(302, Box::leak(Box::new(elsewhere)))));
    let output = world.start(settings("a"), &receiver);
    world.push(&[("m", now_ms(), 1.0)]);
    receiver.wait(|seen| seen.len() > 3);
    assert_eq!(output.status().last_error, "302: the receiver leads to https://new.invalid/write");
    receiver.always(None);
    assert_eq!(receiver.wait_rows(1)[0].1.value, 1.0);
    wait_done(&world, &output);
    assert_eq!((output.dropped(Dropped::Refused), output.status().sent), (0, 1));
    output.end();
}

#[test]
fn what_is_refused_is_dropped_and_what_follows_is_sent() {
    let world = World::new();
    let receiver = Receiver::playing([Play::Answer(400, NONE)]);
    let output = world.start(settings("a"), &receiver);
    world.push(&[("m", now_ms(), 1.0)]);
    receiver.wait(|seen| seen.len() == 1);
    world.push(&[("m", now_ms() + 1, 2.0)]);
    assert_eq!(receiver.wait_rows(1)[0].1.value, 2.0);
    wait_done(&world, &output);
    assert_eq!((output.dropped(Dropped::Refused), output.status().sent), (1, 1));
    output.end();
}

#[test]
fn labels_are_rewritten_and_tenants_chosen() {
    let world = World::new();
    let receiver = Receiver::playing([]);
    let rule = |parts| Rule::new(parts, Names::Utf8).unwrap();
    let name = vec!["__name__".to_owned()];
    let drop =
        Parts { source_labels: name.clone(), regex: "x.*".into(), action: Action::Drop, ..Parts::default() };
    let rename = Parts {
        source_labels: name,
        target_label: "__name__".into(),
        replacement: "new_$1".into(),
        ..Parts::default()
    };
    let mut settings = settings("a");
    settings.tenants = Chosen::Named([model::TenantName::parse("acme").unwrap()].into());
    settings.external_labels = [("job".into(), "no".into()), ("region".into(), "eu".into())].into();
    settings.relabel = Rules::new(vec![rule(drop), rule(rename)]);
    let output = world.start(settings, &receiver);
    world.push(&[("m", now_ms(), 1.0)]);
    world.push_as(TenantId(3), &Origin::SENDER, &[("m", now_ms(), 1.0)]);
    world.push_as(TenantId(2), &Origin::SENDER, &[("x1", now_ms(), 2.0), ("m", now_ms(), 3.0)]);
    let rows = receiver.wait_rows(1);
    wait_done(&world, &output);
    let wanted = Labels::from_pairs([("__name__", "new_m"), ("job", "test"), ("region", "eu")]);
    assert_eq!((rows.len(), &rows[0].0, rows[0].1.value), (1, &wanted, 3.0));
    // Nobody knows the name of the third.
    assert_eq!(output.dropped(Dropped::NoTenant), 1);
    output.end();
}

#[test]
fn what_was_not_taken_is_sent_after_the_next_start() {
    let world = World::new();
    let receiver = Receiver::playing([]);
    receiver.always(Some(Play::Answer(503, NONE)));
    let output = world.start(settings("a"), &receiver);
    let now = now_ms();
    for i in 0..5 {
        world.push(&[("m", now + i, i as f64)]);
    }
    receiver.wait(|seen| seen.len() > 2);
    output.end();
    assert!(world.cursor("a").position < world.store.log_end(Stream::Metrics));
    receiver.always(None);
    let output = world.start(settings("a"), &receiver);
    let values: Vec<f64> = receiver.wait_rows(5).iter().map(|(_, sample)| sample.value).collect();
    assert_eq!(values, [0.0, 1.0, 2.0, 3.0, 4.0]);
    output.end();
}

#[test]
fn a_panic_is_an_output_that_begins_anew() {
    let world = World::new();
    let receiver = Receiver::playing([Play::Panic]);
    let output = world.start(settings("a"), &receiver);
    world.push(&[("m", now_ms(), 1.0)]);
    assert_eq!(receiver.wait_rows(1)[0].1.value, 1.0);
    assert_eq!(output.status().restarts, 1);
    output.end();
}

#[test]
fn what_came_through_the_receiver_does_not_go_back() {
    let world = World::new();
    let receiver = Receiver::playing([Play::Answer(204, &[("x-weir-instance", "00000000000000ff")])]);
    let output = world.start(settings("a"), &receiver);
    world.push(&[("m", now_ms(), 1.0)]);
    receiver.wait_rows(1);
    wait_done(&world, &output);
    world.push_as(TenantId(1), &Origin { hops: 2, via: vec![1, 0xff] }, &[("m", now_ms() + 1, 2.0)]);
    world.push_as(TenantId(1), &Origin { hops: 1, via: vec![1] }, &[("m", now_ms() + 2, 3.0)]);
    let rows = receiver.wait_rows(2);
    wait_done(&world, &output);
    assert_eq!(rows[1].1.value, 3.0);
    assert_eq!(output.dropped(Dropped::Loop), 1);
    let seen = receiver.wait(|seen| seen.len() == 2);
    assert_eq!(seen[1].header("x-weir-hops"), Some("2"));
    assert_eq!(seen[1].header("x-weir-via"), Some(format!("{:016x},{INSTANCE:016x}", 1).as_str()));
    output.end();
}

#[test]
fn what_waits_too_long_is_dropped_and_counted() {
    let world = World::new();
    let receiver = Receiver::playing([]);
    receiver.always(Some(Play::Answer(503, NONE)));
    let mut settings = settings("a");
    settings.lag_age_max = Duration::from_millis(1);
    let output = world.start(settings, &receiver);
    world.push(&[("m", now_ms(), 1.0), ("n", now_ms(), 1.0)]);
    receiver.wait(|seen| !seen.is_empty());
    let clock = env::Env::real().clock;
    let began = clock.monotonic();
    while output.dropped(Dropped::LagAge) < 2 {
        assert!(clock.monotonic() - began < super::PATIENCE, "nothing was dropped");
        output.keep();
        std::thread::yield_now();
    }
    wait_done(&world, &output);
    receiver.always(None);
    output.end();
}

#[test]
fn a_receiver_that_does_not_answer_holds_up_nobody() {
    let world = World::new();
    let (silent, well) = (Receiver::playing([]), Receiver::playing([]));
    silent.always(Some(Play::Wait));
    let mut first = settings("silent");
    first.queues.capacity = 10;
    let (first, second) = (world.start(first, &silent), world.start(settings("well"), &well));
    let now = now_ms();
    for i in 0..100 {
        world.push(&[("m", now + i, i as f64)]);
    }
    assert_eq!(well.wait_rows(100).len(), 100);
    silent.always(None);
    let values = by_series(silent.wait_rows(100));
    assert_eq!(values["m"], (0..100).map(f64::from).collect::<Vec<_>>());
    first.end();
    second.end();
}

#[test]
fn a_stop_waits_for_the_grace_and_not_for_a_receiver_that_does_not_answer() {
    let world = World::new();
    let silent = Receiver::playing([]);
    silent.always(Some(Play::Wait));
    let mut settings = settings("a");
    settings.timeout = Duration::from_secs(3600);
    settings.queues.capacity = 10;
    // Ten loads of ten rows, however slowly they come.
    settings.queues.deadline = Duration::from_secs(3600);
    let output = world.start(settings.clone(), &silent);
    let now = now_ms();
    // More than fits: the reader waits for room.
    for i in 0..100 {
        world.push(&[("m", now + i, i as f64)]);
    }
    let clock = env::Env::real().clock;
    let began = clock.monotonic();
    while output.status().pending < 20 {
        assert!(clock.monotonic() - began < super::PATIENCE, "nothing was read");
        std::thread::yield_now();
    }
    // Returns at all: the receiver never answers.
    output.end();
    silent.always(None);
    let output = world.start(settings, &silent);
    let values = by_series(silent.wait_rows(100));
    assert_eq!(values["m"], (0..100).map(f64::from).collect::<Vec<_>>());
    output.end();
}

#[test]
fn a_damaged_cursor_sends_all_that_the_log_has() {
    let world = World::new();
    world.push(&[("m", now_ms(), 1.0)]);
    let directory = world.directory.path().join("forward");
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("a.cursor"), b"damaged").unwrap();
    let receiver = Receiver::playing([]);
    let output = world.start(settings("a"), &receiver);
    assert_eq!(receiver.wait_rows(1)[0].1.value, 1.0);
    output.end();
}
