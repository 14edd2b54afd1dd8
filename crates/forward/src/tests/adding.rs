//! Receivers that add what they get: each growth once, in requests that stay the same.

use dialects::Encoding;
use dialects::outgoing::{Body, Options, Parcel, Parts, Repeated, Signal, Speaker, TokenPlace, usual};
use model::{Origin, TenantId};

use super::receiver::{Play, Receiver, Request};
use super::{PATIENCE, World, now_ms, settings};
use crate::counts::Dropped;
use crate::cursor::Cursor;

/// A protocol of lines: name, start, time and value.
pub(super) static LINES: Speaker = Speaker {
    name: "lines",
    signal: Signal::Metrics,
    repeated: |_| Repeated::IsAdded,
    parts: Parts::Together,
    path: "",
    token: TokenPlace::Bearer,
    body_bytes_max: 1 << 20,
    packed_bytes_max: 1 << 20,
    encode,
    judge: usual,
};

fn encode(parcel: &Parcel<'_>, _: &Options) -> Body {
    let mut text = String::new();
    for series in parcel.series() {
        for sample in series.samples {
            text +=
                &format!("{} {} {} {}\n", series.name(), sample.start_ms, sample.timestamp_ms, sample.value);
        }
    }
    let bytes = text.into_bytes();
    Body { bytes, media: "text/plain", packing: Encoding::Identity, headers: Vec::new(), unsaid: 0 }
}

/// Names, windows and values of what was taken, each request once.
fn values(seen: &[Request]) -> Vec<(String, i64, f64)> {
    let mut bodies: Vec<_> =
        seen.iter().filter(|request| request.taken).map(|request| request.body.clone()).collect();
    bodies.dedup();
    let text: Vec<String> = bodies.iter().map(|body| String::from_utf8(body.to_vec()).unwrap()).collect();
    let row = |line: &str| {
        let parts: Vec<&str> = line.split(' ').collect();
        (parts[0].to_owned(), parts[1].parse().unwrap(), parts[3].parse().unwrap())
    };
    text.iter().flat_map(|text| text.lines().map(row)).collect()
}

#[test]
fn a_total_is_what_it_grew_by_and_a_cut_request_comes_again_as_it_was() {
    let world = World::new();
    let receiver = Receiver::playing([Play::Cut, Play::Answer(503, &[])]);
    receiver.always(Some(Play::Answer(503, &[])));
    let mut settings = settings("a");
    settings.speaker = &LINES;
    let output = world.start(settings.clone(), &receiver);
    // Windows that are over already.
    let begin = (now_ms() - 300_000) / 10_000 * 10_000;
    for (after_ms, value) in [(0, 5.0), (3_000, 7.0), (9_999, 8.0), (10_000, 20.0)] {
        world.push(&[("hits_total", begin + after_ms, value)]);
    }
    receiver.wait(|seen| seen.len() >= 3);
    // The output ends while its receiver refuses: what was made is in the file.
    output.end();
    assert!(!world.cursor("a").outbox.is_empty());
    receiver.always(None);
    let output = world.start(settings, &receiver);
    let wanted = [("hits_total".to_owned(), begin, 3.0), ("hits_total".to_owned(), begin + 10_000, 12.0)];
    let seen = receiver.wait(|seen| values(seen).len() >= wanted.len());
    assert_eq!(values(&seen), wanted);
    output.end();
    let cursor = world.cursor("a");
    assert_eq!((cursor.outbox.len(), cursor.position), (0, world.store.log_end(wal::Stream::Metrics)));
}

/// Waits until the output's file says `wanted`.
fn wait_file(world: &World, wanted: impl Fn(&Cursor) -> bool) {
    let clock = env::Env::real().clock;
    let began = clock.monotonic();
    while !wanted(&world.cursor("a")) {
        assert!(clock.monotonic() - began < PATIENCE, "the file says {:?}", world.cursor("a"));
        std::thread::yield_now();
    }
}

