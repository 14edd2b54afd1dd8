//! Bytes and time per sample of the float codec, on a synthetic mix and on real data, bit for bit.
//!
//! Sizes are asserted, times are printed: `cargo test --release -p codec --test chunk_sizes -- --nocapture`. The mix
//! follows what a node exporter's series are, by weight; the real data are `../shared/data` where it is there.
#![expect(clippy::disallowed_methods, clippy::print_stdout, reason = "measures and prints")]

mod common;

use std::path::Path;
use std::time::{Duration, Instant};

use codec::chunk::bytes::Reader;
use codec::chunk::{Packing, floats, timestamps};
use common::Dice;

/// A class of series: name, weight in percent, generator.
type Class = (&'static str, u32, fn(&mut Dice, usize) -> Vec<f64>);

const CLASSES: [Class; 10] = [
    ("constant", 50, |dice, rows| vec![dice.below(100_000) as f64; rows]),
    ("sparse steps", 10, |dice, rows| {
        walk(rows, dice.below(50) as f64, |d, v| if d.below(100) == 0 { v + 1.0 } else { v }, dice)
    }),
    ("counter, Poisson", 8, |dice, rows| {
        walk(rows, dice.below(1 << 20) as f64, |d, v| v + d.poisson(5.0), dice)
    }),
    ("counter, bursty bytes", 8, |dice, rows| {
        let burst = |d: &mut Dice, v: f64| {
            v + if d.below(4) == 0 { (d.below(1500) * d.below(200)) as f64 } else { d.below(1500) as f64 }
        };
        walk(rows, dice.below(1 << 36) as f64, burst, dice)
    }),
    ("counter, cpu seconds", 8, |dice, rows| {
        let cents = walk(
            rows,
            dice.below(1 << 24) as f64,
            |d, v| v + 300.0 + (d.normal() * 60.0).round().max(-300.0),
            dice,
        );
        cents.into_iter().map(|c| c / 100.0).collect()
    }),
    ("gauge, memory pages", 8, |dice, rows| {
        walk(rows, 2e9, |d, v| v + (d.normal() * 300.0).round() * 4096.0, dice)
    }),
    ("gauge, load", 3, |dice, rows| {
        let cents = walk(rows, 150.0, |d, v| (v + (d.normal() * 10.0).round()).max(0.0), dice);
        cents.into_iter().map(|c| c / 100.0).collect()
    }),
    ("gauge, temperature", 2, |dice, rows| {
        let millis = walk(rows, 45_000.0, |d, v| v + (d.normal() * 250.0).round(), dice);
        millis.into_iter().map(|m| m / 1000.0).collect()
    }),
    ("noise", 2, |dice, rows| (0..rows).map(|_| 100.0 + dice.normal()).collect()),
    ("epoch seconds, µs", 1, |dice, rows| {
        let jitter = |d: &mut Dice, v: f64| v + 15_000_000.0 + (d.normal() * 3000.0).round();
        walk(rows, 1.76e15, jitter, dice).into_iter().map(|us| us / 1e6).collect()
    }),
];

fn walk(rows: usize, first: f64, next: impl Fn(&mut Dice, f64) -> f64, dice: &mut Dice) -> Vec<f64> {
    let mut value = first;
    (0..rows)
        .map(|_| {
            value = next(dice, value);
            value
        })
        .collect()
}

/// Totals over many chunks.
#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    samples: usize,
    bytes: usize,
    encode: Duration,
    decode: Duration,
}

impl Totals {
    /// Codes a series in chunks, best of three for the times.
    fn add(&mut self, packing: Packing, values: &[f64], rows: usize) {
        for chunk in values.chunks(rows) {
            let (mut packed, mut back) = (Vec::new(), Vec::new());
            let (mut encode, mut decode) = (Duration::MAX, Duration::MAX);
            for _ in 0..3 {
                packed.clear();
                back.clear();
                let start = Instant::now();
                floats::encode_as(packing, chunk, &mut packed);
                encode = encode.min(start.elapsed());
                let start = Instant::now();
                floats::decode(&mut Reader::new(&packed), chunk.len(), &mut back).unwrap();
                decode = decode.min(start.elapsed());
            }
            assert!(
                back.iter().zip(chunk).all(|(a, b)| a.to_bits() == b.to_bits()) && back.len() == chunk.len()
            );
            self.samples += chunk.len();
            self.bytes += packed.len();
            self.encode += encode;
            self.decode += decode;
        }
    }

    fn bytes_per_sample(&self) -> f64 {
        self.bytes as f64 / self.samples as f64
    }

    fn print(&self, what: &str) {
        let nanos = |d: Duration| d.as_nanos() as f64 / self.samples as f64;
        println!(
            "{what:32} {:.3} B/sample, encode {:.1} ns, decode {:.1} ns",
            self.bytes_per_sample(),
            nanos(self.encode),
            nanos(self.decode)
        );
    }
}

