//! `cargo xtask bench memory`: resident memory a minute after the last answer, and after queries over everything.

use std::path::Path;

use anyhow::Result;

use super::peer::Peer;
use super::report::Column;
use super::session::{self, Load, Plan, loaded};
use crate::repo::Repo;

const COLUMNS: &[Column] = &[
    Column::new("RSS MB, a minute after", 1e6, 0),
    Column::new("RSS B/series, a minute after", 1.0, 0),
    Column::new("RSS MB, after queries", 1e6, 0),
    Column::new("RSS MB, peak", 1e6, 0),
];

/// Queries that read every series.
const QUERIES: [&str; 3] = [
    "count({job=\"node_exporter\"})",
    "topk(10, {job=\"node_exporter\"})",
    "sum by (mode) (rate({job=\"node_exporter\"}[1m]))",
];

/// Runs the plan and prints tables.
pub fn memory(repo: &Repo, plan: &Plan) -> Result<()> {
    if cfg!(debug_assertions) && !plan.smoke {
        return session::again_optimised(repo);
    }
    let peers = session::peers(repo, plan)?;
    let mut text = session::heading(repo, "memory", &peers, plan);
    let measure = |peer: &Peer, load: &Load, directory: &Path| measure(plan, peer, load, directory);
    text.push_str(&session::tables(repo, plan, &peers, &["A", "C", "D", "E"], COLUMNS, measure)?);
    println!("{text}");
    Ok(())
}

fn measure(plan: &Plan, peer: &Peer, load: &Load, directory: &Path) -> Result<Vec<f64>> {
    let server = loaded(peer, load, directory)?;
    plan.wait(60);
    let rss = server.process.memory_bytes("VmRSS")? as f64;
    for query in QUERIES {
        server.instant(query, load.bodies.last_ms + 1_000)?;
    }
    let after = server.process.memory_bytes("VmRSS")? as f64;
    Ok(vec![rss, rss / load.series as f64, after, server.process.memory_bytes("VmHWM")? as f64])
}
