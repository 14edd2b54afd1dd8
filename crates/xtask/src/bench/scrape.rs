//! `cargo xtask bench scrape`: ten thousand targets of a hundred series each, scraped every ten seconds.
//!
//! What is measured is told by the pages themselves: when each was asked, so that it is the same for every server.
//! Weir alone unless others are named with `--server`.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::session::{self, Plan, Profile};
use crate::load::http::{self, Connection};
use crate::load::pages;
use crate::load::process::Process;
use crate::repo::Repo;

const ABOUT: &str = "\
Each target is an address of its own, and all are one process of small threads that writes down when it was asked. A scrape is
late when it came more than a tenth of the interval after its time, which is that of the one before and an interval. Starts are
even when the busiest tenth of a second has about as many as the others have.";

pub(super) const READY: Duration = Duration::from_secs(60);

/// How much there is to scrape.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Targets.
    pub targets: usize,
    /// Series of each.
    pub series: usize,
    /// Time between two scrapes of each.
    pub interval: Duration,
    /// How long it is watched.
    pub time: Duration,
}

impl Size {
    /// What the goal is stated for.
    pub const GOAL: Self = Self {
        targets: 10_000,
        series: 100,
        interval: Duration::from_secs(10),
        time: Duration::from_secs(60),
    };

    /// Shows that it works.
    pub const SMOKE: Self =
        Self { targets: 50, series: 10, interval: Duration::from_secs(1), time: Duration::from_secs(3) };
}

/// Runs and prints.
pub fn scrape(repo: &Repo, plan: &Plan, size: Size) -> Result<()> {
    if cfg!(debug_assertions) && !plan.smoke {
        return session::again_optimised(repo);
    }
    let binary = session::built(repo, if plan.smoke { Profile::Debug } else { Profile::Release })?;
    let heading = Plan { runs: 1, workloads: Vec::new(), servers: Vec::new(), ..plan.clone() };
    session::heading(repo, "scrape", ABOUT, &[], &heading)?;
    let mut servers = vec!["weir".to_owned()];
    servers.extend(plan.servers.iter().filter(|name| *name != "weir").cloned());
    let mut text = format!(
        "{} targets, {} series each, every {:?}, for {:?}:\n\n",
        size.targets, size.series, size.interval, size.time
    );
    for server in servers {
        text.push_str(&run(&server, &binary, &size).with_context(|| server.clone())?);
    }
    plan.publish(&text)
}

fn run(name: &str, binary: &Path, size: &Size) -> Result<String> {
    let directory = tempfile::tempdir()?;
    let pages_address = http::free_address()?;
    let port = pages_address.port();
    let log = directory.path().join("pages.log");
    let mut pages = Process::start(pages::command(port, size.series)?, pages_address, &log)?;
    pages.wait_ready("/begin", READY).with_context(|| fs::read_to_string(&log).unwrap_or_default())?;
    let address = http::free_address()?;
    let (command, ready) = start(name, binary, directory.path(), address, port, size)?;
    let log = directory.path().join("log");
    let mut server = Process::start(command, address, &log)?;
    server.wait_ready(ready, READY).with_context(|| fs::read_to_string(&log).unwrap_or_default())?;
    // Everybody was scraped once, and what is new is not new any more.
    std::thread::sleep(size.interval * 2);
    let ask = |path: &str| -> Result<String> { Ok(Connection::open(pages_address, None)?.get(path)?.text()) };
    let stored_before = stored(name, directory.path(), address)?;
    ask("/begin")?;
    let (cpu, begun) = (server.cpu_seconds()?, Instant::now());
    std::thread::sleep(size.time);
    let log = ask("/log")?;
    let took = begun.elapsed();
    let share = (server.cpu_seconds()? - cpu) / took.as_secs_f64();
    let stored_after = stored(name, directory.path(), address)?;
    let (resident, descriptors) = (server.memory_bytes("VmRSS")?, server.open_files()?);
    let seen = Seen::of(&log, size)?;
    ensure!(seen.scrapes > 0, "nothing was scraped: {}", fs::read_to_string(directory.path().join("log"))?);
    let mut text = String::new();
    let _ = writeln!(
        text,
        "- {name}: {:.0} scrapes/s of {:.0}, {} late, {} of {} targets scraped; starts in 100 ms: {:.1} on average, {} at most; \
         {:.2} cores, RSS {:.0} MB, {descriptors} descriptors{}",
        seen.scrapes as f64 / took.as_secs_f64(),
        size.targets as f64 / size.interval.as_secs_f64(),
        seen.late,
        seen.targets,
        size.targets,
        seen.mean,
        seen.busiest,
        share,
        resident as f64 / 1e6,
        match stored_before.zip(stored_after) {
            // Five series tell of each scrape.
            Some((before, after)) => format!(
                "; {} samples stored, {} on the pages that were asked for",
                after - before,
                seen.scrapes * (size.series as u64 + 5)
            ),
            None => String::new(),
        }
    );
    Ok(text)
}

