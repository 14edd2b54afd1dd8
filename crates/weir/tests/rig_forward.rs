//! What was acknowledged arrives, whoever is killed: a Weir sends to another one and to VictoriaMetrics, both Weirs are
//! killed again and again, and at the end ledgers are compared.
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a rig waits, reads the clock, and tells people what it found"
)]

mod forward;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use forward::{Weir, victoria_metrics, wait};
use serde_json::Value;
use xtask::load::http::Connection;
use xtask::load::mix::Dice;
use xtask::rig::weir::SMALL;
use xtask::rig::writer::{Writer, now_ms};

const CYCLES: u32 = 8;

const TENANTS: &str = "tenants:\n  one: {}\n  two: {}\n";

/// As [`TENANTS`], where the counts of Datadog's senders are running totals again.
const ADDING: &str =
    "tenants:\n  one: {}\n  two:\n    datadog:\n      profile: plain\n      counts: cumulative\n";

/// Requests small enough that kills fall between them.
const QUEUES: &str = "    queue_config:\n      max_samples_per_send: 100\n      batch_send_deadline: 100ms\n      \
                      min_backoff: 10ms\n      max_backoff: 300ms\n      min_shards: 2\n      max_shards: 4\n";

/// Sends samples of a few series until told to stop, each until it is acknowledged: a time and a value that nobody else
/// sends.
#[derive(Default)]
struct Pusher {
    acknowledged: BTreeMap<String, Vec<(i64, f64)>>,
    next: u64,
    unanswered: Option<(String, i64, f64)>,
    last_ms: i64,
}

impl Pusher {
    fn run(&mut self, address: SocketAddr, tenant: &str, name: &str, stop: &AtomicBool) {
        let Ok(mut connection) = Connection::open_as(address, tenant) else { return };
        while !stop.load(Ordering::SeqCst) {
            let (series, at, value) = self.unanswered.take().unwrap_or_else(|| self.sample(name));
            let line = format!("{series} {value} {at}\n");
            let answer = connection.post("/api/v1/import/prometheus", "", line.as_bytes());
            match answer {
                Ok(answer) if answer.is_success() => {
                    self.acknowledged.entry(series).or_default().push((at, value));
                }
                _ => {
                    self.unanswered = Some((series, at, value));
                    match Connection::open_as(address, tenant) {
                        Ok(another) => connection = another,
                        Err(_) => return,
                    }
                }
            }
        }
    }

    fn sample(&mut self, name: &str) -> (String, i64, f64) {
        self.last_ms = now_ms().max(self.last_ms + 1);
        let value = self.next as f64;
        self.next += 1;
        (name.to_owned(), self.last_ms, value)
    }
}

fn cycles(sender: &mut Weir, receiver: &mut Weir, mut load: impl FnMut(SocketAddr, &AtomicBool) + Send) {
    let mut dice = Dice(now_ms() as u64);
    for cycle in 0..CYCLES {
        let stop = AtomicBool::new(false);
        let address = sender.address();
        let pause = Duration::from_millis(200 + dice.below(1200));
        std::thread::scope(|scope| {
            let stop = &stop;
            let load = &mut load;
            let writing = scope.spawn(move || load(address, stop));
            std::thread::sleep(pause);
            match cycle % 2 {
                0 => sender.process.kill().expect("it dies"),
                _ => receiver.process.kill().expect("it dies"),
            }
            std::thread::sleep(Duration::from_millis(dice.below(500)));
            stop.store(true, Ordering::SeqCst);
            writing.join().expect("it writes");
        });
        match cycle % 2 {
            0 => sender.process = sender.home.start().expect("Weir starts again"),
            _ => receiver.process = receiver.home.start().expect("Weir starts again"),
        }
    }
}

