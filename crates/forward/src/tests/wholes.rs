//! Receivers that get histograms in one piece: all parts of one at one time come in one request.

use std::collections::BTreeSet;

use dialects::outgoing::{Repeated, Speaker};
use model::{Origin, TenantId};

use super::adding::LINES;
use super::receiver::{Receiver, Request};
use super::{World, now_ms, settings};

/// Keeps what comes again.
static KEEPING: Speaker = Speaker { repeated: |_| Repeated::IsKept, ..LINES };

const HISTOGRAMS: usize = 8;
const PARTS: usize = 9;

/// Pushes all histograms at once, of each its parts one after the other.
fn push(world: &World, timestamp_ms: i64, value: f64) {
    let names: Vec<[String; 3]> = (0..HISTOGRAMS)
        .map(|which| ["bucket", "sum", "count"].map(|part| format!("h{which}_{part}")))
        .collect();
    let bounds: Vec<String> = (0..PARTS - 2).map(|bound| bound.to_string()).collect();
    let mut rows = Vec::new();
    for [bucket, sum, count] in &names {
        let row = |name, le| {
            let labels = [("__name__", name), ("job", "test")].into_iter().chain(le);
            (labels.collect::<Vec<(&str, &str)>>(), timestamp_ms, value)
        };
        rows.extend(bounds.iter().map(|le| row(bucket.as_str(), Some(("le", le.as_str())))));
        rows.extend([row(sum.as_str(), None), row(count.as_str(), None)]);
    }
    world.push_under(TenantId(1), &Origin::SENDER, &rows);
}

/// Rows of each histogram and time by request.
fn rows(seen: &[Request]) -> Vec<Vec<(String, i64)>> {
    let row = |line: &str| {
        let parts: Vec<&str> = line.split(' ').collect();
        let (name, _) = parts[0].split_once('_').unwrap();
        (name.to_owned(), parts[2].parse().unwrap())
    };
    let text = |request: &Request| String::from_utf8(request.body.to_vec()).unwrap();
    seen.iter().map(|request| text(request).lines().map(row).collect()).collect()
}

fn assert_whole(seen: &[Request]) {
    let requests = rows(seen);
    assert!(requests.len() > 2, "all came in {} requests", requests.len());
    for request in &requests {
        for one in request.iter().collect::<BTreeSet<_>>() {
            assert_eq!(request.iter().filter(|row| *row == one).count(), PARTS, "{one:?}");
        }
    }
}

#[test]
fn parts_of_a_histogram_come_in_one_request() {
    let world = World::new();
    let receiver = Receiver::playing([]);
    let mut settings = settings("a");
    settings.speaker = &KEEPING;
    (settings.queues.shards_min, settings.queues.shards_max) = (4, 4);
    let output = world.start(settings, &receiver);
    let now = now_ms();
    for step in 0..3 {
        push(&world, now + step, step as f64);
    }
    let wanted = 3 * HISTOGRAMS * PARTS;
    let seen = receiver.wait(|seen| rows(seen).iter().map(Vec::len).sum::<usize>() >= wanted);
    assert_whole(&seen);
    output.end();
}

#[test]
fn parts_of_what_came_in_a_window_come_in_one_request() {
    let world = World::new();
    let receiver = Receiver::playing([]);
    let mut settings = settings("a");
    settings.speaker = &LINES;
    let output = world.start(settings, &receiver);
    let begin = (now_ms() - 300_000) / 10_000 * 10_000;
    for step in 0..2 {
        push(&world, begin + step * 1_000, step as f64);
    }
    let wanted = HISTOGRAMS * PARTS;
    let seen = receiver.wait(|seen| rows(seen).iter().map(Vec::len).sum::<usize>() >= wanted);
    assert_whole(&seen);
    output.end();
}
