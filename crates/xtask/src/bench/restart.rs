//! `cargo xtask bench restart`: how long a server takes to be ready again, after kill -9 and after a clean stop.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::peer::Peer;
use super::report::Column;
use super::session::{self, Load, Plan, loaded};
use crate::repo::Repo;

const COLUMNS: &[Column] = &[
    Column::new("ready after kill -9, s", 1.0, 3),
    Column::new("RSS MB then, peak", 1e6, 0),
    Column::new("clean stop, s", 1.0, 3),
    Column::new("ready after it, s", 1.0, 3),
];

/// How long a clean stop may take.
const STOP: Duration = Duration::from_secs(300);

/// Runs the plan and prints tables.
pub fn restart(repo: &Repo, plan: &Plan) -> Result<()> {
    if cfg!(debug_assertions) && !plan.smoke {
        return session::again_optimised(repo);
    }
    let peers = session::peers(repo, plan)?;
    let mut text = session::heading(repo, "restart", &peers, plan);
    text.push_str(&session::tables(repo, plan, &peers, &["B", "E"], COLUMNS, measure)?);
    println!("{text}");
    Ok(())
}

fn measure(peer: &Peer, load: &Load, directory: &Path) -> Result<Vec<f64>> {
    let mut server = loaded(peer, load, directory)?;
    server.process.kill()?;
    drop(server);
    let start = Instant::now();
    let mut server = peer.start(directory)?;
    let after_kill = start.elapsed().as_secs_f64();
    let peak = server.process.memory_bytes("VmHWM")? as f64;
    let start = Instant::now();
    server.process.stop(STOP)?;
    let stop = start.elapsed().as_secs_f64();
    drop(server);
    let start = Instant::now();
    let _again = peer.start(directory)?;
    Ok(vec![after_kill, peak, stop, start.elapsed().as_secs_f64()])
}
