//! `cargo xtask bench statsd`: datagrams by UDP on loopback, at a rate that one core must keep up with, then at one that
//! may be too much: what is dropped must be counted to the last datagram, and memory must not grow.
//!
//! Only Weir: a StatsD server of another kind does something else with its lines. It runs on one core (`taskset`), the
//! sender on the others.

use std::fmt::Write;
use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::session::{self, Plan, Profile};
use crate::load::http::{self, Connection};
use crate::load::process::Process;
use crate::repo::Repo;
use crate::run;

const ABOUT: &str = "\
Weir alone, on one core. A datagram is one line: counters, gauges, histograms and sets of a thousand keys with three tags
each. Drops are those that the kernel told Weir (`SO_RXQ_OVFL`), read from its own metrics.";

const KEYS: usize = 1000;
const READY: Duration = Duration::from_secs(60);
/// How often the sender looks at the clock.
const TICK: Duration = Duration::from_millis(1);
/// How long datagrams that were sent may take to be read.
const PATIENCE: Duration = Duration::from_secs(30);

/// A rate and how long it is kept.
struct Flood {
    rate: u64,
    time: Duration,
    /// Whether nothing may be dropped.
    is_kept_up_with: bool,
}

/// Runs and prints.
pub fn statsd(repo: &Repo, plan: &Plan) -> Result<()> {
    if cfg!(debug_assertions) && !plan.smoke {
        return session::again_optimised(repo);
    }
    let binary = session::built(repo, if plan.smoke { Profile::Debug } else { Profile::Release })?;
    let plan = &Plan { runs: 1, workloads: Vec::new(), servers: Vec::new(), ..plan.clone() };
    session::heading(repo, "statsd", ABOUT, &[], plan)?;
    let flood =
        |rate, seconds, is_kept_up_with| Flood { rate, time: Duration::from_secs(seconds), is_kept_up_with };
    let floods = match plan.smoke {
        true => [flood(2000, 1, false), flood(20_000, 1, false)],
        false => [flood(100_000, 30, true), flood(300_000, 60, false)],
    };
    let directory = tempfile::tempdir()?;
    let udp = UdpSocket::bind("127.0.0.1:0")?.local_addr()?;
    let server = start(&binary, directory.path(), udp)?;
    let mut text = String::new();
    for flood in floods {
        text.push_str(&run_flood(&server, directory.path(), udp, &flood)?);
    }
    plan.publish(&text)
}

fn start(binary: &Path, directory: &Path, udp: SocketAddr) -> Result<Process> {
    let (address, data) = (http::free_address()?, directory.join("data"));
    let file = directory.join("weir.yaml");
    let data = data.display();
    fs::write(&file, format!("data_dir: {data}\nlisten: {address}\nstatsd:\n  listen: {udp}\n"))?;
    let mut command = match run::exists("taskset") {
        true => {
            let mut command = Command::new("taskset");
            command.args(["-c", "0"]).arg(binary);
            command
        }
        false => Command::new(binary),
    };
    command.arg("serve").arg("--config").arg(file);
    let log = directory.join("log");
    let mut server = Process::start(command, address, &log)?;
    server.wait_ready("/-/ready", READY).with_context(|| fs::read_to_string(&log).unwrap_or_default())?;
    Ok(server)
}

/// What Weir says of its datagrams.
#[derive(Clone, Copy, Default)]
struct Counts {
    read: u64,
    dropped: u64,
    malformed: u64,
}

fn counts(server: &Process, directory: &Path) -> Result<Counts> {
    let token = fs::read_to_string(directory.join("data/admin-api-token"))?;
    let metrics = Connection::open(server.address, Some(token.trim()))?.get("/metrics")?.text();
    let sum = |name: &str| {
        let lines = metrics
            .lines()
            .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>() as u64
    };
    Ok(Counts {
        read: sum("weir_statsd_datagrams_total"),
        dropped: sum("weir_statsd_dropped_datagrams_total"),
        malformed: sum("weir_statsd_malformed_lines_total"),
    })
}

fn run_flood(server: &Process, directory: &Path, udp: SocketAddr, flood: &Flood) -> Result<String> {
    let before = counts(server, directory)?;
    let (cpu, begun) = (server.cpu_seconds()?, Instant::now());
    let mut memory = Vec::new();
    let sent = std::thread::scope(|scope| {
        let sender = scope.spawn(|| send(udp, flood));
        while !sender.is_finished() {
            std::thread::sleep(Duration::from_secs(1).min(flood.time / 10));
            memory.extend(server.memory_bytes("VmRSS"));
        }
        sender.join().expect("the sender panicked")
    })?;
    let took = begun.elapsed();
    let share = (server.cpu_seconds()? - cpu) / took.as_secs_f64();
    let waited = Instant::now();
    let now = loop {
        let now = counts(server, directory)?;
        let told = now.read - before.read + now.dropped - before.dropped;
        ensure!(told <= sent, "{told} datagrams are told of, {sent} were sent");
        if told == sent {
            break now;
        }
        ensure!(waited.elapsed() < PATIENCE, "{sent} datagrams were sent, {told} are told of");
        std::thread::sleep(Duration::from_millis(100));
    };
    let (read, dropped) = (now.read - before.read, now.dropped - before.dropped);
    ensure!(now.malformed == before.malformed, "lines could not be read");
    ensure!(!flood.is_kept_up_with || dropped == 0, "{dropped} datagrams were dropped at {}/s", flood.rate);
    let third = memory.len() / 3;
    let [early, late] =
        [memory.get(third), memory.last()].map(|bytes| bytes.copied().unwrap_or(0) as f64 / 1e6);
    let mut text = String::new();
    let _ = writeln!(
        text,
        "- {} datagrams/s for {:.0} s: {:.0}/s sent, {sent} sent = {read} read + {dropped} dropped, {:.0} % of a core, \
         RSS {early:.0} MB after a third of the time, {late:.0} MB at the end",
        flood.rate,
        flood.time.as_secs_f64(),
        sent as f64 / took.as_secs_f64(),
        share * 100.0,
    );
    Ok(text)
}

/// Sends at a rate; how many were.
fn send(udp: SocketAddr, flood: &Flood) -> Result<u64> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.connect(udp)?;
    let lines: Vec<Vec<u8>> = (0..KEYS * 16).map(|number| line(number).into_bytes()).collect();
    let (begun, mut sent) = (Instant::now(), 0u64);
    while begun.elapsed() < flood.time {
        let due = (begun.elapsed().as_secs_f64() * flood.rate as f64) as u64;
        while sent < due {
            socket.send(&lines[sent as usize % lines.len()]).context("send")?;
            sent += 1;
        }
        std::thread::sleep(TICK);
    }
    Ok(sent)
}

fn line(number: usize) -> String {
    let (key, kind, value) = (number % KEYS, ["c", "g", "h", "s"][number % 4], number * 37 % 1009);
    format!("app.metric{key}:{value}|{kind}|#env:prod,service:checkout,shard:{}", key % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_one_type() {
        let head = |number| line(number).split([':', '|']).next().map(str::to_owned);
        let kind = |number| line(number).split('|').nth(1).map(str::to_owned);
        for number in 0..KEYS {
            assert_eq!((head(number), kind(number)), (head(number + KEYS), kind(number + KEYS)));
            assert_ne!(line(number), line(number + KEYS));
        }
    }
}
