//! Rows of pages a second on one core: `cargo bench -p dialects --bench scraped`. Anywhere else it is one small round that
//! only checks that every row is read.

#![allow(clippy::disallowed_methods, clippy::print_stdout)] // A benchmark reads the clock and prints.

use std::time::{Duration, Instant};

use codec::proto::{write_bytes, write_double, write_number};
use dialects::scraped::{Format, Options, Row, Sink, read};
use model::Metadata;

const ROWS: usize = 10_000;

fn main() {
    if std::env::args().any(|argument| argument == "--list") {
        return;
    }
    let full = std::env::args().any(|argument| argument == "--bench");
    let budget = if full { Duration::from_millis(1500) } else { Duration::ZERO };
    let openmetrics = format!("{}# EOF\n", text("_total"));
    let created = openmetrics.replace("# EOF", "jobs_99_created{queue=\"q\"} 1\n# EOF");
    for (name, format, page) in [
        ("text", Format::Prometheus, text("").into_bytes()),
        ("buckets that are written anew", Format::Prometheus, buckets().into_bytes()),
        ("openmetrics", Format::OpenMetrics, openmetrics.into_bytes()),
        ("openmetrics with start times", Format::OpenMetrics, created.into_bytes()),
        ("protobuf", Format::Protobuf, protobuf()),
    ] {
        let best = best_round(format, &page, budget);
        println!("{name}: {:.0} ns per row, {:.0} rows/s", best * 1e9, 1.0 / best);
    }
}

/// A row like those of a Go process: a name, four labels, a number.
fn labels(number: usize) -> [(&'static str, String); 4] {
    [
        ("queue", format!("queue-{}", number % 37)),
        ("method", "GET".to_owned()),
        ("route", format!("/api/v1/orders/{}", number % 97)),
        ("code", (200 + number % 5).to_string()),
    ]
}

fn text(suffix: &str) -> String {
    let mut page = String::new();
    for number in 0..ROWS {
        if number % 100 == 0 {
            let name = format!("jobs_{}", number / 100);
            page.push_str(&format!("# HELP {name} Jobs that were done.\n# TYPE {name} counter\n"));
        }
        let labels: Vec<_> =
            labels(number).iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        page.push_str(&format!("jobs_{}{suffix}{{{}}} {number}.25\n", number / 100, labels.join(",")));
    }
    page
}

fn buckets() -> String {
    let mut page = "# TYPE wait_seconds histogram\n".to_owned();
    for number in 0..ROWS {
        let bound = number % 12;
        page.push_str(&format!(
            "wait_seconds_bucket{{route=\"/r/{}\",le=\"{bound}\"}} {number}\n",
            number / 12
        ));
    }
    page
}

fn protobuf() -> Vec<u8> {
    let mut family = Vec::new();
    write_bytes(1, b"jobs_total", &mut family);
    write_number(3, 0, &mut family);
    for number in 0..ROWS {
        let mut metric = Vec::new();
        for (name, value) in labels(number) {
            let mut label = Vec::new();
            write_bytes(1, name.as_bytes(), &mut label);
            write_bytes(2, value.as_bytes(), &mut label);
            write_bytes(1, &label, &mut metric);
        }
        let mut counter = Vec::new();
        write_double(1, number as f64, &mut counter);
        write_bytes(3, &counter, &mut metric);
        write_bytes(4, &metric, &mut family);
    }
    let mut page = Vec::new();
    codec::varint::write(family.len() as u64, &mut page);
    page.append(&mut family);
    page
}

/// Makes of each row the key that a scrape looks it up by.
#[derive(Default)]
struct Keys {
    rows: usize,
    sum: u128,
}

impl Sink for Keys {
    fn row(&mut self, row: Row<'_>) {
        self.rows += 1;
        self.sum = self.sum.wrapping_add(codec::hash::key128(7, row.series.as_bytes()));
    }

    fn metadata(&mut self, _: &str, _: Metadata) {}
}

/// Seconds per row of the best round.
fn best_round(format: Format, page: &[u8], budget: Duration) -> f64 {
    let options = Options { native_histograms: true, start_timestamps: true, ..Options::default() };
    let (begun, mut best) = (Instant::now(), f64::MAX);
    loop {
        let (round, mut keys) = (Instant::now(), Keys::default());
        read(format, page, &options, &mut keys).expect("a good page");
        assert!(keys.rows == ROWS && keys.sum != 0, "{} rows", keys.rows);
        best = best.min(round.elapsed().as_secs_f64() / ROWS as f64);
        if begun.elapsed() >= budget {
            return best;
        }
    }
}