#[test]
fn the_log_is_let_go_though_there_is_nothing_to_send() {
    let world = World::new();
    let receiver = Receiver::playing([]);
    let mut settings = settings("a");
    settings.speaker = &LINES;
    let output = world.start(settings, &receiver);
    // One is all that there is of a total, the window of the other is not over.
    world.push(&[("hits_total", now_ms() - 300_000, 5.0), ("level", now_ms() + 60_000, 1.0)]);
    let end = world.store.log_end(wal::Stream::Metrics);
    wait_file(&world, |cursor| cursor.position == end);
    assert_eq!(receiver.wait(|_| true).len(), 0);
    output.end();
}

/// Rows of totals that all begin and grow in one window that is over.
fn push_window(world: &World, totals: usize) {
    let begin = (now_ms() - 300_000) / 10_000 * 10_000;
    let names: Vec<String> = (0..totals).map(|number| format!("t{number}_total")).collect();
    for (after_ms, value) in [(0, 5.0), (3_000, 7.0)] {
        let rows: Vec<(&str, i64, f64)> =
            names.iter().map(|name| (name.as_str(), begin + after_ms, value)).collect();
        world.push(&rows);
    }
}

#[test]
fn what_is_too_large_comes_in_halves_that_are_in_the_file_first() {
    let world = World::new();
    let receiver = Receiver::playing([Play::Answer(413, &[])]);
    receiver.always(Some(Play::Answer(503, &[])));
    let mut settings = settings("a");
    settings.speaker = &LINES;
    let output = world.start(settings.clone(), &receiver);
    push_window(&world, 4);
    receiver.wait(|seen| seen.len() >= 2);
    let rows: Vec<u64> = world.cursor("a").outbox.iter().map(|stored| stored.rows).collect();
    assert_eq!(rows, [2, 2]);
    output.end();
    receiver.play([Play::Answer(413, &[]), Play::Answer(413, &[])]);
    receiver.always(None);
    let output = world.start(settings, &receiver);
    let seen = receiver.wait(|seen| values(seen).len() >= 3);
    let grown: Vec<f64> = values(&seen).into_iter().map(|(_, _, value)| value).collect();
    assert_eq!(grown, [2.0; 3]);
    wait_file(&world, |cursor| cursor.outbox.is_empty());
    assert_eq!(output.dropped(Dropped::Refused), 1);
    output.end();
}

#[test]
fn what_was_taken_is_not_sent_after_the_next_start() {
    let world = World::new();
    let receiver = Receiver::playing([Play::Answer(204, &[])]);
    receiver.always(Some(Play::Answer(503, &[])));
    let mut settings = settings("a");
    settings.speaker = &LINES;
    settings.queues.rows_max = 2;
    let output = world.start(settings, &receiver);
    push_window(&world, 4);
    receiver.wait(|seen| seen.len() >= 2);
    output.end();
    let rows: Vec<u64> = world.cursor("a").outbox.iter().map(|stored| stored.rows).collect();
    assert_eq!(rows, [2]);
}

#[test]
fn a_request_says_the_ways_of_its_own_window() {
    let world = World::new();
    let receiver = Receiver::playing([]);
    let mut settings = settings("a");
    settings.speaker = &LINES;
    let output = world.start(settings, &receiver);
    let begin = (now_ms() - 300_000) / 10_000 * 10_000;
    let tenant = TenantId(1);
    world.push_as(tenant, &Origin { hops: 2, via: vec![1] }, &[("level", begin, 1.0)]);
    world.push_as(tenant, &Origin::SENDER, &[("level", begin + 10_000, 2.0)]);
    let seen = receiver.wait(|seen| seen.len() >= 2);
    let hops: Vec<_> = seen.iter().map(|request| request.header("x-weir-hops")).collect();
    assert_eq!(hops, [Some("3"), Some("1")]);
    output.end();
}
