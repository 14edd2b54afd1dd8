//! `cargo xtask bench ingest`: Weir and its peers, one after another, on the same bodies.
//!
//! Bodies are built before the clock starts. Each server gets a fresh directory. The loader shares the cores with the
//! server, so the figure that counts is the server's own CPU time, read from `/proc`; it is read twice, at the last
//! answer and when every sample is queryable and synced, because a server may answer first and work later. Then the
//! count is compared, so that a server that lost something does not win.

use std::fmt::Write;
use std::path::Path;
use std::time::Instant;

use anyhow::{Result, ensure};

use super::peer::Peer;
use super::report::Column;
use super::session::{self, Load, Plan, count_when_visible, send};
use crate::load::mix::Shape;
use crate::load::process;
use crate::repo::Repo;

const COLUMNS: &[Column] = &[
    Column::new("M samples/s", 1e6, 3),
    Column::new("CPU µs/sample, answered", 1.0, 3),
    Column::new("CPU µs/sample, queryable and synced", 1.0, 3),
    Column::new("RSS MB", 1e6, 0),
    Column::new("RSS MB, peak", 1e6, 0),
    Column::new("disk MB", 1e6, 0),
];

/// What is killed right after its last answer: short enough that nothing has reached the disk by itself.
const KILLED: Shape = Shape { name: "B, killed", series: 20_000, steps: 120, per_request: 10_000, churn: 0 };

/// Runs the plan and prints tables.
pub fn ingest(repo: &Repo, plan: &Plan) -> Result<()> {
    if cfg!(debug_assertions) && !plan.smoke {
        return session::again_optimised(repo);
    }
    let peers = session::peers(repo, plan)?;
    let mut text = session::heading(repo, "ingest", &peers, plan);
    text.push_str(&session::tables(repo, plan, &peers, &["A", "B", "C", "E"], COLUMNS, measure)?);
    text.push_str(&kills(&peers, plan.smoke)?);
    println!("{text}");
    Ok(())
}

fn measure(peer: &Peer, load: &Load, directory: &Path) -> Result<Vec<f64>> {
    let server = peer.start(directory)?;
    let cpu_before = server.process.cpu_seconds()?;
    let start = Instant::now();
    send(&server, &load.bodies, peer.connections())?;
    let wall = start.elapsed().as_secs_f64();
    let cpu_answered = server.process.cpu_seconds()? - cpu_before;
    server.settle()?;
    let cpu_settled = server.process.cpu_seconds()? - cpu_before;
    let samples = load.samples as f64;
    let figures = vec![
        samples / wall,
        cpu_answered * 1e6 / samples,
        cpu_settled * 1e6 / samples,
        server.process.memory_bytes("VmRSS")? as f64,
        server.process.memory_bytes("VmHWM")? as f64,
        process::disk_bytes(&directory.join("data")) as f64,
    ];
    let found = count_when_visible(&server, &load.bodies, load.samples)?;
    ensure!(found == load.samples, "{found} of {} samples are there", load.samples);
    Ok(figures)
}

/// Kills each server right after its last answer and counts what it still has after a restart.
fn kills(peers: &[Peer], smoke: bool) -> Result<String> {
    let load = Load::of(&if smoke { KILLED.small() } else { KILLED });
    let (bodies, expected) = (&load.bodies, load.samples);
    let mut text = "\nkill -9 right after the last answer, restart, count\n\n| | answered | there | lost |\n|---|---|---|---|\n"
        .to_owned();
    for peer in peers {
        let directory = tempfile::tempdir()?;
        let mut server = peer.start(directory.path())?;
        send(&server, bodies, peer.connections())?;
        server.process.kill()?;
        drop(server);
        let found = peer.start(directory.path())?.count(bodies.first_ms, bodies.last_ms)?;
        let _ =
            writeln!(text, "| {} | {expected} | {found} | {} |", peer.name(), expected.saturating_sub(found));
    }
    Ok(text)
}
