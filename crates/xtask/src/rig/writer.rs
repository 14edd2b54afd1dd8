//! One connection that writes: its series, its ledger, and what it does when the answer does not come. Now and then it
//! deletes what it wrote, or has a snapshot made.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, bail};

use super::ledger::{self, Ledger, Part, Sent, SeriesName, Verdict};
use super::snapshots::{Kept, Snapshot};
use crate::load::http::{Answer, Connection, encoded};
use crate::load::mix::Dice;
use crate::load::remote_write::{self, Body};

/// Timestamps lie on a grid, so that the same ones are written again and again.
const GRID_MS: i64 = 15_000;

/// Points of the grid.
const GRID: u64 = 480;

const TENANTS: &str = "/api/v1/admin/tenants";
const SNAPSHOTS: &str = "/api/v1/admin/snapshots";
const JSON: &str = "Content-Type: application/json\r\n";

/// What a writer asks for besides writing: one request in so many, 0 = none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mix {
    /// Deletes.
    pub deletes: u64,
    /// Snapshots: one is made, the next time it is deleted.
    pub snapshots: u64,
}

/// What a writer's deletes take.
#[derive(Clone, Copy, Debug)]
pub enum Deletes {
    /// Some of its series, in a range of time.
    Series,
    /// Its tenant, which is made again.
    Tenant,
}

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
    /// What it does besides.
    pub mix: Mix,
    /// What it deletes.
    pub deletes: Deletes,
    /// Its snapshot.
    pub snapshot: Snapshot,
    /// Snapshots that it asked for.
    pub snapshots: u64,
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
        Self {
            tenant: tenant.to_owned(),
            name: name.to_owned(),
            ledger,
            requests: 0,
            refused: 0,
            mix: Mix::default(),
            deletes: Deletes::Series,
            snapshot: Snapshot::None,
            snapshots: 0,
            dice,
            end_ms: Some(end_ms - end_ms % GRID_MS),
            unanswered: None,
            generation: 0,
        }
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
            let (deletes, snapshots) = (self.wants(self.mix.deletes), self.wants(self.mix.snapshots));
            let answer = if deletes {
                self.delete(&mut connection)
            } else if snapshots {
                self.take_snapshot(&mut connection)
            } else {
                self.write(&mut connection)
            };
            match answer {
                None => return Ok(()),
                Some(answer) if answer.is_success() => {}
                // The next start finds out what came of it: nothing may be sent before.
                Some(answer) if answer.status == 503 && (deletes || snapshots) => return Ok(()),
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

    fn wants(&mut self, one_in: u64) -> bool {
        one_in > 0 && self.dice.below(one_in) == 0
    }

    /// Sends a request, or the one again that got no answer.
    fn write(&mut self, connection: &mut Connection) -> Option<Answer> {
        let again = self.unanswered.take().filter(|_| self.dice.below(2) == 0);
        let samples = again.unwrap_or_else(|| self.request());
        let answer = self.send(connection, &samples);
        if answer.is_none() {
            self.unanswered = Some(samples);
        }
        answer
    }

    /// Deletes a part of what it sent, or its tenant.
    fn delete(&mut self, connection: &mut Connection) -> Option<Answer> {
        let answer = match self.deletes {
            Deletes::Series => {
                let part = self.part();
                let target = format!("/api/v1/admin/tsdb/delete_series?{}", self.selection(&part));
                self.ledger.deleting(part);
                connection.post(&target, "", b"").ok()?
            }
            Deletes::Tenant => {
                self.ledger.deleting(Part::ALL);
                connection.delete(&format!("{TENANTS}/{}", self.tenant)).ok()?
            }
        };
        if !answer.is_success() {
            return Some(answer);
        }
        self.ledger.deleted();
        match self.deletes {
            Deletes::Series => Some(answer),
            // When there is no answer the configuration does it at the next start.
            Deletes::Tenant => {
                let body = format!(r#"{{"name": "{}"}}"#, self.tenant);
                connection.post(TENANTS, JSON, body.as_bytes()).ok()
            }
        }
    }

    /// A part to delete: some or all series, some or all of the time.
    fn part(&mut self) -> Part {
        let mut part = Part::ALL;
        if self.dice.below(4) > 0 {
            let first = self.dice.below(10);
            part.numbers = first..=first + self.dice.below(10 - first);
        }
        if self.dice.below(3) > 0 {
            let ends = [self.timestamp(), self.timestamp()];
            part.times = ends[0].min(ends[1])..=ends[0].max(ends[1]);
        }
        part
    }

    /// The parameters that select a part.
    fn selection(&self, part: &Part) -> String {
        let (numbers, times) = (&part.numbers, &part.times);
        let of_numbers = match part.numbers == Part::ALL.numbers {
            true => String::new(),
            false => format!(",n=~\"[{}-{}]\"", numbers.start(), numbers.end()),
        };
        let matcher = format!("{{__name__=\"rig\",writer=\"{}\"{of_numbers}}}", self.name);
        let range = match part.times == Part::ALL.times {
            true => String::new(),
            // Timestamps lie on a grid of whole seconds.
            false => format!("&start={}&end={}", times.start() / 1000, times.end() / 1000),
        };
        format!("match[]={}{range}", encoded(&matcher))
    }

    /// Has a snapshot made, or the one that there is deleted.
    fn take_snapshot(&mut self, connection: &mut Connection) -> Option<Answer> {
        match std::mem::take(&mut self.snapshot) {
            Snapshot::None => {
                let name = format!("{}-{}", self.name, self.snapshots);
                self.snapshots += 1;
                let body = format!(r#"{{"name": "{name}"}}"#);
                self.snapshot = Snapshot::Making(Kept { name, ledger: self.ledger.clone() });
                let answer = connection.post(SNAPSHOTS, JSON, body.as_bytes()).ok()?;
                if answer.is_success() {
                    self.snapshot.settle(true);
                }
                Some(answer)
            }
            Snapshot::Making(kept) | Snapshot::Kept(kept) | Snapshot::Dropping(kept) => {
                let target = format!("{SNAPSHOTS}/{}", kept.name);
                self.snapshot = Snapshot::Dropping(kept);
                let answer = connection.delete(&target).ok()?;
                if answer.is_success() {
                    self.snapshot.settle(false);
                }
                Some(answer)
            }
        }
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
        let found = self.read(address)?;
        Ok(self.ledger.compare(&found, self.end_ms.is_none()))
    }

    /// Compares its snapshot, which is served there, with what must be in it.
    pub fn compare_snapshot(&mut self, address: SocketAddr) -> Result<Verdict> {
        let found = self.read(address)?;
        let Snapshot::Kept(kept) = &mut self.snapshot else { return Ok(Verdict::default()) };
        Ok(kept.ledger.compare(&found, false))
    }

    fn read(&self, address: SocketAddr) -> Result<BTreeMap<SeriesName, Vec<(i64, u64)>>> {
        let selector = format!("{{__name__=\"rig\",writer=\"{}\"}}", self.name);
        ledger::read(address, &self.tenant, &selector, self.end_ms.unwrap_or_else(now_ms))
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
