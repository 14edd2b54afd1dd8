//! `cargo xtask bench agent`: what a process takes that scrapes, sends everything on and keeps nothing, beside vmagent.
//!
//! The pages and the receiver are one process, which answers at once and counts what it is sent. Both servers scrape the
//! same targets at the same interval and send by remote write.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::scrape::{READY, Size, jobs};
use super::session::{self, Plan, Profile};
use crate::load::http::{self, Connection};
use crate::load::pages;
use crate::load::process::Process;
use crate::repo::Repo;

const ABOUT: &str = "\
`store: none` and remote write, one process each. Requests and bytes are what the receiver got; vmagent packs with snappy too.";

/// For how much the mark is stated.
pub const GOAL: Size =
    Size { targets: 1_000, series: 100, interval: Duration::from_secs(10), time: Duration::from_secs(120) };

/// Runs and prints.
pub fn agent(repo: &Repo, plan: &Plan, size: Size) -> Result<()> {
    if cfg!(debug_assertions) && !plan.smoke {
        return session::again_optimised(repo);
    }
    let binary = session::built(repo, if plan.smoke { Profile::Debug } else { Profile::Release })?;
    let heading = Plan { runs: 1, workloads: Vec::new(), servers: Vec::new(), ..plan.clone() };
    session::heading(repo, "agent", ABOUT, &[], &heading)?;
    let mut text = format!(
        "{} targets, {} series each, every {:?}, after {:?}:\n\n",
        size.targets, size.series, size.interval, size.time
    );
    let servers: &[&str] = if plan.smoke { &["weir"] } else { &["weir", "vmagent"] };
    for server in servers {
        text.push_str(&run(server, &binary, &size).with_context(|| (*server).to_owned())?);
    }
    plan.publish(&text)
}

fn run(name: &str, binary: &Path, size: &Size) -> Result<String> {
    let directory = tempfile::tempdir()?;
    let pages_address = http::free_address()?;
    let log = directory.path().join("pages.log");
    let mut pages = Process::start(pages::command(pages_address.port(), size.series)?, pages_address, &log)?;
    pages.wait_ready("/begin", READY).with_context(|| fs::read_to_string(&log).unwrap_or_default())?;
    let address = http::free_address()?;
    let log = directory.path().join("log");
    let (command, ready) = start(name, binary, directory.path(), address, pages_address, size)?;
    let mut server = Process::start(command, address, &log)?;
    server.wait_ready(ready, READY).with_context(|| fs::read_to_string(&log).unwrap_or_default())?;
    let begun = Instant::now();
    std::thread::sleep(size.time);
    let took = begun.elapsed().as_secs_f64();
    let taken = Connection::open(pages_address, None)?.get("/taken")?.text();
    let (requests, bytes) = taken.trim().split_once(' ').context("what was taken")?;
    let (requests, bytes): (u64, u64) = (requests.parse()?, bytes.parse()?);
    ensure!(requests > 0, "nothing was sent: {}", fs::read_to_string(&log)?);
    let mut text = String::new();
    let _ = writeln!(
        text,
        "- {name}: RSS {:.1} MB ({:.1} at most, {:.1} of it not from files), {:.3} cores, {requests} requests of {:.1} MB in all",
        server.memory_bytes("VmRSS")? as f64 / 1e6,
        server.memory_bytes("VmHWM")? as f64 / 1e6,
        server.memory_bytes("RssAnon")? as f64 / 1e6,
        server.cpu_seconds()? / took,
        bytes as f64 / 1e6,
    );
    Ok(text)
}

/// The command line of a server that scrapes all targets and sends on what it finds, and where it says that it is ready.
fn start(
    name: &str,
    binary: &Path,
    directory: &Path,
    address: SocketAddr,
    pages: SocketAddr,
    size: &Size,
) -> Result<(Command, &'static str)> {
    let jobs = jobs(size, pages.port());
    let receiver = format!("http://{pages}/api/v1/write");
    let file = directory.join("config.yaml");
    let mut command;
    let ready = match name {
        "weir" => {
            let data = directory.join("data");
            let head = format!("data_dir: {}\nlisten: {address}\n", data.display());
            let agent = "tenants:\n  default:\n    store: none\n";
            fs::write(&file, format!("{head}{agent}{jobs}remote_write:\n  - url: {receiver}\n"))?;
            command = Command::new(binary);
            command.arg("serve").arg("--config").arg(&file);
            "/-/ready"
        }
        "vmagent" => {
            fs::write(&file, jobs)?;
            command = Command::new("vmagent");
            command.arg(format!("-promscrape.config={}", file.display()));
            command.arg(format!("-remoteWrite.url={receiver}"));
            command.arg(format!("-remoteWrite.tmpDataPath={}", directory.join("queue").display()));
            command.arg(format!("-httpListenAddr={address}"));
            "/health"
        }
        _ => bail!("no agent {name:?}"),
    };
    command.current_dir(directory);
    Ok((command, ready))
}