/// The weighted mix in bytes a sample, and that of each class.
fn mix(packing: Packing, rows: usize, series: usize) -> (f64, Vec<f64>) {
    let mut dice = Dice(7);
    let (mut bytes, mut encode, mut decode) = (0.0, 0.0, 0.0);
    let mut classes = Vec::new();
    for (name, weight, generate) in CLASSES {
        let mut totals = Totals::default();
        for _ in 0..series {
            totals.add(packing, &generate(&mut dice, rows.max(480)), rows);
        }
        totals.print(&format!("  {packing:?} {name} @{rows}"));
        let share = f64::from(weight) / 100.0;
        let nanos = |d: Duration| d.as_nanos() as f64 / totals.samples as f64 * share;
        classes.push(totals.bytes_per_sample());
        bytes += totals.bytes_per_sample() * share;
        encode += nanos(totals.encode);
        decode += nanos(totals.decode);
    }
    println!("mix {packing:?} @{rows}: {bytes:.3} B/sample, encode {encode:.1} ns, decode {decode:.1} ns");
    (bytes, classes)
}

#[test]
fn the_synthetic_mix_stays_small() {
    assert_eq!(CLASSES.iter().map(|(_, weight, _)| weight).sum::<u32>(), 100);
    mix(Packing::Blocks, 3, 20);
    mix(Packing::Blocks, 120, 20);
    assert!(mix(Packing::Blocks, 480, 40).0 <= 0.65);
    mix(Packing::Blocks, 8000, 8);
}

#[test]
fn the_cold_mix_is_near_its_entropy() {
    mix(Packing::Cold, 480, 40);
    let (bytes, classes) = mix(Packing::Cold, 8000, 8);
    assert!(bytes <= 0.545, "{bytes}");
    let most = [0.002, 0.015, 0.41, 1.68, 1.02, 1.31, 0.69, 1.28, 6.19, 1.73];
    for ((name, ..), (bytes, most)) in CLASSES.iter().zip(classes.iter().zip(most)) {
        assert!(*bytes <= most, "{name}: {bytes}");
    }
}

#[test]
fn real_data_comes_back_bit_for_bit_and_small() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/real-proc.bin.zst");
    let Ok(packed) = std::fs::read(&path) else {
        println!("skipped: ../shared/data is not here");
        return;
    };
    let mut bytes = Vec::new();
    codec::inflate::inflate(codec::inflate::Encoding::Zstd, &packed, 128 << 20, &mut bytes).unwrap();
    let rows = 8400;
    let width = bytes.len() / 8 / rows;
    let cell = |row: usize, column: usize| {
        let at = (row * width + column) * 8;
        f64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
    };
    for (packing, size, stride, most) in [
        (Packing::Blocks, 120, 1, 0.21),
        (Packing::Blocks, 480, 1, 0.20),
        (Packing::Blocks, 8400, 1, 0.20),
        (Packing::Blocks, 480, 16, 0.35),
        (Packing::Cold, 480, 1, 0.14),
        (Packing::Cold, 8000, 1, 0.13),
        (Packing::Cold, 480, 16, 0.28),
    ] {
        let mut totals = Totals::default();
        for column in 1..width {
            let values: Vec<f64> = (0..rows).step_by(stride).map(|row| cell(row, column)).collect();
            totals.add(packing, &values, size);
        }
        totals.print(&format!("real {packing:?}, {} series @{size} stride {stride}", width - 1));
        assert!(totals.bytes_per_sample() <= most);
    }
    let mut times = Vec::new();
    let step: Vec<i64> = (0..480).map(|i| 1_700_000_000_000 + i * 15_000).collect();
    timestamps::encode(Packing::Blocks, &step, &mut times);
    println!("480 times at a step of 15 s: {} bytes", times.len());
    let clock: Vec<i64> = (0..480).map(|row| cell(row, 0) as i64).collect();
    times.clear();
    timestamps::encode(Packing::Blocks, &clock, &mut times);
    println!("480 real times at 4 Hz: {:.2} B/sample", times.len() as f64 / 480.0);
    for (what, jitter, most) in [("5 % by 2 ms", 0.05, 0.05), ("all", 1.0, 0.31)] {
        let mut dice = Dice(3);
        let scrapes: Vec<i64> = (0..8000)
            .map(|i| i * 15_000 + if dice.unit() < jitter { dice.below(5) as i64 - 2 } else { 0 })
            .collect();
        for packing in [Packing::Blocks, Packing::Cold] {
            times.clear();
            timestamps::encode(packing, &scrapes, &mut times);
            println!("8000 times, jitter {what}, {packing:?}: {:.3} B/sample", times.len() as f64 / 8000.0);
            assert!(packing == Packing::Blocks || times.len() as f64 / 8000.0 <= most);
        }
    }
}