/// The job of all targets, as Prometheus writes it.
pub(super) fn jobs(size: &Size, port: u16) -> String {
    let seconds = size.interval.as_secs().max(1);
    let mut jobs = format!(
        "scrape_configs:\n  - job_name: load\n    scrape_interval: {seconds}s\n    static_configs:\n      - targets:\n"
    );
    for number in 0..size.targets {
        let _ = writeln!(jobs, "          - {}", pages::target(number, port));
    }
    jobs
}

/// The command line of a server that scrapes all targets, and where it says that it is ready.
fn start(
    name: &str,
    binary: &Path,
    directory: &Path,
    address: SocketAddr,
    port: u16,
    size: &Size,
) -> Result<(Command, &'static str)> {
    let data = directory.join("data");
    let jobs = jobs(size, port);
    let file = directory.join("config.yaml");
    let mut command;
    let ready = match name {
        "weir" => {
            fs::write(&file, format!("data_dir: {}\nlisten: {address}\n{jobs}", data.display()))?;
            command = Command::new(binary);
            command.arg("serve").arg("--config").arg(&file);
            "/-/ready"
        }
        "prometheus" => {
            fs::write(&file, jobs)?;
            command = Command::new("prometheus");
            command.arg(format!("--config.file={}", file.display()));
            command.arg(format!("--storage.tsdb.path={}", data.display()));
            command.arg(format!("--web.listen-address={address}"));
            "/-/ready"
        }
        "victoria-metrics" => {
            fs::write(&file, jobs)?;
            command = Command::new("victoria-metrics");
            command.arg(format!("-promscrape.config={}", file.display()));
            command.arg(format!("-storageDataPath={}", data.display()));
            command.arg(format!("-httpListenAddr={address}"));
            "/health"
        }
        _ => bail!("no server {name:?} scrapes here, there are weir, prometheus, victoria-metrics"),
    };
    command.current_dir(directory);
    Ok((command, ready))
}

/// Samples that Weir says it has stored for the tenant that scrapes.
fn stored(name: &str, directory: &Path, address: SocketAddr) -> Result<Option<u64>> {
    if name != "weir" {
        return Ok(None);
    }
    let token = fs::read_to_string(directory.join("data/admin-api-token"))?;
    let metrics = Connection::open(address, Some(token.trim()))?.get("/metrics")?.text();
    let begins = "weir_samples_accepted_total{tenant=\"default\",kind=\"sample\"}";
    let line = metrics.lines().find_map(|line| line.strip_prefix(begins));
    Ok(Some(line.and_then(|value| value.trim().parse::<f64>().ok()).unwrap_or(0.0) as u64))
}

/// When targets were asked.
struct Seen {
    scrapes: u64,
    targets: usize,
    late: u64,
    mean: f64,
    busiest: u64,
}

impl Seen {
    fn of(log: &str, size: &Size) -> Result<Self> {
        let interval = u64::try_from(size.interval.as_millis())?;
        let mut last: HashMap<u64, u64> = HashMap::new();
        let mut tenths: HashMap<u64, u64> = HashMap::new();
        let (mut scrapes, mut late) = (0, 0);
        for line in log.lines() {
            let (target, at) = line.split_once(' ').context("a line of the log")?;
            let (target, at) = (target.parse()?, at.parse()?);
            scrapes += 1;
            *tenths.entry(at / 100).or_default() += 1;
            if let Some(before) = last.insert(target, at)
                && at - before > interval + interval / 10
            {
                late += 1;
            }
        }
        let spans = size.time.as_secs_f64() * 10.0;
        Ok(Self {
            scrapes,
            targets: last.len(),
            late,
            mean: scrapes as f64 / spans,
            busiest: tenths.values().copied().max().unwrap_or(0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_is_what_comes_a_tenth_of_the_interval_after_its_time() {
        let size = Size { time: Duration::from_secs(4), ..Size::SMOKE };
        let seen = Seen::of("1 0\n2 50\n1 1000\n2 1151\n1 2100\n", &size).unwrap();
        assert_eq!((seen.scrapes, seen.targets, seen.late, seen.busiest), (5, 2, 1, 2));
    }
}
