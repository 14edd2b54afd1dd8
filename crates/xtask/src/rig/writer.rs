//! One connection that writes: its series, its ledger, and what it does when the answer does not come.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, bail};

use super::ledger::{self, Ledger, Sent, Verdict};
use crate::load::http::{Answer, Connection};
use crate::load::mix::Dice;
use crate::load::remote_write::{self, Body};

/// Timestamps lie on a grid, so that the same ones are written again and again.
const GRID_MS: i64 = 15_000;

/// Points of the grid.
const GRID: u64 = 480;

/// A writer and everything it ever sent. It lives longer than the process it writes to.
#[derive(Debug)]
pub struct Writer {
    /// Its tenant.
    pub tenant: String,
    /// Its name: a label of all its series, so that no two writers share one.
    pub name: String,
    /// What it sent.
    pub ledger: Ledger,
    /// Requests answered 2xx.
    pub requests: u64,
    /// Requests refused for the time being.
    pub refused: u64,
    dice: Dice,
    /// Last timestamp of the grid; `None` = the present.
    end_ms: Option<i64>,
    /// The request that got no answer; a real sender sends it again.
    unanswered: Option<Vec<Sent>>,
    generation: u64,
}

impl Writer {
    /// A writer whose samples lie in the two hours before `end_ms`.
    pub fn new(tenant: &str, name: &str, seed: u64, end_ms: i64) -> Self {
        let (ledger, dice) = (Ledger::default(), Dice(seed));
        let (tenant, name, end_ms) = (tenant.to_owned(), name.to_owned(), Some(end_ms - end_ms % GRID_MS));
        Self { tenant, name, ledger, requests: 0, refused: 0, dice, end_ms, unanswered: None, generation: 0 }
    }

    /// A writer whose samples are always of the present second.
    pub fn of_the_present(tenant: &str, name: &str, seed: u64) -> Self {
        Self { end_ms: None, ..Self::new(tenant, name, seed, 0) }
    }

    /// Writes until it is told to stop or the connection breaks. What a lasting refusal says is an error.
    pub fn run(&mut self, address: SocketAddr, stop: &AtomicBool) -> Result<()> {
        self.generation += 1;
        let Ok(mut connection) = super::weir::connect(address, &self.tenant) else { return Ok(()) };
        while !stop.load(Ordering::SeqCst) {
            let again = self.unanswered.take().filter(|_| self.dice.below(2) == 0);
            let samples = again.unwrap_or_else(|| self.request());
            match self.send(&mut connection, &samples) {
                None => {
                    self.unanswered = Some(samples);
                    return Ok(());
                }
                Some(answer) if answer.is_success() => {}
                Some(answer) if answer.status == 503 => {
                    // A refusal that did not wait for the body closes its connection.
                    let Ok(another) = super::weir::connect(address, &self.tenant) else { return Ok(()) };
                    connection = another;
                }
                // On a slow machine a sample may be expired when it arrives.
                Some(answer) if self.end_ms.is_none() && answer.text().contains("too_old") => {}
                Some(answer) => bail!("{}: status {}: {}", self.name, answer.status, answer.text()),
            }
        }
        Ok(())
    }

    /// Sends one request that the ledger knows of; `None` when there was no answer.
    pub fn write_once(&mut self, connection: &mut Connection) -> Option<Answer> {
        let samples = self.request();
        self.send(connection, &samples)
    }

    fn send(&mut self, connection: &mut Connection, samples: &[Sent]) -> Option<Answer> {
        let body = body(samples);
        self.ledger.sent(samples);
        let answer = connection.post("/api/v1/write", remote_write::HEADERS, &body).ok()?;
        if answer.is_success() {
            self.ledger.answered(samples);
            self.requests += 1;
        } else if answer.status == 503 {
            self.refused += 1;
        }
        Some(answer)
    }

    /// Makes a request: a few series, some of them new, timestamps in any order, often ones that were written before.
    fn request(&mut self) -> Vec<Sent> {
        let mut samples = Vec::new();
        for _ in 0..1 + self.dice.below(12) {
            let series = self.series();
            let mut timestamps: Vec<i64> = (0..1 + self.dice.below(16)).map(|_| self.timestamp()).collect();
            // Twice the same timestamp in a request would leave open which value counts.
            timestamps.retain(|timestamp| {
                let known = |sent: &Sent| sent.series == series && sent.timestamp == *timestamp;
                !samples.iter().any(known)
            });
            timestamps.sort_unstable();
            timestamps.dedup();
            if self.dice.below(2) == 0 {
                timestamps.reverse();
            }
            for timestamp in timestamps {
                samples.push(Sent { series: series.clone(), timestamp, bits: self.value().to_bits() });
            }
        }
        samples
    }

    fn series(&mut self) -> String {
        let number = match self.dice.below(40) {
            0 => 1_000 + self.generation,
            other => other % 10,
        };
        ledger::name(&[
            ("__name__", "rig"),
            ("n", &number.to_string()),
            ("of", &self.tenant),
            ("writer", &self.name),
        ])
    }

    fn timestamp(&mut self) -> i64 {
        match self.end_ms {
            Some(end) => end - self.dice.below(GRID) as i64 * GRID_MS,
            None => now_ms(),
        }
    }

    fn value(&mut self) -> f64 {
        let random = self.dice.roll();
        match random % 16 {
            0 => -0.0,
            1 => f64::INFINITY,
            2 => f64::NEG_INFINITY,
            3 => f64::NAN,
            4 => f64::from_bits(random >> 13 & 0xf_ffff_ffff_ffff),
            5..8 => f64::from_bits(random & 0x7fef_ffff_ffff_ffff),
            8..12 => (random >> 40) as f64 / 1_000.0,
            _ => (random >> 44) as f64,
        }
    }

    /// Reads everything back and compares. Samples of a writer of the present may have expired.
    pub fn compare(&mut self, address: SocketAddr) -> Result<Verdict> {
        let selector = format!("{{__name__=\"rig\",writer=\"{}\"}}", self.name);
        let found = ledger::read(address, &self.tenant, &selector, self.end_ms.unwrap_or_else(now_ms))?;
        Ok(self.ledger.compare(&found, self.end_ms.is_none()))
    }
}

fn body(samples: &[Sent]) -> Vec<u8> {
    let mut body = Body::default();
    for run in samples.chunk_by(|a, b| a.series == b.series) {
        let pairs: Vec<(&str, &str)> =
            run[0].series.split(',').filter_map(|pair| pair.split_once('=')).collect();
        let values: Vec<(i64, f64)> =
            run.iter().map(|sent| (sent.timestamp, f64::from_bits(sent.bits))).collect();
        body.series(&remote_write::labels(&pairs), &values);
    }
    body.packed()
}

/// The wall clock.
pub fn now_ms() -> i64 {
    let elapsed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    elapsed.map_or(0, |elapsed| elapsed.as_millis() as i64)
}
