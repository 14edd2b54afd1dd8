//! `cargo xtask bench disk`: bytes on disk, at rest and after everything was merged.
//!
//! At rest is a minute after the last answer. Merging is forced: Weir by its own route, VictoriaMetrics by
//! `force_merge`; Prometheus merges nothing on request, its snapshot of the head stands for it.

use std::path::Path;

use anyhow::Result;

use super::peer::{Parts, Peer};
use super::report::Column;
use super::session::{self, Load, Plan, loaded};
use crate::load::process;
use crate::repo::Repo;

const COLUMNS: &[Column] = &[
    Column::new("directory MB, at rest", 1e6, 1),
    Column::new("of it log MB", 1e6, 1),
    Column::new("directory MB, merged", 1e6, 1),
    Column::new("data B/sample, merged", 1.0, 3),
    Column::new("index B/sample, merged", 1.0, 3),
    Column::new("data and index B/sample, merged", 1.0, 3),
    Column::new("written to the disk, B/sample", 1.0, 2),
];

/// Runs the plan and prints tables.
pub fn disk(repo: &Repo, plan: &Plan) -> Result<()> {
    if cfg!(debug_assertions) && !plan.smoke {
        return session::again_optimised(repo);
    }
    let peers = session::peers(repo, plan)?;
    let mut text = session::heading(repo, "disk", &peers, plan);
    let measure = |peer: &Peer, load: &Load, directory: &Path| measure(plan, peer, load, directory);
    text.push_str(&session::tables(repo, plan, &peers, &["A", "B", "C", "D", "REAL"], COLUMNS, measure)?);
    println!("{text}");
    Ok(())
}

fn measure(plan: &Plan, peer: &Peer, load: &Load, directory: &Path) -> Result<Vec<f64>> {
    let server = loaded(peer, load, directory)?;
    plan.wait(60);
    let data = directory.join("data");
    let (at_rest, log) = (process::disk_bytes(&data), peer.parts(&data)?.log);
    let merged = server.merge(&data)?;
    let Parts { data: bytes, index, .. } = peer.parts(&merged)?;
    let samples = load.samples as f64;
    Ok(vec![
        at_rest as f64,
        log as f64,
        process::disk_bytes(&merged) as f64,
        bytes as f64 / samples,
        index as f64 / samples,
        (bytes + index) as f64 / samples,
        server.process.written_bytes()? as f64 / samples,
    ])
}
