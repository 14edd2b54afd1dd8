//! What all benchmarks of servers share: which servers run, what is sent, the heading that says how.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};

use super::peer::Peer;
use super::report::{self, Column};
use super::running::Running;
use crate::load::real::Real;
use crate::load::remote_write;
use crate::load::workload::{Bodies, SHAPES, Shape, Workload};
use crate::repo::Repo;
use crate::run;

/// How long a server rests after its last answer before it is looked at.
const REST: Duration = Duration::from_secs(60);

/// Rows of the real machine's data in a smoke run.
const REAL_ROWS: usize = 100;

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Letters of the workloads; empty = those of the benchmark.
    pub workloads: Vec<String>,
    /// Servers by name; empty = all that are installed.
    pub servers: Vec<String>,
    /// Measured runs of each.
    pub runs: usize,
    /// A small part of everything, once, with the binary that is there: shows that the benchmark still works.
    pub smoke: bool,
    /// The file to which everything that is printed is appended, too.
    pub out: Option<PathBuf>,
}

impl Plan {
    /// Everything, tiny.
    pub fn smoke() -> Self {
        Self { workloads: Vec::new(), servers: Vec::new(), runs: 1, smoke: true, out: None }
    }

    /// Prints a part of the document, and appends it to the file: what is done is not lost when the rest is cut short.
    pub(super) fn publish(&self, text: &str) -> Result<()> {
        let text = text.trim_end();
        println!("{text}\n");
        if let Some(path) = &self.out {
            let mut file = File::options().create(true).append(true).open(path).context("open --out")?;
            writeln!(file, "{text}\n").context("write --out")?;
        }
        Ok(())
    }

    /// Waits until what a server answered can be queried and is synced; a smoke run does not wait for the latter.
    pub(super) fn settle(&self, server: &Running) -> Result<()> {
        if self.smoke { server.show() } else { server.settle() }
    }

    /// The command that runs this benchmark alone.
    fn command(&self, what: &str) -> String {
        let mut command = format!("cargo xtask bench {what}");
        for (flag, names) in [("workload", &self.workloads), ("server", &self.servers)] {
            if !names.is_empty() {
                let _ = write!(command, " --{flag}={}", names.join(","));
            }
        }
        command + &if self.smoke { " --smoke".to_owned() } else { format!(" --runs={}", self.runs) }
    }

    /// So long, or not at all when it is only to be shown that everything works.
    pub(super) fn wait(&self, seconds: u64) {
        if !self.smoke {
            std::thread::sleep(Duration::from_secs(seconds));
        }
    }
}

/// A workload, ready to be sent.
#[derive(Debug)]
pub(super) struct Load {
    pub(super) workload: Workload,
    pub(super) bodies: Bodies,
}

impl Load {
    pub(super) fn of(workload: Workload) -> Self {
        eprintln!("workload {}: building bodies", workload.name());
        let bodies = workload.bodies(2, now_ms());
        Self { workload, bodies }
    }

    pub(super) fn samples(&self) -> u64 {
        self.workload.samples() as u64
    }

    /// An expression that selects everything in it.
    pub(super) fn selector(&self) -> String {
        format!("{{job=\"{}\"}}", self.workload.job())
    }

    /// Samples of it that can be queried.
    pub(super) fn count(&self, server: &Running) -> Result<u64> {
        server.count(self.workload.job(), self.bodies.first_ms, self.bodies.last_ms)
    }
}

/// A made-up workload as the plan wants it.
pub(super) fn made(plan: &Plan, shape: Shape) -> Load {
    Load::of(Workload::Made(if plan.smoke { shape.small() } else { shape }))
}

/// The workloads that are wanted: the plan's, or these.
pub(super) fn loads<'a>(
    repo: &'a Repo,
    plan: &'a Plan,
    usual: &'a [&'a str],
) -> impl Iterator<Item = Load> + 'a {
    let known = SHAPES.iter().map(|shape| shape.name).chain(["REAL"]);
    let wanted = move |name: &&str| match plan.workloads.as_slice() {
        [] => usual.contains(name),
        names => names.iter().any(|wanted| wanted == name),
    };
    known.filter(wanted).filter_map(move |name| match Shape::named(name) {
        Some(shape) => Some(made(plan, shape)),
        None => real(repo, plan),
    })
}

