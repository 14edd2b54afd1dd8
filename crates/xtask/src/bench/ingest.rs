//! `cargo xtask bench ingest`: Weir and its peers, one after another, on the same bodies.
//!
//! Bodies are built before the clock starts. Each server gets a fresh directory. The loader shares the cores with the
//! server, so the figure that counts is the server's own CPU time, read from `/proc`; it is read twice, at the last
//! answer and when every sample is queryable and synced, because a server may answer first and work later. Then the
//! count is compared, so that a server that lost something does not win.

use std::fmt::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};

use super::peer::{Peer, Running};
use super::report::{self, Figures};
use crate::load::mix::{self, Bodies, Shape};
use crate::load::{process, remote_write};
use crate::repo::Repo;
use crate::run;

const WORKLOADS: &[Shape] = &[
    Shape { name: "A", series: 1_200, steps: 8_000, per_request: 2_000 },
    Shape { name: "B", series: 20_000, steps: 480, per_request: 10_000 },
    Shape { name: "B2", series: 20_000, steps: 480, per_request: 2_000 },
    Shape { name: "C", series: 200_000, steps: 48, per_request: 10_000 },
    Shape { name: "E", series: 1_000_000, steps: 6, per_request: 10_000 },
];

/// What is killed right after its last answer: short enough that nothing has reached the disk by itself.
const KILLED: Shape = Shape { name: "B, killed", series: 20_000, steps: 120, per_request: 10_000 };

/// What to run.
#[derive(Debug)]
pub struct Plan {
    /// Letters of the workloads; empty = A, B, C, E.
    pub workloads: Vec<String>,
    /// Servers by name; empty = all that are installed.
    pub servers: Vec<String>,
    /// Measured runs of each.
    pub runs: usize,
    /// A hundredth of everything, once, with the binary that is there: shows that the benchmark still works.
    pub smoke: bool,
}

impl Plan {
    /// Everything, tiny.
    pub fn smoke() -> Self {
        Self { workloads: Vec::new(), servers: Vec::new(), runs: 1, smoke: true }
    }
}

/// Runs the plan and prints tables.
pub fn ingest(repo: &Repo, plan: &Plan) -> Result<()> {
    if cfg!(debug_assertions) && !plan.smoke {
        return again_optimised(repo);
    }
    let peers = peers(repo, plan)?;
    let mut text = heading(repo, &peers, plan);
    let named = |shape: &&Shape| match plan.workloads.as_slice() {
        [] => shape.name != "B2",
        names => names.iter().any(|name| name == shape.name),
    };
    for shape in WORKLOADS.iter().filter(named) {
        let shape =
            if plan.smoke { Shape { steps: (shape.steps / 100).max(2), ..small(shape) } } else { *shape };
        text.push_str(&workload(&shape, &peers, plan.runs)?);
    }
    text.push_str(&kills(&peers, plan.smoke)?);
    println!("{text}");
    Ok(())
}

fn small(shape: &Shape) -> Shape {
    Shape { series: (shape.series / 100).max(100), per_request: shape.per_request / 10, ..*shape }
}

/// A loader in a debug build would take the server's CPU: builds itself optimised and runs that.
fn again_optimised(repo: &Repo) -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    run::shown(repo, &format!("cargo run --release --quiet -p xtask -- {}", arguments.join(" ")))
}

fn peers(repo: &Repo, plan: &Plan) -> Result<Vec<Peer>> {
    let profile = if plan.smoke { Profile::Debug } else { Profile::Release };
    let all = [Peer::Weir(binary(repo, profile)), Peer::VictoriaMetrics, Peer::Prometheus];
    let wanted = |peer: &Peer| {
        let name = peer.name().to_ascii_lowercase();
        plan.servers.is_empty()
            || plan.servers.iter().any(|server| name.starts_with(&server.to_ascii_lowercase()))
    };
    let installed = |peer: &Peer| match peer {
        Peer::Weir(_) => true,
        Peer::VictoriaMetrics => run::exists("victoria-metrics"),
        Peer::Prometheus => run::exists("prometheus"),
    };
    let mut peers = Vec::new();
    for peer in all.into_iter().filter(wanted) {
        if installed(&peer) {
            if matches!(peer, Peer::Weir(_)) {
                built(repo, profile)?;
            }
            peers.push(peer);
        } else {
            eprintln!("SKIPPED {}: not installed", peer.name());
        }
    }
    Ok(peers)
}

/// How Weir is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// As a user builds it.
    Release,
    /// As the tests do; there already when they run.
    Debug,
}

/// Where Weir's binary is once it is built.
fn binary(repo: &Repo, profile: Profile) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repo.root.join("target"), PathBuf::from);
    target.join(if profile == Profile::Release { "release" } else { "debug" }).join("weir")
}

/// Builds Weir; returns its binary.
pub fn built(repo: &Repo, profile: Profile) -> Result<PathBuf> {
    // The test profile's artifacts lie in the folder of debug builds.
    let flag = if profile == Profile::Release { "--release" } else { "--profile test" };
    run::shown(repo, &format!("cargo build --locked -p weir {flag}"))?;
    Ok(binary(repo, profile))
}

