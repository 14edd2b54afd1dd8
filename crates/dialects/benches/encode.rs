//! Nanoseconds per sample of what is written outward by remote write: `cargo bench -p dialects --bench encode`. Anywhere else
//! it is one small round that only checks that everything is written.

#![allow(clippy::disallowed_methods, clippy::print_stdout)] // A benchmark reads the clock and prints.

use std::time::{Duration, Instant};

use dialects::outgoing::{Options, Parcel, Sent, Version};
use dialects::remote_write::SPEAKER;
use model::{Sample, Temporality};

/// Labels of a series, as an exporter's: most of them the same in all.
fn labels(series: usize) -> Vec<(String, String)> {
    let fixed = [
        ("__name__", format!("http_requests_{}_total", series % 40)),
        ("cluster", "eu-1".to_owned()),
        ("code", format!("{}", 200 + series % 5)),
        ("env", "production".to_owned()),
        ("instance", format!("10.0.{}.{}:9100", series / 250, series % 250)),
        ("job", "node".to_owned()),
        ("method", ["GET", "POST"][series % 2].to_owned()),
        ("namespace", "default".to_owned()),
        ("path", format!("/api/v1/item/{}", series % 100)),
        ("region", "eu-central-1".to_owned()),
    ];
    fixed.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn main() {
    if std::env::args().any(|argument| argument == "--list") {
        return;
    }
    let full = std::env::args().any(|argument| argument == "--bench");
    let (count, budget) = if full { (2000, Duration::from_millis(1500)) } else { (20, Duration::ZERO) };
    let texts: Vec<Vec<(String, String)>> = (0..count).map(labels).collect();
    let mut parcel = Parcel::default();
    for (number, labels) in texts.iter().enumerate() {
        let start = parcel.pairs.len();
        parcel.pairs.extend(labels.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let timestamp_ms = 1_700_000_000_000 + number as i64;
        parcel.samples.push(Sample { timestamp_ms, value: number as f64, start_ms: 0 });
        parcel.series.push(Sent {
            labels: start..parcel.pairs.len(),
            samples: number..number + 1,
            histograms: 0..0,
            exemplars: 0..0,
            family: None,
            temporality: Temporality::Cumulative,
        });
    }
    for (name, version) in [("1.0", Version::One), ("2.0", Version::Two)] {
        let options = Options { version, ..Options::default() };
        let (start, mut best) = (Instant::now(), Duration::MAX);
        loop {
            let round = Instant::now();
            let body = (SPEAKER.encode)(&parcel, &options);
            best = best.min(round.elapsed());
            assert!(body.unsaid == 0 && body.bytes.len() > 40 * count, "{} bytes", body.bytes.len());
            if start.elapsed() >= budget {
                let nanoseconds = best.as_nanos() as f64 / count as f64;
                println!("remote write {name}: {nanoseconds:.1} ns per sample ({} bytes)", body.bytes.len());
                break;
            }
        }
    }
}