/// The values of a real machine, when they are there.
fn real(repo: &Repo, plan: &Plan) -> Option<Load> {
    let Some(mut real) = Real::read(&repo.root) else {
        eprintln!("SKIPPED workload REAL: its data does not lie beside the checkout");
        return None;
    };
    if plan.smoke {
        real.truncate(REAL_ROWS);
    }
    Some(Load::of(Workload::Recorded(real)))
}

/// Measures each server on each workload, one after another, and publishes a table for each workload.
pub(super) fn tables(
    repo: &Repo,
    plan: &Plan,
    peers: &[Peer],
    usual: &[&str],
    columns: &[Column],
    measure: impl Fn(&Peer, &Load, &Path) -> Result<Vec<f64>>,
) -> Result<()> {
    for load in loads(repo, plan, usual) {
        let mut text = format!("{}\n", load.workload.title());
        let mut rows = Vec::new();
        for peer in peers {
            if let Some(obstacle) = peer.obstacle(load.workload.kind()) {
                let _ = writeln!(text, "\n{} is left out: {obstacle}.", peer.name());
                continue;
            }
            let mut runs = Vec::new();
            for nth in 0..plan.runs {
                let directory = tempfile::tempdir()?;
                let run = measure(peer, &load, directory.path())
                    .with_context(|| format!("{} on {}", peer.name(), load.workload.title()))?;
                eprintln!("  {} run {}: {run:?}", peer.name(), nth + 1);
                runs.push(run);
            }
            rows.push((peer.name(), runs));
        }
        plan.publish(&format!("{text}\n{}", report::table(columns, &rows)))?;
    }
    Ok(())
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

/// Publishes what is measured and how, on which machine, and who takes part.
pub(super) fn heading(repo: &Repo, what: &str, about: &str, peers: &[Peer], plan: &Plan) -> Result<()> {
    let output = |line: &str| {
        let output = run::command(repo, line).output().map(|output| output.stdout).unwrap_or_default();
        String::from_utf8_lossy(&output).trim().to_owned()
    };
    let changed = if output("git status --porcelain -uno").is_empty() { "" } else { " with changes" };
    let mut text = format!(
        "## {}: {what}\n\nCommit {}{changed}, `{}`, {} measured runs, {} cores, {}.\n\n",
        output("date -u +%F"),
        output("git rev-parse --short HEAD"),
        plan.command(what),
        plan.runs,
        std::thread::available_parallelism().map_or(0, usize::from),
        output("uname -sr"),
    );
    if plan.smoke {
        text.push_str("SMOKE RUN: debug build, tiny workloads; the figures mean nothing.\n\n");
    }
    if plan.runs > 1 {
        text.push_str("Medians with the lowest and the highest of the runs. ");
    }
    let _ = writeln!(text, "{about}\n");
    for peer in peers {
        let flags = if peer.flags().is_empty() { "defaults".to_owned() } else { peer.flags().join(" ") };
        let _ = writeln!(text, "- {}: {}; {}; {flags}", peer.name(), peer.version(), peer.durability());
    }
    plan.publish(&text)
}

/// Starts a server in a directory, sends everything and waits until it can be queried.
pub(super) fn loaded(peer: &Peer, load: &Load, directory: &Path) -> Result<Running> {
    let server = peer.start(directory)?;
    send(&server, &load.bodies, peer.connections())?;
    server.show()?;
    Ok(server)
}

/// [`loaded`], and a minute has passed since the last answer.
pub(super) fn rested(plan: &Plan, peer: &Peer, load: &Load, directory: &Path) -> Result<Running> {
    let server = peer.start(directory)?;
    send(&server, &load.bodies, peer.connections())?;
    let answered = Instant::now();
    server.show()?;
    if !plan.smoke {
        std::thread::sleep(REST.saturating_sub(answered.elapsed()));
    }
    Ok(server)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_published_is_appended_and_says_how_to_do_it_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let out = directory.path().join("results.md");
        let plan = Plan { runs: 5, smoke: false, out: Some(out.clone()), ..Plan::smoke() };
        plan.publish("## one\n\n").expect("written");
        plan.publish("two").expect("written");
        assert_eq!(std::fs::read_to_string(out).expect("a file"), "## one\n\ntwo\n\n");
        assert_eq!(plan.command("disk"), "cargo xtask bench disk --runs=5");
        let workloads = vec!["A".to_owned(), "F".to_owned()];
        let plan = Plan { workloads, ..Plan::smoke() };
        assert_eq!(plan.command("disk"), "cargo xtask bench disk --workload=A,F --smoke");
    }
}
