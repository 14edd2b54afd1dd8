//! What all benchmarks of servers share: which servers run, what is sent, the heading that says how.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};

use super::peer::{Peer, Running};
use super::report::{self, Column};
use crate::load::mix::{self, Bodies, STEP_MS, Shape, WORKLOADS};
use crate::load::real::Real;
use crate::load::remote_write::{self, Body};
use crate::repo::Repo;
use crate::run;

/// What to run.
#[derive(Debug)]
pub struct Plan {
    /// Letters of the workloads; empty = those of the benchmark.
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

    /// So long, or not at all when it is only to be shown that everything works.
    pub(super) fn wait(&self, seconds: u64) {
        if !self.smoke {
            std::thread::sleep(Duration::from_secs(seconds));
        }
    }
}

/// Samples ready to be sent.
#[derive(Debug)]
pub(super) struct Load {
    pub(super) title: String,
    pub(super) samples: u64,
    /// Series that there ever are.
    pub(super) series: u64,
    pub(super) bodies: Bodies,
}

impl Load {
    pub(super) fn of(shape: &Shape) -> Self {
        eprintln!("workload {}: building bodies", shape.name);
        let Shape { name, series, steps, per_request, churn } = shape;
        let mut title =
            format!("Workload {name}: {series} series × {steps} samples, {per_request} samples a request");
        if *churn > 0 {
            let _ = write!(title, ", other series every {churn} samples, {} in all", shape.all_series());
        }
        let (samples, series) = (shape.samples() as u64, shape.all_series() as u64);
        Self { title, samples, series, bodies: mix::bodies(shape, 2, now_ms()) }
    }

    /// The values of a real machine, when they are there.
    fn real(repo: &Repo, smoke: bool) -> Option<Self> {
        let real = Real::read(&repo.root)?;
        let rows = if smoke { 100 } else { real.rows() };
        let last_ms = now_ms() / STEP_MS * STEP_MS;
        let first_ms = last_ms - (rows as i64 - 1) * STEP_MS;
        let labels: Vec<Vec<u8>> = (0..real.labels.len())
            .map(|series| real.wire_labels(series, &[("instance", "real"), ("job", "node_exporter")]))
            .collect();
        let mut requests = Vec::new();
        let mut body = Body::default();
        for row in 0..rows {
            for (labels, values) in labels.iter().zip(&real.values) {
                body.series(labels, &[(first_ms + row as i64 * STEP_MS, values[row])]);
            }
            if body.samples >= 2_000 || row + 1 == rows {
                requests.push(body.packed());
                body.clear();
            }
        }
        let series = labels.len() as u64;
        let title = format!("Workload REAL: {series} series × {rows} samples of a real machine's /proc");
        let bodies = Bodies { lists: vec![requests, Vec::new()], first_ms, last_ms };
        Some(Self { title, samples: series * rows as u64, series, bodies })
    }
}

/// The workloads that are wanted: the plan's, or these.
pub(super) fn loads<'a>(
    repo: &'a Repo,
    plan: &'a Plan,
    usual: &'a [&'a str],
) -> impl Iterator<Item = Load> + 'a {
    let known = WORKLOADS.iter().map(|shape| shape.name).chain(["REAL"]);
    let wanted = move |name: &&str| match plan.workloads.as_slice() {
        [] => usual.contains(name),
        names => names.iter().any(|wanted| wanted == name),
    };
    known.filter(wanted).filter_map(move |name| match WORKLOADS.iter().find(|shape| shape.name == name) {
        Some(shape) => Some(Load::of(&if plan.smoke { shape.small() } else { *shape })),
        None => Load::real(repo, plan.smoke),
    })
}

/// Measures each server on each workload, one after another, and gives a table for each workload.
pub(super) fn tables(
    repo: &Repo,
    plan: &Plan,
    peers: &[Peer],
    usual: &[&str],
    columns: &[Column],
    measure: impl Fn(&Peer, &Load, &Path) -> Result<Vec<f64>>,
) -> Result<String> {
    let mut text = String::new();
    for load in loads(repo, plan, usual) {
        let mut rows = Vec::new();
        for peer in peers {
            let mut runs = Vec::new();
            for nth in 0..plan.runs {
                let directory = tempfile::tempdir()?;
                let run = measure(peer, &load, directory.path())
                    .with_context(|| format!("{} on {}", peer.name(), load.title))?;
                eprintln!("  {} run {}: {run:?}", peer.name(), nth + 1);
                runs.push(run);
            }
            rows.push((peer.name(), runs));
        }
        let _ = writeln!(text, "\n{}\n\n{}", load.title, report::table(columns, &rows));
    }
    Ok(text)
}

/// A loader in a debug build would take the server's CPU: builds itself optimised and runs that.
pub(super) fn again_optimised(repo: &Repo) -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    run::shown(repo, &format!("cargo run --release --quiet -p xtask -- {}", arguments.join(" ")))
}

pub(super) fn peers(repo: &Repo, plan: &Plan) -> Result<Vec<Peer>> {
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

pub(super) fn heading(repo: &Repo, what: &str, peers: &[Peer], plan: &Plan) -> String {
    let output = |line: &str| {
        let output = run::command(repo, line).output().map(|output| output.stdout).unwrap_or_default();
        String::from_utf8_lossy(&output).trim().to_owned()
    };
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut text = format!(
        "\n## {}: {what}\n\nCommit {}, `cargo xtask {}`, {} measured runs, {} cores, {}.\n\n",
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

/// Starts a server in a directory, sends everything and waits until it is queryable and, as far as it ever is, synced.
pub(super) fn loaded(peer: &Peer, load: &Load, directory: &Path) -> Result<Running> {
    let server = peer.start(directory)?;
    send(&server, &load.bodies, peer.connections())?;
    server.settle()?;
    Ok(server)
}

/// Counts until everything is visible, at most half a minute.
pub(super) fn count_when_visible(server: &Running, bodies: &Bodies, expected: u64) -> Result<u64> {
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
pub(super) fn send(server: &Running, bodies: &Bodies, connections: usize) -> Result<()> {
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

pub(super) fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_millis() as i64)
}
