//! Lines of StatsD a second on one core: `cargo bench -p dialects --bench statsd`. Anywhere else it is one small round that
//! only checks that every line is read.

#![allow(clippy::disallowed_methods, clippy::print_stdout)] // A benchmark reads the clock and prints.

use std::time::{Duration, Instant};

use dialects::statsd::{Flavor, Line, Value, for_each_line};

fn main() {
    if std::env::args().any(|argument| argument == "--list") {
        return;
    }
    let full = std::env::args().any(|argument| argument == "--bench");
    let budget = if full { Duration::from_millis(1500) } else { Duration::ZERO };
    for (name, datagrams) in [
        ("short lines", datagrams(|n| format!("app.hits{}:{n}|c", n % 1000))),
        ("lines as clients send them", datagrams(client)),
        ("packed values", datagrams(|n| format!("app.lat{}:{n}:{n}.5:0.25:17|d|#env:prod", n % 1000))),
    ] {
        let best = best_round(&datagrams, budget);
        println!("{name}: {:.0} ns per line, {:.0} lines/s", best * 1e9, 1.0 / best);
    }
}

fn client(number: usize) -> String {
    let kind = ["c", "g", "h", "ms", "d"][number % 5];
    let tags = "env:prod,service:checkout,version:1.2.3,route:/api/v1/orders";
    format!(
        "app.requests.latency{}:{}.25|{kind}|@0.5|#{tags}|c:ci-0123456789abcdef",
        number % 1000,
        number % 977
    )
}

/// Datagrams of up to 1,432 bytes, as clients pack them.
fn datagrams(line: impl Fn(usize) -> String) -> Vec<Vec<u8>> {
    let mut datagrams = vec![Vec::new()];
    for number in 0..20_000 {
        let line = line(number);
        if datagrams.last().is_some_and(|last| last.len() + line.len() > 1432) {
            datagrams.push(Vec::new());
        }
        let last = datagrams.last_mut().expect("there is one");
        last.extend_from_slice(line.as_bytes());
        last.push(b'\n');
    }
    datagrams
}

/// Seconds per line of the best round, keys made as the windows want them.
fn best_round(datagrams: &[Vec<u8>], budget: Duration) -> f64 {
    let (begun, mut best) = (Instant::now(), f64::MAX);
    loop {
        let (round, mut lines, mut sum, mut keys) = (Instant::now(), 0u32, 0.0, 0u128);
        for datagram in datagrams {
            for_each_line(datagram, Flavor::DogStatsD, |line| {
                let Ok(Line::Metric(metric)) = line else { panic!("{line:?}") };
                let Value::Numbers(values) = metric.value else { panic!("{metric:?}") };
                (lines, keys) = (lines + 1, keys.wrapping_add(metric.key(7)));
                sum += values.iter().sum::<f64>() * metric.weight;
            });
        }
        best = best.min(round.elapsed().as_secs_f64() / f64::from(lines));
        assert!((lines, sum > 0.0) == (20_000, true) && keys != 0);
        if begun.elapsed() >= budget {
            return best;
        }
    }
}