#[test]
fn rig_what_is_acknowledged_arrives_whoever_is_killed() {
    let test = "rig_what_is_acknowledged_arrives_whoever_is_killed";
    let directory = tempfile::tempdir().expect("a directory");
    let victoria = match xtask::run::exists("victoria-metrics") {
        true => Some(victoria_metrics(directory.path())),
        false => {
            xtask::test::skipped(test, "victoria-metrics is not installed: only another Weir");
            None
        }
    };
    let mut receiver = Weir::start(&format!("{SMALL}{TENANTS}"));
    let to_weir = format!(
        "  - url: http://{}/api/v1/write\n    name: weir\n    tenant: one\n    headers:\n      X-Scope-OrgID: one\n{QUEUES}",
        receiver.address()
    );
    let to_victoria = victoria.as_ref().map_or_else(String::new, |victoria| {
        format!("  - url: http://{}/api/v1/write\n    name: vm\n    tenant: two\n{QUEUES}", victoria.address)
    });
    let mut sender = Weir::start(&format!("{SMALL}{TENANTS}remote_write:\n{to_weir}{to_victoria}"));
    let seed = xtask::rig::seed();
    let mut writers: Vec<Writer> =
        (0..2).map(|number| Writer::new("one", &format!("w{number}"), seed + number, now_ms())).collect();
    let mut pusher = Pusher::default();
    cycles(&mut sender, &mut receiver, |address, stop| {
        std::thread::scope(|scope| {
            for writer in &mut writers {
                scope.spawn(move || writer.run(address, stop).expect("no lasting refusal"));
            }
            scope.spawn(|| pusher.run(address, "two", "pushed", stop));
        });
    });
    sender.wait_sent("weir");
    for writer in &mut writers {
        let verdict = writer.compare(receiver.address()).expect("it answers");
        assert!(verdict.is_clean(), "seed {seed}: {verdict:?}\n{}", sender.output("weir"));
        assert!(writer.requests > 20, "only {} requests", writer.requests);
    }
    let output = sender.output("weir");
    assert_eq!(output["lostFrames"], 0, "{output}");
    if let Some(victoria) = &victoria {
        sender.wait_sent("vm");
        compare(victoria.address, &pusher);
    }
    let requests: u64 = writers.iter().map(|writer| writer.requests).sum();
    println!("{CYCLES} kills, {requests} requests and {} samples arrived", pusher.next);
    for weir in [&sender, &receiver] {
        weir.home.check_log().expect("a clean log");
    }
}

/// Everything that was acknowledged is in VictoriaMetrics, with its value.
fn compare(address: SocketAddr, pusher: &Pusher) {
    wait("VictoriaMetrics has everything", || {
        let mut connection = Connection::open(address, None).expect("it answers");
        connection.get("/internal/force_flush").expect("an answer");
        let text = connection.get("/api/v1/export?match[]=pushed").expect("lines").text();
        let mut found: BTreeMap<i64, f64> = BTreeMap::new();
        for line in text.lines() {
            let json: Value = serde_json::from_str(line).expect("JSON");
            let list = |key: &str| json[key].as_array().expect("a list").clone();
            let times = list("timestamps").into_iter().map(|time| time.as_i64().expect("ms"));
            found
                .extend(times.zip(list("values").into_iter().map(|value| value.as_f64().expect("a number"))));
        }
        let missing: Vec<_> = pusher.acknowledged["pushed"]
            .iter()
            .filter(|(at, value)| found.get(at) != Some(value))
            .take(5)
            .collect();
        if missing.is_empty() { Ok(()) } else { Err(format!("{missing:?} of {}", found.len())) }
    });
}

/// A receiver that adds: what comes again after a kill of either side counts once.
#[test]
fn rig_a_total_is_exact_at_a_receiver_that_adds() {
    let mut receiver = Weir::start(&format!("{SMALL}{ADDING}"));
    let mut sender = Weir::start(&format!(
        "{SMALL}{TENANTS}outputs:\n  - type: datadog\n    name: adds\n    url: http://{}\n    token: none\n    tenant: one\n    \
         headers:\n      X-Scope-OrgID: two\n    queue_config:\n      min_backoff: 10ms\n      max_backoff: 300ms\n",
        receiver.address()
    ));
    let mut pusher = Pusher::default();
    for _ in 0..3 {
        cycles(&mut sender, &mut receiver, |address, stop| pusher.run(address, "one", "adds_total", stop));
    }
    let (_, last) = *pusher.acknowledged["adds_total"].last().expect("something was acknowledged");
    // A sample that was never answered may be in the log.
    let most = pusher.next as f64 - 1.0;
    wait("the total is there", || {
        // Its dialect gives running totals the ending that such have.
        let found = receiver.values("two", "adds_total_total");
        match found[..] {
            [total] if (last..=most).contains(&total) => Ok(()),
            _ => {
                let names = receiver.get("/api/v1/series?match[]=%7B__name__!=%22%22%7D", "two").text();
                Err(format!("{found:?}, wanted {last} to {most}; {names}; {}", sender.output("adds")))
            }
        }
    });
    println!("a total of {last} after {} kills", 3 * CYCLES);
}
