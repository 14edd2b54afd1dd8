//! Nanoseconds per series of each decoder alone: `cargo bench -p dialects`. Anywhere else (`cargo test --benches`) it is
//! one small round that only checks that everything is decoded.

#![allow(clippy::disallowed_methods, clippy::print_stdout)] // A benchmark reads the clock and prints.

mod bodies;

use std::time::{Duration, Instant};

use dialects::{Kind, Received, Request, find};
use model::Batch;

fn main() {
    if std::env::args().any(|argument| argument == "--list") {
        return;
    }
    let full = std::env::args().any(|argument| argument == "--bench");
    let (series, budget) = if full { (2000, Duration::from_millis(1500)) } else { (20, Duration::ZERO) };
    for bodies::Case { name, path, content_type, body, rows } in bodies::CASES.iter().copied() {
        let body = body(series);
        let best = best_round(path, content_type, &body, series * rows, budget);
        println!(
            "{name}: {:.1} ns per series (best of rounds of {series} series, {} bytes)",
            best.as_nanos() as f64 / series as f64,
            body.len()
        );
    }
}

fn best_round(path: &str, content_type: &str, body: &[u8], rows: usize, budget: Duration) -> Duration {
    let (_, route) = find("POST", path).expect("the registry has the path");
    let Kind::Ingest { decode, .. } = route.kind else { panic!("{path} takes no body") };
    let received = Received { body, ..Received::new(Request { path, content_type, ..Request::default() }) };
    let mut batch = Batch::new(42);
    let (start, mut best) = (Instant::now(), Duration::MAX);
    loop {
        batch.clear();
        let round = Instant::now();
        decode(&received, &mut batch).expect("the body is well-formed");
        best = best.min(round.elapsed());
        let values = batch.samples.len() + batch.histograms.len();
        assert_eq!((batch.series.len() + batch.logs.len(), values + batch.logs.len()), (rows, rows));
        assert!(batch.rejections.is_empty());
        if start.elapsed() >= budget {
            return best;
        }
    }
}
