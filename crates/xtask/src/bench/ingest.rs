//! `cargo xtask bench ingest`: Weir and its peers, one after another, on the same bodies.
//!
//! Bodies are built before the clock starts. Each server gets a fresh directory. The loader shares the cores with the
//! server, so the figure that counts is the server's own CPU time, read from `/proc`; it is read three times: at the last
//! answer, when every sample is queryable and synced, and when everything is flushed, because a server may answer first and
//! work later. The count is compared, so that a server that lost something does not win.

use std::fmt::Write;
use std::path::Path;
use std::time::Instant;

use anyhow::{Result, ensure};

use super::peer::Peer;
use super::report::Column;
use super::session::{self, Load, Plan, send};
use crate::load::process;
use crate::load::workload::{Kind, Shape};
use crate::repo::Repo;

const ABOUT: &str = "\
CPU of the server since the first request: at the last answer; when every sample can be queried and is synced as far as that \
server syncs; and when everything is in the form in which it is kept (Weir and Prometheus: a snapshot, which flushes the \
head; VictoriaMetrics: its parts on disk). Memory and disk are those before that flush.";

const COLUMNS: &[Column] = &[
    Column::new("M samples/s", 1e6, 3),
    Column::new("CPU µs/sample, answered", 1.0, 3),
    Column::new("CPU µs/sample, queryable and synced", 1.0, 3),
    Column::new("CPU µs/sample, flushed", 1.0, 3),
    Column::new("RSS MB", 1e6, 0),
    Column::new("RSS MB, peak", 1e6, 0),
    Column::new("disk MB", 1e6, 0),
];

/// What is killed right after its last answer: short enough that nothing has reached the disk by itself.
const KILLED: Shape =
    Shape { name: "B", kind: Kind::Mix, series: 20_000, steps: 120, per_request: 10_000, churn: 0 };

/// Runs the plan and prints tables.
pub fn ingest(repo: &Repo, plan: &Plan) -> Result<()> {
    if cfg!(debug_assertions) && !plan.smoke {
        return session::again_optimised(repo);
    }
    let peers = session::peers(repo, plan)?;
    session::heading(repo, "ingest", ABOUT, &peers, plan)?;
    session::tables(repo, plan, &peers, &["A", "B", "C", "E"], COLUMNS, |peer, load, directory| {
        measure(plan, peer, load, directory)
    })?;
    kills(&peers, plan)
}

fn measure(plan: &Plan, peer: &Peer, load: &Load, directory: &Path) -> Result<Vec<f64>> {
    let server = peer.start(directory)?;
    let process = &server.process;
    let before = process.cpu_seconds()?;
    let start = Instant::now();
    send(&server, &load.bodies, peer.connections())?;
    let wall = start.elapsed().as_secs_f64();
    let answered = process.cpu_seconds()?;
    plan.settle(&server)?;
    let settled = process.cpu_seconds()?;
    let rss = process.memory_bytes("VmRSS")?;
    let peak = process.memory_bytes("VmHWM")?;
    let disk = process::disk_bytes(&server.data);
    server.flush()?;
    let flushed = process.cpu_seconds()?;
    let (job, bodies) = (load.workload.job(), &load.bodies);
    let found = server.count_when_visible(job, bodies.first_ms, bodies.last_ms, load.samples())?;
    ensure!(found == load.samples(), "{found} of {} samples are there", load.samples());
    let samples = load.samples() as f64;
    let per_sample = |cpu: f64| (cpu - before) * 1e6 / samples;
    Ok(vec![
        samples / wall,
        per_sample(answered),
        per_sample(settled),
        per_sample(flushed),
        rss as f64,
        peak as f64,
        disk as f64,
    ])
}

/// Kills each server right after its last answer and counts what it still has after a restart.
fn kills(peers: &[Peer], plan: &Plan) -> Result<()> {
    let load = session::made(plan, KILLED);
    let (bodies, expected) = (&load.bodies, load.samples());
    let mut text = "kill -9 right after the last answer, restart, count\n\n| | answered | there | lost |\n|---|---|---|---|\n"
        .to_owned();
    for peer in peers {
        let directory = tempfile::tempdir()?;
        let mut server = peer.start(directory.path())?;
        send(&server, bodies, peer.connections())?;
        server.process.kill()?;
        drop(server);
        let found = load.count(&peer.start(directory.path())?)?;
        let _ =
            writeln!(text, "| {} | {expected} | {found} | {} |", peer.name(), expected.saturating_sub(found));
    }
    plan.publish(&text)
}
