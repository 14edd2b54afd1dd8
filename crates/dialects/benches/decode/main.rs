//! Nanoseconds per series of each decoder alone: `cargo bench -p dialects`. Anywhere else (`cargo test --benches`) it is
//! one small round that only checks that everything is decoded. `--out DIR` leaves the bodies there, and `index.tsv`: file,
//! name, path, media type, things, rows of each, nanoseconds for each. `cargo xtask bench decode` sends them to a server.

#![allow(clippy::disallowed_methods, clippy::print_stdout)] // A benchmark reads the clock and prints.

mod bodies;

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use dialects::{Received, Request, decoder};
use model::Batch;

fn main() {
    if std::env::args().any(|argument| argument == "--list") {
        return;
    }
    let full = std::env::args().any(|argument| argument == "--bench");
    let out = std::env::args().skip_while(|argument| argument != "--out").nth(1).map(PathBuf::from);
    let (series, budget) = if full { (2000, Duration::from_millis(1500)) } else { (20, Duration::ZERO) };
    let mut index = String::new();
    for (at, bodies::Case { name, path, content_type, body, rows }) in
        bodies::CASES.iter().copied().enumerate()
    {
        let body = body(series);
        let best = best_round(path, content_type, &body, series * rows, budget);
        let nanoseconds = best.as_nanos() as f64 / series as f64;
        println!(
            "{name}: {nanoseconds:.1} ns per series (best of rounds of {series} series, {} bytes)",
            body.len()
        );
        // Lines are not posted.
        if path.starts_with('/') {
            let _ =
                writeln!(index, "{at}.body\t{name}\t{path}\t{content_type}\t{series}\t{rows}\t{nanoseconds}");
        }
        if let Some(directory) = &out {
            fs::write(directory.join(format!("{at}.body")), body).expect("the directory is there");
        }
    }
    if let Some(directory) = &out {
        fs::write(directory.join("index.tsv"), index).expect("the directory is there");
    }
}

fn best_round(path: &str, content_type: &str, body: &[u8], rows: usize, budget: Duration) -> Duration {
    let (_, decode) = decoder(path).expect("the registry has the path");
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