fn heading(repo: &Repo, peers: &[Peer], plan: &Plan) -> String {
    let output = |line: &str| {
        let output = run::command(repo, line).output().map(|output| output.stdout).unwrap_or_default();
        String::from_utf8_lossy(&output).trim().to_owned()
    };
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut text = format!(
        "\n## {}: ingest\n\nCommit {}, `cargo xtask {}`, {} measured runs, {} cores, {}.\n\n",
        output("date -u +%F"),
        output("git rev-parse --short HEAD"),
        arguments.join(" "),
        plan.runs,
        std::thread::available_parallelism().map_or(0, usize::from),
        output("uname -sr"),
    );
    if plan.smoke {
        text.push_str("SMOKE RUN: debug build, tiny workloads; the figures mean nothing.\n\n");
    }
    for peer in peers {
        let flags = peer.flags().join(" ");
        let _ = writeln!(text, "- {}: {}; {}; {flags}", peer.name(), peer.version(), peer.durability());
    }
    text
}

fn workload(shape: &Shape, peers: &[Peer], runs: usize) -> Result<String> {
    eprintln!("workload {}: building bodies", shape.name);
    let bodies = mix::bodies(shape, 2, now_ms());
    let mut rows = Vec::new();
    for peer in peers {
        let mut figures = Vec::new();
        for nth in 0..runs {
            let run = measure(peer, shape, &bodies)
                .with_context(|| format!("{} on {}", peer.name(), shape.name))?;
            eprintln!("  {} run {}: {run:?}", peer.name(), nth + 1);
            figures.push(run);
        }
        rows.push((peer.name(), figures));
    }
    Ok(report::table(shape, &rows))
}

fn measure(peer: &Peer, shape: &Shape, bodies: &Bodies) -> Result<Figures> {
    let directory = tempfile::tempdir()?;
    let server = peer.start(directory.path())?;
    let cpu_before = server.process.cpu_seconds()?;
    let start = Instant::now();
    send(&server, bodies, peer.connections())?;
    let wall = start.elapsed().as_secs_f64();
    let cpu_answered = server.process.cpu_seconds()? - cpu_before;
    server.settle()?;
    let cpu_settled = server.process.cpu_seconds()? - cpu_before;
    let figures = Figures {
        samples_per_second: shape.samples() as f64 / wall,
        cpu_us_answered: cpu_answered * 1e6 / shape.samples() as f64,
        cpu_us_settled: cpu_settled * 1e6 / shape.samples() as f64,
        rss_bytes: server.process.memory_bytes("VmRSS")? as f64,
        rss_bytes_max: server.process.memory_bytes("VmHWM")? as f64,
        disk_bytes: process::disk_bytes(&directory.path().join("data")) as f64,
    };
    let found = count_when_visible(&server, bodies, shape.samples() as u64)?;
    ensure!(found == shape.samples() as u64, "{found} of {} samples are there", shape.samples());
    Ok(figures)
}

/// Counts until everything is visible, at most half a minute.
fn count_when_visible(server: &Running, bodies: &Bodies, expected: u64) -> Result<u64> {
    let start = Instant::now();
    loop {
        let found = server.count(bodies.first_ms, bodies.last_ms)?;
        if found >= expected || start.elapsed() > Duration::from_secs(30) {
            return Ok(found);
        }
        eprintln!("    {found} of {expected} visible after {:.1} s", start.elapsed().as_secs_f64());
    }
}

/// Sends all bodies over as many connections; one connection takes the lists' bodies in turn.
fn send(server: &Running, bodies: &Bodies, connections: usize) -> Result<()> {
    let queues: Vec<Vec<&[u8]>> = if connections == 1 {
        let longest = bodies.lists.iter().map(Vec::len).max().unwrap_or_default();
        let turns = (0..longest).flat_map(|at| bodies.lists.iter().filter_map(move |list| list.get(at)));
        vec![turns.map(Vec::as_slice).collect()]
    } else {
        bodies.lists.iter().map(|list| list.iter().map(Vec::as_slice).collect()).collect()
    };
    std::thread::scope(|scope| {
        let senders: Vec<_> = queues.iter().map(|queue| scope.spawn(|| send_queue(server, queue))).collect();
        senders
            .into_iter()
            .try_for_each(|sender| sender.join().unwrap_or_else(|_| bail!("a sender panicked")))
    })
}

fn send_queue(server: &Running, queue: &[&[u8]]) -> Result<()> {
    let mut connection = server.connection()?;
    for body in queue {
        // A sender waits and comes back when it is told to; the wait counts.
        let mut answer = connection.post("/api/v1/write", remote_write::HEADERS, body)?;
        while answer.status == 503 || answer.status == 429 {
            std::thread::sleep(Duration::from_millis(20));
            answer = connection.post("/api/v1/write", remote_write::HEADERS, body)?;
        }
        ensure!(answer.is_success(), "status {}: {}", answer.status, answer.text());
    }
    Ok(())
}

/// Kills each server right after its last answer and counts what it still has after a restart.
fn kills(peers: &[Peer], smoke: bool) -> Result<String> {
    let shape = if smoke { Shape { steps: 4, ..small(&KILLED) } } else { KILLED };
    let bodies = mix::bodies(&shape, 2, now_ms());
    let expected = shape.samples() as u64;
    let mut text = "\nkill -9 right after the last answer, restart, count\n\n| | answered | there | lost |\n|---|---|---|---|\n"
        .to_owned();
    for peer in peers {
        let directory = tempfile::tempdir()?;
        let mut server = peer.start(directory.path())?;
        send(&server, &bodies, peer.connections())?;
        server.process.kill()?;
        drop(server);
        let found = peer.start(directory.path())?.count(bodies.first_ms, bodies.last_ms)?;
        let _ =
            writeln!(text, "| {} | {expected} | {found} | {} |", peer.name(), expected.saturating_sub(found));
    }
    Ok(text)
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_millis() as i64)
}
